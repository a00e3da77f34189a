"""Penultimate features of a 2D classification network whose weights the user provides as a pinned file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from harness.api import Context, Extractor, ImageSet

from .batches import in_batches, normalised, require_axes, require_colour, resized, rgb
from .weights import Pin, WeightsFile, fitting, tensors

if TYPE_CHECKING:
    import torch

Architecture = Literal["resnet50", "densenet121", "convnext_tiny"]
Preset = Literal["imagenet", "radimagenet", "radimagenet_keras"]
Shapes = dict[str, tuple[int, ...]]

_BATCH = 8
_WIDTH: dict[Architecture, int] = {"resnet50": 2048, "densenet121": 1024, "convnext_tiny": 768}
# Counters that only training reads, and the classification head.
_NOT_NEEDED: dict[Architecture, tuple[str, ...]] = {
    "resnet50": ("num_batches_tracked", "fc."),
    "densenet121": ("num_batches_tracked", "classifier."),
    "convnext_tiny": ("classifier.2.",),
}
# Position of torchvision's children where a file was saved from an nn.Sequential of them.
_CHILDREN: dict[Architecture, dict[str, str]] = {
    "resnet50": {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"},
    "densenet121": {"0": "features"},
    "convnext_tiny": {"0": "features", "2": "classifier"},
}
_WRAPPERS = ("module.", "model.", "backbone.")
_MEAN: dict[Preset, tuple[float, ...]] = {
    "imagenet": (0.485, 0.456, 0.406),
    "radimagenet": (0.5, 0.5, 0.5),
    "radimagenet_keras": (0.406, 0.456, 0.485),
}
_STD: dict[Preset, tuple[float, ...]] = {
    "imagenet": (0.229, 0.224, 0.225),
    "radimagenet": (0.5, 0.5, 0.5),
    "radimagenet_keras": (1.0, 1.0, 1.0),
}
_KERAS_EPSILON = 1.001e-5
_CONVNEXT_DEPTHS, _CONVNEXT_WIDTHS, _CONVNEXT_EPSILON = (3, 3, 9, 3), (96, 192, 384, 768), 1e-6


class Backbone(Extractor):
    """Globally pooled penultimate features of ResNet-50, DenseNet-121 or ConvNeXt-tiny, with weights from a pinned file.

    The networks are torchvision's, built without it, so that its files are read as they are. The features are the input of the
    last linear layer: 2,048, 1,024 or 768 numbers. 2D only. Grey images are repeated to three channels and resized to `side` x
    `side` pixels with an antialiased bilinear kernel, without keeping the aspect ratio and without cropping.

    `preset` says with what the weights were trained, and so how intensities enter and how the file is laid out:

    `imagenet`: torchvision's files; less (0.485, 0.456, 0.406), over (0.229, 0.224, 0.225) per channel.

    `radimagenet`: `ResNet50.pt` and `DenseNet121.pt` of RadImageNet (Mei et al. 2022, doi:10.1148/ryai.210315); 2 x - 1, as in
    the training code of github.com/BMEII-AI/RadImageNet.

    `radimagenet_keras`: `RadImageNet-ResNet50_notop.pth`, the Keras network converted by github.com/Warvito/radimagenet-models,
    with which MONAI's generative tutorials compute a Frechet distance; channels reversed, less (0.406, 0.456, 0.485). It is
    another network than the one before (Keras puts the strides of a block in its first convolution, and biases before
    normalisation): values of the presets do not compare with each other.

    A file is a state dict, alone or under `state_dict`. Its names are torchvision's, or those of an `nn.Sequential` of
    torchvision's children (RadImageNet: `backbone.4.0.conv1.weight` is `layer1.0.conv1.weight`), either of them also behind
    `module.`, `model.` or `backbone.`. The classification head is left out; any other name is refused.
    """

    name = "backbone"
    version = "1"

    architecture: Architecture
    weights: WeightsFile
    sha256: Pin
    preset: Preset
    side: int = Field(224, ge=32)

    @model_validator(mode="after")
    def _preset_exists(self) -> Backbone:
        if self.preset != "imagenet" and self.architecture == "convnext_tiny":
            raise ValueError("RadImageNet offers no convnext_tiny: choose preset: imagenet, resnet50 or densenet121")
        if self.preset == "radimagenet_keras" and self.architecture != "resnet50":
            raise ValueError(f"preset radimagenet_keras is a resnet50, not a {self.architecture}: choose preset: radimagenet")
        return self

    def inputs(self) -> tuple[Path, ...]:
        """Return the file of weights."""
        return (self.weights,)

    def extract(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return the pooled features, (N, 2048 | 1024 | 768) float32."""
        require_axes(images, 2, self.architecture)
        require_colour(images, self.architecture)
        network = self._network(context.device)

        def features(x: torch.Tensor) -> torch.Tensor:
            x = rgb(resized(x, (self.side, self.side)))
            x = x.flip(1) if self.preset == "radimagenet_keras" else x
            return network(normalised(x, _MEAN[self.preset], _STD[self.preset]))

        return in_batches(images, _BATCH, _WIDTH[self.architecture], context, features)

    def _network(self, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the function from normalised images (N, 3, H, W) to pooled features, with the weights of the file."""
        keras = self.preset == "radimagenet_keras"
        found = torchvision_names(tensors(self.weights, self.sha256), self.architecture)
        shapes = torchvision_shapes(self.architecture, biases=keras)
        said = f"{self.architecture} with preset {self.preset}"
        state = {n: t.to(device) for n, t in fitting(found, shapes, self.weights, said, _NOT_NEEDED[self.architecture]).items()}
        if self.architecture == "convnext_tiny":
            return lambda x: _convnext_tiny(x, state)
        if keras:
            return _as_keras(_filled(self.architecture, _without_biases(state), device))
        return _filled(self.architecture, state, device)


def torchvision_names(state: Mapping[str, torch.Tensor], architecture: Architecture) -> dict[str, torch.Tensor]:
    """Return the tensors under torchvision's names, from any of the layouts that `Backbone` documents; other names stay."""
    found = dict(state)
    while found and (prefix := next((w for w in _WRAPPERS if all(name.startswith(w) for name in found)), "")):
        found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    if all(name.split(".")[0].isdigit() for name in found):
        children = _CHILDREN[architecture]
        parts = {name: name.split(".", 1) for name in found}
        found = {".".join([children.get(parts[name][0], parts[name][0]), *parts[name][1:]]): t for name, t in found.items()}
    # Files of densenets from before 2019 have norm.1 for norm1 (torchvision, models/densenet.py).
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name): tensor for name, tensor in found.items()}


