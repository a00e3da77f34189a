"""Weights files: pinned by SHA-256, checked when the audit is assembled and again when they are loaded, never unpickled.

An extractor names its file with two options, `weights: WeightsFile` and `sha256: Pin` (or `lin` and `lin_sha256`, and so on), and
returns the file from `inputs()`.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import AfterValidator, ValidationInfo

from harness.api import InputError, Problem

if TYPE_CHECKING:
    import torch

_SHOWN = 5
_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
T = TypeVar("T")


def _there(path: Path) -> Path:
    """Return the path of a file that exists; a missing one is a `ValueError`."""
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "is not there"
        raise ValueError(f"{path} {what}; name your own file, or see what `harness fetch` can download")
    return path


def _pinned(value: str, info: ValidationInfo) -> str:
    """Return the digest that a weights file was pinned with; the file must have it."""
    option = "weights" if info.field_name == "sha256" else str(info.field_name).removesuffix("_sha256")
    path = info.data.get(option)
    if not isinstance(path, Path):
        return value  # the file itself is refused already
    if value and not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise ValueError(f"a SHA-256 digest is 64 hexadecimal digits, got {len(value)} characters")
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    if not value:
        raise ValueError(f"{path} is not pinned; where you trust the file, write {info.field_name}: {found}")
    if found != value.lower():
        raise ValueError(f"{path} has the digest {found}: it is another file, or damaged; fetch it again or correct the pin")
    return found


WeightsFile = Annotated[Path, AfterValidator(_there)]
Pin = Annotated[str, AfterValidator(_pinned)]


def loaded(path: Path, sha256: str, load: Callable[[IO[bytes]], T]) -> T:
    """Return what `load` makes of the open file, whose bytes are first checked against the digest; `InputError` where they differ."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != sha256:
                raise InputError(Problem(f"the file has changed: its digest is {found}, the pin is {sha256}", str(path)))
            file.seek(0)
            return load(file)
    except OSError as error:
        raise InputError(Problem(f"the weights cannot be read: {error.strerror or error}", str(path))) from error


def tensors(path: Path, sha256: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a PyTorch checkpoint or a safetensors file by name, on the CPU.

    A checkpoint that keeps them under `state_dict` is opened, and the prefix `module.` of data-parallel training is removed.
    Only tensors are read (`torch.load(weights_only=True)`); a file that holds anything else is an `InputError`.
    """
    return loaded(path, sha256, _safetensors if path.suffix == ".safetensors" else _checkpoint)


def _checkpoint(file: IO[bytes]) -> dict[str, torch.Tensor]:
    import torch

    refused = torch.serialization.pickle.UnpicklingError
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (refused, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise _unreadable(file, f"is no PyTorch file of tensors ({_first_line(error)})") from error
    return _named(file, content)


def _named(file: IO[bytes], content: Any) -> dict[str, torch.Tensor]:
    import torch

    inner = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(inner, Mapping) or not inner or not all(isinstance(t, torch.Tensor) for t in inner.values()):
        raise _unreadable(file, "holds no state dict: a mapping of names to tensors")
    parallel = all(str(name).startswith("module.") for name in inner)
    return {str(name).removeprefix("module.") if parallel else str(name): tensor for name, tensor in inner.items()}


def _safetensors(file: IO[bytes]) -> dict[str, torch.Tensor]:
    """Read the safetensors format: length of the header (8 bytes), header (JSON), the tensors' bytes."""
    import torch

    try:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        body = bytearray(file.read())
        header.pop("__metadata__", None)
        found = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            dtype = getattr(torch, _DTYPES[entry["dtype"]])
            flat = torch.frombuffer(body[begin:end], dtype=dtype) if end > begin else torch.empty(0, dtype=dtype)
            found[name] = flat.reshape(entry["shape"])
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RuntimeError, MemoryError, OverflowError) as error:
        raise _unreadable(file, f"is no safetensors file ({_first_line(error)})") from error
    return _named(file, found)


def fitting(found: Mapping[str, torch.Tensor], shapes: Mapping[str, tuple[int, ...]], path: Path, network: str,
            ignored: Iterable[str] = ()) -> dict[str, torch.Tensor]:  # fmt: skip
    """Return the float32 tensors that a network needs, in the order of `shapes`.

    shapes: name to shape. ignored: beginnings or ends of names that the file may hold besides (a classifier that is not used).
    Names that are missing, left over, or of another shape are an `InputError` that lists the first five of each kind.
    """
    extra = tuple(ignored)
    left_over = [n for n in found if n not in shapes and not n.startswith(extra) and not n.endswith(extra)]
    problems = {
        "missing": [n for n in shapes if n not in found],
        "not expected": left_over,
        "of another shape": [
            f"{n} {tuple(found[n].shape)} instead of {shape}"
            for n, shape in shapes.items()
            if n in found and tuple(found[n].shape) != tuple(shape)
        ],
    }
    said = [f"{len(names)} {what}: {_first(names)}" for what, names in problems.items() if names]
    if said:
        raise InputError(Problem(f"the tensors are not those of {network}; {'; '.join(said)}", str(path), "name the file of this network"))
    return {name: found[name].float() for name in shapes}


def _first(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _unreadable(file: IO[bytes], what: str) -> InputError:
    return InputError(Problem(f"the file {what}", str(file.name), "name the weights as their publisher offers them"))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]
