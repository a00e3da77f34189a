"""The charts of the chapter on raters: dots with intervals, one panel beside another, as inline SVG."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Literal

from ..figures import FACE, RULE, TONES, Span, span, svg
from ..wording import estimate, number

WIDTH, LABEL, GAP, HEAD, LINE, FOOT = 1800.0, 330.0, 36.0, 34.0, 44.0, 44.0
LONGEST_LABEL, INK, QUIET = 26, "#15202e", "#5a6777"
LOOKS: dict[str, tuple[bool, str]] = {"disc": (True, "navy"), "ring": (False, "amber"), "grey": (False, "slate")}


@dataclass(frozen=True)
class Point:
    """An estimate with the ends of its interval, None where there is none. look: a key of LOOKS."""

    value: float
    low: float | None
    high: float | None
    look: Literal["disc", "ring", "grey"] = "disc"


@dataclass(frozen=True)
class Strip:
    """One panel of a plot: what it shows, and the points of each line; a line without a value has none."""

    head: str
    lines: tuple[tuple[Point, ...], ...]


@dataclass(frozen=True)
class Plot:
    """A figure of dots with intervals: the names of the lines, the panels beside one another on one axis, and its caption.

    marks: positions of dashed lines. low, high: the least stretch that the axis shows. legend: what the looks stand for.
    """

    title: str
    note: str
    names: tuple[str, ...]
    strips: tuple[Strip, ...]
    low: float
    high: float
    marks: tuple[float, ...] = ()
    legend: tuple[tuple[str, str], ...] = ()
    kind: str = field(default="plot", init=False)

    @property
    def over(self) -> Span:
        """The stretch of the number line that all panels share."""
        points = [p for strip in self.strips for line in strip.lines for p in line]
        ends = [end for p in points for end in (p.value, p.low, p.high)]
        return span([self.low, self.high, *ends], 0.04)

    @property
    def words(self) -> str:
        """The same in words, for readers who do not see the figure: every line of every panel with its values."""
        called = dict(self.legend)
        said = []
        for strip in self.strips:
            for name, points in zip(self.names, strip.lines, strict=True):
                values = [
                    f"{called[p.look]} {estimate(p.value, p.low, p.high)}" if p.look in called else estimate(p.value, p.low, p.high)
                    for p in points
                ]
                said.append(f"{strip.head}, {name}: {', '.join(values) or 'no value'}")
        return f"{self.title} " + "; ".join(said)


def dot_whiskers(plot: Plot) -> str:
    """Draw the panels side by side; lines share a height, all panels share an axis, intervals with an open end have no cap there."""
    over = plot.over
    wide = (WIDTH - LABEL - GAP * (len(plot.strips) - 1)) / len(plot.strips)
    bottom = HEAD + LINE * len(plot.names)
    parts = [
        _words(0, HEAD + LINE * (k + 0.5) + 8, name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "\u2026", "start", INK)
        for k, name in enumerate(plot.names)
    ]
    for j, strip in enumerate(plot.strips):
        left = LABEL + j * (wide + GAP)
        parts += _frame(plot, strip.head, left, wide, bottom, over)
        for k, points in enumerate(strip.lines):
            middle = HEAD + LINE * (k + 0.5)
            for i, point in enumerate(points):
                parts += _point(point, left, wide, middle + 15 * (i - (len(points) - 1) / 2), over)
    return svg("".join(parts), WIDTH, bottom + FOOT, plot.words, "whiskers")


def look_key(look: str, title: str) -> str:
    """Draw a dot with its bar for the legend."""
    filled, tone = LOOKS[look]
    return svg(_bar(4, 60, 15, TONES[tone]) + _dot(32, 15, filled, TONES[tone]), 64, 30, title, "linekey")


def _frame(plot: Plot, head: str, left: float, wide: float, bottom: float, over: Span) -> list[str]:
    """Draw the head, the axis with its ticks and the dashed lines of one panel."""
    parts = [_words(left, 22, head, "start", QUIET)]
    parts.append(f'<path d="M{left:.1f} {bottom:.1f} H{left + wide:.1f}" stroke="{RULE}" stroke-width="1.6"/>')
    for tick in over.ticks(5 if wide > 400 else 3):
        x = left + over.at(tick, wide)
        parts.append(f'<path d="M{x:.1f} {HEAD:.1f} V{bottom + 6:.1f}" stroke="#e3e7ec" stroke-width="1.4"/>')
        parts.append(_words(x, bottom + 32, number(tick), "middle", QUIET))
    for place in plot.marks:
        x = left + over.at(place, wide)
        parts.append(f'<path d="M{x:.1f} {HEAD:.1f} V{bottom:.1f}" stroke="{INK}" stroke-width="2" stroke-dasharray="5 4"/>')
    return parts


def _point(point: Point, left: float, wide: float, y: float, over: Span) -> list[str]:
    filled, tone = LOOKS[point.look]
    colour = TONES[tone]
    parts = []
    if point.low is not None or point.high is not None:
        x0 = left if point.low is None else left + over.at(point.low, wide)
        x1 = left + wide if point.high is None else left + over.at(point.high, wide)
        parts.append(_bar(x0, x1, y, colour, point.low is not None, point.high is not None))
    return [*parts, _dot(left + over.at(point.value, wide), y, filled, colour)]


def _bar(x0: float, x1: float, y: float, colour: str, left_cap: bool = True, right_cap: bool = True) -> str:
    caps = "".join(f" M{x:.1f} {y - 5:.1f} V{y + 5:.1f}" for x, capped in ((x0, left_cap), (x1, right_cap)) if capped)
    return f'<path d="M{x0:.1f} {y:.1f} H{x1:.1f}{caps}" stroke="{colour}" stroke-width="2.6"/>'


def _dot(x: float, y: float, filled: bool, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{colour if filled else "#fff"}" stroke="{colour}" stroke-width="2.4"/>'


def _words(x: float, y: float, text: str, anchor: str, colour: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="23" {FACE} fill="{colour}">{escape(text)}</text>'
