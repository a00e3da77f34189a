"""Facts about blurred lesion edges."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.ndimage import distance_transform_edt, gaussian_filter

from harness.api import Context, ImageSet
from harness_plugins.perturbations.boundary_blur import BoundaryBlur
from lesion_pictures import ball, lesion_set


def applied(images: ImageSet, severity: float, folder: Path, **options: Any) -> ImageSet:
    """Images with blurred edges."""
    return BoundaryBlur(**options).apply(images, images, severity, Context(seed=0, workdir=folder))


@pytest.mark.parametrize(("size", "outside"), [((48, 56), False), ((48, 56), True), ((24, 30, 32), False)])
def test_band_is_filtered_and_nothing_else(size: tuple[int, ...], outside: bool, tmp_path: Path) -> None:
    """Within the band each pixel is that of the filtered whole picture, elsewhere that of the picture."""
    images = lesion_set(2, size, empty=(1,), noise=0.05)
    assert images.masks is not None
    lesion = images.masks[0] > 0
    band = lesion & (distance_transform_edt(lesion) <= 3)
    if outside:
        band |= ~lesion & (distance_transform_edt(~lesion) <= 3)
    blurred = applied(images, 0.5, tmp_path, sigma_at_full=2.0, band=2.5, outside=outside).images[0, 0]
    np.testing.assert_allclose(blurred[band], gaussian_filter(images.images[0, 0], 1.0)[band], atol=1e-5)
    np.testing.assert_array_equal(blurred[~band], images.images[0, 0][~band])


def test_edges_become_flatter_with_the_dose(tmp_path: Path) -> None:
    """The mean gradient magnitude across the lesion's edge falls with every dose, to less than half; the mask stays."""
    images = lesion_set(1, (64, 64), empty=(), noise=0.0)
    assert images.masks is not None
    edge = (distance_transform_edt(images.masks[0]) == 1.0) | (distance_transform_edt(1 - images.masks[0]) == 1.0)

    def steepness(severity: float) -> float:
        picture = applied(images, severity, tmp_path, outside=True).images[0, 0]
        return float(np.hypot(*np.gradient(picture))[edge].mean())

    values = [steepness(s) for s in (0.0, 1 / 3, 2 / 3, 1.0)]
    assert values[0] > values[1] > values[2] > values[3]
    assert values[3] < 0.5 * values[0]


def test_doses_are_the_sigmas_of_the_paper() -> None:
    """The default doses are standard deviations of 1, 2 and 3 px."""
    blur = BoundaryBlur()
    assert [dose * blur.sigma_at_full for dose in blur.doses] == pytest.approx([1.0, 2.0, 3.0])


def test_millimetres_follow_the_spacing(tmp_path: Path) -> None:
    """At a spacing of 0.5 mm, 1 mm of blur in a band of 1.5 mm is 2 px of blur in a band of 3 px."""
    images = lesion_set(2)
    fine = replace(images, spacing_mm=(0.5, 0.5))
    mm = applied(fine, 1.0, tmp_path, sigma_at_full=1.0, band=1.75, unit="mm").images
    np.testing.assert_allclose(mm, applied(images, 1.0, tmp_path, sigma_at_full=2.0, band=3.5).images, atol=1e-6)


def test_lesion_at_the_border_has_no_edge_there(tmp_path: Path) -> None:
    """A pixel at the picture's border, deep in a lesion that is cut off by it, is not in the band."""
    images = lesion_set(1, (40, 40), empty=(), noise=0.05)
    images = replace(images, masks=ball((40, 40), (20, 0), 15.0).astype(np.uint8)[None])
    blurred = applied(images, 1.0, tmp_path)
    assert blurred.images[0, 0, 20, 0] == images.images[0, 0, 20, 0]
    assert blurred.images[0, 0, 20, 13] != images.images[0, 0, 20, 13]


def test_lengths_must_be_positive() -> None:
    """A band or a sigma of nothing is refused."""
    for options in ({"band": 0.0}, {"sigma_at_full": 0.0}, {"unit": "cm"}, {"region": 0}):
        with pytest.raises(ValidationError):
            BoundaryBlur(**options)
