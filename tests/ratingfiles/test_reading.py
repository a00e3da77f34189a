"""Files of ratings as they lie about: what is taken for what, what is asked, and what the user says instead."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness.api import RatingImporter, hookimpl
from harness.errors import InputError, SpecError
from harness.host import Host
from harness.ratingfiles.reading import Read, read, sniff
from harness_plugins.importers.csv_file import CsvFile
from harness_plugins.importers.excel import Excel
from harness_plugins.importers.imrmc import IMRMC
from harness_plugins.importers.label_studio import LabelStudio
from harness_plugins.importers.redcap import Redcap


class Offers:
    """A plugin with the importers that are tried here."""

    @hookimpl
    def harness_rating_importers(self) -> list[type[RatingImporter]]:
        """Offer them."""
        return [CsvFile, Excel, IMRMC, LabelStudio, Redcap]


@pytest.fixture(scope="module")
def host() -> Host:
    """Return a host that knows the importers."""
    host = Host()
    host.register(Offers(), "importers", "tests")
    assert not host.refused
    return host


def file(folder: Path, text: str, name: str = "r.csv") -> Path:
    """Write a file and return where it is."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path, **overrides: Any) -> str:
    """Return the message with which a file is refused, without the folder."""
    with pytest.raises(InputError) as caught:
        sniff(path, overrides)
    return str(caught.value).replace(f"{path.parent}/", "")


LONG = "File Name;Reader_ID;Criterion;Score;Ground_Truth;Comment\na;r1;noise;4;M;ok\nb;r1;noise;5;B;\na;r2;noise;3;M;\nb;r2;noise;2;B;\n"


def test_a_row_per_rating(tmp_path: Path, host: Host) -> None:
    """Names of columns are known in any case and form, and each note says what was taken for what."""
    path = file(tmp_path, LONG)
    found = sniff(path)
    assert found.importer == "csv"
    assert found.options == {
        "rater": "Reader_ID", "scale": "Criterion", "value": "Score", "text": "Comment", "item": "File Name",
        "facts": {"truth": "Ground_Truth"},
    }  # fmt: skip
    assert "item is File Name; --item names another" in found.notes
    ratings = read([path], host)
    assert [(r.item, r.rater, r.scale, r.value, r.facts) for r in ratings.ratings[:2]] == [
        ("a", "r1", "noise", "4", {"truth": "M"}), ("a", "r1", "noise_comment", "ok", {"truth": "M"}),
    ]  # fmt: skip
    assert "r.csv: delimiter: columns are parted by semicolons, as the header shows" in ratings.notes
    assert [s.name for s in ratings.scales] == ["noise", "noise_comment"]


@pytest.mark.parametrize(
    ("header", "raters"), [("image,observer.1,observer.2", ("observer.1", "observer.2")), ("image,R1,R2,year", ("R1", "R2")),
                           ("case,reader_1,reader_2,reader_3", ("reader_1", "reader_2", "reader_3"))],
)  # fmt: skip
def test_a_column_per_rater(tmp_path: Path, header: str, raters: tuple[str, ...]) -> None:
    """Columns called by one word for a rater and a number are raters; the scale is called rating until the user says how."""
    path = file(tmp_path, f"{header}\n" + "".join(f"{k}{',1' * header.count(',')}\n" for k in range(3)))
    found = sniff(path).options
    assert (found["raters"], found["scale_name"], found["item"]) == (raters, "rating", header.split(",", maxsplit=1)[0])
    assert sniff(path, {"scale": "noise"}).options["scale_name"] == "noise"


def test_a_column_per_rater_and_scale(tmp_path: Path, host: Host) -> None:
    """R1_noise and R2_noise are one pattern."""
    found = read([file(tmp_path, "image,R1_noise,R1_blur,R2_noise,R2_blur\na,1,2,3,4\n")], host)
    assert [(r.rater, r.scale, r.value) for r in found.ratings] == [
        ("R1", "noise", "1"),
        ("R1", "blur", "2"),
        ("R2", "noise", "3"),
        ("R2", "blur", "4"),
    ]