def torchvision_shapes(architecture: Architecture, *, biases: bool = False) -> Shapes:
    """Return torchvision's names and shapes of everything that the features need. biases: of the convolutions of a resnet, too."""
    if architecture == "convnext_tiny":
        return _convnext_shapes()
    shapes = {_torchvision_name(name): tuple(t.shape) for name, t in _empty(architecture).state_dict().items()}
    shapes = {name: shape for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}
    if biases:
        shapes |= {name.replace("weight", "bias"): shape[:1] for name, shape in shapes.items() if len(shape) == 4}
    return shapes


def _torchvision_name(name: str) -> str:
    """Return torchvision's name of a tensor of MONAI's resnet or densenet."""
    return name.replace(".layers.", ".")


@cache
def _empty(architecture: Architecture) -> torch.nn.Module:
    """Return MONAI's ResNet-50 or DenseNet-121 as torchvision's are, without tensors and without the head; to be copied."""
    import torch
    from monai.networks.nets import DenseNet121, ResNet  # type: ignore[attr-defined]

    with torch.device("meta"):
        if architecture == "densenet121":
            network = DenseNet121(spatial_dims=2, in_channels=3, out_channels=1)
            network.class_layers.out = torch.nn.Identity()
            return network
        return ResNet(
            block="bottleneck",
            layers=[3, 4, 6, 3],
            block_inplanes=[64, 128, 256, 512],
            spatial_dims=2,
            n_input_channels=3,
            conv1_t_stride=2,
            feed_forward=False,
            bias_downsample=False,
        )


