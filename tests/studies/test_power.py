"""What `harness study power` prints."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import InputError
from harness.statistics.mrmc import obuchowski_rockette
from harness.studies.power import Asked, lines, pilot


def text(**asked: Any) -> str:
    """Return the answer as one text."""
    return "\n".join(lines(Asked(**asked)))


def written(folder: Path, header: str, *rows: str) -> Path:
    """Return a CSV file with these lines."""
    path = folder / "pilot.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def study(readers: int = 3, cases: int = 12, modalities: int = 2, apart: bool = False) -> list[list[object]]:
    """Return the rows of a made pilot: reader, modality, case, truth, rating."""
    rng = np.random.default_rng(0)
    rows: list[list[object]] = []
    for m in range(modalities):
        for c in range(cases):
            shared = rng.standard_normal()
            for r in range(readers):
                name = f"{m}-{c}" if apart else str(c)
                rows.append([f"R{r}", f"M{m}", name, c % 2, round(1.2 * (c % 2) + shared + rng.standard_normal(), 1)])
    return rows


def saved(folder: Path, rows: list[list[object]], header: tuple[str, ...] = ("reader", "modality", "case", "truth", "rating")) -> Path:
    """Return a CSV file with the rows of a study."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(header)
    writer.writerows(rows)
    path = folder / "pilot.csv"
    path.write_text(stream.getvalue(), encoding="utf-8")
    return path


def test_agreement_gives_the_precision_and_what_is_needed() -> None:
    """Three readers and 41 items give +-.17 to .18, and 120 items +-.10; too few items are warned of."""
    said = text(readers=3, items=41)

    assert "41 items give kappa and alpha to about +-0.17 to 0.18" in said
    assert "For +-0.10 about 120 items are needed." in said
    assert "if 80 %, is known to +-0.120" in said
    assert "simulated" in said
    assert "Warning: 41 items (fewer than 50)" in said


def test_enough_readers_and_items_are_not_warned_of() -> None:
    """From three readers and 50 items on there is no warning; two readers have one."""
    assert "Warning" not in text(readers=3, items=50)
    assert "Warning: 2 raters (fewer than 3) are too few" in text(readers=2, items=50)


def test_skewed_classes_need_more_items() -> None:
    """With nine in ten items in one of two categories about 400 items are needed."""
    assert "about 400 items" in text(readers=3, items=100, skewed=True)
    assert "90 % of the items" in text(readers=3, items=100, skewed=True)


def test_grids_say_what_can_be_detected_and_ruled_out() -> None:
    """Seventy-one grids of four rule out chance + .15; the table has the numbers of grids; no claim rests on a missing rejection."""
    said = text(grids=71, of=4)

    assert "a rate of 40 % or more (chance + 0.15) can be ruled out" in said
    assert [line.split() for line in said.splitlines() if line.strip().startswith("0.15")] == [["0.15", "68", "71"]]
    assert '"Not significantly above chance" never shows' in said


def test_grids_that_can_show_nothing_say_so() -> None:
    """A single grid of two neither detects nor rules out anything, and margins beyond a rate of 1 are not in the table."""
    said = text(grids=1, of=2)

    assert "No reader, however good" in said
    assert "No margin can be ruled out" in said
    assert "0.25" in said


def test_auc_table_is_honest_about_few_readers() -> None:
    """Three readers cannot reach 80 % for .05; the source of the components is named; small studies have a mark."""
    said = text(auc_difference=0.05)

    assert "Three readers cannot reach 80 % power for 0.05 with any number of cases." in said
    assert "rest on the variance components of Van Dyke et al. 1993" in said
    assert "yours will differ" in said
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.strip()[:1].isdigit()}
    assert (rows["3"], rows["4"], rows["5"], rows["15"]) == (["never"], ["361", "*"], ["213"], ["102"])


def test_auc_of_a_planned_study_has_its_power() -> None:
    """Readers and items are a study of which the power is said, with a warning where it is small."""
    assert "10 readers and 165 cases have a power of 90 %" in text(auc_difference=0.05, readers=10, items=165)
    said = text(auc_difference=0.05, readers=7, items=80)

    assert "      7" in said
    assert "Warning: a claim about readers in general needs at least 5 readers and 100 cases." in said


def test_questions_are_answered_one_after_the_other() -> None:
    """Grids and a difference of AUCs asked together give both answers, with an empty line between."""
    said = lines(Asked(grids=60, auc_difference=0.08))

    assert said.count("") == 1
    assert said[said.index("") + 1].startswith("60 grids of 4 images")


def test_a_pilot_gives_the_components_of_its_analysis(tmp_path: Path) -> None:
    """The components are those of the analysis of the same ratings, and the table rests on the file by name."""
    rows = study()
    path = saved(tmp_path, rows)
    scores = np.full((2, 3, 12), np.nan)
    for reader, modality, case, _, rating in rows:
        scores[int(str(modality)[1]), int(str(reader)[1]), int(str(case))] = rating
    found, parts = pilot(path), obuchowski_rockette(scores, np.arange(12) % 2).components

    assert parts is not None
    assert found[:5] == (parts.var_modality_reader, parts.var_error, parts.cov1, parts.cov2, parts.cov3)
    assert found.cases == 12
    assert "pilot.csv (3 readers, 12 cases" in text(auc_difference=0.1, components=str(path))


