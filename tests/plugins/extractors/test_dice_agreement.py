"""Facts about how predicted and true Dice of held-out patients are compared."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import linregress, pearsonr

from harness.api import NotComputable
from harness_plugins.extractors.dice_agreement import AGREEMENT, agreement, skill, strangers


def test_agreement_is_that_of_scipy() -> None:
    """Error, correlation and slope are those of numpy and scipy; the intervals hold them, and are of patients, not of images."""
    rng = np.random.default_rng(2)
    units = np.repeat(np.arange(40), 5)
    true = rng.uniform(0.0, 1.0, 40)[units]
    predicted = np.clip(true + rng.normal(0.0, 0.1, 40)[units], 0.0, 1.0)
    values = agreement(predicted, true, units, np.random.default_rng(0))
    expected = (np.abs(predicted - true).mean(), pearsonr(predicted, true).statistic, linregress(predicted, true).slope)
    names = ("mae", "correlation", "slope")
    np.testing.assert_allclose([values[name] for name in names], expected)
    assert tuple(values) == AGREEMENT
    alone = agreement(predicted, true, np.arange(200), np.random.default_rng(0))
    for name in names:
        assert values[f"{name}_low"] < values[name] < values[f"{name}_high"]
        assert values[f"{name}_high"] - values[f"{name}_low"] > 1.5 * (alone[f"{name}_high"] - alone[f"{name}_low"])
    few = agreement(predicted[:45], true[:45], units[:45], np.random.default_rng(0))
    assert all(few[name] == few[f"{name}_low"] == few[f"{name}_high"] for name in names)
    assert few["skill_low"] < few["skill"] < few["skill_high"]


def test_intervals_of_agreement_cover() -> None:
    """Of 200 draws of 30 patients with correlated images, 95 % intervals of the correlation hold the true one in at least 86 %."""
    rng = np.random.default_rng(3)
    units, hits = np.repeat(np.arange(30), 3), 0
    for _ in range(200):
        true = rng.normal(0.0, 1.0, 30)[units]
        predicted = 0.8 * true + 0.6 * rng.normal(0.0, 1.0, 30)[units]
        found = agreement(predicted, true, units, rng)
        hits += found["correlation_low"] <= 0.8 <= found["correlation_high"]
    assert hits >= 172


def test_skill_by_hand() -> None:
    """Errors of a half and a quarter of the reference's, in two patients of one mask each; no error is a skill of 1."""
    value, low, high = skill(np.array([0.1, 0.1]), np.array([0.2, 0.4]), np.arange(2))
    assert value == pytest.approx(1.0 - 0.2 / 0.6)
    # Residuals are -1/30 and 1/30, their standard error 2/30 / 0.6, and Student's t for one degree of freedom is 12.706.
    assert value - low == pytest.approx(12.7062 / 9.0, rel=1e-4)
    assert high == 1.0
    assert skill(np.zeros(4), np.full(4, 0.25), np.arange(4)) == (1.0, 1.0, 1.0)


def test_skill_is_over_the_best_constant() -> None:
    """Whatever constant is predicted, no error is smaller than that of the constant, and no skill above 0."""
    rng = np.random.default_rng(4)
    true, units = rng.beta(2.0, 1.0, 60), np.repeat(np.arange(12), 5)
    for constant in np.linspace(0.0, 1.0, 21):
        found = agreement(constant + rng.normal(0.0, 1e-5, 60), true, units, rng)
        assert found["constant_mae"] < found["mae"] + 1e-4
        assert found["skill"] < 1e-3


@pytest.mark.parametrize("patients", [4, 8, 30])
def test_the_interval_of_the_skill_holds_for_few_patients(patients: int) -> None:
    """Of 400 predictors no better than the constant at most 5 % have an interval above 0, of good ones most, even with four patients."""
    rng = np.random.default_rng(5)
    units, levels = np.repeat(np.arange(patients), 10), np.tile((np.arange(10) + 0.5) / 10, patients)
    passed = {0.27: 0, 0.1: 0}
    for noise in passed:
        for _ in range(400):
            shared = rng.normal(0.0, 0.12, patients)[units]
            predicted = 0.5 + 0.55 * (levels - 0.5) + shared + rng.normal(0.0, noise, len(levels))
            passed[noise] += skill(np.abs(predicted - levels), np.abs(levels - 0.5), units)[1] > 0.0
    assert passed[0.27] <= 20
    assert passed[0.1] >= 240


def test_strangers_are_other_patients() -> None:
    """Each row gets a row of the same list that belongs to another patient, at random."""
    units = np.array([0, 0, 0, 1, 2, 2, 5, 5])
    rows = np.array([0, 1, 2, 3, 4, 5])
    found = np.stack([strangers(rows, units, np.random.default_rng(seed)) for seed in range(20)])
    assert (units[found] != units[rows]).all()
    assert set(found.ravel().tolist()) == set(rows.tolist())
    assert len(np.unique(found, axis=0)) > 15


def test_no_agreement_without_variation() -> None:
    """Where one side does not vary the reason tells its value and the error."""
    with pytest.raises(NotComputable, match=r"the true Dice of all 5 held-out masks is 0\.000 \(mean absolute error 0\.500\)"):
        agreement(np.linspace(0, 1, 5), np.zeros(5), np.arange(5), np.random.default_rng(0))
    with pytest.raises(NotComputable, match=r"the predicted Dice of all 4 held-out masks is 0\.500 .*: more steps may help"):
        agreement(np.full(4, 0.5), np.linspace(0, 1, 4), np.arange(4), np.random.default_rng(0))
