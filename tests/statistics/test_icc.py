"""Intraclass correlations: the published table, what is undefined, a peer, and intervals at their edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from harness.statistics.icc import FORMS, NO_ERROR, NO_LOWER, anova, icc

# Shrout & Fleiss (1979), Psychol. Bull. 86:420, table 2: four judges on six targets.
JUDGES = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float)

# R psych 2.2.9, ICC(): value, F, its degrees of freedom, p, and the limits.
PSYCH = {
    "icc_1_1": (0.165741768405, 1.794678492239, 5, 18, 0.164768808345, -0.132932324875, 0.722560062328),
    "icc_a_1": (0.289763779528, 11.027247956403, 5, 15, 0.000134566516, 0.018786513375, 0.761084369649),
    "icc_c_1": (0.714840714841, 11.027247956403, 5, 15, 0.000134566516, 0.342464765034, 0.945858259955),
    "icc_1_k": (0.442797133679, 1.794678492239, 5, 18, 0.164768808345, -0.884442155238, 0.912415420341),
    "icc_a_k": (0.620050547599, 11.027247956403, 5, 15, 0.000134566516, 0.071136815303, 0.927232040168),
    "icc_c_k": (0.909315542377, 11.027247956403, 5, 15, 0.000134566516, 0.675674713816, 0.985891678169),
}


def test_the_six_forms_give_the_printed_values() -> None:
    """Shrout and Fleiss printed .17, .29, .71 for one judge and .44, .62, .91 for the mean of four."""
    found = [icc(JUDGES, form).agreement.value for form in FORMS]

    assert [round(x or 0, 2) for x in found] == [0.17, 0.29, 0.71, 0.44, 0.62, 0.91]


def test_mean_squares_are_the_printed_ones() -> None:
    """Their analysis of variance: 11.24 between targets, 6.26 within, 32.49 between judges, 1.02 the rest."""
    found = anova(JUDGES)

    assert found is not None
    assert [round(x, 2) for x in (found.items, found.within, found.raters, found.error)] == [11.24, 6.26, 32.49, 1.02]


@pytest.mark.parametrize("form", FORMS)
def test_values_tests_and_limits_agree_with_psych(form: str) -> None:
    """Value, F, degrees of freedom, p and 95 % limits are those of R psych 2.2.9 for the judges of Shrout and Fleiss."""
    found = icc(JUDGES, form)

    assert found.interval is not None
    assert (found.agreement.value, found.f, found.df1, found.df2, found.p, found.interval.low, found.interval.high) == pytest.approx(
        PSYCH[form], abs=1e-10
    )


def test_the_limits_of_the_mean_are_spearman_and_browns_of_one_rater() -> None:
    """For absolute agreement and every pair of limits, two-sided and one-sided."""
    single, mean = icc(JUDGES, "icc_a_1").interval, icc(JUDGES, "icc_a_k").interval

    assert single is not None
    assert mean is not None
    for end in ("low", "high", "bound_low", "bound_high"):
        one = getattr(single, end)
        assert getattr(mean, end) == pytest.approx(4 * one / (1 + 3 * one))
    assert mean.low < mean.bound_low < 0.62 < mean.bound_high < mean.high


def test_items_with_a_missing_rating_are_left_out() -> None:
    """Only complete items count, in numbers with NaN and in codes with -1, and n says how many they were."""
    with_missing = np.vstack([JUDGES, [1, math.nan, 2, 3], [math.nan] * 4])
    codes = np.vstack([JUDGES, [1, -1, 2, 3], [-1] * 4]).astype(int)

    assert icc(with_missing, "icc_a_1") == icc(JUDGES, "icc_a_1") == icc(codes, "icc_a_1")
    assert icc(with_missing, "icc_a_1").n_items == 6


@pytest.mark.parametrize(
    ("ratings", "status", "reason"),
    [
        (np.full((3, 2), math.nan), "undefined_no_data", "no item has a rating"),
        (np.array([[1.0, 2.0]]), "undefined_no_overlap", "1 items were rated by each of 2 raters"),
        (np.array([[1.0], [2.0]]), "undefined_no_overlap", "2 items were rated by each of 1 raters"),
        (np.array([[1.0, math.nan], [math.nan, 2.0]]), "undefined_no_overlap", "0 items were rated by each of 2 raters"),
        (np.full((5, 3), 4.2), "undefined_no_variation", "the items do not differ"),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_undefined_is_a_status_and_a_reason(ratings: np.ndarray, status: str, reason: str, form: str) -> None:
    """Without two complete items, two raters, or any difference, there is no value, no test and no interval."""
    found = icc(ratings, form)

    assert found.agreement[:2] == (None, status)
    assert reason in found.agreement.reason
    assert found.f is found.p is found.interval is None


def test_equal_item_means_leave_the_means_of_raters_undefined() -> None:
    """Where items differ by rater alone and their means do not, forms of the mean have nothing to divide by; forms of one are low."""
    ratings = np.array([[1.0, 3.0], [3.0, 1.0], [2.0, 2.0]])

    assert icc(ratings, "icc_c_k").agreement.status == icc(ratings, "icc_1_k").agreement.status == "undefined_no_variation"
    assert icc(ratings, "icc_c_1").agreement.value == pytest.approx(-1.0)


def test_raters_who_differ_nowhere_have_a_value_and_no_interval() -> None:
    """Perfect agreement is 1 with the reason why there is no interval; a constant shift is perfect consistency, not agreement."""
    same = np.repeat(np.array([[1.0], [4.0], [2.5]]), 3, axis=1)
    shifted = same + np.array([0.0, 1.0, 2.0])

    for form in FORMS:
        found = icc(same, form)
        assert (found.agreement.value, found.interval, found.f, found.note) == (1.0, None, None, NO_ERROR)
    assert icc(shifted, "icc_c_1").agreement.value == 1.0
    assert icc(shifted, "icc_c_1").note == icc(shifted, "icc_a_1").note == NO_ERROR
    assert 0 < (icc(shifted, "icc_a_1").agreement.value or 0) < 1


def test_limits_that_do_not_exist_are_not_given() -> None:
    """Few items and raters who disagree leave the mean of raters without a lower limit; the reason is said."""
    ratings = np.array([[2.1, 1.9, 2.6], [2.1, 1.5, 2.4], [3.3, 2.9, 1.3], [0.7, 1.4, 2.0]])
    single, mean = icc(ratings, "icc_a_1").interval, icc(ratings, "icc_a_k")

    assert single is not None
    assert single.low < -1 / 2
    assert mean.agreement.value == pytest.approx(0.1307692308)
    assert (mean.interval, mean.note) == (None, NO_LOWER)


def test_an_unknown_form_is_refused() -> None:
    """A form that does not exist is named."""
    with pytest.raises(ValueError, match="got 'icc_2_1'"):
        icc(JUDGES, "icc_2_1")


@pytest.mark.parametrize("form", FORMS)
def test_intervals_hold_the_truth_as_often_as_they_say(form: str) -> None:
    """Of 400 samples of twenty items and three raters, 95 % hold the population's coefficient, but for 3 errors of a share."""
    rng = np.random.default_rng(21)
    between, raters_sd, error = 2.0, 0.7, 1.0
    of_raters = raters_sd**2 if form.startswith(("icc_a", "icc_1")) else 0.0
    noise = error**2 + of_raters
    truth = between**2 / (between**2 + noise / (3 if form.endswith("_k") else 1))
    held = 0
    for _ in range(400):
        shift = rng.normal(0, raters_sd, (20, 3) if form.startswith("icc_1") else (1, 3))
        interval = icc(rng.normal(0, between, (20, 1)) + shift + rng.normal(0, error, (20, 3)), form).interval
        held += interval is not None and interval.low <= truth <= interval.high

    assert held / 400 > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 400)
    assert stats.binomtest(held, 400, 0.95).pvalue > 0.001 or form.startswith("icc_a")
