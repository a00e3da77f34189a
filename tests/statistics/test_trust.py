"""Trust factors: golden values, identities, what is left out, bad input, and how often the intervals cover."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.statistics import trust
from harness.statistics.trust import VARIANTS, Factor, trust_factors

# The case tiny_by_hand of trust-golden/1: equations 6 to 10 of Raja Babu et al. 2025 worked by hand on four cases and three regions.
TINY: dict[str, Any] = {
    "id": "tiny_by_hand",
    "tolerance": 1e-12,
    "C_R": [[0.8, 0.9, 0.5], [0.6, 0.7, 0.1], [0.9, 1.0, 0.9], [0.0, 0.5, 0.3]],
    "C_S": [[0.8, 0.8, 0.6], [0.5, 0.7, 0.2], [1.0, 0.9, 0.7], [0.0, 0.4, 0.3]],
    "expected": {
        "T1_R": 0.6,
        "T1_S": 0.575,
        "T2_R_literal_over_images_ddof0": 0.7461408964712031,
        "T2_R_over_region_means_ddof0": 0.8661468466315916,
        "T2_R_over_region_means_ddof1": 0.83606403689245,
        "T2_R_mean_within_image_ddof0": 0.8287362087254444,
        "T2_S_literal_over_images_ddof1": 0.7179768856333988,
        "T2_S_mean_within_image_ddof1": 0.8179874188019771,
        "T3": [0.9948271599020949, 0.9982337342703331, 0.9754192155293676],
        "T3_pearson_companion": [0.98387542086474, 0.9742446008949095, 0.942908070944406],
        "T4": [0.05, 0.075, 0.1],
        "T4_abs_difference_of_means": [0.0, 0.075, 0.0],
        "T5_R_ddof0": [0.6071408714682149, 0.24777889509253576, 0.6573421981221795],
        "T5_S_ddof1": [0.7564051217797038, 0.3086066999241838, 0.5289946984105814],
        "n_pairs": [4, 4, 4],
    },
}
NAMES = {
    "T1": "image_first",
    "T1_region_first": "region_first",
    "T1_pooled": "pooled",
    "T3": "cosine",
    "T3_pearson_companion": "pearson",
    "T4": "mean_absolute_difference",
    "T4_abs_difference_of_means": "absolute_difference_of_means",
    "T5_ddof0": "cv",
    "T5_ddof1": "cv_ddof1",
}
SETS = {"R": "real", "S": "synthetic"}


@cache
def golden() -> tuple[dict[str, Any], ...]:
    """Return the cases of the golden file, none where there is no file."""
    path = Path(os.environ.get("HARNESS_GOLDEN") or ".") / "trust_public.json"
    return tuple(json.loads(path.read_text(encoding="utf-8"))["cases"]) if os.environ.get("HARNESS_GOLDEN") and path.is_file() else ()


def entries() -> Iterator[Any]:
    """Yield every expected entry of every golden case, or one that is skipped."""
    if not golden():
        yield pytest.param(TINY, "T1_R", id="none", marks=pytest.mark.skip(reason="HARNESS_GOLDEN names no folder with trust_public.json"))
    for case in golden():
        for name in case["expected"]:
            yield pytest.param(case, name, id=f"{case['id']}-{name}")


@cache
def found(case: str) -> tuple[Factor, ...]:
    """Return the factors of a golden case."""
    data = next(c for c in (TINY, *reversed(golden())) if c["id"] == case)
    return trust_factors(np.array(data["C_R"], dtype=float), np.array(data["C_S"], dtype=float))


def pick(factors: tuple[Factor, ...], variant: str, region: int | None = None, tested_on: str = "both") -> Factor:
    """Return the one factor of a variant, a region and a set."""
    (one,) = (f for f in factors if (f.variant, f.region, f.tested_on) == (variant, region, tested_on))
    return one


def named(factors: tuple[Factor, ...], name: str, region: int | None) -> Factor:
    """Return the factor that the golden file calls `name`."""
    factor, *rest = name.split("_")
    tested_on = SETS[rest.pop(0)] if rest and rest[0] in SETS else "both"
    plain = "_".join([factor, *rest])
    variant = NAMES.get(plain) or "_".join(rest).replace("_ddof0", "")
    return pick(factors, variant, region, tested_on)


def check(case: dict[str, Any], name: str) -> None:
    """Hold one golden entry against what is computed."""
    expected, factors = case["expected"][name], found(case["id"])
    for region, value in enumerate(expected) if isinstance(expected, list) else [(None, expected)]:
        if name == "n_pairs":
            assert pick(factors, "cosine", region).n == value
            continue
        factor = named(factors, name, region)
        if value is None:
            assert factor.value is None
            assert factor.reason
        else:
            assert factor.value == pytest.approx(value, rel=0, abs=case["tolerance"])


@pytest.mark.parametrize(("case", "name"), tuple(entries()))
def test_golden_values(case: dict[str, Any], name: str) -> None:
    """Every entry of the golden file comes out within its tolerance."""
    check(case, name)


@pytest.mark.parametrize("name", TINY["expected"])
def test_the_case_worked_by_hand(name: str) -> None:
    """Four cases of three regions give the values that the equations give by hand."""
    check(TINY, name)


@pytest.mark.skipif(not golden(), reason="HARNESS_GOLDEN names no folder with trust_public.json")
def test_the_shuffled_floor_is_that_of_the_golden_file() -> None:
    """The exact mean over all pairings is what the golden file found by shuffling."""
    cases = [case for case in golden() if "null_cosine_shuffled_cases" in case]

    assert cases
    for case in cases:
        floor = case["null_cosine_shuffled_cases"]
        shuffled = [pick(found(case["id"]), "shuffled_mean", region).value for region in range(len(floor["value"]))]
        assert shuffled == pytest.approx(floor["value"], abs=floor["tolerance"])


def dice(cases: int, seeds: int = 1, shift: float = 0.05, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return real and synthetic Dice (seeds, cases, 3) of cases and trained models that differ."""
    rng = np.random.default_rng([number, cases, seeds])
    case, model = rng.normal(0, 0.08, (1, cases, 1)), rng.normal(0, 0.01, (seeds, 1, 3))
    centre = np.array([0.75, 0.85, 0.6]) + case + model
    real, synthetic = (x + rng.normal(0, 0.05, (seeds, cases, 3)) for x in (centre, centre - shift))
    return np.clip(real, 0.01, 0.99), np.clip(synthetic, 0.01, 0.99)


