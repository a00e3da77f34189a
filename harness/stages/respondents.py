"""Who is asked about clean and planted images: metrics that work on the same numbers, or one task that was trained on clean images.

Both see the same probes: null splits and replicates of severity 0 are drawn from clean ones, the others from planted ones, by patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .. import trials
from ..asking import ask, tried
from ..bench import Bench
from ..cells import Cell, derive
from ..checks import Part
from ..components import Metric
from ..errors import NotComputable
from ..images import Comparison, ImageSet
from ..resampling import by_patient, draw_named
from ..scoring import Lender
from .answers import Answers
from .battery import planted, split_rows
from .planting import described, scored

# Ids and units (N,) of the cases of a probe, and by quantity what a task made of each, (N,).
Cases = tuple[Sequence[str], np.ndarray, Mapping[str, np.ndarray]]


class Respondent(Protocol):
    """Answers for some components: it notes their values, or the reason why one has none."""

    parts: list[Part]

    def probe_n(self) -> int:
        """Return the number of images of the smallest clean probe."""

    def ask_null(self, answers: Answers) -> None:
        """Ask about null splits and about replicates of the clean probes, answers.n images each."""

    def ask_planted(self, answers: Answers, dose: float, fault: int) -> None:
        """Ask about replicates of one planted probe, answers.n images each."""


def respondent(bench: Bench, cell: Cell, folder: Path) -> Respondent:
    """Return who answers in a cell."""
    return Trained(bench, cell) if "task" in cell.arguments else Measuring(bench, cell, folder)


def tested_on(cell: Cell) -> str:
    """Return what the answers of a cell were tested on, which is said of tasks alone."""
    return "planted" if "task" in cell.arguments else ""


class Measuring:
    """Asks the metrics of a group; every metric sees the same splits and the same replicates."""

    def __init__(self, bench: Bench, cell: Cell, folder: Path) -> None:
        self.bench, self.arguments, self.folder = bench, cell.arguments, folder
        self.parts = [bench.parts.metrics[m] for m in cell.arguments["metrics"]]
        self.lenders = [Lender(bench.seed, part.name, part.offer.version, folder, bench.device, "qualify") for part in self.parts]
        self.size = cell.arguments["size"]
        self.real, self.test = self._side("train"), self._side("test")
        self.splits = [split_rows(bench, self.real, fault) for fault in range(self.size["fault_seeds"])]
        self.whole = Comparison(self.real, self.test, self.real, bench.memory)

    def probe_n(self) -> int:
        """Return the number of images of the smallest clean probe."""
        return min(len(probe) for _, probe in self.splits)

    def ask_null(self, answers: Answers) -> None:
        """Ask about null splits and about replicates of the clean probes, answers.n images each."""
        # Patients with many images make anchors of different sizes: null splits have them in the proportion of the replicates.
        anchors = [len(anchor) for anchor, _ in self.splits]
        for repeat in range(self.size["null_splits"]):
            rng = np.random.default_rng(derive(self.bench.seed, "null split", repeat))
            probe, anchor = _two(self.real.units, answers.n, anchors[repeat % len(anchors)], rng)
            self._ask(answers, None, self.whole.take(train=anchor, synthetic=probe), ("null", repeat))
        for fault, (_, probe) in enumerate(self.splits):
            self._ask_pool(answers, 0.0, fault, self.real.take(probe))

    def ask_planted(self, answers: Answers, dose: float, fault: int) -> None:
        """Ask about a planted probe: by its numbers where the metrics work on numbers; made again where they look at the images."""
        if self.arguments["source"]:
            pool = described(self.bench, self.arguments["planted"][repr(dose)][fault], self.arguments["source"])
        else:
            defect = self.bench.parts.perturbations[self.arguments["perturbation"]]
            pool = planted(self.bench, self.arguments["data"], defect, dose, fault, self.folder)
        self._ask_pool(answers, dose, fault, pool)

    def _ask_pool(self, answers: Answers, dose: float, fault: int, pool: ImageSet) -> None:
        comparison = Comparison(self.real.take(self.splits[fault][0]), self.test, pool, self.bench.memory)
        for repeat in range(fault, self.size["replicates"], len(self.splits)):
            rng = np.random.default_rng(derive(self.bench.seed, "replicate", repeat))
            rows = draw_named(pool.ids, pool.units, answers.n, rng)
            self._ask(answers, (dose, fault), comparison.take(synthetic=rows), (dose, repeat))

    def _ask(self, answers: Answers, where: tuple[float, int] | None, comparison: Comparison, words: tuple[Any, ...]) -> None:
        for part, lend in zip(self.parts, self.lenders, strict=True):
            metric = part.component
            assert isinstance(metric, Metric)
            if not answers.answered(part.name, metric.quantities):
                continue
            found, reason = tried(partial(ask, metric, comparison, lend(*words)))
            if found is None:
                answers.refuse(part.name, metric.quantities, reason)
                continue
            for name, value in found.items():
                if isinstance(value, NotComputable):
                    answers.reasons.setdefault((part.name, name), str(value))
                else:
                    answers.put(where, (part.name, name), value)

    def _side(self, role: str) -> ImageSet:
        images = self.bench.images(self.arguments["data"], role)
        features = self.arguments["features"]
        return images.with_features(self.bench.array(features[role], "features")) if features else images


def _two(units: np.ndarray, n: int, m: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return n rows and m rows of different patients."""
    sorted_rows = by_patient(units, rng)
    first = sorted_rows[:n]
    rest = sorted_rows[n:][~np.isin(units[sorted_rows[n:]], units[first])]
    return np.sort(first), np.sort(rest[:m])


