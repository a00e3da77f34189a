"""Expert ratings from an Excel workbook, with what spreadsheets do to tables."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from harness.api import Context, InputError, Rating
from harness.testing import check
from harness_plugins.importers.excel import Excel

openpyxl = pytest.importorskip("openpyxl")
HEADER = ("item", "rater", "scale", "value")


@pytest.fixture
def book() -> Any:
    """Return a workbook with four ratings on the sheet Scores."""
    book = openpyxl.Workbook()
    book.active.title = "Scores"
    for row in (HEADER, ("a", "r1", "s", 3), ("b", "r1", "s", 4.0), ("a", "r2", "s", 3.5), ("b", "r2", "s", "NA")):
        book.active.append(row)
    return book


def read(book: Any, folder: Path, **options: Any) -> tuple[list[Rating], dict[str, str]]:
    """Return the ratings of a workbook that is saved first, and the notes."""
    path = folder / "r.xlsx"
    book.save(path)
    context = Context(1, folder)
    ratings = list(Excel(path=path, **options).read(context))
    return ratings, {subject.removeprefix("r.xlsx: "): text for subject, text in context.notes.items()}


def test_numbers_and_places(book: Any, tmp_path: Path) -> None:
    """Whole numbers have no decimal point, and each rating knows its cell; empty rows and columns do not matter."""
    book.active.append((None, "", None, None))
    book.create_sheet("Empty")
    found, notes = read(book, tmp_path)
    assert [(r.value, r.status) for r in found] == [("3", "ok"), ("4", "ok"), ("3.5", "ok"), (None, "missing")]
    assert found[1].source == "r.xlsx:Scores!D3"
    assert list(notes) == ["s: missing"]


def test_several_sheets_are_asked_about(book: Any, tmp_path: Path) -> None:
    """Which sheet holds the ratings is said by the user; one that is not there is refused with the names."""
    book.create_sheet("Other").append(("x",))
    with pytest.raises(InputError, match=r"2 sheets hold something: Scores, Other\n  write sheet_name: Scores"):
        read(book, tmp_path)
    with pytest.raises(InputError, match=r"no sheet is called 'Sheet1'\n  sheets: Scores, Other"):
        read(book, tmp_path, sheet_name="Sheet1")
    assert len(read(book, tmp_path, sheet_name="Scores")[0]) == 4


def test_a_title_above_the_header(book: Any, tmp_path: Path) -> None:
    """The row that names the columns can be given; a merged title above it does no harm."""
    book.active.insert_rows(1)
    book.active["A1"] = "Reader study"
    book.active.merge_cells("A1:D1")
    found, notes = read(book, tmp_path, header_row=2)
    assert found[0].source == "r.xlsx:Scores!D3"
    assert "merged cells" not in notes


def test_merged_cells_are_refused_or_filled(book: Any, tmp_path: Path) -> None:
    """Whether a merged cell's value holds for each of its rows is for the user to say."""
    book.active.merge_cells("B2:B3")
    with pytest.raises(InputError, match=r"r\.xlsx:Scores!B2: the cells B2:B3 are merged\n(.|\n)*merged: fill"):
        read(book, tmp_path)
    found, notes = read(book, tmp_path, merged="fill")
    assert found[1].rater == "r1"
    assert notes["merged cells"] == "B2:B3: each cell of the range has the value of the first"


def test_hidden_rows_and_columns(book: Any, tmp_path: Path) -> None:
    """What a filter or a person hid is read and said, or left out and said."""
    book.active.row_dimensions[3].hidden = True
    book.active.column_dimensions["B"].hidden = True
    found, notes = read(book, tmp_path)
    assert len(found) == 4
    assert notes["hidden rows"] == "the hidden rows 3 are read"
    assert notes["hidden columns"] == "rater (B): hidden, and read where named"
    found, notes = read(book, tmp_path, hidden="skip")
    assert [r.source for r in found] == ["r.xlsx:Scores!D2", "r.xlsx:Scores!D4", "r.xlsx:Scores!D5"]
    assert notes["hidden rows"] == "the hidden rows 3 are left out"


def test_cells_that_cannot_be_believed(book: Any, tmp_path: Path) -> None:
    """A formula without a stored result, a date and an error are unusable ratings with a reason; percent is noted."""
    sheet = book.active
    sheet["D2"], sheet["D3"], sheet["D4"] = "=1+2", dt.date(2024, 2, 1), "#DIV/0!"
    sheet["D5"], sheet["D5"].number_format = 0.5, "0%"
    found, notes = read(book, tmp_path)
    assert [r.status for r in found] == ["unusable", "unusable", "unusable", "ok"]
    assert "formula whose result was never stored" in found[0].reason
    assert found[1].reason.startswith("the cell holds a date or time (2024-02-01")
    assert found[2].reason == "the cell holds the error #DIV/0!"
    assert notes["percent"] == "D5: shown as percent, read as stored: 0.5 for 50 %"


def test_a_formula_that_names_an_item_is_refused(book: Any, tmp_path: Path) -> None:
    """Without a stored result nobody knows the item."""
    book.active["A2"] = "=B2"
    with pytest.raises(InputError, match=r"r\.xlsx:Scores!A2: item cannot be read: the cell holds a formula"):
        read(book, tmp_path)


def test_stored_results_of_formulas_are_read(tmp_path: Path) -> None:
    """A result that the program stored is the value, and the formula is noted."""
    import zipfile

    book = openpyxl.Workbook()
    for row in (HEADER, ("a", "r1", "s", "=1+2")):
        book.active.append(row)
    book.save(tmp_path / "bare.xlsx")
    # openpyxl stores formulas without results, as only a spreadsheet program can know them.
    with zipfile.ZipFile(tmp_path / "bare.xlsx") as old, zipfile.ZipFile(tmp_path / "full.xlsx", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b"<f>1+2</f><v></v>", b"<f>1+2</f><v>3</v>").replace(b"<v />", b"<v>3</v>"))
    context = Context(1, tmp_path)
    found = list(Excel(path=tmp_path / "full.xlsx").read(context))
    assert [(r.value, r.status) for r in found] == [("3", "ok")]
    assert context.notes["full.xlsx: formulas"].startswith("D2: formulas, read with the result")


def test_what_is_no_workbook_is_refused(tmp_path: Path) -> None:
    """A missing file, a CSV file called .xlsx and an empty workbook each say what to do."""
    with pytest.raises(InputError, match="cannot be read: No such file"):
        list(Excel(path=tmp_path / "none.xlsx").read(Context(1, tmp_path)))
    (tmp_path / "r.xlsx").write_text("item,rater\n")
    with pytest.raises(InputError, match=r"not an Excel workbook(.|\n)*without a password"):
        list(Excel(path=tmp_path / "r.xlsx").read(Context(1, tmp_path)))
    with pytest.raises(InputError, match="no sheet holds anything"):
        read(openpyxl.Workbook(), tmp_path)


def test_a_header_in_an_empty_row_is_refused(book: Any, tmp_path: Path) -> None:
    """The row that was named must name the columns."""
    with pytest.raises(InputError, match=r"Scores!9: the row of the header is empty"):
        read(book, tmp_path, header_row=9)


def test_the_promises_of_importers_are_kept(book: Any, tmp_path: Path) -> None:
    """The importer passes the conformance tests."""
    book.save(tmp_path / "r.xlsx")
    check(Excel(path=tmp_path / "r.xlsx"))
