"""Finding the real image among m, and calling images real or synthetic."""

from __future__ import annotations

import json
import math
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from harness.statistics.identification import (
    d_prime,
    equivalence_p,
    identification,
    poisson_binomial,
    pooled,
    smallest_margin,
    yes_no,
)

# Statistics of the file that begin with visual_turing but are compared in another test.
ELSEWHERE = {"visual_turing_sample_size": "tests/statistics/test_readersizes.py"}


@cache
def cases() -> list[dict[str, Any]]:
    """Return the independent values on identification, none where there is no file."""
    folder = os.environ.get("HARNESS_GOLDEN")
    path = Path(folder or ".") / "reliability_public.json"
    whole = json.loads(path.read_text(encoding="utf-8")) if folder and path.is_file() else {"cases": []}
    return [case for case in whole["cases"] if case["statistic"].startswith("visual_turing")]


CASES = [case for case in cases() if case["statistic"] == "visual_turing_test"]


@pytest.mark.skipif(not cases(), reason="HARNESS_GOLDEN names no folder with reliability_public.json")
def test_no_case_is_left_out() -> None:
    """Every case on identification is compared here, or in the test that is named."""
    assert {case["statistic"] for case in cases()} == {"visual_turing_test"} | ELSEWHERE.keys()
    assert len(CASES) == 3


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_value_is_the_independent_one(case: dict[str, Any]) -> None:
    """Rate, intervals, p values and d' equal those of the file within its tolerance."""
    found = identification(*(case["params"][name] for name in ("hits", "trials", "grid_size")))
    ours = {
        "hits": found.hits, "trials": found.trials, "rate": found.rate, "cp95": [found.exact.low, found.exact.high],
        "wilson95": list(found.wilson), "p_greater": found.p_above, "expected_by_chance": found.expected,
        "p_greater_binomial": found.p_above, "p_two_sided_binomial": found.p_two_sided, "m_afc_dprime": found.d_prime.value,
    }  # fmt: skip

    assert case["expected"].keys() <= ours.keys()
    for name, expected in case["expected"].items():
        assert ours[name] == pytest.approx(expected, abs=case["tolerance"], rel=0), name


def test_four_of_four_supports_no_claim() -> None:
    """With four grids even four hits have an interval from .40, and no margin is ruled out."""
    found = identification([4], [4], [4])

    assert found.exact.low == pytest.approx(0.40, abs=0.005)
    assert found.margin_ruled_out is None
    assert found.d_prime.status == "undefined_extreme_share"
    assert found.p_above == pytest.approx(0.25**4)


@pytest.mark.parametrize(("m", "d"), [(2, 0.5), (4, 0.837), (6, 1.5), (12, 3.0), (3, -0.8)])
def test_d_prime_solves_the_integral(m: int, d: float) -> None:
    """The share of hits that the integral gives for d' leads back to it."""
    share, _ = integrate.quad(lambda z: stats.norm.pdf(z - d) * stats.norm.cdf(z) ** (m - 1), -12, 16)

    assert d_prime(share, m).value == pytest.approx(d, abs=1e-6)


def test_d_prime_of_two_is_the_closed_form() -> None:
    """For two images d' is the square root of two times the normal quantile."""
    assert d_prime(0.8, 2).value == pytest.approx(math.sqrt(2) * stats.norm.ppf(0.8), abs=1e-8)
    assert d_prime(0.5, 4).value == pytest.approx(0.837, abs=5e-4)
    assert d_prime(0.25, 4).value == pytest.approx(0.0, abs=1e-9)


def test_poisson_binomial_is_binomial_for_equal_chances() -> None:
    """Equal chances give the binomial law, unequal ones its mean."""
    law = poisson_binomial(np.full(20, 0.25))

    assert law == pytest.approx(stats.binom.pmf(np.arange(21), 20, 0.25))
    assert np.arange(4) @ poisson_binomial(np.array([0.5, 0.25, 0.125])) == pytest.approx(0.875)


