"""Training images among the synthetic ones: pixel for pixel, and up to intensity, margin, flip and right-angle turn."""

from __future__ import annotations

import hashlib
from itertools import permutations, product
from typing import Literal

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, ImageSet, Metric, NotComputable, Quantity

from .memorisation import copy_threshold, ratios

_HASH_BYTES, _HASH_COLUMNS = 15, 5
_MARGIN = 0.02
_CANDIDATES = 3
_ROUNDING = 1e-5
_BLOCK_ENTRIES = 4_000_000


class PixelCopies(Metric):
    """Share of synthetic images that are training images: exactly, and nearly, after normalisation that needs no registration.

    exact_share: share whose pixels are all equal to those of some training image (compared by 120 bits of BLAKE2b). near_share:
    every image (mean of its channels) is averaged to `side` pixels along each axis, centred and scaled to norm 1, once as it is and
    once cut to the part where its mean along the other axes exceeds its lowest by 2 % of the range; the distance of two images is
    sqrt(2 - 2 r) for the largest correlation r of both whole or both cut, over all flips and right-angle turns (8 in 2D; the 8
    flips in 3D). An image is a near copy if
    it is much nearer to one training image than to the next, u = d1 / d2 below the threshold of `memorisation.copied_share`, which test
    images do not reach. Both from 0 to 1, lower is better; an exact copy is also a near one unless its twin is
    in the training set too. Finds copies with other brightness, contrast or margins, flipped or turned, with noise or blur.
    Blind to copies that were cropped, warped, turned by other angles or changed locally, to copies of an image whose near copy is
    in the training set as well (neighbouring slices), and to everything that is not copying.
    """

    name = "pixel_copies"
    version = "1"
    in_suite = True
    quantities = tuple(
        Quantity(name=name, better="lower", low=0.0, high=1.0, proportion=True, fixed_train=True, family="memorisation")
        for name in ("exact_share", "near_share")
    )
    sees = frozenset({FailureMode.MEMORISATION})
    blind_to = frozenset({FailureMode.MODE_COLLAPSE, FailureMode.INTERNAL_DUPLICATION, FailureMode.NOISE, FailureMode.DISTRIBUTION_SHIFT})

    side: int | None = Field(None, ge=4, description="pixels of a normalised image along each axis; 12 in 2D and 6 in 3D unless given")
    false_positive_rate: float = Field(0.001, gt=0.0, lt=1.0, description="chance that an honest image is called a near copy")

    def describe(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return number of axes, hash of the pixels and normalised image, whole and cut, (N, 6 + 2 side^axes) float32."""
        axes = len(images.size_px)
        side = self.side or (12 if axes == 2 else 6)
        rows = np.empty((len(images), 1 + _HASH_COLUMNS + 2 * side**axes), dtype=np.float32)
        rows[:, 0] = axes
        for row, image in zip(rows, images.images, strict=True):
            row[1 : 1 + _HASH_COLUMNS] = pixel_hash(image)
            grey = image.astype(np.float64).mean(axis=0)
            row[1 + _HASH_COLUMNS :] = np.concatenate([normalised(grey, side, cut).ravel() for cut in (False, True)])
        return rows

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float | NotComputable]:
        """Return the shares of exact and of near copies."""
        found: dict[str, float | NotComputable] = {"exact_share": float(np.mean(_exact(comparison)))}
        try:
            distinct = _distinct(comparison)
            threshold = copy_threshold(_ratios(distinct, "test"), self.false_positive_rate)
            found["near_share"] = float(np.mean(_ratios(distinct, "synthetic") < threshold))
        except NotComputable as reason:
            found["near_share"] = reason
        return found

    def per_image(self, comparison: Comparison, context: Context) -> dict[str, np.ndarray]:
        """Return 1 for each exact copy and 0 for other images, and 1 - u, which is 1 for a copy and near 0 for most others."""
        return {"exact_share": _exact(comparison).astype(np.float64), "near_share": 1.0 - _ratios(_distinct(comparison), "synthetic")}


def pixel_hash(image: np.ndarray) -> np.ndarray:
    """Return 120 bits of the BLAKE2b hash of shape and pixels as five whole numbers below 2^24, which float32 holds exactly."""
    # Adding zero turns -0.0 into 0.0, which is the same number with other bytes.
    pixels = np.ascontiguousarray(image, dtype=np.float32) + np.float32(0.0)
    digest = hashlib.blake2b(str(image.shape).encode() + pixels.tobytes(), digest_size=_HASH_BYTES).digest()
    return np.frombuffer(digest, np.uint8).reshape(_HASH_COLUMNS, 3).astype(np.int64) @ np.array([65536, 256, 1])


def normalised(image: np.ndarray, side: int, cut: bool) -> np.ndarray:
    """Return an image (H, W) or (D, H, W), cut to what is not margin or whole, `side` pixels along each axis, of mean 0 and norm 1.

    Zeros where all pixels are equal. An image of fewer pixels than `side` is enlarged by repeating them.
    """
    boxes = []
    for axis, size in enumerate(image.shape):
        profile = image.mean(axis=tuple(a for a in range(image.ndim) if a != axis))
        boxes.append(_boxes(*(_extent(profile) if cut else (0.0, float(size))), size, side))
    small = image
    for axis, weights in enumerate(boxes):
        small = np.moveaxis(np.moveaxis(small, axis, -1) @ weights, -1, axis)
    small = small - small.mean()
    norm = float(np.linalg.norm(small))
    # What is left of equal pixels is rounding.
    return small / norm if norm > 1e-9 * small.size else np.zeros_like(small)


def _extent(profile: np.ndarray) -> tuple[float, float]:
    """Return where a profile rises above its lowest value by 2 % of its range, from both ends, in pixels between its edges."""
    level = profile.min() + _MARGIN * (profile.max() - profile.min())
    above = np.flatnonzero(profile > level)
    if not len(above):
        return 0.0, float(len(profile))
    first, last = int(above[0]), int(above[-1])
    # An outermost pixel counts in part, by how far above the level it is, so that a little noise moves the edge a little.
    low = first + 1 - float((profile[first] - level) / (profile[first] - profile[first - 1])) if first else 0.0
    end = len(profile) - 1
    high = last + float((profile[last] - level) / (profile[last] - profile[last + 1])) if last < end else float(end + 1)
    return low, high


def _boxes(low: float, high: float, size: int, side: int) -> np.ndarray:
    """Return the (size, side) weights with which pixels enter equal boxes between two places; every column sums to one."""
    edges = np.linspace(low, high, side + 1)
    pixels = np.arange(size)[:, None]
    overlap = np.clip(np.minimum(pixels + 1, edges[1:]) - np.maximum(pixels, edges[:-1]), 0.0, None)
    return np.asarray(overlap / overlap.sum(axis=0))


def turns(side: int, axes: int) -> np.ndarray:
    """Return how the pixels of a square or cube move under each flip (and, in 2D, right-angle turn), (8, side^axes) indices."""
    pixels = np.arange(side**axes).reshape((side,) * axes)
    orders = list(permutations(range(axes))) if axes == 2 else [tuple(range(axes))]
    flips = [tuple(slice(None, None, -1 if flip else 1) for flip in flipped) for flipped in product((False, True), repeat=axes)]
    return np.array([pixels.transpose(order)[flip].ravel() for order in orders for flip in flips])


def two_nearest(images: np.ndarray, among: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Return (N, 2) distances of normalised images (N, V, P) to the two nearest of `among` (M, V, P).

    The distance is the smallest over the V views, each of one image against the same of the other, and all moves (K, P).
    """
    found = np.empty((len(images), 2))
    candidates = min(_CANDIDATES, len(among))
    rough = among.astype(np.float32)
    step = max(1, _BLOCK_ENTRIES // len(among))
    for start in range(0, len(images), step):
        block = images[start : start + step]
        best = np.full((len(block), len(among)), -np.inf, dtype=np.float32)
        for view, move in product(range(images.shape[1]), moves):
            np.maximum(best, block[:, view, move].astype(np.float32) @ rough[:, view].T, out=best)
        near = np.argpartition(best, -candidates, axis=1)[:, -candidates:]
        # Near 1 a correlation has lost the digits of the distance: the candidates are measured by their differences.
        squared = [np.min([((block[:, :, move] - among[chosen]) ** 2).sum(axis=2) for move in moves], axis=0) for chosen in near.T]
        found[start : start + step] = np.sqrt(np.sort(np.min(squared, axis=2), axis=0)[:2].T)
    return found


def _exact(comparison: Comparison) -> np.ndarray:
    """Return (N_synthetic,) True where an image has the pixels of a training image."""
    for role in ("synthetic", "train"):
        if not comparison.n(role):
            raise NotComputable(f"there are no {role} images")
    known = {row.tobytes() for row in comparison.features("train")[:, : 1 + _HASH_COLUMNS]}
    return np.array([row.tobytes() in known for row in comparison.features("synthetic")[:, : 1 + _HASH_COLUMNS]])


def _ratios(comparison: Comparison, of: Literal["test", "synthetic"]) -> np.ndarray:
    """Return u of each image of one side, (N,)."""
    images, train = comparison.features(of), comparison.features("train")
    axes = int(train[0, 0])
    pixels = (train.shape[1] - 1 - _HASH_COLUMNS) // 2
    views, known = (side[:, 1 + _HASH_COLUMNS :].reshape(len(side), 2, pixels) for side in (images, train))
    nearest, second = two_nearest(views, known, turns(round(pixels ** (1 / axes)), axes)).T
    # Where even the second training image is the same up to rounding, the two are twins and the image is a copy of both.
    twins = second <= _ROUNDING
    return np.where(twins, 0.0, ratios(nearest, np.where(twins, 1.0, second)))


def _distinct(comparison: Comparison) -> Comparison:
    """Return the comparison with one of each group of training images that are the same once normalised."""
    first: dict[bytes, int] = {}
    for row, values in enumerate(comparison.features("train")[:, 1 + _HASH_COLUMNS :] + 0.0):
        first.setdefault(values.tobytes(), row)
    if len(first) < 2:
        raise NotComputable(f"needs 2 training images that differ once normalised, got {len(first)}")
    return comparison if len(first) == comparison.n("train") else comparison.take(train=np.array(list(first.values())))
