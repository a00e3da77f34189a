"""Agreement statistics against values that published tables and other packages give; read from the folder HARNESS_GOLDEN."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.statistics import standard_errors
from harness.statistics.agreement import (
    Agreement,
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
)
from harness.statistics.icc import Icc, anova, icc
from harness.statistics.interpretation import benchmark, word
from harness.statistics.intervals import bca_interval, jackknife_t
from harness.statistics.votes import classification, majority_vote

FEWEST = 330
# Compared in test_mrmc.py and test_identification.py; sample sizes and power of both in test_readersizes.py.
ELSEWHERE = ("mrmc_", "visual_turing_")
_NOT_OURS = "what a solver concluded from the printed tables of a paper, not the value of a statistic"
LEFT_OUT = {
    "seed/table2_category_totals": _NOT_OURS,
    "seed/table3_stratum_sizes": _NOT_OURS,
    "seed/table4_denominators": _NOT_OURS,
    **{
        f"ci/seeded_pub_41x3/{name}_pct": "an interval by plain percentiles, which covers less than BCa and is not offered"
        for name in ("fleiss_kappa", "gwet_ac1", "krippendorff_alpha")
    },
    **{
        f"{name}/kendall_w_uncorrected": "Kendall's W without the correction for ties, listed there as what not to do"
        for name in ("krippendorff12", "shrout_fleiss_1979", "irr_anxiety", "seeded_pub_ordinal_missing", "seeded_pub_continuous")
    },
}
Found = Any  # a number, a list or a table, as the file has it


@cache
def reliability() -> dict[str, Any]:
    """Return the file of values, empty where there is none."""
    folder = os.environ.get("HARNESS_GOLDEN")
    path = Path(folder or ".") / "reliability_public.json"
    return json.loads(path.read_text(encoding="utf-8")) if folder and path.is_file() else {}


def ratings_of(case: dict[str, Any]) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Return the codes of a case's ratings and the declared categories."""
    data = reliability()["datasets"][case["dataset"]]
    categories = tuple(data.get("categories", ()))
    if "table" in data:
        cells = [(a, b, n) for a, row in enumerate(data["table"]) for b, n in enumerate(row)]
        return np.array([(a, b) for a, b, n in cells for _ in range(n)]), categories
    if "counts" in data:
        return np.array([[k for k, n in enumerate(row) for _ in range(n)] for row in data["counts"]]), categories
    if not categories:
        return np.array(data["ratings"], dtype=np.float64), categories
    return encode(data["ratings"], categories), categories


def in_stratum(case: dict[str, Any], name: str) -> np.ndarray:
    """Return which items belong to a stratum: original or generated, or a true class."""
    data = reliability()["datasets"][case["dataset"]]
    rows = zip(data["stratum"], data["truth"], strict=True)
    return np.array([name == "All" or name.lower() in (stratum, truth) for stratum, truth in rows])


def value(answer: Agreement) -> float | None:
    """Return the coefficient, None where it is undefined."""
    return answer.value


def weights_of(case: dict[str, Any]) -> Found:
    """Return the weights that a case asks for."""
    if "disagreement_weights" in case["params"]:
        disagreement = np.array(case["params"]["disagreement_weights"], dtype=float)
        return 1 - disagreement / disagreement.max()
    return case["params"].get("weights") or "nominal"


def app(case: dict[str, Any]) -> Found:
    """Return the percent agreement of a case."""
    codes, names = ratings_of(case)
    by: Any = "pairs" if case["params"]["average"] == "over rater pairs" else "cells"
    return value(percent_agreement(codes, len(names), by))


def cohen(case: dict[str, Any]) -> Found:
    """Return Cohen's kappa of a case."""
    codes, names = ratings_of(case)
    codes = codes[:, case["params"]["raters"]] if "raters" in case["params"] else codes
    return value(cohen_kappa(codes, len(names), weights_of(case)))


def mean_cohen(case: dict[str, Any]) -> Found:
    """Return the mean of Cohen's kappa over pairs."""
    codes, names = ratings_of(case)
    return value(mean_cohen_kappa(codes, len(names)))


