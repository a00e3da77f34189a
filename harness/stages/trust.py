"""Trust factors T1 to T5 of Raja Babu et al. over the Dice of every mix, on real and on synthetic test images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..bench import Bench
from ..cells import Cell
from ..components import Task
from ..images import ImageSet
from ..quantities import Record
from ..records import CellStatus, TrustRow
from ..statistics.trust import trust_factors
from .evaluate import TRUSTED, Found, gathered, tests


def factors(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Compute the factors of every mix; they are paired by case where synthetic test images were made from real ones."""
    part = bench.parts.tasks[cell.arguments["task"]]
    assert isinstance(part.component, Task)
    sides = tests(bench, cell.arguments)
    real = sides["real"]
    columns = part.component.columns(real)
    regions = [k for k, name in enumerate(columns) if name] or [0]
    pairs = _pairs(real, sides["synthetic"]) if "synthetic" in sides else None
    found = {tested_on: gathered(bench, cell.arguments, tested_on) for tested_on in ("real", "synthetic")}
    for mix, of_real in found["real"].items():
        common: dict[str, Any] = {"cell": cell.key, "component": part.name, "real_share": mix[0], "synthetic_share": mix[1],
                                  "seed": bench.seed}  # fmt: skip
        missing = next((one for one in (of_real, found["synthetic"][mix]) if isinstance(one, tuple)), None)
        if missing is not None:
            yield _missing(common, *missing)
            continue
        one, other = (_dice(values, regions) for values in (of_real, found["synthetic"][mix]))
        if pairs is not None:
            one, other = one[:, pairs[0]], other[:, pairs[1]]
        units = real.units if pairs is None else real.units[pairs[0]]
        for factor in trust_factors(one, other, units=units, paired=pairs is not None, known=real.patients is not None):
            region = "" if factor.region is None else columns[regions[factor.region]]
            row = {"factor": factor.factor, "variant": factor.variant, "region": region, "tested_on": factor.tested_on}
            if factor.value is None:
                yield TrustRow(**common, **row, value=None, status="not_computable", reason=factor.reason)
            else:
                yield TrustRow(**common, **row, value=factor.value, ci_low=factor.low, ci_high=factor.high, ci_method=factor.method,
                               level=factor.level, n=factor.n, repeats=len(one))  # fmt: skip


def _missing(common: Mapping[str, Any], status: CellStatus, reason: str) -> TrustRow:
    """Return the row of a mix of which a training is missing."""
    return TrustRow(**common, factor="T1", variant="", region="", tested_on="both", value=None, status=status, reason=reason)


def _dice(found: Found, regions: list[int]) -> np.ndarray:
    """Return (repeats, cases, regions) Dice."""
    assert not isinstance(found, tuple)
    return np.moveaxis(found[TRUSTED][:, regions], 2, 0)


def _pairs(real: ImageSet, synthetic: ImageSet) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the rows of real test images and of the synthetic ones that were made from them; None where they do not pair."""
    if synthetic.sources is None:
        return None
    rows = {name: row for row, name in enumerate(real.ids)}
    if not set(synthetic.sources) <= set(rows):
        return None
    return np.array([rows[name] for name in synthetic.sources]), np.arange(len(synthetic))


def blank(bench: Bench, cell: Cell, status: CellStatus, reason: str) -> Iterator[Record]:
    """Say that there are no factors, and why."""
    part = bench.parts.tasks[cell.arguments["task"]]
    for mix in cell.arguments["mixes"]:
        common = {"cell": cell.key, "component": part.name, "real_share": mix[0], "synthetic_share": mix[1], "seed": bench.seed}
        yield _missing(common, status, reason)
