"""Forbids every socket that would leave the machine, names that would have to be looked up elsewhere, and remembers who tried."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

import pytest


class OutsideError(AssertionError):
    """Something tried to leave the machine."""


def is_inside(host: Any) -> bool:
    """Whether a host is this machine by its very name or number, without asking anybody."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(name).partition("%")[0]).is_loopback
    except ValueError:
        return False


def forbid(patch: pytest.MonkeyPatch) -> list[str]:
    """Refuse connections, datagrams and look-ups beyond loopback from now on; return the list in which each attempt is noted.

    An attempt raises an error that no handler of network errors catches, and stays in the list even if something catches it.
    """
    tried: list[str] = []
    look_up = socket.getaddrinfo

    def refuse(where: Any) -> None:
        tried.append(str(where))
        raise OutsideError(f"something tried to reach {where}")

    def guarded(name: str) -> None:
        original = getattr(socket.socket, name)

        def method(self: socket.socket, *given: Any) -> Any:
            address = given[-1]
            if self.family != socket.AF_UNIX and not is_inside(address[0]):
                refuse(address)
            return original(self, *given)

        patch.setattr(socket.socket, name, method)

    def looked_up(host: Any, *given: Any, **more: Any) -> Any:
        if not is_inside(host):
            refuse(host)
        return look_up(host, *given, **more)

    for name in ("connect", "connect_ex", "sendto"):
        guarded(name)
    patch.setattr(socket, "getaddrinfo", looked_up)
    return tried


@pytest.fixture
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Run a test during which nothing may leave the machine; attempts that were swallowed fail it at its end."""
    tried = forbid(monkeypatch)
    yield tried
    assert tried == []
