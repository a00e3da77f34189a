"""The files beside a results file are written whole, queued for fairly, and kept secret where they must be."""

from __future__ import annotations

import stat
import threading
import time
from pathlib import Path

import pytest

from harness.beside import Spool, put, salt, turn
from harness.errors import StoreError


def test_the_salt_is_made_once_and_for_its_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen random bytes that stay the same, in a file that nobody else may read, in a folder made where there is none."""
    monkeypatch.delenv("HARNESS_SALT", raising=False)
    path = tmp_path / "new" / "results.duckdb"
    first = salt(path)
    assert len(first) == 16
    assert salt(path) == first
    assert salt(tmp_path / "other.duckdb") != first
    assert stat.S_IMODE(path.with_name("results.duckdb.salt").stat().st_mode) == 0o600


def test_threads_that_ask_at_once_get_one_salt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one makes it, the others wait for it."""
    monkeypatch.delenv("HARNESS_SALT", raising=False)
    found: set[bytes] = set()
    threads = [threading.Thread(target=lambda: found.add(salt(tmp_path / "results.duckdb"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1


def test_the_environment_may_give_the_salt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`HARNESS_SALT` comes before the file and leaves none; what is not 32 hex digits is refused."""
    monkeypatch.setenv("HARNESS_SALT", "0f" * 16)
    assert salt(tmp_path / "results.duckdb") == b"\x0f" * 16
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("HARNESS_SALT", "secret")
    with pytest.raises(StoreError, match="set it to 32 hex digits"):
        salt(tmp_path / "results.duckdb")


def test_a_damaged_salt_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A salt of the wrong length is not replaced in silence: every hashed patient id would change."""
    monkeypatch.delenv("HARNESS_SALT", raising=False)
    (tmp_path / "results.duckdb.salt").write_bytes(b"short")
    with pytest.raises(StoreError, match="must hold 16 bytes, has 5"):
        salt(tmp_path / "results.duckdb")


def test_a_file_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails half-way leaves the old file and no rubbish."""
    path = tmp_path / "file"
    put(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        put(path, b"new")
    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == [("file", b"old")]


def test_batches_keep_their_order_and_their_rows(tmp_path: Path) -> None:
    """The spool gives back what was put in, the oldest first, and goes away with its last batch."""
    spool = Spool(tmp_path / "spool")
    assert spool.batches() == []
    rows = [{"table": "cells", "value": 0.1 + 0.2, "text": "ä\n"}]
    for n in range(12):
        spool.add([*rows, {"n": n}])
    assert [spool.read(batch)[1]["n"] for batch in spool.batches()] == list(range(12))
    assert spool.read(spool.batches()[0])[0] == rows[0]
    spool.discard(spool.batches()[:11])
    assert len(spool.batches()) == 1
    spool.discard(spool.batches())
    assert not spool.folder.exists()


def test_a_damaged_batch_is_an_error(tmp_path: Path) -> None:
    """It is named, and the user is told what becomes of its cells."""
    spool = Spool(tmp_path)
    (tmp_path / "000001-ab.jsonl").write_text("{")
    with pytest.raises(StoreError, match="its cells are computed again"):
        spool.read(spool.batches()[0])


def test_readers_share_a_turn_and_a_writer_has_it_alone(tmp_path: Path) -> None:
    """Who is not served by the deadline is told so; a reader of a place where no writer ever was needs no turn."""
    path = tmp_path / "lock"
    with turn(path, exclusive=False, deadline=0.0) as served:
        assert not served
    with (
        turn(path, exclusive=True, deadline=0.0) as writer,
        turn(path, exclusive=False, deadline=time.monotonic() + 0.05) as reader,
    ):
        assert (writer, reader) == (True, False)
    with turn(path, exclusive=False, deadline=0.0) as one, turn(path, exclusive=False, deadline=0.0) as two:
        assert one
        assert two
        with turn(path, exclusive=True, deadline=0.0) as writer:
            assert not writer
