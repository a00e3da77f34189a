"""Draws the dossier of one audit from its stored rows: rows, then HTML, then one file that is PDF/A-3a and PDF/UA-1 at once."""

from __future__ import annotations

import base64
import json
import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cache
from html import unescape
from importlib.resources import as_file, files
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from . import batteries, chapters, curves, figures, literature, measurements, sweeps, wording
from .content import Attached, Content, RatingCount, Rows, attachments, collect, document_digest, ordered, sha256
from .errors import HarnessError, Problem
from .raterpages import figures as rater_figures
from .raterpages import tables as rater_tables
from .records import PictureRow
from .spec import AuditSpec

try:
    import weasyprint
    from weasyprint.text import ffi
    from weasyprint.text.fonts import FontConfiguration
    from weasyprint.urls import URLFetcher
except OSError as missing:
    raise HarnessError(
        Problem(
            f"the dossier needs the Pango libraries: {str(missing).splitlines()[0]}",
            fix="apt-get install -y --no-install-recommends libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0",
        )
    ) from missing

__all__ = ["Content", "RatingCount", "collect", "html", "render", "render_audit", "visible"]

TEMPLATES = "harness.report_templates"
FACE = "IBMPlexSans-Regular.woff2"
DRAWINGS = ("mark", "whisker", "scale", "dose_response", "overview", "line_key", "column_head", "heat_styles", "heat_legend")
BLOCKS = "p|li|td|th|caption|h[1-6]|div|tr|dt|dd|figcaption|br|section|ul"

# PDF/UA-1 needs its mark in the XMP, and PDF/A needs every XMP schema that it does not know described (ISO 19005-3, 6.6.2.3).
_UA_XMP = b"""<rdf:Description rdf:about="" xmlns:pdfuaid="http://www.aiim.org/pdfua/ns/id/">
<pdfuaid:part>1</pdfuaid:part></rdf:Description>
<rdf:Description rdf:about="" xmlns:pdfaExtension="http://www.aiim.org/pdfa/ns/extension/"
 xmlns:pdfaSchema="http://www.aiim.org/pdfa/ns/schema#" xmlns:pdfaProperty="http://www.aiim.org/pdfa/ns/property#">
<pdfaExtension:schemas><rdf:Bag><rdf:li rdf:parseType="Resource">
<pdfaSchema:schema>PDF/UA identification schema</pdfaSchema:schema>
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
    return write_pdf(_page(content, attached), attached, content.issued, out)


def write_pdf(page: str, attached: Mapping[str, Attached], moment: datetime, out: Path) -> Path:
    """Lay out a page that `draw` made and write it with its attachments; the same input gives the same bytes.

    moment: that of the results, which the attachments carry; never the time of rendering.
    """
    issued = moment.replace(microsecond=0)
    document = _laid_out(page)
    plain = document.metadata.generate_rdf_metadata

    def with_ua(*args: Any, **kwargs: Any) -> bytes:
        metadata: bytes = plain(*args, **kwargs)
        return metadata.replace(b"</rdf:RDF>", _UA_XMP + b"</rdf:RDF>")

    document.metadata.generate_rdf_metadata = with_ua
    buffer = BytesIO()
    with warnings.catch_warnings():
        # WeasyPrint leaves the file of its colour profile to the garbage collector.
        warnings.filterwarnings("ignore", "unclosed file", ResourceWarning)
        document.write_pdf(
            buffer,
            pdf_variant="pdf/a-3a",
            pdf_identifier=bytes.fromhex(document_digest(dict(attached)))[:16],
            # Without these moments the attachments would carry the time of rendering.
            attachments=[
                weasyprint.Attachment(
                    string=f.body, name=name, relationship=f.relationship, description=f.description, created=issued, modified=issued
                )
                for name, f in attached.items()
            ],
        )
    _write(out, buffer.getvalue())
    return out


def _laid_out(page: str) -> weasyprint.Document:
    with as_file(files(TEMPLATES)) as folder:
        fonts = FontConfiguration()
        css = weasyprint.CSS(filename=str(folder / "dossier.css"), font_config=fonts)
        source = weasyprint.HTML(string=page, base_url=str(folder), url_fetcher=URLFetcher(allowed_protocols=("file", "data")))
        return source.render(font_config=fonts, stylesheets=[css])


def _write(out: Path, body: bytes) -> None:
    partial = out.with_name(out.name + ".part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(body)
        partial.replace(out)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        what = f"the dossier cannot be written: {error.strerror}"
        raise HarnessError(Problem(what, str(out), "the results are kept; harness report renders them again")) from error


def html(content: Content) -> str:
    """Return the page that becomes the PDF; refuse words that a dossier must not use."""
    content = ordered(content)
    return _page(content, attachments(content))


def _page(content: Content, attached: dict[str, Attached]) -> str:
    return draw("dossier.html.j2", _context(content, attached), content.spec, _quoted(content))


def draw(template: str, context: Mapping[str, Any], spec: AuditSpec | None, quoted: Iterable[str]) -> str:
    """Return the page of a template, which gets what every page shares besides `context`; refuse words that it must not use.

    spec: the plan whose words may stand on the page, if there is one. quoted: what is repeated word for word and may say anything.
    """
    refused = [
        Problem(f"the dossier must not say {said}", where, "reword it in model.yaml: say what is measured")
        for where, text in (chapters.user_texts(spec) if spec else ())
        for said in wording.check(text)
    ]
    if refused:
        raise HarnessError(*refused)
    page = _environment().get_template(template).render(_shared() | dict(context))
    said = wording.check(visible(page, quoted))
    if said:
        fix = "this sentence is not from model.yaml: tell the author of the component or of the harness"
        raise HarnessError(*[Problem(f"the dossier must not say {line}", fix=fix) for line in said])
    return _drawable(page)


def visible(page: str, quoted: Iterable[str] = ()) -> str:
    """Return the dossier's own words, one line per block: verbatim quotations (code, q, and the texts given) are left out."""
    text = re.sub(r"(?s)<(head|style|code|q|title)\b.*?</\1>", " ", page)
    text = re.sub(rf"</?({BLOCKS})\b[^>]*>", "\n", text)
    lines = "\n".join(" ".join(line.split()) for line in unescape(re.sub(r"<[^>]*>", "", text)).split("\n"))
    for words in sorted({" ".join(q.split()).rstrip(".") for q in quoted} - {""}, key=len, reverse=True):
        lines = lines.replace(words, "(quoted)")
    return lines


