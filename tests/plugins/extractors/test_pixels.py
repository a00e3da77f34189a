"""Facts about the pixel features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from harness.api import Context, Extractor, ImageSet, InputError, NotComputable
from harness_plugins.extractors.pixels import Pixels, downsample


def fitted(extractor: Extractor, train: ImageSet, folder: Path) -> Context:
    """Context with the state that `fit` leaves."""
    extractor.fit(train, Context(seed=0, workdir=folder))
    return Context(seed=0, workdir=folder, fitted=folder)


def test_agrees_with_an_independent_pca(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Scores are those of another PCA on block means, up to the sign of each component."""
    train, other = picture_set(40, (32, 32)), picture_set(9, (32, 32), seed=1)
    context = fitted(Pixels(components=6), train, tmp_path)
    blocks = [x.images.reshape(len(x), 16, 2, 16, 2).mean(axis=(2, 4), dtype=np.float64).reshape(len(x), -1) for x in (train, other)]
    expected = PCA(6, svd_solver="full").fit(blocks[0]).transform(blocks[1])
    features = Pixels(components=6).extract(other, context)
    assert features.dtype == np.float32
    np.testing.assert_allclose(np.abs(features), np.abs(expected), atol=1e-5)


def test_signs_are_fixed(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """The largest loading of every component is positive, so a repeated fit gives the same bytes."""
    train = picture_set(20)
    fitted(Pixels(), train, tmp_path)
    first = np.load(tmp_path / "components.npy")
    assert (first[np.arange(len(first)), np.abs(first).argmax(axis=1)] > 0).all()
    fitted(Pixels(), train, tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "components.npy"), first)


@pytest.mark.parametrize(("size", "channels"), [((20, 24), 1), ((33, 17), 3), ((9, 20, 12), 1)])
def test_rows_are_independent(
    picture_set: Callable[..., ImageSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, ...], channels: int
) -> None:
    """A row is the same to the last bit alone, in another order and in other blocks; grey or colour, 2D or 3D."""
    images = picture_set(14, size, channels)
    context = fitted(Pixels(), images, tmp_path)
    whole = Pixels().extract(images, context)
    np.testing.assert_array_equal(Pixels().extract(images.take([7]), context)[0], whole[7])
    np.testing.assert_array_equal(Pixels().extract(images.take(np.arange(14)[::-1]), context)[::-1], whole)
    monkeypatch.setattr("harness_plugins.extractors.pixels._BLOCK_ENTRIES", 1)
    np.testing.assert_array_equal(Pixels().extract(images, context), whole)


def test_components_are_capped(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """No more components than training images less one, than cells, or than the images span."""
    train = picture_set(10)
    assert Pixels().extract(train, fitted(Pixels(), train, tmp_path)).shape == (10, 9)
    assert Pixels(side=2).extract(train, fitted(Pixels(side=2), train, tmp_path)).shape == (10, 4)
    flat = replace(
        train,
        images=np.linspace(0, 1, 10, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 8, 8), np.float32),
        masks=None,
    )
    assert Pixels().extract(flat, fitted(Pixels(), flat, tmp_path)).shape == (10, 1)


def test_sides_by_dimension(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """2D images become 16 x 16 cells, volumes 8 x 8 x 8, unless `side` says otherwise."""
    for size, cells in (((40, 40), 256), ((16, 16, 16), 512)):
        fitted(Pixels(), picture_set(4, size), tmp_path)
        assert np.load(tmp_path / "mean.npy").shape == (cells,)


def test_downsampling_keeps_the_mean_and_the_exact_blocks() -> None:
    """Box averages of any ratio keep the mean, whole ratios are block means, and small images stay as they are."""
    x = np.random.default_rng(0).random((2, 1, 30, 45)).astype(np.float32)
    np.testing.assert_allclose(downsample(x, 7).mean(), x.mean(), rtol=1e-6)
    np.testing.assert_allclose(downsample(x, 15)[0, 0], x[0, 0].reshape(15, 2, 15, 3).mean(axis=(1, 3)), rtol=1e-6)
    np.testing.assert_array_equal(downsample(x, 64), x)


def test_bad_input(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Without a fit, with images of another size, and with training images that do not differ, it says so."""
    images = picture_set(5)
    with pytest.raises(InputError, match="has not been fitted"):
        Pixels().extract(images, Context(seed=0, workdir=tmp_path))
    context = fitted(Pixels(), images, tmp_path)
    with pytest.raises(InputError, match="training gave 256"):
        Pixels().extract(picture_set(5, channels=3), context)
    same = replace(images, images=np.zeros_like(images.images))
    with pytest.raises(NotComputable, match="5 training images do not differ"):
        fitted(Pixels(), same, tmp_path)
