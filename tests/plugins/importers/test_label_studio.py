"""Expert ratings from Label Studio's JSON."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from harness.api import Context, InputError, Rating
from harness.testing import check
from harness_plugins.importers.label_studio import LabelStudio


def result(control: str, kind: str, answer: Any) -> dict[str, Any]:
    """Return the result of a control."""
    return {"from_name": control, "to_name": "image", "type": kind, "value": {"text" if kind == "textarea" else kind: answer}}


def annotation(rater: Any, *results: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return an annotation."""
    return {"completed_by": rater, "result": list(results), "was_cancelled": False, "ground_truth": False, **fields}


def task(item: str, *annotations: dict[str, Any], **data: Any) -> dict[str, Any]:
    """Return a task about an item."""
    return {"id": 1, "data": {"item": item, **data}, "annotations": list(annotations)}


def read(folder: Path, content: Any, **options: Any) -> tuple[list[Rating], dict[str, str]]:
    """Return the ratings of an export, and the notes."""
    (folder / "l.json").write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    context = Context(1, folder)
    ratings = list(LabelStudio(path=folder / "l.json", **options).read(context))
    return ratings, {subject.removeprefix("l.json: "): text for subject, text in context.notes.items()}


def refusal(folder: Path, content: Any, **options: Any) -> str:
    """Return the message with which an export is refused."""
    with pytest.raises(InputError) as caught:
        read(folder, content, **options)
    return str(caught.value)


FULL = annotation(
    7, result("kind", "choices", ["benign"]), result("mask", "rating", 4), result("size", "number", 12.5),
    result("findings", "choices", ["mass", "cyst"]), result("why", "textarea", ["It is", "round"]), lead_time=8.25,
)  # fmt: skip


def test_each_kind_of_answer(tmp_path: Path) -> None:
    """Choices, ratings, numbers, several choices and texts are ratings on the scale of their control, with their place and the time."""
    found, notes = read(tmp_path, [task("a", FULL, site="X")], facts=["site"], readers={7: "R1"})
    assert [(r.scale, r.value) for r in found] == [
        ("kind", "benign"), ("mask", "4"), ("size", "12.5"), ("findings", "mass; cyst"), ("why", "It is\nround"),
    ]  # fmt: skip
    assert {(r.item, r.rater, r.seconds, r.status) for r in found} == {("a", "R1", 8.25, "ok")}
    assert found[1].source == "l.json:$[0].annotations[0].result[1]"
    assert found[0].facts == {"site": "X"}
    assert notes["seconds"] == "the time of a rating is that of its whole annotation"


def test_who_answered(tmp_path: Path) -> None:
    """A user is a number or has an address; tasks made for one reader each name the reader in their data."""
    assert read(tmp_path, [task("a", annotation({"id": 3, "email": "x@y"}, result("k", "choices", ["b"])))])[0][0].rater == "x@y"
    slots = [{"data": {"slot": "s1", "reader": "ann"}, "annotations": [annotation(1, result("k", "choices", ["b"]))]}]
    found, _ = read(tmp_path, slots, item="slot", rater="reader")
    assert [(r.item, r.rater) for r in found] == [("s1", "ann")]
    assert "the data have no who" in refusal(tmp_path, slots, item="slot", rater="who")
    assert "nobody completed this annotation" in refusal(tmp_path, [task("a", annotation(None, result("k", "choices", ["b"])))])


