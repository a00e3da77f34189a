"""Synthetic images from a service, against a server on this machine."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from harness.api import Context, ImageSet, InputError, NotComputable, Request
from harness.testing import check
from harness_plugins.generators.http import Http

Answer = Callable[[dict[str, Any]], Any]


def npy(array: np.ndarray) -> str:
    """Return an array as the contract wants it."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return base64.b64encode(file.getvalue()).decode()


def pixels(asked: dict[str, Any]) -> np.ndarray:
    """Return images as a service should make them: image i depends on the seed and on i."""
    return np.stack([np.random.default_rng([asked["seed"], i]).random(asked["shape"]) for i in range(asked["n"])]).astype(np.float32)


def good(asked: dict[str, Any]) -> dict[str, Any]:
    """Answer as agreed on."""
    return {"images": npy(pixels(asked))}


@dataclass
class Service:
    """What the service answers and what it was asked. before: answers (status, headers) that come first."""

    url: str = ""
    answer: Answer = good
    before: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    cut: int | None = None
    states_length: bool = True


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """Serve `answer` to every POST."""
    state = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Answer as the state says."""
            state.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            state.headers.append(dict(self.headers))
            state.paths.append(self.path)
            if state.before:
                status, headers = state.before.pop(0)
                body = b"please do not"
            else:
                made = state.answer(state.asked[-1])
                status, headers, body = 200, {}, made if isinstance(made, bytes) else json.dumps(made).encode()
            self.send_response(status)
            for name, value in (({"Content-Length": str(len(body))} if state.states_length else {}) | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: state.cut])
            state.cut = None

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{running.server_port}/generate"
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    yield state
    running.shutdown()
    thread.join()
    running.server_close()


def ask(service: Service, folder: Path, n: int = 3, seed: int = 1, options: dict[str, Any] | None = None, **known: Any) -> ImageSet:
    """Return what the service gives for a request of n images."""
    own = {"url": service.url, "shape": (1, 4, 6), "batch": 2, "wait_s": 0.01} | (options or {})
    return Http(**own).sample(Request(n, **({"spacing_mm": (0.5, 0.5)} | known)), Context(seed, folder))


def test_pages_become_one_set(service: Service, tmp_path: Path) -> None:
    """Three images come in pages of two; what is sent is the contract's object, and the seed alone decides."""
    made = ask(service, tmp_path, options={"model": "gan 3"})
    assert (made.images.shape, made.spacing_mm, made.origin) == ((3, 1, 4, 6), (0.5, 0.5), "synthetic")
    assert (made.labels, made.masks) == (None, None)
    assert [asked["n"] for asked in service.asked] == [2, 1]
    assert service.asked[0] == {
        "n": 2, "seed": service.asked[0]["seed"], "labels": None, "masks": None, "shape": [1, 4, 6], "spacing_mm": [0.5, 0.5],
        "model": "gan 3",
    }  # fmt: skip
    assert service.asked[0]["seed"] != service.asked[1]["seed"]
    assert np.array_equal(made.images[:2], pixels(service.asked[0]))
    assert np.array_equal(ask(service, tmp_path, 1).images, made.images[:1])
    assert not np.array_equal(ask(service, tmp_path, 1, seed=2).images, made.images[:1])


def test_it_conforms(service: Service) -> None:
    """The generator keeps the promises of its kind."""
    check(Http(url=service.url, shape=(1, 4, 6)), n=8, size_px=(4, 6))


