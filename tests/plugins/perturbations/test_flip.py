"""Facts about mirror images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Context, ImageSet, NotComputable
from harness.testing import check
from harness_plugins.perturbations.flip import Flip


def applied(images: ImageSet, severity: float, tmp_path: Path, seed: int = 0, **options: Any) -> ImageSet:
    """Images of which some are mirrored."""
    return Flip(**options).apply(images, images, severity, Context(seed=seed, workdir=tmp_path))


def test_conforms() -> None:
    """The conformance tests pass."""
    check(Flip)


@pytest.mark.parametrize(("size", "channels", "axis"), [((8, 9), 1, -1), ((8, 9), 2, -2), ((4, 5, 6), 2, -1), ((4, 5, 6), 1, -3)])
def test_images_and_masks_are_mirrored(
    picture_set: Callable[..., ImageSet], tmp_path: Path, size: tuple[int, ...], channels: int, axis: int
) -> None:
    """At severity 1 every image and its mask is mirrored along the axis; all else stays; twice is the identity."""
    images = picture_set(70, size, channels)
    result = applied(images, 1.0, tmp_path, axis=axis)
    np.testing.assert_array_equal(result.images, np.flip(images.images, axis))
    np.testing.assert_array_equal(result.masks, np.flip(images.masks, axis))
    assert replace(result, images=images.images, masks=images.masks).sha256 == images.sha256
    assert applied(result, 1.0, tmp_path, axis=axis).sha256 == images.sha256


def test_share_is_the_severity(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Exactly the share asked for is mirrored, more at a higher dose, the same under one seed; the rest is untouched."""
    images = picture_set(20, masks=None)
    few, many, again, other = (
        (applied(images, severity, tmp_path, seed).images != images.images).any((1, 2, 3))
        for severity, seed in ((0.25, 1), (0.5, 1), (0.5, 1), (0.5, 2))
    )
    assert (few.sum(), many.sum()) == (5, 10)
    assert not (few & ~many).any()
    np.testing.assert_array_equal(many, again)
    assert not np.array_equal(many, other)
    assert applied(images, 0.01, tmp_path) is images


def test_input_is_untouched(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """The arrays that were given stay as they were."""
    images = picture_set(6)
    before = images.images.copy(), images.masks.copy()
    applied(images, 1.0, tmp_path)
    np.testing.assert_array_equal(images.images, before[0])
    np.testing.assert_array_equal(images.masks, before[1])


def test_radiographs_are_left_out() -> None:
    """The heart is on the left: no preset mirrors radiographs, and all others do."""
    assert set(Flip.presets) == {"ultrasound", "mri", "mammography", "microscopy"}


def test_bad_axis(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Pictures have no third axis, and channels are no axis."""
    with pytest.raises(NotComputable, match="images of 2 axes cannot be mirrored along axis -3"):
        applied(picture_set(), 1.0, tmp_path, axis=-3)
    for axis in (0, -4):
        with pytest.raises(ValueError, match="axis"):
            Flip(axis=axis)
