"""`harness ratings`: what a rating file says of its raters, as text, CSV, JSON or PDF, without an audit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from .. import __version__, dossier
from ..content import Attached, Disputed, RatingCount, document_digest, sha256
from ..errors import Problem
from ..raterpages import tables
from ..raterpages.grids import Entry, Grid, Line
from ..readerspec import ScaleSpec
from ..records import ConsensusRow, ReliabilityRow
from ..table import GAP, Table
from ..wording import check, counted, minus, number, utc

SHOWN_PROBLEMS, SHOWN_LINES = 60, 60
COLUMNS = tuple(name for name in ReliabilityRow.model_fields if name not in ("cell", "seed"))
ATTACHED = "ratings.json"
INTERVALS = "Intervals are two-sided 95 % over items or patients and take the raters as given; gates use one-sided 95 % bounds."


@dataclass(frozen=True)
class Report:
    """Everything that is said of the ratings of some files.

    files: path and SHA-256 of each. notes: sentences on how they were read. problems: what is wrong in them, with file and line.
    moment: when the newest of the files was last changed, which the PDF carries as its date. disputes: the items on which experts
    contradict each other or the truth (`content.list_disputes` of the rating rows).
    """

    title: str
    files: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]
    counts: tuple[RatingCount, ...]
    rows: tuple[ReliabilityRow, ...]
    consensus: tuple[ConsensusRow, ...]
    scales: tuple[ScaleSpec, ...]
    moment: datetime
    disputes: tuple[Disputed, ...] = ()

    @property
    def chapter(self) -> tables.Chapter:
        """The tables and figures, those of a dossier."""
        return tables.chapter(self.rows, self.consensus, self.counts, (), self.scales, self.disputes, section="2")

    @property
    def wrong(self) -> str:
        """How much is wrong in the files, in one sentence."""
        if not self.problems:
            return "Every answer that was given could be used."
        return (
            f"{counted(len(self.problems), 'thing')} found wrong in the files, listed below; what could not be used took part in nothing."
        )

    def facts(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "title": self.title,
            "harness_version": __version__,
            "files": [{"path": path, "sha256": digest} for path, digest in self.files],
            "notes": list(self.notes),
            "problems": [asdict(problem) for problem in self.problems],
            "scales": [scale.model_dump(mode="json") for scale in self.scales],
            "counts": [asdict(count) for count in self.counts],
            "reliability": [row.model_dump(mode="json", exclude={"cell"}) for row in self.rows],
            "disputes": [asdict(dispute) for dispute in self.disputes],
            "consensus": [row.model_dump(mode="json", exclude={"cell"}) for row in self.consensus],
        }


def as_text(report: Report, form: str, width: int = 0) -> str:
    """Return the report as it is printed: a table of `width` characters (0: any), csv (one row a value), or json (everything)."""
    if form == "json":
        return as_json(report)
    return as_csv(report) if form == "csv" else as_table(report, width)


def as_json(report: Report) -> str:
    """Return everything as JSON."""
    return json.dumps(report.facts(), indent=1, ensure_ascii=False) + "\n"


def as_csv(report: Report) -> str:
    """Return every value as a row of CSV; the consensus and the problems are in the JSON."""
    return Table(list(COLUMNS), [tuple(getattr(row, name) for name in COLUMNS) for row in report.rows]).to_csv()


def as_table(report: Report, width: int = 0) -> str:
    """Return the tables of a dossier as text, scale by scale, agreement first, and at the end what is wrong in the files."""
    lines = [report.title, *(f"  {path}" for path, _ in report.files), *report.notes, report.wrong, INTERVALS]
    parts = ["\n".join(lines) + "\n"]
    for panel in report.chapter.panels:
        scale = panel.scale
        what = f"{scale.level} scale" + (f": {', '.join(scale.categories)}" if scale.categories else "")
        head = f"{scale.name} ({what})"
        parts.append("\n".join(filter(None, (head, "=" * len(head), scale.question, *panel.facts))) + "\n")
        parts += [_grid(part, width) for part in panel.parts if isinstance(part, Grid)]
        if panel.left:
            parts.append(f"{counted(panel.left, 'further value')}: --format csv or json prints all.\n")
    if report.problems:
        parts.append("\n".join(["Wrong in the files", "-" * 18, *_problems(report.problems, SHOWN_PROBLEMS)]) + "\n")
    return "\n".join(parts)


def _problems(problems: Sequence[Problem], most: int) -> list[str]:
    shown = [line for problem in problems[:most] for line in problem.lines()]
    rest = len(problems) - most
    return [*shown, f"... and {number(rest)} more: --format json lists all"] if rest > 0 else shown


def _grid(grid: Grid, width: int) -> str:
    """Return a grid as text; where it is too wide its columns are printed below one another, with the first column repeated."""
    names = [f"{name} ({under})" if under else name for name, under in grid.heads]
    body = list(_lines(grid.lines))
    shown = body[:SHOWN_LINES]
    longest = [max([len(names[k]), *(len(line[k]) for line in shown)]) for k in range(len(names))]
    parts = [f"{grid.title} {grid.note}"]
    for chosen in _columns(longest, [k for k in range(1, len(names)) if k not in grid.wide], width):
        table = Table([names[0], *(names[k] for k in chosen)], [(line[0], *(line[k] for k in chosen)) for line in shown])
        parts.append(table.to_text(0).rstrip("\n"))
    parts += [f"{line[0]}, {names[k][:1].lower()}{names[k][1:]}: {line[k]}" for k in sorted(grid.wide) for line in shown]
    parts += [f"... and {number(len(body) - len(shown))} more lines"] if len(body) > len(shown) else []
    parts += [f"({letter}) {what}: {reason}" for letter, what, reason in grid.footnotes]
    return "\n".join([*parts, *grid.remarks]) + "\n"


def _columns(longest: Sequence[int], columns: Sequence[int], width: int) -> Iterator[list[int]]:
    """Yield which of the columns fit beside the first one, as many as there is room for; one at least."""
    chosen: list[int] = []
    for k in columns:
        room = longest[0] + sum(longest[j] + len(GAP) for j in [*chosen, k])
        if chosen and width and room > width:
            yield chosen
            chosen = []
        chosen.append(k)
    yield chosen


def _lines(lines: Iterable[Line]) -> Iterator[tuple[str, ...]]:
    """Yield the texts of each line; a heading stands before the names of the lines below it."""
    heading = ""
    for line in lines:
        if not line.entries:
            heading = line.name
            continue
        name = f"{heading}: {line.name}" if heading else line.name
        yield name, *(_said(entry) for entry in line.entries)


def _said(entry: Entry) -> str:
    return f"{entry.words}; {entry.under}" if entry.under else entry.words


def render(report: Report, out: Path) -> Path:
    """Write the PDF with ratings.json inside; the same report gives the same bytes."""
    return dossier.write_pdf(html(report), _attached(report), report.moment, out)


def html(report: Report) -> str:
    """Return the page that becomes the PDF."""
    attached = _attached(report)
    context = {
        "report": report,
        "version": __version__,
        "raters": report.chapter,
        "issued": utc(report.moment),
        "problems": report.problems[:SHOWN_PROBLEMS],
        "more": len(report.problems) - SHOWN_PROBLEMS,
        "document": document_digest(attached),
        "digest": sha256(attached[ATTACHED].body),
    }
    return dossier.draw("ratings.html.j2", context, None, _quoted(report))


def _attached(report: Report) -> dict[str, Attached]:
    body = json.dumps(report.facts(), sort_keys=True, indent=1, ensure_ascii=False).encode()
    return {ATTACHED: Attached(body, "Data", "All values of this report, and everything that is wrong in the files")}


def _quoted(report: Report) -> set[str]:
    """Return what users named and what files said, which may hold any word."""
    called = [*tables.names(report.rows, report.scales, report.disputes), report.title, *(path for path, _ in report.files)]
    said = [*(row.reason for row in report.rows), *(reason for count in report.counts for reason, _ in count.lost), *report.notes]
    said += [text for problem in report.problems for text in (problem.what, problem.where, problem.fix)]
    return {name for name in called if check(name)} | {minus(text) for text in said if check(text)}