def values(factors: tuple[Factor, ...]) -> dict[tuple[str, int | None, str], tuple[float | None, ...]]:
    """Return value and interval of every factor."""
    return {(f.variant, f.region, f.tested_on): (f.value, f.low, f.high, f.n) for f in factors}


def same(one: tuple[Factor, ...], other: tuple[Factor, ...]) -> None:
    """Hold the values and intervals of two results against each other."""
    ours, theirs = values(one), values(other)
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert [x is None for x in ours[key]] == [x is None for x in theirs[key]]
        known, others = ([x for x in row[key] if x is not None] for row in (ours, theirs))
        assert known == pytest.approx(others, rel=1e-9, abs=1e-12), key


def test_every_variant_is_explained_and_every_row_is_one_of_them() -> None:
    """The rows are the declared variants, each with a value and an interval or a reason, and nothing is NaN."""
    for paired in (True, False):
        factors = trust_factors(*dice(30, 3), paired=paired)

        assert {f.variant for f in factors} == set(VARIANTS)
        assert all(VARIANTS[f.variant].startswith(f.factor) for f in factors)
        assert len(factors) == len(values(factors)) == 2 * 9 + 3 * (4 + 3 + 2 * 2)
        assert all((f.low is None) == (f.high is None) == (f.level is None) == (f.method == "") == (f.reason != "") for f in factors)
        assert all(math.isfinite(x) for f in factors for x in (f.value, f.low, f.high) if x is not None)
        assert all(f.low <= f.value <= f.high for f in factors if f.value is not None and f.low is not None and f.high is not None)


def test_t3_is_the_correlation_and_the_variation_in_disguise() -> None:
    """T3 = (1 + rho CV_R CV_S) / sqrt((1 + CV_R^2) (1 + CV_S^2)), and the floor is the same with rho = 0."""
    factors = trust_factors(*dice(50))

    for region in range(3):
        rho = pick(factors, "pearson", region).value
        real, synthetic = (pick(factors, "cv", region, name).value for name in SETS.values())
        below = math.sqrt((1 + real**2) * (1 + synthetic**2))
        assert pick(factors, "cosine", region).value == pytest.approx((1 + rho * real * synthetic) / below, abs=1e-12)
        assert pick(factors, "shuffled_mean", region).value == pytest.approx(1 / below, abs=1e-12)


