"""Diffusion in pixels: seeded, batch by batch the same, resumable, with masks and labels that belong to the images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from harness.api import Context, ImageSet, InputError, NotComputable, Request
from harness.testing import check
from harness_plugins.generators import ddpm, training
from harness_plugins.generators.ddpm import Ddpm

# As small as can be: the facts below hold for untrained networks too.
TINY: dict[str, Any] = {"steps": 3, "batch_size": 4, "channels": (8, 8), "timesteps": 20, "sampling_steps": 4, "threads": 1}


def fitted(folder: Path, train: ImageSet, seed: int = 1, **options: Any) -> Path:
    """Return the folder with what a tiny model learned."""
    folder.mkdir(exist_ok=True)
    Ddpm(**(TINY | options)).fit(train, Context(seed=seed, workdir=folder))
    return folder


def sampled(folder: Path, request: Request, seed: int = 2, **options: Any) -> ImageSet:
    """Return images of the fitted model."""
    return Ddpm(**(TINY | options)).sample(request, Context(seed=seed, workdir=folder, fitted=folder))


def discs(n: int, size: int = 16) -> ImageSet:
    """Return dark images with a bright disc, which the mask marks, of random place."""
    rng = np.random.default_rng(0)
    y, x = np.indices((size, size))
    centres = rng.uniform(0.35, 0.65, (n, 2)) * size
    masks = np.stack([np.hypot(y - a, x - b) < 0.22 * size for a, b in centres]).astype(np.uint8)
    images = (0.2 + 0.6 * masks + 0.05 * rng.standard_normal(masks.shape)).clip(0, 1).astype(np.float32)[:, None]
    return ImageSet(images, tuple(f"d{i}" for i in range(n)), (1.0, 1.0), masks=masks)


@pytest.fixture(scope="module")
def images(picture_set: Callable[..., ImageSet]) -> ImageSet:
    """Twelve images whose sides the network can halve only after padding, with two regions and labels 2 and 5."""
    masks = np.random.default_rng(0).choice(np.array([0, 1, 4], np.uint8), (12, 9, 10))
    return picture_set(size=(9, 10), masks=masks, labels=np.array([2, 5] * 6))


class Labelled(Ddpm):
    """As `Ddpm`, with requests that hold labels."""

    needs = frozenset({"labels"})


class Masked(Ddpm):
    """As `Ddpm`, with requests that hold masks and their sources."""

    needs = frozenset({"masks", "sources"})


@pytest.mark.parametrize("size_px", [(9, 10), (6, 5, 7)], ids=["2D", "3D"])
@pytest.mark.parametrize(
    "generator",
    [Ddpm(**TINY), Labelled(**TINY, condition="label"), Masked(**TINY, condition="mask")],
    ids=["joint", "label", "mask"],
)
def test_keeps_the_promises_of_a_generator(generator: Ddpm, size_px: tuple[int, ...]) -> None:
    """The conformance tests pass, on images and on volumes of two channels."""
    check(generator, n=8, size_px=size_px, channels=2)


@pytest.mark.parametrize(
    "options",
    [{}, {"sampler": "ddpm", "sampling_steps": None}, {"prediction": "flow"}, {"prediction": "noise"}],
    ids=["image", "ancestral", "flow", "noise"],
)
def test_seed_decides_and_batches_do_not(tmp_path: Path, images: ImageSet, options: dict[str, Any]) -> None:
    """The same seed gives the same bits, however many images are asked for; another seed, and another purpose, give others."""
    folder = fitted(tmp_path / "fitted", images, **options)
    many, few = (sampled(folder, Request(n=n), **options) for n in (6, 5))
    assert many.images.shape == (6, 1, 9, 10)
    assert np.array_equal(many.images[:5], few.images)
    assert np.array_equal(many.masks[:5], few.masks)  # type: ignore[index, arg-type]
    others = [many, sampled(folder, Request(n=6), seed=3, **options), sampled(folder, Request(n=6, purpose="test"), **options)]
    assert len(np.unique(np.concatenate([side.images for side in others]), axis=0)) == 18


def test_training_is_decided_by_its_seed(tmp_path: Path, images: ImageSet) -> None:
    """Two trainings with one seed leave the same weights, a third with another seed does not."""
    weights = [
        torch.load(fitted(tmp_path / str(k), images, seed) / "generator.pt", weights_only=True)["weights"][""]
        for k, seed in enumerate((1, 1, 2))
    ]
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
    assert any(not torch.equal(weights[0][name], value) for name, value in weights[2].items())


@pytest.mark.parametrize("at", [2, 4])
def test_killed_training_ends_with_the_same_bits(tmp_path: Path, images: ImageSet, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Killed within the first or the second of two networks, it goes on and leaves the weights of an undisturbed training."""
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    generator = Ddpm(**TINY, per_class=True, flip_axes=(0,))
    for name in ("whole", "killed", "kept"):
        (tmp_path / name).mkdir()

    def killed(done: int, total: int) -> None:
        assert total == 6
        if done == at:
            raise KeyboardInterrupt

    generator.fit(images, Context(seed=1, workdir=tmp_path / "whole"))
    kept = tmp_path / "kept"
    with pytest.raises(KeyboardInterrupt):
        generator.fit(images, Context(seed=1, workdir=tmp_path / "killed", checkpoints=kept, report=killed))
    done: list[int] = []
    context = Context(seed=1, workdir=tmp_path / "killed", checkpoints=kept, report=lambda step, total: done.append(step))
    generator.fit(images, context)
    assert done == list(range(at + 1, 7))
    assert [step for series, step, _ in context.curve if series == "seconds"] == [1, 2, 3, 4, 5, 6]
    assert {series for series, *_ in context.curve} == {"loss_label=2", "loss_label=5", "seconds"}
    whole, again = (torch.load(tmp_path / name / "generator.pt", weights_only=True)["weights"] for name in ("whole", "killed"))
    assert set(whole) == {"label=2", "label=5"}
    for network, weights in whole.items():
        assert all(torch.equal(again[network][name], value) for name, value in weights.items())


