"""Predicted Dice falls with the dose of a defect that makes lesions harder to find: noise, and edges out of focus, on phantoms.

`python -m acceptance.test_evanyseg`, from the folder `tests`, prints the table without pytest.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from harness.api import Context, Perturbation
from harness.testing import phantoms
from harness_plugins.extractors.evanyseg_predictor import COLUMNS, EvanysegPredictor
from harness_plugins.perturbations.boundary_blur import BoundaryBlur
from harness_plugins.perturbations.gaussian_noise import GaussianNoise

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3600)]

EXTRACTOR = EvanysegPredictor(segmenter_steps=150, predictor_steps=300)
DEFECTS: tuple[Perturbation, ...] = (GaussianNoise(), BoundaryBlur())


def table(folder: Path, seed: int = 0) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return the predictor's error, and for each defect mean predicted Dice of 60 phantoms at dose 0 and at its three doses."""
    EXTRACTOR.fit(phantoms(240, seed=1, size=32), Context(seed, folder))
    context, test = Context(seed, folder, fitted=folder), phantoms(60, seed=2, size=32)
    clean = EXTRACTOR.extract(test, context)
    means = {}
    for defect in DEFECTS:
        planted = (defect.apply(test, test, dose, Context(3, folder)) for dose in defect.doses)
        means[defect.name] = [float(found[:, 0].mean()) for found in (clean, *(EXTRACTOR.extract(images, context) for images in planted))]
    return dict(zip(COLUMNS[2:], clean[0, 2:].tolist(), strict=True)), means


def text(facts: dict[str, float], means: dict[str, list[float]]) -> str:
    """Return what `table` found as it is printed."""
    lines = [f"{name:24s} {value:8.3f}" for name, value in facts.items()]
    return "\n".join(lines + [f"{name:24s} {' '.join(f'{value:8.3f}' for value in values)}" for name, values in means.items()])


def test_predicted_dice_falls_with_the_dose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is lower at each of three doses than at the one before, and the predictor was right on patients held out.

    The smallest boundary blur, of 1 px, is next to nothing: there it is only not higher than on clean images by more than 0.01.
    """
    facts, means = table(tmp_path)
    with capsys.disabled():
        sys.stdout.write("\n" + text(facts, means) + "\n")
    assert facts["all_correlation_low"] > 0.5
    for name, values in means.items():
        assert len(values) == 4
        assert (np.diff(values[1:]) < 0.0).all(), f"{name}: {values}"
        assert values[1] < values[0] + 0.01, f"{name}: {values}"
        assert values[3] < values[0] - 0.02, f"{name}: {values}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        print(text(*table(Path(work))))
