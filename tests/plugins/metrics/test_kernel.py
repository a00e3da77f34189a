"""Facts about the kernel distance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Comparison, Context, NotComputable
from harness.testing import check
from harness_plugins.metrics import kernel
from harness_plugins.metrics.kernel import Kernel, Mmd, kid_subsets, median_distance, mmd2_linear, mmd2_poly3, mmd2_rbf


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
    with pytest.raises(NotComputable, match="sets of one size, got 3 and 4"):
        mmd2_poly3(np.zeros((3, 2)), np.zeros((4, 2)), "u-statistic")


def discrepancy(comparison: Comparison, **options: Any) -> float:
    """Maximum mean discrepancy of a comparison."""
    return Mmd(**options).measure(comparison, Context(seed=0, workdir=Path()))["mmd2"]


VARIANTS: dict[str, dict[str, Any]] = {
    "unbiased_sigma10": {"bandwidth": 10},
    "cmmd_biased_sigma10_x1000": {"bandwidth": 10, "estimator": "biased", "scale": 1000},
    "synthcity_biased_gamma1": {"bandwidth": 0.5**0.5, "estimator": "biased"},
    "monai_unbiased": {"kernel": "linear"},
    "unbiased": {"kernel": "polynomial"},
    "biased": {"kernel": "polynomial", "estimator": "biased"},
    "u-statistic": {"kernel": "polynomial", "estimator": "u-statistic"},
}


@pytest.mark.parametrize("metric", ["mmd2_rbf", "mmd2_linear", "mmd2_poly3"])
def test_golden_discrepancies(golden: Any, compare: Callable[..., Comparison], metric: str) -> None:
    """The options select every published variant, also where features lie far from the origin."""

    def value(row: dict[str, Any], sets: dict[str, np.ndarray]) -> float:
        rows = row["params"].get("rows")
        return discrepancy(compare(sets["train"][:rows], sets["gen"][:rows]), **VARIANTS[row["variant"]])

    golden.check(metric, value)


@pytest.mark.parametrize("component", [Kernel, Mmd, Mmd(kernel="polynomial"), Mmd(kernel="linear")])
def test_conforms(component: Any) -> None:
    """The components keep their promises, among them indifference to order."""
    check(component)


@pytest.mark.parametrize(
    ("options", "of_pair"),
    [
        ({"bandwidth": 1.5}, lambda a, b: np.exp(-((a - b) ** 2).sum() / 4.5)),
        ({"kernel": "polynomial", "degree": 2, "gamma": 0.3, "coef0": 0.5}, lambda a, b: (0.3 * a @ b + 0.5) ** 2),
        ({"kernel": "polynomial", "degree": 1, "coef0": 0.0}, lambda a, b: a @ b / 3),
        ({"kernel": "linear"}, lambda a, b: a @ b),
    ],
)
@pytest.mark.parametrize("estimator", ["unbiased", "biased", "u-statistic"])
@pytest.mark.parametrize("block", [1, 9, 4_000_000])
def test_discrepancy_definition(
    compare: Callable[..., Comparison], monkeypatch: pytest.MonkeyPatch, options: Any, of_pair: Any, estimator: str, block: int
) -> None:
    """It is the sum over pairs written out, whatever the kernel, the estimator and the blocks."""
    monkeypatch.setattr(kernel, "_BLOCK_ENTRIES", block)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(7, 3)), rng.normal(0.5, size=(7, 3))

    def mean(a: np.ndarray, b: np.ndarray, own: bool) -> float:
        pairs = [of_pair(p, q) for i, p in enumerate(a) for j, q in enumerate(b) if own or i != j]
        return float(np.mean(pairs))

    within = mean(x, x, estimator == "biased") + mean(y, y, estimator == "biased")
    expected = within - 2 * mean(x, y, estimator != "u-statistic")
    assert discrepancy(compare(x, y), estimator=estimator, **options) == pytest.approx(expected, rel=1e-10, abs=1e-12)
    assert discrepancy(compare(x, y), estimator=estimator, scale=3, **options) == pytest.approx(3 * expected, rel=1e-10, abs=1e-12)


def test_median_bandwidth(compare: Callable[..., Comparison]) -> None:
    """`median` is the median distance between two training images, so rescaled features give the same value."""
    rng = np.random.default_rng(7)
    train, test, synthetic = rng.normal(100.0, size=(21, 4)), rng.normal(100.2, size=(18, 4)), rng.normal(100.5, size=(15, 4))
    bandwidth = np.median([np.linalg.norm(a - b) for i, a in enumerate(train) for b in train[:i]])
    assert median_distance(train) == pytest.approx(bandwidth, rel=1e-12)
    assert discrepancy(compare(train, synthetic)) == pytest.approx(mmd2_rbf(synthetic, train, bandwidth), rel=1e-9)
    assert discrepancy(compare(7 * train, 7 * synthetic)) == pytest.approx(discrepancy(compare(train, synthetic)), rel=1e-9)
    against_test = discrepancy(compare(train, synthetic, test), against="test")
    assert against_test == pytest.approx(mmd2_rbf(synthetic, test, bandwidth), rel=1e-9)


def test_median_of_many_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many images the median is taken over some, chosen by their features and not by their order."""
    monkeypatch.setattr(kernel, "_MEDIAN_ROWS", 100)
    rng = np.random.default_rng(8)
    x = rng.normal(size=(1000, 4))
    assert median_distance(x) == median_distance(rng.permutation(x))
    assert median_distance(x) == pytest.approx(np.sqrt(2 * 4), rel=0.15)


