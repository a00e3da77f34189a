"""What criteria rest on: the value that a criterion judges, and the planted defects that let its quantity speak."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from .components import FailureMode
from .quantities import Family, Quantity
from .records import EvidenceKind, FindingRow, QualificationRow, ReliabilityRow, ScoreRow
from .spec import Criterion
from .verdicts import Band, Decision, mix_of


@dataclass(frozen=True)
class Evidence:
    """Everything that verdicts rest on.

    scores: current rows of the stages measure and evaluate. findings: from loading the data; a breach (patients or pixels
    shared by train and test) makes every criterion of the audit invalid. quantities, kinds: by `component.quantity`, E1 for
    metrics and E2 for tasks. runs: independent sampling runs of the generator; repeats: of each task, each on a run of its own where
    there are several. failure_modes: by perturbation.
    """

    scores: tuple[ScoreRow, ...]
    qualifications: tuple[QualificationRow, ...]
    reliability: tuple[ReliabilityRow, ...]
    findings: tuple[FindingRow, ...]
    quantities: Mapping[str, Quantity]
    kinds: Mapping[str, EvidenceKind]
    runs: int
    failure_modes: Mapping[str, str]
    repeats: int | None = None

    def runs_of(self, criterion: Criterion) -> int:
        """Return how many sampling runs a criterion rests on: raters see the images of the first alone."""
        kind = self.kind(criterion)
        if kind == "E2":
            return self.runs if self.repeats is None else min(self.runs, self.repeats)
        return self.runs if kind == "E1" else min(self.runs, 1)

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
        return self.kind(criterion) == "E1" or (self.kind(criterion) == "E2" and mix_of(criterion)[1] > 0)

    def absolute(self, criterion: Criterion) -> bool:
        """Return whether a task is judged by its level alone: no defect is named, so no battery can have tested it."""
        named = criterion.gain_at_least is not None or criterion.qualified_by or criterion.failure_modes
        return self.kind(criterion) == "E2" and not named

    def claimed_modes(self, criterion: Criterion) -> set[str]:
        """Return the failure modes that a criterion names, itself or by the perturbations that must qualify it."""
        planted = {self.failure_modes[p] for p in criterion.qualified_by if p in self.failure_modes}
        return (planted | {str(mode) for mode in criterion.failure_modes}) - {FailureMode.HARMLESS}

    def tested(self, criterion: Criterion, extractor: str) -> list[QualificationRow]:
        """Return what became of a criterion's quantity under planted defects; harmless changes are none."""
        return [
            q for q in self.qualifications
            if (f"{q.component}.{q.quantity}", q.extractor) == (criterion.quantity, extractor) and q.failure_mode != FailureMode.HARMLESS
        ]  # fmt: skip

    @property
    def stratified(self) -> bool:
        """Whether the images have labels or groups, so that something was measured, or could not be, within one of them."""
        return any(row.stage == "measure" and "=" in row.stratum for row in self.scores)


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
    regions = sorted({r.region for r in rows})
    if "" in regions:
        rows = [r for r in rows if not r.region]
    if criterion.strata_role == "descriptive" or not criterion.strata:
        if len(regions) > 1 and "" not in regions:
            return tuple(replace(_score(criterion, "", [r for r in rows if r.region == name]), where=name) for name in regions)
        return (_score(criterion, "", rows),)
    strata = {
        found: None
        for wanted in criterion.strata
        for found in sorted({r.stratum for r in rows if r.stratum == wanted or r.stratum.startswith(f"{wanted}=")}) or [wanted]
    }
    return tuple(_score(criterion, stratum, rows) for stratum in strata)


def _scores(criterion: Criterion, evidence: Evidence) -> list[ScoreRow]:
    component, _, quantity = criterion.quantity.rpartition(".")
    quantity += "_gain" if criterion.gain_at_least is not None else ""
    rows = [r for r in evidence.scores if (r.component, r.quantity) == (component, quantity)]
    if evidence.kind(criterion) == "E1":
        return [r for r in rows if r.stage == "measure" and not r.perturbation and criterion.extractor in (None, r.extractor)]
    real, synthetic = mix_of(criterion)
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


