"""Takes in the files that readers saved: checks them against the study's key, keeps them, and says who is missing and what is odd."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from ..components import Context, RatingImporter
from ..errors import InputError, Problem
from ..host import Host
from ..quantities import Rating

FOLDER = "answers"
HASTY_SECONDS = 2.0
LONG_SECONDS = 600.0
LEAST_SHARE = 0.5


@dataclass(frozen=True)
class Reader:
    """How far a reader is. asked, answered: questions; seconds: median time that an image was on screen."""

    asked: int
    answered: int
    seconds: float | None


@dataclass(frozen=True)
class Taken:
    """What a study has after files were taken in. taken: the new ones, as they are kept; known: those that were there already."""

    study: str
    taken: tuple[Path, ...]
    known: tuple[Path, ...]
    readers: Mapping[str, Reader]
    remarks: tuple[str, ...] = field(default=())


def take_in(study: Path, answers: Sequence[Path], host: Host | None = None) -> Taken:
    """Check these files with all that the study has, and copy them into its folder `answers`, where none is ever overwritten.

    Nothing is copied where a file is refused: `InputError` where it is damaged, belongs to another study or page, or contradicts
    what the same reader answered in another file. host: the installed components, one of which reads the files.
    """
    folder = study / FOLDER
    there = {path: path.read_bytes() for path in sorted(folder.glob("*.json"))}
    new: list[Path] = []
    known: list[Path] = []
    for path in answers:
        content = _content(path)
        (known if content in there.values() or any(content == _content(other) for other in new) else new).append(path)
    key, ratings = _ratings(study, [*there, *new], host or Host.discover())
    taken = []
    if new:
        folder.mkdir(exist_ok=True)
    for path in new:
        taken.append(_free(folder, json.loads(_content(path).decode("utf-8-sig"))["reader"]))
        shutil.copyfile(path, taken[-1])
    readers = {name: _reader([r for r in ratings if r.rater == name]) for name in key["readers"]}
    unchecked = [path for path in (*there, *taken) if json.loads(path.read_text(encoding="utf-8-sig")).get("page_computed") is None]
    remarks = [f"{path.name}: the browser could not tell whether the page was edited" for path in unchecked]
    remarks += [remark for name in key["readers"] for remark in _remarks(name, readers[name], [r for r in ratings if r.rater == name])]
    return Taken(key["study"], tuple(taken), tuple(known), readers, tuple(remarks))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror}", str(path), "give the files that readers saved")) from error


def _ratings(study: Path, files: Sequence[Path], host: Host) -> tuple[dict[str, Any], list[Rating]]:
    """Return the study's key and the ratings in these files, read as an audit reads them; not free text, which may stay empty."""
    importer = host.build("rating_importer", "study", {"path": str(study.resolve()), "answers": [str(f.resolve()) for f in files]}, study)
    assert isinstance(importer, RatingImporter)
    if not files:
        raise InputError(Problem("no file of answers is given, and the study has none", str(study), "name the files that readers saved"))
    with TemporaryDirectory() as scratch:
        ratings = list(importer.read(Context(0, Path(scratch))))
    key: dict[str, Any] = json.loads((study / "key.json").read_text(encoding="utf-8"))
    text = {question["name"] for question in key["questions"] if question["level"] == "text"}
    return key, [rating for rating in ratings if rating.scale not in text]


def _free(folder: Path, reader: str) -> Path:
    """Return a name in the folder that no file has yet."""
    number, path = 1, folder / f"answers-{reader}.json"
    while path.exists():
        number += 1
        path = folder / f"answers-{reader}-{number}.json"
    return path


def _reader(ratings: Sequence[Rating]) -> Reader:
    times = _times(ratings)
    return Reader(len(ratings), sum(rating.status == "ok" for rating in ratings), median(times) if times else None)


def _times(ratings: Sequence[Rating]) -> list[float]:
    """Return the time of each showing that was answered."""
    shown = {(rating.item, rating.occasion): rating.seconds for rating in ratings if rating.status == "ok"}
    return [seconds for seconds in shown.values() if seconds is not None]


def _remarks(name: str, reader: Reader, ratings: Sequence[Rating]) -> Iterator[str]:
    if not ratings:
        yield f"{name}: no answers yet"
        return
    if reader.answered < LEAST_SHARE * reader.asked:
        yield f"{name}: fewer than half of the questions are answered ({reader.answered} of {reader.asked})"
    elif reader.answered < reader.asked:
        yield f"{name}: {reader.asked - reader.answered} of {reader.asked} questions are not answered"
    times = _times(ratings)
    hasty, long_ = sum(t < HASTY_SECONDS for t in times), sum(t > LONG_SECONDS for t in times)
    if hasty:
        yield f"{name}: {hasty} of {len(times)} images were on screen for less than {HASTY_SECONDS:g} s"
    if long_:
        yield f"{name}: {long_} of {len(times)} images were on screen for more than {LONG_SECONDS / 60:g} min"
    for scale in sorted({rating.scale for rating in ratings}):
        values = [rating.value for rating in ratings if rating.scale == scale and rating.status == "ok"]
        if len(values) >= 10 and len(set(map(str, values))) == 1:
            yield f"{name}: every answer on {scale} is {values[0]!r}"


def lines(taken: Taken) -> Iterator[str]:
    """Yield what a command says of the answers that a study has."""
    yield taken.study
    for path in taken.taken:
        yield f"taken in: {path}"
    for path in taken.known:
        yield f"there already: {path}"
    for name, reader in taken.readers.items():
        pace = "" if reader.seconds is None else f", {reader.seconds:.0f} s an image (median)"
        yield f"{name}: {reader.answered} of {reader.asked} questions answered{pace}"
    yield from (f"note: {remark}" for remark in taken.remarks)
