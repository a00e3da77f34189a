"""Facts about LPIPS as an embedding.

The values come from the authors' package lpips 0.1.4 (`LPIPS(net=..., version="0.1")`, `normalize=True`) with torchvision 0.28, run on
weights that are drawn here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness.api import Context, ImageSet, InputError, NotComputable
from harness.testing import check
from harness_plugins.extractors.lpips import Lpips

ALEX = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
VGG = {
    0: (64, 3, 3), 2: (64, 64, 3), 5: (128, 64, 3), 7: (128, 128, 3), 10: (256, 128, 3), 12: (256, 256, 3), 14: (256, 256, 3),
    17: (512, 256, 3), 19: (512, 512, 3), 21: (512, 512, 3), 24: (512, 512, 3), 26: (512, 512, 3), 28: (512, 512, 3),
}  # fmt: skip
CHANNELS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}
PUBLISHED = {"alex": (0.8879641, 0.7969482, 0.8833529), "vgg": (0.8241763, 0.7638032, 0.8336847)}


def save(path: Path, state: dict[str, torch.Tensor]) -> tuple[Path, str]:
    """Write a state dict and return its path and digest."""
    torch.save(state, path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def options(folder: Path, net: str, sign: float = 1.0) -> dict[str, Any]:
    """Return the options that name seeded weights in the published formats, for a network."""
    rng, backbone = np.random.default_rng(0), {}
    for place, (leave, enter, kernel) in (ALEX if net == "alex" else VGG).items():
        shape = (leave, enter, kernel, kernel)
        spread = np.float32((2 / np.prod(shape[1:])) ** 0.5)
        backbone[f"features.{place}.weight"] = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32) * spread)
        backbone[f"features.{place}.bias"] = torch.from_numpy((0.1 * rng.standard_normal(leave)).astype(np.float32))
    lin = {
        f"lin{layer}.model.1.weight": sign * torch.from_numpy(rng.random((1, c, 1, 1), dtype=np.float32))
        for layer, c in enumerate(CHANNELS[net])
    }
    backbone["classifier.1.weight"] = torch.zeros(2, 2)
    paths = dict(zip(("backbone", "backbone_sha256"), save(folder / "backbone.pth", backbone), strict=True))
    return paths | dict(zip(("lin", "lin_sha256"), save(folder / "lin.pth", lin), strict=True)) | {"net": net}


@pytest.fixture(scope="module")
def alex(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the options of LPIPS on AlexNet."""
    return options(tmp_path_factory.mktemp("alex"), "alex")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Return a context."""
    return Context(seed=0, workdir=tmp_path)


@pytest.fixture
def pictures(picture_set: Callable[..., ImageSet]) -> ImageSet:
    """Return the three grey pictures of 40 x 48 pixels that the authors' package was given."""
    coarse = np.random.default_rng(5).random((3, 1, 10, 12))
    return replace(picture_set(3, (40, 48)), images=coarse.repeat(4, axis=2).repeat(4, axis=3).astype(np.float32), masks=None)


def distance(rows: np.ndarray, i: int, j: int) -> float:
    """Return the squared Euclidean distance of two rows."""
    return float(((rows[i].astype(np.float64) - rows[j]) ** 2).sum())


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_agrees_with_the_authors_package(tmp_path: Path, context: Context, pictures: ImageSet, net: str) -> None:
    """Squared distances of rows are the values of the package lpips, for both networks."""
    rows = Lpips(**options(tmp_path, net), side=None).extract(pictures, context)
    found = [distance(rows, *pair) for pair in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(found, PUBLISHED[net], rtol=2e-6)


def test_agrees_with_the_formula(alex: dict[str, Any], context: Context, pictures: ImageSet) -> None:
    """Squared distances of rows are the definition of the paper, written out on torch's own layers."""
    state, lin = (torch.load(alex[name], weights_only=True) for name in ("backbone", "lin"))
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(), nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(), nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(),
    ]  # fmt: skip
    network = nn.Sequential(*layers)
    network.load_state_dict({n.removeprefix("features."): t for n, t in state.items() if n.startswith("features.")})
    x = 2 * torch.from_numpy(pictures.images[:2]).repeat(1, 3, 1, 1) - 1
    x = (x - torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)) / torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1)
    total, taps = 0.0, iter(range(5))
    with torch.inference_mode():
        for layer in network:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                unit = x / x.norm(dim=1, keepdim=True)
                total += float((lin[f"lin{next(taps)}.model.1.weight"] * (unit[:1] - unit[1:]) ** 2).sum(dim=1).mean())
    assert distance(Lpips(**alex, side=None).extract(pictures, context), 0, 1) == pytest.approx(total, rel=1e-5)


