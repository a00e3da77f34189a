"""The stored rows that one dossier is drawn from, in one order, and the files that travel inside it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, TypeGuard, TypeVar

from pydantic import ValidationError

from .errors import HarnessError, Problem
from .quantities import Record
from .readerspec import ScaleSpec
from .records import (
    AuditRow,
    CellRow,
    ComponentRow,
    ConsensusRow,
    CriterionRow,
    FindingRow,
    ImageScoreRow,
    ImageSetRow,
    JudgeCallRow,
    LedgerRow,
    OutcomeRow,
    PictureRow,
    PlannedCellRow,
    QualificationRow,
    RatingRow,
    ReliabilityRow,
    ResponseRow,
    ScoreRow,
    TrainingRow,
    TrustRow,
    VerdictRow,
)
from .spec import AuditSpec
from .wording import utc

ROLES = ("train", "validation", "test", "synthetic", "synthetic_test")
RUN_ONLY = frozenset({"seconds", "peak_mb", "cached", "output", "run"})
ORDER = (
    "role", "gallery", "position", "kind", "component", "quantity", "extractor", "scale", "rater_kind", "analysis", "raters", "items",
    "statistic", "stratum", "region", "perturbation", "tested_on", "synthetic_share", "real_share", "severity", "sampling_run", "repeat",
    "method", "model", "item", "category",
)  # fmt: skip
R = TypeVar("R", bound=Record)


class Rows(Protocol):
    """What the dossier needs of a store: the rows of one audit."""

    def rows(self, cls: type[R], audit_id: str, /) -> list[R]:
        """Return every row of this kind."""

    def current(self, cls: type[R], audit_id: str, /) -> list[R]:
        """Return the rows of the plan in force."""


@dataclass(frozen=True)
class RatingCount:
    """How many ratings one scale has from one kind of rater.

    lost: why answers could not be used, as status and reason, with their number, the most frequent first. sparse: raters with a usable
    answer on fewer than half of the items.
    """

    scale: str
    rater_kind: str
    raters: int
    items: int
    ratings: int
    unusable: int
    lost: tuple[tuple[str, int], ...] = ()
    sparse: tuple[str, ...] = ()


@dataclass(frozen=True)
class Disputed:
    """An item on which experts contradict each other, or what its rating file calls the truth: the first answer of each expert."""

    scale: str
    item: str
    truth: str
    answers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Standout:
    """How many synthetic images a quantity puts beyond 95 % of the real test images, and which one is the worst."""

    component: str
    quantity: str
    extractor: str
    n: int
    beyond: int
    n_real: int
    real_median: float
    real_high: float
    item: str
    value: float


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
    consensus: tuple[ConsensusRow, ...] = ()
    training: tuple[TrainingRow, ...] = ()
    trust: tuple[TrustRow, ...] = ()
    ratings: tuple[RatingCount, ...] = ()
    disputes: tuple[Disputed, ...] = ()
    standouts: tuple[Standout, ...] = ()
    judge_calls: tuple[JudgeCallRow, ...] = ()
    qualifications: tuple[QualificationRow, ...] = ()
    responses: tuple[ResponseRow, ...] = ()
    criteria: tuple[CriterionRow, ...] = ()
    verdicts: tuple[VerdictRow, ...] = ()
    findings: tuple[FindingRow, ...] = ()
    ledger: tuple[LedgerRow, ...] = ()
    pictures: tuple[PictureRow, ...] = ()

    @cached_property
    def spec(self) -> AuditSpec:
        """Return the plan as it was stored."""
        try:
            return AuditSpec.model_validate(self.audit.spec)
        except ValidationError as error:
            what = f"the stored plan of {self.audit_id} cannot be read by this version: {error.errors()[0]['msg']}"
            raise HarnessError(Problem(what, fix=f"render it with harness {self.audit.harness_version}")) from error

    @property
    def scales(self) -> tuple[ScaleSpec, ...]:
        """Return the scales that the plan declares."""
        return self.spec.ratings.scales if self.spec.ratings else ()

    @property
    def issued(self) -> datetime:
        """Return the end of the last attempt, or else its last entry in the ledger: never the time of rendering."""
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
        consensus=tuple(store.current(ConsensusRow, audit_id)),
        training=tuple(store.current(TrainingRow, audit_id)), trust=tuple(store.current(TrustRow, audit_id)),
        ratings=count_ratings(rated := store.current(RatingRow, audit_id)), disputes=list_disputes(rated),
        standouts=count_standouts(store.current(ImageScoreRow, audit_id)), judge_calls=tuple(store.current(JudgeCallRow, audit_id)),
        qualifications=tuple(store.current(QualificationRow, audit_id)),
        responses=tuple(store.current(ResponseRow, audit_id)), criteria=tuple(store.current(CriterionRow, audit_id)),
        verdicts=tuple(store.current(VerdictRow, audit_id)), findings=tuple(store.current(FindingRow, audit_id)),
        ledger=tuple(store.rows(LedgerRow, audit_id)), pictures=tuple(store.current(PictureRow, audit_id)),
    )  # fmt: skip


def count_ratings(rows: Iterable[RatingRow]) -> tuple[RatingCount, ...]:
    """Count ratings by scale and kind of rater."""
    groups: dict[tuple[str, str], list[RatingRow]] = defaultdict(list)
    for row in rows:
        groups[row.scale, row.rater_kind].append(row)
    return tuple(
        RatingCount(
            scale,
            kind,
            raters=len({r.rater for r in mine}),
            items=len({r.item for r in mine}),
            ratings=len(mine),
            unusable=sum(r.status != "ok" for r in mine),
            lost=_lost(mine),
            sparse=_sparse(mine),
        )
        for (scale, kind), mine in sorted(groups.items())
    )


def _lost(rows: Iterable[RatingRow]) -> tuple[tuple[str, int], ...]:
    """Count the ratings that cannot be used by status and reason, the most frequent first."""
    count = Counter(f"{row.status}: {row.reason}" if row.reason else row.status for row in rows if row.status != "ok")
    return tuple(sorted(count.items(), key=lambda item: (-item[1], item[0])))


def _sparse(rows: Iterable[RatingRow]) -> tuple[str, ...]:
    """Return the raters with a usable answer on fewer than half of the items."""
    answered: dict[str, set[str]] = defaultdict(set)
    items: set[str] = set()
    for row in rows:
        items.add(row.item)
        answered[row.rater] |= {row.item} if row.status == "ok" else set()
    return tuple(sorted(rater for rater, found in answered.items() if 2 * len(found) < len(items)))


def list_disputes(rows: Iterable[RatingRow]) -> tuple[Disputed, ...]:
    """Return the items on which experts gave several answers, or one that is not the truth; numbers are no answers that could differ."""
    groups: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    truth: dict[tuple[str, str], str] = {}
    # The first occasion of a rater counts.
    for row in sorted(rows, key=lambda row: row.occasion):
        if row.rater_kind == "expert" and row.status == "ok" and row.text is not None and row.choices is None:
            groups[row.scale, row.item].setdefault(row.rater, row.text)
            truth[row.scale, row.item] = row.facts.get("truth", "")
    return tuple(
        Disputed(*key, truth[key], tuple(sorted(answers.items())))
        for key, answers in sorted(groups.items())
        if len({*answers.values(), *filter(None, [truth[key]])}) > 1
    )


def count_standouts(rows: Iterable[ImageScoreRow]) -> tuple[Standout, ...]:
    """Count the images that each quantity puts beyond real ones."""
    groups: dict[tuple[str, str, str], list[ImageScoreRow]] = defaultdict(list)
    for row in rows:
        groups[row.component, row.quantity, row.extractor].append(row)
    found = []
    for key, mine in sorted(groups.items()):
        worst = max(mine, key=lambda r: (r.excess, r.value, r.item))
        beyond = sum(r.excess > 1 for r in mine)
        found.append(Standout(*key, len(mine), beyond, worst.n_real, worst.real_median, worst.real_high, worst.item, worst.value))
    return tuple(found)


def ordered(content: Content) -> Content:
    """Return the content with every list in an order that does not depend on how the store was read."""
    lists: dict[str, Any] = {}
    for name, rows in _lists(content).items():
        keyed = sorted((_natural(name, row), row.model_dump_json() if _plain(row) else str(row), k) for k, row in enumerate(rows))
        # A resumed audit writes its components again.
        again = {after[2] for before, after in pairwise(keyed) if name == "components" and before[:2] == after[:2]}
        lists[name] = tuple(rows[k] for *_, k in keyed if k not in again)
    return replace(content, **lists)


class Attached(NamedTuple):
    """A file inside the PDF; relationship in the words of ISO 19005-3 (AFRelationship)."""

    body: bytes
    relationship: str
    description: str


def attachments(content: Content) -> dict[str, Attached]:
    """Return the files inside the PDF by name.

    What differs between two runs that measured the same (times, attempts, memory) is kept apart in run.json, so that the digest
    of results.json is that of the results.
    """
    tables = {name: [_body(row) for row in rows] for name, rows in _lists(content).items() if name not in ("scores", "responses")}
    run = {name: tables.pop(name) for name in ("outcomes", "ledger")} | {"cells": tables["cells"]}
    tables |= {name: [_without(row, RUN_ONLY) for row in tables[name]] for name in ("cells", "planned_cells", "judge_calls")}
    tables["scores"] = [_body(s) for s in content.scores if not _replicate(s)]
    tables["replicates"] = _replicates(content.scores)
    tables["responses"] = _responses(content.responses)
    audit = _body(content.audit)
    head = {k: v for k, v in audit.items() if k in ("name", "seed", "supersedes") or k.endswith("_sha256")}
    head |= {"audit_id": content.audit_id}
    verdicts = head | {name: tables[name] for name in ("criteria", "verdicts")}
    plan = {"plan": content.spec.plan(), "data": content.audit.data_sha256}
    return {
        "plan.json": Attached(_canonical(plan), "Source", "The plan, and the digest of the files of the real images"),
        "verdicts.json": Attached(_pretty(verdicts), "Data", "Criteria and verdicts"),
        "results.json": Attached(_pretty(head | tables), "Data", "All results behind this dossier"),
        "run.json": Attached(_pretty({"audit": audit} | run), "Supplement", "Attempts, environment and times"),
    }


def document_digest(attached: dict[str, Attached]) -> str:
    """Return the digest of everything that this document was drawn from: the digests of its attachments, in their order."""
    return sha256("".join(sha256(file.body) for file in attached.values()).encode())


def sha256(body: bytes) -> str:
    """Return the digest of these bytes."""
    return hashlib.sha256(body).hexdigest()


def _lists(content: Content) -> dict[str, Any]:
    return {f.name: rows for f in fields(content) if isinstance(rows := getattr(content, f.name), tuple)}


def _replicate(score: ScoreRow) -> bool:
    return score.repeat is not None and score.stage != "evaluate"


def _replicates(scores: Iterable[ScoreRow]) -> list[dict[str, Any]]:
    """Return the battery's values, one entry per quantity, defect and dose: a row each would make the file ten times as large."""
    groups: dict[tuple[Any, ...], list[float | None]] = defaultdict(list)
    names = ("stage", "component", "quantity", "extractor", "perturbation", "severity", "stratum", "unit", "n",
             "sampling_run")  # fmt: skip
    for score in filter(_replicate, scores):
        groups[tuple(getattr(score, name) for name in names)].append(score.value)
    return [dict(zip(names, key, strict=True)) | {"values": values} for key, values in groups.items()]


