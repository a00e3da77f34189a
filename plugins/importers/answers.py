"""From answers as a file holds them to ratings: what a word means, what is missing, what is off the scale, what is there twice."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from harness.api import Context, InputError, Problem, Rating, RatingImporter, as_answer, members

from .oddities import oddities


def _word(value: Any) -> Any:
    """Return a number of `model.yaml` as the word that a file holds."""
    if isinstance(value, float) and value == int(value):
        value = int(value)
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Word = Annotated[str, BeforeValidator(_word)]
NUMBER = re.compile(r"[-+]?(0|[1-9]\d*)(\.\d+)?")
_COMMA = re.compile(r"[-+]?(0|[1-9]\d*),\d+")
_POINT_NOUGHT = re.compile(r"([-+]?\d+)\.0+")
_SHOWN_PLACES = 5


@dataclass(frozen=True)
class Answer:
    """What one rater wrote about one item, word for word. place: in the file, such as 12 or Sheet1!D12; where: with the path.

    free: free text. several: the categories of a set, where the file keeps them apart. fault: why it cannot be used; gap: why there is
    none. choices: of how many pictures one was picked.
    """

    item: str
    rater: str
    scale: str
    word: str
    source: str
    where: str
    occasion: str = "1"
    seconds: float | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    free: bool = False
    several: tuple[str, ...] | None = None
    fault: str = ""
    gap: str = ""
    choices: int | None = None

    @property
    def place(self) -> str:
        """Where in the file it stands."""
        return self.source.split(":", 1)[-1]

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Which answers are of one rater about one item on one scale on one occasion."""
        return self.item, self.rater, self.scale, self.occasion


@dataclass(frozen=True)
class _Meaning:
    """What a word of a file means on a scale: a category, a number, or nothing; with a reason where it is not usable."""

    value: str | None
    status: str = "ok"
    reason: str = ""


class RatedFile(RatingImporter):
    """What every importer of a file can be told about the answers in it."""

    path: Path
    categories: dict[str, tuple[Word, ...]] | tuple[Word, ...] = Field(default_factory=dict)
    limits: dict[str, tuple[float, float]] = Field(default_factory=dict)
    texts: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    same: dict[Word, Word | dict[Word, Word]] = Field(default_factory=dict)
    missing: tuple[Word, ...] = ("NA",)
    decimal: Literal[".", ","] | None = None
    duplicates: Literal["refuse", "identical", "set"] = "refuse"

    @model_validator(mode="after")
    def _scales_agree(self) -> Self:
        for name, (low, high) in self.limits.items():
            if not low < high:
                raise ValueError(f"limits of {name}: [{low:g}, {high:g}] is no range; the lower end comes first")
        if self.duplicates == "set" and not self.sets:
            raise ValueError("duplicates: set joins rows into one answer of several categories: name the scale under sets")
        return self

    def inputs(self) -> tuple[Path, ...]:
        """Return the file."""
        return (self.path,)

    def settled(self, answers: Sequence[Answer], context: Context) -> Iterator[Rating]:
        """Yield a rating per answer in the order of the file; every problem of the file at once. Notes go to `context.note`."""
        if not answers:
            raise InputError(Problem("the file holds no rating", str(self.path), "check the options that say where they are"))
        desk = _Desk(self, {})
        meanings = desk.meanings(answers)
        rated = [(answer, desk.rating(answer, meanings)) for answer in answers]
        kept = list(desk.kept(rated))
        facts = desk.facts(answers)
        if desk.problems:
            raise InputError(*desk.problems)
        ratings = [rating.model_copy(update={"facts": facts.get(rating.item, {})}) for rating in kept]
        free = frozenset(self.texts) | {answer.scale for answer in answers if answer.free}
        for subject, text in (desk.notes | oddities(ratings, free)).items():
            context.note(f"{self.path.name}: {subject}", text)
        yield from ratings

    def declared(self, scale: str) -> tuple[str, ...]:
        """Return the categories that were declared for a scale, none where none were."""
        if isinstance(self.categories, tuple):
            return () if scale in self.texts or scale in self.limits else self.categories
        return self.categories.get(scale, ())

    def replaced(self, scale: str) -> dict[str, str]:
        """Return what stands for what on a scale."""
        everywhere = {word: meant for word, meant in self.same.items() if isinstance(meant, str)}
        own = self.same.get(scale, {})
        return everywhere | (own if isinstance(own, dict) else {})


