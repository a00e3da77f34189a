"""Facts about small lesions that vanish first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Context, ImageSet, NotComputable
from harness_plugins.perturbations.small_lesion_erosion import SmallLesionErosion
from lesion_pictures import ball

RADII = (2.0, 5.0, 3.0, 4.0, 6.0, 7.0)


def spotted() -> tuple[ImageSet, list[tuple[int, np.ndarray]]]:
    """Two images with three discs each, and the discs from the smallest to the largest as (row, pixels)."""
    discs = [(i // 3, ball((48, 90), (24, 15 + 30 * (i % 3)), radius)) for i, radius in enumerate(RADII)]
    masks = np.zeros((2, 48, 90), dtype=np.uint8)
    for row, disc in discs:
        masks[row][disc] = 1
    noise = 0.02 * np.random.default_rng(0).standard_normal(masks.shape)
    images = ImageSet((0.4 + noise + 0.3 * masks).astype(np.float32)[:, None], ("a", "b"), (0.5, 0.5), masks=masks)
    return images, [discs[i] for i in np.argsort(RADII)]


def applied(images: ImageSet, severity: float, folder: Path, seed: int = 0, **options: Any) -> ImageSet:
    """Images without small lesions."""
    return SmallLesionErosion(**options).apply(images, images, severity, Context(seed=seed, workdir=folder))


def left(images: ImageSet, discs: list[tuple[int, np.ndarray]]) -> list[bool]:
    """Whether each disc still stands out."""
    return [bool(images.images[row, 0][disc].mean() > 0.55) for row, disc in discs]


@pytest.mark.parametrize("gone", [1, 2, 3, 5, 6])
def test_share_of_the_smallest_goes_first(gone: int, tmp_path: Path) -> None:
    """The severity is the share of lesions of the whole set that is removed, in rising order of size; masks stay."""
    images, discs = spotted()
    eroded = applied(images, gone / 6, tmp_path)
    assert left(eroded, discs) == [False] * gone + [True] * (6 - gone)
    assert eroded.masks is images.masks


def test_other_lesions_keep_their_bits(tmp_path: Path) -> None:
    """Only the removed lesion and its margin change, and an image that loses none is untouched."""
    images, discs = spotted()
    eroded = applied(images, 1 / 6, tmp_path)
    np.testing.assert_array_equal(eroded.images[1], images.images[1])
    changed = eroded.images[0, 0] != images.images[0, 0]
    assert not (changed & ~ball((48, 90), (24, 15), RADII[0] + 3)).any()
    assert changed[discs[0][1]].all()


@pytest.mark.parametrize(("unit", "full"), [("px", 100.0), ("mm", 25.0)])
def test_size_grows_with_the_severity(unit: str, full: float, tmp_path: Path) -> None:
    """With a size, lesions of at most severity x size go: in px, or in mm2, of which a pixel here has a quarter."""
    images, discs = spotted()
    sizes = [int(disc.sum()) for _, disc in discs]
    for severity in (0.2, 0.5, 1.0):
        eroded = applied(images, severity, tmp_path, size_at_full=full, unit=unit)
        assert left(eroded, discs) == [size > 100 * severity for size in sizes]


def test_a_size_below_every_lesion_has_no_answer(tmp_path: Path) -> None:
    """Where even full severity removes nothing there is no answer; a dose at which nothing is small enough changes nothing."""
    images, _ = spotted()
    with pytest.raises(NotComputable, match=r"no lesion is as small as 3 mm2; the smallest has 3\.25"):
        applied(images, 1.0, tmp_path, size_at_full=3.0, unit="mm")
    np.testing.assert_array_equal(applied(images, 0.1, tmp_path, size_at_full=50.0).images, images.images)


def test_masks_can_lose_the_lesion_too(tmp_path: Path) -> None:
    """With `mask: emptied` exactly the removed lesions leave the mask."""
    images, discs = spotted()
    eroded = applied(images, 0.5, tmp_path, mask="emptied")
    expected = np.array(images.masks)
    for row, disc in discs[:3]:
        expected[row][disc] = 0
    np.testing.assert_array_equal(eroded.masks, expected)


def test_equal_sizes_go_in_drawn_order(tmp_path: Path) -> None:
    """Of lesions of one size the seed says which goes first, and higher doses keep to it."""
    masks = np.zeros((4, 30, 40), dtype=np.uint8)
    masks[:] = ball((30, 40), (15, 20), 4.0)
    images = ImageSet((0.4 + 0.3 * masks).astype(np.float32)[:, None], ("a", "b", "c", "d"), (1.0, 1.0), masks=masks)

    def gone(severity: float, seed: int) -> set[int]:
        eroded = applied(images, severity, tmp_path, seed).images
        return {row for row in range(4) if not np.array_equal(eroded[row], images.images[row])}

    assert len({frozenset(gone(0.25, seed)) for seed in range(6)}) > 1
    for seed in range(3):
        assert gone(0.25, seed) < gone(0.5, seed) < gone(1.0, seed) == {0, 1, 2, 3}


def test_volumes_are_measured_in_cubic_millimetres(tmp_path: Path) -> None:
    """In 3D the size in mm is a volume: pixels times the three spacings."""
    masks = np.zeros((1, 14, 20, 40), dtype=np.uint8)
    masks[0, 6:8, 9:11, 9:11] = 1
    masks[0, 5:9, 8:12, 28:32] = 1
    images = ImageSet((0.3 + 0.4 * masks).astype(np.float32)[:, None], ("a",), (2.0, 1.0, 1.0), masks=masks)
    eroded = applied(replace(images), 1.0, tmp_path, size_at_full=16.0, unit="mm").images[0, 0]
    assert eroded[6:8, 9:11, 9:11].max() == pytest.approx(0.3, abs=1e-5)
    assert (eroded[5:9, 8:12, 28:32] == np.float32(0.7)).all()
    with pytest.raises(NotComputable, match="15 mm3; the smallest has 16"):
        applied(images, 1.0, tmp_path, size_at_full=15.0, unit="mm")
