"""What raters answer: shares, means, faults noticed, the real image found; and how right they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from ..records import ALL, CONSENSUS, EXPERTS, MAJORITY, MODEL, REAL, SYNTHETIC, ReliabilityRow
from ..statistics.agreement import Agreement
from ..statistics.intervals import Many
from ..statistics.votes import classification, dawid_skene, majority_vote
from .agreeing import compared
from .desk import Desk, as_share, mean_of_many
from .opinions import MOST_CATEGORIES, Opinions, both, picked

SCORES = ("precision", "f1", "macro_f1")
LEAST_CLASSES = 2


def shares(desk: Desk) -> Iterator[ReliabilityRow]:
    """Yield how often each category was answered, by rater and by all experts, on all items, parts, and parts within labels."""
    opinions = desk.opinions
    for part, items in _crossed(opinions).items():
        for raters, table in _of_each(opinions, items):
            for k in opinions.single:
                yield desk.share("share", raters, part, "share", _hits(table, k), items, opinions.left_out, category=opinions.categories[k])
    for first, second in compared(opinions.strata):
        for k in opinions.single:
            yield _share_difference(desk, k, opinions.categories[k], first, second)


def _share_difference(desk: Desk, k: int, category: str, first: str, second: str) -> ReliabilityRow:
    opinions = desk.opinions
    parts = (opinions.strata[first], opinions.strata[second])
    items = (*parts[0], *parts[1])
    side = np.r_[np.ones(len(parts[0])), np.zeros(len(parts[1]))]
    table = np.column_stack([_hits(opinions.table(opinions.experts, items), k), side])

    def statistic(rows: np.ndarray) -> Agreement:
        found = [as_share(rows[rows[:, -1] == s, :-1]) for s in (1, 0)]
        if found[0].value is None or found[1].value is None:
            return next(f for f in found if f.value is None)
        return Agreement(found[0].value - found[1].value)

    def quick(rows: np.ndarray) -> Many:
        mine = rows[:, -1] == 1
        of_first, of_second = (mean_of_many(rows[part, :-1]) for part in (mine, ~mine))
        return lambda times: np.asarray(of_first(times[:, mine]) - of_second(times[:, ~mine]))

    return desk.resampled("difference", EXPERTS, f"{first} - {second}", "share", statistic, table, items,
                          n_raters=len(opinions.experts), category=category, low=-1.0, quick=quick)  # fmt: skip


def _crossed(opinions: Opinions) -> dict[str, tuple[str, ...]]:
    """Return all items, their parts, and the parts of the two sides of a comparison within each label."""
    parts = opinions.parts()
    labels = [name for name in opinions.strata if name.startswith(("label=", "truth="))]
    sides = [name for pair in compared(opinions.strata) for name in pair if name not in labels]
    crossed = {f"{side}, {label}": both(opinions.strata[side], opinions.strata[label]) for label in labels for side in sides}
    return parts | {name: items for name, items in crossed.items() if items}


def _of_each(opinions: Opinions, items: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the experts together, each expert, and each model, with their codes (items, raters)."""
    yield EXPERTS, opinions.table(opinions.experts, items)
    for rater in opinions.experts:
        yield rater, opinions.table((rater,), items)
    for model in opinions.models:
        yield MODEL + model, opinions.table((model,), items)


def _hits(table: np.ndarray, k: int) -> np.ndarray:
    return np.where(table < 0, np.nan, (table == k).astype(np.float64))


def means(desk: Desk) -> Iterator[ReliabilityRow]:
    """Yield the mean answer by rater and of all experts; the categories of an ordinal scale count 1, 2, 3 ... in their order."""
    opinions = desk.opinions
    numbers = opinions.scale.level == "interval"
    said = "" if numbers else "mean of ranks, 1 for the first category"
    for part, items in opinions.parts().items():
        for raters, table in _of_each(opinions, items):
            values = table if numbers else np.where(table < 0, np.nan, table + 1.0)
            rows = np.flatnonzero(~np.isnan(values).all(axis=1))
            yield desk.resampled("mean", raters, part, "mean", as_share, values[rows], picked(items, rows),
                                 n_raters=values.shape[1], said=said, low=-np.inf, high=np.inf,
                                 quick=mean_of_many)  # fmt: skip


def attention(desk: Desk) -> Iterator[ReliabilityRow]:
    """Yield how many planted faults each expert noticed, and how often one was seen in a real image without."""
    opinions = desk.opinions
    if not opinions.scale.alarm or not opinions.planted:
        return
    clean = opinions.strata.get(REAL, ())
    alarms = [opinions.categories.index(word) for word in opinions.scale.alarm]
    for raters, names in ((EXPERTS, opinions.experts), *((r, (r,)) for r in opinions.experts)):
        for statistic, items in (("sensitivity", opinions.planted), ("false_alarm_rate", clean)):
            table = opinions.table(names, items)
            hits = np.where(table < 0, np.nan, np.isin(table, alarms).astype(np.float64))
            yield desk.share("attention", raters, "planted" if items is opinions.planted else REAL, statistic, hits, items)


