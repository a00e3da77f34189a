"""Precision, recall, density, coverage and realism from one search for nearest neighbours."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, Metric, NotComputable, Quantity

Against = Literal["train", "test"]
Variant = Literal["dgm", "kynkaat"]
_KYNKAAT_OFFSET = 1e-5
_ROUNDING = 1e-12


class Manifold(Metric):
    """Precision, recall, density and coverage of k-nearest-neighbour balls (PRDC), and the share of realistic images.

    Every image carries a ball that reaches to its k-th nearest neighbour within its own set. precision: share of synthetic
    images inside some real ball; recall: share of real images inside some synthetic ball; density: mean number of real balls
    round a synthetic image, over k; coverage: share of real balls that hold a synthetic image
    (Kynkaanniemi et al. 2019, arXiv:1904.06991; Naeem et al. 2020, arXiv:2002.09797). realism: share of synthetic images whose
    realism score max_j r_j / d_j, over the real balls of the smaller half with radius r_j and distance d_j to the centre, is 1
    or more (Kynkaanniemi et al. 2019, section 5): inside a ball that no outlier has blown up. The mean score itself is not
    given, because one copy of a real image makes it infinite. From 0 to 1, density upwards from 0, higher is better; all depend
    on the number of images. Density and coverage are near 1 for a perfect generator, the others are not. They are blind to
    copies of training images, which raise all five.

    `inclusive`: an image on the surface of a ball is inside, as in Kynkaanniemi et al.'s code and torch-fidelity (which take
    k = 3); by default it is outside, as in Naeem et al.'s, and when all images are one the shares are 0 instead of 1.
    Elsewhere both agree. `realism_variant`: dgm is the plain ratio over radii strictly below the median, as in dgm-eval and in
    the paper's equation, hence the default; kynkaat is that of the authors' code: squares, 1e-5 added to the squared distance,
    and radii up to the median. Images to blame: 1 / realism, against the training images alone.
    """

    name = "manifold"
    version = "2"
    needs = frozenset({"features"})
    takes = frozenset({"embedding", "distances"})
    in_suite = True
    quantities = (
        Quantity(name="precision", better="higher", low=0.0, high=1.0, biased_in_n=True),
        Quantity(name="recall", better="higher", low=0.0, high=1.0, biased_in_n=True, family="coverage"),
        Quantity(name="density", better="higher", low=0.0, biased_in_n=True),
        Quantity(name="coverage", better="higher", low=0.0, high=1.0, biased_in_n=True, family="coverage"),
        Quantity(name="realism", better="higher", low=0.0, high=1.0, biased_in_n=True),
    )
    sees = frozenset({FailureMode.NOISE, FailureMode.BLUR, FailureMode.DISTRIBUTION_SHIFT, FailureMode.MODE_COLLAPSE})
    blind_to = frozenset({FailureMode.MEMORISATION})

    k: int = Field(5, ge=1)
    against: Against = "train"
    inclusive: bool = False
    realism_variant: Variant = "dgm"

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float | NotComputable]:
        """Return the five shares of the synthetic images against one real side."""
        found: dict[str, float | NotComputable] = {**prdc(comparison, self.k, self.against, inclusive=self.inclusive)}
        try:
            found["realism"] = float(np.mean(realism(comparison, self.k, self.realism_variant, self.against) >= 1.0))
        except NotComputable as reason:
            found["realism"] = reason
        return found

    def per_image(self, comparison: Comparison, context: Context) -> dict[str, np.ndarray]:
        """Return 1 / realism: how many radii each image is away from the nearest ball's centre, 0 for a copy.

        Against the test images there is none: each of them would be the centre of one of its own balls.
        """
        if self.against == "test":
            return {}
        return {"realism": 1.0 / realism(comparison, self.k, self.realism_variant)}


def prdc(comparison: Comparison, k: int = 5, against: Against = "train", *, inclusive: bool = False) -> dict[str, float]:
    """Return precision, recall, density and coverage with balls that reach to the k-th neighbour (Naeem et al. 2020).

    inclusive: whether the surface belongs to a ball (Kynkaanniemi et al. 2019).
    """
    _enough(comparison, k, against)
    real = comparison.balls("synthetic", against, k, inclusive=inclusive)
    synthetic = comparison.balls(against, "synthetic", k, inclusive=inclusive)
    nearest_synthetic = comparison.neighbours(against, "synthetic", 1)[0][:, 0]
    reached = nearest_synthetic <= real.radii if inclusive else nearest_synthetic < real.radii
    return {
        "precision": float(np.mean(real.inside > 0)),
        "recall": float(np.mean(synthetic.inside > 0)),
        "density": float(np.mean(real.inside) / k),
        "coverage": float(np.mean(reached)),
    }


def realism(comparison: Comparison, k: int = 5, variant: Variant = "dgm", against: Against = "train") -> np.ndarray:
    """Return the realism score of each synthetic image, (N_synthetic,), from 0; 1 or more is inside a ball of a real image.

    max_j r_j / d_j over the real balls with radii below the median (Kynkaanniemi et al. 2019, equation 3), infinite for a copy
    of a real image. dgm: as in dgm-eval's prdc.py. kynkaat: max_j r_j^2 / (d_j^2 + 1e-5) over the radii up to the median, as
    in kynkaat/improved-precision-and-recall-metric. Balls of radius zero do not take part. An image on a surface scores 1.
    """
    _enough(comparison, k, against)
    radii = comparison.neighbours(against, against, k)[0][:, -1]
    median = np.median(radii)
    kept = radii <= median if variant == "kynkaat" else radii < median
    kept &= radii > 0.0
    if not kept.any():
        raise NotComputable(f"no {against} image has a ball of positive radius {'up to' if variant == 'kynkaat' else 'below'} the median")
    offset = _KYNKAAT_OFFSET if variant == "kynkaat" else 0.0
    scores = comparison.reach("synthetic", against, np.where(kept, radii, 0.0), offset)
    # A radius is the root of a squared distance, and its square need not round to the same number: the surface is at 1.
    scores[np.abs(scores - 1.0) <= _ROUNDING] = 1.0
    return scores if variant == "kynkaat" else np.sqrt(scores)


def _enough(comparison: Comparison, k: int, against: Against) -> None:
    real, synthetic = comparison.n(against), comparison.n("synthetic")
    if min(real, synthetic) < k + 1:
        raise NotComputable(f"needs {k + 1} images on each side for k = {k}, got {real} real and {synthetic} synthetic")
