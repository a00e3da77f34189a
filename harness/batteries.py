"""What planted defects showed of each quantity: heat maps, eligibility, false alarms. Rows in, printable facts out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from .components import FailureMode
from .figures import heat_ink
from .records import ComponentRow, QualificationRow, ResponseRow, ScoreRow
from .wording import OUTCOMES, signed, words

TASK = "downstream"
FAMILY_NAMES = {
    "distance": "distances", "coverage": "coverage", "diversity": "diversity", "memorisation": "memorisation",
    "artefact": "artefacts", "other": "other quantities", TASK: "downstream task",
}  # fmt: skip
FAMILIES = tuple(name for name in FAMILY_NAMES if name != TASK)
HARMLESS = FailureMode.HARMLESS.value
MODES = {mode.value: k for k, mode in enumerate(FailureMode)}
MAP_WIDTH, COLUMN, COLUMN_OF_CONCERN, GAP = 138.0, 6.1, 8.5, 1.2
CUT = 0.55
LONGEST_NAME = 26
LETTER = 1.15
LARGEST_PRINTED = 999.5

Who = tuple[str, str, str]


def who(row: QualificationRow | ResponseRow | ScoreRow) -> Who:
    """Return component, quantity and extractor of a row."""
    return row.component, row.quantity, row.extractor


@dataclass(frozen=True)
class Battery:
    """The stored rows of a battery, with the indices that its tables and charts share."""

    qualifications: Sequence[QualificationRow] = ()
    responses: Sequence[ResponseRow] = ()
    components: Sequence[ComponentRow] = field(default=(), repr=False)

    @cached_property
    def families(self) -> dict[str, str]:
        """Return the family of every quantity by `component.quantity`; `downstream` for what a task promises."""
        found = {}
        for component in self.components:
            for quantity in component.promises.get("quantities", ()):
                family = TASK if component.kind == "task" else quantity.get("family", "other")
                found[f"{component.name}.{quantity['name']}"] = family
        return found | {f"{r.component}.{r.quantity}": TASK for r in self.responses if r.tested_on}

    def family(self, row: QualificationRow | ResponseRow) -> str:
        """Return the family of a row's quantity."""
        return self.families.get(f"{row.component}.{row.quantity}", "other")

    @cached_property
    def concern(self) -> dict[str, float]:
        """Return the dose of concern by perturbation."""
        return {q.perturbation: q.dose_of_concern for q in self.qualifications}

    @cached_property
    def mode(self) -> dict[str, str]:
        """Return the failure mode by perturbation, in the order of the vocabulary, harmless changes last."""
        found = {q.perturbation: q.failure_mode for q in self.qualifications} | {r.perturbation: r.failure_mode for r in self.responses}
        return dict(sorted(found.items(), key=lambda item: (MODES.get(item[1], len(MODES)), item[1], item[0])))

    @cached_property
    def by_pair(self) -> dict[tuple[Who, str], dict[float, ResponseRow]]:
        """Return the responses by quantity and perturbation, then by severity, rising."""
        found: dict[tuple[Who, str], dict[float, ResponseRow]] = defaultdict(dict)
        for row in sorted(self.responses, key=lambda r: r.severity):
            found[who(row), row.perturbation][row.severity] = row
        return dict(found)

    @cached_property
    def verdicts(self) -> dict[tuple[Who, str], QualificationRow]:
        """Return the qualifications by quantity and perturbation."""
        return {(who(row), row.perturbation): row for row in self.qualifications}

    @cached_property
    def highest(self) -> dict[str, float]:
        """Return the highest severity that was planted of each perturbation."""
        found: dict[str, float] = {}
        for row in self.responses:
            found[row.perturbation] = max(row.severity, found.get(row.perturbation, 0.0))
        return found

    def at(self, severities: Mapping[str, float], families: Iterable[str], modes: Iterable[str]) -> list[ResponseRow]:
        """Return the responses of these families to the perturbations of these failure modes, each at its severity."""
        families, modes = set(families), set(modes)
        return [
            row for row in self.responses
            if row.failure_mode in modes and self.family(row) in families and row.severity == severities.get(row.perturbation)
        ]  # fmt: skip

    @cached_property
    def local(self) -> frozenset[str]:
        """Return the metrics that look at masks, or that claim to see local morphology."""
        morphology = FailureMode.LOCAL_MORPHOLOGY.value
        return frozenset(
            c.name for c in self.components
            if c.kind == "metric" and ("masks" in c.promises.get("needs", ()) or morphology in c.promises.get("sees", ()))
        )  # fmt: skip

    @cached_property
    def first_of_tasks(self) -> frozenset[str]:
        """Return the first quantity that each task promises, by which its curve is drawn."""
        tasks = [c for c in self.components if c.kind == "task" and c.promises.get("quantities")]
        named = {c.name: f"{c.name}.{c.promises['quantities'][0]['name']}" for c in tasks}
        for row in sorted(self.responses, key=lambda r: r.quantity):
            if self.family(row) == TASK:
                named.setdefault(row.component, f"{row.component}.{row.quantity}")
        return frozenset(named.values())

    @cached_property
    def _tasks(self) -> dict[str, list[dict[float, ResponseRow]]]:
        """Return the curves of the tasks by perturbation."""
        found: dict[str, list[dict[float, ResponseRow]]] = defaultdict(list)
        for (key, perturbation), rows in self.by_pair.items():
            if f"{key[0]}.{key[1]}" in self.first_of_tasks and has_unit(rows):
                found[perturbation].append(rows)
        return found

    def task_under(self, perturbation: str) -> dict[float, ResponseRow]:
        """Return the responses of the task under a perturbation: of the task that answered most at the dose of concern."""
        concern = self.concern.get(perturbation, math.inf)
        return max(self._tasks.get(perturbation, []), key=lambda rows: abs(response_at(rows, concern)), default={})


