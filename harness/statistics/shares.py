"""The interval of a share of answers that come in clusters: several raters on one item, several items of one patient."""

from __future__ import annotations

import numpy as np
from scipy import stats

from .intervals import LEVEL, MIN_UNITS, Interval, binomial_interval, lower_bound_proportion, upper_bound_proportion


def clustered_share(successes: np.ndarray, trials: np.ndarray, level: float = LEVEL) -> Interval:
    """Return the interval of sum(successes) / sum(trials), both (clusters,), one entry per item or patient; no cluster is empty.

    Exact binomial (Clopper & Pearson 1934) where each cluster has one trial. Else as Korn & Graubard 1998 (Survey Methodology 24:193)
    have it: exact with as many trials as the clusters are worth, by the variance of the ratio between clusters and by
    (t(N - 1) / t(G - 1))^2, never more than there are; where all answers are alike, with one trial per cluster.
    ValueError for fewer than 3 clusters of several trials.
    """
    successes, trials = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    clusters, n, hits = len(trials), float(trials.sum()), float(successes.sum())
    if (trials == 1).all():
        return binomial_interval(round(hits), clusters, level)
    if clusters < MIN_UNITS:
        raise ValueError(f"an interval needs at least {MIN_UNITS} items or patients, got {clusters}")
    share, worth = hits / n, float(clusters)
    if 0 < share < 1:
        variance = clusters / (clusters - 1) * float(((successes - share * trials) ** 2).sum()) / n**2
        two = (1 + level) / 2
        shrink = float(stats.t.ppf(two, n - 1) / stats.t.ppf(two, clusters - 1)) ** 2
        worth = min(n, shrink * share * (1 - share) / variance) if variance > 0 else n
    method = f"exact binomial after Korn & Graubard: {n:.0f} answers on {clusters} items or patients are worth {worth:.3g}"
    two, counted = (1 + level) / 2, share * worth
    return Interval(
        lower_bound_proportion(counted, worth, two), upper_bound_proportion(counted, worth, two),
        lower_bound_proportion(counted, worth), upper_bound_proportion(counted, worth), method, level,
    )  # fmt: skip
