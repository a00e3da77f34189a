"""Facts about membership inference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from harness.api import Comparison, Context, NotComputable
from harness.testing import check
from harness_plugins.metrics.membership import Membership, auroc, density_ratio, real_distance

CONTEXT = Context(seed=0, workdir=Path())


def gaussians(seed: int, d: int = 8) -> tuple[np.ndarray, ...]:
    """Three samples of one Gaussian: a perfect generator."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(300, d)), rng.normal(size=(200, d)), rng.normal(size=(400, d))


def test_auroc_is_that_of_a_library() -> None:
    """The area agrees with scikit-learn's, ties included, and its ends are 0, one half and 1."""
    rng = np.random.default_rng(1)
    members, others = rng.integers(0, 9, 50).astype(float), rng.integers(0, 8, 70).astype(float)
    truth = np.repeat([1, 0], [50, 70])
    assert auroc(members, others) == pytest.approx(roc_auc_score(truth, np.concatenate([members, others])))
    assert auroc(np.ones(3), np.zeros(4)) == 1.0
    assert auroc(np.zeros(3), np.ones(4)) == 0.0
    assert auroc(np.ones(3), np.ones(4)) == 0.5


@pytest.mark.parametrize("k", [1, 3])
def test_definition(compare: Callable[..., Comparison], k: int) -> None:
    """The scores are those written out over all pairs."""
    train, test, synthetic = gaussians(2)
    train, test = train[:40], test[:30]

    def near(side: np.ndarray, among: np.ndarray) -> np.ndarray:
        return np.sort(np.linalg.norm(side[:, None] - among[None], axis=2), axis=1)

    real = np.concatenate([train, test])
    to_real, to_synthetic = near(real, real)[:, k], near(real, synthetic)[:, :k]
    truth = np.repeat([1, 0], [40, 30])
    assert Membership(k=k).measure(compare(train, synthetic, test), CONTEXT) == pytest.approx(
        {
            "distance_auroc": roc_auc_score(truth, -to_synthetic.mean(axis=1)),
            "density_auroc": roc_auc_score(truth, to_real / to_synthetic[:, -1]),
        }
    )


def test_no_leak_is_one_half(compare: Callable[..., Comparison]) -> None:
    """Over many perfect generators the mean of both areas is 0.5, also where one real side is much smaller than the other."""
    for members in (150, 40):
        found = []
        for seed in range(20):
            train, test, synthetic = gaussians(seed, d=4)
            found.append(list(Membership().measure(compare(train[:members], synthetic[:150], test[:100]), CONTEXT).values()))
        error = np.std(found, axis=0, ddof=1) / np.sqrt(20)
        assert (np.abs(np.mean(found, axis=0) - 0.5) < 3 * error + 0.005).all()


def test_copies_give_members_away(compare: Callable[..., Comparison]) -> None:
    """The more training images are copied, the larger both areas; when all are, every member scores above every other."""
    train, test, synthetic = gaussians(3)
    areas = []
    for count in (0, 60, 300):
        synthetic[:count] = train[:count]
        areas.append(Membership().measure(compare(train, synthetic, test), CONTEXT))
    for name in ("distance_auroc", "density_auroc"):
        assert areas[0][name] < areas[1][name] < areas[2][name] == 1.0


def test_crowded_regions_are_no_members(compare: Callable[..., Comparison]) -> None:
    """Near copies of members in a sparse region escape the distance attack, and the density attack sees them."""
    rng = np.random.default_rng(4)

    def population(n: int) -> np.ndarray:
        return rng.normal(size=(n, 6)) * np.where(np.arange(n) % 2, 0.1, 3.0)[:, None]

    train, test, synthetic = population(400), population(400), population(400)
    synthetic[::2] = train[::2] + 0.2 * rng.normal(size=(200, 6))
    found = Membership().measure(compare(train, synthetic, test), CONTEXT)
    assert found["density_auroc"] > found["distance_auroc"] + 0.1


def test_conformance() -> None:
    """It keeps the promises of a metric: one answer for one seed, whatever the order of the images."""
    check(Membership())
    check(Membership(k=4))


def test_coinciding_images(compare: Callable[..., Comparison]) -> None:
    """An exact copy has infinite density, one that also coincides with a real image none of its own; identical sets give one half."""
    np.testing.assert_array_equal(density_ratio(np.array([2.0, 2.0, 0.0, 0.0]), np.array([4.0, 0.0, 4.0, 0.0])), [0.5, np.inf, 0.0, 1.0])
    same = Membership().measure(compare(np.ones((9, 2)), np.ones((9, 2)), np.ones((5, 2))), CONTEXT)
    assert same == {"distance_auroc": 0.5, "density_auroc": 0.5}


def test_few_images(compare: Callable[..., Comparison]) -> None:
    """One image on each side is enough for k = 1, where every other real image counts; empty sides and larger k are reasons."""
    one = compare(np.zeros((1, 1)), np.ones((1, 1)), np.full((1, 1), 3.0))
    assert Membership().measure(one, CONTEXT) == {"distance_auroc": 1.0, "density_auroc": 1.0}
    np.testing.assert_array_equal(real_distance(one, "train", 1), [3.0])
    train, test, synthetic = gaussians(5)
    for bad in (compare(train, synthetic, test[:0]), compare(train[:0], synthetic, test), compare(train, synthetic[:0], test), one):
        with pytest.raises(NotComputable, match="needs training and test images, 3 in all, and 2 synthetic for k = 2"):
            Membership(k=2).measure(bad, CONTEXT)
