"""Facts about invented tissue contrasts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from harness.api import Context, ImageSet, NotComputable
from harness_plugins.perturbations.mode_invention import ModeInvention
from lesion_pictures import ball, lesion_set


def applied(images: ImageSet, severity: float, folder: Path, **options: Any) -> ImageSet:
    """Images with an invented contrast."""
    return ModeInvention(**options).apply(images, images, severity, Context(seed=0, workdir=folder))


def brains(n: int = 3, channels: int = 1) -> ImageSet:
    """Slices of a dark outside and three tissues: the darkest 45 %, the middle 25 % and the brightest 30 % of the inside."""
    inside = ball((60, 64), (30, 32), 26.0)
    rank = np.full((60, 64), -1.0)
    rank[inside] = np.linspace(0.0, 1.0, int(inside.sum()))
    level = np.select([rank < 0, rank < 0.45, rank < 0.70], [0.01, 0.2, 0.4], 0.6)
    scale = np.linspace(1.0, 0.8, n)[:, None, None, None]
    pixels = (np.repeat(level[None, None], channels, axis=1) * scale).astype(np.float32)
    return ImageSet(pixels, tuple(f"b{i}" for i in range(n)), (1.0, 1.0))


def tissues(images: ImageSet) -> list[np.ndarray]:
    """Pixels of outside, dark, middle and bright tissue of the first image."""
    cuts = np.digitize(images.images[0, 0], [0.1, 0.3, 0.5])
    return [cuts == i for i in range(4)]


@pytest.mark.parametrize("severity", [0.5, 1.0])
def test_factors_are_the_promised_ones(severity: float, tmp_path: Path) -> None:
    """Without smoothing the middle tissue gains severity x 10 %, the bright one loses it, up to one factor that keeps the mean."""
    images = brains()
    outside, dark, middle, bright = tissues(images)
    ratio = applied(images, severity, tmp_path, smoothing_px=0.0).images[0, 0] / images.images[0, 0]
    np.testing.assert_allclose(ratio[middle] / ratio[dark].mean(), 1 + 0.1 * severity, rtol=1e-5)
    np.testing.assert_allclose(ratio[bright] / ratio[dark].mean(), 1 - 0.1 * severity, rtol=1e-5)
    assert (ratio[outside] == 1.0).all()


def test_foreground_mean_and_background_are_kept(tmp_path: Path) -> None:
    """With smoothing too, each channel keeps its foreground mean, and the background its bits."""
    images = brains(channels=2)
    pixels = images.images.copy()
    pixels[:, 1] *= 0.7
    images = ImageSet(pixels, images.ids, (1.0, 1.0))
    invented = applied(images, 1.0, tmp_path, background=0.05).images
    foreground = pixels[0, 0] > 0.1
    means = [side[..., foreground].mean(axis=2, dtype=np.float64) for side in (invented, pixels)]
    np.testing.assert_allclose(means[0], means[1], rtol=1e-6)
    np.testing.assert_array_equal(invented[..., ~foreground], pixels[..., ~foreground])
    np.testing.assert_allclose(invented[:, 1] / pixels[:, 1], invented[:, 0] / pixels[:, 0], rtol=1e-5)


def test_contrast_between_the_tissues_falls_with_the_dose(tmp_path: Path) -> None:
    """The ratio of bright to middle tissue falls with each dose, by 13 % at the dose of concern."""
    images = brains()
    _, _, middle, bright = tissues(images)

    def contrast(severity: float) -> float:
        picture = applied(images, severity, tmp_path, smoothing_px=0.0).images[0, 0]
        return float(picture[bright].mean() / picture[middle].mean())

    values = [contrast(s) for s in (0.0, *ModeInvention().doses)]
    assert values[0] > values[1] > values[2] > values[3]
    assert values[2] / values[0] == pytest.approx(0.87, abs=0.002)


def test_smoothing_softens_the_borders_between_tissues(tmp_path: Path) -> None:
    """Smoothing changes the factors near borders of tissues only, and takes the steps out of them."""
    images = brains()
    _, dark, middle, _ = tissues(images)
    hard, soft = (applied(images, 1.0, tmp_path, smoothing_px=s).images[0, 0] / images.images[0, 0] for s in (0.0, 2.0))
    inside = dark | middle
    step = [np.abs(np.diff(np.where(inside, ratio, np.nan), axis=0)) for ratio in (hard, soft)]
    assert np.nanmax(step[1]) < 0.5 * np.nanmax(step[0])


def test_doses_are_the_factors_of_the_paper() -> None:
    """The default doses are factors of 0.05, 0.07 and 0.1."""
    invention = ModeInvention()
    assert [dose * invention.amplitude_at_full for dose in invention.doses] == pytest.approx([0.05, 0.07, 0.1])


def test_images_of_one_intensity_have_no_tissues(tmp_path: Path) -> None:
    """A flat or dark image comes back bit for bit; where all are so there is no answer. Masks are not needed."""
    images = lesion_set(3, masks=None)
    pixels = images.images.copy()
    pixels[0], pixels[1] = 0.5, 0.0
    mixed = ImageSet(pixels, images.ids, (1.0, 1.0))
    invented = applied(mixed, 1.0, tmp_path).images
    np.testing.assert_array_equal(invented[:2], pixels[:2])
    assert not np.array_equal(invented[2], pixels[2])
    with pytest.raises(NotComputable, match="no image has both tissue classes"):
        applied(mixed.take([0, 1]), 1.0, tmp_path)


def test_saturated_pixels_are_the_bright_class(tmp_path: Path) -> None:
    """Where half of the picture is saturated, as glass under a microscope is, all of it is the bright class."""
    pixels = np.random.default_rng(0).uniform(0.3, 0.7, (1, 1, 40, 40)).astype(np.float32)
    pixels[..., 20:] = 1.0
    ratio = applied(ImageSet(pixels, ("a",), (1.0, 1.0)), 1.0, tmp_path, smoothing_px=0.0).images / pixels
    np.testing.assert_allclose(ratio[..., 20:] / ratio[..., :20].max(), 0.9 / 1.1, rtol=1e-5)


def test_percentiles_must_rise() -> None:
    """Classes that overlap or run backwards are refused."""
    for options in ({"middle": (70.0, 40.0)}, {"middle": (40.0, 80.0)}, {"bright": (70.0, 101.0)}):
        with pytest.raises(ValidationError, match="percentiles must rise"):
            ModeInvention(**options)
