"""Makes rows about raters: one statistic on one table of ratings, with its interval over items or patients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..records import Analysis, ReliabilityRow
from ..statistics import agreement, interpretation
from ..statistics.agreement import Agreement, AgreementInterval
from ..statistics.intervals import LEVEL, Interval, Many, bca_interval, jackknife_t, upper_bound_proportion
from ..statistics.shares import clustered_share
from .opinions import Opinions, picked

FEW = 20
LEAST_CATEGORIES = 2
SEVERAL = "some patients have several items, which this method takes for independent"
MOST_FOR_BCA = 50
_AGREEMENT = frozenset(name for battery in agreement.BATTERIES.values() for name in battery) | {"cohen_kappa"}
Statistic = Callable[[np.ndarray], Agreement]
Quick = Callable[[np.ndarray], Many | None]


@dataclass(frozen=True)
class Desk:
    """Writes the rows of one scale. cell: that computes them. seed: of every resampling."""

    opinions: Opinions
    cell: str
    seed: int

    def row(self, analysis: Analysis, raters: str, items: str, statistic: str, value: float | None, *, n_items: int, n_raters: int,
            interval: Interval | None = None, why: str = "", status: str = "not_computable", **more: Any) -> ReliabilityRow:  # fmt: skip
        """Return one row. why: why there is no value; with a value, why it has no interval."""
        base: dict[str, Any] = {
            "cell": self.cell, "scale": self.opinions.scale.name, "analysis": analysis, "raters": raters, "items": items,
            "statistic": statistic, "n_items": n_items, "n_raters": n_raters, **more,
        }  # fmt: skip
        if value is None:
            return ReliabilityRow(**base, value=None, status=status, reason=why)
        if interval is None:
            return ReliabilityRow(**base, value=value, ci_method=f"no interval: {why}" if why else "")
        return ReliabilityRow(
            **base, value=value, ci_low=interval.low, ci_high=interval.high, bound_low=interval.bound_low, bound_high=interval.bound_high,
            ci_method=interval.method, level=interval.level,
        )  # fmt: skip

    def resampled(self, analysis: Analysis, raters: str, part: str, name: str, statistic: Statistic, table: np.ndarray,
                  items: Sequence[str], *, n_raters: int, said: str = "", low: float = -1.0, high: float = 1.0,
                  quick: Quick | None = None,
                  **more: Any) -> ReliabilityRow:  # fmt: skip
        """Return a statistic of a table (items, ...), with its interval over the patients that the items are of.

        said: what must be known beside it. low, high: what the statistic cannot leave. quick: the statistic of many resamples at once,
        which only saves time.
        """
        found = statistic(table)
        base: dict[str, Any] = {"n_items": len(table), "n_raters": n_raters, **more}
        notes = [found.reason if found.value is not None else "", said]
        if found.value is None:
            why = "; ".join(n for n in (found.reason, said) if n)
            return self.row(analysis, raters, part, name, None, why=why, status=found.status, **base)
        agreeing = name in _AGREEMENT and analysis != "difference"
        rng, units = np.random.default_rng(self.seed), self.opinions.units(items)
        if agreeing:
            answer = agreement.agreement_interval(statistic, table, rng, low, units=units, many=quick)
        else:
            answer = _plain(statistic, table, rng, units, quick(table) if quick else None, (low, high))
        if answer.disagreement_high is not None and table.dtype.kind == "i":
            answer = _unanimous(statistic, table, units) or answer
        if answer.interval is not None and found.reason:
            # Which pairs of raters are defined changes from resample to resample.
            answer = AgreementInterval(None, found.reason)
        if answer.interval is not None and answer.interval.low == answer.interval.high:
            answer = AgreementInterval(None, "every resample gives the same value, so an interval would have no width")
        note = "; ".join(n for n in (*notes, answer.note if answer.interval else "") if n)
        words = interpretation.printed(name, found.value) if agreeing else ""
        return self.row(analysis, raters, part, name, found.value, interval=answer.interval, why=answer.note, note=note, seed=self.seed,
                        scale_words=words, **base)  # fmt: skip

    def share(self, analysis: Analysis, raters: str, part: str, name: str, hits: np.ndarray, items: Sequence[str],
              said: str = "", **more: Any) -> ReliabilityRow:  # fmt: skip
        """Return the share of hits, (items, raters) float64 of 0 and 1 with NaN where there is no answer; the raters are taken as given."""
        seen = ~np.isnan(hits)
        answered = np.flatnonzero(seen.any(axis=1))
        hits, seen, units = hits[answered], seen[answered], self.opinions.units(picked(items, answered))
        base: dict[str, Any] = {"n_items": len(hits), "n_raters": int(seen.any(axis=0).sum()), "trials": int(seen.sum())}
        base |= {"note": said, **more}
        if not len(hits):
            return self.row(analysis, raters, part, name, None, why="there is no answer", status="undefined_no_data", **base)
        successes = np.bincount(units, weights=np.nansum(hits, axis=1))
        trials = np.bincount(units, weights=seen.sum(axis=1))
        try:
            interval, why = clustered_share(successes, trials), ""
        except ValueError as error:
            interval, why = None, str(error)
        return self.row(analysis, raters, part, name, float(successes.sum() / trials.sum()), interval=interval, why=why, **base)


def _unanimous(statistic: Statistic, table: np.ndarray, units: np.ndarray) -> AgreementInterval | None:
    """Return the interval where raters never differed: down to the value if they did on as many items as the exact bound allows.

    No disagreement on n items or patients leaves at most the share 1 - (1 - level)^(1/n) with some (Clopper & Pearson 1934). On that share
    every rater is then taken to have said something else; the categories count as they were answered.
    """
    categories, n = int(table.max()) + 1, len(np.unique(units))
    if categories < LEAST_CATEGORIES:
        return None
    ends = []
    for level in ((1 + LEVEL) / 2, LEVEL):
        spoilt = table.copy()
        count = math.ceil(upper_bound_proportion(0, n, level) * len(table))
        rows = np.linspace(0, len(table) - 1, count).round().astype(np.int64)
        shifted = (table[rows] + np.arange(table.shape[1])) % categories
        spoilt[rows] = np.where(table[rows] < 0, table[rows], shifted)
        ends.append(statistic(spoilt).value)
    if ends[0] is None or ends[1] is None:
        return None
    method = f"no disagreement on {n} items or patients: lower end as if every rater differed on as many as the exact bound allows"
    return AgreementInterval(Interval(ends[0], 1.0, ends[1], 1.0, method), f"no disagreement observed on {n} items or patients")


def _plain(statistic: Statistic, table: np.ndarray, rng: np.random.Generator, units: np.ndarray, many: Many | None,
           within: tuple[float, float]) -> AgreementInterval:  # fmt: skip
    """Return the interval of a statistic over units: BCa bootstrap up to 50 of them, delete-one jackknife above."""
    _, owner = np.unique(units, return_inverse=True)
    owners = [np.flatnonzero(owner == unit) for unit in range(int(owner.max(initial=-1)) + 1)]
    whose = "items" if len(owners) == len(table) else "patients"
    at_once = None if many is None else lambda times: many(times[:, owner])

    def on(rows: np.ndarray) -> float | None:
        return statistic(table[np.concatenate([owners[k] for k in rows])]).value

    try:
        if len(owners) > MOST_FOR_BCA:
            return AgreementInterval(jackknife_t(on, len(owners), *within, many=at_once, whose=whose), "")
        found = bca_interval(on, len(owners), agreement.REPLICATES, rng, many=at_once, whose=whose)
    except ValueError as error:
        return AgreementInterval(None, str(error))
    return AgreementInterval(found, f"with fewer than {FEW} {whose} the interval is rough" if len(owners) < FEW else "")


def mean_of_many(values: np.ndarray) -> Many:
    """Return the mean of numbers (items, raters), NaN where missing, on many resamples at once."""
    seen = ~np.isnan(values)
    sums, counts = np.where(seen, values, 0.0).sum(axis=1), seen.sum(axis=1).astype(np.float64)

    def on(times: np.ndarray) -> np.ndarray:
        n = times @ counts
        return np.divide(times @ sums, n, out=np.full(len(times), np.nan), where=n > 0)

    return on


def as_share(values: np.ndarray) -> Agreement:
    """Return the mean of numbers, NaN where missing; undefined without any."""
    seen = values[~np.isnan(values)]
    return Agreement(float(seen.mean())) if seen.size else agreement.NO_DATA
