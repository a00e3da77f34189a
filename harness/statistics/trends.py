"""Whether a quantity notices a planted defect: null band, trend over doses, power at the dose of concern."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from scipy import stats

from .intervals import lower_bound_proportion, upper_bound_proportion

BAND = 0.99
# Null splits overlap: what rests on the anchor alone, half of the images, varies over splits half as much (in variance) as over
# independent data. Simulated in tests/acceptance/test_false_alarms.py.
OVERLAP = math.sqrt(2)
MAX_FALSE_ALARM = 0.10
LEAST_REVERSAL = 1.0
MIN_POWER = 0.80
ALPHA = 0.05
_FEWEST_NULLS = 4

Decision = Literal["qualified", "conditional", "not_qualified", "reversed"]


def jonckheere(groups: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return z and the one-sided p for a trend that increases over the groups (Jonckheere 1954; ties: Hollander & Wolfe 1999).

    Where every value is the same there is no evidence of a trend: z is 0 and p is 1.
    """
    groups = [_numbers(g) for g in groups]
    if len(groups) < 2 or any(len(g) == 0 for g in groups):
        raise ValueError("a trend needs at least two groups, none of them empty")
    pairs = [(a, b) for i, a in enumerate(groups) for b in groups[i + 1 :]]
    statistic = sum(float((a[:, None] < b).sum() + 0.5 * (a[:, None] == b).sum()) for a, b in pairs)
    sizes = np.array([len(g) for g in groups], dtype=np.float64)
    ties = np.unique(np.concatenate(groups), return_counts=True)[1].astype(np.float64)
    n = float(sizes.sum())

    def twos(x: np.ndarray | float) -> float:
        return float(np.sum(x * (np.asarray(x) - 1)))

    def threes(x: np.ndarray | float) -> float:
        return float(np.sum(x * (np.asarray(x) - 1) * (np.asarray(x) - 2)))

    def fives(x: np.ndarray | float) -> float:
        return float(np.sum(x * (np.asarray(x) - 1) * (2 * np.asarray(x) + 5)))

    variance = (fives(n) - fives(sizes) - fives(ties)) / 72 + twos(sizes) * twos(ties) / (8 * twos(n))
    if n > 2:
        variance += threes(sizes) * threes(ties) / (36 * threes(n))
    if len(ties) == 1 or variance <= 0:
        return 0.0, 1.0
    z = (statistic - (n**2 - float((sizes**2).sum())) / 4) / math.sqrt(variance)
    return z, float(stats.norm.sf(z))


def adjacent_reversals(groups: Sequence[np.ndarray], alpha: float = ALPHA) -> bool:
    """Return whether some step from one group to the next goes down (one-sided Mann-Whitney, Holm over the steps)."""
    groups = [_numbers(g) for g in groups]
    p_values = [
        float(stats.mannwhitneyu(after, before, alternative="less").pvalue)
        for before, after in pairwise(groups)
        if np.ptp(np.concatenate([before, after])) > 0
    ]
    # Holm rejects something exactly where Bonferroni rejects the smallest p.
    return bool(p_values) and min(p_values) * (len(groups) - 1) < alpha


def null_band(values: np.ndarray, coverage: float = BAND) -> tuple[float, float]:
    """Return the band that holds a further null value: the wider of empirical quantiles and normal prediction interval.

    The prediction interval is mean +- t(n-1) * SD * sqrt(1 + 1/n). Values that are all the same give a band of no width.
    """
    values = _numbers(values)
    if len(values) < 2:
        raise ValueError(f"a null band needs at least 2 values, got {len(values)}")
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    tail, n = (1 - coverage) / 2, len(values)
    reach = float(stats.t.ppf(1 - tail, n - 1)) * float(values.std(ddof=1)) * math.sqrt(1 + 1 / n)
    low, high = (float(x) for x in np.quantile(values, [tail, 1 - tail]))
    mean = float(values.mean())
    return min(low, mean - reach), max(high, mean + reach)


def detection_band(values: np.ndarray) -> tuple[float, float]:
    """Return the null band of overlapping splits, made wider by `OVERLAP` so that it holds for data that the audit has not seen."""
    low, high = null_band(values)
    middle = float(np.mean(values))
    return middle - OVERLAP * (middle - low), middle + OVERLAP * (high - middle)


