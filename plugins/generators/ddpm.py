"""Diffusion in pixels: image and mask denoised together, or images for given masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from harness.api import Context, ImageSet, Request

from .tensors import (
    Facts,
    Kept,
    batch_rows,
    chunks,
    cropped,
    keep,
    kept,
    label_rows,
    mask_channels,
    masks_of,
    noise_sources,
    normal,
    padded,
    pictures_of,
    require_classes,
    require_masks,
    require_regions,
    synthetic,
    turned,
    unsigned,
)
from .training import Ema, Precision, Spent, TrainedGenerator, repeatable, set_rate, train, within_memory

if TYPE_CHECKING:
    import torch

Prediction = Literal["noise", "image", "flow"]
Schedule = Literal["linear", "cosine"]
_WIDTH = 8
_SCHEDULES = {"linear": "linear_beta", "cosine": "cosine"}
_PREDICTIONS = {"noise": "epsilon", "image": "sample"}


class Ddpm(TrainedGenerator):
    """A diffusion model in pixels that makes each image together with its mask, or an image for a given mask.

    As in Alblwi et al. 2025, image and mask are channels of one picture, to which noise is added and from which MONAI's
    `DiffusionModelUNet` learns to remove it, by the mean squared error; a mask with several regions has a channel for each. After
    sampling, a pixel belongs to the strongest region where that is above `mask_threshold`, which is kept with the weights. The network
    predicts the noise (Ho et al. 2020, as in the paper), the clean image, or the velocity of a rectified flow (Liu et al. 2022); the last
    two learn in far fewer steps. Samplers: every step of the chain with fresh noise (`ddpm`), DDIM (Song et al. 2020), or Euler steps
    along the flow. To follow the paper: prediction noise, sampler ddpm, per_class, flip_axes [0, 1], rotations [90, 180, 270].

    `condition: label` embeds the class and is guided without a classifier (Ho and Salimans 2022): the prediction is u + guidance (c - u)
    of that with (c) and without (u) label. `condition: mask` gives the mask to the network as further input channels (Med-DDPM, Dorjsembe
    et al. 2024): each image is made for a requested mask, which comes back as its mask. `per_class` trains one network for each class,
    as the paper does, with `steps` each. Only images that were made for a class, or for the mask of a labelled image, have labels.

    Sides that the network cannot halve are padded by their far edges, and the images are cut back. An image depends on the seed, its
    place in the request, its label and its mask.
    """

    name = "ddpm"
    version = "1"
    prediction: Prediction = Field("image", description="what the network predicts; flow = velocity, image - noise")
    schedule: Schedule | None = Field(
        None, description="how noise grows; linear for noise and cosine for image where not given; a flow has none"
    )
    timesteps: int = Field(1000, ge=2, le=2000, description="levels of noise")
    sampler: Literal["ddpm", "ddim", "euler"] | None = Field(None, description="euler for flow, ddim for the others where not given")
    sampling_steps: int | None = Field(None, ge=1, description="20 where not given, with sampler ddpm all timesteps; ddim: divides them")
    channels: tuple[int, ...] = Field((16, 32, 32), min_length=1, description="of each level of the network, finest first, multiples of 8")
    attention_levels: tuple[int, ...] = Field((), description="levels with self-attention, 0 = finest; the bottom always has it")
    residual_blocks: int = Field(1, ge=1, description="of each level")
    joint: bool | None = Field(None, description="make masks with the images; where not given, if the training images have masks")
    condition: Literal["none", "label", "mask"] = Field("none", description="what each image is made for")
    guidance: float = Field(1.0, ge=0.0, description="strength of the label; 1 = as learned, more = more typical of its class")
    drop_label: float = Field(0.1, ge=0.0, lt=1.0, description="share of training images whose label is withheld, for guidance")
    per_class: bool = Field(False, description="one network for each class")
    mask_threshold: float = Field(0.5, gt=0.0, lt=1.0, description="strength in [0, 1] above which a generated pixel is in a region")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        flow, steps = self.prediction == "flow", self.sampling_steps
        problems = {
            "prediction flow has no schedule": flow and self.schedule is not None,
            "sampler euler and prediction flow need each other": self.sampler is not None and (self.sampler == "euler") != flow,
            "sampler ddpm takes all timesteps, so sampling_steps cannot be given": self.sampler == "ddpm" and steps is not None,
            f"sampling_steps must be at most timesteps, {self.timesteps}": self._sampling_steps > self.timesteps,
            f"sampling_steps must divide timesteps, {self.timesteps}": not flow and self.timesteps % self._sampling_steps != 0,
            f"channels must be multiples of {_WIDTH}": any(width < 1 or width % _WIDTH for width in self.channels),
            f"attention_levels must be below {len(self.channels)}": any(not 0 <= i < len(self.channels) for i in self.attention_levels),
            "per_class has no label left to be conditioned on: use one of the two": self.per_class and self.condition == "label",
            "condition mask returns the masks it was given, so joint cannot be on": bool(self.joint) and self.condition == "mask",
            "guidance needs condition label": self.guidance != 1.0 and self.condition != "label",
            "guidance needs drop_label above 0": self.guidance != 1.0 and self.drop_label == 0.0,
        }
        for problem, found in problems.items():
            if found:
                raise ValueError(problem)
        return self

    @property
    def _sampling_steps(self) -> int:
        whole = self.timesteps if self.sampler == "ddpm" else min(20, self.timesteps)
        return whole if self.sampling_steps is None else self.sampling_steps

    def conditions(self) -> frozenset[str]:
        """Return labels and masks as far as images are made for them."""
        labels = {"labels"} if self.per_class or self.condition == "label" else set()
        return frozenset(labels | ({"masks"} if self.condition == "mask" else set()))

    def fit(self, train: ImageSet, context: Context) -> None:
        """Train one network, or one for each class, and leave averaged weights, facts and the mask threshold in the work folder."""
        facts = self._facts(train)
        everyone = np.arange(len(train))
        groups = {f"label={label}": np.flatnonzero(train.labels == label) for label in facts.labels} if self.per_class else {"": everyone}
        weights, spent = {}, Spent()
        with repeatable(context, self.threads):
            for name, rows in groups.items():
                weights[name], spent = self._trained(train, rows, name, facts, spent, len(groups), context)
        keep(context, facts, weights, {"mask_threshold": self.mask_threshold})

    def _facts(self, images: ImageSet) -> Facts:
        """Return the facts of the training images, with regions where the network sees masks; `NotComputable` where they do not do."""
        facts = Facts.of(images)
        if "labels" in self.conditions():
            require_classes(images, "for a network of its own" if self.per_class else "to condition on")
        if self.condition == "mask" or self.joint or (self.joint is None and images.masks is not None):
            require_regions(
                images, "to condition on" if self.condition == "mask" else "to make with the images (joint: false goes without)"
            )
            return facts
        return replace(facts, regions=())

    def _trained(
        self, images: ImageSet, rows: np.ndarray, name: str, facts: Facts, earlier: Spent, networks: int, context: Context
    ) -> tuple[dict[str, torch.Tensor], Spent]:
        """Return the averaged weights of a network trained on these rows, and what the fit has spent so far."""
        import torch

        network = self._network(facts).to(context.device)
        scheduler = noise_scheduler(self.prediction, self.schedule, self.timesteps)
        optimiser = torch.optim.AdamW(network.parameters(), lr=self.learning_rate, weight_decay=0.0)
        ema, precision = Ema(network, self.ema), Precision(context, self.mixed_precision)
        labels = torch.as_tensor(label_rows(images.labels, facts, len(images))) if self.condition == "label" else None

        def step(k: int, rng: np.random.Generator) -> dict[str, torch.Tensor | float]:
            set_rate(optimiser, self.learning_rate, k, self.steps)
            drawn = rows[batch_rows(len(rows), self.batch_size, k, (context.seed, earlier.steps))]
            clean, given = self._examples(images, drawn, facts, rng, context.device)
            noisy, times, target = noised(clean, scheduler, self.prediction)
            known = None if labels is None else self._withheld(labels[drawn], facts).to(context.device)
            with precision.autocast():
                predicted = network(torch.cat([noisy, given], dim=1), times, class_labels=known)
            loss = torch.nn.functional.mse_loss(predicted.float(), target)
            precision.descend(loss, optimiser)
            ema.update()
            return {f"loss_{name}" if name else "loss": loss}

        spent = train(
            {"network": network},
            {"network": optimiser},
            step,
            self.steps,
            context,
            configuration=self.configuration(images, context),
            batch_size=self.batch_size,
            others={"ema": ema, "precision": precision},
            name=name or "network",
            earlier=earlier,
            total_steps=networks * self.steps,
        )
        return ema.weights, spent

    def _withheld(self, labels: torch.Tensor, facts: Facts) -> torch.Tensor:
        """Return the labels with `drop_label` of them replaced by the one that stands for none."""
        import torch

        return torch.where(torch.rand(len(labels)) < self.drop_label, len(facts.labels), labels)

    def _examples(
        self, images: ImageSet, rows: np.ndarray, facts: Facts, rng: np.random.Generator, device: str
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what is to be made and what is given, both (N, channels, ...) in [-1, 1], turned alike and padded."""
        both = padded(turned(pictures_of(images, rows, facts, device), self.flip_axes, self.rotations, rng), self._multiple)
        made = self._made(facts)
        return both[:, :made], both[:, made:]

    @property
    def _multiple(self) -> int:
        return int(2 ** (len(self.channels) - 1))

    def _made(self, facts: Facts) -> int:
        """Return how many channels are made: those of the image, and of the mask unless it is given."""
        return facts.shape[0] + (0 if self.condition == "mask" else len(facts.regions))

    def _network(self, facts: Facts) -> torch.nn.Module:
        """Return the untrained network; one class more than there are labels stands for none."""
        from monai.networks.nets import DiffusionModelUNet  # type: ignore[attr-defined]

        levels = range(len(self.channels))
        return DiffusionModelUNet(
            spatial_dims=len(facts.shape) - 1,
            in_channels=facts.shape[0] + len(facts.regions),
            out_channels=self._made(facts),
            num_res_blocks=self.residual_blocks,
            channels=self.channels,
            attention_levels=[i in self.attention_levels for i in levels],
            norm_num_groups=_WIDTH,
            num_head_channels=_WIDTH,
            num_class_embeds=len(facts.labels) + 1 if self.condition == "label" else None,
        )

    def sample(self, request: Request, context: Context) -> ImageSet:
        """Return the requested images, with masks where the network makes them or was given them."""
        import torch

        left = kept(context, self.name)
        facts = left.facts
        labels = label_rows(request.labels, facts, request.n) if "labels" in self.conditions() else None
        given = require_masks(request, facts) if self.condition == "mask" else None
        images = np.empty((request.n, *facts.shape), dtype=np.float32)
        masks = np.empty((request.n, *facts.shape[1:]), dtype=np.uint8) if facts.regions else None
        done = 0
        with repeatable(context, self.threads), torch.no_grad(), within_memory(context, self.batch_size):
            for name in left.weights:
                network = self._loaded(left, name, context.device)
                own = np.arange(request.n)
                if self.per_class:
                    assert labels is not None
                    own = np.flatnonzero(labels == facts.labels.index(int(name.removeprefix("label="))))
                # Always a whole batch: the last digits of a convolution depend on how many images go through it at once.
                for places, new in chunks(len(own), self.batch_size):
                    rows = own[places]
                    known = None if labels is None or self.per_class else torch.as_tensor(labels[rows], device=context.device)
                    channels = None if given is None else mask_channels(given[rows], facts.regions, context.device)
                    found = self._sampled(network, facts, known, channels, noise_sources(rows, request, context))[:new]
                    images[rows[:new]] = unsigned(found[:, : facts.shape[0]])
                    if masks is not None and given is None:
                        masks[rows[:new]] = masks_of(found[:, facts.shape[0] :], facts.regions, left.numbers["mask_threshold"])
                    done += new
                    context.progress(done, request.n)
        seen = request.labels if self.conditions() else None
        return synthetic(request, self.name, facts, images, masks if given is None else given, seen)

    def _loaded(self, left: Kept, name: str, device: str) -> torch.nn.Module:
        network = self._network(left.facts).to(device)
        network.load_state_dict(left.weights[name])
        return network.eval()

    def _sampled(
        self,
        network: torch.nn.Module,
        facts: Facts,
        labels: torch.Tensor | None,
        given: torch.Tensor | None,
        sources: Sequence[torch.Generator],
    ) -> torch.Tensor:
        """Return what the network makes out of noise, (N, channels, ...) in about [-1, 1], cut back to the size of the images."""
        import torch

        sides = [-(-side // self._multiple) * self._multiple for side in facts.shape[1:]]
        start = normal((self._made(facts), *sides), sources)
        channels = start[:, :0] if given is None else padded(given, self._multiple)
        nobody = None if labels is None else torch.full_like(labels, len(facts.labels))

        def predict(noisy: torch.Tensor, time: int) -> torch.Tensor:
            times = torch.full((len(noisy),), time, device=noisy.device)
            seen = torch.cat([noisy, channels], dim=1)
            found = network(seen, times, class_labels=labels)
            if self.guidance == 1.0:
                return found
            without = network(seen, times, class_labels=nobody)
            return without + self.guidance * (found - without)

        sampler = self.sampler or ("euler" if self.prediction == "flow" else "ddim")
        scheduler = noise_scheduler(self.prediction, self.schedule, self.timesteps, ancestral=sampler == "ddpm")
        return cropped(SAMPLERS[sampler](scheduler, self._sampling_steps, predict, start, sources), facts.shape[1:])


_Predict = Callable[["torch.Tensor", int], "torch.Tensor"]


def noise_scheduler(
    prediction: Prediction, schedule: Schedule | None, timesteps: int, *, ancestral: bool = False, clip: bool = True
) -> Any:
    """Return MONAI's scheduler; the two of a chain, with fresh noise in each step (`ancestral`) or without, add noise alike.

    schedule: linear for noise and cosine for image where not given; a flow has none. clip: what is clean to [-1, 1].
    """
    from monai.networks.schedulers import DDIMScheduler, DDPMScheduler, RFlowScheduler

    if prediction == "flow":
        return RFlowScheduler(num_train_timesteps=timesteps)
    name = _SCHEDULES[schedule or ("linear" if prediction == "noise" else "cosine")]
    kind = DDPMScheduler if ancestral else DDIMScheduler
    return kind(timesteps, schedule=name, prediction_type=_PREDICTIONS[prediction], clip_sample=clip)


def noised(clean: torch.Tensor, scheduler: Any, prediction: Prediction) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return clean values (N, ...) with noise of a random level each, these levels (N,), and what is to be predicted."""
    import torch

    noise, times = torch.randn_like(clean), torch.randint(0, scheduler.num_train_timesteps, (len(clean),), device=clean.device)
    noisy = scheduler.add_noise(original_samples=clean, noise=noise, timesteps=times)
    return noisy, times, {"noise": noise, "image": clean, "flow": clean - noise}[prediction]


def _ancestral(scheduler: Any, steps: int, predict: _Predict, noisy: torch.Tensor, sources: Sequence[torch.Generator]) -> torch.Tensor:
    """Go down the whole chain; every image draws its noise from its own source."""
    import torch

    for time in reversed(range(steps)):
        predicted = predict(noisy, time)
        parts = zip(predicted.split(1), noisy.split(1), sources, strict=True)
        noisy = torch.cat([scheduler.step(one, time, image, generator=source)[0] for one, image, source in parts])
    return noisy


def _implicit(scheduler: Any, steps: int, predict: _Predict, noisy: torch.Tensor, sources: Sequence[torch.Generator]) -> torch.Tensor:
    """Go down the chain without noise, from its end to the clean image.

    The scheduler steps down by timesteps // steps, which the times that it proposes itself do not.
    """
    scheduler.set_timesteps(steps)
    last = scheduler.num_train_timesteps - 1
    for time in range(last, -1, -(scheduler.num_train_timesteps // steps)):
        noisy = scheduler.step(predict(noisy, time), time, noisy)[0]
    return noisy


def _euler(scheduler: Any, steps: int, predict: _Predict, noisy: torch.Tensor, sources: Sequence[torch.Generator]) -> torch.Tensor:
    """Follow the flow from noise to the clean image."""
    scheduler.set_timesteps(steps)
    for time, following in pairwise([*scheduler.timesteps.tolist(), 0]):
        noisy = scheduler.step(predict(noisy, time), time, noisy, following)[0]
    return noisy


SAMPLERS = {"ddpm": _ancestral, "ddim": _implicit, "euler": _euler}
