"""Finds out which metric notices which defect on the user's own real images, before any of them is believed.

Real training images are split by patient into an anchor, which plays the training set, and a probe, which plays the synthetic
one. Null splits are fresh random splits without a defect; replicates draw at most half of a planted probe, lest they be the same
images again. Both see the same number of images. Replicates at one dose share one or a few planted probes (the fault seeds), so
their spread is conditional on these.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..asking import ask
from ..bench import Bench
from ..cells import Cell, Draft, derive
from ..checks import Parts
from ..components import Context, Metric, Perturbation
from ..errors import NotComputable
from ..images import Comparison, ImageSet
from ..quantities import Quantity, Record
from ..records import CellStatus, QualificationRow, ScoreRow
from ..resampling import by_patient, draw, halves
from ..scoring import Lender
from ..spec import AuditSpec
from ..statistics.trends import qualify as judge_response
from .battery import planted, split_seed
from .extract import Described, planted_cell

LEAST_IMAGES = 20
EVALUATIONS_PER_SECOND = 60.0


def cells(draft: Draft, spec: AuditSpec, parts: Parts, data: str, described: Described, n: int) -> list[str]:
    """Add the planted images and the battery of every metric, extractor and perturbation."""
    keys = []
    for p, defect in enumerate(parts.perturbations):
        assert isinstance(defect.component, Perturbation)
        doses, pools = defect.component.doses, dict[int, dict[str, list[str]]]()
        for made in (*described.extractors.values(), *described.metrics.values()):
            pools[id(made)] = {
                f"{dose:g}": [planted_cell(draft, parts, made, p, dose, fault, data) for fault in range(spec.qualification.fault_seeds)]
                for dose in doses
            }
        for m, metric in enumerate(parts.metrics):
            for name, source in described.of(parts, metric):
                features = {role: source.roles[role] for role in ("train", "test")} if source else {}
                size = spec.qualification.model_dump()
                arguments: dict[str, Any] = {"metric": m, "perturbation": p, "extractor": name, "data": data, "features": features,
                             "planted": pools[id(source)] if source else {}, "size": size}  # fmt: skip
                needs = [data, *features.values(), *(key for group in arguments["planted"].values() for key in group)]
                evaluations = size["null_splits"] + size["replicates"] * (len(doses) + 1)
                title = f"{metric.name} on {defect.name}" + (f", {name}" if name else "")
                identity = [metric.identity, defect.identity]
                seconds = evaluations / EVALUATIONS_PER_SECOND * (n / 300) ** 2
                keys.append(draft.add("qualify", metric.name, title, "qualify.battery", arguments, identity, needs, seconds))
    return keys


def battery(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Measure null splits and planted doses with one metric; decide for each quantity whether it noticed."""
    arguments = cell.arguments
    part, defect = bench.parts.metrics[arguments["metric"]], bench.parts.perturbations[arguments["perturbation"]]
    metric, size = part.component, arguments["size"]
    assert isinstance(metric, Metric)
    assert isinstance(defect.component, Perturbation)
    real, test = _side(bench, arguments, "train"), _side(bench, arguments, "test")
    faults = range(size["fault_seeds"])
    splits = [halves(real.units, split_seed(bench, fault)) for fault in faults]
    pools = {(dose, fault): _planted(bench, arguments, defect, dose, fault, folder) for dose in defect.component.doses for fault in faults}
    n = min([*(len(probe) for _, probe in splits), *(len(pool) for pool in pools.values())]) // 2
    if n < LEAST_IMAGES:
        raise NotComputable(f"needs at least {LEAST_IMAGES} images in a replicate, which is half of the smallest planted probe; got {n}")

    lend = Lender(bench.seed, part.name, part.offer.version, folder, bench.device, "qualify")
    found = _Values(metric)
    whole = Comparison(real, test, real, bench.memory)
    anchor_n = min(len(anchor) for anchor, _ in splits)
    for repeat in range(size["null_splits"]):
        rng = np.random.default_rng(derive(bench.seed, "null split", repeat))
        probe, anchor = _two(real.units, n, anchor_n, rng)
        found.ask(None, whole.take(train=anchor, synthetic=probe), lend("null", repeat))
    for dose in (0.0, *defect.component.doses):
        for fault in faults:
            anchor, probe = splits[fault]
            pool = real.take(probe) if dose == 0 else pools[dose, fault]
            comparison = Comparison(real.take(anchor), test, pool, bench.memory)
            for repeat in range(fault, size["replicates"], len(faults)):
                rng = np.random.default_rng(derive(bench.seed, "replicate", repeat))
                rows = draw(pool.units, n, rng)
                found.ask(dose, comparison.take(synthetic=rows), lend(dose, repeat))
    for quantity in metric.quantities:
        if quantity.name in found.reasons:
            yield _untested(cell, part.name, quantity, defect.component, defect.name, found.reasons[quantity.name])
            continue
        null, doses = found.null(quantity.name), found.doses(quantity.name)
        yield from _scores(cell, part.name, quantity, defect.name, null, doses, n)
        yield _qualification(cell, part.name, quantity, defect.component, defect.name, null, doses, n)