def _responses(rows: Iterable[ResponseRow]) -> list[dict[str, Any]]:
    """Return the responses of the battery, one entry per quantity and defect, with a list for what differs between severities."""
    lists = ("severity", "replicates", "mean", "low", "high", "response", "detected")
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        body = _body(row)
        shared = _without(body, frozenset(lists))
        entry = groups.setdefault(tuple(shared.values()), shared | {name: [] for name in lists})
        for name in lists:
            entry[name].append(body[name])
    return list(groups.values())


def _plain(row: Record | RatingCount | Standout | Disputed) -> TypeGuard[Record]:
    return isinstance(row, Record) and not isinstance(row, PictureRow)


def _natural(name: str, row: Any) -> tuple[Any, ...]:
    """Return the sort key by which a reader expects the rows of a table."""
    if name in ("outcomes", "ledger"):
        return (utc(row.finished_at if name == "outcomes" else row.at), row.attempt)
    values = [getattr(row, column, None) for column in ORDER]
    values[0] = ROLES.index(values[0]) if values[0] in ROLES else values[0]
    return tuple((0, 0.0, "") if v is None else (1, 0.0, v) if isinstance(v, str) else (1, float(v), "") for v in values)


def _body(row: Record | RatingCount | Standout | Disputed) -> dict[str, Any]:
    if isinstance(row, RatingCount | Standout | Disputed):
        return asdict(row)
    if isinstance(row, PictureRow):
        digests = {"png_sha256": sha256(row.png)}
        digests |= {} if row.partner_png is None else {"partner_png_sha256": sha256(row.partner_png)}
        return row.model_dump(mode="json", exclude={"png", "partner_png"}) | digests
    return row.model_copy(update={k: utc(v) for k, v in row if isinstance(v, datetime)}).model_dump(mode="json")


def _without(row: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k not in names}


def _canonical(value: Any) -> bytes:
    """Return the form whose digest the ledger holds."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str).encode()


def _pretty(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False).encode()