def test_the_distance_to_itself_is_nought(alex: dict[str, Any], context: Context, pictures: ImageSet) -> None:
    """Identical images have identical rows."""
    rows = Lpips(**alex).extract(replace(pictures, images=pictures.images[[0, 0, 1]]), context)
    np.testing.assert_array_equal(rows[0], rows[1])
    assert distance(rows, 0, 2) > 0.1


@pytest.mark.parametrize(
    ("net", "side", "width"), [("alex", 64, 31_872), ("alex", 256, 640_128), ("vgg", 64, 499_712), ("vgg", 256, 7_995_392)]
)
def test_rows_have_the_documented_length(net: str, side: int, width: int) -> None:
    """The lengths of rows that the docstring gives are right."""
    from harness_plugins.extractors.lpips import _NETWORKS, _width

    assert _width((side, side), _NETWORKS[net]) == width
    assert f"{width:,}" in str(Lpips.__doc__)


def test_rows_are_independent(alex: dict[str, Any], context: Context, picture_set: Callable[..., ImageSet]) -> None:
    """A row is the same alone, in another order and in another batch; an empty set has no rows."""
    images, extractor = picture_set(10, (33, 40), 3), Lpips(**alex, side=32)
    whole = extractor.extract(images, context)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(extractor.extract(images.take([9]), context)[0], whole[9], atol=1e-6)
    np.testing.assert_allclose(extractor.extract(images.take(np.arange(10)[::-1]), context)[::-1], whole, atol=1e-6)
    assert extractor.extract(images.take([]), context).shape == (0, whole.shape[1])


def test_conforms(alex: dict[str, Any]) -> None:
    """The conformance tests of every extractor pass; it gives distances, and both files are inputs of the cells."""
    extractor = Lpips(**alex, side=32)
    check(extractor, n=9)
    assert extractor.gives() == "distances"
    assert extractor.inputs() == (alex["backbone"], alex["lin"])


def test_blur_and_noise_are_seen_by_their_amount(alex: dict[str, Any], context: Context, pictures: ImageSet) -> None:
    """The more noise, the larger the distance."""
    noise = np.random.default_rng(0).normal(0, 1, pictures.images.shape)
    noisy = [np.clip(pictures.images + dose * noise, 0, 1).astype(np.float32) for dose in (0.0, 0.02, 0.05, 0.1)]
    rows = [Lpips(**alex).extract(replace(pictures, images=x), context)[0] for x in noisy]
    moved = [float(((row - rows[0]) ** 2).sum()) for row in rows]
    assert moved == sorted(moved)
    assert moved[0] == 0.0


def test_what_cannot_be_measured(alex: dict[str, Any], context: Context, picture_set: Callable[..., ImageSet]) -> None:
    """Volumes, two channels, and tiny images that are not to be resized are no number; tiny images that are resized are taken."""
    with pytest.raises(NotComputable, match=r"lpips takes 2D images.*name an extractor for volumes"):
        Lpips(**alex).extract(picture_set(2, (32, 32, 32)), context)
    with pytest.raises(NotComputable, match="2 channels"):
        Lpips(**alex).extract(picture_set(2, channels=2), context)
    with pytest.raises(NotComputable, match=r"needs 32 pixels along both axes, got images of \(20, 24\); name a side"):
        Lpips(**alex, side=None).extract(picture_set(2), context)
    assert np.isfinite(Lpips(**alex, side=32).extract(picture_set(1, (1, 1)), context)).all()


def test_wrong_files_are_refused(alex: dict[str, Any], tmp_path: Path, context: Context, picture_set: Callable[..., ImageSet]) -> None:
    """Weights of the other network, files that are swapped, and negative weights are refused."""
    with pytest.raises(InputError, match="not those of torchvision's VGG16; 22 missing"):
        Lpips(**alex | {"net": "vgg"}).extract(picture_set(1), context)
    swapped = {"backbone": alex["lin"], "backbone_sha256": alex["lin_sha256"]}
    with pytest.raises(InputError, match="not those of torchvision's AlexNet; 10 missing"):
        Lpips(**alex | swapped).extract(picture_set(1), context)
    with pytest.raises(InputError, match=r"lin0.model.1.weight, .* has negative weights, so this is no distance"):
        Lpips(**options(tmp_path, "alex", sign=-1.0)).extract(picture_set(1), context)
