"""Agreement of raters who put items into declared categories.

Every statistic takes `codes` (items, raters), the position of each rating in the declared categories, -1 where there is none
(`encode` makes them from words), and `categories`, how many are declared. Declared, not observed: chance agreement of AC1,
Brennan-Prediger and every weighted coefficient depends on their number. Where a statistic is undefined there is no value but a
status; it is never printed as 0 or 1. Formulae: Gwet, Handbook of Inter-Rater Reliability, 2014, unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from .icc import FORMS, icc
from .intervals import Interval, Many, bca_interval, jackknife_t, upper_bound_proportion
from .tables import (
    MISSING,
    NO_DATA,
    NO_OVERLAP,
    NO_VARIATION,
    TINY,
    Agreement,
    Weights,
    beyond_chance,
    complete_part,
    count_categories,
    encode,
    is_rated,
    mean_shares,
    observed_agreement,
    rated_part,
    undefined,
    weight_matrix,
)

__all__ = [
    "BATTERIES",
    "FROM_ZERO",
    "MISSING",
    "NO_DATA",
    "NO_OVERLAP",
    "NO_VARIATION",
    "Agreement",
    "AgreementInterval",
    "Coefficient",
    "Level",
    "Weights",
    "agreement_interval",
    "brennan_prediger",
    "cohen_kappa",
    "cohen_pairs",
    "conger_kappa",
    "encode",
    "fleiss_by_category",
    "fleiss_kappa",
    "gwet_ac",
    "kendall_w",
    "krippendorff_alpha",
    "mean_cohen_kappa",
    "percent_agreement",
    "unanimity",
    "weight_matrix",
]

Level = Literal["nominal", "ordinal", "interval", "ratio"]
Missing = Literal["available", "listwise"]
REPLICATES = 2000
# Simulated coverage of BCa is best from 10 to 50 items, except with many raters of ten items or fewer.
_BOOTSTRAP_ITEMS, _FEW_ITEMS, _MANY_RATERS, _SMALL = 50, 10, 5, 20


def percent_agreement(codes: np.ndarray, categories: int, average: Literal["pairs", "cells", "items"] = "pairs") -> Agreement:
    """Return the share of agreeing pairs of ratings, averaged over rater pairs, over all (item, pair) cells, or over items.

    The three are equal where every rater rated every item; over items it is the observed agreement of Gwet's coefficients.
    """
    codes = rated_part(codes)
    if average == "items":
        observed = observed_agreement(count_categories(codes, categories), np.eye(categories))
        return undefined(codes) if observed is None else Agreement(observed)
    cells = [codes[:, g][both] == codes[:, h][both] for g, h, both in _pairs(codes)]
    if not cells:
        return undefined(codes)
    shares = [float(c.mean()) for c in cells] if average == "pairs" else np.concatenate(cells)
    return Agreement(float(np.mean(shares)))


def unanimity(codes: np.ndarray) -> Agreement:
    """Return the share of the items rated by every rater on which all raters agree."""
    complete = complete_part(codes)
    if complete.shape[1] < 2 or len(complete) == 0:
        return _incomplete(codes, 1)
    return Agreement(float((complete == complete[:, :1]).all(axis=1).mean()))


def cohen_kappa(codes: np.ndarray, categories: int, weights: Weights = "nominal") -> Agreement:
    """Return Cohen's (weighted) kappa of two raters over the items that both rated (Cohen 1960, 1968)."""
    if codes.shape[1:] != (2,):
        raise ValueError(f"Cohen's kappa compares two raters, got codes of shape {codes.shape}")
    both = codes[(codes >= 0).all(axis=1)]
    if len(both) == 0:
        return undefined(rated_part(codes))
    weight = weight_matrix(categories, weights)
    table = np.bincount(both[:, 0] * categories + both[:, 1], minlength=categories**2) / len(both)
    table = table.reshape(categories, categories)
    return beyond_chance(float((weight * table).sum()), float(table.sum(axis=1) @ weight @ table.sum(axis=0)))


