"""Facts about networks from TorchScript files."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import nn

from harness.api import Context, ImageSet, InputError, NotComputable
from harness.testing import check
from harness_plugins.extractors.torchscript import TorchScript


class Whole(nn.Module):
    """Returns what it is given, in one row."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (batch, F)."""
        return x.flatten(start_dim=1)


class Map(nn.Module):
    """Returns what it is given, as a map."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (batch, C, ...)."""
        return x + 0


class Several(nn.Module):
    """Returns two tensors."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return two maps."""
        return x, x


class Together(nn.Module):
    """Returns one row for the whole batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (1, F)."""
        return x.reshape(1, -1)


def saved(network: nn.Module, folder: Path, *shape: int) -> dict[str, Any]:
    """Trace a network on an example of this shape and return the options that name the file."""
    path = folder / f"{type(network).__name__}.pt"
    with warnings.catch_warnings():
        # torch advises another export, and against tracing in training mode, which is what one test is about.
        warnings.simplefilter("ignore")
        torch.jit.trace(network, torch.rand(2, *shape)).save(str(path))
    return {"weights": path, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Return a context."""
    return Context(seed=0, workdir=tmp_path)


def test_pixels_enter_as_documented(tmp_path: Path, context: Context, picture_set: Callable[..., ImageSet]) -> None:
    """A network that returns its input sees (scale x - mean) / std, grey repeated to three channels."""
    options = saved(Whole(), tmp_path, 3, 20, 24)
    images = picture_set(3)
    found = TorchScript(**options, scale=255.0, mean=(1.0, 2.0, 3.0), std=(2.0,)).extract(images, context)
    expected = (255 * images.images.repeat(3, axis=1) - np.array([1, 2, 3]).reshape(3, 1, 1)) / 2
    np.testing.assert_allclose(found, expected.reshape(3, -1), rtol=1e-6)


def test_images_are_resized_as_pillow_does(tmp_path: Path, context: Context, picture_set: Callable[..., ImageSet]) -> None:
    """The option side resizes bilinearly and antialiased along both axes."""
    images = picture_set(2, (30, 44))
    found = TorchScript(**saved(Whole(), tmp_path, 1, 16, 16), channels=1, side=16).extract(images, context)
    for row, picture in zip(found, images.images[:, 0], strict=True):
        small = Image.fromarray(picture).resize((16, 16), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(row.reshape(16, 16), np.asarray(small), atol=1e-6)


def test_maps_are_pooled_or_flattened(tmp_path: Path, context: Context, picture_set: Callable[..., ImageSet]) -> None:
    """A map is averaged over its positions or taken whole; without a choice it is refused."""
    images, options = picture_set(3, channels=3), saved(Map(), tmp_path, 3, 20, 24)
    mean = TorchScript(**options, pooling="mean").extract(images, context)
    np.testing.assert_allclose(mean, images.images.mean(axis=(2, 3)), rtol=1e-5)
    flat = TorchScript(**options, pooling="flatten").extract(images, context)
    np.testing.assert_array_equal(flat, images.images.reshape(3, -1))
    with pytest.raises(InputError, match=r"a map of shape \(3, 20, 24\) for each image"):
        TorchScript(**options).extract(images, context)


def test_half_the_squared_distance_of_unit_rows_is_the_cosine_distance(
    tmp_path: Path, context: Context, picture_set: Callable[..., ImageSet]
) -> None:
    """With normalise, 1 - cosine of the raw rows is half the squared distance: this is how DreamSim is read."""
    images, options = picture_set(2), saved(Whole(), tmp_path, 1, 20, 24)
    raw = TorchScript(**options, channels=1).extract(images, context)
    extractor = TorchScript(**options, channels=1, normalise=True, output="distances")
    unit = extractor.extract(images, context)
    cosine = raw[0] @ raw[1] / np.linalg.norm(raw[0]) / np.linalg.norm(raw[1])
    assert ((unit[0] - unit[1]) ** 2).sum() / 2 == pytest.approx(1 - cosine, abs=1e-6)
    assert extractor.gives() == "distances"
    assert extractor.inputs() == (options["weights"],)


@pytest.mark.parametrize("size", [(20, 24), (10, 12, 11)])
def test_rows_are_independent(tmp_path: Path, context: Context, picture_set: Callable[..., ImageSet], size: tuple[int, ...]) -> None:
    """A row is the same alone, in another order and with another batch size, in two and three dimensions; no images, no rows."""
    convolution = nn.Conv2d(3, 5, 3) if len(size) == 2 else nn.Conv3d(3, 5, 3)
    norm = nn.BatchNorm2d(5) if len(size) == 2 else nn.BatchNorm3d(5)
    options = saved(nn.Sequential(convolution, norm, nn.ReLU()).eval(), tmp_path, 3, *size) | {"axes": len(size), "pooling": "mean"}
    images = picture_set(11, size)
    whole = TorchScript(**options).extract(images, context)
    assert whole.shape == (11, 5)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(TorchScript(**options).extract(images.take([10]), context)[0], whole[10], atol=1e-6)
    np.testing.assert_allclose(TorchScript(**options).extract(images.take(np.arange(11)[::-1]), context)[::-1], whole, atol=1e-6)
    np.testing.assert_allclose(TorchScript(**options, batch=3).extract(images, context), whole, atol=1e-6)
    assert TorchScript(**options).extract(images.take([]), context).shape == (0, 5)


def test_conforms(tmp_path: Path) -> None:
    """The conformance tests of every extractor pass on images and on volumes."""
    check(TorchScript(**saved(Whole(), tmp_path, 3, 20, 24)), n=12, size_px=(20, 24))
    check(TorchScript(**saved(Map(), tmp_path, 2, 6, 7, 8), axes=3, channels=2, pooling="mean"), n=12, size_px=(6, 7, 8), channels=2)


def test_volumes_are_resized_along_every_axis(tmp_path: Path, context: Context, picture_set: Callable[..., ImageSet]) -> None:
    """Volumes become cubes with the option side, and a volume of one value keeps it."""
    images = picture_set(2, (6, 9, 12))
    flat = replace(images, images=np.full_like(images.images, 0.25))
    found = TorchScript(**saved(Whole(), tmp_path, 1, 8, 8, 8), axes=3, channels=1, side=8).extract(flat, context)
    np.testing.assert_allclose(found, np.full((2, 512), 0.25), rtol=1e-6)


def test_a_network_in_training_mode_is_refused(tmp_path: Path, context: Context, picture_set: Callable[..., ImageSet]) -> None:
    """A network that normalises over the batch gives an image other features in other company: that is found."""
    options = saved(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train(), tmp_path, 3, 20, 24)
    with pytest.raises(InputError, match="depend on the other images of its batch") as caught:
        TorchScript(**options, pooling="mean").extract(picture_set(5), context)
    assert "call eval() before you export it" in str(caught.value)


def test_what_cannot_be_measured(tmp_path: Path, context: Context, picture_set: Callable[..., ImageSet]) -> None:
    """Other axes and other channels than declared are no number, and the message says what to write; nor is a row without a length."""
    options = saved(Whole(), tmp_path, 3, 20, 24)
    with pytest.raises(NotComputable, match=r"declared for 2 axes, got volumes of \(6, 7, 8\) voxels; .* write axes: 3"):
        TorchScript(**options).extract(picture_set(2, (6, 7, 8)), context)
    with pytest.raises(NotComputable, match=r"declared for 3 axes, got 2D images of \(20, 24\) pixels"):
        TorchScript(**options, axes=3).extract(picture_set(2), context)
    with pytest.raises(NotComputable, match="declared for 3 channels, got images of 2; write channels: 2"):
        TorchScript(**options).extract(picture_set(2, channels=2), context)
    images = picture_set(3)
    black = replace(images, images=images.images * np.array([1, 0, 1], np.float32).reshape(3, 1, 1, 1))
    with pytest.raises(NotComputable, match="not finite for image s0i1"):
        TorchScript(**options, normalise=True).extract(black, context)


def test_networks_that_do_not_fit_are_refused(tmp_path: Path, context: Context, picture_set: Callable[..., ImageSet]) -> None:
    """A network for another size, one that returns several tensors, one that returns one row for all: each says so."""
    fixed = saved(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2)), tmp_path, 3, 8, 8)
    with pytest.raises(InputError, match=r"does not run on a batch of shape \(8, 3, 20, 24\)"):
        TorchScript(**fixed).extract(picture_set(2), context)
    with pytest.raises(InputError, match="returns tuple for 8 images"):
        TorchScript(**saved(Several(), tmp_path, 3, 20, 24)).extract(picture_set(2), context)
    with pytest.raises(InputError, match=r"returns a tensor of shape \(1, 11520\) for 8 images"):
        TorchScript(**saved(Together(), tmp_path, 3, 20, 24)).extract(picture_set(2), context)


def test_other_files_are_refused(tmp_path: Path, context: Context, picture_set: Callable[..., ImageSet]) -> None:
    """A missing file, a wrong pin, weights without a network and text are refused."""
    options = saved(Whole(), tmp_path, 3, 20, 24)
    with pytest.raises(ValidationError, match="is not there"):
        TorchScript(weights=tmp_path / "no.pt")
    with pytest.raises(ValidationError, match="has the digest"):
        TorchScript(weights=options["weights"], sha256="0" * 64)
    torch.save({"w": torch.ones(1)}, tmp_path / "state.pt")
    (tmp_path / "text.pt").write_text("hello", encoding="utf-8")
    for name in ("state.pt", "text.pt"):
        path = tmp_path / name
        extractor = TorchScript(weights=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        with pytest.raises(InputError, match="the file is no TorchScript"):
            extractor.extract(picture_set(1), context)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"mean": (1.0, 2.0)}, "one number, or one for each of the 3 channels, got 2"),
        ({"std": (0.0,)}, "std positive"),
        ({"mean": (float("nan"),)}, "must be finite"),
        ({"mean": ()}, "one number"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, option: dict[str, Any], message: str) -> None:
    """Means and deviations must fit the channels and be numbers."""
    with pytest.raises(ValidationError, match=message):
        TorchScript(**saved(Whole(), tmp_path, 3, 4, 4), **option)
