"""Rows in, verdicts out: where evidence is found, what qualifies it, and what the rules make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from harness.quantities import Quantity, Record
from harness.readerspec import Gates, ScaleSpec
from harness.records import (
    CriterionRow,
    CriterionStatus,
    FindingRow,
    Outcome,
    QualificationRow,
    ReliabilityRow,
    ScoreRow,
    VerdictRow,
)
from harness.spec import Criterion, Purpose
from harness.stages.judge import Evidence, Judgement, Lock, judge
from harness.verdicts import PRECONDITIONS
from harness.wording import check

QUANTITIES = {
    "frechet.fid": Quantity(name="fid", better="lower", low=0.0, biased_in_n=True, family="distance"),
    "manifold.recall": Quantity(name="recall", better="higher", family="coverage"),
    "memorisation.copied_share": Quantity(name="copied_share", better="lower", proportion=True, family="memorisation"),
    "memorisation.authpct": Quantity(name="authpct", better="higher", family="memorisation"),
    "other.sharpness": Quantity(name="sharpness", better="higher"),
    "diversity.vendi": Quantity(name="vendi", better="higher", family="diversity", doubtful="it hardly moved in a study."),
    "classification.accuracy": Quantity(name="accuracy", better="higher"),
    "segmentation.dice": Quantity(name="dice", better="higher"),
}
MODES = {
    "duplication": "memorisation", "mode_collapse": "mode_collapse", "gaussian_noise": "noise", "speckle": "noise",
    "boundary_blur": "local_morphology", "radial_gradient": "local_morphology", "lesion_removal": "local_morphology",
    "inverted_contrast": "mode_invention", "flips": "harmless",
}  # fmt: skip


def score(quantity: str, low: float | None, high: float | None, /, **fields: Any) -> ScoreRow:
    """A score with its one-sided bounds; of a task where the quantity is one's."""
    component, name = quantity.split(".")
    value = (low + high) / 2 if low is not None and high is not None else 0.5
    given: dict[str, Any] = {"value": value, "judged_value": value, "bound_low": low, "bound_high": high}
    given |= {"n": 400, "judged_n": 400}
    if component in ("classification", "segmentation"):
        given |= {"stage": "evaluate", "real_share": 1.0, "synthetic_share": 1.0, "tested_on": "real", "n_patients": 80}
    else:
        given |= {"stage": "measure", "extractor": "pixels", "n_patients": 80}
    return ScoreRow(**({"cell": "s", "component": component, "quantity": name} | given | fields))


def missing(quantity: str, reason: str, **fields: Any) -> ScoreRow:
    """A score that could not be computed."""
    return score(quantity, None, None, value=None, judged_value=None, status="not_computable", reason=reason, **fields)


def planted(quantity: str, perturbation: str, outcome: Outcome | None = "qualified", **fields: Any) -> QualificationRow:
    """What became of a quantity under a planted defect."""
    component, name = quantity.split(".")
    given: dict[str, Any] = {"reason": "", "outcome": outcome, "n": 200, "dose_of_concern": 0.15, "extractor": "pixels"}
    given |= {"component": component, "quantity": name, "perturbation": perturbation, "failure_mode": MODES[perturbation]}
    return QualificationRow(**({"cell": "q"} | given | fields))


def agreement(scale: str, low: float, high: float, **fields: Any) -> ReliabilityRow:
    """Agreement of raters."""
    given: dict[str, Any] = {
        "analysis": "agreement",
        "raters": "experts",
        "items": "all",
        "statistic": "krippendorff_alpha",
        "n_items": 120,
    }
    given |= {"n_raters": 5}
    given |= {"cell": "r", "scale": scale, "value": (low + high) / 2, "bound_low": low, "bound_high": high}
    return ReliabilityRow(**(given | fields))


def evidence(*rows: Record, runs: int = 2) -> Evidence:
    """Sort rows into evidence."""

    def of(kind: type[Record]) -> Any:
        return tuple(row for row in rows if isinstance(row, kind))

    kinds = {name: "E2" if name.split(".")[0] in ("classification", "segmentation") else "E1" for name in QUANTITIES}
    scores, planted_rows, agreements, findings = (of(k) for k in (ScoreRow, QualificationRow, ReliabilityRow, FindingRow))
    gates = Gates(experts={"krippendorff_alpha": 0.4}, models={"cohen_kappa": 0.4}, because="memo")
    scales = {"realism": ScaleSpec(name="realism", categories=("yes", "no"), gates=gates)}
    return Evidence(scores, planted_rows, agreements, findings, QUANTITIES, kinds, runs, MODES, scales=scales)  # type: ignore[arg-type]


def criterion(id: str, quantity: str, **fields: Any) -> Criterion:  # noqa: A002
    """A critical criterion that needs only one kind of evidence, unless said otherwise."""
    given: dict[str, Any] = {"id": id, "claim": f"claim of {id}", "quantity": quantity, "because": "memo"}
    given |= {"one_kind_because": "direct"}
    return Criterion(**(given | fields))


GAIN = criterion("C1", "classification.accuracy", mix=(1, 1), gain_at_least=-0.01)
GAINED = score("classification.accuracy", 0.008, 0.034, quantity="accuracy_gain")
NO_COPIES = criterion("C2", "memorisation.copied_share", at_most=0.01, qualified_by=("duplication",), failure_modes=("memorisation",))
NOT_COPIED = score("memorisation.copied_share", 0.0, 0.0075)
NOTICED = planted("memorisation.copied_share", "duplication")
RECALL = criterion("C3", "manifold.recall", at_least=0.6, failure_modes=("mode_collapse",))
RECALLED = (score("manifold.recall", 0.7, 0.8), planted("manifold.recall", "mode_collapse"))
FID = criterion("C4", "frechet.fid", at_most=20, failure_modes=("noise",), guards=("C2", "C3"), role="supportive")
CLOSE = (score("frechet.fid", 13.1, 15.5, floor=12.0), planted("frechet.fid", "gaussian_noise"))
_R5 = "Rule R5 (distances support nothing where memorisation shows and they improve)"
_PURPOSE: dict[str, Any] = {"context_of_use": "Adds to real images", "uses_model": False}
BREACH = FindingRow(cell="d", severity="breach", kind="patient_overlap", text="3 patients are in train and in test.")


def ask(criteria: Sequence[Criterion], *rows: Record, runs: int = 2, lock: Lock | None = None, **fields: Any) -> Judgement:
    """Judge one purpose."""
    purpose = Purpose(**(_PURPOSE | {"criteria": tuple(criteria)} | fields))
    return judge({"augment": purpose}, evidence(*rows, runs=runs), lock, "j")


def told(judgement: Judgement) -> list[FindingRow]:
    """Return the findings but those that say of a met gain that nothing was asked about the level."""
    return [finding for finding in judgement.findings if finding.kind != "level_not_asked"]


def row_of(judgement: Judgement, name: str) -> CriterionRow:
    """The row of one criterion."""
    (row,) = [r for r in judgement.criteria if r.criterion == name]
    return row


def status_of(criteria: Sequence[Criterion], *rows: Record, of: str | None = None, **fields: Any) -> tuple[CriterionStatus, str]:
    """Status and reason of the last criterion, or of the one named."""
    row = row_of(ask(criteria, *rows, **fields), of or criteria[-1].id)
    return row.status, row.reason


def verdict_of(criteria: Sequence[Criterion], *rows: Record, **fields: Any) -> VerdictRow:
    """The verdict of one purpose."""
    (verdict,) = ask(criteria, *rows, **fields).verdicts
    return verdict


def locked(*criteria: Criterion, same_data: bool = True, **fields: Any) -> Lock:
    """A first lock with these criteria."""
    return Lock({"augment": Purpose(**(_PURPOSE | {"criteria": criteria} | fields))}, same_data)


# Worked examples


def test_example_a_a_gain_within_the_margin_is_met() -> None:
    """Paired gain 0.021 with bounds 0.008 and 0.034, margin 0.01, 312 of at least 120 patients: met."""
    c = GAIN.model_copy(update={"unit": "patient", "n_min": 120})
    gained = GAINED.model_copy(update={"n_patients": 312})
    row = row_of(ask([c], gained), "C1")
    assert (row.status, row.reason) == ("met", "lower bound 0.008 is at least −0.01")
    assert (row.kind, row.threshold, row.threshold_low, row.threshold_high) == ("E2", "gain at least −0.01", -0.01, None)
    assert (row.value, row.ci_low, row.ci_high, row.n, row.n_min, row.unit) == (0.021, 0.008, 0.034, 312, 120, "patient")


def test_example_b_an_inconclusive_supportive_criterion_is_a_condition() -> None:
    """A calibration error whose bounds straddle its threshold leaves the purpose adequate with one condition."""
    c5 = criterion("C5", "segmentation.dice", mix=(1, 1), at_most=0.01, role="supportive")
    verdict = verdict_of([GAIN, c5], GAINED, score("segmentation.dice", -0.004, 0.017), uses_model=True)
    assert verdict.verdict == "adequate_with_conditions"
    assert verdict.conditions == [
        "Supportive criterion C5 is inconclusive: upper bound 0.017 exceeds 0.01 and lower bound −0.004 does not."
    ]


