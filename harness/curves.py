"""Responses against severity, upstream beside downstream: which curves to draw and what is in them. Rows in, printable facts out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from .batteries import FAMILIES, FAMILY_NAMES, TASK, Battery, has_unit, response_at, who
from .figures import Dose, Line
from .records import QualificationRow, ResponseRow, TrainingRow
from .spec import AuditSpec
from .wording import signed

PANELS = 24
SECONDS = "seconds"


@dataclass(frozen=True)
class Panel:
    """A quantity against the severity of one planted defect, and the task beside it where one took part.

    Doses, band and task are in null standard deviations, worse upwards; in the quantity's own unit where its null splits do not
    vary (standardised False), and then without the task.
    """

    row: QualificationRow
    doses: tuple[Dose, ...]
    band: tuple[float, float] | None
    standardised: bool
    unit: str
    task: str = ""
    beside: tuple[Dose, ...] = ()


def panels(battery: Battery, spec: AuditSpec | None) -> tuple[list[Panel], int]:
    """Return the dose-response panels to draw, and how many there are in all.

    First those that a criterion rests on; then, perturbation by perturbation, those in which quantity and task differ most, or that
    respond most where no task took part.
    """
    criteria = [c for p in spec.purposes.values() for c in p.criteria] if spec else []
    used = {(c.quantity, c.extractor, q) for c in criteria for q in c.qualified_by}
    used |= {(c.quantity, c.extractor, p) for c in criteria for m in c.failure_modes for p, mode in battery.mode.items()
             if mode == m.value and not c.qualified_by}  # fmt: skip
    waiting: dict[str, list[tuple[float, QualificationRow]]] = defaultdict(list)
    first: list[tuple[float, QualificationRow]] = []
    for q in battery.qualifications:
        if len(battery.by_pair.get((who(q), q.perturbation), ())) < 2 or battery.family(q) == TASK:
            continue
        contrast = _contrast(battery, q)
        name = f"{q.component}.{q.quantity}"
        rests = any((name, extractor, q.perturbation) in used for extractor in (None, q.extractor))
        (first if rests else waiting[q.perturbation]).append((contrast, q))
    ranked = [
        (k, -contrast, q)
        for group in waiting.values() for k, (contrast, q) in enumerate(sorted(group, key=lambda item: (-item[0], who(item[1]))))
    ]  # fmt: skip
    first.sort(key=lambda item: (-item[0], who(item[1]), item[1].perturbation))
    ranked.sort(key=lambda item: (item[0], item[1], who(item[2]), item[2].perturbation))
    order = [q for _, q in first] + [q for _, _, q in ranked]
    return [_panel(battery, q) for q in order[:PANELS]], len(order)


def _contrast(battery: Battery, q: QualificationRow) -> float:
    """Return how far quantity and task are apart at the dose of concern, on the scale of the chart; 0 without a unit."""
    rows = battery.by_pair[who(q), q.perturbation]
    if not has_unit(rows):
        return 0.0
    own = response_at(rows, q.dose_of_concern)
    return abs(math.asinh(own) - math.asinh(response_at(battery.task_under(q.perturbation), q.dose_of_concern)))


def _panel(battery: Battery, q: QualificationRow) -> Panel:
    rows = list(battery.by_pair[who(q), q.perturbation].values())
    fold = standardise(rows)
    band = None if q.null_low is None or q.null_high is None else (q.null_low, q.null_high)
    if fold is None:
        return Panel(q, tuple(Dose(r.severity, r.mean, r.low, r.high) for r in rows), band, False, rows[0].unit)
    beside = list(battery.task_under(q.perturbation).values())
    limits = None if band is None else tuple(sorted((fold(band[0]), fold(band[1]))))
    return Panel(q, _doses(rows), None if limits is None else (limits[0], limits[1]), True, "null SD", named(beside), _doses(beside))


def _doses(rows: Sequence[ResponseRow]) -> tuple[Dose, ...]:
    """Return the rows in null standard deviations."""
    fold = standardise(rows)
    if fold is None:
        return ()
    return tuple(Dose(r.severity, fold(r.mean), *sorted((fold(r.low), fold(r.high)))) for r in rows)


def named(rows: Sequence[ResponseRow]) -> str:
    """Return the quantity of these rows, nothing where there are none."""
    return f"{rows[0].component}.{rows[0].quantity}" if rows else ""


def standardise(rows: Sequence[ResponseRow]) -> Callable[[float], float] | None:
    """Return the map from a quantity's own unit to null standard deviations, worse upwards; None where there is none.

    A response is linear in the mean, so two rows of one quantity give the map. Rows whose means agree give one that says for every
    value what their responses are.
    """
    known = [(r.mean, r.response) for r in rows if r.response is not None]
    if not known or len(known) < len(rows):
        return None
    (low, at_low), (high, at_high) = min(known), max(known)
    slope = (at_high - at_low) / (high - low) if high > low else 0.0
    return lambda value: at_low + slope * (value - low)


@dataclass(frozen=True)
class Overview:
    """All families and the task under one perturbation. counts: how many quantities each line stands for."""

    perturbation: str
    mode: str
    concern: float | None
    lines: tuple[Line, ...]
    counts: tuple[int, ...]
    task: str = ""

    def told(self, names: Mapping[str, str]) -> str:
        """Say in words where the lines end."""
        return ", ".join(f"{names[line.look]} {signed(line.points[-1].mean)}" for line in self.lines)


def overviews(battery: Battery) -> list[Overview]:
    """Return upstream against downstream under each perturbation, in the order of the failure modes.

    A line is the median over the quantities of a family (every extractor counts), its range their lowest and highest mean; the task
    is one line of its own. Quantities whose null splits do not vary have no place on the axis.
    """
    grouped: dict[tuple[str, str], list[Mapping[float, ResponseRow]]] = defaultdict(list)
    for (_, perturbation), rows in battery.by_pair.items():
        if has_unit(rows):
            grouped[perturbation, battery.family(next(iter(rows.values())))].append(rows)
    found = []
    for perturbation, mode in battery.mode.items():
        made = [(_line(family, mine), len(mine)) for family in FAMILIES if (mine := grouped.get((perturbation, family)))]
        task = list(battery.task_under(perturbation).values())
        if task:
            made.append((Line(TASK, _doses(task)), 1))
        if made:
            lines, counts = zip(*made, strict=True)
            found.append(Overview(perturbation, mode, battery.concern.get(perturbation), lines, counts, named(task)))
    return found


def legend(charts: Sequence[Overview]) -> list[tuple[str, str]]:
    """Return the looks of the lines that occur, each with what it stands for and how many quantities at most."""
    most: dict[str, int] = {}
    for chart in charts:
        for line, count in zip(chart.lines, chart.counts, strict=True):
            most[line.look] = max(most.get(line.look, 0), count)
    return [(look, name if look == TASK else f"{name} ({most[look]})") for look, name in FAMILY_NAMES.items() if look in most]


def _line(family: str, curves: Sequence[Mapping[float, ResponseRow]]) -> Line:
    points = []
    for severity in sorted({s for rows in curves for s in rows}):
        values = [rows[severity].response or 0.0 for rows in curves if severity in rows]
        points.append(Dose(severity, median(values), min(values), max(values)))
    return Line(family, tuple(points))


@dataclass(frozen=True)
class Training:
    """Curve of a training of the generator; seconds: of all attempts together, None where it told none."""

    component: str
    series: str
    points: tuple[Dose, ...]
    seconds: float | None


def trainings(rows: Sequence[TrainingRow]) -> list[Training]:
    """Return one curve for each series that a generator told, in their order."""
    grouped: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for row in rows:
        grouped[row.component, row.series][row.step] = row.value
    found = []
    for (component, series), points in grouped.items():
        if series != SECONDS:
            doses = tuple(Dose(step, value, value, value) for step, value in sorted(points.items()))
            found.append(Training(component, series, doses, max(grouped.get((component, SECONDS), {}).values(), default=None)))
    return found
