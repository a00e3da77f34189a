"""What every generator that trains promises: repeatable, resumable, for a class, with masks, better than untrained, and clear refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.api import Context, ImageSet, InputError, NotComputable, Request
from harness.testing import check, phantoms
from harness_plugins.generators import ddpm, joint, training
from harness_plugins.generators.ddpm import Ddpm
from harness_plugins.generators.gan import Gan
from harness_plugins.generators.latent_diffusion import LatentDiffusion
from harness_plugins.generators.training import TrainedGenerator
from harness_plugins.generators.vae import Vae

# As small as can be: most facts below hold for untrained networks too.
TINY: dict[str, Any] = {"batch_size": 4, "threads": 1, "channels": (8, 8), "steps": 3}
CODED: dict[str, Any] = {"quantised": True, "codes": 8, "prior_width": 8, "prior_layers": 1}
LATENT: dict[str, Any] = {**TINY, "diffusion_channels": (8, 8), "latent_channels": 2, "autoencoder_steps": 3}
DENOISING: dict[str, Any] = {"timesteps": 10, "sampling_steps": 2}
KINDS: dict[str, TrainedGenerator] = {
    "ddpm": Ddpm(**TINY, **DENOISING, condition="label"),
    "ddpm per class": Ddpm(**TINY, **DENOISING, per_class=True, flip_axes=(0,)),
    "gan": Gan(**TINY, critic_steps=2, noise_width=4),
    "vae fitted": Vae(**TINY, latent_channels=2),
    "vae standard": Vae(**TINY, latent_channels=2, prior="standard", reconstruction="absolute"),
    "vae quantised": Vae(**TINY, latent_channels=2, **CODED),
    "latent image": LatentDiffusion(**LATENT, **DENOISING),
    "latent noise": LatentDiffusion(**LATENT, **DENOISING, prediction="noise", attention_levels=(1,)),
    "latent flow": LatentDiffusion(**LATENT, **DENOISING, prediction="flow"),
}
# One of each module, and one of each loss.
MODULES = ["ddpm", "gan", "vae fitted", "latent image"]
LOSSES = [*MODULES, "vae quantised"]
# Within the first and, where there are two, the second training of a fit.
STOPS = [("ddpm per class", 2, 6), ("ddpm per class", 4, 6), ("gan", 2, 3), ("vae fitted", 2, 3), ("vae quantised", 2, 6),
         ("vae quantised", 5, 6), ("latent image", 2, 6), ("latent flow", 4, 6)]  # fmt: skip
LEARNING: dict[str, Any] = {"batch_size": 8, "threads": 1, "channels": (8, 16), "ema": 0.9, "learning_rate": 1e-2}
LEARNERS: dict[str, TrainedGenerator] = {
    "gan": Gan(**LEARNING | {"ema": 0.8, "learning_rate": 4e-3}, steps=20, critic_steps=3, noise_width=8),
    "vae fitted": Vae(**LEARNING, steps=20),
    "vae quantised": Vae(**LEARNING, **CODED, steps=30),
    "latent": LatentDiffusion(
        **LEARNING | {"channels": (8, 8)}, diffusion_channels=(8,), latent_channels=2, steps=15, autoencoder_steps=15, sampling_steps=4
    ),
}
UNTRAINED: dict[str, dict[str, Any]] = {"vae quantised": {"prior_steps": 1}, "latent": {"autoencoder_steps": 1}}
Learned = Callable[..., Context]


def pictures(n: int = 8, sides: tuple[int, ...] = (9, 14), **changes: Any) -> ImageSet:
    """Return random images of two classes whose masks have the regions 1 and 5."""
    rng = np.random.default_rng(7)
    images = rng.random((n, 1, *sides), dtype=np.float32)
    masks = np.where(images[:, 0] > 0.7, 5, np.where(images[:, 0] > 0.4, 1, 0)).astype(np.uint8)
    labels = np.where(np.arange(n) % 2, 4, 2).astype(np.int64)
    known = {"masks": masks, "labels": labels, **changes}
    return ImageSet(images, tuple(str(i) for i in range(n)), (1.0,) * len(sides), **known)


def fitted(generator: TrainedGenerator, images: ImageSet, folder: Path, **known: Any) -> Context:
    """Return the context of a fit."""
    folder.mkdir(parents=True, exist_ok=True)
    context = Context(**{"seed": 3, "workdir": folder, **known})
    generator.fit(images, context)
    return context


def sampled(generator: TrainedGenerator, folder: Path, labels: list[int] | None, seed: int = 1, **known: Any) -> ImageSet:
    """Return an image for each of these labels, of the generator that was fitted in the folder."""
    known = {"n": 3, "spacing_mm": (0.5,) * (len(left(folder)["facts"]["shape"]) - 1), **known}
    request = Request(**known) if labels is None else Request(**{**known, "n": len(labels)}, labels=np.array(labels, dtype=np.int64))
    made = generator.sample(request, Context(seed=seed, workdir=folder, fitted=folder))
    assert isinstance(made, ImageSet)
    return made


def left(folder: Path) -> dict[str, Any]:
    """Return what a fit left behind."""
    return torch.load(folder / "generator.pt", weights_only=True)


def same_weights(one: Path, other: Path) -> bool:
    """Return whether two fits left the same networks with the same weights, bit for bit."""
    a, b = left(one)["weights"], left(other)["weights"]
    return a.keys() == b.keys() and all(torch.equal(value, b[name][key]) for name, state in a.items() for key, value in state.items())


def with_options(kind: str, **options: Any) -> TrainedGenerator:
    """Return the generator with other options."""
    return type(KINDS[kind])(**KINDS[kind].model_dump(exclude_unset=True) | options)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    """Return a function that fits a generator of a kind, once for all tests, and returns the context of the fit."""
    known: dict[tuple[str, tuple[int, ...]], Context] = {}

    def of(kind: str, sides: tuple[int, ...] = (9, 14)) -> Context:
        if (kind, sides) not in known:
            known[kind, sides] = fitted(KINDS[kind], pictures(sides=sides), tmp_path_factory.mktemp("learned"))
        return known[kind, sides]

    return of


@pytest.mark.parametrize("kind", KINDS)
def test_keeps_the_promises_of_a_generator(kind: str) -> None:
    """The conformance test passes, on images of two channels."""
    check(KINDS[kind], n=8, size_px=(6, 5), channels=2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sides", [(9, 14), (5, 6, 7)], ids=["2D", "3D"])
def test_makes_images_masks_and_labels(learned: Learned, kind: str, sides: tuple[int, ...]) -> None:
    """In 2D and 3D, of sides that cannot be halved, with the regions and spacing of the data and the labels asked for."""
    made = sampled(KINDS[kind], learned(kind, sides).workdir, [4, 4, 2])
    assert made.images.shape == (3, 1, *sides)
    assert made.masks is not None
    assert made.labels is not None
    assert (made.masks.shape, made.masks.dtype) == ((3, *sides), np.uint8)
    assert set(np.unique(made.masks).tolist()) <= {0, 1, 5}
    assert made.labels.tolist() == [4, 4, 2]
    assert made.spacing_mm == (0.5,) * len(sides)
    assert made.origin == "synthetic"


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_depends_on_seed_place_label_and_purpose_alone(learned: Learned, kind: str) -> None:
    """The same seed gives the same bits however many images are asked for; another seed, label or purpose gives others."""
    generator, folder = KINDS[kind], learned(kind).workdir
    whole, few = sampled(generator, folder, [2, 4, 2, 4, 2]), sampled(generator, folder, [2, 4, 2])
    assert np.array_equal(few.images, whole.images[:3])
    assert np.array_equal(np.asarray(few.masks), np.asarray(whole.masks)[:3])
    label = sampled(generator, folder, [2, 2, 2])
    assert [np.array_equal(a, b) for a, b in zip(label.images, few.images, strict=True)] == [True, False, True]
    for other in (sampled(generator, folder, [2, 4, 2], seed=2), sampled(generator, folder, [2, 4, 2], purpose="test")):
        assert not any(np.array_equal(a, b) for a, b in zip(other.images, few.images, strict=True))


@pytest.mark.parametrize(("kind", "stop", "total"), STOPS)
def test_killed_training_goes_on_with_the_same_bits(
    learned: Learned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, stop: int, total: int
) -> None:
    """A fit that was killed and called again does what is left; weights and training curve are those of one that was not."""
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    store = tmp_path / "checkpoints"
    store.mkdir()
    steps: list[tuple[int, int]] = []

    def killed(done: int, of: int) -> None:
        if done >= stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(KINDS[kind], pictures(), tmp_path, checkpoints=store, report=killed)
    resumed = fitted(KINDS[kind], pictures(), tmp_path, checkpoints=store, report=lambda *so_far: steps.append(so_far))
    assert steps == [(step, total) for step in range(stop + 1, total + 1)]
    whole = learned(kind)
    assert same_weights(tmp_path, whole.workdir)
    curves = [[point for point in context.curve if point[0] != "seconds"] for context in (whole, resumed)]
    assert curves[0] == curves[1]
    for context in (whole, resumed):
        assert [step for series, step, _ in context.curve if series == "seconds"] == list(range(1, total + 1))


@pytest.mark.parametrize("kind", LOSSES)
def test_training_is_decided_by_its_seed(learned: Learned, tmp_path: Path, kind: str) -> None:
    """Another seed leaves other weights; that the same one leaves the same is seen where a training was killed."""
    fitted(KINDS[kind], pictures(), tmp_path, seed=4)
    assert not same_weights(tmp_path, learned(kind).workdir)


@pytest.mark.parametrize("kind", MODULES)
def test_without_masks_and_labels(tmp_path: Path, kind: str) -> None:
    """Images alone are learned alone; `joint: false` and `condition: none` train as if the images had neither masks nor labels."""
    bare, off = with_options(kind, condition="none"), with_options(kind, condition="none", joint=False)
    fitted(bare, pictures(masks=None, labels=None), tmp_path / "bare")
    fitted(off, pictures(), tmp_path / "off")
    assert same_weights(tmp_path / "bare", tmp_path / "off")
    for generator, folder in ((bare, tmp_path / "bare"), (off, tmp_path / "off")):
        made = sampled(generator, folder, [2, 4])
        assert made.masks is None
        assert made.labels is None
        assert generator.conditions() == frozenset()


@pytest.mark.parametrize("kind", MODULES)
def test_what_the_data_do_not_allow(tmp_path: Path, kind: str) -> None:
    """A class with one image, empty masks, and labels or masks that are asked for and absent each give their reason."""
    plain, empty = KINDS[kind], np.zeros((8, 9, 14), dtype=np.uint8)
    cases = [
        (plain, pictures(labels=np.array([0] * 7 + [1], dtype=np.int64)), "at least 2 training images of every class .* got 1 of label 1"),
        (plain, pictures(masks=empty), "needs masks to make with the images .* got 8 that are empty"),
        (with_options(kind, condition="label"), pictures(labels=None), "needs labels to condition on"),
        (with_options(kind, joint=True), pictures(masks=None), "needs masks to make with the images .* got training images without"),
        (plain, pictures(n=1), "at least 2 training images, got 1"),
    ]
    for generator, images, reason in cases:
        with pytest.raises(NotComputable, match=reason):
            fitted(generator, images, tmp_path)


@pytest.mark.parametrize("kind", MODULES)
def test_request_that_cannot_be_met(learned: Learned, tmp_path: Path, kind: str) -> None:
    """An unknown label, labels that are needed and absent, and a generator that was never fitted are named."""
    strict, folder = with_options(kind, condition="label"), learned(kind).workdir
    assert strict.conditions() == {"labels"}
    with pytest.raises(InputError, match=f"{strict.name} has not been fitted"):
        strict.sample(Request(2), Context(1, tmp_path))
    with pytest.raises(NotComputable, match=r"needs labels that the training images have, \[2, 4\], got \[9\]"):
        sampled(strict, folder, [2, 9])
    with pytest.raises(NotComputable, match="needs a label for every image"):
        sampled(strict, folder, None)


def test_draws_labels_that_are_not_asked_for(learned: Learned) -> None:
    """Without labels in the request each image has a class of the training images, about as frequent, whatever n is."""
    many, few = (sampled(KINDS["vae fitted"], learned("vae fitted").workdir, None, n=n).labels for n in (60, 5))
    assert many is not None
    assert few is not None
    assert set(many.tolist()) == {2, 4}
    assert 15 <= int((many == 2).sum()) <= 45
    assert np.array_equal(few, many[:5])


@pytest.mark.parametrize("kind", LOSSES)
def test_training_that_breaks(tmp_path: Path, kind: str) -> None:
    """A loss that is no longer finite ends with what to change."""
    broken = KINDS[kind].model_copy(update={"learning_rate": 1e30})
    with pytest.raises(NotComputable, match=r"no longer finite .* lower learning_rate"):
        fitted(broken, pictures(), tmp_path)


@pytest.mark.parametrize("kind", MODULES)
def test_lack_of_memory_says_what_to_lower(learned: Learned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """In training as in sampling."""
    folder = learned(kind).workdir

    def full(*arguments: Any) -> None:
        raise torch.OutOfMemoryError("no room")

    for module in (ddpm, joint):
        monkeypatch.setattr(module, "pictures_of", full)
        monkeypatch.setattr(module, "noise_sources", full)
    for work in (lambda: fitted(KINDS[kind], pictures(), tmp_path), lambda: sampled(KINDS[kind], folder, [2, 4])):
        with pytest.raises(NotComputable, match="a batch of 4 images does not fit into the memory of cpu: lower batch_size"):
            work()


@pytest.mark.parametrize("kind", LEARNERS)
def test_training_helps(tmp_path: Path, kind: str) -> None:
    """After a short training the mean image is less than half as far from the real one as that of an untrained network."""
    real, away = phantoms(32, 1, 12), {}
    for name, options in (("untrained", {"steps": 1, "learning_rate": 1e-12, **UNTRAINED.get(kind, {})}), ("trained", {})):
        generator = LEARNERS[kind].model_copy(update=options)
        fitted(generator, real, tmp_path / name)
        made = sampled(generator, tmp_path / name, [0, 1] * 16)
        away[name] = float(np.square(made.images.mean(axis=0) - real.images.mean(axis=0)).mean())
    assert away["trained"] < 0.5 * away["untrained"]
