"""What components promise and hand over: quantities, scales, ratings; and the base of every row, which refuses what is not a number."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
Better = Literal["lower", "higher"]
Level = Literal["nominal", "ordinal", "interval", "text", "set"]
Family = Literal["distance", "coverage", "memorisation", "diversity", "artefact", "other"]


class Record(BaseModel):
    """A frozen row; unknown fields and non-finite numbers are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")
    table: ClassVar[str] = ""

    @model_validator(mode="after")
    def _finite(self) -> Self:
        for name, value in self:
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} is {value}; a number that is not known is a missing value with a reason")
        return self


class Valued(Record):
    """A row with a value and a status: exactly one of value and reason."""

    @model_validator(mode="after")
    def _value_or_reason(self) -> Self:
        value, status, reason = (getattr(self, name) for name in ("value", "status", "reason"))
        if status == "ok" and value is None:
            raise ValueError("status ok needs a value")
        if status != "ok" and (value is not None or not reason):
            raise ValueError(f"status {status} needs a reason and no value")
        return self


class Quantity(Record):
    """A number that a component promises.

    low, high: the quantity's range, None where open. proportion: a share of independent images, so its interval is the exact
    binomial one with the number of synthetic images as denominator. biased_in_n: its expected value depends on the number of
    images, so criteria judge it at the floor's n. fixed_train: its definition holds the training set fixed, so resampling does
    too. no_interval: why its value carries no interval, where resampling does not cover what makes it vary. doubtful: why the
    literature advises against it; a criterion may then rest on it for one failure mode only. family: which combination rules apply.
    """

    name: str
    unit: str = "1"
    better: Better
    low: float | None = None
    high: float | None = None
    proportion: bool = False
    biased_in_n: bool = False
    fixed_train: bool = False
    no_interval: str = ""
    doubtful: str = ""
    family: Family = "other"


class Scale(Record):
    """One question put to raters. categories: every admissible answer in order, the unused ones too.

    level: a `set` is answered by any number of the categories (`members` reads an answer, `as_answer` writes one). truth: what answers
    are right or wrong about: the `label` of the image, its `origin` (the categories are real and synthetic), or its `concepts` (of a
    set). positive: the category that is to be found, which AUC and sensitivity are about; on an ordinal or interval scale with a truth,
    the label that high answers speak for. alarm: answers that notice a fault; planted faults must raise them. shows: what is judged:
    the image, the image with its mask, a description beside it (`describes` names the text scale that a model answered), or which
    image of a `grid` is real. On a set with `describes`, language models are not asked: the concepts are looked up in that description.
    only_if: asked only where another scale got this answer, written `scale=answer`.
    """

    name: str
    level: Level
    categories: tuple[str, ...] = ()
    question: str = ""
    truth: Literal["", "label", "origin", "concepts"] = ""
    positive: str = ""
    alarm: tuple[str, ...] = ()
    shows: Literal["image", "mask", "description", "grid"] = "image"
    describes: str = ""
    only_if: str = ""


NONE = "none"
_BETWEEN = "; "


def as_answer(members: Iterable[str]) -> str:
    """Return the answer on a scale of level set that means these categories."""
    return _BETWEEN.join(members) or NONE


def members(answer: str) -> tuple[str, ...]:
    """Return the categories that an answer on a scale of level set means."""
    return () if answer == NONE else tuple(word.strip() for word in answer.split(_BETWEEN.strip()))


class Rating(Record):
    """One rater's opinion of one item on one scale; `source` says where it was read (file and line).

    occasion: a second reading of the same item by the same rater has another; repeats of a language model too. choices: of how many
    images one was picked, where the item is a grid. facts: what the file knows of the item: `truth`, `origin` (real, synthetic),
    `label`, `planted` (the fault that was planted in it), and whatever else items are to be told apart by, such as `modality`.
    """

    item: str
    rater: str
    scale: str
    value: float | str | None
    rater_kind: Literal["expert", "llm"] = "expert"
    status: str = "ok"
    reason: str = ""
    occasion: str = "1"
    seconds: float | None = None
    source: str = ""
    choices: int | None = None
    facts: dict[str, str] = {}


class ModelCall(Record):
    """One question put to a language model and what came back, word for word.

    item, scale (several joined by a comma where one question asked them all), repeat (from 1). prompt: everything that was sent, each
    image replaced by its SHA-256. reply: the text that came, empty where none did. tokens: of prompt and reply as the model counted
    them. status: ok, or what became of the reply (refused, unusable, failed), with a reason.
    """

    item: str
    scale: str
    repeat: int = 1
    model: str
    prompt: str
    reply: str = ""
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    seconds: float | None = None
    status: str = "ok"
    reason: str = ""
