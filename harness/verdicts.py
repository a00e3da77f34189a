"""The rules from bounds to statuses, from statuses to claims, from claims to verdicts: small values in, words out.

A criterion judges one-sided 95 % bounds L and U, unrounded. Its status is that of the first precondition that fails, else that
of the bounds. All criteria of a purpose must be met, each at one-sided 0.05, so no correction is due (intersection-union test:
Berger 1982, Technometrics 24:295; FDA, Multiple Endpoints in Clinical Trials, 2022).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from .records import CriterionStatus, VerdictWord
from .spec import Criterion, Purpose

Decision = Literal["met", "not_met", "inconclusive"]
ClaimStatus = Literal["adequate", "insufficient", "inadequate"]
DeviationLevel = Literal["none", "minor", "major"]

PRECONDITIONS: tuple[CriterionStatus, ...] = ("missing", "invalid", "post_hoc", "unqualified", "insufficient_n")
WORST_FIRST: tuple[CriterionStatus, ...] = ("not_met", *PRECONDITIONS, "inconclusive", "met")
STATUS_WORDS: Mapping[CriterionStatus, str] = {
    "met": "met",
    "not_met": "not met",
    "inconclusive": "inconclusive",
    "missing": "missing",
    "invalid": "invalid",
    "post_hoc": "post hoc",
    "unqualified": "unqualified",
    "insufficient_n": "short of its minimum n",
}

# A change of any of these after the lock changes what is asked; only the bounds, n_min and runs_min can be tightened.
_FIXED = ("quantity", "extractor", "unit", "strata", "strata_role", "failure_modes", "qualified_by", "guards", "role")


def number(value: float, beside: float | None = None) -> str:
    """Write `value` to three significant digits, or to the first more that tell it from `beside`."""
    text = _digits(value, 3)
    for digits in range(4, 18):
        if beside is None or value == beside or text != _digits(beside, digits - 1):
            break
        text = _digits(value, digits)
    return text


def threshold_number(value: float) -> str:
    """Write a declared bound with every digit that was declared."""
    return _plain(Decimal(repr(float(value))))


def _digits(value: float, digits: int) -> str:
    exponent = Decimal(repr(float(value))).adjusted() if value else 0
    return _plain(Decimal(f"{value:.{max(digits, exponent + 1) - 1}e}"))


def _plain(value: Decimal) -> str:
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "0") else text.replace("-", "−")


@dataclass(frozen=True)
class Band:
    """The values that a criterion calls adequate, both ends included; None is an open end."""

    low: float | None
    high: float | None
    gain: bool = False

    @classmethod
    def of(cls, criterion: Criterion) -> Band:
        """Return the band that a criterion declares."""
        if criterion.between is not None:
            return cls(*criterion.between)
        if criterion.gain_at_least is not None:
            return cls(criterion.gain_at_least, None, gain=True)
        return cls(criterion.at_least, criterion.at_most)

    def words(self) -> str:
        """Return the band in words: at least, at most, between, gain at least."""
        if self.low is not None and self.high is not None:
            return f"between {threshold_number(self.low)} and {threshold_number(self.high)}"
        if self.low is not None:
            return f"{'gain ' if self.gain else ''}at least {threshold_number(self.low)}"
        assert self.high is not None
        return f"at most {threshold_number(self.high)}"

    def rule(self, quantity: str) -> str:
        """Return the rule in words."""
        if self.low is not None and self.high is not None:
            return f"both one-sided 95 % bounds of {quantity} lie {self.words()}"
        what = f"the gain in {quantity} over the mix (1, 0)" if self.gain else quantity
        side = "lower" if self.low is not None else "upper"
        return f"the {side} one-sided 95 % bound of {what} is {self.words().removeprefix('gain ')}"

    def decide(self, low: float, high: float) -> Decision:
        """Compare one-sided bounds with the band: inside it, wholly outside it, or neither."""
        if (self.low is not None and high < self.low) or (self.high is not None and low > self.high):
            return "not_met"
        inside = (self.low is None or low >= self.low) and (self.high is None or high <= self.high)
        return "met" if inside else "inconclusive"

    def sentence(self, low: float, high: float) -> str:
        """Return the reason for `decide` with its numbers."""
        if self.low is not None and high < self.low:
            return f"upper bound {number(high, self.low)} is below {threshold_number(self.low)}"
        if self.high is not None and low > self.high:
            return f"lower bound {number(low, self.high)} exceeds {threshold_number(self.high)}"
        if self.low is not None and self.high is not None:
            bounds = f"lower bound {number(low, self.low)} and upper bound {number(high, self.high)}"
            not_both = "" if self.decide(low, high) == "met" else " do not both"
            return f"{bounds}{not_both} lie {self.words()}"
        if self.low is not None:
            lower, floor = f"lower bound {number(low, self.low)}", threshold_number(self.low)
            if low >= self.low:
                return f"{lower} is at least {floor}"
            return f"{lower} is below {floor} and upper bound {number(high, self.low)} is not"
        assert self.high is not None
        upper, ceiling = f"upper bound {number(high, self.high)}", threshold_number(self.high)
        if high <= self.high:
            return f"{upper} is at most {ceiling}"
        return f"{upper} exceeds {ceiling} and lower bound {number(low, self.high)} does not"

    def inside(self, other: Band) -> bool:
        """Return whether every value of this band lies in the other."""
        low = other.low is None or (self.low is not None and self.low >= other.low)
        return low and (other.high is None or (self.high is not None and self.high <= other.high))


@dataclass(frozen=True)
class Standing:
    """The status of a criterion; adverse: its bounds speak against it although a precondition failed."""

    status: CriterionStatus
    adverse: bool
    reason: str


def settle(failed: Mapping[CriterionStatus, str], decision: Decision | None, sentence: str) -> Standing:
    """Return the status of the first failed precondition, else the decision; a failed precondition hides no adverse bounds.

    failed: the preconditions that failed, with reasons. decision: what the bounds say, None where there are none.
    """
    first = next((status for status in PRECONDITIONS if status in failed), None)
    if decision is None or first == "missing":
        return Standing("missing", False, failed.get("missing", "there is no value"))
    if first is None:
        return Standing(decision, False, sentence)
    adverse = decision == "not_met"
    return Standing(first, adverse, f"{failed[first]}; adverse: {sentence}" if adverse else failed[first])


def worst(statuses: Iterable[CriterionStatus]) -> CriterionStatus:
    """Return the worst status, for parts that must each be met."""
    return min(statuses, key=WORST_FIRST.index)


def claim_status(statuses: Sequence[CriterionStatus]) -> ClaimStatus:
    """Roll the required criteria of a claim up: all must be met, one that is not met sinks it."""
    if "not_met" in statuses:
        return "inadequate"
    return "adequate" if statuses and all(status == "met" for status in statuses) else "insufficient"


def purpose_verdict(
    claims: Sequence[Sequence[CriterionStatus]], rules_hold: bool, deviations: DeviationLevel, conditions: bool
) -> VerdictWord:
    """Roll the critical claims of a purpose up, each given as the statuses of its critical criteria.

    conditions: a supportive criterion is not met, a minor deviation, an open adverse flag or an uncovered source of variation.
    """
    if all(status == "missing" for claim in claims for status in claim):
        return "not_assessed"
    rolled = [claim_status(claim) for claim in claims]
    if "inadequate" in rolled:
        return "inadequate"
    if "insufficient" in rolled or not rules_hold or deviations == "major":
        return "insufficient_evidence"
    return "adequate_with_conditions" if conditions or deviations == "minor" else "adequate"


@dataclass(frozen=True)
class Change:
    """A change since the first lock. criterion: its id, or empty for the purpose as a whole."""

    criterion: str
    level: DeviationLevel
    text: str
    post_hoc: bool = False


def changes(first: Purpose | None, now: Purpose) -> tuple[Change, ...]:
    """Compare a purpose with its first lock (None: it was not in it); wording of claims and reasons is free.

    Criteria that were added, relaxed or made to ask something else are post hoc; a criterion that was dropped or changed in
    another way than tightening is a major deviation.
    """
    locked = {c.id: c for c in first.criteria} if first is not None else {}
    found = []
    for criterion in now.criteria:
        if criterion.id not in locked:
            found.append(Change(criterion.id, "minor", "was added after the plan was locked", post_hoc=True))
        elif text := _relaxed(locked[criterion.id], criterion) or _regrouped(criterion.id, locked, now):
            found.append(Change(criterion.id, "major", f"{text} after the plan was locked", post_hoc=True))
        elif text := _tightened(locked[criterion.id], criterion):
            found.append(Change(criterion.id, "minor", f"{text} after the plan was locked"))
    present = {c.id for c in now.criteria}
    found += [Change(i, "major", "was dropped after the plan was locked") for i in locked if i not in present]
    if first is not None and first.uses_model and not now.uses_model:
        found.append(Change("", "major", "uses_model was switched off after the plan was locked"))
    if first is not None and any(
        getattr(first, name) != getattr(now, name) for name in ("context_of_use", "target_population", "user", "not_for")
    ):
        found.append(Change("", "minor", "the context of use was reworded after the plan was locked"))
    return tuple(found)


def _asked(criterion: Criterion, field: str) -> object:
    value = getattr(criterion, field)
    return tuple(sorted(value)) if isinstance(value, tuple) else value


def mix_of(criterion: Criterion) -> tuple[float, float]:
    """Return the training mix at which a criterion judges a task: real images alone where a plan of old names none."""
    return criterion.mix or (1.0, 0.0)


def _relaxed(first: Criterion, now: Criterion) -> str:
    was, band = Band.of(first), Band.of(now)
    if was.gain != band.gain or not band.inside(was):
        return f"was changed from {was.words()} to {band.words()}"
    if mix_of(first) != mix_of(now):
        return "had its mix changed"
    for field in _FIXED:
        if _asked(first, field) != _asked(now, field):
            return f"had its {field} changed"
    for field, fewer in (("n_min", now.n_min < first.n_min), ("runs_min", now.runs_min < first.runs_min)):
        if fewer:
            return f"had its {field} lowered from {getattr(first, field)} to {getattr(now, field)}"
    return "was given a reason for one kind of evidence" if now.one_kind_because and not first.one_kind_because else ""


def _regrouped(criterion: str, locked: Mapping[str, Criterion], now: Purpose) -> str:
    """Sharing a claim with more criteria than before would lend this one their kinds of evidence."""
    claims = {c.id: c.claim for c in now.criteria}
    joined = [i for i, c in locked.items() if claims.get(i) == claims[criterion] and c.claim != locked[criterion].claim]
    return f"was joined in one claim with {', '.join(joined)}" if joined else ""


def _tightened(first: Criterion, now: Criterion) -> str:
    was, band = Band.of(first), Band.of(now)
    if was != band:
        return f"was tightened from {was.words()} to {band.words()}"
    for field in ("n_min", "runs_min"):
        if getattr(first, field) != getattr(now, field):
            return f"had its {field} raised from {getattr(first, field)} to {getattr(now, field)}"
    return ""
