"""Facts about the features of the FID Inception network.

The values come from the published implementations, run on weights that are drawn here: pytorch-fid 0.3.0 (its network and its
preprocessing; its `fc` for the logits, its maps for the spatial layers), torch-fidelity 0.4.0 (`FeatureExtractorInceptionV3`, 8-bit
images), and clean-fid 0.1.35 (`build_resizer("clean")`, then (x - 128) / 128 into pytorch-fid's network). torchvision 0.28, torch 2.13.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from harness.api import Context, ImageSet, InputError, NotComputable
from harness.testing import check
from harness_plugins.extractors.inception_network import shapes
from harness_plugins.extractors.inception_v3 import InceptionV3
from harness_plugins.extractors.weights import tensors

# Option: (first three features of the second image), mean and standard deviation of all features of both images, their number.
PUBLISHED: dict[tuple[str, object], tuple[tuple[float, float, float], float, float, int]] = {
    ("layer", 64): ((0.000258623, 0.236226, 1.40924), 0.4077741, 0.4745418, 64),
    ("layer", 192): ((0.512633, 0.0018081, 0.0593592), 0.6051348, 0.7281765, 192),
    ("layer", 768): ((0.246121, 0, 0.232121), 1.872815, 2.597452, 768),
    ("layer", 2048): ((0.352949, 6.74266, 0.105629), 3.446751, 5.164253, 2048),
    ("layer", "spatial_6d"): ((0, 0, 0), 1.093739, 1.634148, 2023),
    ("layer", "spatial_6e"): ((0, 0, 0.0990888), 1.686666, 3.411794, 2023),
    ("layer", "logits"): ((1.61284, -5.93404, 1.04992), -0.3071856, 8.904861, 1008),
    ("layer", "logits_unbiased"): ((1.678, -5.91622, 1.10319), -0.3070258, 8.901022, 1008),
    ("preprocessing", "torch_fidelity"): ((0.303788, 6.86849, 0.111702), 3.461384, 5.188793, 2048),
    ("preprocessing", "clean_fid"): ((0.395233, 7.10474, 0.113784), 3.635354, 5.449025, 2048),
}
GIVES = {2048: "embedding", "spatial_6d": "spatial", "spatial_6e": "spatial", "logits": "logits", "logits_unbiased": "logits"}


once = lru_cache(maxsize=None)(tensors)


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two images at a time, so that the tests do not compute what fills batches up; every file is read once."""
    monkeypatch.setattr("harness_plugins.extractors.inception_v3._BATCH", 2)
    monkeypatch.setattr("harness_plugins.extractors.inception_v3.tensors", once)


