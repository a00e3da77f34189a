"""Facts about JPEG."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from harness.api import Context, ImageSet
from harness_plugins.perturbations.jpeg import Jpeg, compressed, quantisation_table


def by_pillow(levels: np.ndarray, quality: int) -> tuple[np.ndarray, np.ndarray]:
    """What libjpeg makes of a grey image of 8 bits, and the table that it wrote into the file."""
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return np.asarray(image), np.array(image.quantization[0])  # type: ignore[attr-defined]


def picture(height: int, width: int) -> np.ndarray:
    """A smooth picture with an edge and fine texture, 8 bits."""
    rng = np.random.default_rng(0)
    smooth = gaussian_filter(rng.standard_normal((height, width)), 4.0)
    pixels = 0.5 + 0.25 * smooth / np.abs(smooth).max() + 0.02 * rng.standard_normal((height, width))
    pixels[:, width // 3 :] *= 0.6
    return np.rint(np.clip(pixels, 0.0, 1.0) * 255.0).astype(np.uint8)


@pytest.mark.parametrize("quality", [1, 10, 25, 49, 50, 55, 75, 78, 90, 99, 100])
def test_tables_are_libjpegs(quality: int) -> None:
    """The table of each quality is the one that libjpeg writes."""
    flat = np.zeros((8, 8), dtype=np.uint8)
    np.testing.assert_array_equal(quantisation_table(quality).ravel(), by_pillow(flat, quality)[1])


@pytest.mark.parametrize(("height", "width"), [(64, 80), (61, 75)])
@pytest.mark.parametrize("quality", [10, 55, 78, 95])
def test_pixels_are_libjpegs(quality: int, height: int, width: int) -> None:
    """What is lost is what libjpeg loses, up to its integer arithmetic, also where the image does not consist of whole blocks."""
    levels = picture(height, width)
    ours = compressed(levels[None].astype(np.float32) / np.float32(255.0), quantisation_table(quality))[0] * 255.0
    theirs = by_pillow(levels, quality)[0].astype(np.float64)
    apart = np.abs(ours - theirs)
    assert apart.mean() < 0.4
    assert np.mean(apart <= 1.0) > 0.95
    assert np.corrcoef((ours - levels).ravel(), (theirs - levels).ravel())[0, 1] > 0.9


def test_severity_sets_the_quality(tmp_path: Path) -> None:
    """The quality falls from 100 to quality_at_full in proportion with the severity."""
    levels = picture(40, 48)
    images = ImageSet(levels[None, None].astype(np.float32) / np.float32(255.0), ("a",), (1.0, 1.0))
    for severity, quality in ((0.5, 60), (1.0, 20)):
        changed = Jpeg(quality_at_full=20).apply(images, images, severity, Context(seed=0, workdir=tmp_path)).images[0, 0]
        expected = compressed(images.images[0, 0], quantisation_table(quality))
        np.testing.assert_array_equal(changed, expected.astype(np.float32))


def test_slices_and_channels_are_compressed_by_themselves(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Each slice of each channel of a volume comes out as the same slice alone does."""
    volumes = picture_set(2, (3, 18, 20), 2)
    changed = Jpeg().apply(volumes, volumes, 0.8, Context(seed=0, workdir=tmp_path)).images
    slices = volumes.images.reshape(12, 1, 18, 20)
    alone = ImageSet(slices, tuple(map(str, range(12))), (1.0, 1.0))
    np.testing.assert_array_equal(changed.reshape(slices.shape), Jpeg().apply(alone, alone, 0.8, Context(seed=0, workdir=tmp_path)).images)


def test_highest_quality_only_rounds() -> None:
    """At quality 100 images keep their 8 bits to within one level."""
    levels = picture(40, 48)
    assert np.abs(compressed(levels / 255.0, quantisation_table(100)) * 255.0 - levels).max() <= 1.0


def test_numbers_in_the_reasons() -> None:
    """At quality 55 fine texture of 1 % keeps less than half; at 78 most specks of a fifth of the window lose more than half."""
    noise = 0.01 * np.random.default_rng(0).standard_normal((128, 128))
    texture = 0.5 + noise
    assert compressed(texture, quantisation_table(55)).std() < 0.5 * texture.std()
    kept = []
    for position in np.ndindex(8, 8):
        speck = np.full((8, 8), 0.3)
        speck[position] += 0.2
        kept.append((compressed(speck, quantisation_table(78))[position] - 0.3) / 0.2)
    assert np.mean(np.array(kept) < 0.5) > 0.5


def test_options_are_checked() -> None:
    """Qualities that libjpeg does not know, and the one without loss, are refused."""
    for quality in (0, 100):
        with pytest.raises(ValueError, match="equal to"):
            Jpeg(quality_at_full=quality)
