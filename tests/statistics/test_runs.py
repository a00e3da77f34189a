"""Several sampling runs of one generator: how much they differ is part of the interval of their mean."""

from __future__ import annotations

import numpy as np
import pytest

from harness.statistics.intervals import (
    binomial_interval,
    effective_counts,
    half_sample_interval,
    run_spread,
    share_of_runs,
)
from harness.statistics.paired import half_sample_difference, share_difference

HALVES, IMAGES = 30, 60


def halves_of(rng: np.random.Generator, *runs: int) -> np.ndarray:
    """Return the rows of halves of the images, (*runs, HALVES, IMAGES / 2)."""
    return rng.permuted(np.broadcast_to(np.arange(IMAGES), (*runs, HALVES, IMAGES)), axis=-1)[..., : IMAGES // 2]


SHARED = halves_of(np.random.default_rng(0))


def drawn(rng: np.random.Generator, runs: int, between: float, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return values (R,) of runs against the same real images, mean of synthetic less mean of real ones, and their half-samples (R, B)."""
    shifts = rng.normal(0, between, runs)
    made = rng.normal(shifts[:, None], 1.0, (runs, IMAGES))
    own = made[np.arange(runs)[:, None, None], halves_of(rng, runs)]
    return made.mean(axis=1) - real.mean(), own.mean(axis=2) - real[SHARED].mean(axis=1)


def test_the_parts_of_the_variance() -> None:
    """The variance of the values over R, against the part of the half-samples' variance that runs do not share."""
    shared, own = np.array([0.0, 1.0, 0.0, 1.0]), np.array([[0.0, 0.2, 0.4, 0.2], [0.2, 0.0, 0.2, 0.4], [0.4, 0.2, 0.0, 0.2]])
    replicates = shared + own
    found = run_spread(np.array([0.0, 1.0, 2.0]), replicates, 10)

    assert found is not None
    assert found.between == pytest.approx(1 / 3)
    assert found.df == 2
    each, mean = replicates.var(axis=1, ddof=1).mean(), replicates.mean(axis=0).var(ddof=1)
    assert found.within == pytest.approx((each - mean) / 2)


def test_runs_that_differ_by_no_more_than_their_images_add_nothing() -> None:
    """Then the interval is that of the mean's half-samples, and one run adds nothing at all."""
    rng = np.random.default_rng(0)
    replicates = rng.normal(0, 1, (3, 40))

    assert run_spread(np.array([0.1, 0.1, 0.1]), replicates, 40) is None
    assert run_spread(np.array([0.1]), replicates[:1], 40) is None


def test_two_runs_are_refused() -> None:
    """They do not tell how much runs differ."""
    with pytest.raises(ValueError, match="2 sampling runs do not tell how much runs differ, at least 3"):
        run_spread(np.array([0.1, 0.2]), np.ones((2, 5)), 20)
    with pytest.raises(ValueError, match="2 sampling runs"):
        effective_counts([0.1, 0.2], [50, 50])


@pytest.mark.parametrize("between", [0.0, 0.15, 1.0])
@pytest.mark.parametrize("runs", [3, 5])
def test_the_interval_of_the_mean_holds_what_it_claims(runs: int, between: float) -> None:
    """95 % of intervals hold the expectation over real images, synthetic images and runs, whatever runs differ by."""
    rng, held, times = np.random.default_rng(runs), 0, 400
    for _ in range(times):
        values, halves = drawn(rng, runs, between, rng.normal(0, 1, IMAGES))
        spread = run_spread(values, halves, IMAGES)
        found = half_sample_interval(values.mean(), halves.mean(axis=0), units=IMAGES, runs=() if spread is None else (spread,))
        held += found.low <= 0.0 <= found.high
    assert held / times >= 0.92
    assert held / times <= 0.995


def test_without_the_runs_the_interval_would_claim_too_much() -> None:
    """Where runs differ, the half-samples of the mean alone hold the expectation far too rarely."""
    rng, held, times = np.random.default_rng(9), 0, 200
    for _ in range(times):
        values, halves = drawn(rng, 3, 1.0, rng.normal(0, 1, IMAGES))
        found = half_sample_interval(values.mean(), halves.mean(axis=0), units=IMAGES)
        held += found.low <= 0.0 <= found.high
    assert held / times < 0.7


@pytest.mark.parametrize("between", [0.0, 0.15, 1.0])
def test_a_difference_of_two_generators_allows_for_the_runs_of_both(between: float) -> None:
    """95 % of intervals hold the true difference, with runs of each generator of their own against the same real images."""
    rng, held, times = np.random.default_rng(4), 0, 400
    for _ in range(times):
        real = rng.normal(0, 1, IMAGES)
        first, second = (drawn(rng, 4, between, real) for _ in range(2))
        found = half_sample_difference(first, second, IMAGES, 0.95)
        held += found.low <= 0.0 <= found.high
    assert held / times >= 0.92


def test_a_share_is_exact_where_runs_are_alike() -> None:
    """Shares that vary no more than chance lets them are one share of all images; so is a share of nothing."""
    assert share_of_runs([0.1, 0.1, 0.1], [50, 50, 50]) == binomial_interval(15, 150)
    assert share_of_runs([0.0, 0.0, 0.0], [50, 50, 50]) == binomial_interval(0, 150)
    assert effective_counts([0.3], [50]) == (15.0, 50.0)


def test_a_share_that_runs_disagree_on_is_worth_fewer_images() -> None:
    """The interval is wider by what runs differ more than chance lets them, and says how many images they are worth."""
    shares = [0.02, 0.5, 0.2]
    successes, trials = effective_counts(shares, [50, 50, 50])
    found = share_of_runs(shares, [50, 50, 50])

    assert successes / trials == pytest.approx(0.24)
    assert trials < 150 / 10
    assert found.low < binomial_interval(36, 150).low
    assert found.method == f"binomial after Korn & Graubard, 3 sampling runs of 150 images worth {trials:.0f}"


@pytest.mark.parametrize("between", [0.0, 0.5, 1.5])
def test_shares_over_runs_hold_what_they_claim(between: float) -> None:
    """95 % of intervals hold the expected share where its log-odds differ from run to run."""
    rng, held, times, n = np.random.default_rng(2), 0, 500, 100
    many = 1 / (1 + np.exp(1.5 + rng.normal(0, between, 400_000)))
    truth = float(many.mean())
    for _ in range(times):
        chances = 1 / (1 + np.exp(1.5 + rng.normal(0, between, 5)))
        found = share_of_runs((rng.binomial(n, chances) / n).tolist(), [n] * 5)
        held += found.low <= truth <= found.high
    assert held / times >= 0.92


def test_a_difference_of_shares_holds_at_the_level_that_is_asked_for() -> None:
    """What runs are worth depends on the level: at 99.5 % fewer images than at 95 %, and one in 200 differences is missed."""
    rng, held, times, n = np.random.default_rng(3), 0, 600, 200
    assert effective_counts([0.1, 0.3, 0.2], [n] * 3, 0.995)[1] < effective_counts([0.1, 0.3, 0.2], [n] * 3)[1]
    for _ in range(times):
        varied = (rng.binomial(n, np.clip(rng.normal(0.4, 0.1, 3), 0, 1)) / n).tolist()
        steady = (rng.binomial(n, 0.4, 3) / n).tolist()
        sides = [effective_counts(shares, [n] * 3, 0.995) for shares in (varied, steady)]
        found = share_difference(*sides, 0.995)
        held += found.low <= 0.0 <= found.high
    assert held / times >= 0.985


def test_rounding_is_no_difference_between_runs() -> None:
    """Shares of one that differ in the last digit add no variance."""
    assert run_spread(np.array([1.0, 1.0 - 1e-16, 1.0]), np.ones((3, 10)), 30) is None
