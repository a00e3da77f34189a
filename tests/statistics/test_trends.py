"""Trends over doses: Jonckheere, reversals, null band, qualification."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from harness.statistics.trends import DoseResponse, Harmless, Null, adjacent_reversals, jonckheere, null_band, qualify


def every_count(groups: list[list[float]]) -> np.ndarray:
    """Return Jonckheere's count for every way to deal the pooled values into groups of these sizes; the given one is first."""
    pooled = [x for g in groups for x in g]

    def deal(rows: frozenset[int], sizes: list[int]) -> list[list[tuple[int, ...]]]:
        if not sizes:
            return [[]]
        first = [*combinations(sorted(rows), sizes[0])]
        return [[rows_of, *rest] for rows_of in first for rest in deal(rows - set(rows_of), sizes[1:])]

    def count(dealt: list[tuple[int, ...]]) -> float:
        pairs = combinations([[pooled[i] for i in rows] for rows in dealt], 2)
        return sum((x < y) + 0.5 * (x == y) for a, b in pairs for x in a for y in b)

    return np.array([count(dealt) for dealt in deal(frozenset(range(len(pooled))), [len(g) for g in groups])])


SMALL: list[list[list[float]]] = [
    [[1, 2, 5], [3, 4], [6, 7, 8]],
    [[4, 2, 5], [3, 1], [2.5, 7, 0]],
    [[1, 1, 2], [2, 2], [2, 3, 3]],
    [[0, 0, 1], [0, 1, 1], [0, 1, 1]],
    [[3, 2, 2], [1, 1], [1, 0, 0]],
]


@pytest.mark.parametrize("groups", SMALL)
def test_jonckheere_uses_the_exact_mean_and_variance(groups: list[list[float]]) -> None:
    """z uses the mean and the tie-corrected variance of the permutation distribution."""
    everything = every_count(groups)
    z = (everything[0] - everything.mean()) / everything.std()

    assert jonckheere([np.array(g) for g in groups])[0] == pytest.approx(z)


@pytest.mark.parametrize("groups", SMALL)
def test_jonckheere_is_near_the_exact_test(groups: list[list[float]]) -> None:
    """The p of the normal approximation is within .03 of the exact mid-p, with and without ties."""
    everything = every_count(groups)
    mid_p = np.mean(everything > everything[0]) + 0.5 * np.mean(everything == everything[0])

    assert jonckheere([np.array(g) for g in groups])[1] == pytest.approx(mid_p, abs=0.03)


def test_jonckheere_is_antisymmetric_and_silent_on_constants() -> None:
    """Negated values negate z; values that are all the same are no evidence of a trend."""
    groups = [np.array(g, dtype=float) for g in ([1, 3, 2], [2, 4], [5, 3])]

    assert jonckheere([-g for g in groups])[0] == pytest.approx(-jonckheere(groups)[0])
    assert jonckheere([np.ones(5), np.ones(4)]) == (0.0, 1.0)
    with pytest.raises(ValueError, match="at least two groups"):
        jonckheere([np.ones(5)])


def test_jonckheere_rejects_five_percent_under_the_null() -> None:
    """Of 2000 trendless samples about 5 % have p below .05."""
    rng = np.random.default_rng(0)
    rejected = [jonckheere(list(rng.normal(size=(4, 10))))[1] < 0.05 for _ in range(2000)]

    assert np.mean(rejected) == pytest.approx(0.05, abs=0.015)


def test_reversals_are_steps_down_and_saturation_is_none() -> None:
    """A step back is found; a plateau, even of equal values, is not a reversal."""
    rng = np.random.default_rng(1)
    low, high = rng.normal(0, 1, 20), rng.normal(5, 1, 20)

    assert adjacent_reversals([low, high, low], 0.05)
    assert not adjacent_reversals([low, high, rng.normal(5, 1, 20)], 0.05)
    assert not adjacent_reversals([np.zeros(20), np.ones(20), np.ones(20)], 0.05)


def test_null_band_holds_a_further_value() -> None:
    """Of bands from 100 values about 99 % hold the next value; the band is never narrower than the quantiles."""
    rng = np.random.default_rng(2)
    hits = []
    for _ in range(2000):
        values = rng.normal(size=101)
        low, high = null_band(values[:100])
        hits.append(low <= values[100] <= high)
        assert low <= np.quantile(values[:100], 0.005) + 1e-12

    assert 0.985 <= np.mean(hits) <= 1.0