def test_normalised_features(compare: Callable[..., Comparison]) -> None:
    """`normalise` divides each vector by its length, which a vector of zeros does not have."""
    rng = np.random.default_rng(9)
    x, y = rng.normal(1.0, size=(12, 5)), rng.normal(1.1, size=(10, 5))
    unit_x, unit_y = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (x, y))
    for options in ({"bandwidth": 10, "estimator": "biased", "scale": 1000}, {"kernel": "polynomial"}, {"kernel": "linear"}):
        expected = discrepancy(compare(unit_x, unit_y), **options)
        assert discrepancy(compare(x, y), normalise=True, **options) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    y[3] = 0.0
    with pytest.raises(NotComputable, match="1 synthetic images have a feature vector of length 0"):
        discrepancy(compare(x, y), normalise=True)


def test_linear_is_the_difference_of_means() -> None:
    """Under x.y the biased value is the squared distance of the means, and the unbiased one averages to it."""
    rng = np.random.default_rng(10)
    x, y = rng.normal(size=(9, 3)), rng.normal(2.0, size=(6, 3))
    assert mmd2_linear(x, y, "biased") == pytest.approx(((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum())
    values = [mmd2_linear(rng.normal(size=(9, 3)), rng.normal(size=(6, 3))) for _ in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20


def test_discrepancy_moves(compare: Callable[..., Comparison]) -> None:
    """Noise and a lost half raise it; the rbf kernel sees what moves no mean, copies of training images do not raise it."""
    rng = np.random.default_rng(11)
    real, fair = rng.normal(size=(300, 6)), rng.normal(size=(300, 6))
    base = discrepancy(compare(real, fair))
    assert discrepancy(compare(real, fair + rng.normal(0, 1.0, fair.shape))) > base + 0.01
    assert discrepancy(compare(real, fair[fair[:, 0] > 0])) > base + 0.01
    assert discrepancy(compare(real, 0.5 * fair)) > base + 0.01
    assert discrepancy(compare(real, real[:200])) < base + 0.01


def test_discrepancy_of_bad_input(compare: Callable[..., Comparison]) -> None:
    """One image, no test image, sets of two sizes and images that are all equal are no number, each with its reason."""
    rng = np.random.default_rng(12)
    real, synthetic = rng.normal(size=(9, 2)), rng.normal(size=(8, 2))
    with pytest.raises(NotComputable, match="2 images on each side, got 1 and 9"):
        discrepancy(compare(real, synthetic[:1]))
    with pytest.raises(NotComputable, match="2 images on each side, got 8 and 0"):
        discrepancy(compare(real, synthetic, real[:0]), against="test")
    with pytest.raises(NotComputable, match="one size, got 8 and 9"):
        discrepancy(compare(real, synthetic), estimator="u-statistic")
    with pytest.raises(NotComputable, match="median distance is 0: give a bandwidth"):
        discrepancy(compare(np.ones((9, 2)), np.ones((8, 2))))
    with pytest.raises(NotComputable, match="needs 2 training images, got 1"):
        discrepancy(compare(real[:1], synthetic, real), against="test")
    assert discrepancy(compare(np.ones((9, 2)), np.ones((8, 2))), bandwidth=1) == pytest.approx(0.0, abs=1e-12)
    assert discrepancy(compare(real, real), estimator="biased") == pytest.approx(0.0, abs=1e-12)
