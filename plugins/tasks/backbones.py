"""Networks by name that a task puts its outputs on: those of MONAI always, those of timm and torchvision where these are installed."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api import InputError, NotComputable, Problem

from ..extractors.weights import fitting, tensors
from .training import small_resnet, with_weights

if TYPE_CHECKING:
    import torch

SMALL = "small_resnet"
# The smallest side in pixels: what is halved too often has no pixel left to be filtered.
_SMALLEST_PX = {SMALL: 8, "resnet18": 8, "resnet50": 8, "densenet121": 32, "seresnext50": 8, "efficientnet-b0": 32}
MONAI = tuple(_SMALLEST_PX)
OUTSIDE = ("timm", "torchvision")
_RGB = 3


def known(name: str) -> str:
    """Return the name of a backbone; `ValueError` where it is none of MONAI's, says not whose it is, or its package is absent."""
    package, _, model = name.partition(":")
    if name in MONAI:
        return name
    if package not in OUTSIDE or not model:
        raise ValueError(f"there is no backbone {name!r}; known: {', '.join(MONAI)}, timm:<model>, torchvision:<model>")
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"needs the package {package}, which is not installed; {_remedy(package)}")
    return name


def build(name: str, shape: tuple[int, ...], outputs: int, channels: tuple[int, int, int, int]) -> torch.nn.Module:
    """Return an untrained network for images of this shape, (C, H, W) or (C, D, H, W), with this many outputs.

    channels: of the stages of `small_resnet`; the others have their own. The ResNets halve the image at once, as those of He et
    al. (CVPR 2016) do and MONAI's by itself do not. timm and torchvision have networks for 2D alone, and torchvision for colour
    alone: a grey image is then repeated as red, green and blue. `NotComputable` where the images are too small or of the wrong
    kind, `InputError` where the package or the model is missing.
    """
    package, _, model = name.partition(":")
    if package in OUTSIDE:
        return _from_outside(package, model, shape, outputs)
    if min(shape[1:]) < _SMALLEST_PX[name]:
        sides = " x ".join(map(str, shape[1:]))
        raise NotComputable(
            f"{name} needs {_SMALLEST_PX[name]} pixels along every axis, got {sides}: enlarge side or name another backbone"
        )
    if name == SMALL:
        return small_resnet(shape, outputs, channels)
    return _of_monai(name, shape, outputs)


def rebuilt(name: str, shape: tuple[int, ...], outputs: int, channels: tuple[int, int, int, int],
            weights: Mapping[str, torch.Tensor], device: str) -> torch.nn.Module:  # fmt: skip
    """Return the network of `build` with these weights, which lie on the device, ready to predict."""
    if ":" not in name:
        return with_weights(lambda: build(name, shape, outputs, channels), weights)
    # Strangers may keep numbers outside their weights, so they are built in full.
    network = build(name, shape, outputs, channels)
    network.load_state_dict(weights)
    return network.to(device).eval()


def load_body(network: torch.nn.Module, path: Path, sha256: str, name: str) -> None:
    """Put the weights of a file into everything but the last layer, whose outputs are those of another question.

    `InputError` where the file has changed, or its tensors are not those of this network.
    """
    own = network.state_dict()
    _, _, head = _last_linear(network)
    heads = tuple(f"{head}.{tensor}" for tensor in ("weight", "bias"))
    found = tensors(path, sha256)
    shapes = {key: tuple(tensor.shape) for key, tensor in own.items() if key not in heads}
    # Older files lack the number of batches that a normalisation has seen, which decides nothing here.
    optional = {key: own[key] for key in shapes if key.endswith("num_batches_tracked") and key not in found}
    body = fitting(found, {key: shape for key, shape in shapes.items() if key not in optional}, path, name, ignored=heads)
    network.load_state_dict({**own, **{key: tensor.to(own[key].dtype) for key, tensor in body.items()}})


