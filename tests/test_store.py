"""The store keeps what it acknowledged, is usable by many processes at once, and says what is wrong in words."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pytest

from harness.errors import StoreError
from harness.records import (
    AuditRow,
    CellRow,
    ComponentRow,
    CriterionRow,
    FindingRow,
    ImageSetRow,
    LedgerRow,
    OutcomeRow,
    PictureRow,
    PlannedCellRow,
    QualificationRow,
    ReliabilityRow,
    ResponseRow,
    ScoreRow,
    TrustRow,
    VerdictRow,
)  # fmt: skip
from harness.store import LockedError, Store

NOW = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
AUDIT = "breast-0a1b2c3d-4e5f6071"
VIEWS = "adequacy, agreement, conservation, current_cells, dose_response, fidelity, recorded_answers, standouts, trust_profile, utility"


@pytest.fixture
def fresh(tmp_path: Path) -> Store:
    """Return a store that does not exist yet and waits for no one."""
    return Store(tmp_path / "results.duckdb", retry_seconds=0.2)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results file without rows, to be copied: making one takes a while."""
    path = tmp_path_factory.mktemp("empty") / "results.duckdb"
    Store(path).append("", [])
    return path


@pytest.fixture
def store(fresh: Store, empty: Path) -> Store:
    """Return an empty store that waits for no one."""
    shutil.copyfile(empty, fresh.path)
    return fresh


def audit(name: str = "breast", **changes: object) -> AuditRow:
    """Return an audit row."""
    digests = dict.fromkeys(("spec_sha256", "plan_sha256", "data_sha256", "generator_sha256"), "0" * 64)
    fields = {"name": name, "started_at": NOW, "seed": 2**63 - 1, "spec": {"audit": name, "purposes": {}}, **digests}
    return AuditRow(**fields | {"harness_version": "0.1.0", "environment": {"cores": 2}} | changes)


def cell(key: str, stage: str = "measure", status: str = "ok") -> CellRow:
    """Return what became of a cell."""
    return CellRow(key=key, stage=stage, component="c", status=status, reason="" if status == "ok" else "why", seconds=1, peak_mb=2)


def planned(key: str, run: int = 1, stage: str = "measure") -> PlannedCellRow:
    """Return a planned cell."""
    return PlannedCellRow(run=run, key=key, stage=stage, component="c", title=key)


def score(key: str, **changes: object) -> ScoreRow:
    """Return a score of stage measure."""
    return ScoreRow(**{"cell": key, "stage": "measure", "component": "frechet", "quantity": "fid", "value": 1.5, "n": 4} | changes)


# Python started anew, with a store of the same file.
PRELUDE = """
import sys, time
from pathlib import Path
from harness.errors import StoreError
from harness.records import CellRow, FindingRow
from harness.store import Store
store = Store(Path(sys.argv[1]))
def batch(n):
    row = dict(stage="measure", component="c", status="ok", seconds=0, peak_mb=0)
    finding = dict(severity="note", kind="k", text="t")
    return [CellRow(key=f"k{n}", **row), *(FindingRow(cell=f"k{n}", **finding) for _ in range(3))]
"""
HOLD = """
import duckdb, sys, time
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "read")
print("held", flush=True)
sys.stdin.read()
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start Python with this code."""
    words = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextmanager
def held(path: Path, mode: str = "read") -> Iterator[int]:
    """Let another process hold the file."""
    with start(HOLD, path, mode) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid
        process.communicate()


def refused(action: Callable[[], object]) -> list[str]:
    """Return the lines of the error, at most three a problem."""
    with pytest.raises(StoreError) as caught:
        action()
    assert len(caught.value.lines()) <= 3 * len(caught.value.problems)
    return caught.value.lines()


