"""What criteria rest on: the value that a criterion judges, planted defects that qualify it, signs of memorisation."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from .quantities import Family, Quantity
from .records import EvidenceKind, FindingRow, QualificationRow, ReliabilityRow, ScoreRow
from .spec import Criterion, Purpose
from .statistics.intervals import binomial_interval
from .verdicts import Band, Decision


@dataclass(frozen=True)
class Evidence:
    """Everything that verdicts rest on.

    scores: current rows of the stages measure and evaluate. findings: from loading the data; a breach (patients or pixels
    shared by train and test) makes every criterion of the audit invalid. quantities, kinds: by `component.quantity`, E1 for
    metrics and E2 for tasks. runs: independent sampling runs of the generator. failure_modes: by perturbation.
    """

    scores: tuple[ScoreRow, ...]
    qualifications: tuple[QualificationRow, ...]
    reliability: tuple[ReliabilityRow, ...]
    findings: tuple[FindingRow, ...]
    quantities: Mapping[str, Quantity]
    kinds: Mapping[str, EvidenceKind]
    runs: int
    failure_modes: Mapping[str, str]

    def kind(self, criterion: Criterion) -> EvidenceKind:
        """Return the kind of evidence that a criterion asks for: E1 metric, E2 task, E3 experts, E4 language model."""
        if criterion.quantity.startswith("ratings."):
            return "E3"
        return "E4" if criterion.quantity.startswith("llm.") else self.kinds.get(criterion.quantity, "E1")

    def family(self, criterion: Criterion) -> Family:
        """Return the family of a criterion's quantity."""
        promise = self.quantities.get(criterion.quantity)
        return promise.family if promise else "other"

    def needs_synthetic(self, criterion: Criterion) -> bool:
        """Return whether metric or task saw synthetic images: a task trained on mix (1, 0) says nothing about them."""
        return self.kind(criterion) == "E1" or (self.kind(criterion) == "E2" and _mix(criterion)[1] > 0)

    def absolute(self, criterion: Criterion) -> bool:
        """Return whether a task is judged by its level alone: no defect is named, so no battery can have tested it."""
        named = criterion.gain_at_least is not None or criterion.qualified_by or criterion.failure_modes
        return self.kind(criterion) == "E2" and not named

    def claimed_modes(self, criterion: Criterion) -> set[str]:
        """Return the failure modes that a criterion names, itself or by the perturbations that must qualify it."""
        planted = {self.failure_modes[p] for p in criterion.qualified_by if p in self.failure_modes}
        return planted | {str(mode) for mode in criterion.failure_modes}


@dataclass(frozen=True)
class Judged:
    """A value with its one-sided bounds, or why there is none. where: the part, if several must meet a criterion."""

    where: str = ""
    extractor: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    images: int | None = None
    patients: int | None = None
    missing: str = ""

    def decide(self, band: Band) -> tuple[Decision | None, str]:
        """Compare the bounds with a band; None where there are none."""
        if self.missing or self.low is None or self.high is None:
            return None, ""
        return band.decide(self.low, self.high), band.sentence(self.low, self.high)


def judged(criterion: Criterion, evidence: Evidence) -> tuple[Judged, ...]:
    """Find what a criterion judges: one value, or one for each stratum, region or language model that must meet it."""
    if evidence.kind(criterion) in ("E3", "E4"):
        return _ratings(criterion, evidence)
    if criterion.quantity not in evidence.quantities:
        return (Judged(missing=f"no component of this audit offers {criterion.quantity}"),)
    rows = _scores(criterion, evidence)
    if criterion.strata_role == "descriptive" or not criterion.strata:
        regions = sorted({r.region for r in rows})
        if len(regions) > 1 and "" not in regions:
            return tuple(replace(_score(criterion, "", [r for r in rows if r.region == name]), where=name) for name in regions)
        return (_score(criterion, "", rows),)
    strata = {
        found: None
        for wanted in criterion.strata
        for found in sorted({r.stratum for r in rows if r.stratum == wanted or r.stratum.startswith(f"{wanted}=")}) or [wanted]
    }
    return tuple(_score(criterion, stratum, rows) for stratum in strata)


def _mix(criterion: Criterion) -> tuple[float, float]:
    return criterion.mix or (1.0, 0.0)


