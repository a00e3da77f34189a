"""A task at work: it is fitted once and scored on any number of test sets, and held to its promise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .checks import Part
from .components import Context, Task
from .errors import PluginError
from .images import ImageSet


def fit(part: Part, training: ImageSet, validation: ImageSet, context: Context) -> None:
    """Let the task learn; what it learned lies in `context.workdir`, which `score` is lent as `context.fitted`."""
    task = part.component
    assert isinstance(task, Task)
    task.fit(training, validation, context)


def score(part: Part, test: ImageSet, context: Context) -> dict[str, np.ma.MaskedArray]:
    """Return what the fitted task says of `test`, by quantity in the order of its promise.

    Each is float64 of shape () for one number a run, (N,) for one per test case, or (N, K) with K > 1 named columns; finite where
    it is not masked. `PluginError` where the task promised something else.
    """
    task = part.component
    assert isinstance(task, Task)
    answer = task.score(test, context)
    promised = [q.name for q in task.quantities]
    if not isinstance(answer, Mapping) or set(answer) != set(promised):
        got = sorted(map(str, answer)) if isinstance(answer, Mapping) else type(answer).__name__
        raise PluginError(f"{part.name} returned {got}; it promised {promised}")
    columns = task.columns(test)
    shape = (len(test),) if len(columns) == 1 else (len(test), len(columns))
    return {name: _checked(part.name, name, answer[name], shape) for name in promised}


def keep(path: Path, values: Mapping[str, np.ndarray]) -> None:
    """Write what a task said of each case, one array a quantity, NaN where it said nothing."""
    # A name of its own for each, lest a quantity be called as an argument of savez is.
    np.savez(path, **{f"of_{name}": column for name, column in values.items()})  # type: ignore[arg-type]


def kept(path: Path) -> dict[str, np.ndarray]:
    """Read what `keep` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return {name.removeprefix("of_"): stored[name] for name in stored.files}


def _checked(who: str, quantity: str, answer: Any, shape: tuple[int, ...]) -> np.ma.MaskedArray:
    try:
        values: np.ma.MaskedArray = np.ma.masked_array(answer, dtype=np.float64)
    except (TypeError, ValueError):
        raise PluginError(f"{who} returned {type(answer).__name__} for {quantity}, which holds no numbers") from None
    if values.shape not in ((), shape):
        raise PluginError(f"{who} returned shape {values.shape} for {quantity}; promised {shape} or one number")
    if not np.isfinite(values.compressed()).all():
        raise PluginError(f"{who} returned a number that is not finite for {quantity}; mask a case that has none")
    return values
