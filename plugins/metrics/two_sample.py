"""Two-sample tests by classifiers: can synthetic images be told from real ones by their features?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, Metric, NotComputable, Quantity

from .frechet import ranked

Classifier = Literal["lda", "logistic", "knn"]
Role = Literal["train", "test", "synthetic"]


class TwoSample(Metric):
    """Cross-validated classifier two-sample test: how well a classifier tells synthetic from real images by their features.

    A classifier learns on all folds but one and scores the images of that one (C2ST, Lopez-Paz & Oquab 2017, arXiv:1610.06545).
    auroc: area under the curve of the out-of-fold scores, mean over folds; accuracy: mean of the shares of real and of
    synthetic images that are classified correctly. Both lie between 0 and 1; 0.5 is indistinguishable and lower is better.
    Values below 0.5 occur by chance. The expected values grow with the number of images, from which the classifier learns.

    classifier: `lda`, linear discriminant analysis with the covariance shrunk towards its mean variance by `shrinkage` (the
    default, because its solution is exact and quick); `logistic`, logistic regression with penalty 1; `knn`, the share of
    synthetic images among the sqrt(n) nearest. Features are scaled by their mean and standard deviation over both sides, which
    uses no label, so two samples of one distribution have an expected auroc of 0.5 exactly. Images of one patient (or cut from
    one image) fall into one fold, as far as their patients are known; synthetic images are taken as independent.

    It sees any difference that the classifier can learn: the linear ones see differences of means of the features, `knn` local
    differences of density. It is blind to copies of training images: a generator that only copies cannot be told from its
    training images, whichever side is compared.
    """

    name = "two_sample"
    version = "1"
    needs = frozenset({"features"})
    quantities = (
        Quantity(name="auroc", better="lower", low=0.0, high=1.0, biased_in_n=True, family="distance"),
        Quantity(name="accuracy", better="lower", low=0.0, high=1.0, biased_in_n=True, family="distance"),
    )
    sees = frozenset({FailureMode.NOISE, FailureMode.BLUR, FailureMode.DISTRIBUTION_SHIFT})
    blind_to = frozenset({FailureMode.MEMORISATION})
    in_suite = True

    against: Literal["train", "test"] = "train"
    classifier: Classifier = "lda"
    folds: int = Field(5, ge=2)
    shrinkage: float = Field(0.1, gt=0.0, allow_inf_nan=False)

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Return area and accuracy, means over the folds."""
        folds = self._folds(comparison, context)
        return {
            "auroc": float(np.mean([_area(f.scores[~f.synthetic], f.scores[f.synthetic]) for f in folds])),
            "accuracy": float(np.mean([_balanced_accuracy(f) for f in folds])),
        }

    def per_image(self, comparison: Comparison, context: Context) -> dict[str, np.ndarray]:
        """Return how far the out-of-fold score of each synthetic image lies above the real ones' mean, in their deviations."""
        real = comparison.n(self.against)
        above = np.empty(comparison.n("synthetic"))
        for fold in self._folds(comparison, context):
            of_real = fold.scores[~fold.synthetic]
            spread = float(of_real.std())
            if spread == 0.0:
                return {}
            above[fold.rows[fold.synthetic] - real] = (fold.scores[fold.synthetic] - of_real.mean()) / spread
        return {"auroc": above}

    def _folds(self, comparison: Comparison, context: Context) -> list[_Fold]:
        units = comparison.units(self.against), comparison.units("synthetic")
        sizes = [len(np.unique(side)) for side in units]
        if min(sizes) < self.folds:
            raise NotComputable(
                f"{self.folds} folds need {self.folds} independent images on each side, got {sizes[0]} real and {sizes[1]} synthetic"
            )
        sides = comparison.centred(self.against), comparison.centred("synthetic")
        fold_of = [assign_folds(x, own, self.folds, context.rng) for x, own in zip(sides, units, strict=True)]
        x, y = standardised(np.concatenate(sides)), np.repeat([False, True], [len(side) for side in sides])
        scored = _SCORERS[self.classifier](x, y, np.concatenate(fold_of), self.folds, self.shrinkage)
        return [_Fold(rows, scores, y[rows]) for rows, scores in scored]


