"""Folders of image files -> ImageSet, every arm through the same preprocessing; image sets on disk; splits; overlaps.

Patients never leave by name: an image gets a pseudonym, and its id has the pseudonym where the name was. Preprocessing is
fitted on the real training files alone. Grey is ITU-R BT.601 luma; the window becomes [0, 1]; sizes are reached by area
averaging (down) and linear interpolation (up), by padding with the lower end of the window, or by cropping about the centre.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import json
import re
import shutil
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, Self, TypeVar

import numpy as np

from . import imagefiles
from .errors import InputError, Problem, raise_if
from .imagefiles import Decoded
from .images import ImageSet, Origin
from .spec import Attribute, CsvTable, DataSpec, Layout, MaskRule, Patches, Percentiles, digest

_SHOWN = 3
_CONCEPT = {"0": 0, "1": 1, "false": 0, "true": 1, "no": 0, "yes": 1}


@dataclass(frozen=True)
class Entry:
    """One image to be: its files (several for a series), its mask, and what is known of it.

    path: below the arm's folder, as the user named it: for messages, never stored. id: the same without extension and patient.
    """

    id: str
    path: str
    files: tuple[Path, ...]
    series: bool = False
    mask: Path | None = None
    label: str | None = None
    patient: str | None = None
    groups: dict[str, str] = field(default_factory=dict)
    concepts: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Catalogue:
    """The images of one folder. ignored: files of other types, by extension. absent: what no synthetic file states."""

    entries: tuple[Entry, ...]
    ignored: dict[str, int]
    absent: tuple[str, ...]
    problems: tuple[Problem, ...]


class Complaints:
    """Collects what is wrong with files, so that a fault of five hundred files is one problem with a count and three names."""

    def __init__(self, where: Path) -> None:
        self.where = where
        self.single: list[Problem] = []
        self._files: dict[tuple[str, str], list[str]] = defaultdict(list)

    def add(self, file: str, what: str, fix: str = "") -> None:
        """Note that this file has this fault."""
        self._files[what, fix].append(file)

    def problems(self) -> tuple[Problem, ...]:
        """Return one problem for each fault."""
        grouped = (Problem(f"{what}: {listed(files)}", str(self.where), fix) for (what, fix), files in self._files.items())
        return (*self.single, *grouped)


def listed(names: Iterable[str]) -> str:
    """Return `a, b, c and 7 more`."""
    names = list(names)
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def pseudonym(patient: str, salt: bytes) -> str:
    """Return a name that only the holder of the salt can link to the patient: 10 hex digits of HMAC-SHA256 (RFC 2104)."""
    return f"p-{hmac.new(salt, patient.encode(), 'sha256').hexdigest()[:10]}"


@dataclass(frozen=True)
class Source:
    """The files that make one image: its path below the arm's folder, the files, its mask where there is a rule and a file."""

    path: PurePosixPath
    files: tuple[Path, ...]
    series: bool = False
    mask: Path | None = None

    @property
    def id(self) -> str:
        """The path without extension."""
        return str(self.path if self.series else self.path.with_name(imagefiles.stem(self.files[0])))


def sources(folder: Path, layout: Layout, *, series: bool, complaints: Complaints) -> tuple[list[Source], dict[str, int]]:
    """Return the images below a folder in the order of their paths, and how many files of other types there are."""
    paths = _files(folder, layout.files, complaints)
    masks = _is_mask(folder, layout.masks)
    kept: list[Path] = []
    ignored: Counter[str] = Counter()
    for path in paths:
        if imagefiles.kind_of(path) is None:
            ignored[path.suffix.lower() or "no extension"] += path.suffix.lower() != ".csv"
        elif not masks(path):
            kept.append(path)
    found = list(_grouped(folder, kept, series))
    if not found and not complaints.single:
        fix = f"formats: {imagefiles.FORMATS}; `files` is {layout.files!r}"
        complaints.single.append(Problem(f"no images in {len(paths)} files", str(folder), fix))
    if layout.masks is not None:
        found = _with_masks(folder, layout.masks, found, complaints)
    return found, {name: n for name, n in sorted(ignored.items()) if n}


