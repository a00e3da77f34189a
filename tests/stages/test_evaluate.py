"""Tasks over mixes: values and gains within labels, groups and sizes of lesions, each scored by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from harness.api import Context, ImageSet, NotComputable, Quantity, Task
from harness.host import Host
from harness.records import CaseScoreRow, CellRow, CriterionRow, ScoreRow
from harness.stages.evaluate import strata
from harness.store import Store
from miniature import real
from tiny_audit import MODEL, Project, host_with

TASKS = {"components": ["level"], "mixes": [[1, 0], [1, 0.5]], "repeats": 2}
BARE: dict[str, Any] = {"samples": 60, "metrics": [], "extractors": [], "perturbations": None, "strata": None, "tasks": TASKS,
                        "purposes": {"p": {"context_of_use": "c", "uses_model": False}}}  # fmt: skip


class Level(Task):
    """Says how bright an image is beyond the mean of the training images, and how far the brightest and darkest are apart."""

    name = "level"
    version = "1"
    quantities = (
        Quantity(name="excess", better="higher"),
        Quantity(name="range", better="lower", no_interval="it is one number of the whole set"),
    )

    def fit(self, training: ImageSet, validation: ImageSet, context: Context) -> None:
        """Keep the mean."""
        (context.workdir / "level.txt").write_text(repr(float(training.images.mean()) + 0.01 * context.rng.random()))

    def score(self, test: ImageSet, context: Context) -> Mapping[str, np.ndarray]:
        """Return both for every case; the range cannot be said of malignant lesions alone."""
        assert context.fitted is not None
        assert test.labels is not None
        if set(test.labels.tolist()) == {1}:
            raise NotComputable("needs a benign lesion")
        means = test.images.mean(axis=(1, 2, 3), dtype=np.float64)
        return {"excess": means - float((context.fitted / "level.txt").read_text()), "range": np.full(len(test), np.ptp(means))}


class Reader(Level):
    """The same, as one whose answers are labels."""

    name = "reader"
    needs = frozenset({"labels"})


@pytest.fixture
def host() -> Host:
    """A host that knows the task of this file."""
    return host_with(Level, Reader)


def run(project: Project, host: Host, **changes: Any) -> tuple[Store, str]:
    """Run the audit and return its results."""
    project.write(**(BARE | changes))
    return Store(project.folder / "results.duckdb"), project.audit(host).run()


def test_each_stratum_is_scored_by_itself(project: Project, host: Host) -> None:
    """A mean over cases is that of the stratum's cases, and a statistic of the set that of the stratum, not a mean of the whole."""
    store, audit = run(project, host)
    rows = {(r.quantity, r.stratum): r for r in store.current(ScoreRow, audit, stage="evaluate") if r.synthetic_share == 0}
    assert {stratum for _, stratum in rows} == {
        "", "label=0", "label=1", "probe=convex", "probe=linear", "lesion_size=small", "lesion_size=medium", "lesion_size=large",
    }  # fmt: skip
    cases = store.current(CaseScoreRow, audit, quantity="excess", synthetic_share=0.0, repeat=0)
    again = store.current(CaseScoreRow, audit, quantity="excess", synthetic_share=0.0, repeat=1)
    for probe in ("convex", "linear"):
        mine = [r.value for r in (*cases, *again) if probe in r.case_id]
        assert rows["excess", f"probe={probe}"].value == pytest.approx(np.mean(mine))
        assert rows["excess", f"probe={probe}"].n == len(mine) / 2
        values = [r.value for r in cases if probe in r.case_id]
        assert rows["range", f"probe={probe}"].value == pytest.approx(np.ptp(values))
    assert sum(rows["excess", f"lesion_size={size}"].n or 0 for size in ("small", "medium", "large")) == 36


def test_a_stratum_without_an_answer_gives_its_reason(project: Project, host: Host) -> None:
    """What cannot be said of malignant lesions alone is a row with the reason, for values and for gains."""
    store, audit = run(project, host)
    rows = store.current(ScoreRow, audit, stage="evaluate", stratum="label=1")
    assert {(r.quantity, r.status, r.reason) for r in rows} == {
        (name, "not_computable", "needs a benign lesion") for name in ("excess", "range", "excess_gain", "range_gain")
    }


