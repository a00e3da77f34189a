"""What a metric or a task said of null splits and of replicates, quantity by quantity: from one cell to the cell that decides."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..cells import Cell
from ..quantities import Quantity
from ..records import ScoreRow

FILE = "answers.json"
Key = tuple[str, str]


@dataclass
class Answers:
    """Values by (component, quantity). n: images in a replicate. null: real against real. doses: by severity, and for each planted
    probe (fault seed) apart. reasons: why a quantity has no number.
    """

    n: int
    null: dict[Key, list[float]] = field(default_factory=dict)
    doses: dict[float, dict[Key, list[list[float]]]] = field(default_factory=dict)
    reasons: dict[Key, str] = field(default_factory=dict)

    def refuse(self, component: str, quantities: tuple[Quantity, ...], reason: str) -> None:
        """Note why a component has no number; the first reason stays."""
        for quantity in quantities:
            self.reasons.setdefault((component, quantity.name), reason)

    def answered(self, component: str, quantities: tuple[Quantity, ...]) -> bool:
        """Return whether some quantity of a component still has every number."""
        return any((component, quantity.name) not in self.reasons for quantity in quantities)

    def put(self, where: tuple[float, int] | None, key: Key, value: float) -> None:
        """Add the value of a null split (where None), or of a replicate at (severity, fault seed)."""
        if where is None:
            self.null.setdefault(key, []).append(value)
            return
        probes = self.doses.setdefault(where[0], {}).setdefault(key, [])
        while len(probes) <= where[1]:
            probes.append([])
        probes[where[1]].append(value)

    def probes(self, severity: float, key: Key) -> list[np.ndarray]:
        """Return the values at a severity, one array for each planted probe."""
        return [np.array(found) for found in self.doses[severity][key]]

    def save(self, folder: Path) -> None:
        """Write everything to one file of the cell."""
        body: dict[str, Any] = {
            "n": self.n,
            "null": [[*key, values] for key, values in self.null.items()],
            "doses": [[dose, *key, probes] for dose, found in self.doses.items() for key, probes in found.items()],
            "reasons": [[*key, reason] for key, reason in self.reasons.items()],
        }
        (folder / FILE).write_text(json.dumps(body), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Answers:
        """Read what `save` wrote."""
        body = json.loads((folder / FILE).read_text(encoding="utf-8"))
        found = cls(body["n"], {(c, q): values for c, q, values in body["null"]})
        for dose, component, quantity, probes in body["doses"]:
            found.doses.setdefault(dose, {})[component, quantity] = probes
        found.reasons = {(c, q): reason for c, q, reason in body["reasons"]}
        return found

    def scores(self, cell: Cell, perturbation: str, promised: dict[Key, Quantity], tested_on: str = "") -> Iterator[ScoreRow]:
        """Yield one row for every value, those of quantities without a number at some replicate aside."""
        for key, quantity in promised.items():
            if key in self.reasons:
                continue
            common: dict[str, Any] = {
                "cell": cell.key, "component": key[0], "quantity": key[1], "extractor": cell.arguments["extractor"],
                "perturbation": perturbation, "n": self.n, "unit": quantity.unit, "better": quantity.better, "tested_on": tested_on,
            }  # fmt: skip
            for repeat, value in enumerate(self.null.get(key, ())):
                yield ScoreRow(**common, stage="null", severity=0.0, repeat=repeat, value=value)
            for severity, found in self.doses.items():
                for fault, probe in enumerate(found[key]):
                    for k, value in enumerate(probe):
                        repeat = fault + k * len(found[key])
                        yield ScoreRow(**common, stage="qualify", severity=severity, repeat=repeat, value=value)
