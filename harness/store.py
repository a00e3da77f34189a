"""The results file: one DuckDB file of many audits, to which rows are appended and which anyone may query.

DuckDB lets one process write or many read, and an open reader keeps the writer out. So the file is open only while rows are
written or read; whoever finds it locked waits; and a batch that waited in vain is kept beside the file until the next one.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

import duckdb

from . import __version__
from .beside import PAUSE, Spool, beside, salt, settle, turn
from .columns import decode, encode, insertion, plain, readable, value_of
from .errors import Problem, StoreError
from .quantities import Record
from .records import ROWS, AuditRow, CellRow, LedgerRow, PlannedCellRow
from .table import Table

SCHEMA_VERSION = 6
Event = Literal["locked", "started", "resumed", "finished", "interrupted"]
R = TypeVar("R", bound=Record)
Connection = duckdb.DuckDBPyConnection

# Nothing is fetched from the network, and SQL reaches no file but this one and no Python variable. One thread, so that a mean
# is added up in the same order every time; the other cores have cells to compute.
SAFE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "enable_external_access": False,
    "python_enable_replacements": False,
    "threads": 1,
}
READS = (duckdb.StatementType.SELECT, duckdb.StatementType.MULTI)
FULL = ("No space left", "Disk quota exceeded", "File too large")
UNUSABLE = ("Cannot open file", "Permission denied", "Is a directory")
QUEUE_SECONDS = 1.0
GENESIS = "0" * 64
RETRY = "then run the same command again"

# A process may hold a file with one configuration at a time, so its threads take turns.
_PROCESS = threading.RLock()


class LockedError(StoreError):
    """Another process holds the results file."""


class Store:
    """One results file; `retry_seconds` is how long to wait while another process holds it."""

    def __init__(self, path: Path, retry_seconds: float = 30.0) -> None:
        self.path = Path(path)
        self.retry_seconds = retry_seconds
        self.spool = Spool(beside(self.path, ".spool"))

    def append(self, audit_id: str, rows: Iterable[Record]) -> None:
        """Add rows in one transaction, which survives a kill once this returns; spool them if the file stays locked."""
        records = list(rows)
        if any(isinstance(row, LedgerRow) for row in records):
            raise TypeError("a ledger row is written with Store.ledger, which chains it")
        batch = [encode(audit_id, row) for row in records]
        # A file that stayed locked a moment ago is not waited for at length again: the audit must not crawl.
        patience = min(self.retry_seconds, QUEUE_SECONDS) if self.spool.batches() else self.retry_seconds
        with self._explained():
            try:
                with self._transaction(patience) as connection:
                    for key in _finished(connection, batch):
                        what = f"has cell {key} of {audit_id} already: another process runs the same audit"
                        raise StoreError(Problem(what, str(self.path), f"wait until it has ended, {RETRY}"))
                    _insert(connection, batch)
            except LockedError:
                self.spool.add(batch)

    def drain(self, required: bool = False) -> int:
        """Take in the spooled batches and return how many still wait; `required`: raise if the file stays locked."""
        if self.spool.batches():
            try:
                with self._explained(), self._transaction(self.retry_seconds):
                    pass
            except LockedError as error:
                if required:
                    told = error.problems[0]
                    what = f"{told.what}; {len(self.spool.batches())} batches of results wait in {self.spool.folder.name}"
                    raise LockedError(Problem(what, told.where, told.fix)) from error
        return len(self.spool.batches())

    def ledger(self, audit_id: str, attempt: int, event: Event, plan_sha256: str, at: datetime) -> LedgerRow:
        """Append an event to the hash chain of the file."""
        with self._explained(), self._transaction(self.retry_seconds) as connection:
            return _link(connection, audit_id, {"attempt": attempt, "event": event, "at": at, "plan_sha256": plan_sha256})

    def begin_attempt(self, audit_id: str, plan_sha256: str, at: datetime) -> int:
        """Write that an attempt starts, or resumes an earlier one, and return its number, from 1."""
        with self._explained(), self._transaction(self.retry_seconds) as connection:
            sql = "SELECT coalesce(max(attempt), 0) + 1 FROM ledger WHERE audit_id = ? AND event IN ('started', 'resumed')"
            attempt = int(connection.execute(sql, [audit_id]).fetchall()[0][0])
            event = "started" if attempt == 1 else "resumed"
            _link(connection, audit_id, {"attempt": attempt, "event": event, "at": at, "plan_sha256": plan_sha256})
            return attempt

    def salt(self) -> bytes:
        """Return the secret that keeps the hashed patient ids of this file from being guessed; make it where there is none."""
        with self._explained():
            return salt(self.path)

    def rows(self, cls: type[R], audit_id: str, **equals: Any) -> list[R]:
        """Return the rows of an audit, of all its plans, in the order in which they were written."""
        return self._select(cls, audit_id, "TRUE", equals)

    def current(self, cls: type[R], audit_id: str, **equals: Any) -> list[R]:
        """Return the rows of an audit that belong to its plan in force, or to no cell."""
        keys = "(SELECT key FROM current_cells WHERE audit_id = $audit_id)"
        condition = "TRUE"
        if cls is PlannedCellRow:
            condition = "run = (SELECT max(run) FROM planned_cells WHERE audit_id = $audit_id)"
        elif cls is CellRow:
            condition = f"key IN {keys}"
        elif "cell" in cls.model_fields:
            condition = f"(cell = '' OR cell IN {keys})"
        return self._select(cls, audit_id, condition, equals)

    def done(self, audit_id: str) -> set[str]:
        """Return the keys of the finished cells of an audit, whatever became of them."""
        return {key for (key,) in self._fetch("SELECT key FROM cells WHERE audit_id = $audit_id", {"audit_id": audit_id})}

    def audits(self) -> list[str]:
        """Return the ids of all audits, the oldest first."""
        return [audit_id for (audit_id,) in self._fetch("SELECT audit_id FROM audits GROUP BY audit_id ORDER BY min(rowid)")]

    def first_lock(self, name: str) -> tuple[str, dict[str, Any]] | None:
        """Return audit id and specification of the first audit of this name whose plan was locked in this file."""
        sql = """
            SELECT audit_id FROM ledger
            WHERE event = 'locked' AND audit_id IN (SELECT audit_id FROM audits WHERE name = $name)
            ORDER BY rowid LIMIT 1
        """
        found = self._fetch(sql, {"name": name})
        return (found[0][0], self.rows(AuditRow, found[0][0])[0].spec) if found else None

    def verify_ledger(self) -> list[str]:
        """Return what is wrong with the hash chain: rows that were altered, removed or put in; nothing where it holds."""
        problems, previous, begun = [], GENESIS, set()
        sql = f"SELECT {readable(LedgerRow)} FROM ledger ORDER BY rowid"
        for number, (audit_id, *values) in enumerate(self._fetch(sql), 1):
            row = decode(LedgerRow, values)
            which = f"ledger row {number} ({row.event}, {audit_id})"
            if row.previous_sha256 != previous:
                problems.append(f"{which} does not follow the row before it: the chain is broken")
            if row.sha256 != link_sha256(audit_id, row.model_dump(exclude={"sha256"})):
                problems.append(f"{which} was altered after it was written")
            previous = row.sha256
            begun.add((audit_id, row.attempt))
        ended = set(self._fetch("SELECT audit_id, attempt FROM outcomes"))
        return problems + [f"attempt {n} of {audit_id} ended but is not in the ledger" for audit_id, n in sorted(ended - begun)]

    def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Table:
        """Answer one reading statement, such as `from adequacy`; it can change nothing and reach nothing but this file."""
        if not self.path.exists():
            fix = "run `harness audit` first, or name another results file"
            raise StoreError(Problem("there is no such file", str(self.path), fix))
        with self._explained(), self._open(False, self.retry_seconds) as connection:
            self._check_version(connection)
            try:
                return _answer(connection, sql, parameters)
            except (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError, duckdb.PermissionException) as error:
                raise StoreError(_sql_problem(connection, error)) from error

    @contextmanager
    def _transaction(self, patience: float) -> Iterator[Connection]:
        """Lend a connection inside a transaction that begins with the spooled batches."""
        with self._open(True, patience) as connection:
            self._check_version(connection)
            connection.begin()
            waiting = self.spool.batches()
            for batch in waiting:
                self._take_in(connection, batch)
            yield connection
            connection.commit()
        if waiting:
            self.spool.discard(waiting)

    def _take_in(self, connection: Connection, batch: Path) -> None:
        """Insert a spooled batch, unless it is here already: a kill between commit and clean-up must not double it."""
        known = connection.execute("SELECT 1 FROM meta WHERE name = 'drained' AND value = ?", [batch.stem]).fetchall()
        if known:
            return
        rows = self.spool.read(batch)
        if not _finished(connection, rows):
            _insert(connection, rows)
        connection.execute("INSERT INTO meta VALUES ('drained', ?)", [batch.stem])

    @contextmanager
    def _open(self, write: bool, patience: float) -> Iterator[Connection]:
        deadline = time.monotonic() + patience
        with _PROCESS:
            if write:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            # A reader does not insist on its turn: the writer may be waiting for a program that reads all day.
            queue_until = deadline if write else min(deadline, time.monotonic() + QUEUE_SECONDS)
            with turn(beside(self.path, ".lock"), write, queue_until) as its_turn:
                if write and not self.path.exists():
                    if not its_turn:
                        raise self._locked("")
                    self._create()
                connection = self._connect(write, deadline)
            try:
                connection.execute("SET TimeZone = 'UTC'")
                connection.execute("SET lock_configuration = true")
                yield connection
            finally:
                connection.close()

    def _connect(self, write: bool, deadline: float) -> Connection:
        while True:
            try:
                return duckdb.connect(str(self.path), read_only=not write, config=SAFE)
            except duckdb.IOException as error:
                if "Conflicting lock" not in str(error):
                    raise
                if time.monotonic() >= deadline:
                    raise self._locked(str(error)) from error
            time.sleep(PAUSE)

    def _create(self) -> None:
        """Make the file beside its place and move it there: a kill leaves a whole file or none."""
        log = beside(self.path, ".wal")
        if log.exists():
            fix = "put the results file back beside it, or move it away to begin a new one"
            raise StoreError(Problem("belongs to a results file that is gone", str(log), fix))
        draft = beside(self.path, ".new")
        for left in (draft, beside(draft, ".wal")):
            left.unlink(missing_ok=True)
        with duckdb.connect(str(draft), config=SAFE) as connection:
            connection.begin()
            connection.execute(files("harness.schemas").joinpath("results.sql").read_text(encoding="utf-8"))
            facts = [("schema_version", str(SCHEMA_VERSION)), ("harness_version", __version__)]
            connection.executemany("INSERT INTO meta VALUES (?, ?)", facts)
            connection.commit()
            # Closing checkpoints too, but keeps quiet where the disk is full, and the log would stay behind.
            connection.execute("CHECKPOINT")
        draft.replace(self.path)
        settle(self.path.parent)

    def _check_version(self, connection: Connection) -> None:
        try:
            facts = dict(connection.execute("SELECT name, value FROM meta WHERE name <> 'drained'").fetchall())
        except (duckdb.CatalogException, duckdb.BinderException) as error:
            fix = "name another results file; this one was left as it is"
            raise StoreError(Problem("is a DuckDB file, but not one of audit results", str(self.path), fix)) from error
        if facts.get("schema_version") != str(SCHEMA_VERSION):
            maker, schema = facts.get("harness_version", "of unknown version"), facts.get("schema_version", "unknown")
            what = f"was made by harness {maker} (schema {schema}); this is harness {__version__} (schema {SCHEMA_VERSION})"
            fix = f"name another results file, or use harness {maker} for this one; it was left as it is"
            raise StoreError(Problem(what, str(self.path), fix))

    def _select(self, cls: type[R], audit_id: str, condition: str, equals: Mapping[str, Any]) -> list[R]:
        unknown = sorted(set(equals) - set(cls.model_fields))
        if unknown:
            raise ValueError(f"{cls.table} has no column {', '.join(unknown)}")
        where = " AND ".join(["audit_id = $audit_id", condition, *(f'"{n}" IS NOT DISTINCT FROM ${n}' for n in equals)])
        sql = f"SELECT {readable(cls)} FROM {cls.table} WHERE {where} ORDER BY rowid"
        return [decode(cls, values[1:]) for values in self._fetch(sql, {"audit_id": audit_id, **equals})]

    def _fetch(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Read what is stored, the spooled batches too; nothing where there is no file yet."""
        self.drain(required=True)
        if not self.path.exists():
            return []
        with self._explained(), self._open(False, self.retry_seconds) as connection:
            self._check_version(connection)
            return connection.execute(sql, dict(parameters or {})).fetchall()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what DuckDB and the operating system say into words on what to do."""
        try:
            yield
        except (duckdb.Error, OSError) as error:
            text = _first_line(error)
            if any(word in str(error) for word in FULL):
                what, fix = "the disk is full; every finished cell is kept", f"make room, {RETRY}"
            elif isinstance(error, duckdb.ConstraintException):
                what, fix = f"refuses a row: {text}", "nothing of its batch was written; please report this as a bug"
            elif isinstance(error, OSError) or any(word in str(error) for word in UNUSABLE):
                what, fix = f"cannot be opened: {text}", "name a results file in a folder that you may write to"
            else:
                what = f"cannot be read or written: {text}"
                fix = "put back a copy, or move it away and run the audit again: cached cells are not computed twice"
            raise StoreError(Problem(what, str(self.path), fix)) from error

    def _locked(self, message: str) -> LockedError:
        holder = re.search(r"held (?:in|by) (?:(\S+) )?\(?PID (\d+)", message)
        who = f"{Path(holder[1] or 'a program').name}, process {holder[2]}" if holder else "another program"
        fix = f"close that program or wait for it, {RETRY}"
        return LockedError(Problem(f"was locked for {self.retry_seconds:g} s by {who}", str(self.path), fix))


def link_sha256(audit_id: str, fields: Mapping[str, Any]) -> str:
    """Return the digest of a link: over its audit and all its fields, among them the digest of the link before it."""
    content = {"audit_id": audit_id} | {name: plain(value) for name, value in fields.items()}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _link(connection: Connection, audit_id: str, fields: dict[str, Any]) -> LedgerRow:
    last = connection.execute("SELECT sha256 FROM ledger ORDER BY rowid DESC LIMIT 1").fetchall()
    fields |= {"previous_sha256": last[0][0] if last else GENESIS}
    row = LedgerRow(**fields, sha256=link_sha256(audit_id, fields))
    _insert(connection, [encode(audit_id, row)])
    return row


def _insert(connection: Connection, batch: Sequence[Mapping[str, Any]]) -> None:
    for cls in ROWS:
        rows = [row for row in batch if row["table"] == cls.table]
        if rows:
            sql, text = insertion(cls, rows)
            connection.execute(sql, [text])


def _finished(connection: Connection, batch: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys of the batch's cells that the file has already."""
    cells = [row for row in batch if row["table"] == CellRow.table]
    if not cells:
        return []
    sql = "SELECT key FROM cells WHERE audit_id = ? AND list_contains(?::VARCHAR[], key)"
    return [key for (key,) in connection.execute(sql, [cells[0]["audit_id"], [row["key"] for row in cells]]).fetchall()]


