"""What the dossier draws of trust factors."""

from __future__ import annotations

from typing import Any

import pytest

from harness.curves import trainings
from harness.records import TrainingRow, TrustRow
from harness.sweeps import sweeps


def row(factor: str, variant: str, real: float, synthetic: float, value: float | None, tested_on: str = "real", **more: Any) -> TrustRow:
    """A row of one factor."""
    missing = {"status": "not_computable", "reason": "because"} if value is None else {"n": 9, "repeats": 5}
    return TrustRow(cell="c", component="net", factor=factor, variant=variant, region=more.pop("region", ""), tested_on=tested_on,
                    real_share=real, synthetic_share=synthetic, seed=1, value=value, **missing, **more)  # fmt: skip


def test_a_sweep_is_drawn_over_mixes_of_one_size() -> None:
    """Curves hold the mixes with as many images as there are real ones, in the order of the real share; the table holds every mix."""
    rows = [row("T1", "image_first", *mix, value, ci_low=value - 0.1, ci_high=value + 0.1)
            for mix, value in (((1, 0), 0.9), ((0, 1), 0.7), ((1, 1), 0.95), ((0.25, 0.75), 0.8))]  # fmt: skip
    rows += [row("T1", "image_first", 1, 0, 0.6, "synthetic"), row("T1", "image_first", 0, 1, 0.9, "synthetic")]
    found = sweeps(rows)[0]

    assert [(c.factor, c.variant, c.region) for c in found.curves] == [("T1", "image_first", "")]
    assert [(d.severity, d.mean, d.low, d.high) for d in found.curves[0].doses] == [
        (0, 0.7, pytest.approx(0.6), pytest.approx(0.8)), (0.25, 0.8, pytest.approx(0.7), pytest.approx(0.9)),
        (1, 0.9, pytest.approx(0.8), pytest.approx(1.0)),
    ]  # fmt: skip
    assert [(d.severity, d.mean) for d in found.curves[0].beside] == [(0, 0.9), (1, 0.6)]
    assert found.mixes == ((1, 0), (0, 1), (1, 1), (0.25, 0.75))
    assert [[None if r is None else r.value for r in line.rows] for line in found.lines] == [[0.9, 0.7, 0.95, 0.8], [0.6, 0.9, None, None]]
    assert (found.task, found.repeats, found.paired) == ("net", 5, False)


def test_the_cosine_stands_beside_random_pairing() -> None:
    """T3 has one curve for both test sets, and beside it what pairing the cases at random gives."""
    rows = [row("T3", variant, alpha, 1 - alpha, value, "both", region="core")
            for variant, value in (("cosine", 0.99), ("shuffled_mean", 0.98), ("pearson", 0.1)) for alpha in (0, 1)]  # fmt: skip
    found = sweeps(rows)[0]
    assert found.paired
    assert [c.variant for c in found.curves] == ["cosine"]
    assert {d.mean for d in found.curves[0].beside} == {0.98}
    assert {line.variant for line in found.lines} == {"cosine"}


def test_a_missing_mix_gives_its_reason() -> None:
    """A mix whose training failed has no curve and no line, and its reason is printed."""
    found = sweeps([row("T1", "", 0, 1, None, "both"), row("T1", "image_first", 1, 0, 0.9)])[0]
    assert found.missing == (("(0, 1)", "because"),)
    assert found.curves == ()


def test_training_curves_are_by_series_and_seconds_stand_beside() -> None:
    """Each series is a curve in the order of its steps; seconds are no curve."""
    rows = [TrainingRow(cell="c", component="g", series=series, step=step, value=value)
            for series, step, value in (("loss", 20, 1.0), ("loss", 10, 2.0), ("seconds", 10, 3.0), ("seconds", 20, 7.5))]  # fmt: skip
    found = trainings(rows)
    assert [(t.component, t.series, t.seconds, [(p.severity, p.mean) for p in t.points]) for t in found] == [
        ("g", "loss", 7.5, [(10, 2.0), (20, 1.0)])
    ]
    assert trainings(rows[:2])[0].seconds is None
    assert trainings([]) == []


def test_factors_stand_in_their_order() -> None:
    """T1 comes before T5, and the reading as printed before the corrected one, in whatever order the rows come."""
    rows = [row(factor, variant, 1, 0, 0.9) for factor, variant in
            (("T5", "cv"), ("T2", "over_region_means"), ("T2", "literal_over_images"), ("T1", "image_first"))]  # fmt: skip
    found = sweeps(rows)[0].lines
    assert [line.variant for line in found] == ["image_first", "literal_over_images", "over_region_means", "cv"]