def test_smallest_margin_is_where_the_equivalence_test_just_rejects() -> None:
    """At the smallest margin the test has p = 5 %, above it less, and it is the exact upper bound less chance."""
    margin = smallest_margin([12], [60], [4])

    assert margin == pytest.approx(float(stats.beta.ppf(0.95, 13, 48)) - 0.25, abs=1e-9)
    assert equivalence_p([12], [60], [4], margin or 0.0) == pytest.approx(0.05)
    assert equivalence_p([12], [60], [4], 0.15) < 0.05 < equivalence_p([12], [60], [4], 0.03)


def test_no_claim_rests_on_a_test_that_did_not_reject() -> None:
    """Chance performance on few grids is undecided; on many a margin is ruled out; clear hits and clear misses are both told."""
    few, many = identification([5], [20], [4]), identification([40], [160], [4])

    assert few.p_above > 0.05
    assert few.says(0.10).startswith("undecided")
    assert many.says(0.10) == "a rate of chance + 0.10 or more is ruled out"
    assert "more often than by chance" in identification([15], [20], [4]).says(0.10)
    assert "less often than by chance: readers can tell them apart" in identification([0], [40], [4]).says(0.10)
    assert "by less than 0.10" in identification([300], [1000], [4]).says(0.10)


def test_equivalence_holds_its_level() -> None:
    """Readers exactly at the margin are called within it at most five times in a hundred."""
    n, margin = 60, 0.15
    hits = np.arange(n + 1)
    rejected = [equivalence_p([int(k)], [n], [4], margin) <= 0.05 for k in hits]

    assert 0.01 < stats.binom.pmf(hits, n, 0.25 + margin)[rejected].sum() <= 0.05


@pytest.mark.parametrize(
    ("hits", "trials", "sizes", "words"),
    [
        ([5], [4], [4], "between 0 and the trials"),
        ([-1], [4], [4], "between 0 and the trials"),
        ([0], [0], [4], "there must be trials"),
        ([1], [4], [1], "at least two images"),
        ([1, 2], [4], [4], "once per size"),
    ],
)
def test_impossible_counts_are_refused(hits: list[int], trials: list[int], sizes: list[int], words: str) -> None:
    """More hits than trials, no trials and grids of one image are refused with what is wrong."""
    with pytest.raises(ValueError, match=words):
        identification(hits, trials, sizes)
    with pytest.raises(ValueError, match="two images"):
        d_prime(0.5, 1)


def grids(seed: int, readers: int = 3, n: int = 40, shared: float = 1.0) -> np.ndarray:
    """Return hits (reader, grid) of readers whose chances vary together over grids of four, about .25 on average."""
    rng = np.random.default_rng(seed)
    chance = np.clip(0.25 + shared * 0.25 * np.sign(rng.random(n) - 0.5), 0, 1)
    return (rng.random((readers, n)) < chance).astype(float)


def test_pooling_does_not_take_answers_to_one_grid_as_independent() -> None:
    """Readers who all answer alike are worth one: the interval is as wide as that of a single reader, not of three."""
    one = (np.random.default_rng(1).random((1, 40)) < 0.3).astype(float)
    copies = pooled(one.repeat(3, axis=0), np.full(40, 4), np.random.default_rng(0))
    alone = pooled(one, np.full(40, 4), np.random.default_rng(0))

    assert copies.interval is not None
    assert alone.interval is not None
    assert copies.answers == 120
    assert copies.interval.high - copies.interval.low == pytest.approx(alone.interval.high - alone.interval.low)


def test_pooled_interval_covers() -> None:
    """Chance lies in the 95 % interval in about as many of 150 studies as it should, though readers agree on easy grids."""
    found = [pooled(grids(seed), np.full(40, 4), np.random.default_rng(seed), 400) for seed in range(150)]
    inside = [f.interval is not None and f.interval.low <= 0 <= f.interval.high for f in found]

    assert np.mean(inside) >= 0.89


def test_pooled_is_deterministic_in_its_seed_and_indifferent_to_order() -> None:
    """The same seed gives the same interval, and the order of readers is nothing."""
    hits = grids(3)
    first, again, other = (pooled(h, np.full(40, 4), np.random.default_rng(7)) for h in (hits, hits, hits[::-1]))

    assert first == again == other
    assert first.margin_ruled_out == first.interval.bound_high  # type: ignore[union-attr]


