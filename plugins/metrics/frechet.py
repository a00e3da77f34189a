"""Frechet distance between feature clouds, known as FID when the features are those of an Inception network, and its limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, Metric, NotComputable, Quantity

Route = Literal["covariances", "images", "singular values"]
_BLOCK_ENTRIES = 16_000_000
# Rounding error of the trace term, as a share of tr S_r + tr S_s, up to which square roots of eigenvalues are used.
_ROUNDING = 1e-9
_RANKED = 8
HARDLY_MOVED = "it hardly moved under the defects that Deo et al. 2025 planted in medical images (Metrics that Matter, Table 7, row 6)"
SUBSETS_VARY = "it varies with the random subsets that the line is fitted to, which resampling the images does not show"
_EPSILON = float(np.finfo(np.float64).eps)


class Frechet(Metric):
    """Squared Frechet (2-Wasserstein) distance between Gaussians fitted to real and to synthetic features (FID).

    fid = |m_r - m_s|^2 + tr S_r + tr S_s - 2 tr (S_r S_s)^(1/2) with means m and covariances S, ddof 1 (Heusel et al. 2017,
    arXiv:1706.08500). On an extractor that gives a spatial map it is the sFID of the literature (Nash et al. 2021,
    arXiv:2103.03841). From 0 upwards, lower is better, in squared feature units: values compare only within one extractor and
    one number of images, because the expected value falls with the number of images. It sees whatever moves the means or
    covariances of the features. It is blind to copies of training images, which leave both where they are.

    Fewer images than features are no obstacle: the distance between the two rank-deficient Gaussians is exact, whereas the matrix
    square root of other packages is biased there. The note beside the value says by which route it was computed and what rank
    the covariances have. against: the real images to compare with, the training images (as in the literature) or the test images.
    """

    name = "frechet"
    version = "1"
    needs = frozenset({"features"})
    quantities = (Quantity(name="fid", better="lower", low=0.0, biased_in_n=True, family="distance"),)
    sees = frozenset({FailureMode.NOISE, FailureMode.BLUR, FailureMode.DISTRIBUTION_SHIFT, FailureMode.MODE_COLLAPSE})
    blind_to = frozenset({FailureMode.MEMORISATION})
    takes = frozenset({"embedding", "spatial"})
    in_suite = True

    against: Literal["train", "test"] = "train"

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Return the Frechet distance between the synthetic images and one real side."""
        result = frechet_distance(comparison.features(self.against), comparison.features("synthetic"))
        context.note("fid", f"by {result.route}; rank at most {result.rank_real} real, {result.rank_synthetic} synthetic")
        return {"fid": result.distance}


