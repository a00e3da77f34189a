"""Facts about the distance between power spectra."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from describing import CONTEXT, compared, described
from harness.api import Comparison, NotComputable
from harness.testing import check
from harness_plugins.metrics.spectrum import Spectrum, power_spectrum, radial_frequency


def measured(real: np.ndarray, synthetic: np.ndarray) -> dict[str, float]:
    """The quantities with default options."""
    return Spectrum().measure(compared(Spectrum(), real, synthetic), CONTEXT)


def textures(n: int, seed: int, size: tuple[int, ...] = (32, 32), channels: int = 1) -> np.ndarray:
    """Blurred noise with a little grain: images of one texture, of values near 0.5."""
    rng = np.random.default_rng(seed)
    coarse = gaussian_filter(rng.normal(size=(n, channels, *size)), (0, 0, *(1.5 for _ in size)))
    return np.clip(0.5 + 0.1 * coarse / coarse.std() + 0.004 * rng.normal(size=coarse.shape), 0, 1).astype(np.float32)


def test_definition() -> None:
    """The levels are those of the discrete Fourier sum, windowed and binned point by point; the measure is their difference."""
    metric, size, spacing = Spectrum(bins=5), (8, 6), (1.0, 2.5)
    rng = np.random.default_rng(1)
    real, synthetic = rng.random((4, 1, *size)).astype(np.float32), rng.random((3, 1, *size)).astype(np.float32)
    rows, columns = np.mgrid[:8, :6]
    window = np.sin(np.pi * (rows + 0.5) / 8) ** 2 * np.sin(np.pi * (columns + 0.5) / 6) ** 2

    def levels(image: np.ndarray) -> np.ndarray:
        centred = window * (image - (window * image).sum() / window.sum())
        corner = np.hypot(0.5 / spacing[0], 0.5 / spacing[1])
        shares = np.zeros(6)
        for k, m in set(product(range(-4, 4), range(-3, 3))) - {(0, 0)}:
            power = abs((centred * np.exp(-2j * np.pi * (k * rows / 8 + m * columns / 6))).sum()) ** 2
            power += (window**2).sum() / 12 / 4095**2
            frequency = np.hypot(k / 8 / spacing[0], m / 6 / spacing[1])
            shares[int(np.ceil(frequency / corner * 5 - 1e-9)) - 1] += power
            shares[5] += power * (frequency > 0.25)
        return 10 * np.log10(shares / shares[:5].sum())

    level_r, level_s = (np.array([levels(image[0].astype(float)) for image in side]) for side in (real, synthetic))
    sides = [described(metric, side, name, spacing) for side, name in ((real, "r"), (real, "t"), (synthetic, "s"))]
    np.testing.assert_allclose(sides[0].features, level_r, rtol=1e-5)
    found = metric.measure(Comparison(*sides), CONTEXT)
    away = level_s[:, :5].mean(axis=0) - level_r[:, :5].mean(axis=0)
    assert found["log_distance"] == pytest.approx(np.sqrt(np.mean(away**2)), rel=1e-4)
    assert found["high_frequency_gap"] == pytest.approx(abs(np.median(level_s[:, 5]) - np.median(level_r[:, 5])), rel=1e-4)
    each = metric.per_image(Comparison(*sides), CONTEXT)
    apart = np.sqrt(np.mean((level_s[:, :5] - level_r[:, :5].mean(axis=0)) ** 2, axis=1))
    np.testing.assert_allclose(each["log_distance"], apart, rtol=1e-4)


def test_a_wave_lies_at_its_frequency_in_mm() -> None:
    """A wave of 6 mm is at 1/6 cycles per mm whichever axis it runs along, although their pixels differ in size."""
    spacing, size = (1.0, 2.0), (48, 48)
    radius = radial_frequency(size, spacing)
    rows, columns = np.mgrid[:48, :48]
    for phase in (rows * 1.0 / 6, columns * 2.0 / 6):
        power = power_spectrum((0.5 + 0.4 * np.sin(2 * np.pi * phase)).astype(np.float32))
        assert radius.flat[power.argmax()] == pytest.approx(1 / 6)


def test_blind_to_brightness_and_contrast() -> None:
    """Half the contrast and another brightness leave the spectrum as it was."""
    real = textures(10, 2)
    found = measured(real, 0.1 + 0.5 * real)
    assert found["log_distance"] < 0.1
    assert found["high_frequency_gap"] < 0.1


@pytest.mark.parametrize("size", [(32, 32), (12, 16, 16)])
def test_moves_with_blur_and_with_noise(size: tuple[int, ...]) -> None:
    """The more blur, or the more noise, the larger both; two sets of the same texture are close."""
    real, other = textures(16, 3, size), textures(16, 4, size)
    same = measured(real, other)
    blurs = [measured(real, gaussian_filter(other, (0, 0, *(sigma for _ in size)))) for sigma in (0.8, 1.2)]
    grain = np.random.default_rng(5).normal(size=other.shape)
    noises = [measured(real, np.clip(other + sigma * grain, 0, 1)) for sigma in (0.01, 0.05)]
    for doses in (blurs, noises):
        for name, floor in same.items():
            assert floor < doses[0][name] < doses[1][name]
    assert same["log_distance"] < 1.0


def test_white_noise_is_one_level() -> None:
    """The share of white noise above half the Nyquist frequency is the share of frequencies there: 1 - pi/16."""
    noise = np.random.default_rng(6).uniform(size=(40, 1, 64, 64))
    levels = described(Spectrum(), noise, "n").features
    assert levels is not None
    assert 10 ** (levels[:, -1].mean() / 10) == pytest.approx(1 - np.pi / 16, rel=0.01)


def test_channels_count_alike() -> None:
    """The distance of two channels is the root mean square of theirs, the gap their mean."""
    real, synthetic = textures(8, 7, channels=2), textures(8, 8, channels=2)
    synthetic[:, 1] = np.clip(synthetic[:, 1] + 0.02 * np.random.default_rng(9).normal(size=(8, 32, 32)), 0, 1)
    both = measured(real, synthetic)
    first, second = (measured(real[:, c : c + 1], synthetic[:, c : c + 1]) for c in (0, 1))
    assert both["log_distance"] == pytest.approx(np.sqrt((first["log_distance"] ** 2 + second["log_distance"] ** 2) / 2))
    assert both["high_frequency_gap"] == pytest.approx((first["high_frequency_gap"] + second["high_frequency_gap"]) / 2)


def test_deterministic_and_indifferent_to_order_and_batch() -> None:
    """Numbers of an image do not depend on the set, and the measure does not depend on the order."""
    real, synthetic = textures(7, 10), textures(9, 11)
    alone = np.concatenate([described(Spectrum(), image[None], "x").features for image in real])
    np.testing.assert_array_equal(alone, described(Spectrum(), real, "x").features)
    assert measured(real, synthetic) == measured(real, synthetic)
    assert measured(real[::-1], synthetic[::-1]) == pytest.approx(measured(real, synthetic))


def test_the_image_to_blame_is_named() -> None:
    """One noisy image among clean ones is the worst by both."""
    real, synthetic = textures(20, 12), textures(20, 13)
    synthetic[4] = np.clip(synthetic[4] + 0.1 * np.random.default_rng(14).normal(size=(1, 32, 32)), 0, 1)
    found = Spectrum().per_image(compared(Spectrum(), real, synthetic), CONTEXT)
    assert {name: int(values.argmax()) for name, values in found.items()} == {"log_distance": 4, "high_frequency_gap": 4}


def test_flat_images_are_left_out() -> None:
    """Constant images change nothing and are not blamed; where all are constant, that is the reason."""
    real, synthetic = textures(8, 15), textures(8, 16)
    mixed = np.concatenate([synthetic, np.full((2, 1, 32, 32), 0.3, np.float32)])
    assert measured(real, mixed) == pytest.approx(measured(real, synthetic))
    blamed = Spectrum().per_image(compared(Spectrum(), real, mixed), CONTEXT)
    assert all((values[-2:] == 0.0).all() and (values[:-2] > 0.0).all() for values in blamed.values())
    with pytest.raises(NotComputable, match="every synthetic image is constant in channel 1"):
        measured(real, mixed[-2:])
    with pytest.raises(NotComputable, match="every real image is constant in channel 1"):
        measured(mixed[-2:], synthetic)


def test_finer_than_12_bits_is_not_there() -> None:
    """Grain far below one 12-bit step changes nothing, though it is all the high frequencies that smooth images have."""
    rows, columns = np.mgrid[:32, :32]
    smooth = np.stack([0.5 + 0.2 * np.sin(2 * np.pi * (k * rows + columns) / 32) for k in range(1, 5)])[:, None]
    grain = 1e-6 * np.random.default_rng(17).normal(size=smooth.shape)
    assert measured(smooth, smooth + grain)["log_distance"] < 0.05


def test_bad_input() -> None:
    """Images without frequencies and empty sides are reasons; one image on each side is enough, and one slice of a volume too."""
    with pytest.raises(NotComputable, match="needs images of 4 pixels along one axis for a spectrum, got 1 x 1"):
        described(Spectrum(), np.zeros((2, 1, 1, 1)), "x")
    real, synthetic = textures(5, 18), textures(5, 19)
    comparison = compared(Spectrum(), real, synthetic, real[:0])
    assert Spectrum().measure(comparison, CONTEXT)["log_distance"] > 0.0
    with pytest.raises(NotComputable, match="there are no test images"):
        Spectrum(against="test").measure(comparison, CONTEXT)
    with pytest.raises(NotComputable, match="there are no synthetic images"):
        measured(real, synthetic[:0])
    assert measured(real[:1], real[:1]) == {"log_distance": 0.0, "high_frequency_gap": 0.0}
    assert measured(real[:, :, None], synthetic[:, :, None]) == pytest.approx(measured(real, synthetic))


@pytest.mark.parametrize(("size", "channels"), [((20, 24), 1), ((12, 9, 11), 2)])
def test_conforms(size: tuple[int, ...], channels: int) -> None:
    """It keeps the promises of a metric on images and on volumes."""
    check(Spectrum(), n=24, size_px=size, channels=channels)
