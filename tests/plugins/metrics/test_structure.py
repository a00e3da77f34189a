"""Facts about structural similarity."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.api import Comparison, Context, ImageSet, NotComputable
from harness.testing import check, phantoms
from harness_plugins.metrics.structure import Structure, ms_ssim, ring, ssim

CONTEXT = Context(seed=0, workdir=Path())
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def noisy_pair(size: tuple[int, ...], n: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return n smooth random images in [0, 1] and the same with noise."""
    rng = np.random.default_rng(0)
    x = rng.random((n, *size))
    for axis in range(1, x.ndim):
        x = (x + np.roll(x, 1, axis)) / 2
    return x, np.clip(x + 0.1 * rng.normal(size=x.shape), 0.0, 1.0)


def picture(images: np.ndarray, name: str = "i") -> ImageSet:
    """Return images (N, ...) of one channel as a set."""
    n, spacing = len(images), (1.0,) * (images.ndim - 1)
    return ImageSet(images[:, None].astype(np.float32), tuple(f"{name}{k}" for k in range(n)), spacing)


def compared(train: ImageSet, synthetic: ImageSet, metric: Structure | None = None) -> Comparison:
    """Return the comparison as the host makes it; the test set is empty."""
    described = [x.with_features((metric or Structure()).describe(x, CONTEXT)) for x in (train, train.take([]), synthetic)]
    return Comparison(*described)


@pytest.mark.parametrize("size", [(32, 32), (12, 9, 11)])
def test_conforms(size: tuple[int, ...]) -> None:
    """It keeps the promises that every author's metric must keep, in 2D and 3D."""
    check(Structure, size_px=size)


@pytest.mark.parametrize(("size", "scales"), [((40, 33), 2), ((64, 64), 3), ((24, 26, 22), 2)])
def test_agrees_with_monai(size: tuple[int, ...], scales: int) -> None:
    """SSIM and MS-SSIM are MONAI's, with the weights of the scales that fit scaled to a sum of 1, up to its single precision."""
    import torch
    from monai.metrics.regression import MultiScaleSSIMMetric, SSIMMetric

    x, y = noisy_pair(size)
    weights = tuple(np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales]))
    tensors = [torch.from_numpy(side[:, None].astype(np.float32)) for side in (y, x)]
    one = SSIMMetric(spatial_dims=len(size), data_range=1.0)(*tensors)
    many = MultiScaleSSIMMetric(spatial_dims=len(size), data_range=1.0, weights=weights)(*tensors)
    np.testing.assert_allclose(ssim(x, y), one.numpy().ravel(), atol=1e-5)
    np.testing.assert_allclose(ms_ssim(x, y), many.numpy().ravel(), atol=5e-5)


