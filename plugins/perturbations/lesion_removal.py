"""Lesions that are missing from the image."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, Perturbation

from .inpainting import rows_to_fill, without_lesion
from .lesions import first_share, lesion_of, with_pixels
from .presets import everywhere


class LesionRemoval(Perturbation):
    """Fills the lesion with its surroundings in a share of the images that have one, as a generator that omits pathology would.

    The severity is the share, at least one image; a higher one has the images of a lower one, and more. Coarse structure is
    continued harmonically into the lesion and `margin_px` around it, fine texture is mirrored at its edge. By default the mask
    stays, so that it shows a lesion that is not there; with `mask: emptied` it goes too. Every other image is unchanged. Images whose
    lesion with its margin fills the picture do not count.
    """

    name = "lesion_removal"
    version = "1"
    needs = frozenset({"masks"})
    failure_mode = FailureMode.LOCAL_MORPHOLOGY
    full_severity = "no image has its lesion any more"
    presets = everywhere()

    margin_px: float = Field(2.0, ge=0.0, description="how far around the lesion is filled too, in px: its partial-volume rim")
    mask: Literal["kept", "emptied"] = Field("kept", description="whether the mask still shows the lesion")
    region: int | None = Field(None, ge=1, le=255, description="region number of the mask that is the lesion; all regions where left out")
    doses: tuple[float, ...] = (0.1, 0.25, 0.5)
    dose_of_concern: float = 0.25
    because: str = "where one lesion in four is missing, a model trained on the images learns to overlook lesions"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images with a share `severity` of the lesions filled; `NotComputable` where none can be filled."""
        if severity == 0.0:
            return images
        order = context.rng.permutation(rows_to_fill(images, self.region, self.margin_px))
        seeds = context.rng.integers(2**63, size=len(images))
        healthy = np.array(images.images)
        assert images.masks is not None
        masks = np.array(images.masks) if self.mask == "emptied" else None
        for row in first_share(order, severity):
            lesion = lesion_of(images, row, self.region)
            rng = np.random.default_rng(seeds[row])
            healthy[row] = without_lesion(images.images[row], lesion, lesion, self.margin_px, rng)
            if masks is not None:
                masks[row][lesion] = 0
        return with_pixels(images, healthy, masks)
