"""The key of a reader study, as importers of other programs' files use it."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from harness.api import InputError
from harness_plugins.importers.slots import Slot, StudyKey

QUESTIONS = [
    {"name": "odd", "level": "nominal", "shows": "image", "only_if": ""},
    {"name": "why", "level": "set", "shows": "image", "only_if": "odd=yes"},
    {"name": "real", "level": "nominal", "shows": "grid", "only_if": ""},
]
SLOTS = {
    "s1": {"item": "i", "occasion": "2", "facts": {"label": "a"}},
    "g1": {"item": "g", "occasion": "1", "facts": {}, "positions": ["real"]},
}


def write(folder: Path, **changed: Any) -> Path:
    """Write a key whose digest is right unless it is among what is changed, and return where it is."""
    key: dict[str, Any] = {"format": "harness-study-1", "questions": QUESTIONS, "readers": {"ann": {"slots": SLOTS}}}
    text = json.dumps(key, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    path = folder / "key.json"
    path.write_text(json.dumps(key | {"sha256": sha256(text.encode()).hexdigest()} | changed), encoding="utf-8")
    return path


def test_slots_and_what_was_asked_there(tmp_path: Path) -> None:
    """A slot knows item, occasion and facts; questions about grids are asked about grids, others where their condition holds."""
    key = StudyKey.read(write(tmp_path))
    image, grid = key.slot("ann", "s1", ""), key.slot("ann", "g1", "")
    assert image == Slot("i", "2", {"label": "a"})
    assert grid.positions == ("real",)
    assert key.asked(image, {"odd": ["no"]}) == ["odd"]
    assert key.asked(image, {"odd": ["yes"]}) == ["odd", "why"]
    assert key.asked(grid, {}) == ["real"]
    assert key.sets() == {"why"}


def test_slots_of_another_study_are_refused(tmp_path: Path) -> None:
    """A slot or a reader that the key does not know comes from elsewhere."""
    key = StudyKey.read(write(tmp_path))
    for reader, slot in (("ann", "s9"), ("bob", "s1")):
        with pytest.raises(InputError, match=rf"f\.json: the study has no slot {slot} of {reader}"):
            key.slot(reader, slot, "f.json")


@pytest.mark.parametrize(
    ("changed", "what"), [({"questions": []}, "the key was changed after it was made"), ({"format": "x"}, "not the key of a reader study")]
)
def test_a_key_that_was_changed_is_refused(tmp_path: Path, changed: dict[str, Any], what: str) -> None:
    """The digest must fit the content."""
    path = write(tmp_path, **changed)
    with pytest.raises(InputError, match=what):
        StudyKey.read(path)


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    """A missing and a torn file say what to give."""
    with pytest.raises(InputError, match="cannot be read"):
        StudyKey.read(tmp_path / "none.json")
    (tmp_path / "torn.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        StudyKey.read(tmp_path / "torn.json")
