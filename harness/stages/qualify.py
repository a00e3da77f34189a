"""Finds out which metric notices which defect on the user's own real images, before any of them is believed.

Real training images are split by patient into an anchor, which plays the training set, and a probe, which plays the synthetic
one. Null splits are fresh random splits without a defect; replicates draw at most half of a planted probe, lest they be the same
images again. Both see the same number of images. Replicates at one dose share a few planted probes (the fault seeds), so their
spread is conditional on these. Metrics on the same numbers are asked together, comparison by comparison, and share its distances.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..asking import ask, tried
from ..bench import Bench
from ..cells import Cell, derive
from ..checks import Part
from ..components import Metric, Perturbation, Task
from ..errors import NotComputable
from ..images import Comparison, ImageSet
from ..quantities import Quantity, Record
from ..records import CellStatus, QualificationRow, ResponseRow
from ..resampling import by_patient, draw, halves, numbered
from ..scoring import Lender
from ..statistics.trends import Harmless, Null
from ..statistics.trends import qualify as judge_response
from .answers import Answers, Key
from .battery import is_harmless, planted, split_seed
from .planting import described, planted_n

LEAST_IMAGES = 10


def null(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Ask a group of metrics about null splits, and about replicates of clean probes."""
    field = _Field(bench, cell, folder)
    answers = Answers(replicate_n(field.probe_n(), cell.arguments["size"]["n"]))
    _enough(answers.n)
    field.ask_null(answers)
    answers.save(folder)
    yield from answers.scores(cell, "", field.promised())


