"""The words and numbers of the dossier: status words, printed numbers, and the lint that keeps claims out of it."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from decimal import Decimal

NOTICE = (
    "This dossier reports measurements and the outcome of rules declared in advance. It is not a certificate, a conformity "
    "assessment, an assurance opinion or regulatory advice, and does not state that the audited item or any product using it "
    "is safe, effective or compliant. Decisions remain with the responsible manufacturer and the competent authority."
)

VERDICTS = {
    "adequate": "Adequate for purpose",
    "adequate_with_conditions": "Adequate with conditions",
    "insufficient_evidence": "Insufficient evidence",
    "inadequate": "Inadequate for purpose",
    "not_assessed": "Not assessed",
}
STATUSES = {
    "met": "Met",
    "not_met": "Not met",
    "inconclusive": "Inconclusive",
    "missing": "Missing",
    "invalid": "Invalid",
    "post_hoc": "Post hoc",
    "unqualified": "Not qualified",
    "insufficient_n": "n below minimum",
}
OUTCOMES = {
    "qualified": "qualified",
    "conditional": "conditional",
    "not_qualified": "not qualified",
    "reversed": "reversed",
}
KINDS = {"E1": "upstream metric", "E2": "task on real cases", "E3": "experts", "E4": "model judge"}
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip

_BANNED = (
    r"(?<!board-)\bcertif\w*",
    r"\bcompl(?:ian\w*|y|ies|ied)\b",
    r"\bconform\w*(?!\w*\s+(?:to|with)\s+PDF/)",
    r"\bapproved\b",
    r"\bvalidated\b",
    r"\bsafe(?:ly|r)?\b",
    r"\beffective(?:ly|ness)?\b",
    r"\bassur(?:ed|ance)\b",
    r"\bguarantee\w*",
    r"\bproven\b",
    r"\btrustworth\w*",
    r"\bpasses\b",
    r"\bFDA[- ]ready\b",
    r"\b(?:adequacy scores?|scores? of adequacy)\b",
)
_LINT = re.compile("|".join(f"(?:{p})" for p in _BANNED), re.IGNORECASE)
_NO_EVIDENCE = re.compile(r"\bno evidence of\b", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=\S)|\n+")
_HYPHEN_MINUS = re.compile(r"(?<![\w.)])-(?=\.?\d)")


def check(text: str) -> list[str]:
    """Return one line per word that a dossier must not use, with the sentence that holds it; the fixed notice is exempt."""
    found = []
    for sentence in filter(None, map(str.strip, _SENTENCE.split(text.replace(NOTICE, "\n")))):
        words = [match.group() for match in _LINT.finditer(sentence)]
        if _NO_EVIDENCE.search(sentence) and not re.search(r"\d", sentence):
            words.append("no evidence of (without the size that would have been detected)")
        found += [f'the word "{word}" in "{sentence}"' for word in words]
    return found


def decimals(value: float | None, low: float | None = None, high: float | None = None, limits: tuple[float, ...] = ()) -> int:
    """Decimals that show an interval with two significant digits (a lone value with three).

    One more digit is taken as long as a bound that differs from a limit would be printed equal to it.
    """
    known = [v for v in (value, low, high) if v is not None]
    width = high - low if low is not None and high is not None else 0.0
    size = max((abs(v) for v in known), default=0.0)
    places = 1 - math.floor(math.log10(width)) if width > 0 else 0 if size == round(size) else 2 - math.floor(math.log10(size))
    places = min(max(places, 0), 6)
    ends = [v for v in (low, high) if v is not None]
    while places < 9 and any(e != t and round(e, places) == round(t, places) for e in ends for t in limits):
        places += 1
    return places


def number(value: float, places: int | None = None) -> str:
    """Print a number with thousands separators and a true minus sign."""
    if isinstance(value, int) and places is None:
        return f"{value:,}".replace("-", "\u2212")
    value = value or 0.0  # there is no negative nought
    alone, places = places is None, decimals(value) if places is None else places
    text = f"{value:,.{places}f}"
    text = text.rstrip("0").rstrip(".") if alone and "." in text else text
    if value != 0 and float(text.replace(",", "")) == 0.0:
        text = f"{value:.2g}" if places >= 6 else f"{0:.{places}f}"
    return text.replace("-", "\u2212")


def declared(value: float) -> str:
    """Print a number that the plan declares, with every digit that was declared."""
    return format(Decimal(repr(float(value))).normalize(), "f").replace("-", "\u2212")


def at_mix(real: float | None, synthetic: float | None, before: str = "") -> str:
    """Print the training mix that a task is judged at, after what stands before; nothing where no task is judged."""
    return "" if real is None or synthetic is None else f"{before}trained on mix ({declared(real)}, {declared(synthetic)})"


def estimate(value: float, low: float | None, high: float | None, unit: str = "1", limits: tuple[float, ...] = ()) -> str:
    """Print `value [low, high] unit`, all with the same decimals; an open end of the interval is written out."""
    if low is None and high is None:
        text = number(value)
    else:
        places = decimals(value, low, high, limits)
        ends = ["open" if end is None else number(end, places) for end in (low, high)]
        text = f"{number(value, places)} [{', '.join(ends)}]"
    return text if unit in ("1", "") else f"{text} {unit}"


def signed(value: float, places: int = 1) -> str:
    """Print a number with its sign, plus included."""
    text = number(value, places)
    return text if text.startswith("\u2212") else f"+{text}"


def minus(text: str) -> str:
    """Replace hyphens that stand for a minus sign."""
    return _HYPHEN_MINUS.sub("\u2212", text)


def utc(moment: datetime) -> datetime:
    """The moment in UTC; a moment without zone is taken as UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def day(moment: datetime) -> str:
    """Print the day, as in 2 September 2026."""
    m = utc(moment)
    return f"{m.day} {MONTHS[m.month - 1]} {m.year}"


def stamp(moment: datetime) -> str:
    """Print the second, as in 2026-09-02 08:14:07 UTC."""
    return utc(moment).strftime("%Y-%m-%d %H:%M:%S UTC")


def words(name: str) -> str:
    """Print an identifier as words: `augment-segmentation` becomes Augment segmentation."""
    text = re.sub(r"[-_]+", " ", name).strip()
    return text[:1].upper() + text[1:]


def counted(n: int, noun: str, plural: str = "") -> str:
    """Print a count with its noun: 1 image, 2 images."""
    return f"{number(n)} {noun if n == 1 else plural or noun + 's'}"


def listed(names: list[str]) -> str:
    """Print a list in words: a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "none"
