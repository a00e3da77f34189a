"""Reads the real images, asks the generator for its own, and looks for what one arm should not share with another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .. import datasets
from ..bench import Bench
from ..cells import Cell, Draft, derive
from ..checks import Part
from ..components import Generator
from ..errors import InputError, NotComputable, Problem
from ..images import ImageSet, Request
from ..pictures import gallery
from ..quantities import Record
from ..records import CellStatus, FindingRow, ImageSetRow, TrainingRow
from ..spec import Attribute, AuditSpec, DataSpec, Layout, digest

REAL = ("train", "validation", "test")
NAMES = "names.json"
FINGERPRINTS = "fingerprints.json"
Severity = Literal["note", "warning", "adverse", "breach"]
Purpose = Literal["train", "test"]
OVERLAPS = {"patients": "patient_overlap", "pixels": "pixel_overlap"}


def folders(data: DataSpec, base: Path) -> dict[str, Path]:
    """Return the folder of each real arm that `model.yaml` names."""
    named = {"train": data.train, "test": data.test, "validation": data.validation}
    return {role: datasets.located(text, base, f"data.{role}") for role, text in named.items() if text is not None}


def file_digests(data: DataSpec, base: Path) -> dict[str, str]:
    """Return the digest of the files of each real arm; every byte of them is read."""
    layout = datasets.anchored(data, base)
    return {role: datasets.digest_files(folder, layout) for role, folder in folders(data, base).items()}


def data_cell(draft: Draft, spec: AuditSpec, generator: Part | None, files: Mapping[str, str], salt: bytes) -> str:
    """Add the cell that reads the real images; its key covers their bytes (`files`), not where they lie.

    A generator that the audit trains must not see the images by which tasks stop, so these are set aside here where the user names none.
    """
    rules = spec.data.model_dump(mode="json", exclude={"train", "test", "validation"})
    arguments: dict[str, Any] = {"files": dict(files), "rules": digest(rules), "salt": digest(salt.hex())}
    if spec.tasks is not None and spec.data.validation is None and generator is not None and learns(generator):
        arguments["validation_share"] = spec.data.validation_share
    return draft.add("sample", "data", "read the real images", "sample.read", arguments, None, seconds=5)


def learns(generator: Part) -> bool:
    """Return whether a generator is one that the audit trains."""
    return isinstance(generator.component, Generator) and type(generator.component).fit is not Generator.fit


@dataclass(frozen=True)
class Made:
    """The cells that train the generator and make its images.

    train: one for each sampling run. test: images on which tasks are tested, None where none are asked for.
    """

    train: tuple[str, ...]
    test: str | None
    fitted: str | None

    def all(self) -> tuple[str, ...]:
        """Return the keys of every cell."""
        return tuple(key for key in (self.fitted, *self.train, self.test) if key is not None)


def cells(draft: Draft, spec: AuditSpec, generator: Part, data: str) -> Made:
    """Add the cell that trains the generator, where it is one that is trained, and those that ask it for images."""
    assert isinstance(generator.component, Generator)
    fitted = None
    if learns(generator):
        title = f"train {generator.name}"
        fitted = draft.add("sample", generator.name, title, "sample.fit", {"data": data}, generator.identity, [data], 120)

    def ask(n: int, purpose: Purpose, run: int, others: Sequence[str]) -> str:
        arguments = {"data": data, "n": n, "purpose": purpose, "run": run, "fitted": fitted, "others": list(others)}
        title = f"{n} images from {generator.name}" + (", to test tasks on" if purpose == "test" else "")
        title += f", sampling run {run + 1}" if spec.runs > 1 and purpose == "train" else ""
        needs = [data, *([fitted] if fitted else []), *others]
        return draft.add("sample", generator.name, title, "sample.generate", arguments, generator.identity, needs, 30)

    wanted = spec.tasks.synthetic_test if spec.tasks else 0
    made: list[str] = []
    for run in range(spec.runs):
        made.append(ask(spec.samples, "train", run, made))
    return Made(tuple(made), ask(wanted, "test", 0, made) if wanted else None, fitted)


def read(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Read, preprocess and check the real arms; leave them as train, validation and test."""
    data, base = datasets.anchored(bench.file.spec.data, bench.file.base), bench.file.base
    arms = folders(data, base)
    preprocessing = datasets.fit_preprocessing(data.model_copy(update={"train": str(arms["train"])}), base, bench.salt)
    (folder / "preprocessing.json").write_text(preprocessing.to_json(), encoding="utf-8")
    sets: dict[str, datasets.Loaded] = {}
    names: dict[str, str] = {}
    for role, path in arms.items():
        loaded = datasets.load(
            data, path, data, preprocessing, role=role, salt=bench.salt, seed=derive(bench.seed, "patches", role), origin="real"
        )
        sets[role] = loaded
        names |= loaded.names
        yield from _notes(cell, role, loaded.notes)
    if "test" not in sets:
        sets |= _set_aside(sets["train"], "test", data.test_share, derive(bench.seed, "test"))
    if "validation_share" in cell.arguments:
        sets |= _set_aside(sets["train"], "validation", cell.arguments["validation_share"], derive(bench.seed, "validation"))
    for one, other in [pair for pair in combinations(REAL, 2) if set(pair) <= set(sets)]:
        for overlap in datasets.overlaps(sets[one], sets[other]):
            severity: Severity = "breach" if (one, other) == ("train", "test") else "warning"
            yield FindingRow(cell=cell.key, severity=severity, kind=OVERLAPS[overlap.kind], evidence=", ".join(overlap.examples),
                             text=f"{one.capitalize()} and {other} share {_counted(overlap)}.")  # fmt: skip
    (folder / NAMES).write_text(json.dumps(names, sort_keys=True), encoding="utf-8")
    whole = {role: loaded.fingerprints for role, loaded in sets.items()}
    (folder / FINGERPRINTS).write_text(json.dumps(whole, sort_keys=True), encoding="utf-8")
    for role, loaded in sets.items():
        datasets.save(loaded.images, folder / role)
        yield _row(cell, role, loaded.images, preprocessing)
    shown = sets["train"].images
    yield from gallery(cell.key, "real", shown, preprocessing.label_names, derive(bench.seed, "gallery", "real"))


