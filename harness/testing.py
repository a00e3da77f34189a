"""Conformance tests for authors of components: `check(MyMetric)` says in one sentence what a component gets wrong.

The component works on small random images made here; an author's own tests say whether its numbers are right.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .api import Comparison, Component, Context, InputError, Metric, NotComputable
from .asking import ask
from .conformance import CHECKS, Bench, declaration, require, title
from .host import Host
from .phantoms import phantoms, write_phantoms
from .quickinputs import Features, image_sets
from .spec import Reference

__all__ = ["check", "measure", "phantoms", "write_phantoms"]


def check(component: Component | type[Component], *, n: int = 48, size_px: tuple[int, ...] = (32, 32), channels: int = 1,
          seed: int = 0, tolerance: float = 1e-6) -> None:  # fmt: skip
    """Raise `AssertionError` with one sentence if a component does not keep the promises of its kind.

    component: a class, then built with its default options, or an instance. n, size_px, channels: of the random images it is
    tried on. tolerance: how far, relative to the larger value, two numbers that should be equal may be apart.
    """
    if isinstance(component, type):
        called = component.__name__
        require(issubclass(component, Component), f"{called} is not a Component")
        try:
            component = component()
        except (TypeError, ValueError) as error:
            raise AssertionError(f"{called} cannot be built without options ({error}); give check() an instance") from error
    declaration(component)
    for kind, work in CHECKS.items():
        if isinstance(component, kind):
            with tempfile.TemporaryDirectory(prefix="check-") as folder:
                try:
                    work(component, Bench(n, size_px, channels, seed, Path(folder), tolerance))
                except NotComputable as error:
                    raise AssertionError(
                        f"{title(component)} has no answer on {n} random images of {size_px} pixels ({error}); "
                        "give check() images on which it has one"
                    ) from error
            return
    raise AssertionError(f"{title(component)} is of no kind that the harness knows")


def measure(
    metric: str | Mapping[str, Mapping[str, Any]] | Metric, *, train: np.ndarray, test: np.ndarray, synthetic: np.ndarray, seed: int = 0
) -> dict[str, float]:
    """Return the numbers of any metric on plain feature arrays.

    metric: the name of an installed metric, `{name: {option: value}}` as in model.yaml, or an instance. train, test, synthetic: (N, F)
    arrays of finite numbers and one width, else `InputError`; test may have no rows. A metric that describes images itself cannot be
    asked this way. A quantity without a number raises `NotComputable`.
    """
    arrays = {"train": train, "test": test, "synthetic": synthetic}
    sides = image_sets({role: Features(np.asarray(values), role) for role, values in arrays.items()})
    if not isinstance(metric, Metric):
        try:
            reference = Reference.model_validate(metric)
        except ValueError:
            raise InputError(f"{metric!r} names no metric: write a name, or {{name: {{option: value}}}}") from None
        built = Host.discover().build("metric", reference.name, reference.own_options, Path.cwd())
        assert isinstance(built, Metric)
        metric = built
    if "features" not in metric.needs:
        raise InputError(f"{metric.name} looks at images, not at features; `harness metrics` takes folders of images")
    with tempfile.TemporaryDirectory(prefix="measure-") as folder:
        answer = ask(metric, Comparison(sides["train"], sides["test"], sides["synthetic"]), Context(seed=seed, workdir=Path(folder)))
    missing = [value for value in answer.values() if isinstance(value, NotComputable)]
    if missing:
        raise missing[0]
    return {name: value for name, value in answer.items() if not isinstance(value, NotComputable)}
