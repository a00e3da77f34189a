"""How many images a criterion needs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.statistics.sizes import each, n_for_mean, n_for_share


@pytest.mark.parametrize(("bound", "true", "side", "n"), [
    (0.03, 0.0, "at_most", 99), (0.01, 0.0, "at_most", 299), (0.80, 0.90, "at_least", 94), (0.85, 0.91, "at_least", 213),
])  # fmt: skip
def test_sizes_for_shares(bound: float, true: float, side: str, n: int) -> None:
    """None of 99 bounds a share at 3 %, none of 299 at 1 % (the rule of three made exact); .90 against .80 takes 94."""
    assert n_for_share(bound, true, 0.8, side) == n  # type: ignore[arg-type]


def test_the_size_gives_the_power_and_keeps_it() -> None:
    """At the size found, and at every larger one, the share clears its bound with the power that was asked for."""
    n = n_for_share(0.1, 0.05, 0.8, "at_most")
    assert n is not None
    for larger in range(n, n + 60):
        counts = np.arange(larger)
        allowed = counts[stats.beta.ppf(0.95, counts + 1, larger - counts) <= 0.1].max()
        assert stats.binom.cdf(allowed, larger, 0.05) >= 0.8


def test_a_share_that_misses_its_bound_never_clears_it() -> None:
    """No number of images helps where the truth is at the bound or beyond, nor where the margin needs too many."""
    assert n_for_share(0.03, 0.03, 0.8, "at_most") is None
    assert n_for_share(0.80, 0.75, 0.8, "at_least") is None


@pytest.mark.parametrize(("sd", "distance", "n"), [(0.12, 0.02, 223), (0.12, 0.03, 99), (0.18, 0.05, 81)])
def test_sizes_for_means(sd: float, distance: float, n: int) -> None:
    """A pilot of 100 with this standard deviation plans what the normal formula gives."""
    limit = 0.5 - 1.6449 * sd / 10
    assert n_for_mean(100, 0.5, 0.5 - distance, limit, 0.8, "at_least") == pytest.approx(n, abs=1)


def test_a_pilot_on_the_wrong_side_plans_nothing() -> None:
    """Where the value itself misses the bound more images do not help; a value without spread needs no more than it had."""
    assert n_for_mean(100, 0.5, 0.6, 0.45, 0.8, "at_least") is None
    assert n_for_mean(100, 0.5, 0.5, 0.5, 0.8, "at_least") is None
    assert n_for_mean(100, 0.5, 0.4, 0.5, 0.8, "at_least") == 100
    assert n_for_mean(100, 0.5, 0.4, 0.5, 0.8, "at_most") is None


def test_joint_power() -> None:
    """Four criteria need 94.6 % each for 80 % together."""
    assert round(each(0.8, 4), 3) == 0.946
