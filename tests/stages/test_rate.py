"""Ratings are tied to images without keeping a name that may be a patient's; disagreement is measured, not guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.raters.agreeing import statistics
from harness.records import CellRow, FindingRow, JudgeCallRow, RatingRow, ReliabilityRow
from harness.store import Store
from harness.studies.build import build
from tiny_audit import Project

SCALES: list[dict[str, Any]] = [{"name": "diagnosis", "categories": ["benign", "malignant"]}]
COLUMNS = "item,rater,scale,value"


def rated(project: Project, lines: list[str], answers: str = "", scales: list[dict[str, Any]] = SCALES, columns: str = COLUMNS) -> str:
    """Run the small audit with these ratings and return its id."""
    (project.folder / "ratings.csv").write_text("\n".join([columns, *lines]) + "\n", encoding="utf-8")
    importer = {"path": "ratings.csv"} | {name: name for name in columns.split(",")}
    ratings: dict[str, object] = {"importers": [{"csv": importer}], "scales": scales}
    if answers:
        (project.folder / "answers.jsonl").write_text(answers, encoding="utf-8")
        ratings["llm_checks"] = [{"recorded": {"path": "answers.jsonl"}}]
    project.write(ratings=ratings, perturbations=None, metrics=["frechet"], purposes={"p": {"context_of_use": "c", "uses_model": False}})
    return project.audit().run()


def names(project: Project, arm: str, n: int) -> list[str]:
    """Return n file names of an arm, as a user would write them."""
    folder = project.folder / arm
    found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png") if not p.stem.endswith("_mask"))
    return found[:n]


def test_a_rated_real_image_is_known_by_its_id_and_its_patient_is_not_stored(project: Project) -> None:
    """Items of ratings.csv become the ids of images; neither they nor unknown items keep a patient's name."""
    known = names(project, "test", 2)
    items = [known[0], Path(known[1]).name, "benign/P999_secret.png"]
    audit_id = rated(project, [f"{item},{rater},diagnosis,benign" for item in items for rater in ("r1", "r2")])
    store = Store(project.folder / "results.duckdb")

    rows = store.current(RatingRow, audit_id)
    audit = project.audit()
    ids = set(audit.bench.images(audit.first.data, "test").ids)
    assert {r.item for r in rows if r.item in ids} == {i for i in ids if i in {r.item for r in rows}}
    assert len({r.item for r in rows} & ids) == 2
    assert [f.text[:8] for f in store.current(FindingRow, audit_id) if f.kind == "unknown_items"] == ["1 rated "]
    assert b"P999" not in (project.folder / "results.duckdb").read_bytes()
    assert not any("P1" in r.item for r in rows)


def test_agreement_has_intervals_or_says_why_not(project: Project) -> None:
    """Three raters on thirty synthetic images: every statistic has a value and an interval."""
    items = names(project, "synthetic", 30)
    lines = [
        f"{item},r{r},diagnosis,{'benign' if (k + (k % 7 == r)) % 2 else 'malignant'}" for k, item in enumerate(items) for r in range(3)
    ]
    audit_id = rated(project, lines)

    rows = Store(project.folder / "results.duckdb").current(ReliabilityRow, audit_id)
    found = [r for r in rows if (r.analysis, r.raters, r.items, r.category) == ("agreement", "experts", "all", "")]
    assert {r.statistic for r in found} == set(statistics("nominal"))
    assert all(r.value is not None and r.ci_low is not None and r.ci_low <= r.value <= r.ci_high for r in found if r.ci_high is not None)
    assert all(r.n_items == 30 and r.n_raters == 3 for r in found)


def test_raters_who_never_differ_have_no_kappa(project: Project) -> None:
    """Without variation chance-corrected statistics are undefined, with a reason; the share of agreement is 1."""
    audit_id = rated(project, [f"{i},{r},diagnosis,benign" for i in names(project, "synthetic", 12) for r in ("a", "b")])

    found = Store(project.folder / "results.duckdb").current(ReliabilityRow, audit_id)
    rows = {r.statistic: r for r in found if (r.analysis, r.raters, r.items) == ("agreement", "experts", "all")}
    assert rows["fleiss_kappa"].value is None
    assert rows["fleiss_kappa"].reason
    assert rows["percent_agreement"].value == 1.0
    assert rows["percent_agreement"].ci_low is None


