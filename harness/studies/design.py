"""Which images a reader study shows, and in which order each reader sees them: drawn by a declared rule and the audit's seed."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..cells import derive
from ..images import ImageSet, Origin
from ..quantities import Scale
from ..readerspec import StudySpec

APART = 5
_ATTEMPTS = 400
_SLOT_DIGITS = 16


@dataclass(frozen=True)
class Place:
    """Where an image comes from: its origin and its row in the image set of that origin."""

    origin: Origin
    row: int


@dataclass(frozen=True)
class Item:
    """What is judged at once: one image, or a grid of them with the real one first. facts: what the owner of the study knows of it."""

    name: str
    places: tuple[Place, ...]
    facts: Mapping[str, str]
    planted: str = ""

    @property
    def is_grid(self) -> bool:
        """Whether it is a grid of images, of which the real one is to be found."""
        return len(self.places) > 1


@dataclass(frozen=True)
class Slot:
    """One showing of an item to one reader. order: which of the item's images stands at each position."""

    id: str
    item: str
    occasion: str
    order: tuple[int, ...]


@dataclass(frozen=True)
class Design:
    """Every item and, by reader, the showings in order. counts: images by use and stratum. notes: where the rule could not be met."""

    items: Mapping[str, Item]
    readers: Mapping[str, tuple[Slot, ...]]
    counts: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arm:
    """The images of one origin and the stratum of each; used: how often each unit, and each image, was drawn so far."""

    images: ImageSet
    strata: tuple[str, ...]
    units_used: Counter[int] = field(default_factory=Counter)
    rows_used: Counter[int] = field(default_factory=Counter)

    def take(self, row: int) -> int:
        """Note that an image was drawn, and return its row."""
        self.units_used[int(self.images.units[row])] += 1
        self.rows_used[row] += 1
        return row


def strata_of(images: ImageSet, names: Sequence[str], label_names: Sequence[str]) -> tuple[str, ...]:
    """Return the stratum of each image, its label and groups joined by a comma; one stratum for all where none are named."""
    columns = [label_words(images, label_names) if name == "label" else [str(v) for v in (images.groups or {})[name]] for name in names]
    return tuple(", ".join(words) for words in zip(*columns, strict=True)) if columns else ("all",) * len(images)


def label_words(images: ImageSet, label_names: Sequence[str]) -> list[str]:
    """Return the name of each image's label, its number where it has no name."""
    assert images.labels is not None
    return [label_names[k] if 0 <= k < len(label_names) else str(k) for k in map(int, images.labels)]


def draw(study: StudySpec, scales: Sequence[Scale], real: Arm, synthetic: Arm, label_names: Sequence[str], seed: int,
         secret: bytes) -> Design:  # fmt: skip
    """Draw the study. seed: the audit's; the same seed draws the same images in the same order.

    secret: key of the ids that stand for the showings, so that these tell nothing (HMAC-SHA256, RFC 2104). Images shown alone come
    first in every reader's order, grids after them; both are shuffled for each reader.
    """
    rng = np.random.default_rng(derive(seed, "study", "images"))
    sides = (("real", real, study.real), ("synthetic", synthetic, study.synthetic))
    alone = {name: _drawn(arm, n, rng, allowed=range(len(arm.images))) for name, arm, n in sides}
    planted: dict[str, list[int]] = {}
    for fault, n in study.planted.items():
        planted[fault] = _drawn(real, n, rng, allowed=[row for row in range(len(real.images)) if not real.rows_used[row]])
    items = [_item(arm, row, label_names) for name, arm, _ in sides for row in alone[name]]
    items += [_item(real, row, label_names, fault) for fault, rows in planted.items() for row in rows]
    grids = _grids(study, real, synthetic, {row for rows in planted.values() for row in rows}, rng)
    counts = {name: _counted(arm, alone[name]) for name, arm, _ in sides}
    counts |= {f"planted {fault}": _counted(real, rows) for fault, rows in planted.items()}
    counts["grids"] = _counted(real, [grid.places[0].row for grid in grids])
    everything = {item.name: item for item in (*items, *grids)}
    repeatable = [item.name for item in items if not item.planted]
    readers, notes = {}, _uneven(counts)
    for reader in study.readers:
        own = np.random.default_rng(derive(seed, "study", "order", reader))
        showings = _in_order(items, repeatable, round(study.repeats * len(repeatable)), own)
        closest = _closest(showings)
        if closest is not None and closest <= APART:
            notes.append(f"{reader} sees an image again {closest} places after the first time: the study is too short for more")
        showings += [(grids[i].name, "1") for i in own.permutation(len(grids))]
        readers[reader] = tuple(_slot(reader, everything[name], occasion, own, secret) for name, occasion in showings)
    return Design(everything, readers, counts, tuple(notes))


