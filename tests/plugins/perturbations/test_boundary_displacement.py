"""Facts about displaced lesion edges."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import center_of_mass, distance_transform_edt

from harness.api import Context, ImageSet
from harness_plugins.perturbations.boundary_displacement import BoundaryDisplacement
from lesion_pictures import ball, lesion_set


def applied(images: ImageSet, severity: float, folder: Path, **options: Any) -> ImageSet:
    """Images with displaced edges."""
    return BoundaryDisplacement(**options).apply(images, images, severity, Context(seed=0, workdir=folder))


def one(lesion: np.ndarray, spacing_mm: tuple[float, ...] | None = None) -> ImageSet:
    """One image of level 0.2 with a lesion of level 0.8."""
    pixels = np.where(lesion, 0.8, 0.2).astype(np.float32)[None, None]
    return ImageSet(pixels, ("a",), spacing_mm or (1.0,) * lesion.ndim, masks=lesion.astype(np.uint8)[None])


def seen(images: ImageSet) -> np.ndarray:
    """The lesion as the image shows it."""
    return np.asarray(images.images[0, 0] > 0.5)


@pytest.mark.parametrize(("direction", "sign"), [("outwards", 1), ("inwards", -1)])
@pytest.mark.parametrize("severity", [0.25, 0.5, 1.0])
def test_radius_of_a_disc_changes_by_the_displacement(direction: str, sign: int, severity: float, tmp_path: Path) -> None:
    """A disc of radius 14 gets the area of one whose radius is severity x 4 px larger or smaller, round the same centre."""
    images = one(ball((80, 84), (40, 42), 14.0))
    moved = seen(applied(images, severity, tmp_path, direction=direction))
    radius = {bool(after): np.sqrt(picture.sum() / np.pi) for after, picture in ((False, seen(images)), (True, moved))}
    assert radius[True] - radius[False] == pytest.approx(sign * 4.0 * severity, abs=0.2)
    assert center_of_mass(moved) == pytest.approx((40.0, 42.0), abs=0.05)


def test_radius_of_a_ball_changes_by_millimetres(tmp_path: Path) -> None:
    """In a volume with thick slices 3 mm are 3 px in the slice and 1 px across it."""
    lesion = (np.indices((21, 40, 40))[0] - 10.0) ** 2 * 9 + sum((a - 20.0) ** 2 for a in np.indices((21, 40, 40))[1:]) <= 12.0**2
    images = one(lesion, (3.0, 1.0, 1.0))
    moved = seen(applied(images, 1.0, tmp_path, displacement_at_full=3.0, unit="mm"))
    assert moved[10].any(axis=0).sum() - lesion[10].any(axis=0).sum() == pytest.approx(6, abs=1)
    assert moved.any(axis=(1, 2)).sum() - lesion.any(axis=(1, 2)).sum() == pytest.approx(2, abs=1)


def test_mask_stays_or_follows(tmp_path: Path) -> None:
    """By default the mask stays and no longer agrees with the image; with `moved` it agrees, and all of its regions follow."""
    images = one(ball((60, 60), (30, 30), 12.0))
    kept = applied(images, 1.0, tmp_path)
    assert kept.masks is images.masks
    core = np.array(images.masks)
    core[0][ball((60, 60), (30, 30), 11.0)] = 2
    moved = applied(replace(images, masks=core), 1.0, tmp_path, mask="moved")
    assert moved.masks is not None
    assert moved.masks.dtype == np.uint8
    both = (moved.masks[0] > 0) & seen(moved)
    assert 2 * both.sum() / ((moved.masks[0] > 0).sum() + seen(moved).sum()) > 0.97
    assert set(np.unique(moved.masks)) == {0, 1, 2}
    assert np.sqrt((moved.masks == 2).sum() / np.pi) == pytest.approx(15.0, abs=0.3)


def test_pixels_far_from_the_edge_keep_their_bits(tmp_path: Path) -> None:
    """Beyond displacement and reach, inside the lesion and outside it, nothing changes."""
    images = lesion_set(1, (90, 90), empty=(), noise=0.05)
    lesion = ball((90, 90), (45, 45), 22.0)
    images = replace(images, masks=lesion.astype(np.uint8)[None])
    moved = applied(images, 1.0, tmp_path, displacement_at_full=3.0, reach=5.0).images[0, 0]
    far = np.where(lesion, distance_transform_edt(lesion), distance_transform_edt(~lesion)) > 8.5
    np.testing.assert_array_equal(moved[far], images.images[0, 0][far])
    near = np.where(lesion, distance_transform_edt(lesion), distance_transform_edt(~lesion)) < 4
    assert (moved[near] != images.images[0, 0][near]).mean() > 0.99


@pytest.mark.parametrize("direction", ["outwards", "inwards"])
def test_thin_lesions_do_not_vanish(direction: str, tmp_path: Path) -> None:
    """A lesion thinner than the displacement grows in one piece, or leaves a trace: it is not turned inside out."""
    lesion = np.zeros((40, 60), dtype=bool)
    lesion[18:21, 10:50] = True
    moved = applied(one(lesion), 1.0, tmp_path, direction=direction)
    assert moved.images[0, 0][19, 20:40].min() > 0.7
    across = seen(moved)[:, 30].sum()
    assert across == pytest.approx(11, abs=1) if direction == "outwards" else across <= 2


def test_neighbouring_lesions_do_not_merge(tmp_path: Path) -> None:
    """Between two lesions the surroundings are squeezed, not swallowed."""
    left, right = ball((50, 60), (25, 18), 8.0), ball((50, 60), (25, 40), 8.0)
    moved = applied(one(left | right), 1.0, tmp_path).images[0, 0]
    assert moved[25, 29] == pytest.approx(0.2, abs=1e-6)
