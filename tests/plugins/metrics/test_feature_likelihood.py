"""Facts about the feature likelihood divergence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Comparison, Context, NotComputable
from harness.testing import check
from harness_plugins.metrics.feature_likelihood import Fld, feature_likelihood_divergence, fit_mixture, negative_log_likelihood


def measured(comparison: Comparison, seed: int = 0, **options: Any) -> Any:
    """Divergence and gap of a comparison."""
    return Fld(**options).measure(comparison, Context(seed=seed, workdir=Path()))


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Features of one Gaussian."""
    return np.random.default_rng(seed).normal(0.0, scale, size=shape)


def published_split(seed: int, n: int) -> np.ndarray:
    """Order of n training images that the authors' code splits: it shuffles them once before, for the fit to all of them."""
    random_state = np.random.RandomState(seed)
    random_state.permutation(n)
    return random_state.permutation(n)


def test_golden_values(golden: Any) -> None:
    """Divergence, gap and the earlier variant are those of the authors' code, wherever that gives a number."""
    results: dict[tuple[str, str], Any] = {}
    for row, sets in golden.rows("fld"):
        # The authors' code divides by a standard deviation of zero in these two cases; ours are tested below.
        if row["case"] in ("constant_column", "all_equal"):
            continue
        variant = "fls_v1" if row["variant"] == "fls_v1_b9db224" else "fld"
        if (row["case"], variant) not in results:
            sides = [sets[name] for name in ("train", "test", "gen")]
            splits = [published_split(seed, len(sides[0])) for seed in ((0, 1) if variant == "fld" else (0,))]
            results[row["case"], variant] = feature_likelihood_divergence(*sides, splits, variant)
        result = results[row["case"], variant]
        got = result.gap if row["variant"] == "gap" else result.fld[row["params"]["np_random_seed"]]
        assert got == pytest.approx(row["value"], rel=0, abs=row["atol"] + row["rtol"] * abs(row["value"])), row["id"]
    assert results


def test_conforms() -> None:
    """The component keeps its promises, among them indifference to order."""
    check(Fld)


def mixture_loss(images: np.ndarray, centres: np.ndarray, logs: np.ndarray) -> float:
    """Mean negative log-likelihood per feature while fitting; the last log-variance is that of the Gaussian round the mean."""
    width = images.shape[1]
    squared = [((images - centre) ** 2).sum(axis=1) for centre in centres] + [0.81 * ((images - images.mean(axis=0)) ** 2).sum(axis=1)]
    weights = [1.0 / len(centres)] * len(centres) + [1.0]
    variances = np.exp(logs)
    density = sum(w * np.exp(-0.5 * s / v) / (2 * np.pi * v) ** (width / 2) for w, s, v in zip(weights, squared, variances, strict=True))
    return float(-np.log(density).mean() / width)


@pytest.mark.parametrize("variant", ["fld", "fls_v1"])
def test_steps_are_those_of_adam(variant: Any) -> None:
    """The fitted variances are those that Adam finds with numerical derivatives of the definition, in both variants."""
    images, centres = normal(12, 3, seed=1, scale=1.4), normal(5, 3, seed=2)
    logs, first, second, losses = np.zeros(6), np.zeros(6), np.zeros(6), []
    if variant == "fld":
        logs[:5] = [np.log((((images - centre) ** 2).sum(axis=1).min() + 1e-3) / 3) for centre in centres]
    for step in range(1, 51):
        losses.append(mixture_loss(images, centres, logs))
        nudges = 1e-6 * np.eye(6)
        slope = np.array([mixture_loss(images, centres, logs + h) - mixture_loss(images, centres, logs - h) for h in nudges]) / 2e-6
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        logs = logs - 0.5 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        if variant == "fld" and step > 6 and max(abs(losses[-1] - earlier) for earlier in losses[-5:-1]) < 5e-4:
            break
    assert (step < 50) == (variant == "fld")
    assert fit_mixture(images, centres, variant) == pytest.approx(logs[:5], abs=1e-4)


def test_likelihood_of_one_gaussian() -> None:
    """Under one Gaussian the mean negative log-likelihood per feature is the textbook's, and copies of it change nothing."""
    images, centre = normal(50, 3, seed=3), np.array([[0.5, 0.0, -1.0]])
    expected = 0.5 * np.log(2 * np.pi * 2.0) + ((images - centre) ** 2).sum(axis=1).mean() / (2 * 2.0 * 3)
    assert negative_log_likelihood(images, centre, np.log([2.0])) == pytest.approx(expected)
    assert negative_log_likelihood(images, np.repeat(centre, 4, axis=0), np.log(np.full(4, 2.0))) == pytest.approx(expected)


def test_deterministic_and_indifferent_to_order(compare: Callable[..., Comparison]) -> None:
    """Repeats agree, another order of the rows gives the same numbers, another seed draws other halves and leaves the gap alone."""
    train, test, synthetic = normal(60, 4, seed=4).round(1), normal(40, 4, seed=5).round(1), normal(50, 4, seed=6).round(1)
    first = measured(compare(train, synthetic, test))
    assert measured(compare(train, synthetic, test)) == first
    assert measured(compare(train[::-1], np.roll(synthetic, 7, axis=0), test[::-1])) == first
    other = measured(compare(train, synthetic, test), seed=1)
    assert other["fld"] != first["fld"]
    assert other["fld_gap"] == pytest.approx(first["fld_gap"], abs=1e-6)