def test_cases_under_several_modalities(tmp_path: Path) -> None:
    """A case that is read under each treatment is an item in each, and stays known as the case."""
    path = file(
        tmp_path, "reader,treatment,case,truth,rating\n" + "".join(f"{r},{t},{c},{c % 2},3\n" for r in "12" for t in "AB" for c in range(3))
    )
    found = sniff(path).options
    assert found["item"] == ("case", "treatment")
    assert found["facts"] == {"truth": "truth", "modality": "treatment", "case": "case"}
    said = sniff(path, {"item": "case", "occasion": "treatment"})
    assert said.options["facts"] == {"truth": "truth"}
    said = sniff(path, {"item": "case"})
    assert "treatment differs within an item and is left out; --option occasion=treatment makes occasions of it" in said.notes


def test_several_readings_are_asked_about(tmp_path: Path) -> None:
    """Where columns could each mean it, none is taken and the options to write are named."""
    scores = file(tmp_path, "image,rater,noise,blur\na,r1,1,2\nb,r1,1,2\n")
    assert refusal(scores) == (
        "r.csv: several columns may hold the answers (so far: rater is rater)\n"
        "  write --value COLUMN, or --option scales= with a column per question, out of: noise,blur; columns: image, rater, noise, blur"
    )
    assert sniff(scores, {"scales": "noise,blur"}).options["scales"] == ("noise", "blur")
    assert "no column says who rated" in refusal(file(tmp_path, "image,ann,bob\na,1,2\n"))
    assert sniff(scores, {"raters": "noise,blur"}).options["raters"] == ("noise", "blur")
    text = "set,code,rater,score\n" + "".join(f"{s},{c},r1,3\n" for s in "12" for c in "AB")
    assert "write --item set,code, which tell all ratings of a rater apart" in refusal(file(tmp_path, text))


def test_the_user_has_the_last_word(tmp_path: Path, host: Host) -> None:
    """Options are passed on, groups become facts, a scale can be picked by its name, and an unknown option is refused."""
    path = file(tmp_path, "image,rater,scale,score,site\na,r1,s,1,X\na,r1,t,2,X\nb,r1,s,3,Y\n")
    found = read([path], host, {"by": "site", "scale": "s", "categories": "1,2"})
    assert [(r.item, r.scale, r.facts, r.status) for r in found.ratings] == [
        ("a", "s", {"site": "X"}, "ok"),
        ("b", "s", {"site": "Y"}, "unusable"),
    ]
    assert "r.csv: where scale: 1 of 3 rows are left out, whose scale is not s" in found.notes
    assert "no scale is called u" in refusal(path, scale="u")
    with pytest.raises(SpecError, match="csv has no option 'itm'"):
        read([path], host, {"itm": "image"})


def test_files_of_one_reader_each(tmp_path: Path, host: Host) -> None:
    """The file's name can be the reader's; what two files both say, or spell differently, is refused."""
    ann, bob = (file(tmp_path, f"image,grade\na,{word}\nb,x\n", f"{name}.csv") for name, word in (("ann", "Good"), ("bob", "good")))
    with pytest.raises(InputError, match=r"bob\.csv:2: 'good' on grade differs from 'Good' at ann\.csv:2 only in case or spaces"):
        read([ann, bob], host, {"rater_name": "{file}"})
    found = read([ann, bob], host, {"rater_name": "{file}", "same": {"Good": "good"}})
    assert [(r.rater, r.value) for r in found.ratings] == [("ann", "good"), ("ann", "x"), ("bob", "good"), ("bob", "x")]
    with pytest.raises(InputError, match=r"z rates a on grade a second time, first at ann\.csv:2"):
        read([ann, bob], host, {"rater_name": "z", "same": {"Good": "good"}})


def test_problems_of_all_files_are_told_at_once(tmp_path: Path, host: Host) -> None:
    """The second file is looked at although the first cannot be read."""
    with pytest.raises(InputError) as caught:
        read([tmp_path / "none.csv", file(tmp_path, "just one line\n")], host)
    assert [p.what.split(":")[0] for p in caught.value.problems] == ["cannot be read", "no ratings in the file"]


