"""Trains downstream tasks on mixes of real and synthetic images and tests them on images that they have not seen.

Tests are on real images, and on further synthetic ones where the audit asks for some. For every mix and repeat the task starts from
the same seed; differences to the mix (1, 0) are paired by test case and repeat.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import datasets, trials
from ..asking import tried
from ..bench import Bench
from ..cells import Cell, Draft, derive
from ..checks import Part, Parts
from ..components import Context, Task
from ..errors import NotComputable
from ..images import ImageSet
from ..quantities import Quantity, Record
from ..records import CaseScoreRow, CellStatus, ScoreRow
from ..resampling import draw
from ..spec import LESION_SIZE, AuditSpec
from ..statistics.intervals import Interval, mean_interval
from .extract import Sampled
from .measure import asked

BASELINE = (1.0, 0.0)
LEAST_UNITS = 10
GAIN = "_gain"
SCORED = "scored.npz"
REASONS = "reasons.json"
NOTES = "notes.json"
# The quantity that trust factors are made of.
TRUSTED = "dice"
Mix = tuple[float, float]
# What every repeat of a mix gave, (cases, columns, repeats) or (1, 1, repeats) by quantity, or why there is nothing.
Found = dict[str, np.ndarray] | tuple[CellStatus, str]


def cells(draft: Draft, spec: AuditSpec, parts: Parts, data: str, samples: Sequence[Sampled], test: Sampled | None) -> None:
    """Add one cell per task, mix and repeat, and those that summarise them.

    samples: of each sampling run; where there are several, repeat k learns from run k. test: None where none are asked for.
    """
    if spec.tasks is None:
        return
    for t, task in enumerate(parts.tasks):
        runs, retests, withins, named = [], [], [], _strata(spec, task)
        for mix in spec.tasks.mixes:
            for repeat in range(spec.tasks.repeats):
                arguments: dict[str, Any] = {"task": t, "data": data, "mix": list(mix), "repeat": repeat,
                                             "share": spec.data.validation_share}  # fmt: skip
                needs = [data]
                if mix[1]:
                    sample, sha256 = samples[repeat if len(samples) > 1 else 0]
                    arguments |= {"sample": sample, "sha256": sha256}
                    needs.append(sample)
                title = f"{task.name} on ({mix[0]:g}, {mix[1]:g}), repeat {repeat}"
                runs.append(draft.add("evaluate", task.name, title, "evaluate.run", arguments, task.identity, needs, 15))
                again: dict[str, Any] = {"task": t, "mix": list(mix), "repeat": repeat, "run": runs[-1]}
                if named:
                    arguments, told = again | {"data": data, "strata": named}, f"{title}, within strata"
                    withins.append(draft.add("evaluate", task.name, told, "evaluate.within", arguments, task.identity, runs[-1:], 1))
                if test:
                    arguments, told = again | {"test": test[0], "sha256": test[1]}, f"{title}, on synthetic images"
                    needs = [runs[-1], test[0]]
                    retests.append(draft.add("evaluate", task.name, told, "evaluate.retest", arguments, task.identity, needs, 2))
        mixes = [list(m) for m in spec.tasks.mixes]
        arguments = {"task": t, "runs": runs, "mixes": mixes, "repeats": spec.tasks.repeats, "data": data}
        arguments |= {"retests": retests, "test": test[0], "sha256": test[1]} if test else {}
        # The summary says itself which runs are missing, so it does not need them to have succeeded.
        needs, summed = [*runs, *retests], arguments | {"strata": named, "withins": withins}
        title = f"{task.name}: mixes compared"
        draft.add("evaluate", task.name, title, "evaluate.summarise", summed, task.identity, [*needs, *withins], 1)
        if test and any(quantity.name == TRUSTED for quantity in task.offer.promises):
            draft.add("evaluate", task.name, f"{task.name}: trust factors", "trust.factors", arguments, task.identity, needs, 1)


def run(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Train on one mix with one seed and score every real test case."""
    arguments = cell.arguments
    part = bench.parts.tasks[arguments["task"]]
    (real_share, synthetic_share), repeat = arguments["mix"], arguments["repeat"]
    train, validation = with_validation(bench, bench.images(arguments["data"], "train"), arguments)
    rng = np.random.default_rng(derive(bench.seed, "mix", repeat))
    chosen = [_real(train, real_share, rng)]
    if synthetic_share:
        chosen.append(_synthetic(bench.images(arguments["sample"], "synthetic"), round(synthetic_share * len(train)), rng))
    mixed = join([images for images in chosen if len(images)])
    fitted = folder / "fitted"
    fitted.mkdir()
    # No word of the mix enters the seed: initialisation and order of batches start the same for every mix of a repeat.
    trials.fit(part, mixed, validation, bench.context(fitted, "task", part.name, part.offer.version, repeat))
    test = bench.images(arguments["data"], "test")
    yield from _scored(bench, cell, folder, fitted, test, "real")


