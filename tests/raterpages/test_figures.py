"""The charts of the chapter on raters: in the right place, on one axis, in words too."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from harness.raterpages.figures import LABEL, WIDTH, Plot, Point, Strip, dot_whiskers, look_key


def plot(*strips: Strip, low: float = 0.0, high: float = 1.0) -> Plot:
    """A plot of two lines."""
    return Plot("Agreement.", "Fabricated.", ("all", "<real>"), strips, low, high, (0.0,), (("disc", "real"), ("ring", "synthetic")))


def dots(svg: str) -> list[tuple[float, float]]:
    """The centres of the dots."""
    return [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', svg)]


def test_dots_lie_on_the_axis_of_their_panel() -> None:
    """Equal values stand at equal places of two panels; larger ones to the right; lines below one another."""
    found = plot(Strip("FK", ((Point(0.5, 0.2, 0.8),), (Point(0.9, 0.8, 1.0),))), Strip("KA", ((Point(0.5, None, 0.8),), ())))
    svg = dot_whiskers(found)
    ET.fromstring(svg)  # noqa: S314
    (a, top), (b, below), (c, _) = dots(svg)
    assert LABEL < a < b < c < WIDTH
    assert top < below
    wide = (WIDTH - LABEL - 36) / 2
    assert c - a == wide + 36
    assert "&lt;real&gt;" in svg


def test_the_axis_holds_every_end_of_every_panel() -> None:
    """Negative coefficients stay on the chart."""
    found = plot(Strip("FK", ((Point(-0.3, -0.5, 0.1),), ())))
    assert found.over.low <= -0.5
    assert found.over.high >= 1.0


def test_an_open_end_has_no_cap() -> None:
    """An interval without a lower end runs to the edge of its panel."""
    closed = dot_whiskers(plot(Strip("FK", ((Point(0.5, 0.2, 0.8),), ()))))
    opened = dot_whiskers(plot(Strip("FK", ((Point(0.5, None, 0.8),), ()))))
    assert len(re.findall(r"V\d", closed)) == len(re.findall(r"V\d", opened)) + 1
    assert f"M{LABEL:.1f} 56.0 H" in opened


def test_two_points_of_a_line_do_not_cover_each_other() -> None:
    """Real and synthetic stand at different heights, filled and hollow."""
    svg = dot_whiskers(plot(Strip("mean", ((Point(0.5, 0.4, 0.6, "disc"), Point(0.5, 0.4, 0.6, "ring")), ()))))
    (_, first), (_, second) = dots(svg)
    assert second - first >= 12
    assert 'fill="#fff"' in svg


def test_the_figure_says_its_values_in_words() -> None:
    """A reader who does not see the chart hears every value with its interval; a line without one is named."""
    words = plot(Strip("FK", ((Point(0.5, 0.2, 0.8), Point(0.25, None, None, "ring")), ()))).words
    assert "FK, all: real 0.50 [0.20, 0.80], synthetic 0.25; FK, <real>: no value" in words
    assert "&lt;real&gt;: no value" in dot_whiskers(plot(Strip("FK", ((), ()))))


def test_long_names_are_shortened_on_the_chart_alone() -> None:
    """The name keeps its full length in the words."""
    name = "a part of the items with a very long name"
    found = Plot("T.", "", (name,), (Strip("FK", ((Point(0.5, 0.2, 0.8),),)),), 0.0, 1.0)
    assert name in found.words
    assert f">{name}<" not in dot_whiskers(found)


def test_the_legend_draws_each_look() -> None:
    """Filled and hollow differ without colour."""
    assert 'fill="#fff"' in look_key("ring", "synthetic")
    assert 'fill="#fff"' not in look_key("disc", "real")
