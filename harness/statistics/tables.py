"""Tables of ratings, (items, raters): words as codes, what is missing, counts by category; and what an undefined coefficient is.

Codes are positions in the declared categories, -1 where there is no rating; numbers are float64, NaN where there is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

Weights = Literal["nominal", "linear", "quadratic"] | np.ndarray
MISSING = -1
TINY = 1e-12


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


def is_rated(ratings: np.ndarray) -> np.ndarray:
    """Return which cells of a table hold a rating, bool of the same shape."""
    return np.asarray(~np.isnan(ratings) if ratings.dtype.kind == "f" else ratings >= 0)


def rated_part(ratings: np.ndarray) -> np.ndarray:
    """Return the ratings without the items and the raters that have none."""
    ratings = np.asarray(ratings)
    if ratings.ndim != 2:
        return ratings.reshape(0, 0)
    seen = is_rated(ratings)
    return ratings if seen.all() else ratings[seen.any(axis=1)][:, seen.any(axis=0)]


def complete_part(ratings: np.ndarray) -> np.ndarray:
    """Return the items that every rater rated; raters without a rating are no raters."""
    ratings = rated_part(ratings)
    return np.asarray(ratings[is_rated(ratings).all(axis=1)])


def undefined(ratings: np.ndarray) -> Agreement:
    """Return why a table in which no two ratings can be compared has no coefficient."""
    return NO_OVERLAP if ratings.size else NO_DATA


def count_categories(codes: np.ndarray, categories: int) -> np.ndarray:
    """Return (items, categories) float64: how many raters gave each category."""
    return (codes[:, :, None] == np.arange(categories)).sum(axis=1).astype(np.float64)


def mean_shares(counts: np.ndarray) -> np.ndarray:
    """Return the mean over items of each category's share of the item's ratings, (categories,)."""
    return (counts / counts.sum(axis=1, keepdims=True)).mean(axis=0) if len(counts) else np.zeros(counts.shape[1])


def item_agreement(counts: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted share of agreeing pairs of each item, (items,), 0 where none has two ratings, and which have two."""
    raters = counts.sum(axis=1)
    paired = raters >= 2
    agreeing = (counts * (counts @ weight - 1)).sum(axis=1)
    return np.divide(agreeing, raters * (raters - 1), out=np.zeros(len(counts)), where=paired), paired


def observed_agreement(counts: np.ndarray, weight: np.ndarray) -> float | None:
    """Return the mean over items with two ratings or more of the weighted share of agreeing pairs, None without such an item."""
    shares, paired = item_agreement(counts, weight)
    return float(shares[paired].mean()) if paired.any() else None


def beyond_chance(observed: float, chance: float) -> Agreement:
    """Return (observed - chance) / (1 - chance), undefined where chance agreement is complete."""
    return NO_VARIATION if 1 - chance <= TINY else Agreement((observed - chance) / (1 - chance))
