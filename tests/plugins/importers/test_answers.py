"""What answers mean: categories and their spellings, missing and unusable values, duplicates, facts, decimal commas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.api import Context, InputError, Rating
from harness_plugins.importers.answers import quoted
from harness_plugins.importers.csv_file import CsvFile

Reads = Callable[..., tuple[list[Rating], dict[str, str]]]


@pytest.fixture
def reads(tmp_path: Path) -> Reads:
    """Return a function that reads values (or whole rows) as one rater's ratings of items 1, 2, ... and gives the notes too."""

    def read(*values: str, header: str = "item,rater,scale,value", **options: Any) -> tuple[list[Rating], dict[str, str]]:
        path = tmp_path / "a.csv"
        whole = header != "item,rater,scale,value"
        rows = [v if whole or v.count(",") > 2 else f'{k},r1,kind,"{v}"' for k, v in enumerate(values, 1)]
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        context = Context(1, tmp_path)
        ratings = list(CsvFile(path=path, **options).read(context))
        return ratings, {subject.removeprefix("a.csv: "): text for subject, text in context.notes.items()}

    return read


def refusal(reads: Reads, *values: str, **options: Any) -> list[str]:
    """Return the lines with which values are refused, without the folder."""
    with pytest.raises(InputError) as caught:
        reads(*values, **options)
    return [line.split("/")[-1] for line in caught.value.lines()]


def test_case_and_space_variants_are_asked_about(reads: Reads) -> None:
    """Each spelling of a declared category gives one problem with its lines and the line to write; nothing is read."""
    lines = refusal(reads, "benign", "BENIGN", "malignant", "benign ", "BENIGN", categories={"kind": ["benign", "malignant"]})
    assert lines == [
        "a.csv:3: 'BENIGN' on kind (lines 3, 6) differs from 'benign' only in case or spaces",
        "  if it means the same, write same: {BENIGN: benign}; if not, same: {BENIGN: BENIGN}",
        "a.csv:5: 'benign ' on kind (line 5) differs from 'benign' only in case or spaces",
        '  if it means the same, write same: {"benign ": benign}; if not, same: {"benign ": "benign "}',
    ]


def test_variants_are_asked_about_without_declared_categories(reads: Reads) -> None:
    """The most frequent spelling is proposed; inner blanks count too."""
    lines = refusal(reads, "not  sure", "not sure", "not sure")
    assert lines[0] == "a.csv:2: 'not  sure' on kind (line 2) differs from 'not sure' only in case or spaces"
    assert reads("benign ", "benign ")[0][0].value == "benign"


def test_what_is_declared_the_same_is_read_and_counted(reads: Reads) -> None:
    """A word stands for another everywhere or on one scale; what occurs nowhere is said."""
    found, notes = reads("benign", "BENIGN", same={"BENIGN": "benign", "Gutartig": "benign"})
    assert [r.value for r in found] == ["benign", "benign"]
    assert notes["same on kind"] == "as declared: BENIGN -> benign (1 times)"
    assert notes["same"] == "'Gutartig': declared under same, but occurs nowhere"
    assert [r.value for r in reads("1", "2", same={"kind": {1: "benign", 2: "malignant"}})[0]] == ["benign", "malignant"]
    assert [r.value for r in reads("A", "a", same={"A": "A"})[0]] == ["A", "a"]


def test_values_off_the_scale_are_kept_as_unusable(reads: Reads) -> None:
    """A value that is no declared category, a number beyond the limits, and a word among numbers keep their value, with a reason."""
    found, notes = reads("3", "6", "high", categories={"kind": [1, 2, 3, 4, 5]})
    assert [(r.status, r.value) for r in found] == [("ok", "3"), ("unusable", "6"), ("unusable", "high")]
    assert found[1].reason == "'6' is not among the declared categories"
    assert notes["kind: unusable"].startswith("2 of 3 ratings are unusable: '6' is not among the declared categories (1)")
    assert notes["kind: unusable"].endswith("; at 3, 4")
    found, _ = reads("0", "100", "101", "much", limits={"kind": (0, 100)})
    assert [r.reason for r in found] == ["", "", "101 is off the scale, which goes from 0 to 100", "'much' is not a number"]


def test_categories_for_all_scales(reads: Reads) -> None:
    """A list without a scale's name holds for every scale of the file, but not for texts."""
    found, _ = reads("4,r1,note,fine", "2", "9", categories=[1, 2], texts=["note"])
    assert [r.status for r in found] == ["ok", "ok", "unusable"]


def test_numbers_are_the_same_however_they_are_written(reads: Reads) -> None:
    """3.0 is the category 3, with blanks around it too; a code that begins with 0 is no number."""
    assert [r.value for r in reads("3.0", " 3", "3", categories={"kind": [3]})[0]] == ["3", "3", "3"]
    assert [r.value for r in reads("3.0", "3.5", "007")[0]] == ["3", "3.5", "007"]


def test_decimal_commas_are_found_and_noted(reads: Reads) -> None:
    """Numbers with a comma are read as such where all values are numbers; words with commas stay words."""
    found, notes = reads("3,5", "4", "2,25")
    assert [r.value for r in found] == ["3.5", "4", "2.25"]
    assert notes["decimal comma on kind"] == "numbers such as 2,25 are read with a decimal comma"
    assert [r.value for r in reads("3,5", "bad")[0]] == ["3,5", "bad"]
    assert [r.status for r in reads("3,5", limits={"kind": (0, 5)}, decimal=",")[0]] == ["ok"]
    assert reads("3,5", decimal=".")[0][0].value == "3,5"


