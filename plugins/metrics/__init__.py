"""Metrics: numbers that compare synthetic with real images."""

from __future__ import annotations

from harness.api import Metric, hookimpl

from .frechet import Frechet
from .kernel import Kernel
from .manifold import Manifold
from .memorisation import Memorisation


@hookimpl
def harness_metrics() -> list[type[Metric]]:
    """Offer the metrics of this folder."""
    return [Frechet, Kernel, Manifold, Memorisation]
