"""Agreement of raters: published worked examples, what is undefined, peers, intervals."""

from __future__ import annotations

import math
from typing import Any, Literal

import krippendorff
import numpy as np
import pytest
from statsmodels.stats import inter_rater

from harness.statistics.agreement import (
    BATTERIES,
    Agreement,
    Level,
    agreement_interval,
    brennan_prediger,
    cohen_kappa,
    cohen_pairs,
    conger_kappa,
    encode,
    fleiss_by_category,
    fleiss_kappa,
    gwet_ac,
    kendall_w,
    krippendorff_alpha,
    mean_cohen_kappa,
    percent_agreement,
    unanimity,
    weight_matrix,
)

# Krippendorff (2011), "Computing Krippendorff's alpha-reliability", section C: 12 units, 4 observers, missing data.
TWELVE = encode(
    [
        [1, 1, None, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4], [4, 4, 4, 4], [1, 1, 2, 1],
        [2, 2, 2, 2], [None, 5, 5, 5], [None, None, 1, 1], [None, 3, None, None],
    ],
    (1, 2, 3, 4, 5),
)  # fmt: skip
# The same text, section B: 12 units, 2 observers, nominal.
LETTERS = encode(
    ["ab", "aa", "bb", "bb", "db", "cc", "cc", "cc", "ee", "dd", "dd", "ad"],
    "abcde",
)
# Cohen (1960), Educ. Psychol. Meas. 20:37: 200 patients, two raters, three diagnoses.
COHEN = np.array([(a, b) for a, row in enumerate([[88, 14, 18], [10, 40, 10], [2, 6, 12]]) for b, n in enumerate(row) for _ in range(n)])
# Fleiss (1971), Psychol. Bull. 76:378, table 1: how many of 6 psychiatrists gave each of 30 patients each of 5 diagnoses.
FLEISS_COUNTS = [
    "00060", "03003", "01401", "00006", "03030", "20400", "00402", "20310", "20040", "00006", "10050", "11040", "03300",
    "10050", "02031", "00501", "30012", "51000", "02040", "10203", "00006", "01050", "02013", "20040", "10041", "05010",
    "40002", "02040", "10500", "00006",
]  # fmt: skip
FLEISS = np.array([[k for k, n in enumerate(row) for _ in range(int(n))] for row in FLEISS_COUNTS])
# Feinstein & Cicchetti (1990), J. Clin. Epidemiol. 43:543: the same agreement, two prevalences.
EVEN = np.array([(0, 0)] * 40 + [(0, 1)] * 9 + [(1, 0)] * 6 + [(1, 1)] * 45)
SKEWED = np.array([(0, 0)] * 80 + [(0, 1)] * 10 + [(1, 0)] * 5 + [(1, 1)] * 5)


def value(answer: Agreement) -> float:
    """Return the coefficient, which must be there."""
    assert answer.value is not None
    return answer.value


@pytest.mark.parametrize(("level", "expected"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)])
def test_alpha_gives_the_printed_worked_example(level: Level, expected: float) -> None:
    """Krippendorff's worked example with missing data is reproduced at every level of measurement."""
    categories = (1, 2, 3, 4, 5) if level in ("interval", "ratio") else 5

    assert round(value(krippendorff_alpha(TWELVE, categories, level)), 3) == expected


def test_alpha_gives_the_printed_two_observer_example() -> None:
    """Krippendorff's nominal example without missing data is .692."""
    assert round(value(krippendorff_alpha(LETTERS, 5)), 3) == 0.692


def test_fleiss_kappa_gives_the_printed_value() -> None:
    """Fleiss printed .430 for his 30 patients, and .245, .245, .520, .471, .566 by diagnosis."""
    by_category = [value(kappa) for kappa in fleiss_by_category(FLEISS, 5)]

    assert round(value(fleiss_kappa(FLEISS, 5)), 3) == 0.430
    assert np.round(by_category, 3).tolist() == [0.245, 0.245, 0.520, 0.471, 0.566]


