"""The same images in another order."""

from __future__ import annotations

import numpy as np

from harness.api import Context, FailureMode, ImageSet, Perturbation

from .presets import everywhere


class Reorder(Perturbation):
    """Returns the same images in another order: a harmless change.

    A random share `severity` of the images change places among themselves, so that none of them stays where it was. Each takes
    its id, patient, mask, label, concepts and groups along.
    """

    name = "reorder"
    version = "1"
    failure_mode = FailureMode.HARMLESS
    full_severity = "no image is where it was in the list"
    presets = everywhere()

    doses: tuple[float, ...] = (1.0,)
    dose_of_concern: float = 1.0
    because: str = "the order of the files says nothing about the patients"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images in another order."""
        moving = context.rng.permutation(len(images))[: round(severity * len(images))]
        if len(moving) < 2:
            return images
        rows = np.arange(len(images))
        rows[moving] = np.roll(moving, 1)
        return images.take(rows)
