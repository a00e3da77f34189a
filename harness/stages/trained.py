"""Trains each downstream task once on the clean anchor of a fault seed and tests it on the clean probe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from .. import trials
from ..bench import Bench
from ..cells import Cell
from ..components import Task
from ..quantities import Record
from ..records import CellStatus
from .battery import split
from .evaluate import with_validation
from .planting import cases


def train(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Train a task on the clean anchor of one fault seed and test it on the clean probe."""
    arguments = cell.arguments
    part = bench.parts.tasks[arguments["task"]]
    assert isinstance(part.component, Task)
    anchor, probe = split(bench, arguments["data"], arguments["fault"])
    anchor, validation = with_validation(bench, anchor, arguments, arguments["fault"])
    workdir = folder / "fitted"
    workdir.mkdir()
    trials.fit(part, anchor, validation, bench.context(workdir, "task", part.name, part.offer.version, "battery", arguments["fault"]))
    context = bench.context(folder, "task", part.name, part.offer.version, "battery")
    trials.keep(folder / "clean.npz", cases(part, probe, replace(context, fitted=workdir)))
    yield from ()


def blank(bench: Bench, cell: Cell, status: CellStatus, reason: str) -> Iterator[Record]:
    """Leave no row: the decision says what is missing."""
    yield from ()
