"""How good the answers of a classifier are: ranking, decisions at a threshold, calibration, entropy; and values per case of each.

Everything works on plain arrays and on one question at a time: is this label there or not? More than two classes are asked one by
one against the rest; `macro` then takes the mean over questions. A statistic is None where it is undefined, never 0.

A mean over cases (entropy, Brier score) has a value per case as it is. Any other statistic is given per case as pseudo-values
theta + (n - 1) (mean of theta_(-j) - theta_(-i)), with theta_(-i) the statistic without case i: their mean is theta itself, and their
variance over cases, divided by n, is the jackknife's (Efron and Stein, Annals of Statistics 9, 1981). An interval of their mean is
therefore an interval of the statistic. They are about the whole set: the mean over a part of the cases is not the part's statistic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import entr
from scipy.stats import rankdata

BINS = 15
# Fewer on a side and one case left out leaves nothing to compute from, so that the spread over cases is unknown.
LEAST = 2


@dataclass(frozen=True)
class Macro:
    """The unweighted mean over the questions that have a value, None where none has; `undefined`: places of those that have none."""

    value: float | None
    undefined: tuple[int, ...]


def macro(values: Sequence[float | None]) -> Macro:
    """Return the mean over questions; the undefined ones are listed and not averaged as 0."""
    defined = [value for value in values if value is not None]
    undefined = tuple(place for place, value in enumerate(values) if value is None)
    return Macro(float(np.mean(defined)) if defined else None, undefined)


def auroc(score: np.ndarray, positive: np.ndarray) -> float | None:
    """Return the area under the ROC curve, ties counted half; None where a class is missing. score: (N,); positive: (N,), 0 or 1."""
    score, positive = _question(score, positive)
    if positive.all() or not positive.any():
        return None
    return float(_placements(score, positive)[positive].mean())


def average_precision(score: np.ndarray, positive: np.ndarray) -> float | None:
    """Return the area under the precision-recall curve as average precision; None where no case is positive.

    The sum over distinct scores of (rise of the recall) x precision, not the trapezoid, which is too optimistic (Davis and
    Goadrich, ICML 2006). score: (N,); positive: (N,), 0 or 1.
    """
    score, positive = _question(score, positive)
    if not positive.any():
        return None
    _, hits, found, seen = _steps(score, positive)
    return float((hits * found / seen).sum() / positive.sum())


def f1(decided: np.ndarray, positive: np.ndarray) -> float | None:
    """Return 2 TP / (2 TP + FP + FN); None where no case is positive, because it could only be 0. Both (N,), 0 or 1."""
    tp, fp, fn = _counts(decided, positive)
    return _f1(tp, fp, fn) if tp + fn else None


def precision(decided: np.ndarray, positive: np.ndarray) -> float | None:
    """Return TP / (TP + FP); None where no case is decided to be positive. Both (N,), 0 or 1."""
    tp, fp, fn = _counts(decided, positive)
    return _precision(tp, fp, fn) if tp + fp else None


def recall(decided: np.ndarray, positive: np.ndarray) -> float | None:
    """Return TP / (TP + FN); None where no case is positive. Both (N,), 0 or 1."""
    tp, fp, fn = _counts(decided, positive)
    return _recall(tp, fp, fn) if tp + fn else None


def f1_threshold(score: np.ndarray, positive: np.ndarray, candidates: np.ndarray | None = None) -> float | None:
    """Return the threshold t at which deciding `score >= t` has the largest F1, the lowest of equals; None where no case is positive.

    For validation cases only: a threshold that was chosen on the cases it is tested on makes the F1 too high. candidates: the
    thresholds to choose from, the observed scores where not given.
    """
    score, positive = _question(score, positive)
    if not positive.any():
        return None
    rising = np.unique(score if candidates is None else np.asarray(candidates, dtype=np.float64))
    decided = len(score) - np.searchsorted(np.sort(score), rising, side="left")
    right = int(positive.sum()) - np.searchsorted(np.sort(score[positive]), rising, side="left")
    return float(rising[np.argmax(2.0 * right / (decided + positive.sum()))])


def ece(chance: np.ndarray, positive: np.ndarray, bins: int = BINS, *, left_closed: bool = False, equal_mass: bool = False) -> float:
    """Return the expected calibration error of the chance of being positive: the mean over bins of |share - mean chance|, by size.

    Bins are of equal width, (lo, hi] with edges at exactly k / bins and 0 in the first (Naeini, Cooper and Hauskrecht, AAAI 2015,
    for one label). chance: (N,), 0 to 1; positive: (N,), 0 or 1. left_closed: [lo, hi) with 1 in a bin of its own. equal_mass: bins
    of equal size in the order of the chance instead. Never below 0, so it is biased upwards, the more the fewer cases and the
    better the calibration: a calibrated model has about 0.11 at 100 cases and 0.06 at 400. `squared_calibration_error` is not biased.
    """
    chance, positive = _chances(chance, positive)
    places = _equal_mass(chance, bins) if equal_mass else _bins(chance, bins, left_closed=left_closed)
    return float(np.abs(np.bincount(places, weights=positive - chance)).sum() / len(chance))


def top_label_ece(chance: np.ndarray, positive: np.ndarray, bins: int = BINS) -> float:
    """Return the ECE of the label decided on (Guo et al., ICML 2017): confidence max(p, 1 - p) against how often it is right.

    About half as large as `ece`, so never compared with it. chance: (N,), positive: (N,), 0 or 1; p of 1/2 decides for positive.
    """
    chance, positive = _chances(chance, positive)
    return ece(np.maximum(chance, 1.0 - chance), (chance >= 0.5) == positive, bins)


def squared_calibration_error(chance: np.ndarray, positive: np.ndarray, bins: int = BINS) -> float:
    """Return the squared calibration error without the bias of `ece`: mean over bins of (share - mean chance)^2, by size.

    From each bin's square its sampling variance is subtracted (Broecker, Climate Dynamics 39, 2012; Kumar, Liang and Ma, NeurIPS
    2019), so that its mean is 0 for a calibrated model and single values may lie below 0; a bin of one case counts 0. The bins and
    arguments are those of `ece`.
    """
    chance, positive = _chances(chance, positive)
    sums, squares, sizes = _by_bin(chance, positive, bins)
    return float(_squares(sums, squares, sizes).sum() / len(chance))


def binary_entropy(chance: np.ndarray) -> np.ndarray:
    """Return the predictive entropy of each chance, -p ln p - (1 - p) ln(1 - p), in nats and of the same shape."""
    return np.asarray(entr(chance) + entr(1.0 - np.asarray(chance, dtype=np.float64)))


def categorical_entropy(chances: np.ndarray) -> np.ndarray:
    """Return the predictive entropy over the classes, (N,), in nats. chances: (N, K), every row sums to 1."""
    return np.asarray(entr(chances).sum(axis=1))


def pseudo_values(value: float, left_out: np.ndarray) -> np.ndarray:
    """Return (N,) values whose mean is `value` and whose variance over cases / N is the jackknife's. left_out: without each case."""
    return np.asarray(value + (len(left_out) - 1) * (left_out.mean() - left_out))


