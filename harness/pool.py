"""Local worker processes: one thread each, so that numbers do not depend on how many there are; a dead one is replaced."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from . import worker
from .bench import Bench
from .cells import Cell, Result

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Pool:
    """`make` builds the bench of a worker process, `here` lends that of this one (workers = 0)."""

    def __init__(self, workers: int, make: Callable[[], Bench], here: Callable[[], Bench]) -> None:
        self.workers, self.make, self.here = workers, make, here
        self.room = max(1, self.workers)
        self._pool: ProcessPoolExecutor | None = None
        self._jobs: dict[Future[Result], str] = {}

    def submit(self, cell: Cell, blocked: str) -> Future[Result]:
        """Start a cell."""
        if not self.workers:
            future: Future[Result] = Future()
            future.set_result(worker.execute(self.here(), cell, blocked))
        else:
            try:
                future = self._workers().submit(worker.work, cell, blocked)
            except BrokenProcessPool:
                # A worker died while it had nothing to do.
                self.close()
                future = self._workers().submit(worker.work, cell, blocked)
        self._jobs[future] = blocked
        return future

    def result(self, future: Future[Result], cell: Cell) -> Result:
        """Return a cell's result; where its process died, run it once more alone to see whether it was the culprit."""
        blocked = self._jobs.pop(future)
        try:
            return future.result()
        except BrokenProcessPool:
            self.close()
        try:
            with _executor(1, self.make) as alone:
                return alone.submit(worker.work, cell, blocked).result()
        except BrokenProcessPool:
            return worker.give_up(self.here(), cell, "its process died: killed, out of memory, or crashed")

    def close(self) -> None:
        """End the processes; what they were doing is lost, what was finished is kept."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            processes = list((getattr(pool, "_processes", None) or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()

    def _workers(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = _executor(self.workers, self.make)
        return self._pool


def _executor(workers: int, make: Callable[[], Bench]) -> ProcessPoolExecutor:
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=worker.start, initargs=(make,))
