"""Facts about masks that are spoiled so that their Dice covers the range."""

from __future__ import annotations

import numpy as np
import pytest

from harness_plugins.extractors.spoiled_masks import graded, signed_depth
from harness_plugins.tasks.overlap import dice


def ball(size: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return a mask with one ball at a random place, bool."""
    centre, radius = rng.uniform(5, np.array(size) - 5), rng.uniform(2.5, 4.5)
    return np.asarray(sum((g - c) ** 2 for g, c in zip(np.indices(size), centre, strict=True)) <= radius**2)


@pytest.mark.parametrize("size", [(32, 32), (14, 16, 18)])
def test_spoiled_masks_cover_the_range_of_dice(size: tuple[int, ...]) -> None:
    """Of ten masks of each image, each tenth of the range gets its share, whatever the segmenter found: truth, a part or nothing."""
    rng = np.random.default_rng(0)
    truths = [ball(size, rng) for _ in range(30)]
    found = []
    for k, truth in enumerate(truths):
        own = (truth, np.roll(truth, 1, axis=0), np.zeros_like(truth))[k % 3]
        chosen = graded(truth, own, 40, rng)
        assert len(chosen) == 10
        assert all(mask.dtype == bool and mask.shape == size for mask in chosen)
        found += [dice(mask, truth) for mask in chosen]
    counts = np.histogram(found, np.linspace(0.0, 1.0, 11))[0]
    assert counts.min() > 15
    assert counts.max() < 50


def test_empty_truth_is_graded_by_nothing_found() -> None:
    """Where there is nothing to find, five empty masks are right and five with false parts are wrong."""
    empty = np.zeros((24, 24), bool)
    values = [dice(mask, empty) for mask in graded(empty, empty, 40, np.random.default_rng(1))]
    assert sorted(values) == [0.0] * 5 + [1.0] * 5


def test_signed_depth_by_hand() -> None:
    """The middle of a square of 5 lies 3 deep, its edge 1, its neighbour -1; the field's end is an edge; nothing has no depth."""
    square = np.zeros((9, 9), bool)
    square[2:7, 2:7] = True
    depth = signed_depth(square)
    assert (depth[4, 4], depth[4, 2], depth[4, 1], depth[4, 0]) == (3.0, 1.0, -1.0, -2.0)
    assert signed_depth(np.ones((5, 5), bool))[2, 2] == 3.0
    assert np.isneginf(signed_depth(np.zeros((3, 3), bool))).all()