def test_example_c_a_failed_critical_claim_sinks_the_purpose() -> None:
    """Training on synthetic images alone loses 0.071: inadequate, although another criterion is undecided."""
    alone = criterion("C1", "classification.accuracy", mix=(0, 1), gain_at_least=-0.03)
    rows = [
        score("classification.accuracy", -0.098, -0.044, quantity="accuracy_gain", real_share=0.0),
        score("classification.accuracy", 0.94, 0.97, real_share=0.0, tested_on="synthetic"),
    ]
    judgement = ask([alone, NO_COPIES], *rows, uses_model=True)
    assert row_of(judgement, "C1").status == "not_met"
    assert not row_of(judgement, "C1").adverse
    assert judgement.verdicts[0].verdict == "inadequate"
    assert judgement.verdicts[0].reason == ("A critical claim is not supported: C1 is not met: upper bound −0.044 is below −0.03.")


def test_example_d_a_favourable_value_of_a_blind_metric_supports_nothing() -> None:
    """A distance that clears its threshold but did not notice the defect is unqualified, and its claim undecided."""
    blind = planted("frechet.fid", "gaussian_noise", "not_qualified", reason="response 0.3 SD")
    fid = FID.model_copy(update={"role": "critical"})
    criteria, rows = [NO_COPIES, RECALL, fid], [NOT_COPIED, NOTICED, *RECALLED, CLOSE[0], blind]
    assert status_of(criteria, *rows) == (
        "unqualified", "frechet.fid is not qualified against gaussian_noise (response 0.3 SD)"
    )  # fmt: skip
    assert verdict_of(criteria, *rows).verdict == "insufficient_evidence"


def test_example_e_too_few_cases() -> None:
    """A value that clears its threshold with 64 of 120 cases is short of its minimum n."""
    c = criterion("C1", "segmentation.dice", mix=(1, 1), at_least=0.8, n_min=120)
    few = score("segmentation.dice", 0.812, 0.866, judged_n=64)
    assert status_of([c], few) == ("insufficient_n", "64 images of at least 120")


def test_example_f_shared_patients_make_everything_invalid() -> None:
    """A breach leaves no criterion standing, of whatever kind; a failing one keeps its adverse flag."""
    failing = criterion("C5", "segmentation.dice", mix=(1, 1), at_least=0.9)
    read = criterion("C6", "ratings.realism.krippendorff_alpha", at_least=0.4)
    rows = [GAINED, NOT_COPIED, NOTICED, score("segmentation.dice", 0.6, 0.7), agreement("realism", 0.5, 0.7), BREACH]
    judgement = ask([GAIN, NO_COPIES, failing, read], *rows)
    assert {r.status for r in judgement.criteria} == {"invalid"}
    assert row_of(judgement, "C1").reason == "the test data are not independent: 3 patients are in train and in test"
    assert [r.criterion for r in judgement.criteria if r.adverse] == ["C5"]
    assert [(f.severity, f.kind, f.evidence) for f in judgement.findings] == [("adverse", "adverse_value", "augment/C5")]
    assert judgement.verdicts[0].verdict == "insufficient_evidence"


def test_example_g_a_guard_that_is_not_met_bars_its_criterion() -> None:
    """Reader agreement below its bound keeps the criterion that it guards from being met at any value."""
    read = criterion("C5", "ratings.realism.krippendorff_alpha", at_least=0.4, role="supportive")
    guarded = GAIN.model_copy(update={"guards": ("C5",)})
    assert status_of([read, guarded], GAINED, agreement("realism", 0.21, 0.47)) == ("unqualified", "guard C5 is inconclusive")
    assert status_of([read, guarded], GAINED, agreement("realism", 0.45, 0.6))[0] == "met"


def test_example_h_copies_beside_a_better_distance_are_a_signature() -> None:
    """AuthPct falls below its floor while the distance improves on its own: distances of this run are unusable."""
    fell = score("memorisation.authpct", 50.0, 52.0, floor=60.0, floor_low=57.0, floor_high=63.0)
    better = CLOSE[0].model_copy(update={"floor": 16.0})
    rows = [GAINED, NOT_COPIED, NOTICED, *RECALLED, better, CLOSE[1], fell]
    judgement = ask([GAIN, NO_COPIES, RECALL, FID], *rows)
    assert (row_of(judgement, "C4").status, row_of(judgement, "C4").adverse) == ("unqualified", False)
    assert row_of(judgement, "C4").reason.endswith("(R5)")
    (finding,) = told(judgement)
    assert (finding.severity, finding.kind) == ("adverse", "memorisation")
    assert finding.text == (
        "Signature of memorisation: memorisation.authpct (pixels) is worse than on real against real; "
        "while frechet.fid (pixels) is better than on real against real."
    )
    assert judgement.verdicts[0].verdict == "adequate_with_conditions"
    assert f"Open adverse finding: {finding.text}" in judgement.verdicts[0].conditions
    assert "Rule R5 (distances support nothing where memorisation shows and they improve): observed here." in judgement.verdicts[0].rules


# Where evidence is found


def test_evidence_is_looked_up_by_stage_extractor_mix_and_test_set() -> None:
    """Scores of other stages, extractors, mixes, repeats and test sets answer to nothing."""
    strangers = [
        score("manifold.recall", 0.9, 0.95, stage="qualify", perturbation="mode_collapse", severity=0.5),
        score("manifold.recall", 0.9, 0.95, perturbation="mode_collapse", severity=0.5),
        score("manifold.recall", 0.9, 0.95, extractor="random_conv"),
        score("manifold.recall", 0.9, 0.95, stratum="label=benign"),
    ]
    named = RECALL.model_copy(update={"extractor": "pixels"})
    assert status_of([named], *strangers) == ("missing", "there is no score of manifold.recall")
    assert status_of([named], *strangers, *RECALLED)[0] == "met"
    other = [
        GAINED.model_copy(update=u) for u in ({"synthetic_share": 0.5}, {"tested_on": "synthetic"}, {"repeat": 1}, {"quantity": "accuracy"})
    ]
    assert status_of([GAIN], *other)[0] == "missing"
    assert status_of([GAIN], *other, GAINED)[0] == "met"


def test_a_quantity_without_mix_is_judged_on_the_baseline() -> None:
    """Absent a mix, a task quantity is that of training on real images alone."""
    c = criterion("C1", "classification.accuracy", at_least=0.7)
    assert status_of([c], score("classification.accuracy", 0.75, 0.8))[0] == "missing"
    assert status_of([c], score("classification.accuracy", 0.75, 0.8, synthetic_share=0.0))[0] == "met"


def test_several_extractors_need_a_choice() -> None:
    """Two scores that answer to one criterion are not evidence until the plan names one."""
    two = [RECALLED[0], RECALLED[0].model_copy(update={"extractor": "random_conv"})]
    assert status_of([RECALL], *two) == ("missing", "2 scores answer to it (pixels, random_conv): name one extractor")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (missing("manifold.recall", "needs 50 images, got 12."), "needs 50 images, got 12"),
        (score("manifold.recall", None, None, ci_method="no interval: 2 patients"), "no interval: 2 patients"),
        (score("manifold.recall", 0.7, None), "no interval: the value has no one-sided bounds"),
        (score("manifold.recall", 0.7, 0.8, judged_value=None), "no interval: the value has no one-sided bounds"),
    ],
)
def test_a_value_without_interval_is_missing(row: ScoreRow, reason: str) -> None:
    """What cannot be known decides nothing, and the reason is the row's own."""
    assert status_of([RECALL], row, RECALLED[1]) == ("missing", reason)
    assert row_of(ask([RECALL], row), "C3").value == (row.value if row.judged_value is None else row.judged_value)


def test_a_quantity_that_nobody_offers_is_missing() -> None:
    """A name without a component behind it has no evidence."""
    assert status_of([criterion("C1", "nobody.offers", at_least=0)])[0] == "missing"


def test_experts_and_language_models_are_kinds_of_their_own() -> None:
    """Agreement of experts is E3; that of language models with them is E4, and each model must meet the bound."""
    e3 = criterion("C1", "ratings.real.ism.krippendorff_alpha", at_least=0.4)
    e4 = criterion("C2", "llm.real.ism.krippendorff_alpha", at_least=0.4)
    experts = agreement("real.ism", 0.5, 0.7)
    one = agreement("real.ism", 0.45, 0.6, analysis="model", raters="llm small")
    two = agreement("real.ism", 0.1, 0.2, analysis="model", raters="llm tiny")
    judgement = ask([e3, e4], experts, one)
    assert [(r.kind, r.status, r.n) for r in judgement.criteria] == [("E3", "met", 120), ("E4", "met", 120)]
    judgement = ask([e4], experts, one, two)
    assert [(r.criterion, r.status) for r in judgement.criteria] == [
        ("C2", "not_met"),
        ("C2[llm small]", "met"),
        ("C2[llm tiny]", "not_met"),
    ]
    no_interval = agreement("real.ism", 0, 0, bound_low=None, bound_high=None, ci_method="no interval: one item")
    assert status_of([e3], no_interval) == ("missing", "no interval: one item")
    assert status_of([e3]) == ("missing", "there is no krippendorff_alpha on the scale real.ism")