def drawn() -> dict[str, torch.Tensor]:
    """Return a state of the network: one generator, names in sorted order, He-scaled convolutions."""
    rng, state = np.random.default_rng(0), {}
    for name, shape in sorted(shapes().items()):
        if len(shape) > 1:
            spread = np.float32((2 / int(np.prod(shape[1:]))) ** 0.5)
            state[name] = rng.standard_normal(shape, dtype=np.float32) * spread
        elif name.endswith(("running_var", "bn.weight")):
            state[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        else:
            state[name] = (0.1 * rng.standard_normal(shape)).astype(np.float32)
    return {name: torch.from_numpy(array) for name, array in state.items()}


@pytest.fixture(scope="module")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the options that name a weights file in the published format and its digest."""
    path = tmp_path_factory.mktemp("weights") / "pt_inception.pth"
    torch.save(drawn() | {"Conv2d_1a_3x3.bn.num_batches_tracked": torch.tensor(0)}, path)
    return {"weights": path, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.fixture(scope="module")
def extractor(pinned: dict[str, Any]) -> InceptionV3:
    """Return the extractor with its defaults; copies with other options do not read the file again."""
    return InceptionV3(**pinned)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Return a context."""
    return Context(seed=0, workdir=tmp_path)


@pytest.fixture
def pictures(picture_set: Callable[..., ImageSet]) -> ImageSet:
    """Return the two grey 8-bit pictures of 48 x 40 pixels that the published implementations were given."""
    grey = np.random.default_rng(5).integers(0, 256, (2, 1, 12, 10)).repeat(4, axis=2).repeat(4, axis=3)
    return replace(picture_set(2, (48, 40)), images=(grey / 255).astype(np.float32), masks=None)


@pytest.mark.parametrize("option", PUBLISHED, ids=str)
def test_agrees_with_the_published_implementations(
    extractor: InceptionV3, context: Context, pictures: ImageSet, option: tuple[str, object]
) -> None:
    """Every layer and every preprocessing gives the numbers of the implementation that it is named after."""
    first, mean, spread, width = PUBLISHED[option]
    features = extractor.model_copy(update=dict([option])).extract(pictures, context)
    assert features.shape == (2, width)
    np.testing.assert_allclose(features[1, :3], first, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose((features.mean(dtype=np.float64), features.std(dtype=np.float64)), (mean, spread), rtol=2e-6)


def test_spatial_features_are_one_map(extractor: InceptionV3, context: Context, pictures: ImageSet) -> None:
    """A map that is averaged over its 17 x 17 positions gives the first seven features of layer 768."""
    spatial = extractor.model_copy(update={"layer": "spatial_6e"}).extract(pictures, context)
    averaged = extractor.model_copy(update={"layer": 768}).extract(pictures, context)
    np.testing.assert_allclose(spatial.reshape(2, 7, 289).mean(axis=2), averaged[:, :7], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(40, 48), (299, 299), (350, 310)])
def test_clean_fid_resizes_as_pillow_does(extractor: InceptionV3, context: Context, size: tuple[int, int]) -> None:
    """Larger, smaller and equal pictures become what `PIL.Image.resize` makes of them in its float mode, to the last bit or two."""
    from harness_plugins.extractors.inception_v3 import _prepared

    picture = np.random.default_rng(1).random(size, dtype=np.float32)
    found = _prepared(torch.from_numpy(picture).expand(1, 3, *size), "clean_fid")[0, 1].numpy()
    by_pillow = Image.fromarray(np.float32(255) * picture).resize((299, 299), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(found, (np.asarray(by_pillow).clip(0, 255) - 128) / 128, atol=1e-6)


def test_says_what_it_gives(pinned: dict[str, Any], extractor: InceptionV3) -> None:
    """Averages are embeddings, maps are spatial, class scores are logits; the file is an input of the cells."""
    assert {layer: extractor.model_copy(update={"layer": layer}).gives() for layer in GIVES} == GIVES
    assert extractor.inputs() == (pinned["weights"],)


def test_rows_are_independent(extractor: InceptionV3, context: Context, picture_set: Callable[..., ImageSet]) -> None:
    """A row is the same alone, in another order and in another batch; an empty set has no rows."""
    images, second = picture_set(3, (30, 20), 3), extractor.model_copy(update={"layer": 192})
    whole = second.extract(images, context)
    np.testing.assert_allclose(second.extract(images.take([2]), context)[0], whole[2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(second.extract(images.take([2, 1, 0]), context)[::-1], whole, rtol=1e-5, atol=1e-6)
    assert second.extract(images.take([]), context).shape == (0, 192)


def test_conforms(extractor: InceptionV3) -> None:
    """The conformance tests of every extractor pass."""
    check(extractor.model_copy(update={"layer": 64}), n=3, size_px=(20, 24))


def test_noise_moves_features_by_its_amount(extractor: InceptionV3, context: Context, pictures: ImageSet) -> None:
    """The more noise, the further the features move."""
    first, noise = extractor.model_copy(update={"layer": 64}), np.random.default_rng(0).normal(0, 1, pictures.images.shape)
    clean = first.extract(pictures, context)
    moved = []
    for dose in (0.02, 0.05, 0.1):
        noisy = replace(pictures, images=np.clip(pictures.images + dose * noise, 0, 1).astype(np.float32))
        moved.append(np.linalg.norm(first.extract(noisy, context) - clean))
    assert moved == sorted(moved)
    assert moved[0] > 0


def test_grey_is_repeated(extractor: InceptionV3, context: Context, pictures: ImageSet) -> None:
    """A grey image and the colour image with three equal channels have the same features."""
    colour = replace(pictures, images=pictures.images.repeat(3, axis=1))
    first = extractor.model_copy(update={"layer": 64})
    np.testing.assert_array_equal(first.extract(colour, context), first.extract(pictures, context))


def test_volumes_and_other_channels_are_no_number(extractor: InceptionV3, context: Context, picture_set: Callable[..., ImageSet]) -> None:
    """Volumes say what to name instead, two channels say what is taken."""
    with pytest.raises(NotComputable, match=r"inception_v3 takes 2D images.*name an extractor for volumes \(medicalnet"):
        extractor.extract(picture_set(2, (8, 9, 10)), context)
    with pytest.raises(NotComputable, match="2 channels"):
        extractor.extract(picture_set(2, (20, 20), 2), context)


def test_single_pixels_are_taken(extractor: InceptionV3, context: Context, picture_set: Callable[..., ImageSet]) -> None:
    """An image of one pixel is resized like any other."""
    for preprocessing in ("pytorch_fid", "clean_fid", "torch_fidelity"):
        chosen = extractor.model_copy(update={"layer": 64, "preprocessing": preprocessing})
        assert np.isfinite(chosen.extract(picture_set(1, (1, 1)), context)).all()


def test_another_network_is_refused(context: Context, picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """torchvision's Inception has another classifier and an auxiliary head: the message lists both."""
    path = tmp_path / "inception_v3_google.pth"
    torch.save({"fc.weight": torch.ones(1, 2048), "fc.bias": torch.ones(1), "AuxLogits.fc.weight": torch.ones(1)}, path)
    extractor = InceptionV3(weights=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(InputError, match="not those of the FID Inception network; 470 missing: Conv2d_1a_3x3") as caught:
        extractor.extract(picture_set(1), context)
    assert "fc.weight (1, 2048) instead of (1008, 2048)" in str(caught.value)
    assert "AuxLogits.fc.weight" in str(caught.value)


def test_features_that_are_not_finite_are_no_number(
    extractor: InceptionV3, context: Context, picture_set: Callable[..., ImageSet], tmp_path: Path
) -> None:
    """Weights that make infinite features name the first image."""
    path, state = tmp_path / "broken.pth", once(extractor.weights, extractor.sha256)
    torch.save(state | {"Conv2d_2b_3x3.bn.bias": torch.full((64,), float("inf"))}, path)
    broken = InceptionV3(weights=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), layer=64)
    with pytest.raises(NotComputable, match="not finite for image s0i0"):
        broken.extract(picture_set(2), context)
