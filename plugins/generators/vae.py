"""Variational autoencoders: continuous latents with a Gaussian prior, or discrete codes with a learned one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from harness.api import Context, ImageSet

from .joint import GROUPS, JointGenerator, Maker, classes_of, number_of_classes, require_widths
from .tensors import Facts, Kept, chunks, keep, normal, padded, pictures_of
from .training import Ema, Precision, Spent, repeatable, set_rate, train

if TYPE_CHECKING:
    import torch

_COMMITMENT = 0.25
_CODEBOOK_DECAY = 0.9


class Vae(JointGenerator):
    """A variational autoencoder that learns images together with their masks: smooth, quick, and sampled in one pass.

    MONAI's `AutoencoderKL` (Kingma and Welling 2014) encodes image and mask channels as a grid of Gaussian latents and decodes them.
    The loss is the reconstruction error, summed over a picture, and `kl_weight` times the divergence of the posterior from a prior of
    unit variance, whose mean is learned for each class. New pictures are decoded from that prior (`prior: standard`), or from a
    Gaussian with the mean and covariance that the posteriors of the training images of a class have together (`fitted`; Ghosh et
    al. 2020): its `components` strongest directions, and the rest of the variance for each latent by itself.

    With `quantised`, MONAI's `VQVAE` (van den Oord et al. 2017) encodes a picture as a grid of codes, and a transformer then learns,
    in `prior_steps` further steps, which code follows in raster order on those before it and on the class, which is the first token.
    New pictures are decoded from codes that are drawn one after the other.

    Sides that cannot be halved at each level are padded by their far edges, and the images are cut back. An image depends on the
    seed, its place in the request and its label.
    """

    name = "vae"
    version = "1"
    steps: int = Field(300, ge=1, description="gradient steps of the autoencoder")
    learning_rate: float = Field(3e-3, gt=0.0, description="highest rate: it rises over the first 5 % of the steps and falls as a cosine")
    channels: tuple[int, ...] = Field(
        (16, 32, 64), min_length=2, description="of each level, finest first, multiples of 8; sides halve between"
    )
    residual_blocks: int = Field(1, ge=1, description="of each level")
    latent_channels: int = Field(8, ge=1, description="numbers for each place of the latent grid; quantised: length of a code")
    reconstruction: Literal["squared", "absolute"] = Field("squared", description="error between picture and reconstruction, in [-1, 1]")
    kl_weight: float | None = Field(
        None, ge=0.0, description="not quantised: twice the variance of noise in the images, for squared errors; 0.1 where not given"
    )
    prior: Literal["fitted", "standard"] | None = Field(None, description="not quantised: what is sampled from; fitted where not given")
    components: int | None = Field(None, ge=1, description="prior fitted: directions of the covariance that are kept; 256 where not given")
    quantised: bool = Field(False, description="discrete codes with a learned prior instead of Gaussian latents")
    codes: int | None = Field(None, ge=2, description="quantised: number of different codes; 64 where not given")
    prior_steps: int | None = Field(None, ge=1, description="quantised: gradient steps of the prior; as many as `steps` where not given")
    prior_width: int | None = Field(None, ge=8, multiple_of=8, description="quantised: width of the transformer; 64 where not given")
    prior_layers: int | None = Field(None, ge=1, description="quantised: layers of the transformer; 3 where not given")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        require_widths(self.channels)
        discrete, continuous = ("codes", "prior_steps", "prior_width", "prior_layers"), ("kl_weight", "prior", "components")
        for name in continuous if self.quantised else discrete:
            if getattr(self, name) is not None:
                raise ValueError(f"{name} belongs to quantised: {'false' if self.quantised else 'true'}")
        if self.prior == "standard" and self.components is not None:
            raise ValueError("components belongs to prior: fitted")
        return self

    def fit(self, train: ImageSet, context: Context) -> None:
        """Train the autoencoder and its prior, and leave averaged weights, facts and the mask threshold in the work folder."""
        facts = self.facts(train)
        with repeatable(context, self.threads):
            weights = self._quantised(train, facts, context) if self.quantised else self._continuous(train, facts, context)
        keep(context, facts, weights, self.numbers(train, facts))

    def maker(self, left: Kept, device: str) -> Maker:
        """Return what decodes samples of the prior."""
        return self._quantised_maker(left, device) if self.quantised else self._continuous_maker(left, device)

    def _continuous(self, images: ImageSet, facts: Facts, context: Context) -> Mapping[str, Mapping[str, torch.Tensor]]:
        """Return the averaged weights of the autoencoder and the prior of each class."""
        import torch

        network = self._autoencoder(facts).to(context.device)
        means = torch.nn.Embedding(number_of_classes(facts), int(np.prod(self._grid(facts)))).to(context.device)
        torch.nn.init.zeros_(means.weight)
        weight = 0.1 if self.kl_weight is None else self.kl_weight
        found, _ = train_autoencoder(
            self, network, means, images, facts, context, multiple=halved(self.channels), steps=self.steps, kl_weight=weight,
            absolute=self.reconstruction == "absolute",
        )  # fmt: skip
        if self.prior == "standard":
            return found
        latents = [
            (mean.flatten(1), variance.flatten(1))
            for mean, variance in encoded(self, network, images, facts, context, halved(self.channels))
        ]
        mean, variance = (torch.cat(parts) for parts in zip(*latents, strict=True))
        classes = classes_of(images, np.arange(len(images)), facts, context.device)
        components = 256 if self.components is None else self.components
        return found | {
            f"prior {k}": fitted_gaussian(mean[classes == k], variance[classes == k], components) for k in range(number_of_classes(facts))
        }

    def _continuous_maker(self, left: Kept, device: str) -> Maker:
        import torch

        network = self._autoencoder(left.facts).to(device)
        network.load_state_dict(left.weights["network"])
        network.eval()
        grid = self._grid(left.facts)
        means = left.weights["means"]["weight"]
        priors = [left.weights[f"prior {k}"] for k in range(len(means)) if f"prior {k}" in left.weights]
        directions = max((len(prior["directions"]) for prior in priors), default=0)

        def make(classes: torch.Tensor, sources: Sequence[torch.Generator]) -> torch.Tensor:
            noise = normal((means.shape[1] + directions,), sources)
            own, shared = noise[:, : means.shape[1]], noise[:, means.shape[1] :]
            if not priors:
                return network.decode((own + means[classes]).view(-1, *grid))
            rows = []
            for one, common, k in zip(own, shared, classes.tolist(), strict=True):
                mean, spread, axes = (priors[k][name] for name in ("mean", "spread", "directions"))
                rows.append(mean + spread * one + common[: len(axes)] @ axes)
            return network.decode(torch.stack(rows).view(-1, *grid))

        return make

    def _quantised(self, images: ImageSet, facts: Facts, context: Context) -> Mapping[str, Mapping[str, torch.Tensor]]:
        """Return the averaged weights of the autoencoder and of the transformer that knows which code follows which."""
        import torch

        network = self._vqvae(facts).to(context.device)
        optimiser = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        ema, precision = Ema(network, self.ema), Precision(context, self.mixed_precision)

        def step(k: int, rng: np.random.Generator) -> dict[str, torch.Tensor | float]:
            set_rate(optimiser, self.learning_rate, k, self.steps)
            pictures, _ = self.batch(images, facts, context, k, rng, halved(self.channels))
            with precision.autocast():
                made, commitment = network(pictures)
            error = reconstruction_error(made.float(), pictures, absolute=self.reconstruction == "absolute")
            precision.descend(error + commitment.float(), optimiser)
            ema.update()
            return {"loss": error.detach() + commitment.detach(), "loss_reconstruction": error, "loss_commitment": commitment}

        further = self.steps if self.prior_steps is None else self.prior_steps
        spent = train(
            {"network": network}, {"network": optimiser}, step, self.steps, context, configuration=self.configuration(images, context),
            batch_size=self.batch_size, others={"ema": ema, "precision": precision}, name="autoencoder", total_steps=self.steps + further,
        )  # fmt: skip
        network.load_state_dict(ema.weights)
        network.eval()
        prior = self._prior_weights(network, images, facts, spent, further, context)
        return {"network": ema.weights, "prior": prior}

    def _prior_weights(
        self, network: torch.nn.Module, images: ImageSet, facts: Facts, earlier: Spent, steps: int, context: Context
    ) -> dict[str, torch.Tensor]:
        """Return the averaged weights of the transformer, trained on the codes of the training images."""
        import torch

        prior, codes = self._transformer(facts).to(context.device), self._codes
        optimiser = torch.optim.AdamW(prior.parameters(), lr=self.learning_rate)
        ema, precision = Ema(prior, self.ema), Precision(context, self.mixed_precision)

        def step(k: int, rng: np.random.Generator) -> dict[str, torch.Tensor | float]:
            set_rate(optimiser, self.learning_rate, k, steps)
            pictures, classes = self.batch(images, facts, context, earlier.steps + k, rng, halved(self.channels))
            with torch.no_grad():
                found = network.index_quantize(pictures).flatten(1)  # type: ignore[operator]
            with precision.autocast():
                scores = next_codes(prior, torch.cat([codes + classes[:, None], found[:, :-1]], dim=1))
            loss = torch.nn.functional.cross_entropy(scores.float().flatten(0, 1), found.flatten())
            precision.descend(loss, optimiser)
            ema.update()
            return {"loss_prior": loss}

        train(
            {"prior": prior}, {"prior": optimiser}, step, steps, context, configuration=self.configuration(images, context),
            batch_size=self.batch_size, others={"ema": ema, "precision": precision}, name="prior", earlier=earlier,
            total_steps=earlier.steps + steps,
        )  # fmt: skip
        return ema.weights

    def _quantised_maker(self, left: Kept, device: str) -> Maker:
        import torch

        network, prior = self._vqvae(left.facts).to(device), self._transformer(left.facts).to(device)
        for part, name in ((network, "network"), (prior, "prior")):
            part.load_state_dict(left.weights[name])
            part.eval()
        grid, codes = self._grid(left.facts)[1:], self._codes

        def make(classes: torch.Tensor, sources: Sequence[torch.Generator]) -> torch.Tensor:
            places = int(np.prod(grid))
            chances = torch.stack([torch.rand(places, generator=source, device=source.device) for source in sources])
            tokens = codes + classes[:, None]
            for k in range(places):
                likely = next_codes(prior, tokens)[:, -1].double().softmax(dim=1).cumsum(dim=1)
                chosen = (likely < chances[:, k : k + 1]).sum(dim=1, keepdim=True).clamp_max(codes - 1)
                tokens = torch.cat([tokens, chosen], dim=1)
            return network.decode_samples(tokens[:, 1:].view(-1, *grid))  # type: ignore[operator]

        return make

    @property
    def _codes(self) -> int:
        return 64 if self.codes is None else self.codes

    def _grid(self, facts: Facts) -> tuple[int, ...]:
        """Return the shape of the latents of one picture, (C, H, W) or (C, D, H, W)."""
        multiple = halved(self.channels)
        return self.latent_channels, *(-(-side // multiple) for side in facts.shape[1:])

    def _autoencoder(self, facts: Facts) -> torch.nn.Module:
        return autoencoder(facts, self.channels, self.residual_blocks, self.latent_channels)

    def _vqvae(self, facts: Facts) -> torch.nn.Module:
        """Return the untrained autoencoder of codes, whose first level keeps the sides and each other one halves them."""
        from monai.networks.nets import VQVAE  # type: ignore[attr-defined]

        levels, channels = len(self.channels) - 1, facts.shape[0] + len(facts.regions)
        return VQVAE(
            spatial_dims=len(facts.shape) - 1,
            in_channels=channels,
            out_channels=channels,
            channels=self.channels,
            num_res_layers=self.residual_blocks,
            num_res_channels=self.channels,
            downsample_parameters=((1, 3, 1, 1), *[(2, 4, 1, 1)] * levels),
            upsample_parameters=(*[(2, 4, 1, 1, 0)] * levels, (1, 3, 1, 1, 0)),
            num_embeddings=self._codes,
            embedding_dim=self.latent_channels,
            commitment_cost=_COMMITMENT,
            decay=_CODEBOOK_DECAY,
        )

    def _transformer(self, facts: Facts) -> torch.nn.Module:
        """Return the untrained prior of codes; the tokens after the codes are the classes."""
        import torch

        width, tokens = 64 if self.prior_width is None else self.prior_width, self._codes + number_of_classes(facts)
        layer = torch.nn.TransformerEncoderLayer(width, width // GROUPS, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        layers = torch.nn.TransformerEncoder(layer, 3 if self.prior_layers is None else self.prior_layers, enable_nested_tensor=False)
        parts = {
            "tokens": torch.nn.Embedding(tokens, width),
            "places": torch.nn.Embedding(int(np.prod(self._grid(facts)[1:])), width),
            "layers": layers,
            "scores": torch.nn.Linear(width, self._codes),
        }
        return torch.nn.ModuleDict(parts)


def next_codes(prior: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Return the scores of the code that follows on each token and those before it, (N, L, codes); tokens: (N, L) int64."""
    import torch

    parts, length = dict(prior.named_children()), tokens.shape[1]
    hidden = torch.full((length, length), -math.inf, device=tokens.device).triu(diagonal=1)
    seen = parts["tokens"](tokens) + parts["places"].weight[:length]
    return parts["scores"](parts["layers"](seen, mask=hidden, is_causal=True))


