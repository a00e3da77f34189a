"""Intervals of the difference between two generators that were held against the same real images, and the ranks that these allow.

Half-samples. The difference d = T(real, A) - T(real, B) of two values is, to first order, its expectation plus a mean over the real
units, one over the images of A and one over those of B. Half of the units of a side, drawn without replacement, give each of
these means the variance of its own error (s^2/(n/2) * (1 - 1/2) = s^2/n), so the standard deviation of d over half-samples is that
of its error, as for one value (Shao & Wu 1989, Ann. Stat. 17:1176). Half-sample k must hold the same real units in both audits: then
what the two values share through the real images cancels in every d_k as it does in d. It is not so where each value's own interval
is taken: intervals of two values overlap although their difference is certain.

Where one of the two values is at an end of its range in every half-sample (a share of 0), its half-samples say nothing of its error and
d_k would leave it out. Its own exact interval does not, so there the intervals of the two values are combined as Zou & Donner 2008
(Stat. Med. 27:1693) do: low = d - sqrt((a - a_low)^2 + (b_high - b)^2), high likewise. Newcombe's interval is the same of two shares.

Several generators. G of them give m = G(G-1)/2 differences of a quantity. Their intervals hold all at once with 95 % where each
has the level 1 - 0.05/m (Bonferroni). Ranks follow Al Mohamad, Goeman & van Zwet (Simultaneous confidence intervals for ranks, with
application to ranking institutions; Biometrics 2022): from 1 + how many are shown to be better, to G - how many are shown to be
worse; with 95 % all true ranks of a quantity lie in these ranges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from .intervals import LEVEL, Interval, half_sample_interval, mean_interval, run_spread, varies

Halved = tuple[float | np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Difference:
    """A difference, first less second, with its two-sided interval at `level`."""

    value: float
    low: float
    high: float
    level: float
    method: str

    @property
    def separated(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def simultaneous_level(pairs: int) -> float:
    """Return the level of each of so many intervals that hold all at once with 95 % (Bonferroni); ValueError below one."""
    if pairs < 1:
        raise ValueError(f"a level needs at least one pair, got {pairs}")
    return 1 - (1 - LEVEL) / pairs


def half_sample_difference(
    first: Halved, second: Halved, units: int, level: float, low: float | None = None, high: float | None = None
) -> Difference:
    """Return the difference of two values with the interval that their paired half-samples give.

    first, second: the value on all images and its values (B,) on half-samples, or those of R sampling runs, (R,) and (R, B); entry k of
    both holds the same real images. What runs add to the variance of each mean is that of `run_spread`.
    units: of the side with fewest. low, high: the quantity's range, None where open. ValueError with the reason where there is no interval,
    as where the two differ by the same in every half-sample.
    """
    pair = [(np.atleast_1d(values), np.atleast_2d(halves)) for values, halves in (first, second)]
    a, b = (float(values.mean()) for values, _ in pair)
    ours, theirs = (halves.mean(axis=0) for _, halves in pair)
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} and {len(theirs)} half-samples do not pair")
    value = a - b
    one, two = (run_spread(*side, units) for side in pair)
    runs = [spread for spread in (one, two) if spread is not None]
    if varies(ours) and varies(theirs):
        reach = None if low is None or high is None else high - low
        return _difference(value, half_sample_interval(value, ours - theirs, units=units, level=level, runs=runs), reach)
    left = half_sample_interval(a, ours, low, high, units, level, () if one is None else (one,))
    right = half_sample_interval(b, theirs, low, high, units, level, () if two is None else (two,))
    method = f"the two intervals combined, {len(ours)} half-samples of {units} units, not all of which vary"
    down, up = math.hypot(a - left.low, right.high - b), math.hypot(left.high - a, b - right.low)
    return Difference(value, value - down, value + up, level, method)


def mean_difference(first: np.ndarray, second: np.ndarray, units: np.ndarray, level: float) -> Difference:
    """Return the mean of first - second, both (cases, repeats), paired by case and repeat; units (cases,): whose case it is.

    The interval is `mean_interval` of the differences. ValueError with the reason where there is none.
    """
    if first.shape != second.shape:
        raise ValueError(f"{first.shape} and {second.shape} results do not pair")
    return _difference(float((first - second).mean()), mean_interval(first - second, units, level=level), None)


def share_difference(first: tuple[float, float], second: tuple[float, float], level: float) -> Difference:
    """Return the difference of two shares of independent images, each as (images that count, images); see `effective_counts`.

    The hybrid of two score intervals (Wilson 1927) that is method 10 of Newcombe 1998 (Stat. Med. 17:873). ValueError where a
    count lies outside its total.
    """
    (p, p_low, p_high), (q, q_low, q_high) = _score_interval(*first, level), _score_interval(*second, level)
    value = p - q
    low = value - math.hypot(p - p_low, q_high - q)
    high = value + math.hypot(p_high - p, q - q_low)
    method = f"Newcombe, {first[0]:.6g} of {first[1]:.6g} less {second[0]:.6g} of {second[1]:.6g}"
    return Difference(value, max(low, -1.0), min(high, 1.0), level, method)


def rank_ranges(beats: Sequence[Sequence[bool]]) -> list[tuple[int, int]]:
    """Return the best and the worst rank of each of G, 1 the best; beats[i][j]: whether i is shown to be better than j."""
    n = len(beats)
    return [(1 + sum(beats[j][i] for j in range(n)), n - sum(beats[i])) for i in range(n)]


def _difference(value: float, interval: Interval, reach: float | None) -> Difference:
    low, high = interval.low, interval.high
    if low == high:
        raise ValueError("the differences do not vary, so they say nothing of their spread")
    if reach is not None:
        low, high = max(low, min(-reach, value)), min(high, max(reach, value))
    return Difference(value, low, high, interval.level, interval.method)


def _score_interval(successes: float, n: float, level: float) -> tuple[float, float, float]:
    """Return a proportion and its score interval."""
    if not 0 <= successes <= n or n <= 0:
        raise ValueError(f"a proportion needs 0 <= successes <= n and n > 0, got {successes:g} of {n:g}")
    z, share = float(stats.norm.ppf((1 + level) / 2)), successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return share, min(max(centre - reach, 0.0), share), max(min(centre + reach, 1.0), share)
