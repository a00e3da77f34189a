"""What a language model's answers are worth: against the experts, beside what experts reach among themselves, and over its repeats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from ..records import EXPERTS, MODEL, ReliabilityRow
from ..statistics import agreement
from ..statistics.agreement import MISSING, Agreement
from ..statistics.icc import icc
from ..statistics.intervals import Many
from ..statistics.resamples import QUICK, Quick
from ..statistics.votes import majority_vote
from . import sets
from .desk import SEVERAL, Desk
from .opinions import natural, picked

STATISTICS = ("percent_agreement", "cohen_kappa", "gwet_ac1")
_KNOWN: dict[str, agreement.Coefficient] = {
    "percent_agreement": agreement.percent_agreement,
    "cohen_kappa": agreement.cohen_kappa,
    "gwet_ac1": agreement.gwet_ac,
}
OF_NUMBERS = "icc_a_1"
LEAST_REPEATS = 2
AGAINST = "against the majority of the experts"


def against_experts(desk: Desk) -> Iterator[ReliabilityRow]:
    """Yield for all items and each part of them: each model against the majority, the experts' own ceiling, and the base rate."""
    opinions = desk.opinions
    if len(opinions.experts) == 0 or not opinions.models:
        return
    for part, items in opinions.parts().items():
        majority = majority_vote(opinions.table(opinions.experts, items), len(opinions.categories)).codes
        rows = np.flatnonzero(majority >= 0)
        if not len(rows):
            continue
        kept, majority = picked(items, rows), majority[rows]
        for model in opinions.models:
            yield from _against(desk, part, model, kept, majority, len(items) - len(kept))
        yield from _ceiling(desk, part, items)
        counts = np.bincount(majority, minlength=len(opinions.categories))
        hits = (majority == counts.argmax()).astype(np.float64)[:, None]
        said = f"what always answering {opinions.categories[int(counts.argmax())]} would reach"
        yield desk.share("model", EXPERTS, part, "base_rate", hits, kept, said)


def _against(desk: Desk, part: str, model: str, items: Sequence[str], majority: np.ndarray, tied: int) -> Iterator[ReliabilityRow]:
    """Compare a model's first replies with the majority. No answer counts as the category after the majority's, which is wrong.

    A category of its own for it would lower the agreement that chance explains, so that refusing would raise a coefficient.
    """
    q, asked = len(desk.opinions.categories), desk.opinions.asked[model]
    rows = np.flatnonzero([item in asked for item in items])
    if not len(rows):
        return
    kept, right = picked(items, rows), majority[rows]
    codes = desk.opinions.table((model,), kept)[:, 0]
    silent = int((codes < 0).sum())
    notes = [
        AGAINST,
        f"{silent} of {len(kept)} items were not answered, which counts as disagreement" if silent else "",
        f"{tied} items without a majority are left out" if tied else "",
    ]
    table = np.column_stack([right, np.where(codes < 0, (right + 1) % q, codes)])
    for name in STATISTICS:
        known = QUICK["nominal"]["mean_cohen_kappa" if name == "cohen_kappa" else name]
        yield desk.resampled(
            "model", MODEL + model, part, name, partial(_on, name, q), table, kept, n_raters=len(desk.opinions.experts),
            said="; ".join(n for n in notes if n), low=0.0 if name == "percent_agreement" else -1.0, quick=partial(_at_once, known, q),
        )  # fmt: skip


def _at_once(known: Quick, categories: int, codes: np.ndarray) -> Many | None:
    return known(codes, categories)