def cohen_pairs(codes: np.ndarray, categories: int, weights: Weights = "nominal") -> dict[tuple[int, int], Agreement]:
    """Return Cohen's kappa of every pair of raters; a rater who used one category has kappa 0 with everybody else."""
    return {pair: cohen_kappa(codes[:, pair], categories, weights) for pair in combinations(range(codes.shape[1]), 2)}


def mean_cohen_kappa(codes: np.ndarray, categories: int, weights: Weights = "nominal") -> Agreement:
    """Return the mean of Cohen's kappa over rater pairs (Light 1971); undefined pairs are left out and named in the reason."""
    codes = rated_part(codes)
    found = cohen_pairs(codes, categories, weights)
    defined = [a.value for a in found.values() if a.value is not None]
    if not defined:
        return NO_VARIATION if any(a.status == NO_VARIATION.status for a in found.values()) else undefined(codes)
    skipped = len(found) - len(defined)
    return Agreement(float(np.mean(defined)), reason=f"{skipped} of {len(found)} rater pairs undefined" if skipped else "")


def fleiss_kappa(codes: np.ndarray, categories: int, missing: Missing = "available") -> Agreement:
    """Return Fleiss' kappa (1971), on the available ratings as Gwet extends it, or on the items that every rater rated."""
    part = _part(codes, missing)
    if len(part) == 0:
        return _incomplete(codes, 1)
    counts = count_categories(part, categories)
    share = mean_shares(counts)
    return _coefficient(counts, np.eye(categories), float((share**2).sum()))


def fleiss_by_category(codes: np.ndarray, categories: int) -> tuple[Agreement, ...]:
    """Return Fleiss' kappa of each declared category against all others together, on the available ratings (Fleiss 1971)."""
    codes = np.asarray(codes)
    return tuple(fleiss_kappa(np.where(codes < 0, MISSING, codes == k), 2) for k in range(categories))


def conger_kappa(codes: np.ndarray, categories: int, missing: Missing = "available") -> Agreement:
    """Return Conger's kappa (1980, Psychol. Bull. 88:322): Fleiss' with each rater's own shares in the chance agreement.

    That is the mean over pairs of raters of the product of their shares; with missing ratings each rater's shares are of the
    items that the rater rated.
    """
    part = _part(codes, missing)
    counts, raters = count_categories(part, categories), part.shape[1]
    if len(counts) == 0 or raters < 2:
        return _incomplete(codes, 1)
    own = count_categories(part.T, categories)
    own /= own.sum(axis=1, keepdims=True)
    chance = (float((own.sum(axis=0) ** 2).sum()) - float((own**2).sum())) / (raters * (raters - 1))
    return _coefficient(counts, np.eye(categories), chance)


def gwet_ac(codes: np.ndarray, categories: int, weights: Weights = "nominal") -> Agreement:
    """Return Gwet's AC1 (nominal weights) or AC2 (Gwet 2008, Br. J. Math. Stat. Psychol. 61:29)."""
    counts, weight = count_categories(rated_part(codes), categories), weight_matrix(categories, weights)
    share = mean_shares(counts)
    if categories < 2:
        return NO_VARIATION if len(counts) else NO_DATA
    chance = float(weight.sum()) / (categories * (categories - 1)) * float((share * (1 - share)).sum())
    return _coefficient(counts, weight, chance)


