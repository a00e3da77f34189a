"""Carries out an audit: cells to rows, with cache, journal, progress and local worker processes.

The journal is the store together with the cache: a cell's arrays and rows reach the cache in one rename, its rows reach the store
in one transaction. Whatever is killed, the same command goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Protocol

from . import __version__, plan
from .bench import Bench
from .cells import Cache, Cell, Result, full_disk
from .checks import Parts, assemble, component_rows
from .errors import InputError, Problem, StoreError
from .host import Host
from .neighbours import MEMORY
from .plan import Plan
from .pool import Pool
from .quantities import Record
from .records import AuditRow, CellRow, ComponentRow, ImageSetRow, LedgerRow, OutcomeRow, PlannedCellRow
from .spec import AuditSpec, digest
from .specfile import SpecFile
from .stages import planting, sample
from .store import LockedError, Store

FLUSH_SECONDS = 1.0
ADDITIVE = frozenset({"extractors", "metrics", "perturbations", "components", "importers", "llm_checks", "scales", "mixes"})
PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "monai", "duckdb", "pydantic", "pluggy", "weasyprint", "pillow",
            "nibabel", "pydicom", "tifffile")  # fmt: skip


class Progress(Protocol):
    """What is told of a run while it goes on."""

    def update(self, stage: str, title: str, done: int, total: int, seconds_left: float | None) -> None:
        """Say that `done` of `total` cells are done, and what is being worked on."""


class Quiet:
    """Says nothing."""

    def update(self, stage: str, title: str, done: int, total: int, seconds_left: float | None) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Settings:
    """How to run. workers: local processes, 0 = in this one. retry_failed: try failed cells again. memory: bytes, for distances."""

    store: Path
    cache: Path
    workers: int = 2
    device: str = "cpu"
    retry_failed: bool = False
    memory: int = MEMORY


@dataclass
class Audit:
    """One attempt at an audit."""

    file: SpecFile
    parts: Parts
    settings: Settings
    progress: Progress = field(default_factory=Quiet)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def __post_init__(self) -> None:
        self.store = Store(self.settings.store)
        self.cache = Cache(self.settings.cache)
        self.salt = self.store.salt()
        self.bench = Bench(self.file, self.parts, self.cache, self.salt, self.settings.device, self.settings.memory)
        # Every byte of the real images is read for these, so once.
        self.files = sample.file_digests(self.file.spec.data, self.file.base)
        self.first = plan.draw(self.file, self.parts, self.salt, self.files, device=self.settings.device)
        self.data_sha256 = digest(self.files)
        self.plan_sha256 = digest({"plan": self.file.spec.plan(), "data": self.data_sha256})
        self.generator_sha256 = digest(self.parts.generator.identity if self.parts.generator else None)
        # Snapshots of earlier attempts: what fails in this one is not tried again in this one.
        self.failed: set[str] = set()
        self.planned: set[str] = set()
        self.id = f"{self.file.spec.audit}-{self.plan_sha256[:8]}-{self.generator_sha256[:8]}"

    @property
    def dossier(self) -> Path:
        """Where the dossier of this audit lies, beside the results file; it is there only while it is up to date."""
        return self.store.path.parent / f"{self.id}.pdf"

    def begun_on(self) -> str | None:
        """Return the device on which this audit was begun, None where it was not."""
        known = self.store.rows(AuditRow, self.id)
        return str(known[0].environment.get("device", self.settings.device)) if known else None

    def lock(self) -> None:
        """Write the plan to the ledger, once, before the first score."""
        self._begin()
        if not any(row.event == "locked" for row in self.store.rows(LedgerRow, self.id)):
            self.store.ledger(self.id, 0, "locked", self.plan_sha256, self.now())

    def draw(self) -> Plan:
        """Return the plan as it stands, final once the synthetic images are known."""
        again = {"failed": self.failed, "planned": self.planned, "retry": self.settings.retry_failed}
        known: dict[str, list[ImageSetRow]] = {}
        first = plan.draw(self.file, self.parts, self.salt, self.files, device=self.settings.device, **again)  # type: ignore[arg-type]
        for key in first.images:
            result = self.cache.load(key)
            stored = self.store.rows(ImageSetRow, self.id, cell=key)
            known[key] = [row for row in (result.rows if result else stored) if isinstance(row, ImageSetRow)]
        train = next((row.n for row in known[first.data] if row.role == "train"), 500)
        return plan.draw(
            self.file,
            self.parts,
            self.salt,
            self.files,
            synthetic={key: rows[0].sha256 for key, rows in known.items() if rows},
            n_train=train,
            lock=self._first_lock(),
            others=self._others(),
            device=self.settings.device,
            **again,  # type: ignore[arg-type]
        )

    def run(self) -> str:
        """Do everything that is left to do and return the audit's id; the store then holds verdicts."""
        self.cache.sweep()
        self._read_data()
        self.failed = {row.key for row in self.store.rows(CellRow, self.id) if row.status == "failed"}
        self.planned = {row.key for row in self.store.rows(PlannedCellRow, self.id)}
        self.lock()
        attempt = self.store.begin_attempt(self.id, self.plan_sha256, self.now())
        try:
            made = self.draw()
            self._plan_and_do(made, {key: made.cells[key] for key in made.images})
            whole = self.draw()
            self._plan_and_do(whole, whole.cells)
        except BaseException as error:
            # A row for the attempt, whatever ended it; the error goes on its way.
            reason = "interrupted" if isinstance(error, KeyboardInterrupt) else " ".join(str(error).split())[:500] or type(error).__name__
            with contextlib.suppress(LockedError):
                self._end(attempt, "interrupted", reason)
            raise
        self._end(attempt, "finished", None)
        return self.id

    def _end(self, attempt: int, event: Literal["finished", "interrupted"], error: str | None) -> None:
        at = self.now()
        self.store.append(self.id, [OutcomeRow(attempt=attempt, finished_at=at, error=error)])
        self.store.ledger(self.id, attempt, event, self.plan_sha256, at)

    def _read_data(self) -> None:
        """Read the real images before anything is stored: what is wrong with them is refused, and the store is as it was."""
        cell = self.first.cells[self.first.data]
        if self.cache.load(cell.key) is not None:
            return
        began = time.perf_counter()
        workspace = self.cache.workspace(cell.key)
        try:
            rows = tuple(sample.read(self.bench, cell, workspace))
            self.cache.keep(cell.key, workspace, Result("ok", rows, seconds=time.perf_counter() - began))
        except OSError as error:
            raise full_disk(error, self.cache.root) from error
        finally:
            shutil.rmtree(workspace, ignore_errors=True)

    def _begin(self) -> None:
        broken = self.store.verify_ledger()
        if broken:
            raise StoreError(
                Problem(f"the ledger was altered: {broken[0]}", str(self.store.path), "start a new results file, or restore this one")
            )
        begun_on = self.begun_on()
        if begun_on not in (None, self.settings.device):
            what, where = f"this audit was begun on {begun_on}, and {self.settings.device} would mix results of two devices", "--device"
            raise InputError(Problem(what, where, f"write --device {begun_on}, or start a new results file with --store"))
        components = list(component_rows(self.parts))
        if self.id in self.store.audits():
            known = {(c.kind, c.name, c.identity_sha256) for c in self.store.rows(ComponentRow, self.id)}
            self.store.append(self.id, [c for c in components if (c.kind, c.name, c.identity_sha256) not in known])
            return
        spec = self.file.spec
        # Another plan for this generator; another generator under this plan is an audit beside it.
        same = (spec.audit, self.id.rsplit("-", 1)[1])
        previous = [i for i in self.store.audits() if (i.rsplit("-", 2)[0], i.rsplit("-", 1)[1]) == same and i != self.id]
        environment = {
            "python": platform.python_version(), "platform": platform.platform(), "processor": platform.machine(),
            "cores": os.cpu_count(), "device": self.settings.device, "threads per cell": 1,
            "packages": {name: version for name in PACKAGES if (version := _version(name))},
        }  # fmt: skip
        rows: list[Record] = [AuditRow(
            name=spec.audit, started_at=self.now(), seed=spec.seed, spec=spec.model_dump(mode="json"), spec_sha256=self.file.sha256,
            plan_sha256=self.plan_sha256, data_sha256=self.data_sha256, generator_sha256=self.generator_sha256,
            harness_version=__version__, environment=environment, supersedes=previous[-1] if previous else None,
        )]  # fmt: skip
        self.store.append(self.id, [*rows, *components])

    def _first_lock(self) -> Mapping[str, Any] | None:
        """Return what was locked first under this name and what was changed since, None where nothing was."""
        first = self.store.first_lock(self.file.spec.audit)
        if first is None:
            return None
        row = self.store.rows(AuditRow, first[0])[0]
        changed = changes(AuditSpec.model_validate(row.spec).plan(), self.file.spec.plan())
        locked = {(c.kind, c.name): c.identity_sha256 for c in reversed(self.store.rows(ComponentRow, first[0]))}
        for part in self.parts.all():
            known = locked.get((part.offer.kind, part.name))
            if part.offer.kind != "generator" and known is not None and known != digest(part.identity) and part.name not in changed:
                changed.append(f"version or files of {part.name}")
        # A suite or a preset may hold less than it did, where a distribution was removed.
        present = {(part.offer.kind, part.name) for part in self.parts.all()}
        gone = sorted((kind, name) for kind, name in locked.keys() - present if kind != "generator" and f"{kind}s" not in changed)
        changed += [f"{kind} {name}, which is missing" for kind, name in gone]
        same = row.plan_sha256 == self.plan_sha256 and not changed
        return None if same else {"purposes": row.spec["purposes"], "same_data": row.data_sha256 == self.data_sha256, "changed": changed}

    def _others(self) -> list[str]:
        """Return earlier audits of this generator on these data under other names."""
        rows = {i: self.store.rows(AuditRow, i)[0] for i in self.store.audits()}
        mine = rows.get(self.id)
        return [
            i
            for i, row in rows.items()
            if row.name != self.file.spec.audit
            and (row.data_sha256, row.generator_sha256) == (self.data_sha256, self.generator_sha256)
            and (mine is None or row.started_at < mine.started_at)
        ]

    def _plan_and_do(self, made: Plan, cells: Mapping[str, Cell]) -> None:
        """Store the plan where it is new, then do every cell that has no row yet."""
        rows = self.store.rows(PlannedCellRow, self.id)
        latest = max((row.run for row in rows), default=0)
        known = {row.key for row in rows if row.run == latest}
        if not (known == set(cells) or (known > set(cells) and cells is not made.cells)):
            planned = (
                PlannedCellRow(run=latest + 1, key=c.key, stage=c.stage, component=c.component, title=c.title) for c in cells.values()
            )
            self.store.append(self.id, planned)
        done = self.store.done(self.id)
        todo = self._missing(made, [key for key in cells if key not in done])
        if not todo:
            return
        # What is about to be computed makes an earlier dossier out of date, also if this attempt is killed.
        self.dossier.unlink(missing_ok=True)
        journal = _Journal(self.store, self.id, done)
        make = partial(make_bench, self.file, self.settings.cache, self.salt, self.settings.device, self.settings.memory)
        pool = Pool(self.settings.workers, make, lambda: self.bench)
        try:
            self._do(todo, len(cells), len(set(cells) & done), journal, pool)
        finally:
            pool.close()
            journal.flush()

    def _missing(self, made: Plan, keys: Iterable[str]) -> dict[str, Cell]:
        """Return the cells to do in the plan's order: these, and those they need whose arrays are gone from the cache."""
        wanted, open_keys = set(), list(keys)
        while open_keys:
            key = open_keys.pop()
            if key in wanted:
                continue
            wanted.add(key)
            if self.cache.load(key) is None:
                open_keys.extend(need for need in made.cells[key].needs if self.cache.load(need) is None)
        return {key: cell for key, cell in made.cells.items() if key in wanted}

    def _do(self, todo: dict[str, Cell], total: int, finished: int, journal: _Journal, pool: Pool) -> None:
        waiting = dict(todo)
        running: dict[Future[Result], Cell] = {}
        results: dict[str, Result] = {}
        clock = _Clock(sum(cell.seconds for cell in todo.values()), max(1, self.settings.workers))
        while waiting or running:
            ready = [c for c in waiting.values() if all(n not in todo or n in results for n in c.needs)]
            for cell in ready:
                known = self.cache.load(cell.key)
                if known is not None and (cell.key in journal.known or reusable(cell, known, self.cache)):
                    results[cell.key] = known
                    journal.add(cell, known)
                    del waiting[cell.key]
                elif len(running) < pool.room:
                    running[pool.submit(cell, self._blocked(cell, todo, results))] = cell
                    del waiting[cell.key]
            if ready and not running:
                continue
            for future in wait(list(running), timeout=FLUSH_SECONDS, return_when=FIRST_COMPLETED).done:
                cell = running.pop(future)
                result = pool.result(future, cell)
                results[cell.key] = result
                journal.add(cell, result)
                clock.spent(cell.seconds)
                self.progress.update(cell.stage, cell.title, finished + len(results), total, clock.left())
            journal.flush(FLUSH_SECONDS)

    def _blocked(self, cell: Cell, todo: Mapping[str, Cell], results: Mapping[str, Result]) -> str:
        """Return why a cell that this one needs has no result, or nothing."""
        for need in cell.needs:
            result = results.get(need) or self.cache.load(need)
            if result is not None and result.status != "ok":
                name = todo[need].title if need in todo else "a cell it needs"
                return result.reason if result.status == "not_computable" else f"needs {name}, which failed: {result.reason}"
        return ""


