"""Synthetic images that lie in a folder already."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from harness.api import Context, InputError, NotComputable, Request
from harness_plugins.generators.folder import Folder


def test_the_folder_is_offered_and_is_an_input(tmp_path: Path) -> None:
    """The folder itself comes back, and its bytes are part of what is audited."""
    (tmp_path / "made").mkdir()
    generator = Folder(path=tmp_path / "made")
    assert generator.sample(Request(3), Context(1, tmp_path)) == tmp_path / "made"
    assert generator.inputs() == (tmp_path / "made",)


@pytest.mark.parametrize(("name", "what"), [("absent", "no such folder"), ("file", "is a file, not a folder")])
def test_what_is_not_a_folder_is_refused(tmp_path: Path, name: str, what: str) -> None:
    """The message says what is wrong, where, and which option to mend."""
    (tmp_path / "file").touch()
    with pytest.raises(InputError) as caught:
        Folder(path=tmp_path / name).sample(Request(3), Context(1, tmp_path))
    assert what in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert len(caught.value.lines()) <= 3


def test_tasks_are_tested_on_the_second_folder(tmp_path: Path) -> None:
    """Images for testing tasks come from `test`, which is part of what is audited."""
    for name in ("made", "further"):
        (tmp_path / name).mkdir()
    generator = Folder(path=tmp_path / "made", test=tmp_path / "further")
    assert generator.sample(Request(3, purpose="test"), Context(1, tmp_path)) == tmp_path / "further"
    assert generator.sample(Request(3), Context(1, tmp_path)) == tmp_path / "made"
    assert generator.inputs() == (tmp_path / "made", tmp_path / "further")


def test_without_a_second_folder_no_task_is_tested(tmp_path: Path) -> None:
    """The images that tasks train on are never offered for testing them; the reason says which option to give."""
    with pytest.raises(NotComputable, match=r"name a second folder, generator: \{folder: \{test: "):
        Folder(path=tmp_path).sample(Request(3, purpose="test"), Context(1, tmp_path))


@pytest.mark.parametrize("other", ["made", "made/part", ".", "made/../made"])
def test_the_two_folders_share_nothing(tmp_path: Path, other: str) -> None:
    """The same folder, or one within the other, is refused when the audit is planned."""
    with pytest.raises(ValidationError, match="test must share nothing with path"):
        Folder(path=tmp_path / "made", test=tmp_path / other)


def test_a_second_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The message names the option `test`."""
    with pytest.raises(InputError, match=r"folder: \{test: "):
        Folder(path=tmp_path / "made", test=tmp_path / "absent").sample(Request(3, purpose="test"), Context(1, tmp_path))
