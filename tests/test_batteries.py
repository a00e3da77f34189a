"""What the tables on qualification say follows from the rows of the battery alone."""

from __future__ import annotations

import pytest
from fabricated_audit import DEFECTS, PLANTED, content_of, nulls, planted, promising, qualification, untestable

from harness.batteries import MAP_WIDTH, Battery, HeatCell, eligibility, false_alarms, heat_maps, untested
from harness.components import FailureMode


def fabricated() -> Battery:
    """The battery of the fabricated audit."""
    content = content_of()
    return Battery(content.qualifications, content.responses, content.components)


def many(perturbations: int, doses: tuple[float, ...] = (0.25, 0.5, 1.0)) -> Battery:
    """One quantity under this many perturbations of as many failure modes as there are."""
    modes = [mode.value for mode in FailureMode]
    found = [planted("m", "q", "a", f"defect_{k}", modes[k % len(modes)], "distance", doses) for k in range(perturbations)]
    return Battery([q for qs, _ in found for q in qs], [r for _, rs in found for r in rs])


def test_heat_maps_hold_every_response_above_severity_nought_once() -> None:
    """Columns are the severities of each perturbation, rows the quantities; severity 0 is no defect."""
    battery = fabricated()
    cells = [cell for m in heat_maps(battery) for _, rows in m.groups for _, row in rows for cell in row if not cell.word]
    assert len(cells) == sum(r.severity > 0 for r in battery.responses)
    assert sorted(c.response for c in cells if c.response is not None) == sorted(
        r.response for r in battery.responses if r.severity > 0 and r.response is not None
    )


def test_columns_of_one_perturbation_stay_together_and_fit_the_page() -> None:
    """However many perturbations there are, a map is no wider than the page, and none is cut."""
    maps = heat_maps(many(40))
    assert all(m.width <= MAP_WIDTH for m in maps)
    places = [(k, c.perturbation) for k, m in enumerate(maps) for c in m.columns]
    assert len({name for _, name in places}) == len(set(places)) == 40
    assert len(places) == 120


def test_a_perturbation_wider_than_a_page_has_a_map_of_its_own() -> None:
    """Thirty severities are not lost."""
    doses = tuple(k / 30 for k in range(1, 31))
    found = planted("m", "q", "a", "d", "noise", "distance", doses)
    (made,) = heat_maps(Battery(*found))
    assert len(made.columns) == 30


def test_harmless_changes_are_at_the_right_and_tasks_at_the_bottom() -> None:
    """Failure modes come in the order of the vocabulary; quantities by extractor, then by family."""
    (made,) = heat_maps(fabricated())
    assert list(dict.fromkeys(c.mode for c in made.columns)) == ["noise", "local_morphology", "memorisation", "mode_collapse", "harmless"]
    assert [title for title, _ in made.groups] == ["pixels", "random_conv", "no extractor", "Downstream task"]
    assert [name for name, _ in made.groups[0][1]][:4] == ["frechet.fid", "kernel.kid", "manifold.coverage", "manifold.recall"]


def test_outcomes_stand_at_the_dose_of_concern() -> None:
    """The other severities carry no mark, nor do harmless changes."""
    (made,) = heat_maps(fabricated())
    row = dict(made.groups[0][1])["frechet.fid"]
    marked = [(c.perturbation, c.severity, cell.outcome) for c, cell in zip(made.columns, row, strict=True) if cell.outcome]
    assert marked == [
        ("gaussian_noise", 0.5, "qualified"), ("boundary_blur", 0.5, "not_qualified"), ("duplication", 0.5, "reversed"),
        ("mode_collapse", 0.5, "reversed"),
    ]  # fmt: skip


def test_what_was_not_tested_differs_from_what_was_not_planned() -> None:
    """A pair with a reason is untested, a pair without a row has a dash; a quantity without either is not in the map."""
    (made,) = heat_maps(fabricated())
    groups = dict(made.groups)
    assert {cell.word for cell in groups["no extractor"][0][1]} == {"untested"}
    assert {cell.word for cell in groups["Downstream task"][0][1] if cell.word} == {"\u2013"}


@pytest.mark.parametrize(
    ("response", "printed"),
    [(0.04, "+0.0"), (-0.31, "\u22120.3"), (9.94, "+9.9"), (9.96, "+10"), (-54.4, "\u221254"), (999.0, "+999"), (12345.0, ">999"),
     (-5000.0, "<\u2212999")],
)  # fmt: skip
def test_cells_print_two_significant_digits(response: float, printed: str) -> None:
    """With a sign, a true minus, and no number wider than its column."""
    assert HeatCell(response).text == printed


def test_a_response_without_a_unit_prints_the_share_detected() -> None:
    """Where null splits do not vary there is no standard deviation to count in."""
    assert HeatCell(None, 0.95).text == "95 %"


