"""Answers of a reader study."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.api import Context, InputError, Rating
from harness_plugins.importers.study import Study

QUESTIONS: list[dict[str, Any]] = [
    {"name": "class", "level": "nominal", "categories": ["benign", "malignant"], "shows": "image", "only_if": ""},
    {"name": "failed", "level": "set", "categories": ["shape", "noise"], "shows": "image", "only_if": "class=malignant"},
    {"name": "size", "level": "interval", "categories": [], "shows": "image", "only_if": ""},
    {"name": "grade", "level": "interval", "categories": ["0", "2.5"], "shows": "image", "only_if": "class=malignant"},
    {"name": "deep", "level": "nominal", "categories": ["yes", "no"], "shows": "image", "only_if": "size=3"},
    {"name": "odd", "level": "text", "categories": [], "shows": "image", "only_if": "failed=noise"},
    {"name": "which_real", "level": "nominal", "categories": ["real", "synthetic"], "shows": "grid", "only_if": ""},
]
FACTS = {"origin": "real", "label": "benign", "stratum": "benign", "planted": "blur"}
Save = Callable[..., Path]


def slots(reader: str) -> dict[str, Any]:
    """Return the key's slots of a reader: an image twice, and a grid."""
    return {
        f"{reader}a": {"item": "benign/p-1/7", "occasion": "1", "facts": FACTS},
        f"{reader}b": {"item": "benign/p-1/7", "occasion": "2", "facts": FACTS},
        f"{reader}c": {
            "item": "grid-001",
            "occasion": "1",
            "facts": {"stratum": "benign"},
            "positions": ["synthetic", "real", "synthetic"],
        },
    }


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Return the folder of a study with two readers."""
    readers = {name: {"page": f"pages/{name}.html", "content_sha256": name * 8, "slots": slots(name)} for name in ("R1", "R2")}
    write_key(tmp_path, {"format": "harness-study-1", "study": "study-1", "questions": QUESTIONS, "readers": readers})
    (tmp_path / "answers").mkdir()
    return tmp_path


def write_key(folder: Path, key: dict[str, Any]) -> None:
    """Write a key with its digest, as the study's build does."""
    text = json.dumps(key, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    (folder / "key.json").write_text(json.dumps(key | {"sha256": hashlib.sha256(text.encode()).hexdigest()}))


@pytest.fixture
def save(study: Path) -> Save:
    """Return the function that writes the answers of a reader, given by slot and question, as a page saves them."""

    def write(answers: dict[str, dict[str, Any]], reader: str = "R1", name: str | None = None, **changes: Any) -> Path:
        found = {
            f"{reader}{slot}": {"seconds": 4.5, "visits": 1, "answers": {q: {"value": v, "changes": 0, "at": 1} for q, v in given.items()}}
            for slot, given in answers.items()
        }
        body = {"format": "harness-study-answers-1", "study": "study-1", "reader": reader, "page": reader * 8, "page_computed": reader * 8}
        path = study / "answers" / (name or f"answers-{reader}.json")
        path.write_text(json.dumps(body | {"slots": found} | changes))
        return path

    return write


def read(study: Path, **options: Any) -> list[Rating]:
    """Return the ratings of a study."""
    return list(Study(path=study, **options).read(Context(1, study)))


def refusal(study: Path, **options: Any) -> str:
    """Return the message with which the answers of a study are refused."""
    with pytest.raises(InputError) as caught:
        read(study, **options)
    assert len(caught.value.lines()) <= 3
    return str(caught.value)


def test_every_answer_is_a_rating(study: Path, save: Save) -> None:
    """An answer has its item, reader, occasion, time, facts and source; sets, numbers, text and grids are read as such."""
    save({"a": {"class": "malignant", "failed": ["noise"], "size": 3, "grade": 2.5, "deep": "no", "odd": "a line"}, "c": {"which_real": 2}})
    found = {(r.item, r.occasion, r.scale): r for r in read(study)}
    base = {"item": "benign/p-1/7", "rater": "R1", "occasion": "1", "seconds": 4.5, "source": "answers-R1.json:R1a", "facts": FACTS}
    assert found["benign/p-1/7", "1", "class"] == Rating(**base, scale="class", value="malignant")
    assert found["benign/p-1/7", "1", "failed"].value == "noise"
    assert found["benign/p-1/7", "1", "size"].value == 3.0
    assert found["benign/p-1/7", "1", "grade"].value == 2.5
    assert found["benign/p-1/7", "1", "deep"].value == "no"
    assert found["benign/p-1/7", "1", "odd"].value == "a line"
    grid = found["grid-001", "1", "which_real"]
    assert (grid.value, grid.choices, grid.facts) == ("real", 3, {"stratum": "benign"})
    second = found["benign/p-1/7", "2", "class"]
    assert (second.value, second.status, second.reason, second.seconds) == (None, "missing", "the question was not answered", None)
    assert len(found) == 6 + 2 + 1


def test_what_was_not_asked_is_no_rating(study: Path, save: Save) -> None:
    """A question whose condition is not met gives no rating, a set of which none holds gives one, and a reader without a file none."""
    save({"a": {"class": "benign", "size": 4}, "b": {"class": "malignant", "failed": []}, "c": {"which_real": None}})
    found = {(r.occasion, r.scale): r for r in read(study)}
    first, second = {("1", "class"), ("1", "size"), ("1", "which_real")}, {("2", name) for name in ("class", "failed", "size", "grade")}
    assert set(found) == first | second
    assert found["2", "failed"].value == "none"
    assert found["1", "which_real"].status == "missing"
    assert {r.rater for r in found.values()} == {"R1"}


def test_files_are_found_or_named(study: Path, save: Save) -> None:
    """The files below the folder are read by default, those of the option alone where there are some; key and files are inputs."""
    first, second = save({"a": {"class": "benign"}}), save({"a": {"class": "malignant"}}, reader="R2")
    assert {r.rater for r in read(study)} == {"R1", "R2"}
    assert {r.rater for r in read(study, answers=(second,))} == {"R2"}
    assert Study(path=study).inputs() == (study / "key.json", first, second)


def test_two_files_of_a_reader_are_put_together(study: Path, save: Save) -> None:
    """A file saved half-way and one saved later complete each other; the longer time counts; one that contradicts is refused."""
    save({"a": {"class": "benign"}})
    save({"a": {"class": "benign", "size": 2}, "b": {"class": "malignant"}}, name="later.json")
    found = {(r.occasion, r.scale): r for r in read(study)}
    assert (found["1", "class"].source, found["1", "size"].source) == ("answers-R1.json:R1a", "later.json:R1a")
    assert found["2", "class"].value == "malignant"
    save({"a": {"class": "malignant"}}, name="later.json")
    text = refusal(study)
    assert "later.json: slot R1a: 'malignant' on class, and 'benign' in answers-R1.json" in text
    assert "keep the file that the reader saved last" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "other"}, "not a file of saved answers"),
        ({"study": "study-2"}, "these answers belong to study-2, not to study-1"),
        ({"reader": "R9"}, "the study has no reader 'R9'"),
        ({"page": "old"}, "older, newer, or was edited"),
        ({"page_computed": "edited"}, "older, newer, or was edited"),
        ({"slots": []}, "not a file of saved answers"),
        ({"slots": {"x": {"seconds": 1, "answers": {}}}}, "slot x: the page has no such slot"),
        ({"slots": {"R1a": {"seconds": -1, "answers": {}}}}, "a slot has answers and a time"),
        ({"slots": {"R1a": {"seconds": 1}}}, "a slot has answers and a time"),
        ({"slots": {"R1a": {"seconds": 1, "answers": {"class": "benign"}}}}, "the answer on class has no value"),
        ({"slots": {"R1a": {"seconds": 1, "answers": {"which_real": {"value": 1}}}}}, "nobody asked 'which_real' here"),
    ],
)
def test_files_of_other_pages_are_refused(study: Path, save: Save, changes: dict[str, Any], words: str) -> None:
    """What no page of this study can have saved is refused, with the file."""
    path = save({"a": {"class": "benign"}}, **changes)
    text = refusal(study)
    assert words in text
    assert str(path) in text


