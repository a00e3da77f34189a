"""Shifts of less than a pixel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, Perturbation

from .presets import everywhere

_ENTRIES = 1_000_000


class SubpixelShift(Perturbation):
    """Shifts each image by a fraction of a pixel in a random direction of its own: a harmless change.

    The shift is `max_shift_px` times the severity long. It is a change of phase of the Fourier series of the image and its mirror
    images at the edges (half-sample symmetric, the series of the discrete cosine transform): all frequencies pass in full, whereas
    a cubic spline through the pixels loses a tenth or more of the energy of the finest detail and so plants blur. Intensities are
    clipped to the window. Masks stay as they are, since the nearest pixel is the same.
    """

    name = "subpixel_shift"
    version = "1"
    failure_mode = FailureMode.HARMLESS
    full_severity = "a shift of half a pixel (`max_shift_px`)"
    presets = everywhere()

    max_shift_px: float = Field(0.5, gt=0.0, le=0.5, description="length of the shift at severity 1, in pixels")
    doses: tuple[float, ...] = (1.0,)
    dose_of_concern: float = 1.0
    because: str = "where a patient lies on the grid of pixels is chance, and no finding depends on it"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images shifted by severity x max_shift_px pixels."""
        if severity == 0.0:
            return images
        directions = context.rng.standard_normal((len(images), len(images.size_px)))
        px = severity * self.max_shift_px * directions / np.linalg.norm(directions, axis=1, keepdims=True)
        pixels = np.empty(images.images.shape, dtype=np.float32)
        step = max(1, _ENTRIES // int(np.prod(pixels.shape[1:])))
        for start in range(0, len(images), step):
            pixels[start : start + step] = shifted(images.images[start : start + step], px[start : start + step])
        return replace(images, images=pixels, features=None, checked=False)


def shifted(images: np.ndarray, px: np.ndarray) -> np.ndarray:
    """Return the images, (N, C, ...) float32 in [0, 1], shifted by px, (N, axes) pixels towards higher indices, and clipped to [0, 1].

    The periodic image of twice the size that its mirror images complete is shifted by the Fourier shift theorem, axis by axis.
    """
    moved = images
    for axis in range(2, images.ndim):
        size = images.shape[axis]
        turned = np.exp(-2j * np.pi * np.fft.rfftfreq(2 * size) * px[:, axis - 2, None])
        turned = turned.reshape(len(images), *(1,) * (axis - 1), size + 1, *(1,) * (images.ndim - axis - 1))
        spectrum = np.fft.rfft(np.concatenate([moved, np.flip(moved, axis)], axis), axis=axis)
        moved = np.fft.irfft(spectrum * turned, 2 * size, axis).take(np.arange(size), axis)
    return np.clip(moved, 0.0, 1.0).astype(np.float32)
