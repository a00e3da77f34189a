"""Facts about fetching weights files, against a server on this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError

from harness.errors import HarnessError
from harness.fetch import Entry, WeightsFile, fetch, find, manifest

CONTENT = bytes(range(256)) * 20_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """What the server offers and what it was asked for."""

    address: str = ""
    cut: int | None = None
    ignores_range: bool = False
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serve CONTENT under /good; cut off after `cut` bytes; redirect under /away and /astray; 404 elsewhere."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer as asked."""
            asked = self.headers.get("Range")
            state.asked.append(asked)
            if self.path in ("/away", "/astray"):
                self.send_response(302)
                self.send_header("Location", f"{state.address}/good" if self.path == "/away" else "ftp://127.0.0.1/file")
                self.end_headers()
                return
            if self.path != "/good":
                self.send_error(404)
                return
            start = int(asked.split("=")[1].rstrip("-")) if asked and not state.ignores_range else 0
            if start >= len(CONTENT):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            self.wfile.write(CONTENT[start : state.cut])

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{running.server_port}"
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr("harness.fetch.SCHEMES", frozenset({"https", "http"}))
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    yield state
    running.shutdown()
    thread.join()
    running.server_close()


def entry(address: str, **fields: object) -> Entry:
    """Return an entry with one file."""
    file = {"file": "folder/net.pth", "address": address, "sha256": DIGEST, "size": len(CONTENT), "source": "made here"} | fields
    return Entry.model_validate({
        "name": "net", "what": "a network", "used_by": "nobody", "files": [file],
        "licence": "none", "licence_address": "https://example.org", "citation": "none",
    })  # fmt: skip


def said(problem: pytest.ExceptionInfo[HarnessError]) -> str:
    """Return what the user reads."""
    return "\n".join(problem.value.lines())


def test_a_good_file_arrives(server: Server, tmp_path: Path) -> None:
    """The file is in its place with its digest, progress was told, nothing else is left, and a second time it is kept."""
    told: list[tuple[str, int, int | None]] = []
    (fetched,) = fetch(entry(server.address + "/good"), tmp_path, lambda *parts: told.append(parts))
    assert fetched.path == tmp_path / "folder" / "net.pth"
    assert fetched.path.read_bytes() == CONTENT
    assert (fetched.sha256, fetched.checked, fetched.was_there) == (DIGEST, True, False)
    assert told[-1] == ("folder/net.pth", len(CONTENT), len(CONTENT))
    assert [f.name for f in fetched.path.parent.iterdir()] == ["net.pth"]
    (again,) = fetch(entry(server.address + "/good"), tmp_path)
    assert again.was_there
    assert len(server.asked) == 1


def test_a_redirection_is_followed(server: Server, tmp_path: Path) -> None:
    """Publishers redirect to where their files lie; to an address that is not encrypted nobody is led."""
    (fetched,) = fetch(entry(server.address + "/away"), tmp_path)
    assert fetched.sha256 == DIGEST
    with pytest.raises(HarnessError, match="only https addresses are fetched"):
        fetch(entry(server.address + "/astray", file="other.pth"), tmp_path)


@pytest.mark.parametrize(("digest", "checked"), [(DIGEST[:8], False), (None, False), (DIGEST, True)])
def test_the_beginning_of_a_digest_is_enough_to_check(server: Server, tmp_path: Path, digest: str | None, checked: bool) -> None:
    """With a published beginning, or with none, the whole digest comes back, to be pinned."""
    (fetched,) = fetch(entry(server.address + "/good", sha256=digest), tmp_path)
    assert fetched.sha256 == DIGEST
    assert fetched.checked is checked


@pytest.mark.parametrize("wrong", [{"sha256": "0" * 64}, {"sha256": "0" * 8}, {"size": 3}])
def test_a_wrong_file_is_deleted(server: Server, tmp_path: Path, wrong: dict[str, object]) -> None:
    """A file with another digest, another beginning of it, or another size never gets to its place."""
    with pytest.raises(HarnessError, match="it must ") as problem:
        fetch(entry(server.address + "/good", **wrong), tmp_path)
    assert f"{server.address}/good: what came has" in said(problem)
    assert "deleted" in said(problem)
    assert not [f for f in tmp_path.rglob("*") if f.is_file()]


def test_an_interrupted_download_goes_on(server: Server, tmp_path: Path) -> None:
    """What came is kept beside the place; the same call asks for the rest, and the whole is checked."""
    server.cut = 3_000_000
    with pytest.raises(HarnessError, match=r"the connection broke after 3,000,000 of 5,120,000 bytes") as problem:
        fetch(entry(server.address + "/good"), tmp_path)
    assert "goes on from there" in said(problem)
    assert not (tmp_path / "folder" / "net.pth").exists()
    server.cut = None
    (fetched,) = fetch(entry(server.address + "/good"), tmp_path)
    assert server.asked == [None, "bytes=3000000-"]
    assert fetched.path.read_bytes() == CONTENT


