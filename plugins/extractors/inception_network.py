"""The Inception network of the Fréchet Inception distance, written out on a state dict; it is never trained here.

The network is TensorFlow's `inception-2015-12-05` as ported by pytorch-fid (github.com/mseitzer/pytorch-fid). It differs from other
Inception-v3 networks in three places: average pooling inside the blocks does not count the zeros of the border; the last block
pools by the maximum; and the classifier has 1008 outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Layer = Literal[64, 192, 768, 2048, "Mixed_6d", "Mixed_6e"]
CLASSES = 1008
_EPSILON = 0.001
_NORMALISATION = ("weight", "bias", "running_mean", "running_var")
_Shapes = dict[str, tuple[int, int, int, int]]

_STEM: _Shapes = {
    "Conv2d_1a_3x3": (32, 3, 3, 3),
    "Conv2d_2a_3x3": (32, 32, 3, 3),
    "Conv2d_2b_3x3": (64, 32, 3, 3),
    "Conv2d_3b_1x1": (80, 64, 1, 1),
    "Conv2d_4a_3x3": (192, 80, 3, 3),
}


def _a(enter: int, pool: int) -> _Shapes:
    return {
        "branch1x1": (64, enter, 1, 1), "branch5x5_1": (48, enter, 1, 1), "branch5x5_2": (64, 48, 5, 5),
        "branch3x3dbl_1": (64, enter, 1, 1), "branch3x3dbl_2": (96, 64, 3, 3), "branch3x3dbl_3": (96, 96, 3, 3),
        "branch_pool": (pool, enter, 1, 1),
    }  # fmt: skip


def _b(enter: int) -> _Shapes:
    return {
        "branch3x3": (384, enter, 3, 3), "branch3x3dbl_1": (64, enter, 1, 1),
        "branch3x3dbl_2": (96, 64, 3, 3), "branch3x3dbl_3": (96, 96, 3, 3),
    }  # fmt: skip


def _c(enter: int, c: int) -> _Shapes:
    return {
        "branch1x1": (192, enter, 1, 1),
        "branch7x7_1": (c, enter, 1, 1), "branch7x7_2": (c, c, 1, 7), "branch7x7_3": (192, c, 7, 1),
        "branch7x7dbl_1": (c, enter, 1, 1), "branch7x7dbl_2": (c, c, 7, 1), "branch7x7dbl_3": (c, c, 1, 7),
        "branch7x7dbl_4": (c, c, 7, 1), "branch7x7dbl_5": (192, c, 1, 7), "branch_pool": (192, enter, 1, 1),
    }  # fmt: skip


def _d(enter: int) -> _Shapes:
    return {
        "branch3x3_1": (192, enter, 1, 1), "branch3x3_2": (320, 192, 3, 3), "branch7x7x3_1": (192, enter, 1, 1),
        "branch7x7x3_2": (192, 192, 1, 7), "branch7x7x3_3": (192, 192, 7, 1), "branch7x7x3_4": (192, 192, 3, 3),
    }  # fmt: skip


def _e(enter: int) -> _Shapes:
    return {
        "branch1x1": (320, enter, 1, 1),
        "branch3x3_1": (384, enter, 1, 1), "branch3x3_2a": (384, 384, 1, 3), "branch3x3_2b": (384, 384, 3, 1),
        "branch3x3dbl_1": (448, enter, 1, 1), "branch3x3dbl_2": (384, 448, 3, 3),
        "branch3x3dbl_3a": (384, 384, 1, 3), "branch3x3dbl_3b": (384, 384, 3, 1), "branch_pool": (192, enter, 1, 1),
    }  # fmt: skip


_BLOCKS: dict[str, _Shapes] = {
    "Mixed_5b": _a(192, 32), "Mixed_5c": _a(256, 64), "Mixed_5d": _a(288, 64), "Mixed_6a": _b(288),
    "Mixed_6b": _c(768, 128), "Mixed_6c": _c(768, 160), "Mixed_6d": _c(768, 160), "Mixed_6e": _c(768, 192),
    "Mixed_7a": _d(768), "Mixed_7b": _e(1280), "Mixed_7c": _e(2048),
}  # fmt: skip


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of the network by its name in `pt_inception-2015-12-05-6726825d.pth`."""
    convolutions = {**_STEM, **{f"{block}.{name}": s for block, inside in _BLOCKS.items() for name, s in inside.items()}}
    found: dict[str, tuple[int, ...]] = {}
    for name, shape in convolutions.items():
        found[f"{name}.conv.weight"] = shape
        found |= {f"{name}.bn.{part}": (shape[0],) for part in _NORMALISATION}
    return {**found, "fc.weight": (CLASSES, 2048), "fc.bias": (CLASSES,)}


