"""Additive Gaussian noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, Perturbation

_BLOCK = 64


class GaussianNoise(Perturbation):
    """Adds independent Gaussian noise to every pixel of every image, clipped to the intensity window.

    The standard deviation at severity 1 is `sd_at_full`, as a share of the window, and falls in proportion with the severity.
    """

    name = "gaussian_noise"
    version = "1"
    failure_mode = FailureMode.NOISE
    full_severity = "noise SD of 0.25 of the intensity window"

    sd_at_full: float = Field(0.25, gt=0.0)
    doses: tuple[float, ...] = (0.25, 0.5, 1.0)
    dose_of_concern: float = 0.5
    because: str = "noise with a standard deviation of an eighth of the intensity window hides structures of lower contrast"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images with noise of standard deviation severity x sd_at_full."""
        if severity == 0.0:
            return images
        noisy = np.empty(images.images.shape, dtype=np.float32)
        for start in range(0, len(images), _BLOCK):
            block = images.images[start : start + _BLOCK]
            noise = context.rng.standard_normal(block.shape, dtype=np.float32) * np.float32(severity * self.sd_at_full)
            noisy[start : start + _BLOCK] = np.clip(block + noise, 0.0, 1.0)
        return replace(images, images=noisy, features=None, checked=False)
