"""Facts that hold for every perturbation of lesions, masks and tissue contrasts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from harness.api import Context, FailureMode, ImageSet, Modality, NotComputable, Perturbation
from harness.testing import check
from harness_plugins.perturbations.boundary_blur import BoundaryBlur
from harness_plugins.perturbations.boundary_displacement import BoundaryDisplacement
from harness_plugins.perturbations.lesion_duplication import LesionDuplication
from harness_plugins.perturbations.lesion_removal import LesionRemoval
from harness_plugins.perturbations.mask_misalignment import MaskMisalignment
from harness_plugins.perturbations.mode_invention import ModeInvention
from harness_plugins.perturbations.radial_gradient import RadialGradient
from harness_plugins.perturbations.small_lesion_erosion import SmallLesionErosion
from lesion_pictures import lesion_set

MASKED = [
    BoundaryBlur, BoundaryDisplacement, LesionDuplication, LesionRemoval, MaskMisalignment, RadialGradient, SmallLesionErosion,
]  # fmt: skip
EVERY = [*MASKED, ModeInvention]
SHARES = [LesionDuplication, LesionRemoval, SmallLesionErosion]


def applied(perturbation: Perturbation, images: ImageSet, severity: float, folder: Path, seed: int = 0) -> ImageSet:
    """Images with the defect."""
    return perturbation.apply(images, images, severity, Context(seed=seed, workdir=folder))


def touched(before: ImageSet, after: ImageSet) -> set[int]:
    """Images or masks that are not bit for bit what they were."""
    assert before.masks is not None
    assert after.masks is not None
    same = [
        np.array_equal(before.images[i], after.images[i]) and np.array_equal(before.masks[i], after.masks[i]) for i in range(len(before))
    ]
    return {i for i, equal in enumerate(same) if not equal}


@pytest.mark.parametrize("kind", EVERY)
def test_promises_of_the_kind_are_kept(kind: type[Perturbation]) -> None:
    """The conformance test passes on random images, whose masks are speckle, sometimes empty and sometimes full."""
    check(kind, n=24)


@pytest.mark.parametrize("kind", EVERY)
def test_presets_can_be_built_and_say_why(kind: type[Perturbation]) -> None:
    """Every preset builds the perturbation with a reason and a dose of concern; all five modalities have one."""
    assert set(kind.presets) == set(get_args(Modality))
    for options in kind.presets.values():
        built = kind(**options)
        assert len(built.because) > 40
        assert built.dose_of_concern in built.doses
        assert len(built.doses) == 3


@pytest.mark.parametrize("kind", EVERY)
def test_severity_zero_is_the_identity(kind: type[Perturbation], tmp_path: Path) -> None:
    """At severity 0 the very same set comes back, even where no image has a lesion."""
    images = lesion_set(3, empty=range(3))
    assert applied(kind(), images, 0.0, tmp_path) is images


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize(("size", "channels"), [((48, 56), 2), ((14, 30, 32), 1), ((14, 30, 32), 2)])
def test_range_and_knowledge_are_kept(kind: type[Perturbation], size: tuple[int, ...], channels: int, tmp_path: Path) -> None:
    """In 2D and 3D and on two channels: float32 in [0, 1], something changes, what is known stays, the features go, the input too stays."""
    images = lesion_set(4, size, channels, contrast=0.5).with_features(np.zeros((4, 2)))
    pixels, masks = images.images.copy(), np.array(images.masks)
    images.images.flags.writeable = False
    changed = applied(kind(), images, 1.0, tmp_path)
    assert (changed.images.dtype, changed.images.shape) == (np.float32, images.images.shape)
    assert 0.0 <= changed.images.min() <= changed.images.max() <= 1.0
    assert touched(images, changed)
    assert (changed.ids, changed.patients, changed.features) == (images.ids, images.patients, None)
    np.testing.assert_array_equal(changed.labels, images.labels)
    assert changed.groups is images.groups
    if kind.failure_mode != FailureMode.MASK_MISALIGNMENT:
        np.testing.assert_array_equal(changed.masks, masks)
    np.testing.assert_array_equal(images.images, pixels)
    np.testing.assert_array_equal(images.masks, masks)


@pytest.mark.parametrize("kind", MASKED)
def test_images_without_a_lesion_are_untouched(kind: type[Perturbation], tmp_path: Path) -> None:
    """At full severity every image with a lesion changes and those with an empty mask come back bit for bit."""
    images = lesion_set(empty=(0, 3, 7))
    assert touched(images, applied(kind(), images, 1.0, tmp_path)) == {1, 2, 4, 5, 6}


@pytest.mark.parametrize("kind", MASKED)
def test_where_no_image_has_a_lesion_there_is_no_answer(kind: type[Perturbation], tmp_path: Path) -> None:
    """Empty masks, and missing ones, are refused with a sentence."""
    with pytest.raises(NotComputable, match="no image has a lesion: none of the 4 masks has a mask value above 0"):
        applied(kind(), lesion_set(4, empty=range(4)), 0.5, tmp_path)
    with pytest.raises(NotComputable, match="lesions are read from masks, and the images have none"):
        applied(kind(), lesion_set(4, masks=None), 0.5, tmp_path)


@pytest.mark.parametrize("kind", [k for k in MASKED if k is not MaskMisalignment])
def test_a_region_can_be_chosen(kind: type[Perturbation], tmp_path: Path) -> None:
    """With `region` only images with that region change, and a region that occurs nowhere is refused."""
    images = lesion_set(4)
    masks = np.array(images.masks)
    masks[1] *= 3
    images = replace(images, masks=masks)
    assert touched(images, applied(kind(region=3), images, 1.0, tmp_path)) == {1}
    with pytest.raises(NotComputable, match="has a region 4"):
        applied(kind(region=4), images, 1.0, tmp_path)


@pytest.mark.parametrize("kind", EVERY)
def test_seeds_are_honoured(kind: type[Perturbation], tmp_path: Path) -> None:
    """One seed gives the same again; where anything is drawn, another seed gives something else."""
    images = lesion_set(empty=())
    first, again, other = (applied(kind(), images, 0.5, tmp_path, seed) for seed in (1, 1, 2))
    assert first.sha256 == again.sha256
    if kind in {LesionRemoval, LesionDuplication, MaskMisalignment}:
        assert first.sha256 != other.sha256
    elif kind is not SmallLesionErosion:
        assert first.sha256 == other.sha256


@pytest.mark.parametrize("kind", [BoundaryBlur, BoundaryDisplacement, ModeInvention, RadialGradient])
def test_a_higher_dose_changes_more(kind: type[Perturbation], tmp_path: Path) -> None:
    """The mean absolute change of the pixels rises with every dose."""
    images = lesion_set(4)
    change = [float(np.abs(applied(kind(), images, dose, tmp_path).images - images.images).mean()) for dose in kind().doses]
    assert 0.0 < change[0] < change[1] < change[2]


@pytest.mark.parametrize("kind", SHARES)
def test_shares_are_nested(kind: type[Perturbation], tmp_path: Path) -> None:
    """The share of changed images is the severity, and a higher dose changes in the same way what a lower one changes, and more."""
    images = lesion_set(12, empty=(0, 5))
    before: set[int] = set()
    lower = images
    for severity, count in ((0.01, 1), (0.25, 2), (0.5, 5), (0.8, 8), (1.0, 10)):
        higher = applied(kind(), images, severity, tmp_path, seed=4)
        now = touched(images, higher)
        assert len(now) == count
        assert before <= now
        for row in before:
            np.testing.assert_array_equal(higher.images[row], lower.images[row])
        before, lower = now, higher
