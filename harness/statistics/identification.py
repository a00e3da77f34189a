"""Which of these m images is the real one? And: is this image real? What readers' answers say of how well the two can be told apart.

A trial is one grid of m images, one of them real, and one choice. That hits are not significantly above chance does not show that the
images cannot be told apart: for that claim the rate must be shown to lie below chance plus a margin, by a test of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

from .intervals import LEVEL, Interval, bca_interval, binomial_interval, varies

ALPHA = 1 - LEVEL
REPLICATES = 2000
LEAST_GRIDS = 10
_FURTHEST = 12.0


class DPrime(NamedTuple):
    """How far the real image stands out, in standard deviations of what readers see; None where that is infinite or not one number."""

    value: float | None
    status: str = "ok"
    reason: str = ""


@dataclass(frozen=True)
class Identification:
    """Hits of one reader, or of readers who saw grids of their own.

    chance: mean of 1/m. exact: Clopper-Pearson, with one-sided bounds. p_above: exact one-sided test of more hits than chance, Poisson-
    binomial where grids differ in size; p_below: of fewer, which tells the images apart as well. p_two_sided: None where sizes differ.
    margin_ruled_out: the smallest margin such that "rate at least chance + margin" is rejected at 5 %; None where nothing is.
    """

    hits: int
    trials: int
    rate: float
    chance: float
    expected: float
    exact: Interval
    wilson: tuple[float, float]
    p_above: float
    p_below: float
    p_two_sided: float | None
    d_prime: DPrime
    margin_ruled_out: float | None

    def says(self, margin: float) -> str:
        """Return what may be claimed with a margin that was declared beforehand."""
        return _claim(self.p_above <= ALPHA, self.p_below <= ALPHA, self.margin_ruled_out, margin)


def identification(hits: Sequence[int], trials: Sequence[int], grid_size: Sequence[int]) -> Identification:
    """Return the analysis of hits among trials, one entry of each per size of grid.

    ValueError: no trial at all, a grid of fewer than two images, hits that are negative or more than trials.
    """
    sizes = _check(hits, trials, grid_size)
    n, found, chances = len(sizes), int(sum(hits)), 1 / sizes
    same = len(np.unique(sizes)) == 1
    two_sided = float(stats.binomtest(found, n, float(chances[0])).pvalue) if same else None
    wilson = stats.binomtest(found, n).proportion_ci(LEVEL, method="wilson")
    law = poisson_binomial(chances)
    return Identification(
        found, n, found / n, float(chances.mean()), float(chances.sum()),
        exact=binomial_interval(found, n),
        wilson=(float(wilson.low), float(wilson.high)),
        p_above=min(1.0, float(law[found:].sum())),
        p_below=min(1.0, float(law[: found + 1].sum())),
        p_two_sided=two_sided,
        d_prime=d_prime(found / n, int(sizes[0])) if same else DPrime(None, "undefined_unequal_grids", "grids differ in size"),
        margin_ruled_out=smallest_margin(hits, trials, grid_size),
    )  # fmt: skip


def poisson_binomial(chances: np.ndarray) -> np.ndarray:
    """Return the probabilities (n + 1,) of 0..n hits in n independent trials with these chances (n,), by convolution."""
    law = np.ones(1)
    for chance in chances:
        law = np.convolve(law, (1 - chance, chance))
    return law


def d_prime(share: float, m: int) -> DPrime:
    """Return the d' of m-alternative forced choice from a share of hits, P = integral of phi(z - d') Phi(z)^(m - 1) dz.

    Hacker & Ratcliff 1979, Percept. Psychophys. 26:168.
    """
    if m < 2:
        raise ValueError(f"a choice needs at least two images, got {m}")
    if share in (0.0, 1.0):
        return DPrime(None, "undefined_extreme_share", "all or none were hits, so d' is infinite")
    z, weight = np.polynomial.hermite_e.hermegauss(120)
    weight = weight / math.sqrt(2 * math.pi)

    def excess(d: float) -> float:
        return float(weight @ stats.norm.cdf(z + d) ** (m - 1)) - share

    if excess(-_FURTHEST) * excess(_FURTHEST) > 0:
        return DPrime(None, "undefined_extreme_share", f"the share of hits is too extreme for a d' within {_FURTHEST:g}")
    return DPrime(float(optimize.brentq(excess, -_FURTHEST, _FURTHEST, xtol=1e-12)))


def equivalence_p(hits: Sequence[int], trials: Sequence[int], grid_size: Sequence[int], margin: float) -> float:
    """Return the exact one-sided p of "the rate is 1/m + margin or more": small where hits are too few for that (never above 1)."""
    chances = np.clip(1 / _check(hits, trials, grid_size) + margin, 0.0, 1.0)
    return min(1.0, float(poisson_binomial(chances)[: int(sum(hits)) + 1].sum()))


def smallest_margin(hits: Sequence[int], trials: Sequence[int], grid_size: Sequence[int]) -> float | None:
    """Return the smallest margin over chance that is ruled out at 5 %; negative where the rate is below chance; None after hits alone."""
    sizes, found = _check(hits, trials, grid_size), int(sum(hits))
    if found == len(sizes):
        return None
    chances = 1 / sizes

    def excess(margin: float) -> float:
        law = poisson_binomial(np.clip(chances + margin, 0.0, 1.0))
        return float(law[: found + 1].sum()) - ALPHA

    return float(optimize.brentq(excess, -float(chances.max()), 1 - float(chances.min()), xtol=1e-12))


def _check(hits: Sequence[int], trials: Sequence[int], grid_size: Sequence[int]) -> np.ndarray:
    """Return the size of the grid of every trial."""
    if not len(hits) == len(trials) == len(grid_size):
        raise ValueError("give hits, trials and grid size once per size of grid")
    if any(not 0 <= k <= n for k, n in zip(hits, trials, strict=True)) or sum(trials) == 0:
        raise ValueError(f"hits must lie between 0 and the trials, and there must be trials: got {list(hits)} of {list(trials)}")
    if any(m < 2 for m in grid_size):
        raise ValueError(f"a choice needs at least two images, got grids of {list(grid_size)}")
    return np.repeat(np.asarray(grid_size, dtype=np.float64), np.asarray(trials, dtype=np.int64))


def _claim(above: bool, below: bool, ruled_out: float | None, margin: float) -> str:
    if above and ruled_out is not None and ruled_out <= margin:
        return f"found more often than by chance, by less than {margin:.2f}"
    if above:
        return "the real images are found more often than by chance"
    if below:
        return "the real images are found less often than by chance: readers can tell them apart and take the synthetic ones for real"
    if ruled_out is not None and ruled_out <= margin:
        return f"a rate of chance + {margin:.2f} or more is ruled out"
    return f"undecided: neither a rate above chance nor one below chance + {margin:.2f} is shown"


@dataclass(frozen=True)
class Pooled:
    """Hits of readers who share grids. rate and chance: over all answers. interval: of rate - chance, grids drawn anew, readers as given.

    above, below: whether the one-sided 95 % bound lies above, or below, chance. margin_ruled_out: the upper bound over chance.
    """

    rate: float | None
    chance: float | None
    answers: int
    grids: int
    readers: int
    interval: Interval | None
    above: bool
    below: bool
    margin_ruled_out: float | None
    note: str = ""
    status: str = "ok"
    reason: str = ""

    def says(self, margin: float) -> str:
        """Return what may be claimed with a margin that was declared beforehand."""
        if self.interval is None:
            return f"undecided: {self.reason}"
        return _claim(self.above, self.below, self.margin_ruled_out, margin)


def pooled(hits: np.ndarray, grid_size: np.ndarray, rng: np.random.Generator, replicates: int = REPLICATES) -> Pooled:
    """Return the hits of readers over the grids that they share: hits (reader, grid), 1 or 0, NaN without an answer; grid_size (grid,).

    Answers to one grid are not independent, so grids are resampled with all their answers (BCa bootstrap). Where every grid is answered
    alike the interval is exact for as many trials as there are grids, not answers.
    """
    hits, sizes = np.asarray(hits, dtype=np.float64), np.asarray(grid_size, dtype=np.float64)
    if hits.ndim != 2 or sizes.shape != hits.shape[1:] or (sizes < 2).any():
        raise ValueError(f"hits are (reader, grid) and every grid has a size of 2 or more, got {hits.shape} and {sizes.shape}")
    seen = ~np.isnan(hits)
    if not np.isin(hits[seen], (0.0, 1.0)).all():
        raise ValueError("hits are 1 or 0, or NaN without an answer")
    answered = seen.any(axis=0)
    hits, sizes, seen = hits[:, answered], sizes[answered], seen[:, answered]
    grids, answers, readers = int(answered.sum()), int(seen.sum()), int(seen.any(axis=1).sum())
    if not answers:
        return Pooled(None, None, 0, 0, 0, None, False, False, None, "", "undefined_no_data", "no grid was answered")
    right, counts = np.where(seen, hits, 0.0).sum(axis=0), seen.sum(axis=0)
    due = counts / sizes
    rate, chance = float(right.sum() / answers), float(due.sum() / answers)
    note = f"{readers} readers as given, {grids} grids resampled" + ("; few grids, the interval is rough" if grids < LEAST_GRIDS else "")
    interval, reason = _over_grids(right, due, counts, rng, replicates)
    if interval is None:
        return Pooled(rate, chance, answers, grids, readers, None, False, False, None, note, "undefined_no_interval", reason)
    above, below = interval.bound_low > 0, interval.bound_high < 0
    ruled_out = interval.bound_high if rate < 1 else None
    return Pooled(rate, chance, answers, grids, readers, interval, above, below, ruled_out, note)


def _over_grids(
    right: np.ndarray, due: np.ndarray, counts: np.ndarray, rng: np.random.Generator, replicates: int
) -> tuple[Interval | None, str]:
    """Return the interval of rate - chance over grids, or why there is none."""
    grids, shares = len(counts), right / counts
    if shares.min() == shares.max() and shares[0] in (0.0, 1.0):
        share, chance = binomial_interval(grids if shares[0] else 0, grids), float(due.sum() / counts.sum())
        low, high, bound_low, bound_high = (x - chance for x in (share.low, share.high, share.bound_low, share.bound_high))
        return Interval(low, high, bound_low, bound_high, f"exact binomial, all answers alike on {grids} grids", LEVEL), ""
    excess = right - due
    if not varies(excess / counts):
        return None, "every grid has the same share of hits over chance, so grids do not tell how much it varies"

    def of(rows: np.ndarray) -> float:
        return float(excess[rows].sum() / counts[rows].sum())

    def of_many(drawn: np.ndarray) -> np.ndarray:
        return np.asarray((drawn @ excess) / (drawn @ counts))

    try:
        return bca_interval(of, grids, replicates, rng, many=of_many, whose="grids"), ""
    except ValueError as error:
        return None, str(error)


class YesNo(NamedTuple):
    """Real or synthetic, asked image by image. positive: the class whose recognition is called sensitivity; None where none was shown."""

    positive: str
    sensitivity: float | None
    sensitivity_interval: Interval | None
    specificity: float | None
    specificity_interval: Interval | None
    prevalence: float
    n_positive: int
    n_negative: int
    status: str = "ok"
    reason: str = ""


def yes_no(said: np.ndarray, truth: np.ndarray, positive: str) -> YesNo:
    """Return sensitivity and specificity of one reader with exact intervals.

    said, truth: (image,) whether it was called, and is, of the class `positive`, which the protocol must name beforehand: swapping the
    classes swaps the two numbers. ValueError: no image, or shapes that differ.
    """
    said, truth = np.asarray(said, dtype=bool), np.asarray(truth, dtype=bool)
    if said.shape != truth.shape or said.ndim != 1 or len(said) == 0:
        raise ValueError(f"every image needs its answer and its truth, got {said.shape} and {truth.shape}")
    n1, n0 = int(truth.sum()), int((~truth).sum())
    hit, rejected = int((said & truth).sum()), int((~said & ~truth).sum())
    sensitivity, specificity = (hit / n1 if n1 else None), (rejected / n0 if n0 else None)
    missing = f"no image that is {'not ' if n1 else ''}{positive} was shown"
    status, reason = ("ok", "") if n1 and n0 else ("undefined_one_class", missing)
    of_positive = binomial_interval(hit, n1) if n1 else None
    of_negative = binomial_interval(rejected, n0) if n0 else None
    return YesNo(positive, sensitivity, of_positive, specificity, of_negative, n1 / len(truth), n1, n0, status, reason)
