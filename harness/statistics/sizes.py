"""How many images or patients a criterion needs, planned before anything is measured."""

from __future__ import annotations

import math
from typing import Literal

from scipy import stats

from .intervals import upper_bound_proportion

ALPHA = 0.05
MOST = 100_000


def n_for_share(bound: float, true: float, power: float, side: Literal["at_most", "at_least"]) -> int | None:
    """Return the n from which on a share of `true` clears its bound with at least this probability; None beyond 100,000.

    The share clears an upper bound where its exact one-sided 95 % upper limit (Clopper & Pearson 1934) is at or below it, and
    likewise a lower one. A share that misses the bound never clears it.
    """
    if side == "at_least":
        return n_for_share(1 - bound, 1 - true, power, "at_most")
    if true >= bound:
        return None
    # Fewer can never do: even 0 of n has an upper limit above the bound.
    first = math.ceil(math.log(ALPHA) / math.log1p(-bound)) if bound < 1 else 1
    # Power falls a little each time before one more case is allowed, about every 1 / bound images.
    tooth, k, held = math.ceil(2 / bound), 0, 0
    for n in range(first, MOST):
        while upper_bound_proportion(k + 1, n) <= bound:
            k += 1
        enough = upper_bound_proportion(k, n) <= bound and float(stats.binom.cdf(k, n, true)) >= power
        held = held + 1 if enough else 0
        if held == tooth:
            return n - tooth + 1
    return None


def n_for_mean(n: int, value: float, bound: float, limit: float, power: float, side: Literal["at_most", "at_least"]) -> int | None:
    """Return the n at which a bound is cleared with this probability, from a pilot of n; None where the pilot is on the wrong side.

    limit: the pilot's one-sided 95 % bound on the side of `bound`; its distance to `value` shrinks with the root of n.
    """
    distance, reach = bound - value if side == "at_most" else value - bound, abs(value - limit)
    if distance <= 0:
        return None
    if reach == 0:
        return n
    sd = reach / float(stats.norm.ppf(1 - ALPHA))
    return math.ceil(n * (sd * float(stats.norm.ppf(1 - ALPHA) + stats.norm.ppf(power)) / distance) ** 2)


def each(power: float, criteria: int) -> float:
    """Return the power that each of so many independent criteria needs for all to be met with this probability."""
    return float(power ** (1 / max(criteria, 1)))
