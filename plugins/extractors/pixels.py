"""Small pictures as features: down-sampled pixels, projected on the principal components of the training images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import Field

from harness.api import Context, Extractor, ImageSet, InputError, NotComputable, Problem

_BLOCK_ENTRIES = 8_000_000


class Pixels(Extractor):
    """Down-sampled pixels of all channels, projected on the first principal components of the training images.

    Each axis is averaged to `side` pixels (16 for 2D, 8 for 3D unless given; shorter axes stay as they are). At most
    `components` scores are kept, and no more than the training images span. The scores keep their variances: distances are
    those between the small pictures as far as the components explain them. Sees brightness, contrast, coarse shape and
    position; does not see texture finer than a cell.
    """

    name = "pixels"
    version = "1"

    side: int | None = Field(None, ge=2)
    components: int = Field(32, ge=1)

    def fit(self, train: ImageSet, context: Context) -> None:
        """Leave mean and components of the down-sampled training images in the work folder."""
        cells = np.concatenate(list(self._cells(train)))
        mean = cells.mean(axis=0)
        _, singular, directions = np.linalg.svd(cells - mean, full_matrices=False)
        tiny = singular.max(initial=0.0) * max(cells.shape) * np.finfo(np.float64).eps
        rank = int((singular > tiny).sum())
        kept = directions[: min(self.components, rank, len(cells) - 1)]
        if not len(kept):
            raise NotComputable(f"the {len(train)} training images do not differ from each other once they are down-sampled")
        # A principal component has no sign of its own: its largest loading is made positive.
        largest = np.abs(kept).argmax(axis=1)
        kept = kept * np.sign(kept[np.arange(len(kept)), largest])[:, None]
        np.save(context.workdir / "mean.npy", mean)
        np.save(context.workdir / "components.npy", kept)

    def extract(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return the component scores, (N, F) float32."""
        if context.fitted is None:
            raise InputError(Problem("pixels has not been fitted", fix="call fit on the training images first"))
        mean = np.load(context.fitted / "mean.npy", allow_pickle=False)
        components = np.load(context.fitted / "components.npy", allow_pickle=False)
        scores = [np.empty((0, len(components)), dtype=np.float32)]
        for cells in self._cells(images):
            if cells.shape[1] != len(mean):
                raise InputError(
                    Problem(
                        f"images of shape {images.images.shape[1:]} give {cells.shape[1]} cells, training gave {len(mean)}",
                        fix="bring both to one size and one number of channels",
                    )
                )
            centred = cells - mean
            # One sum per row and component, so that a row does not depend on how many rows share a matrix product.
            scores.append(np.stack([(centred * c).sum(axis=1) for c in components], axis=1).astype(np.float32))
        return np.concatenate(scores)

    def _cells(self, images: ImageSet) -> Iterator[np.ndarray]:
        """Yield blocks of down-sampled images as rows, float64."""
        side = self.side or (16 if len(images.size_px) == 2 else 8)
        step = max(1, _BLOCK_ENTRIES // max(1, int(np.prod(images.images.shape[1:]))))
        for start in range(0, len(images), step):
            block = images.images[start : start + step]
            yield downsample(block, side).reshape(len(block), -1)


def downsample(images: np.ndarray, side: int) -> np.ndarray:
    """Average (N, C, ...) images over boxes to at most `side` pixels along each spatial axis, float64.

    A pixel that straddles two boxes counts in both with its share, so every size is mapped exactly and without aliasing.
    """
    small = np.asarray(images, dtype=np.float64)
    for axis in range(2, small.ndim):
        size = small.shape[axis]
        if size > side:
            small = np.moveaxis(np.moveaxis(small, axis, -1) @ _boxes(size, side), -1, axis)
    return small


def _boxes(size: int, side: int) -> np.ndarray:
    """Return the (size, side) weights with which pixels enter boxes of equal width; every column sums to one."""
    edges = np.arange(side + 1) * (size / side)
    pixels = np.arange(size)[:, None]
    overlap = np.minimum(pixels + 1, edges[1:]) - np.maximum(pixels, edges[:-1])
    return np.clip(overlap, 0.0, None) * (side / size)
