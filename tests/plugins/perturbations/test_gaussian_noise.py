"""Facts about the noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Context, ImageSet
from harness_plugins.perturbations.gaussian_noise import GaussianNoise


def applied(images: ImageSet, severity: float, tmp_path: Path, seed: int = 0, **options: Any) -> ImageSet:
    """Images with noise."""
    return GaussianNoise(**options).apply(images, images, severity, Context(seed=seed, workdir=tmp_path))


def test_severity_zero_is_the_identity(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """At severity 0 the images come back as they are."""
    images = picture_set()
    assert applied(images, 0.0, tmp_path) is images


@pytest.mark.parametrize("severity", [0.25, 1.0])
def test_standard_deviation_is_the_promised_one(picture_set: Callable[..., ImageSet], tmp_path: Path, severity: float) -> None:
    """On mid-grey the standard deviation is severity x sd_at_full, and the mean stays."""
    grey = picture_set(80, (40, 40))
    grey = replace(grey, images=np.full_like(grey.images, 0.5))
    noise = applied(grey, severity, tmp_path, sd_at_full=0.1).images - 0.5
    assert noise.std() == pytest.approx(0.1 * severity, rel=0.02)
    assert abs(noise.mean()) < 0.002 * severity
    assert np.abs(np.corrcoef(noise[0].ravel(), noise[70].ravel())[0, 1]) < 0.1


def test_range_and_knowledge_are_kept(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Values stay in [0, 1] as float32; masks, labels, patients and ids stay; features, now wrong, go."""
    images = picture_set().with_features(np.zeros((12, 2)))
    noisy = applied(images, 1.0, tmp_path)
    assert noisy.images.dtype == np.float32
    assert noisy.images.min() == 0.0
    assert noisy.images.max() == 1.0
    assert (noisy.ids, noisy.patients) == (images.ids, images.patients)
    np.testing.assert_array_equal(noisy.masks, images.masks)
    np.testing.assert_array_equal(noisy.labels, images.labels)
    assert noisy.features is None


def test_seeds_are_honoured(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """One seed gives the same noise again, another seed other noise; the input is untouched."""
    images = picture_set()
    before = images.images.copy()
    first, again, other = (applied(images, 0.5, tmp_path, seed).images for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(images.images, before)


def test_preset_of_mri_has_the_doses_of_the_paper(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """For MRI the standard deviations are those of Deo et al. (2025): 0.01, 0.05 and 0.1 of the window, the middle one of concern."""
    preset = GaussianNoise.presets["mri"]
    grey = picture_set(10, (40, 40))
    grey = replace(grey, images=np.full_like(grey.images, 0.5))
    noise = [applied(grey, dose, tmp_path, **preset).images - 0.5 for dose in preset["doses"]]
    assert [n.std() for n in noise] == pytest.approx([0.01, 0.05, 0.1], rel=0.03)
    assert preset["dose_of_concern"] == preset["doses"][1]
