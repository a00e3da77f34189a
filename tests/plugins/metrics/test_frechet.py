"""Facts about the Frechet distance and its extrapolation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg

from harness.api import Comparison, Context, NotComputable
from harness.testing import check
from harness_plugins.metrics import frechet
from harness_plugins.metrics.frechet import (
    Frechet,
    FrechetInfinity,
    SyntheticSubsets,
    frechet_distance,
    intercept,
    order_of,
    subset_sizes,
    triangular_factor,
)


def context(seed: int = 0) -> Context:
    """Return a context with this seed."""
    return Context(seed=seed, workdir=Path())


def fid(comparison: Comparison, **options: Any) -> float:
    """Frechet distance of a comparison."""
    return Frechet(**options).measure(comparison, context())["fid"]


def limit(comparison: Comparison, seed: int = 0, **options: Any) -> float:
    """Extrapolated Frechet distance of a comparison."""
    return FrechetInfinity(**options).measure(comparison, context(seed))["fd_infinity"]


def by_singular_values(real: np.ndarray, synthetic: np.ndarray) -> float:
    """The definition through the singular values of the product of the centred features, which squares nothing."""
    a, b = ((side - side.mean(0)) / np.sqrt(len(side) - 1) for side in (real, synthetic))
    cross = scipy.linalg.svdvals(a @ b.T).sum()
    return float(((real.mean(0) - synthetic.mean(0)) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * cross)


def by_matrix_root(real: np.ndarray, synthetic: np.ndarray) -> float:
    """The textbook formula with an explicit matrix square root."""
    s, t = np.cov(real.T), np.cov(synthetic.T)
    return float(((real.mean(0) - synthetic.mean(0)) ** 2).sum() + np.trace(s + t - 2 * scipy.linalg.sqrtm(s @ t).real))


def pair(n: int, m: int, d: int, seed: int = 0, decay: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Real and synthetic features of two rotated Gaussians whose standard deviations fall as j^-decay."""
    rng = np.random.default_rng(seed)
    spread = np.arange(1, d + 1) ** -decay
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return rng.normal(size=(n, d)) * spread @ turn + 1.0, rng.normal(0.1, 1.2, size=(m, d)) * spread @ turn + 1.0


@pytest.mark.parametrize("component", [Frechet, FrechetInfinity, FrechetInfinity(extrapolate="both", repeats=2, points=4, against="test")])
def test_conforms(component: Any) -> None:
    """The components keep the promises of a metric."""
    check(component)


def test_golden_values(golden: Any, compare: Callable[..., Comparison]) -> None:
    """The component gives the values of the reference implementations."""
    golden.check("fid", lambda row, sets: fid(compare(sets["train"], sets["gen"])))


def test_golden_limits(golden: Any, compare: Callable[..., Comparison]) -> None:
    """The component with rows in the given order gives the values of dgm-eval at its sizes and draws."""

    def value(row: dict[str, Any], sets: dict[str, np.ndarray]) -> float:
        params = row["params"]
        return limit(compare(sets["train"], sets["gen"]), params["seed"], points=params["num_points"], order="given")

    golden.check("fd_infinity", value)


def test_closed_form() -> None:
    """It is the textbook formula with an explicit matrix square root, with more images than features and with fewer."""
    rng = np.random.default_rng(1)
    real, synthetic = rng.normal(size=(60, 5)), rng.normal(0.3, 1.4, size=(50, 5))
    expected = by_matrix_root(real, synthetic)
    assert frechet_distance(real, synthetic).distance == pytest.approx(expected, rel=1e-10)
    wide = rng.normal(size=(5, 40))
    padded = np.hstack([real, np.zeros((60, 35))])
    assert frechet_distance(padded, np.hstack([synthetic, np.zeros((50, 35))])).distance == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(wide, wide + 2.0).distance == pytest.approx(40 * 4.0, rel=1e-10)


