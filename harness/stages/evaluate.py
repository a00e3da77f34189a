"""Trains downstream tasks on mixes of real and synthetic images and tests them on real images that neither has seen.

For every mix and repeat the task starts from the same seed; differences to the mix (1, 0) are paired by test case and repeat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import datasets, trials
from ..bench import Bench
from ..cells import Cell, Draft, derive
from ..checks import Parts
from ..components import Task
from ..errors import NotComputable
from ..images import ImageSet
from ..quantities import Quantity, Record
from ..records import CaseScoreRow, CellStatus, ScoreRow
from ..resampling import draw
from ..spec import AuditSpec
from ..statistics.intervals import Interval, mean_interval

BASELINE = (1.0, 0.0)
LEAST_UNITS = 10
GAIN = "_gain"


def cells(draft: Draft, spec: AuditSpec, parts: Parts, data: str, sample: str, synthetic: str) -> list[str]:
    """Add one cell per task, mix and repeat, and one per task that summarises them."""
    if spec.tasks is None:
        return []
    keys = []
    for t, task in enumerate(parts.tasks):
        runs = []
        for mix in spec.tasks.mixes:
            for repeat in range(spec.tasks.repeats):
                arguments: dict[str, Any] = {"task": t, "data": data, "mix": list(mix), "repeat": repeat,
                                             "share": spec.data.validation_share}  # fmt: skip
                arguments |= {"sample": sample, "sha256": synthetic} if mix[1] else {}
                title = f"{task.name} on ({mix[0]:g}, {mix[1]:g}), repeat {repeat}"
                needs = [data, *([sample] if mix[1] else [])]
                runs.append(draft.add("evaluate", task.name, title, "evaluate.run", arguments, task.identity, needs, 15))
        arguments = {
            "task": t,
            "runs": runs,
            "mixes": [list(m) for m in spec.tasks.mixes],
            "repeats": spec.tasks.repeats,
            "data": data,
        }
        title = f"{task.name}: mixes compared"
        # The summary says itself which runs are missing, so it does not need them to have succeeded.
        keys.append(draft.add("evaluate", task.name, title, "evaluate.summarise", arguments, task.identity, runs, 1))
    return keys


def run(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Train on one mix with one seed and score every real test case."""
    arguments = cell.arguments
    part = bench.parts.tasks[arguments["task"]]
    task, (real_share, synthetic_share), repeat = part.component, arguments["mix"], arguments["repeat"]
    assert isinstance(task, Task)
    train, validation = with_validation(bench, bench.images(arguments["data"], "train"), arguments)
    test = bench.images(arguments["data"], "test")
    rng = np.random.default_rng(derive(bench.seed, "mix", repeat))
    chosen = [_real(train, real_share, rng)]
    if synthetic_share:
        chosen.append(_synthetic(bench.images(arguments["sample"], "synthetic"), round(synthetic_share * len(train)), rng))
    mixed = join([images for images in chosen if len(images)])
    fitted, workdir = folder / "fitted", folder / "work"
    fitted.mkdir()
    workdir.mkdir()
    # No word of the mix enters the seed: initialisation and order of batches start the same for every mix of a repeat.
    context = bench.context(fitted, "task", part.name, part.offer.version, repeat)
    trials.fit(part, mixed, validation, context)
    scored = trials.score(part, test, replace(context, workdir=workdir, fitted=fitted))
    patients = test.patients or (None,) * len(test)
    arrays: dict[str, np.ndarray] = {}
    for quantity, values in scored.items():
        arrays[quantity] = values.filled(np.nan)
        if values.ndim == 0:
            continue
        for case, row in enumerate(np.ma.atleast_2d(values.T).T):
            for region, value in zip(task.columns(test), row, strict=True):
                if value is not np.ma.masked:
                    yield CaseScoreRow(
                        cell=cell.key, component=part.name, quantity=quantity, tested_on="real", region=region,
                        real_share=real_share, synthetic_share=synthetic_share, repeat=repeat, case_id=test.ids[case],
                        patient=patients[case], value=float(value),
                    )  # fmt: skip
    trials.keep(folder / "values.npz", arrays)


