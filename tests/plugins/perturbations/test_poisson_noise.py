"""Facts about counting noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from harness.api import Context, ImageSet
from harness_plugins.perturbations.poisson_noise import PoissonNoise, poisson_quantiles


def on_grey(picture_set: Callable[..., ImageSet], grey: float, severity: float, folder: Path, photons: float = 100.0) -> np.ndarray:
    """Counted values on flat images of one grey level."""
    images = picture_set(10, (50, 60))
    images = replace(images, images=np.full_like(images.images, grey))
    return PoissonNoise(photons_at_full=photons).apply(images, images, severity, Context(seed=0, workdir=folder)).images


@pytest.mark.parametrize("scale", [1e-3, 0.1, 1.0, 10.0, 300.0, 1e4, 1e7])
def test_quantiles_are_those_of_the_law(scale: float) -> None:
    """Counts are the quantiles that scipy finds by another way, also far out in the tails."""
    rng = np.random.default_rng(0)
    shares = np.concatenate([rng.random(3000), [2.0**-53, 1e-9, 1.0 - 1e-9]])
    means = scale * rng.uniform(0.1, 2.0, shares.shape)
    np.testing.assert_array_equal(poisson_quantiles(shares, means), stats.poisson.ppf(shares, means))


def test_nothing_gives_no_counts() -> None:
    """A mean of 0 gives the count 0 whatever the share, and the lowest and highest shares that a generator gives finite counts."""
    assert poisson_quantiles(np.array([0.0, 0.5, 1.0 - 2.0**-53]), np.zeros(3)).tolist() == [0.0, 0.0, 0.0]
    for share in (0.0, 1.0 - 2.0**-53):
        assert np.isfinite(poisson_quantiles(np.full(3, share), np.array([1e-3, 1.0, 1e6]))).all()


@pytest.mark.parametrize("severity", [0.25, 1.0])
@pytest.mark.parametrize("grey", [0.02, 0.3, 0.5])
def test_mean_and_variance(picture_set: Callable[..., ImageSet], tmp_path: Path, grey: float, severity: float) -> None:
    """The mean stays, the variance is intensity x severity^2 / photons_at_full, and counts are whole."""
    values = on_grey(picture_set, grey, severity, tmp_path).astype(np.float64)
    assert values.mean() == pytest.approx(grey, rel=0.03)
    assert values.var() == pytest.approx(grey * severity**2 / 100.0, rel=0.03)
    counts = values * 100.0 / severity**2
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-3)


def test_counts_follow_the_law(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """At 6 photons the counts 0 to 14 and more come as often as Poisson's law says."""
    counts = np.rint(on_grey(picture_set, 0.3, 1.0, tmp_path, photons=20.0) * 20.0).astype(int).ravel()
    law = stats.poisson(6.0)
    expected = np.append(law.pmf(np.arange(14)), law.sf(13)) * counts.size
    assert stats.chisquare(np.bincount(np.minimum(counts, 14), minlength=15), expected).pvalue > 0.01


def test_white_is_saturated(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Counts above the top of the window are clipped: half of white stays white, the rest gets darker."""
    values = on_grey(picture_set, 1.0, 1.0, tmp_path)
    assert values.max() == 1.0
    assert 0.5 < np.mean(values == 1.0) < 0.56


def test_a_higher_dose_is_the_same_noise(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Noise at twice the severity is twice the noise, as nearly as whole counts allow."""
    half, full = (on_grey(picture_set, 0.5, severity, tmp_path, photons=500.0) - 0.5 for severity in (0.5, 1.0))
    assert np.corrcoef(half.ravel(), full.ravel())[0, 1] > 0.99
    assert full.std() == pytest.approx(2.0 * half.std(), rel=0.02)


@pytest.mark.parametrize(("photons", "side"), [(400.0, 4), (1600.0, 2)])
def test_rose_contrast_of_the_reasons(photons: float, side: int) -> None:
    """A detail that differs by 9 % from mid-grey reaches a signal-to-noise ratio of 5 at the doses of concern of the X-ray presets."""
    surround = photons / 2.0
    assert 0.09 * surround * side**2 / np.sqrt(surround * side**2) == pytest.approx(5.0, rel=0.03)


def test_options_are_checked() -> None:
    """A number of photons that is not positive is refused."""
    with pytest.raises(ValueError, match="greater than 0"):
        PoissonNoise(photons_at_full=0.0)
