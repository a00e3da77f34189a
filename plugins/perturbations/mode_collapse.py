"""Loss of whole kinds of images."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, NotComputable, Perturbation

from ..extractors.pixels import downsample

_BLOCK = 64


class ModeCollapse(Perturbation):
    """Removes all images of a share of the modes, as a generator that never makes some kinds of images would.

    The severity is the share of modes dropped, rounded, at least one and never all. Modes are the labels, or k-means clusters
    of down-sampled pixels (`modes` of them), which need no labels. The images left are untouched: fewer come back than went
    in.
    """

    name = "mode_collapse"
    version = "1"
    failure_mode = FailureMode.MODE_COLLAPSE
    full_severity = "one mode is left"

    by: Literal["clusters", "labels"] = "clusters"
    modes: int = Field(8, ge=2)
    doses: tuple[float, ...] = (0.25, 0.5, 0.75)
    dose_of_concern: float = 0.5
    because: str = "a generator without half the kinds of images cannot stand for the population"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images of the modes that are kept."""
        if severity == 0.0:
            return images
        mode = self._modes(images, context)
        found = np.unique(mode)
        if len(found) < 2:
            raise NotComputable("all images are of one mode, so none can be dropped")
        dropped = min(max(1, round(severity * len(found))), len(found) - 1)
        # One order for all severities of a seed, so that a higher dose drops what a lower one drops, and more.
        return images.take(~np.isin(mode, context.rng.permutation(found)[:dropped]))

    def _modes(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return the mode of each image, (N,) int64."""
        if self.by == "labels":
            if images.labels is None:
                raise NotComputable("modes by labels need labels, and the images have none")
            return images.labels
        from sklearn.cluster import KMeans

        if len(images) < self.modes:
            raise NotComputable(f"{self.modes} clusters need as many images, got {len(images)}")
        side = 16 if len(images.size_px) == 2 else 8
        cells = np.concatenate([downsample(images.images[i : i + _BLOCK], side) for i in range(0, len(images), _BLOCK)])
        clusters = KMeans(self.modes, n_init=4, random_state=context.seed % 2**32)
        return clusters.fit_predict(cells.reshape(len(images), -1)).astype(np.int64)
