"""Live progress on a terminal; a few plain lines where the output goes elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

LINE_SECONDS = 30.0


class Live:
    """Stage, cells done, time left: one line that moves on a terminal, one line now and then elsewhere."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True)
        self.quiet = quiet
        self._bar: Progress | None = None
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        if not self.quiet and self.console.is_terminal:
            columns = (TextColumn("{task.fields[stage]:<8}"), BarColumn(24), TextColumn("{task.completed}/{task.total} cells"),
                       TextColumn("{task.fields[left]:<12}"), TextColumn("[dim]{task.fields[title]}"))  # fmt: skip
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._task = self._bar.add_task("audit", total=1, stage="reading", left="", title="")
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, stage: str, title: str, done: int, total: int, seconds_left: float | None) -> None:
        """Show that `done` of `total` cells are done."""
        left = "" if seconds_left is None else _words(seconds_left)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, stage=stage, left=left, title=title)
        elif not self.quiet and time.monotonic() - self._last >= LINE_SECONDS:
            self._last = time.monotonic()
            print(f"{stage}: {done} of {total} cells{', ' + left if left else ''}", file=sys.stderr, flush=True)


def _words(seconds: float) -> str:
    return f"{seconds:.0f} s left" if seconds < 90 else f"{seconds / 60:.0f} min left"
