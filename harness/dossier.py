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


def render_audit(store: Rows, audit_id: str, out: Path) -> Path:
    """Render the dossier of one audit from the store alone."""
    return render(collect(store, audit_id), out)


def render(content: Content, out: Path) -> Path:
    """Write the dossier; the same content gives the same bytes."""
    content = ordered(content)
    attached = attachments(content)
    issued = content.issued.replace(microsecond=0)
    page = _page(content, attached)
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
    return _page(content, attachments(content))


def _page(content: Content, attached: dict[str, tuple[bytes, str, str]]) -> str:
    refused = [
        Problem(f"the dossier must not say {said}", where, "reword it in model.yaml: say what is measured")
        for where, text in chapters.user_texts(content.spec) for said in wording.check(text)
    ]  # fmt: skip
    if refused:
        raise HarnessError(*refused)
    page = _environment().get_template("dossier.html.j2").render(_context(content, attached))
    said = wording.check(visible(page, _quoted(content)))
    if said:
        raise HarnessError(*[Problem(f"the dossier must not say {line}", "machine sentence", "report this with the audit's name") for line in said])
    return _drawable(page)


def visible(page: str, quoted: Iterable[str] = ()) -> str:
    """Return the dossier's own words, one line per block: verbatim quotations (code, q, and the texts given) are left out."""
    text = re.sub(r"(?s)<(head|style|code|q|title)\b.*?</\1>", " ", page)
    text = re.sub(r"</?(p|li|td|th|caption|h[1-6]|div|tr|dt|dd|figcaption|br|section|ul)\b[^>]*>", "\n", text)
    lines = "\n".join(" ".join(line.split()) for line in unescape(re.sub(r"<[^>]*>", "", text)).split("\n"))
    for words in sorted({" ".join(q.split()).rstrip(".") for q in quoted} - {""}, key=len, reverse=True):
        lines = lines.replace(words, "(quoted)")
    return lines


def _quoted(content: Content) -> set[str]:
    """What components said and how things are called, which the rules repeat: a message or a file name may hold any word."""
    reasons = {row.reason for row in (*content.cells, *content.scores, *content.reliability)}
    names = {n for s in content.scores for n in (f"{s.component}.{s.quantity}", s.component, s.quantity, s.extractor, s.stratum)}
    names |= {n for p in content.pictures for n in (p.item, p.partner, p.caption)} | {c.name for c in content.components}
    names |= {n for r in content.reliability for n in (r.scale, r.subset)} | {n for s in content.image_sets for n in s.labels}
    names |= {wording.words(q.perturbation) for q in content.qualifications}
    return {wording.minus(r) for r in reasons} | {n for n in names if wording.check(n)}


def _context(content: Content, attached: dict[str, tuple[bytes, str, str]]) -> dict[str, Any]:
    spec = content.spec
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


def _plain(value: Any) -> str:
    """Print options and environment entries: text as it is, everything else as JSON."""
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