class InceptionNetwork:
    """The network in evaluation mode. state: the tensors that `shapes` names, float32, which are copied to the device."""

    def __init__(self, state: Mapping[str, torch.Tensor], device: str = "cpu") -> None:
        import torch

        # Channels last is half as fast again on a CPU.
        form = {True: torch.channels_last, False: torch.contiguous_format}
        self._state = {name: tensor.to(device, memory_format=form[tensor.ndim == 4]) for name, tensor in state.items()}

    def layer(self, x: torch.Tensor, layer: Layer) -> torch.Tensor:
        """Return the output of a layer for (N, 3, 299, 299) images in [-1, 1].

        64 and 192: after the first and second max-pooling, 768: `Mixed_6e`, 2048: `Mixed_7c`, all four averaged over the image,
        (N, layer). `Mixed_6d`, `Mixed_6e`: the map itself, (N, 768, 17, 17).
        """
        import torch
        from torch.nn import functional

        c = self._convolve
        x = x.to(memory_format=torch.channels_last)
        x = c(c(c(x, "Conv2d_1a_3x3", 2, padded=False), "Conv2d_2a_3x3", padded=False), "Conv2d_2b_3x3")
        x = functional.max_pool2d(x, 3, 2)
        if layer == 64:
            return x.mean(dim=(2, 3))
        x = functional.max_pool2d(c(c(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3", padded=False), 3, 2)
        if layer == 192:
            return x.mean(dim=(2, 3))
        for name, block in self._sequence():
            x = block(x, name)
            if name == layer:
                return x
            if name == "Mixed_6e" and layer == 768:
                break
        return x.mean(dim=(2, 3))

    def logits(self, x: torch.Tensor, *, bias: bool) -> torch.Tensor:
        """Return the 1008 class scores of (N, 3, 299, 299) images in [-1, 1], with or without the classifier's bias."""
        scores = self.layer(x, 2048) @ self._state["fc.weight"].T
        return scores + self._state["fc.bias"] if bias else scores

    def _sequence(self) -> list[tuple[str, Callable[[torch.Tensor, str], torch.Tensor]]]:
        kinds = {"5": self._block_a, "6": self._block_c, "7": self._block_e}
        special = {"Mixed_6a": self._block_b, "Mixed_7a": self._block_d}
        return [(name, special.get(name, kinds[name[6]])) for name in _BLOCKS]

    def _convolve(self, x: torch.Tensor, name: str, stride: int = 1, *, padded: bool = True) -> torch.Tensor:
        """Convolution, batch normalisation, rectifier. padded: with zeros, so that stride 1 keeps the size."""
        from torch.nn import functional

        weight = self._state[f"{name}.conv.weight"]
        around = (weight.shape[2] // 2, weight.shape[3] // 2) if padded else (0, 0)
        scale, shift, mean, variance = (self._state[f"{name}.bn.{part}"] for part in _NORMALISATION)
        x = functional.conv2d(x, weight, stride=stride, padding=around)
        x = functional.batch_norm(x, mean, variance, scale, shift, training=False, eps=_EPSILON)
        return functional.relu_(x)

    def _chain(self, x: torch.Tensor, block: str, *names: str) -> torch.Tensor:
        for name in names:
            x = self._convolve(x, f"{block}.{name}")
        return x

    def _pooled(self, x: torch.Tensor, block: str) -> torch.Tensor:
        """Average over 3 x 3 pixels, those outside the image not counted; then 1 x 1 convolution."""
        from torch.nn import functional

        average = functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        return self._convolve(average, f"{block}.branch_pool")

    def _block_a(self, x: torch.Tensor, b: str) -> torch.Tensor:
        import torch

        return torch.cat([
            self._chain(x, b, "branch1x1"),
            self._chain(x, b, "branch5x5_1", "branch5x5_2"),
            self._chain(x, b, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
            self._pooled(x, b),
        ], dim=1)  # fmt: skip

    def _block_b(self, x: torch.Tensor, b: str) -> torch.Tensor:
        import torch
        from torch.nn import functional

        return torch.cat([
            self._convolve(x, f"{b}.branch3x3", 2, padded=False),
            self._convolve(self._chain(x, b, "branch3x3dbl_1", "branch3x3dbl_2"), f"{b}.branch3x3dbl_3", 2, padded=False),
            functional.max_pool2d(x, 3, 2),
        ], dim=1)  # fmt: skip

    def _block_c(self, x: torch.Tensor, b: str) -> torch.Tensor:
        import torch

        return torch.cat([
            self._chain(x, b, "branch1x1"),
            self._chain(x, b, "branch7x7_1", "branch7x7_2", "branch7x7_3"),
            self._chain(x, b, *(f"branch7x7dbl_{i}" for i in range(1, 6))),
            self._pooled(x, b),
        ], dim=1)  # fmt: skip

    def _block_d(self, x: torch.Tensor, b: str) -> torch.Tensor:
        import torch
        from torch.nn import functional

        narrow = self._chain(x, b, "branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3")
        return torch.cat([
            self._convolve(self._chain(x, b, "branch3x3_1"), f"{b}.branch3x3_2", 2, padded=False),
            self._convolve(narrow, f"{b}.branch7x7x3_4", 2, padded=False),
            functional.max_pool2d(x, 3, 2),
        ], dim=1)  # fmt: skip

    def _block_e(self, x: torch.Tensor, b: str) -> torch.Tensor:
        import torch
        from torch.nn import functional

        single = self._chain(x, b, "branch3x3_1")
        double = self._chain(x, b, "branch3x3dbl_1", "branch3x3dbl_2")
        forks = [
            self._chain(part, b, f"{name}{end}") for part, name in ((single, "branch3x3_2"), (double, "branch3x3dbl_3")) for end in "ab"
        ]
        if b == "Mixed_7c":
            pooled = self._convolve(functional.max_pool2d(x, 3, stride=1, padding=1), f"{b}.branch_pool")
        else:
            pooled = self._pooled(x, b)
        return torch.cat([self._chain(x, b, "branch1x1"), *forks, pooled], dim=1)
