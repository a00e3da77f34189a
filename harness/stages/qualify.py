"""Finds out which metric notices which defect on the user's own real images, before any of them is believed.

Real training images are split by patient into an anchor, which plays the training set, and a probe, which plays the synthetic
one. Null splits are fresh random splits without a defect; replicates draw at most half of a planted probe, lest they be the same
images again. Both see the same number of images. Replicates at one dose share a few planted probes (the fault seeds), so their
spread is conditional on these. Metrics on the same numbers are asked together, comparison by comparison, and share its distances.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..bench import Bench
from ..cells import Cell
from ..checks import Part
from ..components import Metric, Perturbation, Task
from ..errors import NotComputable
from ..quantities import Quantity, Record
from ..records import CellStatus, QualificationRow, ResponseRow
from ..statistics.trends import Harmless, Null
from ..statistics.trends import qualify as judge_response
from .answers import Answers, Key
from .battery import defect_of, is_harmless
from .planting import planted_n
from .respondents import respondent, tested_on

LEAST_IMAGES = 10


def null(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Ask a group of metrics, or a task, about null splits and about replicates of clean probes."""
    asked = respondent(bench, cell, folder)
    answers = Answers(replicate_n(asked.probe_n(), cell.arguments["size"]["n"]))
    _enough(answers.n)
    asked.ask_null(answers)
    answers.save(folder)
    yield from answers.scores(cell, "", promises(asked.parts), tested_on(cell))


def replicates(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Ask a group of metrics, or a task, about replicates of probes with one planted defect.

    Where the defect leaves fewer images, null splits and clean replicates of as few are asked about too.
    """
    asked, base = respondent(bench, cell, folder), Answers.load(bench.cache.folder(cell.arguments["null"]))
    defect, size = bench.parts.perturbations[cell.arguments["perturbation"]], cell.arguments["size"]
    places = [(dose, fault) for dose in size["doses"] for fault in range(size["fault_seeds"])]
    smallest = min(planted_n(bench, cell.arguments["planted"][repr(dose)][fault]) for dose, fault in places)
    answers = Answers(min(base.n, smallest // 2), reasons=dict(base.reasons))
    _enough(answers.n)
    if answers.n < base.n:
        asked.ask_null(answers)
    for dose, fault in places:
        asked.ask_planted(answers, dose, fault)
    answers.save(folder)
    yield from answers.scores(cell, defect.name, promises(asked.parts), tested_on(cell))


def replicate_n(probe: int, wanted: int | None) -> int:
    """Return how many images a replicate has: half of the smallest probe, or as few as the user wants."""
    return probe // 2 if wanted is None else min(probe // 2, wanted)


def _enough(n: int) -> None:
    if n < LEAST_IMAGES:
        raise NotComputable(f"needs at least {LEAST_IMAGES} images in a replicate, which is half of the smallest probe; got {n}")


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
            values, clean = (np.concatenate(answers.probes(dose, key)) for dose in (defect_of(part).dose_of_concern, 0.0))
            moved.append(Harmless(part.name, abs(float(values.mean() - clean.mean()))))
    return max(moved, key=lambda h: h.shift, default=None)


def _decided(bench: Bench, cell: Cell, p: int, key: Key, quantity: Quantity, answers: Answers | str,
             harmless: Harmless | None) -> Iterator[Record]:  # fmt: skip
    part = bench.parts.perturbations[p]
    defect = defect_of(part)
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
            **common, severity=severity, tested_on=tested_on(cell), replicates=len(values), mean=float(values.mean()),
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
            yield _untested(cell, key, part.name, defect_of(part), reason)


def _untested(cell: Cell, key: Key, perturbation: str, defect: Perturbation, reason: str) -> QualificationRow:
    return QualificationRow(
        cell=cell.key, component=key[0], quantity=key[1], extractor=cell.arguments["extractor"], perturbation=perturbation,
        failure_mode=defect.failure_mode, n=None, dose_of_concern=defect.dose_of_concern, dose_reason=defect.because, outcome=None,
        reason=f"not tested: {reason}",
    )  # fmt: skip