def brennan_prediger(codes: np.ndarray, categories: int, weights: Weights = "nominal") -> Agreement:
    """Return the coefficient of Brennan and Prediger (1981), whose chance agreement is that of uniform guessing."""
    weight = weight_matrix(categories, weights)
    return _coefficient(count_categories(rated_part(codes), categories), weight, float(weight.sum()) / categories**2)


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
    codes = rated_part(codes)
    counts = count_categories(codes, len(points))
    counts = counts[counts.sum(axis=1) >= 2]
    if len(counts) == 0:
        return undefined(codes)
    per_item = counts / (counts.sum(axis=1, keepdims=True) - 1)
    coincidence = counts.T @ per_item - np.diag(per_item.sum(axis=0))
    total = coincidence.sum(axis=1)
    n = float(total.sum())
    distance = _distances(points, total, level)
    observed = float((coincidence * distance).sum()) / n
    expected = float(((np.outer(total, total) - np.diag(total)) * distance).sum()) / (n * (n - 1))
    return NO_VARIATION if expected <= TINY else Agreement(1 - observed / expected)


def kendall_w(ratings: np.ndarray) -> Agreement:
    """Return Kendall's W, corrected for ties, over the items that every rater rated (Kendall & Babington Smith 1939).

    ratings: (items, raters), codes of ordered categories with -1 where missing, or numbers with NaN where missing.
    """
    values = complete_part(ratings)
    n, raters = values.shape
    if n < 2 or raters < 2:
        return _incomplete(ratings, 2)
    ranks = stats.rankdata(values, axis=0)
    ties = sum(float((t**3 - t).sum()) for t in (np.unique(column, return_counts=True)[1] for column in values.T))
    spread = float(((ranks.sum(axis=1) - raters * (n + 1) / 2) ** 2).sum())
    most = raters**2 * (n**3 - n) - raters * ties
    return NO_VARIATION if most <= TINY else Agreement(12 * spread / most)


Coefficient = Callable[[np.ndarray, int], Agreement]
_NOMINAL: dict[str, Coefficient] = {
    "percent_agreement": percent_agreement,
    "unanimity": lambda codes, _: unanimity(codes),
    "mean_cohen_kappa": mean_cohen_kappa,
    "fleiss_kappa": fleiss_kappa,
    "conger_kappa": conger_kappa,
    "krippendorff_alpha": krippendorff_alpha,
    "gwet_ac1": gwet_ac,
    "brennan_prediger": brennan_prediger,
}
_ORDINAL: dict[str, Coefficient] = {
    **_NOMINAL,
    "krippendorff_alpha": partial(krippendorff_alpha, level="ordinal"),
    "mean_cohen_kappa_quadratic": partial(mean_cohen_kappa, weights="quadratic"),
    "gwet_ac2_quadratic": partial(gwet_ac, weights="quadratic"),
    "kendall_w": lambda codes, _: kendall_w(codes),
}


def _icc(form: str) -> Coefficient:
    return lambda ratings, _: icc(ratings, form).agreement


# Of numbers, float64 with NaN where missing; the number of categories is not used. Intervals of ICC are those of `icc`, from F.
_INTERVAL: dict[str, Coefficient] = {
    "krippendorff_alpha": lambda ratings, _: krippendorff_alpha(ratings, None, "interval"),
    **{form: _icc(form) for form in FORMS},
}
BATTERIES: Mapping[str, Mapping[str, Coefficient]] = {"nominal": _NOMINAL, "ordinal": _ORDINAL, "interval": _INTERVAL}
FROM_ZERO = frozenset({"percent_agreement", "unanimity", "kendall_w"})


class AgreementInterval(NamedTuple):
    """The interval, or None; what must be said beside it; where all agreed, a bound on the share of items with disagreement."""

    interval: Interval | None
    note: str
    disagreement_high: float | None = None