@pytest.mark.parametrize("size", [(9, 10), (4, 5, 6)], ids=["2D", "3D"])
def test_regions_keep_their_numbers(tmp_path: Path, picture_set: Callable[..., ImageSet], size: tuple[int, ...]) -> None:
    """The masks of a jointly trained model hold background and the regions of the training masks, nothing else."""
    masks = np.random.default_rng(0).choice(np.array([0, 1, 4], np.uint8), (6, *size))
    train = picture_set(n=6, size=size, masks=masks, labels=None)
    made = sampled(fitted(tmp_path / "fitted", train), Request(n=4, spacing_mm=(2.0,) * len(size)))
    assert made.masks is not None
    assert (made.masks.shape, made.masks.dtype) == ((4, *size), np.uint8)
    assert set(np.unique(made.masks)) <= {0, 1, 4}
    assert len(np.unique(made.masks)) > 1
    assert made.spacing_mm == (2.0,) * len(size)
    assert made.labels is None


def test_threshold_is_kept_with_the_weights(tmp_path: Path, images: ImageSet) -> None:
    """A high threshold in training leaves smaller regions, whatever the sampling instance says."""
    low, high = (sampled(fitted(tmp_path / str(threshold), images, mask_threshold=threshold), Request(n=4)) for threshold in (0.05, 0.95))
    assert np.array_equal(low.images, high.images)
    assert np.count_nonzero(low.masks) > np.count_nonzero(high.masks)


def test_without_masks_images_alone_are_made(tmp_path: Path, images: ImageSet) -> None:
    """Training images without masks, or `joint: false`, give images without masks."""
    assert sampled(fitted(tmp_path / "bare", replace(images, masks=None)), Request(n=2)).masks is None
    assert sampled(fitted(tmp_path / "off", images, joint=False), Request(n=2), joint=False).masks is None


