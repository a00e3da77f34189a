"""Small pictures: what they show of an image and of its mask."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from harness.images import ImageSet
from harness.pictures import LARGEST_PX, OUTLINE, PAIRS_SHOWN, SHOWN, gallery, outlined, thumbnail


def opened(picture: bytes) -> np.ndarray:
    """Return the pixels of a PNG."""
    return np.asarray(Image.open(io.BytesIO(picture)))


def lined(picture: bytes) -> np.ndarray:
    """Return where a picture has the colour of an outline."""
    return np.asarray((opened(picture) == OUTLINE).all(axis=2))


def test_the_outline_is_the_border_of_the_region() -> None:
    """It lies within the mask, goes once round it, and leaves its inside and everything else as they are."""
    mask = np.zeros((LARGEST_PX, LARGEST_PX), np.uint8)
    mask[10:30, 40:70] = 1
    found = lined(outlined(np.full((1, *mask.shape), 0.5, np.float32), mask))
    expected = mask.astype(bool)
    expected[11:29, 41:69] = False
    assert np.array_equal(found, expected)


def test_regions_that_touch_each_have_a_line() -> None:
    """The border between two regions belongs to both."""
    mask = np.ones((LARGEST_PX, LARGEST_PX), np.uint8)
    mask[:, 64:] = 2
    found = lined(outlined(np.zeros((1, *mask.shape), np.float32), mask))
    assert found[5:-5, 63:65].all()
    assert not found[5:-5, 5:60].any()


@pytest.mark.parametrize(("shape", "size"), [((1, 16, 16), (128, 128)), ((3, 300, 200), (100, 66)), ((1, 5, 40, 20), (120, 60))])
def test_small_images_are_drawn_larger_and_large_ones_smaller(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    """Grey or colour, image or middle slice of a volume; a region of one pixel is still seen."""
    image, mask = np.random.default_rng(0).random(shape).astype(np.float32), np.zeros(shape[1:], np.uint8)
    mask[..., shape[-2] // 2, shape[-1] // 2] = 1
    found = outlined(image, mask)
    assert opened(found).shape == (*size, 3)
    assert lined(found).any()
    assert max(opened(thumbnail(image)).shape) <= LARGEST_PX


def test_images_with_masks_are_shown_beside_their_outline() -> None:
    """Fewer of them than of images without masks, which have nothing beside them."""
    images = np.zeros((30, 1, 8, 8), np.float32)
    bare = ImageSet(images, tuple(f"i{k}" for k in range(30)), (1.0, 1.0))
    masked = ImageSet(images, bare.ids, (1.0, 1.0), masks=np.ones((30, 8, 8), np.uint8))
    assert [row.partner_png for row in gallery("c", "real", bare, None, 1)] == [None] * SHOWN
    assert [row.partner_png is None for row in gallery("c", "real", masked, None, 1)] == [False] * PAIRS_SHOWN