def _scores(criterion: Criterion, evidence: Evidence) -> list[ScoreRow]:
    component, _, quantity = criterion.quantity.rpartition(".")
    quantity += "_gain" if criterion.gain_at_least is not None else ""
    rows = [r for r in evidence.scores if (r.component, r.quantity) == (component, quantity)]
    if evidence.kind(criterion) == "E1":
        return [r for r in rows if r.stage == "measure" and not r.perturbation and criterion.extractor in (None, r.extractor)]
    real, synthetic = _mix(criterion)
    return [
        r for r in rows
        if r.stage == "evaluate" and r.tested_on == "real" and r.repeat is None
        and r.real_share is not None and math.isclose(r.real_share, real, abs_tol=1e-9)
        and r.synthetic_share is not None and math.isclose(r.synthetic_share, synthetic, abs_tol=1e-9)
    ]  # fmt: skip


def _score(criterion: Criterion, stratum: str, rows: Sequence[ScoreRow]) -> Judged:
    rows = [r for r in rows if r.stratum == stratum]
    if not rows:
        where = f" in {stratum}" if stratum else ""
        return Judged(stratum, missing=f"there is no score of {criterion.quantity}{where}")
    if len(rows) > 1:
        several = ", ".join(sorted({r.extractor or "no extractor" for r in rows}))
        return Judged(stratum, missing=f"{len(rows)} scores answer to it ({several}): name one extractor")
    row = rows[0]
    value = row.value if row.judged_value is None else row.judged_value
    images = row.n if row.judged_n is None else row.judged_n
    complete = None not in (row.judged_value, row.bound_low, row.bound_high)
    missing = _missing(row, complete)
    return Judged(stratum, row.extractor, value, row.bound_low, row.bound_high, images, row.n_patients, missing)


def _ratings(criterion: Criterion, evidence: Evidence) -> tuple[Judged, ...]:
    source, _, rest = criterion.quantity.partition(".")
    scale, _, statistic = rest.rpartition(".")
    rows = [
        r for r in evidence.reliability
        if (r.scale, r.statistic) == (scale, statistic)
        and (r.subset == "experts" if source == "ratings" else r.subset.startswith("llm"))
    ]  # fmt: skip
    if criterion.strata_role == "each_must_meet" and criterion.strata:
        return (Judged(missing="agreement of raters is not computed by stratum"),)
    if not rows:
        return (Judged(missing=f"there is no {statistic} on the scale {scale}"),)
    return tuple(
        Judged(
            where=row.subset if len(rows) > 1 else "", value=row.value, low=row.bound_low, high=row.bound_high,
            images=row.n_items, missing=_missing(row, None not in (row.bound_low, row.bound_high)),
        )
        for row in rows
    )  # fmt: skip


def _missing(row: ScoreRow | ReliabilityRow, complete: bool) -> str:
    if row.status != "ok":
        return row.reason.rstrip(".")
    # A value without interval says why where others say how theirs was found.
    why = row.reason or (row.ci_method if row.ci_method.startswith("no interval: ") else "")
    why = why.removeprefix("no interval: ").rstrip(".")
    return "" if complete else f"no interval: {why or 'the value has no one-sided bounds'}"


def unqualified(criterion: Criterion, extractor: str, evidence: Evidence, guarded: Collection[str]) -> str:
    """Return why a quantity may not speak for a criterion's failure modes, or nothing. guarded: modes that met guards cover.

    Each perturbation that the criterion names must qualify the quantity, and each failure mode needs one that does. A paired
    gain on real test images that is itself the claim is direct: it is asked for planted defects only where it names them. The
    level of a task on real test images that claims to see no defect is no such claim either; no battery tests it.
    """
    quantity, kind = criterion.quantity, evidence.kind(criterion)
    direct = kind == "E2" and criterion.gain_at_least is not None and not criterion.qualified_by
    if kind in ("E3", "E4") or direct or evidence.absolute(criterion):
        return ""
    claimed = evidence.claimed_modes(criterion)
    if not criterion.qualified_by and not claimed:
        return f"{quantity} names no failure mode that was tested"
    tested = [q for q in evidence.qualifications if (f"{q.component}.{q.quantity}", q.extractor) == (quantity, extractor)]
    for row in tested:
        moved = f"{quantity} moved the wrong way under {row.perturbation}"
        if row.outcome == "reversed" and row.failure_mode in claimed:
            return f"{moved}, a defect of the claimed failure mode {_spaced(row.failure_mode)}"
        if row.outcome == "reversed" and row.failure_mode not in guarded:
            return f"{moved}, and no met guard covers {_spaced(row.failure_mode)}"
    for perturbation in criterion.qualified_by:
        problems = [_unusable(criterion, q) for q in tested if q.perturbation == perturbation]
        if not problems or any(problems):
            return next((p for p in problems if p), f"{quantity} was not tested against {perturbation}")
    for mode in criterion.failure_modes:
        problems = [_unusable(criterion, q) for q in tested if q.failure_mode == mode]
        if all(problems):
            return problems[0] if problems else f"{quantity} was not tested against the failure mode {_spaced(mode)}"
    return ""