class NearestNeighbourTest(Metric):
    """Leave-one-out nearest-neighbour two-sample test: is an image's nearest neighbour of its own kind?

    real_accuracy and synthetic_accuracy: share of real, and of synthetic, images whose nearest neighbour among all others is of
    their own side (Schilling 1986, JASA 81:799; Lopez-Paz & Oquab 2017, arXiv:1610.06545; the baseline of Meehan et al. 2020,
    arXiv:2004.05675); equal distances count half. accuracy: their mean, whose expected value for equal distributions is 0.5
    whatever the numbers of images. From 0 to 1. Above 0.5 the sides can be told apart; below it they are nearer to each other
    than to themselves, as copies are, so a low value is good only down to 0.5. Synthetic images low and real ones high: the
    generator makes variants of few real images. Blind to differences that are small against the distances between images.
    """

    name = "nearest_neighbour_test"
    version = "1"
    needs = frozenset({"features"})
    quantities = (
        Quantity(name="accuracy", better="lower", low=0.0, high=1.0, biased_in_n=True, family="distance"),
        Quantity(name="real_accuracy", better="lower", low=0.0, high=1.0, biased_in_n=True, family="distance"),
        Quantity(name="synthetic_accuracy", better="lower", low=0.0, high=1.0, biased_in_n=True, family="distance"),
    )
    takes = frozenset({"embedding", "distances"})
    sees = frozenset({FailureMode.NOISE, FailureMode.BLUR, FailureMode.DISTRIBUTION_SHIFT, FailureMode.MODE_COLLAPSE})

    against: Literal["train", "test"] = "train"

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Return the shares of images whose nearest neighbour is of their own side."""
        n, m = comparison.n(self.against), comparison.n("synthetic")
        if min(n, m) < 2:
            raise NotComputable(f"a nearest neighbour of its own side needs 2 images on each, got {n} real and {m} synthetic")
        real = _own_kind(comparison, self.against, "synthetic")
        synthetic = _own_kind(comparison, "synthetic", self.against)
        return {"accuracy": (real + synthetic) / 2.0, "real_accuracy": real, "synthetic_accuracy": synthetic}


def _own_kind(comparison: Comparison, role: Role, other: Role) -> float:
    """Return the share of the images of a side whose nearest neighbour is of their own side, equal distances counting half."""
    own, across = (comparison.neighbours(role, among, 1)[0][:, 0] for among in (role, other))
    return float(np.mean((own < across) + 0.5 * (own == across)))


@dataclass(frozen=True)
class _Fold:
    """Images that a classifier did not learn from. rows: of the real rows followed by the synthetic; scores: above 0 is synthetic."""

    rows: np.ndarray
    scores: np.ndarray
    synthetic: np.ndarray


def assign_folds(features: np.ndarray, units: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Return the fold of each image, (N,) int64: units stay together, folds are as equal as units allow, none is empty.

    The images are ranked by their features before anything is drawn, so the order in which they come does not matter.
    """
    order = ranked(features)
    _, first, label, count = np.unique(units[order], return_index=True, return_inverse=True, return_counts=True)
    by_rank = np.argsort(first)
    drawn = by_rank[rng.permutation(len(by_rank))]
    # Large units first, each to the fold that is smallest so far.
    fold_of_unit = np.empty(len(first), dtype=np.int64)
    filled = np.zeros(folds, dtype=np.int64)
    for unit in drawn[np.argsort(-count[drawn], kind="stable")]:
        fold_of_unit[unit] = np.argmin(filled)
        filled[fold_of_unit[unit]] += count[unit]
    fold = np.empty(len(features), dtype=np.int64)
    fold[order] = fold_of_unit[label]
    return fold


def standardised(features: np.ndarray) -> np.ndarray:
    """Return (N, F) scaled to mean 0 and standard deviation 1; columns that are constant say nothing and are left out."""
    varying = features[:, (features != features[:1]).any(axis=0)]
    return (varying - varying.mean(axis=0)) / varying.std(axis=0)


Scored = Iterator[tuple[np.ndarray, np.ndarray]]