def _quoted(content: Content) -> set[str]:
    """Return what components said and how things are called, which rules repeat: a message or a file name may hold any word."""
    said = [row.reason for row in content.cells]
    said += [row.reason for row in content.scores] + [row.reason for row in content.reliability]
    said += [reason for count in content.ratings for reason, _ in count.lost]
    called = [n for s in content.scores for n in (f"{s.component}.{s.quantity}", s.component, s.quantity, s.extractor, s.stratum)]
    called += [n for p in content.pictures for n in (p.item, p.partner, p.caption)] + [c.name for c in content.components]
    called += rater_tables.names(content.reliability, content.scales, content.disputes) + [n for s in content.image_sets for n in s.labels]
    planted = {wording.words(q.perturbation) for q in content.qualifications}
    called += [name for word in planted for name in (word, word.lower())]
    return {wording.minus(text) for text in set(said)} | {name for name in set(called) if wording.check(name)}


def _context(content: Content, attached: dict[str, Attached]) -> dict[str, Any]:
    spec = content.spec
    cases = chapters.cases(spec, content.criteria, content.verdicts)
    conserved = chapters.conservation(content.planned_cells, content.cells)
    pictures: dict[str, list[PictureRow]] = {"real": [], "synthetic": [], "nearest": [], "standout": []}
    for picture in content.pictures:
        pictures[picture.gallery].append(picture)
    measured = [s for s in content.scores if s.stage == "measure" and not s.perturbation]
    evaluated = [s for s in content.scores if s.stage == "evaluate" and s.repeat is None]
    battery = batteries.Battery(content.qualifications, content.responses, content.components)
    panels, in_all = curves.panels(battery, spec)
    charts = curves.overviews(battery)
    return {
        "c": content,
        "spec": spec,
        "cases": cases,
        "ch": chapters,
        "pictures": pictures,
        "conserved": conserved,
        "panels": panels,
        "panels_in_all": in_all,
        "maps": batteries.heat_maps(battery),
        "alarms": batteries.false_alarms(battery, content.scores),
        "eligibility": batteries.eligibility(battery, chapters.claims(cases)),
        "untested": batteries.untested(battery),
        "overviews": charts,
        "looks": curves.legend(charts),
        "families": batteries.FAMILY_NAMES,
        "literature": literature.compare(battery),
        "forests": chapters.forests(cases, content.scores, _strata_names(content)),
        "strata_names": _strata_names(content),
        "locked": chapters.locked(content.ledger, content.audit.plan_sha256),
        "limits": chapters.limitations(content.image_sets, content.scores, content.qualifications, spec, conserved[-1]),
        "measured": measured,
        "by_family": measurements.by_family(measured, content.components),
        "blanks": measurements.blanks(measured),
        "over_runs": measurements.over_runs(content.scores),
        "methods": measurements.methods(measured),
        "by_stratum": measurements.by_stratum(measured, _label_names(content)),
        "standouts": measurements.standing_out(content.standouts),
        "swept": sweeps.sweeps(content.trust),
        "trainings": curves.trainings(content.training),
        "tasks": [s for s in evaluated if not s.stratum],
        "tasks_within": measurements.tasks_within(evaluated, content.components, _label_names(content)),
        "raters": rater_tables.chapter(
            content.reliability,
            content.consensus,
            content.ratings,
            content.judge_calls,
            content.scales,
            content.disputes,
            _strata_names(content),
        ),
        "digests": {name: sha256(file.body) for name, file in attached.items()},
        "document": document_digest(attached),
        "attempts": max([row.attempt for row in content.ledger], default=0),
        "renderer": _renderer(),
    }


