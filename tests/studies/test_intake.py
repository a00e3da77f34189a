"""Files that readers saved: checked, kept, never overwritten, and what is odd about them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InputError
from harness.studies.intake import Taken, lines, take_in

Answered = Callable[..., dict[str, Any]]


def put(path: Path, body: dict[str, Any]) -> Path:
    """Write a file of answers."""
    path.write_text(json.dumps(body), encoding="utf-8")
    return path


def changed(body: dict[str, Any], *, seconds: float | None = None, keep: int | None = None) -> dict[str, Any]:
    """Return answers with another time for every slot, or only the first slots."""
    slots = dict(list(body["slots"].items())[:keep])
    return body | {"slots": {slot: found | ({"seconds": seconds} if seconds is not None else {}) for slot, found in slots.items()}}


def test_files_are_checked_and_kept(study: Path, answered: Answered, tmp_path: Path) -> None:
    """A good file is copied under the reader's name; who has not answered, and how far the others are, is said."""
    file = put(tmp_path / "from a mail.json", answered("R2"))
    taken = take_in(study, [file])
    assert [path.name for path in taken.taken] == ["answers-R2.json"]
    assert taken.taken[0].read_bytes() == file.read_bytes()
    reader = taken.readers["R2"]
    assert (reader.asked, reader.answered, reader.seconds) == (26, 26, 5.0)
    assert [remark for remark in taken.remarks if "no answers yet" in remark] == ["R1: no answers yet", "R3: no answers yet"]
    said = list(lines(taken))
    assert "R2: 26 of 26 questions answered, 5 s an image (median)" in said
    assert "note: R1: no answers yet" in said


def test_the_same_file_is_taken_in_once(study: Path, answered: Answered, tmp_path: Path) -> None:
    """A file that is there already, or given twice, changes nothing; a later one of the same reader lies beside the first."""
    file, twin = put(tmp_path / "a.json", changed(answered("R1"), keep=3)), put(tmp_path / "b.json", changed(answered("R1"), keep=3))
    assert len(take_in(study, [file, twin]).taken) == 1
    again = take_in(study, [file])
    assert (again.taken, again.known) == ((), (file,))
    assert f"there already: {file}" in list(lines(again))
    later = take_in(study, [put(tmp_path / "c.json", answered("R1"))])
    assert [path.name for path in later.taken] == ["answers-R1-2.json"]
    assert later.readers["R1"].answered == 26
    assert (study / "answers" / "answers-R1.json").read_bytes() == file.read_bytes()


def test_without_files_the_state_is_told(study: Path, answered: Answered, tmp_path: Path) -> None:
    """With no new file the answers that are there are counted; a study without any says what to give."""
    with pytest.raises(InputError, match="no file of answers is given, and the study has none"):
        take_in(study, [])
    take_in(study, [put(tmp_path / "a.json", answered("R1"))])
    assert isinstance(take_in(study, []), Taken)


def test_a_bad_file_leaves_the_study_as_it_was(study: Path, answered: Answered, tmp_path: Path) -> None:
    """One file of another page, one that contradicts, and one that is not there: nothing of the lot is copied."""
    good = put(tmp_path / "good.json", answered("R1"))
    other = put(tmp_path / "other.json", answered("R2", page="another"))
    with pytest.raises(InputError, match="older, newer, or was edited"):
        take_in(study, [good, other])
    with pytest.raises(InputError, match="cannot be read"):
        take_in(study, [good, tmp_path / "nothing.json"])
    assert not (study / "answers").exists()
    take_in(study, [good])
    contradicting = put(tmp_path / "again.json", answered("R1", value=lambda q, e: 2 if "positions" in e else None))
    with pytest.raises(InputError, match=r"2 on which_real, and 1 in answers-R1\.json"):
        take_in(study, [contradicting])
    assert [path.name for path in (study / "answers").iterdir()] == ["answers-R1.json"]


def test_what_is_odd_is_said(study: Path, answered: Answered, tmp_path: Path) -> None:
    """Haste, long absence, half a study, one answer throughout and a browser that could not check the page are remarked upon."""
    files = [
        put(tmp_path / "1.json", changed(answered("R1", page_computed=None), seconds=0.4)),
        put(tmp_path / "2.json", changed(answered("R2"), keep=2)),
        put(tmp_path / "3.json", changed(answered("R3"), seconds=900)),
    ]
    remarks = "\n".join(take_in(study, files).remarks)
    assert "answers-R1.json: the browser could not tell whether the page was edited" in remarks
    assert "R1: 8 of 8 images were on screen for less than 2 s" in remarks
    assert "R2: fewer than half of the questions are answered (8 of 26)" in remarks
    assert "R3: 8 of 8 images were on screen for more than 10 min" in remarks


def test_a_reader_who_always_answers_the_same_is_named(maker: Any, answered: Answered, tmp_path: Path) -> None:
    """Ten equal answers on a scale are remarked upon, fewer are not."""
    built = maker(folder="monotonous", real=10, synthetic=0, repeats=0, planted=None, grids=None, readers=["R1"])
    key = json.loads((built.folder / "key.json").read_text())
    page = key["readers"]["R1"]
    slots = {
        slot: {"seconds": 5.0, "visits": 1, "answers": {"class": {"value": "benign"}, "plausible": {"value": "yes" if k else "no"}}}
        for k, slot in enumerate(page["slots"])
    }
    body = {"format": "harness-study-answers-1", "study": key["study"], "reader": "R1", "page": page["content_sha256"],
            "page_computed": page["content_sha256"], "slots": slots}  # fmt: skip
    remarks = take_in(built.folder, [put(tmp_path / "a.json", body)]).remarks
    assert [remark for remark in remarks if "every answer" in remark] == ["R1: every answer on class is 'benign'"]