def answerers(opinions: Opinions, items: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each expert, the majority, the Dawid-Skene consensus and each model, with one code per item, -1 where there is none."""
    q, table = len(opinions.categories), opinions.table(opinions.experts, opinions.items)
    place = [opinions.items.index(item) for item in items]
    for k, rater in enumerate(opinions.experts):
        yield rater, table[place, k]
    if len(opinions.experts) > 1:
        yield MAJORITY, majority_vote(table, q).codes[place]
        if q <= MOST_CATEGORIES:
            yield CONSENSUS, dawid_skene(table, q).codes[place]
    for model in opinions.models:
        yield MODEL + model, opinions.table((model,), items)[:, 0]


def correctness(desk: Desk) -> Iterator[ReliabilityRow]:
    """Yield how right each rater, the consensus of the experts and each model is: no answer, and a tie, count as wrong."""
    opinions = desk.opinions
    for part, named in opinions.parts().items():
        truth = opinions.truth(named)
        items = [item for item, code in zip(named, truth, strict=True) if code >= 0]
        truth = truth[truth >= 0]
        said = "" if len(items) == len(named) else f"{len(named) - len(items)} of {len(named)} items have no known truth"
        if not items:
            continue
        for raters, codes in answerers(opinions, items):
            asked = opinions.asked.get(raters.removeprefix(MODEL))
            rows = np.arange(len(items)) if asked is None else np.flatnonzero([item in asked for item in items])
            if len(rows):
                yield from _of_one(desk, part, raters, picked(items, rows), truth[rows], codes[rows], said)


def _of_one(desk: Desk, part: str, raters: str, items: Sequence[str], truth: np.ndarray, codes: np.ndarray,
            said: str) -> Iterator[ReliabilityRow]:  # fmt: skip
    opinions, silent = desk.opinions, int((codes < 0).sum())
    q = len(opinions.categories)
    notes = [said, f"{silent} of {len(codes)} items without an answer (or tied) count as wrong" if silent else ""]
    note = "; ".join(n for n in notes if n)
    n_raters = len(opinions.experts) if raters in (MAJORITY, CONSENSUS) else 1
    right = (codes == truth).astype(np.float64)[:, None]
    accuracy = desk.share("correctness", raters, part, "accuracy", right, items, note).model_copy(update={"n_raters": n_raters})
    # Recall weighted by how often each category is the truth is the accuracy.
    yield from (accuracy, accuracy.model_copy(update={"statistic": "recall"}))
    if len(np.unique(truth)) < LEAST_CLASSES:
        # Within one class every answer of it is precise.
        return
    table = np.column_stack([truth, codes])
    for name in SCORES:
        yield desk.resampled("correctness", raters, part, name, lambda t, name=name: _weighted(t, q, name), table, items,  # type: ignore[misc]
                             n_raters=n_raters, said=note, low=0.0, quick=partial(_weighted_of_many, q, name))  # fmt: skip
    if part in (ALL, REAL, SYNTHETIC):
        for k in opinions.single:
            category = opinions.categories[k]
            asked, given = np.flatnonzero(truth == k), np.flatnonzero(codes == k)
            for name, rows in (("recall", asked), ("precision", given)):
                if len(rows):
                    hits = (codes[rows] == truth[rows]).astype(np.float64)[:, None]
                    yield desk.share("correctness", raters, part, name, hits, picked(items, rows), note, category=category)


def _weighted(table: np.ndarray, categories: int, name: str) -> Agreement:
    """Return a score weighted by how often each category is the truth, or its mean over the categories that occur."""
    found = classification(table[:, 0], table[:, 1], categories)
    return Agreement(found.macro_truth_only.f1 if name == "macro_f1" else getattr(found.weighted, name))


def _weighted_of_many(categories: int, name: str, table: np.ndarray) -> Many:
    """Return what `_weighted` returns on many resamples at once, from the counts of each pair of truth and answer."""
    none = categories
    cell = table[:, 0] * (categories + 1) + np.where(table[:, 1] < 0, none, table[:, 1])
    pairs = (cell[:, None] == np.arange(categories * (categories + 1))).astype(np.float64)

    def on(times: np.ndarray) -> np.ndarray:
        counts = (times @ pairs).reshape(-1, categories, categories + 1)
        right = np.einsum("bkk->bk", counts[:, :, :categories])
        support, given = counts.sum(axis=2), counts[:, :, :categories].sum(axis=1)
        below = given if name == "precision" else given + support
        scores = np.divide((1 if name == "precision" else 2) * right, below, out=np.zeros_like(right), where=below > 0)
        weight = (support > 0).astype(np.float64) if name == "macro_f1" else support
        return np.asarray((scores * weight).sum(axis=1) / weight.sum(axis=1))

    return on
