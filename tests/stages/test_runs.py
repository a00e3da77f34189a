"""Several sampling runs in a whole audit: each has its own images, every value is their mean, and repeat k of a task learns from run k."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Context, Generator, ImageSet, Quantity, Request, Task
from harness.compare import read
from harness.errors import InputError, SpecError
from harness.phantoms import phantoms, write_phantoms
from harness.records import CaseScoreRow, CellRow, CriterionRow, FindingRow, ImageScoreRow, ImageSetRow, ScoreRow, VerdictRow
from harness.store import Store
from tiny_audit import Project, copy_project, host_with

TASKS = {"components": ["brightness"], "mixes": [[1, 0], [0, 0.5]], "repeats": 3}
CRITERION = {"id": "C1", "claim": "c", "quantity": "manifold.coverage", "extractor": "pixels", "at_least": 0.1, "because": "b",
             "failure_modes": ["noise"], "one_kind_because": "d", "runs_min": 3}  # fmt: skip
BARE: dict[str, Any] = {"generator": "wavering", "samples": 40, "runs": 3, "metrics": ["frechet", "manifold"],
                        "perturbations": None, "tasks": TASKS, "battery": None,
                        "purposes": {"p": {"context_of_use": "c", "uses_model": False, "criteria": [CRITERION]}}}  # fmt: skip

NOTHING: dict[str, Any] = {"metrics": [], "purposes": {"p": {"context_of_use": "c", "uses_model": False}}}


class Wavering(Generator):
    """Noise that is as bright as its seed says; options: whether every run is the same, and whether it learns anything first."""

    name = "wavering"
    version = "1"
    same: bool = False

    def sample(self, request: Request, context: Context) -> ImageSet:
        """Return noise about a brightness of the run's own."""
        rng = np.random.default_rng(1) if self.same else context.rng
        images = np.clip(rng.normal(rng.uniform(0.3, 0.7), 0.1, (request.n, 1, 32, 32)), 0, 1).astype(np.float32)
        ids = tuple(f"{request.run}-{k}" for k in range(request.n))
        return ImageSet(images, ids, (1.0, 1.0), masks=(images[:, 0] > 0.6).astype(np.uint8), labels=request.labels, origin="synthetic")


class Taught(Wavering):
    """The same, after a training that keeps how many images it saw."""

    name = "taught"

    def fit(self, train: ImageSet, context: Context) -> None:
        """Note the patients that it saw."""
        (context.workdir / "patients.txt").write_text(" ".join(sorted(set(train.patients or ()))))


class Brightness(Task):
    """Says of every case how bright the training images were, and for how many patients it stopped by."""

    name = "brightness"
    version = "1"
    quantities = (Quantity(name="level", better="higher"), Quantity(name="stopped_by", better="higher"))

    def fit(self, training: ImageSet, validation: ImageSet, context: Context) -> None:
        """Keep both."""
        np.savetxt(context.workdir / "kept.txt", [training.images.mean(dtype=np.float64), validation.n_patients or 0])

    def score(self, test: ImageSet, context: Context) -> Mapping[str, np.ndarray]:
        """Return them for every case."""
        assert context.fitted is not None
        level, patients = np.loadtxt(context.fitted / "kept.txt")
        return {"level": np.full(len(test), level), "stopped_by": np.full(len(test), patients)}


HOST = host_with(Wavering, Taught, Brightness)


def run(project: Project, **changes: Any) -> tuple[Store, str]:
    """Run the audit and return its results."""
    project.write(**(BARE | changes))
    return Store(project.folder / "results.duckdb"), project.audit(HOST).run()