class _Desk:
    """Settles the answers of one file and gathers what is wrong and what must be known."""

    def __init__(self, rules: RatedFile, notes: dict[str, str]) -> None:
        self.rules = rules
        self.notes = notes
        self.problems: list[Problem] = []

    def meanings(self, answers: Sequence[Answer]) -> dict[tuple[str, str], _Meaning]:
        """Return (scale, word as written) -> what it means; spellings that differ only in case or spaces become problems."""
        written: dict[str, dict[str, list[Answer]]] = defaultdict(lambda: defaultdict(list))
        for answer in answers:
            if not (answer.free or answer.fault or answer.gap):
                for word in self._words(answer):
                    written[answer.scale][word].append(answer)
        self._decimals = self._decimal_scales(written)
        found = {}
        for scale, words in written.items():
            found.update({(scale, word): self._meaning(scale, word) for word in words})
            self._ask(scale, words, found)
        self._say_unused(written)
        return found

    def _words(self, answer: Answer) -> tuple[str, ...]:
        if answer.several is not None:
            return answer.several
        is_set = answer.scale in self.rules.sets and answer.word.strip() not in {"", "none", *self.rules.missing}
        return members(answer.word) if is_set else (answer.word,)

    def _meaning(self, scale: str, written: str) -> _Meaning:
        categories, replaced = self.rules.declared(scale), self.rules.replaced(scale)
        word = replaced.get(written, replaced.get(written.strip(), written))
        bare = word.strip()
        if word in categories:
            return _Meaning(word)
        if not bare:
            return _Meaning(None, "missing", "the value is empty")
        if bare in self.rules.missing:
            return _Meaning(None, "missing", f"{bare} stands for a missing value")
        if scale in self.rules.texts:
            return _Meaning(bare)
        number = _number(bare.replace(",", ".") if scale in self._decimals else bare)
        if scale in self.rules.limits:
            return self._within(scale, bare, number)
        if categories:
            same = next((c for c in categories if number is not None and _number(c) == number), None)
            return _Meaning(same) if same is not None else _Meaning(bare, "unusable", f"{bare!r} is not among the declared categories")
        return _Meaning(bare if number is None else _as_word(bare, scale in self._decimals))

    def _within(self, scale: str, word: str, number: float | None) -> _Meaning:
        low, high = self.rules.limits[scale]
        if number is None:
            return _Meaning(word, "unusable", f"{word!r} is not a number")
        if not low <= number <= high:
            return _Meaning(word, "unusable", f"{word} is off the scale, which goes from {low:g} to {high:g}")
        return _Meaning(_as_word(word, scale in self._decimals))

    def _decimal_scales(self, written: Mapping[str, Mapping[str, Sequence[Answer]]]) -> frozenset[str]:
        """Return the scales whose numbers have a decimal comma: declared, or plain from every number; doubt becomes a problem."""
        if self.rules.decimal is not None:
            return frozenset(written) if self.rules.decimal == "," else frozenset()
        found = []
        for scale, words in written.items():
            bare = {w.strip() for w in words} - set(self.rules.declared(scale)) - set(self.rules.missing) - {""}
            commas = sorted(w for w in bare if _COMMA.fullmatch(w))
            if not commas or scale in self.rules.texts or any(not _COMMA.fullmatch(w) and not NUMBER.fullmatch(w) for w in bare):
                continue
            if any("." in w for w in bare) or all(len(w.split(",")[1]) == 3 for w in commas):
                where = next(a.where for w, places in words.items() if w.strip() == commas[0] for a in places)
                what = f"{commas[0]} on {scale}: does the comma begin the decimals?"
                self.problems.append(Problem(what, where, 'if so, write decimal: ","; if it parts thousands, write the numbers without it'))
                continue
            found.append(scale)
            self.notes[f"decimal comma on {scale}"] = f"numbers such as {commas[0]} are read with a decimal comma"
        return frozenset(found)

    def _ask(self, scale: str, words: Mapping[str, Sequence[Answer]], found: Mapping[tuple[str, str], _Meaning]) -> None:
        """Ask about each spelling that differs from a category, or from a more frequent spelling, only in case or spaces."""
        if scale in self.rules.texts:
            return
        replaced, categories = self.rules.replaced(scale), self.rules.declared(scale)
        open_words = {
            word: places
            for word, places in words.items()
            if _key(word, replaced) is None and found[scale, word].status != "missing" and _number(word.strip()) is None
        }
        known = {fold(c): c for c in reversed(categories)}
        if not categories:
            known = {fold(meant): meant for word, meant in replaced.items() if word != meant}
            for word in sorted(open_words, key=lambda w: -len(open_words[w])):
                known.setdefault(fold(word), word)
        for word, places in open_words.items():
            meant = known.get(fold(word))
            if meant is not None and meant != word:
                self.problems.append(_variant(scale, word, meant, places))

    def _say_unused(self, written: Mapping[str, Mapping[str, Sequence[Answer]]]) -> None:
        """Say which replacements were made how often, and which never were."""
        for scale, words in written.items():
            replaced = self.rules.replaced(scale)
            hits = Counter(
                {f"{key} -> {replaced[key]}": len(places) for word, places in words.items() if (key := _key(word, replaced)) is not None}
            )
            if hits:
                said = ", ".join(f"{pair} ({n} times)" for pair, n in hits.items())
                self.notes[f"same on {scale}"] = f"as declared: {said}"
        everywhere = {word for words in written.values() for word in words} | {w.strip() for words in written.values() for w in words}
        unused = [word for word, meant in self.rules.same.items() if isinstance(meant, str) and word not in everywhere]
        if unused:
            self.notes["same"] = f"{', '.join(map(repr, unused))}: declared under same, but occurs nowhere"

    def rating(self, answer: Answer, meanings: Mapping[tuple[str, str], _Meaning]) -> Rating:
        """Return the rating of an answer."""
        base = {
            "item": answer.item, "rater": answer.rater, "scale": answer.scale, "occasion": answer.occasion, "seconds": answer.seconds,
            "source": answer.source, "choices": answer.choices,
        }  # fmt: skip
        if answer.gap:
            return Rating(**base, value=None, status="missing", reason=answer.gap)
        if answer.fault:
            return Rating(**base, value=answer.word or None, status="unusable", reason=answer.fault)
        if answer.free:
            return Rating(**base, value=answer.word.strip())
        words = self._words(answer)
        found = [meanings[answer.scale, word] for word in words]
        if answer.scale in self.rules.sets or answer.several is not None:
            return self._set(base, answer, found)
        return Rating(**base, value=found[0].value, status=found[0].status, reason=found[0].reason)

    def _set(self, base: dict[str, Any], answer: Answer, found: Sequence[_Meaning]) -> Rating:
        """Return the answer on a set, its categories in their declared order."""
        bad = next((m for m in found if m.status != "ok"), None)
        if answer.several is None and answer.word.strip() == "none":
            return Rating(**base, value=as_answer(()))
        if bad is not None:
            value = None if bad.status == "missing" else "; ".join(m.value or "" for m in found)
            return Rating(**base, value=value, status=bad.status, reason=bad.reason)
        return Rating(**base, value=self._joined(answer.scale, [m.value for m in found if m.value]))

    def _joined(self, scale: str, categories: Sequence[str]) -> str:
        """Return categories as the answer on a set, in their declared order."""
        once = tuple(dict.fromkeys(categories))
        if len(once) > 1:
            declared = self.rules.declared(scale)
            once = (*(c for c in declared if c in once), *(c for c in once if c not in declared))
        return as_answer(once)

    def kept(self, rated: Sequence[tuple[Answer, Rating]]) -> Iterator[Rating]:
        """Yield one rating per item, rater, scale and occasion; a second one is a problem unless the rules say what it means."""
        together: dict[tuple[str, str, str, str], list[tuple[Answer, Rating]]] = defaultdict(list)
        for answer, rating in rated:
            together[answer.key].append((answer, rating))
        once, joined = 0, 0
        for (_, _, scale, _), group in together.items():
            if len(group) == 1:
                yield group[0][1]
            elif self.rules.duplicates == "set" and scale in self.rules.sets and all(r.status == "ok" for _, r in group):
                joined += 1
                named = [word for _, rating in group for word in members(str(rating.value))]
                yield group[0][1].model_copy(update={"value": self._joined(scale, named)})
            elif self.rules.duplicates == "identical" and len({(r.value, r.status) for _, r in group}) == 1:
                once += len(group) - 1
                yield group[0][1]
            else:
                self.problems.append(_twice(group))
        if once:
            self.notes["duplicates"] = f"{once} ratings are there a second time with the same value, and count once"
        if joined:
            self.notes["duplicates"] = f"{joined} answers of several categories are joined from several rows"

    def facts(self, answers: Sequence[Answer]) -> dict[str, dict[str, str]]:
        """Return item -> what the file knows of it; two values of one fact are a problem."""
        found: dict[str, dict[str, str]] = {}
        first: dict[tuple[str, str], Answer] = {}
        asked: set[tuple[str, str]] = set()
        for answer in answers:
            known = found.setdefault(answer.item, {})
            for name, word in answer.facts.items():
                other = first.setdefault((answer.item, name), answer)
                if known.setdefault(name, word) != word and (answer.item, name) not in asked:
                    asked.add((answer.item, name))
                    what = f"{name} of {answer.item} is {word!r}, but {other.facts[name]!r} at {other.place}"
                    fix = f"correct one of them; or, if {name} tells items apart, add its column to item"
                    self.problems.append(Problem(what, answer.where, fix))
        return found


