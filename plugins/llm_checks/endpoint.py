"""One request to a chat-completions service: where it may go, what is sent, and what each kind of answer means."""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from harness.api import InputError, Problem

from .journal import Outcome

if TYPE_CHECKING:
    import httpx

_LARGEST_BODY = 16_000_000
_SHOWN = 200
_TRY_AGAIN = frozenset({408, 409, 425, 429})
_STOPS = {
    401: "refuses the key",
    402: "asks for payment",
    403: "refuses access",
    404: "knows no such address or model",
    405: "takes no questions",
}
_FILTERED = frozenset({"content_filter", "content_policy_violation"})
_SHORTEST_SECRET = 6


@dataclass(frozen=True)
class Address:
    """Where a service is asked. hosts: the addresses to connect to, one after the other; secrets: words that are never written down."""

    scheme: str
    host: str
    port: int | None
    path: str
    hosts: tuple[str, ...]
    external: bool
    secrets: tuple[str, ...]

    @property
    def netloc(self) -> str:
        """Host and port as the service knows them."""
        return _netloc(self.host, self.port)

    def urls(self) -> list[str]:
        """Return the addresses of chat completions, one per host."""
        return [f"{self.scheme}://{_netloc(host, self.port)}{self.path}/chat/completions" for host in self.hosts]


def address(base_url_env: str, key: str, *, allow_external: bool, unencrypted: bool) -> Address:
    """Return where the service is asked, from the environment variable that holds its base URL.

    The host is resolved here, and without allow_external every address it has must be of this machine; these addresses, not the name,
    are then connected to. `InputError` names the variable, never its value.
    """
    given = os.environ.get(base_url_env, "").strip().rstrip("/")
    if not given:
        raise _problem(base_url_env, "is not set", f"export {base_url_env}=http://127.0.0.1:8000/v1 before the audit; it is stored nowhere")
    try:
        parts = urlsplit(given)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _problem(base_url_env, "holds no address", "it begins with https://, or with http:// on this machine") from None
    if parts.scheme not in ("http", "https") or not host:
        raise _problem(base_url_env, "holds no address", "it begins with https://, or with http:// on this machine")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise _problem(base_url_env, "holds a user, a password, a query or a fragment", "leave them out; key_env names a key")
    found = _resolved(host, port, base_url_env)
    external = not all(ipaddress.ip_address(one).is_loopback for one in found)
    if external and not allow_external:
        what = "leads to another machine, and images leave this one only after allow_external: true"
        raise _problem(base_url_env, what, "write allow_external: true if you may send the images there")
    if external and parts.scheme == "http" and not unencrypted:
        raise _problem(base_url_env, "sends images and key in the clear", "use https, or write unencrypted: true")
    secrets = (key, given, *((parts.netloc, host) if external else (parts.netloc,)))
    hosts = (host,) if external else tuple(found)
    return Address(parts.scheme, host, port, parts.path, hosts, external, tuple(s for s in secrets if len(s) >= _SHORTEST_SECRET))


def key_from(key_env: str) -> str:
    """Return the key that an environment variable holds; empty where none is named. `InputError` names the variable, never its value."""
    if not key_env:
        return ""
    key = os.environ.get(key_env, "").strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise _problem(key_env, "holds no key", f"export {key_env}=... before the audit; it is stored nowhere")
    return key


