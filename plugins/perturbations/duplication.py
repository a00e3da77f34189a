"""Copies of training images in place of new ones."""

from __future__ import annotations

from harness.api import Context, FailureMode, ImageSet, Perturbation

from .copying import in_place_of, refuse_unlike, rows_to_copy
from .presets import everywhere


class Duplication(Perturbation):
    """Replaces a share of the images by exact copies of random training images, as a generator that memorises would.

    The severity is the share. No training image is copied twice before each was copied once. Masks, labels, concepts and groups
    follow the copy, since they describe what is in the image; ids and patients stay those of the slot, and `sources` names the
    image copied. Doses: Deo et al. 2025, "external data duplication".
    """

    name = "duplication"
    version = "1"
    failure_mode = FailureMode.MEMORISATION
    full_severity = "every image is a copy of a training image"
    presets = everywhere()

    doses: tuple[float, ...] = (0.05, 0.15, 0.30, 0.45)
    dose_of_concern: float = 0.15
    because: str = "one image in seven being a training image breaks both privacy and any claim of added variety"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images with a share `severity` replaced by copies from `train`."""
        count = round(severity * len(images))
        if count == 0:
            return images
        refuse_unlike(images, train)
        slots = context.rng.permutation(len(images))[:count]
        return in_place_of(images, slots, train, rows_to_copy(count, len(train), context.rng))
