"""Rows that say what follows from the numbers: what a battery showed, criteria, verdicts, findings."""

from __future__ import annotations

from typing import Literal

from .quantities import Better, Record

EvidenceKind = Literal["E1", "E2", "E3", "E4"]
CriterionStatus = Literal["met", "not_met", "inconclusive", "missing", "invalid", "post_hoc", "unqualified", "insufficient_n"]
VerdictWord = Literal["adequate", "adequate_with_conditions", "insufficient_evidence", "inadequate", "not_assessed"]
Outcome = Literal["qualified", "conditional", "not_qualified", "reversed"]


class QualificationRow(Record):
    """Whether a quantity noticed a planted defect. n: synthetic-arm images per replicate.

    response: mean shift at the dose of concern from severity 0 in null standard deviations, worse counted positive. power: share
    of replicates at the dose of concern that were detected, power_low its one-sided 95 % lower bound. false_alarm_high: one-sided
    95 % upper bound of the false-alarm rate on null splits that did not set the band. stability: smallest share detected at the
    dose of concern among the fault_seeds planted probes. harmless, harmless_response: the harmless change that moved the quantity
    most, in either direction, and by how many null standard deviations. A harmless change has rows too, without an outcome.
    """

    table = "qualifications"
    cell: str
    component: str
    quantity: str
    extractor: str = ""
    perturbation: str
    failure_mode: str
    n: int | None
    dose_of_concern: float
    dose_reason: str = ""
    replicates: int | None = None
    null_splits: int | None = None
    null_low: float | None = None
    null_high: float | None = None
    response: float | None = None
    trend_p: float | None = None
    power: float | None = None
    power_low: float | None = None
    false_alarm_high: float | None = None
    detected_at: float | None = None
    fault_seeds: int | None = None
    stability: float | None = None
    harmless: str = ""
    harmless_response: float | None = None
    outcome: Outcome | None
    reason: str


class ResponseRow(Record):
    """How a quantity answered to one planted defect at one severity.

    mean, low, high: of the values of the replicates, low and high their smallest and largest. response: mean less the mean at
    severity 0, in null standard deviations, worse counted positive; None where the null splits do not vary. detected: share of
    the replicates beyond the null band on the worse side. tested_on: `planted` for a task, trained on clean images and tested on
    planted ones.
    """

    table = "responses"
    cell: str
    component: str
    quantity: str
    extractor: str = ""
    perturbation: str
    failure_mode: str
    severity: float
    tested_on: str = ""
    n: int
    replicates: int
    mean: float
    low: float
    high: float
    response: float | None
    detected: float
    unit: str = "1"
    better: Better


class CriterionRow(Record):
    """A criterion with its status. threshold is in words ('at most 0.01'); ci are one-sided 95 % bounds."""

    table = "criteria"
    cell: str
    purpose: str
    criterion: str
    claim: str
    role: Literal["critical", "supportive"]
    kind: EvidenceKind
    quantity: str
    extractor: str = ""
    real_share: float | None = None
    synthetic_share: float | None = None
    rule: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    threshold: str
    threshold_low: float | None = None
    threshold_high: float | None = None
    because: str = ""
    n: int | None
    n_min: int | None = None
    unit: str = "image"
    status: CriterionStatus
    adverse: bool
    reason: str


class VerdictRow(Record):
    """The verdict of a purpose; conditions one sentence each, rules one line each in the order in which they were applied."""

    table = "verdicts"
    cell: str
    purpose: str
    context_of_use: str
    verdict: VerdictWord
    conditions: list[str]
    rules: list[str]
    reason: str


class FindingRow(Record):
    """Something a reader must know."""

    table = "findings"
    cell: str
    severity: Literal["note", "warning", "adverse", "breach"]
    kind: str
    text: str
    evidence: str = ""
