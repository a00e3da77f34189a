"""Ratings as they are stored: a number, a word, or a status with a reason; nothing that a rater gave is dropped."""

from __future__ import annotations

import math

from ..quantities import NONE, Rating, members
from ..records import RatingRow
from .opinions import number_word


def as_row(rating: Rating, level: str, categories: tuple[str, ...], cell: str = "") -> RatingRow:
    """Return a rating as it is stored; one that is not on its scale is kept and marked unusable."""
    number = float(rating.value) if isinstance(rating.value, int | float) else None
    text = rating.value if isinstance(rating.value, str) else None
    status, reason = rating.status, rating.reason
    if status == "ok":
        number, text, reason = _on_scale(number, text, level, categories)
        status = "unusable" if reason else status
    if number is None and text is None and not reason:
        status, reason = "missing" if status == "ok" else status, "no answer was given"
    return RatingRow(
        cell=cell, item=rating.item, rater=rating.rater, rater_kind=rating.rater_kind, scale=rating.scale, value=number,
        text=text, status=status, reason=reason, occasion=rating.occasion, seconds=rating.seconds, source=rating.source,
        choices=rating.choices, facts=rating.facts,
    )  # fmt: skip


def _on_scale(number: float | None, text: str | None, level: str, categories: tuple[str, ...]) -> tuple[float | None, str | None, str]:
    """Return the answer as number or text, and what is wrong with it."""
    if number is None and text is None:
        return None, None, ""
    if level == "interval":
        try:
            value = number if text is None else float(text)
        except ValueError:
            return None, text, f"{text!r} is not a number"
        return value, None, "" if math.isfinite(value or 0.0) else f"{text!r} is not a number"
    said = text if text is not None else number_word(number or 0.0)
    if level == "set":
        unknown = [name for name in members(said) if name not in categories]
        return None, said or NONE, f"{unknown[0]!r} is not among the declared categories" if unknown else ""
    return number, text, f"{said!r} is not among the declared categories" if categories and said not in categories else ""
