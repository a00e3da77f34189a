"""Plants one defect at one dose in one probe, and describes the images there and then by everything that works on them.

The images themselves are not kept: what stays is what is known of each (ids, patients, labels, groups), the numbers of every
extractor and of every metric that describes images, and what each task made of every case. Images that the defect left as they
were, and copies of training images, take the numbers that they had.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .. import trials
from ..asking import tried
from ..bench import Bench
from ..cells import Cell
from ..checks import Part
from ..components import Context, Task
from ..errors import NotComputable
from ..images import ImageSet
from ..quantities import Record
from ..records import CellStatus
from ..savedsets import open_saved, save
from .battery import defect_of, is_harmless, planted, split_rows
from .extract import numbers

REASONS = "reasons.json"
FACTS = "planted"
Described = TypeVar("Described")


def plant(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Plant, describe, and keep the numbers; a source that has none for these images leaves its reason instead."""
    arguments = cell.arguments
    images = planted(bench, arguments["data"], bench.parts.perturbations[arguments["perturbation"]], arguments["dose"],
                     arguments["fault"], folder)  # fmt: skip
    known = _rows(bench, arguments["data"])
    rows = np.array([known.get(print_, -1) for print_ in fingerprints(images)], dtype=np.int64)
    _changed(bench, arguments, images, rows)
    save(_facts(images), folder / FACTS)
    reasons: dict[str, str] = {}
    for source in arguments["sources"]:
        made, reason = _described(bench, source["clean"], partial(_numbers, bench, source, images, rows, folder))
        if made is None:
            reasons[source["label"]] = reason
        else:
            np.save(folder / f"{source['label']}.npy", made)
    for task in arguments["tasks"]:
        label, part = f"task-{task['task']}", bench.parts.tasks[task["task"]]
        context = bench.context(folder, "task", part.name, part.offer.version, "battery", fitted=task["fitted"])
        answer, reason = _described(bench, task["fitted"], partial(cases, part, images, context))
        if answer is None:
            reasons[label] = reason
        else:
            trials.keep(folder / f"{label}.npz", answer)
    (folder / REASONS).write_text(json.dumps(reasons, sort_keys=True), encoding="utf-8")
    yield from ()


def _described(bench: Bench, needed: str, describe: Callable[[], Described]) -> tuple[Described | None, str]:
    """Return what describes the images, or None and the reason; needed: the cell without which there is nothing to try."""
    result = bench.cache.load(needed)
    if result is None or result.status != "ok":
        return None, result.reason if result else "the same was not made of the clean images"
    return tried(describe)


def _changed(bench: Bench, arguments: Mapping[str, Any], images: ImageSet, rows: np.ndarray) -> None:
    """Refuse a defect that changes nothing from the dose of concern on: a metric that does not notice it is not blind."""
    part = bench.parts.perturbations[arguments["perturbation"]]
    if is_harmless(part) or arguments["dose"] < defect_of(part).dose_of_concern:
        return
    train = bench.images(arguments["data"], "train")
    own = {name: row for row, name in enumerate(train.ids)}
    _, probe = split_rows(bench, train, arguments["fault"])
    if len(images) == len(probe) and all(own[name] == row for name, row in zip(images.ids, rows, strict=True)):
        raise NotComputable(f"{part.name} at dose {arguments['dose']:g} changes none of these images")


def cases(part: Part, images: ImageSet, context: Context) -> dict[str, np.ndarray]:
    """Return each quantity of a trained task for every case, (N,) float64, NaN where a case has none.

    It is that of the case as a whole, or the mean of its regions where the task gives nothing but these.
    """
    assert isinstance(part.component, Task)
    columns = part.component.columns(images)
    found = {}
    for name, values in trials.score(part, images, context).items():
        if values.ndim == 0:
            raise NotComputable(f"{part.name} gives one number a run for {name}, so nothing can be resampled")
        whole = values if values.ndim == 1 else values[:, columns.index("")] if "" in columns else values.mean(axis=1)
        found[name] = np.ma.masked_array(whole, dtype=np.float64).filled(np.nan)
    return found


