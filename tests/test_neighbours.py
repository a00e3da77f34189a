"""Nearest neighbours: exact, shared, and the same whatever is kept in memory."""

import numpy as np
import pytest

from harness import neighbours
from harness.neighbours import Pool


def pool(offset: float = 0.0) -> tuple[Pool, dict[str, np.ndarray]]:
    """Return a pool of two roles and its raw features."""
    rng = np.random.default_rng(0)
    raw = {"train": rng.normal(size=(60, 6)) + offset, "test": rng.normal(size=(30, 6)) + offset}
    return Pool(raw), raw


def brute(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return all distances by direct differences."""
    return np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=2))


@pytest.mark.parametrize("kept", [0, 10_000_000])
def test_distances_are_those_of_direct_differences(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether distances are kept or made block by block, neighbours are those of brute force."""
    monkeypatch.setattr(neighbours, "_KEPT_ENTRIES", kept)
    monkeypatch.setattr(neighbours, "_BLOCK_ENTRIES", 100)
    shared, raw = pool()

    distance, index = shared.neighbours("test", "train", 4)

    expected = brute(raw["test"], raw["train"])
    np.testing.assert_allclose(distance, np.sort(expected, axis=1)[:, :4], rtol=1e-12)
    np.testing.assert_array_equal(index, np.argsort(expected, axis=1)[:, :4])


def test_an_image_is_not_its_own_neighbour() -> None:
    """Within one role the first neighbour is another row."""
    shared, _raw = pool()

    distance, index = shared.neighbours("train", "train", 1)

    assert (index[:, 0] != np.arange(60)).all()
    assert (distance > 0).all()


def test_a_copy_is_at_distance_zero_far_from_the_origin() -> None:
    """An exact copy has distance exactly zero although the features sit at 1e4."""
    rng = np.random.default_rng(1)
    train = rng.normal(size=(50, 8)) + 1e4
    shared = Pool({"train": train, "synthetic": train[[3, 7]]})

    distance, index = shared.neighbours("synthetic", "train", 1)

    assert distance.tolist() == [[0.0], [0.0]]
    assert index.tolist() == [[3], [7]]


def test_a_view_on_rows_is_the_pool_of_those_rows() -> None:
    """`take` of `take` answers as a fresh pool of the same rows."""
    shared, raw = pool()
    part = shared.take({"train": np.arange(0, 60, 2)}).take({"train": np.arange(5, 25), "test": np.arange(3, 20)})

    distance, index = part.neighbours("test", "train", 3)
    fresh = Pool({"train": raw["train"][::2][5:25], "test": raw["test"][3:20]}).neighbours("test", "train", 3)

    np.testing.assert_allclose(distance, fresh[0], rtol=1e-12)
    np.testing.assert_array_equal(index, fresh[1])


def test_a_ball_does_not_hold_its_own_surface() -> None:
    """A point exactly at the radius is outside, also where rounding of the expanded form would say otherwise."""
    shared, raw = pool(offset=1000.0)
    distance, _index = shared.neighbours("train", "train", 5)

    counts = shared.within("train", "train", distance[:, -1])

    expected = np.array(
        [sum(np.sqrt(((raw["train"][i] - raw["train"][j]) ** 2).sum()) < distance[j, -1] for j in range(60)) for i in range(60)]
    )
    np.testing.assert_array_equal(counts, expected)


def test_too_many_neighbours_are_refused() -> None:
    """Asking for more neighbours than there are is an error that says both numbers."""
    with pytest.raises(ValueError, match="k = 60 neighbours asked for, 59 available"):
        pool()[0].neighbours("train", "train", 60)
