"""Features of an untrained convolutional network: an embedding that needs no weights from anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from harness.api import Context, Extractor, ImageSet, NotComputable

from .pixels import downsample

if TYPE_CHECKING:
    import torch

_CHANNELS = (16, 32, 64)
_SMALLEST_PX = 4
_SCALE = 10.0


class RandomConv(Extractor):
    """Means and standard deviations of the channels of a fixed-seed, untrained convolutional network.

    Three layers of 16, 32 and 64 filters, 3 pixels wide along every axis, with rectifiers and halving average pooling between
    them; every channel of the image and of every layer is pooled over the image to mean and standard deviation, which makes 226
    features of a grey image. Filters are Gaussian, centred so that they answer to structure and not to brightness, scaled to
    norm sqrt(2) (He et al. 2015, arXiv:1502.01852), and drawn once from `seed`. Untrained convolution and pooling are selective
    for frequency and tolerant of position (Saxe et al. 2011, ICML), which makes this a usable embedding of texture where no
    trained weights can be fetched. Features are in tenths of the intensity window, which makes them about as large as those of
    trained networks. It knows nothing of anatomy: values are not comparable with those of trained networks, and
    what it notices is for qualification to show. Axes longer than `side` pixels (128 for 2D, 64 for 3D unless given) are
    averaged down.
    """

    name = "random_conv"
    version = "1"

    seed: int = Field(0, ge=0)
    side: int | None = Field(None, ge=_SMALLEST_PX)

    def extract(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return the pooled responses, (N, 2 x (channels + 112)) float32."""
        import torch

        if min(images.size_px) < _SMALLEST_PX:
            raise NotComputable(f"needs {_SMALLEST_PX} pixels along every axis, got images of {images.size_px}")
        axes, channels = len(images.size_px), images.images.shape[1]
        side = self.side or (128 if axes == 2 else 64)
        # Batches of one size, the last one filled up with zeros: how a sum is split must not depend on the number of images.
        batch = 16 if axes == 2 else 2
        filters = [f.to(context.device) for f in self._filters(channels, axes)]
        features = np.empty((len(images), 2 * (channels + sum(_CHANNELS))), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(images), batch):
                block = downsample(images.images[start : start + batch], side).astype(np.float32)
                filled = np.zeros((batch, *block.shape[1:]), dtype=np.float32)
                filled[: len(block)] = block
                pooled = _responses(torch.from_numpy(filled).to(context.device), filters)
                features[start : start + len(block)] = pooled[: len(block)].cpu().numpy()
                context.progress(min(start + batch, len(images)), len(images))
        return features

    def _filters(self, channels: int, axes: int) -> list[torch.Tensor]:
        """Return the filters of each layer, drawn in numpy so that they do not depend on the version of torch."""
        import torch

        rng = np.random.default_rng(self.seed)
        filters = []
        for count in _CHANNELS:
            drawn = rng.standard_normal((count, channels * 3**axes))
            drawn -= drawn.mean(axis=1, keepdims=True)
            drawn *= np.sqrt(2.0 / (drawn**2).sum(axis=1, keepdims=True))
            filters.append(torch.from_numpy(drawn.astype(np.float32).reshape(count, channels, *(3,) * axes)))
            channels = count
        return filters


def _responses(x: torch.Tensor, filters: list[torch.Tensor]) -> torch.Tensor:
    """Return mean and standard deviation of every channel of the image and of every layer, (N, features)."""
    import torch
    from torch.nn import functional

    flat = x.ndim == 4
    layers = [x]
    for depth, weight in enumerate(filters):
        if depth:
            x = functional.avg_pool2d(x, 2) if flat else functional.avg_pool3d(x, 2)
        x = torch.relu(functional.conv2d(x, weight, padding=1) if flat else functional.conv3d(x, weight, padding=1))
        layers.append(x)
    values = [layer.flatten(start_dim=2) for layer in layers]
    return _SCALE * torch.cat([part for v in values for part in (v.mean(dim=2), v.std(dim=2, correction=0))], dim=1)
