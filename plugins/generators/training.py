"""What generators that train share: options, a loop that goes on where it was killed, averaged weights, mixed precision."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from pydantic import Field

from harness.api import Context, Generator, ImageSet, NotComputable

from ..tasks.training import deterministic

if TYPE_CHECKING:
    import torch

Losses = Mapping[str, "torch.Tensor | float"]
POINTS = 50
SECONDS_BETWEEN_CHECKPOINTS = 30.0
_WARM_UP = 0.05


class TrainedGenerator(Generator):
    """A generator that the audit itself trains, for a fixed number of steps."""

    steps: int = Field(300, ge=1, description="gradient steps of the training")
    batch_size: int = Field(32, ge=2, description="images a step, and images sampled at once")
    learning_rate: float = Field(2e-3, gt=0.0, description="highest rate: it rises over the first 5 % of the steps and falls as a cosine")
    ema: float = Field(0.995, ge=0.0, lt=1.0, description="decay of the exponential moving average of the weights that samples; 0 = last")
    flip_axes: tuple[int, ...] = Field((), description="axes along which training images are mirrored at random; 0 = first spatial axis")
    rotations: tuple[Literal[90, 180, 270], ...] = Field(
        (), description="degrees by which training images are turned at random in the plane of the last two axes, each as likely as none"
    )
    mixed_precision: bool = Field(True, description="on a GPU: bfloat16 where it has it, else float16 with scaled gradients")
    threads: int = Field(2, ge=1, description="processor threads: another number changes the last digits of the weights")

    def configuration(self, train: ImageSet, context: Context) -> str:
        """Return a digest of everything that decides the training: a checkpoint with another one is not gone on from."""
        import torch

        words = [self.name, self.version, self.model_dump(mode="json"), train.sha256, context.seed, context.device, torch.__version__]
        return hashlib.sha256(json.dumps(words).encode()).hexdigest()


@contextmanager
def repeatable(context: Context, threads: int) -> Iterator[None]:
    """Make torch deterministic and seeded as `deterministic` does, on a fixed number of threads; everything is put back afterwards.

    With a fixed number of threads results repeat bit for bit; one thread and two differ in the last digits.
    """
    import torch

    with deterministic(context):
        torch.set_num_threads(threads)
        yield


class Stateful(Protocol):
    """What a checkpoint holds."""

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Take them back."""


