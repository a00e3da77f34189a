"""What the chapters say follows from the rows alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fabricated_audit import content_of, criterion, score, spec_of, stratified

from harness import chapters
from harness.chapters import Case
from harness.content import Content
from harness.records import CellRow, CriterionRow, PlannedCellRow, VerdictRow


def case(*statuses: str, word: str = "insufficient_evidence") -> Case:
    """A purpose with criteria of these statuses."""
    purpose = next(iter(content_of(1, 1).spec.purposes.values()))
    verdict = VerdictRow.model_validate(
        {"cell": "k", "purpose": "p", "context_of_use": "c", "verdict": word, "conditions": [], "rules": [], "reason": "r"}
    )
    rows = tuple(criterion("p", k, status, role="critical") for k, status in enumerate(statuses))
    return Case("P1", "p", purpose, verdict, rows)


def with_rules(made: Case, rules: list[str]) -> Case:
    """Return the case with these lines of rules."""
    assert made.verdict is not None
    return replace(made, verdict=made.verdict.model_copy(update={"rules": rules}))


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("not_met", "P1-C1 not met: the bound most favourable to the item misses the threshold"),
        ("inconclusive", "P1-C1 inconclusive: the bounds straddle the threshold; a new plan with a larger n (now 312) may decide."),
        ("insufficient_n", "P1-C1 n below minimum: 60 more are needed (unit: patient; now 60 of 120)."),
        ("unqualified", "P1-C1 not qualified: needed is a quantity that notices the failure mode"),
        ("missing", "P1-C1 missing: needed is the evidence itself"),
        ("invalid", "P1-C1 invalid: needed is independent and intact data."),
        ("post_hoc", "P1-C1 post hoc: needed is a declaration in a new plan before new data are seen."),
    ],
)
def test_each_status_says_what_would_change_the_verdict(status: str, said: str) -> None:
    """The box is bound to statuses, one sentence each."""
    (line,) = case(status).changes()
    assert line.startswith(said)


def test_verdicts_without_an_open_criterion_say_what_ends_or_blocks_them() -> None:
    """Adequate ends with a trigger; insufficient with everything met names the rules; nothing declared asks for a criterion."""
    assert "validity trigger" in case("met", word="adequate").changes()[0]
    rules = [
        "Rule R1 (a task) is broken: none is declared.",
        "Rule R2 (distances) holds.",
        "Rule R8 (two kinds) is broken: one kind alone.",
    ]
    (line,) = with_rules(case("met"), rules).changes()
    assert line == "P1: every criterion is met, but R1 and R8 are broken, which no number of images mends; section 9 says by what."
    assert "changed after it was locked" in case("met").changes()[0]
    assert "declare and run" in case(word="not_assessed").changes()[0]


def test_a_broken_rule_is_named_beside_an_open_criterion() -> None:
    """Or a larger n would be bought for nothing."""
    lines = with_rules(case("inconclusive"), ["Rule R1 (a task) is broken: none is declared."]).changes()
    assert lines[0].startswith("P1-C1 inconclusive")
    assert lines[1] == "P1: R1 is broken, which no number of images mends; section 9 says by what."


def test_summary_counts_critical_criteria() -> None:
    """One plain sentence with its denominator."""
    assert case("met", "not_met", word="inadequate").summary().endswith("1 of 2 critical criteria is not met, and nothing offsets that.")
    assert "1 of 2 critical criteria met" in case("met", "inconclusive").summary()
    assert "all 2 critical criteria are met" in case("met", "met", word="adequate").summary()


def test_criteria_come_in_the_order_of_the_plan_with_their_parts_behind() -> None:
    """A row for a stratum follows its criterion and is not counted twice."""
    content = content_of(1, 3)
    part = criterion("augment-segmentation", 0, "not_met", criterion="C1[label=1]")
    (found,) = chapters.cases(content.spec, (*content.criteria[::-1], part), content.verdicts)
    assert [c.criterion for c in found.criteria] == ["C1", "C1[label=1]", "C2", "C3"]
    assert sum(n for _, n in found.tally()) == 3


def test_conservation_counts_cells_that_never_ran() -> None:
    """Every planned cell is in exactly one column; the last row is the sum."""
    planned = [
        PlannedCellRow(run=1, key=k, stage=stage, component="x", title="t")
        for k, stage in zip("abcd", ["judge", *["sample"] * 3], strict=True)
    ]
    cells = [
        CellRow(key=k, stage="sample", component="x", status=status, reason="why", seconds=1, peak_mb=1)  # type: ignore[arg-type]
        for k, status in [("b", "ok"), ("c", "failed"), ("d", "not_computable")]
    ]
    rows = chapters.conservation(planned, cells)
    assert [r.stage for r in rows] == ["sample", "judge", "all"]
    assert all(r.planned == r.ok + r.not_computable + r.failed + r.not_run for r in rows)
    assert rows[-1] == chapters.Conserved("all", 4, 1, 1, 1, 1)


def forests_of(content: Content, labels: dict[str, str] | None = None) -> list[chapters.Forest]:
    """The forest plots of this audit."""
    found = chapters.cases(content.spec, content.criteria, content.verdicts)
    return chapters.forests(found, content.scores, labels or {})


def test_every_stratum_has_its_own_n_status_and_reason() -> None:
    """A criterion that every site must meet shows all images first, then each site as it was judged, the missing one with its reason."""
    forest = forests_of(stratified(content_of()))[0]
    assert forest.each
    assert forest.idents == ("P1-C1",)
    assert [(b.name, b.n, b.status) for b in forest.branches] == [
        ("all images", 40, ""), ("site=a", 140, "met"), ("site=b", 130, "not_met"), ("site=c", 42, "inconclusive"),
        ("site=d", None, "missing"),
    ]  # fmt: skip
    assert forest.branches[-1].reason == "needs 50 images, got 12"


def test_forests_share_one_stretch_of_the_number_line() -> None:
    """All bounds and the threshold lie on the chart."""
    forest = forests_of(stratified(content_of()))[0]
    assert forest.over.low < 0.16
    assert forest.over.high > 0.37


def test_measured_strata_are_drawn_for_criteria_that_do_not_name_them() -> None:
    """Values by label carry no status, their own bounds and the names of the classes; criteria drawn alike are drawn once."""
    forest = forests_of(stratified(content_of(2, 3)), {"label=0": "benign"})[1]
    assert not forest.each
    assert forest.idents == ("P1-C2", "P1-C3", "P2-C1", "P2-C2", "P2-C3")
    assert [(b.name, b.value, b.low, b.high, b.status) for b in forest.branches[1:]] == [
        ("benign", 0.2, 0.19, 0.24, ""), ("label=1", 0.22, 0.19, 0.24, ""),
    ]  # fmt: skip


def test_tasks_are_matched_by_their_mix() -> None:
    """The forest of a gain takes strata of that gain at the criterion's mix, and nothing else."""
    body = spec_of(1, 1)
    body["purposes"]["augment-segmentation"]["criteria"][0] |= {
        "quantity": "classification.accuracy", "extractor": None, "mix": [1, 1], "gain_at_least": -0.1,
        "failure_modes": [], "qualified_by": [],
    }  # fmt: skip
    del body["purposes"]["augment-segmentation"]["criteria"][0]["at_most"]
    content = content_of(1, 1, spec=body)
    row = content.criteria[0].model_copy(update={"quantity": "classification.accuracy", "extractor": ""})
    where = {"stage": "evaluate", "component": "classification", "extractor": "", "tested_on": "real", "real_share": 1.0}
    strata = [
        score(quantity=q, synthetic_share=s, stratum="site=a", value=v, **where)
        for q, s, v in [("accuracy_gain", 1.0, 0.01), ("accuracy_gain", 0.5, 0.02), ("accuracy", 1.0, 0.9)]
    ]
    (forest,) = forests_of(replace(content, criteria=(row,), scores=(*content.scores, *strata)))
    assert [(b.name, b.value) for b in forest.branches] == [("all images", pytest.approx(0.02)), ("site=a", 0.01)]


