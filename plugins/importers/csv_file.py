"""Expert ratings from a CSV file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from harness.api import Context, InputError, Problem, Rating, RatingImporter

Columns = str | tuple[str, ...]
_JOIN = "/"


class CsvFile(RatingImporter):
    """Reads ratings from a CSV file, one rating per row, or one column per rater.

    `item`, `rater`, `scale`, `value`, and where there are any `occasion` and `seconds`, name the columns; several columns for
    one of item, rater, scale and occasion are joined by a slash. `scale_name` takes the place of the scale column where the
    file has a single scale. `raters` names one column per rater, each holding that rater's values, in place of `rater` and
    `value`. Empty values, and the words of `missing`, are kept as missing ratings.
    """

    name = "csv"
    version = "1"
    path: Path
    item: Columns = "item"
    rater: Columns = "rater"
    scale: Columns = "scale"
    value: str = "value"
    occasion: Columns | None = None
    seconds: str | None = None
    scale_name: str | None = None
    raters: tuple[str, ...] = ()
    missing: tuple[str, ...] = ("NA",)
    delimiter: str = Field(",", min_length=1, max_length=1)
    encoding: str = "utf-8"

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = self.model_fields_set
        if self.scale_name is not None and "scale" in given:
            raise ValueError("give scale (a column) or scale_name (one name for the whole file), not both")
        if self.raters and given & {"rater", "value"}:
            raise ValueError("give raters (one column each) or rater and value (one rating per row), not both")
        return self

    def inputs(self) -> tuple[Path, ...]:
        """Return the file."""
        return (self.path,)

    def read(self, context: Context) -> Iterator[Rating]:
        """Yield every rating in the order of the file; a second rating of one item by one rater on one occasion is refused."""
        first: dict[tuple[str, str, str, str], int] = {}
        for row in self._rows():
            for rating in self._ratings(row):
                key = (rating.item, rating.rater, rating.scale, rating.occasion)
                if key in first:
                    what = f"{rating.rater} rates {rating.item} on {rating.scale} a second time, first in line {first[key]}"
                    fix = "keep one of the two, or tell them apart by an occasion column"
                    raise InputError(Problem(what, rating.source, fix))
                first[key] = row.line
                yield rating

    def _ratings(self, row: _Row) -> Iterator[Rating]:
        """Yield the rating of a row, or one per rater's column."""
        item, source = row.text(self.item), f"{self.path.name}:{row.line}"
        scale = row.text(self.scale) if self.scale_name is None else self.scale_name
        occasion = "1" if self.occasion is None else row.text(self.occasion)
        seconds = None if self.seconds is None else row.number(self.seconds)
        pairs = [(r, r) for r in self.raters] or [(row.text(self.rater), self.value)]
        for rater, column in pairs:
            value = row.cells[column]
            rating = Rating(item=item, rater=rater, scale=scale, value=value, occasion=occasion, seconds=seconds, source=source)
            if value == "" or value in self.missing:
                reason = f"{value} stands for a missing value" if value else "the value is empty"
                rating = rating.model_copy(update={"value": None, "status": "missing", "reason": reason})
            yield rating

    def _rows(self) -> Iterator[_Row]:
        """Yield the rows with the line each begins in; empty lines are passed over."""
        reader = csv.reader(io.StringIO(self._text(), newline=""), delimiter=self.delimiter, strict=True)
        header: list[str] = []
        begins = 1
        while True:
            begins = reader.line_num + 1
            try:
                cells = [cell.strip() for cell in next(reader)]
            except StopIteration:
                break
            except csv.Error as error:
                raise self._refusal(begins, f"not a row of CSV: {error}", "close every quote, and double quotes within quotes") from error
            if not any(cells):
                continue
            if not header:
                header = cells
                self._check_header(header, begins)
            elif len(cells) != len(header):
                raise self._refusal(begins, f"{len(cells)} values under {len(header)} columns", "quote values that hold the delimiter")
            else:
                yield _Row(dict(zip(header, cells, strict=True)), begins, self.path)
        if not header:
            raise self._refusal(1, "the file is empty", "its first row must name the columns")

    def _text(self) -> str:
        """Return the text of the file without a byte order mark."""
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise InputError(Problem(f"cannot be read: {error.strerror}", str(self.path), "check the option path of csv")) from error
        try:
            return content.decode(self.encoding).removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise self._refusal(
                line, f"not {self.encoding}: {error.reason}", "save the file as UTF-8, or give the option encoding"
            ) from error
        except LookupError as error:
            raise InputError(Problem(f"unknown encoding {self.encoding!r}", str(self.path), "for example utf-8 or latin-1")) from error

    def _check_header(self, header: Sequence[str], line: int) -> None:
        twice = sorted({name for name in header if name and header.count(name) > 1})
        if twice:
            raise self._refusal(line, f"the column {twice[0]} occurs twice", "give every column its own name")
        groups: list[Columns] = [self.item, *(self.raters or (self.rater, self.value))]
        groups += [c for c in (self.occasion, self.seconds, None if self.scale_name is not None else self.scale) if c is not None]
        wanted = [name for group in groups for name in _names(group)]
        missing = [name for name in wanted if name not in header]
        if missing:
            fix = f"columns: {', '.join(header)}; see the options item, rater, scale, value, scale_name and raters"
            raise self._refusal(line, f"no column is called {', '.join(missing)}", fix)

    def _refusal(self, line: int, what: str, fix: str) -> InputError:
        return InputError(Problem(what, f"{self.path}:{line}", fix))


@dataclass(frozen=True)
class _Row:
    """One row of the file, by column, and the line in which it begins."""

    cells: dict[str, str]
    line: int
    path: Path

    def text(self, columns: Columns) -> str:
        """Return the words of these columns, joined; an empty one is refused."""
        words = [self.cells[name] for name in _names(columns)]
        for name, word in zip(_names(columns), words, strict=True):
            if not word:
                raise InputError(Problem(f"{name} is empty", f"{self.path}:{self.line}", "every rating needs an item, a rater and a scale"))
        return _JOIN.join(words)

    def number(self, column: str) -> float | None:
        """Return the number of a column, None where it is empty."""
        word = self.cells[column]
        try:
            number = float(word) if word else None
        except ValueError:
            number = math.nan
        if number is not None and not (math.isfinite(number) and number >= 0.0):
            raise InputError(
                Problem(f"{column} is {word!r}, not a time in seconds", f"{self.path}:{self.line}", "leave it empty where unknown")
            )
        return number


def _names(columns: Columns) -> tuple[str, ...]:
    return (columns,) if isinstance(columns, str) else columns
