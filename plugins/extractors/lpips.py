"""The perceptual distance LPIPS as an embedding: squared Euclidean distances between its rows are LPIPS values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from harness.api import Context, Extractor, ImageSet, InputError, NotComputable, Problem

from .batches import normalised, require_colour, resized, rgb
from .networks import features_of, require_planes
from .weights import Pin, WeightsFile, fitting, tensors

if TYPE_CHECKING:
    import torch

_BATCH = 8
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_EPSILON = 1e-10
# For each of the five layers: its convolutions (name in torchvision's `features`, channels in and out, kernel, stride, padding), and
# the max-pooling (kernel, stride) before them.
_Convolution = tuple[int, int, int, int, int, int]
_Network = tuple[tuple[int, tuple[_Convolution, ...]], ...]
_NETWORKS: dict[str, _Network] = {
    "alex": (
        (0, ((0, 3, 64, 11, 4, 2),)),
        (3, ((3, 64, 192, 5, 1, 2),)),
        (3, ((6, 192, 384, 3, 1, 1),)),
        (0, ((8, 384, 256, 3, 1, 1),)),
        (0, ((10, 256, 256, 3, 1, 1),)),
    ),
    "vgg": (
        (0, ((0, 3, 64, 3, 1, 1), (2, 64, 64, 3, 1, 1))),
        (2, ((5, 64, 128, 3, 1, 1), (7, 128, 128, 3, 1, 1))),
        (2, ((10, 128, 256, 3, 1, 1), (12, 256, 256, 3, 1, 1), (14, 256, 256, 3, 1, 1))),
        (2, ((17, 256, 512, 3, 1, 1), (19, 512, 512, 3, 1, 1), (21, 512, 512, 3, 1, 1))),
        (2, ((24, 512, 512, 3, 1, 1), (26, 512, 512, 3, 1, 1), (28, 512, 512, 3, 1, 1))),
    ),
}  # fmt: skip
_SMALLEST_PX = 32


class Lpips(Extractor):
    """LPIPS v0.1 (Zhang et al. 2018, arXiv:1801.03924): the squared distance of two rows is the LPIPS of the two images.

    LPIPS(x, y) = sum over five layers l of mean over positions of sum over channels c of w_lc (f_lc(x) - f_lc(y))^2, where f_l is the
    layer of an ImageNet classifier with each position scaled to norm 1, and w_lc >= 0 are weights learnt from human judgements.
    The features are sqrt(w_lc / positions_l) f_lc, all layers in one row, so LPIPS is their squared Euclidean distance, exactly.
    Only distances mean something: means and covariances of the rows do not. 0 is identical. It was learnt on patches of photographs
    of 64 x 64 pixels and sees texture, edges and small distortions; it knows no anatomy.

    2D only; grey images are repeated to three channels. Pixels of [0, 1] are scaled to [-1, 1], as the authors' code asks.

    net: alex (the authors' choice for measuring) or vgg. backbone: torchvision's `alexnet-owt-7be5be79.pth` or
    `vgg16-397923af.pth`; lin: the authors' weights of version 0.1, `alex.pth` or `vgg.pth`; backbone_sha256 and lin_sha256: their
    digests. `harness fetch lpips_alex` and `harness fetch lpips_vgg` download both.

    side: images are resized to it, bilinearly and antialiased; null leaves them as they are, which is what the authors' code does.
    A row grows with the image: at side 64 it has 31,872 numbers with alex (128 kB an image) and 499,712 with vgg (2 MB), at side 256
    it has 640,128 and 7,995,392.
    """

    name = "lpips"
    version = "1"

    backbone: WeightsFile
    backbone_sha256: Pin = ""
    lin: WeightsFile
    lin_sha256: Pin = ""
    net: Literal["alex", "vgg"] = "alex"
    side: int | None = Field(64, ge=_SMALLEST_PX)

    def inputs(self) -> tuple[Path, ...]:
        """Return both weights files."""
        return (self.backbone, self.lin)

    def gives(self) -> Literal["distances"]:
        """Return distances."""
        return "distances"

    def extract(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return the weighted unit maps of all layers, (N, F) float32; volumes and tiny images are `NotComputable`."""
        require_planes(images, self.name)
        require_colour(images, self.name)
        size = images.size_px if self.side is None else (self.side, self.side)
        if min(size) < _SMALLEST_PX:
            raise NotComputable(f"lpips needs {_SMALLEST_PX} pixels along both axes, got images of {size}; name a side")
        network, (convolutions, weights) = _NETWORKS[self.net], self._weights(context.device)

        def embedded(x: torch.Tensor) -> torch.Tensor:
            x = normalised(2 * resized(rgb(x), size) - 1, _SHIFT, _SCALE)
            return _embedded(x, network, convolutions, weights)

        return features_of(images, _BATCH, _width(size, network), context, embedded)

    def _weights(self, device: str) -> tuple[Mapping[str, torch.Tensor], list[torch.Tensor]]:
        """Return the convolutions by name and the weights of the channels, one (C,) tensor a layer."""
        convolutions: dict[str, tuple[int, ...]] = {}
        channels: dict[str, tuple[int, ...]] = {}
        for layer, (_, inside) in enumerate(_NETWORKS[self.net]):
            for place, enter, leave, kernel, _, _ in inside:
                convolutions[f"features.{place}.weight"] = (leave, enter, kernel, kernel)
                convolutions[f"features.{place}.bias"] = (leave,)
            channels[f"lin{layer}.model.1.weight"] = (1, inside[-1][2], 1, 1)
        called = {"alex": "torchvision's AlexNet", "vgg": "torchvision's VGG16"}[self.net]
        found = fitting(tensors(self.backbone, self.backbone_sha256), convolutions, self.backbone, called, ["classifier."])
        learnt = fitting(tensors(self.lin, self.lin_sha256), channels, self.lin, f"LPIPS v0.1 for {self.net}")
        negative = [name for name, tensor in learnt.items() if float(tensor.min()) < 0]
        if negative:
            fix = "name the weights of version 0.1, which has none"
            raise InputError(Problem(f"{', '.join(negative)} has negative weights, so this is no distance", str(self.lin), fix))
        return {n: t.to(device) for n, t in found.items()}, [t.flatten().to(device) for t in learnt.values()]


def _width(size: tuple[int, ...], network: _Network) -> int:
    """Return how many numbers a row has for images of this size."""
    width, axes = 0, list(size)
    for pooling, inside in network:
        axes = [(length - pooling) // 2 + 1 for length in axes] if pooling else axes
        for _, _, _, kernel, stride, padding in inside:
            axes = [(length + 2 * padding - kernel) // stride + 1 for length in axes]
        width += inside[-1][2] * axes[0] * axes[1]
    return width


def _embedded(
    x: torch.Tensor,
    network: _Network,
    convolutions: Mapping[str, torch.Tensor],
    weights: list[torch.Tensor],
) -> torch.Tensor:
    """Return sqrt(w_lc / positions_l) f_lc of every layer in one row, (N, F)."""
    import torch
    from torch.nn import functional

    rows = []
    for (pooling, inside), weight in zip(network, weights, strict=True):
        x = functional.max_pool2d(x, pooling, 2) if pooling else x
        for place, _, _, _, stride, padding in inside:
            name = f"features.{place}"
            x = functional.relu(functional.conv2d(x, convolutions[f"{name}.weight"], convolutions[f"{name}.bias"], stride, padding))
        unit = x / (x.square().sum(dim=1, keepdim=True).sqrt() + _EPSILON)
        positions = x.shape[2] * x.shape[3]
        rows.append((unit * (weight / positions).sqrt().reshape(1, -1, 1, 1)).flatten(start_dim=1))
    return torch.cat(rows, dim=1)