def test_scale_and_origin_of_features_do_not_matter() -> None:
    """Features in other units and round another origin give the same numbers."""
    train, test, synthetic = normal(60, 4, seed=7), normal(40, 4, seed=8), normal(50, 4, seed=9)
    split = [np.arange(60)]
    plain = feature_likelihood_divergence(train, test, synthetic, split)
    moved = feature_likelihood_divergence(train * 8.0 + 3.0, test * 8.0 + 3.0, synthetic * 8.0 + 3.0, split)
    assert moved.fld == pytest.approx(plain.fld, abs=1e-6)
    assert moved.gap == pytest.approx(plain.gap, abs=1e-6)


@pytest.mark.parametrize("variant", ["fld", "fls_v1"])
def test_moves_with_defects_and_copies(compare: Callable[..., Comparison], variant: str) -> None:
    """Real images score near 0, noise, a shift and a lost mode more; copies lower the gap, and nothing but copies raises both."""
    train, test, fair = normal(200, 6, seed=10), normal(100, 6, seed=11), normal(100, 6, seed=12)
    options = {"variant": variant, "repeats": 2}
    base = measured(compare(train, fair, test), **options)
    assert base["fld"] == pytest.approx(0.0, abs=4.0)
    assert measured(compare(train, fair + normal(100, 6, seed=13, scale=1.5), test), **options)["fld"] > base["fld"] + 8
    assert measured(compare(train, fair + 1.0, test), **options)["fld"] > base["fld"] + 8
    assert measured(compare(train, fair * 0.5, test), **options)["fld"] < base["fld"]
    far = np.repeat([[0.0], [6.0]], 100, axis=0)
    one_mode, both = compare(train + far, fair, test + far[50:150]), compare(train + far, fair + far[50:150], test + far[50:150])
    assert measured(one_mode, **options)["fld"] > measured(both, **options)["fld"] + 100
    some = measured(compare(train, np.concatenate([train[:30], fair[30:]]), test), **options)
    assert some["fld_gap"] < base["fld_gap"] - 50
    assert abs(some["fld"] - base["fld"]) < 12
    copies = measured(compare(train, train[:100], test), **options)
    assert copies["fld_gap"] < some["fld_gap"]
    assert copies["fld"] > base["fld"] + 40


def test_repeats_vary_less(compare: Callable[..., Comparison]) -> None:
    """The mean over more baseline splits varies less from seed to seed, round the same value, and a note says how far they differ."""
    comparison = compare(normal(60, 4, seed=14), normal(40, 4, seed=15), normal(40, 4, seed=16))
    single, mean = (np.array([measured(comparison, seed, repeats=r)["fld"] for seed in range(12)]) for r in (1, 8))
    assert mean.std() < 0.6 * single.std()
    assert mean.mean() == pytest.approx(single.mean(), abs=single.std())
    context = Context(seed=0, workdir=Path())
    Fld(repeats=3).measure(comparison, context)
    assert context.notes["fld"].startswith("mean of 3 baseline splits, standard deviation ")


def test_constant_features() -> None:
    """A column that is constant everywhere changes nothing; one that is constant in the test images alone has no scale."""
    sides = [normal(40, 4, seed=seed) for seed in range(17, 20)]
    split = [np.arange(40)]
    padded = [np.column_stack([side, np.full(40, 1.25)]) for side in sides]
    assert feature_likelihood_divergence(*padded, split) == feature_likelihood_divergence(*sides, split)
    padded[0][3, 4] = 3.0
    with pytest.raises(NotComputable, match="1 features are the same for all test images but not for all others"):
        feature_likelihood_divergence(*padded, split)


def test_bad_input(compare: Callable[..., Comparison]) -> None:
    """Too few images, no test image, constant features and a baseline of copies are no number, each with its reason."""
    x = normal(20, 3, seed=20)
    with pytest.raises(NotComputable, match="needs 4 training images, 2 test and 2 synthetic, got 20, 20 and 1"):
        measured(compare(x, x[:1], x))
    with pytest.raises(NotComputable, match="got 20, 0 and 20"):
        measured(compare(x, x, x[:0]))
    with pytest.raises(NotComputable, match="got 3, 20 and 20"):
        measured(compare(x[:3], x, x))
    with pytest.raises(NotComputable, match="all features are the same for all images"):
        measured(compare(np.ones((8, 3)), np.ones((5, 3))))
    alike = measured(compare(np.repeat(x[:1], 30, axis=0), normal(20, 3, seed=21), normal(20, 3, seed=22)))
    assert isinstance(alike["fld"], NotComputable)
    assert "training images are copies of one another" in str(alike["fld"])
    assert np.isfinite(alike["fld_gap"])
    identical = measured(compare(x, x, x))
    assert np.isfinite(identical["fld"])
    assert identical["fld_gap"] == pytest.approx(0.0, abs=1e-9)


def test_copies_do_not_depend_on_rounding() -> None:
    """Far from the origin, where the expanded form of a distance loses its digits, copies and all others are fitted as near it."""
    images = np.round(normal(50, 30, seed=23) * 1024) / 1024
    centres = np.concatenate([images[:7], np.round(normal(5, 30, seed=24) * 1024) / 1024])
    fitted = fit_mixture(images, centres)
    assert (fitted[:7] < -30.0).all()
    assert (fitted[7:] > -10.0).all()
    assert fit_mixture(images + 2.0**20, centres + 2.0**20) == pytest.approx(fitted, abs=1e-9)


def test_largest(compare: Callable[..., Comparison]) -> None:
    """`largest` cuts the synthetic images to that many and the training images to twice that many."""
    train, test, synthetic = normal(60, 4, seed=24), normal(40, 4, seed=25), normal(50, 4, seed=26)
    whole = measured(compare(train, synthetic, test))
    assert measured(compare(train, synthetic, test), largest=50) == whole
    assert measured(compare(train, synthetic, test), largest=10)["fld_gap"] != whole["fld_gap"]
