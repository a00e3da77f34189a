"""The variational autoencoders: joint, for a class, repeatable, resumable, and better than untrained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.api import Context, ImageSet, InputError, NotComputable, Request
from harness.testing import check, phantoms
from harness_plugins.generators import joint, training
from harness_plugins.generators.joint import JointGenerator
from harness_plugins.generators.vae import Vae, fitted_gaussian, kl_divergence

TINY: dict[str, Any] = {"steps": 3, "batch_size": 4, "threads": 1, "channels": (8, 8), "latent_channels": 2}
CODED: dict[str, Any] = {"quantised": True, "codes": 8, "prior_width": 8, "prior_layers": 1}
PLAIN = Vae(**TINY)
KINDS = {"fitted": PLAIN, "standard": Vae(**TINY, prior="standard", reconstruction="absolute"), "quantised": Vae(**TINY, **CODED)}
STOPS = [("fitted", 2), ("quantised", 2), ("quantised", 5)]
LEARNING: dict[str, Any] = {"batch_size": 16, "threads": 1, "channels": (8, 16), "ema": 0.9, "learning_rate": 1e-2}
LEARNERS = {"fitted": Vae(**LEARNING, steps=30), "quantised": Vae(**LEARNING, **CODED, steps=30)}
UNTRAINED: dict[str, dict[str, Any]] = {"quantised": {"prior_steps": 1}}


def with_options(**options: Any) -> JointGenerator:
    """Return the generator with these options."""
    return Vae(**{**TINY, **options})


def pictures(n: int = 8, sides: tuple[int, ...] = (8, 8), **changes: Any) -> ImageSet:
    """Return random images of two classes whose masks have the regions 1 and 5."""
    rng = np.random.default_rng(7)
    images = rng.random((n, 1, *sides), dtype=np.float32)
    masks = np.where(images[:, 0] > 0.7, 5, np.where(images[:, 0] > 0.4, 1, 0)).astype(np.uint8)
    labels = np.where(np.arange(n) % 2, 4, 2).astype(np.int64)
    known = {"masks": masks, "labels": labels, **changes}
    return ImageSet(images, tuple(str(i) for i in range(n)), (1.0,) * len(sides), **known)


def fitted(generator: JointGenerator, images: ImageSet, folder: Path, checkpoints: Path | None = None, stop: int | None = None) -> Context:
    """Return the context of a fit; `stop` ends it after so many steps, as if the process had been killed."""

    def report(done: int, total: int) -> None:
        if stop is not None and done >= stop:
            raise KeyboardInterrupt

    folder.mkdir(parents=True, exist_ok=True)
    context = Context(seed=3, workdir=folder, checkpoints=checkpoints, report=report)
    generator.fit(images, context)
    return context


def sampled(generator: JointGenerator, folder: Path, n: int, seed: int = 1, labels: list[int] | None = None) -> ImageSet:
    """Return n images of the generator that was fitted in the folder; every second one is of label 4 unless said otherwise."""
    wanted = np.array(labels if labels is not None else [2, 4] * n, dtype=np.int64)[:n]
    request = Request(n, labels=wanted, spacing_mm=(0.5,) * (len(kept_shape(folder)) - 1))
    made = generator.sample(request, Context(seed=seed, workdir=folder, fitted=folder))
    assert isinstance(made, ImageSet)
    return made


def kept_shape(folder: Path) -> tuple[int, ...]:
    """Return the shape of the training images that the generator left beside its weights."""
    shape: tuple[int, ...] = torch.load(folder / "generator.pt", weights_only=True)["facts"]["shape"]
    return shape


@pytest.mark.parametrize("kind", KINDS)
def test_keeps_the_promises_of_a_generator(kind: str) -> None:
    """The conformance test passes, also where a request names no labels."""
    check(KINDS[kind], n=8, size_px=(8, 8))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sides", [(9, 14), (5, 6, 7)])
def test_makes_images_masks_and_labels(tmp_path: Path, kind: str, sides: tuple[int, ...]) -> None:
    """In 2D and 3D, of sides that cannot be halved, with the regions and spacing of the data and the labels asked for."""
    fitted(KINDS[kind], pictures(sides=sides), tmp_path)
    made = sampled(KINDS[kind], tmp_path, 5, labels=[4, 4, 2, 4, 2])
    assert made.images.shape == (5, 1, *sides)
    assert made.masks is not None
    assert made.labels is not None
    assert set(np.unique(made.masks).tolist()) <= {0, 1, 5}
    assert made.labels.tolist() == [4, 4, 2, 4, 2]
    assert made.spacing_mm == (0.5,) * len(sides)
    assert made.origin == "synthetic"


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_depends_on_seed_place_and_label_alone(tmp_path: Path, kind: str) -> None:
    """The same seed gives the same bits however many images are asked for; another seed or label gives others."""
    fitted(KINDS[kind], pictures(), tmp_path)
    whole = sampled(KINDS[kind], tmp_path, 7)
    again, few = sampled(KINDS[kind], tmp_path, 7), sampled(KINDS[kind], tmp_path, 3)
    assert np.array_equal(again.images, whole.images)
    assert np.array_equal(few.images, whole.images[:3])
    assert np.array_equal(np.asarray(few.masks), np.asarray(whole.masks)[:3])
    assert not np.array_equal(sampled(KINDS[kind], tmp_path, 7, seed=2).images, whole.images)
    other = sampled(KINDS[kind], tmp_path, 7, labels=[2] * 7).images
    assert np.array_equal(other[0], whole.images[0])
    assert not np.array_equal(other[1], whole.images[1])


@pytest.mark.parametrize(("kind", "stop"), STOPS)
def test_killed_training_goes_on_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, stop: int) -> None:
    """Weights and training curve of a fit that was killed and called again are those of one that was not."""
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    images, store = pictures(), tmp_path / "checkpoints"
    store.mkdir()
    whole = fitted(KINDS[kind], images, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fitted(KINDS[kind], images, tmp_path / "killed", store, stop)
    resumed = fitted(KINDS[kind], images, tmp_path / "killed", store)
    weights = [torch.load(folder / "generator.pt", weights_only=True)["weights"] for folder in (tmp_path / "whole", tmp_path / "killed")]
    assert weights[0].keys() == weights[1].keys()
    for name, state in weights[0].items():
        assert all(torch.equal(value, weights[1][name][key]) for key, value in state.items())
    curves = [[point for point in context.curve if point[0] != "seconds"] for context in (whole, resumed)]
    assert curves[0] == curves[1]


def test_without_masks_and_labels(tmp_path: Path) -> None:
    """Images alone are learned alone: no masks and no labels come back."""
    fitted(PLAIN, pictures(masks=None, labels=None), tmp_path)
    made = sampled(PLAIN, tmp_path, 2)
    assert made.masks is None
    assert made.labels is None


def test_what_the_data_do_not_allow(tmp_path: Path) -> None:
    """A class with one image, empty masks, and labels or masks that are asked for and absent each give their reason."""
    empty = np.zeros((8, 8, 8), dtype=np.uint8)
    cases = [
        (PLAIN, pictures(labels=np.array([0] * 7 + [1], dtype=np.int64)), "at least 2 training images of every class .* got 1 of label 1"),
        (PLAIN, pictures(masks=empty), "needs masks to make with the images .* got 8 that are empty"),
        (with_options(condition="label"), pictures(labels=None), "needs labels to condition on"),
        (with_options(joint=True), pictures(masks=None), "needs masks to make with the images"),
        (PLAIN, pictures(n=1), "at least 2 training images, got 1"),
    ]
    for generator, images, reason in cases:
        with pytest.raises(NotComputable, match=reason):
            fitted(generator, images, tmp_path)


def test_left_out_on_request(tmp_path: Path) -> None:
    """`joint: false` and `condition: none` leave masks and labels out where the data have them."""
    generator = with_options(joint=False, condition="none")
    fitted(generator, pictures(), tmp_path)
    made = sampled(generator, tmp_path, 2)
    assert made.masks is None
    assert made.labels is None


def test_request_that_cannot_be_met(tmp_path: Path) -> None:
    """An unknown label, labels that are needed and absent, and a generator that was never fitted are named."""
    with pytest.raises(InputError, match="has not been fitted"):
        PLAIN.sample(Request(2), Context(1, tmp_path))
    strict = with_options(condition="label")
    fitted(strict, pictures(), tmp_path)
    assert strict.conditions() == {"labels"}
    with pytest.raises(NotComputable, match=r"needs labels that the training images have, \[2, 4\], got \[9\]"):
        sampled(strict, tmp_path, 2, labels=[2, 9])
    with pytest.raises(NotComputable, match="needs a label for every image"):
        strict.sample(Request(2), Context(1, tmp_path, fitted=tmp_path))


@pytest.mark.parametrize("kind", KINDS)
def test_training_that_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A loss that is no longer finite, and too little memory, end with what to change."""
    broken = KINDS[kind].model_copy(update={"learning_rate": 1e30})
    with pytest.raises(NotComputable, match=r"no longer finite .* lower learning_rate"):
        fitted(broken, pictures(), tmp_path)

    def full(*arguments: Any) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(joint, "pictures_of", full)
    with pytest.raises(NotComputable, match=r"a batch of 4 images .* lower batch_size"):
        fitted(KINDS[kind], pictures(), tmp_path)


