"""One metric on three image sets: value, interval, and the floor of real against real.

The estimand is the expected value at this number of images. The interval is the value +- t * SD over half-samples (real images by
patient, synthetic ones by `units`), exact binomial where the quantity is a share of independent images; few patients give none. The
floor is the same metric on two patient-disjoint parts of the training set; `value_at_floor_n` is the synthetic arm measured at the
floor's sizes, and that pair is what a criterion judges when the quantity depends on the number of images.

Of several sampling runs of one generator the value is the mean, and how much runs differ is part of the interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import stats

from .asking import Answer, ask
from .cells import derive
from .components import Context, Metric
from .errors import NotComputable
from .images import Comparison, Role
from .quantities import Better, Quantity
from .resampling import draw, halves
from .statistics.intervals import Interval, RunSpread, half_sample_interval, half_sample_rows, run_spread, share_of_runs

LEAST_UNITS = 10
LEAST_SPLITS = 4
ROLES: tuple[Role, ...] = ("train", "test", "synthetic")
Lend = Callable[..., Context]
Ends = tuple[float | None, float | None]


@dataclass(frozen=True)
class Lender:
    """Makes the contexts of a metric's calls, each with a seed of its own; notes: what the metric noted in the call without words."""

    seed: int
    name: str
    version: str
    folder: Path
    device: str
    stage: str = "measure"
    notes: dict[str, str] = field(default_factory=dict)

    def __call__(self, *words: Any) -> Context:
        """Return the context of the call that these words name."""
        seed = derive(self.seed, self.name, self.version, self.stage, *words)
        return Context(seed, self.folder, self.device, notes={} if words else self.notes)