def test_what_was_not_answered(tmp_path: Path) -> None:
    """A skipped annotation and a control that was left out are missing ratings; tasks that nobody answered are counted."""
    skipped = annotation(8, was_cancelled=True)
    partly = annotation(9, result("kind", "choices", ["benign"]), result("mask", "rating", None))
    found, notes = read(tmp_path, [task("a", annotation(7, result("kind", "choices", ["x"]), result("mask", "rating", 1)), skipped, partly),
                                   task("b")])  # fmt: skip
    assert [(r.rater, r.scale, r.status, r.reason) for r in found[2:]] == [
        ("8", "kind", "missing", "the reader skipped the task"), ("8", "mask", "missing", "the reader skipped the task"),
        ("9", "kind", "ok", ""), ("9", "mask", "missing", "the value is empty"),
    ]  # fmt: skip
    assert notes["skipped"] == "1 of 3 annotations were skipped by their reader: missing ratings"
    assert notes["tasks without annotation"] == "1 of 2 tasks were not answered by anybody"
    silent = annotation(5, result("mask", "rating", 2))
    assert read(tmp_path, [task("a", FULL, silent)])[0][-1].reason == "the annotation does not answer this"


def test_several_annotations_of_one_task_by_one_user(tmp_path: Path) -> None:
    """They are refused with both places, and are occasions in the order of their time where the user says so."""
    late = annotation(7, result("k", "choices", ["x"]), created_at="2024-02-02")
    early = annotation(7, result("k", "choices", ["y"]), created_at="2024-01-01")
    said = refusal(tmp_path, [task("a", late, early)])
    assert "l.json:$[0].annotations[1].result[0]: 7 rates a on k a second time, first in $[0].annotations[0].result[0]" in said
    found, _ = read(tmp_path, [task("a", late, early)], repeats="occasions")
    assert [(r.value, r.occasion) for r in found] == [("x", "2"), ("y", "1")]


def test_ground_truth(tmp_path: Path) -> None:
    """Annotations marked as ground truth are ratings, or the truth of their items where the user names the control."""
    tasks = [task("a", annotation(1, result("k", "choices", ["M"]), ground_truth=True), annotation(2, result("k", "choices", ["B"])))]
    found, notes = read(tmp_path, tasks)
    assert len(found) == 2
    assert notes["ground truth"] == "1 annotations are marked as ground truth: read as ratings of who made them"
    found, _ = read(tmp_path, tasks, truth="k")
    assert [(r.rater, r.value, r.facts) for r in found] == [("2", "B", {"truth": "M"})]
    assert "no ground-truth annotation answers other" in refusal(tmp_path, tasks, truth="other")


def test_regions_and_predictions_are_counted(tmp_path: Path) -> None:
    """What is no answer about a whole item is left out and said."""
    box = {"from_name": "box", "type": "rectanglelabels", "value": {"x": 1, "rectanglelabels": ["mass"]}}
    of_region = {"from_name": "k", "type": "choices", "value": {"x": 1, "choices": ["b"]}}
    tasks = [task("a", annotation(1, result("k", "choices", ["b"]), box, of_region)) | {"predictions": [{}], "drafts": [{}, {}]}]
    found, notes = read(tmp_path, tasks)
    assert [r.value for r in found] == ["b"]
    assert notes["not read"] == "1 results of kind rectanglelabels, 1 results of kind region"
    assert notes["left out"] == "2 drafts and 1 predictions of models are no ratings"


