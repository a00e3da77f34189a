"""Facts about colour, interpolation and batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.api import Context, ImageSet, NotComputable
from harness_plugins.extractors.batches import in_batches, interpolation_weights, normalised, require_axes, require_colour, resized, rgb

PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(13, 9), (50, 61), (20, 24), (1, 3), (224, 224)])
def test_interpolation_is_pillows(kernel: str, size: tuple[int, int]) -> None:
    """Smaller, larger, equal: the values of Pillow on a floating-point image, up to 1e-6."""
    import torch

    image = np.random.default_rng(0).uniform(0.3, 0.7, (20, 24)).astype(np.float32)
    expected = np.asarray(Image.fromarray(image).resize(size[::-1], PILLOW[kernel]))
    found = resized(torch.from_numpy(image)[None, None], size, kernel)[0, 0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_interpolation_is_torchs() -> None:
    """The antialiased interpolation of torch gives the same."""
    import torch

    images = torch.from_numpy(np.random.default_rng(1).random((2, 3, 30, 41), dtype=np.float32))
    expected = torch.nn.functional.interpolate(images, size=(16, 50), mode="bilinear", antialias=True)
    np.testing.assert_allclose(resized(images, (16, 50)).numpy(), expected.numpy(), atol=5e-6)


def test_volumes_are_interpolated_along_every_axis() -> None:
    """A volume that varies along one axis is the interpolated line; enlarged without antialiasing it is torch's trilinear one."""
    import torch

    line = np.random.default_rng(2).random(12)
    volume = torch.from_numpy(np.broadcast_to(line[:, None, None], (1, 1, 12, 5, 6)).astype(np.float32).copy())
    small = resized(volume, (5, 4, 3))
    assert small.shape == (1, 1, 5, 4, 3)
    np.testing.assert_allclose(small[0, 0, :, 1, 2].numpy(), line @ interpolation_weights(12, 5, "bilinear"), atol=1e-6)
    random = torch.from_numpy(np.random.default_rng(3).random((1, 2, 6, 7, 8), dtype=np.float32))
    expected = torch.nn.functional.interpolate(random, size=(9, 14, 11), mode="trilinear")
    np.testing.assert_allclose(resized(random, (9, 14, 11)).numpy(), expected.numpy(), atol=1e-6)


def test_overshoot_is_clipped() -> None:
    """At an edge the bicubic kernel would leave the range 0 to 1."""
    import torch

    step = torch.zeros((1, 1, 8, 8))
    step[..., 4:] = 1.0
    found = resized(step, (8, 24), "bicubic")
    assert float(found.min()) == 0.0
    assert float(found.max()) == 1.0


def test_colour_and_normalisation() -> None:
    """Grey is repeated, colour stays, and each channel has its own mean and standard deviation."""
    import torch

    grey, colour = torch.full((2, 1, 3, 3), 0.5), torch.arange(6.0).view(2, 3, 1, 1)
    assert rgb(grey).shape == (2, 3, 3, 3)
    assert rgb(colour) is colour
    found = normalised(rgb(grey), (0.5, 0.25, 0.0), (1.0, 0.5, 0.25))
    np.testing.assert_allclose(found[0, :, 0, 0].numpy(), [0.0, 0.5, 2.0])


def test_rows_come_from_full_batches(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Every call has the full batch, whatever the number of images; rows come back in order; none give no rows."""
    seen, images = [], picture_set(7)
    told: list[tuple[int, int]] = []
    context = Context(0, tmp_path, report=lambda done, total: told.append((done, total)))

    def means(x: object) -> object:
        seen.append(len(x))
        return x.mean(dim=(2, 3)).repeat(1, 2)

    found = in_batches(images, 4, 2, context, means)
    np.testing.assert_allclose(found, np.repeat(images.images.mean(axis=(2, 3)), 2, axis=1), atol=1e-6)
    assert seen == [4, 4]
    assert told == [(4, 7), (7, 7)]
    empty = replace(images.take([]), images=images.images[:0])
    assert in_batches(empty, 4, 2, context, means).shape == (0, 2)


def test_what_a_network_cannot_take_is_said(picture_set: Callable[..., ImageSet]) -> None:
    """Volumes for a 2D network, images for a 3D one, and two channels are refused with what was found."""
    with pytest.raises(NotComputable, match=r"net takes 2D images, \(N, C, H, W\), got 3D volumes of shape \(2, 1, 8, 8, 8\)"):
        require_axes(picture_set(2, (8, 8, 8)), 2, "net")
    with pytest.raises(NotComputable, match=r"net takes 3D volumes, \(N, C, D, H, W\), got 2D images of shape \(2, 1, 8, 8\)"):
        require_axes(picture_set(2, (8, 8)), 3, "net")
    with pytest.raises(NotComputable, match="net takes one grey channel or three of colour, got 2 channels"):
        require_colour(picture_set(2, (8, 8), 2), "net")
