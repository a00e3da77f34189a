"""Majority votes and answers against truth."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from harness.statistics.votes import Scores, classification, majority_vote


def test_ties_are_left_open() -> None:
    """A tie has no winner, whatever the order of raters; missing ratings do not vote."""
    vote = majority_vote(np.array([[0, 1, 1], [0, 1, 2], [-1, 2, -1], [-1, -1, -1], [0, 1, -1]]), 3)

    assert vote.codes.tolist() == [1, -1, 2, -1, -1]
    assert vote.status == ("majority", "tie", "majority", "no_ratings", "tie")


def test_plurality_is_not_called_majority() -> None:
    """Two of four votes win when nobody else has two, and are called a plurality."""
    assert majority_vote(np.array([[0, 0, 1, 2]]), 3).status == ("plurality",)


def test_unanswered_items_count_as_wrong() -> None:
    """An answer that is missing or tied stays in the denominator."""
    found = classification(np.array([0, 0, 1, 1]), np.array([0, -1, 1, -1]), 2)

    assert found.accuracy == 0.5
    assert found.per_category[0] == found.micro == Scores(precision=1.0, recall=0.5, f1=2 / 3)
    assert found.n_unanswered == 2


def test_scores_agree_with_scikit_learn() -> None:
    """Macro, weighted and micro averages agree with scikit-learn over declared labels with zero_division 0."""
    rng = np.random.default_rng(2)
    truth, answers = rng.integers(0, 3, 50), rng.integers(0, 4, 50)
    found = classification(truth, answers, 5)

    for name, scores in (("macro", found.macro), ("weighted", found.weighted), ("micro", found.micro)):
        expected = precision_recall_fscore_support(truth, answers, labels=range(5), average=name, zero_division=0)[:3]
        assert tuple(scores) == pytest.approx(expected, abs=1e-12)
    assert found.accuracy == accuracy_score(truth, answers)


def test_missing_truth_is_refused() -> None:
    """Without the truth of every item there is no accuracy."""
    with pytest.raises(ValueError, match="needs its truth"):
        classification(np.array([0, -1]), np.array([0, 0]), 2)
