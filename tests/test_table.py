"""The answer to a query reads well and loses nothing."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from harness.table import Table

AT = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
MIXED = Table(
    ["name", "value", "at", "spec", "seen", "png"],
    [("a, \"b\"\nc", 1 / 3, AT, {"k": [1, None]}, True, b"\x00\xff"), (None, None, None, None, None, None)],
)  # fmt: skip
WIDE = Table(["purpose", "n", "reason"], [("augment", 1234567, "because " * 12), ("screen", 5, "short")])


def test_csv_can_be_read_back() -> None:
    """Quotes and line breaks survive, numbers keep every digit, a missing value is empty, lists and dicts are JSON."""
    rows = list(csv.reader(io.StringIO(MIXED.to_csv())))
    assert rows == [
        ["name", "value", "at", "spec", "seen", "png"],
        ['a, "b"\nc', "0.3333333333333333", "2026-11-21T12:30:00+00:00", '{"k": [1, null]}', "true", "AP8="],
        [""] * 6,
    ]


def test_json_is_a_list_of_objects() -> None:
    """Times in ISO 8601, null for what is missing, lists and dicts as they are, bytes in base64."""
    first, second = json.loads(MIXED.to_json())
    assert first == {
        "name": 'a, "b"\nc', "value": 1 / 3, "at": "2026-11-21T12:30:00+00:00", "spec": {"k": [1, None]}, "seen": True,
        "png": "AP8=",
    }  # fmt: skip
    assert set(second.values()) == {None}
    assert json.loads(Table(["a"], []).to_json()) == []


def test_json_holds_what_a_query_can_bring_up() -> None:
    """Infinity and NaN, which JSON has not, are words; decimals are numbers; a second column of one name gets a number."""
    row = (float("inf"), float("nan"), Decimal("1.50"), UUID(int=1), (1, AT), 7)
    (found,) = json.loads(Table(["a", "b", "c", "d", "e", "a"], [row]).to_json())
    assert found == {
        "a": "inf", "b": "nan", "c": 1.5, "d": str(UUID(int=1)), "e": [1, "2026-11-21T12:30:00+00:00"], "a_2": 7,
    }  # fmt: skip


def test_text_is_aligned() -> None:
    """Numbers to the right, words to the left, a dash for what is missing, no blanks at the end of a line."""
    table = Table(["name", "value", "n"], [("frechet", 1.23456789, 12), ("kid", None, 5)])
    assert table.to_text() == (
        "name       value   n\n"
        "-------  -------  --\n"
        "frechet  1.23457  12\n"
        "kid            -   5\n"
    )  # fmt: skip


def test_long_words_are_shortened_to_fit_and_numbers_never() -> None:
    """No line is longer than the width."""
    lines = WIDE.to_text(40).splitlines()
    assert max(map(len, lines)) <= 40
    assert "1234567" in lines[2]
    assert lines[2].endswith("…")
    assert len(max(WIDE.to_text().splitlines(), key=len)) > 100


def test_a_table_that_cannot_fit_has_one_line_per_value() -> None:
    """Nothing is lost: each row is a block of names and values."""
    assert WIDE.to_text(20).splitlines()[:4] == [
        "purpose  augment",
        "n        1234567",
        "reason   " + ("because " * 12).strip(),
        "",
    ]


def test_no_rows_still_show_the_columns() -> None:
    """An empty answer says what it would have held."""
    assert Table(["purpose", "verdict"], []).to_text().startswith("purpose  verdict\n")
    assert "purpose" in Table(["purpose", "verdict"], []).to_text(5)
