"""The coefficients of `agreement` on many resamples of items at once, from sums over items: a bootstrap of thousands in a moment.

Each function takes ratings (items, raters) and the number of declared categories and gives a function of `times`, (B, items), how
often each item was drawn, which returns (B,) float64: what `agreement` gives for these items, NaN where it gives nothing. It
gives None where sums over items do not determine the coefficient. `agreement_interval` takes them as `many`, for instance
`many=quick("nominal", "fleiss_kappa", 3)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import combinations
from typing import Literal

import numpy as np

from .intervals import Many
from .tables import TINY, Weights, count_categories, is_rated, item_agreement, weight_matrix

Quick = Callable[[np.ndarray, int], Many | None]


def percent_agreement(ratings: np.ndarray, categories: int) -> Many:
    """The mean over rater pairs of the share of items on which the pair agrees."""
    pairs = [(both, both & (ratings[:, g] == ratings[:, h])) for g, h, both in _pairs(ratings)]

    def on(times: np.ndarray) -> np.ndarray:
        return _mean_of_defined(len(times), (_ratio(times @ agree, times @ both) for both, agree in pairs))

    return on


def unanimity(ratings: np.ndarray, categories: int) -> Many | None:
    """The share of items on which all raters agree; None with missing ratings, where a resample can lose a rater."""
    if not is_rated(ratings).all() or ratings.shape[1] < 2:
        return None
    same = (ratings == ratings[:, :1]).all(axis=1)
    return lambda times: _ratio(times @ same, times.sum(axis=1))


def mean_cohen_kappa(ratings: np.ndarray, categories: int, weights: Weights = "nominal") -> Many:
    """The mean over rater pairs of Cohen's kappa."""
    weight = weight_matrix(categories, weights)
    cells = [np.where(both, ratings[:, g] * categories + ratings[:, h], -1) for g, h, both in _pairs(ratings)]

    def kappa(times: np.ndarray, cell: np.ndarray) -> np.ndarray:
        sums = times @ (cell[:, None] == np.arange(categories**2)).astype(np.float64)
        table = _ratio(sums, sums.sum(axis=1, keepdims=True)).reshape(-1, categories, categories)
        chance = np.einsum("bi,ij,bj->b", table.sum(axis=2), weight, table.sum(axis=1))
        return _beyond((weight * table).sum(axis=(1, 2)), chance)

    return lambda times: _mean_of_defined(len(times), (kappa(times, cell) for cell in cells))


def fleiss_kappa(ratings: np.ndarray, categories: int) -> Many:
    """Fleiss' kappa on the available ratings."""
    observed, share = _observed_and_shares(ratings, np.eye(categories), categories)
    return lambda times: _beyond(observed(times), (share(times) ** 2).sum(axis=1))


def gwet_ac(ratings: np.ndarray, categories: int, weights: Weights = "nominal") -> Many | None:
    """Gwet's AC1 or AC2; None for fewer than two categories."""
    if categories < 2:
        return None
    weight = weight_matrix(categories, weights)
    factor = float(weight.sum()) / (categories * (categories - 1))
    observed, share = _observed_and_shares(ratings, weight, categories)

    def on(times: np.ndarray) -> np.ndarray:
        shares = share(times)
        return _beyond(observed(times), factor * (shares * (1 - shares)).sum(axis=1))

    return on


def brennan_prediger(ratings: np.ndarray, categories: int) -> Many:
    """The coefficient of Brennan and Prediger."""
    observed, _ = _observed_and_shares(ratings, np.eye(categories), categories)
    return lambda times: _beyond(observed(times), np.full(len(times), 1 / categories))


def conger_kappa(ratings: np.ndarray, categories: int) -> Many:
    """Conger's kappa on the available ratings; a rater who has none in a resample is no rater there."""
    observed, _ = _observed_and_shares(ratings, np.eye(categories), categories)
    given = (ratings[:, :, None] == np.arange(categories)).astype(np.float64)

    def on(times: np.ndarray) -> np.ndarray:
        sums = np.einsum("bi,irk->brk", times.astype(np.float64), given)
        rated = sums.sum(axis=2, keepdims=True)
        own = np.divide(sums, rated, out=np.zeros_like(sums), where=rated > 0)
        raters = (rated > 0).sum(axis=(1, 2))
        products = (own.sum(axis=1) ** 2).sum(axis=1) - (own**2).sum(axis=(1, 2))
        return _beyond(observed(times), _ratio(products, raters * (raters - 1)))

    return on


