"""Download public weights files: a manifest says where they are and what their digests must be. Nothing is fetched in an audit.

The manifest is `schemas/weights.json`. A file is written beside its place under the name `*.part`, checked against its size and its
SHA-256 digest, and only then moved to its place; an interrupted download goes on where it stopped.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException, HTTPResponse
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

from . import __version__
from .errors import HarnessError, Problem

SCHEMES = frozenset({"https"})
TIMEOUT_S = 30.0
_BLOCK = 1 << 20
_PARTIAL, _NOTHING_THERE = 206, 416
Report = Callable[[str, int, int | None], None]


class WeightsFile(BaseModel):
    """One file to download.

    file: its name, possibly in a folder of its own. size: bytes, None where not known. sha256: the digest or its published
    beginning, None where nobody publishes one; source: who says so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    file: str
    address: str
    size: int | None = Field(None, gt=0)
    sha256: str | None = Field(None, pattern="^[0-9a-f]{8,64}$")
    source: str = Field(min_length=1)

    @field_validator("file")
    @classmethod
    def _inside(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or not re.fullmatch(r"[\w.\-/]+", value):
            raise ValueError("must be a plain name, with a folder at most")
        return value

    @property
    def pinned(self) -> bool:
        """Whether the whole digest is known."""
        return self.sha256 is not None and len(self.sha256) == 64


class Entry(BaseModel):
    """What one name of the manifest downloads.

    used_by: extractor and option. licence: its name; licence_address: where it is written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(pattern="^[a-z0-9_]+$")
    what: str
    used_by: str
    files: tuple[WeightsFile, ...] = Field(min_length=1)
    licence: str
    licence_address: str
    citation: str


@dataclass(frozen=True)
class Fetched:
    """A file that is in its place: where, its digest, whether the whole of that was known beforehand, whether it was there before."""

    path: Path
    sha256: str
    checked: bool
    was_there: bool


@cache
def manifest() -> tuple[Entry, ...]:
    """Return what can be fetched."""
    text = files("harness.schemas").joinpath("weights.json").read_text(encoding="utf-8")
    return TypeAdapter(tuple[Entry, ...]).validate_python(json.loads(text))


def find(names: Sequence[str], entries: Iterable[Entry] | None = None) -> tuple[Entry, ...]:
    """Return the entries of these names; names that are not in the manifest are one error that says what is close."""
    known = {entry.name: entry for entry in (manifest() if entries is None else entries)}
    problems = []
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            fix = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"
            problems.append(Problem(f"the manifest of weights has no {name!r}", "", fix))
    if problems:
        raise HarnessError(*problems)
    return tuple(known[name] for name in dict.fromkeys(names))


def fetch(entry: Entry, folder: Path, report: Report = lambda file, done, total: None) -> tuple[Fetched, ...]:
    """Download the files of an entry into a folder and return where they are; what is there already is checked and kept.

    report: called with the name of the file, the bytes that are there, and how many there will be where the server says so.
    Raises `HarnessError` for what the user can mend; a file that fails its check is never left in its place.
    """
    return tuple(_fetch(file, folder / file.file, report) for file in entry.files)


def _fetch(file: WeightsFile, target: Path, report: Report) -> Fetched:
    try:
        if target.exists():
            digest = _digest(target)
            if not _matches(file, digest):
                text = f"another file is here already: its digest is {digest}, it must be {_wanted(file)}"
                raise HarnessError(Problem(text, str(target), "move it away, or name another folder"))
            return Fetched(target, digest, file.pinned, was_there=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        _download(file, part, report)
        return _settle(file, part, target)
    except OSError as error:
        raise HarnessError(Problem(f"cannot be written or read: {error.strerror or error}", str(error.filename or target))) from error


def _settle(file: WeightsFile, part: Path, target: Path) -> Fetched:
    """Move a complete download to its place, if it is what it must be; delete it, if it is not."""
    digest, size = _digest(part), part.stat().st_size
    wrong = f"has the digest {digest}, it must be {_wanted(file)}" if not _matches(file, digest) else ""
    if file.size is not None and size != file.size:
        wrong = f"has {size:,} bytes, it must have {file.size:,}"
    if wrong:
        part.unlink()
        fix = "the publisher has replaced the file, or something between here and there has; it was deleted"
        raise HarnessError(Problem(f"what came {wrong}", file.address, fix))
    part.replace(target)
    return Fetched(target, digest, file.pinned, was_there=False)


def _download(file: WeightsFile, part: Path, report: Report) -> None:
    """Write the file to `part`; go on at its end where the digest can tell whether the two halves belong together."""
    start = part.stat().st_size if part.exists() and file.pinned else 0
    if file.size is not None and start >= file.size:
        if start == file.size:
            return
        start = 0
    with _response(file, start, part) as response:
        resumed = start > 0 and response.status == _PARTIAL
        _write(file, response, part, start if resumed else 0, report)


def _response(file: WeightsFile, start: int, part: Path) -> Any:
    """Return the answer to a request for the file from byte `start` on, or from its beginning if there is nothing from there on."""
    try:
        return _opened(file, start)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == _NOTHING_THERE and start:
                return _response(file, 0, part)
            said = f"the server answers {error.code} {error.reason}"
            raise HarnessError(Problem(said, file.address, _by_hand(part))) from error
    except (HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise HarnessError(Problem(f"cannot be reached: {reason}", file.address, _by_hand(part))) from error


def _write(file: WeightsFile, response: HTTPResponse, part: Path, start: int, report: Report) -> None:
    length = response.headers.get("Content-Length")
    total = start + int(length) if length is not None and length.isdigit() else None
    done = start
    with part.open("ab" if start else "wb") as out:
        while True:
            try:
                block = response.read(_BLOCK)
            except (HTTPException, OSError) as error:
                raise _interrupted(file, done, total) from error
            if not block:
                break
            out.write(block)
            done += len(block)
            report(file.file, done, total)
    if total is not None and done < total:
        raise _interrupted(file, done, total)


def _interrupted(file: WeightsFile, done: int, total: int | None) -> HarnessError:
    of = f" of {total:,}" if total is not None else ""
    fix = "the same command goes on from there" if file.pinned else "the same command starts it again"
    return HarnessError(Problem(f"the connection broke after {done:,}{of} bytes", file.address, fix))


class _SameScheme(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but not to an address that is not encrypted."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Return the request for the new address, or refuse it."""
        _require_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opened(file: WeightsFile, start: int) -> Any:
    _require_scheme(file.address)
    asked = {"User-Agent": f"audit-harness/{__version__}", "Accept-Encoding": "identity"}
    if start:
        asked["Range"] = f"bytes={start}-"
    request = urllib.request.Request(file.address, headers=asked)  # noqa: S310 - the scheme has been checked
    opener = urllib.request.build_opener(_SameScheme)
    return opener.open(request, timeout=TIMEOUT_S)


def _require_scheme(address: str) -> None:
    if urlsplit(address).scheme not in SCHEMES:
        raise HarnessError(Problem("only https addresses are fetched", address, "download the file yourself and pin its digest"))


def _by_hand(part: Path) -> str:
    place = part.with_name(part.name.removesuffix(".part"))
    return f"without a network: download the address elsewhere and save it as {place}; the same command then checks it"


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _matches(file: WeightsFile, digest: str) -> bool:
    return file.sha256 is None or digest.startswith(file.sha256)


def _wanted(file: WeightsFile) -> str:
    return str(file.sha256) if file.pinned else f"{file.sha256}... (its published beginning)"
