"""The stored rows that one dossier is drawn from, in one order, and the files that travel inside it."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, TypeVar

from pydantic import ValidationError

from .errors import HarnessError, Problem
from .records import AuditRow, CellRow, ComponentRow, CriterionRow, FindingRow, ImageSetRow, JudgeCallRow, LedgerRow, OutcomeRow, PictureRow, PlannedCellRow, QualificationRow, RatingRow, Record, ReliabilityRow, ScoreRow, VerdictRow
from .spec import AuditSpec
from .wording import utc

ROLES = ("train", "validation", "test", "synthetic")
RUN_ONLY = {"seconds", "peak_mb", "cached", "output"}
R = TypeVar("R", bound=Record)


class Rows(Protocol):
    """What the dossier needs of a store: the rows of one audit."""

    def rows(self, kind: type[R], audit_id: str) -> list[R]:
        """Return every row of this kind."""

    def current(self, kind: type[R], audit_id: str) -> list[R]:
        """Return the rows of the plan in force."""


@dataclass(frozen=True)
class RatingCount:
    """How many ratings one scale has from one kind of rater."""

    scale: str
    rater_kind: str
    raters: int
    items: int
    ratings: int
    unusable: int


@dataclass(frozen=True)
class Content:
    """Everything that one dossier is drawn from."""

    audit_id: str
    audit: AuditRow
    outcomes: tuple[OutcomeRow, ...] = ()
    components: tuple[ComponentRow, ...] = ()
    image_sets: tuple[ImageSetRow, ...] = ()
    planned_cells: tuple[PlannedCellRow, ...] = ()
    cells: tuple[CellRow, ...] = ()
    scores: tuple[ScoreRow, ...] = ()
    reliability: tuple[ReliabilityRow, ...] = ()
    ratings: tuple[RatingCount, ...] = ()
    judge_calls: tuple[JudgeCallRow, ...] = ()
    qualifications: tuple[QualificationRow, ...] = ()
    criteria: tuple[CriterionRow, ...] = ()
    verdicts: tuple[VerdictRow, ...] = ()
    findings: tuple[FindingRow, ...] = ()
    ledger: tuple[LedgerRow, ...] = ()
    pictures: tuple[PictureRow, ...] = ()

    @cached_property
    def spec(self) -> AuditSpec:
        """The plan as it was stored."""
        try:
            return AuditSpec.model_validate(self.audit.spec)
        except ValidationError as error:
            problem = Problem(f"the stored plan of {self.audit_id} cannot be read by this version: {error.errors()[0]['msg']}",
                              fix=f"render it with harness {self.audit.harness_version}")  # fmt: skip
            raise HarnessError(problem) from error

    @property
    def issued(self) -> datetime:
        """The end of the last attempt, or else its last entry in the ledger: never the time of rendering."""
        moments = [o.finished_at for o in self.outcomes] or [row.at for row in self.ledger] or [self.audit.started_at]
        return utc(max(moments, key=utc))


def collect(store: Rows, audit_id: str) -> Content:
    """Read everything that the dossier of one audit shows."""
    audits = store.rows(AuditRow, audit_id)
    if not audits:
        raise HarnessError(Problem(f"there is no audit {audit_id} in this store", fix='harness sql "from audits" lists them'))
    return Content(
        audit_id=audit_id, audit=audits[-1], outcomes=tuple(store.rows(OutcomeRow, audit_id)),
        components=tuple(store.rows(ComponentRow, audit_id)), image_sets=tuple(store.current(ImageSetRow, audit_id)),
        planned_cells=tuple(store.current(PlannedCellRow, audit_id)), cells=tuple(store.current(CellRow, audit_id)),
        scores=tuple(store.current(ScoreRow, audit_id)), reliability=tuple(store.current(ReliabilityRow, audit_id)),
        ratings=count_ratings(store.current(RatingRow, audit_id)), judge_calls=tuple(store.current(JudgeCallRow, audit_id)),
        qualifications=tuple(store.current(QualificationRow, audit_id)), criteria=tuple(store.current(CriterionRow, audit_id)),
        verdicts=tuple(store.current(VerdictRow, audit_id)), findings=tuple(store.current(FindingRow, audit_id)),
        ledger=tuple(store.rows(LedgerRow, audit_id)), pictures=tuple(store.current(PictureRow, audit_id)),
    )  # fmt: skip


def count_ratings(rows: Iterable[RatingRow]) -> tuple[RatingCount, ...]:
    """Count ratings by scale and kind of rater."""
    groups: dict[tuple[str, str], list[RatingRow]] = defaultdict(list)
    for row in rows:
        groups[row.scale, row.rater_kind].append(row)
    return tuple(
        RatingCount(scale, kind, len({r.rater for r in mine}), len({r.item for r in mine}), len(mine), sum(r.status != "ok" for r in mine))
        for (scale, kind), mine in sorted(groups.items())
    )


def ordered(content: Content) -> Content:
    """Return the content with every list in an order that does not depend on how the store was read."""
    lists = {f.name: getattr(content, f.name) for f in fields(content) if isinstance(getattr(content, f.name), tuple)}
    kept = {"outcomes": lambda r: (r.attempt, utc(r.finished_at)), "ledger": lambda r: (utc(r.at), r.attempt)}
    sorted_lists = {}
    for name, rows in lists.items():
        natural = kept.get(name, _natural)
        keyed = sorted(((natural(r), r.model_dump_json() if name != "pictures" and isinstance(r, Record) else "", k) for k, r in enumerate(rows)))
        # A resumed audit writes its components again.
        repeated = {k for before, (*same, k) in zip(keyed, keyed[1:], strict=False) if name == "components" and [*before[:2]] == same}
        sorted_lists[name] = tuple(rows[k] for *_, k in keyed if k not in repeated)
    return replace(content, **sorted_lists)


def attachments(content: Content) -> dict[str, tuple[bytes, str, str]]:
    """Return name -> (bytes, relationship, description) of the files inside the PDF.

    What differs between two runs that measured the same (times, attempts, memory) is kept apart in run.json, so that the digest
    of results.json is that of the results.
    """
    tables = {f.name: getattr(content, f.name) for f in fields(content) if f.name not in ("audit_id", "audit", "outcomes", "ledger")}
    results = {name: [_row(r) for r in rows] for name, rows in tables.items() if name != "scores"}
    results["scores"] = [_row(s) for s in content.scores if s.repeat is None or s.stage == "evaluate"]
    results["replicates"] = _replicates(content.scores)
    results["cells"] = [{k: v for k, v in row.items() if k not in RUN_ONLY} for row in results["cells"]]
    results["planned_cells"] = [{k: v for k, v in row.items() if k != "run"} for row in results["planned_cells"]]
    results["judge_calls"] = [{k: v for k, v in row.items() if k != "seconds"} for row in results["judge_calls"]]
    audit = _row(content.audit)
    head = {k: audit[k] for k in ("name", "seed", "plan_sha256", "data_sha256", "generator_sha256", "supersedes")} | {"audit_id": content.audit_id}
    run = {name: [_row(r) for r in getattr(content, name)] for name in ("outcomes", "ledger", "cells")}
    verdicts = head | {"criteria": results["criteria"], "verdicts": results["verdicts"]}
    return {
        "plan.json": (_canonical({"plan": content.spec.plan(), "data": content.audit.data_sha256}).encode(), "Source", "The plan and the digest of the real images' files"),
        "verdicts.json": (_pretty(verdicts), "Data", "Criteria and verdicts"),
        "results.json": (_pretty(head | results), "Data", "All results behind this dossier"),
        "run.json": (_pretty({"audit": audit} | run), "Supplement", "Attempts, environment and times"),
    }


def _replicates(scores: Iterable[ScoreRow]) -> list[dict[str, Any]]:
    """The battery's values, one entry per quantity, defect and dose: a row each would make the file ten times as large."""
    groups: dict[tuple[Any, ...], list[float | None]] = defaultdict(list)
    names = ("stage", "component", "quantity", "extractor", "perturbation", "severity", "stratum", "unit", "n")
    for s in scores:
        if s.repeat is not None and s.stage != "evaluate":
            groups[tuple(getattr(s, name) for name in names)].append(s.value)
    return [dict(zip(names, key, strict=True)) | {"values": values} for key, values in groups.items()]


