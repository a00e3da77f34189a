"""Trust factors T1..T5 of Raja Babu et al. 2025 (Position Paper: Building Trust in Synthetic Data for Clinical AI), equations 6 to 10.

A segmentation model is tested on real and on synthetic cases. The equations leave questions open (6 lacks a sum over cases, 7 does not
measure what its text says, no divisor of the standard deviation is given), so every reading is a variant with a name; `VARIANTS` lists
them, the first of each factor is its primary one.

T3 alone says little. With rho the Pearson correlation and CV = T5 (divisor n), exactly T3 = (1 + rho CV_R CV_S) /
sqrt((1 + CV_R^2) (1 + CV_S^2)): sets whose cases have nothing to do with each other score high where Dice vary little. So it stands
beside rho and beside what a random pairing of the same cases gives: the exact mean over all pairings, M mean_R mean_S / (|R| |S|), and the
95 % quantile.

A region that is absent from the truth of a case is NaN and left out: the pair of cases for T3 and T4, the case for T5, the cell of the
row for T1 and T2; `Factor.n` counts the cases that are left.

Intervals. With S training seeds the value is the mean over seeds of each seed's factor. Its variance is the delete-one-patient jackknife
variance of that mean (Efron & Stein 1981; a sum of two where the sets hold different cases) plus the variance between the seeds' factors
divided by S; t has the degrees of freedom of Welch and Satterthwaite. Both parts hold the patient-by-seed residual, so the sum errs on
the wide side. One seed gives the interval for that one trained model, and the method says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from .intervals import LEVEL, varies

TestedOn = Literal["real", "synthetic", "both"]
_SETS: tuple[TestedOn, TestedOn] = ("real", "synthetic")
Statistic = Callable[..., np.ndarray]

MIN_PATIENTS = 10
MIN_FREEDOM = 3  # below it, some 80 % or more of the variance is one patient's
PAIRINGS, _PAIRING_SEED = 2000, 20250307
_TINY = 1e-12
_EXPONENT = 700.0  # math.exp overflows soon above

VARIANTS: Mapping[str, str] = {
    "image_first": "T1: mean over cases of the mean Dice over the case's regions",
    "region_first": "T1: mean over regions of the mean Dice over the region's cases",
    "pooled": "T1: mean over every Dice of every case and region",
    "literal_over_images": "T2 as printed: 1 less the SD over cases of the mean Dice over regions (divisor n)",
    "literal_over_images_ddof1": "T2 as printed: 1 less the SD over cases of the mean Dice over regions (divisor n - 1)",
    "over_region_means": "T2, consistency across regions: 1 less the SD of the region means (divisor n)",
    "over_region_means_ddof1": "T2, consistency across regions: 1 less the SD of the region means (divisor n - 1)",
    "mean_within_image": "T2: 1 less the mean over cases of the SD over the case's regions (divisor n)",
    "mean_within_image_ddof1": "T2: 1 less the mean over cases of the SD over the case's regions (divisor n - 1)",
    "cosine": "T3: cosine of the real and the synthetic Dice of the same cases",
    "pearson": "T3: Pearson correlation of the real and the synthetic Dice of the same cases",
    "shuffled_mean": "T3: mean cosine over all pairings of the cases, what T3 is without any alignment",
    "shuffled_95": "T3: cosine that one in twenty random pairings of the cases exceeds",
    "mean_absolute_difference": "T4: mean over cases of the absolute difference of the real and the synthetic Dice",
    "absolute_difference_of_means": "T4: absolute difference of the mean real and the mean synthetic Dice",
    "wasserstein": "T4: 1-Wasserstein distance between the real and the synthetic Dice as distributions; needs no pairing",
    "cv": "T5: coefficient of variation of the Dice over cases (divisor n)",
    "cv_ddof1": "T5: coefficient of variation of the Dice over cases (divisor n - 1)",
}


@dataclass(frozen=True)
class Factor:
    """One trust factor in one reading.

    factor: T1 to T5; variant: a key of `VARIANTS`; region: column, None for all of them; tested_on: real, synthetic, or both (T3, T4).
    value: None where `reason` says why; low, high: two-sided interval at `level`, None where `reason` says why; method: how the interval
    was made, with cases, patients and seeds; n: cases that entered (of the smaller set where the two hold different cases).
    """

    factor: str
    variant: str
    region: int | None
    tested_on: TestedOn
    n: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    method: str = ""
    reason: str = ""


@dataclass(frozen=True)
class _Sample:
    """Dice of the same cases: arrays, each (seeds, cases, ...), and units (cases,), whose case it is; known: whether these are patients."""

    arrays: tuple[np.ndarray, ...]
    units: np.ndarray
    known: bool = True

    def keep(self, cases: np.ndarray) -> _Sample:
        return _Sample(tuple(a[:, cases] for a in self.arrays), self.units[cases], self.known)


class _Scale(NamedTuple):
    """Scale on which an interval is symmetric: to it and back; low and high: the range of the factor."""

    forward: Callable[[np.ndarray], np.ndarray]
    back: Callable[[float], float]
    low: float = 0.0
    high: float = 1.0


_PLAIN = _Scale(lambda x: x, lambda y: y)
_LOG = _Scale(np.log, lambda y: math.exp(min(y, _EXPONENT)), high=math.inf)
_LOG_BELOW_ONE = _Scale(lambda x: np.log(1 - x), lambda y: 1 - math.exp(min(y, _EXPONENT)))
_FISHER = _Scale(np.arctanh, math.tanh, low=-1.0)


@dataclass(frozen=True)
class _Reading:
    """How a variant is computed: statistic of the samples' arrays, (seeds,), NaN where undefined for the reason `undefined`.

    regions: how many a case must have. error: where the factor is the length of a vector, that vector, (seeds, p); the error of a length
    is at most the length of the error. at_least: a reading that is never larger, whose lower end is the interval's.
    """

    variant: str
    statistic: Statistic
    scale: _Scale = _PLAIN
    undefined: str = "no case has a region"
    regions: int = 1
    error: Statistic | None = None
    at_least: _Reading | None = None


def trust_factors(
    real: np.ndarray, synthetic: np.ndarray, *, units: np.ndarray | None = None, paired: bool = True, known: bool = True
) -> tuple[Factor, ...]:
    """Return every variant of T1..T5 of the Dice that one task, trained S times, has on real and on synthetic cases.

    real, synthetic: (M, K), or (S, M, K) of S training seeds; Dice from 0 to 1, NaN (or masked) where the region is absent from the
    truth. Where `paired`, row i of both is the same case: they share the mask. Where not, their M may differ, and what needs pairs has a
    reason instead of a value. units: (M,), whose case it is (of the real set where not paired; synthetic cases are then their own);
    by default every case is its own patient. known: whether units are patients. ValueError where shapes, Dice or units are wrong.
    """
    sets = _dice("real", real), _dice("synthetic", synthetic)
    for axis, what in ((2, "regions"), (0, "seeds"), *([(1, "paired cases")] if paired else [])):
        if sets[0].shape[axis] != sets[1].shape[axis]:
            raise ValueError(f"real and synthetic Dice differ in {what}: {sets[0].shape[axis]} and {sets[1].shape[axis]}")
    of_real = _units(units, sets[0].shape[1])
    wholes = (_Sample(sets[:1], of_real, known), _Sample(sets[1:], of_real if paired else np.arange(sets[1].shape[1]), known))
    found: list[Factor] = []
    for factor, readings in (("T1", _T1), ("T2", _T2)):
        for tested_on, whole in zip(_SETS, wholes, strict=True):
            found += [_factor(factor, reading, None, tested_on, (_with_regions(whole, reading.regions),)) for reading in readings]
    for region in range(sets[0].shape[2]):
        columns = [_Sample((whole.arrays[0][:, :, region],), whole.units, known) for whole in wholes]
        pairs = _Sample((*columns[0].arrays, *columns[1].arrays), of_real, known) if paired else None
        both = tuple(_with_regions(sample, 1) for sample in (columns if pairs is None else [pairs]))
        found += _of_pairs(region, both[0] if paired else None)
        found += [_factor("T4", reading, region, "both", both) for reading in _T4_OF_SETS]
        for tested_on, column in zip(_SETS, columns, strict=True):
            found += [_factor("T5", reading, region, tested_on, (_with_regions(column, 1),)) for reading in _T5]
    return tuple(sorted(found, key=lambda f: f.factor))


def _dice(name: str, values: np.ndarray) -> np.ndarray:
    """Return the Dice as (seeds, cases, regions), checked."""
    dice = np.ma.asarray(values, dtype=np.float64).filled(np.nan)
    dice = dice[None] if dice.ndim == 2 else dice
    if dice.ndim != 3 or 0 in dice.shape:
        raise ValueError(f"{name}: Dice must have the shape (cases, regions) or (seeds, cases, regions), got {np.shape(values)}")
    absent = np.isnan(dice)
    wrong = np.argwhere(~absent & ~((dice >= 0) & (dice <= 1)))
    if len(wrong):
        seed, case, region = wrong[0]
        raise ValueError(f"{name}: Dice of seed {seed}, case {case}, region {region} is {dice[seed, case, region]}, outside 0 to 1")
    differs = np.argwhere((absent != absent[0]).any(axis=0))
    if len(differs):
        case, region = differs[0]
        raise ValueError(f"{name}: region {region} of case {case} is absent (NaN) for some seeds only, but the truth has no seed")
    return dice


def _units(units: np.ndarray | None, cases: int) -> np.ndarray:
    """Return the number of each case's patient."""
    given = np.arange(cases) if units is None else np.asarray(units)
    if given.shape != (cases,):
        raise ValueError(f"units must name the patient of each of {cases} cases, got the shape {given.shape}")
    if any(unit is None or (isinstance(unit, float) and math.isnan(unit)) for unit in given.tolist()):
        raise ValueError("units must name the patient of every case, but some are missing")
    return np.unique(given, return_inverse=True)[1]


