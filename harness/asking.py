"""Asks a metric for its numbers and holds it to its promise."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from .components import Context, Metric
from .errors import NotComputable, PluginError
from .images import Comparison

Answer = dict[str, float | NotComputable]


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
