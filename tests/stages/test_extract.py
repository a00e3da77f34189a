"""What a cell of features leaves behind."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from harness.components import Context, Extractor
from harness.images import ImageSet
from harness.stages.extract import embed_planted
from harness_plugins.perturbations.gaussian_noise import GaussianNoise


class Means(Extractor):
    """The mean of each image."""

    name = "means"
    version = "1"

    def extract(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return the means."""
        return images.images.mean(axis=(2, 3)).astype(np.float32)


def test_planted_images_leave_their_features_and_nothing_else(tmp_path: Path) -> None:
    """One row of features for each image of the probe; no file that nobody reads."""
    real = ImageSet(np.full((20, 1, 8, 8), 0.5, dtype=np.float32), tuple(f"i{k}" for k in range(20)), (1.0, 1.0))
    offer = SimpleNamespace(version="1")
    parts = SimpleNamespace(
        extractors=[SimpleNamespace(name="means", component=Means(), offer=offer)],
        perturbations=[SimpleNamespace(name="gaussian_noise", component=GaussianNoise(), offer=offer)],
    )
    bench: Any = SimpleNamespace(
        seed=5, device="cpu", parts=parts, images=lambda key, role: real, context=lambda workdir, *words, **more: Context(1, workdir)
    )
    arguments = {"extractor": 0, "perturbation": 0, "dose": 0.5, "fault": 0, "data": "d", "fitted": None}
    cell: Any = SimpleNamespace(key="c", arguments=arguments)

    assert list(embed_planted(bench, cell, tmp_path)) == []
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["features.npy"]
    assert np.load(tmp_path / "features.npy", allow_pickle=False).shape == (10, 1)
