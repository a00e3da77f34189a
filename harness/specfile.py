"""Reads `model.yaml`: YAML 1.2 with line numbers, every problem at once, nothing that could run or explode.

Anchors, aliases and tags are refused: a file of a few lines could otherwise expand to gigabytes or ask for Python objects.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, NodeEvent
from ruamel.yaml.reader import ReaderError

from .errors import Problem, SpecError
from .spec import AuditSpec, digest

LIMIT_BYTES = 1_000_000
Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class SpecFile:
    """A `model.yaml` that has been read: the audit, the file, and the line of everything in it."""

    spec: AuditSpec
    path: Path
    sha256: str
    raw: Mapping[str, Any] = field(repr=False)
    lines: Mapping[Path_, int] = field(repr=False)

    @property
    def base(self) -> Path:
        """Folder that paths in the file are relative to."""
        return self.path.parent

    def where(self, *place: str | int) -> str:
        """Return `file:line` of the deepest part of `place` that the file has; what a command line said has no lines."""
        if not self.lines:
            return "the command line"
        return f"{self.path.name}:{_line(self.lines, place)}"


def read(path: Path, *, whole: bool = True) -> SpecFile:
    """Return the checked content of `model.yaml`; `SpecError` carries every problem found, with file and line.

    whole: it must say everything that an audit needs, a generator and purposes too.
    """
    raw, lines = _plain(path)
    try:
        spec = AuditSpec.model_validate(raw)
    except ValidationError as error:
        raise SpecError(*_problems(error, path.name, lines)) from None
    file = SpecFile(spec, path.resolve(), digest(raw), raw, lines)
    if whole and spec.lacks():
        fix = "add it; only `harness qualify` works without"
        raise SpecError(*(Problem(f"{place} is missing", file.where(*place.split(".")), fix) for place in spec.lacks()))
    return file


def schema(options: Mapping[str, Mapping[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return the JSON Schema of `model.yaml` for the installed components: kind -> name -> JSON Schema of the options."""
    whole = AuditSpec.model_json_schema()
    definitions = whole["$defs"]
    for kind, named in options.items():
        suite = ["default"] if kind == "metric" else []
        short = {"enum": sorted([*named, *suite]), "description": f"an installed {kind.replace('_', ' ')}"}
        alias = {"as": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_]*$", "description": "another name for it in this audit"}}
        long = [
            {
                "type": "object",
                "properties": {name: body | {"properties": body.get("properties", {}) | alias}},
                "required": [name],
                "additionalProperties": False,
            }
            for name, body in sorted(named.items())
        ]
        definitions[f"{kind}_reference"] = {"anyOf": [short, *long]}
    whole["required"] = ["audit", "data", "generator", "samples", "purposes"]
    properties = whole["properties"]
    properties["generator"] = {"$ref": "#/$defs/generator_reference"}
    for key, kind in (("extractors", "extractor"), ("metrics", "metric"), ("perturbations", "perturbation")):
        properties[key]["items"] = {"$ref": f"#/$defs/{kind}_reference"}
    properties["metrics"] = {"anyOf": [{"const": "default"}, properties["metrics"]]}
    definitions["Tasks"]["properties"]["components"]["items"] = {"$ref": "#/$defs/task_reference"}
    ratings = definitions["Ratings"]["properties"]
    ratings["importers"]["items"] = {"$ref": "#/$defs/rating_importer_reference"}
    ratings["llm_checks"]["items"] = {"$ref": "#/$defs/llm_check_reference"}
    definitions.pop("Reference", None)
    # A bare name is a complete scale, and `folder` a complete attribute.
    for name, words in (("ScaleSpec", {"type": "string"}), ("Attribute", {"const": "folder"})):
        definitions[name] = {"anyOf": [words, definitions[name]]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "model.yaml of the audit harness", **whole}


def flow(text: str) -> Any:
    """Return the value of one line of YAML 1.2, as an option on a command line; `ValueError` where it is none."""
    try:
        _refuse_tricks(text, "")
        yaml = YAML(typ="rt", pure=True)
        yaml.version = (1, 2)
        return _walk(yaml.load(text), (), {})
    except (YAMLError, RecursionError, SpecError) as error:
        raise ValueError(str(error)) from error


