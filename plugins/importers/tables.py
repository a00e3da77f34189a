"""Tables of ratings, whatever file they come from: which column is what, and the answers that the rows then hold."""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

from pydantic import Field, model_validator

from harness.api import Context, InputError, Problem, Rating

from .answers import Answer, RatedFile, Word
from .sheets import Line, Sheet, whole_numbers

Columns = str | tuple[str, ...]
JOIN = "/"
_PLACE = re.compile(r"\{(rater|scale)\}")


@dataclass(frozen=True)
class Cell:
    """A column of answers. rater, scale: whose they are and on which scale; None where other columns of the row say so."""

    column: str
    rater: str | None = None
    scale: str | None = None


class RatingTable(RatedFile):
    """A table of ratings: options say which column is what."""

    item: Columns = "item"
    rater: Columns = "rater"
    rater_name: str | None = None
    scale: Columns = "scale"
    scale_name: str | None = None
    value: str = "value"
    scales: tuple[str, ...] = ()
    raters: tuple[str, ...] = ()
    columns: str = ""
    occasion: Columns | None = None
    seconds: str | None = None
    text: str | None = None
    facts: dict[str, str] | tuple[str, ...] = ()
    where: dict[str, Word | tuple[Word, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = self.model_fields_set
        if self.scale_name is not None and "scale" in given:
            raise ValueError("give scale (a column) or scale_name (one name for the whole file), not both")
        if self.rater_name is not None and "rater" in given:
            raise ValueError("give rater (a column) or rater_name (the one rater of the file), not both")
        if self.raters and given & {"rater", "rater_name", "value"}:
            raise ValueError("give raters (one column each) or rater and value (one rating per row), not both")
        if self.scales and given & {"scale", "scale_name", "value"}:
            raise ValueError("give scales (one column each) or scale and value (one rating per row), not both")
        if sum(map(bool, (self.raters, self.scales, self.columns))) > 1:
            raise ValueError("give one of raters (one column each), scales (one column each) and columns (a pattern)")
        self._check_pattern()
        return self

    def _check_pattern(self) -> None:
        places = _PLACE.findall(self.columns)
        if self.columns and (not places or len(set(places)) < len(places)):
            raise ValueError(f"columns = {self.columns!r} is no pattern: write {{rater}}, {{scale}} or both, such as '{{rater}}_{{scale}}'")
        if "rater" in places and self.model_fields_set & {"rater", "rater_name"}:
            raise ValueError("the pattern of columns names the rater: leave out rater and rater_name")
        if "scale" in places and self.model_fields_set & {"scale", "scale_name"}:
            raise ValueError("the pattern of columns names the scale: leave out scale and scale_name")
        if self.text is not None and (self.raters or "rater" in places):
            raise ValueError("text is a column beside the answer of one rater; with a column per rater, name the text columns under texts")

    @abstractmethod
    def sheet(self, context: Context) -> Sheet:
        """Return the table of the file."""

    def read(self, context: Context) -> Iterator[Rating]:
        """Yield every rating in the order of the file; a second rating of one item by one rater on one occasion is refused."""
        sheet = self.sheet(context)
        cells = self._cells(sheet)
        sheet = whole_numbers(self._filtered(sheet, context), self._named())
        answers: list[Answer] = []
        problems: list[Problem] = []
        for line in sheet.lines:
            try:
                answers.extend(self._answers(sheet, line, cells))
            except InputError as error:
                problems.extend(error.problems)
        if problems:
            raise InputError(*problems)
        for subject, text in sheet.notes.items():
            context.note(f"{self.path.name}: {subject}", text)
        yield from self.settled(answers, context)

    def fact_columns(self) -> dict[str, str]:
        """Return fact -> column."""
        return dict(self.facts) if isinstance(self.facts, dict) else {name: name for name in self.facts}

    def _named(self) -> list[str]:
        """Return the columns that name items, raters, scales and occasions, and the columns of facts."""
        groups: list[Columns] = [self.item]
        if not self.raters and "{rater}" not in self.columns and self.rater_name is None:
            groups.append(self.rater)
        if not self.scales and "{scale}" not in self.columns and self.scale_name is None:
            groups.append(self.scale)
        groups += [c for c in (self.occasion,) if c is not None]
        return [*(name for group in groups for name in names(group)), *self.fact_columns().values()]

    def _cells(self, sheet: Sheet) -> list[Cell]:
        """Return the columns that hold answers; columns that options name and the table lacks are refused."""
        wanted = [*self._named(), *self.raters, *self.scales, *self.where, *(c for c in (self.seconds, self.text) if c is not None)]
        if self.columns:
            cells = self._matching(sheet, set(wanted))
        elif self.raters:
            cells = [Cell(name, rater=name) for name in self.raters]
        elif self.scales:
            cells = [Cell(name, scale=name) for name in self.scales]
        else:
            cells = [Cell(self.value)]
            wanted.append(self.value)
        missing = list(dict.fromkeys(name for name in wanted if name not in sheet.header))
        where = sheet.where(sheet.header_line)
        if missing:
            shown = ", ".join(name or "(no name)" for name in sheet.header)
            fix = f"columns: {shown}; see the options item, rater, scale, value, scale_name, raters, scales and columns"
            raise InputError(Problem(f"no column is called {', '.join(missing)}", where, fix))
        if not cells:
            raise InputError(Problem(f"no column is called like {self.columns}", where, f"columns: {', '.join(sheet.header)}"))
        return cells

    def _matching(self, sheet: Sheet, taken: set[str]) -> list[Cell]:
        """Return the columns that are called like the pattern; the rater's part is as short as can be."""
        parts = (f"(?P<{part}>.+?)" if part in ("rater", "scale") else re.escape(part) for part in _PLACE.split(self.columns))
        pattern = re.compile("".join(parts))
        found = []
        for name in sheet.header:
            match = pattern.fullmatch(name) if name not in taken else None
            if match:
                known = match.groupdict()
                found.append(Cell(name, known.get("rater"), known.get("scale")))
        return found

    def _filtered(self, sheet: Sheet, context: Context) -> Sheet:
        """Return the rows that fit `where`; how many do not is noted."""
        for column, wanted in self.where.items():
            words = (wanted,) if isinstance(wanted, str) else wanted
            kept = tuple(line for line in sheet.lines if line.word(column) in words)
            if not kept:
                held = ", ".join(word or "(empty)" for word, _ in Counter(line.word(column) for line in sheet.lines).most_common(8))
                what = f"no row has {column} {' or '.join(words)}"
                raise InputError(Problem(what, sheet.where(sheet.header_line), f"the most frequent words there: {held or 'none'}"))
            said = f"{len(sheet.lines) - len(kept)} of {len(sheet.lines)} rows are left out, whose {column} is not {' or '.join(words)}"
            context.note(f"{self.path.name}: where {column}", said)
            sheet = replace(sheet, lines=kept)
        return sheet

    def _answers(self, sheet: Sheet, line: Line, cells: Sequence[Cell]) -> Iterator[Answer]:
        """Yield the answers of a row."""
        words = _Words(sheet, line)
        item = words.joined(self.item)
        occasion = "1" if self.occasion is None else words.joined(self.occasion)
        seconds = None if self.seconds is None else words.seconds(self.seconds, self.decimal)
        known = {name: line.word(column) for name, column in self.fact_columns().items()}
        facts = {name: word for name, word in known.items() if word and word not in self.missing}
        rater = scale = ""
        for cell in cells:
            rater = cell.rater or self.rater_name or words.joined(self.rater)
            scale = cell.scale or self.scale_name or words.joined(self.scale)
            written = line.cells[cell.column]
            several = tuple(word for word in written.split("\n") if word) if written and cell.column in sheet.several else None
            answer = Answer(
                item, rater, scale, written, sheet.source(line.number, cell.column), sheet.where(line.number, cell.column), occasion,
                seconds, facts, several=several, fault=line.faults.get(cell.column, ""),
            )  # fmt: skip
            yield self.decoded(answer)
        if self.text is not None and line.word(self.text) not in ("", *self.missing):
            name = f"{scale}_comment" if len(cells) == 1 else f"{self.text}_comment"
            yield Answer(item, rater, name, line.cells[self.text], sheet.source(line.number, self.text),
                         sheet.where(line.number, self.text), occasion, facts=facts, free=True)  # fmt: skip

    def decoded(self, answer: Answer) -> Answer:
        """Return an answer with the codes of this kind of file replaced by what they mean. Optional."""
        return answer


@dataclass(frozen=True)
class _Words:
    """The words of one row that must be there."""

    sheet: Sheet
    line: Line

    def joined(self, columns: Columns) -> str:
        """Return the words of these columns, joined; an empty one is refused."""
        for name in names(columns):
            fault = self.line.faults.get(name, "")
            if fault or not self.line.word(name):
                what = f"{name} cannot be read: {fault}" if fault else f"{name} is empty"
                fix = "every rating needs an item, a rater and a scale"
                raise InputError(Problem(what, self.sheet.where(self.line.number, name), fix))
        return JOIN.join(self.line.word(name) for name in names(columns))

    def seconds(self, column: str, decimal: str | None) -> float | None:
        """Return the time of a column, None where it is empty."""
        word = self.line.word(column)
        try:
            number = float(word.replace(",", ".") if decimal == "," else word) if word else None
        except ValueError:
            number = math.nan
        if number is not None and not (math.isfinite(number) and number >= 0.0):
            what, fix = f"{column} is {word!r}, not a time in seconds", "leave it empty where unknown"
            raise InputError(Problem(what, self.sheet.where(self.line.number, column), fix))
        return number


def names(columns: Columns) -> tuple[str, ...]:
    """Return columns as a tuple."""
    return (columns,) if isinstance(columns, str) else columns
