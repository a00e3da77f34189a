"""Facts about MedicalNet's residual networks of volumes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from harness.api import Context, ImageSet, InputError, NotComputable
from harness.testing import check
from harness_plugins.extractors.medicalnet import MedicalNet, _empty_network


def monai_network(depth: int, *, shortcut: str) -> Any:
    """Return MONAI's network for MedicalNet's files, with random weights drawn here and a head that is not used."""
    import torch
    from monai.networks.nets import ResNet

    with torch.device("meta"):
        network = ResNet(
            "basic", [1, 1, 1, 1] if depth == 10 else [2, 2, 2, 2], [64, 128, 256, 512], 3, 1, conv1_t_stride=2,
            shortcut_type=shortcut, feed_forward=False, bias_downsample=False,
        )  # fmt: skip
    rng, state = np.random.default_rng(0), {}
    for name, tensor in network.state_dict().items():
        drawn = rng.standard_normal(tuple(tensor.shape), dtype=np.float32)
        if name.endswith("running_var"):
            drawn = 0.5 + np.abs(drawn)
        elif name.endswith(("running_mean", "bias")):
            drawn *= 0.1
        elif drawn.ndim == 1:
            drawn = 1 + 0.1 * drawn
        elif drawn.ndim == 5:
            drawn *= np.float32(np.sqrt(2 / np.prod(drawn.shape[1:])))
        state[name] = torch.from_numpy(np.asarray(drawn)) if drawn.ndim else torch.tensor(3)
    network.load_state_dict(state, assign=True)
    return network.eval()


def saved(state: Mapping[str, Any], path: Path, prefix: str = "module.") -> dict[str, Any]:
    """Save a state dict as MedicalNet does; return the options `weights` and `sha256`."""
    import torch

    named = {prefix + name: tensor for name, tensor in state.items()}
    torch.save({"state_dict": named | {f"{prefix}conv_seg.0.weight": torch.zeros(2)}} if prefix else named, path)
    return {"weights": path, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.fixture(scope="session")
def network() -> Any:
    """Return ResNet-10 with seeded weights."""
    return monai_network(10, shortcut="B")


@pytest.fixture(scope="session")
def options(network: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the options that name its file."""
    return {"depth": 10, **saved(network.state_dict(), tmp_path_factory.mktemp("weights") / "resnet_10_23dataset.pth")}


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Return a context."""
    return Context(seed=1, workdir=tmp_path)


@cache
def volumes() -> ImageSet:
    """Return two volumes of noise in which a corner is background, exactly 0."""
    images = np.random.default_rng(5).random((2, 1, 24, 20, 28), dtype=np.float32)
    images[:, :, :6, :5] = 0.0
    return ImageSet(images, ("a", "b"), (1.0, 1.0, 1.0))


def medicalnet_resnet10(x: Any, state: Mapping[str, Any]) -> Any:
    """Return the averaged features of MedicalNet's ResNet-10 written out: stages 3 and 4 dilate by 2 and 4 and keep their size."""
    import torch
    from torch.nn import functional

    def layer(x: Any, conv: str, norm: str, **how: int) -> Any:
        x = functional.conv3d(x, state[f"{conv}.weight"], **how)
        return functional.batch_norm(x, *(state[f"{norm}.{n}"] for n in ("running_mean", "running_var", "weight", "bias")))

    x = functional.max_pool3d(torch.relu(layer(x, "conv1", "bn1", stride=2, padding=3)), 3, 2, 1)
    for stage, stride, dilation in ((1, 1, 1), (2, 2, 1), (3, 1, 2), (4, 1, 4)):
        block = f"layer{stage}.0."
        skipped = layer(x, f"{block}downsample.0", f"{block}downsample.1", stride=stride) if stage > 1 else x
        y = torch.relu(layer(x, f"{block}conv1", f"{block}bn1", stride=stride, dilation=dilation, padding=dilation))
        x = torch.relu(layer(y, f"{block}conv2", f"{block}bn2", dilation=dilation, padding=dilation) + skipped)
    return x.mean(dim=(2, 3, 4))


def test_features_are_medicalnets(options: dict[str, Any], network: Any, context: Context) -> None:
    """The dilated network written out, on intensities normalised over the voxels above 0."""
    import torch

    entered = volumes().images.astype(np.float64)
    for volume in entered:
        inside = volume > 0
        volume[inside] = (volume[inside] - volume[inside].mean()) / volume[inside].std()
    found = MedicalNet(**options).extract(volumes(), context)
    with torch.inference_mode():
        expected = medicalnet_resnet10(torch.from_numpy(entered.astype(np.float32)), network.state_dict())
    assert found.shape == (2, 512)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_without_dilation_it_is_monais(options: dict[str, Any], network: Any, context: Context) -> None:
    """MONAI's own network with the same weights, on intensities normalised over all voxels."""
    import torch

    x = volumes().images.astype(np.float64)
    axes = (1, 2, 3, 4)
    entered = ((x - x.mean(axis=axes, keepdims=True)) / x.std(axis=axes, keepdims=True)).astype(np.float32)
    found = MedicalNet(**options, dilated=False, normalise="volume").extract(volumes(), context)
    with torch.inference_mode():
        np.testing.assert_allclose(found, network(torch.from_numpy(entered)).numpy(), rtol=1e-4, atol=1e-5)


