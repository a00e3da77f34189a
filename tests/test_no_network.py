"""Nothing leaves the machine: neither in a test nor in an audit, and whoever tries is found out."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from no_network import OutsideError, forbid
from tiny_audit import Project

AUDIT = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import pytest
from no_network import forbid
tried = forbid(pytest.MonkeyPatch())
from harness.cli import main
try:
    main()
finally:
    print("outside:", tried)
"""


@pytest.mark.parametrize("where", ["192.0.2.1", "::ffff:192.0.2.1", "example.org"])
def test_the_way_out_is_shut(where: str) -> None:
    """Connections by number and look-ups of names are refused and remembered, even where the refusal is caught."""
    with pytest.MonkeyPatch.context() as patch:
        tried = forbid(patch)
        with pytest.raises(OutsideError):
            socket.create_connection((where, 80), timeout=0.1)
        with pytest.raises(OutsideError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.sendto(b"x", ("192.0.2.1", 53))
        assert len(tried) == 2


def test_loopback_stays_open() -> None:
    """A service on this machine can be asked."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), timeout=5) as client:
        assert client.getpeername() == server.getsockname()


@pytest.mark.slow
def test_an_audit_opens_no_way_out(project: Project) -> None:
    """A whole audit, dossier and all, in a process in which every way out is shut and watched."""
    command = [sys.executable, "-c", AUDIT, str(Path(__file__).parent), "audit", str(project.model), "--workers", "0", "--quiet"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode in (0, 1, 3), done.stderr
    assert done.stdout.rstrip().endswith("outside: []")
    assert list((project.folder / "out").glob("*.pdf"))
