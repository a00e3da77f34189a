"""A score's parts: value, interval, floor; and what becomes of each where there are too few images or no number."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.components import Context, Metric
from harness.errors import NotComputable
from harness.images import Comparison, from_features
from harness.quantities import Better, Quantity
from harness.scoring import Arms, Ends, alike, measured, outside, score

SEEN: list[tuple[int, int]] = []


class Counted(Metric):
    """Distance of the means, the same without an interval, and a number that needs 40 synthetic images."""

    name = "counted"
    version = "1"
    needs = frozenset({"features"})
    quantities = (
        Quantity(name="gap", better="lower", low=0.0),
        Quantity(name="bare", better="lower", no_interval="its seed noise is not covered"),
        Quantity(name="picky", better="lower"),
    )

    def measure(self, comparison: Comparison, context: Context) -> Mapping[str, float | NotComputable]:
        """Return the three."""
        gap = float(abs(comparison.features("train").mean() - comparison.features("synthetic").mean()))
        few = NotComputable("needs 40 images")
        return {"gap": gap, "bare": gap, "picky": gap if comparison.n("synthetic") >= 40 else few}


class Bare(Metric):
    """A number without an interval."""

    name = "bare"
    version = "1"
    needs = frozenset({"features"})
    quantities = (Quantity(name="value", better="lower", no_interval="resampling does not cover it"),)

    def measure(self, comparison: Comparison, context: Context) -> Mapping[str, float]:
        """Return the number of synthetic images."""
        SEEN.append((comparison.n("train"), comparison.n("synthetic")))
        return {"value": float(comparison.n("synthetic"))}


def arms(train: int = 60, test: int = 30, synthetic: int = 60, **sizes: int) -> Arms:
    """Return Gaussian features of independent images."""
    rng = np.random.default_rng(5)
    sides = {role: from_features(rng.normal(size=(n, 3)), role) for role, n in (("train", train), ("test", test), ("synthetic", synthetic))}
    return Arms(Comparison(**sides), sizes.get("half_samples", 12), sizes.get("floor_splits", 4), seed=1)


def lend(*words: Any) -> Context:
    """Lend a context."""
    return Context(seed=len(words), workdir=Path())


def test_value_interval_and_floor() -> None:
    """A number comes with its interval, the floor and its range, and the value at the floor's n."""
    row = score(Counted(), arms(), lend)["gap"]
    assert isinstance(row, dict)
    assert row["ci_low"] <= row["value"] <= row["ci_high"]
    assert row["ci_low"] >= 0.0
    assert row["floor_low"] <= row["floor"] <= row["floor_high"]
    assert (row["n"], row["n_floor"]) == (60, 30)
    assert row["ci_method"] == "t x delete-half SD, 12 half-samples of 30 units"


def test_a_quantity_that_is_not_computable_on_half_has_a_value_without_interval() -> None:
    """The reason names the half-samples; its neighbours keep their intervals."""
    found = score(Counted(), arms(), lend)
    picky, gap = found["picky"], found["gap"]
    assert isinstance(picky, dict)
    assert isinstance(gap, dict)
    assert picky["ci_method"] == "no interval: too few images for half-samples (needs 40 images)"
    assert "ci_low" not in picky
    assert "floor" not in picky
    assert gap["ci_low"] is not None


def test_a_quantity_without_a_number_is_a_reason() -> None:
    """Where the whole set is too small, the reason stands in the place of the columns."""
    assert str(score(Counted(), arms(synthetic=30), lend)["picky"]) == "needs 40 images"


def test_a_declared_reason_stands_in_the_place_of_the_interval() -> None:
    """`no_interval` is printed, and a metric that has no other quantity is not asked on half-samples."""
    SEEN.clear()
    row = score(Bare(), arms(), lend)["value"]
    assert isinstance(row, dict)
    assert row["ci_method"] == "no interval: resampling does not cover it"
    assert len(SEEN) == 1 + 2 * 4


