"""Slightly changed copies of training images in place of new ones."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from harness.api import Context, FailureMode, ImageSet, Perturbation

from .copying import in_place_of, refuse_unlike, rows_to_copy
from .presets import everywhere
from .subpixel_shift import shifted


class NearCopies(Perturbation):
    """Replaces a share of the images by copies of random training images, each shifted, brightened and made noisy a little.

    The severity is the share; how much a copy is changed does not depend on it. Each copy has a shift, a gamma and a noise of
    its own: a shift along each axis, uniform within `max_shift_px`; intensities to the power of a gamma whose logarithm is
    uniform within +-log(1 + gamma_range); Gaussian noise. Masks, labels, concepts and groups follow the copy, the masks unshifted,
    since the shift is less than a pixel; ids and patients stay those of the slot, and `sources` names the image copied.
    """

    name = "near_copies"
    version = "1"
    failure_mode = FailureMode.MEMORISATION
    full_severity = "every image is a slightly changed copy of a training image"
    presets = everywhere()

    noise_sd: float = Field(0.01, ge=0.0, description="standard deviation of the noise of a copy, as a share of the intensity window")
    max_shift_px: float = Field(0.5, ge=0.0, le=0.5, description="largest shift of a copy along each axis, in pixels")
    gamma_range: float = Field(0.05, ge=0.0, description="a copy's gamma lies between 1 / (1 + gamma_range) and 1 + gamma_range")
    doses: tuple[float, ...] = (0.05, 0.15, 0.30, 0.45)
    dose_of_concern: float = 0.15
    because: str = "a training image that was only shifted, brightened or made grainier still shows the patient it was taken of"

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.noise_sd == self.max_shift_px == self.gamma_range == 0.0:
            raise ValueError("noise_sd, max_shift_px and gamma_range are all 0: that is what duplication does")
        return self

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images with a share `severity` replaced by changed copies from `train`."""
        count = round(severity * len(images))
        if count == 0:
            return images
        refuse_unlike(images, train)
        slots = context.rng.permutation(len(images))[:count]
        rows = rows_to_copy(len(images), len(train), context.rng)[:count]
        # One copy after another, so that a higher dose keeps the copies of a lower one and adds some.
        pixels = np.stack([self._changed(train.images[row], context.rng) for row in rows])
        return in_place_of(images, slots, train, rows, pixels)

    def _changed(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return one image, (C, ...) float32, with a shift, a gamma and noise of its own."""
        px = rng.uniform(-self.max_shift_px, self.max_shift_px, (1, image.ndim - 1))
        gamma = np.exp(rng.uniform(-1.0, 1.0) * np.log1p(self.gamma_range))
        noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(self.noise_sd)
        bright = shifted(image[None], px)[0] ** np.float32(gamma)
        return np.clip(bright + noise, 0.0, 1.0)
