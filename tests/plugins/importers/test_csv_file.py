"""Expert ratings from a CSV file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.api import Context, InputError, Rating
from harness_plugins.importers.csv_file import CsvFile

LONG = "item,rater,scale,value\na,r1,realism,4\na,r2,realism,5\n"


def read(path: Path, **options: Any) -> list[Rating]:
    """Return the ratings of a file."""
    return list(CsvFile(path=path, **options).read(Context(1, path.parent)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where the ratings are."""
    return tmp_path / "ratings.csv"


def refusal(path: Path, content: bytes, **options: Any) -> str:
    """Return the message with which a file is refused."""
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(path, **options)
    assert len(caught.value.lines()) <= 3
    return str(caught.value)


def test_one_rating_per_row(file: Path) -> None:
    """Item, rater, scale and value are read, with the line that each came from; the file is an input."""
    file.write_text(LONG)
    first, second = read(file)
    assert first == Rating(item="a", rater="r1", scale="realism", value="4", source="ratings.csv:2")
    assert (second.rater, second.value, second.source) == ("r2", "5", "ratings.csv:3")
    assert CsvFile(path=file).inputs() == (file,)


def test_columns_can_have_other_names(file: Path) -> None:
    """Columns are named by options, several are joined, and columns that nothing names are passed over."""
    file.write_text("set;code;reader;score;when;took;note\n1;LD;kim;3;2;7.5;x\n")
    options = {"item": ("set", "code"), "rater": "reader", "value": "score", "occasion": "when", "seconds": "took"}
    found = read(file, **options, scale_name="noise", delimiter=";")
    assert found == [Rating(item="1/LD", rater="kim", scale="noise", value="3", occasion="2", seconds=7.5, source="ratings.csv:2")]


def test_one_column_per_rater(file: Path) -> None:
    """A file with a column for each rater gives one rating per row and rater."""
    file.write_text("item,ann,bob\na,1,0\nb,,1\n")
    found = read(file, raters=("ann", "bob"), scale_name="mitosis")
    assert [(r.item, r.rater, r.value, r.status) for r in found] == [
        ("a", "ann", "1", "ok"), ("a", "bob", "0", "ok"), ("b", "ann", None, "missing"), ("b", "bob", "1", "ok"),
    ]  # fmt: skip


def test_missing_values_are_kept_with_a_reason(file: Path) -> None:
    """An empty value and a word for missing are ratings without a value, not rows that vanish."""
    file.write_text("item,rater,scale,value\na,r1,s,\nb,r1,s,NA\nc,r1,s,not seen\n")
    found = read(file, missing=("NA", "not seen"))
    assert [(r.status, r.value) for r in found] == [("missing", None)] * 3
    assert [r.reason for r in found] == [
        "the value is empty", "NA stands for a missing value", "not seen stands for a missing value"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + LONG.encode(), LONG.replace("\n", "\r\n").encode(), LONG.replace("a,", "  a ,").encode(),
        b"\n\n" + LONG.encode() + b"\n,,,\n", LONG.rstrip("\n").encode(),
    ],
    ids=["byte order mark", "Windows line ends", "blanks", "empty lines", "no last line end"],
)  # fmt: skip
def test_harmless_differences_do_not_matter(file: Path, content: bytes) -> None:
    """The same two ratings are read whatever program saved the file."""
    file.write_bytes(content)
    assert [(r.item, r.rater, r.value) for r in read(file)] == [("a", "r1", "4"), ("a", "r2", "5")]


def test_lines_are_counted_through_quoted_line_ends(file: Path) -> None:
    """A value that spans lines is one rating, and the next one has the line that an editor shows."""
    file.write_text('item,rater,scale,value\na,r1,note,"first\nsecond, ""quoted"""\nb,r1,note,x\n')
    found = read(file)
    assert found[0].value == 'first\nsecond, "quoted"'
    assert [r.source for r in found] == ["ratings.csv:2", "ratings.csv:4"]


