"""Artefacts that generators leave behind: checkerboards, bands, wrapped intensities and clipping."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, ImageSet, Metric, NotComputable, Quantity

from .intensity import RealSide, describe_each, is_flat, real_and_synthetic, size_in_words
from .spectrum import power_spectrum

Places = tuple[tuple[np.ndarray, np.ndarray], ...]

_STEPS = range(-4, 5)
_HALF_STEP = 0.5 / 255.0
_WRAPPED_QUANTILE = 0.99


class Artefacts(Metric):
    """Checkerboard and line-banding energy, wrapped-around intensities and clipping, each beyond what real images have.

    checkerboard: up-sampling leaves peaks in the spectrum at multiples of 1/2, 1/4, ... 1/2^stages cycles per pixel along every axis
    (Odena et al. 2016, doi:10.23915/distill.00003; Zhang et al. 2019, arXiv:1907.06515). An image's level is 10 log10 of the power
    at these frequencies over the median power of the frequencies 2 to 4 steps around each, averaged over them; reported is the mean
    level of the synthetic less that of the real images, in dB. banding: the same for lines across the image or planes across the volume:
    power at the frequencies along one axis (above 1/8 cycles per pixel), over that of frequencies 2 to 4 steps beside it. Both are 0
    for a perfect generator, positive where there is more than in real images, negative where there is less. wraparound: share
    of synthetic images that have a larger share of neighbouring pixels at least `jump` of the window apart, as where 8-bit
    values overflow from 255 to 0, than 99 % of the real images have; from 0 to 1, at most about 0.01 for a perfect generator.
    saturation: mean share of pixels within half an 8-bit step of the ends of the window, beyond that of real images at the same
    end: max(0, low_s - low_r) + max(0, high_s - high_r), from 0 to 1. Lower is better for all.

    What real images have themselves, such as a black background, sharp markers or blocks of a compression, does not count.
    Spectra have the mean removed, a Hann window, and the white noise of rounding to 12 bits added, so that nothing finer counts;
    images that vary less than this noise, the constant ones among them, are left out of the first two. Channels are averaged.
    Along an axis of n pixels only stages with n / 2^stage >= 6 count. Blind to artefacts of other shape, to checkerboards of
    images that were resized afterwards, to wrapped values that smoothing brought closer together, and to the content.

    stages: how many times the generator doubled the size, at most; later ones leave the highest frequencies. jump: difference of
    neighbours, in units of the window, that counts as wrapped around. against: the real images compared with.
    """

    name = "artefacts"
    version = "1"
    quantities = (
        Quantity(name="checkerboard", unit="dB", better="lower", family="artefact"),
        Quantity(name="banding", unit="dB", better="lower", family="artefact"),
        Quantity(name="wraparound", better="lower", low=0.0, high=1.0, proportion=True, biased_in_n=True, family="artefact"),
        Quantity(name="saturation", better="lower", low=0.0, high=1.0, biased_in_n=True, family="artefact"),
    )
    sees = frozenset({FailureMode.ARTEFACT})
    blind_to = frozenset({FailureMode.MEMORISATION, FailureMode.LABEL_NOISE, FailureMode.MASK_MISALIGNMENT})
    in_suite = True

    stages: int = Field(3, ge=1, le=4)
    jump: float = Field(0.75, gt=0.0, le=1.0)
    against: RealSide = "train"

    def describe(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return the ratios of power at the lattice and at the lines, the share of jumps, and the shares at either end: (N, 5).

        The ratios are 0 for a flat image and positive otherwise.
        """
        longest = sorted(images.size_px)[-2:]
        if longest[0] < 8 or longest[1] < 12:
            raise NotComputable(f"needs images of 12 pixels along one axis and 8 along another, got {size_in_words(images.size_px)}")
        checkerboard, lines = lattice(images.size_px, self.stages), axis_lines(images.size_px)

        def numbers(image: np.ndarray) -> np.ndarray:
            spectra = [power_spectrum(channel) for channel in image if not is_flat(channel)]
            ratios = [[excess(power, places) for places in (checkerboard, lines)] for power in spectra] or [[0.0, 0.0]]
            ends = np.mean(image <= _HALF_STEP), np.mean(image >= 1.0 - _HALF_STEP)
            return np.array([*np.mean(ratios, axis=0), jump_share(image, self.jump), *ends])

        return describe_each(images, numbers)

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float | NotComputable]:
        """Return the four quantities."""
        real, synthetic = real_and_synthetic(comparison, self.against)
        beyond = synthetic[:, 3:].mean(axis=0) - real[:, 3:].mean(axis=0)
        return {
            "checkerboard": _excess_level(real[:, 0], synthetic[:, 0]),
            "banding": _excess_level(real[:, 1], synthetic[:, 1]),
            "wraparound": float(np.mean(synthetic[:, 2] > np.quantile(real[:, 2], _WRAPPED_QUANTILE, method="higher"))),
            "saturation": float(np.maximum(beyond, 0.0).sum()),
        }

    def per_image(self, comparison: Comparison, context: Context) -> dict[str, np.ndarray]:
        """Return each image's levels beyond the mean real ones, its share of jumps, and its clipping beyond the mean real one."""
        real, synthetic = real_and_synthetic(comparison, self.against)
        found = {
            "wraparound": synthetic[:, 2],
            "saturation": np.maximum(synthetic[:, 3:] - real[:, 3:].mean(axis=0), 0.0).sum(axis=1),
        }
        for column, name in enumerate(("checkerboard", "banding")):
            structured = synthetic[:, column] > 0.0
            if real[:, column].any():
                found[name] = np.zeros(len(synthetic))
                found[name][structured] = _levels(synthetic[structured, column]) - _mean_level(real[:, column])
        return found