@pytest.mark.parametrize("options", [{"condition": "label", "guidance": 2.0}, {"per_class": True}], ids=["label", "per class"])
def test_labels_are_those_asked_for(tmp_path: Path, images: ImageSet, options: dict[str, Any]) -> None:
    """They come back with the images, decide them, and unknown or missing ones are refused."""
    assert Ddpm(**options).conditions() == {"labels"}
    folder = fitted(tmp_path / "fitted", images, **options)
    labels = np.array([5, 2, 2, 5, 5])
    made, other = (sampled(folder, Request(n=5, labels=asked), **options) for asked in (labels, np.array([2, 2, 2, 5, 5])))
    assert made.labels is not None
    assert made.labels.tolist() == labels.tolist()
    assert [np.array_equal(a, b) for a, b in zip(made.images, other.images, strict=True)] == [False, True, True, True, True]
    with pytest.raises(NotComputable, match=r"needs labels that the training images have, \[2, 5\], got \[3\]"):
        sampled(folder, Request(n=1, labels=np.array([3])), **options)
    with pytest.raises(NotComputable, match="needs a label for every image"):
        sampled(folder, Request(n=1), **options)


def test_guidance_moves_away_from_no_label(tmp_path: Path, images: ImageSet) -> None:
    """Guidance 0 makes the same image for every label, 1 does not."""
    folder = fitted(tmp_path / "fitted", images, condition="label", steps=20, learning_rate=1e-2)
    requests = [Request(n=1, labels=np.array([label])) for label in (2, 5)]
    a, b = (sampled(folder, request, condition="label", guidance=0.0, steps=20, learning_rate=1e-2).images for request in requests)
    c, d = (sampled(folder, request, condition="label", steps=20, learning_rate=1e-2).images for request in requests)
    assert np.array_equal(a, b)
    assert not np.array_equal(c, d)


def test_masks_are_those_asked_for(tmp_path: Path, images: ImageSet) -> None:
    """Conditioned on masks, the requested masks, labels and sources come back, and the mask decides the image."""
    options = {"condition": "mask"}
    assert Ddpm(**options).conditions() == {"masks"}
    folder = fitted(tmp_path / "fitted", images, **options)
    sources = images.take(np.arange(3, 8))
    request = Request(n=5, masks=sources.masks, labels=sources.labels, sources=sources)
    made = sampled(folder, request, **options)
    assert np.array_equal(made.masks, sources.masks)  # type: ignore[arg-type]
    assert made.labels is not None
    assert np.array_equal(made.labels, sources.labels)  # type: ignore[arg-type]
    assert made.sources == sources.ids
    changed = np.array(sources.masks)
    changed[0] = 4 - changed[0]
    changed[0][changed[0] == 3] = 1
    other = sampled(folder, replace(request, masks=changed), **options)
    assert [np.array_equal(a, b) for a, b in zip(made.images, other.images, strict=True)] == [False, True, True, True, True]
    with pytest.raises(NotComputable, match="needs a mask for every image, got none"):
        sampled(folder, Request(n=1), **options)


@pytest.mark.parametrize(
    ("options", "change", "reason"),
    [
        ({}, {"masks": np.zeros((12, 9, 10), np.uint8)}, "needs masks to make with the images .*, got 12 that are empty"),
        ({"joint": True}, {"masks": None}, "needs masks to make with the images .*, got training images without"),
        ({"condition": "mask"}, {"masks": None}, "needs masks to condition on, got training images without"),
        ({"condition": "label"}, {"labels": None}, "needs labels to condition on, got training images without"),
        ({"per_class": True}, {"labels": np.array([0] * 11 + [1])}, "at least 2 training images of every class .*, got 1 of label 1"),
    ],
)
def test_images_that_do_not_do_are_refused(
    tmp_path: Path, images: ImageSet, options: dict[str, Any], change: dict[str, Any], reason: str
) -> None:
    """Each has its own reason."""
    with pytest.raises(NotComputable, match=reason):
        fitted(tmp_path / "fitted", replace(images, checked=False, **change), **options)


def test_single_image_and_missing_fit_are_refused(tmp_path: Path, images: ImageSet) -> None:
    """One image cannot be learned from, and nothing can be sampled without a fit."""
    with pytest.raises(NotComputable, match="needs at least 2 training images, got 1"):
        fitted(tmp_path / "fitted", images.take([0]))
    with pytest.raises(InputError, match="ddpm has not been fitted"):
        Ddpm(**TINY).sample(Request(n=1), Context(seed=1, workdir=tmp_path))


