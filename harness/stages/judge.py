"""Stage judge: rows in, verdicts out; no files, no arrays, no clock. The rules themselves are in `verdicts`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .. import signatures
from ..components import FailureMode
from ..evidence import Evidence, Judged, judged, spaced, unnoticed, unqualified
from ..records import CriterionRow, CriterionStatus, EvidenceKind, FindingRow, VerdictRow, VerdictWord
from ..spec import Criterion, Purpose
from ..verdicts import (
    STATUS_WORDS,
    Band,
    Change,
    ClaimStatus,
    DeviationLevel,
    Standing,
    changes,
    claim_status,
    mix_of,
    purpose_verdict,
    settle,
    worst,
)

__all__ = ["Evidence", "Judgement", "Lock", "judge"]

_CLAIM_WORDS: Mapping[ClaimStatus, str] = {"adequate": "supported", "insufficient": "undecided", "inadequate": "not supported"}
_RULES: Mapping[str, str] = {
    "R1": "a purpose that uses a model needs a critical task criterion on real images",
    "R2": "distances alone support no critical claim",
    "R3": "a claim on local detail needs a task, experts, or a metric that noticed two defects of it and missed none",
    "R4": "a claim on collapse needs coverage in each stratum; one on collapse or invention needs experts or a reason",
    "R5": "distances support nothing where memorisation shows and they improve",
    "R8": "a critical claim needs two kinds of evidence or a stated reason for one",
}
_TRAINED_CLEAN = (
    "rests on a task that noticed defects in the images that it was tested on; "
    "whether it would notice them in what it learns from was not tested."
)
_AGAINST_REAL = "a task that learned nothing from either would meet it, and no criterion that is met says how well the task does"
_ONE_RUN = "The run-to-run variation of the generator is not covered: all synthetic images come from one sampling run."


@dataclass(frozen=True)
class Lock:
    """The purposes of the first plan that was locked under the audit's name; whether the data are still those; what else of the
    plan was changed since, by its place in model.yaml.
    """

    purposes: Mapping[str, Purpose]
    same_data: bool
    changed: tuple[str, ...] = ()

    @property
    def broken(self) -> str:
        """Say what makes every criterion post hoc, or nothing."""
        what = [*(["the data"] if not self.same_data else []), *self.changed]
        return f"changed after the plan was locked: {', '.join(what)}" if what else ""


@dataclass(frozen=True)
class Judgement:
    """Criteria, verdicts, and what a reader must know of how they came about."""

    criteria: tuple[CriterionRow, ...]
    verdicts: tuple[VerdictRow, ...]
    findings: tuple[FindingRow, ...]


def judge(purposes: Mapping[str, Purpose], evidence: Evidence, lock: Lock | None, cell: str) -> Judgement:
    """Judge every criterion of every purpose. lock: None if this plan is the first under its name."""
    signs = signatures.findings(purposes, evidence, cell)
    findings = list(signs)
    if lock is not None and lock.broken:
        findings.append(_deviation(cell, "major", f"{lock.broken}; every criterion is post hoc", ""))
    if lock is not None:
        dropped = sorted(set(lock.purposes) - set(purposes))
        findings += [_deviation(cell, "major", "the purpose was dropped after the plan was locked", name) for name in dropped]
    benches = [_Bench(name, purpose, evidence, lock, signs, cell) for name, purpose in purposes.items()]
    return Judgement(
        tuple(row for bench in benches for row in bench.rows()),
        tuple(bench.verdict() for bench in benches),
        (*findings, *(finding for bench in benches for finding in bench.findings())),
    )


def _deviation(cell: str, level: DeviationLevel, text: str, where: str) -> FindingRow:
    sentence = f"{level.capitalize()} deviation{f' in {where}' if where else ''}: {text}."
    return FindingRow(cell=cell, severity="adverse" if level == "major" else "note", kind="deviation", text=sentence, evidence=where)


class _Bench:
    """Judges one purpose: each criterion after its guards, then the rules, then the verdict."""

    def __init__(self, name: str, purpose: Purpose, evidence: Evidence, lock: Lock | None, signs: Sequence[FindingRow], cell: str) -> None:
        self.name, self.purpose, self.evidence, self.signs, self.cell = name, purpose, evidence, signs, cell
        self.copying = any(sign.kind == "memorisation" for sign in signs)
        self.by_id = {c.id: c for c in purpose.criteria}
        self.broken = lock.broken if lock is not None else ""
        self.changes: tuple[Change, ...] = changes(lock.purposes.get(name), purpose) if lock is not None else ()
        self.done: dict[str, tuple[CriterionRow, ...]] = {}

    def rows(self) -> list[CriterionRow]:
        """Return one row for each criterion, followed by one for each part that must meet it."""
        return [row for c in self.purpose.criteria for row in self._judge(c)]

    def _status(self, criterion: Criterion) -> CriterionStatus:
        return self._judge(criterion)[0].status

    def _judge(self, criterion: Criterion) -> tuple[CriterionRow, ...]:
        if criterion.id not in self.done:
            parts = judged(criterion, self.evidence)
            rows = [self._row(criterion, part) for part in parts]
            if parts[0].where:
                rows = [self._whole(rows, parts), *(
                    row.model_copy(update={"criterion": f"{criterion.id}[{part.where}]"})
                    for row, part in zip(rows, parts, strict=True)
                )]  # fmt: skip
            self.done[criterion.id] = tuple(rows)
        return self.done[criterion.id]

    def _whole(self, rows: list[CriterionRow], parts: tuple[Judged, ...]) -> CriterionRow:
        """Each part must meet the criterion, so the worst speaks for all (intersection-union test)."""
        status = worst(row.status for row in rows)
        alike = [(row, part) for row, part in zip(rows, parts, strict=True) if row.status == status]
        row, part = min(alike, key=lambda pair: _margin(pair[0]))
        return row.model_copy(update={"adverse": any(r.adverse for r in rows), "reason": f"{part.where}: {row.reason}"})

    def _row(self, criterion: Criterion, part: Judged) -> CriterionRow:
        band = Band.of(criterion)
        standing = self._standing(criterion, part)
        real, synthetic = mix_of(criterion) if self.evidence.kind(criterion) == "E2" else (None, None)
        return CriterionRow(
            cell=self.cell, purpose=self.name, criterion=criterion.id, claim=criterion.claim, role=criterion.role,
            kind=self.evidence.kind(criterion), quantity=criterion.quantity,
            extractor=part.extractor or criterion.extractor or "", rule=band.rule(criterion.quantity), value=part.value,
            real_share=real, synthetic_share=synthetic,
            ci_low=part.low, ci_high=part.high, threshold=band.words(), threshold_low=band.low, threshold_high=band.high,
            because=criterion.because, n=part.images if criterion.unit == "image" else part.patients, n_min=criterion.n_min,
            unit=criterion.unit, status=standing.status, adverse=standing.adverse, reason=standing.reason,
        )  # fmt: skip

    def _standing(self, criterion: Criterion, part: Judged) -> Standing:
        decision, sentence = part.decide(Band.of(criterion))
        breach = next((f for f in self.evidence.findings if f.severity == "breach"), None)
        post_hoc = next((f"it {c.text}" for c in self.changes if c.criterion == criterion.id and c.post_hoc), "")
        failed: dict[CriterionStatus, str] = {
            "missing": part.missing,
            "invalid": f"the test data are not independent: {breach.text.rstrip('.')}" if breach else "",
            "post_hoc": self.broken or post_hoc,
            "unqualified": self._unqualified(criterion, part),
            "insufficient_n": self._too_few(criterion, part),
        }
        return settle({status: reason for status, reason in failed.items() if reason}, decision, sentence)

    def _too_few(self, criterion: Criterion, part: Judged) -> str:
        n, runs = part.images if criterion.unit == "image" else part.patients, self.evidence.runs_of(criterion)
        if n is None:
            return f"the number of {criterion.unit}s is not recorded"
        if n < criterion.n_min:
            return f"{n} {criterion.unit}s of at least {criterion.n_min}"
        return f"{runs} sampling runs of at least {criterion.runs_min}" if runs < criterion.runs_min else ""

    def _unqualified(self, criterion: Criterion, part: Judged) -> str:
        """Return why the quantity, or what guards it, does not let the value count; the quantity comes first."""
        distance = self.evidence.family(criterion) == "distance"
        if distance and self.copying:
            return "a signature of memorisation was observed, so distances of this run support nothing (R5)"
        circular = criterion.id in self._guards_of(criterion)
        met = [] if circular else [self.by_id[g] for g in criterion.guards if g in self.by_id and self._met(g)]
        guarded = {mode for guard in met for mode in self.evidence.claimed_modes(guard)}
        alike = (c for c in self.purpose.criteria if (c.quantity, c.extractor) == (criterion.quantity, criterion.extractor))
        together = {mode for c in alike for mode in self.evidence.claimed_modes(c)}
        reason = unqualified(criterion, part, self.evidence, guarded, together)
        if reason or circular:
            return reason or f"its guards lead back to {criterion.id}"
        for guard in criterion.guards:
            if guard not in self.by_id:
                return f"guard {guard} is not a criterion of this purpose"
            if not self._met(guard):
                return f"guard {guard} is {STATUS_WORDS[self._status(self.by_id[guard])]}"
        families = {self.evidence.family(guard) for guard in met}
        lacking = next((f for f in ("memorisation", "coverage") if distance and f not in families), "")
        return f"a distance needs a met guard on {lacking} (R2)" if lacking else ""

    def _met(self, criterion: str) -> bool:
        return self._status(self.by_id[criterion]) == "met"

    def _guards_of(self, criterion: Criterion) -> set[str]:
        """Return the guards of a criterion, their guards, and so on."""
        reached: set[str] = set()
        ahead = list(criterion.guards)
        while ahead:
            guard = ahead.pop()
            if guard not in reached:
                reached.add(guard)
                ahead += self.by_id[guard].guards if guard in self.by_id else ()
        return reached

    def _claims(self) -> list[list[Criterion]]:
        """Group the criteria that count by claim, critical claims only: a supportive criterion counts where it is met."""
        grouped: dict[str, list[Criterion]] = {}
        for c in self.purpose.criteria:
            grouped.setdefault(c.claim, [])
            if c.role == "critical" or self._met(c.id):
                grouped[c.claim].append(c)
        return [claim for claim in grouped.values() if any(c.role == "critical" for c in claim)]

    def _broken_r1(self) -> str:
        if self.purpose.uses_model and not any(
            c.role == "critical" and self.evidence.kind(c) == "E2" and self.evidence.needs_synthetic(c) for c in self.purpose.criteria
        ):
            return "the purpose uses a model, and no critical criterion tests one trained with synthetic images on real ones"
        return ""

    def _broken_r2(self) -> str:
        alone = [c for c in self._claims() if all(self.evidence.family(criterion) == "distance" for criterion in c)]
        return f"the claim of {_ids(alone[0])} rests on distances alone" if alone else ""

    def _broken_r3(self) -> str:
        for claim in self._claims():
            if FailureMode.LOCAL_MORPHOLOGY in self._named(claim) and not any(self._shows_detail(c) for c in claim):
                return f"the claim of {_ids(claim)} is about local detail, and nothing that is known to see it speaks for it"
        return ""

    def _broken_r4(self) -> str:
        for claim in self._claims():
            modes = self._named(claim) & {FailureMode.MODE_COLLAPSE, FailureMode.MODE_INVENTION}
            if FailureMode.MODE_COLLAPSE in modes and not any(self._covers(c) for c in claim):
                each = " that each stratum must meet" if self.evidence.stratified else ""
                return f"the claim of {_ids(claim)} names mode collapse and has no criterion on coverage{each}"
            if modes and not any(self.evidence.looked(c) for c in claim) and not _reasoned(claim):
                names = " and ".join(map(spaced, sorted(modes)))
                return f"the claim of {_ids(claim)} names {names}, no experts looked, and no reason is given"
        return ""

    def _named(self, claim: list[Criterion]) -> set[str]:
        """Return the failure modes that the critical criteria of a claim name: what it was declared to say, met or not."""
        return {mode for c in claim if c.role == "critical" for mode in self.evidence.claimed_modes(c)}

    def _shows_detail(self, criterion: Criterion) -> bool:
        """Return whether a criterion can speak for local detail: experts, a task that is not blind to it, or a metric that noticed
        every defect of two or more.
        """
        kind = self.evidence.kind(criterion)
        tested = [
            row for row in self.evidence.tested(criterion, self._judge(criterion)[0].extractor)
            if row.failure_mode == FailureMode.LOCAL_MORPHOLOGY and row.outcome is not None
        ]  # fmt: skip
        seen = not any(unnoticed(criterion, row, ()) for row in tested)
        if kind in ("E2", "E3"):
            return self.evidence.looked(criterion) if kind == "E3" else self.evidence.needs_synthetic(criterion) and seen
        return kind == "E1" and len({row.perturbation for row in tested}) > 1 and seen

    def _covers(self, criterion: Criterion) -> bool:
        each = bool(criterion.strata) and criterion.strata_role == "each_must_meet"
        return self.evidence.family(criterion) == "coverage" and (each or not self.evidence.stratified)

    def _broken_r8(self) -> str:
        for claim in self._claims():
            # How far raters agree says nothing of images, unless that is all that is claimed.
            of_images = [c for c in claim if not self.evidence.shows_raters(c)] or claim
            kinds: set[EvidenceKind] = {self.evidence.kind(c) for c in of_images}
            if kinds == {"E4"}:
                return f"the claim of {_ids(claim)} rests on language models alone"
            # A language model speaks beside experts, never in their place.
            kinds -= set() if "E3" in kinds else {"E4"}
            if len(kinds) < 2 and not _reasoned(claim):
                return f"the claim of {_ids(claim)} rests on one kind of evidence, and no reason is given"
        return ""

    def _conditions(self) -> list[str]:
        found = []
        for c in self.purpose.criteria:
            row = self._judge(c)[0]
            if row.role == "supportive" and row.status != "met":
                found.append(f"Supportive criterion {c.id} is {STATUS_WORDS[row.status]}: {row.reason}.")
        levels = (c for c in self.purpose.criteria if self.evidence.absolute(c) and self.evidence.needs_synthetic(c))
        absolute = [c.id for c in levels if self._status(c) == "met"]
        found += [f"{name} is judged as an absolute task value; no battery tested it." for name in absolute]
        claiming = (c for c in self.purpose.criteria if self.evidence.kind(c) == "E2" and self.evidence.claimed_modes(c))
        found += [f"{c.id} {_TRAINED_CLEAN}" for c in claiming if self.evidence.needs_synthetic(c) and self._status(c) == "met"]
        if self.evidence.runs == 1 and any(self.evidence.needs_synthetic(c) for c in self.purpose.criteria):
            found.append(_ONE_RUN)
        found += [f"Minor deviation: {_where(c)}{c.text}." for c in self.changes if c.level == "minor"]
        adverse = [f for f in (*self.evidence.findings, *self.signs) if f.severity == "adverse"]
        return [*found, *(f"Open adverse finding: {f.text}" for f in adverse)]

    def _alone(self, gain: Criterion) -> bool:
        """Return whether a gain is met and no met criterion bounds how bad the task may be at all."""
        task = gain.quantity.partition(".")[0]
        level = (c for c in self.purpose.criteria if c.quantity.partition(".")[0] == task and c.gain_at_least is None)
        return self._met(gain.id) and not any(self._met(c.id) and self._bounds_the_worse(c) for c in level)

    def _bounds_the_worse(self, criterion: Criterion) -> bool:
        promise, band = self.evidence.quantities.get(criterion.quantity), Band.of(criterion)
        return promise is not None and (band.high if promise.better == "lower" else band.low) is not None

    def _level(self) -> DeviationLevel:
        levels = {c.level for c in self.changes}
        return "major" if self.broken or "major" in levels else "minor" if levels else "none"

    def verdict(self) -> VerdictRow:
        """Return the verdict with the rules in the order in which they were applied."""
        claims = [[c for c in claim if c.role == "critical"] for claim in self._claims()]
        statuses = [[self._status(c) for c in claim] for claim in claims]
        checks = {
            "R1": self._broken_r1(), "R2": self._broken_r2(), "R3": self._broken_r3(), "R4": self._broken_r4(), "R8": self._broken_r8(),
        }  # fmt: skip
        broken = [f"{rule} is broken: {problem}" for rule, problem in checks.items() if problem]
        conditions, level = self._conditions(), self._level()
        word = purpose_verdict(statuses, not broken, level, bool(conditions))
        lines = [
            f"Critical claim of {_ids(claim)}: {_CLAIM_WORDS[claim_status(group)]} "
            f"({', '.join(f'{c.id} {STATUS_WORDS[s]}' for c, s in zip(claim, group, strict=True))})."
            for claim, group in zip(claims, statuses, strict=True)
        ] or ["No critical criterion is declared."]
        lines += [f"Rule {rule} ({_RULES[rule]}) {f'is broken: {problem}' if problem else 'holds'}." for rule, problem in checks.items()]
        if signatures.memorisation_evaluated(self.evidence):
            lines.append(f"Rule R5 ({_RULES['R5']}): {'observed' if self.copying else 'not observed'} here.")
        else:
            lines.append(f"Rule R5 ({_RULES['R5']}) was not evaluated: it needs a memorisation quantity and a distance.")
        lines.append(f"Deviations from the first lock: {level}.")
        lines += [f"Condition: {condition}" for condition in conditions] or ["No condition."]
        return VerdictRow(
            cell=self.cell, purpose=self.name, context_of_use=self.purpose.context_of_use, verdict=word,
            conditions=conditions if word == "adequate_with_conditions" else [], rules=lines,
            reason=self._reason(word, claims, broken, len(conditions)),
        )  # fmt: skip

    def _reason(self, word: VerdictWord, claims: list[list[Criterion]], broken: list[str], conditions: int) -> str:
        rows = [self._judge(c)[0] for claim in claims for c in claim]
        bad = [r for r in rows if r.status == "not_met"] or [r for r in rows if r.status != "met"]
        named = "; ".join(f"{r.criterion} is {STATUS_WORDS[r.status]}: {r.reason}" for r in bad)
        if word == "not_assessed":
            return f"No critical criterion has a result: {named}." if rows else "No critical criterion is declared."
        if word == "inadequate":
            return f"A critical claim is not supported: {named}."
        total = f"{len(claims)} critical claim{'s are' if len(claims) > 1 else ' is'} supported"
        if word == "insufficient_evidence":
            if bad:
                return ". ".join([f"A critical claim is undecided: {named}", *broken]) + "."
            return f"{total}, but {'; '.join(broken) if broken else 'the plan was changed after it was locked'}."
        if word == "adequate_with_conditions":
            return f"{total}, under {conditions} condition{'s' if conditions > 1 else ''}."
        return f"{total}, and no condition is open."

    def findings(self) -> list[FindingRow]:
        """Return deviations, values that speak against a criterion behind a failed precondition, and kinds that disagree."""
        found = [_deviation(self.cell, c.level, f"{_where(c)}{c.text}", self.name) for c in self.changes]
        for c in self.purpose.criteria:
            rows = self._judge(c)
            for row in rows[1:] or rows:
                if row.adverse:
                    text, at = f"is {STATUS_WORDS[row.status]}: {row.reason}.", f"{self.name}/{row.criterion}"
                    text = f"Criterion {row.criterion} of {self.name} {text}"
                    found.append(FindingRow(cell=self.cell, severity="adverse", kind="adverse_value", text=text, evidence=at))
        for c in self.purpose.criteria:
            if c.gain_at_least is not None and c.gain_at_least <= 0 and self._alone(c):
                text = f"Criterion {c.id} of {self.name} compares with real images alone: {_AGAINST_REAL}."
                found.append(
                    FindingRow(cell=self.cell, severity="warning", kind="level_not_asked", text=text, evidence=f"{self.name}/{c.id}")
                )
        for shared in dict.fromkeys(c.claim for c in self.purpose.criteria):
            claim = [c for c in self.purpose.criteria if c.claim == shared]
            met, unmet = (sorted({self.evidence.kind(c) for c in claim if self._status(c) == status}) for status in ("met", "not_met"))
            if met and unmet and met != unmet:
                text = f"Kinds of evidence disagree on the claim of {_ids(claim)} of {self.name}: "
                text += f"{', '.join(met)} met, {', '.join(unmet)} not met."
                found.append(FindingRow(cell=self.cell, severity="warning", kind="disagreement", text=text, evidence=self.name))
        return found


def _reasoned(claim: list[Criterion]) -> bool:
    return any(c.one_kind_because for c in claim if c.role == "critical")


def _margin(row: CriterionRow) -> float:
    """Return by how much the nearer bound clears the threshold, negative where it misses; a row without bounds comes first."""
    ends = [(row.ci_low, row.threshold_low, 1.0), (row.ci_high, row.threshold_high, -1.0)]
    known = [sign * (bound - limit) for bound, limit, sign in ends if bound is not None and limit is not None]
    return min(known, default=-math.inf)


def _ids(claim: list[Criterion]) -> str:
    return ", ".join(c.id for c in claim)


def _where(change: Change) -> str:
    return f"{change.criterion} " if change.criterion else ""
