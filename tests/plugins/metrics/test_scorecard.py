"""Facts about the measurable Cs of the scorecard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import percentileofscore

from harness.api import Comparison, Context, NotComputable
from harness.testing import check
from harness_plugins.metrics.scorecard import (
    Scorecard,
    ScorecardByClass,
    cells,
    completeness,
    congruence,
    consistency,
    mid_ranks,
    violations,
)

CONTEXT = Context(seed=0, workdir=Path())
PERFECT_VIOLATION = 0.02


def gaussians(seed: int = 0, n: int = 400, d: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Two samples of one correlated Gaussian."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(d, d))
    return rng.normal(size=(n, d)) @ mix, rng.normal(size=(n, d)) @ mix


def labelled(compare: Callable[..., Comparison], real: np.ndarray, synthetic: np.ndarray, labels: Any, theirs: Any) -> Comparison:
    """Return the comparison with labels on both sides."""
    plain = compare(real, synthetic)
    labels, theirs = (np.asarray(x, dtype=np.int64) for x in (labels, theirs))
    return Comparison(replace(plain.train, labels=labels), replace(plain.test, labels=labels), replace(plain.synthetic, labels=theirs))


@pytest.mark.parametrize("metric", [Scorecard, ScorecardByClass])
def test_conforms(metric: Any) -> None:
    """It keeps the promises that every author's metric must keep."""
    check(metric)


def test_mid_ranks_are_percentiles_of_score() -> None:
    """The transform is scipy's mean percentile of score, ties included."""
    rng = np.random.default_rng(0)
    real, asked = rng.integers(0, 9, (50, 2)).astype(float), rng.integers(-2, 12, (30, 2)).astype(float)
    expected = [[percentileofscore(real[:, j], x, kind="mean") / 100 for j, x in enumerate(row)] for row in asked]
    np.testing.assert_allclose(mid_ranks(real, asked), expected)


def test_congruence_is_scipys_divergence() -> None:
    """1 - JSD agrees with scipy's Jensen-Shannon distance squared, over histograms written out."""
    real, synthetic = gaussians(1)
    synthetic[:, 0] *= 2
    ranks = mid_ranks(real, real), mid_ranks(real, synthetic)
    edges = np.array([-1.0, 1e-12, *np.arange(1, 10) / 10, 1 - 1e-12, 2.0])
    for j, value in enumerate(congruence(*ranks, 10)[0]):
        p, q = (np.histogram(side[:, j], edges)[0] for side in ranks)
        assert value == pytest.approx(1 - jensenshannon(p, q, base=2) ** 2)


def test_definitions_written_out(compare: Callable[..., Comparison]) -> None:
    """Coverage and violation rate are shares within numpy's 1st and 99th percentiles."""
    real, synthetic = gaussians(2, n=150)
    found = Scorecard().measure(compare(real, synthetic), CONTEXT)
    (real_low, real_high), (low, high) = (np.percentile(side, (1, 99), axis=0) for side in (real, synthetic))
    assert found["coverage"] == pytest.approx(np.mean((real >= low) & (real <= high)))
    assert found["violation_rate"] == pytest.approx(np.mean((synthetic < real_low) | (synthetic > real_high)))
    blamed = Scorecard().per_image(compare(real, synthetic), CONTEXT)["violation_rate"]
    assert blamed.mean() == pytest.approx(found["violation_rate"])


def test_perfect_generator(compare: Callable[..., Comparison]) -> None:
    """Two samples of one law score near the stated ideals."""
    found = Scorecard().measure(compare(*gaussians(3, n=1000)), CONTEXT)
    assert found["congruence"] > 0.98
    assert found["coverage"] == pytest.approx(1 - PERFECT_VIOLATION, abs=0.01)
    assert found["violation_rate"] == pytest.approx(PERFECT_VIOLATION, abs=0.01)
    assert found["completeness"] == 1.0


def test_shift_and_collapse_are_not_scaled_away(compare: Callable[..., Comparison]) -> None:
    """A shift of 100 SD and a shrinkage to a hundredth, which scaling each side alone would hide, are both plain."""
    real, synthetic = gaussians(4)
    sd, middle = synthetic.std(axis=0), synthetic.mean(axis=0)
    shifted = Scorecard().measure(compare(real, synthetic + 100 * sd), CONTEXT)
    collapsed = Scorecard().measure(compare(real, middle + 0.01 * (synthetic - middle)), CONTEXT)
    assert shifted == {"congruence": 0.0, "coverage": 0.0, "violation_rate": 1.0, "completeness": 1 / 16}
    assert collapsed["congruence"] < 0.35
    assert collapsed["coverage"] < 0.05
    assert collapsed["violation_rate"] == 0.0
    assert collapsed["completeness"] <= 4 / 16


def test_completeness_misses_a_dropped_mode(compare: Callable[..., Comparison]) -> None:
    """Of two equal modes one is lost: about half of the cells are empty."""
    rng = np.random.default_rng(5)
    real = rng.normal(size=(400, 5)) + 8 * (np.arange(400) % 2)[:, None]
    found = Scorecard().measure(compare(real, real[::2] + 0.1), CONTEXT)
    assert found["completeness"] == pytest.approx(0.5, abs=0.07)