def _shared() -> dict[str, Any]:
    """Return what the templates of every document use: words, numbers, drawings."""
    return {
        "w": wording,
        "number": _Numbers(),
        "pretty": _as_text,
        "data_uri": _data_uri,
        "figure": {name: _drawing(getattr(figures, name)) for name in DRAWINGS}
        | {name: _drawing(getattr(rater_figures, name)) for name in ("dot_whiskers", "look_key")},
        "heat": figures.heat_class,
        "span": figures.span,
    }


def _label_names(content: Content) -> list[str]:
    """Return the names of the classes in the order of their numbers."""
    return next((list(s.preprocessing.get("label_names") or ()) for s in content.image_sets if s.role == "train"), [])


def _strata_names(content: Content) -> dict[str, str]:
    """Return what the strata by label are called."""
    return {f"label={k}": f"label={name}" for k, name in enumerate(_label_names(content))}


def _renderer() -> str:
    """Name what decides the bytes of the file besides its content: WeasyPrint, Pango, and what subsets the fonts."""
    pango = ffi.pango.pango_version()
    subset = "HarfBuzz" if ffi.harfbuzz_subset else "fontTools"
    return f"WeasyPrint {weasyprint.__version__}, Pango {pango // 10000}.{pango // 100 % 100}.{pango % 100}, fonts subset by {subset}"


class _Numbers:
    """Numbers tables and figures within a section: 6-1, 6-2, ..."""

    def __init__(self) -> None:
        self.count: dict[tuple[str, str], int] = {}

    def __call__(self, kind: str, section: str) -> str:
        self.count[kind, section] = self.count.get((kind, section), 0) + 1
        return f"{kind} {section}-{self.count[kind, section]}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(TEMPLATES, ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["gain"] = lambda quantity: quantity.endswith("_gain")
    return environment


def _printable(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError("a missing value reached the page without its reason")
    return wording.number(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _drawing(draw: Callable[..., str]) -> Callable[..., Markup]:
    # Safe: figures escape every text that they take in.
    return lambda *args: Markup(draw(*args))  # noqa: S704


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _as_text(value: Any) -> str:
    """Print options and entries of the environment: text as it is, everything else as JSON."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _drawable(page: str) -> str:
    """Spell out characters that the bundled face cannot draw, so that no other face enters the file."""
    known = _characters()
    return re.sub(r"[^\x20-\x7e\n]", lambda m: m[0] if ord(m[0]) in known else f"[U+{ord(m[0]):04X}]", page.replace("\t", " "))


@cache
def _characters() -> frozenset[int]:
    from fontTools.ttLib import TTFont

    with as_file(files(TEMPLATES) / "fonts" / FACE) as path, TTFont(path, lazy=True) as face:
        return frozenset(face.getBestCmap())
