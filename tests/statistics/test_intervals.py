"""Intervals: exact proportions, half-samples, means of cases and repeats, BCa and jackknife."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from harness.statistics.intervals import (
    bca_interval,
    binomial_interval,
    half_sample_interval,
    half_sample_rows,
    jackknife_t,
    lower_bound_proportion,
    mean_interval,
    upper_bound_proportion,
)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (10, 10), (1, 2995), (41, 60)])
def test_proportions_agree_with_statsmodels(successes: int, n: int) -> None:
    """The interval is Clopper-Pearson's; the one-sided bounds are the two-sided 90 % interval."""
    found = binomial_interval(successes, n)

    assert (found.low, found.high) == pytest.approx(proportion_confint(successes, n, 0.05, "beta"), abs=1e-9)
    assert (found.bound_low, found.bound_high) == pytest.approx(proportion_confint(successes, n, 0.10, "beta"), abs=1e-9)
    assert found.method == f"exact binomial, {successes} of {n}"


def test_planning_numbers() -> None:
    """14 of 14 is the least that shows 80 %; 0 of 59 and 0 of 299 show 5 % and 1 %; 20 of 20 shows 86.1 %."""
    assert lower_bound_proportion(14, 14) >= 0.8 > lower_bound_proportion(13, 13)
    assert upper_bound_proportion(0, 59) < 0.05 < upper_bound_proportion(0, 58)
    assert upper_bound_proportion(0, 299) < 0.01
    assert round(lower_bound_proportion(20, 20), 3) == 0.861
    assert round(lower_bound_proportion(19, 20), 3) == 0.784
    assert round(upper_bound_proportion(0, 20), 3) == 0.139


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_impossible_counts_are_refused(successes: int, n: int) -> None:
    """A proportion needs trials, and no more successes than trials."""
    with pytest.raises(ValueError, match="0 <= successes <= n"):
        binomial_interval(successes, n)


def test_half_samples_are_of_whole_patients() -> None:
    """Half of the patients, rounded up, come with every row of theirs, once, in order."""
    units = np.array([0, 0, 1, 2, 2, 2, 3, 4])
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows = half_sample_rows(units, rng)
        chosen = np.unique(units[rows])
        assert len(chosen) == 3
        assert rows.tolist() == np.flatnonzero(np.isin(units, chosen)).tolist()


def test_two_patients_give_no_half_samples() -> None:
    """Fewer than three patients are refused with their number."""
    with pytest.raises(ValueError, match="at least 3 patients to resample, got 2"):
        half_sample_rows(np.array([0, 0, 1, 1]), np.random.default_rng(0))
    with pytest.raises(ValueError, match="at least 3 patients to resample, got 2"):
        half_sample_interval(0.1, np.array([0.1, 0.2]), units=2)


