"""A run keeps what is finished, repeats nothing, and turns whatever a component does into rows."""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from rows import everything

from harness.api import Comparison, Context, ImageSet, Metric, NotComputable, Quantity
from harness.errors import HarnessError, InputError
from harness.records import CellRow, CriterionRow, FindingRow, ImageSetRow, QualificationRow, ScoreRow, VerdictRow
from harness.store import Store
from tiny_audit import MODEL, Project, host_with


def metric(measure: Any, promised: str = "level") -> type[Metric]:
    """Return a metric called odd with this verb."""
    return type(
        "Odd",
        (Metric,),
        {"name": "odd", "version": "1", "quantities": (Quantity(name=promised, better="lower"),), "measure": measure},
    )


def test_an_audit_leaves_verdicts_scores_and_conservation(project: Project) -> None:
    """Every planned cell is accounted for, every score has an interval or says why not, and the purpose has a verdict."""
    project.write()
    audit = project.audit()
    audit_id = audit.run()
    store = Store(project.folder / "results.duckdb")

    assert all(row[-1] for row in store.query("select holds from conservation").rows)
    scores = store.current(ScoreRow, audit_id, stage="measure")
    promised = project.parts().quantities()
    assert {f"{s.component}.{s.quantity}" for s in scores} == set(promised)
    assert all(s.status == "ok" and s.floor is not None and s.n == 60 for s in scores)
    for score in scores:
        reason = promised[f"{score.component}.{score.quantity}"].no_interval
        assert (score.ci_low is None) == bool(reason), score
        assert score.ci_method.startswith(f"no interval: {reason}" if reason else "")
    assert [v.purpose for v in store.current(VerdictRow, audit_id)] == ["augment"]
    assert len(store.current(QualificationRow, audit_id)) == len(scores)
    assert {r.role: r.patients for r in store.current(ImageSetRow, audit_id)} == {"train": 24, "test": 12, "synthetic": None}


def test_the_same_command_again_does_nothing_and_changes_nothing(project: Project) -> None:
    """A second attempt computes no cell and leaves the same rows, one attempt more in the ledger."""
    project.write()
    first = project.audit().run()
    before = everything(project.folder / "results.duckdb")

    def fail(*_: Any) -> None:
        raise AssertionError("computed again")

    again = project.audit()
    again._do = fail  # type: ignore[assignment,method-assign]

    assert again.run() == first
    assert everything(project.folder / "results.duckdb") == before
    assert Store(project.folder / "results.duckdb").query("select max(attempt) from ledger").rows == [(2,)]


def test_workers_do_not_change_the_numbers(project: Project) -> None:
    """Two processes give the rows of one."""
    project.write()
    salt = project.folder / "results.duckdb.salt"
    project.audit(store="results.duckdb", cache="cache").run()
    (project.folder / "other.duckdb.salt").write_bytes(salt.read_bytes())
    project.audit(store="other.duckdb", cache="cache-2", workers=2).run()

    assert everything(project.folder / "other.duckdb") == everything(project.folder / "results.duckdb")


def test_a_killed_audit_goes_on(project: Project) -> None:
    """After SIGKILL the same command ends with the rows of an undisturbed run."""
    project.write()
    audit = project.audit(store="calm.duckdb", cache="calm")
    audit.run()
    (project.folder / "killed.duckdb.salt").write_bytes((project.folder / "calm.duckdb.salt").read_bytes())
    command = [sys.executable, "-m", "harness.cli", "audit", str(project.model), "--store", str(project.folder / "killed.duckdb"),
               "--cache", str(project.folder / "killed"), "--workers", "0", "--quiet"]  # fmt: skip
    for _ in range(2):
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=project.folder)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not list((project.folder / "killed").glob("??/*/result.json")):
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
        child.wait()
    project.audit(store="killed.duckdb", cache="killed").run()

    assert everything(project.folder / "killed.duckdb") == everything(project.folder / "calm.duckdb")