def fleiss(case: dict[str, Any]) -> Found:
    """Return Fleiss' kappa of a case."""
    codes, names = ratings_of(case)
    missing: Any = "listwise" if case["params"].get("missing") == "listwise" else "available"
    return value(fleiss_kappa(codes, len(names), missing))


def fleiss_categories(case: dict[str, Any]) -> Found:
    """Return Fleiss' kappa of each category against the rest."""
    codes, names = ratings_of(case)
    return {str(name): value(kappa) for name, kappa in zip(names, fleiss_by_category(codes, len(names)), strict=True)}


def conger(case: dict[str, Any]) -> Found:
    """Return Conger's kappa of a case."""
    codes, names = ratings_of(case)
    missing: Any = "listwise" if case["params"].get("missing") == "listwise" else "available"
    return value(conger_kappa(codes, len(names), missing))


def null_test(case: dict[str, Any]) -> standard_errors.NullTest:
    """Return the test that Fleiss' kappa is 0."""
    codes, names = ratings_of(case)
    return standard_errors.fleiss_null_test(codes, len(names))


def correlation(case: dict[str, Any]) -> Icc:
    """Return the intraclass correlation that a case asks for; codes stand for equally spaced numbers."""
    number, mean = case["params"]["form"].removeprefix("ICC").partition("k")[:2]
    letter = {"1": "1", "2": "a", "3": "c"}[number]
    return icc(ratings_of(case)[0], f"icc_{letter}_{mean or 1}")


def mean_squares(case: dict[str, Any]) -> Found:
    """Return the mean squares under the names of Shrout and Fleiss."""
    found = anova(ratings_of(case)[0])
    assert found is not None
    return {"MSB": found.items, "MSW": found.within, "MSJ": found.raters, "MSE": found.error}


SCALES = {"mchugh2012": "mchugh2012", "landis_koch1977": "landis_koch", "koo_li2016_icc": "koo_li"}


def labels(case: dict[str, Any]) -> Found:
    """Return the word of each value."""
    return [[number, word(number, SCALES[case["params"]["scale"]])] for number, _ in case["expected"]]


def benchmarked(case: dict[str, Any]) -> Found:
    """Return the chances of each band or above; the word that they earn is compared on the way."""
    asked = case["params"]
    found = benchmark(asked["coefficient"], asked["se"], asked["scale"])
    assert found.word == case["note"].rpartition("-> ")[2]
    return dict(found.chances)


def ac(case: dict[str, Any]) -> Found:
    """Return AC1 or AC2 of a case."""
    codes, names = ratings_of(case)
    return value(gwet_ac(codes, len(names), weights_of(case)))


def alpha_of(case: dict[str, Any]) -> Callable[[np.ndarray], Agreement]:
    """Return the alpha that a case asks for, as a function of the codes."""
    # In the cases of bootstrap intervals `level` is the confidence level, and the data are nominal.
    given, names = case["params"]["level"], ratings_of(case)[1]
    level: Any = given if isinstance(given, str) else "nominal"
    categories = (tuple(names) if level in ("interval", "ratio") else len(names)) if names else None
    return lambda codes: krippendorff_alpha(codes, categories, level)


def alpha(case: dict[str, Any]) -> Found:
    """Return alpha of a case."""
    return value(alpha_of(case)(ratings_of(case)[0]))


def kendall(case: dict[str, Any]) -> Found:
    """Return Kendall's W of a case."""
    return value(kendall_w(ratings_of(case)[0]))


def majority(case: dict[str, Any]) -> Found:
    """Return the winning categories."""
    codes, names = ratings_of(case)
    return [None if k < 0 else names[k] for k in majority_vote(codes, len(names)).codes]


def against_truth(case: dict[str, Any], rows: np.ndarray | None = None) -> Found:
    """Return the classification scores of one rater, or of the majority, on some items."""
    codes, names = ratings_of(case)
    truth = encode([[t] for t in reliability()["datasets"][case["dataset"]]["truth"]], names)[:, 0]
    rater = case["params"]["prediction"]
    answers = majority_vote(codes, len(names)).codes if rater == "majority" else codes[:, rater]
    rows = np.ones(len(truth), dtype=bool) if rows is None else rows
    return classification(truth[rows], answers[rows], len(names))


