"""Facts about Rician noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from harness.api import Context, ImageSet
from harness_plugins.perturbations.rician_noise import RicianNoise


def on_grey(picture_set: Callable[..., ImageSet], grey: float, severity: float, folder: Path, seed: int = 0) -> np.ndarray:
    """Noisy values on flat images of one grey level."""
    images = picture_set(20, (50, 50))
    images = replace(images, images=np.full_like(images.images, grey))
    return RicianNoise(sd_at_full=0.1).apply(images, images, severity, Context(seed=seed, workdir=folder)).images


@pytest.mark.parametrize("severity", [0.5, 1.0])
@pytest.mark.parametrize("grey", [0.0, 0.1, 0.5])
def test_law_is_rices(picture_set: Callable[..., ImageSet], tmp_path: Path, grey: float, severity: float) -> None:
    """Values follow Rice's law with the intensity as its centre; on black that is Rayleigh's, with mean 1.25 SD."""
    sd = 0.1 * severity
    values = on_grey(picture_set, grey, severity, tmp_path).ravel()
    law = stats.rice(grey / sd, scale=sd)
    assert values.mean() == pytest.approx(law.mean(), rel=0.01)
    assert values.std() == pytest.approx(law.std(), rel=0.02)
    assert np.mean(values.astype(np.float64) ** 2) == pytest.approx(grey**2 + 2.0 * sd**2, rel=0.01)
    assert stats.kstest(values[:5000], law.cdf).pvalue > 0.01


def test_a_higher_dose_is_the_same_noise(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Where the signal is strong, noise at twice the severity is twice the noise."""
    half, full = (on_grey(picture_set, 0.6, severity, tmp_path, seed=3) - 0.6 for severity in (0.25, 0.5))
    assert np.corrcoef(half.ravel(), full.ravel())[0, 1] > 0.99
    assert full.std() == pytest.approx(2.0 * half.std(), rel=0.02)


def test_options_are_checked() -> None:
    """A standard deviation of nothing is refused."""
    with pytest.raises(ValueError, match="greater than 0"):
        RicianNoise(sd_at_full=0.0)
