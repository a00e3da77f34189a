"""Language models are measured against experts, beside what experts reach and what a constant answer would."""

from __future__ import annotations

import pytest

from harness.readerspec import ScaleSpec
from said import Found, found, letters, said

CLASS = ScaleSpec(name="class", categories=("a", "b"), truth="label")
FINDINGS = ScaleSpec(name="findings", level="set", categories=("c1", "c2", "c3", "c4"), truth="concepts")
TRUTH = "aaaaaaaabb"


@pytest.fixture(scope="module")
def beside() -> Found:
    """Three experts, of whom one errs twice, and a model that always says a and refuses once."""
    rows = [row for r in ("R1", "R2") for row in said(CLASS, r, letters(TRUTH, a="a", b="b"))]
    rows += said(CLASS, "R3", letters("baaaaaaaab", a="a", b="b"))
    rows += said(CLASS, "m", letters("aaaaaaaaa", a="a"), "llm")
    rows += said(CLASS, "m", {"i09": None}, "llm", status="refused", reason="the model refused to answer")
    facts = {f"i{k:02d}": {"truth": letter, "origin": "synthetic"} for k, letter in enumerate(TRUTH)}
    return found(CLASS, rows, facts)


def test_a_constant_answer_is_no_better_than_the_base_rate(beside: Found) -> None:
    """The model agrees on 8 of 10 items, as always answering a would, and its kappa is 0."""
    assert beside.value("model", "percent_agreement", "llm m") == pytest.approx(0.8)
    assert beside.value("model", "base_rate") == pytest.approx(0.8)
    assert beside.value("model", "cohen_kappa", "llm m") == pytest.approx((0.8 - 0.8 * 0.9) / (1 - 0.8 * 0.9))
    assert "1 of 10 items were not answered" in beside.one("model", "cohen_kappa", "llm m").note


def test_the_ceiling_is_each_expert_against_the_others(beside: Found) -> None:
    """R3 agrees with the other two on 8 of 10; R1 and R2 on the 8 items on which the other two agree."""
    row = beside.one("model", "expert_ceiling_percent_agreement")
    assert row.value == pytest.approx((1.0 + 1.0 + 0.8) / 3)
    assert "from 0.800 to 1.000 over 3 experts" in row.note
    assert row.ci_low is None


def test_the_model_stands_beside_the_readers_against_the_truth(beside: Found) -> None:
    """Accuracy of the model is 8 of 10: the refusal counts as wrong; it is no expert, so no agreement statistic counts it."""
    assert beside.value("correctness", "accuracy", "llm m") == pytest.approx(0.8)
    assert beside.one("agreement", "fleiss_kappa").n_raters == 3


def test_repeats_measure_consistency_and_are_no_raters() -> None:
    """Of four items asked twice, three are answered alike; a refusal is an answer of its own."""
    rows = said(CLASS, "m", letters("aabb", a="a", b="b"), "llm")
    rows += said(CLASS, "m", {"i00": "a", "i01": "a", "i02": "b"}, "llm", occasion="2")
    rows += said(CLASS, "m", {"i03": None}, "llm", occasion="2", status="refused", reason="refused")
    row = found(CLASS, rows).one("model", "self_consistency", "llm m")
    assert (row.value, row.n_items) == (pytest.approx(0.75), 4)
    assert "no independent raters" in row.note


def test_the_first_reply_counts_even_where_it_was_a_refusal() -> None:
    """A model that refuses first and answers when asked again did not answer."""
    rows = [row for r in ("R1", "R2") for row in said(CLASS, r, letters("aabb", a="a", b="b"))]
    rows += said(CLASS, "m", letters("aab", a="a", b="b"), "llm") + said(CLASS, "m", letters("aabb", a="a", b="b"), "llm", occasion="2")
    rows += said(CLASS, "m", {"i03": None}, "llm", status="refused", reason="refused")
    assert found(CLASS, rows).value("model", "percent_agreement", "llm m") == pytest.approx(0.75)


def test_concepts_are_compared_as_sets() -> None:
    """Six images whose Jaccard, Hamming, U_FP and U_FN were worked out by hand: an answer of none is an answer."""
    truth = ("1010", "0100", "1100", "0001", "0000", "1000")
    given = ("1000", "0110", "1100", "0000", "0000", "0111")
    rows = said(FINDINGS, "m", {f"i{k}": _set(bits) for k, bits in enumerate(given)}, "llm")
    result = found(FINDINGS, rows, {f"i{k}": {"concepts": _set(bits)} for k, bits in enumerate(truth)})
    values = {name: result.value("concepts", name, "llm m") for name in ("jaccard", "hamming", "u_fp", "u_fn")}
    assert values == pytest.approx({"jaccard": 0.5, "hamming": 7 / 24, "u_fp": 7 / 12, "u_fn": 7 / 12})
    assert result.value("concepts", "u_fn", "llm m", category="c1") == pytest.approx(1 / 3)


def _set(bits: str) -> str:
    names = [f"c{k}" for k, bit in enumerate(bits, 1) if bit == "1"]
    return "; ".join(names) or "none"
