"""Lesion edges out of focus."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, Perturbation

from .lesions import Unit, box_round, in_pixels, lesion_of, rows_with_lesion, signed_distance, steps, with_pixels
from .presets import everywhere

_TRUNCATE = 4.0


class BoundaryBlur(Perturbation):
    """Blurs the lesion's edge: a Gaussian filter, applied only within a band inside the lesion along its edge.

    The filter's standard deviation is severity x `sigma_at_full`. The band is every pixel whose Euclidean distance from the edge is at
    most `band`; with `outside` it reaches as far into the surroundings. Everything else, and every image without a lesion, is
    unchanged; masks stay. After Deo et al. 2025 (sigma 1, 2, 3), who do not say how wide their band is, and filter slices: here
    volumes are filtered in 3D.
    """

    name = "boundary_blur"
    version = "1"
    needs = frozenset({"masks"})
    failure_mode = FailureMode.LOCAL_MORPHOLOGY
    full_severity = "Gaussian blur of SD 3 px within 5 px of the lesion's edge"
    presets = everywhere(
        ultrasound="a margin blurred over 2 px makes a circumscribed mass indistinct, which moves it from benign to suspicious in BI-RADS",
        mammography="a margin blurred over 2 px makes a circumscribed mass indistinct, which moves it from benign to suspicious in BI-RADS",
        mri="a tumour edge blurred over 2 px can no longer be contoured for surgery or radiotherapy",
    )

    sigma_at_full: float = Field(3.0, gt=0.0, description="standard deviation of the filter at severity 1, in `unit`")
    band: float = Field(5.0, gt=0.0, description="width of the band on one side of the edge, in `unit`")
    outside: bool = Field(False, description="blur as wide a band outside the lesion too")
    unit: Unit = Field("px", description="unit of sigma_at_full and band")
    region: int | None = Field(None, ge=1, le=255, description="region number of the mask that is the lesion; all regions where left out")
    doses: tuple[float, ...] = (1 / 3, 2 / 3, 1.0)
    dose_of_concern: float = 2 / 3
    because: str = "an edge blurred over 2 px can no longer be delineated, and a sharp or blurred margin tells benign from malignant"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images with lesion edges blurred by severity x sigma_at_full; `NotComputable` where no lesion has an edge."""
        if severity == 0.0:
            return images
        from scipy.ndimage import gaussian_filter

        rows = rows_with_lesion(images, self.region)
        step, sigma = steps(images, self.unit), severity * self.sigma_at_full
        margin = in_pixels(_TRUNCATE * sigma + self.band, step)
        sigma_px = tuple(sigma / s for s in step)
        blurred = np.array(images.images)
        for row in rows:
            lesion = lesion_of(images, row, self.region)
            box = box_round(lesion, margin)
            distance = signed_distance(lesion[box], step)
            band = (np.abs(distance) <= self.band) & (lesion[box] | self.outside)
            for channel in range(blurred.shape[1]):
                smooth = np.asarray(gaussian_filter(images.images[(row, channel, *box)], sigma_px, truncate=_TRUNCATE))
                blurred[(row, channel, *box)][band] = np.clip(smooth[band], 0.0, 1.0)
        return with_pixels(images, blurred)
