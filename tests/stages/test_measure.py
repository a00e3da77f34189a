"""What a score's interval rests on: the units that are resampled, how many there are, and what is held fixed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.components import Context, Metric
from harness.images import Comparison, ImageSet
from harness.quantities import Quantity
from harness.records import ScoreRow
from harness.scoring import Arms
from harness.stages.measure import _measure
from harness.statistics.intervals import binomial_interval


class Bright(Metric):
    """Share of bright synthetic images; mean brightness of synthetic less training images."""

    name = "bright"
    version = "1"
    quantities = (
        Quantity(name="share", better="lower", low=0.0, high=1.0, proportion=True, fixed_train=True),
        Quantity(name="held", better="lower", fixed_train=True),
        Quantity(name="free", better="lower"),
    )

    def measure(self, comparison: Comparison, context: Context) -> Mapping[str, float]:
        """Return the three numbers."""
        made, train = (side.images.mean(axis=(1, 2, 3)) for side in (comparison.synthetic, comparison.train))
        difference = float(made.mean() - train.mean())
        return {"share": float((made > 0.5).mean()), "held": difference, "free": difference}


def images(role: str, owners: list[int], rng: np.random.Generator) -> ImageSet:
    """Return one-pixel images that are the same within an owner: a patient, or the file that patches were cut from."""
    level = rng.random(max(owners) + 1, dtype=np.float32)
    return ImageSet(
        images=level[owners].reshape(-1, 1, 1, 1), ids=tuple(f"{role}-{i}" for i in range(len(owners))), spacing_mm=(1.0, 1.0),
        patients=tuple(f"{role}{owner}" for owner in owners), origin="synthetic" if role == "synthetic" else "real",
    )  # fmt: skip


def measured(train: int, test: int, synthetic: int, each: int = 1) -> dict[str, ScoreRow]:
    """Return the scores with so many patients of two images, and so many synthetic files of `each` images."""
    return {row.quantity: row for row in rows_of(train, test, synthetic, each) if row.stage == "measure"}


def rows_of(train: int, test: int, synthetic: int, each: int = 1, stratum: str = "") -> list[ScoreRow]:
    """Measure; return the scores and the values of half-samples."""
    rng = np.random.default_rng(3)
    owners = {"train": (train, 2), "test": (test, 2), "synthetic": (synthetic, each)}
    sides = {role: images(role, [i for i in range(n) for _ in range(k)], rng) for role, (n, k) in owners.items()}
    part = SimpleNamespace(name="bright", component=Bright(), offer=SimpleNamespace(version="1"))
    bench: Any = SimpleNamespace(seed=1, device="cpu", parts=SimpleNamespace(metrics=[part]))
    cell: Any = SimpleNamespace(key="c", arguments={"metric": 0, "extractor": "", "size": {"half_samples": 50, "floor_splits": 4}})
    arms = Arms(Comparison(**sides), 50, 4, seed=1)
    return list(_measure(bench, cell, [arms], stratum, Path()))


def test_half_samples_are_kept_over_all_images_only() -> None:
    """Each quantity whose interval rests on them has a row for each, with its images and the units behind; within strata none has."""
    rows = [row for row in rows_of(12, 20, 60) if row.stage == "half" and row.quantity == "held"]

    assert [row.repeat for row in rows] == list(range(50))
    assert {(row.n, row.method) for row in rows} == {(30, "half-sample of 60 units")}
    assert {row.stage for row in rows_of(12, 20, 60, stratum="label=0")} == {"measure"}


def test_a_share_of_independent_images_is_binomial() -> None:
    """Where every synthetic image stands alone, the interval is that of independent trials."""
    row = measured(20, 20, 100)["share"]

    assert row.value is not None
    exact = binomial_interval(round(100 * row.value), 100)
    assert (row.ci_low, row.ci_high, row.ci_method) == (exact.low, exact.high, exact.method)


def test_a_share_of_images_that_share_files_is_resampled_by_file() -> None:
    """Four patches of each of 25 files are not 100 trials: the interval is about twice as wide, and says why."""
    row = measured(20, 20, 25, each=4)["share"]

    assert row.value is not None
    assert row.ci_low is not None
    assert row.ci_high is not None
    exact = binomial_interval(round(100 * row.value), 100)
    assert row.ci_high - row.ci_low > 1.5 * (exact.high - exact.low)
    assert row.ci_method == ("t x delete-half SD, 50 half-samples of 25 units; not binomial: 100 synthetic images of 25 files")


def test_the_spread_of_synthetic_patches_is_that_of_their_files() -> None:
    """Two patches of one file tell no more than one: the interval is that of half as many images."""
    once, twice = (measured(20, 20, 60, each=each)["held"] for each in (1, 2))

    assert None not in (once.ci_low, once.ci_high, twice.ci_low, twice.ci_high)
    assert twice.ci_high - twice.ci_low == pytest.approx(once.ci_high - once.ci_low)  # type: ignore[operator]


def test_only_resampled_sides_count_as_units() -> None:
    """Twelve training patients limit what resamples them, not what holds the training set fixed."""
    rows = measured(12, 20, 60)

    assert rows["held"].ci_method.endswith("of 60 units")
    assert rows["free"].ci_method.endswith("of 12 units")


@pytest.mark.parametrize(("train", "test", "said"), [(2, 20, "2 train patients"), (20, 9, "9 test patients")])
def test_few_patients_give_no_interval_to_anything(train: int, test: int, said: str) -> None:
    """Not even to a share: what it was calibrated on is a handful of patients."""
    for row in measured(train, test, 60).values():
        assert row.value is not None
        assert (row.ci_low, row.bound_low, row.bound_high) == (None, None, None)
        assert f"no interval: {said}, at least 10 are needed for an interval" in row.ci_method


def test_few_synthetic_images_leave_a_share_its_interval() -> None:
    """Exact binomial intervals hold at any number; half-samples of two images do not exist."""
    rows = measured(20, 20, 2)

    assert rows["share"].ci_high is not None
    assert "2 independent synthetic images" in rows["held"].ci_method
