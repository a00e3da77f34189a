"""The report of `harness ratings`: the tables of a dossier as text, CSV, JSON and PDF, with everything that is wrong in the files."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pikepdf
import pytest

import fabricated_raters as made
from harness import dossier
from harness.errors import HarnessError, Problem
from harness.ratingfiles import report as ratingsreport
from harness.ratingfiles.report import Report
from harness.readerspec import ScaleSpec

SCALES = tuple(ScaleSpec.model_validate(scale) for scale in made.SCALES)


def report(problems: int = 2) -> Report:
    """A report of fabricated rows with this many problems."""
    return Report(
        title="Four readers on breast ultrasound", files=(("ratings/readers.csv", "ab" * 32),),
        notes=("Read as a long table with a decimal comma.",),
        problems=tuple(Problem(f"'{k}' is off the scale", f"ratings/readers.csv:{k + 2}", "correct it") for k in range(problems)),
        counts=tuple(made.counts()), rows=tuple(made.reliability()), consensus=tuple(made.consensus()), scales=SCALES,
        moment=datetime(2026, 2, 3, 8, tzinfo=UTC), disputes=tuple(made.disputes()),
    )  # fmt: skip


def small(**changes: object) -> Report:
    """A report of one scale with one table, quick to lay out."""
    rows = [made.row("class", "agreement", "experts", "all", "fleiss_kappa", 0.42)]
    return replace(report(), rows=tuple(rows), consensus=(), disputes=(), counts=(), **changes)  # type: ignore[arg-type]


def test_text_begins_with_the_files_and_agreement_and_ends_with_what_is_wrong() -> None:
    """The reader sees at once how much is wrong; where it stands follows the tables."""
    text = ratingsreport.as_text(report(), "table", 100)
    first = text.splitlines()
    assert first[:4] == [
        "Four readers on breast ultrasound", "  ratings/readers.csv", "Read as a long table with a decimal comma.",
        "2 things found wrong in the files, listed below; what could not be used took part in nothing.",
    ]  # fmt: skip
    order = [text.index(word) for word in ("class (nominal scale", "Gates to", "Agreement of experts.", "Answers against", "Wrong in the")]
    assert order == sorted(order)
    assert "ratings/readers.csv:3: '1' is off the scale\n  correct it" in text


@pytest.mark.parametrize("width", [60, 80, 120, 0])
def test_tables_fit_the_terminal_and_lose_no_column(width: int) -> None:
    """Columns that do not fit are printed below, with the first column repeated; numbers are never shortened."""
    text = ratingsreport.as_text(small(), "table", width)
    assert "\u2026" not in text
    assert "0.42 [" in text
    tables = re.findall(r"(?m)^-[- ]*$", ratingsreport.as_text(report(), "table", width))
    heads = [line for line in ratingsreport.as_text(report(), "table", width).splitlines() if "Gwet\u2019s AC1" in line]
    assert tables
    assert heads
    assert all(not width or len(rule) <= width or rule.count("  ") <= 1 for rule in tables)


def test_text_says_what_is_undefined_and_how_much_is_not_shown() -> None:
    """Reasons stand below the table; values without a place are counted."""
    text = ratingsreport.as_text(report(), "table", 140)
    assert "(b) not computable: no variation" in text
    assert "no value (b)" in text
    assert re.search(r"\d+ further values: --format csv or json prints all\.", text)
    assert not re.search(r"\b(None|nan)\b", text)


def test_csv_has_one_row_a_value() -> None:
    """Every column of a row but its cell and seed; an undefined value is an empty field with a reason."""
    rows = list(csv.DictReader(io.StringIO(ratingsreport.as_text(report(), "csv"))))
    assert len(rows) == len(made.reliability())
    blank = [row for row in rows if row["value"] == ""]
    assert blank
    assert all(row["reason"] for row in blank)
    assert float(rows[0]["value"]) == made.reliability()[0].value


def test_json_has_everything() -> None:
    """Files with digests, problems with places, scales, counts, every row, the consensus, the contested items."""
    facts = json.loads(ratingsreport.as_text(report(), "json"))
    assert facts["files"] == [{"path": "ratings/readers.csv", "sha256": "ab" * 32}]
    assert facts["problems"][1] == {"what": "'1' is off the scale", "where": "ratings/readers.csv:3", "fix": "correct it"}
    assert [len(facts[k]) for k in ("reliability", "consensus", "disputes", "counts", "scales")] == [
        len(made.reliability()), 40, 20, 6, 5,
    ]  # fmt: skip


def test_many_problems_are_counted_in_text_and_listed_in_json() -> None:
    """The first sixty are printed with a count of the others, none is lost."""
    many = report(problems=75)
    assert "... and 15 more: --format json lists all" in ratingsreport.as_text(many, "table", 100)
    assert len(json.loads(ratingsreport.as_json(many))["problems"]) == 75
    assert "15 further problems in the attached ratings.json" in ratingsreport.html(replace(many, rows=(), counts=()))


def test_no_problem_is_said_too() -> None:
    """Silence would not tell a clean file from a file that was not checked."""
    assert "Every answer that was given could be used." in ratingsreport.as_text(report(problems=0), "table", 100)


def test_the_pdf_is_the_same_each_time_and_carries_the_numbers(tmp_path: Path) -> None:
    """Two renders have the same bytes; ratings.json inside is what the page gives the digest of."""
    first = ratingsreport.render(small(), tmp_path / "a.pdf").read_bytes()
    assert ratingsreport.render(small(), tmp_path / "b.pdf").read_bytes() == first
    with pikepdf.open(tmp_path / "a.pdf") as pdf:
        body = pdf.attachments["ratings.json"].get_file().read_bytes()
        assert pdf.Root.MarkInfo.Marked
    assert sha256(body).hexdigest()[:16] in ratingsreport.html(small())
    assert json.loads(body)["reliability"][0]["value"] == 0.42


def test_the_page_numbers_its_tables_by_section_and_shows_the_dossiers_tables() -> None:
    """Files and problems are section 1, what raters say is section 2."""
    text = dossier.visible(ratingsreport.html(report()))
    assert "Table 1-1What was read" in text
    assert re.search(r"Table 2-\d+Agreement of experts\.", text)
    assert "7-1" not in text


def test_what_files_say_is_quoted_whatever_its_words() -> None:
    """A category, a reader or a cell may hold any word; the report's own sentences may not."""
    scale = ScaleSpec(name="risk", level="nominal", categories=("safe", "unsafe"))
    rows = (made.row("risk", "agreement", "experts", "all", "fleiss_kappa", category="safe"),)
    wrong = (Problem("'approved' is not among the categories", "a.csv:2"),)
    page = ratingsreport.html(small(scales=(scale,), problems=wrong))
    assert "approved" in page
    assert "safe" in ratingsreport.html(replace(small(), scales=(scale,), rows=rows))
    with pytest.raises(HarnessError, match="certified"):
        dossier.draw("ratings.html.j2", _context("This is certified."), None, ())


