"""What must hold of every image and its mask, in the user's words: how many synthetic images break it, beside real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from harness.api import Comparison, Context, FailureMode, ImageSet, InputError, Metric, NotComputable, Problem, Quantity

Region = Literal["foreground", "image"] | Annotated[int, Field(ge=0, le=255)]
Kind = Literal["area_share", "area_mm2", "volume_mm3", "components", "ratio", "contact", "inside", "intensity", "contrast"]

_NOT_JUDGED, _MET, _BROKEN = -1.0, 0.0, 1.0
_AXES = {"area_mm2": 2, "volume_mm3": 3}
_OF_INTENSITY = ("intensity", "contrast")
_OF_TWO = ("ratio", "contact", "inside", "contrast")


class Rule(BaseModel):
    """One number of an image and the range that it must lie in, ends included.

    area_share: share of the image that `region` covers. area_mm2, volume_mm3: its size in 2D, in 3D, by the spacing. components: its
    number of parts that touch nowhere, not even at corners. ratio: its size over that of `other`. contact: share of the pixels at its
    edge that have a pixel of `other` across a face; the edge of the image is an edge too. inside: share of it that lies within `other`
    with its holes filled, so that a core within a ring is inside the ring. intensity: its mean intensity in `channel`, in windows.
    contrast: that less the one of `other`. A region is a number of the mask, `foreground` (every number above 0) or `image`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    region: Region = Field("foreground", description="number of the mask, foreground (every number above 0) or image")
    other: Region | None = Field(None, description="the second region of ratio, contact, inside and contrast")
    at_least: float | None = Field(None, allow_inf_nan=False, description="smallest value that meets the rule")
    at_most: float | None = Field(None, allow_inf_nan=False, description="largest value that meets the rule")
    channel: int | None = Field(None, ge=0, description="channel of intensity and contrast, the first where not given")
    absent: Literal["not_judged", "broken"] = Field("not_judged", description="what an image is that lacks the region or the other")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("say at_least, at_most or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least {self.at_least:g} is above at_most {self.at_most:g}, so that nothing meets the rule")
        if (self.other is None) == (self.kind in _OF_TWO):
            raise ValueError(f"{self.kind} {'needs' if self.other is None else 'takes no'} other")
        if self.other == self.region:
            raise ValueError(f"region and other are both {self.other}")
        if self.channel is not None and self.kind not in _OF_INTENSITY:
            raise ValueError(f"{self.kind} takes no channel")
        return self

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Show what was said, without what was not."""
        return [(name, value) for name, value in super().__repr_args__() if name in self.model_fields_set]

    def judge(self, image: np.ndarray, mask: np.ndarray, spacing_mm: tuple[float, ...]) -> float:
        """Return 1 where the image (C, ...) with this mask breaks the rule, 0 where it meets it, -1 where it cannot be judged."""
        inside = _pixels(mask, self.region)
        other = None if self.other is None else _pixels(mask, self.other)
        if not inside.any() or (other is not None and not other.any()):
            return _BROKEN if self.absent == "broken" else _NOT_JUDGED
        value = self._value(image, inside, other, spacing_mm)
        low, high = self.at_least, self.at_most
        return _MET if (low is None or value >= low) and (high is None or value <= high) else _BROKEN

    def _value(self, image: np.ndarray, inside: np.ndarray, other: np.ndarray | None, spacing_mm: tuple[float, ...]) -> float:
        if self.kind in _OF_INTENSITY:
            grey = image[self.channel or 0].astype(np.float64)
            return float(grey[inside].mean() - (0.0 if other is None else grey[other].mean()))
        if other is not None:
            return _OF_BOTH[self.kind](inside, other)
        if self.kind == "components":
            return _components(inside)
        size = float(inside.sum())
        return size / inside.size if self.kind == "area_share" else size * float(np.prod(spacing_mm))


Rules = Annotated[
    dict[str, Rule],
    Field(min_length=1),
    # Written out, because the schema of model.yaml has no place for the definitions of a component.
    WithJsonSchema({"type": "object", "minProperties": 1, "additionalProperties": Rule.model_json_schema()}),
]


class Constraint(Metric):
    """How many synthetic images break rules that the user states of masks and images, such as sizes, parts, contact and intensity.

    `rules` maps a name of your choice to a rule: a kind of number, the regions that it is taken of, and the range that it must lie in,
    ends included, such as `{one lesion: {kind: components, at_least: 1, at_most: 1}, core in ring: {kind: inside, region: 1, other: 2,
    at_least: 0.9}}`. Kinds: area_share (of the image), area_mm2 (2D), volume_mm3 (3D), components (parts that touch nowhere, not even
    at corners), ratio (size over that of `other`), contact (share of the edge pixels with a pixel of `other` across a face), inside
    (share within `other`, its holes filled), intensity (mean in the window) and contrast (mean less that of `other`). A region is a
    number of the mask, `foreground` (every number above 0) or `image`. An image that lacks a region cannot be judged by a rule on
    it, unless the rule says `absent: broken`; how many were not judged is noted, rule by rule, with the rate of each rule.

    violations: share of all synthetic images that break some rule, from 0 to 1, lower is better; an image that no rule can judge
    breaks none. excess: that less the same share of the real test images, from -1 to 1, 0 for a perfect generator, whose images
    break the rules as often as real ones do. Blind to everything that no rule is about.
    """

    name = "constraint"
    version = "1"
    needs = frozenset({"masks"})
    quantities = (
        Quantity(name="violations", better="lower", low=0.0, high=1.0, proportion=True, family="artefact"),
        Quantity(name="excess", better="lower", low=-1.0, high=1.0, family="artefact"),
    )
    blind_to = frozenset({FailureMode.MEMORISATION})

    rules: Rules = Field({"one_component": Rule(kind="components", at_least=1, at_most=1)}, description="name of each rule and the rule")

    def describe(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return for each image and rule 0 where it is met, 1 where it is broken, -1 where it cannot be judged, (N, rules) float32."""
        if images.masks is None:
            raise NotComputable(f"the {images.origin} images have no masks")
        axes, channels = len(images.size_px), images.images.shape[1]
        for name, rule in self.rules.items():
            if _AXES.get(rule.kind, axes) != axes:
                fix = "volume_mm3" if axes == 3 else "area_mm2"
                raise InputError(Problem(f"rule {name!r}: {rule.kind} is not for images of {axes} axes", fix=f"use {fix}"))
            if (rule.channel or 0) >= channels:
                what = f"rule {name!r}: there is no channel {rule.channel} in images of {channels}"
                raise InputError(Problem(what, fix="channels are counted from 0"))
        rows = [
            [rule.judge(image, mask, images.spacing_mm) for rule in self.rules.values()]
            for image, mask in zip(images.images, images.masks, strict=True)
        ]
        return np.array(rows, np.float32).reshape(-1, len(self.rules))

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float | NotComputable]:
        """Return the share of synthetic images that break a rule and how far it is above that of real ones; note each rule's rate."""
        synthetic, real = comparison.features("synthetic"), comparison.features("test")
        rates = "; ".join(self._rates(synthetic, real))
        for name in ("violations", "excess"):
            context.note(name, rates)
        _require_judged(synthetic, "synthetic")
        share = float(np.mean((synthetic == _BROKEN).any(axis=1)))
        try:
            _require_judged(real, "test")
        except NotComputable as reason:
            return {"violations": share, "excess": reason}
        return {"violations": share, "excess": share - float(np.mean((real == _BROKEN).any(axis=1)))}

    def per_image(self, comparison: Comparison, context: Context) -> dict[str, np.ndarray]:
        """Return how many rules each synthetic image breaks."""
        return {"violations": (comparison.features("synthetic") == _BROKEN).sum(axis=1).astype(np.float64)}

    def _rates(self, synthetic: np.ndarray, real: np.ndarray) -> list[str]:
        """Return in words how often each rule is broken and how often it could not be judged."""
        said = []
        for k, name in enumerate(self.rules):
            sides = (_rate(synthetic[:, k], "synthetic"), _rate(real[:, k], "real test"))
            said.append(f"{name}: {', '.join(sides)}")
        return said


