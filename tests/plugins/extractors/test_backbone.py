"""Facts about the classification networks with pinned weights."""

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
from harness_plugins.extractors.backbone import Backbone, torchvision_names, torchvision_shapes

# torchvision 0.28.0 with torch 2.13.0 on CPU: weights of `seeded`, `pictures` interpolated to 64 x 64 by torch's antialiased
# bilinear kernel and normalised: the first five features of the second image and the mean of all.
TORCHVISION = {
    ("resnet50", "imagenet"): ([3.147139, 0.224577, 1.602579, 2.599231, 0.003526], 1.0569620),
    ("resnet50", "radimagenet"): ([1.146962, 0.0, 0.869782, 1.241619, 0.0], 0.5312066),
    ("densenet121", "imagenet"): ([1.244772, 1.169162, 1.675451, 0.870553, 0.0], 0.4566318),
    ("densenet121", "radimagenet"): ([0.569824, 0.359877, 0.741345, 0.274756, 0.0], 0.2197923),
    ("convnext_tiny", "imagenet"): ([1.024268, -0.19387, -1.517575, -1.286349, 1.549545], -0.0053896),
}


def seeded(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return tensors of these shapes, drawn in the order of their names, such that activations neither vanish nor explode."""
    import torch

    rng, state = np.random.default_rng(0), {}
    for name in sorted(shapes):
        drawn = rng.standard_normal(shapes[name], dtype=np.float32)
        if name.endswith("running_var"):
            drawn = 0.5 + np.abs(drawn)
        elif name.endswith(("running_mean", "bias")):
            drawn *= 0.1
        elif name.endswith(("layer_scale", "bn3.weight")):
            drawn *= 0.2
        elif drawn.ndim == 1:
            drawn = 1 + 0.1 * drawn
        else:
            drawn *= np.float32(np.sqrt(2 / np.prod(drawn.shape[1:])))
        state[name] = torch.from_numpy(drawn)
    return state


def pictures() -> ImageSet:
    """Return three grey images of 40 x 56 pixels of noise."""
    images = np.random.default_rng(7).random((3, 1, 40, 56), dtype=np.float32)
    return ImageSet(images, ("a", "b", "c"), (1.0, 1.0))


def saved(state: Any, path: Path) -> dict[str, Any]:
    """Save a state dict; return the options `weights` and `sha256`."""
    import torch

    torch.save(state, path)
    return {"weights": path, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """Return the function from architecture to the options that name a file of seeded weights under torchvision's names."""
    folder = tmp_path_factory.mktemp("weights")
    return cache(lambda architecture: saved(seeded(torchvision_shapes(architecture)), folder / f"{architecture}.pth"))


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Return a context."""
    return Context(seed=1, workdir=tmp_path)


@pytest.fixture
def densenet(files: Callable[[str], dict[str, Any]]) -> Backbone:
    """Return the smallest of the networks, on small images."""
    return Backbone(architecture="densenet121", preset="imagenet", side=32, **files("densenet121"))


@pytest.mark.parametrize(("architecture", "preset"), TORCHVISION)
def test_features_are_torchvisions(files: Callable[[str], dict[str, Any]], context: Context, architecture: str, preset: str) -> None:
    """The same file in torchvision's own network gave the same features, up to 1e-5 of their size."""
    first, mean = TORCHVISION[architecture, preset]
    found = Backbone(architecture=architecture, preset=preset, side=64, **files(architecture)).extract(pictures(), context)
    assert found.dtype == np.float32
    assert found.shape == (3, {"resnet50": 2048, "densenet121": 1024, "convnext_tiny": 768}[architecture])
    np.testing.assert_allclose(found[1, :5], first, rtol=1e-5, atol=1e-5)
    assert found.mean(dtype=np.float64) == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize("wrapper", ["", "module.", "backbone.", "module.backbone."])
def test_known_layouts_have_torchvisions_names(wrapper: str) -> None:
    """Prefixes, an nn.Sequential of the children, and the dots of old densenets all become torchvision's names."""
    import torch

    number = torch.zeros(())
    for architecture, children in (
        ("resnet50", {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}),
        ("densenet121", {"features": "0"}),
    ):
        names = list(torchvision_shapes(architecture))
        numbered = [".".join([children[n.split(".")[0]], *n.split(".")[1:]]) for n in names]
        for layout in (names, numbered):
            assert list(torchvision_names({wrapper + n: number for n in layout}, architecture)) == names
    old = "features.denseblock1.denselayer2.norm.1.running_mean"
    assert list(torchvision_names({wrapper + old: number}, "densenet121")) == [old.replace("norm.1", "norm1")]


def test_radimagenets_file_is_read(files: Callable[[str], dict[str, Any]], context: Context, tmp_path: Path) -> None:
    """Names of an nn.Sequential, with counters and a head, under state_dict, give the features of torchvision's names."""
    import torch

    state = {f"backbone.0.{n.removeprefix('features.')}": t for n, t in seeded(torchvision_shapes("densenet121")).items()}
    state["backbone.0.norm0.num_batches_tracked"] = torch.tensor(5)
    given = saved({"state_dict": state}, tmp_path / "DenseNet121.pt")
    options = {"architecture": "densenet121", "preset": "radimagenet", "side": 32}
    expected = Backbone(**options, **files("densenet121")).extract(pictures(), context)
    np.testing.assert_array_equal(Backbone(**options, **given).extract(pictures(), context), expected)


def keras_resnet50(x: Any, state: Mapping[str, Any]) -> Any:
    """Return the pooled features of Keras' ResNet-50, written out: biases, strides first, epsilon 1.001e-5."""
    import torch
    from torch.nn import functional

    def layer(x: Any, conv: str, norm: str, stride: int = 1, padding: int = 0) -> Any:
        x = functional.conv2d(x, state[f"{conv}.weight"], state[f"{conv}.bias"], stride, padding)
        means, scales = (state[f"{norm}.running_mean"], state[f"{norm}.running_var"]), (state[f"{norm}.weight"], state[f"{norm}.bias"])
        return functional.batch_norm(x, *means, *scales, eps=1.001e-5)

    x = functional.max_pool2d(torch.relu(layer(x, "conv1", "bn1", 2, 3)), 3, 2, 1)
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for k in range(blocks):
            block, stride = f"layer{stage}.{k}.", 2 if stage > 1 and k == 0 else 1
            skipped = layer(x, f"{block}downsample.0", f"{block}downsample.1", stride) if k == 0 else x
            y = torch.relu(layer(x, f"{block}conv1", f"{block}bn1", stride))
            y = torch.relu(layer(y, f"{block}conv2", f"{block}bn2", 1, 1))
            x = torch.relu(layer(y, f"{block}conv3", f"{block}bn3") + skipped)
    return x.mean(dim=(2, 3))


def test_keras_radimagenet_agrees_with_its_definition(context: Context, tmp_path: Path) -> None:
    """The converted Keras network: channels reversed, means subtracted, and its own arrangement of strides and biases."""
    import torch

    images = np.random.default_rng(3).random((2, 3, 64, 64), dtype=np.float32)
    state = seeded(torchvision_shapes("resnet50", biases=True))
    given = saved(state, tmp_path / "RadImageNet-ResNet50_notop.pth")
    found = Backbone(architecture="resnet50", preset="radimagenet_keras", side=64, **given).extract(
        ImageSet(images, ("a", "b"), (1.0, 1.0)), context
    )
    entered = torch.from_numpy(images[:, ::-1].copy()) - torch.tensor([0.406, 0.456, 0.485]).view(1, 3, 1, 1)
    with torch.inference_mode():
        expected = keras_resnet50(entered, state)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match=r"not those of resnet50 with preset radimagenet; 53 not expected: .*conv1\.bias"):
        Backbone(architecture="resnet50", preset="radimagenet", **given).extract(pictures(), context)


