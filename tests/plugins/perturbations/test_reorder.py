"""Facts about another order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.api import Context, ImageSet
from harness.testing import check
from harness_plugins.perturbations.reorder import Reorder


def applied(images: ImageSet, severity: float, tmp_path: Path, seed: int = 0) -> ImageSet:
    """Images in another order."""
    return Reorder().apply(images, images, severity, Context(seed=seed, workdir=tmp_path))


def test_conforms() -> None:
    """The conformance tests pass."""
    check(Reorder)


@pytest.mark.parametrize(("size", "channels"), [((8, 9), 1), ((4, 5, 6), 2)], ids=["2D", "3D"])
@pytest.mark.parametrize(("severity", "moved"), [(0.25, 5), (1.0, 20)])
def test_same_images_in_other_places(
    picture_set: Callable[..., ImageSet], tmp_path: Path, size: tuple[int, ...], channels: int, severity: float, moved: int
) -> None:
    """Exactly the share asked for is elsewhere, and each image kept all that is known of it."""
    images = picture_set(20, size, channels, groups={"site": np.arange(20).astype(str)}, concepts=np.arange(20, dtype=np.uint8)[:, None])
    result = applied(images, severity, tmp_path)
    assert sum(a != b for a, b in zip(result.ids, images.ids, strict=True)) == moved
    assert sorted(result.ids) == sorted(images.ids)
    assert result.take([result.ids.index(i) for i in images.ids]).sha256 == images.sha256


def test_seeds_are_honoured(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """One seed gives the same order again, another seed another."""
    images = picture_set(20, (8, 8))
    first, again, other = (applied(images, 1.0, tmp_path, seed).ids for seed in (1, 1, 2))
    assert first == again != other


def test_one_image_has_one_order(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """A single image, or a share of one image, stays where it is."""
    images = picture_set(20, (8, 8))
    assert applied(images, 0.05, tmp_path) is images
    assert applied(images.take([3]), 1.0, tmp_path).ids == images.ids[3:4]
