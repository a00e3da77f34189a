"""Facts about images in the place of others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from harness.api import ImageSet, InputError
from harness_plugins.perturbations.copying import in_place_of, placed, refuse_unlike, rows_to_copy


def test_rows_are_nested_and_come_round() -> None:
    """Fewer rows are the first of more, and no row is taken twice before each was taken once."""
    few, many = (rows_to_copy(count, 10, np.random.default_rng(0)) for count in (4, 25))
    np.testing.assert_array_equal(few, many[:4])
    assert [len(set(many[i : i + 10])) for i in (0, 10)] == [10, 10]
    assert len(many) == 25


def test_longer_words_are_not_cut() -> None:
    """A group whose name is longer than those it replaces stays whole, and the input is untouched."""
    before = np.array(["a", "b", "c"])
    np.testing.assert_array_equal(placed(before, np.array([1]), np.array(["abroad"])), ["a", "abroad", "c"])
    np.testing.assert_array_equal(before, ["a", "b", "c"])


def test_what_describes_the_image_follows_and_the_slot_stays(picture_set: Callable[..., ImageSet]) -> None:
    """Masks, labels, concepts and groups follow; ids, patients and the image that a patch was cut from stay; sources tell."""
    images, donors = (
        picture_set(
            6,
            seed=seed,
            concepts=np.full((6, 2), seed, np.uint8),
            groups={"site": np.array([f"site {seed}"] * 6)},
            cut_from=tuple(f"w{seed}" for _ in range(6)),
        )
        for seed in (0, 1)
    )
    result = in_place_of(images, np.array([4, 1]), donors, np.array([0, 5]))
    rows = {4: 0, 1: 5}
    for i in range(6):
        side, row = (donors, rows[i]) if i in rows else (images, i)
        for name in ("images", "masks", "labels", "concepts"):
            np.testing.assert_array_equal(getattr(result, name)[i], getattr(side, name)[row])
        assert result.groups["site"][i] == side.groups["site"][row]
        assert result.sources[i] == side.ids[row]
    assert (result.ids, result.patients, result.cut_from) == (images.ids, images.patients, images.cut_from)


def test_less_known_images_are_refused(picture_set: Callable[..., ImageSet]) -> None:
    """Donors of another size, or without the group or the concepts that must follow, are refused; more knowledge is no fault."""
    site = {"site": np.array(["a"] * 6)}
    images = picture_set(6, groups=site, concepts=np.zeros((6, 2), np.uint8))
    refuse_unlike(replace(images, groups=None, concepts=None), images)
    with pytest.raises(InputError, match="cannot take the place"):
        refuse_unlike(images, picture_set(6, (8, 8)))
    with pytest.raises(InputError, match="need their concepts, group site, and train has none"):
        refuse_unlike(images, replace(images, concepts=None, groups={"scanner": site["site"]}))
    with pytest.raises(InputError, match="train has 3 concepts, and the images have 2"):
        refuse_unlike(images, replace(images, concepts=np.zeros((6, 3), np.uint8)))
