"""Expert ratings from exports of REDCap, raw and with labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.api import Context, InputError, Rating
from harness.testing import check
from harness_plugins.importers.redcap import Redcap

REPEATED = """record_id,redcap_repeat_instrument,redcap_repeat_instance,image,pathology,kind,finding___1,finding___2,reading_complete
1,,,img-a,M,,,,
1,reading,1,,,1,1,1,2
1,reading,2,,,2,0,0,2
2,,,img-b,B,,,,
2,reading,1,,,2,0,1,0
2,reading,2,,,,,,0
"""


def read(folder: Path, text: str, **options: Any) -> tuple[list[Rating], dict[str, str]]:
    """Return the ratings of an export, and the notes."""
    (folder / "r.csv").write_text(text, encoding="utf-8")
    context = Context(1, folder)
    ratings = list(Redcap(path=folder / "r.csv", **options).read(context))
    return ratings, {subject.removeprefix("r.csv: "): text for subject, text in context.notes.items()}


def test_a_repeat_of_a_form_per_reader(tmp_path: Path) -> None:
    """Readers are the repeats, items and facts come from the record's own row, checkboxes become a set, codes become words."""
    options = {"item": "image", "rater": "redcap_repeat_instance", "scales": ["kind", "finding"], "facts": {"truth": "pathology"}}
    codes = {"kind": {1: "benign", 2: "malignant"}, "finding": {1: "mass", 2: "cyst"}}
    found, notes = read(tmp_path, REPEATED, **options, codes=codes)
    assert [(r.item, r.rater, r.scale, r.value, r.source) for r in found] == [
        ("img-a", "1", "kind", "benign", "r.csv:3"), ("img-a", "1", "finding", "mass; cyst", "r.csv:3"),
        ("img-a", "2", "kind", "malignant", "r.csv:4"), ("img-a", "2", "finding", "none", "r.csv:4"),
        ("img-b", "1", "kind", "malignant", "r.csv:6"), ("img-b", "1", "finding", "cyst", "r.csv:6"),
        ("img-b", "2", "kind", None, "r.csv:7"), ("img-b", "2", "finding", None, "r.csv:7"),
    ]  # fmt: skip
    assert [r.status for r in found[-2:]] == ["missing", "missing"]
    assert found[0].facts == {"truth": "M"}
    assert notes["rows without answers"] == "2 of 6 rows hold no answer and belong to no reader: rows of other forms"
    assert notes["unfinished forms"] == "reading_complete: 2 of 4 rows are not marked complete"


def test_an_export_with_labels(tmp_path: Path) -> None:
    """Columns have the words of the form, checkboxes say Checked, and the answers are words."""
    text = (
        "Record ID,Repeat Instrument,Repeat Instance,Reader,Kind,Findings (choice=Mass),Findings (choice=Cyst)\n"
        "7,Reading,1,Ann,Benign,Checked,Unchecked\n7,Reading,2,Bob,Malignant,Checked,Checked\n"
    )
    found, _ = read(tmp_path, text, item="Record ID", rater="Reader", scales=["Kind", "Findings"])
    assert [(r.item, r.rater, r.scale, r.value) for r in found] == [
        ("7", "Ann", "Kind", "Benign"), ("7", "Ann", "Findings", "Mass"),
        ("7", "Bob", "Kind", "Malignant"), ("7", "Bob", "Findings", "Mass; Cyst"),
    ]  # fmt: skip


def test_a_record_per_reading(tmp_path: Path) -> None:
    """Where each reading is a record, fields name item and reader, and events are occasions."""
    text = "record_id,redcap_event_name,image,rater,kind\n1,first_arm_1,a,r1,3\n2,second_arm_1,a,r1,4\n"
    found, _ = read(tmp_path, text, item="image", scales=["kind"], occasion="redcap_event_name")
    assert [(r.item, r.rater, r.occasion, r.value) for r in found] == [("a", "r1", "first_arm_1", "3"), ("a", "r1", "second_arm_1", "4")]


def test_events_are_not_occasions_unless_said(tmp_path: Path) -> None:
    """Two events of one reader on one item are a second rating until the user says what they are."""
    text = "record_id,redcap_event_name,rater,kind\n1,first_arm_1,r1,3\n1,second_arm_1,r1,4\n"
    with pytest.raises(InputError, match="r1 rates 1 on kind a second time, first in line 2"):
        read(tmp_path, text, scales=["kind"])
    assert [r.rater for r in read(tmp_path, text, scales=["kind"], rater="redcap_event_name")[0]] == ["first_arm_1", "second_arm_1"]


def test_one_form_of_several(tmp_path: Path) -> None:
    """The rows of other repeated forms are left out and counted; a form that is not there is refused with the names."""
    text = "record_id,redcap_repeat_instrument,redcap_repeat_instance,kind\n1,reading,1,a\n1,quality,1,b\n"
    found, notes = read(tmp_path, text, rater="redcap_repeat_instance", scales=["kind"], instrument="reading")
    assert [r.value for r in found] == ["a"]
    assert notes["instrument"] == "1 of 2 rows are of other forms and left out"
    with pytest.raises(InputError, match=r"no repeated form is called 'read'\n  repeated forms: reading, quality"):
        read(tmp_path, text, rater="redcap_repeat_instance", scales=["kind"], instrument="read")


def test_a_checkbox_that_is_neither_ticked_nor_not(tmp_path: Path) -> None:
    """Another word in a column of a checkbox is refused with its line."""
    with pytest.raises(InputError, match=r"r\.csv:2: box___1 is 'maybe', not ticked or not"):
        read(tmp_path, "record_id,rater,box___1\n1,r1,maybe\n", scales=["box"])


def test_fields_that_are_not_there_are_refused(tmp_path: Path) -> None:
    """A field that is neither a column nor a checkbox is named; without fields there is nothing to read."""
    with pytest.raises(InputError, match=r"r\.csv:1: no column is called kind"):
        read(tmp_path, "record_id,rater,other\n1,r1,3\n", scales=["kind"])
    with pytest.raises(ValidationError, match="name the fields that hold answers under scales"):
        Redcap(path=tmp_path / "r.csv")


def test_the_promises_of_importers_are_kept(tmp_path: Path) -> None:
    """The importer passes the conformance tests."""
    (tmp_path / "r.csv").write_text(REPEATED, encoding="utf-8")
    check(Redcap(path=tmp_path / "r.csv", item="image", rater="redcap_repeat_instance", scales=("kind", "finding")))
