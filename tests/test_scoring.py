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
from harness.scoring import Arms, Ends, outside, score

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