def _unusable(criterion: Criterion, row: QualificationRow) -> str:
    if row.outcome == "qualified" or (row.outcome == "conditional" and criterion.guards):
        return ""
    if row.outcome == "conditional":
        return f"{criterion.quantity} is qualified against {row.perturbation} only with a guard, and none is named"
    reason = f" ({row.reason.rstrip('.')})" if row.reason else ""
    return f"{criterion.quantity} is not qualified against {row.perturbation}{reason}"


def _spaced(mode: str) -> str:
    return mode.replace("_", " ")


def memorisation_evaluated(evidence: Evidence) -> bool:
    """Return whether rule R5 had both a memorisation quantity and a distance to look at."""
    measured = {f"{r.component}.{r.quantity}" for r in evidence.scores if r.stage == "measure" and r.status == "ok"}
    families = {evidence.quantities[name].family for name in measured if name in evidence.quantities}
    return {"memorisation", "distance"} <= families


def memorisation_signature(purposes: Mapping[str, Purpose], evidence: Evidence) -> str:
    """Rule R5: return a sentence if copies show while a distance is better than on real against real, else nothing.

    A memorisation quantity shows copies where it fails a criterion of any purpose, or where its bound lies outside the range
    of real against real; whether it was qualified does not matter, for bad news needs fewer preconditions than good news.
    """
    copied = [text for name, purpose in purposes.items() for c in purpose.criteria if (text := _fails(name, c, evidence))]
    closer = []
    for row in evidence.scores:
        promise = evidence.quantities.get(f"{row.component}.{row.quantity}")
        if promise is None or row.stage != "measure" or row.stratum or row.perturbation or row.status != "ok":
            continue
        where = f"{row.component}.{row.quantity}{f' ({row.extractor})' if row.extractor else ''}"
        value = row.value_at_floor_n if row.judged_value is None else row.judged_value
        if promise.family == "memorisation":
            rises = promise.better == "lower"
            bound = row.bound_low if rises else row.bound_high
            if _beyond(value if bound is None else bound, _floor_edge(row, promise, rises), rises):
                copied.append(f"{where} is worse than on real against real")
        elif promise.family == "distance" and _beyond(value, row.floor, promise.better == "higher"):
            closer.append(f"{where} is better than on real against real")
    return f"Signature of memorisation: {'; '.join(copied)}; while {'; '.join(closer)}." if copied and closer else ""


def _floor_edge(row: ScoreRow, promise: Quantity, upper: bool) -> float | None:
    """Return where real against real ends; splits that agree say little of the share among other images."""
    edge = row.floor_high if upper else row.floor_low
    if not promise.proportion or edge is None or row.floor is None or not row.n_floor:
        return edge
    exact = binomial_interval(round(row.floor * row.n_floor), row.n_floor)
    return max(edge, exact.high) if upper else min(edge, exact.low)


def _fails(purpose: str, criterion: Criterion, evidence: Evidence) -> str:
    promise, band = evidence.quantities.get(criterion.quantity), Band.of(criterion)
    if promise is None or promise.family != "memorisation":
        return ""
    worse_side = Band(band.low, None) if promise.better == "higher" else Band(None, band.high)
    for found in judged(criterion, evidence):
        decision, sentence = found.decide(worse_side)
        if decision == "not_met":
            return f"{criterion.quantity} does not meet {purpose} {criterion.id} ({sentence})"
    return ""


def _beyond(value: float | None, limit: float | None, upwards: bool) -> bool:
    return value is not None and limit is not None and (value > limit if upwards else value < limit)
