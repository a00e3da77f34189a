"""Differences of two generators against the same real images: published numbers, coverage by simulation, and what has no interval."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import stats

from harness.statistics.intervals import half_sample_rows, mean_interval
from harness.statistics.paired import (
    half_sample_difference,
    mean_difference,
    rank_ranges,
    share_difference,
    simultaneous_level,
)

SIMULATIONS, HALF_SAMPLES = 200, 50


@cache
def half(n: int, k: int, side: int) -> np.ndarray:
    """Return the rows of half-sample k of a side of n images; those of the real side (0) do not depend on the generator."""
    return half_sample_rows(np.arange(n), np.random.default_rng([k, side]))


def replicated(real: np.ndarray, made: np.ndarray, generator: int) -> tuple[float, np.ndarray]:
    """Return a distance of means and its values on half-samples."""
    pairs = ((real[half(len(real), k, 0)], made[half(len(made), k, generator)]) for k in range(HALF_SAMPLES))
    return distance(real, made), np.array([distance(*pair) for pair in pairs])


def distance(real: np.ndarray, made: np.ndarray) -> float:
    """Return the squared distance of means, whose excess at finite n is the same for both generators."""
    return float(((real.mean(0) - made.mean(0)) ** 2).sum())


def coverage(n: int, level: float = 0.95) -> tuple[float, float]:
    """Return how often the interval holds the true difference of two generators, and the share of that width that pairing saves."""
    held, widths, apart = 0, [], []
    # Means 0.6 and 0.4 in two dimensions; the excess at finite n cancels.
    truth = 2 * (0.6**2 - 0.4**2)
    for simulation in range(SIMULATIONS):
        rng = np.random.default_rng([simulation, n])
        real, first, second = (rng.normal(centre, 1.0, (n, 2)) for centre in (0.0, 0.6, 0.4))
        (a, ours), (b, theirs) = replicated(real, first, 1), replicated(real, second, 2)
        found = half_sample_difference((a, ours), (b, theirs), n, level)
        held += found.low <= truth <= found.high
        widths.append(found.high - found.low)
        apart.append(2 * stats.t.ppf((1 + level) / 2, min(HALF_SAMPLES, n) - 1) * np.hypot(ours.std(ddof=1), theirs.std(ddof=1)))
    return held / SIMULATIONS, 1 - float(np.mean(widths) / np.mean(apart))


def test_intervals_of_differences_cover_and_pairing_narrows_them() -> None:
    """Two Gaussian sets against one real set: the coverage is near 95 %, and the shared real images cost no width."""
    covered, saved = coverage(100)

    assert 0.90 <= covered <= 0.99
    assert saved > 0.1


def test_the_simultaneous_level_covers_more() -> None:
    """At 1 - 0.05/3 the same intervals cover about 98 %."""
    assert coverage(60, simultaneous_level(3))[0] >= 0.95


def test_half_samples_give_t_times_their_spread() -> None:
    """value -+ t x SD of the differences, with the fewer of half-samples and units as degrees of freedom."""
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=40), rng.normal(size=40)
    spread = (first - second).std(ddof=1)

    found = half_sample_difference((0.7, first), (0.2, second), 30, 0.98)

    assert found.value == pytest.approx(0.5)
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.99, 29) * spread)
    assert found.value - found.low == pytest.approx(stats.t.ppf(0.99, 29) * spread)
    assert found.method == "t x delete-half SD, 40 half-samples of 30 units"
    assert half_sample_difference((0.7, first), (0.2, second), 30, 0.98, low=0.0, high=1.0).high == 1.0


def test_what_varies_alike_cancels() -> None:
    """Two values that rise and fall with the same real images differ with certainty, although their own intervals overlap."""
    rng = np.random.default_rng(2)
    shared = rng.normal(size=50)

    found = half_sample_difference((1.0, shared), (0.9, shared + rng.normal(0, 0.01, 50)), 50, 0.95)

    assert found.separated
    assert found.low > 0


def test_a_value_at_the_end_of_its_range_brings_its_exact_interval() -> None:
    """Its half-samples do not vary, which does not make it certain: the two intervals are combined."""
    rng = np.random.default_rng(3)
    theirs = 0.9 + rng.normal(0, 0.02, 50)
    spread = stats.t.ppf(0.975, 29) * theirs.std(ddof=1)

    found = half_sample_difference((1.0, np.ones(50)), (0.9, theirs), 30, 0.95, 0.0, 1.0)

    assert found.value - found.low == pytest.approx(np.hypot(1 - 0.025 ** (1 / 30), spread))
    assert found.high - found.value == pytest.approx(spread)
    assert half_sample_difference((1.0, np.ones(50)), (0.0, np.zeros(50)), 30, 0.95, 0.0, 1.0).low > 0.8
    assert not half_sample_difference((0.0, np.zeros(50)), (0.0, np.zeros(50)), 30, 0.95, 0.0, 1.0).separated
    with pytest.raises(ValueError, match="the half-samples do not vary"):
        half_sample_difference((0.5, np.full(50, 0.5)), (0.9, theirs), 30, 0.95, 0.0, 1.0)


def test_differences_that_do_not_vary_have_no_interval() -> None:
    """Nor have half-samples that do not pair."""
    same = np.linspace(0, 1, 20)

    with pytest.raises(ValueError, match="do not vary"):
        half_sample_difference((0.5, same), (0.4, same), 20, 0.95)
    with pytest.raises(ValueError, match="20 and 10 half-samples do not pair"):
        half_sample_difference((0.5, same), (0.4, same[:10]), 20, 0.95)
    with pytest.raises(ValueError, match="do not vary"):
        mean_difference(np.ones((20, 2)), np.zeros((20, 2)), np.arange(20), 0.95)
    with pytest.raises(ValueError, match="do not pair"):
        mean_difference(np.ones((20, 2)), np.zeros((20, 3)), np.arange(20), 0.95)


@pytest.mark.parametrize(("patients", "repeats"), [(12, 1), (12, 3), (60, 3), (2000, 1)])
def test_tasks_are_paired_by_case_and_repeat(patients: int, repeats: int) -> None:
    """At 95 % the interval is that of the mean of the differences; at a higher level it is wider by the quotient of t quantiles."""
    rng = np.random.default_rng(patients)
    first, second = rng.normal(0.8, 0.1, (patients, repeats)), rng.normal(0.7, 0.1, (patients, repeats))
    units = np.arange(patients)
    known = mean_interval(first - second, units)

    same, wider = (mean_difference(first, second, units, level) for level in (0.95, 0.99))

    assert (same.low, same.high) == pytest.approx((known.low, known.high))
    if repeats == 1:
        quotient = stats.t.ppf(0.995, patients - 1) / stats.t.ppf(0.975, patients - 1)
        assert (wider.high - wider.low) / (same.high - same.low) == pytest.approx(quotient, rel=1e-4)
    assert wider.high > same.high


def test_newcombe_gives_the_published_numbers() -> None:
    """Examples a and c of Table II of Newcombe 1998, method 10."""
    found = share_difference((56, 70), (48, 80), 0.95)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    found = share_difference((6, 7), (2, 7), 0.95)
    assert (found.low, found.high) == pytest.approx((0.0582, 0.8062), abs=5e-5)
    assert found.separated


def test_shares_at_the_ends_of_their_range() -> None:
    """All against none is certain to differ; none against none is not told apart; counts beyond their total are refused."""
    assert share_difference((50, 50), (0, 50), 0.95).low > 0.8
    assert not share_difference((0, 50), (0, 50), 0.95).separated
    with pytest.raises(ValueError, match="got 51 of 50"):
        share_difference((51, 50), (0, 50), 0.95)


def test_level_of_each_pair() -> None:
    """One pair has 95 %, three have 98.3 % each, none has no level."""
    assert simultaneous_level(1) == pytest.approx(0.95)
    assert simultaneous_level(3) == pytest.approx(1 - 0.05 / 3)
    with pytest.raises(ValueError, match="at least one pair"):
        simultaneous_level(0)


def test_ranks_are_ranges_where_nothing_separates() -> None:
    """The best of three that beats both is 1; two that are not told apart share 2 to 3; a chain that is not transitive overlaps."""
    assert rank_ranges([[False, True, True], [False, False, False], [False, False, False]]) == [(1, 1), (2, 3), (2, 3)]
    assert rank_ranges([[False, False, True], [False, False, False], [False, False, False]]) == [(1, 2), (1, 3), (2, 3)]
