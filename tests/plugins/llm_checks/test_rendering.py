"""Pictures that are shown to a model."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from harness_plugins.llm_checks.rendering import picture, pixels, size_of


def opened(png: bytes) -> np.ndarray:
    """Return the pixels as Pillow reads them."""
    with Image.open(io.BytesIO(png)) as image:
        assert image.info == {}
        return np.asarray(image)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_are_kept_to_eight_bits(channels: int) -> None:
    """The PNG holds the rounded values, no metadata, and is read back by `pixels`."""
    image = np.random.default_rng(0).random((channels, 5, 7)).astype(np.float32)
    png = picture(image, None)
    found = opened(png)

    expected = np.rint(np.moveaxis(image, 0, -1).astype(np.float64) * 255)
    assert np.array_equal(found.reshape(5, 7, channels), expected)
    assert np.array_equal(pixels(png), np.broadcast_to(expected, (5, 7, 3)))
    assert size_of(png) == (7, 5)


def test_other_channels_stand_side_by_side() -> None:
    """Four channels make a grey picture of four panels."""
    image = np.zeros((4, 5, 7), np.float32)
    image[2] = 1.0
    found = opened(picture(image, None))

    assert found.shape == (5, 28)
    assert [int(found[:, 7 * k].max()) for k in range(4)] == [0, 0, 255, 0]


def test_a_volume_shows_its_middle() -> None:
    """The slice in the middle of the first axis, of the mask too."""
    image, mask = np.zeros((1, 5, 6, 6), np.float32), np.zeros((5, 6, 6), np.uint8)
    image[0, 2], mask[2, 2:4, 2:4] = 0.5, 1
    found = opened(picture(image, None, mask))

    assert tuple(found[0, 0]) == (128, 128, 128)
    assert tuple(found[2, 2]) == (255, 220, 0)


def test_large_pictures_shrink_and_small_ones_stay() -> None:
    """The longer side has at most so many pixels; brightness stays, and fine stripes become grey instead of moire."""
    image = np.zeros((1, 64, 128), np.float32)
    image[:, :, ::2] = 1.0
    found = opened(picture(image, 32))

    assert found.shape == (16, 32)
    assert found.mean() == pytest.approx(127.5, abs=3)
    assert found.std() < 12
    assert opened(picture(image, 128)).shape == (64, 128)
    assert opened(picture(image[:, :1, :], 32)).shape == (1, 32)


def test_the_outline_follows_a_shrunk_picture() -> None:
    """The outline of a square is drawn at its new place, in a grey picture as in one of colours."""
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 16:48] = 1
    for channels in (1, 3):
        found = opened(picture(np.zeros((channels, 64, 64), np.float32), 32, mask))
        yellow = np.all(found == (255, 220, 0), axis=-1)
        assert np.argwhere(yellow).min() == 8
        assert np.argwhere(yellow).max() == 23
        assert not yellow[12:20, 12:20].any()


def test_the_same_array_gives_the_same_bytes() -> None:
    """Digests of prompts depend on it."""
    image = np.random.default_rng(0).random((1, 40, 40)).astype(np.float32)

    assert picture(image, 16) == picture(image.copy(), 16)
