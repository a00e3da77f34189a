"""Lays out the battery: which defects are planted at which doses, in how many probes, and how often each metric is asked.

Images are planted once per perturbation, dose and fault seed, and described there and then by everything that works on them.
Replicates and null splits are resamples of those rows. A budget gives up replicates first, then null splits, then doses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..bench import Bench
from ..cells import Cell, Draft, derive
from ..checks import Part, Parts
from ..components import Context, FailureMode, Perturbation
from ..errors import PluginError
from ..images import ImageSet
from ..quantities import Record
from ..records import CellStatus, FindingRow
from ..resampling import halves
from ..spec import AuditSpec, Battery
from .extract import Described, Embedded

# Where every replicate is noticed, 14 are the fewest whose lower 95 % bound reaches 0.8; where none of 50 null splits that did not
# set the band raises an alarm, the upper bound of the rate is 5.8 %.
LEAST_REPLICATES = 14
LEAST_NULL_SPLITS = 100
# Rough costs on one core, from audits of 300 images of 128 pixels: they size the plan and the budget, never a result.
SECONDS_PER_EVALUATION = 0.003
SECONDS_PER_DRAW = 0.001
SECONDS_PER_IMAGE = 0.003
SECONDS_PER_TRAINING = 20.0
USUAL_N = 150


@dataclass(frozen=True)
class Group:
    """Metrics that work on the same numbers: of one extractor, of one metric's own description, or the images themselves."""

    name: str
    source: Embedded | None
    metrics: tuple[int, ...]


@dataclass(frozen=True)
class Terms:
    """How large the battery is, and what was given up for the budget.

    doses: by perturbation. seconds: what it will cost roughly, on one core.
    """

    replicates: int
    null_splits: int
    fault_seeds: int
    n: int | None
    doses: tuple[tuple[float, ...], ...]
    seconds: float
    given_up: tuple[str, ...] = ()

    @property
    def sizes(self) -> dict[str, Any]:
        """What null splits depend on."""
        return {"replicates": self.replicates, "null_splits": self.null_splits, "fault_seeds": self.fault_seeds, "n": self.n}

    def of(self, perturbation: int) -> dict[str, Any]:
        """Return what the cells of one perturbation depend on."""
        return self.sizes | {"doses": list(self.doses[perturbation])}


def groups(parts: Parts, described: Described) -> list[Group]:
    """Return the metrics by what they work on, in the order of the plan."""
    found: dict[tuple[str, int], tuple[str, Embedded | None, list[int]]] = {}
    for m, metric in enumerate(parts.metrics):
        for name, source in described.of(parts, metric):
            key = (source.kind, source.index) if source else ("images", 0)
            found.setdefault(key, (name, source, []))[2].append(m)
    return [Group(name, source, tuple(metrics)) for name, source, metrics in found.values()]


def terms(battery: Battery, parts: Parts, described: Described, n: int) -> Terms:
    """Return the size of the battery on n training images, made smaller where the budget asks for it."""
    doses = tuple(tuple(defect_of(part).doses) for part in parts.perturbations)
    asked = Terms(battery.replicates, battery.null_splits, battery.fault_seeds, battery.n, doses, 0.0)
    found = replace(asked, seconds=_seconds(asked, parts, described, n))
    if battery.budget is None or found.seconds <= battery.budget:
        return found
    for change in _smaller(found, parts):
        found = replace(change, seconds=_seconds(change, parts, described, n))
        if found.seconds <= battery.budget:
            return found
    reason = f"the battery still needs about {found.seconds:.0f} s of one core, more than the budget of {battery.budget:.0f} s"
    return replace(found, given_up=(*found.given_up, reason))


def _smaller(start: Terms, parts: Parts) -> Iterator[Terms]:
    """Yield ever smaller batteries: fewer replicates, then fewer null splits, then no dose but that of concern and the highest."""
    now = start
    for replicates in range(start.replicates - 1, LEAST_REPLICATES - 1, -1):
        text = f"{start.replicates - replicates} of {start.replicates} replicates at each dose"
        now = replace(start, replicates=replicates, given_up=(text,))
        yield now
    fewer = now
    for null_splits in range(start.null_splits - 10, LEAST_NULL_SPLITS - 1, -10):
        text = f"{start.null_splits - null_splits} of {start.null_splits} null splits"
        fewer = replace(now, null_splits=null_splits, given_up=(*now.given_up, text))
        yield fewer
    kept = tuple(
        tuple(d for d in doses if d in (defect_of(part).dose_of_concern, doses[-1]))
        for doses, part in zip(start.doses, parts.perturbations, strict=True)
    )
    lost = sum(map(len, start.doses)) - sum(map(len, kept))
    if lost:
        yield replace(fewer, doses=kept, given_up=(*fewer.given_up, f"{lost} of {sum(map(len, start.doses))} doses"))


