"""The commands about raters as a user types them."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import cli
from tiny_audit import Project

LONG = "item,rater,diagnosis\n" + "".join(
    f"c{k},{r},{('benign', 'malignant')[(k + (k % 5 == n)) % 2]}\n" for k in range(20) for n, r in enumerate("abc")
)
SCALES: list[dict[str, Any]] = [{"name": "plausible", "categories": ["yes", "no"], "question": "Plausible?", "alarm": ["no"]}]


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    """Run the command line in this process; return exit code, output and error output."""
    monkeypatch.setattr(sys, "argv", ["harness", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    """Write a long table of three readers."""
    path = tmp_path / "ratings.csv"
    path.write_text(LONG)
    return path


def test_ratings_prints_tables_rows_or_everything(
    ratings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table for a person, CSV with a row a number, JSON with everything, and a PDF beside."""
    code, text, _ = run(capsys, monkeypatch, "ratings", str(ratings))
    assert (code, "Agreement of experts" in text, "McHugh 2012" in text) == (0, True, True)
    assert "value is diagnosis" in text
    code, text, err = run(capsys, monkeypatch, "ratings", str(ratings), "--format", "csv", "--out", str(tmp_path / "r.pdf"))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert code == 0
    assert {row["statistic"] for row in rows} >= {"fleiss_kappa", "krippendorff_alpha", "gwet_ac1"}
    assert (tmp_path / "r.pdf").read_bytes().startswith(b"%PDF")
    assert "r.pdf" in err
    code, text, _ = run(capsys, monkeypatch, "ratings", str(ratings), "--format", "json")
    assert json.loads(text)["title"] == "Ratings in ratings.csv"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--format", "xml"), "there is no format 'xml'"),
        (("--option", "missing"), "'missing' is no option of an importer"),
        (("--level", "ranked"), "there is no level 'ranked'"),
        (("--item", "nothing"), "nothing"),
    ],
)
def test_what_ratings_refuses(
    ratings: Path, words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2 and one message that names what is wrong."""
    code, _, err = run(capsys, monkeypatch, "ratings", str(ratings), *words)
    assert (code, says in err) == (2, True), err


def test_a_file_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the file."""
    code, _, err = run(capsys, monkeypatch, "ratings", str(tmp_path / "none.csv"))
    assert (code, "none.csv" in err) == (2, True)


def test_power_answers_what_is_asked(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers and items, grids, a difference of AUCs; nothing asked is a question back."""
    code, text, _ = run(capsys, monkeypatch, "study", "power", "--readers", "3", "--items", "41", "--grids", "40")
    assert (code, "41 items" in text, "40 grids" in text) == (0, True, True), text
    code, text, _ = run(capsys, monkeypatch, "study", "power", "--auc-difference", "0.05")
    assert (code, "Van Dyke" in text) == (0, True)
    assert run(capsys, monkeypatch, "study", "power")[0] == 2


def test_prompt_sets_are_listed_and_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Names without a name; the file with one; a wrong name names the known ones."""
    code, text, _ = run(capsys, monkeypatch, "prompts")
    assert (code, text.split()[0]) == (0, "breast_ultrasound")
    code, text, _ = run(capsys, monkeypatch, "prompts", "plausibility")
    assert (code, "scales:" in text) == (0, True)
    code, _, err = run(capsys, monkeypatch, "prompts", "plausible")
    assert (code, "breast_ultrasound" in err) == (2, True)


def test_a_study_is_built_before_its_answers_exist_and_takes_them_in(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The importer of answers that are still to come stands in the file that the study is built from; the audit then reads them."""
    study = {"readers": ["R1", "R2"], "real": 4, "synthetic": 4, "planted": {"gaussian_noise": 2}, "because": "a test"}
    ratings = {"importers": [{"study": {"path": "study"}}], "scales": SCALES, "study": study}
    purposes = {"p": {"context_of_use": "c", "uses_model": False}}
    project.write(ratings=ratings, metrics=["frechet"], perturbations=None, purposes=purposes)
    code, text, err = run(capsys, monkeypatch, "study", "build", str(project.model))
    assert code == 0, err
    assert "R1.html" in text
    assert "no reader may have it" in text

    key = json.loads((project.folder / "study" / "key.json").read_text())
    files = []
    for reader, page in key["readers"].items():
        slots = {slot: {"seconds": 5.0, "answers": {"plausible": {"value": "yes"}}} for slot in page["slots"]}
        body = {
            "format": "harness-study-answers-1",
            "study": key["study"],
            "reader": reader,
            "page": page["content_sha256"],
            "slots": slots,
        }
        files.append(project.folder / f"{reader}.json")
        files[-1].write_text(json.dumps(body))
    code, text, err = run(capsys, monkeypatch, "study", "import", str(project.folder / "study"), *map(str, files))
    assert (code, "10 of 10 questions answered" in text) == (0, True), err
    code, _, err = run(capsys, monkeypatch, "audit", str(project.model), "--workers", "0", "--quiet")
    assert code in (0, 3), err
    store = str(project.folder / "out" / "results.duckdb")
    query = "select value from agreement where statistic = 'sensitivity' and raters = 'experts'"
    code, text, _ = run(capsys, monkeypatch, "sql", query, "--store", store, "--format", "jsonl")
    assert json.loads(text) == {"value": 0.0}
