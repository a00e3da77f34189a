"""Running a network that somebody else trained: on planes only, in full precision, and never with a number that is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from harness.api import Context, ImageSet, NotComputable

from .batches import in_batches, require_axes

if TYPE_CHECKING:
    import torch


def require_planes(images: ImageSet, network: str) -> None:
    """Raise `NotComputable` for volumes, and say what to do instead. network: what the message calls the asker."""
    try:
        require_axes(images, 2, network)
    except NotComputable as error:
        raise NotComputable(
            f"{error}; name an extractor for volumes (medicalnet, random_conv, pixels), or audit slices as images"
        ) from error


def features_of(images: ImageSet, batch: int, width: int, context: Context, network: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
    """Return what `network` makes of the images, (N, width) float32, as `in_batches` does, in full precision.

    A row that is not finite is `NotComputable` and names its image.
    """
    with exact():
        found = in_batches(images, batch, width, context, network)
    finite = np.isfinite(found).all(axis=1)
    if not finite.all():
        raise NotComputable(f"the network gives features that are not finite for image {images.ids[int(finite.argmin())]}")
    return found


@contextmanager
def exact() -> Iterator[None]:
    """Compute convolutions and products on a GPU in full float32, the same way each time; leave torch's settings as they were."""
    import torch

    products = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = products