@pytest.mark.parametrize(
    ("n", "m", "d", "route"),
    [
        (90, 120, 30, "covariances"),
        (20, 25, 30, "images"),
        (25, 20, 30, "images"),
        (8, 300, 30, "images"),
        (29, 3000, 30, "images"),
        (2, 2, 30, "images"),
        (2, 2, 1, "covariances"),
        (30, 30, 30, "images"),
        (31, 30, 30, "images"),
    ],
)
def test_every_route_is_exact(n: int, m: int, d: int, route: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the numbers of images and features, the cheap route, the costly one and blocks of few rows give the definition's value."""
    real, synthetic = pair(n, m, d)
    expected = by_singular_values(real, synthetic)
    whole = frechet_distance(real, synthetic)
    monkeypatch.setattr(frechet, "_BLOCK_ENTRIES", 7 * d)
    blocks = frechet_distance(real, synthetic)
    monkeypatch.setattr(frechet, "_ROUNDING", 0.0)
    costly = frechet_distance(real, synthetic)
    assert (whole.route, blocks.route, costly.route) == (route, route, "singular values")
    assert [whole.distance, blocks.distance, costly.distance] == pytest.approx([expected] * 3, rel=1e-10)


@pytest.mark.parametrize(("n", "m"), [(200, 300), (200, 20), (20, 25)])
def test_hidden_eigenvalues_take_the_costly_route(n: int, m: int) -> None:
    """Where a covariance is singular for another reason than few images, singular values keep the digits that square roots lose."""
    real, synthetic = pair(n, m, 40, decay=0.5)
    real[:, 30:] = real[:, :10] - 2.0 * real[:, 10:20]
    real[15:] = real[np.arange(15, n) % 15] if n < 40 else real[15:]
    synthetic[:, 30:] = synthetic[:, :10] + synthetic[:, 10:20]
    result = frechet_distance(real, synthetic)
    assert result.distance == pytest.approx(by_singular_values(real, synthetic), rel=1e-11)
    assert result.route == ("singular values" if m > 20 else "images")


@pytest.mark.parametrize("steep", [2.0, 4.0, 8.0])
def test_steep_spectra(steep: float) -> None:
    """Variances over many orders of magnitude cost no digits."""
    for n, m in ((300, 200), (45, 200), (30, 30)):
        real, synthetic = pair(n, m, 40, decay=steep)
        assert frechet_distance(real, synthetic).distance == pytest.approx(by_singular_values(real, synthetic), rel=1e-9)


def test_constant_features() -> None:
    """Features that are constant on one side or on both add their means and variances and do not change the route."""
    real, synthetic = pair(60, 80, 12, decay=0.3)
    real[:, 2], real[:, 5], synthetic[:, 5], synthetic[:, 7] = 0.1, 3.3, 0.7, 0.3
    result = frechet_distance(real, synthetic)
    assert result.route == "covariances"
    assert result.distance == pytest.approx(by_singular_values(real, synthetic), rel=1e-11)
    assert (result.rank_real, result.rank_synthetic) == (10, 10)
    assert frechet_distance(np.full((9, 4), 0.1), np.full((7, 4), 0.3)).distance == pytest.approx(4 * 0.04, rel=1e-12)
    assert frechet_distance(np.full((9, 4), 0.1), np.full((3, 4), 0.1)).distance == 0.0


def test_identical_sets() -> None:
    """A set is no distance from itself, to rounding of its variances."""
    for n, d in ((50, 8), (8, 50), (60, 60)):
        real, _ = pair(n, n, d)
        assert frechet_distance(real, real.copy()).distance <= 1e-12 * real.var(axis=0).sum()


def test_route_and_ranks_are_noted(compare: Callable[..., Comparison]) -> None:
    """The note beside the value names the route and the ranks, each of its own side."""
    real, synthetic = pair(9, 30, 20)
    given = context()
    Frechet().measure(compare(real, synthetic), given)
    assert given.notes["fid"] == "by images; rank at most 8 real, 20 synthetic"
    assert (frechet_distance(synthetic, real).rank_real, frechet_distance(synthetic, real).rank_synthetic) == (20, 8)


def test_memory_mapped_float32(tmp_path: Path) -> None:
    """Features may be a float32 file on disk: sums are float64."""
    real, synthetic = (side.astype(np.float32) + np.float32(100.0) for side in pair(90, 70, 12))
    np.save(tmp_path / "real.npy", real)
    mapped = np.load(tmp_path / "real.npy", mmap_mode="r")
    expected = by_singular_values(real.astype(np.float64), synthetic.astype(np.float64))
    assert frechet_distance(mapped, synthetic).distance == pytest.approx(expected, rel=1e-11)


def test_deterministic_and_indifferent_to_order(compare: Callable[..., Comparison]) -> None:
    """Repeats agree exactly, another order of the rows to rounding; the extrapolation follows its seed."""
    rng = np.random.default_rng(2)
    real, synthetic = rng.normal(size=(80, 12)), rng.normal(0.2, 1.0, size=(70, 12))
    here, moved = compare(real, synthetic), compare(real[::-1], rng.permutation(synthetic))
    assert fid(here) == fid(here)
    assert fid(moved) == pytest.approx(fid(here))
    for options in ({}, {"extrapolate": "both", "repeats": 2}):
        values = [limit(here, seed, **options) for seed in (0, 0, 1)]
        assert values[0] == values[1] != values[2]
        assert limit(moved, 0, **options) == pytest.approx(values[0])


def test_given_order_is_dgm_evals_draw(compare: Callable[..., Comparison]) -> None:
    """In the given order the subsets are the rows that the seeded generator chooses, and the fit is the least-squares line."""
    real, synthetic = pair(60, 50, 6)
    rng, sizes = np.random.default_rng(7), np.linspace(5, 50, 4).astype(int)
    distances = [by_singular_values(real, rng.choice(synthetic, size, replace=False)) for size in sizes]
    expected = np.polyfit(1 / sizes, distances, 1)[1]
    comparison = compare(real, synthetic)
    assert limit(comparison, 7, points=4, order="given") == pytest.approx(expected, rel=1e-9)
    assert limit(comparison, 7, points=4) != pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "m", "d"), [(60, 50, 12), (60, 50, 55), (20, 50, 30), (20, 18, 30)])