def auroc_per_case(score: np.ndarray, positive: np.ndarray) -> np.ndarray | None:
    """Return (N,) values whose mean is the AUROC and whose variance over cases / N is DeLong's; None with < 2 of either class.

    AUROC + (V_i - AUROC) n / n_class(i), with V_i the share of cases of the other class that case i is ranked correctly
    against, ties half (placement value, or structural component; DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988).
    """
    score, positive = _question(score, positive)
    enough = LEAST <= positive.sum() <= len(positive) - LEAST
    return _binary_pseudo_values(score, positive) if enough else None


def average_precision_per_case(score: np.ndarray, positive: np.ndarray) -> np.ndarray | None:
    """Return (N,) pseudo-values of `average_precision`; None with fewer than two positive cases. n log n operations."""
    score, positive = _question(score, positive)
    total = int(positive.sum())
    if total < LEAST:
        return None
    place, hits, found, seen = _steps(score, positive)
    value = float((hits * found / seen).sum() / total)
    before = np.concatenate([[0.0], np.cumsum(hits * found / seen)])
    # A case that is left out lowers the counts of its own step and of all that follow; alone in its step, the step goes.
    fewer = np.maximum(seen - 1, 1)
    after_negative = _from_here(hits * found / fewer)
    after_positive = _from_here(hits * (found - 1) / fewer)
    without_negative = (before[place] + after_negative[place]) / total
    own = (hits - 1) * (found - 1) / fewer
    without_positive = (before[place] + own[place] + after_positive[place + 1]) / (total - 1)
    return pseudo_values(value, np.where(positive, without_positive, without_negative))