def test_the_floor_is_what_random_pairings_give() -> None:
    """The mean over random pairings is the exact one, and one in twenty of them exceeds the quantile."""
    real, synthetic = dice(25)
    factors = trust_factors(real, synthetic)
    rng = np.random.default_rng(1)
    drawn = [trust._cosine(real[:, :, 0], synthetic[:, rng.permutation(25), 0])[0] for _ in range(4000)]
    floor, high = pick(factors, "shuffled_mean", 0), pick(factors, "shuffled_95", 0)

    assert np.mean(drawn) == pytest.approx(floor.value, abs=4 * np.std(drawn) / math.sqrt(4000))
    assert np.mean(np.array(drawn) > high.value) == pytest.approx(0.05, abs=0.02)
    assert high.low is None
    assert "random pairings" in high.reason


def test_distances_are_ordered() -> None:
    """The difference of means is at most the distance of distributions, and that at most the mean difference of pairs."""
    factors = trust_factors(*dice(40, 2, shift=0.01))

    for region in range(3):
        means, sets, pairs = (
            pick(factors, name, region).value for name in ("absolute_difference_of_means", "wasserstein", "mean_absolute_difference")
        )
        assert means <= sets + 1e-12
        assert sets <= pairs + 1e-12


def test_identical_sets_agree_completely() -> None:
    """Of the same Dice twice T3 is 1 and T4 is 0, and there is no spread to make an interval of."""
    real, _ = dice(20)
    factors = trust_factors(real, real)

    for variant, value in (("cosine", 1.0), ("pearson", 1.0), ("mean_absolute_difference", 0.0), ("wasserstein", 0.0)):
        factor = pick(factors, variant, 1)
        assert factor.value == pytest.approx(value, abs=1e-12)
        assert factor.low is None
        assert "stays the same whichever patient is left out" in factor.reason


def test_the_order_of_cases_does_not_matter() -> None:
    """Cases, with their patients, in another order give the same rows, the drawn pairings included."""
    real, synthetic = dice(24, 2)
    units, order = np.arange(24) // 2, np.random.default_rng(0).permutation(24)

    same(
        trust_factors(real, synthetic, units=units),
        trust_factors(real[:, order], synthetic[:, order], units=np.array([f"p{u}" for u in units[order]])),
    )


def test_the_order_of_regions_only_renames_them() -> None:
    """Regions in another order give the same rows under other numbers."""
    real, synthetic = dice(20)
    order = [2, 0, 1]
    moved = trust_factors(real[:, :, order], synthetic[:, :, order])

    renamed = tuple(Factor(**{**vars(f), "region": None if f.region is None else order[f.region]}) for f in moved)
    same(trust_factors(real, synthetic), renamed)


def test_several_seeds_give_the_mean_over_seeds() -> None:
    """The value is the mean of each seed's value, the interval is wider where the seeds differ, and the method says what it covers."""
    real, synthetic = dice(40, 3)
    together, alone = trust_factors(real, synthetic), [trust_factors(real[s], synthetic[s]) for s in range(3)]

    for f in together:
        if f.variant != "shuffled_95":
            expected = np.mean([pick(one, f.variant, f.region, f.tested_on).value for one in alone])
            assert f.value == pytest.approx(expected, abs=1e-12)
    assert pick(together, "image_first", None, "real").method == "t x jackknife SE, 40 cases of 40 patients, 3 seeds"
    assert "one seed, whose run-to-run variation is not covered" in pick(alone[0], "image_first", None, "real").method
    apart = np.clip(real + np.array([-0.1, 0.0, 0.1])[:, None, None], 0, 1)
    wide, narrow = (pick(trust_factors(x, synthetic), "image_first", None, "real") for x in (apart, real))
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_cases_of_one_patient_count_once() -> None:
    """Each case three times gives the value and the interval that each case once gives, if the copies share a patient."""
    real, synthetic = dice(20)
    thrice = trust_factors(np.tile(real, (1, 3, 1)), np.tile(synthetic, (1, 3, 1)), units=np.tile(np.arange(20), 3))
    once = trust_factors(real, synthetic)

    for variant, region, tested_on in (("image_first", None, "real"), ("cosine", 0, "both"), ("cv", 1, "synthetic")):
        one, three = (pick(x, variant, region, tested_on) for x in (once, thrice))
        assert (three.value, three.low, three.high) == pytest.approx((one.value, one.low, one.high), rel=1e-9)
        assert (one.n, three.n) == (20, 60)
    assert "60 cases of 20 patients" in pick(thrice, "cosine", 0).method


