"""What is done to the pixels of every image, fitted on the real training files alone: channels, window, size.

Each step is the same for every arm. Grey is ITU-R BT.601 luma; the window becomes [0, 1]; sizes are reached by area averaging
(down) and linear interpolation (up), by padding with the lower end of the window, or by cropping, both about the centre.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import numpy as np

from . import imagefiles
from .catalogue import Complaints, Entry, catalogue, decoded, listed
from .errors import InputError, Problem, SpecError, raise_if
from .host import resolve
from .spec import DataSpec, Layout, MaskRule, Patches, Percentiles, digest

Channels = Literal["grey", "rgb"]
Resize = Literal["refuse", "stretch", "pad", "crop"]
_LUMA = np.array([0.299, 0.587, 0.114])  # Recommendation ITU-R BT.601-7, section 2.5.1
_SPACING_TOLERANCE = 1e-3
_PLANE = 2
_HALF = 16
_AnyLayout = TypeVar("_AnyLayout", bound=Layout)


@dataclass(frozen=True)
class Preprocessing:
    """What happens to every image of every arm; fitted on the real training files, stored with the audit.

    window: intensities that become 0 and 1. size_px: None where patches are cut from images of any size. spacing_mm: of the
    result. spacing_from: header (of the files), declared (in `model.yaml`), or assumed (nobody said: 1 mm).
    """

    window: tuple[float, float]
    window_from: Literal["declared", "percentiles", "file type"]
    outside: Literal["clip", "refuse"]
    channels: Channels
    size_px: tuple[int, ...] | None
    resize: Resize
    spacing_mm: tuple[float, ...]
    spacing_from: Literal["header", "declared", "assumed"]
    label_names: tuple[str, ...] | None = None
    patches: Patches | None = None

    def to_json(self) -> str:
        """Return it as JSON text."""
        return json.dumps(self._plain(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` wrote."""
        values = json.loads(text)
        tuples = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        patches = Patches.model_validate(values["patches"]) if values["patches"] else None
        return cls(**{**values, **tuples, "patches": patches})

    @property
    def sha256(self) -> str:
        """Digest of all of it."""
        return digest(self._plain())

    def _plain(self) -> dict[str, Any]:
        return {**asdict(self), "patches": self.patches.model_dump(mode="json") if self.patches else None}


def anchored(layout: _AnyLayout, base: Path) -> _AnyLayout:
    """Return the layout with environment variables replaced and its table below `base`.

    A folder of masks, and the table of a synthetic layout, stay below the folder of the arm where they are plain relative paths.
    """
    changes: dict[str, Any] = {}
    if layout.csv is not None:
        changes["csv"] = layout.csv.model_copy(update={"path": str(located(layout.csv.path, base.resolve(), "data.csv"))})
    if isinstance(layout, DataSpec) and layout.synthetic is not None:
        changes["synthetic"] = _expanded(layout.synthetic, base, "data.synthetic")
    return _expanded(layout, base, "data").model_copy(update=changes)


def _expanded(layout: _AnyLayout, base: Path, where: str) -> _AnyLayout:
    changes: dict[str, Any] = {}
    if layout.csv is not None:
        changes["csv"] = layout.csv.model_copy(update={"path": _in_arm(layout.csv.path, base, f"{where}.csv")})
    if layout.masks is not None and layout.masks.folder is not None:
        changes["masks"] = layout.masks.model_copy(update={"folder": _in_arm(layout.masks.folder, base, f"{where}.masks")})
    return layout.model_copy(update=changes)


def located(text: str, base: Path, where: str) -> Path:
    """Return a path of `model.yaml`, environment variables replaced; `where` is the key that an unset one is reported under."""
    try:
        return resolve(text, base)
    except KeyError as error:
        fix = f"set it: export {error.args[0]}=/path/to/data"
        raise SpecError(Problem(f"the environment variable {error.args[0]} is not set", where, fix)) from None


def _in_arm(text: str, base: Path, where: str) -> str:
    plain = "$" not in text and not Path(text).expanduser().is_absolute()
    return text if plain else str(located(text, base.resolve(), where))


