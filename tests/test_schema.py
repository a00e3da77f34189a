"""The schema follows the record classes, explains every column and refuses what a record would refuse."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import duckdb
import pytest

from harness.columns import column_types
from harness.dictionary import dictionary
from harness.quantities import Record
from harness.records import ROWS
from harness.store import Store

TYPES = {"TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ"}
TABLES = {cls.table: cls for cls in ROWS}
HASH = "a" * 64
VIEWS = {"fidelity", "standouts", "dose_response", "utility", "agreement", "recorded_answers", "trust_profile", "adequacy", "conservation",
         "current_cells"}  # fmt: skip


@pytest.fixture(scope="module")
def schema() -> Iterator[duckdb.DuckDBPyConnection]:
    """Lend an empty database with the schema."""
    with duckdb.connect() as connection:
        connection.execute(files("harness.schemas").joinpath("results.sql").read_text(encoding="utf-8"))
        yield connection


def _columns(schema: duckdb.DuckDBPyConnection, table: str) -> list[tuple[str, str, bool]]:
    sql = "SELECT column_name, data_type, is_nullable FROM duckdb_columns() WHERE table_name = ? ORDER BY column_index"
    return [(name, TYPES.get(kind, kind), optional) for name, kind, optional in schema.execute(sql, [table]).fetchall()]


@pytest.mark.parametrize("cls", ROWS, ids=lambda cls: cls.table)
def test_columns_are_the_fields_of_the_record(schema: duckdb.DuckDBPyConnection, cls: type[Record]) -> None:
    """A table has `audit_id`, then the record's fields in their order, with their types; what may be None may be NULL."""
    optional = {name: type(None) in get_args(field.annotation) for name, field in cls.model_fields.items()}
    expected = [(name, kind, optional.get(name, False)) for name, kind in column_types(cls).items()]
    assert _columns(schema, cls.table) == expected


def test_there_is_a_table_for_every_record_and_no_other(schema: duckdb.DuckDBPyConnection) -> None:
    """Only `meta`, facts about the file, has no record class."""
    found = {name for (name,) in schema.execute("SELECT table_name FROM duckdb_tables() WHERE NOT internal").fetchall()}
    assert found == set(TABLES) | {"meta"}


def test_everything_is_commented(schema: duckdb.DuckDBPyConnection) -> None:
    """Every table, view and column says in a sentence what it is."""
    for sql in ("SELECT table_name, comment FROM duckdb_tables()", "SELECT view_name, comment FROM duckdb_views()"):
        assert all(text and "." in text for _, text in schema.execute(f"{sql} WHERE NOT internal").fetchall())
    sql = "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal"
    silent = [(t, c) for t, c, text in schema.execute(sql).fetchall() if not text or not text.endswith(".")]
    assert silent == []


@pytest.mark.parametrize("table", TABLES)
def test_columns_that_may_be_missing_say_when(schema: duckdb.DuckDBPyConnection, table: str) -> None:
    """The comment of a column that may be NULL says what NULL means."""
    sql = "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = ? AND is_nullable"
    assert [name for name, text in schema.execute(sql, [table]).fetchall() if "NULL" not in text] == []


def test_views_are_the_documented_ones(schema: duckdb.DuckDBPyConnection) -> None:
    """The stable surface is these views; `adequacy` has exactly its columns."""
    assert {name for (name,) in schema.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()} == VIEWS
    names = "audit_id purpose verdict criterion claim role quantity extractor real_share synthetic_share"
    names += " value ci_low ci_high threshold n status adverse reason"
    assert [name for name, _, _ in _columns(schema, "adequacy")] == names.split()


def _example(cls: type[Record]) -> dict[str, Any]:
    """Return values that every check admits: a valued row with status ok."""
    values: dict[str, Any] = {"audit_id": "a"}
    for name, field in cls.model_fields.items():
        kind = column_types(cls)[name]
        words = [w for part in (field.annotation, *get_args(field.annotation)) if get_origin(part) is Literal for w in get_args(part)]
        plain = {"BIGINT": 1, "DOUBLE": 0.5, "BOOLEAN": True, "JSON": "{}", "TIMESTAMPTZ": "2026-01-02T03:04:05Z", "BLOB": b"x"}
        values[name] = words[0] if words else plain.get(kind, "ok" if name == "status" else "text")
    return values | ({"text": None} if cls.table == "ratings" else {}) | (
        {"event": "started", "sha256": HASH, "previous_sha256": HASH} if cls.table == "ledger" else {}
    )  # fmt: skip


def _insert(schema: duckdb.DuckDBPyConnection, table: str, values: dict[str, Any]) -> None:
    names = ", ".join(f'"{name}"' for name in values)
    sql = f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(values))})"
    schema.execute(sql, list(values.values()))


