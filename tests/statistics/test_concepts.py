"""Agreement of concepts: by hand, against golden values and scikit-learn, per concept, with intervals over images and patients."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from harness.statistics.concepts import MEASURES, concept_agreement, concept_means, per_concept

# By hand: row 4 has nothing found, row 5 nothing at all, row 6 nothing in common.
TRUTH = ["1010", "0100", "1100", "0001", "0000", "1000"]
FOUND = ["1000", "0110", "1100", "0000", "0000", "0111"]


def bits(rows: list[str]) -> np.ndarray:
    """Return strings of 0 and 1 as an array."""
    return np.array([[int(bit) for bit in row] for row in rows])


def golden_cases() -> list[Any]:
    """Return the cases about concepts, none where the folder is not given."""
    folder = os.environ.get("HARNESS_GOLDEN")
    file = Path(folder or ".") / "concepts_public.json"
    cases = json.loads(file.read_text(encoding="utf-8"))["cases"] if folder and file.is_file() else []
    return [case for case in cases if case["statistic"] == "concept_agreement"]


GOLDEN = golden_cases()


@pytest.mark.skipif(not GOLDEN, reason="HARNESS_GOLDEN names no folder with concepts_public.json")
def test_the_golden_cases_are_there() -> None:
    """By hand, at random, and sparse with empty images."""
    assert [case["id"] for case in GOLDEN] == ["tiny_by_hand", "random_200x14", "sparse_with_empty_60x8"]


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["id"])
def test_golden_agreement_is_reproduced(case: dict[str, Any]) -> None:
    """Means, standard deviations, counts of empty images, means without these, and pooled values."""
    found, expected = concept_agreement(bits(case["truth"]), bits(case["inferred"])), case["expected"]
    for golden, name in (("jaccard", "jaccard"), ("hamming_normalised", "hamming"), ("u_fp", "u_fp"), ("u_fn", "u_fn")):
        values = getattr(found, name)
        spread = {"mean": values.mean(), "sd_ddof0": values.std(), "sd_ddof1": values.std(ddof=1)}
        assert spread == pytest.approx(expected[golden], abs=case["tolerance"])
    assert found.none_found.sum() == expected["n_pred_empty"]
    assert found.no_truth.sum() == expected["n_truth_empty"]
    assert (found.no_truth & found.none_found).sum() == expected["n_both_empty"]
    assert found.u_fp[~found.none_found].mean() == pytest.approx(expected["u_fp_excluding_empty_predictions"], abs=1e-10)
    assert found.u_fn[~found.no_truth].mean() == pytest.approx(expected["u_fn_excluding_empty_truth"], abs=1e-10)
    assert found.pooled == pytest.approx(expected["micro"], abs=case["tolerance"])


def test_agreement_by_hand() -> None:
    """Empty against empty is a Jaccard of 1, and yet nothing was found and nothing was there to find."""
    found = concept_agreement(bits(TRUTH), bits(FOUND))

    assert found.jaccard == pytest.approx([0.5, 0.5, 1, 0, 1, 0])
    assert found.hamming == pytest.approx([0.25, 0.25, 0, 0.25, 0, 1])
    assert found.u_fp == pytest.approx([0, 0.5, 0, 1, 1, 1])
    assert found.u_fn == pytest.approx([0.5, 0, 0, 1, 1, 1])
    assert found.pooled == pytest.approx({"jaccard": 4 / 11, "hamming": 7 / 24, "u_fp": 0.5, "u_fn": 3 / 7})


def test_nothing_anywhere_has_no_pooled_value() -> None:
    """Where neither side has a concept there is nothing to divide by but the number of cells."""
    empty = np.zeros((3, 4), dtype=int)

    assert concept_agreement(empty, empty).pooled == {"jaccard": None, "hamming": 0.0, "u_fp": None, "u_fn": None}


def random_sets(n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Return concepts of images and what was found of them, some images empty."""
    rng = np.random.default_rng(5)
    truth = rng.random((n, 6)) < 0.25
    return truth, truth ^ (rng.random((n, 6)) < 0.12)


def test_jaccard_is_below_precision_and_recall() -> None:
    """In every image where they are defined, as sets demand."""
    found = concept_agreement(*random_sets())

    assert (found.jaccard <= 1 - found.u_fp + 1e-12)[~found.none_found].all()
    assert (found.jaccard <= 1 - found.u_fn + 1e-12)[~found.no_truth].all()


