"""What all asking checks share, with a model that is a function."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Context, ImageSet, InputError, Rating, Scale
from harness_plugins.llm_checks.asking import AskingCheck, Conversation, Message, Policy, Send, canonical, data_url, estimate
from harness_plugins.llm_checks.journal import Budget, Outcome
from harness_plugins.llm_checks.prompt_sets import load
from harness_plugins.llm_checks.questions import Question

Model = Callable[[Conversation, Question, int], Outcome]
CHEST = {scale.name: scale for scale in load("concepts_chest_xray").scales}
PLAUSIBLE, CRITERIA = load("plausibility").scales


class Function(AskingCheck):
    """Asks a function."""

    name = "function"
    version = "1"
    function: Any

    def _policy(self) -> Policy:
        return Policy(Budget(calls=50), attempts=2)

    @contextmanager
    def _sender(self, context: Context) -> Iterator[Send]:
        yield self.function


def images(n: int = 1) -> ImageSet:
    """Return n images that differ."""
    pixels = np.linspace(0, 1, n * 16, dtype=np.float32).reshape(n, 1, 4, 4)
    return ImageSet(pixels, tuple(f"i{k}" for k in range(n)), (1.0, 1.0))


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Return a context without a folder for checkpoints."""
    return Context(1, tmp_path)


def rate(model: Model, scales: tuple[Scale, ...], context: Context, n: int = 1, **options: Any) -> list[Rating]:
    """Return the ratings of a function."""
    return list(Function(model="f", function=model, **options).rate(images(n), scales, context))


def replies(**values: Any) -> Model:
    """Return a model that fills in these values."""
    return lambda talk, question, repeat: Outcome(text=json.dumps({scale.name: values[scale.name] for scale in question.scales}))


def said(ratings: list[Rating]) -> list[tuple[str, Any, str, str]]:
    """Return scale, value, status and reason of each."""
    return [(r.scale, r.value, r.status, r.reason) for r in ratings]


def test_sets_are_looked_up_in_the_description(context: Context) -> None:
    """The model is asked for the text alone; concepts and labels come from it."""
    text = "No pneumothorax. Small right pleural effusion; cardiomegaly cannot be excluded."
    scales = tuple(CHEST.values())
    found = rate(replies(findings=text), scales, context, prompts="concepts_chest_xray")

    assert said(found) == [
        ("findings", text, "ok", ""),
        ("concepts", "pleural fluid; enlarged heart", "ok", ""),
        ("labels", "Pleural Effusion; Cardiomegaly", "ok", ""),
    ]
    assert [call.scale for call in context.calls] == ["findings"]


def test_without_a_description_nothing_is_looked_up(context: Context) -> None:
    """A refused description refuses the concepts; an audit without the text scale has none to look in."""
    scales = (CHEST["findings"], CHEST["concepts"])
    refused = rate(lambda t, q, r: Outcome(text="I'm sorry, I can't."), scales, context, prompts="concepts_chest_xray")
    assert [r.status for r in refused] == ["refused", "refused"]
    assert refused[1].reason == "no description on findings: the model refused: I'm sorry, I can't."

    (alone,) = rate(replies(), (CHEST["concepts"],), context, prompts="concepts_chest_xray")
    assert (alone.status, alone.reason) == ("missing", "no description on findings: it is no scale of this audit")


def test_a_prompt_set_without_a_vocabulary_is_refused_for_sets(context: Context) -> None:
    """Before anything is asked."""
    with pytest.raises(InputError, match="there is no vocabulary"):
        rate(replies(), (CHEST["concepts"],), context)
    assert context.calls == []


@pytest.mark.parametrize("ask", ["together", "apart"])
def test_a_condition_decides_whether_an_answer_is_due(context: Context, ask: str) -> None:
    """Where it does not hold the rating is missing whatever the model says; where it holds null is wrong."""
    scales = (CRITERIA, PLAUSIBLE)
    options = {"ask": ask, "prompts": "plausibility"}
    fine = rate(replies(plausible="yes", failed_criteria=["no such"]), scales, context, **options)
    assert said(fine) == [("failed_criteria", None, "missing", "asked only if plausible=no"), ("plausible", "yes", "ok", "")]
    assert len(context.calls) == 1

    bad = rate(replies(plausible="no", failed_criteria=["granules"]), scales, Context(1, _folder(context, "bad")), **options)
    assert [r.value for r in bad] == ["granules", "no"]

    null = rate(replies(plausible="no", failed_criteria=None), scales, Context(1, _folder(context, "null")), **options)
    assert (null[0].status, null[1].value) == ("unusable", "no")
    assert "is null, although plausible=no" in null[0].reason