def test_shortcuts_are_read_from_the_file(context: Context, tmp_path: Path) -> None:
    """ResNet-18 without convolutions in its shortcuts (type A) is MONAI's; dilated, it still runs."""
    import torch

    small = volumes().take([0])
    network = monai_network(18, shortcut="A")
    given = {"depth": 18, "normalise": "none", **saved(network.state_dict(), tmp_path / "resnet_18.pth", prefix="")}
    found = MedicalNet(**given, dilated=False).extract(small, context)
    with torch.inference_mode():
        np.testing.assert_allclose(found, network(torch.tensor(small.images)).numpy(), rtol=1e-4, atol=1e-5)
    assert not np.allclose(MedicalNet(**given).extract(small, context), found)


@pytest.mark.parametrize("depth", [10, 50])
def test_names_are_those_of_monais_medicalnet(depth: int) -> None:
    """MONAI's network for MedicalNet's files has the same tensors."""
    import torch
    from monai.networks.nets.resnet import ResNetFeatures

    with torch.device("meta"):
        expected = ResNetFeatures(f"resnet{depth}", pretrained=False).state_dict()
    found = _empty_network(depth, {}).state_dict()
    assert {n: t.shape for n, t in found.items()} == {n: t.shape for n, t in expected.items()}


def test_keeps_the_promises_of_an_extractor(options: dict[str, Any]) -> None:
    """Conformance, torch's random state left alone, and the file among the inputs."""
    import torch

    state = torch.random.get_rng_state()
    extractor = MedicalNet(**options, size=(16, 16, 16), dilated=False)
    check(extractor, n=3, size_px=(12, 14, 10))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert extractor.inputs() == (options["weights"],)


def test_channels_stand_side_by_side(options: dict[str, Any], context: Context) -> None:
    """Two channels have the features of each of them."""
    extractor = MedicalNet(**options, dilated=False)
    both = replace(volumes().take([0]), images=volumes().images.reshape(1, 2, 24, 20, 28))
    found = extractor.extract(both, context).reshape(2, 512)
    np.testing.assert_allclose(found, extractor.extract(volumes(), context), rtol=1e-5, atol=1e-5)


def test_size_resizes_first(options: dict[str, Any], context: Context) -> None:
    """A volume that is brought to half its size has the features of the antialiased half."""
    import torch
    from torch.nn.functional import interpolate

    extractor = MedicalNet(**options, dilated=False, normalise="none", size=(48, 40, 56))
    twice = interpolate(torch.from_numpy(volumes().images), size=(48, 40, 56), mode="trilinear").numpy().clip(0, 1)
    expected = MedicalNet(**options, dilated=False, normalise="none").extract(replace(volumes(), images=twice), context)
    np.testing.assert_allclose(extractor.extract(volumes(), context), expected, rtol=1e-3, atol=1e-4)


def test_brightness_is_normalised_away(options: dict[str, Any], context: Context) -> None:
    """Half the signal has the same features, noise has others."""
    extractor = MedicalNet(**options, dilated=False)
    half = replace(volumes(), images=volumes().images / 2)
    noise = np.random.default_rng(1).normal(0, 0.3, volumes().images.shape)
    noisy = replace(volumes(), images=np.clip(volumes().images + noise, 0, 1).astype(np.float32))
    base, dimmed, worse = (extractor.extract(v, context) for v in (volumes(), half, noisy))
    np.testing.assert_allclose(dimmed, base, rtol=1e-4, atol=1e-4)
    assert np.linalg.norm(worse - base) > 100 * np.linalg.norm(dimmed - base)


def test_volumes_that_do_not_fit_are_refused(options: dict[str, Any], picture_set: Callable[..., ImageSet], context: Context) -> None:
    """2D images, and volumes without contrast where a z-score is asked for, which are named."""
    with pytest.raises(NotComputable, match=r"MedicalNet's resnet10 takes 3D volumes, \(N, C, D, H, W\), got 2D images"):
        MedicalNet(**options).extract(picture_set(2, (16, 16)), context)
    images = volumes().images.copy()
    images[1] = 0.0
    blank = replace(volumes(), images=images)
    with pytest.raises(NotComputable, match=r"the voxels above 0 of b do not differ, .* choose normalise: none"):
        MedicalNet(**options).extract(blank, context)
    with pytest.raises(NotComputable, match="the voxels of b do not differ"):
        MedicalNet(**options, normalise="volume").extract(blank, context)
    assert np.isfinite(MedicalNet(**options, normalise="none", dilated=False).extract(blank, context)).all()
    assert np.isfinite(MedicalNet(**options, normalise="none").extract(picture_set(1, (1, 1, 1)), context)).all()
    with pytest.raises(NotComputable, match=r"at \(1, 1, 1\) voxels a volume has no contrast left"):
        MedicalNet(**options, size=(1, 1, 1)).extract(volumes(), context)
    with pytest.raises(ValidationError, match="size"):
        MedicalNet(**options, size=(0, 8, 8))


def test_files_that_do_not_fit_are_refused(options: dict[str, Any], context: Context, tmp_path: Path) -> None:
    """Missing, another digest, another depth: each says so."""
    with pytest.raises(ValidationError, match=r"gone\.pth is not there"):
        MedicalNet(depth=10, weights=tmp_path / "gone.pth", sha256="0" * 64)
    with pytest.raises(ValidationError, match=f"has the digest {options['sha256']}"):
        MedicalNet(**(options | {"sha256": "0" * 64}))
    with pytest.raises(InputError, match=r"not those of MedicalNet's resnet18; 40 missing: layer1\.1\.conv1\.weight"):
        MedicalNet(**(options | {"depth": 18})).extract(volumes(), context)