@dataclass
class Arms:
    """Three image sets with every resample that intervals and floors need, drawn once and shared by the metrics that are measured.

    half_samples, floor_splits: how many. seed: the audit's. run: the sampling run that the synthetic images are of, counted from 0.
    An empty test set is left out of all resampling.
    """

    comparison: Comparison
    half_samples: int
    floor_splits: int
    seed: int
    run: int = 0
    _halves: dict[bool, list[Comparison]] = field(default_factory=dict, repr=False)
    _parts: dict[str, Arms] = field(default_factory=dict, repr=False)

    def part(self, label: str, rows: Mapping[Role, np.ndarray]) -> Arms:
        """Return the arms of these rows of each side, which the metrics measured within `label` share."""
        if label not in self._parts:
            comparison = self.comparison.take(**{str(k): v for k, v in rows.items()})
            self._parts[label] = Arms(comparison, self.half_samples, self.floor_splits, self.seed, self.run)
        return self._parts[label]

    def fewer(self, n: int) -> Arms:
        """Return the arms with n synthetic images, whole units as far as they go."""
        rng = np.random.default_rng(derive(self.seed, "fewer", self.run, n))
        rows: dict[Role, np.ndarray] = {"synthetic": draw(self.comparison.units("synthetic"), n, rng)}
        return self.part(f"{n} synthetic images", rows)

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many independent units each side has: patients, files, or images on their own; empty sides are left out."""
        return {role: len(np.unique(self.comparison.units(role))) for role in ROLES if self.comparison.n(role)}

    @property
    def independent(self) -> bool:
        """Whether every synthetic image stands on its own."""
        return self.counts.get("synthetic", 0) == self.comparison.n("synthetic")

    def few(self, roles: Iterable[str] = ROLES) -> str:
        """Return which of these sides has too few units for any interval, or nothing."""
        for role in roles:
            if self.counts.get(role, LEAST_UNITS) < LEAST_UNITS:
                patients = role != "synthetic" and self.comparison.n_patients(role) is not None  # type: ignore[arg-type]
                what = f"{role} patients" if patients else f"independent {role} images"
                return f"{self.counts[role]} {what}, at least {LEAST_UNITS} are needed for an interval"
        return ""

    def halves(self, *, held: bool) -> list[Comparison]:
        """Return the half-samples: of all sides, or of the synthetic side alone with the real ones held fixed.

        The real images of the k-th are the same in every run of a generator, and for every generator.
        """
        if held not in self._halves:
            made = []
            for repeat in range(self.half_samples):
                rng = np.random.default_rng(derive(self.seed, "half-sample", repeat))
                rows = {str(role): half_sample_rows(self.comparison.units(role), rng) for role in ROLES if role in self.counts}
                if self.run and "synthetic" in rows:
                    own = np.random.default_rng(derive(self.seed, "half-sample", repeat, self.run))
                    rows["synthetic"] = half_sample_rows(self.comparison.units("synthetic"), own)
                chosen = {"synthetic": rows["synthetic"]} if held else rows
                made.append(self.comparison.take(**chosen))
            self._halves[held] = made
        return self._halves[held]

    @cached_property
    def floor(self) -> tuple[list[tuple[Comparison, Comparison]], int]:
        """Pairs (real against real, synthetic against the same real) at one number of images an arm, and that number."""
        if self.floor_splits < LEAST_SPLITS:
            raise NotComputable(f"{self.floor_splits} splits were asked for, a floor needs {LEAST_SPLITS}")
        comparison, units = self.comparison, self.comparison.units("train")
        splits = [halves(units, derive(self.seed, "floor", repeat)) for repeat in range(self.floor_splits)]
        n = min(*(len(probe) for _, probe in splits), comparison.n("synthetic"))
        if not n:
            raise NotComputable("there are no synthetic images")
        real, pairs = comparison.replaced("train"), []
        for repeat, (anchor, rest) in enumerate(splits):
            rng = np.random.default_rng(derive(self.seed, "floor draw", repeat))
            probe = rest[draw(units[rest], n, rng)]
            drawn = draw(comparison.units("synthetic"), n, rng)
            pairs.append((real.take(train=anchor, synthetic=probe), comparison.take(train=anchor, synthetic=drawn)))
        return pairs, n


@dataclass(frozen=True)
class Halves:
    """One quantity on half-samples. values (R, B): its value in each of R sampling runs on each of B; n (R, B): their synthetic images.

    Half-sample k draws the same real images whatever generator is measured, so two audits of one plan pair by k. units: of the side
    with fewest.
    """

    values: np.ndarray
    n: np.ndarray
    units: int

    @property
    def method(self) -> str:
        """What is stored beside each value; `units_of` reads it."""
        return f"half-sample of {self.units} units"


def units_of(method: str) -> int:
    """Return the units that `Halves.method` names."""
    return int(method.removeprefix("half-sample of ").removesuffix(" units"))


@dataclass(frozen=True)
class Measured:
    """One metric over the sampling runs of a generator.

    columns: of each quantity's score, or why it has none. by_run: the value in each run. halves: the half-samples behind intervals.
    """

    columns: dict[str, dict[str, Any] | NotComputable]
    by_run: dict[str, list[float]]
    halves: dict[str, Halves]


def score(metric: Metric, arms: Arms, lend: Lend) -> dict[str, dict[str, Any] | NotComputable]:
    """Return for each quantity the columns of its score in one run, or why it has none.

    lend: makes a context whose seed depends on the words that it is given.
    """
    return measured(metric, [arms], lend).columns


def alike(runs: Sequence[Arms]) -> list[Arms]:
    """Return the runs with as many synthetic images each as the one with fewest has, drawn at random by unit.

    A value that depends on the number of images has no mean over runs of different sizes, nor would a share weigh images alike.
    """
    n = min(arms.comparison.n("synthetic") for arms in runs)
    return [arms if arms.comparison.n("synthetic") == n else arms.fewer(n) for arms in runs]


def measured(metric: Metric, runs: Sequence[Arms], lend: Lend) -> Measured:
    """Measure a metric over sampling runs of one size (`alike`), whose real images are the same."""
    columns: dict[str, dict[str, Any] | NotComputable] = {}
    by_run: dict[str, list[float]] = {}
    kept: dict[str, Halves] = {}
    # What a metric notes of itself is that of the first run.
    answers = [ask(metric, arms.comparison, lend(*(["run", k] if k else []))) for k, arms in enumerate(runs)]
    independent = _independent(runs)
    spreads = [_spreads(metric, arms, lend, independent=independent) for arms in runs]
    floor, at_floor, n_floor = _floor(metric, runs, lend)
    for quantity in metric.quantities:
        found = [answer[quantity.name] for answer in answers]
        lacking = next((_of_run(k, value, runs) for k, value in enumerate(found) if isinstance(value, NotComputable)), None)
        if lacking is not None:
            columns[quantity.name] = lacking
            continue
        values = [value for value in found if not isinstance(value, NotComputable)]
        known = Values(values, runs, quantity, _stacked([spread[quantity.name] for spread in spreads]))
        by_run[quantity.name] = known.by_run
        if not isinstance(known.halves, str):
            n = [[half.n("synthetic") for half in arms.halves(held=quantity.fixed_train)] for arms in runs]
            kept[quantity.name] = Halves(known.halves, np.array(n), known.units)
        each = runs[0].comparison.n("synthetic")
        row: dict[str, Any] = {"value": known.mean, "judged_value": known.mean, "judged_n": each, "n": known.n} | _interval(known)
        reference, there = floor[quantity.name], at_floor[quantity.name]
        if not isinstance(reference, str):
            reach = float(stats.t.ppf(0.975, len(reference) - 1) * reference.std(ddof=1) * np.sqrt(1 + 1 / len(reference)))
            low, high = _clip(reference.mean() - reach, quantity), _clip(reference.mean() + reach, quantity)
            row |= {"floor": float(reference.mean()), "floor_low": low, "floor_high": high, "n_floor": n_floor}
            row |= {} if isinstance(there, str) else {"value_at_floor_n": float(there.mean())}
        if quantity.biased_in_n:
            row |= _judged_at_floor(row, known, next((x for x in (reference, there) if isinstance(x, str)), ""))
        columns[quantity.name] = row
    return Measured(columns, by_run, kept)


def _independent(runs: Sequence[Arms]) -> bool:
    """Return whether every synthetic image of every run stands on its own."""
    return all(arms.independent for arms in runs)


def _of_run(run: int, reason: NotComputable, runs: Sequence[Arms]) -> NotComputable:
    return reason if len(runs) == 1 else NotComputable(f"sampling run {run + 1}: {reason}")


def _stacked(spreads: Sequence[np.ndarray | str]) -> np.ndarray | str:
    """Return the half-samples of all runs (R, B), or why there are none."""
    missing = next((spread for spread in spreads if isinstance(spread, str)), None)
    return np.stack(spreads) if missing is None else missing


@dataclass(frozen=True)
class Values:
    """A quantity in each sampling run, with its half-samples (R, B) or why there are none."""

    by_run: list[float]
    runs: Sequence[Arms]
    quantity: Quantity
    halves: np.ndarray | str

    @property
    def mean(self) -> float:
        """Mean over runs."""
        return float(np.mean(self.by_run))

    @property
    def n(self) -> int:
        """Synthetic images of all runs."""
        return sum(arms.comparison.n("synthetic") for arms in self.runs)

    @property
    def units(self) -> int:
        """Independent units of the side with fewest; of the synthetic one where the training images are held fixed."""
        counts = self.runs[0].counts
        return counts["synthetic"] if self.quantity.fixed_train else min(counts.values())

    def interval(self, value: float) -> Interval | str:
        """Return the interval that the half-samples give a value, or why there is none."""
        if isinstance(self.halves, str):
            return self.halves
        try:
            spread = run_spread(np.array(self.by_run), self.halves, self.units)
            runs: tuple[RunSpread, ...] = () if spread is None else (spread,)
            return half_sample_interval(value, self.halves.mean(axis=0), self.quantity.low, self.quantity.high, self.units, runs=runs)
        except ValueError as error:
            return str(error)


def _interval(known: Values) -> dict[str, Any]:
    """Return the columns of the interval of a value, or the reason why there is none."""
    quantity, runs = known.quantity, known.runs
    few = next((text for arms in runs if (text := arms.few(("train", "test")))), "")
    independent = _independent(runs)
    interval: Interval | str
    if quantity.no_interval or few:
        interval = quantity.no_interval or few
    elif quantity.proportion and independent:
        interval = share_of_runs(known.by_run, [arms.comparison.n("synthetic") for arms in runs])
    else:
        interval = known.interval(known.mean)
    if isinstance(interval, str):
        row: dict[str, Any] = {"ci_method": f"no interval: {interval}"}
    else:
        row = {"ci_low": interval.low, "ci_high": interval.high, "bound_low": interval.bound_low, "bound_high": interval.bound_high,
               "ci_method": interval.method, "level": interval.level, "sides": "two"}  # fmt: skip
    if quantity.proportion and not independent:
        files = sum(arms.counts["synthetic"] for arms in runs)
        row["ci_method"] += f"; not binomial: {known.n} synthetic images of {files} files"
    if len(runs) > 1:
        row["ci_method"] += f"; mean of {len(runs)} sampling runs"
    return row


def _judged_at_floor(row: dict[str, Any], known: Values, why: str) -> dict[str, Any]:
    """Return what a criterion judges of a quantity that depends on n: the value at the floor's n with its bounds."""
    nothing = {"judged_value": None, "bound_low": None, "bound_high": None, "judged_n": None}
    if row.get("value_at_floor_n") is None:
        return nothing | {"ci_method": f"{row['ci_method']}; not judged: {why}".lstrip("; ")}
    judged = {"judged_value": row["value_at_floor_n"], "judged_n": row["n_floor"], "bound_low": None, "bound_high": None}
    interval = known.interval(row["value_at_floor_n"])
    return judged if isinstance(interval, str) else judged | {"bound_low": interval.bound_low, "bound_high": interval.bound_high}


