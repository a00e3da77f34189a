"""Null splits, replicates and decisions: what is asked, of how many images, and what becomes of those that cannot answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import NotComputable
from harness.records import QualificationRow, ResponseRow, ScoreRow
from harness.stages.planting import plant
from harness.stages.qualify import blank, decide, null, replicates
from miniature import Breaks, Brighter, Control, Level, Miniature, OnNumbers, Shrink, real

SIZE = {"replicates": 16, "null_splits": 80, "fault_seeds": 2, "n": None}
DOSES = [0.25, 0.5, 1.0]


def common(metrics: list[int], *, numbers: bool) -> dict[str, Any]:
    """The arguments that the cells of one group share."""
    features = {"train": "f-train", "test": "f-test"} if numbers else {}
    return {"metrics": metrics, "extractor": "means" if numbers else "", "data": "d", "features": features,
            "source": "extractor-0" if numbers else ""}  # fmt: skip


def battery(mini: Miniature, metrics: list[int], *, numbers: bool = False) -> list[Any]:
    """Run everything for a group of metrics and return all rows."""
    arguments, rows = common(metrics, numbers=numbers), []
    mini.embed()
    rows += mini.run(null, "null", size=SIZE, **arguments)
    keys = []
    for p, defect in enumerate(mini.perturbations):
        doses = [d for d in DOSES if d in defect.doses]
        planted: dict[str, list[str]] = {repr(dose): [] for dose in doses}
        sources = [{"extractor": 0, "label": "extractor-0", "fitted": None, "clean": "f-train"}] if numbers else []
        for dose in doses:
            for fault in range(2):
                key = f"p{p}-{dose}-{fault}"
                mini.run(plant, key, perturbation=p, dose=dose, fault=fault, data="d", sources=sources, tasks=[])
                planted[repr(dose)].append(key)
        keys.append(f"r{p}")
        try:
            rows += mini.run(replicates, f"r{p}", perturbation=p, null="null", size=SIZE | {"doses": doses}, planted=planted, **arguments)
        except NotComputable:
            continue
    return rows + mini.run(decide, "decide", null="null", answers=keys, size=SIZE, tested_on="", **arguments)


def outcomes(rows: list[Any]) -> dict[tuple[str, str, str], QualificationRow]:
    """The decisions by component, quantity and perturbation."""
    return {(r.component, r.quantity, r.perturbation): r for r in rows if isinstance(r, QualificationRow)}


def test_a_metric_that_sees_the_defect_is_qualified(tmp_path: Path) -> None:
    """Brightness notices brightening in all replicates; the row says of how many images and probes."""
    row = outcomes(battery(Miniature(tmp_path, real(160), (Level(),), (Brighter(),)), [0]))["level", "mean", "brighter"]

    assert row.outcome == "qualified"
    assert (row.n, row.replicates, row.null_splits, row.fault_seeds) == (40, 16, 80, 2)
    assert (row.power, row.stability) == (1.0, 1.0)
    assert row.response is not None
    assert row.response > 5


def test_responses_are_stored_dose_by_dose_with_severity_zero(tmp_path: Path) -> None:
    """The response grows with the severity and is 0 without a defect: the same probes are compared."""
    rows = [r for r in battery(Miniature(tmp_path, real(160), (Level(),), (Brighter(),)), [0]) if isinstance(r, ResponseRow)]

    assert [r.severity for r in rows] == [0.0, 0.25, 0.5, 1.0]
    responses = [r.response for r in rows]
    assert responses[0] == 0.0
    assert responses == sorted(responses)  # type: ignore[type-var]
    assert [r.replicates for r in rows] == [16, 16, 16, 16]
    assert all(r.low <= r.mean <= r.high for r in rows)


def test_an_answer_to_a_harmless_change_makes_it_conditional(tmp_path: Path) -> None:
    """A control that brightens as much as the defect shows that the metric is not specific, and has no outcome itself."""
    found = outcomes(battery(Miniature(tmp_path, real(160), (Level(),), (Brighter(), Control())), [0]))

    row = found["level", "mean", "brighter"]
    assert (row.outcome, row.harmless) == ("conditional", "control")
    assert row.harmless_response is not None
    assert "not specific" in row.reason
    control = found["level", "mean", "control"]
    assert control.outcome is None
    assert control.reason.startswith("negative control: moved by")


def test_metrics_of_a_group_are_asked_together_and_one_that_fails_leaves_the_others(tmp_path: Path) -> None:
    """A metric that raises, and a quantity without a number, are not tested, each with its reason; the other is qualified."""
    mini = Miniature(tmp_path, real(160), (OnNumbers(), Breaks()), (Brighter(),))
    rows = battery(mini, [0, 1], numbers=True)
    found = outcomes(rows)

    assert found["on_numbers", "mean", "brighter"].outcome == "qualified"
    assert found["on_numbers", "none", "brighter"].reason == "not tested: there never is"
    assert found["breaks", "nothing", "brighter"].reason == "not tested: KeyError: 'a mistake'"
    assert {r.component for r in rows if isinstance(r, ScoreRow)} == {"on_numbers"}


def test_numbers_give_what_images_give(tmp_path: Path) -> None:
    """The mean of means over stored features equals the mean over pixels, split for split."""
    images = battery(Miniature(tmp_path / "a", real(160), (Level(),), (Brighter(),)), [0])
    numbers = battery(Miniature(tmp_path / "b", real(160), (OnNumbers(),), (Brighter(),)), [0], numbers=True)

    def values(rows: list[Any]) -> list[float]:
        return [r.value for r in rows if isinstance(r, ScoreRow) and r.quantity == "mean" and r.value is not None]

    assert values(images) == pytest.approx(values(numbers), abs=1e-6)


def test_replicates_are_never_the_same_images_again(tmp_path: Path) -> None:
    """A defect that loses half of 100 images leaves 50: replicates draw 25 of them, and so do null splits of its own."""
    rows = battery(Miniature(tmp_path, real(200), (Level(),), (Shrink(), Brighter())), [0])
    scores = [r for r in rows if isinstance(r, ScoreRow)]

    assert {r.n for r in scores if r.perturbation == "shrink"} == {25}
    assert {r.n for r in scores if r.perturbation != "shrink"} == {50}
    assert len([r for r in scores if r.perturbation == "shrink" and r.stage == "null"]) == 80
    assert len([r for r in scores if r.perturbation == "brighter" and r.stage == "null"]) == 0
    for dose in (0.0, *DOSES):
        assert len({r.value for r in scores if r.perturbation == "shrink" and r.stage == "qualify" and r.severity == dose}) == 16
    found = outcomes(rows)
    assert [found["level", "mean", p].n for p in ("shrink", "brighter")] == [25, 50]


def test_replicates_may_be_made_smaller(tmp_path: Path) -> None:
    """Who judges strata of 20 images asks for replicates of 20; a probe that holds fewer than twice that gives half of it."""
    mini = Miniature(tmp_path, real(160), (Level(),), (Brighter(),))
    rows = mini.run(null, "null", size=SIZE | {"n": 20}, **common([0], numbers=False))
    assert {r.n for r in rows if isinstance(r, ScoreRow)} == {20}
    rows = mini.run(null, "other", size=SIZE | {"n": 200}, **common([0], numbers=False))
    assert {r.n for r in rows if isinstance(r, ScoreRow)} == {40}


def test_a_defect_that_leaves_too_few_images_says_how_many(tmp_path: Path) -> None:
    """Of 64 images the smallest planted probe holds 16, half of which is too few; the other defect is tested all the same."""
    found = outcomes(battery(Miniature(tmp_path, real(64), (Level(),), (Shrink(), Brighter())), [0]))

    assert found["level", "mean", "shrink"].outcome is None
    reason = "not tested: needs at least 10 images in a replicate, which is half of the smallest probe; got 8"
    assert found["level", "mean", "shrink"].reason == reason
    assert found["level", "mean", "brighter"].n == 16


def test_too_few_images_leave_every_quantity_with_its_reason(tmp_path: Path) -> None:
    """Without null splits nothing is tested, and the decision still says it of every quantity and defect."""
    mini = Miniature(tmp_path, real(36), (Level(),), (Brighter(), Shrink()))
    arguments = common([0], numbers=False)
    with pytest.raises(NotComputable, match="needs at least 10 images in a replicate"):
        mini.run(null, "null", size=SIZE, **arguments)
    rows = mini.run(decide, "decide", null="null", answers=["r0", "r1"], size=SIZE, tested_on="", **arguments)

    assert [r.outcome for r in rows if isinstance(r, QualificationRow)] == [None, None]
    assert all("got 9" in r.reason for r in rows if isinstance(r, QualificationRow))


def test_patients_are_kept_together(tmp_path: Path) -> None:
    """Null splits never share a patient between the two sides."""
    seen = []

    class Patients(Level):
        """Notes whose images it sees."""

        def measure(self, comparison: Any, context: Any) -> Any:
            """Compare owners."""
            seen.append(set(comparison.train.patients or ()) & set(comparison.synthetic.patients or ()))
            return super().measure(comparison, context)

    battery(Miniature(tmp_path, real(40, each=4), (Patients(),), (Brighter(),)), [0])
    assert seen
    assert not any(seen)


def test_a_decision_that_failed_says_it_of_every_quantity(tmp_path: Path) -> None:
    """A blank decision leaves one row for each quantity and defect; null splits and replicates leave none."""
    from types import SimpleNamespace

    mini = Miniature(tmp_path, real(60), (Level(),), (Brighter(), Shrink()))
    cell: Any = SimpleNamespace(key="c", arguments=common([0], numbers=False), function="qualify.decide")
    assert [r.reason for r in blank(mini.bench, cell, "failed", "it broke")] == ["not tested: it broke"] * 2
    cell.function = "qualify.null"
    assert list(blank(mini.bench, cell, "failed", "it broke")) == []
