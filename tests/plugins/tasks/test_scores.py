"""Ranking, decisions, calibration, entropy and agreement of concepts: published values, and values per case that give true intervals."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student
from sklearn import metrics

from harness_plugins.tasks import scores
from harness_plugins.tasks.scores import auroc_pseudo_values, brier_scores

# Rows 1 to 6 of a table by hand: row 4 has nothing found, row 5 nothing at all, row 6 nothing in common.
BY_CASE = {
    "average precision": (scores.average_precision, scores.average_precision_per_case, False),
    "f1": (scores.f1, scores.f1_per_case, True),
    "precision": (scores.precision, scores.precision_per_case, True),
    "recall": (scores.recall, scores.recall_per_case, True),
    "ece": (scores.ece, scores.ece_per_case, False),
    "squared calibration error": (scores.squared_calibration_error, scores.squared_calibration_error_per_case, False),
}
LABELS = range(5)
# Part of concepts-golden/1, case clf_5labels: scikit-learn 1.9.1, torchmetrics 1.9.0 and plain sums by bin.
EXPECTED = {
    "auroc_macro": 0.8487040109284427,
    "auprc_macro": 0.5744542014305152,
    "thresholds_unique": [0.5473, 0.3246, 0.3994, 0.6232, 0.1793],
    "f1_macro_unique": 0.5269147819598763,
    "entropy_nats": 0.35399497946125325,
    "ece_positive_class_macro_15bins_right_closed": 0.07331915000000001,
    "ece_positive_class_macro_10bins_right_closed": 0.07123185,
    "ece_positive_class_macro_10bins_left_closed": 0.07113185,
    "ece_top_label_macro_15bins_right_closed": 0.04112854999999997,
}
TUNED_ON_TEST = 0.5552297947483884


def bits(rows: list[str]) -> np.ndarray:
    """Return strings of 0 and 1 as an array."""
    return np.array([[int(bit) for bit in row] for row in rows])


def by_recipe(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities and labels of the golden case `clf_5labels` (concepts-golden/1), by the recipe that its file prints."""
    prevalence, apart = np.array([0.3, 0.2, 0.25, 0.12, 0.08]), np.array([1.0, 0.8, 1.2, 0.9, 0.6])
    rng = np.random.default_rng(seed)
    y = (rng.random((n, 5)) < prevalence).astype(int)
    z = rng.normal(0, 1.2, (n, 5)) + apart * (2 * y - 1) + np.log(prevalence / (1 - prevalence)) * 0.5
    return np.round(1 / (1 + np.exp(-1.4 * z)), 4), y


