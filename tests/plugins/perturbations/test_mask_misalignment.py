"""Facts about misaligned masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Context, ImageSet
from harness_plugins.perturbations.mask_misalignment import MaskMisalignment
from lesion_pictures import ball, lesion_set


def applied(images: ImageSet, severity: float, folder: Path, seed: int = 0, **options: Any) -> ImageSet:
    """Images with shifted masks."""
    return MaskMisalignment(**options).apply(images, images, severity, Context(seed=seed, workdir=folder))


def central(n: int, size: tuple[int, ...], spacing_mm: tuple[float, ...] | None = None) -> ImageSet:
    """Images with a ball in the middle."""
    images = lesion_set(n, size, empty=())
    masks = np.repeat(ball(size, tuple(s // 2 for s in size), 4.0).astype(np.uint8)[None] * 3, n, axis=0)
    return replace(images, masks=masks, spacing_mm=spacing_mm or images.spacing_mm)


def offsets(before: ImageSet, after: ImageSet) -> np.ndarray:
    """How far each mask's centre of mass moved, (N, axes) in px."""
    centres = [[np.argwhere(mask).mean(axis=0) for mask in np.asarray(side.masks)] for side in (before, after)]
    return np.asarray(centres[1]) - np.asarray(centres[0])


@pytest.mark.parametrize("size", [(48, 56), (32, 34, 36)])
def test_masks_move_by_the_shift_and_images_do_not(size: tuple[int, ...], tmp_path: Path) -> None:
    """Each mask moves by severity x 8 px but for the rounding to whole pixels, with its shape, and no pixel of any image changes."""
    images = central(20, size)
    for severity in (0.5, 1.0):
        shifted = applied(images, severity, tmp_path)
        moved = offsets(images, shifted)
        np.testing.assert_allclose(moved, np.rint(moved), atol=1e-9)
        assert np.abs(np.linalg.norm(moved, axis=1) - 8.0 * severity).max() <= 0.5 * np.sqrt(len(size))
        assert shifted.images is images.images
        assert (np.asarray(shifted.masks) == 3).sum() == (np.asarray(images.masks) == 3).sum()


def test_millimetres_follow_the_spacing(tmp_path: Path) -> None:
    """12 mm are up to 6 px along an axis of 2 mm spacing, and 12 px along one of 1 mm."""
    images = central(30, (60, 60), (2.0, 1.0))
    moved = offsets(images, applied(images, 1.0, tmp_path, shift_at_full=12.0, unit="mm"))
    assert np.abs(np.linalg.norm(moved * (2.0, 1.0), axis=1) - 12.0).max() <= np.hypot(1.0, 0.5)


def test_directions_are_drawn_and_the_same_at_every_dose(tmp_path: Path) -> None:
    """Directions differ between images, spread over the circle, and a higher dose goes farther the same way."""
    images = central(40, (60, 60))
    half, full = (offsets(images, applied(images, s, tmp_path, shift_at_full=20.0)) for s in (0.5, 1.0))
    assert np.abs(full - 2 * half).max() <= 1.0
    angle = np.arctan2(*full.T)
    assert np.hypot(np.cos(angle).mean(), np.sin(angle).mean()) < 0.3
    assert len(np.unique(full, axis=0)) > 20


def test_what_leaves_the_picture_is_cut_off(tmp_path: Path) -> None:
    """Nothing comes in again on the other side: full masks keep an empty strip, and a shift beyond the picture empties them."""
    images = central(10, (40, 40))
    full = replace(images, masks=np.full((10, 40, 40), 2, dtype=np.uint8))
    for mask in np.asarray(applied(full, 1.0, tmp_path).masks):
        rows, columns = mask.any(axis=1), mask.any(axis=0)
        assert mask.sum() == 2 * rows.sum() * columns.sum()
        assert 5.5 <= np.hypot(40 - rows.sum(), 40 - columns.sum()) <= 9.0
        assert (np.diff(rows.astype(int)) != 0).sum() <= 1
    assert not np.asarray(applied(images, 1.0, tmp_path, shift_at_full=200.0).masks).any()


def test_dice_of_the_reason_is_right(tmp_path: Path) -> None:
    """At the dose of concern a disc 20 px across overlaps its mask with a Dice coefficient of 0.75 on average."""
    images = central(40, (48, 48))
    disc = ball((48, 48), (24, 24), 10.0)
    images = replace(images, masks=np.repeat(disc.astype(np.uint8)[None], 40, axis=0))
    shifted = np.asarray(applied(images, MaskMisalignment().dose_of_concern, tmp_path).masks) > 0
    dice = 2 * (shifted & disc).sum(axis=(1, 2)) / (shifted.sum(axis=(1, 2)) + disc.sum())
    assert dice.mean() == pytest.approx(0.75, abs=0.01)