def test_cohen_kappa_gives_the_printed_values() -> None:
    """Cohen printed .492 in 1960, and .348 in 1968 with disagreement weights of his own."""
    disagreement = np.array([[0, 1, 3], [1, 0, 6], [3, 6, 0]])

    assert round(value(cohen_kappa(COHEN, 3)), 3) == 0.492
    assert round(value(cohen_kappa(COHEN, 3, 1 - disagreement / 6)), 3) == 0.348


def test_kappa_falls_with_prevalence_and_ac1_does_not() -> None:
    """At the same agreement of .85 kappa drops from .70 to .32 with skewed prevalence, AC1 rises from .70 to .81."""
    assert [round(value(cohen_kappa(x, 2)), 2) for x in (EVEN, SKEWED)] == [0.70, 0.32]
    assert [round(value(gwet_ac(x, 2)), 3) for x in (EVEN, SKEWED)] == [0.701, 0.808]


def test_gwet_coefficients_with_missing_ratings_are_the_printed_ones() -> None:
    """The four-rater example of Gwet's software: Fleiss .76117, AC1 .77544, Brennan-Prediger .77273."""
    found = [value(f(TWELVE, 5)) for f in (fleiss_kappa, gwet_ac, brennan_prediger)]

    assert np.round(found, 5).tolist() == [0.76117, 0.77544, 0.77273]


def test_conger_kappa_gives_the_printed_value() -> None:
    """The four-rater example of Gwet's software: Conger .76207 on the available ratings, .64576 on complete items (R irr, exact)."""
    assert round(value(conger_kappa(TWELVE, 5)), 5) == 0.76207
    assert round(value(conger_kappa(TWELVE, 5, "listwise")), 5) == 0.64576


def test_conger_kappa_of_two_raters_is_cohens() -> None:
    """With two raters the mean over pairs of raters is the one pair."""
    assert value(conger_kappa(COHEN, 3)) == pytest.approx(value(cohen_kappa(COHEN, 3)), abs=1e-12)


def test_kappa_by_category_leaves_missing_ratings_missing() -> None:
    """A missing rating is not an answer against the category: dropping an item that nobody rated changes nothing."""
    blank = np.vstack([TWELVE, np.full((3, 4), -1)])

    assert fleiss_by_category(blank, 5) == fleiss_by_category(TWELVE, 5)
    # Category 5 was given three times, all for one item, and to no other.
    assert value(fleiss_by_category(TWELVE, 5)[4]) == pytest.approx(1.0)


def test_percent_agreement_depends_on_what_is_averaged_where_ratings_are_missing() -> None:
    """Pairs, cells and items give .7782, .7818 and .8182 on the example with missing data, one number without."""
    found = [value(percent_agreement(TWELVE, 5, by)) for by in ("pairs", "cells", "items")]
    complete = {round(value(percent_agreement(FLEISS, 5, by)), 12) for by in ("pairs", "cells", "items")}

    assert np.round(found, 4).tolist() == [0.7782, 0.7818, 0.8182]
    assert len(complete) == 1


@pytest.mark.parametrize("weights", ["nominal", "linear", "quadratic"])
def test_cohen_kappa_agrees_with_statsmodels(weights: Literal["nominal", "linear", "quadratic"]) -> None:
    """Every weighting agrees with statsmodels on the table of all declared categories."""
    codes = np.random.default_rng(5).integers(0, 4, (60, 2))
    table = np.bincount(codes[:, 0] * 5 + codes[:, 1], minlength=25).reshape(5, 5)
    names = {"nominal": None, "linear": "linear", "quadratic": "quadratic"}

    expected = inter_rater.cohens_kappa(table, wt=names[weights], return_results=False)

    assert value(cohen_kappa(codes, 5, weights)) == pytest.approx(float(expected), abs=1e-12)