def test_null_band_without_variation_has_no_width() -> None:
    """Equal values give that value twice, exactly."""
    assert null_band(np.full(7, 0.1)) == (0.1, 0.1)
    with pytest.raises(ValueError, match="at least 2"):
        null_band(np.array([1.0]))


def noticed(shifts: dict[float, float], worse: str = "higher", n: int = 20, nulls: int = 200, seed: int = 3) -> DoseResponse:
    """Return the qualification of a Gaussian quantity with these shifts by dose, at dose of concern 0.5."""
    rng = np.random.default_rng(seed)
    doses = {dose: [rng.normal(shift, 1, n)] for dose, shift in shifts.items()}
    return qualify(Null.of(rng.normal(size=nulls)), doses, 0.5, worse)  # type: ignore[arg-type]


def test_a_defect_that_shows_is_qualified() -> None:
    """A quantity that rises with the dose and is outside the band at the dose of concern is qualified."""
    found = noticed({0.0: 0, 0.25: 3, 0.5: 8, 1.0: 12})

    assert found.outcome == "qualified"
    assert found.power == 1.0
    assert round(found.power_low, 3) == 0.861
    assert found.response == pytest.approx(8, abs=1)
    assert found.detected_at == 0.5
    assert found.reason == (
        "noticed 20 of 20 replicates at dose 0.5 (lower 95 % bound 86.1%, at least 80% needed); its specificity was not tested, "
        "for no harmless change was; its stability was not tested, for one probe was planted"
    )


def test_direction_follows_what_is_worse() -> None:
    """The same rise is a reversal for a quantity that should fall, and a fall is then noticed."""
    assert noticed({0.0: 0, 0.25: 3, 0.5: 8, 1.0: 12}, "lower").outcome == "reversed"
    falling = noticed({0.0: 0, 0.25: -3, 0.5: -8, 1.0: -12}, "lower")

    assert falling.outcome == "qualified"
    assert falling.response is not None
    assert falling.response > 0


def test_saturation_is_allowed() -> None:
    """Doses above the first noticed one may all look the same."""
    found = noticed({0.0: 0, 0.25: 9, 0.5: 9, 1.0: 9})

    assert found.outcome == "qualified"
    assert found.detected_at == 0.25


def test_a_blind_quantity_is_not_qualified() -> None:
    """No response is no qualification, and the trend's p is named."""
    found = noticed({0.0: 0, 0.25: 0, 0.5: 0, 1.0: 0}, seed=5)

    assert found.outcome == "not_qualified"
    assert found.detected_at is None
    assert found.reason.startswith("does not follow the dose: one-sided trend p = ")


def test_a_weak_response_is_not_qualified() -> None:
    """A trend without power at the dose of concern is not enough, and the count is named."""
    found = noticed({0.0: 0, 0.25: 0.7, 0.5: 1.5, 1.0: 9})

    assert found.outcome == "not_qualified"
    assert found.trend_p < 0.05
    assert "of 20 replicates at dose 0.5" in found.reason
    assert found.detected_at == 1.0


def test_a_response_that_turns_back_is_not_qualified() -> None:
    """A significant step down between two doses disqualifies."""
    found = noticed({0.0: 0, 0.25: 3, 0.5: 20, 1.0: 12})

    assert found.outcome == "not_qualified"
    assert found.reason.startswith("turns back from one dose to the next")


def test_too_few_null_splits_are_not_quiet() -> None:
    """Ten quiet splits on either side bound the false-alarm rate at 25.9 % only."""
    found = noticed({0.0: 0, 0.25: 30, 0.5: 80, 1.0: 120}, nulls=20)

    assert found.outcome == "not_qualified"
    assert found.reason == "not quiet: 0 false alarms on 10 null splits (upper 95 % bound 25.9%, at most 10% allowed)"


def test_the_wrong_side_at_the_dose_of_concern_is_a_reversal() -> None:
    """A quantity that looks better at the dose of concern is reversed even where the whole trend is not significant."""
    found = noticed({0.0: 0, 0.25: -9, 0.5: -9, 1.0: 9}, n=20)

    assert found.outcome == "reversed"
    assert found.reason.startswith("looks better than real images in 20 of 20 replicates at dose 0.5")


