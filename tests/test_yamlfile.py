"""YAML files are read strictly: plain data, each key once, and what is wrong with file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from harness.errors import InputError
from harness.yamlfile import LIMIT_BYTES, flow, load, read_yaml


class Part(BaseModel):
    """A part of a file."""

    model_config = ConfigDict(extra="forbid")
    size: int = Field(ge=0)


class Whole(BaseModel):
    """A file."""

    model_config = ConfigDict(extra="forbid")
    name: str
    parts: list[Part] = []


def write(folder: Path, text: str) -> Path:
    """Write a file."""
    path = folder / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, text: str, model: type[BaseModel] | None = None) -> list[str]:
    """Return what a user reads when the file is refused."""
    with pytest.raises(InputError) as caught:
        read_yaml(write(folder, text), model) if model else read_yaml(write(folder, text))
    return caught.value.lines()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1\nb: [x, 2.5, true, null, no, 1e3]", {"a": 1, "b": ["x", 2.5, True, None, "no", 1000.0]}),
        ("- 1\n- {a: b}", [1, {"a": "b"}]),
        ("word", "word"),
        ("1: one", {"1": "one"}),
        ("", None),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
    ],
)
def test_a_file_gives_plain_data(tmp_path: Path, text: str, value: Any) -> None:
    """YAML 1.2: `no` is a word, and keys are text."""
    found = read_yaml(write(tmp_path, text))

    assert found == value
    assert type(found) is type(value)


def test_lines_are_known_by_place(tmp_path: Path) -> None:
    """Every key and list item has one."""
    _, lines = load(write(tmp_path, "a:\n  - x\n  - b: 1\n"))

    assert lines == {(): 1, ("a",): 1, ("a", 0): 2, ("a", 1): 3, ("a", 1, "b"): 3}


def test_a_model_gives_its_instance(tmp_path: Path) -> None:
    """What the model checks is checked."""
    assert read_yaml(write(tmp_path, "name: n\nparts: [{size: 3}]"), Whole) == Whole(name="n", parts=[Part(size=3)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3", ["own.yaml:3: the key 'a' occurs twice", "  keep one of them"]),
        ("a:\n  1: x\n  '1': y", ["own.yaml:3: the key '1' occurs twice", "  keep one of them"]),
        ("a: &x 1\nb: *x", ["own.yaml:1: anchors (&) and aliases (*) are not allowed", "  write the value out"]),
        (
            "a: 1\nb: !!python/name:os.system ''",
            ["own.yaml:2: the tag tag:yaml.org,2002:python/name:os.system is not allowed", "  write a plain value"],
        ),
        ("a:\n\t- x", ["own.yaml:2: a tab is used for indentation", "  use spaces"]),
        ("a: " + "[" * 100 + "]" * 100, ["own.yaml:1: nested too deeply"]),
        ("a: \x07", ["own.yaml: holds a character that YAML does not allow"]),
    ],
)
def test_tricks_and_mistakes_are_refused_with_their_line(tmp_path: Path, text: str, expected: list[str]) -> None:
    """Nothing expands, nothing runs, nothing is overwritten."""
    assert refused(tmp_path, text) == expected


def test_what_is_no_yaml_is_refused(tmp_path: Path) -> None:
    """With the line of the mistake."""
    assert refused(tmp_path, "a: 1\nb: [x")[0].startswith("own.yaml:2: is not valid YAML")


def test_everything_a_model_refuses_is_told_at_once(tmp_path: Path) -> None:
    """In the order of the lines, with the nearest known key."""
    text = "nam: x\nparts:\n  - size: -1\n  - {size: 1, sise: 2}\n"

    assert refused(tmp_path, text, Whole) == [
        "own.yaml:1: name is missing",
        "own.yaml:1: unknown key 'nam'",
        "  did you mean name?",
        "own.yaml:3: parts.0.size: Input should be greater than or equal to 0, got -1",
        "own.yaml:4: unknown key 'sise'",
        "  did you mean size?",
    ]
    assert refused(tmp_path, "- 1", Whole)[0].startswith("own.yaml:1: the file: Input should be a valid dictionary")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """Missing, a folder, too large, not text."""
    with pytest.raises(InputError, match=r"none\.yaml: there is no such file\n  check the path"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="is a folder\n  name the file inside it"):
        read_yaml(tmp_path)
    path = tmp_path / "large.yaml"
    with path.open("wb") as stream:
        stream.truncate(LIMIT_BYTES + 1)
    with pytest.raises(InputError, match="is 1,000,001 bytes; such a file has at most 1,000,000"):
        read_yaml(path)
    path.write_bytes(b"a: \xff")
    with pytest.raises(InputError, match=r"is not UTF-8 text \(byte 3\)"):
        read_yaml(path)


def test_one_line_of_a_command(tmp_path: Path) -> None:
    """`flow` reads an option, and a ValueError says what it is not."""
    assert flow("{labels: folder, n: 2}") == {"labels": "folder", "n": 2}
    for text in ("{a: 1, a: 2}", "{a: [", "&x 1"):
        with pytest.raises(ValueError, match=r".+"):
            flow(text)
