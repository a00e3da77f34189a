"""Synthetic images from a program that is started for the audit."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from harness.api import Context, InputError, NotComputable, Request
from harness_plugins.generators.command import Command

SCRIPT = """
import pathlib, random, sys
out, n, seed, *rest = sys.argv[1:]
rng = random.Random(int(seed))
for k in range(int(n)):
    (pathlib.Path(out) / f"{k}.png").write_bytes(rng.randbytes(8))
for k, word in enumerate(rest):
    (pathlib.Path(out) / f"word{k}.txt").write_text(word)
print("done", flush=True)
"""
WORDS = ("python", "make.py", "{out}", "{n}", "{seed}")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Return a folder with a script that writes n files."""
    (tmp_path / "make.py").write_text(SCRIPT)
    (tmp_path / "work").mkdir()
    return tmp_path


def run(program: Path, *words: str, seed: int = 1, request: Request | None = None, **options: Any) -> Path:
    """Return the folder that the command filled."""
    generator = Command(command=words, cwd=program, **options)
    return generator.sample(request or Request(3), Context(seed, program / "work"))


def inline(program: Path, text: str, **options: Any) -> Path:
    """Run a line of Python as the command."""
    return run(program, "python", "-c", text, "{out}", **options)


def test_placeholders_are_filled(program: Path) -> None:
    """The program is told how many images to write, with which seed, and where."""
    out = run(program, *WORDS)
    assert sorted(p.name for p in out.iterdir()) == ["0.png", "1.png", "2.png"]
    assert (program / "work" / "command.log").read_text() == "done\n"


def test_the_seed_decides(program: Path) -> None:
    """The same seed gives the same files, another seed others."""
    first, again, other = ((run(program, *WORDS, seed=seed) / "0.png").read_bytes() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_what_a_killed_run_left_is_cleared(program: Path) -> None:
    """The folder is empty when the program starts."""
    run(program, *WORDS, request=Request(9))
    assert len(list(run(program, *WORDS).iterdir())) == 3


def test_there_is_no_shell(program: Path) -> None:
    """Semicolons, stars, variables and braces that are no placeholder reach the program as they are."""
    out = run(program, *WORDS, "; rm *", "$HOME", '{"a": 1}')
    assert [(out / f"word{k}.txt").read_text() for k in range(3)] == ["; rm *", "$HOME", '{"a": 1}']


def test_labels_are_handed_over(program: Path) -> None:
    """{labels} is a CSV file with one row per wanted image; a request without labels has no answer."""
    words = (*WORDS, "{labels}")
    out = run(program, *words, request=Request(3, labels=np.array([1, 0, 1])))
    assert Path((out / "word0.txt").read_text()).read_text().split() == ["index,label", "0,1", "1,0", "2,1"]
    with pytest.raises(NotComputable, match="labels"):
        run(program, *words)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("make", "{N}", "{out}"), "unknown placeholder {N}"),
        (("make", "{n}"), "needs the placeholder {out}"),
        ((), "at least 1"),
    ],
)
def test_a_command_that_cannot_work_is_refused(words: tuple[str, ...], what: str) -> None:
    """Placeholders are checked when the audit is planned, before anything is started."""
    with pytest.raises(ValidationError, match=what):
        Command(command=words)


def test_files_that_the_command_names_are_inputs(program: Path) -> None:
    """The script and what `reads` lists are part of what is audited; options and placeholders are not files."""
    generator = Command(command=(*WORDS, "--fast"), cwd=program, reads=(program / "weights",))
    assert generator.inputs() == (program / "make.py", program / "weights")


def test_a_failure_shows_the_last_lines(program: Path) -> None:
    """Exit code and the last lines of what was printed are in the message, in at most three lines."""
    with pytest.raises(InputError) as caught:
        inline(program, "import sys; print('\\n'.join(map(str, range(50)))); sys.exit('no weights')")
    assert "exit code 1" in str(caught.value)
    assert "no weights" in str(caught.value)
    assert "| 49 |" in str(caught.value)
    assert len(caught.value.lines()) <= 3


def test_a_signal_is_named(program: Path) -> None:
    """A program that the system kills, for want of memory say, is not mistaken for one that failed by itself."""
    with pytest.raises(InputError, match="signal 9"):
        inline(program, "import os; os.kill(os.getpid(), 9)")


def test_a_program_that_is_not_there_is_said(program: Path) -> None:
    """The name that could not be started is in the message."""
    with pytest.raises(InputError, match="No such file or directory: no-such-program"):
        run(program, "no-such-program", "{out}")


def test_no_images_are_an_error(program: Path) -> None:
    """A program that ends well and wrote nothing did not understand {out}."""
    with pytest.raises(InputError, match="without writing an image"):
        inline(program, "print('fine')")


SPAWN = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
(pathlib.Path(sys.argv[1]) / "child.txt").write_text(str(child.pid))
time.sleep({seconds})
"""


def gone(pid: int) -> bool:
    """Return whether a process ends within a few seconds; one that waits for its parent to notice has ended."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def child(program: Path) -> int:
    """Return the process id that the program left in its folder."""
    return int((program / "work" / "images" / "child.txt").read_text())


@pytest.fixture
def hasty(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every time limit be over as soon as the program has started its child."""
    wait = subprocess.Popen.wait

    def waited(self: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        while timeout is not None and self.poll() is None and not (program / "work" / "images" / "child.txt").is_file():
            time.sleep(0.01)
        return wait(self, timeout and 0.01)

    monkeypatch.setattr(subprocess.Popen, "wait", waited)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc to see processes")
def test_no_process_is_left_behind_at_the_time_limit(program: Path, hasty: None) -> None:
    """Children of a program that runs into the time limit end with it."""
    with pytest.raises(InputError, match="not done after 3 s"):
        inline(program, SPAWN.format(seconds=60), timeout_s=3)
    assert gone(child(program))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc to see processes")
def test_no_process_is_left_behind_by_a_program_that_ended(program: Path) -> None:
    """Children that the program forgot end after it."""
    inline(program, SPAWN.format(seconds=0))
    assert gone(child(program))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc to see processes")
def test_ctrl_c_ends_the_program(program: Path, hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt while waiting ends the program and its children, and is passed on."""
    wait = subprocess.Popen.wait

    def interrupted(self: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        try:
            return wait(self, timeout)
        except subprocess.TimeoutExpired:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        inline(program, SPAWN.format(seconds=60))
    assert gone(child(program))
