"""Facts about saving again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Context, ImageSet
from harness.testing import check
from harness_plugins.perturbations.resave import Resave


def applied(images: ImageSet, severity: float, tmp_path: Path, seed: int = 0, **options: Any) -> ImageSet:
    """Images that were saved and read back."""
    return Resave(**options).apply(images, images, severity, Context(seed=seed, workdir=tmp_path))


def test_conforms() -> None:
    """The conformance tests pass."""
    check(Resave)


@pytest.mark.parametrize(("size", "channels"), [((20, 24), 1), ((6, 7, 8), 2)], ids=["2D", "3D"])
@pytest.mark.parametrize("bits", [12, 16])
def test_half_a_step_at_most(picture_set: Callable[..., ImageSet], tmp_path: Path, size: tuple[int, ...], channels: int, bits: int) -> None:
    """No intensity moves by more than half a step, though almost all move; all else stays; the input is untouched."""
    images = picture_set(70, size, channels)
    before = images.images.copy()
    result = applied(images, 1.0, tmp_path, bits=bits)
    moved = np.abs(result.images.astype(np.float64) - images.images)
    assert 0.9 * 0.5 / (2**bits - 1) < moved.max() < 0.5 / (2**bits - 1) + 4e-8
    assert replace(result, images=images.images).sha256 == images.sha256
    np.testing.assert_array_equal(images.images, before)


@pytest.mark.parametrize(("read", "bits"), [(8, 16), (12, 12), (14, 14), (16, 16)])
def test_files_come_back_exactly(picture_set: Callable[..., ImageSet], tmp_path: Path, read: int, bits: int) -> None:
    """Every intensity of a file of as many bits, or of 8 bits at 16, comes back as it was, to the last bit."""
    levels = (np.arange(2**read) / (2**read - 1)).astype(np.float32).reshape(1, 1, 16, -1)
    images = ImageSet(levels, ("i",), (1.0, 1.0))
    np.testing.assert_array_equal(applied(images, 1.0, tmp_path, bits=bits).images, levels)


def test_share_is_the_severity(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Half of the images are saved again at severity 0.5, the same under one seed; the rest is untouched."""
    images = picture_set(20)
    changed = [(applied(images, 0.5, tmp_path, seed).images != images.images).any((1, 2, 3)) for seed in (1, 1, 2)]
    assert changed[0].sum() == 10
    np.testing.assert_array_equal(changed[0], changed[1])
    assert not np.array_equal(changed[0], changed[2])
    assert applied(images, 0.01, tmp_path) is images


def test_coarser_files_are_refused() -> None:
    """Files of less than 12 bits would be no harmless change."""
    with pytest.raises(ValueError, match="greater than or equal to 12"):
        Resave(bits=8)