@pytest.fixture(scope="module")
def finished(made_images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    """The results of one audit of three runs."""
    return run(copy_project(made_images, tmp_path_factory.mktemp("runs") / "project"))


def test_every_value_is_the_mean_of_its_runs(finished: tuple[Store, str]) -> None:
    """Three runs have images of their own; the values of each are stored, and the interval says that it allows for their differences."""
    store, audit = finished
    sets = [row for row in store.current(ImageSetRow, audit) if row.role == "synthetic"]
    assert [row.sampling_run for row in sorted(sets, key=lambda row: row.sampling_run or 0)] == [1, 2, 3]
    assert len({row.sha256 for row in sets}) == 3
    means = {(r.component, r.quantity): r for r in store.current(ScoreRow, audit, stage="measure")}
    runs = store.current(ScoreRow, audit, stage="run")
    for key, row in means.items():
        values = [r.value for r in runs if (r.component, r.quantity) == key]
        assert len(values) == 3
        assert row.value == pytest.approx(np.mean(values))
        assert row.n == 120
        assert row.ci_method.endswith("; mean of 3 sampling runs")
    assert "between sampling runs" in means["frechet", "fid"].ci_method
    halves = store.current(ScoreRow, audit, stage="half", quantity="fid")
    assert {(r.sampling_run, r.repeat) for r in halves} == {(run, k) for run in (1, 2, 3) for k in range(10)}
    assert {r.item.split("-")[0] for r in store.current(ImageScoreRow, audit)} <= {"0"}


def test_each_repeat_learns_from_a_run_of_its_own(finished: tuple[Store, str]) -> None:
    """Three repeats give three levels, one a run, and the interval of the mean holds them; real images give the same every time."""
    store, audit = finished
    cases = store.current(CaseScoreRow, audit, quantity="level")
    made = {row.repeat: row.value for row in cases if row.synthetic_share}
    assert len(set(made.values())) == 3
    assert len({row.value for row in cases if not row.synthetic_share}) == 1
    row = next(r for r in store.current(ScoreRow, audit, stage="evaluate", quantity="level") if r.synthetic_share)
    assert row.ci_low is not None
    assert row.ci_high is not None
    assert row.ci_low < min(made.values()) < max(made.values()) < row.ci_high


def test_runs_count_for_criteria_and_conditions(project: Project, finished: tuple[Store, str]) -> None:
    """`runs_min` is held against the runs that there are, and the condition about a single run is gone."""
    store, audit = finished
    assert next(iter(store.current(CriterionRow, audit))).status != "insufficient_n"
    assert not any("one sampling run" in line for row in store.current(VerdictRow, audit) for line in row.rules)
    once, single = run(project, runs=1, tasks=None)
    assert next(iter(once.current(CriterionRow, single))).status != "met"
    assert any("one sampling run" in line for row in once.current(VerdictRow, single) for line in row.rules)


def test_runs_that_are_one_and_the_same_are_an_adverse_finding(project: Project) -> None:
    """A generator that ignores its seed makes the same images again, which is no second run."""
    store, audit = run(project, generator={"wavering": {"same": True}}, tasks=None)
    found = {row.text for row in store.current(FindingRow, audit) if row.kind == "synthetic_overlap"}
    pairs = ((2, 1), (3, 1), (3, 2))
    assert found == {f"40 of 40 images of sampling run {late} are identical to images of sampling run {early}." for late, early in pairs}


def test_mixes_without_synthetic_images_need_no_runs(project: Project) -> None:
    """Three runs and five repeats of real images alone are planned and run."""
    store, audit = run(project, tasks=TASKS | {"mixes": [[1, 0]], "repeats": 5}, **NOTHING)
    assert len({row.repeat for row in store.current(CaseScoreRow, audit)}) == 5


def test_a_third_run_that_repeats_the_second_is_found(project: Project) -> None:
    """Each run is held against every earlier one."""
    for name in ("more", "most"):
        write_phantoms(project.folder / name, phantoms(40, seed=8, size=32, patients=40, first_patient=301))
    store, audit = run(project, generator={"folder": {"path": "synthetic", "runs": ["more", "most"]}}, tasks=None, **NOTHING)
    found = [row.text for row in store.current(FindingRow, audit) if row.kind == "synthetic_overlap"]
    assert found == ["40 of 40 images of sampling run 3 are identical to images of sampling run 2."]


def test_two_audits_with_runs_are_compared(project: Project) -> None:
    """The difference of two generators allows for the runs of both."""
    store, _ = run(project, tasks=None)
    run(project, generator={"wavering": {"same": True}}, tasks=None)
    contrast = next(line for line in read(["tiny"], [store.path]).lines if line.name == "frechet.fid").contrasts[0]
    assert contrast.difference is not None
    assert "between sampling runs" in contrast.difference.method


def test_an_audit_goes_on_where_it_was_begun(project: Project) -> None:
    """Results of two devices would be mixed; the first is named, and what to do."""
    store, audit = run(project, runs=1, tasks=None, **NOTHING)
    assert project.audit(HOST).begun_on() == "cpu"
    with pytest.raises(InputError, match="this audit was begun on cpu, and cuda would mix results of two devices"):
        project.audit(HOST, device="cuda").run()
    assert store.audits() == [audit]


def test_a_folder_needs_one_of_its_own_for_each_run(project: Project) -> None:
    """Folders named under `runs` are read as further runs; where they are lacking, the reason says so and nothing is lost."""
    for name, seed in (("more", 8), ("most", 9)):
        write_phantoms(project.folder / name, phantoms(40, seed=seed, size=32, patients=40, first_patient=301))
    store, audit = run(project, generator={"folder": {"path": "synthetic", "runs": ["more", "most"]}}, tasks=None)
    assert sorted(row.n for row in store.current(ImageSetRow, audit) if row.role == "synthetic") == [40, 40, 40]
    store, audit = run(project, generator={"folder": {"path": "synthetic", "runs": ["more"]}}, tasks=None)
    reasons = {row.reason for row in store.current(CellRow, audit) if row.stage == "sample" and row.status != "ok"}
    assert reasons == {"sampling run 3 needs a folder of its own, and 1 further folders are named: generator: {folder: {runs: [...]}}"}
    with pytest.raises(SpecError, match="runs must share nothing with path"):
        run(project, generator={"folder": {"path": "synthetic", "runs": ["synthetic"]}})


@pytest.mark.parametrize(
    ("runs", "said"),
    [(2, "2 do not tell how much runs differ"), (4, "4 for 5 repeats of each task"), (0, "greater than or equal to 1")],
)
def test_how_many_runs_make_sense(project: Project, runs: int, said: str) -> None:
    """Two tell nothing, and where there are several, each repeat of a task needs one of its own."""
    with pytest.raises(SpecError, match=said):
        run(project, runs=runs, tasks=TASKS | {"repeats": 5})


def test_a_generator_is_trained_without_the_images_by_which_tasks_stop(project: Project) -> None:
    """They are set aside by patient before, for every part of the audit; a generator that comes trained changes nothing."""
    store, audit = run(project, generator="taught", runs=1, samples=60)
    rows = {row.role: row for row in store.current(ImageSetRow, audit)}
    assert (rows["train"].patients, rows["validation"].patients) == (19, 5)
    seen = next(Path(project.folder / "cache").rglob("patients.txt")).read_text().split()
    assert len(seen) == 19
    assert {row.value for row in store.current(CaseScoreRow, audit, quantity="stopped_by")} == {5.0}
    store, other = run(project, runs=1, samples=60)
    assert {row.role: row.patients for row in store.current(ImageSetRow, other) if row.role != "synthetic"} == {"train": 24, "test": 12}
    with pytest.raises(InputError, match="the train images: an audit that trains its generator first sets validation images aside"):
        read([audit, other], [store.path])


def test_images_that_the_user_names_for_validation_stay_as_they_are(project: Project) -> None:
    """Nothing more is set aside."""
    write_phantoms(project.folder / "held", phantoms(24, seed=11, size=32, patients=8, first_patient=401))
    data = {"train": "train", "test": "test", "validation": "held", "labels": "folder", "patients": {"pattern": r"P\d+"},
            "masks": {"suffix": "_mask"}, "window": [0, 255]}  # fmt: skip
    store, audit = run(project, generator="taught", runs=1, samples=60, data=data)
    assert {row.role: row.patients for row in store.current(ImageSetRow, audit)}["train"] == 24
