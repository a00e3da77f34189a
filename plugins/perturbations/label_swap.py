"""Labels that do not belong to the image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.api import Context, FailureMode, ImageSet, NotComputable, Perturbation

from .presets import everywhere


class LabelSwap(Perturbation):
    """Replaces a share of the labels by another class, as a conditional generator that does not obey its label would.

    The severity is the share. The images are drawn at random, whatever their class, and the wrong class is drawn uniformly among
    the other classes present. Pixels, masks, concepts and groups stay as they are.
    """

    name = "label_swap"
    version = "1"
    needs = frozenset({"labels"})
    failure_mode = FailureMode.LABEL_NOISE
    full_severity = "every label is wrong"
    presets = everywhere()

    doses: tuple[float, ...] = (0.05, 0.10, 0.20, 0.40)
    dose_of_concern: float = 0.10
    because: str = "where one image in ten shows disease, one wrong label in ten makes half of those labelled diseased healthy"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images with a share `severity` of the labels replaced."""
        count = round(severity * len(images))
        if count == 0:
            return images
        if images.labels is None:
            raise NotComputable("a swap of labels needs labels, and the images have none")
        found, place = np.unique(images.labels, return_inverse=True)
        if len(found) < 2:
            raise NotComputable("all images are of one class, so no label can be another")
        slots = context.rng.permutation(len(images))[:count]
        # One draw for every image at any dose: a higher dose keeps the wrong labels of a lower one.
        steps = context.rng.integers(1, len(found), size=len(images))
        labels = images.labels.copy()
        labels[slots] = found[(place + steps)[slots] % len(found)]
        return replace(images, labels=labels, features=None, checked=False)