@pytest.mark.parametrize("kind", LEARNERS)
def test_training_helps(tmp_path: Path, kind: str) -> None:
    """After a short training the mean image is less than half as far from the real one as that of an untrained network."""
    real, away = phantoms(48, 1, 16), {}
    for name, options in (("untrained", {"steps": 1, "learning_rate": 1e-12, **UNTRAINED.get(kind, {})}), ("trained", {})):
        generator = LEARNERS[kind].model_copy(update=options)
        fitted(generator, real, tmp_path / name)
        made = sampled(generator, tmp_path / name, 48, labels=[0, 1] * 24)
        away[name] = float(np.square(made.images.mean(axis=0) - real.images.mean(axis=0)).mean())
    assert away["trained"] < 0.5 * away["untrained"]


def test_draws_labels_that_are_not_asked_for(tmp_path: Path) -> None:
    """Without labels in the request each image has a class of the training images, about as frequent, whatever n is."""
    fitted(PLAIN, pictures(), tmp_path)
    many, few = (PLAIN.sample(Request(n), Context(1, tmp_path, fitted=tmp_path)).labels for n in (60, 5))
    assert many is not None
    assert few is not None
    assert set(many.tolist()) == {2, 4}
    assert 15 <= int((many == 2).sum()) <= 45
    assert np.array_equal(few, many[:5])


