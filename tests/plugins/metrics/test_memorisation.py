"""Facts about the share of copies and AuthPct."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Comparison, Context, NotComputable
from harness.testing import check
from harness_plugins.metrics.memorisation import Memorisation, authpct, copies, copy_threshold, distinct_train, nndr, nndr_to_test, ratios

CONTEXT = Context(seed=0, workdir=Path())


def gaussians(seed: int = 0, d: int = 8, train: int = 400, test: int = 200, synthetic: int = 300) -> tuple[np.ndarray, ...]:
    """Three samples of one Gaussian: a perfect generator."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(train, d)), rng.normal(size=(test, d)), rng.normal(size=(synthetic, d))


def test_golden_authpct(golden: Any, compare: Callable[..., Comparison]) -> None:
    """AuthPct is that of the reference implementation."""
    golden.check("authpct", lambda row, sets: authpct(compare(sets["train"], sets["gen"])))


def test_definition(compare: Callable[..., Comparison]) -> None:
    """Copies are those whose ratio, over distances written out, is below the smaller of the two thresholds."""
    train, test, synthetic = gaussians(1)
    synthetic[:30] = train[:30] + 1e-4

    def u(side: np.ndarray) -> np.ndarray:
        near = np.sort(np.linalg.norm(side[:, None] - train[None], axis=2), axis=1)
        return near[:, 0] / near[:, 1]

    dimension = 1 / np.mean(-np.log(u(test)))
    threshold = min(u(test).min(), 0.001 ** (1 / dimension))
    found = copies(compare(train, synthetic, test))
    np.testing.assert_array_equal(found, u(synthetic) < threshold)
    assert found[:30].all()


def test_planted_copies_are_counted(compare: Callable[..., Comparison]) -> None:
    """Of exact and of near copies all are found, and the share times the number of images is their count."""
    train, test, synthetic = gaussians(2, d=16)
    rng = np.random.default_rng(3)
    for planted, jitter in ((15, 0.0), (45, 0.02)):
        synthetic[:planted] = train[rng.permutation(400)[:planted]] + jitter * rng.normal(size=(planted, 16))
        share = Memorisation().measure(compare(train, synthetic, test), CONTEXT)["copied_share"]
        assert share * 300 == pytest.approx(planted)


@pytest.mark.parametrize("d", [2, 8, 32])
def test_few_honest_images_are_called_copies(compare: Callable[..., Comparison], d: int) -> None:
    """A perfect generator has copies at no more than the false-positive rate, up to chance."""
    called = sum(int(copies(compare(t, s, e)).sum()) for t, e, s in (gaussians(seed, d) for seed in range(10)))
    assert called <= 10


def test_false_positive_rate_is_met(compare: Callable[..., Comparison]) -> None:
    """With plenty of test images, a rate of 1 % lets about 1 % of honest images below alpha^(1/D)."""
    train, test, synthetic = gaussians(4, d=3, train=3000, test=1500, synthetic=3000)
    comparison = compare(train, synthetic, test)
    distance = {side: comparison.neighbours(side, "train", 2)[0] for side in ("test", "synthetic")}
    dimension = 1 / np.mean(-np.log(ratios(*distance["test"].T)))
    assert dimension == pytest.approx(3, rel=0.15)
    assert np.mean(ratios(*distance["synthetic"].T) < 0.01 ** (1 / dimension)) == pytest.approx(0.01, abs=0.007)


def test_no_test_image_is_a_copy() -> None:
    """The threshold is never above the smallest ratio of a test image, whatever rate is asked for."""
    u = np.random.default_rng(5).random(50)
    assert copy_threshold(u, 0.9) == u.min()
    assert copy_threshold(u, 1e-6) < u.min()


def test_duplicates_in_train_hide_no_copy(compare: Callable[..., Comparison]) -> None:
    """An image that is twice in train is still found when it is copied: its duplicate is not the second neighbour."""
    train, test, synthetic = gaussians(6)
    synthetic[:20] = train[:20]
    doubled = np.concatenate([train, train[:20]])
    np.testing.assert_array_equal(copies(compare(doubled, synthetic, test)), copies(compare(train, synthetic, test)))


def test_leaked_test_images_do_not_calibrate(compare: Callable[..., Comparison]) -> None:
    """Test images that are identical to training images leave the threshold as it is."""
    train, test, synthetic = gaussians(7)
    synthetic[:20] = train[:20]
    leaked = np.concatenate([test, train[:50]])
    np.testing.assert_array_equal(copies(compare(train, synthetic, leaked)), copies(compare(train, synthetic, test)))


def test_deterministic_and_indifferent_to_order(compare: Callable[..., Comparison]) -> None:
    """Repeats agree exactly; another order of the rows gives the same numbers."""
    train, test, synthetic = gaussians(8)
    synthetic[:9] = train[:9]
    first = Memorisation().measure(compare(train, synthetic, test), CONTEXT)
    assert Memorisation().measure(compare(train, synthetic, test), CONTEXT) == first
    assert Memorisation().measure(compare(train[::-1], synthetic[::-1], test[::-1]), CONTEXT) == pytest.approx(first)


