"""Gibbs ringing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, Modality, Perturbation

from .fourier import along, frequencies, magnitude, to_k_space
from .planting import planted


class Ringing(Perturbation):
    """Truncates the k-space of every image symmetrically along all spatial axes, without apodisation.

    The share of k-space kept along each axis is 1 - severity x (1 - `kept_at_full`), in whole lines; the rest is filled with zeros
    and the magnitude taken. Edges then overshoot by up to 9 % of their height and are accompanied by ripples (Gibbs), whose
    distance grows as less is kept; fine detail is lost with them.
    """

    name = "ringing"
    version = "1"
    failure_mode = FailureMode.ARTEFACT
    full_severity = "a quarter of k-space is kept along each axis (option kept_at_full)"
    presets: ClassVar[Mapping[Modality, Mapping[str, Any]]] = {"mri": {}}

    kept_at_full: float = Field(0.25, gt=0.0, lt=1.0, description="share of k-space kept along each axis at severity 1")
    doses: tuple[float, ...] = (0.25, 0.5, 1.0)
    dose_of_concern: float = 0.5
    because: str = (
        "with five eighths of k-space kept, ripples 3 px apart run along every strong edge; in the spinal cord and in menisci such "
        "ripples have been mistaken for a syrinx and for tears"
    )

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images from the central 1 - severity x (1 - kept_at_full) of k-space along each axis."""
        if severity == 0.0:
            return images
        kept = 1.0 - severity * (1.0 - self.kept_at_full)
        masks = [along(kept_lines(size, kept), axis - len(images.size_px)) for axis, size in enumerate(images.size_px)]

        def truncated(image: np.ndarray) -> np.ndarray:
            k_space = to_k_space(image)
            for mask in masks:
                k_space *= mask
            return magnitude(k_space)

        return planted(images, truncated)


def kept_lines(lines: int, kept: float) -> np.ndarray:
    """Return which lines of k-space belong to its central share `kept`, (lines,) bool: as many on either side of the centre."""
    # The tolerance keeps a share such as 0.7 of 20 lines from falling to 13 by rounding.
    return np.abs(frequencies(lines)) <= kept * lines / 2.0 + 1e-9
