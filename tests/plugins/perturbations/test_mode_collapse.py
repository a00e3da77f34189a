"""Facts about lost modes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Context, ImageSet, NotComputable
from harness_plugins.perturbations.mode_collapse import ModeCollapse


def applied(images: ImageSet, severity: float, tmp_path: Path, seed: int = 0, **options: Any) -> ImageSet:
    """Images of the modes that are left."""
    return ModeCollapse(**options).apply(images, images, severity, Context(seed=seed, workdir=tmp_path))


@pytest.fixture
def four_kinds(picture_set: Callable[..., ImageSet]) -> ImageSet:
    """Return 60 images of four kinds, each kind a picture of its own with slight noise; labels say which."""
    base, rng = picture_set(4).images, np.random.default_rng(1)
    kind = np.arange(60) % 4
    noisy = np.clip(base[kind] + rng.normal(0, 0.02, (60, *base.shape[1:])), 0, 1).astype(np.float32)
    return replace(picture_set(60), images=noisy, masks=None, labels=kind, checked=False)


def test_severity_zero_is_the_identity(four_kinds: ImageSet, tmp_path: Path) -> None:
    """At severity 0 the images come back as they are."""
    assert applied(four_kinds, 0.0, tmp_path) is four_kinds


@pytest.mark.parametrize("by", ["clusters", "labels"])
@pytest.mark.parametrize(("severity", "left"), [(0.01, 3), (0.25, 3), (0.5, 2), (0.75, 1), (1.0, 1)])
def test_share_of_modes_is_dropped(four_kinds: ImageSet, tmp_path: Path, by: str, severity: float, left: int) -> None:
    """Clusters or labels: whole kinds go, at least one and never all, and the images left are untouched."""
    result = applied(four_kinds, severity, tmp_path, by=by, modes=4)
    kept = [four_kinds.ids.index(i) for i in result.ids]
    assert len(set(kept)) == len(result) == 15 * left
    assert len(np.unique(result.labels)) == left
    np.testing.assert_array_equal(result.images, four_kinds.images[kept])
    assert result.patients == tuple(four_kinds.patients[i] for i in kept)


def test_doses_are_nested(four_kinds: ImageSet, tmp_path: Path) -> None:
    """Under one seed a higher dose drops what a lower one drops, and more."""
    for seed in range(5):
        kept = [set(applied(four_kinds, s, tmp_path, seed, modes=4).ids) for s in (0.25, 0.5, 0.75)]
        assert kept[0] > kept[1] > kept[2]


def test_seeds_are_honoured(four_kinds: ImageSet, tmp_path: Path) -> None:
    """One seed drops the same modes again; over some seeds every mode is dropped."""
    runs = [applied(four_kinds, 0.5, tmp_path, seed, by="labels") for seed in range(8)]
    assert applied(four_kinds, 0.5, tmp_path, 3, by="labels").ids == runs[3].ids
    assert set.intersection(*(set(np.unique(r.labels)) for r in runs)) == set()


def test_volumes(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Clusters are found in volumes as well."""
    assert 0 < len(applied(picture_set(10, (8, 9, 10)), 0.5, tmp_path, modes=3)) < 10


def test_bad_input(four_kinds: ImageSet, tmp_path: Path) -> None:
    """No labels, one mode only, or fewer images than clusters: each is a reason, no images."""
    with pytest.raises(NotComputable, match="need labels"):
        applied(replace(four_kinds, labels=None), 0.5, tmp_path, by="labels")
    with pytest.raises(NotComputable, match="one mode"):
        applied(replace(four_kinds, labels=np.ones(60, np.int64)), 0.5, tmp_path, by="labels")
    with pytest.raises(NotComputable, match="8 clusters need as many images, got 7"):
        applied(four_kinds.take(np.arange(7)), 0.5, tmp_path)