def test_rows_come_back_as_they_were(store: Store) -> None:
    """Text of any script, bytes, nested JSON, times of any zone, extreme numbers and missing ones survive the file."""
    at = NOW.astimezone(timezone(timedelta(hours=9)))
    rows = [
        audit(started_at=at, spec={"a": [1, 2.5, None, {"ü": 'quote " and \\ slash'}], "big": 2**70}),
        OutcomeRow(attempt=1, finished_at=NOW, error=None),
        ComponentRow(kind="metric", name="frechet", options={}, distribution="d", version="1", promises={"x": [1]}),
        ImageSetRow(cell="k", role="train", n=3, channels=1, size_px=[8, 9], spacing_mm=[0.1, 1 / 3], patients=None,
                    labels={"b": 1, "a": 2}, has_masks=True, preprocessing={}, sha256="x"),
        score("k", value=5e-324, ci_low=-1.7976931348623157e308, quantity="多\x00\n'; DROP TABLE scores"),
        score("k", value=None, status="failed", reason="it broke"),
        PictureRow(cell="k", gallery="real", position=0, item="i", caption="c", png=bytes(range(256)), partner_png=None),
    ]  # fmt: skip
    store.append(AUDIT, rows)
    back = [row for cls in dict.fromkeys(map(type, rows)) for row in store.rows(cls, AUDIT)]
    assert back == rows
    assert store.rows(AuditRow, AUDIT)[0].started_at.utcoffset() == timedelta(0)
    assert list(store.rows(ImageSetRow, AUDIT)[0].labels) == ["b", "a"]


def test_undecodable_file_names_are_spelt_out(store: Store) -> None:
    """A lone surrogate, which no database text can hold, is written as its code."""
    store.append(AUDIT, [FindingRow(cell="", severity="note", kind="k", text="file \udcff.png")])
    assert store.rows(FindingRow, AUDIT)[0].text == "file \\udcff.png"


def test_rows_are_chosen_by_audit_and_by_equal_columns(store: Store) -> None:
    """`None` finds what is missing; a column that does not exist is a mistake of the caller."""
    store.append(AUDIT, [score("a"), score("b", severity=0.5)])
    store.append("other", [score("a")])
    assert [row.cell for row in store.rows(ScoreRow, AUDIT)] == ["a", "b"]
    assert [row.cell for row in store.rows(ScoreRow, AUDIT, cell="b")] == ["b"]
    assert [row.cell for row in store.rows(ScoreRow, AUDIT, severity=None)] == ["a"]
    with pytest.raises(ValueError, match="no column colour"):
        store.rows(ScoreRow, AUDIT, colour="red")


def test_a_store_that_is_not_there_is_empty_to_the_audit_and_an_error_to_a_query(fresh: Store) -> None:
    """Reading makes no file."""
    assert (fresh.done(AUDIT), fresh.audits(), fresh.first_lock("breast"), fresh.verify_ledger()) == (set(), [], None, [])
    assert "there is no such file" in refused(lambda: fresh.query("from adequacy"))[0]
    assert not fresh.path.exists()


def test_only_the_latest_plan_is_in_force(store: Store) -> None:
    """Results of cells that the latest plan does not have are kept, but neither shown nor current; rows without a cell are."""
    store.append(AUDIT, [audit(), planned("old"), planned("both"), cell("old"), cell("both"), score("old"), score("both")])
    store.append(AUDIT, [planned("both", 2), planned("new", 2), FindingRow(cell="", severity="note", kind="k", text="all")])
    store.append(AUDIT, [FindingRow(cell="old", severity="note", kind="k", text="old")])
    assert [row.cell for row in store.rows(ScoreRow, AUDIT)] == ["old", "both"]
    assert [row.cell for row in store.current(ScoreRow, AUDIT)] == ["both"]
    assert [row.key for row in store.current(PlannedCellRow, AUDIT)] == ["both", "new"]
    assert [row.key for row in store.current(CellRow, AUDIT)] == ["both"]
    assert [row.text for row in store.current(FindingRow, AUDIT)] == ["all"]
    assert len(store.current(AuditRow, AUDIT)) == 1
    assert store.query("SELECT cell FROM fidelity").rows == [("both",)]
    assert store.query("SELECT key, status FROM current_cells").rows == [("both", "ok"), ("new", "pending")]
    assert store.done(AUDIT) == {"old", "both"}


