"""Names the synthetic images that stand out, and says where image-domain quantities left the range of real against real."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..bench import Bench
from ..cells import Cell, Draft
from ..pictures import standouts
from ..quantities import Record
from ..records import CellStatus, FindingRow, ImageScoreRow, ScoreRow
from ..scoring import outside

QUANTITIES_SHOWN = 6
IMAGES_SHOWN = 6


def cells(draft: Draft, sample: str, synthetic: str, measured: Sequence[str]) -> str:
    """Add the cell, after everything that is measured."""
    arguments = {"sample": sample, "sha256": synthetic, "cells": list(measured)}
    return draft.add("measure", "standouts", "images that stand out", "standouts.run", arguments, None, [sample, *measured], 1)


def run(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Show the images that metrics blame most, and report the artefacts that are beyond doubt."""
    results = [bench.cache.load(key) for key in cell.arguments["cells"]]
    rows = [row for result in results if result for row in result.rows]
    promises = bench.parts.quantities()
    for row in rows:
        if isinstance(row, ScoreRow) and promises[f"{row.component}.{row.quantity}"].family == "artefact":
            yield from _artefact(cell, row)
    blamed = most_blamed([row for row in rows if isinstance(row, ImageScoreRow)])
    if not blamed:
        return
    images = bench.images(cell.arguments["sample"], "synthetic")
    yield from standouts(cell.key, images, [row for group in blamed for row in group])


def most_blamed(rows: Sequence[ImageScoreRow]) -> list[list[ImageScoreRow]]:
    """Return the images to show for each quantity, those of the quantity whose worst image is furthest beyond real ones first."""
    groups: dict[tuple[str, str, str], list[ImageScoreRow]] = {}
    for row in rows:
        groups.setdefault((row.component, row.quantity, row.extractor), []).append(row)
    furthest = {key: max(row.excess for row in group) for key, group in groups.items()}
    chosen = sorted((key for key in groups if furthest[key] > 1), key=lambda key: (-furthest[key], key))[:QUANTITIES_SHOWN]
    worst = (sorted(groups[key], key=lambda row: (-row.excess, -row.value, row.item)) for key in chosen)
    return [[row for row in group[:IMAGES_SHOWN] if row.excess > 1] for group in worst]


def _artefact(cell: Cell, row: ScoreRow) -> Iterator[FindingRow]:
    """Report a quantity whose interval lies beyond what real images give against real images, on the worse side."""
    if row.stratum or outside((row.ci_low, row.ci_high), (row.floor_low, row.floor_high), row.better) != "worse":
        return
    edge = f"at most {row.floor_high:.3g}" if row.better == "lower" else f"at least {row.floor_low:.3g}"
    text = f"{row.component}.{row.quantity} is {row.value:.3g} ({row.ci_low:.3g} to {row.ci_high:.3g}); real against real gives {edge}."
    yield FindingRow(cell=cell.key, severity="warning", kind="artefact", text=text, evidence=f"{row.component}.{row.quantity}")


def blank(bench: Bench, cell: Cell, status: CellStatus, reason: str) -> Iterator[Record]:
    """Leave no row: nothing was found to stand out, and the cell's status says why."""
    yield from ()
