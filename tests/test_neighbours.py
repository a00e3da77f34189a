"""Nearest neighbours: those of brute force in double precision, whatever is kept in memory and whichever rows are looked at."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness import graphs, neighbours
from harness.graphs import Lists, Matrix, Pair, side_by_side
from harness.neighbours import Pool

Raw = dict[str, np.ndarray]
TILES, KEPT = 100_000, 256 << 20


def normal(seed: int = 0, n: int = 60, d: int = 6) -> Raw:
    """Return three roles of normal rows."""
    rng = np.random.default_rng(seed)
    return {"train": rng.normal(size=(n, d)), "test": rng.normal(size=(n // 2, d)), "synthetic": 0.9 * rng.normal(size=(n, d)) + 0.1}


def copied(raw: Raw) -> Raw:
    """Return roles of which 30 % of the synthetic rows are training rows."""
    return raw | {"synthetic": np.concatenate([raw["train"][:18], raw["synthetic"][18:]])}


def repeated(raw: Raw) -> Raw:
    """Return roles with more repeats of one row than a list is long."""
    return raw | {"synthetic": np.concatenate([np.repeat(raw["synthetic"][:1], 40, axis=0), raw["synthetic"][40:]])}


CASES: dict[str, Callable[[Raw], Raw]] = {
    "normal": lambda raw: raw,
    "far from the origin": lambda raw: {role: x + 1e4 for role, x in raw.items()},
    "float32": lambda raw: {role: x.astype(np.float32) for role, x in raw.items()},
    "float32 far from the origin": lambda raw: {role: (x + 150).astype(np.float32) for role, x in raw.items()},
    "float16 beside float64": lambda raw: raw | {"test": raw["test"].astype(np.float16)},
    "integers": lambda raw: {role: np.round(2 * x).astype(np.int64) for role, x in raw.items()},
    "identical": lambda raw: raw | {"synthetic": raw["train"].copy()},
    "the same array twice": lambda raw: raw | {"synthetic": raw["train"]},
    "copies": copied,
    "internal duplicates": repeated,
    "nearly duplicates": lambda raw: raw | {"synthetic": np.float64(1e-7) * raw["synthetic"] + 1.0},
    "all equal": lambda raw: {role: np.full_like(x, 3.7) for role, x in raw.items()},
    "lattice, many ties": lambda raw: {role: np.round(x) for role, x in raw.items()},
    "too large for single precision": lambda raw: {role: 1e30 * x for role, x in raw.items()},
    "too small for single precision": lambda raw: {role: 1e-30 * x for role, x in raw.items()},
    "one column": lambda raw: {role: x[:, :1] for role, x in raw.items()},
}


def brute(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return all distances by direct differences in double precision."""
    return np.sqrt(((a.astype(np.float64)[:, None] - b.astype(np.float64)[None]) ** 2).sum(axis=2))


