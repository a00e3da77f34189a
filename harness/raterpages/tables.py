"""The chapter on raters: stored rows in, tables and figures out, scale by scale in the order in which a reader asks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..content import Disputed, RatingCount
from ..readerspec import ScaleSpec
from ..records import ALL, EXPERTS, MODEL, ConsensusRow, JudgeCallRow, ReliabilityRow
from ..wording import counted, listed, number
from . import answers
from .figures import Plot, Point, Strip
from .grids import (
    METHODS,
    Entry,
    Filling,
    Grid,
    Line,
    Sheet,
    called,
    cut,
    distinct,
    head,
    head_with,
    in_order,
    part_order,
    readers_first,
    who,
)  # fmt: skip
from .votes import calls_grid, together

# What stands in columns, in the order of Alblwi et al.'s tables, by level of the scale; everything else is a remark.
CHIEF = {
    "nominal": ("percent_agreement", "fleiss_kappa", "mean_cohen_kappa", "krippendorff_alpha", "gwet_ac1"),
    "interval": ("krippendorff_alpha", "icc_a_1"),
    "set": ("mean_jaccard",),
    "text": (),
}
DRAWN, MOST_PARTS, MOST_PAIRS, MOST_REASONS = 5, 16, 15, 3
_BAND = re.compile(r"from (-?[\d.]+) to (-?[\d.]+) over (\d+) experts")
_AGAINST = ("percent_agreement", "cohen_kappa", "gwet_ac1")
Part = Grid | Plot


@dataclass(frozen=True)
class Panel:
    """Everything that the page says of one scale. facts: sentences. methods: how intervals came about, with their number.

    left: values that are not on the page.
    """

    scale: ScaleSpec
    facts: tuple[str, ...]
    parts: tuple[Part, ...]
    methods: tuple[tuple[str, int], ...]
    left: int


@dataclass(frozen=True)
class Chapter:
    """The chapter on raters, its tables numbered within a section: one panel a scale, and the calls of language models."""

    section: str
    panels: tuple[Panel, ...]
    calls: Grid | None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to say."""
        return not self.panels and self.calls is None


def chapter(
    reliability: Iterable[ReliabilityRow], consensus: Iterable[ConsensusRow], counts: Iterable[RatingCount], calls: Iterable[JudgeCallRow],
    scales: Sequence[ScaleSpec], disputes: Iterable[Disputed] = (), strata: Mapping[str, str] | None = None, section: str = "7",
) -> Chapter:  # fmt: skip
    """Return the chapter: the declared scales in their order, then others that have rows. strata: what strata are called."""
    rows, votes, held, contested = list(reliability), list(consensus), list(counts), list(disputes)
    declared = {scale.name: scale for scale in scales}
    others = sorted({*(r.scale for r in rows), *(c.scale for c in held)} - declared.keys())
    panels = []
    for scale in [*declared.values(), *(ScaleSpec(name=name, level="nominal") for name in others)]:
        mine = [r for r in rows if r.scale == scale.name]
        counted_ = [c for c in held if c.scale == scale.name]
        if mine or counted_:
            parts = ([v for v in votes if v.scale == scale.name], [d for d in contested if d.scale == scale.name])
            panels.append(_panel(scale, mine, *parts, counted_, strata or {}))
    return Chapter(section, tuple(panels), calls_grid(list(calls)))


def _panel(
    scale: ScaleSpec, rows: Sequence[ReliabilityRow], votes: Sequence[ConsensusRow], disputes: Sequence[Disputed],
    counts: Sequence[RatingCount], strata: Mapping[str, str],
) -> Panel:  # fmt: skip
    sheet = Sheet(rows, strata)
    parts = [
        *gates(sheet, scale), *agreement(sheet, scale), *pairs(sheet), *by_category(sheet, scale), *answers.readers(sheet),
        *answers.correctness(sheet, scale), *answers.means(sheet, scale), *answers.shares(sheet, scale),
        *answers.identification(sheet), *answers.mrmc(sheet), *models(sheet, scale), *answers.concepts(sheet, scale),
        *together(scale, votes, disputes),
    ]  # fmt: skip
    found = sheet.methods()
    rest = sum(n for _, n in found[METHODS:])
    methods = [*found[:METHODS], *([("other ways, given in the column ci_method of the table reliability", rest)] if rest else [])]
    return Panel(scale, tuple(facts(counts)), tuple(parts), tuple(methods), sheet.left)