@pytest.mark.parametrize("components", [3, 256])
def test_fitted_gaussian_has_the_moments_of_the_mixture(components: int) -> None:
    """Mean and variances are those of the mixture however many directions are kept, and with all of them the covariance is."""
    rng = np.random.default_rng(0)
    means, variances = rng.standard_normal((40, 6)) @ rng.standard_normal((6, 6)), rng.random((40, 6))
    found = fitted_gaussian(torch.tensor(means), torch.tensor(variances), components)
    directions, spread = (found[name].double().numpy() for name in ("directions", "spread"))
    covariance = directions.T @ directions + np.diag(spread**2)
    wanted = np.cov(means, rowvar=False, bias=True) + np.diag(variances.mean(axis=0))
    assert np.allclose(found["mean"].numpy(), means.mean(axis=0), atol=1e-6)
    assert np.allclose(np.diag(covariance), np.diag(wanted), rtol=1e-5)
    assert np.allclose(covariance, wanted, rtol=1e-5, atol=1e-5) == (components > 6)


def test_divergence_is_that_of_the_distributions() -> None:
    """The divergence from the standard normal distribution is the one that torch's distributions give."""
    mean, deviation = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.linspace(0.1, 2.0, 20).view(5, 4)
    ours = kl_divergence(mean, deviation)
    own, standard = torch.distributions.Normal(mean, deviation), torch.distributions.Normal(0.0, 1.0)
    theirs = torch.distributions.kl_divergence(own, standard).sum(dim=1).mean()
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"channels": (8, 12)}, "channels must be multiples of 8"),
        ({"codes": 8}, "codes belongs to quantised: true"),
        ({"quantised": True, "kl_weight": 1.0}, "kl_weight belongs to quantised: false"),
        ({"prior": "standard", "components": 4}, "components belongs to prior: fitted"),
    ],
)
def test_options_that_do_not_fit_together(options: dict[str, Any], problem: str) -> None:
    """An option that would do nothing, or cannot be met, is refused in words."""
    with pytest.raises(ValueError, match=problem):
        Vae(**options)