def random_logits(n: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return logits that know something of the labels, with ties between binary ones."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) + np.eye(classes)[labels]
    return np.round(logits, 1) if classes == 2 else logits, labels


def answered(n: int, seed: int, stretch: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities and answers drawn by them; with a stretch or shift of the log odds the model is not calibrated."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-1.0, 1.5, n)
    positive = rng.random(n) < 1 / (1 + np.exp(-odds))
    return 1 / (1 + np.exp(-(stretch * odds + shift))), positive


def golden_cases() -> dict[str, Any]:
    """Return the golden cases by name, none where the folder is not given."""
    folder = os.environ.get("HARNESS_GOLDEN")
    file = Path(folder) / "concepts_public.json" if folder else None
    return {} if file is None or not file.is_file() else {case["id"]: case for case in json.loads(file.read_text())["cases"]}


GOLDEN = golden_cases()
needs_golden = pytest.mark.skipif(not GOLDEN, reason="HARNESS_GOLDEN names no folder with concepts_public.json")


def all_values(p: np.ndarray, y: np.ndarray, p_validation: np.ndarray, y_validation: np.ndarray) -> dict[str, Any]:
    """Return under the names of the golden file what the public functions give."""

    def each(function: Callable[..., Any], **options: Any) -> list[Any]:
        return [function(p[:, k], y[:, k], **options) for k in LABELS]

    def thresholds(candidates: np.ndarray | None = None) -> list[Any]:
        return [scores.f1_threshold(p_validation[:, k], y_validation[:, k], candidates) for k in LABELS]

    def f1(at: list[Any]) -> list[float | None]:
        return [scores.f1(p[:, k] >= at[k], y[:, k]) for k in LABELS]

    entropy = scores.binary_entropy(p)
    found: dict[str, Any] = {
        "auroc_per_class": each(scores.auroc),
        "auroc_macro": scores.macro(each(scores.auroc)).value,
        "auprc_per_class": each(scores.average_precision),
        "auprc_macro": scores.macro(each(scores.average_precision)).value,
        "n_undefined": len(scores.macro(each(scores.auroc)).undefined),
        "thresholds_unique": thresholds(),
        "f1_per_class_unique": f1(thresholds()),
        "f1_macro_unique": scores.macro(f1(thresholds())).value,
        "thresholds_grid": thresholds(np.arange(1, 100) / 100),
        "f1_macro_grid": scores.macro(f1(thresholds(np.arange(1, 100) / 100))).value,
        "f1_macro_at_0_5": scores.macro(f1([0.5] * 5)).value,
        "entropy_nats": entropy.mean(),
        "entropy_bits": entropy.mean() / np.log(2),
        "entropy_per_class_nats": entropy.mean(axis=0).tolist(),
    }
    for bins in (10, 15):
        kinds = {"right_closed": {}, "left_closed": {"left_closed": True}, "equal_mass": {"equal_mass": True}}
        for kind, options in kinds.items():
            found[f"ece_positive_class_macro_{bins}bins_{kind}"] = scores.macro(each(scores.ece, bins=bins, **options)).value
        found[f"ece_positive_class_pooled_{bins}bins_right_closed"] = scores.ece(p.ravel(), y.ravel(), bins)
        found[f"ece_top_label_macro_{bins}bins_right_closed"] = scores.macro(each(scores.top_label_ece, bins=bins)).value
    return found


def test_a_part_of_the_golden_values_is_reproduced() -> None:
    """By the public functions, on cases remade from their recipe; the F1 is not the one that was tuned on the test cases."""
    found = all_values(*by_recipe(512, 400), *by_recipe(511, 300))
    for name, expected in EXPECTED.items():
        assert found[name] == pytest.approx(expected, abs=1e-9), name
    assert found["f1_macro_unique"] < TUNED_ON_TEST - 0.02


@needs_golden
def test_every_golden_value_of_the_classifier_is_reproduced() -> None:
    """Calibration in all variants, entropy, AUROC, AUPRC and F1, but for the F1 that was tuned on the test cases."""
    case = GOLDEN["clf_5labels"]
    p, y, p_validation, y_validation = (
        np.array(case[part]["p"]) if what == "p" else bits(case[part]["y"]) for part in ("test", "validation") for what in ("p", "y")
    )
    found = all_values(p, y, p_validation, y_validation)
    assert set(found) == set(case["expected"]) - {"f1_macro_tuned_on_test_WRONG"}
    for name, values in found.items():
        assert values == pytest.approx(case["expected"][name], abs=case["tolerance"]), name


def test_thresholds_are_chosen_on_other_cases() -> None:
    """An observed score, the lowest of equals; the F1 of a threshold tuned on the cases themselves is never lower."""
    assert scores.f1_threshold(np.array([0.1, 0.4, 0.4, 0.9]), np.array([0, 1, 0, 1])) == 0.4
    assert scores.f1_threshold(np.array([0.2, 0.3, 0.6, 0.8]), np.array([1, 0, 0, 1])) == 0.2
    assert scores.f1_threshold(np.array([0.2, 0.3, 0.6]), np.zeros(3)) is None
    (p, y), (p_other, y_other) = answered(200, 1), answered(200, 2)
    honest, own = (scores.f1(p >= scores.f1_threshold(*cases), y) for cases in ((p_other, y_other), (p, y)))
    assert honest is not None
    assert own is not None
    assert honest < own


def test_the_threshold_is_the_best_of_all_scores() -> None:
    """Tried one by one with scikit-learn, ties included."""
    rng = np.random.default_rng(3)
    for _ in range(10):
        p, y = np.round(rng.random(25), 1), rng.random(25) < 0.4
        y[0] = True
        tried = {t: metrics.f1_score(y, p >= t) for t in np.unique(p)}
        assert scores.f1_threshold(p, y) == min(t for t in tried if tried[t] == max(tried.values()))


def test_statistics_agree_with_scikit_learn() -> None:
    """Average precision, F1, precision, recall and AUROC, with ties."""
    rng = np.random.default_rng(4)
    for _ in range(20):
        p, y = np.round(rng.random(40), 1), rng.random(40) < 0.4
        decided = p >= 0.5
        assert scores.average_precision(p, y) == pytest.approx(metrics.average_precision_score(y, p), abs=1e-12)
        assert scores.auroc(p, y) == pytest.approx(metrics.roc_auc_score(y, p), abs=1e-12)
        pairs = ((scores.f1, metrics.f1_score), (scores.precision, metrics.precision_score), (scores.recall, metrics.recall_score))
        for ours, theirs in pairs:
            assert ours(decided, y) == pytest.approx(theirs(y, decided), abs=1e-12)


def test_what_is_undefined_is_listed_and_not_zero() -> None:
    """One class, no positive case, nothing decided for: None, which the macro leaves out and names."""
    p, nobody, everybody = np.array([0.1, 0.6, 0.9]), np.zeros(3), np.ones(3)
    assert scores.auroc(p, nobody) is None
    assert scores.auroc(p, everybody) is None
    assert scores.average_precision(p, nobody) is None
    assert scores.average_precision(p, everybody) == 1.0
    assert scores.f1(everybody, nobody) is None
    assert scores.recall(everybody, nobody) is None
    assert scores.f1(nobody, everybody) == 0.0
    assert scores.precision(nobody, everybody) is None
    assert scores.macro([0.5, None, 1.0]) == scores.Macro(0.75, (1,))
    assert scores.macro([None]) == scores.Macro(None, (0,))


@pytest.mark.parametrize("k", range(1, 10))
def test_edges_of_bins_are_exact(k: int) -> None:
    """A probability of k/10 belongs to the bin below the edge; on a right-open edge to the one above."""
    p, beside = k / 10, k / 10 - 0.05
    together = scores.ece(np.array([p, beside]), np.array([1, 0]), 10)
    assert together == pytest.approx(abs(1 - p - beside) / 2)
    apart = scores.ece(np.array([p, beside]), np.array([1, 0]), 10, left_closed=True)
    assert apart == pytest.approx((1 - p + beside) / 2)


def test_ends_of_the_range_have_a_bin() -> None:
    """0 is in the first bin, 1 in the last, or in its own where bins are closed on the left."""
    p, y = np.array([0.0, 0.02, 0.98, 1.0]), np.array([1, 0, 1, 0])
    assert scores.ece(p, y) == pytest.approx((0.98 + 0.98) / 4)
    assert scores.ece(p, y, left_closed=True) == pytest.approx((0.98 + 0.02 + 1.0) / 4)


def test_entropy_is_in_nats() -> None:
    """A coin has ln 2, certainty none; two classes give the same by class and by probability."""
    assert scores.binary_entropy(np.array([0.5, 0.0, 1.0])) == pytest.approx([np.log(2), 0.0, 0.0])
    p = np.random.default_rng(5).random(20)
    assert scores.categorical_entropy(np.stack([p, 1 - p], axis=1)) == pytest.approx(scores.binary_entropy(p))


@pytest.mark.parametrize("name", BY_CASE)
def test_values_per_case_are_those_of_leaving_one_out(name: str) -> None:
    """Recomputed without each case in turn, ties included; their mean is the statistic; None where one of these is undefined."""
    statistic, per_case, decides = BY_CASE[name]
    rng = np.random.default_rng(6)
    compared = 0
    for _ in range(60):
        n = int(rng.integers(4, 25))
        p, y = np.round(rng.random(n), 1), rng.random(n) < 0.4
        score = p >= 0.5 if decides else p
        found, whole = per_case(score, y), statistic(score, y)
        without = [statistic(np.delete(score, i), np.delete(y, i)) for i in range(n)]
        if whole is None or any(value is None for value in without):
            assert found is None
            continue
        assert found is not None
        compared += 1
        left_out = np.array(without, dtype=np.float64)
        assert found == pytest.approx(whole + (n - 1) * (left_out.mean() - left_out), abs=1e-9)
        assert found.mean() == pytest.approx(whole, abs=1e-12)
    assert compared > 20


@pytest.mark.parametrize(("name", "stretch", "truth"), [
    ("average precision", 1.0, 0.6917), ("f1", 1.0, 0.6386), ("precision", 1.0, 0.6230), ("recall", 1.0, 0.6549),
    ("squared calibration error", 1.0, 0.0), ("squared calibration error", 1.8, 0.0089), ("ece", 1.8, 0.0815),
])  # fmt: skip
def test_intervals_over_cases_hold_the_true_value(name: str, stretch: float, truth: float) -> None:
    """Of 150 samples of 400 cases about nineteen in twenty; the truth is that of four million cases."""
    assert covered(name, stretch, truth) > 0.88


def test_the_ece_of_a_calibrated_model_has_no_true_interval() -> None:
    """It is never below 0, so intervals lie above the truth: the reason why the task gives none, and the companion one."""
    assert covered("ece", 1.0, 0.0) < 0.2


def covered(name: str, stretch: float, truth: float, samples: int = 150, n: int = 400) -> float:
    """Return in which share of samples the interval over cases holds the truth."""
    _, per_case, decides = BY_CASE[name]
    held = 0
    for seed in range(samples):
        p, y = answered(n, seed, stretch, 0.5 if stretch != 1.0 else 0.0)
        values = per_case(p >= 0.4 if decides else p, y)
        assert values is not None
        held += abs(values.mean() - truth) <= student.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return held / samples


def test_the_squared_error_is_not_biased() -> None:
    """Over many small samples of a calibrated model its mean is 0, where that of the ECE is not."""
    found = [[f(*answered(60, seed)) for f in (scores.squared_calibration_error, scores.ece)] for seed in range(300)]
    square, absolute = np.mean(found, axis=0)
    assert abs(square) < 0.002
    assert absolute > 0.1


def test_the_mean_of_the_pseudo_values_is_the_auroc() -> None:
    """Binary: the area that scikit-learn finds, ties included; more classes: its macro average of one against the rest."""
    logits, labels = random_logits(200, 2, 1)
    score = logits[:, 1] - logits[:, 0]
    assert len(np.unique(score)) < 100
    assert auroc_pseudo_values(logits, labels).mean() == pytest.approx(metrics.roc_auc_score(labels, score), abs=1e-12)
    logits, labels = random_logits(300, 4, 2)
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = metrics.roc_auc_score(labels, probability, multi_class="ovr", average="macro")
    assert auroc_pseudo_values(logits, labels).mean() == pytest.approx(expected, abs=1e-12)


def test_the_variance_of_the_pseudo_values_is_delongs() -> None:
    """Sums of squares over both classes, from the matrix of all pairs, give the same variance of the area."""
    logits, labels = random_logits(120, 2, 3)
    score = logits[:, 1] - logits[:, 0]
    positive, negative = score[labels == 1], score[labels == 0]
    wins = (positive[:, None] > negative[None]) + 0.5 * (positive[:, None] == negative[None])
    delong = wins.mean(axis=1).var() / len(positive) + wins.mean(axis=0).var() / len(negative)
    assert auroc_pseudo_values(logits, labels).var() / len(labels) == pytest.approx(delong, rel=1e-12)
    one = scores.auroc_per_case(scores.log_odds(logits)[:, 1], labels)
    assert np.array_equal(auroc_pseudo_values(logits, labels), one)


def test_a_class_of_one_case_has_no_spread() -> None:
    """AUROC values per case need two cases of either class."""
    p = np.array([0.1, 0.2, 0.3, 0.4])
    assert scores.auroc_per_case(p, np.array([0, 0, 0, 1])) is None
    assert scores.auroc_per_case(p, np.array([0, 1, 1, 1])) is None
    assert scores.auroc_per_case(p, np.array([0, 0, 1, 1])) is not None
    assert scores.ece_per_case(p[:1], np.array([1])) is None
    assert scores.squared_calibration_error_per_case(p[:1], np.array([1])) is None


def test_certain_predictions_are_still_ranked() -> None:
    """Where probabilities round to one, the order of the logits decides."""
    logits, labels = np.array([[0.0, 60.0], [0.0, 61.0], [0.0, 62.0], [0.0, 63.0]]), np.array([0, 1, 0, 1])
    assert auroc_pseudo_values(logits, labels).mean() == pytest.approx(0.75)


def test_the_brier_score_is_summed_over_classes() -> None:
    """With two classes it is twice the squared error of one probability."""
    logits, labels = random_logits(50, 2, 4)
    probability = 1.0 / (1.0 + np.exp(logits[:, 0] - logits[:, 1]))
    assert brier_scores(logits, labels).mean() == pytest.approx(2.0 * metrics.brier_score_loss(labels, probability))


def test_wrong_arrays_are_refused() -> None:
    """Shapes that differ, no case, NaN, answers that are not 0 or 1, chances outside 0 to 1, and concepts of two sizes."""
    p, y = np.array([0.2, 0.7]), np.array([0, 1])
    for wrong in ((p, y[:1]), (p[:0], y[:0]), (p[None], y[None])):
        with pytest.raises(ValueError, match="one shape"):
            scores.average_precision(*wrong)
    with pytest.raises(ValueError, match="finite"):
        scores.auroc(np.array([np.nan, 0.1]), y)
    with pytest.raises(ValueError, match="0 or 1"):
        scores.ece(p, np.array([0, 2]))
    with pytest.raises(ValueError, match="0 or 1"):
        scores.f1(p, y)
    with pytest.raises(ValueError, match=r"between 0 and 1, got 0\.2 to 1\.7"):
        scores.ece(p + np.array([0.0, 1.0]), y)
