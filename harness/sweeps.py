"""What the dossier shows of trust factors: curves over the sweep of mixes, and a table of every mix. Rows in, printable facts out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .figures import Dose
from .records import TrustRow
from .statistics.trust import VARIANTS

# What is drawn: of each factor the reading that is primary, and of T2 the one as printed beside it.
DRAWN = ("image_first", "literal_over_images", "over_region_means", "cosine", "mean_absolute_difference", "wasserstein", "cv")
BESIDE = {"cosine": "shuffled_mean"}
Mix = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """One factor against the real share of a sweep, whose mixes hold as many images as there are real ones.

    doses: on real test images, or on both sets together (T3, T4). beside: on synthetic test images, or what T3 is under random pairing.
    """

    factor: str
    variant: str
    region: str
    doses: tuple[Dose, ...]
    beside: tuple[Dose, ...]


@dataclass(frozen=True)
class Line:
    """One factor, reading, region and test set over every mix; None where a mix has no row."""

    factor: str
    variant: str
    region: str
    tested_on: str
    rows: tuple[TrustRow | None, ...]


@dataclass(frozen=True)
class Sweep:
    """Trust factors of one task. mixes: in the order of the plan; readings: the variants in the table, each in words."""

    task: str
    mixes: tuple[Mix, ...]
    curves: tuple[Curve, ...]
    lines: tuple[Line, ...]
    readings: tuple[tuple[str, str], ...]
    paired: bool
    repeats: int
    missing: tuple[tuple[str, str], ...]


def sweeps(rows: Iterable[TrustRow]) -> list[Sweep]:
    """Return the factors of each task."""
    grouped: dict[str, list[TrustRow]] = defaultdict(list)
    for row in rows:
        grouped[row.component].append(row)
    return [_sweep(task, mine) for task, mine in sorted(grouped.items())]


def _sweep(task: str, rows: Sequence[TrustRow]) -> Sweep:
    mixes = tuple(dict.fromkeys(_mix(row) for row in rows))
    shown = [row for row in rows if row.variant in DRAWN and _said(row)]
    shown.sort(key=lambda row: (row.factor, DRAWN.index(row.variant), row.region, row.tested_on))
    keys = dict.fromkeys((row.factor, row.variant, row.region, row.tested_on) for row in shown)
    found = {(row.factor, row.variant, row.region, row.tested_on, _mix(row)): row for row in rows}
    lines = tuple(Line(*key, tuple(found.get((*key, mix)) for mix in mixes)) for key in keys)
    drawn = dict.fromkeys((row.factor, row.variant, row.region) for row in shown)
    curves = tuple(curve for key in drawn if (curve := _curve(rows, *key)) is not None)
    readings = tuple((variant, text) for variant, text in VARIANTS.items() if any(line.variant == variant for line in lines))
    reasons = dict.fromkeys((f"({row.real_share:g}, {row.synthetic_share:g})", row.reason) for row in rows if not row.variant)
    return Sweep(
        task, mixes, curves, lines, readings, paired=any(row.variant == "cosine" and row.value is not None for row in rows),
        repeats=max((row.repeats or 0 for row in rows), default=0), missing=tuple(reasons),
    )  # fmt: skip


def _said(row: TrustRow) -> bool:
    """Return whether a reading belongs in the table: the one that needs no pairs only where it has a value."""
    return row.variant != "wasserstein" or row.value is not None


def _curve(rows: Sequence[TrustRow], factor: str, variant: str, region: str) -> Curve | None:
    """Return the curve over the mixes that hold as many images as there are real ones; None below two of them."""
    swept = [row for row in rows if row.factor == factor and row.region == region and math.isclose(sum(_mix(row)), 1.0, abs_tol=1e-9)]
    own = [row for row in swept if row.variant == variant and row.value is not None]
    first = [row for row in own if row.tested_on != "synthetic"]
    other = [row for row in own if row.tested_on == "synthetic"]
    other = other or [row for row in swept if row.variant == BESIDE.get(variant) and row.value is not None]
    return Curve(factor, variant, region, _doses(first), _doses(other)) if len(first) > 1 else None


def _doses(rows: Sequence[TrustRow]) -> tuple[Dose, ...]:
    made = []
    for row in sorted(rows, key=lambda row: row.real_share):
        assert row.value is not None
        low, high = (row.value if end is None else end for end in (row.ci_low, row.ci_high))
        made.append(Dose(row.real_share, row.value, low, high))
    return tuple(made)


def _mix(row: TrustRow) -> Mix:
    return row.real_share, row.synthetic_share