def test_conservation_counts_every_planned_cell(store: Store) -> None:
    """Planned is ok plus not computable plus failed, per stage and in total, once nothing is pending."""
    store.append(AUDIT, [planned("a"), planned("b"), planned("j", stage="judge"), planned("s", stage="sample")])
    store.append(AUDIT, [cell("a"), cell("b", status="failed"), cell("s", "sample", "not_computable")])
    sql = "SELECT * EXCLUDE audit_id FROM conservation"
    counts = [("sample", 1, 0, 1, 0, 0, True), ("measure", 2, 1, 0, 1, 0, True), ("judge", 1, 0, 0, 0, 1, False)]
    assert store.query(sql).rows == [*counts, ("total", 4, 1, 1, 1, 1, False)]
    store.append(AUDIT, [cell("j", "judge")])
    assert store.query(sql).rows[-1] == ("total", 4, 2, 1, 1, 0, True)


def test_utility_pairs_every_mix_with_its_gain(store: Store) -> None:
    """Gain rows stand beside the value of their mix; repeats and a quantity that merely ends in _gain are as they are."""
    task = {"stage": "evaluate", "component": "classification", "tested_on": "real", "unit": "1", "better": "higher"}
    mixes = [(1.0, 0.0, 0.7), (1.0, 1.0, 0.8)]
    rows = [score("e", **task, quantity="auc", real_share=r, synthetic_share=s, value=v) for r, s, v in mixes]
    rows += [score("e", **task, quantity="auc_gain", real_share=1.0, synthetic_share=1.0, value=0.1, ci_low=0.05, ci_high=0.15)]
    rows += [score("e", **task, quantity="auc", real_share=1.0, synthetic_share=1.0, value=0.9, repeat=0)]
    rows += [score("e", **task, quantity="information_gain", real_share=1.0, synthetic_share=1.0, value=0.3)]
    store.append(AUDIT, [planned("e", stage="evaluate"), *rows])
    found = store.query("SELECT quantity, synthetic_share, value, gain, gain_low, gain_high FROM utility").rows
    assert found == [
        ("auc", 0.0, 0.7, None, None, None),
        ("auc", 1.0, 0.8, 0.1, 0.05, 0.15),
        ("information_gain", 1.0, 0.3, None, None, None),
    ]


def test_dose_response_sums_up_replicates_and_names_the_outcome(store: Store) -> None:
    """Mean, range and counts per dose; a replicate without value is counted apart; null splits are left out."""
    common = {"cell": "q", "component": "frechet", "quantity": "fid", "extractor": "pixels", "perturbation": "noise",
              "failure_mode": "noise", "n": 10, "detected": 0.5, "better": "lower"}  # fmt: skip
    rows = [
        ResponseRow(severity=0.0, replicates=1, mean=1.0, low=1.0, high=1.0, response=0.0, **common),
        ResponseRow(severity=1.0, replicates=2, mean=3.0, low=2.0, high=4.0, response=None, **common),
    ]
    verdict = QualificationRow(cell="q", component="frechet", quantity="fid", extractor="pixels", perturbation="noise",
                               failure_mode="noise", n=10, dose_of_concern=0.5, outcome="qualified", reason="seen")  # fmt: skip
    store.append(AUDIT, [planned("q", stage="qualify"), *rows, verdict])
    sql = "SELECT severity, mean, low, high, response, replicates, outcome FROM dose_response"
    assert store.query(sql).rows == [(0.0, 1.0, 1.0, 1.0, 0.0, 1, "qualified"), (1.0, 3.0, 2.0, 4.0, None, 2, "qualified")]


