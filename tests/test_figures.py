"""Charts: well-formed, titled, and in the right place."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from harness import figures, wording
from harness.figures import Dose, Span

TITLE = "{http://www.w3.org/2000/svg}title"


def parsed(svg: str) -> ET.Element:
    """The drawing as XML; it must have words."""
    root = ET.fromstring(svg)  # noqa: S314
    title = root.find(TITLE)
    assert title is not None
    assert title.text
    return root


@pytest.mark.parametrize("name", sorted(figures.LOOKS))
def test_every_mark_has_words(name: str) -> None:
    """A mark never stands for itself alone."""
    parsed(figures.mark(name, "words"))


def test_every_word_of_the_vocabulary_has_a_mark() -> None:
    """Statuses, verdicts and outcomes can all be drawn."""
    assert {*wording.STATUSES, *wording.VERDICTS, *wording.OUTCOMES} <= set(figures.LOOKS)


def test_good_and_bad_differ_in_shape_as_well_as_colour() -> None:
    """A print without colour can be read: met, not met, undecided and conditional have shapes of their own."""
    words = ("met", "not_met", "inconclusive", "adequate_with_conditions", "adverse")
    assert len({figures.LOOKS[w][0] for w in words}) == len(words)


def test_titles_are_escaped() -> None:
    """Names from plugins cannot break the page."""
    assert parsed(figures.mark("met", "<b>&")).find(TITLE).text == "<b>&"  # type: ignore[union-attr]


def test_a_whisker_puts_values_where_the_scale_says() -> None:
    """Value at the middle, bounds at the quarters, the adequate side tinted from the threshold on."""
    svg = figures.whisker(0.5, 0.25, 0.75, Span(0.0, 1.0), "good", "t", (0.25, None), 400.0)
    parsed(svg)
    assert 'cx="200"' in svg
    assert "M100 20 L300 20" in svg
    assert '<rect x="100" y="4" width="300"' in svg


def test_open_bounds_reach_the_edge_without_a_cap() -> None:
    """A one-sided bound is not drawn as a two-sided one."""
    svg = figures.whisker(0.5, None, 0.75, Span(0.0, 1.0), "good", "t", width=400.0)
    assert "M0 20 L300 20" in svg
    assert svg.count("13 L") == 1


def test_values_beyond_the_scale_stay_on_the_chart() -> None:
    """Nothing is drawn outside its box."""
    assert Span(0.0, 1.0).at(7.0, 100.0) == 100.0
    assert Span(0.0, 1.0).at(-7.0, 100.0) == 0.0


@pytest.mark.parametrize("values", [[], [None], [0.0], [5.0, 5.0], [-1.0, None, 2.0], [1e-12], [1e9, 1e9 + 1]])
def test_spans_are_never_empty(values: list[float | None]) -> None:
    """A chart of one value, of equal values or of none still has a width, and its ticks lie inside."""
    over = figures.span(values)
    assert over.low < over.high
    assert all(over.low - 1e-9 * abs(over.low) <= t <= over.high + 1e-9 * abs(over.high) for t in over.ticks())
    parsed(figures.scale(over, "axis"))


def test_ticks_are_round() -> None:
    """Steps are 1, 2 or 5 times a power of ten."""
    assert Span(-0.13, 0.06).ticks(4) == [-0.1, -0.05, 0.0, 0.05]


def test_dose_response_draws_every_dose_with_and_without_a_band() -> None:
    """One dot per dose; a flat response and a missing band are drawn too."""
    doses = [Dose(0.0, 0.1, 0.05, 0.15), Dose(0.5, 0.3, 0.2, 0.4), Dose(1.0, 0.9, 0.8, 1.0)]
    svg = figures.dose_response(doses, (0.0, 0.2), 0.5, "good", "t")
    parsed(svg)
    assert svg.count("<circle") == 3
    parsed(figures.dose_response([Dose(0.0, 1.0, 1.0, 1.0), Dose(0.0, 1.0, 1.0, 1.0)], None, None, "bad", "t"))


def test_the_task_is_drawn_beside_the_quantity_in_another_way() -> None:
    """A dashed line with hollow dots, on the same axis."""
    doses = [Dose(0.0, 0.0, -1.0, 1.0), Dose(1.0, 50.0, 45.0, 60.0)]
    task = [Dose(0.0, 0.0, -1.0, 1.0), Dose(1.0, 2.0, 1.0, 3.0)]
    svg = figures.dose_response(doses, (-2.6, 2.6), 1.0, "good", "t", task, True)
    parsed(svg)
    assert svg.count('fill="#fff" stroke="#15202e"') == 2
    assert 'stroke-dasharray="8 5"' in svg


def test_a_folded_axis_shows_small_and_large_responses() -> None:
    """Between -2 and 300 null standard deviations, the band of 2.6 keeps a sixth of the height; ticks do not touch."""
    doses = [Dose(0.0, -2.0, -2.0, -2.0), Dose(1.0, 300.0, 300.0, 300.0)]
    svg = figures.dose_response(doses, (-2.6, 2.6), None, "good", "t", (), True)
    height = float(re.findall(r'height="([\d.]+)" fill="#eceff3"', svg)[0])
    assert height > 174 / 6
    places = sorted(float(y) for y in re.findall(r'y="([\d.]+)" text-anchor="end"', svg))
    assert len(places) >= 3
    assert all(after - before >= 20 for before, after in pairwise(places))


@pytest.mark.parametrize("look", sorted(figures.LINES))
def test_every_family_has_a_line_a_marker_and_a_key(look: str) -> None:
    """Families differ in shape as well as colour, and the legend draws what the chart draws."""
    points = (Dose(0.0, 0.0, 0.0, 0.0), Dose(0.5, 3.0, -1.0, 9.0))
    parsed(figures.overview([figures.Line(look, points)], 0.5, "t"))
    parsed(figures.line_key(look, "words"))
    assert len({shape for shape, _ in figures.LINES.values()}) == len(figures.LINES)


def test_an_overview_of_one_severity_is_a_chart_too() -> None:
    """A single dose gives markers without a line."""
    parsed(figures.overview([figures.Line("distance", (Dose(1.0, 4.0, 4.0, 4.0),))], None, "t"))


def test_severities_that_are_close_are_not_printed_over_each_other() -> None:
    """The dose of concern is always labelled."""
    doses = [Dose(s, s, s, s) for s in (0.0, 0.01, 0.02, 0.05, 1.0)]
    svg = figures.dose_response(doses, None, 0.02, "good", "t")
    assert ">0.02<" in svg
    assert ">0.01<" not in svg


def test_heads_of_columns_are_named_once_a_group() -> None:
    """The name is drawn in the first column; every column has words for those who cannot see it."""
    assert ">Gaussian noise<" in figures.column_head("Gaussian noise", "noise", 60.0, 300.0, "Gaussian noise, noise")
    later = figures.column_head("", "noise", 60.0, 300.0, "Gaussian noise, noise")
    parsed(later)
    assert "<text" not in later


def test_styles_of_the_heat_map_hold_every_response() -> None:
    """Each response has a style whose ink is the one that marks are drawn with; the style is that of a colour nearby."""
    rules = dict(re.findall(r"td\.(\w+) \{ background-color: #\w+; color: (#\w+) \}", figures.heat_styles()))
    for value in (-99.0, -4.0, -1.3, -0.01, 0.0, 0.04, 2.2, 4.0, 1e6):
        assert rules[figures.heat_class(value)] == figures.heat_ink(value)
    assert figures.heat_class(-0.5).startswith("better")
    assert figures.heat_class(0.5).startswith("worse")


def test_heat_is_white_at_zero_and_its_ink_stays_legible() -> None:
    """Teal for worse, crimson for better, light ink only on dark ground, saturated beyond the limit."""
    assert figures.heat(0.0) == ("#f8f8f8", "#15202e")
    assert figures.heat(99.0) == figures.heat(figures.HEAT_LIMIT)
    for value in (-9.0, -4.0, -2.0, -1.0, 0.5, 1.0, 2.0, 3.0, 9.0):
        ground, ink = figures.heat(value)
        light, dark = sorted((_luminance(ground), _luminance(ink)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3.0, value


def _luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.1)."""
    parts = [int(h, 16) / 255 for h in re.findall("..", colour[1:])]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_legend_is_a_drawing() -> None:
    """The colour scale has words and both ends."""
    svg = figures.heat_legend()
    parsed(svg)
    assert ">\u22124<" in svg
    assert ">4<" in svg
