"""Lesions as masks show them: where they are, how far their edge is, and which images are chosen."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np

from harness.api import ImageSet, NotComputable

Unit = Literal["px", "mm"]


def steps(images: ImageSet, unit: Unit) -> tuple[float, ...]:
    """Return the distance between neighbouring pixels along each spatial axis, in px (1) or mm (the spacing)."""
    return images.spacing_mm if unit == "mm" else (1.0,) * len(images.size_px)


def lesion_of(images: ImageSet, row: int, region: int | None = None) -> np.ndarray:
    """Return the lesion of one image, bool of its spatial shape: every mask value above 0, or one region number."""
    assert images.masks is not None
    mask = images.masks[row]
    return mask > 0 if region is None else mask == region


def rows_with_lesion(images: ImageSet, region: int | None = None, *, edged: bool = True) -> np.ndarray:
    """Return the images that have a lesion, (K,) int64 rows in rising order.

    edged: leave out the lesions that fill the whole picture, which have no edge and no surroundings. Raises `NotComputable` where
    no image is left.
    """
    if images.masks is None:
        raise NotComputable("lesions are read from masks, and the images have none")
    area = np.array([np.count_nonzero(lesion_of(images, row, region)) for row in range(len(images))], dtype=np.int64)
    if not area.any():
        what = "mask value above 0" if region is None else f"region {region}"
        raise NotComputable(f"no image has a lesion: none of the {len(images)} masks has a {what}")
    rows = np.flatnonzero((area > 0) & (area < math.prod(images.size_px)) if edged else area > 0)
    if not len(rows):
        raise NotComputable("every lesion fills its whole picture, so none has an edge or surroundings")
    return rows


def box_round(lesion: np.ndarray, margin: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the smallest box round a lesion that is not empty, with a margin in px along each axis, cut off at the picture's border."""
    box = []
    for axis, more in enumerate(margin):
        others = tuple(a for a in range(lesion.ndim) if a != axis)
        taken = np.flatnonzero(lesion.any(axis=others))
        box.append(slice(max(0, int(taken[0]) - more), min(lesion.shape[axis], int(taken[-1]) + 1 + more)))
    return tuple(box)


def in_pixels(length: float, step: tuple[float, ...]) -> tuple[int, ...]:
    """Return a length in whole pixels along each axis, rounded up, and one more."""
    return tuple(math.ceil(length / s) + 1 for s in step)


def signed_distance(lesion: np.ndarray, step: tuple[float, ...]) -> np.ndarray:
    """Return the Euclidean distance from the lesion's edge, float64, positive inside and negative outside.

    The edge runs halfway between neighbouring pixels, so a pixel next to a straight edge is half a step away from it (the smallest
    step, where steps differ). The picture's border is no edge. The lesion must be neither empty nor fill the array.
    """
    from scipy.ndimage import distance_transform_edt

    half = min(step) / 2
    inside, outside = (np.asarray(distance_transform_edt(part, sampling=step)) for part in (lesion, ~lesion))
    return np.where(lesion, inside - half, half - outside)


def components(lesion: np.ndarray) -> tuple[np.ndarray, int]:
    """Return numbered connected components, int32, 0 = background, and how many; pixels that touch at a corner are connected."""
    from scipy.ndimage import label

    numbered, count = label(lesion, structure=np.ones((3,) * lesion.ndim))
    return np.asarray(numbered, dtype=np.int32), int(count)


def first_share(order: np.ndarray, severity: float) -> np.ndarray:
    """Return the first `severity` of the entries, at least one: a higher severity has those of a lower one, and more."""
    return order[: max(1, round(severity * len(order)))]


def with_pixels(images: ImageSet, pixels: np.ndarray, masks: np.ndarray | None = None) -> ImageSet:
    """Return the set with these pixels, and these masks where given; the features are dropped because they are of the old pixels."""
    return replace(images, images=pixels, masks=images.masks if masks is None else masks, features=None, checked=False)
