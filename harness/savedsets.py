"""Image sets on disk: .npy arrays and one JSON file, never a pickle, mapped when they are opened."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .errors import InputError, Problem
from .images import ImageSet

_ARRAYS = ("images", "masks", "labels", "concepts", "features")


class Sink:
    """Stacks arrays of one shape: in memory, or row by row into an .npy file that is then read from disk."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self._path = None if folder is None else folder / f"{name}.npy"
        self._part = None if folder is None else folder / f"{name}.{uuid.uuid4().hex}.part"
        self._rows: list[np.ndarray] = []
        self._n = 0

    def add(self, array: np.ndarray) -> None:
        """Append one row."""
        self._n += 1
        if self._part is None or not self._rows:
            self._rows.append(np.ascontiguousarray(array))
        if self._part is not None:
            self._part.parent.mkdir(parents=True, exist_ok=True)
            with self._part.open("ab") as file:
                if self._n == 1:
                    self._header(file)
                file.write(np.ascontiguousarray(array).tobytes())

    def _header(self, file: BinaryIO) -> None:
        first = self._rows[0]
        text = {"descr": first.dtype.str, "fortran_order": False, "shape": (self._n, *first.shape)}
        np.lib.format.write_array_header_1_0(file, text)

    def array(self) -> np.ndarray:
        """Return everything, read-only."""
        if self._part is None or self._path is None:
            stacked = np.stack(self._rows)
            stacked.flags.writeable = False
            return stacked
        with self._part.open("r+b") as file:  # numpy keeps room in the header for a growing first axis
            self._header(file)
        self._part.replace(self._path)
        stored: np.ndarray = np.load(self._path, mmap_mode="r", allow_pickle=False)
        return stored

    def close(self) -> None:
        """Leave no half-written file behind."""
        if self._part is not None:
            self._part.unlink(missing_ok=True)


def save(images: ImageSet, folder: Path) -> None:
    """Write an image set as .npy arrays and one JSON file; the folder appears complete or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.parent / f".{folder.name}.{uuid.uuid4().hex}.part"
    part.mkdir()
    try:
        for name in _ARRAYS:
            if getattr(images, name) is not None:
                np.save(part / f"{name}.npy", getattr(images, name), allow_pickle=False)
        for k, values in enumerate((images.groups or {}).values()):
            np.save(part / f"group_{k}.npy", values.astype(str) if values.dtype == object else values, allow_pickle=False)
        facts = {
            "ids": images.ids, "spacing_mm": images.spacing_mm, "patients": images.patients, "sources": images.sources,
            "origin": images.origin, "cut_from": images.cut_from,
            "groups": None if images.groups is None else list(images.groups),
        }  # fmt: skip
        (part / "facts.json").write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")
        if folder.exists():
            aside = folder.parent / f".{folder.name}.{uuid.uuid4().hex}.part"
            folder.rename(aside)
            part.rename(folder)
            shutil.rmtree(aside)
        else:
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def open_saved(folder: Path) -> ImageSet:
    """Read what `save` wrote; the arrays stay on disk and are mapped read-only."""
    try:
        facts: dict[str, Any] = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        groups = facts.pop("groups")
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
        for name in _ARRAYS:
            if (folder / f"{name}.npy").exists():
                values[name] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        if groups is not None:
            values["groups"] = {g: np.load(folder / f"group_{k}.npy", allow_pickle=False) for k, g in enumerate(groups)}
        return ImageSet(**values)
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise InputError(Problem(f"the saved images cannot be read: {error}", str(folder), "delete this folder")) from error
