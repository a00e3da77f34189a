"""What components promise and hand over: quantities, scales, ratings; and the base of every row, which refuses what is not a number."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

Better = Literal["lower", "higher"]
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
    """One question put to raters. categories: every admissible answer in order, the unused ones too."""

    name: str
    level: Literal["nominal", "ordinal", "interval", "text"]
    categories: tuple[str, ...] = ()
    question: str = ""


class Rating(Record):
    """One rater's opinion of one item on one scale; `source` says where it was read (file and line)."""

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
