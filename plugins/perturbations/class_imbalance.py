"""Loss of the rarest class, then imbalance among the others."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, NotComputable, Perturbation

from .presets import everywhere


class ClassImbalance(Perturbation):
    """Removes the rarest class, then thins the others but the most common one, as a generator that collapses to it would.

    With three classes or more, up to severity s = 0.5 the rarest loses the share 2 s of its images; beyond, all of them, and
    every other class but the most common loses the share (2 s - 1) (1 - 1 / thinning), so that at s = 1 it stands `thinning` times
    rarer beside the most common one than it did. With thinning 5, three classes of 40, 40 and 20 % become two of 50 and 50 % at
    s = 0.5 and of 5 to 1 at s = 1: the two settings of Deo et al. 2025. With two classes nothing would be left beside the common
    one, so that the rarer loses 2 s (1 - 1 / thinning) up to s = 0.5, where it stands `thinning` times rarer, and beyond that the
    rest in proportion, until it is gone at s = 1. Of classes of one size the lower label counts as the rarer. Shares are rounded to
    whole images, and the images left are untouched: fewer come back than went in.
    """

    name = "class_imbalance"
    version = "1"
    needs = frozenset({"labels"})
    failure_mode = FailureMode.MODE_COLLAPSE
    full_severity = "no image of the rarest class, and the others `thinning` times rarer beside the most common"
    presets = everywhere()

    thinning: float = Field(5.0, gt=1.0, description="how many times rarer a class is once it is thinned")
    doses: tuple[float, ...] = (0.25, 0.5, 1.0)
    dose_of_concern: float = 0.5
    because: str = "the rarest class is often the disease looked for: a generator that hardly makes it cannot stand for the patients"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images that are kept."""
        if severity == 0.0:
            return images
        if images.labels is None:
            raise NotComputable("an imbalance of classes needs labels, and the images have none")
        found, sizes = np.unique(images.labels, return_counts=True)
        if len(found) < 2:
            raise NotComputable("all images are of one class, so none can become rarer beside another")
        rarest_first = np.argsort(sizes, kind="stable")
        order = context.rng.permutation(len(images))
        kept = np.ones(len(images), dtype=bool)
        for place, share in zip(rarest_first, self._lost(len(found), severity), strict=True):
            members = order[images.labels[order] == found[place]]
            kept[members[: round(share * len(members))]] = False
        return images if kept.all() else images.take(kept)

    def _lost(self, classes: int, severity: float) -> list[float]:
        """Return the share of its images that each class loses, rarest class first."""
        thinned = 1.0 - 1.0 / self.thinning
        first, second = min(1.0, 2.0 * severity), max(0.0, 2.0 * severity - 1.0)
        if classes == 2:
            return [first * thinned + second * (1.0 - thinned), 0.0]
        return [first, *[second * thinned] * (classes - 2), 0.0]
