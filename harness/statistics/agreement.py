"""Agreement of raters who put items into declared categories.

Every statistic takes `codes` (items, raters), the position of each rating in the declared categories, -1 where there is none
(`encode` makes them from words), and `categories`, how many are declared. Declared, not observed: chance agreement of AC1,
Brennan-Prediger and every weighted coefficient depends on their number. Where a statistic is undefined there is no value but a
status; it is never printed as 0 or 1. Formulae: Gwet, Handbook of Inter-Rater Reliability, 2014, unless said otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from .intervals import Interval, bca_interval, jackknife_t, upper_bound_proportion

Level = Literal["nominal", "ordinal", "interval", "ratio"]
Weights = Literal["nominal", "linear", "quadratic"] | np.ndarray
MISSING = -1
REPLICATES = 2000
# Simulated coverage of BCa is best from 10 to 50 items, except with many raters of ten items or fewer.
_BOOTSTRAP_ITEMS, _FEW_ITEMS, _MANY_RATERS, _SMALL = 50, 10, 5, 20
_TINY = 1e-12


class Agreement(NamedTuple):
    """A coefficient, or None with a status (undefined_no_data, undefined_no_overlap, undefined_no_variation) and the reason."""

    value: float | None
    status: str = "ok"
    reason: str = ""


NO_DATA = Agreement(None, "undefined_no_data", "no item has a rating")
NO_OVERLAP = Agreement(None, "undefined_no_overlap", "no item has two ratings to compare")
NO_VARIATION = Agreement(None, "undefined_no_variation", "every rating is the same, so chance agreement is complete")


def encode(ratings: Sequence[Sequence[object]], categories: Sequence[object]) -> np.ndarray:
    """Return the codes of ratings in words or numbers, None or NaN = missing; a rating outside the categories is refused."""
    place = {category: k for k, category in enumerate(categories)}
    codes = np.full((len(ratings), len(ratings[0]) if len(ratings) else 0), MISSING)
    for i, row in enumerate(ratings):
        for g, rating in enumerate(row):
            if rating is None or (isinstance(rating, float) and math.isnan(rating)):
                continue
            if rating not in place:
                raise ValueError(f"{rating!r} is not one of the categories {tuple(categories)}")
            codes[i, g] = place[rating]
    return codes


def weight_matrix(categories: int, weights: Weights = "nominal") -> np.ndarray:
    """Return the agreement weights of two categories by the distance of their ranks; 1 on the diagonal."""
    if isinstance(weights, np.ndarray):
        return weights
    if weights not in ("nominal", "linear", "quadratic"):
        raise ValueError(f"weights must be nominal, linear, quadratic or a matrix, got {weights!r}")
    if weights == "nominal" or categories < 2:
        return np.eye(categories)
    rank = np.arange(categories)
    distance = np.abs(rank[:, None] - rank) / (categories - 1)
    return np.asarray(1 - distance ** (1 if weights == "linear" else 2))


def percent_agreement(codes: np.ndarray, categories: int, average: Literal["pairs", "cells", "items"] = "pairs") -> Agreement:
    """Return the share of agreeing pairs of ratings, averaged over rater pairs, over all (item, pair) cells, or over items.

    The three are equal where every rater rated every item; over items it is the observed agreement of Gwet's coefficients.
    """
    codes = _rated(codes)
    if average == "items":
        observed = _observed(_counts(codes, categories), np.eye(categories))
        return _nothing(codes) if observed is None else Agreement(observed)
    cells = [codes[:, g][both] == codes[:, h][both] for g, h, both in _pairs(codes)]
    if not cells:
        return _nothing(codes)
    shares = [float(c.mean()) for c in cells] if average == "pairs" else np.concatenate(cells)
    return Agreement(float(np.mean(shares)))


def unanimity(codes: np.ndarray) -> Agreement:
    """Return the share of the items rated by every rater on which all raters agree."""
    complete = _complete(codes)
    if complete.shape[1] < 2 or len(complete) == 0:
        return _nothing(_rated(codes))
    return Agreement(float((complete == complete[:, :1]).all(axis=1).mean()))


def cohen_kappa(codes: np.ndarray, categories: int, weights: Weights = "nominal") -> Agreement:
    """Return Cohen's (weighted) kappa of two raters over the items that both rated (Cohen 1960, 1968)."""
    if codes.shape[1:] != (2,):
        raise ValueError(f"Cohen's kappa compares two raters, got codes of shape {codes.shape}")
    both = codes[(codes >= 0).all(axis=1)]
    if len(both) == 0:
        return _nothing(_rated(codes))
    weight = weight_matrix(categories, weights)
    table = np.bincount(both[:, 0] * categories + both[:, 1], minlength=categories**2) / len(both)
    table = table.reshape(categories, categories)
    return _beyond_chance(float((weight * table).sum()), float(table.sum(axis=1) @ weight @ table.sum(axis=0)))


