"""Copies of training images in place of new ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, InputError, Perturbation, Problem

_FOLLOWING = ("masks", "labels", "concepts")


class Duplication(Perturbation):
    """Replaces a share of the images by copies of randomly chosen training images, as a generator that memorises would.

    The severity is the share. With `jitter_sd` above 0 the copies get Gaussian noise of that standard deviation, as a share of
    the intensity window: near copies. Masks, labels and concepts follow the copy, ids and patients stay those of the slot, and
    `sources` names the image copied.
    """

    name = "duplication"
    version = "1"
    failure_mode = FailureMode.MEMORISATION
    full_severity = "every image is a copy of a training image"

    jitter_sd: float = Field(0.0, ge=0.0)
    doses: tuple[float, ...] = (0.05, 0.15, 0.30)
    dose_of_concern: float = 0.15
    because: str = "one image in seven being a training image breaks both privacy and any claim of added variety"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images with a share `severity` replaced by copies from `train`."""
        count = round(severity * len(images))
        if count == 0:
            return images
        self._refuse_unlike(images, train)
        rng = context.rng
        slots = rng.permutation(len(images))[:count]
        copied = rng.permutation(len(train))[:count] if count <= len(train) else rng.integers(len(train), size=count)
        pixels = train.images[copied]
        if self.jitter_sd:
            noise = rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(self.jitter_sd)
            pixels = np.clip(pixels + noise, 0.0, 1.0)
        changed: dict[str, Any] = {"images": _placed(images.images, slots, pixels)}
        for name in _FOLLOWING:
            if getattr(images, name) is not None:
                changed[name] = _placed(getattr(images, name), slots, getattr(train, name)[copied])
        sources = list(images.ids)
        for slot, row in zip(slots, copied, strict=True):
            sources[slot] = train.ids[row]
        return replace(images, **changed, sources=tuple(sources), features=None, checked=False)

    def _refuse_unlike(self, images: ImageSet, train: ImageSet) -> None:
        if not len(train) or train.images.shape[1:] != images.images.shape[1:]:
            raise InputError(
                Problem(
                    f"images of shape {train.images.shape} in train cannot take the place of {images.images.shape}",
                    fix="bring both to one size and one number of channels",
                )
            )
        lacking = [name for name in _FOLLOWING if getattr(images, name) is not None and getattr(train, name) is None]
        if lacking:
            raise InputError(Problem(f"copies of training images need their {', '.join(lacking)}, and train has none"))


def _placed(values: np.ndarray, slots: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return a copy of the values with new ones in these rows."""
    out = np.array(values)
    out[slots] = new
    return out
