"""Files of ratings as they lie about: which importer reads one, and which column is what, from the file's content alone.

What is not certain is said; where several readings are possible none is chosen, and the options to write are named.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..components import Context, RatingImporter
from ..errors import InputError, Problem, raise_if
from ..host import Host
from ..quantities import Rating, members
from .columns import FACTS, ITEM, RATER, TRUTH, Guess, Head, stem

_REDCAP = frozenset({"redcap_event_name", "redcap_repeat_instrument", "redcap_repeat_instance", "redcap_data_access_group"})
_SEVERAL = frozenset({"item", "rater", "scale", "occasion", "raters", "scales", "texts", "sets", "missing", "categories", "by"})
_PAIRS = frozenset({"where", "same", "limits", "facts"})
_KEY = "key.json"
_ANSWERS = "harness-study-answers-"
_OLD_OFFICE = bytes.fromhex("d0cf11e0a1b11ae1")
_ALWAYS_SEVERAL = frozenset({"raters", "scales", "texts", "sets", "missing", "categories"})
_FEW = 12
_MOST_WORDS = 50


@dataclass(frozen=True)
class Sniffed:
    """How a file can be read: the importer, its options without the path, and what was taken for what."""

    importer: str
    options: dict[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """A scale that ratings are on. level: a proposal, empty where it must be said. why: what the proposal rests on."""

    name: str
    level: str
    categories: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Read:
    """The ratings of some files, what must be known of how they were read, and the scales that they are on."""

    ratings: list[Rating]
    notes: list[str]
    scales: list[Seen]


def read(paths: Sequence[Path], host: Host, overrides: Mapping[str, Any] | None = None) -> Read:
    """Return the ratings of all files; problems of all files at once.

    overrides: what the user says: `importer`, `truth`, `by` (columns that items are told apart by), and any option of the importer; a
    word with commas is several where an option takes several, `{file}` in rater_name is the file's name.
    """
    ratings: list[Rating] = []
    notes: list[str] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            found, said = _of_file(path, host, dict(overrides or {}))
        except InputError as error:
            problems.extend(error.problems)
            continue
        ratings.extend(found)
        notes.extend(said)
    raise_if(problems, InputError)
    raise_if(_between_files(ratings), InputError)
    scales = [_seen(name, [r for r in ratings if r.scale == name], overrides or {}) for name in dict.fromkeys(r.scale for r in ratings)]
    return Read(ratings, notes, scales)


def _of_file(path: Path, host: Host, overrides: dict[str, Any]) -> tuple[list[Rating], list[str]]:
    sniffed = sniff(path, overrides)
    importer = host.build("rating_importer", sniffed.importer, {"path": str(path.absolute()), **sniffed.options}, Path.cwd(), str(path))
    assert isinstance(importer, RatingImporter)
    with tempfile.TemporaryDirectory() as folder:
        context = Context(seed=0, workdir=Path(folder))
        try:
            ratings = list(importer.read(context))
        except InputError as error:
            raise InputError(*(replace(p, fix=_for_the_command_line(p.fix)) for p in error.problems)) from None
    said = [f"{path.name}: {text}" for text in sniffed.notes]
    return ratings, [*said, *(f"{subject}: {text}" for subject, text in context.notes.items())]


def _for_the_command_line(fix: str) -> str:
    """Return what to do with options as the command takes them: importers write them as model.yaml does."""
    return re.sub(r"\bwrite (\w+): (.+)$", r"write --option '\1=\2' (several in one, with commas between them)", fix)


def sniff(path: Path, overrides: Mapping[str, Any] | None = None) -> Sniffed:
    """Return how to read a file; `InputError` with the options to write where its content does not say."""
    given = {name: _as_option(name, value) for name, value in (overrides or {}).items() if value not in (None, "", (), [])}
    if "rater_name" in given:
        given["rater_name"] = str(given["rater_name"]).replace("{file}", path.stem)
    wanted = given.pop("importer", None)
    if path.is_dir() and (path / _KEY).exists():
        return Sniffed("study", {**given, "path": str(path.absolute())}, ("read as the folder of a reader study",))
    try:
        start = path.read_bytes()
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror}", str(path), "check the name of the file")) from error
    if start.startswith(_OLD_OFFICE):
        raise InputError(Problem("an old or locked Excel workbook", str(path), "save it as Excel workbook (.xlsx) without a password"))
    if start.startswith(b"PK\x03\x04") or wanted == "excel":
        return _table(_workbook(path, given), given, "excel")
    text = _decoded(path, start, given)
    if wanted in ("label_studio", "study") or (wanted is None and text.lstrip()[:1] in ("[", "{")):
        return _of_json(path, text, given, wanted)
    if wanted == "imrmc" or (wanted is None and re.search(r"^\s*BEGIN DATA", text, re.MULTILINE | re.IGNORECASE)):
        return Sniffed("imrmc", _plain(given), ("read as an iMRMC file: reader, case, modality, score",))
    head = _csv_head(path, text, given)
    if wanted == "redcap" or (wanted is None and _REDCAP & set(head.header)):
        return _redcap(head, given)
    if wanted is None and _has_truth_rows(head):
        return Sniffed("imrmc", _plain(given), ("read as an iMRMC file: rows of the reader -1 or truth say the truth of cases",))
    return _table(head, given, wanted or "csv")


def _as_option(name: str, value: Any) -> Any:
    """Return what the user says as importers take it: words with commas as several, `a=b` or `{a: b}` as a mapping, `s=0:5` as limits."""
    if name in _PAIRS and isinstance(value, str) and re.search("[=:]", value):
        pairs = re.split(";" if name == "where" else "[,;]", value.strip().removeprefix("{").removesuffix("}"))
        split = [re.split(r"=|:\s", pair.strip(), maxsplit=1) for pair in pairs]
        if all(len(pair) == 2 for pair in split):
            return {_unquoted(left): _of_pair(name, _unquoted(right)) for left, right in split}
    if isinstance(value, str) and name in _SEVERAL and ("," in value or name in _ALWAYS_SEVERAL):
        return _listed(value)
    if name == "delimiter" and value == r"\t":
        return "\t"
    return tuple(value) if isinstance(value, list) else value


def _unquoted(word: str) -> str:
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'" else word.strip()


def _of_pair(name: str, word: str) -> Any:
    if name == "limits":
        return tuple(word.split(":"))
    return _listed(word) if name == "where" and "," in word else word


def _plain(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of importers that know their columns themselves; `scale` is then the name of the scale."""
    options = dict(given)
    if "scale" in options:
        options["scale_name"] = options.pop("scale")
    return options