def test_missing_answers_and_unequal_grids_are_weighed() -> None:
    """The chance is that of the grids that were answered; grids without an answer are left out."""
    hits = np.array([[1.0, np.nan, 0.0, np.nan], [0.0, 1.0, np.nan, np.nan]])
    found = pooled(hits, np.array([2, 4, 8, 3]), np.random.default_rng(0))

    assert (found.answers, found.grids, found.readers) == (4, 3, 2)
    assert found.rate == 0.5
    assert found.chance == pytest.approx((0.5 + 0.5 + 0.25 + 0.125) / 4)
    assert "few grids" in found.note


def test_grids_that_are_all_answered_alike_count_as_trials() -> None:
    """Three readers who find the real image in all of 12 grids have the bound of 12 trials, not of 36, and rule out nothing."""
    found = pooled(np.ones((3, 12)), np.full(12, 4), np.random.default_rng(0))
    missed = pooled(np.zeros((3, 12)), np.full(12, 4), np.random.default_rng(0))

    assert found.interval is not None
    assert found.interval.low == pytest.approx(0.025 ** (1 / 12) - 0.25)
    assert (found.above, found.margin_ruled_out) == (True, None)
    assert missed.below
    assert "take the synthetic ones for real" in missed.says(0.1)


def test_no_interval_has_no_width() -> None:
    """Where every grid has one hit of two, and where nothing was answered, there is a status in place of an interval."""
    same = pooled(np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), np.full(3, 4), np.random.default_rng(0))
    empty = pooled(np.full((2, 3), np.nan), np.full(3, 4), np.random.default_rng(0))

    assert (same.interval, same.status) == (None, "undefined_no_interval")
    assert same.says(0.1).startswith("undecided")
    assert (empty.rate, empty.status) == (None, "undefined_no_data")


@pytest.mark.parametrize(
    ("hits", "sizes", "words"),
    [
        (np.zeros((2, 3)), np.full(2, 4), "every grid"),
        (np.zeros((2, 3)), np.full(3, 1), "size of 2"),
        (np.full((2, 3), 2.0), np.full(3, 4), "1 or 0"),
    ],
)
def test_answers_of_the_wrong_kind_are_refused(hits: np.ndarray, sizes: np.ndarray, words: str) -> None:
    """Shapes that do not fit, grids of one image and answers that are no hit and no miss are refused."""
    with pytest.raises(ValueError, match=words):
        pooled(hits, sizes, np.random.default_rng(0))


def test_yes_no_counts_each_class_on_its_own() -> None:
    """Sensitivity is the share of the positive class that is called so; naming the other class positive swaps the two."""
    truth = np.array([True] * 10 + [False] * 30)
    said = np.array([True] * 8 + [False] * 2 + [True] * 15 + [False] * 15)
    found, swapped = yes_no(said, truth, "synthetic"), yes_no(~said, ~truth, "real")

    assert (found.sensitivity, found.specificity, found.prevalence) == (0.8, 0.5, 0.25)
    assert (swapped.sensitivity, swapped.specificity) == (0.5, 0.8)
    assert found.sensitivity_interval is not None
    assert (found.sensitivity_interval.low, found.sensitivity_interval.high) == pytest.approx((0.4439, 0.9748), abs=5e-5)
    assert found.positive == "synthetic"


def test_a_class_that_was_not_shown_has_no_share() -> None:
    """Without images of a class its share is None, and the status says which class is missing."""
    only, never = yes_no(np.array([True, False]), np.array([True, True]), "real"), yes_no(np.array([True]), np.array([False]), "real")

    assert (only.specificity, only.specificity_interval, only.status) == (None, None, "undefined_one_class")
    assert only.reason == "no image that is not real was shown"
    assert (never.sensitivity, never.reason) == (None, "no image that is real was shown")
    with pytest.raises(ValueError, match="answer and its truth"):
        yes_no(np.array([]), np.array([]), "real")
