"""Facts about swapped labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.api import Context, ImageSet, NotComputable
from harness.testing import check
from harness_plugins.perturbations.label_swap import LabelSwap


def applied(images: ImageSet, severity: float, tmp_path: Path, seed: int = 0) -> ImageSet:
    """Images with wrong labels."""
    return LabelSwap().apply(images, images, severity, Context(seed=seed, workdir=tmp_path))


@pytest.fixture
def images(picture_set: Callable[..., ImageSet]) -> ImageSet:
    """Return 300 images of the classes 1, 4 and 9."""
    return picture_set(300, (8, 8), labels=np.repeat(np.array([4, 1, 9]), 100))


def test_conforms() -> None:
    """The conformance tests pass."""
    check(LabelSwap)


@pytest.mark.parametrize("severity", [0.05, 0.1, 0.4, 1.0])
def test_share_of_wrong_labels_is_the_severity(images: ImageSet, tmp_path: Path, severity: float) -> None:
    """Exactly the share asked for has another label, one of those present; everything else is as it was."""
    result = applied(images, severity, tmp_path)
    assert (result.labels != images.labels).sum() == round(severity * 300)
    assert set(result.labels) == {1, 4, 9}
    assert replace(result, labels=images.labels).sha256 == images.sha256


def test_wrong_labels_are_uniform(images: ImageSet, tmp_path: Path) -> None:
    """Each of the other classes is drawn about as often: within four standard deviations of one half."""
    result = applied(images, 1.0, tmp_path)
    for own in (1, 4, 9):
        _, sizes = np.unique(result.labels[images.labels == own], return_counts=True)
        assert len(sizes) == 2
        assert abs(sizes[0] - 50) < 4 * 5


def test_doses_are_nested(images: ImageSet, tmp_path: Path) -> None:
    """Under one seed a higher dose has the wrong labels of a lower one and more."""
    few, many = (applied(images, severity, tmp_path).labels for severity in (0.2, 0.4))
    wrong = few != images.labels
    np.testing.assert_array_equal(few[wrong], many[wrong])


def test_seeds_are_honoured(images: ImageSet, tmp_path: Path) -> None:
    """One seed swaps the same labels again, another seed others; the input is untouched."""
    before = images.labels.copy()
    first, again, other = (applied(images, 0.2, tmp_path, seed).sha256 for seed in (1, 1, 2))
    assert first == again != other
    np.testing.assert_array_equal(images.labels, before)


def test_volumes_of_two_channels(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Labels of volumes are swapped like those of images, and two classes change places."""
    images = picture_set(10, (6, 7, 8), 2, labels=np.array([0, 1] * 5))
    np.testing.assert_array_equal(applied(images, 1.0, tmp_path).labels, 1 - images.labels)


def test_bad_input(images: ImageSet, tmp_path: Path) -> None:
    """No labels or one class is a reason, no labels; a share too small for one image changes nothing."""
    assert applied(images, 0.001, tmp_path) is images
    with pytest.raises(NotComputable, match="needs labels"):
        applied(replace(images, labels=None), 0.5, tmp_path)
    with pytest.raises(NotComputable, match="one class"):
        applied(images.take(np.arange(100)), 0.5, tmp_path)