def _decoded(path: Path, content: bytes, given: Mapping[str, Any]) -> str:
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = str(given.get("encoding") or ("utf-16" if marked else "utf-8"))
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except (UnicodeDecodeError, LookupError) as error:
        raise InputError(
            Problem(f"not {encoding}: {error}", str(path), "say in which encoding it is: --option encoding=latin-1")
        ) from error


def _csv_head(path: Path, text: str, given: Mapping[str, Any]) -> Head:
    first = re.sub(r'"[^"]*"', "", next((line for line in text.splitlines() if line.strip()), ""))
    marks = [mark for mark in (",", ";", "\t", "|") if mark in first]
    delimiter = str(given.get("delimiter") or (marks[0] if marks else ","))
    try:
        rows = [tuple(c.strip() for c in row) for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(row)]
    except csv.Error as error:
        raise InputError(Problem(f"not a table: {error}", str(path), "ratings are read from CSV, Excel and JSON files")) from error
    if len(rows) < 2:
        raise InputError(Problem("no ratings in the file", str(path), "its first row must name the columns, the others hold ratings"))
    width = len(rows[0])
    # Rows of another length are refused with their lines by the importer; here they only must not hide what the columns are.
    return Head(path, rows[0], tuple(row for row in rows[1:] if len(row) == width))


def _workbook(path: Path, given: Mapping[str, Any]) -> Head:
    try:
        import openpyxl
        from openpyxl.utils.exceptions import InvalidFileException
    except ImportError as error:
        raise InputError(Problem("the package openpyxl is not installed", str(path), "pip install openpyxl")) from error
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, InvalidFileException) as error:
        raise InputError(Problem(f"not an Excel workbook: {error}", str(path), "save it as .xlsx without a password")) from error
    tabs: dict[str, list[tuple[Any, ...]]] = {}
    for tab in book.worksheets:
        rows = [row for row in tab.iter_rows(values_only=True) if any(cell is not None for cell in row)]
        if rows:
            tabs[tab.title] = rows
    book.close()
    chosen = given.get("sheet_name") or (next(iter(tabs)) if len(tabs) == 1 else None)
    if chosen not in tabs:
        raise InputError(Problem("which sheet holds the ratings?", str(path), f"write --option sheet_name= with one of: {', '.join(tabs)}"))
    words = [tuple("" if cell is None else str(cell).strip() for cell in row) for row in tabs[str(chosen)]]
    if len(words) < 2:
        raise InputError(Problem("no ratings in the sheet", f"{path}:{chosen}", "its first row must name the columns"))
    return Head(path, words[0], tuple(words[1:]), {"sheet_name": chosen})


