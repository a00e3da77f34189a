"""Facts about speckle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.api import Context, ImageSet
from harness_plugins.perturbations.speckle_noise import SpeckleNoise


def gains(
    picture_set: Callable[..., ImageSet], severity: float, folder: Path, size: tuple[int, ...] = (60, 64), n: int = 12, **options: Any
) -> np.ndarray:
    """What images of a dark grey, on which nothing is clipped, are multiplied with; (n, *size)."""
    images = picture_set(n, size)
    images = replace(images, images=np.full_like(images.images, 0.05))
    speckled = SpeckleNoise(**options).apply(images, images, severity, Context(seed=0, workdir=folder))
    return (speckled.images.astype(np.float64) / 0.05)[:, 0]


@pytest.mark.parametrize("looks", [1, 4])
def test_law_is_the_gamma(picture_set: Callable[..., ImageSet], tmp_path: Path, looks: int) -> None:
    """At severity 1 independent pixels follow the gamma law of that many looks; one look is the exponential law of full speckle."""
    values = gains(picture_set, 1.0, tmp_path, looks=looks, cell_px=0.0).ravel()
    law = stats.gamma(looks, scale=1.0 / looks)
    assert values.mean() == pytest.approx(1.0, rel=0.01)
    assert values.std() == pytest.approx(looks**-0.5, rel=0.02)
    assert stats.kstest(values[:5000], law.cdf).pvalue > 0.01


@pytest.mark.parametrize(("size", "n"), [((60, 64), 12), ((15, 32, 33), 3)])
@pytest.mark.parametrize("cell_px", [2.0, 4.0])
def test_cells_have_their_width(
    picture_set: Callable[..., ImageSet], tmp_path: Path, cell_px: float, size: tuple[int, ...], n: int
) -> None:
    """Mean and SD are those of independent pixels; the autocovariance is Gaussian and half at half the cell's width, along each axis."""
    values = gains(picture_set, 0.5, tmp_path, size=size, n=n, cell_px=cell_px)
    assert values.mean() == pytest.approx(1.0, rel=0.03)
    assert values.std() == pytest.approx(0.25, rel=0.06)
    centred = values - values.mean()
    for axis in range(1, values.ndim):
        for lag in range(1, int(cell_px)):
            measured = np.mean(centred * np.roll(centred, lag, axis)) / centred.var()
            assert measured == pytest.approx(0.5 ** ((2.0 * lag / cell_px) ** 2), abs=0.06)


def test_a_higher_dose_is_the_same_speckle(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """The deviation of the factor from 1 is in proportion with the severity, pixel by pixel."""
    half, full = (gains(picture_set, severity, tmp_path) - 1.0 for severity in (0.4, 0.8))
    np.testing.assert_allclose(full, 2.0 * half, atol=1e-5)


def test_channels_share_their_speckle_and_black_stays(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """All channels of an image are multiplied with one field, images with fields of their own, and black stays black."""
    images = picture_set(2, (30, 30), 2)
    grey = np.full_like(images.images, 0.1)
    grey[:, :, 0] = 0.0
    grey = SpeckleNoise().apply(replace(images, images=grey), images, 1.0, Context(seed=0, workdir=tmp_path)).images
    np.testing.assert_array_equal(grey[:, 0], grey[:, 1])
    assert not np.allclose(grey[0], grey[1])
    assert not grey[:, :, 0].any()


def test_variance_in_the_reason() -> None:
    """Speckle of 5.6 dB is a fifth of mid-grey on 60 dB, and another 12.5 % makes its variance nearly half as large again."""
    # The level in dB of an exponential intensity has the standard deviation (10 / ln 10) pi / sqrt(6).
    decibels = 10.0 / np.log(10.0) * np.pi / np.sqrt(6.0)
    share = decibels / 60.0 / 0.5
    assert decibels == pytest.approx(5.6, abs=0.05)
    assert share == pytest.approx(0.2, abs=0.02)
    assert (share**2 + (0.5 * SpeckleNoise().dose_of_concern) ** 2) / share**2 == pytest.approx(1.45, abs=0.05)


def test_options_are_checked() -> None:
    """No look and a negative width are refused."""
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        SpeckleNoise(looks=0)
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        SpeckleNoise(cell_px=-1.0)
