"""Asks components for their numbers and holds them to their promises."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from .components import Context, Metric
from .errors import HarnessError, NotComputable, PluginError
from .images import Comparison

Answer = dict[str, float | NotComputable]
T = TypeVar("T")


def ask(metric: Metric, comparison: Comparison, context: Context) -> Answer:
    """Return for each promised quantity a finite float or why it has none; anything else is the metric's failure, said in words."""
    answer = metric.measure(comparison, context)
    promised = [q.name for q in metric.quantities]
    if not isinstance(answer, Mapping) or set(answer) != set(promised):
        got = sorted(map(str, answer)) if isinstance(answer, Mapping) else type(answer).__name__
        raise PluginError(f"{metric.name} returned {got}; it promised {promised}")
    numbers: Answer = {}
    for name in promised:
        value = answer[name]
        if isinstance(value, NotComputable):
            numbers[name] = value
            continue
        number = float(value)
        if not math.isfinite(number):
            raise PluginError(f"{metric.name} returned {number} for {name}; a metric without a number says NotComputable")
        numbers[name] = number
    return numbers


def tried(call: Callable[[], T]) -> tuple[T | None, str]:
    """Return what a component answers, or None and why it does not: one that fails must not end what others do in the same cell."""
    try:
        return call(), ""
    except NotComputable as error:
        return None, str(error) or "the component gives no reason"
    except HarnessError as error:
        return None, " ".join(line.strip() for line in error.lines())
    except Exception as error:
        # A full disk or memory is not the component's answer: the cell fails, and can be tried again.
        if isinstance(error, OSError | MemoryError) or type(error).__name__ == "OutOfMemoryError":
            raise
        return None, what_failed(error)


def what_failed(error: Exception) -> str:
    """Return what anything that a component raised says, on one line."""
    if isinstance(error, ValueError) and "read-only" in str(error):
        return "changed its inputs, which are lent read-only"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def numbers_of(answer: object, n: int, who: str = "") -> np.ndarray:
    """Return what an extractor or a metric's `describe` made of n images as it is stored, (n, F) float32; anything else is its failure."""
    features = np.asarray(answer)
    said = f"{who} returned" if who else "returned"
    if features.ndim != 2 or len(features) != n or not features.shape[1]:
        raise PluginError(f"{said} an array of shape {features.shape} for {n} images; promised (N, F)")
    with np.errstate(over="ignore"):
        stored = features.astype(np.float32, copy=False)
    bad = int(np.count_nonzero(~np.isfinite(stored)))
    if bad:
        raise PluginError(f"{said} {bad} values that are not finite in float32")
    return stored


def ask_each(metric: Metric, comparison: Comparison, context: Context) -> dict[str, np.ndarray]:
    """Return how far each synthetic image is to blame, quantity by quantity; empty where the metric does not say."""
    answer = metric.per_image(comparison, context)
    n, promised = comparison.n("synthetic"), {q.name for q in metric.quantities}
    found = {}
    for name, values in answer.items():
        column = np.asarray(values, dtype=np.float64)
        if name not in promised or column.shape != (n,) or not np.isfinite(column).all():
            got = f"{name!r} of shape {column.shape}, {int((~np.isfinite(column)).sum())} values not finite"
            raise PluginError(f"{metric.name}.per_image returned {got}; finite numbers ({n},) of a promised quantity are wanted")
        found[name] = column
    return found
