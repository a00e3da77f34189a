"""Facts about presets that every modality has."""

from __future__ import annotations

from typing import get_args

from harness.api import Modality
from harness_plugins.perturbations.presets import everywhere


def test_presets_name_all_modalities_and_the_reasons_given() -> None:
    """All five modalities are in the presets; those named carry their reason, the others nothing."""
    presets = everywhere(mri="because")
    assert tuple(presets) == get_args(Modality)
    assert presets["mri"] == {"because": "because"}
    assert presets["xray"] == {}
