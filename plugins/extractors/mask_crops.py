"""What the network that judges masks sees: image and mask round the mask, at one size, and moved at random while it learns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_WIDER = 2.0
_LEAST = 0.3


def crops(
    images: torch.Tensor, masks: torch.Tensor, side: int, rng: np.random.Generator | None = None, moved: float = 0.0, grey: float = 0.0
) -> torch.Tensor:
    """Return crops of images (N, C, ...) and of masks (N, 1, ...) of 0 and 1 round the mask, (N, C + 1, side, ...), masks last.

    A crop is twice as wide as the box round the mask, at least 0.3 of the image, in each axis by itself; that of an empty mask is
    the whole image. Images are interpolated linearly and go on beyond their edges as they end there; masks are sampled at the nearest
    pixel. rng: while learning. Each crop is then shifted, turned, sheared and scaled by a matrix whose entries differ from those of
    the identity by up to `moved`, where 1 is half a crop, and image values v become a v + b with -`grey` <= log a, b <= `grey`.
    """
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    n, axes = len(images), images.ndim - 2
    maps = boxes(masks)
    if rng is not None:
        change = torch.as_tensor(rng.uniform(-moved, moved, (n, axes, axes + 1)), dtype=images.dtype, device=images.device)
        change[:, :, :axes] += torch.eye(axes, device=images.device)
        maps = torch.cat([maps[:, :, :axes] @ change[:, :, :axes], maps[:, :, :axes] @ change[:, :, axes:] + maps[:, :, axes:]], dim=2)
    grid = affine_grid(maps, [n, 1, *[side] * axes], align_corners=False)
    seen = grid_sample(images, grid, padding_mode="border", align_corners=False)
    if rng is not None:
        drawn = torch.as_tensor(rng.uniform(-grey, grey, (2, n)), dtype=images.dtype, device=images.device)
        gain, offset = drawn.view(2, n, *[1] * (axes + 1))
        seen = seen * gain.exp() + offset
    return torch.cat([seen, grid_sample(masks, grid, mode="nearest", align_corners=False)], dim=1)


def boxes(masks: torch.Tensor) -> torch.Tensor:
    """Return the maps from crops to images, (N, K, K + 1) for masks (N, 1, ...) with K axes, last axis first, as torch takes them."""
    import torch

    n, axes = len(masks), masks.ndim - 2
    maps = torch.zeros(n, axes, axes + 1, dtype=masks.dtype, device=masks.device)
    for k in range(axes):
        axis = axes - 1 - k
        length = masks.shape[2 + axis]
        covered = masks.amax(dim=[d for d in range(1, masks.ndim) if d != 2 + axis]) > 0
        place = torch.arange(length, device=masks.device)
        low = torch.where(covered, place, length).amin(dim=1)
        high = torch.where(covered, place + 1, 0).amax(dim=1)
        some = covered.any(dim=1)
        maps[:, k, k] = torch.where(some, (_WIDER * (high - low) / length).clamp_min(_LEAST), 1.0)
        maps[:, k, axes] = torch.where(some, (low + high) / length - 1.0, 0.0)
    return maps
