"""Facts about repeats among the synthetic images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.api import Comparison, Context, ImageSet, NotComputable
from harness.testing import check
from harness_plugins.metrics.duplicates import Duplicates, duplicate_threshold, nearest_elsewhere

CONTEXT = Context(seed=0, workdir=Path())


def gaussians(seed: int, d: int = 8, train: int = 400, synthetic: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Two samples of one Gaussian: a perfect generator."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(train, d)), rng.normal(size=(synthetic, d))


def of_patients(features: np.ndarray, name: str, slices: int) -> ImageSet:
    """Return an image set with this many consecutive images of each patient."""
    n = len(features)
    ids, patients = tuple(f"{name}{i}" for i in range(n)), tuple(f"{name}{i // slices}" for i in range(n))
    return ImageSet(np.zeros((n, 1, 1, 1), np.float32), ids, (1.0, 1.0), features=features, patients=patients)


def test_planted_repeats_are_counted(compare: Callable[..., Comparison]) -> None:
    """Of pairs one image counts, of five equal ones four, and near pairs only in the one share."""
    train, synthetic = gaussians(1)
    synthetic[:20] = synthetic[20:40]
    synthetic[50:54] = synthetic[54]
    synthetic[60:70] = synthetic[70:80] + 1e-2
    found = Duplicates().measure(compare(train, synthetic), CONTEXT)
    assert found["exact_share"] * 300 == pytest.approx(24)
    assert found["internal_share"] * 300 == pytest.approx(34)


def test_definition_of_the_threshold(compare: Callable[..., Comparison]) -> None:
    """It is the tail law through the lower quartile of the training images' distances, with the dimension of that tail."""
    train, synthetic = gaussians(2)
    distance = np.sort(np.linalg.norm(train[:, None] - train[None], axis=2), axis=1)[:, 1]
    quartile = np.sort(distance)[99]
    inverse_dimension = np.median(np.log(quartile / distance[distance <= quartile])) / np.log(2)
    expected = quartile * (0.01 * 400 / 300 / 0.25) ** inverse_dimension
    assert duplicate_threshold(compare(train, synthetic), 0.01) == pytest.approx(expected)
    assert duplicate_threshold(compare(train, synthetic[:2]), 0.9) == pytest.approx(quartile)


@pytest.mark.parametrize("d", [2, 8, 32])
@pytest.mark.parametrize("train", [200, 800])
def test_few_honest_images_are_called_repeats(compare: Callable[..., Comparison], d: int, train: int) -> None:
    """A perfect generator repeats no more than the false-positive rate, also with more synthetic than training images."""
    shares = [Duplicates().measure(compare(*gaussians(seed, d, train, 600)), CONTEXT)["internal_share"] for seed in range(8)]
    assert np.mean(shares) < 0.003


def test_near_repeats_of_honest_size_are_found(compare: Callable[..., Comparison]) -> None:
    """At 16 dimensions images within a third of the usual distance of one another count."""
    train, synthetic = gaussians(3, d=16)
    usual = np.median(np.sort(np.linalg.norm(train[:, None] - train[None], axis=2), axis=1)[:, 1])
    step = np.random.default_rng(4).normal(size=(50, 16))
    synthetic[:50] = synthetic[50:100] + step / np.linalg.norm(step, axis=1, keepdims=True) * usual / 3
    assert Duplicates().measure(compare(train, synthetic), CONTEXT)["internal_share"] * 300 == pytest.approx(50, abs=2)


def test_duplicates_in_train_hide_no_repeat(compare: Callable[..., Comparison]) -> None:
    """Exact duplicates in train leave the threshold; near copies of one image in twenty lower it by less than two thirds."""
    train, synthetic = gaussians(5)
    clean = duplicate_threshold(compare(train, synthetic))
    assert duplicate_threshold(compare(np.concatenate([train, train[:200]]), synthetic)) == pytest.approx(clean)
    near = np.concatenate([train, train[:20] + 1e-4])
    assert clean / 3 < duplicate_threshold(compare(near, synthetic)) < clean


