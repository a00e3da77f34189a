"""Draws the dossier of one audit from its stored rows: rows, then HTML, then one PDF/A-3a and PDF/UA-1 file with its data attached."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import cache, cached_property
from html import unescape
from importlib.resources import as_file, files
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, TypeVar

import weasyprint
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pydantic import ValidationError
from weasyprint.text.fonts import FontConfiguration
from weasyprint.urls import URLFetcher

from . import chapters, figures, wording
from .errors import HarnessError, Problem
from .records import (
    AuditRow, CellRow, ComponentRow, CriterionRow, FindingRow, ImageSetRow, JudgeCallRow, LedgerRow, OutcomeRow, PictureRow,
    PlannedCellRow, QualificationRow, RatingRow, Record, ReliabilityRow, ScoreRow, VerdictRow,
)  # fmt: skip
from .spec import AuditSpec

TEMPLATES = "harness.report_templates"
FACE = "IBMPlexSans-Regular.woff2"
ROLES = ("train", "validation", "test", "synthetic")
RUN_ONLY = {"seconds", "peak_mb", "cached", "output"}
R = TypeVar("R", bound=Record)

# PDF/UA-1 needs its mark in the XMP, and PDF/A needs every XMP schema that it does not know described (ISO 19005-3, 6.6.2.3).
_UA_XMP = b"""<rdf:Description rdf:about="" xmlns:pdfuaid="http://www.aiim.org/pdfua/ns/id/"><pdfuaid:part>1</pdfuaid:part></rdf:Description>
<rdf:Description rdf:about="" xmlns:pdfaExtension="http://www.aiim.org/pdfa/ns/extension/"
 xmlns:pdfaSchema="http://www.aiim.org/pdfa/ns/schema#" xmlns:pdfaProperty="http://www.aiim.org/pdfa/ns/property#">
<pdfaExtension:schemas><rdf:Bag><rdf:li rdf:parseType="Resource"><pdfaSchema:schema>PDF/UA identification schema</pdfaSchema:schema>
<pdfaSchema:namespaceURI>http://www.aiim.org/pdfua/ns/id/</pdfaSchema:namespaceURI><pdfaSchema:prefix>pdfuaid</pdfaSchema:prefix>
<pdfaSchema:property><rdf:Seq><rdf:li rdf:parseType="Resource"><pdfaProperty:name>part</pdfaProperty:name>
<pdfaProperty:valueType>Integer</pdfaProperty:valueType><pdfaProperty:category>internal</pdfaProperty:category>
<pdfaProperty:description>Part of PDF/UA</pdfaProperty:description></rdf:li></rdf:Seq></pdfaSchema:property></rdf:li></rdf:Bag>
</pdfaExtension:schemas></rdf:Description>
"""


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
        return wording.utc(max(moments, key=wording.utc))


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


def render_audit(store: Rows, audit_id: str, out: Path) -> Path:
    """Render the dossier of one audit from the store alone."""
    return render(collect(store, audit_id), out)


def render(content: Content, out: Path) -> Path:
    """Write the dossier; the same content gives the same bytes."""
    content = ordered(content)
    attached = attachments(content)
    issued = content.issued.replace(microsecond=0)
    page = html(content)
    with as_file(files(TEMPLATES)) as folder:
        fonts = FontConfiguration()
        css = weasyprint.CSS(filename=str(folder / "dossier.css"), font_config=fonts)
        document = weasyprint.HTML(
            string=page, base_url=str(folder), url_fetcher=URLFetcher(allowed_protocols=("file", "data"))
        ).render(font_config=fonts, stylesheets=[css])
    plain = document.metadata.generate_rdf_metadata

    def with_ua(*args: Any, **kwargs: Any) -> bytes:
        return plain(*args, **kwargs).replace(b"</rdf:RDF>", _UA_XMP + b"</rdf:RDF>")

    document.metadata.generate_rdf_metadata = with_ua
    buffer = BytesIO()
    document.write_pdf(
        buffer, pdf_variant="pdf/a-3a", pdf_identifier=bytes.fromhex(document_digest(attached))[:16],
        attachments=[
            weasyprint.Attachment(string=body, name=name, relationship=kind, created=issued, modified=issued, description=what)
            for name, (body, kind, what) in attached.items()
        ],
    )  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(buffer.getvalue())
    return out


def html(content: Content) -> str:
    """Return the page that becomes the PDF; refuse words that a dossier must not use."""
    content = ordered(content)
    spec = content.spec
    refused = [
        Problem(f"the dossier must not say {said}", where, "reword it: describe what is measured")
        for where, text in chapters.user_texts(spec) for said in wording.check(text)
    ]  # fmt: skip
    if refused:
        raise HarnessError(*refused)
    page = _environment().get_template("dossier.html.j2").render(_context(content))
    said = wording.check(visible(page, _quoted(content)))
    if said:
        raise HarnessError(*[Problem(f"the dossier must not say {line}", "machine sentence", "report this with the audit's name") for line in said])
    return _drawable(page)


def ordered(content: Content) -> Content:
    """Return the content with every list in an order that does not depend on how the store was read."""
    lists = {f.name: getattr(content, f.name) for f in fields(content) if isinstance(getattr(content, f.name), tuple)}
    kept = {"outcomes": lambda r: (r.attempt, wording.utc(r.finished_at)), "ledger": lambda r: (wording.utc(r.at), r.attempt)}
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
    return hashlib.sha256("".join(_sha256(body) for body, _, _ in attached.values()).encode()).hexdigest()


def visible(page: str, quoted: Iterable[str] = ()) -> str:
    """Return the dossier's own words, one line per block: verbatim quotations (code, q, and the texts given) are left out."""
    text = re.sub(r"(?s)<(head|style|code|q|title)\b.*?</\1>", " ", page)
    text = re.sub(r"</?(p|li|td|th|caption|h[1-6]|div|tr|dt|dd|figcaption|br|section|ul)\b[^>]*>", "\n", text)
    lines = "\n".join(" ".join(line.split()) for line in unescape(re.sub(r"<[^>]*>", "", text)).split("\n"))
    for words in sorted({" ".join(q.split()).rstrip(".") for q in quoted} - {""}, key=len, reverse=True):
        lines = lines.replace(words, "(quoted)")
    return lines


