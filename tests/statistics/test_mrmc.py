"""Multi-reader multi-case analyses against published and independent values, and what they say where there is nothing to analyse."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.statistics import mrmc
from harness.statistics.mrmc import Mrmc, auc, dorfman_berbaum_metz, obuchowski_rockette
from harness.statistics.ustatistics import auc_difference, auc_estimate, mean_difference, mean_estimate, study

# Statistics of the file that begin with mrmc but are compared in another test.
ELSEWHERE = {"mrmc_power": "tests/statistics/test_readersizes.py"}
Found = Any


@cache
def reliability() -> dict[str, Any]:
    """Return the file of values, empty where there is none."""
    folder = os.environ.get("HARNESS_GOLDEN")
    path = Path(folder or ".") / "reliability_public.json"
    return json.loads(path.read_text(encoding="utf-8")) if folder and path.is_file() else {}


def ratings_of(case: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return scores (modality, reader, case) and truth of a case's data."""
    data = reliability()["datasets"][case["dataset"]]
    negatives, positives = np.array(data["negatives"], dtype=float), np.array(data["positives"], dtype=float)
    return np.concatenate([negatives, positives], axis=2), np.repeat([0, 1], [negatives.shape[2], positives.shape[2]])


def halves(scores: np.ndarray) -> np.ndarray:
    """Return the scores with the odd cases in the first modality and the even ones in the second."""
    apart = scores.copy()
    apart[0][:, 1::2], apart[1][:, 0::2] = np.nan, np.nan
    return apart


def contrasts_of(test: mrmc.Test, name: str) -> dict[str, Any]:
    """Return the contrasts of a test under the names of the file."""
    found = {}
    for c in test.contrasts:
        one = {"diff": c.difference, "se": c.se, name: c.statistic, "p": c.p, "ci": [c.low, c.high]}
        found[f"{c.a + 1}-{c.b + 1}"] = one if c.df is None else {**one, "df": c.df}
    return found


def rockette(case: dict[str, Any]) -> Found:
    """Return the analysis of variance of a case, under the names of the file."""
    scores, truth = ratings_of(case)
    found = obuchowski_rockette(scores, truth, case["params"]["covariance"])
    return published(found) if case["kind"] == "published" else {**squares(found), **outcomes_of(found)}


def squares(found: Mrmc) -> dict[str, Any]:
    """Return AUCs, mean squares and components."""
    parts = found.components
    return {
        "auc": found.auc.tolist(), "auc_mean": list(found.auc_mean), "MS_T": found.mean_squares.modality,
        "MS_R": found.mean_squares.reader, "MS_TR": found.mean_squares.interaction, "var_R": parts.var_reader,
        "var_TR": parts.var_modality_reader, "cov1": parts.cov1, "cov2": parts.cov2, "cov3": parts.cov3, "var_error": parts.var_error,
    }  # fmt: skip


def outcomes_of(found: Mrmc) -> dict[str, Any]:
    """Return the three tests and the modalities on their own."""
    rrrc, frrc, rrfc = found.rrrc, found.frrc, found.rrfc
    below = found.mean_squares.modality / rrrc.statistic
    single = [
        {
            "auc": s.auc, "MS_R": s.ms_readers, "cov2": s.cov2, "var_error": s.var_error, "se": s.se, "df": s.df,
            "ci": [s.low, s.high], "se_fixed_readers": s.se_fixed_readers,
        }
        for s in found.single
    ]  # fmt: skip
    random = {"denominator": below, "F": rrrc.statistic, "df1": rrrc.df1, "ddf": rrrc.df2, "p": rrrc.p}
    return {
        "RRRC": {**random, "diffs": contrasts_of(rrrc, "t")},
        "FRRC": {"X2": frrc.statistic, "df": frrc.df1, "p": frrc.p, "diffs": contrasts_of(frrc, "z")},
        "RRFC": {"F": rrfc.statistic, "df1": rrfc.df1, "df2": rrfc.df2, "p": rrfc.p, "diffs": contrasts_of(rrfc, "t")},
        "single": single,
    }


