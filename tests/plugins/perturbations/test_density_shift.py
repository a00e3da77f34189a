"""Facts about groups that become dominant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Context, ImageSet, NotComputable
from harness.testing import check
from harness_plugins.perturbations.density_shift import DensityShift


def applied(images: ImageSet, severity: float, tmp_path: Path, seed: int = 0, **options: Any) -> ImageSet:
    """Images of which one group is dominant."""
    return DensityShift(**options).apply(images, images, severity, Context(seed=seed, workdir=tmp_path))


def share(images: ImageSet, value: str, name: str = "scanner") -> float:
    """Share of images with this value."""
    return float((images.groups[name] == value).mean())


@pytest.fixture
def images(picture_set: Callable[..., ImageSet]) -> ImageSet:
    """Return 72 images, every other one of each of two scanners."""
    return picture_set(72, (8, 8), groups={"scanner": np.array(["intera", "gyroscan"] * 36)})


def test_conforms() -> None:
    """The conformance tests pass."""
    check(DensityShift)


@pytest.mark.parametrize("towards", ["intera", "gyroscan"])
@pytest.mark.parametrize(("severity", "expected", "left"), [(0.2, 0.6, 60), (0.5, 0.75, 48), (0.8, 0.9, 40), (1.0, 1.0, 36)])
def test_settings_of_the_paper(images: ImageSet, tmp_path: Path, towards: str, severity: float, expected: float, left: int) -> None:
    """From 50-50 come 75-25 and 90-10 in favour of either scanner, by dropping images of the other."""
    result = applied(images, severity, tmp_path, towards=towards)
    assert share(result, towards) == pytest.approx(expected)
    assert len(result) == left
    assert (result.groups["scanner"] == towards).sum() == 36


def test_largest_group_is_the_default(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Without `towards` the most frequent value becomes dominant, of equals the first by name."""
    images = picture_set(30, (8, 8), groups={"site": np.array(["c"] * 12 + ["b"] * 9 + ["a"] * 9)})
    assert share(applied(images, 1.0, tmp_path), "c", "site") == 1.0
    assert share(applied(images.take(np.arange(12, 30)), 1.0, tmp_path), "a", "site") == 1.0
    # From 12 of 30, or 0.4, severity 0.5 leads to 0.7: 12 of 17.
    assert len(applied(images, 0.5, tmp_path)) == 17


def test_numbers_are_values_too(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Groups of numbers are named by their words."""
    images = picture_set(20, (8, 8), groups={"tesla": np.array([1, 3] * 10)})
    assert set(applied(images, 1.0, tmp_path, towards="3").groups["tesla"]) == {3}


def test_images_left_are_untouched(images: ImageSet, tmp_path: Path) -> None:
    """What is left is a part of the set, in its order, with all that is known."""
    result = applied(images, 0.5, tmp_path)
    rows = [images.ids.index(i) for i in result.ids]
    assert rows == sorted(rows)
    assert result.sha256 == images.take(rows).sha256


def test_doses_are_nested(images: ImageSet, tmp_path: Path) -> None:
    """Under one seed a higher dose drops what a lower one drops, and more."""
    kept = [set(applied(images, severity, tmp_path).ids) for severity in (0.2, 0.5, 0.8, 1.0)]
    assert all(few > many for few, many in pairwise(kept))


def test_seeds_are_honoured(images: ImageSet, tmp_path: Path) -> None:
    """One seed drops the same images again, another seed others."""
    first, again, other = (applied(images, 0.5, tmp_path, seed).ids for seed in (1, 1, 2))
    assert first == again != other


def test_volumes_of_two_channels(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Volumes are dropped like images."""
    images = picture_set(12, (6, 7, 8), 2, groups={"site": np.array(["a", "b"] * 6)})
    assert len(applied(images, 0.5, tmp_path)) == 8


def test_bad_input(images: ImageSet, tmp_path: Path) -> None:
    """Each lack is a reason that names what there is; a shift too small for one image changes nothing."""
    two = replace(images, groups={**images.groups, "site": np.array(["x", "y", "z"] * 24)})
    assert applied(images, 0.005, tmp_path) is images
    for wrong, options, words in (
        (replace(images, groups=None), {}, "needs groups"),
        (two, {}, r"several groups \(scanner, site\): say `by`"),
        (two, {"by": "sex"}, "no group 'sex', only scanner, site"),
        (two, {"by": "site", "towards": "w"}, "no image has the site 'w', only x, y, z"),
        (images.take(np.arange(0, 72, 2)), {}, "all images have the scanner 'intera'"),
    ):
        with pytest.raises(NotComputable, match=words):
            applied(wrong, 0.5, tmp_path, **options)
    assert share(applied(two, 1.0, tmp_path, by="site", towards="y"), "y", "site") == 1.0
