"""Turns images into numbers once per image set: train, test and synthetic.

Extractors give the features that metrics share; a metric that describes images itself gives the numbers that it alone works on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..asking import numbers_of
from ..bench import Bench, synthetic
from ..cells import Cell, Draft
from ..checks import Part, Parts
from ..components import Extractor, Metric
from ..images import ImageSet
from ..quantities import Record
from ..records import CellStatus

# The key of the cell that made synthetic images, and their digest once they are known.
Sampled = tuple[str, str]
Kind = Literal["extractor", "metric"]


@dataclass(frozen=True)
class Embedded:
    """What makes the numbers (the k-th extractor, or the k-th metric), and the keys of the cells that hold them."""

    kind: Kind
    index: int
    fitted: str | None
    roles: dict[str, str]

    @property
    def label(self) -> str:
        """Name of the file of planted images' numbers."""
        return f"{self.kind}-{self.index}"

    def part(self, parts: Parts) -> Part:
        """Return the extractor or the metric."""
        return (parts.extractors if self.kind == "extractor" else parts.metrics)[self.index]

    def keys(self, role: str) -> list[str]:
        """Return the cells that numbers like those of `role` rest on."""
        return [self.roles[role], *([self.fitted] if self.fitted else [])]

    def argument(self) -> dict[str, Any]:
        """Return what a cell must know of it to make numbers of other images."""
        return {self.kind: self.index, "label": self.label, "fitted": self.fitted, "clean": self.roles["train"]}


@dataclass(frozen=True)
class Described:
    """Every source of numbers of an audit: extractors by name, and metrics that describe images themselves by name."""

    extractors: dict[str, Embedded]
    metrics: dict[str, Embedded]

    def all(self) -> Iterator[Embedded]:
        """Yield every source."""
        yield from self.extractors.values()
        yield from self.metrics.values()

    def of(self, parts: Parts, metric: Part) -> list[tuple[str, Embedded | None]]:
        """Return the sources that a metric is measured on, with the extractor's name; one without numbers for a metric on images."""
        if metric.name in self.metrics:
            return [("", self.metrics[metric.name])]
        if "features" not in metric.component.needs:
            return [("", None)]
        return [(name, self.extractors[name]) for name in parts.extractors_of(metric)]


def cells(draft: Draft, parts: Parts, data: str, samples: Sequence[Sampled], n: int) -> Described:
    """Add the cells of every source. samples: of each sampling run; none where metrics are qualified without a generator."""
    describing = [(k, part) for k, part in enumerate(parts.metrics) if isinstance(part.component, Metric) and part.component.describes()]
    made: dict[str, dict[str, Embedded]] = {"extractor": {}, "metric": {}}
    sources: list[tuple[Kind, int, Part]] = [("extractor", k, part) for k, part in enumerate(parts.extractors)]
    for kind, index, part in [*sources, *(("metric", k, part) for k, part in describing)]:
        fitted = None
        if kind == "extractor" and getattr(type(part.component), "fit", None) is not Extractor.fit:
            arguments = {"extractor": index, "data": data}
            fitted = draft.add("extract", part.name, f"fit {part.name} on train", "extract.fit", arguments, part.identity, [data], 2)
        roles = {}
        owners: list[tuple[str, str, dict[str, str]]] = [(role, data, {}) for role in ("train", "test")]
        owners += [(synthetic(run), key, {"sha256": sha256}) for run, (key, sha256) in enumerate(samples)]
        for role, owner, known in owners:
            arguments = {kind: index, "images": owner, "role": role.split()[0], "fitted": fitted, **known}
            needs = [owner, *([fitted] if fitted else [])]
            title = f"{part.name} of {role}"
            roles[role] = draft.add("extract", part.name, title, "extract.embed", arguments, part.identity, needs, 1 + n / 300)
        made[kind][part.name] = Embedded(kind, index, fitted, roles)
    return Described(made["extractor"], made["metric"])


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
    np.save(folder / "features.npy", numbers(bench, cell.arguments, images, folder))
    yield from ()


def numbers(bench: Bench, source: Mapping[str, Any], images: ImageSet, folder: Path) -> np.ndarray:
    """Return what an extractor, or a metric that describes images itself, makes of these images, (N, F) float32.

    source: the component by its place, and the cell in which it was fitted.
    """
    part = bench.parts.metrics[source["metric"]] if "metric" in source else bench.parts.extractors[source["extractor"]]
    with tempfile.TemporaryDirectory(dir=folder) as workdir:
        context = bench.context(Path(workdir), "extract", part.name, part.offer.version, fitted=source["fitted"])
        if isinstance(part.component, Metric):
            answer = part.component.describe(images, context)
        else:
            assert isinstance(part.component, Extractor)
            answer = part.component.extract(images, context)
    return numbers_of(answer, len(images))


def blank(bench: Bench, cell: Cell, status: CellStatus, reason: str) -> Iterator[Record]:
    """Leave no row: the metrics that needed these numbers say why they have none."""
    yield from ()
