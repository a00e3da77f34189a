"""What criteria may ask of raters: `ratings.SCALE.STATISTIC` and `llm.SCALE.STATISTIC`, with `.CATEGORY` for the share of an answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..quantities import Scale
from ..records import ALL, EXPERTS, MAJORITY, MODEL, REAL, SYNTHETIC, Analysis, ReliabilityRow
from . import agreeing, models, sets

# What raters say of images supports a claim only after they were shown to be reliable; these rows show it.
SHOWING: frozenset[Analysis] = frozenset({"agreement", "attention", "model", "intra_rater"})
_RIGHT = ("accuracy", "precision", "recall", "f1", "macro_f1")


@dataclass(frozen=True)
class Asked:
    """A quantity in its parts, and the rows that answer it. experts: whether experts or language models."""

    experts: bool
    scale: str
    statistic: str
    category: str

    @property
    def analysis(self) -> Analysis:
        """The analysis whose rows answer."""
        name = self.statistic
        if name in ("share", "mean"):
            return "share" if name == "share" else "mean"
        if name in _RIGHT:
            return "correctness"
        if name in sets.SET_STATISTICS:
            return "concepts"
        if not self.experts:
            return "model"
        if name in ("sensitivity", "false_alarm_rate"):
            return "attention"
        if name in ("auc_difference", "accuracy_difference"):
            return "mrmc"
        return "identification" if name == "hit_rate" else "agreement"

    @property
    def showing(self) -> bool:
        """Whether it says how reliable raters are, rather than what they say of images."""
        return self.analysis in SHOWING

    def usual(self, scale: Scale | None) -> list[str]:
        """Return the items that it is about where a criterion names none: an opinion of images is one of synthetic images."""
        if self.analysis == "mrmc":
            return [f"{SYNTHETIC} - {REAL}"]
        if self.analysis == "attention":
            return ["planted"] if self.statistic == "sensitivity" else [REAL]
        # Whether an image is real can only be right or wrong on real and synthetic ones together.
        both = self.analysis == "correctness" and scale is not None and scale.truth == "origin"
        return [ALL] if self.showing or both or self.analysis == "identification" else [SYNTHETIC]

    def answers(self, row: ReliabilityRow) -> bool:
        """Return whether a row answers, whatever its items."""
        same = (row.analysis, row.scale, row.statistic, row.category) == (self.analysis, self.scale, self.statistic, self.category)
        if not self.experts:
            return same and row.raters.startswith(MODEL)
        return same and row.raters == (MAJORITY if self.analysis in ("correctness", "concepts") else EXPERTS)


def asked(quantity: str, scales: Iterable[str] = ()) -> Asked:
    """Take a quantity apart. scales: the names of the scales, which may hold dots."""
    source, _, rest = quantity.partition(".")
    known = max((name for name in scales if rest.startswith(f"{name}.")), key=len, default="")
    if known:
        statistic, _, category = rest.removeprefix(f"{known}.").partition(".")
        return Asked(source == "ratings", known, statistic, category)
    scale, _, statistic = rest.rpartition(".")
    return Asked(source == "ratings", scale, statistic, "")


def offered(scale: Scale, source: str) -> tuple[str, ...]:
    """Return the statistics that criteria may ask of a scale, by experts (source ratings) or by language models (llm)."""
    experts, words = source == "ratings", scale.level in ("nominal", "ordinal")
    if scale.level == "text":
        return ()
    if scale.shows == "grid":
        return ("hit_rate",) if experts else ()
    found = (
        list(agreeing.statistics(scale.level))
        if experts
        else list(models.STATISTICS if words else (models.OF_NUMBERS,) if scale.level == "interval" else ())
    )
    found += ["self_consistency"] if words and not experts else []
    found += ["mean"] if scale.level in ("ordinal", "interval") else []
    found += _RIGHT if scale.truth in ("label", "origin") and words else ()
    found += [f"share.{category}" for category in scale.categories] if words else []
    found += ["sensitivity", "false_alarm_rate"] if scale.alarm and experts else []
    found += ["auc_difference"] if scale.positive and scale.level != "nominal" and experts else []
    found += ["accuracy_difference"] if scale.truth == "label" and words and experts else []
    found += sets.SET_STATISTICS if scale.level == "set" and scale.truth == "concepts" else ()
    return tuple(found)


def gates(scale: Scale, source: str) -> tuple[str, ...]:
    """Return the statistics that a gate of a scale may name: those that every part of the items has."""
    if scale.level == "text" or scale.shows == "grid":
        return ()
    if source == "ratings":
        return {"set": ("mean_jaccard",), "interval": agreeing.CHIEF_NUMBERS}.get(scale.level, agreeing.CHIEF)
    return {"set": ("jaccard",), "interval": (models.OF_NUMBERS,)}.get(scale.level, models.STATISTICS)
