"""Diffusion in the latents of an autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field, model_validator

from harness.api import Context, ImageSet, NotComputable

from .ddpm import SAMPLERS, Prediction, Schedule, noise_scheduler, noised
from .joint import GROUPS, JointGenerator, Maker, number_of_classes, require_widths
from .tensors import Facts, Kept, keep, normal
from .training import Ema, Precision, Spent, repeatable, set_rate, train
from .vae import autoencoder, encoded, halved, train_autoencoder

if TYPE_CHECKING:
    import torch


class LatentDiffusion(JointGenerator):
    """A diffusion model in the latents of an autoencoder, which learns images together with their masks: quick at larger sizes.

    As in Rombach et al. 2022 and Pinaya et al. 2022: MONAI's `AutoencoderKL` first learns, in `autoencoder_steps`, to encode image and
    mask channels as a small grid of latents and to decode them, with squared errors and a weak pull of the latents to a normal
    distribution. The latents are then divided by the standard deviation that they have on the training images, and MONAI's
    `DiffusionModelUNet` learns in `steps` to remove noise from them, with an embedding of the class. It predicts the noise, the clean
    latents, or the velocity of a rectified flow (Liu et al. 2022). Sampling is DDIM (Song et al. 2020), or Euler steps along the flow.

    Sides that cannot be halved at each level are padded by their far edges, and the images are cut back. An image depends on the
    seed, its place in the request and its label.
    """

    name = "latent_diffusion"
    version = "1"
    steps: int = Field(600, ge=1, description="gradient steps of the diffusion model")
    autoencoder_steps: int = Field(200, ge=1, description="gradient steps of the autoencoder, which come first")
    channels: tuple[int, ...] = Field(
        (16, 32, 32), min_length=2, description="of each level of the autoencoder, finest first, multiples of 8; sides halve between"
    )
    residual_blocks: int = Field(1, ge=1, description="of each level of both networks")
    latent_channels: int = Field(4, ge=1, description="numbers for each place of the latent grid")
    kl_weight: float = Field(1e-3, ge=0.0, description="of the divergence of the latents from a normal distribution")
    diffusion_channels: tuple[int, ...] = Field(
        (32, 64), min_length=1, description="of each level of the diffusion model, finest first, multiples of 8; latent sides halve between"
    )
    attention_levels: tuple[int, ...] = Field((), description="levels of the diffusion model with self-attention, 0 = finest")
    prediction: Prediction = Field("image", description="what is predicted; flow = velocity, latents - noise")
    schedule: Schedule | None = Field(
        None, description="how noise grows; linear for noise and cosine for image where not given; a flow has none"
    )
    timesteps: int = Field(1000, ge=2, le=2000, description="levels of noise")
    sampling_steps: int = Field(20, ge=1, description="of DDIM, which divide the timesteps, or of Euler")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        require_widths(self.channels)
        require_widths(self.diffusion_channels)
        levels = len(self.diffusion_channels)
        problems = {
            "prediction flow has no schedule": self.prediction == "flow" and self.schedule is not None,
            f"sampling_steps must be at most timesteps, {self.timesteps}": self.sampling_steps > self.timesteps,
            f"sampling_steps must divide timesteps, {self.timesteps}": self.prediction != "flow"
            and self.timesteps % self.sampling_steps != 0,
            f"attention_levels must be below {levels}": any(not 0 <= level < levels for level in self.attention_levels),
        }
        for problem, found in problems.items():
            if found:
                raise ValueError(problem)
        return self

    def fit(self, train: ImageSet, context: Context) -> None:
        """Train both networks, one after the other; leave averaged weights, facts, latent scale and mask threshold in the work folder."""
        import torch

        facts = self.facts(train)
        with repeatable(context, self.threads):
            network = self._autoencoder(facts).to(context.device)
            means = torch.nn.Embedding(number_of_classes(facts), int(np.prod(self._grid(facts)))).to(context.device)
            # One normal distribution for all classes: it is the diffusion model that tells them apart.
            torch.nn.init.zeros_(means.weight).requires_grad_(requires_grad=False)
            weights, spent = train_autoencoder(
                self, network, means, train, facts, context, multiple=self._multiple, steps=self.autoencoder_steps,
                kl_weight=self.kl_weight, total_steps=self.autoencoder_steps + self.steps,
            )  # fmt: skip
            scale = self._scale(network, train, facts, context)
            diffusion = self._trained(network, scale, train, facts, spent, context)
        numbers = self.numbers(train, facts) | {"scale": scale}
        keep(context, facts, {"autoencoder": weights["network"], "diffusion": diffusion}, numbers)

    def _scale(self, network: torch.nn.Module, images: ImageSet, facts: Facts, context: Context) -> float:
        """Return the standard deviation of the latents of the training images, posterior variance included."""
        import torch

        parts = list(encoded(self, network, images, facts, context, self._multiple))
        mean, variance = (torch.cat([part[k].double() for part in parts]) for k in (0, 1))
        scale = float((mean.var(correction=0) + variance.mean()).sqrt())
        if not np.isfinite(scale) or scale == 0.0:
            raise NotComputable(f"the latents of the training images have a standard deviation of {scale:g}: lower learning_rate")
        return scale

    def _trained(
        self, network: torch.nn.Module, scale: float, images: ImageSet, facts: Facts, earlier: Spent, context: Context
    ) -> dict[str, torch.Tensor]:
        """Return the averaged weights of the diffusion model, trained on latents that are drawn anew for every step."""
        import torch

        diffusion, scheduler = self._diffusion(facts).to(context.device), self._scheduler()
        optimiser = torch.optim.AdamW(diffusion.parameters(), lr=self.learning_rate, weight_decay=0.0)
        ema, precision = Ema(diffusion, self.ema), Precision(context, self.mixed_precision)

        def step(k: int, rng: np.random.Generator) -> dict[str, torch.Tensor | float]:
            set_rate(optimiser, self.learning_rate, k, self.steps)
            pictures, classes = self.batch(images, facts, context, earlier.steps + k, rng, self._multiple)
            with torch.no_grad(), precision.autocast():
                clean = network.encode_stage_2_inputs(pictures).float() / scale  # type: ignore[operator]
            noisy, times, target = noised(clean, scheduler, self.prediction)
            with precision.autocast():
                predicted = diffusion(noisy, times, class_labels=classes)
            loss = torch.nn.functional.mse_loss(predicted.float(), target)
            precision.descend(loss, optimiser)
            ema.update()
            return {"loss_diffusion": loss}

        train(
            {"diffusion": diffusion}, {"diffusion": optimiser}, step, self.steps, context,
            configuration=self.configuration(images, context), batch_size=self.batch_size,
            others={"ema": ema, "precision": precision}, name="diffusion", earlier=earlier, total_steps=earlier.steps + self.steps,
        )  # fmt: skip
        return ema.weights

    def maker(self, left: Kept, device: str) -> Maker:
        """Return what removes noise from latents and decodes them."""
        import torch

        network, diffusion = self._autoencoder(left.facts).to(device), self._diffusion(left.facts).to(device)
        for part, name in ((network, "autoencoder"), (diffusion, "diffusion")):
            part.load_state_dict(left.weights[name])
            part.eval()
        grid, scale = self._grid(left.facts), left.numbers["scale"]

        def make(classes: torch.Tensor, sources: Sequence[torch.Generator]) -> torch.Tensor:
            def predict(noisy: torch.Tensor, time: int) -> torch.Tensor:
                return diffusion(noisy, torch.full((len(noisy),), time, device=noisy.device), class_labels=classes)

            # Neither of these samplers draws a further random number.
            sampler = SAMPLERS["euler" if self.prediction == "flow" else "ddim"]
            latents = sampler(self._scheduler(), self.sampling_steps, predict, normal(grid, sources), sources)
            return network.decode(latents * scale)  # type: ignore[operator]

        return make

    @property
    def _multiple(self) -> int:
        """What sides are padded to, so that the latents can be halved too."""
        return halved(self.channels) * halved(self.diffusion_channels)

    def _grid(self, facts: Facts) -> tuple[int, ...]:
        """Return the shape of the latents of one picture, (C, H, W) or (C, D, H, W)."""
        return self.latent_channels, *(-(-side // self._multiple) * halved(self.diffusion_channels) for side in facts.shape[1:])

    def _autoencoder(self, facts: Facts) -> torch.nn.Module:
        return autoencoder(facts, self.channels, self.residual_blocks, self.latent_channels)

    def _diffusion(self, facts: Facts) -> torch.nn.Module:
        """Return the untrained diffusion model."""
        from monai.networks.nets import DiffusionModelUNet  # type: ignore[attr-defined]

        return DiffusionModelUNet(
            spatial_dims=len(facts.shape) - 1,
            in_channels=self.latent_channels,
            out_channels=self.latent_channels,
            num_res_blocks=self.residual_blocks,
            channels=self.diffusion_channels,
            attention_levels=[level in self.attention_levels for level in range(len(self.diffusion_channels))],
            norm_num_groups=GROUPS,
            num_head_channels=GROUPS,
            num_class_embeds=number_of_classes(facts),
        )

    def _scheduler(self) -> Any:
        """Return MONAI's scheduler of noise; what is clean is not clipped, because latents have no bounds."""
        return noise_scheduler(self.prediction, self.schedule, self.timesteps, clip=False)
