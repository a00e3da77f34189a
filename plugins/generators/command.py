"""Synthetic images from a program that is started for the audit."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from harness.api import Context, Generator, InputError, NotComputable, Problem, Request

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)\}")
_KNOWN = ("n", "seed", "out", "labels")
_SHOWN_LINES = 5


class Command(Generator):
    """Starts a program that writes image files; it is run without a shell, in the folder of `model.yaml` or in `cwd`.

    In the words of `command`, {n} becomes the number of images wanted, {seed} the seed (the same seed must give the same
    images), {out} an empty folder to write them to, and {labels} a CSV file with the columns index and label, one row for each
    image wanted, labels being numbered from 0 in the order of `data.label_names`. The first word `python` means the
    interpreter that runs the audit. What the program prints is kept in a log beside the images; any exit code but 0, and
    `timeout_s`, end it with its whole process group.

    Files that the command names are part of what is audited: when they change, the images are made anew. `reads` lists what
    else the program reads, such as weights or folders.
    """

    name = "command"
    version = "1"
    command: tuple[str, ...] = Field(min_length=1)
    cwd: Path = Path()
    timeout_s: float = Field(3600.0, gt=0.0)
    reads: tuple[Path, ...] = ()

    @model_validator(mode="after")
    def _placeholders(self) -> Self:
        found = [name for word in self.command for name in _PLACEHOLDER.findall(word)]
        unknown = [name for name in found if name not in _KNOWN]
        if unknown:
            raise ValueError(f"unknown placeholder {{{unknown[0]}}}; known: {', '.join(f'{{{name}}}' for name in _KNOWN)}")
        if "out" not in found:
            raise ValueError("command needs the placeholder {out}: the folder that the images are written to")
        return self

    def inputs(self) -> tuple[Path, ...]:
        """Return the files that the command names, and `reads`."""
        named = (self.cwd / word for word in self.command if not _PLACEHOLDER.search(word))
        return (*(path for path in named if path.is_file()), *self.reads)

    def sample(self, request: Request, context: Context) -> Path:
        """Run the program and return the folder of its images."""
        out = context.workdir / "images"
        # A run that was killed may have left some of its images behind.
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        values = {"n": str(request.n), "seed": str(context.seed), "out": str(out)}
        if any("{labels}" in word for word in self.command):
            values["labels"] = str(self._write_labels(request, context.workdir / "labels.csv"))
        words = [_PLACEHOLDER.sub(lambda m: values[m.group(1)], word) for word in self.command]
        program = sys.executable if words[0] == "python" else words[0]
        self._run([program, *words[1:]], context.workdir / "command.log")
        if not any(path.is_file() for path in out.rglob("*")):
            raise InputError(self._problem("ended without writing an image", f"it must write its images to {{out}}, here {out}"))
        return out

    def _write_labels(self, request: Request, path: Path) -> Path:
        if request.labels is None:
            raise NotComputable("the command asks for {labels}, and the data declare none")
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("index", "label"))
            writer.writerows(enumerate(int(label) for label in request.labels))
        return path

    def _run(self, words: list[str], log: Path) -> None:
        """Run the words in a process group of their own and wait; leave none of the group behind, however it ends."""
        with log.open("wb") as output:
            try:
                process = subprocess.Popen(
                    words,
                    cwd=self.cwd,
                    # A Python program would else print its last words before the lines that led to them.
                    env=os.environ | {"PYTHONUNBUFFERED": "1"},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                fix = "give a program that is installed, and for cwd a folder that exists"
                raise InputError(self._problem(f"cannot be started: {error.strerror}: {error.filename}", fix)) from error
            try:
                code = process.wait(self.timeout_s)
            except subprocess.TimeoutExpired:
                fix = "raise timeout_s, or ask for fewer samples"
                raise InputError(self._problem(f"was not done after {self.timeout_s:g} s", fix)) from None
            finally:
                _kill_group(process)
        if code:
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise InputError(self._problem(how, _last_lines(log) or "it printed nothing"))

    def _problem(self, what: str, fix: str) -> Problem:
        return Problem(f"the command {what}", " ".join(self.command), fix)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the process group, children of the program included."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_lines(log: Path) -> str:
    """Return the last lines that the program printed, as one line."""
    lines = log.read_bytes()[-4000:].decode("utf-8", "replace").splitlines()
    kept = [" ".join(line.split()) for line in lines if line.strip()][-_SHOWN_LINES:]
    return "it printed: " + " | ".join(kept) if kept else ""
