"""Facts about two-sample tests by classifiers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Comparison, Context, NotComputable
from harness.testing import check
from harness_plugins.metrics import two_sample
from harness_plugins.metrics.two_sample import NearestNeighbourTest, TwoSample, assign_folds, lda_scores, standardised

CLASSIFIERS = ("lda", "logistic", "knn")
# What casey-meehan/data-copying returns where images of the two sides coincide is decided by the order in which scikit-learn
# lists neighbours at distance zero, so it is not the definition's value.
TIED = ("identical", "memorised30", "all_equal")


def measured(comparison: Comparison, seed: int = 0, **options: Any) -> Any:
    """Area and accuracy of a comparison."""
    return TwoSample(**options).measure(comparison, Context(seed=seed, workdir=Path()))


def nearest(comparison: Comparison, **options: Any) -> Any:
    """The three shares of the nearest-neighbour test."""
    return NearestNeighbourTest(**options).measure(comparison, Context(seed=0, workdir=Path()))


def normal(*shape: int, seed: int = 0, mean: float = 0.0) -> np.ndarray:
    """Features of one Gaussian."""
    return np.random.default_rng(seed).normal(mean, size=shape)


def test_golden_nearest_neighbours(golden: Any, compare: Callable[..., Comparison]) -> None:
    """Both shares are those of the reference implementation, wherever no image is a copy of one on the other side."""
    compared = 0
    for row, sets in golden.rows("nn_two_sample"):
        if row["case"] in TIED:
            continue
        got = nearest(compare(sets["train"], sets["gen"]))
        assert got["real_accuracy"] == pytest.approx(row["value"]["train_loo"], abs=row["atol"]), row["id"]
        assert got["synthetic_accuracy"] == pytest.approx(row["value"]["gen_loo"], abs=row["atol"]), row["id"]
        compared += 1
    assert compared


@pytest.mark.parametrize("component", [NearestNeighbourTest, *(TwoSample(classifier=name) for name in CLASSIFIERS)])
def test_conforms(component: Any) -> None:
    """The components keep their promises, among them indifference to order."""
    check(component)


@pytest.mark.parametrize("shape", [(90, 12), (40, 60)])
def test_lda_is_the_textbook_direction(shape: tuple[int, int]) -> None:
    """Scores are those of scikit-learn's shrunken discriminant, up to scale, with fewer and with more features than images."""
    from sklearn.metrics import roc_auc_score

    x, y = standardised(normal(*shape, seed=1)), np.arange(shape[0]) % 3 == 0
    fold = np.random.default_rng(2).permutation(shape[0]) % 4
    for rows, scores in lda_scores(x, y, fold, 4, 0.3):
        kept = fold != fold[rows[0]]
        n, means = kept.sum(), [x[kept & (y == side)].mean(axis=0) for side in (False, True)]
        within = sum((z - m).T @ (z - m) for m, z in zip(means, (x[kept & ~y], x[kept & y]), strict=True)) / n
        direction = np.linalg.solve(within + 0.3 * np.eye(shape[1]), means[1] - means[0])
        expected = (x[rows] - (means[0] + means[1]) / 2) @ direction
        assert scores / np.abs(scores).max() == pytest.approx(expected / np.abs(expected).max(), rel=1e-8, abs=1e-10)
        fold_of_scores = two_sample._Fold(rows, scores, y[rows])
        area = two_sample._area(scores[~fold_of_scores.synthetic], scores[fold_of_scores.synthetic])
        assert area == pytest.approx(roc_auc_score(y[rows], scores))


def test_both_routes_agree() -> None:
    """Solving among the features and among the images gives one direction."""
    x, y, fold = standardised(normal(50, 20, seed=3)), (np.arange(50) % 2).astype(float), np.arange(50) % 5 // 1
    fold = np.random.default_rng(0).permutation(fold)
    for (rows, primal), (same, dual) in zip(two_sample._primal(x, y, fold, 5, 0.1), two_sample._dual(x, y, fold, 5, 0.1), strict=True):
        assert list(rows) == list(same)
        assert primal / primal.std() == pytest.approx(dual / dual.std(), rel=1e-8)


@pytest.mark.parametrize("classifier", ["lda", "knn"])
def test_half_for_equal_distributions(compare: Callable[..., Comparison], classifier: str) -> None:
    """Two samples of one distribution have an expected area of one half, also with unequal numbers."""
    values = [
        measured(compare(normal(60, 5, seed=2 * i), normal(35, 5, seed=2 * i + 1)), classifier=classifier)["auroc"] for i in range(120)
    ]
    assert abs(np.mean(values) - 0.5) < 4 * np.std(values) / np.sqrt(120)
    assert min(values) < 0.5


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_grows_with_the_difference(compare: Callable[..., Comparison], classifier: str) -> None:
    """A shift raises both numbers, a large one to 1; copies of training images are not noticed."""
    real, fair = normal(150, 5, seed=4), normal(150, 5, seed=5)
    base, shifted, apart = (measured(compare(real, fair + shift), classifier=classifier) for shift in (0.0, 0.6, 9.0))
    for name in ("auroc", "accuracy"):
        assert base[name] < shifted[name] < apart[name] == 1.0
    assert measured(compare(real, real), classifier=classifier)["auroc"] < 0.6


def test_knn_sees_spread_which_lda_does_not(compare: Callable[..., Comparison]) -> None:
    """A difference of spread moves no mean, so it needs the nearest neighbours."""
    comparison = compare(normal(300, 3, seed=6), 0.2 * normal(300, 3, seed=7))
    assert measured(comparison)["auroc"] < 0.65
    assert measured(comparison, classifier="knn")["auroc"] > 0.85