def test_absent_regions_are_left_out_and_counted() -> None:
    """NaN leaves out the pair for T3 and T4, the case for T5, the cell of the row for T1 and T2; masked Dice are NaN."""
    real, synthetic = (x[0] for x in dice(30))
    real[3, 0] = synthetic[3, 0] = synthetic[7, 0] = np.nan
    real[9] = np.nan
    kept = np.setdiff1d(np.arange(30), [3, 7, 9])
    factors = trust_factors(real, synthetic)

    assert pick(factors, "cosine", 0).n == 27
    assert pick(factors, "cosine", 0).value == pytest.approx(trust._cosine(real[None, kept, 0], synthetic[None, kept, 0])[0])
    assert (pick(factors, "cv", 0, "real").n, pick(factors, "cv", 0, "synthetic").n, pick(factors, "cv", 1, "real").n) == (28, 28, 29)
    assert (pick(factors, "image_first", None, "real").n, pick(factors, "image_first", None, "synthetic").n) == (29, 30)
    assert pick(factors, "image_first", None, "real").value == pytest.approx(np.nanmean([np.nanmean(row) for row in np.delete(real, 9, 0)]))
    same(factors, trust_factors(np.ma.masked_invalid(real), np.ma.masked_invalid(synthetic)))


def test_a_region_that_is_never_there_has_reasons() -> None:
    """Where a column is empty its factors, and those of all regions, say so; the other regions keep theirs."""
    real, synthetic = (x[0] for x in dice(20))
    real[:, 2] = np.nan
    factors = trust_factors(real, synthetic)

    for variant, region, tested_on in (("cosine", 2, "both"), ("shuffled_95", 2, "both"), ("wasserstein", 2, "both"), ("cv", 2, "real")):
        assert pick(factors, variant, region, tested_on).reason == "region 2 is absent from every case"
    assert pick(factors, "image_first", None, "real").reason == "region 2 is absent from every case: leave it out"
    assert pick(factors, "image_first", None, "synthetic").value is not None
    assert pick(factors, "cosine", 1).low is not None