def halved(channels: tuple[int, ...]) -> int:
    """Return what the sides are divided by where they halve between levels."""
    return int(2 ** (len(channels) - 1))


def autoencoder(facts: Facts, channels: tuple[int, ...], residual_blocks: int, latent_channels: int) -> torch.nn.Module:
    """Return MONAI's untrained `AutoencoderKL` of image and mask channels, without attention."""
    from monai.networks.nets import AutoencoderKL  # type: ignore[attr-defined]

    pictured = facts.shape[0] + len(facts.regions)
    return AutoencoderKL(
        spatial_dims=len(facts.shape) - 1,
        in_channels=pictured,
        out_channels=pictured,
        num_res_blocks=residual_blocks,
        channels=channels,
        attention_levels=(False,) * len(channels),
        latent_channels=latent_channels,
        norm_num_groups=GROUPS,
        with_encoder_nonlocal_attn=False,
        with_decoder_nonlocal_attn=False,
    )


def train_autoencoder(
    generator: JointGenerator,
    network: torch.nn.Module,
    means: torch.nn.Embedding,
    images: ImageSet,
    facts: Facts,
    context: Context,
    *,
    multiple: int,
    steps: int,
    kl_weight: float,
    absolute: bool = False,
    total_steps: int | None = None,
) -> tuple[dict[str, dict[str, torch.Tensor]], Spent]:
    """Train an `AutoencoderKL` in place; return averaged weights, `network` and `means`, and what the fit has spent.

    means: of the prior of each class, (classes, latents), learned too. multiple: what sides are padded to. absolute: the error.
    """
    import torch

    parts = torch.nn.ModuleDict({"network": network, "means": means})
    optimiser = torch.optim.Adam(parts.parameters(), lr=generator.learning_rate)
    ema, precision = Ema(parts, generator.ema), Precision(context, generator.mixed_precision)

    def step(k: int, rng: np.random.Generator) -> dict[str, torch.Tensor | float]:
        set_rate(optimiser, generator.learning_rate, k, steps)
        pictures, classes = generator.batch(images, facts, context, k, rng, multiple)
        with precision.autocast():
            mean, deviation = network.encode(pictures)  # type: ignore[operator]
            made = network.decode(mean + deviation * torch.randn_like(mean))  # type: ignore[operator]
        error = reconstruction_error(made.float(), pictures, absolute=absolute)
        # Both are sums over a picture in the formula; divided by its number of values, the rate means the same for any size.
        divergence = kl_divergence(mean.float().flatten(1) - means(classes), deviation.float().flatten(1)) / pictures[0].numel()
        precision.descend(error + kl_weight * divergence, optimiser)
        ema.update()
        return {"loss": error.detach() + kl_weight * divergence.detach(), "loss_reconstruction": error, "loss_divergence": divergence}

    spent = train(
        {"parts": parts}, {"parts": optimiser}, step, steps, context, configuration=generator.configuration(images, context),
        batch_size=generator.batch_size, others={"ema": ema, "precision": precision}, name="autoencoder", total_steps=total_steps,
    )  # fmt: skip
    parts.load_state_dict(ema.weights)
    return {name: dict(part.state_dict()) for name, part in parts.items()}, spent


