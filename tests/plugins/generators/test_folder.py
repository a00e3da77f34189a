"""Synthetic images that lie in a folder already."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.api import Context, InputError, Request
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