def test_long_names_stay_on_the_paper() -> None:
    """Readers, categories, strata and items without a place to break run over into more lines, never off the page."""
    changes = {"malignant": "m" * 48, "R1": "R" * 60, "judge-a": "j" * 60}

    def long(text: str) -> str:
        for old, new in changes.items():
            text = text.replace(old, new)
        return text

    wide = {"class", "findings"}
    rows = [r.model_copy(update={k: long(getattr(r, k)) for k in ("raters", "items", "category", "note")}) for r in report().rows]
    votes = tuple(v.model_copy(update={"item": "i" * 80 + v.item}) for v in report().consensus)
    changed = replace(report(), rows=tuple(r for r in rows if r.scale in wide), consensus=votes, disputes=(), counts=(), problems=())
    margin, outside = 10 / 25.4 * 96, []
    for page in dossier._laid_out(ratingsreport.html(changed)).pages:
        for box in page._page_box.descendants():
            if getattr(box, "text", "").strip() and isinstance(box.width, int | float) and box.width:
                inside = box.position_x >= margin - 1 and box.position_x + box.width <= page.width - margin + 1
                outside += [] if inside else [box.text]
    assert outside == []


def _context(title: str) -> dict[str, object]:
    """What the page is drawn from, with this title."""
    found = small(title=title)
    fixed = {"version": "0", "problems": (), "more": 0, "document": "a" * 64, "digest": "b" * 64}
    return fixed | {"report": found, "raters": found.chapter, "issued": found.moment}
