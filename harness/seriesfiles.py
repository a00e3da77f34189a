"""A folder of single-frame DICOM slices -> one volume; orientation and spacing as `imagefiles` describes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError, Problem
from .imagefiles import BROKEN, Decoded, canonical, checked, decode_dicom, dicom_dataset, refusal


def decode_series(paths: Sequence[Path]) -> Decoded:
    """Read single-frame DICOM slices as one volume: sorted along the slice normal, spacing from the slice positions."""
    folder = paths[0].parent
    slices: list[tuple[Any, Decoded]] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            dataset = dicom_dataset(path)
            slices.append((dataset, checked(path, decode_dicom(path, dataset=dataset))))
        except InputError as error:
            problems += error.problems
        except BROKEN as error:
            problems.append(Problem(f"cannot be read, broken or cut short: {error}", str(path), "replace the file"))
    if problems:
        raise InputError(*problems)
    try:
        return _stack(folder, slices)
    except (AttributeError, TypeError, ValueError) as error:
        raise refusal(folder, f"the series lacks a header element: {error}", "export the series again") from error


def _stack(folder: Path, slices: list[tuple[Any, Decoded]]) -> Decoded:
    first, image = slices[0]
    same = ("SeriesInstanceUID", "Rows", "Columns", "PixelSpacing", "ImageOrientationPatient")
    for word in same:
        values = {str(dataset.get(word, "")) for dataset, _ in slices}
        if len(values) > 1:
            raise refusal(folder, f"{len(values)} different values of {word} in one series", "keep one series per folder")
    if any(part.pixels.shape[0] != 1 for _, part in slices):
        raise refusal(folder, "a series of colour slices is not read", "keep one grey series per folder")
    row, column = np.array(first.ImageOrientationPatient, dtype=float).reshape(2, 3)
    normal = np.cross(row, column)
    places = np.array([dataset.ImagePositionPatient for dataset, _ in slices], dtype=float)
    along = places @ normal
    order = np.argsort(along, kind="stable")
    gaps = np.diff(along[order])
    if len(gaps) and (gaps.min() <= 1e-3 or gaps.max() - gaps.min() > max(0.01 * float(np.median(gaps)), 1e-3)):
        what = f"distances between slices go from {gaps.min():.4g} to {gaps.max():.4g} mm: one is missing, double or misplaced"
        raise refusal(folder, what, "complete the series, or resample it to equal distances")
    pixels = np.stack([slices[k][1].pixels[0] for k in order])
    ranges = [part.value_range for _, part in slices if part.value_range is not None]
    limits = (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None
    thickness = float(np.mean(gaps)) if len(gaps) else float(first.get("SliceThickness") or 0.0)
    known = image.spacing_mm is not None and thickness > 0
    down, across = image.spacing_mm or (1.0, 1.0)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([row * across, column * down, normal * (thickness or 1.0)], axis=1)
    affine[:2] *= -1.0  # DICOM counts x and y towards left and back, RAS+ towards right and front
    volume, spacing = canonical(np.transpose(pixels, (2, 1, 0)), affine)
    return replace(image, pixels=volume[None], spacing_mm=spacing if known else None, value_range=limits)
