"""What single raters answer, as grids and figures: correctness, means, shares, the real image found, AUC, concepts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from ..readerspec import ScaleSpec
from ..records import ALL, EXPERTS, MAJORITY, MODEL, REAL, SYNTHETIC, ReliabilityRow
from ..wording import estimate, number
from .figures import Plot, Point, Strip
from .grids import (
    Entry,
    Filling,
    Grid,
    Line,
    Sheet,
    called,
    column_of,
    cut,
    distinct,
    head,
    in_order,
    is_reader,
    of_n,
    part_order,
    parts_of,
    readers_first,
    sentence,
    who,
)  # fmt: skip

SCORES = ("recall", "f1", "accuracy")
BROAD = (ALL, REAL, SYNTHETIC)
SAME = 1e-9
RANKS = "mean of ranks, 1 for the first category"
MOST_RATERS, MOST_LINES, MOST_ANSWERS, MOST_CATEGORIES, MOST_CONCEPTS = 8, 24, 18, 4, 30
_P = re.compile(r"p [=<]")
SETS = ("jaccard", "hamming", "u_fp", "u_fn")


def correctness(sheet: Sheet, spec: ScaleSpec) -> Iterator[Grid]:
    """Yield recall, F1 and accuracy of each rater on all, real and synthetic items, then recall and precision of each category."""
    rows = sheet.of("correctness")
    at = {(r.raters, r.items, r.statistic): r for r in rows if not r.category}
    parts = _parts([r for r in rows if not r.category])
    raters, remarks = cut(sorted({r.raters for r in rows}, key=readers_first), 3 * MOST_RATERS, "rater")
    if at:
        same = _recall_is_accuracy(at)
        for row in at.values() if same else ():
            sheet.show(row) if row.statistic == "recall" else None
        names = SCORES[1:] if same else SCORES
        fill = Filling(sheet)
        shown = [(part, name) for part in parts for name in names if any((r, part, name) in at for r in raters)]
        n = {part: next((r.n_items for key, r in at.items() if key[1] == part), 0) for part in parts}
        heads = [("Rater", ""), *((head(name)[0], f"{sheet.part(part)}, {of_n(n[part])}") for part, name in shown)]
        lines = [Line(who(r), tuple(fill.cell(at.get((r, *key)), who(r), notes=key[0] == parts[0]) for key in shown)) for r in raters]
        weights = "F1 weighted by how often each category is the truth; recall weighted so is the accuracy." if same else (
            "Recall and F1 weighted by how often each category is the truth.")  # fmt: skip
        yield fill.grid("Answers against the truth.", f"{weights} Two-sided 95 % intervals over items or patients.", heads, lines, remarks)
    single = {(r.raters, r.category, r.statistic): r for r in rows if r.category and r.items == ALL}
    yield from _by_category(sheet, spec, raters, single)


def _recall_is_accuracy(at: Mapping[tuple[str, str, str], ReliabilityRow]) -> bool:
    """Return whether weighted recall equals accuracy everywhere, as it does unless an answer lies outside the categories."""
    pairs = [(row, at.get((raters, part, "accuracy"))) for (raters, part, name), row in at.items() if name == "recall"]
    values = [(r.value, a.value) for r, a in pairs if a is not None]
    return len(values) == len(pairs) and all(r is not None and a is not None and abs(r - a) < SAME for r, a in values)


def _by_category(
    sheet: Sheet, spec: ScaleSpec, raters: Sequence[str], single: dict[tuple[str, str, str], ReliabilityRow]
) -> Iterator[Grid]:  # fmt: skip
    if not single:
        return
    found = [c for c in spec.categories if any(key[1] == c for key in single)] or sorted({key[1] for key in single})
    names = ("recall", "precision") if len(found) <= MOST_CATEGORIES else ("recall",)
    categories, remarks = cut(found, 2 * MOST_CATEGORIES, "category", "categories")
    fill = Filling(sheet)
    columns = [(category, name) for category in categories for name in names]
    heads = [("Rater", ""), *((name.capitalize(), category) for category, name in columns)]
    lines = [Line(who(r), tuple(fill.cell(single.get((r, *key)), who(r), notes=False) for key in columns)) for r in raters]
    note = "All items. Recall: share of its items that were called so; precision: share of such answers that were right. Two-sided 95 %."
    yield fill.grid("Right answers, category by category.", note, heads, lines, remarks)


def _parts(rows: Sequence[ReliabilityRow]) -> list[str]:
    """Return the parts of the items that are shown beside one another: all, real and synthetic, else the first strata."""
    found = sorted({r.items for r in rows if " - " not in r.items}, key=part_order)
    broad = [part for part in found if part in BROAD]
    return broad if len(broad) > 1 else found[:3]


def _asked(rows: Sequence[ReliabilityRow]) -> tuple[list[str], list[str]]:
    """Return the raters that have a column, and a remark where there are too many: readers before models, all experts last."""
    raters = sorted({r.raters for r in rows}, key=lambda name: (name.startswith(MODEL), name == EXPERTS, readers_first(name)))
    return cut(raters, MOST_RATERS, "rater")


def means(sheet: Sheet, spec: ScaleSpec) -> Iterator[Grid | Plot]:
    """Yield the mean answer by rater and part of the items, and a figure of real against synthetic."""
    rows = [r for r in sheet.of("mean", "difference") if r.statistic == "mean"]
    if not rows:
        return
    raters, remarks = _asked(rows)
    at = {(r.raters, r.items): r for r in rows}
    parts, more = cut(sorted({r.items for r in rows}, key=part_order), MOST_LINES, "part of the items", "parts of the items")
    fill = Filling(sheet, [RANKS])
    lines = [
        Line(sheet.part(p), tuple(fill.cell(at.get((r, p)), sheet.part(p)) for r in raters), _n([at.get((r, p)) for r in raters]))
        for p in parts
    ]
    in_ranks = spec.level != "interval" and bool(spec.categories)
    named = in_ranks and spec.categories != tuple(str(k + 1) for k in range(len(spec.categories)))
    ends = f", from {spec.categories[0]} to {spec.categories[-1]}" if named else ""
    unit = f"Categories count 1, 2, 3 ... in their order{ends}" if in_ranks else "In the units of the scale"
    note = f"{unit}; two-sided 95 % intervals over items or patients."
    yield fill.grid("Mean answers.", note, [("Items", ""), *(column_of(r) for r in raters)], lines, [*remarks, *more])
    yield from _means_drawn(at, [r for r in raters if r != EXPERTS], spec)


def _means_drawn(at: dict[tuple[str, str], ReliabilityRow], raters: Sequence[str], spec: ScaleSpec) -> Iterator[Plot]:
    origins = [part for part in (REAL, SYNTHETIC) if any((r, part) in at for r in raters)]
    if len(origins) < 2:
        return
    lines = []
    for rater in raters:
        pair = ((at.get((rater, part)), look) for part, look in ((REAL, "disc"), (SYNTHETIC, "ring")))
        lines.append(tuple(Point(r.value, r.ci_low, r.ci_high, look) for r, look in pair if r is not None and r.value is not None))  # type: ignore[arg-type]
    values = [p.value for line in lines for p in line]
    ranked = spec.level != "interval" and bool(spec.categories)
    low, high = (1.0, float(len(spec.categories))) if ranked else (min(values, default=0.0), max(values, default=1.0))
    names = tuple(who(r) for r in raters)
    yield Plot("Mean answer by rater, real against synthetic items.", "Bars: two-sided 95 % intervals over items or patients.", names,
               (Strip("mean answer", tuple(lines)),), low, high, (), (("disc", "real"), ("ring", "synthetic")))  # fmt: skip


def _n(rows: Sequence[ReliabilityRow | None]) -> str:
    """Return the numbers of items behind the cells of a line, least and most."""
    counts = [r.n_items for r in rows if r is not None]
    if not counts:
        return ""
    return of_n(min(counts)) + (f" to {number(max(counts))}" if min(counts) != max(counts) else "")


def shares(sheet: Sheet, spec: ScaleSpec) -> Iterator[Grid]:
    """Yield how often each category was answered: a heading for each part of the items, one line a category, one column a rater.

    Of two categories only one is listed: the positive one, or the first.
    """
    rows = [r for r in sheet.of("share", "difference") if r.statistic == "share"]
    if not rows:
        return
    raters, remarks = _asked(rows)
    at = {(r.raters, r.items, r.category): r for r in rows}
    named = distinct([*(c for c in spec.categories if any(r.category == c for r in rows)), *sorted({r.category for r in rows})])
    chosen = [spec.positive or named[0]] if len(named) == 2 else named
    fill, lines = Filling(sheet), []
    apart = f"{SYNTHETIC} - {REAL}"
    # What compares the origins comes before the strata, which are the first to be cut.
    parts = sorted({r.items for r in rows}, key=lambda part: (part_order(SYNTHETIC), 1) if part == apart else (part_order(part), 0))
    fits = max(4, MOST_ANSWERS // len(chosen))
    parts, more = cut(parts, fits, "part of the items", "parts of the items")
    for part in parts:
        count = _n([r for r in rows if r.items == part])
        if len(chosen) > 1:
            lines.append(Line(sheet.part(part), under=count))
        for category in chosen:
            name = category if len(chosen) > 1 else sheet.part(part)
            cells = (_difference_or(fill, at, rater, part, category, sheet.part(part)) for rater in raters)
            lines.append(Line(name, tuple(cells), count if len(chosen) == 1 else ""))
    what = "Share of each answer." if len(chosen) > 1 else f"Share of the answer \u201c{chosen[0]}\u201d."
    note = "Denominator: usable answers. Exact two-sided 95 % intervals, counting what items are worth where several raters answered."
    yield fill.grid(
        what, note, [("Items, answer" if len(chosen) > 1 else "Items", ""), *(column_of(r) for r in raters)], lines, [*remarks, *more]
    )


def _difference_or(fill: Filling, at: dict[tuple[str, str, str], ReliabilityRow], rater: str, part: str, category: str, line: str) -> Entry:
    """Return the cell; differences are known of all experts together only."""
    row = at.get((rater, part, category))
    return Entry(text="\u2013") if row is None and " - " in part else fill.cell(row, line)


def identification(sheet: Sheet) -> Iterator[Grid]:
    """Yield who found the real image: hits of trials, share with interval, against chance, and what can be ruled out."""
    rows = sheet.of("identification")
    for part in sorted({r.items for r in rows}, key=part_order):
        mine = [r for r in rows if r.items == part]
        at = {(r.raters, r.statistic): r for r in mine}
        names = [s for s in in_order(r.statistic for r in mine) if s != "equivalence"]
        raters = sorted({r.raters for r in mine}, key=readers_first)
        told = {r: distinct(said for s in (*names, "equivalence") for said in _against(at.get((r, s)))) for r in raters}
        several = told[raters[0]] if len(raters) > 1 else []
        shared = [said for said in several if not _P.match(said) and all(said in found for found in told.values())]
        fill, lines = Filling(sheet), []
        for rater in raters:
            cells = [fill.cell(at.get((rater, s)), who(rater), _hits(at.get((rater, s))), notes=False) for s in names]
            if (rater, "equivalence") in at:
                sheet.show(at[rater, "equivalence"])
            own = [said for said in told[rater] if said not in shared]
            lines.append(Line(who(rater), (*cells, Entry(text="; ".join(own) or "see below"))))
        heads = [("Rater", ""), *(head(s) for s in names), ("Against chance", "")]
        note = "Exact two-sided 95 % intervals. Being not above chance does not show that the images cannot be told apart."
        where = "" if part == ALL else f" ({sheet.part(part)})"
        remarks = [sentence(said) for said in shared]
        yield fill.grid(f"Finding the real image{where}.", note, heads, lines, remarks, wide=[len(heads) - 1])


def _hits(row: ReliabilityRow | None) -> str:
    if row is None or row.value is None or row.trials is None or row.statistic != "hit_rate":
        return ""
    return f"{number(round(row.value * row.trials))} of {number(row.trials)}"


def _against(row: ReliabilityRow | None) -> list[str]:
    """Return what a row says of chance, part by part, with its p; the reason where there is no test of equivalence."""
    if row is None:
        return []
    if row.value is None:
        return [row.reason] if row.statistic == "equivalence" else []
    p = [] if row.p is None else [f"p = {number(row.p, 3)}" if row.p >= 0.001 else "p < 0.001"]
    return [*(part for part in parts_of(row.note) if part != _hits(row)), *p]


def mrmc(sheet: Sheet) -> Iterator[Grid]:
    """Yield AUC by reader and part, the differences with their tests, and the variance components."""
    rows = sheet.of("mrmc")
    areas = [r for r in rows if r.statistic == "auc"]
    if areas:
        at = {(r.raters, r.items): r for r in areas}
        parts, more = cut(sorted({r.items for r in areas}, key=part_order), 6, "part of the items", "parts of the items")
        readers, remarks = cut(sorted({r.raters for r in areas}, key=readers_first), MOST_LINES, "reader")
        fill = Filling(sheet)
        lines = [Line(who(r), tuple(fill.cell(at.get((r, p)), who(r)) for p in parts)) for r in readers]
        n = {p: next(r.n_items for r in areas if r.items == p) for p in parts}
        heads = [("Reader", ""), *((f"AUC, {sheet.part(p)}", of_n(n[p])) for p in parts)]
        yield fill.grid("Area under the ROC curve, reader by reader.", "Where there is an interval, it is two-sided 95 %.", heads, lines,
                        [*remarks, *more])  # fmt: skip
    yield from _compared(sheet, [r for r in rows if r.statistic != "auc"])


def _compared(sheet: Sheet, rows: Sequence[ReliabilityRow]) -> Iterator[Grid]:
    """Yield differences with their tests, and the variance components as a remark; what all tests say stands below them once."""
    tested = [r for r in rows if "_difference" in r.statistic]
    rest = [r for r in rows if r not in tested]
    if not rows:
        return
    said = Counter(part for r in tested for part in parts_of(r.note))
    fill, lines = Filling(sheet), []
    for r in tested:
        name = f"{_compared_by(r.statistic)}, {sheet.part(r.items)}"
        p = "no test" if r.p is None else number(r.p, 4)
        size = f"{number(r.n_items)} \u00d7 {number(r.n_raters)}"
        own = "; ".join(part for part in parts_of(r.note) if said[part] == 1)
        lines.append(Line(name, (fill.cell(r, name, notes=False), Entry(text=p), Entry(text=size), Entry(text=own or "see below"))))
    remarks = [sentence(part) for part, n in said.items() if n > 1]
    for r in rest:
        sheet.show(r)
    if rest:
        told = (
            f"{called(r.statistic)} {estimate(r.value, r.ci_low, r.ci_high) if r.value is not None else f'not computable: {r.reason}'}"
            for r in rest
        )
        remarks.append(f"Variance components and their like: {', '.join(told)}.")
    heads = [("Comparison", ""), ("Difference", ""), ("p", "no difference"), ("Cases \u00d7 readers", ""), ("Test", "")]
    note = "Obuchowski-Rockette with Hillis degrees of freedom where the test names no other way; two-sided 95 %."
    yield fill.grid("Comparisons over readers and cases.", note, heads, lines, remarks, wide=[4])


def _compared_by(statistic: str) -> str:
    """Return what is compared, without the ending that names the test."""
    return "AUC" if statistic.startswith("auc") else called(statistic.partition("_difference")[0])


def concepts(sheet: Sheet, spec: ScaleSpec) -> Iterator[Grid]:
    """Yield how far the concepts that raters named are from those of the images, by part, and what is missed of each concept."""
    rows = sheet.of("concepts")
    yield from set_grid(sheet, rows, "Concepts named against those of the images.")
    yield from concept_grid(sheet, rows, spec, "Concept by concept, against those of the images.")


def set_grid(sheet: Sheet, rows: Sequence[ReliabilityRow], title: str) -> Iterator[Grid]:
    """Yield Jaccard index, Hamming distance, U_FP and U_FN of each rater, a heading for each, one line a part of the items."""
    at = {(r.raters, r.items, r.statistic): r for r in rows if not r.category}
    names = [s for s in SETS if any(key[2] == s for key in at)]
    if not names:
        return
    fill, lines = Filling(sheet), []
    raters, remarks = cut(sorted({key[0] for key in at}, key=readers_first), MOST_RATERS, "rater")
    for rater in raters:
        every = sorted({key[1] for key in at if key[0] == rater}, key=part_order)
        # Strata are shown of those whom the chapter judges: models, and all experts together.
        broad = [part for part in every if part in BROAD] if is_reader(rater) else every
        parts, more = cut(broad, MOST_RATERS, "part of the items", "parts of the items")
        remarks += more
        lines.append(Line(who(rater)))
        for part in parts:
            found = [at.get((rater, part, s)) for s in names]
            cells = [fill.cell(r, f"{who(rater)}, {sheet.part(part)}", _spread(r), notes=False) for r in found]
            lines.append(Line(sheet.part(part), tuple(cells), _n(found)))
    note = "Mean over items with two-sided 95 % interval, and the standard deviation (SD) over items."
    yield fill.grid(title, note, [("Rater, items", ""), *(head(s) for s in names)], lines, distinct(remarks))


def _spread(row: ReliabilityRow | None) -> str:
    """Return the standard deviation over items that the note of a row begins with."""
    parts = row.note.split(";") if row is not None else []
    return next((part.strip().replace(" over items", "") for part in parts if part.strip().startswith("SD over items")), "")


def concept_grid(sheet: Sheet, rows: Sequence[ReliabilityRow], spec: ScaleSpec, title: str) -> Iterator[Grid]:
    """Yield U_FP and U_FN of each concept, one line a concept, two columns a rater."""
    at = {(r.raters, r.category, r.statistic): r for r in rows if r.category}
    names = [s for s in SETS[2:] if any(key[2] == s for key in at)]
    if not names:
        return
    order = [c for c in spec.categories if any(key[1] == c for key in at)] or sorted({key[1] for key in at})
    concepts_shown, more = cut(order, MOST_CONCEPTS, "concept")
    known = {key[0] for key in at}
    raters, remarks = cut(sorted(known, key=lambda r: (not r.startswith(MODEL), r != MAJORITY, readers_first(r))), 4, "rater")
    columns = [(rater, s) for rater in raters for s in names]
    fill = Filling(sheet)
    lines = []
    for concept in concepts_shown:
        cells = [fill.cell(at.get((rater, concept, s)), concept, _of(at.get((rater, concept, s))), notes=False) for rater, s in columns]
        lines.append(Line(concept, tuple(cells)))
    note = ("U_FP: of the items said to have it, those that have not; U_FN: of the items that have it, those not said to. All items; "
            "two-sided 95 %.")  # fmt: skip
    heads = [("Concept", ""), *((s.upper(), column_of(rater)[0]) for rater, s in columns)]
    yield fill.grid(title, note, heads, lines, [*more, *remarks])


def _of(row: ReliabilityRow | None) -> str:
    return "" if row is None else f"of {number(row.n_items)}"


def readers(sheet: Sheet) -> Iterator[Grid]:
    """Yield what is known of each reader: agreement with the own earlier answers, planted faults noticed, false alarms."""
    rows = sheet.of("intra_rater", "attention")
    if not rows:
        return
    at = {(r.raters, r.analysis, r.statistic): r for r in rows}
    columns = sorted(
        {(r.analysis, r.statistic) for r in rows},
        key=lambda c: (c[0] != "intra_rater", c[1] != "percent_agreement", c[1] == "false_alarm_rate", c[1]),
    )
    raters, remarks = cut(sorted({r.raters for r in rows}, key=readers_first), MOST_LINES, "reader")
    fill = Filling(sheet)
    heads = [("Reader", "")]
    for analysis, statistic in columns:
        name, under = head(statistic)
        heads.append((name, "own repeats" if analysis == "intra_rater" else under))
    lines = [Line(who(r), tuple(fill.cell(at.get((r, *c)), who(r), _seen(at.get((r, *c)))) for c in columns)) for r in raters]
    note = "Own repeats: the first two answers of one reader to one item. Shares have exact two-sided 95 % intervals."
    yield fill.grid("Readers with themselves, and attention checks.", note, heads, lines, remarks)


def _seen(row: ReliabilityRow | None) -> str:
    """Return the denominator of a cell about one reader."""
    if row is None:
        return ""
    if row.trials is not None and row.value is not None:
        return f"{number(round(row.value * row.trials))} of {number(row.trials)}"
    return of_n(row.n_items)
