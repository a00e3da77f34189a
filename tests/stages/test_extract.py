"""What a cell of features leaves behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.components import Context
from harness.errors import PluginError
from harness.images import ImageSet
from harness.stages.extract import embed
from miniature import Means, Miniature, real


def test_images_leave_their_features_and_nothing_else(tmp_path: Path) -> None:
    """One row of float32 features for each image; no file that nobody reads."""
    mini = Miniature(tmp_path, real(20))

    assert mini.run(embed, "e", extractor=0, images="d", role="train", fitted=None) == []
    files = sorted(p.name for p in mini.cache.folder("e").rglob("*") if p.is_file())
    assert files == ["features.npy", "result.json"]
    found = np.load(mini.cache.folder("e") / "features.npy", allow_pickle=False)
    assert (found.shape, found.dtype) == ((20, 1), np.float32)


class Short(Means):
    """Forgets an image."""

    def extract(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return one row too few."""
        return super().extract(images, context)[1:]


def test_features_that_do_not_fit_the_images_are_the_extractors_failure(tmp_path: Path) -> None:
    """A missing row is said, and nothing is stored."""
    mini = Miniature(tmp_path, real(20), extractors=(Short(),))
    with pytest.raises(PluginError, match=r"shape \(19, 1\) for 20 images"):
        mini.run(embed, "e", extractor=0, images="d", role="train", fitted=None)
