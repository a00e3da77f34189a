"""Large-sample standard errors of agreement coefficients, and the test that Fleiss' kappa is 0.

They are what other packages print beside a coefficient. From 10 to 50 items they are too short; the interval to report is that of
`agreement.agreement_interval`. All of them take the raters as given and items as drawn. Codes and categories as in `agreement`.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from . import agreement
from .intervals import LEVEL
from .tables import (
    NO_VARIATION,
    TINY,
    Agreement,
    Weights,
    beyond_chance,
    complete_part,
    count_categories,
    item_agreement,
    mean_shares,
    rated_part,
    undefined,
    weight_matrix,
)

Corrected = Literal["fleiss_kappa", "conger_kappa", "gwet_ac", "brennan_prediger"]


class LargeSample(NamedTuple):
    """A coefficient, observed and chance agreement, its standard error, and the limits of value +- t(n - 1) * error, at most 1.

    Without a value all else is None; without a standard error (one item, or one of 0) so are the limits. n: items.
    """

    agreement: Agreement
    n: int
    observed: float | None = None
    chance: float | None = None
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None


class CohenError(NamedTuple):
    """Cohen's kappa, its standard error, that if the raters were independent, and the limits of value +- 1.96 * error.

    A standard error can be 0, as where one rater gives one category only; there are no limits then. n: items that both rated.
    """

    agreement: Agreement
    n: int
    standard_error: float | None = None
    standard_error_if_independent: float | None = None
    low: float | None = None
    high: float | None = None


class NullTest(NamedTuple):
    """The test that kappa is 0: kappa, its standard error if it were 0, z, and the two-sided p; all None but kappa if undefined."""

    agreement: Agreement
    standard_error: float | None = None
    z: float | None = None
    p: float | None = None


def cohen_error(codes: np.ndarray, categories: int, weights: Weights = "nominal") -> CohenError:
    """Return the standard error of Cohen's (weighted) kappa of two raters (Fleiss, Cohen & Everitt 1969, Psychol. Bull. 72:323)."""
    kappa = agreement.cohen_kappa(codes, categories, weights)
    both = codes[(codes >= 0).all(axis=1)]
    n = len(both)
    if kappa.value is None:
        return CohenError(kappa, n)
    weight = weight_matrix(categories, weights)
    table = np.bincount(both[:, 0] * categories + both[:, 1], minlength=categories**2).reshape(categories, categories) / n
    first, second = table.sum(axis=1), table.sum(axis=0)
    mean_weight = (weight @ second)[:, None] + weight.T @ first
    chance = float(first @ weight @ second)
    own = float((table * (weight - mean_weight * (1 - kappa.value)) ** 2).sum()) - (kappa.value - chance * (1 - kappa.value)) ** 2
    independent = float((np.outer(first, second) * (weight - mean_weight) ** 2).sum()) - chance**2
    error, null = (_root(variance) / ((1 - chance) * math.sqrt(n)) for variance in (own, independent))
    reach = float(stats.norm.ppf((1 + LEVEL) / 2)) * error
    low, high = (kappa.value - reach, kappa.value + reach) if error > 0 else (None, None)
    return CohenError(kappa, n, error, null, low, high)


def large_sample(codes: np.ndarray, categories: int, coefficient: Corrected, weights: Weights = "nominal") -> LargeSample:
    """Return Gwet's linearised standard error (Gwet 2008, Br. J. Math. Stat. Psychol. 61:29; Handbook, 2014, chapter 5).

    Over all items with a rating; weights other than nominal are for gwet_ac and brennan_prediger.
    """
    codes = rated_part(codes)
    counts, weight = count_categories(codes, categories), weight_matrix(categories, weights)
    shares, paired = item_agreement(counts, weight)
    n = len(counts)
    if not paired.any():
        return LargeSample(undefined(codes), n)
    if coefficient == "gwet_ac" and categories < 2:
        return LargeSample(NO_VARIATION, n)
    chance, moved = _chance(codes, counts, weight, coefficient)
    observed = float(shares[paired].mean())
    found = beyond_chance(observed, chance)
    if found.value is None:
        return LargeSample(found, n)
    value = found.value
    own = (n / paired.sum()) * (shares - chance * paired) / (1 - chance)
    own = own - (1 - value) * moved / (1 - chance)
    if n < 2:
        return LargeSample(found, n, observed, chance)
    variance = float(((own - value) ** 2).sum()) / (n * (n - 1))
    error = math.sqrt(variance) if variance > TINY**2 else 0.0
    if error == 0:
        return LargeSample(found, n, observed, chance)
    reach = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * error
    return LargeSample(found, n, observed, chance, error, value - reach, min(1.0, value + reach))