def has_unit(rows: Mapping[float, ResponseRow]) -> bool:
    """Return whether responses can be given in null standard deviations: the null splits vary."""
    return all(row.response is not None for row in rows.values())


def response_at(rows: Mapping[float, ResponseRow], severity: float) -> float:
    """Return the response at a severity, or else at the highest there is; 0 where there is none."""
    row = rows.get(severity) or (rows[max(rows)] if rows else None)
    return row.response or 0.0 if row else 0.0


@dataclass(frozen=True)
class Column:
    """A severity of one perturbation in a heat map. first: it opens the group of its perturbation."""

    perturbation: str
    mode: str
    severity: float
    of_concern: bool
    first: bool

    @property
    def width(self) -> float:
        """Width in mm; the dose of concern has room for the mark of the outcome."""
        return COLUMN_OF_CONCERN if self.of_concern else COLUMN

    @property
    def name(self) -> str:
        """The perturbation in words, cut to the height of the column's head."""
        text = words(self.perturbation)
        return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"


@dataclass(frozen=True)
class HeatCell:
    """A cell of a heat map. response: null standard deviations, or None and the share of replicates that were detected.

    word: said across `span` columns where nothing was measured. outcome: shown at the dose of concern.
    """

    response: float | None = None
    detected: float | None = None
    outcome: str | None = None
    first: bool = False
    word: str = ""
    span: int = 1

    @property
    def ink(self) -> str:
        """The colour of the mark, legible on the colour of the cell."""
        return "#15202e" if self.response is None else heat_ink(self.response)

    @property
    def text(self) -> str:
        """The number as it is printed: two significant digits."""
        if self.response is None:
            return f"{round(100 * (self.detected or 0.0))} %"
        if abs(self.response) >= LARGEST_PRINTED:
            return ">999" if self.response > 0 else "<\u2212999"
        return signed(self.response, 1 if abs(self.response) < 9.95 else 0)


@dataclass(frozen=True)
class HeatMap:
    """Standardised responses: one row per quantity, one column per severity of each perturbation, quantities grouped by extractor."""

    columns: tuple[Column, ...]
    groups: tuple[tuple[str, tuple[tuple[str, tuple[HeatCell, ...]], ...]], ...]

    @property
    def width(self) -> float:
        """Width of all columns in mm."""
        return sum(c.width + GAP * c.first for c in self.columns)

    @property
    def head(self) -> float:
        """Height of the heads in mm, for the longest name."""
        return 4.0 + LETTER * max(len(text) for c in self.columns for text in (c.name, c.mode))

    @property
    def modes(self) -> list[str]:
        """The failure modes of the map, in words."""
        return list(dict.fromkeys("harmless changes" if c.mode == HARMLESS else c.mode.replace("_", " ") for c in self.columns))


def heat_maps(battery: Battery) -> list[HeatMap]:
    """Arrange the responses in as few maps as are legible: failure modes in their order, harmless changes last."""
    keys = {key for key, _ in (*battery.by_pair, *battery.verdicts)}
    order = sorted(keys, key=lambda key: _row_order(battery, key))
    return [_heat_map(battery, part, order) for part in _packed(battery)]