def test_null_splits_without_variation_leave_the_response_without_unit() -> None:
    """A quantity that is 0 on every null split qualifies by leaving 0, without a response in standard deviations."""
    null = Null.of(np.zeros(200))
    found = qualify(null, {0.0: [np.zeros(20)], 0.5: [np.full(20, 0.1)], 1.0: [np.full(20, 0.2)]}, 0.5, "higher")

    assert found.outcome == "qualified"
    assert found.response is None
    assert (null.low, null.high) == (0.0, 0.0)
    assert "; the null splits do not vary, so the response has no unit" in found.reason


def test_null_splits_stand_in_for_dose_zero() -> None:
    """Without replicates at dose 0 the trend starts at the null splits."""
    assert noticed({0.25: 3, 0.5: 8, 1.0: 12}).outcome == "qualified"


@pytest.mark.parametrize(
    ("null", "doses", "match"),
    [
        (np.zeros(3), {0.5: [np.ones(5)]}, "at least 4 null splits"),
        (np.zeros(9), {1.0: [np.ones(5)]}, "dose of concern"),
        (np.zeros(9), {0.5: [np.ones(5), np.ones(0)]}, "needs replicates"),
        (np.array([0.0, np.nan, 1, 2]), {0.5: [np.ones(5)]}, "finite"),
    ],
)
def test_what_cannot_be_decided_is_refused(null: np.ndarray, doses: dict[float, list[np.ndarray]], match: str) -> None:
    """Missing null splits, doses or numbers are errors, not outcomes."""
    with pytest.raises(ValueError, match=match):
        qualify(Null.of(null), doses, 0.5, "higher")


def test_an_improvement_within_the_noise_is_blindness_not_reversal() -> None:
    """Replicates of one probe can show a significant trend far inside the null band: it qualifies nothing and bars nothing."""
    rng = np.random.default_rng(3)
    null = Null.of(rng.normal(0.0, 1.0, 200))
    doses = {dose: rng.normal(-0.3 * dose, 0.05, 20) for dose in (0.0, 0.25, 0.5, 1.0)}

    small = qualify(null, {dose: [values] for dose, values in doses.items()}, 0.5, "higher")
    large = qualify(null, {dose: [10 * values] for dose, values in doses.items()}, 0.5, "higher")

    assert small.outcome == "not_qualified"
    assert large.outcome == "reversed"


def test_every_planted_probe_must_show_the_defect() -> None:
    """A defect that shows in one planted probe and not in the other says more of the probe than of the quantity."""
    rng = np.random.default_rng(4)
    null = Null.of(rng.normal(size=200))
    both = {0.0: [rng.normal(size=100)], 0.5: [rng.normal(8, 1, 100), rng.normal(8, 1, 100)]}
    one = both | {0.5: [rng.normal(8, 1, 180), np.concatenate([rng.normal(8, 1, 12), rng.normal(0, 1, 8)])]}

    assert (qualify(null, both, 0.5, "higher").outcome, qualify(null, both, 0.5, "higher").stability) == ("qualified", 1.0)
    found = qualify(null, one, 0.5, "higher")
    assert found.power_low > 0.8
    assert found.outcome == "not_qualified"
    assert found.reason == "depends on the planted probe: one of 2 was noticed in 60% of its replicates only"


def test_an_answer_to_a_harmless_change_is_not_specific() -> None:
    """A harmless change that moves the quantity as far as the defect makes it conditional; one that moves it less does not."""
    rng = np.random.default_rng(5)
    null = Null.of(rng.normal(size=200))
    doses = {0.0: [rng.normal(size=20)], 0.5: [rng.normal(8, 1, 20)]}

    assert qualify(null, doses, 0.5, "higher", Harmless("flip", 3.0)).outcome == "qualified"
    found = qualify(null, doses, 0.5, "higher", Harmless("flip", 9.0))
    assert found.outcome == "conditional"
    assert "under flip, which is harmless" in found.reason
    blind = {0.0: [rng.normal(size=20)], 0.5: [rng.normal(size=20)]}
    assert qualify(null, blind, 0.5, "higher", Harmless("flip", 9.0)).outcome == "not_qualified"


def test_the_response_is_measured_from_the_same_probes_without_the_defect() -> None:
    """What sets a probe apart from other splits is in the clean replicates too, and drops out."""
    rng = np.random.default_rng(6)
    null = Null.of(rng.normal(size=200))
    found = qualify(null, {0.0: [np.full(20, 2.0)], 0.5: [np.full(20, 3.0)]}, 0.5, "higher")

    assert found.response == pytest.approx(1 / null.spread)
