"""Pictures with round lesions of known place and size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from harness.api import ImageSet


def ball(size: tuple[int, ...], centre: tuple[float, ...], radius: float) -> np.ndarray:
    """Return the pixels within a radius of a centre, bool, in 2D or 3D."""
    squared = sum((axis - c) ** 2 for axis, c in zip(np.indices(size), centre, strict=True))
    return np.asarray(squared <= radius**2)


def lesion_set(
    n: int = 8,
    size: tuple[int, ...] = (48, 56),
    channels: int = 1,
    *,
    noise: float = 0.03,
    contrast: float = 0.3,
    empty: Iterable[int] = (2,),
    seed: int = 0,
    **fields: Any,
) -> ImageSet:
    """Return n noisy grey images of level 0.4, each with one round lesion, brighter by `contrast`, but for the `empty` ones."""
    rng = np.random.default_rng(seed)
    images = 0.4 + noise * rng.standard_normal((n, channels, *size))
    masks = np.zeros((n, *size), dtype=np.uint8)
    for row in set(range(n)) - set(empty):
        radius = rng.uniform(0.12, 0.16) * min(size)
        centre = tuple(rng.uniform(radius + 4, s - radius - 4) for s in size)
        masks[row] = ball(size, centre, radius)
        images[row] += contrast * masks[row]
    known = {
        "masks": masks,
        "labels": np.arange(n, dtype=np.int64) % 2,
        "patients": tuple(f"p{i // 2}" for i in range(n)),
        "groups": {"site": np.array(["a", "b"])[np.arange(n) % 2]},
    }
    ids = tuple(f"i{i}" for i in range(n))
    return ImageSet(np.clip(images, 0.0, 1.0).astype(np.float32), ids, (1.0,) * len(size), **(known | fields))
