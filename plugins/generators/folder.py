"""Synthetic images that lie in a folder already."""

from __future__ import annotations

from itertools import combinations
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

    `runs` names a folder for each further sampling run that the audit asks for, sampled as those in `path` were but with another seed.
    """

    name = "folder"
    version = "2"
    path: Path
    test: Path | None = None
    runs: tuple[Path, ...] = ()

    @model_validator(mode="after")
    def _apart(self) -> Self:
        named = [("path", self.path), *([("test", self.test)] if self.test else []), *(("runs", path) for path in self.runs)]
        for (name, first), (other_name, second) in combinations(named, 2):
            one, other = first.resolve(), second.resolve()
            if one == other or one in other.parents or other in one.parents:
                text = f"{second} and {first} are one folder, or one lies in the other"
                raise ValueError(f"{other_name} must share nothing with {name}: {text}")
        return self

    def inputs(self) -> tuple[Path, ...]:
        """Return the folder, those of further sampling runs, and that of the images for testing tasks where there is one."""
        return (self.path, *self.runs, *([self.test] if self.test else []))

    def sample(self, request: Request, context: Context) -> Path:
        """Return the folder, whose files the audit reads as the real ones; `NotComputable` where one is wanted that was not given."""
        if request.purpose == "train" and request.run > len(self.runs):
            text = f"sampling run {request.run + 1} needs a folder of its own, and {len(self.runs)} further folders are named"
            raise NotComputable(f"{text}: generator: {{folder: {{runs: [...]}}}}")
        if request.purpose == "train":
            return _there(self.runs[request.run - 1], "runs") if request.run else _there(self.path, "path")
        if self.test is None:
            raise NotComputable("needs further images to test tasks on, got none: name a second folder, generator: {folder: {test: ...}}")
        return _there(self.test, "test")


def _there(path: Path, option: str) -> Path:
    if not path.is_dir():
        what = "is a file, not a folder" if path.exists() else "no such folder"
        raise InputError(Problem(what, str(path), f"generator: {{folder: {{{option}: ...}}}} names the folder of synthetic images"))
    return path
