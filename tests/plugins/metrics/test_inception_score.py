"""Facts about the Inception Score and its extrapolation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from harness.api import Comparison, Context, NotComputable
from harness.testing import check
from harness_plugins.metrics.frechet import order_of
from harness_plugins.metrics.inception_score import (
    InceptionScore,
    InceptionScoreInfinity,
    log_probabilities,
    mean_information,
    split_scores,
)


def score(comparison: Comparison, seed: int = 0, **options: Any) -> float:
    """Inception Score of a comparison."""
    return InceptionScore(**options).measure(comparison, Context(seed=seed, workdir=Path()))["inception_score"]


def limit(comparison: Comparison, seed: int = 0, **options: Any) -> float:
    """Extrapolated Inception Score of a comparison."""
    return InceptionScoreInfinity(**options).measure(comparison, Context(seed=seed, workdir=Path()))["is_infinity"]


def written_out(probabilities: np.ndarray) -> float:
    """The definition: exp of the mean divergence of each row from the mean row."""
    marginal = probabilities.mean(axis=0)
    return float(np.exp(np.mean([(p * np.log(p / marginal)).sum() for p in probabilities])))


def logits(n: int, classes: int = 5, seed: int = 0, sure: float = 2.0) -> np.ndarray:
    """Outputs of a classifier that is the surer of a random class, the larger `sure`."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, classes)) + sure * np.eye(classes)[rng.integers(0, classes, n)]


@pytest.mark.parametrize("component", [InceptionScore, InceptionScore(splits=3, edges="equal"), InceptionScoreInfinity])
def test_conforms(component: Any) -> None:
    """The components keep the promises of a metric."""
    check(component)
    check(InceptionScoreInfinity(scale="log", repeats=2))


def test_golden_values(golden: Any, compare: Callable[..., Comparison]) -> None:
    """The component's mean and the splits' standard deviation are those of torch-fidelity, shuffled as there and not at all."""
    orders = {"logits": "torch-fidelity", "logits_noshuffle": "given"}

    def value(row: dict[str, Any], sets: dict[str, np.ndarray]) -> dict[str, float]:
        outputs, splits = sets["gen"], row["params"]["splits"]
        mean = score(compare(outputs, outputs), splits=splits, order=orders[row["variant"]])
        rows = np.random.RandomState(row["params"]["rng_seed"]).permutation(len(outputs)) if row["params"]["shuffle"] else slice(None)
        return {"mean": mean, "std": float(split_scores(log_probabilities(outputs[rows]), splits).std())}

    golden.check("inception_score", value)


def test_definition(compare: Callable[..., Comparison]) -> None:
    """In one split it is the definition written out, from logits and from probabilities."""
    outputs = logits(40)
    probabilities = softmax(outputs, axis=1)
    expected = written_out(probabilities)
    assert score(compare(outputs, outputs), splits=1) == pytest.approx(expected, rel=1e-12)
    assert score(compare(probabilities, probabilities), splits=1, input="probabilities") == pytest.approx(expected, rel=1e-12)
    assert score(compare(outputs + 1e4, outputs + 1e4), splits=1) == pytest.approx(expected, rel=1e-9)


