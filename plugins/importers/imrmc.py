"""Ratings of multi-reader multi-case studies in the form of the iMRMC programs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from pydantic import Field

from harness.api import Context, InputError, Problem, Rating

from .answers import Answer, RatedFile
from .sheets import Line, Sheet, decoded, table, whole_numbers

_COLUMNS = {"reader": "readerID", "case": "caseID", "modality": "modalityID", "score": "score"}
_TRUTH = frozenset({"-1", "truth"})
_BEGIN = re.compile(r"^\s*BEGIN DATA:?[\s,;]*$", re.IGNORECASE | re.MULTILINE)
_COUNT = re.compile(r"^\s*(NR|N0|N1|NM)\s*[:=]\s*(\d+)[\s,;]*$", re.MULTILINE)
_COUNTED = {"NR": "readers", "NM": "modalities", "N0": "cases with truth 0", "N1": "cases with truth 1"}


class IMRMC(RatedFile):
    """Reads ratings in the form of the iMRMC programs: a row per score, with readerID, caseID, modalityID and score.

    Rows whose reader is -1 or "truth" say the truth of a case. The file may begin with counts (NR, N0, N1, NM) and BEGIN DATA, without
    names of columns below; the counts are compared with the data. A case seen in a modality is an item, CASE/MODALITY, which knows its
    `case`, `modality`, and `truth` where there is one. `scale_name`: the name of the scale. `only`: a modality or several; the rest is left
    out and counted. The other options are those of `csv`.
    """

    name = "imrmc"
    version = "1"
    scale_name: str = "score"
    only: tuple[str, ...] = ()
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    encoding: str | None = None

    def read(self, context: Context) -> Iterator[Rating]:
        """Yield every score in the order of the file."""
        sheet, counts = self._sheet()
        columns = self._columns(sheet)
        sheet = whole_numbers(sheet, [columns[name] for name in ("reader", "case", "modality")])
        truth = self._truth(sheet, columns)
        rows = [line for line in sheet.lines if line.word(columns["reader"]).casefold() not in _TRUTH]
        modalities = list(dict.fromkeys(line.word(columns["modality"]) for line in rows))
        unknown = [name for name in self.only if name not in modalities]
        if unknown:
            fix = f"modalities: {', '.join(modalities)}"
            raise InputError(Problem(f"no modality is called {', '.join(unknown)}", str(self.path), fix))
        kept = [line for line in rows if not self.only or line.word(columns["modality"]) in self.only]
        answers = [self._answer(sheet, line, columns, truth) for line in kept]
        notes = dict(sheet.notes) | self._notes(answers, truth, counts)
        if len(kept) < len(rows):
            notes["modalities"] = f"{len(rows) - len(kept)} of {len(rows)} scores are of other modalities and left out"
        for subject, text in notes.items():
            context.note(f"{self.path.name}: {subject}", text)
        yield from self.settled(answers, context)

    def _sheet(self) -> tuple[Sheet, dict[str, int]]:
        """Return the table and the counts that stand above it."""
        text, notes = decoded(self.path, self.encoding, self.name)
        begin = _BEGIN.search(text)
        if begin is None:
            return table(self.path, text, self.delimiter, notes), {}
        counts = {name: int(number) for name, number in _COUNT.findall(text[: begin.start()])}
        above = text[: begin.end()].count("\n") + 1
        data = text[begin.end() :].split("\n", 1)[-1]
        first = next((line for line in data.splitlines() if line.strip()), "")
        if not re.search("reader", first, re.IGNORECASE):
            mark = self.delimiter or next((mark for mark in ("\t", ";") if mark in first), ",")
            data, above = mark.join(_COLUMNS.values()) + "\n" + data, above - 1
        return table(self.path, data, self.delimiter, notes, above), counts

    def _columns(self, sheet: Sheet) -> dict[str, str]:
        """Return what -> column, whatever the case of its name."""
        named = {name.casefold().removesuffix("id").strip(" _."): name for name in sheet.header}
        missing = [column for what, column in _COLUMNS.items() if what not in named]
        if missing:
            fix = f"columns: {', '.join(sheet.header)}; where they have other names, read the file with csv"
            raise InputError(Problem(f"no column is called {', '.join(missing)}", sheet.where(sheet.header_line), fix))
        return {what: named[what] for what in _COLUMNS}

    def _truth(self, sheet: Sheet, columns: dict[str, str]) -> dict[str, str]:
        """Return case -> truth; two truths of one case are refused."""
        truth: dict[str, tuple[str, Line]] = {}
        problems = []
        for line in sheet.lines:
            if line.word(columns["reader"]).casefold() in _TRUTH:
                case, word = line.word(columns["case"]), line.word(columns["score"])
                word = word[:-2] if re.fullmatch(r"-?\d+\.0", word) else word
                before = truth.setdefault(case, (word, line))
                if before[0] != word:
                    what = f"the truth of case {case} is {word!r}, but {before[0]!r} in line {before[1].number}"
                    problems.append(Problem(what, sheet.where(line.number), "keep one of the two rows"))
        if problems:
            raise InputError(*problems)
        return {case: word for case, (word, _) in truth.items()}

    def _answer(self, sheet: Sheet, line: Line, columns: dict[str, str], truth: dict[str, str]) -> Answer:
        reader, case, modality = (line.word(columns[name]) for name in ("reader", "case", "modality"))
        where = sheet.where(line.number)
        empty = next((columns[name] for name in ("reader", "case", "modality") if not line.word(columns[name])), None)
        if empty is not None:
            raise InputError(Problem(f"{empty} is empty", where, "every score needs a reader, a case and a modality"))
        facts = {"case": case, "modality": modality} | ({"truth": truth[case]} if truth.get(case) else {})
        base = Answer(f"{case}/{modality}", reader, self.scale_name, line.cells[columns["score"]], sheet.source(line.number), where)
        return replace(base, facts=facts)

    def _notes(self, answers: list[Answer], truth: dict[str, str], counts: dict[str, int]) -> dict[str, str]:
        """Say which cases have no truth or no score, and where the counts at the top are not those of the data."""
        cases = list(dict.fromkeys(a.facts["case"] for a in answers))
        notes = {}
        without = [case for case in cases if not truth.get(case)]
        if without:
            notes["truth"] = (
                "no row says the truth of a case" if not truth else f"no row says the truth of {len(without)} of {len(cases)} cases"
            )
        unseen = [case for case in truth if case not in set(cases)]
        if unseen:
            notes["cases without a score"] = f"{len(unseen)} cases have a truth and no score: {', '.join(unseen[:8])}"
        found = {
            "NR": len({a.rater for a in answers}), "NM": len({a.facts["modality"] for a in answers}),
            "N0": sum(word == "0" for word in truth.values()), "N1": sum(word == "1" for word in truth.values()),
        }  # fmt: skip
        wrong = [f"{_COUNTED[name]}: {said} announced, {found[name]} found" for name, said in counts.items() if said != found[name]]
        if wrong:
            notes["counts"] = "; ".join(wrong)
        return notes
