"""Text files as tables: encodings, what parts the columns, lines, and whole numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.api import InputError
from harness_plugins.importers.sheets import Sheet, check_header, decoded, text_sheet, whole_numbers


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where the table is."""
    return tmp_path / "t.csv"


def sheet(path: Path, text: str, delimiter: str | None = None) -> Sheet:
    """Return the table of a text."""
    path.write_text(text, encoding="utf-8", newline="")
    return text_sheet(path, delimiter, None, "csv")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_byte_order_marks_say_the_encoding(file: Path, encoding: str) -> None:
    """UTF-8 and UTF-16 files are read without being told, and UTF-16 is noted."""
    file.write_bytes("item,wert\nä,é\n".encode(encoding))
    found = text_sheet(file, None, None, "csv")
    assert found.lines[0].cells == {"item": "ä", "wert": "é"}
    assert dict(found.notes) == ({"encoding": "read as utf-16, which its byte order mark says"} if encoding == "utf-16" else {})


def test_big_endian_utf_16_is_read(file: Path) -> None:
    """The byte order of the mark is followed."""
    file.write_bytes(b"\xfe\xff" + "a,b\n1,2\n".encode("utf-16-be"))
    assert text_sheet(file, None, None, "csv").lines[0].cells == {"a": "1", "b": "2"}


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_the_header_shows_what_parts_columns(file: Path, mark: str, name: str) -> None:
    """Columns parted by something else than commas are found and noted."""
    found = sheet(file, f'item{mark}"a, b"\n1{mark}"2,5"\n')
    assert found.header == ("item", "a, b")
    assert found.lines[0].cells["a, b"] == "2,5"
    assert found.notes["delimiter"] == f"columns are parted by {name}, as the header shows"


def test_two_possible_delimiters_are_asked_about(file: Path) -> None:
    """A header with semicolons and commas is refused with the options to write, and read where one is declared."""
    with pytest.raises(InputError, match=r't\.csv:1: the header holds commas and semicolons(.|\n)*write delimiter: ",", or delimiter: ";"'):
        sheet(file, "item;size, mm\n1;2\n")
    assert sheet(file, "item;size, mm\n1;2\n", ";").header == ("item", "size, mm")


def test_lines_are_those_of_an_editor(file: Path) -> None:
    """Quoted line ends and empty lines count; the header need not be in the first line."""
    found = sheet(file, '\n\nitem,note\r\na,"x\r\ny"\r\n\r\nb,z\r\n')
    assert (found.header_line, [line.number for line in found.lines]) == (3, [4, 7])
    assert found.lines[0].cells["note"] == "x\r\ny"
    assert found.source(7) == "t.csv:7"
    assert found.where(7) == f"{file}:7"


def test_every_short_row_is_a_problem(file: Path) -> None:
    """All rows of another length are named, not only the first."""
    with pytest.raises(InputError) as caught:
        sheet(file, "a,b\n1\n1,2\n1,2,3\n")
    assert [p.where.rsplit(":")[-1] for p in caught.value.problems] == ["2", "4"]


def test_a_zero_byte_is_no_text(file: Path) -> None:
    """UTF-16 without a mark reads as UTF-8 with zero bytes; it is refused with the option to give."""
    file.write_bytes("a,b\n1,2\n".encode("utf-16-le"))
    with pytest.raises(InputError, match=r"zero byte(.|\n)*option encoding"):
        decoded(file, None, "csv")
    assert decoded(file, "utf-16-le", "csv")[0] == "a,b\n1,2\n"


def test_two_columns_of_one_name_are_refused() -> None:
    """Columns without a name may be several: they cannot be named anyway."""
    check_header(["a", "", ""], "t.csv:1")
    with pytest.raises(InputError, match=r"t\.csv:1: the column a occurs twice"):
        check_header(["a", "a"], "t.csv:1")


def test_whole_numbers_with_a_decimal_point(file: Path) -> None:
    """A column of 1.0, 2.0 is read as 1, 2 and noted; a column with anything else is left as it is."""
    found = whole_numbers(sheet(file, "case,version,empty\n1.0,1.0,\n2.0,1.1,\n"), ["case", "version", "empty"])
    assert [line.cells["case"] for line in found.lines] == ["1", "2"]
    assert [line.cells["version"] for line in found.lines] == ["1.0", "1.1"]
    assert found.notes["whole numbers"] == "case: whole numbers written with .0 are read without it"
