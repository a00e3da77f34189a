"""Perceptual distances, LPIPS or DreamSim, among synthetic images and to the nearest real one."""

from __future__ import annotations

from typing import Literal

import numpy as np

from harness.api import Comparison, Context, Metric, NotComputable, Quantity


class Perceptual(Metric):
    """Mean perceptual distance between synthetic images, and of each to its nearest real image (LPIPS, DreamSim).

    It works on an extractor whose squared Euclidean distances are the perceptual ones: LPIPS (Zhang et al. 2018,
    arXiv:1801.03924) and DreamSim (Fu et al. 2023, arXiv:2306.09344) have that form. diversity: mean squared distance over all pairs
    of synthetic images, 2 n / (n - 1) (mean |x|^2 - |mean x|^2), which is exact and free of the choice of pairs; from 0 upwards, higher is
    more diverse, and only the same number on real images says how diverse that should be. nearest: mean squared distance of
    each synthetic image to its nearest real one, `against` train or test; from 0 upwards, lower is closer. It falls with better
    images and with copied ones alike, and with the number of real images: it is evidence of fidelity only where a metric of
    memorisation finds nothing, and it is 0 for a generator that returns its training images.
    """

    name = "perceptual"
    version = "1"
    needs = frozenset({"features"})
    takes = frozenset({"distances"})
    quantities = (
        Quantity(name="diversity", better="higher", low=0.0, family="diversity"),
        Quantity(name="nearest", better="lower", low=0.0, biased_in_n=True, family="distance"),
    )

    against: Literal["train", "test"] = "train"

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float | NotComputable]:
        """Return the mean squared distance within pairs of synthetic images and to the nearest real image."""
        real, synthetic = comparison.n(self.against), comparison.n("synthetic")
        if not synthetic:
            raise NotComputable("there are no synthetic images")
        found: dict[str, float | NotComputable] = {
            "diversity": NotComputable(f"needs 2 synthetic images, got {synthetic}"),
            "nearest": NotComputable(f"there are no {self.against} images"),
        }
        if synthetic > 1:
            found["diversity"] = mean_squared_distance(comparison.centred("synthetic"))
        if real:
            found["nearest"] = float(np.mean(self._nearest(comparison)))
        return found

    def per_image(self, comparison: Comparison, context: Context) -> dict[str, np.ndarray]:
        """Return the squared distance of each synthetic image to its nearest real one."""
        # Test images in the place of the synthetic ones would each find themselves among the test images.
        return {} if self.against == "test" else {"nearest": self._nearest(comparison)}

    def _nearest(self, comparison: Comparison) -> np.ndarray:
        return np.asarray(comparison.neighbours("synthetic", self.against, 1)[0][:, 0] ** 2)


def mean_squared_distance(rows: np.ndarray) -> float:
    """Return the mean squared Euclidean distance over all pairs of different rows, (N, F) with N at least 2."""
    n = len(rows)
    return float(2.0 * n / (n - 1) * ((rows - rows.mean(axis=0)) ** 2).sum(axis=1).mean())
