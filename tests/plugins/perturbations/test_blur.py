"""Facts about blur."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Context, ImageSet
from harness_plugins.perturbations.blur import Blur


def blurred(pixels: np.ndarray, severity: float, folder: Path, spacing_mm: tuple[float, ...] | None = None, **options: Any) -> np.ndarray:
    """One blurred image of one channel."""
    images = ImageSet(pixels[None, None].astype(np.float32), ("a",), spacing_mm or (1.0,) * pixels.ndim)
    return Blur(**options).apply(images, images, severity, Context(seed=0, workdir=folder)).images[0, 0].astype(np.float64)


def point(size: tuple[int, ...], position: tuple[int, ...]) -> np.ndarray:
    """A black image with one white pixel."""
    pixels = np.zeros(size)
    pixels[position] = 1.0
    return pixels


@pytest.mark.parametrize("severity", [0.5, 1.0])
def test_point_becomes_a_gaussian_of_this_width(tmp_path: Path, severity: float) -> None:
    """A point becomes a Gaussian with half its height at half the full width, and of sum one."""
    spread = blurred(point((41, 41), (20, 20)), severity, tmp_path, fwhm_at_full=8.0)
    rows, columns = np.indices(spread.shape) - 20
    expected = 0.5 ** (4.0 * (rows**2 + columns**2) / (8.0 * severity) ** 2)
    np.testing.assert_allclose(spread, expected / expected.sum(), atol=1e-5)
    assert spread[20, 20 + int(4 * severity)] == pytest.approx(spread[20, 20] / 2.0, rel=1e-3)


def test_widths_in_mm_follow_the_spacing(tmp_path: Path) -> None:
    """In mm each axis of a volume is blurred over as many pixels as its spacing makes of the width."""
    spacing = (2.5, 1.0, 0.5)
    spread = blurred(point((31, 41, 61), (15, 20, 30)), 1.0, tmp_path, spacing, fwhm_at_full=6.0, unit="mm")
    for axis, step in enumerate(spacing):
        profile = spread.sum(axis=tuple(a for a in range(3) if a != axis))
        positions = (np.arange(len(profile)) - len(profile) // 2) * step
        assert np.sqrt(profile @ positions**2) * 2.3548 == pytest.approx(6.0, rel=0.01)


def test_flat_regions_and_channels_stay(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """A flat image is left alone up to its edges, and channels do not run into each other."""
    images = picture_set(1, (16, 16), 2)
    pixels = images.images.copy()
    pixels[:, 1] = 0.25
    changed = Blur().apply(replace(images, images=pixels), images, 1.0, Context(seed=0, workdir=tmp_path)).images
    np.testing.assert_allclose(changed[:, 1], 0.25, atol=1e-6)
    assert changed[:, 0].std() < 0.8 * pixels[:, 0].std()


def test_contrasts_in_the_reasons(tmp_path: Path) -> None:
    """At a width of 2 px lines 2 px wide keep 41 % of their contrast; at 1.4 px a single pixel keeps 45 %."""
    lines = np.tile(0.5 + 0.4 * np.cos(np.pi / 2.0 * np.arange(40)), (40, 1))
    kept = blurred(lines, Blur().dose_of_concern, tmp_path)[20, 8:32]
    assert (kept.max() - kept.min()) / 0.8 == pytest.approx(0.41, abs=0.005)
    mammography = Blur(**Blur.presets["mammography"])
    assert blurred(point((9, 9), (4, 4)), mammography.dose_of_concern, tmp_path)[4, 4] == pytest.approx(0.45, abs=0.005)


def test_options_are_checked() -> None:
    """A width of nothing and an unknown unit are refused."""
    with pytest.raises(ValueError, match="greater than 0"):
        Blur(fwhm_at_full=0.0)
    with pytest.raises(ValueError, match="'px' or 'mm'"):
        Blur.model_validate({"unit": "cm"})