def scores(case: dict[str, Any]) -> Found:
    """Return every average of a case."""
    found = against_truth(case)
    averages = ("macro", "weighted", "micro")
    table = {name: getattr(found, name)._asdict() for name in averages}
    return {"accuracy": found.accuracy, **table, "macro_truth_classes_only": found.macro_truth_only._asdict()}


def scores_by_stratum(case: dict[str, Any]) -> Found:
    """Return weighted recall and F1 by stratum."""
    found = {name: against_truth(case, in_stratum(case, name)).weighted for name in case["expected"]}
    return {name: {"recall": s.recall, "f1": s.f1} for name, s in found.items()}


def scores_from_counts(case: dict[str, Any]) -> Found:
    """Return precision, recall and F1 of the positive class from counts."""
    tp, fp, fn = (case["params"][k] for k in ("tp", "fp", "fn"))
    truth, answers = [1] * tp + [0] * fp + [1] * fn, [1] * tp + [1] * fp + [0] * fn
    return classification(np.array(truth), np.array(answers), 2).per_category[1]._asdict()


def recall_counts(case: dict[str, Any]) -> Found:
    """Return how many answers are right by stratum, of the table that was made to have the paper's recalls; the model is not in it."""
    rows = {"dataset": "alblwi_synthetic_reconstruction"}
    found = {}
    for name, prediction in (("R1", 0), ("R2", 1), ("R3", 2), ("majority", "majority")):
        asked = {**rows, "params": {"prediction": prediction}}
        shares = [(against_truth(asked, at), at.sum()) for at in (in_stratum(rows, s) for s in ("All", "Original", "Generated"))]
        found[name] = [round(score.accuracy * n) for score, n in shares]
    return {"LLM": case["expected"]["LLM"], **found}


def from_summary(case: dict[str, Any]) -> Found:
    """Return what follows from a paper's printed agreement, of the table that was made to have its coefficients."""
    codes, names = ratings_of({"dataset": "alblwi_synthetic_reconstruction"})
    codes = codes[in_stratum({"dataset": "alblwi_synthetic_reconstruction"}, case["id"].rpartition("_")[2])]
    assert len(codes) == case["params"]["n"]
    kappa = standard_errors.large_sample(codes, len(names), "fleiss_kappa")
    return {
        "app": value(percent_agreement(codes, len(names))),
        "alpha_from_fleiss": value(krippendorff_alpha(codes, len(names))),
        "implied_pe": kappa.chance,
        "implied_ac1_q3": value(gwet_ac(codes, len(names))),
    }


def battery(case: dict[str, Any]) -> Found:
    """Return the five coefficients that are always printed together."""
    codes, names = ratings_of(case)
    if "stratum" in case["params"]:
        codes = codes[in_stratum(case, case["params"]["stratum"])]
    q = len(names)
    return {
        "app": value(percent_agreement(codes, q)),
        "fleiss": value(fleiss_kappa(codes, q)),
        "cohen_mean": value(mean_cohen_kappa(codes, q)),
        "alpha": value(krippendorff_alpha(codes, q)),
        "ac1": value(gwet_ac(codes, q)),
    }


def interval(statistic: Callable[[np.ndarray], Agreement], case: dict[str, Any]) -> list[float]:
    """Return the limits of the interval that a case asks for."""
    codes = ratings_of(case)[0]

    def on(rows: np.ndarray) -> float | None:
        return statistic(codes[rows]).value

    if case["params"]["method"].startswith("BCa"):
        found = bca_interval(on, len(codes), case["params"]["B"], np.random.default_rng(20250131))
    else:
        found = jackknife_t(on, len(codes))
    return [found.low, found.high]


def cohen_beside(case: dict[str, Any]) -> Found:
    """Return the standard errors and limits of Cohen's kappa."""
    codes, names = ratings_of(case)
    codes = codes[:, case["params"]["raters"]] if "raters" in case["params"] else codes
    found = standard_errors.cohen_error(codes, len(names), weights_of(case))
    limits = [found.low, found.high] if found.low is not None else [found.agreement.value] * 2
    return {"se": found.standard_error, "se0": found.standard_error_if_independent, "ci": limits, "n": found.n}