def cohen_pairs(codes: np.ndarray, categories: int, weights: Weights = "nominal") -> dict[tuple[int, int], Agreement]:
    """Return Cohen's kappa of every pair of raters; a rater who used one category has kappa 0 with everybody else."""
    return {pair: cohen_kappa(codes[:, pair], categories, weights) for pair in combinations(range(codes.shape[1]), 2)}


def mean_cohen_kappa(codes: np.ndarray, categories: int, weights: Weights = "nominal") -> Agreement:
    """Return the mean of Cohen's kappa over rater pairs (Light 1971); undefined pairs are left out and named in the reason."""
    codes = _rated(codes)
    found = cohen_pairs(codes, categories, weights)
    defined = [a.value for a in found.values() if a.value is not None]
    if not defined:
        return NO_VARIATION if any(a.status == NO_VARIATION.status for a in found.values()) else _nothing(codes)
    skipped = len(found) - len(defined)
    return Agreement(float(np.mean(defined)), reason=f"{skipped} of {len(found)} rater pairs undefined" if skipped else "")


def fleiss_kappa(codes: np.ndarray, categories: int, missing: Literal["available", "listwise"] = "available") -> Agreement:
    """Return Fleiss' kappa (1971), on the available ratings as Gwet extends it, or on the items that every rater rated."""
    counts = _counts(_rated(codes) if missing == "available" else _complete(codes), categories)
    share = _shares(counts)
    return _coefficient(counts, np.eye(categories), float((share**2).sum()))


def gwet_ac(codes: np.ndarray, categories: int, weights: Weights = "nominal") -> Agreement:
    """Return Gwet's AC1 (nominal weights) or AC2 (Gwet 2008, Br. J. Math. Stat. Psychol. 61:29)."""
    counts, weight = _counts(_rated(codes), categories), weight_matrix(categories, weights)
    share = _shares(counts)
    if categories < 2:
        return NO_VARIATION if len(counts) else NO_DATA
    chance = float(weight.sum()) / (categories * (categories - 1)) * float((share * (1 - share)).sum())
    return _coefficient(counts, weight, chance)


def brennan_prediger(codes: np.ndarray, categories: int, weights: Weights = "nominal") -> Agreement:
    """Return the coefficient of Brennan and Prediger (1981), whose chance agreement is that of uniform guessing."""
    weight = weight_matrix(categories, weights)
    return _coefficient(_counts(_rated(codes), categories), weight, float(weight.sum()) / categories**2)


def krippendorff_alpha(ratings: np.ndarray, categories: int | Sequence[float] | None = None, level: Level = "nominal") -> Agreement:
    """Return Krippendorff's alpha from the coincidence matrix of pairable values (Krippendorff 2011).

    Nominal and ordinal data are codes. For interval and ratio data `categories` holds the number that each code stands for, or
    is None and the ratings are numbers themselves, NaN where missing.
    """
    if isinstance(categories, int) and level in ("interval", "ratio"):
        raise ValueError(f"level {level} needs the numbers that the categories stand for")
    if categories is None:
        values = np.asarray(ratings, dtype=np.float64)
        seen = ~np.isnan(values)
        points, inverse = np.unique(values[seen], return_inverse=True)
        codes = np.full(values.shape, MISSING)
        codes[seen] = inverse
    else:
        points = np.asarray(range(categories) if isinstance(categories, int) else categories, dtype=np.float64)
        codes = np.asarray(ratings)
    codes = _rated(codes)
    counts = _counts(codes, len(points))
    counts = counts[counts.sum(axis=1) >= 2]
    if len(counts) == 0:
        return _nothing(codes)
    per_item = counts / (counts.sum(axis=1, keepdims=True) - 1)
    coincidence = counts.T @ per_item - np.diag(per_item.sum(axis=0))
    total = coincidence.sum(axis=1)
    n = float(total.sum())
    distance = _distances(points, total, level)
    observed = float((coincidence * distance).sum()) / n
    expected = float(((np.outer(total, total) - np.diag(total)) * distance).sum()) / (n * (n - 1))
    return NO_VARIATION if expected <= _TINY else Agreement(1 - observed / expected)