def _answer(connection: Connection, sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> Table:
    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type not in READS:
        fix = "write one SELECT, such as `from adequacy`; `describe scores` lists the columns of a table"
        raise StoreError(Problem("a query is one statement that only reads", fix=fix))
    relation = connection.sql(sql.rstrip("; \n\t"), params=parameters or None)
    kinds = [str(kind) for kind in relation.types]
    shown = relation.project(", ".join(f"#{k}::VARCHAR" if "TIME ZONE" in kind else f"#{k}" for k, kind in enumerate(kinds, 1)))
    return Table(list(relation.columns), [tuple(map(value_of, kinds, row)) for row in shown.fetchall()])


def _sql_problem(connection: Connection, error: duckdb.Error) -> Problem:
    fix = "schemas/README.md has tables, views and example queries"
    if isinstance(error, duckdb.PermissionException):
        fix = "a query may read this results file only"
    elif isinstance(error, duckdb.BinderException):
        fix = "`describe NAME` lists the columns of a view or table"
    elif isinstance(error, duckdb.CatalogException) and str(error).startswith("Catalog Error: Table"):
        views = connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY ALL").fetchall()
        fix = f"views: {', '.join(name for (name,) in views)}; `show tables` lists the tables too"
    return Problem(_first_line(error), fix=fix)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
