"""The report on files of ratings without an audit: how far raters agree, how right they are, and what is wrong in the files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from .. import raters
from ..content import count_ratings, list_disputes
from ..errors import InputError, Problem, raise_if
from ..host import Host
from ..quantities import Level, Rating
from ..raters.rows import as_row
from ..readerspec import ScaleSpec
from ..records import ConsensusRow, RatingRow, ReliabilityRow
from . import reading
from .reading import Seen
from .report import Report

_BINARY = frozenset({"0", "1"})


@dataclass(frozen=True)
class Asked:
    """What to report on. level, categories: of the scale (of each scale, where the files have several), in the order of the categories.

    positive: the value of the truth that high answers speak for. overrides: which column is what, and options of the importer, as
    `reading.read` takes them. seed: of the resampling.
    """

    files: tuple[Path, ...]
    level: str | None = None
    categories: tuple[str, ...] = ()
    positive: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    title: str = ""


def look(asked: Asked, host: Host) -> Report:
    """Read the files and analyse every scale; `InputError` where they do not say what they hold."""
    if asked.level not in (None, *get_args(Level)):
        raise InputError(Problem(f"there is no level {asked.level!r}", "--level", f"known: {', '.join(get_args(Level))}"))
    read = reading.read(asked.files, host, asked.overrides)
    notes = list(read.notes)
    scales = _scales(asked, read.scales, read.ratings, notes)
    rows = [_apart(as_row(r, s.level, s.categories)) for s in scales for r in read.ratings if r.scale == s.name]
    truths = {r.facts["truth"] for r in read.ratings if r.facts.get("truth")}
    if asked.positive is not None and asked.positive not in truths:
        raise InputError(Problem(f"no item's truth is {asked.positive!r}", "--positive", f"known: {', '.join(sorted(truths)) or 'none'}"))
    found: list[ReliabilityRow | ConsensusRow] = []
    for scale in scales:
        mine = [row for row in rows if row.scale == scale.name]
        found += raters.analyse(scale, mine, _facts(mine), asked.seed)
    # The folder of a study stands for the files in it that decide what was read.
    files = [file for path in asked.files for file in ([path] if path.is_file() else sorted(path.rglob("*.json")))]
    return Report(
        title=asked.title or f"Ratings in {', '.join(path.name for path in asked.files)}",
        files=tuple((str(path), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files),
        notes=tuple(notes),
        problems=_problems(rows),
        counts=count_ratings(rows),
        rows=tuple(row for row in found if isinstance(row, ReliabilityRow)),
        consensus=tuple(row for row in found if isinstance(row, ConsensusRow)),
        scales=tuple(scales),
        disputes=list_disputes(rows),
        moment=datetime.fromtimestamp(max(path.stat().st_mtime for path in files), UTC),
    )


def _scales(asked: Asked, seen: Sequence[Seen], ratings: Sequence[Rating], notes: list[str]) -> list[ScaleSpec]:
    """Return the scales as the user declares them, or else as the values propose; a scale that neither says is refused."""
    problems, scales = [], []
    for one in seen:
        level = asked.level or ("ordinal" if asked.categories and one.level == "" else one.level)
        if not level:
            fix = "add --level ordinal with --categories in their order, or --level nominal or interval"
            problems.append(Problem(f"the level of the scale {one.name} is not known: {one.why}", str(asked.files[0]), fix))
            continue
        if asked.level is None and one.why:
            notes.append(f"{one.name} is taken as {level}: {one.why}; --level says otherwise")
        # The order of an ordinal scale is nobody's to guess, nor is a level that happens to be unused.
        proposed = () if level == "ordinal" else one.categories
        categories = () if level in ("interval", "text") else asked.categories or proposed
        if level == "nominal" and not asked.categories:
            notes.append(f"{one.name}: categories are the answers that occur; --categories declares them, and lists what is none of them")
        truths = {r.facts["truth"] for r in ratings if r.scale == one.name and r.facts.get("truth")}
        options: dict[str, Any] = {"name": one.name, "level": level, "categories": categories}
        answers = set(categories) or {str(r.value) for r in ratings if r.scale == one.name and r.value is not None}
        if level in ("nominal", "ordinal") and truths and truths <= answers and not (level == "ordinal" and truths <= _BINARY):
            options["truth"] = "label"
        elif level == "nominal" and truths:
            odd = ", ".join(sorted(truths - answers)[:5])
            problems.append(Problem(f"{one.name}: the truth is {odd} for some items, which is no answer on the scale", str(asked.files[0]),
                                    "write truth and answers alike, or give --categories"))  # fmt: skip
        if level in ("ordinal", "interval") and truths:
            options["positive"] = _positive(asked, one.name, truths, notes)
        try:
            scales.append(ScaleSpec(**options))
        except ValidationError as error:
            what = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            problems.append(Problem(what, str(asked.files[0]), "--categories with commas between them"))
    raise_if(problems, InputError)
    return scales


def _positive(asked: Asked, scale: str, truths: set[str], notes: list[str]) -> str:
    """Return the truth that high answers speak for, empty where nobody says; 1 of 0 and 1 needs no saying."""
    if asked.positive is not None:
        return asked.positive
    if truths == _BINARY:
        notes.append(f"{scale}: high answers are taken to speak for the truth 1; --positive says otherwise")
        return "1"
    notes.append(f"{scale}: no AUC, since nobody says which truth high answers speak for; --positive says it")
    return ""


def _apart(row: RatingRow) -> RatingRow:
    """Return a rating of an image in which a fault was planted as one of another item than the image without."""
    return row.model_copy(update={"item": f"{row.item}+{row.facts['planted']}"}) if row.facts.get("planted") else row


def _facts(rows: Sequence[RatingRow]) -> dict[str, dict[str, str]]:
    facts: dict[str, dict[str, str]] = {}
    for row in rows:
        facts.setdefault(row.item, {}).update(row.facts)
    return facts


def _problems(rows: Sequence[RatingRow]) -> tuple[Problem, ...]:
    """Return what could not be used, value by value; answers that are missing are counted, not listed."""
    return tuple(
        Problem(f"{row.rater} on {row.item}, {row.scale}: {row.reason}", row.source) for row in rows if row.status not in ("ok", "missing")
    )
