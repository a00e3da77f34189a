"""Lossy compression in blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, Modality, Perturbation

from .planting import planted

# ITU-T T.81 (1992), table K.1: luminance quantisation.
LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)


class Jpeg(Perturbation):
    """Compresses every image as baseline JPEG does, in blocks of 8 x 8 pixels, and decompresses it again.

    Images are rounded to 8 bits, and the cosine transform of each block is rounded to multiples of the standard luminance table,
    scaled by the quality as in libjpeg. The quality falls from 100 to `quality_at_full` in proportion with the severity, in whole
    steps. Every channel is compressed as a grey image, without change of colour space or chroma subsampling, and volumes slice
    by slice; edges are continued to whole blocks. Entropy coding, which loses nothing, is left out.
    """

    name = "jpeg"
    version = "1"
    failure_mode = FailureMode.ARTEFACT
    full_severity = "JPEG of quality 10 on libjpeg's scale (option quality_at_full)"
    presets: ClassVar[Mapping[Modality, Mapping[str, Any]]] = {
        "ultrasound": {
            "because": (
                "at quality 55 texture with a standard deviation of 1 % of the window keeps less than half of it: the echo pattern of "
                "tissue, by which masses are told apart, turns into flat blocks"
            )
        },
        "xray": {},
        "mammography": {
            "doses": (0.125, 0.25, 0.5),
            "dose_of_concern": 0.25,
            "because": (
                "at quality 78 most calcifications of one pixel that stand out by a fifth of the window lose more than half of that, and "
                "microcalcifications are what screening must find"
            ),
        },
        "microscopy": {
            "because": (
                "at quality 55 texture with a standard deviation of 1 % of the window keeps less than half of it: chromatin, by which "
                "nuclei are graded, looks smooth"
            )
        },
    }

    quality_at_full: int = Field(10, ge=1, le=99, description="JPEG quality at severity 1, on libjpeg's scale of 1 to 100")
    doses: tuple[float, ...] = (0.25, 0.5, 1.0)
    dose_of_concern: float = 0.5
    because: str = (
        "at quality 55 texture with a standard deviation of 1 % of the window keeps less than half of it: interstitial markings and "
        "fine trabeculae turn into flat blocks"
    )

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images as JPEG of quality 100 - severity x (100 - quality_at_full) leaves them."""
        if severity == 0.0:
            return images
        table = quantisation_table(round(100.0 - severity * (100 - self.quality_at_full)))
        return planted(images, lambda image: compressed(image, table))


def quantisation_table(quality: int) -> np.ndarray:
    """Return the (8, 8) int64 steps of the luminance table at a quality from 1 to 100 (libjpeg, jpeg_quality_scaling)."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((LUMINANCE * scale + 50) // 100, 1, 255)


def compressed(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return images (..., H, W) in [0, 1] with the cosine transform of their blocks rounded to multiples of the table, float64."""
    from scipy.fft import dctn, idctn

    height, width = image.shape[-2:]
    margins = [(0, 0)] * (image.ndim - 2) + [(0, -height % 8), (0, -width % 8)]
    levels = np.pad(np.rint(image.astype(np.float64) * 255.0), margins, mode="edge") - 128.0
    blocks = levels.reshape(*levels.shape[:-2], levels.shape[-2] // 8, 8, levels.shape[-1] // 8, 8)
    steps = table[:, None, :]
    transformed = dctn(blocks, axes=(-3, -1), norm="ortho")
    coefficients = np.sign(transformed) * _half_up(np.abs(transformed) / steps) * steps
    restored = idctn(coefficients, axes=(-3, -1), norm="ortho").reshape(levels.shape)[..., :height, :width]
    return np.clip(_half_up(restored + 128.0), 0.0, 255.0) / 255.0


def _half_up(values: np.ndarray) -> np.ndarray:
    """Return values rounded as libjpeg does, halves upwards; halves are frequent here, because sums of levels are divided by eight."""
    return np.floor(values + (0.5 + 1e-9))
