"""Synthetic images that lie in a folder already."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import model_validator

from harness.api import Context, Generator, InputError, NotComputable, Problem, Request


class Folder(Generator):
    """Offers the image files of a folder, made beforehand by any generator.

    The folder is laid out as `data.synthetic` in `model.yaml` says, or else as the real images are, as far as paths alone can tell.
    Where it holds more images than the audit asks for, a seeded random subset is used.

    `test` names a second folder, with further images of the same generator on which tasks are tested. It shares no image with
    `path`; in neither lies the other. An audit that tests no task on synthetic images needs none.
    """

    name = "folder"
    version = "1"
    path: Path
    test: Path | None = None

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.test is not None:
            one, other = self.path.resolve(), self.test.resolve()
            if one == other or one in other.parents or other in one.parents:
                raise ValueError(f"test must share nothing with path: {self.test} and {self.path} are one folder, or one lies in the other")
        return self

    def inputs(self) -> tuple[Path, ...]:
        """Return the folder, and that of the images for testing tasks where there is one."""
        return (self.path,) if self.test is None else (self.path, self.test)

    def sample(self, request: Request, context: Context) -> Path:
        """Return the folder, whose files the audit reads as the real ones; `NotComputable` where `test` is wanted and not given."""
        if request.purpose == "train":
            return _there(self.path, "path")
        if self.test is None:
            raise NotComputable("needs further images to test tasks on, got none: name a second folder, generator: {folder: {test: ...}}")
        return _there(self.test, "test")


def _there(path: Path, option: str) -> Path:
    if not path.is_dir():
        what = "is a file, not a folder" if path.exists() else "no such folder"
        raise InputError(Problem(what, str(path), f"generator: {{folder: {{{option}: ...}}}} names the folder of synthetic images"))
    return path