def _rate(column: np.ndarray, who: str) -> str:
    """Return in words how often one side breaks one rule."""
    judged, broken = int((column != _NOT_JUDGED).sum()), int((column == _BROKEN).sum())
    if not judged:
        return f"no {who} image could be judged"
    left = len(column) - judged
    return f"broken by {broken} of {judged} {who} images" + (f" ({left} more could not be judged)" if left else "")


def _require_judged(rows: np.ndarray, who: str) -> None:
    if not len(rows):
        raise NotComputable(f"there are no {who} images")
    if not (rows != _NOT_JUDGED).any():
        raise NotComputable(f"none of the {len(rows)} {who} images has the regions that the rules are about")


def _pixels(mask: np.ndarray, region: Region) -> np.ndarray:
    """Return the pixels of a region as booleans."""
    if region == "image":
        return np.ones(mask.shape, bool)
    return np.asarray(mask > 0 if region == "foreground" else mask == region)


def _components(inside: np.ndarray) -> float:
    from scipy import ndimage

    return float(ndimage.label(inside, structure=np.ones((3,) * inside.ndim))[1])


def _ratio(inside: np.ndarray, other: np.ndarray) -> float:
    return float(inside.sum()) / float(other.sum())


def _contact(inside: np.ndarray, other: np.ndarray) -> float:
    """Return the share of the region's edge pixels with a pixel of the other across a face."""
    from scipy import ndimage

    edge = inside & ~ndimage.binary_erosion(inside)
    return float((edge & ndimage.binary_dilation(other)).sum()) / float(edge.sum())


def _inside(inside: np.ndarray, other: np.ndarray) -> float:
    from scipy import ndimage

    return float((inside & ndimage.binary_fill_holes(other)).sum()) / float(inside.sum())


_OF_BOTH: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"ratio": _ratio, "contact": _contact, "inside": _inside}
