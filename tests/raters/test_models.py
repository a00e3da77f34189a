"""Language models are measured against experts, beside what experts reach and what a constant answer would."""

from __future__ import annotations

import pytest

from harness.errors import InputError
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
    assert beside.value("model", "cohen_kappa", "llm m") == pytest.approx(0.0, abs=1e-12)
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


def test_refusing_never_raises_a_coefficient() -> None:
    """A wrong answer that becomes a refusal changes nothing: it counts as disagreement, and chance agreement stays that of the scale."""
    truth = "ab" * 20
    rows = [row for r in ("R1", "R2") for row in said(CLASS, r, letters(truth, a="a", b="b"))]
    wrong = said(CLASS, "m", letters(truth[:-8] + "ba" * 4, a="a", b="b"), "llm")
    refused = [*wrong[:-1], *said(CLASS, "m", {"i39": None}, "llm", status="refused", reason="refused")]
    for name in ("percent_agreement", "cohen_kappa", "gwet_ac1"):
        values = [found(CLASS, [*rows, *answers]).value("model", name, "llm m") for answers in (wrong, refused)]
        assert values[1] == pytest.approx(values[0])


def test_a_set_that_was_not_answered_is_wrong_in_every_concept() -> None:
    """Of four images one is refused: its Jaccard index is 0 and counts, and the note says so."""
    facts = {f"i{k}": {"concepts": "c1; c2"} for k in range(4)}
    rows = said(FINDINGS, "m", {f"i{k}": "c1; c2" for k in range(3)}, "llm")
    rows += said(FINDINGS, "m", {"i3": None}, "llm", status="refused", reason="refused")
    row = found(FINDINGS, rows, facts).one("concepts", "jaccard", "llm m")
    assert (row.value, row.n_items) == (pytest.approx(0.75), 4)
    assert "1 of 4 items were not answered" in row.note


def test_images_that_were_never_asked_about_are_no_repeats() -> None:
    """Two of ten images were asked twice, and answered otherwise the second time: consistency is 0, of two images."""
    rows = said(CLASS, "m", {"i0": "a", "i1": "b"}, "llm") + said(CLASS, "m", {"i0": "b", "i1": "a"}, "llm", occasion="2")
    rows += [r for when in "12" for r in said(CLASS, "m", {f"i{k}": None for k in range(2, 10)}, "llm", occasion=when)]
    row = found(CLASS, rows).one("model", "self_consistency", "llm m")
    assert (row.value, row.n_items) == (0.0, 2)


def test_a_model_and_an_expert_of_one_name_are_refused() -> None:
    """They would be taken for each other; so would a rater called majority."""
    rows = said(CLASS, "gpt", {"i0": "a"}) + said(CLASS, "gpt", {"i0": "a"}, "llm")
    with pytest.raises(InputError, match="both called gpt"):
        found(CLASS, rows)
    with pytest.raises(InputError, match="'majority'"):
        found(CLASS, said(CLASS, "majority", {"i0": "a"}))