def study_key(folder: Path) -> Path:
    """Write the key of a study of one reader, an image and a grid, and return where it is."""
    questions = [
        {"name": "kind", "level": "nominal", "categories": ["ok", "odd"], "shows": "image", "only_if": ""},
        {"name": "faults", "level": "set", "categories": ["blur", "noise"], "shows": "image", "only_if": "kind=odd"},
        {"name": "real", "level": "nominal", "categories": ["real", "synthetic"], "shows": "grid", "only_if": ""},
    ]
    slots = {
        "s1": {"item": "img-1", "occasion": "1", "facts": {"origin": "real"}},
        "s2": {"item": "img-1", "occasion": "2", "facts": {"origin": "real"}},
        "g1": {"item": "grid-1", "occasion": "1", "facts": {}, "positions": ["synthetic", "real"]},
    }
    key: dict[str, Any] = {"format": "harness-study-1", "questions": questions, "readers": {"ann": {"slots": slots}}}
    text = json.dumps(key, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    path = folder / "key.json"
    path.write_text(json.dumps(key | {"sha256": sha256(text.encode()).hexdigest()}), encoding="utf-8")
    return path


def shown(slot: str, *results: dict[str, Any], reader: str = "ann") -> dict[str, Any]:
    """Return an answered task of a study."""
    return {"data": {"slot": slot, "reader": reader}, "annotations": [annotation(1, *results)]}


def test_tasks_of_a_study(tmp_path: Path) -> None:
    """The study's key says what a slot showed, which picture was which, and which questions were asked there."""
    key = study_key(tmp_path)
    tasks = [
        shown("s1", result("kind", "choices", ["odd"]), result("faults", "choices", ["none"])),
        shown("s2", result("kind", "choices", ["ok"])),
        shown("g1", result("real", "choices", ["2"])),
    ]
    found, _ = read(tmp_path, tasks, key=key, categories={"faults": ["blur", "noise"]})
    assert [(r.item, r.rater, r.occasion, r.scale, r.value, r.status, r.choices, r.facts) for r in found] == [
        ("img-1", "ann", "1", "kind", "odd", "ok", None, {"origin": "real"}),
        ("img-1", "ann", "1", "faults", "none", "ok", None, {"origin": "real"}),
        ("img-1", "ann", "2", "kind", "ok", "ok", None, {"origin": "real"}), ("grid-1", "ann", "1", "real", "real", "ok", 2, {}),
    ]  # fmt: skip
    assert LabelStudio(path=tmp_path / "l.json", key=key).inputs() == (tmp_path / "l.json", key)
    unanswered, _ = read(
        tmp_path, [shown("s1", result("kind", "choices", ["odd"])), shown("g1", result("real", "choices", ["3"]))], key=key
    )
    assert [(r.scale, r.status, r.reason) for r in unanswered] == [
        ("kind", "ok", ""), ("faults", "missing", "the annotation does not answer this"),
        ("real", "unusable", "'3' is no picture of the grid"),
    ]  # fmt: skip
    assert "the study has no slot s9 of ann" in refusal(tmp_path, [shown("s9")], key=key)


def test_sets_know_none(tmp_path: Path) -> None:
    """On a set the choice none means no category; beside others it is no category."""
    tasks = [task("a", annotation(1, result("f", "choices", ["none"]))), task("b", annotation(1, result("f", "choices", ["none", "blur"])))]
    found, _ = read(tmp_path, tasks, sets=["f"], categories={"f": ["blur"]})
    assert [(r.value, r.status) for r in found] == [("none", "ok"), ("none; blur", "unusable")]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("[{", "l.json:1: not JSON"), ("[NaN]", "the file holds NaN, which is no number"),
        ({}, "not a list of tasks"), ([], "not a list of tasks"),
        ([{"id": 1, "kind": "benign"}], "l.json:$[0]: a task without data and annotations"),
        ([{"data": {"image": "x.png"}, "annotations": []}], "write item: one of image, or id"),
        ([task("a", annotation(1, {"type": "choices", "value": 3}))], "l.json:$[0].annotations[0].result[0]: a result without a value"),
        ([task("a", annotation(1) | {"result": None})], "an annotation without a list of results"),
        ([task("a", annotation(1))], "no annotation holds choices"),
    ],
    ids=["torn", "NaN", "no list", "empty", "JSON-MIN", "no item", "no value", "no results", "no answers"],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(tmp_path: Path, content: Any, what: str) -> None:
    """The message says what is wrong, where in the file, and what to do."""
    assert what in refusal(tmp_path, content)
    assert "\n  " in refusal(tmp_path, content)


def test_the_promises_of_importers_are_kept(tmp_path: Path) -> None:
    """The importer passes the conformance tests."""
    (tmp_path / "l.json").write_text(json.dumps([task("a", FULL)]), encoding="utf-8")
    check(LabelStudio(path=tmp_path / "l.json"))