def _spreads(metric: Metric, arms: Arms, lend: Lend, *, independent: bool) -> dict[str, np.ndarray | str]:
    """Return the values of half-samples of each quantity, or why there are none; memorisation holds the training set fixed.

    independent: whether every synthetic image of every run stands on its own.
    """
    few = arms.few()
    spreads: dict[str, np.ndarray | str] = {}
    for held in (False, True):
        mine = [q for q in metric.quantities if q.fixed_train == held]
        # A share of independent images has its exact interval, but what a criterion judges at the floor's n needs the spread.
        exact = [q.name for q in mine if q.proportion and not q.biased_in_n and independent and not few]
        wanted = [q.name for q in mine if not q.no_interval and q.name not in exact]
        blank = {q.name: q.no_interval or few for q in mine}
        spreads |= blank
        if wanted and not few:
            answers = _answers(metric, arms.halves(held=held), lend, "half")
            spreads |= {
                name: value if not isinstance(value, str) else f"too few images for half-samples ({value})"
                for name, value in answers.items()
                if name in wanted
            }
    return spreads


def _floor(
    metric: Metric, runs: Sequence[Arms], lend: Lend
) -> tuple[dict[str, np.ndarray | str], dict[str, np.ndarray | str], int]:  # fmt: skip
    """Return the metric on real against real, and on synthetic of all runs against the same real, at equal numbers of images."""
    try:
        floors = [arms.floor for arms in runs]
    except NotComputable as error:
        none: dict[str, np.ndarray | str] = {q.name: f"no floor: {error}" for q in metric.quantities}
        return none, none, 0
    floor = _answers(metric, [real for real, _ in floors[0][0]], lend, "floor")
    at_floor = _answers(metric, [made for pairs, _ in floors for _, made in pairs], lend, "floor")
    return _without_floor(floor), _without_floor(at_floor), floors[0][1]