def against_mean(desk: Desk) -> Iterator[ReliabilityRow]:
    """Yield the absolute agreement of each model's first numbers with the mean of the experts; numbers have no majority."""
    opinions = desk.opinions
    if not opinions.experts:
        return
    for part, items in opinions.parts().items():
        experts = opinions.table(opinions.experts, items)
        counts = (~np.isnan(experts)).sum(axis=1)
        mean = np.divide(np.nansum(experts, axis=1), counts, out=np.full(len(items), np.nan), where=counts > 0)
        for model in opinions.models:
            answers = opinions.table((model,), items)[:, 0]
            found = icc(np.column_stack([mean, answers]), OF_NUMBERS)
            silent = int(np.isnan(answers[[item in opinions.asked[model] for item in items]]).sum())
            left = f"{silent} items were not answered, and a number that is not there is no disagreement" if silent else ""
            shut = left or (SEVERAL if opinions.clustered else "")
            yield desk.row("model", MODEL + model, part, OF_NUMBERS, found.agreement.value, interval=None if shut else found.interval,
                           n_items=found.n_items, n_raters=len(opinions.experts), why=shut or found.note or found.agreement.reason,
                           status=found.agreement.status, note="with the mean of the experts, items that both rated")  # fmt: skip


def _on(name: str, categories: int, table: np.ndarray) -> Agreement:
    return _KNOWN[name](table, categories)


def _ceiling(desk: Desk, part: str, items: Sequence[str]) -> Iterator[ReliabilityRow]:
    """Yield what experts reach against the majority of the other experts: mean over experts, with the least and the most of them."""
    opinions, q = desk.opinions, len(desk.opinions.categories)
    if len(opinions.experts) < 3:
        return
    table = opinions.table(opinions.experts, items)
    for name in STATISTICS:
        found = []
        for k in range(table.shape[1]):
            pair = np.column_stack([table[:, k], majority_vote(np.delete(table, k, axis=1), q).codes])
            value = _on(name, q, pair[(pair >= 0).all(axis=1)]).value
            found += [value] if value is not None else []
        if found:
            said = f"each expert against the majority of the others: from {min(found):.3f} to {max(found):.3f} over {len(found)} experts"
            yield desk.row("model", EXPERTS, part, f"expert_ceiling_{name}", float(np.mean(found)), n_items=len(items),
                           n_raters=len(found), why="a band over the experts, not an interval", note=said)  # fmt: skip


def with_itself(desk: Desk) -> Iterator[ReliabilityRow]:
    """Yield how far the repeats of each model agree with each other, no answer being a category of its own."""
    opinions = desk.opinions
    for model in opinions.models:
        mine = [r for r in opinions.rows if r.rater == model and r.rater_kind == "llm" and r.item in set(opinions.items)]
        # What was never asked, such as after a spent budget, is no answer that repeats could share.
        mine = [r for r in mine if r.status != "missing"]
        occasions = sorted({r.occasion for r in mine}, key=natural)
        if len(occasions) < LEAST_REPEATS:
            continue
        items, none = sorted({r.item for r in mine}), len(opinions.categories)
        place = {item: k for k, item in enumerate(items)}
        codes = np.full((len(items), len(occasions)), MISSING)
        for row in mine:
            answer = opinions.code(row)
            codes[place[row.item], occasions.index(row.occasion)] = none if answer < 0 else answer
        said = f"{len(occasions)} repeats of one model are no independent raters"
        for name, statistic in (("self_consistency", agreement.percent_agreement), ("self_fleiss_kappa", agreement.fleiss_kappa)):
            yield desk.resampled("model", MODEL + model, "all", name, partial(_repeat, statistic, none + 1), codes, items,
                                 n_raters=1, said=said, low=0.0 if name == "self_consistency" else -1.0)  # fmt: skip


def _repeat(statistic: agreement.Coefficient, categories: int, codes: np.ndarray) -> Agreement:
    return statistic(codes, categories)


def sets_against_experts(desk: Desk) -> Iterator[ReliabilityRow]:
    """Yield how far the sets of each model are from those that more than half of the experts named."""
    opinions = desk.opinions
    if not opinions.experts:
        return
    for part, items in opinions.parts().items():
        truth, voted = sets.majority(opinions, items)
        for model in opinions.models:
            found, answered = opinions.sets(model, items)
            rows = np.flatnonzero(voted & [item in opinions.asked[model] for item in items])
            if len(rows):
                yield from sets.compared_sets(desk, MODEL + model, part, truth[rows], found[rows], answered[rows], picked(items, rows),
                                              against=AGAINST)  # fmt: skip
