"""Speckle, as in ultrasound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, Modality, Perturbation

from .planting import planted

_FWHM_PER_SD = 2.0 * np.sqrt(2.0 * np.log(2.0))


class SpeckleNoise(Perturbation):
    """Multiplies every image by speckle of mean one: 1 + severity x (G - 1), clipped to the intensity window.

    G is the intensity of fully developed speckle averaged over `looks` independent looks: the squared magnitude of a circular
    complex Gaussian field, whose law is the gamma of shape `looks` and mean 1 (Goodman 2007). The factor has a standard deviation of
    severity / sqrt(looks); with 4 looks and severity 1 it is about that of the Rayleigh-distributed echo amplitude, 0.52. Speckle
    cells are `cell_px` wide along every axis: the full width at half maximum of the autocovariance of the intensity (Wagner et al.
    1983), which is Gaussian and wraps round at the edges. All channels get the same speckle: they display one echo. What is multiplied
    is the displayed intensity, although displays show the logarithm of the echo.
    """

    name = "speckle_noise"
    version = "1"
    failure_mode = FailureMode.NOISE
    full_severity = "multiplied by fully developed speckle of 4 looks, a relative SD of 50 % (option looks)"
    presets: ClassVar[Mapping[Modality, Mapping[str, Any]]] = {"ultrasound": {}}

    looks: int = Field(4, ge=1, description="independent looks averaged; the relative SD at severity 1 is 1 / sqrt(looks)")
    cell_px: float = Field(2.0, ge=0.0, description="full width at half maximum of a speckle cell in px, 0 for independent pixels")
    doses: tuple[float, ...] = (0.125, 0.25, 0.5)
    dose_of_concern: float = 0.25
    because: str = (
        "real speckle has a standard deviation of 5.6 dB, about a fifth of mid-grey on a display of 60 dB; another 12.5 % makes its "
        "variance nearly half as large again, so that lesions that differ little in echogenicity are missed"
    )

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images multiplied by 1 + severity x (G - 1)."""
        if severity == 0.0:
            return images
        transfer = _transfer(images.size_px, self.cell_px)

        def speckled(image: np.ndarray) -> np.ndarray:
            gain = self._intensity(image.shape[1:], transfer, context.rng)
            return image * (1.0 + severity * (gain - 1.0))

        return planted(images, speckled)

    def _intensity(self, size_px: tuple[int, ...], transfer: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
        """Return one field of speckle intensity of mean 1."""
        fields = rng.standard_normal((2 * self.looks, *size_px), dtype=np.float32)
        if transfer is not None:
            import scipy.fft

            axes = range(1, fields.ndim)
            fields = scipy.fft.irfftn(scipy.fft.rfftn(fields, axes=axes) * transfer, s=size_px, axes=axes)
        return np.mean(fields**2, axis=0)


def _transfer(size_px: tuple[int, ...], cell_px: float) -> np.ndarray | None:
    """Return the filter in the half k-space of real fields that gives cells of this width and keeps the variance; None for no filter.

    A field filtered by a Gaussian of standard deviation s has the autocorrelation exp(-r^2 / (4 s^2)), and its intensity the square
    of that, whose standard deviation is s.
    """
    if cell_px == 0.0:
        return None
    sd = cell_px / _FWHM_PER_SD
    whole = [np.exp(-2.0 * (np.pi * sd * np.fft.fftfreq(size)) ** 2) for size in size_px]
    halved = [*whole[:-1], whole[-1][: size_px[-1] // 2 + 1]]
    transfer = np.ones(())
    for factor in halved:
        transfer = transfer[..., None] * factor
    power = np.prod([np.mean(factor**2) for factor in whole])
    return (transfer / np.sqrt(power)).astype(np.float32)