def test_claims_name_failure_modes_with_their_criteria() -> None:
    """One pair for each failure mode of each criterion."""
    content = content_of(1, 2)
    assert chapters.claims(chapters.cases(content.spec, (), ())) == [("noise", "P1-C1"), ("noise", "P1-C2")]


def test_limitations_follow_from_the_rows() -> None:
    """Few patients, one run, blanks and lost cells are each named with their numbers."""
    content = content_of()
    conserved = chapters.conservation(content.planned_cells, content.cells)[-1]
    said = dict(chapters.limitations(content.image_sets, content.scores, content.qualifications, content.spec, conserved))
    assert "The test images come from 2 patients: fewer than 10 patients give no interval." in said["Data"]
    assert "All synthetic images come from one sampling run; variation from run to run is not covered." in said["Statistics"]
    assert "1 of 22 results could not be computed; the reasons are in section 7." in said["Statistics"]
    assert any(line.startswith("2 of 18 planned cells gave no result") for line in said["Statistics"])
    assert any("blur" in line for line in said["Method"])
    assert any(line.startswith("Defects of 4 kinds were planted") for line in said["Method"])
    assert not any("harmless" in line for line in said["Method"])


def test_unknown_patients_are_a_limitation() -> None:
    """Where patients are unknown, the dossier says what was not evaluated."""
    content = content_of()
    sets = [s.model_copy(update={"patients": None}) for s in content.image_sets]
    conserved = chapters.conservation(content.planned_cells, content.cells)[-1]
    said = dict(chapters.limitations(sets, (), (), content.spec, conserved))
    assert any(line.startswith("Patients are unknown in the train and test images") for line in said["Data"])
    assert any(line.startswith("No defect was planted") for line in said["Method"])


def test_the_lock_is_the_first_entry_that_says_so() -> None:
    """Only entries of this plan count."""
    ledger = content_of().ledger
    found = chapters.locked(ledger[::-1], ledger[0].plan_sha256)
    assert found is not None
    assert found.event == "plan_locked"
    assert chapters.locked(ledger, "another") is None


def test_spans_of_criteria_hold_bounds_and_threshold() -> None:
    """The whisker chart of a criterion always shows the distance to its threshold."""
    row: CriterionRow = criterion("p", 0, "met")
    over = chapters.whisker_span(row)
    assert over.low < 0.18
    assert over.high > 0.3
