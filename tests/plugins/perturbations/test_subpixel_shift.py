"""Facts about shifts of less than a pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import fft, ndimage

from harness.api import Context, ImageSet
from harness.testing import check
from harness_plugins.perturbations.subpixel_shift import SubpixelShift, shifted


def applied(images: ImageSet, severity: float, tmp_path: Path, seed: int = 0, **options: Any) -> ImageSet:
    """Images that are shifted a little."""
    return SubpixelShift(**options).apply(images, images, severity, Context(seed=seed, workdir=tmp_path))


def blobs(size: tuple[int, ...], shift: tuple[float, ...] = (), n: int = 30) -> np.ndarray:
    """Gaussian blobs in the middle, shifted, as (n, 1, ...) float32."""
    grid = np.meshgrid(*(np.arange(s) - s / 2 for s in size), indexing="ij")
    square = sum((g - d) ** 2 for g, d in zip(grid, shift or (0.0,) * len(size), strict=True))
    return np.broadcast_to(0.8 * np.exp(-square / 9).astype(np.float32), (n, 1, *size)).copy()


def fine_detail(images: np.ndarray) -> float:
    """Energy of (N, 1, H, W) images at more than half of the highest frequency along either axis."""
    spectrum = fft.dctn(images[:, 0].astype(np.float64), axes=(1, 2), norm="ortho")
    spectrum[:, : images.shape[2] // 2, : images.shape[3] // 2] = 0.0
    return float((spectrum**2).sum())


def test_conforms() -> None:
    """The conformance tests pass."""
    check(SubpixelShift)


@pytest.mark.parametrize("shift", [(0.5, 0.0), (-0.3, 0.4), (0.1, 0.2, -0.45)])
def test_a_blob_is_where_it_should_be(shift: tuple[float, ...]) -> None:
    """A band-limited blob that is shifted equals the blob drawn at the shifted place."""
    size = (24, 26, 22)[: len(shift)]
    np.testing.assert_allclose(shifted(blobs(size), np.tile(shift, (30, 1))), blobs(size, shift), atol=2e-5)


def test_whole_pixels_are_a_roll_inside() -> None:
    """A shift by one pixel moves the rows by one, and the edge row is mirrored in."""
    images = np.random.default_rng(0).random((3, 2, 9, 8)).astype(np.float32)
    expected = np.concatenate([images[:, :, :1], images[:, :, :-1]], axis=2)
    np.testing.assert_allclose(shifted(images, np.tile([1.0, 0.0], (3, 1))), expected, atol=1e-6)


@pytest.mark.parametrize(("severity", "length"), [(0.4, 0.2), (1.0, 0.5)])
def test_length_is_exact_and_directions_are_random(
    picture_set: Callable[..., ImageSet], tmp_path: Path, severity: float, length: float
) -> None:
    """Every centre of mass moves by severity x half a pixel, in all four quarters, the same way at every dose."""
    images = replace(picture_set(30), images=blobs((20, 24)))
    where = np.stack(np.meshgrid(np.arange(20) - 10, np.arange(24) - 12, indexing="ij"))
    moved = [
        np.einsum("nhw,ahw->na", pixels, where) / pixels.sum((1, 2))[:, None]
        for pixels in (applied(images, s, tmp_path).images[:, 0] for s in (severity, 0.8))
    ]
    np.testing.assert_allclose(np.linalg.norm(moved[0], axis=1), length, atol=2e-3)
    np.testing.assert_allclose(moved[0] / length, moved[1] / 0.4, atol=2e-2)
    assert len({tuple(signs) for signs in (moved[0] > 0).tolist()}) == 4


@pytest.mark.parametrize("smoothing", [0.0, 0.6])
def test_fine_detail_is_kept(picture_set: Callable[..., ImageSet], tmp_path: Path, smoothing: float) -> None:
    """Noise, white or of a detector's sharpness, keeps its finest detail to 3 %, where a cubic spline loses a tenth or more."""
    noise = 0.05 * np.random.default_rng(0).standard_normal((40, 1, 48, 52))
    grain = (0.5 + ndimage.gaussian_filter(noise, (0, 0, smoothing, smoothing))).astype(np.float32)
    images = replace(picture_set(40, (48, 52)), images=grain)
    assert fine_detail(applied(images, 1.0, tmp_path).images) == pytest.approx(fine_detail(grain), rel=0.03)
    half = np.sqrt(0.125)
    spline = np.stack([ndimage.shift(x[0], (half, half), order=3, mode="reflect") for x in grain])[:, None]
    assert fine_detail(spline) < 0.9 * fine_detail(grain)


def test_all_else_stays(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Values are float32 in [0, 1], edges make no step, and masks, labels, ids and patients are as they were."""
    images = picture_set(6)
    ramp = np.broadcast_to(np.linspace(0.2, 0.8, 24, dtype=np.float32), images.images.shape).copy()
    result = applied(replace(images, images=ramp), 1.0, tmp_path)
    assert result.images.dtype == np.float32
    assert np.abs(result.images - ramp).max() < 0.02
    assert replace(result, images=images.images).sha256 == images.sha256
    hard = applied(images, 1.0, tmp_path).images
    assert hard.min() >= 0.0
    assert hard.max() <= 1.0


def test_volumes_of_two_channels_move_as_one(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Channels of a volume are shifted alike, and each image by itself gives what it gives among others."""
    images = picture_set(4, (9, 8, 7), 2)
    alike = replace(images, images=np.repeat(images.images[:, :1], 2, axis=1))
    result = applied(alike, 1.0, tmp_path).images
    np.testing.assert_array_equal(result[:, 0], result[:, 1])
    assert not np.allclose(result, alike.images, atol=0.01)


def test_seeds_are_honoured(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """One seed gives the same shifts again, another seed others; the input is untouched."""
    images = picture_set()
    before = images.images.copy()
    first, again, other = (applied(images, 1.0, tmp_path, seed).sha256 for seed in (1, 1, 2))
    assert first == again != other
    np.testing.assert_array_equal(images.images, before)


def test_more_than_half_a_pixel_is_refused() -> None:
    """Beyond half a pixel masks would no longer fit."""
    with pytest.raises(ValueError, match=r"less than or equal to 0\.5"):
        SubpixelShift(max_shift_px=0.6)