def test_a_model_is_compared_with_the_majority_of_the_experts(project: Project) -> None:
    """Recorded answers of a model are ratings and calls of their own, never one more expert."""
    items = names(project, "synthetic", 24)
    lines = [f"{item},r{r},diagnosis,{'benign' if k % 2 else 'malignant'}" for k, item in enumerate(items) for r in range(3)]
    answers = "".join(
        json.dumps({"item": item.removesuffix(".png"), "scale": "diagnosis", "model": "m1", "answer": "benign" if k % 3 else "malignant"})
        + "\n"
        for k, item in enumerate(items)
    )
    audit_id = rated(project, lines, answers)
    store = Store(project.folder / "results.duckdb")

    rows = [r for r in store.current(ReliabilityRow, audit_id) if r.items == "all"]
    of_model = {r.statistic for r in rows if r.analysis == "model" and r.raters == "llm m1"}
    assert of_model == {"percent_agreement", "cohen_kappa", "gwet_ac1"}
    assert len(store.current(JudgeCallRow, audit_id)) == 24
    assert all(r.n_raters == 3 for r in rows if r.analysis == "agreement" and r.raters == "experts")


def answer(item: str, **fields: Any) -> str:
    """Return one line of a model's answers."""
    return json.dumps({"item": item.removesuffix(".png"), "scale": "diagnosis", "model": "m1"} | fields) + "\n"


def test_a_model_that_does_not_answer_disagrees(project: Project) -> None:
    """Of 24 items with a majority 16 are answered rightly, 4 refused, 2 answered off the scale and 2 not: 16 of 24 agree."""
    items = names(project, "synthetic", 24)
    truth = ["benign" if k % 2 else "malignant" for k in range(24)]
    lines = [f"{item},r{r},diagnosis,{word}" for item, word in zip(items, truth, strict=True) for r in range(3)]
    answers = "".join(answer(item, answer=word) for item, word in zip(items[:16], truth[:16], strict=True))
    answers += "".join(answer(item, refused=True) for item in items[16:20])
    answers += "".join(answer(item, answer="perhaps") for item in items[20:22])
    audit_id = rated(project, lines, answers)

    found = Store(project.folder / "results.duckdb").current(ReliabilityRow, audit_id)
    rows = {r.statistic: r for r in found if r.analysis == "model" and r.raters == "llm m1" and r.items == "all"}
    assert rows["percent_agreement"].value == pytest.approx(16 / 24)
    assert rows["cohen_kappa"].value == pytest.approx((2 / 3 - 1 / 2) / (1 - 1 / 2))
    assert all(r.n_items == 24 and "8 of 24 items were not answered" in r.note for r in rows.values())


def test_a_model_that_gives_numbers_is_compared_with_the_mean_of_the_experts(project: Project) -> None:
    """Numbers have no majority: a model that is always right of the experts' mean by 1 agrees with it less than one that equals it."""
    items = names(project, "synthetic", 8)
    lines = [f"{item},r{r},size,{k + r / 10}" for k, item in enumerate(items) for r in range(2)]
    answers = "".join(answer(item, scale="size", answer=k + 0.05) for k, item in enumerate(items))
    answers += "".join(answer(item, scale="size", model="m2", answer=k + 1.05) for k, item in enumerate(items))
    audit_id = rated(project, lines, answers, [{"name": "size", "level": "interval"}])

    found = Store(project.folder / "results.duckdb").current(ReliabilityRow, audit_id)
    rows = {r.raters: r for r in found if r.analysis == "model" and r.items == "all"}
    assert {r.statistic for r in rows.values()} == {"icc_a_1"}
    assert rows["llm m1"].value == pytest.approx(1.0)
    variance = 6.0
    assert rows["llm m2"].value == pytest.approx(variance / (variance + 0.5))


@pytest.mark.parametrize(("scale", "early", "late"), [(SCALES[0], "benign", "malignant"), ({"name": "size", "level": "interval"}, 1, 9)])
def test_the_first_occasion_counts_and_two_comes_before_ten(project: Project, scale: dict[str, Any], early: Any, late: Any) -> None:
    """Occasions that are numbers are ordered as numbers, for words and for numbers, however the file orders them."""
    items = names(project, "synthetic", 6)
    first = [early if k % 2 else late for k in range(6)]
    lines = [f"{item},b,{scale['name']},{value},2" for item, value in zip(items, first, strict=True)]
    for occasion, values in (("2", first), ("10", first[1:] + first[:1])):
        lines += [f"{item},a,{scale['name']},{value},{occasion}" for item, value in zip(items, values, strict=True)]
    audit_id = rated(project, lines, "", [scale], COLUMNS + ",occasion")

    found = Store(project.folder / "results.duckdb").current(ReliabilityRow, audit_id)
    rows = {r.statistic: r for r in found if (r.analysis, r.raters, r.items) == ("agreement", "experts", "all")}
    assert rows["krippendorff_alpha"].value == pytest.approx(1.0)


def test_the_same_rating_twice_fails_and_names_the_line(project: Project) -> None:
    """A duplicate is never averaged away: the cell fails with file and line, the audit goes on."""
    item = names(project, "synthetic", 1)[0]
    audit_id = rated(project, [f"{item},a,diagnosis,benign", f"{item},a,diagnosis,malignant"])

    cells = Store(project.folder / "results.duckdb").current(CellRow, audit_id, stage="rate")
    failed = [c for c in cells if c.status == "failed"]
    assert len(failed) == 1
    assert "ratings.csv:3" in failed[0].reason


