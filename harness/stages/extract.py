"""Turns images into numbers once per image set: the real and synthetic ones, and the real ones with planted defects.

Extractors give the features that metrics share; a metric that describes images itself gives the numbers that it alone works on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..asking import numbers_of
from ..bench import Bench
from ..cells import Cell, Draft
from ..checks import Part, Parts
from ..components import Extractor, Metric, Perturbation
from ..images import ImageSet
from ..quantities import Record
from ..records import CellStatus
from .battery import planted

ROLES = ("train", "test", "synthetic")
Kind = Literal["extractor", "metric"]


@dataclass(frozen=True)
class Embedded:
    """What makes the numbers (the k-th extractor, or the k-th metric), and the keys of the cells that hold them."""

    kind: Kind
    index: int
    fitted: str | None
    roles: dict[str, str]


@dataclass(frozen=True)
class Described:
    """Every source of numbers of an audit: extractors by name, and metrics that describe images themselves by name."""

    extractors: dict[str, Embedded]
    metrics: dict[str, Embedded]

    def of(self, parts: Parts, metric: Part) -> list[tuple[str, Embedded | None]]:
        """Return the sources that a metric is measured on, with the extractor's name; one without numbers for a metric on images."""
        if metric.name in self.metrics:
            return [("", self.metrics[metric.name])]
        if "features" not in metric.component.needs:
            return [("", None)]
        return [(name, self.extractors[name]) for name in parts.extractors_of(metric)]


def cells(draft: Draft, parts: Parts, data: str, sample: str, synthetic: str, n: int) -> Described:
    """Add the cells of every source; `synthetic` is the digest of the synthetic images, once they are known."""
    describing = [(k, part) for k, part in enumerate(parts.metrics) if isinstance(part.component, Metric) and part.component.describes()]
    made: dict[str, dict[str, Embedded]] = {"extractor": {}, "metric": {}}
    sources: list[tuple[Kind, int, Part]] = [("extractor", k, part) for k, part in enumerate(parts.extractors)]
    for kind, index, part in [*sources, *(("metric", k, part) for k, part in describing)]:
        fitted = None
        if kind == "extractor" and getattr(type(part.component), "fit", None) is not Extractor.fit:
            arguments = {"extractor": index, "data": data}
            fitted = draft.add("extract", part.name, f"fit {part.name} on train", "extract.fit", arguments, part.identity, [data], 2)
        roles = {}
        for role in ROLES:
            owner = sample if role == "synthetic" else data
            arguments = {kind: index, "images": owner, "role": role, "fitted": fitted}
            arguments |= {"sha256": synthetic} if role == "synthetic" else {}
            needs = [owner, *([fitted] if fitted else [])]
            title = f"{part.name} of {role}"
            roles[role] = draft.add("extract", part.name, title, "extract.embed", arguments, part.identity, needs, 1 + n / 300)
        made[kind][part.name] = Embedded(kind, index, fitted, roles)
    return Described(made["extractor"], made["metric"])


def planted_cell(draft: Draft, parts: Parts, source: Embedded, perturbation: int, dose: float, fault: int, data: str) -> str:
    """Add the cell that plants one defect at one dose and describes the images."""
    part = (parts.extractors if source.kind == "extractor" else parts.metrics)[source.index]
    defect = parts.perturbations[perturbation]
    arguments = {
        source.kind: source.index,
        "perturbation": perturbation,
        "dose": dose,
        "fault": fault,
        "data": data,
        "fitted": source.fitted,
    }
    title = f"{part.name} of {defect.name} at {dose:g}, fault seed {fault}"
    return draft.add("extract", part.name, title, "extract.embed_planted", arguments, [part.identity, defect.identity],
                     [data, *([source.fitted] if source.fitted else [])], 2)  # fmt: skip


def fit(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Let an extractor learn from the training images."""
    part = bench.parts.extractors[cell.arguments["extractor"]]
    workdir = folder / "fitted"
    workdir.mkdir()
    assert isinstance(part.component, Extractor)
    part.component.fit(bench.images(cell.arguments["data"], "train"), bench.context(workdir, "fit", part.name, part.offer.version))
    yield from ()


def embed(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Store the numbers of one image set."""
    images = bench.images(cell.arguments["images"], cell.arguments["role"])
    _store(bench, cell, folder, images)
    yield from ()


def embed_planted(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Plant a defect and store the numbers of what comes out."""
    arguments = cell.arguments
    part = bench.parts.perturbations[arguments["perturbation"]]
    assert isinstance(part.component, Perturbation)
    images = planted(bench, arguments["data"], part, arguments["dose"], arguments["fault"], folder)
    _store(bench, cell, folder, images)
    yield from ()


def _store(bench: Bench, cell: Cell, folder: Path, images: ImageSet) -> None:
    arguments = cell.arguments
    part = bench.parts.metrics[arguments["metric"]] if "metric" in arguments else bench.parts.extractors[arguments["extractor"]]
    workdir = folder / "work"
    workdir.mkdir()
    context = bench.context(workdir, "extract", part.name, part.offer.version, fitted=arguments["fitted"])
    if isinstance(part.component, Metric):
        answer = part.component.describe(images, context)
    else:
        assert isinstance(part.component, Extractor)
        answer = part.component.extract(images, context)
    np.save(folder / "features.npy", numbers_of(answer, len(images)))


def blank(bench: Bench, cell: Cell, status: CellStatus, reason: str) -> Iterator[Record]:
    """Leave no row: the metrics that needed these numbers say why they have none."""
    yield from ()
