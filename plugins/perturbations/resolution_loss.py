"""Coarser pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, Modality, Perturbation

from .planting import planted


class ResolutionLoss(Perturbation):
    """Averages every image over larger pixels and interpolates linearly back to its own grid.

    The larger pixels are 1 + severity x (`factor_at_full` - 1) old ones wide along each spatial axis, which need not be a whole
    number; they lie symmetrically about the middle of the image, and those that reach beyond an edge average what is inside.
    """

    name = "resolution_loss"
    version = "1"
    failure_mode = FailureMode.BLUR
    full_severity = "pixels 3 times as wide along each axis (option factor_at_full)"
    presets: ClassVar[Mapping[Modality, Mapping[str, Any]]] = {
        "ultrasound": {
            "because": "with pixels twice as wide the margin of a mass and fine calcifications in it, by which it is classified, are lost"
        },
        "xray": {},
        "mammography": {
            "doses": (0.125, 0.25, 0.5),
            "dose_of_concern": 0.25,
            "because": (
                "with pixels 1.5 times as wide calcifications of one pixel lose three quarters of their contrast on average, and "
                "microcalcifications are what screening must find"
            ),
        },
        "microscopy": {"because": "with pixels twice as wide, half the magnification, nuclei can be counted but no longer graded"},
    }

    factor_at_full: float = Field(3.0, gt=1.0, description="width of a pixel in old ones along each axis at severity 1")
    doses: tuple[float, ...] = (0.25, 0.5, 1.0)
    dose_of_concern: float = 0.5
    because: str = "with pixels twice as wide fine fractures, interstitial lines and small nodules lose most of their contrast"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images as pixels 1 + severity x (factor_at_full - 1) times as wide show them."""
        if severity == 0.0:
            return images
        factor = 1.0 + severity * (self.factor_at_full - 1.0)
        weights = [coarsening(size, factor) for size in images.size_px]

        def coarse(image: np.ndarray) -> np.ndarray:
            for axis, weight in enumerate(weights, start=1):
                image = np.moveaxis(np.tensordot(weight, image, axes=(1, axis)), 0, axis)
            return image

        return planted(images, coarse)


def coarsening(size: int, factor: float) -> np.ndarray:
    """Return the (size, size) weights that average an axis over cells `factor` px wide and interpolate back; rows sum to one."""
    cells = int(np.ceil(size / factor - 1e-9))
    edges = np.clip((size - cells * factor) / 2.0 + factor * np.arange(cells + 1), 0.0, size)
    pixels = np.arange(size)
    overlap = np.minimum(pixels + 1, edges[1:, None]) - np.maximum(pixels, edges[:-1, None])
    averages = np.clip(overlap, 0.0, None) / np.diff(edges)[:, None]
    centres = (edges[1:] + edges[:-1]) / 2.0
    hats = np.stack([np.interp(pixels + 0.5, centres, one) for one in np.eye(cells)], axis=1)
    return hats @ averages
