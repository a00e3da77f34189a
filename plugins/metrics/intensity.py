"""Distances between the grey levels of synthetic and of real images; and what every metric that describes images shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, ImageSet, Metric, NotComputable, Quantity

RealSide = Literal["train", "test"]

# Standard deviation of the error of rounding to 12 bits, the depth of most medical images: what is finer counts as not there.
ROUNDING = 1.0 / 4095.0 / np.sqrt(12.0)


_NEAR_ZERO = "near its floor a distance of quantiles spreads more than its half-samples (simulated: 95 % intervals cover 87 %)"


class Intensity(Metric):
    """Wasserstein-1 distances between grey levels, between the images' mean levels, and between their contrasts.

    W1(P, Q) = integral |F_P - F_Q| of the two distribution functions: how far, on average, grey has to be moved to turn one
    distribution into the other (Villani 2009, Optimal Transport; Ramdas et al. 2017, arXiv:1509.02237). Its unit is the intensity
    window, so 0.02 is 2 % of the window. wasserstein: of the levels of all pixels, every image with the same weight. The levels
    are rounded to `levels` equal steps: exact for 8-bit images with the default of 256, off by at most half a step on each side
    otherwise. mean_distance: of the images' mean levels, from 0 to 1. contrast_distance: of the images' standard deviations, from
    0 to 0.5. Lower is better. A perfect generator is above 0, the more so the fewer the images: read the values against their
    real-against-real floor. With several channels each distance is the mean of those of the channels; a volume counts all voxels.
    Blind to where the grey is: shapes, sharpness, texture and copies.

    levels: steps of grey that the window is divided into. against: the real images compared with.
    """

    name = "intensity"
    version = "1"
    quantities = (
        Quantity(name="wasserstein", unit="window", better="lower", low=0.0, high=1.0, biased_in_n=True, family="distance"),
        Quantity(name="mean_distance", unit="window", better="lower", low=0.0, high=1.0, biased_in_n=True, family="distance"),
        Quantity(
            name="contrast_distance", unit="window", better="lower", low=0.0, high=0.5, biased_in_n=True, family="distance",
            no_interval=_NEAR_ZERO,
        ),
    )  # fmt: skip
    sees = frozenset({FailureMode.DISTRIBUTION_SHIFT})
    blind_to = frozenset({FailureMode.MEMORISATION, FailureMode.LABEL_NOISE, FailureMode.MASK_MISALIGNMENT})
    in_suite = True

    levels: int = Field(256, ge=2, le=4096)
    against: RealSide = "train"

    def describe(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return for each channel the share of pixels at each level, the mean and the standard deviation: (N, C * (levels + 2))."""
        return describe_each(images, lambda image: np.concatenate([self._channel(channel) for channel in image]))

    def _channel(self, channel: np.ndarray) -> np.ndarray:
        """Return the numbers of one channel of one image, (levels + 2,)."""
        values = channel.astype(np.float64).ravel()
        shares = np.bincount(np.rint(values * (self.levels - 1)).astype(np.int64), minlength=self.levels) / len(values)
        return np.concatenate([shares, [values.mean(), values.std()]])

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Return the three distances."""
        from scipy.stats import wasserstein_distance

        real, synthetic = self._sides(comparison)
        channels = range(real.shape[1])
        shift = real[..., :-2].mean(axis=0) - synthetic[..., :-2].mean(axis=0)
        means = [wasserstein_distance(real[:, c, -2], synthetic[:, c, -2]) for c in channels]
        contrasts = [wasserstein_distance(real[:, c, -1], synthetic[:, c, -1]) for c in channels]
        return {
            "wasserstein": float(self._transport(shift)),
            "mean_distance": float(np.mean(means)),
            "contrast_distance": float(np.mean(contrasts)),
        }

    def per_image(self, comparison: Comparison, context: Context) -> dict[str, np.ndarray]:
        """Return each image's distances from the pooled real levels, from the median real mean and from the median real contrast."""
        real, synthetic = self._sides(comparison)
        away = np.abs(synthetic[..., -2:] - np.median(real[..., -2:], axis=0)).mean(axis=1)
        return {
            "wasserstein": self._transport(synthetic[..., :-2] - real[..., :-2].mean(axis=0)),
            "mean_distance": away[:, 0],
            "contrast_distance": away[:, 1],
        }

    def _sides(self, comparison: Comparison) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of the real and of the synthetic images, (N, C, levels + 2) each."""
        real, synthetic = real_and_synthetic(comparison, self.against)
        return real.reshape(len(real), -1, self.levels + 2), synthetic.reshape(len(synthetic), -1, self.levels + 2)

    def _transport(self, difference: np.ndarray) -> np.ndarray:
        """Return W1 of distributions on the levels from the difference of their shares, (..., C, levels): the mean of the channels."""
        moved: np.ndarray = np.abs(np.cumsum(difference, axis=-1)[..., :-1]).sum(axis=-1)
        return moved.mean(axis=-1) / (self.levels - 1)


def describe_each(images: ImageSet, numbers_of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return `numbers_of` each image (C, ...) on its own, (N, D) float32: no row depends on another, and one is in work at a time."""
    if not len(images):
        blank = np.zeros(images.images.shape[1:], np.float32)
        return np.empty((0, len(numbers_of(blank))), np.float32)
    return np.stack([numbers_of(image).astype(np.float32) for image in images.images])


def real_and_synthetic(comparison: Comparison, against: RealSide) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers that describe the real and the synthetic images, (N, D) float64 each; `NotComputable` where a side is empty."""
    if not comparison.n(against):
        raise NotComputable(f"there are no {against} images to compare with")
    if not comparison.n("synthetic"):
        raise NotComputable("there are no synthetic images")
    real, synthetic = comparison.features(against), comparison.features("synthetic")
    if real.shape[1] != synthetic.shape[1]:
        raise NotComputable(f"real images give {real.shape[1]} numbers each and synthetic ones {synthetic.shape[1]}: their channels differ")
    return real, synthetic


def is_flat(channel: np.ndarray) -> bool:
    """Return whether a channel varies less, by its standard deviation, than rounding to 12 bits makes it vary."""
    return bool(channel.std(dtype=np.float64) < ROUNDING)


def size_in_words(size: tuple[int, ...]) -> str:
    """Return an image's size as text: 128 x 128."""
    return " x ".join(str(n) for n in size)