def fold(word: str) -> str:
    """Return a word without regard to case and blanks."""
    return " ".join(word.casefold().split())


def _key(word: str, replaced: Mapping[str, str]) -> str | None:
    return next((key for key in (word, word.strip()) if key in replaced), None)


def _number(word: str) -> float | None:
    return float(word) if NUMBER.fullmatch(word) else None


def _as_word(word: str, decimal_comma: bool) -> str:
    """Return a number as a word with a decimal point, `3.0` as `3`."""
    pointed = word.replace(",", ".") if decimal_comma else word
    whole = _POINT_NOUGHT.fullmatch(pointed)
    return whole.group(1) if whole else pointed


def _variant(scale: str, word: str, meant: str, places: Sequence[Answer]) -> Problem:
    what = f"{word!r} on {scale} ({_places(places)}) differs from {meant!r} only in case or spaces"
    fix = f"if it means the same, write same: {{{quoted(word)}: {quoted(meant)}}}; if not, same: {{{quoted(word)}: {quoted(word)}}}"
    return Problem(what, places[0].where, fix)


def _places(answers: Sequence[Answer]) -> str:
    shown = ", ".join(a.place for a in answers[:_SHOWN_PLACES])
    rest = len(answers) - _SHOWN_PLACES
    kind = "lines" if answers[0].place.isdigit() else "at"
    kind = "line" if kind == "lines" and len(answers) == 1 else kind
    return f"{kind} {shown}" + (f" and {rest} more" if rest > 0 else "")


def quoted(word: str) -> str:
    """Return a word as YAML takes it for that word, in quotes where it needs them."""
    plain = re.fullmatch(r"[A-Za-z][\w +./-]*[\w+./-]|[A-Za-z]", word) and word.lower() not in {
        "yes",
        "no",
        "on",
        "off",
        "true",
        "false",
        "null",
        "y",
        "n",
    }
    return word if plain else json.dumps(word, ensure_ascii=False)


def _twice(group: Sequence[tuple[Answer, Rating]]) -> Problem:
    """Return the problem of several ratings where one belongs."""
    answer, rating = group[1]
    first, before = group[0]
    line = f"line {first.place}" if first.place.isdigit() else first.place
    what = f"{answer.rater} rates {answer.item} on {answer.scale} a second time, first in {line}"
    if len(group) > 2:
        what += f" ({len(group)} times in all)"
    if len({(r.value, r.status) for _, r in group}) == 1:
        fix = "keep one of the two, tell them apart by an occasion column, or write duplicates: identical to count them once"
    else:
        what += f" (as {before.value!r}, now {rating.value!r})"
        fix = "keep one of the two, tell them apart by an occasion column, or, if several answers are one, write sets and duplicates: set"
    return Problem(what, answer.where, fix)