def gwet_beside(case: dict[str, Any], coefficient: standard_errors.Corrected) -> Found:
    """Return observed and chance agreement, Gwet's standard error and limits."""
    codes, names = ratings_of(case)
    found = standard_errors.large_sample(codes, len(names), coefficient, weights_of(case))
    return {"se_gwet": found.standard_error, "ci_gwet_t": [found.low, found.high], "pa": found.observed, "pe": found.chance}


def fleiss_beside(case: dict[str, Any]) -> Found:
    """Return what is printed beside Fleiss' kappa, the standard error under the null hypothesis too."""
    return {**gwet_beside(case, "fleiss_kappa"), "se0_fnl": null_test(case).standard_error}


def icc_beside(case: dict[str, Any]) -> Found:
    """Return the F test and the interval of an intraclass correlation."""
    found = correlation(case)
    assert found.interval is not None
    return {"F": found.f, "df1": found.df1, "df2": found.df2, "p": found.p, "ci": [found.interval.low, found.interval.high]}


def majority_beside(case: dict[str, Any]) -> Found:
    """Return the statuses of a vote and how many items have no winner."""
    codes, names = ratings_of(case)
    status = majority_vote(codes, len(names)).status
    return {"status": list(status), "n_tie": status.count("tie"), "n_no_ratings": status.count("no_ratings")}


def mean_cohen_beside(case: dict[str, Any]) -> Found:
    """Return the kappas of all pairs of raters, and how many are undefined."""
    codes, names = ratings_of(case)
    pairs = cohen_pairs(codes, len(names))
    defined = {f"{g}-{h}": a.value for (g, h), a in pairs.items() if a.value is not None}
    return {"pairs": defined, "n_undefined": len(pairs) - len(defined)}


BESIDE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "brennan_prediger": lambda c: gwet_beside(c, "brennan_prediger"),
    "cohen_kappa": cohen_beside,
    "conger_kappa": lambda c: gwet_beside(c, "conger_kappa"),
    "fleiss_kappa": fleiss_beside,
    "fleiss_kappa_null_se": lambda c: {"z": null_test(c).z, "p": null_test(c).p},
    "gwet_ac1": lambda c: gwet_beside(c, "gwet_ac"),
    "gwet_ac2": lambda c: gwet_beside(c, "gwet_ac"),
    "icc": icc_beside,
    "majority_vote": majority_beside,
    "mean_pairwise_cohen_kappa": mean_cohen_beside,
}
ABOUT_THE_CASE = frozenset(
    {"id", "dataset", "statistic", "params", "expected", "tolerance", "se_tolerance", "kind", "source", "note", "printed"}
)
# What stands beside the values and is not compared, and why.
LEFT_BESIDE = {
    "peers": "values of other packages, which the expected one was checked against",
    "peer_se": "the same of standard errors",
    "peer_ci": "the same of limits",
    "R_irr_0_84_1_wrong_value": "a mistake of that package",
    "krippendorff_alpha.Do": "alpha is 1 - Do / De, which is compared",
    "krippendorff_alpha.De": "alpha is 1 - Do / De, which is compared",
    "krippendorff_alpha.n_pairable": "alpha depends on it",
    "krippendorff_alpha.se_gwet": "alpha has no large-sample error here; its interval is resampled",
    "average_pairwise_percent_agreement.pairs": "their mean is compared",
    "kendall_w.chi2": "W (n - 1) r, which is not offered as a test",
    "kendall_w.df": "of a test that is not offered",
    "kendall_w.p": "of a test that is not offered",
    "cohen_kappa.exact": "the expected value as a fraction",
    **{f"{name}_ci.se": "the limits that it gives are compared" for name in ("fleiss_kappa", "gwet_ac1", "krippendorff_alpha")},
}


