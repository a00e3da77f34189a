"""Generative adversarial networks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field, model_validator

from harness.api import Context, ImageSet

from .joint import GROUPS, JointGenerator, Maker, classes_of, number_of_classes, require_widths
from .tensors import (
    Facts,
    Kept,
    batch_rows,
    keep,
    normal,
)
from .training import Ema, Precision, repeatable, set_rate, train

if TYPE_CHECKING:
    import torch


class Gan(JointGenerator):
    """A Wasserstein GAN with gradient penalty that learns images together with their masks: sharp, sampled in one pass.

    Two networks of MONAI play against each other (Gulrajani et al. 2017): `Generator` turns normal noise and an embedding of the class
    into image and mask channels, and a critic, `Regressor`, scores pictures, with one score for each class (the projection of Miyato
    and Koyama 2018). In every step the critic learns `critic_steps` times to score real pictures above generated ones, with
    `penalty_weight` times the squared difference of 1 and the norm of its gradient at random points between the two; then the
    generator learns once to be scored higher. The critic always computes in float32. Both use Adam with betas 0 and 0.9.

    Sides that the networks cannot halve are padded by their far edges, and the images are cut back. An image depends on the seed,
    its place in the request and its label.
    """

    name = "gan"
    version = "1"
    steps: int = Field(200, ge=1, description="steps of the generator")
    learning_rate: float = Field(
        1e-3, gt=0.0, description="highest rate of both: it rises over the first 5 % of the steps and falls as a cosine"
    )
    critic_steps: int = Field(5, ge=1, description="steps of the critic for each of the generator")
    penalty_weight: float = Field(10.0, gt=0.0, description="of the gradient penalty")
    noise_width: int = Field(64, ge=1, description="numbers that an image is made from")
    channels: tuple[int, ...] = Field(
        (16, 32, 64), min_length=1, description="of each level, finest first, multiples of 8; each halves the sides"
    )

    @model_validator(mode="after")
    def _widths(self) -> Self:
        require_widths(self.channels)
        return self

    def fit(self, train: ImageSet, context: Context) -> None:
        """Train both networks; leave averaged weights of the generator, facts and the mask threshold in the work folder."""
        facts = self.facts(train)
        with repeatable(context, self.threads):
            weights = self._trained(train, facts, context)
        keep(context, facts, {"generator": weights}, self.numbers(train, facts))

    def _trained(self, images: ImageSet, facts: Facts, context: Context) -> dict[str, torch.Tensor]:
        """Return the averaged weights of the generator."""
        import torch

        generator, critic = self._generator(facts).to(context.device), self._critic(facts).to(context.device)
        networks = {"generator": generator, "critic": critic}
        optimisers = {
            name: torch.optim.Adam(network.parameters(), lr=self.learning_rate, betas=(0.0, 0.9)) for name, network in networks.items()
        }
        ema, precision, exact = Ema(generator, self.ema), Precision(context, self.mixed_precision), Precision(context, mixed=False)

        def generated(classes: torch.Tensor) -> torch.Tensor:
            with precision.autocast():
                noise = torch.randn(len(classes), self.noise_width, device=classes.device)
                return generate(generator, noise, classes).float()

        def criticise(k: int, rng: np.random.Generator) -> torch.Tensor:
            """Take a step of the critic and return its estimate of the Wasserstein distance."""
            real, classes = self.batch(images, facts, context, k, rng, self._multiple)
            with torch.no_grad():
                fake = generated(classes)
            distance = (scores(critic, real, classes) - scores(critic, fake, classes)).mean()
            loss = self.penalty_weight * gradient_penalty(critic, real, fake, classes) - distance
            exact.descend(loss, optimisers["critic"], math.inf)
            return distance.detach()

        def step(k: int, rng: np.random.Generator) -> dict[str, torch.Tensor | float]:
            for optimiser in optimisers.values():
                set_rate(optimiser, self.learning_rate, k, self.steps)
            distances = [criticise(k * self.critic_steps + j, rng) for j in range(self.critic_steps)]
            classes = classes_of(images, batch_rows(len(images), self.batch_size, k, (context.seed, 1)), facts, context.device)
            critic.requires_grad_(requires_grad=False)
            loss = -scores(critic, generated(classes), classes).mean()
            precision.descend(loss, optimisers["generator"], math.inf)
            critic.requires_grad_(requires_grad=True)
            ema.update()
            return {"loss": loss, "wasserstein_distance": torch.stack(distances).mean()}

        train(
            networks, optimisers, step, self.steps, context, configuration=self.configuration(images, context),
            batch_size=self.batch_size, others={"ema": ema, "precision": precision},
        )  # fmt: skip
        return ema.weights

    def maker(self, left: Kept, device: str) -> Maker:
        """Return what turns noise and classes into pictures."""
        network = self._generator(left.facts).to(device)
        network.load_state_dict(left.weights["generator"])
        network.eval()
        return lambda classes, sources: generate(network, normal((self.noise_width,), sources), classes)

    @property
    def _multiple(self) -> int:
        return int(2 ** len(self.channels))

    def _generator(self, facts: Facts) -> torch.nn.Module:
        """Return the untrained generator: the embedding of classes, as wide as the noise, and the body."""
        import torch
        from monai.networks.nets import Generator  # type: ignore[attr-defined]

        pictured, levels = facts.shape[0] + len(facts.regions), len(self.channels)
        body = Generator(
            latent_shape=(2 * self.noise_width,),
            start_shape=(self.channels[-1], *(-(-side // self._multiple) for side in facts.shape[1:])),
            channels=(*self.channels[-2::-1], self.channels[0], pictured),
            strides=(*[2] * levels, 1),
            num_res_units=1,
            act="RELU",
            norm=("group", {"num_groups": GROUPS}),
        )
        return torch.nn.ModuleDict({"classes": torch.nn.Embedding(number_of_classes(facts), self.noise_width), "body": body})

    def _critic(self, facts: Facts) -> torch.nn.Module:
        """Return the untrained critic, with one score for each class; without normalisation, which the penalty forbids."""
        from monai.networks.nets import Regressor  # type: ignore[attr-defined]

        sides = (-(-side // self._multiple) * self._multiple for side in facts.shape[1:])
        return Regressor(
            in_shape=(facts.shape[0] + len(facts.regions), *sides),
            out_shape=(number_of_classes(facts),),
            channels=self.channels,
            strides=[2] * len(self.channels),
            num_res_units=1,
            act="LEAKYRELU",
            norm=None,
        )


def generate(generator: torch.nn.Module, noise: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Return pictures in (-1, 1) that the network makes of noise (N, width) for classes (N,)."""
    import torch

    parts = dict(generator.named_children())
    return parts["body"](torch.cat([noise, parts["classes"](classes)], dim=1)).tanh()


def scores(critic: torch.nn.Module, pictures: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Return how real the critic finds each picture for its class, (N,)."""
    return critic(pictures).gather(1, classes[:, None])[:, 0]


def gradient_penalty(critic: torch.nn.Module, real: torch.Tensor, fake: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Return the mean squared difference of 1 and the norm of the critic's gradient between real and fake (Gulrajani et al. 2017)."""
    import torch

    share = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
    between = (share * real + (1.0 - share) * fake).requires_grad_(requires_grad=True)
    (gradient,) = torch.autograd.grad(scores(critic, between, classes).sum(), between, create_graph=True)
    return ((gradient.flatten(1).norm(dim=1) - 1.0) ** 2).mean()