def _files(folder: Path, pattern: str, complaints: Complaints) -> list[Path]:
    if not folder.exists():
        complaints.single.append(Problem("no such folder", str(folder), "correct the path in `data`, or create the folder"))
        return []
    if not folder.is_dir():
        complaints.single.append(Problem("is a file, not a folder", str(folder), "name the folder that holds the images"))
        return []
    try:
        found = [path for path in folder.glob(pattern) if path.is_file()]
    except (ValueError, NotImplementedError, IndexError) as error:
        text = f"`files: {pattern}` is not a pattern: {error}"
        complaints.single.append(Problem(text, str(folder), "for example '**/*.png'"))
        return []
    visible = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return sorted(set(visible), key=lambda path: path.relative_to(folder).as_posix())


def _grouped(folder: Path, files: list[Path], series: bool) -> Iterator[Source]:
    slices: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        if series and imagefiles.kind_of(path) == "dicom":
            slices[path.parent].append(path)
        else:
            yield Source(PurePosixPath(path.relative_to(folder)), (path,))
    for parent, paths in slices.items():
        yield Source(PurePosixPath(parent.relative_to(folder) if parent != folder else folder.name), tuple(paths), series=True)


def _mask_folder(folder: Path, rule: MaskRule | None) -> Path | None:
    return None if rule is None or rule.folder is None else (folder / rule.folder).resolve()


def _is_mask(folder: Path, rule: MaskRule | None) -> Callable[[Path], bool]:
    below, suffix = _mask_folder(folder, rule), rule.suffix if rule else None
    if below is not None:
        return lambda path: below in path.resolve().parents
    return lambda path: suffix is not None and imagefiles.stem(path).endswith(suffix)


def _with_masks(folder: Path, rule: MaskRule, found: list[Source], complaints: Complaints) -> list[Source]:
    """Give each image the file named like it plus the suffix; an image alone in its folder gets any file with the suffix."""
    below = _mask_folder(folder, rule)
    alone = Counter(source.path.parent for source in found)

    @cache
    def stems(parent: Path) -> dict[str, list[Path]]:
        named: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(parent.iterdir()) if parent.is_dir() else []:
            if path.is_file() and not path.name.startswith(".") and imagefiles.kind_of(path) is not None:
                named[imagefiles.stem(path)].append(path)
        return named

    def candidates(source: Source) -> list[Path]:
        place = PurePosixPath(source.id)
        if below is None:
            beside = stems((folder / source.path).parent if source.path.name != folder.name else source.files[0].parent)
            exact = beside.get(place.name + str(rule.suffix), [])
            loose = [p for name, paths in beside.items() if name.endswith(str(rule.suffix)) for p in paths]
            return exact or (loose if alone[source.path.parent] == 1 else [])
        return stems(below / place.parent).get(place.name, []) or stems(below.joinpath(*place.parts[1:-1])).get(place.name, [])

    matched = []
    for source in found:
        masks = candidates(source)
        if len(masks) > 1:
            complaints.add(str(source.path), "more than one mask fits", "keep one mask for each image")
        matched.append(Source(source.path, source.files, source.series, masks[0] if masks else None))
    return matched


class _Table:
    """The rows of the csv file by path or file name."""

    def __init__(self, folder: Path, table: CsvTable, columns: Iterable[str], complaints: Complaints) -> None:
        self.rows: dict[str, dict[str, str]] = {}
        self.columns: tuple[str, ...] = ()
        self.used: dict[str, str] = {}
        self.path = folder / table.path
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                top = file.readline()
                file.seek(0)
                reader = csv.DictReader(file, delimiter=max(",;\t", key=top.count))
                names = tuple(reader.fieldnames or ())
                rows = [{k: (v or "").strip() for k, v in row.items() if isinstance(v, str | None) and k} for row in reader]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            complaints.single.append(Problem(f"the table cannot be read: {error}", str(self.path), "save it as CSV in UTF-8"))
            return
        self.columns = names if table.id in names else ()
        for column in dict.fromkeys((table.id, *columns)):
            if column not in names:
                fix = f"columns: {', '.join(names) or 'none'}"
                complaints.single.append(Problem(f"no column {column!r}", str(self.path), fix))
        twice = [name for name, n in Counter(row.get(table.id, "").replace("\\", "/") for row in rows).items() if n > 1]
        if twice and table.id in names:
            text = f"{len(twice)} entries of {table.id!r} occur more than once: {listed(twice)}"
            complaints.single.append(Problem(text, str(self.path), "keep one row for each file"))
        self.rows = {row[table.id].replace("\\", "/"): row for row in rows if row.get(table.id)}

    def row(self, source: Source, complaints: Complaints) -> dict[str, str]:
        """Return the row of an image by path or file name, with or without extension."""
        for key in (str(source.path), source.id, source.path.name, PurePosixPath(source.id).name):
            if key in self.rows:
                if self.used.setdefault(key, source.id) != source.id:
                    complaints.add(f"{self.used[key]} and {source.id}", f"one row of {self.path.name} fits two files",
                                   "write the path below the folder into the table")  # fmt: skip
                return self.rows[key]
        return {}


