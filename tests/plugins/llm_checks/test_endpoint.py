"""Where a service may be asked, and what its answers mean."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from harness.api import InputError
from harness_plugins.llm_checks.endpoint import Address, address, key_from, retry_after
from no_network import OutsideError, forbid


def named(monkeypatch: pytest.MonkeyPatch, url: str, *found: str, **options: bool) -> Address:
    """Return the address of a URL whose host has these numbers."""
    monkeypatch.setenv("LLM_URL", url)
    known = [(socket.AF_INET6 if ":" in one else socket.AF_INET, 0, 0, "", (one, 80)) for one in found]
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, **more: known)
    return address("LLM_URL", "key-0123", **({"allow_external": False, "unencrypted": False} | options))


def test_a_name_of_this_machine_is_asked_by_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 4 first; what is connected to is the number that was checked, and the service sees the name."""
    where = named(monkeypatch, "http://localhost:8000/v1/", "::1", "127.0.0.1")

    assert where.urls() == ["http://127.0.0.1:8000/v1/chat/completions", "http://[::1]:8000/v1/chat/completions"]
    assert (where.netloc, where.external) == ("localhost:8000", False)
    assert set(where.secrets) == {"key-0123", "http://localhost:8000/v1", "localhost:8000"}


def test_a_name_that_also_leads_outside_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One address of several on another machine is enough."""
    with pytest.raises(InputError, match="leads to another machine"):
        named(monkeypatch, "http://looks.local:8000", "127.0.0.1", "192.0.2.1")


def test_another_machine_is_asked_by_name_where_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over https, or over http where that is allowed too."""
    where = named(monkeypatch, "https://api.example.org/v1", "192.0.2.1", allow_external=True)
    assert (where.urls(), where.external) == (["https://api.example.org/v1/chat/completions"], True)
    assert "api.example.org" in where.secrets
    plain = named(monkeypatch, "http://gpu:8000", "192.0.2.1", allow_external=True, unencrypted=True)
    assert plain.urls() == ["http://gpu:8000/chat/completions"]


def test_a_host_that_cannot_be_found_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not the host."""

    def lost(*given: Any, **more: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setenv("LLM_URL", "http://nowhere.invalid/v1")
    monkeypatch.setattr(socket, "getaddrinfo", lost)
    with pytest.raises(InputError, match="LLM_URL names a host that cannot be found") as caught:
        address("LLM_URL", "", allow_external=True, unencrypted=True)
    assert "nowhere" not in str(caught.value)


@pytest.mark.parametrize("value", ["", "  ", "two words", "tab\tkey", "clé"])
def test_a_key_is_one_printable_word(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Anything else is refused without being shown."""
    monkeypatch.setenv("LLM_KEY", value)
    with pytest.raises(InputError, match="LLM_KEY holds no key") as caught:
        key_from("LLM_KEY")
    assert not value.strip() or value not in str(caught.value)


def test_a_key_is_optional_and_blanks_around_it_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a variable there is none."""
    monkeypatch.setenv("LLM_KEY", " abc\n")
    assert (key_from(""), key_from("LLM_KEY")) == ("", "abc")


def test_retry_after_is_seconds_or_a_date() -> None:
    """A date in the past means at once; nonsense means nothing."""
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert [retry_after(value) for value in (None, "", "7", "0.5", "soon", "-3")] == [None, None, 7.0, 0.5, None, None]
    assert 55 < (retry_after(later) or 0) <= 60
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


def test_the_guard_of_these_tests_guards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections, datagrams and look-ups beyond loopback raise and are noted; those on this machine go through."""
    tried = forbid(monkeypatch)
    with socket.socket() as outside, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        for attempt in (
            lambda: outside.connect(("192.0.2.1", 80)),
            lambda: outside.connect_ex(("example.org", 80)),
            lambda: datagrams.sendto(b"x", ("192.0.2.1", 53)),
            lambda: socket.getaddrinfo("example.org", 80),
            lambda: socket.create_connection(("example.org", 80)),
        ):
            with pytest.raises(OutsideError):
                attempt()
    assert len(tried) == 5
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        assert socket.getaddrinfo("localhost", 80)
    assert len(tried) == 5
