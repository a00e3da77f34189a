"""What `model.yaml` says of raters: the scales, what opens the gate to evidence, and the study that readers take part in."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from .quantities import NONE, Level, Name, Record, Scale

Agreeing = Annotated[float, Field(ge=-1.0, le=1.0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
ORIGINS = ("real", "synthetic")


class Gates(Record):
    """What raters must show before their answers on a scale support anything. Every bound is on the one-sided 95 % lower limit.

    experts: statistic of agreement among experts and its least value, such as `{krippendorff_alpha: 0.667}`. attention: least share of
    planted faults that experts noticed, on any scale with alarms; on a scale that shows grids it is the only gate. models: statistic of
    agreement of a language model with the majority of the experts, such as `{cohen_kappa: 0.6}`. because: why these.
    """

    experts: dict[str, Agreeing] = Field(default_factory=dict)
    attention: Fraction | None = None
    models: dict[str, Agreeing] = Field(default_factory=dict)
    because: str = ""

    @model_validator(mode="after")
    def _reasoned(self) -> Self:
        if (self.experts or self.models or self.attention is not None) and not self.because:
            raise ValueError("gates: say because: why raters who reach these values are good enough")
        if self.models and not self.experts:
            raise ValueError("gates: a model is held against experts, so models need experts: how far these must agree first")
        return self


class ScaleSpec(Scale):
    """A scale; a bare name is a nominal scale whose categories are those of the ratings. An ordinal one declares them in order."""

    level: Level = "nominal"
    gates: Gates = Gates()

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.level in ("ordinal", "set") and not self.categories:
            what = "has no order: list its categories from the lowest to the highest" if self.level == "ordinal" else "lists no categories"
            raise ValueError(f"the {self.level} scale {self.name} {what}")
        if len(set(self.categories)) < len(self.categories):
            raise ValueError(f"the scale {self.name} lists a category twice")
        if self.level == "set" and any(word == NONE or ";" in word for word in self.categories):
            raise ValueError(f"the set {self.name}: {NONE} means no category, and a semicolon stands between categories")
        if (self.truth == "concepts") != (self.truth != "" and self.level == "set"):
            raise ValueError(f"the scale {self.name}: concepts are the truth of a set, and of nothing else")
        if self.truth == "origin" and set(self.categories) != set(ORIGINS):
            raise ValueError(f"the scale {self.name} is about the origin of images: its categories are {', '.join(ORIGINS)}")
        if self.shows == "grid" and self.truth != "origin":
            raise ValueError(f"the scale {self.name} shows a grid, of which the real image is to be found: truth: origin")
        if self.shows == "description" and not self.describes:
            raise ValueError(f"the scale {self.name} shows a description: describes names the text scale that holds it")
        named = (*self.alarm, *((self.positive,) if self.level in ("nominal", "set") and self.positive else ()))
        unknown = [word for word in named if self.categories and word not in self.categories]
        if unknown:
            raise ValueError(f"the scale {self.name}: {unknown[0]!r} is not among its categories")
        return self


class StudySpec(Record):
    """A reader study that `harness study build` makes from the images of the audit.

    readers: names for the pages; use pseudonyms. real, synthetic: images of each origin, drawn evenly over `strata` (label, or names of
    groups), one per patient as long as there are patients left. repeats: share of the images that each reader sees a second time.
    planted: attention checks: real images with a defect at full severity, so many of each perturbation. grids: how many grids of
    `grid_of` images, one of them real, for scales that show grids. questions: names of scales, all by default. because: why so many.
    """

    readers: tuple[Name, ...] = Field(min_length=1)
    real: int = Field(0, ge=0)
    synthetic: int = Field(0, ge=0)
    strata: tuple[str, ...] = ("label",)
    repeats: Fraction = 0.0
    planted: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    grids: int = Field(0, ge=0)
    grid_of: int = Field(4, ge=2, le=12)
    questions: tuple[str, ...] = ()
    instructions: str = ""
    because: str = Field(min_length=1)

    @model_validator(mode="after")
    def _something_to_see(self) -> Self:
        if self.real + self.synthetic + self.grids == 0:
            raise ValueError("a study shows images: give real, synthetic or grids")
        if len(set(self.readers)) < len(self.readers):
            raise ValueError("two readers have one name")
        return self