def test_a_rate_that_is_too_high_is_named(tmp_path: Path, images: ImageSet) -> None:
    """A loss that is no longer a number ends the training with a reason."""
    with pytest.raises(NotComputable, match=r"no longer finite after [0-9]+ steps: lower learning_rate"):
        fitted(tmp_path / "fitted", images, learning_rate=1e30, steps=10)


def test_lack_of_memory_while_sampling_says_what_to_lower(tmp_path: Path, images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in training."""
    folder = fitted(tmp_path / "fitted", images)

    def no_room(*given: object) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setitem(ddpm._SAMPLERS, "ddim", no_room)
    with pytest.raises(NotComputable, match="a batch of 4 images does not fit into the memory of cpu: lower batch_size"):
        sampled(folder, Request(n=2))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"prediction": "flow", "schedule": "linear"}, "prediction flow has no schedule"),
        ({"sampler": "euler"}, "sampler euler and prediction flow need each other"),
        ({"prediction": "flow", "sampler": "ddim"}, "sampler euler and prediction flow need each other"),
        ({"sampler": "ddpm", "sampling_steps": 10}, "sampler ddpm takes all timesteps"),
        ({"prediction": "flow", "timesteps": 10, "sampling_steps": 11}, "sampling_steps must be at most timesteps, 10"),
        ({"timesteps": 100, "sampling_steps": 30}, "sampling_steps must divide timesteps, 100"),
        ({"channels": (16, 12)}, "channels must be multiples of 8"),
        ({"attention_levels": (3,)}, "attention_levels must be below 3"),
        ({"per_class": True, "condition": "label"}, "per_class has no label left"),
        ({"joint": True, "condition": "mask"}, "joint cannot be on"),
        ({"guidance": 2.0}, "guidance needs condition label"),
        ({"guidance": 2.0, "condition": "label", "drop_label": 0.0}, "guidance needs drop_label above 0"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], problem: str) -> None:
    """Each contradiction is named."""
    with pytest.raises(ValidationError, match=problem):
        Ddpm(**options)


@pytest.mark.parametrize("prediction", ["noise", "image", "flow"])
@pytest.mark.parametrize("sampler", ["ddpm", "deterministic"])
def test_a_perfect_prediction_gives_the_image_back(prediction: str, sampler: str) -> None:
    """Where the network would know the one image that there is, every sampler ends at it."""
    if prediction == "flow" and sampler == "ddpm":
        sampler = "euler"
    kind = {"ddpm": "ddpm", "euler": "euler", "deterministic": "euler" if prediction == "flow" else "ddim"}[sampler]
    generator = Ddpm(prediction=prediction, timesteps=100, sampler=kind)
    scheduler = generator._scheduler(kind)
    picture = torch.linspace(-1.0, 1.0, 16).reshape(1, 1, 4, 4)

    def predict(noisy: torch.Tensor, time: int) -> torch.Tensor:
        if prediction == "image":
            return picture.expand_as(noisy)
        if prediction == "flow":
            return (picture - noisy) * 100 / time
        kept = scheduler.alphas_cumprod[time]
        return (noisy - kept.sqrt() * picture) / (1 - kept).sqrt()

    sources = [torch.Generator().manual_seed(k) for k in range(2)]
    noise = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(9))
    found = ddpm._SAMPLERS[kind](scheduler, 100 if kind == "ddpm" else 20, predict, noise, sources)
    assert found.numpy() == pytest.approx(picture.expand_as(found).numpy(), abs=1e-3)


def test_a_short_training_learns(tmp_path: Path) -> None:
    """Bright discs: after some steps the generated mask marks what is bright, which an untrained network's does not."""
    train = discs(64)
    contrasts = []
    for steps in (1, 60):
        options = {"steps": steps, "batch_size": 16, "channels": (8, 16), "learning_rate": 1e-2}
        made = sampled(fitted(tmp_path / str(steps), train, **options), Request(n=16), **options)
        inside = np.asarray(made.masks)[:, None] > 0
        share, values = inside.mean(), made.images
        contrasts.append(values[inside].mean() - values[~inside].mean() if 0.0 < share < 1.0 else 0.0)
    assert contrasts[1] > 0.4 > abs(contrasts[0])