def document_digest(attached: dict[str, tuple[bytes, str, str]]) -> str:
    """Digest of everything that this document was drawn from: the digests of its attachments, in their order."""
    return hashlib.sha256("".join(sha256(body) for body, _, _ in attached.values()).encode()).hexdigest()


def _natural(row: Any) -> tuple[tuple[int, float, str], ...]:
    names = ("gallery", "position", "role", "kind", "component", "quantity", "extractor", "scale", "subset", "statistic", "stratum",
             "region", "perturbation", "tested_on", "synthetic_share", "real_share", "severity", "repeat")  # fmt: skip
    values = [ROLES.index(v) if n == "role" and (v := getattr(row, n, None)) in ROLES else getattr(row, n, None) for n in names]
    return tuple((0, 0.0, "") if v is None else (1, 0.0, v) if isinstance(v, str) else (1, float(v), "") for v in values)


def _row(row: Any) -> dict[str, Any]:
    if isinstance(row, PictureRow):
        body = row.model_dump(mode="json", exclude={"png", "partner_png"})
        partner = {} if row.partner_png is None else {"partner_png_sha256": sha256(row.partner_png)}
        return body | {"png_sha256": sha256(row.png)} | partner
    if not isinstance(row, Record):
        return {f.name: getattr(row, f.name) for f in fields(row)}
    moments = {k: utc(v) for k, v in row if isinstance(v, datetime)}
    return row.model_copy(update=moments).model_dump(mode="json")


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def _pretty(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False).encode()


def sha256(body: bytes) -> str:
    """Digest of these bytes."""
    return hashlib.sha256(body).hexdigest()
