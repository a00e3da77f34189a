"""The vision transformer of DINOv2, CLIP and BiomedCLIP in plain torch, and the names that their files give its tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Shapes = dict[str, tuple[int, ...]]
Activation = Literal["gelu", "quick_gelu", "swiglu"]

# Beginnings of names that the files hold besides: text towers, and what only training uses.
NOT_NEEDED = ("text", "logit_", "embeddings.mask_token", "vision_model.embeddings.position_ids")


@dataclass(frozen=True)
class VisionTransformer:
    """Sizes and names of a vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929).

    family: whose names the tensors have: dinov2 and clip as Hugging Face saves them, biomedclip as open_clip does. grid: patches
    along each side of the images that it was trained on. hidden: width of the perceptron in a block. projection: width of the
    projected embedding, None where the normalised class token is the result.
    """

    family: Literal["dinov2", "clip", "biomedclip"]
    width: int
    depth: int
    heads: int
    patch: int
    grid: int
    hidden: int
    activation: Activation
    epsilon: float
    projection: int | None = None

    @property
    def features(self) -> int:
        """Return how many numbers an image gets."""
        return self.projection or self.width

    def shapes(self) -> Shapes:
        """Return name and shape of every tensor that the features need, under the names of the family."""
        return {self._name(own): shape for own, shape in self._own_shapes().items()}

    def _own_shapes(self) -> Shapes:
        width, hidden = self.width, self.hidden
        shapes: Shapes = {"patch.weight": (width, 3, self.patch, self.patch)}
        tokens = self.grid**2 + 1
        shapes |= {
            "class": (width,) if self.family == "clip" else (1, 1, width),
            "positions": (tokens, width) if self.family == "clip" else (1, tokens, width),
        }
        shapes |= _pair("before", width) if self.family == "clip" else {"patch.bias": (width,)}
        for k in range(self.depth):
            shapes |= _pair(f"{k}.norm1", width) | _pair(f"{k}.norm2", width) | _pair(f"{k}.out", width, width)
            for part, size in {"qkv": 3 * width}.items() if self.family == "biomedclip" else dict.fromkeys("qkv", width).items():
                shapes |= _pair(f"{k}.{part}", size, width)
            shapes |= _pair(f"{k}.fc1", (2 if self.activation == "swiglu" else 1) * hidden, width) | _pair(f"{k}.fc2", width, hidden)
            if self.family == "dinov2":
                shapes |= {f"{k}.scale1": (width,), f"{k}.scale2": (width,)}
        shapes |= _pair("after", width)
        return shapes | ({"projection.weight": (self.projection, width)} if self.projection else {})

    def _name(self, own: str) -> str:
        """Return the family's name of a tensor."""
        names, block = _NAMES[self.family], _BLOCKS[self.family]
        first, _, rest = own.partition(".")
        if not first.isdigit():
            return f"{names[first]}.{rest}" if rest else names[first]
        layer, _, end = rest.partition(".")
        layer = "swiglu_" + layer if self.activation == "swiglu" and layer.startswith("fc") else layer
        return ".".join(part for part in (block, first, names[layer], end) if part)

    def __call__(self, images: torch.Tensor, state: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the embedding of normalised images, (N, features). images: (N, 3, H, W), multiples of the patch; state: of `shapes`."""
        import torch
        from torch.nn import functional

        own = {name: state[self._name(name)] for name in self._own_shapes()}
        patches = functional.conv2d(images, own["patch.weight"], own.get("patch.bias"), stride=self.patch)
        size = (patches.shape[2], patches.shape[3])
        x = torch.cat([own["class"].view(1, 1, -1).expand(len(images), 1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        x = x + self._positions(own["positions"].view(1, -1, self.width), size)
        if self.family == "clip":
            x = self._normed(x, own, "before")
        for k in range(self.depth):
            x = x + self._attended(self._normed(x, own, f"{k}.norm1"), own, k) * own.get(f"{k}.scale1", 1.0)
            x = x + self._perceived(self._normed(x, own, f"{k}.norm2"), own, k) * own.get(f"{k}.scale2", 1.0)
        token = self._normed(x[:, 0], own, "after")
        return functional.linear(token, own["projection.weight"]) if self.projection else token

    def _positions(self, positions: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return the position embedding for this many patches, interpolated as DINOv2 does where they are not those of training."""
        import torch
        from torch.nn import functional

        if size == (self.grid, self.grid):
            return positions
        grid = positions[:, 1:].reshape(1, self.grid, self.grid, -1).permute(0, 3, 1, 2)
        grid = functional.interpolate(grid, size=size, mode="bicubic", align_corners=False)
        return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)

    def _normed(self, x: torch.Tensor, own: Mapping[str, torch.Tensor], layer: str) -> torch.Tensor:
        from torch.nn import functional

        return functional.layer_norm(x, (self.width,), own[f"{layer}.weight"], own[f"{layer}.bias"], self.epsilon)

    def _attended(self, x: torch.Tensor, own: Mapping[str, torch.Tensor], k: int) -> torch.Tensor:
        """Return what the self-attention of block k adds."""
        from torch.nn import functional

        if self.family == "biomedclip":
            parts = _linear(x, own, f"{k}.qkv").chunk(3, dim=-1)
        else:
            parts = tuple(_linear(x, own, f"{k}.{part}") for part in "qkv")
        heads = [part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts]
        return _linear(functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2), own, f"{k}.out")

    def _perceived(self, x: torch.Tensor, own: Mapping[str, torch.Tensor], k: int) -> torch.Tensor:
        """Return what the perceptron of block k adds."""
        import torch
        from torch.nn import functional

        x = _linear(x, own, f"{k}.fc1")
        if self.activation == "swiglu":
            gate, value = x.chunk(2, dim=-1)
            x = functional.silu(gate) * value
        else:
            x = x * torch.sigmoid(1.702 * x) if self.activation == "quick_gelu" else functional.gelu(x)
        return _linear(x, own, f"{k}.fc2")