def _with_regions(sample: _Sample, least: int) -> _Sample:
    """Return the cases that have so many regions in every array."""
    regions = [(~np.isnan(a[0])).reshape(len(sample.units), -1).sum(axis=1) for a in sample.arrays]
    return sample.keep(np.min(regions, axis=0) >= least)


def _of_pairs(region: int, pairs: _Sample | None) -> Iterator[Factor]:
    """Yield what needs the same cases in both sets."""
    reason = "needs the same cases, with the same masks, in the real and the synthetic set"
    for factor, reading in (*(("T3", reading) for reading in _T3), ("T4", _T4_OF_PAIRS)):
        bare = Factor(factor, reading.variant, region, "both", 0, reason=reason)
        yield bare if pairs is None else _factor(factor, reading, region, "both", (pairs,))
    yield Factor("T3", "shuffled_95", region, "both", 0, reason=reason) if pairs is None else _chance(region, pairs)


def _factor(factor: str, reading: _Reading, region: int | None, tested_on: TestedOn, samples: tuple[_Sample, ...]) -> Factor:
    """Return a factor with its interval, or with the reasons why it lacks them."""
    n = min(len(sample.units) for sample in samples)
    bare = Factor(factor, reading.variant, region, tested_on, n)
    if n == 0:
        return replace(bare, reason=f"region {region} is absent from every case" if region is not None else reading.undefined)
    absent = np.flatnonzero(np.isnan(samples[0].arrays[0]).all(axis=(0, 1)))
    if len(absent):
        return replace(bare, reason=f"region {absent[0]} is absent from every case: leave it out")
    seeds = _apply(reading.statistic, samples)
    undefined = int(np.isnan(seeds).sum())
    if undefined:
        return replace(bare, reason=reading.undefined + (f" (for {undefined} of {len(seeds)} seeds)" if len(seeds) > 1 else ""))
    value = float(seeds.mean())
    try:
        low, high, method = _interval(reading, samples, value)
    except ValueError as reason:
        return replace(bare, value=value, reason=f"no interval: {reason}")
    return replace(bare, value=value, low=low, high=high, level=LEVEL, method=method)