def test_a_server_that_cannot_go_on_starts_again(server: Server, tmp_path: Path) -> None:
    """Where the server sends the whole file, the beginning is not kept twice."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "net.pth.part").write_bytes(CONTENT[:1000])
    server.ignores_range = True
    (fetched,) = fetch(entry(server.address + "/good"), tmp_path)
    assert server.asked == ["bytes=1000-"]
    assert fetched.path.read_bytes() == CONTENT


def test_without_a_digest_halves_are_not_joined(server: Server, tmp_path: Path) -> None:
    """Nothing could tell whether two halves belong together, so the download starts again."""
    (tmp_path / "folder").mkdir()
    part = tmp_path / "folder" / "net.pth.part"
    part.write_bytes(b"something else")
    (fetched,) = fetch(entry(server.address + "/good", sha256=None), tmp_path)
    assert fetched.path.read_bytes() == CONTENT
    assert server.asked == [None]


@pytest.mark.parametrize(("held", "asked"), [(CONTENT, []), (CONTENT + b"!", [None])])
def test_a_part_that_is_complete_or_too_long(server: Server, tmp_path: Path, held: bytes, asked: list[str | None]) -> None:
    """A complete part is only checked; a longer one is of another file and is replaced."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "net.pth.part").write_bytes(held)
    (fetched,) = fetch(entry(server.address + "/good"), tmp_path)
    assert fetched.path.read_bytes() == CONTENT
    assert server.asked == asked


def test_a_part_past_the_end_of_a_file_of_unknown_size(server: Server, tmp_path: Path) -> None:
    """Where the server has nothing from there on, the download starts again."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "net.pth.part").write_bytes(CONTENT + b"!")
    (fetched,) = fetch(entry(server.address + "/good", size=None), tmp_path)
    assert fetched.path.read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT) + 1}-", None]


def test_another_file_in_the_place_is_not_touched(server: Server, tmp_path: Path) -> None:
    """A file that is there with other bytes is the user's: it stays, and both digests are named."""
    (tmp_path / "folder").mkdir()
    mine = tmp_path / "folder" / "net.pth"
    mine.write_bytes(b"mine")
    with pytest.raises(HarnessError, match="another file is here already") as problem:
        fetch(entry(server.address + "/good"), tmp_path)
    assert DIGEST in said(problem)
    assert mine.read_bytes() == b"mine"
    assert not server.asked


def test_what_is_not_there_says_what_to_do(server: Server, tmp_path: Path) -> None:
    """A 404 names the address and how to place the file by hand."""
    with pytest.raises(HarnessError, match="the server answers 404 Not Found") as problem:
        fetch(entry(server.address + "/gone"), tmp_path)
    assert f"{server.address}/gone" in said(problem)
    assert f"save it as {tmp_path / 'folder' / 'net.pth'}" in said(problem)


def test_without_a_network_says_what_to_do(server: Server, tmp_path: Path) -> None:
    """A server that cannot be reached is a mistake to mend, not a traceback."""
    port = urlsplit(server.address).port or 0
    with pytest.raises(HarnessError, match=r"cannot be reached: .*refused") as problem:
        fetch(entry(f"http://127.0.0.1:{1 if port != 1 else 2}/good"), tmp_path)
    assert "without a network: download the address elsewhere" in said(problem)


def test_only_https(tmp_path: Path) -> None:
    """An address without encryption, or of a file, is refused before anything is asked."""
    for address in ("http://example.org/a", "file:///etc/passwd"):
        with pytest.raises(HarnessError, match="only https addresses are fetched"):
            fetch(entry(address), tmp_path)


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    """A folder that is a file is a mistake to mend."""
    (tmp_path / "folder").write_bytes(b"")
    with pytest.raises(HarnessError, match="cannot be written or read"):
        fetch(entry(server.address + "/good"), tmp_path)


def test_names_are_found() -> None:
    """Entries come in the order asked for, once each; a misspelt name is answered with a close one."""
    assert [e.name for e in find(["lpips_alex", "inception_v3", "lpips_alex"])] == ["lpips_alex", "inception_v3"]
    with pytest.raises(HarnessError, match="no 'inceptionv3'") as problem:
        find(["inceptionv3"])
    assert "did you mean inception_v3?" in said(problem)
    with pytest.raises(HarnessError, match="there are: inception_v3, "):
        find(["zzz"])


def test_the_manifest_is_sound() -> None:
    """Names and places are unique, addresses and licences are https, and digests begin as the publisher's file names say."""
    files = [file for e in manifest() for file in e.files]
    assert len({e.name for e in manifest()}) == len(manifest())
    assert len({file.file for file in files}) == len({file.address for file in files})
    assert all(urlsplit(a).scheme == "https" for a in [*(f.address for f in files), *(e.licence_address for e in manifest())])
    for file in files:
        published = file.file.removesuffix(".pth").rsplit("-", 1)[-1]
        if file.address.startswith(("https://download.pytorch.org", "https://github.com/mseitzer")):
            assert str(file.sha256).startswith(published)
        assert file.sha256 is not None or "harness fetch" in file.source


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a b", "a/../../b", "C:\\x"])
def test_files_stay_in_their_folder(name: str) -> None:
    """A manifest cannot write outside the folder that the user names."""
    with pytest.raises(ValidationError, match="plain name"):
        WeightsFile(file=name, address="https://example.org", sha256=None, source="made here")