def facts(counts: Iterable[RatingCount]) -> list[str]:
    """Say who rated what, what could not be used and why, and who rated few items."""
    said = []
    for c in sorted(counts, key=lambda c: c.rater_kind):
        names = ("expert", "") if c.rater_kind == "expert" else ("language model", "")
        of = f"{counted(c.raters, *names)} rated {counted(c.items, 'item')}: {counted(c.ratings, 'rating')}"
        lost = [f"{reason} ({number(n)})" for reason, n in c.lost[:MOST_REASONS]]
        more = sum(n for _, n in c.lost[MOST_REASONS:])
        lost += [f"other reasons ({number(more)})"] if more else []
        why = f", {number(c.unusable)} of them without a usable answer" if c.unusable else ", all with a usable answer"
        said.append(of + why + (f": {'; '.join(lost)}." if lost and c.unusable else "."))
        if c.sparse:
            said.append(f"Fewer than half of the items were answered by {listed(list(c.sparse))}.")
    return said


def gates(sheet: Sheet, scale: ScaleSpec) -> Iterator[Grid]:
    """Yield which gate is cleared on which part of the items: the one-sided 95 % lower bound is held against the declared value."""
    wanted = [
        *(("Experts", "agreement", EXPERTS, name, least) for name, least in scale.gates.experts.items()),
        *((("Experts, planted faults noticed", "attention", EXPERTS, "sensitivity", scale.gates.attention),)
          if scale.gates.attention is not None else ()),
        *((who(model), "model", model, name, least) for model in _models(sheet) for name, least in scale.gates.models.items()),
    ]  # fmt: skip
    if not wanted:
        return
    rows = [r for r in sheet.of("agreement", "attention", "model") if not r.category]
    at = {(r.analysis, r.raters, r.statistic, r.items): r for r in rows}
    keys = {(analysis, raters, name) for _, analysis, raters, name, _ in wanted}
    found = sorted({r.items for r in rows if (r.analysis, r.raters, r.statistic) in keys and r.analysis != "attention"}, key=part_order)
    parts, remarks = cut(found, 6, "part of the items", "parts of the items")
    lines = []
    for title, analysis, raters, name, least in wanted:
        planted = analysis == "attention"
        cells = [_gate(at.get((analysis, raters, name, "planted" if planted and k == 0 else part)), least, planted and k > 0)
                 for k, part in enumerate(parts or [ALL])]  # fmt: skip
        lines.append(Line(f"{title}: {called(name) if not planted else ''}".rstrip(": "), tuple(cells), f"at least {number(least)}"))
    heads = [("Gate", ""), *((sheet.part(part), "") for part in parts or [ALL])]
    note = "One-sided 95 % lower bounds. Where a gate is closed the answers are shown and support nothing."
    yield Filling(sheet).grid("Gates to evidence.", note, heads, lines, remarks)


def _models(sheet: Sheet) -> list[str]:
    return sorted({r.raters for r in sheet.of("model") if r.raters.startswith(MODEL)}, key=readers_first)


def _gate(row: ReliabilityRow | None, least: float, blank: bool) -> Entry:
    """Say whether the lower bound of a row clears a gate."""
    if blank:
        return Entry(text="\u2013")
    if row is None or row.bound_low is None:
        return Entry(text="closed", under="not measured" if row is None else "no lower bound")
    return Entry(text="open" if row.bound_low >= least else "closed", under=f"bound {number(row.bound_low, 2)}")


def _chief(rows: Sequence[ReliabilityRow], scale: ScaleSpec) -> list[str]:
    """Return the statistics that get a column: those of the level that occur, or else the first five that do."""
    found = in_order(r.statistic for r in rows)
    chosen = [name for name in CHIEF.get(scale.level, CHIEF["nominal"]) if name in found]
    return chosen or found[:DRAWN]