def test_adequacy_lists_criteria_under_their_verdict(store: Store) -> None:
    """One row a criterion in the order of the plan; a purpose without criteria still shows its verdict and why."""
    common = {
        "claim": "x",
        "kind": "E1",
        "quantity": "frechet.fid",
        "rule": "r",
        "threshold": "at most 2",
        "n": 5,
        "adverse": False,
    }
    bounds = {"value": 1.0, "ci_low": 0.5, "ci_high": 1.5}
    criteria = [
        CriterionRow(cell="j", purpose="p", criterion=name, role="critical", status="met", reason="ok", **common, **bounds)
        for name in ("C2", "C1")
    ]
    verdicts = [
        VerdictRow(cell="j", purpose=name, context_of_use="x", verdict=word, conditions=[], rules=["R1"], reason="because")
        for name, word in (("p", "adequate"), ("empty", "not_assessed"))
    ]
    store.append(AUDIT, [planned("j", stage="judge"), *verdicts, *criteria])
    table = store.query("from adequacy")
    assert [row[1:4] for row in table.rows] == [
        ("p", "adequate", "C2"),
        ("p", "adequate", "C1"),
        ("empty", "not_assessed", None),
    ]
    assert table.rows[-1][-1] == "because"


def test_agreement_and_trust_show_their_rows(store: Store) -> None:
    """The two views are the current rows of their tables."""
    what = {"scale": "s", "analysis": "agreement", "raters": "experts", "items": "all", "statistic": "fleiss_kappa"}
    agreed = ReliabilityRow(cell="r", **what, value=0.5, n_items=9, n_raters=3)
    shares = {"real_share": 1, "synthetic_share": 0, "seed": 3}
    trust = TrustRow(cell="r", component="t", factor="T1", variant="v", region="", tested_on="real", value=0.9, **shares)
    store.append(AUDIT, [planned("r", stage="rate"), agreed, trust])
    assert store.query("SELECT statistic, value, n_raters FROM agreement").rows == [("fleiss_kappa", 0.5, 3)]
    assert store.query("SELECT factor, value FROM trust_profile").rows == [("T1", 0.9)]


def test_a_batch_is_written_whole_or_not_at_all(store: Store) -> None:
    """A row that a check refuses takes its batch with it, and the error says which check."""
    store.append(AUDIT, [cell("a")])
    silent = CriterionRow(cell="j", purpose="p", criterion="C1", claim="c", role="critical", kind="E1", quantity="q", rule="r",
                          value=None, ci_low=None, ci_high=None, threshold="t", n=None, status="missing", adverse=False,
                          reason="")  # fmt: skip
    lines = refused(lambda: store.append(AUDIT, [cell("b"), silent]))
    assert "criteria" in lines[0]
    assert "nothing of its batch was written" in lines[1]
    assert store.done(AUDIT) == {"a"}


def test_a_cell_is_finished_once(store: Store) -> None:
    """Two processes that run one audit do not write a cell twice: the second is told so."""
    store.append(AUDIT, [cell("a"), score("a")])
    store.append("another audit", [cell("a"), score("a")])
    assert "has cell a of" in refused(lambda: store.append(AUDIT, [cell("a"), score("a")]))[0]
    assert len(store.rows(ScoreRow, AUDIT)) == 1


def test_a_query_only_reads(store: Store, tmp_path: Path) -> None:
    """Nothing changes the file, leaves it, or sets an option; one statement at a time."""
    store.append(AUDIT, [cell("a")])
    before = store.path.read_bytes()
    (tmp_path / "secret.csv").write_text("a\n1\n")
    refusals = [
        "insert into meta values ('a', 'b')", "delete from cells", "drop view adequacy", "set threads = 1", "checkpoint",
        f"attach '{tmp_path / 'other.duckdb'}'", f"copy cells to '{tmp_path / 'cells.csv'}'", "pragma version",
        "install httpfs",
        "select 1; select 2", "", "-- nothing", "explain select 1", f"from '{tmp_path / 'secret.csv'}'",
        f"from read_csv('{tmp_path / 'secret.csv'}')", "from store", "from refusals",
    ]  # fmt: skip
    for sql in refusals:
        assert refused(lambda sql=sql: store.query(sql)), sql
    assert store.path.read_bytes() == before
    assert not (tmp_path / "cells.csv").exists()


