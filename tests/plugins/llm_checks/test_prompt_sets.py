"""Prompt sets: those that are shipped can be used and pasted, and what is wrong in a file is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.api import InputError
from harness.readerspec import ScaleSpec
from harness_plugins.llm_checks.openai_compatible import OpenAICompatible
from harness_plugins.llm_checks.prompt_sets import found, load, shipped
from harness_plugins.llm_checks.questions import questions

GOOD = """\
name: small
source: nobody
ask: "{questions} {form}"
scales:
  - {name: kind, level: nominal, question: Which?, categories: [a, b]}
"""


def refusal(folder: Path, text: str) -> str:
    """Return what is said of a file."""
    path = folder / "own.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load(path)
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_sets_can_be_used_and_pasted(name: str) -> None:
    """Each is named as its file, has a source, makes questions, and its scales are scales of a model.yaml."""
    prompts = load(name)

    assert prompts.name == name
    assert "et al. 20" in prompts.source
    assert [ScaleSpec.model_validate(scale.model_dump()).name for scale in prompts.scales] == [scale.name for scale in prompts.scales]
    asked = questions(prompts, [s for s in prompts.scales if not s.describes], "together")
    assert all(scale.question in question.text or " ".join(scale.question.split()) in question.text
               for question in asked for scale in question.scales)  # fmt: skip
    assert not any("{" + mark + "}" in question.text for question in asked for mark in ("questions", "form"))


def test_the_shipped_sets_are_these() -> None:
    """Five sets, which a check offers to whoever prints them."""
    assert list(shipped()) == ["breast_ultrasound", "classification", "concepts_chest_xray", "description", "plausibility"]
    assert OpenAICompatible.prompt_sets() == shipped()


def test_the_thirteen_keys_of_breast_ultrasound() -> None:
    """Keys and numbers of options are those of the appendix of Alblwi et al. 2025."""
    scales = load("breast_ultrasound").scales

    assert [(scale.name, len(scale.categories)) for scale in scales] == [
        ("depth", 4), ("anatomical_region", 6), ("lesion_type", 10), ("lesion_shape", 4), ("orientation", 4), ("lesion_margins", 9),
        ("echogenicity", 7), ("calcifications", 3), ("vascularity", 3), ("posterior_features", 3), ("lesion_subtype", 11),
        ("next_step", 8), ("suspicion_of_malignancy", 6),
    ]  # fmt: skip


def test_the_seven_criteria_of_plausibility() -> None:
    """They are asked for only where the image is not plausible."""
    plausible, criteria = load("plausibility").scales

    assert (plausible.categories, len(criteria.categories), criteria.only_if) == (("yes", "no"), 7, "plausible=no")


def test_a_name_is_a_shipped_set_and_a_path_a_file(tmp_path: Path) -> None:
    """The folder of model.yaml, which paths are resolved against, does not hide a shipped name; an own file is taken as it is."""
    path = tmp_path / "own.yaml"
    path.write_text(GOOD, encoding="utf-8")

    assert found(tmp_path / "plausibility") == shipped()["plausibility"]
    assert load(path).scales[0].categories == ("a", "b")
    with pytest.raises(InputError, match=r"there is no prompt set plausible\n.*shipped: breast_ultrasound, "):
        load("plausible")
    with pytest.raises(InputError, match="there is no such file"):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("name: small", "nam: small"), "own.yaml:1: unknown key 'nam'"),
        (("name: small", "name: Small!"), "own.yaml:1: name: String should match"),
        (("source: nobody\n", ""), "source is missing"),
        (("{questions} ", ""), "ask must hold {questions} once"),
        (("{form}", "{form}{form}"), "ask must hold {form} once"),
        (("level: nominal", "level: nominl"), "own.yaml:5: scales.0.level"),
        (("question: Which?, ", ""), "the scale kind asks no question"),
        (("categories: [a, b]", "categories: [a, a]"), "lists a category twice"),
        (("nominal, question: Which?, categories: [a, b]", "ordinal, question: Which?"), "lists no categories"),
        (("categories: [a, b]", "categories: [1, 2]"), "own.yaml:5: scales.0.categories.0: Input should be a valid string"),
        (("categories: [a, b]", "only_if: other=a"), "asked only if other=a, which no scale"),
        (("categories: [a, b]", "describes: other"), "describes other, which is no text scale"),
        (("categories: [a, b]}", "categories: [a, b], gates: {}}"), "own.yaml:5: unknown key 'gates'"),
        (("name: small", "name: small\nname: small"), "own.yaml:2: the key 'name' occurs twice"),
        (
            ("name: small", "vocabulary: {concepts: {a: [x]}, negation: {}, uncertain: {}}\nname: small"),
            "vocabulary.uncertain.counts is missing",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    """Unknown keys, wrong values and scales that fit nothing."""
    assert words in refusal(tmp_path, GOOD.replace(*change))


def test_two_scales_of_one_name_are_refused(tmp_path: Path) -> None:
    """A reply has one key for each."""
    assert "two scales have one name" in refusal(tmp_path, GOOD + GOOD.splitlines()[-1] + "\n")


def test_a_set_that_is_looked_up_needs_a_vocabulary(tmp_path: Path) -> None:
    """Concepts of a description without phrases would never be found."""
    more = "  - {name: words, level: text, question: What?}\n  - {name: found, level: set, categories: [a], describes: words}\n"

    assert "there is no vocabulary" in refusal(tmp_path, GOOD + more)