def _set_aside(loaded: datasets.Loaded, other: str, share: float, seed: int) -> dict[str, datasets.Loaded]:
    """Return train and another role, made of the training images by patient, where the user names no images for it."""
    sides = {}
    for role, images in zip(("train", other), datasets.split_validation(loaded.images, share, seed), strict=True):
        whole = set(images.cut_from or images.ids)
        prints = tuple(found for found in loaded.fingerprints if found[0] in whole)
        sides[role] = replace(loaded, images=images, notes=(), fingerprints=prints)
    return sides


def fit(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Let the generator learn from the training images; a training that was killed goes on where it was."""
    part, generator = _generator(bench)
    train = bench.images(cell.arguments["data"], "train")
    # Whether the images that will be asked for can be is found out before hours of training.
    _request(bench, generator, train, bench.file.spec.samples, "train", 0)
    workdir = folder / "fitted"
    workdir.mkdir()
    context = bench.context(workdir, "fit", part.name, part.offer.version, unfinished=cell.key)
    generator.fit(train, context)
    for series, step, value in context.curve:
        yield TrainingRow(cell=cell.key, component=part.name, series=series, step=step, value=value)


def _generator(bench: Bench) -> tuple[Part, Generator]:
    part = bench.parts.generator
    assert part is not None
    assert isinstance(part.component, Generator)
    return part, part.component


def generate(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Ask the generator for images and bring them through the preprocessing of the real ones."""
    spec, (part, generator) = bench.file.spec, _generator(bench)
    train, purpose, run = bench.images(cell.arguments["data"], "train"), cell.arguments["purpose"], cell.arguments["run"]
    workdir = folder / "work"
    workdir.mkdir()
    words = ("sample", part.name, part.offer.version, run, *(["test"] if purpose == "test" else []))
    context = bench.context(workdir, *words, fitted=cell.arguments["fitted"])
    request = _request(bench, generator, bench.images(cell.arguments["data"], purpose), cell.arguments["n"], purpose, run)
    n, of_run = request.n, f" in sampling run {run + 1}" if bench.file.spec.runs > 1 and purpose == "train" else ""
    answer = generator.sample(request, context)
    preprocessing = datasets.Preprocessing.from_json(
        (bench.cache.folder(cell.arguments["data"]) / "preprocessing.json").read_text(encoding="utf-8")
    )
    if isinstance(answer, Path):
        layout = synthetic_layout(datasets.anchored(spec.data, bench.file.base), answer)
        if (run or purpose == "test") and layout.masks is not None and layout.masks.folder and Path(layout.masks.folder).is_absolute():
            what = "one folder of masks cannot belong to the images of several folders"
            raise InputError(Problem(what, "data.synthetic.masks", "name a folder below each folder of images, or masks by a suffix"))
        loaded = datasets.load(
            spec.data, answer, layout, preprocessing, role="synthetic", salt=bench.salt,
            seed=derive(bench.seed, "patches", "synthetic"), origin="synthetic",
        )  # fmt: skip
        synthetic, prints = loaded.images, loaded.fingerprints
        (folder / NAMES).write_text(json.dumps(loaded.names, sort_keys=True), encoding="utf-8")
        yield from _notes(cell, "synthetic", loaded.notes)
    elif isinstance(answer, ImageSet):
        synthetic = _paired(replace(answer, origin="synthetic"), request)
        prints = datasets.fingerprints(synthetic)
    else:
        raise InputError(f"the generator returned {type(answer).__name__}; it must return an ImageSet or the folder of its files")
    if synthetic.images.shape[1:] != train.images.shape[1:]:
        raise InputError(f"synthetic images are {synthetic.images.shape[1:]}, real ones {train.images.shape[1:]} (channels, size)")
    if len(synthetic) > n:
        rows = np.sort(np.random.default_rng(derive(bench.seed, "subset")).choice(len(synthetic), n, replace=False))
        text = f"The generator offered {len(synthetic)} images{of_run}; {n} were drawn at random with the audit's seed."
        yield FindingRow(cell=cell.key, severity="note", kind="subset", text=text)
        synthetic = synthetic.take(rows)
    elif len(synthetic) < n:
        text = f"{n} synthetic images were asked for{of_run} and {len(synthetic)} came back."
        yield FindingRow(cell=cell.key, severity="warning", kind="too_few_images", text=text)
    yield from _identical(bench, cell, synthetic, prints, of_run)
    yield from _repeated(bench, cell, synthetic)
    datasets.save(synthetic, folder / "synthetic")
    if purpose == "test":
        yield _row(cell, "synthetic_test", synthetic, preprocessing)
        return
    yield _row(cell, "synthetic", synthetic, preprocessing).model_copy(update={"sampling_run": run + 1})
    if run:
        return
    yield from gallery(cell.key, "synthetic", synthetic, preprocessing.label_names, derive(bench.seed, "gallery", "synthetic"))


def _request(bench: Bench, generator: Generator, real: ImageSet, n: int, purpose: Purpose, run: int) -> Request:
    """Return what is asked of the generator: labels in the proportions of the real images, or those of the images whose masks it gets.

    A generator that works from masks or concepts gets those of each real image at most once, in random order; no more test images
    are asked for than there are real ones.
    """
    words = [*(["test"] if purpose == "test" else []), *([run] if run else [])]
    wanted = generator.conditions() - {"labels"}
    if not wanted:
        labels = _labels(real, n, derive(bench.seed, "labels", *words))
        return Request(n, labels=labels, spacing_mm=real.spacing_mm, purpose=purpose, run=run)
    lacking = sorted(wanted - real.offers())
    if lacking:
        raise NotComputable(f"the generator works from {' and '.join(lacking)}, and the {purpose} images have none")
    n = min(n, len(real)) if purpose == "test" else n
    if n > len(real):
        aside = purpose == "train" and bench.file.spec.data.validation is None and bench.file.spec.tasks is not None
        left = " (validation images left out)" if aside else ""
        given_by = " and ".join(sorted(wanted))
        what = f"the generator works from {given_by} of {len(real)} {purpose} images{left}, and {n} were asked for"
        raise NotComputable(f"{what}: lower `samples`")
    sources = real.take(np.random.default_rng(derive(bench.seed, "sources", *words)).permutation(len(real))[:n])
    given = {name: getattr(sources, name) for name in wanted}
    return Request(n, labels=sources.labels, sources=sources, spacing_mm=real.spacing_mm, purpose=purpose, run=run, **given)


def _repeated(bench: Bench, cell: Cell, synthetic: ImageSet) -> Iterator[Record]:
    """Say which synthetic test images are among those that tasks train on, and which images of a run are those of an earlier one."""
    test, run = cell.arguments["purpose"] == "test", cell.arguments["run"]
    made = datasets.Loaded(synthetic, fingerprints=datasets.fingerprints(synthetic))
    for number, key in enumerate(cell.arguments["others"], 1):
        others = bench.images(key, "synthetic")
        for overlap in datasets.overlaps(datasets.Loaded(others, fingerprints=datasets.fingerprints(others)), made):
            if overlap.kind != "pixels":
                continue
            which = "synthetic test images" if test else f"images of sampling run {run + 1}"
            whose = "synthetic images that tasks train on" if test else f"images of sampling run {number}"
            whose += f" (sampling run {number})" if test and number > 1 else ""
            text = f"{overlap.count} of {len(synthetic)} {which} are identical to {whose}."
            yield FindingRow(cell=cell.key, severity="adverse", kind="synthetic_overlap", text=text, evidence=", ".join(overlap.examples))


def _paired(synthetic: ImageSet, request: Request) -> ImageSet:
    """Return the images with the ids of those that they were made from, where each was made from one.

    Test cases made from images of one patient are no more independent than these, so they belong to that patient.
    """
    if request.sources is None or len(synthetic) != request.n:
        return synthetic
    sources = synthetic.sources or request.sources.ids
    patients = request.sources.patients if request.purpose == "test" and sources == request.sources.ids else synthetic.patients
    return replace(synthetic, sources=sources, patients=patients, checked=False)


def synthetic_layout(data: DataSpec, folder: Path) -> Layout:
    """Return the layout of the generator's files: the declared one, or what of the real one can hold for files in this folder.

    No table lists them and no header describes them, so rules that read either are left out; so is a folder of masks elsewhere.
    """
    if data.synthetic is not None:
        return data.synthetic

    def in_path(rule: Attribute | None) -> bool:
        return rule is not None and rule.column is None and rule.header is None

    masks = data.masks
    if masks is not None and masks.folder is not None and (Path(masks.folder).is_absolute() or not (folder / masks.folder).is_dir()):
        masks = None
    groups = {name: rule for name, rule in data.groups.items() if in_path(rule)}
    return Layout(files=data.files, labels=data.labels if in_path(data.labels) else None, groups=groups, masks=masks)


def _identical(bench: Bench, cell: Cell, synthetic: ImageSet, prints: datasets.Fingerprints, of_run: str) -> Iterator[Record]:
    """Say which synthetic images are real ones, whole images and patches alike."""
    path = bench.cache.folder(cell.arguments["data"]) / FINGERPRINTS
    stored: dict[str, list[list[str]]] = json.loads(path.read_text(encoding="utf-8"))
    kept = {*synthetic.ids, *(synthetic.cut_from or ())}
    made = datasets.Loaded(synthetic, fingerprints=tuple(pair for pair in prints if pair[0] in kept))
    against: tuple[tuple[str, Severity, str], ...] = (("train", "adverse", "training"), ("test", "warning", "test"))
    for role, severity, word in against:
        real = bench.images(cell.arguments["data"], role)
        known = tuple((name, print_) for name, print_ in stored[role])
        known += datasets.fingerprints(real) if real.cut_from is not None else ()
        for overlap in datasets.overlaps(datasets.Loaded(real, fingerprints=known), made):
            if overlap.kind == "pixels":
                many = f"{overlap.count} of {len(made.fingerprints)} synthetic images{of_run}"
                text = f"{many} are identical, pixel by pixel, to a {word} image."
                yield FindingRow(cell=cell.key, severity=severity, kind=f"identical_to_{word}", text=text,
                                 evidence=", ".join(overlap.examples))  # fmt: skip


def blank(bench: Bench, cell: Cell, status: CellStatus, reason: str) -> Iterator[Record]:
    """Say that there are no images."""
    who = "The real images" if cell.component == "data" else f"The generator {cell.component}"
    yield FindingRow(cell=cell.key, severity="adverse", kind="no_images", text=f"{who} gave no images: {reason}.")


def _labels(train: ImageSet, n: int, seed: int) -> np.ndarray | None:
    """Return n labels in the proportions of the training set, shuffled."""
    if train.labels is None:
        return None
    classes, counts = np.unique(train.labels, return_counts=True)
    if n < len(classes):
        raise NotComputable(f"{n} images cannot cover {len(classes)} classes")
    exact = counts * n / counts.sum()
    shares = np.floor(exact).astype(int)
    shares[np.argsort(shares - exact, kind="stable")[: n - shares.sum()]] += 1
    return np.random.default_rng(seed).permutation(np.repeat(classes, shares)).astype(np.int64)


def _counted(overlap: datasets.Overlap) -> str:
    plural = "" if overlap.count == 1 else "s"
    return f"{overlap.count} patient{plural}" if overlap.kind == "patients" else f"the pixels of {overlap.count} image{plural}"


def _notes(cell: Cell, role: str, notes: tuple[datasets.Note, ...]) -> Iterator[Record]:
    for note in notes:
        yield FindingRow(
            cell=cell.key,
            severity="note",
            kind=note.kind,
            text=f"{role.capitalize()} images: {note.text}",
            evidence=str(note.count),
        )


def _row(cell: Cell, role: str, images: ImageSet, preprocessing: datasets.Preprocessing) -> ImageSetRow:
    labels: dict[str, int] = {}
    if images.labels is not None:
        names = preprocessing.label_names or ()
        for value, count in zip(*np.unique(images.labels, return_counts=True), strict=True):
            labels[names[value] if 0 <= value < len(names) else str(value)] = int(count)
    described: dict[str, Any] = json.loads(preprocessing.to_json())
    return ImageSetRow(
        cell=cell.key, role=role, n=len(images), channels=int(images.images.shape[1]), size_px=list(images.size_px),
        spacing_mm=list(images.spacing_mm), patients=images.n_patients, labels=labels, has_masks=images.masks is not None,
        region_shares=_region_shares(images), preprocessing=described, sha256=images.sha256,
    )  # fmt: skip


def _region_shares(images: ImageSet) -> dict[str, float]:
    """Return the share of an image that each region covers, mean over images, by region number; nothing where there are no masks."""
    if images.masks is None or not len(images):
        return {}
    pixels = np.sum([np.bincount(mask.ravel(), minlength=256) for mask in images.masks], axis=0)
    return {str(region): float(count / images.masks.size) for region, count in enumerate(pixels) if region and count}