def agreement_interval(
    statistic: Callable[[np.ndarray], Agreement],
    ratings: np.ndarray,
    rng: np.random.Generator,
    low: float = -1.0,
    units: np.ndarray | None = None,
    many: Callable[[np.ndarray], Many | None] | None = None,
) -> AgreementInterval:
    """Return the interval of a statistic of `ratings` (items, raters), resampling items; the raters are taken as given.

    BCa bootstrap up to 50 items, delete-one jackknife above, and for five or more raters of ten or fewer items. Where no item
    shows a disagreement an interval would have no width; the upper 95 % bound on the share of such items is given instead.
    units: (items,), the patient of each item: items of one patient are then drawn and left out together, and patients are counted
    in place of items. many: the same statistic of many resamples at once (`resamples`), which only saves time.
    """
    ratings, owner = _with_owners(ratings, units)
    n, raters = int(owner.max(initial=-1)) + 1, ratings.shape[1]
    whose = "items" if n == len(ratings) else "patients"
    whole = statistic(ratings)
    if whole.value is None:
        return AgreementInterval(None, whole.reason)
    if n < 2:
        return AgreementInterval(None, f"one {whose[:-1]} has no interval")
    seen = is_rated(ratings)
    paired = seen.sum(axis=1) >= 2
    agreed = [len(np.unique(row[there])) == 1 for row, there in zip(ratings[paired], seen[paired], strict=True)]
    if agreed and all(agreed):
        high = upper_bound_proportion(0, len(np.unique(owner[paired])))
        share = f"upper 95 % bound on the share of {whose} with disagreement: {high:.1%}"
        return AgreementInterval(None, f"no disagreement observed on {len(agreed)} items; {share}", high)
    members = [np.flatnonzero(owner == unit) for unit in range(n)]
    quick = many(ratings) if many else None

    def on(drawn: np.ndarray) -> float | None:
        return statistic(ratings[drawn if n == len(ratings) else np.concatenate([members[unit] for unit in drawn])]).value

    def on_many(times: np.ndarray) -> np.ndarray:
        assert quick is not None
        return quick(times[:, owner])

    try:
        jackknife = n > _BOOTSTRAP_ITEMS or (raters >= _MANY_RATERS and n <= _FEW_ITEMS)
        at_once = on_many if quick else None
        if jackknife:
            interval = jackknife_t(on, n, low, 1.0, many=at_once, whose=whose)
        else:
            interval = bca_interval(on, n, REPLICATES, rng, many=at_once, whose=whose)
    except ValueError as error:
        return AgreementInterval(None, str(error))
    small = f"; with fewer than {_SMALL} {whose} the interval is optimistic where agreement is high" if n < _SMALL else ""
    return AgreementInterval(interval, "raters taken as fixed" + small)


def _with_owners(ratings: np.ndarray, units: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the ratings without items and raters that have none, and the number of each item's unit; in order where all differ."""
    ratings = np.asarray(ratings)
    if units is not None and np.shape(units) != ratings.shape[:1]:
        raise ValueError(f"every item needs its unit: {len(ratings)} items, units of shape {np.shape(units)}")
    part = rated_part(ratings)
    if units is None or not part.size:
        return part, np.arange(len(part))
    present, owner = np.unique(np.asarray(units)[is_rated(ratings).any(axis=1)], return_inverse=True)
    return part, np.arange(len(part)) if len(present) == len(part) else owner


def _incomplete(ratings: np.ndarray, least: int) -> Agreement:
    """Return why a statistic of the items that every rater rated is undefined where they are fewer than `least`."""
    part = rated_part(ratings)
    if not (is_rated(part).sum(axis=1) >= 2).any():
        return undefined(part)
    return NO_OVERLAP._replace(reason=f"fewer than {least} of {len(part)} items were rated by every rater")


def _part(codes: np.ndarray, missing: Missing) -> np.ndarray:
    return rated_part(codes) if missing == "available" else complete_part(codes)


def _pairs(codes: np.ndarray) -> list[tuple[int, int, np.ndarray]]:
    seen = codes >= 0
    found = ((g, h, seen[:, g] & seen[:, h]) for g, h in combinations(range(codes.shape[1]), 2))
    return [(g, h, both) for g, h, both in found if both.any()]


def _coefficient(counts: np.ndarray, weight: np.ndarray, chance: float) -> Agreement:
    observed = observed_agreement(counts, weight)
    if observed is None:
        return NO_OVERLAP if len(counts) else NO_DATA
    return beyond_chance(observed, chance)


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
