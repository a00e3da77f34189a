"""Synthetic images that lie in a folder already."""

from __future__ import annotations

from pathlib import Path

from harness.api import Context, Generator, InputError, Problem, Request


class Folder(Generator):
    """Offers the image files of a folder, made beforehand by any generator.

    The folder is laid out as `data.synthetic` in `model.yaml` says, or else as the real images are, as far as paths alone can tell.
    Where it holds more images than the audit asks for, a seeded random subset is used.
    """

    name = "folder"
    version = "1"
    path: Path

    def inputs(self) -> tuple[Path, ...]:
        """Return the folder."""
        return (self.path,)

    def sample(self, request: Request, context: Context) -> Path:
        """Return the folder, whose files the audit reads as it reads the real ones."""
        if not self.path.is_dir():
            what = "is a file, not a folder" if self.path.exists() else "no such folder"
            raise InputError(Problem(what, str(self.path), "generator: {folder: {path: ...}} names the folder of synthetic images"))
        return self.path