def test_ctrl_c_keeps_finished_cells_and_exits_130(project: Project) -> None:
    """Interrupted, the command exits 130 and says that the same command goes on."""
    project.write()
    command = [sys.executable, "-m", "harness.cli", "audit", str(project.model), "--store", str(project.folder / "r.duckdb"),
               "--cache", str(project.folder / "c"), "--workers", "1", "--quiet"]  # fmt: skip
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and len(list((project.folder / "c").glob("??/*/result.json"))) < 3:
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGINT)
    _, err = child.communicate(timeout=60)

    assert child.returncode == 130, err
    assert "finished cells are kept" in err
    assert len(Store(project.folder / "r.duckdb").done(project.audit(store="r.duckdb", cache="c").id)) >= 2


@pytest.mark.parametrize(
    ("measure", "status", "reason"),
    [
        (lambda self, c, x: {"level": float("nan")}, "failed", "returned nan for level"),
        (lambda self, c, x: {"height": 1.0}, "failed", "returned ['height']; it promised ['level']"),
        (lambda self, c, x: 1 / 0, "failed", "ZeroDivisionError"),
        (lambda self, c, x: c.train.images.__setitem__(0, 0.5), "failed", "changed its inputs, which are lent read-only"),
    ],
)
def test_what_a_plugin_does_wrong_becomes_a_row(project: Project, measure: Any, status: str, reason: str) -> None:
    """The audit goes on; the cell and its scores carry the reason, and the other metrics have their numbers."""
    project.write(metrics=["odd", "memorisation"], perturbations=None)
    audit = project.audit(host_with(metric(measure)))
    audit_id = audit.run()
    store = Store(project.folder / "results.duckdb")

    rows = store.current(ScoreRow, audit_id, component="odd")
    assert [(r.status, r.value) for r in rows] == [(status, None)]
    assert reason in rows[0].reason
    assert all(r.status == "ok" for r in store.current(ScoreRow, audit_id, component="memorisation", stage="measure"))


def test_a_metric_that_has_no_number_says_why(project: Project) -> None:
    """`NotComputable` is a row with its words, not a failure."""

    def measure(self: Any, comparison: Comparison, context: Context) -> dict[str, float]:
        raise NotComputable("needs colour images")

    project.write(metrics=["odd", "memorisation"], perturbations=None)
    audit_id = project.audit(host_with(metric(measure))).run()

    row = Store(project.folder / "results.duckdb").current(ScoreRow, audit_id, component="odd")[0]
    assert (row.status, row.reason) == ("not_computable", "needs colour images")


def test_what_a_plugin_prints_is_kept_with_its_cell(project: Project) -> None:
    """Printing neither breaks the progress nor gets lost."""

    def measure(self: Any, comparison: Comparison, context: Context) -> dict[str, float]:
        print("hello from odd")
        return {"level": 1.0}

    project.write(metrics=["odd", "memorisation"], perturbations=None)
    audit_id = project.audit(host_with(metric(measure))).run()

    cells = Store(project.folder / "results.duckdb").current(CellRow, audit_id, component="odd")
    assert "hello from odd" in cells[0].output


def test_a_failed_cell_is_tried_again_when_asked(project: Project) -> None:
    """Without --retry-failed a failure stays; with it the cell runs under a new key and the plan in force has no failure."""
    broken = {"on": True}

    def measure(self: Any, comparison: Comparison, context: Context) -> dict[str, float]:
        if broken["on"]:
            raise RuntimeError("no memory")
        return {"level": 1.0}

    project.write(metrics=["odd", "memorisation"], perturbations=None)
    host = host_with(metric(measure))
    audit_id = project.audit(host).run()
    broken["on"] = False
    store = Store(project.folder / "results.duckdb")
    assert project.audit(host).run() == audit_id
    assert [r.status for r in store.current(ScoreRow, audit_id, component="odd", stage="measure")] == ["failed"]

    project.audit(host, retry_failed=True).run()
    assert [r.status for r in store.current(ScoreRow, audit_id, component="odd", stage="measure")] == ["ok"]
    assert all(row[0] for row in store.query("select holds from conservation").rows)
    project.audit(host).run()
    assert [r.status for r in store.current(ScoreRow, audit_id, component="odd", stage="measure")] == ["ok"]


