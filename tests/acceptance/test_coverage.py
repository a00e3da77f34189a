"""How often what a run reports holds the value that it is about: two shifted Gaussians in 16 dimensions."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.components import Context, Metric
from harness.images import Comparison, ImageSet
from harness.records import ScoreRow
from harness.resampling import draw as take_patients
from harness.resampling import halves
from harness.scoring import Arms
from harness.stages.measure import _measure
from harness_plugins.metrics.frechet import Frechet
from harness_plugins.metrics.kernel import Kernel
from harness_plugins.metrics.manifold import Manifold
from harness_plugins.metrics.memorisation import Memorisation

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]

DIMENSIONS, SHIFT, COPIES = 16, 0.2, 0.1
SIZE = {"half_samples": 50, "floor_splits": 20}
DRAWS, SIMULATIONS = 400, 150
WANTED = 0.90
Draw = Callable[[np.random.Generator], Comparison]


def image_set(features: np.ndarray, role: str, patients: int) -> ImageSet:
    """Return one-pixel images that carry these features, shared out evenly among the patients."""
    n = len(features)
    blank = ImageSet(
        images=np.zeros((n, 1, 1, 1), dtype=np.float32),
        ids=tuple(f"{role}-{i}" for i in range(n)),
        spacing_mm=(1.0, 1.0),
        patients=None if role == "synthetic" else tuple(f"p{i * patients // n}" for i in range(n)),
        origin="synthetic" if role == "synthetic" else "real",
    )
    return blank.with_features(features)


def gaussian(rng: np.random.Generator, n: int, patients: int, shift: float = 0.0) -> np.ndarray:
    """Return standard normal rows; where a patient has several, half of their variance is the patient's."""
    own = rng.normal(size=(n, DIMENSIONS))
    if patients < n:
        between = rng.normal(size=(patients, DIMENSIONS))[np.arange(n) * patients // n]
        own = math.sqrt(0.5) * (own + between)
    return own + shift


def shifted(n: int, patients: int) -> Draw:
    """Return a draw of all three sides, the synthetic one shifted."""

    def draw(rng: np.random.Generator) -> Comparison:
        real = {role: image_set(gaussian(rng, n, patients), role, patients) for role in ("train", "test")}
        return Comparison(**real, synthetic=image_set(gaussian(rng, n, n, SHIFT), "synthetic", n))

    return draw


def copying(n: int) -> Draw:
    """Return a draw on one training set, of which each synthetic image is a copy with probability `COPIES`."""
    memory = gaussian(np.random.default_rng(n), n, n)
    train = image_set(memory, "train", n)

    def draw(rng: np.random.Generator) -> Comparison:
        made = gaussian(rng, n, n)
        copied = rng.random(n) < COPIES
        made[copied] = memory[rng.integers(0, n, int(copied.sum()))] + 1e-3 * rng.normal(size=(int(copied.sum()), DIMENSIONS))
        return Comparison(train, image_set(gaussian(rng, n, n), "test", n), image_set(made, "synthetic", n))

    return draw


def product(metric: Metric, comparison: Comparison, seed: int) -> dict[str, ScoreRow]:
    """Return the rows that a run stores, by quantity."""
    part = SimpleNamespace(name=metric.name, component=metric, offer=SimpleNamespace(version=metric.version))
    bench: Any = SimpleNamespace(seed=seed, device="cpu", parts=SimpleNamespace(metrics=[part]))
    cell: Any = SimpleNamespace(key="c", arguments={"metric": 0, "extractor": "x", "size": SIZE})
    arms = Arms(comparison, SIZE["half_samples"], SIZE["floor_splits"], seed)
    return {row.quantity: row for row in _measure(bench, cell, arms, "", Path())}


def at_floor(metric: Metric, comparison: Comparison, rng: np.random.Generator) -> dict[str, float]:
    """Return the values at the floor's sizes: half of the training patients, as many synthetic images as the other half has."""
    anchor, probe = halves(comparison.train.units, int(rng.integers(2**32)))
    rows = take_patients(comparison.synthetic.units, len(probe), rng)
    return measure(metric, comparison.take(train=anchor, synthetic=rows))


def measure(metric: Metric, comparison: Comparison) -> dict[str, float]:
    """Return the values of a metric that uses neither folder nor chance."""
    return dict(metric.measure(comparison, Context(seed=0, workdir=Path())))


SETTINGS = [
    pytest.param(Frechet(), shifted(200, 200), "200 images", id="fid"),
    pytest.param(Frechet(), shifted(200, 50), "200 images, 50 patients", id="fid-patients"),
    pytest.param(Kernel(), shifted(200, 200), "200 images", id="kid"),
    pytest.param(Manifold(), shifted(200, 200), "200 images", id="prdc"),
    pytest.param(Memorisation(), copying(200), "200 images, 10 % copies", id="copies"),
]


@pytest.mark.parametrize(("metric", "draw", "title"), SETTINGS)
def test_what_a_run_reports_holds_the_expected_value(metric: Metric, draw: Draw, title: str, capsys: pytest.CaptureFixture[str]) -> None:
    """At least 90 % of the 95 % intervals, and of the bounds that a criterion judges, hold the expected value at their n.

    Less two Monte-Carlo errors. The interval is of the value at all images, the bounds of what `judged_value` estimates.
    """
    whole, floor = [], []
    for i in range(DRAWS):
        rng = np.random.default_rng([1, i])
        comparison = draw(rng)
        whole.append(measure(metric, comparison))
        floor.append(at_floor(metric, comparison, rng))
    found = [product(metric, draw(np.random.default_rng([2, i])), i) for i in range(SIMULATIONS)]
    allowance = 2 * math.sqrt(WANTED * (1 - WANTED) / SIMULATIONS)

    missed = {}
    for quantity in metric.quantities:
        rows = [f[quantity.name] for f in found]
        truth = float(np.mean([v[quantity.name] for v in whole]))
        judged = float(np.mean([v[quantity.name] for v in floor])) if quantity.biased_in_n else truth
        held = {
            "interval": np.mean([r.ci_low <= truth <= r.ci_high for r in rows]),
            "lower bound": np.mean([r.bound_low <= judged for r in rows]),
            "upper bound": np.mean([judged <= r.bound_high for r in rows]),
        }
        missed |= {f"{quantity.name} {what}": share for what, share in held.items() if share < WANTED - allowance}
        width = np.mean([r.ci_high - r.ci_low for r in rows])
        with capsys.disabled():
            sys.stdout.write(
                f"\n{quantity.name:13s} {title:24s} expected {truth:8.4f}  judged {judged:8.4f} (n {rows[0].judged_n})  "
                f"width {width:7.4f}  {'  '.join(f'{what} {share:.3f}' for what, share in held.items())}"
            )
    assert not missed
