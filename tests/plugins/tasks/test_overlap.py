"""Overlap and distances of two regions: as published, as MONAI finds them, and by a stated policy where a region is empty."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric, HausdorffDistanceMetric, SurfaceDiceMetric
from scipy.ndimage import gaussian_filter

from harness_plugins.tasks.overlap import agreement, dice, hd95, surface_dice, surface_distances

SIZES = [((14, 17), (0.7, 1.3)), ((7, 8, 9), (2.0, 0.5, 1.0))]
EMPTY, FULL = np.zeros((4, 4), bool), np.ones((4, 4), bool)


def pairs_of_regions(size: tuple[int, ...], n: int = 5) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pairs of random regions, some of which touch the edge of the image."""
    rng = np.random.default_rng(3)
    regions = [gaussian_filter(rng.random(size), 1.5) > 0.5 for _ in range(2 * n)]
    return list(zip(regions[:n], regions[n:], strict=True))


def surface(region: np.ndarray) -> np.ndarray:
    """Return the coordinates of the pixels with a neighbour outside the region or outside the array, found one by one."""
    edge = []
    for place in np.argwhere(region):
        steps = [place + sign * np.eye(region.ndim, dtype=int)[axis] for axis in range(region.ndim) for sign in (-1, 1)]
        if any(not (s >= 0).all() or not (s < region.shape).all() or not region[tuple(s)] for s in steps):
            edge.append(place)
    return np.array(edge)


@pytest.mark.parametrize(("size", "spacing"), SIZES)
def test_they_agree_with_all_pairs(size: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    """Counting pixels and measuring between all pairs of surface pixels gives the same numbers."""
    for a, b in pairs_of_regions(size):
        assert dice(a, b) == pytest.approx(2 * sum(x and y for x, y in zip(a.flat, b.flat, strict=True)) / (a.sum() + b.sum()))
        between = np.linalg.norm((surface(a)[:, None] - surface(b)[None]) * np.array(spacing), axis=2)
        there, back = between.min(axis=1), between.min(axis=0)
        assert hd95(a, b, spacing) == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), rel=1e-12)
        within = (there <= 1.1).sum() + (back <= 1.1).sum()
        assert surface_dice(a, b, spacing, 1.1) == pytest.approx(within / (len(there) + len(back)), rel=1e-12)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize(("size", "spacing"), SIZES)
@pytest.mark.parametrize("tolerance", [0.45, 1.45])
def test_they_agree_with_monai(size: tuple[int, ...], spacing: tuple[float, ...], tolerance: float) -> None:
    """The three metrics of MONAI give the same numbers."""
    oracles = {
        "dice": DiceMetric(reduction="none"),
        "hd95": HausdorffDistanceMetric(include_background=True, percentile=95, reduction="none"),
        "surface_dice": SurfaceDiceMetric([tolerance], include_background=True, reduction="none"),
    }
    for a, b in pairs_of_regions(size):
        one, other = (torch.tensor(region[None, None]).float() for region in (a, b))
        found = agreement(a, b, spacing, tolerance)
        for name, oracle in oracles.items():
            monai = oracle(one, other) if name == "dice" else oracle(one, other, spacing=list(spacing))
            assert found[name] == pytest.approx(float(monai), rel=1e-5), name


def test_identical_regions_are_perfect() -> None:
    """A region agrees with itself wholly; nothing depends on which of two comes first."""
    a, b = np.zeros((2, 9, 9), bool)
    a[2:6, 3:7], b[4:, :5] = True, True
    assert agreement(a, a, (1.0, 1.0), 0.1) == {"dice": 1.0, "hd95": 0.0, "surface_dice": 1.0}
    assert agreement(a, b, (1.0, 2.0), 1.0) == agreement(b, a, (1.0, 2.0), 1.0)
    assert hd95(a, b, (1.0, 2.0)) > 0.0


def test_a_shift_counts_from_beyond_the_tolerance() -> None:
    """A square shifted by three pixels of 0.1 mm agrees at its surface with a tolerance of 0.3 mm, to the rounding, and not below."""
    there, here = np.zeros((2, 20, 20), bool)
    there[5:12, 5:12], here[8:15, 5:12] = True, True
    assert surface_dice(there, here, (0.1, 0.1), 0.3) == 1.0
    assert surface_dice(there, here, (0.1, 0.1), 0.29) < 1.0
    assert hd95(there, here, (0.1, 0.1)) == pytest.approx(0.3)


def test_a_wider_tolerance_never_lowers_the_surface_dice() -> None:
    """From a tolerance that forgives nothing to one that forgives all, it rises to 1."""
    a, b = pairs_of_regions((14, 17), 1)[0]
    found = [surface_dice(a, b, (1.0, 1.0), tolerance) for tolerance in (0.5, 1.0, 2.0, 4.0, 30.0)]
    assert found == sorted(found)
    assert found[0] < found[-1] == 1.0


def test_empty_regions_follow_the_stated_policy() -> None:
    """Nothing found where nothing is counts as right or not at all; a region that was missed has overlap 0; no distance is made up."""
    for empty, absent in (("one", {"dice": 1.0, "surface_dice": 1.0}), ("masked", {})):
        invented = {"dice": 0.0, "surface_dice": 0.0} if absent else {}
        for found, truth, expected in ((EMPTY, EMPTY, absent), (FULL, EMPTY, invented), (EMPTY, FULL, {"dice": 0.0, "surface_dice": 0.0})):
            values = agreement(found, truth, (1.0, 1.0), 5.0, empty)
            assert {name: value for name, value in values.items() if not np.isnan(value)} == expected
            assert list(values) == ["dice", "hd95", "surface_dice"]
    assert agreement(EMPTY, EMPTY, (1.0, 1.0), 5.0)["dice"] == 1.0


def test_distances_to_nothing_are_infinite() -> None:
    """An empty region has no distances, those to it are infinite, and neither are numbers that a percentile could be taken of."""
    there, back = surface_distances(FULL, EMPTY, (1.0, 1.0))
    assert np.isinf(there).all()
    assert (len(there), len(back)) == (12, 0)
    assert np.isnan(hd95(FULL, EMPTY, (1.0, 1.0)))
    assert surface_dice(FULL, EMPTY, (1.0, 1.0), 5.0) == 0.0