def catalogue(folder: Path, layout: Layout, *, role: str, salt: bytes, series: bool = False) -> Catalogue:
    """List the images of one arm with masks, labels, patients, groups and concepts; faults come along, they are not raised.

    Synthetic files may lack any of these altogether; what some have and some lack is a fault in every arm.
    """
    complaints = Complaints(folder)
    found, ignored = sources(folder, layout, series=series, complaints=complaints)
    _refuse_twins(found, complaints)
    asked = {"label": layout.labels, "patient": layout.patients, **{f"group {k}": v for k, v in layout.groups.items()}}
    rules = _Rules(folder, layout, {name: rule for name, rule in asked.items() if rule is not None}, complaints)
    entries, missing = [], defaultdict(list)
    for source in found:
        known = rules.values(source)
        for name, value in known.items():
            if value is None:
                missing[name].append(str(source.path))
        entries.append(_entry(source, known, layout, salt))
    absent = tuple(name for name, files in missing.items() if role == "synthetic" and len(files) == len(found))
    for name, files in missing.items():
        if name not in absent:
            text = f"{len(files)} of {len(found)} images have no {name} ({rules.text(name)}): {listed(files)}"
            complaints.single.append(Problem(text, str(folder), "complete them, correct the rule in `data`, or leave it out"))
    return Catalogue(tuple(entries), ignored, absent, complaints.problems())


def _refuse_twins(found: list[Source], complaints: Complaints) -> None:
    paths: dict[str, list[str]] = defaultdict(list)
    for source in found:
        paths[source.id].append(str(source.path))
    for same in paths.values():
        if len(same) > 1:
            what = "files that differ in their extension only have one id"
            complaints.add(" and ".join(same), what, "keep one of them, or narrow `files`")


def _entry(source: Source, known: dict[str, str | None], layout: Layout, salt: bytes) -> Entry:
    name = known.get("patient")
    patient = None if name is None else pseudonym(name, salt)
    concepts = [_CONCEPT.get(known.get(f"concept {concept}") or "", 0) for concept in layout.concepts]
    return Entry(
        id=source.id if name is None or patient is None else source.id.replace(name, patient),
        path=str(source.path), files=source.files, series=source.series, mask=source.mask,
        label=known.get("label"), patient=patient,
        groups={group: value for group in layout.groups if (value := known.get(f"group {group}")) is not None},
        concepts=tuple(concepts) if layout.concepts else None,
    )  # fmt: skip


