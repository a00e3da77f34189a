"""What a reply says on the scales."""

from __future__ import annotations

from typing import Any

import pytest

from harness.api import Scale
from harness_plugins.llm_checks.answers import is_refusal, on_scale, read_reply

KIND = Scale(name="kind", level="nominal", categories=("Simple Cyst", "N/A"))
GRADE = Scale(name="grade", level="ordinal", categories=("1", "2", "3"))
SIZE = Scale(name="size", level="interval")
WORDS = Scale(name="words", level="text")
FREE = Scale(name="free", level="nominal")
PARTS = Scale(name="parts", level="set", categories=("cell size", "granules"))
ASKED = "1. Which kind?\n   Reply with this object:\n{}"


@pytest.mark.parametrize(
    ("scale", "given", "value"),
    [
        (KIND, " simple cyst ", "Simple Cyst"),
        (KIND, "cyst", None),
        (KIND, ["Simple Cyst"], None),
        (KIND, None, None),
        (KIND, True, None),
        (GRADE, 2, "2"),
        (GRADE, 2.0, "2"),
        (GRADE, 2.5, None),
        (GRADE, "3", "3"),
        (SIZE, "2.5", 2.5),
        (SIZE, 4, 4.0),
        (SIZE, "about 4", None),
        (SIZE, "inf", None),
        (SIZE, float("nan"), None),
        (SIZE, float("inf"), None),
        (SIZE, False, None),
        (WORDS, "  A mass. ", "A mass."),
        (WORDS, "  ", None),
        (FREE, "scar", "scar"),
        (PARTS, [], "none"),
        (PARTS, ["none"], "none"),
        (PARTS, "none", "none"),
        (PARTS, "None", "none"),
        (PARTS, ["Granules", "cell size", "granules"], "cell size; granules"),
        (PARTS, "granules; cell size", "cell size; granules"),
        (PARTS, "granules", "granules"),
        (PARTS, ["granules", "colour"], None),
        (PARTS, ["granules", 3], None),
        (PARTS, {"granules": True}, None),
    ],
)
def test_an_answer_is_written_as_the_scale_writes_it(scale: Scale, given: Any, value: Any) -> None:
    """Case and blanks do not matter, everything else does."""
    assert on_scale(given, scale) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"grade": "2"}', "2"),
        ('Certainly!\n```json\n{"grade": 2}\n```\nI hope {this} helps.', "2"),
        ('<think>{"grade": "1"}? rather 3</think>{"grade": "3"}', "3"),
        ('{"Grade": "2", "explanation": {"why": "x"}}', "2"),
        ('{"other": 1} {"grade": "1"}', "1"),
        ('{"grade": "1"}\n{"grade": "1"}', "1"),
        ('[{"grade": "1"}]', "1"),
        ('{{{"grade": "1"}', "1"),
        ('1. Which  kind? Reply with this object: {} {"grade": "1"}', "1"),
    ],
)
def test_the_object_is_found_in_what_surrounds_it(text: str, value: str) -> None:
    """Fences, thoughts, other objects and the repeated question do no harm."""
    reading = read_reply(text, [GRADE], {"grade": "<one of the options>"}, [ASKED])

    assert (dict(reading.values), dict(reading.errors), reading.refused) == ({"grade": value}, {}, "")


@pytest.mark.parametrize(
    ("text", "cut_off", "words"),
    [
        ("", False, "the reply is empty"),
        ("   ", True, "the reply is empty"),
        ("Grade two.", False, "holds no JSON object"),
        ('{"grade": "2"', False, "holds no JSON object"),
        ('{"grade": "2"', True, "cut off at max_tokens"),
        ("I'm sorry for the long", True, "cut off at max_tokens"),
        ('{"grade": NaN}', False, "holds no JSON object"),
        ('{"grade": "1", "Grade": "2"}', False, "a key twice"),
        ('{"grade": "1"} {"grade": "2"}', False, "2 different answers"),
        ("[" * 100_000, False, "holds no JSON object"),
        ('{"a":' * 100_000, False, "holds no JSON object"),
        (ASKED, False, "repeats the question"),
        ("<think>hm", False, "repeats the question and says nothing"),
        ('{"grade": "<one of the options>"}', False, "is not on the scale grade; it must be one of 1, 2, 3"),
        ('{"grade": null}', False, "null is not on the scale"),
    ],
)
def test_a_reply_without_an_answer_says_why(text: str, cut_off: bool, words: str) -> None:
    """Empty, torn, contradictory and repeated replies are told apart."""
    reading = read_reply(text, [GRADE], {"grade": "<one of the options>"}, [ASKED], cut_off=cut_off)

    assert dict(reading.values) == {}
    assert words in reading.said()
    assert reading.refused == ""


def test_a_missing_key_is_named_and_the_rest_counts() -> None:
    """One error per scale."""
    reading = read_reply('{"grade": 1}', [GRADE, SIZE], {}, [])

    assert (dict(reading.values), dict(reading.errors)) == ({"grade": "1"}, {"size": "the key size is missing"})


def test_null_is_allowed_under_a_condition() -> None:
    """A scale with only_if may be left open; whether that is right is not for the reader of one reply."""
    scale = PARTS.model_copy(update={"only_if": "kind=N/A"})

    assert dict(read_reply('{"parts": null, "kind": "N/A"}', [KIND, scale], {}, []).errors) == {}


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that.",
        "I\N{RIGHT SINGLE QUOTATION MARK}m sorry, I cannot interpret medical images.",
        "Sorry, no.",
        "I cannot provide a diagnosis.",
        "As an AI, I do not read images.",
        "Unfortunately, I am not able to help.",
        "I must decline.",
    ],
)
def test_refusals_are_recognised(text: str) -> None:
    """A plain text that begins as refusals begin is one, and inside a text scale too; beside an answer it is none."""
    assert is_refusal(text)
    assert read_reply(text, [GRADE], {}, []).refused
    assert read_reply(f'{{"words": "{text}"}}', [WORDS], {}, []).refused
    assert dict(read_reply(f'{text} {{"grade": 1}}', [GRADE], {}, []).values) == {"grade": "1"}


@pytest.mark.parametrize("text", ["I can see a mass.", "A sorry sight: the mass is large.", "No mass.", ""])
def test_descriptions_are_no_refusals(text: str) -> None:
    """Words of refusal within a sentence refuse nothing."""
    assert not is_refusal(text)
