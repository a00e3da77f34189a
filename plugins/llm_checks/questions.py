"""What is asked: one question for several scales or one each, in words, as the form of the reply, and as its JSON schema."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.api import InputError, Problem, Scale, members

from .prompt_sets import FORM, QUESTIONS, PromptSet

_SECOND_PICTURE = "The second picture shows the same image with the outline of its mask."


@dataclass(frozen=True)
class Question:
    """One question about one image. form: what the reply is to fill in, scale -> placeholder. schema: JSON Schema of the reply."""

    scales: tuple[Scale, ...]
    text: str
    form: Mapping[str, Any]
    schema: Mapping[str, Any]
    shows_mask: bool

    @property
    def names(self) -> str:
        """The scales, joined by a comma."""
        return ",".join(scale.name for scale in self.scales)

    def repair(self, errors: str) -> str:
        """Return what a model is told whose reply could not be used."""
        form = json.dumps(self.form, ensure_ascii=False)
        return f"This reply cannot be used: {errors}. Reply with the JSON object, filled in and corrected, and nothing else:\n{form}"


def questions(prompts: PromptSet, scales: Sequence[Scale], ask: Literal["together", "apart"]) -> list[Question]:
    """Return the questions to ask, those first on whose answers others depend; scales that show a mask are asked apart from the rest."""
    ordered = sorted(scales, key=lambda scale: _depth(scale, scales))
    own = {scale.name: scale.question for scale in prompts.scales}
    worded = [s if s.question else s.model_copy(update={"question": own.get(s.name) or f"{s.name}?"}) for s in ordered]
    if ask == "apart":
        groups = [[scale] for scale in worded]
    else:
        groups = [[scale for scale in worded if (scale.shows == "mask") is masks] for masks in (False, True)]
    return [_question(prompts, group) for group in groups if group]


def unasked(scale: Scale, has_masks: bool) -> str:
    """Return why a language model is not asked on this scale; empty where it is, or where the answer is looked up in a description."""
    if scale.shows == "grid":
        return "the scale shows grids of images, which only readers are shown"
    if scale.shows == "description":
        return "the scale judges what a language model wrote, which only readers are asked"
    if scale.shows == "mask" and not has_masks:
        return "the scale shows the mask, and the images have none"
    return ""


def looked_up(scale: Scale) -> bool:
    """Whether the answer is looked up in the reply on a text scale and not asked for."""
    return scale.level == "set" and bool(scale.describes)


def unmet(scale: Scale, values: Mapping[str, str | float]) -> str:
    """Return why a scale with `only_if` was not to be answered, given the answers so far; empty where it was."""
    if not scale.only_if:
        return ""
    on, _, wanted = scale.only_if.partition("=")
    if on not in values:
        return f"asked only if {scale.only_if}, and {on} has no usable answer"
    answer = str(values[on])
    return "" if wanted in (answer, *members(answer)) else f"asked only if {scale.only_if}"


def _depth(scale: Scale, scales: Sequence[Scale]) -> int:
    """Return on how many scales, one after the other, it depends whether this one is asked."""
    known, depth, at = {s.name: s for s in scales}, 0, scale
    while at.only_if:
        on = at.only_if.partition("=")[0]
        if on not in known or depth > len(scales):
            what = f"the scale {scale.name} is asked only if {at.only_if}" + (", which is in a circle" if on in known else "")
            raise InputError(Problem(what, "ratings.scales", f"the scales are {', '.join(known)}"))
        depth, at = depth + 1, known[on]
    return depth


def _question(prompts: PromptSet, scales: Sequence[Scale]) -> Question:
    form = {scale.name: _placeholder(scale) for scale in scales}
    masks = scales[0].shows == "mask"
    asked = "\n".join(_numbered(scales))
    text = prompts.ask.replace(FORM, json.dumps(form, ensure_ascii=False)).replace(QUESTIONS, asked).strip()
    schema = {
        "type": "object",
        "properties": {scale.name: _schema(scale) for scale in scales},
        "required": [scale.name for scale in scales],
        "additionalProperties": False,
    }
    return Question(tuple(scales), f"{text}\n{_SECOND_PICTURE}" if masks else text, form, schema, masks)


def _numbered(scales: Iterable[Scale]) -> Iterator[str]:
    for number, scale in enumerate(scales, start=1):
        options = ", ".join(json.dumps(category, ensure_ascii=False) for category in scale.categories)
        how = {
            "nominal": f"One of: {options}." if options else "In one or two words.",
            "ordinal": f"One of, from the lowest to the highest: {options}.",
            "interval": "A number.",
            "text": "In words.",
            "set": f"A list of any of: {options}; an empty list where none fits.",
        }[scale.level]
        on, _, wanted = scale.only_if.partition("=")
        only = f' Only if "{on}" is "{wanted}"; otherwise null.' if scale.only_if else ""
        yield f'{number}. "{scale.name}": {" ".join(scale.question.split())} {how}{only}'


def _placeholder(scale: Scale) -> Any:
    words = {"interval": "<number>", "text": "<words>", "set": ["<any of the options>"]}
    return words.get(scale.level, "<one of the options>" if scale.categories else "<one or two words>")


def _schema(scale: Scale) -> dict[str, Any]:
    one: dict[str, Any] = {"type": "string", "enum": list(scale.categories)} if scale.categories else {"type": "string"}
    kinds: dict[str, dict[str, Any]] = {
        "interval": {"type": "number"},
        "text": {"type": "string"},
        "set": {"type": "array", "items": one},
    }
    found = kinds.get(scale.level, one)
    return {"anyOf": [found, {"type": "null"}]} if scale.only_if else found