def fit_preprocessing(data: DataSpec, base: Path, salt: bytes) -> Preprocessing:
    """Read every training file once (twice for percentiles) and fix what is done to all arms."""
    folder = base / data.train
    arm = catalogue(folder, anchored(data, base), role="train", salt=salt, series=data.series)
    complaints = Complaints(folder)
    seen = _Seen()
    order = OrderStatistics()
    percentiles = data.window.percentiles if isinstance(data.window, Percentiles) else None
    resampled = []
    opened: list[tuple[Entry, tuple[int, ...]]] = []
    for entry, image in decoded(arm, complaints):
        opened.append((entry, image.size_px))
        kind: Channels = "rgb" if len(image.pixels) > 1 else "grey"
        seen.channels[kind].append(entry.path)
        seen.sizes[image.size_px].append(entry.path)
        seen.spacings[image.spacing_mm].append(entry.path)
        seen.ranges[image.value_range].append(entry.path)
        stated = image.spacing_mm or data.spacing_mm
        resampled.append(new_spacing(stated, image.size_px, data.size, data.resize) if stated else (1.0,) * len(image.size_px))
        if percentiles is not None:
            order.coarse(in_channels(image.pixels, data.channels))
    disagreements = list(seen.disagreements(data))
    if data.masks is not None and (arm.problems or complaints.problems() or disagreements):
        for entry, size in opened:  # the audit stops here, so say what reading the masks would say
            read_mask(entry, size, data.masks, complaints)
    problems = [*arm.problems, *complaints.problems()]
    problems += [replace(problem, where=str(folder)) for problem in disagreements]
    raise_if(problems, InputError)
    if percentiles is None:
        window = data.window if isinstance(data.window, tuple) else next(iter(seen.ranges)) or (0.0, 1.0)
    else:
        ranks = [round(p / 100 * (order.n - 1)) for p in percentiles]
        for _, image in decoded(arm, complaints):
            order.fine(in_channels(image.pixels, data.channels), ranks)
        window = (order.value(ranks[0]), order.value(ranks[1]))
    if not window[0] < window[1]:
        text = f"`window` would be [{window[0]:g}, {window[1]:g}]" + (f", percentiles {percentiles}" if percentiles else "")
        raise InputError(Problem(text, str(folder), "give a window whose first number is below its second"))
    labels = sorted({entry.label for entry in arm.entries if entry.label is not None})
    return Preprocessing(
        window=(float(window[0]), float(window[1])),
        window_from="percentiles" if percentiles is not None else "declared" if data.window else "file type",
        outside=data.outside,
        channels=next(iter(seen.channels)) if data.channels is None else data.channels,
        size_px=data.size or (None if data.patches else next(iter(seen.sizes))),
        resize=data.resize,
        spacing_mm=tuple(round(float(s), 6) for s in np.median(np.array(resampled), axis=0)),
        spacing_from="header" if any(seen.spacings) else "declared" if data.spacing_mm else "assumed",
        label_names=data.label_names or tuple(labels) or None,
        patches=data.patches,
    )