def test_fleiss_kappa_agrees_with_statsmodels_on_complete_data() -> None:
    """Complete data give the same Fleiss kappa as statsmodels."""
    codes = np.random.default_rng(6).integers(0, 3, (40, 5))
    table = inter_rater.aggregate_raters(codes, n_cat=3)[0]

    assert value(fleiss_kappa(codes, 3)) == pytest.approx(float(inter_rater.fleiss_kappa(table)), abs=1e-12)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval", "ratio"])
def test_alpha_agrees_with_the_krippendorff_package(level: Level) -> None:
    """Every level agrees with the krippendorff package on numbers with missing values."""
    rng = np.random.default_rng(7)
    numbers = rng.integers(1, 7, (30, 4)).astype(float)
    numbers[rng.random(numbers.shape) < 0.2] = math.nan
    expected = krippendorff.alpha(reliability_data=numbers.T, level_of_measurement=level, value_domain=list(range(1, 7)))

    assert value(krippendorff_alpha(numbers, None, level)) == pytest.approx(float(expected), abs=1e-12)


def test_alpha_exceeds_fleiss_kappa_by_its_small_sample_term() -> None:
    """On complete nominal data alpha = 1 - (1 - kappa)(N - 1) / N with N ratings."""
    kappa, n = value(fleiss_kappa(FLEISS, 5)), FLEISS.size

    assert value(krippendorff_alpha(FLEISS, 5)) == pytest.approx(1 - (1 - kappa) * (n - 1) / n, abs=1e-12)


def test_missing_ratings_can_be_deleted_by_item() -> None:
    """Listwise deletion keeps the eight complete items of the example and gives .6415."""
    assert round(value(fleiss_kappa(TWELVE, 5, "listwise")), 4) == 0.6415


def test_weighted_kappa_uses_the_declared_order() -> None:
    """Weights are distances of ranks in the declared order, the unused category included, not of text or numbers."""
    scale = (0, 20, 40, 60, 80, 100)
    codes = encode([[0, 0], [20, 40], [100, 100], [40, 40], [100, 80], [20, 20], [0, 20], [80, 100]], scale)
    words = encode([["low", "low"], ["mid", "high"], ["high", "high"], ["mid", "low"]], ("low", "mid", "high"))

    assert round(value(cohen_kappa(codes, 6, "quadratic")), 3) == 0.931
    assert value(cohen_kappa(words, 3, "linear")) == pytest.approx(0.5)


def test_ac1_depends_on_the_declared_categories() -> None:
    """Declaring a category that nobody used changes AC1 and Brennan-Prediger, but neither kappa nor alpha."""
    codes = np.array([[0, 0], [0, 1], [1, 1], [0, 0], [1, 1]])

    for f in (gwet_ac, brennan_prediger):
        assert value(f(codes, 2)) < value(f(codes, 3))
    for g in (fleiss_kappa, krippendorff_alpha):
        assert value(g(codes, 2)) == pytest.approx(value(g(codes, 3)))


def test_undefined_is_never_a_number() -> None:
    """Where every rating is the same kappa and alpha are undefined with a status, and AC1 is 1."""
    same = np.full((4, 3), 1)

    for f in (fleiss_kappa, conger_kappa, mean_cohen_kappa, krippendorff_alpha):
        assert f(same, 3).value is None
        assert f(same, 3).status == "undefined_no_variation"
        assert f(same, 3).reason
    assert kendall_w(same).status == "undefined_no_variation"
    assert gwet_ac(same, 3).value == 1.0


@pytest.mark.parametrize(
    ("codes", "status"),
    [
        (np.zeros((0, 3), dtype=int), "undefined_no_data"),
        (encode([], "ab"), "undefined_no_data"),
        (np.full((3, 2), -1), "undefined_no_data"),
        (encode([["a", None], [None, "b"], ["a", None]], "ab"), "undefined_no_overlap"),
    ],
)
def test_no_two_ratings_of_one_item_is_said(codes: np.ndarray, status: str) -> None:
    """Without data, or without an item that two raters rated, every statistic says so."""
    for level, battery in BATTERIES.items():
        ratings = np.where(codes < 0, math.nan, codes) if level == "interval" else codes
        for statistic in battery.values():
            assert statistic(ratings, 2)[:2] == (None, status)


