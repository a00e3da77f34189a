"""Shares, means, planted faults and right answers are counted by hand here."""

from __future__ import annotations

import numpy as np
import pytest

from harness.raters.answering import SCORES, _weighted, _weighted_of_many
from harness.readerspec import ScaleSpec
from said import found, letters, said

REALISM = ScaleSpec(name="realism", level="ordinal", categories=("1", "2", "3", "4", "5"), alarm=("1", "2"))
CLASS = ScaleSpec(name="class", categories=("a", "b"), truth="label")
NUMBERS = {str(k): str(k) for k in range(1, 6)}


def test_shares_and_means_are_counted_by_rater_and_part() -> None:
    """Of four images R1 gives two a 5; the mean rank of the two synthetic ones is 3."""
    facts = {f"i{k:02d}": {"origin": "real" if k < 2 else "synthetic"} for k in range(4)}
    rows = [*said(REALISM, "R1", letters("5515", **NUMBERS)), *said(REALISM, "R2", letters("4415", **NUMBERS))]
    result = found(REALISM, rows, facts)
    assert result.value("share", "share", "R1", category="5") == pytest.approx(0.75)
    assert result.value("share", "share", "experts", "synthetic", category="1") == pytest.approx(0.5)
    assert result.value("mean", "mean", "R1", "synthetic") == pytest.approx(3.0)
    assert result.value("mean", "mean", "experts", "real") == pytest.approx(4.5)
    assert result.one("share", "share", "experts", "synthetic", category="1").trials == 4


def test_planted_faults_measure_attention_and_nothing_else() -> None:
    """Two of three planted faults were noticed and one of four clean images was suspected; no other number counts the planted ones."""
    facts = {f"i{k:02d}": {"origin": "real", **({"planted": "blur"} if k >= 4 else {})} for k in range(7)}
    result = found(
        REALISM, [*said(REALISM, "R1", letters("5552125", **NUMBERS)), *said(REALISM, "R2", letters("5555555", **NUMBERS))], facts
    )
    assert result.value("attention", "sensitivity", "R1", "planted") == pytest.approx(2 / 3)
    assert result.value("attention", "false_alarm_rate", "R1", "real") == pytest.approx(0.25)
    assert result.value("attention", "sensitivity", "experts", "planted") == pytest.approx(1 / 3)
    assert {row.n_items for row in result.all(analysis="share", raters="R1", items="all")} == {4}


def test_no_answer_and_a_tie_are_wrong_answers() -> None:
    """R1 leaves one of four images out, and the majority is tied on two: both count as wrong."""
    facts = {f"i{k:02d}": {"truth": "a"} for k in range(4)}
    rows = [*said(CLASS, "R1", {"i00": "a", "i01": "a", "i02": "a", "i03": None}), *said(CLASS, "R2", letters("abba", a="a", b="b"))]
    result = found(CLASS, rows, facts)
    assert result.value("correctness", "accuracy", "R1") == pytest.approx(0.75)
    assert "1 of 4 items without an answer" in result.one("correctness", "accuracy", "R1").note
    assert result.value("correctness", "accuracy", "majority") == pytest.approx(0.5)


