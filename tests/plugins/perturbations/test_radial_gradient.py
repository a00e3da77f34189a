"""Facts about rings within lesions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Context, ImageSet
from harness_plugins.perturbations.radial_gradient import RadialGradient
from lesion_pictures import ball, lesion_set


def applied(images: ImageSet, severity: float, folder: Path, **options: Any) -> ImageSet:
    """Images with rings."""
    return RadialGradient(**options).apply(images, images, severity, Context(seed=0, workdir=folder))


def flat(lesion: np.ndarray, spacing_mm: tuple[float, ...] | None = None) -> ImageSet:
    """One image of level 0.5 with this lesion."""
    pixels = np.full((1, 1, *lesion.shape), 0.5, dtype=np.float32)
    return ImageSet(pixels, ("a",), spacing_mm or (1.0,) * lesion.ndim, masks=lesion.astype(np.uint8)[None])


@pytest.mark.parametrize("severity", [1 / 3, 1.0])
def test_amplitude_is_the_promised_one(severity: float, tmp_path: Path) -> None:
    """In a flat disc the factors reach 1 +/- severity x amplitude, the core is the brighter half, and the centre stays."""
    lesion = ball((65, 65), (32, 32), 20.0)
    factor = applied(flat(lesion), severity, tmp_path).images[0, 0] / 0.5
    assert factor.max() == pytest.approx(1 + 0.3 * severity, rel=1e-3)
    assert factor.min() == pytest.approx(1 - 0.3 * severity, rel=1e-3)
    assert factor[32, 32] == 1.0
    assert factor[32, 37] == factor.max() == factor[27, 32]
    assert factor[32, 47] == factor.min()


def test_profile_is_the_sinusoid_in_millimetres(tmp_path: Path) -> None:
    """In an anisotropic volume the factor of each pixel follows the formula, computed pixel by pixel."""
    lesion = ball((9, 25, 25), (4, 12, 11), 8.0)
    lesion[:, :, 14:] = False
    spacing = (3.0, 1.0, 0.5)
    found = applied(flat(lesion, spacing), 0.5, tmp_path, amplitude_at_full=0.4, cycles=1.5).images[0, 0] / 0.5
    places = np.argwhere(lesion) * np.array(spacing)
    radius = [float(np.sqrt(((p - places.mean(axis=0)) ** 2).sum())) for p in places]
    expected = [1 + 0.2 * np.sin(2 * np.pi * 1.5 * r / max(radius)) for r in radius]
    np.testing.assert_allclose(found[lesion], expected, rtol=1e-5)
    assert (found[~lesion] == 1.0).all()


def test_components_can_have_centres_of_their_own(tmp_path: Path) -> None:
    """With `per_component` each of two discs gets the rings that it gets alone, otherwise they share a centre between them."""
    left, right = ball((40, 80), (20, 18), 10.0), ball((40, 80), (20, 60), 14.0)
    both = applied(flat(left | right), 1.0, tmp_path, per_component=True).images
    for disc in (left, right):
        np.testing.assert_array_equal(both[0, 0][disc], applied(flat(disc), 1.0, tmp_path).images[0, 0][disc])
    shared = applied(flat(left | right), 1.0, tmp_path).images
    assert not np.array_equal(shared, both)


def test_channels_get_the_same_factors_and_values_are_clipped(tmp_path: Path) -> None:
    """All channels are scaled alike, and a bright lesion is clipped at 1."""
    images = lesion_set(2, channels=2, noise=0.0, contrast=0.2)
    pixels = images.images.copy()
    pixels[:, 1] /= 2
    ringed = applied(replace(images, images=pixels), 1.0, tmp_path).images
    np.testing.assert_allclose(ringed[:, 1], ringed[:, 0] / 2, rtol=1e-6)
    assert applied(replace(images, images=pixels * 0 + 0.9), 1.0, tmp_path).images.max() == 1.0


def test_lesion_of_one_pixel_has_no_radius(tmp_path: Path) -> None:
    """A single pixel is its own centre and stays."""
    lesion = np.zeros((9, 9), dtype=bool)
    lesion[4, 4] = True
    np.testing.assert_array_equal(applied(flat(lesion), 1.0, tmp_path).images, flat(lesion).images)


def test_lesion_that_fills_the_picture_has_rings_too(tmp_path: Path) -> None:
    """No edge is needed: a mask that covers everything has a centre of mass."""
    whole = np.ones((21, 21), dtype=bool)
    assert applied(flat(whole), 1.0, tmp_path).images.std() > 0.05
