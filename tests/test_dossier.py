"""The dossier: same bytes each time, the marks of two standards, honest blanks, and words that it must not use."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pikepdf
import pytest
from fabricated_audit import content_of, criterion, score, spec_of, stratified, untestable

from harness import dossier, wording
from harness.errors import HarnessError

BUNDLED = {"IBM-Plex-Sans", "IBM-Plex-Sans-Medium", "IBM-Plex-Sans-Semi-Bold", "IBM-Plex-Mono"}


def small() -> dossier.Content:
    """One purpose without metrics, ratings or pictures: quick to lay out."""
    return content_of(purposes=1, criteria=2, metrics=False, ratings=False)


@pytest.fixture(scope="module")
def full_pdf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dossier of a full fabricated audit."""
    return dossier.render(content_of(), tmp_path_factory.mktemp("dossier") / "full.pdf")


def shown(content: dossier.Content) -> str:
    """What a reader of this content sees, names and quotations included."""
    page = dossier.html(content)
    return dossier.visible(re.sub(r"</?(code|q)\b[^>]*>", "", page))


def test_same_content_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    """Neither the time, the time zone, the locale, the folder nor the order of hashing enters the file."""
    here = dossier.render(small(), tmp_path / "here.pdf").read_bytes()
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from pathlib import Path; import test_dossier as t; "
        f"t.dossier.render(t.small(), Path({str(tmp_path / 'there.pdf')!r}))"
    )
    other = {**os.environ, "TZ": "Pacific/Auckland", "PYTHONHASHSEED": "7", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", code], check=True, env=other, cwd=tmp_path, timeout=300)
    assert (tmp_path / "there.pdf").read_bytes() == here


def test_order_of_the_rows_does_not_matter() -> None:
    """A store may hand out its rows in any order, and moments in any time zone."""
    content = content_of()
    turned = {name: tuple(reversed(rows)) for name, rows in vars(content).items() if isinstance(rows, tuple)}
    assert dossier.html(replace(content, **turned)) == dossier.html(content)


def test_components_written_twice_are_shown_once() -> None:
    """A resumed audit may store its components again."""
    content = small()
    assert dossier.html(replace(content, components=content.components * 2)) == dossier.html(content)


def test_a_resumed_attempt_is_a_start_too() -> None:
    """Only an event that neither starts nor resumes an attempt has no outcome of its own."""
    content = small()
    resumed = tuple(row.model_copy(update={"event": "resumed"}) for row in content.ledger)

    assert resumed
    assert "not a start" not in shown(replace(content, ledger=resumed))


def faults(path: Path) -> list[str]:
    """Machine-checkable faults against PDF/A-3a and PDF/UA-1 that this way of drawing can make."""
    found = []
    with pikepdf.open(path) as pdf:
        xmp = pdf.Root.Metadata.read_bytes().decode()
        wanted = ('pdfaid:part="3"', 'pdfaid:conformance="A"', "<pdfuaid:part>1<", "pdfaExtension:schemas", "dc:title")
        found += [f"XMP lacks {mark}" for mark in wanted if mark not in xmp]
        found += [f"no {key}" for key in ("/OutputIntents", "/StructTreeRoot", "/Lang", "/AF") if key not in pdf.Root]
        found += [] if pdf.Root.MarkInfo.Marked and pdf.Root.ViewerPreferences.DisplayDocTitle else ["not marked"]
        found += [] if "/ID" in pdf.trailer else ["no identifier"]
        for page in pdf.pages:
            found += [] if page.obj.get("/Tabs") == pikepdf.Name.S else ["order of tabs"]
            for annotation in page.obj.get("/Annots", []):
                found += [] if annotation.Subtype == pikepdf.Name.Link and int(annotation.get("/F", 0)) & 4 else ["annotation"]
        for thing in pdf.objects:
            if isinstance(thing, pikepdf.Stream):
                found += ["smoothed image"] if thing.get("/Interpolate", False) else []
            elif isinstance(thing, pikepdf.Dictionary):
                if thing.get("/Type") == pikepdf.Name.FontDescriptor:
                    name = str(thing.FontName)[1:].split("+")[-1]
                    found += [] if name in BUNDLED and "/FontFile2" in thing else [f"font {name}"]
                if thing.get("/S") == pikepdf.Name.Figure and not str(thing.get("/Alt", "")):
                    found.append("figure without words")
                if thing.get("/Type") == pikepdf.Name.Filespec and "/AFRelationship" not in thing:
                    found.append("attachment without relationship")
    return found


def test_full_dossier_carries_the_marks_of_both_standards(full_pdf: Path) -> None:
    """Tagged, titled, fonts embedded, every figure with words, nothing smoothed, both identifications in the XMP."""
    assert faults(full_pdf) == []


def test_nearly_empty_dossier_carries_them_too(tmp_path: Path) -> None:
    """An audit that was interrupted before its first result still gives a well-formed document."""
    content = replace(small(), verdicts=(), criteria=(), findings=(), ledger=(), outcomes=(), image_sets=(), components=(), cells=())
    assert faults(dossier.render(content, tmp_path / "empty.pdf")) == []


def test_attachments_carry_the_results_and_the_digests_printed(full_pdf: Path) -> None:
    """plan.json has the locked digest; the digest of results.json is on the page; verdicts.json holds criteria and verdicts."""
    content = content_of()
    with pikepdf.open(full_pdf) as pdf:
        bodies = {name: spec.get_file().read_bytes() for name, spec in pdf.attachments.items()}
        kinds = {name: str(spec.relationship) for name, spec in pdf.attachments.items()}
    assert kinds == {"plan.json": "/Source", "verdicts.json": "/Data", "results.json": "/Data", "run.json": "/Supplement"}
    assert sha256(bodies["plan.json"]).hexdigest() == content.audit.plan_sha256
    assert sha256(bodies["results.json"]).hexdigest() in dossier.html(content)
    verdicts = json.loads(bodies["verdicts.json"])
    assert [len(verdicts["criteria"]), len(verdicts["verdicts"])] == [12, 3]


def texts_outside(content: dossier.Content) -> list[str]:
    """Texts that come closer than 10 mm to the edge of the paper (5 mm at the bottom)."""
    margin, found = 10 / 25.4 * 96, []
    for page in dossier._laid_out(dossier.html(content)).pages:
        for box in page._page_box.descendants():
            words = getattr(box, "text", "")
            if words.strip() and box.width and not isinstance(box.width, str):
                left, right, bottom = box.position_x, box.position_x + box.width, box.position_y + box.height
                if left < margin - 1 or right > page.width - margin + 1 or bottom > page.height - margin / 2:
                    found.append(words)
    return found


def long_names() -> dossier.Content:
    """Two purposes whose names, claims and criteria have no place to break."""
    body = spec_of(2, 2)
    body["title"] = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 2
    body["purposes"] = dict(zip(("A" * 64, "b-" * 31 + "b"), body["purposes"].values(), strict=True))
    for purpose in body["purposes"].values():
        purpose["context_of_use"] = "many words " * 60
        for c in purpose["criteria"]:
            c["claim"] = "Anunbrokenclaimwithoutspaces" * 6
    content = content_of(2, 2, spec=body)
    rows = [
        r.model_copy(update={"claim": "Anunbrokenclaim" * 9, "quantity": "x" * 40 + "." + "y" * 40, "reason": "why " * 80})
        for r in content.criteria
    ]
    large = [r.model_copy(update={k: v * 1e7 for k in ("value", "ci_low", "ci_high") if (v := getattr(r, k)) is not None}) for r in rows]
    scores = [s.model_copy(update={"component": "x" * 40, "quantity": s.quantity + "y" * 40, "unit": "mm"}) for s in content.scores]
    long = {"component": "x" * 40, "perturbation": "z" * 64}
    qualifications = tuple(q.model_copy(update=long) for q in content.qualifications)
    responses = tuple(r.model_copy(update=long) for r in content.responses)
    named: dict[str, Any] = {"criteria": tuple(large), "scores": tuple(scores), "qualifications": qualifications, "responses": responses}
    return replace(content, audit_id="n" * 64 + "-0a1b2c3d-4e5f6071", **named)


@pytest.mark.parametrize(
    "content",
    [lambda: content_of(12, 2, metrics=False), lambda: content_of(1, 60, metrics=False, ratings=False), long_names],
    ids=["twelve purposes", "sixty criteria", "long names"],
)
def test_nothing_runs_off_the_page(content: Any) -> None:
    """Many purposes, many criteria and long words stay on the paper."""
    assert texts_outside(content()) == []


def test_every_missing_value_is_printed_with_its_reason() -> None:
    """No blank, no None and no NaN stands for a value; a section without data says so."""
    text = shown(content_of())
    assert "not computable: SSL certificate problem, 5 < 10" in text
    assert "not computable: needs 50 images, got 12" in text
    assert "not computable: no variation" in text
    assert not re.search(r"\b(None|nan|NaN|inf|Undefined)\b", text)


def test_sections_without_data_say_so_in_one_line() -> None:
    """What was not evaluated is named."""
    text = shown(small())
    for what in ("Metric qualification", "Upstream metrics", "Nearest training images", "Downstream task", "Experts and model judges"):
        assert f"{what}: not evaluated in this audit." in text


def section_six(content: dossier.Content) -> str:
    """The chapter on metric qualification as a reader sees it."""
    return shown(content).rsplit("6Metric qualification", 1)[1].split("7Results per claim")[0]


def test_qualification_shows_responses_eligibility_alarms_and_the_literature() -> None:
    """Numbers in the cells, who may speak to what, denominators of alarms, and agreement with what was reported elsewhere."""
    text = section_six(content_of())
    for said in (
        "+30", "\u22124.0", "100 %", "untested", "5 pairs of quantity and defect without an outcome",
        "1 of 1, but moved by +3.0 under sub pixel shift: manifold.density, precision", "2 of 100",
        "Distances worsen with noise.", "4 of 4 responses of distances (2 quantities; gaussian noise) became worse; median response +",
        "No defect of the failure mode internal duplication was planted.", "dashed: classification.accuracy",
    ):  # fmt: skip
        assert said in text, said


def test_qualification_reads_without_task_and_with_one_defect() -> None:
    """A small battery has the same chapter: nothing is blank, and nothing is said of a task."""
    content = content_of()
    one = [r for r in content.responses if r.perturbation == "gaussian_noise" and not r.tested_on]
    rows = [q for q in content.qualifications if q.perturbation == "gaussian_noise" and q.component != "classification"]
    text = section_six(replace(content, responses=tuple(one), qualifications=tuple(rows)))
    assert "+30" in text
    assert "classification" not in text


def test_a_battery_that_tested_nothing_says_why() -> None:
    """Rows without an outcome are a chapter with reasons, not an empty one."""
    content = content_of(metrics=False)
    row = untestable("mask_alignment", "alignment", "", "lesion_removal", "local_morphology")
    text = section_six(replace(content, qualifications=(row,)))
    assert "1 pair of quantity and defect without an outcome: not tested: needs masks, and these images have none" in text
    assert "No quantity was tested; the reasons are above." in text


def test_criteria_by_stratum_are_a_forest_plot() -> None:
    """Each stratum has its estimate, bounds, n and status; a stratum without a value has its reason."""
    text = shown(stratified(content_of()))
    assert "every stratum must meet it" in text
    assert "strata are descriptive" in text
    assert "label=1" in text
    assert re.search(r"site=b\s+0\.340 \[0\.310, 0\.370\]\s+130\s+Not met", text)
    assert re.search(r"site=d\s+not computable: needs 50 images, got 12\s+unknown\s+Missing", text)


def test_a_missing_value_without_a_reason_stops_the_render() -> None:
    """A template that would print None is a bug, not a blank."""
    with pytest.raises(ValueError, match="missing value"):
        dossier._printable(None)
    with pytest.raises(ValueError, match="missing value"):
        dossier._printable(float("nan"))


def test_cover_shows_every_verdict_and_no_overall_one() -> None:
    """Each purpose has its word; purposes are never combined."""
    text = shown(content_of(purposes=5))
    assert all(word in text for word in wording.VERDICTS.values())
    assert "There is no overall score." in text
    assert wording.NOTICE in text


def test_every_status_and_its_words_are_in_the_vocabulary() -> None:
    """All eight statuses are explained."""
    text = shown(small())
    assert all(word in text for word in wording.STATUSES.values())


def test_conservation_adds_up_in_print() -> None:
    """Planned cells = ok + not computable + failed + not run, with a total."""
    cells = re.search(r'<th scope="row">all</th>(.*?)</tr>', dossier.html(content_of()), re.DOTALL)
    assert cells is not None
    planned, *parts = (int(n) for n in re.findall(r">(\d+)<", cells[1]))
    assert [planned, sum(parts), parts[-1]] == [18, 18, 1]


def test_what_users_write_is_escaped_and_never_executed() -> None:
    """Markup and template syntax in a claim stay text; characters without a glyph are spelled out."""
    body = spec_of(1, 1)
    body["title"] = "<script>alert(1)</script> & {{ 7 * 7 }} \u5317\u4eac \u03a9"
    page = dossier.html(content_of(1, 1, metrics=False, ratings=False, spec=body))
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; {{ 7 * 7 }} [U+5317][U+4EAC] \u03a9" in page


def test_a_banned_word_in_a_claim_names_the_criterion() -> None:
    """The user is told which criterion of which purpose to reword."""
    body = spec_of(1, 2)
    body["purposes"]["augment-segmentation"]["criteria"][1]["claim"] = "The generator is proven trustworthy"
    with pytest.raises(HarnessError) as caught:
        dossier.html(content_of(1, 2, spec=body))
    lines = "\n".join(caught.value.lines())
    assert "purposes.augment-segmentation.criteria.C2.claim" in lines
    assert '"proven"' in lines
    assert "reword it in model.yaml" in lines


def test_a_banned_word_in_a_machine_sentence_stops_the_render() -> None:
    """A sentence that a rule made is held to the same list, and the error names it."""
    content = small()
    verdict = content.verdicts[0].model_copy(update={"reason": "The generator passes."})
    with pytest.raises(HarnessError, match=r'"passes" in "(Adequate with conditions )?The generator passes\."'):
        dossier.html(replace(content, verdicts=(verdict,)))


def test_what_components_said_is_quoted_whatever_its_words() -> None:
    """An error message may hold any word, also where a criterion repeats it."""
    reason = "SSL certificate is not trusted, no safe connection"
    content = content_of(1, 1)
    row = criterion("augment-segmentation", 0, "missing", reason=reason)
    failed = score(component="x", quantity="y", value=None, ci_low=None, ci_high=None, status="failed", reason=reason)
    assert reason in shown(replace(content, criteria=(row,), scores=(*content.scores, failed)))


def test_a_purpose_without_verdict_is_not_assessed() -> None:
    """An audit that ended early says so; nothing may be concluded."""
    text = shown(replace(small(), verdicts=(), criteria=()))
    assert "Not assessed" in text
    assert "The audit ended before a verdict was reached." in text


def test_the_network_is_out_of_reach() -> None:
    """Only files and data that come with the document are fetched."""
    with pytest.raises(ValueError, match="disallowed protocol"):
        dossier.URLFetcher(allowed_protocols=("file", "data")).fetch("http://localhost/x.png")


def test_a_dossier_that_cannot_be_written_is_the_users_turn(tmp_path: Path) -> None:
    """A full or read-only place is an error that says where, and leaves no half file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="cannot be written"):
        dossier._write(tmp_path / "file" / "x.pdf", b"")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
