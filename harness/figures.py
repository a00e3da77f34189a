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


def dose_response(doses: Sequence[Dose], band: tuple[float, float] | None, concern: float | None, tone: str, title: str) -> str:
    """Draw a quantity against severity: range bars, mean line, the null band shaded and the dose of concern dashed."""
    width, height, left, bottom = 400.0, 230.0, 62.0, 194.0
    over = span([v for d in doses for v in (d.low, d.high)] + list(band or ()), 0.08)
    top_severity = max([d.severity for d in doses] + [concern or 0.0]) or 1.0
    x = {d.severity: left + 12 + (width - left - 26) * d.severity / top_severity for d in doses}

    def y(value: float) -> float:
        return bottom - over.at(value, bottom - 8)

    parts = []
    if band is not None:
        parts.append(f'<rect x="{_n(left)}" y="{_n(y(band[1]))}" width="{_n(width - left)}" '
                     f'height="{_n(max(y(band[0]) - y(band[1]), 1.5))}" fill="#eceff3"/>')  # fmt: skip
    ticks = over.ticks(3)
    places = max((_places(t) for t in ticks), default=0)
    for tick in ticks:
        parts.append(_line(left, y(tick), width, y(tick), "#e3e7ec", 1.2))
        parts.append(_text(left - 6, y(tick) + 7, number(tick, places), "end", 20, "#6b7684"))
    if concern is not None:
        place = left + 12 + (width - left - 26) * concern / top_severity
        parts.append(f'<path d="M{_n(place)} 6 V{_n(bottom)}" stroke="#15202e" stroke-width="1.8" stroke-dasharray="5 3"/>')
    line = " L".join(f"{_n(x[d.severity])} {_n(y(d.mean))}" for d in doses)
    parts.append(f'<path d="M{line}" fill="none" stroke="{TONES[tone]}" stroke-width="2.4"/>')
    for d in doses:
        parts.append(_line(x[d.severity], y(d.low), x[d.severity], y(d.high), TONES[tone], 2.4))
        parts.append(f'<circle cx="{_n(x[d.severity])}" cy="{_n(y(d.mean))}" r="5.5" fill="{TONES[tone]}"/>')
    parts.append(_line(left, bottom, width, bottom, RULE, 1.6))
    shown = doses if len(doses) <= 6 else [doses[0], doses[-1]]
    parts += [_text(x[d.severity], bottom + 24, number(d.severity), "middle", 20, "#6b7684") for d in shown]
    return svg("".join(parts), width, height, title, "dosechart")


def heat(value: float) -> tuple[str, str]:
    """Return background and ink of a response: teal where worse was noticed, crimson where worse looked better."""
    share = min(abs(value) / HEAT_LIMIT, 1.0) ** 0.8
    full = (14, 92, 104) if value >= 0 else (150, 26, 50)
    mixed = [round(248 + (c - 248) * share) for c in full]
    return "#" + "".join(f"{c:02x}" for c in mixed), "#ffffff" if share > 0.66 else "#15202e"


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