NUMBERS = [(cls, name) for cls in ROWS for name, kind in column_types(cls).items() if kind == "DOUBLE"]
WORDS = [
    (cls, name)
    for cls in ROWS
    for name, field in cls.model_fields.items()
    if any(get_origin(part) is Literal for part in (field.annotation, *get_args(field.annotation)))
]


@pytest.mark.parametrize("cls", ROWS, ids=lambda cls: cls.table)
def test_an_honest_row_is_admitted(schema: duckdb.DuckDBPyConnection, cls: type[Record]) -> None:
    """The rows that the next tests spoil are good before."""
    _insert(schema, cls.table, _example(cls))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(("cls", "name"), NUMBERS, ids=[f"{cls.table}.{name}" for cls, name in NUMBERS])
def test_numbers_are_finite(schema: duckdb.DuckDBPyConnection, cls: type[Record], name: str, number: float) -> None:
    """DuckDB sorts NaN above every number, so one would win every max: none gets in, and no infinity."""
    with pytest.raises(duckdb.ConstraintException, match="isfinite"):
        _insert(schema, cls.table, _example(cls) | {name: number})


@pytest.mark.parametrize(("cls", "name"), [*WORDS, (TABLES["ledger"], "event")])
def test_unknown_words_are_refused(schema: duckdb.DuckDBPyConnection, cls: type[Record], name: str) -> None:
    """A column of given words takes no other."""
    with pytest.raises(duckdb.ConstraintException, match=name):
        _insert(schema, cls.table, _example(cls) | {name: "perhaps"})


@pytest.mark.parametrize(("cls", "name"), WORDS, ids=[f"{cls.table}.{name}" for cls, name in WORDS])
def test_known_words_are_the_record_s(schema: duckdb.DuckDBPyConnection, cls: type[Record], name: str) -> None:
    """Every word that the record admits is named in a check of the table."""
    annotation = cls.model_fields[name].annotation
    words = [w for part in (annotation, *get_args(annotation)) if get_origin(part) is Literal for w in get_args(part)]
    checks = schema.execute("SELECT sql FROM duckdb_tables() WHERE table_name = ?", [cls.table]).fetchall()[0][0]
    assert [word for word in words if f"'{word}'" not in checks] == []


@pytest.mark.parametrize("table", ["scores", "reliability", "trust"])
@pytest.mark.parametrize(
    "spoilt",
    [
        {"status": "ok", "value": None},
        {"status": "failed", "value": 0.5, "reason": "broke"},
        {"status": "not_computable", "value": None, "reason": " "},
    ],
    ids=["ok without a value", "a value without ok", "no reason"],
)
def test_a_value_has_status_ok_or_a_reason(schema: duckdb.DuckDBPyConnection, table: str, spoilt: dict[str, Any]) -> None:
    """Exactly one of value and reason."""
    with pytest.raises(duckdb.ConstraintException, match="status"):
        _insert(schema, table, _example(TABLES[table]) | spoilt)


@pytest.mark.parametrize(
    ("table", "spoilt"),
    [
        ("cells", {"status": "failed", "reason": ""}),
        ("ratings", {"value": None, "text": None, "reason": ""}),
        ("ratings", {"value": 1.0, "text": "one"}),
        ("qualifications", {"outcome": None, "reason": ""}),
        ("criteria", {"value": None, "reason": ""}),
        ("ledger", {"sha256": "short"}),
    ],
)
def test_what_is_missing_has_a_reason(schema: duckdb.DuckDBPyConnection, table: str, spoilt: dict[str, Any]) -> None:
    """No row is silent about what it does not know."""
    with pytest.raises(duckdb.ConstraintException):
        _insert(schema, table, _example(TABLES[table]) | spoilt)


def test_the_data_dictionary_is_fresh(root: Path) -> None:
    """`python -m harness.dictionary > schemas/README.md` was run after the last change of the schema."""
    assert (root / "schemas" / "README.md").read_text(encoding="utf-8") == dictionary()


def test_the_data_dictionary_has_every_view_with_its_columns_and_an_example(schema: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """Each view is listed with its columns, and its example query runs."""
    store = Store(tmp_path / "results.duckdb")
    store.append("", [])
    chapters = {part.partition("\n")[0]: part for part in dictionary().split("\n### ")[1:]}
    for view in VIEWS:
        assert [name for name, _, _ in _columns(schema, view) if f"\n| {name} |" not in chapters[view]] == []
        example = chapters[view].split("```sql\n")[1].split("\n```")[0]
        assert f"FROM {view}" in example
        store.query(example)
