"""Facts about the gaps in sharpness and noise level."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import convolve, gaussian_filter, laplace

from describing import CONTEXT, compared, described
from harness.api import NotComputable
from harness.testing import check
from harness_plugins.metrics.detail import Detail, laplacian_sd, noise_level
from harness_plugins.metrics.intensity import ROUNDING


def measured(real: np.ndarray, synthetic: np.ndarray) -> dict[str, float]:
    """The quantities with default options."""
    return Detail().measure(compared(Detail(), real, synthetic), CONTEXT)


def textures(n: int, seed: int, size: tuple[int, ...] = (32, 32), noise: float = 0.01, channels: int = 1) -> np.ndarray:
    """Blobs of soft edges with white noise of a known standard deviation."""
    rng = np.random.default_rng(seed)
    coarse = gaussian_filter(rng.normal(size=(n, channels, *size)), (0, 0, *(2.0 for _ in size)))
    blobs = 0.5 + 0.15 * np.tanh(8 * coarse / coarse.std())
    return np.clip(gaussian_filter(blobs, (0, 0, *(0.7 for _ in size))) + noise * rng.normal(size=blobs.shape), 0, 1)


@pytest.mark.parametrize("size", [(200, 150), (40, 30, 25), (1, 200, 150), (4000, 1)])
@pytest.mark.parametrize("sigma", [0.01, 0.1])
def test_noise_level_of_white_noise(size: tuple[int, ...], sigma: float) -> None:
    """On noise over a plane the level is the standard deviation of the noise, whatever the number of axes."""
    ramp = sum(np.indices(size)) / sum(size)
    noisy = 0.3 + 0.2 * ramp + sigma * np.random.default_rng(1).normal(size=size)
    assert noise_level(noisy) == pytest.approx(sigma, rel=0.03)


def test_definitions_in_2d() -> None:
    """The noise level is Immerkaer's with his mask, and the Laplacian is scipy's, without the border."""
    image = np.random.default_rng(2).random((17, 23))
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])
    masked = np.abs(convolve(image, mask)[1:-1, 1:-1]).sum()
    assert noise_level(image) == pytest.approx(np.sqrt(np.pi / 2) * masked / (6 * (23 - 2) * (17 - 2)))
    assert laplacian_sd(image) == pytest.approx(laplace(image)[1:-1, 1:-1].std())
    volume = np.random.default_rng(3).random((6, 7, 8))
    assert laplacian_sd(volume) == pytest.approx(laplace(volume)[1:-1, 1:-1, 1:-1].std())


def test_definition_of_the_gaps() -> None:
    """They are |log2| of the ratio of median amplitudes."""
    real, synthetic = textures(7, 4), textures(8, 5, noise=0.03)
    found = measured(real, synthetic)
    for name, amplitude in (("sharpness_gap", laplacian_sd), ("noise_gap", noise_level)):
        ratio = np.median([amplitude(i[0]) for i in synthetic]) / np.median([amplitude(i[0]) for i in real])
        assert found[name] == pytest.approx(abs(np.log2(ratio)), rel=1e-4)


def test_twice_the_contrast_is_one() -> None:
    """Every amplitude doubled, or halved, is a gap of 1 in both."""
    real = textures(9, 6)
    twice = 0.5 + 2 * (real - 0.5)
    assert twice.min() >= 0
    assert twice.max() <= 1
    for pair in ((real, twice), (twice, real)):
        assert measured(*pair) == pytest.approx({"sharpness_gap": 1.0, "noise_gap": 1.0}, rel=1e-3)


@pytest.mark.parametrize("size", [(32, 32), (14, 16, 16)])
def test_moves_with_blur_and_with_noise(size: tuple[int, ...]) -> None:
    """The more noise, or the more blur, the larger both gaps."""
    real, other = textures(15, 7, size), textures(15, 8, size)
    doses = [measured(real, textures(15, 8, size, noise)) for noise in (0.01, 0.02, 0.05)]
    blurs = [measured(real, gaussian_filter(other, (0, 0, *(sigma for _ in size)))) for sigma in (0.3, 0.5, 0.8)]
    for values in (doses, blurs):
        for name in values[0]:
            assert values[0][name] < values[1][name] < values[2][name]


def test_without_noise_only_the_edges_tell() -> None:
    """Softer edges under the same noise leave the noise gap small beside the sharpness gap."""
    rng = np.random.default_rng(9)
    regions = np.where(gaussian_filter(rng.normal(size=(10, 1, 64, 64)), (0, 0, 6, 6)) > 0, 0.8, 0.2)
    edges, soft = (gaussian_filter(regions, (0, 0, sigma, sigma)) for sigma in (0.7, 1.2))
    grain = 0.01 * rng.normal(size=edges.shape)
    found = measured(edges + grain, soft + grain)
    assert found["sharpness_gap"] > 2.5 * found["noise_gap"]


def test_channels_count_alike() -> None:
    """The gap of two channels is the mean of theirs."""
    real, synthetic = textures(6, 10, channels=2), textures(6, 11, noise=0.02, channels=2)
    first, second = (measured(real[:, c : c + 1], synthetic[:, c : c + 1]) for c in (0, 1))
    for name, value in measured(real, synthetic).items():
        assert value == pytest.approx((first[name] + second[name]) / 2)


def test_deterministic_and_indifferent_to_order_and_batch() -> None:
    """Numbers of an image do not depend on the set, and the measure does not depend on the order."""
    real, synthetic = textures(7, 12), textures(9, 13)
    alone = np.concatenate([described(Detail(), image[None], "x").features for image in real])
    np.testing.assert_array_equal(alone, described(Detail(), real, "x").features)
    assert measured(real, synthetic) == measured(real, synthetic)
    assert measured(real[::-1], synthetic[::-1]) == pytest.approx(measured(real, synthetic))


def test_the_image_to_blame_is_named() -> None:
    """The one noisy image among clean ones is the worst by both."""
    real, synthetic = textures(20, 14), textures(20, 15)
    synthetic[4] = textures(1, 16, noise=0.1)
    found = Detail().per_image(compared(Detail(), real, synthetic), CONTEXT)
    assert {name: int(values.argmax()) for name, values in found.items()} == {"sharpness_gap": 4, "noise_gap": 4}
    typical = np.median([noise_level(image[0]) for image in real])
    assert found["noise_gap"][4] == pytest.approx(abs(np.log2(noise_level(synthetic[4, 0]) / typical)), rel=1e-4)


def test_flat_images_are_left_out() -> None:
    """Constant images change nothing and are not blamed; where all are constant, that is the reason."""
    real, synthetic = textures(8, 17), textures(8, 18)
    mixed = np.concatenate([synthetic, np.full((3, 1, 32, 32), 0.3)])
    assert measured(real, mixed) == pytest.approx(measured(real, synthetic))
    blamed = Detail().per_image(compared(Detail(), real, mixed), CONTEXT)
    assert all((values[-3:] == 0.0).all() for values in blamed.values())
    with pytest.raises(NotComputable, match="every synthetic image is constant in channel 1"):
        measured(real, mixed[-3:])


def test_a_plane_has_the_noise_of_rounding() -> None:
    """An image without any second difference counts as having what rounding to 12 bits leaves, so its gap is a number."""
    plane = np.broadcast_to(np.linspace(0, 1, 33)[:32], (3, 1, 32, 32))
    features = described(Detail(), plane, "p").features
    np.testing.assert_allclose(features, ROUNDING, rtol=1e-6)
    assert np.isfinite(list(measured(textures(3, 19), plane).values())).all()


def test_bad_input() -> None:
    """Images of one pixel and empty sides are reasons; one image on each side is enough."""
    with pytest.raises(NotComputable, match="needs images of 4 pixels along one axis, got 1 x 1"):
        described(Detail(), np.zeros((2, 1, 1, 1)), "x")
    real, synthetic = textures(5, 20), textures(5, 21)
    comparison = compared(Detail(), real, synthetic, real[:0])
    assert Detail().measure(comparison, CONTEXT)["noise_gap"] >= 0.0
    with pytest.raises(NotComputable, match="there are no test images"):
        Detail(against="test").measure(comparison, CONTEXT)
    with pytest.raises(NotComputable, match="there are no synthetic images"):
        measured(real, synthetic[:0])
    assert measured(real[:1], real[:1]) == {"sharpness_gap": 0.0, "noise_gap": 0.0}


@pytest.mark.parametrize(("size", "channels"), [((20, 24), 1), ((12, 9, 11), 2)])
def test_conforms(size: tuple[int, ...], channels: int) -> None:
    """It keeps the promises of a metric on images and on volumes."""
    check(Detail(), n=24, size_px=size, channels=channels)
