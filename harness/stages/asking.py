"""Asks a metric for its numbers and holds it to its promise."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..components import Context, Metric
from ..errors import PluginError
from ..images import Comparison


def ask(metric: Metric, comparison: Comparison, context: Context) -> dict[str, float]:
    """Return exactly the promised quantities as finite floats; anything else is the metric's failure, said in words."""
    answer = metric.measure(comparison, context)
    promised = [q.name for q in metric.quantities]
    if not isinstance(answer, Mapping) or set(answer) != set(promised):
        got = sorted(map(str, answer)) if isinstance(answer, Mapping) else type(answer).__name__
        raise PluginError(f"{metric.name} returned {got}; it promised {promised}")
    numbers = {}
    for name in promised:
        value = float(answer[name])
        if not math.isfinite(value):
            raise PluginError(f"{metric.name} returned {value} for {name}; a metric without a number raises NotComputable")
        numbers[name] = value
    return numbers
