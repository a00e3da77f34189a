"""Precision, recall, density and coverage from one search for nearest neighbours."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, Metric, NotComputable, Quantity


class Manifold(Metric):
    """Precision, recall, density and coverage of k-nearest-neighbour balls (PRDC).

    Every image carries a ball that reaches to its k-th nearest neighbour within its own set. precision: share of synthetic
    images inside some real ball; recall: share of real images inside some synthetic ball; density: mean number of real balls
    round a synthetic image, over k; coverage: share of real balls that hold a synthetic image, all strictly inside
    (Kynkaanniemi et al. 2019, arXiv:1904.06991; Naeem et al. 2020, arXiv:2002.09797). From 0 to 1, density upwards from 0,
    higher is better; all depend on the number of images. Density and coverage are near 1 for a perfect generator, precision
    and recall are not. They are blind to copies of training images, which raise all four.
    """

    name = "manifold"
    version = "1"
    needs = frozenset({"features"})
    quantities = (
        Quantity(name="precision", better="higher", low=0.0, high=1.0, biased_in_n=True),
        Quantity(name="recall", better="higher", low=0.0, high=1.0, biased_in_n=True, family="coverage"),
        Quantity(name="density", better="higher", low=0.0, biased_in_n=True),
        Quantity(name="coverage", better="higher", low=0.0, high=1.0, biased_in_n=True, family="coverage"),
    )
    sees = frozenset({FailureMode.NOISE, FailureMode.BLUR, FailureMode.DISTRIBUTION_SHIFT, FailureMode.MODE_COLLAPSE})
    blind_to = frozenset({FailureMode.MEMORISATION})

    k: int = Field(5, ge=1)
    against: Literal["train", "test"] = "train"

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Return the four shares of the synthetic images against one real side."""
        return prdc(comparison, self.k, self.against)


def prdc(comparison: Comparison, k: int = 5, against: Literal["train", "test"] = "train") -> dict[str, float]:
    """Return precision, recall, density and coverage with balls that reach to the k-th neighbour (Naeem et al. 2020)."""
    real, synthetic = comparison.n(against), comparison.n("synthetic")
    if min(real, synthetic) < k + 1:
        raise NotComputable(f"needs {k + 1} images on each side for k = {k}, got {real} real and {synthetic} synthetic")
    real_radii = comparison.neighbours(against, against, k)[0][:, -1]
    synthetic_radii = comparison.neighbours("synthetic", "synthetic", k)[0][:, -1]
    real_balls = comparison.within("synthetic", against, real_radii)
    synthetic_balls = comparison.within(against, "synthetic", synthetic_radii)
    nearest_synthetic = comparison.neighbours(against, "synthetic", 1)[0][:, 0]
    return {
        "precision": float(np.mean(real_balls > 0)),
        "recall": float(np.mean(synthetic_balls > 0)),
        "density": float(np.mean(real_balls) / k),
        "coverage": float(np.mean(nearest_synthetic < real_radii)),
    }
