"""Measures every metric on the synthetic images: value, interval, and the floor of real against real.

The estimand is the expected value at this number of images. The interval is the value +- t * SD over half-samples (real images by
patient, synthetic ones by `units`), exact binomial where the quantity is a share of independent images; few patients give none. The
floor is the same metric on two patient-disjoint parts of the training set; `value_at_floor_n` is the synthetic arm measured at the
floor's sizes, and that pair is what a criterion judges when the quantity depends on the number of images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from ..bench import Bench
from ..cells import Cell, Draft, derive
from ..checks import Parts
from ..components import Context, Metric
from ..errors import NotComputable
from ..images import Comparison, ImageSet
from ..pictures import nearest
from ..quantities import Quantity, Record
from ..records import CellStatus, ScoreRow
from ..spec import AuditSpec
from ..statistics.intervals import Interval, binomial_interval, half_sample_interval, half_sample_rows
from .asking import ask
from .battery import draw, halves
from .extract import ROLES, Embedded

LEAST_UNITS = 10
NEAREST_SHOWN = 8


def cells(draft: Draft, spec: AuditSpec, parts: Parts, data: str, sample: str, synthetic: str, embedded: dict[str, Embedded],
          n: int) -> list[str]:  # fmt: skip
    """Add one cell per metric, extractor and stratum; strata are those that a criterion names."""
    strata = sorted({s for purpose in spec.purposes.values() for c in purpose.criteria for s in c.strata})
    keys = []
    for m, metric in enumerate(parts.metrics):
        uses = "features" in metric.component.needs
        for name in [x.name for x in parts.extractors] if uses else [""]:
            features = {role: embedded[name].roles[role] for role in ROLES} if uses else {}
            for stratum in ("", *strata):
                arguments = {"metric": m, "extractor": name, "data": data, "sample": sample, "sha256": synthetic,
                             "features": features, "stratum": stratum, "size": spec.intervals.model_dump()}  # fmt: skip
                title = metric.name + (f", {name}" if name else "") + (f", by {stratum}" if stratum else "")
                keys.append(draft.add("measure", metric.name, title, "measure.measure", arguments, metric.identity,
                                      [data, sample, *features.values()], 2 * (n / 300) ** 2))  # fmt: skip
    if parts.extractors:
        first = parts.extractors[0].name
        arguments = {"data": data, "sample": sample, "sha256": synthetic, "features": embedded[first].roles, "extractor": first}
        draft.add("measure", "nearest", f"nearest training images, {first}", "measure.neighbours", arguments, None,
                  [data, sample, *embedded[first].roles.values()], 1)  # fmt: skip
    return keys


def measure(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Measure one metric, over all images or within each stratum."""
    comparison = bench.comparison(dict(cell.arguments))
    if not cell.arguments["stratum"]:
        yield from _measure(bench, cell, comparison, "", folder)
        return
    name = cell.arguments["stratum"]
    for value in _values(comparison, name):
        rows = {role: np.flatnonzero(_stratum(getattr(comparison, role), name) == value) for role in ROLES}
        label = f"{name}={value}"
        if min(len(r) for r in rows.values()) == 0:
            empty = [role for role, r in rows.items() if not len(r)]
            yield from _blank(bench, cell, "not_computable", f"no {' and no '.join(empty)} images in {label}", label)
            continue
        try:
            yield from list(_measure(bench, cell, comparison.take(**rows), label, folder))
        except NotComputable as error:
            yield from _blank(bench, cell, "not_computable", str(error), label)