def test_labels_and_masks_are_sent(service: Service, tmp_path: Path) -> None:
    """What the images are to have goes with the request and stays with the images."""
    labels, masks = np.array([1, 0, 2]), np.random.default_rng(0).integers(0, 2, (3, 4, 6)).astype(np.uint8)
    options = {"sends": ("labels", "masks")}
    made = ask(service, tmp_path, labels=labels, masks=masks, options=options)
    assert [asked["labels"] for asked in service.asked] == [[1, 0], [2]]
    sent = [np.load(io.BytesIO(base64.b64decode(asked["masks"])), allow_pickle=False) for asked in service.asked]
    assert np.array_equal(np.concatenate(sent), masks)
    assert np.array_equal(made.labels, labels)
    assert np.array_equal(made.masks, masks)
    assert Http(url=service.url, shape=(1, 4, 6), **options).conditions() == {"labels", "masks"}
    with pytest.raises(NotComputable, match="the option sends names masks, and the data declare none"):
        ask(service, tmp_path, labels=labels, options=options)
    with pytest.raises(InputError, match="the masks to send are"):
        ask(service, tmp_path, labels=labels, masks=masks[:, :2], options=options)


def test_labels_and_masks_may_come_back(service: Service, tmp_path: Path) -> None:
    """A service that makes its own labels and masks is believed; volumes come as one array."""

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        made = pixels(asked)
        return {"images": npy(made), "labels": list(range(asked["n"])), "masks": npy((made[:, 0] > 0.5).astype(np.uint8))}

    service.answer = answer
    made = ask(service, tmp_path, options={"shape": (2, 3, 4, 5)}, spacing_mm=(1.0, 1.0, 1.0))
    assert made.images.shape == (3, 2, 3, 4, 5)
    assert made.labels is not None
    assert made.labels.tolist() == [0, 1, 0]
    assert made.masks is not None
    assert np.array_equal(made.masks, made.images[:, 0] > 0.5)


@pytest.mark.parametrize(("dtype", "mode", "channels"), [(np.uint8, "L", 1), (np.uint8, "RGB", 3), (np.uint16, "I;16", 1)])
def test_integers_and_png_files(service: Service, tmp_path: Path, dtype: type, mode: str, channels: int) -> None:
    """Integers of 8 and 16 bits, as an array or as PNG files, are divided by their largest value."""
    from PIL import Image

    shape = (channels, 4, 6)
    whole = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (2, *shape), dtype=dtype, endpoint=True)

    def png(image: np.ndarray) -> str:
        file = io.BytesIO()
        Image.fromarray(image[0] if channels == 1 else np.moveaxis(image, 0, -1)).save(file, "PNG")
        return base64.b64encode(file.getvalue()).decode()

    for images in (npy(whole), [png(image) for image in whole]):
        service.answer = lambda asked, images=images: {"images": images}
        made = ask(service, tmp_path, 2, options={"shape": shape})
        assert np.allclose(made.images, whole / np.iinfo(dtype).max, atol=1e-7), mode


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_service_is_asked_again(service: Service, tmp_path: Path, status: int) -> None:
    """After 429 and 5xx the same request is sent again, with a pause that doubles or that Retry-After asks for."""
    service.before = [(status, {}), (status, {"Retry-After": "0"}), (status, {"Retry-After": "nonsense"})]
    started = time.monotonic()
    assert len(ask(service, tmp_path, 1, options={"wait_s": 0.05})) == 1
    assert time.monotonic() - started >= 0.05 + 0.0 + 0.2
    assert all(asked == service.asked[0] for asked in service.asked)
    assert len(service.asked) == 4


def test_a_date_to_come_back_is_kept(service: Service, tmp_path: Path) -> None:
    """Retry-After may hold a date; one that lies too far ahead ends the attempt and says so."""
    service.before = [(503, {"Retry-After": format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)})]
    assert len(ask(service, tmp_path, 1)) == 1
    service.before = [(429, {"Retry-After": "7200"})]
    with pytest.raises(InputError, match="asks to wait 7200 s, longer than timeout_s"):
        ask(service, tmp_path, 1)


def test_attempts_come_to_an_end(service: Service, tmp_path: Path) -> None:
    """After the last attempt the message says what the service answered and how often it was asked."""
    service.before = [(503, {})] * 3
    with pytest.raises(InputError, match=r"answers 503 .*after 3 attempts, asked for images 0 to 0"):
        ask(service, tmp_path, 1, options={"retries": 2})


