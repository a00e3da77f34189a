"""Exact nearest neighbours of named roles, shared by every metric that asks and by every resample, in bounded memory.

One pass over each role and one over each pair of roles list, for every row, more of its nearest rows than anybody asks for. From
these lists come the neighbours, the balls that hold a row and the reach of the balls, of all rows and of any selection of rows. Where
a selection has used up a row's list, that row alone is searched again. Every answer is that of brute force in double precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from .graphs import Graph, Lists, Matrix, Pair, add_others, add_weighted, count_inside, side_by_side, slices

MEMORY = 256 << 20
"""Bytes that kept distances and the blocks of a search may take together, lists of neighbours not counted."""

BALL = 5
"""Neighbours within a ball whose reach is listed along with the neighbours: what realism is usually computed with."""

_LISTED, _SPARE = 32, 8
_LEAST_SHARE = 0.25
_REACHING = 0.6
_ROWS = 8192
_FAR, _LARGE = 1e30, 1e29


class Survey:
    """What is known of the whole roles: their rows, and lists of the nearest that are made when somebody first asks."""

    def __init__(self, raw: Mapping[str, np.ndarray], memory: int, reaching: tuple[str, ...]) -> None:
        self.memory, self.reaching = memory, reaching
        width = max((x.shape[1] for x in raw.values() if x.ndim == 2), default=0)
        full = {role: _rows(x, width) for role, x in raw.items()}
        # One constant for all roles: any constant leaves distances unchanged, the joint mean keeps the most digits.
        total = sum(len(x) for x in full.values())
        centre = np.asarray(sum(x.sum(axis=0, dtype=np.float64) for x in full.values())) / max(total, 1)
        if all(x.dtype.itemsize <= 4 for x in full.values()):
            centre = centre.astype(np.float32)
        # One array in two roles, as where real images stand in for synthetic ones, is one matrix.
        made = {id(x): Matrix(x, centre) for x in full.values()}
        self.matrices = {role: made[id(x)] for role, x in full.items()}
        self._pairs: dict[tuple[str, str], Pair] = {}
        self._graphs: dict[tuple[str, str], Graph] = {}
        self._reaches: dict[tuple[str, str], Graph] = {}
        self._centred: dict[str, np.ndarray] = {}
        self._kept = 0

    def centred(self, role: str, rows: np.ndarray | None) -> np.ndarray:
        """Return float64 rows less the constant; the whole is kept where it is small."""
        matrix = self.matrices[role]
        if 8 * matrix.raw.size > self.memory // 8:
            return np.subtract(matrix.raw if rows is None else matrix.raw[rows], matrix.centre, dtype=np.float64)
        if role not in self._centred:
            self._centred[role] = np.subtract(matrix.raw, matrix.centre, dtype=np.float64)
        return self._centred[role] if rows is None else self._centred[role][rows]

    def pair(self, of: str, among: str) -> Pair:
        """Return the bounds between two roles, kept whole where that takes little memory."""
        if (of, among) not in self._pairs:
            if (among, of) in self._pairs:
                self._pairs[of, among] = self._pairs[among, of].flipped()
            else:
                a, b = self.matrices[of], self.matrices[among]
                size = 4 * len(a) * len(b)
                keep = size <= self.memory // 4 and self._kept + size <= self.memory // 2
                self._kept += size * keep
                self._pairs[of, among] = Pair(a, b, self.memory // 6, keep=keep)
        return self._pairs[of, among]

    def graph(self, of: str, among: str, k: int) -> Graph:
        """Return lists of at least the k nearest of each row of `of` among the rows of `among`, with a few to spare."""
        known = self._graphs.get((of, among))
        if known is None or known.lists.size < min(k + _SPARE, len(self.matrices[among]) - (of == among)):
            size = max(_LISTED, 4 * k + _SPARE)
            if of == among:
                self._within(of, size)
            else:
                self._across(of, among, size)
        return self._graphs[of, among]

    def reach(self, of: str, among: str) -> Graph | None:
        """Return lists of the balls round `among` that reach farthest towards each row of `of`, None where they are not made."""
        if of == among or of not in self.reaching or len(self.matrices[among]) <= BALL:
            return None
        self.graph(of, among, 1)
        return self._reaches.get((of, among))

    def _within(self, role: str, size: int) -> None:
        """List the nearest of each row among the other rows of its role."""
        pair = self.pair(role, role)
        n = len(pair.a)
        lists = Lists(n, n, size, pair.dtype)
        own = np.arange(n)
        for rows, columns, low in pair.tiles(symmetric=not pair.keep):
            tasks = [partial(add_others, lists, rows, columns, low, own[rows])]
            if not pair.keep and columns.start > rows.start:
                above = slice(rows.start, min(rows.stop, columns.start))
                tasks.append(partial(lists.add, columns, above, low[: above.stop - above.start].T))
            # Where rows and columns overlap, both tasks write to the same lists.
            side_by_side(tasks, threads=1 if rows.stop > columns.start else None)
        self._graphs[role, role] = Graph(pair, lists.close())

    def _across(self, of: str, among: str, size: int) -> None:
        """List the nearest in both directions, and the balls that reach farthest, in one pass."""
        pair = self.pair(of, among)
        there = Lists(len(pair.a), len(pair.b), size, pair.dtype)
        back = Lists(len(pair.b), len(pair.a), size, pair.dtype)
        keys = [key for key in ((of, among), (among, of)) if key[0] in self.reaching and len(self.matrices[key[1]]) > BALL]
        reaching = {key: self._reach_weights(key[1], pair.dtype) for key in keys}
        reaches = {key: Lists(len(self.matrices[key[0]]), len(self.matrices[key[1]]), _LISTED, pair.dtype) for key in keys}
        for rows, columns, low in pair.tiles():
            tasks = [partial(there.add, rows, columns, low), partial(back.add, columns, rows, low.T)]
            for key, lists in reaches.items():
                if key == (of, among):
                    tasks.append(partial(add_weighted, lists, rows, columns, low, reaching[key]))
                else:
                    tasks.append(partial(add_weighted, lists, columns, rows, low.T, reaching[key]))
            side_by_side(tasks)
        self._graphs[of, among] = Graph(pair, there.close())
        self._graphs[among, of] = Graph(self.pair(among, of), back.close())
        for key, lists in reaches.items():
            self._reaches[key] = Graph(self.pair(*key), lists.close(), weights=reaching[key])

    def _reach_weights(self, among: str, dtype: type) -> np.ndarray:
        """Return (N_among,) about 1 / radius^2 of the smaller balls, very large for the others."""
        lists = self.graph(among, among, BALL).lists
        square = np.minimum(np.partition(lists.score, BALL - 1, axis=1)[:, BALL - 1], lists.limit).astype(np.float64)
        small = (square > 1 / _FAR) & (square <= np.quantile(square, _REACHING, method="lower"))
        weights = np.divide(1 - 4 * float(np.finfo(dtype).eps), square, out=np.full(len(square), _FAR), where=small)
        return np.minimum(weights, _FAR).astype(dtype)


@dataclass
class Part:
    """The rows of a role that a pool looks at: ids in the whole role (None = all), how many, and whether none comes twice.

    place: (N_whole + 1,) the place of each row of the whole role among these rows, -1 for the others.
    """

    ids: np.ndarray | None
    n: int
    distinct: bool
    place: np.ndarray | None
    enough: bool

    def chosen(self, places: np.ndarray | None = None) -> np.ndarray:
        """Return ids of these places, of all where not given."""
        places = np.arange(self.n) if places is None else places
        return places if self.ids is None else self.ids[places]


class Pool:
    """Feature rows of named roles and what is nearest to what; `take` gives a view on some rows that shares what is known.

    raw: (N, F) floating-point matrices by role, memory-mapped ones too; finite, and equally wide but for empty ones. memory: bytes
    for kept distances and blocks together. reaching: roles whose `reach` is listed along with their neighbours. survey, rows: what is
    known of the whole, and which rows of it this is.
    """

    def __init__(
        self, raw: Mapping[str, np.ndarray], *, memory: int = MEMORY, reaching: tuple[str, ...] = ("synthetic",),
        survey: Survey | None = None, rows: Mapping[str, np.ndarray | None] | None = None,
    ) -> None:  # fmt: skip
        self._raw, self._rows = raw, dict(rows or {})
        self._survey = Survey(raw, memory, reaching) if survey is None else survey
        self._parts: dict[str, Part] = {}
        self._nearest: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
        self._inside: dict[tuple[str, str, bool, bytes], np.ndarray] = {}

    def take(self, rows: Mapping[str, np.ndarray | None]) -> Pool:
        """Return the pool of these rows of each role (None = all of them): indices, or a boolean mask."""
        chosen = dict(self._rows)
        for role, new in rows.items():
            if new is not None:
                index = np.flatnonzero(new) if new.dtype == bool else np.asarray(new, dtype=np.int64)
                old = self._rows.get(role)
                chosen[role] = index if old is None else old[index]
        return Pool(self._raw, survey=self._survey, rows=chosen)

    def features(self, role: str) -> np.ndarray:
        """(N, F) float64 features of a role, less a constant near the joint mean of the whole pool."""
        return self._survey.centred(role, self._rows.get(role))

    def neighbours(self, of: str, among: str, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return distances and indices (N_of, k), nearest first; within one role the image itself is left out.

        Of equally near rows the first comes first. ValueError where there are fewer than k.
        """
        known = self._nearest.get((of, among))
        if known is not None and known[0].shape[1] >= k >= 1:
            return known[0][:, :k], known[1][:, :k]
        a, b = self._part(of), self._part(among)
        available = b.n - (of == among)
        if k < 1 or k > available:
            raise ValueError(f"k = {k} neighbours asked for, {available} available")
        distance, index = np.empty((a.n, k)), np.empty((a.n, k), dtype=np.int64)
        unsure = np.ones(a.n, dtype=bool)
        if a.distinct and b.distinct and b.enough:
            graph = self._survey.graph(of, among, k)
            for part in slices(a.n, _ROWS):
                ids = a.chosen(np.arange(part.start, part.stop))
                distance[part], index[part], sure = graph.nearest(ids, k, b.place)
                unsure[part] = ~sure
        self._search(of, among, np.flatnonzero(unsure), distance, index)
        self._nearest[of, among] = distance, index
        return distance, index

    def _search(self, of: str, among: str, rows: np.ndarray, distance: np.ndarray, index: np.ndarray) -> None:
        """Search these rows of `of` anew, with longer lists until the lists can tell."""
        if not len(rows):
            return
        a, b, k = self._part(of), self._part(among), distance.shape[1]
        pair, size = self._survey.pair(of, among), k + _SPARE
        # Of rows that are repeated only the first can be among the k nearest, one more where one of them is the row itself.
        places = pair.b.without_many_twins(b.chosen(), k + 1)
        columns_of = b.chosen(places)
        while len(rows):
            left = []
            for part in slices(len(rows), max(16, self._survey.memory // (64 * min(size, len(places))))):
                some = rows[part]
                lists = Lists(len(some), len(places), size, pair.dtype)
                own = _place_of(some, places) if of == among else None
                for tile, columns, low in pair.tiles(a.chosen(some), columns_of):
                    add_others(lists, tile, columns, low, None if own is None else own[tile])
                graph = Graph(pair, lists.close(), a.chosen(some), columns_of)
                distance[some], nearest, sure = graph.nearest(np.arange(len(some)), k, None)
                index[some] = places[nearest]
                left.append(some[~sure])
            rows, size = np.concatenate(left), 4 * size

    def within(self, of: str, among: str, radii: np.ndarray, *, inclusive: bool = False) -> np.ndarray:
        """Return (N_of,) counts of the balls round `among` (radii (N_among,)) that hold each row of `of`.

        Strictly inside, or with `inclusive` on the surface too. Within one role the ball round the row itself counts too.
        """
        radii = np.asarray(radii, dtype=np.float64)
        key = (of, among, inclusive, radii.tobytes())
        if key not in self._inside:
            self._inside[key] = self._count(of, among, radii, inclusive)
        return self._inside[key].copy()

    def _count(self, of: str, among: str, radii: np.ndarray, inclusive: bool) -> np.ndarray:
        a, b = self._part(of), self._part(among)
        counts = np.zeros(a.n, dtype=np.int64)
        if not a.n or not b.n:
            return counts
        # Nothing lies strictly inside a ball without a radius.
        unsure = np.ones(b.n, dtype=bool) if inclusive else radii > 0
        if a.distinct and b.distinct and a.enough and b.enough and len(self._survey.matrices[of]) > (of == among):
            graph = self._survey.graph(among, of, 1)
            for part in slices(b.n, _ROWS):
                held, sure = graph.inside(b.chosen(np.arange(part.start, part.stop)), radii[part], inclusive=inclusive)
                counts += held[a.chosen()]
                unsure[part] &= ~sure
            if of == among:
                # A row is not on its own list.
                counts += ~unsure & (radii >= 0 if inclusive else radii > 0)
        rest = np.flatnonzero(unsure)
        if len(rest):
            counts += count_inside(self._survey.pair(of, among), a.chosen(), b.chosen(rest), radii[rest], inclusive=inclusive)
        return counts

    def reach(self, of: str, among: str, radii: np.ndarray, offset: float = 0.0) -> np.ndarray:
        """Return (N_of,) the largest radius^2 / (distance^2 + offset) over the balls round `among` with a positive radius.

        0 where no radius is positive; infinite where a row coincides with the centre of such a ball and offset is 0.
        """
        radii = np.asarray(radii, dtype=np.float64)
        a, b = self._part(of), self._part(among)
        best = np.zeros(a.n)
        usable = np.flatnonzero(radii > 0)
        if not a.n or not len(usable):
            return best
        graph = self._survey.reach(of, among) if a.distinct and b.distinct and b.enough else None
        if graph is None:
            self._look(of, among, np.arange(a.n), usable, radii**2, offset, best)
            return best
        assert graph.weights is not None
        squares = np.zeros(len(graph.weights))
        squares[b.chosen(usable)] = radii[usable] ** 2
        for part in slices(a.n, _ROWS):
            best[part] = graph.reach(a.chosen(np.arange(part.start, part.stop)), squares, offset)
        # A ball that is not on a row's list has radius^2 / distance^2 of at most its `most` over the limit of the list.
        weights = graph.weights[b.chosen(usable)]
        self._look(of, among, np.arange(a.n), usable[weights >= _LARGE], radii**2, offset, best)
        usable, most = usable[weights < _LARGE], (radii[usable] ** 2 * weights * (1 + 1e-12))[weights < _LARGE]
        shown = _shown(best, graph.lists.limit[a.chosen()])
        rows = np.flatnonzero(shown < most.max(initial=0.0))
        if len(rows):
            self._look(of, among, rows, usable[most > shown[rows].min()], radii**2, offset, best)
        return best

    def _look(self, of: str, among: str, rows: np.ndarray, balls: np.ndarray, squares: np.ndarray, offset: float, best: np.ndarray) -> None:
        """Raise `best` of these rows to the farthest reach of these balls, with longer lists until the lists can tell."""
        a, b, pair, size = self._part(of), self._part(among), self._survey.pair(of, among), _SPARE
        if not len(balls):
            return
        factor = 1 - 4 * float(np.finfo(pair.dtype).eps)
        weights = np.minimum(factor / squares[balls], _FAR).astype(pair.dtype)
        more = np.minimum(factor * offset / squares[balls], _FAR).astype(pair.dtype)
        while len(rows):
            left = []
            for part in slices(len(rows), max(16, self._survey.memory // (64 * min(size, len(balls))))):
                some = rows[part]
                lists = Lists(len(some), len(balls), size, pair.dtype)
                for tile, columns, low in pair.tiles(a.chosen(some), b.chosen(balls)):
                    add_weighted(lists, tile, columns, low, weights, more)
                graph = Graph(pair, lists.close(), a.chosen(some), b.chosen(balls), weights, offset)
                found = graph.reach(np.arange(len(some)), np.append(squares[balls], 0.0), offset)
                left.append(some[_shown(found, graph.lists.limit) < 1])
                best[some] = np.maximum(best[some], found)
            rows, size = np.concatenate(left), 4 * size

    def _part(self, role: str) -> Part:
        """Return which rows of a role this pool looks at."""
        if role not in self._parts:
            ids, whole = self._rows.get(role), len(self._survey.matrices[role])
            if ids is None:
                self._parts[role] = Part(None, whole, True, None, True)
            else:
                place = np.full(whole + 1, -1, dtype=np.int64)
                place[ids] = np.arange(len(ids))
                distinct = bool(np.count_nonzero(place >= 0) == len(ids))
                self._parts[role] = Part(ids, len(ids), distinct, place, len(ids) >= _LEAST_SHARE * whole)
        return self._parts[role]


def _shown(best: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Return the `squares` times weight up to which no ball off the list can beat the best on it; infinite where none can."""
    decided = np.isinf(best) | np.isinf(limit)
    return np.where(decided, np.inf, np.where(decided, 0.0, best) * np.where(decided, 0.0, np.maximum(limit, 0.0)))


def _place_of(rows: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return where each row stands among ascending places, -1 where it does not."""
    at = np.minimum(np.searchsorted(places, rows), len(places) - 1)
    return np.where(places[at] == rows, at, -1)


def _rows(x: np.ndarray, width: int) -> np.ndarray:
    """Return a matrix of floating-point rows; an empty one is as wide as the others."""
    if not len(x):
        return np.empty((0, width), dtype=np.float32)
    return x if x.dtype.kind == "f" else x.astype(np.float64)