def agreement(sheet: Sheet, scale: ScaleSpec) -> Iterator[Part]:
    """Yield how far experts agree, one line a part of the items, with the differences of parts below; then the same as a figure."""
    rows = [r for r in sheet.of("agreement") if r.raters == EXPERTS and not r.category]
    if not rows:
        return
    names = _chief(rows, scale)
    differences = [r for r in sheet.of("difference") if r.raters == EXPERTS and not r.category and r.statistic in names]
    at = {(r.items, r.statistic): r for r in [*rows, *differences]}
    parts, remarks = cut(sorted({r.items for r in rows}, key=part_order), MOST_PARTS, "part of the items", "parts of the items")
    apart = sorted({r.items for r in differences}, key=part_order)
    fill, lines = Filling(sheet), []
    for part in [*parts, *apart]:
        mine = [at.get((part, name)) for name in names]
        known = next(r for r in mine if r is not None) if any(mine) else None
        size = Entry(text=f"{number(known.n_items)} \u00d7 {number(known.n_raters)}" if known else "none")
        lines.append(Line(sheet.part(part), (size, *(fill.cell(r, sheet.part(part), words=True) for r in mine))))
    further = {r.statistic: r for r in rows if r.items == ALL and r.statistic not in names}
    others = [further[name] for name in in_order(further)]
    if others:
        cells = [(called(r.statistic), fill.cell(r, called(r.statistic))) for r in others]
        remarks.append(f"All items, further coefficients: {'; '.join(f'{name} {cell.words}' for name, cell in cells)}.")
    note = "1 is full agreement, 0 is chance for corrected coefficients. Two-sided 95 % over items or patients, readers taken as given."
    heads = [("Items", ""), ("Items \u00d7 raters", ""), *(head_with(name, rows) for name in names)]
    yield fill.grid("Agreement of experts.", note, heads, lines, remarks)
    if len(parts) > 1:
        yield _drawn(sheet, parts, names, at)


def _drawn(sheet: Sheet, parts: Sequence[str], names: Sequence[str], at: Mapping[tuple[str, str], ReliabilityRow]) -> Plot:
    strips = []
    for name in names[:DRAWN]:
        found = [at.get((part, name)) for part in parts]
        points = (() if r is None or r.value is None else (Point(r.value, r.ci_low, r.ci_high),) for r in found)
        strips.append(Strip(_short(name), tuple(points)))
    note = "Dot: estimate; bar: two-sided 95 % interval; dashed: chance for corrected coefficients."
    return Plot("Agreement of experts by part of the items.", note, tuple(sheet.part(p) for p in parts), tuple(strips), 0.0, 1.0, (0.0,))


def _short(statistic: str) -> str:
    """Return how papers abbreviate a statistic, or its name."""
    name, under = head(statistic)
    return under if under.isupper() or under == "AC1" else name


def pairs(sheet: Sheet) -> Iterator[Grid]:
    """Yield how far each pair of experts agrees."""
    rows = [r for r in sheet.of("agreement") if " & " in r.raters and not r.category]
    at = {(r.raters, r.items, r.statistic): r for r in rows}
    columns = [(part, name) for part in sorted({r.items for r in rows}, key=part_order)[:3] for name in in_order(r.statistic for r in rows)]
    if not rows:
        return
    named, remarks = cut(sorted({r.raters for r in rows}, key=readers_first), MOST_PAIRS, "pair")
    fill = Filling(sheet)
    several = len({part for part, _ in columns}) > 1
    heads = [
        ("Pair", ""),
        ("Items of both", ""),
        *((head(name)[0], sheet.part(part) if several else head(name)[1]) for part, name in columns),
    ]
    lines = []
    for pair in named:
        found = [at.get((pair, *column)) for column in columns]
        n = max(r.n_items for r in found if r is not None)
        lines.append(
            Line(pair.replace(" & ", " and "), (Entry(text=number(n)), *(fill.cell(r, pair.replace(" & ", " and ")) for r in found)))
        )
    yield fill.grid("Pairs of experts.", "Over the items that both rated; two-sided 95 % intervals.", heads, lines, remarks)


def by_category(sheet: Sheet, scale: ScaleSpec) -> Iterator[Grid]:
    """Yield how far experts agree on each category or concept against the rest."""
    rows = [r for r in sheet.of("agreement") if r.raters == EXPERTS and r.category]
    if not rows:
        return
    at = {(r.category, r.statistic): r for r in rows}
    names = in_order(r.statistic for r in rows)
    order = [c for c in scale.categories if any(key[0] == c for key in at)] or sorted({r.category for r in rows})
    named, remarks = cut(order, answers.MOST_CONCEPTS, "category", "categories")
    fill = Filling(sheet)
    if len(names) == 1:
        lines = [Line("all items", tuple(fill.cell(at.get((c, names[0])), c, words=True) for c in named[:6]))]
        remarks += [] if len(named) <= 6 else cut(named, 6, "category", "categories")[1]
        heads = [head_with(names[0], rows), *((c, "") for c in named[:6])]
    else:
        lines = [Line(c, tuple(fill.cell(at.get((c, name)), c, words=True) for name in names)) for c in named]
        heads = [("Category", ""), *(head_with(name, rows) for name in names)]
    yield fill.grid("Agreement of experts on each category against the rest.", "Two-sided 95 % intervals.", heads, lines, remarks)