def _drawn(arm: Arm, n: int, rng: np.random.Generator, allowed: Sequence[int]) -> list[int]:
    """Return n rows, as evenly over strata as they last, of as many patients as there are."""
    strata = sorted({arm.strata[row] for row in allowed})
    pools = [[row for row in allowed if arm.strata[row] == stratum] for stratum in strata]
    wanted = evenly(n, [len(pool) for pool in pools], rng)
    rows = []
    for pool, count in sorted(zip(pools, wanted, strict=True), key=lambda pair: len(pair[0])):
        ranked = [pool[i] for i in rng.permutation(len(pool))]
        for _ in range(count):
            best = min(ranked, key=lambda row: arm.units_used[int(arm.images.units[row])])
            ranked.remove(best)
            rows.append(arm.take(best))
    return rows


def evenly(n: int, room: Sequence[int], rng: np.random.Generator) -> list[int]:
    """Return how many of n go to each stratum: equal numbers as long as there is room, the odd ones by lot."""
    counts = [0] * len(room)
    while n:
        open_ = [i for i, most in enumerate(room) if counts[i] < most]
        share = n // len(open_)
        chosen = open_ if share else [open_[i] for i in rng.choice(len(open_), n, replace=False)]
        for i in chosen:
            more = min(max(share, 1), room[i] - counts[i])
            counts[i] += more
            n -= more
    return counts


def _item(arm: Arm, row: int, label_names: Sequence[str], fault: str = "") -> Item:
    images = arm.images
    facts = {"origin": images.origin, "stratum": arm.strata[row]}
    facts |= {"label": label_words(images, label_names)[row]} if images.labels is not None else {}
    facts |= {"planted": fault} if fault else {}
    return Item(images.ids[row], (Place(images.origin, row),), facts, fault)


def _grids(study: StudySpec, real: Arm, synthetic: Arm, kept_out: set[int], rng: np.random.Generator) -> list[Item]:
    """Return the grids: a real image and synthetic ones, of its stratum where there are, none twice in the grids as long as they last."""
    free = [row for row in range(len(real.images)) if row not in kept_out]
    strata = sorted({real.strata[row] for row in free})
    wanted = evenly(study.grids, [study.grids] * len(strata), rng)
    order = rng.permutation([stratum for stratum, n in zip(strata, wanted, strict=True) for _ in range(n)])
    in_grids: dict[str, Counter[int]] = {"real": Counter(), "synthetic": Counter()}

    def pick(arm: Arm, rows: Sequence[int], stratum: str) -> int:
        seen = in_grids[arm.images.origin]
        lots = rng.random(len(arm.images))
        row = min(rows, key=lambda r: (seen[r], arm.strata[r] != stratum, arm.rows_used[r],
                                       arm.units_used[int(arm.images.units[r])], lots[r]))  # fmt: skip
        seen[row] += 1
        return arm.take(row)

    grids = []
    for number, stratum in enumerate(order, 1):
        places = [Place("real", pick(real, free, str(stratum)))]
        for _ in range(study.grid_of - 1):
            own = {place.row for place in places[1:]}
            rows = [row for row in range(len(synthetic.images)) if row not in own]
            places.append(Place("synthetic", pick(synthetic, rows, str(stratum))))
        grids.append(Item(f"grid-{number:03d}", tuple(places), {"stratum": real.strata[places[0].row]}))
    return grids


