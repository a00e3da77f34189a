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

from harness.statistics.agreement import (
    Agreement,
    brennan_prediger,
    cohen_kappa,
    cohen_pairs,
    encode,
    fleiss_kappa,
    gwet_ac,
    kendall_w,
    krippendorff_alpha,
    mean_cohen_kappa,
    percent_agreement,
    unanimity,
)
from harness.statistics.intervals import bca_interval, jackknife_t
from harness.statistics.votes import classification, majority_vote

FEWEST = 267
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
    """Return the mean of Cohen's kappa over pairs, whose single values are compared on the way."""
    codes, names = ratings_of(case)
    pairs = {f"{g}-{h}": a.value for (g, h), a in cohen_pairs(codes, len(names)).items() if a.value is not None}
    assert pairs == pytest.approx(case["pairs"], abs=case["tolerance"])
    return value(mean_cohen_kappa(codes, len(names)))


def fleiss(case: dict[str, Any]) -> Found:
    """Return Fleiss' kappa of a case."""
    codes, names = ratings_of(case)
    missing: Any = "listwise" if case["params"].get("missing") == "listwise" else "available"
    return value(fleiss_kappa(codes, len(names), missing))


def fleiss_by_category(case: dict[str, Any]) -> Found:
    """Return Fleiss' kappa of each category against the rest."""
    codes, names = ratings_of(case)
    return {str(name): value(fleiss_kappa((codes == k).astype(int), 2)) for k, name in enumerate(names)}


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
    """Return the winning categories, whose statuses are compared on the way."""
    codes, names = ratings_of(case)
    vote = majority_vote(codes, len(names))
    assert vote.status == tuple(case["status"])
    return [None if k < 0 else names[k] for k in vote.codes]


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


CHECKS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "average_pairwise_percent_agreement": app,
    "battery": battery,
    "brennan_prediger": lambda c: value(brennan_prediger(ratings_of(c)[0], len(ratings_of(c)[1]))),
    "classification_vs_truth": scores,
    "classification_vs_truth_strata": scores_by_stratum,
    "cohen_kappa": cohen,
    "fleiss_kappa": fleiss,
    "fleiss_kappa_ci": lambda c: interval(lambda x: fleiss_kappa(x, len(ratings_of(c)[1])), c),
    "fleiss_kappa_per_category": fleiss_by_category,
    "gwet_ac1": ac,
    "gwet_ac1_ci": lambda c: interval(lambda x: gwet_ac(x, len(ratings_of(c)[1])), c),
    "gwet_ac2": ac,
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


def concerns_us(case: dict[str, Any]) -> bool:
    """Intervals by plain percentiles and Kendall's W without its tie correction are listed there as what not to do."""
    return case["statistic"] in CHECKS and not case["id"].endswith(("_pct", "kendall_w_uncorrected"))


CASES = [case for case in reliability().get("cases", []) if concerns_us(case)]


@pytest.mark.skipif(not CASES, reason="HARNESS_GOLDEN names no folder with reliability_public.json")
def test_no_case_is_left_out() -> None:
    """Every case that concerns a statistic of ours is compared."""
    assert len(CASES) >= FEWEST


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_value_is_the_published_one(case: dict[str, Any]) -> None:
    """The statistic equals the independent value within the tolerance that the file gives."""
    found, expected, tolerance = CHECKS[case["statistic"]](case), case["expected"], case["tolerance"]
    if isinstance(expected, dict) and any(isinstance(v, dict) for v in expected.values()):
        for name, part in expected.items():
            assert found[name] == pytest.approx(part, abs=tolerance)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, part in expected.items():
            assert found[name] is part if part is None else found[name] == pytest.approx(part, abs=tolerance)
    elif case["statistic"] == "majority_vote":
        assert found == expected
    else:
        assert found == pytest.approx(expected, abs=tolerance)