def test_half_sample_spread_is_the_standard_error() -> None:
    """For a mean the SD over half-samples is the standard error of the full sample."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=400)
    units = np.arange(400)
    replicates = np.array([values[half_sample_rows(units, rng)].mean() for _ in range(2000)])
    found = half_sample_interval(values.mean(), replicates)
    half_width = stats.t.ppf(0.975, 1999) * values.std(ddof=1) / 20

    assert (found.high - found.low) / 2 == pytest.approx(half_width, rel=0.05)
    assert (found.low + found.high) / 2 == pytest.approx(values.mean())
    assert found.method == "t x delete-half SD, 2000 half-samples"


@pytest.mark.parametrize(("patients", "known", "least", "most"), [(5, True, 0.91, 1.0), (5, False, 0.0, 0.88), (8, True, 0.91, 1.0)])
def test_few_patients_are_honest_where_their_number_is_known(patients: int, known: bool, least: float, most: float) -> None:
    """With five patients the interval covers a mean about 95 times in 100 if it knows their number, about 80 if not."""
    rng, hits = np.random.default_rng(10), 0
    for _ in range(200):
        values, units = rng.normal(size=patients), np.arange(patients)
        replicates = np.array([values[half_sample_rows(units, rng)].mean() for _ in range(50)])
        found = half_sample_interval(values.mean(), replicates, units=patients if known else None)
        hits += found.low <= 0 <= found.high

    assert least <= hits / 200 <= most


def test_half_sample_interval_is_cut_to_the_range_and_holds_its_value() -> None:
    """The interval stays in the range of the quantity and never loses its own value."""
    found = half_sample_interval(0.01, np.array([0.2, 0.5, 0.3]), low=0.0, high=1.0)
    outside = half_sample_interval(-0.001, np.array([0.2, 0.5, 0.3]), low=0.0, high=1.0)

    assert found.low == found.bound_low == 0.0
    assert found.low < 0.01 < found.bound_high < found.high < 1.0
    assert outside.low == -0.001


@pytest.mark.parametrize("replicates", [[0.1], [0.1, math.nan], []])
def test_half_sample_interval_needs_numbers(replicates: list[float]) -> None:
    """One half-sample, or one that is not finite, gives no interval."""
    with pytest.raises(ValueError, match=r"half-samples|finite"):
        half_sample_interval(0.1, np.array(replicates))


def test_mean_of_independent_cases_is_the_t_interval() -> None:
    """One repeat and one case per patient give the ordinary t interval, and say what is not covered."""
    values = np.random.default_rng(2).normal(size=25)
    found = mean_interval(values[:, None], np.arange(25))
    expected = stats.t.interval(0.95, 24, values.mean(), stats.sem(values))

    assert (found.low, found.high) == pytest.approx(expected)
    assert "one repeat, whose run-to-run variation is not covered" in found.method


def test_cases_of_one_patient_count_as_one() -> None:
    """Copying every case of a patient four times leaves the interval where it was."""
    values = np.random.default_rng(3).normal(size=(12, 1))
    once = mean_interval(values, np.arange(12))
    copied = mean_interval(np.repeat(values, 4, axis=0), np.repeat(np.arange(12), 4))

    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))


def test_repeats_widen_the_interval() -> None:
    """Variation between repeats is added to that between patients, with Welch-Satterthwaite degrees of freedom."""
    cases, shifts = np.random.default_rng(4).normal(size=20), np.array([-0.3, 0.0, 0.1, 0.2, 0.4])
    found = mean_interval(cases[:, None] + shifts, np.arange(20))
    parts = [(cases.var(ddof=1) / 20, 19), (shifts.var(ddof=1) / 5, 4)]
    variance = sum(v for v, _ in parts)
    df = variance**2 / sum(v**2 / f for v, f in parts)

    assert (found.high - found.low) / 2 == pytest.approx(stats.t.ppf(0.975, df) * math.sqrt(variance))
    assert found.method == "t x cluster-robust SE, 20 cases of 20 patients, 5 repeats"


def test_mean_interval_covers_the_mean_over_patients_and_repeats() -> None:
    """With random patients, random repeats and both sizes small, at least 93 % of 500 intervals hold the mean."""
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(500):
        units = np.repeat(np.arange(12), 3)
        values = rng.normal(size=(12, 1))[units] + rng.normal(0, 0.5, (1, 5)) + rng.normal(size=(36, 5))
        found = mean_interval(values, units)
        hits += found.low <= 0 <= found.high

    assert hits / 500 >= 0.93


def test_two_patients_give_no_interval_of_a_mean() -> None:
    """Fewer than three patients are refused with their number; so is a case without a value."""
    with pytest.raises(ValueError, match="at least 3 patients, got 2"):
        mean_interval(np.ones((4, 1)), np.array([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="finite"):
        mean_interval(np.array([[1.0], [math.nan], [2.0]]), np.arange(3))


def test_constant_cases_give_an_interval_without_width() -> None:
    """Cases that do not vary leave nothing to be uncertain about."""
    found = mean_interval(np.ones((5, 2)), np.arange(5))

    assert found.low == found.high == 1.0


def test_jackknife_of_a_mean_is_the_t_interval() -> None:
    """For a mean the jackknife is the ordinary t interval."""
    values = np.random.default_rng(6).normal(size=15)
    found = jackknife_t(lambda rows: float(values[rows].mean()), 15)

    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 14, values.mean(), stats.sem(values)))


def test_bca_agrees_with_scipy() -> None:
    """BCa of the mean of a skewed sample agrees with scipy's."""
    values = np.random.default_rng(7).exponential(size=40)
    found = bca_interval(lambda rows: float(values[rows].mean()), 40, 8000, np.random.default_rng(8))
    peer = stats.bootstrap((values,), np.mean, n_resamples=8000, method="BCa", rng=np.random.default_rng(9))
    expected = peer.confidence_interval

    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.03)


def test_bca_counts_undefined_resamples_and_gives_up_on_many() -> None:
    """Resamples without a value are named in the method; above one in ten there is no interval."""
    values = np.array([0.0, 1.0] * 5 + [0.5] * 2)

    def defined_if(share: float) -> object:
        rng = np.random.default_rng(0)
        return bca_interval(
            lambda rows: None if len(set(rows)) < 11 and rng.random() > share else float(values[rows].mean()),
            12, 400, np.random.default_rng(1),
        )  # fmt: skip

    assert "undefined)" in str(defined_if(0.97))
    with pytest.raises(ValueError, match="undefined in"):
        defined_if(0.5)


@pytest.mark.parametrize(("value", "low", "high"), [(0.0, 0.0, 0.0088), (1.0, 0.9912, 1.0)])
def test_half_samples_that_never_leave_the_end_of_the_range_bound_the_share(value: float, low: float, high: float) -> None:
    """No spread is not certainty: 0 of 417 units is at most 0.88 %, whatever was counted."""
    found = half_sample_interval(value, np.full(50, value), 0.0, 1.0, 417)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert found.method == "exact binomial, no half-sample of 417 units leaves the end of the range"


@pytest.mark.parametrize(("value", "low", "high"), [(0.5, 0.0, 1.0), (0.0, 0.0, None), (0.0, None, None)])
def test_half_samples_without_spread_inside_the_range_say_nothing(value: float, low: float | None, high: float | None) -> None:
    """An interval of no width is none."""
    with pytest.raises(ValueError, match="the half-samples do not vary"):
        half_sample_interval(value, np.full(50, value), low, high, 30)
