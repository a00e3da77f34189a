"""Small pictures for the dossier, chosen by a seeded rule and kept in the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from . import png
from .images import ImageSet
from .records import ImageScoreRow, PictureRow

LARGEST_PX = 128


def thumbnail(image: np.ndarray) -> bytes:
    """Return the PNG of one image (C, H, W) or of the middle slice of one volume (C, D, H, W), values in [0, 1]."""
    plane = image[:, image.shape[1] // 2] if image.ndim == 4 else image
    step = max(1, -(-max(plane.shape[1:]) // LARGEST_PX))
    height, width = (plane.shape[1] // step) * step, (plane.shape[2] // step) * step
    blocks = plane[:, :height, :width].reshape(plane.shape[0], height // step, step, width // step, step).mean(axis=(2, 4))
    pixels = np.rint(blocks * 255).astype(np.uint8)
    return png.encode(np.moveaxis(pixels, 0, -1) if len(pixels) == 3 else pixels[0])


def gallery(
    cell: str, name: Literal["real", "synthetic"], images: ImageSet, labels: Sequence[str] | None, n: int, seed: int
) -> Iterator[PictureRow]:
    """Yield n images drawn at random, captioned with their label where there is one."""
    rows = np.sort(np.random.default_rng(seed).choice(len(images), min(n, len(images)), replace=False))
    for position, row in enumerate(rows):
        caption = ""
        if images.labels is not None:
            number = int(images.labels[row])
            caption = labels[number] if labels and number < len(labels) else f"label {number}"
        yield PictureRow(
            cell=cell, gallery=name, position=position, item=images.ids[row], caption=caption, png=thumbnail(images.images[row])
        )


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