def f1_per_case(decided: np.ndarray, positive: np.ndarray) -> np.ndarray | None:
    """Return (N,) pseudo-values of `f1`; None with fewer than two positive cases."""
    tp, _, fn = _counts(decided, positive)
    return _ratio_per_case(_f1, decided, positive) if tp + fn >= LEAST else None


def precision_per_case(decided: np.ndarray, positive: np.ndarray) -> np.ndarray | None:
    """Return (N,) pseudo-values of `precision`; None with fewer than two cases that are decided to be positive."""
    tp, fp, _ = _counts(decided, positive)
    return _ratio_per_case(_precision, decided, positive) if tp + fp >= LEAST else None


def recall_per_case(decided: np.ndarray, positive: np.ndarray) -> np.ndarray | None:
    """Return (N,) pseudo-values of `recall`; None with fewer than two positive cases."""
    tp, _, fn = _counts(decided, positive)
    return _ratio_per_case(_recall, decided, positive) if tp + fn >= LEAST else None


def ece_per_case(chance: np.ndarray, positive: np.ndarray, bins: int = BINS) -> np.ndarray | None:
    """Return (N,) pseudo-values of `ece`, whose interval is not to be trusted; None with fewer than two cases.

    In simulations the bias left the truth of a calibrated model outside 97 % of the 95 % intervals of 400 cases.
    """
    chance, positive = _chances(chance, positive)
    if len(chance) < LEAST:
        return None
    off, place = positive - chance, _bins(chance, bins)
    sums = np.bincount(place, weights=off, minlength=bins)
    total = np.abs(sums).sum()
    left_out = (total - np.abs(sums[place]) + np.abs(sums[place] - off)) / (len(off) - 1)
    return pseudo_values(float(total / len(off)), left_out)


def squared_calibration_error_per_case(chance: np.ndarray, positive: np.ndarray, bins: int = BINS) -> np.ndarray | None:
    """Return (N,) pseudo-values of `squared_calibration_error`; None with fewer than two cases."""
    chance, positive = _chances(chance, positive)
    if len(chance) < LEAST:
        return None
    off, place = positive - chance, _bins(chance, bins)
    sums, squares, sizes = _by_bin(chance, positive, bins)
    whole = _squares(sums, squares, sizes)
    without = _squares(sums[place] - off, squares[place] - off**2, sizes[place] - 1)
    left_out = (whole.sum() - whole[place] + without) / (len(off) - 1)
    return pseudo_values(float(whole.sum() / len(off)), left_out)


def log_odds(logits: np.ndarray) -> np.ndarray:
    """Return (N, K) log odds of each class against the rest: no ties where probabilities would round to 0 or 1."""
    odds = np.empty_like(logits)
    for k in range(logits.shape[1]):
        odds[:, k] = logits[:, k] - np.logaddexp.reduce(np.delete(logits, k, axis=1), axis=1)
    return odds