def test_deterministic_and_indifferent_to_order(compare: Callable[..., Comparison]) -> None:
    """Repeats agree exactly, another order of the rows to rounding, another seed draws other folds."""
    real, synthetic = normal(80, 6, seed=8), normal(70, 6, seed=9, mean=0.2)
    first = measured(compare(real, synthetic))
    assert measured(compare(real, synthetic)) == first
    assert measured(compare(real[::-1], np.roll(synthetic, 9, axis=0))) == pytest.approx(first, abs=1e-12)
    assert measured(compare(real, synthetic), seed=1) != first


def test_patients_stay_together() -> None:
    """Images of one unit fall into one fold, folds are nearly equal, and none is empty, however large one unit is."""
    features = normal(61, 3, seed=10)
    units = np.concatenate([np.arange(40) // 2, np.arange(20, 40), [40]])
    fold = assign_folds(features, units, 5, np.random.default_rng(0))
    assert all(len(set(fold[units == unit])) == 1 for unit in units)
    assert max(np.bincount(fold)) - min(np.bincount(fold, minlength=5)) <= 2
    order = np.random.default_rng(1).permutation(61)
    relabelled = np.unique(units[order], return_inverse=True)[1]
    assert list(assign_folds(features[order], relabelled, 5, np.random.default_rng(0))) == list(fold[order])
    skewed = np.concatenate([np.zeros(50, np.int64), np.arange(1, 5)])
    assert set(assign_folds(features[:54], skewed, 5, np.random.default_rng(0))) == set(range(5))


def test_leaks_without_patients(compare: Callable[..., Comparison]) -> None:
    """Near-duplicates within a patient betray themselves when folds split patients, and do not when they are known."""
    owner = np.repeat(np.arange(30), 4)
    real = normal(30, 40, seed=11)[owner] + 0.01 * normal(120, 40, seed=12)
    split = compare(real, normal(120, 40, seed=13))
    known = replace(split.train, patients=tuple(f"p{i}" for i in owner))
    together = Comparison(known, split.test, split.synthetic)
    assert measured(split, classifier="knn")["auroc"] > measured(together, classifier="knn")["auroc"] + 0.1


def test_per_image(compare: Callable[..., Comparison]) -> None:
    """The images that differ stand out, and real images in their place do not."""
    real, test, synthetic = normal(100, 4, seed=14), normal(60, 4, seed=15), normal(60, 4, seed=16)
    synthetic[:12] += 4.0
    context = Context(seed=0, workdir=Path())
    blame = TwoSample().per_image(compare(real, synthetic, test), context)["auroc"]
    assert blame.shape == (60,)
    assert blame[:12].min() > blame[12:].max()
    honest = TwoSample().per_image(compare(real, test, test), context)["auroc"]
    assert abs(honest.mean()) < 0.6
    assert np.percentile(honest, 95) < np.median(blame[:12])
    assert TwoSample().per_image(compare(np.ones((9, 2)), np.ones((8, 2))), context) == {}


def test_nearest_neighbours_by_definition(compare: Callable[..., Comparison]) -> None:
    """Shares are those of the definition written out; equal distances count half; copies fall below one half."""
    real, synthetic = normal(25, 3, seed=17), normal(18, 3, seed=18, mean=0.4)
    pooled, side = np.concatenate([real, synthetic]), np.repeat([0, 1], [25, 18])
    distance = np.linalg.norm(pooled[:, None] - pooled[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    own = side[distance.argmin(axis=1)] == side
    got = nearest(compare(real, synthetic))
    assert got == pytest.approx(
        {"accuracy": (own[:25].mean() + own[25:].mean()) / 2, "real_accuracy": own[:25].mean(), "synthetic_accuracy": own[25:].mean()}
    )
    assert nearest(compare(real, real))["accuracy"] == 0.0
    assert nearest(compare(np.ones((9, 2)), np.ones((8, 2))))["accuracy"] == 0.5
    assert nearest(compare(real, synthetic + 99))["accuracy"] == 1.0
    sizes = [nearest(compare(normal(90, 3, seed=2 * i), normal(30, 3, seed=2 * i + 1)))["accuracy"] for i in range(60)]
    assert np.mean(sizes) == pytest.approx(0.5, abs=0.03)


def test_bad_input(compare: Callable[..., Comparison]) -> None:
    """Too few images, no test image and constant features: a reason, or one half where nothing can be told apart."""
    real = normal(20, 3, seed=19)
    with pytest.raises(NotComputable, match="5 folds need 5 independent images on each side, got 20 real and 1 synthetic"):
        measured(compare(real, real[:1]))
    with pytest.raises(NotComputable, match="got 0 real and 20 synthetic"):
        measured(compare(real, real, real[:0]), against="test")
    one_patient = compare(real, real)
    owned = Comparison(replace(one_patient.train, patients=("p",) * 20), one_patient.test, one_patient.synthetic)
    with pytest.raises(NotComputable, match="got 1 real and 20 synthetic"):
        measured(owned)
    with pytest.raises(NotComputable, match="needs 2 images on each, got 20 real and 1 synthetic"):
        nearest(compare(real, real[:1]))
    with pytest.raises(NotComputable, match="got 0 real and 20 synthetic"):
        nearest(compare(real, real, real[:0]), against="test")
    assert measured(compare(np.ones((9, 2)), np.ones((8, 2)))) == {"auroc": 0.5, "accuracy": 0.5}
    assert measured(compare(np.ones((9, 2)), 2 * np.ones((8, 2)))) == {"auroc": 1.0, "accuracy": 1.0}