def _quoted(content: Content) -> set[str]:
    """What components said, which the rules repeat: an error message may hold any word."""
    rows: tuple[Record, ...] = (*content.cells, *content.scores, *content.reliability)
    return {wording.minus(reason) for row in rows if (reason := str(getattr(row, "reason", "")))}


def _context(content: Content) -> dict[str, Any]:
    spec, attached = content.spec, attachments(content)
    cases = chapters.cases(spec, content.criteria, content.verdicts)
    conserved = chapters.conservation(content.planned_cells, content.cells)
    pictures: dict[str, list[PictureRow]] = {"real": [], "synthetic": [], "nearest": []}
    for picture in content.pictures:
        pictures[picture.gallery].append(picture)
    drawn, in_all = chapters.panels(content.scores, content.qualifications, spec)
    maps = chapters.heat_maps(content.qualifications)
    return {
        "c": content, "spec": spec, "cases": cases, "ch": chapters, "w": wording, "pictures": pictures, "maps": maps,
        "conserved": conserved, "panels": drawn, "panels_in_all": in_all, "locked": chapters.locked(content.ledger, content.audit.plan_sha256),
        "alarms": chapters.false_alarms(content.qualifications), "eligibility": chapters.eligibility(content.qualifications, cases),
        "limits": chapters.limitations(content.image_sets, content.scores, content.qualifications, spec, conserved[-1]),
        "measured": [s for s in content.scores if s.stage == "measure" and not s.perturbation],
        "tasks": [s for s in content.scores if s.stage == "evaluate" and s.repeat is None],
        "digests": {name: _sha256(body) for name, (body, _, _) in attached.items()}, "document": document_digest(attached),
        "attempts": max([row.attempt for row in content.ledger], default=0), "number": _Numbers(), "pretty": _plain,
        "data_uri": lambda png: "data:image/png;base64," + base64.b64encode(png).decode(),
        "figure": {name: _drawn(name) for name in ("mark", "whisker", "scale", "dose_response", "heat_legend")}, "heat": figures.heat,
        "span": figures.span, "renderer": f"WeasyPrint {weasyprint.__version__}",
    }  # fmt: skip


class _Numbers:
    """Numbers tables and figures within a section: 6-1, 6-2, ..."""

    def __init__(self) -> None:
        self.count: dict[tuple[str, str], int] = {}

    def __call__(self, kind: str, section: str) -> str:
        self.count[kind, section] = self.count.get((kind, section), 0) + 1
        return f"{kind} {section}-{self.count[kind, section]}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(TEMPLATES, ""), autoescape=True, undefined=StrictUndefined, finalize=_printable, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.tests["gain"] = lambda quantity: quantity.endswith("_gain")
    return environment


def _printable(value: Any) -> Any:
    if value is None or value != value:
        raise ValueError("a missing value reached the page without its reason")
    return wording.number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _drawn(name: str) -> Any:
    draw = getattr(figures, name)
    return lambda *args, **kwargs: Markup(draw(*args, **kwargs))


def _drawable(page: str) -> str:
    """Spell out characters that the bundled face cannot draw, so that no other face enters the file."""
    known = _cmap()
    return re.sub(r"[^\x20-\x7e\n]", lambda m: m.group() if ord(m.group()) in known else f"[U+{ord(m.group()):04X}]", page)


@cache
def _cmap() -> frozenset[int]:
    from fontTools.ttLib import TTFont

    with as_file(files(TEMPLATES) / "fonts" / FACE) as path:
        return frozenset(TTFont(path, lazy=True).getBestCmap())


def _natural(row: Any) -> tuple[tuple[int, float, str], ...]:
    names = ("gallery", "position", "role", "kind", "component", "quantity", "extractor", "scale", "subset", "statistic", "stratum",
             "region", "perturbation", "tested_on", "synthetic_share", "real_share", "severity", "repeat")  # fmt: skip
    values = [ROLES.index(v) if n == "role" and (v := getattr(row, n, None)) in ROLES else getattr(row, n, None) for n in names]
    return tuple((0, 0.0, "") if v is None else (1, 0.0, v) if isinstance(v, str) else (1, float(v), "") for v in values)


def _row(row: Any) -> dict[str, Any]:
    if isinstance(row, PictureRow):
        body = row.model_dump(mode="json", exclude={"png", "partner_png"})
        partner = {} if row.partner_png is None else {"partner_png_sha256": _sha256(row.partner_png)}
        return body | {"png_sha256": _sha256(row.png)} | partner
    if not isinstance(row, Record):
        return {f.name: getattr(row, f.name) for f in fields(row)}
    moments = {k: wording.utc(v) for k, v in row if isinstance(v, datetime)}
    return row.model_copy(update=moments).model_dump(mode="json")


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def _pretty(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False).encode()


def _plain(value: Any) -> str:
    """Print options and environment entries: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
