"""Facts about the shapes of masks and about how they follow the images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation
from scipy.stats import ks_2samp

from harness.api import Comparison, Context, ImageSet, Metric, NotComputable
from harness.testing import check, phantoms
from harness_plugins.metrics.masks import MaskAlignment, MaskPlausibility, boundary, excess, kolmogorov_smirnov, mask_properties

CONTEXT = Context(seed=0, workdir=Path())
SKIMAGE_PERIMETER = 491.59830516262326


def ellipsoid(size: tuple[int, ...], radii: tuple[float, ...], spacing_mm: tuple[float, ...] | None = None) -> np.ndarray:
    """Return an ellipse or ellipsoid of these radii (mm) in the middle of the field."""
    spacing = spacing_mm or (1.0,) * len(size)
    at = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * s for n, s in zip(size, spacing, strict=True)), indexing="ij")
    return np.asarray(sum((a / r) ** 2 for a, r in zip(at, radii, strict=True)) <= 1.0)


def compared(metric: Metric, real: ImageSet, synthetic: ImageSet, test: ImageSet | None = None) -> Comparison:
    """Return the comparison as the host makes it: every side with its description."""
    train, test, synthetic = (x.with_features(metric.describe(x, CONTEXT)) for x in (real, real if test is None else test, synthetic))
    return Comparison(train, test, synthetic)


def measured(metric: Metric, real: ImageSet, synthetic: ImageSet) -> dict[str, Any]:
    """Return what the metric finds."""
    return dict(metric.measure(compared(metric, real, synthetic), CONTEXT))


def pairs(masks: np.ndarray, seed: int = 0) -> ImageSet:
    """Return noisy images that are brighter inside their masks."""
    rng = np.random.default_rng(seed)
    images = np.clip(0.3 + 0.2 * masks + rng.normal(0, 0.1, masks.shape), 0, 1)[:, None].astype(np.float32)
    return ImageSet(images, tuple(f"i{k}" for k in range(len(masks))), (1.0,) * (masks.ndim - 1), masks=masks.astype(np.uint8))


@pytest.mark.parametrize("metric", [MaskPlausibility, MaskAlignment])
@pytest.mark.parametrize("size", [(32, 32), (12, 9, 11)])
def test_conforms(metric: Any, size: tuple[int, ...]) -> None:
    """It keeps the promises that every author's metric must keep, in 2D and 3D."""
    check(metric, size_px=size)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 0.5), (2.0, 1.0)])
def test_perimeter_of_a_disc(spacing: tuple[float, ...]) -> None:
    """The perimeter of a disc is 2 pi r within 3 %, on coarse, fine and uneven grids."""
    disc = ellipsoid((101, 101), (20.0, 20.0), spacing)
    assert boundary(disc, spacing) == pytest.approx(2 * np.pi * 20, rel=0.03)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0)])
def test_surface_of_a_ball(spacing: tuple[float, ...]) -> None:
    """The surface of a ball is 4 pi r^2 within 3 %, with thick slices too."""
    ball = ellipsoid((41, 41, 41), (15.0, 15.0, 15.0), spacing)
    assert boundary(ball, spacing) == pytest.approx(4 * np.pi * 15**2, rel=0.03)


def test_perimeter_is_that_of_scikit_image() -> None:
    """The perimeter of a random blob is perimeter_crofton(directions=4) of scikit-image 0.26.0."""
    blob = np.random.default_rng(3).random((24, 30)) > 0.55
    assert boundary(blob, (1.0, 1.0)) == pytest.approx(SKIMAGE_PERIMETER, rel=1e-3)


