"""Kernel distances between feature clouds: KID and the maximum mean discrepancy under a kernel of choice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, Metric, NotComputable, Quantity

from .frechet import ranked

Estimator = Literal["unbiased", "biased", "u-statistic"]
Kernels = Literal["rbf", "polynomial", "linear"]
_BLOCK_ENTRIES = 4_000_000
_MEDIAN_ROWS = 2000


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
    in_suite = True

    against: Literal["train", "test"] = "train"
    subsets: int = Field(0, ge=0)
    subset_size: int = Field(1000, ge=2)

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Return the kernel distance between the synthetic images and one real side."""
        real, synthetic = comparison.features(self.against), comparison.features("synthetic")
        if self.subsets:
            return {"kid": float(np.mean(kid_subsets(synthetic, real, self.subsets, self.subset_size, context.rng)))}
        return {"kid": mmd2_poly3(synthetic, real)}


class Mmd(Metric):
    """Squared maximum mean discrepancy (MMD) between real and synthetic features under a kernel of choice.

    mmd2 = E k(x, x') + E k(y, y') - 2 E k(x, y) for independent real x, x' and synthetic y, y' (Gretton et al. 2012,
    JMLR 13:723), times `scale`. Lower is better and equal distributions have 0. The default estimator, `unbiased`, pairs no
    image with itself: its expected value does not depend on the number of images, and single values may be negative. `biased`
    uses all pairs, is never negative beyond rounding, and has an expected value that falls with the number of images.
    `u-statistic` also leaves out the pairs with equal row numbers across the two sides, which must be equally large; its value
    then depends on the order of the images.

    kernel: `rbf`, exp(-|x - y|^2 / (2 bandwidth^2)); `polynomial`, (gamma x.y + coef0)^degree with gamma 1 / d where none is
    given; `linear`, x.y, which sees a difference of means and nothing else. bandwidth: a number, or `median`, the median
    distance between two training images (the heuristic of Gretton et al. 2012; of at most 2000 training images), which suits
    the kernel to any extractor and is therefore the default: with a bandwidth far below the distances between images the
    value is a constant of the numbers of images, far above them it sees means alone. normalise: divide each feature vector by
    its length first.

    CMMD (Jayasumana et al. 2024, arXiv:2401.09603) is `kernel: rbf, bandwidth: 10, estimator: biased, scale: 1000, normalise:
    true` on CLIP embeddings. synthcity's MMD is `bandwidth: 0.70710678, estimator: biased`; MONAI's is `kernel: linear`;
    torch-fidelity's with `kid_kernel="rbf"` is `bandwidth: 10`. Under the rbf kernel it sees any difference between the
    distributions that is wide against the bandwidth. It is blind to copies of training images.
    """

    name = "mmd"
    version = "1"
    needs = frozenset({"features"})
    quantities = (Quantity(name="mmd2", better="lower", family="distance"),)
    sees = frozenset({FailureMode.NOISE, FailureMode.BLUR, FailureMode.DISTRIBUTION_SHIFT, FailureMode.MODE_COLLAPSE})
    blind_to = frozenset({FailureMode.MEMORISATION})
    in_suite = True

    against: Literal["train", "test"] = "train"
    kernel: Kernels = "rbf"
    bandwidth: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | Literal["median"] = "median"
    degree: int = Field(3, ge=1)
    gamma: float | None = Field(None, gt=0.0, allow_inf_nan=False)
    coef0: float = Field(1.0, ge=0.0, allow_inf_nan=False)
    estimator: Estimator = "unbiased"
    scale: float = Field(1.0, gt=0.0, allow_inf_nan=False)
    normalise: bool = False

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Return the discrepancy between the synthetic images and one real side."""
        real, synthetic = self._features(comparison, self.against), self._features(comparison, "synthetic")
        _enough(len(synthetic), len(real), self.estimator)
        if self.kernel == "rbf":
            if self.bandwidth != "median":
                bandwidth = self.bandwidth
            else:
                bandwidth = median_distance(real if self.against == "train" else self._features(comparison, "train"))
            value = mmd2_rbf(synthetic, real, bandwidth, self.estimator)
        elif self.kernel == "polynomial":
            value = mmd2_polynomial(synthetic, real, self.degree, self.gamma, self.coef0, self.estimator)
        else:
            value = mmd2_linear(synthetic, real, self.estimator)
        return {"mmd2": self.scale * value}

    def _features(self, comparison: Comparison, role: Literal["train", "test", "synthetic"]) -> np.ndarray:
        if not self.normalise:
            # Distances and differences of means do not change when all features move together, and digits are kept.
            return comparison.features(role) if self.kernel == "polynomial" else comparison.centred(role)
        raw = comparison.features(role)
        length = np.linalg.norm(raw, axis=1, keepdims=True)
        if not length.all():
            raise NotComputable(f"{int((length == 0).sum())} {role} images have a feature vector of length 0, which has no direction")
        return raw / length


def mmd2_poly3(first: np.ndarray, second: np.ndarray, estimator: Estimator = "unbiased") -> float:
    """Return the squared maximum mean discrepancy of two feature matrices under the kernel (x.y / d + 1)^3 of KID."""
    return mmd2_polynomial(first, second, 3, None, 1.0, estimator)


def mmd2_polynomial(
    first: np.ndarray, second: np.ndarray, degree: int, gamma: float | None, coef0: float, estimator: Estimator = "unbiased"
) -> float:
    """Return the squared discrepancy of (N, F) and (M, F) under (gamma x.y + coef0)^degree; gamma is 1 / F where None."""
    width = first.shape[1]
    factor = 1.0 / width if gamma is None else gamma

    def kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        products = first @ second.T
        products *= factor
        products += coef0
        power = products.copy() if degree > 1 else products
        for _ in range(degree - 1):
            power *= products
        return power

    return _mmd2(first, second, lambda a, b: _sums(a, b, kernel), estimator)


def mmd2_linear(first: np.ndarray, second: np.ndarray, estimator: Estimator = "unbiased") -> float:
    """Return the squared discrepancy of (N, F) and (M, F) under x.y: the squared distance of the means, less its bias."""
    x, y = _centred(first, second)

    def sums(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
        rows = min(len(a), len(b))
        return float(a.sum(axis=0) @ b.sum(axis=0)), float((a[:rows] * b[:rows]).sum())

    return _mmd2(x, y, sums, estimator)


def mmd2_rbf(first: np.ndarray, second: np.ndarray, bandwidth: float, estimator: Estimator = "unbiased") -> float:
    """Return the squared discrepancy of (N, F) and (M, F) under exp(-|x - y|^2 / (2 bandwidth^2))."""
    x, y = (side / bandwidth for side in _centred(first, second))

    def kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        products = first @ second.T
        products -= 0.5 * (first**2).sum(axis=1)[:, None]
        products -= 0.5 * (second**2).sum(axis=1)
        # The squared distance of a vector from its copy is zero up to rounding, which may fall on either side.
        np.minimum(products, 0.0, out=products)
        return np.exp(products, out=products)

    return _mmd2(x, y, lambda a, b: _sums(a, b, kernel), estimator)


def median_distance(features: np.ndarray) -> float:
    """Return the median Euclidean distance between two rows of (N, F), of at most 2000 rows, whatever their order."""
    if len(features) < 2:
        raise NotComputable(f"a median distance needs 2 training images, got {len(features)}")
    rows = features
    if len(features) > _MEDIAN_ROWS:
        order = ranked(features)
        rows = features[order[np.linspace(0, len(features) - 1, _MEDIAN_ROWS).astype(np.int64)]]
    rows = rows - rows.mean(axis=0)
    length = (rows**2).sum(axis=1)
    squared = length[:, None] + length - 2.0 * (rows @ rows.T)
    pairs = np.maximum(squared[np.tri(len(rows), k=-1, dtype=bool)], 0.0)
    median = float(np.median(np.sqrt(pairs)))
    if median <= 1e-7 * math.sqrt(float(length.max())):
        raise NotComputable("most training images have the same features, so their median distance is 0: give a bandwidth")
    return median


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


_Sums = Callable[[np.ndarray, np.ndarray], tuple[float, float]]


def _mmd2(first: np.ndarray, second: np.ndarray, sums: _Sums, estimator: Estimator) -> float:
    """Return the squared maximum mean discrepancy (Gretton et al. 2012, equations 3 to 5).

    unbiased: no image is paired with itself; biased: all pairs; u-statistic: additionally leaves out the pairs with equal row
    numbers across the two sets, which must then be equally large. sums: the kernel summed over all pairs of rows of two
    matrices, and over the pairs with equal row numbers.
    """
    n, m = len(first), len(second)
    _enough(n, m, estimator)
    x, y = np.ascontiguousarray(first, dtype=np.float64), np.ascontiguousarray(second, dtype=np.float64)
    (within_x, own_x), (within_y, own_y) = sums(x, x), sums(y, y)
    across, own_across = sums(x, y)
    if estimator == "biased":
        return within_x / n**2 + within_y / m**2 - 2.0 * across / (n * m)
    within = (within_x - own_x) / (n * (n - 1)) + (within_y - own_y) / (m * (m - 1))
    if estimator == "u-statistic":
        return within - 2.0 * (across - own_across) / (n * (n - 1))
    return within - 2.0 * across / (n * m)


def _enough(n: int, m: int, estimator: Estimator) -> None:
    if min(n, m) < 2:
        raise NotComputable(f"pairs of images need 2 images on each side, got {n} and {m}")
    if estimator == "u-statistic" and n != m:
        raise NotComputable(f"the u-statistic needs sets of one size, got {n} and {m}")


def _sums(x: np.ndarray, y: np.ndarray, kernel: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> tuple[float, float]:
    """Return the kernel summed over all pairs and over those with equal row numbers, in square blocks of bounded memory."""
    step = max(1, math.isqrt(_BLOCK_ENTRIES))
    total = own = 0.0
    for i in range(0, len(x), step):
        # The kernel is symmetric: within one set the blocks above the diagonal count twice.
        for j in range(i if x is y else 0, len(y), step):
            values = kernel(x[i : i + step], y[j : j + step])
            total += float(values.sum()) * (2.0 if x is y and i != j else 1.0)
            own += float(np.trace(values)) if i == j else 0.0
    return total, own


def _centred(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both sets less their common mean in float64: the same distances, with more digits."""
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    mean = (x.sum(axis=0) + y.sum(axis=0)) / (len(x) + len(y))
    return x - mean, y - mean
