"""Tasks in the battery: trained once on clean images, tested on planted ones, resampled by patient."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.components import Context, FailureMode, Task
from harness.errors import NotComputable
from harness.images import ImageSet
from harness.quantities import Quantity
from harness.records import QualificationRow, ResponseRow, ScoreRow
from harness.stages.planting import plant
from harness.stages.qualify import decide, null, replicates
from harness.stages.trained import train
from miniature import Brighter, Miniature, Shrink, real

SIZE = {"replicates": 16, "null_splits": 200, "fault_seeds": 2, "n": None}
DOSES = (0.25, 0.5, 1.0)


class Level(Task):
    """Remembers the mean brightness of its training images and scores how far each case is from it."""

    name = "level"
    version = "1"
    needs = frozenset({"labels"})
    quantities = (Quantity(name="distance", better="lower"), Quantity(name="two", better="lower"))

    def columns(self, images: ImageSet) -> tuple[str, ...]:
        """Name the columns."""
        return ("a", "b")

    def fit(self, training: ImageSet, validation: ImageSet, context: Context) -> None:
        """Keep the mean."""
        assert not set(training.patients or ()) & set(validation.patients or ())
        (context.workdir / "mean.txt").write_text(repr(float(training.images.mean())))

    def score(self, test: ImageSet, context: Context) -> Mapping[str, np.ndarray]:
        """Return distances in two regions; the second region of the second quantity is never known."""
        assert context.fitted is not None
        mean = float((context.fitted / "mean.txt").read_text())
        value = test.images.mean(axis=(1, 2, 3), dtype=np.float64) - mean
        both = np.stack([value, value + 1], axis=1)
        return {"distance": both, "two": np.ma.masked_array(both, mask=[[False, True]] * len(test))}


class Single(Level):
    """Gives one number a run."""

    name = "single"

    def score(self, test: ImageSet, context: Context) -> Mapping[str, float]:
        """Return one number for all cases."""
        return {"distance": 1.0, "two": 2.0}


class Backwards(Brighter):
    """Hands the images back in the opposite order."""

    name = "backwards"
    failure_mode = FailureMode.HARMLESS

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the last image first."""
        return images.take(np.arange(len(images))[::-1]) if severity else images


def battery(mini: Miniature) -> list[Any]:
    """Train, plant, ask and decide for the one task."""
    mini.embed()
    for fault in range(2):
        mini.run(train, f"t{fault}", task=0, fault=fault, data="d", share=0.25)
    common = {"task": 0, "data": "d", "extractor": "", "trained": ["t0", "t1"]}
    rows = mini.run(null, "null", size=SIZE, **common)
    for p in range(len(mini.perturbations)):
        planted: dict[str, list[str]] = {}
        for dose in DOSES:
            for fault in range(2):
                tasks = [{"task": 0, "fitted": f"t{fault}"}]
                mini.run(plant, f"p{p}{dose}{fault}", perturbation=p, dose=dose, fault=fault, data="d", sources=[], tasks=tasks)
                planted.setdefault(repr(dose), []).append(f"p{p}{dose}{fault}")
        rows += mini.run(replicates, f"r{p}", perturbation=p, null="null", size=SIZE | {"doses": list(DOSES)}, planted=planted, **common)
    keys = [f"r{p}" for p in range(len(mini.perturbations))]
    return rows + mini.run(decide, "decide", null="null", answers=keys, size=SIZE, **common)


def test_a_task_that_sees_the_defect_is_qualified_like_a_metric(tmp_path: Path) -> None:
    """The rows say that it was tested on planted images; a quantity is the mean over its regions."""
    rows = battery(Miniature(tmp_path, real(160), perturbations=(Brighter(),), tasks=(Level(),)))
    found = {r.quantity: r for r in rows if isinstance(r, QualificationRow)}

    assert found["distance"].outcome == "qualified"
    assert (found["distance"].n, found["distance"].fault_seeds, found["distance"].extractor) == (40, 2, "")
    responses = [r for r in rows if isinstance(r, ResponseRow) and r.quantity == "distance"]
    assert [r.severity for r in responses] == [0.0, *DOSES]
    assert {r.tested_on for r in responses} == {"planted"}
    assert responses[0].mean == pytest.approx(0.5, abs=0.1)
    assert {r.tested_on for r in rows if isinstance(r, ScoreRow)} == {"planted"}


def test_another_order_changes_no_answer(tmp_path: Path) -> None:
    """Replicates of a re-ordered probe hold the cases that those of the clean one hold, so the response is exactly 0."""
    rows = battery(Miniature(tmp_path, real(160), perturbations=(Backwards(),), tasks=(Level(),)))
    responses = [r for r in rows if isinstance(r, ResponseRow) and r.quantity == "distance"]

    assert [r.severity for r in responses] == [0.0, *DOSES]
    assert {r.response for r in responses} == {0.0}


def test_cases_that_a_defect_removes_make_replicates_smaller(tmp_path: Path) -> None:
    """Half of the probe leaves replicates of a quarter, with null splits of the same size."""
    rows = battery(Miniature(tmp_path, real(160), perturbations=(Shrink(),), tasks=(Level(),)))
    scores = [r for r in rows if isinstance(r, ScoreRow) and r.perturbation == "shrink"]

    assert {r.n for r in scores} == {20}
    assert len([r for r in scores if r.stage == "null" and r.quantity == "distance"]) == 200


def test_one_number_a_run_cannot_be_resampled(tmp_path: Path) -> None:
    """A task without a number for every case says so where it is trained."""
    mini = Miniature(tmp_path, real(160), perturbations=(Brighter(),), tasks=(Single(),))
    with pytest.raises(NotComputable, match="one number a run for distance, so nothing can be resampled"):
        battery(mini)


def test_too_few_cases_are_refused(tmp_path: Path) -> None:
    """Of 36 images a probe has 18, half of which is too few."""
    with pytest.raises(NotComputable, match="at least 10 images in a replicate, which is half of the smallest probe; got 9"):
        battery(Miniature(tmp_path, real(36), perturbations=(Brighter(),), tasks=(Level(),)))