def test_a_quantity_may_have_no_interval(project: Project, host: Host) -> None:
    """The promise says why, and neither the value nor its gain has one."""
    store, audit = run(project, host)
    rows = [r for r in store.current(ScoreRow, audit, stage="evaluate", stratum="") if r.quantity.startswith("range")]
    assert {(r.quantity, r.ci_low, r.ci_method) for r in rows} == {
        (name, None, "no interval: it is one number of the whole set") for name in ("range", "range_gain")
    }
    assert all(r.ci_low is not None for r in store.current(ScoreRow, audit, stage="evaluate", stratum="", quantity="excess"))


def test_labels_are_no_strata_of_a_task_whose_answers_they_are(project: Project, host: Host) -> None:
    """Within one class there is nothing to tell apart; the groups stay, and labels that are asked for by name are used."""
    tasks = TASKS | {"components": ["reader"]}
    store, audit = run(project, host, tasks=tasks)
    assert {r.stratum.split("=")[0] for r in store.current(ScoreRow, audit, stage="evaluate")} == {"", "probe", "lesion_size"}
    store, audit = run(project, host, tasks=tasks, strata=["label"])
    assert {r.stratum.split("=")[0] for r in store.current(ScoreRow, audit, stage="evaluate")} == {"", "label"}


def test_patients_are_named_only_where_they_are_known(project: Project, host: Host) -> None:
    """Where they are unknown, images stand in for them, no patients are counted, and the method says so."""
    store, audit = run(project, host, data=MODEL["data"] | {"patients": None})
    rows = list(store.current(ScoreRow, audit, stage="evaluate", stratum="", quantity="excess"))
    assert {(r.n, r.n_patients) for r in rows} == {(36, None)}
    assert all("36 cases whose patients are unknown" in r.ci_method for r in rows)
    store, audit = run(project, host)
    rows = list(store.current(ScoreRow, audit, stage="evaluate", stratum="probe=linear", quantity="excess"))
    assert {(r.n_patients, r.ci_method) for r in rows} == {(6, "no interval: 6 test patients, at least 10 are needed")}


def test_another_stratum_trains_nothing_anew(project: Project, host: Host) -> None:
    """What runs have learned is found in the cache, and only the scores within strata are new."""
    run(project, host, strata=[])
    store, audit = run(project, host, strata=["probe"])
    cells = [c for c in store.current(CellRow, audit) if c.stage == "evaluate"]
    assert sum(c.cached for c in cells) == 4
    assert sum(not c.cached for c in cells) == 5


def test_no_strata_where_none_are_wanted(project: Project, host: Host) -> None:
    """`strata: []` leaves them out."""
    store, audit = run(project, host, strata=[])
    assert {r.stratum for r in store.current(ScoreRow, audit, stage="evaluate")} == {""}


def test_a_criterion_may_ask_for_every_stratum(project: Project, host: Host) -> None:
    """Each probe is judged for itself, and six patients of one are too few for it to be met."""
    criterion = {"id": "C1", "claim": "c", "quantity": "level.excess", "mix": [1, 0.5], "gain_at_least": -1, "because": "b",
                 "strata": ["probe"], "strata_role": "each_must_meet", "one_kind_because": "d"}  # fmt: skip
    store, audit = run(project, host, purposes={"p": {"context_of_use": "c", "criteria": [criterion]}})
    rows = {r.criterion: r for r in store.current(CriterionRow, audit)}
    assert {name: row.status for name, row in rows.items()} == dict.fromkeys(("C1", "C1[probe=convex]", "C1[probe=linear]"), "missing")
    assert "6 test patients, at least 10 are needed" in rows["C1[probe=convex]"].reason
    assert rows["C1[probe=linear]"].value == next(
        r.value for r in store.current(ScoreRow, audit, quantity="excess_gain", stratum="probe=linear", synthetic_share=0.5)
    )


def test_strata_are_those_of_the_images() -> None:
    """One class is one stratum; a group that the images do not have is none, and so is a size where all masks are empty."""
    images = real(12)
    whole = strata(images, ["label", "lesion_size", "scanner"])
    assert {label.split("=")[0] for label in whole} <= {"label", "lesion_size"}
    benign = images.take(np.flatnonzero(images.labels == 0))  # type: ignore[arg-type]
    assert {label: len(rows) for label, rows in strata(benign, ["label"]).items()} == {"label=0": len(benign)}