class Endpoint:
    """A service behind an address, asked by several threads. Redirections are not followed, and nothing of it is logged.

    timeout_s: for one reply. connects: how often a connection is tried before the run stops, with pauses `pause_s(attempt)` between.
    """

    def __init__(self, client: httpx.Client, where: Address, base_url_env: str, key_env: str, timeout_s: float, connects: int,
                 pause_s: Callable[[int], float]) -> None:  # fmt: skip
        self._client, self._where, self._timeout_s = client, where, timeout_s
        self._base_url_env, self._key_env = base_url_env, key_env
        self._connects, self._pause_s = connects, pause_s

    def ask(self, body: Mapping[str, Any]) -> Outcome:
        """Send one request and return how it ended; `InputError` where no question can be answered, such as a key that is refused."""
        import httpx

        begun = time.monotonic()
        content = json.dumps(body).encode()
        try:
            status, headers, received = self._connected(content)
        except httpx.TimeoutException:
            return self._again(f"no reply within {self._timeout_s:g} s", begun)
        except httpx.RequestError as error:
            return self._again(f"the connection broke off ({type(error).__name__})", begun)
        seconds = time.monotonic() - begun
        if status == 200:
            return self._reply(headers.get("content-type", ""), received).model_copy(update={"seconds": seconds})
        return self._refused(status, headers, received).model_copy(update={"seconds": seconds})

    def _connected(self, content: bytes) -> tuple[int, Mapping[str, str], bytes]:
        """Send to the first address that takes the connection; a connection that is refused has cost nothing and is tried again."""
        import httpx

        for attempt in range(1, self._connects + 1):
            for url in self._where.urls():
                try:
                    return self._received(url, content)
                except (httpx.ConnectError, httpx.ConnectTimeout):
                    continue
                except httpx.InvalidURL:
                    raise _problem(self._base_url_env, "holds no address", "it has a sign that addresses do not have") from None
            if attempt < self._connects:
                time.sleep(self._pause_s(attempt))
        what = f"leads to a service that cannot be reached ({self._connects} attempts)"
        raise _problem(self._base_url_env, what, "start the service and run again with --retry-failed: what was answered is kept")

    def _received(self, url: str, content: bytes) -> tuple[int, Mapping[str, str], bytes]:
        import httpx

        deadline = time.monotonic() + self._timeout_s
        # The connection goes to the address that was checked; the service still sees the name that it is known by.
        headers = {"Host": self._where.netloc, "Content-Type": "application/json", "Accept": "application/json"}
        extensions = {"sni_hostname": self._where.host}
        received = bytearray()
        with self._client.stream("POST", url, content=content, headers=headers, extensions=extensions) as response:
            for block in response.iter_bytes():
                received += block
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("too slow")
                if len(received) > _LARGEST_BODY:
                    raise httpx.ReadError("too large")
            return response.status_code, response.headers, bytes(received)

    def _again(self, reason: str, begun: float) -> Outcome:
        return Outcome(status="failed", reason=reason, again=True, seconds=time.monotonic() - begun)

    def _refused(self, status: int, headers: Mapping[str, str], received: bytes) -> Outcome:
        """Return what an answer other than 200 means, or raise where every question would end the same way."""
        said, code = self._error(received)
        words = f"HTTP {status}" + (f": {said}" if said else "")
        if 300 <= status < 400:
            what = f"leads to a service that redirects ({status}), which is not followed"
            raise _problem(self._base_url_env, what, "set the final address; what was answered is kept")
        if status in _STOPS:
            named = self._key_env if status in (401, 402, 403) and self._key_env else self._base_url_env
            what = f"does not open the service, which {_STOPS[status]} ({words})"
            raise _problem(named, what, "correct it, or the option model, and run again with --retry-failed: what was answered is kept")
        if status in _TRY_AGAIN or status >= 500:
            wait = retry_after(headers.get("retry-after"))
            if wait is not None and wait > self._timeout_s:
                what = f"leads to a service that asks to wait {wait:.0f} s, longer than timeout_s ({words})"
                raise _problem(self._base_url_env, what, "try later with --retry-failed, or raise timeout_s: what was answered is kept")
            return Outcome(status="failed", reason=words, again=True, free=True, wait_s=wait)
        if code in _FILTERED:
            return Outcome(status="refused", reason=f"the service filters the question ({words})", free=True)
        return Outcome(status="failed", reason=words, free=True)

    def _error(self, received: bytes) -> tuple[str, str]:
        """Return what an error says, without secrets, and its code."""
        try:
            told = json.loads(received)["error"]
            message, code = (told, "") if isinstance(told, str) else (str(told.get("message", "")), str(told.get("code", "")))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return "", ""
        return self._scrubbed(" ".join(message.split()))[:_SHOWN], code

    def _reply(self, content_type: str, received: bytes) -> Outcome:
        """Return what an answer 200 holds."""
        try:
            told = json.loads(received)
        except (ValueError, RecursionError):
            kind = "HTML" if received.lstrip()[:1] == b"<" or "html" in content_type else "no JSON"
            return Outcome(status="failed", reason=f"the service answers with {kind} where JSON is expected")
        try:
            choice = told["choices"][0]
            message = choice["message"]
            text, refusal, finish = _text(message.get("content")), message.get("refusal"), str(choice.get("finish_reason") or "")
        except (KeyError, IndexError, TypeError, AttributeError):
            said = self._error(received)[0]
            return Outcome(status="failed", reason="the service answers without a message" + (f": {said}" if said else ""))
        usage = told.get("usage") if isinstance(told.get("usage"), dict) else {}
        known = {
            "text": self._scrubbed(text), "model": self._scrubbed(_word(told.get("model"))), "cut_off": finish == "length",
            "fingerprint": self._scrubbed(_word(told.get("system_fingerprint"))),
            "prompt_tokens": _count(usage.get("prompt_tokens")), "reply_tokens": _count(usage.get("completion_tokens")),
        }  # fmt: skip
        if refusal:
            said = self._scrubbed(" ".join(str(refusal).split()))
            return Outcome(**(known | {"text": text or said}), status="refused", reason=f"the model refused: {said[:_SHOWN]}")
        if finish == "content_filter":
            return Outcome(**known, status="refused", reason="the service filtered the reply")
        return Outcome(**known)

    def _scrubbed(self, text: str) -> str:
        for secret in self._where.secrets:
            text = text.replace(secret, "...")
        return text


