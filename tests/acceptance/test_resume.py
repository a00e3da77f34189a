"""The quickstart, killed with SIGKILL at twenty random moments, ends with the rows of an undisturbed run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rows import everything

from harness.phantoms import main as write_data
from harness.store import Store

KILLS = 20
SALT = bytes(range(16))

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3600)]


def command(folder: Path, name: str) -> list[str]:
    """Return the command of an audit with its own store and cache."""
    return [sys.executable, "-m", "harness.cli", "audit", str(folder / "model.yaml"), "--store", str(folder / f"{name}.duckdb"),
            "--cache", str(folder / name), "--workers", "2", "--quiet"]  # fmt: skip


def test_twenty_kills_change_no_row(root: Path, tmp_path: Path) -> None:
    """Rows are equal table by table (ledger, attempts, cached and timings aside), and every planned cell is accounted for."""
    folder = tmp_path / "quickstart"
    shutil.copytree(root / "audits" / "quickstart", folder, ignore=shutil.ignore_patterns("out", "data"))
    write_data([str(folder / "data")])
    for name in ("calm", "killed"):
        (folder / f"{name}.duckdb.salt").write_bytes(SALT)
    began = time.monotonic()
    calm = subprocess.run(command(folder, "calm"), check=False, capture_output=True, text=True)
    seconds = time.monotonic() - began
    assert calm.returncode in (0, 1, 3), calm.stderr

    chance = np.random.default_rng(20)
    lives = []
    for _ in range(KILLS):
        child = subprocess.Popen(command(folder, "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        life = chance.uniform(1.0, 5.0 + seconds / 8)
        time.sleep(life)
        lives.append(child.poll() is None)
        os.killpg(child.pid, signal.SIGKILL) if child.poll() is None else None
        child.wait()
    last = subprocess.run(command(folder, "killed"), check=False, capture_output=True, text=True)

    print(f"\nundisturbed run {seconds:.0f} s; {sum(lives)} of {KILLS} kills hit a running audit")
    assert sum(lives) >= KILLS // 2
    assert last.returncode == calm.returncode, last.stderr
    assert everything(folder / "killed.duckdb") == everything(folder / "calm.duckdb")
    assert all(row[0] for row in Store(folder / "killed.duckdb").query("select holds from conservation").rows)
    assert Store(folder / "killed.duckdb").verify_ledger() == []
