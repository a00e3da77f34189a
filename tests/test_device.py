"""Which device is computed on: a GPU where torch finds one, and a refusal where one is asked for that is not there."""

from __future__ import annotations

import pytest

from harness import device
from harness.errors import SpecError


def gpus(monkeypatch: pytest.MonkeyPatch, count: int, *, driver: bool = True) -> None:
    """Let torch find so many GPUs."""
    monkeypatch.setattr(device, "_gpus", lambda: count)
    monkeypatch.setattr(device, "_driver", lambda: driver)


@pytest.mark.parametrize(("count", "driver", "expected"), [(1, True, "cuda"), (0, True, "cpu"), (1, False, "cpu")])
def test_a_gpu_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch, count: int, expected: str, *, driver: bool) -> None:
    """`auto` asks torch only where a driver is, because torch takes seconds to import."""
    gpus(monkeypatch, count, driver=driver)
    assert device.usable("auto") == expected


def test_what_is_asked_for_by_name_is_what_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor always, the second GPU where there are two."""
    gpus(monkeypatch, 2)
    assert [device.usable(name) for name in ("cpu", "cuda", "cuda:1")] == ["cpu", "cuda", "cuda:1"]


@pytest.mark.parametrize(
    ("asked", "count", "said"),
    [("cuda", 0, "torch finds no GPU here"), ("cuda:2", 2, "torch finds 2 GPUs, counted from cuda:0"), ("gpu", 1, "'gpu' is no device"),
     ("cuda:", 1, "'cuda:' is no device")],
)  # fmt: skip
def test_what_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, asked: str, count: int, said: str) -> None:
    """Before anything runs, with what to do."""
    gpus(monkeypatch, count)
    with pytest.raises(SpecError, match=said) as caught:
        device.usable(asked)
    assert caught.value.problems[0].where == "--device"
    assert caught.value.problems[0].fix


def test_no_gpu_is_counted_where_torch_has_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor where torch knows devices that it cannot use."""
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device._gpus() == 0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device._gpus() == 3
