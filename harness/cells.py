"""A cell is one component on fixed inputs with fixed options and seed; its key is a hash of all of them."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import __version__
from .errors import StoreError
from .quantities import Record
from .records import ROWS, CellStatus
from .spec import digest

LEAST_FREE_BYTES = 1_000_000
UNFINISHED_DAYS = 30
TOLERANT = frozenset({
    "evaluate.summarise", "trust.factors", "standouts.run", "rate.read", "rate.agree", "judge_cell.run", "planting.plant", "qualify.decide",
})  # fmt: skip
_ROW_CLASSES = {row.table: row for row in ROWS}


@dataclass(frozen=True)
class Cell:
    """One unit of work. `function` is `stage module.function`; `arguments` hold everything it depends on, keys of cells included."""

    key: str
    stage: str
    component: str
    title: str
    function: str
    arguments: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    seconds: float = 1.0

    @property
    def tolerant(self) -> bool:
        """Whether the cell runs although something it needs has no result: it says itself what is missing."""
        return self.function in TOLERANT


@dataclass(frozen=True)
class Result:
    """What a cell produced: rows, whatever became of it."""

    status: CellStatus
    rows: tuple[Record, ...] = ()
    reason: str = ""
    seconds: float = 0.0
    peak_mb: float = 0.0
    output: str = ""
    cached: bool = False
    blocked: bool = False


@dataclass
class Draft:
    """A plan being drawn: cells by key, in an order in which every cell follows those that it needs."""

    seed: int
    device: str
    failed: Set[str] = frozenset()
    planned: Set[str] = frozenset()
    retry: bool = False
    cells: dict[str, Cell] = field(default_factory=dict)

    def add(
        self,
        stage: str,
        component: str,
        title: str,
        function: str,
        arguments: Mapping[str, Any],
        identity: Any,
        needs: Sequence[str] = (),
        seconds: float = 1.0,
    ) -> str:
        """Add a cell and return its key. `identity`: name, version, options and input files of the components involved."""
        parts = {"harness": __version__, "function": function, "arguments": arguments, "identity": identity, "seed": self.seed}
        parts |= {"device": self.device} if self.device != "cpu" else {}
        key, tries = digest(parts)[:32], 0
        while key in self.failed:
            tries += 1
            again = digest({**parts, "retry": tries})[:32]
            # Without being asked, only what an earlier attempt tried again stays tried again.
            if not self.retry and again not in self.planned:
                break
            key = again
        self.cells[key] = Cell(key, stage, component, title, function, dict(arguments), tuple(dict.fromkeys(needs)), seconds)
        return key


def derive(seed: int, *words: Any) -> int:
    """Return a seed below 2**63 that depends on the audit's seed and on these words only."""
    return int(digest([seed, *[str(w) for w in words]])[:16], 16) >> 1


@dataclass(frozen=True)
class Cache:
    """Results of finished cells on disk: `KEY/result.json` and whatever arrays the cell left beside it."""

    root: Path

    def folder(self, key: str) -> Path:
        """Return the folder of a cell."""
        return self.root / key[:2] / key

    def load(self, key: str) -> Result | None:
        """Return the stored result of a cell, None where it has not finished."""
        try:
            text = (self.folder(key) / "result.json").read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        body = json.loads(text)
        rows = tuple(_ROW_CLASSES[table].model_validate_json(row) for table, row in body.pop("rows"))
        return Result(rows=rows, cached=True, **body)

    def workspace(self, key: str) -> Path:
        """Return an empty folder that `keep` will move into place."""
        self.root.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f"{key}.{os.getpid()}.", dir=self.root))

    def unfinished(self, key: str) -> Path:
        """Return the folder in which a cell that may take long keeps what it needs to go on after a kill."""
        folder = self.root / "unfinished" / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def keep(self, key: str, workspace: Path, result: Result) -> None:
        """Write the result and move the workspace into place in one step: a kill leaves all of it or nothing."""
        body = {"status": result.status, "reason": result.reason, "seconds": result.seconds, "peak_mb": result.peak_mb}
        body |= {"output": result.output, "blocked": result.blocked, "rows": [[row.table, row.model_dump_json()] for row in result.rows]}
        target = workspace / "result.json"
        with target.open("w", encoding="utf-8") as stream:
            json.dump(body, stream)
            stream.flush()
            os.fsync(stream.fileno())
        final = self.folder(key)
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():
            final.rename(workspace.with_name(f"{workspace.name}.old"))
        try:
            workspace.rename(final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            # Another audit finished the same cell in the same moment: its result is as good.
            shutil.rmtree(workspace)
        shutil.rmtree(workspace.with_name(f"{workspace.name}.old"), ignore_errors=True)
        if result.status != "failed":
            shutil.rmtree(self.root / "unfinished" / key, ignore_errors=True)

    def sweep(self) -> None:
        """Remove workspaces whose process is gone (a killed run leaves some behind), and what lay unfinished for a month."""
        oldest = time.time() - UNFINISHED_DAYS * 86400
        for path in (self.root / "unfinished").glob("*"):
            if max(part.stat().st_mtime for part in (path, *path.rglob("*"))) < oldest:
                shutil.rmtree(path, ignore_errors=True)
        for path in self.root.glob("*.*.*") if self.root.is_dir() else ():
            owner = path.name.split(".")[1]
            if owner.isdigit() and not Path(f"/proc/{owner}").exists():
                shutil.rmtree(path, ignore_errors=True)


def disk_is_full(error: OSError, where: Path) -> bool:
    """Return whether a failure to write comes from a full disk; not every library passes the error number on."""
    existing = next(path for path in (where, *where.absolute().parents) if path.exists())
    return error.errno == errno.ENOSPC or shutil.disk_usage(existing).free < LEAST_FREE_BYTES


def full_disk(error: OSError, where: Path) -> StoreError:
    """Return the error for a disk that is full (or another failure to write), which keeps what is finished."""
    reason = "the disk is full" if disk_is_full(error, where) else f"cannot be written: {error.strerror or error}"
    return StoreError(f"{where}: {reason}; finished cells are kept\n  make room and run the same command again")