@pytest.mark.parametrize(
    ("slot", "name", "value"),
    [
        ("a", "class", "Benign"), ("a", "class", 1), ("a", "failed", "noise"), ("a", "failed", ["speckle"]), ("a", "failed", ["noise"] * 2),
        ("a", "size", "3"), ("a", "size", True), ("a", "grade", 2), ("a", "odd", 3), ("c", "which_real", 4), ("c", "which_real", 0),
        ("c", "which_real", "real"), ("c", "which_real", True),
    ],
)  # fmt: skip
def test_answers_that_no_page_offers_are_refused(study: Path, save: Save, slot: str, name: str, value: Any) -> None:
    """A value off its scale is a sign of an edited file, whatever its type."""
    save({slot: {name: value}})
    assert f"slot R1{slot}: {value!r} is no answer on {name}" in refusal(study)


def test_the_page_need_not_know_its_digest(study: Path, save: Save) -> None:
    """A browser that cannot compute digests leaves the computed one empty, and its answers count."""
    save({"a": {"class": "benign"}}, page_computed=None)
    assert read(study)[0].value == "benign"


def test_a_changed_key_is_refused(study: Path, save: Save) -> None:
    """A key that was altered, is no key, is no JSON or is missing is refused."""
    save({"a": {"class": "benign"}})
    path = study / "key.json"
    text = path.read_text()
    path.write_text(text.replace('"origin": "real"', '"origin": "synthetic"'))
    assert "the key was changed after it was made" in refusal(study)
    path.write_text("[]")
    assert "not the key of a reader study" in refusal(study)
    path.write_text("{")
    assert "not JSON" in refusal(study)
    path.unlink()
    assert "cannot be read" in refusal(study)


def test_a_damaged_file_is_refused(study: Path, save: Save) -> None:
    """A file cut off, one that is not text, and a study without answers are refused with their names."""
    path = save({"a": {"class": "benign"}})
    path.write_text(path.read_text()[:50])
    assert f"{path}: not JSON" in refusal(study)
    path.write_bytes(b"\xff\xfe\x00")
    assert f"{path}: not JSON" in refusal(study)
    path.unlink()
    assert "no reader has answered yet" in refusal(study)
    assert "cannot be read" in refusal(study, answers=(path,))