def replicates(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Ask a group of metrics about replicates of probes with one planted defect.

    Where the defect leaves fewer images, null splits and clean replicates of as few are asked about too.
    """
    field, base = _Field(bench, cell, folder), Answers.load(bench.cache.folder(cell.arguments["null"]))
    defect, size = bench.parts.perturbations[cell.arguments["perturbation"]], cell.arguments["size"]
    places = [(dose, fault) for dose in size["doses"] for fault in range(size["fault_seeds"])]
    smallest = min(planted_n(bench, cell.arguments["planted"][repr(dose)][fault]) for dose, fault in places)
    answers = Answers(min(base.n, smallest // 2), reasons=dict(base.reasons))
    _enough(answers.n)
    if answers.n < base.n:
        field.ask_null(answers)
    for dose, fault in places:
        field.ask_replicates(answers, dose, fault, field.planted(defect, dose, fault))
    answers.save(folder)
    yield from answers.scores(cell, defect.name, field.promised())


def replicate_n(probe: int, wanted: int | None) -> int:
    """Return how many images a replicate has: half of the smallest probe, or as few as the user wants."""
    return probe // 2 if wanted is None else min(probe // 2, wanted)


def _enough(n: int) -> None:
    if n < LEAST_IMAGES:
        raise NotComputable(f"needs at least {LEAST_IMAGES} images in a replicate, which is half of the smallest planted probe; got {n}")


class _Field:
    """Asks the metrics of a group; every metric sees the same splits and the same replicates."""

    def __init__(self, bench: Bench, cell: Cell, folder: Path) -> None:
        self.bench, self.arguments, self.folder = bench, cell.arguments, folder
        self.metrics: list[Part] = [bench.parts.metrics[m] for m in cell.arguments["metrics"]]
        self.lenders = [Lender(bench.seed, part.name, part.offer.version, folder, bench.device, "qualify") for part in self.metrics]
        self.size = cell.arguments["size"]
        self.real, self.test = self._side("train"), self._side("test")
        self.splits = [halves(self.real.units, split_seed(bench, fault)) for fault in range(self.size["fault_seeds"])]
        self.whole = Comparison(self.real, self.test, self.real, bench.memory)

    def promised(self) -> dict[Key, Quantity]:
        """Return what the metrics promise."""
        return promises(self.metrics)

    def probe_n(self) -> int:
        """Return the number of images of the smallest clean probe."""
        return min(len(probe) for _, probe in self.splits)

    def planted(self, defect: Part, dose: float, fault: int) -> ImageSet:
        """Return a planted probe: its numbers where the metrics work on numbers, made again where they look at the images."""
        if self.arguments["source"]:
            return described(self.bench, self.arguments["planted"][repr(dose)][fault], self.arguments["source"])
        return planted(self.bench, self.arguments["data"], defect, dose, fault, self.folder)

    def ask_null(self, answers: Answers) -> None:
        """Ask about null splits and about replicates of the clean probes, answers.n images each."""
        # Patients with many images make anchors of different sizes: null splits have them in the proportion of the replicates.
        anchors = [len(anchor) for anchor, _ in self.splits]
        for repeat in range(self.size["null_splits"]):
            rng = np.random.default_rng(derive(self.bench.seed, "null split", repeat))
            probe, anchor = _two(self.real.units, answers.n, anchors[repeat % len(anchors)], rng)
            self._ask(answers, None, self.whole.take(train=anchor, synthetic=probe), ("null", repeat))
        for fault, (_, probe) in enumerate(self.splits):
            self.ask_replicates(answers, 0.0, fault, self.real.take(probe))

    def ask_replicates(self, answers: Answers, dose: float, fault: int, pool: ImageSet) -> None:
        """Ask about replicates drawn from one planted probe, answers.n images each."""
        anchor, faults = self.splits[fault][0], len(self.splits)
        comparison = Comparison(self.real.take(anchor), self.test, pool, self.bench.memory)
        # By id, so that images in another order are drawn as they would have been in the old one.
        by_id = np.argsort(np.array(pool.ids))
        units = numbered(pool.units[by_id])
        for repeat in range(fault, self.size["replicates"], faults):
            rng = np.random.default_rng(derive(self.bench.seed, "replicate", repeat))
            self._ask(answers, (dose, fault), comparison.take(synthetic=np.sort(by_id[draw(units, answers.n, rng)])), (dose, repeat))

    def _ask(self, answers: Answers, where: tuple[float, int] | None, comparison: Comparison, words: tuple[Any, ...]) -> None:
        for part, lend in zip(self.metrics, self.lenders, strict=True):
            metric = part.component
            assert isinstance(metric, Metric)
            if not answers.answered(part.name, metric.quantities):
                continue
            found, reason = tried(partial(ask, metric, comparison, lend(*words)))
            if found is None:
                answers.refuse(part.name, metric.quantities, reason)
                continue
            for name, value in found.items():
                if isinstance(value, NotComputable):
                    answers.reasons.setdefault((part.name, name), str(value))
                else:
                    answers.put(where, (part.name, name), value)

    def _side(self, role: str) -> ImageSet:
        images = self.bench.images(self.arguments["data"], role)
        features = self.arguments["features"]
        return images.with_features(self.bench.array(features[role], "features")) if features else images


def _two(units: np.ndarray, n: int, m: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return n rows and m rows of different patients."""
    sorted_rows = by_patient(units, rng)
    first = sorted_rows[:n]
    rest = sorted_rows[n:][~np.isin(units[sorted_rows[n:]], units[first])]
    return np.sort(first), np.sort(rest[:m])


def promises(parts: Sequence[Part]) -> dict[Key, Quantity]:
    """Return the quantities of metrics or tasks by component and name."""
    return {
        (part.name, quantity.name): quantity
        for part in parts
        if isinstance(part.component, Metric | Task)
        for quantity in part.component.quantities
    }


def decide(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Say of each quantity and each defect whether it was noticed, how strongly at each dose, and whether it alone was."""
    base = bench.cache.load(cell.arguments["null"])
    if base is None or base.status != "ok":
        yield from _all_untested(bench, cell, base.reason if base else "there are no null splits")
        return
    clean = Answers.load(bench.cache.folder(cell.arguments["null"]))
    found: dict[int, Answers | str] = {}
    for p, key in enumerate(cell.arguments["answers"]):
        result = bench.cache.load(key)
        if result is None or result.status != "ok":
            found[p] = result.reason if result else "the replicates failed"
        else:
            found[p] = _with_clean(Answers.load(bench.cache.folder(key)), clean)
    for key, quantity in promises(_components(bench, cell)).items():
        harmless = _most_harmless(bench, found, key)
        for p, answers in found.items():
            yield from _decided(bench, cell, p, key, quantity, answers, harmless)


def _components(bench: Bench, cell: Cell) -> list[Part]:
    if "task" in cell.arguments:
        return [bench.parts.tasks[cell.arguments["task"]]]
    return [bench.parts.metrics[m] for m in cell.arguments["metrics"]]


def _with_clean(answers: Answers, clean: Answers) -> Answers:
    """Return the answers with null splits and clean replicates: their own, where they were asked at another n."""
    if answers.n == clean.n:
        return Answers(answers.n, clean.null, {0.0: clean.doses.get(0.0, {}), **answers.doses}, clean.reasons | answers.reasons)
    return answers


def _most_harmless(bench: Bench, found: dict[int, Answers | str], key: Key) -> Harmless | None:
    """Return the harmless change that moved a quantity most, either way; None where none was planted or none has numbers."""
    moved = []
    for p, answers in found.items():
        part = bench.parts.perturbations[p]
        if is_harmless(part) and not isinstance(answers, str) and key not in answers.reasons:
            assert isinstance(part.component, Perturbation)
            values, clean = (np.concatenate(answers.probes(dose, key)) for dose in (part.component.dose_of_concern, 0.0))
            moved.append(Harmless(part.name, abs(float(values.mean() - clean.mean()))))
    return max(moved, key=lambda h: h.shift, default=None)


def _decided(bench: Bench, cell: Cell, p: int, key: Key, quantity: Quantity, answers: Answers | str,
             harmless: Harmless | None) -> Iterator[Record]:  # fmt: skip
    part = bench.parts.perturbations[p]
    defect = part.component
    assert isinstance(defect, Perturbation)
    reason = answers if isinstance(answers, str) else answers.reasons.get(key)
    if reason is not None or isinstance(answers, str):
        yield _untested(cell, key, part.name, defect, reason or "")
        return
    clean, sign = Null.of(np.array(answers.null[key])), 1.0 if quantity.better == "lower" else -1.0
    common: dict[str, Any] = {
        "cell": cell.key, "component": key[0], "quantity": key[1], "extractor": cell.arguments["extractor"],
        "perturbation": part.name, "failure_mode": defect.failure_mode, "n": answers.n,
    }  # fmt: skip
    at_zero = np.concatenate(answers.probes(0.0, key))
    for severity in sorted(answers.doses):
        values = np.concatenate(answers.probes(severity, key))
        yield ResponseRow(
            **common, severity=severity, tested_on=cell.arguments["tested_on"], replicates=len(values), mean=float(values.mean()),
            low=float(values.min()), high=float(values.max()), response=clean.response(values, at_zero, sign),
            detected=clean.beyond(values, sign) / len(values), unit=quantity.unit, better=quantity.better,
        )  # fmt: skip
    doses = {severity: answers.probes(severity, key) for severity in answers.doses}
    control = harmless if not is_harmless(part) else None
    outcome = judge_response(clean, doses, defect.dose_of_concern, "higher" if sign > 0 else "lower", control)
    verdict: dict[str, Any] = {"outcome": outcome.outcome, "reason": outcome.reason}
    if is_harmless(part):
        moved = "" if outcome.response is None else f" by {outcome.response:.2g} null SD, worse counted positive"
        verdict = {"outcome": None, "reason": f"negative control: moved{moved}, detected in {outcome.power:.0%} of the replicates"}
    yield QualificationRow(
        **common, **verdict, dose_of_concern=defect.dose_of_concern, dose_reason=defect.because,
        replicates=sum(len(probe) for probe in doses[defect.dose_of_concern]), null_splits=len(clean.values), null_low=clean.low,
        null_high=clean.high, response=outcome.response, trend_p=outcome.trend_p, power=outcome.power, power_low=outcome.power_low,
        false_alarm_high=clean.false_alarm_high, detected_at=outcome.detected_at, fault_seeds=len(doses[defect.dose_of_concern]),
        stability=outcome.stability, harmless=control.name if control else "",
        harmless_response=control.shift / clean.spread if control and clean.spread > 0 else None,
    )  # fmt: skip


def blank(bench: Bench, cell: Cell, status: CellStatus, reason: str) -> Iterator[Record]:
    """Leave no row for null splits and replicates, whose decision says what is missing; say it of every quantity for a decision."""
    if cell.function == "qualify.decide":
        yield from _all_untested(bench, cell, reason)


def _all_untested(bench: Bench, cell: Cell, reason: str) -> Iterator[QualificationRow]:
    for key in promises(_components(bench, cell)):
        for part in bench.parts.perturbations:
            assert isinstance(part.component, Perturbation)
            yield _untested(cell, key, part.name, part.component, reason)


def _untested(cell: Cell, key: Key, perturbation: str, defect: Perturbation, reason: str) -> QualificationRow:
    return QualificationRow(
        cell=cell.key, component=key[0], quantity=key[1], extractor=cell.arguments["extractor"], perturbation=perturbation,
        failure_mode=defect.failure_mode, n=None, dose_of_concern=defect.dose_of_concern, dose_reason=defect.because, outcome=None,
        reason=f"not tested: {reason}",
    )  # fmt: skip
