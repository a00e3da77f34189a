"""How often the intervals of agreement coefficients hold the true value, for few items, high agreement and skewed prevalence.

Items have a true category, drawn by prevalence; each rater gives it with the same chance and otherwise one of the others, evenly. The
true coefficients are those of infinitely many items, by enumeration of all that raters can answer. Beside each share stands what an
independent simulation of such raters found (2,000 replicates, 1,000 resamples, its own code), from which the rules of
`agreement_interval` come. `python tests/acceptance/test_agreement_coverage.py [SIMULATIONS]` prints the table without pytest.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import pytest

from harness.statistics.agreement import BATTERIES, agreement_interval
from harness.statistics.resamples import QUICK

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3600)]

SIMULATIONS, WORKERS, ITEMS = 1000, 2, (10, 20, 41)
STATISTICS = {"fleiss_kappa": "Fleiss", "krippendorff_alpha": "alpha", "gwet_ac1": "AC1"}
PEER_REPLICATES, ERRORS = 2000, 3


@dataclass(frozen=True)
class Scenario:
    """Raters of one accuracy on items of given prevalence; peer: by items, the shares covered that the other simulation found."""

    name: str
    raters: int
    prevalence: tuple[float, ...]
    accuracy: float
    peer: dict[tuple[int, str], float]

    @property
    def categories(self) -> int:
        """How many categories are declared."""
        return len(self.prevalence)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return codes (n, raters)."""
        q = self.categories
        truth = rng.choice(q, n, p=self.prevalence)[:, None]
        other = (truth + rng.integers(1, q, (n, self.raters))) % q
        return np.where(rng.random((n, self.raters)) < self.accuracy, truth, other)

    def truth(self, statistic: str) -> float:
        """Return the coefficient of infinitely many items: of every possible row of answers, as often as it is likely."""
        q, wrong = self.categories, (1 - self.accuracy) / (self.categories - 1)
        rows = np.array(list(product(range(q), repeat=self.raters)))
        right = rows[:, None, :] == np.arange(q)[None, :, None]
        chance = np.where(right, self.accuracy, wrong).prod(axis=2) @ np.array(self.prevalence)
        quick = QUICK["nominal"][statistic](rows, q)
        assert quick is not None
        # Alpha corrects for a finite number of ratings, of which there are 10^12 here.
        return float(quick(1e12 * chance[None])[0])


