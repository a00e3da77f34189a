"""Masks of every quality: the true mask and what a segmenter found, spoiled so that their Dice covers the range from 0 to 1."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..tasks.overlap import dice

LEVELS = 10


def graded(truth: np.ndarray, own: np.ndarray, candidates: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return ten of so many spoiled masks, those whose Dice with `truth` is nearest to 0.05, 0.15 ... 0.95; all are booleans.

    Where there is nothing to find Dice is 1 or 0: five empty masks and five with false parts.
    """
    if not truth.any():
        wrong = [_with_balls(truth, 0.1 * max(truth.shape), rng, value=True) for _ in range(LEVELS // 2)]
        return [truth] * (LEVELS - len(wrong)) + wrong
    bases = [(mask, signed_depth(mask)) for mask in (truth, own)]
    made = [np.zeros_like(truth), *(_spoil(*bases[k % 2], rng) for k in range(candidates - 1))]
    distance = np.array([dice(mask, truth) for mask in made])
    chosen, free = [], np.ones(len(made), bool)
    for level in (np.arange(LEVELS) + 0.5) / LEVELS:
        k = int(np.where(free, np.abs(distance - level), np.inf).argmin())
        free[k] = False
        chosen.append(made[k])
    return chosen


def signed_depth(mask: np.ndarray) -> np.ndarray:
    """Return the distance of every pixel to the edge of a mask, px, positive inside; minus infinity where the mask is empty."""
    if not mask.any():
        return np.full(mask.shape, -np.inf)
    inside = ndimage.distance_transform_edt(np.pad(mask, 1))[(slice(1, -1),) * mask.ndim]
    return np.asarray(inside - ndimage.distance_transform_edt(~mask))


def _spoil(mask: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a mask with one defect drawn at random, and half of the time holes or false parts besides."""
    if not mask.any():
        return _with_balls(mask, 0.1 * max(mask.shape), rng, value=True)
    spoiled = _DEFECTS[int(rng.integers(len(_DEFECTS)))](mask, depth, rng)
    return _with_balls(spoiled, float(depth.max()), rng, value=bool(rng.random() < 0.5)) if rng.random() < 0.5 else spoiled


def _eroded(mask: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(depth > rng.uniform(0.0, 1.0) * depth.max())


def _dilated(mask: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(depth > -rng.uniform(0.0, 2.0) * depth.max())


def _with_noisy_boundary(mask: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = _smooth(mask.shape, rng.uniform(0.01, 0.08) * max(mask.shape), rng)
    return np.asarray(depth + rng.uniform(0.0, 2.0) * depth.max() * noise > 0.0)


def _shifted(mask: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    direction = rng.standard_normal(mask.ndim)
    shift = rng.uniform(0.0, 2.5) * depth.max() * direction / np.linalg.norm(direction)
    return np.asarray(ndimage.shift(mask.astype(np.uint8), np.rint(shift), order=0) > 0)


def _deformed(mask: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    amplitude, smoothness = rng.uniform(0.0, 2.0) * depth.max(), 0.1 * max(mask.shape)
    at = [grid + amplitude * _smooth(mask.shape, smoothness, rng) for grid in np.indices(mask.shape)]
    return np.asarray(ndimage.map_coordinates(mask.astype(np.uint8), at, order=0) > 0)


def _without_parts(mask: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the mask without some of its components; of a single one, what lies beyond a plane goes."""
    components, n = ndimage.label(mask)
    if n > 1:
        lost = rng.permutation(n)[: rng.integers(1, n)] + 1
        return mask & ~np.isin(components, lost)
    at = np.tensordot(rng.standard_normal(mask.ndim), np.indices(mask.shape), axes=1)
    return np.asarray(mask & (at <= np.quantile(at[mask], rng.uniform(0.0, 1.0))))


def _with_holes(mask: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _with_balls(mask, float(depth.max()), rng, value=False)


_DEFECTS = (_eroded, _dilated, _with_noisy_boundary, _shifted, _deformed, _without_parts, _with_holes)


def _with_balls(mask: np.ndarray, radius: float, rng: np.random.Generator, *, value: bool) -> np.ndarray:
    """Return the mask with up to four balls of up to `radius` px set: holes within it, or false parts anywhere."""
    found = mask.copy()
    places = np.argwhere(mask) if not value and mask.any() else np.argwhere(np.ones(mask.shape, bool))
    grid = np.indices(mask.shape)
    for centre in places[rng.integers(len(places), size=rng.integers(1, 5))]:
        away = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))
        found[away <= (rng.uniform(0.2, 1.0) * radius) ** 2] = value
    return found


def _smooth(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Return smooth noise with a standard deviation of 1."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return np.asarray(noise / max(float(noise.std()), 1e-12))
