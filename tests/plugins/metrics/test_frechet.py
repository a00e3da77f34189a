"""Facts about the Frechet distance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg

from harness.api import Comparison, Context, NotComputable
from harness_plugins.metrics.frechet import Frechet, frechet_distance

CONTEXT = Context(seed=0, workdir=Path())


def test_golden_values(golden: Any, compare: Callable[..., Comparison]) -> None:
    """The component gives the values of the reference implementations."""
    golden.check("fid", lambda row, sets: Frechet().measure(compare(sets["train"], sets["gen"]), CONTEXT)["fid"])


def test_closed_form() -> None:
    """It is the textbook formula with an explicit matrix square root, with more images than features and with fewer."""
    rng = np.random.default_rng(1)
    real, synthetic = rng.normal(size=(60, 5)), rng.normal(0.3, 1.4, size=(50, 5))
    s, t = np.cov(real.T), np.cov(synthetic.T)
    root = scipy.linalg.sqrtm(s @ t).real
    expected = ((real.mean(0) - synthetic.mean(0)) ** 2).sum() + np.trace(s + t - 2 * root)
    assert frechet_distance(real, synthetic) == pytest.approx(expected, rel=1e-10)
    wide = rng.normal(size=(5, 40))
    padded = np.hstack([real, np.zeros((60, 35))])
    assert frechet_distance(padded, np.hstack([synthetic, np.zeros((50, 35))])) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(wide, wide + 2.0) == pytest.approx(40 * 4.0, rel=1e-10)


def test_deterministic_and_indifferent_to_order(compare: Callable[..., Comparison]) -> None:
    """Repeats agree exactly, another order of the rows to rounding."""
    rng = np.random.default_rng(2)
    real, synthetic = rng.normal(size=(80, 12)), rng.normal(0.2, 1.0, size=(70, 12))
    first = Frechet().measure(compare(real, synthetic), CONTEXT)
    assert Frechet().measure(compare(real, synthetic), CONTEXT) == first
    assert Frechet().measure(compare(real[::-1], rng.permutation(synthetic)), CONTEXT)["fid"] == pytest.approx(first["fid"])


def test_grows_with_noise_shift_and_collapse() -> None:
    """Noise, a shift and a lost half each raise it; a shift far from the origin is measured exactly."""
    rng = np.random.default_rng(3)
    real, fair = rng.normal(size=(400, 8)), rng.normal(size=(400, 8))
    base = frechet_distance(real, fair)
    assert (
        base < frechet_distance(real, fair + rng.normal(0, 0.5, fair.shape)) < frechet_distance(real, fair + rng.normal(0, 1, fair.shape))
    )
    assert base < frechet_distance(real, fair[fair[:, 0] > 0])
    assert frechet_distance(real + 1e6, real + 1e6 + 0.5) == pytest.approx(8 * 0.25, rel=1e-6)


def test_real_side_is_an_option(compare: Callable[..., Comparison]) -> None:
    """`against: test` compares with the test images instead of the training images."""
    rng = np.random.default_rng(4)
    train, test, synthetic = rng.normal(size=(40, 3)), rng.normal(1.0, size=(40, 3)), rng.normal(size=(40, 3))
    comparison = compare(train, synthetic, test)
    assert Frechet(against="test").measure(comparison, CONTEXT)["fid"] == pytest.approx(frechet_distance(test, synthetic))


def test_one_image_has_no_covariance(compare: Callable[..., Comparison]) -> None:
    """A single image on one side is no number, and the reason counts them."""
    with pytest.raises(NotComputable, match="40 real and 1 synthetic"):
        Frechet().measure(compare(np.zeros((40, 3)), np.zeros((1, 3))), CONTEXT)
