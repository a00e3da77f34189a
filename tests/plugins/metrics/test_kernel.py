"""Facts about the kernel distance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Comparison, Context, NotComputable
from harness_plugins.metrics import kernel
from harness_plugins.metrics.kernel import Kernel, kid_subsets, mmd2_poly3


def measured(comparison: Comparison, seed: int = 0, **options: Any) -> float:
    """Kernel distance of a comparison."""
    return Kernel(**options).measure(comparison, Context(seed=seed, workdir=Path()))["kid"]


def test_golden_full_sample(golden: Any, compare: Callable[..., Comparison]) -> None:
    """All three estimators over all pairs give the reference values; the component gives the unbiased one."""
    golden.check(
        "mmd2_poly3",
        lambda row, sets: mmd2_poly3(*(sets[name][: row["params"]["rows"]] for name in row["inputs"]), row["variant"]),
    )
    for row, sets in golden.rows("mmd2_poly3"):
        if row["variant"] == "unbiased":
            n = row["params"]["rows"]
            comparison = compare(sets["train"][:n], sets["gen"][:n])
            assert measured(comparison) == mmd2_poly3(sets["gen"][:n], sets["train"][:n])


def test_golden_subsets(golden: Any) -> None:
    """The three published ways to draw subsets give their packages' values."""

    def value(row: dict[str, Any], sets: dict[str, np.ndarray]) -> Any:
        params, (first, second) = row["params"], (sets[name] for name in row["inputs"])
        draws = {
            "torch-fidelity": ("subsets", "subset_size", "rng_seed", "first"),
            "dgm-eval": ("n_subsets", "subset_size", "np_random_seed", "first"),
            "clean-fid": ("num_subsets", "max_subset_size", "np_random_seed", "second"),
        }
        subsets, size, seed, order = draws[row["variant"]]
        rng = np.random.RandomState(params[seed])
        estimates = kid_subsets(first, second, params[subsets], params[size], rng, order)
        mean = float(estimates.mean())
        return {"mean": mean, "std": float(estimates.std())} if isinstance(row["value"], dict) else mean

    golden.check("kid", value)


def test_definition() -> None:
    """It is the sum over pairs written out, also in blocks."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(7, 3)), rng.normal(0.5, size=(5, 3))

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return (a @ b / 3 + 1) ** 3

    expected = (
        sum(k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j) / 42
        + sum(k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j) / 20
        - 2 * sum(k(a, b) for a in x for b in y) / 35
    )
    assert mmd2_poly3(x, y) == pytest.approx(expected, rel=1e-12)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of one row give the value of one whole block."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(30, 4)), rng.normal(size=(20, 4))
    whole = mmd2_poly3(x, y)
    monkeypatch.setattr(kernel, "_BLOCK_ENTRIES", 1)
    assert mmd2_poly3(x, y) == pytest.approx(whole, abs=1e-13)


def test_unbiased() -> None:
    """Its mean over samples of one distribution is zero at any number of images, so single values fall below zero."""
    rng = np.random.default_rng(3)
    for n in (10, 40):
        values = [mmd2_poly3(rng.normal(size=(n, 4)), rng.normal(size=(n, 4))) for _ in range(400)]
        assert abs(np.mean(values)) < 4 * np.std(values) / 20
        assert min(values) < 0


def test_deterministic_and_indifferent_to_order(compare: Callable[..., Comparison]) -> None:
    """Repeats agree exactly, another order of the rows to rounding; subsets follow the seed."""
    rng = np.random.default_rng(4)
    real, synthetic = rng.normal(size=(80, 12)), rng.normal(0.2, 1.0, size=(70, 12))
    assert measured(compare(real, synthetic)) == measured(compare(real, synthetic))
    assert measured(compare(real[::-1], rng.permutation(synthetic))) == pytest.approx(measured(compare(real, synthetic)), abs=1e-12)
    drawn = [measured(compare(real, synthetic), seed=seed, subsets=3, subset_size=20) for seed in (5, 5, 6)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_features_are_taken_as_they_are(compare: Callable[..., Comparison]) -> None:
    """Features far from the origin are not centred, because the kernel depends on where they lie."""
    rng = np.random.default_rng(5)
    real, synthetic = rng.normal(3.0, size=(40, 4)), rng.normal(3.2, size=(40, 4))
    assert measured(compare(real, synthetic)) == mmd2_poly3(synthetic, real)
    assert mmd2_poly3(synthetic, real) != pytest.approx(mmd2_poly3(synthetic - 3.0, real - 3.0), rel=0.1)


def test_grows_with_noise_and_collapse() -> None:
    """Noise and a lost half raise it."""
    rng = np.random.default_rng(6)
    real, fair = rng.normal(size=(400, 8)), rng.normal(size=(400, 8))
    base = mmd2_poly3(fair, real)
    assert base < mmd2_poly3(fair + rng.normal(0, 1.0, fair.shape), real)
    assert base < mmd2_poly3(fair[fair[:, 0] > 0], real)


def test_bad_input(compare: Callable[..., Comparison]) -> None:
    """One image has no pairs; the u-statistic needs equal sizes."""
    with pytest.raises(NotComputable, match="2 images on each side, got 1 and 9"):
        measured(compare(np.zeros((9, 2)), np.zeros((1, 2))))
    with pytest.raises(ValueError, match="one size"):
        mmd2_poly3(np.zeros((3, 2)), np.zeros((4, 2)), "u-statistic")
