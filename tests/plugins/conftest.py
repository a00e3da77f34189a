"""Small images to work on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.api import ImageSet


@pytest.fixture(scope="session")
def picture_set() -> Callable[..., ImageSet]:
    """Return the function that makes n random images with masks, labels and patients."""

    def make(n: int = 12, size: tuple[int, ...] = (20, 24), channels: int = 1, seed: int = 0, **fields: Any) -> ImageSet:
        rng = np.random.default_rng(seed)
        # A grid of coarse values gives structure that survives down-sampling.
        coarse = rng.random((n, channels, *(-(-s // 4) for s in size)))
        for axis in range(2, coarse.ndim):
            coarse = np.repeat(coarse, 4, axis=axis)
        images = coarse[(..., *(slice(s) for s in size))].astype(np.float32)
        known = {
            "masks": (images[:, 0] > 0.7).astype(np.uint8),
            "labels": rng.integers(0, 3, n),
            "patients": tuple(f"p{i // 2}" for i in range(n)),
        }
        return ImageSet(images, tuple(f"s{seed}i{i}" for i in range(n)), (1.0,) * len(size), **(known | fields))

    return make
