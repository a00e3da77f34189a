"""Masks of synthetic images: whether their shapes occur among real masks, and whether they lie where the image says."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Literal

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, ImageSet, Metric, NotComputable, Quantity

_FEWEST = 10
_PROPERTIES = ("area", "components", "compactness", "elongation", "border", "offset")
_ANGLES = 4096


class MaskPlausibility(Metric):
    """How unlike real masks the synthetic masks are: area, components, compactness, elongation, contact with the border, position.

    Of the foreground (every label above 0, taken together) of each mask that is not empty: area, its share of the image;
    components, the number of parts that touch nowhere, not even at corners; compactness, 4 pi A / P^2 in 2D and the sphericity
    pi^(1/3) (6 V)^(2/3) / S in 3D, 1 for a disc or a ball (P and S by the Cauchy-Crofton formula over the 4 or 13 directions of the
    grid, so they are within a few per cent); elongation, smallest over largest axis of the ellipse of the same second moments;
    border, the share of the image's outermost pixels that it covers; offset, distance of its centroid from the image centre in
    half diagonals. Lengths are in mm. area_gap: Kolmogorov-Smirnov distance, the largest difference between the cumulative
    distributions, of the areas of synthetic and real masks; shape_gap: the mean of that distance over the other five; empty_gap:
    difference of the shares of empty masks; all from 0 to 1, lower is better, above 0 for a perfect generator. implausible_share:
    share of synthetic masks with some property beyond the `tail` or 100 - `tail` percentile of the real ones, or empty where no
    real mask is; real masks have up to 2 x `tail` % beyond in each property, so read it against its real-against-real floor.
    Blind to whether a mask fits its image (`mask_alignment` looks at that) and to which label a region carries.
    """

    name = "mask_plausibility"
    version = "1"
    needs = frozenset({"masks"})
    in_suite = True
    quantities = (
        Quantity(name="area_gap", better="lower", low=0.0, high=1.0, biased_in_n=True, family="distance"),
        Quantity(name="shape_gap", better="lower", low=0.0, high=1.0, biased_in_n=True, family="distance"),
        Quantity(name="empty_gap", better="lower", low=0.0, high=1.0, biased_in_n=True, family="distance"),
        Quantity(name="implausible_share", better="lower", low=0.0, high=1.0, biased_in_n=True, fixed_train=True, family="artefact"),
    )
    blind_to = frozenset({FailureMode.NOISE, FailureMode.BLUR, FailureMode.MASK_MISALIGNMENT})

    tail: float = Field(1.0, gt=0.0, lt=50.0, description="percentage of real masks beyond each bound of a property")
    against: Literal["train", "test"] = "train"

    def describe(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return the six properties of each mask, (N, 6) float32; all are 0 where it is empty."""
        return np.array([mask_properties(mask > 0, images.spacing_mm) for mask in _masks(images)], np.float32).reshape(-1, len(_PROPERTIES))

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float | NotComputable]:
        """Return the three gaps and the share of implausible masks."""
        real, synthetic = _both(comparison, self.against)
        implausible = float(np.mean(excess(synthetic, real, self.tail) > 0.0))
        empty = float(abs(np.mean(synthetic[:, 0] == 0.0) - np.mean(real[:, 0] == 0.0)))
        shaped = [side[side[:, 0] > 0.0] for side in (real, synthetic)]
        gaps: dict[str, float | NotComputable] = {"empty_gap": empty, "implausible_share": implausible}
        few = min(len(side) for side in shaped)
        if few < _FEWEST:
            reason = f"needs {_FEWEST} masks that are not empty on each side, got {len(shaped[0])} real and {len(shaped[1])} synthetic"
            return gaps | {"area_gap": NotComputable(reason), "shape_gap": NotComputable(reason)}
        distances = [kolmogorov_smirnov(a, b) for a, b in zip(shaped[0].T, shaped[1].T, strict=True)]
        return gaps | {"area_gap": distances[0], "shape_gap": float(np.mean(distances[1:]))}

    def per_image(self, comparison: Comparison, context: Context) -> dict[str, np.ndarray]:
        """Return how far each mask is beyond the bounds of the real ones, from 0 (within) to 1."""
        real, synthetic = _both(comparison, self.against)
        return {"implausible_share": excess(synthetic, real, self.tail)}


