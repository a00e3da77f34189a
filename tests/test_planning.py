"""What `harness plan` says: the battery and its budget, how many images criteria need, and what cannot work."""

from __future__ import annotations

from typing import Any

import pytest

from harness.planning import lines
from tiny_audit import MODEL, Project

COPIES = {
    "id": "C1", "claim": "Training images are not reproduced", "quantity": "memorisation.copied_share", "at_most": 0.03,
    "failure_modes": ["memorisation"], "because": "a test", "one_kind_because": "a test",
}  # fmt: skip


def said(project: Project, **changes: Any) -> str:
    """The plan of the tiny audit with these changes."""
    project.write(**changes)
    return "\n".join(lines(project.audit()))


def purposes(*criteria: dict[str, Any]) -> dict[str, Any]:
    """One purpose with these criteria."""
    return {"augment": {"context_of_use": "adds to real images", "uses_model": False, "criteria": list(criteria)}}


def test_the_battery_is_described_with_its_cost(project: Project) -> None:
    """Perturbations, doses, replicates, null splits and seeds; six replicates can qualify nothing, and that is said."""
    text = said(project)

    assert "battery    1 perturbations at 3 doses, 6 replicates a dose, 24 null splits, 1 fault seeds: about" in text
    assert "6 replicates can qualify nothing" in text


def test_a_budget_gives_up_replicates_first_and_says_so(project: Project) -> None:
    """A tight budget costs replicates, a tighter one null splits too, an impossible one is named; without one nothing is given up."""
    body = MODEL["battery"] | {"replicates": 40, "null_splits": 200, "fault_seeds": 2}
    whole = said(project, battery=body)
    seconds = float(whole.split("fault seeds: about ")[1].split(" s ")[0])

    assert "given up" not in whole
    some = said(project, battery=body | {"budget": seconds * 0.92})
    assert "replicates at each dose" in some
    assert "of 200 null splits" not in some
    more = said(project, battery=body | {"budget": f"{seconds * 0.8:.0f}s"})
    assert "26 of 40 replicates at each dose" in more
    assert "of 200 null splits" in more
    none = said(project, battery=body | {"budget": 1})
    assert "1 of 3 doses" in none
    assert "still needs about" in none


def test_a_preset_adds_the_perturbations_that_the_data_allow(project: Project) -> None:
    """The tiny audit has masks, labels and one group; without masks nothing is planted in lesions."""
    with_masks = said(project, battery={"preset": "ultrasound"})
    names = {p.name for p in project.parts().perturbations}
    assert {"speckle_noise", "boundary_blur", "density_shift", "label_swap", "reorder", "gaussian_noise"} <= names
    assert "rician_noise" not in names
    project.write(battery={"preset": "ultrasound"}, data={k: v for k, v in MODEL["data"].items() if k not in ("masks", "groups")})
    fewer = {p.name for p in project.parts().perturbations}
    assert not fewer & {"boundary_blur", "density_shift", "mask_misalignment"}
    assert "perturbations at" in with_masks


def test_a_listed_perturbation_keeps_its_own_options_beside_a_preset(project: Project) -> None:
    """What the user writes about a perturbation replaces what the preset would choose, and it is planted once."""
    own = {"gaussian_noise": {"doses": [0.3, 0.6], "dose_of_concern": 0.6, "because": "a test"}}
    project.write(battery={"preset": "mri"}, perturbations=[own])
    found = [p for p in project.parts().perturbations if p.name == "gaussian_noise"]

    assert [p.component.doses for p in found] == [(0.3, 0.6)]  # type: ignore[attr-defined]


def test_shares_are_planned_before_anything_is_measured(project: Project) -> None:
    """None copied among 99 images bounds the share at 3 %; more are needed if some are copied."""
    text = said(project, purposes=purposes(COPIES), perturbations=["duplication"])
    assert "augment C1: at least 99 images if the share is 0; " in text
    assert "for a power of 80%" in text


def test_other_quantities_need_a_first_run(project: Project) -> None:
    """A mean has no spread before it was measured; a value that depends on the number of images is not planned at all."""
    ratio = {k: v for k, v in COPIES.items() if k != "at_most"} | {"quantity": "memorisation.nndr", "at_least": 0.5}
    assert "how many images it needs is not known before a first run" in said(project, purposes=purposes(ratio))
    fid = COPIES | {"quantity": "frechet.fid", "at_most": 5.0}
    assert "its value depends on the number of images" in said(project, purposes=purposes(fid))


@pytest.mark.parametrize(("change", "text"), [
    ({"failure_modes": ["blur"]}, "no perturbation plants blur; the criterion cannot be met"),
    ({"failure_modes": []}, "names no failure mode, so nothing can qualify its metric"),
])  # fmt: skip
def test_what_cannot_work_is_said(project: Project, change: dict[str, Any], text: str) -> None:
    """A criterion that nothing can qualify is named before it costs anything."""
    assert text in said(project, purposes=purposes(COPIES | change), perturbations=["duplication"])
