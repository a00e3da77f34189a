"""What a reply says: the JSON object in it, each answer checked against its scale, refusals and echoes told apart."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.api import Scale, as_answer, members

_STARTS = 40
_THOUGHTS = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|$)", re.DOTALL | re.IGNORECASE)
_REFUSAL = re.compile(
    r"\W*(?:(?:i'm|i am) (?:very |so |really )?sorry|sorry\b|i apologi[sz]e|my apologies|unfortunately,? i|as an ai\b"
    r"|i (?:cannot|can't|can not|am unable|am not able|won't|will not|must decline)|i'm (?:unable|not able))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Reading:
    """What became of one reply. values: scale -> its answer. errors: scale -> what is wrong with it; "" is the reply as a whole."""

    values: Mapping[str, str | float]
    errors: Mapping[str, str]
    refused: str = ""

    def said(self) -> str:
        """Return the errors in words."""
        return "; ".join(self.errors.values())


def on_scale(answer: Any, scale: Scale) -> str | float | None:
    """Return the answer as the scale writes it, None where it is not on the scale; case and blanks around words do not matter.

    An interval scale takes a finite number or its text, a set a list of categories or their names joined by semicolons.
    """
    if isinstance(answer, bool) or answer is None:
        return None
    if scale.level == "set":
        return _as_set(answer, scale)
    if not isinstance(answer, str | int | float):
        return None
    if isinstance(answer, float) and math.isfinite(answer) and answer == int(answer):
        answer = int(answer)
    word = str(answer).strip()
    if scale.level == "interval":
        return _as_number(word)
    if scale.level == "text":
        return word or None
    return _category(word, scale) if scale.categories else word or None


def read_reply(text: str, scales: Iterable[Scale], form: Mapping[str, Any], asked: Iterable[str], *, cut_off: bool = False) -> Reading:
    """Return what a reply says on these scales.

    form: what the question showed as the object to fill in; an answer that repeats it is none. asked: the messages that were sent, which
    a reply may repeat. cut_off: the reply ended because it had used up its tokens. A key may be null where its scale has `only_if`.
    """
    wanted = {scale.name: scale for scale in scales}
    said = _THOUGHTS.sub("", text)
    for message in asked:
        said = _without(said, message)
    said = said.strip()
    found = _objects(said, set(wanted))
    if isinstance(found, str):
        if not cut_off and is_refusal(said):
            return Reading({}, {}, " ".join(said.split())[:200])
        return Reading({}, {"": _whole(found, text, said, cut_off)})
    values: dict[str, str | float] = {}
    errors: dict[str, str] = {}
    for name, scale in wanted.items():
        given = found.get(name.casefold())
        if given is None and scale.only_if:
            continue
        if isinstance(given, str) and scale.level == "text" and is_refusal(given):
            return Reading({}, {}, " ".join(given.split())[:200])
        value = None if given == form.get(name) else on_scale(given, scale)
        if value is None:
            errors[name] = _wrong(given, scale, name.casefold() in found)
        else:
            values[name] = value
    return Reading(values, errors)


def is_refusal(text: str) -> bool:
    """Whether a text without an answer begins as models begin when they refuse."""
    return bool(_REFUSAL.match(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")))


def _as_set(answer: Any, scale: Scale) -> str | None:
    if isinstance(answer, str):
        whole = _category(answer.strip(), scale)
        words: list[Any] = [whole] if whole else [*members(answer.strip().casefold())]
    elif isinstance(answer, list):
        words = [word for word in answer if word != as_answer(())] if len(answer) == 1 else answer
    else:
        return None
    found = [_category(word.strip(), scale) if isinstance(word, str) else None for word in words]
    return None if None in found else as_answer(category for category in scale.categories if category in found)


def _as_number(word: str) -> float | None:
    try:
        number = float(word)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _category(word: str, scale: Scale) -> str | None:
    return next((category for category in scale.categories if category.casefold() == word.casefold()), None)


def _wrong(given: Any, scale: Scale, there: bool) -> str:
    if not there:
        return f"the key {scale.name} is missing"
    shown = json.dumps(given, ensure_ascii=False)[:80]
    options = f"; it must be {'any' if scale.level == 'set' else 'one'} of {', '.join(scale.categories)}" if scale.categories else ""
    return f"{shown} is not on the scale {scale.name}{options}"[:400]


def _whole(why: str, text: str, said: str, cut_off: bool) -> str:
    """Say what is wrong with a reply in which there is no answer at all."""
    if not text.strip():
        return "the reply is empty"
    if cut_off:
        return "the reply was cut off at max_tokens, before its JSON object was complete"
    return why if said else "the reply repeats the question and says nothing else"


def _without(text: str, asked: str) -> str:
    """Return the reply without the question, if it repeats it; blanks and line ends may differ."""
    words = asked.split()
    if not words or len(text) < len(asked) // 2:
        return text
    return re.sub(r"\s+".join(map(re.escape, words)), " ", text)


def _objects(text: str, names: set[str]) -> dict[str, Any] | str:
    """Return the JSON object in a text that has at least one of the keys, its keys in folded case; or why there is none."""
    wanted = {name.casefold() for name in names}
    decoder = json.JSONDecoder(object_pairs_hook=_once_each, parse_constant=_no_constant)
    found: list[dict[str, Any]] = []
    place, problem = text.find("{"), ""
    for _ in range(_STARTS):
        if place < 0:
            break
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            problem = problem or (str(error) if isinstance(error, _TwiceError) else "")
            end = place + 1
        else:
            if wanted & value.keys() and value not in found:
                found.append(value)
        place = text.find("{", end)
    if len(found) > 1:
        return f"the reply holds {len(found)} different answers"
    if found:
        return found[0]
    return problem or "the reply holds no JSON object with the keys asked for"


class _TwiceError(ValueError):
    """A JSON object has a key twice."""


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    folded = [(key.casefold(), value) for key, value in pairs]
    if len(dict(folded)) < len(folded):
        raise _TwiceError("the reply's JSON object has a key twice")
    return dict(folded)


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")
