"""Several audits of one plan held against one another, quantity by quantity: values, differences, orders, ranks. Rows in, facts out."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations

import numpy as np
from scipy import stats

from .content import Content
from .measurements import Measured, by_run, measured
from .quantities import Quantity
from .records import CaseScoreRow, QualificationRow, ScoreRow
from .scoring import LEAST_UNITS, units_of
from .signatures import pinned
from .statistics.intervals import effective_counts
from .statistics.paired import (
    Difference,
    half_sample_difference,
    mean_difference,
    rank_ranges,
    share_difference,
    simultaneous_level,
)  # fmt: skip
from .wording import listed, words

GAIN = "_gain"
BASELINE = (1.0, 0.0)
OF_SHARES = r"exact binomial, \d|binomial after Korn"
Key = tuple[str, str, str, str, str, float | None, float | None]


@dataclass(frozen=True)
class Audited:
    """One finished audit, under the letter by which the comparison calls it."""

    letter: str
    content: Content
    cases: tuple[CaseScoreRow, ...] = ()

    @cached_property
    def promises(self) -> dict[str, Quantity]:
        """What its metrics and tasks promise, by component.quantity."""
        return {
            f"{part.name}.{body['name']}": Quantity.model_validate(body)
            for part in self.content.components
            for body in part.promises.get("quantities", ())
        }

    @cached_property
    def values(self) -> dict[Key, ScoreRow]:
        """Its values: what was measured, and how tasks did on real images that learned from synthetic ones.

        Paired differences of tasks are of the whole test set, so what tasks do within strata is left to each dossier.
        """
        return {
            _key(row): row
            for row in self.content.scores
            if (row.stage == "measure" and not row.perturbation)
            or (
                row.stage == "evaluate"
                and row.repeat is None
                and (row.real_share, row.synthetic_share) != BASELINE
                and row.tested_on == "real"
                and not row.stratum
            )
        }

    @cached_property
    def halves(self) -> dict[tuple[str, str, str], tuple[np.ndarray, int]]:
        """Values of half-samples (R, B) of R sampling runs by component, quantity and extractor, and the units behind them."""
        found: dict[tuple[str, str, str], list[ScoreRow]] = defaultdict(list)
        for row in self.content.scores:
            if row.stage == "half":
                found[row.component, row.quantity, row.extractor].append(row)
        halves = {}
        for key, rows in found.items():
            rows.sort(key=lambda r: (r.sampling_run or 0, r.repeat or 0))
            runs = len({row.sampling_run for row in rows})
            halves[key] = np.array([row.value for row in rows]).reshape(runs, -1), units_of(rows[0].method)
        return halves

    @cached_property
    def by_run(self) -> dict[Measured, list[ScoreRow]]:
        """Measured values in each sampling run, in their order, where there are several."""
        return by_run(self.content.scores)

    def runs(self, row: ScoreRow) -> tuple[list[float], list[int]]:
        """Return a measured value in each sampling run, and the number of images in each."""
        rows = self.by_run.get(measured(row), [row])
        return [_number(r) for r in rows], [r.n or 0 for r in rows]

    @cached_property
    def results(self) -> dict[tuple[str, str, str, float, float], dict[tuple[str, int], float]]:
        """Results of tasks by component, quantity, region and mix: value by test case and repeat."""
        found: dict[tuple[str, str, str, float, float], dict[tuple[str, int], float]] = defaultdict(dict)
        for row in self.cases:
            if row.tested_on == "real":
                found[row.component, row.quantity, row.region, row.real_share, row.synthetic_share][row.case_id, row.repeat] = row.value
        return dict(found)

    def qualifications(self, line: Line) -> list[QualificationRow]:
        """Return what became of a quantity when defects were planted."""
        wanted = (line.component, line.quantity, line.extractor)
        return [q for q in self.content.qualifications if (q.component, q.quantity, q.extractor) == wanted and q.outcome is not None]


@dataclass(frozen=True)
class Contrast:
    """One pair of audits on one quantity: the difference, or why it has no interval; better: the letter that is shown to be."""

    first: str
    second: str
    difference: Difference | None = None
    better: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Line:
    """One quantity in all audits. values: one row an audit, None where it has none; unranked: why it may not rank, or nothing.

    order: the letters, the best first; `>` where all before it are shown to be better than all after it, `~` elsewhere. ranks: the
    ranks that each may have, 1 the best. effects: how many of its standard deviations away from real against real, worse counted
    positive, or why that is not known.
    """

    kind: str
    component: str
    quantity: str
    extractor: str
    stratum: str
    region: str
    mix: tuple[float, float] | None
    promise: Quantity | None
    values: tuple[ScoreRow | None, ...]
    contrasts: tuple[Contrast, ...] = field(default=())
    order: str = ""
    ranks: tuple[tuple[int, int] | None, ...] = ()
    unranked: str = ""
    effects: tuple[float | str, ...] = ()

    @property
    def name(self) -> str:
        """component.quantity."""
        return f"{self.component}.{self.quantity}"

    @property
    def where(self) -> str:
        """The extractor, stratum, region and mix that it is about, in words."""
        mix = f"mix ({self.mix[0]:g}, {self.mix[1]:g})" if self.mix else ""
        return ", ".join(part for part in (self.extractor, self.stratum, self.region, mix) if part)

    @property
    def called(self) -> str:
        """Name, with what it is about in brackets."""
        return f"{self.name} ({self.where})" if self.where else self.name

    @property
    def row(self) -> ScoreRow:
        """The first row that there is: unit and direction are the same in all."""
        return next(row for row in self.values if row is not None)


@dataclass(frozen=True)
class Downstream:
    """A pair that a task tells apart, with the upstream quantities that order it the same way, the other way, and cannot tell."""

    line: Line
    contrast: Contrast
    agree: tuple[Line, ...]
    contradict: tuple[Line, ...]
    silent: int

    @property
    def worse(self) -> str:
        """The letter of the one that does worse."""
        return self.contrast.second if self.contrast.better == self.contrast.first else self.contrast.first


def lines(audits: Sequence[Audited]) -> list[Line]:
    """Return every quantity that any of the audits has, upstream ones first, in the order of the first audit."""
    keys = dict.fromkeys(key for audit in audits for key in audit.values)
    return [_line(audits, key) for key in sorted(keys, key=lambda key: key[5] is not None)]


def downstream(found: Sequence[Line]) -> list[Downstream]:
    """Hold what tasks tell apart against what the upstream quantities over all images say of the same pairs."""
    upstream = [line for line in found if line.kind == "upstream" and not line.stratum]
    compared = []
    for line in found:
        for k, contrast in enumerate(line.contrasts):
            # A gain differs between two generators by what the value does: once is enough.
            if line.kind != "task" or line.quantity.endswith(GAIN) or not contrast.better:
                continue
            said = [(other, other.contrasts[k].better) for other in upstream]
            agree = tuple(other for other, better in said if better == contrast.better)
            contradict = tuple(other for other, better in said if better not in ("", contrast.better))
            compared.append(Downstream(line, contrast, agree, contradict, len(upstream) - len(agree) - len(contradict)))
    return compared


def statement(found: Sequence[Line], compared: Sequence[Downstream]) -> str:
    """Say in one paragraph where upstream quantities and tasks disagree, or why that cannot be said."""
    tasks = [line for line in found if line.kind == "task"]
    if not tasks:
        return "There is no task in this plan: upstream cannot be held against downstream."
    if not compared:
        return "No task tells any two of the generators apart: upstream cannot be held against downstream."
    wrong = [d for d in compared if d.contradict]
    if not wrong:
        return f"Nowhere does an upstream quantity that separates two generators contradict a task that does ({len(compared)} compared)."
    named = listed(list(dict.fromkeys(line.called for d in wrong for line in d.contradict)))
    times = f"{len(wrong)} of the {len(compared)} times" if len(compared) > 1 else "The one time"
    return (
        f"{times[:1].upper()}{times[1:]} that a task tells two generators apart, upstream quantities put the two the other way round: "
        f"{named}. To choose a generator by these would be to choose the worse one for that task."
    )


def _line(audits: Sequence[Audited], key: Key) -> Line:
    component, quantity, extractor, stratum, region, real, synthetic = key
    promise = next((p for a in audits if (p := a.promises.get(f"{component}.{quantity.removesuffix(GAIN)}"))), None)
    mix = None if real is None or synthetic is None else (real, synthetic)
    values = tuple(audit.values.get(key) for audit in audits)
    kind = "upstream" if mix is None else "task"
    line = Line(kind, component, quantity, extractor, stratum, region, mix, promise, values)
    pairs = list(combinations(range(len(audits)), 2))
    level = simultaneous_level(len(pairs))
    contrasts = tuple(_contrast(line, audits, i, j, level) for i, j in pairs)
    ranks, order = _ranked(line, [a.letter for a in audits], contrasts)
    effects = tuple(_effect(row, audits[0].content.spec.intervals.floor_splits) for row in values) if kind == "upstream" else ()
    return replace(line, contrasts=contrasts, ranks=ranks, order=order, effects=effects, unranked=_unranked(line, audits))


def _contrast(line: Line, audits: Sequence[Audited], i: int, j: int, level: float) -> Contrast:
    first, second = audits[i].letter, audits[j].letter
    for audit, row in ((audits[i], line.values[i]), (audits[j], line.values[j])):
        if row is None or row.status != "ok":
            reason = "no value" if row is None else row.reason.rstrip(".")
            return Contrast(first, second, reason=f"{audit.letter}: {reason}")
    try:
        found = (_of_tasks if line.kind == "task" else _of_metrics)(line, audits, i, j, level)
    except ValueError as error:
        return Contrast(first, second, reason=str(error))
    better = ""
    if found.separated and line.row.better is not None:
        better = first if (found.value < 0) == (line.row.better == "lower") else second
    return Contrast(first, second, found, better)


def _of_metrics(line: Line, audits: Sequence[Audited], i: int, j: int, level: float) -> Difference:
    """Return the difference of two measured values, from paired half-samples or from two shares of independent images."""
    rows = [row for row in (line.values[i], line.values[j]) if row is not None]
    a, b = ((_number(row), row.n or 0) for row in rows)
    promise = line.promise
    if promise is not None and promise.biased_in_n and a[1] != b[1]:
        raise ValueError(f"{a[1]} and {b[1]} images, and its expected value depends on their number")
    key = (line.component, line.quantity, line.extractor)
    ours, theirs = audits[i].halves.get(key), audits[j].halves.get(key)
    (one, n), (other, m) = (audit.runs(row) for audit, row in zip((audits[i], audits[j]), rows, strict=True))
    if ours and theirs and not line.stratum:
        low, high = (None, None) if promise is None else (promise.low, promise.high)
        sides = (np.array(one), ours[0]), (np.array(other), theirs[0])
        return half_sample_difference(*sides, min(ours[1], theirs[1]), level, low, high)
    if promise is not None and promise.proportion and all(re.match(OF_SHARES, row.ci_method) and row.n for row in rows):
        return share_difference(effective_counts(one, n, level), effective_counts(other, m, level), level)
    without = next((row.ci_method for row in rows if row.ci_method.startswith("no interval")), "")
    raise ValueError(without or ("half-samples are kept over all images only" if line.stratum else "no half-samples were kept"))


def _of_tasks(line: Line, audits: Sequence[Audited], i: int, j: int, level: float) -> Difference:
    """Return the difference of two results of a task, paired by test case and repeat."""
    ours, theirs = (_case_values(line, audits[k]) for k in (i, j))
    if not ours or not theirs:
        raise ValueError("the task gives one number a run, so the variation over cases is unknown")
    shared = sorted(set(ours) & set(theirs))
    repeats = sorted({repeat for _, repeat in shared})
    cases = [c for c in dict.fromkeys(case for case, _ in shared) if all((c, r) in ours and (c, r) in theirs for r in repeats)]
    patients = {row.case_id: row.patient or row.case_id for row in audits[i].cases}
    units = np.array([patients[case] for case in cases])
    if len(set(units.tolist())) < LEAST_UNITS:
        raise ValueError(f"{len(set(units.tolist()))} test patients, at least {LEAST_UNITS} are needed")
    first, second = (np.array([[side[case, r] for r in repeats] for case in cases]) for side in (ours, theirs))
    return mean_difference(first, second, units, level)


def _case_values(line: Line, audit: Audited) -> dict[tuple[str, int], float]:
    """Return the results behind a line by case and repeat; of a gain, the paired difference from real images alone."""
    assert line.mix is not None
    name = line.quantity.removesuffix(GAIN)
    values = audit.results.get((line.component, name, line.region, *line.mix), {})
    if not line.quantity.endswith(GAIN):
        return values
    base = audit.results.get((line.component, name, line.region, *BASELINE), {})
    sign = -1.0 if line.promise is not None and line.promise.better == "lower" else 1.0
    return {key: sign * (value - base[key]) for key, value in values.items() if key in base}


def _ranked(line: Line, letters: Sequence[str], contrasts: Sequence[Contrast]) -> tuple[tuple[tuple[int, int] | None, ...], str]:
    """Return the ranks that each audit with a value may have, and the order in letters."""
    known = [k for k, row in enumerate(line.values) if row is not None and row.value is not None]
    if line.row.better is None or len(known) < 2 or not any(isinstance(c.difference, Difference) for c in contrasts):
        return (None,) * len(letters), ""
    won = {(c.better, c.second if c.better == c.first else c.first) for c in contrasts if c.better}

    def beats(i: int, j: int) -> bool:
        return (letters[i], letters[j]) in won

    ranges = dict(zip(known, rank_ranges([[beats(i, j) for j in known] for i in known]), strict=True))
    turned = 1.0 if line.row.better == "lower" else -1.0
    best_first = sorted(known, key=lambda k: turned * _number(line.values[k]))
    return tuple(ranges.get(k) for k in range(len(letters))), _in_letters([letters[k] for k in best_first], won)


def _in_letters(best_first: Sequence[str], won: set[tuple[str, str]]) -> str:
    text = best_first[0]
    for k, letter in enumerate(best_first[1:], 1):
        cut = all((better, worse) in won for better in best_first[:k] for worse in best_first[k:])
        text += f" {'>' if cut else '~'} {letter}"
    return text


def _number(row: ScoreRow | None) -> float:
    return 0.0 if row is None or row.value is None else row.value


def _unranked(line: Line, audits: Sequence[Audited]) -> str:
    """Return why a quantity may not rank generators, or nothing.

    A task's paired difference on real test images is itself the claim and needs no planted defect.
    """
    if saturated(line):
        return "saturated: at its worst value for every generator"
    if line.kind == "task":
        return ""
    if line.stratum:
        return "not qualified within strata: no rank"
    rows = [audit.qualifications(line) for audit in audits]
    if not all(any(q.outcome == "qualified" for q in mine) for mine in rows):
        return "not qualified: no rank"
    wrong = sorted({words(q.perturbation).lower() for mine in rows for q in mine if q.outcome == "reversed"})
    if wrong:
        return f"takes {listed(wrong)} for better: no rank"
    if line.promise is not None and line.promise.family == "distance":
        return "a distance: its order is no ranking"
    return ""


def saturated(line: Line) -> bool:
    """Return whether every value lies at the worst end of the quantity's range."""
    promise = line.promise
    # A gain has no range of its own.
    if promise is None or line.quantity.endswith(GAIN):
        return False
    known = [row for row in line.values if row is not None and row.value is not None]
    return bool(known) and all(pinned(row, promise) for row in known)


def _effect(row: ScoreRow | None, splits: int) -> float | str:
    """Return how far a value lies from real against real, in its standard deviations over splits, worse counted positive.

    The floor's range is mean -+ t * SD * sqrt(1 + 1/splits), cut at the ends of the quantity's range; the longer side is whole where
    one was cut. The value is that at the floor's number of images, where there is one.
    """
    if row is None or row.value is None:
        return "no value"
    if row.floor is None or row.floor_low is None or row.floor_high is None or row.better is None:
        return "no floor"
    reach = max(row.floor_high - row.floor, row.floor - row.floor_low)
    spread = reach / (float(stats.t.ppf(0.975, splits - 1)) * math.sqrt(1 + 1 / splits))
    if spread <= 0:
        return "no spread"
    value = row.value if row.value_at_floor_n is None else row.value_at_floor_n
    return (value - row.floor) / spread * (1.0 if row.better == "lower" else -1.0)


def _key(row: ScoreRow) -> Key:
    return row.component, row.quantity, row.extractor, row.stratum, row.region, row.real_share, row.synthetic_share