class FrechetInfinity(Metric):
    """Frechet distance extrapolated to infinitely many synthetic images (FID-infinity, FD-infinity).

    The distance of `points` random subsets of the synthetic images to all real images is fitted as a straight line in 1 / number
    of images; fd_infinity is its intercept (Chong & Forsyth 2020, arXiv:1911.07023; sizes and draws as in dgm-eval, Stein et al.
    2023, arXiv:2306.04675). Lower is better, in squared feature units; the line may end below 0. Only the bias from the number
    of synthetic images is removed: with few real images the value stays too high, unless `extrapolate` is both. It sees and is
    blind to what the Frechet distance sees and is blind to.

    points: number of subsets, their sizes spread evenly. smallest: size of the smallest; None means a tenth of the synthetic
    images, at least 2 and at most 5,000, as dgm-eval has it. The line is a good fit only where subsets are larger than the
    number of features. extrapolate: synthetic draws subsets of the synthetic images; both draws real and synthetic subsets of
    one size. repeats: the mean over so many fits to fresh subsets. order: sorted makes the draws independent of the order in
    which the images come; given takes the rows as they come, which with the same seed reproduces dgm-eval.
    """

    name = "frechet_infinity"
    version = "1"
    needs = frozenset({"features"})
    quantities = (
        Quantity(
            name="fd_infinity", better="lower", biased_in_n=True, family="distance", no_interval=SUBSETS_VARY,
            doubtful=HARDLY_MOVED,
        ),
    )  # fmt: skip
    sees = Frechet.sees
    blind_to = Frechet.blind_to
    takes = Frechet.takes

    against: Literal["train", "test"] = "train"
    points: int = Field(15, ge=2)
    smallest: int | None = Field(None, ge=2)
    extrapolate: Literal["synthetic", "both"] = "synthetic"
    repeats: int = Field(1, ge=1)
    order: Literal["sorted", "given"] = "sorted"

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Return the intercept of the Frechet distance over 1 / number of images."""
        real, synthetic = comparison.features(self.against), comparison.features("synthetic")
        _check(real, synthetic)
        both = self.extrapolate == "both"
        sizes = subset_sizes(min(len(real), len(synthetic)) if both else len(synthetic), self.points, self.smallest)
        draws = self._draws(synthetic, sizes, context)
        if both:
            real_draws = self._draws(real, sizes, context)
            distances = [
                [frechet_distance(real[r], synthetic[s]).distance for r, s in zip(*rows, strict=True)]
                for rows in zip(real_draws, draws, strict=True)
            ]
        else:
            subsets = SyntheticSubsets(real, synthetic)
            distances = [[subsets.distance(rows) for rows in repeat] for repeat in draws]
        context.note("fd_infinity", f"lines fitted: {self.repeats}, each through {self.points} subsets of {sizes[0]} to {sizes[-1]} images")
        return {"fd_infinity": float(np.mean([intercept(sizes, repeat) for repeat in distances]))}

    def _draws(self, side: np.ndarray, sizes: np.ndarray, context: Context) -> list[list[np.ndarray]]:
        """Return for each repeat and size the rows of one subset."""
        order = order_of(side) if self.order == "sorted" else np.arange(len(side))
        return [[order[context.rng.choice(len(side), size, replace=False)] for size in sizes] for _ in range(self.repeats)]


@dataclass(frozen=True)
class FrechetResult:
    """A squared Frechet distance and how it was computed.

    route: "covariances", square roots of the eigenvalues of L^T S L with L L^T the other covariance; "images", the same on the
    side of the images where these are fewer than the features; "singular values" of the product of triangular factors, where
    small eigenvalues would lose digits. rank_real, rank_synthetic: the largest rank that the covariance can have, the number of
    images less one or of the features that vary, whichever is smaller.
    """

    distance: float
    route: Route
    rank_real: int
    rank_synthetic: int


def frechet_distance(real: np.ndarray, synthetic: np.ndarray) -> FrechetResult:
    """Return the squared Frechet distance between Gaussians fitted to the rows of two feature matrices, (N, F) and (M, F).

    tr (S_r S_s)^(1/2) is the sum of the singular values of A B^T, where A^T A = S_r and B^T B = S_s. They are the square roots of
    the eigenvalues of a symmetric matrix, which cost least; the rounding error of small eigenvalues is estimated from the
    spectrum itself, and where it may exceed a billionth of the variances, the singular values are computed instead. Features may be
    float32 and memory-mapped: they are read in blocks, and sums are float64. Raises NotComputable below 2 images on a side.
    """
    _check(real, synthetic)
    sides = _Side(real), _Side(synthetic)
    few, many = sorted(sides, key=lambda side: side.n)
    root, route = (_by_images if few.n <= few.width else _by_covariances)(few, many)
    distance = float(((few.mean - many.mean) ** 2).sum()) + few.total + many.total - 2.0 * root
    # The distance of a set from itself is zero up to rounding, which may fall on either side.
    return FrechetResult(max(distance, 0.0), route, *(side.largest_rank() for side in sides))


class SyntheticSubsets:
    """Frechet distances of many subsets of the synthetic images, (M, F), to the same real images, (N, F).

    With F^T F = S_r, tr (S_r S_s)^(1/2) is the sum of the singular values of the centred rows of B F^T: the product is formed
    once, and each subset takes its rows. It holds one further matrix of the size of the synthetic features.
    """

    def __init__(self, real: np.ndarray, synthetic: np.ndarray) -> None:
        _check(real, synthetic)
        self._synthetic = synthetic
        self._real = _Side(real)
        factor = self._real.factor()
        self._products = np.concatenate([block @ factor.T for block in _Side(synthetic).blocks()])

    def distance(self, rows: np.ndarray) -> float:
        """Return the squared Frechet distance of the synthetic images of these rows, two or more, to the real images."""
        free = len(rows) - 1
        part = np.asarray(self._synthetic[rows], dtype=np.float64)
        mean = part.mean(axis=0)
        part -= mean
        total = float(np.vdot(part, part)) / free
        products = self._products[rows]
        products -= products.mean(axis=0)
        products /= np.sqrt(free)
        if free < products.shape[1]:
            products = _without_mean_row(products)
        gram = products @ products.T if free < products.shape[1] else products.T @ products
        root = _sum_of_roots(gram, _scale(gram, self._real.total, total), self._real.total + total)
        if root is None:
            root = _sum_of_singular_values(products)
        return max(float(((mean - self._real.mean) ** 2).sum()) + self._real.total + total - 2.0 * root, 0.0)


def subset_sizes(n: int, points: int, smallest: int | None = None) -> np.ndarray:
    """Return (points,) int64 subset sizes spread evenly from `smallest` to n (Stein et al. 2023; Chong & Forsyth 2020).

    None is a tenth of n, at least 2 and at most 5,000. Raises NotComputable where n leaves no two sizes.
    """
    first = min(5000, max(n // 10, 2)) if smallest is None else smallest
    if n <= first:
        raise NotComputable(f"a line needs subsets of two sizes: more than {first} images, got {n}")
    return np.linspace(first, n, points).astype(np.int64)


def intercept(sizes: np.ndarray, values: Sequence[float] | np.ndarray) -> float:
    """Return where the least-squares line of the values over 1 / sizes meets 1 / size = 0."""
    x, y = 1.0 / sizes, np.asarray(values)
    slope = ((x - x.mean()) * y).sum() / ((x - x.mean()) ** 2).sum()
    return float(y.mean() - slope * x.mean())


def order_of(rows: np.ndarray) -> np.ndarray:
    """Return (N,) int64 indices that put the rows, (N, F), into an order that depends on their values alone."""
    whole = np.ascontiguousarray(rows)
    return np.argsort(whole.view(np.dtype((np.void, whole.strides[0]))).ravel(), kind="stable")


def ranked(rows: np.ndarray) -> np.ndarray:
    """Return (N,) int64 indices that rank the rows, (N, F), by the values of their first eight columns.

    For features that were centred: their last digits depend on the order of the images, and `order_of` would follow those.
    """
    return np.lexsort(rows.T[:_RANKED]) if rows.shape[1] else np.arange(len(rows))


def triangular_factor(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Return R, (at most F, F) float64, with R^T R the sum of B^T B over blocks of rows (N, F), by QR: no digits are squared away."""
    factor: np.ndarray | None = None
    for block in blocks:
        factor = np.asarray(np.linalg.qr(block if factor is None else np.vstack([factor, block]), mode="r"))
    assert factor is not None
    return factor