def test_strata_that_must_each_meet_are_judged_by_the_worst() -> None:
    """One row for each stratum follows the criterion, whose status and reason are those of the worst."""
    c = RECALL.model_copy(update={"strata": ("label",), "strata_role": "each_must_meet"})
    benign = score("manifold.recall", 0.7, 0.8, stratum="label=benign")
    malignant = score("manifold.recall", 0.3, 0.5, stratum="label=malignant")
    judgement = ask([c], *RECALLED, benign, malignant)
    assert [(r.criterion, r.status) for r in judgement.criteria] == [
        ("C3", "not_met"), ("C3[label=benign]", "met"), ("C3[label=malignant]", "not_met"),
    ]  # fmt: skip
    assert judgement.criteria[0].reason == "label=malignant: upper bound 0.5 is below 0.6"
    assert status_of([c], *RECALLED, benign, of="C3")[0] == "met"
    assert status_of([c], *RECALLED, of="C3") == ("missing", "label: there is no score of manifold.recall in label")
    judgement = ask([c], RECALLED[0], benign, malignant)
    assert row_of(judgement, "C3").adverse
    assert [f.evidence for f in judgement.findings] == ["augment/C3[label=malignant]"]


def test_descriptive_strata_carry_no_status() -> None:
    """Strata that were declared descriptive change no row."""
    c = RECALL.model_copy(update={"strata": ("label",)})
    malignant = score("manifold.recall", 0.3, 0.5, stratum="label=malignant")
    assert ask([c], *RECALLED, malignant).criteria == ask([RECALL], *RECALLED).criteria


def test_regions_without_a_whole_must_each_meet() -> None:
    """A task that scores regions alone meets a criterion only where every region does."""
    c = criterion("C1", "segmentation.dice", mix=(1, 1), at_least=0.8)
    core, rim = (score("segmentation.dice", low, 0.9, region=region) for region, low in (("core", 0.85), ("rim", 0.7)))
    judgement = ask([c], core, rim)
    assert [(r.criterion, r.status) for r in judgement.criteria] == [
        ("C1", "inconclusive"), ("C1[core]", "met"), ("C1[rim]", "inconclusive"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "update", "runs", "expected"),
    [
        ({"n_min": 400}, {}, 1, ("met", "lower bound 0.7 is at least 0.6")),
        ({"n_min": 401}, {}, 1, ("insufficient_n", "400 images of at least 401")),
        ({"n_min": 401}, {"n": 500, "judged_n": None}, 1, ("met", "lower bound 0.7 is at least 0.6")),
        ({"unit": "patient", "n_min": 81}, {}, 1, ("insufficient_n", "80 patients of at least 81")),
        ({"unit": "patient"}, {"n_patients": None}, 1, ("insufficient_n", "the number of patients is not recorded")),
        ({"runs_min": 3}, {}, 2, ("insufficient_n", "2 sampling runs of at least 3")),
        ({"runs_min": 3}, {}, 3, ("met", "lower bound 0.7 is at least 0.6")),
    ],
)
def test_n_is_counted_in_the_unit_of_the_criterion(
    fields: dict[str, Any], update: dict[str, Any], runs: int, expected: tuple[str, str]
) -> None:
    """Images, patients and sampling runs each have their minimum; an unknown number is not enough."""
    c, row = RECALL.model_copy(update=fields), RECALLED[0].model_copy(update=update)
    assert status_of([c], row, RECALLED[1], runs=runs) == expected


# What qualifies it


def test_a_metric_without_a_failure_mode_supports_nothing() -> None:
    """A metric value whose criterion names no defect was not tested for anything."""
    c = criterion("C1", "manifold.recall", at_least=0.6)
    assert status_of([c], *RECALLED) == ("unqualified", "manifold.recall names no failure mode that was tested")


NOISY = criterion("C1", "other.sharpness", at_least=0.6, failure_modes=("noise",))
SHARP = score("other.sharpness", 0.7, 0.8)


@pytest.mark.parametrize(
    ("qualified_by", "outcomes", "status"),
    [
        ((), {}, "unqualified"),
        ((), {"gaussian_noise": "qualified"}, "met"),
        ((), {"gaussian_noise": "not_qualified"}, "unqualified"),
        ((), {"gaussian_noise": None}, "unqualified"),
        ((), {"gaussian_noise": "conditional"}, "unqualified"),
        ((), {"gaussian_noise": "qualified", "speckle": "not_qualified"}, "met"),
        ((), {"gaussian_noise": "qualified", "speckle": "reversed"}, "unqualified"),
        ((), {"gaussian_noise": "qualified", "mode_collapse": "reversed"}, "unqualified"),
        ((), {"gaussian_noise": "qualified", "mode_collapse": "not_qualified"}, "met"),
        ((), {"mode_collapse": "qualified"}, "unqualified"),
        (("gaussian_noise", "speckle"), {"gaussian_noise": "qualified", "speckle": "qualified"}, "met"),
        (("gaussian_noise", "speckle"), {"gaussian_noise": "qualified", "speckle": "not_qualified"}, "unqualified"),
        (("gaussian_noise", "speckle"), {"gaussian_noise": "qualified"}, "unqualified"),
        (("duplication",), {"duplication": "qualified"}, "unqualified"),
        (("duplication",), {"duplication": "qualified", "speckle": "qualified"}, "met"),
    ],
)
def test_planted_defects_qualify(qualified_by: tuple[str, ...], outcomes: dict[str, Outcome | None], status: CriterionStatus) -> None:
    """Every named perturbation must qualify, each failure mode needs one that does, and a reversed response bars."""
    rows = [planted("other.sharpness", name, outcome) for name, outcome in outcomes.items()]
    assert status_of([NOISY.model_copy(update={"qualified_by": qualified_by})], SHARP, *rows)[0] == status


def test_qualification_holds_for_one_extractor() -> None:
    """What was qualified on another extractor's features is not qualified here."""
    row = planted("other.sharpness", "gaussian_noise", extractor="random_conv")
    assert status_of([NOISY], SHARP, row) == ("unqualified", "other.sharpness was not tested against the failure mode noise")


@pytest.mark.parametrize("outcome", ["not_qualified", "reversed", None])
@pytest.mark.parametrize("value", [0.61, 0.99, 1e9])
def test_no_value_makes_up_for_a_missing_qualification(outcome: Outcome | None, value: float) -> None:
    """A metric that was not shown to notice the defect supports nothing, however good its value and however many images."""
    best = score("other.sharpness", value, value, judged_n=10**6)
    status, reason = status_of(
        [RECALL, NOISY.model_copy(update={"guards": ("C3",)})], best, planted("other.sharpness", "gaussian_noise", outcome), *RECALLED
    )
    assert status == "unqualified"
    assert "other.sharpness" in reason


def test_a_conditional_metric_needs_a_guard() -> None:
    """A metric that a harmless change moves too counts only beside a met guard on the same failure mode; the reason names the change."""
    row = planted("other.sharpness", "gaussian_noise", "conditional", harmless="sub_pixel_shift", harmless_response=3.14)
    guarded = NOISY.model_copy(update={"guards": ("C3",)})
    reason = "for the harmless change sub_pixel_shift moves it by 3.1 null SD; none is there"
    assert status_of([NOISY], SHARP, row) == (
        "unqualified", f"other.sharpness is qualified against gaussian_noise only with a met guard on noise, {reason}"
    )  # fmt: skip
    unknown = row.model_copy(update={"harmless_response": None})
    assert status_of([NOISY], SHARP, unknown)[1].endswith("for the harmless change sub_pixel_shift moves it; none is there")
    assert "only with a met guard on noise" in status_of([RECALL, guarded], SHARP, row, *RECALLED)[1]
    on_noise = RECALL.model_copy(update={"failure_modes": (*RECALL.failure_modes, "noise")})
    seen = planted(RECALL.quantity, "gaussian_noise")
    assert status_of([on_noise, guarded], SHARP, row, seen, *RECALLED)[0] == "met"
    assert "only with a met guard on noise" in status_of([on_noise, guarded], SHARP, row)[1]


def test_a_reversed_response_taints_unless_its_failure_mode_is_guarded() -> None:
    """A metric that improves under collapse speaks for noise only where a met criterion covers collapse."""
    rows = [SHARP, planted("other.sharpness", "gaussian_noise"), planted("other.sharpness", "mode_collapse", "reversed")]
    guarded = NOISY.model_copy(update={"guards": ("C3",)})
    assert status_of([NOISY], *rows) == (
        "unqualified", "other.sharpness moved the wrong way under mode_collapse, and no met guard covers mode collapse"
    )  # fmt: skip
    assert status_of([RECALL, NOISY], *rows, *RECALLED)[0] == "unqualified"
    assert status_of([RECALL, guarded], *rows, *RECALLED)[0] == "met"
    claims_it = guarded.model_copy(update={"failure_modes": ("noise", "mode_collapse")})
    assert "a defect of the claimed failure mode" in status_of([RECALL, claims_it], *rows, *RECALLED)[1]


