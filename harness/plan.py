"""Turns an audit into cells: what will be done, on what, in which order, at what rough cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from .cells import Cell, Draft
from .checks import Parts
from .specfile import SpecFile
from .stages import evaluate, extract, judge_cell, measure, qualify, rate, sample

STAGES = ("sample", "extract", "qualify", "measure", "evaluate", "rate", "judge")


@dataclass(frozen=True)
class Plan:
    """The cells of an audit in an order in which each follows those that it needs."""

    cells: dict[str, Cell]
    data: str
    sample: str
    judge: str

    def of_stage(self, stage: str) -> list[Cell]:
        """Return the cells of one stage."""
        return [cell for cell in self.cells.values() if cell.stage == stage]


def draw(
    file: SpecFile,
    parts: Parts,
    salt: bytes,
    files: Mapping[str, str],
    *,
    synthetic: str | None = None,
    n_train: int = 500,
    lock: Mapping[str, Any] | None = None,
    others: Sequence[str] = (),
    device: str = "cpu",
    failed: Set[str] = frozenset(),
    planned: Set[str] = frozenset(),
    retry: bool = False,
) -> Plan:
    """Draw the plan.

    files: digests of the real arms. synthetic: digest of the synthetic images, None while they have not been made.
    n_train sizes the costs. lock: what was locked first under this audit's name, None where this is the first
    plan. failed, planned: keys of earlier attempts; a failed cell that is tried again gets a new key.
    """
    spec = file.spec
    draft = Draft(spec.seed, device, failed, planned, retry)
    data = sample.data_cell(draft, spec.data, files, salt)
    made = sample.sample_cell(draft, parts.generator, data, spec.samples)
    known = synthetic or "to be made"
    described = extract.cells(draft, parts, data, made, known, n_train)
    qualify.cells(draft, spec, parts, data, described, n_train)
    measure.cells(draft, spec, parts, data, made, known, described, n_train)
    evaluate.cells(draft, spec, parts, data, made, known)
    rate.cells(draft, spec, parts, data, made, known)
    judge = judge_cell.cell(draft, spec, lock, others)
    return Plan(draft.cells, data, made, judge)
