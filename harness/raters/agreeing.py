"""How far experts agree: with each other on all items and on parts of them, pair by pair, with themselves; and how the parts differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import combinations

import numpy as np

from ..records import ALL, EXPERTS, REAL, SYNTHETIC, Analysis, ReliabilityRow
from ..statistics import agreement, interpretation
from ..statistics.agreement import BATTERIES, FROM_ZERO, Agreement, Coefficient
from ..statistics.icc import FORMS, icc
from ..statistics.intervals import Many
from ..statistics.resamples import QUICK
from .desk import SEVERAL, Desk, Quick, Statistic
from .opinions import Opinions, picked

# On parts of the items only those that readers compare; the whole battery is for all items.
CHIEF = ("percent_agreement", "fleiss_kappa", "mean_cohen_kappa", "krippendorff_alpha", "gwet_ac1")
CHIEF_NUMBERS = ("krippendorff_alpha", "icc_a_1")
_OF_TWO: dict[str, Coefficient] = {"percent_agreement": agreement.percent_agreement, "cohen_kappa": agreement.cohen_kappa}
_ON_TRUTH = "within one class of the truth kappa and alpha lose the variation that they need: read AC1 beside them"


def statistics(level: str) -> tuple[str, ...]:
    """Return the statistics of agreement that a scale of this level has."""
    return (*(("mean_jaccard",) if level == "set" else ()), *(() if level in ("text", "set") else BATTERIES[level]))


def among_experts(desk: Desk) -> Iterator[ReliabilityRow]:
    """Yield the battery on all items, the chief statistics on parts of them, the pairs of raters, and the differences of parts."""
    opinions = desk.opinions
    numbers = opinions.scale.level == "interval"
    battery, q = BATTERIES[opinions.scale.level], len(opinions.categories)
    chief = CHIEF_NUMBERS if numbers else CHIEF
    for part, items in opinions.parts().items():
        said = _ON_TRUTH if ("label=" in part or "truth=" in part) and opinions.scale.truth == "label" else ""
        table = opinions.table(opinions.experts, items)
        for name in battery if part == ALL else chief:
            if name in FORMS:
                yield _icc(desk, part, name, table)
                continue
            yield desk.resampled("agreement", EXPERTS, part, name, partial(_on, battery[name], q), table, items,
                                 n_raters=_raters(table), said=said, low=_least(name), quick=_quick(opinions, name))  # fmt: skip
    if not numbers:
        yield from _pairs(desk, q)
        yield from _by_category(desk, q)
    yield from _differences(desk, [name for name in chief if name in battery])


def _icc(desk: Desk, part: str, name: str, table: np.ndarray) -> ReliabilityRow:
    found = icc(table, name)
    test = "" if found.f is None else f"F({found.df1}, {found.df2}) = {found.f:.4g}; items that every rater rated"
    interval, why = (None, SEVERAL) if desk.opinions.clustered else (found.interval, found.note or found.agreement.reason)
    return desk.row("agreement", EXPERTS, part, name, found.agreement.value, interval=interval, n_items=found.n_items,
                    n_raters=found.n_raters, p=found.p, why=why if found.agreement.value is not None else found.agreement.reason,
                    status=found.agreement.status, scale_words=interpretation.printed(name, found.agreement.value),
                    note=test)  # fmt: skip


def _on(coefficient: Coefficient, categories: int, table: np.ndarray) -> Agreement:
    return coefficient(table, categories)


def _quick(opinions: Opinions, name: str) -> Quick | None:
    """Return the statistic on many resamples at once, where there is such a form of it."""
    known = QUICK[opinions.scale.level].get("mean_cohen_kappa" if name == "cohen_kappa" else name)
    return (lambda table: known(table, len(opinions.categories))) if known else None


def _least(name: str) -> float:
    return 0.0 if name in FROM_ZERO else -1.0


def _raters(table: np.ndarray) -> int:
    seen = ~np.isnan(table) if table.dtype.kind == "f" else table >= 0
    return int(seen.any(axis=0).sum())


def _pairs(desk: Desk, categories: int) -> Iterator[ReliabilityRow]:
    opinions = desk.opinions
    if len(opinions.experts) < 3:
        return
    for first, second in combinations(opinions.experts, 2):
        for name, statistic in _OF_TWO.items():
            yield _shared(desk, "agreement", f"{first} & {second}", name, partial(_on, statistic, categories),
                          opinions.table((first, second), opinions.items), opinions.items)  # fmt: skip


def _shared(desk: Desk, analysis: Analysis, raters: str, name: str, statistic: Statistic, table: np.ndarray, items: Sequence[str],
            part: str = ALL) -> ReliabilityRow:  # fmt: skip
    """Return a statistic of two columns over the items that have both."""
    rows = np.flatnonzero((table >= 0).all(axis=1))
    return desk.resampled(analysis, raters, part, name, statistic, table[rows], picked(items, rows),
                          n_raters=2, low=_least(name), quick=_quick(desk.opinions, name))  # fmt: skip


def _by_category(desk: Desk, categories: int) -> Iterator[ReliabilityRow]:
    """Yield Fleiss' kappa of each category against the rest."""
    opinions = desk.opinions
    table = opinions.table(opinions.experts, opinions.items)
    if categories < 3:
        return
    for k in opinions.single:
        one = np.where(table < 0, agreement.MISSING, table == k)
        yield desk.resampled("agreement", EXPERTS, ALL, "fleiss_kappa", partial(_on, agreement.fleiss_kappa, 2), one, opinions.items,
                             n_raters=_raters(table), category=opinions.categories[k], said=opinions.left_out,
                             quick=lambda codes: QUICK["nominal"]["fleiss_kappa"](codes, 2))  # fmt: skip