def krippendorff_alpha(ratings: np.ndarray, categories: int, level: Literal["nominal", "ordinal"] = "nominal") -> Many:
    """Krippendorff's alpha of nominal or ordinal codes."""
    counts = count_categories(ratings, categories)
    raters = counts.sum(axis=1)
    counts, raters = np.where(raters[:, None] >= 2, counts, 0.0), np.maximum(raters, 2)
    per_item = counts / (raters - 1)[:, None]
    pairs = np.einsum("ik,il->ikl", counts, per_item) - np.einsum("ik,kl->ikl", per_item, np.eye(categories))

    def on(times: np.ndarray) -> np.ndarray:
        coincidence = (times @ pairs.reshape(len(pairs), -1)).reshape(-1, categories, categories)
        total = coincidence.sum(axis=2)
        n = total.sum(axis=1)
        distance = _distances(total, level)
        observed = _ratio((coincidence * distance).sum(axis=(1, 2)), n)
        # The diagonal of the expected coincidences has no distance, so that it may be left in.
        expected = _ratio(np.einsum("bk,bl,bkl->b", total, total, distance), n * (n - 1))
        return _ratio(expected - observed, np.where(expected > TINY, expected, 0.0))

    return on


def interval_alpha(ratings: np.ndarray, categories: int) -> Many:
    """Krippendorff's alpha of numbers, float64 with NaN where missing, at interval level; the number of categories is not used.

    The sum of squared differences of all pairs of n values is n * sum of squares - square of the sum.
    """
    seen = is_rated(ratings)
    raters = seen.sum(axis=1)
    paired = raters >= 2
    centre = ratings[seen].mean() if seen.any() else 0.0
    values = np.where(seen & paired[:, None], np.nan_to_num(ratings) - centre, 0.0)
    sums, squares, n = values.sum(axis=1), (values**2).sum(axis=1), np.where(paired, raters, 0)
    within = 2 * (n * squares - sums**2) / np.maximum(n - 1, 1)

    def on(times: np.ndarray) -> np.ndarray:
        total = times @ n
        observed = _ratio(times @ within, total)
        spread = 2 * (total * (times @ squares) - (times @ sums) ** 2)
        expected = _ratio(spread, total * (total - 1))
        return _ratio(expected - observed, np.where(expected > TINY, expected, 0.0))

    return on


_NOMINAL: dict[str, Quick] = {
    "percent_agreement": percent_agreement,
    "unanimity": unanimity,
    "mean_cohen_kappa": mean_cohen_kappa,
    "fleiss_kappa": fleiss_kappa,
    "conger_kappa": conger_kappa,
    "krippendorff_alpha": krippendorff_alpha,
    "gwet_ac1": gwet_ac,
    "brennan_prediger": brennan_prediger,
}
# By level and name as the batteries of `agreement`; what is not here has no sums: Kendall's W and the intraclass correlations.
QUICK: Mapping[str, Mapping[str, Quick]] = {
    "nominal": _NOMINAL,
    "ordinal": {
        **_NOMINAL,
        "krippendorff_alpha": partial(krippendorff_alpha, level="ordinal"),
        "mean_cohen_kappa_quadratic": partial(mean_cohen_kappa, weights="quadratic"),
        "gwet_ac2_quadratic": partial(gwet_ac, weights="quadratic"),
    },
    "interval": {"krippendorff_alpha": interval_alpha},
}


def quick(level: str, name: str, categories: int) -> Callable[[np.ndarray], Many | None] | None:
    """Return what `agreement_interval` takes as `many` for a coefficient of a battery, None where there is nothing quicker."""
    if name not in QUICK.get(level, {}):
        return None
    function = QUICK[level][name]
    return lambda ratings: function(ratings, categories)


def _observed_and_shares(ratings: np.ndarray, weight: np.ndarray, categories: int) -> tuple[Many, Many]:
    """Return functions of `times`: observed agreement (B,), and the mean shares of the categories, (B, categories)."""
    counts = count_categories(ratings, categories)
    agreeing, paired = item_agreement(counts, weight)
    own = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rated = counts.any(axis=1)
    return (
        lambda times: _ratio(times @ agreeing, times @ paired),
        lambda times: _ratio(times @ own, (times @ rated)[:, None]),
    )


def _pairs(ratings: np.ndarray) -> list[tuple[int, int, np.ndarray]]:
    seen = is_rated(ratings)
    return [(g, h, seen[:, g] & seen[:, h]) for g, h in combinations(range(ratings.shape[1]), 2)]


def _distances(total: np.ndarray, level: Literal["nominal", "ordinal"]) -> np.ndarray:
    """Return (B, categories, categories): the squared difference function of alpha."""
    if level == "nominal":
        return np.broadcast_to(1 - np.eye(total.shape[1]), (len(total), total.shape[1], total.shape[1]))
    middle = np.cumsum(total, axis=1) - total / 2
    return np.asarray((middle[:, :, None] - middle[:, None, :]) ** 2)


def _mean_of_defined(resamples: int, columns: Iterable[np.ndarray]) -> np.ndarray:
    """Return the mean over columns, (B,) each, of those that are not NaN."""
    total, defined = np.zeros(resamples), np.zeros(resamples)
    for column in columns:
        there = ~np.isnan(column)
        total += np.where(there, column, 0.0)
        defined += there
    return _ratio(total, defined)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, NaN where whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64))
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _beyond(observed: np.ndarray, chance: np.ndarray) -> np.ndarray:
    rest = 1 - chance
    return _ratio(observed - chance, np.where(rest > TINY, rest, 0.0))
