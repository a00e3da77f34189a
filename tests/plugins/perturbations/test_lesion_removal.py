"""Facts about missing lesions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from harness.api import Context, ImageSet, NotComputable
from harness_plugins.perturbations.lesion_removal import LesionRemoval
from lesion_pictures import lesion_set


def applied(images: ImageSet, severity: float, folder: Path, seed: int = 0, **options: Any) -> ImageSet:
    """Images without lesions."""
    return LesionRemoval(**options).apply(images, images, severity, Context(seed=seed, workdir=folder))


def contrast(images: ImageSet, row: int) -> float:
    """Mean of the lesion less that of the ring 3 to 8 px around it."""
    assert images.masks is not None
    lesion = images.masks[row] > 0
    away = distance_transform_edt(~lesion)
    return float(images.images[row, 0][lesion].mean() - images.images[row, 0][(away >= 3) & (away <= 8)].mean())


def test_contrast_goes_to_zero(tmp_path: Path) -> None:
    """At full severity no lesion has any contrast left, bright or dark; its mask is still there."""
    for sign in (0.3, -0.3):
        images = lesion_set(contrast=sign)
        healthy = applied(images, 1.0, tmp_path)
        for row in (0, 1, 3, 4, 5, 6, 7):
            assert contrast(images, row) == pytest.approx(sign, abs=0.02)
            assert contrast(healthy, row) == pytest.approx(0.0, abs=0.02)
        assert healthy.masks is images.masks


def test_only_lesion_and_margin_change(tmp_path: Path) -> None:
    """Pixels farther than the margin from the lesion keep their bits."""
    images = lesion_set(4)
    assert images.masks is not None
    healthy = applied(images, 1.0, tmp_path, margin_px=3.0)
    for row in (0, 1, 3):
        far = distance_transform_edt(images.masks[row] == 0) > 3.0
        np.testing.assert_array_equal(healthy.images[row, 0][far], images.images[row, 0][far])
        assert (healthy.images[row, 0] != images.images[row, 0])[~far].mean() > 0.95


def test_masks_can_be_emptied(tmp_path: Path) -> None:
    """With `mask: emptied` the lesion goes from the masks of the chosen images, and another region stays."""
    images = lesion_set(6)
    masks = np.array(images.masks)
    masks[:, :2, :2] = 5
    images = replace(images, masks=masks)
    healthy = applied(images, 0.4, tmp_path, mask="emptied", region=1)
    assert healthy.masks is not None
    emptied = [row for row in range(6) if not (healthy.masks[row] == 1).any() and (masks[row] == 1).any()]
    assert len(emptied) == 2
    assert (healthy.masks[:, :2, :2] == 5).all()
    for row in range(6):
        assert (row in emptied) == (not np.array_equal(healthy.images[row], images.images[row]))


def test_another_seed_chooses_other_images(tmp_path: Path) -> None:
    """The chosen images are drawn."""
    images = lesion_set(12, empty=())

    def chosen(seed: int) -> set[int]:
        healthy = applied(images, 0.25, tmp_path, seed).images
        return {i for i in range(12) if not np.array_equal(healthy[i], images.images[i])}

    assert all(len(chosen(seed)) == 3 for seed in range(3))
    assert len({frozenset(chosen(seed)) for seed in range(5)}) > 1


def test_lesions_that_fill_the_picture_cannot_be_filled(tmp_path: Path) -> None:
    """Where margins leave no surroundings in any image there is no answer, and such images do not count elsewhere."""
    images = lesion_set(4)
    masks = np.array(images.masks)
    masks[0], masks[0, 0, 0] = 1, 0
    images = replace(images, masks=masks)
    with pytest.raises(NotComputable, match="nothing to fill from"):
        applied(images.take([0]), 1.0, tmp_path)
    healthy = applied(images, 1.0, tmp_path)
    np.testing.assert_array_equal(healthy.images[0], images.images[0])
    assert not np.array_equal(healthy.images[1], images.images[1])
