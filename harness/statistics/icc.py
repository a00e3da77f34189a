"""Intraclass correlations of raters who give numbers: the six forms of Shrout and Fleiss, from a two-way analysis of variance.

Only items that every rater rated count. The forms carry the names of McGraw and Wong (1996, Psychol. Methods 1:30; corrected p. 390):
icc_1_1 and icc_1_k for raters drawn anew for each item, icc_a_1 and icc_a_k for absolute agreement of raters who rate all items,
icc_c_1 and icc_c_k for their consistency, where a rater may be higher than another by a constant. _1 is about one rater, _k about
the mean of all. Shrout and Fleiss (1979, Psychol. Bull. 86:420) call them (1,1), (1,k), (2,1), (2,k), (3,1) and (3,k).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from .intervals import LEVEL, Interval
from .tables import NO_VARIATION, TINY, Agreement, complete_part, rated_part, undefined

FORMS = ("icc_1_1", "icc_a_1", "icc_c_1", "icc_1_k", "icc_a_k", "icc_c_k")
NO_ERROR = "the raters differ nowhere, so an interval would have no width"
NO_LOWER = "the ratings are too few and too different for a lower limit of the mean of raters"


@dataclass(frozen=True)
class Anova:
    """Mean squares of complete ratings (n items, k raters): between items, within items, between raters, and the rest."""

    items: float
    within: float
    raters: float
    error: float
    n: int
    k: int


@dataclass(frozen=True)
class Icc:
    """An intraclass correlation, the F test of none at all, and the interval from F; `note` says why something is None."""

    agreement: Agreement
    n_items: int
    n_raters: int
    f: float | None = None
    df1: int | None = None
    df2: int | None = None
    p: float | None = None
    interval: Interval | None = None
    note: str = ""


def anova(ratings: np.ndarray) -> Anova | None:
    """Return the mean squares of the items that every rater rated, None for fewer than two such items or raters.

    ratings: (items, raters), float64 with NaN where missing, or codes with -1 where missing. Mean squares that are rounding are 0.
    """
    values = complete_part(ratings).astype(np.float64)
    n, k = values.shape
    if n < 2 or k < 2:
        return None
    rounding = values.size * (TINY * float(np.abs(values).max())) ** 2
    values = values - values.mean()
    of_item, of_rater = values.mean(axis=1), values.mean(axis=0)
    total = float((values**2).sum())
    items, raters = k * float((of_item**2).sum()), n * float((of_rater**2).sum())
    rest = float(((values - of_item[:, None] - of_rater) ** 2).sum())
    within = float(((values - of_item[:, None]) ** 2).sum())
    least = max(TINY * total, rounding)
    items, within, raters, rest = (part if part > least else 0.0 for part in (items, within, raters, rest))
    return Anova(items / (n - 1), within / (n * (k - 1)), raters / (k - 1), rest / ((n - 1) * (k - 1)), n, k)


def icc(ratings: np.ndarray, form: str) -> Icc:
    """Return one form of the intraclass correlation of ratings, (items, raters), as `anova` takes them.

    The limits of icc_a_k are the image of those of icc_a_1 under Spearman and Brown's formula, as Shrout and Fleiss have it.
    """
    if form not in FORMS:
        raise ValueError(f"an intraclass correlation is one of {', '.join(FORMS)}, got {form!r}")
    there = complete_part(ratings)
    n_items, n_raters = there.shape
    found = anova(ratings)
    if found is None:
        any_rated = rated_part(ratings)
        few = f"{n_items} items were rated by each of {n_raters} raters, and an intraclass correlation needs two of both"
        return Icc(undefined(any_rated)._replace(reason=few) if any_rated.size else undefined(any_rated), n_items, n_raters)
    value = _value(found, form)
    if value is None:
        return Icc(NO_VARIATION._replace(reason="the items do not differ, so there is nothing to tell apart"), n_items, n_raters)
    error = found.within if form.startswith("icc_1") else found.error
    df2 = found.n * (found.k - 1) if form.startswith("icc_1") else (found.n - 1) * (found.k - 1)
    if error == 0:
        return Icc(Agreement(value), n_items, n_raters, df1=found.n - 1, df2=df2, note=NO_ERROR)
    f = found.items / error
    two, one = (1 + LEVEL) / 2, LEVEL
    limits = [limit for quantile in (two, one) for limit in _limits(found, form, value, f, df2, quantile)]
    if not np.isfinite(limits).all():
        return Icc(Agreement(value), n_items, n_raters, f, found.n - 1, df2, float(stats.f.sf(f, found.n - 1, df2)), note=NO_LOWER)
    method = f"F, {n_items} items rated by each of {n_raters} raters"
    return Icc(
        Agreement(value), n_items, n_raters, f, found.n - 1, df2, float(stats.f.sf(f, found.n - 1, df2)),
        Interval(limits[0], limits[1], limits[2], limits[3], method),
    )  # fmt: skip


def _value(m: Anova, form: str) -> float | None:
    """Return the coefficient, None where its denominator is 0."""
    error = m.within if form.startswith("icc_1") else m.error
    raters = (m.raters - m.error) / m.n if form.startswith("icc_a") else 0.0
    whole = m.items + raters if form.endswith("_k") else m.items + (m.k - 1) * error + m.k * raters
    return (m.items - error) / whole if whole > TINY * (m.items + m.within) else None


def _limits(m: Anova, form: str, value: float, f: float, df2: int, quantile: float) -> tuple[float, float]:
    """Return the limits that are each passed with probability 1 - quantile."""
    k = m.k
    if form.startswith("icc_a"):
        single = _limits_of_agreement(m, quantile)
        return (single[0], single[1]) if form.endswith("_1") else (_of_mean(single[0], k), _of_mean(single[1], k))
    df1 = m.n - 1
    low, high = f / float(stats.f.ppf(quantile, df1, df2)), f * float(stats.f.ppf(quantile, df2, df1))
    if form.endswith("_k"):
        return 1 - 1 / low, 1 - 1 / high
    return (low - 1) / (low + k - 1), (high - 1) / (high + k - 1)


def _limits_of_agreement(m: Anova, quantile: float) -> tuple[float, float]:
    """Return the limits of icc_a_1 with the degrees of freedom of Satterthwaite (Shrout & Fleiss 1979, p. 424)."""
    n, k = m.n, m.k
    single = _value(m, "icc_a_1")
    assert single is not None
    ratio = m.raters / m.error
    mixed = k * single * ratio + n * (1 + (k - 1) * single) - k * single
    df = (k - 1) * (n - 1) * mixed**2 / ((n - 1) * (k * single * ratio) ** 2 + (n * (1 + (k - 1) * single) - k * single) ** 2)
    lower, upper = float(stats.f.ppf(quantile, n - 1, df)), float(stats.f.ppf(quantile, df, n - 1))
    rest = k * m.raters + (k * n - k - n) * m.error
    return n * (m.items - lower * m.error) / (lower * rest + n * m.items), n * (upper * m.items - m.error) / (rest + n * upper * m.items)


def _of_mean(single: float, k: int) -> float:
    """Return the reliability of the mean of k raters (Spearman 1910, Brown 1910); it has no lower end at -1 / (k - 1)."""
    rest = 1 + (k - 1) * single
    return k * single / rest if rest > 0 else -np.inf