def _apply(statistic: Statistic, samples: tuple[_Sample, ...]) -> np.ndarray:
    return statistic(*(array for sample in samples for array in sample.arrays))


def _interval(reading: _Reading, samples: tuple[_Sample, ...], value: float) -> tuple[float, float, str]:
    """Return the two-sided interval of a factor and how it was made; ValueError where there is none."""
    patients = [len(np.unique(sample.units)) for sample in samples]
    if min(patients) < MIN_PATIENTS:
        raise ValueError(f"it needs at least {MIN_PATIENTS} patients, got {min(patients)}")
    scale, (centre, reach) = reading.scale, _centre_and_reach(reading, samples)
    low, high = sorted((scale.back(centre - reach), scale.back(centre + reach)))
    if reading.at_least is not None:
        low, _, _ = _interval(reading.at_least, samples, value)
    seeds, cases = len(samples[0].arrays[0]), " and ".join(str(len(sample.units)) for sample in samples)
    over = f"{seeds} seeds" if seeds > 1 else "one seed, whose run-to-run variation is not covered"
    whose = f"of {' and '.join(map(str, patients))} patients" if samples[0].known else "whose patients are unknown"
    return max(min(low, value), scale.low), min(max(high, value), scale.high), f"t x jackknife SE, {cases} cases {whose}, {over}"


