"""One row class per table of the results file; the store adds `audit_id` in front of every row.

A row is checked before it is written: no NaN, no value without status ok, no missing value without a reason.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from .conclusions import (
    CriterionRow,
    CriterionStatus,
    EvidenceKind,
    FindingRow,
    Outcome,
    QualificationRow,
    ResponseRow,
    VerdictRow,
    VerdictWord,
)  # fmt: skip
from .quantities import Better, Record, Valued

__all__ = [
    "ROWS", "AuditRow", "CaseScoreRow", "CellRow", "CellStatus", "ComponentRow", "ConsensusRow", "CriterionRow", "CriterionStatus",
    "EvidenceKind", "FindingRow", "ImageScoreRow", "ImageSetRow", "JudgeCallRow", "LedgerRow", "Outcome", "OutcomeRow", "PictureRow",
    "PlannedCellRow", "QualificationRow", "RatingRow", "ReliabilityRow", "ResponseRow", "ScoreRow", "TrustRow", "VerdictRow",
    "VerdictWord",
]  # fmt: skip

CellStatus = Literal["ok", "not_computable", "failed"]


class AuditRow(Record):
    """The audit: what was asked, with what, where."""

    table = "audits"
    name: str
    started_at: datetime
    seed: int
    spec: dict[str, Any]
    spec_sha256: str
    plan_sha256: str
    data_sha256: str
    generator_sha256: str
    harness_version: str
    environment: dict[str, Any]
    supersedes: str | None = None


class OutcomeRow(Record):
    """One attempt that ended; an attempt in the ledger without one was interrupted."""

    table = "outcomes"
    attempt: int
    finished_at: datetime
    error: str | None = None


class ComponentRow(Record):
    """A component of the audit as it was built."""

    table = "components"
    kind: str
    name: str
    options: dict[str, Any]
    distribution: str
    version: str
    identity_sha256: str = ""
    description: str = ""
    promises: dict[str, Any] = Field(default_factory=dict)


class ImageSetRow(Record):
    """An image set after preprocessing. sampling_run: of synthetic images, counted from 1.

    region_shares: share of an image that each region of its mask covers, mean over images, by region number.
    """

    table = "image_sets"
    cell: str
    role: str
    sampling_run: int | None = None
    n: int
    channels: int
    size_px: list[int]
    spacing_mm: list[float]
    patients: int | None
    labels: dict[str, int]
    has_masks: bool
    region_shares: dict[str, float] = Field(default_factory=dict)
    preprocessing: dict[str, Any]
    sha256: str


class PlannedCellRow(Record):
    """A cell of the plan. run: counts the plans of the audit from 1; the rows of the latest are the plan in force."""

    table = "planned_cells"
    run: int
    key: str
    stage: str
    component: str
    title: str


class CellRow(Record):
    """What became of a cell."""

    table = "cells"
    key: str
    stage: str
    component: str
    status: CellStatus
    reason: str = ""
    seconds: float
    peak_mb: float
    cached: bool = False
    output: str = ""

    @model_validator(mode="after")
    def _reason_when_not_ok(self) -> Self:
        if self.status != "ok" and not self.reason:
            raise ValueError(f"status {self.status} needs a reason")
        return self


class ScoreRow(Valued):
    """One value of a quantity, with interval and provenance.

    ci_low, ci_high: interval of `value` at `level` and `sides` (two-sided 95 % unless said otherwise). judged_value, bound_low,
    bound_high, judged_n: what a criterion judges, with its one-sided 95 % bounds; the score at the floor's n where the quantity is
    biased in n, `value` itself elsewhere; judged_n counts the images of one sampling run. method: how `value` was computed, where there
    are several ways. n: images (or cases) behind `value`; n_patients: their patients, where known. floor: the same
    quantity on real against real at n_floor images an arm, floor_low..floor_high its 95 % range over splits. sampling_run: counted
    from 1, where the row is about one run; empty where `value` is the mean of all.
    """

    table = "scores"
    cell: str
    stage: str
    component: str
    quantity: str
    extractor: str = ""
    sampling_run: int | None = None
    perturbation: str = ""
    severity: float | None = None
    stratum: str = ""
    real_share: float | None = None
    synthetic_share: float | None = None
    repeat: int | None = None
    tested_on: str = ""
    region: str = ""
    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    ci_method: str = ""
    level: float | None = None
    sides: Literal["one", "two"] | None = None
    floor: float | None = None
    floor_low: float | None = None
    floor_high: float | None = None
    n_floor: int | None = None
    value_at_floor_n: float | None = None
    judged_value: float | None = None
    bound_low: float | None = None
    bound_high: float | None = None
    judged_n: int | None = None
    n: int | None = None
    n_patients: int | None = None
    seed: int | None = None
    method: str = ""
    unit: str = "1"
    better: Better | None = None
    status: CellStatus = "ok"
    reason: str = ""


class CaseScoreRow(Record):
    """One task result on one test case."""

    table = "case_scores"
    cell: str
    component: str
    quantity: str
    tested_on: str
    region: str = ""
    real_share: float
    synthetic_share: float
    repeat: int
    case_id: str
    patient: str | None = None
    value: float


class ImageScoreRow(Record):
    """How far one synthetic image is to blame for a quantity; higher is worse.

    real_median, real_high: median and 95th percentile of the same number over the n_real test images. excess: how many times as far
    above that median as the 95th percentile is; above 1 is beyond 95 % of real images. Where these two coincide it is 0 for a value
    at or below them and 1000 above.
    """

    table = "image_scores"
    cell: str
    component: str
    quantity: str
    extractor: str = ""
    item: str
    value: float
    real_median: float
    real_high: float
    n_real: int
    excess: float


class RatingRow(Record):
    """A rating as stored: `value` for numbers, `text` for words. facts: what its file says of the item."""

    table = "ratings"
    cell: str
    item: str
    rater: str
    rater_kind: Literal["expert", "llm"]
    scale: str
    value: float | None
    text: str | None
    status: str
    reason: str
    occasion: str
    seconds: float | None
    source: str
    choices: int | None = None
    facts: dict[str, str] = Field(default_factory=dict)


class JudgeCallRow(Record):
    """One question put to a language model (or one recorded answer), word for word."""

    table = "judge_calls"
    cell: str
    item: str
    scale: str
    repeat: int
    model: str
    prompt: str
    prompt_sha256: str
    reply: str
    reply_sha256: str
    tokens: int | None
    seconds: float | None
    status: str
    reason: str = ""


Analysis = Literal[
    "agreement", "difference", "intra_rater", "correctness", "identification", "attention", "share", "mean", "mrmc", "model", "concepts",
]  # fmt: skip


# What stands in `raters` where it is no single expert, MODEL before the model's name; and in `items` where it is no stratum.
EXPERTS, MAJORITY, CONSENSUS, MODEL = "experts", "majority", "consensus", "llm "
ALL, REAL, SYNTHETIC = "all", "real", "synthetic"


class ReliabilityRow(Valued):
    """A number about raters: how far they agree, how right they are, what they say. The analyses are those of `raters`.

    raters: who (experts, R1, `R1 & R2`, majority, consensus, `llm NAME`). items: which (all, real, synthetic, label=1, group=level, and
    for differences `real - synthetic`). category: the category or concept it is about. trials: answers that entered. scale_words: what
    an interpretation scale calls the value, with the scale's name.
    """

    table = "reliability"
    cell: str
    scale: str
    analysis: Analysis
    raters: str
    items: str
    statistic: str
    category: str = ""
    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    ci_method: str = ""
    level: float | None = None
    bound_low: float | None = None
    bound_high: float | None = None
    p: float | None = None
    n_items: int
    n_raters: int
    trials: int | None = None
    scale_words: str = ""
    note: str = ""
    seed: int | None = None
    status: str = "ok"
    reason: str = ""


class ConsensusRow(Record):
    """What the experts say of one item together. method: majority, or dawid_skene. category: NULL in a tie, or without ratings."""

    table = "consensus"
    cell: str
    scale: str
    item: str
    method: Literal["majority", "dawid_skene"]
    category: str | None
    status: str
    share: float | None
    n_raters: int


class TrainingRow(Record):
    """A point of the curve of a training: of a generator that the audit trained, as the generator told it."""

    table = "training"
    cell: str
    component: str
    series: str
    step: int
    value: float


class TrustRow(Valued):
    """A trust factor of Raja Babu et al."""

    table = "trust"
    cell: str
    component: str
    factor: str
    variant: str
    region: str
    tested_on: str
    real_share: float
    synthetic_share: float
    seed: int
    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    ci_method: str = ""
    level: float | None = None
    n: int | None = None
    repeats: int | None = None
    status: str = "ok"
    reason: str = ""


class PictureRow(Record):
    """A small greyscale or colour PNG for the dossier.

    gallery: real, synthetic, nearest (synthetic image with its nearest training image, `partner`), or standout (a synthetic image
    that a metric blames), at `position` 0, 1, ...; value: the number that chose it, where there is one. partner_png: the picture
    beside it; in the first two galleries the same image with the outline of its mask, where it has one.
    """

    table = "pictures"
    cell: str
    gallery: Literal["real", "synthetic", "nearest", "standout"]
    position: int
    item: str
    caption: str
    value: float | None = None
    png: bytes
    partner: str = ""
    partner_png: bytes | None = None


class LedgerRow(Record):
    """One link of the append-only hash chain of an audit store."""

    table = "ledger"
    attempt: int
    event: str
    at: datetime
    plan_sha256: str
    previous_sha256: str
    sha256: str


ROWS: tuple[type[Record], ...] = (
    AuditRow, OutcomeRow, ComponentRow, ImageSetRow, PlannedCellRow, CellRow, ScoreRow, CaseScoreRow, ImageScoreRow, RatingRow,
    JudgeCallRow, ReliabilityRow, ConsensusRow, QualificationRow, ResponseRow, TrainingRow, TrustRow, CriterionRow, VerdictRow,
    FindingRow, PictureRow, LedgerRow,
)  # fmt: skip