def _folder(context: Context, name: str) -> Path:
    """Return a new folder of a context."""
    folder = context.workdir / name
    folder.mkdir()
    return folder


def test_an_unusable_condition_leaves_what_hangs_on_it_open(context: Context) -> None:
    """The scale that was to decide is unusable, the other missing."""
    found = rate(replies(plausible="perhaps", failed_criteria=[]), (PLAUSIBLE, CRITERIA), context, prompts="plausibility")

    assert [r.status for r in found] == ["unusable", "missing"]
    assert found[1].reason == "asked only if plausible=no, and plausible has no usable answer"


def test_scales_for_readers_are_missing_with_a_reason(context: Context) -> None:
    """Grids, descriptions and masks without masks; no question is put for them."""
    grid = Scale(name="g", level="nominal", categories=("real", "synthetic"), truth="origin", shows="grid")
    judged = Scale(name="d", level="ordinal", categories=("1", "2"), shows="description", describes="t")
    found = rate(replies(), (grid, judged), context)

    assert [(r.status, "only readers" in r.reason) for r in found] == [("missing", True)] * 2
    assert context.calls == []


def test_what_was_answered_is_told_again_and_not_asked_again(context: Context) -> None:
    """A second rating of the same images takes every reply from the journal and records the same calls."""
    scale = (Scale(name="class", level="nominal", categories=("a", "b"), question="?"),)
    first = rate(replies(**{"class": "a"}), scale, context, n=2)
    again = Context(1, context.workdir)
    second = rate(lambda t, q, r: pytest.fail("asked again"), scale, again, n=2)

    assert second == first
    assert again.calls == context.calls
    third = rate(replies(**{"class": "b"}), scale, Context(1, context.workdir), n=2, max_tokens=7)
    assert [r.value for r in third] == ["b", "b"]


def test_an_error_in_the_middle_keeps_what_came_before(context: Context) -> None:
    """The question that stopped the run is asked again, the ones before are not."""
    scale = (Scale(name="class", level="nominal", categories=("a", "b"), question="?"),)
    asked: list[str] = []

    def model(talk: Conversation, question: Question, repeat: int) -> Outcome:
        asked.append(canonical(talk))
        if len(asked) == 2:
            raise InputError("no")
        return Outcome(text='{"class": "a"}')

    with pytest.raises(InputError):
        rate(model, scale, context, n=3)
    found = rate(model, scale, context, n=3)

    assert [r.value for r in found] == ["a"] * 3
    assert [asked.count(one) for one in dict.fromkeys(asked)] == [1, 2, 1]


def test_giving_up_early_is_no_harm(context: Context) -> None:
    """Whoever takes two ratings and leaves has asked two questions."""
    scale = (Scale(name="class", level="nominal", categories=("a", "b"), question="?"),)
    ratings = Function(model="f", function=replies(**{"class": "a"})).rate(images(5), scale, context)
    assert [next(ratings).value, next(ratings).value] == ["a", "a"]
    ratings.close()
    assert len((context.workdir / "calls.jsonl").read_text().splitlines()) == 4


def test_the_system_text_may_stand_before_the_question(context: Context) -> None:
    """For models that know no system message."""
    scale = (Scale(name="class", level="nominal", categories=("a", "b"), question="?"),)
    rate(replies(**{"class": "a"}), scale, context)
    rate(replies(**{"class": "a"}), scale, context, system_role=False)
    own, merged = (json.loads(call.prompt) for call in context.calls)

    assert [message["role"] for message in own] == ["system", "user"]
    assert [message["role"] for message in merged] == ["user"]
    assert merged[0]["text"] == f"{own[0]['text']}\n\n{own[1]['text']}"


def test_conversations_have_one_form() -> None:
    """Sorted keys, pictures by digest; what it may use is estimated from bytes and pixels."""
    png = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + (57).to_bytes(4) + (28).to_bytes(4)
    talk = (Message("user", "seven b", (png,)),)

    assert canonical(talk).startswith('[{"pictures":["')
    assert canonical(talk).endswith('"],"role":"user","text":"seven b"}]')
    assert data_url(b"ab") == "data:image/png;base64,YWI="
    expected = estimate(talk, 9)
    assert (expected.prompt, expected.reply) == (3 + 3 * 1, 9)
