"""Reads YAML 1.2 with line numbers: nothing that could run or explode, no key twice, every problem at once.

Anchors, aliases and tags are refused: a file of a few lines could otherwise expand to gigabytes or ask for Python objects.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, NodeEvent
from ruamel.yaml.reader import ReaderError

from .errors import InputError, Problem

LIMIT_BYTES = 1_000_000
DEEPEST = 60
Place = tuple[str | int, ...]
Lines = Mapping[Place, int]


def read_yaml(path: Path, model: type[BaseModel] | None = None) -> Any:
    """Return what a YAML file holds: mappings, lists, text, numbers, truth values and None; or, with a pydantic model, an instance of it.

    `InputError` names the file and the line: of what is not YAML 1.2, of a key that occurs twice, and of everything that the model
    refuses.
    """
    raw, lines = load(path)
    if model is None:
        return raw
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise InputError(*refusals(error, path.name, lines, model)) from None


def load(path: Path, *, missing: str = "check the path", folder: str = "name the file inside it") -> tuple[Any, dict[Place, int]]:
    """Return what the file holds and the line of every key and list item in it, by its place.

    missing, folder: what to do where there is no such file, or where the path is a folder. `InputError` as `read_yaml`.
    """
    text = _text(path, missing, folder)
    _refuse_tricks(text, path.name)
    try:
        loaded = _parser().load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        raise InputError(_syntax(error, path.name)) from None
    lines: dict[Place, int] = {(): 1}
    return _walk(loaded, (), lines, path.name), lines


def flow(text: str) -> Any:
    """Return the value of one line of YAML 1.2, as an option on a command line; `ValueError` where it is none."""
    try:
        _refuse_tricks(text, "")
        return _walk(_parser().load(text), (), {}, "")
    except (YAMLError, RecursionError, InputError) as error:
        raise ValueError(str(error)) from error


def line_of(lines: Lines, place: Iterable[str | int]) -> int:
    """Return the line of the deepest known prefix of `place`, passing over names that pydantic adds to a location."""
    known: Place = ()
    for part in place:
        if (*known, part) in lines:
            known = (*known, part)
    return lines.get(known, 1)


def refusals(error: ValidationError, name: str, lines: Lines, model: type[BaseModel]) -> list[Problem]:
    """Return what the model refuses in the file of this name, in the order of its lines; a misspelt key gets the nearest known one."""
    found: dict[tuple[str, str], Problem] = {}
    for item in error.errors():
        place = [part for part in item["loc"] if not (isinstance(part, str) and ("[" in part or ("-" in part and " " in part)))]
        where = f"{name}:{line_of(lines, place)}"
        dotted = ".".join(str(part) for part in place) or "the file"
        if item["type"] == "extra_forbidden":
            known = _fields(place[:-1], model)
            close = difflib.get_close_matches(str(place[-1]), known, n=1, cutoff=0.6)
            hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
            problem = Problem(f"unknown key {str(place[-1])!r}", where, hint)
        elif item["type"] == "missing":
            problem = Problem(f"{dotted} is missing", where)
        else:
            shown = "" if isinstance(item["input"], dict | list) else f", got {item['input']!r}"[:80]
            problem = Problem(f"{dotted}: {item['msg'].removeprefix('Value error, ')}{shown}", where)
        found.setdefault((problem.what, where), problem)
    return sorted(found.values(), key=lambda p: int(p.where.rsplit(":", 1)[-1]))


def _text(path: Path, missing: str, folder: str) -> str:
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise InputError(Problem("is a folder", str(path), folder))
        if size > LIMIT_BYTES:
            raise InputError(Problem(f"is {size:,} bytes; such a file has at most {LIMIT_BYTES:,}", str(path)))
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(Problem("there is no such file", str(path), missing)) from None
    except UnicodeDecodeError as error:
        raise InputError(Problem(f"is not UTF-8 text (byte {error.start})", str(path))) from None
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror}", str(path))) from None


def _parser() -> YAML:
    yaml = YAML(typ="rt", pure=True)
    yaml.version = (1, 2)
    return yaml


def _refuse_tricks(text: str, name: str) -> None:
    depth = 0
    try:
        for event in YAML(typ="rt", pure=True).parse(text):
            line = event.start_mark.line + 1
            if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
                raise InputError(Problem("anchors (&) and aliases (*) are not allowed", f"{name}:{line}", "write the value out"))
            tag = getattr(event, "tag", None) if isinstance(event, NodeEvent) else None
            if tag is not None and str(tag) not in ("", "None"):
                raise InputError(Problem(f"the tag {tag} is not allowed", f"{name}:{line}", "write a plain value"))
            depth += type(event).__name__.endswith("StartEvent") - type(event).__name__.endswith("EndEvent")
            if depth > DEEPEST:
                raise InputError(Problem("nested too deeply", f"{name}:{line}"))
    except (YAMLError, ValueError, RecursionError) as error:
        raise InputError(_syntax(error, name)) from None


def _syntax(error: Exception, name: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    where = f"{name}:{mark.line + 1}" if mark is not None else name
    if type(error).__name__ == "DuplicateKeyError":
        key = str(getattr(error, "problem", "")).split('"')[1:2]
        return Problem(f"the key {key[0] if key else ''!r} occurs twice".replace("''", "?"), where, "keep one of them")
    problem = str(getattr(error, "problem", "") or error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, ReaderError):
        return Problem("holds a character that YAML does not allow", name)
    if "\\t" in problem:
        return Problem("a tab is used for indentation", where, "use spaces")
    return Problem(f"is not valid YAML: {problem}", where)


def _walk(node: Any, place: Place, lines: dict[Place, int], name: str) -> Any:
    """Return plain Python data and note the line of every key and list item; keys become text, so 1 and "1" are the same key."""
    if isinstance(node, CommentedMap):
        out: dict[str, Any] = {}
        for key, value in node.items():
            line = node.lc.key(key)[0] + 1
            if str(key) in out:
                raise InputError(Problem(f"the key {str(key)!r} occurs twice", f"{name}:{line}", "keep one of them"))
            lines[(*place, str(key))] = line
            out[str(key)] = _walk(value, (*place, str(key)), lines, name)
        return out
    if isinstance(node, CommentedSeq):
        for index in range(len(node)):
            lines[(*place, index)] = node.lc.item(index)[0] + 1
        return [_walk(value, (*place, index), lines, name) for index, value in enumerate(node)]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return str(node)


def _fields(place: Iterable[str | int], model: type[BaseModel]) -> list[str]:
    """Return the field names of the part of the model at `place`."""
    at: type[BaseModel] | None = model
    for part in place:
        if at is not None and isinstance(part, str) and part in at.model_fields:
            at = _model_in(at.model_fields[part].annotation)
    return list(at.model_fields) if at is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        found = _model_in(part)
        if found is not None:
            return found
    return None
