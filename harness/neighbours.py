"""Exact nearest neighbours in blocks, shared by every metric that asks and reused by every resample.

Features are centred on the joint mean first: expanded squared distances then lose no digits when the features sit far from the
origin. The chosen neighbours' distances are recomputed by direct differences, so an exact copy has distance exactly zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

_KEPT_ENTRIES = 10_000_000
_BLOCK_ENTRIES = 4_000_000
_ROUNDING = 1e-12
_EXACT_PAIRS = 10_000


@dataclass
class Pool:
    """Feature rows of named roles and the distances between them; `take` gives a view on some rows that shares the distances."""

    raw: Mapping[str, np.ndarray]
    rows: dict[str, np.ndarray | None] = field(default_factory=dict)
    _centred: dict[str, np.ndarray] = field(default_factory=dict)
    _squared: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    _answers: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self._centred:
            # One constant for all roles: any constant leaves distances unchanged, the joint mean keeps the most digits.
            total = sum(len(x) for x in self.raw.values())
            mean = sum(np.asarray(x, dtype=np.float64).sum(axis=0) for x in self.raw.values()) / max(total, 1)
            for name, x in self.raw.items():
                self._centred[name] = np.asarray(x, dtype=np.float64) - mean

    def take(self, rows: Mapping[str, np.ndarray | None]) -> Pool:
        """Return the pool of these rows of each role (None = all of them)."""
        chosen = {}
        for name in self.raw:
            old, new = self.rows.get(name), rows.get(name)
            if new is not None:
                new = np.flatnonzero(new) if new.dtype == bool else np.asarray(new, dtype=np.int64)
            chosen[name] = old if new is None else (new if old is None else old[new])
        return Pool(self.raw, chosen, self._centred, self._squared)

    def features(self, role: str) -> np.ndarray:
        """(N, F) float64 features of a role, centred on the joint mean of the whole pool."""
        rows = self.rows.get(role)
        return self._centred[role] if rows is None else self._centred[role][rows]

    def _kept(self, of: str, among: str) -> np.ndarray | None:
        """Whole matrix of squared distances between two roles of the parent pool, where it is small enough to keep."""
        a, b = self._centred[of], self._centred[among]
        if len(a) * len(b) > _KEPT_ENTRIES:
            return None
        if (of, among) not in self._squared:
            if (among, of) in self._squared:
                self._squared[of, among] = self._squared[among, of].T
            else:
                self._squared[of, among] = _squared_distances(a, b)
        return self._squared[of, among]

    def _blocks(self, of: str, among: str) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield slices of `of` with their (block, N_among) squared distances."""
        kept = self._kept(of, among)
        rows_of, rows_among = self.rows.get(of), self.rows.get(among)
        n, m = len(self.features(of)), len(self.features(among))
        step = max(1, _BLOCK_ENTRIES // max(m, 1))
        a, b = (self.features(of), self.features(among)) if kept is None else (None, None)
        for start in range(0, n, step):
            part = slice(start, min(start + step, n))
            if kept is None:
                assert a is not None
                assert b is not None
                yield part, _squared_distances(a[part], b)
            else:
                left = kept[part] if rows_of is None else kept[rows_of[part]]
                yield part, left if rows_among is None else left[:, rows_among]

    def neighbours(self, of: str, among: str, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return distances and indices (N_of, k), nearest first; within one role the image itself is left out."""
        known = self._answers.get((of, among))
        if known is not None and known[0].shape[1] >= k >= 1:
            return known[0][:, :k], known[1][:, :k]
        a, b = self.features(of), self.features(among)
        own = of == among
        available = len(b) - own
        if k < 1 or k > available:
            raise ValueError(f"k = {k} neighbours asked for, {available} available")
        index = np.empty((len(a), k), dtype=np.int64)
        distance = np.empty((len(a), k))
        # A few spare candidates: their order is settled by exact distances below.
        spare = min(k + 2, available)
        for part, block in self._blocks(of, among):
            squared = np.array(block)
            if own:
                squared[np.arange(len(squared)), np.arange(part.start, part.stop)] = np.inf
            near = (
                np.argpartition(squared, spare - 1, axis=1)[:, :spare]
                if spare < squared.shape[1]
                else np.broadcast_to(np.arange(squared.shape[1]), squared.shape)
            )
            exact = np.stack([np.sqrt(((a[part] - b[near[:, j]]) ** 2).sum(axis=1)) for j in range(spare)], axis=1)
            order = np.lexsort((near, exact), axis=1)[:, :k]
            index[part] = np.take_along_axis(near, order, axis=1)
            distance[part] = np.take_along_axis(exact, order, axis=1)
        self._answers[of, among] = distance, index
        return distance, index

    def within(self, of: str, among: str, radii: np.ndarray) -> np.ndarray:
        """Return (N_of,) counts of the balls round `among` (radii (N_among,)) that hold each row of `of` strictly inside."""
        radii = np.asarray(radii, dtype=np.float64)
        a, b = self.features(of), self.features(among)
        length_a, length_b = (a**2).sum(axis=1), (b**2).sum(axis=1)
        counts = np.empty(len(a), dtype=np.int64)
        for part, squared in self._blocks(of, among):
            inside = squared < radii**2
            # Pairs too close to the surface for the expanded form are settled by direct differences.
            slack = _ROUNDING * (length_a[part][:, None] + length_b[None, :])
            near_i, near_j = np.nonzero(np.abs(squared - radii**2) <= slack)
            for start in range(0, len(near_i), _EXACT_PAIRS):
                i, j = near_i[start : start + _EXACT_PAIRS], near_j[start : start + _EXACT_PAIRS]
                inside[i, j] = np.sqrt(((a[part.start + i] - b[j]) ** 2).sum(axis=1)) < radii[j]
            counts[part] = inside.sum(axis=1)
        return counts


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return (N, M) squared Euclidean distances of centred float64 rows, never below zero."""
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * (a @ b.T)
    np.maximum(squared, 0.0, out=squared)
    return np.asarray(squared)