def test_long_names_are_cut_to_the_height_of_the_head() -> None:
    """The whole name is in the words of the column."""
    (made,) = heat_maps(Battery(*planted("m", "q", "a", "d" * 64, "noise", "distance")))
    assert len(made.columns[0].name) <= 26
    assert made.head < 40


def test_an_empty_battery_has_no_tables() -> None:
    """Nothing was planted: nothing is drawn."""
    empty = Battery()
    assert (heat_maps(empty), eligibility(empty, []), false_alarms(empty, []), untested(empty)) == ([], [], [], [])


def test_eligibility_names_extractors_only_where_they_differ() -> None:
    """A quantity that every extractor qualifies needs no bracket; claims are listed by failure mode."""
    rows = [
        qualification("m", "q", "a", "d", "noise", 0),
        qualification("m", "q", "b", "d", "noise", 0),
        qualification("m", "r", "a", "d", "noise", 0),
        qualification("m", "r", "b", "d", "noise", 3),
    ]
    (found,) = eligibility(Battery(rows), [("noise", "P1-C1"), ("noise", "P1-C1")])
    assert (found.mode, found.claims, found.n, found.perturbations, found.pairs) == ("noise", ("P1-C1",), (120,), 1, 4)
    assert [(s.outcome, s.pairs, s.said) for s in found.standings] == [
        ("qualified", 3, (("1 of 1", "m.q, r (a)"),)), ("reversed", 1, (("0 of 1", "m.r (b)"),)),
    ]  # fmt: skip


def test_eligibility_counts_the_perturbations_that_were_noticed() -> None:
    """One qualified perturbation admits a quantity to a mode; one reversed perturbation bars it."""
    rows = [qualification("m", "q", "", f"d{k}", "noise", outcome) for k, outcome in enumerate((0, 2, 2))]
    rows += [qualification("m", "r", "", f"d{k}", "noise", outcome) for k, outcome in enumerate((0, 0, 3))]
    (found,) = eligibility(Battery(rows), [])
    assert [(s.outcome, s.said) for s in found.standings] == [("qualified", (("1 of 3", "m.q"),)), ("reversed", (("2 of 3", "m.r"),))]


def test_a_conditional_quantity_names_the_harmless_change() -> None:
    """With how far it moved, where that has a unit."""
    row = qualification("m", "q", "", "d", "noise", 1).model_copy(update={"harmless": "sub_pixel_shift", "harmless_response": -3.04})
    (found,) = eligibility(Battery([row]), [])
    assert found.standings[0].said == (("1 of 1, but moved by \u22123.0 under sub pixel shift", "m.q"),)
    bare = row.model_copy(update={"harmless_response": None})
    assert eligibility(Battery([bare]), [])[0].standings[0].said[0][0] == "1 of 1, but moved under sub pixel shift"


def test_harmless_changes_are_no_failure_mode_to_speak_to() -> None:
    """A claimed mode that nobody planted is listed, a harmless change is not."""
    modes = [e.mode for e in eligibility(fabricated(), [("label_noise", "P1-C1")])]
    assert modes == ["noise", "local_morphology", "memorisation", "mode_collapse", "label_noise"]


def test_alarms_are_counted_on_the_splits_that_did_not_set_the_band() -> None:
    """Two of the last hundred; unknown where the splits are not stored."""
    found = {(a.row.component, a.row.extractor): a for a in false_alarms(fabricated(), nulls("frechet", "fid", "pixels"))}
    assert (found["frechet", "pixels"].alarms, found["frechet", "pixels"].checked) == (2, 100)
    assert found["kernel", "pixels"].alarms is None


def test_each_null_band_is_listed_once() -> None:
    """A band that serves all perturbations is one line."""
    battery = fabricated()
    assert len(false_alarms(battery, [])) == len({(r.component, r.quantity, r.extractor) for r in battery.responses})


def test_reasons_are_counted_and_negative_controls_are_none() -> None:
    """A harmless change has no outcome by design, which is no reason; one that could not be tested has one."""
    assert untested(fabricated()) == [("not tested: needs masks, and these images have none", len(PLANTED))]
    control = planted("m", "q", "", "flip", "harmless", "other")
    assert untested(Battery(*control)) == []
    assert len(untested(Battery([untestable("m", "q", "", "flip", "harmless")]))) == 1


def test_metrics_that_look_at_masks_are_local() -> None:
    """What a metric needs or claims to see says so."""
    sees = promising("metric", "edges", ["gap"], sees=["local_morphology"])
    masks = promising("metric", "masks", ["gap"], needs=["masks"])
    assert Battery((), (), [sees, masks, promising("metric", "frechet", ["fid"])]).local == {"edges", "masks"}


def test_only_defects_of_the_named_modes_answer_at_the_dose_of_concern() -> None:
    """One response per quantity, extractor and perturbation."""
    made = fabricated()
    rows = made.at(made.concern, ["distance"], [mode for _, mode in DEFECTS])
    assert len(rows) == 2 * 2 * len(DEFECTS)
    assert {r.severity for r in rows} == {0.5}
