"""Facts about the feature likelihood score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Comparison, Context, NotComputable
from harness.testing import check
from harness_plugins.metrics.likelihood import Fls, feature_likelihood, fit_log_variances, log_densities


def measured(comparison: Comparison, seed: int = 0, **options: Any) -> Any:
    """Score and overfitting of a comparison."""
    return Fls(**options).measure(comparison, Context(seed=seed, workdir=Path()))


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Features of one Gaussian."""
    return np.random.default_rng(seed).normal(0.0, scale, size=shape)


def test_golden_values(golden: Any) -> None:
    """Both numbers are those of the reference implementation, wherever that gives a number."""
    compared = 0
    for (row, sets), (overfit, _) in zip(golden.rows("fls"), golden.rows("fls_overfit"), strict=True):
        # dgm-eval divides by a standard deviation of zero in these two cases; ours are tested below.
        if row["case"] in ("constant_column", "all_equal"):
            continue
        h = row["params"]["h"]
        got = feature_likelihood(sets["train"][:h], sets["train"][h : 2 * h], sets["test"][:h], sets["gen"][:h])
        assert got["fls"] == pytest.approx(row["value"], rel=row["rtol"], abs=row["atol"]), row["id"]
        assert overfit["case"] == row["case"]
        assert got["fls_overfit"] == pytest.approx(overfit["value"], abs=overfit["atol"]), overfit["id"]
        compared += 1
    assert compared


def test_conforms() -> None:
    """The component keeps its promises, among them indifference to order."""
    check(Fls)


def test_density_integrates_to_one() -> None:
    """The densities round the centres are a mixture of Gaussians."""
    centres, log_variances = np.array([[-1.0], [2.0]]), np.array([0.0, -1.0])
    grid = np.linspace(-12, 12, 4801)[:, None]
    density = np.exp(log_densities(grid, centres, log_variances)).sum(axis=1)
    assert density.sum() * 0.005 == pytest.approx(1.0, abs=1e-6)


def test_fit_finds_the_variance() -> None:
    """Round a single centre the fitted variance is the mean squared distance per feature."""
    images = normal(400, 5, seed=1, scale=1.7)
    fitted = fit_log_variances(images, np.zeros((1, 5)))
    assert np.exp(fitted[0]) == pytest.approx((images**2).mean(), rel=0.02)


def test_deterministic_and_indifferent_to_order(compare: Callable[..., Comparison]) -> None:
    """Repeats agree, another order of the rows gives the same draw, another seed draws other halves."""
    train, test, synthetic = normal(60, 4, seed=2), normal(40, 4, seed=3), normal(50, 4, seed=4)
    first = measured(compare(train, synthetic, test))
    assert measured(compare(train, synthetic, test)) == first
    assert measured(compare(train[::-1], np.roll(synthetic, 7, axis=0), test[::-1])) == first
    assert measured(compare(train, synthetic, test), seed=1)["fls"] != first["fls"]


def test_falls_with_defects_and_copies(compare: Callable[..., Comparison]) -> None:
    """Real images score near 100, noise and a lost mode less, copies next to nothing and they overfit; lost spread may score more."""
    train, test, fair = normal(200, 6, seed=5), normal(100, 6, seed=6), normal(100, 6, seed=7)
    base = measured(compare(train, fair, test))
    assert base["fls"] == pytest.approx(100.0, abs=8.0)
    assert measured(compare(train, fair + normal(100, 6, seed=8, scale=1.5), test))["fls"] < base["fls"] - 5
    assert measured(compare(train, fair * (1, 0, 0, 0, 0, 0), test))["fls"] > base["fls"]
    far = np.repeat([[0.0], [6.0]], 100, axis=0)
    two_modes, both = compare(train + far, fair, test + far[50:150]), compare(train + far, fair + far[50:150], test + far[50:150])
    assert measured(two_modes)["fls"] < measured(both)["fls"] - 5
    halves = feature_likelihood(train[:100], train[100:], test, train[:100])
    assert halves["fls"] == pytest.approx(0.0, abs=1e-6)
    assert halves["fls_overfit"] == 50.0


def test_constant_features_are_left_out() -> None:
    """A column that is constant everywhere changes nothing; a column that is constant on one side alone is used."""
    sides = [normal(40, 4, seed=seed) for seed in range(9, 13)]
    padded = [np.column_stack([side, np.full(40, 1.25)]) for side in sides]
    assert feature_likelihood(*padded) == feature_likelihood(*sides)
    padded[3][:, 4] = 3.0
    assert feature_likelihood(*padded)["fls"] != pytest.approx(feature_likelihood(*sides)["fls"])


def test_bad_input(compare: Callable[..., Comparison]) -> None:
    """Too few images, no test image, constant features and duplicated training images are no number, each with its reason."""
    x = normal(20, 3, seed=13)
    with pytest.raises(NotComputable, match="needs 4 training images, 2 test and 2 synthetic, got 20, 20 and 1"):
        measured(compare(x, x[:1], x))
    with pytest.raises(NotComputable, match="got 20, 0 and 20"):
        measured(compare(x, x, x[:0]))
    with pytest.raises(NotComputable, match="got 3, 20 and 20"):
        measured(compare(x[:3], x, x))
    with pytest.raises(NotComputable, match="all features are the same"):
        measured(compare(np.ones((8, 3)), np.ones((5, 3))))
    doubled = feature_likelihood(x, x, normal(20, 3, seed=14), normal(20, 3, seed=15))
    assert isinstance(doubled["fls"], NotComputable)
    assert "copies of one another" in str(doubled["fls"])
    assert doubled["fls_overfit"] == pytest.approx(0.0, abs=50.0)


def test_largest(compare: Callable[..., Comparison]) -> None:
    """`largest` cuts every set to that many images."""
    train, test, synthetic = normal(60, 4, seed=16), normal(40, 4, seed=17), normal(50, 4, seed=18)
    cut = measured(compare(train, synthetic, test), largest=10)
    assert cut["fls"] != measured(compare(train, synthetic, test))["fls"]
    assert cut["fls_overfit"] % 10 == pytest.approx(0.0)
