"""How well a region that was found agrees with the true one: Dice, 95th percentile Hausdorff distance and surface Dice."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import ndimage

Empty = Literal["one", "masked"]
_PERCENTILE = 95.0
# A distance of three pixels of 0.1 mm is 0.30000000000000004 mm; it must not exceed a tolerance of 0.3 mm.
_ROUNDING = 1.0 + 1e-9


def agreement(
    found: np.ndarray, truth: np.ndarray, spacing_mm: tuple[float, ...], tolerance_mm: float, empty: Empty = "one"
) -> dict[str, float]:
    """Return `dice`, `hd95` (mm) and `surface_dice` of two boolean regions of one shape; NaN where one has no value.

    empty: what a region that the truth lacks is worth. "one": Dice and surface Dice are 1 where nothing was found either, else 0
    (as in the BraTS challenges); "masked": no value. A region that was missed altogether has Dice and surface Dice 0. Where either
    is empty there is no distance, whatever the policy.
    """
    if empty == "masked" and not truth.any():
        return dict.fromkeys(("dice", "hd95", "surface_dice"), float("nan"))
    away = surface_distances(found, truth, spacing_mm)
    return {"dice": dice(found, truth), "hd95": _hd95(*away), "surface_dice": _surface_dice(*away, tolerance_mm)}


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    """Return 2 |A and B| / (|A| + |B|) of two boolean regions (Dice, Ecology 26, 1945): 1 where both are empty, 0 where one is."""
    together = int(found.sum()) + int(truth.sum())
    return 2.0 * int((found & truth).sum()) / together if together else 1.0


def hd95(found: np.ndarray, truth: np.ndarray, spacing_mm: tuple[float, ...]) -> float:
    """Return the larger of the two directed 95th percentiles of surface distances, mm; NaN where a region is empty.

    Maier-Hein et al., Nature Methods 21, 2024.
    """
    return _hd95(*surface_distances(found, truth, spacing_mm))


def surface_dice(found: np.ndarray, truth: np.ndarray, spacing_mm: tuple[float, ...], tolerance_mm: float) -> float:
    """Return the share of the pixels of both surfaces that lie within `tolerance_mm` of the other surface: 0 to 1.

    The normalised surface Dice (Nikolov et al., JMIR 23, 2021), with pixels of the surface counted as in Metrics Reloaded
    (Maier-Hein et al., Nature Methods 21, 2024) rather than pieces of area. 1 where both regions are empty, 0 where one is.
    """
    return _surface_dice(*surface_distances(found, truth, spacing_mm), tolerance_mm)


def surface_distances(found: np.ndarray, truth: np.ndarray, spacing_mm: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance in mm from each surface pixel of `found` to the nearest of `truth`, and the other way round.

    found, truth: (H, W) or (D, H, W) booleans. A surface pixel has a neighbour, across a face, outside the region or outside the
    image. From or to an empty region there are no distances: that of an empty region has no entries, that to one infinite ones.
    """
    if not (found.any() or truth.any()):
        return np.empty(0), np.empty(0)
    # Cut to what holds both regions: outside there is no surface, and a distance transform of less is faster.
    box = ndimage.find_objects((found | truth).astype(np.uint8))[0]
    one, other = (region & ~ndimage.binary_erosion(region) for region in (found[box], truth[box]))
    return _nearest(one, other, spacing_mm), _nearest(other, one, spacing_mm)


def _nearest(surface: np.ndarray, other: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Return the distance of every pixel of one surface to the nearest of the other, mm, in array order."""
    if not other.any():
        return np.full(int(surface.sum()), np.inf)
    return np.asarray(ndimage.distance_transform_edt(~other, sampling=spacing_mm)[surface])


def _hd95(there: np.ndarray, back: np.ndarray) -> float:
    if not (len(there) and len(back)):
        return float("nan")
    return max(float(np.percentile(away, _PERCENTILE)) for away in (there, back))


def _surface_dice(there: np.ndarray, back: np.ndarray, tolerance_mm: float) -> float:
    away = np.concatenate([there, back])
    return float(np.mean(away <= tolerance_mm * _ROUNDING)) if len(away) else 1.0
