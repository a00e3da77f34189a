"""Texture of one grey image, 2D or 3D: first-order statistics, co-occurrence, local binary patterns, Haar wavelets.

Definitions are those of PyRadiomics (van Griethuysen et al. 2017, Cancer Res. 77:e104) where it has the feature: entropies in bits,
skewness and kurtosis of a flat region 0, correlation of a flat region 1. Lengths are in pixels, whatever the spacing.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product

import numpy as np

_PATTERNS = 10
# Share of the next pixel along an axis in the value half a turn between two axes, at distance 1.
_R = float(np.sqrt(0.5))


def grey_levels(image: np.ndarray, levels: int) -> np.ndarray:
    """Return the grey level of each pixel, 0 to levels - 1: equal steps of the intensity window [0, 1]."""
    return np.minimum((image * levels).astype(np.intp), levels - 1)


def first_order(values: np.ndarray, grey: np.ndarray, levels: int) -> dict[str, float]:
    """Return statistics of the intensities (P,) and of the histogram of their grey levels (P,)."""
    mean = float(values.mean())
    centred = values - mean
    variance = float((centred**2).mean())
    low, tenth, quarter, median, three_quarters, ninetieth, high = np.percentile(values, (0, 10, 25, 50, 75, 90, 100))
    middle = values[(values >= tenth) & (values <= ninetieth)]
    share = np.bincount(grey, minlength=levels) / len(grey)
    return {
        "mean": mean,
        "sd": variance**0.5,
        "skewness": float((centred**3).mean()) / variance**1.5 if variance > 0.0 else 0.0,
        "kurtosis": float((centred**4).mean()) / variance**2 if variance > 0.0 else 0.0,
        "rms": float((values**2).mean()) ** 0.5,
        "entropy": _entropy(share),
        "uniformity": float((share**2).sum()),
        "minimum": float(low),
        "p10": float(tenth),
        "p25": float(quarter),
        "median": float(median),
        "p75": float(three_quarters),
        "p90": float(ninetieth),
        "maximum": float(high),
        "interquartile_range": float(three_quarters - quarter),
        "mean_absolute_deviation": float(np.abs(centred).mean()),
        "robust_mean_absolute_deviation": float(np.abs(middle - middle.mean()).mean()),
    }


@cache
def directions(axes: int) -> tuple[tuple[int, ...], ...]:
    """Return one of each pair of opposite steps to a neighbour: 4 directions in 2D, 13 in 3D."""
    steps = product((-1, 0, 1), repeat=axes)
    return tuple(step for step in steps if next((s for s in step if s), 0) > 0)


def cooccurrence(grey: np.ndarray, levels: int, distance: int, inside: np.ndarray | None = None) -> np.ndarray:
    """Return the grey-level co-occurrence matrix of each direction, (directions, levels, levels), symmetric, of sum one.

    `distance` is that along each axis that the direction follows. Only pairs that lie `inside` count; a direction without any
    pair is left out.
    """
    matrices = []
    for direction in directions(grey.ndim):
        here, there = _pair([distance * step for step in direction])
        joint = grey[here] * levels + grey[there]
        joint = joint.ravel() if inside is None else joint[inside[here] & inside[there]]
        if len(joint):
            counts = np.bincount(joint, minlength=levels * levels).reshape(levels, levels)
            matrices.append((counts + counts.T) / (2.0 * len(joint)))
    return np.array(matrices).reshape(-1, levels, levels)


def _pair(offset: list[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the slices of all pixels that have a partner at an offset, and of the partners."""
    here = tuple(slice(max(0, -o), -o if o > 0 else None) for o in offset)
    there = tuple(slice(max(0, o), o if o < 0 else None) for o in offset)
    return here, there


def haralick(matrices: np.ndarray) -> dict[str, float]:
    """Return features of co-occurrence matrices (K, L, L), averaged over the directions (Haralick et al. 1973).

    contrast: mean of (i - j)^2; dissimilarity: of |i - j|; homogeneity: of 1 / (1 + (i - j)^2); asm: sum of p^2 (angular second
    moment); entropy: -sum p log2 p; correlation: that of i and j; shade and prominence: third and fourth central moment of i + j.
    """
    p = matrices.reshape(len(matrices), -1)
    contrast, dissimilarity, homogeneity, i, squares, products, s2, s3, s4 = (p @ _weights(matrices.shape[1])).T
    variance, mean = squares - i**2, 2.0 * i
    flat = variance <= 1e-12 * squares
    correlation = np.where(flat, 1.0, (products - i**2) / np.where(flat, 1.0, variance))
    by_direction = {
        "contrast": contrast,
        "dissimilarity": dissimilarity,
        "homogeneity": homogeneity,
        "asm": (p**2).sum(axis=1),
        "entropy": np.array([_entropy(row) for row in p]),
        "correlation": correlation,
        "shade": s3 - 3 * mean * s2 + 2 * mean**3,
        "prominence": s4 - 4 * mean * s3 + 6 * mean**2 * s2 - 3 * mean**4,
    }
    return {name: float(values.mean()) for name, values in by_direction.items()}


