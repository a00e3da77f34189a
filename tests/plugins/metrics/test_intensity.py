"""Facts about the distances between grey levels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from describing import CONTEXT, compared, described
from harness.api import ImageSet, NotComputable
from harness.testing import check
from harness_plugins.metrics.intensity import ROUNDING, Intensity, is_flat


def eight_bit(n: int, seed: int, size: tuple[int, ...] = (9, 11), channels: int = 1) -> np.ndarray:
    """Random 8-bit images of different brightness and contrast."""
    rng = np.random.default_rng(seed)
    per_image = (n, channels, *(1 for _ in size))
    values = rng.uniform(60, 140, per_image) + rng.uniform(5, 20, per_image) * rng.normal(size=(n, channels, *size))
    return (np.clip(np.rint(values), 0, 255) / 255).astype(np.float32)


def test_definition() -> None:
    """They are scipy's distances between all pixels, between means and between standard deviations."""
    real, synthetic = eight_bit(20, 1), eight_bit(15, 2) * np.float32(0.8)
    synthetic = np.rint(synthetic * 255) / 255
    found = Intensity().measure(compared(Intensity(), real, synthetic), CONTEXT)
    axes = (1, 2, 3)
    assert found["wasserstein"] == pytest.approx(wasserstein_distance(real.ravel(), synthetic.ravel()), rel=1e-4)
    assert found["mean_distance"] == pytest.approx(wasserstein_distance(real.mean(axes), synthetic.mean(axes)), rel=1e-4)
    assert found["contrast_distance"] == pytest.approx(wasserstein_distance(real.std(axes), synthetic.std(axes)), rel=1e-4)


@pytest.mark.parametrize("levels", [2, 16, 1000])
def test_rounding_is_bounded(levels: int) -> None:
    """Whatever the number of levels, the distance is off by no more than one step."""
    rng = np.random.default_rng(3)
    real, synthetic = rng.random((6, 1, 20, 20)), rng.beta(2, 3, (6, 1, 20, 20))
    metric = Intensity(levels=levels)
    exact = wasserstein_distance(real.ravel(), synthetic.ravel())
    found = metric.measure(compared(metric, real, synthetic), CONTEXT)["wasserstein"]
    assert abs(found - exact) <= 1 / (levels - 1)


@pytest.mark.parametrize("steps", [1, 10, 60])
def test_a_shift_is_its_own_distance(steps: int) -> None:
    """Images that are brighter by d are d away in level and in mean, and not in contrast."""
    real = eight_bit(12, 4)
    assert real.max() < 1 - 60 / 255
    found = Intensity().measure(compared(Intensity(), real, real + np.float32(steps / 255)), CONTEXT)
    assert found["wasserstein"] == pytest.approx(steps / 255, rel=1e-4)
    assert found["mean_distance"] == pytest.approx(steps / 255, rel=1e-4)
    assert found["contrast_distance"] == pytest.approx(0.0, abs=1e-6)


def test_moves_with_contrast() -> None:
    """The more contrast is lost, the larger the contrast distance, while the means stay."""
    real = eight_bit(30, 5)
    centre = real.mean(axis=(2, 3), keepdims=True)
    found = [Intensity().measure(compared(Intensity(), real, centre + kept * (real - centre)), CONTEXT) for kept in (1.0, 0.8, 0.4)]
    assert found[0]["contrast_distance"] < found[1]["contrast_distance"] < found[2]["contrast_distance"]
    assert found[2]["mean_distance"] == pytest.approx(0.0, abs=1e-6)


def test_channels_and_volumes() -> None:
    """A distance is the mean of those of the channels, and a volume is the set of its voxels."""
    real, synthetic = eight_bit(8, 6, (12, 10), 2), eight_bit(8, 7, (12, 10), 2)
    both = Intensity().measure(compared(Intensity(), real, synthetic), CONTEXT)
    each = [Intensity().measure(compared(Intensity(), real[:, c : c + 1], synthetic[:, c : c + 1]), CONTEXT) for c in (0, 1)]
    for name, value in both.items():
        assert value == pytest.approx((each[0][name] + each[1][name]) / 2)
    volumes = [images.reshape(8, 2, 3, 4, 10) for images in (real, synthetic)]
    assert Intensity().measure(compared(Intensity(), *volumes), CONTEXT) == pytest.approx(both)


