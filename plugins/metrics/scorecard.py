"""The measurable part of the seven Cs of the FDA's scorecard for synthetic medical data."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, Metric, NotComputable, Quantity

_FEWEST = 10


class Scorecard(Metric):
    """Congruence, coverage, constraint and completeness of the scorecard for synthetic medical data, feature by feature.

    The seven Cs are those of Zamzmi et al. 2025 (Commun. Eng. 4:130; code DIDSR/ScoreCard); consistency is a quantity of
    `scorecard_by_class`, comprehension and compliance are declared and not measured. Every feature goes through one transform,
    fitted on the real images: u(x) = (#{r < x} + #{r <= x}) / 2n, the mid-rank of x among its n real values. The published code
    scales each side by its own range instead, which hides a shift and a collapse. All lie in [0, 1]; higher is better but for
    violation_rate; all depend on the number of images, so read them against their real-against-real floor.

    congruence: mean over the features of 1 - JSD, the Jensen-Shannon divergence in bits between the histograms of u of real and
    synthetic images over `bins` equal bins and one more on each side for values beyond all real ones. coverage: mean over the
    features of the share of real images within the 1st to 99th percentile of the synthetic ones; 0.98 for a perfect generator.
    violation_rate (constraint): mean over the features of the share of synthetic images outside the 1st to 99th percentile of
    the real ones; 0.02 for a perfect generator. completeness: the real images are halved `splits` times at the median of their
    next principal component (of standardised features); share of these cells that the synthetic images occupy with at least
    `presence` of the real share.

    Features are looked at one by one, so it is blind to how they go together, and to copies of training images. Of wide
    embeddings `at_most` evenly spaced features count.
    """

    name = "scorecard"
    version = "1"
    needs = frozenset({"features"})
    in_suite = True
    quantities = (
        Quantity(name="congruence", better="higher", low=0.0, high=1.0, biased_in_n=True, family="distance"),
        Quantity(name="coverage", better="higher", low=0.0, high=1.0, biased_in_n=True, family="coverage"),
        Quantity(name="violation_rate", better="lower", low=0.0, high=1.0, biased_in_n=True, family="artefact"),
        Quantity(name="completeness", better="higher", low=0.0, high=1.0, biased_in_n=True, family="coverage"),
    )
    sees = frozenset({FailureMode.NOISE, FailureMode.BLUR, FailureMode.DISTRIBUTION_SHIFT, FailureMode.MODE_COLLAPSE})
    blind_to = frozenset({FailureMode.MEMORISATION})

    bins: int = Field(10, ge=2, description="equal bins of the mid-rank, each with the same number of real images")
    splits: int = Field(4, ge=1, le=10, description="halvings of the real images; 4 make 16 cells")
    presence: float = Field(0.1, gt=0.0, le=1.0, description="part of its real share that a cell or class must reach to be there")
    at_most: int = Field(128, ge=1, description="features that count; of more, evenly spaced ones")
    against: Literal["train", "test"] = "train"

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float | NotComputable]:
        """Return the four Cs of the synthetic images against one real side."""
        real, synthetic = _sides(comparison, self.against, self.at_most)
        ranks, their_ranks = mid_ranks(real, real), mid_ranks(real, synthetic)
        found: dict[str, float | NotComputable] = {
            "congruence": float(congruence(ranks, their_ranks, self.bins)[0].mean()),
            "coverage": 1.0 - float(violations(synthetic, real).mean()),
            "violation_rate": float(violations(real, synthetic).mean()),
            "completeness": NotComputable(f"needs {2**self.splits} real images for {2**self.splits} cells, got {len(real)}"),
        }
        if len(real) >= 2**self.splits:
            found["completeness"] = completeness(*cells(real, synthetic, self.splits), self.presence)
        return found

    def per_image(self, comparison: Comparison, context: Context) -> dict[str, np.ndarray]:
        """Return the share of its features with which each synthetic image is outside the bounds of the real ones."""
        return {"violation_rate": violations(*_sides(comparison, self.against, self.at_most)).mean(axis=1)}


class ScorecardByClass(Metric):
    """Consistency of the congruence between the label classes, and completeness of the classes, of the scorecard for synthetic data.

    As in `scorecard` every feature goes through its mid-rank among the real images. consistency: 1 - the largest difference of
    congruence between two classes, each congruence raised by what its numbers of images cost a perfect generator, which is
    (b - 1)(1/n + 1/m) / (8 ln 2) for b occupied bins. class_completeness: share of the classes of the real images that have at
    least `presence` of their real share among the synthetic ones. From 0 to 1, higher is better (Zamzmi et al. 2025, Commun.
    Eng. 4:130). Blind to everything that is wrong with all classes alike, and to labels that belong to another image of
    the same distribution.
    """

    name = "scorecard_by_class"
    version = "1"
    needs = frozenset({"features", "labels"})
    in_suite = True
    quantities = (
        Quantity(name="consistency", better="higher", low=0.0, high=1.0, biased_in_n=True, family="distance"),
        Quantity(name="class_completeness", better="higher", low=0.0, high=1.0, biased_in_n=True, family="coverage"),
    )
    blind_to = frozenset({FailureMode.MEMORISATION})

    bins: int = Field(10, ge=2, description="equal bins of the mid-rank, each with the same number of real images")
    presence: float = Field(0.1, gt=0.0, le=1.0, description="part of its real share that a class must reach to be there")
    at_most: int = Field(128, ge=1, description="features that count; of more, evenly spaced ones")
    against: Literal["train", "test"] = "train"

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float | NotComputable]:
        """Return consistency and completeness of the classes."""
        real, synthetic = _sides(comparison, self.against, self.at_most)
        labels, theirs = comparison.labels(self.against), comparison.labels("synthetic")
        if labels is None or theirs is None:
            raise NotComputable("needs labels of the real and of the synthetic images")
        steady = consistency(mid_ranks(real, real), mid_ranks(real, synthetic), labels, theirs, self.bins)
        return {"consistency": steady, "class_completeness": completeness(labels, theirs, self.presence)}


def _sides(comparison: Comparison, against: Literal["train", "test"], at_most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the features that count of the real and of the synthetic images."""
    counts = [comparison.n(role) for role in (against, "synthetic")]
    if min(counts) < _FEWEST:
        raise NotComputable(f"needs {_FEWEST} images on each side, got {counts[0]} real and {counts[1]} synthetic")
    real, synthetic = comparison.features(against), comparison.features("synthetic")
    if real.shape[1] <= at_most:
        return real, synthetic
    chosen = np.arange(at_most) * real.shape[1] // at_most
    return real[:, chosen], synthetic[:, chosen]


def mid_ranks(real: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the mid-rank of each value (M, F) among the real ones (N, F) of its feature, from 0 to 1; (M, F)."""
    ranks = np.empty(values.shape[::-1])
    columns = np.ascontiguousarray(values.T)
    # Asked for in order, a column is found several times as fast.
    orders = columns.argsort(axis=1)
    for rank, known, asked, order in zip(ranks, np.sort(real.T), columns, orders, strict=True):
        in_order = asked[order]
        rank[order] = np.searchsorted(known, in_order, "left") + np.searchsorted(known, in_order, "right")
    return ranks.T / (2 * len(real))


def congruence(real: np.ndarray, synthetic: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Return per feature 1 - JSD in bits of the histograms of two sets of mid-ranks, and how many bins are occupied, both (F,)."""
    p, q = (_histogram(side, bins) for side in (real, synthetic))
    middle = (p + q) / 2
    divergence = _entropy(middle) - (_entropy(p) + _entropy(q)) / 2
    return 1.0 - np.clip(divergence, 0.0, 1.0), (middle > 0.0).sum(axis=1)


def _histogram(ranks: np.ndarray, bins: int) -> np.ndarray:
    """Return the share of each feature's mid-ranks at 0, in equal bins between, and at 1, (F, bins + 2)."""
    features, all_bins = ranks.shape[1], bins + 2
    index = 1 + np.minimum((ranks * bins).astype(np.intp), bins - 1)
    index[ranks <= 0.0], index[ranks >= 1.0] = 0, bins + 1
    index += all_bins * np.arange(features)
    return np.bincount(index.ravel(), minlength=all_bins * features).reshape(features, all_bins) / len(ranks)


def _entropy(shares: np.ndarray) -> np.ndarray:
    """Return the entropy of each row in bits."""
    logarithms = np.log2(shares, out=np.zeros_like(shares), where=shares > 0.0)
    return np.asarray(-(shares * logarithms).sum(axis=1))


def violations(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """Return (M, F) True where a synthetic value is outside the 1st to 99th percentile of the real ones."""
    ordered = np.sort(real.T).T
    low, high = (_quantile(ordered, share) for share in (0.01, 0.99))
    return np.asarray((synthetic < low) | (synthetic > high))


def _quantile(ordered: np.ndarray, share: float) -> np.ndarray:
    """Return the quantile of every sorted column, (F,), linear between the order statistics."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return np.asarray(ordered[below] + (place - below) * (ordered[above] - ordered[below]))


def cells(real: np.ndarray, synthetic: np.ndarray, splits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the cell of each real and of each synthetic image, (N,) and (M,) int64.

    Split k halves every cell at the median of its real images' k-th principal component of standardised features. Features
    that are constant among the real images do not count; where fewer vary than there are splits, there are fewer splits.
    """
    mean, sd = real.mean(axis=0), real.std(axis=0)
    varies = sd > 1e-12 * np.abs(real).max(axis=0)
    real, synthetic = ((side[:, varies] - mean[varies]) / sd[varies] for side in (real, synthetic))
    directions = np.linalg.eigh(real.T @ real)[1][:, ::-1][:, :splits]
    codes, their_codes = np.zeros(len(real), np.int64), np.zeros(len(synthetic), np.int64)
    for k, (scores, their_scores) in enumerate(zip((real @ directions).T, (synthetic @ directions).T, strict=True)):
        # A cell without real images stays empty of them; where its synthetic ones go makes no difference.
        middle = np.array([np.median(scores[codes == cell]) if (codes == cell).any() else 0.0 for cell in range(2**k)])
        codes, their_codes = 2 * codes + (scores > middle[codes]), 2 * their_codes + (their_scores > middle[their_codes])
    return codes, their_codes


def completeness(real: np.ndarray, synthetic: np.ndarray, presence: float) -> float:
    """Return the share of the real classes (N,) that have at least `presence` of their real share among the synthetic (M,)."""
    classes, counts = np.unique(real, return_counts=True)
    theirs = (synthetic[:, None] == classes).mean(axis=0)
    return float(np.mean((theirs > 0.0) & (theirs >= presence * counts / len(real))))


def consistency(
    real: np.ndarray, synthetic: np.ndarray, labels: np.ndarray, theirs: np.ndarray, bins: int
) -> float | NotComputable:  # fmt: skip
    """Return 1 - the largest difference of congruence between two classes, from mid-ranks and labels of both sides."""
    found = []
    for label in np.unique(labels):
        a, b = real[labels == label], synthetic[theirs == label]
        if min(len(a), len(b)) < _FEWEST:
            return NotComputable(f"needs {_FEWEST} images of each class on each side, got {len(a)} real and {len(b)} synthetic of {label}")
        value, occupied = congruence(a, b, bins)
        found.append(float(np.mean(value + (occupied - 1) * (1 / len(a) + 1 / len(b)) / (8 * np.log(2)))))
    if len(found) < 2:
        return NotComputable("needs two classes, got 1")
    return float(np.clip(1.0 - (max(found) - min(found)), 0.0, 1.0))