def reconstruction_error(made: torch.Tensor, pictures: torch.Tensor, *, absolute: bool) -> torch.Tensor:
    """Return the mean squared or absolute difference."""
    from torch.nn.functional import l1_loss, mse_loss

    return l1_loss(made, pictures) if absolute else mse_loss(made, pictures)


def kl_divergence(mean: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
    """Return the divergence of Gaussians (N, D) from N(0, I) in nats, averaged over N (Kingma and Welling 2014, appendix B)."""
    return 0.5 * (mean**2 + deviation**2 - 1.0 - 2.0 * deviation.log()).sum(dim=1).mean()


def encoded(
    generator: JointGenerator, network: torch.nn.Module, images: ImageSet, facts: Facts, context: Context, multiple: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield means and variances of the latents of the images, batch by batch, as they are: neither mirrored nor turned."""
    import torch

    with torch.no_grad():
        for rows, new in chunks(len(images), generator.batch_size):
            mean, deviation = network.encode(padded(pictures_of(images, rows, facts, context.device), multiple))  # type: ignore[operator]
            yield mean[:new], deviation[:new] ** 2


def fitted_gaussian(mean: torch.Tensor, variance: torch.Tensor, components: int) -> dict[str, torch.Tensor]:
    """Return mean (D,), directions (R, D) and spread (D,) of the Gaussian with the moments of a mixture of Gaussians.

    mean, variance: of each part, (N, D), N at least 2. Its covariance is that of the means plus the mean of the variances. The
    directions are the strongest of the former, scaled by their standard deviations; the spread makes every variance whole.
    """
    import torch

    centre = mean.double().mean(dim=0)
    _, strength, axes = torch.linalg.svd((mean.double() - centre) / len(mean) ** 0.5, full_matrices=False)
    directions = (strength[:, None] * axes)[:components]
    rest = (mean.double().var(dim=0, correction=0) - (directions**2).sum(dim=0)).clamp_min(0.0)
    spread = (rest + variance.double().mean(dim=0)).sqrt()
    return {"mean": centre.float(), "directions": directions.float(), "spread": spread.float()}