def kendall_w(ratings: np.ndarray) -> Agreement:
    """Return Kendall's W, corrected for ties, over the items that every rater rated (Kendall & Babington Smith 1939).

    ratings: (items, raters), codes of ordered categories with -1 where missing, or numbers with NaN where missing.
    """
    rated = _rated(ratings)
    values = rated[_seen(rated).all(axis=1)]
    n, raters = values.shape
    if n < 2 or raters < 2:
        return _nothing(rated)
    ranks = stats.rankdata(values, axis=0)
    ties = sum(float((t**3 - t).sum()) for t in (np.unique(column, return_counts=True)[1] for column in values.T))
    spread = float(((ranks.sum(axis=1) - raters * (n + 1) / 2) ** 2).sum())
    most = raters**2 * (n**3 - n) - raters * ties
    return NO_VARIATION if most <= _TINY else Agreement(12 * spread / most)


Coefficient = Callable[[np.ndarray, int], Agreement]
_NOMINAL: dict[str, Coefficient] = {
    "percent_agreement": percent_agreement,
    "unanimity": lambda codes, _: unanimity(codes),
    "mean_cohen_kappa": mean_cohen_kappa,
    "fleiss_kappa": fleiss_kappa,
    "krippendorff_alpha": krippendorff_alpha,
    "gwet_ac1": gwet_ac,
    "brennan_prediger": brennan_prediger,
}
_ORDINAL: dict[str, Coefficient] = {
    **_NOMINAL,
    "krippendorff_alpha": lambda codes, q: krippendorff_alpha(codes, q, "ordinal"),
    "mean_cohen_kappa_quadratic": lambda codes, q: mean_cohen_kappa(codes, q, "quadratic"),
    "gwet_ac2_quadratic": lambda codes, q: gwet_ac(codes, q, "quadratic"),
    "kendall_w": lambda codes, _: kendall_w(codes),
}
BATTERIES: Mapping[str, Mapping[str, Coefficient]] = {"nominal": _NOMINAL, "ordinal": _ORDINAL}
FROM_ZERO = frozenset({"percent_agreement", "unanimity", "kendall_w"})


class AgreementInterval(NamedTuple):
    """The interval, or None; what must be said beside it; where all agreed, a bound on the share of items with disagreement."""

    interval: Interval | None
    note: str
    disagreement_high: float | None = None


def agreement_interval(
    statistic: Callable[[np.ndarray], Agreement], ratings: np.ndarray, rng: np.random.Generator, low: float = -1.0
) -> AgreementInterval:
    """Return the interval of a statistic of `ratings` (items, raters), resampling items; the raters are taken as given.

    BCa bootstrap up to 50 items, delete-one jackknife above, and for five or more raters of ten or fewer items. Where no item
    shows a disagreement an interval would have no width; the upper 95 % bound on the share of such items is given instead.
    """
    ratings = _rated(ratings)
    n, raters = ratings.shape
    whole = statistic(ratings)
    if whole.value is None:
        return AgreementInterval(None, whole.reason)
    if n < 2:
        return AgreementInterval(None, "one item has no interval")
    rows = zip(ratings, _seen(ratings), strict=True)
    agreed = [len(np.unique(row[seen])) == 1 for row, seen in rows if seen.sum() >= 2]
    if agreed and all(agreed):
        high = upper_bound_proportion(0, len(agreed))
        share = f"upper 95 % bound on the share of items with disagreement: {high:.1%}"
        return AgreementInterval(None, f"no disagreement observed on {len(agreed)} items; {share}", high)

    def on(rows: np.ndarray) -> float | None:
        return statistic(ratings[rows]).value

    try:
        jackknife = n > _BOOTSTRAP_ITEMS or (raters >= _MANY_RATERS and n <= _FEW_ITEMS)
        interval = jackknife_t(on, n, low, 1.0) if jackknife else bca_interval(on, n, REPLICATES, rng)
    except ValueError as error:
        return AgreementInterval(None, str(error))
    small = f"; with fewer than {_SMALL} items the interval is optimistic where agreement is high" if n < _SMALL else ""
    return AgreementInterval(interval, "raters taken as fixed" + small)