def test_keeps_the_promises_of_an_extractor(densenet: Backbone, context: Context) -> None:
    """Conformance; torch's random state is left alone; the file is among the inputs."""
    import torch

    state = torch.random.get_rng_state()
    check(densenet, n=9)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert densenet.inputs() == (densenet.weights,)
    assert densenet.gives() == "embedding"


def test_grey_is_colour_with_equal_channels(densenet: Backbone, context: Context) -> None:
    """One channel and three copies of it have the same features."""
    grey = pictures()
    colour = replace(grey, images=np.repeat(grey.images, 3, axis=1))
    np.testing.assert_array_equal(densenet.extract(grey, context), densenet.extract(colour, context))


def test_sees_noise_grow(densenet: Backbone, picture_set: Callable[..., ImageSet], context: Context) -> None:
    """More noise moves the features further."""
    images, rng = picture_set(4, (32, 32)), np.random.default_rng(0)
    noise = rng.normal(0, 1, images.images.shape)
    base, little, much = (
        densenet.extract(replace(images, images=np.clip(images.images + s * noise, 0, 1).astype(np.float32)), context)
        for s in (0.0, 0.02, 0.2)
    )
    assert 0 < np.linalg.norm(little - base) < np.linalg.norm(much - base)


def test_images_that_do_not_fit_are_refused(densenet: Backbone, picture_set: Callable[..., ImageSet], context: Context) -> None:
    """Volumes and two channels have no features; a single pixel has."""
    with pytest.raises(NotComputable, match=r"densenet121 takes 2D images, \(N, C, H, W\), got 3D volumes"):
        densenet.extract(picture_set(2, (16, 16, 16)), context)
    with pytest.raises(NotComputable, match="densenet121 takes one grey channel or three of colour, got 2 channels"):
        densenet.extract(picture_set(2, (16, 16), 2), context)
    assert np.isfinite(densenet.extract(picture_set(1, (1, 1)), context)).all()


def test_files_that_do_not_fit_are_refused(files: Callable[[str], dict[str, Any]], context: Context, tmp_path: Path) -> None:
    """Missing, another digest, another network, another layout: each says so."""
    options: dict[str, Any] = {"architecture": "densenet121", "preset": "imagenet"}
    given = files("densenet121")
    with pytest.raises(ValidationError, match=r"gone\.pth is not there"):
        Backbone(**options, weights=tmp_path / "gone.pth", sha256="0" * 64)
    with pytest.raises(ValidationError, match=f"has the digest {given['sha256']}"):
        Backbone(**options, weights=given["weights"], sha256="0" * 64)
    other = Backbone(architecture="resnet50", preset="imagenet", **given)
    with pytest.raises(InputError, match=r"not those of resnet50 .*missing: conv1\.weight.* not expected: features"):
        other.extract(pictures(), context)
    strange = saved({"encoder.stem.weight": seeded({"w": (2, 2)})["w"]}, tmp_path / "strange.pth")
    with pytest.raises(InputError, match=r"1 not expected: encoder\.stem\.weight"):
        Backbone(**options, **strange).extract(pictures(), context)


def test_presets_that_do_not_exist_are_refused(files: Callable[[str], dict[str, Any]]) -> None:
    """RadImageNet has no ConvNeXt, and its converted Keras network is a ResNet-50."""
    with pytest.raises(ValidationError, match="RadImageNet offers no convnext_tiny"):
        Backbone(architecture="convnext_tiny", preset="radimagenet", **files("convnext_tiny"))
    with pytest.raises(ValidationError, match="radimagenet_keras is a resnet50, not a densenet121"):
        Backbone(architecture="densenet121", preset="radimagenet_keras", **files("densenet121"))
