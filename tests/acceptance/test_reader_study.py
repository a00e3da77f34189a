"""A whole reader study on real ultrasound and phantoms: built, answered in a browser, taken in, analysed, shown; and what a model adds.

Three simulated readers of different skill answer by the mouse in headless Chromium; a simulated model's answers are recorded. Every number
that is checked here is counted anew from what the script answered, by a few lines that share no code with the analysis.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from harness import start
from harness.phantoms import phantoms, write_phantoms
from harness.records import CriterionRow, ReliabilityRow
from harness.store import Store
from harness.studies.build import sampled
from reading_desk import Desk

SOURCE = os.environ.get("HARNESS_TEST_DATA")
pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(SOURCE is None, reason="HARNESS_TEST_DATA names no folder with us_busi_masks"),
]
CLASSES = ("benign", "malignant", "normal")
CONCEPTS = ("shadow", "enhancement", "irregular")
EDITS = ("insertion", "deletion")
READERS = {"R1": 0.95, "R2": 0.8, "R3": 0.65}
FIVE = ["1", "2", "3", "4", "5"]
SCALES: list[dict[str, Any]] = [
    {"name": "diagnosis", "categories": list(CLASSES), "question": "What is the class of this image?", "truth": "label",
     "gates": {"experts": {"krippendorff_alpha": 0.2}, "models": {"cohen_kappa": 0.2}, "because": "a trial"}},
    {"name": "mask", "level": "ordinal", "categories": FIVE, "question": "How confident are you in the outline?", "shows": "mask"},
    {"name": "words", "level": "text", "question": "Describe the image."},
    {"name": "fits", "level": "ordinal", "categories": FIVE, "question": "Does the description reflect the image?", "shows": "description",
     "describes": "words"},
    {"name": "plausible", "categories": ["yes", "no"], "question": "Is the image plausible?", "alarm": ["no"],
     "gates": {"experts": {"percent_agreement": 0.3}, "attention": 0.2, "because": "a trial"}},
    {"name": "findings", "level": "set", "categories": list(CONCEPTS), "question": "Which findings are there?", "truth": "concepts"},
    {"name": "find_real", "categories": ["real", "synthetic"], "question": "Which of these images is real?", "truth": "origin",
     "shows": "grid"},
]  # fmt: skip
STUDY = {"readers": list(READERS), "real": 15, "synthetic": 15, "repeats": 0.2, "planted": {"gaussian_noise": 6}, "grids": 8,
         "grid_of": 4, "because": "a trial of the whole path"}  # fmt: skip


@dataclass
class Trial:
    """The project, what each reader answered (reader, item, scale, occasion) -> value, and the facts of the items."""

    folder: Path
    said: dict[tuple[str, str, str, str], Any] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    model: dict[tuple[str, str], str] = field(default_factory=dict)

    def first(self, scale: str, reader: str, **facts: str) -> dict[str, Any]:
        """Return a reader's first answers by item, of the items with these facts; planted faults aside."""
        return {
            item: value for (who, item, name, occasion), value in self.said.items()
            if (who, name, occasion) == (reader, scale, "1") and "planted" not in self.facts[item]
            and all(self.facts[item].get(key) == wanted for key, wanted in facts.items())
        }  # fmt: skip


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """Carry the study out and run the audit."""
    trial = Trial(tmp_path_factory.mktemp("reader-study"))
    make(trial)
    run(trial, "study", "build", "model.yaml")
    answer_pages(trial)
    run(trial, "study", "import", "study", *sorted(str(path) for path in (trial.folder / "exported").glob("*.json")))
    assert run(trial, "audit", "model.yaml", "--quiet", codes=(0, 1, 3)).returncode in (0, 1, 3)
    return trial


