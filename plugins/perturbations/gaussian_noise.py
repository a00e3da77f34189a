"""Additive Gaussian noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, Modality, Perturbation

from .planting import planted


class GaussianNoise(Perturbation):
    """Adds independent Gaussian noise to every pixel of every image, clipped to the intensity window.

    The standard deviation at severity 1 is `sd_at_full`, as a share of the window, and falls in proportion with the severity.
    """

    name = "gaussian_noise"
    version = "1"
    failure_mode = FailureMode.NOISE
    full_severity = "noise SD of 0.25 of the intensity window (option sd_at_full)"
    presets: ClassVar[Mapping[Modality, Mapping[str, Any]]] = {
        "ultrasound": {
            "doses": (0.1, 0.2, 0.4),
            "dose_of_concern": 0.2,
            "because": (
                "electronic noise with a standard deviation of 0.05 of the window fills cysts and shadows with false echoes, and freedom "
                "from echoes is what tells a cyst from a solid mass"
            ),
        },
        "mri": {
            "sd_at_full": 0.1,
            "doses": (0.1, 0.5, 1.0),
            "dose_of_concern": 0.5,
            "because": (
                "standard deviations of 0.01, 0.05 and 0.1 of the window are those of Deo et al. (2025); the middle one leaves mid-grey "
                "tissue a signal-to-noise ratio of 10, at which lesions of low contrast drown"
            ),
        },
        "xray": {
            "doses": (0.1, 0.2, 0.4),
            "dose_of_concern": 0.2,
            "because": (
                "with electronic noise of standard deviation 0.05 a detail of 4 x 4 pixels must differ by 6 % of the window from its "
                "surround to reach the signal-to-noise ratio of 5 of Rose's criterion, so that subtle nodules vanish"
            ),
        },
        "mammography": {
            "doses": (0.05, 0.1, 0.2),
            "dose_of_concern": 0.1,
            "because": (
                "with electronic noise of standard deviation 0.025 a calcification of 2 x 2 pixels must differ by 6 % of the window from "
                "its surround to reach the signal-to-noise ratio of 5 of Rose's criterion, so that faint microcalcifications vanish"
            ),
        },
        "microscopy": {
            "doses": (0.1, 0.2, 0.4),
            "dose_of_concern": 0.2,
            "because": (
                "read noise of standard deviation 0.05 of the window exceeds the texture of chromatin, so that nuclei can no longer be "
                "graded"
            ),
        },
    }

    sd_at_full: float = Field(0.25, gt=0.0, description="noise SD at severity 1, as a share of the intensity window")
    doses: tuple[float, ...] = (0.25, 0.5, 1.0)
    dose_of_concern: float = 0.5
    because: str = "noise with a standard deviation of an eighth of the intensity window hides structures of lower contrast"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images with noise of standard deviation severity x sd_at_full."""
        if severity == 0.0:
            return images
        sd = np.float32(severity * self.sd_at_full)
        return planted(images, lambda image: image + context.rng.standard_normal(image.shape, dtype=np.float32) * sd)
