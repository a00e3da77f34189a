"""Texture of pictures whose texture is known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from harness_plugins.extractors.texture import cooccurrence, directions, first_order, grey_levels, haar, haralick, local_binary_patterns

BOARD = np.indices((8, 8)).sum(axis=0) % 2


def test_directions_are_one_of_each_pair() -> None:
    """Four in the plane, thirteen in space, none with its opposite."""
    for axes, count in ((2, 4), (3, 13)):
        found = set(directions(axes))
        assert len(found) == count
        assert not found & {tuple(-s for s in step) for step in found}


def test_grey_levels_are_equal_steps_of_the_window() -> None:
    """0 is the first level, 1 the last."""
    assert grey_levels(np.array([0.0, 0.249, 0.25, 0.999, 1.0]), 4).tolist() == [0, 0, 1, 3, 3]


def test_a_checkerboard_alternates_along_the_axes_and_not_along_the_diagonals() -> None:
    """The co-occurrence matrices of a checkerboard are all off the diagonal, or all on it."""
    matrices = cooccurrence(BOARD, 2, 1)
    diagonal = sorted(float(np.trace(m) / m.sum()) for m in matrices)
    assert diagonal == [0.0, 0.0, 1.0, 1.0]
    assert haralick(matrices)["contrast"] == pytest.approx(0.5)


def test_a_flat_picture_has_no_texture() -> None:
    """No contrast, no entropy, no energy in any detail band; one pattern."""
    flat = np.full((8, 8), 0.5)
    statistics = first_order(flat.ravel(), grey_levels(flat, 4).ravel(), 4)
    assert (statistics["sd"], statistics["entropy"], statistics["skewness"]) == (0.0, 0.0, 0.0)
    assert haralick(cooccurrence(grey_levels(flat, 4), 4, 1))["contrast"] == 0.0
    assert np.count_nonzero(local_binary_patterns(flat)) == 1
    assert max(abs(value) for name, value in haar(flat, 2).items() if "H" in name) == 0.0
