"""Puts images in the place of others, with all that is known of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from harness.api import ImageSet, InputError, Problem

_FOLLOWING = ("masks", "labels", "concepts")


def rows_to_copy(count: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` random rows out of n, (count,) int64: none twice before every row was taken once.

    Under one seed the rows for a smaller count are the first rows for a larger one.
    """
    return np.concatenate([rng.permutation(n) for _ in range(-(-count // n))])[:count]


def refuse_unlike(images: ImageSet, donors: ImageSet) -> None:
    """Raise `InputError` if images of `donors` cannot take the place of `images`: another shape, or less known of them."""
    if not len(donors) or donors.images.shape[1:] != images.images.shape[1:]:
        raise InputError(
            Problem(
                f"images of shape {donors.images.shape} in train cannot take the place of {images.images.shape}",
                fix="bring both to one size and one number of channels",
            )
        )
    lacking = [name for name in _FOLLOWING if getattr(images, name) is not None and getattr(donors, name) is None]
    lacking += [f"group {name}" for name in images.groups or {} if name not in (donors.groups or {})]
    if lacking:
        raise InputError(Problem(f"copies of training images need their {', '.join(lacking)}, and train has none"))
    asked, given = images.concepts, donors.concepts
    if asked is not None and given is not None and asked.shape[1] != given.shape[1]:
        raise InputError(Problem(f"train has {given.shape[1]} concepts, and the images have {asked.shape[1]}"))


def in_place_of(images: ImageSet, slots: np.ndarray, donors: ImageSet, rows: np.ndarray, pixels: np.ndarray | None = None) -> ImageSet:
    """Return the images with the images `rows` of `donors` in the slots `slots`, both (K,) int64.

    pixels: (K, C, ...) float32 in [0, 1], in place of the donors' own. Masks, labels, concepts and groups describe what is in the
    image, so they follow it; ids, patients and `cut_from` stay those of the slot, and `sources` names the image that each was
    copied from, which for an untouched slot is itself.
    """
    changed: dict[str, Any] = {"images": placed(images.images, slots, donors.images[rows] if pixels is None else pixels)}
    for name in _FOLLOWING:
        if getattr(images, name) is not None:
            changed[name] = placed(getattr(images, name), slots, getattr(donors, name)[rows])
    groups = images.groups
    if groups is not None and donors.groups is not None:
        groups = {name: placed(values, slots, donors.groups[name][rows]) for name, values in groups.items()}
    sources = list(images.ids)
    for slot, row in zip(slots, rows, strict=True):
        sources[slot] = donors.ids[row]
    return replace(images, **changed, groups=groups, sources=tuple(sources), features=None, checked=False)


def placed(values: np.ndarray, slots: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return a copy of the values with new ones in these rows; words may be longer than those that they replace."""
    out = values.astype(np.result_type(values, new))
    out[slots] = new
    return out
