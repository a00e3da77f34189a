"""Answers of a reader study that `harness study build` made."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import Field

from harness.api import Context, InputError, Problem, Rating, RatingImporter, Scale, as_answer

KEY_FORMAT = "harness-study-1"
ANSWERS_FORMAT = "harness-study-answers-1"
KEY = "key.json"
FOLDER = "answers"


class Study(RatingImporter):
    """Reads the answers that readers of a study saved from its pages, and says with the study's key what each was about.

    `path` is the study's folder, which holds key.json. `answers` are the files of the readers, by default every JSON file in the folder
    `answers` below it. Several files of one reader are put together; where they contradict each other, they are refused. A question
    that was not answered gives a missing rating. `seconds` is the time that the image was on screen, all its questions together.
    """

    name = "study"
    version = "1"
    path: Path
    answers: tuple[Path, ...] = Field(())

    def inputs(self) -> tuple[Path, ...]:
        """Return the key and the files of answers."""
        return (self.path / KEY, *self._files())

    def asked(self) -> Mapping[str, Scale]:
        """Return the questions as the pages put them."""
        asked = ({name: question[name] for name in Scale.model_fields} for question in _key(self.path / KEY)["questions"])
        return {question["name"]: Scale.model_validate(question) for question in asked}

    def read(self, context: Context) -> Iterator[Rating]:
        """Yield a rating per reader, showing and question in the order of the pages; readers without a file are left out."""
        key = _key(self.path / KEY)
        files = [_Answers.read(path, key) for path in self._files()]
        if not files:
            raise InputError(
                Problem("no reader has answered yet", str(self.path / FOLDER), "take in the readers' files with harness study import")
            )
        for reader, page in key["readers"].items():
            own = [file for file in files if file.reader == reader]
            if own:
                for slot, entry in page["slots"].items():
                    yield from _ratings(key, reader, slot, entry, own)

    def _files(self) -> tuple[Path, ...]:
        return self.answers or tuple(sorted((self.path / FOLDER).glob("*.json")))


@dataclass(frozen=True)
class _Answers:
    """What one file holds: the reader, and by slot its seconds and its answers."""

    path: Path
    reader: str
    slots: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path, key: Mapping[str, Any]) -> _Answers:
        """Return the content of a file; it must come from a page of this study as it was made."""
        body = _json(path, "save the answers from the reader's page again")
        if not isinstance(body, dict) or body.get("format") != ANSWERS_FORMAT or not isinstance(body.get("slots"), dict):
            raise InputError(Problem("not a file of saved answers", str(path), "give the files that readers saved from their pages"))
        if body.get("study") != key["study"]:
            raise InputError(
                Problem(f"these answers belong to {body.get('study')}, not to {key['study']}", str(path), "give the files of this study")
            )
        page = key["readers"].get(body.get("reader"))
        if page is None:
            readers = ", ".join(key["readers"])
            raise InputError(Problem(f"the study has no reader {body.get('reader')!r}", str(path), f"readers: {readers}"))
        if body.get("page") != page["content_sha256"] or body.get("page_computed") not in (None, page["content_sha256"]):
            what = "the page on which this was answered is not the one that was made: it is older, newer, or was edited"
            raise InputError(Problem(what, str(path), "let the reader answer on the page of this study"))
        found = cls(path, body["reader"], body["slots"])
        found.check(key, page["slots"])
        return found

    def check(self, key: Mapping[str, Any], slots: Mapping[str, Any]) -> None:
        """Refuse what the page could not have written."""
        questions = {question["name"]: question for question in key["questions"]}
        for slot, found in self.slots.items():
            if slot not in slots:
                raise self.refusal(slot, "the page has no such slot")
            given = found.get("answers") if isinstance(found, dict) else None
            if not isinstance(given, dict) or not _is_time(found.get("seconds")):
                raise self.refusal(slot, "a slot has answers and a time in seconds")
            for name, answer in given.items():
                if name not in questions or (questions[name]["shows"] == "grid") != ("positions" in slots[slot]):
                    raise self.refusal(slot, f"nobody asked {name!r} here")
                if not isinstance(answer, dict) or "value" not in answer:
                    raise self.refusal(slot, f"the answer on {name} has no value")
                complaint = _complaint(questions[name], slots[slot], answer["value"])
                if complaint:
                    raise self.refusal(slot, f"{answer['value']!r} is no answer on {name}: {complaint}")

    def refusal(self, slot: str, what: str) -> InputError:
        """Return the error for something in a slot."""
        return InputError(Problem(f"slot {slot}: {what}", str(self.path), "the file was edited or damaged; save it from the page again"))

    def value(self, slot: str, name: str) -> Any:
        """Return the answer, None where there is none."""
        return self.slots.get(slot, {}).get("answers", {}).get(name, {}).get("value")


def _complaint(question: Mapping[str, Any], entry: Mapping[str, Any], value: Any) -> str:
    """Return why a value is none that the page offers, or nothing."""
    level, categories = question["level"], question["categories"]
    if value is None:
        return ""
    if "positions" in entry:
        n = len(entry["positions"])
        return "" if type(value) is int and 1 <= value <= n else f"it is a number from 1 to {n}"
    if level == "set":
        fits = isinstance(value, list) and all(word in categories for word in value) and len(set(value)) == len(value)
        return "" if fits else "it is a list of categories"
    if level == "interval":
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        fits = number and (not categories or float(value) in map(float, categories))
        return "" if fits else f"it is a number{' of ' if categories else ''}{', '.join(categories)}"
    if level == "text":
        return "" if isinstance(value, str) else "it is text"
    return "" if value in categories else f"categories: {', '.join(categories)}"


def _ratings(key: Mapping[str, Any], reader: str, slot: str, entry: Mapping[str, Any], files: list[_Answers]) -> Iterator[Rating]:
    """Yield the ratings of one showing."""
    seconds = max((float(file.slots[slot]["seconds"]) for file in files if slot in file.slots), default=None)
    given: dict[str, Any] = {}
    for question in key["questions"]:
        name = question["name"]
        if (question["shows"] == "grid") != ("positions" in entry) or not _is_asked(question, given):
            continue
        source, given[name] = _one(files, slot, name)
        base: dict[str, Any] = {
            "item": entry["item"], "rater": reader, "scale": name, "occasion": entry["occasion"], "seconds": seconds,
            "source": f"{source.path.name}:{slot}", "facts": entry["facts"],
            "choices": len(entry["positions"]) if "positions" in entry else None,
        }  # fmt: skip
        if given[name] is None or given[name] == "":
            yield Rating(**base, value=None, status="missing", reason="the question was not answered")
        else:
            yield Rating(**base, value=_as_rated(entry, given[name]))


def _is_asked(question: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Return whether the page asks a question, after these answers to those before it."""
    if not question["only_if"]:
        return True
    name, _, wanted = question["only_if"].partition("=")
    answer = given.get(name)
    return wanted in [_word(one) for one in (answer if isinstance(answer, list) else [answer]) if one is not None]


