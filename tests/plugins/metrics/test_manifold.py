"""Facts about precision, recall, density and coverage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Comparison, Context, NotComputable
from harness_plugins.metrics.manifold import Manifold, prdc

CONTEXT = Context(seed=0, workdir=Path())


def test_golden_values(golden: Any, compare: Callable[..., Comparison]) -> None:
    """The four shares are those of the reference implementation."""
    golden.check("prdc", lambda row, sets: Manifold(k=row["params"]["k"]).measure(compare(sets["train"], sets["gen"]), CONTEXT))


def test_definition(compare: Callable[..., Comparison]) -> None:
    """They are the definitions written out over all pairs."""
    rng = np.random.default_rng(1)
    real, synthetic = rng.normal(size=(30, 3)), rng.normal(0.3, size=(25, 3))

    def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.linalg.norm(a[:, None] - b[None], axis=2)

    radius_r, radius_s = (np.sort(distances(x, x), axis=1)[:, 4] for x in (real, synthetic))
    inside = distances(real, synthetic) < radius_r[:, None]
    expected = {
        "precision": inside.any(axis=0).mean(),
        "recall": (distances(real, synthetic) < radius_s[None]).any(axis=1).mean(),
        "density": inside.sum() / (4 * 25),
        "coverage": inside.any(axis=1).mean(),
    }
    assert prdc(compare(real, synthetic), 4) == pytest.approx(expected)


def test_deterministic_and_indifferent_to_order(compare: Callable[..., Comparison]) -> None:
    """Repeats and another order of the rows give the same shares."""
    rng = np.random.default_rng(2)
    real, synthetic = rng.normal(size=(80, 12)), rng.normal(0.2, 1.0, size=(70, 12))
    first = prdc(compare(real, synthetic))
    assert prdc(compare(real, synthetic)) == first
    assert prdc(compare(real[::-1], rng.permutation(synthetic))) == pytest.approx(first)


def test_fall_under_the_defects_they_see(compare: Callable[..., Comparison]) -> None:
    """Noise lowers precision and density, lost modes lower recall and coverage, copies raise all but density beyond doubt."""
    rng = np.random.default_rng(3)
    real, fair = rng.normal(size=(300, 6)), rng.normal(size=(300, 6))
    base = prdc(compare(real, fair))
    noisy = prdc(compare(real, fair + rng.normal(0, 1.5, fair.shape)))
    assert noisy["precision"] < base["precision"]
    assert noisy["density"] < base["density"]
    collapsed = prdc(compare(real, fair[fair[:, 0] > 0.5]))
    assert collapsed["recall"] < base["recall"]
    assert collapsed["coverage"] < base["coverage"]
    copied = prdc(compare(real, real))
    assert copied == {"precision": 1.0, "recall": 1.0, "density": pytest.approx(1.0), "coverage": 1.0}


def test_real_side_is_an_option(compare: Callable[..., Comparison]) -> None:
    """`against: test` compares with the test images."""
    rng = np.random.default_rng(4)
    train, test, synthetic = rng.normal(9.0, size=(40, 3)), rng.normal(size=(40, 3)), rng.normal(size=(40, 3))
    comparison = compare(train, synthetic, test)
    assert Manifold().measure(comparison, CONTEXT)["precision"] == 0.0
    assert Manifold(against="test").measure(comparison, CONTEXT) == prdc(compare(test, synthetic))


def test_identical_images_are_strictly_inside_nothing(compare: Callable[..., Comparison]) -> None:
    """When all images are one, every radius is zero and every share is zero, as in Naeem et al.'s code."""
    assert set(prdc(compare(np.ones((9, 2)), np.ones((9, 2)))).values()) == {0.0}


def test_too_few_images(compare: Callable[..., Comparison]) -> None:
    """Fewer than k + 1 images on one side are no number, and the reason counts them."""
    with pytest.raises(NotComputable, match="needs 6 images on each side for k = 5, got 20 real and 5 synthetic"):
        prdc(compare(np.zeros((20, 2)), np.zeros((5, 2))))
