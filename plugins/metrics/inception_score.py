"""Inception Score from any classifier, and its limit for infinitely many images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, Metric, NotComputable, Quantity

from .frechet import SUBSETS_VARY, intercept, order_of, subset_sizes

Edges = Literal["even", "equal"]
Input = Literal["logits", "probabilities"]
_TORCH_FIDELITY_SEED = 2020
_SUM_TO_ONE = 1e-4
_INCONSISTENT = (
    "it rose with some defects and fell with others when Deo et al. 2025 planted them in medical images (Metrics that Matter, "
    "Table 7, row 6)"
)


class InceptionScore(Metric):
    """Inception Score: how sure a classifier is of each synthetic image, and how evenly the images spread over its classes.

    inception_score = exp(mean_x KL(p(y|x) || p(y))), p(y) the mean of p(y|x) over the images, averaged over random splits of the
    synthetic images (Salimans et al. 2016, arXiv:1606.03498). From 1 to the number of classes, and never above the number of
    images in a split, so values compare only at one number of images and splits; higher is better. The published score is that
    of the ImageNet Inception network, whose classes mean nothing for medical images (Barratt & Sharma 2018, arXiv:1801.01973):
    prefer a classifier of the classes at hand, and read the value against its real-against-real floor. It never looks at the
    real images: blind to whether the images resemble them, to lost variety within a class and to copies of training images.

    splits: number of splits, 10 as published. input: whether the extractor gives logits or probabilities that sum to 1. edges: even
    splits use every image (torch-fidelity); equal ones hold n // splits images and leave the rest out (the original code,
    dgm-eval, piq). The first is the default because it ignores no image. order: shuffled draws the splits by the seed,
    whatever order the images come in; torch-fidelity permutes the rows as they come by RandomState(2020); given splits the rows
    as they come, which misleads where they are sorted by class.
    """

    name = "inception_score"
    version = "1"
    needs = frozenset({"features"})
    quantities = (Quantity(name="inception_score", better="higher", low=1.0, biased_in_n=True, family="diversity", doubtful=_INCONSISTENT),)
    sees = frozenset({FailureMode.MODE_COLLAPSE})
    blind_to = frozenset({FailureMode.MEMORISATION})
    takes = frozenset({"logits"})
    in_suite = True

    splits: int = Field(10, ge=1)
    input: Input = "logits"
    edges: Edges = "even"
    order: Literal["shuffled", "torch-fidelity", "given"] = "shuffled"

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Return the mean score of the splits of the synthetic images."""
        outputs = comparison.features("synthetic")
        if len(outputs) < 2 * self.splits:
            raise NotComputable(f"{self.splits} splits need {2 * self.splits} images, since one image alone scores 1, got {len(outputs)}")
        scores = split_scores(log_probabilities(outputs[self._rows(outputs, context)], self.input), self.splits, self.edges)
        context.note("inception_score", f"mean of {self.splits} splits, standard deviation {scores.std():.4g}")
        return {"inception_score": float(scores.mean())}

    def _rows(self, outputs: np.ndarray, context: Context) -> np.ndarray:
        if self.order == "shuffled":
            return order_of(outputs)[context.rng.permutation(len(outputs))]
        if self.order == "torch-fidelity":
            return np.random.RandomState(_TORCH_FIDELITY_SEED).permutation(len(outputs))
        return np.arange(len(outputs))


