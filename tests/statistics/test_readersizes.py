"""Sizes of reader studies: every number of the planning tables is computed."""

from __future__ import annotations

import json
import math
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from harness.statistics.readersizes import (
    VAN_DYKE,
    Planned,
    agreement_half_width,
    cases_needed,
    grids_to_detect,
    grids_to_rule_out,
    items_for_half_width,
    mrmc_power,
    readers_by_cases,
    share_half_width,
    smallest_detected,
    smallest_ruled_out,
)


@cache
def cases(statistic: str) -> list[dict[str, Any]]:
    """Return the independent values of a statistic, none where there is no file."""
    folder = os.environ.get("HARNESS_GOLDEN")
    path = Path(folder or ".") / "reliability_public.json"
    whole = json.loads(path.read_text(encoding="utf-8")) if folder and path.is_file() else {"cases": []}
    return [case for case in whole["cases"] if case["statistic"] == statistic]


@pytest.mark.parametrize("case", cases("mrmc_power"), ids=lambda case: case["id"])
def test_power_is_that_of_the_package(case: dict[str, Any]) -> None:
    """The power of RJafroc for these components comes out, for random and for fixed readers."""
    asked, parts = case["params"], case["params"]["components"]
    planned = Planned(parts["var_TR"], parts["var_error"], parts["cov1"], parts["cov2"], parts["cov3"], asked["K_pilot"], "pilot")
    found = mrmc_power(asked["effect"], asked["J"], asked["K"], planned, asked["analysis"])

    assert found == pytest.approx(case["expected"], abs=case["tolerance"])


@pytest.mark.parametrize("case", cases("visual_turing_sample_size"), ids=lambda case: case["id"])
def test_grids_are_those_of_the_file(case: dict[str, Any]) -> None:
    """The number of grids of four that detect .15 above chance is the independent one."""
    assert grids_to_detect(case["params"]["m"], 0.15) == case["expected"]


@pytest.mark.skipif(not cases("mrmc_power"), reason="HARNESS_GOLDEN names no folder with reliability_public.json")
def test_no_case_is_left_out() -> None:
    """Two powers and one number of grids are compared."""
    assert (len(cases("mrmc_power")), len(cases("visual_turing_sample_size"))) == (2, 1)


def test_van_dyke_is_the_default_and_gives_the_printed_power() -> None:
    """Ten readers and 165 cases have the power that Hillis, Obuchowski & Berbaum's formula gives for Van Dyke's difference."""
    assert mrmc_power(-0.043800322, 10, 165) == pytest.approx(0.80541995, abs=5e-9)
    assert VAN_DYKE.source.startswith("Van Dyke et al. 1993")


@pytest.mark.parametrize(("m", "detect", "rule_out"), [
    (2, (76, 28), (164, 77, 43)), (4, (68, 28), (146, 71, 42)), (6, (56, 23), (113, 58, 36)), (8, (48, 20), (99, 50, 34)),
])  # fmt: skip
def test_table_of_grids(m: int, detect: tuple[int, ...], rule_out: tuple[int, ...]) -> None:
    """Grids needed for margins of .15 and .25 to be detected, and of .10, .15 and .20 to be ruled out."""
    assert tuple(grids_to_detect(m, x) for x in (0.15, 0.25)) == detect
    assert tuple(grids_to_rule_out(m, x) for x in (0.10, 0.15, 0.20)) == rule_out


def test_grids_have_the_power_they_promise() -> None:
    """At the number found and the next two the exact test rejects in 80 % of studies, at one fewer not in all of the three."""
    n = grids_to_rule_out(4, 0.15) or 0

    def power(grids: int) -> float:
        reject = [k for k in range(grids + 1) if stats.binom.cdf(k, grids, 0.40) <= 0.05]
        return float(stats.binom.pmf(reject, grids, 0.25).sum())

    assert all(power(n + k) >= 0.8 for k in range(3))
    assert power(n - 1) < 0.8


def test_smallest_margins_are_those_the_grids_are_enough_for() -> None:
    """Seventy-one grids rule out .15, one fewer needs a larger margin; 68 detect it."""
    assert smallest_ruled_out(4, 71) == 0.15
    assert (smallest_ruled_out(4, 70) or 0) > 0.15
    assert smallest_detected(4, 68) == 0.15
    assert smallest_detected(4, 67) == 0.16
    assert (smallest_detected(4, 1), smallest_ruled_out(4, 1)) == (None, None)


def test_impossible_margins_need_no_number() -> None:
    """A margin of nothing, or beyond a rate of 1, has no number of grids, and a tiny one more than can be meant."""
    assert (grids_to_detect(4, 0.0), grids_to_detect(4, 0.8), grids_to_rule_out(4, 0.75)) == (None, None, None)
    assert grids_to_detect(2, 0.01) is None
    with pytest.raises(ValueError, match="two images"):
        grids_to_detect(1, 0.1)


@pytest.mark.parametrize(("difference", "needed"), [
    (0.05, (None, 361, 213, 170, 134, 119, 102)), (0.08, (138, 78, 62, 54, 46, 42, 38)), (0.03, (None, None, None, 2550, 657, 472, 342)),
])  # fmt: skip
def test_table_of_readers_by_cases(difference: float, needed: tuple[int | None, ...]) -> None:
    """Cases that 3 to 15 readers need with Van Dyke's components; three never reach 80 % for .05."""
    assert tuple(readers_by_cases(difference).values()) == needed
    assert readers_by_cases(-difference) == readers_by_cases(difference)


