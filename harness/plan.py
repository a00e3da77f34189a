"""Turns an audit into cells: what will be done, on what, in which order, at what rough cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .cells import Cell, Draft
from .checks import Parts
from .specfile import SpecFile
from .stages import battery, evaluate, extract, judge_cell, measure, rate, sample

STAGES = ("sample", "extract", "qualify", "measure", "evaluate", "rate", "judge")


@dataclass(frozen=True)
class Plan:
    """The cells of an audit in an order in which each follows those that it needs; images: those that read and generate images."""

    cells: dict[str, Cell]
    data: str
    images: tuple[str, ...]
    battery: battery.Terms | None = None

    def of_stage(self, stage: str) -> list[Cell]:
        """Return the cells of one stage."""
        return [cell for cell in self.cells.values() if cell.stage == stage]


def draw(
    file: SpecFile,
    parts: Parts,
    salt: bytes,
    files: Mapping[str, str],
    *,
    synthetic: Mapping[str, str] = MappingProxyType({}),
    n_train: int = 500,
    lock: Mapping[str, Any] | None = None,
    others: Sequence[str] = (),
    device: str = "cpu",
    failed: Set[str] = frozenset(),
    planned: Set[str] = frozenset(),
    retry: bool = False,
) -> Plan:
    """Draw the plan.

    files: digests of the real arms. synthetic: digests of synthetic images by the cell that makes them, as far as it did.
    n_train sizes the costs. lock: what was locked first under this audit's name, None where this is the first
    plan. failed, planned: keys of earlier attempts; a failed cell that is tried again gets a new key.
    """
    spec = file.spec
    draft = Draft(spec.seed, device, failed, planned, retry)
    data = sample.data_cell(draft, spec, parts.generator, files, salt)
    if parts.generator is None:
        size = battery.cells(draft, spec, parts, data, extract.cells(draft, parts, data, (), n_train), n_train)
        return Plan(draft.cells, data, (data,), size)
    made = sample.cells(draft, spec, parts.generator, data)
    samples = [(key, synthetic.get(key, "to be made")) for key in made.train]
    described = extract.cells(draft, parts, data, samples, n_train)
    size = battery.cells(draft, spec, parts, data, described, n_train)
    measure.cells(draft, spec, parts, data, samples, described, n_train)
    evaluate.cells(draft, spec, parts, data, samples, (made.test, synthetic.get(made.test, "to be made")) if made.test else None)
    rate.cells(draft, spec, parts, data, *samples[0])
    judge_cell.cell(draft, spec, lock, others)
    return Plan(draft.cells, data, (data, *made.all()), size)