def _filled(architecture: Architecture, state: Mapping[str, torch.Tensor], device: str) -> torch.nn.Module:
    """Return the network in evaluation mode with these tensors, which have torchvision's names."""
    import torch

    network = deepcopy(_empty(architecture))
    unused = torch.zeros((), dtype=torch.long, device=device)
    network.load_state_dict({name: state.get(_torchvision_name(name), unused) for name in network.state_dict()}, assign=True)
    return network.eval()


def _as_keras(network: torch.nn.Module) -> torch.nn.Module:
    """Return the ResNet-50 with the strides in the first convolution of a block, and Keras' epsilon."""
    import torch

    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = _KERAS_EPSILON
        elif hasattr(module, "conv3"):
            module.conv1.stride, module.conv2.stride = module.conv2.stride, (1, 1)
    return network


def _without_biases(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the resnet's state with each bias of a convolution moved into the mean of the normalisation that follows: exact."""
    found = dict(state)
    for name in [n for n, t in state.items() if t.ndim == 4]:
        bias = found.pop(name.replace("weight", "bias"))
        following = name.replace("downsample.0", "downsample.1").replace("conv", "bn").replace("weight", "running_mean")
        found[following] = found[following] - bias
    return found


def _convnext_shapes() -> Shapes:
    """Return torchvision's names and shapes of ConvNeXt-tiny up to its last normalisation."""
    shapes: Shapes = {"features.0.0.weight": (96, 3, 4, 4), "features.0.0.bias": (96,)}
    shapes |= {"features.0.1.weight": (96,), "features.0.1.bias": (96,)}
    for stage, (depth, width) in enumerate(zip(_CONVNEXT_DEPTHS, _CONVNEXT_WIDTHS, strict=True)):
        if stage:
            before, half = f"features.{2 * stage}", width // 2
            shapes |= {f"{before}.0.weight": (half,), f"{before}.0.bias": (half,)}
            shapes |= {f"{before}.1.weight": (width, half, 2, 2), f"{before}.1.bias": (width,)}
        for k in range(depth):
            block = f"features.{2 * stage + 1}.{k}"
            shapes |= {f"{block}.layer_scale": (width, 1, 1)}
            shapes |= {f"{block}.block.0.weight": (width, 1, 7, 7), f"{block}.block.0.bias": (width,)}
            shapes |= {f"{block}.block.2.weight": (width,), f"{block}.block.2.bias": (width,)}
            shapes |= {f"{block}.block.3.weight": (4 * width, width), f"{block}.block.3.bias": (4 * width,)}
            shapes |= {f"{block}.block.5.weight": (width, 4 * width), f"{block}.block.5.bias": (width,)}
    return shapes | {"classifier.0.weight": (768,), "classifier.0.bias": (768,)}


def _convnext_tiny(x: torch.Tensor, state: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return pooled and normalised features, (N, 768), of ConvNeXt-tiny (Liu et al. 2022, arXiv:2201.03545)."""
    from torch.nn import functional

    def of(layer: str) -> tuple[torch.Tensor, torch.Tensor]:
        return state[f"{layer}.weight"], state[f"{layer}.bias"]

    def normed(x: torch.Tensor, layer: str) -> torch.Tensor:
        return functional.layer_norm(x, x.shape[-1:], *of(layer), eps=_CONVNEXT_EPSILON)

    # Channels last throughout, except in the convolutions.
    x = normed(functional.conv2d(x, *of("features.0.0"), stride=4).permute(0, 2, 3, 1), "features.0.1")
    for stage, depth in enumerate(_CONVNEXT_DEPTHS):
        if stage:
            x = normed(x, f"features.{2 * stage}.0").permute(0, 3, 1, 2)
            x = functional.conv2d(x, *of(f"features.{2 * stage}.1"), stride=2).permute(0, 2, 3, 1)
        for k in range(depth):
            block = f"features.{2 * stage + 1}.{k}"
            y = functional.conv2d(x.permute(0, 3, 1, 2), *of(f"{block}.block.0"), padding=3, groups=x.shape[-1])
            y = functional.linear(normed(y.permute(0, 2, 3, 1), f"{block}.block.2"), *of(f"{block}.block.3"))
            y = functional.linear(functional.gelu(y), *of(f"{block}.block.5"))
            x = x + state[f"{block}.layer_scale"].flatten() * y
    return normed(x.mean(dim=(1, 2)), "classifier.0")