class _Rules:
    """Reads what the layout asks for; a rule that cannot work is said once and then leaves its values out."""

    def __init__(self, folder: Path, layout: Layout, attributes: dict[str, Attribute], complaints: Complaints) -> None:
        self.layout, self.attributes, self.complaints = layout, attributes, complaints
        self.patterns: dict[str, re.Pattern[str]] = {}
        for name, attribute in attributes.items():
            try:
                self.patterns[name] = re.compile(attribute.pattern or "")
            except re.error as error:
                text = f"pattern {attribute.pattern!r} of the {name} is not a regular expression: {error}"
                complaints.single.append(Problem(text, "data", "test it on one of your file names"))
        columns = [a.column for a in attributes.values() if a.column is not None] + list(layout.concepts)
        self.table: _Table | None = None
        if layout.csv is not None:
            self.table = _Table(folder, layout.csv, columns, complaints)
        elif columns:
            fix = "add csv: {path: table.csv, id: file}"
            complaints.single.append(Problem(f"{', '.join(columns)} need a table", "data.csv", fix))
        usable = self.table.columns if self.table is not None else ()
        self.concepts = [name for name in layout.concepts if name in usable]
        self.working = {n: a for n, a in attributes.items() if n in self.patterns and (a.column is None or a.column in usable)}

    def values(self, source: Source) -> dict[str, str | None]:
        """Return what is known of an image; None where it should be and is not."""
        row = self.table.row(source, self.complaints) if self.table is not None else {}
        known: dict[str, str | None] = {}
        try:
            known = {name: _value(source, rule, row, self.patterns[name]) for name, rule in self.working.items()}
        except InputError as error:
            self.complaints.single += error.problems
        for name in self.concepts:
            value = row.get(name, "").lower()
            known[f"concept {name}"] = value if value in _CONCEPT else None
        if self.layout.masks is not None:
            known["mask"] = None if source.mask is None else source.mask.name
        return known

    def text(self, name: str) -> str:
        """Return the rule behind a value, in the words of `model.yaml`."""
        if name == "mask" and self.layout.masks is not None:
            rule = self.layout.masks
            return f"suffix {rule.suffix!r}" if rule.suffix is not None else f"folder {rule.folder!r}"
        if name not in self.attributes:
            return "its column holds 0 or 1"
        return ", ".join(f"{key} {value}" for key, value in self.attributes[name].model_dump(exclude_none=True).items())


def _value(source: Source, attribute: Attribute, row: dict[str, str], pattern: re.Pattern[str]) -> str | None:
    inside = source.path / source.files[0].name if source.series else source.path
    if attribute.folder is not None:
        parts = inside.parent.parts
        return parts[-attribute.folder] if attribute.folder <= len(parts) else None
    if attribute.column is not None:
        return row.get(attribute.column) or None
    if attribute.header is not None:
        return imagefiles.header(source.files[0], [attribute.header]).get(attribute.header)
    match = pattern.search(str(inside))
    return None if match is None else match.group(1 if pattern.groups else 0) or None


def decoded(arm: Catalogue, complaints: Complaints) -> Iterator[tuple[Entry, Decoded]]:
    """Read the images of an arm one by one; those that cannot be read become complaints."""
    for entry in arm.entries:
        try:
            image = imagefiles.decode_series(entry.files) if entry.series else imagefiles.decode(entry.files[0])
        except InputError as error:
            complaints.single += error.problems
        else:
            yield entry, image


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
    """Return the layout with its table below `base`; left alone, a relative table is looked up in the arm's folder."""
    if layout.csv is None:
        return layout
    return layout.model_copy(update={"csv": layout.csv.model_copy(update={"path": str(base.resolve() / layout.csv.path)})})


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
            "origin": images.origin, "groups": None if images.groups is None else list(images.groups),
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


__all__ = [
    "Loaded", "Note", "Overlap", "Preprocessing", "anchored", "digest_files", "fit_preprocessing", "load", "open_saved",
    "overlaps", "save", "split_validation",
]  # fmt: skip
_EXAMPLES = 5
NoteKind = Literal["outside_window", "spacing_assumed", "spacing_varies", "files_ignored", "channels_converted", "not_stated"]


@dataclass(frozen=True)
class Note:
    """Something that loading met and a reader must know; without file names, since these may name patients."""

    kind: NoteKind
    text: str
    count: int = 0


@dataclass(frozen=True)
class Loaded:
    """The images of one arm, and the notes taken on the way."""

    images: ImageSet
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Overlap:
    """Patients or identical pixels that two sets share. examples: up to five ids of the second set (patients: pseudonyms)."""

    kind: Literal["patients", "pixels"]
    text: str
    count: int
    examples: tuple[str, ...]


def digest_files(folder: Path, layout: Layout) -> str:
    """Return the SHA-256 of names and bytes of all files that the layout selects: images, masks and the table."""
    complaints = Complaints(folder)
    found, _ = sources(folder, layout, series=False, complaints=complaints)
    files = [(f"image {source.path}", source.files[0]) for source in found]
    files += [(f"mask {source.path}", source.mask) for source in found if source.mask is not None]
    if layout.csv is not None:
        files.append(("table", folder / layout.csv.path))
    total = hashlib.sha256()
    for name, path in files:
        try:
            with path.open("rb") as file:
                total.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\0".encode())
        except OSError as error:
            text = f"cannot be read: {error.strerror}"
            complaints.single.append(Problem(text, str(path), "correct the path or its permissions"))
    raise_if(complaints.problems(), InputError)
    return total.hexdigest()