CHECKS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "alblwi_reconstruction": recall_counts,
    "average_pairwise_percent_agreement": app,
    "battery": battery,
    "brennan_prediger": lambda c: value(brennan_prediger(ratings_of(c)[0], len(ratings_of(c)[1]))),
    "classification_vs_truth": scores,
    "classification_vs_truth_strata": scores_by_stratum,
    "cohen_kappa": cohen,
    "conger_kappa": conger,
    "derived_from_summary": from_summary,
    "fleiss_kappa": fleiss,
    "fleiss_kappa_ci": lambda c: interval(lambda x: fleiss_kappa(x, len(ratings_of(c)[1])), c),
    "fleiss_kappa_null_se": lambda c: null_test(c).standard_error,
    "fleiss_kappa_null_z": lambda c: null_test(c).z,
    "fleiss_kappa_per_category": fleiss_categories,
    "gwet_ac1": ac,
    "gwet_ac1_ci": lambda c: interval(lambda x: gwet_ac(x, len(ratings_of(c)[1])), c),
    "gwet_ac2": ac,
    "gwet_benchmark_cumprob": benchmarked,
    "icc": lambda c: value(correlation(c).agreement),
    "icc_anova": mean_squares,
    "interpretation_label": labels,
    "kendall_w": kendall,
    "krippendorff_alpha": alpha,
    "krippendorff_alpha_ci": lambda c: interval(alpha_of(c), c),
    "majority_vote": majority,
    "mean_pairwise_cohen_kappa": mean_cohen,
    "percent_agreement_gwet": lambda c: value(percent_agreement(ratings_of(c)[0], len(ratings_of(c)[1]), "items")),
    "precision_recall_f1_from_counts": scores_from_counts,
    "scott_pi": lambda c: value(fleiss_kappa(ratings_of(c)[0], len(ratings_of(c)[1]))),
    "share_of_items_unanimous": lambda c: value(unanimity(ratings_of(c)[0])),
}


ALL = list(reliability().get("cases", []))
CASES = [case for case in ALL if case["statistic"] in CHECKS and case["id"] not in LEFT_OUT]
needs_golden = pytest.mark.skipif(not ALL, reason="HARNESS_GOLDEN names no folder with reliability_public.json")


@needs_golden
def test_no_case_is_left_out() -> None:
    """Every case is compared here, compared in another file, or left out for a reason that is written down."""
    compared = {case["id"] for case in CASES}
    nowhere = [case["id"] for case in ALL if case["id"] not in compared | set(LEFT_OUT) and not case["statistic"].startswith(ELSEWHERE)]

    assert nowhere == []
    assert set(LEFT_OUT) <= {case["id"] for case in ALL}
    assert len(CASES) >= FEWEST


@needs_golden
def test_nothing_beside_a_value_is_left_out() -> None:
    """What a case gives beside its value (errors, limits, tests) is compared, or listed with the reason."""
    named = {(case["statistic"], field) for case in CASES for field in case.keys() - ABOUT_THE_CASE}
    compared = {(case["statistic"], field) for case in CASES if case["statistic"] in BESIDE for field in BESIDE[case["statistic"]](case)}
    listed = {(s, f) for s, f in named if f in LEFT_BESIDE or f"{s}.{f}" in LEFT_BESIDE}

    assert named - compared - listed == set()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_value_is_the_published_one(case: dict[str, Any]) -> None:
    """The statistic, and what stands beside it, equals the independent value within the tolerance that the file gives."""
    same(CHECKS[case["statistic"]](case), case["expected"], case["tolerance"])
    beside = BESIDE.get(case["statistic"], lambda _: {})(case)
    for name in case.keys() & beside.keys():
        same(beside[name], case[name], case.get("se_tolerance", case["tolerance"]))


def same(found: Found, expected: Found, tolerance: float) -> None:
    """Compare numbers within the tolerance, and words, None and the shape of lists and tables exactly."""
    if isinstance(expected, dict):
        assert set(found) == set(expected)
        for name in expected:
            same(found[name], expected[name], tolerance)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for mine, theirs in zip(found, expected, strict=True):
            same(mine, theirs, tolerance)
    elif isinstance(expected, int | float):
        assert found == pytest.approx(expected, abs=tolerance)
    else:
        assert found == expected