def _centre_and_reach(reading: _Reading, samples: tuple[_Sample, ...]) -> tuple[float, float]:
    """Return the bias-corrected mean over seeds and half the width of its interval, both on the scale of the reading.

    Of an error vector e with covariance V, |e|^2 is about trace(V) times F with trace(V)^2 / trace(V^2) and df degrees of freedom
    (Box 1954, Ann. Math. Stat. 25:290); of a number this is t^2.
    """
    statistic, forward = reading.error or reading.statistic, reading.scale.forward
    without = [_left_out(statistic, samples, j) for j in range(len(samples))]
    without = [left_out for left_out in without if np.isnan(left_out).any() or varies(left_out)]
    if not without:
        raise ValueError("the factor stays the same whichever patient is left out, so its spread is not known")
    seeds = _on_scale(forward, _apply(statistic, samples))
    whole = _on_scale(forward, _apply(statistic, samples).mean(axis=0, keepdims=True))
    without = [_on_scale(forward, left_out) for left_out in without]
    parts = [_jackknife(left_out) for left_out in without]
    bias = np.sum([(len(left_out) - 1) * (left_out.mean(axis=0) - whole[0]) for left_out in without], axis=0)
    if len(seeds) > 1:
        deviations = seeds - seeds.mean(axis=0)
        parts.append((deviations.T @ deviations / (len(seeds) * (len(seeds) - 1)), len(seeds) - 1.0))
    total = np.sum([covariance for covariance, _ in parts], axis=0)
    trace = float(np.trace(total))
    df = trace**2 / sum(float(np.trace(covariance)) ** 2 / freedom for covariance, freedom in parts)
    dimensions = trace**2 / float((total**2).sum())
    reach = math.sqrt(trace * float(stats.f.ppf(LEVEL, dimensions, df)))
    if reading.error is not None:
        return float(_apply(reading.statistic, samples).mean()), reach
    return float(whole[0, 0] - bias[0]), reach


def _left_out(statistic: Statistic, samples: tuple[_Sample, ...], j: int) -> np.ndarray:
    """Return the mean over seeds without each patient of sample j, (patients, ...)."""
    kept = (samples[j].keep(samples[j].units != unit) for unit in np.unique(samples[j].units))
    return np.array([_apply(statistic, (*samples[:j], sample, *samples[j + 1 :])).mean(axis=0) for sample in kept])


def _jackknife(left_out: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the jackknife covariance of (patients, p) left-out values, and its degrees of freedom.

    These are the n - 1 of normal data, or fewer where few patients make up most of the variance: 2n / (kurtosis - 1), from the variance of
    a variance. With n - 1, intervals of T2 and T5 of 40 skewed Dice held 0.89 of the time, with these 0.92.
    """
    n = len(left_out)
    deviations = left_out - left_out.mean(axis=0)
    squares = (deviations**2).sum(axis=1)
    freedom = 2 * n / max(float((squares**2).mean() / squares.mean() ** 2) - 1, 1.0)
    if freedom < MIN_FREEDOM:
        raise ValueError("its spread rests almost wholly on one patient")
    return (n - 1) / n * deviations.T @ deviations, min(n - 1.0, freedom)


def _on_scale(forward: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> np.ndarray:
    """Return values as rows of a matrix on a scale; ValueError where one is undefined or at an end of its range."""
    with np.errstate(divide="ignore", invalid="ignore"):
        rows = forward(np.asarray(values).reshape(len(values), -1))
    if not np.isfinite(rows).all():
        raise ValueError("the factor is undefined or at an end of its range for a seed, or without one patient")
    return rows


def _chance(region: int, pairs: _Sample) -> Factor:
    """Return the cosine that one in twenty random pairings of the cases exceeds.

    The cases are brought into the order of their Dice first, so the drawn pairings do not depend on the order they came in; every seed is
    paired alike. A threshold that rests on the cases at hand, so it has no interval.
    """
    cosine = _factor("T3", _T3[0], region, "both", (pairs,))
    if cosine.value is None:
        return replace(cosine, variant="shuffled_95")
    real, synthetic = (array[:, np.lexsort(np.concatenate(pairs.arrays))] for array in pairs.arrays)
    rng, shares = np.random.default_rng(_PAIRING_SEED), real / (_norm(real) * _norm(synthetic))[:, None]
    drawn = [float((shares * synthetic[:, rng.permutation(real.shape[1])]).sum()) / len(real) for _ in range(PAIRINGS)]
    reason = f"no interval: it is a quantile of {PAIRINGS} random pairings of the cases at hand"
    return Factor("T3", "shuffled_95", region, "both", real.shape[1], float(np.quantile(drawn, LEVEL)), reason=reason)


def _mean(values: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """Return the mean of what is not NaN, NaN where there is nothing."""
    present = ~np.isnan(values)
    return _ratio(np.where(present, values, 0.0).sum(axis=axis), present.sum(axis=axis))


def _sd(values: np.ndarray, axis: int, ddof: int) -> np.ndarray:
    """Return the standard deviation of what is not NaN, NaN where there are no more than `ddof` values."""
    mean = _mean(values, axis)
    squares = (values - np.expand_dims(mean, axis)) ** 2
    sd = np.sqrt(_ratio(np.where(np.isnan(squares), 0.0, squares).sum(axis=axis), (~np.isnan(values)).sum(axis=axis) - ddof))
    return np.where(sd <= _TINY * np.abs(mean), 0.0, sd)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return above / below, NaN where below is not positive."""
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)


