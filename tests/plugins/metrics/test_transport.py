"""Facts about transport and energy distances."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.api import Comparison, Context, NotComputable
from harness.testing import check
from harness_plugins.metrics import transport
from harness_plugins.metrics.transport import (
    Transport,
    approximate_sliced_wasserstein,
    energy_distance,
    random_directions,
    sliced_wasserstein,
    squared_wasserstein,
)


def measured(comparison: Comparison, seed: int = 0, **options: Any) -> Any:
    """The three distances of a comparison."""
    return Transport(**options).measure(comparison, Context(seed=seed, workdir=Path()))


def test_golden_values(golden: Any, compare: Callable[..., Comparison]) -> None:
    """Both published forms of the approximate sliced Wasserstein distance are options."""

    def value(row: dict[str, Any], sets: dict[str, np.ndarray]) -> float:
        return measured(compare(sets["train"], sets["gen"]), centring=row["variant"] == "nadjahi_centred", directions=1)["asw"]

    golden.check("asw", value)


def test_golden_sliced_wasserstein(golden: Any) -> None:
    """The mean squared sliced distance is torch-fidelity's MIND on its directions, where both sets are equally large."""
    torch = pytest.importorskip("torch")
    if not any(row["metric"] == "mind" for row in golden._data["values"]):
        pytest.skip("the committed subset has no such row")
    for row, sets in golden.rows("mind"):
        real, synthetic = sets["train"], sets["gen"]
        if len(real) != len(synthetic):
            continue  # torch-fidelity draws a subset of the larger one
        generator = torch.Generator().manual_seed(row["params"]["rng_seed"])
        drawn = torch.randn(row["params"]["mind_num_projections"], real.shape[1], generator=generator).numpy().astype(np.float64)
        got = 3 * real.shape[1] * sliced_wasserstein(real, synthetic, drawn / np.linalg.norm(drawn, axis=1, keepdims=True)) ** 2
        assert got == pytest.approx(row["value"], rel=row["rtol"])


def test_conforms() -> None:
    """The component keeps its promises, among them indifference to order."""
    check(Transport)


def test_one_dimension() -> None:
    """It is the distance between quantile functions, for equal and for unequal numbers."""
    rng = np.random.default_rng(1)
    for n, m in ((6, 6), (6, 9), (7, 5), (1, 4)):
        x, y = rng.normal(size=(3, n)), rng.normal(1.0, size=(3, m))
        # Every number repeated until both sets are equally large leaves the quantile functions where they are.
        expected = ((np.sort(np.repeat(x, m, axis=1)) - np.sort(np.repeat(y, n, axis=1))) ** 2).mean(axis=1)
        assert squared_wasserstein(x, y) == pytest.approx(expected, rel=1e-12)


def test_gaussians() -> None:
    """Between two Gaussians that differ by a shift s in d dimensions the sliced distance is |s| / sqrt(d)."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(4000, 3))
    y = rng.normal(size=(3000, 3)) + np.array([3.0, 0.0, 0.0])
    directions = random_directions(2000, 3, rng)
    assert np.linalg.norm(directions, axis=1) == pytest.approx(1.0)
    assert sliced_wasserstein(x, y, directions) == pytest.approx(3 / np.sqrt(3), rel=0.05)
    assert approximate_sliced_wasserstein(x, y) == pytest.approx(3 / np.sqrt(3), rel=0.05)
    assert approximate_sliced_wasserstein(x, y, centring=True) == pytest.approx(0.0, abs=0.05)


def test_energy_definition(compare: Callable[..., Comparison]) -> None:
    """It is the sum over pairs written out; with all pairs in one dimension it would be scipy's."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(50.0, size=(7, 3)), rng.normal(50.5, size=(5, 3))

    def total(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.linalg.norm(a[:, None] - b[None], axis=2).sum())

    expected = 2 * total(x, y) / 35 - total(x, x) / 42 - total(y, y) / 20
    assert measured(compare(x, y))["energy_distance"] == pytest.approx(expected, rel=1e-9)
    biased = 2 * total(x[:, :1], y[:, :1]) / 35 - total(x[:, :1], x[:, :1]) / 49 - total(y[:, :1], y[:, :1]) / 25
    assert stats.energy_distance(x[:, 0], y[:, 0]) ** 2 == pytest.approx(biased)


def test_energy_is_unbiased() -> None:
    """Its mean over samples of one distribution is zero, so single values fall below zero."""
    rng = np.random.default_rng(4)
    values = [energy_distance(rng.normal(size=(10, 4)), rng.normal(size=(8, 4))) for _ in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20
    assert min(values) < 0


def test_blocks_do_not_matter(compare: Callable[..., Comparison], monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of one row and of one direction give the values of one whole block."""
    rng = np.random.default_rng(5)
    comparison = compare(rng.normal(size=(30, 4)), rng.normal(size=(20, 4)))
    whole = measured(comparison, directions=7)
    monkeypatch.setattr(transport, "_BLOCK_ENTRIES", 1)
    assert measured(comparison, directions=7) == pytest.approx(whole, abs=1e-12)


def test_deterministic_and_indifferent_to_order(compare: Callable[..., Comparison]) -> None:
    """Repeats agree exactly, another order of the rows to rounding; the directions follow the seed."""
    rng = np.random.default_rng(6)
    real, synthetic = rng.normal(size=(80, 12)), rng.normal(0.2, 1.0, size=(70, 12))
    first = measured(compare(real, synthetic))
    assert measured(compare(real, synthetic)) == first
    assert measured(compare(real[::-1], rng.permutation(synthetic))) == pytest.approx(first, abs=1e-12)
    other = measured(compare(real, synthetic), seed=1)
    assert other["sliced_wasserstein"] != first["sliced_wasserstein"]
    assert other["sliced_wasserstein"] == pytest.approx(first["sliced_wasserstein"], rel=0.15)


def test_grow_with_noise_and_collapse(compare: Callable[..., Comparison]) -> None:
    """Noise and a lost half raise all three, copies of training images none."""
    rng = np.random.default_rng(7)
    real, fair = rng.normal(size=(400, 6)), rng.normal(size=(400, 6))
    base = measured(compare(real, fair))
    for worse in (fair + rng.normal(0, 1.0, fair.shape), fair[fair[:, 0] > 0]):
        after = measured(compare(real, worse))
        assert all(after[name] > base[name] for name in base)
    copied = measured(compare(real, real))
    assert all(copied[name] <= base[name] for name in base)
    assert copied["asw"] == copied["sliced_wasserstein"] == 0.0


def test_bad_input(compare: Callable[..., Comparison]) -> None:
    """No image on one side is no number, one image has no pairs, and constant features are at distance zero."""
    rng = np.random.default_rng(8)
    real = rng.normal(size=(9, 2))
    with pytest.raises(NotComputable, match="1 image on each side, got 0 real and 9 synthetic"):
        measured(compare(real, real, real[:0]), against="test")
    single = measured(compare(real, real[:1]))
    assert single["asw"] > 0
    assert single["sliced_wasserstein"] > 0
    assert isinstance(single["energy_distance"], NotComputable)
    assert "got 9 real and 1 synthetic" in str(single["energy_distance"])
    with pytest.raises(NotComputable, match="2 images on each side"):
        energy_distance(real, real[:1])
    assert measured(compare(np.ones((9, 2)), np.ones((4, 2)))) == {"asw": 0.0, "sliced_wasserstein": 0.0, "energy_distance": 0.0}
