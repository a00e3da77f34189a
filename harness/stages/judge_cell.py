"""The judge as a cell: gathers the rows of the finished cells and stores what `judge` makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..bench import Bench
from ..cells import Cell, Draft
from ..components import Perturbation
from ..evidence import Evidence
from ..quantities import Record
from ..readerspec import ScaleSpec
from ..records import CellStatus, EvidenceKind, FindingRow, ImageSetRow, QualificationRow, ReliabilityRow, ScoreRow
from ..spec import AuditSpec, Purpose
from .judge import Lock, judge


def cell(draft: Draft, spec: AuditSpec, lock: Mapping[str, Any] | None, others: Sequence[str]) -> str:
    """Add the judge, after everything else. lock: what was locked first and what was changed since. others: earlier audits of
    the same generator on the same data under other names.
    """
    before = [key for key, other in draft.cells.items() if other.stage != "extract"]
    purposes = {name: purpose.model_dump(mode="json") for name, purpose in spec.purposes.items()}
    scales = [scale.model_dump(mode="json") for scale in spec.ratings.scales] if spec.ratings else []
    arguments = {"cells": before, "purposes": purposes, "scales": scales, "lock": lock, "others": list(others)}
    return draft.add("judge", "verdicts", "judge every criterion", "judge_cell.run", arguments, None, before, 1)


def run(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Judge the purposes on the rows of all cells, failed ones included."""
    results = [bench.cache.load(key) for key in cell.arguments["cells"]]
    rows = [row for result in results if result for row in result.rows]
    parts, locked = bench.parts, cell.arguments["lock"]
    kinds: dict[str, EvidenceKind] = {f"{part.name}.{q.name}": "E1" for part in parts.metrics for q in part.offer.promises}
    kinds |= {f"{part.name}.{q.name}": "E2" for part in parts.tasks for q in part.offer.promises}
    evidence = Evidence(
        scores=tuple(r for r in rows if isinstance(r, ScoreRow) and r.stage in ("measure", "evaluate")),
        qualifications=tuple(r for r in rows if isinstance(r, QualificationRow)),
        reliability=tuple(r for r in rows if isinstance(r, ReliabilityRow)),
        findings=tuple(r for r in rows if isinstance(r, FindingRow)),
        quantities=parts.quantities(),
        kinds=kinds,
        runs=sum(isinstance(row, ImageSetRow) and row.role == "synthetic" for row in rows),
        repeats=bench.file.spec.tasks.repeats if bench.file.spec.tasks else None,
        scales={scale["name"]: ScaleSpec.model_validate(scale) for scale in cell.arguments["scales"]},
        failure_modes={
            p.name: p.component.failure_mode for p in parts.perturbations if isinstance(p.component, Perturbation)
        },
    )  # fmt: skip
    lock = None
    if locked is not None:
        first = {name: Purpose.model_validate(body) for name, body in locked["purposes"].items()}
        lock = Lock(first, locked["same_data"], tuple(locked["changed"]))
    # The purposes of the plan, not of a file that may have been edited while the audit ran.
    purposes = {name: Purpose.model_validate(body) for name, body in cell.arguments["purposes"].items()}
    judgement = judge(purposes, evidence, lock, cell.key)
    if cell.arguments["others"]:
        text = f"The same generator was audited on the same data before, under other names: {', '.join(cell.arguments['others'])}."
        yield FindingRow(cell=cell.key, severity="warning", kind="other_audits", text=text)
    yield from judgement.criteria
    yield from judgement.verdicts
    yield from judgement.findings


def blank(bench: Bench, cell: Cell, status: CellStatus, reason: str) -> Iterator[Record]:
    """Leave no row: an audit whose judge failed has no verdict."""
    yield from ()
