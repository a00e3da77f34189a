"""Facts about planted near copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Context, ImageSet, InputError
from harness.testing import check
from harness_plugins.perturbations.near_copies import NearCopies


def applied(images: ImageSet, train: ImageSet, severity: float, tmp_path: Path, seed: int = 0, **options: Any) -> ImageSet:
    """Images with near copies of training images."""
    return NearCopies(**options).apply(images, train, severity, Context(seed=seed, workdir=tmp_path))


@pytest.fixture
def images(picture_set: Callable[..., ImageSet]) -> ImageSet:
    """Return 40 images that are not in train."""
    return picture_set(40, groups={"site": np.array(["here"] * 40)}, concepts=np.zeros((40, 2), np.uint8))


@pytest.fixture
def train(picture_set: Callable[..., ImageSet]) -> ImageSet:
    """Return 30 training images."""
    return picture_set(30, seed=1, groups={"site": np.array(["far away"] * 30)}, concepts=np.ones((30, 2), np.uint8))


def test_conforms() -> None:
    """The conformance tests pass."""
    check(NearCopies)


@pytest.mark.parametrize("severity", [0.05, 0.15, 1.0])
def test_share_is_near_but_not_equal(images: ImageSet, train: ImageSet, tmp_path: Path, severity: float) -> None:
    """Exactly the share asked for looks like, and is not, a training image; what describes it follows; the rest is untouched."""
    result = applied(images, train, severity, tmp_path)
    copies = [i for i, source in enumerate(result.sources) if source in train.ids]
    assert len(copies) == round(severity * 40)
    for i in set(range(40)) - set(copies):
        np.testing.assert_array_equal(result.images[i], images.images[i])
    for i in copies:
        row = train.ids.index(result.sources[i])
        assert not np.array_equal(result.images[i], train.images[row])
        assert np.corrcoef(result.images[i].ravel(), train.images[row].ravel())[0, 1] > 0.8
        assert (result.labels[i], result.groups["site"][i], result.concepts[i, 0]) == (train.labels[row], "far away", 1)
        np.testing.assert_array_equal(result.masks[i], train.masks[row])
    assert (result.ids, result.patients) == (images.ids, images.patients)


def test_each_copy_is_changed_in_its_own_way(images: ImageSet, train: ImageSet, tmp_path: Path) -> None:
    """Copies of one training image differ from each other."""
    result = applied(images, train.take([0]), 1.0, tmp_path)
    assert len(np.unique(result.images.reshape(40, -1), axis=0)) == 40


def test_noise_has_the_promised_standard_deviation(images: ImageSet, train: ImageSet, tmp_path: Path) -> None:
    """Noise alone is of that standard deviation."""
    train = replace(train, images=np.full_like(train.images, 0.5))
    result = applied(images, train, 1.0, tmp_path, noise_sd=0.02, max_shift_px=0.0, gamma_range=0.0)
    assert (result.images - 0.5).std() == pytest.approx(0.02, rel=0.05)


def test_gamma_stays_within_its_range(images: ImageSet, train: ImageSet, tmp_path: Path) -> None:
    """Gamma alone makes 0.5 to 0.5^gamma with gammas that fill the range and do not leave it."""
    train = replace(train, images=np.full_like(train.images, 0.5))
    result = applied(images, train, 1.0, tmp_path, noise_sd=0.0, max_shift_px=0.0, gamma_range=0.25)
    gamma = np.log(result.images[:, 0, 3, 3]) / np.log(0.5)
    assert 0.8 - 1e-6 <= gamma.min() < 0.85
    assert 1.18 < gamma.max() <= 1.25 + 1e-6


def test_shift_stays_within_its_range(images: ImageSet, train: ImageSet, tmp_path: Path) -> None:
    """Shift alone moves the centre of mass of a blob by at most that much along each axis, both ways."""
    rows, columns = np.meshgrid(np.arange(20), np.arange(24), indexing="ij")
    blob = np.exp(-((rows - 10) ** 2 + (columns - 12) ** 2) / 8).astype(np.float32)
    train = replace(train, images=np.broadcast_to(blob, (30, 1, 20, 24)).copy())
    pixels = applied(images, train, 1.0, tmp_path, noise_sd=0.0, max_shift_px=0.25, gamma_range=0.0).images[:, 0]
    for axis, where, centre in ((1, rows, 10), (2, columns, 12)):
        moved = (pixels * where).sum((1, 2)) / pixels.sum((1, 2)) - centre
        assert 0.2 < np.abs(moved).max() < 0.26, axis
        assert moved.min() < 0 < moved.max()


def test_doses_are_nested(images: ImageSet, train: ImageSet, tmp_path: Path) -> None:
    """Under one seed a higher dose has the very copies of a lower one and more."""
    few, many = (applied(images, train, severity, tmp_path) for severity in (0.3, 1.0))
    for i in (i for i, source in enumerate(few.sources) if source in train.ids):
        assert few.sources[i] == many.sources[i]
        np.testing.assert_array_equal(few.images[i], many.images[i])


def test_seeds_are_honoured(images: ImageSet, train: ImageSet, tmp_path: Path) -> None:
    """One seed gives the same copies again, another seed others; the inputs are untouched."""
    before = images.images.copy(), train.images.copy()
    first, again, other = (applied(images, train, 0.5, tmp_path, seed) for seed in (1, 1, 2))
    assert first.sha256 == again.sha256 != other.sha256
    np.testing.assert_array_equal(images.images, before[0])
    np.testing.assert_array_equal(train.images, before[1])


def test_volumes_of_two_channels(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Volumes are copied with all their channels, float32 within [0, 1]."""
    images, train = (picture_set(8, (6, 7, 8), 2, seed) for seed in (0, 1))
    result = applied(images, train, 1.0, tmp_path)
    rows = [train.ids.index(source) for source in result.sources]
    assert result.images.dtype == np.float32
    assert np.abs(result.images - train.images[rows]).mean() < 0.15


def test_bad_input(images: ImageSet, train: ImageSet, tmp_path: Path) -> None:
    """Training images without the labels that must follow are refused, and so are copies that would be exact."""
    with pytest.raises(InputError, match="need their labels"):
        applied(images, replace(train, labels=None), 0.5, tmp_path)
    with pytest.raises(ValueError, match="that is what duplication does"):
        NearCopies(noise_sd=0.0, max_shift_px=0.0, gamma_range=0.0)
    assert applied(images, train, 0.01, tmp_path) is images