def nearest(distances: np.ndarray, k: int, *, own: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the k smallest of each row and where they are, the first of equals first, leaving out the diagonal if `own`."""
    others = distances.copy()
    if own:
        np.fill_diagonal(others, np.inf)
    index = np.argsort(others, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(others, index, axis=1), index


def assert_brute(pool: Pool, raw: Raw, k: int = 3) -> None:
    """Everything that a pool answers about these rows is what brute force says, to the last bit where it is a distance or a count."""
    for of, among in itertools.product(raw, raw):
        distances = brute(raw[of], raw[among])
        for found, expected in zip(pool.neighbours(of, among, k), nearest(distances, k, own=of == among), strict=True):
            np.testing.assert_array_equal(found, expected, err_msg=f"{of} among {among}")
        radii = nearest(brute(raw[among], raw[among]), k, own=True)[0][:, -1]
        for inclusive, compare in ((False, np.less), (True, np.less_equal)):
            counts = pool.within(of, among, radii, inclusive=inclusive)
            np.testing.assert_array_equal(counts, compare(distances, radii).sum(axis=1), err_msg=f"{of} in balls of {among}")
        for usable, offset in ((radii < np.median(radii), 0.0), (radii <= np.median(radii), 1e-5), (radii > 0, 2.0)):
            some = np.where(usable, radii, 0.0)
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios = np.where(some > 0, some**2 / (distances**2 + offset), 0.0)
            found = pool.reach(of, among, some, offset)
            np.testing.assert_allclose(found, ratios.max(axis=1), rtol=1e-12, err_msg=f"reach of {among} to {of}")


def rows_of(raw: Raw, choose: Callable[[int], np.ndarray]) -> dict[str, np.ndarray | None]:
    """Return chosen rows of every role."""
    return {role: choose(len(x)) for role, x in raw.items()}


def chosen(raw: Raw, rows: dict[str, np.ndarray | None]) -> Raw:
    """Return these rows of every role."""
    return {role: x if rows.get(role) is None else x[rows[role]] for role, x in raw.items()}


@pytest.mark.parametrize("memory", [TILES, KEPT])
@pytest.mark.parametrize("case", CASES)
def test_answers_are_those_of_brute_force(case: str, memory: int) -> None:
    """Whether distances are kept or made tile by tile, neighbours, counts and reach are those of brute force."""
    raw = CASES[case](normal())

    assert_brute(Pool(raw, memory=memory), raw)


@pytest.mark.parametrize("memory", [TILES, KEPT])
@pytest.mark.parametrize("case", ["normal", "float32 far from the origin", "copies", "internal duplicates", "lattice, many ties"])
def test_answers_about_half_of_the_rows_are_those_of_brute_force(case: str, memory: int) -> None:
    """Random halves, in any order, and halves of halves answer from the same lists as fresh brute force."""
    raw = CASES[case](normal(1, 100))
    pool, rng = Pool(raw, memory=memory), np.random.default_rng(2)
    for _ in range(3):
        rows = rows_of(raw, lambda n: rng.permutation(n)[: n // 2])
        assert_brute(pool.take(rows), chosen(raw, rows))
    again = rows_of(chosen(raw, rows), lambda n: np.arange(0, n, 2))

    assert_brute(pool.take(rows).take(again), chosen(chosen(raw, rows), again))


@pytest.mark.parametrize("memory", [TILES, KEPT])
def test_answers_about_half_of_the_patients_are_those_of_brute_force(memory: int) -> None:
    """Where a list is full of one patient's images and that patient is left out, its row is searched again."""
    rng = np.random.default_rng(3)
    centres = np.repeat(rng.normal(size=(6, 5)), 40, axis=0)
    raw = {role: centres + 0.05 * rng.normal(size=centres.shape) for role in ("train", "test", "synthetic")}
    patient = np.arange(len(centres)) // 40
    pool = Pool(raw, memory=memory)
    for left_out in (0, 3):
        train, probe = patient % 2 == left_out % 2, patient % 2 != left_out % 2
        rows = {"train": train, "test": np.flatnonzero(patient != left_out), "synthetic": probe}
        assert_brute(pool.take(rows), chosen(raw, rows))


@pytest.mark.parametrize("memory", [TILES, KEPT])
def test_rows_that_come_twice_are_neighbours_at_distance_zero(memory: int) -> None:
    """A selection with repeats is answered as the matrix of those rows, and so is a small selection."""
    raw, rng = normal(4), np.random.default_rng(5)
    for rows in (rows_of(raw, lambda n: rng.integers(0, n, n)), rows_of(raw, lambda _n: np.arange(5))):
        assert_brute(Pool(raw, memory=memory).take(rows), chosen(raw, rows))


def test_a_crowd_in_every_ball_is_counted() -> None:
    """Where every synthetic row is in every real ball, far more than a list holds, each is counted."""
    rng = np.random.default_rng(6)
    raw = {"train": rng.normal(size=(150, 40)), "synthetic": 0.05 * rng.normal(size=(140, 40))}
    pool = Pool(raw, memory=TILES)
    radii = pool.neighbours("train", "train", 5)[0][:, -1]

    counts = pool.within("synthetic", "train", radii)

    np.testing.assert_array_equal(counts, (brute(raw["synthetic"], raw["train"]) < radii).sum(axis=1))
    assert counts.min() > 100


def test_many_neighbours_lengthen_the_lists() -> None:
    """Asking for more neighbours later, up to all of them, gives brute force's."""
    raw = normal(7)
    pool = Pool(raw, memory=TILES)
    for k in (1, 29, 59):
        found = pool.neighbours("synthetic", "train", k)
        for values, expected in zip(found, nearest(brute(raw["synthetic"], raw["train"]), k, own=False), strict=True):
            np.testing.assert_array_equal(values, expected)


def test_memory_mapped_features_are_read_in_blocks(tmp_path: Path) -> None:
    """A matrix on disk answers as the one in memory, and stays on disk."""
    raw = {role: x.astype(np.float32) for role, x in normal(8).items()}
    mapped = {}
    for role, x in raw.items():
        np.save(tmp_path / f"{role}.npy", x)
        mapped[role] = np.load(tmp_path / f"{role}.npy", mmap_mode="r")
    pool = Pool(mapped, memory=TILES)

    assert_brute(pool, raw)
    assert all(np.shares_memory(matrix.raw, mapped[role]) for role, matrix in pool._survey.matrices.items())


@pytest.mark.parametrize("case", CASES)
def test_bounds_hold_the_distances(case: str) -> None:
    """A tile's lower bound is no more than the squared distance, which is no more than the bound and the slack of row and column."""
    raw = CASES[case](normal(9, 80, 50))
    if raw["train"].dtype.kind != "f":
        raw = {role: x.astype(np.float64) for role, x in raw.items()}
    a, b = (Matrix(raw[role], raw["train"].mean(axis=0).astype(raw["train"].dtype)) for role in ("train", "synthetic"))
    pair = Pair(a, b, 30_000)
    squared = brute(raw["train"], raw["synthetic"]) ** 2
    slack = a.slack(pair.dtype)[:, None] + b.slack(pair.dtype)

    shown = 0
    for rows, columns, low in pair.tiles():
        assert (low <= squared[rows, columns] * (1 + 1e-14)).all()
        assert (squared[rows, columns] * (1 - 1e-14) <= low.astype(np.float64) + slack[rows, columns]).all()
        shown += low.size
    assert shown == squared.size


def test_a_symmetric_pass_shows_each_pair_once() -> None:
    """Tiles on and above the diagonal, read both ways, hold each pair exactly once, whatever the sizes of blocks."""
    x = np.random.default_rng(10).normal(size=(211, 7)).astype(np.float32)
    matrix = Matrix(x, np.zeros(7, np.float32))
    for memory in (20_000, 60_000, 300_000):
        shown = np.zeros((211, 211), dtype=np.int64)
        for rows, columns, _low in Pair(matrix, matrix, memory).tiles(symmetric=True):
            shown[rows, columns] += 1
            shown[columns, rows.start : max(rows.start, min(rows.stop, columns.start))] += 1
        assert (shown == 1).all()


def test_lists_hold_everything_below_their_limit() -> None:
    """Whatever the order of tiles, and with ties, a list is complete below its limit."""
    rng = np.random.default_rng(11)
    scores = np.round(rng.normal(size=(40, 90)), 1)
    scores[3] = 1.0
    lists = Lists(40, 90, 8, np.float64)
    for columns in (slice(60, 90), slice(0, 7), slice(7, 60)):
        lists.add(slice(0, 40), columns, scores[:, columns])
    lists.close()

    for row in range(40):
        assert set(np.flatnonzero(scores[row] < lists.limit[row])) <= set(lists.index[row].tolist())


def test_threads_are_those_that_the_environment_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that are told to use one thread do, others get the same answers from several; a task's error is not lost."""
    raw = normal(12)
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        assert graphs.processors() == int(threads)
        assert_brute(Pool(raw, memory=TILES), raw)

    with pytest.raises(ZeroDivisionError):
        side_by_side([lambda: None, lambda: 1 // 0])  # type: ignore[list-item, return-value]


def test_one_pass_over_each_pair_serves_every_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours, balls and reach of the whole and of its halves take one pass within each role and one across."""
    rng = np.random.default_rng(13)
    raw = {role: rng.normal(size=(400, 6)).astype(np.float32) for role in ("train", "synthetic")}
    passes = []
    tiles = Pair.tiles

    def counted(pair: Pair, *of: np.ndarray, **symmetric: bool) -> object:
        passes.append(of)
        return tiles(pair, *of, **symmetric)

    monkeypatch.setattr(Pair, "tiles", counted)
    pool = Pool(raw, memory=4 << 20)
    for part in (pool, *(pool.take({role: rng.permutation(400)[:200] for role in raw}) for _ in range(3))):
        radii = {role: part.neighbours(role, role, 5)[0][:, -1] for role in raw}
        part.within("synthetic", "train", radii["train"])
        part.within("train", "synthetic", radii["synthetic"], inclusive=True)
        part.neighbours("train", "synthetic", 1)
        part.reach("synthetic", "train", np.where(radii["train"] < np.median(radii["train"]), radii["train"], 0.0))
        if part is pool:
            assert len(passes) == 3

    assert sum(not of for of in passes) == 3


def test_centred_features_lie_near_the_origin() -> None:
    """Features less the constant have the same differences, kept or not, whole or in part."""
    raw = CASES["far from the origin"](normal(14))
    for memory in (0, KEPT):
        pool = Pool(raw, memory=memory)
        part = pool.take({"train": np.array([5, 3])})
        assert np.abs(np.concatenate([pool.features(role) for role in raw]).mean(axis=0)).max() < 1e-9
        np.testing.assert_allclose(part.features("train")[0] - part.features("train")[1], raw["train"][5] - raw["train"][3], rtol=1e-9)


def test_an_empty_role_has_nothing_to_say() -> None:
    """No rows give no counts and no neighbours, and no balls reach nowhere."""
    for empty in (np.empty((0, 6)), np.empty(0)):
        raw = normal(15) | {"test": empty}
        pool = Pool(raw)
        assert pool.neighbours("test", "train", 2)[0].shape == (0, 2)
        assert pool.within("test", "train", np.ones(60)).shape == (0,)
        assert pool.within("train", "test", np.empty(0)).tolist() == [0] * 60
        assert pool.reach("train", "test", np.empty(0)).tolist() == [0.0] * 60
        assert pool.features("test").shape == (0, 6)


def test_single_rows_have_no_neighbours_but_across() -> None:
    """One row on each side has a neighbour on the other side and lies in the ball that reaches it."""
    pool = Pool({"train": np.zeros((1, 2)), "synthetic": np.ones((1, 2))})

    assert pool.neighbours("synthetic", "train", 1)[0].tolist() == [[np.sqrt(2.0)]]
    assert pool.within("synthetic", "train", np.array([1.5])).tolist() == [1]
    assert pool.within("train", "train", np.array([0.0])).tolist() == [0]
    assert pool.within("train", "train", np.array([0.0]), inclusive=True).tolist() == [1]
    with pytest.raises(ValueError, match="k = 1 neighbours asked for, 0 available"):
        pool.neighbours("train", "train", 1)


def test_too_many_neighbours_are_refused() -> None:
    """Asking for more neighbours than there are is an error that says both numbers."""
    with pytest.raises(ValueError, match="k = 60 neighbours asked for, 59 available"):
        Pool(normal()).neighbours("train", "train", 60)
    with pytest.raises(ValueError, match="k = 0 neighbours asked for"):
        Pool(normal()).neighbours("train", "train", 0)


def test_kept_distances_stay_within_the_memory() -> None:
    """Distances are kept only as far as half of the memory goes."""
    raw = normal(16)
    pool = Pool(raw, memory=80_000)
    for of, among in itertools.product(raw, raw):
        pool.neighbours(of, among, 2)

    kept = [pair for pair in pool._survey._pairs.values() if pair.keep and pair.mirror is None]
    assert 0 < sum(pair.kept().nbytes for pair in kept) <= 40_000
    assert neighbours.MEMORY == KEPT


def test_repeated_rows_are_searched_once() -> None:
    """Of identical rows only as many as can be among the k nearest are searched, so a set of one repeated row costs no n x n settling."""
    x = np.array([[0.0], [1.0], [-0.0], [0.0], [1.0], [0.0]])
    matrix = Matrix(x, np.zeros(1))

    assert matrix.twins.tolist() == [0, 1, 0, 0, 1, 0]
    assert matrix.without_many_twins(np.arange(6), 2).tolist() == [0, 1, 2, 4]
    assert matrix.without_many_twins(np.array([5, 4, 3, 0]), 1).tolist() == [0, 1]
