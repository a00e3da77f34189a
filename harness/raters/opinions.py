"""The ratings of one scale as tables: which raters, which items, what is known of the items; nothing is dropped without a count."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..quantities import Scale, members
from ..records import ALL, REAL, SYNTHETIC, RatingRow
from ..statistics.agreement import MISSING

# What is no property that items are told apart by: their owner, the right answer, what was planted in them, where a study drew them.
_NOT_STRATA = frozenset({"origin", "truth", "patient", "planted", "concepts", "case", "stratum"})
MOST_LEVELS = 12
# Numbers of single categories are for those that are answered most often; models of raters need far fewer still.
MOST_CATEGORIES = 40
Facts = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Opinions:
    """The ratings of one scale, unusable ones too. facts: of each item, such as origin, label, truth, patient, planted, group names."""

    scale: Scale
    rows: tuple[RatingRow, ...]
    facts: Facts

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """The declared categories; where none were declared, those that occur, in alphabetical order."""
        if self.scale.categories or self.scale.level in ("interval", "text"):
            return self.scale.categories
        return tuple(sorted({word(r) for r in self.rows if r.status == "ok"}))

    @cached_property
    def single(self) -> tuple[int, ...]:
        """The codes of the categories that single numbers are about: all, or those answered most often where there are very many."""
        if len(self.categories) <= MOST_CATEGORIES:
            return tuple(range(len(self.categories)))
        counts = Counter(
            name for r in self.rows if r.status == "ok" for name in (members(word(r)) if self.scale.level == "set" else (word(r),))
        )
        order = sorted(range(len(self.categories)), key=lambda k: (-counts[self.categories[k]], k))
        return tuple(sorted(order[:MOST_CATEGORIES]))

    @property
    def left_out(self) -> str:
        """Say which categories have no numbers of their own, or nothing."""
        n = len(self.categories)
        return "" if n <= MOST_CATEGORIES else f"the {MOST_CATEGORIES} categories answered most often, of {n}"

    @cached_property
    def items(self) -> tuple[str, ...]:
        """Every item that experts were asked about, or models where no expert was, but those in which a fault was planted."""
        kind = "expert" if any(r.rater_kind == "expert" for r in self.rows) else "llm"
        return tuple(sorted({r.item for r in self.rows if r.rater_kind == kind and not self.fact(r.item, "planted")}))

    @cached_property
    def planted(self) -> tuple[str, ...]:
        """The items in which a fault was planted."""
        return tuple(sorted({r.item for r in self.rows if self.fact(r.item, "planted")}))

    @cached_property
    def experts(self) -> tuple[str, ...]:
        """The experts who gave a usable rating, in order."""
        return tuple(sorted({r.rater for r in self.rows if r.rater_kind == "expert" and r.status == "ok"}, key=natural))

    @cached_property
    def models(self) -> tuple[str, ...]:
        """The language models of which something came back, a refusal too, in order; one that was never asked on this scale is none."""
        return tuple(sorted({r.rater for r in self.rows if r.rater_kind == "llm" and r.status != "missing"}, key=natural))

    def fact(self, item: str, name: str) -> str:
        """Return what is known of an item, empty where nothing is."""
        return self.facts.get(item, {}).get(name, "")

    @cached_property
    def asked(self) -> dict[str, frozenset[str]]:
        """The items that each rater was asked about, answered or not."""
        found: dict[str, set[str]] = {}
        for row in self.rows:
            found.setdefault(row.rater, set()).add(row.item)
        return {rater: frozenset(items) for rater, items in found.items()}

    def table(self, raters: Sequence[str], items: Sequence[str]) -> np.ndarray:
        """Return codes (items, raters), -1 = no usable answer; or float64 numbers with NaN on an interval scale. First occasions count."""
        return np.stack([self._column(rater, items) for rater in raters], axis=1) if raters else np.full((len(items), 0), MISSING)

    def _column(self, rater: str, items: Sequence[str]) -> np.ndarray:
        first = self.first.get(rater, {})
        found = [first.get(item) for item in items]
        if self.scale.level == "interval":
            return np.array([np.nan if r is None or r.value is None else r.value for r in found], dtype=np.float64)
        return np.array([MISSING if r is None else self.code(r) for r in found], dtype=np.int64)

    def code(self, row: RatingRow) -> int:
        """Return the code of a rating, -1 where it is not usable."""
        return self.categories.index(word(row)) if row.status == "ok" else MISSING

    @cached_property
    def clustered(self) -> bool:
        """Whether some patient has several items, which are then not independent."""
        owners = [self.fact(item, "patient") for item in self.items if self.fact(item, "patient")]
        return len(set(owners)) < len(owners)

    @cached_property
    def first(self) -> dict[str, dict[str, RatingRow]]:
        """The usable rating of the first occasion, by rater and item; of a model that gave no usable answer first, none."""
        found: dict[str, dict[str, RatingRow]] = {}
        counted = (r for r in self.rows if r.status == "ok" or r.rater_kind == "llm")
        for row in sorted(counted, key=lambda r: natural(r.occasion), reverse=True):
            found.setdefault(row.rater, {})[row.item] = row
        return {rater: {item: row for item, row in mine.items() if row.status == "ok"} for rater, mine in found.items()}

    def occasions(self, rater: str) -> tuple[list[str], np.ndarray]:
        """Return the items that a rater rated more than once and the codes (items, occasions) in the order of the occasions."""
        mine = [r for r in self.rows if r.rater == rater and r.status == "ok" and r.item in set(self.items)]
        counts = Counter(r.item for r in mine)
        items = sorted(item for item, n in counts.items() if n > 1)
        codes = np.full((len(items), max(counts.values(), default=0)), MISSING)
        for i, item in enumerate(items):
            rows = sorted((r for r in mine if r.item == item), key=lambda r: natural(r.occasion))
            codes[i, : len(rows)] = [self.code(r) for r in rows]
        return items, codes

    def sets(self, rater: str, items: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the answers on a set as (items, categories) bool, and which items were answered, (items,) bool."""
        first = self.first.get(rater, {})
        answered = np.array([item in first for item in items], dtype=bool)
        return np.array([self.set_of(word(first[i])) if i in first else self.set_of("none") for i in items]).reshape(
            len(items), len(self.categories)
        ), answered

    def set_of(self, answer: str) -> list[bool]:
        """Return which categories an answer on a set means."""
        named = set(members(answer))
        return [category in named for category in self.categories]

    def truth(self, items: Sequence[str]) -> np.ndarray:
        """Return the codes of the right answers, -1 where none is known."""
        name = {"label": "truth", "origin": "origin"}.get(self.scale.truth, "")
        place = {category: k for k, category in enumerate(self.categories)}
        return np.array([place.get(self.fact(item, name), MISSING) if name else MISSING for item in items], dtype=np.int64)

    def units(self, items: Sequence[str]) -> np.ndarray:
        """Return (items,) int64: whose item it is, a patient or a case that was read in several ways; else each is a unit of its own."""
        seen: dict[str, int] = {}
        owners = (self.fact(item, "patient") or self.fact(item, "case") or f"item {item}" for item in items)
        return np.array([seen.setdefault(owner, len(seen)) for owner in owners], dtype=np.int64)

    @cached_property
    def strata(self) -> dict[str, tuple[str, ...]]:
        """The parts of the items by name: real, synthetic, label=1, GROUP=level; a group of one level is none."""
        parts: dict[str, list[str]] = {}
        for item in self.items:
            for name, level in sorted(self.facts.get(item, {}).items()):
                if name == "origin" and level:
                    parts.setdefault(level, []).append(item)
                elif name not in _NOT_STRATA and level and name in self._grouping:
                    parts.setdefault(f"{name}={level}", []).append(item)
        origins = {name: tuple(parts.pop(name)) for name in (REAL, SYNTHETIC) if name in parts}
        return origins | {name: tuple(parts[name]) for name in sorted(parts, key=natural)}

    @cached_property
    def _grouping(self) -> frozenset[str]:
        """The facts with few levels, by which items are told apart."""
        levels: dict[str, set[str]] = {}
        for item in self.items:
            for name, level in self.facts.get(item, {}).items():
                levels.setdefault(name, set()).add(level)
        return frozenset(name for name, found in levels.items() if 1 < len(found - {""}) <= MOST_LEVELS)

    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return all items, each part of them by name, and the synthetic items of each label and group: `synthetic, label=1`."""
        synthetic = self.strata.get(SYNTHETIC, ())
        groups = {name: items for name, items in self.strata.items() if name not in (REAL, SYNTHETIC)}
        crossed = {f"{SYNTHETIC}, {name}": both(items, synthetic) for name, items in groups.items()}
        return {ALL: self.items, **self.strata, **{name: items for name, items in crossed.items() if items}}


def word(row: RatingRow) -> str:
    """Return the answer of a rating in words."""
    if row.text is not None:
        return row.text
    return "" if row.value is None else number_word(row.value)


def number_word(value: float) -> str:
    """Return a number as categories are written: 3, not 3.0."""
    return str(int(value)) if value == int(value) else repr(value)


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Return what sorts names so that numbers within them count as numbers: R2 before R10."""
    found = (part for part in re.split(r"([0-9]+)", name) if part)
    return [(False, int(part), "") if part.isdecimal() else (True, 0, part) for part in found]


def both(first: Iterable[str], second: Iterable[str]) -> tuple[str, ...]:
    """Return the items of the first part that are in the second too."""
    inside = set(second)
    return tuple(item for item in first if item in inside)


def picked(items: Sequence[str], rows: np.ndarray) -> list[str]:
    """Return the items of these rows."""
    return [items[int(k)] for k in rows]
