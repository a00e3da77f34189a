"""Answers that a language model gave before the audit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Context, ImageSet, InputError, ModelCall, Rating, Scale
from harness_plugins.llm_checks.prompt_sets import load, shipped
from harness_plugins.llm_checks.recorded import Recorded

CLASS = Scale(name="class", level="nominal", categories=("benign", "malignant"))
SCORE = Scale(name="score", level="interval")
NOTE = Scale(name="note", level="text")


def images(*names: str) -> ImageSet:
    """Return blank images of these names."""
    return ImageSet(np.zeros((len(names), 1, 4, 4), np.float32), names, (1.0, 1.0))


def line(item: str = "a", scale: str = "class", model: str = "m", **more: Any) -> dict[str, Any]:
    """Return one recorded answer."""
    return {"item": item, "scale": scale, "model": model, "answer": "benign", **more}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where the answers are."""
    return tmp_path / "answers.jsonl"


def rate(path: Path, *lines: dict[str, Any] | str, names: tuple[str, ...] = ("a",), scales: tuple[Scale, ...] = (CLASS,)) -> list[Rating]:
    """Return the ratings that recorded lines give."""
    path.write_text("".join((text if isinstance(text, str) else json.dumps(text)) + "\n" for text in lines))
    return list(Recorded(path=path).rate(images(*names), scales, Context(1, path.parent)))


def test_an_answer_is_a_rating(file: Path) -> None:
    """The model is the rater, the line is the source, and what else was recorded does no harm."""
    found = rate(file, line(tokens=120, seconds=2, prompt_sha256="0" * 64))
    assert found == [Rating(item="a", rater="m", scale="class", value="benign", rater_kind="llm", seconds=2.0, source="answers.jsonl:1")]
    assert Recorded(path=file).inputs() == (file,)


def test_there_is_one_rating_per_model_image_and_scale(file: Path) -> None:
    """An image without an answer is missing with a reason; other images and scales, and a scale without any answer, are left aside."""
    found = rate(file, line(), line(model="k"), line("z"), line(scale="else"), names=("a", "b"), scales=(CLASS, NOTE))
    assert [(r.rater, r.item, r.scale) for r in found] == [(m, i, s) for m in "km" for i in "ab" for s in ("class",)]
    assert [r.status for r in found] == ["ok", "missing"] * 2
    assert {r.reason for r in found if r.status == "missing"} == {"no recorded answer"}


@pytest.mark.parametrize(
    ("more", "scale", "status", "value"),
    [
        ({"answer": " Benign "}, CLASS, "ok", "benign"),
        ({"answer": "I cannot tell"}, CLASS, "unusable", None),
        ({"answer": None, "refused": True}, CLASS, "refused", None),
        ({"answer": "benign", "refused": True}, CLASS, "refused", None),
        ({"answer": None}, CLASS, "missing", None),
        ({"answer": 3}, SCORE, "ok", 3.0),
        ({"answer": "3.5"}, SCORE, "ok", 3.5),
        ({"answer": "three"}, SCORE, "unusable", None),
        ({"answer": "nan"}, SCORE, "unusable", None),
        ({"answer": 2}, Scale(name="grade", level="ordinal", categories=("1", "2")), "ok", "2"),
        ({"answer": "anything"}, NOTE, "ok", "anything"),
        ({"answer": ""}, NOTE, "unusable", None),
    ],
)
def test_an_answer_counts_where_it_is_on_the_scale(
    file: Path, more: dict[str, Any], scale: Scale, status: str, value: str | float | None
) -> None:
    """Refusals, empty answers and answers off the scale are ratings with a status and a reason."""
    (found,) = rate(file, line(scale=scale.name, **more), scales=(scale,))
    assert (found.status, found.value) == (status, value)
    assert bool(found.reason) == (status != "ok")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "answers.jsonl:2: not JSON"),
        ("[]", "answers.jsonl:2: line: "),
        (json.dumps({"item": "a", "scale": "class", "answer": "x"}), "answers.jsonl:2: model: Field required"),
        (json.dumps(line(seconds="3")), "answers.jsonl:2: seconds"),
        (json.dumps(line("b", anwser="x")), "answers.jsonl:2: anwser: Extra inputs"),
        (json.dumps(line(answer="malignant")), "answers.jsonl:2: m answers on a, class a second time, first in line 1"),
        ("[" * 100_000, "answers.jsonl:2: not JSON"),
    ],
)
def test_a_line_that_cannot_be_read_is_refused(file: Path, text: str, what: str) -> None:
    """The message says what is wrong and in which line."""
    with pytest.raises(InputError) as caught:
        rate(file, line(), text)
    assert what in str(caught.value)
    assert len(caught.value.lines()) <= 3