def test_an_excel_workbook(tmp_path: Path, host: Host) -> None:
    """A workbook is known by its content; of several sheets one must be named."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (("image", "reader", "score"), ("a", "r1", 3), ("b", "r1", 4)):
        book.active.append(row)
    book.save(tmp_path / "r.xlsx")
    assert [(r.item, r.value, r.source) for r in read([tmp_path / "r.xlsx"], host).ratings] == [
        ("a", "3", "r.xlsx:Sheet!C2"), ("b", "4", "r.xlsx:Sheet!C3"),
    ]  # fmt: skip
    book.create_sheet("Old").append(("x",))
    book.save(tmp_path / "r.xlsx")
    assert "write --option sheet_name= with one of: Sheet, Old" in refusal(tmp_path / "r.xlsx")
    assert sniff(tmp_path / "r.xlsx", {"sheet_name": "Sheet"}).options["item"] == "image"
    (tmp_path / "old.xls").write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + b"...")
    assert "an old or locked Excel workbook" in refusal(tmp_path / "old.xls")
    (tmp_path / "z.zip").write_bytes(b"PK\x03\x04...")
    assert "not an Excel workbook" in refusal(tmp_path / "z.zip")


def test_files_that_know_their_columns(tmp_path: Path, host: Host) -> None:
    """iMRMC files, Label Studio tasks and REDCap exports are known by what is in them."""
    path = file(tmp_path, "readerID,caseID,modalityID,score\n-1,1,0,1\nr,1,A,3\n")
    assert (sniff(path).importer, len(read([path], host, {"scale": "s"}).ratings)) == ("imrmc", 1)
    assert sniff(file(tmp_path, "NR: 1\nBEGIN DATA:\n-1,1,0,1\nr,1,A,3\n")).importer == "imrmc"
    answered = {"completed_by": 3, "result": [{"from_name": "k", "type": "choices", "value": {"choices": ["b"]}}]}
    path = file(tmp_path, json.dumps([{"id": 1, "data": {"image": "a.png", "label": "M"}, "annotations": [answered]}]))
    found = read([path], host).ratings
    assert [(r.item, r.rater, r.scale, r.value, r.facts) for r in found] == [("a.png", "3", "k", "b", {"truth": "M"})]
    path = file(tmp_path, "record_id,redcap_repeat_instance,image,kind,form_complete\n1,1,a,x,2\n1,2,a,y,2\n")
    assert [(r.item, r.rater, r.value) for r in read([path], host).ratings] == [("a", "1", "x"), ("a", "2", "y")]
    two = file(tmp_path, "record_id,redcap_event_name,rater,kind,box___1,box___2\n1,e,r1,x,1,0\n")
    assert "which fields hold answers?\n  write --option scales= with some of: kind,box" in refusal(two)
    assert sniff(two, {"scales": "kind,box"}).importer == "redcap"


def test_answers_of_a_study(tmp_path: Path) -> None:
    """A study's folder, a reader's saved answers and its tasks from Label Studio lead to the study's key; without it they are refused."""
    answers = file(tmp_path, '{"format": "harness-study-answers-1", "reader": "r", "slots": {}}', "ann.json")
    assert "whose key is not here" in refusal(answers)
    tasks = file(tmp_path, json.dumps([{"data": {"slot": "s1", "reader": "ann"}, "annotations": []}]), "tasks.json")
    assert "its key says what the slots showed\n  name the key of that study, --option key=STUDY/key.json" in refusal(tasks)
    assert sniff(tasks, {"item": "slot", "rater": "reader"}).options == {"item": "slot", "rater": "reader"}
    key = file(tmp_path, "{}", "key.json")
    assert sniff(answers).options == {"path": str(tmp_path), "answers": (str(answers),)}
    assert (sniff(tmp_path).importer, sniff(tmp_path).options) == ("study", {"path": str(tmp_path)})
    assert sniff(tasks).options == {"key": str(key)}
    assert "JSON of an unknown form" in refusal(file(tmp_path, '{"a": 1}'))
    assert "not JSON" in refusal(file(tmp_path, "[{"))