def test_slices_of_a_patient_are_no_repeats() -> None:
    """With patients known, neighbouring slices neither calibrate nor count, on either side; repeats of other patients count."""
    rng = np.random.default_rng(6)

    def slices(n: int) -> np.ndarray:
        return np.repeat(rng.normal(size=(n, 8)), 4, axis=0) + 1e-3 * rng.normal(size=(4 * n, 8))

    train, synthetic = of_patients(slices(100), "train", 4), slices(60)
    plain = of_patients(synthetic, "synthetic", 1)
    grouped = of_patients(synthetic, "synthetic", 4)
    test = of_patients(slices(5), "test", 4)
    assert Duplicates().measure(Comparison(train, test, grouped), CONTEXT) == {"exact_share": 0.0, "internal_share": 0.0}
    assert Duplicates().measure(Comparison(train, test, plain), CONTEXT)["internal_share"] >= 0.5
    synthetic[:4] = synthetic[4:8]
    repeated = of_patients(synthetic, "synthetic", 4)
    assert Duplicates().measure(Comparison(train, test, repeated), CONTEXT)["exact_share"] == pytest.approx(4 / 240)


def test_moves_with_repeats_and_not_with_copies(compare: Callable[..., Comparison]) -> None:
    """A generator that draws from a small stock repeats itself, and the more the smaller the stock; one that memorises does not."""
    train, synthetic = gaussians(7)
    rng = np.random.default_rng(8)
    shares = [
        Duplicates().measure(compare(train, synthetic[rng.integers(0, stock, 300)]), CONTEXT)["internal_share"] for stock in (300, 100, 20)
    ]
    assert 0.2 < shares[0] < shares[1] < shares[2] == pytest.approx(280 / 300)
    assert Duplicates().measure(compare(train, train[:300]), CONTEXT) == {"exact_share": 0.0, "internal_share": 0.0}


def test_binomial_interval_covers_draws_from_a_stock(compare: Callable[..., Comparison]) -> None:
    """The count of repeats varies no more than a binomial one, so that the exact binomial interval holds."""
    train = gaussians(9)[0]
    rng = np.random.default_rng(10)
    for stock in (50, 500):
        stocked = rng.normal(size=(stock, 8))
        counts = [
            200 * Duplicates().measure(compare(train, stocked[rng.integers(0, stock, 200)]), CONTEXT)["exact_share"] for _ in range(40)
        ]
        share = np.mean(counts) / 200
        assert np.var(counts, ddof=1) < 1.6 * 200 * share * (1 - share)


def test_images_to_blame(compare: Callable[..., Comparison]) -> None:
    """Identical images are at 1, near ones above one half, others below."""
    train, synthetic = gaussians(11)
    synthetic[0], synthetic[2] = synthetic[1], synthetic[3] + 1e-2
    blame = Duplicates().per_image(compare(train, synthetic), CONTEXT)["internal_share"]
    assert (blame[:2] == 1.0).all()
    assert (blame[2:4] > 0.5).all()
    assert (blame[4:] < 0.5).all()


def test_conformance() -> None:
    """It keeps the promises of a metric: one answer for one seed, whatever the order of the images."""
    check(Duplicates())


def test_bad_input(compare: Callable[..., Comparison]) -> None:
    """One synthetic image is no number; few or identical training images leave the exact share; no test image is needed."""
    train, synthetic = gaussians(12)
    with pytest.raises(NotComputable, match="needs 2 synthetic images, got 1"):
        Duplicates().measure(compare(train, synthetic[:1]), CONTEXT)
    few = Duplicates().measure(compare(train[:19], synthetic, synthetic[:0]), CONTEXT)
    assert "needs 20 training images with different features, got 19" in str(few["internal_share"])
    assert few["exact_share"] == 0.0
    same = Duplicates().measure(compare(np.ones((30, 2)), np.ones((20, 2))), CONTEXT)
    assert "different features, got 1" in str(same["internal_share"])
    assert same["exact_share"] == pytest.approx(19 / 20)
    one_patient = of_patients(train, "train", 400)
    comparison = Comparison(one_patient, one_patient, of_patients(synthetic, "synthetic", 1))
    assert "only images of their own patient" in str(Duplicates().measure(comparison, CONTEXT)["internal_share"])
    assert np.isinf(nearest_elsewhere(comparison, "train").distance).all()
