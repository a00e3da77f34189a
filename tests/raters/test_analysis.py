"""The tables of a published reader study come out of the ratings of one scale, each number with its denominator."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from harness.readerspec import ScaleSpec
from harness.records import ReliabilityRow
from said import Found, found, letters, said

DIAGNOSIS = ScaleSpec(name="diagnosis", categories=("normal", "benign", "malignant"), truth="label")
WORDS = {"n": "normal", "b": "benign", "m": "malignant"}
# 41 images and 3 readers; not the study's data, which were not published, but a table that rounds to every number of Table 2 of
# Alblwi et al. 2025 and to all recalls of Table 3, found by constraint solving.
READERS = (
    "bbbbbbbbbbbbbmnbbbmmmmmmmmmmmmmbbbnnbbmmm",
    "bbbbbbbbbbmmmmmbmmbbbmmmmmmmmmmbnnbnmmmmm",
    "bbbbbbbbbmbbbnmmbmbmmbbmmmmmmmmmbbbnbmmmm",
)
TRUTH = "bbbbbbbbbbbbbbbmmmmmmmmmmmmmmmmbbbbbmmmmm"
GENERATED = 31


@pytest.fixture(scope="module")
def study() -> Found:
    """The study, analysed."""
    rows = [row for k, words in enumerate(READERS, 1) for row in said(DIAGNOSIS, f"R{k}", letters(words, **WORDS))]
    return found(DIAGNOSIS, rows, facts())


def facts() -> Mapping[str, Mapping[str, str]]:
    """Return origin and truth of the 41 images."""
    return {
        f"i{k:02d}": {"truth": WORDS[letter], "label": str("nbm".index(letter)), "origin": "synthetic" if k < GENERATED else "real"}
        for k, letter in enumerate(TRUTH)
    }


TABLE_2 = {
    "all": (0.6748, 0.418, 0.421, 0.423),
    "real": (0.60, 0.373, 0.391, 0.394),
    "synthetic": (0.6989, 0.422, 0.423, 0.428),
    "label=1": (0.6667, 0.253, 0.271, 0.265),
    "label=2": (0.6825, 0.082, 0.080, 0.096),
}


@pytest.mark.parametrize("items", TABLE_2)
def test_agreement_is_that_of_table_2(study: Found, items: str) -> None:
    """Percent agreement, Fleiss' kappa, mean pairwise Cohen's kappa and alpha round to the printed numbers, each with an interval."""
    names = ("percent_agreement", "fleiss_kappa", "mean_cohen_kappa", "krippendorff_alpha")
    rows = [study.one("agreement", name, items=items) for name in names]
    assert [round(row.value or 0.0, 4 if k == 0 else 3) for k, row in enumerate(rows)] == pytest.approx(TABLE_2[items], abs=1e-9)
    assert all(row.ci_low is not None and row.ci_low < (row.value or 0) < (row.ci_high or 0) for row in rows)
    assert {row.n_items for row in rows} == {{"all": 41, "real": 10, "synthetic": 31, "label=1": 20, "label=2": 21}[items]}


TABLE_3 = {"R1": (0.78, 0.60, 0.84), "R2": (0.71, 0.70, 0.71), "R3": (0.756, 0.70, 0.77), "majority": (0.83, 0.80, 0.84)}


@pytest.mark.parametrize("rater", TABLE_3)
def test_correctness_is_that_of_table_3(study: Found, rater: str) -> None:
    """Recall of each reader and of the majority is the printed one (.756 is printed .75) and equals accuracy, with exact intervals."""
    rows = [study.one("correctness", "recall", rater, items) for items in ("all", "real", "synthetic")]
    assert [row.value for row in rows] == pytest.approx(TABLE_3[rater], abs=0.0051)
    assert all("exact binomial" in row.ci_method for row in rows)
    assert [row.value for row in rows] == [study.value("correctness", "accuracy", rater, items) for items in ("all", "real", "synthetic")]


def test_f1_of_the_first_reader_is_the_printed_one(study: Found) -> None:
    """F1 weighted by how often each class is the truth: .81 on all, .68 on original and .85 on generated images."""
    values = [study.value("correctness", "f1", "R1", items) for items in ("all", "real", "synthetic")]
    assert [round(v or 0.0, 2) for v in values] == [0.81, 0.68, 0.85]


def test_generated_and_original_images_are_not_told_apart_by_agreement(study: Found) -> None:
    """The difference of .422 and .373 has an interval that reaches far to both sides of 0."""
    row = study.one("difference", "fleiss_kappa", items="synthetic - real")
    assert row.value == pytest.approx(0.4218 - 0.3728, abs=2e-4)
    assert (row.ci_low or 0) < -0.2 < 0.2 < (row.ci_high or 0)


def test_accuracy_on_generated_images_is_compared_with_readers_and_cases_random(study: Found) -> None:
    """The published difference of accuracies is .1075 with a standard error of .09, far from decided."""
    row = study.one("mrmc", "accuracy_difference", items="synthetic - real")
    assert row.value == pytest.approx(0.10752688172043)
    assert (row.ci_low or 0) < 0 < (row.ci_high or 0)
    assert "U-statistics" in row.note


def test_words_carry_the_name_of_their_scale(study: Found) -> None:
    """The same data are weak to McHugh and to be discarded to Krippendorff."""
    assert study.one("agreement", "fleiss_kappa").scale_words == "Weak (McHugh 2012)"
    assert study.one("agreement", "krippendorff_alpha").scale_words == "Discard (Krippendorff 2004)"


def test_within_a_class_of_the_truth_the_reader_is_warned(study: Found) -> None:
    """Kappa lacks variation within one class, so the rows say that AC1 is to be read beside it."""
    assert "AC1" in study.one("agreement", "fleiss_kappa", items="label=2").note
    assert study.value("agreement", "gwet_ac1", items="label=2") == pytest.approx(0.616, abs=1e-3)


def test_each_item_has_a_majority_and_a_consensus(study: Found) -> None:
    """Two rows for each of 41 items; the majority is the answer of two of three readers."""
    assert len(study.consensus) == 82
    first = next(row for row in study.consensus if row.item == "i09" and row.method == "majority")
    assert (first.category, first.status, first.share, first.n_raters) == ("benign", "majority", pytest.approx(2 / 3), 3)


def test_every_row_can_be_stored(study: Found) -> None:
    """A value has a status ok and no reason; anything else a reason and no value; bounds lie around the value."""
    for row in study.rows:
        if isinstance(row, ReliabilityRow) and row.value is not None and row.bound_low is not None:
            assert row.bound_low <= row.value <= (row.bound_high or 0), row


def test_the_same_seed_gives_the_same_rows_in_any_order(study: Found) -> None:
    """Neither the order of ratings nor that of items enters."""
    rows = [row for k, words in enumerate(READERS, 1) for row in said(DIAGNOSIS, f"R{k}", letters(words, **WORDS))]
    assert found(DIAGNOSIS, rows[::-1], dict(reversed(facts().items()))).rows == study.rows
