"""Which rows of one matrix may be nearest to which rows of another: bounds from matrix products, settled by exact differences.

Distances between all pairs come from single-precision matrix products of centred rows, tile by tile. What such a product can be wrong
by is known: the error of a sum of d products is at most gamma = d u / (1 - d u) times the sum of their sizes, in whatever order it
is formed (Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.1; u is the unit roundoff). A tile therefore holds
*lower bounds* of the squared distances, which exceed the bound by at most a slack that is known for each row and column. Whatever
the bounds leave open is settled by direct differences of the raw values in double precision, so an answer is that of brute force.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from hashlib import blake2b
from itertools import pairwise

import numpy as np

_EXACT_NUMBERS = 1 << 17
_MANY_PAIRS = 1 << 18
_LARGEST, _SMALLEST = 1e30, 1e-30
_DOUBLE = 2.0**-53
_MARGIN = 2.0**-50
_MOST_THREADS = 4


class Matrix:
    """The (N, F) rows of one role, never copied as a whole, and a constant to be subtracted from each, (F,)."""

    def __init__(self, raw: np.ndarray, centre: np.ndarray) -> None:
        self.raw, self.centre = raw, centre
        self.lengths = np.empty(len(raw))
        for part in slices(len(raw), max(1, _EXACT_NUMBERS // max(1, raw.shape[1]))):
            block = np.subtract(raw[part], centre, dtype=np.float64)
            self.lengths[part] = np.einsum("ij,ij->i", block, block)

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def single(self) -> bool:
        """Whether squared lengths are of a size that single precision can hold."""
        largest = float(self.lengths.max(initial=0.0))
        return largest == 0.0 or _SMALLEST < largest < _LARGEST

    def slack(self, dtype: type) -> np.ndarray:
        """Return (N,) float64: a squared distance exceeds its lower bound by at most the slack of its row plus that of its column.

        The terms: the product and the two lengths that ride in it (2 gamma), the double-precision sum that settles (2 gamma),
        rounding of centred values, lengths and bound (16 u), and products below the normal numbers. Both bounds share them evenly.
        """
        unit, numbers = float(np.finfo(dtype).eps) / 2, self.raw.shape[1] + 4
        error = 2 * _gamma(numbers, unit) + 2 * _gamma(numbers, _DOUBLE) + 16 * unit
        return 2.02 * error * self.lengths + 2e6 * float(np.finfo(dtype).tiny)

    def fill(self, rows: slice | np.ndarray, out: np.ndarray, *, left: bool) -> None:
        """Write centred rows to `out` (N, F + 2) with two columns more, so that a product of left and right is a lower bound."""
        width = self.raw.shape[1]
        values, dtype = out[:, :width], out.dtype.type
        kind = np.result_type(self.raw, self.centre, out)
        np.subtract(self.raw[rows], self.centre, out=values, dtype=kind, casting="same_kind")
        if left:
            values *= dtype(-2)
        one, length = (width + 1, width) if left else (width, width + 1)
        out[:, one] = 1
        out[:, length] = self.lengths[rows] - self.slack(dtype)[rows] / 2

    @cached_property
    def twins(self) -> np.ndarray:
        """(N,) int64: for each row the first row with the same values."""
        first: dict[bytes, int] = {}
        # Adding zero turns -0.0 into 0.0, which is the same number with other bytes.
        digests = (blake2b((row + 0.0).tobytes(), digest_size=20).digest() for row in self.raw)
        return np.array([first.setdefault(digest, n) for n, digest in enumerate(digests)], dtype=np.int64)

    def without_many_twins(self, rows: np.ndarray, most: int) -> np.ndarray:
        """Return the places in `rows`, ascending, of at most so many of each group of identical rows, the first ones."""
        twins = self.twins[rows]
        order = np.argsort(twins, kind="stable")
        ordered = twins[order]
        rank = np.arange(len(rows)) - np.searchsorted(ordered, ordered)
        return np.sort(order[rank < most])


def _gamma(numbers: int, unit: float) -> float:
    """Return the relative error of a sum of so many products at this unit roundoff."""
    return numbers * unit / (1 - numbers * unit)


def slices(n: int, step: int) -> list[slice]:
    """Return slices of nearly equal length, at most `step`, that cover n."""
    parts = -(-n // max(1, step))
    edges = [n * p // parts for p in range(parts + 1)] if parts else [0]
    return [slice(a, b) for a, b in pairwise(edges)]


def settle(a: Matrix, b: Matrix, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return (P,) squared distances of the pairs (a[i], b[j]) by direct differences of the raw values in float64."""
    if len(i) > _MANY_PAIRS:
        # Where rows are repeated, most of so many pairs are the same pair.
        code, back = np.unique(a.twins[i] * len(b) + b.twins[j], return_inverse=True)
        if len(code) < len(i) // 2:
            return settle(a, b, code // len(b), code % len(b))[back]
    found = np.empty(len(i))

    def differ(part: slice) -> None:
        for few in slices(part.stop - part.start, max(1, _EXACT_NUMBERS // max(1, a.raw.shape[1]))):
            some = slice(part.start + few.start, part.start + few.stop)
            difference = a.raw[i[some]].astype(np.float64)
            difference -= b.raw[j[some]]
            difference *= difference
            found[some] = difference.sum(axis=1)

    threads = processors() if len(i) * a.raw.shape[1] > 8 * _EXACT_NUMBERS else 1
    side_by_side([partial(differ, part) for part in slices(len(i), -(-len(i) // threads))], threads)
    return found


def processors() -> int:
    """Return how many threads may work: what OMP_NUM_THREADS allows, which workers set to 1, else the processors that there are."""
    allowed = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return max(1, min(_MOST_THREADS, int(allowed) if allowed.isdecimal() else os.cpu_count() or 1))


def side_by_side(tasks: Sequence[Callable[[], None]], threads: int | None = None) -> None:
    """Do tasks that write to different places, in so many threads (None = as there are processors)."""
    threads = min(processors() if threads is None else threads, len(tasks))
    if threads < 2:
        for task in tasks:
            task()
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(task) for task in tasks]:
            done.result()


class Pair:
    """Bounds of the squared distances between the rows of two matrices: made tile by tile, or kept whole."""

    def __init__(self, a: Matrix, b: Matrix, memory: int, *, keep: bool = False, mirror: Pair | None = None) -> None:
        self.a, self.b, self.memory, self.keep, self.mirror = a, b, memory, keep, mirror
        self.dtype: type = np.float32 if a.single and b.single else np.float64
        self._whole: np.ndarray | None = None

    def flipped(self) -> Pair:
        """Return the pair the other way round, sharing what is kept."""
        return Pair(self.b, self.a, self.memory, keep=self.keep, mirror=self)

    def kept(self) -> np.ndarray:
        """Return the (N_a, N_b) bounds, which are kept."""
        if self.mirror is not None:
            return self.mirror.kept().T
        if self._whole is None:
            self._whole = np.empty((len(self.a), len(self.b)), self.dtype)
            for _tile in self._tiles(None, None, symmetric=False, whole=self._whole):
                pass
        return self._whole

    def tiles(
        self, of: np.ndarray | None = None, among: np.ndarray | None = None, *, symmetric: bool = False
    ) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Yield rows, columns and the (rows, columns) lower bounds of squared distances between these rows of both matrices.

        What is yielded is overwritten by the next tile or kept for the next caller. `symmetric`, for the rows of one matrix, leaves
        out the tiles, and the rows of a tile, below the diagonal.
        """
        if not self.keep:
            yield from self._tiles(of, among, symmetric=symmetric)
            return
        low = self.kept() if of is None else self.kept()[of]
        low = low if among is None else low[:, among]
        yield slice(0, low.shape[0]), slice(0, low.shape[1]), low

    def _tiles(
        self, of: np.ndarray | None, among: np.ndarray | None, *, symmetric: bool, whole: np.ndarray | None = None
    ) -> Iterator[tuple[slice, slice, np.ndarray]]:
        n, m = len(self.a) if of is None else len(of), len(self.b) if among is None else len(among)
        width, numbers = self.a.raw.shape[1] + 2, self.memory // np.dtype(self.dtype).itemsize
        # Four steps of rows and one of columns, and for each tile a copy and a mask: 5 step width + 9 step^2 numbers.
        step = int(np.clip((np.sqrt((5 * width) ** 2 + 36 * numbers) - 5 * width) / 18, 16, 2048))
        tall, flat = min(n, 4 * step), min(m, step)
        left, right = np.empty((tall, width), self.dtype), np.empty((flat, width), self.dtype)
        out: np.ndarray = np.empty(tall * flat if whole is None else 0, self.dtype)
        for rows in slices(n, tall):
            self.a.fill(rows if of is None else of[rows], left[: rows.stop - rows.start], left=True)
            for columns in slices(m, flat):
                last = min(rows.stop, columns.stop) if symmetric else rows.stop
                if last > rows.start:
                    high, wide = last - rows.start, columns.stop - columns.start
                    self.b.fill(columns if among is None else among[columns], right[:wide], left=False)
                    low = out[: high * wide].reshape(high, wide) if whole is None else whole[rows, columns]
                    np.matmul(left[:high], right[:wide].T, out=low)
                    yield slice(rows.start, last), columns, low


class Lists:
    """For each of N rows the columns with the smallest scores, and a limit: every other column scores at least that.

    index: (N, size) int32, ascending within a row, M where there are fewer columns. score: (N, size), infinite there.
    limit: (N,), infinite where all columns are listed.
    """

    def __init__(self, rows: int, columns: int, size: int, dtype: type) -> None:
        self.columns, self.size = columns, max(1, min(size, columns))
        self.index = np.full((rows, self.size), columns, dtype=np.int32)
        self.score: np.ndarray = np.full((rows, self.size), np.inf, dtype=dtype)
        self.limit: np.ndarray = np.full(rows, np.inf, dtype=dtype)

    def add(self, rows: slice, columns: slice, score: np.ndarray) -> None:
        """Take in the scores of these rows and columns; each pair is shown once."""
        limit = self.limit[rows].copy()
        row, column = _below(score, limit, self.size)
        counts = np.bincount(row, minlength=len(limit))
        crowded = np.flatnonzero(counts > self.size)
        if len(crowded):
            limit[crowded] = np.partition(score[crowded], self.size - 1, axis=1)[:, self.size - 1]
            keep = score[row, column] < limit[row]
            row, column = row[keep], column[keep]
            counts = np.bincount(row, minlength=len(limit))
        self.limit[rows] = limit
        touched = np.flatnonzero(counts)
        if len(touched):
            self._merge(rows.start + touched, counts[touched], columns.start + column, score[row, column])

    def _merge(self, rows: np.ndarray, counts: np.ndarray, column: np.ndarray, score: np.ndarray) -> None:
        """Put candidates, grouped by row, into the lists of these rows."""
        starts = np.cumsum(counts) - counts
        slot = self.size + np.arange(len(column)) - np.repeat(starts, counts)
        which = np.repeat(np.arange(len(rows)), counts)
        width = self.size + int(counts.max())
        scores = np.full((len(rows), width), np.inf, dtype=self.score.dtype)
        index = np.full((len(rows), width), self.columns, dtype=np.int32)
        scores[:, : self.size], index[:, : self.size] = self.score[rows], self.index[rows]
        scores[which, slot], index[which, slot] = score, column
        nearest = np.argpartition(scores, self.size - 1, axis=1)[:, : self.size]
        self.score[rows] = np.take_along_axis(scores, nearest, axis=1)
        self.index[rows] = np.take_along_axis(index, nearest, axis=1)
        self.limit[rows] = np.minimum(self.limit[rows], self.score[rows].max(axis=1))

    def close(self) -> Lists:
        """Order each row by column, so that of equals the first comes first, and return self."""
        if self.size >= self.columns:
            self.limit[:] = np.inf
        order = np.argsort(self.index, axis=1)
        self.index, self.score = np.take_along_axis(self.index, order, axis=1), np.take_along_axis(self.score, order, axis=1)
        return self


def _below(score: np.ndarray, limit: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return row and column of the scores below the limit of their row, by row; limits are lowered first where most lie below."""
    flipped = not score.flags.c_contiguous
    below = None if np.isinf(limit).all() else score < limit[:, None]
    if score.shape[1] > size and (below is None or np.count_nonzero(below) > size * len(limit)):
        for part in slices(len(limit), 256):
            kth = np.partition(np.ascontiguousarray(score[part]), size - 1, axis=1)[:, size - 1]
            np.minimum(limit[part], kth, out=limit[part])
        below = None
    if below is None:
        below = score < limit[:, None]
    if not flipped:
        row, column = np.divmod(np.flatnonzero(below), score.shape[1])
        return row, column
    # A transposed tile is searched in the order in which it lies in memory, then put in order of its rows.
    column, row = np.divmod(np.flatnonzero(below.T), score.shape[0])
    order = np.argsort(row, kind="stable")
    return row[order], column[order]


def add_others(lists: Lists, rows: slice, columns: slice, score: np.ndarray, own: np.ndarray | None) -> None:
    """Take in the scores of these rows but those of the rows themselves; own: (rows,) the column that is the row itself."""
    if own is None:
        lists.add(rows, columns, score)
        return
    row = np.flatnonzero((own >= columns.start) & (own < columns.stop))
    column = own[row] - columns.start
    lent = score[row, column]
    score[row, column] = np.inf
    lists.add(rows, columns, score)
    score[row, column] = lent


def add_weighted(lists: Lists, rows: slice, columns: slice, low: np.ndarray, weights: np.ndarray, more: np.ndarray | None = None) -> None:
    """Take in squared distances times the weight of their column, (M,), plus what comes to it, (M,)."""
    with np.errstate(over="ignore"):
        score = low * weights[columns]
        lists.add(rows, columns, score if more is None else np.add(score, more[columns], out=score))


def count_inside(pair: Pair, of: np.ndarray, among: np.ndarray, radii: np.ndarray, *, inclusive: bool) -> np.ndarray:
    """Return (len(of),) in how many balls round the rows `among` (radii (len(among),)) each row of `of` lies."""
    counts = np.zeros(len(of), dtype=np.int64)
    slack_of, slack_among = pair.a.slack(pair.dtype)[of], pair.b.slack(pair.dtype)[among]
    square, minus, plus = radii**2, pair.dtype(-np.inf), pair.dtype(np.inf)
    for rows, columns, low in pair.tiles(of, among):
        surely = square[columns] * (1 - _MARGIN) - slack_among[columns] - slack_of[rows].max()
        held = low < np.nextafter(surely.astype(pair.dtype), minus)
        doubtful = low <= np.nextafter((square[columns] * (1 + _MARGIN)).astype(pair.dtype), plus)
        counts[rows] += np.count_nonzero(held, axis=1)
        np.logical_xor(doubtful, held, out=doubtful)
        i, j = np.nonzero(doubtful)
        distance = np.sqrt(settle(pair.a, pair.b, of[rows][i], among[columns][j]))
        reach = radii[columns][j]
        counts[rows] += np.bincount(i[distance <= reach if inclusive else distance < reach], minlength=rows.stop - rows.start)
    return counts


class Graph:
    """Closed lists with the squared distances that have been settled: answers about any of their rows and columns.

    Rows and columns are those of `lists`; `of` and `among` say which rows of the two matrices these are (None = all). weights:
    (M,) the factors that made scores out of squared distances plus `offset`, where the lists are not by distance.
    """

    def __init__(
        self, pair: Pair, lists: Lists, of: np.ndarray | None = None, among: np.ndarray | None = None,
        weights: np.ndarray | None = None, offset: float = 0.0,
    ) -> None:  # fmt: skip
        self.pair, self.lists, self.of, self.among, self.offset = pair, lists, of, among, offset
        slack_of, slack_among = pair.a.slack(pair.dtype), pair.b.slack(pair.dtype)
        self._slack_of = slack_of if of is None else slack_of[of]
        # The column after the last stands for "no column".
        self._slack_among = np.append(slack_among if among is None else slack_among[among], 0.0)
        self.weights = None if weights is None else np.append(weights, 1.0).astype(np.float64)
        self._settled = np.full(lists.index.shape, -1.0)

    def nearest(self, rows: np.ndarray, k: int, place: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return distances (R, k), places (R, k) of the k nearest columns, and (R,) whether the lists could tell.

        place: (M + 1,) the place of each column among those asked about, -1 for the others; equals come in order of place.
        """
        distance, nearest, sure = np.zeros((len(rows), k)), np.zeros((len(rows), k), np.int64), np.zeros(len(rows), bool)
        if k > self.lists.size:
            return distance, nearest, sure
        index, low, high = self._bounds(rows)
        at = index if place is None else place[index]
        absent = (index == self.lists.columns) if place is None else at < 0
        low[absent] = high[absent] = np.inf
        bound = np.partition(high, k - 1, axis=1)[:, k - 1]
        sure = bound < self.lists.limit[rows]
        row, slot = np.nonzero((low <= bound[:, None]) & sure[:, None])
        found, column = np.sqrt(self._exact(rows, index, row, slot)), at[row, slot]
        order = np.lexsort((column, found, row))
        counts = np.bincount(row, minlength=len(rows))
        first = order[(np.cumsum(counts) - counts)[sure][:, None] + np.arange(k)]
        distance[sure], nearest[sure] = found[first], column[first]
        return distance, nearest, sure

    def inside(self, rows: np.ndarray, radii: np.ndarray, *, inclusive: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return (M,) in how many balls round these rows each column lies, and (R,) which balls the lists could tell of."""
        index, low, high = self._bounds(rows)
        square = (radii**2)[:, None]
        sure = square[:, 0] * (1 + _MARGIN) < self.lists.limit[rows]
        held = (high < square * (1 - _MARGIN)) & sure[:, None]
        row, slot = np.nonzero((low <= square * (1 + _MARGIN)) & ~held & sure[:, None])
        distance = np.sqrt(self._exact(rows, index, row, slot))
        held[row, slot] = distance <= radii[row] if inclusive else distance < radii[row]
        return np.bincount(index[held], minlength=self.lists.columns + 1)[:-1], sure

    def reach(self, rows: np.ndarray, squares: np.ndarray, offset: float) -> np.ndarray:
        """Return (R,) the largest squares / (squared distance + offset) over the listed columns; squares: (M + 1,), 0 is none."""
        index, low, high = self._bounds(rows)
        square = squares[index]
        most = _ratio(square, np.maximum(low, 0.0) + offset)
        least = _ratio(square, np.maximum(high, 0.0) + offset).max(axis=1)
        row, slot = np.nonzero((most >= least[:, None]) & (square > 0))
        best = np.zeros(len(rows))
        np.maximum.at(best, row, _ratio(square[row, slot], self._exact(rows, index, row, slot) + offset))
        return best

    def _bounds(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return index and lower and upper bounds of the squared distances, all (R, size), of what is listed for these rows."""
        index, low = self.lists.index[rows], self.lists.score[rows].astype(np.float64)
        high = self._slack_among[index]
        high += self._slack_of[rows][:, None]
        if self.weights is not None:
            low /= self.weights[index]
            rounding = np.where(np.isfinite(low), 4 * float(np.finfo(self.pair.dtype).eps) * np.abs(low), 0.0)
            low -= self.offset + rounding
            high += 2 * rounding
        high += low
        return index, low, high

    def _exact(self, rows: np.ndarray, index: np.ndarray, row: np.ndarray, slot: np.ndarray) -> np.ndarray:
        """Return (P,) squared distances of what is listed in these slots of these of the rows; each is settled once."""
        known = self._settled[rows[row], slot]
        new = np.flatnonzero(known < 0)
        if len(new):
            i, j = rows[row[new]], index[row[new], slot[new]]
            known[new] = settle(self.pair.a, self.pair.b, i if self.of is None else self.of[i], j if self.among is None else self.among[j])
            self._settled[rows[row], slot] = known
        return known


def _ratio(square: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return square / distance, 0 where there is no square and infinite where a distance is 0."""
    ratio = np.where(square > 0, np.inf, 0.0)
    return np.divide(square, distance, out=ratio, where=(distance > 0) & (square > 0))