def test_properties_of_known_shapes() -> None:
    """Area, compactness, elongation and offset of an ellipse are those of geometry; touching and parts are counted."""
    area, parts, compactness, elongation, border, offset = mask_properties(ellipsoid((101, 121), (20.0, 40.0)), (1.0, 1.0))
    assert area == pytest.approx(np.pi * 20 * 40 / (101 * 121), rel=0.01)
    assert compactness == pytest.approx(4 * np.pi * np.pi * 20 * 40 / 193.77**2, rel=0.03)
    assert (parts, border) == (1.0, 0.0)
    assert elongation == pytest.approx(0.5, abs=0.01)
    assert offset == pytest.approx(0.0, abs=1e-9)
    corner = np.zeros((10, 10), bool)
    corner[:2, :5] = corner[2, 5] = corner[8, 8] = True
    area, parts, _, _, border, offset = mask_properties(corner, (1.0, 1.0))
    assert (area, parts) == (0.12, 2.0)
    assert border == 6 / 36
    assert offset > 0.3
    ball = mask_properties(ellipsoid((21, 41, 41), (15.0, 15.0, 15.0), (2.0, 1.0, 1.0)), (2.0, 1.0, 1.0))
    assert ball[2] == pytest.approx(1.0, abs=0.05)
    assert ball[3] == pytest.approx(1.0, abs=0.02)


