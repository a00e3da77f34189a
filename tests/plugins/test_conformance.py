"""The built-in extractors, metrics and perturbations keep the promises that every author's component must keep."""

from __future__ import annotations

from typing import Any

import pytest

from harness.testing import check
from harness_plugins.extractors import harness_extractors
from harness_plugins.metrics import harness_metrics
from harness_plugins.perturbations import harness_perturbations


@pytest.mark.parametrize("component", [*harness_extractors(), *harness_metrics(), *harness_perturbations()])
@pytest.mark.parametrize(("size_px", "channels"), [((20, 24), 1), ((12, 9, 11), 2)])
def test_built_in_components_conform(component: Any, size_px: tuple[int, ...], channels: int) -> None:
    """Each passes the conformance tests with its defaults, on grey images and on volumes of two channels."""
    check(component, n=24, size_px=size_px, channels=channels)