def _chance(codes: np.ndarray, counts: np.ndarray, weight: np.ndarray, coefficient: Corrected) -> tuple[float, np.ndarray]:
    """Return chance agreement and, (items,), its derivative in the weight of each item."""
    q = len(weight)
    if coefficient == "brennan_prediger":
        return float(weight.sum()) / q**2, np.zeros(len(counts))
    if coefficient == "conger_kappa":
        return _conger_chance(codes, weight)
    share, own = mean_shares(counts), counts / counts.sum(axis=1, keepdims=True)
    if coefficient == "fleiss_kappa":
        chance = float(share @ weight @ share)
        return chance, 2 * (own @ ((weight + weight.T) @ share) / 2 - chance)
    factor = float(weight.sum()) / (q * (q - 1))
    chance = factor * float((share * (1 - share)).sum())
    return chance, 2 * (factor * own @ (1 - share) - chance)


def _conger_chance(codes: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
    q, (n, raters) = len(weight), codes.shape
    given = (codes[:, :, None] == np.arange(q)).astype(np.float64)
    rated = given.sum(axis=0).sum(axis=1)
    share = given.sum(axis=0) / rated[:, None]
    others = (share.sum(axis=0) - share) @ weight
    chance = float((share * others).sum()) / (raters * (raters - 1))
    apart = np.where((codes >= 0)[:, :, None], given - share, 0.0) * (n / rated)[:, None]
    return chance, 2 * np.einsum("irq,rq->i", apart, others) / (raters * (raters - 1))


def fleiss_null_test(codes: np.ndarray, categories: int) -> NullTest:
    """Return the test that Fleiss' kappa is 0 (Fleiss, Nee & Landis 1979, Psychol. Bull. 86:974), over the items all raters rated.

    Its standard error holds if kappa is 0 and nowhere else: it is for this test alone, never for an interval.
    """
    kappa, (n, raters) = agreement.fleiss_kappa(codes, categories, "listwise"), complete_part(codes).shape
    if kappa.value is None:
        return NullTest(kappa)
    share = mean_shares(count_categories(complete_part(codes), categories))
    spread = share * (1 - share)
    variance = float(spread.sum()) ** 2 - float((spread * (1 - 2 * share)).sum())
    error = math.sqrt(2 * variance / (n * raters * (raters - 1))) / float(spread.sum())
    return _tested(kappa, error)


def fleiss_null_tests_by_category(codes: np.ndarray, categories: int) -> tuple[NullTest, ...]:
    """Return the same test of each category against all others; its standard error is sqrt(2 / (n r (r - 1))) for every one."""
    complete = complete_part(codes)
    n, raters = complete.shape
    found = agreement.fleiss_by_category(complete, categories)
    return tuple(NullTest(k) if k.value is None else _tested(k, math.sqrt(2 / (n * raters * (raters - 1)))) for k in found)


def _tested(kappa: Agreement, error: float) -> NullTest:
    assert kappa.value is not None
    z = kappa.value / error
    return NullTest(kappa, error, z, float(2 * stats.norm.sf(abs(z))))


def _root(variance: float) -> float:
    """Return the root of a variance; rounding below 0 is 0."""
    return math.sqrt(variance) if variance > TINY else 0.0
