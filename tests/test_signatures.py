"""Combined signals: which numbers together are a signature, and which are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from harness.evidence import Evidence
from harness.quantities import Quantity
from harness.records import Outcome, QualificationRow, ScoreRow
from harness.signatures import (
    blindness,
    collapse_signature,
    findings,
    invention_signature,
    memorisation_evaluated,
    memorisation_signature,
    saturated,
    saturation,
)
from harness.spec import Criterion, Purpose
from harness.wording import check

PROMISES = {
    "frechet.fid": Quantity(name="fid", better="lower", low=0.0, biased_in_n=True, family="distance"),
    "likelihood.fls": Quantity(name="fls", better="higher", family="distance"),
    "manifold.recall": Quantity(name="recall", better="higher", low=0.0, high=1.0, family="coverage"),
    "manifold.density": Quantity(name="density", better="higher", low=0.0),
    "memorisation.copied_share": Quantity(name="copied_share", better="lower", low=0.0, high=1.0, proportion=True, family="memorisation"),
    "memorisation.authpct": Quantity(name="authpct", better="higher", low=0.0, high=100.0, family="memorisation"),
    "two_sample.auroc": Quantity(name="auroc", better="lower", low=0.0, high=1.0, family="distance"),
}
WORSE, BETTER, SAME = (1.0, 1.2), (0.2, 0.4), (0.65, 0.75)


def score(quantity: str, bounds: tuple[float, float] | None, extractor: str = "pixels", **fields: Any) -> ScoreRow:
    """A score with these bounds; real against real is 0.7, between 0.5 and 0.9, unless said otherwise."""
    component, name = quantity.split(".")
    low, high = bounds or (None, None)
    value = (bounds[0] + bounds[1]) / 2 if bounds else 0.7
    given: dict[str, Any] = {"value": value, "judged_value": value, "bound_low": low, "bound_high": high, "n": 400, "judged_n": 200}
    given |= {"floor": 0.7, "floor_low": 0.5, "floor_high": 0.9, "n_floor": 200, "ci_low": low, "ci_high": high}
    return ScoreRow(
        **({"cell": "s", "stage": "measure", "component": component, "quantity": name, "extractor": extractor} | given | fields)
    )


def planted(quantity: str, perturbation: str, mode: str, outcome: Outcome | None = "not_qualified", **fields: Any) -> QualificationRow:
    """What became of a quantity under a planted defect: no power and no trend unless said otherwise."""
    component, name = quantity.split(".")
    given: dict[str, Any] = {"n": 200, "dose_of_concern": 0.5, "power_low": 0.1, "trend_p": 0.4, "reason": "", "extractor": "pixels"}
    given |= {"component": component, "quantity": name, "perturbation": perturbation, "failure_mode": mode, "outcome": outcome}
    return QualificationRow(**({"cell": "q"} | given | fields))


def evidence(scores: Sequence[ScoreRow] = (), qualifications: Sequence[QualificationRow] = ()) -> Evidence:
    """Evidence of these rows alone."""
    return Evidence(tuple(scores), tuple(qualifications), (), (), PROMISES, dict.fromkeys(PROMISES, "E1"), 1, {"collapse": "mode_collapse"})


def purposes(*criteria: Criterion) -> dict[str, Purpose]:
    """One purpose with these criteria."""
    return {"augment": Purpose(context_of_use="c", criteria=criteria, uses_model=False)}


def criterion(quantity: str, *modes: str, **fields: Any) -> Criterion:
    """A criterion that claims these failure modes."""
    given: dict[str, Any] = {"id": "C1", "claim": "c", "quantity": quantity, "at_least": 0.1, "because": "b", "failure_modes": modes}
    return Criterion(**(given | fields))


# Collapse


LOST = score("manifold.recall", BETTER)


@pytest.mark.parametrize(
    ("distance", "word"),
    [
        (score("frechet.fid", BETTER), "better"),
        (score("frechet.fid", (0.6, 0.7)), "better"),
        (score("likelihood.fls", WORSE), "better"),
        (score("frechet.fid", (0.7, 0.8)), "no worse"),
        (score("likelihood.fls", (0.5, 0.7)), "no worse"),
        (score("frechet.fid", (0.85, 1.1)), ""),
        (score("frechet.fid", WORSE), ""),
        (score("likelihood.fls", BETTER), ""),
    ],
)
def test_collapse_is_lost_coverage_that_no_distance_shows(distance: ScoreRow, word: str) -> None:
    """Coverage below real against real is a signature beside a distance that is better or no worse, and not beside a worse one."""
    where = f"{distance.component}.{distance.quantity} (pixels)"
    text = f"Signature of collapse: manifold.recall (pixels) is worse than on real against real, while {where} is {word}."
    assert collapse_signature([LOST, distance], PROMISES) == (text if word else "")


def test_a_worse_distance_hides_no_better_one() -> None:
    """One better distance is enough; where none is better, a single worse one shows what is lost."""
    fid, auroc = score("frechet.fid", SAME), score("two_sample.auroc", WORSE)
    assert collapse_signature([LOST, fid, auroc], PROMISES) == ""
    assert "while frechet.fid (pixels) is better." in collapse_signature([LOST, score("frechet.fid", BETTER), auroc], PROMISES)


@pytest.mark.parametrize(
    "coverage",
    [
        score("manifold.recall", SAME),
        score("manifold.recall", (0.4, 0.55)),
        score("manifold.recall", WORSE),
        score("manifold.recall", BETTER, "random_conv"),
        score("manifold.recall", BETTER, stratum="label=benign"),
        score("manifold.recall", BETTER, perturbation="collapse"),
        score("manifold.recall", BETTER, stage="qualify"),
        score("manifold.recall", BETTER, floor_low=None),
        score("manifold.density", BETTER),
        score("manifold.unknown", BETTER),
    ],
)
def test_collapse_needs_coverage_out_of_its_range(coverage: ScoreRow) -> None:
    """Coverage inside its range, of other features, of a part, of planted images, or without a floor is no signature."""
    assert collapse_signature([coverage, score("frechet.fid", BETTER)], PROMISES) == ""


def test_collapse_needs_a_distance() -> None:
    """Lost coverage alone, or beside a distance without a floor, is told elsewhere."""
    assert collapse_signature([LOST], PROMISES) == ""
    assert collapse_signature([LOST, score("frechet.fid", BETTER, floor=None, floor_low=None, floor_high=None)], PROMISES) == ""


def test_a_value_without_interval_counts_by_itself() -> None:
    """Where there is no bound the value stands in for it: bad news needs fewer preconditions than good news."""
    bare = score("manifold.recall", None, value=0.3, judged_value=None, value_at_floor_n=0.3)
    assert collapse_signature([bare, score("frechet.fid", BETTER)], PROMISES)


def test_a_value_without_interval_compares_at_the_number_of_images_of_the_floor() -> None:
    """The value of all images may lie outside the range of real against real only because there are more of them."""
    more = score("memorisation.authpct", None, value=0.3, judged_value=0.3, value_at_floor_n=0.6)
    close = score("frechet.fid", BETTER)
    assert memorisation_signature({}, evidence([more, close])) == ""
    assert memorisation_signature({}, evidence([more.model_copy(update={"value_at_floor_n": 0.4}), close]))


# Invention


MANY = score("memorisation.authpct", WORSE)
FAR = score("frechet.fid", WORSE)


def test_invention_is_fewer_copies_and_a_worse_distance() -> None:
    """Images that lie farther from the training images than real ones do are told as that, with what may cause it."""
    assert invention_signature([MANY, FAR], PROMISES) == (
        "Signature of invention: memorisation.authpct (pixels) is better than on real against real, while frechet.fid (pixels) is worse. "
        "The images lie farther from the training images than other real images do; "
        "invented structures do this, and so do noise and shifts."
    )


@pytest.mark.parametrize(
    "rows",
    [
        [MANY],
        [FAR],
        [MANY, score("frechet.fid", SAME)],
        [MANY, score("frechet.fid", (0.85, 1.1))],
        [score("memorisation.authpct", SAME), FAR],
        [score("memorisation.authpct", BETTER), FAR],
        [MANY, score("frechet.fid", WORSE, "random_conv")],
    ],
)
def test_invention_needs_both_beyond_their_ranges(rows: list[ScoreRow]) -> None:
    """One without the other, or of other features, is no signature."""
    assert invention_signature(rows, PROMISES) == ""


def test_no_copy_at_all_is_not_better_than_few() -> None:
    """A share of copies of zero is within the range of real against real, whose exact interval reaches zero."""
    none = score("memorisation.copied_share", (0.0, 0.0075), floor=0.01, floor_low=0.008, floor_high=0.02)
    assert invention_signature([none, FAR], PROMISES) == ""


# Memorisation


def test_memorisation_is_a_better_distance_beside_copies() -> None:
    """Copies count by the range of real against real or by a failed criterion, the distance by its mean."""
    copies, close = score("memorisation.authpct", BETTER), score("frechet.fid", (0.6, 0.7))
    assert memorisation_signature({}, evidence([copies, close])) == (
        "Signature of memorisation: memorisation.authpct (pixels) is worse than on real against real; "
        "while frechet.fid (pixels) is better than on real against real."
    )
    assert memorisation_signature({}, evidence([copies, score("frechet.fid", (0.7, 0.8))])) == ""
    assert memorisation_signature({}, evidence([score("memorisation.authpct", SAME), close])) == ""
    strict = criterion("memorisation.authpct", "memorisation", at_least=0.8)
    failed = memorisation_signature(purposes(strict), evidence([score("memorisation.authpct", SAME), close]))
    assert "memorisation.authpct does not meet augment C1 (upper bound 0.75 is below 0.8)" in failed


def test_memorisation_is_evaluated_where_both_were_measured() -> None:
    """A score that could not be computed was not looked at."""
    blank = {"value": None, "judged_value": None, "status": "not_computable", "reason": "too few"}
    assert memorisation_evaluated(evidence([MANY, FAR]))
    assert not memorisation_evaluated(evidence([MANY]))
    assert not memorisation_evaluated(evidence([MANY, score("frechet.fid", None, **blank)]))


# Saturation


@pytest.mark.parametrize(
    ("row", "pinned"),
    [
        (score("manifold.recall", (0.0, 0.0)), True),
        (score("manifold.recall", (0.0, 0.009)), True),
        (score("manifold.recall", (0.0, 0.02)), False),
        (score("manifold.recall", (0.99, 1.0)), False),
        (score("manifold.recall", (0.0, 0.0), floor=0.0), False),
        (score("manifold.recall", (0.0, 0.0), floor=0.005), False),
        (score("manifold.recall", (0.0, 0.0), floor=None), False),
        (score("manifold.recall", (0.0, 0.0), stratum="label=benign"), False),
        (score("manifold.recall", None, value=0.0), True),
        (score("manifold.recall", None, value=0.001), False),
        (score("two_sample.auroc", (0.995, 1.0)), True),
        (score("two_sample.auroc", (0.0, 0.005)), False),
        (score("manifold.density", (0.0, 0.0)), True),
        (score("manifold.density", (0.0, 0.001)), False),
        (score("frechet.fid", (1e6, 1e6)), False),
        (score("memorisation.authpct", (0.2, 0.9), floor=60.0), True),
        (score("memorisation.authpct", (0.2, 1.1), floor=60.0), False),
    ],
)
def test_saturated_is_at_the_worst_end_where_real_images_are_not(row: ScoreRow, pinned: bool) -> None:
    """The value, or the whole interval within a hundredth of a closed range, lies at the worst end, and the floor does not."""
    assert saturated([row], PROMISES) == ([row] if pinned else [])


def test_saturation_takes_the_scores_of_several_audits() -> None:
    """A comparison hands over the scores of all its audits and learns which of them are pinned."""
    pinned, free = score("manifold.recall", (0.0, 0.0)), score("manifold.recall", SAME)
    assert saturated([pinned, free, pinned], PROMISES) == [pinned, pinned]
    assert saturation([free], PROMISES) == ""
    assert saturation([pinned, score("two_sample.auroc", (0.995, 1.0))], PROMISES) == (
        "Saturation: manifold.recall (pixels), two_sample.auroc (pixels) are at the worst end of the scale, where real against real is "
        "not, and cannot tell this generator from a worse one."
    )


# Blindness


def test_blindness_names_what_saw_none_of_a_claimed_failure_mode() -> None:
    """One sentence for each claimed mode, local morphology first; a quantity that saw one of its defects is not blind to it."""
    rows = [
        planted("frechet.fid", "collapse", "mode_collapse"),
        planted("manifold.recall", "collapse", "mode_collapse", "qualified"),
        planted("frechet.fid", "edge_blur", "local_morphology"),
        planted("frechet.fid", "gradient", "local_morphology"),
        planted("two_sample.auroc", "edge_blur", "local_morphology", "qualified"),
        planted("two_sample.auroc", "gradient", "local_morphology"),
        planted("frechet.fid", "edge_blur", "local_morphology", extractor="random_conv"),
        planted("frechet.fid", "flips", "harmless"),
        planted("frechet.fid", "hiss", "noise"),
    ]
    claims = purposes(criterion("manifold.recall", "mode_collapse"), criterion("likelihood.fls", "local_morphology", id="C2"))
    assert blindness(claims, evidence((), rows)) == [
        (
            (
                "2 of 3 quantities noticed no planted defect of local morphology (edge_blur, gradient): "
                "frechet.fid (pixels), frechet.fid (random_conv)."
            ),
            "",
        ),
        ("1 of 2 quantities noticed no planted defect of mode collapse (collapse): frechet.fid (pixels).", ""),
    ]
    assert blindness({}, evidence((), rows)) == []


def test_blindness_names_the_criteria_that_rest_on_it() -> None:
    """A criterion whose own quantity missed a planted defect of its mode is named with it, also where it noticed another."""
    rows = [
        planted("manifold.recall", "collapse", "mode_collapse", "qualified"),
        planted("manifold.recall", "imbalance", "mode_collapse"),
        planted("manifold.recall", "imbalance", "mode_collapse", extractor="random_conv"),
    ]
    rests = criterion("manifold.recall", "mode_collapse", extractor="pixels")
    assert blindness(purposes(rests), evidence((), rows[:2])) == [
        ("Criterion augment/C1 rests on manifold.recall (pixels), which did not notice imbalance.", "augment/C1")
    ]
    (text, at), *others = blindness(purposes(criterion("manifold.recall", qualified_by=("collapse",))), evidence((), rows))
    assert text == (
        "1 of 2 quantities noticed no planted defect of mode collapse (collapse, imbalance): manifold.recall (random_conv). "
        "Criterion augment/C1 rests on manifold.recall (pixels), which did not notice imbalance; "
        "manifold.recall (random_conv), which did not notice imbalance."
    )
    assert (at, others) == ("augment/C1", [])


@pytest.mark.parametrize(
    ("fields", "blind"),
    [
        ({}, True),
        ({"power_low": 0.9}, True),
        ({"trend_p": 0.01}, True),
        ({"power_low": 0.9, "trend_p": 0.01}, False),
        ({"power_low": None, "trend_p": None}, False),
        ({"outcome": "reversed"}, False),
        ({"outcome": "conditional"}, False),
        ({"outcome": "qualified"}, False),
        ({"outcome": None}, False),
    ],
)
def test_blind_means_without_power_or_trend(fields: dict[str, Any], blind: bool) -> None:
    """What was not quiet, turned back, improved or was not tested is not blind."""
    row = planted("frechet.fid", "collapse", "mode_collapse").model_copy(update=fields)
    assert bool(blindness(purposes(criterion("manifold.recall", "mode_collapse")), evidence((), [row]))) is blind


def test_long_lists_are_cut() -> None:
    """Of many blind quantities the first are named and the others counted."""
    rows = [planted("frechet.fid", "collapse", "mode_collapse", extractor=f"e{i:02d}") for i in range(20)]
    ((text, _),) = blindness(purposes(criterion("manifold.recall", "mode_collapse")), evidence((), rows))
    assert text.endswith("frechet.fid (e06), frechet.fid (e07) and 12 more.")


# As findings


ALL = evidence(
    [
        score("manifold.recall", (0.0, 0.0)),
        score("memorisation.authpct", BETTER),
        score("frechet.fid", BETTER),
        score("memorisation.authpct", WORSE, "random_conv"),
        score("frechet.fid", WORSE, "random_conv"),
    ],
    [planted("frechet.fid", "collapse", "mode_collapse"), planted("manifold.recall", "edge_blur", "local_morphology")],
)
CLAIMS = purposes(criterion("frechet.fid", "mode_collapse"), criterion("frechet.fid", "local_morphology", id="C2"))


def test_findings_carry_the_severity_of_what_they_speak_against() -> None:
    """Against the images: adverse. Against a metric: a warning where a criterion rests on it, else a note; no banned words."""
    found = findings(CLAIMS, ALL, "j")
    assert [(f.severity, f.kind, f.evidence) for f in found] == [
        ("adverse", "memorisation", ""),
        ("adverse", "collapse", ""),
        ("adverse", "invention", ""),
        ("note", "blindness", ""),
        ("warning", "blindness", "augment/C1"),
        ("warning", "saturation", ""),
    ]
    assert {f.cell for f in found} == {"j"}
    assert [problem for f in found for problem in check(f.text)] == []
    assert findings(CLAIMS, evidence(), "j") == []


def test_findings_do_not_depend_on_the_order_of_rows() -> None:
    """The same rows give the same sentences."""
    turned = replace(ALL, scores=ALL.scores[::-1], qualifications=ALL.qualifications[::-1])
    assert findings(CLAIMS, ALL, "j") == findings(CLAIMS, turned, "j")