def test_a_broken_connection_is_tried_again(service: Service, tmp_path: Path) -> None:
    """An answer that stops in the middle is asked for again."""
    service.cut = 10
    assert len(ask(service, tmp_path, 1)) == 1
    assert len(service.asked) == 2


def test_a_service_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Nobody listens: the address and the reason are in the message."""
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:9/x: the service cannot be reached"):
        ask(Service("http://127.0.0.1:9/x"), tmp_path, options={"retries": 1})


def test_a_slow_service_is_given_up(service: Service, tmp_path: Path) -> None:
    """An answer that does not come within timeout_s is no answer."""

    def late(asked: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.5)
        return good(asked)

    service.answer = late
    with pytest.raises(InputError, match="timed out"):
        ask(service, tmp_path, 1, options={"timeout_s": 0.1, "retries": 0})


def test_a_refusal_is_not_repeated(service: Service, tmp_path: Path) -> None:
    """A 4xx answer is shown with what the service says."""
    service.before = [(403, {})]
    with pytest.raises(InputError, match=r"answers 403 Forbidden: please do not"):
        ask(service, tmp_path, 1)
    assert len(service.asked) == 1


def test_redirections_stay_on_the_host(service: Service, tmp_path: Path) -> None:
    """307 and 308 on the same host are followed with the body; any other would lose it, or send images and token elsewhere."""
    for status in (307, 308):
        service.before = [(status, {"Location": "/moved"})]
        assert len(ask(service, tmp_path, 1)) == 1
        assert service.paths[-1] == "/moved"
        assert service.asked[-1] == service.asked[-2]
    for status, place in (
        (307, "http://localhost:1/x"),
        (308, "https://elsewhere.example/x"),
        (302, "/moved"),
        (307, "file:///etc/passwd"),
    ):
        service.before = [(status, {"Location": place})]
        with pytest.raises(InputError, match=rf"the service redirects \({status}\)"):
            ask(service, tmp_path, 1)
    service.before = [(307, {"Location": "/moved"})] * 30
    with pytest.raises(InputError, match="redirects in circles"):
        ask(service, tmp_path, 1)


def test_the_token_comes_from_the_environment(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent as a bearer token, and is in no option and in no message."""
    options = {"token_env": "TOKEN_OF_A_TEST"}
    monkeypatch.delenv("TOKEN_OF_A_TEST", raising=False)
    with pytest.raises(InputError, match="TOKEN_OF_A_TEST holds no token"):
        ask(service, tmp_path, 1, options=options)
    monkeypatch.setenv("TOKEN_OF_A_TEST", "do not")
    ask(service, tmp_path, 1, options=options)
    assert service.headers[-1]["Authorization"] == "Bearer do not"
    service.before = [(403, {})]
    with pytest.raises(InputError, match=r"please \.\.\.") as caught:
        ask(service, tmp_path, 1, options=options)
    assert "do not" not in str(caught.value)
    ask(service, tmp_path, 1)
    assert "Authorization" not in service.headers[-1]


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (b"<html>", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        ([], 'is no object with "images"'),
        ({"images": 3}, '"images" is no base64 text'),
        ({"images": "###"}, '"images" is no base64 text'),
        ({"images": base64.b64encode(b"data").decode()}, '"images" is no .npy file'),
        ({"images": npy(np.zeros((1, 4, 6), np.float32))}, r'"images" holds float32 \(1, 4, 6\), expected \(2, 1, 4, 6\)'),
        ({"images": npy(np.zeros((2, 1, 4, 6), np.int64))}, '"images" holds int64'),
        ({"images": npy(np.zeros((2, 1, 4, 6), np.uint32))}, "unsigned integers of 8 or 16 bits"),
        ({"images": npy(np.full((2, 1, 4, 6), 1.5))}, r"must be finite and in \[0, 1\]"),
        ({"images": npy(np.full((2, 1, 4, 6), np.nan))}, r"must be finite and in \[0, 1\]"),
        ({"images": npy(np.zeros((2, 1, 4, 6)))[:-40]}, "is no"),
        ({"images": ["", ""]}, r'"images\[0\]" is no PNG file'),
        ({"images": [""]}, "holds 1 PNG files, expected 2"),
        ({"images": npy(np.zeros((2, 1, 4, 6))), "labels": [0]}, '"labels" must be 2 whole numbers'),
        ({"images": npy(np.zeros((2, 1, 4, 6))), "labels": [0, True]}, '"labels" must be 2 whole numbers'),
        ({"images": npy(np.zeros((2, 1, 4, 6))), "labels": [1, 1]}, '"labels" are others than were asked for'),
        ({"images": npy(np.zeros((2, 1, 4, 6))), "masks": npy(np.zeros((2, 4, 5), np.uint8))}, '"masks" holds uint8'),
        ({"images": npy(np.zeros((2, 1, 4, 6))), "masks": npy(np.zeros((2, 4, 6), np.uint16))}, '"masks" must be uint8'),
    ],
)
def test_an_answer_that_breaks_the_contract_is_refused(service: Service, tmp_path: Path, answer: Any, what: str) -> None:
    """One sentence says which part of the answer is wrong and what was expected; nothing is unpickled or guessed."""
    service.answer = lambda asked: answer
    with pytest.raises(InputError, match=what) as caught:
        ask(service, tmp_path, 2, options={"sends": ("labels",)}, labels=np.array([0, 1]))
    assert len(caught.value.lines()) <= 3
    assert len(service.asked) == 1


