"""What a study of this size can be expected to show: half-widths of intervals, and what its grids can tell from guessing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..quantities import Scale
from ..statistics.readersizes import agreement_half_width, share_half_width, smallest_detected, smallest_ruled_out
from .design import Design

KAPPAS = (0.42, 0.81)
ACCURACY = 0.8


def expected(questions: Sequence[Scale], design: Design) -> list[dict[str, Any]]:
    """Return, question by question, what the numbers of items and readers lead one to expect; repeats and faults are not counted."""
    raters = len(design.readers)
    alone = sum(not item.is_grid and not item.planted for item in design.items.values())
    grids = [item for item in design.items.values() if item.is_grid]
    found: list[dict[str, Any]] = []
    for scale in questions:
        if scale.shows == "grid":
            found.append(_identification(scale, len(grids), len(grids[0].places)))
            continue
        found += _agreement(scale, alone, raters)
        if scale.truth in ("label", "origin") and alone:
            half = share_half_width(ACCURACY, alone)
            found.append({"question": scale.name, "what": f"accuracy of one reader, if it is {ACCURACY:g}", "items": alone,
                          "half_width": [round(half, 3)] * 2, "source": "Wilson interval"})  # fmt: skip
    return found


def _agreement(scale: Scale, items: int, raters: int) -> Iterator[dict[str, Any]]:
    if scale.level not in ("nominal", "ordinal") or min(items, raters, len(scale.categories)) < 2:
        return
    for kappa in KAPPAS:
        width = agreement_half_width(items, raters, kappa, len(scale.categories))
        yield {"question": scale.name, "what": f"agreement (Fleiss' kappa), if it is {kappa:g}", "items": items, "raters": raters,
               "half_width": [round(width.low, 3), round(width.high, 3)], "source": width.source}  # fmt: skip


def _identification(scale: Scale, grids: int, m: int) -> dict[str, Any]:
    return {
        "question": scale.name, "what": f"finding the real image among {m}, one reader, power 80 %", "grids": grids,
        "chance": round(1 / m, 3), "smallest_excess_detected": smallest_detected(m, grids),
        "smallest_excess_ruled_out": smallest_ruled_out(m, grids),
        "source": "exact one-sided binomial tests at 5 %",
    }  # fmt: skip
