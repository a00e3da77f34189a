"""Ratings in the form of the iMRMC programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.api import Context, InputError, Rating
from harness.testing import check
from harness_plugins.importers.imrmc import IMRMC

TABLE = """readerID,caseID,modalityID,score
-1,c1,truth,0
-1,c2,truth,1
R1,c1,A,2
R1,c1,B,3
R2,c2,A,5
"""
PROGRAM = """A study of two readers
NR: 2
N0: 1
N1: 2
NM: 1

BEGIN DATA:
-1,1,0,0
-1,2,0,1
r1,1,film,2.5
r2,2,film,NA
"""


def read(folder: Path, text: str, **options: Any) -> tuple[list[Rating], dict[str, str]]:
    """Return the ratings of a file, and the notes."""
    (folder / "s.imrmc").write_text(text, encoding="utf-8")
    context = Context(1, folder)
    ratings = list(IMRMC(path=folder / "s.imrmc", **options).read(context))
    return ratings, {subject.removeprefix("s.imrmc: "): text for subject, text in context.notes.items()}


def test_a_table_with_rows_of_truth(tmp_path: Path) -> None:
    """A case in a modality is an item that knows case, modality and truth; rows of truth are no ratings."""
    found, notes = read(tmp_path, TABLE, scale_name="suspicion")
    assert [(r.item, r.rater, r.scale, r.value, r.source) for r in found] == [
        ("c1/A", "R1", "suspicion", "2", "s.imrmc:4"), ("c1/B", "R1", "suspicion", "3", "s.imrmc:5"),
        ("c2/A", "R2", "suspicion", "5", "s.imrmc:6"),
    ]  # fmt: skip
    assert found[0].facts == {"case": "c1", "modality": "A", "truth": "0"}
    assert notes == {}


def test_a_file_of_the_program(tmp_path: Path) -> None:
    """Counts and BEGIN DATA stand above rows without names of columns; lines are those of the file, wrong counts are noted."""
    found, notes = read(tmp_path, PROGRAM)
    assert [(r.item, r.value, r.status, r.source) for r in found] == [
        ("1/film", "2.5", "ok", "s.imrmc:10"), ("2/film", None, "missing", "s.imrmc:11"),
    ]  # fmt: skip
    assert notes["counts"] == "cases with truth 1: 2 announced, 1 found"


def test_names_below_begin_data(tmp_path: Path) -> None:
    """A row with the names of the columns may stand below BEGIN DATA."""
    text = PROGRAM.replace("BEGIN DATA:\n", "BEGIN DATA:\ncaseID,readerID,modalityID,score\n").replace(
        "-1,1,0,0\n-1,2,0,1\nr1,1", "1,-1,0,0\n1,r1"
    )
    found, _ = read(tmp_path, text.replace("r2,2", "2,r2"))
    assert [(r.item, r.rater, r.source) for r in found] == [("1/film", "r1", "s.imrmc:10"), ("2/film", "r2", "s.imrmc:11")]


def test_one_modality_of_several(tmp_path: Path) -> None:
    """Scores of other modalities are left out and counted; one that is not there is refused."""
    found, notes = read(tmp_path, TABLE, only=["A"])
    assert [r.item for r in found] == ["c1/A", "c2/A"]
    assert notes["modalities"] == "1 of 3 scores are of other modalities and left out"
    with pytest.raises(InputError, match=r"no modality is called C\n  modalities: A, B"):
        read(tmp_path, TABLE, only=["C"])


def test_what_is_known_and_not_rated(tmp_path: Path) -> None:
    """Cases without a truth and cases without a score are counted."""
    _, notes = read(tmp_path, TABLE.replace("-1,c2,truth,1", "truth,c9,truth,1"))
    assert notes["truth"] == "no row says the truth of 1 of 2 cases"
    assert notes["cases without a score"] == "1 cases have a truth and no score: c9"
    assert "no row says the truth of a case" in read(tmp_path, TABLE.replace("-1,c", "R9,c"))[1]["truth"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (TABLE + "-1,c1,truth,1\n", "s.imrmc:7: the truth of case c1 is '1', but '0' in line 2"),
        (TABLE.replace("modalityID", "arm"), "s.imrmc:1: no column is called modalityID"),
        (TABLE + "R1,,A,3\n", "s.imrmc:7: caseID is empty"),
        (TABLE + "R1,c1,A,3\n", "s.imrmc:7: R1 rates c1/A on score a second time, first in line 4"),
        (TABLE.split("R1", maxsplit=1)[0], "the file holds no rating"),
    ],
    ids=["two truths", "no modality", "no case", "twice", "truth alone"],
)
def test_what_cannot_be_read_is_refused_with_its_line(tmp_path: Path, text: str, what: str) -> None:
    """The message says what is wrong and in which line."""
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert what in str(caught.value)


def test_regions_of_slides(real_data: Path) -> None:
    """37 pathologists rate regions of slides on up to four platforms; a fifth of the regions could not be rated."""
    path = real_data / "ratings_htt_tils" / "pilotHTT.csv"
    context = Context(1, path.parent)
    found = list(IMRMC(path=path, scale_name="density", limits={"density": (0, 100)}).read(context))
    assert len(found) == len(path.read_text(encoding="utf-8").splitlines()) - 1
    assert (len({r.rater for r in found}), len({r.facts["modality"] for r in found})) == (37, 4)
    notes = {subject.removeprefix("pilotHTT.csv: "): text for subject, text in context.notes.items()}
    assert notes["truth"] == "no row says the truth of a case"
    assert notes["density: missing"].startswith("1516 of 7898 ratings are missing: NA stands for a missing value (1516); at 2, 5")
    assert "density: unusable" not in notes


def test_the_promises_of_importers_are_kept(tmp_path: Path) -> None:
    """The importer passes the conformance tests."""
    (tmp_path / "s.imrmc").write_text(PROGRAM, encoding="utf-8")
    check(IMRMC(path=tmp_path / "s.imrmc"))
