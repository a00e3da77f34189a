"""U-statistics for multi-reader multi-case studies of any design, and the designs themselves.

`scores` (modality, reader, case) hold ratings, higher for a positive case, NaN where a reader did not rate a case; `truth` (case,) is 0 or
1. A study may be unbalanced: readers may have rated different cases, in one modality or in both. Each rated cell (for an AUC, each pair
of a negative and a positive case that a reader rated) counts once. The variance of their mean is less the mean product of the deviations of
two cells that share neither reader nor case (Gallas 2006, Acad. Radiol. 13:353; Gallas, Pennello & Myers 2007, J. Opt. Soc. Am. A 24:B70;
Gallas & Brown 2008, Neural Networks 21:387). They take raw values and subtract from the square of the mean; where all was rated that is
the same. With a tenth of the ratings of 5 readers and 60 cases missing, deviations halve the spread of the variance, which is right on
average either way (250 simulated studies).

The variance can be negative: that under the empirical distribution of readers and cases then takes its place. Obuchowski and Rockette's
would not do: with unbiased covariances it is this one, but for a part over cases that counts as 0 where it is negative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import stats

from .intervals import LEVEL

AUC_RANGE = (0.0, 1.0)
_TINY = 1e-14
_Margins = dict[tuple[int, ...], np.ndarray]


class Contrast(NamedTuple):
    """Modality a minus modality b, by position, with its two-sided 95 % interval; df is None for a normal test."""

    a: int
    b: int
    difference: float
    se: float
    df: float | None
    statistic: float
    p: float
    low: float
    high: float


@dataclass(frozen=True)
class Study:
    """A checked study without unrated cases and absent readers, which are counted.

    design: crossed or nested where an analysis of variance is possible; else status and reason say why it is not.
    """

    scores: np.ndarray
    truth: np.ndarray
    design: str
    status: str
    reason: str
    unrated: int
    absent: int

    def of(self, modality: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the ratings (reader, case) and the truth of the cases that somebody rated in a modality."""
        cases = ~np.isnan(self.scores[modality]).all(axis=0)
        return self.scores[modality][:, cases], self.truth[cases]


def study(scores: np.ndarray, truth: np.ndarray) -> Study:
    """Return the study, its design and what stands against an analysis. ValueError: wrong shapes, truth that is not 0 or 1, infinities."""
    scores, truth = np.asarray(scores, dtype=np.float64), np.asarray(truth)
    if scores.ndim != 3 or truth.shape != scores.shape[2:]:
        raise ValueError(f"scores are (modality, reader, case) and truth is (case,), got {scores.shape} and {truth.shape}")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("the truth of every case is 0 or 1")
    if np.isinf(scores).any():
        raise ValueError("scores must be finite, or NaN where there is none")
    rated = ~np.isnan(scores)
    some, readers = rated.any(axis=(0, 1)), rated.any(axis=(0, 2))
    scores, truth, rated = scores[:, readers][:, :, some], truth[some].astype(np.int64), rated[:, readers][:, :, some]
    status, reason = _against(rated, truth)
    design = ("crossed" if rated.any(axis=1).all() else "nested") if status == "ok" else ""
    return Study(scores, truth, design, status, reason, int((~some).sum()), int((~readers).sum()))


def _against(rated: np.ndarray, truth: np.ndarray) -> tuple[str, str]:
    """Return the status and the reason why there can be no analysis of variance, or ok."""
    if not rated.any() or not rated.any(axis=(1, 2)).all():
        return "undefined_no_data", "a modality has no rating"
    in_modality: np.ndarray = np.asarray(rated.any(axis=1))
    for m, cases in enumerate(in_modality):
        counts = np.bincount(truth[cases], minlength=2)
        if counts.min() == 0:
            missing = "positive" if counts[1] == 0 else "negative"
            return "undefined_one_class", f"modality {m + 1} has no {missing} case, so it has no AUC"
        if counts.min() == 1:
            return "undefined_too_few_cases", f"modality {m + 1} has a class of one case; a variance over cases needs two of each"
    if (rated != in_modality[:, None, :]).any():
        return "undefined_unbalanced", "not every reader rated every case of every modality; U-statistics can analyse that"
    overlap = in_modality.astype(np.int64) @ in_modality.T.astype(np.int64)
    apart = not np.triu(overlap, 1).any()
    if not in_modality.all() and not apart:
        return "undefined_mixed_design", "some modalities share their cases and others do not: compare two at a time, or use U-statistics"
    return "ok", ""


