"""Layouts of tables: a row per rating, a column per rater, per scale, or per both; comments, facts, and rows that are left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.api import Context, InputError, Rating
from harness_plugins.importers.csv_file import CsvFile

Reads = Callable[..., tuple[list[Rating], dict[str, str]]]


@pytest.fixture
def reads(tmp_path: Path) -> Reads:
    """Return a function that reads a text as a table and gives the notes too."""

    def read(content: str, /, **options: Any) -> tuple[list[Rating], dict[str, str]]:
        (tmp_path / "t.csv").write_text(content, encoding="utf-8")
        context = Context(1, tmp_path)
        return list(CsvFile(path=tmp_path / "t.csv", **options).read(context)), context.notes

    return read


def short(ratings: list[Rating]) -> list[tuple[str, str, str, Any]]:
    """Return item, rater, scale and value of ratings."""
    return [(r.item, r.rater, r.scale, r.value) for r in ratings]


def test_a_column_per_scale(reads: Reads) -> None:
    """Beside the columns of item and rater each named column is a scale."""
    found, _ = reads("item,rater,noise,blur\na,r1,1,2\nb,r1,3,\n", scales=["noise", "blur"])
    assert short(found) == [("a", "r1", "noise", "1"), ("a", "r1", "blur", "2"), ("b", "r1", "noise", "3"), ("b", "r1", "blur", None)]


def test_a_column_per_rater_and_scale(reads: Reads) -> None:
    """The pattern says which part of a column's name is whose; the rater's is as short as can be, other columns are left alone."""
    text = "item,R1_noise,R1_image_blur,R2_noise,R2_image_blur,site\na,1,2,3,4,x_y\n"
    found, _ = reads(text, columns="{rater}_{scale}", facts=["site"])
    assert short(found) == [
        ("a", "R1", "noise", "1"),
        ("a", "R1", "image_blur", "2"),
        ("a", "R2", "noise", "3"),
        ("a", "R2", "image_blur", "4"),
    ]
    assert found[0].facts == {"site": "x_y"}


def test_a_pattern_of_raters_alone(reads: Reads) -> None:
    """Without a place for the scale the pattern names raters, and the scale comes from elsewhere."""
    found, _ = reads("item,observer.1,observer.2\na,1,2\n", columns="observer.{rater}", scale_name="count")
    assert short(found) == [("a", "1", "count", "1"), ("a", "2", "count", "2")]


def test_a_file_of_one_rater(reads: Reads) -> None:
    """The rater's name may stand in the options."""
    assert short(reads("item,noise\na,1\n", rater_name="ann", scales=["noise"])[0]) == [("a", "ann", "noise", "1")]


def test_comments_are_ratings_of_their_own(reads: Reads) -> None:
    """Free text beside a score is a rating on SCALE_comment; empty ones are none; beside several scales it has the column's name."""
    found, _ = reads("item,rater,scale,value,why\na,r1,noise,1,Looks fine\nb,r1,noise,2,\n", text="why")
    assert short(found) == [("a", "r1", "noise", "1"), ("a", "r1", "noise_comment", "Looks fine"), ("b", "r1", "noise", "2")]
    found, _ = reads("item,rater,noise,blur,why\na,r1,1,2,So\n", scales=["noise", "blur"], text="why")
    assert short(found)[-1] == ("a", "r1", "why_comment", "So")


def test_rows_that_are_left_out_are_counted(reads: Reads) -> None:
    """`where` keeps the rows with these words; how many are left out is noted."""
    text = "item,rater,scale,value,rank\na,r1,dx,x,0\na,r1,dx,y,1\nb,r1,dx,z,0\n"
    found, notes = reads(text, where={"rank": 0})
    assert short(found) == [("a", "r1", "dx", "x"), ("b", "r1", "dx", "z")]
    assert notes["t.csv: where rank"] == "1 of 3 rows are left out, whose rank is not 0"
    with pytest.raises(InputError, match=r"no row has rank 7\n  the most frequent words there: 0, 1"):
        reads(text, where={"rank": "7"})


def test_every_unreadable_row_is_named(reads: Reads) -> None:
    """Rows without an item or with a time that is none are all reported."""
    with pytest.raises(InputError) as caught:
        reads("item,rater,scale,value,t\n,r1,s,1,1\na,,s,1,1\nb,r1,s,1,soon\n", seconds="t")
    assert [p.what for p in caught.value.problems] == ["item is empty", "rater is empty", "t is 'soon', not a time in seconds"]


def test_times_may_have_decimal_commas(reads: Reads) -> None:
    """A declared decimal comma holds for seconds too."""
    found, _ = reads('item,rater,scale,value,t\na,r1,s,1,"2,5"\n', seconds="t", decimal=",")
    assert found[0].seconds == 2.5


def test_columns_that_are_not_there_are_refused(reads: Reads) -> None:
    """Names of columns in facts and where count too, and a pattern must fit some column."""
    with pytest.raises(InputError, match=r"t\.csv:1: no column is called site, rank(.|\n)*columns: item, rater, scale, value"):
        reads("item,rater,scale,value\na,r,s,1\n", facts=["site"], where={"rank": "0"})
    with pytest.raises(InputError, match="no column is called like"):
        reads("item,x\na,1\n", columns="{rater}_{scale}")


@pytest.mark.parametrize(
    "options",
    [
        {"raters": ["a"], "scales": ["b"]}, {"scales": ["a"], "scale_name": "b"}, {"columns": "observer"}, {"columns": "{rater}{rater}"},
        {"columns": "{rater}_{scale}", "rater": "x"}, {"columns": "{rater}_{scale}", "scale_name": "x"}, {"raters": ["a"], "text": "t"},
        {"rater": "a", "rater_name": "b"},
    ],
)  # fmt: skip
def test_layouts_that_contradict_each_other_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    """Two ways to say who rated, or on which scale, cannot both be meant."""
    with pytest.raises(ValidationError):
        CsvFile(path=tmp_path / "t.csv", **options)