def published(found: Mrmc) -> dict[str, Any]:
    """Return what the printout of OR-DBM holds."""
    rrrc, frrc, rrfc = found.rrrc, found.frrc, found.rrfc
    c = rrrc.contrasts[0]
    return {
        **squares(found), "F": rrrc.statistic, "ddf": rrrc.df2, "p": rrrc.p, "diff": c.difference, "se": c.se, "ci": [c.low, c.high],
        "FRRC_X2": frrc.statistic, "FRRC_p": frrc.p, "RRFC_F": rrfc.statistic, "RRFC_p": rrfc.p,
        "single_se": [s.se for s in found.single], "single_df": [s.df for s in found.single],
        "single_ci": [[s.low, s.high] for s in found.single],
    }  # fmt: skip


def pseudovalues(case: dict[str, Any]) -> Found:
    """Return the components of Dorfman, Berbaum and Metz."""
    found = dorfman_berbaum_metz(*ratings_of(case))
    return {**found.components, "MS": found.mean_squares, "F": found.f}


def nested(case: dict[str, Any]) -> Found:
    """Return the analysis of odd cases in one modality and even ones in the other."""
    scores, truth = ratings_of(case)
    found = obuchowski_rockette(halves(scores), truth)
    assert (found.design, found.covariance) == ("nested", "unbiased")
    c = found.rrrc.contrasts[0]
    return {**squares(found), "F": found.rrrc.statistic, "ddf": found.rrrc.df2, "p": found.rrrc.p, "diff": c.difference, "se": c.se}


def gallas(case: dict[str, Any]) -> Found:
    """Return the difference by U-statistics, under the names of the file."""
    found = auc_difference(*ratings_of(case))
    assert found.method == "unbiased"
    return {
        "auc": [found.a.value, found.b.value], "var": [found.a.variance, found.b.variance], "diff": found.difference,
        "var_diff": found.variance, "cov": found.covariance, "p_normal": found.normal.p,
        "ci_normal": [found.normal.low, found.normal.high],
    }  # fmt: skip


def accuracy(case: dict[str, Any]) -> Found:
    """Return the difference of the shares of right answers on original and on generated images."""
    data = reliability()["datasets"][case["dataset"]]
    right = (np.array(data["ratings"]) == np.array(data["truth"])[:, None]).T.astype(float)
    stratum = np.array(data["stratum"])
    outcomes = np.stack([np.where(stratum == case["params"][name], right, np.nan) for name in ("A", "B")])
    found = mean_difference(outcomes, within=(0, 1))
    return {
        "mean_A": found.a.value, "mean_B": found.b.value, "diff": found.difference, "var_A": found.a.variance, "var_B": found.b.variance,
        "var_diff": found.variance, "se": found.normal.se, "ci_normal": [found.normal.low, found.normal.high], "p_normal": found.normal.p,
    }  # fmt: skip


CHECKS: dict[str, Callable[[dict[str, Any]], Found]] = {
    "mrmc_obuchowski_rockette_hillis": rockette,
    "mrmc_dbm_variance_components": pseudovalues,
    "mrmc_ustatistics_gallas": gallas,
    "mrmc_or_cases_nested_in_modality": nested,
    "mrmc_accuracy_difference_unpaired": accuracy,
}
OURS = [case for case in reliability().get("cases", []) if case["statistic"].startswith("mrmc")]
CASES = [case for case in OURS if case["statistic"] in CHECKS]
needs_golden = pytest.mark.skipif(not OURS, reason="HARNESS_GOLDEN names no folder with reliability_public.json")


@needs_golden
def test_no_case_is_left_out() -> None:
    """Every case on multi-reader studies is compared here, or in the test that is named."""
    assert {case["statistic"] for case in OURS} == CHECKS.keys() | ELSEWHERE.keys()
    assert len(CASES) == 13


