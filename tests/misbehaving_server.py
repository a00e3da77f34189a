"""A chat-completions service on this machine that does what it is told: answers, refuses, breaks, dawdles."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Does:
    """What the service does with one request. wait: seconds, or an event, before it answers; drop: it hangs up without an answer."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: float | threading.Event = 0.0
    drop: bool = False


Behaviour = Callable[[int, dict[str, Any]], Does]


def says(text: str | None, *, finish: str = "stop", model: str = "tiny-1", refusal: str | None = None,
         used: tuple[int, int] | None = (100, 20), wait: float | threading.Event = 0.0) -> Does:  # fmt: skip
    """Return a reply in the form of chat completions."""
    message = {"role": "assistant", "content": text} | ({"refusal": refusal} if refusal is not None else {})
    told: dict[str, Any] = {"id": "c", "model": model, "system_fingerprint": "fp_1", "choices": [
        {"index": 0, "message": message, "finish_reason": finish}]}  # fmt: skip
    if used is not None:
        told["usage"] = {"prompt_tokens": used[0], "completion_tokens": used[1], "total_tokens": sum(used)}
    return Does(json.dumps(told).encode(), headers={"Content-Type": "application/json"}, wait=wait)


def fails(status: int, message: str = "no", code: str = "", **headers: str) -> Does:
    """Return an error in the form of chat completions."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Does(json.dumps({"error": {"message": message, "code": code}}).encode(), status, named)


def question(body: Mapping[str, Any]) -> str:
    """Return the text of the last message that a request holds."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else next(part["text"] for part in content if part["type"] == "text")


def keys(body: Mapping[str, Any]) -> list[str]:
    """Return the keys of the object that a request wants filled in."""
    form = next(line for line in reversed(question(body).splitlines()) if line.startswith("{"))
    return list(json.loads(form))


def answers(**values: Any) -> Behaviour:
    """Return the behaviour of a service that answers every key with its value."""
    return lambda number, body: says(json.dumps({key: values[key] for key in keys(body)}))


class Service:
    """The service while it runs. requests: what was sent to it, in order; headers: with each; replied: how many were answered."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.busiest = 0
        self._busy = 0
        self.changed = threading.Condition()
        self.url = ""

    def wait_for(self, count: int, timeout: float = 30.0) -> None:
        """Wait until so many requests have come."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.requests) >= count, timeout), f"{len(self.requests)} of {count} requests came"

    def take(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> Does:
        """Note a request and return what is done with it."""
        with self.changed:
            self.requests.append(body)
            self.headers.append(headers)
            self.paths.append(path)
            number = len(self.requests)
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
            self.changed.notify_all()
        return self.behaviour(number, body)

    def done(self) -> None:
        """Note that a request has been dealt with."""
        with self.changed:
            self._busy -= 1


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[Service]:
    """Run the service on a free port of this machine; behaviour: number of the request (from 1) and its body -> what is done."""
    service = Service(behaviour)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            does = service.take(self.path, body, dict(self.headers))
            with contextlib.suppress(OSError):
                self._do(does)
            service.done()

        def _do(self, does: Does) -> None:
            if isinstance(does.wait, threading.Event):
                does.wait.wait(30.0)
            elif does.wait:
                threading.Event().wait(does.wait)
            if does.drop:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(does.status)
            for name, value in ({"Content-Length": str(len(does.body))} | dict(does.headers)).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(does.body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing of those who hang up."""

    server = Quiet(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