def summarise(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Give every mix its value and its paired gain over (1, 0), with intervals over cases and repeats."""
    arguments = cell.arguments
    part = bench.parts.tasks[arguments["task"]]
    task = part.component
    assert isinstance(task, Task)
    test = bench.images(arguments["data"], "test")
    repeats, runs = arguments["repeats"], list(arguments["runs"])
    found: dict[tuple[float, float], list[dict[str, np.ndarray]]] = {}
    why: dict[tuple[float, float], tuple[CellStatus, str]] = {}
    for index, mix in enumerate(arguments["mixes"]):
        loaded = []
        for key in runs[index * repeats : (index + 1) * repeats]:
            result = bench.cache.load(key)
            if result is None or result.status != "ok":
                status = result.status if result else "failed"
                why[tuple(mix)] = (status, result.reason if result else "a training run failed; its cell says why")
                break
            loaded.append(trials.kept(bench.cache.folder(key) / "values.npz"))
        found[tuple(mix)] = loaded if tuple(mix) not in why else []
    for quantity in task.quantities:
        for index, region in enumerate(task.columns(test)):
            stacked = {mix: _stack(loaded, quantity.name, index) for mix, loaded in found.items()}
            for mix, values in stacked.items():
                base = {"cell": cell.key, "stage": "evaluate", "component": part.name, "real_share": mix[0], "synthetic_share": mix[1],
                        "tested_on": "real", "region": region, "unit": quantity.unit, "seed": bench.seed,
                        "n_patients": test.n_patients}  # fmt: skip
                yield _score(base, quantity.name, quantity, values, why.get(mix), test)
                if mix == BASELINE or BASELINE not in stacked:
                    continue
                other = stacked[BASELINE]
                reason = why.get(mix) or why.get(BASELINE)
                gain = None if values is None or other is None else values - other
                # A gain is always "higher is better": the sign is turned where lower values are.
                gain = -gain if gain is not None and quantity.better == "lower" else gain
                better = Quantity(name=quantity.name + GAIN, unit=quantity.unit, better="higher")
                yield _score(base, better.name, better, gain, reason, test)


def with_validation(bench: Bench, real: ImageSet, arguments: Mapping[str, Any], *words: Any) -> tuple[ImageSet, ImageSet]:
    """Return the real images to train on and those to stop by: a split by patient where the user has no validation set.

    words: what tells this split from others of the audit.
    """
    if bench.file.spec.data.validation is not None:
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


def _stack(loaded: Sequence[dict[str, np.ndarray]], name: str, region: int) -> np.ndarray | None:
    """Return (cases, repeats), or (1, repeats) where the task gives one number a run."""
    if not loaded:
        return None
    columns = [np.atleast_1d(run[name]) for run in loaded]
    return np.stack([column[:, region] if column.ndim == 2 else column for column in columns], axis=1)


def _score(base: dict[str, Any], name: str, quantity: Quantity, values: np.ndarray | None, why: tuple[CellStatus, str] | None,
           test: ImageSet) -> ScoreRow:  # fmt: skip
    if values is None:
        status, reason = why or ("failed", "no run")
        return ScoreRow(**base, quantity=name, value=None, better=quantity.better, status=status, reason=reason)
    present = np.isfinite(values).all(axis=1)
    if not present.any():
        return ScoreRow(
            **base,
            quantity=name,
            value=None,
            better=quantity.better,
            status="not_computable",
            reason="no test case has a value",
        )
    kept, units = values[present], test.units[present] if len(values) == len(test) else None
    value = float(kept.mean())
    interval: Interval | None = None
    method = "no interval: the task gives one number a run, so the variation over cases is unknown"
    if units is not None:
        groups = len(np.unique(units))
        method = f"no interval: {groups} test patients, at least {LEAST_UNITS} are needed"
        if groups >= LEAST_UNITS:
            low, high = (None, None) if name.endswith(GAIN) else (quantity.low, quantity.high)
            interval = mean_interval(kept, units, low, high)
            base = base | {"n_patients": groups if test.patients is not None else None}
    row: dict[str, Any] = {"value": value, "judged_value": value, "n": len(kept), "judged_n": len(kept), "ci_method": method}
    if interval is not None:
        row |= {"ci_low": interval.low, "ci_high": interval.high, "bound_low": interval.bound_low, "bound_high": interval.bound_high,
                "ci_method": interval.method, "level": interval.level, "sides": "two"}  # fmt: skip
    return ScoreRow(**base, quantity=name, better=quantity.better, **row)


def blank(bench: Bench, cell: Cell, status: CellStatus, reason: str) -> Iterator[Record]:
    """Leave no row for a single run; the summary says which mix has no value, and why."""
    yield from ()
