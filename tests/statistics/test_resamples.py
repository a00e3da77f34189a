"""Coefficients of many resamples at once are those of one resample after the other."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.statistics import agreement
from harness.statistics.agreement import BATTERIES
from harness.statistics.intervals import bca_interval
from harness.statistics.resamples import QUICK, quick

CASES = [(level, name) for level, battery in QUICK.items() for name in battery]
CATEGORIES = 4


def ratings_of(level: str, share_missing: float, n: int = 12, raters: int = 4) -> np.ndarray:
    """Return ratings of a level, a share of which is missing."""
    rng = np.random.default_rng(17)
    truth = rng.integers(0, 3, (n, 1))
    codes = np.where(rng.random((n, raters)) < 0.6, truth, rng.integers(0, 3, (n, raters)))
    missing = rng.random((n, raters)) < share_missing
    return np.where(missing, math.nan, codes * 1.7 + 100) if level == "interval" else np.where(missing, -1, codes)


@pytest.mark.parametrize("share_missing", [0.0, 0.4])
@pytest.mark.parametrize(("level", "name"), CASES)
def test_many_at_once_are_what_they_are_one_by_one(level: str, name: str, share_missing: float) -> None:
    """On resamples of every kind, undefined ones too, the values are those of the battery, with missing ratings as well."""
    ratings = ratings_of(level, share_missing)
    many = QUICK[level][name](ratings, CATEGORIES)
    if name == "unanimity" and share_missing:
        assert many is None
        return
    assert many is not None
    rng = np.random.default_rng(3)
    rows = [*rng.integers(0, 12, (60, 12)), *(np.full(12, k) for k in range(12)), *(np.delete(np.arange(12), k) for k in range(12))]
    found = many(np.stack([np.bincount(row, minlength=12) for row in rows]))

    expected = [BATTERIES[level][name](ratings[row], CATEGORIES).value for row in rows]
    assert found == pytest.approx([math.nan if x is None else x for x in expected], abs=1e-11, nan_ok=True)
    assert any(x is None for x in expected) or name in (
        "percent_agreement",
        "unanimity",
        "gwet_ac1",
        "gwet_ac2_quadratic",
        "brennan_prediger",
    )


@pytest.mark.parametrize("n", [20, 60])
@pytest.mark.parametrize(("level", "name"), CASES)
def test_intervals_are_the_same_with_and_without(level: str, name: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bootstrap of ten patients and jackknife of sixty items give the same interval and note."""
    monkeypatch.setattr(agreement, "REPLICATES", 100)
    ratings, units = ratings_of(level, 0.0, n), np.arange(20) // 2 if n == 20 else None

    def statistic(table: np.ndarray) -> agreement.Agreement:
        return BATTERIES[level][name](table, CATEGORIES)

    slow = agreement.agreement_interval(statistic, ratings, np.random.default_rng(1), units=units)
    at_once = agreement.agreement_interval(statistic, ratings, np.random.default_rng(1), units=units, many=quick(level, name, CATEGORIES))

    assert at_once.note == slow.note
    assert at_once.interval is not None
    assert slow.interval is not None
    assert at_once.interval.method == slow.interval.method
    for end in ("low", "high", "bound_low", "bound_high"):
        assert getattr(at_once.interval, end) == pytest.approx(getattr(slow.interval, end), abs=1e-11)


def test_what_has_no_sums_says_so() -> None:
    """AC1 of one declared category has no quick form; neither have Kendall's W, the intraclass correlations and other levels."""
    assert QUICK["nominal"]["gwet_ac1"](np.zeros((3, 2), dtype=int), 1) is None
    assert quick("ordinal", "kendall_w", 3) is quick("set", "jaccard", 3) is None
    assert set(BATTERIES["ordinal"]) - set(QUICK["ordinal"]) == {"kendall_w"}
    assert set(BATTERIES["interval"]) - set(QUICK["interval"]) == {name for name in BATTERIES["interval"] if name.startswith("icc_")}
    assert set(BATTERIES["nominal"]) == set(QUICK["nominal"])


def test_rounding_does_not_break_ties_of_the_bootstrap() -> None:
    """Resamples that equal the full value but for the last bits count half, so that noise of 1e-15 leaves the interval as it is."""
    values = np.array([0.0] * 5 + [1.0] * 5)
    noise = np.random.default_rng(4)

    def noisy(rows: np.ndarray) -> float:
        return float(values[rows].mean()) + float(noise.choice([-1e-15, 1e-15]))

    exact = bca_interval(lambda rows: float(values[rows].mean()), 10, 500, np.random.default_rng(2))
    found = bca_interval(noisy, 10, 500, np.random.default_rng(2))

    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-12)
    assert (found.bound_low, found.bound_high) == pytest.approx((exact.bound_low, exact.bound_high), abs=1e-12)


def test_resamples_without_a_value_are_counted_as_one_by_one() -> None:
    """An undefined resample is left out and named in the method; a coefficient that one item alone defines has no interval."""
    codes = np.array([[0, 0]] * 6 + [[1, 1]] * 2 + [[0, 1]])
    arguments = (9, 400)

    def one(rows: np.ndarray) -> float | None:
        return BATTERIES["nominal"]["fleiss_kappa"](codes[rows], 2).value

    many = QUICK["nominal"]["fleiss_kappa"](codes, 2)
    slow, at_once = (bca_interval(one, *arguments, np.random.default_rng(5), many=how) for how in (None, many))

    assert slow.method == at_once.method
    assert slow.method.endswith("undefined)")
    lonely = QUICK["nominal"]["fleiss_kappa"](np.array([[0, 0]] * 8 + [[0, 1]]), 2)
    with pytest.raises(ValueError, match="undefined when one item is left out"):
        bca_interval(lambda _: 0.5, *arguments, np.random.default_rng(5), many=lonely)
