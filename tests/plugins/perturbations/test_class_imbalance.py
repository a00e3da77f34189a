"""Facts about rare classes that get rarer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Context, ImageSet, NotComputable
from harness.testing import check
from harness_plugins.perturbations.class_imbalance import ClassImbalance

SEVERITIES = (0.1, 0.25, 0.5, 0.75, 1.0)


def applied(images: ImageSet, severity: float, tmp_path: Path, seed: int = 0, **options: Any) -> ImageSet:
    """Images with rarer classes."""
    return ClassImbalance(**options).apply(images, images, severity, Context(seed=seed, workdir=tmp_path))


def counts(images: ImageSet) -> dict[int, int]:
    """Images by label."""
    return dict(zip(*(x.tolist() for x in np.unique(images.labels, return_counts=True)), strict=True))


@pytest.fixture
def of_classes(picture_set: Callable[..., ImageSet]) -> Callable[..., ImageSet]:
    """Return the function that makes images with these numbers per label, in mixed order."""

    def make(**sizes: int) -> ImageSet:
        labels = np.repeat([int(name[1:]) for name in sizes], list(sizes.values())).astype(np.int64)
        np.random.default_rng(0).shuffle(labels)
        return picture_set(len(labels), (8, 8), labels=labels)

    return make


def test_conforms() -> None:
    """The conformance tests pass."""
    check(ClassImbalance)


@pytest.mark.parametrize(
    ("severity", "left"),
    [
        (0.1, {1: 40, 5: 16, 7: 40}),
        (0.25, {1: 40, 5: 10, 7: 40}),
        (0.5, {1: 40, 7: 40}),
        (0.75, {1: 24, 7: 40}),
        (1.0, {1: 8, 7: 40}),
    ],
)
def test_both_settings_of_the_paper(of_classes: Callable[..., ImageSet], tmp_path: Path, severity: float, left: dict[int, int]) -> None:
    """From 40, 40 and 20 the rarest class goes by severity 0.5, and at 1 the others stand 5 to 1."""
    assert counts(applied(of_classes(c7=40, c5=20, c1=40), severity, tmp_path)) == left


def test_more_classes(of_classes: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Of four classes the rarest goes, and the two between are thinned, each by the same share."""
    images = of_classes(c0=60, c1=10, c2=30, c3=20)
    assert counts(applied(images, 0.5, tmp_path)) == {0: 60, 2: 30, 3: 20}
    assert counts(applied(images, 1.0, tmp_path)) == {0: 60, 2: 6, 3: 4}
    assert counts(applied(images, 1.0, tmp_path, thinning=2.0)) == {0: 60, 2: 15, 3: 10}


@pytest.mark.parametrize(("severity", "left"), [(0.25, {0: 21, 1: 12}), (0.5, {0: 21, 1: 4}), (0.75, {0: 21, 1: 2}), (1.0, {0: 21})])
def test_two_classes(of_classes: Callable[..., ImageSet], tmp_path: Path, severity: float, left: dict[int, int]) -> None:
    """Of two classes the rarer stands 5 times rarer at severity 0.5 and is gone at 1."""
    assert counts(applied(of_classes(c0=21, c1=20), severity, tmp_path)) == left


def test_of_equal_classes_the_lower_label_goes(of_classes: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Where classes are of one size, the lower label counts as the rarer."""
    assert counts(applied(of_classes(c2=10, c0=10, c1=10), 1.0, tmp_path)) == {1: 2, 2: 10}


def test_images_left_are_untouched(of_classes: Callable[..., ImageSet], tmp_path: Path) -> None:
    """What is left is a part of the set, in its order, with all that is known."""
    images = of_classes(c0=20, c1=10, c2=14)
    result = applied(images, 0.75, tmp_path)
    rows = [images.ids.index(i) for i in result.ids]
    assert rows == sorted(rows)
    assert result.sha256 == images.take(rows).sha256


def test_doses_are_nested(of_classes: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Under one seed a higher dose drops what a lower one drops, and more."""
    for images in (of_classes(c0=40, c1=20, c2=40), of_classes(c0=40, c1=20)):
        kept = [set(applied(images, severity, tmp_path).ids) for severity in SEVERITIES]
        assert all(few > many for few, many in pairwise(kept))


def test_seeds_are_honoured(of_classes: Callable[..., ImageSet], tmp_path: Path) -> None:
    """One seed drops the same images again, another seed others of the same class."""
    first, again, other = (applied(of_classes(c0=40, c1=20, c2=40), 0.25, tmp_path, seed) for seed in (1, 1, 2))
    assert first.ids == again.ids != other.ids
    assert counts(first) == counts(other)


def test_volumes_of_two_channels(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Volumes are dropped like images."""
    images = picture_set(12, (6, 7, 8), 2, labels=np.array([0] * 5 + [1] * 4 + [2] * 3))
    assert counts(applied(images, 0.5, tmp_path)) == {0: 5, 1: 4}


def test_bad_input(of_classes: Callable[..., ImageSet], tmp_path: Path) -> None:
    """No labels or one class is a reason, no images; a share too small for one image changes nothing."""
    images = of_classes(c0=10, c1=4)
    assert applied(images, 0.01, tmp_path) is images
    with pytest.raises(NotComputable, match="needs labels"):
        applied(replace(images, labels=None), 0.5, tmp_path)
    with pytest.raises(NotComputable, match="one class"):
        applied(images.take(images.labels == 0), 0.5, tmp_path)
    with pytest.raises(ValueError, match="greater than 1"):
        ClassImbalance(thinning=1.0)
