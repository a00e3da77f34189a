"""How tasks train a network: the options and the loop that they share, the small residual network, and what makes it repeatable."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from harness.api import Context, ImageSet, InputError, NotComputable, Problem, Task

if TYPE_CHECKING:
    import torch

CHUNK = 64
_FILE = "network.pt"


class NetworkTask(Task):
    """A task that trains a network for a fixed number of steps and keeps the weights with the lowest validation loss."""

    steps: int = Field(200, ge=1, description="gradient steps, the same for every training set")
    batch_size: int = Field(32, ge=2, description="images a step")
    learning_rate: float = Field(2e-3, gt=0.0, description="highest rate of the one-cycle schedule")
    weight_decay: float = Field(1e-2, ge=0.0, description="of AdamW")
    check_every: int = Field(20, ge=1, description="steps between two looks at the validation loss")
    patience: int = Field(5, ge=1, description="looks without a lower loss after which training ends")
    flip_axes: tuple[int, ...] = Field((), description="axes along which training images are mirrored at random; 0 = first spatial axis")

    def train(
        self,
        network: torch.nn.Module,
        n: int,
        loss: Callable[[torch.Tensor], torch.Tensor],
        validation_loss: Callable[[], torch.Tensor],
        context: Context,
    ) -> None:
        """Train the network in place and leave it with the weights whose validation loss was lowest.

        n: number of training images. loss: of the training images of these rows. validation_loss: called in evaluation mode
        without gradients. `NotComputable` where the validation loss is not finite.
        """
        import torch

        optimiser = torch.optim.AdamW(network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, self.learning_rate, total_steps=self.steps)
        best, best_loss, waited = copy.deepcopy(network.state_dict()), math.inf, 0
        for step, rows in enumerate(batches(n, self.batch_size, self.steps, context.rng), start=1):
            network.train()
            optimiser.zero_grad()
            loss(rows).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            if step % self.check_every and step != self.steps:
                continue
            context.progress(step, self.steps)
            network.eval()
            with torch.no_grad():
                found = float(validation_loss())
            if not math.isfinite(found):
                raise NotComputable(f"the training loss is no longer finite after {step} steps: lower learning_rate")
            waited = 0 if found < best_loss else waited + 1
            if found < best_loss:
                best, best_loss = copy.deepcopy(network.state_dict()), found
            if waited >= self.patience:
                break
        network.load_state_dict(best)
        network.eval()


def keep(network: torch.nn.Module, context: Context, facts: Mapping[str, torch.Tensor]) -> None:
    """Leave the weights, and tensors that say what they belong to, in the work folder; `kept` reads them."""
    import torch

    weights = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    torch.save({name: tensor.cpu() for name, tensor in facts.items()} | {"weights": weights}, context.workdir / _FILE)


def kept(context: Context, name: str) -> dict[str, Any]:
    """Return what `keep` left: tensors by name, on the context's device, and `weights`; `InputError` where `name` was not fitted."""
    import torch

    if context.fitted is None:
        raise InputError(Problem(f"{name} has not been fitted", fix="call fit on the training images first"))
    content: dict[str, Any] = torch.load(context.fitted / _FILE, map_location=context.device, weights_only=True)
    return content


def with_weights(build: Callable[[], torch.nn.Module], weights: Mapping[str, Any]) -> torch.nn.Module:
    """Return the network that `build` makes with these weights, ready to predict; no random number is drawn."""
    import torch

    with torch.device("meta"):
        network = build()
    network.load_state_dict(weights, assign=True)
    return network.eval()


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