def test_edges_of_splits(compare: Callable[..., Comparison]) -> None:
    """Even splits use all 43 images, equal ones leave three out; the score is the mean over the splits."""
    outputs = logits(43)
    probabilities = softmax(outputs, axis=1)
    even = [written_out(probabilities[i * 43 // 4 : (i + 1) * 43 // 4]) for i in range(4)]
    equal = [written_out(probabilities[i * 10 : (i + 1) * 10]) for i in range(4)]
    comparison = compare(outputs, outputs)
    assert split_scores(log_probabilities(outputs), 4, "even") == pytest.approx(even, rel=1e-12)
    assert score(comparison, splits=4, order="given") == pytest.approx(np.mean(even), rel=1e-12)
    assert score(comparison, splits=4, order="given", edges="equal") == pytest.approx(np.mean(equal), rel=1e-12)


def test_range() -> None:
    """Certain and evenly spread classes score their number, one class or no idea scores 1, also with probabilities of zero."""
    certain = np.repeat(np.eye(6), 4, axis=0)
    assert np.exp(mean_information(log_probabilities(certain, "probabilities"))) == pytest.approx(6.0, rel=1e-12)
    assert np.exp(mean_information(log_probabilities(certain * 1e5))) == pytest.approx(6.0, rel=1e-12)
    assert mean_information(log_probabilities(certain[:4], "probabilities")) == 0.0
    assert mean_information(log_probabilities(np.zeros((9, 6)))) == pytest.approx(0.0, abs=1e-15)


def test_deterministic_and_indifferent_to_order(compare: Callable[..., Comparison]) -> None:
    """Repeats agree exactly, another order of the rows to rounding; splits and subsets follow the seed."""
    outputs = logits(90)
    here, moved = compare(outputs, outputs), compare(outputs, outputs[::-1])
    for value in (score, limit):
        assert value(here) == value(here)
        assert value(moved) == pytest.approx(value(here), rel=1e-12)
        assert value(here, seed=1) != value(here)
    shuffled = np.random.default_rng(1).permutation(outputs)
    assert score(compare(outputs, shuffled), order="given") != pytest.approx(score(here, order="given"), rel=1e-6)
    assert score(here, order="torch-fidelity") == score(here, seed=1, order="torch-fidelity")


def test_note_carries_the_spread(compare: Callable[..., Comparison]) -> None:
    """The standard deviation over the splits, which papers print, stands beside the value."""
    outputs, context = logits(40), Context(seed=0, workdir=Path())
    InceptionScore(splits=4, order="given").measure(compare(outputs, outputs), context)
    spread = split_scores(log_probabilities(outputs), 4).std()
    assert context.notes["inception_score"] == f"mean of 4 splits, standard deviation {spread:.4g}"


def test_falls_with_doubt_and_lost_classes(compare: Callable[..., Comparison]) -> None:
    """A less sure classifier and lost classes each lower both scores."""
    outputs = logits(600, sure=4.0)
    lost = outputs[outputs.argmax(axis=1) < 2]
    for value in (score, limit):
        base = value(compare(outputs, outputs))
        assert value(compare(outputs, logits(600, sure=1.0))) < base
        assert value(compare(outputs, lost)) < base


def test_extrapolation(compare: Callable[..., Comparison]) -> None:
    """The limit is the least-squares intercept over 1 / n of the score, or of its logarithm, over seeded draws of the sorted rows."""
    outputs = logits(200, classes=20, sure=3.0)
    rng, sizes = np.random.default_rng(3), np.linspace(20, 200, 6).astype(int)
    probabilities = softmax(outputs[order_of(outputs)], axis=1)
    scores = np.array([written_out(probabilities[rng.choice(200, size, replace=False)]) for size in sizes])
    assert limit(compare(outputs, outputs), 3, points=6) == pytest.approx(np.polyfit(1 / sizes, scores, 1)[1], rel=1e-9)
    logarithmic = np.exp(np.polyfit(1 / sizes, np.log(scores), 1)[1])
    assert limit(compare(outputs, outputs), 3, points=6, scale="log") == pytest.approx(logarithmic, rel=1e-9)


def test_extrapolation_removes_the_bias(compare: Callable[..., Comparison]) -> None:
    """The limit from few images comes nearer to the score of very many than the score of the few; repeats steady it."""
    outputs = logits(200, classes=20, sure=3.0)
    comparison, at_hand = compare(outputs, outputs), score(compare(outputs, outputs), splits=1)
    many = np.exp(mean_information(log_probabilities(logits(40_000, classes=20, seed=1, sure=3.0))))
    for scale in ("score", "log"):
        value = limit(comparison, scale=scale, smallest=60, repeats=5)
        assert at_hand < value
        assert abs(value - many) < abs(at_hand - many)
    spread = [np.std([limit(comparison, seed, repeats=r) for seed in range(12)]) for r in (1, 8)]
    assert spread[1] < spread[0]


def test_bad_input(compare: Callable[..., Comparison]) -> None:
    """Splits of one image, an empty set, one class and rows that are no probabilities are said in words; real sides may be empty."""
    outputs = logits(30)
    with pytest.raises(NotComputable, match="10 splits need 20 images, since one image alone scores 1, got 19"):
        score(compare(outputs, outputs[:19]))
    with pytest.raises(NotComputable, match="got 0"):
        score(compare(outputs, outputs[:0]), splits=1)
    for n in (0, 1, 2):
        with pytest.raises(NotComputable, match=f"more than 2 images, got {n}"):
            limit(compare(outputs, outputs[:n]))
    for value in (score, limit):
        with pytest.raises(NotComputable, match="2 classes or more, got 1 column"):
            value(compare(outputs[:, :1], outputs[:, :1]))
        with pytest.raises(NotComputable, match=r"30 of 30 rows are no probabilities that sum to 1: are they logits\?"):
            value(compare(outputs, outputs), input="probabilities")
        assert value(compare(outputs[:0], outputs)) == value(compare(outputs, outputs))
    constant = np.full((30, 4), 0.3)
    assert score(compare(constant, constant)) == pytest.approx(1.0)
    assert limit(compare(constant, constant)) == pytest.approx(1.0)
