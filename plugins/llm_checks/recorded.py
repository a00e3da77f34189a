"""Answers that a language model gave before the audit."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.api import Context, ImageSet, InputError, LLMCheck, Problem, Rating, Scale


class Recorded(LLMCheck):
    """Replays the answers of a JSON Lines file, one object per question: item, scale, model, answer.

    `answer` is a category or a number, or null with `refused: true`; `prompt_sha256`, `tokens` and `seconds` may stand beside
    it. An image without an answer, an answer that is not on the scale, and a refusal each give a rating that says so. Every
    model of the file is one rater.
    """

    name = "recorded"
    version = "1"
    path: Path

    def inputs(self) -> tuple[Path, ...]:
        """Return the file."""
        return (self.path,)

    def rate(self, images: ImageSet, scales: tuple[Scale, ...], context: Context) -> Iterator[Rating]:
        """Yield one rating per model, image and scale, in that order."""
        answers = self._read()
        for model in sorted({model for model, _, _ in answers}):
            for item in images.ids:
                for scale in scales:
                    yield self._rating(item, scale, model, answers.get((model, item, scale.name)))

    def _rating(self, item: str, scale: Scale, model: str, found: tuple[int, _Answer] | None) -> Rating:
        base: dict[str, Any] = {"item": item, "rater": model, "scale": scale.name, "rater_kind": "llm", "value": None}
        if found is None:
            return Rating(**base, status="missing", reason="no recorded answer", source=self.path.name)
        line, answer = found
        base |= {"source": f"{self.path.name}:{line}", "seconds": answer.seconds}
        if answer.refused:
            return Rating(**base, status="refused", reason="the model refused to answer")
        if answer.answer is None:
            return Rating(**base, status="missing", reason="the recorded answer is empty")
        value = _on_scale(answer.answer, scale)
        if value is None:
            return Rating(**base, status="unusable", reason=f"{str(answer.answer)[:60]!r} is not on the scale {scale.name}")
        return Rating(**(base | {"value": value}))

    def _read(self) -> dict[tuple[str, str, str], tuple[int, _Answer]]:
        """Return (model, item, scale) -> (line, answer)."""
        try:
            lines = self.path.read_bytes().split(b"\n")
        except OSError as error:
            raise InputError(Problem(f"cannot be read: {error.strerror}", str(self.path), "check the option path of recorded")) from error
        answers: dict[tuple[str, str, str], tuple[int, _Answer]] = {}
        for number, text in enumerate(lines, start=1):
            if not text.strip():
                continue
            answer = self._parse(text, number)
            key = (answer.model, answer.item, answer.scale)
            if key in answers:
                what = f"{answer.model} answers on {answer.item}, {answer.scale} a second time, first in line {answers[key][0]}"
                raise InputError(Problem(what, f"{self.path}:{number}", "keep one of the two"))
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
            raise InputError(Problem(f"{field}: {first['msg']}", where, "fields: item, scale, model, answer, refused, seconds")) from error


class _Answer(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    item: str = Field(min_length=1)
    scale: str = Field(min_length=1)
    model: str = Field(min_length=1)
    answer: str | int | float | None = None
    refused: bool = False
    prompt_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    tokens: int | None = Field(None, ge=0)
    seconds: float | int | None = Field(None, ge=0)


def _on_scale(answer: str | float, scale: Scale) -> str | float | None:
    """Return the answer as the scale writes it, None where it is not on the scale; case and blanks around do not matter."""
    word = str(answer).strip()
    if scale.level == "interval":
        try:
            number = float(word)
        except ValueError:
            return None
        return number if math.isfinite(number) else None
    if not scale.categories:
        return word or None
    return next((category for category in scale.categories if category.casefold() == word.casefold()), None)
