"""Facts about changing images one by one, and about every defect that is planted in this way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from harness.api import Context, FailureMode, ImageSet, Perturbation
from harness.testing import check
from harness_plugins.perturbations.bias_field import BiasField
from harness_plugins.perturbations.blur import Blur
from harness_plugins.perturbations.contrast import Contrast
from harness_plugins.perturbations.gaussian_noise import GaussianNoise
from harness_plugins.perturbations.jpeg import Jpeg
from harness_plugins.perturbations.motion import Motion
from harness_plugins.perturbations.planting import planted
from harness_plugins.perturbations.poisson_noise import PoissonNoise
from harness_plugins.perturbations.resolution_loss import ResolutionLoss
from harness_plugins.perturbations.rician_noise import RicianNoise
from harness_plugins.perturbations.ringing import Ringing
from harness_plugins.perturbations.speckle_noise import SpeckleNoise
from harness_plugins.perturbations.undersampling import Undersampling

EVERYWHERE = {"ultrasound", "mri", "xray", "mammography", "microscopy"}
BELONGS: dict[type[Perturbation], tuple[FailureMode, set[str]]] = {
    BiasField: (FailureMode.ARTEFACT, {"mri"}),
    Blur: (FailureMode.BLUR, EVERYWHERE),
    Contrast: (FailureMode.DISTRIBUTION_SHIFT, EVERYWHERE - {"mri"}),
    GaussianNoise: (FailureMode.NOISE, EVERYWHERE),
    Jpeg: (FailureMode.ARTEFACT, EVERYWHERE - {"mri"}),
    Motion: (FailureMode.ARTEFACT, {"mri"}),
    PoissonNoise: (FailureMode.NOISE, {"xray", "mammography", "microscopy"}),
    ResolutionLoss: (FailureMode.BLUR, EVERYWHERE - {"mri"}),
    RicianNoise: (FailureMode.NOISE, {"mri"}),
    Ringing: (FailureMode.ARTEFACT, {"mri"}),
    SpeckleNoise: (FailureMode.NOISE, {"ultrasound"}),
    Undersampling: (FailureMode.ARTEFACT, {"mri"}),
}
WITHOUT_CHANCE = {Blur, Contrast, Jpeg, ResolutionLoss, Ringing}
every_defect = pytest.mark.parametrize("defect", BELONGS, ids=lambda defect: defect.name)
DOSES = (0.0, 0.25, 0.5, 1.0)
every_shape = pytest.mark.parametrize(("size", "channels"), [((21, 24), 2), ((9, 12, 11), 1)], ids=["2D", "3D"])


def applied(defect: type[Perturbation], images: ImageSet, severity: float, folder: Path, seed: int = 0) -> ImageSet:
    """Images with the defect as it comes without options."""
    return defect().apply(images, images, severity, Context(seed=seed, workdir=folder))


def clouds(n: int, size: tuple[int, ...]) -> ImageSet:
    """Images of one channel with detail of every size, as natural ones have."""
    noise = np.random.default_rng(0).standard_normal((n, 1, *size))
    smooth = sum(gaussian_filter(noise, (0, 0, *(sd,) * len(size))) * sd ** (len(size) / 2 + 0.3) for sd in (0.5, 1.0, 2.0, 4.0))
    low, high = np.quantile(smooth, [0.01, 0.99])
    images = np.clip((smooth - low) / (high - low), 0.0, 1.0).astype(np.float32)
    return ImageSet(images, tuple(map(str, range(n))), (1.0,) * len(size))


def test_each_image_is_changed_by_itself_and_clipped(picture_set: Callable[..., ImageSet]) -> None:
    """The function sees one image after the other, what it returns is clipped to the window, and the features go."""
    images = picture_set(3, channels=2).with_features(np.zeros((3, 2)))
    seen: list[np.ndarray] = []

    def brighter(image: np.ndarray) -> np.ndarray:
        seen.append(image)
        return image.astype(np.float64) + 0.5 * len(seen) - 1.0

    changed = planted(images, brighter)
    np.testing.assert_array_equal(np.stack(seen), images.images)
    expected = np.clip(images.images + np.array([-0.5, 0.0, 0.5])[:, None, None, None], 0.0, 1.0)
    np.testing.assert_array_equal(changed.images, expected.astype(np.float32))
    assert changed.features is None


@every_defect
def test_severity_zero_is_the_identity(defect: type[Perturbation], picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """At severity 0 the images come back as they are."""
    images = picture_set()
    assert applied(defect, images, 0.0, tmp_path) is images


@every_defect
@every_shape
def test_range_and_knowledge_are_kept(
    defect: type[Perturbation], size: tuple[int, ...], channels: int, picture_set: Callable[..., ImageSet], tmp_path: Path
) -> None:
    """Values stay in [0, 1] as float32; masks, labels, groups, patients and ids stay; features, now wrong, go."""
    known: dict[str, Any] = {"groups": {"site": np.array(list("aabbc"))}, "concepts": np.eye(5, 2, dtype=np.uint8)}
    images = picture_set(5, size, channels, **known).with_features(np.zeros((5, 2)))
    changed = applied(defect, images, 1.0, tmp_path)
    assert changed.images.dtype == np.float32
    assert changed.images.shape == images.images.shape
    assert 0.0 <= changed.images.min() < changed.images.max() <= 1.0
    assert changed.features is None
    assert np.all(np.any(changed.images != images.images, axis=tuple(range(1, images.images.ndim))))
    assert replace(changed, images=images.images).sha256 == images.sha256


@every_defect
def test_seeds_are_honoured(defect: type[Perturbation], picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """One seed gives the same again, another seed something else where there is chance; the input is untouched."""
    images = picture_set(4)
    images.images.flags.writeable = False
    before = images.images.copy()
    first, again, other = (applied(defect, images, 0.5, tmp_path, seed).images for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(first, other) == (defect in WITHOUT_CHANCE)
    np.testing.assert_array_equal(images.images, before)


@every_defect
@every_shape
def test_images_do_not_depend_on_those_beside_them(
    defect: type[Perturbation], size: tuple[int, ...], channels: int, picture_set: Callable[..., ImageSet], tmp_path: Path
) -> None:
    """The first images of a set come out the same to the last bit when fewer or other ones follow them."""
    images = picture_set(5, size, channels)
    alone, together = applied(defect, images.take([0, 1]), 0.7, tmp_path), applied(defect, images, 0.7, tmp_path)
    np.testing.assert_array_equal(alone.images, together.images[:2])
    followed = applied(defect, images.take([0, 1, 4, 3]), 0.7, tmp_path)
    np.testing.assert_array_equal(followed.images[:2], together.images[:2])


@every_defect
@pytest.mark.parametrize("size", [(33, 40), (10, 20, 24)], ids=["2D", "3D"])
def test_more_with_the_dose(defect: type[Perturbation], size: tuple[int, ...], tmp_path: Path) -> None:
    """The distance to the clean images rises with the severity, for the set and for nearly every image."""
    images = clouds(8, size)
    doses = [applied(defect, images, severity, tmp_path).images for severity in DOSES]
    distances = [np.linalg.norm((dose - doses[0]).reshape(8, -1), axis=1) for dose in doses]
    assert all(np.mean(low < high) >= 0.75 for low, high in pairwise(distances))
    assert all(low.sum() < high.sum() for low, high in pairwise(distances))


@every_defect
@pytest.mark.parametrize("grey", [0.0, 1.0])
def test_flat_images_stay_numbers(defect: type[Perturbation], grey: float, picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Wholly black and wholly white images stay finite and in the window at every dose."""
    images = picture_set(1)
    images = replace(images, images=np.full_like(images.images, grey))
    for severity in (0.01, 0.5, 1.0):
        assert np.all(np.isfinite(applied(defect, images, severity, tmp_path).images))


@every_defect
def test_conformance(defect: type[Perturbation]) -> None:
    """It keeps the promises of a perturbation with its defaults."""
    check(defect(), n=8)


@every_defect
def test_presets(defect: type[Perturbation], picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """It belongs to the modalities where the defect occurs, with rising doses, one of concern, and a reason of that modality."""
    failure_mode, modalities = BELONGS[defect]
    assert defect.failure_mode is failure_mode
    assert set(defect.presets) == modalities
    reasons = []
    images = picture_set(2)
    for options in defect.presets.values():
        built = defect(**options)
        assert list(built.doses) == sorted(set(built.doses))
        assert len(built.doses) == 3
        assert 0.0 < built.doses[0] < built.doses[-1] <= 1.0
        assert built.dose_of_concern in built.doses
        reasons.append(built.because)
        concern = built.apply(images, images, built.dose_of_concern, Context(seed=0, workdir=tmp_path))
        assert not np.array_equal(concern.images, images.images)
    assert all(len(reason) > 60 for reason in reasons)
    assert len(set(reasons)) == len(reasons)