def _of_json(path: Path, text: str, given: dict[str, Any], wanted: str | None) -> Sniffed:
    """Return how to read a JSON file: answers of a study's page, or tasks of Label Studio."""
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(Problem(f"not JSON: {error}", str(path), "export it again")) from error
    if wanted == "study" or (wanted is None and isinstance(content, dict) and str(content.get("format", "")).startswith(_ANSWERS)):
        folder = given.pop("study", None) or next((str(f) for f in path.absolute().parents[:2] if (f / _KEY).exists()), None)
        if folder is None:
            fix = "leave it in the folder of the study, or name that folder: --option study=FOLDER"
            raise InputError(Problem("answers of a reader study, whose key is not here", str(path), fix))
        options = {**given, "path": folder, "answers": (str(path.absolute()),)}
        return Sniffed("study", options, (f"read as answers of the reader study in {folder}",))
    task = content[0] if isinstance(content, list) and content and isinstance(content[0], dict) else {}
    if wanted is None and not {"data", "annotations"} <= task.keys():
        fix = "export the project of Label Studio as JSON, or save a table as CSV"
        raise InputError(Problem("JSON of an unknown form: neither answers of a study nor tasks of Label Studio", str(path), fix))
    data = task.get("data") or {}
    options = _facts(dict(given))
    notes = ["read as tasks of Label Studio"]
    if {"slot", "reader"} <= data.keys() and "key" not in options and not options.keys() & {"item", "rater"}:
        key = next((str(f / _KEY) for f in path.absolute().parents[:3] if (f / _KEY).exists()), None)
        if key is None:
            fix = "name the key of that study, --option key=STUDY/key.json, or take slots for items: --item slot --rater reader"
            raise InputError(Problem("tasks of a reader study: its key says what the slots showed", str(path), fix))
        options["key"] = key
        notes.append(f"slots are those of the study whose key is {key}")
    if "item" not in options and "key" not in options:
        known = [key for key in data if stem(key) in ITEM] or ["id"]
        options["item"] = known[0]
        notes.append(f"item is {known[0]} of the data; --item names another")
    truth = {key: key for key in data if stem(key) in TRUTH}
    if truth and "facts" not in options:
        options["facts"] = {"truth": next(iter(truth))}
        notes.append(f"truth is {next(iter(truth))} of the data; --truth names another")
    return Sniffed("label_studio", options, tuple(notes))


