"""Loss of whole kinds of images."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, NotComputable, Perturbation

from ..extractors.pixels import downsample
from .presets import everywhere

_BLOCK = 64


class ModeCollapse(Perturbation):
    """Removes all images of a share of the modes, as a generator that never makes some kinds of images would.

    The severity is the share of images lost with the modes that are dropped, as nearly as whole modes allow; at least one mode
    is dropped and one is kept. Modes are the labels, or k-means clusters of down-sampled pixels (`modes` of them), which need
    no labels. The images left are untouched: fewer come back than went in.
    """

    name = "mode_collapse"
    version = "1"
    failure_mode = FailureMode.MODE_COLLAPSE
    full_severity = "one mode is left"
    presets = everywhere()

    by: Literal["clusters", "labels"] = Field("clusters", description="what the modes are: clusters of pixels, or the labels")
    modes: int = Field(8, ge=2, description="number of clusters")
    doses: tuple[float, ...] = (0.2, 0.35, 0.5)
    dose_of_concern: float = 0.5
    because: str = "a generator that misses the kinds that make up half of the images cannot stand for the population"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images of the modes that are kept."""
        if severity == 0.0:
            return images
        mode = self._modes(images, context)
        found, sizes = np.unique(mode, return_counts=True)
        if len(found) < 2:
            raise NotComputable("all images are of one mode, so none can be dropped")
        # One order for all severities of a seed, so that a higher dose drops what a lower one drops, and more.
        order = context.rng.permutation(len(found))
        lost = np.cumsum(sizes[order])[:-1] / len(images)
        dropped = int(np.argmin(np.abs(lost - severity))) + 1
        return images.take(~np.isin(mode, found[order[:dropped]]))

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