@cache
def _weights(levels: int) -> np.ndarray:
    """Return what each pair of grey levels contributes to the linear features, (levels^2, 9)."""
    i, j = (axis.ravel().astype(np.float64) for axis in np.indices((levels, levels)))
    d, s = i - j, i + j
    return np.stack([d**2, np.abs(d), 1 / (1 + d**2), i, i**2, i * j, s**2, s**3, s**4], axis=1)


def local_binary_patterns(image: np.ndarray, inside: np.ndarray | None = None) -> np.ndarray:
    """Return the histogram of uniform rotation-invariant local binary patterns of 8 points at radius 1 (Ojala et al. 2002).

    Entry k below 9 is the share of pixels of which k neighbours in a row are at least as bright; entry 9 that of all other
    pixels. Pixels of the outermost rows have no full circle and do not count. A volume gives the histograms of the planes of
    its last two axes, of the first and last, and of the first two, one after the other (LBP-TOP, Zhao & Pietikainen 2007).
    """
    planes = [(0, 1)] if image.ndim == 2 else [(1, 2), (0, 2), (0, 1)]
    return np.concatenate([_plane_patterns(image, plane, inside) for plane in planes])


def _plane_patterns(image: np.ndarray, plane: tuple[int, int], inside: np.ndarray | None) -> np.ndarray:
    inner = tuple(slice(1, -1) if axis in plane else slice(None) for axis in range(image.ndim))
    centre = image[inner]

    def brighter_by(row: int, column: int) -> np.ndarray:
        step = {plane[0]: row, plane[1]: column}
        shifted = (slice(1 + step[a], image.shape[a] - 1 + step[a]) if a in step else slice(None) for a in range(image.ndim))
        return np.asarray(image[tuple(shifted)] - centre)

    around = [(0, 1), (-1, 0), (0, -1), (1, 0)]
    straight = [brighter_by(*step) for step in around]
    code = np.zeros(centre.shape, np.intp)
    for k, (a, b) in enumerate(zip(around, around[1:] + around[:1], strict=True)):
        # Interpolating differences rather than values leaves a flat neighbourhood exactly flat.
        corner = brighter_by(a[0] + b[0], a[1] + b[1])
        between = _R * (1 - _R) * (straight[k] + straight[(k + 1) % 4]) + _R**2 * corner
        code |= (straight[k] >= 0).astype(np.intp) << (2 * k)
        code |= (between >= 0).astype(np.intp) << (2 * k + 1)
    codes = code.ravel() if inside is None else code[inside[inner]]
    counts = np.bincount(codes, minlength=256) @ _uniform()
    return counts / max(1, len(codes))


@cache
def _uniform() -> np.ndarray:
    """Return which of the 10 patterns each of the 256 codes is, (256, 10)."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    return np.eye(_PATTERNS)[np.where(changes <= 2, bits.sum(axis=1), _PATTERNS - 1)]


def haar(image: np.ndarray, scales: int, inside: np.ndarray | None = None) -> dict[str, float]:
    """Return root mean square and mean absolute value of every detail band of an orthonormal Haar transform (Mallat 1989).

    Bands are named by scale and by the filter along each axis, L for the sum and H for the difference of two pixels. An axis
    of odd length repeats its last pixel. A coefficient counts with the share of its pixels that lie `inside`.
    """
    features: dict[str, float] = {}
    smooth, weight = image, None if inside is None else inside.astype(np.float64)
    for scale in range(1, scales + 1):
        bands = {"": smooth}
        for axis in range(image.ndim):
            bands = {name + letter: half for name, band in bands.items() for letter, half in _halves(band, axis)}
            weight = None if weight is None else next(_halves(weight, axis))[1] * _R
        smooth = bands.pop("L" * image.ndim)
        for name, band in bands.items():
            features[f"{name}{scale}_rms"] = float(np.average(band**2, weights=weight)) ** 0.5
            features[f"{name}{scale}_mean_absolute"] = float(np.average(np.abs(band), weights=weight))
    return features


def _halves(band: np.ndarray, axis: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield sums and differences of pairs of pixels along an axis, over sqrt(2)."""
    if band.shape[axis] % 2:
        band = np.concatenate([band, np.take(band, [-1], axis=axis)], axis=axis)
    first, second = (band[(slice(None),) * axis + (slice(start, None, 2),)] for start in (0, 1))
    yield "L", (first + second) * _R
    yield "H", (first - second) * _R


def _entropy(share: np.ndarray) -> float:
    """Return the entropy of a distribution in bits."""
    occupied = share[share > 0.0]
    return float(-(occupied * np.log2(occupied)).sum())