def test_tiny_and_empty_masks() -> None:
    """One pixel has finite properties, in 2D and 3D and in an image of one pixel; no pixel has zeros."""
    for size in ((1, 1), (5, 5), (3, 3, 3)):
        one = np.zeros(size, bool)
        one[(size[0] // 2,) * len(size)] = True
        assert np.isfinite(mask_properties(one, (1.0,) * len(size))).all()
        assert mask_properties(one, (1.0,) * len(size))[3] == pytest.approx(1.0)
    assert mask_properties(np.zeros((4, 4), bool), (1.0, 1.0)) == (0.0,) * 6


def test_kolmogorov_smirnov_is_scipys() -> None:
    """The distance agrees with scipy's two-sample statistic, ties included."""
    rng = np.random.default_rng(4)
    a, b = rng.integers(0, 9, 50).astype(float), rng.integers(2, 12, 30).astype(float)
    assert kolmogorov_smirnov(a, b) == pytest.approx(ks_2samp(a, b).statistic)


def test_excess_of_bounds() -> None:
    """Within the bounds 0, a width beyond them 1/2, beyond a bound without width 1; empty masks by whether real ones are."""
    real = np.array([[0.1, 1.0], [0.2, 1.0], [0.3, 1.0]])
    low, high = np.percentile(real[:, 0], (1, 99))
    asked = np.array([[0.2, 1.0], [2 * high - low, 1.0], [0.2, 2.0], [0.0, 0.0]])
    np.testing.assert_allclose(excess(asked, real, 1.0), [0.0, 0.5, 1.0, 1.0])
    np.testing.assert_allclose(excess(asked, np.vstack([real, [[0.0, 0.0]]]), 1.0)[-1], 0.0)
    np.testing.assert_allclose(excess(asked, np.zeros((2, 2)), 1.0), [1.0, 1.0, 1.0, 0.0])


def test_implausible_masks_are_found() -> None:
    """Specks, holes in the field's corner and whole images are implausible; other phantoms seldom are."""
    real, other = phantoms(60, seed=1), phantoms(30, seed=2)
    assert other.masks is not None
    honest = measured(MaskPlausibility(), real, other)
    assert honest["implausible_share"] < 0.25
    specks = other.masks | (np.random.default_rng(0).random(other.masks.shape) < 0.01).astype(np.uint8)
    found = measured(MaskPlausibility(), real, replace(other, masks=specks))
    assert found["implausible_share"] == 1.0
    assert found["shape_gap"] > honest["shape_gap"] + 0.2
    grown = np.array([binary_dilation(m, iterations=4) for m in other.masks]).astype(np.uint8)
    assert measured(MaskPlausibility(), real, replace(other, masks=grown))["area_gap"] > honest["area_gap"] + 0.3
    comparison = compared(MaskPlausibility(), real, replace(other, masks=np.concatenate([specks[:5], other.masks[5:]])))
    blamed = MaskPlausibility().per_image(comparison, CONTEXT)["implausible_share"]
    assert np.min(blamed[:5]) > np.median(blamed[5:])


def test_empty_masks_are_legal() -> None:
    """Where real masks are empty, empty ones are plausible, and a gap of their shares is told."""
    real, other = phantoms(30, seed=3), phantoms(30, seed=4)
    assert real.masks is not None
    assert other.masks is not None
    with_empty = replace(real, masks=real.masks * (np.arange(30) % 3 > 0)[:, None, None].astype(np.uint8))
    all_empty = replace(other, masks=np.zeros_like(other.masks))
    found = measured(MaskPlausibility(), with_empty, all_empty)
    assert found["empty_gap"] == pytest.approx(2 / 3)
    assert found["implausible_share"] == 0.0
    assert "needs 10 masks that are not empty on each side, got 20 real and 0 synthetic" in str(found["area_gap"])
    assert measured(MaskPlausibility(), real, all_empty)["implausible_share"] == 1.0


def test_regions_count_as_one_foreground() -> None:
    """Masks with several labels are described by all that is not background."""
    real = phantoms(12, seed=5)
    assert real.masks is not None
    labels = replace(real, masks=real.masks * (1 + np.arange(48, dtype=np.uint8) % 3))
    for metric in (MaskPlausibility(), MaskAlignment()):
        np.testing.assert_array_equal(metric.describe(labels, CONTEXT), metric.describe(real, CONTEXT))


@pytest.mark.parametrize("axes", [2, 3])
def test_alignment_falls_with_shift(axes: int) -> None:
    """Real pairs have alignment near 1; the further masks are shifted, the lower it is, down to about 0; swapped ones too."""
    rng = np.random.default_rng(6)
    size = (18,) * axes
    at = np.indices(size)
    centres = rng.uniform(6, 12, (40, axes))
    masks = np.array([sum((a - c) ** 2 for a, c in zip(at, centre, strict=True)) < 20 for centre in centres])
    real, other = pairs(masks[:20], 1), pairs(masks[20:], 2)
    assert other.masks is not None
    values = [measured(MaskAlignment(), real, replace(other, masks=np.roll(other.masks, k, axis=axes))) for k in (0, 2, 4, 7)]
    aligned = [v["alignment"] for v in values]
    assert aligned[0] == pytest.approx(1.0, abs=0.15)
    assert aligned == sorted(aligned, reverse=True)
    assert aligned[-1] < 0.2
    assert values[0]["misaligned_share"] < 0.3
    assert values[-1]["misaligned_share"] == 1.0
    swapped = measured(MaskAlignment(), real, replace(other, masks=np.roll(other.masks, 1, axis=0)))
    assert swapped["alignment"] < 0.8


def test_dark_lesions_and_colour() -> None:
    """Masks over dark lesions align as those over bright ones do, and channels of noise do not count."""
    masks = np.array([ellipsoid((24, 24), (6.0, r)) for r in np.linspace(4, 9, 40)])
    bright = pairs(masks)
    noise = np.random.default_rng(7).random((40, 2, 24, 24)).astype(np.float32)
    dark = replace(bright, images=np.concatenate([1 - bright.images, noise], axis=1))
    shifted = np.roll(masks, 5, axis=2).astype(np.uint8)
    for images in (bright, dark):
        assert measured(MaskAlignment(), images, images)["alignment"] == pytest.approx(1.0)
        assert measured(MaskAlignment(), images, replace(images, masks=shifted))["alignment"] < 0.4


def test_blamed_are_the_misaligned() -> None:
    """Shifted masks are blamed most; a pair without a border is not blamed."""
    masks = np.array([ellipsoid((24, 24), (6.0, r)) for r in np.linspace(4, 9, 40)]).astype(np.uint8)
    mixed = masks.copy()
    mixed[:5], mixed[5] = np.roll(masks[:5], 8, axis=2), 0
    comparison = compared(MaskAlignment(), pairs(masks), replace(pairs(masks, 1), masks=mixed))
    blamed = MaskAlignment().per_image(comparison, CONTEXT)["misaligned_share"]
    assert blamed[:5].min() > blamed[5:].max()
    assert blamed[5] == 0.0


def test_flat_images_have_no_contrast() -> None:
    """Images of one value, masks that fill the image and images of one pixel are described by zeros, and are no number."""
    masks = np.array([ellipsoid((12, 12), (4.0, 4.0))] * 12).astype(np.uint8)
    flat = replace(pairs(masks), images=np.full((12, 1, 12, 12), 0.5, np.float32))
    np.testing.assert_array_equal(MaskAlignment().describe(flat, CONTEXT), [[1.0, 0.0, 0.0]] * 12)
    with pytest.raises(NotComputable, match="do not change at the borders"):
        measured(MaskAlignment(), flat, flat)
    for full in (pairs(np.ones((12, 12, 12), np.uint8)), pairs(np.ones((12, 1, 1), np.uint8))):
        np.testing.assert_array_equal(MaskAlignment().describe(full, CONTEXT), [[0.0, 0.0, 0.0]] * 12)
        with pytest.raises(NotComputable, match="needs 10 real masks with a border, got 0"):
            measured(MaskAlignment(), full, full)


def test_bad_input() -> None:
    """No masks, one image, an empty test set: each is a reason."""
    real = phantoms(24, seed=8)
    with pytest.raises(NotComputable, match="the real images have no masks"):
        MaskPlausibility().describe(replace(real, masks=None), CONTEXT)
    with pytest.raises(NotComputable, match="needs 10 synthetic masks with a border, got 1"):
        measured(MaskAlignment(), real, real.take([0]))
    assert "got 24 real and 1 synthetic" in str(measured(MaskPlausibility(), real, real.take([0]))["area_gap"])
    for metric in (MaskPlausibility(against="test"), MaskAlignment(against="test")):
        with pytest.raises(NotComputable, match="there are no test images"):
            metric.measure(compared(metric, real, real, real.take([])), CONTEXT)


@pytest.mark.parametrize("metric", [MaskPlausibility(), MaskAlignment()])
def test_deterministic_and_indifferent_to_order(metric: Metric) -> None:
    """Repeats agree exactly; another order of the images gives the same numbers, and identical sets no gap."""
    real, other = phantoms(24, seed=9), phantoms(18, seed=10)
    first = measured(metric, real, other)
    assert measured(metric, real, other) == first
    assert measured(metric, real.take(np.arange(24)[::-1]), other.take(np.arange(18)[::-1])) == pytest.approx(first)
    same = measured(metric, real, real)
    assert same.get("area_gap", 0.0) == same.get("shape_gap", 0.0) == 0.0
    assert same.get("alignment", 1.0) == pytest.approx(1.0)


def test_real_ultrasound(real_data: Path) -> None:
    """On breast ultrasound, shifting the masks by 4 and 16 of 96 pixels lowers alignment step by step; swapping ends it."""
    files = sorted(f for f in (real_data / "us_busi_masks").rglob("*.png") if "mask" not in f.name and "normal" not in f.name)
    pictures = [(Image.open(f).convert("L"), Image.open(f.with_name(f"{f.stem}_mask.png")).convert("L")) for f in files]
    images = np.stack([np.asarray(image.resize((96, 96)), np.float32) / 255 for image, _ in pictures])[:, None]
    masks = np.stack([np.asarray(mask.resize((96, 96)), np.uint8) > 127 for _, mask in pictures]).astype(np.uint8)
    whole = ImageSet(images, tuple(f.stem for f in files), (1.0, 1.0), masks=masks)
    real, other = whole.take(np.arange(0, len(files), 2)), whole.take(np.arange(1, len(files), 2))
    assert other.masks is not None
    shifted = [np.roll(other.masks, k, axis=2) for k in (0, 4, 16)]
    values = [measured(MaskAlignment(), real, replace(other, masks=m))["alignment"] for m in (*shifted, np.roll(other.masks, 7, axis=0))]
    assert values[0] > 0.75
    assert values[1] < 0.6 * values[0]
    assert abs(values[2]) < 0.2
    assert abs(values[3]) < 0.2
