"""The files that lie beside a results file: the queue for its lock, the spool of batches that wait for it, its salt."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import Problem, StoreError

PAUSE = 0.01
SALT_BYTES = 16
SALT_VARIABLE = "HARNESS_SALT"


def beside(path: Path, suffix: str) -> Path:
    """Return the path of the file with this suffix beside a results file."""
    return path.with_name(path.name + suffix)


def put(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file in one step that survives a loss of power: a reader finds all of it or nothing."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    settle(path.parent)


def settle(folder: Path) -> None:
    """Make the names in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def turn(path: Path, exclusive: bool, deadline: float) -> Iterator[bool]:
    """Queue at the lock file until the deadline (monotonic s) and say whether the turn came.

    Readers share a turn and a writer has it alone, so that a stream of readers cannot keep the writer out for ever.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT if exclusive else os.O_RDONLY, 0o644)
    except OSError:
        # Readers may lack the right to write here, and need no queue where no writer ever was.
        if exclusive:
            raise
        yield False
        return
    try:
        yield _wait(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH, deadline)
    finally:
        os.close(descriptor)


def _wait(descriptor: int, kind: int, deadline: float) -> bool:
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(PAUSE)


class Spool:
    """Batches of rows that wait for a locked results file, one JSON-lines file each, in the order in which they came."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def batches(self) -> list[Path]:
        """Return the waiting batches, the oldest first."""
        return sorted(self.folder.glob("[0-9]*.jsonl"))

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Keep a batch; its name is never used twice, so that no batch is taken in twice."""
        new = not self.folder.is_dir()
        self.folder.mkdir(parents=True, exist_ok=True)
        if new:
            settle(self.folder.parent)
        waiting = self.batches()
        number = int(waiting[-1].name.partition("-")[0]) + 1 if waiting else 1
        text = "".join(f"{json.dumps(row, allow_nan=False)}\n" for row in rows)
        put(self.folder / f"{number:06d}-{secrets.token_hex(8)}.jsonl", text.encode())

    def read(self, batch: Path) -> list[dict[str, Any]]:
        """Return the rows of a batch."""
        try:
            return [json.loads(line) for line in batch.read_text(encoding="utf-8").splitlines()]
        except ValueError as error:
            fix = "move it away; its cells are computed again"
            raise StoreError(Problem("is not a batch of rows", str(batch), fix)) from error

    def discard(self, batches: Sequence[Path]) -> None:
        """Remove batches that the results file has, and the folder once it is empty."""
        for batch in batches:
            batch.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()


def salt(path: Path) -> bytes:
    """Return the secret that keeps the hashed patient ids of a results file from being guessed.

    It is the environment variable `HARNESS_SALT` (32 hex digits, to share one between files), or the file beside the results
    file, which is made where there is none.
    """
    given = os.environ.get(SALT_VARIABLE)
    if given is not None:
        if not re.fullmatch(f"[0-9a-fA-F]{{{2 * SALT_BYTES}}}", given):
            fix = f"set it to {2 * SALT_BYTES} hex digits, or unset it to use the file beside the results"
            raise StoreError(Problem(f"{SALT_VARIABLE} is not a salt", fix=fix))
        return bytes.fromhex(given)
    kept = beside(path, ".salt")
    if not kept.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with turn(beside(path, ".lock"), exclusive=True, deadline=time.monotonic() + 10.0):
            if not kept.exists():
                put(kept, secrets.token_bytes(SALT_BYTES), mode=0o600)
    content = kept.read_bytes()
    if len(content) != SALT_BYTES:
        fix = "put it back from a copy, or remove it: the hashed patient ids then change and cells are computed again"
        raise StoreError(Problem(f"must hold {SALT_BYTES} bytes, has {len(content)}", str(kept), fix))
    return content
