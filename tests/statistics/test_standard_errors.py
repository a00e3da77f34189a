"""Large-sample errors of agreement coefficients: printed values, peers, and what has none."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from statsmodels.stats import inter_rater

from harness.statistics import agreement
from harness.statistics.intervals import jackknife_t
from harness.statistics.standard_errors import Corrected, cohen_error, fleiss_null_test, fleiss_null_tests_by_category, large_sample

# Fleiss (1971), Psychol. Bull. 76:378, table 1: how many of 6 psychiatrists gave each of 30 patients each of 5 diagnoses.
FLEISS_COUNTS = [
    "00060", "03003", "01401", "00006", "03030", "20400", "00402", "20310", "20040", "00006", "10050", "11040", "03300",
    "10050", "02031", "00501", "30012", "51000", "02040", "10203", "00006", "01050", "02013", "20040", "10041", "05010",
    "40002", "02040", "10500", "00006",
]  # fmt: skip
FLEISS = np.array([[k for k, n in enumerate(row) for _ in range(int(n))] for row in FLEISS_COUNTS])
# Krippendorff (2011), section C, as Gwet's software has it as its example: 12 units, 4 observers, missing data.
TWELVE = agreement.encode(
    [
        [1, 1, None, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4], [4, 4, 4, 4], [1, 1, 2, 1],
        [2, 2, 2, 2], [None, 5, 5, 5], [None, None, 1, 1], [None, 3, None, None],
    ],
    (1, 2, 3, 4, 5),
)  # fmt: skip
# Cohen (1960), Educ. Psychol. Meas. 20:37: 200 patients, two raters, three diagnoses.
TABLE = np.array([[88, 14, 18], [10, 40, 10], [2, 6, 12]])
COHEN = np.array([(a, b) for a, row in enumerate(TABLE) for b, n in enumerate(row) for _ in range(n)])
COEFFICIENTS: tuple[Corrected, ...] = ("fleiss_kappa", "conger_kappa", "gwet_ac", "brennan_prediger")


@pytest.mark.parametrize(
    ("coefficient", "error"), [("fleiss_kappa", 0.15302), ("conger_kappa", 0.15011), ("gwet_ac", 0.14295), ("brennan_prediger", 0.14472)]
)
def test_gwets_errors_are_the_printed_ones(coefficient: Corrected, error: float) -> None:
    """The four-rater example of Gwet's software (irrCAC) with missing ratings."""
    found = large_sample(TWELVE, 5, coefficient)

    assert found.standard_error == pytest.approx(error, abs=6e-6)
    assert found.high == 1.0
    assert found.n == 12


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_gwets_errors_are_close_to_the_jackknife(coefficient: Corrected) -> None:
    """On 400 items with missing ratings linearised and delete-one errors agree to 2 %, and the value is the coefficient's."""
    rng = np.random.default_rng(6)
    truth = rng.integers(0, 3, (400, 1))
    codes = np.where(rng.random((400, 4)) < 0.6, truth, rng.integers(0, 3, (400, 4)))
    codes[rng.random((400, 4)) < 0.2] = -1
    statistic = getattr(agreement, coefficient)
    found, peer = large_sample(codes, 3, coefficient), jackknife_t(lambda rows: statistic(codes[rows], 3).value, 400)

    assert found.agreement.value == pytest.approx(statistic(codes, 3).value, abs=1e-12)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(peer.high - peer.low, rel=0.02)


def test_errors_are_those_of_weighted_ac2_too() -> None:
    """AC2 with quadratic weights on the four-rater example: irrCAC gives .91400 with an error of .10396."""
    found = large_sample(TWELVE, 5, "gwet_ac", "quadratic")

    assert found.agreement.value == pytest.approx(0.914000723551605, abs=1e-12)
    assert found.standard_error == pytest.approx(0.10396224464506, abs=1e-12)


@pytest.mark.parametrize("weights", ["nominal", "linear", "quadratic"])
def test_cohens_error_agrees_with_statsmodels(weights: Literal["nominal", "linear", "quadratic"]) -> None:
    """Both errors of (weighted) kappa, and the limits, are those of statsmodels."""
    names = {"nominal": None, "linear": "linear", "quadratic": "quadratic"}
    peer = inter_rater.cohens_kappa(TABLE, wt=names[weights])
    found = cohen_error(COHEN, 3, weights)

    assert found.standard_error == pytest.approx(float(peer.std_kappa), abs=1e-12)
    assert found.standard_error_if_independent == pytest.approx(float(peer.std_kappa0), abs=1e-12)
    assert (found.low, found.high) == pytest.approx((float(peer.kappa_low), float(peer.kappa_upp)), abs=1e-9)
    assert found.n == 200


def test_an_error_of_zero_is_zero_and_gives_no_limits() -> None:
    """Perfect agreement and a constant rater have an error of exactly 0, where statsmodels can give NaN, and no limits."""
    perfect, constant = np.array([[0, 0], [1, 1], [2, 2], [1, 1]] * 3), np.array([[0, 0], [0, 1], [0, 0], [0, 1]])

    for codes in (perfect, constant):
        found = cohen_error(codes, 3)
        assert (found.standard_error, found.low, found.high) == (0.0, None, None)
    assert large_sample(perfect, 3, "fleiss_kappa").standard_error is None
    assert large_sample(perfect, 3, "fleiss_kappa").low is None


def test_the_null_test_is_the_corrected_one() -> None:
    """Fleiss, Nee and Landis (1979) corrected the error of 1971: z = 17.65 for the psychiatrists, .0471 for each diagnosis."""
    whole, each = fleiss_null_test(FLEISS, 5), fleiss_null_tests_by_category(FLEISS, 5)

    assert (whole.standard_error, whole.z) == pytest.approx((0.0243739321, 17.65183058), abs=1e-8)
    assert [test.standard_error for test in each] == pytest.approx([0.04714045] * 5)
    assert [round(test.z or 0, 3) for test in each] == [5.192, 5.192, 11.031, 9.994, 12.009]


def test_the_null_test_holds_its_level() -> None:
    """Of 1,000 samples of raters who guess, about 5 % have p below .05."""
    rng = np.random.default_rng(11)
    p = [fleiss_null_test(rng.choice(3, (40, 4), p=[0.5, 0.3, 0.2]), 3).p or 0.0 for _ in range(1000)]

    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 1000))


@pytest.mark.parametrize(
    ("codes", "status"),
    [
        (np.zeros((0, 3), dtype=int), "undefined_no_data"),
        (np.array([[0, -1], [-1, 1]]), "undefined_no_overlap"),
        (np.full((4, 3), 1), "undefined_no_variation"),
    ],
)
def test_undefined_has_no_error(codes: np.ndarray, status: str) -> None:
    """Without a coefficient there is no error, no limits and no test, but the status."""
    found, test = large_sample(codes, 3, "fleiss_kappa"), fleiss_null_test(codes, 3)

    assert found.agreement[:2] == (None, status)
    assert found.standard_error is found.low is found.high is found.observed is None
    assert test.agreement.value is test.z is test.p is None
    assert cohen_error(codes[:, :2], 3)[2:] == (None, None, None, None)
    assert large_sample(np.array([[0, 0]]), 1, "gwet_ac").agreement.status == "undefined_no_variation"


def test_one_item_has_a_coefficient_and_no_error() -> None:
    """One item that two of three agree on: kappa is -.5, and nothing is known of its spread."""
    found = large_sample(np.array([[0, 1, 0]]), 3, "fleiss_kappa")

    assert found.agreement.value == pytest.approx(-0.5)
    assert found.standard_error is None
    assert found.chance == pytest.approx(5 / 9)
