"""Images with the numbers that a metric finds for them, and their comparison, as the host makes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.api import Comparison, Context, ImageSet, Metric

CONTEXT = Context(seed=0, workdir=Path())


def described(metric: Metric, images: np.ndarray, name: str, spacing: tuple[float, ...] | None = None) -> ImageSet:
    """Images (N, C, ...) with the numbers that the metric finds for them."""
    spacing = spacing or (1.0,) * (images.ndim - 2)
    side = ImageSet(images.astype(np.float32), tuple(f"{name}{i}" for i in range(len(images))), spacing)
    return side.with_features(metric.describe(side, CONTEXT))


def compared(metric: Metric, real: np.ndarray, synthetic: np.ndarray, test: np.ndarray | None = None) -> Comparison:
    """The comparison of images as the host makes it; `test` is `real` where not given."""
    test = real if test is None else test
    return Comparison(described(metric, real, "r"), described(metric, test, "t"), described(metric, synthetic, "s"))