def compare(found: Found, expected: Found, tolerance: Any, at: str = "") -> None:
    """Compare numbers, lists and tables element by element; a table of tolerances has one per name."""
    if isinstance(expected, dict):
        assert expected.keys() <= found.keys(), at
        for name, part in expected.items():
            own = tolerance.get(name, tolerance["default"]) if isinstance(tolerance, dict) else tolerance
            compare(found[name], part, own, f"{at}.{name}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), at
        for k, part in enumerate(expected):
            compare(found[k], part, tolerance, f"{at}[{k}]")
    else:
        assert found == pytest.approx(expected, abs=tolerance, rel=0), at


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_value_is_the_independent_one(case: dict[str, Any]) -> None:
    """Every number that the file gives comes out within its tolerance."""
    compare(CHECKS[case["statistic"]](case), case["expected"], case["tolerance"])


@pytest.mark.parametrize("case", [c for c in CASES if c["statistic"] == "mrmc_ustatistics_gallas"], ids=lambda case: case["id"])
def test_degrees_of_freedom_and_maximum_likelihood_are_those_of_imrmc(case: dict[str, Any]) -> None:
    """The t interval, its p and the biased variance equal what the package of the FDA gives for the same ratings."""
    found = auc_difference(*ratings_of(case))
    package = case["peers"]["R iMRMC 2.1.2 Ustat"]
    biased = case["peers"]["R iMRMC 2.1.2 MLE (biased, never negative)"]

    assert found.t.df == math.floor(package["dfBDG"])
    assert found.t.p == pytest.approx(package["pValueBDG"], abs=1e-9)
    assert found.t.low == pytest.approx(package["botCIBDG"], abs=1e-9)
    assert found.ml_variance == pytest.approx(biased["varAUCAminusAUCB"], abs=1e-10)


@cache
def real(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and truth of a published study, from the folder of real data."""
    folder = os.environ.get("HARNESS_TEST_DATA")
    path = Path(folder or ".") / "ratings_mrmcaov" / f"{name}.csv"
    if not folder or not path.is_file():
        pytest.skip("HARNESS_TEST_DATA names no folder with ratings_mrmcaov")
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = [sorted({row[k] for row in rows}, key=float) for k in ("treatment", "reader", "case")]
    scores, truth = np.full([len(n) for n in names], np.nan), np.zeros(len(names[2]))
    for row in rows:
        m, r, c = (n.index(row[k]) for n, k in zip(names, ("treatment", "reader", "case"), strict=True))
        scores[m, r, c], truth[c] = float(row["rating"]), float(row["truth"])
    return scores, truth


def test_van_dyke_comes_out_of_the_file() -> None:
    """The study of aortic dissection gives the published AUCs, F, degrees of freedom, p and interval."""
    found = obuchowski_rockette(*real("VanDyke"))

    assert found.auc_mean == pytest.approx((0.8970, 0.9408), abs=5e-5)
    assert (found.rrrc.statistic, found.rrrc.df2) == (pytest.approx(4.4563, abs=5e-5), pytest.approx(15.26, abs=5e-3))
    assert found.rrrc.p == pytest.approx(0.0517, abs=5e-5)
    assert found.rrrc.contrasts[0][-2:] == pytest.approx((-0.0880, 0.0004), abs=5e-5)
    assert found.cases == ((69, 45), (69, 45))
    assert found.notes == ()


def test_franken_has_a_negative_variance_and_says_so() -> None:
    """Where the unbiased variance of the difference is negative that of maximum likelihood is used, under its name."""
    found, variance = auc_difference(*real("Franken")), obuchowski_rockette(*real("Franken"))

    assert found.variance == pytest.approx(-3.2e-5, abs=5e-7)
    assert found.method == "maximum likelihood"
    assert "-3.2e-05, which no variance can be" in found.note
    assert found.t.se == pytest.approx(math.sqrt(found.ml_variance))
    assert variance.rrrc.p == pytest.approx(0.1188, abs=5e-5)
    assert "counts as 0" in variance.notes[0]
    assert "below that for these readers alone (0.0192)" in variance.notes[1]


def test_kundel_mixes_designs() -> None:
    """Two of its modalities share 95 cases and the third has 95 of its own: they are compared two at a time."""
    scores, truth = real("Kundel")
    whole = obuchowski_rockette(scores, truth)
    designs = [obuchowski_rockette(scores[[a, b]], truth) for a, b in ((0, 1), (1, 2))]

    assert (whole.status, whole.rrrc) == ("undefined_mixed_design", None)
    assert [d.design for d in designs] == ["nested", "crossed"]
    assert designs[0].auc_mean + designs[1].auc_mean[1:] == pytest.approx((0.8290, 0.8039, 0.8414), abs=5e-5)
    assert designs[1].rrrc.p == pytest.approx(0.0916, abs=5e-5)
    assert (designs[0].components.cov1, designs[0].components.cov3) == (0.0, 0.0)


def drawn(seed: int, readers: int = 4, cases: int = 40, effect: float = 0.0, spread: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Return ratings of two modalities, half of the cases positive, with reader and case effects."""
    rng = np.random.default_rng(seed)
    truth = np.arange(cases) % 2
    skill = 1.2 + spread * rng.standard_normal((2, readers, 1)) * 0.3 + effect * np.array([0.5, -0.5])[:, None, None]
    shared = rng.standard_normal((1, 1, cases))
    return np.round(skill * truth + 0.7 * shared + 0.7 * rng.standard_normal((2, readers, cases)), 1), truth


def test_auc_counts_ties_as_one_half() -> None:
    """Of six pairs four are in order, one is tied and one is not."""
    assert auc(np.array([1, 2, 3]), np.array([2, 4])) == pytest.approx((4 + 0.5) / 6)
    assert auc(np.array([1, 1]), np.array([1])) == 0.5


@pytest.mark.parametrize("seed", [0, 1])
def test_unbiased_covariances_and_ustatistics_are_one(seed: int) -> None:
    """Where Cov2 is at least Cov3 the variance of a difference is the same from both, crossed and nested."""
    scores, truth = drawn(seed)
    for ratings in (scores, halves(scores.repeat(2, axis=2))):
        answers = truth if ratings is scores else truth.repeat(2)
        rrrc, free = obuchowski_rockette(ratings, answers, "unbiased"), auc_difference(ratings, answers)
        raw = rrrc.mean_squares.interaction + rrrc.auc.shape[1] * (rrrc.components.cov2 - rrrc.components.cov3)
        assert free.variance == pytest.approx(2 / rrrc.auc.shape[1] * raw, rel=1e-9)


def test_variance_of_an_unbalanced_study_is_that_of_the_definition() -> None:
    """The variance equals less the mean product of deviations of cells that share nothing, counted one by one."""
    rng = np.random.default_rng(3)
    outcomes = rng.integers(0, 2, (2, 3, 5)).astype(float)
    outcomes[0, 1, 2:], outcomes[1, 0, 3] = np.nan, np.nan
    found = mean_difference(outcomes)
    cells = [[(r, c, m[r, c]) for r in range(3) for c in range(5) if not np.isnan(m[r, c])] for m in outcomes]

    def cov(x: list[tuple[int, int, float]], y: list[tuple[int, int, float]]) -> float:
        one, other = np.mean([a[2] for a in x]), np.mean([b[2] for b in y])
        return -float(np.mean([(a[2] - one) * (b[2] - other) for a in x for b in y if a[0] != b[0] and a[1] != b[1]]))

    assert found.a.variance == pytest.approx(cov(cells[0], cells[0]))
    assert found.covariance == pytest.approx(cov(cells[0], cells[1]))
    assert found.variance == pytest.approx(cov(cells[0], cells[0]) + cov(cells[1], cells[1]) - 2 * cov(cells[0], cells[1]))


def test_variance_is_right_on_average_where_ratings_are_missing() -> None:
    """Over 80 studies with a tenth of the ratings missing the mean variance is that of the differences, and few are negative."""
    found = []
    for seed in range(80):
        scores, truth = drawn(seed)
        scores[np.random.default_rng(seed).random(scores.shape) < 0.1] = np.nan
        found.append(auc_difference(scores, truth))
    variances = np.array([f.variance for f in found])

    assert np.mean(variances) == pytest.approx(np.var([f.difference for f in found]), rel=0.3)
    assert np.mean([f.method == "unbiased" for f in found]) > 0.8


def test_maximum_likelihood_variance_is_that_of_the_bootstrap() -> None:
    """Readers and cases drawn again with repetition spread the difference by that variance."""
    rng = np.random.default_rng(4)
    outcomes = (rng.random((2, 6, 15)) < 0.6).astype(float)
    found = mean_difference(outcomes)
    readers, cases = rng.multinomial(6, np.full(6, 1 / 6), 20000), rng.multinomial(15, np.full(15, 1 / 15), 20000)
    drawn_again = np.einsum("br,rc,bc->b", readers, outcomes[0] - outcomes[1], cases, optimize=True) / 90

    assert found.ml_variance == pytest.approx(np.var(drawn_again), rel=0.05)


def test_ratings_missing_here_and_there_leave_an_analysis() -> None:
    """The analysis of variance is refused with the reason, U-statistics go on, and little changes by one rating."""
    scores, truth = drawn(5)
    missing = scores.copy()
    missing[0, 1, 3] = np.nan
    refused, found, whole = obuchowski_rockette(missing, truth), auc_difference(missing, truth), auc_difference(scores, truth)

    assert refused.status == "undefined_unbalanced"
    assert "U-statistics" in refused.reason
    assert found.status == "ok"
    assert found.difference == pytest.approx(whole.difference, abs=0.01)
    assert found.variance == pytest.approx(whole.variance, rel=0.2)


def test_both_analyses_hold_their_level() -> None:
    """Where modalities do not differ both reject about as rarely as they promise: 100 studies, 5 %."""
    found = [(obuchowski_rockette(*drawn(s)).rrrc, auc_difference(*drawn(s)).t) for s in range(100)]
    shares = [np.mean([test is not None and test.p is not None and test.p <= 0.05 for test in one]) for one in zip(*found, strict=True)]

    assert max(shares) <= 0.11


def test_a_real_difference_is_found() -> None:
    """Modalities that differ by far are told apart, and the sign is that of a minus b."""
    scores, truth = drawn(6, readers=6, cases=100, effect=1.2)
    rrrc, free = obuchowski_rockette(scores, truth).rrrc, auc_difference(scores, truth).t

    assert rrrc.contrasts[0].difference > 0
    assert max(rrrc.p, free.p) < 0.01


def test_order_of_readers_cases_and_modalities_is_indifferent() -> None:
    """Shuffled readers and cases give the same test, swapped modalities the opposite difference."""
    scores, truth = drawn(7)
    rng = np.random.default_rng(0)
    cases = rng.permutation(len(truth))
    shuffled = scores[:, [2, 0, 3, 1]][:, :, cases]
    one, other = obuchowski_rockette(scores, truth).rrrc, obuchowski_rockette(shuffled, truth[cases]).rrrc
    swapped = auc_difference(scores, truth, 1, 0)

    assert other.p == pytest.approx(one.p)
    assert swapped.difference == pytest.approx(-(auc_difference(scores, truth).difference or 0.0))
    assert (swapped.t.a, swapped.t.b) == (1, 0)


def test_one_reader_has_a_test_for_that_reader_alone() -> None:
    """With one reader there is no test for readers in general, but one for this reader, and the status says why."""
    scores, truth = drawn(8, readers=1)
    found, free = obuchowski_rockette(scores, truth), auc_difference(scores, truth)

    assert (found.rrrc.status, found.rrfc.status) == ("undefined_one_reader", "undefined_one_reader")
    assert found.single[0].status == "undefined_one_reader"
    assert (free.status, free.t) == ("undefined_too_few", None)


def test_one_modality_has_its_auc_and_nothing_to_compare() -> None:
    """The mean AUC has its interval; the tests say that there is nothing to compare."""
    scores, truth = drawn(9)
    found, free = obuchowski_rockette(scores[:1], truth), auc_estimate(scores[0], truth)

    assert (found.rrrc.status, found.frrc.status) == ("undefined_one_modality", "undefined_one_modality")
    assert free.value == pytest.approx(found.auc_mean[0])


def test_perfect_readers_leave_no_variance() -> None:
    """Where every AUC is 1 there is no test, no interval and no number that is not one."""
    truth = np.repeat([0, 1], 5)
    scores = np.broadcast_to(truth.astype(float), (2, 3, 10))
    found, free = obuchowski_rockette(scores, truth), auc_difference(scores, truth)

    assert {t.status for t in (found.rrrc, found.frrc, found.rrfc)} == {"undefined_no_variation"}
    assert [s.status for s in found.single] == ["undefined_no_variation"] * 2
    assert found.auc_mean == (1.0, 1.0)
    assert (free.status, free.t, free.difference) == ("undefined_no_variation", None, 0.0)


@pytest.mark.parametrize(
    ("truth", "status"), [([1] * 6, "undefined_one_class"), ([0] * 6, "undefined_one_class"), ([0] * 5 + [1], "undefined_too_few_cases")]
)
def test_a_class_without_cases_has_no_auc(truth: list[int], status: str) -> None:
    """One class has no AUC, one case of a class no variance; the reason names the modality."""
    scores = np.random.default_rng(0).random((2, 3, 6))
    found = obuchowski_rockette(scores, np.array(truth))

    assert (found.status, auc_difference(scores, np.array(truth)).status, dorfman_berbaum_metz(scores, np.array(truth)).status) == (
        status,
    ) * 3
    assert "modality 1" in found.reason
    assert found.auc is None


def test_a_modality_without_a_rating_is_found() -> None:
    """A modality with no rating at all is an answer with a status."""
    scores, truth = drawn(10)
    scores[0] = np.nan

    assert obuchowski_rockette(scores, truth).status == "undefined_no_data"
    assert mean_difference(scores).status == "undefined_no_data"
    assert mean_estimate(scores[0]).status == "undefined_no_data"


def test_cases_that_nobody_rated_are_counted() -> None:
    """They are left out, and the analysis says how many."""
    scores, truth = drawn(11)
    scores[:, :, :3] = np.nan
    found = obuchowski_rockette(scores, truth)

    assert found.status == "ok"
    assert found.notes[0] == "cases that nobody rated, left out: 3"
    assert sum(found.cases[0]) == 37


def test_readers_who_rated_nothing_are_counted() -> None:
    """They are left out, the analysis says how many, and it is that of the others."""
    scores, truth = drawn(13)
    with_absent = np.concatenate([scores, np.full((2, 1, 40), np.nan)], axis=1)
    found = obuchowski_rockette(with_absent, truth)

    assert found.notes == ("readers who rated nothing, left out: 1",)
    assert found.rrrc == obuchowski_rockette(scores, truth).rrrc
    assert auc_difference(with_absent, truth) == auc_difference(scores, truth)


def test_pseudovalues_need_shared_cases() -> None:
    """Cases nested in modality have no pseudovalue components, and the status says so."""
    scores, truth = drawn(12)
    assert dorfman_berbaum_metz(halves(np.repeat(scores, 2, axis=2)), truth.repeat(2)).status == "undefined_not_crossed"


@pytest.mark.parametrize(
    ("scores", "truth", "words"),
    [
        (np.zeros((2, 3)), np.zeros(3), "modality, reader, case"),
        (np.zeros((2, 3, 4)), np.zeros(3), "modality, reader, case"),
        (np.zeros((2, 3, 4)), np.array([0, 1, 2, 1]), "0 or 1"),
        (np.full((2, 3, 4), np.inf), np.array([0, 1, 0, 1]), "finite"),
    ],
)
def test_input_of_the_wrong_kind_is_refused(scores: np.ndarray, truth: np.ndarray, words: str) -> None:
    """Shapes that do not fit, a truth that is no class and infinite scores are refused with what is expected."""
    with pytest.raises(ValueError, match=words):
        study(scores, truth)


def test_outcomes_of_the_wrong_kind_are_refused() -> None:
    """Outcomes have three axes and are finite."""
    with pytest.raises(ValueError, match="modality, reader, case"):
        mean_difference(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="finite"):
        mean_difference(np.full((2, 3, 4), np.inf))


def test_readers_with_one_class_each_have_no_auc() -> None:
    """Where no reader rated both a positive and a negative case there is no pair, and the reason says so."""
    truth = np.array([0, 0, 1, 1])
    scores = np.full((2, 2, 4), np.nan)
    scores[:, 0, :2], scores[:, 1, 2:] = 1.0, 2.0
    found = auc_difference(scores, truth)

    assert (found.status, found.difference) == ("undefined_no_data", None)
    assert "no reader rated both classes" in found.reason