def neighbours(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Show the synthetic images that lie closest to a training image, beside it."""
    comparison = bench.comparison(dict(cell.arguments))
    distance, index = comparison.neighbours("synthetic", "train", 2)
    ratio = np.divide(distance[:, 0], distance[:, 1], out=np.zeros(len(distance)), where=distance[:, 1] > 0)
    rows = np.argsort(ratio, kind="stable")[:NEAREST_SHOWN]
    caption = f"ratio of nearest to second nearest distance, {cell.arguments['extractor']}"
    yield from nearest(cell.key, comparison.synthetic, comparison.train, rows, index[rows, 0], ratio[rows], caption)


def _measure(bench: Bench, cell: Cell, comparison: Comparison, stratum: str, folder: Path) -> Iterator[ScoreRow]:
    part = bench.parts.metrics[cell.arguments["metric"]]
    metric, size = part.component, cell.arguments["size"]
    assert isinstance(metric, Metric)

    def context(*words: Any) -> Context:
        return Context(derive(bench.seed, part.name, part.offer.version, "measure", *words), folder, bench.device)

    values = ask(metric, comparison, context())
    n, counts = comparison.n("synthetic"), _units(comparison)
    independent, few = counts["synthetic"] == n, _few(counts, ("train", "test"))
    free, held, why = _halves(bench, metric, comparison, size["half_samples"], context)
    floor, at_floor, n_floor, why_floor = _floor(bench, metric, comparison, size["floor_splits"], context)
    for quantity in metric.quantities:
        value = values[quantity.name]
        spread = held if quantity.fixed_train else free
        units = counts["synthetic"] if quantity.fixed_train else min(counts.values())
        row: dict[str, Any] = {"value": value, "judged_value": value, "judged_n": n, "n": n}
        interval: Interval | None = None
        if quantity.proportion and independent and not few:
            interval = binomial_interval(round(value * n), n)
        elif spread:
            interval = half_sample_interval(value, np.array(spread[quantity.name]), quantity.low, quantity.high, units)
        row |= {"ci_method": f"no interval: {few or why}"} if interval is None else _columns(interval)
        if quantity.proportion and not independent:
            row["ci_method"] += f"; not binomial: {n} synthetic images of {counts['synthetic']} files"
        if floor:
            found = np.array(floor[quantity.name])
            reach = float(stats.t.ppf(0.975, len(found) - 1) * found.std(ddof=1) * np.sqrt(1 + 1 / len(found)))
            low, high = _clip(found.mean() - reach, quantity), _clip(found.mean() + reach, quantity)
            row |= {"floor": float(found.mean()), "floor_low": low, "floor_high": high, "n_floor": n_floor}
            row |= {"value_at_floor_n": float(np.mean(at_floor[quantity.name]))}
        if quantity.biased_in_n:
            row |= _judged_at_floor(row, spread.get(quantity.name, []), quantity, why_floor, units)
        yield ScoreRow(
            cell=cell.key, stage="measure", component=part.name, quantity=quantity.name, extractor=cell.arguments["extractor"],
            stratum=stratum, n_patients=comparison.test.n_patients, seed=bench.seed, unit=quantity.unit, better=quantity.better, **row,
        )  # fmt: skip


def _judged_at_floor(row: dict[str, Any], spread: list[float], quantity: Quantity, why: str, units: int) -> dict[str, Any]:
    """Return what a criterion judges of a quantity that depends on n: the value at the floor's n with its bounds."""
    nothing = {"judged_value": None, "bound_low": None, "bound_high": None, "judged_n": None}
    if row.get("value_at_floor_n") is None:
        return nothing | {"ci_method": f"{row['ci_method']}; not judged: {why}".lstrip("; ")}
    judged = {"judged_value": row["value_at_floor_n"], "judged_n": row["n_floor"], "bound_low": None, "bound_high": None}
    if spread:
        interval = half_sample_interval(row["value_at_floor_n"], np.array(spread), quantity.low, quantity.high, units)
        judged |= {"bound_low": interval.bound_low, "bound_high": interval.bound_high}
    return judged


def _halves(bench: Bench, metric: Metric, comparison: Comparison, count: int, context: Any) -> tuple[
    dict[str, list[float]], dict[str, list[float]], str
]:  # fmt: skip
    """Return the values of half-samples: all arms resampled, and with the training set held fixed; or why there are none."""
    free: dict[str, list[float]] = {}
    held: dict[str, list[float]] = {}
    counts = _units(comparison)
    few = _few(counts, ROLES)
    if few:
        return {}, {}, few
    independent = counts["synthetic"] == comparison.n("synthetic")
    wanted = {q.fixed_train for q in metric.quantities if not (q.proportion and independent)}
    for repeat in range(count):
        rng = np.random.default_rng(derive(bench.seed, "half-sample", repeat))
        rows = {role: half_sample_rows(getattr(comparison, role).units, rng) for role in ROLES}
        for fixed, into in ((False, free), (True, held)):
            if fixed not in wanted:
                continue
            part = comparison.take(**({"synthetic": rows["synthetic"]} if fixed else rows))
            try:
                answer = ask(metric, part, context("half", repeat))
            except NotComputable as error:
                return {}, {}, f"too few images for half-samples ({error})"
            for name, value in answer.items():
                into.setdefault(name, []).append(value)
    return free, held, ""


def _floor(bench: Bench, metric: Metric, comparison: Comparison, count: int, context: Any) -> tuple[
    dict[str, list[float]], dict[str, list[float]], int, str
]:  # fmt: skip
    """Return the metric on real against real and on synthetic against the same real, at equal numbers of images."""
    floor: dict[str, list[float]] = {}
    at_floor: dict[str, list[float]] = {}
    n = 0
    try:
        sizes = [len(halves(comparison.train.units, derive(bench.seed, "floor", k))[1]) for k in range(count)]
        n = min(*sizes, comparison.n("synthetic"))
        real = Comparison(comparison.train, comparison.test, comparison.train)
        for repeat in range(count):
            anchor, probe = halves(comparison.train.units, derive(bench.seed, "floor", repeat))
            rng = np.random.default_rng(derive(bench.seed, "floor draw", repeat))
            probe = probe[draw(comparison.train.units[probe], n, rng)]
            drawn = draw(comparison.synthetic.units, n, rng)
            for source, rows, into in ((real, probe, floor), (comparison, drawn, at_floor)):
                for name, value in ask(metric, source.take(train=anchor, synthetic=rows), context("floor", repeat)).items():
                    into.setdefault(name, []).append(value)
    except NotComputable as error:
        return {}, {}, 0, f"no floor: {error}"
    return floor, at_floor, n, ""


def _units(comparison: Comparison) -> dict[str, int]:
    """Return how many independent units each side has: patients, files, or images on their own."""
    return {role: len(np.unique(getattr(comparison, role).units)) for role in ROLES}


def _few(counts: Mapping[str, int], roles: Iterable[str]) -> str:
    """Return which of these sides has too few units for any interval, or nothing."""
    for role in roles:
        if counts[role] < LEAST_UNITS:
            what = "independent synthetic images" if role == "synthetic" else f"{role} patients"
            return f"{counts[role]} {what}, at least {LEAST_UNITS} are needed for an interval"
    return ""


def _columns(interval: Interval) -> dict[str, Any]:
    return {"ci_low": interval.low, "ci_high": interval.high, "bound_low": interval.bound_low, "bound_high": interval.bound_high,
            "ci_method": interval.method, "level": interval.level, "sides": "two"}  # fmt: skip


def _clip(value: float, quantity: Quantity) -> float:
    value = value if quantity.low is None else max(value, quantity.low)
    return float(value if quantity.high is None else min(value, quantity.high))


def _stratum(images: ImageSet, name: str) -> np.ndarray:
    found = images.labels if name == "label" else (images.groups or {}).get(name)
    if found is None:
        raise NotComputable(f"the {images.origin} images have no {name}")
    return found


def _values(comparison: Comparison, name: str) -> list[Any]:
    return sorted(set(_stratum(comparison.test, name).tolist()))


def blank(bench: Bench, cell: Cell, status: CellStatus, reason: str) -> Iterator[Record]:
    """Say for each quantity that it has no number, and why."""
    if cell.component != "nearest":
        yield from _blank(bench, cell, status, reason, cell.arguments["stratum"])


def _blank(bench: Bench, cell: Cell, status: CellStatus, reason: str, stratum: str) -> Iterator[ScoreRow]:
    part = bench.parts.metrics[cell.arguments["metric"]]
    for quantity in part.offer.promises:
        yield ScoreRow(
            cell=cell.key, stage="measure", component=part.name, quantity=quantity.name, extractor=cell.arguments["extractor"],
            stratum=stratum, value=None, unit=quantity.unit, better=quantity.better, status=status, reason=reason,
        )  # fmt: skip
