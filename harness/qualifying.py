"""`harness qualify`: which metrics notice which defects on a set of real images, before there is a generator."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from . import specfile
from .errors import InputError, Problem, SpecError
from .records import QualificationRow
from .spec import EXTRACTORS, AuditSpec, Battery, Reference, Tasks, digest
from .specfile import SpecFile
from .table import Table

COLUMNS = ["quantity", "extractor", "n", "blind to", "not tested", "notices", "with a guard", "misled by"]
NAMED = ("qualified", "conditional", "reversed")


@dataclass(frozen=True)
class Asked:
    """What the command line says besides the folder. data: as under `data` of model.yaml, without folders."""

    extractors: tuple[Reference, ...] = ()
    metrics: tuple[Reference, ...] = ()
    tasks: tuple[Reference, ...] = ()
    perturbations: tuple[Reference, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    battery: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    @property
    def empty(self) -> bool:
        """Whether nothing was said."""
        return self == Asked()


def file_of(where: Path, asked: Asked) -> SpecFile:
    """Return what to qualify: of a model.yaml the part without generator and purposes, of a folder what the command line says."""
    if not where.exists():
        raise InputError(Problem("there is no such file or folder", str(where), "name a model.yaml, or a folder of real images"))
    if where.is_file():
        if not asked.empty:
            fix = "change the model.yaml, or name a folder of images"
            raise SpecError(Problem("a model.yaml says itself what is qualified, and options were given", str(where), fix))
        file = specfile.read(where, whole=False)
        return replace(file, spec=file.spec.for_qualification())
    body: dict[str, Any] = {
        "audit": f"{re.sub(r'[^A-Za-z0-9]+', '-', where.resolve().name).strip('-') or 'images'}-qualify"[:64],
        "seed": asked.seed, "data": {"train": str(where.resolve()), **asked.data},
        "extractors": list(asked.extractors or EXTRACTORS),
        "metrics": list(asked.metrics) or "default", "perturbations": list(asked.perturbations), "battery": asked.battery, "strata": [],
    }  # fmt: skip
    if asked.tasks:
        body["tasks"] = Tasks(components=asked.tasks)
    try:
        Battery.model_validate(asked.battery)
        spec = AuditSpec.model_validate(body)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {str(e['msg']).removeprefix('Value error, ')}" for e in error.errors()]
        raise SpecError(*(Problem(text, "the command line") for text in problems)) from None
    if not spec.perturbations and spec.battery.preset is None:
        raise SpecError(Problem("nothing is planted", "--preset", "name a modality with --preset, or perturbations with --perturbation"))
    return SpecFile(spec, where.resolve() / "model.yaml", digest(spec.plan()), spec.plan(), {})


def summary(rows: Sequence[QualificationRow]) -> Table:
    """Return one row for each quantity and extractor: which defects it notices, which mislead it, how many it does not notice."""
    found: dict[tuple[str, str], list[QualificationRow]] = {}
    for row in rows:
        if row.failure_mode != "harmless":
            found.setdefault((f"{row.component}.{row.quantity}", row.extractor), []).append(row)
    table = []
    for (quantity, extractor), mine in sorted(found.items()):
        numbers = sorted({row.n for row in mine if row.n is not None})
        n = "" if not numbers else str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
        blind, untested = (sum(row.outcome == outcome for row in mine) for outcome in ("not_qualified", None))
        by = [", ".join(row.perturbation for row in mine if row.outcome == outcome) for outcome in NAMED]
        table.append((quantity, extractor, n, f"{blind} of {len(mine)}", untested, *by))
    return Table(COLUMNS, table)