def lda_scores(x: np.ndarray, y: np.ndarray, fold: np.ndarray, folds: int, shrinkage: float) -> Scored:
    """Yield per fold its rows and their scores by linear discriminant analysis on the other folds.

    The direction is that of the ridge regression of the labels with penalty shrinkage * n, which is (S + shrinkage I)^-1
    (m_s - m_r) up to its length (Hastie et al. 2009, The Elements of Statistical Learning, exercise 4.2). It is found among the
    features or, where these outnumber the images, among the images. 0 lies halfway between the means of the two sides.
    """
    scores = _primal if x.shape[1] <= len(x) else _dual
    yield from scores(x, y.astype(np.float64), fold, folds, shrinkage)


def _primal(x: np.ndarray, y: np.ndarray, fold: np.ndarray, folds: int, shrinkage: float) -> Scored:
    rows = [np.flatnonzero(fold == k) for k in range(folds)]
    parts = [x[r] for r in rows]
    products = [part.T @ part for part in parts]
    product, total, sides = sum(products), x.sum(axis=0), np.stack([(1.0 - y) @ x, y @ x])
    for k in range(folds):
        held = y[rows[k]]
        counts = np.array([(1.0 - y).sum() - (1.0 - held).sum(), y.sum() - held.sum()])
        means = (sides - np.stack([(1.0 - held) @ parts[k], held @ parts[k]])) / counts[:, None]
        n = counts.sum()
        mean = (total - parts[k].sum(axis=0)) / n
        scatter = product - products[k] - n * np.outer(mean, mean)
        scatter[np.diag_indices_from(scatter)] += shrinkage * n
        direction = np.linalg.solve(scatter, means[1] - means[0])
        yield rows[k], (parts[k] - means.mean(axis=0)) @ direction


def _dual(x: np.ndarray, y: np.ndarray, fold: np.ndarray, folds: int, shrinkage: float) -> Scored:
    products = x @ x.T
    for k in range(folds):
        held, kept = np.flatnonzero(fold == k), np.flatnonzero(fold != k)
        within = products[np.ix_(kept, kept)]
        penalised = within.copy()
        penalised[np.diag_indices_from(penalised)] += shrinkage * len(kept)
        labels, constant = np.linalg.solve(penalised, np.stack([y[kept], np.ones(len(kept))], axis=1)).T
        weights = labels - constant * (labels.sum() / constant.sum())
        learnt, of = within @ weights, y[kept] > 0
        halfway = (learnt[of].mean() + learnt[~of].mean()) / 2.0
        yield held, products[np.ix_(held, kept)] @ weights - halfway


def _logistic(x: np.ndarray, y: np.ndarray, fold: np.ndarray, folds: int, _shrinkage: float) -> Scored:
    from sklearn.linear_model import LogisticRegression

    for k in range(folds):
        held = fold == k
        model = LogisticRegression(class_weight="balanced", max_iter=1000).fit(x[~held], y[~held])
        yield np.flatnonzero(held), model.decision_function(x[held])


def _knn(x: np.ndarray, y: np.ndarray, fold: np.ndarray, folds: int, _shrinkage: float) -> Scored:
    from sklearn.neighbors import NearestNeighbors

    for k in range(folds):
        held = fold == k
        learnt = y[~held]
        model = NearestNeighbors(n_neighbors=math.isqrt(len(learnt))).fit(x[~held])
        nearest = model.kneighbors(x[held], return_distance=False)
        yield np.flatnonzero(held), learnt[nearest].mean(axis=1) - learnt.mean()


_SCORERS: dict[Classifier, Callable[[np.ndarray, np.ndarray, np.ndarray, int, float], Scored]] = {
    "lda": lda_scores,
    "logistic": _logistic,
    "knn": _knn,
}


def _area(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Return the share of pairs in which the synthetic image has the higher score, equal scores counting half."""
    ordered = np.sort(real)
    below, not_above = np.searchsorted(ordered, synthetic, "left"), np.searchsorted(ordered, synthetic, "right")
    return float((below + not_above).mean() / (2.0 * len(real)))


def _balanced_accuracy(fold: _Fold) -> float:
    """Return the mean of the two shares that lie on their own side of 0, a score of 0 counting half."""
    called = 0.5 + 0.5 * np.sign(fold.scores)
    return float((called[fold.synthetic].mean() + 1.0 - called[~fold.synthetic].mean()) / 2.0)