def test_files_without_answers_are_refused(file: Path) -> None:
    """A file that is missing, empty or not UTF-8 is named."""
    with pytest.raises(InputError, match="holds no answer"):
        rate(file, "", "  ")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"answers\.jsonl:1: not UTF-8"):
        list(Recorded(path=file).rate(images("a"), (CLASS,), Context(1, file.parent)))
    file.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        list(Recorded(path=file).rate(images("a"), (CLASS,), Context(1, file.parent)))


def test_repeats_are_occasions_in_the_order_of_numbers(file: Path) -> None:
    """Numbers and names tell answers apart; what one occasion lacks is missing."""
    found = rate(file, *(line(repeat=repeat) for repeat in (10, 2)), line("b", repeat=2), names=("a", "b"))

    assert [(r.item, r.occasion, r.status) for r in found] == [
        ("a", "2", "ok"),
        ("a", "10", "ok"),
        ("b", "2", "ok"),
        ("b", "10", "missing"),
    ]


def test_what_an_audit_stored_is_replayed(file: Path) -> None:
    """The form of the view recorded_answers: status and reason stand, nulls and sets are read, and the question is recorded again."""
    digest = "ab" * 32
    empty = {"refused": None, "status": "ok", "reason": None, "prompt_sha256": digest, "tokens": 120, "seconds": 1.5, "repeat": 1,
             "audit_id": "demo-1"}  # fmt: skip
    lines = (
        line(**empty),
        line("b", **(empty | {"answer": None, "status": "failed", "reason": "HTTP 500"})),
        line("c", **(empty | {"answer": None, "status": "refused", "reason": "the model refused: no"})),
        line("d", **(empty | {"answer": None, "status": "missing", "reason": "the budget of 3 calls was spent", "prompt_sha256": ""})),
        line("e", **(empty | {"answer": "x", "status": "unusable", "reason": None})),
    )
    context = Context(1, file.parent)
    file.write_text("".join(json.dumps(one) + "\n" for one in lines))
    found = list(Recorded(path=file).rate(images(*"abcde"), (CLASS,), context))

    assert [(r.status, r.reason) for r in found] == [
        ("ok", ""), ("failed", "HTTP 500"), ("refused", "the model refused: no"), ("missing", "the budget of 3 calls was spent"),
        ("unusable", "recorded as unusable"),
    ]  # fmt: skip
    assert context.calls[0] == ModelCall(
        item="a", scale="class", model="m", prompt=f"sha256:{digest}", reply="benign", reply_tokens=120, seconds=1.5
    )
    assert [call.status for call in context.calls] == ["ok", "failed", "refused", "missing", "unusable"]
    assert context.calls[3].prompt == ""


def test_sets_are_replayed_or_looked_up_anew(file: Path) -> None:
    """Without prompts the recorded set counts; with them the recorded description is read with their vocabulary."""
    text, concepts, labels = load("concepts_chest_xray").scales
    lines = (
        line(scale="findings", answer="No effusion. Cardiomegaly."),
        line(scale="concepts", answer="pleural fluid; mass"),
        line("b", scale="concepts", answer=["mass"]),
        line("c", scale="findings", answer=None, refused=True),
    )
    old = rate(file, *lines, names=("a", "b", "c"), scales=(text, concepts))
    assert [(r.item, r.status, r.value) for r in old if r.scale == "concepts"] == [
        ("a", "ok", "pleural fluid; mass"), ("b", "ok", "mass"), ("c", "missing", None),
    ]  # fmt: skip

    check = Recorded(path=file, prompts=Path("concepts_chest_xray"))
    anew = list(check.rate(images("a", "b", "c"), (text, concepts, labels), Context(1, file.parent)))
    assert [(r.item, r.scale, r.status, r.value) for r in anew if r.scale != "findings"] == [
        ("a", "concepts", "ok", "enlarged heart"), ("a", "labels", "ok", "Cardiomegaly"), ("b", "concepts", "missing", None),
        ("b", "labels", "missing", None), ("c", "concepts", "refused", None), ("c", "labels", "refused", None),
    ]  # fmt: skip
    assert check.inputs() == (file, shipped()["concepts_chest_xray"])


def test_a_vocabulary_must_cover_the_scales(file: Path) -> None:
    """Prompts without a vocabulary, or one that lacks a category."""
    scale = Scale(name="s", level="set", categories=("rib fracture",), describes="note")
    for prompts, words in (("classification", "there is no vocabulary"), ("concepts_chest_xray", "'rib fracture' of the scale s")):
        file.write_text(json.dumps(line(scale="note")) + "\n")
        with pytest.raises(InputError, match=words):
            list(Recorded(path=file, prompts=Path(prompts)).rate(images("a"), (NOTE, scale), Context(1, file.parent)))
