"""Uneven sensitivity over the field of view."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, Modality, NotComputable, Perturbation

from .planting import planted


class BiasField(Perturbation):
    """Multiplies every image by a smooth field, as uneven coils would, clipped to the intensity window.

    The logarithm of the field is a polynomial of the position with random coefficients, of total degree up to `order`, scaled so that
    the largest gain is `ratio_at_full` ** severity times the smallest, and their product is 1 (the model of Van Leemput et al. 1999).
    Each image has a field of its own, shared by its channels.
    """

    name = "bias_field"
    version = "1"
    failure_mode = FailureMode.ARTEFACT
    full_severity = "the largest gain in the image is 2.25 times the smallest (option ratio_at_full)"
    presets: ClassVar[Mapping[Modality, Mapping[str, Any]]] = {"mri": {}}

    ratio_at_full: float = Field(2.25, gt=1.0, description="largest over smallest gain within an image at severity 1")
    order: int = Field(2, ge=1, le=6, description="highest total degree of the polynomial in the coordinates")
    doses: tuple[float, ...] = (0.25, 0.5, 1.0)
    dose_of_concern: float = 0.5
    because: str = (
        "gains that differ by a factor of 1.5, the 40 % level of BrainWeb, exceed the difference between grey and white matter, so that "
        "one tissue looks like the other elsewhere in the image"
    )

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images multiplied by fields whose gains differ by a factor of ratio_at_full ** severity."""
        if severity == 0.0:
            return images
        if max(images.size_px) < 2:
            raise NotComputable(f"images of {images.size_px} pixels have no room for a field that varies")
        terms = monomials(images.size_px, self.order)
        contrast = severity * np.log(self.ratio_at_full)

        def biased(image: np.ndarray) -> np.ndarray:
            field = np.tensordot(context.rng.standard_normal(len(terms)), terms, axes=1)
            low, high = field.min(), field.max()
            return image * np.exp(contrast * ((field - low) / (high - low) - 0.5))

        return planted(images, biased)


def monomials(size_px: tuple[int, ...], order: int) -> np.ndarray:
    """Return the monomials of the coordinates of total degree 1 to `order`, (terms, *size_px) float64; each axis spans -1 to 1.

    Axes of one pixel have the coordinate 0 and take no part.
    """
    used = [axis for axis, size in enumerate(size_px) if size > 1]
    grids = np.meshgrid(*(np.linspace(-1.0, 1.0, size) if size > 1 else np.zeros(1) for size in size_px), indexing="ij")
    powers = [p for p in product(range(order + 1), repeat=len(used)) if 1 <= sum(p) <= order]
    return np.stack([np.prod([grids[axis] ** exponent for axis, exponent in zip(used, p, strict=True)], axis=0) for p in powers])
