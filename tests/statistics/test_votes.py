"""Majority votes and answers against truth."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from harness.statistics.agreement import MISSING
from harness.statistics.votes import Scores, classification, dawid_skene, majority_vote

# Answers of four raters on twenty items, drawn with numpy default_rng(31), "." where one is missing.
ANSWERS = ["2211", "00.2", "111.", "0002", ".112", "0000", "0020", "0001", "2022", "0000",
           "..11", "2222", "111.", "0001", "0000", ".200", "0021", "0000", "2.00", "2221"]  # fmt: skip
CODES = np.array([[-1 if answer == "." else int(answer) for answer in row] for row in ANSWERS])
# crowd-kit 1.4.2, DawidSkene(n_iter=1500, tol=-1e9) on ANSWERS: the items whose posterior is not 0 or 1, prevalence, and the confusion
# of each rater (true category, answer).
CROWD_KIT = {8: [0.111135, 0, 0.888865], 10: [0, 0.66463, 0.33537], 11: [0.003689, 0, 0.996311], 19: [0.004236, 0, 0.995764]}
CROWD_KIT_WINNERS = [2, 0, 1, 0, 1, 0, 0, 0, 2, 0, 1, 2, 1, 0, 0, 0, 0, 0, 0, 2]
CROWD_KIT_PREVALENCE = [0.605953, 0.183232, 0.210816]
CROWD_KIT_CONFUSION = [
    [[0.8993567, 0, 0.1006433], [0, 1, 0], [0, 0, 1]],
    [[0.9093516, 0, 0.09064836], [0, 1, 0], [0.2290335, 0, 0.7709665]],
    [[0.8094210, 0, 0.1905790], [0, 1, 0], [0, 0.3167152, 0.6832848]],
    [[0.5776026, 0.2478935, 0.1745039], [0, 0.3992660, 0.6007340], [0, 0.5528848, 0.4471152]],
]


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


def test_consensus_agrees_with_crowd_kit() -> None:
    """Posterior, prevalence and confusion are those of crowd-kit with missing ratings, to the digits that it prints."""
    found = dawid_skene(CODES, 3)

    assert found.converged
    assert found.codes.tolist() == CROWD_KIT_WINNERS
    for item, row in enumerate(found.posterior):
        assert row == pytest.approx(CROWD_KIT.get(item, np.eye(3)[CROWD_KIT_WINNERS[item]]), abs=1e-6)
    assert found.prevalence == pytest.approx(CROWD_KIT_PREVALENCE, abs=1e-6)
    assert found.confusion == pytest.approx(np.array(CROWD_KIT_CONFUSION), abs=1e-6)
    assert found.confusion.sum(axis=2) == pytest.approx(np.ones((4, 3)))


def test_consensus_breaks_a_tie_that_the_majority_leaves_open() -> None:
    """Two against two is a tie of votes; the raters who are right more often decide it."""
    vote = majority_vote(CODES[:1], 3)

    assert vote.status == ("tie",)
    assert dawid_skene(CODES, 3).codes[0] == 2


def test_consensus_is_always_the_same() -> None:
    """It draws nothing: twice the same, and the order of items does not matter."""
    first, again, turned = dawid_skene(CODES, 3), dawid_skene(CODES, 3), dawid_skene(CODES[::-1], 3)

    assert (first.posterior == again.posterior).all()
    assert turned.posterior[::-1] == pytest.approx(first.posterior, abs=1e-7)


def test_consensus_never_lowers_the_likelihood_of_what_the_votes_say() -> None:
    """The likelihood of the answers is at least that of the shares and confusion which the votes alone give."""
    found, seen = dawid_skene(CODES, 3), CODES >= 0
    given = (CODES[:, :, None] == np.arange(3)).astype(float)
    votes = given.sum(axis=1) / seen.sum(axis=1, keepdims=True)
    start = np.maximum(np.einsum("ik,irl->rkl", votes, given), 1e-10)

    def likelihood(prevalence: np.ndarray, confusion: np.ndarray) -> float:
        chance = prevalence * np.exp(np.einsum("irl,rkl->ik", given, np.log(confusion)))
        return float(np.log(chance.sum(axis=1)).sum())

    assert likelihood(found.prevalence, found.confusion) > likelihood(votes.mean(axis=0), start / start.sum(axis=2, keepdims=True)) + 1


def test_consensus_finds_raters_of_known_skill() -> None:
    """Of 1,500 simulated items, confusion and prevalence come back, and the consensus is right more often than the majority."""
    rng = np.random.default_rng(8)
    truth, skill = rng.choice(2, 1500, p=[0.7, 0.3]), np.array([0.95, 0.75, 0.65, 0.8, 0.7])
    codes = np.where(rng.random((1500, 5)) < skill, truth[:, None], 1 - truth[:, None])
    found = dawid_skene(codes, 2)

    assert found.prevalence == pytest.approx([0.7, 0.3], abs=0.05)
    assert found.confusion[:, [0, 1], [0, 1]] == pytest.approx(np.repeat(skill[:, None], 2, axis=1), abs=0.06)
    assert (found.codes == truth).mean() > (majority_vote(codes, 2).codes == truth).mean() + 0.03


def test_items_and_raters_without_ratings_are_said() -> None:
    """An unrated item has the prevalence and no winner; a rater without ratings has an even confusion and changes nothing."""
    blank = np.pad(CODES, ((0, 1), (0, 1)), constant_values=-1)
    found, without = dawid_skene(blank, 3), dawid_skene(CODES, 3)

    assert (found.codes[-1], found.status[-1]) == (-1, "no_ratings")
    assert found.posterior[-1] == pytest.approx(found.prevalence)
    assert found.confusion[-1] == pytest.approx(np.full((3, 3), 1 / 3))
    assert found.posterior[:-1] == pytest.approx(without.posterior)
    assert set(found.status[:-1]) == {"consensus"}


def test_what_consensus_cannot_tell_is_said() -> None:
    """Two raters who always disagree leave ties and a note; so does a table without any rating."""
    two, none = dawid_skene(np.array([[0, 1], [1, 0]] * 5), 2), dawid_skene(np.full((3, 2), -1), 2)

    assert set(two.status) == {"tie"}
    assert set(two.codes) == {-1}
    assert two.note == "with 2 raters their errors cannot be told apart from the truth"
    assert (none.note, none.status, none.converged) == ("no item has a rating", ("no_ratings",) * 3, True)
    assert none.posterior.tolist() == [[0.5, 0.5]] * 3


@pytest.mark.parametrize("codes", [np.array([[0, 3]]), np.array([[0, -2]]), np.array([0, 1])])
def test_codes_outside_the_categories_are_refused(codes: np.ndarray) -> None:
    """A code that stands for nothing, or a table of another shape, is an error."""
    with pytest.raises(ValueError, match="from -1 to 2"):
        dawid_skene(codes, 3)


def test_what_nobody_answered_is_no_consensus() -> None:
    """Of five categories two were never answered: no item is one of them, nor is it what no reader of the item chose."""
    rng = np.random.default_rng(5)
    codes = rng.integers(2, 5, (100, 3))
    found = dawid_skene(codes, 5)
    assert (found.posterior[:, :2] == 0).all()
    unsupported = np.array([status == "unsupported" for status in found.status])
    assert unsupported.any()
    assert (found.codes[unsupported] == MISSING).all()
    kept = found.codes >= 0
    assert all(code in row for code, row in zip(found.codes[kept], codes[kept], strict=True))
