"""Trust factors in a whole audit: synthetic test images pair with the real ones whose masks they were made from."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Context, Generator, ImageSet, Quantity, Request, Task
from harness.host import Host
from harness.records import CaseScoreRow, CellRow, FindingRow, ImageSetRow, ScoreRow, TrainingRow, TrustRow
from harness.statistics.trust import trust_factors
from harness.store import Store
from tiny_audit import MODEL, Project, host_with

MIXES = [[1, 0], [0.5, 0.5], [0, 1]]
TASKS = {"components": ["threshold"], "mixes": MIXES, "repeats": 2, "synthetic_test": 40}
BARE: dict[str, Any] = {"samples": 76, "metrics": [], "extractors": [], "perturbations": None, "tasks": TASKS,
                        "purposes": {"p": {"context_of_use": "c", "uses_model": False}}}  # fmt: skip


class Redrawn(Generator):
    """Draws a dark lesion wherever the mask says so; it notes how often it was trained, and stops in the middle where told to."""

    name = "redrawn"
    version = "1"
    stop: bool = False

    def conditions(self) -> frozenset[str]:
        """Ask for masks."""
        return frozenset({"masks"})

    def fit(self, train: ImageSet, context: Context) -> None:
        """Count up to two steps, one an attempt where it is stopped."""
        assert context.checkpoints is not None
        state = context.checkpoints / "steps.txt"
        done = int(state.read_text()) if state.exists() else 0
        state.write_text(str(done + 1))
        if self.stop and done == 0:
            raise KeyboardInterrupt
        context.record("loss", done + 1, 1 / (done + 1))
        (context.workdir / "steps.txt").write_text(str(done + 1))

    def sample(self, request: Request, context: Context) -> ImageSet:
        """Return one image for each mask."""
        assert context.fitted is not None
        assert (context.fitted / "steps.txt").exists()
        assert request.masks is not None
        assert request.sources is not None
        assert np.array_equal(request.masks, request.sources.masks)  # type: ignore[arg-type]
        noise = context.rng.normal(0.6, 0.1, (request.n, 1, *request.masks.shape[1:]))
        images = np.clip(noise - 0.3 * (request.masks[:, None] > 0), 0, 1).astype(np.float32)
        ids = tuple(f"{request.purpose}-{k}" for k in range(request.n))
        return ImageSet(images, ids, request.spacing_mm, masks=request.masks, labels=request.labels, origin="synthetic")


class Loose(Redrawn):
    """Makes images of nothing in particular, with masks."""

    name = "loose"

    def conditions(self) -> frozenset[str]:
        """Ask for nothing."""
        return frozenset()

    def sample(self, request: Request, context: Context) -> ImageSet:
        """Return noise."""
        images = context.rng.random((request.n, 1, 32, 32)).astype(np.float32)
        masks = (images[:, 0] > 0.5).astype(np.uint8)
        ids = tuple(f"{request.purpose}-{k}" for k in range(request.n))
        return ImageSet(images, ids, request.spacing_mm, masks=masks, labels=request.labels, origin="synthetic")


class Repeating(Loose):
    """Makes the same images whatever they are for."""

    name = "repeating"

    def sample(self, request: Request, context: Context) -> ImageSet:
        """Return noise of one seed."""
        return super().sample(request, Context(1, context.workdir))


class Generous(Redrawn):
    """Returns twice as many images as were asked for."""

    name = "generous"

    def sample(self, request: Request, context: Context) -> ImageSet:
        """Return every image twice."""
        made = super().sample(request, context)
        again = replace(made, ids=tuple(f"again-{name}" for name in made.ids), images=made.images[::-1], checked=False)
        ids = (*made.ids, *again.ids)
        images = np.concatenate([made.images, again.images])
        masks = np.concatenate([made.masks, again.masks])  # type: ignore[arg-type]
        return ImageSet(images, ids, made.spacing_mm, masks=masks, origin="synthetic")


class Threshold(Task):
    """Calls everything darker than the mean lesion of its training images a lesion."""

    name = "threshold"
    version = "1"
    needs = frozenset({"masks"})
    quantities = (Quantity(name="dice", better="higher", low=0.0, high=1.0),)

    def fit(self, training: ImageSet, validation: ImageSet, context: Context) -> None:
        """Keep the level, moved a little by the seed."""
        assert training.masks is not None
        level = float(training.images[:, 0][training.masks > 0].mean()) + context.rng.normal(0, 0.01)
        (context.workdir / "level.txt").write_text(repr(level))

    def score(self, test: ImageSet, context: Context) -> Mapping[str, np.ndarray]:
        """Return the Dice of every case."""
        assert context.fitted is not None
        assert test.masks is not None
        found = test.images[:, 0] < float((context.fitted / "level.txt").read_text())
        both = (found & (test.masks > 0)).sum(axis=(1, 2))
        return {"dice": 2 * both / (found.sum(axis=(1, 2)) + (test.masks > 0).sum(axis=(1, 2)))}


@pytest.fixture
def host() -> Host:
    """A host that knows the components of this file."""
    return host_with(Redrawn, Loose, Repeating, Generous, Threshold)


def audited(project: Project, host: Host, **changes: Any) -> tuple[Store, str]:
    """Run the audit and return its results."""
    project.write(**(BARE | changes))
    return Store(project.folder / "results.duckdb"), project.audit(host).run()


def dice(store: Store, audit: str, tested_on: str, mix: list[float]) -> dict[str, list[float]]:
    """Return the Dice of each case over the repeats."""
    found: dict[str, list[float]] = {}
    rows = store.current(CaseScoreRow, audit, tested_on=tested_on, real_share=float(mix[0]), synthetic_share=float(mix[1]))
    for row in sorted(rows, key=lambda r: r.repeat):
        found.setdefault(row.case_id, []).append(row.value)
    return found


def test_factors_pair_each_synthetic_case_with_its_source(project: Project, host: Host) -> None:
    """T1, T3 and T4 are those of the stored Dice, case by case, with the synthetic image made from each real mask."""
    store, audit = audited(project, host, generator="redrawn")
    rows = {(r.variant, r.tested_on, r.real_share): r for r in store.current(TrustRow, audit) if r.value is not None}
    made = store.current(ImageSetRow, audit, role="synthetic_test")[0]
    assert (made.n, made.patients) == (36, 12)

    for mix in MIXES:
        real, synthetic = (dice(store, audit, side, mix) for side in ("real", "synthetic"))
        assert len(synthetic) == 36
        order = sources(project, audit, store)
        one = np.array([real[source] for source in order.values()]).T[:, :, None]
        other = np.array([synthetic[name] for name in order]).T[:, :, None]
        expected = {(f.variant, f.tested_on): f for f in trust_factors(one, other)}
        for key in (("image_first", "real"), ("image_first", "synthetic"), ("cosine", "both"), ("mean_absolute_difference", "both")):
            row = rows[(*key, float(mix[0]))]
            assert row.value == pytest.approx(expected[key].value, abs=1e-12)
            assert (row.component, row.region, row.n, row.repeats) == ("threshold", "", 36, 2)
    assert rows["cosine", "both", 1.0].ci_low is not None


def sources(project: Project, audit: str, store: Store) -> dict[str, str]:
    """Return the real test image behind each synthetic one, as the saved set has it."""
    from harness.savedsets import open_saved

    cell = store.current(ImageSetRow, audit, role="synthetic_test")[0].cell
    folder = next(path for path in project.folder.rglob(cell) if (path / "synthetic").exists())
    images = open_saved(folder / "synthetic")
    assert images.sources is not None
    return dict(zip(images.ids, images.sources, strict=True))


def test_images_without_sources_do_not_pair(project: Project, host: Host) -> None:
    """T3 says why it has no value, and T4 is the distance between two distributions; as many images come as were asked for."""
    store, audit = audited(project, host, generator="loose")
    rows = store.current(TrustRow, audit, real_share=1.0)
    by_variant = {r.variant: r for r in rows}
    assert by_variant["cosine"].value is None
    assert "the same cases" in by_variant["cosine"].reason
    assert by_variant["wasserstein"].value is not None
    assert "36 and 40 cases of 12 and 40 patients" in by_variant["wasserstein"].ci_method
    _, unknown = audited(project, host, generator="loose", data=MODEL["data"] | {"patients": None})
    (row,) = store.current(TrustRow, unknown, real_share=1.0, variant="wasserstein")
    assert "36 and 40 cases whose patients are unknown" in row.ci_method
    assert store.current(ImageSetRow, audit, role="synthetic_test")[0].n == 40


def test_test_images_that_tasks_train_on_are_found(project: Project, host: Host) -> None:
    """A generator that ignores seed and purpose tests tasks on what they learned from: an adverse finding says how many."""
    store, audit = audited(project, host, generator="repeating")
    found = [f for f in store.current(FindingRow, audit) if f.kind == "synthetic_overlap"]
    assert [(f.severity, f.text.split(" are ")[0]) for f in found] == [("adverse", "40 of 40 synthetic test images")]
    clean, other = audited(project, host, generator="loose")
    assert not [f for f in clean.current(FindingRow, other) if f.kind == "synthetic_overlap"]


def test_images_beyond_those_asked_for_pair_with_none(project: Project, host: Host) -> None:
    """Which of them belongs to which mask is not known, so nothing is called paired."""
    store, audit = audited(project, host, generator="generous")
    assert {r.value for r in store.current(TrustRow, audit, variant="cosine")} == {None}


def test_tasks_are_summarised_on_both_test_sets(project: Project, host: Host) -> None:
    """Every mix has a value on real and on synthetic images, and a gain over (1, 0) on each."""
    store, audit = audited(project, host, generator="redrawn")
    rows = [r for r in store.current(ScoreRow, audit, stage="evaluate") if r.repeat is None]
    found = {(r.quantity, r.tested_on, r.real_share) for r in rows if r.value is not None}
    assert found == {("dice", side, share) for side in ("real", "synthetic") for share in (0.0, 0.5, 1.0)} | {
        ("dice_gain", side, share) for side in ("real", "synthetic") for share in (0.0, 0.5)
    }


def test_a_training_that_was_interrupted_goes_on(project: Project, host: Host) -> None:
    """What the first attempt left is found by the second, and the curve is stored; afterwards nothing unfinished is left."""
    project.write(**(BARE | {"generator": {"redrawn": {"stop": True}}}))
    with pytest.raises(KeyboardInterrupt):
        project.audit(host).run()
    unfinished = [path for path in project.folder.rglob("steps.txt") if "unfinished" in path.parts]
    assert [path.read_text() for path in unfinished] == ["1"]

    audit = project.audit(host).run()
    store = Store(project.folder / "results.duckdb")
    assert [(r.series, r.step, r.value) for r in store.current(TrainingRow, audit)] == [("loss", 2, 0.5)]
    assert not [path for path in project.folder.rglob("steps.txt") if "unfinished" in path.parts]


def test_what_was_never_finished_goes_after_a_month(project: Project, host: Host) -> None:
    """A checkpoint of yesterday stays, one of last month is removed when an audit starts."""
    cache = project.audit(host).cache
    for name, days in (("old", 31), ("new", 1)):
        file = cache.unfinished(name) / "network.pt"
        file.write_text("x")
        for path in (file, file.parent):
            os.utime(path, (time.time() - days * 86400,) * 2)
    cache.sweep()
    assert sorted(path.name for path in (cache.root / "unfinished").iterdir()) == ["new"]


def test_a_curve_is_finite(tmp_path: Path) -> None:
    """A loss that is no number is refused where it is told."""
    with pytest.raises(ValueError, match="loss is nan at step 3, which is not finite"):
        Context(1, tmp_path).record("loss", 3, float("nan"))


def test_more_images_than_masks_are_refused(project: Project, host: Host) -> None:
    """A generator that works from masks gets each once."""
    store, audit = audited(project, host, generator="redrawn", samples=77)
    cells = [c for c in store.current(CellRow, audit) if c.stage == "sample" and c.status != "ok"]
    assert {c.status for c in cells} == {"not_computable"}
    assert all("works from masks of 76 train images (validation images left out), and 77 were asked for" in c.reason for c in cells)
    values = store.current(ScoreRow, audit, quantity="dice", tested_on="real", real_share=1.0)
    assert [row.status for row in values if row.repeat is None] == ["ok"]


def test_without_synthetic_test_images_there_are_no_factors(project: Project, host: Host) -> None:
    """They are asked for with `synthetic_test`."""
    store, audit = audited(project, host, generator="redrawn", tasks={**TASKS, "synthetic_test": 0})
    assert store.current(TrustRow, audit) == []
    assert {r.tested_on for r in store.current(CaseScoreRow, audit)} == {"real"}


def test_the_dossier_shows_the_curves(project: Project, host: Host) -> None:
    """Section 8 has a figure, a table for every mix, and what the readings mean."""
    from harness.content import collect
    from harness.dossier import html

    store, audit = audited(project, host, generator="redrawn")
    text = html(collect(store, audit))
    for words in ("Trust factors against the real share", "Mean absolute difference", "T3: cosine of the real", "Training curves"):
        assert words in text
