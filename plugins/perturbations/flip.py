"""Mirror images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, Modality, NotComputable, Perturbation

_BLOCK = 64


class Flip(Perturbation):
    """Mirrors images along one axis, with their masks: a harmless change where the anatomy has no side of its own.

    The severity is the share of images, drawn at random, that are mirrored. Labels, concepts and groups stay as they are, so the
    change is not harmless where these say left or right, or where all images were turned to one side beforehand. Radiographs are
    in no preset: a mirrored chest has its heart on the right, which is a malformation (situs inversus) and no chance of positioning.
    The preset for MRI is meant for heads; leave the flip out for the trunk.
    """

    name = "flip"
    version = "1"
    failure_mode = FailureMode.HARMLESS
    full_severity = "every image is mirrored"
    presets: ClassVar[Mapping[Modality, Mapping[str, Any]]] = {
        "ultrasound": {"because": "a probe may be held either way round, so the same tissue is seen from either side"},
        "mri": {"because": "the two halves of the head are nearly alike, and on which side a lesion lies is chance"},
        "mammography": {"because": "the views of the left and the right breast are mirror images of each other"},
        "microscopy": {"because": "a section may lie on the slide either way round"},
    }

    axis: int = Field(-1, ge=-3, le=-1, description="axis that is mirrored, counted from the last: -1 is left-right, -2 up-down")
    doses: tuple[float, ...] = (1.0,)
    dose_of_concern: float = 1.0
    because: str = "where the anatomy has no side of its own, a mirror image is as likely as the image"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images with a share `severity` mirrored."""
        slots = context.rng.permutation(len(images))[: round(severity * len(images))]
        if not len(slots):
            return images
        if -self.axis > len(images.size_px):
            raise NotComputable(f"images of {len(images.size_px)} axes cannot be mirrored along axis {self.axis}")
        masks = None if images.masks is None else _mirrored(images.masks, slots, self.axis)
        return replace(images, images=_mirrored(images.images, slots, self.axis), masks=masks, features=None, checked=False)


def _mirrored(values: np.ndarray, slots: np.ndarray, axis: int) -> np.ndarray:
    """Return a copy with these rows mirrored along a spatial axis."""
    out = values.copy()
    for start in range(0, len(slots), _BLOCK):
        rows = slots[start : start + _BLOCK]
        out[rows] = np.flip(values[rows], axis)
    return out