def test_a_query_answers_in_python_values(store: Store) -> None:
    """`from adequacy` works, with a semicolon too; times have a zone, JSON is parsed, parameters are bound."""
    store.append(AUDIT, [audit(), cell("a")])
    assert store.query("from adequacy;\n").columns[:3] == ["audit_id", "purpose", "verdict"]
    assert store.query("select started_at, spec from audits").rows == [(NOW, {"audit": "breast", "purposes": {}})]
    assert store.query("select key from cells where key = ?", ["a"]).rows == [("a",)]
    assert store.query("select key from cells where key = $key", {"key": "b"}).rows == []
    assert store.query("select 'infinity'::timestamptz as t").rows == [("infinity",)]
    assert ("cells",) in store.query("show tables").rows
    assert store.query("describe cells").rows[1][:2] == ("key", "VARCHAR")


@pytest.mark.parametrize(
    ("sql", "what", "fix"),
    [
        ("from fidelty", "fidelty does not exist", f"views: {VIEWS}; `show tables` lists the tables too"),
        ("select colour from adequacy", 'column "colour" not found', "`describe NAME` lists the columns of a view or table"),
        ("selct 1", "syntax error", "schemas/README.md"),
        ("select 'x'::int", "Could not convert", "schemas/README.md"),
        ("from read_text('/etc/hostname')", "file system operations are disabled", "may read this results file only"),
    ],
)
def test_mistakes_in_sql_are_explained(store: Store, sql: str, what: str, fix: str) -> None:
    """DuckDB's message in one line, and where to look."""
    store.append(AUDIT, [])
    lines = refused(lambda: store.query(sql))
    assert what in lines[0]
    assert fix in lines[1]


def test_attempts_are_numbered_and_chained(store: Store) -> None:
    """Every start is an attempt; each row carries the digest of the row before it, whichever audit that was."""
    assert store.ledger(AUDIT, 0, "locked", "p1", NOW).previous_sha256 == "0" * 64
    assert [
        store.begin_attempt(AUDIT, "p1", NOW),
        store.begin_attempt(AUDIT, "p1", NOW),
        store.begin_attempt("b", "p2", NOW),
    ] == [1, 2, 1]
    last = store.ledger(AUDIT, 2, "finished", "p1", NOW)
    rows = store.rows(LedgerRow, AUDIT)
    assert [(row.attempt, row.event) for row in rows] == [(0, "locked"), (1, "started"), (2, "resumed"), (2, "finished")]
    assert last == rows[-1]
    assert last.previous_sha256 == store.rows(LedgerRow, "b")[0].sha256
    assert store.verify_ledger() == []


@pytest.mark.parametrize(
    ("tampering", "problem"),
    [
        ("UPDATE ledger SET plan_sha256 = 'better' WHERE attempt = 1", "row 2 (started, a) was altered"),
        ("UPDATE ledger SET \"at\" = \"at\" + INTERVAL 1 SECOND WHERE attempt = 1", "row 2 (started, a) was altered"),
        ("UPDATE ledger SET audit_id = 'x' WHERE attempt = 1", "row 2 (started, x) was altered"),
        ("DELETE FROM ledger WHERE attempt = 1", "row 2 (resumed, a) does not follow"),
        ("DELETE FROM ledger WHERE attempt = 2", "attempt 2 of a ended but is not in the ledger"),
        ("DELETE FROM ledger WHERE event = 'locked'", "row 1 (started, a) does not follow"),
    ],
)  # fmt: skip
def test_tampering_with_the_ledger_shows(store: Store, tampering: str, problem: str) -> None:
    """A row that was changed or removed breaks the chain, and the check says where."""
    store.ledger("a", 0, "locked", "p", NOW)
    for _ in range(2):
        store.begin_attempt("a", "p", NOW)
    store.append("a", [OutcomeRow(attempt=2, finished_at=NOW)])
    assert store.verify_ledger() == []
    with duckdb.connect(str(store.path)) as connection:
        connection.execute(tampering)
    assert any(problem in found for found in store.verify_ledger())


