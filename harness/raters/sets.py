"""Answers that are sets of concepts: against the truth, among experts, of models against experts (set-based, per concept)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from ..records import ALL, EXPERTS, MAJORITY, MODEL, Analysis, ReliabilityRow
from ..statistics import agreement
from ..statistics.agreement import Agreement
from ..statistics.concepts import MEASURES, Estimate, concept_agreement, concept_means, per_concept
from ..statistics.intervals import Many
from ..statistics.resamples import QUICK
from .desk import Desk, mean_of_many
from .opinions import Opinions, picked

SET_STATISTICS = MEASURES


def against_truth(desk: Desk) -> Iterator[ReliabilityRow]:
    """Yield how far the sets of each rater and model are from those of the images, image by image, and concept by concept."""
    opinions = desk.opinions
    for part, named in opinions.parts().items():
        items = [item for item in named if opinions.fact(item, "concepts")]
        if not items:
            continue
        truth = np.array([opinions.set_of(opinions.fact(item, "concepts")) for item in items])
        for raters, found, answered in _answers(opinions, items):
            asked = opinions.asked.get(raters.removeprefix(MODEL))
            rows = np.flatnonzero(answered if asked is None else [item in asked for item in items])
            if len(rows):
                yield from compared_sets(desk, raters, part, truth[rows], found[rows], answered[rows], picked(items, rows))


def _answers(opinions: Opinions, items: Sequence[str]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for rater in opinions.experts:
        yield rater, *opinions.sets(rater, items)
    if len(opinions.experts) > 1:
        yield MAJORITY, *majority(opinions, items)
    for model in opinions.models:
        yield MODEL + model, *opinions.sets(model, items)


def majority(opinions: Opinions, items: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the concepts that more than half of the experts who answered named, (items, categories) bool, and which items have any."""
    sets = [opinions.sets(rater, items) for rater in opinions.experts]
    votes = np.sum([found & answered[:, None] for found, answered in sets], axis=0)
    voters = np.sum([answered for _, answered in sets], axis=0)
    return votes > voters[:, None] / 2, voters > 0


def compared_sets(desk: Desk, raters: str, part: str, truth: np.ndarray, found: np.ndarray, answered: np.ndarray, items: Sequence[str],
                  *, against: str = "") -> Iterator[ReliabilityRow]:  # fmt: skip
    """Yield the set statistics of found against truth, both (items, concepts) bool, and on all items those of each concept.

    answered: (items,) bool; what was asked and not answered counts as wrong in every concept. against: what stands for the truth, where
    it is not the concepts of the images.
    """
    analysis: Analysis = "model" if against else "concepts"
    silent = int((~answered).sum())
    found = np.where(answered[:, None], found, ~truth)
    said = f"{silent} of {len(items)} items were not answered, which counts as wrong" if silent else ""
    whole, units = concept_agreement(truth, found), desk.opinions.units(items)
    empty = f"{int(whole.no_truth.sum())} items with nothing to find, {int(whole.none_found.sum())} with nothing found"
    for name, estimate in concept_means(truth, found, units).items():
        spread = f"SD over items {float(getattr(whole, name).std()):.3f}; {empty}"
        note = "; ".join(n for n in (against, said, spread) if n)
        yield _row(desk, analysis, raters, part, name, estimate, note)
    if part != ALL:
        return
    single = list(desk.opinions.single)
    note = "; ".join(n for n in (against, desk.opinions.left_out) if n)
    for k, estimates in zip(single, per_concept(truth[:, single], found[:, single], units), strict=True):
        for name, estimate in estimates.items():
            yield _row(desk, analysis, raters, part, name, estimate, note, desk.opinions.categories[k])


def _row(
    desk: Desk, analysis: Analysis, raters: str, part: str, name: str, estimate: Estimate, note: str, concept: str = ""
) -> ReliabilityRow:
    return desk.row(analysis, raters, part, name, estimate.value, interval=estimate.interval, why=estimate.reason, n_items=estimate.n,
                    n_raters=1, note=note, category=concept)  # fmt: skip


def among_experts(desk: Desk) -> Iterator[ReliabilityRow]:
    """Yield the mean Jaccard index of pairs of experts on all items and parts, and the agreement on each concept."""
    opinions, q = desk.opinions, 2
    for part, items in opinions.parts().items():
        table = _pairwise_jaccard(opinions, items)
        yield desk.resampled("agreement", EXPERTS, part, "mean_jaccard", _over_pairs, table, items, n_raters=len(opinions.experts), low=0.0,
                             quick=mean_of_many)  # fmt: skip
    sets = [opinions.sets(rater, opinions.items) for rater in opinions.experts]
    for k in opinions.single:
        concept = opinions.categories[k]
        codes = np.stack([np.where(answered, found[:, k], agreement.MISSING) for found, answered in sets], axis=1)
        for name in ("percent_agreement", "fleiss_kappa", "gwet_ac1"):
            statistic = partial(_on, agreement.BATTERIES["nominal"][name], q)
            yield desk.resampled("agreement", EXPERTS, ALL, name, statistic, codes, opinions.items, n_raters=len(sets), category=concept,
                                 said=opinions.left_out, quick=partial(_quick, name))  # fmt: skip


def _quick(name: str, codes: np.ndarray) -> Many | None:
    return QUICK["nominal"][name](codes, 2)


def _on(coefficient: agreement.Coefficient, categories: int, codes: np.ndarray) -> Agreement:
    return coefficient(codes, categories)


def _pairwise_jaccard(opinions: Opinions, items: Sequence[str]) -> np.ndarray:
    """Return (items, pairs) the Jaccard index of each pair of experts, NaN where one of them did not answer."""
    sets = [opinions.sets(rater, items) for rater in opinions.experts]
    columns = []
    for i, (first, seen) in enumerate(sets):
        for second, too in sets[i + 1 :]:
            columns.append(np.where(seen & too, concept_agreement(first, second).jaccard, np.nan))
    return np.stack(columns, axis=1) if columns else np.full((len(items), 1), np.nan)


def _over_pairs(table: np.ndarray) -> Agreement:
    seen = table[~np.isnan(table)]
    return Agreement(float(seen.mean())) if seen.size else agreement.NO_OVERLAP
