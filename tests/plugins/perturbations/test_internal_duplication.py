"""Facts about images that repeat others of their set."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from harness.api import Context, ImageSet, NotComputable
from harness.testing import check
from harness_plugins.perturbations.internal_duplication import InternalDuplication


def applied(images: ImageSet, severity: float, tmp_path: Path, seed: int = 0) -> ImageSet:
    """Images of which some repeat others."""
    return InternalDuplication().apply(images, images, severity, Context(seed=seed, workdir=tmp_path))


def filled(result: ImageSet) -> set[int]:
    """Slots that hold a copy."""
    return {i for i, source in enumerate(result.sources) if source != result.ids[i]}


@pytest.fixture
def images(picture_set: Callable[..., ImageSet]) -> ImageSet:
    """Return 40 different images that know everything."""
    return picture_set(40, groups={"site": np.arange(40).astype(str)}, concepts=(np.arange(40)[:, None] % 7).astype(np.uint8))


def test_conforms() -> None:
    """The conformance tests pass."""
    check(InternalDuplication)


@pytest.mark.parametrize(("severity", "copies"), [(0.05, 2), (0.15, 6), (0.45, 18), (0.9, 36), (1.0, 39)])
def test_as_many_images_are_lost_as_copies_are_made(images: ImageSet, tmp_path: Path, severity: float, copies: int) -> None:
    """The share is exact, every copy is of an image that is still there, and what describes it follows."""
    result = applied(images, severity, tmp_path)
    slots = filled(result)
    assert len(slots) == copies
    assert len(np.unique(result.images.reshape(40, -1), axis=0)) == 40 - copies
    for i, source in enumerate(result.sources):
        row = images.ids.index(source)
        assert row not in slots
        for name in ("images", "masks", "labels", "concepts"):
            np.testing.assert_array_equal(getattr(result, name)[i], getattr(images, name)[row])
        assert result.groups["site"][i] == images.groups["site"][row]


def test_slots_keep_ids_and_patients(images: ImageSet, tmp_path: Path) -> None:
    """Ids and patients stay those of the slot; features, now wrong, go."""
    result = applied(images.with_features(np.zeros((40, 2))), 0.5, tmp_path)
    assert (result.ids, result.patients, result.features) == (images.ids, images.patients, None)


def test_doses_are_nested(images: ImageSet, tmp_path: Path) -> None:
    """Under one seed a higher dose fills the slots of a lower one and more."""
    for seed in range(5):
        slots = [filled(applied(images, severity, tmp_path, seed)) for severity in (0.05, 0.15, 0.3, 0.45, 1.0)]
        assert all(few < many for few, many in pairwise(slots))


def test_every_image_that_stays_is_as_likely_to_be_copied(images: ImageSet, tmp_path: Path) -> None:
    """Over many seeds the 80 copies at half dose fall on all images alike, within four standard deviations."""
    small = images.take(np.arange(8))
    drawn = [applied(small, 0.5, tmp_path, seed) for seed in range(400)]
    counts = np.zeros(8)
    for result in drawn:
        for i in filled(result):
            counts[small.ids.index(result.sources[i])] += 1
    assert counts.sum() == 1600
    assert np.abs(counts - 200).max() < 4 * np.sqrt(200 * 2)


def test_seeds_are_honoured(images: ImageSet, tmp_path: Path) -> None:
    """One seed copies the same images again, another seed others; the input is untouched."""
    before = images.images.copy()
    first, again, other = (applied(images, 0.45, tmp_path, seed) for seed in (1, 1, 2))
    assert first.sha256 == again.sha256 != other.sha256
    np.testing.assert_array_equal(images.images, before)


def test_volumes_of_two_channels(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Volumes repeat with all their channels."""
    result = applied(picture_set(8, (6, 7, 8), 2), 0.5, tmp_path)
    assert len(np.unique(result.images.reshape(8, -1), axis=0)) == 4


def test_too_few_images(images: ImageSet, tmp_path: Path) -> None:
    """A share too small for one image changes nothing; a single image cannot repeat another."""
    assert applied(images, 0.01, tmp_path) is images
    with pytest.raises(NotComputable, match="no other that it could repeat"):
        applied(images.take([0]), 0.5, tmp_path)