def test_options_as_they_are_typed(tmp_path: Path, host: Host) -> None:
    """Pairs are written with =, ends of a scale with a colon, and lists with commas."""
    path = file(tmp_path, "image,rater,score,rank,site\na,r1,1,0,X\nb,r1,9,0,X\nb,r1,1,1,X\n")
    found = read([path], host, {"where": "rank=0", "limits": "score=0:5", "facts": "place=site", "same": '{"1": 2}'})
    assert [(r.item, r.value, r.status, r.facts) for r in found.ratings] == [
        ("a", "2", "ok", {"place": "X"}), ("b", "9", "unusable", {"place": "X"}),
    ]  # fmt: skip
    assert len(read([path], host, {"where": "rank=0,1", "occasion": "rank"}).ratings) == 3
    found = read(
        [file(tmp_path, path.read_text().replace(",", "\t"))], host, {"where": "rank=0;site=X", "delimiter": r"\t", "same": "1=2,9=3"}
    )
    assert [r.value for r in found.ratings] == ["2", "3"]


@pytest.mark.parametrize(
    ("values", "level", "says"),
    [
        ([str(k) for k in range(20)], "interval", "20 different numbers from 0 to 19"), (["0.5", "1"], "interval", "2 different numbers"),
        (["1", "2", "3"], "", "which may be nominal, ordinal or interval"), (["a", "b"], "nominal", "2 different words"),
        (["1", "b"], "", "numbers and words (1, b)"), (["a; b", "a"], "", "some answers name several categories"),
        ([f"It is {k}" for k in range(60)], "text", "60 different texts among 60"),
        (["", "NA"], "", "no rating is usable"),
    ],
)  # fmt: skip
def test_levels_are_proposed_and_never_taken(tmp_path: Path, host: Host, values: list[str], level: str, says: str) -> None:
    """Many numbers speak for an interval scale, words for a nominal one; of few whole numbers the user must say what they are."""
    text = "image,rater,score\n" + "".join(f"{k},r1,{value}\n" for k, value in enumerate(values))
    (seen,) = read([file(tmp_path, text)], host).scales
    assert seen.level == level
    assert says in seen.why


@pytest.mark.parametrize(
    ("name", "overrides", "ratings", "raters", "item"),
    [
        ("ratings_mitosis/dfClassify20180627.csv", {}, 3875, 5, ("targetID", "modalityID")),
        ("ratings_mitosis/dfCountROI20180627.csv", {}, 1000, 5, ("roiID", "modalityID")),
        ("ratings_mitosis/dfCountWSI20180627.csv", {}, 100, 5, ("wsiName", "modalityID")),
        ("ratings_htt_tils/pilotHTT_RST.csv", {"value": "densityTILs"}, 7898, 37, ("caseID", "modalityID")),
        ("ratings_mrmcaov/VanDyke.csv", {}, 1140, 5, ("case", "treatment")),
        ("ratings_mrmcaov/Franken.csv", {}, 800, 4, ("case", "treatment")),
        ("ratings_mrmcaov/Kundel.csv", {}, 1140, 4, ("case", "treatment")),
        ("ratings_ct_readers/ratings.csv", {"item": "set,code"}, 1890, 3, ("set", "code")),
    ],
)  # fmt: skip
def test_real_files(
    real_data: Path, host: Host, name: str, overrides: dict[str, Any], ratings: int, raters: int, item: tuple[str, ...]
) -> None:
    """Published files are read as their authors meant them, with no more said than their names of columns leave open."""
    path = real_data / name
    assert sniff(path, overrides).options["item"] == item
    found: Read = read([path], host, overrides)
    assert (len(found.ratings), len({r.rater for r in found.ratings})) == (ratings, raters)
    assert set(Counter(r.status for r in found.ratings)) <= {"ok", "missing"}


def test_real_files_that_leave_something_open(real_data: Path) -> None:
    """Of several answers in a row, and of images without a name of their own, the user is asked."""
    assert "out of: batch,evaluable,densityTILs,experience" in refusal(real_data / "ratings_htt_tils" / "pilotHTT_RST.csv")
    assert "write --item set,code or --item set,method" in refusal(real_data / "ratings_ct_readers" / "ratings.csv")
    assert "out of: rank,condition_id,condition,risk" in refusal(real_data / "ratings_derm_ddx" / "derm_ddx_long.csv")
