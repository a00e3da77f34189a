"""Likelihood of real images under a density made of the synthetic ones: the feature likelihood score."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, Metric, NotComputable, Quantity

from .frechet import ranked

_STEPS = 100
_RATE = 0.5
_LOWEST, _HIGHEST = -100.0, 20.0
_SPLIT = "its value depends on which half of the training images is the baseline, which resampling does not vary"


class Fls(Metric):
    """Feature likelihood score (FLS) of test images, and the overfitting of the density behind it.

    A Gaussian is put round each synthetic image; its variance, the same in all directions, is fitted so that one half of the
    training images is as likely as possible. fls = 100 exp(-2 (L - L_b) / d), where L is the mean negative log-likelihood of
    the test images, L_b the same for Gaussians round the other half of the training images, and d the number of features: 100
    is as good as real images, it may be higher, 0 is the lowest, higher is better. fls_overfit: percentage of the Gaussians
    under which the training images are more likely than the test images, less 50; from -50 to 50, above 0 the synthetic images
    are nearer to the training images than to the test images, lower is better. Both as Stein et al. 2023 (arXiv:2306.04675,
    dgm-eval) compute the score of Jiralerspong et al. 2023 (arXiv:2302.04440); the later FLD of the same authors is a
    difference of likelihoods, in which lower is better, and is not this score.

    All four sets are cut to the size of the smallest and to `largest` images, drawn at random (dgm-eval: 10000; time and memory
    grow with the square). Features are scaled by their mean and standard deviation over all four; columns that are constant say
    nothing and are left out, where dgm-eval returns no number. An exact copy of a training image draws its Gaussian to a point,
    so copies lower fls towards 0. Gaussians round images that lie nearer to the middle than real ones do can be the better
    density: a generator that loses spread, not modes, may score above 100. The value depends on the random halves, so it is not
    in the default suite and has no interval. Blind to differences that are small against the distances between images.
    """

    name = "fls"
    version = "1"
    needs = frozenset({"features"})
    quantities = (
        Quantity(name="fls", better="higher", low=0.0, biased_in_n=True, no_interval=_SPLIT, family="distance"),
        Quantity(
            name="fls_overfit", unit="%", better="lower", low=-50.0, high=50.0, biased_in_n=True, fixed_train=True,
            no_interval=_SPLIT, family="memorisation",
        ),
    )  # fmt: skip
    sees = frozenset({FailureMode.NOISE, FailureMode.DISTRIBUTION_SHIFT, FailureMode.MODE_COLLAPSE})

    largest: int = Field(2000, ge=2)

    def measure(self, comparison: Comparison, context: Context) -> Mapping[str, float | NotComputable]:
        """Return the score and the overfitting."""
        train, test, synthetic = (comparison.features(role) for role in ("train", "test", "synthetic"))
        n = min(self.largest, len(train) // 2, len(test), len(synthetic))
        if n < 2:
            raise NotComputable(f"needs 4 training images, 2 test and 2 synthetic, got {len(train)}, {len(test)} and {len(synthetic)}")
        drawn = _drawn(train, 2 * n, context.rng)
        return feature_likelihood(drawn[:n], drawn[n:], _drawn(test, n, context.rng), _drawn(synthetic, n, context.rng))


def feature_likelihood(
    train: np.ndarray, baseline: np.ndarray, test: np.ndarray, synthetic: np.ndarray
) -> dict[str, float | NotComputable]:
    """Return fls and fls_overfit of (N, F) features; `baseline` are the training images that stand for a perfect generator."""
    sides = [np.asarray(side, dtype=np.float64) for side in (train, baseline, test, synthetic)]
    joint = np.concatenate(sides)
    varying = (joint != joint[:1]).any(axis=0)
    if not varying.any():
        raise NotComputable("all features are the same for all images, so there is no density")
    mean, deviation = joint[:, varying].mean(axis=0), joint[:, varying].std(axis=0, ddof=1)
    train, baseline, test, synthetic = ((side[:, varying] - mean) / deviation for side in sides)
    width = train.shape[1]
    log_variances = fit_log_variances(train, synthetic)
    seen, unseen = log_densities(train, synthetic, log_variances), log_densities(test, synthetic, log_variances)
    base = log_densities(test, baseline, fit_log_variances(train, baseline))
    gain = float(_log_sum(unseen, axis=1).mean() - _log_sum(base, axis=1).mean()) * 2.0 / width
    overfit = float(100.0 * np.mean(_log_sum(seen, axis=0) > _log_sum(unseen, axis=0)) - 50.0)
    too_high = NotComputable("the baseline has no likelihood to compare with: the training images hold copies of one another")
    return {"fls": 100.0 * math.exp(gain) if gain < math.log(1e12) else too_high, "fls_overfit": overfit}


def fit_log_variances(images: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return the log-variance of the Gaussian round each of (M, F) centres that makes (N, F) images likely, (M,).

    A hundred steps of Adam (Kingma & Ba 2015, arXiv:1412.6980) from variance 1 with rate 0.5, after fifty steps 0.05, and the
    log-variances kept between -100 and 20, as in dgm-eval: the score is defined by these steps, which stop before the optimum.
    """
    width = images.shape[1]
    squared = _squared_distances(images, centres)
    log_variance, first, second = np.zeros((3, len(centres)))
    for step in range(1, _STEPS + 1):
        precision = 0.5 * np.exp(-log_variance)
        share = squared * -precision
        share -= 0.5 * width * log_variance
        share -= share.max(axis=1, keepdims=True)
        np.exp(share, out=share)
        share /= share.sum(axis=1, keepdims=True)
        # The derivative of the mean of log sum exp, with the share of each centre in the density at each image.
        gradient = (0.5 * width * share.sum(axis=0) - np.einsum("nm,nm->m", share, squared) * precision) / len(images)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        rate = (_RATE if step <= _STEPS // 2 else 0.1 * _RATE) / (1.0 - 0.9**step)
        log_variance = log_variance - rate * first / (np.sqrt(second / (1.0 - 0.999**step)) + 1e-8)
        log_variance = np.clip(log_variance, _LOWEST, _HIGHEST)
    return log_variance


def log_densities(images: np.ndarray, centres: np.ndarray, log_variances: np.ndarray) -> np.ndarray:
    """Return the log-density of each of (N, F) images under the Gaussian round each of (M, F) centres, over M, (N, M)."""
    width, count = centres.shape[1], len(centres)
    exponent = -0.5 * _squared_distances(images, centres) * np.exp(-log_variances)
    return np.asarray(exponent - 0.5 * width * (log_variances + math.log(2.0 * math.pi)) - math.log(count))


def _log_sum(exponent: np.ndarray, axis: int) -> np.ndarray:
    """Return log sum exp along an axis."""
    highest = exponent.max(axis=axis, keepdims=True)
    return np.asarray(np.log(np.exp(exponent - highest).sum(axis=axis)) + highest.squeeze(axis))


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return (N, M) squared Euclidean distances; the features are standardised, so the expanded form keeps its digits."""
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * (a @ b.T)
    return np.asarray(np.maximum(squared, 0.0))


def _drawn(features: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` random rows; they are ranked before they are drawn, so their order does not matter."""
    order = ranked(features)
    return features[order[rng.permutation(len(features))[:count]]]
