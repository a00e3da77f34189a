"""What the raters say together, and how right an answer is: majority vote, Dawid-Skene consensus, scores against truth.

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


FLOOR = 1e-10
_MOST_STEPS, _STEADY, _CLOSE = 5000, 1e-9, 1e-6
_IDENTIFIED = 3


@dataclass(frozen=True)
class Consensus:
    """What the model of Dawid and Skene makes of the ratings.

    posterior: (items, categories) float64, chance of each true category given the ratings; of an item without ratings it is the
    prevalence. confusion: (raters, categories, categories) float64, chance of the answer (last axis) given the truth; rows sum to 1, those
    of a rater without ratings are even. prevalence: (categories,). codes: (items,) the likeliest category, -1 where there is none.
    status: of each item consensus, tie, unsupported or no_ratings. note: what must be said beside it.
    """

    posterior: np.ndarray
    confusion: np.ndarray
    prevalence: np.ndarray
    codes: np.ndarray
    status: tuple[str, ...]
    converged: bool
    steps: int
    note: str = ""


def dawid_skene(codes: np.ndarray, categories: int) -> Consensus:
    """Return the consensus of raters whose errors differ (Dawid & Skene 1979, Appl. Stat. 28:20), by expectation maximisation.

    codes: (items, raters), -1 where missing. It starts from the shares of the votes and draws nothing, so that it always gives the
    same; it stops where no posterior moves by 1e-9 any more, or after 5,000 steps, which is said. Expected counts have a floor of
    1e-10, so that nothing is impossible, but what nobody ever answered is no true category. The maximum is the one that the votes lead
    to, not always the highest. A likeliest category that no rater of the item chose is no consensus on it (status unsupported): where
    raters hardly agree the model may rename its classes. Without any rating prevalence and confusion are even. ValueError where a code is
    none of the categories.
    """
    codes = np.asarray(codes)
    if codes.ndim != 2 or (codes >= categories).any() or (codes < MISSING).any():
        raise ValueError(f"a consensus needs codes (items, raters) from -1 to {categories - 1}, got an array of shape {codes.shape}")
    given = (codes[:, :, None] == np.arange(categories)).astype(np.float64)
    rated = given.any(axis=(1, 2))
    if not rated.any():
        even = np.full((codes.shape[1], categories, categories), 1 / categories)
        chance = np.full((len(codes), categories), 1 / categories)
        none = np.full(len(codes), MISSING, dtype=np.int64)
        return Consensus(chance, even, np.full(categories, 1 / categories), none,
                         ("no_ratings",) * len(codes), converged=True, steps=0, note="no item has a rating")  # fmt: skip
    answers, possible = given[rated], given.any(axis=(0, 1))
    votes = answers.sum(axis=1)
    posterior, moved, steps = votes / votes.sum(axis=1, keepdims=True), np.inf, 0
    while moved > _STEADY and steps < _MOST_STEPS:
        prevalence, confusion = _maximise(answers, posterior)
        renewed = _expect(answers, prevalence, confusion, possible)
        moved, posterior, steps = float(np.abs(renewed - posterior).max()), renewed, steps + 1
    prevalence, confusion = _maximise(answers, posterior)
    whole = np.tile(prevalence, (len(codes), 1))
    whole[rated] = posterior
    winners, status = _winners(whole, given)
    raters = int(given.any(axis=(0, 2)).sum())
    notes = [
        "" if moved <= _STEADY else f"not converged after {steps} steps",
        "" if raters >= _IDENTIFIED else f"with {raters} raters their errors cannot be told apart from the truth",
    ]
    return Consensus(whole, confusion, prevalence, winners, status, moved <= _STEADY, steps, "; ".join(n for n in notes if n))


def _maximise(answers: np.ndarray, posterior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return prevalence and confusion, (raters, truth, answer), that are likeliest given the posterior of the items."""
    confusion = np.maximum(np.einsum("ik,irl->rkl", posterior, answers), FLOOR)
    return posterior.mean(axis=0), confusion / confusion.sum(axis=2, keepdims=True)


def _expect(answers: np.ndarray, prevalence: np.ndarray, confusion: np.ndarray, possible: np.ndarray) -> np.ndarray:
    """Return the posterior of the items given prevalence and confusion; 0 for categories that are not possible."""
    chance = np.log(np.maximum(prevalence, FLOOR)) + np.einsum("irl,rkl->ik", answers, np.log(confusion))
    chance = np.where(possible, chance, -np.inf)
    posterior = np.exp(chance - chance.max(axis=1, keepdims=True))
    return np.asarray(posterior / posterior.sum(axis=1, keepdims=True))


def _winners(posterior: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the likeliest category of each rated item, -1 where two are as likely or no rater of the item chose it, and the status."""
    rated, chosen = np.asarray(given.any(axis=(1, 2))), np.asarray(given.any(axis=1))
    likeliest = posterior.argmax(axis=1)
    tied = np.asarray((posterior >= posterior.max(axis=1, keepdims=True) - _CLOSE).sum(axis=1) > 1)
    supported = np.asarray(chosen[np.arange(len(posterior)), likeliest])
    codes = np.where(rated & ~tied & supported, likeliest, MISSING)
    words = (
        "no_ratings" if not there else "tie" if tie else "consensus" if held else "unsupported"
        for there, tie, held in zip(rated, tied, supported, strict=True)
    )
    return codes.astype(np.int64), tuple(words)


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
