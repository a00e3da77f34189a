"""Facts about undersampled k-space."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from harness.api import Context, ImageSet, NotComputable
from harness_plugins.perturbations.undersampling import Undersampling, chosen_lines


@pytest.mark.parametrize("lines", [100, 101])
def test_lines_are_nested_with_a_full_centre(lines: int) -> None:
    """One line in so many is kept, always the central ones, and a higher acceleration keeps a part of what a lower one keeps."""
    kept = [chosen_lines(lines, acceleration, 0.08, np.random.default_rng(5)) for acceleration in (1.0, 1.5, 2.5, 4.0)]
    assert [int(k.sum()) for k in kept] == [lines, round(lines / 1.5), 40, 25]
    assert all(np.all(less <= more) for more, less in pairwise(kept))
    centre = np.fft.fftshift(kept[-1])[lines // 2 - 3 : lines // 2 + 5]
    assert centre.all()
    other = chosen_lines(lines, 4.0, 0.08, np.random.default_rng(6))
    assert not np.array_equal(other, kept[-1])


def test_outer_lines_are_chosen_evenly() -> None:
    """Over many images every line outside the centre is kept equally often."""
    rng = np.random.default_rng(0)
    counts = np.sum([chosen_lines(50, 2.5, 0.08, rng) for _ in range(1000)], axis=0)
    central = np.isin(np.arange(50), [0, 1, 2, 49])
    assert np.all(counts[central] == 1000)
    assert np.all(np.abs(counts[~central] / 1000 - 16 / 46) < 0.06)


@pytest.mark.parametrize(("size", "axis"), [((20, 14), -2), ((20, 14), -1), ((9, 20, 6), -2)])
def test_image_is_the_zero_filled_one(size: tuple[int, ...], axis: int, tmp_path: Path) -> None:
    """The result is the magnitude of the sum of the waves of the lines that are kept, along the axis that is named."""
    rng = np.random.default_rng(0)
    images = ImageSet((0.3 + 0.3 * rng.random((1, 1, *size))).astype(np.float32), ("a",), (1.0,) * len(size))
    changed = Undersampling(axis=axis).apply(images, images, 0.5, Context(seed=4, workdir=tmp_path)).images
    lines = size[axis]
    kept = np.flatnonzero(chosen_lines(lines, 2.5, 0.08, np.random.default_rng(4)))
    positions = np.arange(lines)
    # The projection of columns on the waves that are kept: nothing else happens, whatever the other axes are.
    waves = np.exp(2j * np.pi * np.outer(positions, kept) / lines)
    projected = np.moveaxis(images.images, axis, -1) @ (waves @ waves.conj().T / lines).T
    np.testing.assert_allclose(changed, np.abs(np.moveaxis(projected, -1, axis)), atol=1e-5)


def test_aliasing_stays_in_its_column(tmp_path: Path) -> None:
    """What is beside the object along the other axis stays black; along the phase-encoding axis it does not."""
    pixels = np.zeros((1, 1, 40, 40), dtype=np.float32)
    pixels[..., 15:25, 15:25] = 0.8
    images = ImageSet(pixels, ("a",), (1.0, 1.0))
    changed = Undersampling().apply(images, images, 1.0, Context(seed=0, workdir=tmp_path)).images[0, 0]
    assert changed[:, :15].max() < 1e-6
    assert changed[:10, 15:25].mean() > 0.02


def test_bad_requests_are_refused(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """A centre that is all that may be kept, no acceleration, and an axis that pictures do not have are refused."""
    with pytest.raises(ValueError, match=r"leaves no lines to choose at 4\.0-fold acceleration"):
        Undersampling(centre_share=0.25)
    with pytest.raises(ValueError, match="greater than 1"):
        Undersampling(acceleration_at_full=1.0)
    images = picture_set(2)
    with pytest.raises(NotComputable, match="axis -3"):
        Undersampling(axis=-3).apply(images, images, 1.0, Context(seed=0, workdir=tmp_path))