def test_harmless_changes_neither_qualify_nor_taint() -> None:
    """Whatever is on record of a harmless change, it is no planted defect."""
    noticed = planted("other.sharpness", "gaussian_noise")
    for outcome in ("qualified", "conditional", "not_qualified", "reversed", None):
        control = planted("other.sharpness", "flips", outcome)  # type: ignore[arg-type]
        assert status_of([NOISY], SHARP, noticed, control)[0] == "met"
        assert status_of([NOISY], SHARP, control) == ("unqualified", "other.sharpness was not tested against the failure mode noise")
        by_name = NOISY.model_copy(update={"qualified_by": ("flips",)})
        assert status_of([by_name], SHARP, noticed, control) == ("unqualified", "flips is a harmless change, which qualifies nothing")
        claimed = NOISY.model_copy(update={"failure_modes": ("harmless",)})
        assert status_of([claimed], SHARP, control) == ("unqualified", "other.sharpness names no failure mode that was tested")


@pytest.mark.parametrize(
    ("judged_n", "n", "status"),
    [(200, 200, "met"), (5000, 200, "met"), (199, 200, "unqualified"), (None, 200, "met"), (None, 401, "unqualified")],
)
def test_qualification_holds_at_its_number_of_images_and_above(judged_n: int | None, n: int, status: CriterionStatus) -> None:
    """Power at n images says nothing of fewer images; the value's own number counts where no other is judged."""
    row = SHARP.model_copy(update={"judged_n": judged_n})
    assert status_of([NOISY], row, planted("other.sharpness", "gaussian_noise", n=n))[0] == status


def test_a_defect_that_was_planted_at_few_images_qualifies_few_images() -> None:
    """The reason names both numbers; another defect of the mode that was noticed at fewer images is enough."""
    few = SHARP.model_copy(update={"judged_n": 40})
    rows = [planted("other.sharpness", "gaussian_noise", n=160), planted("other.sharpness", "speckle", n=30)]
    assert status_of([NOISY], few, rows[0]) == (
        "unqualified",
        (
            "other.sharpness is qualified against gaussian_noise at 160 images and judged at 40, where its power is not known: "
            "battery.n sets how many images a replicate has"
        ),
    )
    assert status_of([NOISY], few, *rows)[0] == "met"
    assert status_of([NOISY.model_copy(update={"qualified_by": ("gaussian_noise",)})], few, *rows)[0] == "unqualified"
    nobody_counted = SHARP.model_copy(update={"judged_n": None, "n": None})
    assert "judged at an unknown number" in status_of([NOISY], nobody_counted, rows[0])[1]


def test_strata_are_qualified_at_their_own_number_of_images() -> None:
    """A stratum with fewer images than were planted is not qualified, and speaks for the whole criterion."""
    c = RECALL.model_copy(update={"strata": ("label",), "strata_role": "each_must_meet"})
    many, few = (score("manifold.recall", 0.7, 0.8, stratum=f"label={name}", judged_n=n) for name, n in (("a", 250), ("b", 150)))
    judgement = ask([c], RECALLED[1], many, few)
    assert [(r.criterion, r.status) for r in judgement.criteria] == [
        ("C3", "unqualified"), ("C3[label=a]", "met"), ("C3[label=b]", "unqualified"),
    ]  # fmt: skip


def test_r6_admits_a_doubtful_quantity_for_one_failure_mode() -> None:
    """What the literature advises against may speak for one failure mode once it is qualified, and not for two."""
    row = score("diversity.vendi", 0.7, 0.8)
    rows = [row, planted("diversity.vendi", "mode_collapse"), planted("diversity.vendi", "gaussian_noise")]
    one = criterion("C1", "diversity.vendi", at_least=0.6, failure_modes=("noise",))
    assert status_of([one], *rows)[0] == "met"
    assert status_of([one], row)[0] == "unqualified"
    reason = "diversity.vendi may speak for one failure mode, not for mode collapse, noise (R6): it hardly moved in a study"
    assert status_of([one.model_copy(update={"failure_modes": ("noise", "mode_collapse")})], *rows) == ("unqualified", reason)
    assert status_of([one.model_copy(update={"qualified_by": ("mode_collapse",)})], *rows) == ("unqualified", reason)
    certain = criterion("C1", "other.sharpness", at_least=0.6, failure_modes=("noise", "mode_collapse"))
    sharp = [SHARP, planted("other.sharpness", "gaussian_noise"), planted("other.sharpness", "mode_collapse")]
    assert status_of([certain], *sharp)[0] == "met"


def test_a_task_result_that_names_no_defect_is_direct() -> None:
    """A paired gain and a level need no planted defects where they name none; where they name one they are gated like a metric."""
    level = criterion("C1", "classification.accuracy", mix=(1, 1), at_least=0.7)
    for bare, reached in ((level, score("classification.accuracy", 0.75, 0.8)), (GAIN, GAINED)):
        assert status_of([bare], reached)[0] == "met"
        for named in ({"failure_modes": ("noise",)}, {"qualified_by": ("speckle",)}):
            c = bare.model_copy(update=named)
            on_planted = planted("classification.accuracy", "speckle", extractor="")
            assert status_of([c], reached)[0] == "unqualified"
            assert status_of([c], reached, on_planted)[0] == "met"
            assert status_of([c], reached, on_planted.model_copy(update={"outcome": "not_qualified"}))[0] == "unqualified"
            assert status_of([c], reached, on_planted.model_copy(update={"n": 401}))[0] == "unqualified"


def test_a_gain_that_names_a_defect_guards_nothing_untested() -> None:
    """A task that was never shown to see collapse does not excuse a metric that improves under it."""
    gain = GAIN.model_copy(update={"failure_modes": ("mode_collapse",)})
    guarded = criterion("C5", "other.sharpness", at_least=0.6, failure_modes=("noise",), guards=("C1",))
    rows = [SHARP, GAINED, planted("other.sharpness", "gaussian_noise"), planted("other.sharpness", "mode_collapse", "reversed")]
    assert status_of([gain, guarded], *rows)[0] == "unqualified"
    assert status_of([gain, guarded], *rows, planted("classification.accuracy", "mode_collapse", extractor=""))[0] == "met"


def test_the_level_of_a_task_that_no_battery_tested_is_known_as_such() -> None:
    """Neither a gain, nor a level that names a defect, nor anything but a task is an absolute task value."""
    level = criterion("C1", "classification.accuracy", mix=(1, 1), at_least=0.7)
    named = level.model_copy(update={"failure_modes": ("noise",)})

    assert [evidence().absolute(c) for c in (level, GAIN, named, RECALL)] == [True, False, False, False]


# Guards


def test_guards_are_judged_first_whatever_their_order() -> None:
    """A criterion may stand before its guard in the plan."""
    rows = [GAINED, NOT_COPIED, NOTICED, *RECALLED, *CLOSE]
    for criteria in ([FID, RECALL, NO_COPIES], [NO_COPIES, RECALL, FID]):
        assert status_of(criteria, *rows, of="C4")[0] == "met"


def test_guards_in_a_circle_are_unmet() -> None:
    """Criteria that guard each other, or themselves, count for nothing; what they guard falls with them."""
    a = NO_COPIES.model_copy(update={"guards": ("C3",)})
    b = RECALL.model_copy(update={"guards": ("C2",)})
    outside = GAIN.model_copy(update={"guards": ("C2",)})
    judgement = ask([outside, a, b], GAINED, NOT_COPIED, NOTICED, *RECALLED)
    assert [(r.status, r.reason) for r in judgement.criteria] == [
        ("unqualified", "guard C2 is unqualified"),
        ("unqualified", "its guards lead back to C2"),
        ("unqualified", "its guards lead back to C3"),
    ]
    alone = GAIN.model_copy(update={"guards": ("C1",)})
    assert status_of([alone], GAINED) == ("unqualified", "its guards lead back to C1")


def test_an_unknown_guard_is_unmet() -> None:
    """A guard that no criterion of the purpose answers to guards nothing."""
    c = GAIN.model_copy(update={"guards": ("C9",)})
    assert status_of([c], GAINED) == ("unqualified", "guard C9 is not a criterion of this purpose")


# Rules


def test_r1_asks_for_a_task_result_on_real_test_images() -> None:
    """A purpose that uses a model needs a critical task criterion whose training saw synthetic images."""
    rows = [GAINED, NOT_COPIED, NOTICED, score("classification.accuracy", 0.75, 0.8, synthetic_share=0.0)]
    baseline = criterion("C6", "classification.accuracy", at_least=0.7)
    supportive = GAIN.model_copy(update={"role": "supportive"})
    for criteria in ([NO_COPIES], [NO_COPIES, supportive], [NO_COPIES, baseline]):
        verdict = verdict_of(criteria, *rows, uses_model=True)
        assert verdict.verdict == "insufficient_evidence"
        assert "R1 is broken" in verdict.reason
        assert verdict_of(criteria, *rows, uses_model=False).verdict == "adequate"
    assert verdict_of([NO_COPIES, GAIN], *rows, uses_model=True).verdict == "adequate"


