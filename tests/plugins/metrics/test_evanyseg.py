"""Facts about predicted Dice as a metric."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from harness.api import Comparison, Context, ImageSet, NotComputable
from harness.testing import check, phantoms
from harness_plugins.extractors.evanyseg_predictor import COLUMNS, EvanysegPredictor
from harness_plugins.metrics.evanyseg import Evanyseg
from harness_plugins.perturbations.gaussian_noise import GaussianNoise

GOOD = {
    "own_mae": 0.08, "own_mae_low": 0.06, "own_mae_high": 0.11,
    "own_correlation": 0.61, "own_correlation_low": 0.42, "own_correlation_high": 0.75,
    "own_slope": 0.9, "own_slope_low": 0.6, "own_slope_high": 1.2,
    "own_skill": 0.2, "own_skill_low": 0.05, "own_skill_high": 0.35, "own_constant_mae": 0.1,
    "all_mae": 0.1, "all_mae_low": 0.09, "all_mae_high": 0.12,
    "all_correlation": 0.9, "all_correlation_low": 0.85, "all_correlation_high": 0.94,
    "all_slope": 1.02, "all_slope_low": 0.95, "all_slope_high": 1.1,
    "all_skill": 0.6, "all_skill_low": 0.5, "all_skill_high": 0.7, "all_constant_mae": 0.25,
    "image_skill": 0.5, "image_skill_low": 0.4, "image_skill_high": 0.6, "swapped_mae": 0.2,
    "optimism": 0.02, "images": 60.0, "patients": 20.0,
}  # fmt: skip
NOTE = (
    "predicted against true Dice on 60 images of 20 held-out real patients: the segmenter's own masks MAE 0.080 (0.060 to 0.110) beside "
    "0.100 of the best constant, skill 0.200 (0.050 to 0.350), correlation 0.610 (0.420 to 0.750), calibration slope 0.900 (0.600 to "
    "1.200); masks of every quality MAE 0.100 (0.090 to 0.120) beside 0.250 of the best constant, skill 0.600 (0.500 to 0.700), "
    "correlation 0.900 (0.850 to 0.940), calibration slope 1.020 (0.950 to 1.100); MAE 0.200 with the image of another patient, skill "
    "0.500 (0.400 to 0.600); predicted Dice is +0.020 on the images that taught the networks"
)


def features(predicted: np.ndarray, **facts: float) -> np.ndarray:
    """Return the columns of the extractor for these predicted Dice, with these facts of the predictor in the place of good ones."""
    row = [(GOOD | facts)[name] for name in COLUMNS[2:]]
    return np.concatenate([np.stack([predicted, np.full(len(predicted), 0.1)], axis=1), np.tile(row, (len(predicted), 1))], axis=1)


class OfBrightness(Evanyseg):
    """The metric on made-up predictions: the mean level of each image."""

    name = "of_brightness"
    needs: ClassVar[frozenset[str]] = frozenset()

    def describe(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return the columns of the extractor, (N, 35)."""
        return features(images.images.reshape(len(images), -1).mean(axis=1)).astype(np.float32)


def test_conforms() -> None:
    """It keeps the promises of a metric on columns like those of its extractor."""
    check(OfBrightness)


def test_numbers_by_hand(compare: Callable[..., Comparison]) -> None:
    """Mean, difference of means, and the share below the 5 % quantile of the real test images; the predictor's own numbers."""
    test, synthetic = np.linspace(0.5, 0.9, 41), np.array([0.2, 0.4, 0.515, 0.525, 0.8])
    comparison = compare(features(test + 0.05), features(synthetic), features(test))
    context = Context(seed=0, workdir=Path())
    found = Evanyseg().measure(comparison, context)
    assert found == {
        "predicted_dice": pytest.approx(0.488),
        "dice_gap": pytest.approx(0.7 - 0.488),
        "low_share": pytest.approx(3 / 5),
        "predictor_mae": pytest.approx(0.1),
        "predictor_skill": pytest.approx(0.6),
        "predictor_correlation": pytest.approx(0.9),
    }
    assert Evanyseg(quantile=0.5).measure(comparison, context)["low_share"] == pytest.approx(4 / 5)
    np.testing.assert_allclose(Evanyseg().per_image(comparison, context)["predicted_dice"], 1.0 - synthetic)


def test_the_error_of_the_predictor_stands_beside_every_number(compare: Callable[..., Comparison]) -> None:
    """Error, correlation, slope, their intervals and how many patients; without intervals where patients are few."""
    test = features(np.linspace(0.5, 0.9, 20))
    context = Context(seed=0, workdir=Path())
    Evanyseg().measure(compare(test, test), context)
    assert context.notes == {quantity.name: NOTE for quantity in Evanyseg.quantities}
    few = features(np.linspace(0.5, 0.9, 20), patients=6.0)
    Evanyseg().measure(compare(few, few), context)
    said = context.notes["predicted_dice"]
    assert "of 6 held-out real patients, too few patients for intervals but that of the skill (10 needed): the segmenter's own" in said
    assert "masks MAE 0.080 beside 0.100 of the best constant, skill 0.200 (0.050 to 0.350), correlation 0.610, " in said


