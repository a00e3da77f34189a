"""Likelihood of real images under a density made of the synthetic ones: the feature likelihood divergence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, Metric, NotComputable, Quantity

Variant = Literal["fld", "fls_v1"]

_STEPS = 50
_RATE = 0.5
_ORIGIN_SHRINKAGE = 0.9**2
_FIT_ENTRIES = 131_072
_DISTANCE_ENTRIES = 4_000_000
_PAIRS_AT_ONCE = 1024
_NO_LIKELIHOOD = 10.0
_SPLIT = "its value depends on which half of the training images is the baseline, which resampling does not vary"
_REFIT = (
    "resampled sets hold fewer different images, and Gaussians fitted to those have another gap, so their spread is not that of the value"
)


class Fld(Metric):
    """Feature likelihood divergence (FLD) of test images, and the generalisation gap of the density behind it.

    A Gaussian is put round each synthetic image; its variance, the same in all directions, is fitted so that the training images
    are likely. With N_test the mean negative log-likelihood of the test images under this mixture, in nats per feature, and
    N_base the same for Gaussians round one half of the training images fitted to the other, fld = 100 (N_test - N_base): lower is
    better, 0 is as good as training images, it has no bounds. fld_gap = 100 (N_train - N_test): the more negative, the nearer
    the synthetic images are to training images rather than to test images; higher is better, it has no bounds. Jiralerspong et
    al. 2023 (arXiv:2302.04440), both as in the authors' code (marcojira/fld, ffbbf20). dgm-eval's score, of which higher is
    better, is the metric `fls`.

    Fair generators score near 0, not at 0: more synthetic images than half of the training images lower fld, and fld_gap is
    somewhat below 0 because the fit has seen the training images, less so the more images there are. Exact copies of
    training images draw their Gaussians to a point. A few lower fld_gap a lot and hardly change fld; nothing but copies makes fld
    huge, and the lowest variance that the fit allows decides how huge. Training images that are near copies of one another
    (slices, visits) spoil the baseline and flatter fld. A generator that loses spread, not modes, may score below 0, and
    copies of the test images do. Blind to a small share of copies (fld), and to differences that are small against the distances
    between images. Features are scaled by mean and standard deviation of the test images; columns that are constant
    everywhere are left out, where the authors' code returns no number. The value depends on the random halves (standard
    deviation 0.5 at 500 images for one split, 0.1 for the mean of five), so it is not in the default suite and has no interval.

    variant: `fls_v1` is what the same authors first called FLS (marcojira/fld, b9db224), lower is better too: the fit starts
    from variance 1 and takes 50 steps, where `fld` starts from the nearest training image and stops once the likelihood is steady.
    repeats: baseline splits that fld is the mean of; the authors draw one, more have the same expectation and vary less. largest:
    synthetic images, and training images in each half, at most, drawn at random (the authors: 10000 synthetic images and all
    training images); time and memory grow with its square.
    """

    name = "fld"
    version = "1"
    needs = frozenset({"features"})
    quantities = (
        Quantity(name="fld", unit="0.01 nat", better="lower", biased_in_n=True, no_interval=_SPLIT, family="distance"),
        Quantity(
            name="fld_gap", unit="0.01 nat", better="higher", biased_in_n=True, fixed_train=True,
            no_interval=_REFIT, family="memorisation",
        ),
    )  # fmt: skip
    sees = frozenset({FailureMode.NOISE, FailureMode.DISTRIBUTION_SHIFT, FailureMode.MODE_COLLAPSE, FailureMode.MEMORISATION})

    variant: Variant = "fld"
    repeats: int = Field(5, ge=1)
    largest: int = Field(2000, ge=2)

    def measure(self, comparison: Comparison, context: Context) -> Mapping[str, float | NotComputable]:
        """Return the divergence, as the mean over the baseline splits, and the gap."""
        train, test, synthetic = (comparison.features(role) for role in ("train", "test", "synthetic"))
        if len(train) < 4 or min(len(test), len(synthetic)) < 2:
            raise NotComputable(f"needs 4 training images, 2 test and 2 synthetic, got {len(train)}, {len(test)} and {len(synthetic)}")
        train, synthetic = _drawn(train, 2 * self.largest, context.rng), _drawn(synthetic, self.largest, context.rng)
        splits = [context.rng.permutation(len(train)) for _ in range(self.repeats)]
        result = feature_likelihood_divergence(train, _ranked(test), synthetic, splits, self.variant)
        if self.repeats > 1:
            context.note("fld", f"mean of {self.repeats} baseline splits, standard deviation {np.std(result.fld, ddof=1):.3g}")
        fld: float | NotComputable = float(np.mean(result.fld))
        worst = max(result.baseline)
        if worst > _NO_LIKELIHOOD:
            fld = NotComputable(
                f"the baseline gives the test images no likelihood to compare with ({worst:.3g} nats per feature, negative): "
                "training images are copies of one another or far from the test images"
            )
        return {"fld": fld, "fld_gap": result.gap}


class Divergence(NamedTuple):
    """fld: one divergence per baseline split. gap: the generalisation gap. baseline: N_base of each split, in nats per feature."""

    fld: list[float]
    gap: float
    baseline: list[float]


def feature_likelihood_divergence(
    train: np.ndarray, test: np.ndarray, synthetic: np.ndarray, splits: Iterable[np.ndarray], variant: Variant = "fld"
) -> Divergence:
    """Return the feature likelihood divergence of (N, F) features for each baseline split (Jiralerspong et al. 2023, arXiv:2302.04440).

    splits: orders of the training images, (N_train,) row numbers each; the first of an order are the centres of the baseline and
    the rest is what it is fitted to. There are as many centres as synthetic images, and at most half of the training images; in
    `fls_v1` always half.
    """
    train, test, synthetic = _standardised(train, test, synthetic)
    half = len(train) // 2 if variant == "fls_v1" else min(len(synthetic), len(train) // 2)
    fitted = fit_mixture(train, synthetic, variant)
    seen, unseen = negative_log_likelihood(train, synthetic, fitted), negative_log_likelihood(test, synthetic, fitted)
    baseline = []
    for order in splits:
        centres, rest = train[order[:half]], train[order[half:]]
        baseline.append(negative_log_likelihood(test, centres, fit_mixture(rest, centres, variant)))
    return Divergence([100.0 * (unseen - base) for base in baseline], 100.0 * (seen - unseen), baseline)


def fit_mixture(images: np.ndarray, centres: np.ndarray, variant: Variant = "fld") -> np.ndarray:
    """Return the log-variance of the Gaussian round each of (M, F) centres that makes (N, F) images likely, (M,).

    At most 50 steps of Adam (Kingma & Ba 2015, arXiv:1412.6980) with rate 0.5 on the mean negative log-likelihood per feature, each
    on all images. While fitting, the mixture has one more Gaussian, of weight 1 beside the M of weight 1 / M, round the mean of the
    images, with squared distances multiplied by 0.81 and a variance of its own: it keeps images that are far from all centres
    from pulling at them. The score is defined by these steps, which may stop before the optimum.
    """
    width, count = images.shape[1], len(centres)
    squared = np.empty((len(images), count + 1))
    for rows in _blocks(len(images), count, _DISTANCE_ENTRIES):
        squared[rows, :-1] = _squared_distances(images[rows], centres)
    squared[:, -1] = _ORIGIN_SHRINKAGE * ((images - images.mean(axis=0)) ** 2).sum(axis=1)
    log_weights = np.append(np.full(count, -math.log(count)), 0.0)
    log_variances, first, second = np.zeros((3, count + 1))
    lowest, highest = (-40.0, 40.0) if variant == "fld" else (-30.0, 20.0)
    if variant == "fld":
        log_variances[:-1] = np.log((squared[:, :-1].min(axis=0) + 1e-3) / width)
    losses: list[float] = []
    for step in range(1, _STEPS + 1):
        loss, gradient = _loss_and_gradient(squared, log_variances, log_weights, width)
        losses.append(loss)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        rate = _RATE / (1.0 - 0.9**step)
        log_variances = log_variances - rate * first / (np.sqrt(second / (1.0 - 0.999**step)) + 1e-8)
        log_variances[:-1] = np.clip(log_variances[:-1], lowest, highest)
        if variant == "fld" and step > 6 and max(abs(loss - earlier) for earlier in losses[-5:]) < 5e-4:
            break
    return np.asarray(log_variances[:-1])


def negative_log_likelihood(images: np.ndarray, centres: np.ndarray, log_variances: np.ndarray) -> float:
    """Return the mean of (N, F) images under equally weighted Gaussians round (M, F) centres, in nats per feature."""
    width, count = centres.shape[1], len(centres)
    precision = np.exp(-log_variances)
    constant = -0.5 * width * (log_variances + math.log(2.0 * math.pi)) - math.log(count)
    total = 0.0
    for rows in _blocks(len(images), count, _DISTANCE_ENTRIES):
        exponent = _squared_distances(images[rows], centres) * (-0.5 * precision) + constant
        highest = exponent.max(axis=1)
        total -= float((np.log(np.exp(exponent - highest[:, None]).sum(axis=1)) + highest).sum())
    return total / (len(images) * width)


def _loss_and_gradient(squared: np.ndarray, log_variances: np.ndarray, log_weights: np.ndarray, width: int) -> tuple[float, np.ndarray]:
    """Return the mean negative log-likelihood per feature and its derivative by each log-variance, from (N, M) squared distances."""
    precision = np.exp(-log_variances)
    constant = log_weights - 0.5 * width * (log_variances + math.log(2.0 * math.pi))
    loss, (shares, moments) = 0.0, np.zeros((2, len(log_variances)))
    for rows in _blocks(len(squared), squared.shape[1], _FIT_ENTRIES):
        density = squared[rows] * (-0.5 * precision)
        density += constant
        highest = density.max(axis=1, keepdims=True)
        density -= highest
        np.exp(density, out=density)
        total = density.sum(axis=1)
        loss -= float((np.log(total) + highest[:, 0]).sum())
        # The share of each Gaussian in the density at each image, and the same times the squared distance.
        shares += (1.0 / total) @ density
        density *= squared[rows]
        moments += (1.0 / total) @ density
    scale = 1.0 / (len(squared) * width)
    return loss * scale, 0.5 * (width * shares - precision * moments) * scale


def _standardised(train: np.ndarray, test: np.ndarray, synthetic: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the three sides less the mean of the test images, over their standard deviation, without columns that never vary."""
    train, test, synthetic = (np.asarray(side, dtype=np.float64) for side in (train, test, synthetic))
    varies = (test != test[0]).any(axis=0)
    elsewhere = (train != test[0]).any(axis=0) | (synthetic != test[0]).any(axis=0)
    if not (varies | elsewhere).any():
        raise NotComputable("all features are the same for all images, so there is no density")
    lost = int((elsewhere & ~varies).sum())
    if lost:
        raise NotComputable(f"{lost} features are the same for all test images but not for all others, so they have no scale")
    mean, deviation = test[:, varies].mean(axis=0), test[:, varies].std(axis=0, ddof=1)
    scaled = ((side[:, varies] - mean) / deviation for side in (train, test, synthetic))
    return next(scaled), next(scaled), next(scaled)


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return (N, M) squared Euclidean distances; those that the expanded form rounds off are taken from the differences."""
    size = np.einsum("ij,ij->i", a, a)[:, None] + np.einsum("ij,ij->i", b, b)
    squared = size - 2.0 * (a @ b.T)
    rows, columns = np.nonzero(squared < 1e-6 * size)
    for start in range(0, len(rows), _PAIRS_AT_ONCE):
        i, j = rows[start : start + _PAIRS_AT_ONCE], columns[start : start + _PAIRS_AT_ONCE]
        squared[i, j] = ((a[i] - b[j]) ** 2).sum(axis=1)
    return np.asarray(np.maximum(squared, 0.0))


def _blocks(rows: int, columns: int, entries: int) -> list[slice]:
    """Return slices of the rows of at most `entries` entries."""
    step = max(1, entries // columns)
    return [slice(start, start + step) for start in range(0, rows, step)]


def _ranked(features: np.ndarray) -> np.ndarray:
    """Return the rows in the order of their bytes, so that the order in which they came does not matter."""
    whole = np.ascontiguousarray(features)
    return whole[np.argsort(whole.view(f"V{whole.itemsize * whole.shape[1]}").ravel(), kind="stable")]


def _drawn(features: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return at most `count` random rows."""
    return _ranked(features)[rng.permutation(len(features))[:count]]