def test_few_patients_give_values_without_intervals(project: Project) -> None:
    """Two training patients: no interval, no floor, no qualification, and each says why."""
    for path in list((project.folder / "train").rglob("*.png")):
        if not any(name in path.name for name in ("P001_", "P002_")):
            path.unlink()
    project.write(metrics=["frechet"], purposes={"p": {"context_of_use": "c", "uses_model": False}})
    audit_id = project.audit().run()
    store = Store(project.folder / "results.duckdb")

    row = store.current(ScoreRow, audit_id, component="frechet")[0]
    assert row.value is not None
    assert row.ci_low is None
    assert "2 train patients" in row.ci_method
    assert "needs at least 8 patients" in store.current(QualificationRow, audit_id)[0].reason
    assert store.current(VerdictRow, audit_id)[0].verdict == "not_assessed"


def test_patients_shared_by_train_and_test_are_a_finding_that_invalidates(project: Project) -> None:
    """A leak does not stop the audit; it is a breach, and the criterion is invalid."""
    leaked = next((project.folder / "train").rglob("P001_*_*[0-9].png"))
    (project.folder / "test" / leaked.parent.name / leaked.name).write_bytes(leaked.read_bytes())
    mask = leaked.with_name(f"{leaked.stem}_mask.png")
    (project.folder / "test" / mask.parent.name / mask.name).write_bytes(mask.read_bytes())
    project.write(perturbations=None)
    audit_id = project.audit().run()
    store = Store(project.folder / "results.duckdb")

    kinds = {f.kind for f in store.current(FindingRow, audit_id) if f.severity == "breach"}
    assert kinds == {"patient_overlap", "pixel_overlap"}
    assert store.current(CriterionRow, audit_id)[0].status == "invalid"


def test_bad_images_are_refused_and_nothing_is_stored(project: Project) -> None:
    """A truncated file stops the audit before the store has a row."""
    next((project.folder / "test").rglob("*[0-9].png")).write_bytes(b"\x89PNG\r\n\x1a\n")
    project.write()

    with pytest.raises(InputError):
        project.audit().run()
    assert not (project.folder / "results.duckdb").exists()


def test_a_relaxed_criterion_is_post_hoc(project: Project) -> None:
    """A bound that is relaxed after the lock makes a new audit that names the one it supersedes; its criterion is post hoc."""
    project.write()
    first = project.audit().run()
    purposes = copy.deepcopy(MODEL["purposes"])
    purposes["augment"]["criteria"][0]["at_most"] = 0.9
    project.write(purposes=purposes)
    second = project.audit().run()
    store = Store(project.folder / "results.duckdb")

    assert second != first
    assert store.query(f"select supersedes from audits where audit_id = '{second}'").rows == [(first,)]
    assert store.current(CriterionRow, second)[0].status == "post_hoc"


def test_a_full_disk_is_an_error_that_keeps_what_is_finished(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """No space left: exit 2 words, and the next run goes on."""
    project.write(perturbations=None)
    audit = project.audit()
    kept = audit.cache.__class__.keep
    count = {"cells": 0}

    def full(self: Any, key: str, workspace: Path, result: Any) -> None:
        count["cells"] += 1
        if count["cells"] == 4:
            raise OSError(28, "No space left on device")
        kept(self, key, workspace, result)

    monkeypatch.setattr(audit.cache.__class__, "keep", full)
    with pytest.raises(HarnessError, match="the disk is full; finished cells are kept"):
        audit.run()
    monkeypatch.undo()

    audit_id = project.audit().run()
    assert Store(project.folder / "results.duckdb").current(VerdictRow, audit_id)


def test_images_are_never_lent_writable(project: Project) -> None:
    """What the bench lends is read-only, stored features included."""
    project.write(perturbations=None)
    audit = project.audit()
    audit.run()
    images: ImageSet = audit.bench.images(audit.first.data, "train")

    assert not images.images.flags.writeable
    assert isinstance(images.images, np.ndarray)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"seed": 8}, "seed"),
        ({"samples": 50}, "samples"),
        ({"data": MODEL["data"] | {"window": [0, 200]}}, "data.window"),
        ({"metrics": ["frechet", "manifold", {"memorisation": {"false_positive_rate": 1e-9}}]}, "metrics"),
        ({"perturbations": [{"gaussian_noise": {"doses": [0.9], "dose_of_concern": 0.9, "because": "a test"}}]}, "perturbations"),
        ({"battery": {"replicates": 7, "null_splits": 24, "fault_seeds": 1}}, "battery.replicates"),
    ],
)
def test_anything_changed_after_the_lock_makes_every_criterion_post_hoc(project: Project, change: dict[str, Any], place: str) -> None:
    """Options, doses, seeds and data rules are as much part of the plan as bounds; the deviation names what was changed."""
    project.write()
    project.audit().lock()
    project.write(**change)
    audit_id = project.audit().run()
    store = Store(project.folder / "results.duckdb")

    assert {c.status for c in store.current(CriterionRow, audit_id)} == {"post_hoc"}
    assert any(place in f.text and f.severity == "adverse" for f in store.current(FindingRow, audit_id) if f.kind == "deviation")


