"""Runs each extractor once per image set: the real and synthetic ones, and the real ones with planted defects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..bench import Bench
from ..cells import Cell, Draft
from ..checks import Part, Parts
from ..components import Context, Extractor, Perturbation
from ..errors import PluginError
from ..images import ImageSet
from ..quantities import Record
from ..records import CellStatus
from .battery import planted

ROLES = ("train", "test", "synthetic")


@dataclass(frozen=True)
class Embedded:
    """Keys of the cells that hold one extractor's features."""

    fitted: str | None
    roles: dict[str, str]


def cells(draft: Draft, parts: Parts, data: str, sample: str, synthetic: str, n: int) -> dict[str, Embedded]:
    """Add the cells of every extractor; `synthetic` is the digest of the synthetic images, once they are known."""
    found = {}
    for index, part in enumerate(parts.extractors):
        fitted = None
        if getattr(type(part.component), "fit", None) is not Extractor.fit:
            arguments = {"extractor": index, "data": data}
            fitted = draft.add("extract", part.name, f"fit {part.name} on train", "extract.fit", arguments, part.identity, [data], 2)
        roles = {}
        for role in ROLES:
            owner = sample if role == "synthetic" else data
            arguments = {"extractor": index, "images": owner, "role": role, "fitted": fitted}
            arguments |= {"sha256": synthetic} if role == "synthetic" else {}
            needs = [owner, *([fitted] if fitted else [])]
            title = f"{part.name} of {role}"
            roles[role] = draft.add("extract", part.name, title, "extract.embed", arguments, part.identity, needs, 1 + n / 300)
        found[part.name] = Embedded(fitted, roles)
    return found


def planted_cell(draft: Draft, parts: Parts, extractor: int, perturbation: int, dose: float, fault: int, data: str,
                 fitted: str | None) -> str:  # fmt: skip
    """Add the cell that plants one defect at one dose and embeds the images."""
    part, defect = parts.extractors[extractor], parts.perturbations[perturbation]
    arguments = {
        "extractor": extractor,
        "perturbation": perturbation,
        "dose": dose,
        "fault": fault,
        "data": data,
        "fitted": fitted,
    }
    title = f"{part.name} of {defect.name} at {dose:g}, fault seed {fault}"
    return draft.add("extract", part.name, title, "extract.embed_planted", arguments, [part.identity, defect.identity],
                     [data, *([fitted] if fitted else [])], 2)  # fmt: skip


def fit(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Let an extractor learn from the training images."""
    part = bench.parts.extractors[cell.arguments["extractor"]]
    workdir = folder / "fitted"
    workdir.mkdir()
    assert isinstance(part.component, Extractor)
    part.component.fit(bench.images(cell.arguments["data"], "train"), bench.context(workdir, "fit", part.name, part.offer.version))
    yield from ()


def embed(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Store the features of one image set."""
    images = bench.images(cell.arguments["images"], cell.arguments["role"])
    _store(bench, cell, folder, images)
    yield from ()


def embed_planted(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Plant a defect and store the features of what comes out."""
    arguments = cell.arguments
    part = bench.parts.perturbations[arguments["perturbation"]]
    assert isinstance(part.component, Perturbation)
    images = planted(bench, arguments["data"], part, arguments["dose"], arguments["fault"], folder)
    _store(bench, cell, folder, images)
    yield from ()


def _store(bench: Bench, cell: Cell, folder: Path, images: ImageSet) -> None:
    part: Part = bench.parts.extractors[cell.arguments["extractor"]]
    workdir = folder / "work"
    workdir.mkdir()
    context: Context = bench.context(workdir, "extract", part.name, part.offer.version, fitted=cell.arguments["fitted"])
    assert isinstance(part.component, Extractor)
    features = np.asarray(part.component.extract(images, context))
    if features.ndim != 2 or len(features) != len(images) or not features.shape[1]:
        raise PluginError(f"returned an array of shape {features.shape} for {len(images)} images; promised (N, F)")
    if not np.isfinite(features).all():
        raise PluginError(f"returned {int((~np.isfinite(features)).sum())} values that are not finite")
    np.save(folder / "features.npy", features.astype(np.float32))


def blank(bench: Bench, cell: Cell, status: CellStatus, reason: str) -> Iterator[Record]:
    """Leave no row: the metrics that needed these features say why they have no number."""
    yield from ()
