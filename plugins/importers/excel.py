"""Expert ratings from an Excel workbook."""

from __future__ import annotations

import datetime as dt
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from pydantic import Field

from harness.api import Context, InputError, Problem

from .sheets import Line, Sheet, check_header
from .tables import RatingTable

_SHOWN = 8


class Excel(RatingTable):
    """Reads ratings from a sheet of an Excel workbook (.xlsx): a row per rating, or a column per rater, per scale, or per both.

    The options are those of `csv`. `sheet_name`: which sheet; needed where several hold something. `header_row`: the row that names the
    columns; the first that holds something by default. Merged cells hold their value in the first cell alone: they are refused where
    ratings are, unless `merged: fill` gives every cell of the range that value. `hidden`: rows and columns that a filter or a person hid
    are read and reported, or left out and counted (skip; hidden columns are read where options name them). A cell with a date, an error, or
    a formula without a stored result is an unusable rating; numbers shown as percent are read as stored. Each of these is noted.
    """

    name = "excel"
    version = "1"
    sheet_name: str | None = None
    header_row: int | None = Field(None, ge=1)
    merged: Literal["refuse", "fill"] = "refuse"
    hidden: Literal["read", "skip"] = "read"

    def sheet(self, context: Context) -> Sheet:
        """Return the table of the sheet."""
        values, formulas = self._books()
        try:
            tab = self._tab(values)
            grid = _Grid(values[tab], formulas[tab])
            return self._table(tab, grid)
        finally:
            values.close()
            formulas.close()

    def _books(self) -> tuple[Any, Any]:
        """Return the workbook twice: with the results that the program stored, and with the formulas."""
        try:
            import openpyxl
            from openpyxl.utils.exceptions import InvalidFileException
        except ImportError as error:
            raise InputError(Problem("the package openpyxl is not installed", str(self.path), "pip install openpyxl")) from error
        broken = (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, EOFError, SyntaxError)
        try:
            return openpyxl.load_workbook(self.path, data_only=True), openpyxl.load_workbook(self.path, data_only=False)
        except OSError as error:
            raise InputError(Problem(f"cannot be read: {error.strerror}", str(self.path), "check the option path of excel")) from error
        except broken as error:
            fix = "save it as Excel workbook (.xlsx) without a password"
            raise InputError(Problem(f"not an Excel workbook: {error}", str(self.path), fix)) from error

    def _tab(self, book: Any) -> str:
        """Return the name of the sheet to read."""
        tabs = [tab.title for tab in book.worksheets]
        if self.sheet_name is not None:
            if self.sheet_name not in tabs:
                raise InputError(Problem(f"no sheet is called {self.sheet_name!r}", str(self.path), f"sheets: {', '.join(tabs)}"))
            return self.sheet_name
        full = [tab.title for tab in book.worksheets if any(cell.value is not None for row in tab.iter_rows() for cell in row)]
        if len(full) != 1:
            what = f"{len(full)} sheets hold something: {', '.join(full)}" if full else "no sheet holds anything"
            raise InputError(Problem(what, str(self.path), f"write sheet_name: {full[0]}" if full else "save the ratings in it"))
        return str(full[0])

    def _table(self, tab: str, grid: _Grid) -> Sheet:
        first = self.header_row or grid.first_row()
        header = [grid.word(first, column).strip() for column in range(1, grid.columns + 1)]
        where = f"{self.path}:{tab}!{first}"
        if not any(header):
            raise InputError(Problem("the row of the header is empty", where, "give header_row, the row that names the columns"))
        check_header(header, where)
        letters = {name: _letter(k) for k, name in enumerate(header, 1)}
        self._refuse_merged(tab, grid, first, len(header))
        hidden = grid.hidden_rows(first)
        lines = tuple(
            self._line(grid, row, header) for row in range(first + 1, grid.rows + 1) if not (self.hidden == "skip" and row in hidden)
        )
        kept = tuple(line for line in lines if any(word.strip() for word in line.cells.values()) or line.faults)
        return Sheet(self.path, tuple(header), first, kept, self._notes(grid, first, header, hidden), tab, letters)

    def _line(self, grid: _Grid, row: int, header: list[str]) -> Line:
        words, faults = {}, {}
        for column, name in enumerate(header, 1):
            words[name] = grid.word(row, column, fill=self.merged == "fill")
            fault = grid.fault(row, column)
            if fault:
                faults[name] = fault
        return Line(words, row, faults)

    def _refuse_merged(self, tab: str, grid: _Grid, first: int, width: int) -> None:
        ranges = [area for area in grid.merged if area.max_row > first and area.min_col <= width]
        if ranges and self.merged == "refuse":
            fix = "unmerge it and write the value in each cell, or write merged: fill if it holds for each cell of the range"
            raise InputError(
                *(Problem(f"the cells {a.coord} are merged", f"{self.path}:{tab}!{a.coord.split(':')[0]}", fix) for a in ranges)
            )

    def _notes(self, grid: _Grid, first: int, header: list[str], hidden: frozenset[int]) -> dict[str, str]:
        notes = {}
        merged = [area.coord for area in grid.merged if area.max_row > first]
        if merged:
            notes["merged cells"] = f"{_some(merged)}: each cell of the range has the value of the first"
        if hidden:
            done = "are left out" if self.hidden == "skip" else "are read"
            notes["hidden rows"] = f"the hidden rows {_some([str(row) for row in sorted(hidden)])} {done}"
        columns = grid.hidden_columns(len(header))
        if columns:
            notes["hidden columns"] = f"{_some([f'{header[k - 1]} ({_letter(k)})' for k in columns])}: hidden, and read where named"
        formulas, percent = grid.formulas(first), grid.percents(first)
        if formulas:
            notes["formulas"] = f"{_some(formulas)}: formulas, read with the result that was stored when the file was saved"
        if percent:
            notes["percent"] = f"{_some(percent)}: shown as percent, read as stored: 0.5 for 50 %"
        return notes


