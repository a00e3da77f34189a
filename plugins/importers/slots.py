"""What the slots of a reader study show, from the study's key: tasks of Label Studio know their slot and their reader alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.api import InputError, Problem

from .study import KEY_FORMAT


@dataclass(frozen=True)
class Slot:
    """One showing: its item, the occasion, the facts, and in a grid what each picture was."""

    item: str
    occasion: str
    facts: dict[str, str]
    positions: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudyKey:
    """The key of a study: slots by reader, and the questions."""

    path: Path
    readers: Mapping[str, Any]
    questions: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, path: Path) -> StudyKey:
        """Return the key of a file; one that is none, or was changed, is refused."""
        try:
            key = json.loads(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise InputError(
                Problem(f"cannot be read: {error.strerror}", str(path), "give the study's key.json in the option key")
            ) from error
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise InputError(Problem(f"not JSON: {error}", str(path), "restore the study's key.json")) from error
        if not isinstance(key, dict) or key.get("format") != KEY_FORMAT:
            raise InputError(Problem("not the key of a reader study", str(path), "give the study's key.json in the option key"))
        rest = {name: value for name, value in key.items() if name != "sha256"}
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        if key.get("sha256") != sha256(text.encode()).hexdigest():
            raise InputError(Problem("the key was changed after it was made", str(path), "restore it: answers mean nothing without it"))
        return cls(path, key["readers"], key["questions"])

    def slot(self, reader: str, slot: str, where: str) -> Slot:
        """Return what a reader saw in a slot."""
        entry = self.readers.get(reader, {}).get("slots", {}).get(slot)
        if entry is None:
            raise InputError(Problem(f"the study has no slot {slot} of {reader}", where, f"give the key of this study, not {self.path}"))
        return Slot(entry["item"], entry["occasion"], dict(entry["facts"]), tuple(entry.get("positions", ())))

    def sets(self) -> frozenset[str]:
        """Return the questions that are answered by any number of categories."""
        return frozenset(q["name"] for q in self.questions if q["level"] == "set")

    def asked(self, slot: Slot, given: Mapping[str, Sequence[str]]) -> list[str]:
        """Return the questions that were asked in a slot. given: the words that were answered on each."""
        found = []
        for question in self.questions:
            name, _, wanted = str(question["only_if"]).partition("=")
            if (question["shows"] == "grid") == bool(slot.positions) and (not name or wanted in given.get(name, ())):
                found.append(str(question["name"]))
        return found