def test_ledger_rows_go_through_the_chain(store: Store) -> None:
    """They are not appended like other rows, and their time has a zone."""
    row = store.ledger(AUDIT, 1, "started", "p", NOW)
    with pytest.raises(TypeError, match=r"Store\.ledger"):
        store.append(AUDIT, [row])
    with pytest.raises(ValueError, match="no time zone"):
        store.begin_attempt(AUDIT, "p", NOW.replace(tzinfo=None))


def test_the_first_lock_of_a_name_is_found(store: Store) -> None:
    """It is the earliest locked audit of that name, with its specification."""
    for audit_id, name in (("x", "other"), ("b", "breast"), ("a", "breast")):
        store.append(audit_id, [audit(name, spec={"id": audit_id})])
    for audit_id in ("x", "a", "b"):
        store.ledger(audit_id, 0, "locked", "p", NOW)
    assert store.first_lock("breast") == ("a", {"id": "a"})
    assert store.first_lock("nothing") is None
    assert store.audits() == ["x", "b", "a"]


def test_readers_and_a_writer_do_not_hinder_each_other(store: Store) -> None:
    """One process appends while another and this one query without a pause: nobody fails, everybody gets on."""
    writer = PRELUDE + "for n in range(10): store.append('a', batch(n))\n"
    reader = PRELUDE + "while True: store.query('from adequacy'); print(flush=True)\n"
    store.append("a", [])
    patient = Store(store.path)
    with start(reader, store.path) as other, start(writer, store.path) as process:
        queries = 0
        while process.poll() is None:
            patient.query("from adequacy")
            queries += 1
        other.kill()
        assert other.stdout is not None
        assert process.stderr is not None
        assert process.stderr.read() == ""
        elsewhere = len(other.stdout.readlines())
    assert len(patient.done("a")) == 10
    assert min(queries, elsewhere) >= 3
    assert not patient.spool.batches()


def test_threads_of_one_process_take_turns(store: Store) -> None:
    """A thread may read while another writes, although a process can hold a file in one mode only."""
    store.append("a", [])
    failures: list[StoreError] = []

    def read() -> None:
        try:
            for _ in range(10):
                store.query("from adequacy")
        except StoreError as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for n in range(10):
        store.append("a", [cell(f"k{n}")])
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(store.done("a")) == 10


def test_a_kill_loses_nothing_that_was_acknowledged_and_tears_nothing(store: Store) -> None:
    """After SIGKILL in a loop of appends every acknowledged batch is there, and every batch is whole."""
    code = PRELUDE + "n = int(sys.argv[2])\nwhile True:\n store.append('a', batch(n)); print(n, flush=True); n += 1\n"
    acknowledged: set[str] = set()
    for turn, seconds in enumerate((0.3, 0.47, 0.61)):
        with start(code, store.path, 10_000 * turn) as process:
            assert process.stdout is not None
            acknowledged.add("k" + process.stdout.readline().strip())
            time.sleep(seconds)
            process.send_signal(signal.SIGKILL)
            acknowledged |= {f"k{line.strip()}" for line in process.stdout if line.endswith("\n")}
    patient = Store(store.path)
    assert acknowledged <= patient.done("a")
    counts = patient.query("SELECT count(f.cell) FROM cells c LEFT JOIN findings f ON f.cell = c.key GROUP BY c.key").rows
    assert {n for (n,) in counts} == {3}


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.2])
def test_a_kill_while_the_file_is_made_leaves_none_or_a_whole_one(fresh: Store, seconds: float) -> None:
    """The next start goes on as if nothing had happened."""
    with start(PRELUDE + "store.append('a', [])", fresh.path) as process:
        while process.poll() is None and not fresh.path.with_name("results.duckdb.lock").exists():
            time.sleep(0.001)
        time.sleep(seconds)
        process.kill()
    fresh.append("a", [cell("a")])
    assert fresh.done("a") == {"a"}
    assert sorted(path.name for path in fresh.path.parent.iterdir()) == ["results.duckdb", "results.duckdb.lock"]


