"""Facts about second lesions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, label

from harness.api import Context, ImageSet, NotComputable
from harness_plugins.perturbations.lesion_duplication import LesionDuplication
from lesion_pictures import ball, lesion_set


def applied(images: ImageSet, severity: float, folder: Path, seed: int = 0, **options: Any) -> ImageSet:
    """Images with second lesions."""
    return LesionDuplication(**options).apply(images, images, severity, Context(seed=seed, workdir=folder))


def one(lesion: np.ndarray, level: float = 0.3) -> ImageSet:
    """One image of a level with a lesion of level 0.8."""
    pixels = np.where(lesion, 0.8, level).astype(np.float32)[None, None]
    return ImageSet(pixels, ("a",), (1.0,) * lesion.ndim, masks=lesion.astype(np.uint8)[None])


@pytest.mark.parametrize("size", [(48, 56), (24, 30, 32)])
def test_a_second_lesion_of_the_same_size_appears(size: tuple[int, ...], tmp_path: Path) -> None:
    """Every image with a lesion now shows two of one size that do not touch; the mask still knows one, or both when extended."""
    images = lesion_set(4, size, noise=0.0)
    assert images.masks is not None
    doubled = applied(images, 1.0, tmp_path)
    extended = applied(images, 1.0, tmp_path, mask="extended")
    np.testing.assert_array_equal(doubled.images, extended.images)
    assert doubled.masks is images.masks
    assert extended.masks is not None
    for row in (0, 1, 3):
        area = int(images.masks[row].sum())
        numbered, count = label(doubled.images[row, 0] > 0.55, structure=np.ones((3,) * len(size)))
        assert count == 2
        assert np.bincount(numbered.ravel())[1:] == pytest.approx([area, area], abs=1)
        assert extended.masks[row].sum() == 2 * area
        np.testing.assert_array_equal(extended.masks[row] > 0, numbered > 0)


def test_copy_has_the_pixels_of_the_lesion_and_a_blended_edge(tmp_path: Path) -> None:
    """Deeper than the edge the copy is the lesion pixel for pixel, beyond it the picture is untouched, between them it is blended."""
    images = lesion_set(1, (60, 70), empty=(), noise=0.05)
    doubled = applied(images, 1.0, tmp_path, mask="extended", edge_px=1.5)
    assert images.masks is not None
    assert doubled.masks is not None
    lesion, copy = images.masks[0] > 0, (doubled.masks[0] > 0) & (images.masks[0] == 0)
    shift = np.round(np.argwhere(copy).mean(axis=0) - np.argwhere(lesion).mean(axis=0)).astype(int)
    np.testing.assert_array_equal(np.argwhere(copy), np.argwhere(lesion) + shift)
    core = np.argwhere(distance_transform_edt(copy) >= 2.0)
    there, here = tuple(core.T), tuple((core - shift).T)
    np.testing.assert_allclose(doubled.images[0, 0][there], images.images[0, 0][here], atol=1e-6)
    far = distance_transform_edt(~copy) > 2.0
    np.testing.assert_array_equal(doubled.images[0, 0][far & ~copy], images.images[0, 0][far & ~copy])
    rim = copy & (distance_transform_edt(copy) == 1.0)
    own, other = np.roll(images.images[0, 0], shift, axis=(0, 1))[rim], images.images[0, 0][rim]
    assert ((doubled.images[0, 0][rim] - other) / (own - other)).tolist() == pytest.approx([2 / 3] * int(rim.sum()), abs=1e-3)


def test_copies_go_to_the_foreground(tmp_path: Path) -> None:
    """No copy lies in the dark around the body, but holes within it are good places."""
    body = ball((80, 80), (40, 40), 34.0)
    lesion = ball((80, 80), (40, 22), 6.0)
    images = one(lesion)
    pixels = np.where(body, images.images, 0.0).astype(np.float32)
    pixels[..., 36:44, 40:48] = 0.0
    images = replace(images, images=pixels)
    for seed in range(8):
        copy = np.asarray(applied(images, 1.0, tmp_path, seed, mask="extended").masks)[0] - lesion
        assert copy.sum() == lesion.sum()
        assert not (copy.astype(bool) & ~body).any()


def test_copies_keep_clear_of_every_region(tmp_path: Path) -> None:
    """The copy of one region covers no other region either, and carries its own number."""
    images = one(ball((60, 60), (15, 15), 6.0))
    masks = np.array(images.masks)
    masks[0] = np.where(masks[0] > 0, 2, masks[0])
    masks[0, 30:] = 3
    images = replace(images, masks=masks)
    for seed in range(5):
        extended = np.asarray(applied(images, 1.0, tmp_path, seed, mask="extended", region=2).masks)[0]
        assert (extended == 2).sum() == 2 * (masks == 2).sum()
        assert (extended[30:] == 3).all()


def test_places_are_drawn(tmp_path: Path) -> None:
    """Seeds put copies in different places."""
    images = one(ball((60, 60), (30, 30), 5.0))
    assert len({applied(images, 1.0, tmp_path, seed).sha256 for seed in range(5)}) == 5


def test_the_largest_component_that_fits_is_copied(tmp_path: Path) -> None:
    """Where a large lesion leaves no room for a second, the next smaller one of the same image is copied."""
    large, small = ball((50, 50), (30, 25), 16.0), ball((50, 50), (6, 6), 3.0)
    extended = applied(one(large | small), 1.0, tmp_path, mask="extended")
    assert np.asarray(extended.masks).sum() == large.sum() + 2 * small.sum()


def test_lesion_at_the_border_is_copied_whole(tmp_path: Path) -> None:
    """A lesion cut off by the picture's border is copied as it is, blended on all sides."""
    lesion = ball((50, 50), (0, 20), 7.0)
    doubled = applied(one(lesion), 1.0, tmp_path, mask="extended")
    copy = (np.asarray(doubled.masks)[0] > 0) & ~lesion
    assert copy.sum() == lesion.sum()
    assert doubled.images[0, 0][copy].min() > 0.5


def test_where_no_lesion_fits_twice_there_is_no_answer(tmp_path: Path) -> None:
    """A lesion that takes most of the picture, or a picture that is all background, is refused with a sentence."""
    for images in (one(ball((40, 40), (20, 20), 17.0)), one(ball((40, 40), (20, 20), 6.0), level=0.0)):
        with pytest.raises(NotComputable, match="no lesion of the 1 images that have one fits"):
            applied(images, 0.5, tmp_path)
