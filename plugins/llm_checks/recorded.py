"""Answers that a language model gave before the audit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.api import Context, ImageSet, InputError, LLMCheck, ModelCall, Problem, Rating, Scale

from . import concepts
from .answers import on_scale
from .prompt_sets import found, load, shipped
from .questions import looked_up

_Key = tuple[str, str, str, str]


class Recorded(LLMCheck):
    """Replays the answers of a JSON Lines file, one object per question: item, scale, model, answer.

    `answer` is a category, a number, a text, or the categories of a set joined by semicolons; or null with `refused: true`, or with
    `status` (missing, unusable, refused, failed) and `reason`. `repeat` tells several answers to one question apart; they become
    occasions. `prompt_sha256`, `tokens`, `seconds` and `audit_id` may stand beside it. That is what
    `harness sql "from recorded_answers" --format jsonl` writes of an audit. An image without an answer, an answer that is not on the
    scale, and a refusal each give a rating that says so. Every model of the file is one rater. prompts: a prompt set with a vocabulary,
    with which sets are looked up anew in the recorded descriptions.
    """

    name = "recorded"
    version = "2"
    path: Path
    prompts: Path | None = Field(None, description="prompt set whose vocabulary reads concepts from descriptions")

    @classmethod
    def prompt_sets(cls) -> dict[str, Path]:
        """Return the prompt sets that come with the harness: name -> file."""
        return shipped()

    def inputs(self) -> tuple[Path, ...]:
        """Return the file, and that of the prompt set."""
        return (self.path,) if self.prompts is None else (self.path, found(self.prompts))

    def rate(self, images: ImageSet, scales: tuple[Scale, ...], context: Context) -> Iterator[Rating]:
        """Yield one rating per model, image, occasion and scale, in that order. `InputError` where the file cannot be read."""
        answers = self._read()
        vocabulary = None if self.prompts is None else load(self.prompts).vocabulary
        if self.prompts is not None:
            concepts.require_known((scale for scale in scales if looked_up(scale)), vocabulary, str(self.prompts))
        occasions: dict[str, set[str]] = {}
        recorded = {(model, scale) for model, _, scale, _ in answers}
        for model, _, _, occasion in answers:
            occasions.setdefault(model, set()).add(occasion)
        for model in sorted(occasions):
            for item in images.ids:
                for repeat, occasion in enumerate(sorted(occasions[model], key=_natural), start=1):
                    known = {scale.name: answers.get((model, item, scale.name, occasion)) for scale in scales}
                    for scale in scales:
                        # A scale on which the file holds no answer of this model at all was never put to it.
                        if not {(model, scale.name), (model, scale.describes)} & recorded:
                            continue
                        if (line := known[scale.name]) is not None:
                            context.asked(line[1].call(repeat))
                        anew = vocabulary is not None and looked_up(scale)
                        rating = self._rating(item, scale, model, occasion, known.get(scale.describes) if anew else known[scale.name], anew)
                        if anew and vocabulary is not None and rating.status == "ok":
                            rating = rating.model_copy(update={"value": concepts.answer(str(rating.value), scale, vocabulary)})
                        yield rating

    def _rating(self, item: str, scale: Scale, model: str, occasion: str, given: tuple[int, _Answer] | None, anew: bool) -> Rating:
        """Return the rating that a line means; anew: the line holds the description in which the answer will be looked up."""
        base: dict[str, Any] = {"item": item, "rater": model, "scale": scale.name, "rater_kind": "llm", "occasion": occasion, "value": None}
        if given is None:
            reason = f"no recorded description on {scale.describes}" if anew else "no recorded answer"
            return Rating(**base, status="missing", reason=reason, source=self.path.name)
        line, answer = given
        base |= {"source": f"{self.path.name}:{line}", "seconds": answer.seconds}
        if answer.refused or answer.status == "refused":
            return Rating(**base, status="refused", reason=answer.reason or "the model refused to answer")
        if answer.status not in (None, "ok"):
            return Rating(**base, status=answer.status, reason=answer.reason or f"recorded as {answer.status}")
        if answer.answer is None:
            return Rating(**base, status="missing", reason=answer.reason or "the recorded answer is empty")
        value = on_scale(answer.answer, Scale(name=scale.describes, level="text") if anew else scale)
        if value is None:
            return Rating(**base, status="unusable", reason=f"{str(answer.answer)[:60]!r} is not on the scale {scale.name}")
        return Rating(**(base | {"value": value}))

    def _read(self) -> dict[_Key, tuple[int, _Answer]]:
        """Return (model, item, scale, occasion) -> (line, answer)."""
        try:
            lines = self.path.read_bytes().split(b"\n")
        except OSError as error:
            raise InputError(Problem(f"cannot be read: {error.strerror}", str(self.path), "check the option path of recorded")) from error
        answers: dict[_Key, tuple[int, _Answer]] = {}
        for number, text in enumerate(lines, start=1):
            if not text.strip():
                continue
            answer = self._parse(text, number)
            key = (answer.model, answer.item, answer.scale, str(answer.repeat))
            if key in answers:
                what = f"{answer.model} answers on {answer.item}, {answer.scale} a second time, first in line {answers[key][0]}"
                raise InputError(Problem(what, f"{self.path}:{number}", "keep one of the two, or tell them apart by repeat"))
            answers[key] = number, answer
        if not answers:
            raise InputError(Problem("the file holds no answer", str(self.path), "one JSON object per line: item, scale, model, answer"))
        return answers

    def _parse(self, text: bytes, number: int) -> _Answer:
        where = f"{self.path}:{number}"
        try:
            found = json.loads(text.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise InputError(Problem(f"not UTF-8: {error.reason}", where, "save the file as UTF-8")) from error
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(Problem(f"not JSON: {error}", where, "one JSON object per line: item, scale, model, answer")) from error
        try:
            return _Answer.model_validate(found)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "line"
            raise InputError(Problem(f"{field}: {first['msg']}", where, f"fields: {', '.join(_Answer.model_fields)}")) from error


class _Answer(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    item: str = Field(min_length=1)
    scale: str = Field(min_length=1)
    model: str = Field(min_length=1)
    answer: str | int | float | list[str] | None = None
    repeat: int | str = 1
    refused: bool | None = False
    status: Literal["ok", "missing", "unusable", "refused", "failed"] | None = None
    reason: str | None = None
    prompt_sha256: str | None = Field(None, pattern="^([0-9a-f]{64})?$")
    tokens: int | None = Field(None, ge=0)
    seconds: float | int | None = Field(None, ge=0)
    audit_id: str | None = None

    def call(self, repeat: int) -> ModelCall:
        """Return the recorded question and answer; of the prompt only the digest is known, and of the reply only the answer."""
        status = "refused" if self.refused else self.status or "ok"
        prompt = f"sha256:{self.prompt_sha256}" if self.prompt_sha256 else ""
        reply = "" if self.answer is None else self.answer if isinstance(self.answer, str) else json.dumps(self.answer)
        return ModelCall(item=self.item, scale=self.scale, repeat=repeat, model=self.model, prompt=prompt, reply=reply,
                         reply_tokens=self.tokens, seconds=self.seconds, status=status, reason=self.reason or "")  # fmt: skip


def _natural(occasion: str) -> list[tuple[bool, int, str]]:
    """Return what occasions are ordered by: numbers within a name count as numbers."""
    words = (word for word in re.split(r"([0-9]+)", occasion) if word)
    return [(False, int(word), "") if word.isdecimal() else (True, 0, word) for word in words]
