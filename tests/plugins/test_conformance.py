"""The built-in extractors, metrics and perturbations keep the promises that every author's component must keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.testing import check
from harness_plugins.extractors import harness_extractors
from harness_plugins.metrics import harness_metrics
from harness_plugins.perturbations import harness_perturbations

# Components that random images without options cannot try: why, and the module whose tests call `check` on an instance that they can.
ELSEWHERE = {
    "backbone": "needs weights: extractors/test_backbone.py",
    "biomedclip": "needs weights: extractors/test_vision_transformers.py",
    "clip": "needs weights: extractors/test_vision_transformers.py",
    "data_copying": "needs more images: metrics/test_data_copying.py",
    "dinov2": "needs weights: extractors/test_vision_transformers.py",
    "evanyseg": "needs the predictor's columns: metrics/test_evanyseg.py",
    "evanyseg_predictor": "needs a shorter training: extractors/test_evanyseg_predictor.py",
    "inception_score": "needs logits: metrics/test_inception_score.py",
    "inception_score_infinity": "needs logits: metrics/test_inception_score.py",
    "inception_v3": "needs weights: extractors/test_inception_v3.py",
    "lesion_duplication": "needs images in which a lesion fits twice: perturbations/test_local_morphology.py",
    "lpips": "needs weights: extractors/test_lpips.py",
    "medicalnet": "needs weights: extractors/test_medicalnet.py",
    "task_network": "needs a shorter training: extractors/test_task_network.py",
    "torchscript": "needs a network: extractors/test_torchscript.py",
}
COMPONENTS = [*harness_extractors(), *harness_metrics(), *harness_perturbations()]


@pytest.mark.parametrize("component", [c for c in COMPONENTS if c.name not in ELSEWHERE], ids=lambda c: c.name)
@pytest.mark.parametrize(("size_px", "channels"), [((20, 24), 1), ((12, 9, 11), 2)], ids=["2D", "3D"])
def test_built_in_components_conform(component: Any, size_px: tuple[int, ...], channels: int) -> None:
    """Each passes the conformance tests with its defaults, on grey images and on volumes of two channels."""
    check(component, n=24, size_px=size_px, channels=channels)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_others_are_checked_where_they_can_be(name: str) -> None:
    """The module that is named here calls `check`."""
    module = Path(__file__).parent / ELSEWHERE[name].split(": ")[1]
    assert "check(" in module.read_text(encoding="utf-8")
    assert name in {component.name for component in COMPONENTS}