def test_a_share_of_patients_is_wider_than_one_of_as_many_images() -> None:
    """Forty images of eight patients, each patient answered alike, say as much as eight images."""
    answers = {f"i{k:02d}": "a" if k // 5 in (0, 1, 2, 3, 4, 5) else "b" for k in range(40)}
    known = {item: {"patient": f"p{int(item[1:]) // 5}"} for item in answers}
    rows = [*said(CLASS, "R1", answers), *said(CLASS, "R2", answers)]
    apart, together = (found(CLASS, rows, facts).one("share", "share", "R1", category="a") for facts in ({}, known))
    assert apart.value == together.value == pytest.approx(0.75)
    widths = [(row.ci_high or 0) - (row.ci_low or 0) for row in (apart, together)]
    assert widths[1] > 1.8 * widths[0]


def test_an_unusable_answer_is_counted_nowhere_and_lost_nowhere() -> None:
    """A word that is not on the scale has a status and a reason, and the share is of the answers that can be used."""
    rows = said(CLASS, "R1", {"i00": "a", "i01": "perhaps", "i02": "b"})
    assert [(row.status, row.reason) for row in rows][1] == ("unusable", "'perhaps' is not among the declared categories")
    row = found(CLASS, rows).one("share", "share", "R1", category="a")
    assert (row.value, row.trials) == (0.5, 2)


def test_groups_of_two_levels_are_compared_within_each_class() -> None:
    """Plausible before and after a change of the model: 1 of 4 against 3 of 4, by class too, and their difference."""
    scale = ScaleSpec(name="plausible", categories=("yes", "no"))
    answers = letters("nnnyynyyy"[:8], y="yes", n="no")
    facts = {item: {"model": "1" if k < 4 else "2", "label": str(k % 2)} for k, item in enumerate(answers)}
    result = found(scale, [*said(scale, "R1", answers), *said(scale, "R2", answers)], facts)
    assert result.value("share", "share", "R1", "model=1", "yes") == pytest.approx(0.25)
    assert result.value("share", "share", "R1", "model=2, label=0", "yes") == pytest.approx(1.0)
    assert result.value("difference", "share", "experts", "model=2 - model=1", "yes") == pytest.approx(0.5)


@pytest.mark.parametrize("name", SCORES)
def test_scores_of_many_resamples_are_those_of_each(name: str) -> None:
    """The fast form gives what scoring each resample gives, missing answers and absent classes included."""
    rng = np.random.default_rng(4)
    table = np.column_stack([rng.choice(3, 14, p=[0.7, 0.2, 0.1]), rng.integers(-1, 3, 14)])
    rows = rng.integers(0, 14, (200, 14))
    many = _weighted_of_many(3, name, table)(np.stack([np.bincount(row, minlength=14) for row in rows]))
    assert many == pytest.approx([_weighted(table[row], 3, name).value for row in rows])


def test_raters_who_never_differ_have_a_lower_bound() -> None:
    """Three readers alike on 24 images: alpha is 1, its lower end that of as many disagreements as 24 images without one allow."""
    answers = letters("ab" * 12, a="a", b="b")
    row = found(CLASS, [row for r in "xyz" for row in said(CLASS, r, answers)]).one("agreement", "krippendorff_alpha")
    assert (row.value, row.ci_high) == (1.0, 1.0)
    assert 0.6 < (row.ci_low or 0) < (row.bound_low or 0) < 0.95
    assert "no disagreement" in row.ci_method


def test_a_tie_on_every_image_is_an_accuracy_of_nought() -> None:
    """Two readers who never agree have no majority, and none that is right."""
    facts = {f"i{k:02d}": {"truth": "a", "origin": "synthetic"} for k in range(4)}
    rows = said(CLASS, "R1", letters("abab", a="a", b="b")) + said(CLASS, "R2", letters("baba", a="a", b="b"))
    assert found(CLASS, rows, facts).value("correctness", "accuracy", "majority", "synthetic") == 0.0


def test_within_one_class_there_is_accuracy_alone() -> None:
    """Of one class every answer of it is precise, so precision and F1 would say nothing."""
    facts = {f"i{k:02d}": {"truth": "ab"[k % 2], "label": str(k % 2), "origin": "synthetic"} for k in range(6)}
    result = found(CLASS, said(CLASS, "R1", letters("aaaaab", a="a", b="b")), facts)
    assert result.value("correctness", "accuracy", "R1", "synthetic, label=0") == 1.0
    assert result.value("correctness", "accuracy", "R1", "synthetic, label=1") == pytest.approx(1 / 3)
    assert not result.all(analysis="correctness", statistic="f1", items="synthetic, label=0")
    assert result.all(analysis="correctness", statistic="f1", items="synthetic")
