"""Changes every image of a set by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from harness.api import ImageSet


def planted(images: ImageSet, defect: Callable[[np.ndarray], np.ndarray]) -> ImageSet:
    """Return the set with `defect` applied to one image after the other; all that is known but the features stays.

    defect: takes one read-only image (C, H, W) or (C, D, H, W), float32, and returns a finite array of that shape, which is
    clipped to the intensity window. Images are handed over one by one and in order, so that no result depends on how many of
    them are in memory together, and only one image and the result are.
    """
    changed = np.empty(images.images.shape, dtype=np.float32)
    for row, image in enumerate(images.images):
        changed[row] = np.clip(defect(image), 0.0, 1.0)
    return replace(images, images=changed, features=None, checked=False)
