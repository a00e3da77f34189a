"""Diversity of the synthetic images: the Vendi score, an effective number of different images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, Metric, NotComputable, Quantity

from .frechet import HARDLY_MOVED, order_of, triangular_factor

Kernel = Literal["cosine", "rbf", "poly3_cosine"]
Order = Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | Literal["inf"]
_BLOCK_ENTRIES = 4_000_000
_EPSILON = float(np.finfo(np.float64).eps)
# How far apart, as a ratio, the scores may be with the eigenvalues that rounding hides all zero and all as large as they can be.
_UNSURE = 1e-6


class Vendi(Metric):
    """Vendi score: the effective number of different synthetic images, and its ratio to that of the training images.

    vendi = exp(H_q(w)), w the eigenvalues of K / n and H_q the Renyi entropy of order q, for the n x n matrix K of similarities
    k(x, x) = 1 between synthetic images (Friedman & Dieng 2023, arXiv:2210.02410; orders: Pasarkar & Dieng 2024,
    arXiv:2310.12952). From 1, all images alike, to n, all dissimilar; it grows with n. vendi_ratio is the score of the synthetic
    over that of as many training images, the larger set drawn down at random: 1 is as diverse as the training images, lower is less
    diverse, and higher is no better than 1 but means more spread than reality has. Higher is better for both, with that limit.
    Blind to fidelity: noise and invented images raise it, copies of training images leave it where it is.

    order: q. Small orders weigh rare images up, inf takes the largest eigenvalue alone; 1, the Shannon entropy, is the one
    published scores have. kernel: cosine, the inner product of rows of length 1 (the published choice, in the vendi-score package
    and in dgm-eval); rbf, exp(-|x - y|^2 / (2 bandwidth^2)); poly3_cosine, (x.y / d + 1)^3 of rows of length 1, dgm-eval's
    `polynomial`, whose diagonal is not 1, so that it is no effective number, may lie below 1, and serves comparison with that
    package alone. bandwidth: of rbf, in feature units; median is the median distance between two training images.
    max_images: rbf and poly3_cosine solve an n x n eigenproblem and refuse more images than this. centre: none keeps features as
    they are, which is the published definition and therefore the default; train subtracts the mean of the training images
    first, which is the better choice for features far from the origin, such as raw pixels, whose cosines are all near 1.
    """

    name = "vendi"
    version = "1"
    needs = frozenset({"features"})
    quantities = (
        Quantity(name="vendi", unit="images", better="higher", low=0.0, biased_in_n=True, family="diversity", doubtful=HARDLY_MOVED),
        Quantity(name="vendi_ratio", better="higher", low=0.0, biased_in_n=True, family="diversity", doubtful=HARDLY_MOVED),
    )
    sees = frozenset({FailureMode.MODE_COLLAPSE})
    blind_to = frozenset({FailureMode.MEMORISATION})
    in_suite = True

    order: Order = 1.0
    kernel: Kernel = "cosine"
    bandwidth: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | Literal["median"] = "median"
    max_images: int = Field(5000, ge=2)
    centre: Literal["none", "train"] = "none"

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float | NotComputable]:
        """Return the Vendi score of the synthetic images and its ratio to that of the training images at equal number."""
        n, n_train = comparison.n("synthetic"), comparison.n("train")
        if n < 2:
            raise NotComputable(f"needs 2 synthetic images, got {n}")
        synthetic, train = comparison.features("synthetic"), comparison.features("train")
        if n_train == 0 and (self.centre == "train" or self._heuristic):
            raise NotComputable("there are no training images to take the mean or the bandwidth from")
        offset = train.mean(axis=0) if self.centre == "train" else None
        bandwidth = self._width(train) if self.kernel == "rbf" else 1.0
        score = self._score(synthetic, offset, bandwidth, "synthetic")
        if n_train < 2:
            return {"vendi": score, "vendi_ratio": NotComputable(f"needs 2 training images, got {n_train}")}
        equal = min(n, n_train)
        try:
            few = score if n == equal else self._score(_drawn(synthetic, equal, context), offset, bandwidth, "synthetic")
            real = self._score(train if n_train == equal else _drawn(train, equal, context), offset, bandwidth, "training")
        except NotComputable as reason:
            return {"vendi": score, "vendi_ratio": reason}
        context.note("vendi_ratio", f"{equal} images on each side")
        return {"vendi": score, "vendi_ratio": few / real}

    @property
    def _heuristic(self) -> bool:
        return self.kernel == "rbf" and self.bandwidth == "median"

    def _width(self, train: np.ndarray) -> float:
        if self.bandwidth != "median":
            return self.bandwidth
        if len(train) > self.max_images:
            raise NotComputable(f"the median distance of {len(train)} training images takes too long: give a bandwidth or raise max_images")
        return median_distance(train)

    def _score(self, rows: np.ndarray, offset: np.ndarray | None, bandwidth: float, side: str) -> float:
        if self.kernel != "cosine" and len(rows) > self.max_images:
            raise NotComputable(f"the kernel {self.kernel} takes an n x n eigenproblem, {len(rows)} {side} images exceed {self.max_images}")
        centred = rows if offset is None else rows - offset
        zero = 0 if self.kernel == "rbf" else len(rows) - int(np.count_nonzero(centred.any(axis=1)))
        if zero:
            raise NotComputable(f"{zero} of {len(rows)} {side} images have features of length zero, which have no direction")
        return vendi_score(centred, self.order, self.kernel, bandwidth)


def vendi_score(rows: np.ndarray, order: float | Literal["inf"] = 1.0, kernel: Kernel = "cosine", bandwidth: float = 1.0) -> float:
    """Return the Vendi score of feature rows (N, F) under a kernel; rows of length zero have no cosine and are refused.

    The cosine kernel takes the smaller of the Gram matrices N x N and F x F, which have the same eigenvalues, summed in blocks. For
    orders below 1, in which the smallest eigenvalues weigh most, it takes singular values, which are known to twice as many
    digits, and those that rounding cannot tell from zero are zero. Under the other kernels no eigenvalue is zero but by
    repetition, so NotComputable is raised where the ones below rounding could change the score.
    """
    if kernel == "cosine":
        return renyi_number(_cosine_spectrum(rows, exact=order != "inf" and order < 1.0), order)
    values = np.linalg.eigvalsh(_kernel_matrix(rows, kernel, bandwidth) / len(rows))
    hidden = values <= len(values) * _EPSILON * values[-1]
    score = renyi_number(np.where(hidden, 0.0, values), order)
    most = renyi_number(np.where(hidden, len(values) * _EPSILON * values[-1], values), order)
    if order != "inf" and order < 1.0 and most > score * (1.0 + _UNSURE):
        raise NotComputable(f"order {order:g} rests on eigenvalues below rounding: the score lies between {score:.6g} and {most:.6g}")
    return score


def renyi_number(weights: np.ndarray, order: float | Literal["inf"] = 1.0) -> float:
    """Return exp of the Renyi entropy of non-negative weights (N,), the Hill number: 1 for a single weight of 1, N for N equal ones."""
    present = weights[weights > 0.0]
    if order == "inf":
        return float(1.0 / present.max())
    if order == 1.0:
        return float(np.exp(-(present * np.log(present)).sum()))
    return float((present**order).sum() ** (1.0 / (1.0 - order)))


def median_distance(rows: np.ndarray) -> float:
    """Return the median Euclidean distance between two different rows of (N, F); NotComputable where there is none above zero."""
    from scipy.spatial.distance import pdist

    if len(rows) < 2:
        raise NotComputable(f"a median distance needs 2 training images, got {len(rows)}")
    median = float(np.median(pdist(rows)))
    if median == 0.0:
        raise NotComputable("the median distance between training images is zero")
    return median


def _cosine_spectrum(rows: np.ndarray, *, exact: bool) -> np.ndarray:
    """Return the eigenvalues of K / N that can be above zero, (min(N, F),), in ascending order; `exact` by singular values."""
    n, width = rows.shape
    wide = n <= width
    if exact:
        factor = np.concatenate(list(_directions(rows))) if wide else triangular_factor(_directions(rows))
        values = np.linalg.svd(factor, compute_uv=False)[::-1]
        return np.where(values > max(n, width) * _EPSILON * values[-1], values, 0.0) ** 2 / n
    if wide:
        whole = np.concatenate(list(_directions(rows)))
        gram = whole @ whole.T
    else:
        gram = sum((block.T @ block for block in _directions(rows)), np.zeros((width, width)))
    return np.linalg.eigvalsh(gram / n)


def _kernel_matrix(rows: np.ndarray, kernel: Kernel, bandwidth: float) -> np.ndarray:
    """Return the (N, N) similarities."""
    if kernel == "rbf":
        from scipy.spatial.distance import pdist, squareform

        return np.exp(squareform(pdist(rows, "sqeuclidean")) / (-2.0 * bandwidth**2))
    whole = np.concatenate(list(_directions(rows)))
    base = whole @ whole.T / rows.shape[1] + 1.0
    return np.asarray(base * base * base)


def _directions(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows scaled to length 1 as float64 blocks."""
    step = max(1, _BLOCK_ENTRIES // rows.shape[1])
    for start in range(0, len(rows), step):
        block = np.asarray(rows[start : start + step], dtype=np.float64)
        # Dividing by the largest entry first keeps squares from overflowing and from vanishing.
        block = block / np.abs(block).max(axis=1, keepdims=True)
        yield block / np.linalg.norm(block, axis=1, keepdims=True)


def _drawn(rows: np.ndarray, n: int, context: Context) -> np.ndarray:
    """Return n rows drawn at random, whatever order they come in."""
    return rows[order_of(rows)[context.rng.choice(len(rows), n, replace=False)]]
