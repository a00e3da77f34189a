"""Features that people bring themselves, in files or as arrays: read, and checked before anything is computed on them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import InputError, Problem, raise_if
from .images import ImageSet, from_features

FEATURE_FILES = (".npy", ".npz")
_ROWS = 4096
_PRECISIONS = (np.dtype(np.float32), np.dtype(np.float64))


@dataclass(frozen=True)
class Features:
    """Features of one side. values: (N, F) numbers. name: what messages call them. patients: one name per row, or None."""

    values: np.ndarray
    name: str
    patients: tuple[str, ...] | None = None


def read_features(path: Path) -> Features:
    """Return what a .npy file, or the arrays `features` and, where it is there, `patients` of an .npz file hold.

    An `InputError` says what is wrong with a file that cannot be read, is no such file, or holds no row.
    """
    try:
        values, patients = _mapped(path) if path.suffix.lower() == ".npy" else _archived(path)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        what = f"cannot be read: {reason}" if reason else "is not an array file"
        raise InputError(Problem(what, str(path), "write it with numpy.save or numpy.savez")) from None
    if values.ndim != 2 or not values.size:
        raise InputError(Problem(f"must hold numbers of shape (N, F), got {values.dtype} {values.shape}", str(path)))
    if patients is None:
        return Features(values, str(path))
    if patients.shape != (len(values),):
        raise InputError(Problem(f"`patients` must hold {len(values)} names, one per row, got shape {patients.shape}", str(path)))
    return Features(values, str(path), tuple(map(str, patients)))


def _mapped(path: Path) -> tuple[np.ndarray, None]:
    return np.lib.format.open_memmap(path, mode="r"), None


def _archived(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    with path.open("rb") as stream:
        archive = np.load(stream, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            return archive, None
        if "features" not in archive:
            raise InputError(Problem(f"holds no array `features`; it holds {', '.join(archive) or 'nothing'}", str(path)))
        return archive["features"], archive.get("patients")


def image_sets(sides: Mapping[str, Features]) -> dict[str, ImageSet]:
    """Return for each role blank images with its features, (N, F) float32 or float64.

    An `InputError` says which side holds something else than finite numbers, or that the sides differ in width.
    """
    raise_if([Problem(fault, side.name) for side in sides.values() if (fault := _fault(side.values))], InputError)
    widths: dict[int, str] = {}
    for side in sides.values():
        widths.setdefault(side.values.shape[1], side.name)
    if len(widths) > 1:
        said = " and ".join(f"{columns} in {name}" for columns, name in widths.items())
        raise InputError(Problem(f"the numbers of features differ: {said}", "", "use one extractor for all"))
    return {role: from_features(_precise(side.values), role, side.patients) for role, side in sides.items()}


def _fault(values: np.ndarray) -> str:
    """Return what keeps an array from being features, or nothing."""
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        return f"must hold numbers of shape (N, F), got {values.dtype} {values.shape}"
    blocks = [~np.isfinite(values[start : start + _ROWS]).all(axis=1) for start in range(0, len(values), _ROWS)]
    bad = np.flatnonzero(np.concatenate(blocks)) if blocks else np.arange(0)
    return f"holds values that are not finite in {len(bad)} of {len(values)} rows, the first is row {bad[0]}" if len(bad) else ""


def _precise(values: np.ndarray) -> np.ndarray:
    """Return the values as they are in float32 or float64, any others as float64."""
    return values if values.dtype in _PRECISIONS else values.astype(np.float64)