class Trained:
    """Draws among what a task made of the cases of each probe; it was trained on the anchor, once for each fault seed.

    What is resampled are the cases of a probe, by patient, so the spread does not hold what another training would add.
    """

    def __init__(self, bench: Bench, cell: Cell) -> None:
        self.bench, self.arguments, self.size = bench, cell.arguments, cell.arguments["size"]
        self.parts = [bench.parts.tasks[self.arguments["task"]]]
        real = bench.images(self.arguments["data"], "train")
        self.probes = []
        for fault, key in enumerate(self.arguments["trained"]):
            _, rows = split_rows(bench, real, fault)
            ids = [real.ids[row] for row in rows]
            self.probes.append((ids, real.units[rows], trials.kept(bench.cache.folder(key) / "clean.npz")))

    def probe_n(self) -> int:
        """Return the number of images of the smallest clean probe."""
        return min(len(ids) for ids, _, _ in self.probes)

    def ask_null(self, answers: Answers) -> None:
        """Draw null splits, and replicates of severity 0, from the clean probes in turn."""
        for repeat in range(self.size["null_splits"]):
            self._draw(answers, None, self.probes[repeat % len(self.probes)], derive(self.bench.seed, "null split", repeat))
        for fault, probe in enumerate(self.probes):
            self._replicates(answers, 0.0, fault, probe)

    def ask_planted(self, answers: Answers, dose: float, fault: int) -> None:
        """Draw replicates from what the task made of the planted cases."""
        images, values = scored(self.bench, self.arguments["planted"][repr(dose)][fault], self.arguments["task"])
        self._replicates(answers, dose, fault, (images.ids, images.units, values))

    def _replicates(self, answers: Answers, dose: float, fault: int, probe: Cases) -> None:
        for repeat in range(fault, self.size["replicates"], len(self.probes)):
            self._draw(answers, (dose, fault), probe, derive(self.bench.seed, "replicate", repeat))

    def _draw(self, answers: Answers, where: tuple[float, int] | None, probe: Cases, seed: int) -> None:
        """Draw cases by patient and take the mean of those that have a value."""
        ids, units, values = probe
        rows = draw_named(ids, units, answers.n, np.random.default_rng(seed))
        for name, column in values.items():
            key, known = (self.parts[0].name, name), column[rows][np.isfinite(column[rows])]
            if len(known):
                answers.put(where, key, float(known.mean()))
            else:
                answers.reasons.setdefault(key, "no case of a replicate has a value")
