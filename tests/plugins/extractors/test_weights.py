"""Facts about pinned weights files."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from harness.api import Context, Extractor, ImageSet, InputError
from harness.errors import SpecError
from harness.host import Host, Offer
from harness_plugins.extractors.weights import Pin, WeightsFile, fitting, loaded, tensors


class Pinned(Extractor):
    """An extractor with two files."""

    name = "pinned"
    version = "1"
    weights: WeightsFile
    sha256: Pin = ""
    lin: WeightsFile | None = None
    lin_sha256: Pin = ""

    def extract(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return nothing of interest."""
        return np.zeros((len(images), 1), dtype=np.float32)


def digest(path: Path) -> str:
    """Return the SHA-256 digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Return a small PyTorch state dict, in a folder with capital letters."""
    path = tmp_path / "Weights" / "Small.pth"
    path.parent.mkdir()
    torch.save({"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}, path)
    return path


def refused(**options: object) -> str:
    """Return what building the component complains of."""
    with pytest.raises(ValidationError) as caught:
        Pinned(**options)
    return str(caught.value)


def test_a_pinned_file_is_taken(checkpoint: Path) -> None:
    """The right digest, in capitals or not, builds; it is kept in small letters."""
    assert Pinned(weights=checkpoint, sha256=digest(checkpoint).upper()).sha256 == digest(checkpoint)


def test_a_file_without_a_pin_is_refused_with_its_digest(checkpoint: Path) -> None:
    """The message holds the line to paste."""
    assert f"write sha256: {digest(checkpoint)}" in refused(weights=checkpoint)
    both = {"weights": checkpoint, "sha256": digest(checkpoint), "lin": checkpoint}
    assert f"write lin_sha256: {digest(checkpoint)}" in refused(**both)


@pytest.mark.parametrize(
    ("pin", "message"), [("0" * 64, "has the digest"), ("abc", "64 hexadecimal digits, got 3"), ("x" * 64, "64 hexadecimal digits")]
)
def test_a_wrong_pin_is_refused(checkpoint: Path, pin: str, message: str) -> None:
    """Another digest says which one the file has; no digest says what one looks like."""
    assert message in refused(weights=checkpoint, sha256=pin)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The message names the path and where files come from; a folder is no file; the pin is not complained of as well."""
    said = refused(weights=tmp_path / "no.pth", sha256="0" * 64)
    assert f"{tmp_path / 'no.pth'} is not there" in said
    assert "harness fetch" in said
    assert "1 validation error" in said
    assert "is a folder" in refused(weights=tmp_path)


def test_the_host_says_where_in_the_model_file(checkpoint: Path) -> None:
    """The host turns a wrong pin into a problem with file, line, extractor, option and both digests."""
    host = Host({("extractor", "pinned"): Offer("extractor", "pinned", "1", "tests", Pinned)})
    options = {"weights": "Weights/Small.pth", "sha256": "0" * 64}
    with pytest.raises(SpecError, match=r"model.yaml:7: pinned: sha256 = ") as caught:
        host.build("extractor", "pinned", options, checkpoint.parents[1], "model.yaml:7")
    assert digest(checkpoint) in str(caught.value)
    built = host.build("extractor", "pinned", options | {"sha256": digest(checkpoint)}, checkpoint.parents[1])
    assert isinstance(built, Pinned)
    assert built.weights == checkpoint


def test_what_is_loaded_is_what_was_pinned(checkpoint: Path) -> None:
    """A file that changes after the audit was assembled is refused before anything reads it."""
    pin = digest(checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes() + b"more")

    def never(file: IO[bytes]) -> None:
        raise AssertionError(file)

    with pytest.raises(InputError, match="the file has changed"):
        loaded(checkpoint, pin, never)
    checkpoint.unlink()
    with pytest.raises(InputError, match="cannot be read: No such file"):
        tensors(checkpoint, pin)


def test_tensors_are_found_in_wrappings(tmp_path: Path) -> None:
    """A state dict under `state_dict`, and behind the prefix of data-parallel training, is the same state dict."""
    path, inner = tmp_path / "wrapped.pth", {"module.w": torch.ones(3), "module.b": torch.zeros(1)}
    torch.save({"epoch": 3, "state_dict": inner}, path)
    found = tensors(path, digest(path))
    assert list(found) == ["w", "b"]
    torch.testing.assert_close(found["w"], torch.ones(3))


def test_safetensors_are_read(tmp_path: Path) -> None:
    """The format is read as its specification says: header length, header, bytes; every dtype keeps its values."""
    arrays = {"f": np.arange(6, dtype="<f4").reshape(2, 3), "h": np.array([0.5], "<f2"), "i": np.array([[7, -1]], "<i8")}
    codes, header, body = {"f": "F32", "h": "F16", "i": "I64"}, {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        header[name] = {"dtype": codes[name], "shape": array.shape, "data_offsets": [len(body), len(body) + array.nbytes]}
        body += array.tobytes()
    text, path = json.dumps(header).encode(), tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    found = tensors(path, digest(path))
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name].numpy(), array)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pth", b"not a checkpoint", "is no PyTorch file of tensors"),
        ("a.pth", b"", "is no PyTorch file of tensors"),
        ("a.safetensors", b"\x08", "is no safetensors file"),
        ("a.safetensors", struct.pack("<Q", 2**60), "is no safetensors file"),
        ("a.safetensors", struct.pack("<Q", 2) + b"{}", "holds no state dict"),
        ("a.safetensors", struct.pack("<Q", 44) + b'{"a":{"dtype":"F32","data_offsets":[0,4],"x"', "is no safetensors file"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """Text, nothing, and broken headers are refused with the path."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        tensors(path, digest(path))
    assert str(path) in str(caught.value)


def test_no_code_is_run(tmp_path: Path) -> None:
    """A checkpoint that holds more than tensors, such as a whole module, is refused and not unpickled; so are other things."""
    path = tmp_path / "module.pth"
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(InputError, match="is no PyTorch file of tensors"):
        tensors(path, digest(path))
    for content in ([torch.ones(1)], {"epoch": 3}, {}):
        torch.save(content, path)
        with pytest.raises(InputError, match="holds no state dict"):
            tensors(path, digest(path))


def test_names_and_shapes_must_fit(tmp_path: Path) -> None:
    """Missing, left-over and misshapen tensors are listed, the first five of each; what may be there besides is ignored."""
    shapes: dict[str, tuple[int, ...]] = {f"w{i}": (2,) for i in range(7)}
    right = {name: torch.ones(2, dtype=torch.float16) for name in shapes}
    assert all(t.dtype == torch.float32 for t in fitting(right, shapes, tmp_path, "the net").values())
    extra = right | {"classifier.w": torch.ones(1), "bn.num_batches_tracked": torch.ones(1)}
    assert list(fitting(extra, shapes, tmp_path, "the net", ["classifier.", "num_batches_tracked"])) == list(shapes)

    def said(found: dict[str, torch.Tensor]) -> str:
        with pytest.raises(InputError) as caught:
            fitting(found, shapes, tmp_path, "the net")
        return str(caught.value)

    assert "not those of the net; 7 missing: w0, w1, w2, w3, w4 and 2 more; 1 not expected: other" in said({"other": torch.ones(1)})
    assert "1 of another shape: w0 (3,) instead of (2,)" in said(right | {"w0": torch.ones(3)})


def test_the_component_pickles(checkpoint: Path, picture_set: Callable[..., ImageSet]) -> None:
    """A component with a pinned file travels to a worker as it is."""
    import pickle

    component = Pinned(weights=checkpoint, sha256=digest(checkpoint))
    assert pickle.loads(pickle.dumps(component)) == component  # noqa: S301 - made here
