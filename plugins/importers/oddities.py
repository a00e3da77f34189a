"""What looks odd in ratings and is no fault that a reader of files could mend: it is said, and nothing is changed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from harness.api import Rating

_ENOUGH = 20
_MOST_LEVELS = 40
_RARE_AMONG = 100
_SHOWN = 8
# What names an item, or what its right answer is, says nothing about how it was put to raters.
_NO_GROUPS = frozenset({"case", "patient", "truth", "label"})


def oddities(ratings: Sequence[Rating], texts: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return subject -> sentence: what has no value, names that differ only in case, groups rated alike, values that one rater alone uses.

    texts: scales of free text, on which values are not compared.
    """
    found = dict(_lookalikes(ratings)) | dict(_statuses(ratings))
    scales: dict[str, list[Rating]] = defaultdict(list)
    for rating in ratings:
        if rating.status == "ok" and rating.scale not in texts:
            scales[rating.scale].append(rating)
    for scale, rows in scales.items():
        for subject, sentence in (*_given(rows), *_own_values(rows), *_seen_once(rows)):
            found[f"{scale}: {subject}"] = sentence
    return found


def _lookalikes(ratings: Sequence[Rating]) -> Iterator[tuple[str, str]]:
    """Yield raters and items whose names differ only in case or spaces: they count as different ones."""
    for kind, names in (("raters", {r.rater for r in ratings}), ("items", {r.item for r in ratings})):
        alike: dict[str, list[str]] = defaultdict(list)
        for name in sorted(names):
            alike["".join(name.casefold().split())].append(name)
        pairs = [" and ".join(group) for group in alike.values() if len(group) > 1]
        if pairs:
            yield kind, f"{_some(pairs)}: names that differ only in case or spaces are different {kind}"


def _statuses(ratings: Sequence[Rating]) -> Iterator[tuple[str, str]]:
    """Yield how many ratings of each scale have no value that can be used, why, and where the first of them are."""
    groups: dict[tuple[str, str], list[Rating]] = defaultdict(list)
    totals = Counter(r.scale for r in ratings)
    for rating in ratings:
        if rating.status != "ok":
            groups[rating.scale, rating.status].append(rating)
    for (scale, status), mine in groups.items():
        reasons = [f"{reason} ({n})" for reason, n in Counter(r.reason for r in mine).most_common()]
        first = _some([r.source.split(":", 1)[-1] for r in mine])
        yield f"{scale}: {status}", f"{len(mine)} of {totals[scale]} ratings are {status}: {_some(reasons)}; at {first}"


def _given(rows: Sequence[Rating]) -> Iterator[tuple[str, str]]:
    """Yield the groups of items that every rater gave one value, where other items got several: fixed by the form, it seems."""
    if len({r.value for r in rows}) < 3:
        return
    groups: dict[str, list[Rating]] = defaultdict(list)
    names = sorted({name for r in rows for name in r.facts} - _NO_GROUPS)
    few = [name for name in names if len({r.facts.get(name) for r in rows}) <= _MOST_LEVELS]
    for rating in rows:
        for name in few:
            if name in rating.facts:
                groups[f"{name} {rating.facts[name]}"].append(rating)
    for group, mine in groups.items():
        if len(mine) >= _ENOUGH and len({r.value for r in mine}) == 1 and len({r.rater for r in mine}) > 1 and len(mine) < len(rows):
            count = f"all {len(mine)} ratings by {len({r.rater for r in mine})} raters are {mine[0].value}"
            yield group, f"{count}: they look given by the form, not rated, and raise agreement"


def _own_values(rows: Sequence[Rating]) -> Iterator[tuple[str, str]]:
    """Yield the raters who use several values, often, that no other rater ever uses."""
    used: dict[str, Counter[str]] = defaultdict(Counter)
    for rating in rows:
        used[rating.rater][str(rating.value)] += 1
    if len(used) < 2 or len({r.value for r in rows}) > _MOST_LEVELS:
        return
    for rater, mine in used.items():
        others = {value for name, values in used.items() if name != rater for value in values}
        own = sorted((v for v in mine if v not in others), key=_size)
        times = sum(mine[v] for v in own)
        if len(own) > 1 and times >= max(_ENOUGH // 2, 0.1 * mine.total()):
            yield f"rater {rater}", f"{times} of {mine.total()} ratings have values that no other rater uses: {_some(own)}"


def _seen_once(rows: Sequence[Rating]) -> Iterator[tuple[str, str]]:
    """Yield the values that occur once among many ratings on a scale of few values."""
    counts = Counter(str(r.value) for r in rows)
    if len(rows) < _RARE_AMONG or len(counts) > _SHOWN * 2:
        return
    for rating in rows:
        if counts[str(rating.value)] == 1:
            yield (
                f"value {rating.value}",
                f"{rating.value} occurs once among {len(rows)} ratings ({rating.source}): a slip, or off the scale?",
            )


def _size(word: str) -> tuple[float, str]:
    try:
        return float(word), word
    except ValueError:
        return float("inf"), word


def _some(words: Sequence[str]) -> str:
    rest = len(words) - _SHOWN
    return ", ".join(words[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
