"""Everything that the ratings of one scale say, as rows: experts first, then what is right, then language models beside experts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..errors import InputError, Problem, raise_if
from ..quantities import Scale
from ..records import CONSENSUS, EXPERTS, MAJORITY, MODEL, ConsensusRow, RatingRow, ReliabilityRow
from ..statistics.votes import dawid_skene, majority_vote
from . import agreeing, answering, models, reading, sets
from .desk import Desk
from .opinions import MOST_CATEGORIES, Facts, Opinions

RESERVED = frozenset({EXPERTS, MAJORITY, CONSENSUS})
_WITH_CATEGORIES = ("nominal", "ordinal")


def analyse(scale: Scale, rows: Sequence[RatingRow], facts: Facts, seed: int, cell: str = "") -> Iterator[ReliabilityRow | ConsensusRow]:
    """Yield every number about the raters of one scale, and what the experts say of each item together.

    rows: the ratings of this scale, unusable ones too. facts: of each item; `origin` (real, synthetic), `label` or `truth`, `patient`,
    `planted`, `concepts` (an answer on a set), and whatever else items are told apart by. seed: of every resampling.
    """
    _require_names(rows)
    opinions = Opinions(scale, tuple(rows), facts)
    desk = Desk(opinions, cell, seed)
    if scale.level == "text":
        return
    if scale.level == "set":
        yield from _of_sets(desk)
    elif scale.shows == "grid":
        yield from reading.identification(desk)
    else:
        yield from _of_answers(desk)


def _require_names(rows: Sequence[RatingRow]) -> None:
    """Refuse raters that could be taken for each other, or for what is computed from all."""
    kinds: dict[str, set[str]] = {}
    for row in rows:
        kinds.setdefault(row.rater, set()).add(row.rater_kind)
    problems = [
        Problem(f"an expert and a language model are both called {name}", fix="rename one") for name, k in kinds.items() if len(k) > 1
    ]
    wrong = sorted(name for name in kinds if name in RESERVED or name.startswith(MODEL))
    problems += [Problem(f"a rater is called {name!r}, which stands for something else here", fix="rename the rater") for name in wrong]
    raise_if(problems, InputError)


def _of_sets(desk: Desk) -> Iterator[ReliabilityRow]:
    if len(desk.opinions.experts) > 1:
        yield from sets.among_experts(desk)
    yield from sets.against_truth(desk)
    yield from models.sets_against_experts(desk)


def _of_answers(desk: Desk) -> Iterator[ReliabilityRow | ConsensusRow]:
    opinions = desk.opinions
    words = opinions.scale.level in _WITH_CATEGORIES
    if opinions.experts:
        yield from agreeing.among_experts(desk)
        if words:
            yield from agreeing.with_themselves(desk)
            yield from answering.attention(desk)
    if words:
        yield from answering.shares(desk)
    if opinions.scale.level != "nominal":
        yield from answering.means(desk)
    if words and (opinions.truth(opinions.items) >= 0).any():
        yield from answering.correctness(desk)
    yield from reading.multi_reader(desk)
    if not words:
        yield from models.against_mean(desk)
        return
    yield from models.against_experts(desk)
    yield from models.with_itself(desk)
    yield from consensus(desk)


def consensus(desk: Desk) -> Iterator[ConsensusRow]:
    """Yield the majority of the experts on each item, and their consensus after Dawid and Skene where categories are few enough for it."""
    opinions = desk.opinions
    table = opinions.table(opinions.experts, opinions.items)
    if table.shape[1] < 2:
        return
    q = len(opinions.categories)
    vote, skilled = majority_vote(table, q), dawid_skene(table, q) if q <= MOST_CATEGORIES else None
    for k, item in enumerate(opinions.items):
        given = table[k][table[k] >= 0]
        winner = int(vote.codes[k])
        yield ConsensusRow(
            cell=desk.cell, scale=opinions.scale.name, item=item, method="majority", status=vote.status[k], n_raters=len(given),
            category=opinions.categories[winner] if winner >= 0 else None,
            share=float(np.mean(given == winner)) if winner >= 0 else None,
        )  # fmt: skip
        if skilled is None:
            continue
        best = int(skilled.codes[k])
        yield ConsensusRow(
            cell=desk.cell, scale=opinions.scale.name, item=item, method="dawid_skene", status=skilled.status[k], n_raters=len(given),
            category=opinions.categories[best] if best >= 0 else None,
            share=float(skilled.posterior[k, best]) if best >= 0 else None,
        )  # fmt: skip
