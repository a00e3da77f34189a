"""Facts about planted copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Context, ImageSet, InputError
from harness_plugins.perturbations.duplication import Duplication


def applied(images: ImageSet, train: ImageSet, severity: float, tmp_path: Path, seed: int = 0, **options: Any) -> ImageSet:
    """Images with copies of training images."""
    return Duplication(**options).apply(images, train, severity, Context(seed=seed, workdir=tmp_path))


@pytest.fixture
def images(picture_set: Callable[..., ImageSet]) -> ImageSet:
    """Return 40 images that are not in train."""
    return picture_set(40)


@pytest.fixture
def train(picture_set: Callable[..., ImageSet]) -> ImageSet:
    """Return 30 training images."""
    return picture_set(30, seed=1)


def test_severity_zero_is_the_identity(images: ImageSet, train: ImageSet, tmp_path: Path) -> None:
    """At severity 0 the images come back as they are."""
    assert applied(images, train, 0.0, tmp_path) is images


@pytest.mark.parametrize("severity", [0.05, 0.15, 0.5, 1.0])
def test_share_of_copies_is_the_severity(images: ImageSet, train: ImageSet, tmp_path: Path, severity: float) -> None:
    """Exactly the share asked for are training images, named in `sources`; the rest are untouched."""
    result = applied(images, train, severity, tmp_path)
    rows = {name: row for row, name in enumerate(train.ids)}
    copies = [i for i, source in enumerate(result.sources) if source in rows]
    assert len(copies) == round(severity * 40)
    for i in range(40):
        origin, row = (train, rows[result.sources[i]]) if i in copies else (images, i)
        np.testing.assert_array_equal(result.images[i], origin.images[row])
        np.testing.assert_array_equal(result.masks[i], origin.masks[row])
        assert result.labels[i] == origin.labels[row]
        assert result.sources[i] == origin.ids[row]


def test_slots_keep_ids_and_patients(images: ImageSet, train: ImageSet, tmp_path: Path) -> None:
    """Ids and patients stay those of the slot; features, now wrong, go."""
    result = applied(images.with_features(np.zeros((40, 2))), train, 0.5, tmp_path)
    assert (result.ids, result.patients, result.features) == (images.ids, images.patients, None)


def test_no_training_image_twice_while_there_are_enough(images: ImageSet, train: ImageSet, tmp_path: Path) -> None:
    """Copies are of different training images as long as train is large enough."""
    sources = applied(images, train, 0.75, tmp_path).sources
    assert len({s for s in sources if s in train.ids}) == 30


def test_doses_are_nested(images: ImageSet, train: ImageSet, tmp_path: Path) -> None:
    """Under one seed a higher dose has the copies of a lower one and more, even where training images must be copied again."""
    some, more, most = (applied(images, train, severity, tmp_path).sources for severity in (0.3, 0.6, 1.0))
    for few, many in ((some, more), (more, most)):
        kept = [a for a, b in zip(few, many, strict=True) if a in train.ids and a == b]
        assert len(kept) == sum(a in train.ids for a in few) < sum(b in train.ids for b in many)


def test_groups_follow_the_copy(images: ImageSet, train: ImageSet, tmp_path: Path) -> None:
    """A copy is of the scanner of the image copied, whatever the slot's was."""
    images = replace(images, groups={"scanner": np.array(["A"] * 40)})
    train = replace(train, groups={"scanner": np.array(["older"] * 30)})
    result = applied(images, train, 0.5, tmp_path)
    assert [scanner == "older" for scanner in result.groups["scanner"]] == [source in train.ids for source in result.sources]


def test_volumes_of_two_channels(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Volumes are copied with all their channels."""
    images, train = (picture_set(8, (6, 7, 8), 2, seed) for seed in (0, 1))
    result = applied(images, train, 1.0, tmp_path)
    rows = [train.ids.index(source) for source in result.sources]
    np.testing.assert_array_equal(result.images, train.images[rows])
    assert sorted(rows) == list(range(8))


def test_share_too_small_for_one_image(images: ImageSet, train: ImageSet, tmp_path: Path) -> None:
    """A share of less than half an image changes nothing."""
    assert applied(images, train, 0.01, tmp_path) is images


def test_seeds_are_honoured(images: ImageSet, train: ImageSet, tmp_path: Path) -> None:
    """One seed copies the same images again, another seed others; the input is untouched."""
    before = images.images.copy()
    first, again, other = (applied(images, train, 0.5, tmp_path, seed) for seed in (1, 1, 2))
    assert first.sha256 == again.sha256 != other.sha256
    np.testing.assert_array_equal(images.images, before)


def test_bad_input(images: ImageSet, train: ImageSet, picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Training images of another size, none at all, or without the labels that must follow are refused."""
    for wrong in (picture_set(5, (8, 8)), train.take([])):
        with pytest.raises(InputError, match="cannot take the place"):
            applied(images, wrong, 0.5, tmp_path)
    with pytest.raises(InputError, match="need their masks, labels"):
        applied(images, replace(train, masks=None, labels=None), 0.5, tmp_path)
