"""Facts about bias fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Context, ImageSet, NotComputable
from harness_plugins.perturbations.bias_field import BiasField, monomials


def fields(
    picture_set: Callable[..., ImageSet], severity: float, folder: Path, size: tuple[int, ...] = (20, 31), channels: int = 1, **options: Any
) -> np.ndarray:
    """What four flat images are multiplied with, (4, channels, *size)."""
    images = picture_set(4, size, channels)
    images = replace(images, images=np.full_like(images.images, 0.25))
    changed = BiasField(**options).apply(images, images, severity, Context(seed=0, workdir=folder)).images
    return changed.astype(np.float64) / 0.25


@pytest.mark.parametrize("size", [(20, 31), (6, 12, 9)])
@pytest.mark.parametrize("severity", [0.5, 1.0])
def test_gains_have_the_promised_ratio(
    picture_set: Callable[..., ImageSet], tmp_path: Path, severity: float, size: tuple[int, ...]
) -> None:
    """In each image the largest gain is ratio_at_full ** severity times the smallest, and their product is 1."""
    gains = fields(picture_set, severity, tmp_path, size, ratio_at_full=4.0).reshape(4, -1)
    np.testing.assert_allclose(gains.max(axis=1) / gains.min(axis=1), 4.0**severity, rtol=1e-5)
    np.testing.assert_allclose(gains.max(axis=1) * gains.min(axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_logarithm_is_a_polynomial_of_the_order(picture_set: Callable[..., ImageSet], tmp_path: Path, order: int) -> None:
    """The logarithm of the field is a polynomial of just this degree in row and column."""
    logs = np.log(fields(picture_set, 1.0, tmp_path, order=order))[:, 0].reshape(4, -1).T
    rows, columns = (grid.ravel() / 30.0 for grid in np.indices((20, 31)))

    def misfit(degree: int) -> float:
        terms = np.stack([rows**i * columns**j for i in range(degree + 1) for j in range(degree + 1 - i)], axis=1)
        return float(np.abs(logs - terms @ np.linalg.lstsq(terms, logs, rcond=None)[0]).max())

    assert misfit(order) < 1e-6
    assert misfit(order - 1) > 1e-2


def test_a_higher_dose_is_the_same_field(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """The logarithm of the field is in proportion with the severity."""
    half, full = (np.log(fields(picture_set, severity, tmp_path)) for severity in (0.4, 0.8))
    np.testing.assert_allclose(full, 2.0 * half, atol=1e-6)


def test_channels_share_a_field_and_images_do_not(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """All channels of an image get one field, each image its own; what is too bright is clipped."""
    gains = fields(picture_set, 1.0, tmp_path, channels=2)
    np.testing.assert_array_equal(gains[:, 0], gains[:, 1])
    assert not np.allclose(gains[0], gains[1])
    assert fields(picture_set, 1.0, tmp_path, ratio_at_full=100.0).max() == 4.0


def test_monomials() -> None:
    """There are five terms up to the second degree in two dimensions; axes of one pixel take no part."""
    assert monomials((3, 4), 2).shape == (5, 3, 4)
    assert monomials((1, 4), 2).shape == (2, 1, 4)
    np.testing.assert_allclose(monomials((1, 3), 2)[:, 0], [[-1.0, 0.0, 1.0], [1.0, 0.0, 1.0]])


def test_bad_requests_are_refused(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """A single pixel has no room for a field; a ratio of 1 and an order of 0 would change nothing."""
    with pytest.raises(NotComputable, match="no room for a field"):
        fields(picture_set, 1.0, tmp_path, (1, 1))
    with pytest.raises(ValueError, match="greater than 1"):
        BiasField(ratio_at_full=1.0)
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        BiasField(order=0)
