"""Facts about loss of resolution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from harness.api import Context, ImageSet
from harness_plugins.perturbations.resolution_loss import ResolutionLoss, coarsening


@pytest.mark.parametrize("size", [(12, 20), (6, 8, 10)])
def test_whole_factors_average_boxes_and_interpolate(size: tuple[int, ...], tmp_path: Path) -> None:
    """Pixels twice as wide are means of 2 pixels along each axis, interpolated linearly between their centres and held at the edge."""
    pixels = np.random.default_rng(0).random(size).astype(np.float32)
    images = ImageSet(pixels[None, None], ("a",), (1.0,) * len(size))
    changed = ResolutionLoss().apply(images, images, 0.5, Context(seed=0, workdir=tmp_path)).images[0, 0]
    means = pixels.astype(np.float64)
    for axis, length in enumerate(size):
        means = means.reshape(*means.shape[:axis], length // 2, 2, *means.shape[axis + 1 :]).mean(axis=axis + 1)
    centres = [np.arange(length // 2) * 2.0 + 0.5 for length in size]
    positions = np.meshgrid(*(np.clip(np.arange(length), 0.5, length - 1.5) for length in size), indexing="ij")
    expected = RegularGridInterpolator(centres, means)(np.stack(positions, axis=-1))
    np.testing.assert_allclose(changed, expected, atol=1e-6)


def test_broken_factors_average_parts_of_pixels() -> None:
    """Cells of 2.5 pixels average five half pixels, and what reaches beyond the edge is left out."""
    signal = np.random.default_rng(0).random(10)
    cells = np.repeat(signal, 2).reshape(4, 5).mean(axis=1)
    expected = np.interp(np.arange(10) + 0.5, [1.25, 3.75, 6.25, 8.75], cells)
    np.testing.assert_allclose(coarsening(10, 2.5) @ signal, expected)
    # Three cells of 4 pixels lie about the middle of 10 pixels: the outer two hold 3 pixels each.
    expected = np.interp(np.arange(10) + 0.5, [1.5, 5.0, 8.5], [signal[:3].mean(), signal[3:7].mean(), signal[7:].mean()])
    np.testing.assert_allclose(coarsening(10, 4.0) @ signal, expected)


@pytest.mark.parametrize("size", [1, 7, 20])
@pytest.mark.parametrize("factor", [1.0, 1.3, 2.0, 3.7, 50.0])
def test_weights_are_averages(size: int, factor: float) -> None:
    """Weights are not negative and sum to one, so that flat images stay; they are symmetric about the middle."""
    weights = coarsening(size, factor)
    assert weights.min() >= 0.0
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-12)


def test_small_factors_change_little() -> None:
    """A factor of 1 is the identity, and one just above it nearly so."""
    np.testing.assert_array_equal(coarsening(20, 1.0), np.eye(20))
    assert np.abs(coarsening(20, 1.001) - np.eye(20)).max() < 0.02


def test_contrast_in_the_reason() -> None:
    """With pixels 1.5 times as wide a single pixel keeps a quarter of its contrast on average over its positions."""
    kept = np.diag(coarsening(128, 1.5))
    assert np.mean(np.outer(kept, kept)) == pytest.approx(0.25, abs=0.03)


def test_options_are_checked() -> None:
    """A factor of 1 changes nothing and is refused."""
    with pytest.raises(ValueError, match="greater than 1"):
        ResolutionLoss(factor_at_full=1.0)