def models(sheet: Sheet, scale: ScaleSpec) -> Iterator[Grid]:
    """Yield how far each language model agrees with the majority of experts, beside what experts reach and what guessing reaches."""
    rows = sheet.of("model")
    at = {(r.raters, r.items, r.statistic): r for r in rows if not r.category}
    names = [name for name in _AGAINST if any(key[2] == name for key in at)]
    parts, remarks = cut(sorted({r.items for r in rows}, key=part_order), MOST_PARTS // 2, "part of the items", "parts of the items")
    if names:
        fill = Filling(sheet)
        lines = [line for part in parts for line in _beside(fill, at, part, names)]
        heads = [("Items, rater", ""), ("Items", ""), *(head_with(name, rows) for name in names)]
        note = ("Models: first answers against the majority of experts, no answer counting as disagreement; two-sided 95 %. Ceiling: each "
                "expert against the majority of the others, mean and range over experts.")  # fmt: skip
        yield fill.grid("Language models beside experts.", note, heads, lines, remarks)
    own = [r for r in rows if r.statistic.startswith("self_") and r.raters.startswith(MODEL)]
    if own:
        fill = Filling(sheet)
        found = distinct(r.statistic for r in own)
        lines = [
            Line(who(m), tuple(fill.cell(at.get((m, ALL, s)), who(m)) for s in found))
            for m in sorted({r.raters for r in own}, key=readers_first)
        ]
        yield fill.grid("Models against their own repeats.", "Two-sided 95 % intervals over items.",
                        [("Model", ""), *((_own(s), "") for s in found)], lines)  # fmt: skip
    yield from answers.set_grid(sheet, [r for r in rows if not r.category], "Concepts named by models against the majority of experts.")
    sets = [r for r in rows if r.category]
    yield from answers.concept_grid(sheet, sets, scale, "Concept by concept, models against the majority of experts.")


def _own(statistic: str) -> str:
    return "Percent agreement" if statistic == "self_consistency" else called(statistic.removeprefix("self_"))


def _beside(
    fill: Filling, at: Mapping[tuple[str, str, str], ReliabilityRow], part: str, names: Sequence[str]
) -> Iterator[Line]:  # fmt: skip
    """Yield the lines of one part of the items: each model, the expert ceiling, the base rate."""
    title = fill.sheet.part(part)
    yield Line(title)
    for model in sorted({key[0] for key in at if key[0].startswith(MODEL)}, key=readers_first):
        found = [at.get((model, part, name)) for name in names]
        if any(found):
            n = next(r.n_items for r in found if r is not None)
            yield Line(who(model), (Entry(text=number(n)), *(fill.cell(r, f"{who(model)}, {title}", words=True) for r in found)))
    ceilings = [at.get((EXPERTS, part, f"expert_ceiling_{name}")) for name in names]
    if any(ceilings):
        n = next(r.n_items for r in ceilings if r is not None)
        yield Line("Expert ceiling", (Entry(text=number(n)), *(_ceiling(fill, r) for r in ceilings)))
    base = at.get((EXPERTS, part, "base_rate"))
    if base is not None:
        cells = [fill.cell(base, title, notes=False) if name == "percent_agreement" else Entry(text="\u2013") for name in names]
        always = base.note.removeprefix("what always answering ").removesuffix(" would reach")
        yield Line(f"Base rate (always {always})" if always != base.note else "Base rate", (Entry(text=number(base.n_items)), *cells))


def _ceiling(fill: Filling, row: ReliabilityRow | None) -> Entry:
    """Return what experts reach, with the range over experts in the place of an interval."""
    if row is None or row.value is None:
        return fill.cell(row, "Expert ceiling")
    fill.sheet.show(row)
    band = _BAND.search(row.note)
    told = f" ({number(float(band[1]), 2)} to {number(float(band[2]), 2)})" if band else ""
    return Entry(text=f"{number(row.value, 2)}{told}", under="" if band else row.note)


def names(rows: Iterable[ReliabilityRow], scales: Iterable[ScaleSpec], disputes: Iterable[Disputed] = ()) -> list[str]:
    """Return everything that users named and the page repeats: scales, raters, parts of the items, categories, items."""
    told = [name for r in rows for name in (r.scale, r.raters, r.items, r.category, *r.items.split(" - "))]
    told += [name for d in disputes for name in (d.item, d.truth, *(text for _, text in d.answers))]
    return distinct([*told, *(name for s in scales for name in (s.name, *s.categories))])
