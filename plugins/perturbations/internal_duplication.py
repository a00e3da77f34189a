"""Images that repeat others of the same set."""

from __future__ import annotations

import numpy as np

from harness.api import Context, FailureMode, ImageSet, NotComputable, Perturbation

from .copying import in_place_of
from .presets import everywhere


class InternalDuplication(Perturbation):
    """Fills a share of the slots with exact copies of other images of the same set, as a generator of too little variety would.

    The severity is the share, at most all but one image. Each copy is of an image drawn among those that stay, so the set loses
    exactly as many different images as it gets copies. Masks, labels, concepts and groups follow the copy; ids and patients stay
    those of the slot, and `sources` names the image copied. Doses: Deo et al. 2025, "internal data duplication".
    """

    name = "internal_duplication"
    version = "1"
    failure_mode = FailureMode.INTERNAL_DUPLICATION
    full_severity = "every image is a copy of one of them"
    presets = everywhere()

    doses: tuple[float, ...] = (0.05, 0.15, 0.30, 0.45)
    dose_of_concern: float = 0.15
    because: str = (
        "with one image in seven repeating another there are fewer cases than files, and what is learned weighs some patients twice"
    )

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images with a share `severity` replaced by copies of the others."""
        count = min(round(severity * len(images)), len(images) - 1)
        if severity > 0.0 and len(images) == 1:
            raise NotComputable("a single image has no other that it could repeat")
        if count <= 0:
            return images
        order = context.rng.permutation(len(images))
        # Each place in the order copies a later one. A place that is itself filled passes on what it got, so whatever the share,
        # copies are of images that stay, and a higher share fills the slots of a lower one and more.
        copies = context.rng.integers(np.arange(1, len(images)), len(images))
        rows = np.arange(len(images))
        for place in range(count - 1, -1, -1):
            rows[order[place]] = rows[order[copies[place]]]
        slots = order[:count]
        return in_place_of(images, slots, images, rows[slots])
