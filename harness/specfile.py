"""Reads `model.yaml`: what it says as an `AuditSpec`, the line of everything in it, every problem at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .errors import InputError, Problem, SpecError
from .spec import AuditSpec, digest
from .yamlfile import Lines, Place, flow, line_of, load, refusals

__all__ = ["SpecFile", "flow", "read", "schema"]


@dataclass(frozen=True)
class SpecFile:
    """A `model.yaml` that has been read: the audit, the file, and the line of everything in it."""

    spec: AuditSpec
    path: Path
    sha256: str
    raw: Mapping[str, Any] = field(repr=False)
    lines: Lines = field(repr=False)

    @property
    def base(self) -> Path:
        """Folder that paths in the file are relative to."""
        return self.path.parent

    def where(self, *place: str | int) -> str:
        """Return `file:line` of the deepest part of `place` that the file has; what a command line said has no lines."""
        if not self.lines:
            return "the command line"
        return f"{self.path.name}:{line_of(self.lines, place)}"


def read(path: Path, *, whole: bool = True) -> SpecFile:
    """Return the checked content of `model.yaml`; `SpecError` carries every problem found, with file and line.

    whole: it must say everything that an audit needs, a generator and purposes too.
    """
    raw, lines = _plain(path)
    try:
        spec = AuditSpec.model_validate(raw)
    except ValidationError as error:
        raise SpecError(*refusals(error, path.name, lines, AuditSpec)) from None
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


def _plain(path: Path) -> tuple[dict[str, Any], dict[Place, int]]:
    try:
        raw, lines = load(path, missing="harness init DIR writes one", folder="name the model.yaml inside it")
    except InputError as error:
        raise SpecError(*error.problems) from None
    if not isinstance(raw, dict):
        raise SpecError(Problem("must be a mapping that starts with `audit: NAME`", path.name))
    return raw, lines