@contextmanager
def opened(where: Address, key: str, timeout_s: float, connections: int) -> Iterator[httpx.Client]:
    """Lend a client for this address. Proxies of the environment are used for external addresses only; its log lines are kept quiet."""
    try:
        import httpx
    except ImportError as error:
        raise InputError(Problem("needs the package httpx", "openai_compatible", "pip install httpx")) from error
    loggers = {name: logging.getLogger(name) for name in ("httpx", "httpcore")}
    levels = {name: logger.level for name, logger in loggers.items()}
    for logger in loggers.values():
        logger.setLevel(logging.CRITICAL + 1)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    # Reading the certificates takes a while, and http uses none.
    verify = where.scheme == "https"
    try:
        with httpx.Client(
            headers=headers, timeout=timeout_s, limits=limits, verify=verify, follow_redirects=False, trust_env=where.external
        ) as client:
            yield client
    finally:
        for name, logger in loggers.items():
            logger.setLevel(levels[name])


def retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header, which holds seconds or a date; None where it holds neither."""
    if not value:
        return None
    try:
        return max(0.0, float(value)) if value.strip().replace(".", "", 1).isdigit() else _until(value)
    except ValueError:
        return None


def _until(value: str) -> float | None:
    date = parsedate_to_datetime(value)
    return max(0.0, (date - datetime.now(UTC)).total_seconds()) if date.tzinfo else None


def _resolved(host: str, port: int | None, base_url_env: str) -> list[str]:
    """Return the addresses of a host, those of version 4 first."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise _problem(base_url_env, "names a host that cannot be found", "check the address") from None
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in sorted(found, key=lambda entry: entry[0] != socket.AF_INET)))


def _netloc(host: str, port: int | None) -> str:
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _word(value: Any) -> str:
    return value[:_SHOWN] if isinstance(value, str) else ""


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _problem(variable: str, what: str, fix: str) -> InputError:
    return InputError(Problem(f"the environment variable {variable} {what}", "openai_compatible", fix))
