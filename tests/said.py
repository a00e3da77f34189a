"""Ratings by hand: who said what of which item."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from harness.quantities import Rating, Scale
from harness.raters import analyse
from harness.raters.rows import as_row
from harness.records import ConsensusRow, RatingRow, ReliabilityRow


def said(scale: Scale, rater: str, answers: Mapping[str, Any], kind: Literal["expert", "llm"] = "expert", **more: Any) -> list[RatingRow]:
    """Return the ratings of one rater by item; None is no answer."""
    fixed = {"rater": rater, "scale": scale.name, "rater_kind": kind}
    given, silent = {"status": "ok", "reason": ""} | more, {"status": "missing", "reason": "no answer"} | more
    ratings = [Rating(item=item, value=value, **fixed, **(silent if value is None else given)) for item, value in answers.items()]
    return [as_row(rating, scale.level, scale.categories) for rating in ratings]


def letters(words: str, **names: str) -> dict[str, str]:
    """Return answers by item i00, i01, ... from one letter each."""
    return {f"i{k:02d}": names[letter] for k, letter in enumerate(words) if letter in names}


def found(scale: Scale, rows: Iterable[RatingRow], facts: Mapping[str, Mapping[str, str]] | None = None, seed: int = 1) -> Found:
    """Analyse ratings."""
    return Found(list(analyse(scale, list(rows), facts or {}, seed)))


class Found:
    """The rows of an analysis, to be asked for."""

    def __init__(self, rows: list[ReliabilityRow | ConsensusRow]) -> None:
        self.rows = rows

    def all(self, **wanted: str) -> list[ReliabilityRow]:
        """Return the rows whose fields have these values."""
        return [r for r in self.rows if isinstance(r, ReliabilityRow) and all(getattr(r, name) == value for name, value in wanted.items())]

    def one(self, analysis: str, statistic: str, raters: str = "experts", items: str = "all", category: str = "") -> ReliabilityRow:
        """Return the only row that answers."""
        rows = self.all(analysis=analysis, statistic=statistic, raters=raters, items=items, category=category)
        assert len(rows) == 1, f"{len(rows)} rows answer"
        return rows[0]

    def value(self, *words: str, **more: str) -> float | None:
        """Return the value of the only row that answers."""
        return self.one(*words, **more).value

    @property
    def consensus(self) -> list[ConsensusRow]:
        """The rows about what the experts say together."""
        return [r for r in self.rows if isinstance(r, ConsensusRow)]
