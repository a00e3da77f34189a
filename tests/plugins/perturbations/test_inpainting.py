"""Facts about filling lesions with their surroundings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from harness.api import NotComputable
from harness_plugins.perturbations.inpainting import grown_by, harmonic, rows_to_fill, without_lesion
from lesion_pictures import ball, lesion_set


def ramp(size: tuple[int, ...]) -> np.ndarray:
    """A plane, which is harmonic, with another slope along each axis."""
    return np.asarray(sum((i + 1) * axis for i, axis in enumerate(np.indices(size)))) / 200.0


def filled(picture: np.ndarray, lesion: np.ndarray, target: np.ndarray | None = None, margin_px: float = 2.0) -> np.ndarray:
    """A picture without its lesion."""
    return without_lesion(picture, lesion, lesion if target is None else target, margin_px, np.random.default_rng(0))


@pytest.mark.parametrize("size", [(20, 22), (10, 12, 14)])
def test_planes_are_continued_exactly(size: tuple[int, ...]) -> None:
    """A plane is harmonic, so it is found again under the unknown pixels, in each channel."""
    plane = np.stack([ramp(size), 1.0 - ramp(size)])
    unknown = ball(size, tuple(s / 2 for s in size), 3.5)
    found = harmonic(np.where(unknown, 9.0, plane), unknown)
    np.testing.assert_allclose(found, plane, atol=1e-5)


def test_harmonic_fill_against_plain_relaxation() -> None:
    """The fill is what many rounds of averaging direct neighbours end at, at the picture's border too."""
    rng = np.random.default_rng(1)
    picture = rng.random((9, 11))
    unknown = ball((9, 11), (2, 4), 3.5)
    relaxed = np.where(unknown, picture[~unknown].mean(), picture)
    inside = np.pad(np.ones_like(picture), 1)
    neighbours = inside[2:, 1:-1] + inside[:-2, 1:-1] + inside[1:-1, 2:] + inside[1:-1, :-2]
    for _ in range(2000):
        around = np.pad(relaxed, 1)
        total = around[2:, 1:-1] + around[:-2, 1:-1] + around[1:-1, 2:] + around[1:-1, :-2]
        relaxed = np.where(unknown, total / neighbours, picture)
    np.testing.assert_allclose(harmonic(picture[None], unknown)[0], relaxed, atol=1e-5)


def test_growth_is_euclidean() -> None:
    """A pixel grown by 1 px is a cross, by 2 px a diamond with its rim; by 0 it stays, and so does an empty lesion."""
    pixel = np.zeros((7, 7), dtype=bool)
    pixel[3, 3] = True
    for margin, area in ((0.0, 1), (1.0, 5), (1.5, 9), (2.0, 13)):
        assert grown_by(pixel, margin).sum() == area
    assert not grown_by(np.zeros((3, 3), dtype=bool), 2.0).any()


def test_flat_surroundings_are_continued_flat() -> None:
    """A lesion on a flat background vanishes without a trace, and its margin takes a blurred rim away too."""
    lesion = ball((40, 40), (18, 20), 6.0)
    picture = np.full((1, 40, 40), 0.4, dtype=np.float32)
    rim = grown_by(lesion, 1.5)
    np.testing.assert_allclose(filled(np.where(rim, np.float32(0.8), picture), lesion), picture, atol=1e-6)


def test_texture_is_that_of_the_surroundings() -> None:
    """White and smooth noise around a lesion is continued with its own standard deviation and its own grain."""
    lesion = ball((96, 96), (48, 48), 16.0)
    for grain in (0.0, 1.0):
        noise = gaussian_filter(np.random.default_rng(3).standard_normal((96, 96)), grain)
        picture = (0.5 + 0.05 * noise / noise.std()).astype(np.float32)[None]
        new = filled(np.where(lesion, np.float32(0.9), picture), lesion)[0]
        fine = new - gaussian_filter(new, 2.0)
        inside, outside = ball((96, 96), (48, 48), 14.0), ~ball((96, 96), (48, 48), 20.0)
        assert fine[inside].std() == pytest.approx(fine[outside].std(), rel=0.15)
        jump = np.abs(np.diff(new, axis=0, append=0.5))
        assert jump[inside].mean() == pytest.approx(jump[outside].mean(), rel=0.2)
        assert new[inside].mean() == pytest.approx(0.5, abs=0.02)


def test_edges_nearby_do_not_become_texture() -> None:
    """A bright line within reach, such as the skull's, is not mirrored into the lesion."""
    lesion = ball((60, 60), (30, 30), 8.0)
    picture = (0.4 + 0.01 * np.random.default_rng(0).standard_normal((1, 60, 60))).astype(np.float32)
    picture[:, :, 44] = 1.0
    new = filled(picture, lesion)[0]
    assert np.abs(new[ball((60, 60), (30, 30), 7.0)] - 0.4).max() < 0.1


def test_only_target_and_margin_change() -> None:
    """Pixels outside the target and its margin keep their bits, the other lesion beside it too."""
    images = lesion_set(1, (40, 60), empty=(), noise=0.05)
    left, right = ball((40, 60), (20, 18), 6.0), ball((40, 60), (20, 34), 7.0)
    picture = images.images[0]
    new = filled(picture, left | right, left)
    support = grown_by(left, 2.0) & ~right
    assert (new[0] != picture[0])[support].mean() > 0.95
    np.testing.assert_array_equal(new[0][~support], picture[0][~support])


def test_a_lesion_is_filled_alike_whatever_else_is_removed() -> None:
    """What one lesion is filled with does not depend on whether another one goes as well."""
    picture = lesion_set(1, (40, 60)).images[0]
    left, right = ball((40, 60), (20, 18), 6.0), ball((40, 60), (20, 36), 7.0)
    one, both = filled(picture, left | right, left), filled(picture, left | right)
    np.testing.assert_array_equal(one[0][left], both[0][left])


def test_lesion_at_the_border_is_filled() -> None:
    """A lesion in the corner, most of whose mirror images lie outside the picture, is filled with plausible values."""
    lesion = ball((40, 40), (0, 0), 12.0)
    picture = (0.4 + 0.02 * np.random.default_rng(0).standard_normal((2, 40, 40)) + 0.5 * lesion).astype(np.float32)
    new = filled(picture, lesion)
    assert np.abs(new[:, lesion].mean(axis=1) - 0.4).max() < 0.02
    assert new[:, lesion].std() == pytest.approx(0.02, rel=0.3)


def test_images_that_leave_nothing_to_fill_from_are_left_out() -> None:
    """A lesion whose margin covers the picture does not count; where none is left there is no answer."""
    images = lesion_set(3, (20, 20), empty=())
    masks = np.array(images.masks)
    masks[1] = 1
    masks[1, 0, 0] = 0
    images = replace(images, masks=masks)
    assert rows_to_fill(images, None, 0.0).tolist() == [0, 1, 2]
    assert rows_to_fill(images, None, 2.0).tolist() == [0, 2]
    with pytest.raises(NotComputable, match=r"margin of 2 px fill their pictures"):
        rows_to_fill(images.take([1]), None, 2.0)
