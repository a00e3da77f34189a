"""Presets of perturbations that belong to every modality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from harness.api import Modality


def everywhere(**because: str) -> Mapping[Modality, Mapping[str, Any]]:
    """Return presets for all modalities: the defaults, with a clinical reason of its own for those that are named."""
    return {modality: {"because": because[modality]} if modality in because else {} for modality in get_args(Modality)}
