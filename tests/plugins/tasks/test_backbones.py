"""Backbones by name: MONAI's always, others where their package is, and weights from a file."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from harness.api import InputError, NotComputable
from harness_plugins.tasks.backbones import MONAI, build, known, load_body, rebuilt, without_head
from harness_plugins.tasks.classification import Classification

CHANNELS = (4, 4, 8, 8)


def made(name: str, shape: tuple[int, ...], outputs: int = 3) -> torch.nn.Module:
    """Return a network of this name, the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return build(name, shape, outputs, CHANNELS).eval()


@pytest.mark.parametrize("name", [name for name in MONAI if name != "resnet50"])
def test_every_network_of_monai_answers_and_is_rebuilt(name: str) -> None:
    """Three numbers for a grey image, the same from kept weights; the last linear layer can be taken off and is put back."""
    network, images = made(name, (1, 32, 32)), torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        answer = network(images)
        again = rebuilt(name, (1, 32, 32), 3, CHANNELS, network.state_dict(), "cpu")(images)
        with without_head(network) as head:
            assert torch.allclose(head(network(images)), answer, atol=1e-6)
        assert torch.equal(network(images), answer)
    assert answer.shape == (2, 3)
    assert torch.equal(again, answer)


@pytest.mark.parametrize("name", ["small_resnet", "resnet18"])
def test_volumes_and_colour_are_taken(name: str) -> None:
    """Any number of channels, 2D and 3D."""
    for shape in ((3, 16, 20), (2, 12, 12, 10)):
        with torch.no_grad():
            assert made(name, shape)(torch.rand(2, *shape)).shape == (2, 3)


@pytest.mark.parametrize(("name", "px"), [("densenet121", 32), ("efficientnet-b0", 32), ("resnet50", 8)])
def test_images_that_are_too_small_are_a_reason(name: str, px: int) -> None:
    """The reason says how many pixels the network needs."""
    with pytest.raises(NotComputable, match=rf"{name} needs {px} pixels along every axis, got 64 x {px - 1}"):
        build(name, (1, 64, px - 1), 2, CHANNELS)


def test_unknown_names_are_refused() -> None:
    """The message lists what there is."""
    for name in ("resnet17", "timm", "timm:", "keras:resnet50", ""):
        with pytest.raises(ValueError, match=r"there is no backbone .* known: small_resnet, .*timm:<model>"):
            known(name)


@pytest.mark.parametrize("package", ["timm", "torchvision"])
def test_an_absent_package_is_named_with_its_remedy(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the option is read, and again when the network is made."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == package else find(name, *rest))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValidationError, match=rf"needs the package {package}, which is not installed; pip install .*CPU build of torch"):
        Classification(backbone=f"{package}:resnet18")
    with pytest.raises(InputError, match=rf"backbone {package}:resnet18 needs the package {package}, which cannot be imported"):
        build(f"{package}:resnet18", (1, 32, 32), 2, CHANNELS)


def test_a_package_that_does_not_import_beside_this_torch_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision for CUDA beside the CPU torch fails with an error of its operators."""

    def broken(name: str) -> ModuleType:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(InputError, match=r"does not import beside this torch \(operator torchvision::nms does not exist\)"):
        build("torchvision:resnet18", (1, 32, 32), 2, CHANNELS)


def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put small packages in the place of timm and torchvision, with the calls that are made of them."""

    def network(channels: int, outputs: int) -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Conv2d(channels, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, outputs)
        )

    def create_model(name: str, *, pretrained: bool, in_chans: int, num_classes: int) -> torch.nn.Module:
        assert not pretrained
        if name != "tiny":
            raise RuntimeError(f"Unknown model ({name})")
        return network(in_chans, num_classes)

    def get_model(name: str, *, weights: Any, num_classes: int) -> torch.nn.Module:
        assert weights is None
        if name != "tiny":
            raise ValueError(f"Unknown model {name}")
        return network(3, num_classes)

    packages: dict[str, Callable[[], Any]] = {
        "timm": lambda: SimpleNamespace(create_model=create_model),
        "torchvision": lambda: SimpleNamespace(models=SimpleNamespace(get_model=get_model)),
    }
    monkeypatch.setattr(importlib, "import_module", lambda name: packages[name]())
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: object())


@pytest.mark.parametrize("name", ["timm:tiny", "torchvision:tiny"])
def test_networks_from_outside_answer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Grey and colour images; the same again from kept weights, for which no grey step is in the way."""
    outside(monkeypatch)
    assert known(name) == name
    for channels in (1, 3):
        network, images = made(name, (channels, 16, 16)), torch.rand(2, channels, 16, 16)
        assert list(network.state_dict()) == ["0.weight", "0.bias", "3.weight", "3.bias"]
        again = rebuilt(name, (channels, 16, 16), 3, CHANNELS, network.state_dict(), "cpu")
        with torch.no_grad():
            assert torch.equal(again(images), network(images))


def test_what_networks_from_outside_cannot_do_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Volumes, two channels in torchvision, and models that the package does not know."""
    outside(monkeypatch)
    with pytest.raises(NotComputable, match=r"timm:tiny is a network for 2D images, got images of shape \(1, 8, 16, 16\)"):
        build("timm:tiny", (1, 8, 16, 16), 2, CHANNELS)
    with pytest.raises(NotComputable, match="1 or 3 channels, got 2"):
        build("torchvision:tiny", (2, 16, 16), 2, CHANNELS)
    for package in ("timm", "torchvision"):
        with pytest.raises(InputError, match=f"{package} makes no network 'huge': Unknown model"):
            build(f"{package}:huge", (1, 16, 16), 2, CHANNELS)


def saved(folder: Path, network: torch.nn.Module) -> tuple[Path, str]:
    """Return a weights file and its digest."""
    path = folder / "weights.pt"
    torch.save(network.state_dict(), path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_weights_of_a_file_are_those_of_the_body(tmp_path: Path) -> None:
    """A file for ten classes serves three: all but the last layer is taken over."""
    other = build("small_resnet", (1, 16, 16), 10, CHANNELS)
    path, digest = saved(tmp_path, other)
    network = made("small_resnet", (1, 16, 16))
    head = network.fc.weight.detach().clone()
    load_body(network, path, digest, "small_resnet")
    theirs = other.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in network.state_dict().items() if not name.startswith("fc."))
    assert torch.equal(network.fc.weight, head)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    """Other names or other channels, a changed file, and a pin that is missing when the option is read."""
    path, digest = saved(tmp_path, build("small_resnet", (3, 16, 16), 2, CHANNELS))
    with pytest.raises(InputError, match=r"1 of another shape: conv1\.weight"):
        load_body(made("small_resnet", (1, 16, 16)), path, digest, "small_resnet")
    with pytest.raises(InputError, match="the file has changed"):
        load_body(made("small_resnet", (1, 16, 16)), path, "0" * 64, "small_resnet")
    with pytest.raises(ValidationError, match=f"is not pinned; where you trust the file, write sha256: {digest}"):
        Classification(weights=path)
    task = Classification(weights=path, sha256=digest, tuned="head")
    assert task.inputs() == (path,)
    assert Classification().inputs() == ()
