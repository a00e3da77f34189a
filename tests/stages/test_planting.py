"""Planted probes: what is kept of them, what is made anew, and what happens where a source has no numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.components import Context, FailureMode, Perturbation, Task
from harness.errors import NotComputable, PluginError
from harness.images import ImageSet
from harness.quantities import Quantity
from harness.stages.planting import described, fingerprints, plant, scored
from miniature import Brighter, Means, Miniature, real

SEEN: list[int] = []


class Counting(Means):
    """Says how many images it was shown."""

    def extract(self, images: ImageSet, context: Context) -> np.ndarray:
        """Note the number of images."""
        SEEN.append(len(images))
        return super().extract(images, context)


class Few(Perturbation):
    """Brightens the first three images and copies a training image into the fourth slot."""

    name = "few"
    version = "1"
    failure_mode = FailureMode.NOISE
    full_severity = "full"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Touch four images."""
        pixels = images.images.copy()
        pixels[:3] += np.float32(severity / 4)
        pixels[3] = train.images[0]
        labels = np.array(images.labels)
        labels[3] = np.asarray(train.labels)[0]
        return replace(images, images=pixels, labels=labels, checked=False)


class Refuses(Means):
    """Has no features for bright images."""

    def extract(self, images: ImageSet, context: Context) -> np.ndarray:
        """Refuse what is brighter than any real image."""
        if images.images.max() > 0.5:
            raise NotComputable("too bright")
        return super().extract(images, context)


class Mean(Task):
    """Scores the brightness of each case; dark cases have no score."""

    name = "mean"
    version = "1"
    quantities = (Quantity(name="brightness", better="lower"),)

    def fit(self, training: ImageSet, validation: ImageSet, context: Context) -> None:
        """Learn nothing."""

    def score(self, test: ImageSet, context: Context) -> Mapping[str, np.ndarray]:
        """Return the means, the lowest masked."""
        means = test.images.mean(axis=(1, 2, 3), dtype=np.float64)
        return {"brightness": np.ma.masked_array(means, mask=means == means.min())}


def planted(mini: Miniature, defect: int = 0, tasks: Any = (), dose: float = 0.5) -> None:
    """Plant one defect; the extractor is the only source."""
    sources = [{"extractor": 0, "label": "extractor-0", "fitted": None, "clean": "f-train"}]
    mini.run(plant, "p", perturbation=defect, dose=dose, fault=0, data="d", sources=sources, tasks=list(tasks))


def test_only_what_the_defect_touched_is_described_again(tmp_path: Path) -> None:
    """Three new images are described; the others, and the copy of a training image, take the numbers that they had."""
    mini = Miniature(tmp_path, real(40), perturbations=(Few(),), extractors=(Counting(),))
    mini.embed()
    SEEN.clear()
    planted(mini)

    assert SEEN == [3]
    found = described(mini.bench, "p", "extractor-0")
    assert len(found) == 20
    everything = Miniature(tmp_path / "again", real(40), perturbations=(Few(),))
    workspace = everything.cache.workspace("f-train")
    np.save(workspace / "features.npy", np.full((40, 1), 7, np.float32))
    from harness.cells import Result

    everything.cache.keep("f-train", workspace, Result("ok"))
    planted(everything)
    other = described(everything.bench, "p", "extractor-0")
    assert int((np.asarray(other.features) == 7).sum()) == 17
    assert found.features is not None
    np.testing.assert_array_equal(np.asarray(found.features)[:3], np.asarray(other.features)[:3])


def test_what_is_known_of_the_images_is_kept_and_pixels_are_not(tmp_path: Path) -> None:
    """Ids, patients and labels come back; whoever asks for pixels gets an array without any."""
    train = real(20, each=2)
    mini = Miniature(tmp_path, train, perturbations=(Brighter(),))
    mini.embed()
    planted(mini)
    found = described(mini.bench, "p", "extractor-0")

    assert set(found.ids) < set(train.ids)
    assert found.patients is not None
    assert found.labels is not None
    assert found.images.size == 0
    files = sorted(path.name for path in mini.cache.folder("p").rglob("*.npy"))
    assert files == ["extractor-0.npy", "images.npy", "labels.npy"]
    assert (mini.cache.folder("p") / "planted" / "images.npy").stat().st_size < 400


def test_a_source_without_numbers_leaves_its_reason(tmp_path: Path) -> None:
    """The cell goes on; who asks for these numbers is told why there are none."""
    mini = Miniature(tmp_path, real(40), perturbations=(Brighter(),), extractors=(Refuses(),))
    mini.embed()
    planted(mini, dose=1.0)
    with pytest.raises(NotComputable, match="too bright"):
        described(mini.bench, "p", "extractor-0")


def test_a_task_leaves_one_number_for_every_case(tmp_path: Path) -> None:
    """Masked cases are kept as missing; the units are those of the probe."""
    mini = Miniature(tmp_path, real(40), perturbations=(Brighter(),), tasks=(Mean(),))
    mini.embed()
    trained = mini.cache.workspace("t")
    (trained / "fitted").mkdir()
    from harness.cells import Result

    mini.cache.keep("t", trained, Result("ok"))
    planted(mini, tasks=[{"task": 0, "fitted": "t"}])
    units, values = scored(mini.bench, "p", 0)

    assert len(units) == 20
    assert values["brightness"].shape == (20,)
    assert int(np.isnan(values["brightness"]).sum()) == 1


class Renames(Brighter):
    """Changes ids."""

    name = "renames"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return strangers."""
        return replace(images, ids=tuple(f"x{i}" for i in images.ids), checked=False)


def test_a_perturbation_must_keep_the_ids(tmp_path: Path) -> None:
    """Ids that no slot has are refused with a sentence."""
    mini = Miniature(tmp_path, real(40), perturbations=(Renames(),))
    mini.embed()
    with pytest.raises(PluginError, match="changed the ids"):
        planted(mini)


def test_a_fingerprint_covers_what_numbers_may_rest_on() -> None:
    """Pixels, labels and masks count; ids and patients do not."""
    images = real(4)
    same = list(fingerprints(images))

    assert len(set(same)) == 4
    assert list(fingerprints(replace(images, ids=tuple("abcd"), checked=False))) == same
    assert list(fingerprints(replace(images, labels=1 - np.asarray(images.labels), checked=False))) != same
    assert list(fingerprints(replace(images, masks=np.ones((4, 2, 2), np.uint8), checked=False))) != same