def test_subsets_share_the_real_side(n: int, m: int, d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The distance of each subset is the Frechet distance of its rows, whatever its size and by either route."""
    real, synthetic = pair(n, m, d)
    rows = [np.random.default_rng(3).choice(m, size, replace=False) for size in (2, 9, 14, m)]
    expected = [by_singular_values(real, synthetic[r]) for r in rows]
    subsets = SyntheticSubsets(real, synthetic)
    assert [subsets.distance(r) for r in rows] == pytest.approx(expected, rel=1e-9)
    monkeypatch.setattr(frechet, "_ROUNDING", 0.0)
    assert [subsets.distance(r) for r in rows] == pytest.approx(expected, rel=1e-9)


def test_extrapolation_removes_the_bias(compare: Callable[..., Comparison]) -> None:
    """With few images the distance is far too high; extrapolating the synthetic side helps, both sides help most; repeats steady it."""
    rng = np.random.default_rng(5)
    real, synthetic = rng.normal(size=(300, 20)), rng.normal(0.1, 1.0, size=(300, 20))
    comparison, truth = compare(real, synthetic), 20 * 0.01
    options = {"smallest": 100, "repeats": 3}
    one, both = limit(comparison, **options), limit(comparison, extrapolate="both", **options)
    assert abs(both - truth) < abs(one - truth) < abs(fid(comparison) - truth)
    spread = [np.std([limit(comparison, seed, smallest=100, points=5, repeats=r) for seed in range(12)]) for r in (1, 8)]
    assert spread[1] < spread[0]


def test_sizes_and_intercept() -> None:
    """Sizes run from a tenth of the images, at most 5,000, to all; the intercept of an exact line is exact."""
    assert subset_sizes(500, 15)[[0, -1]].tolist() == [50, 500]
    assert subset_sizes(100_000, 15)[[0, -1]].tolist() == [5000, 100_000]
    assert subset_sizes(3, 15).tolist() == [2] * 14 + [3]
    sizes = np.array([10, 20, 50])
    assert intercept(sizes, 3.0 + 7.0 / sizes) == pytest.approx(3.0, rel=1e-12)


def test_order_of_rows() -> None:
    """Sorted rows are the same whatever order they came in, at either precision and with repeated rows."""
    rng = np.random.default_rng(6)
    for rows in (rng.normal(size=(40, 3)), rng.integers(0, 2, (40, 3)).astype(np.float32)):
        moved = rng.permutation(rows)
        assert np.array_equal(rows[order_of(rows)], moved[order_of(moved)])


def test_triangular_factor_of_blocks() -> None:
    """R^T R is the sum over the blocks."""
    rows = np.random.default_rng(8).normal(size=(50, 6))
    factor = triangular_factor([rows[:4], rows[4:30], rows[30:]])
    assert factor.shape == (6, 6)
    assert np.allclose(factor.T @ factor, rows.T @ rows, rtol=1e-12)


def test_grows_with_noise_shift_and_collapse(compare: Callable[..., Comparison]) -> None:
    """Noise, a shift and a lost half each raise both; a shift far from the origin is measured exactly."""
    rng = np.random.default_rng(3)
    real, fair = rng.normal(size=(400, 8)), rng.normal(size=(400, 8))
    noise = [fair + rng.normal(0, size, fair.shape) for size in (0.5, 1.0)]
    for value in (fid, limit):
        base, half, full = (value(compare(real, x)) for x in (fair, *noise))
        assert base < half < full
        assert base < value(compare(real, fair[fair[:, 0] > 0]))
        assert base < value(compare(real, fair + 0.5))
    assert frechet_distance(real + 1e6, real + 1e6 + 0.5).distance == pytest.approx(8 * 0.25, rel=1e-6)


def test_real_side_is_an_option(compare: Callable[..., Comparison]) -> None:
    """`against: test` compares with the test images instead of the training images."""
    rng = np.random.default_rng(4)
    train, test, synthetic = rng.normal(size=(40, 3)), rng.normal(1.0, size=(40, 3)), rng.normal(size=(40, 3))
    comparison = compare(train, synthetic, test)
    assert fid(comparison, against="test") == pytest.approx(frechet_distance(test, synthetic).distance)
    assert limit(comparison, against="test") == limit(compare(test, synthetic))


def test_bad_input(compare: Callable[..., Comparison]) -> None:
    """One image, an empty side, two sizes alike, other widths and infinite values are named in words."""
    few, many = np.zeros((1, 3)), np.zeros((40, 3))
    for value in (fid, limit):
        with pytest.raises(NotComputable, match="2 images on each side, got 40 real and 1 synthetic"):
            value(compare(many, few))
        with pytest.raises(NotComputable, match="got 0 real and 40 synthetic"):
            value(compare(many, many, many[:0]), against="test")
        with pytest.raises(NotComputable, match="not finite"):
            value(compare(many, np.full((5, 3), np.nan)))
    with pytest.raises(NotComputable, match="more than 2 images, got 2"):
        limit(compare(many, many[:2]))
    with pytest.raises(NotComputable, match="more than 50 images, got 40"):
        limit(compare(many, many), smallest=50)
    with pytest.raises(ValueError, match="3 real and 2 synthetic"):
        frechet_distance(many, many[:, :2])
