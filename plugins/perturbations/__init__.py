"""Perturbations: known defects planted in real images."""

from __future__ import annotations

from harness.api import Perturbation, hookimpl

from .duplication import Duplication
from .gaussian_noise import GaussianNoise
from .mode_collapse import ModeCollapse


@hookimpl
def harness_perturbations() -> list[type[Perturbation]]:
    """Offer the perturbations of this folder."""
    return [Duplication, GaussianNoise, ModeCollapse]
