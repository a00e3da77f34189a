"""Expert ratings from a CSV file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.api import Context, InputError, Rating
from harness.testing import check
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


def noted(path: Path, **options: Any) -> tuple[list[Rating], dict[str, str]]:
    """Return the ratings of a file and the notes, without the file's name."""
    context = Context(1, path.parent)
    ratings = list(CsvFile(path=path, **options).read(context))
    return ratings, {subject.removeprefix(f"{path.name}: "): text for subject, text in context.notes.items()}


def test_ratings_of_ct_readers(real_data: Path) -> None:
    """Three radiologists x 15 sets x 14 images x 3 criteria, as they entered them: fixed anchors and one slip are found."""
    path = real_data / "ratings_ct_readers" / "ratings.csv"
    options: dict[str, Any] = {"item": ("set", "code"), "rater": "reader", "scale": "criterion", "value": "score", "facts": ("code",)}
    found, notes = noted(path, **options)
    assert {r.scale for r in found} == {"noise", "contrast", "structure"}
    assert (len({r.rater for r in found}), len({r.item for r in found})) == (3, 15 * 14)
    assert len(found) == len(path.read_text().splitlines()) - 1
    assert found[3].source == "ratings.csv:5"
    given = {subject for subject, text in notes.items() if "they look given by the form" in text}
    assert given == {f"{scale}: code {code}" for scale in ("noise", "contrast", "structure") for code in ("LDCT", "NDCT")}
    assert notes["noise: code NDCT"].startswith("all 45 ratings by 3 raters are 7")
    assert notes["structure: value 6"] == "6 occurs once among 630 ratings (ratings.csv:1204): a slip, or off the scale?"
    rated, said = noted(path, **options, categories={"structure": range(1, 6)})
    assert [(r.source, r.value) for r in rated if r.status == "unusable"] == [("ratings.csv:1204", "6")]
    assert said["structure: unusable"].startswith("1 of 630 ratings are unusable: '6' is not among the declared categories")


def test_counts_of_mitoses(real_data: Path) -> None:
    """Five pathologists, one column each; a region in each of five ways of looking is an item, whose truth is known."""
    for name, item in (("dfCountROI20180627.csv", "roiID"), ("dfCountWSI20180627.csv", "wsiName")):
        path = real_data / "ratings_mitosis" / name
        raters = tuple(f"observer.{k}" for k in range(1, 6))
        facts = {"truth": "truth", "modality": "modalityID", "case": item}
        found = read(path, item=(item, "modalityID"), raters=raters, scale_name="count", facts=facts)
        assert len(found) == 5 * (len(path.read_text().splitlines()) - 1)
        assert {r.rater for r in found} == set(raters)
        assert len({r.facts["modality"] for r in found}) == 5
        assert all(r.status == "ok" and float(r.value or "nan") >= 0 and int(r.facts["truth"]) >= 0 for r in found)


def test_labels_of_cells(real_data: Path) -> None:
    """Marks on cells name them twice where two images share a number; the target's number does not."""
    path = real_data / "ratings_mitosis" / "dfClassify20180627.csv"
    raters = tuple(f"observer.{k}" for k in range(1, 6))
    with pytest.raises(InputError, match=r"observer\.1 rates 1-1/scanner\.A on cell a second time, first in line 2"):
        read(path, item=("cell.mark", "modalityID"), raters=raters, scale_name="cell")
    found = read(path, item=("targetID", "modalityID"), raters=raters, scale_name="cell", categories=[0, 1], facts=["truth"])
    assert len(found) == 155 * 5 * 5
    assert {r.status for r in found} == {"ok"}


def test_differential_diagnoses(real_data: Path) -> None:
    """The first rank of each reader is one answer; where several conditions share it, that is refused, or is a set if the user says so."""
    path = real_data / "ratings_derm_ddx" / "derm_ddx_long.csv"
    options: dict[str, Any] = {
        "item": "case", "rater": "reader_slot", "scale_name": "first", "value": "condition", "where": {"rank": 0},
    }  # fmt: skip
    with pytest.raises(InputError) as caught:
        read(path, **options)
    assert len(caught.value.problems) == 945
    assert caught.value.problems[0].where.endswith("derm_ddx_long.csv:29")
    assert caught.value.lines()[-1] == "... and 925 more problems"
    names = (real_data / "ratings_derm_ddx" / "dermatology_conditions.txt").read_text(encoding="utf-8").splitlines()
    found, notes = noted(path, **options, sets=["first"], duplicates="set", categories={"first": names})
    assert len(found) == 9602
    assert sum("; " in str(r.value) for r in found) == 945
    assert notes["where rank"] == "5054 of 15748 rows are left out, whose rank is not 0"
    assert {r.status for r in found} == {"ok"}


@pytest.mark.parametrize(("name", "readers", "cases", "treatments"), [("VanDyke", 5, 114, 2), ("Franken", 4, 100, 2), ("Kundel", 4, 95, 3)])
def test_studies_of_treatments(real_data: Path, name: str, readers: int, cases: int, treatments: int) -> None:
    """Each case under a treatment is an item; without the treatment it is there twice. 3.0 is the number 3."""
    path = real_data / "ratings_mrmcaov" / f"{name}.csv"
    facts = {"truth": "truth", "modality": "treatment", "case": "case"}
    options: dict[str, Any] = {"rater": "reader", "value": "rating", "scale_name": "suspicion", "categories": range(1, 6)}
    found = read(path, item=("case", "treatment"), facts=facts, **options)
    assert len(found) == readers * cases * treatments
    assert {(r.status, r.value) for r in found} == {("ok", str(k)) for k in range(1, 6)}
    assert {r.facts["truth"] for r in found} == {"0", "1"}
    assert {r.rater for r in found} == {str(k) for k in range(1, readers + 1)}
    with pytest.raises(InputError, match="a second time"):
        read(path, item="case", **options)


def test_densities_beyond_a_declared_end(real_data: Path) -> None:
    """On a scale that ends at 50, the 323 percentages above are unusable; what readers are is no fact of an item."""
    path = real_data / "ratings_htt_tils" / "pilotHTT_RST.csv"
    options: dict[str, Any] = {"item": ("caseID", "modalityID"), "rater": "readerID", "value": "densityTILs", "scale_name": "density"}
    found = read(path, **options, limits={"density": (0, 50)})
    assert Counter(r.status for r in found) == {"ok": 6382 - 323, "missing": 1516, "unusable": 323}
    off = [r for r in found if r.status == "unusable"]
    assert off[0].reason.endswith("is off the scale, which goes from 0 to 50")
    with pytest.raises(InputError, match=r"experience of .* is '.*', but"):
        read(path, **options, facts=["experience"])


def test_the_promises_of_importers_are_kept(file: Path) -> None:
    """The importer passes the conformance tests."""
    file.write_text(LONG)
    check(CsvFile(path=file))