def test_a_component_more_is_no_change_of_the_plan(project: Project) -> None:
    """A metric that is added for a look changes no criterion's standing."""
    project.write(perturbations=None)
    project.audit().lock()
    project.write(perturbations=None, metrics=[*MODEL["metrics"], "kernel"])
    audit_id = project.audit().run()

    assert "post_hoc" not in {c.status for c in Store(project.folder / "results.duckdb").current(CriterionRow, audit_id)}


def test_another_name_does_not_hide_an_earlier_audit(project: Project) -> None:
    """The same generator on the same data under a new name: a finding names the audit that came first."""
    project.write(perturbations=None)
    first = project.audit().run()
    project.write(perturbations=None, audit="fresh")
    second = project.audit().run()
    store = Store(project.folder / "results.duckdb")

    assert [first in f.text for f in store.current(FindingRow, second) if f.kind == "other_audits"] == [True]
    assert not [f for f in store.current(FindingRow, first) if f.kind == "other_audits"]


def test_a_failure_does_not_outlive_its_cause(project: Project) -> None:
    """Once a metric works, an audit under another plan measures it although the cache holds its failure."""
    broken = {"on": True}

    def measure(self: Any, comparison: Comparison, context: Context) -> dict[str, float]:
        if broken["on"]:
            raise RuntimeError("no weights")
        return {"level": 1.0}

    host = host_with(metric(measure))
    project.write(metrics=["odd", "memorisation"], perturbations=None)
    project.audit(host).run()
    broken["on"] = False
    purposes = copy.deepcopy(MODEL["purposes"])
    purposes["augment"]["context_of_use"] = "other words"
    project.write(metrics=["odd", "memorisation"], perturbations=None, purposes=purposes)
    audit_id = project.audit(host).run()

    assert [r.status for r in Store(project.folder / "results.duckdb").current(ScoreRow, audit_id, component="odd", stage="measure")] == [
        "ok"
    ]


def test_a_deleted_cache_changes_no_row(project: Project) -> None:
    """Without its cache a finished audit is still finished."""
    project.write(perturbations=None)
    project.audit().run()
    before = everything(project.folder / "results.duckdb")
    shutil.rmtree(project.folder / "cache")
    project.audit().run()

    assert everything(project.folder / "results.duckdb") == before


def test_an_altered_ledger_is_refused(project: Project) -> None:
    """A row that was changed by hand breaks the chain, and no audit goes on in such a file."""
    project.write(perturbations=None)
    project.audit().lock()
    connection = duckdb.connect(str(project.folder / "results.duckdb"))
    connection.execute("update ledger set event = 'started'")
    connection.close()

    with pytest.raises(HarnessError, match="the ledger was altered"):
        project.audit().run()


def test_a_killed_audit_leaves_no_process_behind(project: Project) -> None:
    """When the audit is killed, its workers and the generator's program end too."""
    (project.folder / "slow.py").write_text("import time\ntime.sleep(120)\n", encoding="utf-8")
    project.write(generator={"command": {"command": ["python", "slow.py", "{out}"]}}, perturbations=None)
    command = [sys.executable, "-m", "harness.cli", "audit", str(project.model), "--workers", "1", "--quiet"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    def left() -> list[str]:
        """Return commands of living processes: workers share the audit's session, the program names this project's folder."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != child.pid:
                with contextlib.suppress(OSError):
                    state, _, _, session = (entry / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[:4]
                    words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    ours = int(session) == child.pid or ("slow.py" in words and str(project.folder) in words)
                    found += [words] if ours and state != "Z" else []
        return found

    def wait(enough: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not enough():
            time.sleep(0.2)

    wait(lambda: any("slow.py" in words for words in left()), 90)
    assert any("slow.py" in words for words in left())
    child.kill()
    child.wait()
    wait(lambda: not left(), 20)

    assert left() == []