def _linear(x: torch.Tensor, own: Mapping[str, torch.Tensor], layer: str) -> torch.Tensor:
    from torch.nn import functional

    return functional.linear(x, own[f"{layer}.weight"], own[f"{layer}.bias"])


def _pair(layer: str, *shape: int) -> Shapes:
    """Return weight and bias of a layer."""
    return {f"{layer}.weight": shape, f"{layer}.bias": shape[:1]}


def swiglu_width(width: int, ratio: float) -> int:
    """Return the width of DINOv2's gated perceptron: two thirds of the plain one, rounded up to a multiple of 8."""
    return 8 * math.ceil(int(int(width * ratio) * 2 / 3) / 8)


_BLOCKS = {"dinov2": "encoder.layer", "clip": "vision_model.encoder.layers", "biomedclip": "visual.trunk.blocks"}
_NAMES: dict[str, dict[str, str]] = {
    "dinov2": {
        "patch": "embeddings.patch_embeddings.projection",
        "class": "embeddings.cls_token",
        "positions": "embeddings.position_embeddings",
        "norm1": "norm1",
        "q": "attention.attention.query",
        "k": "attention.attention.key",
        "v": "attention.attention.value",
        "out": "attention.output.dense",
        "scale1": "layer_scale1.lambda1",
        "norm2": "norm2",
        "fc1": "mlp.fc1",
        "fc2": "mlp.fc2",
        "swiglu_fc1": "mlp.weights_in",
        "swiglu_fc2": "mlp.weights_out",
        "scale2": "layer_scale2.lambda1",
        "after": "layernorm",
    },
    "clip": {
        "patch": "vision_model.embeddings.patch_embedding",
        "class": "vision_model.embeddings.class_embedding",
        "positions": "vision_model.embeddings.position_embedding.weight",
        "before": "vision_model.pre_layrnorm",
        "norm1": "layer_norm1",
        "q": "self_attn.q_proj",
        "k": "self_attn.k_proj",
        "v": "self_attn.v_proj",
        "out": "self_attn.out_proj",
        "norm2": "layer_norm2",
        "fc1": "mlp.fc1",
        "fc2": "mlp.fc2",
        "after": "vision_model.post_layernorm",
        "projection": "visual_projection",
    },
    "biomedclip": {
        "patch": "visual.trunk.patch_embed.proj",
        "class": "visual.trunk.cls_token",
        "positions": "visual.trunk.pos_embed",
        "norm1": "norm1",
        "qkv": "attn.qkv",
        "out": "attn.proj",
        "norm2": "norm2",
        "fc1": "mlp.fc1",
        "fc2": "mlp.fc2",
        "after": "visual.trunk.norm",
        "projection": "visual.head.proj",
    },
}