def _region_contrasts(ddof: int) -> Statistic:
    """Return the region means less their mean, scaled so that their length is the standard deviation."""
    return lambda c: (_mean(c, 1) - _mean(_mean(c, 1), 1)[:, None]) / math.sqrt(c.shape[2] - ddof)


def _norm(values: np.ndarray) -> np.ndarray:
    return np.sqrt((values**2).sum(axis=1))


def _cosine(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    return np.minimum(_ratio((real * synthetic).sum(axis=1), _norm(real) * _norm(synthetic)), 1.0)


def _pearson(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (real, synthetic))
    constant = (_norm(a) <= _TINY * _norm(real)) | (_norm(b) <= _TINY * _norm(synthetic))
    return np.clip(_ratio((a * b).sum(axis=1), np.where(constant, 0.0, _norm(a) * _norm(b))), -1.0, 1.0)


def _shuffled_mean(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    product = real.mean(axis=1) * synthetic.mean(axis=1) * real.shape[1]
    return np.minimum(_ratio(product, _norm(real) * _norm(synthetic)), 1.0)


def _difference_of_means(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    return real.mean(axis=1) - synthetic.mean(axis=1)


def _distances(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    return np.array([stats.wasserstein_distance(a, b) for a, b in zip(real, synthetic, strict=True)])


_TWO = "the standard deviation with divisor n - 1 needs at least two values"
_ALL_ZERO = "every Dice of the real or of the synthetic set is 0, so the cosine is undefined"
_CONSTANT = "every Dice of the real or of the synthetic set is the same, so the correlation is undefined"
_NO_MEAN = "every Dice is 0, so the coefficient of variation is undefined"

_T1 = (
    _Reading("image_first", lambda c: _mean(_mean(c, 2), 1)),
    _Reading("region_first", lambda c: _mean(_mean(c, 1), 1)),
    _Reading("pooled", lambda c: _mean(c, (1, 2))),
)
_T2 = (
    _Reading("literal_over_images", lambda c: 1 - _sd(_mean(c, 2), 1, 0), _LOG_BELOW_ONE),
    _Reading("literal_over_images_ddof1", lambda c: 1 - _sd(_mean(c, 2), 1, 1), _LOG_BELOW_ONE, _TWO),
    _Reading("over_region_means", lambda c: 1 - _sd(_mean(c, 1), 1, 0), error=_region_contrasts(0)),
    _Reading("over_region_means_ddof1", lambda c: 1 - _sd(_mean(c, 1), 1, 1), _PLAIN, _TWO, error=_region_contrasts(1)),
    _Reading("mean_within_image", lambda c: 1 - _mean(_sd(c, 2, 0), 1)),
    _Reading("mean_within_image_ddof1", lambda c: 1 - _mean(_sd(c, 2, 1), 1), _PLAIN, _TWO, regions=2),
)
_T3 = (
    _Reading("cosine", _cosine, _LOG_BELOW_ONE, _ALL_ZERO),
    _Reading("pearson", _pearson, _FISHER, _CONSTANT),
    _Reading("shuffled_mean", _shuffled_mean, _LOG_BELOW_ONE, _ALL_ZERO),
)
_T4_OF_PAIRS = _Reading("mean_absolute_difference", lambda a, b: np.abs(a - b).mean(axis=1))
_T4_OF_MEANS = _Reading("absolute_difference_of_means", lambda a, b: np.abs(_difference_of_means(a, b)), error=_difference_of_means)
_T4_OF_SETS = (_T4_OF_MEANS, _Reading("wasserstein", _distances, at_least=_T4_OF_MEANS))
_T5 = (
    _Reading("cv", lambda c: _ratio(_sd(c, 1, 0), c.mean(axis=1)), _LOG, _NO_MEAN),
    _Reading("cv_ddof1", lambda c: _ratio(_sd(c, 1, 1), c.mean(axis=1)), _LOG, f"{_NO_MEAN}, or there is one case alone"),
)
