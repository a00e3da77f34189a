"""Curves of responses: the right ones first, in null standard deviations, with the task beside them."""

from __future__ import annotations

import pytest
from fabricated_audit import NULL_MEAN, NULL_SD, content_of, planted, promising

from harness.batteries import Battery
from harness.content import Content
from harness.curves import PANELS, legend, overviews, panels, standardise


def battery_of(content: Content) -> Battery:
    """The battery of an audit."""
    return Battery(content.qualifications, content.responses, content.components)


def test_the_map_to_null_standard_deviations_follows_from_the_rows() -> None:
    """A lower-is-better quantity keeps its direction, a higher-is-better one is turned over; no unit gives no map."""
    for quantity, sign in (("fid", 1.0), ("recall", -1.0)):
        fold = standardise(planted("m", quantity, "", "d", "noise", "distance")[1])
        assert fold is not None
        assert fold(NULL_MEAN + sign * 5 * NULL_SD) == pytest.approx(5.0)
    assert standardise(planted("m", "copied_share", "", "d", "noise", "distance")[1]) is None
    assert standardise([]) is None


def test_rows_that_do_not_move_are_mapped_to_their_response() -> None:
    """Two equal means say nothing of the unit."""
    rows = [row.model_copy(update={"mean": 1.0, "response": 0.0}) for row in planted("m", "fid", "", "d", "noise", "distance")[1]]
    fold = standardise(rows)
    assert fold is not None
    assert fold(7.0) == 0.0


def test_panels_put_what_a_criterion_rests_on_first() -> None:
    """The pair that a criterion is qualified by comes first, whatever its response; the task is no panel of its own."""
    content = content_of()
    found, in_all = panels(battery_of(content), content.spec)
    assert (found[0].row.component, found[0].row.extractor, found[0].row.perturbation) == ("frechet", "pixels", "gaussian_noise")
    assert [d.severity for d in found[0].doses] == [0.0, 0.25, 0.5, 1.0]
    assert (len(found), in_all) == (PANELS, 80)
    assert all(p.row.component != "classification" for p in found)


def test_a_criterion_without_named_defects_rests_on_all_of_its_failure_mode() -> None:
    """Failure modes count where no perturbation is named."""
    content = content_of(1, 1)
    purpose = content.spec.purposes["augment-segmentation"]
    bare = purpose.criteria[0].model_copy(update={"qualified_by": ()})
    spec = content.spec.model_copy(update={"purposes": {"p": purpose.model_copy(update={"criteria": (bare,)})}})
    first = panels(battery_of(content), spec)[0][0].row
    assert (first.component, first.extractor, first.failure_mode) == ("frechet", "pixels", "noise")


def test_every_perturbation_has_a_panel_before_one_has_two() -> None:
    """After those that criteria rest on, the strongest contrast of each perturbation."""
    content = content_of()
    found, _ = panels(battery_of(content), None)
    assert len({p.row.perturbation for p in found[:5]}) == 5


def test_panels_show_quantity_and_task_on_one_axis() -> None:
    """Boundary blur: the quantity stays in its band, the task leaves it; the band is symmetric about nought here."""
    content = content_of()
    found, _ = panels(battery_of(content), None)
    panel = next(p for p in found if p.row.perturbation == "boundary_blur")
    assert panel.standardised
    assert panel.task == "classification.accuracy"
    assert panel.beside[-1].mean == pytest.approx(18.0)
    assert panel.band == pytest.approx((-2.6, 2.6))
    assert abs(panel.doses[-1].mean) < 1


def test_a_panel_without_a_unit_keeps_its_own() -> None:
    """No null standard deviation: no task beside it, values as measured."""
    rows = planted("m", "copied_share", "", "d", "noise", "memorisation")
    task = planted("t", "accuracy", "", "d", "noise", "downstream")
    ((panel,), in_all) = panels(Battery(rows[0] + task[0], rows[1] + task[1]), None)
    assert in_all == 1
    assert (panel.standardised, panel.beside, panel.doses[0].mean) == (False, (), NULL_MEAN)


def test_no_task_means_no_second_curve() -> None:
    """A battery of metrics alone has the same panels."""
    rows = planted("m", "fid", "", "d", "noise", "distance")
    ((panel,), _) = panels(Battery(*rows), None)
    assert (panel.task, panel.beside) == ("", ())


def test_overviews_take_the_median_of_each_family_and_its_range() -> None:
    """Both extractors count; the task is one line; a family without a unit has no place on the axis."""
    noise = overviews(battery_of(content_of()))[0]
    assert (noise.perturbation, noise.mode, noise.task) == ("gaussian_noise", "noise", "classification.accuracy")
    lines = {line.look: line for line in noise.lines}
    last = lines["distance"].points[-1]
    assert (last.mean, last.low, last.high) == pytest.approx((51.0, 42.0, 60.0))
    assert lines["downstream"].points[-1].mean == pytest.approx(1.5)
    assert dict(zip([line.look for line in noise.lines], noise.counts, strict=True)) == {
        "distance": 4, "coverage": 4, "memorisation": 2, "other": 4, "downstream": 1,
    }  # fmt: skip
    assert "distances +51.0" in noise.told({line.look: f"{line.look}s" for line in noise.lines})


def test_overviews_come_in_the_order_of_the_failure_modes() -> None:
    """Harmless changes last."""
    assert [chart.perturbation for chart in overviews(battery_of(content_of()))] == [
        "gaussian_noise", "boundary_blur", "duplication", "mode_collapse", "sub_pixel_shift",
    ]  # fmt: skip


def test_the_legend_names_only_what_is_drawn() -> None:
    """With the largest number of quantities behind a line."""
    rows = planted("m", "fid", "", "d", "noise", "distance")
    charts = overviews(Battery(*rows, [promising("metric", "m", ["fid"])]))
    assert legend(charts) == [("distance", "distances (1)")]
    assert legend([]) == []


def test_the_curve_of_a_task_is_that_of_its_first_quantity() -> None:
    """What the task promises first speaks for it, whatever its other quantities answer."""
    found = [planted("t", q, "", "d", "noise", "downstream") for q in ("brier", "accuracy")]
    louder = [r.model_copy(update={"response": 99.0 * r.severity}) for r in found[0][1]]
    components = [promising("task", "t", ["accuracy", "brier"])]
    battery = Battery(found[0][0] + found[1][0], louder + found[1][1], components)
    assert {row.quantity for row in battery.task_under("d").values()} == {"accuracy"}
