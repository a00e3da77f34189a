"""Which images are shown as the worst, and when a quantity is reported as an artefact."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness.records import ImageScoreRow, ScoreRow
from harness.stages.measure import excess
from harness.stages.standouts import IMAGES_SHOWN, QUANTITIES_SHOWN, _artefact, most_blamed


def blamed(quantity: str, excesses: list[float]) -> list[ImageScoreRow]:
    """Return one row for each image of a quantity."""
    common = {"cell": "c", "component": "m", "quantity": quantity, "real_median": 0.0, "real_high": 1.0, "n_real": 20}
    return [ImageScoreRow(**common, item=f"i{k}", value=x, excess=x) for k, x in enumerate(excesses)]


@pytest.mark.parametrize(
    ("value", "median", "high", "expected"),
    [
        (1.0, 2.0, 4.0, 0.0),
        (3.0, 2.0, 4.0, 0.5),
        (6.0, 2.0, 4.0, 2.0),
        (3.0, 2.0, 2.0, 1000.0),
        (2.0, 2.0, 2.0, 0.0),
        (9e9, 0.0, 1.0, 1000.0),
    ],
)
def test_excess(value: float, median: float, high: float, expected: float) -> None:
    """It counts in distances of the real 95th percentile from the real median, and is bounded."""
    assert excess(value, median, high) == expected


def test_the_quantity_whose_worst_image_is_furthest_comes_first() -> None:
    """Within one, the worst images come first; an image within the real 95 % is not shown, nor a quantity that has no other."""
    far, many, none = blamed("far", [5.0, 0.2, 0.3]), blamed("many", [2.0, 3.0, 0.5]), blamed("none", [1.0, 0.9, 0.0])
    shown = most_blamed([*many, *none, *far])
    assert [[row.quantity for row in group] for group in shown] == [["far"], ["many", "many"]]
    assert [row.excess for row in shown[1]] == [3.0, 2.0]


def test_the_gallery_is_bounded() -> None:
    """At most so many quantities, each with so many images."""
    shown = most_blamed([row for k in range(20) for row in blamed(f"q{k}", [float(k + 2)] * 30)])
    assert len(shown) == QUANTITIES_SHOWN
    assert all(len(group) == IMAGES_SHOWN for group in shown)


def score(**changes: Any) -> ScoreRow:
    """Return a measured value with interval and floor."""
    given = {"value": 5.0, "ci_low": 4.0, "ci_high": 6.0, "floor": 1.0, "floor_low": 0.5, "floor_high": 1.5, "better": "lower"} | changes
    return ScoreRow(cell="c", stage="measure", component="artefacts", quantity="checkerboard", **given)


def test_an_artefact_beyond_doubt_is_a_finding() -> None:
    """The interval must lie beyond the floor's range, on the worse side."""
    cell: Any = SimpleNamespace(key="c")
    (found,) = _artefact(cell, score())
    assert found.text == "artefacts.checkerboard is 5 (4 to 6); real against real gives at most 1.5."
    assert (found.kind, found.severity) == ("artefact", "warning")
    for quiet in ({"ci_low": 1.0}, {"better": "higher"}, {"ci_low": None, "ci_high": None}, {"floor_high": None}, {"stratum": "label=0"}):
        assert list(_artefact(cell, score(**quiet))) == []
