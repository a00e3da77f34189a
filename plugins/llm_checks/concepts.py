"""Clinical concepts in a description: phrases are looked up, and what the sentence denies or doubts is told from what it asserts.

The scope of negation is that of NegEx (Chapman et al. 2001, Journal of Biomedical Informatics 34:301): a word such as `no` denies the
phrases that follow within a few words, until a word such as `but`, and a list goes on from one denied phrase to the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.api import InputError, Problem, Scale, as_answer

State = Literal["present", "uncertain", "denied"]
Words = tuple[Annotated[str, Field(min_length=1)], ...]
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\s*\n\s*")
_WORD = re.compile(r"\w+")
_MASK = "\x00"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Negation(_Part):
    """Words that deny. before, after: as seen from the phrase that they deny. ends: words that no denial reaches beyond.

    harmless: sequences such as `no change`, in which a word of `before` denies nothing. joins: words that join a list. window: at most
    so many words lie between a word of `before` and the phrase, or between a denied phrase and the next one of its list. window_after:
    the same for words of `after`.
    """

    before: Words = ()
    after: Words = ()
    ends: Words = ()
    harmless: Words = ()
    joins: Words = ("and", "or", "nor")
    window: int = Field(6, ge=0)
    window_after: int = Field(3, ge=0)


class Uncertainty(_Part):
    """Words that doubt, before or after the phrase, and what a doubted concept counts as. Scope is as in `Negation`."""

    before: Words = ()
    after: Words = ()
    counts: Literal["present", "absent"]


class Vocabulary(_Part):
    """Which phrases mean which concept.

    concepts: concept -> its phrases. labels: label -> the concepts that speak for it; a label is there where one of them is. alone:
    concepts such as `unremarkable` that count only where no other one is found.
    """

    concepts: dict[str, Words] = Field(min_length=1)
    labels: dict[str, Words] = Field(default_factory=dict)
    alone: Words = ()
    negation: Negation
    uncertain: Uncertainty

    @model_validator(mode="after")
    def _fits(self) -> Self:
        owner: dict[str, str] = {}
        for concept, phrases in self.concepts.items():
            if not phrases:
                raise ValueError(f"the concept {concept} has no phrase")
            for phrase in phrases:
                known = owner.setdefault(_plain(phrase), concept)
                if known != concept:
                    raise ValueError(f"the phrase {phrase!r} means both {known} and {concept}")
        named = [*self.alone, *(concept for concepts in self.labels.values() for concept in concepts)]
        unknown = [concept for concept in named if concept not in self.concepts]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not among the concepts")
        both = self.labels.keys() & self.concepts.keys()
        if both:
            raise ValueError(f"{min(both)!r} is a concept and a label")
        return self


@dataclass(frozen=True)
class _Span:
    """Where a concept is named, or where a word stands that plays `roles`, in one sentence."""

    start: int
    end: int
    concept: str = ""
    roles: frozenset[str] = frozenset()


def mentions(text: str, vocabulary: Vocabulary) -> list[tuple[str, State]]:
    """Return every mention of a concept in the order of the text, and whether it is asserted, doubted or denied there."""
    lookup = _Lookup(vocabulary)
    return [mention for sentence in _SENTENCE.split(text.casefold()) for mention in lookup.read(sentence)]


def concepts(text: str, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return the concepts that a text asserts at least once, in the order of the vocabulary; doubted ones as `counts` says."""
    counted = {"present", "uncertain"} if vocabulary.uncertain.counts == "present" else {"present"}
    there = {concept for concept, state in mentions(text, vocabulary) if state in counted}
    if there - set(vocabulary.alone):
        there -= set(vocabulary.alone)
    return tuple(concept for concept in vocabulary.concepts if concept in there)


def answer(text: str, scale: Scale, vocabulary: Vocabulary) -> str:
    """Return the answer on a scale of level set that a description gives; its categories are concepts or labels of the vocabulary."""
    there = set(concepts(text, vocabulary))
    there |= {label for label, spoken_for in vocabulary.labels.items() if there & set(spoken_for)}
    return as_answer(category for category in scale.categories if category in there)


def require_known(scales: Iterable[Scale], vocabulary: Vocabulary | None, where: str) -> None:
    """Raise `InputError` where a scale is to be looked up in a description and the vocabulary does not cover it."""
    for scale in scales:
        if vocabulary is None:
            what = f"the scale {scale.name} is looked up in the descriptions on {scale.describes}, and there is no vocabulary"
            raise InputError(Problem(what, where, "name a prompt set with a vocabulary in the option prompts"))
        unknown = [c for c in scale.categories if c not in vocabulary.concepts and c not in vocabulary.labels]
        if unknown:
            what = f"{unknown[0]!r} of the scale {scale.name} is neither a concept nor a label of the vocabulary"
            raise InputError(Problem(what, where, f"concepts: {', '.join(vocabulary.concepts)}"[:200]))