class _Seen:
    """What the training files are like: which files for each value."""

    def __init__(self) -> None:
        self.channels: dict[Channels, list[str]] = defaultdict(list)
        self.sizes: dict[tuple[int, ...], list[str]] = defaultdict(list)
        self.spacings: dict[tuple[float, ...] | None, list[str]] = defaultdict(list)
        self.ranges: dict[tuple[float, float] | None, list[str]] = defaultdict(list)

    def disagreements(self, data: DataSpec) -> Iterator[Problem]:
        """Yield what keeps these files from going through one preprocessing."""
        dimensions = sorted({len(size) for size in self.sizes})
        if len(dimensions) > 1:
            yield Problem(f"2D images and volumes are mixed: {_several(self.sizes, px)}", fix="narrow `files` to one of them")
        elif dimensions:
            yield from self._wrong_axes(data, dimensions[0])
            yield from self._sizes(data)
            yield from self._values(data)
            yield from self._spacings(data)

    def _wrong_axes(self, data: DataSpec, axes: int) -> Iterator[Problem]:
        given: dict[str, Sequence[float] | None] = {"size": data.size, "spacing_mm": data.spacing_mm}
        given["patches.size"] = data.patches.size if data.patches else None
        order = "height, width" if axes == _PLANE else "depth, height, width"
        for name, value in given.items():
            if value is not None and (len(value) != axes or not min(value) > 0):
                fix = f"give {axes} numbers above 0: {order}"
                yield Problem(f"`{name}: {list(value)}` does not fit images of {axes} axes", fix=fix)

    def _sizes(self, data: DataSpec) -> Iterator[Problem]:
        if data.size is None and data.resize != "refuse":
            yield Problem(f"`resize: {data.resize}` needs a size to reach", fix="add `size` to `data`")
        elif data.size is None and data.patches is None and len(self.sizes) > 1:
            fix = "add `size` and `resize: stretch` (or pad, crop) to `data`, or cut `patches`"
            yield Problem(f"images of different sizes: {_several(self.sizes, px)}", fix=fix)

    def _values(self, data: DataSpec) -> Iterator[Problem]:
        if data.channels is None and len(self.channels) > 1:
            fix = "add `channels: grey` or `channels: rgb` to `data`"
            yield Problem(f"grey and colour images are mixed: {_several(self.channels, str)}", fix=fix)
        if data.window is None and None in self.ranges:
            text = f"floating-point files do not say which numbers are black and white: {listed(self.ranges[None])}"
            yield Problem(text, fix="add `window: [low, high]` or `window: {percentiles: [0.5, 99.5]}` to `data`")
        elif data.window is None and len(self.ranges) > 1:
            text = f"files of different integer ranges: {_several(self.ranges, str)}"
            yield Problem(text, fix="add `window: [low, high]` to `data`")

    def _spacings(self, data: DataSpec) -> Iterator[Problem]:
        headers = {spacing: files for spacing, files in self.spacings.items() if spacing is not None}
        first = next(iter(headers), None)
        if data.resize != "stretch" and first is not None and not all(close(first, s) for s in headers):
            fix = "resample the files to one spacing, or use `resize: stretch` where the spacing does not matter"
            yield Problem(f"files of different spacing in mm: {_several(headers, str)}", fix=fix)
        other = {s: files for s, files in headers.items() if data.spacing_mm and not close(s, data.spacing_mm)}
        if other:
            text = f"`spacing_mm: {list(data.spacing_mm or ())}` contradicts the file headers: {_several(other, str)}"
            yield Problem(text, fix="leave `spacing_mm` out, or correct the files")


def _several(values: Mapping[Any, list[str]], show: Any) -> str:
    return listed(f"{show(value)} in {len(files)} of them ({files[0]})" for value, files in values.items())


def px(size: Sequence[int]) -> str:
    """Return a size in words: `128 x 96 px`."""
    return " x ".join(str(n) for n in size) + " px"