def test_r2_distances_need_a_leak_guard_and_a_coverage_guard() -> None:
    """A distance without a met guard on memorisation and one on coverage is unqualified."""
    rows = [GAINED, NOT_COPIED, NOTICED, *RECALLED, *CLOSE]
    for guards, lacking in (((), "memorisation"), (("C2",), "coverage"), (("C3",), "memorisation")):
        c = FID.model_copy(update={"guards": guards})
        reason = f"a distance needs a met guard on {lacking} (R2)"
        assert status_of([NO_COPIES, RECALL, c], *rows) == ("unqualified", reason)
    assert status_of([NO_COPIES, RECALL, FID], *rows)[0] == "met"
    assert status_of([NO_COPIES, RECALL, FID], *rows[:-2], CLOSE[0])[0] == "unqualified"


def test_r2_a_distance_is_never_the_only_evidence_of_a_critical_claim() -> None:
    """A met distance alone leaves its critical claim without support; beside other evidence it may stand."""
    rows = [GAINED, NOT_COPIED, NOTICED, *RECALLED, *CLOSE]
    alone = FID.model_copy(update={"role": "critical"})
    verdict = verdict_of([NO_COPIES, RECALL, alone], *rows)
    assert verdict.verdict == "insufficient_evidence"
    assert "R2 is broken: the claim of C4 rests on distances alone" in verdict.reason
    shared = alone.model_copy(update={"claim": RECALL.claim})
    assert verdict_of([NO_COPIES, RECALL, shared], *rows).verdict == "adequate"


@pytest.mark.parametrize(
    ("low", "high", "at_most", "distance_floor", "flagged"),
    [
        (0.12, 0.18, 0.01, 16.0, True),
        (0.12, 0.18, 0.01, 12.0, False),
        (0.12, 0.18, 0.5, 16.0, True),
        (0.0, 0.0075, 0.01, 16.0, False),
        (0.0001, 0.012, 0.01, 16.0, False),
    ],
)
def test_r5_takes_both_signs(low: float, high: float, at_most: float, distance_floor: float, flagged: bool) -> None:
    """Copies without a better distance, a better distance without copies, and one chance copy are no signature.

    No copy among 150 real images says little of the rate among real images, so one synthetic copy is within their range.
    """
    floor = {"floor": 0.0, "floor_low": 0.0, "floor_high": 0.0, "n_floor": 150}
    copies = score("memorisation.copied_share", low, high, **floor)
    close = CLOSE[0].model_copy(update={"floor": distance_floor})
    judgement = ask([NO_COPIES.model_copy(update={"at_most": at_most}), GAIN], GAINED, copies, NOTICED, close)
    assert ("memorisation" in {f.kind for f in judgement.findings}) == flagged


def test_r5_looks_at_whole_sets_of_images() -> None:
    """A share of copies in one stratum, or under a planted defect, is not the run's."""
    close = CLOSE[0].model_copy(update={"floor": 16.0})
    for part in ({"stratum": "label=benign"}, {"perturbation": "duplication"}):
        copies = score("memorisation.copied_share", 0.12, 0.18, floor=0.0, floor_low=0.0, floor_high=0.0, n_floor=150, **part)
        assert told(ask([GAIN], GAINED, copies, close)) == []
        assert len(told(ask([GAIN], GAINED, copies.model_copy(update=dict.fromkeys(part, "")), close))) == 1


def test_r5_sees_a_failed_criterion_of_another_purpose() -> None:
    """Whichever purpose asked about copies, distances of the run are unusable for all."""
    copied = NOT_COPIED.model_copy(update={"bound_low": 0.12, "bound_high": 0.18})
    rows = [GAINED, copied, *RECALLED, CLOSE[0].model_copy(update={"floor": 16.0}), CLOSE[1]]
    purposes = {
        "one": Purpose(context_of_use="c", criteria=(NO_COPIES,), uses_model=False),
        "two": Purpose(context_of_use="c", criteria=(GAIN, RECALL, FID.model_copy(update={"guards": ()})), uses_model=False),
    }
    judgement = judge(purposes, evidence(*rows), None, "j")
    assert row_of(judgement, "C4").reason.endswith("(R5)")
    assert "memorisation.copied_share does not meet one C2 (lower bound 0.12 exceeds 0.01)" in judgement.findings[0].text
    assert (row_of(judgement, "C2").status, row_of(judgement, "C2").adverse) == ("unqualified", True)


def test_r5_ignores_a_criterion_missed_on_the_good_side() -> None:
    """AuthPct above the upper end of a declared interval is not a sign of copies."""
    c = criterion("C2", "memorisation.authpct", between=(40, 60), failure_modes=("memorisation",))
    rows = [score("memorisation.authpct", 70, 75), CLOSE[0].model_copy(update={"floor": 16.0})]
    assert row_of(ask([c], *rows), "C2").reason.endswith("adverse: lower bound 70 exceeds 60")
    assert all(f.kind != "memorisation" for f in ask([c], *rows).findings)


def test_r5_says_when_it_had_nothing_to_look_at() -> None:
    """Without a memorisation quantity or a distance the rule was not evaluated, and the verdict says so."""
    rule = f"{_R5} was not evaluated: it needs a memorisation quantity and a distance."
    assert rule in verdict_of([GAIN], GAINED).rules
    assert rule not in verdict_of([GAIN], GAINED, NOT_COPIED, CLOSE[0]).rules


DETAIL = criterion("C7", "other.sharpness", at_least=0.6, failure_modes=("local_morphology",))
SEEN = [planted("other.sharpness", name) for name in ("boundary_blur", "radial_gradient")]
READ = criterion("C8", "ratings.realism.share.yes", at_least=0.4)
AGREED = (
    agreement("realism", 0.5, 0.7, items="synthetic"),
    agreement("realism", 0.5, 0.7, analysis="share", statistic="share", category="yes", items="synthetic"),
)


@pytest.mark.parametrize(
    ("outcomes", "holds"),
    [
        (("qualified", "qualified", None), True),
        (("qualified", "qualified", "qualified"), True),
        (("qualified", "conditional", None), False),
        (("qualified", None, None), False),
        (("qualified", "qualified", "not_qualified"), False),
        (("qualified", "not_qualified", None), False),
    ],
)
def test_r3_asks_a_metric_to_notice_two_defects_of_local_detail_and_to_miss_none(outcomes: tuple[Outcome | None, ...], holds: bool) -> None:
    """A metric alone speaks for local detail only where it noticed every planted defect of it, and two at least."""
    names = ("boundary_blur", "radial_gradient", "lesion_removal")
    rows = [planted("other.sharpness", name, outcome) for name, outcome in zip(names, outcomes, strict=True)]
    guarded = DETAIL.model_copy(update={"guards": ("C1",)})
    verdict = verdict_of([GAIN, guarded], GAINED, SHARP, *rows)
    assert verdict.verdict == ("adequate" if holds else "insufficient_evidence")
    broken = "R3 is broken: the claim of C7 is about local detail, and nothing that is known to see it speaks for it"
    assert (broken in verdict.reason) is not holds


def test_r3_is_held_by_a_task_or_by_experts_in_the_claim() -> None:
    """A task that saw synthetic images, or experts, speak for local detail beside a metric that noticed one defect of it."""
    rows = [SHARP, SEEN[0], GAINED, *AGREED, score("classification.accuracy", 0.75, 0.8, synthetic_share=0.0)]
    shared = {"claim": DETAIL.claim}
    baseline = criterion("C9", "classification.accuracy", at_least=0.7, **shared)
    met, missed = (READ.model_copy(update=shared | {"role": "supportive", "at_least": bound}) for bound in (0.4, 0.9))
    for second, holds in ((GAIN.model_copy(update=shared), True), (READ.model_copy(update=shared), True), (met, True), (missed, False),
                          (baseline, False), (READ, False)):  # fmt: skip
        assert ("R3 is broken" not in verdict_of([DETAIL, second], *rows).reason) is holds
    only_agree = criterion("C9", "ratings.realism.krippendorff_alpha", at_least=0.4, **shared)
    assert "R3 is broken" in verdict_of([DETAIL, only_agree], *rows).reason
    language = criterion("C9", "llm.realism.krippendorff_alpha", at_least=0.4, **shared)
    assert (
        "R3 is broken" in verdict_of([DETAIL, language], *rows, agreement("realism", 0.5, 0.7, analysis="model", raters="llm small")).reason
    )


def test_r3_looks_at_the_extractor_that_is_judged() -> None:
    """Defects noticed on the features of another extractor say nothing of this one."""
    elsewhere = SEEN[1].model_copy(update={"extractor": "random_conv"})
    assert "R3 is broken" in verdict_of([DETAIL], SHARP, SEEN[0], elsewhere).reason
    assert verdict_of([DETAIL], SHARP, *SEEN).verdict == "adequate"