def test_ssim_written_out() -> None:
    """In an image of one window it is the formula of Wang et al. 2004 with Gaussian weights."""
    x, y = noisy_pair((11, 11), 1)
    window = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    w = np.outer(window, window) / window.sum() ** 2
    mx, my = (w * x[0]).sum(), (w * y[0]).sum()
    vx, vy, cov = (w * (x[0] - mx) ** 2).sum(), (w * (y[0] - my) ** 2).sum(), (w * (x[0] - mx) * (y[0] - my)).sum()
    expected = (2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    assert ssim(x, y)[0] == pytest.approx(expected)


def test_float32_is_enough() -> None:
    """Single precision, in which thumbnails are compared, changes SSIM by less than 1e-4, on nearly flat bright images too."""
    x, y = noisy_pair((32, 32))
    for scale, level in ((1.0, 0.0), (0.02, 0.95)):
        a, b = (level + scale * side for side in (x, y))
        np.testing.assert_allclose(ssim(a.astype(np.float32), b.astype(np.float32)), ssim(a, b), atol=1e-4)


def test_measure_written_out() -> None:
    """With every pair and image named, the two numbers are means over pairs and nearest neighbours written out."""
    train, synthetic = phantoms(12, seed=1), phantoms(9, seed=2)
    metric = Structure(side=48)
    found = metric.measure(compared(train, synthetic, metric), CONTEXT)
    x, t = synthetic.images[:, 0].astype(np.float64), train.images[:, 0].astype(np.float64)
    nearest = ((x[:, None] - t[None]) ** 2).sum(axis=(2, 3)).argmin(axis=1)
    assert found["nn_ssim"] == pytest.approx(ssim(x, t[nearest]).mean(), abs=1e-5)
    first, second = ring(x.reshape(9, -1).astype(np.float32), 9, Context(seed=0, workdir=Path()).rng)
    assert sorted(first) == sorted(second) == list(range(9))
    assert found["ms_ssim"] == pytest.approx(ms_ssim(x[first], x[second]).mean(), abs=1e-5)


def test_ring_follows_the_images_and_the_seed() -> None:
    """Another order of the rows pairs the same rows, another seed pairs others, and no row is paired with itself."""
    rows = np.random.default_rng(1).random((20, 5))
    order = np.random.default_rng(2).permutation(20)

    def pairs_of(some: np.ndarray, seed: int) -> set[tuple[float, float]]:
        first, second = ring(some, 20, np.random.default_rng(seed))
        assert (first != second).all()
        return {(some[a, 0], some[b, 0]) for a, b in zip(first, second, strict=True)}

    assert pairs_of(rows, 3) == pairs_of(rows[order], 3)
    assert pairs_of(rows, 3) != pairs_of(rows, 4)


def test_copies_and_collapse_are_seen() -> None:
    """Copies of training images have SSIM 1 to them and are blamed; shrinking towards one image raises MS-SSIM."""
    train, synthetic = phantoms(40, seed=3), phantoms(30, seed=4)
    images = synthetic.images.copy()
    images[:6] = train.images[:6]
    copied = compared(train, replace(synthetic, images=images))
    blamed = Structure().per_image(copied, CONTEXT)["nn_ssim"]
    np.testing.assert_allclose(blamed[:6], 1.0, atol=1e-6)
    assert blamed[6:].max() < 0.9
    honest = Structure().measure(compared(train, synthetic), CONTEXT)
    assert Structure().measure(copied, CONTEXT)["nn_ssim"] > honest["nn_ssim"]
    one = synthetic.images.mean(axis=0)
    collapsed = replace(synthetic, images=(0.8 * one + 0.2 * synthetic.images).astype(np.float32))
    assert Structure().measure(compared(train, collapsed), CONTEXT)["ms_ssim"] > honest["ms_ssim"] + 0.3


def test_deterministic_and_indifferent_to_order() -> None:
    """Repeats agree exactly; another order of the images gives the same numbers."""
    train, synthetic = phantoms(20, seed=5), phantoms(15, seed=6)

    def found(a: ImageSet, b: ImageSet) -> dict[str, object]:
        return dict(Structure().measure(compared(a, b), Context(seed=7, workdir=Path())))

    first = found(train, synthetic)
    assert found(train, synthetic) == first
    assert found(train.take(np.arange(20)[::-1]), synthetic.take(np.arange(15)[::-1])) == pytest.approx(first)


def test_fewer_pairs_than_images() -> None:
    """`pairs` bounds the number of pairs."""
    rows = np.random.default_rng(8).random((20, 5))
    assert [len(part) for part in ring(rows, 7, np.random.default_rng(0))] == [7, 7]
    train, synthetic = phantoms(12, seed=1), phantoms(12, seed=2)
    metric = Structure(pairs=1)
    assert 0.0 <= float(metric.measure(compared(train, synthetic, metric), CONTEXT)["ms_ssim"]) <= 1.0  # type: ignore[arg-type]


def test_equal_images_and_flat_images() -> None:
    """Identical images have similarity 1, flat ones too."""
    same = picture(np.full((4, 16, 16), 0.25))
    assert Structure().measure(compared(same, same), CONTEXT) == pytest.approx({"ms_ssim": 1.0, "nn_ssim": 1.0})


def test_bad_input() -> None:
    """Images of one pixel, one synthetic image, no training images, two shapes: each is a reason."""
    images = picture(noisy_pair((16, 20))[0])
    with pytest.raises(NotComputable, match="needs 3 pixels along every axis"):
        Structure().describe(picture(np.zeros((2, 1, 1))), CONTEXT)
    one = Structure().measure(compared(images, images.take([0])), CONTEXT)
    assert "needs 2 synthetic images, got 1" in str(one["ms_ssim"])
    assert one["nn_ssim"] == pytest.approx(1.0)
    assert "train" in str(Structure().measure(compared(images.take([]), images), CONTEXT)["nn_ssim"])
    with pytest.raises(NotComputable, match="no synthetic images"):
        Structure().measure(compared(images, images.take([])), CONTEXT)
    turned = picture(noisy_pair((20, 16))[0])
    assert "thumbnails are (20, 16) pixels" in str(Structure().measure(compared(images, turned), CONTEXT)["nn_ssim"])