def _row_order(battery: Battery, key: Who) -> tuple[bool, bool, str, int, str]:
    family = battery.families.get(f"{key[0]}.{key[1]}", "other")
    return family == TASK, key[2] == "", key[2], FAMILIES.index(family) if family in FAMILIES else 99, f"{key[0]}.{key[1]}"


def _packed(battery: Battery) -> list[list[list[Column]]]:
    """Distribute the columns of all perturbations over maps.

    A failure mode that does not fit opens a new map, unless much of the last one would stay empty: then it is cut.
    """
    severities: dict[str, set[float]] = defaultdict(set)
    for row in battery.responses:
        severities[row.perturbation].update({row.severity} - {0.0})
    modes: dict[str, list[list[Column]]] = defaultdict(list)
    for name, mode in battery.mode.items():
        doses = sorted(severities[name] or {battery.concern.get(name, 1.0)})
        modes[mode].append([Column(name, mode, d, d == battery.concern.get(name), d == doses[0]) for d in doses])
    maps: list[list[list[Column]]] = [[]]
    for groups in modes.values():
        if _wide(maps[-1]) > CUT * MAP_WIDTH and _wide(maps[-1]) + _wide(groups) > MAP_WIDTH:
            maps.append([])
        for group in groups:
            if maps[-1] and _wide(maps[-1]) + _wide([group]) > MAP_WIDTH:
                maps.append([])
            maps[-1].append(group)
    return [groups for groups in maps if groups]


def _wide(groups: Iterable[Sequence[Column]]) -> float:
    return sum(GAP + sum(column.width for column in group) for group in groups)


def _heat_map(battery: Battery, groups: Sequence[Sequence[Column]], order: Sequence[Who]) -> HeatMap:
    titled: dict[str, list[tuple[str, tuple[HeatCell, ...]]]] = defaultdict(list)
    for key in order:
        cells = [cell for group in groups for cell in _cells(battery, key, group)]
        if any(cell.word != NOT_PLANNED for cell in cells):
            name = f"{key[0]}.{key[1]}"
            title = "Downstream task" if battery.families.get(name) == TASK else key[2] or "no extractor"
            titled[title].append((name, tuple(cells)))
    return HeatMap(tuple(c for group in groups for c in group), tuple((t, tuple(rows)) for t, rows in titled.items()))


NOT_PLANNED = "\u2013"


def _cells(battery: Battery, key: Who, group: Sequence[Column]) -> list[HeatCell]:
    """Return the cells of one quantity under one perturbation."""
    pair = (key, group[0].perturbation)
    rows, verdict = battery.by_pair.get(pair, {}), battery.verdicts.get(pair)
    if not rows:
        return [HeatCell(first=True, word="untested" if verdict else NOT_PLANNED, span=len(group))]
    cells = []
    for column in group:
        row, outcome = rows.get(column.severity), verdict.outcome if verdict and column.of_concern else None
        if row is None:
            cells.append(HeatCell(first=column.first, word=NOT_PLANNED))
        else:
            cells.append(HeatCell(row.response, row.detected, outcome, column.first))
    return cells


@dataclass(frozen=True)
class Standing:
    """Quantities of one outcome for a failure mode. pairs: of quantity and extractor. said: what they noticed, and their names."""

    outcome: str
    pairs: int
    said: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Eligible:
    """Which quantities may speak to one failure mode. pairs: of quantity and extractor with an outcome."""

    mode: str
    perturbations: int
    n: tuple[int, ...]
    claims: tuple[str, ...]
    pairs: int
    standings: tuple[Standing, ...]


def eligibility(battery: Battery, claims: Iterable[tuple[str, str]]) -> list[Eligible]:
    """Return who may speak to each failure mode. claims: failure modes that criteria claim, with the criterion.

    A quantity is reversed for a mode if one perturbation of the mode moved it the wrong way, else as good as its best outcome. It is
    said how many perturbations of the mode it noticed of those it was tested on, and in brackets the extractor where extractors differ.
    """
    claims, found = list(claims), []
    planted = [q for q in battery.qualifications if q.failure_mode != HARMLESS]
    for mode in dict.fromkeys([*MODES, *(q.failure_mode for q in planted)]):
        mine = [q for q in planted if q.failure_mode == mode]
        claimed = tuple(dict.fromkeys(ident for m, ident in claims if m == mode))
        if not mine and not claimed:
            continue
        pairs: dict[Who, list[QualificationRow]] = defaultdict(list)
        for q in sorted(mine, key=who):
            if q.outcome is not None:
                pairs[who(q)].append(q)
        sizes = tuple(sorted({q.n for q in mine if q.n is not None}))
        standings = [_standing(outcome, pairs) for outcome in OUTCOMES]
        made = tuple(s for s in standings if s.pairs)
        found.append(Eligible(mode, len({q.perturbation for q in mine}), sizes, claimed, len(pairs), made))
    return found


