"""Any network that its owner exported to a TorchScript file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from harness.api import Context, Extractor, ImageSet, InputError, NotComputable, Problem

from .batches import normalised, resized
from .networks import exact, features_of
from .weights import Pin, WeightsFile, loaded

if TYPE_CHECKING:
    import torch

_ALIKE = 1e-3


class TorchScript(Extractor):
    """Features of your own network, exported with `torch.jit.trace` or `torch.jit.script` and saved with `torch.jit.save`.

    A TorchScript file is a program: name only files that you trust. It is pinned by its digest, so the audit stops if it changes.
    Export the network in evaluation mode, as a function of one (batch, channels, height, width) tensor; with axes 3 of (batch,
    channels, depth, height, width). If the network returns several tensors, wrap it so that it returns the one you mean.

    weights, sha256: the file and its digest. axes: 2 for images, 3 for volumes. channels: that the network takes; grey images are
    repeated. side: images are resized to it along every axis, bilinearly and antialiased as `PIL.Image.resize` does; null leaves
    them as they are. Pixels x in [0, 1] enter as (scale x - mean) / std; mean and std hold one number or one per channel.

    pooling: none where the network returns (batch, F); mean averages a (batch, F, ...) map over its positions; flatten takes all
    of it. normalise: scales each row to length 1. output: what the numbers are, which decides which metrics take them: embedding,
    logits (one column per class), spatial (a flattened map), distances (only distances mean something). batch: how many images at a
    time.

    DreamSim (Fu et al. 2023, arXiv:2306.09344): trace `model.embed` on a (1, 3, 224, 224) tensor and name side 224, normalise true,
    output distances. DreamSim is 1 - cosine of two embeddings, and the squared Euclidean distance of unit rows is 2 (1 - cosine):
    DreamSim is exactly half the squared distance of two rows. CLIP: trace `encode_image`, with its mean and std.
    """

    name = "torchscript"
    version = "1"

    weights: WeightsFile
    sha256: Pin = ""
    axes: Literal[2, 3] = 2
    channels: int = Field(3, ge=1)
    side: int | None = Field(None, ge=1)
    scale: float = Field(1.0, gt=0, allow_inf_nan=False)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    pooling: Literal["none", "mean", "flatten"] = "none"
    normalise: bool = False
    output: Literal["embedding", "spatial", "logits", "distances"] = "embedding"
    batch: int = Field(8, ge=2)

    @field_validator("mean", "std")
    @classmethod
    def _per_channel(cls, value: tuple[float, ...], info: Any) -> tuple[float, ...]:
        channels = info.data.get("channels")
        if channels is not None and len(value) not in (1, channels):
            raise ValueError(f"one number, or one for each of the {channels} channels, got {len(value)}")
        if not all(np.isfinite(v) for v in value) or (info.field_name == "std" and min(value) <= 0):
            raise ValueError("numbers must be finite, and std positive")
        return value

    def inputs(self) -> tuple[Path, ...]:
        """Return the file of the network."""
        return (self.weights,)

    def gives(self) -> Literal["embedding", "spatial", "logits", "distances"]:
        """Return the option `output`."""
        return self.output

    def extract(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return what the network makes of each image, (N, F) float32.

        Images with another number of axes are `NotComputable`. A network that cannot be loaded, cannot be run on these images, or
        gives an image other features in other company, is an `InputError`.
        """
        axes = len(images.size_px)
        if axes != self.axes:
            got = f"2D images of {images.size_px} pixels" if axes == 2 else f"volumes of {images.size_px} voxels"
            raise NotComputable(f"the network is declared for {self.axes} axes, got {got}; name one for {axes} axes and write axes: {axes}")
        found = images.images.shape[1]
        if found not in (1, self.channels):
            raise NotComputable(f"the network is declared for {self.channels} channels, got images of {found}; write channels: {found}")
        network = loaded(self.weights, self.sha256, lambda file: _script(file, context.device))
        width = self._width(network, images, context)
        return features_of(images, self.batch, width, context, lambda x: self._features(network, self._prepared(x)))

    def _prepared(self, x: torch.Tensor) -> torch.Tensor:
        """Return a batch as the network takes it."""
        if x.shape[1] != self.channels:
            x = x.repeat(1, self.channels, *(1,) * self.axes)
        x = x if self.side is None else resized(x, (self.side,) * self.axes)
        mean, std = (part * self.channels if len(part) == 1 else part for part in (self.mean, self.std))
        return normalised(self.scale * x, mean, std)

    def _features(self, network: Any, x: torch.Tensor) -> torch.Tensor:
        """Return the features of one batch, (batch, F)."""
        import torch

        where = str(self.weights)
        try:
            made = network(x)
        except RuntimeError as error:
            said = str(error).strip().splitlines()[-1][:160]
            fix = "check side, channels and axes, and on which device and with which batch size it was traced"
            raise InputError(Problem(f"the network does not run on a batch of shape {tuple(x.shape)} ({said})", where, fix)) from error
        if not isinstance(made, torch.Tensor) or made.ndim < 2 or len(made) != len(x):
            got = f"a tensor of shape {tuple(made.shape)}" if isinstance(made, torch.Tensor) else type(made).__name__
            fix = "export a function that returns one tensor whose rows are the images"
            raise InputError(Problem(f"the network returns {got} for {len(x)} images", where, fix))
        if made.ndim > 2 and self.pooling == "none":
            what = f"the network returns a map of shape {tuple(made.shape[1:])} for each image"
            raise InputError(Problem(what, where, "write pooling: mean, or pooling: flatten"))
        made = made.flatten(start_dim=2).mean(dim=2) if made.ndim > 2 and self.pooling == "mean" else made.flatten(start_dim=1)
        made = made.float()
        # A row of zeros has no direction: it becomes NaN, which is refused with the name of the image.
        return made / made.square().sum(dim=1, keepdim=True).sqrt() if self.normalise else made

    def _width(self, network: Any, images: ImageSet, context: Context) -> int:
        """Return how many features there are; refuse a network in which the first image depends on the others of its batch."""
        import torch

        block = torch.from_numpy(np.array(images.images[: self.batch])) if len(images) else torch.zeros(1, *images.images.shape[1:])
        together = torch.cat([block, block[:1].expand(self.batch - len(block), *block.shape[1:])])
        alone = torch.zeros_like(together)
        alone[0] = block[0]
        with torch.inference_mode(), exact():
            first, second = (self._features(network, self._prepared(x.to(context.device)))[0] for x in (alone, together))
        if float((first - second).abs().max()) > _ALIKE * float(second.abs().max()):
            fix = "call eval() before you export it; if that was done, it normalises over the batch and cannot be used"
            raise InputError(Problem("the features of an image depend on the other images of its batch", str(self.weights), fix))
        return len(second)


def _script(file: IO[bytes], device: str) -> Any:
    """Return the network of an open TorchScript file, in evaluation mode, on the device."""
    import torch

    try:
        with warnings.catch_warnings():
            # torch advises its newer export, which cannot be had of networks that are published as TorchScript.
            warnings.filterwarnings("ignore", "`torch.jit.load`", DeprecationWarning)
            return torch.jit.load(file, map_location=device).eval()
    except (RuntimeError, ValueError) as error:
        said = str(error).strip().splitlines()[0][:160]
        fix = "save the network with torch.jit.save; a file of weights alone has no network"
        raise InputError(Problem(f"the file is no TorchScript ({said})", str(file.name), fix)) from error
