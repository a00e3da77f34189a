"""Membership inference: whether the synthetic images give away which real images the generator learned from."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, Metric, NotComputable, Quantity

Real = Literal["train", "test"]
_REAL: tuple[Real, ...] = ("train", "test")


class Membership(Metric):
    """Success of an attacker who guesses from the synthetic images alone which real images were trained on.

    Every training image (a member) and every test image (no member) gets a score; the number is the area under the ROC curve,
    the chance that a member scores above a non-member, ties counting one half. distance_auroc: the score is minus the mean
    distance to the `k` nearest synthetic images (Chen et al. 2020, GAN-Leaks, arXiv:1909.03935, the attacker without access to
    the generator). density_auroc: the score is the density of the synthetic images over that of the real ones, so that images
    in crowded regions are not taken for members (DOMIAS: van Breugel et al. 2023, arXiv:2302.12580); both densities are those
    of nearest neighbours, hence the ratio is the distance to the k-th nearest real image over that to the k-th nearest
    synthetic one. The real images are all others, members or not: so the scores are exchangeable, and without a leak the
    expected area is exactly 0.5. From 0 to 1; 0.5 is no leak, higher is worse, and values below 0.5 are chance or a test set
    that lies nearer to the synthetic images than the training set does.

    `k` = 1, the default, sees single copies; larger ones see regions that are generated too often. An attack becomes stronger
    with more synthetic images, so a value is one for their number. It presumes that training and test images come from one
    population; else it measures their difference too. Blind to copies that the extractor places elsewhere (flipped, cropped),
    and to copies of a few images among many members.
    """

    name = "membership"
    version = "1"
    needs = frozenset({"features"})
    takes = frozenset({"embedding", "distances"})
    in_suite = True
    quantities = (
        Quantity(name="distance_auroc", better="lower", low=0.0, high=1.0, family="memorisation"),
        Quantity(name="density_auroc", better="lower", low=0.0, high=1.0, family="memorisation"),
    )
    sees = frozenset({FailureMode.MEMORISATION})
    blind_to = frozenset({FailureMode.NOISE, FailureMode.INTERNAL_DUPLICATION, FailureMode.MODE_COLLAPSE, FailureMode.DISTRIBUTION_SHIFT})

    k: int = Field(1, ge=1)

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Return the areas under both attacks' ROC curves."""
        train, test, synthetic = comparison.n("train"), comparison.n("test"), comparison.n("synthetic")
        if min(train, test) < 1 or train + test < self.k + 1 or synthetic < self.k:
            raise NotComputable(
                f"needs training and test images, {self.k + 1} in all, and {self.k} synthetic for k = {self.k}, "
                f"got {train}, {test} and {synthetic}"
            )
        near = {role: comparison.neighbours(role, "synthetic", self.k)[0] for role in _REAL}
        distance = {role: -near[role].mean(axis=1) for role in _REAL}
        density = {role: density_ratio(real_distance(comparison, role, self.k), near[role][:, -1]) for role in _REAL}
        return {
            "distance_auroc": auroc(distance["train"], distance["test"]),
            "density_auroc": auroc(density["train"], density["test"]),
        }


def auroc(members: np.ndarray, others: np.ndarray) -> float:
    """Return the chance that a member's score is above another's, ties counting one half (Mann & Whitney 1947)."""
    from scipy.stats import rankdata

    n, m = len(members), len(others)
    return float((rankdata(np.concatenate([members, others]))[:n].sum() - n * (n + 1) / 2) / (n * m))


def real_distance(comparison: Comparison, role: Real, k: int) -> np.ndarray:
    """Return (N,) distances from each image of a real side to its k-th nearest among all other real images."""
    sides = []
    for among in _REAL:
        available = comparison.n(among) - (role == among)
        if available:
            sides.append(comparison.neighbours(role, among, min(k, available))[0])
    return np.partition(np.concatenate(sides, axis=1), k - 1, axis=1)[:, k - 1]


def density_ratio(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """Return (N,) the real over the synthetic neighbour distance; where the synthetic one is 0, infinite, or 1 if both are."""
    coinciding = np.where(real > 0.0, np.inf, 1.0)
    return np.divide(real, synthetic, out=coinciding, where=synthetic > 0.0)