class _Lookup:
    """A vocabulary made ready: patterns of its phrases and of the words around them, the longest first, and who owns which."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        negation, uncertain = vocabulary.negation, vocabulary.uncertain
        played = {
            "denies before": negation.before, "denies after": negation.after, "doubts before": uncertain.before,
            "doubts after": uncertain.after, "ends": negation.ends, "nothing": negation.harmless,
        }  # fmt: skip
        roles: dict[str, set[str]] = {}
        for role, words in played.items():
            for word in words:
                roles.setdefault(_plain(word), set()).add(role)
        self.negation = negation
        self.roles = {word: frozenset(found) for word, found in roles.items()}
        self.owners = {_plain(phrase): concept for concept, phrases in vocabulary.concepts.items() for phrase in phrases}
        self.phrases, self.words = _any_of(self.owners), _any_of(self.roles)
        self.joins = _any_of(negation.joins)

    def read(self, sentence: str) -> Iterator[tuple[str, State]]:
        """Yield the mentions of one sentence in folded case."""
        named = [_Span(m.start(), m.end(), concept=self.owners[_plain(m[0])]) for m in self.phrases.finditer(sentence)]
        # A phrase may itself hold a word that denies, such as `no acute disease`: inside a phrase it denies nothing else.
        masked = self.phrases.sub(lambda m: _MASK * len(m[0]), sentence)
        words = [_Span(m.start(), m.end(), roles=self.roles[_plain(m[0])]) for m in self.words.finditer(masked)]
        denied, doubted = (self._reached(named, words, masked, role) for role in ("denies", "doubts"))
        for span in named:
            yield span.concept, "denied" if span in denied else "uncertain" if span in doubted else "present"

    def _reached(self, named: list[_Span], words: list[_Span], masked: str, role: str) -> set[_Span]:
        """Return the mentions in the scope of a word that plays this role."""
        found: set[_Span] = set()
        for word in words:
            if f"{role} before" in word.roles:
                found.update(self._forwards(word, named, words, masked))
            if f"{role} after" in word.roles:
                found.update(self._backwards(word, named, words, masked))
        return found

    def _forwards(self, word: _Span, named: list[_Span], words: list[_Span], masked: str) -> Iterator[_Span]:
        """Yield the mentions that follow, each within the window of the one before it."""
        edge = word.end
        for span in named:
            if span.start < edge:
                continue
            if _ended(words, edge, span.start) or len(_WORD.findall(masked[edge : span.start])) > self.negation.window:
                return
            yield span
            edge = span.end

    def _backwards(self, word: _Span, named: list[_Span], words: list[_Span], masked: str) -> Iterator[_Span]:
        """Yield the mention that precedes, and what a list joins to it: a comma alone begins another clause unless `and` has joined."""
        edge, joined, first = word.start, False, True
        for span in reversed(named):
            if span.end > edge:
                continue
            between = masked[span.end : edge]
            joined = joined or bool(self.joins.search(between))
            others = len(_WORD.findall(self.joins.sub(" ", between)))
            if _ended(words, span.end, edge) or others > self.negation.window_after or not (first or joined):
                return
            yield span
            edge, first = span.start, False


def _ended(words: list[_Span], start: int, end: int) -> bool:
    """Whether between these places a scope ends, or another one begins."""
    return any(start <= word.start and word.end <= end and word.roles != {"nothing"} for word in words)


def _any_of(phrases: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted({_plain(phrase) for phrase in phrases}, key=lambda phrase: (-len(phrase), phrase))
    return re.compile("|".join(map(_bounded, longest_first)) or r"(?!)")


def _bounded(phrase: str) -> str:
    """Return the pattern of a phrase as whole words; blanks and hyphens between its words are the same."""
    body = r"(?:\s|-)+".join(map(re.escape, phrase.split()))
    left = r"(?<!\w)" if _WORD.match(phrase) else ""
    right = r"(?!\w)" if _WORD.match(phrase[-1]) else ""
    return left + body + right


def _plain(phrase: str) -> str:
    """Return the phrase in the form in which phrases are compared: folded case, one blank between words."""
    return " ".join(phrase.casefold().replace("-", " ").split())
