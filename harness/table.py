"""The answer to a query as text: aligned columns, CSV or JSON."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

GAP = "  "
LEAST_WIDTH = 8


@dataclass(frozen=True)
class Table:
    """Column names and rows of Python values; JSON columns hold lists and dicts, missing values are None."""

    columns: list[str]
    rows: list[tuple[Any, ...]]

    def to_csv(self) -> str:
        """Return comma-separated text with a header; a missing value is an empty field, lists and dicts are JSON."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_text(value) for value in row] for row in self.rows)
        return stream.getvalue()

    def to_json(self) -> str:
        """Return a JSON list of objects, one line each; a missing value is null, a second column of one name gets a number."""
        return "[" + ",\n ".join(self._objects()) + "]\n"

    def to_jsonl(self) -> str:
        """Return the objects of `to_json` as JSON Lines: one on each line, and nothing else."""
        return "".join(f"{found}\n" for found in self._objects())

    def _objects(self) -> Iterator[str]:
        names = _distinct(self.columns)
        for row in self.rows:
            yield json.dumps(dict(zip(names, map(_plain, row), strict=True)), ensure_ascii=False, default=str)

    def to_text(self, width: int = 0) -> str:
        """Return aligned columns; where they do not fit in `width` characters (0: any), one line per value instead.

        Long words are shortened with an ellipsis to fit, numbers never; `-` is a missing value.
        """
        cells = [[_cell(value) for value in row] for row in self.rows]
        numeric = [
            all(_is_number(row[k]) or row[k] is None for row in self.rows) and any(row[k] is not None for row in self.rows)
            for k in range(len(self.columns))
        ]
        widths = [max([len(name), *(len(row[k]) for row in cells)]) for k, name in enumerate(self.columns)]
        least = [w if right else LEAST_WIDTH for w, right in zip(widths, numeric, strict=True)]
        fitted = _fit(widths, least, width)
        if fitted is None:
            return self._blocks(cells)
        body = [self.columns, ["-" * w for w in fitted], *cells]
        return "".join(_line(row, fitted, numeric) for row in body)

    def _blocks(self, cells: Sequence[Sequence[str]]) -> str:
        margin = max(map(len, self.columns))
        pairs = ([f"{n:<{margin}}{GAP}{cell}".rstrip() + "\n" for n, cell in zip(self.columns, row, strict=True)] for row in cells)
        blocks = ["".join(lines) for lines in pairs]
        return "\n".join(blocks) if blocks else GAP.join(self.columns) + "\n"


def _fit(widths: list[int], least: list[int], width: int) -> list[int] | None:
    """Narrow the widest columns until the line fits; None where it cannot."""
    room = width - len(GAP) * (len(widths) - 1)
    floors = [min(pair) for pair in zip(widths, least, strict=True)]
    if not width or sum(widths) <= room:
        return widths
    if sum(floors) > room:
        return None
    fitted = list(widths)
    while sum(fitted) > room:
        widest = max((k for k in range(len(fitted)) if fitted[k] > floors[k]), key=fitted.__getitem__)
        fitted[widest] -= 1
    return fitted


def _line(row: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    shown = [cell if len(cell) <= w else cell[: w - 1] + "…" for cell, w in zip(row, widths, strict=True)]
    aligned = (f"{c:>{w}}" if right else f"{c:<{w}}" for c, w, right in zip(shown, widths, numeric, strict=True))
    return GAP.join(aligned).rstrip() + "\n"


def _distinct(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        number, chosen = 1, name
        while chosen in found:
            number += 1
            chosen = f"{name}_{number}"
        found.append(chosen)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    """Return what JSON can hold: times in ISO 8601, bytes in base64, numbers that are not finite as words."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _text(value: Any) -> Any:
    plain = _plain(value)
    if isinstance(plain, (dict, list)):
        return json.dumps(plain, ensure_ascii=False, default=str)
    return str(plain).lower() if isinstance(plain, bool) else plain


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (bytes, bytearray)):
        return f"{len(value)} bytes"
    return " ".join(str(_text(value)).split())