class Ema:
    """An exponential moving average of a module's weights; the decay rises as (1 + k) / (10 + k) with step k up to its limit.

    So early weights are forgotten soon, as in the averages of TensorFlow (`ExponentialMovingAverage(num_updates=...)`).
    """

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self._module, self._decay, self._updates = module, decay, 0
        self.weights = {name: value.detach().clone() for name, value in module.state_dict().items()}

    def update(self) -> None:
        """Take in the weights after a step; whole numbers, such as counters, are copied."""
        import torch

        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        self._updates += 1
        with torch.no_grad():
            for name, value in self._module.state_dict().items():
                if value.is_floating_point():
                    self.weights[name].lerp_(value, 1.0 - decay)
                else:
                    self.weights[name].copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Return the average and how many steps it has seen."""
        return {"updates": self._updates, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._updates = int(state["updates"])
        for name, value in state["weights"].items():
            self.weights[name].copy_(value)


class Precision:
    """Mixed precision on a GPU (bfloat16, or float16 with scaled gradients), float32 elsewhere; and the gradient step that goes with it."""

    def __init__(self, context: Context, mixed: bool) -> None:
        import torch

        self._device = torch.device(context.device).type
        self._mixed = mixed and self._device == "cuda"
        self._dtype = torch.bfloat16 if not self._mixed or torch.cuda.is_bf16_supported() else torch.float16
        self._scaler = torch.amp.GradScaler(self._device, enabled=self._mixed and self._dtype == torch.float16)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which networks are called."""
        import torch

        return torch.autocast(self._device, dtype=self._dtype, enabled=self._mixed)

    def descend(self, loss: torch.Tensor, optimiser: torch.optim.Optimizer, largest_norm: float = 1.0) -> None:
        """Take one step down the gradient of the loss, whose norm over the optimiser's weights is clipped."""
        import torch

        optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(optimiser)
        torch.nn.utils.clip_grad_norm_([weight for group in optimiser.param_groups for weight in group["params"]], largest_norm)
        self._scaler.step(optimiser)
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Return the scale of the gradients."""
        return dict(self._scaler.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._scaler.load_state_dict(state)


def set_rate(optimiser: torch.optim.Optimizer, peak: float, step: int, steps: int) -> None:
    """Give the optimiser the learning rate of a step: a linear rise over the first 5 %, then half a cosine down to 0 (Loshchilov 2017)."""
    rising = max(1, round(_WARM_UP * steps))
    share = (step + 1) / rising if step < rising else 0.5 * (1.0 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
    for group in optimiser.param_groups:
        group["lr"] = peak * share


@dataclass(frozen=True)
class Spent:
    """Steps and seconds of the trainings of one fit so far."""

    steps: int = 0
    seconds: float = 0.0


@dataclass
class _State:
    """Where a training is: steps done, seconds spent, the curve so far, and sums of the losses since its last point."""

    step: int = 0
    seconds: float = 0.0
    curve: list[tuple[str, int, float]] = field(default_factory=list)
    sums: dict[str, Any] = field(default_factory=dict)
    summed: int = 0


def train(
    modules: Mapping[str, torch.nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
    step: Callable[[int, np.random.Generator], Losses],
    steps: int,
    context: Context,
    *,
    configuration: str,
    batch_size: int,
    others: Mapping[str, Stateful] | None = None,
    name: str = "network",
    earlier: Spent | None = None,
    total_steps: int | None = None,
) -> Spent:
    """Train the modules in place by `steps` calls of `step(k, rng)`, k from 0, and return what the fit has spent so far.

    step: draws from torch and from `rng` alone, which are seeded afresh for every step, and returns losses by series name ("loss",
    "loss_critic" ...). others: what else a checkpoint holds, such as `Ema` and `Precision`. name: of this training, where a fit has
    several; `earlier` is what the one before it returned, `total_steps` the sum of all. configuration: what the checkpoint belongs to.

    The state is kept in `context.checkpoints` after the first step, then every 30 s, and at the end: a call that was killed goes on
    from there and ends with the same bits. Means of the losses and the seconds are recorded at about 50 points. `NotComputable`
    where a loss is no longer finite, and where the device has too little memory.
    """
    earlier = earlier or Spent()
    held: dict[str, Stateful] = {**_prefixed("module", modules), **_prefixed("optimiser", optimisers), **_prefixed("other", others or {})}
    path = None if context.checkpoints is None else context.checkpoints / f"{name}.pt"
    state = _read(path, configuration, held, context.device) or _State()
    for series, at, value in state.curve:
        context.record(series, at, value)
    every = math.ceil(steps / POINTS)
    saved, clock = -math.inf, time.monotonic() - state.seconds
    for module in modules.values():
        module.train()
    with within_memory(context, batch_size):
        while state.step < steps:
            _add(state, step(state.step, _seeded(context, earlier.steps + state.step)))
            state.step += 1
            state.seconds = time.monotonic() - clock
            last = state.step == steps
            if last or state.step % every == 0:
                _point(state, earlier, context)
            if path is not None and (last or time.monotonic() - saved >= SECONDS_BETWEEN_CHECKPOINTS):
                _finite(state)
                _write(path, configuration, held, state)
                saved = time.monotonic()
            if last or state.step % every == 0:
                context.progress(earlier.steps + state.step, total_steps or steps)
    # What comes next must not depend on whether the last step was taken now or by a call that was killed.
    _seeded(context, earlier.steps + steps)
    for module in modules.values():
        module.eval()
    return Spent(earlier.steps + steps, earlier.seconds + state.seconds)


def _prefixed(prefix: str, parts: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{name}": part for name, part in parts.items()}


def _seeded(context: Context, step: int) -> np.random.Generator:
    """Seed torch for a step of the fit and return the numpy generator of that step."""
    import torch

    own = np.random.SeedSequence([context.seed, step])
    torch.manual_seed(int(own.generate_state(1, np.uint64)[0] >> np.uint64(1)))
    return np.random.default_rng(own)


def _add(state: _State, losses: Losses) -> None:
    """Add losses to the sums, on their device: nothing waits for it."""
    import torch

    for series, value in losses.items():
        number = torch.as_tensor(value).detach().double()
        state.sums[series] = state.sums[series] + number if series in state.sums else number
    state.summed += 1


def _finite(state: _State) -> None:
    for value in state.sums.values():
        if not math.isfinite(float(value)):
            raise NotComputable(f"the training loss is no longer finite after {state.step} steps: lower learning_rate")


def _point(state: _State, earlier: Spent, context: Context) -> None:
    """Record the mean losses since the last point, and the seconds."""
    _finite(state)
    at = earlier.steps + state.step
    found = [(series, at, float(value) / state.summed) for series, value in state.sums.items()]
    found.append(("seconds", at, earlier.seconds + state.seconds))
    state.curve += found
    state.sums, state.summed = {}, 0
    for series, step, value in found:
        context.record(series, step, value)


def _write(path: Path, configuration: str, held: Mapping[str, Stateful], state: _State) -> None:
    """Replace the checkpoint in one go, so that there is a whole one at any moment."""
    import torch

    parts = {name: part.state_dict() for name, part in held.items()}
    part = path.with_suffix(".part")
    torch.save({"configuration": configuration, "state": asdict(state), "parts": parts}, part)
    part.replace(path)


def _read(path: Path | None, configuration: str, held: Mapping[str, Stateful], device: str) -> _State | None:
    """Bring everything back to where the checkpoint is; None where there is none, or it is torn or of another configuration."""
    import torch

    if path is None or not path.is_file():
        return None
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, UnpicklingError):
        return None
    if not isinstance(content, dict) or content.get("configuration") != configuration:
        return None
    for name, part in held.items():
        part.load_state_dict(content["parts"][name])
    state = _State(**content["state"])
    state.curve = [(series, at, value) for series, at, value in state.curve]
    return state


@contextmanager
def within_memory(context: Context, batch_size: int) -> Iterator[None]:
    """Turn a lack of memory on the device into the `NotComputable` that says what to do."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        device = torch.device(context.device)
        size = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" and torch.cuda.is_available() else None
        memory = "the memory" if size is None else f"the {size / 2**30:.1f} GiB"
        raise NotComputable(f"a batch of {batch_size} images does not fit into {memory} of {device}: lower batch_size") from error