def test_patients_are_nowhere_in_the_store(project: Project) -> None:
    """Neither as a case, nor in a note on spellings, nor in what a file is refused for."""
    known = names(project, "synthetic", 4)
    lines = [f"{item},{r},diagnosis,benign,CASE_SMITH" for item in (*known, "SMITH_JANE", "Smith_Jane") for r in ("r1", "r2")]
    ratings = {"importers": [{"csv": {"path": "ratings.csv", "item": "item", "facts": {"case": "case"}}}], "scales": SCALES}
    (project.folder / "ratings.csv").write_text("\n".join(["item,rater,scale,value,case", *lines]) + "\n", encoding="utf-8")
    project.write(ratings=ratings, perturbations=None, metrics=["frechet"], purposes={"p": {"context_of_use": "c", "uses_model": False}})
    project.audit().run()
    (project.folder / "ratings.csv").write_text("\n".join(["item,rater,scale,value,case", *lines, lines[-1]]) + "\n", encoding="utf-8")
    audit_id = project.audit().run()
    failed = [c.reason for c in Store(project.folder / "results.duckdb").current(CellRow, audit_id, stage="rate") if c.status == "failed"]
    assert "ratings.csv:14" in failed[0]
    content = (project.folder / "results.duckdb").read_bytes().lower()
    assert b"smith" not in content


def test_one_image_rated_under_two_names_is_refused(project: Project) -> None:
    """`a.png` and `a` are one image: the second rating by one reader is found once names are tied to images."""
    item = names(project, "synthetic", 1)[0]
    audit_id = rated(project, [f"{item},a,diagnosis,benign", f"{item.removesuffix('.png')},a,diagnosis,malignant"])
    cells = Store(project.folder / "results.duckdb").current(CellRow, audit_id, stage="rate")
    assert any("rated one image twice on diagnosis under two names" in c.reason for c in cells if c.status == "failed")


def test_one_reader_in_two_files_is_refused(project: Project) -> None:
    """Two importers that hold a rating of one image by one reader contradict each other, or count it twice."""
    item = names(project, "synthetic", 1)[0]
    for name, word in (("one", "benign"), ("two", "malignant")):
        (project.folder / f"{name}.csv").write_text(f"item,rater,scale,value\n{item},a,diagnosis,{word}\n", encoding="utf-8")
    ratings = {"importers": [{"csv": {"path": f"{name}.csv", "as": name}} for name in ("one", "two")], "scales": SCALES}
    project.write(ratings=ratings, perturbations=None, metrics=["frechet"], purposes={"p": {"context_of_use": "c", "uses_model": False}})
    audit_id = project.audit().run()
    cells = Store(project.folder / "results.duckdb").current(CellRow, audit_id, stage="rate")
    assert any("rated an item twice on diagnosis" in c.reason for c in cells if c.status == "failed")


def test_answers_to_another_question_are_refused(project: Project) -> None:
    """The study's key holds the question that readers were asked; a model.yaml that words it otherwise does not get their answers."""
    study = {"readers": ["R1"], "real": 2, "synthetic": 2, "because": "a test"}
    scale = {"name": "plausible", "categories": ["yes", "no"], "question": "Plausible?"}
    purposes = {"p": {"context_of_use": "c", "uses_model": False}}
    project.write(ratings={"scales": [scale], "study": study}, metrics=["frechet"], perturbations=None, purposes=purposes)
    built = build(project.audit(), project.folder / "study")
    key = json.loads((built.folder / "key.json").read_text())
    page = key["readers"]["R1"]
    slots = {slot: {"seconds": 5.0, "answers": {"plausible": {"value": "yes"}}} for slot in page["slots"]}
    body = {"format": "harness-study-answers-1", "study": key["study"], "reader": "R1", "page": page["content_sha256"], "slots": slots}
    (built.folder / "answers").mkdir()
    (built.folder / "answers" / "R1.json").write_text(json.dumps(body))
    for question, status in (("Plausible?", "ok"), ("Beautiful?", "failed")):
        ratings = {"importers": [{"study": {"path": "study"}}], "scales": [scale | {"question": question}], "study": study}
        project.write(ratings=ratings, metrics=["frechet"], perturbations=None, purposes=purposes)
        audit_id = project.audit().run()
        cells = Store(project.folder / "results.duckdb").current(CellRow, audit_id, stage="rate", component="study")
        assert [c.status for c in cells] == [status], cells[0].reason
        assert status == "ok" or "was 'Plausible?' when raters answered" in cells[0].reason
