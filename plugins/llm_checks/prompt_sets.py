"""Prompt sets: how a language model is asked, on which scales, and which phrases of a description mean which concept."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.api import InputError, Problem, Scale, read_yaml

from .concepts import Vocabulary

_FOLDER = Path(__file__).parent / "prompts"
QUESTIONS, FORM = "{questions}", "{form}"


class PromptSet(BaseModel):
    """What a file of prompts holds.

    source: where the questions come from. system: what the model is told first. ask: what it is told with each image; {questions} stands
    for the numbered questions with their admissible answers, {form} for the JSON object to fill in. scales: as `ratings: scales` of a
    model.yaml has them, to be pasted there; their questions stand in where that file gives none. vocabulary: for scales whose answers
    are looked up in a description.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(pattern="^[a-z0-9][a-z0-9_]*$")
    source: str = Field(min_length=1)
    system: str = ""
    ask: str
    scales: tuple[Scale, ...] = Field(min_length=1)
    vocabulary: Vocabulary | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for mark in (QUESTIONS, FORM):
            if self.ask.count(mark) != 1:
                raise ValueError(f"ask must hold {mark} once")
        known = {scale.name: scale for scale in self.scales}
        if len(known) < len(self.scales):
            raise ValueError("two scales have one name")
        for scale in self.scales:
            _require_sound(scale, known, self.vocabulary)
        return self


def shipped() -> dict[str, Path]:
    """Return the prompt sets that come with the harness: name -> file."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.yaml"))}


def found(name_or_path: str | Path) -> Path:
    """Return the file of a shipped prompt set, or the path as it is; a bare name means a shipped one unless such a file exists."""
    path = Path(name_or_path)
    known = shipped()
    if path.suffix == "" and not path.is_file():
        if path.name not in known:
            raise InputError(
                Problem(f"there is no prompt set {path.name}", "prompts", f"shipped: {', '.join(known)}; or name a .yaml file")
            )
        return known[path.name]
    return path


def load(name_or_path: str | Path) -> PromptSet:
    """Return a shipped prompt set by its name, or that of a file; `InputError` names the file and the line of what is wrong."""
    prompts: PromptSet = read_yaml(found(name_or_path), PromptSet)
    return prompts


def _require_sound(scale: Scale, known: dict[str, Scale], vocabulary: Vocabulary | None) -> None:
    """Raise `ValueError` where a scale could not stand in a model.yaml, or refers to what is not there."""
    if not scale.question and scale.level != "set":
        raise ValueError(f"the scale {scale.name} asks no question")
    if scale.level in ("ordinal", "set") and not scale.categories:
        raise ValueError(f"the {scale.level} scale {scale.name} lists no categories")
    if len(set(scale.categories)) < len(scale.categories):
        raise ValueError(f"the scale {scale.name} lists a category twice")
    if scale.describes:
        described = known.get(scale.describes)
        if described is None or described.level != "text":
            raise ValueError(f"the scale {scale.name} describes {scale.describes}, which is no text scale of this set")
        if scale.level == "set" and vocabulary is None:
            raise ValueError(f"the scale {scale.name} is looked up in a description, and there is no vocabulary")
    if scale.only_if:
        on, _, wanted = scale.only_if.partition("=")
        if on not in known or wanted not in known[on].categories:
            raise ValueError(f"the scale {scale.name} is asked only if {scale.only_if}, which no scale of this set can answer")