class _Side:
    """One feature matrix (N, F) read in blocks: mean (F,), variances (F,) and their sum, all float64."""

    def __init__(self, features: np.ndarray) -> None:
        self._features = features
        self.n, self.width = features.shape
        # Sums are taken from the first row, so that a constant feature has a variance of exactly zero.
        self._origin = np.asarray(features[0], dtype=np.float64)
        self._shift = np.zeros(self.width)
        self._whole: np.ndarray | None = None
        if features.size <= _BLOCK_ENTRIES:
            self._whole = next(self._read())
            self._shift = self._whole.mean(axis=0)
            self._whole -= self._shift
        else:
            self._shift = sum((block.sum(axis=0) for block in self._read()), np.zeros(self.width)) / self.n
        self.mean = self._origin + self._shift
        squares = sum((np.einsum("ij,ij->j", block, block) for block in self.blocks()), np.zeros(self.width))
        self.variances = squares / (self.n - 1)
        self.total = float(self.variances.sum())
        if not np.isfinite(self.total):
            raise NotComputable("the features hold values that are not finite, or so large that their squares are not")

    def _read(self) -> Iterator[np.ndarray]:
        step = max(1, _BLOCK_ENTRIES // self.width)
        for start in range(0, self.n, step):
            block = np.asarray(self._features[start : start + step], dtype=np.float64) - self._origin
            block -= self._shift
            yield block

    def blocks(self) -> Iterable[np.ndarray]:
        """Return the centred rows as float64 blocks of bounded size, which are not to be changed."""
        return self._read() if self._whole is None else (self._whole,)

    def largest_rank(self) -> int:
        """Return the largest rank that the covariance can have."""
        return min(self.n - 1, int(np.count_nonzero(self.variances)))

    def covariance(self) -> np.ndarray:
        """Return the covariance (F, F), ddof 1."""
        return sum((block.T @ block for block in self.blocks()), np.zeros((self.width, self.width))) / (self.n - 1)

    def factor(self) -> np.ndarray:
        """Return F with F^T F the covariance and no more rows than images less one or features."""
        if self.n <= self.width:
            factor = _without_mean_row(np.concatenate(list(self._read())) if self._whole is None else self._whole)
        else:
            factor = triangular_factor(self.blocks())
        factor /= np.sqrt(self.n - 1)
        return factor


def _by_images(few: _Side, many: _Side) -> tuple[float, Route]:
    """Return tr (S_r S_s)^(1/2) where one set has no more images than features, and the route."""
    factor = few.factor()
    p, m, d = len(factor), many.n, few.width
    product: np.ndarray | None = None
    if m <= d:
        product = factor @ many.factor().T
        gram = product @ product.T
    elif p * m * d + p * p * m / 2 <= m * d * d / 2 + p * d * d + p * p * d / 2:
        parts = (factor @ block.T for block in many.blocks())
        gram = sum((part @ part.T for part in parts), np.zeros((p, p))) / (m - 1)
    else:
        gram = factor @ many.covariance() @ factor.T
    root = _sum_of_roots(gram, _scale(gram, few.total, many.total), few.total + many.total)
    if root is not None:
        return root, "images"
    return _sum_of_singular_values(factor @ many.factor().T if product is None else product), "singular values"


def _by_covariances(few: _Side, many: _Side) -> tuple[float, Route]:
    """Return tr (S_r S_s)^(1/2) where both sets have more images than features, and the route."""
    # A feature that is constant on one side adds nothing to the product of the covariances.
    varies = np.flatnonzero((few.variances > 0) & (many.variances > 0))
    if not len(varies):
        return 0.0, "covariances"
    first, second = few.covariance(), many.covariance()
    if len(varies) < few.width:
        first, second = first[np.ix_(varies, varies)], second[np.ix_(varies, varies)]
    root = _root_of_product(first, second, few.total + many.total)
    if root is not None:
        return root, "covariances"
    return _sum_of_singular_values(few.factor() @ many.factor().T), "singular values"


def _root_of_product(first: np.ndarray, second: np.ndarray, total: float) -> float | None:
    """Return tr (A B)^(1/2) of two covariances, (F, F), from the eigenvalues of L^T B L, A = L L^T; None as `_sum_of_roots`."""
    from scipy.linalg.lapack import dpotrf, dsygst

    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    lower, singular = dpotrf(first, lower=1)
    if singular:
        return None
    return _sum_of_roots(dsygst(second, lower, itype=2, lower=1)[0], scale, total)


def _sum_of_roots(gram: np.ndarray, scale: float, total: float) -> float | None:
    """Return the sum of the square roots of the eigenvalues of a symmetric matrix, (P, P), given by its lower triangle.

    None where it may be further from the truth than `_ROUNDING` of `total`. Rounding moves an eigenvalue s^2 by about
    epsilon * scale / sqrt(P), so its root by that over 2 s, independently of the others; the estimate is four times as large.
    An eigenvalue below epsilon * scale may be zero, and then its root would be nothing but rounding.
    """
    noise = _EPSILON * scale
    if noise == 0.0:
        return 0.0
    values = np.linalg.eigvalsh(gram)
    if values[0] <= noise:
        return None
    roots = np.sqrt(values)
    error = 2.0 * noise * float(np.linalg.norm(1.0 / roots)) / np.sqrt(len(roots))
    return float(roots.sum()) if error <= _ROUNDING * total else None


def _scale(gram: np.ndarray, first: float, second: float) -> float:
    """Return the size of the rounding errors of a Gram matrix of products of rows, over epsilon; the traces are of both covariances."""
    return float(np.sqrt(np.linalg.norm(gram) * first * second))


def _sum_of_singular_values(matrix: np.ndarray) -> float:
    return float(np.linalg.svd(matrix, compute_uv=False).sum())


def _without_mean_row(centred: np.ndarray) -> np.ndarray:
    """Return (N - 1, F) rows with the same B^T B as N centred rows: a reflection has turned their mean, which is zero, into a row."""
    return centred[1:] - centred[:1] / (np.sqrt(len(centred)) + 1.0)


def _check(real: np.ndarray, synthetic: np.ndarray) -> None:
    if min(len(real), len(synthetic)) < 2:
        raise NotComputable(f"a covariance needs 2 images on each side, got {len(real)} real and {len(synthetic)} synthetic")
    if real.shape[1] != synthetic.shape[1]:
        raise ValueError(f"both sides need the same features, got {real.shape[1]} real and {synthetic.shape[1]} synthetic")