def make_bench(file: SpecFile, cache: Path, salt: bytes, device: str, memory: int) -> Bench:
    """Return the bench of a worker process, which finds the plugins for itself; model.yaml is the one that was locked."""
    return Bench(file, assemble(file, Host.discover()), Cache(cache), salt, device, memory)


def reusable(cell: Cell, known: Result, cache: Cache) -> bool:
    """Return whether another audit's result may stand for a cell: not a failure, nor what only follows from one."""
    whole = not cell.tolerant or (cell.function == "planting.plant" and planting.complete(cache.folder(cell.key)))
    return known.status != "failed" and not known.blocked and whole


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the places where a plan differs from an earlier one, purposes aside; a component more is no change."""
    places = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if key == "purposes" or old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            places += [f"{key}.{place}" for place in changes(old, new)]
        elif not (isinstance(old, list) and isinstance(new, list) and key in ADDITIVE and all(item in new for item in old)):
            places.append(key)
    return places


class _Journal:
    """Rows on their way into the store, at most a second behind."""

    def __init__(self, store: Store, audit_id: str, known: set[str]) -> None:
        self.store, self.audit_id, self.known = store, audit_id, set(known)
        self._rows: list[Record] = []
        self._since = time.monotonic()

    def add(self, cell: Cell, result: Result) -> None:
        """Take in the rows of a cell that has none in the store yet."""
        if cell.key in self.known:
            return
        self.known.add(cell.key)
        self._rows.append(CellRow(
            key=cell.key, stage=cell.stage, component=cell.component, status=result.status, reason=result.reason,
            seconds=result.seconds, peak_mb=result.peak_mb, cached=result.cached, output=result.output,
        ))  # fmt: skip
        self._rows.extend(result.rows)

    def flush(self, older_than: float = 0.0) -> None:
        """Write what is waiting, if it has waited long enough."""
        if self._rows and time.monotonic() - self._since >= older_than:
            self.store.append(self.audit_id, self._rows)
            self._rows = []
        if not self._rows:
            self._since = time.monotonic()


class _Clock:
    """Time left, from planned costs and the pace so far."""

    def __init__(self, planned: float, workers: int) -> None:
        self.planned, self.workers, self.done, self.began = planned, workers, 0.0, time.monotonic()

    def spent(self, cost: float) -> None:
        """Note that planned cost is done."""
        self.done += cost

    def left(self) -> float | None:
        """Return seconds left, None before there is a pace."""
        if self.done <= 0:
            return None
        return (time.monotonic() - self.began) / self.done * max(self.planned - self.done, 0.0)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def exit_code(words: Iterable[str]) -> int:
    """Return 0 if every verdict is adequate, with or without conditions; 1 if one is inadequate; 3 otherwise."""
    found = set(words)
    if not found:
        raise StoreError('the audit has no verdict: its judge failed; `harness sql "from cells"` says why')
    if "inadequate" in found:
        return 1
    return 0 if found <= {"adequate", "adequate_with_conditions"} else 3
