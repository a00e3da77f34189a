"""The comparison with the literature: what was observed decides, and where nothing was measured nothing is said."""

from __future__ import annotations

import pytest
from fabricated_audit import content_of, planted, promising

from harness.batteries import Battery
from harness.literature import STATEMENTS, compare
from harness.records import QualificationRow, ResponseRow


def found(battery: Battery) -> dict[str, tuple[str, str]]:
    """Finding and observation by statement."""
    return {row.statement: (row.finding, row.observed) for row in compare(battery)}


def distances(mode: str, *responses: float | None) -> Battery:
    """One distance per response at the dose of concern, under a defect of this mode."""
    qualifications: list[QualificationRow] = []
    rows: list[ResponseRow] = []
    for k, response in enumerate(responses):
        verdicts, (row, *_) = planted("m", f"fid{k}", "", "the_defect", mode, "distance")
        qualifications += verdicts
        rows.append(row.model_copy(update={"severity": 0.5, "response": response, "detected": 1.0 if response is None else 0.0}))
    named = promising("metric", "m", [])
    offers = {"quantities": [{"name": f"fid{k}", "family": "distance"} for k in range(len(responses))]}
    return Battery(qualifications, rows, [named.model_copy(update={"promises": offers})])


def test_every_statement_is_answered() -> None:
    """Also by an empty battery: it cannot tell, because nothing was planted."""
    answers = compare(Battery())
    assert len(answers) == len(STATEMENTS)
    assert all(a.finding == "cannot tell" and "was planted" in a.observed for a in answers)


@pytest.mark.parametrize(
    ("responses", "finding"),
    [((5.0, 9.0, 2.0), "agrees"), ((5.0, 9.0, 0.2), "agrees"), ((0.2, -0.3, 4.0), "disagrees"), ((-5.0,), "disagrees"),
     ((5.0, 0.1), "cannot tell"), ((None, None), "agrees")],
)  # fmt: skip
def test_shares_decide(responses: tuple[float | None, ...], finding: str) -> None:
    """Two thirds agree, one third disagrees, in between it cannot tell; without a unit, what was detected counts."""
    assert found(distances("noise", *responses))["Distances worsen with noise."][0] == finding


def test_the_same_rows_may_contradict_another_expectation() -> None:
    """Distances that grow under copies disagree with the report, and it says where they went."""
    finding, observed = found(distances("memorisation", 5.0, 4.0))["Distances improve when training images are copied."]
    assert finding == "disagrees"
    assert observed == "0 of 2 responses of distances (2 quantities; the defect) became better; median response +4.5; 2 became worse."


def test_no_result_is_fixed() -> None:
    """Turning every response over turns the findings over."""
    content = content_of()
    turned = [r if r.response is None else r.model_copy(update={"response": -r.response}) for r in content.responses]
    before = found(Battery(content.qualifications, content.responses, content.components))
    after = found(Battery(content.qualifications, turned, content.components))
    for statement in ("Distances worsen with noise.", "Recall reacts to mode collapse.", "Distances improve under mode collapse."):
        assert before[statement][0] == "agrees"
        assert after[statement][0] == "disagrees"


def test_metrics_that_look_at_masks_do_not_count_among_those_of_the_whole_image() -> None:
    """A mask metric that notices local damage supports the statement about masks and leaves that about whole images alone."""
    noticed = planted("edges", "gap", "", "boundary_blur", "local_morphology", "downstream")
    blind = planted("m", "fid", "", "boundary_blur", "local_morphology", "distance")
    rows = [r.model_copy(update={"tested_on": ""}) for r in noticed[1]] + blind[1]
    components = [promising("metric", "edges", ["gap"], needs=["masks"]), promising("metric", "m", ["fid"])]
    answers = found(Battery(noticed[0] + blind[0], rows, components))
    assert answers["Damage to local morphology is nearly invisible to metrics of the whole image."][0] == "agrees"
    assert answers["The task, or a metric that looks at masks, notices damage to local morphology."][0] == "agrees"


def test_quantities_that_were_not_measured_are_named() -> None:
    """A statement on Vendi without Vendi cannot be judged."""
    finding, observed = found(distances("noise", 5.0))["Vendi score and FD-infinity are insensitive to every defect."]
    assert finding == "cannot tell"
    assert observed == "No value of Vendi and FD-infinity quantities was measured under these defects."
