"""Facts about Gibbs ringing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.api import Context, ImageSet
from harness_plugins.perturbations.ringing import Ringing, kept_lines


def ringing(pixels: np.ndarray, severity: float, folder: Path, kept_at_full: float = 0.25) -> np.ndarray:
    """One image of one channel with truncated k-space."""
    images = ImageSet(pixels[None, None].astype(np.float32), ("a",), (1.0,) * pixels.ndim)
    return Ringing(kept_at_full=kept_at_full).apply(images, images, severity, Context(seed=0, workdir=folder)).images[0, 0]


@pytest.mark.parametrize("size", [(20, 25), (8, 12, 9)])
def test_k_space_is_empty_outside_its_centre(tmp_path: Path, size: tuple[int, ...]) -> None:
    """What is kept is as it was and the rest is zero, along every axis, as far as nothing is clipped."""
    pixels = 0.4 + 0.2 * np.random.default_rng(0).random(size)
    before, after = np.fft.fftn(pixels), np.fft.fftn(ringing(pixels, 0.5, tmp_path))
    inside = np.ones(size, dtype=bool)
    for axis, lines in enumerate(size):
        shares = np.abs(np.fft.fftfreq(lines)) <= 0.625 / 2.0
        inside &= np.expand_dims(shares, tuple(a for a in range(len(size)) if a != axis))
    np.testing.assert_allclose(after[inside], before[inside], atol=1e-4)
    np.testing.assert_allclose(after[~inside], 0.0, atol=1e-4)
    assert np.abs(before[~inside]).max() > 0.1


def test_edges_overshoot_by_nine_per_cent(tmp_path: Path) -> None:
    """Beside a step the image is its convolution with Dirichlet's kernel, which overshoots by 9 % of the step's height."""
    step = np.full((256, 4), 0.25)
    step[64:192] = 0.75
    profile = ringing(step, 1.0, tmp_path, kept_at_full=0.125)[:, 0]
    waves = np.cos(2.0 * np.pi * np.outer(np.arange(256), np.arange(1, 17)) / 256.0)
    kernel = (1.0 + 2.0 * waves.sum(axis=1)) / 256.0
    expected = [kernel[(row - np.arange(256)) % 256] @ step[:, 0] for row in range(256)]
    np.testing.assert_allclose(profile, expected, atol=1e-5)
    assert (profile.max() - 0.75) / 0.5 == pytest.approx(0.0895, abs=0.004)


def test_kept_lines_are_symmetric() -> None:
    """As many lines are kept on either side of the centre; all of k-space is kept at a share of 1."""
    assert kept_lines(20, 0.7).sum() == 15
    assert kept_lines(20, 1.0).all()
    assert kept_lines(21, 1.0).all()
    kept = kept_lines(21, 0.5)
    np.testing.assert_array_equal(kept[1:], kept[:0:-1])


def test_ripples_of_the_reason(tmp_path: Path) -> None:
    """At the dose of concern ripples follow each other at a distance of about 3 px."""
    step = np.full((128, 2), 0.25)
    step[32:96] = 0.75
    ripple = ringing(step, Ringing().dose_of_concern, tmp_path)[36:92, 0] - 0.75
    strongest = np.abs(np.fft.rfft(ripple)).argmax()
    assert len(ripple) / strongest == pytest.approx(3.2, abs=0.3)


def test_flat_images_do_not_ring(tmp_path: Path) -> None:
    """Without edges there is nothing to see."""
    np.testing.assert_allclose(ringing(np.full((12, 13), 0.3), 1.0, tmp_path), 0.3, atol=1e-6)


def test_options_are_checked() -> None:
    """Keeping nothing, or everything, is refused."""
    with pytest.raises(ValueError, match="greater than 0"):
        Ringing(kept_at_full=0.0)
    with pytest.raises(ValueError, match="less than 1"):
        Ringing(kept_at_full=1.0)