def test_r3_and_r4_leave_supportive_criteria_alone() -> None:
    """What supports no critical claim needs no second witness."""
    for name, mode in (("boundary_blur", "local_morphology"), ("mode_collapse", "mode_collapse"), ("inverted_contrast", "mode_invention")):
        c = DETAIL.model_copy(update={"failure_modes": (mode,), "role": "supportive", "one_kind_because": ""})
        assert verdict_of([GAIN, c], GAINED, SHARP, planted("other.sharpness", name)).verdict == "adequate"


COLLAPSE = criterion("C7", "other.sharpness", at_least=0.6, failure_modes=("mode_collapse",))
NO_COVERAGE = "R4 is broken: the claim of C7 names mode collapse and has no criterion on coverage"


def test_r4_asks_a_claim_on_collapse_for_coverage() -> None:
    """A critical claim that names collapse needs a met criterion of the coverage family in it, supportive or critical."""
    rows = [SHARP, planted("other.sharpness", "mode_collapse"), *RECALLED]
    assert NO_COVERAGE in verdict_of([COLLAPSE], *rows).reason
    assert NO_COVERAGE in verdict_of([COLLAPSE, RECALL], *rows).reason
    shared = RECALL.model_copy(update={"claim": COLLAPSE.claim})
    assert verdict_of([COLLAPSE, shared], *rows).verdict == "adequate"
    lent = shared.model_copy(update={"role": "supportive"})
    assert verdict_of([COLLAPSE, lent], *rows).verdict == "adequate"
    assert NO_COVERAGE in verdict_of([COLLAPSE, lent], *rows[:-2], score("manifold.recall", 0.5, 0.8), RECALLED[1]).reason


def test_r4_asks_for_each_stratum_where_the_images_have_any() -> None:
    """With labels or groups, coverage over all images hides a class that is missing; without, there is nothing to divide."""
    benign = score("manifold.recall", 0.7, 0.8, stratum="label=benign")
    absent = missing("manifold.recall", "no synthetic images in label=malignant", stratum="label=malignant")
    each = RECALL.model_copy(update={"strata": ("label",), "strata_role": "each_must_meet"})
    described = RECALL.model_copy(update={"strata": ("label",)})
    assert verdict_of([RECALL], *RECALLED).verdict == "adequate"
    for c in (RECALL, described):
        verdict = verdict_of([c], *RECALLED, benign)
        assert verdict.verdict == "insufficient_evidence"
        assert (
            "R4 is broken: the claim of C3 names mode collapse and has no criterion on coverage that each stratum must meet"
            in verdict.reason
        )
    assert verdict_of([each], *RECALLED, benign).verdict == "adequate"
    verdict = verdict_of([GAIN, each], GAINED, *RECALLED, benign, absent)
    assert verdict.reason == "A critical claim is undecided: C3 is missing: label=malignant: no synthetic images in label=malignant."
    nothing_to_divide = missing("manifold.recall", "the synthetic images have no label", stratum="label")
    assert verdict_of([RECALL], *RECALLED, nothing_to_divide).verdict == "adequate"


def test_r4_asks_for_experts_or_a_reason_on_collapse_and_invention() -> None:
    """A claim that names either needs a met criterion of experts in it, or says why none looked."""
    invention = criterion("C3", "other.sharpness", at_least=0.6, failure_modes=("mode_invention",))
    for c, name, rows in (
        (RECALL, "mode collapse", RECALLED),
        (invention, "mode invention", (SHARP, planted("other.sharpness", "inverted_contrast"))),
    ):
        bare = c.model_copy(update={"one_kind_because": ""})
        problem = f"R4 is broken: the claim of C3 names {name}, no experts looked, and no reason is given"
        assert problem in verdict_of([bare], *rows).reason
        assert verdict_of([c], *rows).verdict == "adequate"
        for role in ("critical", "supportive"):
            read = READ.model_copy(update={"claim": c.claim, "one_kind_because": "", "role": role})
            assert verdict_of([bare, read], *rows, *AGREED).verdict == "adequate"
        assert problem in verdict_of([bare, read], *rows, agreement("realism", 0.2, 0.7)).reason


def test_r8_asks_for_two_kinds_of_evidence_or_a_reason() -> None:
    """One kind of evidence for a critical claim needs a reason; two criteria of two kinds need none."""
    bare = GAIN.model_copy(update={"one_kind_because": ""})
    verdict = verdict_of([bare], GAINED)
    assert verdict.verdict == "insufficient_evidence"
    assert verdict.reason.endswith("R8 is broken: the claim of C1 rests on one kind of evidence, and no reason is given.")
    rows = [GAINED, SHARP, planted("other.sharpness", "gaussian_noise")]
    second = NOISY.model_copy(update={"id": "C9", "claim": bare.claim, "one_kind_because": ""})
    assert verdict_of([bare, second], *rows).verdict == "adequate"
    lent = second.model_copy(update={"role": "supportive"})
    assert verdict_of([bare, lent], *rows).verdict == "adequate"
    assert verdict_of([bare, lent], *rows[:-1]).verdict == "insufficient_evidence"


def test_r8_language_models_never_stand_alone() -> None:
    """No reason makes language models enough for a critical claim; beside experts they may stand."""
    e4 = criterion("C1", "llm.realism.krippendorff_alpha", at_least=0.4)
    e3 = criterion("C2", "ratings.realism.krippendorff_alpha", at_least=0.4, claim=e4.claim)
    rows = [agreement("realism", 0.5, 0.7), agreement("realism", 0.5, 0.7, analysis="model", raters="llm small")]
    assert verdict_of([e4], *rows).reason.endswith("rests on language models alone.")
    assert verdict_of([e3, e4], *rows).verdict == "adequate"


def test_kinds_that_disagree_are_reported_and_resolved_downward() -> None:
    """A claim that one kind supports and another does not is not supported, and a finding says which."""
    low = RECALLED[0].model_copy(update={"bound_low": 0.3, "bound_high": 0.5})
    second = RECALL.model_copy(update={"claim": GAIN.claim})
    judgement = ask([GAIN, second], GAINED, low, RECALLED[1])
    assert judgement.verdicts[0].verdict == "inadequate"
    assert [(f.severity, f.kind, f.text) for f in told(judgement)] == [
        ("warning", "disagreement", "Kinds of evidence disagree on the claim of C1, C3 of augment: E2 met, E1 not met.")
    ]


def test_a_gain_over_a_task_that_may_not_work_is_a_warning() -> None:
    """Nothing in a gain says that the task learned anything; a criterion that is met on its level does."""
    (finding,) = ask([GAIN], GAINED).findings
    assert (finding.severity, finding.kind, finding.evidence) == ("warning", "level_not_asked", "augment/C1")
    assert finding.text == (
        "Criterion C1 of augment compares with real images alone: a task that learned nothing from either would meet it, "
        "and no criterion that is met says how well the task does."
    )
    level = criterion("C2", GAIN.quantity, mix=(1, 0), at_least=0.5, claim=GAIN.claim)
    works = GAINED.model_copy(update={"quantity": GAIN.quantity.split(".")[1], "real_share": 1.0, "synthetic_share": 0.0,
                                      "bound_low": 0.7, "bound_high": 0.8})  # fmt: skip
    assert told(ask([GAIN, level], GAINED, works)) == list(ask([GAIN, level], GAINED, works).findings)
    fails = works.model_copy(update={"bound_low": 0.1, "bound_high": 0.2})
    assert "level_not_asked" in {f.kind for f in ask([GAIN, level], GAINED, fails).findings}


# Combined signals


def test_signatures_are_findings_and_the_adverse_ones_are_conditions() -> None:
    """What speaks against the images stays open in every purpose; what speaks against a metric is told and no condition."""
    floor = {"floor": 0.9, "floor_low": 0.85, "floor_high": 0.95}
    lost = score("manifold.recall", 0.7, 0.8, **floor)
    close = score("frechet.fid", 13.1, 15.5, floor=16.0, floor_low=12.0, floor_high=20.0)
    blind = planted("frechet.fid", "mode_collapse", "not_qualified", power_low=0.1, trend_p=0.4)
    judgement = ask([RECALL], lost, close, RECALLED[1], blind)
    assert [(f.severity, f.kind) for f in judgement.findings] == [("adverse", "collapse"), ("note", "blindness")]
    assert judgement.verdicts[0].verdict == "adequate_with_conditions"
    assert judgement.verdicts[0].conditions == [f"Open adverse finding: {judgement.findings[0].text}"]
    assert ask([RECALL], *RECALLED, close).findings == ()


def test_only_copies_disqualify_distances() -> None:
    """A signature of collapse stands beside a distance; R5 alone takes its qualification."""
    lost = score("manifold.recall", 0.7, 0.8, floor=0.9, floor_low=0.85, floor_high=0.95)
    close = score("frechet.fid", 13.1, 15.5, floor=16.0, floor_low=12.0, floor_high=20.0)
    judgement = ask([NO_COPIES, RECALL, FID], NOT_COPIED, NOTICED, lost, RECALLED[1], close, CLOSE[1])
    assert [f.kind for f in judgement.findings] == ["collapse"]
    assert row_of(judgement, "C4").status == "met"
    assert f"{_R5}: not observed here." in judgement.verdicts[0].rules