def load(
    data: DataSpec, folder: Path, layout: Layout, preprocessing: Preprocessing, *,
    role: str, salt: bytes, seed: int, origin: Origin, store_in: Path | None = None,
) -> Loaded:  # fmt: skip
    """Read one arm; with `store_in`, pixels and masks are written into that folder and the set reads them from there."""
    arm = catalogue(folder, layout, role=role, salt=salt, series=data.series)
    has = {name for name in ("mask", "label", "patient") if name not in arm.absent}
    rule = layout.masks if "mask" in has else None
    reader = _Reader(data, preprocessing, rule, Complaints(folder), seed)
    classes = {name: k for k, name in enumerate(preprocessing.label_names or ())}
    for entry in arm.entries:
        if entry.label is not None and entry.label not in classes:
            known = ", ".join(classes) or "none, since the training set has no labels"
            reader.complaints.add(entry.path, f"unknown label {entry.label!r}", f"known labels: {known}")
    pixels, masks = Sink(store_in, "images"), Sink(store_in, "masks")
    kept: list[tuple[str, Entry]] = []
    try:
        for entry, image in decoded(arm, reader.complaints):
            for k, (part, mask) in enumerate(reader.parts(entry, image)):
                pixels.add(part)
                if mask is not None:
                    masks.add(mask)
                kept.append((f"{entry.id}#{k}" if preprocessing.patches else entry.id, entry))
        raise_if((*arm.problems, *reader.complaints.problems()), InputError)
        stacked = pixels.array(), masks.array() if rule is not None else None
    finally:
        pixels.close()
        masks.close()
    entries = [entry for _, entry in kept]
    labels = [classes[e.label or ""] for e in entries] if layout.labels and "label" in has else None
    groups = {n: np.array([e.groups[n] for e in entries]) for n in layout.groups if f"group {n}" not in arm.absent}
    with_concepts = layout.concepts and not {f"concept {name}" for name in layout.concepts} & set(arm.absent)
    images = ImageSet(
        images=stacked[0],
        ids=tuple(name for name, _ in kept),
        spacing_mm=preprocessing.spacing_mm,
        masks=stacked[1],
        labels=None if labels is None else np.array(labels, dtype=np.int64),
        concepts=np.array([e.concepts for e in entries], dtype=np.uint8) if with_concepts else None,
        patients=tuple(e.patient or "" for e in entries) if layout.patients and "patient" in has else None,
        groups=groups or None,
        origin=origin,
    )
    return Loaded(images, (*reader.notes(), *_catalogue_notes(arm)))


def _catalogue_notes(arm: Catalogue) -> Iterator[Note]:
    if arm.ignored:
        kinds = ", ".join(f"{n} {name}" for name, n in arm.ignored.items())
        yield Note("files_ignored", f"files of other types were left out: {kinds}", sum(arm.ignored.values()))
    for name in arm.absent:
        yield Note("not_stated", f"no file states a {name}; these images go without", len(arm.entries))


