"""How often the battery raises an alarm where nothing was planted (rule Q1), on images that the null band never saw.

Each simulation draws a training and a test set, sets the 99 % band on null splits of the training set as an audit does, and asks about
new images of the same population: once with new ones in the place of anchor, probe and test set, once with a new probe alone, which is
what an honest generator would make. Null splits of one set overlap and share the test set, so alarms that an audit counts on further
splits may be too few. Mixtures of three Gaussians for metrics on features, smooth noise with a disc and its mask for metrics that look
at images.
`python -m acceptance.test_false_alarms [SIMULATIONS] [WORKERS]`, from the folder `tests`, prints the tables without pytest.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from acceptance.test_intervals import FEATURES, IMAGES, WITH_MASKS, images, mixture

from harness.asking import ask, tried
from harness.cells import derive
from harness.components import Context, Metric
from harness.errors import NotComputable
from harness.images import Comparison, ImageSet, from_features
from harness.neighbours import MEMORY
from harness.stages.answers import Answers
from harness.stages.respondents import Measuring
from harness.statistics.intervals import upper_bound_proportion
from harness.statistics.trends import MAX_FALSE_ALARM, detection_band

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(7200)]

# The first half of 200 null splits sets the band; the other half, which only counts alarms, is left out here.
N, ANCHOR, PROBE, SETTING_SPLITS = 160, 80, 40, 100
SIMULATIONS = 200
ROLES = (("train", ANCHOR), ("test", N), ("synthetic", PROBE))
KINDS = {"features": FEATURES, "images": [*IMAGES, *WITH_MASKS]}


class Found(NamedTuple):
    """The band of a quantity, mean and standard deviation over the null splits, and its value on all new images and on a new probe."""

    low: float
    high: float
    mean: float
    sd: float
    new: float
    kept: float


@dataclass(frozen=True)
class Alarms:
    """What became of one quantity: simulations with a number, alarms where all images are new and where the probe alone is.

    wider: how many times as wide as over null splits the values on new images lie about the mean of the splits.
    """

    quantity: str
    simulations: int
    new: int
    kept: int
    wider: float

    @property
    def high(self) -> float:
        """One-sided 95 % upper bound of the rate that the rule is about."""
        return upper_bound_proportion(self.new, self.simulations)

    def text(self) -> str:
        """Return the row as printed."""
        all_new, probe = (f"{k:4d} (at most {upper_bound_proportion(k, self.simulations):.1%})" for k in (self.new, self.kept))
        return f"{self.quantity:36s} of {self.simulations}: all new {all_new}, probe new {probe}; {self.wider:.2f} times as wide as splits"


def drawn(what: str, rng: np.random.Generator, n: int, role: str) -> ImageSet:
    """Return n images of the population, the same for every role."""
    if what == "features":
        return from_features(mixture(rng, n), role)
    made = images(rng, n, "train", None)
    return replace(made, ids=tuple(f"{role}-{i}" for i in range(n)), origin="synthetic" if role == "synthetic" else "real")


def simulate(what: str, i: int) -> dict[str, Found]:
    """Return what is found of each quantity in one simulation."""
    rng = np.random.default_rng([77, i])
    real = {role: drawn(what, rng, N, role) for role in ("train", "test")}
    new = {role: drawn(what, rng, n, role) for role, n in ROLES}
    anchor = np.sort(rng.permutation(N)[:ANCHOR])
    return {name: found for kind in KINDS[what] for name, found in _asked(kind(), real, new, anchor, i)}


def _asked(metric: Metric, real: dict[str, ImageSet], new: dict[str, ImageSet], anchor: np.ndarray, i: int) -> Iterator[tuple[str, Found]]:
    """Yield what is found of the quantities that have a number everywhere. anchor: rows of the training images."""

    def lend(*words: Any) -> Context:
        return Context(seed=derive(i, metric.name, *words), workdir=Path())

    def described(sides: dict[str, ImageSet]) -> dict[str, ImageSet]:
        return {role: side.with_features(metric.describe(side, lend())) for role, side in sides.items()} if metric.describes() else sides

    real, new = described(real), described(new)
    splits = _null_splits(metric, real, i)
    kept = Comparison(real["train"].take(anchor), real["test"], new["synthetic"], MEMORY)
    answers = [tried(partial(ask, metric, c, lend("new")))[0] or {} for c in (Comparison(**new, memory=MEMORY), kept)]
    for (_, name), values in splits.null.items():
        found = [answer[name] for answer in answers if not isinstance(answer.get(name), NotComputable | None)]
        if (metric.name, name) not in splits.reasons and len(found) == len(answers):
            band = detection_band(np.array(values))
            yield f"{metric.name}.{name}", Found(*band, float(np.mean(values)), float(np.std(values, ddof=1)), *found)


def _null_splits(metric: Metric, real: dict[str, ImageSet], i: int) -> Answers:
    """Ask a metric about null splits, as the battery does."""
    part = SimpleNamespace(name=metric.name, component=metric, offer=SimpleNamespace(version=metric.version))
    parts = SimpleNamespace(metrics=[part])
    bench: Any = SimpleNamespace(seed=i, device="cpu", memory=MEMORY, parts=parts, images=lambda data, role: real[role])
    size = {"replicates": 0, "null_splits": SETTING_SPLITS, "fault_seeds": 1}
    cell: Any = SimpleNamespace(arguments={"metrics": [0], "data": "", "features": {}, "source": "", "size": size})
    field = Measuring(bench, cell, Path())
    answers = Answers(field.probe_n() // 2)
    field.ask_null(answers)
    return answers


def table(what: str, simulations: int, workers: int = 2) -> list[Alarms]:
    """Return one line per quantity."""
    with ProcessPoolExecutor(workers) as pool:
        found = list(pool.map(partial(simulate, what), range(simulations)))
    lines = []
    for name in dict.fromkeys(name for one in found for name in one):
        rows = [one[name] for one in found if name in one]
        alarms = [sum(not row.low <= getattr(row, which) <= row.high for row in rows) for which in ("new", "kept")]
        away = [(row.new - row.mean) / row.sd for row in rows if row.sd > 0.0]
        lines.append(Alarms(name, len(rows), *alarms, wider=float(np.sqrt(np.mean(np.square(away)))) if away else 1.0))
    return lines


@pytest.mark.parametrize("what", list(KINDS))
def test_metrics_are_quiet_on_images_of_their_own(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The false-alarm rate of every quantity of the default suite has an upper 95 % bound at or below 10 %."""
    lines = table(what, SIMULATIONS)
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(line.text() for line in lines) + "\n")
    promised = {f"{kind.name}.{q.name}" for kind in KINDS[what] for q in kind.quantities}
    assert {line.quantity for line in lines} == promised
    assert all(line.simulations == SIMULATIONS for line in lines)
    loud = [line.quantity for line in lines if line.high > MAX_FALSE_ALARM]
    assert not loud, f"more than one false alarm in ten cannot be excluded: {loud}"


if __name__ == "__main__":
    for each in KINDS:
        for one in table(each, int(sys.argv[1]) if len(sys.argv) > 1 else SIMULATIONS, int(sys.argv[2]) if len(sys.argv) > 2 else 2):
            print(one.text(), flush=True)