@pytest.mark.parametrize("mode", ["read", "write"])
def test_a_locked_store_spools_and_takes_in_later(store: Store, mode: str) -> None:
    """While another program holds the file, batches wait beside it in order; the next append takes them in first."""
    store.append(AUDIT, [cell("a")])
    with held(store.path, mode) as holder:
        for key in "bcd":
            store.append(AUDIT, [cell(key), score(key)])
        assert len(store.spool.batches()) == 3
        assert store.drain() == 3
        lines = refused(lambda: store.drain(required=True))
        assert f"process {holder}; 3 batches of results wait in results.duckdb.spool" in lines[0]
        assert "close that program" in lines[1]
        with pytest.raises(LockedError):
            store.begin_attempt(AUDIT, "p", NOW)
        with pytest.raises(LockedError):
            store.done(AUDIT)
    store.append(AUDIT, [cell("e"), score("e")])
    assert [row.key for row in store.rows(CellRow, AUDIT)] == ["a", "b", "c", "d", "e"]
    assert [row.cell for row in store.rows(ScoreRow, AUDIT)] == ["b", "c", "d", "e"]
    assert not store.spool.folder.exists()


def test_reading_rows_sees_spooled_batches(store: Store) -> None:
    """The audit never judges on less than it computed."""
    store.append(AUDIT, [cell("a")])
    with held(store.path):
        store.append(AUDIT, [cell("b")])
    assert store.done(AUDIT) == {"a", "b"}


def test_a_spooled_batch_is_taken_in_once(store: Store) -> None:
    """A kill after the commit leaves the batch in the spool; it is not written twice, nor is a cell that finished meanwhile."""
    store.append(AUDIT, [cell("a")])
    with held(store.path):
        store.append(AUDIT, [cell("b"), score("b")])
        store.append(AUDIT, [score("elsewhere")])
    copies = {path: path.read_bytes() for path in store.spool.batches()}
    assert store.drain() == 0
    for again in (copies, {store.spool.folder / "000001-00.jsonl": next(iter(copies.values()))}):
        store.spool.folder.mkdir()
        for path, content in again.items():
            path.write_bytes(content)
        assert store.drain() == 0
    assert [row.cell for row in store.rows(ScoreRow, AUDIT)] == ["b", "elsewhere"]


def test_whoever_finds_the_store_locked_for_a_moment_waits(store: Store) -> None:
    """A lock that ends before the patience does is not noticed, by writers and readers alike."""
    store.append(AUDIT, [])
    code = "import duckdb, sys, time\nc = duckdb.connect(sys.argv[1])\nprint(flush=True)\ntime.sleep(0.7)"
    for action in (lambda s: s.append(AUDIT, [cell("a")]), lambda s: s.query("from adequacy")):
        with start(code, store.path) as process:
            assert process.stdout is not None
            process.stdout.readline()
            action(Store(store.path, retry_seconds=20.0))
    assert store.done(AUDIT) == {"a"}
    assert not store.spool.batches()


def test_an_old_store_is_left_as_it_is(store: Store) -> None:
    """A file of another schema is neither read nor changed; the error says who made it and what to do."""
    store.append(AUDIT, [cell("a")])
    with duckdb.connect(str(store.path)) as connection:
        connection.execute("UPDATE meta SET value = '0' WHERE name = 'schema_version'")
        connection.execute("UPDATE meta SET value = '0.0.3' WHERE name = 'harness_version'")
    before = store.path.read_bytes()
    for action in (
        lambda: store.append(AUDIT, [cell("b")]),
        lambda: store.query("from adequacy"),
        lambda: store.begin_attempt(AUDIT, "p", NOW),
    ):
        lines = refused(action)
        assert "was made by harness 0.0.3 (schema 0)" in lines[0]
        assert "name another results file, or use harness 0.0.3" in lines[1]
    assert store.path.read_bytes() == before
    assert not store.spool.batches()


