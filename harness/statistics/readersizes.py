"""How many readers, cases, items or grids a reader study needs, planned before anybody reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from .intervals import LEVEL
from .mrmc import Analysis

ALPHA = 0.05
POWER = 0.80
MOST_GRIDS = 5000
MOST_ITEMS = 100_000
MOST_CASES = 1_000_000_000
_AND_THE_NEXT = 2
_AT_ONCE = 250


def grids_to_detect(m: int, above: float, power: float = POWER) -> int | None:
    """Return how many grids of m images show a rate of 1/m + above to be over chance: exact one-sided binomial test at 5 %.

    The power holds for this number and the next two, as it saw-tooths. None above 5,000, or where there is nothing to detect.
    """
    chance = 1 / _grid(m)
    if not 0 < above <= 1 - chance:
        return None

    def reached(n: np.ndarray) -> np.ndarray:
        # More hits than this have an upper tail of at most 5 % by chance.
        most = stats.binom.isf(ALPHA, n, chance)
        return np.asarray(stats.binom.sf(most, n, chance + above) >= power)

    return _first(reached)


def grids_to_rule_out(m: int, margin: float, power: float = POWER) -> int | None:
    """Return how many grids show that the rate is below 1/m + margin, if readers guess: exact one-sided binomial test at 5 %.

    The power holds for this number and the next two. None above 5,000, or where the margin is not inside 0..1.
    """
    chance = 1 / _grid(m)
    if not 0 < margin < 1 - chance:
        return None

    def reached(n: np.ndarray) -> np.ndarray:
        # The most hits whose lower tail is at most 5 % at the margin; below 0 there are none.
        most = np.asarray(stats.binom.ppf(ALPHA, n, chance + margin))
        most = most - np.asarray(stats.binom.cdf(most, n, chance + margin) > ALPHA)
        return np.asarray(stats.binom.cdf(most, n, chance) >= power)

    return _first(reached)


def smallest_detected(m: int, grids: int, power: float = POWER) -> float | None:
    """Return the smallest excess over 1/m that so many grids detect with this power, in steps of 0.01; None where none is."""
    return _smallest(grids, grids_to_detect, m, power)


def smallest_ruled_out(m: int, grids: int, power: float = POWER) -> float | None:
    """Return the smallest margin over 1/m that so many grids rule out with this power if readers guess, in steps of 0.01."""
    return _smallest(grids, grids_to_rule_out, m, power)


def _smallest(grids: int, needed: Callable[[int, float, float], int | None], m: int, power: float) -> float | None:
    """Return the first of 0.01, 0.02, ... that needs no more than so many grids, by halving: a larger one never needs more."""
    low, high = 0, math.floor((1 - 1 / m) * 100)

    def enough(step: int) -> bool:
        n = needed(m, step / 100, power)
        return n is not None and n <= grids

    if not enough(high):
        high -= 1
        if high < 1 or not enough(high):
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high / 100


def _grid(m: int) -> int:
    if m < 2:
        raise ValueError(f"a grid has at least two images, got {m}")
    return m


def _first(reached: Callable[[np.ndarray], np.ndarray]) -> int | None:
    """Return the first number of grids (n,) from which on it is reached three times in a row."""
    for start in range(1, MOST_GRIDS + 1, _AT_ONCE):
        enough = reached(np.arange(start, start + _AT_ONCE + _AND_THE_NEXT))
        runs = np.lib.stride_tricks.sliding_window_view(enough, _AND_THE_NEXT + 1).all(axis=1)
        if runs.any():
            return start + int(runs.argmax())
    return None


def share_half_width(share: float, n: int) -> float:
    """Return half the width of the 95 % Wilson interval of a share of n independent trials, such as the accuracy of one reader."""
    if not 0 <= share <= 1 or n < 1:
        raise ValueError(f"a share lies in 0..1 and needs trials, got {share} of {n}")
    z = float(stats.norm.ppf((1 + LEVEL) / 2))
    return z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))


class HalfWidth(NamedTuple):
    """Expected half of a 95 % interval of agreement; low and high: of its two kinds. source: where it comes from, and what it is not."""

    low: float
    high: float
    source: str

    @property
    def middle(self) -> float:
        """Return the middle of the two."""
        return (self.low + self.high) / 2


# Simulated half-widths of BCa bootstrap and jackknife t intervals of Fleiss' kappa: items -> (lower, upper), up to the +-0.10 point.
_Simulated = dict[int, tuple[float, float]]
_LOW_KAPPA, _HIGH_KAPPA = 0.42, 0.81
_BY_RATERS: dict[int, _Simulated] = {
    2: {10: (0.50, 0.56), 20: (0.33, 0.36), 41: (0.23, 0.24), 215: (0.10, 0.10)},
    3: {10: (0.36, 0.42), 20: (0.25, 0.27), 41: (0.17, 0.18), 120: (0.10, 0.10)},
    5: {10: (0.26, 0.32), 20: (0.18, 0.20), 41: (0.12, 0.13), 65: (0.10, 0.10)},
}
_HIGH: _Simulated = {10: (0.26, 0.30), 20: (0.19, 0.20), 41: (0.13, 0.13), 70: (0.10, 0.10)}
_SKEWED: _Simulated = {10: (0.43, 0.56), 20: (0.39, 0.46), 41: (0.31, 0.34), 400: (0.10, 0.10)}
_SOURCE = "simulated: 2,000 complete tables of 10, 20 and 41 items, BCa bootstrap over items and jackknife t, other numbers by 1/sqrt(n)"


def agreement_half_width(items: int, raters: int, kappa: float = _LOW_KAPPA, categories: int = 3, skewed: bool = False) -> HalfWidth:
    """Return the expected half-width of the 95 % interval of Fleiss' kappa; alpha's is as wide, AC1's as wide or narrower.

    Simulated for three categories of similar frequency, kappa about .4 with 2, 3 and 5 raters and .81 with 3, and, skewed, for two
    categories of which one has nine in ten of the items, 3 raters, kappa .45. Between these it is interpolated, outside it is held, and
    the source says so. ValueError: fewer than 2 items, raters or categories, or a kappa outside -1..1.
    """
    if items < 2 or raters < 2 or categories < 2 or not -1 <= kappa <= 1:
        raise ValueError(f"no agreement of {raters} raters on {items} items in {categories} categories at kappa {kappa}")
    if skewed:
        low, high = (_at(_SKEWED, items, side) for side in (0, 1))
        held = "" if raters == 3 else f", not {raters}"
        return HalfWidth(low, high, f"{_SOURCE}; 2 categories, one with 90 % of the items, kappa .45, for 3 raters{held}")
    share = min(max((kappa - _LOW_KAPPA) / (_HIGH_KAPPA - _LOW_KAPPA), 0.0), 1.0)
    ends = []
    for side in (0, 1):
        wide = _over_raters(items, raters, side)
        narrow = wide * _at(_HIGH, items, side) / _at(_BY_RATERS[3], items, side)
        ends.append(wide + share * (narrow - wide))
    return HalfWidth(ends[0], ends[1], "; ".join([_SOURCE, *_held(items, raters, kappa, categories)]))


def _held(items: int, raters: int, kappa: float, categories: int) -> list[str]:
    """Return what the simulation does not cover."""
    said = []
    if categories != 3:
        said.append(f"for 3 categories, not {categories}")
    if raters > 5:
        said.append("for 5 raters, more do better")
    if kappa < _LOW_KAPPA - 0.05 or kappa > _HIGH_KAPPA + 0.05:
        said.append(f"for kappa {_LOW_KAPPA if kappa < _LOW_KAPPA else _HIGH_KAPPA}, not {kappa:g}")
    if items < 10:
        said.append("fewer than 10 items were not simulated")
    return said


def _at(simulated: _Simulated, items: int, side: int) -> float:
    """Return the half-width at a number of items: linear in 1/sqrt(n) between those simulated, proportional to it outside."""
    counts = sorted(simulated)
    if items <= counts[0] or items >= counts[-1]:
        nearest = counts[0] if items <= counts[0] else counts[-1]
        return simulated[nearest][side] * math.sqrt(nearest / items)
    roots = [1 / math.sqrt(n) for n in reversed(counts)]
    return float(np.interp(1 / math.sqrt(items), roots, [simulated[n][side] for n in reversed(counts)]))


def _over_raters(items: int, raters: int, side: int) -> float:
    """Return the half-width at kappa .42: linear in 1/sqrt(raters), held from 5 raters on."""
    counts = sorted(_BY_RATERS, reverse=True)
    widths = [_at(_BY_RATERS[n], items, side) for n in counts]
    return float(np.interp(1 / math.sqrt(raters), [1 / math.sqrt(n) for n in counts], widths))


def items_for_half_width(
    half: float, raters: int, kappa: float = _LOW_KAPPA, categories: int = 3, skewed: bool = False, most: int = MOST_ITEMS
) -> int | None:
    """Return the number of items from which on the interval of agreement is expected to be +- half or narrower; None above `most`."""
    if half <= 0:
        raise ValueError(f"an interval has a width, got +-{half}")

    def wide(items: int) -> bool:
        return agreement_half_width(items, raters, kappa, categories, skewed).middle > half + 1e-9

    return _smallest_count(lambda n: not wide(n), 2, most)


class Planned(NamedTuple):
    """Variance components of a pilot study after Obuchowski and Rockette, and its cases (per modality); source names the study."""

    var_modality_reader: float
    var_error: float
    cov1: float
    cov2: float
    cov3: float
    cases: int
    source: str


# As printed by OR-DBM MRMC 2.5 (University of Iowa), to as many decimals as make its power come out.
VAN_DYKE = Planned(
    0.000200402523581, 0.000802288265572, 0.000346613709441, 0.000344074828861, 0.000239028370892, 114,
    "Van Dyke et al. 1993 (5 readers, spin-echo against cine MRI of the aorta, 114 cases)",
)  # fmt: skip


def mrmc_power(difference: float, readers: int, cases: float, planned: Planned = VAN_DYKE, analysis: Analysis = "RRRC") -> float:
    """Return the power of the two-sided 5 % test of a difference of mean AUCs (Hillis, Obuchowski & Berbaum 2011, Acad. Radiol. 18:129).

    cases: in all, at the share of positives of the pilot; infinite is allowed. RRRC: random readers and cases; FRRC: these readers only;
    RRFC: these cases only. ValueError: fewer than two readers or cases.
    """
    if readers < 2 or cases < 2:
        raise ValueError(f"a study has at least two readers and two cases, got {readers} and {cases:g}")
    scale, between = planned.cases / cases, max(planned.cov2 - planned.cov3, 0.0)
    own = scale * (planned.var_error - planned.cov1 - between)
    interaction = max(planned.var_modality_reader, 0.0) + own
    shared = scale * readers * between
    below = {"RRRC": interaction + shared, "FRRC": own + shared, "RRFC": interaction}[analysis]
    if difference == 0:
        return ALPHA
    if below <= 0:
        return 1.0
    df = math.inf if analysis == "FRRC" or interaction <= 0 else below**2 / (interaction**2 / (readers - 1))
    noncentrality = difference**2 * readers / 2 / below
    if math.isinf(df):
        return float(stats.ncx2.sf(stats.chi2.isf(ALPHA, 1), 1, noncentrality))
    return float(stats.ncf.sf(stats.f.isf(ALPHA, 1, df), 1, df, noncentrality))


def cases_needed(difference: float, readers: int, planned: Planned = VAN_DYKE, power: float = POWER) -> int | None:
    """Return the least number of cases with this power for so many readers (RRRC); None where no number of cases has it."""
    if difference == 0 or mrmc_power(difference, readers, math.inf, planned) < power:
        return None
    return _smallest_count(lambda n: mrmc_power(difference, readers, n, planned) >= power, 2, MOST_CASES)


def readers_by_cases(
    difference: float, readers: Sequence[int] = (3, 4, 5, 6, 8, 10, 15), planned: Planned = VAN_DYKE, power: float = POWER
) -> dict[int, int | None]:
    """Return the cases that each number of readers needs, None where no number is enough."""
    return {n: cases_needed(difference, n, planned, power) for n in readers}


def _smallest_count(enough: Callable[[int], bool], low: int, most: int) -> int | None:
    """Return the smallest number that is enough, where every larger one is; None above `most`."""
    if enough(low):
        return low
    high = low
    while not enough(high):
        if high >= most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
