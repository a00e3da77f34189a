"""Facts about motion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.api import Context, ImageSet, NotComputable
from harness_plugins.perturbations.motion import Motion, moved


@pytest.mark.parametrize(("size", "axis"), [((12, 15), -2), ((12, 15), -1), ((7, 10, 9), -3), ((7, 10, 9), -1)])
def test_k_space_is_assembled_from_shifted_images(size: tuple[int, ...], axis: int) -> None:
    """With positions of whole pixels, each line is that of the image rolled there; the magnitude of the whole is returned."""
    rng = np.random.default_rng(0)
    image = rng.random((2, *size), dtype=np.float32)
    path = rng.integers(-3, 4, (size[axis], len(size)))
    spatial = tuple(range(1, len(size) + 1))
    assembled = np.zeros(image.shape, dtype=complex)
    for line, shift in enumerate(path):
        whole = np.fft.fftshift(np.fft.fftn(np.roll(image, shift, spatial), axes=spatial), axes=spatial)
        index = [slice(None)] * image.ndim
        index[axis] = slice(line, line + 1)
        assembled[tuple(index)] = whole[tuple(index)]
    expected = np.abs(np.fft.ifftn(np.fft.ifftshift(assembled, axes=spatial), axes=spatial))
    np.testing.assert_allclose(moved(image, path, axis), expected, atol=1e-5)


def test_half_a_pixel_moves_a_wave_by_half_a_pixel() -> None:
    """A position between pixels, kept throughout, translates a smooth image by just that."""
    columns = np.arange(16)
    image = np.tile(0.5 + 0.3 * np.cos(2.0 * np.pi * columns / 16.0), (1, 12, 1))
    expected = 0.5 + 0.3 * np.cos(2.0 * np.pi * (columns - 0.5) / 16.0)
    np.testing.assert_allclose(moved(image, np.tile([0.0, 0.5], (12, 1)), -2)[0], np.tile(expected, (12, 1)), atol=1e-6)


def test_ghosts_run_along_the_phase_encoding_axis() -> None:
    """A bar that moves along the rows leaves ghosts above and below itself and none beside itself."""
    image = np.zeros((1, 32, 32), dtype=np.float32)
    image[0, 12:20, 12:20] = 0.8
    path = np.zeros((32, 2))
    path[18:, 0] = 3.0
    ghosted = moved(image, path, -2)[0]
    assert ghosted[:8, 12:20].max() > 0.01
    assert ghosted[:, :12].max() < 1e-5


@pytest.mark.parametrize("moves", [1, 4])
def test_path(moves: int) -> None:
    """There are moves + 1 places, the centre of k-space is acquired in the true one, and the farthest is at distance 1."""
    for seed in range(20):
        path = Motion(moves=moves)._path(21, 3, np.random.default_rng(seed))
        assert len(np.unique(path, axis=0)) == moves + 1
        assert np.count_nonzero(np.any(np.diff(path, axis=0), axis=1)) == moves
        np.testing.assert_array_equal(path[10], 0.0)
        assert np.linalg.norm(path, axis=1).max() == pytest.approx(1.0)


def test_each_image_moves_in_its_own_way(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Two equal images come out different, and their mean brightness, which lies in the centre of k-space, hardly changes."""
    one = picture_set(1, (32, 32)).images
    images = ImageSet(np.concatenate([one, one]), ("a", "b"), (1.0, 1.0))
    changed = Motion().apply(images, images, 0.5, Context(seed=0, workdir=tmp_path)).images
    assert not np.allclose(changed[0], changed[1])
    np.testing.assert_allclose(changed.mean(axis=(1, 2, 3)), one.mean(), rtol=0.1)


def test_what_cannot_move_is_refused(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """More moves than lines allow and an axis that pictures do not have are refused with a reason."""
    images = picture_set(2, (4, 20))
    with pytest.raises(NotComputable, match="4 moves need at least 5 phase-encoding lines, got 4"):
        Motion().apply(images, images, 1.0, Context(seed=0, workdir=tmp_path))
    with pytest.raises(NotComputable, match="axis -3"):
        Motion(axis=-3).apply(images, images, 1.0, Context(seed=0, workdir=tmp_path))
    with pytest.raises(ValueError, match="less than or equal to -1"):
        Motion(axis=0)