def _strata(spec: AuditSpec, task: Part) -> list[str]:
    """Return the labels, groups and sizes within which a task is tested too; not labels by themselves where labels are its answers."""
    data = spec.data
    labelled = data.labels is not None and "labels" not in task.component.needs
    own = [*(["label"] if labelled else []), *data.groups, *([LESION_SIZE] if data.masks is not None else [])]
    return asked(spec, own)


def strata(test: ImageSet, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the rows of test images in each stratum, as `label=0`.

    Lesion sizes are thirds of the images with a lesion, by its share of the image.
    """
    values = {"label": test.labels, **(test.groups or {}), LESION_SIZE: _sizes(test)}
    found: dict[str, np.ndarray] = {}
    for name in names:
        known = values.get(name)
        for value in [] if known is None else sorted(set(known.tolist()) - {""}):
            found[f"{name}={value}"] = np.flatnonzero(known == value)
    return found


def _sizes(test: ImageSet) -> np.ndarray | None:
    """Return small, medium or large for each image with a lesion, else nothing, (N,) str."""
    if test.masks is None:
        return None
    area = np.array([np.count_nonzero(mask) for mask in test.masks])
    if not area.any():
        return None
    low, high = np.quantile(area[area > 0], (1 / 3, 2 / 3))
    return np.select([area == 0, area <= low, area <= high], ["", "small", "medium"], "large")


def within(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Keep what a run has to say of each stratum by itself: a statistic such as the AUROC is no mean over cases of the whole set."""
    part, reasons = bench.parts.tasks[cell.arguments["task"]], {}
    fitted = bench.cache.folder(cell.arguments["run"]) / "fitted"
    test = bench.images(cell.arguments["data"], "test")
    for place, (label, rows) in enumerate(strata(test, cell.arguments["strata"]).items()):
        scored, reason = tried(partial(trials.score, part, test.take(rows), _context(bench, cell, folder, fitted)))
        if scored is None:
            reasons[label] = reason
        else:
            trials.keep(folder / f"{place}-{SCORED}", {name: values.filled(np.nan) for name, values in scored.items()})
    (folder / REASONS).write_text(json.dumps(reasons, sort_keys=True), encoding="utf-8")
    yield from ()


def retest(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Score every synthetic test case with what a run has learned."""
    arguments = cell.arguments
    fitted = bench.cache.folder(arguments["run"]) / "fitted"
    yield from _scored(bench, cell, folder, fitted, bench.images(arguments["test"], "synthetic"), "synthetic")


def _scored(bench: Bench, cell: Cell, folder: Path, fitted: Path, test: ImageSet, tested_on: str) -> Iterator[Record]:
    """Keep what a fitted task says of a test set, and yield it case by case."""
    arguments = cell.arguments
    part = bench.parts.tasks[arguments["task"]]
    assert isinstance(part.component, Task)
    context = _context(bench, cell, folder, fitted)
    scored = trials.score(part, test, context)
    (folder / NOTES).write_text(json.dumps(context.notes, sort_keys=True), encoding="utf-8")
    trials.keep(folder / SCORED, {name: values.filled(np.nan) for name, values in scored.items()})
    row = {"cell": cell.key, "component": part.name, "tested_on": tested_on, "real_share": arguments["mix"][0],
           "synthetic_share": arguments["mix"][1], "repeat": arguments["repeat"]}  # fmt: skip
    yield from _cases(row, part.component.columns(test), test, scored)


def _context(bench: Bench, cell: Cell, folder: Path, fitted: Path) -> Context:
    """Return the context in which a fitted task scores: the same for every test set of a run."""
    part = bench.parts.tasks[cell.arguments["task"]]
    workdir = folder / "work"
    workdir.mkdir(exist_ok=True)
    return replace(bench.context(workdir, "task", part.name, part.offer.version, cell.arguments["repeat"]), fitted=fitted)


def _cases(row: Mapping[str, Any], columns: Sequence[str], test: ImageSet, scored: Mapping[str, np.ma.MaskedArray]) -> Iterator[Record]:
    patients = test.patients or (None,) * len(test)
    for quantity, values in scored.items():
        if values.ndim == 0:
            continue
        for case, found in enumerate(np.ma.atleast_2d(values.T).T):
            for region, value in zip(columns, found, strict=True):
                if value is not np.ma.masked:
                    yield CaseScoreRow(**row, quantity=quantity, region=region, case_id=test.ids[case], patient=patients[case],
                                       value=float(value))  # fmt: skip


def gathered(bench: Bench, arguments: Mapping[str, Any], tested_on: str, stratum: tuple[int, str] | None = None) -> dict[Mix, Found]:
    """Return what the repeats of each mix gave on real or on synthetic test images, in the order of the plan.

    stratum: its place and name, None for the whole test set.
    """
    of = "withins" if stratum is not None else "runs" if tested_on == "real" else "retests"
    repeats, keys = arguments["repeats"], list(arguments[of])
    mixes = [tuple(mix) for mix in arguments["mixes"]]
    return {mix: _repeats(bench, keys[index * repeats : (index + 1) * repeats], stratum) for index, mix in enumerate(mixes)}


def tests(bench: Bench, arguments: Mapping[str, Any]) -> dict[str, ImageSet]:
    """Return the images that a task was tested on: real, and synthetic where there are some for it."""
    found = {"real": bench.images(arguments["data"], "test")}
    made = bench.cache.load(arguments["test"]) if "test" in arguments else None
    return found | ({"synthetic": bench.images(arguments["test"], "synthetic")} if made and made.status == "ok" else {})


def _repeats(bench: Bench, keys: Sequence[str], stratum: tuple[int, str] | None) -> Found:
    loaded = []
    for key in keys:
        result = bench.cache.load(key)
        if result is None or result.status != "ok":
            status = result.status if result else "failed"
            return status, result.reason if result else "a training run failed; its cell says why"
        folder = bench.cache.folder(key)
        if stratum is not None:
            reason = json.loads((folder / REASONS).read_text(encoding="utf-8")).get(stratum[1])
            if reason is not None:
                return "not_computable", reason
        loaded.append(trials.kept(folder / (SCORED if stratum is None else f"{stratum[0]}-{SCORED}")))
    return {name: np.stack([_by_column(one[name]) for one in loaded], axis=2) for name in loaded[0]}


def _by_column(values: np.ndarray) -> np.ndarray:
    """Return (cases, columns) of what a task gave: one number a run, one a case, or one a case and column."""
    return np.atleast_2d(values.T).T


def summarise(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Give every mix its value and its paired gain over (1, 0), with intervals over cases and repeats."""
    part = bench.parts.tasks[cell.arguments["task"]]
    task = part.component
    assert isinstance(task, Task)
    known = tests(bench, cell.arguments)
    for tested_on in ("real", *(["synthetic"] if "test" in cell.arguments else [])):
        # Without synthetic test images there is a row for each mix all the same, which says why.
        test, found = known.get(tested_on, known["real"]), gathered(bench, cell.arguments, tested_on)
        summed = _columns(cell, bench.seed, task, part.name, tested_on, "", test, found)
        yield from _noted(bench, cell.arguments, tested_on, summed)
    test = known["real"]
    for place, (label, rows) in enumerate(strata(test, cell.arguments["strata"]).items()):
        found = gathered(bench, cell.arguments, "real", (place, label))
        yield from _columns(cell, bench.seed, task, part.name, "real", label, test.take(rows), found)


def _noted(bench: Bench, arguments: Mapping[str, Any], tested_on: str, rows: Iterator[ScoreRow]) -> Iterator[Record]:
    """Yield the rows with what the task noted of the quantity in the first repeat of the mix."""
    keys = list(arguments["runs" if tested_on == "real" else "retests"])[:: arguments["repeats"]]
    notes: dict[Mix, dict[str, str]] = {}
    for mix, key in zip(arguments["mixes"], keys, strict=True):
        path = bench.cache.folder(key) / NOTES
        notes[tuple(mix)] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for row in rows:
        mine = notes[row.real_share or 0.0, row.synthetic_share or 0.0]
        yield row.model_copy(update={"method": mine.get(row.quantity.removesuffix(GAIN), "")})


def _columns(cell: Cell, seed: int, task: Task, name: str, tested_on: str, stratum: str, test: ImageSet,
             found: Mapping[Mix, Found]) -> Iterator[ScoreRow]:  # fmt: skip
    """Yield the values and gains of every quantity and column on one test set."""
    columns = task.columns(test)
    for quantity in task.quantities:
        for index, region in enumerate(columns):
            base = {"cell": cell.key, "stage": "evaluate", "component": name, "tested_on": tested_on, "region": region,
                    "stratum": stratum, "unit": quantity.unit, "seed": seed, "n_patients": test.n_patients}  # fmt: skip
            taken = {mix: _column(one, quantity.name, index, len(columns)) for mix, one in found.items()}
            yield from _compared(base, quantity, taken, test)


def _column(found: Found, name: str, index: int, columns: int) -> np.ndarray | tuple[CellStatus, str] | None:
    """Return (cases, repeats), or (1, repeats) of one number a run, which belongs to the first column alone."""
    if isinstance(found, tuple):
        return found
    values = found[name]
    if values.shape[1] == columns:
        return values[:, index]
    return values[:, 0] if index == 0 else None


def _compared(base: Mapping[str, Any], quantity: Quantity, taken: Mapping[Mix, Any], test: ImageSet) -> Iterator[ScoreRow]:
    """Yield the value of each mix and its gain."""
    # A gain is always "higher is better": the sign is turned where lower values are.
    sign, better = (
        -1.0 if quantity.better == "lower" else 1.0,
        quantity.model_copy(update={"name": quantity.name + GAIN, "better": "higher"}),
    )
    for mix, values in taken.items():
        if values is None:
            continue
        row = {**base, "real_share": mix[0], "synthetic_share": mix[1]}
        yield _score(row, quantity.name, quantity, values, test)
        if mix == BASELINE or taken.get(BASELINE) is None:
            continue
        other = taken[BASELINE]
        missing = next((one for one in (values, other) if isinstance(one, tuple)), None)
        yield _score(row, better.name, better, missing or sign * (values - other), test)


def with_validation(bench: Bench, real: ImageSet, arguments: Mapping[str, Any], *words: Any) -> tuple[ImageSet, ImageSet]:
    """Return the real images to train on and those to stop by: a split by patient where none were read or set aside before.

    words: what tells this split from others of the audit.
    """
    if (bench.cache.folder(arguments["data"]) / "validation").is_dir():
        return real, bench.images(arguments["data"], "validation")
    return datasets.split_validation(real, arguments["share"], derive(bench.seed, "validation", *words))


def join(sets: Sequence[ImageSet]) -> ImageSet:
    """Return the sets one after the other, with what all of them know."""
    first, known = sets[0], frozenset.intersection(*(images.offers() for images in sets))
    if len(sets) == 1:
        return replace(first, features=None)

    def stack(name: str) -> Any:
        return np.concatenate([getattr(images, name) for images in sets]) if name in known else None

    ids = tuple(f"{images.origin}/{i}" for images in sets for i in images.ids)
    return ImageSet(
        np.concatenate([images.images for images in sets]), ids, first.spacing_mm, stack("masks"), stack("labels"), stack("concepts"),
        origin=first.origin,
    )  # fmt: skip


def _real(train: ImageSet, share: float, rng: np.random.Generator) -> ImageSet:
    if share > 1:
        raise NotComputable(f"a real share of {share:g} needs more real images than there are")
    return train if share == 1 else train.take(draw(train.units, round(share * len(train)), rng))


def _synthetic(synthetic: ImageSet, n: int, rng: np.random.Generator) -> ImageSet:
    if n > len(synthetic):
        raise NotComputable(f"this mix needs {n} synthetic images, got {len(synthetic)}; ask for more samples or a smaller share")
    return synthetic.take(np.sort(rng.choice(len(synthetic), n, replace=False)))


def _score(base: Mapping[str, Any], name: str, quantity: Quantity, values: np.ndarray | tuple[CellStatus, str],
           test: ImageSet) -> ScoreRow:  # fmt: skip
    """Return the row of a mean over cases and repeats, with its interval or the reason why it has none."""
    if isinstance(values, tuple):
        return ScoreRow(**base, quantity=name, value=None, better=quantity.better, status=values[0], reason=values[1])
    present = np.isfinite(values).all(axis=1)
    if not present.any():
        reason = "no test case has a value"
        return ScoreRow(**base, quantity=name, value=None, better=quantity.better, status="not_computable", reason=reason)
    kept, units = values[present], test.units[present] if len(values) == len(test) else None
    value = float(kept.mean())
    interval: Interval | None = None
    method = "no interval: the task gives one number a run, so the variation over cases is unknown"
    if units is not None:
        groups, known = len(np.unique(units)), test.patients is not None
        of = "test patients" if known else "test images"
        method = f"no interval: {quantity.no_interval or f'{groups} {of}, at least {LEAST_UNITS} are needed'}"
        base = {**base, "n_patients": groups if known else None}
        if groups >= LEAST_UNITS and not quantity.no_interval:
            low, high = (None, None) if name.endswith(GAIN) else (quantity.low, quantity.high)
            interval = mean_interval(kept, units, low, high, known=known)
    row: dict[str, Any] = {"value": value, "judged_value": value, "n": len(kept), "judged_n": len(kept), "ci_method": method}
    if interval is not None:
        row |= {"ci_low": interval.low, "ci_high": interval.high, "bound_low": interval.bound_low, "bound_high": interval.bound_high,
                "ci_method": interval.method, "level": interval.level, "sides": "two"}  # fmt: skip
    return ScoreRow(**base, quantity=name, better=quantity.better, **row)


def blank(bench: Bench, cell: Cell, status: CellStatus, reason: str) -> Iterator[Record]:
    """Leave no row for a single run; the summary says which mix has no value, and why."""
    yield from ()
