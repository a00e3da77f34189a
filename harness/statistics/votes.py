"""What the raters say together, and how right an answer is: majority vote; accuracy, precision, recall and F1 against truth.

Codes as in `agreement`: positions in the declared categories, -1 where there is no answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .agreement import MISSING


@dataclass(frozen=True)
class MajorityVote:
    """codes: the winning category of each item, -1 where there is none; status: majority, plurality, tie or no_ratings."""

    codes: np.ndarray
    status: tuple[str, ...]


def majority_vote(codes: np.ndarray, categories: int) -> MajorityVote:
    """Return the plurality of the available ratings of each item; a tie is left open, never broken."""
    winners, status = [], []
    for row in codes:
        counts = np.bincount(row[row >= 0], minlength=categories)
        top = int(counts.max(initial=0))
        tied = top > 0 and int((counts == top).sum()) > 1
        winners.append(MISSING if top == 0 or tied else int(counts.argmax()))
        word = "majority" if 2 * top > counts.sum() else "plurality"
        status.append("no_ratings" if top == 0 else "tie" if tied else word)
    return MajorityVote(np.array(winners, dtype=np.int64), tuple(status))


class Scores(NamedTuple):
    """Precision, recall and F1; 0 where the denominator is 0."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Classification:
    """Answers against truth; an item with no answer (missing, or a tie) counts as a wrong answer and is never dropped."""

    accuracy: float
    per_category: tuple[Scores, ...]
    macro: Scores
    macro_truth_only: Scores
    weighted: Scores
    micro: Scores
    n: int
    n_unanswered: int


def classification(truth: np.ndarray, answers: np.ndarray, categories: int) -> Classification:
    """Return accuracy, precision, recall and F1 of answers (codes, -1 = none) over all declared categories."""
    truth, answers = np.asarray(truth, dtype=np.int64), np.asarray(answers, dtype=np.int64)
    if len(truth) == 0 or (truth < 0).any() or truth.shape != answers.shape:
        raise ValueError("every item needs its truth, and there must be one answer (or -1) per item")
    support, given = np.bincount(truth, minlength=categories), np.bincount(answers[answers >= 0], minlength=categories)
    right = np.bincount(truth[truth == answers], minlength=categories)

    def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(np.divide(a, b, out=np.zeros(np.shape(a)), where=np.asarray(b) > 0))

    table = np.stack([ratio(right, given), ratio(right, support), ratio(2 * right, given + support)], axis=1)
    hit, asked, answered = right.sum(keepdims=True), support.sum(keepdims=True), given.sum(keepdims=True)
    micro = (ratio(hit, answered), ratio(hit, asked), ratio(2 * hit, answered + asked))
    return Classification(
        accuracy=float(hit[0] / len(truth)),
        per_category=tuple(_scores(row) for row in table),
        macro=_scores(table.mean(axis=0)),
        macro_truth_only=_scores(table[support > 0].mean(axis=0)),
        weighted=_scores(support @ table / len(truth)),
        micro=_scores(np.concatenate(micro)),
        n=len(truth),
        n_unanswered=int((answers < 0).sum()),
    )


def _scores(row: np.ndarray) -> Scores:
    return Scores(*(float(x) for x in row))
