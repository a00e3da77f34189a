"""Combined signals: what several numbers say together that none of them says alone, as sentences for the findings register.

The signatures are those of Deo et al. 2025 (Metrics that Matter: Evaluating Image Quality Metrics for Medical Image Generation,
Table 7), with the range of real against real of this audit in the place of the paper's baseline: distances that improve while
copies show (row 5) or while coverage falls (row 4), memorisation that falls while distances grow (section 4.1.3), metrics that do
not see local detail (row 3), and metrics at their worst possible value (section 4.1.1). A signature speaks of the whole set of images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from .components import FailureMode
from .evidence import Evidence, judged, spaced
from .quantities import Family, Quantity
from .records import FindingRow, QualificationRow, ScoreRow
from .spec import Criterion, Purpose
from .statistics.intervals import binomial_interval
from .statistics.trends import ALPHA, MIN_POWER
from .verdicts import Band

AT_THE_END = 1e-9
NEAR_THE_END = 0.01
_MOST_NAMED = 8

Side = Literal["worse", "better"]
Severity = Literal["note", "warning", "adverse"]
Measured = tuple[ScoreRow, Quantity]


def findings(purposes: Mapping[str, Purpose], evidence: Evidence, cell: str) -> list[FindingRow]:
    """Return one finding for each signature that is observed; adverse where it speaks against the images, else a warning or a note."""
    promises = evidence.quantities
    signs: list[tuple[Severity, str, str, str]] = [
        ("adverse", "memorisation", memorisation_signature(purposes, evidence), ""),
        ("adverse", "collapse", collapse_signature(evidence.scores, promises), ""),
        ("adverse", "invention", invention_signature(evidence.scores, promises), ""),
        *(("warning" if rests else "note", "blindness", text, rests) for text, rests in blindness(purposes, evidence)),
        ("warning", "saturation", saturation(evidence.scores, promises), ""),
    ]
    return [FindingRow(cell=cell, severity=s, kind=kind, text=text, evidence=rests) for s, kind, text, rests in signs if text]


def memorisation_evaluated(evidence: Evidence) -> bool:
    """Return whether rule R5 had both a memorisation quantity and a distance to look at."""
    measured = {f"{r.component}.{r.quantity}" for r in evidence.scores if r.stage == "measure" and r.status == "ok"}
    families = {evidence.quantities[name].family for name in measured if name in evidence.quantities}
    return {"memorisation", "distance"} <= families


def memorisation_signature(purposes: Mapping[str, Purpose], evidence: Evidence) -> str:
    """Rule R5: return a sentence if copies show while a distance is better than on real against real, else nothing.

    A memorisation quantity shows copies where it fails a criterion of any purpose, or where its bound lies outside the range
    of real against real; whether it was qualified does not matter, for bad news needs fewer preconditions than good news.
    """
    whole = _measured(evidence.scores, evidence.quantities)
    copied = [text for name, purpose in purposes.items() for c in purpose.criteria if (text := _fails(name, c, evidence))]
    copied += [f"{_where(r)} is worse than on real against real" for r, q in _of(whole, "memorisation") if _beyond(r, q, "worse")]
    closer = [_where(r) for r, q in _of(whole, "distance") if _improved(r, q)]
    if not copied or not closer:
        return ""
    return f"Signature of memorisation: {'; '.join(copied)}; while {_listed(closer)} {_be(closer)} better than on real against real."


def collapse_signature(scores: Iterable[ScoreRow], promises: Mapping[str, Quantity]) -> str:
    """Return a sentence if coverage is worse than on real against real while the distances of that extractor do not show it.

    They do not show it where one of them is better than on real against real, or where none is worse.
    """
    seen = []
    for rows in _by_extractor(_measured(scores, promises)):
        lost = [_where(r) for r, q in _of(rows, "coverage") if _beyond(r, q, "worse")]
        distances = _of(rows, "distance")
        closer = [_where(r) for r, q in distances if _improved(r, q)]
        kept = [_where(r) for r, q in distances] if all(_within(r, q) for r, q in distances) else []
        if lost and (closer or kept):
            word = "better" if closer else "no worse"
            seen.append(f"{_listed(lost)} {_be(lost)} worse than on real against real, while {_listed(closer or kept)} "
                        f"{_be(closer or kept)} {word}")  # fmt: skip
    return f"Signature of collapse: {'; '.join(seen)}." if seen else ""


def invention_signature(scores: Iterable[ScoreRow], promises: Mapping[str, Quantity]) -> str:
    """Return a sentence if memorisation looks better than on real against real while a distance of that extractor is worse.

    Then the images lie farther from the training images than real ones do, which says that they differ and not how.
    """
    seen = []
    for rows in _by_extractor(_measured(scores, promises)):
        fewer = [_where(r) for r, q in _of(rows, "memorisation") if _beyond(r, q, "better")]
        farther = [_where(r) for r, q in _of(rows, "distance") if _beyond(r, q, "worse")]
        if fewer and farther:
            seen.append(f"{_listed(fewer)} {_be(fewer)} better than on real against real, while {_listed(farther)} {_be(farther)} worse")
    if not seen:
        return ""
    return (
        f"Signature of invention: {'; '.join(seen)}. The images lie farther from the training images than other real images do; "
        "invented structures do this, and so do noise and shifts."
    )


def saturated(scores: Iterable[ScoreRow], promises: Mapping[str, Quantity]) -> list[ScoreRow]:
    """Return the scores of whole sets of images that are at their worst possible value although real against real is not.

    scores: of one audit or of several. promises: by `component.quantity`. Without a floor nothing is known of real against real.
    """
    return [
        row for row, promise in _measured(scores, promises)
        if pinned(row, promise)
        and row.floor is not None and not _at_worst(row.floor, promise, AT_THE_END) and not _near(row.floor, promise)
    ]  # fmt: skip


def pinned(row: ScoreRow, promise: Quantity) -> bool:
    """Return whether a score is at the worst end of its range: its value, or its whole two-sided interval in the last hundredth."""
    return _at_worst(row.value, promise, AT_THE_END) or all(_near(end, promise) for end in (row.ci_low, row.ci_high))


def saturation(scores: Iterable[ScoreRow], promises: Mapping[str, Quantity]) -> str:
    """Return a sentence that names the saturated quantities, which cannot rank generators, or nothing."""
    names = [_where(row) for row in saturated(scores, promises)]
    if not names:
        return ""
    return (
        f"Saturation: {_listed(names)} {_be(names)} at the worst end of the scale, where real against real is not, "
        "and cannot tell this generator from a worse one."
    )


def blindness(purposes: Mapping[str, Purpose], evidence: Evidence) -> list[tuple[str, str]]:
    """Return a sentence for each claimed failure mode that quantities of this audit did not notice, local morphology first.

    Each comes with the criteria that rest on such a quantity, as `purpose/criterion`, or nothing where none does.
    """
    claims = [(name, c) for name, purpose in purposes.items() for c in purpose.criteria]
    modes = sorted({mode for _, c in claims for mode in evidence.claimed_modes(c)})
    modes.sort(key=lambda mode: mode != FailureMode.LOCAL_MORPHOLOGY)
    found = []
    for mode in modes:
        tested = [q for q in evidence.qualifications if q.failure_mode == mode and q.outcome is not None]
        resting = [(name, c) for name, c in claims if mode in evidence.claimed_modes(c)]
        lacking = {f"{name}/{c.id}": text for name, c in resting if (text := _rests_on_blind(c, tested))}
        sentences = [*_blind_to_all(mode, tested), *(f"Criterion {at} rests on {text}." for at, text in lacking.items())]
        if sentences:
            found.append((" ".join(sentences), ", ".join(lacking)))
    return found


def _blind_to_all(mode: str, tested: Sequence[QualificationRow]) -> list[str]:
    """Return the sentence on the quantities that noticed no planted defect of a failure mode, if there are any."""
    rows: dict[str, list[QualificationRow]] = {}
    for row in sorted(tested, key=lambda q: (q.component, q.quantity, q.extractor)):
        rows.setdefault(_where(row), []).append(row)
    blind = [name for name, found in rows.items() if all(map(_blind, found))]
    if not blind:
        return []
    planted = ", ".join(sorted({row.perturbation for row in tested}))
    return [f"{len(blind)} of {len(rows)} quantities noticed no planted defect of {spaced(mode)} ({planted}): {_listed(blind)}."]


def _rests_on_blind(criterion: Criterion, tested: Sequence[QualificationRow]) -> str:
    """Return the quantity of a criterion and the planted defects that it did not notice, or nothing."""
    missed: dict[str, set[str]] = {}
    for row in tested:
        if f"{row.component}.{row.quantity}" == criterion.quantity and criterion.extractor in (None, row.extractor) and _blind(row):
            missed.setdefault(_where(row), set()).add(row.perturbation)
    return "; ".join(f"{name}, which did not notice {', '.join(sorted(names))}" for name, names in sorted(missed.items()))


def _blind(row: QualificationRow) -> bool:
    """Return whether a quantity lacked power or trend; one that was not quiet or turned back is not blind."""
    weak = row.power_low is not None and row.power_low < MIN_POWER
    return row.outcome == "not_qualified" and (weak or (row.trend_p is not None and row.trend_p >= ALPHA))


def _measured(scores: Iterable[ScoreRow], promises: Mapping[str, Quantity]) -> list[Measured]:
    """Return the scores of whole sets of images with their promises, by name."""
    rows = [
        (r, promises[f"{r.component}.{r.quantity}"]) for r in scores
        if r.stage == "measure" and r.status == "ok" and not r.stratum and not r.perturbation and f"{r.component}.{r.quantity}" in promises
    ]  # fmt: skip
    return sorted(rows, key=lambda pair: (pair[0].component, pair[0].quantity, pair[0].extractor))


def _by_extractor(rows: Sequence[Measured]) -> list[list[Measured]]:
    """Distances and coverage are compared only within one set of features, in which they see the same differences."""
    return [[pair for pair in rows if pair[0].extractor == name] for name in sorted({row.extractor for row, _ in rows})]


def _of(rows: Sequence[Measured], family: Family) -> list[Measured]:
    return [pair for pair in rows if pair[1].family == family]


def _value(row: ScoreRow) -> float | None:
    """Return the value that compares with the floor: the one at its number of images, on which tails and copies depend."""
    return row.judged_value if row.value_at_floor_n is None else row.value_at_floor_n


def _upwards(promise: Quantity, side: Side) -> bool:
    return (promise.better == "lower") == (side == "worse")


def _beyond(row: ScoreRow, promise: Quantity, side: Side) -> bool:
    """Return whether the bound of a score, or its value where it has none, lies beyond the range of real against real."""
    upwards = _upwards(promise, side)
    bound = row.bound_low if upwards else row.bound_high
    return _past(_value(row) if bound is None else bound, _floor_edge(row, promise, upwards), upwards)


def _improved(row: ScoreRow, promise: Quantity) -> bool:
    return _past(_value(row), row.floor, _upwards(promise, "better"))


def _within(row: ScoreRow, promise: Quantity) -> bool:
    """Return whether a score is known to be no worse than real against real."""
    upwards = _upwards(promise, "worse")
    value, edge = _value(row), _floor_edge(row, promise, upwards)
    return value is not None and edge is not None and not _past(value, edge, upwards)


def _past(value: float | None, limit: float | None, upwards: bool) -> bool:
    return value is not None and limit is not None and (value > limit if upwards else value < limit)


def _floor_edge(row: ScoreRow, promise: Quantity, upper: bool) -> float | None:
    """Return where real against real ends; splits that agree say little of the share among other images."""
    edge = row.floor_high if upper else row.floor_low
    if not promise.proportion or edge is None or row.floor is None or not row.n_floor:
        return edge
    exact = binomial_interval(round(row.floor * row.n_floor), row.n_floor)
    return max(edge, exact.high) if upper else min(edge, exact.low)


def _fails(purpose: str, criterion: Criterion, evidence: Evidence) -> str:
    """Return that a criterion on memorisation is not met on the side that speaks for copies, or nothing."""
    promise, band = evidence.quantities.get(criterion.quantity), Band.of(criterion)
    if promise is None or promise.family != "memorisation":
        return ""
    worse_side = Band(band.low, None) if promise.better == "higher" else Band(None, band.high)
    for found in judged(criterion, evidence):
        decision, sentence = found.decide(worse_side)
        if decision == "not_met":
            return f"{criterion.quantity} does not meet {purpose} {criterion.id} ({sentence})"
    return ""


def _worst(promise: Quantity) -> float | None:
    return promise.low if promise.better == "higher" else promise.high


def _at_worst(value: float | None, promise: Quantity, distance: float) -> bool:
    worst = _worst(promise)
    return value is not None and worst is not None and abs(value - worst) <= distance


def _near(value: float | None, promise: Quantity) -> bool:
    """Return whether a value lies in the worst hundredth of its range; an open range has none."""
    if promise.low is None or promise.high is None:
        return False
    return _at_worst(value, promise, NEAR_THE_END * (promise.high - promise.low))


def _where(row: ScoreRow | QualificationRow) -> str:
    return f"{row.component}.{row.quantity}{f' ({row.extractor})' if row.extractor else ''}"


def _be(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _listed(names: Sequence[str]) -> str:
    """Return the first names in a row, and how many more there are."""
    named = ", ".join(names[:_MOST_NAMED])
    return f"{named} and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else named