def close(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether two spacings are the same within the rounding of file headers."""
    return len(one) == len(other) and np.allclose(one, other, rtol=_SPACING_TOLERANCE, atol=0.0)


class OrderStatistics:
    """Exact order statistics of a stream of float32 numbers in two passes: the sorted upper half of the bits, then the lower.

    The bit pattern of a float32, with the sign handled, sorts as the number does; 65,536 counts per pass are all that is kept.
    """

    def __init__(self) -> None:
        self._upper = np.zeros(1 << _HALF, dtype=np.int64)
        self._lower: dict[int, np.ndarray] = {}

    @property
    def n(self) -> int:
        """How many numbers the first pass saw."""
        return int(self._upper.sum())

    def coarse(self, values: np.ndarray) -> None:
        """First pass."""
        self._upper += np.bincount(_keys(values) >> _HALF, minlength=len(self._upper))

    def fine(self, values: np.ndarray, ranks: Sequence[int]) -> None:
        """Second pass, for these ranks (0 = smallest)."""
        keys = _keys(values)
        for bucket in {self._bucket(rank) for rank in ranks}:
            lower = keys[keys >> _HALF == bucket] & ((1 << _HALF) - 1)
            counts = np.bincount(lower, minlength=1 << _HALF)
            self._lower[bucket] = self._lower.get(bucket, 0) + counts

    def value(self, rank: int) -> float:
        """Return the number of this rank."""
        bucket = self._bucket(rank)
        rest = rank - int(self._upper[:bucket].sum())
        key = (bucket << _HALF) | int(np.searchsorted(np.cumsum(self._lower[bucket]), rest, side="right"))
        bits = key ^ (1 << 31) if key >> 31 else key ^ 0xFFFFFFFF
        return float(np.array([bits], dtype=np.uint32).view(np.float32)[0])

    def _bucket(self, rank: int) -> int:
        return int(np.searchsorted(np.cumsum(self._upper), rank, side="right"))


def _keys(values: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(values, dtype=np.float32).ravel().view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)).astype(np.int64)


def read_mask(entry: Entry, size: tuple[int, ...], rule: MaskRule, complaints: Complaints) -> np.ndarray | None:
    """Return the regions of an image of this size, uint8; None, with a complaint, where they cannot be read or do not fit."""
    if entry.mask is None:
        return None
    try:
        raw = imagefiles.decode_mask(entry.mask)
    except InputError as error:
        complaints.single += error.problems
        return None
    if raw.shape != size:
        complaints.add(entry.path, f"the mask is {px(raw.shape)}, the image {px(size)}", "make each mask the size of its image")
        return None
    if rule.regions is None:
        return (raw > 0).astype(np.uint8)
    mask = np.zeros(raw.shape, dtype=np.uint8)
    for region, value in enumerate(rule.regions, start=1):
        mask[raw == value] = region
    return mask


def in_channels(pixels: np.ndarray, channels: Channels | None) -> np.ndarray:
    """(C, ...) -> grey (1, ...) or rgb (3, ...); None leaves them."""
    if channels == "grey" and len(pixels) > 1:
        return np.tensordot(_LUMA, pixels, axes=1).astype(np.float32)[None]
    return np.repeat(pixels, 3, axis=0) if channels == "rgb" and len(pixels) == 1 else pixels


def in_window(pixels: np.ndarray, window: tuple[float, float]) -> tuple[np.ndarray, int]:
    """Return float32 pixels in [0, 1], and how many were outside the window."""
    values = pixels.astype(np.result_type(pixels.dtype, np.float32), copy=False)
    low, high = (values.dtype.type(end) for end in window)
    outside = int(np.count_nonzero((values < low) | (values > high)))
    return np.clip((values - low) / (high - low), 0.0, 1.0).astype(np.float32), outside


def new_spacing(spacing: Sequence[float], old: Sequence[int], new: Sequence[int] | None, resize: Resize) -> tuple[float, ...]:
    """Return the spacing after resizing: stretching keeps the field of view, padding and cropping keep the spacing."""
    if new is None or resize != "stretch" or len(new) != len(old):
        return tuple(spacing)
    return tuple(s * a / b for s, a, b in zip(spacing, old, new, strict=True))


def misfit(old: Sequence[int], new: Sequence[int], resize: Resize) -> str:
    """Return why an image of the old size cannot be given the new one; empty where it can."""
    if tuple(old) == tuple(new):
        return ""
    if len(old) != len(new) or resize == "refuse":
        return f"an image of {px(old)} where {px(new)} are expected"
    if (resize == "pad" and any(a > b for a, b in zip(old, new, strict=True))) or (
        resize == "crop" and any(a < b for a, b in zip(old, new, strict=True))
    ):
        return f"an image of {px(old)} cannot be made {px(new)} by `resize: {resize}`"
    return ""


def resized(array: np.ndarray, size: Sequence[int], resize: Resize, *, nearest: bool = False) -> np.ndarray:
    """(C, ...) -> the same at this size; nearest: pick the nearest pixel (masks) instead of averaging."""
    for axis, new in enumerate(size, start=1):
        old = array.shape[axis]
        if old == new:
            continue
        if resize == "pad":
            before = (new - old) // 2
            array = np.pad(array, [(before, new - old - before) if k == axis else (0, 0) for k in range(array.ndim)])
        elif resize == "crop":
            start = (old - new) // 2
            array = np.take(array, np.arange(start, start + new), axis=axis)
        elif nearest:
            array = np.take(array, ((np.arange(new) + 0.5) * old / new).astype(int), axis=axis)
        else:
            array = np.moveaxis(np.tensordot(_weights(old, new), array, axes=(1, axis)), 0, axis)
    return array if nearest else np.clip(array, 0.0, 1.0).astype(np.float32)


def _weights(old: int, new: int) -> np.ndarray:
    """(new, old): shares of old pixels in each new one when shrinking; linear interpolation of centres when growing."""
    edges = np.arange(new + 1) * old / new
    cells = np.arange(old)
    if new < old:
        overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
        return np.asarray(np.clip(overlap, 0.0, None) * new / old, dtype=np.float32)
    centres = np.clip((edges[:-1] + edges[1:]) / 2 - 0.5, 0, old - 1)
    return np.asarray(np.clip(1.0 - np.abs(centres[:, None] - cells), 0.0, None), dtype=np.float32)