@contextmanager
def without_head(network: torch.nn.Module) -> Iterator[torch.nn.Linear]:
    """Lend the last linear layer; meanwhile the network returns what goes into it. Both are put together again afterwards."""
    import torch

    parent, attribute, _ = _last_linear(network)
    head = getattr(parent, attribute)
    setattr(parent, attribute, torch.nn.Identity())
    try:
        yield head
    finally:
        setattr(parent, attribute, head)


def _last_linear(network: torch.nn.Module) -> tuple[torch.nn.Module, str, str]:
    """Return what holds the last linear layer, its name there, and its name in the whole network."""
    import torch

    names = [name for name, module in network.named_modules() if isinstance(module, torch.nn.Linear)]
    if not names:
        raise InputError(Problem("this backbone ends in no linear layer that could be exchanged", fix="name another backbone"))
    parent, _, attribute = names[-1].rpartition(".")
    return network.get_submodule(parent), attribute, names[-1]


def _of_monai(name: str, shape: tuple[int, ...], outputs: int) -> torch.nn.Module:
    from monai.networks import nets

    dims, inputs = len(shape) - 1, shape[0]
    makers: dict[str, Callable[[], torch.nn.Module]] = {
        "resnet18": lambda: nets.resnet18(spatial_dims=dims, n_input_channels=inputs, num_classes=outputs, conv1_t_stride=2),  # type: ignore[attr-defined]
        "resnet50": lambda: nets.resnet50(spatial_dims=dims, n_input_channels=inputs, num_classes=outputs, conv1_t_stride=2),  # type: ignore[attr-defined]
        "densenet121": lambda: nets.DenseNet121(spatial_dims=dims, in_channels=inputs, out_channels=outputs),  # type: ignore[attr-defined]
        "seresnext50": lambda: nets.SEResNext50(spatial_dims=dims, in_channels=inputs, num_classes=outputs),  # type: ignore[attr-defined]
        "efficientnet-b0": lambda: nets.EfficientNetBN(  # type: ignore[attr-defined]
            "efficientnet-b0", pretrained=False, spatial_dims=dims, in_channels=inputs, num_classes=outputs
        ),
    }
    return makers[name]()


def _from_outside(package: str, model: str, shape: tuple[int, ...], outputs: int) -> torch.nn.Module:
    name, flat = f"{package}:{model}", 3
    if len(shape) != flat:
        raise NotComputable(f"{name} is a network for 2D images, got images of shape {shape}; MONAI's backbones take volumes")
    library = _imported(package, name)
    try:
        if package == "timm":
            return library.create_model(model, pretrained=False, in_chans=shape[0], num_classes=outputs)
        if shape[0] not in (1, _RGB):
            raise NotComputable(f"{name} takes images of 1 or 3 channels, got {shape[0]}; timm's and MONAI's backbones take any number")
        network = library.models.get_model(model, weights=None, num_classes=outputs)
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(Problem(f"{package} makes no network {model!r}: {why}", fix="name one of its classifiers")) from error
    if shape[0] == 1:
        network.register_forward_pre_hook(lambda module, images: images[0].expand(-1, _RGB, -1, -1))
    return network


def _imported(package: str, name: str) -> Any:
    """Return the package; `InputError` says what to install where it is absent, or what to do where it does not import."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        what = f"the backbone {name} needs the package {package}, which cannot be imported ({error})"
        raise InputError(Problem(what, fix=_remedy(package))) from error
    except RuntimeError as error:
        # torchvision's own operators need the torch that it was built with; its CUDA build fails so beside a CPU torch.
        what = f"the backbone {name} needs the package {package}, which does not import beside this torch ({error})"
        raise InputError(Problem(what, fix=_remedy(package))) from error


def _remedy(package: str) -> str:
    packages = " ".join(sorted({package, "torchvision"}))
    return (
        f"pip install {packages}, with the torchvision that was built for your torch (one built for CUDA does not import beside the CPU "
        f"build of torch), or name one of {', '.join(MONAI)}"
    )
