"""Noise of magnitude images from magnetic resonance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, Modality, Perturbation

from .planting import planted


class RicianNoise(Perturbation):
    """Adds Gaussian noise to the real and the imaginary part of the signal and takes the magnitude, clipped to the intensity window.

    sqrt((I + n1)^2 + n2^2), with independent n1 and n2 of the same standard deviation (Gudbjartsson and Patz 1995): bright tissue
    gets noise that is nearly Gaussian, and air, which was black, a floor that follows Rayleigh's law. The image is taken as the
    signal itself: noise that it already has stays. The standard deviation of each component is severity x `sd_at_full`.
    """

    name = "rician_noise"
    version = "1"
    failure_mode = FailureMode.NOISE
    full_severity = "noise SD of 0.1 of the intensity window in each of the two components (option sd_at_full)"
    presets: ClassVar[Mapping[Modality, Mapping[str, Any]]] = {"mri": {}}

    sd_at_full: float = Field(0.1, gt=0.0, description="SD of each component at severity 1, as a share of the intensity window")
    doses: tuple[float, ...] = (0.1, 0.5, 1.0)
    dose_of_concern: float = 0.5
    because: str = (
        "a standard deviation of 0.05 of the window leaves mid-grey tissue a signal-to-noise ratio of 10 and lifts black air "
        "to 0.06, so that lesions of low contrast drown"
    )

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images with Rician noise of standard deviation severity x sd_at_full."""
        if severity == 0.0:
            return images
        sd = np.float32(severity * self.sd_at_full)

        def noisy(image: np.ndarray) -> np.ndarray:
            real, imaginary = sd * context.rng.standard_normal((2, *image.shape), dtype=np.float32)
            return np.hypot(image + real, imaginary)

        return planted(images, noisy)