@pytest.mark.parametrize("values", [("1,250", "1,500"), ("3,5", "4.5")])
def test_doubtful_commas_are_asked_about(reads: Reads, values: tuple[str, ...]) -> None:
    """Three digits after every comma may be thousands, and commas beside points cannot both begin decimals."""
    lines = refusal(reads, *values)
    assert lines[0] == f"a.csv:2: {values[0]} on kind: does the comma begin the decimals?"
    assert 'write decimal: ","' in lines[1]


def test_missing_words_are_missing_unless_they_are_categories(reads: Reads) -> None:
    """A word for missing that is declared as a category is an answer."""
    found, notes = reads("NA", "x", "", "dk", missing=["NA", "dk"])
    assert [(r.status, r.reason) for r in found] == [
        ("missing", "NA stands for a missing value"), ("ok", ""), ("missing", "the value is empty"),
        ("missing", "dk stands for a missing value"),
    ]  # fmt: skip
    assert notes["kind: missing"].startswith("3 of 4 ratings are missing: ")
    assert reads("NA", categories={"kind": ["NA"]})[0][0].status == "ok"


def test_duplicates_are_refused_with_both_lines(reads: Reads) -> None:
    """A second rating is refused; equal ones count once only where the user says so, different ones never."""
    same, other = ("7,r1,kind,a", "7,r1,kind,a"), ("7,r1,kind,a", "7,r1,kind,b")
    lines = refusal(reads, *same)
    assert lines[0] == "a.csv:3: r1 rates 7 on kind a second time, first in line 2"
    assert "duplicates: identical" in lines[1]
    found, notes = reads(*same, duplicates="identical")
    assert [(r.value, r.source) for r in found] == [("a", "a.csv:2")]
    assert notes["duplicates"] == "1 ratings are there a second time with the same value, and count once"
    assert "(as 'a', now 'b')" in refusal(reads, *other, duplicates="identical")[0]


def test_many_problems_are_shown_up_to_twenty(reads: Reads) -> None:
    """Every problem is found, twenty are printed, the rest is counted."""
    rows = [row for k in range(25) for row in (f"{k},r1,kind,a", f"{k},r1,kind,b")]
    assert refusal(reads, *rows)[-1] == "... and 5 more problems"


def test_sets_are_answers_of_several_categories(reads: Reads) -> None:
    """Members are checked one by one and put into the declared order; none is an answer too."""
    options = {"sets": ["kind"], "categories": {"kind": ["cyst", "mass", "scar"]}}
    found, _ = reads("mass; cyst", "none", "scar", "mass;blob", **options)
    assert [(r.status, r.value) for r in found] == [("ok", "cyst; mass"), ("ok", "none"), ("ok", "scar"), ("unusable", "mass; blob")]
    assert found[3].reason == "'blob' is not among the declared categories"
    assert "(line 2) differs from 'mass'" in refusal(reads, "Mass; cyst", **options)[0]


def test_rows_can_be_joined_into_a_set(reads: Reads) -> None:
    """One answer of several categories, a row each, becomes one rating."""
    rows = ("7,r1,kind,b", "7,r1,kind,a", "8,r1,kind,a")
    found, notes = reads(*rows, sets=["kind"], duplicates="set", categories={"kind": ["a", "b"]})
    assert [(r.item, r.value) for r in found] == [("7", "a; b"), ("8", "a")]
    assert notes["duplicates"] == "1 answers of several categories are joined from several rows"
    with pytest.raises(ValidationError, match="name the scale under sets"):
        reads(*rows, duplicates="set")


def test_facts_are_of_items(reads: Reads) -> None:
    """What one row says of an item holds for all its ratings; two rows that contradict each other are refused."""
    header = "item,rater,scale,value,pathology"
    found, _ = reads("7,r1,kind,a,M", "7,r2,kind,a,", header=header, facts={"truth": "pathology"})
    assert [r.facts for r in found] == [{"truth": "M"}, {"truth": "M"}]
    lines = refusal(reads, "7,r1,kind,a,M", "7,r2,kind,a,B", "7,r3,kind,a,B", header=header, facts=["pathology"])
    assert lines[0] == "a.csv:3: pathology of 7 is 'B', but 'M' at 2"
    assert len(lines) == 2


def test_free_text_has_no_variants(reads: Reads) -> None:
    """On a scale of texts, sentences that differ in case are both kept as they are."""
    assert [r.value for r in reads("Fine.", "fine.", texts=["kind"])[0]] == ["Fine.", "fine."]


def test_a_table_without_ratings_is_refused(reads: Reads) -> None:
    """A header alone holds no rating."""
    assert refusal(reads)[0] == "a.csv: the file holds no rating"


@pytest.mark.parametrize("options", [{"limits": {"kind": (5, 5)}}, {"duplicates": "first"}, {"decimal": ";"}])
def test_options_without_a_meaning_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    """An empty range, an unknown way with duplicates and a decimal mark that is none cannot be meant."""
    with pytest.raises(ValidationError):
        CsvFile(path=tmp_path / "a.csv", **options)


@pytest.mark.parametrize(
    ("word", "shown"), [("BENIGN", "BENIGN"), ("no", '"no"'), ("1", '"1"'), ("a: b", '"a: b"'), ("x ", '"x "'), ("", '""')]
)
def test_words_are_quoted_as_yaml_needs_it(word: str, shown: str) -> None:
    """What is proposed can be pasted."""
    assert quoted(word) == shown