class _Reader:
    """Takes decoded files through the preprocessing, counting what a reader must know."""

    def __init__(
        self, data: DataSpec, preprocessing: Preprocessing, rule: MaskRule | None, complaints: Complaints, seed: int
    ) -> None:
        self.data, self.preprocessing, self.rule, self.complaints, self.seed = data, preprocessing, rule, complaints, seed
        self.images = self.values = self.outside = self.images_outside = self.converted = self.without_spacing = 0
        self.spacings: set[tuple[float, ...]] = set()

    def parts(self, entry: Entry, image: Decoded) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Yield the image, or its patches, with the mask; nothing where something is wrong with it."""
        p = self.preprocessing
        mask = None if self.rule is None else read_mask(entry, image.size_px, self.rule, self.complaints)
        fits = self._fits(entry, image)
        self._count_spacing(entry, image)
        self.converted += (len(image.pixels) > 1) != (p.channels == "rgb")
        pixels, outside = in_window(in_channels(image.pixels, p.channels), p.window)
        self.images, self.values = self.images + 1, self.values + pixels.size
        self.outside, self.images_outside = self.outside + outside, self.images_outside + bool(outside)
        if outside and p.outside == "refuse":
            self.complaints.add(entry.path, f"pixels outside the window [{p.window[0]:g}, {p.window[1]:g}]",
                                "widen `window`, or say `outside: clip`")  # fmt: skip
            return
        if not fits or (mask is None and self.rule is not None):
            return
        if p.size_px is not None and p.size_px != image.size_px:
            pixels = resized(pixels, p.size_px, p.resize)
            mask = None if mask is None else resized(mask[None], p.size_px, p.resize, nearest=True)[0]
        if p.patches is None:
            yield pixels, mask
            return
        for corner in self._corners(entry, pixels.shape[1:], mask):
            cut = tuple(slice(c, c + n) for c, n in zip(corner, p.patches.size, strict=True))
            yield pixels[(slice(None), *cut)], None if mask is None else mask[cut]

    def _fits(self, entry: Entry, image: Decoded) -> bool:
        p = self.preprocessing
        what, fix = "", "correct the file, or add `size` and `resize` to `data`"
        if len(image.size_px) != len(p.spacing_mm):
            what = f"an image of {len(image.size_px)} axes where the training files have {len(p.spacing_mm)}"
        elif p.size_px is not None:
            what = misfit(image.size_px, p.size_px, p.resize)
        if not what and p.patches is not None:
            size = p.size_px or image.size_px
            if any(n > s for n, s in zip(p.patches.size, size, strict=True)):
                what, fix = f"an image of {px(size)} has no room for a patch of {px(p.patches.size)}", "cut smaller `patches`"
        if not what and p.window_from == "file type" and image.value_range != p.window:
            kind = "floating point" if image.value_range is None else f"{image.value_range[0]:g} to {image.value_range[1]:g}"
            what = f"numbers of type {kind} where the training files have {p.window[0]:g} to {p.window[1]:g}"
            fix = "save all arms in one type, or add `window: [low, high]` to `data`"
        if what:
            self.complaints.add(entry.path, what, fix)
        return not what

    def _count_spacing(self, entry: Entry, image: Decoded) -> None:
        p, stated = self.preprocessing, image.spacing_mm
        self.without_spacing += stated is None
        if stated is None and self.data.spacing_mm is None:
            return
        spacing = new_spacing(stated or self.data.spacing_mm or (), image.size_px, p.size_px, p.resize)
        self.spacings.add(tuple(round(s, 4) for s in spacing))
        if stated is not None and self.data.spacing_mm is not None and not close(stated, self.data.spacing_mm):
            self.complaints.add(entry.path, f"the header says {_mm(stated)}, `spacing_mm` says {_mm(self.data.spacing_mm)}",
                                "leave `spacing_mm` out, or correct the file")  # fmt: skip
        elif p.resize != "stretch" and not close(spacing, p.spacing_mm):
            other = "state none" if p.spacing_from == "assumed" else f"have {_mm(p.spacing_mm)}"
            self.complaints.add(entry.path, f"a spacing of {_mm(spacing)} where the training files {other}",
                                "resample to one spacing, or declare `spacing_mm`")  # fmt: skip

    def _corners(self, entry: Entry, size: tuple[int, ...], mask: np.ndarray | None) -> Iterator[tuple[int, ...]]:
        """Yield patch corners drawn with the seed and the path alone, so that other files and the salt do not move them."""
        patches = self.preprocessing.patches
        if patches is None or size == patches.size:
            yield (0,) * len(size)
            return
        inside = np.flatnonzero(mask) if patches.inside_mask and mask is not None else None
        if patches.inside_mask and (inside is None or not len(inside)):
            self.complaints.add(entry.path, "patches are to lie inside the mask, and it is absent or empty",
                                "leave these files out by `files`, or drop `inside_mask`")  # fmt: skip
            return
        rng = np.random.default_rng([self.seed, int(hashlib.sha256(entry.path.encode()).hexdigest()[:16], 16)])
        room = np.array(size) - np.array(patches.size)
        for _ in range(patches.per_image):
            corner = rng.integers(0, room, endpoint=True)
            if inside is not None:
                centre = np.unravel_index(int(rng.choice(inside)), size)
                corner = np.clip(np.array(centre) - np.array(patches.size) // 2, 0, room)
            yield tuple(int(c) for c in corner)

    def notes(self) -> Iterator[Note]:
        """Yield what was counted."""
        p = self.preprocessing
        if self.outside:
            share = f"{self.outside:,} of {self.values:,} pixel values ({self.outside / self.values:.2%})"
            where = f"in {self.images_outside:,} of {self.images:,} images"
            text = f"{share} {where} lie outside the window [{p.window[0]:g}, {p.window[1]:g}] and were set to its ends"
            yield Note("outside_window", text, self.outside)
        if self.without_spacing and self.data.spacing_mm is None:
            source = "1 mm per pixel" if p.spacing_from == "assumed" else "that of the training files"
            text = f"{self.without_spacing:,} of {self.images:,} files state no spacing; {source} was assumed"
            yield Note("spacing_assumed", text, self.without_spacing)
        if p.resize == "stretch" and any(not close(s, p.spacing_mm) for s in self.spacings):
            low, high = (_mm(tuple(float(v) for v in f(list(self.spacings), axis=0))) for f in (np.min, np.max))
            text = f"stretched to {px(p.size_px or ())}, spacings are from {low} to {high}; {_mm(p.spacing_mm)} stands for all"
            yield Note("spacing_varies", text, len(self.spacings))
        if self.converted:
            text = f"{self.converted:,} of {self.images:,} files were converted to {p.channels}"
            yield Note("channels_converted", text, self.converted)


def _mm(spacing: tuple[float, ...]) -> str:
    return " x ".join(f"{s:.4g}" for s in spacing) + " mm"


def split_validation(train: ImageSet, share: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Split off a share of the patients for validation: (training, validation), each label in proportion as far as they allow.

    Patients with the same set of labels form a stratum; strata are served by the method of largest remainders.
    """
    units = train.units
    n = int(units.max(initial=-1)) + 1
    if n < 2:
        raise InputError(Problem("validation images need a second patient", "data.patients", "name a `validation` folder"))
    strata: dict[tuple[int, ...], list[int]] = {}
    for unit in range(n):
        labels = () if train.labels is None else tuple(int(v) for v in np.unique(train.labels[units == unit]))
        strata.setdefault(labels, []).append(unit)
    rng = np.random.default_rng(seed)
    wanted = min(max(round(share * n), 1), n - 1)
    keys = sorted(strata)
    exact = [wanted * len(strata[key]) / n for key in keys]
    counts = [int(value) for value in exact]
    for k in sorted(range(len(keys)), key=lambda k: (counts[k] - exact[k], k))[: wanted - sum(counts)]:
        counts[k] += 1
    chosen = [unit for key, count in zip(keys, counts, strict=True) for unit in rng.permutation(strata[key])[:count]]
    held = np.isin(units, chosen)
    return train.take(~held), train.take(held)


def overlaps(train: ImageSet, test: ImageSet) -> list[Overlap]:
    """Return shared patients, and images of `test` whose pixels after preprocessing are those of an image of `train`."""
    found = []
    if train.patients is not None and test.patients is not None:
        theirs = set(train.patients)
        shared = [patient for patient in dict.fromkeys(test.patients) if patient in theirs]
        if shared:
            images = sum(patient in theirs for patient in test.patients)
            text = f"{len(shared)} of {test.n_patients} patients, with {images} of {len(test)} images, are in both sets"
            found.append(Overlap("patients", text, len(shared), tuple(shared[:_EXAMPLES])))
    if train.images.shape[1:] == test.images.shape[1:]:
        known = {_fingerprint(image) for image in train.images}
        same = [name for name, image in zip(test.ids, test.images, strict=True) if _fingerprint(image) in known]
        if same:
            text = f"{len(same)} of {len(test)} images have exactly the pixels of an image of the other set"
            found.append(Overlap("pixels", text, len(same), tuple(same[:_EXAMPLES])))
    return found


def _fingerprint(image: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()