def _seen(ratings: np.ndarray) -> np.ndarray:
    return np.asarray(~np.isnan(ratings) if ratings.dtype.kind == "f" else ratings >= 0)


def _rated(ratings: np.ndarray) -> np.ndarray:
    """Return the ratings without the items and the raters that have none."""
    ratings = np.asarray(ratings)
    if ratings.ndim != 2:
        return ratings.reshape(0, 0)
    seen = _seen(ratings)
    return ratings[seen.any(axis=1)][:, seen.any(axis=0)]


def _complete(codes: np.ndarray) -> np.ndarray:
    codes = _rated(codes)
    return np.asarray(codes[(codes >= 0).all(axis=1)])


def _nothing(codes: np.ndarray) -> Agreement:
    return NO_OVERLAP if codes.size else NO_DATA


def _pairs(codes: np.ndarray) -> list[tuple[int, int, np.ndarray]]:
    seen = codes >= 0
    found = ((g, h, seen[:, g] & seen[:, h]) for g, h in combinations(range(codes.shape[1]), 2))
    return [(g, h, both) for g, h, both in found if both.any()]


def _counts(codes: np.ndarray, categories: int) -> np.ndarray:
    """Return (items, categories) how many raters gave each category."""
    return np.stack([(codes == k).sum(axis=1) for k in range(categories)], axis=1).astype(np.float64)


def _shares(counts: np.ndarray) -> np.ndarray:
    """Return the mean over items of each category's share of the item's ratings."""
    return (counts / counts.sum(axis=1, keepdims=True)).mean(axis=0) if len(counts) else np.zeros(counts.shape[1])


def _observed(counts: np.ndarray, weight: np.ndarray) -> float | None:
    """Return the mean over items with two ratings or more of the weighted share of agreeing pairs."""
    raters = counts.sum(axis=1)
    paired, raters = counts[raters >= 2], raters[raters >= 2]
    if len(paired) == 0:
        return None
    return float(((paired * (paired @ weight - 1)).sum(axis=1) / (raters * (raters - 1))).mean())


def _coefficient(counts: np.ndarray, weight: np.ndarray, chance: float) -> Agreement:
    observed = _observed(counts, weight)
    if observed is None:
        return NO_OVERLAP if len(counts) else NO_DATA
    return _beyond_chance(observed, chance)


def _beyond_chance(observed: float, chance: float) -> Agreement:
    return NO_VARIATION if 1 - chance <= _TINY else Agreement((observed - chance) / (1 - chance))


def _distances(points: np.ndarray, total: np.ndarray, level: Level) -> np.ndarray:
    """Return the squared difference function of alpha at this level of measurement."""
    if level == "nominal":
        return 1 - np.eye(len(points))
    if level == "ordinal":
        middle = np.cumsum(total) - total / 2
        return np.asarray((middle[:, None] - middle) ** 2)
    if level not in ("interval", "ratio"):
        raise ValueError(f"level must be nominal, ordinal, interval or ratio, got {level!r}")
    difference = np.subtract.outer(points, points).astype(np.float64)
    if level == "ratio":
        sums = np.add.outer(points, points)
        difference = np.divide(difference, sums, out=np.zeros_like(difference), where=sums != 0)
    return np.asarray(difference**2)
