"""A table as a file holds it: cells as written, each with its place, and how text files become one."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.api import InputError, Problem

MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_POINT_NOUGHT = re.compile(r"-?\d+\.0+")


@dataclass(frozen=True)
class Line:
    """One row below the header, by column, and the line in which it begins. faults: why the cell of a column cannot be believed."""

    cells: Mapping[str, str]
    number: int
    faults: Mapping[str, str] = field(default_factory=dict)

    def word(self, column: str) -> str:
        """Return the cell of a column without blanks around it."""
        return self.cells[column].strip()


@dataclass(frozen=True)
class Sheet:
    """The rows of a table under their header, and what a reader must know of how they were read (subject -> sentence).

    tab, letters: of a spreadsheet: the name of the sheet, and the letter of each column. several: columns whose cells hold the
    categories of a set, each ended by a line end; an empty cell is no answer.
    """

    path: Path
    header: tuple[str, ...]
    header_line: int
    lines: tuple[Line, ...]
    notes: Mapping[str, str] = field(default_factory=dict)
    tab: str = ""
    letters: Mapping[str, str] = field(default_factory=dict)
    several: frozenset[str] = frozenset()

    def source(self, line: int, column: str = "") -> str:
        """Return where a cell stands: `ratings.csv:12`, or `ratings.xlsx:Sheet1!D12`."""
        return f"{self.path.name}:{self.tab}!{self.letters.get(column, '')}{line}" if self.tab else f"{self.path.name}:{line}"

    def where(self, line: int, column: str = "") -> str:
        """Return where a cell stands, with the path of the file."""
        return str(self.path.parent / self.source(line, column))

    def noted(self, **notes: str) -> Sheet:
        """Return the sheet with more notes."""
        return replace(self, notes={**self.notes, **notes})


def text_sheet(path: Path, delimiter: str | None, encoding: str | None, option: str) -> Sheet:
    """Return the table of a text file. delimiter, encoding: None to detect them, which a note says. option: the importer's name."""
    text, notes = decoded(path, encoding, option)
    return table(path, text, delimiter, notes)


def decoded(path: Path, encoding: str | None, option: str) -> tuple[str, dict[str, str]]:
    """Return the text of a file without a byte order mark, and what is to be said of its encoding: UTF-8 unless it says otherwise."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror}", str(path), f"check the option path of {option}")) from error
    mark = next((mark for mark in MARKS if content.startswith(mark)), b"")
    used = encoding or MARKS.get(mark, "utf-8")
    try:
        text = content.decode(used).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        fix = "save the file as UTF-8, or give the option encoding"
        raise InputError(Problem(f"not {used}: {error.reason}", f"{path}:{line}", fix)) from error
    except LookupError as error:
        raise InputError(Problem(f"unknown encoding {used!r}", str(path), "for example utf-8 or latin-1")) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise InputError(Problem("holds a zero byte: this is no text in that encoding", f"{path}:{line}", "give the option encoding"))
    said = {"encoding": f"read as {used}, which its byte order mark says"} if mark and encoding is None and used == "utf-16" else {}
    return text, said


def table(path: Path, text: str, delimiter: str | None, notes: dict[str, str], skipped: int = 0) -> Sheet:
    """Return the table of a text whose first row with words is the header. skipped: lines of the file above this text."""
    if delimiter is None:
        delimiter, said = _delimiter(path, text, skipped)
        notes = notes | said
    header: list[str] = []
    header_line = skipped + 1
    lines: list[Line] = []
    problems: list[Problem] = []
    for number, cells in _rows(path, text, delimiter, skipped):
        if not header:
            header, header_line = [cell.strip() for cell in cells], number
        elif len(cells) != len(header):
            what = f"{len(cells)} values under {len(header)} columns"
            problems.append(Problem(what, f"{path}:{number}", "quote values that hold the delimiter"))
        else:
            lines.append(Line(dict(zip(header, cells, strict=True)), number))
    if not header:
        raise InputError(Problem("the file is empty", f"{path}:{skipped + 1}", "its first row must name the columns"))
    if problems:
        raise InputError(*problems)
    check_header(header, f"{path}:{header_line}")
    return Sheet(path, tuple(header), header_line, tuple(lines), notes)


def _rows(path: Path, text: str, delimiter: str, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that hold something with the line each begins in."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        begins = skipped + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fix = "close every quote, and double quotes within quotes"
            raise InputError(Problem(f"not a row of CSV: {error}", f"{path}:{begins}", fix)) from error
        if any(cell.strip() for cell in cells):
            yield begins, cells


def _delimiter(path: Path, text: str, skipped: int) -> tuple[str, dict[str, str]]:
    """Return what parts the header into columns; two that could are asked about, none means one column."""
    place, first = next(((n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()), (1, ""))
    outside = re.sub(r'"[^"]*"', "", first)
    found = [mark for mark in DELIMITERS if mark in outside]
    if len(found) > 1:
        what = f"the header holds {' and '.join(DELIMITERS[mark] for mark in found)}: which of them parts the columns?"
        fix = "write " + ", or ".join(f"delimiter: {_shown(mark)}" for mark in found)
        raise InputError(Problem(what, f"{path}:{skipped + place}", fix))
    if not found or found == [","]:
        return ",", {}
    return found[0], {"delimiter": f"columns are parted by {DELIMITERS[found[0]]}, as the header shows"}


def _shown(mark: str) -> str:
    return '"\\t"' if mark == "\t" else f'"{mark}"'


def check_header(header: Sequence[str], where: str) -> None:
    """Refuse a header in which two columns have one name."""
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise InputError(*(Problem(f"the column {name} occurs twice", where, "give every column its own name") for name in twice))


def whole_numbers(sheet: Sheet, columns: Sequence[str]) -> Sheet:
    """Return the sheet with `3.0` read as `3` in those of these columns that hold nothing else, as tables saved by programs do."""
    found = []
    for column in dict.fromkeys(columns):
        words = [word for word in (line.word(column) for line in sheet.lines) if word]
        if words and all(_POINT_NOUGHT.fullmatch(word) for word in words):
            found.append(column)
    if not found:
        return sheet
    lines = tuple(
        replace(line, cells={**line.cells, **{c: line.word(c).split(".")[0] for c in found}}) for line in sheet.lines
    )  # fmt: skip
    said = f"{', '.join(found)}: whole numbers written with .0 are read without it"
    return replace(sheet, lines=lines).noted(**{"whole numbers": said})