def test_concepts_one_by_one_agree_with_scikit_learn() -> None:
    """Jaccard, precision and recall of each concept are those of scikit-learn's columns; n says how many images each is about."""
    truth, found = random_sets()
    rows = per_concept(truth, found)

    assert [r["jaccard"].value for r in rows] == pytest.approx(metrics.jaccard_score(truth, found, average=None))
    assert [r["u_fp"].value for r in rows] == pytest.approx(1 - metrics.precision_score(truth, found, average=None))
    assert [r["u_fn"].value for r in rows] == pytest.approx(1 - metrics.recall_score(truth, found, average=None))
    assert [r["hamming"].value for r in rows] == pytest.approx((truth ^ found).mean(axis=0))
    assert [r["u_fn"].n for r in rows] == truth.sum(axis=0).tolist()
    assert [r["u_fp"].n for r in rows] == found.sum(axis=0).tolist()


def test_the_interval_of_one_concept_is_exact_binomial() -> None:
    """5 of 16 missed: Clopper and Pearson's limits are .110 and .587 (R binom.test)."""
    truth = np.repeat([[1], [0]], [16, 20], axis=0)
    found = truth * (np.arange(36) >= 5)[:, None]
    missed = per_concept(truth, found)[0]["u_fn"]

    assert missed.interval is not None
    assert (missed.value, missed.n) == (5 / 16, 16)
    assert (missed.interval.low, missed.interval.high) == pytest.approx((0.1102, 0.5866), abs=1e-4)


def test_images_of_one_patient_count_for_less() -> None:
    """Every image twice under one patient leaves the values as they are and the intervals nearly as wide as of single images."""
    truth, found = random_sets()
    twice, patients = (np.repeat(x, 2, axis=0) for x in (truth, found)), np.repeat(np.arange(80), 2)
    single, paired = concept_means(truth, found), concept_means(*twice, patients)

    for name in MEASURES:
        one, two = single[name], paired[name]
        assert one.interval is not None
        assert two.interval is not None
        assert one.value == pytest.approx(two.value)
        assert two.interval.high - two.interval.low == pytest.approx(one.interval.high - one.interval.low, rel=0.01)
        assert one.interval.low < (one.value or 0) < one.interval.high
        assert "80 patients" in two.interval.method
        assert "patients are unknown" in one.interval.method
    widths = [
        interval.high - interval.low
        for units in (None, patients)
        for interval in [per_concept(np.repeat(truth, 2, axis=0), np.repeat(found, 2, axis=0), units)[0]["hamming"].interval]
        if interval is not None
    ]
    assert widths[0] < 0.85 * widths[1]


def test_means_at_an_end_are_bounded_and_others_without_spread_are_not() -> None:
    """All sets equal: at most 1 - .025^(1/n) can differ. Every image half right: an interval would have no width, which is said."""
    truth = np.tile([[1, 1, 0]], (20, 1))
    same, half = concept_means(truth, truth), concept_means(truth, np.tile([[1, 0, 0]], (20, 1)))

    assert same["u_fn"].interval is not None
    assert same["u_fn"].interval.high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert same["jaccard"].interval is not None
    assert same["jaccard"].interval.low == pytest.approx(0.025 ** (1 / 20))
    assert (half["u_fn"].value, half["u_fn"].interval) == (0.5, None)
    assert "no width" in half["u_fn"].reason


def test_what_cannot_be_asked_has_the_reason() -> None:
    """A concept that is nowhere has no miss rate; two patients have no interval."""
    truth, found = np.array([[0, 1]] * 4), np.array([[0, 1]] * 3 + [[0, 0]])
    rows = per_concept(truth, found, np.array([1, 1, 2, 2]))

    assert rows[0]["u_fn"] == (None, None, "the concept is there in no image", 0)
    assert rows[0]["u_fp"] == (None, None, "the concept was found in no image", 0)
    assert rows[0]["jaccard"].reason == "neither side has the concept in any image"
    assert rows[1]["u_fn"].value == 0.25
    assert "at least 3" in rows[1]["u_fn"].reason
    assert "at least 3 patients, got 2" in concept_means(truth, found, np.array([1, 1, 2, 2]))["u_fn"].reason


def test_bad_input_is_refused() -> None:
    """Other shapes, no image, and answers that are not 0 or 1 are named; so is a wrong number of patients."""
    good = np.ones((3, 2), dtype=int)
    for truth, found in ((good, good[:2]), (good[0], good[0]), (good[:0], good[:0])):
        with pytest.raises(ValueError, match="of one shape"):
            concept_agreement(truth, found)
    with pytest.raises(ValueError, match="0 or 1"):
        per_concept(good, good * 2)
    with pytest.raises(ValueError, match="3 images, patients of shape"):
        concept_means(good, good, np.array([1, 2]))
