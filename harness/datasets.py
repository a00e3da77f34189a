"""Folders of image files -> ImageSet, every arm through the same preprocessing; image sets on disk; splits; overlaps."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from .catalogue import Catalogue, Complaints, Entry, catalogue, decoded, signature, sources
from .errors import InputError, Problem, raise_if
from .imagefiles import Decoded, stem
from .images import ImageSet, Origin
from .preparation import (
    Preprocessing,
    anchored,
    close,
    fit_preprocessing,
    in_channels,
    in_window,
    located,
    misfit,
    new_spacing,
    px,
    read_mask,
    resized,
)
from .savedsets import Sink, open_saved, save
from .spec import DataSpec, Layout, MaskRule

__all__ = [
    "Fingerprints", "Loaded", "Note", "Overlap", "Preprocessing", "anchored", "digest_files", "fingerprints", "fit_preprocessing",
    "known_as", "load", "located", "open_saved", "overlaps", "save", "split_validation",
]  # fmt: skip
_EXAMPLES = 5
Fingerprints = tuple[tuple[str, str], ...]
NoteKind = Literal["outside_window", "spacing_assumed", "spacing_varies", "files_ignored", "channels_converted", "not_stated"]


@dataclass(frozen=True)
class Note:
    """Something that loading met and a reader must know; without file names, since these may name patients."""

    kind: NoteKind
    text: str
    count: int = 0


@dataclass(frozen=True)
class Loaded:
    """The images of one arm, the notes taken on the way, and ids by the signature of the name that the user knows the file by.

    fingerprints: id and digest of the pixels of each whole image, before patches are cut from it.
    """

    images: ImageSet
    notes: tuple[Note, ...] = ()
    names: dict[str, str] = field(default_factory=dict)
    fingerprints: Fingerprints = ()


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
        cut_from=tuple(entry.id for entry in entries) if preprocessing.patches else None,
    )
    names = {} if preprocessing.patches else _names(arm, salt)
    return Loaded(images, (*reader.notes(), *_catalogue_notes(arm)), names, tuple(reader.fingerprints))


def _names(arm: Catalogue, salt: bytes) -> dict[str, str]:
    """Return id by signature of the path without extension, and of the file's own name where only one file has it."""
    short = Counter(PurePosixPath(entry.name).name for entry in arm.entries)
    names = {signature(entry.name, salt): entry.id for entry in arm.entries}
    lone = [entry for entry in arm.entries if short[PurePosixPath(entry.name).name] == 1]
    return names | {signature(PurePosixPath(entry.name).name, salt): entry.id for entry in lone}


def known_as(item: str, names: Mapping[str, str], salt: bytes) -> str | None:
    """Return the id of the image that a user calls `item`: its path or file name, with or without extension."""
    plain = PurePosixPath(item)
    for name in (item, str(plain.with_name(stem(Path(plain.name)))) if plain.name else item):
        if signature(name, salt) in names:
            return names[signature(name, salt)]
    return None


def _catalogue_notes(arm: Catalogue) -> Iterator[Note]:
    if arm.ignored:
        kinds = ", ".join(f"{n} {name}" for name, n in arm.ignored.items())
        yield Note("files_ignored", f"files of other types were left out: {kinds}", sum(arm.ignored.values()))
    for name in arm.absent:
        yield Note("not_stated", f"no file states a {name}; these images go without", len(arm.entries))


class _Reader:
    """Takes decoded files through the preprocessing, counting what a reader must know."""

    def __init__(self, data: DataSpec, preprocessing: Preprocessing, rule: MaskRule | None, complaints: Complaints, seed: int) -> None:
        self.data, self.preprocessing, self.rule, self.complaints, self.seed = data, preprocessing, rule, complaints, seed
        self.images = self.values = self.outside = self.images_outside = self.converted = self.without_spacing = 0
        self.spacings: set[tuple[float, ...]] = set()
        self.fingerprints: list[tuple[str, str]] = []

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
        self.fingerprints.append((entry.id, _fingerprint(pixels)))
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


def fingerprints(images: ImageSet) -> Fingerprints:
    """Return the id and the digest of the pixels of each image; patches of one value are left out: background is nobody's."""
    pairs = zip(images.ids, images.images, strict=True)
    return tuple((name, _fingerprint(image)) for name, image in pairs if images.cut_from is None or np.ptp(image) > 0)


def overlaps(train: Loaded, test: Loaded) -> list[Overlap]:
    """Return shared patients, and whole images of `test` whose pixels after window and size are those of an image of `train`."""
    found = []
    mine, others = train.images.patients, test.images.patients
    if mine is not None and others is not None:
        theirs = set(mine)
        shared = [patient for patient in dict.fromkeys(others) if patient in theirs]
        if shared:
            images = sum(patient in theirs for patient in others)
            text = f"{len(shared)} of {test.images.n_patients} patients, with {images} of {len(others)} images, are in both sets"
            found.append(Overlap("patients", text, len(shared), tuple(shared[:_EXAMPLES])))
    known = {print_ for _, print_ in train.fingerprints}
    same = [name for name, print_ in test.fingerprints if print_ in known]
    if same:
        text = f"{len(same)} of {len(test.fingerprints)} images have exactly the pixels of an image of the other set"
        found.append(Overlap("pixels", text, len(same), tuple(same[:_EXAMPLES])))
    return found


def _fingerprint(image: np.ndarray) -> str:
    digest = hashlib.sha256(f"{image.shape}".encode())
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()
