"""Fills lesions with what surrounds them."""

from __future__ import annotations

import math

import numpy as np

from harness.api import ImageSet, NotComputable

from .lesions import box_round, lesion_of, rows_with_lesion

_SMOOTH_PX = 2.0
_RING_PX = 8


def grown_by(lesion: np.ndarray, margin_px: float) -> np.ndarray:
    """Return the lesion, bool, and every pixel within `margin_px` of it (Euclidean, in px)."""
    from scipy.ndimage import distance_transform_edt

    if margin_px == 0.0 or not lesion.any():
        return lesion
    return np.asarray(distance_transform_edt(~lesion)) <= margin_px


def rows_to_fill(images: ImageSet, region: int | None, margin_px: float) -> np.ndarray:
    """Return the images whose lesion and `margin_px` around it leave something to fill from, (K,) int64 rows in rising order.

    Raises `NotComputable` where no image has a lesion, or none that leaves anything.
    """
    around = (math.ceil(margin_px),) * len(images.size_px)

    def leaves(lesion: np.ndarray) -> bool:
        # The box round the lesion answers at once for all but the largest.
        box = tuple(part.stop - part.start for part in box_round(lesion, around))
        return box != lesion.shape or not grown_by(lesion, margin_px).all()

    rows = rows_with_lesion(images, region)
    left = [row for row in rows if leaves(lesion_of(images, row, region))]
    if not left:
        raise NotComputable(f"the lesions with their margin of {margin_px:g} px fill their pictures, so there is nothing to fill from")
    return np.array(left, dtype=np.int64)


def without_lesion(picture: np.ndarray, lesion: np.ndarray, target: np.ndarray, margin_px: float, rng: np.random.Generator) -> np.ndarray:
    """Return a copy of one picture, (C, ...) float32, in which the target is filled from its surroundings.

    lesion: bool, everything that must not show through, the target included. target: bool, the part of it that is filled, with
    margin_px around it, which takes the partial-volume rim away too; the rest of the lesion stays as it is. Coarse structure is
    continued harmonically into the target, fine texture (what a Gaussian of SD 2 px takes away) is mirrored at its edge; where the
    mirror points at no known pixel, it is drawn with `rng` from the ring of 8 px round the lesion. The lesion and its margin must
    leave something to fill from (`rows_to_fill`).
    """
    unknown = grown_by(lesion, margin_px)
    tight = box_round(unknown, (0,) * unknown.ndim)
    depth = min(part.stop - part.start for part in tight) // 2 + 1
    box = box_round(unknown, (_RING_PX + depth,) * unknown.ndim)
    unknown = unknown[box]
    coarse, fine = _split(picture[:, *box].astype(np.float64), ~unknown)
    new = harmonic(coarse, unknown)
    new[:, unknown] += fine.reshape(len(fine), -1)[:, _mirrored(unknown, rng)]
    # Everything unknown is filled before the target is cut out, so that a lesion is filled alike whatever else is removed.
    filled = (grown_by(target, margin_px) & (target | ~lesion))[box]
    result = np.array(picture)
    result[:, *box][:, filled] = np.clip(new[:, filled], 0.0, 1.0)
    return result


def harmonic(values: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Return a copy of values, (C, ...) float64, whose unknown pixels (bool) solve Laplace's equation between the known ones.

    Each unknown pixel is the mean of its direct neighbours; across the array's border nothing flows. Solved by conjugate
    gradients to a relative residual of 1e-6. At least one pixel must be known.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.linalg import cg

    count = int(np.count_nonzero(unknown))
    number = np.full(unknown.shape, -1, dtype=np.int64)
    number[unknown] = np.arange(count)
    # The unknowns are the deviations from the mean of the known pixels, so that flat surroundings need no iteration.
    level = values[:, ~unknown].mean(axis=1)
    deviation = values - level.reshape(-1, *(1,) * unknown.ndim)
    degree, right = np.zeros(count), np.zeros((len(values), count))
    links = []
    for axis in range(unknown.ndim):
        ahead = tuple(slice(1, None) if a == axis else slice(None) for a in range(unknown.ndim))
        behind = tuple(slice(None, -1) if a == axis else slice(None) for a in range(unknown.ndim))
        for here, there in ((ahead, behind), (behind, ahead)):
            mine, other = number[here], number[there]
            degree += np.bincount(mine[mine >= 0], minlength=count)
            border = (mine >= 0) & (other < 0)
            for channel, known in enumerate(deviation):
                right[channel] += np.bincount(mine[border], weights=known[there][border], minlength=count)
            both = (mine >= 0) & (other >= 0)
            links.append((mine[both], other[both]))
    rows, columns = (np.concatenate([np.arange(count), *(pair[i] for pair in links)]) for i in (0, 1))
    entries = np.concatenate([degree, -np.ones(len(rows) - count)])
    system = coo_array((entries, (rows, columns)), shape=(count, count)).tocsr()
    result = values.copy()
    for channel in range(len(values)):
        solution, left = cg(system, right[channel], rtol=1e-6)
        assert left == 0, "conjugate gradients converge on a positive definite system"
        result[channel, unknown] = solution + level[channel]
    return result


def _split(values: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the coarse and the fine part of the known pixels, both (C, ...) and 0 elsewhere.

    The fine part is cut off at 3 robust standard deviations (1.4826 x the median absolute value) of the ring of 8 px round the
    unknown, so that edges nearby, such as that of the skull, do not become texture.
    """
    from scipy.ndimage import gaussian_filter

    weight = np.asarray(gaussian_filter(known.astype(np.float64), _SMOOTH_PX))
    ring = _ring(known)
    coarse, fine = np.zeros_like(values), np.zeros_like(values)
    for channel, picture in enumerate(values):
        total = np.asarray(gaussian_filter(np.where(known, picture, 0.0), _SMOOTH_PX))
        coarse[channel, known] = total[known] / weight[known]
        rest = np.where(known, picture - coarse[channel], 0.0)
        limit = 3.0 * 1.4826 * np.median(np.abs(rest[ring]))
        fine[channel] = np.clip(rest, -limit, limit)
    return coarse, fine


def _ring(known: np.ndarray) -> np.ndarray:
    """Return the known pixels, bool, within 8 px of an unknown one."""
    from scipy.ndimage import distance_transform_edt

    return known & (np.asarray(distance_transform_edt(known)) <= _RING_PX)


def _mirrored(unknown: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return for each unknown pixel, (P,) flat indices, the known one that lends its texture: the mirror image in the nearest one."""
    from scipy.ndimage import distance_transform_edt

    _, nearest = distance_transform_edt(unknown, return_indices=True)
    own = np.stack(np.nonzero(unknown))
    mirror = 2 * np.asarray(nearest)[:, unknown].astype(np.int64) - own
    size = np.array(unknown.shape).reshape(-1, 1)
    inside = np.clip(mirror, 0, size - 1)
    usable = (inside == mirror).all(axis=0) & ~unknown[tuple(inside)]
    ring = np.stack(np.nonzero(_ring(~unknown)))
    drawn = ring[:, rng.integers(ring.shape[1], size=own.shape[1])]
    return np.asarray(np.ravel_multi_index(tuple(np.where(usable, mirror, drawn)), unknown.shape))