@dataclass(frozen=True)
class Null:
    """Values on real-against-real splits: the first half, in random order, sets the band that detects, on the other half it is checked.

    spread: standard deviation over all splits, 0 where they do not vary.
    """

    values: np.ndarray
    low: float
    high: float
    alarms: int
    checked: int
    spread: float

    @classmethod
    def of(cls, values: np.ndarray) -> Null:
        """Set the band and count the alarms; `ValueError` for fewer than four values."""
        values = _numbers(values)
        if len(values) < _FEWEST_NULLS:
            raise ValueError(f"qualification needs at least {_FEWEST_NULLS} null splits, got {len(values)}")
        setting, checking = np.array_split(values, 2)
        low, high = detection_band(setting)
        alarms = int(((checking < low) | (checking > high)).sum())
        spread = float(values.std(ddof=1)) if np.ptp(values) > 0 else 0.0
        return cls(values, low, high, alarms, len(checking), spread)

    @property
    def false_alarm_high(self) -> float:
        """One-sided 95 % upper bound of the false-alarm rate."""
        return upper_bound_proportion(self.alarms, self.checked)

    def beyond(self, values: np.ndarray, sign: float) -> int:
        """Return how many values lie beyond the band on the worse side: above it for sign 1, below it for -1."""
        return int((values > self.high).sum() if sign > 0 else (values < self.low).sum())

    def response(self, values: np.ndarray, clean: np.ndarray, sign: float) -> float | None:
        """Return the mean shift from the clean replicates in null standard deviations, worse counted positive.

        clean: replicates of the same probes at severity 0, so that what sets these probes apart from others drops out. None where the
        null splits do not vary.
        """
        # Adding zero turns a negative zero into a plain one.
        return sign * float(values.mean() - clean.mean()) / self.spread + 0.0 if self.spread > 0 else None


@dataclass(frozen=True)
class DoseResponse:
    """What became of a quantity when one defect was planted at rising doses.

    response: mean shift at the dose of concern from severity 0 in null standard deviations, worse counted positive, None where the
    null splits do not vary. power, power_low: share of replicates at the dose of concern outside the null band on the worse side, and its
    one-sided 95 % lower bound. stability: smallest such share among the planted probes. detected_at: smallest dose from which on
    every dose has a lower bound of at least 0.8.
    """

    trend_p: float
    power: float
    power_low: float
    stability: float
    detected_at: float | None
    response: float | None
    outcome: Decision
    reason: str


@dataclass(frozen=True)
class Harmless:
    """The change of no consequence that moved a quantity most: its name, by how much (in the quantity's unit, either way)."""

    name: str
    shift: float


def qualify(
    null: Null,
    doses: Mapping[float, Sequence[np.ndarray]],
    dose_of_concern: float,
    worse: Literal["higher", "lower"],
    harmless: Harmless | None = None,
) -> DoseResponse:
    """Decide whether a quantity noticed the planted defect: quiet without it, in the right direction, in time, and it alone.

    doses: values of the replicates by dose, for each planted probe (fault seed) apart; where dose 0 is not among them, the null
    splits stand in for it. harmless: what the quantity must not answer to as strongly as to the defect.
    """
    probes = {float(dose): [_numbers(p) for p in found] for dose, found in doses.items()}
    values = _with_dose_zero(null, probes, dose_of_concern)
    sign = 1.0 if worse == "higher" else -1.0
    ordered = [sign * values[dose] for dose in sorted(values)]
    at = values[dose_of_concern]
    hits = null.beyond(at, sign)
    power_low = lower_bound_proportion(hits, len(at))
    stability = min(null.beyond(probe, sign) / len(probe) for probe in probes[dose_of_concern])
    trend_p = jonckheere(ordered)[1]
    noticed = (
        f"noticed {hits} of {len(at)} replicates at dose {dose_of_concern:g} "
        f"(lower 95 % bound {power_low:.1%}, at least {MIN_POWER:.0%} needed)"
    )
    # The first that holds decides; the wrong direction comes first, because it counts against the quantity whatever else holds.
    objections: list[tuple[bool, Decision, str]] = [
        *_reversals(null, values, dose_of_concern, sign),
        (
            null.false_alarm_high > MAX_FALSE_ALARM,
            "not_qualified",
            (
                f"not quiet: {null.alarms} false alarms on {null.checked} null splits "
                f"(upper 95 % bound {null.false_alarm_high:.1%}, at most {MAX_FALSE_ALARM:.0%} allowed)"
            ),
        ),
        (trend_p >= ALPHA, "not_qualified", f"does not follow the dose: one-sided trend p = {trend_p:.2g}, below {ALPHA:g} needed"),
        (
            adjacent_reversals(ordered),
            "not_qualified",
            f"turns back from one dose to the next (Mann-Whitney, Holm over {len(ordered) - 1} steps, p below {ALPHA:g})",
        ),
        (power_low < MIN_POWER, "not_qualified", noticed),
        (
            stability < MIN_POWER,
            "not_qualified",
            f"depends on the planted probe: one of {len(probes[dose_of_concern])} was noticed in {stability:.0%} of its replicates only",
        ),
        *_unspecific(null.spread, sign * float(at.mean() - values[0.0].mean()), harmless),
    ]
    outcome: Decision
    outcome, reason = next(((word, why) for holds, word, why in objections if holds), ("qualified", noticed))
    return DoseResponse(
        trend_p=trend_p,
        power=hits / len(at),
        power_low=power_low,
        stability=stability,
        detected_at=_detected_at(null, values, sign),
        response=null.response(at, values[0.0], sign),
        outcome=outcome,
        reason="; ".join([reason, *_caveats(null, outcome, len(probes[dose_of_concern]), harmless)]),
    )