def _word(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value == int(value) else str(value)


def _one(files: list[_Answers], slot: str, name: str) -> tuple[_Answers, Any]:
    """Return the answer and the file that holds it; two files that contradict each other are refused."""
    found = [(file, file.value(slot, name)) for file in files if file.value(slot, name) is not None]
    for file, value in found[1:]:
        if value != found[0][1]:
            first = found[0][0].path.name
            what = f"slot {slot}: {value!r} on {name}, and {found[0][1]!r} in {first}"
            raise InputError(Problem(what, str(file.path), "keep the file that the reader saved last"))
    return found[0] if found else (next((file for file in files if slot in file.slots), files[0]), None)


def _as_rated(entry: Mapping[str, Any], value: Any) -> str | float:
    """Return an answer as ratings hold it: what a grid's picture was, the members of a set, words and numbers as they are."""
    if "positions" in entry:
        return str(entry["positions"][value - 1])
    if isinstance(value, list):
        return as_answer(value)
    return value if isinstance(value, str) else float(value)


def _key(path: Path) -> dict[str, Any]:
    """Return the study's key, as it was written."""
    key = _json(path, "give the folder that harness study build made, in the option path of study")
    if not isinstance(key, dict) or key.get("format") != KEY_FORMAT:
        raise InputError(Problem("not the key of a reader study", str(path), "give the folder that harness study build made"))
    rest = {name: value for name, value in key.items() if name != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if key.get("sha256") != sha256(text.encode()).hexdigest():
        raise InputError(Problem("the key was changed after it was made", str(path), "restore it: answers mean nothing without it"))
    return key


def _json(path: Path, fix: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror}", str(path), fix)) from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(Problem(f"not JSON: {error}", str(path), fix)) from error


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