@dataclass(frozen=True)
class _Grid:
    """A sheet twice: with stored results, and with formulas."""

    values: Any
    written: Any

    @cached_property
    def rows(self) -> int:
        """The last row that holds something."""
        return max((c.row for row in self.written.iter_rows() for c in row if c.value is not None), default=1)

    @cached_property
    def columns(self) -> int:
        """The last column that holds something."""
        return max((c.column for row in self.written.iter_rows() for c in row if c.value is not None), default=1)

    def first_row(self) -> int:
        """Return the first row that holds something."""
        full = (row for row in range(1, self.rows + 1) if any(self.word(row, c) for c in range(1, self.columns + 1)))
        return next(full, 1)

    @cached_property
    def merged(self) -> list[Any]:
        """The merged ranges in the order of the sheet."""
        return sorted(self.written.merged_cells.ranges, key=lambda a: (a.min_row, a.min_col))

    @cached_property
    def _first_of(self) -> dict[tuple[int, int], tuple[int, int]]:
        return {place: (area.min_row, area.min_col) for area in self.merged for row in area.rows for place in row}

    def word(self, row: int, column: int, *, fill: bool = False) -> str:
        """Return a cell as a word: whole numbers without a decimal point, dates as ISO 8601. fill: that of its merged range."""
        if fill:
            row, column = self._first_of.get((row, column), (row, column))
        value = self.values.cell(row, column).value
        if value is None:
            return ""
        if isinstance(value, bool):
            return "TRUE" if value else "FALSE"
        if isinstance(value, float):
            return str(int(value)) if value == int(value) else repr(value)
        return value.isoformat() if isinstance(value, dt.date | dt.time) else str(value)

    def fault(self, row: int, column: int) -> str:
        """Say why a cell cannot be believed, or nothing."""
        cell, written = self.values.cell(row, column), self.written.cell(row, column)
        if cell.data_type == "e":
            return f"the cell holds the error {cell.value}"
        if written.data_type == "f" and cell.value is None:
            return "the cell holds a formula whose result was never stored; open the file in a spreadsheet program and save it"
        if isinstance(cell.value, dt.date | dt.time | dt.timedelta):
            return f"the cell holds a date or time ({cell.value}); spreadsheet programs turn entries such as 1-2 into dates"
        return ""

    def hidden_rows(self, first: int) -> frozenset[int]:
        """Return the hidden rows below the header."""
        return frozenset(row for row, look in self.written.row_dimensions.items() if look.hidden and first < row <= self.rows)

    def hidden_columns(self, width: int) -> list[int]:
        """Return the hidden columns; the file keeps the look of neighbours that look alike under the first of them."""
        looks = [look for look in self.written.column_dimensions.values() if look.hidden]
        return [k for k in range(1, width + 1) if any((look.min or 0) <= k <= (look.max or 0) for look in looks)]

    def formulas(self, first: int) -> list[str]:
        """Return the cells whose formula has a stored result."""
        return [c.coordinate for c in self._below(first) if c.data_type == "f" and self.values[c.coordinate].value is not None]

    def percents(self, first: int) -> list[str]:
        """Return the cells with numbers that are shown as percent."""
        return [c.coordinate for c in self._below(first) if c.data_type == "n" and c.value is not None and "%" in str(c.number_format)]

    def _below(self, first: int) -> Iterator[Any]:
        for row in self.written.iter_rows(min_row=first + 1):
            yield from (cell for cell in row if hasattr(cell, "number_format"))


def _letter(column: int) -> str:
    from openpyxl.utils import get_column_letter

    return str(get_column_letter(column))


def _some(words: list[str]) -> str:
    rest = len(words) - _SHOWN
    return ", ".join(words[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
