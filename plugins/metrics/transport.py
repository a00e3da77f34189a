"""Transport and energy distances between feature clouds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, Metric, NotComputable, Quantity

_BLOCK_ENTRIES = 4_000_000


class Transport(Metric):
    """Sliced Wasserstein distances, approximate and by random directions, and the energy distance.

    asw: approximate sliced Wasserstein distance, sqrt(|m_r - m_s|^2 / d + (sqrt(v_r) - sqrt(v_s))^2) with means m and mean
    squared distances from the mean over dimension v (Nadjahi et al. 2021, arXiv:2106.15427; as Stein et al. 2023,
    arXiv:2306.04675, compute it). It sees means and total spread and nothing else. With `centring` the term of the means is
    dropped, as in Nadjahi et al.'s code, and it is |sqrt(v_r) - sqrt(v_s)|; the default keeps it, because a difference of means
    is a defect.

    sliced_wasserstein: root of the mean squared 2-Wasserstein distance of the projections on `directions` random directions
    (Bonneel et al. 2015, J Math Imaging Vis 51:22), each computed exactly from the two quantile functions, whatever the numbers
    of images. The directions follow from the seed alone.

    energy_distance: 2 E|x - y| - E|x - x'| - E|y - y'|, 0 only for equal distributions (Szekely & Rizzo 2013, J Stat Plan
    Inference 143:1249), without pairing an image with itself, so its expected value does not depend on the number of images
    and single values may be negative.

    Lower is better, in feature units: values compare only within one extractor. The first two are 0 or more, and their expected
    values fall with the number of images. All are blind to copies of training images.
    """

    name = "transport"
    version = "1"
    needs = frozenset({"features"})
    quantities = (
        Quantity(name="asw", better="lower", low=0.0, biased_in_n=True, family="distance"),
        Quantity(name="sliced_wasserstein", better="lower", low=0.0, biased_in_n=True, family="distance"),
        Quantity(name="energy_distance", better="lower", family="distance"),
    )
    sees = frozenset({FailureMode.NOISE, FailureMode.BLUR, FailureMode.DISTRIBUTION_SHIFT, FailureMode.MODE_COLLAPSE})
    blind_to = frozenset({FailureMode.MEMORISATION})
    in_suite = True

    against: Literal["train", "test"] = "train"
    centring: bool = False
    directions: int = Field(128, ge=1)

    def measure(self, comparison: Comparison, context: Context) -> Mapping[str, float | NotComputable]:
        """Return the three distances between the synthetic images and one real side."""
        n, m = comparison.n(self.against), comparison.n("synthetic")
        if min(n, m) < 1:
            raise NotComputable(f"needs 1 image on each side, got {n} real and {m} synthetic")
        real, synthetic = comparison.centred(self.against), comparison.centred("synthetic")
        few = NotComputable(f"pairs of images need 2 images on each side, got {n} real and {m} synthetic")
        return {
            "asw": approximate_sliced_wasserstein(real, synthetic, centring=self.centring),
            "sliced_wasserstein": sliced_wasserstein(real, synthetic, random_directions(self.directions, real.shape[1], context.rng)),
            "energy_distance": energy_distance(real, synthetic) if min(n, m) > 1 else few,
        }


def approximate_sliced_wasserstein(real: np.ndarray, synthetic: np.ndarray, *, centring: bool = False) -> float:
    """Return the approximate sliced Wasserstein distance of (N, F) and (M, F) (Nadjahi et al. 2021, arXiv:2106.15427).

    centring: drop the difference of the means.
    """
    means, spreads = [], []
    for side in (real, synthetic):
        values = np.asarray(side, dtype=np.float64)
        means.append(values.mean(axis=0))
        spreads.append(math.sqrt(float(((values - means[-1]) ** 2).mean(axis=0).mean())))
    shift = 0.0 if centring else float(((means[0] - means[1]) ** 2).mean())
    return math.sqrt(shift + (spreads[0] - spreads[1]) ** 2)


def random_directions(count: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` directions drawn uniformly from the sphere, (count, width) of length 1."""
    drawn = rng.standard_normal((count, width))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def sliced_wasserstein(real: np.ndarray, synthetic: np.ndarray, directions: np.ndarray) -> float:
    """Return the root of the mean over (L, F) directions of the squared 2-Wasserstein distance of the projections."""
    x, y = np.asarray(real, dtype=np.float64), np.asarray(synthetic, dtype=np.float64)
    step = max(1, _BLOCK_ENTRIES // (len(x) + len(y)))
    blocks = (directions[start : start + step] for start in range(0, len(directions), step))
    total = sum(float(squared_wasserstein(block @ x.T, block @ y.T).sum()) for block in blocks)
    return math.sqrt(total / len(directions))


def squared_wasserstein(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the squared 2-Wasserstein distance of each row of (L, N) numbers from that of (L, M), (L,).

    In one dimension it is the integral of the squared difference of the quantile functions, which are steps.
    """
    n, m = first.shape[1], second.shape[1]
    first, second = np.sort(first, axis=1), np.sort(second, axis=1)
    if n == m:
        return np.asarray(((first - second) ** 2).mean(axis=1))
    # Levels are counted in units of 1 / (n m), where every step of either quantile function is a whole number.
    edges = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)
    weights = np.diff(edges) / (n * m)
    return np.asarray((first[:, edges[:-1] // m] - second[:, edges[:-1] // n]) ** 2 @ weights)


def energy_distance(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Return 2 E|x - y| - E|x - x'| - E|y - y'| of (N, F) and (M, F), without pairs of an image and itself."""
    n, m = len(real), len(synthetic)
    if min(n, m) < 2:
        raise NotComputable(f"pairs of images need 2 images on each side, got {n} real and {m} synthetic")
    x, y = np.asarray(real, dtype=np.float64), np.asarray(synthetic, dtype=np.float64)
    mean = (x.sum(axis=0) + y.sum(axis=0)) / (n + m)
    x, y = x - mean, y - mean
    return 2.0 * _distance_sum(x, y) / (n * m) - _distance_sum(x, x) / (n * (n - 1)) - _distance_sum(y, y) / (m * (m - 1))


def _distance_sum(x: np.ndarray, y: np.ndarray) -> float:
    """Return the Euclidean distances summed over all pairs, in square blocks of bounded memory."""
    step = max(1, math.isqrt(_BLOCK_ENTRIES))
    total = 0.0
    for i in range(0, len(x), step):
        # Distances are symmetric: within one set the blocks above the diagonal count twice.
        for j in range(i if x is y else 0, len(y), step):
            total += _block_sum(x[i : i + step], y[j : j + step], same=x is y and i == j) * (2.0 if x is y and i != j else 1.0)
    return total


def _block_sum(a: np.ndarray, b: np.ndarray, *, same: bool) -> float:
    squared = a @ b.T
    squared *= -2.0
    squared += (a**2).sum(axis=1)[:, None]
    squared += (b**2).sum(axis=1)
    if same:
        np.fill_diagonal(squared, 0.0)
    # The squared distance of a vector from its copy is zero up to rounding, which may fall on either side.
    np.maximum(squared, 0.0, out=squared)
    return float(np.sqrt(squared, out=squared).sum())
