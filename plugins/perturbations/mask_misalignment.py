"""Masks beside their lesions."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, Perturbation

from .lesions import Unit, rows_with_lesion, steps, with_pixels
from .presets import everywhere


class MaskMisalignment(Perturbation):
    """Shifts every mask in a random direction while its image stays, as a generator of image-mask pairs that do not match would.

    The shift is severity x `shift_at_full` long, in a direction drawn for each image, rounded to whole pixels along each axis. What is
    moved out of the picture is cut off, and what comes in is background. The images themselves do not change at all.
    """

    name = "mask_misalignment"
    version = "1"
    needs = frozenset({"masks"})
    failure_mode = FailureMode.MASK_MISALIGNMENT
    full_severity = "masks shifted by 8 px"
    presets = everywhere()

    shift_at_full: float = Field(8.0, gt=0.0, description="length of the shift at severity 1, in `unit`")
    unit: Unit = Field("px", description="unit of shift_at_full")
    doses: tuple[float, ...] = (0.25, 0.5, 1.0)
    dose_of_concern: float = 0.5
    because: str = "a mask 4 px beside a round lesion 20 px across has a Dice coefficient of 0.75 with it: it teaches the wrong tissue"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images with masks shifted by severity x shift_at_full; `NotComputable` where no mask shows anything."""
        if severity == 0.0:
            return images
        rows = rows_with_lesion(images, edged=False)
        assert images.masks is not None
        directions = context.rng.standard_normal((len(images), len(images.size_px)))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        shifts = np.rint(severity * self.shift_at_full * directions / steps(images, self.unit)).astype(np.int64)
        masks = np.array(images.masks)
        for row in rows:
            masks[row] = _shifted(images.masks[row], shifts[row])
        return with_pixels(images, images.images, masks)


def _shifted(mask: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return a mask moved by whole pixels along each axis, cut off at the border and filled with 0."""
    result = np.zeros_like(mask)
    sizes = zip(mask.shape, shift, strict=True)
    pairs = [(slice(max(0, s), max(0, n + min(0, s))), slice(max(0, -s), max(0, n - max(0, s)))) for n, s in sizes]
    result[tuple(to for to, _ in pairs)] = mask[tuple(of for _, of in pairs)]
    return result
