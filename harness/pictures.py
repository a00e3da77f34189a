"""Small pictures for the dossier, chosen by a seeded rule and kept in the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from . import png
from .images import ImageSet
from .records import ImageScoreRow, PictureRow

LARGEST_PX = 128
SHOWN, PAIRS_SHOWN = 24, 16
OUTLINE = (255, 176, 0)


def thumbnail(image: np.ndarray) -> bytes:
    """Return the PNG of one image (C, H, W) or of the middle slice of one volume (C, D, H, W), values in [0, 1]."""
    pixels = _levels(image)
    return png.encode(np.moveaxis(pixels, 0, -1) if len(pixels) == 3 else pixels[0])


def outlined(image: np.ndarray, mask: np.ndarray) -> bytes:
    """Return the PNG of one image, as `thumbnail` draws it, with the outline of every region of its mask (H, W) or (D, H, W)."""
    grey = _levels(image)
    regions = _blocks(_plane(mask[None])).max(axis=(2, 4))[0]
    # A line one pixel wide hides small lesions of small images, so these are drawn larger.
    times = max(1, LARGEST_PX // max(regions.shape))
    grey, regions = grey.repeat(times, 1).repeat(times, 2), regions.repeat(times, 0).repeat(times, 1)
    around = np.pad(regions, 1)
    inner = np.logical_and.reduce([np.roll(around, shift, axis)[1:-1, 1:-1] == regions for axis in (0, 1) for shift in (1, -1)])
    pixels = np.moveaxis(np.broadcast_to(grey, (3, *regions.shape)), 0, -1).copy()
    pixels[(regions > 0) & ~inner] = OUTLINE
    return png.encode(pixels)


def _levels(image: np.ndarray) -> np.ndarray:
    """Return the pixels of a picture of one image, (C, h, w) uint8."""
    return np.rint(_blocks(_plane(image)).mean(axis=(2, 4)) * 255).astype(np.uint8)


def _plane(volume: np.ndarray) -> np.ndarray:
    """Return (C, H, W) of an image, or the middle slice of a volume (C, D, H, W)."""
    return volume[:, volume.shape[1] // 2] if volume.ndim == 4 else volume


def _blocks(plane: np.ndarray) -> np.ndarray:
    """Return (C, h, step, w, step): the blocks of pixels that become one each, so that the larger side is at most LARGEST_PX."""
    step = max(1, -(-max(plane.shape[1:]) // LARGEST_PX))
    height, width = (plane.shape[1] // step) * step, (plane.shape[2] // step) * step
    return plane[:, :height, :width].reshape(plane.shape[0], height // step, step, width // step, step)


def gallery(
    cell: str, name: Literal["real", "synthetic"], images: ImageSet, labels: Sequence[str] | None, seed: int
) -> Iterator[PictureRow]:
    """Yield images drawn at random, captioned with their label where there is one, beside themselves with the outline of their mask."""
    n = SHOWN if images.masks is None else PAIRS_SHOWN
    rows = np.sort(np.random.default_rng(seed).choice(len(images), min(n, len(images)), replace=False))
    for position, row in enumerate(rows):
        caption = ""
        if images.labels is not None:
            number = int(images.labels[row])
            caption = labels[number] if labels and number < len(labels) else f"label {number}"
        beside = None if images.masks is None else outlined(images.images[row], images.masks[row])
        yield PictureRow(cell=cell, gallery=name, position=position, item=images.ids[row], caption=caption,
                         png=thumbnail(images.images[row]), partner_png=beside)  # fmt: skip


def nearest(cell: str, synthetic: ImageSet, train: ImageSet, rows: np.ndarray, partners: np.ndarray, values: np.ndarray,
            caption: str) -> Iterator[PictureRow]:  # fmt: skip
    """Yield synthetic images beside the training image that each is closest to."""
    for position, (row, partner, value) in enumerate(zip(rows, partners, values, strict=True)):
        yield PictureRow(
            cell=cell, gallery="nearest", position=position, item=synthetic.ids[row], caption=caption, value=float(value),
            png=thumbnail(synthetic.images[row]), partner=train.ids[partner], partner_png=thumbnail(train.images[partner]),
        )  # fmt: skip


def standouts(cell: str, images: ImageSet, rows: Sequence[ImageScoreRow]) -> Iterator[PictureRow]:
    """Yield the images that metrics blame, in this order, each with the quantity that blames it."""
    at = {name: row for row, name in enumerate(images.ids)}
    for position, row in enumerate(rows):
        caption = f"{row.component}.{row.quantity}" + (f" ({row.extractor})" if row.extractor else "")
        yield PictureRow(
            cell=cell, gallery="standout", position=position, item=row.item, caption=caption, value=row.excess,
            png=thumbnail(images.images[at[row.item]]),
        )  # fmt: skip