def _seconds(size: Terms, parts: Parts, described: Described, n: int) -> float:
    """Return a rough cost on one core: embedding the planted images, asking the metrics, training the tasks."""
    planted, asked = sum(map(len, size.doses)), sum(len(group.metrics) for group in groups(parts, described))
    sources = len(described.extractors) + len(described.metrics)
    evaluations = asked * (size.null_splits + size.replicates * (1 + planted))
    embedding = planted * size.fault_seeds * (n / 2) * sources * SECONDS_PER_IMAGE
    return evaluations * _evaluation_seconds(n) + embedding + len(parts.tasks) * size.fault_seeds * SECONDS_PER_TRAINING


def _evaluation_seconds(n: int) -> float:
    """Return roughly what one metric costs on one replicate, a quarter of n training images."""
    return SECONDS_PER_EVALUATION * (max(n, 1) / 4 / (USUAL_N / 2)) ** 1.5


def cells(draft: Draft, spec: AuditSpec, parts: Parts, data: str, described: Described, n: int) -> Terms | None:
    """Add planting, null splits, replicates and decisions of every metric and task; return the size, None where nothing is planted."""
    if not parts.perturbations or not (parts.metrics or parts.tasks):
        return None
    size = terms(spec.battery, parts, described, n)
    trained = _training(draft, spec, parts, data, size)
    planted = [_planting(draft, parts, data, described, trained, p, size) for p in range(len(parts.perturbations))]
    for group in groups(parts, described):
        _decide(draft, parts, _measuring(parts, data, group, n), planted, size)
    for t in range(len(parts.tasks)):
        _decide(draft, parts, _trained(parts, data, t, trained[t]), planted, size)
    if size.given_up:
        draft.add("qualify", "battery", "what the budget cost", "battery.given_up", {"given_up": list(size.given_up)}, None)
    return size


def _training(draft: Draft, spec: AuditSpec, parts: Parts, data: str, size: Terms) -> list[list[str]]:
    """Add the cells that train each task on the anchor of each fault seed; return their keys by task and fault seed."""
    made = []
    for t, task in enumerate(parts.tasks):
        arguments = {"task": t, "data": data, "share": spec.data.validation_share}
        made.append([
            draft.add("qualify", task.name, f"train {task.name} on the anchor, fault seed {fault}", "trained.train",
                      arguments | {"fault": fault}, task.identity, [data], SECONDS_PER_TRAINING)
            for fault in range(size.fault_seeds)
        ])  # fmt: skip
    return made


def _planting(draft: Draft, parts: Parts, data: str, described: Described, trained: Sequence[Sequence[str]], p: int,
              size: Terms) -> dict[float, list[str]]:  # fmt: skip
    """Add the cells that plant one defect and describe the images; return their keys by dose and fault seed."""
    defect, sources = parts.perturbations[p], list(described.all())
    identity = [defect.identity, *(source.part(parts).identity for source in sources)]
    made: dict[float, list[str]] = {}
    for dose in size.doses[p]:
        for fault in range(size.fault_seeds):
            fitted = [keys[fault] for keys in trained]
            tasks = [{"task": t, "fitted": key} for t, key in enumerate(fitted)]
            arguments = {"perturbation": p, "dose": dose, "fault": fault, "data": data, "tasks": tasks,
                         "sources": [source.argument() for source in sources]}  # fmt: skip
            needs = [data, *(key for source in sources for key in source.keys("train")), *fitted]
            names = [*identity, *(part.identity for part in parts.tasks)]
            title = f"{defect.name} at {dose:g}, fault seed {fault}"
            made.setdefault(dose, []).append(
                draft.add("extract", defect.name, title, "planting.plant", arguments, names, needs, 1 + len(sources))
            )
    return made


@dataclass(frozen=True)
class _Asked:
    """A group of metrics or a task in the plan: its name in titles, what its cells depend on, the cells it needs, seconds a replicate."""

    name: str
    parts: list[Part]
    arguments: dict[str, Any]
    needs: list[str]
    seconds: float