def auroc_pseudo_values(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (N,) values whose mean is the AUROC of the second class, or with more classes the mean over one against the rest.

    They are those of `auroc_per_case`, for cases of every class. logits: (N, K); labels: (N,), from 0 to K - 1.
    """
    columns = [logits.shape[1] - 1] if logits.shape[1] == 2 else range(logits.shape[1])
    odds = log_odds(logits)
    return np.mean([_binary_pseudo_values(odds[:, k], labels == k) for k in columns], axis=0)


def brier_scores(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (N,) squared distances of the predicted probabilities to the truth, summed over classes (Brier, 1950): 0 to 2."""
    chance = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    return np.asarray(((chance - np.eye(logits.shape[1])[labels]) ** 2).sum(axis=1))


def _zero_or_one(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    if not np.isin(values, (0, 1)).all():
        raise ValueError("answers must be 0 or 1")
    return values.astype(bool)


def _question(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return scores as float64 and answers as bool, (N,) each; `ValueError` where they are not that."""
    score = np.asarray(score, dtype=np.float64)
    if score.ndim != 1 or score.shape != np.shape(positive) or not len(score):
        raise ValueError(f"scores and answers must be of one shape (N,), got {score.shape} and {np.shape(positive)}")
    if not np.isfinite(score).all():
        raise ValueError("scores must be finite")
    return score, _zero_or_one(positive)


def _chances(chance: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    chance, positive = _question(chance, positive)
    if chance.min() < 0.0 or chance.max() > 1.0:
        raise ValueError(f"chances must be between 0 and 1, got {chance.min():g} to {chance.max():g}")
    return chance, positive


def _placements(score: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Return for each case the share of cases of the other class that it is ranked correctly against, ties half."""
    n, n_positive = len(score), int(positive.sum())
    # The mid-rank among all cases less the mid-rank among one's own class counts the other class below.
    rank, own = rankdata(score), np.empty(n)
    own[positive], own[~positive] = rankdata(score[positive]), rankdata(score[~positive])
    below = rank - own
    return np.asarray(np.where(positive, below / (n - n_positive), 1.0 - below / n_positive))


def _binary_pseudo_values(score: np.ndarray, positive: np.ndarray) -> np.ndarray:
    n, n_positive = len(score), int(positive.sum())
    placement = _placements(score, positive)
    area = placement[positive].mean()
    return np.asarray(area + (placement - area) * n / np.where(positive, n_positive, n - n_positive))


def _steps(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the step of each case, and of each distinct score from the highest down: its positives, those and all cases so far."""
    _, place = np.unique(-score, return_inverse=True)
    hits = np.bincount(place, weights=positive)
    return place, hits, np.cumsum(hits), np.cumsum(np.bincount(place))


def _from_here(values: np.ndarray) -> np.ndarray:
    """Return the sum of each value and all that follow it, and a last 0."""
    return np.concatenate([np.cumsum(values[::-1])[::-1], [0.0]])


def _counts(decided: np.ndarray, positive: np.ndarray) -> tuple[int, int, int]:
    """Return the numbers of true positives, false positives and false negatives."""
    _, positive = _question(decided, positive)
    decided = _zero_or_one(decided)
    return int((decided & positive).sum()), int((decided & ~positive).sum()), int((~decided & positive).sum())


def _f1(tp: int, fp: int, fn: int) -> float:
    return 2 * tp / (2 * tp + fp + fn)


def _precision(tp: int, fp: int, fn: int) -> float:
    return tp / (tp + fp)


def _recall(tp: int, fp: int, fn: int) -> float:
    return tp / (tp + fn)


def _ratio_per_case(ratio: Callable[[int, int, int], float], decided: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Return the pseudo-values of a ratio of counts, which without a case is one of four values."""
    tp, fp, fn = _counts(decided, positive)
    decided, positive = _zero_or_one(decided), _zero_or_one(positive)
    value = ratio(tp, fp, fn)
    left_out = np.full(len(decided), value)
    for cell, counts in ((decided & positive, (tp - 1, fp, fn)), (decided & ~positive, (tp, fp - 1, fn)),
                         (~decided & positive, (tp, fp, fn - 1))):  # fmt: skip
        if cell.any():
            left_out[cell] = ratio(*counts)
    return pseudo_values(value, left_out)


def _bins(chance: np.ndarray, bins: int, *, left_closed: bool = False) -> np.ndarray:
    """Return the bin of each chance. The edges are divided one by one: linspace moves some of them by a rounding error."""
    edges = np.arange(bins + 1) / bins
    if left_closed:
        return np.searchsorted(edges, chance, side="right") - 1
    return np.maximum(np.searchsorted(edges, chance, side="left") - 1, 0)


def _equal_mass(chance: np.ndarray, bins: int) -> np.ndarray:
    places = np.empty(len(chance), dtype=np.int64)
    for place, rows in enumerate(np.array_split(np.argsort(chance, kind="stable"), bins)):
        places[rows] = place
    return places


def _by_bin(chance: np.ndarray, positive: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return by bin the sum of answer less chance, the sum of its squares, and the number of cases."""
    off, place = positive - chance, _bins(chance, bins)
    sums, squares = (np.bincount(place, weights=values, minlength=bins) for values in (off, off**2))
    return sums, squares, np.bincount(place, minlength=bins)


def _squares(sums: np.ndarray, squares: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return each bin's size times its squared distance to calibration less its sampling variance; 0 for a bin of fewer than two."""
    return np.where(sizes >= LEAST, (sums**2 - squares) / np.maximum(sizes - 1, 1), 0.0)
