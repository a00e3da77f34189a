"""Whether planted defects were answered here as the literature reports: one sentence per statement, derived from stored rows alone.

The statements are those of Deo et al. (2025), Metrics that matter: section 4.1 and Table 7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from .batteries import FAMILIES, HARMLESS, TASK, Battery
from .components import FailureMode
from .records import ResponseRow
from .statistics.trends import LEAST_REVERSAL
from .wording import counted, listed, signed

Direction = Literal["worse", "better", "unmoved"]
Finding = Literal["agrees", "disagrees", "cannot tell"]
MOST, FEW = 2 / 3, 1 / 3
SHARE = 0.5
LEAST_SHIFT = 0.2
DIRECTIONS = {"worse": "became worse", "better": "became better", "unmoved": "stayed as they were"}
EVERY_DEFECT = tuple(mode for mode in FailureMode if mode.value != HARMLESS)
SHIFTS = (
    FailureMode.MEMORISATION, FailureMode.INTERNAL_DUPLICATION, FailureMode.DISTRIBUTION_SHIFT, FailureMode.MODE_COLLAPSE,
    FailureMode.MODE_INVENTION,
)  # fmt: skip


@dataclass(frozen=True)
class Reported:
    """A statement of the literature. who: what it calls the quantities; pick: which rows it is about."""

    statement: str
    who: str
    pick: Callable[[Battery, ResponseRow], bool]
    modes: tuple[FailureMode, ...]
    expected: Direction


@dataclass(frozen=True)
class Compared:
    """A statement beside what was observed here."""

    statement: str
    observed: str
    finding: Finding


def _distance(battery: Battery, row: ResponseRow) -> bool:
    return battery.family(row) == "distance" and not _local(battery, row)


def _global(battery: Battery, row: ResponseRow) -> bool:
    return battery.family(row) in FAMILIES and not _local(battery, row)


def _task(battery: Battery, row: ResponseRow) -> bool:
    return battery.family(row) == TASK


def _local(battery: Battery, row: ResponseRow) -> bool:
    """Return whether a metric looks at masks, or claims to see local morphology."""
    return row.component in battery.local


def _task_or_local(battery: Battery, row: ResponseRow) -> bool:
    return _task(battery, row) or _local(battery, row)


def _named(*names: str) -> Callable[[Battery, ResponseRow], bool]:
    return lambda battery, row: row.quantity in names and battery.family(row) != TASK


STATEMENTS = (
    Reported("Distances worsen with noise.", "distances", _distance, (FailureMode.NOISE,), "worse"),
    Reported("Distances improve when training images are copied.", "distances", _distance, (FailureMode.MEMORISATION,), "better"),
    Reported(
        "AuthPct falls when training images are copied.", "authenticity quantities", _named("authpct", "authenticity"),
        (FailureMode.MEMORISATION,), "worse",
    ),
    Reported(
        "Repetition within the set is nearly invisible to distances.", "distances", _distance,
        (FailureMode.INTERNAL_DUPLICATION,), "unmoved",
    ),
    Reported(
        "Recall reacts to mode collapse.", "recall quantities", _named("recall", "beta_recall"), (FailureMode.MODE_COLLAPSE,), "worse",
    ),
    Reported("Distances improve under mode collapse.", "distances", _distance, (FailureMode.MODE_COLLAPSE,), "better"),
    Reported(
        "Damage to local morphology is nearly invisible to metrics of the whole image.", "metrics of the whole image", _global,
        (FailureMode.LOCAL_MORPHOLOGY,), "unmoved",
    ),
    Reported(
        "The task, or a metric that looks at masks, notices damage to local morphology.", "task and mask quantities", _task_or_local,
        (FailureMode.LOCAL_MORPHOLOGY,), "worse",
    ),
    Reported(
        "Vendi score and FD-infinity are insensitive to every defect.", "Vendi and FD-infinity quantities",
        _named("vendi", "vendi_ratio", "fd_infinity"), EVERY_DEFECT, "unmoved",
    ),
    Reported(
        "The task does not notice copies, repetition, shift, collapse or invention.", "task quantities", _task, SHIFTS, "unmoved",
    ),
)  # fmt: skip


def compare(battery: Battery) -> list[Compared]:
    """Set each statement beside the responses here.

    It agrees where at least two thirds of the pairs of quantity (with its extractor) and perturbation moved as reported, disagrees
    where at most one third did, and cannot tell in between or where nothing was measured. Whether something moves at all is asked at
    the dose of concern, by more than one null standard deviation; which way it goes at the highest dose, by more than a fifth of one,
    for there the replicates are those of the clean probes. Where null splits do not vary, half of the replicates must be detected.
    """
    return [_compared(battery, reported) for reported in STATEMENTS]


def _compared(battery: Battery, reported: Reported) -> Compared:
    modes = [mode.value for mode in reported.modes]
    planted = [p for p, mode in battery.mode.items() if mode in modes]
    if not planted:
        named = listed([mode.replace("_", " ") for mode in modes])
        why = f"No defect of the failure mode {named} was planted." if len(modes) == 1 else "No defect of these failure modes was planted."
        return Compared(reported.statement, why, "cannot tell")
    families = (*FAMILIES, TASK)
    severities, least = (battery.concern, LEAST_REVERSAL) if reported.expected == "unmoved" else (battery.highest, LEAST_SHIFT)
    rows = [row for row in battery.at(severities, families, modes) if reported.pick(battery, row)]
    if not rows:
        return Compared(reported.statement, f"No value of {reported.who} was measured under these defects.", "cannot tell")
    moved = [_moved(row, least) for row in rows]
    as_reported = sum(direction == reported.expected for direction in moved)
    share = as_reported / len(rows)
    finding: Finding = "agrees" if share >= MOST else "disagrees" if share <= FEW else "cannot tell"
    return Compared(reported.statement, _observed(reported, rows, as_reported) + _otherwise(reported, moved), finding)


def _moved(row: ResponseRow, least: float) -> Direction:
    """Return which way a response went, if by more than `least` null standard deviations."""
    if row.response is None:
        return "worse" if row.detected >= SHARE else "unmoved"
    return "worse" if row.response > least else "better" if row.response < -least else "unmoved"


def _observed(reported: Reported, rows: Sequence[ResponseRow], as_reported: int) -> str:
    quantities = len({(row.component, row.quantity) for row in rows})
    responses = [row.response for row in rows if row.response is not None]
    middle = f"; median response {signed(median(responses))}" if responses else ""
    pairs = (
        f"{as_reported} of {counted(len(rows), 'response')}" if len(rows) > 1 else "The one response" if as_reported else "0 of 1 response"
    )
    planted = listed(sorted({row.perturbation.replace("_", " ") for row in rows}))
    shown = planted if len(planted) <= 60 else counted(len({row.perturbation for row in rows}), "perturbation")
    return f"{pairs} of {reported.who} ({counted(quantities, 'quantity', 'quantities')}; {shown}) {DIRECTIONS[reported.expected]}{middle}"


def _otherwise(reported: Reported, moved: Sequence[Direction]) -> str:
    """Say where the other responses went."""
    others = [f"{moved.count(d)} {DIRECTIONS[d]}" for d in DIRECTIONS if d != reported.expected and d in moved]
    return f"; {listed(others)}." if others else "."
