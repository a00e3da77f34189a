"""Expert ratings from an export of REDCap."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from pydantic import Field, model_validator

from harness.api import Context, InputError, Problem

from .answers import Answer, Word
from .sheets import Line, Sheet, text_sheet
from .tables import Columns, RatingTable, names

# REDCap's own columns, as they are called in exports of raw data and of labels.
RECORD = ("record_id", "Record ID", "Study ID")
EVENT = ("redcap_event_name", "Event Name")
INSTRUMENT = ("redcap_repeat_instrument", "Repeat Instrument")
INSTANCE = ("redcap_repeat_instance", "Repeat Instance")
_RAW_BOX = re.compile(r"(?P<field>.+)___(?P<choice>\w+)")
_LABEL_BOX = re.compile(r"(?P<field>.+?)\s*\(choice=(?P<choice>.+)\)")
_TICKED = {"1": True, "0": False, "Checked": True, "Unchecked": False}


@dataclass(frozen=True)
class _Box:
    """A column of a checkbox question: the answer that it stands for."""

    column: str
    choice: str


class Redcap(RatingTable):
    """Reads ratings from a CSV export of REDCap, raw or with labels.

    `scales` names the fields that hold answers. `item` and `rater` name fields, by default the record and the field `rater`; where each
    reader fills in a repeat of a form, `rater: redcap_repeat_instance`, and where each reader has an event, `rater: redcap_event_name`.
    Fields of a repeated form that are empty are taken from the record's own row. A checkbox question (columns field___1, field___2, or
    "Field (choice=...)") is named by its field and becomes a set. `codes: {field: {1: benign}}` says what the codes of raw data mean.
    `instrument`: the repeated form to read, where there are several. Rows that hold no answer, and forms that were not marked complete,
    are counted. The other options are those of `csv`.
    """

    name = "redcap"
    version = "1"
    item: Columns = "record_id"
    codes: dict[str, dict[Word, Word]] = Field(default_factory=dict)
    instrument: str | None = None
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    encoding: str | None = None

    @model_validator(mode="after")
    def _fields(self) -> Self:
        if not self.scales:
            raise ValueError("name the fields that hold answers under scales")
        return self

    def sheet(self, context: Context) -> Sheet:
        """Return the rows of the answers, filled from the rows of their records, checkboxes joined."""
        sheet = text_sheet(self.path, self.delimiter, self.encoding, self.name)
        boxes = {field: found for field in self.scales if field not in sheet.header and (found := list(_boxes(sheet.header, field)))}
        sheet = self._filled(sheet)
        sheet = self._of_instrument(sheet)
        sheet = self._answered(sheet, boxes)
        sheet = self._ticked(sheet, boxes)
        return self._unfinished(sheet)

    def decoded(self, answer: Answer) -> Answer:
        """Return an answer with its codes replaced by what they mean."""
        words = self.codes.get(answer.scale, {})
        if answer.several is not None:
            return replace(answer, several=tuple(words.get(word, word) for word in answer.several))
        return replace(answer, word=words.get(answer.word.strip(), answer.word))

    def _of_instrument(self, sheet: Sheet) -> Sheet:
        column = _one_of(sheet.header, INSTRUMENT)
        forms = list(dict.fromkeys(line.word(column) for line in sheet.lines if line.word(column))) if column else []
        if self.instrument is None:
            return sheet
        if self.instrument not in forms:
            fix = f"repeated forms: {', '.join(forms) or 'none'}"
            raise InputError(Problem(f"no repeated form is called {self.instrument!r}", sheet.where(sheet.header_line), fix))
        kept = tuple(line for line in sheet.lines if line.word(column) == self.instrument)
        said = f"{len(sheet.lines) - len(kept)} of {len(sheet.lines)} rows are of other forms and left out"
        return replace(sheet, lines=kept).noted(instrument=said)

    def _filled(self, sheet: Sheet) -> Sheet:
        """Return the rows, in which empty names and facts are taken from the row of the same record (and event) that is no repeat."""
        record, event, instance = (_one_of(sheet.header, own) for own in (RECORD, EVENT, INSTANCE))
        if not record or not instance:
            return sheet
        own: dict[tuple[str, str], Line] = {}
        for line in sheet.lines:
            if not line.word(instance):
                own.setdefault((line.word(record), line.word(event) if event else ""), line)
                own.setdefault((line.word(record), ""), line)
        wanted = [c for c in (*names(self.item), *self._rater_columns(), *self.fact_columns().values()) if c in sheet.header]
        lines = []
        for line in sheet.lines:
            base = own.get((line.word(record), line.word(event) if event else "")) or own.get((line.word(record), ""))
            lent = {c: base.cells[c] for c in wanted if base is not None and not line.word(c)}
            lines.append(replace(line, cells={**line.cells, **lent}))
        return replace(sheet, lines=tuple(lines))

    def _rater_columns(self) -> tuple[str, ...]:
        return names(self.rater) if self.rater_name is None else ()

    def _answered(self, sheet: Sheet, boxes: Mapping[str, Sequence[_Box]]) -> Sheet:
        """Return the rows with answers: a row of a form without these fields, which is empty throughout, is counted and left out."""
        plain = [c for c in self.scales if c in sheet.header]
        ticks = [box.column for found in boxes.values() for box in found]

        def empty(line: Line) -> bool:
            return not any(line.word(c) for c in plain) and not any(_TICKED.get(line.word(c)) for c in ticks)

        instance = _one_of(sheet.header, INSTANCE)
        repeats = bool(instance) and any(line.word(instance) and not empty(line) for line in sheet.lines)
        raters = [c for c in self._rater_columns() if c in sheet.header]

        def foreign(line: Line) -> bool:
            return empty(line) and (any(not line.word(c) for c in raters) or (repeats and not line.word(instance)))

        elsewhere = frozenset(line.number for line in sheet.lines if foreign(line))
        if not elsewhere:
            return sheet
        kept = tuple(line for line in sheet.lines if line.number not in elsewhere)
        said = f"{len(elsewhere)} of {len(sheet.lines)} rows hold no answer and belong to no reader: rows of other forms"
        return replace(sheet, lines=kept).noted(**{"rows without answers": said})

    def _ticked(self, sheet: Sheet, boxes: Mapping[str, Sequence[_Box]]) -> Sheet:
        """Return the sheet with one column per checkbox question, the choices that were ticked one per line."""
        problems, lines = [], []
        for line in sheet.lines:
            joined = {}
            for field, found in boxes.items():
                odd = next((box for box in found if line.word(box.column) not in {*_TICKED, ""}), None)
                if odd is not None:
                    what = f"{odd.column} is {line.word(odd.column)!r}, not ticked or not"
                    problems.append(Problem(what, sheet.where(line.number), "export checkboxes as 0 and 1, or Checked and Unchecked"))
                ticked = "".join(f"{box.choice}\n" for box in found if _TICKED.get(line.word(box.column)))
                joined[field] = ticked or ("\n" if any(line.word(box.column) for box in found) else "")
            lines.append(replace(line, cells={**line.cells, **joined}))
        if problems:
            raise InputError(*problems)
        header = (*sheet.header, *(field for field in boxes if field not in sheet.header))
        return replace(sheet, header=header, lines=tuple(lines), several=frozenset(boxes))

    def _unfinished(self, sheet: Sheet) -> Sheet:
        """Say how many rows have a form that was not marked complete."""
        said = []
        for column in sheet.header:
            if column.endswith("_complete") or column.startswith("Complete?"):
                rows = [line for line in sheet.lines if line.word(column) in ("0", "1", "Incomplete", "Unverified")]
                said += [f"{column}: {len(rows)} of {len(sheet.lines)} rows are not marked complete"] if rows else []
        return sheet.noted(**{"unfinished forms": "; ".join(said)}) if said else sheet


def _one_of(header: Sequence[str], known: Sequence[str]) -> str:
    return next((name for name in known if name in header), "")


def _boxes(header: Sequence[str], field: str) -> Iterator[_Box]:
    """Yield the columns of a checkbox question, in either form of export."""
    for column in header:
        match = _RAW_BOX.fullmatch(column) or _LABEL_BOX.fullmatch(column)
        if match and match.group("field") == field:
            yield _Box(column, match.group("choice"))
