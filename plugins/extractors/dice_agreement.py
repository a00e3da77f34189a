"""How far predicted Dice is from the true one on held-out patients, and whether it is nearer than any constant."""

from __future__ import annotations

import numpy as np
from scipy import stats

from harness.api import NotComputable

_INTERVALS = ("mae", "correlation", "slope", "skill")
AGREEMENT = (*(f"{name}{end}" for name in _INTERVALS for end in ("", "_low", "_high")), "constant_mae")
FEWEST_FOR_AN_INTERVAL = 10

_DRAWS, _VARIES = 1000, 1e-6


def agreement(predicted: np.ndarray, true: np.ndarray, units: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """Return how predicted and true Dice of masks, both (N,), go together, by the names of `AGREEMENT`. units: patient of each, (N,).

    mae: mean absolute error. correlation: Pearson's. slope: of the regression of true on predicted Dice: 1 where differences between
    predictions are those of the truth. constant_mae: error of the best constant, the median of the true values themselves; as no
    constant has a smaller error on these masks, what beats this one beats any that could have been chosen beforehand. skill: over that
    constant, see `skill`. `_low` and `_high` are the ends of 95 % intervals: percentiles of 1000 bootstrap draws of patients; with
    fewer than ten patients both repeat the value, except those of the skill.
    """
    for name, values in (("predicted", predicted), ("true", true)):
        if values.std() <= _VARIES:
            error = float(np.abs(predicted - true).mean())
            reason = f"the {name} Dice of all {len(values)} held-out masks is {values[0]:.3f} (mean absolute error {error:.3f})"
            raise NotComputable(f"{reason}: more steps may help")
    x, y = predicted - predicted.mean(), true - true.mean()
    sums = _by_patient(np.stack([np.ones_like(x), x, y, x * x, y * y, x * y, np.abs(predicted - true)], axis=1), units)
    ends = np.repeat(_statistics(sums.sum(axis=0)[None]), 3, axis=0)
    n = len(sums)
    if n >= FEWEST_FOR_AN_INTERVAL:
        drawn = _statistics(rng.multinomial(n, np.full(n, 1.0 / n), size=_DRAWS) @ sums)
        # A draw in which one side does not vary has no correlation.
        ends[1:] = np.percentile(drawn[np.isfinite(drawn).all(axis=1)], (2.5, 97.5), axis=0)
    constant = np.abs(np.median(true) - true)
    skilled = skill(np.abs(predicted - true), constant, units)
    return dict(zip(AGREEMENT, [*ends.T.ravel().tolist(), *skilled, float(constant.mean())], strict=True))


def skill(errors: np.ndarray, reference: np.ndarray, units: np.ndarray) -> tuple[float, float, float]:
    """Return the skill of predictions with these absolute errors (N,) over a reference with those (N,), and its 95 % interval.

    skill = 1 - MAE / MAE of the reference (Murphy, Monthly Weather Review 116, 1988, with absolute errors): 1 is perfect, 0 no better
    than the reference. units: patient of each, (N,), at least two different ones. The interval is that of a ratio estimator over
    patients (Cochran, Sampling Techniques, 1977, 6.4) with Student's t for one degree of freedom less than there are patients: it
    holds for few patients too.
    """
    sums = _by_patient(np.stack([errors, reference], axis=1), units)
    n, (own, other) = len(sums), sums.sum(axis=0)
    value = 1.0 - own / other
    residuals = sums[:, 1] * (1.0 - value) - sums[:, 0]
    half = stats.t.ppf(0.975, n - 1) * np.sqrt(n / (n - 1) * np.sum(residuals**2)) / other
    return float(value), float(value - half), float(min(value + half, 1.0))


def strangers(rows: np.ndarray, units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return for each of these rows (M,) a random one among them that belongs to another patient, (M,). units: patient of every row."""
    return np.array([rng.choice(rows[units[rows] != units[row]]) for row in rows])


def _by_patient(terms: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return the sums (P, K) of terms (N, K) over the masks of each patient."""
    members = np.unique(units, return_inverse=True)[1]
    sums = np.zeros((members.max() + 1, terms.shape[1]))
    np.add.at(sums, members, terms)
    return sums


def _statistics(sums: np.ndarray) -> np.ndarray:
    """Return error, correlation and slope, (D, 3), of sums over masks (D, 7); not finite where one side does not vary."""
    n, x, y, xx, yy, xy, error = sums.T
    across, along, beside = xy / n - x * y / n**2, xx / n - (x / n) ** 2, yy / n - (y / n) ** 2
    varies = np.minimum(along, beside) > _VARIES**2
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.where(varies, np.clip(across / np.sqrt(along * beside), -1.0, 1.0), np.nan)
        return np.stack([error / n, correlation, np.where(varies, across / along, np.nan)], axis=1)
