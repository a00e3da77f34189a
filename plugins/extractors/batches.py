"""What trained networks need of images: colour, size, and batches of one size, so that a row depends on its image alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.api import Context, ImageSet, NotComputable

if TYPE_CHECKING:
    import torch

Kernel = Literal["bilinear", "bicubic"]

_AXES = {2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}
_KIND = {2: "2D images", 3: "3D volumes"}
_REACH: dict[Kernel, float] = {"bilinear": 1.0, "bicubic": 2.0}
_CUBIC = -0.5  # Keys 1981, as in Pillow; OpenCV takes -0.75


def require_axes(images: ImageSet, axes: Literal[2, 3], network: str) -> None:
    """Raise `NotComputable` unless the images have this many spatial axes. network: what the message calls the asker."""
    found = len(images.size_px)
    if found != axes:
        raise NotComputable(f"{network} takes {_KIND[axes]}, {_AXES[axes]}, got {_KIND[found]} of shape {images.images.shape}")


def require_colour(images: ImageSet, network: str) -> None:
    """Raise `NotComputable` unless `rgb` can make three channels of those that there are."""
    channels = images.images.shape[1]
    if channels not in (1, 3):
        raise NotComputable(f"{network} takes one grey channel or three of colour, got {channels} channels")


def rgb(images: torch.Tensor) -> torch.Tensor:
    """Return (N, 3, ...): a single grey channel three times, three channels as they are."""
    return images.repeat(1, 3, *[1] * (images.ndim - 2)) if images.shape[1] == 1 else images


def normalised(images: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """Return (x - mean) / std with one number of each per channel."""
    shape = (1, len(mean), *[1] * (images.ndim - 2))
    return (images - images.new_tensor(mean).view(shape)) / images.new_tensor(std).view(shape)


def resized(images: torch.Tensor, size: tuple[int, ...], kernel: Kernel = "bilinear") -> torch.Tensor:
    """Return (N, C, *size) float32: every spatial axis interpolated, after a low-pass of the kernel's width where it shrinks.

    The antialiased interpolation of Pillow (and of torch with `antialias=True`), for any number of axes and without rounding to
    8 bits in between. The bicubic kernel overshoots at edges, and is clipped to the range 0 to 1 after every axis, the last one
    first, as 8-bit images are.
    """
    found = images.float()
    for axis, length in reversed(list(enumerate(size, start=2))):
        if found.shape[axis] != length:
            weights = images.new_tensor(interpolation_weights(found.shape[axis], length, kernel), dtype=found.dtype)
            found = (found.movedim(axis, -1) @ weights).movedim(-1, axis)
            if kernel == "bicubic":
                found = found.clamp(0.0, 1.0)
    return found


def interpolation_weights(size: int, length: int, kernel: Kernel) -> np.ndarray:
    """Return (size, length) float64: with which weight each pixel of a line enters each pixel of the interpolated line.

    Pixel centres are at half integers; the kernel is stretched by size / length where the line shrinks, and cut and
    renormalised at the ends (Pillow, `ImagingResample`). Every column sums to one.
    """
    scale = size / length
    stretch = max(scale, 1.0)
    centres = (np.arange(length) + 0.5) * scale
    reach = _REACH[kernel] * stretch
    first, last = np.floor(centres - reach + 0.5), np.floor(centres + reach + 0.5)
    pixels = np.arange(size)[:, None]
    distance = np.abs(pixels + 0.5 - centres) / stretch
    values = np.where((pixels >= first) & (pixels < last), _KERNELS[kernel](distance), 0.0)
    return np.asarray(values / values.sum(axis=0))


def _triangle(distance: np.ndarray) -> np.ndarray:
    return np.maximum(0.0, 1.0 - distance)


def _keys(distance: np.ndarray) -> np.ndarray:
    near = ((_CUBIC + 2.0) * distance - (_CUBIC + 3.0)) * distance**2 + 1.0
    far = (((distance - 5.0) * distance + 8.0) * distance - 4.0) * _CUBIC
    return np.where(distance < 1.0, near, np.where(distance < 2.0, far, 0.0))


_KERNELS: dict[Kernel, Callable[[np.ndarray], np.ndarray]] = {"bilinear": _triangle, "bicubic": _keys}


def in_batches(images: ImageSet, batch: int, width: int, context: Context, network: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
    """Return what `network` makes of the images, (N, width) float32, a batch at a time and without gradients.

    network: takes (batch, C, ...) float32 on `context.device`, returns (batch, width). The last batch is filled up with copies of
    its first image: how a sum is split, and so the last bits of a row, must not depend on the number of images.
    """
    import torch

    features = np.empty((len(images), width), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            block = images.images[start : start + batch]
            filled = np.concatenate([block, np.repeat(block[:1], batch - len(block), axis=0)])
            found = network(torch.from_numpy(filled).to(context.device))
            features[start : start + len(block)] = found[: len(block)].float().cpu().numpy()
            context.progress(start + len(block), len(images))
    return features