def test_columns_have_other_names_too(tmp_path: Path) -> None:
    """Treatment, rater, item and score are understood, in any case and order, behind a byte order mark."""
    rows = [[row[k] for k in (3, 0, 1, 4, 2)] for row in study()]
    path = saved(tmp_path, rows, ("Truth", "Rater", "Treatment", "Score", "Item"))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    assert pilot(path).cases == 12


def test_a_pilot_with_cases_of_its_own_says_so(tmp_path: Path) -> None:
    """Real and synthetic images are different cases: Cov1 and Cov3 are 0 and cases count per modality."""
    found = pilot(saved(tmp_path, study(apart=True)))

    assert (found.cov1, found.cov3, found.cases) == (0.0, 0.0, 12)
    assert "cases are per modality" in found.source


@pytest.mark.parametrize("name", ["VanDyke", "Franken"])
def test_real_pilots(name: str, real_data: Path) -> None:
    """Van Dyke's file gives the default table; Franken's says that its numbers are too small."""
    path = real_data / "ratings_mrmcaov" / f"{name}.csv"
    said, default = text(auc_difference=0.05, components=str(path)), text(auc_difference=0.05)
    same = said.splitlines()[:9] == default.splitlines()[:9]

    assert same == (name == "VanDyke")
    assert ("too small" in said) == (name == "Franken")


def test_three_modalities_are_refused(real_data: Path) -> None:
    """Kundel's file has three modalities: which two are meant is not guessed."""
    with pytest.raises(InputError, match="3 modalities"):
        pilot(real_data / "ratings_mrmcaov" / "Kundel.csv")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "nothing is asked"),
        ({"items": 50}, "--readers, of which nothing is said"),
        ({"readers": 1, "items": 50}, "at least 2 readers"),
        ({"readers": 3, "items": 1}, "at least 2 items"),
        ({"readers": 3, "kappa": 1.5}, "kappa lies between"),
        ({"readers": 3, "categories": 1}, "at least 2 categories"),
        ({"grids": 0}, "at least 1 grid"),
        ({"grids": 10, "of": 1}, "at least 2 images"),
        ({"auc_difference": 0.0}, "lies between 0 and 1"),
        ({"grids": 10, "components": "pilot.csv"}, "serves --auc-difference"),
        ({"auc_difference": 0.05, "components": "no-such-file.csv"}, "cannot be read"),
    ],
)
def test_questions_without_an_answer_are_refused(asked: dict[str, Any], words: str) -> None:
    """Nothing asked, numbers out of range and a file that is not there end with what to do."""
    with pytest.raises(InputError, match=words):
        lines(Asked(**asked))


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        ("reader,modality,case,rating", ["a,b,c,1"], "pilot.csv:1: no column for truth"),
        ("reader,rater,modality,case,truth,rating", ["a,a,b,c,1,1"], "pilot.csv:1: several columns for reader"),
        ("reader,modality,case,truth,rating", [], "holds no rating"),
        ("reader,modality,case,truth,rating", ["a,b,c,0,1", "a,b,d,2,1"], "pilot.csv:3: the truth is '2'"),
        ("reader,modality,case,truth,rating", ["a,b,c,0,high"], "pilot.csv:2: the rating is 'high', not a number"),
        ("reader,modality,case,truth,rating", ["a,b,c,0"], "pilot.csv:2: 4 values, too few"),
        ("reader,modality,case,truth,rating", ["a,b,c,0,1", "a,b,c,0,2"], "pilot.csv:3: a rates case c a second time, first in line 2"),
        ("reader,modality,case,truth,rating", ["a,b,c,0,1", "d,b,c,1,2"], "pilot.csv:3: case c has two truths"),
    ],
)
def test_bad_pilots_are_refused_with_their_line(tmp_path: Path, header: str, rows: list[str], words: str) -> None:
    """What is wrong in a file is said with file and line."""
    with pytest.raises(InputError, match=words):
        pilot(written(tmp_path, header, *rows))


def test_pilots_that_say_nothing_of_readers_are_refused(tmp_path: Path) -> None:
    """One reader, or a rating that is missing, leaves no components, with the reason."""
    with pytest.raises(InputError, match="one reader does not tell"):
        pilot(saved(tmp_path, study(readers=1)))
    rows = study()
    rows[0][4] = "NA"
    with pytest.raises(InputError, match="not every reader rated every case"):
        pilot(saved(tmp_path, rows))
    with pytest.raises(InputError, match="no positive case"):
        pilot(saved(tmp_path, [[*row[:3], 0, row[4]] for row in study()]))


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """A file in another encoding is refused with what to save."""
    path = tmp_path / "pilot.csv"
    path.write_bytes(b"reader\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        pilot(path)
