"""How the measured values of a dossier are arranged: by family, by stratum, and the images that stand out. Rows in, printable facts out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import stdev

from .content import Standout
from .records import ComponentRow, ScoreRow
from .statistics.intervals import Interval, binomial_interval

FAMILIES = {
    "distance": "Distances between distributions",
    "coverage": "Coverage of the real images",
    "diversity": "Diversity",
    "memorisation": "Memorisation and privacy",
    "artefact": "Artefacts in the image",
    "other": "Other quantities",
}
LEVELS = 4


def by_family(rows: Iterable[ScoreRow], components: Iterable[ComponentRow]) -> list[tuple[str, list[ScoreRow]]]:
    """Return the values over all images under the title of their family, in the order of FAMILIES."""
    families = {
        f"{component.name}.{quantity['name']}": quantity.get("family", "other")
        for component in components
        if component.kind == "metric"
        for quantity in component.promises.get("quantities", ())
    }
    groups: dict[str, list[ScoreRow]] = {family: [] for family in FAMILIES}
    for row in rows:
        if not row.stratum and row.status == "ok":
            groups[families.get(f"{row.component}.{row.quantity}", "other")].append(row)
    return [(FAMILIES[family], mine) for family, mine in groups.items() if mine]


@dataclass(frozen=True)
class Strata:
    """Values within the levels of one label or group: one row per quantity, one column per level, None where it is not known."""

    name: str
    levels: tuple[tuple[str, int | None], ...]
    rows: tuple[tuple[ScoreRow, tuple[ScoreRow | None, ...]], ...]


def by_stratum(rows: Iterable[ScoreRow], labels: Sequence[str] = ()) -> list[Strata]:
    """Arrange the values within strata, at most four levels to a table; a row's first entry names the quantity.

    labels: names of the classes, by number.
    """
    named = {f"label={k}": name for k, name in enumerate(labels)}
    rows = [row for row in rows if row.stratum]
    found = []
    for name in sorted({row.stratum.split("=")[0] for row in rows}):
        mine = [row for row in rows if row.stratum.split("=")[0] == name]
        levels = sorted({row.stratum for row in mine if "=" in row.stratum}, key=_natural)
        at = {(row.component, row.quantity, row.extractor, row.stratum): row for row in mine}
        for start in range(0, len(levels), LEVELS):
            part = levels[start : start + LEVELS]
            counts = ((level, next((r.n for r in mine if r.stratum == level and r.n is not None), None)) for level in part)
            heads = tuple((named.get(level, level.split("=", 1)[1]), n) for level, n in counts)
            body = []
            for key in dict.fromkeys((row.component, row.quantity, row.extractor) for row in mine):
                values = tuple(at.get((*key, level)) for level in part)
                first = next((row for row in values if row is not None), None)
                if first is not None:
                    body.append((first, values))
            found.append(Strata(name, heads, tuple(body)))
    return found


def _natural(stratum: str) -> tuple[bool, float, str]:
    """Return a key that puts numbers in their order, before words."""
    level = stratum.split("=", 1)[1]
    is_number = re.fullmatch(r"-?\d+(\.\d+)?", level) is not None
    return not is_number, float(level) if is_number else 0.0, level


def standing_out(rows: Sequence[Standout]) -> list[tuple[Standout, Interval]]:
    """Return the quantities that blame images, the largest share beyond real images first, with the exact interval of that share."""
    ranked = sorted(rows, key=lambda row: (-row.beyond / row.n, row.component, row.quantity, row.extractor))
    return [(row, binomial_interval(row.beyond, row.n)) for row in ranked]


@dataclass(frozen=True)
class Spread:
    """A quantity over sampling runs: the row of its mean, its value in each run, and their standard deviation."""

    row: ScoreRow
    values: tuple[float, ...]

    @property
    def sd(self) -> float:
        """Standard deviation between runs, R - 1 in the denominator."""
        return stdev(self.values)


Measured = tuple[str, str, str, str]


def measured(row: ScoreRow) -> Measured:
    """Return what a measured value is of: component, quantity, extractor, stratum."""
    return row.component, row.quantity, row.extractor, row.stratum


def by_run(rows: Iterable[ScoreRow]) -> dict[Measured, list[ScoreRow]]:
    """Return the values in each sampling run, in the order of runs; nothing where there is one run."""
    found: dict[Measured, list[ScoreRow]] = {}
    for row in sorted((row for row in rows if row.stage == "run"), key=lambda row: row.sampling_run or 0):
        found.setdefault(measured(row), []).append(row)
    return found


def over_runs(rows: Sequence[ScoreRow]) -> list[Spread]:
    """Return every quantity over all images that was measured in several sampling runs, in the order of its means."""
    found = by_run(rows)
    means = (row for row in rows if row.stage == "measure" and not row.stratum and measured(row) in found)
    return [Spread(row, tuple(run.value for run in found[measured(row)] if run.value is not None)) for row in means]


@dataclass(frozen=True)
class Blank:
    """Quantities without a value for one reason."""

    quantities: tuple[str, ...]
    extractors: tuple[str, ...]
    strata: tuple[str, ...]
    status: str
    reason: str


def blanks(rows: Iterable[ScoreRow]) -> list[Blank]:
    """Group what has no value by its reason."""
    groups: dict[tuple[str, str], list[ScoreRow]] = {}
    for row in rows:
        if row.status != "ok":
            groups.setdefault((row.status, row.reason), []).append(row)
    return [
        Blank(
            tuple(dict.fromkeys(f"{row.component}.{row.quantity}" for row in mine)),
            tuple(dict.fromkeys(row.extractor for row in mine if row.extractor)),
            tuple(dict.fromkeys(row.stratum for row in mine if row.stratum)),
            status,
            reason,
        )
        for (status, reason), mine in groups.items()
    ]


def methods(rows: Iterable[ScoreRow]) -> list[tuple[str, int]]:
    """Count how intervals came about, counts of successes left out; the most frequent first."""
    count: Counter[str] = Counter()
    for row in rows:
        if row.status == "ok" and row.ci_method:
            count[re.sub(r"^exact binomial, \d+ of \d+", "exact binomial", row.ci_method)] += 1
    return sorted(count.items(), key=lambda item: (-item[1], item[0]))


@dataclass(frozen=True)
class Within:
    """One quantity of a task on one mix, within the labels, groups and lesion sizes of the test images; rows: the whole set first."""

    component: str
    quantity: str
    mix: tuple[float, float]
    rows: tuple[tuple[str, ScoreRow], ...]


def tasks_within(rows: Sequence[ScoreRow], components: Iterable[ComponentRow], labels: Sequence[str] = ()) -> list[Within]:
    """Return what tasks do within strata: of each task the quantity that it promises first, as value on (1, 0) and as gain elsewhere."""
    first = {c.name: c.promises["quantities"][0]["name"] for c in components if c.kind == "task" and c.promises.get("quantities")}
    named = {f"label={k}": name for k, name in enumerate(labels)}
    grouped: dict[tuple[str, str, float, float], list[ScoreRow]] = {}
    for row in rows:
        mix = (row.real_share or 0.0, row.synthetic_share or 0.0)
        wanted = first.get(row.component, "") + ("" if mix == (1.0, 0.0) else "_gain")
        if row.quantity == wanted and not row.region and row.tested_on == "real":
            grouped.setdefault((row.component, row.quantity, *mix), []).append(row)
    found = []
    for (component, quantity, real, synthetic), mine in grouped.items():
        mine.sort(key=lambda row: (row.stratum.partition("=")[0], _natural(row.stratum or "=")))
        if any(row.stratum for row in mine):
            told = tuple((named.get(row.stratum, row.stratum) or "all images", row) for row in mine)
            found.append(Within(component, quantity, (real, synthetic), told))
    return found
