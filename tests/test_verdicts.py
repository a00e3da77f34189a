"""The pure rules: bounds to statuses, statuses to claims, claims to verdicts, first lock to deviations."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations_with_replacement, product
from typing import Any

import pytest

from harness.records import CriterionStatus, VerdictWord
from harness.spec import Criterion, Purpose
from harness.verdicts import (
    PRECONDITIONS,
    STATUS_WORDS,
    WORST_FIRST,
    Band,
    ClaimStatus,
    DeviationLevel,
    changes,
    claim_status,
    number,
    purpose_verdict,
    settle,
    threshold_number,
    worst,
)

# Each list from worst to best; a missing criterion is worse than an undecided one, for nobody looked.
STATUSES: tuple[CriterionStatus, ...] = ("not_met", "missing", "unqualified", "inconclusive", "met")
VERDICTS: tuple[VerdictWord, ...] = (
    "inadequate", "not_assessed", "insufficient_evidence", "adequate_with_conditions", "adequate",
)  # fmt: skip
DEVIATIONS: tuple[DeviationLevel, ...] = ("major", "minor", "none")

HIGHER = Band(0.75, None)
CLEARS, CROSSES, FAILS = (0.78, 0.86), (0.71, 0.81), (0.60, 0.72)


def criterion(**fields: Any) -> Criterion:
    """A criterion on copied images, unless said otherwise."""
    bound = {} if {"at_least", "between", "gain_at_least"} & set(fields) else {"at_most": 0.01}
    given: dict[str, Any] = {"id": "C1", "claim": "c", "quantity": "memorisation.copied_share", "because": "b"} | bound | fields
    return Criterion(**given)


def purpose(*criteria: Criterion, **fields: Any) -> Purpose:
    """A purpose with these criteria."""
    given: dict[str, Any] = {"context_of_use": "Adds to real images", "criteria": criteria}
    return Purpose(**(given | fields))


@pytest.mark.parametrize(
    ("broken", "status"),
    [
        (None, None),
        ("insufficient_n", "insufficient_n"),
        ("unqualified", "unqualified"),
        ("invalid", "invalid"),
        ("post_hoc", "post_hoc"),
    ],
)
@pytest.mark.parametrize(("bounds", "word"), [(CLEARS, "met"), (CROSSES, "inconclusive"), (FAILS, "not_met")])
def test_truth_table_of_a_criterion(
    bounds: tuple[float, float], word: CriterionStatus, broken: CriterionStatus | None, status: CriterionStatus | None
) -> None:
    """A failed precondition replaces the decision; only bounds that fail keep an adverse flag behind it."""
    standing = settle({broken: "why"} if broken else {}, HIGHER.decide(*bounds), HIGHER.sentence(*bounds))
    assert standing.status == (status or word)
    assert standing.adverse == (word == "not_met" and broken is not None)
    if standing.adverse:
        assert standing.reason == "why; adverse: upper bound 0.72 is below 0.75"


def test_a_missing_value_is_never_adverse() -> None:
    """Without a value there is no news, neither good nor bad."""
    for decision in (None, "met", "inconclusive", "not_met"):
        standing = settle({"missing": "not run", "invalid": "overlap"}, decision, "s")
        assert (standing.status, standing.adverse, standing.reason) == ("missing", False, "not run")
    assert settle({}, None, "").status == "missing"


def test_the_first_failed_precondition_wins() -> None:
    """In all combinations of failures the status is the first in the order of the table."""
    for flags in product((False, True), repeat=len(PRECONDITIONS)):
        failed = {s: f"because {s}" for s, flag in zip(PRECONDITIONS, flags, strict=True) if flag}
        for decision in ("met", "inconclusive", "not_met"):
            standing = settle(failed, decision, "sentence")
            first = next(iter(failed), None)
            assert standing.status == (first or decision)
            assert standing.adverse == (decision == "not_met" and first not in (None, "missing"))
            assert (standing.status == "met") == (not failed and decision == "met")


@pytest.mark.parametrize(
    ("band", "low", "high", "decision"),
    [
        (Band(0.75, None), 0.75, 0.8, "met"),
        (Band(0.75, None), 0.7, 0.75, "inconclusive"),
        (Band(0.75, None), 0.7, 0.7499999999999999, "not_met"),
        (Band(0.75, None), 0.7499999999999999, 0.8, "inconclusive"),
        (Band(None, 0.01), 0.0, 0.01, "met"),
        (Band(None, 0.01), 0.01, 0.02, "inconclusive"),
        (Band(None, 0.01), 0.010000000000000002, 0.02, "not_met"),
        (Band(None, 0.01), 0.0, 0.010000000000000002, "inconclusive"),
        (Band(0.4, 0.6), 0.4, 0.6, "met"),
        (Band(0.4, 0.6), 0.39, 0.6, "inconclusive"),
        (Band(0.4, 0.6), 0.4, 0.61, "inconclusive"),
        (Band(0.4, 0.6), 0.1, 0.9, "inconclusive"),
        (Band(0.4, 0.6), 0.2, 0.4, "inconclusive"),
        (Band(0.4, 0.6), 0.6, 0.7, "inconclusive"),
        (Band(0.4, 0.6), 0.2, 0.39, "not_met"),
        (Band(0.4, 0.6), 0.61, 0.7, "not_met"),
        (Band(-0.01, None, gain=True), -0.01, 0.1, "met"),
    ],
)
def test_bounds_at_equality(band: Band, low: float, high: float, decision: str) -> None:
    """A bound equal to the threshold is on the adequate side, and unrounded values decide."""
    assert band.decide(low, high) == decision


def test_mirrored_bands_decide_alike() -> None:
    """`at most` is `at least` of the negated quantity, and `between` is both at once."""
    grid = [0.0, 0.2, 0.4, 0.5, 0.6, 0.8]
    for low, high in combinations_with_replacement(grid, 2):
        assert Band(0.4, None).decide(low, high) == Band(None, -0.4).decide(-high, -low)
        one, two = Band(0.4, None).decide(low, high), Band(None, 0.6).decide(low, high)
        both = "not_met" if "not_met" in (one, two) else "met" if one == two == "met" else "inconclusive"
        assert Band(0.4, 0.6).decide(low, high) == both


def test_moving_bounds_the_good_way_never_worsens_the_decision() -> None:
    """Raising either bound of an `at least` criterion keeps or improves its decision."""
    order = ["not_met", "inconclusive", "met"]
    grid = [0.6, 0.74, 0.75, 0.76, 0.9]
    pairs = list(combinations_with_replacement(grid, 2))
    for (low, high), (low2, high2) in product(pairs, pairs):
        if low2 >= low and high2 >= high:
            assert order.index(HIGHER.decide(low2, high2)) >= order.index(HIGHER.decide(low, high))


@pytest.mark.parametrize(
    ("band", "low", "high", "sentence"),
    [
        (Band(-0.01, None), 0.008, 0.034, "lower bound 0.008 is at least −0.01"),
        (Band(-0.03, None), -0.098, -0.044, "upper bound −0.044 is below −0.03"),
        (Band(0.75, None), 0.71, 0.81, "lower bound 0.71 is below 0.75 and upper bound 0.81 is not"),
        (Band(None, 0.01), 0.0, 0.00771, "upper bound 0.00771 is at most 0.01"),
        (Band(None, 0.01), 0.0123, 0.02, "lower bound 0.0123 exceeds 0.01"),
        (Band(None, 0.01), 0.004, 0.0123, "upper bound 0.0123 exceeds 0.01 and lower bound 0.004 does not"),
        (Band(None, 0.01), 0.002, 0.010002, "upper bound 0.010002 exceeds 0.01 and lower bound 0.002 does not"),
        (Band(None, 20), 13.1, 15.5, "upper bound 15.5 is at most 20"),
        (Band(0.4, 0.6), 0.45, 0.55, "lower bound 0.45 and upper bound 0.55 lie between 0.4 and 0.6"),
        (Band(0.4, 0.6), 0.35, 0.55, "lower bound 0.35 and upper bound 0.55 do not both lie between 0.4 and 0.6"),
        (Band(0.4, 0.6), 0.7, 0.8, "lower bound 0.7 exceeds 0.6"),
    ],
)
def test_reasons_carry_the_numbers(band: Band, low: float, high: float, sentence: str) -> None:
    """Each decision names the bound that made it."""
    assert band.sentence(low, high) == sentence


@pytest.mark.parametrize(
    ("value", "beside", "text"),
    [
        (0.0123456, None, "0.0123"),
        (-0.01, None, "−0.01"),
        (0.0, None, "0"),
        (-0.0, None, "0"),
        (1234.56, None, "1235"),
        (15.4999, None, "15.5"),
        (0.00000123, None, "0.00000123"),
        (0.0100001, 0.01, "0.0100001"),
        (0.009999, 0.01, "0.009999"),
        (0.01, 0.01, "0.01"),
        (0.75000001, 0.75, "0.75000001"),
        (1000.4, 1000.0, "1000.4"),
        (0.1 + 0.2, 0.3, "0.30000000000000004"),
    ],
)
def test_numbers_take_digits_until_they_differ_from_the_threshold(value: float, beside: float | None, text: str) -> None:
    """A printed bound equals the printed threshold only where the numbers do."""
    assert number(value, beside) == text


def test_thresholds_are_printed_as_declared() -> None:
    """No digit of a declared bound is lost or added."""
    assert [threshold_number(t) for t in (0.01, -0.01, 20, 0.123456789, 1e-7, 1e5)] == [
        "0.01", "−0.01", "20", "0.123456789", "0.0000001", "100000",
    ]  # fmt: skip


def test_bands_in_words() -> None:
    """The words are at least, at most, between and gain at least."""
    gain = Band.of(criterion(quantity="classification.accuracy", mix=(1, 1), gain_at_least=-0.02))
    assert gain.words() == "gain at least −0.02"
    assert gain.rule("classification.accuracy") == (
        "the lower one-sided 95 % bound of the gain in classification.accuracy over the mix (1, 0) is at least −0.02"
    )
    assert Band.of(criterion(at_least=0.7)).words() == "at least 0.7"
    assert Band.of(criterion()).rule("m.q") == "the upper one-sided 95 % bound of m.q is at most 0.01"
    assert Band.of(criterion(between=(0.4, 0.6))).rule("m.q") == "both one-sided 95 % bounds of m.q lie between 0.4 and 0.6"


@pytest.mark.parametrize(
    ("statuses", "claim"),
    [
        ([], "insufficient"),
        (["met"], "adequate"),
        (["met", "met"], "adequate"),
        (["met", "inconclusive"], "insufficient"),
        (["met", "not_met"], "inadequate"),
        (["not_met", "missing"], "inadequate"),
        *(([s, "met"], "insufficient") for s in PRECONDITIONS),
    ],
)
def test_claims_need_all_their_criteria(statuses: list[CriterionStatus], claim: ClaimStatus) -> None:
    """A claim is adequate if all its criteria are met, and inadequate if one is not met."""
    assert claim_status(statuses) == claim


def test_the_worst_part_speaks_for_all() -> None:
    """Not met is worst, then the preconditions in their order, then inconclusive; met is best."""
    for statuses in combinations_with_replacement(WORST_FIRST, 3):
        assert worst(reversed(statuses)) == statuses[0]
        assert (worst(statuses) == "met") == (set(statuses) == {"met"})


@pytest.mark.parametrize(
    ("claims", "rules_hold", "deviations", "conditions", "verdict"),
    [
        ([], True, "none", False, "not_assessed"),
        ([["missing"], ["missing", "missing"]], False, "major", True, "not_assessed"),
        ([["not_met"], ["met"]], True, "none", False, "inadequate"),
        ([["not_met"], ["inconclusive"]], False, "major", True, "inadequate"),
        ([["inconclusive"], ["met"]], True, "none", False, "insufficient_evidence"),
        ([["missing"], ["met"]], True, "none", False, "insufficient_evidence"),
        ([["met"], ["met"]], False, "none", False, "insufficient_evidence"),
        ([["met"], ["met"]], True, "major", False, "insufficient_evidence"),
        ([["met"], ["met"]], True, "none", True, "adequate_with_conditions"),
        ([["met"], ["met"]], True, "minor", False, "adequate_with_conditions"),
        ([["met"], ["met"]], True, "none", False, "adequate"),
    ],
)
def test_truth_table_of_a_purpose(
    claims: list[list[CriterionStatus]], rules_hold: bool, deviations: DeviationLevel, conditions: bool, verdict: VerdictWord
) -> None:
    """Every row of the roll-up table."""
    assert purpose_verdict(claims, rules_hold, deviations, conditions) == verdict


def states() -> Iterator[tuple[list[list[CriterionStatus]], bool, DeviationLevel, bool]]:
    """All purposes of up to three critical criteria in one, two or three claims."""
    for size in range(4):
        for statuses in product(STATUSES, repeat=size):
            groups: list[list[list[CriterionStatus]]] = [[[s] for s in statuses], [list(statuses)] if statuses else []]
            for claims in groups:
                for rules_hold, deviations, conditions in product((False, True), DEVIATIONS, (False, True)):
                    yield claims, rules_hold, deviations, conditions


def test_only_met_supports_adequacy_and_not_met_sinks_it() -> None:
    """In every state: adequate only if all critical criteria are met, inadequate exactly if one is not met."""
    seen = 0
    for claims, rules_hold, deviations, conditions in states():
        seen += 1
        verdict = purpose_verdict(claims, rules_hold, deviations, conditions)
        statuses = {s for claim in claims for s in claim}
        assert (verdict == "inadequate") == ("not_met" in statuses)
        if verdict.startswith("adequate"):
            assert statuses == {"met"}
            assert rules_hold
            assert deviations != "major"
        assert (verdict == "adequate") == (statuses == {"met"} and rules_hold and deviations == "none" and not conditions)
    assert seen == 3744


def test_improving_one_input_never_worsens_a_verdict() -> None:
    """Raising one status, mending a rule, undoing a deviation or lifting a condition keeps or improves the verdict."""
    for claims, rules_hold, deviations, conditions in states():
        before = VERDICTS.index(purpose_verdict(claims, rules_hold, deviations, conditions))
        better = [
            (claims, True, deviations, conditions),
            (claims, rules_hold, deviations, False),
            (claims, rules_hold, DEVIATIONS[min(DEVIATIONS.index(deviations) + 1, 2)], conditions),
        ]
        for i, claim in enumerate(claims):
            for j, status in enumerate(claim):
                for raised in STATUSES[STATUSES.index(status) + 1 :]:
                    changed = [list(c) for c in claims]
                    changed[i][j] = raised
                    better.append((changed, rules_hold, deviations, conditions))
        for state in better:
            assert VERDICTS.index(purpose_verdict(*state)) >= before


def test_conditions_never_rescue() -> None:
    """What is supportive enters as a condition, and a condition only ever turns adequate into adequate with conditions."""
    for claims, rules_hold, deviations, _ in states():
        without, with_one = (purpose_verdict(claims, rules_hold, deviations, c) for c in (False, True))
        assert with_one == ("adequate_with_conditions" if without == "adequate" else without)


def test_an_unchanged_plan_has_no_deviation() -> None:
    """The same purpose, and one whose claims and reasons were only reworded, deviate in nothing."""
    first = purpose(criterion(), criterion(id="C2", role="supportive"))
    better = {"claim": "said better", "because": "a longer memo"}
    reworded = purpose(criterion(**better), criterion(id="C2", role="supportive", **better))
    assert changes(first, first) == ()
    assert changes(first, reworded) == ()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"at_most": 0.02}, "was changed from at most 0.01 to at most 0.02"),
        ({"at_least": 0.0}, "was changed from at most 0.01 to at least 0"),
        ({"n_min": 99}, "had its n_min lowered from 100 to 99"),
        ({"runs_min": 1}, "had its runs_min lowered from 2 to 1"),
        ({"quantity": "memorisation.authpct"}, "had its quantity changed"),
        ({"extractor": "pixels"}, "had its extractor changed"),
        ({"unit": "patient"}, "had its unit changed"),
        ({"failure_modes": ()}, "had its failure_modes changed"),
        ({"qualified_by": ("duplication", "noise")}, "had its qualified_by changed"),
        ({"guards": ("C2",)}, "had its guards changed"),
        ({"role": "supportive"}, "had its role changed"),
        ({"strata": ("label",)}, "had its strata changed"),
        ({"mix": (1, 1)}, "had its mix changed"),
        ({"one_kind_because": "the claim is the result"}, "was given a reason for one kind of evidence"),
    ],
)
def test_relaxing_after_the_lock_is_post_hoc(fields: dict[str, Any], text: str) -> None:
    """A criterion that asks less, or something else, than the locked one is post hoc and a major deviation."""
    fixed: dict[str, Any] = {"n_min": 100, "runs_min": 2, "failure_modes": ("memorisation",)}
    (change,) = changes(purpose(criterion(**fixed)), purpose(criterion(**(fixed | fields))))
    assert (change.criterion, change.level, change.post_hoc) == ("C1", "major", True)
    assert change.text == f"{text} after the plan was locked"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"at_most": 0.005}, "was tightened from at most 0.01 to at most 0.005"),
        ({"between": (0.0, 0.01)}, "was tightened from at most 0.01 to between 0 and 0.01"),
        ({"n_min": 200}, "had its n_min raised from 1 to 200"),
        ({"runs_min": 3}, "had its runs_min raised from 1 to 3"),
    ],
)
def test_tightening_after_the_lock_is_allowed(fields: dict[str, Any], text: str) -> None:
    """A stricter criterion stays judged; the change is a minor deviation."""
    (change,) = changes(purpose(criterion()), purpose(criterion(**fields)))
    assert (change.criterion, change.level, change.post_hoc) == ("C1", "minor", False)
    assert change.text == f"{text} after the plan was locked"


def test_the_order_of_lists_and_the_default_mix_are_no_change() -> None:
    """Failure modes are a set, and no mix means the mix (1, 0)."""
    first = criterion(failure_modes=("noise", "blur"))
    assert changes(purpose(first), purpose(criterion(failure_modes=("blur", "noise"), mix=(1, 0)))) == ()


def test_added_criteria_are_post_hoc_and_dropped_ones_a_major_deviation() -> None:
    """A new criterion counts for nothing; a plan without a locked criterion is not the locked plan."""
    one, two = criterion(), criterion(id="C2", claim="d")
    (added,) = changes(purpose(one), purpose(one, two))
    assert (added.criterion, added.level, added.post_hoc) == ("C2", "minor", True)
    (dropped,) = changes(purpose(one, two), purpose(one))
    assert (dropped.criterion, dropped.level, dropped.post_hoc) == ("C2", "major", False)
    assert [c.post_hoc for c in changes(None, purpose(one, two))] == [True, True]


def test_joining_claims_after_the_lock_is_post_hoc() -> None:
    """Two criteria that come to share a claim would lend each other their kind of evidence; parting them lends nothing."""
    apart = purpose(criterion(), criterion(id="C2", claim="d"))
    together = purpose(criterion(), criterion(id="C2"))
    assert [(c.criterion, c.post_hoc) for c in changes(apart, together)] == [("C1", True), ("C2", True)]
    assert changes(together, apart) == ()


def test_changes_of_the_purpose_itself() -> None:
    """Declaring that no model is used after all is major; another context of use is named for the reader to judge."""
    (model,) = changes(purpose(criterion()), purpose(criterion(), uses_model=False))
    assert (model.criterion, model.level) == ("", "major")
    (context,) = changes(purpose(criterion()), purpose(criterion(), context_of_use="Replaces real images"))
    assert (context.criterion, context.level) == ("", "minor")


def test_every_status_has_a_word() -> None:
    """No status is printed as its code."""
    assert set(STATUS_WORDS) == set(WORST_FIRST)
