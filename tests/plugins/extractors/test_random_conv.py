"""Facts about the features of the untrained network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import correlate

from harness.api import Context, ImageSet, NotComputable
from harness_plugins.extractors.random_conv import RandomConv


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Return a context; the seed is not the network's."""
    return Context(seed=9, workdir=tmp_path)


def test_agrees_with_an_independent_network(picture_set: Callable[..., ImageSet], context: Context) -> None:
    """The first layers agree with plain correlations in scipy, float64."""
    images = picture_set(2, (16, 20))
    features = RandomConv(seed=3).extract(images, context)
    rng = np.random.default_rng(3)
    layers = []
    for count, channels in ((16, 1), (32, 16)):
        weights = rng.standard_normal((count, channels, 3, 3))
        weights -= weights.mean(axis=(1, 2, 3), keepdims=True)
        layers.append(weights * np.sqrt(2 / (weights**2).sum(axis=(1, 2, 3), keepdims=True)))
    x = images.images[1].astype(np.float64)
    expected = [x.mean(axis=(1, 2)), x.std(axis=(1, 2))]
    for layer, weights in enumerate(layers):
        if layer:
            x = x.reshape(len(x), 8, 2, 10, 2).mean(axis=(2, 4))
        x = np.array([np.maximum(sum(correlate(c, w, mode="constant") for c, w in zip(x, f, strict=True)), 0) for f in weights])
        expected += [x.mean(axis=(1, 2)), x.std(axis=(1, 2))]
    np.testing.assert_allclose(features[1, :98], 10 * np.concatenate(expected), atol=1e-4)


@pytest.mark.parametrize(("size", "channels", "n"), [((20, 24), 1, 19), ((33, 17), 3, 19), ((16, 20, 17), 1, 5)])
def test_rows_are_independent(picture_set: Callable[..., ImageSet], context: Context, size: tuple[int, ...], channels: int, n: int) -> None:
    """A row is the same to the last bit alone and in another order; grey or colour, 2D or 3D."""
    images = picture_set(n, size, channels)
    whole = RandomConv().extract(images, context)
    assert whole.shape == (n, 2 * (channels + 112))
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(RandomConv().extract(images.take([n - 1]), context)[0], whole[-1])
    np.testing.assert_array_equal(RandomConv().extract(images.take(np.arange(n)[::-1]), context)[::-1], whole)


def test_threads_do_not_matter(picture_set: Callable[..., ImageSet], context: Context) -> None:
    """One thread and two give the same features up to 1e-5 of their size."""
    import torch

    images, before = picture_set(20, (64, 64)), torch.get_num_threads()
    features = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            features.append(RandomConv().extract(images, context))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(*features, rtol=1e-5, atol=1e-5)


def test_deterministic_in_its_own_seed(picture_set: Callable[..., ImageSet], context: Context, tmp_path: Path) -> None:
    """The network follows the option `seed`, not the seed of the call, and leaves torch's random state alone."""
    import torch

    images, state = picture_set(3), torch.random.get_rng_state()
    first = RandomConv().extract(images, context)
    np.testing.assert_array_equal(RandomConv().extract(images, Context(seed=10, workdir=tmp_path)), first)
    assert not np.allclose(RandomConv(seed=1).extract(images, context), first)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_sees_noise_more_than_position(picture_set: Callable[..., ImageSet], context: Context) -> None:
    """Noise moves the features further than shifting the picture does, though its pixels change less."""
    images = picture_set(6, (48, 48))
    rng = np.random.default_rng(0)
    noisy = np.clip(images.images + rng.normal(0, 0.1, images.images.shape), 0, 1).astype(np.float32)
    base, shifted, worse = (
        RandomConv().extract(replace(images, images=x), context) for x in (images.images, np.roll(images.images, 2, axis=3), noisy)
    )
    assert np.linalg.norm(noisy - images.images) < np.linalg.norm(np.roll(images.images, 2, axis=3) - images.images)
    assert np.linalg.norm(worse - base) > np.linalg.norm(shifted - base)


def test_large_images_are_averaged_down(picture_set: Callable[..., ImageSet], context: Context) -> None:
    """Axes longer than `side` are averaged to it first, so a 40 px image at side 20 is its 20 px average."""
    large = picture_set(2, (40, 40))
    small = large.images.reshape(2, 1, 20, 2, 20, 2).mean(axis=(3, 5))
    reduced = replace(large, images=small, masks=None)
    np.testing.assert_allclose(RandomConv(side=20).extract(large, context), RandomConv().extract(reduced, context), atol=1e-5)


def test_tiny_images_are_refused(picture_set: Callable[..., ImageSet], context: Context) -> None:
    """Images of fewer than 4 pixels along an axis are no number."""
    with pytest.raises(NotComputable, match="4 pixels along every axis"):
        RandomConv().extract(picture_set(2, (3, 20)), context)
