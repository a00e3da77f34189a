"""Charts as small inline SVG: every drawing has a title, draws its own marks and needs no glyph that a font may lack."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from .wording import number

TONES = {
    "good": "#0b6e5b", "amber": "#b9770e", "bad": "#a3142f", "slate": "#4a5a7d", "navy": "#12304f", "grey": "#6b7684",
}  # fmt: skip
TINT = "#e7efec"
RULE = "#c9d1da"
FACE = 'font-family="IBM Plex Sans"'
HEAT_LIMIT = 4.0
HEAT_STEPS = 20
FOLDED_TICKS = (-10000.0, -1000.0, -100.0, -30.0, -10.0, -3.0, 0.0, 3.0, 10.0, 30.0, 100.0, 1000.0, 10000.0)
LINES = {
    "distance": ("disc", "#12304f"), "coverage": ("square", "#0b6e5b"), "diversity": ("triangle", "#b9770e"),
    "memorisation": ("diamond", "#a3142f"), "artefact": ("plus", "#7a5195"), "other": ("ex", "#6b7684"),
    "downstream": ("ring", "#15202e"),
}  # fmt: skip

_DISC = '<circle cx="5" cy="5" r="4.6" fill="{c}"/>'
_RING = '<circle cx="5" cy="5" r="4.1" fill="none" stroke="{c}" stroke-width="1"/>'
_SHAPES = {
    "tick": _DISC + '<path d="M2.8 5.2 4.4 6.8 7.3 3.6" fill="none" stroke="#fff" stroke-width="1.2"/>',
    "half": _RING + '<path d="M5 0.9 A4.1 4.1 0 0 1 5 9.1 Z" fill="{c}"/>',
    "bar": _RING + '<path d="M2.9 5 H7.1" stroke="{c}" stroke-width="1.2"/>',
    "ring": _RING,
    "dot": _RING + '<circle cx="5" cy="5" r="1.7" fill="{c}"/>',
    "dashed": '<circle cx="5" cy="5" r="4.1" fill="none" stroke="{c}" stroke-width="1" stroke-dasharray="1.6 1"/>',
    "cross": '<rect x="0.6" y="0.6" width="8.8" height="8.8" fill="{c}"/><path d="M3 3 7 7 M7 3 3 7" stroke="#fff" stroke-width="1.3"/>',
    "ex": '<path d="M1.6 1.6 8.4 8.4 M8.4 1.6 1.6 8.4" stroke="{c}" stroke-width="1.7"/>',
    "flag": '<path d="M5 0.9 9.4 9.1 H0.6 Z" fill="none" stroke="{c}" stroke-width="1"/>'
    '<path d="M5 3.7 V6.4 M5 7.1 V8.2" stroke="{c}" stroke-width="1.1"/>',
}
LOOKS = {
    "met": ("tick", "good"), "not_met": ("cross", "bad"), "inconclusive": ("bar", "slate"), "missing": ("dashed", "slate"),
    "invalid": ("ex", "bad"), "post_hoc": ("ring", "slate"), "unqualified": ("bar", "slate"), "insufficient_n": ("bar", "slate"),
    "adequate": ("tick", "good"), "adequate_with_conditions": ("half", "amber"), "insufficient_evidence": ("bar", "slate"),
    "inadequate": ("cross", "bad"), "not_assessed": ("dashed", "slate"),
    "qualified": ("dot", "good"), "conditional": ("ring", "slate"), "not_qualified": ("bar", "slate"), "reversed": ("ex", "bad"),
    "adverse": ("flag", "bad"),
}  # fmt: skip


@dataclass(frozen=True)
class Span:
    """The stretch of the number line that a chart shows."""

    low: float
    high: float

    def at(self, value: float, width: float) -> float:
        """Return the position of `value` on a line of this width, kept on the line."""
        return width * min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def ticks(self, about: int = 5) -> list[float]:
        """Return round numbers inside the span, about so many."""
        raw = (self.high - self.low) / max(about, 1)
        step = 10 ** math.floor(math.log10(raw))
        step *= next(m for m in (1, 2, 5, 10) if m * step >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(k * step, 12) for k in range(first, last + 1)]


def span(values: Iterable[float | None], pad: float = 0.12) -> Span:
    """Return a span that holds all known values with a margin; never empty."""
    known = [v for v in values if v is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    width = high - low or abs(high) * 0.2 or 1.0
    return Span(low - pad * width, high + pad * width)


def svg(body: str, width: float, height: float, title: str, css: str = "") -> str:
    """Wrap shapes into an inline SVG; lengths are in tenths of a millimetre."""
    extra = f' class="{css}"' if css else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg"{extra} width="{_n(width / 10)}mm" height="{_n(height / 10)}mm" '
        f'viewBox="0 0 {_n(width)} {_n(height)}"><title>{escape(title)}</title>{body}</svg>'
    )


def mark(name: str, title: str, colour: str = "") -> str:
    """Draw the mark of a status, verdict or outcome: its shape differs as well as its colour."""
    shape, tone = LOOKS[name]
    body = _SHAPES[shape].format(c=colour or TONES[tone])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="mark" width="2.5mm" height="2.5mm" viewBox="0 0 10 10">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def whisker(
    value: float | None, low: float | None, high: float | None, over: Span, tone: str, title: str,
    allowed: tuple[float | None, float | None] = (None, None), width: float = 360.0,
) -> str:  # fmt: skip
    """Draw an estimate with its bounds; the adequate side is tinted and its ends are dashed lines.

    An interval with an open end runs to the edge of the chart without a cap.
    """
    height, middle, colour = 40.0, 20.0, TONES[tone]
    parts = [_line(0, middle, width, middle, RULE, 1.6)]
    if allowed != (None, None):
        left = 0.0 if allowed[0] is None else over.at(allowed[0], width)
        right = width if allowed[1] is None else over.at(allowed[1], width)
        parts.insert(0, f'<rect x="{_n(left)}" y="4" width="{_n(max(right - left, 2))}" height="32" fill="{TINT}"/>')
        for end in (e for e in allowed if e is not None):
            x = over.at(end, width)
            parts.append(f'<path d="M{_n(x)} 1 V39" stroke="#15202e" stroke-width="2.2" stroke-dasharray="5 3"/>')
    if low is not None or high is not None:
        x0 = 0.0 if low is None else over.at(low, width)
        x1 = width if high is None else over.at(high, width)
        parts.append(_line(x0, middle, x1, middle, colour, 3.4))
        parts += [_line(x, middle - 7, x, middle + 7, colour, 3.4) for x, end in ((x0, low), (x1, high)) if end is not None]
    if value is not None:
        x = over.at(value, width)
        parts.append(f'<circle cx="{_n(x)}" cy="20" r="7" fill="{colour}"/>')
    return svg("".join(parts), width, height, title, "whisker")


def scale(over: Span, title: str, width: float = 360.0, about: int = 4) -> str:
    """Draw the axis under a column of whiskers."""
    marks = over.ticks(about)
    places = max((_places(m) for m in marks), default=0)
    parts = [_line(0, 2, width, 2, RULE, 1.6)]
    for value in marks:
        x = over.at(value, width)
        anchor = "start" if x < 20 else "end" if x > width - 20 else "middle"
        parts.append(_line(x, 2, x, 9, "#6b7684", 1.6) + _text(x, 32, number(value, places), anchor, 22, "#6b7684"))
    return svg("".join(parts), width, 38, title, "whisker")


@dataclass(frozen=True)
class Dose:
    """Values of a quantity at one severity: their mean, lowest and highest."""

    severity: float
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class _Plot:
    """The area of a chart of values against severity. folded: the axis of values is asinh, so that 2 and 200 can both be read."""

    over: Span
    top: float
    folded: bool
    width: float
    bottom: float
    inset: float
    left: float = 62.0

    def x(self, severity: float) -> float:
        return self.left + self.inset + (self.width - self.left - 2 * self.inset) * severity / self.top

    def y(self, value: float) -> float:
        return self.bottom - self.over.at(math.asinh(value) if self.folded else value, self.bottom - 8)

    def ticks(self) -> list[float]:
        if not self.folded:
            return self.over.ticks(3)
        inside = [t for t in FOLDED_TICKS if self.over.low <= math.asinh(t) <= self.over.high]
        kept: list[float] = []
        for tick in sorted(inside, key=abs):
            if all(abs(self.y(tick) - self.y(other)) >= 24 for other in kept):
                kept.append(tick)
        return kept

    def frame(self, concern: float | None, severities: Sequence[float]) -> list[str]:
        """Draw grid, axes and the dose of concern."""
        ticks, parts = self.ticks(), []
        places = 0 if self.folded else max((_places(t) for t in ticks), default=0)
        for tick in ticks:
            tone = "#aab6c4" if self.folded and tick == 0 else "#e3e7ec"
            parts.append(_line(self.left, self.y(tick), self.width, self.y(tick), tone, 1.2))
            parts.append(_text(self.left - 6, self.y(tick) + 7, number(tick, places), "end", 20, "#6b7684"))
        if concern is not None:
            path = f"M{_n(self.x(concern))} 6 V{_n(self.bottom)}"
            parts.append(f'<path d="{path}" stroke="#15202e" stroke-width="1.8" stroke-dasharray="5 3"/>')
        parts.append(_line(self.left, self.bottom, self.width, self.bottom, RULE, 1.6))
        shown: list[float] = []
        for severity in ([concern] if concern is not None else []) + sorted(severities, reverse=True):
            if all(abs(self.x(severity) - self.x(other)) >= 44 for other in shown):
                shown.append(severity)
        parts += [_text(self.x(s), self.bottom + 24, number(s), "middle", 20, "#6b7684") for s in shown]
        return parts


def _plot(
    values: Iterable[float], severities: Sequence[float], concern: float | None, folded: bool, width: float, bottom: float, inset: float
) -> _Plot:  # fmt: skip
    over = span([math.asinh(v) if folded else v for v in values], 0.08)
    return _Plot(over, max([*severities, concern or 0.0]) or 1.0, folded, width, bottom, inset)


def dose_response(
    doses: Sequence[Dose], band: tuple[float, float] | None, concern: float | None, tone: str, title: str,
    beside: Sequence[Dose] = (), folded: bool = False,
) -> str:  # fmt: skip
    """Draw a quantity against severity: range bars, mean line, the null band shaded and the dose of concern dashed.

    beside: the task under the same defect, as a dashed line with hollow dots. folded: draw values on an asinh axis.
    """
    width, height, bottom = 400.0, 210.0, 174.0
    severities = sorted({d.severity for d in (*doses, *beside)})
    values = [v for d in (*doses, *beside) for v in (d.low, d.high)] + list(band or ())
    plot = _plot(values, severities, concern, folded, width, bottom, 13.0)
    parts = []
    if band is not None:
        parts.append(f'<rect x="{_n(plot.left)}" y="{_n(plot.y(band[1]))}" width="{_n(width - plot.left)}" '
                     f'height="{_n(max(plot.y(band[0]) - plot.y(band[1]), 1.5))}" fill="#eceff3"/>')  # fmt: skip
    parts += plot.frame(concern, severities)
    for d in beside:
        parts.append(_line(plot.x(d.severity) + 5, plot.y(d.low), plot.x(d.severity) + 5, plot.y(d.high), "#15202e", 1.4))
    parts += _curve(plot, beside, "#15202e", 2.2, "8 5") if beside else []
    for d in beside:
        parts.append(_marker("ring", plot.x(d.severity), plot.y(d.mean), "#15202e", 5.5))
    parts += _curve(plot, doses, TONES[tone], 2.4, "")
    for d in doses:
        parts.append(_line(plot.x(d.severity), plot.y(d.low), plot.x(d.severity), plot.y(d.high), TONES[tone], 2.4))
        parts.append(_marker("disc", plot.x(d.severity), plot.y(d.mean), TONES[tone], 5.5))
    return svg("".join(parts), width, height, title, "dosechart")


@dataclass(frozen=True)
class Line:
    """One line of an overview: `look` is a key of LINES."""

    look: str
    points: tuple[Dose, ...]


def overview(lines: Sequence[Line], concern: float | None, title: str) -> str:
    """Draw families of quantities and the task against severity, in null standard deviations on an asinh axis.

    Each family has a colour and a marker; a thin bar runs from its lowest to its highest quantity. The task is drawn thick.
    """
    width, height, bottom = 570.0, 300.0, 262.0
    severities = sorted({p.severity for line in lines for p in line.points})
    values = [v for line in lines for p in line.points for v in (p.low, p.high)]
    plot = _plot([*values, 3.0, -3.0], severities, concern, True, width, bottom, 32.0)
    parts = plot.frame(concern, severities)
    for k, line in enumerate(lines):
        shape, colour = LINES[line.look]
        thick, aside = line.look == "downstream", 7.0 * (k - (len(lines) - 1) / 2)
        parts += [
            _line(plot.x(p.severity) + aside, plot.y(p.low), plot.x(p.severity) + aside, plot.y(p.high), colour, 1.4)
            for p in line.points if p.high > p.low
        ]  # fmt: skip
        parts += _curve(plot, line.points, colour, 4.6 if thick else 2.0, "12 6" if thick else "", aside)
        parts += [_marker(shape, plot.x(p.severity) + aside, plot.y(p.mean), colour, 7.5 if thick else 6.0) for p in line.points]
    return svg("".join(parts), width, height, title, "overview")


def line_key(look: str, title: str) -> str:
    """Draw the line and the marker of a family for a legend."""
    shape, colour = LINES[look]
    thick = look == "downstream"
    dash = ' stroke-dasharray="12 6"' if thick else ""
    body = f'<path d="M2 15 H62" stroke="{colour}" stroke-width="{4.6 if thick else 2.4}"{dash}/>' + _marker(shape, 32, 15, colour, 7.5)
    return svg(body, 64, 30, title, "linekey")


def _curve(plot: _Plot, points: Sequence[Dose], colour: str, width: float, dash: str, aside: float = 0.0) -> list[str]:
    if len(points) < 2:
        return []
    line = " L".join(f"{_n(plot.x(p.severity) + aside)} {_n(plot.y(p.mean))}" for p in points)
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return [f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="{_n(width)}"{dashes}/>']


def _marker(shape: str, x: float, y: float, colour: str, r: float) -> str:
    """Draw a marker of a curve, centred at x, y."""
    left, right, top, low = _n(x - r), _n(x + r), _n(y - r), _n(y + r)
    shapes = {
        "disc": f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(r)}" fill="{colour}"/>',
        "ring": f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(r)}" fill="#fff" stroke="{colour}" stroke-width="2"/>',
        "square": f'<rect x="{left}" y="{top}" width="{_n(2 * r)}" height="{_n(2 * r)}" fill="{colour}"/>',
        "triangle": f'<path d="M{_n(x)} {top} L{right} {low} H{left} Z" fill="{colour}"/>',
        "diamond": f'<path d="M{_n(x)} {top} L{right} {_n(y)} L{_n(x)} {low} L{left} {_n(y)} Z" fill="{colour}"/>',
        "ex": f'<path d="M{left} {top} L{right} {low} M{right} {top} L{left} {low}" stroke="{colour}" stroke-width="3"/>',
        "plus": f'<path d="M{left} {_n(y)} H{right} M{_n(x)} {top} V{low}" stroke="{colour}" stroke-width="3"/>',
    }
    return shapes[shape]


def column_head(name: str, under: str, wide: float, height: float, title: str) -> str:
    """Draw the head of a narrow column of the heat map, read upwards; without a name, only the line that joins a group of columns.

    under: a second, quieter line. wide, height: of the column's head, in tenths of a millimetre.
    """
    parts = [_line(0, height - 2, wide, height - 2, "#12304f", 2.6)]
    if name:
        parts.append(f'<g transform="translate(0 {_n(height - 12)}) rotate(-90)">{_text(0, 24, name, "start", 22, "#15202e")}'
                     f'{_text(0, 50, under, "start", 20, "#5a6777")}</g>')  # fmt: skip
    return svg("".join(parts), wide, height, title, "colhead")


def heat(value: float) -> tuple[str, str]:
    """Return background and ink of a response: teal where worse was noticed, crimson where worse looked better."""
    share = min(abs(value) / HEAT_LIMIT, 1.0) ** 0.8
    full = (14, 92, 104) if value >= 0 else (150, 26, 50)
    mixed = [round(248 + (c - 248) * share) for c in full]
    return "#" + "".join(f"{c:02x}" for c in mixed), "#ffffff" if share > 0.66 else "#15202e"


def heat_class(value: float) -> str:
    """Return the name of the style of a response: cells share few styles, which is faster to draw than a colour each."""
    return f"{'worse' if value >= 0 else 'better'}{_heat_step(value)}"


def heat_ink(value: float) -> str:
    """Return the ink of the style of a response."""
    return heat(math.copysign(HEAT_LIMIT * _heat_step(value) / HEAT_STEPS, value))[1]


def _heat_step(value: float) -> int:
    return round(HEAT_STEPS * min(abs(value) / HEAT_LIMIT, 1.0))


def heat_styles() -> str:
    """Return the style sheet of the heat map."""
    rules = []
    for step in range(HEAT_STEPS + 1):
        for name, sign in (("worse", 1), ("better", -1)):
            ground, ink = heat(sign * HEAT_LIMIT * step / HEAT_STEPS)
            rules.append(f"td.{name}{step} {{ background-color: {ground}; color: {ink} }}")
    return "\n".join(rules)


def heat_legend() -> str:
    """Draw the colour scale of the heat map."""
    steps, cell = 33, 14.0
    parts = []
    for k in range(steps):
        value = HEAT_LIMIT * (2 * k / (steps - 1) - 1)
        parts.append(f'<rect x="{_n(k * cell)}" y="0" width="{_n(cell + 0.4)}" height="22" fill="{heat(value)[0]}"/>')
    width = steps * cell
    labels = ((0.0, "start", -HEAT_LIMIT), (width / 2, "middle", 0.0), (width, "end", HEAT_LIMIT))
    parts += [_text(x, 46, number(v, 0), anchor, 22, "#6b7684") for x, anchor, v in labels]
    return svg("".join(parts), width, 52, f"Colour scale from {number(-HEAT_LIMIT, 0)} through 0 to {number(HEAT_LIMIT, 0)}")


def _places(value: float) -> int:
    text = f"{value:.10f}".rstrip("0")
    return len(text) - text.index(".") - 1


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if value else "0"


def _line(x0: float, y0: float, x1: float, y1: float, colour: str, width: float) -> str:
    return f'<path d="M{_n(x0)} {_n(y0)} L{_n(x1)} {_n(y1)}" stroke="{colour}" stroke-width="{_n(width)}"/>'


def _text(x: float, y: float, words: str, anchor: str, size: float, colour: str) -> str:
    return f'<text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}" font-size="{_n(size)}" {FACE} fill="{colour}">{escape(words)}</text>'
