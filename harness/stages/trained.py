"""The battery of downstream tasks: each is trained once on the clean anchor and tested on clean and on planted probes.

What is resampled are the cases of a probe, by patient, so the spread does not hold what another training would add.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from .. import datasets, trials
from ..bench import Bench
from ..cells import Cell, derive
from ..components import Task
from ..errors import NotComputable
from ..quantities import Record
from ..records import CellStatus
from ..resampling import draw
from .answers import Answers
from .battery import split
from .planting import cases, keep_cases, kept_cases, scored
from .qualify import LEAST_IMAGES, promises, replicate_n

Scored = tuple[np.ndarray, dict[str, np.ndarray]]


def train(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Train a task on the clean anchor of one fault seed and test it on the clean probe."""
    arguments = cell.arguments
    part = bench.parts.tasks[arguments["task"]]
    assert isinstance(part.component, Task)
    anchor, probe = split(bench, arguments["data"], arguments["fault"])
    if bench.file.spec.data.validation is None:
        anchor, validation = datasets.split_validation(anchor, arguments["share"], derive(bench.seed, "validation", arguments["fault"]))
    else:
        validation = bench.images(arguments["data"], "validation")
    workdir = folder / "fitted"
    workdir.mkdir()
    trials.fit(part, anchor, validation, bench.context(workdir, "task", part.name, part.offer.version, "battery", arguments["fault"]))
    np.save(folder / "units.npy", probe.units)
    context = bench.context(folder, "task", part.name, part.offer.version, "battery")
    keep_cases(folder / "clean.npz", cases(part, probe, replace(context, fitted=workdir)))
    yield from ()


def null(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Resample the cases of the clean probes: null splits, and replicates at severity 0."""
    part = bench.parts.tasks[cell.arguments["task"]]
    probes = [_clean(bench, key) for key in cell.arguments["trained"]]
    answers = Answers(replicate_n(min(len(units) for units, _ in probes), cell.arguments["size"]["n"]))
    _enough(answers.n)
    _ask_null(bench, cell, answers, probes)
    answers.save(folder)
    yield from answers.scores(cell, "", promises([part]), "planted")


def replicates(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Resample the cases of the probes with one planted defect; of as few clean ones, where the defect leaves fewer."""
    arguments, size = cell.arguments, cell.arguments["size"]
    part, defect = bench.parts.tasks[arguments["task"]], bench.parts.perturbations[arguments["perturbation"]]
    base = Answers.load(bench.cache.folder(arguments["null"]))
    pools = {
        (dose, fault): scored(bench, arguments["planted"][repr(dose)][fault], arguments["task"])
        for dose in size["doses"]
        for fault in range(size["fault_seeds"])
    }
    answers = Answers(min([base.n, *(len(units) // 2 for units, _ in pools.values())]), reasons=dict(base.reasons))
    _enough(answers.n)
    if answers.n < base.n:
        _ask_null(bench, cell, answers, [_clean(bench, key) for key in arguments["trained"]])
    for (dose, fault), probe in pools.items():
        for repeat in range(fault, size["replicates"], size["fault_seeds"]):
            _resample(answers, part.name, (dose, fault), probe, derive(bench.seed, "replicate", repeat))
    answers.save(folder)
    yield from answers.scores(cell, defect.name, promises([part]), "planted")


def _ask_null(bench: Bench, cell: Cell, answers: Answers, probes: list[Scored]) -> None:
    """Draw null splits, and replicates of severity 0, from the clean probes in turn."""
    part, size = bench.parts.tasks[cell.arguments["task"]], cell.arguments["size"]
    for repeat in range(size["null_splits"]):
        _resample(answers, part.name, None, probes[repeat % len(probes)], derive(bench.seed, "null split", repeat))
    for repeat in range(size["replicates"]):
        fault = repeat % len(probes)
        _resample(answers, part.name, (0.0, fault), probes[fault], derive(bench.seed, "replicate", repeat))


def _clean(bench: Bench, key: str) -> Scored:
    """Return the units of a clean probe, (N,), and what the task made of each case."""
    return bench.array(key, "units"), kept_cases(bench.cache.folder(key) / "clean.npz")


def _enough(n: int) -> None:
    if n < LEAST_IMAGES:
        raise NotComputable(f"needs at least {LEAST_IMAGES} images in a replicate, which is half of the smallest probe; got {n}")


def _resample(answers: Answers, task: str, where: tuple[float, int] | None, probe: Scored, seed: int) -> None:
    """Draw cases by patient and take the mean of those that have a value."""
    units, values = probe
    rows = draw(units, answers.n, np.random.default_rng(seed))
    for name, column in values.items():
        known = column[rows][np.isfinite(column[rows])]
        if len(known):
            answers.put(where, (task, name), float(known.mean()))
        else:
            answers.reasons.setdefault((task, name), "no case of a replicate has a value")


def blank(bench: Bench, cell: Cell, status: CellStatus, reason: str) -> Iterator[Record]:
    """Leave no row: the decision says what is missing."""
    yield from ()