def _plain(path: Path) -> tuple[dict[str, Any], dict[Path_, int]]:
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise SpecError(Problem("is a folder", str(path), "name the model.yaml inside it"))
        if size > LIMIT_BYTES:
            raise SpecError(Problem(f"is {size:,} bytes; a model.yaml has at most {LIMIT_BYTES:,}", str(path)))
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError(Problem("there is no such file", str(path), "harness init DIR writes one")) from None
    except UnicodeDecodeError as error:
        raise SpecError(Problem(f"is not UTF-8 text (byte {error.start})", str(path))) from None
    except OSError as error:
        raise SpecError(Problem(f"cannot be read: {error.strerror}", str(path))) from None
    _refuse_tricks(text, path.name)
    yaml = YAML(typ="rt", pure=True)
    yaml.version = (1, 2)
    try:
        loaded = yaml.load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        raise SpecError(_syntax(error, path.name)) from None
    if not isinstance(loaded, CommentedMap):
        raise SpecError(Problem("must be a mapping that starts with `audit: NAME`", path.name))
    lines: dict[Path_, int] = {(): 1}
    return _walk(loaded, (), lines), lines


def _refuse_tricks(text: str, name: str) -> None:
    yaml = YAML(typ="rt", pure=True)
    depth = 0
    try:
        for event in yaml.parse(text):
            line = event.start_mark.line + 1
            if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
                raise SpecError(Problem("anchors (&) and aliases (*) are not allowed", f"{name}:{line}", "write the value out"))
            tag = getattr(event, "tag", None) if isinstance(event, NodeEvent) else None
            if tag is not None and str(tag) not in ("", "None"):
                raise SpecError(Problem(f"the tag {tag} is not allowed", f"{name}:{line}", "write a plain value"))
            depth += type(event).__name__.endswith("StartEvent") - type(event).__name__.endswith("EndEvent")
            if depth > 60:
                raise SpecError(Problem("nested too deeply", f"{name}:{line}"))
    except (YAMLError, ValueError, RecursionError) as error:
        raise SpecError(_syntax(error, name)) from None


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


def _walk(node: Any, place: Path_, lines: dict[Path_, int]) -> Any:
    """Return plain Python data and note the line of every key and list item."""
    if isinstance(node, CommentedMap):
        out = {}
        for key, value in node.items():
            lines[(*place, str(key))] = node.lc.key(key)[0] + 1
            out[str(key)] = _walk(value, (*place, str(key)), lines)
        return out
    if isinstance(node, CommentedSeq):
        for index in range(len(node)):
            lines[(*place, index)] = node.lc.item(index)[0] + 1
        return [_walk(value, (*place, index), lines) for index, value in enumerate(node)]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return str(node)


def _line(lines: Mapping[Path_, int], place: Iterable[str | int]) -> int:
    """Return the line of the deepest known prefix of `place`, passing over names that pydantic adds to a location."""
    known: Path_ = ()
    for part in place:
        if (*known, part) in lines:
            known = (*known, part)
    return lines.get(known, 1)


def _problems(error: ValidationError, name: str, lines: Mapping[Path_, int]) -> list[Problem]:
    found: dict[tuple[str, str], Problem] = {}
    for item in error.errors():
        place = [part for part in item["loc"] if not (isinstance(part, str) and ("[" in part or ("-" in part and " " in part)))]
        where = f"{name}:{_line(lines, place)}"
        dotted = ".".join(str(part) for part in place) or "the file"
        if item["type"] == "extra_forbidden":
            known = _fields(place[:-1])
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


def _fields(place: Iterable[str | int]) -> list[str]:
    """Return the field names of the model at `place`."""
    model: type[BaseModel] | None = AuditSpec
    for part in place:
        if model is not None and isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation)
    return list(model.model_fields) if model is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        found = _model_in(part)
        if found is not None:
            return found
    return None