SCENARIOS = (
    Scenario("low", 3, (0.60, 0.30, 0.10), 0.79, {
        (10, "fleiss_kappa"): 0.942, (10, "krippendorff_alpha"): 0.945, (10, "gwet_ac1"): 0.972,
        (41, "fleiss_kappa"): 0.955, (41, "krippendorff_alpha"): 0.957, (41, "gwet_ac1"): 0.948,
    }),
    Scenario("high", 3, (0.45, 0.45, 0.10), 0.94, {
        (10, "fleiss_kappa"): 0.824, (20, "fleiss_kappa"): 0.963, (41, "fleiss_kappa"): 0.956,
        (41, "krippendorff_alpha"): 0.957, (41, "gwet_ac1"): 0.958,
    }),
    Scenario("skewed", 3, (0.90, 0.10), 0.9166, {
        (10, "fleiss_kappa"): 0.761, (10, "gwet_ac1"): 0.900,
        (41, "fleiss_kappa"): 0.943, (41, "krippendorff_alpha"): 0.939, (41, "gwet_ac1"): 0.958,
    }),
    Scenario("low", 2, (0.60, 0.30, 0.10), 0.79, {(10, "fleiss_kappa"): 0.957, (41, "krippendorff_alpha"): 0.953}),
    Scenario("low", 5, (0.60, 0.30, 0.10), 0.79, {
        (10, "fleiss_kappa"): 0.933, (41, "fleiss_kappa"): 0.953, (41, "krippendorff_alpha"): 0.953,
    }),
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """The intervals of one coefficient: how many held the truth, and their mean width.

    unanimous: samples without disagreement, which have a bound and no interval. withheld: samples in which the coefficient is
    undefined, or is when one item is left out or in one of ten resamples.
    """

    scenario: Scenario
    n: int
    statistic: str
    simulations: int
    held: int
    unanimous: int
    withheld: int
    width: float

    @property
    def covered(self) -> float:
        """The share of samples whose interval holds the truth; a sample without an interval counts as a miss."""
        return self.held / self.simulations

    @property
    def peer(self) -> float | None:
        """The share that the other simulation found."""
        return self.scenario.peer.get((self.n, self.statistic))

    @property
    def allowance(self) -> float:
        """Three standard errors of the difference of the two simulations."""
        share = self.peer or self.covered
        return ERRORS * math.sqrt(share * (1 - share) * (1 / self.simulations + 1 / PEER_REPLICATES))

    @property
    def agrees(self) -> bool:
        """Whether the other simulation is within its allowance; it gave intervals where ours are withheld, which may or may not hold."""
        if self.peer is None:
            return True
        most = self.covered + self.withheld / self.simulations
        return self.covered - self.allowance <= self.peer <= most + self.allowance

    def line(self) -> str:
        """Return a row of the table."""
        given = self.held / max(1, self.simulations - self.unanimous - self.withheld)
        peer = "" if self.peer is None else f"{self.peer:.3f} ± {self.allowance:.3f}"
        return (
            f"| {self.scenario.name}, {self.scenario.raters} raters | {self.n} | {STATISTICS[self.statistic]} | "
            f"{self.scenario.truth(self.statistic):.3f} | {self.covered:.3f} | {peer} | {self.unanimous / self.simulations:.3f} | "
            f"{self.withheld / self.simulations:.3f} | {given:.3f} | "
            f"{self.width:.2f} |"
        )


def simulate(scenario: Scenario, n: int, simulations: int) -> list[Cell]:
    """Return the cells of one scenario and number of items; every replicate has its own seed."""
    q, truth = scenario.categories, {name: scenario.truth(name) for name in STATISTICS}
    held, unanimous, withheld = (dict.fromkeys(STATISTICS, 0) for _ in range(3))
    widths: dict[str, list[float]] = {name: [] for name in STATISTICS}
    for replicate in range(simulations):
        codes = scenario.draw(n, np.random.default_rng([scenario.raters, n, replicate]))
        for name in STATISTICS:
            rng = np.random.default_rng([1, scenario.raters, n, replicate])
            statistic, many = partial(BATTERIES["nominal"][name], categories=q), partial(QUICK["nominal"][name], categories=q)
            found = agreement_interval(statistic, codes, rng, many=many)
            unanimous[name] += found.disagreement_high is not None
            if found.interval is None:
                withheld[name] += found.disagreement_high is None
                continue
            held[name] += found.interval.low <= truth[name] <= found.interval.high
            widths[name].append(found.interval.high - found.interval.low)
    return [
        Cell(scenario, n, name, simulations, held[name], unanimous[name], withheld[name], float(np.mean(widths[name])))
        for name in STATISTICS
    ]


def run(simulations: int) -> Iterator[Cell]:
    """Yield every cell, in the order of the scenarios."""
    with ProcessPoolExecutor(WORKERS) as pool:
        started = [pool.submit(simulate, scenario, n, simulations) for scenario in SCENARIOS for n in ITEMS]
        for task in started:
            yield from task.result()


HEAD = (
    "| raters | items | | true value | covered | other simulation | no disagreement | withheld | covered where given | "
    "mean width |\n|---|---|---|---|---|---|---|---|---|---|"
)


def test_intervals_cover_as_often_as_an_independent_simulation_found(capsys: pytest.CaptureFixture[str]) -> None:
    """Where the other simulation has a number, ours differs from it by no more than three standard errors of the difference.

    Samples without an interval count as misses; where the other gave an interval and ours is withheld, either may be.
    """
    cells = list(run(SIMULATIONS))
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join([HEAD, *(cell.line() for cell in cells)]) + "\n")

    apart = [cell.line() for cell in cells if not cell.agrees]
    assert not apart, "\n".join(apart)


def test_the_scenarios_have_the_coefficients_that_they_are_named_for() -> None:
    """Low, high and skewed agreement are .415, .809 and .449 in Fleiss' kappa and .492, .836 and .788 in AC1, to .01."""
    wanted = {"low": (0.415, 0.492), "high": (0.809, 0.836), "skewed": (0.449, 0.788)}
    for scenario in SCENARIOS:
        fleiss, ac1 = wanted[scenario.name]
        assert scenario.truth("fleiss_kappa") == pytest.approx(fleiss, abs=0.01)
        assert scenario.truth("krippendorff_alpha") == pytest.approx(scenario.truth("fleiss_kappa"), abs=1e-9)
        assert scenario.truth("gwet_ac1") == pytest.approx(ac1, abs=0.01)


if __name__ == "__main__":
    sys.stdout.write(HEAD + "\n")
    for each in run(int(sys.argv[1]) if len(sys.argv) > 1 else SIMULATIONS):
        sys.stdout.write(each.line() + "\n")
        sys.stdout.flush()
