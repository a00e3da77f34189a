"""The small residual network that tasks train, and what makes its training repeatable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.api import Context, ImageSet

if TYPE_CHECKING:
    import torch

CHUNK = 64


def small_resnet(shape: tuple[int, ...], classes: int, channels: tuple[int, int, int, int]) -> torch.nn.Module:
    """Return an untrained MONAI ResNet with one block per stage, 2D or 3D as the images are.

    shape: of one image, (C, H, W) or (C, D, H, W). channels: of each stage; the last is the width of the penultimate layer.
    """
    from monai.networks.nets import ResNet  # type: ignore[attr-defined]

    return ResNet(
        block="basic",
        layers=[1, 1, 1, 1],
        block_inplanes=list(channels),
        spatial_dims=len(shape) - 1,
        n_input_channels=shape[0],
        conv1_t_size=5,
        conv1_t_stride=2,
        no_max_pool=max(shape[1:]) < 48,
        num_classes=classes,
    )


def shrunk(images: ImageSet, side: int, device: str) -> torch.Tensor:
    """Return the images on the device, averaged down so that the longest axis has at most `side` pixels."""
    import torch

    # Copied piece by piece: the host's arrays are read-only and may be larger than memory at full size.
    pieces = (torch.tensor(images.images[i : i + CHUNK], device=device) for i in range(0, len(images), CHUNK))
    return torch.cat([averaged_down(part, side) for part in pieces])


def averaged_down(images: torch.Tensor, side: int) -> torch.Tensor:
    """Return (N, C, ...) images whose longest axis has at most `side` pixels, as averages of areas; smaller ones as they are."""
    from torch.nn.functional import interpolate

    sizes = tuple(images.shape[2:])
    longest = max(sizes)
    if longest <= side:
        return images
    return interpolate(images, size=[max(1, round(length * side / longest)) for length in sizes], mode="area")


def class_weights(labels: np.ndarray, classes: int, device: str) -> torch.Tensor:
    """Return the weight of each class in the loss, (classes,): inverse to its frequency among labels from 0 to classes - 1."""
    import torch

    counts = np.bincount(labels, minlength=classes)
    return torch.as_tensor(counts.sum() / (classes * counts), dtype=torch.float32, device=device)


def batches(n: int, batch_size: int, steps: int, rng: np.random.Generator) -> Iterator[Any]:
    """Yield `steps` index tensors; every image comes once before any comes again."""
    import torch

    waiting: np.ndarray = np.empty(0, dtype=np.int64)
    for _ in range(steps):
        while len(waiting) < batch_size:
            waiting = np.concatenate([waiting, rng.permutation(n)])
        yield torch.as_tensor(waiting[:batch_size])
        waiting = waiting[batch_size:]


def mirrored(images: torch.Tensor, axes: tuple[int, ...], rng: np.random.Generator) -> torch.Tensor:
    """Return the images, each mirrored with probability one half along each of these spatial axes."""
    import torch

    for axis in axes:
        chosen = torch.as_tensor(rng.random(len(images)) < 0.5, device=images.device)
        images = torch.where(chosen.view(-1, *[1] * (images.ndim - 1)), images.flip(axis + 2), images)
    return images


@contextmanager
def deterministic(context: Context) -> Iterator[None]:
    """Seed torch from the context, on one thread and with deterministic algorithms; everything is put back afterwards."""
    import torch

    strict, warn_only = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    threads = torch.get_num_threads()
    device = torch.device(context.device)
    accelerators = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(accelerators, device_type="cuda" if device.type == "cpu" else device.type):
        try:
            # The order of floating-point sums, and so the result, would depend on the number of threads.
            torch.set_num_threads(1)
            torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
            torch.manual_seed(context.seed % 2**63)
            yield
        finally:
            torch.use_deterministic_algorithms(strict, warn_only=warn_only)
            torch.set_num_threads(threads)