class InceptionScoreInfinity(Metric):
    """Inception Score extrapolated to infinitely many synthetic images (IS-infinity).

    The score, in one split, of `points` random subsets of the synthetic images is fitted as a straight line in 1 / number of
    images; is_infinity is its intercept (Chong & Forsyth 2020, arXiv:1911.07023). Higher is better; finite sets score too low, so
    it lies above the score of all images. Blind to what the Inception Score is blind to.

    points: number of subsets, their sizes spread evenly. smallest: size of the smallest; None means a tenth of the images, at
    least 2 and at most 5,000, which with 50,000 images is the size of the published code. scale: score fits the score itself, as the
    published code does; log fits its logarithm, the information about the class, whose bias is the one that falls as 1 / n, and
    returns exp of the intercept. input: as in inception_score. repeats: the mean over so many fits to fresh subsets.
    """

    name = "inception_score_infinity"
    version = "1"
    needs = frozenset({"features"})
    quantities = (
        Quantity(
            name="is_infinity", better="higher", biased_in_n=True, family="diversity",
            no_interval=SUBSETS_VARY, doubtful=_INCONSISTENT,
        ),
    )  # fmt: skip
    sees = InceptionScore.sees
    blind_to = InceptionScore.blind_to
    takes = InceptionScore.takes

    points: int = Field(15, ge=2)
    smallest: int | None = Field(None, ge=2)
    scale: Literal["score", "log"] = "score"
    input: Input = "logits"
    repeats: int = Field(1, ge=1)

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Return the intercept of the Inception Score over 1 / number of images."""
        outputs = comparison.features("synthetic")
        sizes = subset_sizes(len(outputs), self.points, self.smallest)
        known = log_probabilities(outputs[order_of(outputs)], self.input)
        fits = []
        for _ in range(self.repeats):
            subsets = (known[context.rng.choice(len(known), size, replace=False)] for size in sizes)
            information = np.array([mean_information(subset) for subset in subsets])
            fits.append(np.exp(intercept(sizes, information)) if self.scale == "log" else intercept(sizes, np.exp(information)))
        context.note("is_infinity", f"lines fitted: {self.repeats}, each through {self.points} subsets of {sizes[0]} to {sizes[-1]} images")
        return {"is_infinity": float(np.mean(fits))}


def log_probabilities(outputs: np.ndarray, kind: Input = "logits") -> np.ndarray:
    """Return (N, C) float64 log p(y|x) of logits or of probabilities; a probability of zero has the logarithm -inf.

    Raises NotComputable for fewer than two classes and for rows that are no probabilities.
    """
    values = np.asarray(outputs, dtype=np.float64)
    if values.shape[1] < 2:
        raise NotComputable(f"a classifier has 2 classes or more, got {values.shape[1]} column")
    if kind == "logits":
        shifted = values - values.max(axis=1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    wrong = int(np.count_nonzero((values < 0.0).any(axis=1) | (np.abs(values.sum(axis=1) - 1.0) > _SUM_TO_ONE)))
    if wrong:
        raise NotComputable(f"{wrong} of {len(values)} rows are no probabilities that sum to 1: are they logits?")
    with np.errstate(divide="ignore"):
        return np.log(values)


def split_scores(known: np.ndarray, splits: int = 10, edges: Edges = "even") -> np.ndarray:
    """Return (splits,) Inception Scores of consecutive parts of log p(y|x), (N, C), in the order given.

    Published values are their mean and their standard deviation, with ddof 0 in torch-fidelity and dgm-eval and ddof 1 in piq.
    """
    return np.array([np.exp(mean_information(part)) for part in _parts(known, splits, edges)])


def mean_information(known: np.ndarray) -> float:
    """Return mean_x KL(p(y|x) || p(y)) in nats from log p(y|x), (N, C): what an image says about the class. 0 or more."""
    probabilities = np.exp(known)
    marginal = probabilities.mean(axis=0)
    # A class of probability zero adds nothing; the entropies are taken apart so that no logarithm of zero is formed.
    own = np.multiply(probabilities, known, out=np.zeros_like(known), where=probabilities > 0.0).sum(axis=1).mean()
    shared = marginal[marginal > 0.0]
    return max(float(own - (shared * np.log(shared)).sum()), 0.0)


def _parts(known: np.ndarray, splits: int, edges: Edges) -> Iterator[np.ndarray]:
    n = len(known)
    for i in range(splits):
        if edges == "even":
            yield known[i * n // splits : (i + 1) * n // splits]
        else:
            yield known[i * (n // splits) : (i + 1) * (n // splits)]