# Verdicts


def test_one_sampling_run_is_a_condition() -> None:
    """A single run of the generator leaves its run-to-run variation uncovered, where synthetic images are the evidence."""
    for criteria, rows in (([GAIN], [GAINED]), ([NO_COPIES], [NOT_COPIED, NOTICED])):
        one, two = (verdict_of(criteria, *rows, runs=runs) for runs in (1, 2))
        assert (one.verdict, two.verdict) == ("adequate_with_conditions", "adequate")
        assert one.conditions == [
            "The run-to-run variation of the generator is not covered: all synthetic images come from one sampling run."
        ]
        assert two.conditions == []
    read = criterion("C1", "ratings.realism.krippendorff_alpha", at_least=0.4)
    assert verdict_of([read], agreement("realism", 0.5, 0.7), runs=1).verdict == "adequate"


def test_nothing_declared_or_nothing_run_is_not_assessed() -> None:
    """Without a critical criterion, or without any value of one, there is no verdict."""
    assert verdict_of([]).verdict == "not_assessed"
    assert verdict_of([FID], *CLOSE).reason == "No critical criterion is declared."
    verdict = verdict_of([GAIN, RECALL], missing("manifold.recall", "needs 50 images, got 12"))
    assert verdict.verdict == "not_assessed"
    assert verdict.reason.endswith("C3 is missing: needs 50 images, got 12.")
    assert verdict_of([GAIN, RECALL], GAINED).verdict == "insufficient_evidence"


def test_adverse_findings_of_the_data_stay_open() -> None:
    """What was found when loading the data is a condition if adverse, and only then."""
    found = FindingRow(cell="d", severity="adverse", kind="artefact", text="Burnt-in text in 12 synthetic images.")
    verdict = verdict_of([GAIN], GAINED, found)
    assert verdict.conditions == ["Open adverse finding: Burnt-in text in 12 synthetic images."]
    assert verdict_of([GAIN], GAINED, found.model_copy(update={"severity": "warning"})).verdict == "adequate"


def test_rules_are_listed_in_the_order_of_application() -> None:
    """Claims come first, then the rules, then deviations and conditions."""
    verdict = verdict_of([GAIN, NO_COPIES], GAINED, NOT_COPIED, NOTICED, uses_model=True)
    assert verdict.rules == [
        "Critical claim of C1: supported (C1 met).",
        "Critical claim of C2: supported (C2 met).",
        "Rule R1 (a purpose that uses a model needs a critical task criterion on real images) holds.",
        "Rule R2 (distances alone support no critical claim) holds.",
        "Rule R3 (a claim on local detail needs a task, experts, or a metric that noticed two defects of it and missed none) holds.",
        "Rule R4 (a claim on collapse needs coverage in each stratum; one on collapse or invention needs experts or a reason) holds.",
        "Rule R8 (a critical claim needs two kinds of evidence or a stated reason for one) holds.",
        f"{_R5} was not evaluated: it needs a memorisation quantity and a distance.",
        "Deviations from the first lock: none.",
        "No condition.",
    ]
    assert verdict.reason == "2 critical claims are supported, and no condition is open."


# The first lock


def test_the_locked_plan_is_judged_as_declared() -> None:
    """A plan that equals its first lock is not post hoc."""
    assert verdict_of([GAIN], GAINED, lock=locked(GAIN)).verdict == "adequate"


def test_added_and_relaxed_criteria_are_post_hoc() -> None:
    """A criterion that came or loosened after the lock is never met; its failing bounds stay visible."""
    judgement = ask([GAIN, NO_COPIES], GAINED, NOT_COPIED, NOTICED, lock=locked(GAIN))
    assert (row_of(judgement, "C1").status, row_of(judgement, "C2").status) == ("met", "post_hoc")
    assert row_of(judgement, "C2").reason == "it was added after the plan was locked"
    strict = GAIN.model_copy(update={"gain_at_least": 0.0})
    judgement = ask([GAIN], GAINED, lock=locked(strict))
    change = "was changed from gain at least 0 to gain at least −0.01 after the plan was locked"
    assert row_of(judgement, "C1").reason == f"it {change}"
    assert judgement.verdicts[0].verdict == "insufficient_evidence"
    assert judgement.findings[0].text == f"Major deviation in augment: C1 {change}."
    failing = GAINED.model_copy(update={"bound_low": -0.09, "bound_high": -0.04})
    judgement = ask([GAIN], failing, lock=locked(strict))
    assert (row_of(judgement, "C1").status, row_of(judgement, "C1").adverse) == ("post_hoc", True)


def test_a_tightened_criterion_is_judged_and_named() -> None:
    """Tightening after the lock is a minor deviation, hence a condition."""
    verdict = verdict_of([GAIN], GAINED, lock=locked(GAIN.model_copy(update={"gain_at_least": -0.02})))
    assert verdict.verdict == "adequate_with_conditions"
    assert verdict.conditions == [
        "Minor deviation: C1 was tightened from gain at least −0.02 to gain at least −0.01 after the plan was locked."
    ]


def test_dropping_a_criterion_is_a_major_deviation() -> None:
    """What is left of a locked plan cannot be adequate."""
    verdict = verdict_of([GAIN], GAINED, lock=locked(GAIN, NO_COPIES))
    assert verdict.verdict == "insufficient_evidence"
    assert verdict.reason == "1 critical claim is supported, but the plan was changed after it was locked."


def test_other_data_make_every_criterion_post_hoc() -> None:
    """The lock holds for the data it was made for."""
    judgement = ask([GAIN], GAINED, lock=locked(GAIN, same_data=False))
    assert row_of(judgement, "C1").status == "post_hoc"
    assert [(f.severity, f.kind) for f in judgement.findings] == [("adverse", "deviation")]
    assert judgement.verdicts[0].verdict == "insufficient_evidence"


def test_a_dropped_purpose_is_a_finding() -> None:
    """A purpose that vanished from the plan leaves a trace."""
    lock = replace(locked(GAIN), purposes={**locked(GAIN).purposes, "replace": locked(GAIN).purposes["augment"]})
    (finding,) = told(ask([GAIN], GAINED, lock=lock))
    assert finding.text == "Major deviation in replace: the purpose was dropped after the plan was locked."


# Everything at once


def test_invariants_over_all_combinations_of_preconditions() -> None:
    """For every set of failed preconditions and every decision: status, adverse flag, verdict, and wording.

    A critical and a supportive criterion are each driven through the real evidence, so this also shows that a supportive one
    adds conditions and never rescues.
    """
    bounds = {"met": (0.7, 0.8), "inconclusive": (0.5, 0.8), "not_met": (0.3, 0.5)}
    texts: set[str] = set()
    seen = 0
    for flags, decision, supportive in product(product((False, True), repeat=len(PRECONDITIONS)), bounds, (None, *bounds)):
        failed = {s for s, flag in zip(PRECONDITIONS, flags, strict=True) if flag}
        c = RECALL.model_copy(update={"n_min": 1000} if "insufficient_n" in failed else {})
        rows: list[Record] = [BREACH] if "invalid" in failed else []
        rows += [] if "missing" in failed else [score("manifold.recall", *bounds[decision])]
        rows += [] if "unqualified" in failed else [RECALLED[1]]
        criteria = [c]
        if supportive is not None:
            criteria.append(criterion("S1", "segmentation.dice", mix=(1, 1), at_least=0.6, role="supportive"))
            rows.append(score("segmentation.dice", *bounds[supportive]))
        lock = locked(*criteria[1:]) if "post_hoc" in failed else locked(*criteria)
        judgement = ask(criteria, *rows, lock=lock)
        (verdict,), row = judgement.verdicts, row_of(judgement, "C3")
        first = next((s for s in PRECONDITIONS if s in failed), None)
        assert row.status == (first or decision)
        assert row.adverse == (decision == "not_met" and first not in (None, "missing"))
        assert any(f.evidence == "augment/C3" for f in judgement.findings) == row.adverse
        decided = {"met": "adequate", "not_met": "inadequate", "missing": "not_assessed"}
        expected = decided.get(row.status, "insufficient_evidence")
        # The supportive criterion is an absolute task level, which is a condition even where it is met.
        if expected == "adequate" and supportive is not None:
            expected = "adequate_with_conditions"
        assert verdict.verdict == expected
        assert bool(verdict.conditions) == (verdict.verdict == "adequate_with_conditions")
        texts |= {text for r in judgement.criteria for text in (r.reason, r.rule, r.threshold)}
        texts |= {verdict.reason, *verdict.rules, *verdict.conditions, *(f.text for f in judgement.findings)}
        seen += 1
    assert seen == 32 * 3 * 4
    assert [problem for text in sorted(texts) for problem in check(text)] == []


