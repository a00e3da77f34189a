"""Rings within lesions."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, Perturbation

from .lesions import components, lesion_of, rows_with_lesion, with_pixels
from .presets import everywhere


class RadialGradient(Perturbation):
    """Makes rings within the lesion: intensities are scaled sinusoidally in their distance from the lesion's centre of mass.

    The factor is 1 + severity x `amplitude_at_full` x sin(2 pi x `cycles` x r / R), where r is the distance from the centre of mass in
    mm and R that of the lesion's farthest pixel: with one cycle a brighter core and a darker rim. Values are clipped to the
    intensity window. Nothing outside the lesion changes; masks stay. After Deo et al. 2025, who give neither period nor formula and
    take centres slice by slice: here a volume has one centre.
    """

    name = "radial_gradient"
    version = "1"
    needs = frozenset({"masks"})
    failure_mode = FailureMode.LOCAL_MORPHOLOGY
    full_severity = "intensities within the lesion scaled by 1 +/- 0.3, in rings"
    presets = everywhere(
        mri="a core and a rim that differ by two fifths in a uniform tumour suggest necrosis or enhancement, by which tumours are graded",
        ultrasound="a core and a rim that differ by two fifths in a uniform mass suggest a complex mass or a halo, which BI-RADS describes",
    )

    amplitude_at_full: float = Field(0.3, gt=0.0, le=1.0, description="largest relative change of intensity at severity 1")
    cycles: float = Field(1.0, gt=0.0, description="periods of the sinusoid between the centre of mass and the farthest pixel")
    per_component: bool = Field(False, description="a centre of mass for each connected component instead of one for the image")
    region: int | None = Field(None, ge=1, le=255, description="region number of the mask that is the lesion; all regions where left out")
    doses: tuple[float, ...] = (1 / 3, 2 / 3, 1.0)
    dose_of_concern: float = 2 / 3
    because: str = "a core a fifth brighter and a rim a fifth darker than they are suggest a tissue composition that the lesion has not"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images with rings of amplitude severity x amplitude_at_full; `NotComputable` where no image has a lesion."""
        if severity == 0.0:
            return images
        rows = rows_with_lesion(images, self.region, edged=False)
        ringed = np.array(images.images)
        for row in rows:
            lesion = lesion_of(images, row, self.region)
            where = np.nonzero(lesion)
            part = components(lesion)[0][where] if self.per_component else np.ones(len(where[0]), dtype=np.int64)
            wave = np.sin(2 * np.pi * self.cycles * _relative_radius(where, part, images.spacing_mm))
            factor = (1.0 + severity * self.amplitude_at_full * wave).astype(np.float32)
            ringed[row][:, *where] = np.clip(images.images[row][:, *where] * factor, 0.0, 1.0)
        return with_pixels(images, ringed)


def _relative_radius(where: tuple[np.ndarray, ...], part: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Return the distance of pixels from the centre of mass of their part over the largest there, (P,), 0 for parts of one pixel."""
    size = np.bincount(part)
    squared = np.zeros(len(part))
    for axis, spacing in zip(where, spacing_mm, strict=True):
        centre = np.bincount(part, weights=axis) / np.maximum(size, 1)
        squared += ((axis - centre[part]) * spacing) ** 2
    largest = np.zeros(len(size))
    np.maximum.at(largest, part, squared)
    return np.sqrt(squared / np.where(largest > 0.0, largest, 1.0)[part])