def described(bench: Bench, key: str, label: str) -> ImageSet:
    """Return the planted probe of a cell with the numbers of one source; it has no pixels, so whoever asks for them gets none.

    `NotComputable` says why a source has no numbers for it.
    """
    folder = bench.cache.folder(key)
    _refuse(folder, label)
    images = open_saved(folder / FACTS)
    features = np.load(folder / f"{label}.npy", mmap_mode="r", allow_pickle=False)
    return replace(images, images=np.empty((len(images), 1, 0, 0), np.float32), features=features, checked=True)


def planted_n(bench: Bench, key: str) -> int:
    """Return how many images a planted probe has."""
    return len(open_saved(bench.cache.folder(key) / FACTS))


def complete(folder: Path) -> bool:
    """Return whether every source of a planted probe has its numbers, so that another audit may use them."""
    path = folder / REASONS
    return path.exists() and not json.loads(path.read_text(encoding="utf-8"))


def scored(bench: Bench, key: str, task: int) -> tuple[ImageSet, dict[str, np.ndarray]]:
    """Return what is known of the images of a planted probe, and what a task made of each; `NotComputable` says why there is nothing."""
    folder = bench.cache.folder(key)
    _refuse(folder, f"task-{task}")
    return open_saved(folder / FACTS), trials.kept(folder / f"task-{task}.npz")


def _refuse(folder: Path, label: str) -> None:
    reason = json.loads((folder / REASONS).read_text(encoding="utf-8")).get(label)
    if reason is not None:
        raise NotComputable(reason)


def _facts(images: ImageSet) -> ImageSet:
    """Return what is known of the images without pixels, masks and numbers."""
    blank = np.broadcast_to(np.float32(0.0), (len(images), 1, 1, 1))
    return replace(images, images=blank, spacing_mm=(1.0, 1.0), masks=None, features=None, checked=False)


def _numbers(bench: Bench, source: Mapping[str, Any], images: ImageSet, rows: np.ndarray, folder: Path) -> np.ndarray:
    """Return the numbers of the images; only those that are new are described. rows: of the same image in train, or -1."""
    clean = bench.array(source["clean"], "features")
    new = np.flatnonzero(rows < 0)
    if len(new) == len(images):
        return numbers(bench, source, images, folder)
    whole = clean[np.maximum(rows, 0)].astype(np.float32)
    if len(new):
        whole[new] = numbers(bench, source, images.take(new), folder)
    return whole


def _rows(bench: Bench, data: str) -> dict[bytes, int]:
    """Return the row of each training image by its fingerprint; worked out once in a process."""
    if data not in bench.prints:
        bench.prints[data] = {print_: row for row, print_ in enumerate(fingerprints(bench.images(data, "train")))}
    return bench.prints[data]


def fingerprints(images: ImageSet) -> Iterator[bytes]:
    """Yield a digest of everything that an image's numbers may rest on: pixels, spacing, mask, label, concepts and groups."""
    known = {"masks": images.masks, "labels": images.labels, "concepts": images.concepts, **(images.groups or {})}
    common = f"{images.images.shape[1:]}{images.images.dtype}{images.spacing_mm}".encode()
    for row in range(len(images)):
        digest = blake2b(common, digest_size=16)
        digest.update(np.ascontiguousarray(images.images[row]).tobytes())
        for name, values in known.items():
            if values is not None:
                digest.update(f"|{name}|{values.dtype}|".encode() + np.ascontiguousarray(values[row]).tobytes())
        yield digest.digest()


def blank(bench: Bench, cell: Cell, status: CellStatus, reason: str) -> Iterator[Record]:
    """Leave no row: the metrics that needed these images say why they have none."""
    yield from ()
