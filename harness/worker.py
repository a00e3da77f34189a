"""Runs one cell and reports what became of it; the last place where anything that a plugin raises is caught."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from .asking import what_failed
from .bench import Bench
from .cells import Cell, Result, disk_is_full, full_disk
from .errors import HarnessError, NotComputable
from .quantities import Record
from .records import CellStatus

OUTPUT_KEPT = 2000
_PR_SET_PDEATHSIG = 1
_bench: Bench | None = None
_working = False


def start(make: Callable[[], Bench]) -> None:
    """Prepare a worker process: its own bench, deaf to Ctrl-C, which is the parent's to handle, and gone when the parent is."""
    global _bench
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminated)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    _bench = make()


def _terminated(*_: object) -> None:
    """End the process: by an exit that lets a component end the programs that it started, at once where none is at work."""
    if _working:
        sys.exit(1)
    os._exit(1)


def work(cell: Cell, blocked: str = "") -> Result:
    """Run a cell in a worker process that `start` has prepared."""
    global _working
    assert _bench is not None
    try:
        _working = True
        return execute(_bench, cell, blocked)
    except SystemExit:
        # The component has cleaned up behind itself; the pool would keep the process waiting for a parent that is gone.
        os._exit(1)
    finally:
        _working = False


def execute(bench: Bench, cell: Cell, blocked: str = "") -> Result:
    """Run one cell, keep its result in the cache and return it. blocked: why a cell that this one needs has no result."""
    module, function = cell.function.split(".")
    stage = importlib.import_module(f".stages.{module}", __package__)
    try:
        workspace = bench.cache.workspace(cell.key)
        result = _attempt(bench, cell, getattr(stage, function), workspace, blocked)
        if result.status != "ok":
            result = _with_rows(result, tuple(stage.blank(bench, cell, result.status, result.reason)))
        # A scratch folder of the component is not a result.
        shutil.rmtree(workspace / "work", ignore_errors=True)
        bench.cache.keep(cell.key, workspace, result)
    except OSError as error:
        raise full_disk(error, bench.cache.root) from error
    return result


def give_up(bench: Bench, cell: Cell, reason: str) -> Result:
    """Keep and return the failure of a cell whose process died."""
    stage = importlib.import_module(f".stages.{cell.function.split('.')[0]}", __package__)
    result = Result("failed", tuple(stage.blank(bench, cell, "failed", reason)), reason)
    bench.cache.keep(cell.key, bench.cache.workspace(cell.key), result)
    return result


def _attempt(bench: Bench, cell: Cell, function: Callable[..., object], workspace: Path, blocked: str) -> Result:
    _reset_peak()
    began, printed = time.perf_counter(), io.StringIO()
    rows: tuple[Record, ...] = ()
    status: CellStatus = "ok"
    reason = ""
    if blocked and not cell.tolerant:
        return Result("not_computable", reason=blocked, blocked=True)
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            rows = tuple(function(bench, cell, workspace))  # type: ignore[arg-type]
    except NotComputable as error:
        status, reason = "not_computable", str(error) or "the component gives no reason"
    except HarnessError as error:
        status, reason = "failed", " ".join(line.strip() for line in error.lines())
    except Exception as error:
        if isinstance(error, OSError) and disk_is_full(error, bench.cache.root):
            raise
        status, reason = "failed", what_failed(error)
        printed.write(traceback.format_exc())
    seconds = time.perf_counter() - began
    return Result(status, rows, reason, seconds, _peak_mb(), printed.getvalue()[-OUTPUT_KEPT:])


def _with_rows(result: Result, rows: tuple[Record, ...]) -> Result:
    return replace(result, rows=rows)


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_mb() -> float:
    """Return the peak resident memory since the cell began, in MB (since the process began where the system cannot reset it)."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