def _facts(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options with `truth`, `by` and the like as facts."""
    facts: dict[str, str] = {}
    for name in ("truth", "modality", "case", *FACTS):
        if name in given:
            facts[name] = str(given.pop(name))
    by = given.pop("by", ())
    facts |= {name: name for name in ((by,) if isinstance(by, str) else by)}
    own = given.get("facts", {})
    facts |= dict(own) if isinstance(own, Mapping) else {name: name for name in ((own,) if isinstance(own, str) else own)}
    return {**given, "facts": facts} if facts else given


def _has_truth_rows(head: Head) -> bool:
    named = {stem(name): name for name in head.header}
    if not {"reader", "case", "modality", "score"} <= named.keys():
        return False
    return any(word.casefold() in ("-1", "truth") for word in head.column(named["reader"]))


def _redcap(head: Head, given: dict[str, Any]) -> Sniffed:
    """Return how to read an export of REDCap; which fields hold answers must be plain or said."""
    options, notes = _facts(dict(given)), ["read as an export of REDCap"]
    own = [c for c in head.header if c in _REDCAP or c == "record_id" or c.endswith(("_complete", "_timestamp"))]
    columns = [c for c in head.header if c not in own]
    if "rater" not in options and "rater_name" not in options:
        found = [c for c in columns if stem(c) in RATER]
        instance = "redcap_repeat_instance"
        repeats = instance in head.header and len({word for word in head.column(instance) if word}) > 1
        if len(found) != 1 and not (repeats and not found):
            raise InputError(Problem("which field names the reader?", str(head.path), f"write --rater, one of: {', '.join(columns + own)}"))
        options["rater"] = found[0] if found else instance
        notes.append(f"rater is {options['rater']}; --rater names another")
    if "item" not in options:
        found = [c for c in columns if stem(c) in ITEM]
        options["item"] = found[0] if len(found) == 1 else "record_id"
        notes.append(f"item is {options['item']}; --item names another")
    taken = {options.get("rater"), options.get("item"), *options.get("facts", {}).values()}
    fields = list(dict.fromkeys(re.sub(r"___\w+$", "", c) for c in columns if c not in taken))
    if "scales" not in options:
        if len(fields) != 1:
            raise InputError(
                Problem("which fields hold answers?", str(head.path), f"write --option scales= with some of: {','.join(fields)}")
            )
        options["scales"] = tuple(fields)
    return Sniffed("redcap", options, tuple(notes))


def _table(head: Head, given: dict[str, Any], importer: str) -> Sniffed:
    """Return how to read a table."""
    for name in ("item", "rater", "value", "truth", "modality", "case", "patient", "occasion", "seconds", "by"):
        named = given.get(name, ())
        unknown = [column for column in ((named,) if isinstance(named, str) else named) if column not in head.header]
        if unknown:
            raise InputError(Problem(f"no column is called {unknown[0]}", f"{head.path} --{name}", f"columns: {', '.join(head.header)}"))
    guess = Guess(head, _facts(dict(given)))
    options = guess.options()
    return Sniffed(importer, head.options | options, tuple(guess.notes))


def _between_files(ratings: Sequence[Rating]) -> Iterator[Problem]:
    """Yield what one file says and another says again or spells otherwise; within a file the importer has asked."""
    first: dict[tuple[str, str, str, str], Rating] = {}
    for rating in ratings:
        other = first.setdefault((rating.item, rating.rater, rating.scale, rating.occasion), rating)
        if other is not rating:
            what = f"{rating.rater} rates {rating.item} on {rating.scale} a second time, first at {other.source}"
            yield Problem(what, rating.source, "leave out one of the files, or give them different occasions")
    spelled: dict[tuple[str, str], Rating] = {}
    asked: set[tuple[str, str]] = set()
    for rating in ratings:
        if rating.status == "ok" and isinstance(rating.value, str):
            other = spelled.setdefault((rating.scale, " ".join(rating.value.casefold().split())), rating)
            file, before = rating.source.split(":")[0], other.source.split(":")[0]
            if other.value != rating.value and file != before and (rating.scale, rating.value) not in asked:
                asked.add((rating.scale, rating.value))
                what = f"{rating.value!r} on {rating.scale} differs from {other.value!r} at {other.source} only in case or spaces"
                yield Problem(what, rating.source, f"if it means the same, write --option 'same={rating.value}={other.value}'")


def _seen(name: str, ratings: Sequence[Rating], given: Mapping[str, Any]) -> Seen:
    """Return what level a scale may have: as the user's options imply, else a proposal, or none where the values do not say."""
    words = [str(r.value) for r in ratings if r.status == "ok" and r.value is not None]
    if name in _listed(given.get("sets")):
        found = dict.fromkeys(member for word in words for member in members(word))
        return Seen(name, "set", tuple(sorted(found)), "declared as a set; its categories are those that occur")
    if name in _listed(given.get("texts")) or name.endswith("_comment"):
        return Seen(name, "text", (), f"{len(set(words))} different texts")
    distinct = sorted(set(words), key=lambda w: (_number(w) is None, _number(w) or 0.0, w))
    numbers = [n for n in map(_number, distinct) if n is not None]
    if not distinct:
        return Seen(name, "", (), "no rating is usable")
    if len(numbers) == len(distinct):
        return _numeric(name, distinct, numbers)
    if len(distinct) > _MOST_WORDS and len(distinct) > 0.5 * len(words):
        return Seen(name, "text", (), f"{len(distinct)} different texts among {len(words)}")
    if numbers:
        return Seen(name, "", tuple(distinct), f"numbers and words ({', '.join(distinct[:_FEW])})")
    if any("; " in word for word in distinct):
        return Seen(name, "", tuple(distinct), f"some answers name several categories; where that is meant, add --option sets={name}")
    return Seen(name, "nominal", tuple(distinct), f"{len(distinct)} different words")


def _numeric(name: str, distinct: Sequence[str], numbers: Sequence[float]) -> Seen:
    span = f"{len(distinct)} different numbers from {distinct[0]} to {distinct[-1]}"
    if len(distinct) > _FEW or any(n != int(n) for n in numbers):
        return Seen(name, "interval", (), span)
    return Seen(name, "", tuple(distinct), f"{span}, which may be nominal, ordinal or interval")


def _listed(value: Any) -> tuple[str, ...]:
    words = value.split(",") if isinstance(value, str) else value or ()
    return tuple(str(word).strip() for word in words)


def _number(word: str) -> float | None:
    return float(word) if re.fullmatch(r"[-+]?\d+(\.\d+)?", word) else None
