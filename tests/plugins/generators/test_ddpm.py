"""Diffusion in pixels: its samplers, guidance and masks; what it has in common with other generators is tested with theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from harness.api import Context, ImageSet, NotComputable, Request
from harness.testing import check
from harness_plugins.generators.ddpm import SAMPLERS, Ddpm, Prediction, noise_scheduler

# As small as can be: the facts below hold for untrained networks too.
TINY: dict[str, Any] = {"steps": 3, "batch_size": 4, "channels": (8, 8), "timesteps": 8, "sampling_steps": 2, "threads": 1}


def fitted(folder: Path, train: ImageSet, seed: int = 1, **options: Any) -> Path:
    """Return the folder with what a tiny model learned."""
    folder.mkdir(exist_ok=True)
    Ddpm(**(TINY | options)).fit(train, Context(seed=seed, workdir=folder))
    return folder


def sampled(folder: Path, request: Request, seed: int = 2, **options: Any) -> ImageSet:
    """Return images of the fitted model."""
    return Ddpm(**(TINY | options)).sample(request, Context(seed=seed, workdir=folder, fitted=folder))


def discs(n: int, size: int = 12) -> ImageSet:
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


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, images: ImageSet) -> Path:
    """Return the folder of a model that learned images with their masks."""
    return fitted(tmp_path_factory.mktemp("plain"), images, mask_threshold=0.3)


@pytest.mark.parametrize("condition", ["none", "mask"])
def test_keeps_the_promises_of_a_generator(condition: str) -> None:
    """The conformance tests pass on volumes of two channels, where masks are made and where they are given."""
    check(Ddpm(**TINY, condition=condition), n=8, size_px=(6, 5, 7), channels=2)


@pytest.mark.parametrize(
    "options",
    [{"sampler": "ddpm", "sampling_steps": None}, {"prediction": "flow"}, {"prediction": "noise"}],
    ids=["ancestral", "flow", "noise"],
)
def test_seed_decides_and_batches_do_not(tmp_path: Path, images: ImageSet, options: dict[str, Any]) -> None:
    """The same seed gives the same bits, however many images are asked for; another seed, and another purpose, give others."""
    folder = fitted(tmp_path / "fitted", images, **options)
    many, few = (sampled(folder, Request(n=n), **options) for n in (5, 3))
    assert many.images.shape == (5, 1, 9, 10)
    assert np.array_equal(many.images[:3], few.images)
    assert np.array_equal(many.masks[:3], few.masks)  # type: ignore[index, arg-type]
    others = [many, sampled(folder, Request(n=3), seed=3, **options), sampled(folder, Request(n=3, purpose="test"), **options)]
    assert len(np.unique(np.concatenate([side.images for side in others]), axis=0)) == 11


def test_regions_keep_their_numbers(plain: Path) -> None:
    """Masks hold background and the regions of the training masks, nothing else; no image has a label that it was not made for."""
    made = sampled(plain, Request(n=4))
    assert made.masks is not None
    assert len(np.unique(made.masks)) > 1
    assert set(np.unique(made.masks)) <= {0, 1, 4}
    assert made.labels is None


def test_threshold_is_kept_with_the_weights(plain: Path, tmp_path: Path) -> None:
    """A higher threshold beside the weights leaves smaller regions, whatever the sampling instance says."""
    made = []
    for threshold in (0.05, 0.95):
        left = torch.load(plain / "generator.pt", weights_only=True)
        assert left["numbers"] == {"mask_threshold": 0.3}
        torch.save({**left, "numbers": {"mask_threshold": threshold}}, tmp_path / "generator.pt")
        made.append(sampled(tmp_path, Request(n=4)))
    assert np.array_equal(made[0].images, made[1].images)
    assert np.count_nonzero(made[0].masks) > np.count_nonzero(made[1].masks)


def test_each_class_has_a_network_and_a_curve(tmp_path: Path, images: ImageSet) -> None:
    """They have the name of the class, and the image has no label that was not asked for."""
    generator, context = Ddpm(**TINY, per_class=True), Context(seed=1, workdir=tmp_path, fitted=tmp_path)
    assert generator.conditions() == {"labels"}
    generator.fit(images, context)
    assert set(torch.load(tmp_path / "generator.pt", weights_only=True)["weights"]) == {"label=2", "label=5"}
    assert {series for series, *_ in context.curve} == {"loss_label=2", "loss_label=5", "seconds"}
    with pytest.raises(NotComputable, match=r"needs labels that the training images have, \[2, 5\], got \[3\]"):
        generator.sample(Request(n=1, labels=np.array([3])), context)
    with pytest.raises(NotComputable, match="needs a label for every image"):
        generator.sample(Request(n=1), context)


def test_guidance_moves_away_from_no_label(tmp_path: Path, images: ImageSet) -> None:
    """Guidance 0 makes the same image for every label, 1 and 2 do not; each image depends on its own label alone."""
    folder = fitted(tmp_path / "fitted", images, condition="label", steps=10, learning_rate=1e-2)
    request, other = (Request(n=3, labels=np.array(labels)) for labels in ([2, 5, 5], [5, 5, 5]))
    alike = {}
    for guidance in (0.0, 1.0, 2.0):
        a, b = (sampled(folder, asked, condition="label", guidance=guidance).images for asked in (request, other))
        alike[guidance] = [np.array_equal(one, two) for one, two in zip(a, b, strict=True)]
    assert alike == {0.0: [True] * 3, 1.0: [False, True, True], 2.0: [False, True, True]}


def test_masks_are_those_asked_for(tmp_path: Path, images: ImageSet) -> None:
    """Conditioned on masks, the requested masks, labels and sources come back, and the mask decides the image."""
    options = {"condition": "mask"}
    assert Ddpm(condition="mask").conditions() == {"masks"}
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
        ({"condition": "mask"}, {"masks": None}, "needs masks to condition on, got training images without"),
        ({"condition": "mask"}, {"masks": np.zeros((12, 9, 10), np.uint8)}, "needs masks to condition on, got 12 that are empty"),
        ({"per_class": True}, {"labels": None}, "needs labels for a network of its own, got training images without"),
        ({"per_class": True}, {"labels": np.array([0] * 11 + [1])}, "at least 2 training images of every class .*, got 1 of label 1"),
    ],
)
def test_images_that_do_not_do_are_refused(
    tmp_path: Path, images: ImageSet, options: dict[str, Any], change: dict[str, Any], reason: str
) -> None:
    """Each has its own reason."""
    with pytest.raises(NotComputable, match=reason):
        fitted(tmp_path / "fitted", replace(images, checked=False, **change), **options)


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
def test_a_perfect_prediction_gives_the_image_back(prediction: Prediction, sampler: str) -> None:
    """Where the network would know the one image that there is, every sampler ends at it."""
    if prediction == "flow" and sampler == "ddpm":
        sampler = "euler"
    kind = {"ddpm": "ddpm", "euler": "euler", "deterministic": "euler" if prediction == "flow" else "ddim"}[sampler]
    scheduler = noise_scheduler(prediction, None, 100, ancestral=kind == "ddpm")
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
    found = SAMPLERS[kind](scheduler, 100 if kind == "ddpm" else 20, predict, noise, sources)
    assert found.numpy() == pytest.approx(picture.expand_as(found).numpy(), abs=1e-3)


def test_a_short_training_learns(tmp_path: Path) -> None:
    """Bright discs: after some steps the generated mask marks what is bright, which an untrained network's does not."""
    train = discs(32)
    contrasts = []
    for steps in (1, 40):
        options = {"steps": steps, "batch_size": 8, "channels": (8, 16), "learning_rate": 1e-2, "timesteps": 20, "sampling_steps": 4}
        made = sampled(fitted(tmp_path / str(steps), train, **options), Request(n=8), **options)
        inside = np.asarray(made.masks)[:, None] > 0
        share, values = inside.mean(), made.images
        contrasts.append(values[inside].mean() - values[~inside].mean() if 0.0 < share < 1.0 else 0.0)
    assert contrasts[1] > 0.4 > abs(contrasts[0])