def test_items_that_nobody_rated_completely_are_told_from_items_without_ratings() -> None:
    """Statistics of complete items say that there is none, where others can still be computed."""
    codes = np.array([[0, 0, -1], [-1, 1, 1], [0, -1, 1]])
    reason = "fewer than 1 of 3 items were rated by every rater"

    for found in (unanimity(codes), fleiss_kappa(codes, 2, "listwise"), conger_kappa(codes, 2, "listwise")):
        assert found == (None, "undefined_no_overlap", reason)
    assert kendall_w(codes).reason == "fewer than 2 of 3 items were rated by every rater"
    assert fleiss_kappa(codes, 2).value is not None


def test_a_constant_rater_has_kappa_zero_with_everybody() -> None:
    """The pair value is 0, so it is visible what drags the mean down."""
    codes = np.array([[0, 0, 0], [0, 1, 1], [0, 0, 0], [0, 1, 0]])
    pairs = cohen_pairs(codes, 3)

    assert pairs[0, 1].value == pytest.approx(0.0)
    assert value(pairs[1, 2]) == pytest.approx(0.5)
    assert value(mean_cohen_kappa(codes, 3)) == pytest.approx(1 / 6)


def test_undefined_pairs_are_left_out_of_the_mean_and_counted() -> None:
    """Two raters who never varied have no kappa; the mean is over the others and says how many were left out."""
    codes = np.array([[0, 0, 0], [0, 0, 1]])

    assert mean_cohen_kappa(codes, 2).value == pytest.approx(0.0)
    assert mean_cohen_kappa(codes, 2).reason == "1 of 3 rater pairs undefined"


def test_total_disagreement_of_alpha_is_not_minus_one() -> None:
    """On four items of total disagreement kappa is -1 and alpha -.75."""
    codes = np.array([[0, 1], [1, 0], [0, 1], [1, 0]])

    assert value(fleiss_kappa(codes, 2)) == pytest.approx(-1.0)
    assert value(krippendorff_alpha(codes, 2)) == pytest.approx(-0.75)


def test_a_rater_without_ratings_changes_nothing() -> None:
    """An absent rater and an item without ratings are dropped before anything is computed."""
    codes = np.array([[0, 0, -1], [1, 1, -1], [0, 1, -1], [-1, -1, -1]])

    for statistic in BATTERIES["ordinal"].values():
        assert statistic(codes, 2) == statistic(codes[:3, :2], 2)
    assert value(unanimity(codes)) == pytest.approx(2 / 3)


def test_a_rating_outside_the_categories_is_refused() -> None:
    """A misspelt answer is an error that names it, not one more category."""
    with pytest.raises(ValueError, match="'Benign' is not one of the categories"):
        encode([["benign", "Benign"]], ("benign", "malignant"))


def test_unknown_levels_and_weights_are_refused() -> None:
    """A word that is no level or weighting never falls through to another one."""
    level: Any = "interval"
    with pytest.raises(ValueError, match="needs the numbers"):
        krippendorff_alpha(TWELVE, 5, level)
    level = "cardinal"
    with pytest.raises(ValueError, match="'cardinal'"):
        krippendorff_alpha(TWELVE, 5, level)
    with pytest.raises(ValueError, match="'cardinal'"):
        weight_matrix(5, level)
    with pytest.raises(ValueError, match="two raters"):
        cohen_kappa(TWELVE, 5)