def _measuring(parts: Parts, data: str, group: Group, n: int) -> _Asked:
    metrics = [parts.metrics[m] for m in group.metrics]
    features = {role: group.source.roles[role] for role in ("train", "test")} if group.source else {}
    arguments: dict[str, Any] = {
        "metrics": list(group.metrics), "extractor": group.name, "data": data, "features": features,
        "source": group.source.label if group.source else "",
    }  # fmt: skip
    return _Asked(group.name or metrics[0].name, metrics, arguments, [data, *features.values()], len(metrics) * _evaluation_seconds(n))


def _trained(parts: Parts, data: str, t: int, trained: Sequence[str]) -> _Asked:
    task, arguments = parts.tasks[t], {"task": t, "data": data, "extractor": "", "trained": list(trained)}
    return _Asked(task.name, [task], arguments, [data, *trained], SECONDS_PER_DRAW)


def _decide(draft: Draft, parts: Parts, asked: _Asked, planted: Sequence[dict[float, list[str]]], size: Terms) -> None:
    """Add null splits, replicates of every defect, and the decision."""
    identity = [part.identity for part in asked.parts]
    null = draft.add("qualify", asked.name, f"null splits, {asked.name}", "qualify.null", asked.arguments | {"size": size.sizes}, identity,
                     asked.needs, asked.seconds * (size.null_splits + size.replicates))  # fmt: skip
    answers = []
    for p, defect in enumerate(parts.perturbations):
        by_dose = {repr(dose): list(keys) for dose, keys in planted[p].items()}
        arguments = asked.arguments | {"perturbation": p, "null": null, "size": size.of(p), "planted": by_dose}
        needs = [null, *asked.needs, *(key for keys in planted[p].values() for key in keys)]
        answers.append(draft.add(
            "qualify", asked.name, f"{asked.name} on {defect.name}", "qualify.replicates", arguments, [identity, defect.identity], needs,
            asked.seconds * size.replicates * len(size.doses[p]),
        ))  # fmt: skip
    arguments = asked.arguments | {"null": null, "answers": answers, "size": size.sizes}
    draft.add("qualify", asked.name, f"{asked.name}: what it notices", "qualify.decide", arguments,
              [identity, [part.identity for part in parts.perturbations]], [null, *answers], 1)  # fmt: skip


def split_rows(bench: Bench, train: ImageSet, fault: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the anchor, which plays the training set, and of the probe, which plays the synthetic one, of a fault seed."""
    return halves(train.units, derive(bench.seed, "anchor and probe", fault))


def split(bench: Bench, data: str, fault: int) -> tuple[ImageSet, ImageSet]:
    """Return the images of the anchor and of the probe of a fault seed."""
    train = bench.images(data, "train")
    anchor, probe = split_rows(bench, train, fault)
    return train.take(anchor), train.take(probe)


def planted(bench: Bench, data: str, part: Part, dose: float, fault: int, workdir: Path) -> ImageSet:
    """Return the probe with the defect at `dose`; the anchor is what a copying generator would copy."""
    anchor, clean = split(bench, data, fault)
    # The same seed at every dose: a higher dose is then more of the same defect, not another draw.
    seed = derive(bench.seed, part.name, part.offer.version, fault)
    images = defect_of(part).apply(clean, anchor, dose, Context(seed, workdir, bench.device))
    if not isinstance(images, ImageSet) or not 0 < len(images) <= len(clean):
        raise PluginError(
            f"{part.name} returned {len(images) if isinstance(images, ImageSet) else type(images).__name__} for {len(clean)} images"
        )
    known = set(clean.ids)
    if not set(images.ids) <= known:
        raise PluginError(f"{part.name} changed the ids of the images")
    slots = {name: row for row, name in enumerate(clean.ids)}
    patients = None if clean.patients is None else tuple(clean.patients[slots[name]] for name in images.ids)
    return replace(images, patients=patients, origin="synthetic", checked=False)


def is_harmless(part: Part) -> bool:
    """Return whether a perturbation is a negative control."""
    return defect_of(part).failure_mode is FailureMode.HARMLESS


def defect_of(part: Part) -> Perturbation:
    """Return the perturbation of a part."""
    assert isinstance(part.component, Perturbation)
    return part.component


def given_up(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Say what the budget made the battery do without."""
    text = f"To keep within its budget the battery did without {'; '.join(cell.arguments['given_up'])}."
    yield FindingRow(cell=cell.key, severity="warning", kind="budget", text=text)


def blank(bench: Bench, cell: Cell, status: CellStatus, reason: str) -> Iterator[Record]:
    """Leave no row."""
    yield from ()
