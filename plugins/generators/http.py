"""Synthetic images from a service that is asked over HTTP."""

from __future__ import annotations

import base64
import binascii
import io
import json
import os
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import SplitResult, urljoin, urlsplit

import numpy as np
from pydantic import Field, model_validator

from harness.api import Context, Generator, ImageSet, InputError, NotComputable, Problem, Request

_BLOCK = 1 << 16
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_PASSED_ON = (307, 308)
_TOO_MANY = 429
_PNG = b"\x89PNG\r\n\x1a\n"


class Http(Generator):
    """A service that returns images, asked page by page over HTTP with JSON.

    The audit sends `POST url` with `Content-Type: application/json` and this object; a service ignores keys that it does not know:

    `n`: images wanted, at most `batch`. `seed`: a whole number below 2^32; image i of an answer is decided by the seed, by i, and by
    its own label and mask, and by nothing else. `labels`: n whole numbers from 0 in the order of data.label_names, or null. `masks`:
    base64 of a .npy file, uint8 (n, axes ...), or null. `shape`: of one image, [channels, height, width] or [channels, depth, height,
    width]. `spacing_mm`: of each axis, in that order. `model`: the option of that name.

    It answers 200 with an object that has `images`: base64 of a .npy file (n, channels, axes ...), floating point in [0, 1] or
    unsigned integers of 8 or 16 bits whose largest value is 1; or a list of n base64 PNG files. And, if it likes, `labels`: n whole
    numbers; `masks`: base64 of a .npy file, uint8 (n, axes ...). Images keep the labels and masks that they were made for.

    url: https, or http on this machine (elsewhere only with unencrypted: true). shape: as above, as the real images are after
    preprocessing. sends: labels, masks or both, which the images are to have. model: what the service runs; change it when the
    service changes, and the images are made anew. token_env: name of the environment variable with a token, sent as
    `Authorization: Bearer`. A broken connection, 429 and 5xx are tried again `retries` times, after `wait_s` seconds, then twice
    that, or as Retry-After says. timeout_s: for one answer. max_mb: size of one answer. Redirections to another host are refused.
    """

    name = "http"
    version = "1"
    url: str = Field(description="address of the service, without user, password or token")
    shape: tuple[int, ...] = Field(min_length=3, max_length=4, description="of one image: channels, (depth,) height, width")
    sends: tuple[Literal["labels", "masks"], ...] = Field((), description="what of the real images is sent, to condition on")
    model: str = Field("", description="what the service runs, sent with every request")
    batch: int = Field(16, ge=1, description="images of one request")
    token_env: str = Field("", description="environment variable that holds the token")
    unencrypted: bool = Field(False, description="allow http to another machine")
    retries: int = Field(4, ge=0, le=20, description="further attempts at a request")
    wait_s: float = Field(1.0, gt=0.0, le=3600.0, description="before the second attempt; doubles")
    timeout_s: float = Field(300.0, gt=0.0, description="for one answer, and the longest Retry-After that is waited for")
    max_mb: float = Field(512.0, gt=0.0, description="largest answer")

    @model_validator(mode="after")
    def _options(self) -> Self:
        try:
            address = urlsplit(self.url)
            host, _ = address.hostname, address.port
        except ValueError as error:
            raise ValueError(f"url is no address: {error}") from error
        if address.scheme not in ("http", "https") or not host:
            raise ValueError("url must be an address that begins with https:// (or http://)")
        if address.username or address.password or address.query or address.fragment:
            raise ValueError("url must hold no user, password, query or fragment, which are stored; name a token with token_env")
        if address.scheme == "http" and host not in _LOOPBACK and not self.unencrypted:
            raise ValueError("http sends images and token in the clear; use https, or write unencrypted: true")
        if min(self.shape) < 1:
            raise ValueError(f"shape must hold positive numbers, got {list(self.shape)}")
        return self

    def conditions(self) -> frozenset[str]:
        """Return what is sent of labels and masks."""
        return frozenset(self.sends)

    def sample(self, request: Request, context: Context) -> ImageSet:
        """Ask the service page by page and return its images.

        `NotComputable` where labels or masks are to be sent and the data have none. `InputError` where the service cannot be reached,
        refuses, or answers something else than was agreed on; the message says which page and what.
        """
        for name in self.sends:
            if getattr(request, name) is None:
                raise NotComputable(f"the option sends names {name}, and the data declare none")
        if "masks" in self.sends and request.masks is not None and request.masks.shape[1:] != self.shape[1:]:
            raise InputError(self._problem(f"shape is {self.shape}, the masks to send are {request.masks.shape[1:]}", "correct shape"))
        token = self._token()
        pages: list[_Page] = []
        for k, start in enumerate(range(0, request.n, self.batch)):
            rows = slice(start, min(start + self.batch, request.n))
            seed = int(np.random.SeedSequence([context.seed, k]).generate_state(1)[0])
            asked = self._asked(request, rows, seed)
            answer = self._answer(json.dumps(asked).encode(), token, f"images {rows.start} to {rows.stop - 1}")
            pages.append(self._page(answer, asked, context.workdir))
            context.progress(rows.stop, request.n)
        return self._images(pages, request)

    def _token(self) -> str:
        if not self.token_env:
            return ""
        token = os.environ.get(self.token_env, "").strip()
        if not token or not token.isascii() or not token.isprintable():
            fix = f"export {self.token_env}=... before the audit; the token is stored nowhere"
            raise InputError(self._problem(f"the environment variable {self.token_env} holds no token", fix))
        return token

    def _asked(self, request: Request, rows: slice, seed: int) -> dict[str, Any]:
        """Return what is sent for these rows."""
        labels, masks = (getattr(request, name) if name in self.sends else None for name in ("labels", "masks"))
        return {
            "n": rows.stop - rows.start, "seed": seed, "labels": None if labels is None else [int(label) for label in labels[rows]],
            "masks": None if masks is None else _encoded(masks[rows]), "shape": list(self.shape),
            "spacing_mm": list(request.spacing_mm), "model": self.model,
        }  # fmt: skip

    def _answer(self, body: bytes, token: str, page: str) -> dict[str, Any]:
        """Return the object that the service answers, after as many attempts as are allowed."""
        for attempt in range(self.retries + 1):
            try:
                content = self._once(body, token)
                break
            except _AgainError as error:
                pause = self.wait_s * 2**attempt if error.after is None else error.after
                if attempt == self.retries:
                    what = f"{error} (after {attempt + 1} attempts, asked for {page})"
                    raise InputError(self._problem(what, "see whether the service runs; then start the audit again")) from error
                if pause > self.timeout_s:
                    what = f"{error} and asks to wait {pause:.0f} s, longer than timeout_s"
                    raise InputError(self._problem(what, "start the audit again later, or raise timeout_s")) from error
                time.sleep(pause)
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise InputError(self._problem(f"the answer for {page} is no JSON: {str(error)[:120]}")) from error
        if not isinstance(answer, dict) or "images" not in answer:
            raise InputError(self._problem(f'the answer for {page} is no object with "images"'))
        return answer

    def _once(self, body: bytes, token: str) -> bytes:
        """Send one request and return the body of the answer."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(self.url, body, headers, method="POST")  # noqa: S310 - the scheme has been checked
        deadline = time.monotonic() + self.timeout_s
        try:
            with urllib.request.build_opener(_SameHost).open(request, timeout=self.timeout_s) as response:
                return self._body(response, deadline)
        except urllib.error.HTTPError as error:
            with error:
                said = f"the service answers {error.code} {error.reason}"
                if error.code == _TOO_MANY or error.code >= 500:
                    raise _AgainError(said, _retry_after(error.headers.get("Retry-After"))) from error
                told = " ".join(error.read(200).decode("utf-8", "replace").split())
            if token:
                told = told.replace(token, "...")
            raise InputError(self._problem(said + (f": {told}" if told else ""), "correct url, token or options")) from error
        except (HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise _AgainError(f"the service cannot be reached, or broke off: {str(reason) or type(error).__name__}") from error

    def _body(self, response: Any, deadline: float) -> bytes:
        """Return the whole body; refuse one that is too large or comes too slowly."""
        limit = int(self.max_mb * 1e6)
        stated = response.headers.get("Content-Length", "")
        if stated.isdigit() and int(stated) > limit:
            raise InputError(self._problem(f"the answer has {int(stated):,} bytes, more than max_mb: {self.max_mb:g}", "lower batch"))
        content = bytearray()
        while block := response.read1(_BLOCK):
            content += block
            if len(content) > limit:
                raise InputError(self._problem(f"the answer has more than max_mb: {self.max_mb:g}", "lower batch, or raise max_mb"))
            if time.monotonic() > deadline:
                raise _AgainError(f"the service was not done after {self.timeout_s:g} s")
        if stated.isdigit() and len(content) < int(stated):
            raise _AgainError(f"the service broke off after {len(content):,} of {int(stated):,} bytes")
        return bytes(content)

    def _page(self, answer: Mapping[str, Any], asked: Mapping[str, Any], workdir: Path) -> _Page:
        """Return what an answer holds, checked against what was asked."""
        n, shape = int(asked["n"]), self.shape
        given = answer["images"]
        pixels = _scaled(self._pngs(given, n, workdir) if isinstance(given, list) else self._array("images", given, (n, *shape), "fu"))
        if pixels is None:
            raise InputError(self._problem('"images" must be finite and in [0, 1], or unsigned integers of 8 or 16 bits'))
        masks = answer.get("masks")
        labels = answer.get("labels")
        if labels is not None:
            whole = isinstance(labels, list) and all(type(label) is int and 0 <= label < 2**31 for label in labels)
            if not whole or len(labels) != n:
                raise InputError(self._problem(f'"labels" must be {n} whole numbers from 0'))
            if asked["labels"] is not None and labels != asked["labels"]:
                raise InputError(self._problem('"labels" are others than were asked for', "leave them out, or return those of the request"))
        found = None if masks is None else self._array("masks", masks, (n, *shape[1:]), "u")
        if found is not None and found.dtype != np.uint8:
            raise InputError(self._problem(f'"masks" must be uint8, got {found.dtype}'))
        return _Page(pixels, labels, found)

    def _array(self, key: str, given: Any, shape: tuple[int, ...], kinds: str) -> np.ndarray:
        """Return the array of a base64 .npy file, whose header is checked before anything is allocated."""
        content = self._bytes(key, given)
        file = io.BytesIO(content)
        try:
            version = np.lib.format.read_magic(file)
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            stated, _, dtype = reader(file)
        except ValueError as error:
            raise InputError(self._problem(f'"{key}" is no .npy file: {str(error)[:120]}')) from error
        if stated != shape or dtype.kind not in kinds:
            raise InputError(self._problem(f'"{key}" holds {dtype} {stated}, expected {shape}', "return what was asked for"))
        try:
            return np.load(io.BytesIO(content), allow_pickle=False)
        except ValueError as error:
            raise InputError(self._problem(f'"{key}" is no whole .npy file: {str(error)[:120]}')) from error

    def _pngs(self, given: list[Any], n: int, workdir: Path) -> np.ndarray:
        """Return the pixels of base64 PNG files, (n, channels, height, width)."""
        from monai.data.image_reader import PILReader

        if len(self.shape) != 3 or len(given) != n:
            what = "PNG files are no volumes" if len(self.shape) != 3 else f'"images" holds {len(given)} PNG files, expected {n}'
            raise InputError(self._problem(what, "return n images, volumes as one .npy file"))
        channels, height, width = self.shape
        made = []
        for k, one in enumerate(given):
            content = self._bytes(f"images[{k}]", one)
            # The size is read from the header first: a small file may claim to be a huge picture.
            if not content.startswith(_PNG) or len(content) < 24:
                raise InputError(self._problem(f'"images[{k}]" is no PNG file'))
            if struct.unpack(">II", content[16:24]) != (width, height):
                size = " x ".join(map(str, struct.unpack(">II", content[16:24])[::-1]))
                raise InputError(self._problem(f'"images[{k}]" has {size} pixels, expected {height} x {width}'))
            path = workdir / "answer.png"
            path.write_bytes(content)
            reader = PILReader(reverse_indexing=False)
            try:
                array = np.asarray(reader.get_data(reader.read(path))[0])
            except (OSError, ValueError, SyntaxError) as error:
                raise InputError(self._problem(f'"images[{k}]" is no whole PNG file: {str(error)[:120]}')) from error
            array = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
            if len(array) != channels or array.dtype not in (np.uint8, np.uint16):
                what = f'"images[{k}]" has {len(array)} channels of {array.dtype}, expected {channels} of 8 or 16 bits'
                raise InputError(self._problem(what, "save grey (L, 16 bits) or RGB, without a palette or transparency"))
            made.append(array)
        if len({array.dtype for array in made}) > 1:
            raise InputError(self._problem('"images" mixes PNG files of 8 and of 16 bits'))
        return np.stack(made)

    def _bytes(self, key: str, given: Any) -> bytes:
        try:
            return base64.b64decode(given, validate=True)
        except (TypeError, ValueError, binascii.Error) as error:
            raise InputError(self._problem(f'"{key}" is no base64 text')) from error

    def _images(self, pages: list[_Page], request: Request) -> ImageSet:
        """Return the images of all pages with the labels and masks that were answered, or else those that they were made for."""
        labels: np.ndarray | None = request.labels if "labels" in self.sends else None
        masks: np.ndarray | None = request.masks if "masks" in self.sends else None
        for key in ("labels", "masks"):
            if len({getattr(page, key) is None for page in pages}) > 1:
                raise InputError(self._problem(f'some answers hold "{key}" and some do not'))
        if pages[0].labels is not None:
            labels = np.array([label for page in pages for label in page.labels or ()], dtype=np.int64)
        if pages[0].masks is not None:
            masks = np.concatenate([page.masks for page in pages if page.masks is not None])
        return ImageSet(
            images=np.concatenate([page.pixels for page in pages]),
            ids=tuple(f"synthetic{row:05d}" for row in range(request.n)),
            spacing_mm=request.spacing_mm or (1.0,) * (len(self.shape) - 1),
            labels=labels,
            masks=masks,
            origin="synthetic",
        )

    def _problem(
        self, what: str, fix: str = "correct the service; `http` in plugins/generators/README.md says what it must answer"
    ) -> Problem:
        return Problem(what, self.url, fix)


@dataclass(frozen=True)
class _Page:
    """One answer: pixels (n, channels, axes ...) float32 in [0, 1], and labels and masks where it has some."""

    pixels: np.ndarray
    labels: list[int] | None
    masks: np.ndarray | None


class _AgainError(Exception):
    """A request that may succeed later. after: seconds that the service asks to wait."""

    def __init__(self, what: str, after: float | None = None) -> None:
        super().__init__(what)
        self.after = after


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Sends a request again where the same host says so with 307 or 308; any other redirection is refused."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Return the request for the new address, or refuse it."""
        if code not in _PASSED_ON or _origin(urlsplit(newurl)) != _origin(urlsplit(req.full_url)):
            host = urlsplit(newurl).hostname or newurl
            what = f"the service redirects ({code}) to {host}"
            raise InputError(Problem(what, req.full_url, "name the final address as url: only 307 and 308 to the same host are followed"))
        return urllib.request.Request(newurl, req.data, req.headers, method="POST")  # noqa: S310 - scheme and host are those of url

    def http_error_308(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        """Treat 308 as 307, with the body sent again."""
        new = urljoin(req.full_url, headers.get("Location", ""))
        again = self.redirect_request(req, fp, code, msg, headers, new)
        fp.read()
        fp.close()
        visited = getattr(req, "visited", 0) + 1
        if visited > self.max_redirections:
            raise InputError(Problem("the service redirects in circles", req.full_url, "name the final address as url"))
        again.visited = visited
        return self.parent.open(again, timeout=req.timeout)

    http_error_307 = http_error_308


def _origin(address: SplitResult) -> tuple[str, str | None, int | None]:
    return address.scheme, address.hostname, address.port


def _encoded(array: np.ndarray) -> str:
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(array), allow_pickle=False)
    return base64.b64encode(file.getvalue()).decode()


def _scaled(array: np.ndarray) -> np.ndarray | None:
    """Return float32 in [0, 1]; None where numbers are neither that nor unsigned integers of 8 or 16 bits."""
    if array.dtype.kind == "u":
        return (array / np.iinfo(array.dtype).max).astype(np.float32) if array.dtype.itemsize <= 2 else None
    inside = bool(np.all((array >= 0.0) & (array <= 1.0)))
    return array.astype(np.float32) if inside else None


def _retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header, which holds seconds or a date; None where it holds neither."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (date - datetime.now(UTC)).total_seconds()) if date.tzinfo else None