def test_bootstrap_interval_covers_its_value_and_repeats() -> None:
    """Up to 50 items the interval is a BCa bootstrap, the same for the same seed, with one-sided bounds inside."""
    first, again = (agreement_interval(lambda x: fleiss_kappa(x, 5), FLEISS, np.random.default_rng(3)) for _ in range(2))

    assert first == again
    assert first.interval is not None
    interval = first.interval
    assert interval.method == "BCa bootstrap over 30 items, 2000 resamples"
    assert interval.low < interval.bound_low < 0.430 < interval.bound_high < interval.high
    assert (interval.low, interval.high) == pytest.approx((0.33, 0.55), abs=0.03)


@pytest.mark.parametrize(("n", "raters", "method"), [(51, 3, "jack"), (50, 3, "BCa"), (10, 5, "jack"), (11, 5, "BCa")])
def test_method_follows_items_and_raters(n: int, raters: int, method: str) -> None:
    """Jackknife above 50 items and for five raters of ten or fewer; BCa elsewhere."""
    rng = np.random.default_rng(n)
    truth = rng.integers(0, 3, (n, 1))
    codes = np.where(rng.random((n, raters)) < 0.6, truth, rng.integers(0, 3, (n, raters)))
    found = agreement_interval(lambda x: krippendorff_alpha(x, 3), codes, rng)

    assert found.interval is not None
    assert found.interval.method.startswith(method)
    assert found.interval.high <= 1.0
    assert ("optimistic" in found.note) == (n < 20)


def test_unanimity_gives_a_bound_instead_of_an_interval_without_width() -> None:
    """Ten unanimous items leave up to 25.9 % of items with disagreement."""
    codes = np.repeat(np.arange(10)[:, None] % 2, 3, axis=1)
    found = agreement_interval(lambda x: fleiss_kappa(x, 2), codes, np.random.default_rng(0))

    assert found.interval is None
    assert found.disagreement_high == pytest.approx(1 - 0.05 ** (1 / 10))
    assert found.note == "no disagreement observed on 10 items; upper 95 % bound on the share of items with disagreement: 25.9%"


@pytest.mark.parametrize(
    ("codes", "note"),
    [
        (np.zeros((0, 2), dtype=int), "no item has a rating"),
        (np.array([[0, 1]]), "one item has no interval"),
        (np.full((5, 2), 1), "every rating is the same"),
        (np.array([[0, 0]] * 11 + [[0, 1]]), "undefined when one item is left out"),
    ],
)
def test_no_interval_comes_with_the_reason(codes: np.ndarray, note: str) -> None:
    """Where there is no interval the note says why."""
    found = agreement_interval(lambda x: fleiss_kappa(x, 2), codes, np.random.default_rng(0))

    assert found.interval is None
    assert note in found.note


def test_interval_of_numbers_treats_minus_one_as_a_number() -> None:
    """Ratings that are numbers are missing where they are NaN, and -1 is a value like any other."""
    rng = np.random.default_rng(1)
    numbers = rng.normal(-1, 1, (20, 1)) + rng.normal(0, 0.3, (20, 3))
    numbers[0] = -1.0
    found = agreement_interval(lambda x: krippendorff_alpha(x, None, "interval"), numbers, rng)

    assert found.interval is not None
    assert "20 items" in found.interval.method


def test_the_interval_battery_takes_numbers() -> None:
    """Alpha and all six intraclass correlations are there for numbers with missing values, and differ from one another."""
    rng = np.random.default_rng(4)
    numbers = rng.normal(0, 2, (12, 1)) + np.array([0.0, 0.5, 2.0]) + rng.normal(0, 1, (12, 3))
    numbers[0, 1] = math.nan
    found = {name: value(statistic(numbers, 0)) for name, statistic in BATTERIES["interval"].items()}

    assert list(found) == ["krippendorff_alpha", "icc_1_1", "icc_a_1", "icc_c_1", "icc_1_k", "icc_a_k", "icc_c_k"]
    assert found["icc_1_1"] < found["icc_a_1"] < found["icc_c_1"] < found["icc_c_k"]


