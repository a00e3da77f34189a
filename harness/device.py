"""Where components that use torch compute: the processor, or a GPU that torch can use."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

from .errors import Problem, SpecError

AUTO = "auto"
# What a driver leaves where there is a GPU: NVIDIA's own, that of WSL, and AMD's. Torch takes seconds to import, so these are asked first.
DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")


def usable(asked: str) -> str:
    """Return the device that is computed on: `auto` is cuda where torch finds a GPU, else cpu.

    SpecError where it is none of auto, cpu, cuda and cuda:N, or where torch finds no such GPU.
    """
    if asked == AUTO:
        return "cuda" if _driver() and _gpus() else "cpu"
    found = re.fullmatch(r"cpu|cuda(?::(\d+))?", asked)
    if found is None:
        raise SpecError(Problem(f"{asked!r} is no device", "--device", "write auto, cpu, cuda, or cuda:N"))
    if asked != "cpu" and int(found[1] or 0) >= (gpus := _gpus()):
        what = "torch finds no GPU here" if not gpus else f"torch finds {gpus} GPU{'s' if gpus > 1 else ''}, counted from cuda:0"
        raise SpecError(Problem(what, "--device", "write --device cpu, or install the torch that fits your GPU's driver"))
    return asked


def _driver() -> bool:
    return any(Path(path).exists() for path in DRIVERS) or shutil.which("nvidia-smi") is not None


def _gpus() -> int:
    """Return how many GPUs torch can use."""
    if importlib.util.find_spec("torch") is None:
        return 0
    import torch

    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0