def test_resamples_are_drawn_once() -> None:
    """Two metrics on the same arms see the same half-samples, whose distances they share."""
    both = arms()
    assert both.halves(held=False) is both.halves(held=False)
    assert both.halves(held=True)[0].n("train") == 60
    assert both.halves(held=False)[0].n("train") == 30
    assert both.floor[0] is both.floor[0]


def test_an_empty_test_set_takes_no_part_in_resampling() -> None:
    """A quick look without test images still has intervals."""
    row = score(Counted(), arms(test=0), lend)["gap"]
    assert isinstance(row, dict)
    assert row["ci_method"] == "t x delete-half SD, 12 half-samples of 60 units"


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"train": 7}, "7 independent train images, at least 10 are needed for an interval"),
        ({"synthetic": 9}, "9 independent synthetic images, at least 10 are needed for an interval"),
    ],
)
def test_few_units_give_no_interval(sizes: dict[str, int], said: str) -> None:
    """The reason counts them."""
    row = score(Counted(), arms(**sizes), lend)["gap"]
    assert isinstance(row, dict)
    assert row["ci_method"] == f"no interval: {said}"


@pytest.mark.parametrize(
    ("interval", "better", "side"),
    [((4.0, 5.0), "lower", "worse"), ((4.0, 5.0), "higher", "better"), ((0.1, 0.4), "lower", "better"), ((0.1, 0.4), "higher", "worse"),
     ((0.4, 1.2), "lower", ""), ((None, None), "lower", "")],
)  # fmt: skip
def test_values_beyond_the_floor_are_marked(interval: Ends, better: Better, side: str) -> None:
    """The whole interval must lie beyond the range of real against real."""
    assert outside(interval, (0.5, 1.5), better) == side


def runs(*sizes: int) -> list[Arms]:
    """Return sampling runs of these sizes against the same real images."""
    rng = np.random.default_rng(6)
    real = {role: from_features(rng.normal(size=(60, 3)), role) for role in ("train", "test")}
    made = [from_features(rng.normal(size=(n, 3)), "synthetic") for n in sizes]
    return [Arms(Comparison(**real, synthetic=images), 12, 4, seed=1, run=k) for k, images in enumerate(made)]


def test_runs_of_different_size_are_brought_to_one() -> None:
    """The smallest decides, whatever the order, so that floor, value at the floor's n and share mean one thing."""
    found = alike(runs(60, 20, 40))
    assert [arms.comparison.n("synthetic") for arms in found] == [20, 20, 20]
    assert [arms.floor[1] for arms in found] == [20, 20, 20]
    same = runs(30, 30, 30)
    assert all(one is other for one, other in zip(alike(same), same, strict=True))


def test_a_metric_over_runs_is_their_mean() -> None:
    """Value and number of images are those of all runs, a criterion sees the images of one, and half-samples of each run are kept."""
    three = runs(40, 40, 40)
    found = measured(Counted(), three, lend)
    row = found.columns["gap"]
    assert isinstance(row, dict)
    alone = [score(Counted(), arms, lend)["gap"] for arms in three]
    assert row["value"] == pytest.approx(np.mean([one["value"] for one in alone if isinstance(one, dict)]))
    assert (row["n"], row["judged_n"]) == (120, 40)
    assert found.halves["gap"].values.shape == (3, 12)
    assert found.by_run["gap"] == [one["value"] for one in alone if isinstance(one, dict)]


def test_a_run_without_a_number_leaves_none() -> None:
    """The reason names the run."""
    three = runs(40, 40, 30)
    reason = measured(Counted(), three, lend).columns["picky"]
    assert str(reason) == "sampling run 3: needs 40 images"


def test_the_real_images_of_a_half_sample_are_the_same_in_every_run() -> None:
    """Synthetic ones are drawn for each run alone, lest runs that list their images in one order vary together."""
    one, other, _ = runs(40, 40, 40)
    for first, second in zip(one.halves(held=False), other.halves(held=False), strict=True):
        assert np.array_equal(first.features("train"), second.features("train"))
        assert first.synthetic.ids != second.synthetic.ids