class _Values:
    """What a metric says of null splits (dose None) and of replicates at each dose, and which quantities had no number once."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.values: dict[float | None, dict[str, list[float]]] = {}
        self.reasons: dict[str, str] = {}

    def ask(self, dose: float | None, comparison: Comparison, context: Context) -> None:
        """Add one answer."""
        into = self.values.setdefault(dose, {q.name: [] for q in self.metric.quantities})
        for name, value in ask(self.metric, comparison, context).items():
            if isinstance(value, NotComputable):
                self.reasons.setdefault(name, str(value))
            else:
                into[name].append(value)

    def null(self, quantity: str) -> list[float]:
        """Return the values of a quantity on null splits."""
        return self.values[None][quantity]

    def doses(self, quantity: str) -> dict[float, list[float]]:
        """Return the values of a quantity at each dose."""
        return {dose: found[quantity] for dose, found in self.values.items() if dose is not None}


def _side(bench: Bench, arguments: Any, role: str) -> ImageSet:
    images = bench.images(arguments["data"], role)
    return images.with_features(bench.array(arguments["features"][role], "features")) if arguments["features"] else images


def _planted(bench: Bench, arguments: Any, defect: Any, dose: float, fault: int, folder: Path) -> ImageSet:
    """Return the planted probe: with stored features where the metric uses them, made again where it looks at pixels."""
    images = planted(bench, arguments["data"], defect, dose, fault, folder)
    if not arguments["features"]:
        return images
    return images.with_features(bench.array(arguments["planted"][f"{dose:g}"][fault], "features"))


def _two(units: np.ndarray, n: int, m: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return n rows and m rows of different patients."""
    sorted_rows = by_patient(units, rng)
    first = sorted_rows[:n]
    rest = sorted_rows[n:][~np.isin(units[sorted_rows[n:]], units[first])]
    return np.sort(first), np.sort(rest[:m])


def _scores(cell: Cell, component: str, quantity: Quantity, perturbation: str, null: list[float],
            doses: dict[float, list[float]], n: int) -> Iterator[ScoreRow]:  # fmt: skip
    common = {"cell": cell.key, "component": component, "quantity": quantity.name, "extractor": cell.arguments["extractor"],
              "perturbation": perturbation, "n": n, "unit": quantity.unit, "better": quantity.better}  # fmt: skip
    for repeat, value in enumerate(null):
        yield ScoreRow(**common, stage="null", severity=0.0, repeat=repeat, value=value)
    for dose, values in doses.items():
        for repeat, value in enumerate(values):
            yield ScoreRow(**common, stage="qualify", severity=dose, repeat=repeat, value=value)


def _qualification(cell: Cell, component: str, quantity: Quantity, defect: Perturbation, perturbation: str, null: list[float],
                   doses: dict[float, list[float]], n: int) -> QualificationRow:  # fmt: skip
    values = {dose: np.array(found) for dose, found in doses.items()}
    worse: Literal["higher", "lower"] = "higher" if quantity.better == "lower" else "lower"
    found = judge_response(np.array(null), values, defect.dose_of_concern, worse)
    return QualificationRow(
        cell=cell.key, component=component, quantity=quantity.name, extractor=cell.arguments["extractor"], perturbation=perturbation,
        failure_mode=defect.failure_mode, n=n, dose_of_concern=defect.dose_of_concern, dose_reason=defect.because,
        replicates=len(values[defect.dose_of_concern]), null_splits=len(null), null_low=found.null_low, null_high=found.null_high,
        response=found.response, trend_p=found.trend_p, power=found.power, power_low=found.power_low,
        false_alarm_high=found.false_alarm_high, detected_at=found.detected_at, outcome=found.outcome, reason=found.reason,
    )  # fmt: skip


def blank(bench: Bench, cell: Cell, status: CellStatus, reason: str) -> Iterator[Record]:
    """Say for each quantity that it could not be tested, and why."""
    part, defect = bench.parts.metrics[cell.arguments["metric"]], bench.parts.perturbations[cell.arguments["perturbation"]]
    assert isinstance(defect.component, Perturbation)
    for quantity in part.offer.promises:
        yield _untested(cell, part.name, quantity, defect.component, defect.name, reason)


def _untested(cell: Cell, component: str, quantity: Quantity, defect: Perturbation, perturbation: str, reason: str) -> QualificationRow:
    return QualificationRow(
        cell=cell.key, component=component, quantity=quantity.name, extractor=cell.arguments["extractor"], perturbation=perturbation,
        failure_mode=defect.failure_mode, n=None, dose_of_concern=defect.dose_of_concern, dose_reason=defect.because, outcome=None,
        reason=f"not tested: {reason}",
    )  # fmt: skip