def _differences(desk: Desk, names: Sequence[str]) -> Iterator[ReliabilityRow]:
    """Yield how the parts of the items differ: synthetic from real, and the levels of each group that has two."""
    for first, second in compared(desk.opinions.strata):
        for name in names:
            yield _difference(desk, name, first, second)


def compared(strata: dict[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    """Yield which parts are compared, as (first, second) of `first - second`: no item is in both."""
    if REAL in strata and SYNTHETIC in strata:
        yield SYNTHETIC, REAL
    groups: dict[str, list[str]] = {}
    for name in strata:
        if "=" in name:
            groups.setdefault(name.split("=", 1)[0], []).append(name)
    yield from ((levels[1], levels[0]) for levels in groups.values() if len(levels) == 2)


def _difference(desk: Desk, name: str, first: str, second: str) -> ReliabilityRow:
    """Return the difference of a statistic on two parts, the items of both resampled together."""
    opinions = desk.opinions
    battery, q = BATTERIES[opinions.scale.level], len(opinions.categories)
    items = (*opinions.strata[first], *opinions.strata[second])
    table = opinions.table(opinions.experts, items)
    side = np.r_[np.ones(len(opinions.strata[first])), np.zeros(len(opinions.strata[second]))]

    def statistic(rows: np.ndarray) -> Agreement:
        mine = rows[:, -1] == 1
        values = [battery[name](_like(table, rows[side]), q) for side in (mine, ~mine)]
        found = [v.value for v in values]
        if found[0] is None or found[1] is None:
            return next(v for v in values if v.value is None)
        return Agreement(found[0] - found[1])

    def quick(rows: np.ndarray) -> Many | None:
        known = _quick(opinions, name)
        if known is None:
            return None
        mine = rows[:, -1] == 1
        of_first, of_second = (known(_like(table, rows[part])) for part in (mine, ~mine))
        if of_first is None or of_second is None:
            return None
        return lambda times: of_first(times[:, mine]) - of_second(times[:, ~mine])

    whole = np.column_stack([table, side])
    return desk.resampled(
        "difference",
        EXPERTS,
        f"{first} - {second}",
        name,
        statistic,
        whole,
        items,
        n_raters=_raters(table),
        low=-2.0,
        high=2.0,
        quick=quick,
    )


def _like(table: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the columns of the raters, as codes or numbers like the table that they were taken from."""
    return rows[:, :-1].astype(table.dtype)


def with_themselves(desk: Desk) -> Iterator[ReliabilityRow]:
    """Yield the agreement of each expert's first two readings of the items that were read again."""
    opinions = desk.opinions
    for rater in opinions.experts:
        items, codes = opinions.occasions(rater)
        if items:
            for name, statistic in _OF_TWO.items():
                yield _shared(desk, "intra_rater", rater, name, partial(_on, statistic, len(opinions.categories)), codes[:, :2], items)