def test_deterministic_and_indifferent_to_order_and_batch() -> None:
    """Numbers of an image do not depend on the set, and the measure does not depend on the order."""
    real, synthetic = eight_bit(9, 8), eight_bit(7, 9)
    alone = np.concatenate([described(Intensity(), image[None], "x").features for image in real])
    np.testing.assert_array_equal(alone, described(Intensity(), real, "x").features)
    first = Intensity().measure(compared(Intensity(), real, synthetic), CONTEXT)
    assert Intensity().measure(compared(Intensity(), real, synthetic), CONTEXT) == first
    assert Intensity().measure(compared(Intensity(), real[::-1], synthetic[::-1]), CONTEXT) == pytest.approx(first)


def test_the_image_to_blame_is_named() -> None:
    """A dark image has the largest distances of level and mean, a flat one that of contrast."""
    real, synthetic = eight_bit(20, 10), eight_bit(20, 11)
    synthetic[3] *= 0.1
    synthetic[5] = 0.4
    found = Intensity().per_image(compared(Intensity(), real, synthetic), CONTEXT)
    assert {name: int(values.argmax()) for name, values in found.items()} == {
        "wasserstein": 3,
        "mean_distance": 3,
        "contrast_distance": 5,
    }
    mean = abs(np.median(real.mean((1, 2, 3))) - synthetic[3].mean())
    assert found["mean_distance"][3] == pytest.approx(mean, rel=1e-4)


def test_small_and_constant_images_have_values() -> None:
    """One pixel, one image, constant images: the levels are there, and the contrast is 0."""
    black, white = np.zeros((1, 1, 1, 1)), np.ones((1, 1, 1, 1))
    found = Intensity().measure(compared(Intensity(), black, white), CONTEXT)
    assert found == {"wasserstein": 1.0, "mean_distance": 1.0, "contrast_distance": 0.0}
    same = eight_bit(3, 12)
    assert set(Intensity().measure(compared(Intensity(), same, same), CONTEXT).values()) == {0.0}


def test_flat_is_less_than_rounding() -> None:
    """A channel is flat if it varies less than rounding to 12 bits makes it vary; an 8-bit step in one corner is not flat."""
    assert is_flat(np.full((8, 8), 0.3, np.float32))
    assert is_flat(0.3 + 0.5 * ROUNDING * np.random.default_rng(13).normal(size=(50, 50)))
    image = np.zeros((8, 8), np.float32)
    image[0, 0] = 1 / 255
    assert not is_flat(image)


def test_bad_input() -> None:
    """An empty side and channels that differ are reasons; an empty test set is none where train is compared with."""
    real, synthetic = eight_bit(5, 14), eight_bit(5, 15)
    comparison = compared(Intensity(), real, synthetic, real[:0])
    assert Intensity().measure(comparison, CONTEXT)["wasserstein"] > 0.0
    with pytest.raises(NotComputable, match="there are no test images"):
        Intensity(against="test").measure(comparison, CONTEXT)
    with pytest.raises(NotComputable, match="there are no synthetic images"):
        Intensity().measure(compared(Intensity(), real, synthetic[:0]), CONTEXT)
    with pytest.raises(NotComputable, match="258 numbers each and synthetic ones 774: their channels differ"):
        Intensity().measure(compared(Intensity(), real, eight_bit(5, 15, channels=3)), CONTEXT)


@pytest.mark.parametrize(("size", "channels"), [((20, 24), 1), ((12, 9, 11), 2)])
def test_conforms(size: tuple[int, ...], channels: int) -> None:
    """It keeps the promises of a metric on images and on volumes."""
    check(Intensity(), n=24, size_px=size, channels=channels)


def test_against_test_uses_the_test_images(picture_set: Callable[..., ImageSet]) -> None:
    """With `against: test` the numbers are those of the test images."""
    train, test, synthetic = (picture_set(seed=seed).images for seed in range(3))
    found = Intensity(against="test").measure(compared(Intensity(), train, synthetic, test), CONTEXT)
    assert found == Intensity().measure(compared(Intensity(), test, synthetic), CONTEXT)
