"""Expert ratings from Label Studio."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

from pydantic import Field

from harness.api import Context, InputError, Problem, Rating, as_answer

from .answers import Answer, RatedFile, Word
from .sheets import decoded
from .slots import Slot, StudyKey

_FREE = "textarea"
_READ = frozenset({"choices", "rating", "number", _FREE})


@dataclass(frozen=True)
class _Annotation:
    """One annotation of one task: what was asked about, who answered, and where it stands in the file."""

    item: str
    rater: str
    facts: dict[str, str]
    content: dict[str, Any]
    path: str
    slot: Slot | None = None

    def results(self) -> list[dict[str, Any]]:
        """Return the results."""
        return list(self.content.get("result", []))


class LabelStudio(RatedFile):
    """Reads ratings from the JSON export of Label Studio: choices, ratings, numbers and texts of each annotation.

    `item` names the item in the data of a task (or is "id", the task itself). `rater` names the reader there, where tasks were made for
    one reader each; else it is who completed the annotation, replaced by `readers: {7: R1}`. Each control (`from_name`) is a scale; several
    choices make a set, and texts a scale of free text. A control that an annotation left out is a missing rating, and so is each of
    a skipped annotation. `facts`: keys of the data (or {fact: key}). `truth`: the control whose ground-truth annotations say the truth of
    an item; they are no ratings then. `repeats: occasions` makes further annotations of one task by one reader further occasions, in the
    order in which they were made; they are refused otherwise. `key`: the key of the reader study whose tasks these are; it says what their
    slots showed. Regions, predictions and other controls are counted in notes.
    """

    name = "label_studio"
    version = "1"
    item: str = "item"
    rater: str | None = None
    readers: dict[Word, Word] = Field(default_factory=dict)
    facts: dict[str, str] | tuple[str, ...] = ()
    truth: str = ""
    repeats: Literal["refuse", "occasions"] = "refuse"
    key: Path | None = None

    def inputs(self) -> tuple[Path, ...]:
        """Return the file, and the key where there is one."""
        return (self.path, *((self.key,) if self.key is not None else ()))

    def read(self, context: Context) -> Iterator[Rating]:
        """Yield every rating in the order of the file."""
        key = StudyKey.read(self.key) if self.key is not None else None
        annotations, notes = self._annotations(key)
        scales, kinds = self._scales(annotations)
        truths = self._truths(annotations)
        kept = [a for a in annotations if not (self.truth and a.content.get("ground_truth"))]
        occasions = self._occasions(kept)
        answers: list[Answer] = []
        for annotation, occasion in zip(kept, occasions, strict=True):
            facts = annotation.facts | ({"truth": truths[annotation.item]} if annotation.item in truths else {})
            answers.extend(self._answers(annotation, self._asked(annotation, scales, key), occasion, facts, key))
        notes |= self._notes(annotations, kinds)
        for subject, text in notes.items():
            context.note(f"{self.path.name}: {subject}", text)
        yield from self.settled(answers, context)

    def _annotations(self, key: StudyKey | None) -> tuple[list[_Annotation], dict[str, str]]:
        """Return the annotations, and what tasks hold besides."""
        text, notes = decoded(self.path, None, self.name)
        try:
            tasks = json.loads(text, parse_constant=_refuse_constant)
        except (json.JSONDecodeError, RecursionError) as error:
            line = getattr(error, "lineno", 1)
            self._refuse(f"not JSON: {error}", f":{line}", "export the project as JSON")
        except ValueError as error:
            self._refuse(str(error), "", "export the project again")
        if not isinstance(tasks, list) or not tasks:
            self._refuse("not a list of tasks", "", "export the project as JSON")
        found: list[_Annotation] = []
        problems: list[Problem] = []
        for k, task in enumerate(tasks):
            try:
                found.extend(self._of_task(task, f"$[{k}]", key))
            except InputError as error:
                problems.extend(error.problems)
        if problems:
            raise InputError(*problems)
        open_tasks = sum(not task["annotations"] for task in tasks)
        drafts, guesses = (sum(len(task.get(key) or []) for task in tasks) for key in ("drafts", "predictions"))
        if open_tasks:
            notes["tasks without annotation"] = f"{open_tasks} of {len(tasks)} tasks were not answered by anybody"
        if drafts or guesses:
            notes["left out"] = f"{drafts} drafts and {guesses} predictions of models are no ratings"
        return found, notes

    def _of_task(self, task: Any, path: str, key: StudyKey | None) -> Iterator[_Annotation]:
        if not isinstance(task, dict) or not isinstance(task.get("annotations"), list) or not isinstance(task.get("data"), dict):
            self._refuse("a task without data and annotations", f":{path}", "export the project as JSON, not as JSON-MIN")
        data = task["data"]
        slot = None
        if key is not None:
            slot = key.slot(str(data.get("reader")), str(data.get("slot")), f"{self.path}:{path}")
        item = slot.item if slot is not None else task.get("id") if self.item == "id" else data.get(self.item)
        if item is None or isinstance(item, dict | list):
            fix = f"write item: one of {', '.join(map(str, data))}, or id"
            self._refuse(f"the data have no {self.item} that could name an item", f":{path}", fix)
        columns = self.facts if isinstance(self.facts, dict) else {name: name for name in self.facts}
        facts = {name: str(data[key]) for name, key in columns.items() if data.get(key) not in (None, "")}
        for k, content in enumerate(task["annotations"]):
            where = f"{path}.annotations[{k}]"
            if not isinstance(content, dict) or not isinstance(content.get("result", []), list):
                self._refuse("an annotation without a list of results", f":{where}", "export the project again")
            known = slot.facts | facts if slot is not None else facts
            yield _Annotation(str(item), self._rater(content, data, where), known, content, where, slot)

    def _rater(self, content: dict[str, Any], data: dict[str, Any], where: str) -> str:
        """Return who answered: the name that the task holds, or who completed the annotation."""
        column = "reader" if self.key is not None and self.rater is None else self.rater
        found = data.get(column) if column is not None else content.get("completed_by")
        if isinstance(found, dict):
            found = found.get("email") or found.get("id")
        if found is None or found == "":
            what = f"the data have no {self.rater}" if self.rater is not None else "nobody completed this annotation"
            self._refuse(what, f":{where}", "write rater: the key of the data that names the reader")
        return self.readers.get(str(found), str(found))

    def _scales(self, annotations: list[_Annotation]) -> tuple[dict[str, str], Counter[str]]:
        """Return control -> kind of those that are read, and how many results there are of each kind that is not."""
        scales: dict[str, str] = {}
        unread: Counter[str] = Counter()
        for annotation in annotations:
            for k, result in enumerate(annotation.results()):
                if not isinstance(result, dict) or not isinstance(result.get("value", {}), dict):
                    self._refuse("a result without a value", f":{annotation.path}.result[{k}]", "export the project again")
                kind, control = str(result.get("type", "")), str(result.get("from_name", ""))
                if kind in _READ and control and not _of_region(result):
                    scales.setdefault(control, kind)
                else:
                    unread["region" if kind in _READ and control else kind or "nameless"] += 1
        if not scales:
            self._refuse("no annotation holds choices, a rating, a number or a text about a whole item", "", "check what was exported")
        return scales, unread

    def _truths(self, annotations: list[_Annotation]) -> dict[str, str]:
        """Return item -> truth, as ground-truth annotations say on the control `truth`."""
        found: dict[str, str] = {}
        for annotation in annotations:
            if self.truth and annotation.content.get("ground_truth"):
                results = [r for r in annotation.results() if r.get("from_name") == self.truth]
                words = [word for result in results for word in _words(result)]
                if words and found.setdefault(annotation.item, "; ".join(words)) != "; ".join(words):
                    self._refuse(f"two ground truths of {annotation.item}", f":{annotation.path}", "keep one of them")
        if self.truth and not found:
            self._refuse(f"no ground-truth annotation answers {self.truth}", "", "mark annotations as ground truth, or leave out truth")
        return found

    def _occasions(self, annotations: list[_Annotation]) -> list[str]:
        """Return the occasion of each annotation: all 1, or by the time at which they were made."""
        if self.repeats == "refuse":
            return ["1" if a.slot is None else a.slot.occasion for a in annotations]
        mine: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
        for k, a in enumerate(annotations):
            mine[a.item, a.rater].append((str(a.content.get("created_at", "")), k))
        places = {k: str(n) for group in mine.values() for n, (_, k) in enumerate(sorted(group), 1)}
        return [places[k] for k in range(len(annotations))]

    def _asked(self, annotation: _Annotation, scales: dict[str, str], key: StudyKey | None) -> list[str]:
        """Return the controls that an annotation should answer: all, or those that the study asked in this slot."""
        if key is None or annotation.slot is None:
            return list(scales)
        given = {str(r.get("from_name")): _words(r) for r in annotation.results()}
        return key.asked(annotation.slot, given)

    def _answers(self, annotation: _Annotation, asked: list[str], occasion: str, facts: dict[str, str],
                 key: StudyKey | None) -> Iterator[Answer]:  # fmt: skip
        """Yield an answer per control, in the order of the results, then those that were left out."""
        content = annotation.content
        seconds = content.get("lead_time")
        known = isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds >= 0
        base = Answer(
            annotation.item, annotation.rater, "", "", f"{self.path.name}:{annotation.path}", f"{self.path}:{annotation.path}", occasion,
            float(seconds) if known and seconds is not None else None, facts,
        )  # fmt: skip
        skipped, answered = bool(content.get("was_cancelled")), set()
        for k, result in enumerate(annotation.results()):
            control = str(result.get("from_name", ""))
            if skipped or not control or _of_region(result) or result.get("type") not in _READ:
                continue
            answered.add(control)
            place = f"{annotation.path}.result[{k}]"
            told = replace(base, scale=control, source=f"{self.path.name}:{place}", where=f"{self.path}:{place}")
            yield self._told(told, result, annotation.slot, key.sets() if key is not None else frozenset())
        gap = "the reader skipped the task" if skipped else "the annotation does not answer this"
        for control in asked:
            if control not in answered:
                yield replace(base, scale=control, gap=gap)

    def _told(self, answer: Answer, result: dict[str, Any], slot: Slot | None, sets: frozenset[str]) -> Answer:
        """Return the answer with the words of a result; the number of a picture in a grid becomes what the picture was."""
        words = _words(result)
        if result["type"] == _FREE:
            return replace(answer, word="\n".join(words), free=bool(words), gap="" if words else "the text is empty")
        if slot is not None and slot.positions and len(words) == 1:
            place = int(words[0]) if words[0].isdecimal() else 0
            if not 1 <= place <= len(slot.positions):
                return replace(answer, word=words[0], fault=f"{words[0]!r} is no picture of the grid", choices=len(slot.positions))
            return replace(answer, word=slot.positions[place - 1], choices=len(slot.positions))
        if words and (answer.scale in sets | set(self.sets) or len(words) > 1):
            return replace(answer, word="; ".join(words), several=() if words == [as_answer(())] else tuple(words))
        return replace(answer, word=words[0] if words else "", gap="" if words else "the value is empty")

    def _notes(self, annotations: list[_Annotation], unread: Counter[str]) -> dict[str, str]:
        notes = {}
        skipped = sum(bool(a.content.get("was_cancelled")) for a in annotations)
        truths = sum(bool(a.content.get("ground_truth")) for a in annotations)
        if skipped:
            notes["skipped"] = f"{skipped} of {len(annotations)} annotations were skipped by their reader: missing ratings"
        if truths:
            done = f"the truth of their items on {self.truth}" if self.truth else "read as ratings of who made them"
            notes["ground truth"] = f"{truths} annotations are marked as ground truth: {done}"
        if unread:
            notes["not read"] = ", ".join(f"{n} results of kind {kind}" for kind, n in unread.items())
        if any(a.content.get("lead_time") for a in annotations):
            notes["seconds"] = "the time of a rating is that of its whole annotation"
        return notes

    def _refuse(self, what: str, place: str, fix: str) -> NoReturn:
        raise InputError(Problem(what, f"{self.path}{place}", fix))


def _of_region(result: dict[str, Any]) -> bool:
    """Whether a result is about a region, not about the item: it then has the region's coordinates beside its answer."""
    return any(key in result.get("value", {}) for key in ("x", "y", "points", "start", "end", "rle", "format"))


def _words(result: dict[str, Any]) -> list[str]:
    """Return the answers of a result as words."""
    kind = result.get("type")
    value = result.get("value", {})
    found = value.get("text" if kind == _FREE else kind)
    several = found if isinstance(found, list) else [] if found is None else [found]
    return [str(int(w)) if isinstance(w, float) and w == int(w) else str(w) for w in several if str(w).strip()]


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"the file holds {name}, which is no number")
