"""Replicates differ from each other, and a battery that is too small says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.components import Context, FailureMode, Metric, Perturbation
from harness.errors import NotComputable
from harness.images import Comparison, ImageSet
from harness.quantities import Quantity
from harness.records import QualificationRow, ScoreRow
from harness.stages.qualify import battery


class Level(Metric):
    """Mean brightness of the synthetic images."""

    name = "level"
    version = "1"
    quantities = (Quantity(name="mean", better="lower"),)

    def measure(self, comparison: Comparison, context: Context) -> Mapping[str, float]:
        """Return the mean."""
        return {"mean": float(comparison.synthetic.images.mean(dtype=np.float64))}


class Shrink(Perturbation):
    """Loses half of the images and brightens the rest."""

    name = "shrink"
    version = "1"
    failure_mode = FailureMode.MODE_COLLAPSE
    full_severity = "as bright as can be"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return every other image, brighter."""
        kept = images.take(np.arange(0, len(images), 2))
        return replace(kept, images=np.minimum(kept.images + np.float32(severity / 4), 1), checked=False)


def rows(patients: int) -> list[Any]:
    """Run the battery on one image of each of so many patients."""
    rng = np.random.default_rng(0)
    real = ImageSet(rng.random((patients, 1, 2, 2), dtype=np.float32) / 2, tuple(f"i{k}" for k in range(patients)), (1.0, 1.0))
    offer = SimpleNamespace(version="1")
    parts = SimpleNamespace(
        metrics=[SimpleNamespace(name="level", component=Level(), offer=offer)],
        perturbations=[SimpleNamespace(name="shrink", component=Shrink(), offer=offer)],
    )
    bench: Any = SimpleNamespace(seed=5, device="cpu", memory=1 << 28, parts=parts, images=lambda key, role: real)
    size = {"replicates": 10, "null_splits": 20, "fault_seeds": 1}
    arguments = {"metric": 0, "perturbation": 0, "extractor": "", "data": "d", "features": {}, "planted": {}, "size": size}
    return list(battery(bench, SimpleNamespace(key="c", arguments=arguments), Path()))  # type: ignore[arg-type]


def test_replicates_are_never_the_same_images_again() -> None:
    """A defect that loses half of 100 images leaves 50: replicates draw 25 of them, and so do the null splits."""
    found = rows(200)

    scores = [r for r in found if isinstance(r, ScoreRow)]
    assert {r.n for r in scores} == {25}
    for dose in (0.0, *Shrink().doses):
        values = {r.value for r in scores if r.stage == "qualify" and r.severity == dose}
        assert len(values) == 10
    assert [r.n for r in found if isinstance(r, QualificationRow)] == [25]


def test_a_battery_of_few_images_says_how_many_there_were() -> None:
    """Of 100 images the smallest planted probe holds 25, half of which is too few."""
    with pytest.raises(NotComputable, match="at least 20 images in a replicate, which is half of the smallest planted probe; got 12"):
        rows(100)
