"""Small lesions that vanish first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, NotComputable, Perturbation

from .inpainting import rows_to_fill, without_lesion
from .lesions import Unit, components, first_share, lesion_of, with_pixels
from .presets import everywhere


@dataclass(frozen=True)
class _Found:
    """All connected components of a set. row, number: (K,) int64, which image and which component there. size: (K,) in px."""

    row: np.ndarray
    number: np.ndarray
    size: np.ndarray


class SmallLesionErosion(Perturbation):
    """Removes lesions from the image, the smallest first, as a generator that smooths fine findings away would.

    A lesion is a connected component of the mask. By default the severity is the share of the lesions of the set that is removed,
    at least one, in rising order of size (equal sizes in drawn order). With `size_at_full` those are removed whose area or volume
    is at most severity x `size_at_full`. Coarse structure is continued harmonically into the lesion and `margin_px` around it, fine
    texture is mirrored at its edge. By default the mask stays; with `mask: emptied` the lesion is taken out of it too. Images that
    lose no lesion are unchanged. Images whose lesions with their margin fill the picture do not count.
    """

    name = "small_lesion_erosion"
    version = "1"
    needs = frozenset({"masks"})
    failure_mode = FailureMode.LOCAL_MORPHOLOGY
    full_severity = "every lesion is gone; at lower severities the share is of the smallest lesions"
    presets = everywhere(
        mri="the smallest quarter of lesions is what lesion counts in multiple sclerosis and metastases depend on",
        microscopy="the smallest quarter of objects is what counts of nuclei and mitoses lose first",
    )

    size_at_full: float | None = Field(None, gt=0.0, description="largest lesion removed at severity 1; left out: by share")
    unit: Unit = Field("px", description="px: size_at_full in pixels; mm: in mm2 of images, mm3 of volumes")
    margin_px: float = Field(2.0, ge=0.0, description="how far around a lesion is filled too, in px: its partial-volume rim")
    mask: Literal["kept", "emptied"] = Field("kept", description="whether the mask still shows the removed lesions")
    region: int | None = Field(None, ge=1, le=255, description="region number of the mask that is the lesion; all regions where left out")
    doses: tuple[float, ...] = (0.1, 0.25, 0.5)
    dose_of_concern: float = 0.25
    because: str = "the smallest quarter of lesions are the early ones, for whose sake one screens"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images without their smallest lesions; `NotComputable` where none can be removed."""
        if severity == 0.0:
            return images
        found = self._found(images)
        drawn = context.rng.random(len(found.row))
        seeds = context.rng.integers(2**63, size=len(images))
        gone = self._gone(found, drawn, severity, images.spacing_mm)
        eroded = np.array(images.images)
        assert images.masks is not None
        masks = np.array(images.masks) if self.mask == "emptied" else None
        for row in np.unique(found.row[gone]):
            numbered, _ = components(lesion_of(images, row, self.region))
            target = np.isin(numbered, found.number[gone[found.row[gone] == row]])
            rng = np.random.default_rng(seeds[row])
            eroded[row] = without_lesion(images.images[row], numbered > 0, target, self.margin_px, rng)
            if masks is not None:
                masks[row][target] = 0
        return with_pixels(images, eroded, masks)

    def _found(self, images: ImageSet) -> _Found:
        """Return the components of all images whose lesions can be filled."""
        rows, numbers, sizes = [], [], []
        for row in rows_to_fill(images, self.region, self.margin_px):
            numbered, count = components(lesion_of(images, row, self.region))
            rows.append(np.full(count, row))
            numbers.append(np.arange(1, count + 1))
            sizes.append(np.bincount(numbered.ravel(), minlength=count + 1)[1:])
        return _Found(np.concatenate(rows), np.concatenate(numbers), np.concatenate(sizes))

    def _gone(self, found: _Found, drawn: np.ndarray, severity: float, spacing_mm: tuple[float, ...]) -> np.ndarray:
        """Return which components are removed, (K,) int64 indices into `found`; `NotComputable` where none is small enough."""
        if self.size_at_full is None:
            return first_share(np.lexsort((drawn, found.size)), severity)
        size = found.size * (math.prod(spacing_mm) if self.unit == "mm" else 1.0)
        if size.min() > self.size_at_full:
            unit = "px" if self.unit == "px" else f"mm{len(spacing_mm)}"
            raise NotComputable(f"no lesion is as small as {self.size_at_full:g} {unit}; the smallest has {size.min():g}")
        return np.flatnonzero(size <= severity * self.size_at_full)