def test_other_encodings_are_an_option(file: Path) -> None:
    """A file in another encoding is refused with the line, and read where the encoding is named."""
    content = LONG.replace("r2", "Müller").encode("latin-1")
    assert "ratings.csv:3: not utf-8" in refusal(file, content)
    assert read(file, encoding="latin-1")[1].rater == "Müller"
    assert "unknown encoding 'latin-77'" in refusal(file, content, encoding="latin-77")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "ratings.csv:1: the file is empty"),
        ("item,rater,value\na,r1,3\n", "ratings.csv:1: no column is called scale"),
        ("item,item,rater,scale,value\n", "ratings.csv:1: the column item occurs twice"),
        (LONG + "b,r1,realism\n", "ratings.csv:4: 3 values under 4 columns"),
        (LONG + "b,,realism,3\n", "ratings.csv:4: rater is empty"),
        (LONG + 'b,r1,realism,"3\n', "ratings.csv:4: not a row of CSV"),
        (LONG + "a,r1,realism,3\n", "ratings.csv:4: r1 rates a on realism a second time, first in line 2"),
    ],
    ids=["empty", "column missing", "column twice", "short row", "no rater", "open quote", "rated twice"],
)
def test_what_cannot_be_read_is_refused_with_its_line(file: Path, content: str, what: str) -> None:
    """The message says what is wrong and in which line."""
    assert what in refusal(file, content.encode())


def test_a_second_occasion_is_no_duplicate(file: Path) -> None:
    """The same rater may rate the same item again on another occasion."""
    file.write_text("item,rater,scale,value,occasion\na,r1,s,3,1\na,r1,s,4,2\n")
    assert [r.occasion for r in read(file, occasion="occasion")] == ["1", "2"]


@pytest.mark.parametrize("seconds", ["soon", "-1", "nan", "inf"])
def test_a_time_is_a_number_of_seconds(file: Path, seconds: str) -> None:
    """Seconds that are no time are refused."""
    content = f"item,rater,scale,value,t\na,r1,s,3,{seconds}\n".encode()
    assert "not a time in seconds" in refusal(file, content, seconds="t")


def test_a_file_that_is_not_there_is_refused(file: Path) -> None:
    """The message names the path."""
    with pytest.raises(InputError, match=r"ratings\.csv: cannot be read"):
        read(file)


@pytest.mark.parametrize("options", [{"scale": "s", "scale_name": "t"}, {"raters": ["a"], "value": "v"}, {"delimiter": ";;"}])
def test_options_that_contradict_each_other_are_refused(file: Path, options: dict[str, Any]) -> None:
    """A column and a fixed name for the scale, or two layouts at once, cannot both be meant."""
    with pytest.raises(ValidationError):
        CsvFile(path=file, **options)


def test_ratings_of_ct_readers(real_data: Path) -> None:
    """Three radiologists x 15 sets x 14 images x 3 criteria, as they entered them."""
    path = real_data / "ratings_ct_readers" / "ratings.csv"
    found = read(path, item=("anatomy", "set", "code", "method"), rater="reader", scale="criterion", value="score")
    assert {r.scale for r in found} == {"noise", "contrast", "structure"}
    assert len({r.rater for r in found}) == 3
    assert len(found) == len(path.read_text().splitlines()) - 1
    assert found[3].source == "ratings.csv:5"


def test_counts_of_mitoses(real_data: Path) -> None:
    """Five pathologists, one column each, and five ways of looking as occasions."""
    path = real_data / "ratings_mitosis" / "dfCountROI20180627.csv"
    raters = tuple(f"observer.{k}" for k in range(1, 6))
    found = read(path, item="roiID", raters=raters, occasion="modalityID", scale_name="count")
    assert len(found) == 5 * (len(path.read_text().splitlines()) - 1)
    assert {r.rater for r in found} == set(raters)
    assert len({r.occasion for r in found}) == 5
    assert all(float(r.value or "nan") >= 0 for r in found if r.status == "ok")