def unqualified(criterion: Criterion, part: Judged, evidence: Evidence, guarded: Collection[str], together: Collection[str] = ()) -> str:
    """Return why a quantity may not speak for a criterion's failure modes, or nothing.

    guarded: modes that met guards cover. together: modes that all criteria of the purpose claim with this quantity.

    Each perturbation that the criterion names must qualify the quantity, and each failure mode needs one that does, at no more
    images than are judged. A task result on real test images that names no defect is direct, a paired gain as well as a level;
    one that names a defect is tested like a metric, for it claims to see it.
    """
    kind = evidence.kind(criterion)
    if kind in ("E3", "E4") or (kind == "E2" and not criterion.qualified_by and not criterion.failure_modes):
        return ""
    claimed = evidence.claimed_modes(criterion)
    if not criterion.qualified_by and not claimed:
        return f"{criterion.quantity} names no failure mode that was tested"
    tested = evidence.tested(criterion, part.extractor)
    return (
        _doubtful(criterion, {*claimed, *together}, evidence)
        or _tainted(criterion, claimed, tested, guarded)
        or _untested(criterion, part, tested, evidence, guarded)
    )


def _doubtful(criterion: Criterion, claimed: Collection[str], evidence: Evidence) -> str:
    """Rule R6: what the literature advises against may be admitted by its own qualification, for one failure mode.

    claimed: what all criteria of the purpose claim with this quantity.
    """
    promise = evidence.quantities.get(criterion.quantity)
    if promise is None or not promise.doubtful or len(claimed) < 2:
        return ""
    modes = ", ".join(map(spaced, sorted(claimed)))
    return f"{criterion.quantity} may speak for one failure mode, not for {modes} (R6): {promise.doubtful.rstrip('.')}"


def _tainted(criterion: Criterion, claimed: Collection[str], tested: Sequence[QualificationRow], guarded: Collection[str]) -> str:
    for row in tested:
        moved = f"{criterion.quantity} moved the wrong way under {row.perturbation}"
        if row.outcome == "reversed" and row.failure_mode in claimed:
            return f"{moved}, a defect of the claimed failure mode {spaced(row.failure_mode)}"
        if row.outcome == "reversed" and row.failure_mode not in guarded:
            return f"{moved}, and no met guard covers {spaced(row.failure_mode)}"
    return ""


def _untested(criterion: Criterion, part: Judged, tested: Sequence[QualificationRow], evidence: Evidence,
              guarded: Collection[str]) -> str:  # fmt: skip
    quantity = criterion.quantity
    for perturbation in criterion.qualified_by:
        if evidence.failure_modes.get(perturbation) == FailureMode.HARMLESS:
            return f"{perturbation} is a harmless change, which qualifies nothing"
        problems = [_unusable(criterion, part, q, guarded) for q in tested if q.perturbation == perturbation]
        if not problems or any(problems):
            return next((p for p in problems if p), f"{quantity} was not tested against {perturbation}")
    for mode in criterion.failure_modes:
        problems = [_unusable(criterion, part, q, guarded) for q in tested if q.failure_mode == mode]
        if all(problems):
            return problems[0] if problems else f"{quantity} was not tested against the failure mode {spaced(mode)}"
    return ""


def _unusable(criterion: Criterion, part: Judged, row: QualificationRow, guarded: Collection[str]) -> str:
    """Return why one planted defect does not let the quantity speak; power at n images says nothing of fewer."""
    problem = unnoticed(criterion, row, guarded)
    if problem or row.n is None or (part.images is not None and part.images >= row.n):
        return problem
    judged_at = "an unknown number" if part.images is None else f"{part.images}"
    return (
        f"{criterion.quantity} is qualified against {row.perturbation} at {row.n} images and judged at {judged_at}, "
        "where its power is not known: battery.n sets how many images a replicate has"
    )


def unnoticed(criterion: Criterion, row: QualificationRow, guarded: Collection[str]) -> str:
    """Return why a quantity is not shown to notice one planted defect, whatever the number of images, or nothing.

    guarded: failure modes that met guards cover. A conditional quantity answers to a harmless change too, so a guard on the same
    failure mode must tell the two apart.
    """
    if row.outcome == "qualified" or (row.outcome == "conditional" and row.failure_mode in guarded):
        return ""
    if row.outcome == "conditional":
        by = "" if row.harmless_response is None else f" by {row.harmless_response:.2g} null SD"
        moved = f", for the harmless change {row.harmless} moves it{by}" if row.harmless else ""
        needed = f"a met guard on {spaced(row.failure_mode)}"
        return f"{criterion.quantity} is qualified against {row.perturbation} only with {needed}{moved}; none is there"
    reason = f" ({row.reason.rstrip('.')})" if row.reason else ""
    return f"{criterion.quantity} is not qualified against {row.perturbation}{reason}"


def spaced(mode: str) -> str:
    """Return a failure mode in words."""
    return mode.replace("_", " ")