def paired_items(patients: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """Return codes of three raters on two identical items of each patient, and the patients."""
    rng = np.random.default_rng(12)
    truth = rng.integers(0, 3, (patients, 1))
    codes = np.where(rng.random((patients, 3)) < 0.7, truth, rng.integers(0, 3, (patients, 3)))
    return np.repeat(codes, 2, axis=0), np.repeat([f"patient {k}" for k in range(patients)], 2)


def test_items_of_one_patient_are_drawn_together() -> None:
    """Every item twice under one patient gives the width of single items, and says what was drawn; as items they look like more."""
    codes, patients = paired_items()
    apart = agreement_interval(lambda x: fleiss_kappa(x, 3), codes, np.random.default_rng(1)).interval
    together = agreement_interval(lambda x: fleiss_kappa(x, 3), codes, np.random.default_rng(1), units=patients).interval
    single = agreement_interval(lambda x: fleiss_kappa(x, 3), codes[::2], np.random.default_rng(1)).interval

    assert apart is not None
    assert together is not None
    assert single is not None
    assert together.method == "BCa bootstrap over 25 patients, 2000 resamples"
    assert together.high - together.low == pytest.approx(single.high - single.low, rel=0.1)
    assert apart.high - apart.low < 0.8 * (together.high - together.low)


def test_the_jackknife_leaves_out_all_items_of_a_patient() -> None:
    """With 60 patients of two identical items each the delete-one-patient jackknife equals that of one item each."""
    codes, patients = paired_items(60)
    together = agreement_interval(lambda x: gwet_ac(x, 3), codes, np.random.default_rng(1), units=patients).interval
    single = agreement_interval(lambda x: gwet_ac(x, 3), codes[::2], np.random.default_rng(1)).interval

    assert together is not None
    assert single is not None
    assert together.method == "jackknife t over 60 patients"
    assert (together.low, together.high) == pytest.approx((single.low, single.high), abs=1e-12)


def test_a_patient_for_every_item_changes_nothing() -> None:
    """Where every item has a patient of its own, in whatever order, the interval is that without patients."""
    alone = agreement_interval(lambda x: fleiss_kappa(x, 5), FLEISS, np.random.default_rng(3))

    assert agreement_interval(lambda x: fleiss_kappa(x, 5), FLEISS, np.random.default_rng(3), units=np.arange(30)[::-1]) == alone


def test_unanimity_is_bounded_by_patients_not_by_items() -> None:
    """Twenty unanimous items of ten patients leave as much room as ten items do."""
    codes = np.repeat(np.arange(20)[:, None] // 2 % 2, 3, axis=1)
    found = agreement_interval(lambda x: fleiss_kappa(x, 2), codes, np.random.default_rng(0), units=np.arange(20) // 2)

    assert found.interval is None
    assert found.disagreement_high == pytest.approx(1 - 0.05 ** (1 / 10))
    assert found.note == "no disagreement observed on 20 items; upper 95 % bound on the share of patients with disagreement: 25.9%"


def test_items_without_ratings_bring_no_patient() -> None:
    """A patient none of whose items was rated is not drawn; one patient alone has no interval; a wrong number of patients is refused."""
    codes, patients = paired_items(12)
    codes[patients == "patient 3"] = -1
    found = agreement_interval(lambda x: fleiss_kappa(x, 3), codes, np.random.default_rng(0), units=patients)
    one = agreement_interval(lambda x: fleiss_kappa(x, 3), codes, np.random.default_rng(0), units=np.zeros(24))

    assert found.interval is not None
    assert "over 11 patients" in found.interval.method
    assert one == (None, "one patient has no interval", None)
    with pytest.raises(ValueError, match="24 items, units of shape"):
        agreement_interval(lambda x: fleiss_kappa(x, 3), codes, np.random.default_rng(0), units=patients[1:])
