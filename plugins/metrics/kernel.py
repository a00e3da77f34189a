"""Kernel distance between feature clouds, known as KID when the features are those of an Inception network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, Metric, NotComputable, Quantity

Estimator = Literal["unbiased", "biased", "u-statistic"]
_BLOCK_ENTRIES = 4_000_000


class Kernel(Metric):
    """Squared maximum mean discrepancy with the kernel (x.y / d + 1)^3 between real and synthetic features (KID).

    The unbiased estimate over all pairs of images (Gretton et al. 2012, JMLR 13:723; kernel of Binkowski et al. 2018,
    arXiv:1801.01401). Its expected value does not depend on the number of images and is 0 for equal distributions, so single
    values may be negative; lower is better. With `subsets` above 0 it is the mean over that many random subsets of
    `subset_size` images, as the cited packages print it: the same expectation with added sampling noise. The kernel is not
    indifferent to shifts of the features, so the features are used as the extractor gave them. It sees what moves the first
    three moments, and is blind to copies of training images.
    """

    name = "kernel"
    version = "1"
    needs = frozenset({"features"})
    quantities = (Quantity(name="kid", better="lower", family="distance"),)
    sees = frozenset({FailureMode.NOISE, FailureMode.BLUR, FailureMode.DISTRIBUTION_SHIFT, FailureMode.MODE_COLLAPSE})
    blind_to = frozenset({FailureMode.MEMORISATION})

    against: Literal["train", "test"] = "train"
    subsets: int = Field(0, ge=0)
    subset_size: int = Field(1000, ge=2)

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Return the kernel distance between the synthetic images and one real side."""
        real, synthetic = comparison.features(self.against), comparison.features("synthetic")
        if self.subsets:
            return {"kid": float(np.mean(kid_subsets(synthetic, real, self.subsets, self.subset_size, context.rng)))}
        return {"kid": mmd2_poly3(synthetic, real)}


def mmd2_poly3(first: np.ndarray, second: np.ndarray, estimator: Estimator = "unbiased") -> float:
    """Return the squared maximum mean discrepancy of two feature matrices under the kernel (x.y / d + 1)^3.

    unbiased: no image is paired with itself; biased: all pairs (never negative); u-statistic: additionally leaves out the pairs
    with equal row numbers across the two sets, which must then be equally large (Gretton et al. 2012, equations 3 to 5).
    """
    n, m = len(first), len(second)
    if min(n, m) < 2:
        raise NotComputable(f"pairs of images need 2 images on each side, got {n} and {m}")
    if estimator == "u-statistic" and n != m:
        raise ValueError(f"the u-statistic needs sets of one size, got {n} and {m}")
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    within_x, within_y, across = _kernel_sum(x, x), _kernel_sum(y, y), _kernel_sum(x, y)
    if estimator == "biased":
        return within_x / n**2 + within_y / m**2 - 2.0 * across / (n * m)
    within = (within_x - _own_sum(x, x)) / (n * (n - 1)) + (within_y - _own_sum(y, y)) / (m * (m - 1))
    if estimator == "u-statistic":
        return within - 2.0 * (across - _own_sum(x, y)) / (n * (n - 1))
    return within - 2.0 * across / (n * m)


def kid_subsets(
    first: np.ndarray,
    second: np.ndarray,
    subsets: int,
    subset_size: int,
    rng: np.random.Generator | np.random.RandomState,
    draw_first: Literal["first", "second"] = "first",
) -> np.ndarray:
    """Return the unbiased estimate on each of `subsets` pairs of random subsets, no larger than the smaller set, (subsets,).

    Published values depend on the random stream and on which set is drawn first: torch-fidelity draws the generated images
    first from RandomState(2020), dgm-eval the real ones first and clean-fid its second argument first from the global stream.
    """
    size = min(subset_size, len(first), len(second))
    sets: Sequence[np.ndarray] = (first, second) if draw_first == "first" else (second, first)
    estimates = np.empty(subsets)
    for i in range(subsets):
        a, b = (side[rng.choice(len(side), size, replace=False)] for side in sets)
        estimates[i] = mmd2_poly3(a, b)
    return estimates


def _kernel_sum(x: np.ndarray, y: np.ndarray) -> float:
    """Return the kernel summed over all pairs, in blocks of bounded memory."""
    step = max(1, _BLOCK_ENTRIES // len(y))
    return float(sum(_kernel(x[i : i + step] @ y.T, x.shape[1]).sum() for i in range(0, len(x), step)))


def _own_sum(x: np.ndarray, y: np.ndarray) -> float:
    """Return the kernel summed over the pairs with equal row numbers."""
    return float(_kernel((x * y).sum(axis=1), x.shape[1]).sum())


def _kernel(products: np.ndarray, d: int) -> np.ndarray:
    base = products / d + 1.0
    return base * base * base
