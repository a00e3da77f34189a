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
    "all_mae": 0.1, "all_mae_low": 0.09, "all_mae_high": 0.12,
    "all_correlation": 0.9, "all_correlation_low": 0.85, "all_correlation_high": 0.94,
    "all_slope": 1.02, "all_slope_low": 0.95, "all_slope_high": 1.1,
    "optimism": 0.02, "images": 60.0, "patients": 20.0,
}  # fmt: skip
NOTE = (
    "predicted against true Dice on 60 images of 20 held-out real patients: the segmenter's own masks MAE 0.080 (0.060 to 0.110), "
    "correlation 0.610 (0.420 to 0.750), calibration slope 0.900 (0.600 to 1.200); masks of every quality MAE 0.100 (0.090 to 0.120), "
    "correlation 0.900 (0.850 to 0.940), calibration slope 1.020 (0.950 to 1.100); predicted Dice is +0.020 on the images that taught "
    "the networks"
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
        """Return the columns of the extractor, (N, 23)."""
        return features(images.images.reshape(len(images), -1).mean(axis=1)).astype(np.float32)


def test_conforms() -> None:
    """It keeps the promises of a metric on columns like those of its extractor."""
    check(OfBrightness)


def test_numbers_by_hand(compare: Callable[..., Comparison]) -> None:
    """Mean, difference of means, and the share below the 5 % quantile of the real test images; the predictor's own two numbers."""
    test, synthetic = np.linspace(0.5, 0.9, 41), np.array([0.2, 0.4, 0.515, 0.525, 0.8])
    comparison = compare(features(test + 0.05), features(synthetic), features(test))
    context = Context(seed=0, workdir=Path())
    found = Evanyseg().measure(comparison, context)
    assert found == {
        "predicted_dice": pytest.approx(0.488),
        "dice_gap": pytest.approx(0.7 - 0.488),
        "low_share": pytest.approx(3 / 5),
        "predictor_mae": pytest.approx(0.1),
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
    assert "of 6 held-out real patients, too few patients for intervals (10 needed): the segmenter's own masks MAE 0.080, " in said


def test_a_predictor_that_predicts_nothing_gives_no_score(compare: Callable[..., Comparison]) -> None:
    """Where the correlation on held-out patients may be 0, the reason tells it."""
    blind = features(np.linspace(0.5, 0.9, 20), all_correlation=0.1, all_correlation_low=-0.2)
    with pytest.raises(NotComputable, match=r"does not tell good masks from bad ones .* correlation 0.100 \(-0.200 to 0.940\)"):
        Evanyseg().measure(compare(blind, blind), Context(seed=0, workdir=Path()))
    with pytest.raises(NotComputable, match="does not tell good masks from bad ones"):
        Evanyseg().per_image(compare(blind, blind), Context(seed=0, workdir=Path()))


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
    extractor = EvanysegPredictor(segmenter_steps=60, predictor_steps=100, batch_size=8, candidates=20)
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
    with pytest.raises(NotComputable, match="needs the 23 columns of evanyseg_predictor, got 6 features"):
        Evanyseg().measure(compare(side[:, :6], side[:, :6]), context)
    mixed, beyond = side.copy(), side.copy()
    mixed[3, 5], beyond[2, 0] = 0.5, 1.2
    for wrong in (mixed, beyond):
        with pytest.raises(NotComputable, match="not predicted Dice with one predictor's error"):
            Evanyseg().measure(compare(side, wrong), context)
