"""Structural similarity: among the synthetic images, and of each to its nearest training image."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, ImageSet, Metric, NotComputable, Quantity

from ..extractors.pixels import downsample

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_LEAST_PX = 3
_BLOCK_ENTRIES = 2_000_000
# So few that the maps of a block stay in the cache of a processor.
_MAP_ENTRIES = 100_000
Similarity = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Structure(Metric):
    """Structural similarity (SSIM) of thumbnails: MS-SSIM within pairs of synthetic images, and SSIM to the nearest training image.

    SSIM = mean over windows of (2 mu_x mu_y + C1)(2 s_xy + C2) / ((mu_x^2 + mu_y^2 + C1)(s_x^2 + s_y^2 + C2)) with Gaussian windows of
    11 pixels and sigma 1.5 wholly inside the image, C1 = 0.01^2, C2 = 0.03^2 for intensities in [0, 1] (Wang et al. 2004, IEEE TIP 13:600).
    MS-SSIM multiplies the contrast and structure terms of each halved scale but the last with the SSIM of the last, negative means
    taken as 0, to the powers 0.0448, 0.2856, 0.3001, 0.2363, 0.1333 (Wang et al. 2003, Asilomar), of which as many are used, scaled
    to a sum of 1, as there are scales with room for a window. Images are the mean of their channels, averaged down to
    `side` pixels along each axis; the window is cut to an odd width that fits where an axis is shorter.

    ms_ssim: mean MS-SSIM over random pairs of synthetic images, every image in two of them (as a measure of diversity: Odena et
    al. 2017, arXiv:1610.09585); from 0 to 1, lower is more diverse, and only the same number on real images says how diverse
    that should be: more diverse than real is not better. nn_ssim: mean SSIM of each synthetic image to the training image
    whose thumbnail is nearest by Euclidean distance; from -1 to 1, higher is more like copying, and higher too for smoother
    images. ms_ssim notices a generator that varies a few images, hardly one that leaves some kinds out. Blind to what is finer than
    a thumbnail's pixel, to flipped or shifted copies, and to what is wrong with all images alike.
    """

    name = "structure"
    version = "2"
    in_suite = True
    quantities = (
        Quantity(name="ms_ssim", better="lower", low=0.0, high=1.0, family="diversity"),
        Quantity(name="nn_ssim", better="lower", low=-1.0, high=1.0, biased_in_n=True, fixed_train=True, family="memorisation"),
    )
    sees = frozenset({FailureMode.MEMORISATION})
    blind_to = frozenset({FailureMode.LABEL_NOISE, FailureMode.MASK_MISALIGNMENT})

    side: int | None = Field(None, ge=_LEAST_PX, description="pixels of a thumbnail along each axis; 64 in 2D and 24 in 3D unless given")
    pairs: int = Field(300, ge=1, description="most pairs that ms_ssim looks at")

    def describe(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return the shape of the thumbnails, padded with ones in front to three numbers, and their pixels, (N, 3 + P) float32."""
        if min(images.size_px) < _LEAST_PX:
            raise NotComputable(f"needs {_LEAST_PX} pixels along every axis, got images of {images.size_px}")
        side = self.side or (64 if len(images.size_px) == 2 else 24)
        shape = tuple(min(side, s) for s in images.size_px)
        rows = np.empty((len(images), 3 + int(np.prod(shape))), dtype=np.float32)
        rows[:, :3] = (1,) * (3 - len(shape)) + shape
        step = max(1, _BLOCK_ENTRIES // max(1, int(np.prod(images.images.shape[1:]))))
        for start in range(0, len(images), step):
            grey = images.images[start : start + step].astype(np.float64).mean(axis=1, keepdims=True)
            rows[start : start + step, 3:] = downsample(grey, side).reshape(len(grey), -1)
        return rows

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float | NotComputable]:
        """Return the mean similarity within pairs of synthetic images and to their nearest training images."""
        synthetic, shape = _thumbnails(comparison, "synthetic")
        found: dict[str, float | NotComputable] = {"ms_ssim": NotComputable("needs 2 synthetic images, got 1")}
        if len(synthetic) > 1:
            first, second = ring(synthetic, min(self.pairs, len(synthetic)), context.rng)
            found["ms_ssim"] = float(np.mean(_in_blocks(ms_ssim, synthetic, first, synthetic, second, shape)))
        try:
            found["nn_ssim"] = float(np.mean(self._nearest(comparison)))
        except NotComputable as reason:
            found["nn_ssim"] = reason
        return found

    def per_image(self, comparison: Comparison, context: Context) -> dict[str, np.ndarray]:
        """Return the SSIM of each synthetic image to its nearest training image."""
        return {"nn_ssim": self._nearest(comparison)}

    def _nearest(self, comparison: Comparison) -> np.ndarray:
        """Return (N_synthetic,) the SSIM to the nearest training image."""
        synthetic, shape = _thumbnails(comparison, "synthetic")
        nearest = comparison.neighbours("synthetic", "train", 1)[1][:, 0]
        train, its_shape = _thumbnails(comparison, "train")
        if shape != its_shape:
            raise NotComputable(f"synthetic thumbnails are {shape} pixels and training thumbnails {its_shape}")
        return _in_blocks(ssim, synthetic, np.arange(len(synthetic)), train, nearest, shape)


