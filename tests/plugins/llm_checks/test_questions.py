"""What is asked, in words, as a form and as a schema."""

from __future__ import annotations

import json

import jsonschema
import pytest

from harness.api import InputError, Scale
from harness_plugins.llm_checks.prompt_sets import PromptSet
from harness_plugins.llm_checks.questions import looked_up, questions, unasked, unmet

PLAIN = Scale(name="kind", level="nominal", categories=("a", 'b "c"'), question="Which kind?")
PARTS = Scale(name="parts", level="set", categories=("x", "y"), question="Which parts?", only_if="kind=a")
MASK = Scale(name="mask", level="ordinal", categories=("1", "2"), question="How good?", shows="mask")
PROMPTS = PromptSet(
    name="own", source="tests", ask="Q: {questions}\nA: {form}", scales=(PLAIN.model_copy(update={"question": "Its kind?"}),)
)


def test_all_scales_are_asked_together_but_for_masks() -> None:
    """One question for what the image shows, one for what its mask does; a condition is told."""
    plain, mask = questions(PROMPTS, [PARTS, MASK, PLAIN], "together")

    assert plain.text == (
        'Q: 1. "kind": Which kind? One of: "a", "b \\"c\\"".\n'
        '2. "parts": Which parts? A list of any of: "x", "y"; an empty list where none fits. Only if "kind" is "a"; otherwise null.\n'
        'A: {"kind": "<one of the options>", "parts": ["<any of the options>"]}'
    )
    assert (plain.names, plain.shows_mask, mask.names, mask.shows_mask) == ("kind,parts", False, "mask", True)
    assert mask.text.endswith("the outline of its mask.")


def test_scales_asked_apart_come_after_what_they_depend_on() -> None:
    """One question a scale, the condition first."""
    assert [q.names for q in questions(PROMPTS, [PARTS, PLAIN], "apart")] == ["kind", "parts"]


def test_a_scale_without_words_takes_those_of_the_prompt_set() -> None:
    """A model.yaml may leave the question to the prompt set; without either its name stands for it."""
    silent = PLAIN.model_copy(update={"question": ""})
    other = Scale(name="size", level="interval")

    assert '"kind": Its kind? One of' in questions(PROMPTS, [silent], "together")[0].text
    assert '"size": size? A number.' in questions(PROMPTS, [other], "together")[0].text


def test_the_schema_takes_what_the_scales_take() -> None:
    """Right answers are valid against the JSON schema and wrong ones are not; null only under a condition."""
    (question,) = questions(PROMPTS, [PLAIN, PARTS, Scale(name="size", level="interval"), Scale(name="words", level="text")], "together")
    right = {"kind": "a", "parts": ["x"], "size": 1.5, "words": "w"}

    jsonschema.validate(right, question.schema)
    jsonschema.validate(right | {"parts": None}, question.schema)
    for wrong in ({"kind": "z"}, {"kind": None}, {"parts": ["z"]}, {"size": "1"}, {"words": 3}, {"more": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(right | wrong, question.schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"kind": "a"}, question.schema)


def test_a_repair_tells_the_error_and_the_form() -> None:
    """The form can be read back."""
    (question,) = questions(PROMPTS, [PLAIN], "together")
    text = question.repair("no")

    assert "cannot be used: no." in text
    assert json.loads(text.splitlines()[-1]) == question.form


def test_conditions_that_lead_nowhere_are_refused() -> None:
    """A scale that is not there, and a circle."""
    with pytest.raises(InputError, match="parts is asked only if kind=a"):
        questions(PROMPTS, [PARTS], "together")
    with pytest.raises(InputError, match="which is in a circle"):
        questions(PROMPTS, [PARTS, PLAIN.model_copy(update={"only_if": "parts=x"})], "together")


def test_conditions_are_met_by_answers() -> None:
    """By the category, by a member of a set, and not by a missing answer."""
    assert unmet(PLAIN, {}) == ""
    assert unmet(PARTS, {"kind": "a"}) == ""
    assert unmet(PARTS, {"kind": "b"}) == "asked only if kind=a"
    assert unmet(PARTS, {}) == "asked only if kind=a, and kind has no usable answer"
    assert unmet(PLAIN.model_copy(update={"only_if": "parts=y"}), {"parts": "x; y"}) == ""


def test_some_scales_are_for_readers_only() -> None:
    """Grids and descriptions are not shown to models; a set with a description is looked up."""
    assert "only readers" in unasked(Scale(name="g", level="nominal", shows="grid"), True)
    assert "only readers" in unasked(Scale(name="d", level="ordinal", shows="description"), True)
    assert "have none" in unasked(MASK, False)
    assert unasked(MASK, True) == unasked(PLAIN, False) == ""
    assert looked_up(Scale(name="c", level="set", describes="words"))
    assert not looked_up(PARTS)