def test_somebody_else_s_database_is_refused(fresh: Store) -> None:
    """A DuckDB file without our schema is not written to."""
    with duckdb.connect(str(fresh.path)) as connection:
        connection.execute("CREATE TABLE cells (key VARCHAR)")
    before = fresh.path.read_bytes()
    assert "not one of audit results" in refused(lambda: fresh.append(AUDIT, [cell("a")]))[0]
    assert fresh.path.read_bytes() == before


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _overwrite(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 * 3 :] = b"\xff" * (len(content) - 4096 * 3)
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [_truncate, _overwrite, lambda path: path.write_bytes(b""), lambda path: path.write_text("hello")],
    ids=["cut in half", "overwritten", "empty", "text"],
)
def test_a_damaged_store_is_an_error_that_says_so(store: Store, damage: Callable[[Path], object]) -> None:
    """Writing and reading say what to do, and leave the file alone."""
    store.append(AUDIT, [cell(f"k{n}") for n in range(200)])
    damage(store.path)
    before = store.path.read_bytes()
    for action in (lambda: store.append(AUDIT, [cell("a")]), lambda: store.query("from cells"), lambda: store.done(AUDIT)):
        lines = refused(action)
        assert str(store.path) in lines[0]
        assert "put back a copy" in lines[1]
    assert store.path.read_bytes() == before


def test_a_log_without_its_store_is_not_written_over(fresh: Store) -> None:
    """A write-ahead log whose results file is gone belongs to someone."""
    log = fresh.path.with_name("results.duckdb.wal")
    log.write_bytes(b"rows")
    assert "belongs to a results file that is gone" in refused(lambda: fresh.append(AUDIT, [cell("a")]))[0]
    assert log.read_bytes() == b"rows"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A path under a file, or a folder in place of the file, is refused in words."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "results.duckdb", tmp_path / "folder"):
        lines = refused(lambda path=path: Store(path, 0.1).append(AUDIT, [cell("a")]))
        assert str(path) in lines[0]
        assert "name a results file in a folder that you may write to" in lines[1]


def test_a_full_disk_keeps_what_is_finished(store: Store) -> None:
    """A file that may not grow further refuses the batch in words; every batch before it is kept, and room mends it."""
    code = (
        PRELUDE
        + """
import os, resource
from harness.records import PictureRow
store.append("a", [])
limit = store.path.stat().st_size + 500_000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
for n in range(100):
    picture = PictureRow(cell=f"k{n}", gallery="real", position=0, item="i", caption="c", png=os.urandom(60_000))
    try:
        store.append("a", [batch(n)[0], picture])
    except StoreError as error:
        print(n, error, sep="\\n")
        break
"""
    )
    with start(code, store.path) as process:
        out, errors = process.communicate()
    assert errors == ""
    number, what, fix = out.splitlines()
    assert "the disk is full; every finished cell is kept" in what
    assert "make room, then run the same command again" in fix
    assert int(number) > 0
    assert store.done("a") == {f"k{n}" for n in range(int(number))} == {row.cell for row in store.rows(PictureRow, "a")}
    store.append("a", [cell("next")])
    assert "next" in store.done("a")


def test_a_disk_too_full_for_a_new_store_leaves_none(fresh: Store) -> None:
    """There is never half a results file: the next start makes it anew."""
    code = (
        PRELUDE
        + """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
try:
    store.append("a", batch(1))
except StoreError as error:
    print(error)
"""
    )
    with start(code, fresh.path) as process:
        out, _ = process.communicate()
    assert "the disk is full" in out
    assert not fresh.path.exists()
    fresh.append("a", [cell("a")])
    assert fresh.done("a") == {"a"}
