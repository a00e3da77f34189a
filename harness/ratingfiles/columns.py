"""Which column of a table of ratings is what, from the names of the columns and from what tells the rows apart.

What is taken for what is noted; where several columns fit none is taken, and the options to write are named.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem

# Names of columns without case, punctuation and a final "id" or "name".
ITEM = frozenset(
    {"item", "case", "image", "img", "file", "filename", "target", "roi", "region", "exam", "lesion", "picture", "sample", "slide", "wsi"}
)
RATER = frozenset(
    {
        "rater",
        "reader",
        "observer",
        "annotator",
        "radiologist",
        "pathologist",
        "expert",
        "grader",
        "reviewer",
        "labeler",
        "labeller",
        "coder",
        "judge",
    }
)
SCALE = frozenset({"scale", "criterion", "question", "attribute", "dimension", "aspect"})
VALUE = frozenset({"value", "score", "rating", "answer", "grade", "response"})
TRUTH = frozenset({"truth", "groundtruth", "gt", "gold", "goldstandard", "reference", "truelabel", "label"})
MODALITY = frozenset({"modality", "treatment", "arm"})
OCCASION = frozenset({"occasion", "session", "repeat", "round"})
SECONDS = frozenset({"seconds", "leadtime", "duration"})
TEXT = frozenset({"comment", "comments", "remark", "remarks", "freetext"})
FACTS = {"patient": frozenset({"patient", "subject"}), "origin": frozenset({"origin"}), "planted": frozenset({"planted"})}
SHORT_RATER = frozenset({"r", "rad", "obs", "p", "expert"})
_FEW = 12
_OWN_FLAGS = frozenset({"item", "rater", "scale", "value", "truth", "by", "categories", "level"})


@dataclass(frozen=True)
class Head:
    """The names of the columns and the rows of a table."""

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    options: dict[str, Any] = field(default_factory=dict)

    def column(self, name: str) -> list[str]:
        """Return the cells of a column."""
        place = self.header.index(name)
        return [row[place] for row in self.rows]

    def unique(self, columns: Sequence[str]) -> bool:
        """Whether these columns together are different in every row."""
        places = [self.header.index(name) for name in columns]
        return len({tuple(row[k] for k in places) for row in self.rows}) == len(self.rows)

    def alike(self, one: str, other: str) -> bool:
        """Whether two columns say the same in other words, such as a name and its number."""
        pairs = set(zip(self.column(one), self.column(other), strict=True))
        return len(pairs) == len(set(self.column(one))) == len(set(self.column(other)))

    def varies(self, name: str, within: Sequence[str]) -> bool:
        """Whether a column has several values where these columns have one."""
        return len(set(zip(*(self.column(c) for c in (*within, name)), strict=True))) > len(
            set(zip(*(self.column(c) for c in within), strict=True))
        )


class Guess:
    """Takes the columns of a table for what their names and contents say; what the user says comes first."""

    def __init__(self, head: Head, given: dict[str, Any]) -> None:
        self.head = head
        self.found = given
        self.notes: list[str] = []
        self._resolve_scale()

    def options(self) -> dict[str, Any]:
        """Return the options of the importer; `InputError` where the file does not say what it holds."""
        self._raters()
        self._simple("occasion", OCCASION)
        self._simple("seconds", SECONDS)
        self._answers()
        facts = self._known()
        self._items(facts)
        if facts:
            self.found["facts"] = facts
        return self.found

    def _resolve_scale(self) -> None:
        """What the user calls the scale is a column, one of the scales of the scale column, or the name of the only scale."""
        said = self.found.get("scale")
        if said is None or set(_tuple(said)) <= set(self.head.header):
            return
        column = self._one(SCALE)
        if column is not None and said in self.head.column(column):
            self.found["scale"] = column
            self.found["where"] = {**self.found.get("where", {}), column: said}
        elif column is not None:
            held = ", ".join(sorted(set(self.head.column(column)))[:_FEW])
            self._refuse(f"no scale is called {said}", f"{column} holds: {held}")
        else:
            self.found["scale_name"] = self.found.pop("scale")

    def _taken(self) -> set[str]:
        """Return the columns that already mean something."""
        roles = [
            self.found[r] for r in ("item", "rater", "scale", "value", "occasion", "seconds", "text", "raters", "scales") if r in self.found
        ]
        return (
            {name for role in roles for name in _tuple(role)} | set(self.found.get("facts", {}).values()) | set(self.found.get("where", {}))
        )

    def _named(self, names: frozenset[str]) -> list[str]:
        """Return the free columns that have one of these names; where none has, those of which a part has."""
        free = [name for name in self.head.header if name and name not in self._taken()]
        whole = [name for name in free if stem(name) in names]
        return whole or [name for name in free if names & set(_parts(name)[:1])]

    def _one(self, names: frozenset[str]) -> str | None:
        found = self._named(names)
        return found[0] if found else None

    def _simple(self, role: str, names: frozenset[str]) -> None:
        whole = [c for c in self.head.header if stem(c) in names and c not in self._taken()]
        if role not in self.found and whole:
            self._take(role, whole[0])

    def _take(self, role: str, columns: str | tuple[str, ...]) -> None:
        self.found[role] = columns
        self.notes.append(f"{role} is {', '.join(_tuple(columns))}; {typed(role).rstrip()} names another")

    def _raters(self) -> None:
        """Find the column that names raters, or the columns that are raters."""
        if self.found.keys() & {"rater", "rater_name", "raters", "columns"}:
            return
        both = _rater_and_scale(self.head.header)
        if both:
            self.found["columns"] = both
            self.notes.append(
                f"columns called like {both} are one rater's answers on one scale each; {typed('columns').rstrip()} says otherwise"
            )
            return
        column = next((c for c in self.head.header if stem(c) in RATER), None)
        group = _numbered(self.head.header)
        if group and column is None:
            self._take("raters", group)
            return
        column = column or self._one(RATER)
        if column is None:
            free = ",".join(c for c in self.head.header if c not in self._taken())
            one = "--option rater_name=NAME if one person rated all"
            fix = f"write --rater COLUMN, --option raters= with one column each (out of {free}), or {one}"
            self._refuse("no column says who rated", fix)
        else:
            self._take("rater", column)

    def _answers(self) -> None:
        """Find the columns with scales and values."""
        pattern = str(self.found.get("columns", ""))
        if "scales" in self.found or "{scale}" in pattern:
            return
        if not self.found.keys() & {"scale", "scale_name"}:
            self._simple("scale", SCALE)
        if "raters" not in self.found and not pattern and "value" not in self.found:
            self._value()
        if not self.found.keys() & {"scale", "scale_name"}:
            name = str(self.found.get("value", "rating"))
            self.found["scale_name"] = name
            self.notes.append(f"no column names the scale, which is called {name}; --scale calls it otherwise")

    def _value(self) -> None:
        found = self._named(VALUE) or [c for c in self.head.header if stem(c) == "label" and c not in self._taken()]
        if len(found) == 1:
            self._take("value", found[0])
            return
        free = [c for c in self.head.header if c not in self._taken()]
        rest = found or [c for c in free if stem(c) not in ITEM | TRUTH | MODALITY | TEXT]
        if len(rest) == 1:
            self._take("value", rest[0])
            return
        fix = f"write --value COLUMN, or --option scales= with a column per question, out of: {','.join(rest or free)}"
        self._refuse("several columns may hold the answers" if rest else "no column holds answers", fix)

    def _known(self) -> dict[str, str]:
        """Return the columns with what is known of items."""
        facts = dict(self.found.get("facts", {}))
        for name, words in {"truth": TRUTH, "modality": MODALITY, **FACTS}.items():
            column = next((c for c in self.head.header if stem(c) in words and c not in self._taken() | set(facts.values())), None)
            if name in facts or column is None:
                continue
            items = [c for c in _tuple(self.found.get("item", ())) if c in self.head.header]
            if items and self._kept().varies(column, items):
                self.notes.append(f"{column} differs within an item and is left out; {typed('occasion')}{column} makes occasions of it")
                continue
            facts[name] = column
            self.notes.append(f"{name} is {column}; {typed(name).rstrip()} names another")
        if "raters" not in self.found and "columns" not in self.found:
            self._simple("text", TEXT)
        return facts

    def _items(self, facts: dict[str, str]) -> None:
        """Find the columns that name items: with the rater, scale and occasion they must tell all rows apart."""
        if "item" in self.found:
            return
        others = [c for role in ("rater", "scale", "occasion") for c in _tuple(self.found.get(role, ()))]
        kept = self._kept()
        candidates = [c for c in kept.header if stem(c) in ITEM and c not in self._taken()]
        if not candidates and "patient" in facts:
            candidates = [facts["patient"]]
        modality = facts.get("modality")
        fitting = []
        for candidate in candidates:
            item = (candidate, modality) if modality and kept.varies(modality, [candidate]) else (candidate,)
            if kept.unique([*item, *others]) or (len(candidates) == 1 and not self._told_apart(kept, others)):
                fitting.append(item)
        if len(fitting) == 1:
            item = fitting[0]
            self._take("item", item if len(item) > 1 else item[0])
            if len(item) > 1:
                facts.setdefault("case", item[0])
                self.notes.append(f"{item[0]} in each {item[1]} is an item of its own; its case is {item[0]}")
            return
        wide = [",".join(item) for item in fitting] or [",".join(c) for c in self._told_apart(kept, others)]
        shown = " or ".join(f"--item {columns}" for columns in wide[:6])
        apart = "--option occasion=COLUMN where raters repeat, or --option where=COLUMN=WORD to keep some rows"
        fix = f"write {shown}, which tell all ratings of a rater apart" if shown else f"write --item COLUMN, and {apart}"
        self._refuse("no column is sure to name the items", fix)

    def _kept(self) -> Head:
        """Return the rows that the user's `where` keeps."""
        rows = self.head.rows
        for column, words in self.found.get("where", {}).items():
            if column in self.head.header:
                place = self.head.header.index(column)
                rows = tuple(row for row in rows if row[place] in {str(word) for word in _tuple(words)})
        return Head(self.head.path, self.head.header, rows)

    def _told_apart(self, head: Head, others: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the smallest sets of free columns that tell all rows apart, with the columns that mean something else."""
        answers = [c for c in _tuple(self.found.get("value", ())) if c in head.header]
        free = [c for c in head.header if c and c not in self._taken() and not any(head.alike(c, a) for a in answers)]
        for size in (1, 2, 3):
            fit = [c for c in itertools.combinations(free[:_FEW], size) if head.unique([*c, *others])]
            if fit:
                return fit
        return []

    def _refuse(self, what: str, fix: str) -> None:
        said = f" (so far: {'; '.join(note.split(';')[0] for note in self.notes)})" if self.notes else ""
        raise InputError(Problem(f"{what}{said}", str(self.head.path), f"{fix}; columns: {', '.join(self.head.header)}"))


def typed(name: str) -> str:
    """Return how an option is typed: those that every file has by their own name, those of an importer as `--option NAME=`."""
    return f"--{name} " if name in _OWN_FLAGS else f"--option {name}="


def _tuple(columns: Any) -> tuple[str, ...]:
    return (columns,) if isinstance(columns, str) else tuple(str(c) for c in columns)


def _parts(name: str) -> list[str]:
    """Return the words of a column's name: `readerID`, `reader_slot` and `reader.1` begin with reader."""
    split = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return [part.casefold() for part in re.split(r"[^A-Za-z0-9]+|(?<=[A-Za-z])(?=\d)", split) if part]


def stem(name: str) -> str:
    """Return a column's name without case, punctuation, and a final id, name or number."""
    parts = _parts(name)
    return "".join(parts[:-1] if len(parts) > 1 and parts[-1] in ("id", "name", "no", "number", "index") else parts)


def _numbered(header: Sequence[str]) -> tuple[str, ...]:
    """Return the columns called by one word for a rater and a number: observer.1, observer.2."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in header:
        match = re.fullmatch(r"([A-Za-z]+)[ _.-]?(\d+)", name)
        if match and match.group(1).casefold() in RATER | SHORT_RATER:
            groups[match.group(1).casefold()].append(name)
    largest = max(groups.values(), key=len) if groups else []
    return tuple(largest) if len(largest) > 1 else ()


def _rater_and_scale(header: Sequence[str]) -> str:
    """Return the pattern of columns such as R1_noise and R2_noise, nothing where there are none."""
    for mark in "_.- ":
        split = [name.split(mark, 1) for name in header if mark in name]
        raters = [s for s in split if re.fullmatch(r"([A-Za-z]+?)\d+", s[0]) and re.sub(r"\d", "", s[0]).casefold() in RATER | SHORT_RATER]
        per_scale = Counter(scale for _, scale in raters)
        if len({rater for rater, _ in raters}) > 1 and per_scale and max(per_scale.values()) > 1:
            return f"{{rater}}{mark}{{scale}}"
    return ""