def _thumbnails(comparison: Comparison, role: Literal["train", "synthetic"]) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return the thumbnails of one side as rows, and their shape."""
    if not comparison.n(role):
        raise NotComputable(f"there are no {role} images")
    rows = comparison.features(role).astype(np.float32)
    shape = tuple(int(s) for s in rows[0, :3])
    return rows[:, 3:], shape[1:] if shape[0] == 1 else shape


def ring(rows: np.ndarray, pairs: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return so many pairs of neighbours in a random ring of the rows, as two index arrays, whatever the order of the rows."""
    # The images are first put in an order of their own: a permutation of it is one of the images and not of their places.
    own = np.argsort(rows @ np.random.default_rng(0).random(rows.shape[1]), kind="stable")
    order = own[rng.permutation(len(rows))]
    return order[:pairs], np.roll(order, -1)[:pairs]


def _in_blocks(
    similarity: Similarity, a: np.ndarray, of_a: np.ndarray, b: np.ndarray, of_b: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Return the similarity of pairs of rows, `a[of_a]` with `b[of_b]`, a few thumbnails at a time."""
    step = max(1, _MAP_ENTRIES // int(np.prod(shape)))
    blocks = [slice(start, start + step) for start in range(0, len(of_a), step)]
    return np.concatenate([similarity(a[of_a[k]].reshape(-1, *shape), b[of_b[k]].reshape(-1, *shape)) for k in blocks])


def ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return (N,) the SSIM of pairs of images in [0, 1], both (N, H, W) or (N, D, H, W)."""
    luminance, contrast = _terms(x, y)
    return np.asarray((luminance * contrast).reshape(len(x), -1).mean(axis=1, dtype=np.float64))


def ms_ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return (N,) the MS-SSIM of pairs of images in [0, 1], both (N, H, W) or (N, D, H, W)."""
    scales = 1
    while scales < len(_WEIGHTS) and min(x.shape[1:]) // 2**scales >= _WINDOW:
        scales += 1
    weights = np.array(_WEIGHTS[:scales]) / sum(_WEIGHTS[:scales])
    product = np.ones(len(x))
    for scale, weight in enumerate(weights):
        if scale:
            x, y = _halved(x), _halved(y)
        luminance, contrast = _terms(x, y)
        term = luminance * contrast if scale == scales - 1 else contrast
        product *= np.maximum(term.reshape(len(x), -1).mean(axis=1, dtype=np.float64), 0.0) ** weight
    return product


def _terms(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return luminance and contrast-structure terms in every window."""
    mean_x, mean_y, xx, yy, xy = (_windowed(z) for z in (x, y, x * x, y * y, x * y))
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return luminance, (2 * (xy - mean_x * mean_y) + _C2) / (xx - mean_x**2 + yy - mean_y**2 + _C2)


def _windowed(images: np.ndarray) -> np.ndarray:
    """Return Gaussian-weighted means in all windows that lie wholly inside: one matrix product per axis."""
    for axis in range(1, images.ndim):
        shape = images.shape
        weights = _gaussian(shape[axis]).astype(images.dtype)
        if axis == images.ndim - 1:
            return np.asarray(images @ weights)
        lines = images.reshape(int(np.prod(shape[:axis])), shape[axis], -1)
        images = (weights.T @ lines).reshape(*shape[:axis], weights.shape[1], *shape[axis + 1 :])
    return images


@cache
def _gaussian(size: int) -> np.ndarray:
    """Return the weight of each of `size` pixels in each window, (size, windows)."""
    width = min(_WINDOW, size - (size + 1) % 2)
    window = np.exp(-0.5 * ((np.arange(width) - width // 2) / _SIGMA) ** 2)
    weights = np.zeros((size, size - width + 1))
    for start in range(weights.shape[1]):
        weights[start : start + width, start] = window / window.sum()
    return weights


def _halved(images: np.ndarray) -> np.ndarray:
    """Return images averaged over boxes of two pixels along every axis; an odd last pixel is left out."""
    for axis in range(1, images.ndim):
        even = images.shape[axis] // 2 * 2
        first, second = (images[(slice(None),) * axis + (slice(start, even, 2),)] for start in (0, 1))
        images = (first + second) / 2
    return images
