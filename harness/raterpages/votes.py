"""What experts say of single items together, and what language models were asked: consensus, contested items, counts of calls."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ..content import Disputed
from ..readerspec import ScaleSpec
from ..records import ConsensusRow, JudgeCallRow
from ..wording import counted, number
from .grids import Entry, Grid, Line, cut, distinct, readers_first

MOST_TIES, MOST_READERS = 12, 6


def together(scale: ScaleSpec, votes: Sequence[ConsensusRow], disputes: Iterable[Disputed] = ()) -> Iterator[Grid]:
    """Yield how many items have a majority, a plurality or a tie, and the items on which majority, consensus and truth differ."""
    majority = {v.item: v for v in votes if v.method == "majority"}
    estimated = {v.item: v for v in votes if v.method == "dawid_skene"}
    if not majority:
        return
    counts = Counter(v.status for v in majority.values())
    statuses = distinct(["majority", "plurality", "tie", *sorted(counts)])
    heads = [("Of the experts", ""), *((s.replace("_", " ").capitalize(), "") for s in statuses), ("Items", "")]
    total = Line("items", (*(Entry(text=number(counts[s])) for s in statuses), Entry(text=number(len(majority)))))
    differ = [item for item in sorted(majority) if item in estimated and majority[item].category != estimated[item].category]
    tied = sum(majority[item].category is None for item in differ)
    told = f"{counted(len(differ), 'item')}, of which {number(tied)} have no majority"
    said = f"The majority and the consensus after Dawid and Skene, who weigh readers by how often they err, differ on {told}."
    note = "Majority: more than half of those who answered; plurality: the most frequent answer; tie: none is."
    yield Grid("Consensus of experts.", note, tuple(heads), (total,), (), (said,) if estimated else ())
    yield from _contested(majority, estimated, differ, {d.item: _known(d, scale) for d in disputes})


def _contested(
    majority: Mapping[str, ConsensusRow], estimated: Mapping[str, ConsensusRow], differ: Sequence[str], disputes: Mapping[str, Disputed]
) -> Iterator[Grid]:  # fmt: skip
    """Yield the answers to the items whose majority is not the truth, then to those on which the two ways to a consensus differ."""
    known = {item: d.truth for item, d in disputes.items() if d.truth and item in majority}
    wrong = [item for item, truth in sorted(known.items()) if majority[item].category != truth]
    shown, remarks = cut(distinct([*wrong, *differ]), MOST_TIES, "item")
    if not shown:
        return
    readers = sorted({rater for d in disputes.values() for rater, _ in d.answers}, key=readers_first)[:MOST_READERS]
    lines = []
    for item in shown:
        given = dict(disputes[item].answers) if item in disputes else {}
        votes = [_voted(row) if (row := of.get(item)) is not None else "none" for of in (majority, estimated)]
        cells = [*(given.get(reader, "none") for reader in readers), *votes, *([known.get(item, "not recorded")] if known else [])]
        lines.append(Line(item, tuple(Entry(text=cell) for cell in cells)))
    heads = [("Item", ""), *((reader, "") for reader in readers), ("Majority", ""), ("Dawid-Skene", "with its probability")]
    heads += [("Truth", "")] if known else []
    what = "whose majority is not the truth, or" if known else ""
    title = " ".join(f"Items {what} on which the two ways to a consensus differ.".split())
    yield Grid(title, "First answers.", tuple(heads), tuple(lines), (), tuple(remarks))


def _known(dispute: Disputed, scale: ScaleSpec) -> Disputed:
    """Return it without its truth where that is no answer of the scale."""
    return dispute if scale.truth == "label" and dispute.truth in scale.categories else replace(dispute, truth="")


def _voted(row: ConsensusRow) -> str:
    """Print what experts say of an item together, with how the vote ended, or with the probability of the estimate."""
    if row.method == "majority":
        return f"{row.category or 'none'} ({row.status.replace('_', ' ')})"
    return f"{row.category or 'none'}" + ("" if row.share is None else f" ({number(row.share, 2)})")


def calls_grid(calls: Sequence[JudgeCallRow]) -> Grid | None:
    """Return how many questions each model was asked, what became of them, and the digests of prompts and replies."""
    if not calls:
        return None
    statuses = distinct(["ok", "refused", "unusable", *sorted({c.status for c in calls})])
    lines = []
    for model in sorted({c.model for c in calls}):
        mine = [c for c in calls if c.model == model]
        count, tokens = Counter(c.status for c in mine), [c.tokens for c in mine if c.tokens is not None]
        told = number(sum(tokens)) + ("" if len(tokens) == len(mine) else f" in {number(len(tokens))} calls") if tokens else "not recorded"
        digest = hashlib.sha256("".join(sorted(f"{c.prompt_sha256}{c.reply_sha256}" for c in mine)).encode()).hexdigest()
        cells = [Entry(text=number(len(mine))), *(Entry(text=number(count[s])) for s in statuses), Entry(text=told)]
        cells += [Entry(text=number(len({c.prompt_sha256 for c in mine}))), Entry(text=digest[:12])]
        lines.append(Line(model, tuple(cells), ", ".join(distinct(name for c in mine for name in c.scale.split(",")))))
    names = {"ok": "Answered"}
    heads = [("Model, scales", ""), ("Calls", ""), *((names.get(s, s.capitalize()), "") for s in statuses), ("Tokens", ""),
             ("Distinct prompts", ""), ("Digest", "of prompts and replies")]  # fmt: skip
    note = (
        "Every prompt and reply is in the table judge_calls, word for word. Digest: SHA-256 of the sorted digests of prompts and replies."
    )
    return Grid("Questions put to language models.", note, tuple(heads), tuple(lines))