class MaskAlignment(Metric):
    """How well the masks of synthetic images follow the edges in them, against real pairs of image and mask.

    Per channel two numbers say how the image changes at the border of the mask (every label above 0 is foreground). Contrast:
    the correlation of intensity with the side of the border, d / sqrt(d^2 + 4 s^2), where d is the mean intensity within `band`
    pixels inside the border less that within `band` pixels outside, and s^2 the mean of the two variances. Edge: (b - r) / (b + r),
    where b is the mean gradient magnitude on the pixels next to the border and r that on the rest of the two bands. Both lie
    in [-1, 1] and are 0 on average for a mask that has nothing to do with its image. The real pairs say which of them matter:
    each weighs with its mean over its variance, those whose mean is within three standard errors of 0 are left out, and the
    weighted sum is scaled to a mean of 1 over the real pairs. alignment: its mean over the synthetic pairs; 1 is as good as real,
    0 is no better than chance, higher is better. misaligned_share: share of the synthetic pairs below the 5th percentile of
    the real ones; 0.05 for a perfect generator, from 0 to 1, lower is better. Only masks that are not empty and leave something
    outside count; distances are in pixels of the finest axis. Blind to masks that are wrong where the image has no edge, to an
    empty mask over a lesion, and to whether edges and shapes are realistic: sharper than real passes.
    """

    name = "mask_alignment"
    version = "1"
    needs = frozenset({"masks"})
    in_suite = True
    quantities = (
        Quantity(name="alignment", better="higher"),
        Quantity(name="misaligned_share", better="lower", low=0.0, high=1.0, biased_in_n=True, family="artefact"),
    )
    sees = frozenset({FailureMode.MASK_MISALIGNMENT})
    blind_to = frozenset({FailureMode.MODE_COLLAPSE, FailureMode.MEMORISATION, FailureMode.INTERNAL_DUPLICATION})

    band: float = Field(3.0, ge=2.0, description="width of the bands on both sides of the border, in pixels of the finest axis")
    against: Literal["train", "test"] = "train"

    def describe(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return whether the mask has a border (0 or 1), contrast and edge of each channel, (N, 1 + 2 C) float32."""
        rows = [_border(image, mask > 0, images.spacing_mm, self.band) for image, mask in zip(images.images, _masks(images), strict=True)]
        return np.array(rows, np.float32).reshape(-1, 1 + 2 * images.images.shape[1])

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Return mean alignment and the share of pairs aligned worse than nearly all real ones."""
        real, synthetic = self._scores(comparison)
        synthetic = synthetic[~np.isnan(synthetic)]
        if len(synthetic) < _FEWEST:
            raise NotComputable(f"needs {_FEWEST} synthetic masks with a border, got {len(synthetic)}")
        return {"alignment": float(synthetic.mean()), "misaligned_share": float(np.mean(synthetic < np.percentile(real, 5.0)))}

    def per_image(self, comparison: Comparison, context: Context) -> dict[str, np.ndarray]:
        """Return how far each pair is below the mean of the real ones, in their standard deviations; 0 where there is no border."""
        real, synthetic = self._scores(comparison)
        return {"misaligned_share": np.where(np.isnan(synthetic), 0.0, (real.mean() - synthetic) / real.std(ddof=1))}

    def _scores(self, comparison: Comparison) -> tuple[np.ndarray, np.ndarray]:
        """Return the score of each real pair with a border and of each synthetic pair, NaN where it has none."""
        real, synthetic = _both(comparison, self.against)
        real = real[real[:, 0] == 1.0, 1:]
        if len(real) < _FEWEST:
            raise NotComputable(f"needs {_FEWEST} real masks with a border, got {len(real)}")
        mean, sd = real.mean(axis=0), real.std(axis=0, ddof=1)
        used = (sd > 0.0) & (np.abs(mean) > 3.0 * sd / np.sqrt(len(real)))
        if not used.any():
            raise NotComputable("the real images do not change at the borders of their masks")
        weight = mean[used] / sd[used] ** 2
        weight /= mean[used] @ weight
        scores = np.where(synthetic[:, 0] == 1.0, synthetic[:, 1:][:, used] @ weight, np.nan)
        return real[:, used] @ weight, scores


def _masks(images: ImageSet) -> np.ndarray:
    if images.masks is None:
        raise NotComputable(f"the {images.origin} images have no masks")
    return images.masks


def _both(comparison: Comparison, against: Literal["train", "test"]) -> tuple[np.ndarray, np.ndarray]:
    """Return the descriptions of the real and of the synthetic side, neither of them empty."""
    for role in (against, "synthetic"):
        if not comparison.n(role):
            raise NotComputable(f"there are no {role} images")
    return comparison.features(against), comparison.features("synthetic")


def kolmogorov_smirnov(first: np.ndarray, second: np.ndarray) -> float:
    """Return the largest difference between the cumulative distributions of two samples, (N,) and (M,)."""
    values = np.concatenate([first, second])
    shares = [np.searchsorted(np.sort(side), values, side="right") / len(side) for side in (first, second)]
    return float(np.abs(shares[0] - shares[1]).max())


def excess(synthetic: np.ndarray, real: np.ndarray, tail: float) -> np.ndarray:
    """Return (N,) how far each mask is beyond the real bounds, e / (e + width of the bounds), the largest over its properties.

    The bounds are the `tail` and 100 - `tail` percentiles of the real masks that are not empty. An empty mask is 0 where some
    real mask is empty and 1 where none is.
    """
    shaped, empty = real[real[:, 0] > 0.0], synthetic[:, 0] == 0.0
    when_empty = 0.0 if len(shaped) < len(real) else 1.0
    if not len(shaped):
        return np.where(empty, 0.0, 1.0)
    low, high = np.percentile(shaped, (tail, 100.0 - tail), axis=0)
    beyond = np.maximum(np.maximum(low - synthetic, synthetic - high), 0.0)
    share = np.divide(beyond, beyond + (high - low), out=np.zeros_like(beyond), where=beyond > 0.0)
    return np.where(empty, when_empty, share.max(axis=1))


def mask_properties(inside: np.ndarray, spacing_mm: tuple[float, ...]) -> tuple[float, ...]:
    """Return area share, components, compactness, elongation, border share and offset of a boolean mask; zeros if it is empty."""
    from scipy import ndimage

    points = np.argwhere(inside)
    if not len(points):
        return (0.0,) * len(_PROPERTIES)
    spacing = np.asarray(spacing_mm)
    low, high = points.min(axis=0), points.max(axis=0) + 1
    cropped = inside[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    components = ndimage.label(cropped, structure=np.ones((3,) * inside.ndim))[1]
    volume, surface = len(points) * float(np.prod(spacing)), boundary(cropped, spacing_mm)
    compactness = 4 * np.pi * volume / surface**2 if inside.ndim == 2 else np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / surface
    at = points * spacing
    # A pixel is a box, not a point: its own second moment keeps a single pixel from having no axes.
    moments = np.linalg.eigvalsh(np.cov(at.T, bias=True).reshape(inside.ndim, -1) + np.diag(spacing**2) / 12)
    centre, half = (np.array(inside.shape) - 1) * spacing / 2, np.linalg.norm(np.array(inside.shape) * spacing) / 2
    interior = tuple(slice(1, -1) for _ in inside.shape)
    frame = inside.size - inside[interior].size
    return (
        len(points) / inside.size,
        float(components),
        float(compactness),
        float(np.sqrt(moments[0] / moments[-1])),
        (len(points) - int(inside[interior].sum())) / frame,
        float(np.linalg.norm(at.mean(axis=0) - centre) / half),
    )


def boundary(inside: np.ndarray, spacing_mm: tuple[float, ...]) -> float:
    """Return the perimeter (2D, mm) or surface (3D, mm^2) of a boolean mask; where it ends at the array's edge counts too.

    Cauchy-Crofton: the mean over directions of the number of crossings of lines, per area between lines, is 2 / pi of the
    perimeter or half of the surface (Lehmann & Legland 2012, Insight Journal).
    """
    padded, axes = np.pad(inside, 1), inside.ndim
    total = 0.0
    for step, share in _directions(spacing_mm):
        here = tuple(slice(max(0, -s), -s if s > 0 else None) for s in step)
        there = tuple(slice(max(0, s), s if s < 0 else None) for s in step)
        length = float(np.linalg.norm(np.multiply(step, spacing_mm)))
        total += share * float((padded[here] != padded[there]).sum()) / length
    return total * float(np.prod(spacing_mm)) * (np.pi / 2 if axes == 2 else 2.0)


@cache
def _directions(spacing_mm: tuple[float, ...]) -> tuple[tuple[tuple[int, ...], float], ...]:
    """Return the steps to neighbours, one of each opposite pair, and which share of all directions is nearest to each."""
    axes = len(spacing_mm)
    steps = [s for s in product((-1, 0, 1), repeat=axes) if next((x for x in s if x), 0) > 0]
    lengths = np.array(steps) * np.array(spacing_mm)
    units = lengths / np.linalg.norm(lengths, axis=1, keepdims=True)
    directions = _circle() if axes == 2 else _sphere()
    nearest = np.abs(directions @ units.T).argmax(axis=1)
    shares = np.bincount(nearest, minlength=len(steps)) / _ANGLES
    return tuple((step, float(share)) for step, share in zip(steps, shares, strict=True))


def _circle() -> np.ndarray:
    """Return evenly spaced directions in the plane, (n, 2), half of the circle."""
    angles = np.pi * (np.arange(_ANGLES) + 0.5) / _ANGLES
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _sphere() -> np.ndarray:
    """Return directions in space, (n, 3), each for an equal area of the sphere (Fibonacci lattice)."""
    count = np.arange(_ANGLES) + 0.5
    height, angles = 1 - 2 * count / _ANGLES, np.pi * (1 + 5**0.5) * count
    width = np.sqrt(1 - height**2)
    return np.stack([width * np.cos(angles), width * np.sin(angles), height], axis=1)


def _border(image: np.ndarray, inside: np.ndarray, spacing_mm: tuple[float, ...], band: float) -> list[float]:
    """Return 1, contrast and edge of each channel (C, ...), or zeros where the mask has no border."""
    from scipy import ndimage

    nothing = [0.0] * (1 + 2 * len(image))
    if not inside.any() or inside.all():
        return nothing
    spacing = np.asarray(spacing_mm) / min(spacing_mm)
    reach = [int(np.ceil(band / s)) + 1 for s in spacing]
    points = np.nonzero(inside)
    box = tuple(slice(max(0, int(p.min()) - r), int(p.max()) + 1 + r) for p, r in zip(points, reach, strict=True))
    inside = inside[box]
    # Distance of each pixel to the nearest pixel of the other side.
    depth = np.where(inside, ndimage.distance_transform_edt(inside, spacing), ndimage.distance_transform_edt(~inside, spacing))
    inner, outer, next_to_it = inside & (depth <= band), ~inside & (depth <= band), depth <= 1.0
    rest = (depth <= band) & ~next_to_it
    if not (inner.any() and outer.any() and next_to_it.any() and rest.any()):
        return nothing
    row = [1.0]
    for channel in image:
        intensity = channel[box].astype(np.float64)
        difference = float(intensity[inner].mean() - intensity[outer].mean())
        spread = 2.0 * float(intensity[inner].var() + intensity[outer].var())
        gradient = np.sqrt(sum(g**2 for g in _gradient(intensity, spacing)))
        at_border, elsewhere = float(gradient[next_to_it].mean()), float(gradient[rest].mean())
        row.append(difference / np.sqrt(difference**2 + spread) if difference else 0.0)
        row.append((at_border - elsewhere) / (at_border + elsewhere) if at_border != elsewhere else 0.0)
    return row


def _gradient(intensity: np.ndarray, spacing: np.ndarray) -> list[np.ndarray]:
    """Return the derivative along every axis that has two pixels."""
    return [np.gradient(intensity, s, axis=axis) for axis, s in enumerate(spacing) if intensity.shape[axis] > 1]