def make(trial: Trial) -> None:
    """Write images, the table of findings and edits, model.yaml, and the descriptions that a model gave of every image."""
    folder = trial.folder
    rng = np.random.default_rng(3)
    for name in CLASSES:
        files = sorted(p for p in (Path(SOURCE or ".") / "us_busi_masks" / name).glob("*.png") if not p.stem.endswith("_mask"))
        for k, file in enumerate(files):
            arm = folder / ("test" if k % 2 else "train") / name
            arm.mkdir(parents=True, exist_ok=True)
            for path in (file, file.with_name(f"{file.stem}_mask.png")):
                shutil.copyfile(path, arm / path.name)
    write_phantoms(folder / "synthetic", phantoms(60, seed=3, size=64, patients=60, first_patient=201))
    with (folder / "findings.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["file", *CONCEPTS, "edit"])
        for arm in ("train", "test", "synthetic"):
            for path in sorted((folder / arm).rglob("*.png")):
                if not path.stem.endswith("_mask"):
                    edit = EDITS[int(rng.integers(2))] if arm == "synthetic" else "none"
                    table.writerow([path.relative_to(folder / arm).as_posix(), *rng.integers(0, 2, len(CONCEPTS)), edit])
    shutil.copyfile(folder / "findings.csv", folder / "synthetic" / "findings.csv")  # the generator's table lies beside its images
    layout = {"labels": "folder", "masks": {"suffix": "_mask"}, "csv": {"path": "findings.csv"}, "concepts": list(CONCEPTS),
              "groups": {"edit": {"column": "edit"}}}  # fmt: skip
    data = {"train": "train", "test": "test", "channels": "grey", "size": [64, 64], "resize": "stretch", "spacing_mm": [1.0, 1.0],
            "window": [0, 255], **layout, "synthetic": layout}  # fmt: skip
    criteria = [
        {"id": "C1", "claim": "Readers find them plausible", "quantity": "ratings.plausible.share.yes", "at_least": 0.5,
         "because": "a trial", "one_kind_because": "a trial", "strata": ["synthetic"], "strata_role": "each_must_meet"},
        {"id": "C2", "claim": "A model reads them", "quantity": "llm.diagnosis.accuracy", "at_least": 0.5,
         "because": "a trial", "role": "supportive"},
    ]  # fmt: skip
    body = {
        "audit": "trial", "seed": 5, "data": data, "generator": {"folder": {"path": "synthetic"}}, "samples": 60, "extractors": ["pixels"],
        "metrics": ["frechet"], "strata": [], "intervals": {"half_samples": 10, "floor_splits": 4},
        "ratings": {"importers": [{"study": {"path": "study"}}], "llm_checks": [{"recorded": {"path": "answers.jsonl"}}],
                    "scales": SCALES, "study": STUDY},
        "purposes": {"teach": {"context_of_use": "a trial", "uses_model": False, "criteria": criteria}},
    }  # fmt: skip
    written(folder / "model.yaml", body)
    describe(trial, rng)


def written(path: Path, body: dict[str, Any]) -> Path:
    """Write a model.yaml in which nothing refers to something else in it."""
    with path.open("w", encoding="utf-8") as stream:
        YAML(typ="safe", pure=True).dump(json.loads(json.dumps(body)), stream)
    return path


def describe(trial: Trial, rng: np.random.Generator) -> None:
    """Record what a model says of every image that readers may see: words, a class, findings; it refuses one image in ten."""
    ids = image_ids(trial)
    lines = []
    for item, label in ids.items():
        trial.model[item, "words"] = f"A {label} looking image."
        if rng.random() > 0.1:
            trial.model[item, "diagnosis"] = label if rng.random() < 0.6 else CLASSES[int(rng.integers(3))]
        trial.model[item, "findings"] = "; ".join(name for name in CONCEPTS if rng.random() < 0.5) or "none"
        for scale in ("words", "diagnosis", "findings"):
            answer = trial.model.get((item, scale))
            refused = {"refused": True} if answer is None else {}
            lines.append(json.dumps({"item": item, "scale": scale, "model": "m-1", "answer": answer} | refused))
    (trial.folder / "answers.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def image_ids(trial: Trial) -> dict[str, str]:
    """Return the label of each image by the id that the audit gives it: those of a study without descriptions, which needs no model."""

    model = trial.folder / "model.yaml"
    body = YAML(typ="safe", pure=True).load(model.read_text(encoding="utf-8"))
    ratings = body["ratings"]
    plain = {"scales": [s for s in ratings["scales"] if s["name"] not in ("fits", "words")], "study": ratings["study"]}
    purposes = {"p": {"context_of_use": "c", "uses_model": False}}
    other = written(model.with_name("plain.yaml"), body | {"ratings": plain, "purposes": purposes})
    images = sampled(start.study(other, None, None))
    return {
        item: images.label_names[int(label)]
        for side in (images.real, images.synthetic, images.train)
        for item, label in zip(side.ids, side.labels if side.labels is not None else (), strict=True)
    }


def run(trial: Trial, *words: str, codes: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
    """Run a command of the harness in the project."""
    program = "import sys; from harness.cli import main; sys.argv[0] = 'harness'; main()"
    command = [sys.executable, "-c", program, *words]
    done = subprocess.run(command, cwd=trial.folder, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode in codes, done.stdout + done.stderr
    return done


def answer_pages(trial: Trial) -> None:
    """Let each reader answer every question of the page by the mouse, and save the answers."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright, which drives the browser, is not installed")
    found = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium is installed to open the pages in")
    key = json.loads((trial.folder / "study" / "key.json").read_text(encoding="utf-8"))
    (trial.folder / "exported").mkdir()
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for reader in READERS:
            context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True, reduced_motion="reduce")
            desk = Desk(context.new_page(), trial.folder / "study" / "pages" / f"{reader}.html")
            desk.begin()
            slots = key["readers"][reader]["slots"]
            rng = np.random.default_rng(len(reader) + ord(reader[-1]))
            for _ in slots:
                entry = slots[desk.slot()]
                trial.facts[entry["item"]] = entry["facts"]
                for name, value in script(reader, entry, rng).items():
                    click(desk, name, value)
                    said = entry["positions"][value - 1] if name == "find_real" else value
                    trial.said[reader, entry["item"], name, entry["occasion"]] = said
                desk.turn("Control+Enter")
            assert desk.page.locator("#end-title").inner_text() == "Every question is answered"
            assert {url.split(":", 1)[0] for url in desk.requests} <= {"file", "data", "blob"}
            assert not desk.errors
            desk.saved(trial.folder / "exported")
            context.close()
        browser.close()


def script(reader: str, entry: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Return what a reader of this skill answers to what is shown."""
    right = bool(rng.random() < READERS[reader])
    if "positions" in entry:
        real = entry["positions"].index("real") + 1
        return {"find_real": real if rng.random() < READERS[reader] - 0.4 else 1 + int(rng.integers(len(entry["positions"])))}
    label = entry["facts"]["label"]
    faulty = "planted" in entry["facts"]
    return {
        "diagnosis": label if right else CLASSES[(CLASSES.index(label) + 1) % 3],
        "mask": FIVE[int(rng.integers(2, 5))] if right else FIVE[int(rng.integers(5))],
        "fits": FIVE[int(rng.integers(5))],
        "plausible": "no" if (rng.random() < READERS[reader] if faulty else rng.random() < 0.15) else "yes",
        "findings": [name for name in CONCEPTS if rng.random() < 0.5],
    }


def click(desk: Desk, name: str, value: Any) -> None:
    """Give an answer with the mouse."""
    if name == "find_real":
        desk.page.locator(".tile").nth(value - 1).click()
        return
    box = desk.page.locator(f'[data-name="{name}"]')
    if value == []:
        box.locator(".option", has_text="None of these").click()
    for word in value if isinstance(value, list) else [value]:
        box.locator(".option", has=desk.page.locator(f'input[value="{word}"]')).click()


@pytest.fixture(scope="module")
def rows(trial: Trial) -> Callable[..., ReliabilityRow]:
    """Return the function that finds the only stored row that answers."""
    store = Store(trial.folder / "out" / "results.duckdb")
    found = store.current(ReliabilityRow, store.audits()[-1])

    def one(scale: str, analysis: str, statistic: str, raters: str, items: str = "all", category: str = "") -> ReliabilityRow:
        mine = [r for r in found if (r.scale, r.analysis, r.statistic, r.raters, r.items, r.category)
                == (scale, analysis, statistic, raters, items, category)]  # fmt: skip
        assert len(mine) == 1, f"{len(mine)} rows answer"
        return mine[0]

    return one


def agreement(answers: list[dict[str, Any]]) -> float:
    """Return the mean over pairs of readers of the share of images on which they agree."""
    return mean(mean(a[item] == b[item] for item in a.keys() & b.keys()) for a, b in combinations(answers, 2))


def test_agreement_is_that_of_the_answers(trial: Trial, rows: Callable[..., ReliabilityRow]) -> None:
    """On all images, real and synthetic ones, and each pair of readers, with denominators; planted faults do not count."""
    for items, facts in (("all", {}), ("real", {"origin": "real"}), ("synthetic", {"origin": "synthetic"})):
        answers = [trial.first("diagnosis", reader, **facts) for reader in READERS]
        row = rows("diagnosis", "agreement", "percent_agreement", "experts", items)
        assert row.value == pytest.approx(agreement(answers))
        assert (row.n_items, row.n_raters) == (30 if items == "all" else 15, 3)
        assert (row.ci_low or 0) < (row.value or 0) < (row.ci_high or 0)
    pair = rows("diagnosis", "agreement", "percent_agreement", "R1 & R3")
    assert pair.value == pytest.approx(agreement([trial.first("diagnosis", reader) for reader in ("R1", "R3")]))


def test_correctness_of_readers_and_majority_is_that_of_the_answers(trial: Trial, rows: Callable[..., ReliabilityRow]) -> None:
    """Each reader against the labels, and the majority, whose ties are wrong."""
    everyone = {reader: trial.first("diagnosis", reader) for reader in READERS}
    for reader, answers in everyone.items():
        right = mean(value == trial.facts[item]["label"] for item, value in answers.items())
        assert rows("diagnosis", "correctness", "accuracy", reader).value == pytest.approx(right)
    votes = {item: Counter(answers[item] for answers in everyone.values()).most_common() for item in everyone["R1"]}
    won = [found[0][0] == trial.facts[item]["label"] and found[0][1] > 1 for item, found in votes.items()]
    assert rows("diagnosis", "correctness", "accuracy", "majority").value == pytest.approx(mean(won))


def test_means_shares_faults_repeats_and_grids_are_those_of_the_answers(trial: Trial, rows: Callable[..., ReliabilityRow]) -> None:
    """Confidence in masks, plausible images, planted faults noticed, images read twice, real images found."""
    for reader in READERS:
        masks = [int(value) for value in trial.first("mask", reader, origin="synthetic").values()]
        assert rows("mask", "mean", "mean", reader, "synthetic").value == pytest.approx(mean(masks))
        plausible = trial.first("plausible", reader, origin="synthetic")
        row = rows("plausible", "share", "share", reader, "synthetic", "yes")
        assert row.value == pytest.approx(mean(value == "yes" for value in plausible.values()))
        faults = [value == "no" for (who, item, name, _), value in trial.said.items()
                  if (who, name) == (reader, "plausible") and "planted" in trial.facts[item]]  # fmt: skip
        assert rows("plausible", "attention", "sensitivity", reader, "planted").value == pytest.approx(mean(faults))
        again = {item: value for (who, item, name, when), value in trial.said.items() if (who, name, when) == (reader, "diagnosis", "2")}
        same = mean(value == trial.said[reader, item, "diagnosis", "1"] for item, value in again.items())
        assert rows("diagnosis", "intra_rater", "percent_agreement", reader).value == pytest.approx(same)
        hits = [value == "real" for (who, _, name, _), value in trial.said.items() if (who, name) == (reader, "find_real")]
        found = rows("find_real", "identification", "hit_rate", reader)
        assert (found.value, found.trials) == (pytest.approx(mean(hits)), STUDY["grids"])


def test_the_model_stands_beside_the_readers(trial: Trial, rows: Callable[..., ReliabilityRow]) -> None:
    """Against the truth and the majority a refusal counts as wrong; its concepts against those of the images, by kind of edit too."""
    asked = trial.first("diagnosis", "R1")
    right = [trial.model.get((item, "diagnosis")) == trial.facts[item]["label"] for item in asked]
    assert rows("diagnosis", "correctness", "accuracy", "llm m-1").value == pytest.approx(mean(right))
    truth = findings(trial)
    for items, wanted in (("all", None), *((f"edit={edit}", edit) for edit in EDITS)):
        chosen = [item for item in asked if wanted is None or truth[item][1] == wanted]
        found = [set(trial.model[item, "findings"].split("; ")) - {"none"} for item in chosen]
        known = [truth[item][0] for item in chosen]
        jaccard = mean(len(a & b) / len(a | b) if a | b else 1.0 for a, b in zip(found, known, strict=True))
        assert rows("findings", "concepts", "jaccard", "llm m-1", items).value == pytest.approx(jaccard)


def findings(trial: Trial) -> dict[str, tuple[set[str], str]]:
    """Return the findings and the edit of each image, by the id of the audit, from what the store says of the images."""
    store = Store(trial.folder / "out" / "results.duckdb")
    rows = store.query("select distinct item, facts->>'concepts', facts->>'edit' from ratings where facts->>'concepts' is not null").rows
    return {item: (set(str(words).split("; ")) - {"none"}, str(edit)) for item, words, edit in rows}


def test_findings_come_from_the_table(trial: Trial) -> None:
    """What the store says of the findings of synthetic images is what the table says."""
    known = findings(trial)
    with (trial.folder / "findings.csv").open(encoding="utf-8") as stream:
        table = {row["file"].removesuffix(".png"): row for row in csv.DictReader(stream)}
    synthetic = [item for item in known if item in table and trial.facts.get(item, {}).get("origin") == "synthetic"]
    assert len(synthetic) >= 15
    assert all(known[item][0] == {name for name in CONCEPTS if table[item][name] == "1"} for item in synthetic)


def test_verdicts_and_dossier_show_them(trial: Trial, rows: Callable[..., ReliabilityRow]) -> None:
    """Criteria on readers are judged on synthetic images, and the dossier prints the tables with these numbers."""
    store = Store(trial.folder / "out" / "results.duckdb")
    audit = store.audits()[-1]
    criteria = {row.criterion: row for row in store.current(CriterionRow, audit)}
    shown = rows("plausible", "share", "share", "experts", "synthetic", "yes")
    assert criteria["C1"].value == pytest.approx(shown.value)
    assert criteria["C2"].kind == "E4"
    text = "\n".join(pages(trial.folder / "out" / f"{audit}.pdf"))
    for words in ("Agreement of experts", "Answers against the truth", "Mean answers", "Share of", "Language models beside experts"):
        assert words in text
    fleiss = rows("diagnosis", "agreement", "fleiss_kappa", "experts")
    assert f"{fleiss.value:.2f}".lstrip("0") in text


def pages(pdf: Path) -> Iterator[str]:
    """Yield the text of each page."""
    done = subprocess.run(["pdftotext", "-layout", str(pdf), "-"], capture_output=True, text=True, check=True)  # noqa: S607
    yield from done.stdout.split("\f")