def _excess_level(real: np.ndarray, synthetic: np.ndarray) -> float | NotComputable:
    """Return the mean level of the synthetic less that of the real images in dB, flat images left out."""
    for word, side in (("real", real), ("synthetic", synthetic)):
        if not side.any():
            return NotComputable(f"every {word} image is constant: there is no spectrum")
    return _mean_level(synthetic) - _mean_level(real)


def _mean_level(ratios: np.ndarray) -> float:
    return float(np.mean(_levels(ratios[ratios > 0.0])))


def _levels(ratios: np.ndarray) -> np.ndarray:
    return 10.0 * np.log10(ratios)


def excess(power: np.ndarray, places: Places) -> float:
    """Return the mean over `places` of the power there over the median power round each."""
    values = power.ravel()
    return float(np.mean(np.concatenate([values[centres] / np.median(values[rings], axis=1) for centres, rings in places])))


def jump_share(image: np.ndarray, jump: float) -> float:
    """Return the share of pairs of neighbouring pixels of an image (C, ...), along every axis, that differ by `jump` or more."""
    steps = [np.abs(np.diff(image, axis=axis)) for axis in range(1, image.ndim)]
    return sum(int(np.count_nonzero(step >= jump)) for step in steps) / sum(step.size for step in steps)


@lru_cache(maxsize=4)
def lattice(size: tuple[int, ...], stages: int) -> Places:
    """Return the multiples of 1/2^stages cycles per pixel along every axis of an FFT of that size: zero left out, f and -f once."""
    periods = [2 ** max(s for s in range(stages + 1) if s == 0 or n / 2**s >= 6) for n in size]
    steps = [[round(k * n / period) for k in range(period)] for n, period in zip(size, periods, strict=True)]
    centres = [place for place in product(*steps) if any(place) and place <= tuple(-k % n for k, n in zip(place, size, strict=True))]
    return (_places(size, centres, range(len(size))),)


@lru_cache(maxsize=4)
def axis_lines(size: tuple[int, ...]) -> Places:
    """Return the frequencies above 1/8 cycles per pixel along each axis, and for each those beside it along other axes."""
    found = []
    for axis, n in enumerate(size):
        others = [other for other, m in enumerate(size) if other != axis and m >= 8]
        if n >= 8 and others:
            line = [tuple(k if a == axis else 0 for a in range(len(size))) for k in range(n // 8 + 1, n // 2 + 1)]
            found.append(_places(size, line, others))
    return tuple(found)


def _places(size: tuple[int, ...], centres: list[tuple[int, ...]], axes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return flat indices of `centres`, (L,), and of what lies 2 to 4 steps from each along `axes`, (L, M), wrapped at the end.

    Along a short axis the steps are fewer, so that none wraps onto another.
    """
    reach = [[o for o in _STEPS if abs(o) <= (n - 1) // 2] if axis in axes else [0] for axis, n in enumerate(size)]
    offsets = np.array([offset for offset in product(*reach) if max(abs(o) for o in offset) >= 2])
    rings = (np.array(centres)[:, None] + offsets) % np.array(size)
    return np.ravel_multi_index(tuple(np.array(centres).T), size), np.ravel_multi_index(tuple(np.moveaxis(rings, -1, 0)), size)
