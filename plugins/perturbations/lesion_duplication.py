"""Lesions that occur twice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, NotComputable, Perturbation

from .lesions import box_round, components, first_share, lesion_of, rows_with_lesion, signed_distance, with_pixels
from .presets import everywhere

_TRIED = 12


@dataclass(frozen=True)
class _Copy:
    """A lesion ready to be copied. box: where it is, in the picture padded by `pad` px. alpha: its opacity in the box.

    lesion: bool in the box. corner: where the box goes, in the picture.
    """

    box: tuple[slice, ...]
    pad: int
    alpha: np.ndarray
    lesion: np.ndarray
    corner: tuple[int, ...]


class LesionDuplication(Perturbation):
    """Copies a lesion to another place of the same image, in a share of the images, as a generator that invents pathology would.

    The largest connected component that fits is copied to a drawn place where it lies within the picture, on foreground (holes in it
    included) and clear of every region of the mask; its edge is blended over `edge_px` on both sides. The severity is the share
    of the images with a lesion that fits a second time (the 12 largest components are tried), at least one; a higher one has
    the images of a lower one, and more. By default the mask stays, so that it does not know the second lesion; with
    `mask: extended` the copy is drawn there too. Every other image is unchanged.
    """

    name = "lesion_duplication"
    version = "1"
    needs = frozenset({"masks"})
    failure_mode = FailureMode.LOCAL_MORPHOLOGY
    full_severity = "a second lesion in every image where one fits"
    presets = everywhere(
        mri="a second focus in one image in four turns a solitary tumour into multifocal disease, which is treated otherwise",
        mammography="a second mass in one image in four turns a unifocal cancer into a multifocal one, which is operated on otherwise",
    )

    edge_px: float = Field(
        1.5, gt=0.0, description="the copy turns from opaque to transparent this far inside to this far outside its edge"
    )
    background: float = Field(0.05, ge=0.0, lt=1.0, description="pixels whose brightest channel is at most this are background")
    mask: Literal["kept", "extended"] = Field("kept", description="whether the mask stays as it was or shows the copy too")
    region: int | None = Field(None, ge=1, le=255, description="region number of the mask that is the lesion; all regions where left out")
    doses: tuple[float, ...] = (0.1, 0.25, 0.5)
    dose_of_concern: float = 0.25
    because: str = "a second lesion in one image in four changes stage and treatment, and a model learns findings that were never there"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images with a second lesion in a share `severity`; `NotComputable` where no lesion fits a second time."""
        if severity == 0.0:
            return images
        rows = rows_with_lesion(images, self.region)
        order, place = context.rng.permutation(rows), context.rng.random(len(images))
        copies = {int(row): copy for row in order if (copy := self._copy(images, row, place[row])) is not None}
        if not copies:
            raise NotComputable(f"no lesion of the {len(rows)} images that have one fits into its picture a second time")
        assert images.masks is not None
        masks = np.array(images.masks) if self.mask == "extended" else None
        doubled = np.array(images.images)
        for row in first_share(np.array(list(copies), dtype=np.int64), severity):
            copy = copies[int(row)]
            there = tuple(slice(c, c + size) for c, size in zip(copy.corner, copy.alpha.shape, strict=True))
            source = _padded(images.images[row], copy.pad)[:, *copy.box]
            old = images.images[row][:, *there]
            alpha = copy.alpha.astype(np.float32)
            doubled[row][:, *there] = np.where(alpha > 0, np.clip(old + alpha * (source - old), 0.0, 1.0), old)
            if masks is not None:
                here = np.pad(images.masks[row], copy.pad)[copy.box]
                masks[row][there][copy.lesion] = here[copy.lesion]
        return with_pixels(images, doubled, masks)

    def _copy(self, images: ImageSet, row: int, drawn: float) -> _Copy | None:
        """Return the copy of the largest component of an image that fits elsewhere; `drawn` in [0, 1) chooses the place."""
        from scipy.ndimage import binary_fill_holes

        assert images.masks is not None
        numbered, count = components(lesion_of(images, row, self.region))
        size = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
        foreground = np.asarray(binary_fill_holes(images.images[row].max(axis=0) > self.background))
        taken = (images.masks[row] > 0) | ~foreground
        free = taken.size - np.count_nonzero(taken)
        pad = math.ceil(self.edge_px) + 1
        for number in np.argsort(-size, kind="stable")[:_TRIED] + 1:
            if size[number - 1] > free:
                continue
            # The component is padded, so that one at the picture's border can be blended on all sides.
            lesion = np.pad(numbered == number, pad)
            box = box_round(lesion, (pad,) * lesion.ndim)
            alpha = np.clip(0.5 + signed_distance(lesion[box], (1.0,) * lesion.ndim) / (2 * self.edge_px), 0.0, 1.0)
            corner = _place(taken, alpha > 0, drawn)
            if corner is not None:
                return _Copy(box, pad, alpha, lesion[box], corner)
        return None


def _padded(channels: np.ndarray, pad: int) -> np.ndarray:
    """Return channels, (C, ...), with their border values repeated `pad` times on every side of each spatial axis."""
    return np.pad(channels, [(0, 0), *[(pad, pad)] * (channels.ndim - 1)], mode="edge")


def _place(taken: np.ndarray, shape: np.ndarray, drawn: float) -> tuple[int, ...] | None:
    """Return the corner of a place where a shape, bool, covers no taken pixel, or None; `drawn` in [0, 1) chooses among them."""
    from scipy.signal import fftconvolve

    if any(small > large for small, large in zip(shape.shape, taken.shape, strict=True)):
        return None
    flipped = shape[(slice(None, None, -1),) * shape.ndim].astype(np.float64)
    covered = fftconvolve(taken.astype(np.float64), flipped, mode="valid")
    free = np.flatnonzero(covered < 0.5)
    if not len(free):
        return None
    return tuple(int(i) for i in np.unravel_index(free[int(drawn * len(free))], covered.shape))