def kernel(negatives: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Return 1, 1/2 or 0 for every pair (..., negative, positive): the positive rated higher, equal, lower; NaN where one has no rating."""
    difference = positives[..., None, :] - negatives[..., :, None]
    return np.asarray((np.sign(difference) + 1) / 2)


def contrast(a: int, b: int, difference: float, se: float, df: float | None) -> Contrast:
    """Return a difference with a positive standard error as a contrast: t with df, or normal where df is None."""
    ratio, tail = difference / se, (1 + LEVEL) / 2
    if df is None:
        reach, p = float(stats.norm.ppf(tail)) * se, 2 * float(stats.norm.sf(abs(ratio)))
    else:
        reach, p = float(stats.t.ppf(tail, df)) * se, 2 * float(stats.t.sf(abs(ratio), df))
    return Contrast(a, b, difference, se, df, ratio, p, difference - reach, difference + reach)


class Estimate(NamedTuple):
    """A mean over readers and cases with its variance and 95 % t interval; method says which variance, unbiased or maximum likelihood."""

    value: float | None
    variance: float | None
    df: float | None
    low: float | None
    high: float | None
    method: str = ""
    status: str = "ok"
    reason: str = ""


@dataclass(frozen=True)
class UStatistics:
    """Two modalities compared by U-statistics.

    a, b: each on its own. difference: a - b. variance: its unbiased variance, negative at times. covariance: of the two means.
    ml_variance: variance under the empirical distribution of readers and cases (the ideal bootstrap), never negative.
    normal, t: the difference with the variance that `method` names, unbiased if that is positive; t has Gallas' degrees of freedom,
    rounded down. note: what must be said beside it.
    """

    status: str
    reason: str = ""
    a: Estimate | None = None
    b: Estimate | None = None
    difference: float | None = None
    variance: float | None = None
    covariance: float | None = None
    ml_variance: float | None = None
    normal: Contrast | None = None
    t: Contrast | None = None
    method: str = ""
    note: str = ""


@dataclass(frozen=True, eq=False)
class _Cells:
    """Values of one modality over (reader, case) or (reader, negative, positive), 0 where unrated, and 1 where rated."""

    values: np.ndarray
    rated: np.ndarray

    @cached_property
    def number(self) -> float:
        """How many cells are rated."""
        return float(self.rated.sum())

    @cached_property
    def mean(self) -> float:
        """The mean of the rated cells."""
        return float(self.values.sum()) / self.number

    @cached_property
    def deviations(self) -> _Margins:
        """Sums of the values less their mean over the other axes, for every choice of axes that are kept."""
        return _margins(self.values - self.mean * self.rated)

    @cached_property
    def counts(self) -> _Margins:
        """Numbers of rated cells over the other axes, for every choice of axes that are kept."""
        return _margins(self.rated)

    def present(self, axis: int) -> np.ndarray:
        """Return which readers, or which cases, have a cell."""
        return self.counts[(axis,)] > 0


def auc_difference(scores: np.ndarray, truth: np.ndarray, a: int = 0, b: int = 1) -> UStatistics:
    """Return the AUCs of modalities a and b of a study, pooled over all rated pairs of cases, and their difference.

    Every reader counts as often as pairs were rated; where all rated the same number that is the mean AUC of the readers.
    """
    found = study(np.asarray(scores)[[a, b]], truth)
    if found.status not in ("ok", "undefined_unbalanced", "undefined_mixed_design"):
        return UStatistics(found.status, found.reason)
    cells = [_cells(kernel(x[:, found.truth == 0], x[:, found.truth == 1])) for x in found.scores]
    return _compare(cells[0], cells[1], AUC_RANGE, (a, b))


def mean_difference(outcomes: np.ndarray, a: int = 0, b: int = 1, within: tuple[float, float] | None = None) -> UStatistics:
    """Return the mean outcomes of modalities a and b and their difference, as the share of correct answers on real and on synthetic images.

    outcomes: (modality, reader, case), 0 or 1 for right and wrong, or any number; NaN where there is none. Case k of two modalities is
    one case: different images have different places. within: the range of the outcomes, to which intervals of means are cut.
    """
    outcomes = np.asarray(outcomes, dtype=np.float64)
    if outcomes.ndim != 3:
        raise ValueError(f"outcomes are (modality, reader, case), got {outcomes.shape}")
    if np.isinf(outcomes).any():
        raise ValueError("outcomes must be finite, or NaN where there is none")
    cells = [_cells(outcomes[m]) for m in (a, b)]
    return _compare(cells[0], cells[1], within, (a, b))


def auc_estimate(scores: np.ndarray, truth: np.ndarray) -> Estimate:
    """Return the AUC of one modality, scores (reader, case), pooled over all rated pairs of cases."""
    found = study(np.asarray(scores)[None], truth)
    if found.status not in ("ok", "undefined_unbalanced"):
        return Estimate(None, None, None, None, None, status=found.status, reason=found.reason)
    negative = found.truth == 0
    return _estimate(_cells(kernel(found.scores[0][:, negative], found.scores[0][:, ~negative])), AUC_RANGE)


def mean_estimate(outcomes: np.ndarray, within: tuple[float, float] | None = None) -> Estimate:
    """Return the mean of outcomes (reader, case) for random readers and cases, as of who found the real image in which grid."""
    return _estimate(_cells(np.asarray(outcomes, dtype=np.float64)), within)


def _cells(values: np.ndarray) -> _Cells:
    rated = ~np.isnan(values)
    return _Cells(np.where(rated, values, 0.0), rated.astype(np.float64))


def _compare(x: _Cells, y: _Cells, within: tuple[float, float] | None, names: tuple[int, int]) -> UStatistics:
    one, other = _estimate(x, within), _estimate(y, within)
    wrong = next((e for e in (one, other) if e.value is None), None)
    if wrong is not None:
        return UStatistics(wrong.status, wrong.reason, one, other)
    difference, likely = x.mean - y.mean, _likely_variance(x, y)
    parts = [_covariance(x, x), _covariance(y, y), _covariance(x, y)]
    found = UStatistics("ok", "", one, other, difference, covariance=parts[2], ml_variance=likely)
    if parts[0] is None or parts[1] is None or parts[2] is None:
        few = "one reader, or one case of a class, does not tell how much they differ"
        return replace(found, status="undefined_too_few", reason=few)
    unbiased = parts[0] + parts[1] - 2 * parts[2]
    found = replace(found, variance=unbiased)
    if likely <= _TINY:
        reason = "every reader has the same difference and it does not vary over cases"
        return replace(found, status="undefined_no_variation", reason=reason)
    chosen, method, note = _positive(unbiased, likely, "the difference")
    df, se = _freedom(x, y, chosen), math.sqrt(chosen)
    normal, t = (contrast(*names, difference, se, freedom) for freedom in (None, math.floor(df)))
    return replace(found, normal=normal, t=t, method=method, note=note)


def _estimate(x: _Cells, within: tuple[float, float] | None) -> Estimate:
    if not x.number:
        return Estimate(
            None, None, None, None, None, status="undefined_no_data", reason="a modality has no rating, or no reader rated both classes"
        )
    value, unbiased = x.mean, _covariance(x, x)
    if unbiased is None:
        few = "one reader, or one case of a class, does not tell how much they differ"
        return Estimate(value, None, None, None, None, status="undefined_too_few", reason=few)
    likely = _likely_covariance(x, x)
    if likely <= _TINY:
        return Estimate(value, 0.0, None, None, None, status="undefined_no_variation", reason="every reader has this value on every case")
    chosen, method, note = _positive(unbiased, likely, "the mean")
    df = math.floor(_freedom(x, None, chosen))
    reach = float(stats.t.ppf((1 + LEVEL) / 2, df)) * math.sqrt(chosen)
    low, high = within or (-math.inf, math.inf)
    return Estimate(value, unbiased, df, max(value - reach, low), min(value + reach, high), method, reason=note)


def _positive(unbiased: float, likely: float, of: str) -> tuple[float, str, str]:
    """Return the variance to use, its name, and what to say where it is not the unbiased one."""
    if unbiased > _TINY:
        return unbiased, "unbiased", ""
    said = f"the unbiased variance of {of} is {unbiased:.2g}, which no variance can be; that of maximum likelihood, {likely:.2g}, is used"
    return likely, "maximum likelihood", said


def _margins(values: np.ndarray) -> _Margins:
    axes = range(values.ndim)
    kept = [chosen for size in range(values.ndim + 1) for chosen in combinations(axes, size)]
    return {chosen: np.asarray(values.sum(axis=tuple(k for k in axes if k not in chosen))) for chosen in kept}


def _sharing(x: _Margins, y: _Margins) -> dict[tuple[int, ...], float]:
    """Return the sum of products of two cells that have the same place on some axes at least, for every choice of those axes."""
    return {kept: float(np.vdot(x[kept], y[kept])) for kept in x}


def _apart(x: _Margins, y: _Margins) -> float:
    """Return the sum of products of two cells that differ on every axis, by inclusion and exclusion."""
    return sum((-1) ** len(kept) * total for kept, total in _sharing(x, y).items())


def _covariance(x: _Cells, y: _Cells) -> float | None:
    """Return the covariance of two means, None where no two cells share neither reader nor case.

    Values are taken from their mean first. Where all was rated that changes nothing and the covariance is unbiased; where ratings are
    missing, cells apart have another mean than all cells, whose square would drown the rest.
    """
    pairs = _apart(x.counts, y.counts)
    return -_apart(x.deviations, y.deviations) / pairs if pairs > 0.5 else None


def _likely_covariance(x: _Cells, y: _Cells) -> float:
    """Return the covariance of two means over samples of readers and cases drawn again, with repetition, from those of the study.

    Drawn n times from n, cell counts have the mean product 1 - 1/n for two readers, or two cases, and 1 more for one and itself. A factor
    that the modalities do not share is drawn for each.
    """
    factors = []
    for axis in range(x.values.ndim):
        one, other = x.present(axis), y.present(axis)
        factors.append(1 - 1 / int((one | other).sum()) if (one & other).any() else 1.0)
    return _drawn_again(x, y, factors)


def _drawn_again(x: _Cells, y: _Cells, factors: Sequence[float]) -> float:
    """Return the covariance of two means whose readers and cases are drawn again; factors: the mean product of two counts, per axis."""
    sums = _sharing(x.deviations, y.deviations)
    parts = (total * math.prod(f for k, f in enumerate(factors) if k not in kept) for kept, total in sums.items() if kept)
    return sum(parts) / (x.number * y.number)


def _likely_variance(x: _Cells, y: _Cells) -> float:
    """Return the variance of a difference under the empirical distribution; never negative, as no variance of a bootstrap is."""
    cross = _likely_covariance(x, y)
    return max(_alone(x, y) + _alone(y, x) - 2 * cross, 0.0)


def _alone(x: _Cells, y: _Cells) -> float:
    """Return the variance of the mean of x, its readers and cases drawn together with those of y where the two share some."""
    factors = []
    for axis in range(x.values.ndim):
        one, other = x.present(axis), y.present(axis)
        drawn = one | other if (one & other).any() else one
        factors.append(1 - 1 / int(drawn.sum()))
    return _drawn_again(x, x, factors)


def _freedom(x: _Cells, y: _Cells | None, variance: float) -> float:
    """Return the degrees of freedom after Gallas (iMRMC): Welch and Satterthwaite over readers and cases, never below the least of them.

    How many readers, or cases, there are: 1 / the sum of their squared shares of the cells.
    """
    total, least = 0.0, math.inf
    for axis in range(x.values.ndim):
        both = [x] if y is None else [x, y]
        shares = [c.counts[(axis,)] / c.number for c in both]
        df = max(1, min(round(1 / float((s**2).sum()) - 1) for s in shares))
        errors = [c.deviations[(axis,)] / c.number for c in both]
        error = errors[0] if y is None else errors[0] - errors[1]
        part = float((error**2).sum()) * (df + 1) / df
        total, least = total + part**2 / df, min(least, df)
    return least if total <= 0 else max(variance**2 / total, least)