def test_judging_is_pure() -> None:
    """The same rows give the same judgement, in whatever order they come."""
    rows = [GAINED, NOT_COPIED, NOTICED, *RECALLED, *CLOSE]
    criteria = [GAIN, NO_COPIES, RECALL, FID]
    assert ask(criteria, *rows) == ask(criteria, *rows) == ask(criteria, *reversed(rows))


GATED = ScaleSpec(
    name="plausible", categories=("yes", "no"), alarm=("no",),
    gates=Gates(experts={"krippendorff_alpha": 0.5}, attention=0.8, models={"cohen_kappa": 0.6}, because="protocol 3"),
)  # fmt: skip
PLAUSIBLE = criterion("C1", "ratings.plausible.share.yes", at_least=0.8)
SAID = agreement("plausible", 0.85, 0.95, analysis="share", statistic="share", category="yes", items="synthetic")
NOTICED_FAULTS = agreement("plausible", 0.85, 0.99, analysis="attention", statistic="sensitivity", items="planted")


def gated(*rows: Record, criterion: Criterion = PLAUSIBLE, scale: ScaleSpec = GATED) -> tuple[str, str]:
    """Return status and reason of a criterion about raters whose scale has gates."""
    found = replace(evidence(*rows), scales={scale.name: scale})
    purpose = Purpose(context_of_use="c", uses_model=False, criteria=(criterion,))
    row = judge({"p": purpose}, found, None, "j").criteria[0]
    return row.status, row.reason


def test_experts_support_a_claim_only_behind_open_gates() -> None:
    """Agreement on these items and planted faults noticed must reach the plan; else the share of answers supports nothing."""
    agreed = agreement("plausible", 0.55, 0.8, items="synthetic")
    assert gated(SAID, agreed, NOTICED_FAULTS)[0] == "met"
    elsewhere = agreement("plausible", 0.55, 0.8, items="real")
    assert gated(SAID, elsewhere, NOTICED_FAULTS)[0] == "unqualified"
    status, reason = gated(SAID, agreement("plausible", 0.3, 0.8, items="synthetic"), NOTICED_FAULTS)
    assert (status, "lower bound 0.30, and the gate asks for 0.5 (R8)" in reason) == ("unqualified", True)
    close = gated(SAID, agreement("plausible", 0.4996, 0.8, items="synthetic"), NOTICED_FAULTS)[1]
    assert "lower bound 0.4996, and the gate asks for 0.5" in close
    status, reason = gated(SAID, agreed, NOTICED_FAULTS.model_copy(update={"bound_low": 0.6}))
    assert (status, "share of planted faults noticed" in reason) == ("unqualified", True)
    assert gated(SAID, agreed)[0] == "unqualified"


def test_a_scale_without_gates_supports_nothing_but_may_be_shown() -> None:
    """What experts answer on it is unqualified; how far they agree on it is judged by itself."""
    bare = GATED.model_copy(update={"gates": Gates()})
    agreed = agreement("plausible", 0.55, 0.8, items="all")
    assert gated(SAID, agreed, scale=bare) == (
        "unqualified",
        "the scale plausible declares no gates.experts, so nothing says when its raters are reliable enough (R8)",
    )
    reliable = criterion("C1", "ratings.plausible.krippendorff_alpha", at_least=0.5)
    assert gated(SAID, agreed, criterion=reliable, scale=bare)[0] == "met"


def test_a_shut_gate_does_not_hide_bad_news() -> None:
    """A share that fails its bound is adverse although the experts who gave it are not reliable enough."""
    few = SAID.model_copy(update={"bound_low": 0.2, "bound_high": 0.5, "value": 0.35})
    found = replace(evidence(few), scales={"plausible": GATED})
    row = judge({"p": Purpose(context_of_use="c", uses_model=False, criteria=(PLAUSIBLE,))}, found, None, "j").criteria[0]
    assert (row.status, row.adverse) == ("unqualified", True)


def test_a_language_model_speaks_only_where_it_agrees_with_experts() -> None:
    """Each model has a gate of its own, on the items that the criterion is about."""
    share = criterion("C1", "llm.plausible.share.yes", at_least=0.8)
    of_model = SAID.model_copy(update={"raters": "llm m"})
    kappa = agreement("plausible", 0.65, 0.8, analysis="model", statistic="cohen_kappa", raters="llm m", items="synthetic")
    experts = (agreement("plausible", 0.55, 0.8, items="synthetic"), NOTICED_FAULTS)
    assert gated(of_model, kappa, *experts, criterion=share)[0] == "met"
    assert gated(of_model, kappa.model_copy(update={"raters": "llm other"}), *experts, criterion=share)[0] == "unqualified"
    assert gated(of_model, kappa.model_copy(update={"bound_low": 0.4}), *experts, criterion=share)[0] == "unqualified"
    weak = agreement("plausible", 0.1, 0.8, items="synthetic")
    assert "experts on plausible" in gated(of_model, kappa, weak, NOTICED_FAULTS, criterion=share)[1]
    alone = experts[0].model_copy(update={"n_raters": 1})
    assert "1 rater" in gated(of_model, kappa, alone, NOTICED_FAULTS, criterion=share)[1]


def test_each_stratum_of_raters_must_meet_a_criterion() -> None:
    """Strata name items: the share among real images and among synthetic ones are judged apart, each behind its own gate."""
    pooled = [SAID.model_copy(update={"items": "label=0"}), agreement("plausible", 0.55, 0.8, items="label=0"), NOTICED_FAULTS]
    classes = PLAUSIBLE.model_copy(update={"strata": ("label",), "strata_role": "each_must_meet"})
    assert gated(*pooled, criterion=classes)[0] == "missing"
    crossed = [row.model_copy(update={"items": "synthetic, label=0"}) for row in pooled[:2]]
    assert gated(*crossed, NOTICED_FAULTS, criterion=classes)[0] == "met"
    both = PLAUSIBLE.model_copy(update={"strata": ("real", "synthetic"), "strata_role": "each_must_meet"})
    rows = [SAID, SAID.model_copy(update={"items": "real"}), NOTICED_FAULTS]
    agreed = [agreement("plausible", 0.55, 0.8, items=items) for items in ("real", "synthetic")]
    assert gated(*rows, *agreed, criterion=both)[0] == "met"
    assert gated(*rows, agreed[0], criterion=both)[0] == "unqualified"
    assert gated(rows[0], NOTICED_FAULTS, *agreed, criterion=both)[0] == "missing"


def test_r8_a_language_model_never_takes_the_place_of_experts() -> None:
    """A metric and a language model are one kind of evidence; with experts beside them they are three."""
    claim = {"claim": RECALL.claim, "one_kind_because": ""}
    metric = RECALL.model_copy(update={"one_kind_because": ""})
    model = criterion("C8", "llm.realism.share.yes", at_least=0.4, **claim)
    expert = READ.model_copy(update={"id": "C9"} | claim)
    agreeing = criterion("C9", "ratings.realism.krippendorff_alpha", at_least=0.4, **claim)
    of_model = {"raters": "llm m", "items": "synthetic"}
    rows = [
        *RECALLED, *AGREED, agreement("realism", 0.5, 0.7),
        agreement("realism", 0.5, 0.7, analysis="model", statistic="cohen_kappa", **of_model),
        agreement("realism", 0.5, 0.7, analysis="share", statistic="share", category="yes", **of_model),
    ]  # fmt: skip
    for others in ([model], [agreeing], [model, agreeing]):
        assert "rests on one kind of evidence" in verdict_of([metric, *others], *rows).reason
    assert "R8 is broken" not in verdict_of([metric, model, expert], *rows).reason
    assert "rests on language models alone" in verdict_of([model, agreeing], *rows).reason


def test_readers_who_saw_real_images_alone_say_nothing_of_synthetic_ones() -> None:
    """Without an answer on synthetic images a criterion on answers is missing, however good those on real ones are."""
    real = [SAID.model_copy(update={"items": items}) for items in ("all", "real")]
    assert gated(*real, agreement("plausible", 0.55, 0.8), NOTICED_FAULTS)[0] == "missing"


def test_not_finding_real_images_counts_only_for_readers_who_looked() -> None:
    """A hit rate near chance is what readers who never look have too: planted faults must have been noticed, on whatever scale."""
    gates = Gates(attention=0.8, because="protocol 3")
    scale = ScaleSpec(name="find", categories=("real", "synthetic"), truth="origin", shows="grid", gates=gates)
    hidden = criterion("C1", "ratings.find.hit_rate", at_most=0.45)
    found = agreement("find", 0.2, 0.4, analysis="identification", statistic="hit_rate")
    assert gated(found, NOTICED_FAULTS, criterion=hidden, scale=scale)[0] == "met"
    assert "no planted fault was shown" in gated(found, criterion=hidden, scale=scale)[1]
    missed = NOTICED_FAULTS.model_copy(update={"bound_low": 0.3})
    assert gated(found, missed, criterion=hidden, scale=scale)[0] == "unqualified"
    bare = scale.model_copy(update={"gates": Gates()})
    assert "declares no gates.attention" in gated(found, NOTICED_FAULTS, criterion=hidden, scale=bare)[1]