def test_cells_hold_equal_shares() -> None:
    """Four splits at medians make 16 cells of equal numbers of real images, and fewer where fewer features vary."""
    real, synthetic = gaussians(6, n=320)
    codes, theirs = cells(real, synthetic, 4)
    np.testing.assert_array_equal(np.unique(codes, return_counts=True)[1], [20] * 16)
    assert theirs.min() >= 0
    assert theirs.max() < 16
    assert set(cells(np.ones((9, 2)), np.zeros((4, 2)), 4)[0]) == {0}


def test_presence_is_a_part_of_the_real_share() -> None:
    """A class with less than a tenth of its real share counts as absent, and one that no real image has does not count."""
    real = np.repeat([0, 1, 2], [50, 30, 20])
    assert completeness(real, np.repeat([0, 1, 2], [95, 4, 1]), 0.1) == pytest.approx(2 / 3)
    assert completeness(real, np.repeat([0, 1, 7], [50, 30, 20]), 0.1) == pytest.approx(2 / 3)
    assert completeness(real, real, 0.1) == 1.0


def test_consistency_falls_where_one_class_is_worse(compare: Callable[..., Comparison]) -> None:
    """Equal classes are consistent whatever their sizes; a class that alone is shifted is not."""
    real, synthetic = gaussians(7, n=600)
    labels = np.repeat([0, 1], [500, 100])
    equal = ScorecardByClass().measure(labelled(compare, real, synthetic, labels, labels), CONTEXT)
    assert equal["consistency"] > 0.97
    assert equal["class_completeness"] == 1.0
    synthetic[labels == 1] += 2 * synthetic.std(axis=0)
    worse = ScorecardByClass().measure(labelled(compare, real, synthetic, labels, labels), CONTEXT)
    assert worse["consistency"] < 0.8


def test_small_classes_are_not_called_inconsistent() -> None:
    """Raising each congruence by the cost of its numbers keeps 30 images against 600 level on average."""
    differences = []
    for seed in range(20):
        real, synthetic = gaussians(seed, n=630)
        labels = np.repeat([0, 1], [600, 30])
        ranks = mid_ranks(real, real), mid_ranks(real, synthetic)
        differences.append(1 - float(consistency(*ranks, labels, labels, 10)))
    uncorrected = 9 * (2 / 30 - 2 / 600) / (8 * np.log(2))
    assert np.mean(differences) < 0.25 * uncorrected


def test_deterministic_and_indifferent_to_order(compare: Callable[..., Comparison]) -> None:
    """Repeats agree exactly; another order of the rows gives the same numbers."""
    real, synthetic = gaussians(8)
    labels = np.arange(400) % 3
    for metric in (Scorecard(), ScorecardByClass()):
        first = metric.measure(labelled(compare, real, synthetic, labels, labels), CONTEXT)
        assert metric.measure(labelled(compare, real, synthetic, labels, labels), CONTEXT) == first
        turned = labelled(compare, real[::-1], synthetic[::-1], labels[::-1], labels[::-1])
        assert metric.measure(turned, CONTEXT) == pytest.approx(first)


def test_wide_embeddings_are_thinned(compare: Callable[..., Comparison]) -> None:
    """Of more features than `at_most`, evenly spaced ones count."""
    real, synthetic = gaussians(9, d=12)
    thinned = Scorecard(at_most=4).measure(compare(real, synthetic), CONTEXT)
    assert thinned == Scorecard().measure(compare(real[:, ::3], synthetic[:, ::3]), CONTEXT)


def test_constant_features_and_identical_sets(compare: Callable[..., Comparison]) -> None:
    """Constant features that stay are congruent and those that move are not; a set is congruent with itself."""
    real = np.ones((20, 2))
    assert Scorecard().measure(compare(real, real), CONTEXT)["congruence"] == 1.0
    moved = Scorecard().measure(compare(real, real * [1, 2]), CONTEXT)
    assert moved["congruence"] == 0.5
    assert moved["violation_rate"] == 0.5
    same = gaussians(10)[0]
    assert Scorecard().measure(compare(same, same), CONTEXT)["congruence"] == pytest.approx(1.0)
    assert violations(same, same).mean() == pytest.approx(PERFECT_VIOLATION, abs=0.005)


def test_bad_input(compare: Callable[..., Comparison]) -> None:
    """Too few images, an empty test set, too few for the cells, missing labels, one class, a small class: each is a reason."""
    real, synthetic = gaussians(11)
    with pytest.raises(NotComputable, match="needs 10 images on each side, got 400 real and 1 synthetic"):
        Scorecard().measure(compare(real, synthetic[:1]), CONTEXT)
    with pytest.raises(NotComputable, match="got 0 real"):
        Scorecard(against="test").measure(compare(real, synthetic, real[:0]), CONTEXT)
    few = Scorecard().measure(compare(real[:12], synthetic), CONTEXT)
    assert "needs 16 real images for 16 cells, got 12" in str(few["completeness"])
    with pytest.raises(NotComputable, match="needs labels"):
        ScorecardByClass().measure(compare(real, synthetic), CONTEXT)
    one = np.zeros(400)
    assert "two classes, got 1" in str(ScorecardByClass().measure(labelled(compare, real, synthetic, one, one), CONTEXT)["consistency"])
    small = ScorecardByClass().measure(labelled(compare, real, synthetic, np.arange(400) == 0, one), CONTEXT)
    assert "of each class" in str(small["consistency"])
    assert small["class_completeness"] == 0.5