def test_move_with_copies_and_not_with_collapse(compare: Callable[..., Comparison]) -> None:
    """More copies raise the share and lower AuthPct; lost modes are no copies."""
    train, test, synthetic = gaussians(9)
    values = []
    for count in (0, 30, 90):
        synthetic[:count] = train[:count]
        values.append(Memorisation().measure(compare(train, synthetic, test), CONTEXT))
    assert values[0]["copied_share"] < values[1]["copied_share"] < values[2]["copied_share"]
    assert values[0]["authpct"] > values[1]["authpct"] > values[2]["authpct"]
    collapsed = gaussians(9)[2]
    assert Memorisation().measure(compare(train, collapsed[collapsed[:, 0] > 0.5], test), CONTEXT)["copied_share"] == 0.0


def test_distance_ratios(compare: Callable[..., Comparison]) -> None:
    """NNDR is the percentile of the ratios written out, and its reference the same percentile of the test images."""
    train, test, synthetic = gaussians(11)
    comparison = compare(train, synthetic, test)

    def fifth(side: np.ndarray) -> float:
        near = np.sort(np.linalg.norm(side[:, None] - train[None], axis=2), axis=1)
        return float(np.percentile(near[:, 0] / near[:, 1], 5))

    found = Memorisation().measure(comparison, CONTEXT)
    assert found["nndr"] == pytest.approx(fifth(synthetic))
    assert found["nndr_to_test"] == pytest.approx(fifth(synthetic) / fifth(test))
    assert nndr(comparison, 100.0) == pytest.approx(ratios(*comparison.neighbours("synthetic", "train", 2)[0].T).max())


def test_distance_ratios_fall_with_copies(compare: Callable[..., Comparison]) -> None:
    """A perfect generator is near the test images; more than 5 % of copies bring both ratios to nothing, fewer do not."""
    train, test, synthetic = gaussians(12, train=800, test=600, synthetic=600)
    assert nndr_to_test(compare(train, synthetic, test)) == pytest.approx(1.0, abs=0.15)
    for count, gone in ((10, False), (60, True)):
        synthetic[:count] = train[:count]
        comparison = compare(train, synthetic, test)
        assert (nndr(comparison) == 0.0) == gone
        assert (nndr_to_test(comparison) == 0.0) == gone


def test_images_to_blame(compare: Callable[..., Comparison]) -> None:
    """Exact copies are at 1, near copies next, and the others below."""
    train, test, synthetic = gaussians(13)
    synthetic[:5], synthetic[5:8] = train[:5], train[5:8] + 1e-3
    blame = Memorisation().per_image(compare(train, synthetic, test), CONTEXT)["copied_share"]
    assert (blame[:5] == 1.0).all()
    assert set(np.argsort(blame)[-8:]) == set(range(8))
    assert (blame >= 0.0).all()


def test_duplicates_in_train_count_once(compare: Callable[..., Comparison]) -> None:
    """One image of each group of identical ones stays, the first, in the order of the images; zeros of both signs are one number."""
    train = np.array([[0.0, 1.0], [2.0, 3.0], [-0.0, 1.0], [5.0, 5.0], [2.0, 3.0]])
    np.testing.assert_array_equal(distinct_train(compare(train, train)).features("train"), train[[0, 1, 3]])


def test_conformance() -> None:
    """It keeps the promises of a metric: one answer for one seed, whatever the order of the images."""
    check(Memorisation())


def test_bad_input(compare: Callable[..., Comparison]) -> None:
    """Too few test images, one distinct training image, test images at equal distances: each is a reason, no number."""
    train, test, synthetic = gaussians(10)
    with pytest.raises(NotComputable, match=r"needs 20 test images .* got 19"):
        copies(compare(train, synthetic, np.concatenate([test[:19], train[:5]])))
    with pytest.raises(NotComputable, match="2 training images with different features, got 1"):
        copies(compare(np.ones((9, 2)), synthetic[:, :2], test[:, :2]))
    with pytest.raises(NotComputable, match="equally far"):
        copy_threshold(np.ones(30))
    with pytest.raises(NotComputable, match="no synthetic"):
        copies(compare(train, synthetic[:0], test))
    with pytest.raises(NotComputable, match="2 training images with different features, got 1"):
        copies(compare(train[:1], synthetic, test))
    with pytest.raises(NotComputable, match="got 1 and 300"):
        authpct(compare(train[:1], synthetic))


def test_without_test_images_the_others_stay(compare: Callable[..., Comparison]) -> None:
    """Without test images there is no threshold and no reference; AuthPct and NNDR need none."""
    train, test, synthetic = gaussians(14)
    found = Memorisation().measure(compare(train, synthetic, test[:0]), CONTEXT)
    assert isinstance(found["authpct"], float)
    assert isinstance(found["nndr"], float)
    assert "needs 20 test images" in str(found["copied_share"])
    assert "needs 20 test images" in str(found["nndr_to_test"])
    empty = Memorisation().measure(compare(train, synthetic[:0], test), CONTEXT)
    assert all(isinstance(value, NotComputable) for value in empty.values())