def test_a_header_that_lies_allocates_nothing(service: Service, tmp_path: Path) -> None:
    """A tiny PNG file that claims to be huge, and an array of objects, are refused by their headers."""
    claim = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\0\0\0\0"
    service.answer = lambda asked: {"images": [base64.b64encode(claim).decode()] * 2}
    with pytest.raises(InputError, match="has 60000 x 60000 pixels, expected 4 x 6"):
        ask(service, tmp_path, 2)
    header = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (2, 1, 4, 6), }".ljust(117) + b"\n"
    service.answer = lambda asked: {"images": base64.b64encode(header).decode()}
    with pytest.raises(InputError, match='"images" holds object'):
        ask(service, tmp_path, 2)


@pytest.mark.parametrize("stated", [True, False])
def test_an_answer_that_is_too_large_is_not_read(service: Service, tmp_path: Path, stated: bool) -> None:
    """The size is refused by its header where it is stated, and while reading where it is not."""
    service.answer = lambda asked: b" " * 300_000
    service.states_length = stated
    with pytest.raises(InputError, match=r"300,000 bytes, more than max_mb: 0.1" if stated else r"the answer has more than max_mb: 0.1"):
        ask(service, tmp_path, 1, options={"max_mb": 0.1})


def test_answers_must_be_alike(service: Service, tmp_path: Path) -> None:
    """Masks in one page and none in the next are refused."""

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        extra = {"masks": npy(np.zeros((2, 4, 6), np.uint8))} if asked["n"] == 2 else {}
        return good(asked) | extra

    service.answer = answer
    with pytest.raises(InputError, match='some answers hold "masks" and some do not'):
        ask(service, tmp_path, 3)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"url": "ftp://host/x"}, "begins with https"),
        ({"url": "https://"}, "begins with https"),
        ({"url": "https://host:port/"}, "url is no address"),
        ({"url": "https://user:secret@host/x"}, "must hold no user, password"),
        ({"url": "https://host/x?token=1"}, "must hold no user, password, query"),
        ({"url": "http://host/x"}, "unencrypted: true"),
        ({"url": "https://host/x", "shape": (1, 0, 4)}, "positive numbers"),
        ({"url": "https://host/x", "shape": (4, 4)}, "at least 3"),
        ({"url": "https://host/x", "sends": ("patients",)}, "labels"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], what: str) -> None:
    """Options are checked when the audit is planned, without a connection."""
    with pytest.raises(ValidationError, match=what):
        Http(**({"shape": (1, 4, 6)} | options))
    assert Http(url="http://host/x", shape=(1, 4, 6), unencrypted=True).inputs() == ()
