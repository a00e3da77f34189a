"""Facts that hold for every built-in perturbation, on images with one lesion each; what `check` finds is in ../test_conformance.py."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from scipy import ndimage

from harness.api import Context, FailureMode, ImageSet, Modality, Perturbation
from harness.host import Host

N = 20
SHAPES = {"2D": (1, (40, 44)), "3D": (2, (10, 24, 22))}
CLASSES: dict[str, Any] = {
    offer.name: offer.component
    for offer in Host.discover().of_kind("perturbation")
    if offer.component.__module__.startswith("harness_plugins.perturbations.")
}
every = pytest.mark.parametrize("name", CLASSES)
every_size = pytest.mark.parametrize("shape", SHAPES)


@cache
def lesions(shape: str, seed: int) -> ImageSet:
    """N smooth images that know everything and cannot be written to, each but the first with a bright ellipsoid as lesion."""
    rng, (channels, size) = np.random.default_rng(seed), SHAPES[shape]
    smooth = ndimage.gaussian_filter(rng.standard_normal((N, channels, *size)), (0, 0, *(2.0,) * len(size)))
    grid = np.meshgrid(*(np.arange(s) for s in size), indexing="ij")
    masks = np.zeros((N, *size), np.uint8)
    for i in range(1, N):
        centre = [rng.uniform(0.4, 0.6) * s for s in size]
        masks[i] = sum(((g - c) / (rng.uniform(0.15, 0.22) * s)) ** 2 for g, c, s in zip(grid, centre, size, strict=True)) <= 1
    bright = ndimage.gaussian_filter(masks.astype(float), (0, *(0.7,) * len(size)))[:, None]
    known: dict[str, Any] = {
        "images": np.clip(0.4 + 0.5 * smooth + 0.3 * bright, 0.0, 1.0).astype(np.float32),
        "masks": masks,
        "labels": np.arange(N) % 3,
        "concepts": rng.integers(0, 2, (N, 2)).astype(np.uint8),
    }
    for values in known.values():
        values.flags.writeable = False
    return ImageSet(
        ids=tuple(f"s{seed}i{i}" for i in range(N)),
        spacing_mm=(1.0,) * len(size),
        patients=tuple(f"s{seed}p{i // 2}" for i in range(N)),
        groups={"site": np.array(["a", "b"])[np.arange(N) // 2 % 2]},
        **known,
    )


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for all."""
    return tmp_path_factory.mktemp("perturbations")


@cache
def planted(name: str, shape: str, severity: float, workdir: Path) -> ImageSet:
    """Images with the defect, made once for all tests."""
    return CLASSES[name]().apply(lesions(shape, 0), lesions(shape, 1), severity, Context(seed=5, workdir=workdir))


def rows(result: ImageSet) -> list[int]:
    """Slots of the images that came back."""
    clean = {name: row for row, name in enumerate(lesions("2D", 0).ids)}
    return [clean[name] for name in result.ids]


def touched(result: ImageSet, clean: ImageSet) -> set[str]:
    """Ids of the images whose pixels, mask, label or concepts are not exactly what they were, and of those that are gone."""
    kept = rows(result)
    names = ("images", "masks", "labels", "concepts")
    same = [all(np.array_equal(getattr(result, n)[i], getattr(clean, n)[row]) for n in names) for i, row in enumerate(kept)]
    return set(clean.ids) - {name for name, untouched in zip(result.ids, same, strict=True) if untouched}


def distance(result: ImageSet, clean: ImageSet) -> float:
    """How far images, masks and labels are from the clean ones, slot by slot."""
    kept = rows(result)
    return float(
        np.abs(result.images.astype(np.float64) - clean.images[kept]).mean()
        + (result.masks != clean.masks[kept]).mean()
        + (result.labels != clean.labels[kept]).mean()
    )


def complaints(component: Perturbation) -> list[str]:
    """What is wrong with the doses and their reason."""
    doses = component.doses
    found = {
        "doses must rise within (0, 1]": bool(doses) and list(doses) == sorted(set(doses)) and doses[0] > 0.0 and doses[-1] <= 1.0,
        "the dose of concern must be one of the doses": component.dose_of_concern in doses,
        "there must be a reason": bool(component.because.strip()),
    }
    return [text for text, kept in found.items() if not kept]


@every
def test_says_what_it_is_and_why(name: str) -> None:
    """Doses rise, the dose of concern is among them, there is a reason, and every option of its own is explained."""
    kind = CLASSES[name]
    assert complaints(kind()) == []
    assert kind.full_severity
    assert {key for key, option in kind.model_fields.items() if key not in Perturbation.model_fields and not option.description} == set()
    if kind.failure_mode is FailureMode.HARMLESS:
        assert (kind().doses, kind().dose_of_concern) == ((1.0,), 1.0)


@every
def test_presets_build(name: str) -> None:
    """Presets are for modalities that there are, with options that the class takes and doses that qualification can plant."""
    presets = CLASSES[name].presets
    assert set(presets) <= set(get_args(Modality))
    assert {modality: complaints(CLASSES[name](**options)) for modality, options in presets.items()} == {key: [] for key in presets}


@every
@every_size
def test_severity_zero_is_the_identity(name: str, shape: str, workdir: Path) -> None:
    """At severity 0 everything is as it was."""
    assert planted(name, shape, 0.0, workdir).sha256 == lesions(shape, 0).sha256


@every
@every_size
def test_slots_keep_what_is_theirs(name: str, shape: str, workdir: Path) -> None:
    """At every dose ids are some of those given, patients are those of the slot, and all that was known is still known."""
    clean = lesions(shape, 0)
    for severity in CLASSES[name]().doses:
        result = planted(name, shape, severity, workdir)
        assert result.patients == tuple(clean.patients[row] for row in rows(result))
        assert set(result.groups) == {"site"}
        lost = [f.name for f in fields(ImageSet) if getattr(clean, f.name) is not None and getattr(result, f.name) is None]
        assert lost == []


@every
@every_size
def test_untouched_images_are_untouched_to_the_last_bit(name: str, shape: str, workdir: Path) -> None:
    """No image differs from the clean one by rounding alone: what the defect does not reach need not be embedded again."""
    clean = lesions(shape, 0)
    for severity in CLASSES[name]().doses:
        result = planted(name, shape, severity, workdir)
        for image, row in zip(result.images, rows(result), strict=True):
            off = float(np.abs(image - clean.images[row]).max())
            assert off == 0.0 or off > 1e-6, f"severity {severity}, image {row}: {off}"


@every
@every_size
def test_a_higher_dose_is_more_of_the_same(name: str, shape: str, workdir: Path) -> None:
    """A higher dose touches the images that a lower one touches; where all images come back it leads as far away, to 2 %."""
    clean = lesions(shape, 0)
    results = [planted(name, shape, severity, workdir) for severity in CLASSES[name]().doses]
    for low, high in pairwise(results):
        assert touched(low, clean) <= touched(high, clean)
        if len(high) == N:
            assert distance(high, clean) >= 0.98 * distance(low, clean)