def _outcome(rows: Iterable[QualificationRow]) -> str:
    reached = {row.outcome for row in rows}
    return next(o for o in ("reversed", "qualified", "conditional", "not_qualified") if o in reached)


def _standing(outcome: str, pairs: Mapping[Who, Sequence[QualificationRow]]) -> Standing:
    noticed = {key: _noticed(outcome, rows) for key, rows in pairs.items() if _outcome(rows) == outcome}
    said: dict[str, dict[str, list[str]]] = {}
    for component, quantity in dict.fromkeys(key[:2] for key in noticed):
        extractors = [key[2] for key in pairs if key[:2] == (component, quantity)]
        for text in dict.fromkeys(t for key, t in noticed.items() if key[:2] == (component, quantity)):
            mine = [x for x in extractors if noticed.get((component, quantity, x)) == text]
            name = quantity if mine == extractors else f"{quantity} ({', '.join(x or 'no extractor' for x in mine)})"
            said.setdefault(text, {}).setdefault(component, []).append(name)
    lines = [(text, "; ".join(f"{c}.{', '.join(names)}" for c, names in by.items())) for text, by in sorted(said.items(), reverse=True)]
    return Standing(outcome, len(noticed), tuple(lines))


def _noticed(outcome: str, rows: Sequence[QualificationRow]) -> str:
    """Say how many perturbations were noticed, and which harmless change makes the outcome conditional."""
    text = f"{sum(row.outcome in ('qualified', 'conditional') for row in rows)} of {len(rows)}"
    row = next((r for r in rows if r.harmless and r.outcome == "conditional"), None)
    if outcome != "conditional" or row is None:
        return text
    by = "" if row.harmless_response is None else f" by {signed(row.harmless_response)}"
    return f"{text}, but moved{by} under {words(row.harmless).lower()}"


@dataclass(frozen=True)
class Alarms:
    """How quiet a quantity is without a defect. alarms: of the `checked` null splits that did not set the band; None if not stored."""

    row: QualificationRow
    alarms: int | None
    checked: int


def false_alarms(battery: Battery, scores: Iterable[ScoreRow]) -> list[Alarms]:
    """Return one entry per quantity and extractor, and per distinct null band."""
    kept: dict[tuple[object, ...], QualificationRow] = {}
    for q in battery.qualifications:
        if q.false_alarm_high is not None:
            kept.setdefault((*who(q), q.null_low, q.null_high, q.false_alarm_high), q)
    null: dict[tuple[Who, str, int | None], list[ScoreRow]] = defaultdict(list)
    for s in scores:
        if s.stage == "null" and s.value is not None:
            null[who(s), s.perturbation, s.n].append(s)
    order = sorted(kept.values(), key=lambda q: _row_order(battery, who(q)))
    # A defect that leaves fewer images has null splits of its own; the others share those that name none.
    return [_alarms(q, null.get((who(q), q.perturbation, q.n)) or null.get((who(q), "", q.n), [])) for q in order]


def _alarms(q: QualificationRow, splits: Sequence[ScoreRow]) -> Alarms:
    values = [s.value for s in sorted(splits, key=lambda s: s.repeat or 0) if s.value is not None]
    checked = (q.null_splits or 0) // 2
    if q.null_low is None or q.null_high is None or not checked or len(values) != q.null_splits:
        return Alarms(q, None, checked)
    return Alarms(q, sum(not q.null_low <= v <= q.null_high for v in values[-checked:]), checked)


def untested(battery: Battery) -> list[tuple[str, int]]:
    """Return why pairs of quantity and defect have no outcome, with their number, the most frequent first."""
    count: dict[str, int] = defaultdict(int)
    for q in battery.qualifications:
        if q.outcome is None and (q.failure_mode != HARMLESS or (who(q), q.perturbation) not in battery.by_pair):
            count[q.reason] += 1
    return sorted(count.items(), key=lambda item: (-item[1], item[0]))