def test_cases_needed_are_the_fewest() -> None:
    """One case fewer has less than the power, and infinitely many cases do not help three readers."""
    assert mrmc_power(0.05, 5, 213) >= 0.8 > mrmc_power(0.05, 5, 212)
    assert mrmc_power(0.05, 3, math.inf) < 0.8
    assert cases_needed(0.0, 10) is None


def test_power_moves_the_right_way() -> None:
    """More readers, more cases and larger differences have more power; these readers alone have more than readers in general."""
    base = mrmc_power(0.05, 5, 100)

    assert base < mrmc_power(0.05, 6, 100)
    assert base < mrmc_power(0.05, 5, 120)
    assert base < mrmc_power(0.06, 5, 100)
    assert base < mrmc_power(0.05, 5, 100, analysis="FRRC")
    assert base < mrmc_power(0.05, 5, 100, analysis="RRFC")
    assert mrmc_power(0.0, 5, 100) == pytest.approx(0.05)


def test_a_pilot_without_reader_variance_has_a_power() -> None:
    """Where the interaction counts as 0 the test is normal, and where nothing varies every difference is found."""
    still = Planned(-1e-4, 0.0004, 0.0002, 0.0003, 0.0001, 100, "pilot")

    assert 0.05 < mrmc_power(0.03, 5, 100, still) < 1
    assert mrmc_power(0.03, 5, 100, Planned(0.0, 0.0, 0.0, 0.0, 0.0, 100, "pilot")) == 1.0
    with pytest.raises(ValueError, match="at least two readers"):
        mrmc_power(0.05, 1, 100)


@pytest.mark.parametrize(("n", "half"), [(10, 0.23), (41, 0.12), (100, 0.078), (150, 0.064)])
def test_wilson_half_widths(n: int, half: float) -> None:
    """The accuracy of one reader at .8, as half the interval that scipy gives where .8 n is a count."""
    assert share_half_width(0.8, n) == pytest.approx(half, abs=0.005)
    if n != 41:
        exact = stats.binomtest(round(0.8 * n), n).proportion_ci(method="wilson")
        assert share_half_width(0.8, n) == pytest.approx((exact.high - exact.low) / 2)


@pytest.mark.parametrize(("raters", "kappa", "skewed", "widths", "needed"), [
    (2, 0.42, False, ((0.50, 0.56), (0.33, 0.36), (0.23, 0.24)), 215), (3, 0.42, False, ((0.36, 0.42), (0.25, 0.27), (0.17, 0.18)), 120),
    (5, 0.40, False, ((0.26, 0.32), (0.18, 0.20), (0.12, 0.13)), 65), (3, 0.81, False, ((0.26, 0.30), (0.19, 0.20), (0.13, 0.13)), 70),
    (3, 0.45, True, ((0.43, 0.56), (0.39, 0.46), (0.31, 0.34)), 400),
])  # fmt: skip
def test_simulated_half_widths(raters: int, kappa: float, skewed: bool, widths: tuple[tuple[float, float], ...], needed: int) -> None:
    """Where agreement was simulated its half-widths at 10, 20 and 41 items come back, and the items for +-.10."""
    for items, expected in zip((10, 20, 41), widths, strict=True):
        assert agreement_half_width(items, raters, kappa, skewed=skewed)[:2] == pytest.approx(expected)
    assert items_for_half_width(0.10, raters, kappa, skewed=skewed) == needed


def test_half_widths_between_those_simulated() -> None:
    """Between simulated numbers they lie between, beyond they shrink with the root of the items, and fall with items and raters."""
    one, four = agreement_half_width(120, 3), agreement_half_width(480, 3)

    assert four.middle == pytest.approx(one.middle / 2)
    assert agreement_half_width(41, 3).low < agreement_half_width(30, 3).low < agreement_half_width(20, 3).low
    assert agreement_half_width(41, 5).low < agreement_half_width(41, 4).low < agreement_half_width(41, 3).low
    assert agreement_half_width(41, 3, 0.81).low < agreement_half_width(41, 3, 0.6).low < agreement_half_width(41, 3).low


def test_source_says_what_was_not_simulated() -> None:
    """Other numbers of categories and raters, and other kappas, are named; within the simulation nothing is added."""
    plain = agreement_half_width(41, 3).source
    odd = agreement_half_width(8, 7, 0.1, 5).source

    assert plain.startswith("simulated")
    for words in ("not 5", "for 5 raters", "not 0.1", "fewer than 10 items"):
        assert words in odd
        assert words not in plain
    assert "for 3 raters, not 2" in agreement_half_width(41, 2, skewed=True).source


@pytest.mark.parametrize(("items", "raters", "kappa", "categories"), [(1, 3, 0.4, 3), (10, 1, 0.4, 3), (10, 3, 1.4, 3), (10, 3, 0.4, 1)])
def test_studies_that_have_no_agreement_are_refused(items: int, raters: int, kappa: float, categories: int) -> None:
    """One item, one rater, one category or a kappa above 1 is refused."""
    with pytest.raises(ValueError, match="no agreement"):
        agreement_half_width(items, raters, kappa, categories)


def test_widths_that_are_none_are_refused() -> None:
    """No study has an interval of no width, and shares lie between 0 and 1; a width that takes too many items has no number."""
    with pytest.raises(ValueError, match="has a width"):
        items_for_half_width(0.0, 3)
    with pytest.raises(ValueError, match=r"0\.\.1"):
        share_half_width(1.2, 10)
    assert items_for_half_width(0.001, 3) is None
