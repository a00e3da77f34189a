"""How often the intervals hold the value that they are intervals of: two shifted Gaussians in 16 dimensions."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.components import Context, Metric
from harness.images import Comparison, ImageSet
from harness.statistics.intervals import Interval, binomial_interval, half_sample_interval, half_sample_rows
from harness_plugins.metrics.frechet import Frechet
from harness_plugins.metrics.kernel import Kernel
from harness_plugins.metrics.manifold import Manifold
from harness_plugins.metrics.memorisation import Memorisation

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]

DIMENSIONS, SHIFT, COPIES = 16, 0.2, 0.1
HALF_SAMPLES, DRAWS = 50, 400
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


def intervals(metric: Metric, comparison: Comparison, seed: int) -> dict[str, Interval]:
    """Return the interval of every quantity: exact binomial for proportions, half-samples for the others."""
    rng, values = np.random.default_rng(seed), measure(metric, comparison)
    found = {
        q.name: binomial_interval(round(values[q.name] * len(comparison.synthetic)), len(comparison.synthetic))
        for q in metric.quantities
        if q.proportion
    }
    sampled = [q for q in metric.quantities if not q.proportion]
    replicates: dict[str, list[float]] = {q.name: [] for q in sampled}
    for _ in range(HALF_SAMPLES):
        half = comparison.take(
            train=None if all(q.fixed_train for q in sampled) else half_sample_rows(comparison.train.units, rng),
            test=half_sample_rows(comparison.test.units, rng),
            synthetic=half_sample_rows(comparison.synthetic.units, rng),
        )
        again = measure(metric, half)
        for name, kept in replicates.items():
            kept.append(again[name])
    for q in sampled:
        found[q.name] = half_sample_interval(values[q.name], np.array(replicates[q.name]), q.low, q.high)
    return found


def measure(metric: Metric, comparison: Comparison) -> dict[str, float]:
    """Return the values of a metric that uses neither folder nor chance."""
    return dict(metric.measure(comparison, Context(seed=0, workdir=Path())))


SETTINGS = [
    pytest.param(Frechet(), shifted(200, 200), 200, "200 images", id="fid-200"),
    pytest.param(Frechet(), shifted(500, 500), 200, "500 images", id="fid-500"),
    pytest.param(Frechet(), shifted(200, 50), 200, "200 images, 50 patients", id="fid-patients"),
    pytest.param(Kernel(), shifted(200, 200), 200, "200 images", id="kid-200"),
    pytest.param(Kernel(), shifted(500, 500), 100, "500 images", id="kid-500"),
    pytest.param(Kernel(), shifted(200, 50), 200, "200 images, 50 patients", id="kid-patients"),
    pytest.param(Manifold(), shifted(200, 200), 200, "200 images", id="prdc-200"),
    pytest.param(Manifold(), shifted(500, 500), 60, "500 images", id="prdc-500"),
    pytest.param(Memorisation(), copying(200), 200, "200 images, 10 % copies", id="copies-200"),
    pytest.param(Memorisation(), copying(500), 60, "500 images, 10 % copies", id="copies-500"),
]


@pytest.mark.parametrize(("metric", "draw", "simulations", "title"), SETTINGS)
def test_intervals_hold_the_expected_value(
    metric: Metric, draw: Draw, simulations: int, title: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """At least 90 % of the two-sided 95 % intervals hold the expected value at this n, give or take two Monte-Carlo errors."""
    values = [measure(metric, draw(np.random.default_rng([1, i]))) for i in range(DRAWS)]
    found = [intervals(metric, draw(np.random.default_rng([2, i])), i) for i in range(simulations)]
    allowance = 2 * math.sqrt(WANTED * (1 - WANTED) / simulations)

    missed = {}
    with capsys.disabled():
        for quantity in (q.name for q in metric.quantities):
            truth = float(np.mean([v[quantity] for v in values]))
            rows = [f[quantity] for f in found]
            inside = float(np.mean([r.low <= truth <= r.high for r in rows]))
            above_low = float(np.mean([r.bound_low <= truth for r in rows]))
            below_high = float(np.mean([truth <= r.bound_high for r in rows]))
            width = float(np.mean([r.high - r.low for r in rows]))
            sys.stdout.write(
                f"\n{quantity:13s} {title:24s} expected {truth:8.4f}  width {width:7.4f}  covered {inside:.3f}  "
                f"lower bound {above_low:.3f}  upper bound {below_high:.3f}  ({simulations} simulations)"
            )
            if inside < WANTED - allowance:
                missed[quantity] = inside
    assert not missed
