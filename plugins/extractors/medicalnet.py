"""Features of volumes: the 3D residual networks of MedicalNet, with weights from a pinned file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import PositiveInt

from harness.api import Context, Extractor, ImageSet, NotComputable

from .batches import in_batches, require_axes, resized
from .weights import Pin, WeightsFile, fitting, tensors

if TYPE_CHECKING:
    import torch

Depth = Literal[10, 18, 34, 50]

_BLOCK: dict[Depth, str] = {10: "basic", 18: "basic", 34: "basic", 50: "bottleneck"}
_LAYERS: dict[Depth, list[int]] = {10: [1, 1, 1, 1], 18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3]}
_WIDTH: dict[Depth, int] = {10: 512, 18: 512, 34: 512, 50: 2048}
_DILATION = {"layer3": 2, "layer4": 4}
# Counters that only training reads, and the segmentation head of MedicalNet.
_NOT_NEEDED = ("num_batches_tracked", "conv_seg.", "fc.")


class MedicalNet(Extractor):
    """Globally averaged features of the 3D residual networks of MedicalNet, with weights from a pinned file. 3D only.

    MedicalNet (Med3D; Chen et al. 2019, arXiv:1904.00625, github.com/Tencent/MedicalNet) learned to segment 23 sets of CT and
    MRI; `weights` is one of its files, such as `resnet_10_23dataset.pth`, and `depth` the number in its name. 512 features for
    each channel of the volume, 2,048 at depth 50: channels enter one by one and their features stand side by side.

    `normalise` says how intensities enter. nonzero: (x - mean) / standard deviation, both over the voxels above 0, as
    MedicalNet does; voxels of exactly 0 become 0, the mean of the noise that MedicalNet fills them with. volume: the same over
    all voxels, as MONAI does. none: as they are.

    `dilated`: MedicalNet's network, in which the last two stages keep the resolution and dilate by 2 and 4, which is the one
    that the weights were trained in and that published Frechet distances of volumes use (github.com/Warvito/MedicalNet-models).
    false: stages that halve the resolution, as MONAI's `ResNetFeatures` runs the same weights; twice as fast or more.

    `size` resizes every volume to these voxels (depth, height, width) first, trilinear and antialiased; without it, volumes
    enter as they are. Whether a shortcut is a convolution or padding (types B and A) is read from the file.
    """

    name = "medicalnet"
    version = "1"

    depth: Depth
    weights: WeightsFile
    sha256: Pin
    normalise: Literal["nonzero", "volume", "none"] = "nonzero"
    dilated: bool = True
    size: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None

    def inputs(self) -> tuple[Path, ...]:
        """Return the file of weights."""
        return (self.weights,)

    def extract(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return the averaged features, (N, channels x 512 | 2048) float32; `NotComputable` for a volume of one intensity."""
        import torch

        require_axes(images, 3, f"MedicalNet's resnet{self.depth}")
        if self.normalise != "none":
            self._require_contrast(images)
        network = self._network().to(context.device)

        def features(x: torch.Tensor) -> torch.Tensor:
            x = x.float() if self.size is None else resized(x, self.size)
            return torch.cat([network(self._normalised(channel)) for channel in x.split(1, dim=1)], dim=1)

        # One volume at a time: a batch of large ones would need the memory of a batch.
        return in_batches(images, 1, images.images.shape[1] * _WIDTH[self.depth], context, features)

    def _require_contrast(self, images: ImageSet) -> None:
        """Raise `NotComputable` where a channel has no standard deviation to divide by."""
        for name, volume in zip(images.ids, images.images, strict=True):
            for channel in volume:
                counted = channel[channel > 0] if self.normalise == "nonzero" else channel
                if counted.size == 0 or counted.min() == counted.max():
                    what = "voxels above 0" if self.normalise == "nonzero" else "voxels"
                    raise NotComputable(f"the {what} of {name} do not differ, so they have no z-score; choose normalise: none")

    def _normalised(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, 1, D, H, W) volumes as `normalise` says."""
        import torch

        if self.normalise == "none":
            return x
        counted = x > 0 if self.normalise == "nonzero" else torch.ones_like(x, dtype=torch.bool)
        axes = (1, 2, 3, 4)
        n = counted.sum(dim=axes, keepdim=True)
        mean = torch.where(counted, x, 0.0).sum(dim=axes, keepdim=True) / n
        spread = (torch.where(counted, x - mean, 0.0).square().sum(dim=axes, keepdim=True) / n).sqrt()
        if not bool((spread > 0).all()):
            raise NotComputable(f"at {self.size} voxels a volume has no contrast left, and so no z-score; choose a larger size")
        return torch.where(counted, (x - mean) / spread, 0.0)

    def _network(self) -> torch.nn.Module:
        """Return the network with the weights of the file, in evaluation mode."""
        import torch

        found = tensors(self.weights, self.sha256)
        network = _empty_network(self.depth, found)
        shapes = {n: tuple(t.shape) for n, t in network.state_dict().items() if not n.endswith("num_batches_tracked")}
        state = fitting(found, shapes, self.weights, f"MedicalNet's resnet{self.depth}", _NOT_NEEDED)
        unused = torch.zeros((), dtype=torch.long)
        network.load_state_dict({name: state.get(name, unused) for name in network.state_dict()}, assign=True)
        if self.dilated:
            for stage, dilation in _DILATION.items():
                _dilate(getattr(network, stage), dilation)
        return network.eval()


def _empty_network(depth: Depth, state: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """Return MONAI's network without tensors; the shortcuts are of the type that the state has."""
    import torch
    from monai.networks.nets import ResNet  # type: ignore[attr-defined]

    with torch.device("meta"):
        return ResNet(
            block=_BLOCK[depth],
            layers=_LAYERS[depth],
            block_inplanes=[64, 128, 256, 512],
            spatial_dims=3,
            n_input_channels=1,
            conv1_t_stride=2,
            shortcut_type="B" if depth in (10, 50) or "layer2.0.downsample.0.weight" in state else "A",
            feed_forward=False,
            bias_downsample="layer2.0.downsample.0.bias" in state,
        )


def _dilate(stage: torch.nn.Module, dilation: int) -> None:
    """Keep the resolution in this stage and dilate its wide convolutions instead."""
    import torch

    for module in stage.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.stride = (1, 1, 1)
            if module.kernel_size == (3, 3, 3):
                module.dilation = module.padding = (dilation,) * 3
        elif isinstance(getattr(module, "downsample", None), partial):
            module.downsample = partial(module.downsample.func, **(module.downsample.keywords | {"stride": 1}))