def _without_floor(found: Mapping[str, np.ndarray | str]) -> dict[str, np.ndarray | str]:
    """Return the values with the reasons said of the floor."""
    return {name: f"no floor: {value}" if isinstance(value, str) else value for name, value in found.items()}


def _answers(metric: Metric, comparisons: Iterable[Comparison], lend: Lend, word: str) -> dict[str, np.ndarray | str]:
    """Return each quantity's values over the comparisons; one comparison without a number leaves the reason instead."""
    values: dict[str, list[float]] = {q.name: [] for q in metric.quantities}
    reasons: dict[str, str] = {}
    for repeat, comparison in enumerate(comparisons):
        try:
            answer: Answer = ask(metric, comparison, lend(word, repeat))
        except NotComputable as error:
            answer = {q.name: error for q in metric.quantities}
        for name, value in answer.items():
            if isinstance(value, NotComputable):
                reasons.setdefault(name, str(value))
            else:
                values[name].append(value)
        if len(reasons) == len(values):
            break
    return {name: reasons[name] if name in reasons else np.array(found) for name, found in values.items()}


def _clip(value: float, quantity: Quantity) -> float:
    value = value if quantity.low is None else max(value, quantity.low)
    return float(value if quantity.high is None else min(value, quantity.high))


def outside(interval: Ends, floor: Ends, better: Better | None) -> Literal["worse", "better", ""]:
    """Say on which side an interval lies beyond the floor's range; empty where it does not, or where either is not known."""
    (low, high), (floor_low, floor_high) = interval, floor
    if low is None or high is None or floor_low is None or floor_high is None or better is None:
        return ""
    if low > floor_high:
        return "worse" if better == "lower" else "better"
    if high < floor_low:
        return "better" if better == "lower" else "worse"
    return ""