def _counted(arm: Arm, rows: Sequence[int]) -> dict[str, int]:
    found = Counter(arm.strata[row] for row in rows)
    return {stratum: found[stratum] for stratum in sorted(set(arm.strata))}


def _uneven(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Say which draws could not be even because a stratum ran out."""
    notes = []
    for use, by_stratum in counts.items():
        if by_stratum and max(by_stratum.values()) - min(by_stratum.values()) > 1:
            shares = ", ".join(f"{stratum} {n}" for stratum, n in by_stratum.items())
            notes.append(f"{use}: the strata are not even, because one has too few images ({shares})")
    return notes


def _in_order(items: Sequence[Item], repeatable: Sequence[str], repeats: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Return (item, occasion) in a random order in which a second showing comes more than five places after the first, where possible."""
    again = [repeatable[i] for i in rng.choice(len(repeatable), repeats, replace=False)] if repeats else []
    names = [*(item.name for item in items), *again]
    names = [names[i] for i in rng.permutation(len(names))]
    for gap in range(APART, -1, -1):
        if _spread(names, gap, rng):
            break
    seen: Counter[str] = Counter()
    showings = []
    for name in names:
        seen[name] += 1
        showings.append((name, str(seen[name])))
    return showings


def _spread(names: list[str], gap: int, rng: np.random.Generator) -> bool:
    """Swap places, in the list itself, until no two showings of an item lie within `gap` places; return whether that succeeded."""
    for _ in range(_ATTEMPTS + 10 * len(names)):
        close = _too_close(names, gap)
        if not close:
            return True
        one, other = close[int(rng.integers(len(close)))], int(rng.integers(len(names)))
        names[one], names[other] = names[other], names[one]
        if len(_too_close(names, gap)) > len(close):
            names[one], names[other] = names[other], names[one]
    return not _too_close(names, gap)


def _too_close(names: Sequence[str], gap: int) -> list[int]:
    last: dict[str, int] = {}
    close = []
    for place, name in enumerate(names):
        if name in last and place - last[name] <= gap:
            close.append(place)
        last[name] = place
    return close


def _closest(showings: Sequence[tuple[str, str]]) -> int | None:
    """Return the least number of places between two showings of one item, None where none is shown twice."""
    first = {name: place for place, (name, occasion) in enumerate(showings) if occasion == "1"}
    return min((place - first[name] for place, (name, occasion) in enumerate(showings) if occasion != "1"), default=None)


def _slot(reader: str, item: Item, occasion: str, rng: np.random.Generator, secret: bytes) -> Slot:
    name = hmac.new(secret, f"{reader}|{item.name}|{occasion}".encode(), hashlib.sha256).hexdigest()[:_SLOT_DIGITS]
    return Slot(name, item.name, occasion, tuple(int(i) for i in rng.permutation(len(item.places))))


def asked(study: StudySpec, scales: Sequence[Scale]) -> tuple[Scale, ...]:
    """Return the questions of the study in the order in which they are asked; those about grids only where there are grids."""
    by_name = {scale.name: scale for scale in scales}
    chosen = [by_name[name] for name in study.questions if name in by_name] if study.questions else list(scales)
    alone = study.real + study.synthetic + len(study.planted) > 0
    return tuple(scale for scale in chosen if (study.grids > 0 if scale.shows == "grid" else alone))


def without_default_strata(study: StudySpec, *sides: ImageSet) -> StudySpec:
    """Return the study without the stratum `label` where nobody asked for it and the images have none."""
    if "strata" not in study.model_fields_set and any(side.labels is None for side in sides):
        return study.model_copy(update={"strata": ()})
    return study


def with_strata(images: ImageSet, study: StudySpec, label_names: Sequence[str]) -> Arm:
    """Return the images as an arm to draw from."""
    return Arm(images, strata_of(images, study.strata, label_names))
