"""Which files of a folder are images, and what paths, tables and headers say of them.

Patients never leave this module by name: an image gets a pseudonym, and its id has the pseudonym where the path has the name.
Where the path may spell the name in another way, as it may when names come from a table or a header, the id tells nothing of it.
"""

from __future__ import annotations

import csv
import hmac
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

from . import imagefiles, seriesfiles
from .errors import InputError, Problem
from .imagefiles import Decoded
from .spec import Attribute, CsvTable, Layout, MaskRule

MASK_SUFFIXES = ("_mask", "-mask", ".mask", "_seg", "-seg", "_segmentation", "_label", "_labels", "_roi", "_lesion", "_gt")
_SHOWN = 3
_CONCEPT = {"0": 0, "1": 1, "false": 0, "true": 1, "no": 0, "yes": 1}


@dataclass(frozen=True)
class Entry:
    """One image to be: its files (several for a series), its mask, and what is known of it.

    path: below the arm's folder, as the user named it: for messages, never stored; name: the same without extension. id: the
    name without the patient, or a digest of it.
    """

    id: str
    name: str
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


def signature(name: str, salt: bytes) -> str:
    """Return what stands for a file's name where the name itself, which may name a patient, must not be kept."""
    return hmac.new(salt, name.encode(), "sha256").hexdigest()


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
        return self.shown if self.series else str(self.path.with_name(imagefiles.stem(self.files[0])))

    @property
    def shown(self) -> str:
        """The path in messages; a series that lies in the arm's own folder has none."""
        return str(self.path) if self.path.name else "series"


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
    elif likely := _likely_masks(found):
        fix = f"say `masks: {{suffix: {likely[0]}}}`, or leave them out with `files`"
        complaints.single.append(Problem(f"{likely[1]} of {len(found)} files look like masks of others", str(folder), fix))
    return found, {name: n for name, n in sorted(ignored.items()) if n}


def _likely_masks(found: Sequence[Source]) -> tuple[str, int] | None:
    """Return the suffix of files that are called like another file, and how many there are; None where there are none."""
    stems = {str(source.path.with_name(imagefiles.stem(Path(source.path.name)))) for source in found if not source.series}
    counts = ((suffix, sum(f"{stem}{suffix}" in stems for stem in stems)) for suffix in MASK_SUFFIXES)
    return next(((suffix, n) for suffix, n in counts if n), None)


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
        yield Source(PurePosixPath(parent.relative_to(folder)), tuple(paths), series=True)


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
            beside = stems((folder / source.path).parent if source.path.name else folder)
            exact = beside.get(place.name + str(rule.suffix), [])
            loose = [p for name, paths in beside.items() if name.endswith(str(rule.suffix)) for p in paths]
            return exact or (loose if alone[source.path.parent] == 1 else [])
        return stems(below / place.parent).get(place.name, []) or stems(below.joinpath(*place.parts[1:-1])).get(place.name, [])

    matched = []
    for source in found:
        masks = candidates(source)
        if len(masks) > 1:
            complaints.add(source.shown, "more than one mask fits", "keep one mask for each image")
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
                missing[name].append(source.shown)
        entries.append(_entry(source, known, layout, role, salt))
    absent = tuple(name for name, files in missing.items() if role == "synthetic" and len(files) == len(found))
    for name, files in missing.items():
        if name not in absent:
            text = f"{len(files)} of {len(found)} images have no {name} ({rules.text(name)}): {listed(files)}"
            complaints.single.append(Problem(text, str(folder), "complete them, correct the rule in `data`, or leave it out"))
    return Catalogue(tuple(entries), ignored, absent, complaints.problems())


def _refuse_twins(found: list[Source], complaints: Complaints) -> None:
    paths: dict[str, list[str]] = defaultdict(list)
    for source in found:
        paths[source.id].append(source.shown)
    for same in paths.values():
        if len(same) > 1:
            what = "files that differ in their extension only have one id"
            complaints.add(" and ".join(same), what, "keep one of them, or narrow `files`")


def _public_id(source: Source, rule: Attribute | None, name: str | None, role: str, salt: bytes) -> str:
    """Return the path with the patient's name replaced; a digest of it where a real path may name the patient in other words."""
    elsewhere = rule is not None and (rule.column is not None or rule.header is not None)
    patient = None if name is None else pseudonym(name, salt)
    if role != "synthetic" and (elsewhere or imagefiles.kind_of(source.files[0]) == "dicom"):
        opaque = f"img-{signature(source.id, salt)[:16]}"
        return opaque if patient is None else f"{patient}/{opaque}"
    if name is None or patient is None:
        return source.id
    return re.sub(re.escape(name), patient, source.id, flags=re.IGNORECASE)


def _entry(source: Source, known: dict[str, str | None], layout: Layout, role: str, salt: bytes) -> Entry:
    name = known.get("patient")
    patient = None if name is None else pseudonym(name, salt)
    concepts = [_CONCEPT.get(known.get(f"concept {concept}") or "", 0) for concept in layout.concepts]
    return Entry(
        id=_public_id(source, layout.patients, name, role, salt),
        name=source.id, path=source.shown, files=source.files, series=source.series, mask=source.mask,
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
            if name != "patient" and attribute.header in imagefiles.IDENTIFYING:
                text = f"the {name} would be read from {attribute.header}, which leads to the patient, and stored as it is"
                fix = "read it from another header, a folder or a table; only `patients` may name patients"
                complaints.single.append(Problem(text, "data", fix))
                self.patterns.pop(name, None)
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
            image = seriesfiles.decode_series(entry.files) if entry.series else imagefiles.decode(entry.files[0])
        except InputError as error:
            complaints.single += error.problems
        else:
            yield entry, image
