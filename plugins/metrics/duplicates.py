"""Synthetic images that repeat one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, Metric, NotComputable, Quantity

from .memorisation import distinct_train

_FEWEST_CALIBRATORS = 20
_TAIL = 0.25
_MOST_NEIGHBOURS = 64


class Duplicates(Metric):
    """Share of synthetic images that repeat another synthetic image and could be left out.

    exact_share: images whose features are those of another image. internal_share: images whose nearest other image is nearer
    than real images are to each other. In every group one image counts as the original: of a pair one is counted, of m equal
    images m - 1 (of each pair of mutual nearest neighbours one image is left out of the count, so that of a group of near copies
    between one half and all but one are counted). From 0 to 1, lower is better.

    The threshold is a distance t that an honest image would reach with chance `false_positive_rate`, alpha. Near 0 the share of
    images with a neighbour within r is proportional to r^D and to the number of images, so t = q (4 alpha n_train /
    n_synthetic)^(1/D), at most q, where q is the lower quartile of the distances from each training image to the nearest of
    another patient, and 1/D the median of log(q / distance) below q, over log 2: Hill's tail estimate (1975, Ann. Stat. 3:1163)
    with a median for the mean, so that near copies in the training set lower t but do not take it to nothing while they are
    under 12 % of it. Exact duplicates in train count once. Only neighbours of another patient, or cut from another image, are
    compared, on both sides, where that is known, so neighbouring slices do not calibrate; where it is not known and most
    training images have a neighbouring slice, duplicates count from that distance downwards.

    Counted so, a share is no more variable than one of independent images: repeats among draws from a stock are negatively
    associated (Joag-Dev & Proschan 1983, Ann. Stat. 11:286), and rare chance pairs are Poisson. The exact binomial interval
    therefore holds, whereas half-samples keep a quarter of the pairs. The share is that of a set of this size: a generator that
    repeats a fixed stock repeats more of it the more it is asked for. Blind to copies of training images, to repeats that the
    extractor places elsewhere (flipped, cropped), and to lost modes without repeats. Images to blame: t / (t + distance).
    """

    name = "duplicates"
    version = "1"
    needs = frozenset({"features"})
    takes = frozenset({"embedding", "distances"})
    in_suite = True
    quantities = (
        Quantity(name="internal_share", better="lower", low=0.0, high=1.0, proportion=True, family="diversity"),
        Quantity(name="exact_share", better="lower", low=0.0, high=1.0, proportion=True, family="diversity"),
    )
    sees = frozenset({FailureMode.INTERNAL_DUPLICATION})
    blind_to = frozenset({FailureMode.MEMORISATION, FailureMode.NOISE, FailureMode.DISTRIBUTION_SHIFT})

    false_positive_rate: float = Field(0.001, gt=0.0, lt=1.0)

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float | NotComputable]:
        """Return both shares of the synthetic images; without enough training images the exact one alone."""
        near = nearest_elsewhere(comparison, "synthetic")
        found: dict[str, float | NotComputable] = {"exact_share": near.repeated(near.distance == 0.0)}
        try:
            threshold = duplicate_threshold(comparison, self.false_positive_rate)
            found["internal_share"] = near.repeated((near.distance < threshold) | (near.distance == 0.0))
        except NotComputable as reason:
            found["internal_share"] = reason
        return found

    def per_image(self, comparison: Comparison, context: Context) -> dict[str, np.ndarray]:
        """Return t / (t + distance to the nearest other image): 1 for an identical one, above one half below the threshold."""
        threshold = duplicate_threshold(comparison, self.false_positive_rate)
        distance = nearest_elsewhere(comparison, "synthetic").distance
        return {"internal_share": np.divide(threshold, threshold + distance, out=np.ones(len(distance)), where=distance > 0.0)}


@dataclass(frozen=True)
class Nearest:
    """The nearest image of another patient: distance (N,), infinite where none was found, and its row (N,)."""

    distance: np.ndarray
    index: np.ndarray

    def repeated(self, near: np.ndarray) -> float:
        """Return the share of images that are near another (N,) and are not the original of their group.

        Who points at the nearest image makes groups, each with exactly one pair of mutual nearest neighbours: its original and
        one repeat.
        """
        rows = np.arange(len(self.index))
        originals = near & (self.index[self.index] == rows) & (rows < self.index)
        return float(np.mean(near & ~originals))


def nearest_elsewhere(comparison: Comparison, role: Literal["train", "synthetic"]) -> Nearest:
    """Return the nearest image of another patient (or cut from another image) on one side.

    An image whose 64 nearest are all of its own patient has none.
    """
    n, units = comparison.n(role), comparison.units(role)
    if n < 2:
        raise NotComputable(f"needs 2 {role} images, got {n}")
    alone = len(np.unique(units)) == n
    k = 1 if alone else min(_MOST_NEIGHBOURS, n - 1)
    distance, index = comparison.neighbours(role, role, k)
    elsewhere = units[index] != units[:, None]
    first = elsewhere.argmax(axis=1)
    rows = np.arange(n)
    found = elsewhere[rows, first]
    return Nearest(np.where(found, distance[rows, first], np.inf), np.where(found, index[rows, first], rows))


def duplicate_threshold(comparison: Comparison, false_positive_rate: float = 0.001) -> float:
    """Return the distance that an honest synthetic image falls below with this chance, calibrated on the training images.

    t = q min(1, 4 alpha n_train / n_synthetic)^(1/D), where q is the lower quartile of the distances to the nearest training
    image of another patient and 1/D the median of log(q / distance) over the distances below q, over log 2.
    """
    distinct = distinct_train(comparison)
    distance = nearest_elsewhere(distinct, "train").distance
    n = len(distance)
    if n < _FEWEST_CALIBRATORS:
        raise NotComputable(f"needs {_FEWEST_CALIBRATORS} training images with different features, got {n}")
    quartile = float(np.quantile(distance, _TAIL, method="inverted_cdf"))
    if not np.isfinite(quartile):
        raise NotComputable("most training images have only images of their own patient near them")
    inverse_dimension = float(np.median(np.log(quartile / distance[distance <= quartile]))) / np.log(2.0)
    share = min(1.0, false_positive_rate * n / (_TAIL * comparison.n("synthetic")))
    return quartile * share**inverse_dimension
