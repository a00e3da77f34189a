"""Facts about alpha-precision, beta-recall, authenticity and identifiability."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Comparison, Context, NotComputable
from harness.testing import check
from harness_plugins.metrics.memorisation import authpct
from harness_plugins.metrics.support import Support, curve_score

CONTEXT = Context(seed=0, workdir=Path())
OPTIONS: dict[str, dict[str, Any]] = {
    "paper": {},
    "egm_main_indexbug": {"authenticity_of": "real"},
    "synthcity": {"score": "synthcity", "authenticity_of": "real"},
}


def test_golden_alpha_precision_family(golden: Any, compare: Callable[..., Comparison]) -> None:
    """Every published variant has the options that reproduce it."""

    def value_of(row: Mapping[str, Any], sets: Mapping[str, np.ndarray]) -> dict[str, Any]:
        options = OPTIONS[row["variant"]] | {"levels": row["params"]["n_steps"]}
        found = Support(**options).measure(compare(sets["train"], sets["gen"]), CONTEXT)
        names = {"delta_precision_alpha": "alpha_precision", "delta_coverage_beta": "beta_recall", "authenticity": "authenticity"}
        return {published: found[ours] for published, ours in names.items()}

    golden.check("alpha_precision_family", value_of)


def test_golden_identifiability(golden: Any, compare: Callable[..., Comparison]) -> None:
    """Identifiability is that of the reference implementation."""
    golden.check("identifiability", lambda row, sets: Support().measure(compare(sets["train"], sets["gen"]), CONTEXT)["identifiability"])


def test_definition(compare: Callable[..., Comparison]) -> None:
    """They are the definitions written out over all pairs and levels."""
    rng = np.random.default_rng(1)
    train, synthetic = rng.normal(size=(40, 3)), rng.normal(0.4, 1.2, size=(30, 3))

    def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.linalg.norm(a[:, None] - b[None], axis=2)

    within = distances(train, train) + np.where(np.eye(40), np.inf, 0.0)
    across = distances(train, synthetic)
    centre, middle = train.mean(axis=0), synthetic.mean(axis=0)
    found = synthetic[across.argmin(axis=1)]
    levels = np.linspace(0, 1, 12)
    alpha, beta = [], []
    for level in levels:
        ball = np.quantile(np.linalg.norm(train - centre, axis=1), level)
        alpha.append(np.mean(np.linalg.norm(synthetic - centre, axis=1) <= ball))
        inner = np.quantile(np.linalg.norm(found - middle, axis=1), level)
        beta.append(np.mean((across.min(axis=1) <= within.min(axis=1)) & (np.linalg.norm(found - middle, axis=1) <= inner)))
    expected = {
        "alpha_precision": 1 - 2 * np.abs(np.array(alpha) - levels).sum() / 11,
        "beta_recall": 1 - 2 * np.abs(np.array(beta) - levels).sum() / 11,
        "authenticity": np.mean(within.min(axis=1)[across.argmin(axis=0)] < across.min(axis=0)),
        "identifiability": np.mean(across.min(axis=1) < within.min(axis=1)),
    }
    assert Support(levels=12).measure(compare(train, synthetic), CONTEXT) == pytest.approx(expected)


def test_conformance() -> None:
    """It keeps the promises of a metric: one answer for one seed, whatever the order of the images."""
    check(Support())


def test_a_perfect_generator_has_alpha_precision_near_one(compare: Callable[..., Comparison]) -> None:
    """The curve of a second sample of one distribution lies on the diagonal, up to chance."""
    rng = np.random.default_rng(2)
    found = Support().measure(compare(rng.normal(size=(2000, 8)), rng.normal(size=(2000, 8))), CONTEXT)
    assert found["alpha_precision"] == pytest.approx(1.0, abs=0.05)


def test_move_with_the_defects_they_see(compare: Callable[..., Comparison]) -> None:
    """Noise and shifts lower alpha-precision, lost modes lower beta-recall, copies lower authenticity and raise identifiability."""
    rng = np.random.default_rng(3)
    train, fair = rng.normal(size=(300, 6)), rng.normal(size=(300, 6))
    base = Support().measure(compare(train, fair), CONTEXT)

    def moved(synthetic: np.ndarray) -> dict[str, Any]:
        return dict(Support().measure(compare(train, synthetic), CONTEXT))

    assert moved(fair * 1.5)["alpha_precision"] < base["alpha_precision"]
    assert moved(fair + 2.0)["alpha_precision"] < base["alpha_precision"]
    assert moved(fair[np.argsort(fair[:, 0])[:60]])["beta_recall"] < base["beta_recall"]
    copied = moved(np.concatenate([train[:100] + 1e-3, fair[100:]]))
    assert copied["authenticity"] < base["authenticity"]
    assert copied["identifiability"] > base["identifiability"]


def test_authenticity_is_authpct_as_a_share(compare: Callable[..., Comparison]) -> None:
    """100 times authenticity is AuthPct."""
    rng = np.random.default_rng(4)
    comparison = compare(rng.normal(size=(50, 4)), rng.normal(size=(60, 4)))
    assert Support().measure(comparison, CONTEXT)["authenticity"] * 100 == pytest.approx(authpct(comparison))


def test_ends_of_the_scores() -> None:
    """All-or-nothing curves give the worst value: 0 in synthcity's scale, -1 / 29 in the authors'; the diagonal gives 1 in both."""
    levels = np.linspace(0, 1, 30)
    assert curve_score(levels, levels) == curve_score(levels, levels, "synthcity") == 1.0
    for worst in (np.zeros(30), np.ones(30)):
        assert curve_score(worst, levels) == pytest.approx(-1 / 29)
        assert curve_score(worst, levels, "synthcity") == pytest.approx(0.0)


def test_identical_images(compare: Callable[..., Comparison]) -> None:
    """Where all images are one, every ball holds everything and nothing is farther than anything else."""
    found = Support().measure(compare(np.ones((9, 2)), np.ones((8, 2))), CONTEXT)
    assert found == pytest.approx({"alpha_precision": -1 / 29, "beta_recall": -1 / 29, "authenticity": 0.0, "identifiability": 0.0})


def test_bad_input(compare: Callable[..., Comparison]) -> None:
    """One training image or no synthetic one is no number; the index error needs enough training images; no test set is needed."""
    rng = np.random.default_rng(5)
    with pytest.raises(NotComputable, match="needs 2 training images and 1 synthetic, got 1 and 9"):
        Support().measure(compare(np.ones((1, 2)), np.ones((9, 2))), CONTEXT)
    with pytest.raises(NotComputable, match="got 9 and 0"):
        Support().measure(compare(np.ones((9, 2)), np.ones((0, 2))), CONTEXT)
    more = compare(rng.normal(size=(20, 3)), rng.normal(size=(21, 3)), np.ones((0, 3)))
    found = Support(authenticity_of="real").measure(more, CONTEXT)
    assert "got 20 for 21" in str(found["authenticity"])
    assert isinstance(found["identifiability"], float)
    assert all(isinstance(value, float) for value in Support().measure(more, CONTEXT).values())
