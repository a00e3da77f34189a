"""What every metric does with input that has no answer: a reason in words, or a finite number; never NaN, never a crash."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Comparison, Context, ImageSet, InputError, Metric, NotComputable
from harness.asking import ask
from harness.images import from_features
from harness_plugins.metrics import harness_metrics

RNG = np.random.default_rng(8)
CLOUD = {role: RNG.normal(size=(40, 6)).astype(np.float32) for role in ("train", "test", "synthetic")}
ONE = np.ones((40, 6), np.float32)
SETS: dict[str, dict[str, np.ndarray]] = {
    "one synthetic image": CLOUD | {"synthetic": CLOUD["synthetic"][:1]},
    "one training image": CLOUD | {"train": CLOUD["train"][:1]},
    "one test image": CLOUD | {"test": CLOUD["test"][:1]},
    "no synthetic image": CLOUD | {"synthetic": CLOUD["synthetic"][:0]},
    "no test image": CLOUD | {"test": CLOUD["test"][:0]},
    "three images a side": {role: values[:3] for role, values in CLOUD.items()},
    "constant features": dict.fromkeys(CLOUD, ONE),
    "constant synthetic features": CLOUD | {"synthetic": ONE},
    "a constant column": {role: np.where(np.arange(6) == 2, np.float32(0.5), values) for role, values in CLOUD.items()},
    "identical sets": dict.fromkeys(CLOUD, CLOUD["train"]),
    "one feature": {role: values[:, :1] for role, values in CLOUD.items()},
    "huge features": {role: values * np.float32(1e15) for role, values in CLOUD.items()},
    "tiny features": {role: values * np.float32(1e-15) for role, values in CLOUD.items()},
}
ON_FEATURES = [kind for kind in harness_metrics() if "features" in kind.needs]
ON_IMAGES = [kind for kind in harness_metrics() if kind.describes()]


def labelled(values: np.ndarray, role: str) -> ImageSet:
    """Return blank images with these features and two labels."""
    blank = from_features(values, role)
    return ImageSet(
        np.array(blank.images), blank.ids, blank.spacing_mm, labels=np.arange(len(values)) % 2, origin=blank.origin, features=values
    )


def answer(metric: Metric, sides: dict[str, ImageSet]) -> None:
    """Ask for everything; the host itself refuses what is neither a finite number nor a reason."""
    comparison = Comparison(**sides)
    with tempfile.TemporaryDirectory() as folder:
        try:
            found: Any = ask(metric, comparison, Context(seed=0, workdir=Path(folder)))
        except NotComputable as error:
            found = {"": error}
    for value in found.values():
        if isinstance(value, NotComputable):
            assert len(str(value)) > 10, "a reason is a sentence"


@pytest.mark.parametrize("kind", ON_FEATURES, ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", SETS)
def test_features_without_an_answer(kind: type[Metric], name: str) -> None:
    """Every metric on features says why it has no number, or has a finite one."""
    answer(kind(), {role: labelled(values, role) for role, values in SETS[name].items()})


@pytest.mark.parametrize("kind", ON_FEATURES, ids=lambda kind: kind.name)
def test_features_that_are_refused(kind: type[Metric]) -> None:
    """Infinite and missing values and different widths are refused with the side and the count, before any distance is taken."""
    bad = CLOUD["synthetic"].copy()
    bad[3, 1] = np.nan
    for sides in (CLOUD | {"synthetic": bad}, CLOUD | {"test": CLOUD["test"][:, :4]}):
        comparison = Comparison(**{role: labelled(values, role) for role, values in sides.items()})
        with pytest.raises((InputError, NotComputable), match=r"not finite|features"):
            comparison.neighbours("synthetic", "train", 1)


def small(role: str, n: int, level: float | None = None, size: tuple[int, ...] = (9, 11)) -> ImageSet:
    """Return n noisy or flat images with a square mask."""
    rng = np.random.default_rng([n, len(role)])
    images = rng.random((n, 1, *size), dtype=np.float32) if level is None else np.full((n, 1, *size), level, np.float32)
    masks = np.zeros((n, *size), np.uint8)
    masks[(slice(None), *(slice(1, max(2, s - 2)) for s in size))] = 1
    ids = tuple(f"{role}{i}" for i in range(n))
    return ImageSet(images, ids, (1.0,) * len(size), masks=masks, origin="synthetic" if role == "synthetic" else "real")


IMAGES: dict[str, dict[str, ImageSet]] = {
    "one synthetic image": {"train": small("train", 20), "test": small("test", 20), "synthetic": small("synthetic", 1)},
    "no test image": {"train": small("train", 20), "test": small("test", 0), "synthetic": small("synthetic", 20)},
    "flat synthetic images": {"train": small("train", 20), "test": small("test", 20), "synthetic": small("synthetic", 20, 0.5)},
    "black images": {role: small(role, 20, 0.0) for role in ("train", "test", "synthetic")},
    "single pixels": {role: small(role, 20, size=(1, 1)) for role in ("train", "test", "synthetic")},
    "thin images": {role: small(role, 20, size=(1, 40)) for role in ("train", "test", "synthetic")},
    "small volumes": {role: small(role, 12, size=(3, 4, 5)) for role in ("train", "test", "synthetic")},
}


@pytest.mark.parametrize("kind", ON_IMAGES, ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", IMAGES)
def test_images_without_an_answer(kind: type[Metric], name: str) -> None:
    """Every metric on images says why it has no number, while describing or while measuring, or has a finite one."""
    metric = kind()
    numbers: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder, suppress(NotComputable):
        numbers = {role: metric.describe(side, Context(seed=0, workdir=Path(folder))) for role, side in IMAGES[name].items()}
    if numbers:
        assert all(np.isfinite(values).all() for values in numbers.values())
        answer(metric, {role: side.with_features(numbers[role]) for role, side in IMAGES[name].items()})
