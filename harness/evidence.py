"""What criteria rest on: the value that a criterion judges, and the planted defects that let its quantity speak."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .components import FailureMode
from .quantities import Family, Quantity
from .raters.quantities import asked
from .readerspec import ORIGINS, Gates, ScaleSpec
from .records import SYNTHETIC, EvidenceKind, FindingRow, QualificationRow, ReliabilityRow, ScoreRow
from .spec import Criterion
from .verdicts import Band, Decision, mix_of

LEAST_RATERS = 2


@dataclass(frozen=True)
class Evidence:
    """Everything that verdicts rest on.

    scores: current rows of the stages measure and evaluate. findings: from loading the data; a breach (patients or pixels
    shared by train and test) makes every criterion of the audit invalid. quantities, kinds: by `component.quantity`, E1 for
    metrics and E2 for tasks. runs: independent sampling runs of the generator; repeats: of each task, each on a run of its own where
    there are several. failure_modes: by perturbation. scales: by name, with the gates that raters must pass.
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
    scales: Mapping[str, ScaleSpec] = field(default_factory=dict)

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

    def looked(self, criterion: Criterion) -> bool:
        """Return whether experts say something of the images: that they agree with each other says nothing of what they see."""
        return self.kind(criterion) == "E3" and not self.shows_raters(criterion)

    def shows_raters(self, criterion: Criterion) -> bool:
        """Return whether a criterion is about how reliable raters are, and not about images."""
        return criterion.of_raters and asked(criterion.quantity, self.scales).showing

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
    """A value with its one-sided bounds, or why there is none. where: the part, if several must meet a criterion.

    raters, items: whose answers and on which items, where raters speak.
    """

    where: str = ""
    extractor: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    images: int | None = None
    patients: int | None = None
    missing: str = ""
    raters: str = ""
    items: str = ""

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
    """Find what raters say: of all items where it shows how reliable they are, of the synthetic ones where it is about images."""
    wanted = asked(criterion.quantity, evidence.scales)
    scale = evidence.scales.get(wanted.scale)
    rows = [row for row in evidence.reliability if wanted.answers(row)]
    each = criterion.strata if criterion.strata_role == "each_must_meet" else ()
    parts = [[name] if name in ORIGINS else [f"{SYNTHETIC}, {name}"] for name in each] or [wanted.usual(scale)]
    found: list[Judged] = []
    for names, stratum in zip(parts, each or ("",), strict=True):
        mine = [row for row in rows if any(row.items == name or row.items.startswith(f"{name}=") for name in names)]
        for row in mine:
            who = "" if wanted.experts or len(mine) == 1 else row.raters
            found.append(_rated(row, ", ".join(word for word in (row.items if each else "", who) if word)))
        of = f" on {' or '.join(names)} items" if names[0] not in ("all", "planted") else ""
        found += [] if mine else [Judged(where=stratum, missing=f"there is no {wanted.statistic} on the scale {wanted.scale}{of}")]
    return tuple(found)


def _rated(row: ReliabilityRow, where: str) -> Judged:
    return Judged(
        where=where, value=row.value, low=row.bound_low, high=row.bound_high, images=row.n_items, raters=row.raters, items=row.items,
        missing=_missing(row, None not in (row.bound_low, row.bound_high)),
    )  # fmt: skip


def ungated(criterion: Criterion, part: Judged, evidence: Evidence) -> str:
    """Return why raters may not speak for a claim: they were not shown to be reliable enough on these items, or nothing (R8)."""
    wanted = asked(criterion.quantity, evidence.scales)
    if wanted.showing:
        return ""
    scale = evidence.scales.get(wanted.scale)
    gates = scale.gates if scale is not None else Gates()
    if scale is not None and scale.shows == "grid":
        return _inattentive(wanted.scale, gates, evidence)
    if not gates.experts:
        return f"the scale {wanted.scale} declares no gates.experts, so nothing says when its raters are reliable enough (R8)"
    # Both sides of a comparison; a model is held against experts, so theirs come first.
    for items in part.items.split(" - "):
        reason = _unreliable(evidence, wanted.scale, "experts", gates.experts, items) or _missed_faults(evidence, wanted.scale, gates)
        if not reason and not wanted.experts:
            reason = _unreliable(evidence, wanted.scale, part.raters, gates.models, items)
        if reason:
            return reason
    return ""


def _unreliable(evidence: Evidence, scale: str, who: str, needed: Mapping[str, float], items: str) -> str:
    """Return why raters are not shown to be reliable on these items, or nothing."""
    if not needed:
        return f"the scale {scale} declares no gates.models, so nothing says when a model is reliable enough (R8)"
    named = f"{who} on {scale}{f' in {items}' if items not in ('', 'all') else ''}"
    for statistic, least in needed.items():
        row = _reliability(evidence, scale, who, statistic, items)
        if row is not None and row.n_raters < LEAST_RATERS:
            return f"{named}: {row.n_raters} rater, and agreement needs {LEAST_RATERS} (R8)"
        reason = _below(row, statistic, least, named)
        if reason:
            return reason
    return ""


def _missed_faults(evidence: Evidence, scale: str, gates: Gates) -> str:
    if gates.attention is None:
        return ""
    row = next((r for r in evidence.reliability if (r.scale, r.analysis, r.raters, r.statistic)
                == (scale, "attention", "experts", "sensitivity")), None)  # fmt: skip
    return _below(row, "share of planted faults noticed", gates.attention, f"experts on {scale}")


def _inattentive(scale: str, gates: Gates, evidence: Evidence) -> str:
    """Return why a failure to find real images shows nothing: readers who do not look find none either, and agree on nothing."""
    if gates.attention is None:
        return f"the scale {scale} declares no gates.attention, so nothing says that its readers looked (R8)"
    rows = [r for r in evidence.reliability if (r.analysis, r.raters, r.statistic) == ("attention", "experts", "sensitivity")]
    if not rows:
        return f"no planted fault was shown to the readers of {scale}, and the gate asks for {gates.attention:g} of them noticed (R8)"
    reasons = [_below(row, "share of planted faults noticed", gates.attention, f"experts on {row.scale}") for row in rows]
    return next((reason for reason in reasons if reason), "")


def _reliability(evidence: Evidence, scale: str, who: str, statistic: str, items: str) -> ReliabilityRow | None:
    analysis = "agreement" if who == "experts" else "model"
    rows = [
        r for r in evidence.reliability
        if (r.scale, r.analysis, r.raters, r.statistic, r.category) == (scale, analysis, who, statistic, "")
    ]  # fmt: skip
    return next((row for row in rows if row.items == (items or "all")), None)


def _below(row: ReliabilityRow | None, statistic: str, least: float, who: str) -> str:
    """Return why a gate is shut: its lower bound must reach the least value."""
    if row is None or row.value is None:
        return f"{statistic} of {who} is not known{f': {row.reason}' if row is not None else ''}, and the gate asks for {least:g} (R8)"
    if row.bound_low is None:
        return f"{statistic} of {who} has no lower bound, and the gate asks for {least:g} (R8)"
    if row.bound_low < least:
        low = next(text for text in (f"{row.bound_low:.{k}f}" for k in (2, 3, 4, 17)) if float(text) != least)
        return f"{statistic} of {who} is {row.value:.2f}, lower bound {low}, and the gate asks for {least:g} (R8)"
    return ""


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
    if kind in ("E3", "E4"):
        return ungated(criterion, part, evidence)
    if kind == "E2" and not criterion.qualified_by and not criterion.failure_modes:
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
