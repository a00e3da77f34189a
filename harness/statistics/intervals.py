"""Intervals: two-sided 95 % for tables, one-sided 95 % bounds for criteria.

A function that has no interval to give raises `ValueError` with the reason; the caller stores the value with that reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95
MIN_UNITS = 3
_UNDEFINED_SHARE = 0.1
_ROUNDING = 1e-14
_TIE = 1e-12


@dataclass(frozen=True)
class Interval:
    """low..high: two-sided interval at `level`; bound_low, bound_high: one-sided 95 % bounds."""

    low: float
    high: float
    bound_low: float
    bound_high: float
    method: str
    level: float = LEVEL


def _around(value: float, spread: float, df: float, method: str, low: float | None, high: float | None, level: float) -> Interval:
    """Return value +- t * spread, cut to the quantity's range and never cut past the value."""

    def cut(x: float) -> float:
        x = x if low is None else max(x, min(low, value))
        return x if high is None else min(x, max(high, value))

    two = float(stats.t.ppf((1 + level) / 2, df)) * spread
    one = float(stats.t.ppf(LEVEL, df)) * spread
    return Interval(cut(value - two), cut(value + two), cut(value - one), cut(value + one), method, level)


def half_sample_rows(units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the sorted rows of half of the units (rounded up), drawn without replacement; every row of a drawn unit."""
    present = np.unique(units)
    if len(present) < MIN_UNITS:
        raise ValueError(f"an interval needs at least {MIN_UNITS} patients to resample, got {len(present)}")
    drawn = rng.choice(present, size=math.ceil(len(present) / 2), replace=False)
    return np.flatnonzero(np.isin(units, drawn))


@dataclass(frozen=True)
class RunSpread:
    """What R sampling runs add to the variance of their mean.

    between: variance of the R values / R, with df degrees of freedom. within: that part of the half-samples' variance which comes from
    the synthetic images of the runs; the values of the runs hold it too.
    """

    between: float
    within: float
    df: int


LEAST_RUNS = 3


def run_spread(values: np.ndarray, replicates: np.ndarray, units: int) -> RunSpread | None:
    """Return what sampling runs add to the variance of the mean of their values (R,), None where it is nothing.

    replicates (R, B): half-samples of each run, those of column k with the same real images. Then variance over columns of the mean over
    runs = real + synthetic / R, and its mean over runs = real + synthetic, which gives the synthetic part. Runs that differ no more
    than this add nothing: they are as good as one run of all their images. Fewer than 3 runs are refused (ValueError): where two differ,
    an interval that holds 95 % is of no use, and a shorter one does not hold it.
    """
    runs = len(values)
    if runs == 1:
        return None
    if runs < LEAST_RUNS:
        raise ValueError(f"{runs} sampling runs do not tell how much runs differ, at least {LEAST_RUNS} are needed")
    if units < MIN_UNITS:
        raise ValueError(f"an interval needs at least {MIN_UNITS} patients to resample, got {units}")
    if not varies(values):
        return None
    each, mean = float(replicates.var(axis=1, ddof=1).mean()), float(replicates.mean(axis=0).var(ddof=1))
    half = math.ceil(units / 2)
    within = max(0.0, (each - mean) / (runs - 1)) * half / (units - half)
    between = float(np.var(values, ddof=1)) / runs
    return RunSpread(between, within, runs - 1) if between > within else None


def half_sample_interval(
    value: float,
    replicates: np.ndarray,
    low: float | None = None,
    high: float | None = None,
    units: int | None = None,
    level: float = LEVEL,
    runs: Sequence[RunSpread] = (),
) -> Interval:
    """Return value +- t * SD of B half-samples: the delete-half standard error of Shao & Wu 1989 (Ann. Stat. 17:1176).

    The standard deviation of a half-sample drawn without replacement is that of the full sample's error. The half-samples' own
    quantiles are not used: bias at n/2 would put the value outside its own interval. t has B - 1 degrees of freedom. `units`,
    the smallest number of units (patients, or images on their own) on a resampled side, keeps an interval of few honest: t then
    has at most units - 1, and where it is odd the spread of the larger half is brought to that of an exact half. Where no half-sample
    differs, the interval is binomial at the ends of the range, and elsewhere there is none. runs: what sampling runs add, where
    `value` and `replicates` are means over several; degrees of freedom are then after Welch and Satterthwaite.
    """
    replicates = _finite(replicates)
    if len(replicates) < 2:
        raise ValueError(f"an interval needs at least 2 half-samples, got {len(replicates)}")
    spread, df, of = float(replicates.std(ddof=1)), float(len(replicates) - 1), ""
    if units is not None:
        if units < MIN_UNITS:
            raise ValueError(f"an interval needs at least {MIN_UNITS} patients to resample, got {units}")
        if not varies(replicates) and not runs:
            return _without_spread(value, float(replicates[0]), low, high, units, level)
        half = math.ceil(units / 2)
        spread, df, of = spread * math.sqrt(half / (units - half)), min(df, units - 1), f" of {units} units"
    if runs:
        parts = [(max(0.0, spread**2 - sum(r.within for r in runs)), df), *((r.between, r.df) for r in runs)]
        variance = sum(part for part, _ in parts)
        spread, df = math.sqrt(variance), variance**2 / sum(part**2 / freedom for part, freedom in parts)
        of += ", and between sampling runs"
    return _around(value, spread, df, f"t x delete-half SD, {len(replicates)} half-samples{of}", low, high, level)


def varies(values: np.ndarray) -> bool:
    """Return whether values differ by more than rounding."""
    return bool(np.ptp(values) > _ROUNDING * float(np.abs(values).max()))


def _without_spread(value: float, replicate: float, low: float | None, high: float | None, units: int, level: float) -> Interval:
    """Return the interval of a value that every half-sample repeats at an end of its range, as of a share that is 0 or 1.

    A mean of numbers between 0 and 1 that is 0 in a sample of n is at most 1 - alpha^(1/n) with confidence 1 - alpha, whatever their
    distribution: at least that share of them would not be 0.
    """
    near = _ROUNDING * max(abs(value), abs(replicate), abs(low or 0.0), abs(high or 0.0))
    ends = [end for end in (low, high) if end is not None and abs(value - end) <= near]
    if abs(value - replicate) > near or low is None or high is None or not ends:
        raise ValueError("the half-samples do not vary, so they say nothing of its spread")
    share = binomial_interval(units if ends[-1] == high else 0, units, level)
    a, b, c, d = (low + (high - low) * x for x in (share.low, share.high, share.bound_low, share.bound_high))
    return Interval(a, b, c, d, f"exact binomial, no half-sample of {units} units leaves the end of the range", level)


def lower_bound_proportion(successes: float, n: float, level: float = LEVEL) -> float:
    """Return the exact one-sided lower bound of a proportion (Clopper & Pearson 1934)."""
    _check_counts(successes, n)
    return 0.0 if successes == 0 else float(stats.beta.ppf(1 - level, successes, n - successes + 1))


def upper_bound_proportion(successes: float, n: float, level: float = LEVEL) -> float:
    """Return the exact one-sided upper bound of a proportion (Clopper & Pearson 1934)."""
    _check_counts(successes, n)
    return 1.0 if successes == n else float(stats.beta.ppf(level, successes + 1, n - successes))


def binomial_interval(successes: int, n: int, level: float = LEVEL) -> Interval:
    """Return the exact interval of a proportion of independent trials (Clopper & Pearson 1934)."""
    return _of_share(successes, n, f"exact binomial, {successes} of {n}", level)


def _of_share(successes: float, n: float, method: str, level: float) -> Interval:
    two = (1 + level) / 2
    ends = (lower_bound_proportion(successes, n, two), upper_bound_proportion(successes, n, two))
    return Interval(*ends, lower_bound_proportion(successes, n), upper_bound_proportion(successes, n), method, level)


def effective_counts(shares: Sequence[float], n: Sequence[int], level: float = LEVEL) -> tuple[float, float]:
    """Return the successes and trials that as many sampling runs are worth at a level, each with a share of n independent images.

    As many as there are where the shares vary no more than chance lets them. Otherwise fewer, by the factor by which they vary more and by
    (t(N - 1) / t(R - 1))^2, as Korn & Graubard 1998 (Survey Methodology 24:193) have it for clusters. ValueError for two runs.
    """
    runs, trials = len(shares), float(sum(n))
    share = float(np.dot(shares, n) / trials)
    if runs == 1 or share in (0.0, 1.0):
        return share * trials, trials
    if runs < LEAST_RUNS:
        raise ValueError(f"{runs} sampling runs do not tell how much runs differ, at least {LEAST_RUNS} are needed")
    excess = float(np.var(shares, ddof=1)) / runs / (share * (1 - share) / trials)
    if excess > 1:
        two = (1 + level) / 2
        trials *= float(stats.t.ppf(two, trials - 1) / stats.t.ppf(two, runs - 1)) ** 2 / excess
    return share * trials, trials


def share_of_runs(shares: Sequence[float], n: Sequence[int], level: float = LEVEL) -> Interval:
    """Return the interval of the share over sampling runs: exact binomial, with the trials that `effective_counts` gives."""
    successes, trials = effective_counts(shares, n, level)
    if trials == sum(n):
        return binomial_interval(round(successes), round(trials), level)
    method = f"binomial after Korn & Graubard, {len(n)} sampling runs of {sum(n)} images worth {trials:.0f}"
    return _of_share(successes, trials, method, level)


def mean_interval(
    values: np.ndarray, units: np.ndarray, low: float | None = None, high: float | None = None, level: float = LEVEL, *, known: bool = True
) -> Interval:
    """Return the interval of the mean of `values` (cases,) or (cases, repeats), where `units` (cases,) says whose case it is.

    known: whether units are patients; where these are unknown, cases stand in for them, and the method says so.

    Variance = cluster-robust variance of the case means between patients, G/(G-1) * sum_g (sum_{i in g} (a_i - mean))^2 / n^2
    (Liang & Zeger 1986), plus variance of the repeat means / R. Both parts hold the case-by-repeat residual, so the sum errs on
    the wide side. Degrees of freedom after Welch and Satterthwaite.
    """
    values = np.asarray(values, dtype=np.float64)
    repeated = values.ndim > 1
    values = values if repeated else values[:, None]
    _finite(values)
    n, repeats = values.shape
    _, cluster = np.unique(np.asarray(units), return_inverse=True)
    groups = int(cluster.max()) + 1 if n else 0
    if groups < MIN_UNITS:
        raise ValueError(f"an interval needs at least {MIN_UNITS} patients, got {groups}")
    cases, mean = values.mean(axis=1), float(values.mean())
    sums = np.bincount(cluster, weights=cases - mean)
    parts = [(groups / (groups - 1) * float((sums**2).sum()) / n**2, groups - 1)]
    if repeats > 1:
        parts.append((float(values.mean(axis=0).var(ddof=1)) / repeats, repeats - 1))
    variance = sum(part for part, _ in parts)
    df = variance**2 / sum(part**2 / freedom for part, freedom in parts) if variance > 0 else groups - 1
    over = f", {repeats} repeats" if repeats > 1 else ", one repeat, whose run-to-run variation is not covered" if repeated else ""
    whose = f"of {groups} patients" if known else "whose patients are unknown"
    method = f"t x cluster-robust SE, {n} cases {whose}{over}"
    return _around(mean, math.sqrt(variance), df, method, low, high, level)


Statistic = Callable[[np.ndarray], float | None]
# Of resamples given as how often each item was drawn, (B, n_items): the values, (B,), NaN where the statistic is undefined.
Many = Callable[[np.ndarray], np.ndarray]


def jackknife_t(
    statistic: Statistic,
    n_items: int,
    low: float | None = None,
    high: float | None = None,
    *,
    many: Many | None = None,
    whose: str = "items",
) -> Interval:
    """Return statistic +- t(n-1) * delete-one jackknife standard error over items (Efron & Stein 1981).

    many: the same statistic of many samples at once, which only saves time. whose: what the method calls the items.
    """
    value, left_out = _full_value(statistic, n_items), _left_out(statistic, n_items, many)
    spread = math.sqrt((n_items - 1) / n_items * float(((left_out - left_out.mean()) ** 2).sum()))
    return _around(value, spread, n_items - 1, f"jackknife t over {n_items} {whose}", low, high, LEVEL)


def bca_interval(
    statistic: Statistic, n_items: int, replicates: int, rng: np.random.Generator, *, many: Many | None = None, whose: str = "items"
) -> Interval:
    """Return the bias-corrected and accelerated bootstrap interval over items (Efron 1987, JASA 82:171).

    `statistic` gets row indices, with repetitions. Resamples on which it is undefined are left out and counted in the method;
    above one in ten of them there is no interval. Resamples whose value differs from the full one by rounding alone are ties,
    and count half in the bias. many: the same statistic of many resamples at once, which only saves time: the resamples are the
    same. whose: what the method calls the items.
    """
    value, left_out = _full_value(statistic, n_items), _left_out(statistic, n_items, many)
    rows = rng.integers(0, n_items, (replicates, n_items))
    if many is None:
        defined = np.array([x for x in map(statistic, rows) if x is not None], dtype=np.float64)
    else:
        drawn = many(np.stack([np.bincount(row, minlength=n_items) for row in rows]))
        defined = drawn[~np.isnan(drawn)]
    undefined = replicates - len(defined)
    if undefined > _UNDEFINED_SHARE * replicates:
        raise ValueError(f"the statistic is undefined in {undefined} of {replicates} resamples")
    tied = np.abs(defined - value) <= _TIE * max(1.0, abs(value))
    below = float(((defined < value) & ~tied).sum() + 0.5 * tied.sum()) / len(defined)
    bias = float(stats.norm.ppf(np.clip(below, 0.5 / len(defined), 1 - 0.5 / len(defined))))
    centred = left_out.mean() - left_out
    squares = float((centred**2).sum())
    acceleration = float((centred**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0

    def quantile(probability: float) -> float:
        z = bias + float(stats.norm.ppf(probability))
        shrink = 1 - acceleration * z
        share = float(stats.norm.cdf(bias + z / shrink)) if shrink > 0 else float(z > 0)
        return float(np.quantile(defined, share))

    tail = (1 - LEVEL) / 2
    method = f"BCa bootstrap over {n_items} {whose}, {replicates} resamples"
    return Interval(
        min(quantile(tail), value),
        max(quantile(1 - tail), value),
        min(quantile(1 - LEVEL), value),
        max(quantile(LEVEL), value),
        method + (f" ({undefined} undefined)" if undefined else ""),
    )


def _full_value(statistic: Statistic, n_items: int) -> float:
    if n_items < 2:
        raise ValueError(f"an interval needs at least 2 items, got {n_items}")
    value = statistic(np.arange(n_items))
    if value is None:
        raise ValueError("the statistic is undefined")
    return value


def _left_out(statistic: Statistic, n_items: int, many: Many | None = None) -> np.ndarray:
    if many is not None:
        values = many(1.0 - np.eye(n_items))
    else:
        found = [statistic(np.delete(np.arange(n_items), i)) for i in range(n_items)]
        values = np.array([math.nan if x is None else x for x in found], dtype=np.float64)
    if np.isnan(values).any():
        raise ValueError("the statistic is undefined when one item is left out")
    return values


def _finite(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("values must be finite")
    return values


def _check_counts(successes: float, n: float) -> None:
    if not 0 <= successes <= n or n <= 0:
        raise ValueError(f"a proportion needs 0 <= successes <= n and n > 0, got {successes:g} of {n:g}")
