"""Loss of sharpness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, Modality, Perturbation

from .planting import planted

_FWHM_PER_SD = 2.0 * np.sqrt(2.0 * np.log(2.0))


class Blur(Perturbation):
    """Blurs every image along all spatial axes with a Gaussian point spread function.

    Its full width at half maximum is severity x `fwhm_at_full`, in pixels or in mm; in mm, axes of coarser spacing are blurred over
    fewer pixels. Beyond the edge the image goes on as it ends. A full width below about one pixel changes little, because the pixel
    grid is coarser than that.
    """

    name = "blur"
    version = "1"
    failure_mode = FailureMode.BLUR
    full_severity = "point spread function with a full width at half maximum of 4 px (options fwhm_at_full and unit)"
    presets: ClassVar[Mapping[Modality, Mapping[str, Any]]] = {
        "ultrasound": {
            "because": (
                "a full width of 2 px leaves lines of that width 41 % of their contrast: the margin of a mass, by which malignancy is "
                "judged, looks smooth or indistinct"
            )
        },
        "mri": {},
        "xray": {
            "because": (
                "a full width of 2 px leaves lines of that width 41 % of their contrast: fine fractures and interstitial markings fade"
            )
        },
        "mammography": {
            "doses": (0.25, 0.35, 0.7),
            "dose_of_concern": 0.35,
            "because": (
                "a full width of 1.4 px leaves a calcification of one pixel 45 % of its contrast, and the shape of microcalcifications, "
                "by which they are classified, is lost"
            ),
        },
        "microscopy": {
            "because": (
                "a full width of 2 px, as of a slide slightly out of focus, leaves lines of that width 41 % of their contrast: chromatin "
                "texture and mitotic figures can no longer be judged"
            )
        },
    }

    fwhm_at_full: float = Field(4.0, gt=0.0, description="full width at half maximum of the point spread function at severity 1")
    unit: Literal["px", "mm"] = Field("px", description="unit of fwhm_at_full")
    doses: tuple[float, ...] = (0.25, 0.5, 1.0)
    dose_of_concern: float = 0.5
    because: str = "a full width of 2 px leaves lines of that width 41 % of their contrast: small vessels and edges of lesions fade"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images blurred with a full width at half maximum of severity x fwhm_at_full."""
        if severity == 0.0:
            return images
        from scipy.ndimage import gaussian_filter

        spacing = images.spacing_mm if self.unit == "mm" else (1.0,) * len(images.size_px)
        sd = [severity * self.fwhm_at_full / _FWHM_PER_SD / step for step in spacing]

        def blurred(image: np.ndarray) -> np.ndarray:
            result: np.ndarray = gaussian_filter(image, (0.0, *sd), mode="nearest")
            return result

        return planted(images, blurred)
