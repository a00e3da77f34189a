"""Facts about mean perceptual distances."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from harness.api import Comparison, Context, NotComputable
from harness.testing import check
from harness_plugins.metrics.perceptual import Perceptual, mean_squared_distance

CONTEXT = Context(seed=0, workdir=Path())


def sides(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Real and synthetic rows far from the origin, where sums of squares lose digits."""
    rng = np.random.default_rng(seed)
    return 100 + rng.normal(size=(60, 7)), 100 + rng.normal(size=(40, 7))


def test_conforms() -> None:
    """It keeps the promises that every author's metric must keep."""
    check(Perceptual)


def test_agrees_with_all_pairs(compare: Callable[..., Comparison]) -> None:
    """The closed form is the mean over all pairs, and nearest the mean of the smallest, with scipy's distances."""
    real, synthetic = sides()
    found = Perceptual().measure(compare(real, synthetic), CONTEXT)
    assert found["diversity"] == pytest.approx(pdist(synthetic, "sqeuclidean").mean(), rel=1e-12)
    assert found["nearest"] == pytest.approx(cdist(synthetic, real, "sqeuclidean").min(axis=1).mean(), rel=1e-12)
    blamed = Perceptual().per_image(compare(real, synthetic), CONTEXT)["nearest"]
    np.testing.assert_allclose(blamed, cdist(synthetic, real, "sqeuclidean").min(axis=1))


def test_moves_with_collapse_noise_and_copies(compare: Callable[..., Comparison]) -> None:
    """Collapse lowers diversity; noise moves images away from real ones; copies have distance 0."""
    real, synthetic = sides(1)
    collapsed = synthetic.mean(axis=0) + 0.5 * (synthetic - synthetic.mean(axis=0))
    assert mean_squared_distance(collapsed) == pytest.approx(0.25 * mean_squared_distance(synthetic))
    noisy = synthetic + np.random.default_rng(2).normal(size=synthetic.shape)
    values = [Perceptual().measure(compare(real, x), CONTEXT)["nearest"] for x in (real[:20], synthetic, noisy)]
    assert values[0] == 0.0
    assert values == sorted(values)


def test_deterministic_and_indifferent_to_order(compare: Callable[..., Comparison]) -> None:
    """Repeats agree exactly; another order of the rows gives the same numbers."""
    real, synthetic = sides(3)
    first = Perceptual().measure(compare(real, synthetic), CONTEXT)
    assert Perceptual().measure(compare(real, synthetic), CONTEXT) == first
    assert Perceptual().measure(compare(real[::-1], synthetic[::-1]), CONTEXT) == pytest.approx(first)


def test_bad_input(compare: Callable[..., Comparison]) -> None:
    """One synthetic image has no pairs, an empty real side no nearest, and no synthetic image nothing at all."""
    real, synthetic = sides(4)
    one = Perceptual().measure(compare(real, synthetic[:1]), CONTEXT)
    assert "needs 2 synthetic images, got 1" in str(one["diversity"])
    assert isinstance(one["nearest"], float)
    untested = Perceptual(against="test").measure(compare(real, synthetic, real[:0]), CONTEXT)
    assert "there are no test images" in str(untested["nearest"])
    with pytest.raises(NotComputable, match="no synthetic"):
        Perceptual().measure(compare(real, synthetic[:0]), CONTEXT)
    assert Perceptual().measure(compare(np.ones((3, 2)), np.ones((3, 2))), CONTEXT) == {"diversity": 0.0, "nearest": 0.0}
