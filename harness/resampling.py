"""How images are split and drawn: always by what they belong to (patients, files), the same for every metric, so that metrics compare."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .errors import NotComputable

LEAST_UNITS = 8


def halves(units: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of two halves of the patients: the anchor, which plays the training set, and the probe."""
    present = np.unique(units)
    if len(present) < LEAST_UNITS:
        raise NotComputable(f"needs at least {LEAST_UNITS} patients to split, got {len(present)}")
    first = np.random.default_rng(seed).permutation(present)[: (len(present) + 1) // 2]
    inside = np.isin(units, first)
    return np.flatnonzero(inside), np.flatnonzero(~inside)


def draw(units: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return n rows, patient by patient in random order; the last patient may be cut short."""
    return np.sort(by_patient(units, rng)[:n])


def draw_named(ids: Sequence[str], units: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return n rows as `draw` does, and the same images in whatever order they come."""
    order = np.argsort(np.array(ids))
    return np.sort(order[draw(numbered(units[order]), n, rng)])


def numbered(units: np.ndarray) -> np.ndarray:
    """Return units numbered from 0 in order of first appearance."""
    _, first, inverse = np.unique(units, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def by_patient(units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return all rows, the patients in random order and each patient's rows together."""
    order = rng.permutation(np.unique(units))
    rank = np.empty(int(units.max()) + 1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    return np.argsort(rank[units], kind="stable")