def _caveats(null: Null, outcome: Decision, probes: int, harmless: Harmless | None) -> list[str]:
    """Return what a reader must know beside the reason."""
    unit = [] if null.spread > 0 else ["the null splits do not vary, so the response has no unit"]
    if outcome != "qualified":
        return unit
    controls = [] if harmless is not None else ["its specificity was not tested, for no harmless change was"]
    return [*unit, *controls, *(["its stability was not tested, for one probe was planted"] if probes == 1 else [])]


def _reversals(null: Null, values: Mapping[float, np.ndarray], dose_of_concern: float, sign: float) -> list[tuple[bool, Decision, str]]:
    """Return in which ways a quantity may call the defect an improvement."""
    wrong_p = jonckheere([-sign * values[dose] for dose in sorted(values)])[1]
    at = values[dose_of_concern]
    misled = null.beyond(at, -sign)
    misled_low = lower_bound_proportion(misled, len(at))
    # Replicates share a probe, so a trend within the noise of real images can look significant; it misleads nobody.
    # Better than its own clean probes and than real images at large: one odd clean probe would make any defect look like a gain.
    top = float(values[max(values)].mean())
    better = min(-sign * (top - float(values[0.0].mean())), -sign * (top - float(null.values.mean())))
    flattered = better / null.spread if null.spread > 0 else math.inf * better if better else 0.0
    by = "" if math.isinf(flattered) else f"; by {flattered:.2g} null SD"
    return [
        (
            wrong_p < ALPHA and flattered >= LEAST_REVERSAL,
            "reversed",
            f"improves as the defect grows (one-sided trend p = {wrong_p:.2g}, below {ALPHA:g}{by})",
        ),
        (
            misled_low >= MIN_POWER,
            "reversed",
            (
                f"looks better than real images in {misled} of {len(at)} replicates at dose {dose_of_concern:g} "
                f"(lower 95 % bound {misled_low:.1%}, {MIN_POWER:.0%} or more is a reversal)"
            ),
        ),
    ]


def _unspecific(spread: float, shift: float, harmless: Harmless | None) -> list[tuple[bool, Decision, str]]:
    """Return whether the quantity answers to a harmless change as strongly as to the defect. shift: under the defect, worse positive."""
    if harmless is None:
        return []
    unit, scale = (" null SD", spread) if spread > 0 else ("", 1.0)
    said = (
        f"moves by {harmless.shift / scale:.2g}{unit} under {harmless.name}, which is harmless, and by {shift / scale:.2g} under the defect"
    )
    return [(harmless.shift >= shift, "conditional", f"not specific: {said}; a guard must separate the two")]


def _detected_at(null: Null, values: Mapping[float, np.ndarray], sign: float) -> float | None:
    """Return the smallest dose from which on every dose is noticed with a lower bound of at least 0.8."""
    found = None
    for dose in sorted((d for d in values if d > 0), reverse=True):
        if lower_bound_proportion(null.beyond(values[dose], sign), len(values[dose])) < MIN_POWER:
            break
        found = dose
    return found


def _with_dose_zero(null: Null, probes: Mapping[float, Sequence[np.ndarray]], dose_of_concern: float) -> dict[float, np.ndarray]:
    """Return the values by dose with the probes put together, dose 0 included."""
    if dose_of_concern not in probes or dose_of_concern <= 0 or any(len(p) == 0 for found in probes.values() for p in found):
        raise ValueError(f"every dose needs replicates, the dose of concern ({dose_of_concern:g}) too")
    values = {dose: np.concatenate(found) for dose, found in probes.items()}
    return values if 0.0 in values else {0.0: null.values, **values}


def _numbers(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64).ravel()
    if not np.isfinite(values).all():
        raise ValueError("values must be finite")
    return values
