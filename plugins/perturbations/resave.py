"""Saving and reading back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, Perturbation

from .presets import everywhere

_BLOCK = 64


class Resave(Perturbation):
    """Rounds the images to the integers of a lossless file and back: a harmless change.

    The intensity window is divided into 2^bits - 1 equal steps, so no intensity moves by more than half a step; what was read from
    files of as many bits over the whole window, or with 16 bits from files of 8, comes back exactly as it was. The severity is the
    share of images that are saved again.
    """

    name = "resave"
    version = "1"
    failure_mode = FailureMode.HARMLESS
    full_severity = "every image is rounded to integers of `bits` bits over the window"
    presets = everywhere()

    bits: int = Field(16, ge=12, le=16, description="bits per pixel of the file")
    doses: tuple[float, ...] = (1.0,)
    dose_of_concern: float = 1.0
    because: str = "files of 16 bits hold finer steps than a detector measures or a screen shows"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images with a share `severity` rounded."""
        slots = context.rng.permutation(len(images))[: round(severity * len(images))]
        if not len(slots):
            return images
        steps = 2**self.bits - 1
        pixels = images.images.copy()
        for start in range(0, len(slots), _BLOCK):
            rows = slots[start : start + _BLOCK]
            pixels[rows] = np.round(pixels[rows].astype(np.float64) * steps) / steps
        return replace(images, images=pixels, features=None, checked=False)