SCORES = ("predicted_dice", "dice_gap", "low_share")
NO_BETTER = (
    "the predictor is not shown to be better than a constant: on masks of every quality of 20 held-out real patients its mean absolute "
    "error is 0.287, that of always saying their median 0.250; the skill, 1 less their ratio, is -0.148, and its 95 % interval, -0.301 to "
    "0.005, must lie above 0"
)
BLIND = (
    "the predictor is not shown to look at the image: on masks of every quality of 20 held-out real patients its mean absolute error is "
    "0.100, with the image of another patient instead 0.102; the skill, 1 less their ratio, is 0.020, and its 95 % interval, -0.010 to "
    "0.050, must lie above 0"
)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"all_mae": 0.287, "all_skill": -0.148, "all_skill_low": -0.301, "all_skill_high": 0.005}, NO_BETTER),
        ({"swapped_mae": 0.102, "image_skill": 0.02, "image_skill_low": -0.01, "image_skill_high": 0.05}, BLIND),
    ],
)
def test_a_weak_predictor_gives_no_score(compare: Callable[..., Comparison], facts: dict[str, float], reason: str) -> None:
    """Where it may be no better than a constant, or than on a wrong image, each score has a reason; its own error is told all the same."""
    weak = features(np.linspace(0.5, 0.9, 20), **facts)
    context = Context(seed=0, workdir=Path())
    found = Evanyseg().measure(compare(weak, weak), context)
    assert {str(found[name]) for name in SCORES} == {reason}
    assert all(isinstance(found[name], NotComputable) for name in SCORES)
    assert found["predictor_mae"] == facts.get("all_mae", 0.1)
    assert found["predictor_skill"] == facts.get("all_skill", 0.6)
    assert found["predictor_correlation"] == 0.9
    assert set(context.notes) == {quantity.name for quantity in Evanyseg.quantities}
    with pytest.raises(NotComputable, match="the predictor is not shown to"):
        Evanyseg().per_image(compare(weak, weak), context)


def test_deterministic_and_indifferent_to_order(compare: Callable[..., Comparison]) -> None:
    """Repeats agree exactly; another order gives the same numbers; identical sets have no gap."""
    rng = np.random.default_rng(1)
    test, synthetic = features(rng.uniform(0.4, 0.9, 30)), features(rng.uniform(0.3, 0.9, 25))
    context = Context(seed=0, workdir=Path())
    first = Evanyseg().measure(compare(test, synthetic), context)
    assert Evanyseg().measure(compare(test, synthetic), context) == first
    assert Evanyseg().measure(compare(test[::-1], synthetic[::-1]), context) == pytest.approx(first)
    assert Evanyseg().measure(compare(test, test), context)["dice_gap"] == 0.0


def test_noise_lowers_it(tmp_path: Path) -> None:
    """Of phantoms under strong noise predicted Dice is lower, the gap wider and more of them are low than of clean ones."""
    extractor = EvanysegPredictor(segmenter_steps=60, predictor_steps=250, batch_size=8, candidates=20, rounds=1)
    extractor.fit(phantoms(72, seed=1, size=32, patients=36), Context(1, tmp_path))
    context = Context(1, tmp_path, fitted=tmp_path)
    test, clean = phantoms(30, seed=2, size=32), phantoms(30, seed=3, size=32)
    noisy = GaussianNoise().apply(clean, clean, 1.0, context)
    real, good, bad = (side.with_features(extractor.extract(side, context)) for side in (test, clean, noisy))
    honest, worse = (Evanyseg().measure(Comparison(real, real, side), context) for side in (good, bad))
    assert worse["predicted_dice"] < honest["predicted_dice"] - 0.05  # type: ignore[operator]
    assert worse["dice_gap"] > honest["dice_gap"] + 0.05  # type: ignore[operator]
    assert worse["low_share"] > honest["low_share"]  # type: ignore[operator]


def test_bad_input(compare: Callable[..., Comparison]) -> None:
    """No synthetic image, few test images, features of another extractor, of two predictors, or beyond the range: each is a reason."""
    side = features(np.linspace(0.5, 0.9, 20))
    context = Context(seed=0, workdir=Path())
    with pytest.raises(NotComputable, match="there are no synthetic images"):
        Evanyseg().measure(compare(side, side[:0]), context)
    few = Evanyseg().measure(compare(side, side, side[:9]), context)
    assert few["predicted_dice"] == pytest.approx(0.7)
    assert str(few["dice_gap"]) == str(few["low_share"]) == "needs 10 real test images, got 9"
    with pytest.raises(NotComputable, match="needs the 35 columns of evanyseg_predictor, got 6 features"):
        Evanyseg().measure(compare(side[:, :6], side[:, :6]), context)
    mixed, beyond = side.copy(), side.copy()
    mixed[3, 5], beyond[2, 0] = 0.5, 1.2
    for wrong in (mixed, beyond):
        with pytest.raises(NotComputable, match="not predicted Dice with one predictor's error"):
            Evanyseg().measure(compare(side, wrong), context)