def test_unpaired_sets_are_compared_as_distributions() -> None:
    """Without pairs T3 and the mean difference have a reason; the distances of sets may differ in size and need no order."""
    real, synthetic = dice(40)[0], dice(25, number=1)[1]
    factors = trust_factors(real, synthetic, units=np.arange(40) // 2, paired=False)

    for variant in ("cosine", "pearson", "shuffled_mean", "shuffled_95", "mean_absolute_difference"):
        assert pick(factors, variant, 0).value is None
        assert "needs the same cases" in pick(factors, variant, 0).reason
    distance = pick(factors, "wasserstein", 0)
    assert distance.n == 25
    assert distance.method.startswith("t x jackknife SE, 40 and 25 cases of 20 and 25 patients")
    same(factors, trust_factors(real, synthetic[:, ::-1], units=np.arange(40) // 2, paired=False))


def test_little_data_gives_values_without_intervals() -> None:
    """Below ten patients there is no interval; of one case T3 is 1 and a divisor of n - 1 is undefined."""
    real, synthetic = dice(20)
    few = trust_factors(real, synthetic, units=np.arange(20) % 9)
    one = trust_factors(real[:, :1], synthetic[:, :1])

    assert pick(few, "cosine", 0).reason == "no interval: it needs at least 10 patients, got 9"
    assert pick(one, "cosine", 0).value == pytest.approx(1)
    assert pick(one, "cv", 0, "real").value == 0
    assert "needs at least two values" in pick(one, "literal_over_images_ddof1", None, "real").reason
    assert pick(one, "cv_ddof1", 0, "real").value is None
    assert "the same" in pick(one, "pearson", 0).reason


def test_undefined_ratios_have_reasons() -> None:
    """A set of zeros has no direction and no coefficient of variation; one such seed of several is named."""
    real, synthetic = dice(20, 3)
    synthetic[1, :, 0] = 0
    factors = trust_factors(real, synthetic)

    assert pick(factors, "cosine", 0).reason.endswith("is 0, so the cosine is undefined (for 1 of 3 seeds)")
    assert pick(factors, "shuffled_95", 0).value is None
    assert pick(factors, "cv", 0, "synthetic").reason.startswith("every Dice is 0")
    assert pick(factors, "mean_absolute_difference", 0).low is not None


def test_a_spread_that_rests_on_one_patient_gives_no_interval() -> None:
    """One failed case among equal ones makes up the whole variance, and no interval can be made of that."""
    real, synthetic = dice(40)
    real[0, :, 0], real[0, 5, 0] = 0.8 + 0.001 * (np.arange(40) % 3), 0.0
    factor = pick(trust_factors(real, synthetic), "cv", 0, "real")

    assert factor.value is not None
    assert factor.reason == "no interval: its spread rests almost wholly on one patient"


GOOD = np.full((12, 2), 0.5)


@pytest.mark.parametrize(
    ("real", "synthetic", "options", "message"),
    [
        (GOOD[:, 0], GOOD, {}, r"real: Dice must have the shape \(cases, regions\).*got \(12,\)"),
        (GOOD, np.empty((0, 2)), {}, "synthetic: Dice must have the shape"),
        (GOOD, np.empty((12, 0)), {}, "synthetic: Dice must have the shape"),
        (GOOD, GOOD[:, :1], {}, "differ in regions: 2 and 1"),
        (GOOD, GOOD[:11], {}, "differ in paired cases: 12 and 11"),
        (GOOD, np.stack([GOOD, GOOD]), {"paired": False}, "differ in seeds: 1 and 2"),
        (GOOD * 2.2, GOOD, {}, "real: Dice of seed 0, case 0, region 0 is 1.1, outside 0 to 1"),
        (GOOD, -GOOD, {}, "synthetic: .* is -0.5, outside 0 to 1"),
        (GOOD + np.inf, GOOD, {}, "real: .* is inf, outside 0 to 1"),
        (
            np.stack([GOOD, np.where(np.eye(12, 2) > 0, np.nan, GOOD)]),
            np.stack([GOOD, GOOD]),
            {},
            "region 0 of case 0 is absent .* some seeds",
        ),
        (GOOD, GOOD, {"units": np.arange(11)}, r"patient of each of 12 cases, got the shape \(11,\)"),
        (GOOD, GOOD, {"units": np.array([np.nan, *range(11)])}, "some are missing"),
        (GOOD, GOOD, {"units": np.array([None, *"abcdefghijk"], dtype=object)}, "some are missing"),
    ],
)
def test_bad_input_is_refused(real: np.ndarray, synthetic: np.ndarray, options: dict[str, Any], message: str) -> None:
    """Wrong shapes, Dice outside 0 to 1 and wrong units are refused in words that say which."""
    with pytest.raises(ValueError, match=message):
        trust_factors(real, synthetic, **options)


def covered(reading: trust._Reading, *columns: np.ndarray, truth: float) -> float:
    """Return whether the interval of a factor of cases (seeds, cases, ...) that are their own patients holds the truth, NaN without one."""
    sample = trust._Sample(columns, np.arange(columns[0].shape[1]))
    factor = trust._factor("", reading, None, "both", (sample,))
    return math.nan if factor.low is None or factor.high is None else float(factor.low <= truth <= factor.high)


def test_intervals_cover_patients_and_seeds() -> None:
    """In simulated studies of 40 patients and 4 seeds intervals hold the truth in about 95 of 100, but not one that forgets the seeds."""
    spread, between, held = 0.08, 0.03, []
    for study in range(150):
        rng = np.random.default_rng([study, 7])
        real = 0.7 + rng.normal(0, spread, (1, 40, 1)) + rng.normal(0, between, (4, 1, 1))
        synthetic = real - 0.05 + rng.normal(0, 0.02, (4, 40, 1))
        held.append(
            (
                covered(trust._T1[0], real, truth=0.7),
                covered(trust._T2[0], real, truth=1 - spread),
                covered(trust._T4_OF_MEANS, real[:, :, 0], synthetic[:, :, 0], truth=0.05),
                covered(trust._T5[0], real[:, :, 0], truth=spread / 0.7),
                covered(trust._T1[0], real.mean(axis=0, keepdims=True), truth=0.7),
            )
        )
    *shares, without_seeds = np.nanmean(held, axis=0)

    assert np.isnan(held).mean(axis=0).max() <= 0.05
    assert min(shares) >= 0.90
    assert without_seeds < 0.85


def test_intervals_of_distances_near_nought_reach_it() -> None:
    """Sets of one distribution have distance 0, and regions alike have T2 = 1: intervals hold these in at least 90 of 100 studies."""
    held = []
    for study in range(100):
        rng = np.random.default_rng([study, 11])
        regions = rng.beta(12, 3, (1, 30, 3))
        held.append([covered(reading, regions[:, :, 0], regions[:, :, 1], truth=0.0) for reading in trust._T4_OF_SETS])
        held[-1].append(covered(trust._T2[2], regions, truth=1.0))

    assert np.mean(held, axis=0).min() >= 0.90
