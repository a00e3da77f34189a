"""Distance between the power spectra of synthetic and of real images."""

from __future__ import annotations

from functools import lru_cache, reduce

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, ImageSet, Metric, NotComputable, Quantity

from .intensity import ROUNDING, RealSide, describe_each, is_flat, real_and_synthetic, size_in_words


class Spectrum(Metric):
    """Distance between radially averaged power spectra, and the gap in the share of power at high frequencies, both in dB.

    The power |FFT|^2 of each image, mean removed and Hann window applied, is summed over `bins` equal steps of radial frequency
    f = sqrt(sum f_a^2), f_a in cycles per mm by the spacing of axis a, above 0 up to the corner of the spectrum, and divided by the
    image's total, so that brightness and contrast do not count (Durall et al. 2020, arXiv:2003.01826). log_distance: root mean
    square over the bins of the difference between the mean levels, 10 log10 of the share, of the synthetic and the real images
    (log-spectral distance, Gray & Markel 1976). high_frequency_gap: absolute difference between the median levels of the share
    above half the highest Nyquist frequency; 3 dB are a factor of two. From 0 upwards, lower is better; above 0 for a perfect
    generator, the more so the fewer the images. Blur, noise, over-smooth texture and periodic artefacts raise both.

    Every spectrum contains the white noise of rounding to 12 bits, so that nothing finer counts; images that vary less than this
    noise, the constant ones among them, have no spectrum and are left out. Channels have spectra of their own: log_distance runs
    over the bins of all, high_frequency_gap is their mean. Blind to phase, so to where anything is, to direction (lines along one
    axis and along another), and to copies.

    bins: steps of radial frequency. against: the real images compared with.
    """

    name = "spectrum"
    version = "1"
    quantities = (
        Quantity(name="log_distance", unit="dB", better="lower", low=0.0, biased_in_n=True, family="distance"),
        Quantity(name="high_frequency_gap", unit="dB", better="lower", low=0.0, biased_in_n=True, family="distance"),
    )
    sees = frozenset({FailureMode.NOISE, FailureMode.BLUR, FailureMode.ARTEFACT})
    blind_to = frozenset({FailureMode.MEMORISATION, FailureMode.LABEL_NOISE, FailureMode.MASK_MISALIGNMENT})
    in_suite = True

    bins: int = Field(32, ge=4, le=256)
    against: RealSide = "train"

    def describe(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return for each channel the level in each bin, and that of the high frequencies, in dB: (N, C * (bins + 1)).

        All are 0 for a flat channel, and a bin that holds no frequency is 0 in every image.
        """
        if max(images.size_px) < 4:
            raise NotComputable(f"needs images of 4 pixels along one axis for a spectrum, got {size_in_words(images.size_px)}")
        radius = radial_frequency(images.size_px, images.spacing_mm)
        edges = np.linspace(0.0, radius.max(), self.bins + 1)
        bin_of = np.clip(np.digitize(radius, edges, right=True) - 1, 0, self.bins - 1).ravel()
        high = radius > 0.25 / min(images.spacing_mm[a] for a, n in enumerate(images.size_px) if n > 1)

        def levels(channel: np.ndarray) -> np.ndarray:
            if is_flat(channel):
                return np.zeros(self.bins + 1)
            power = power_spectrum(channel)
            power.flat[0] = 0.0
            shares = np.append(np.bincount(bin_of, power.ravel(), self.bins), power[high].sum()) / power.sum()
            return 10.0 * np.log10(shares, out=np.zeros(self.bins + 1), where=shares > 0.0)

        return describe_each(images, lambda image: np.concatenate([levels(channel) for channel in image]))

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Return the distance between the mean spectra and the gap at high frequencies."""
        differences, gaps = [], []
        for real, synthetic in self._channels(comparison):
            spectra = _mean_spectrum(synthetic), _mean_spectrum(real)
            differences.append((spectra[0] - spectra[1])[_held(real)])
            gaps.append(abs(_typical_high(synthetic) - _typical_high(real)))
        return {"log_distance": float(_rms(np.concatenate(differences))), "high_frequency_gap": float(np.mean(gaps))}

    def per_image(self, comparison: Comparison, context: Context) -> dict[str, np.ndarray]:
        """Return each image's distance from the mean real spectrum and its gap at high frequencies; 0 for a flat image."""
        distances, gaps = [], []
        for real, synthetic in self._channels(comparison):
            flat = ~_structured(synthetic)
            away = (synthetic[:, :-1] - _mean_spectrum(real))[:, _held(real)]
            distances.append(np.where(flat, 0.0, _rms(away)))
            gaps.append(np.where(flat, 0.0, np.abs(synthetic[:, -1] - _typical_high(real))))
        return {"log_distance": np.mean(distances, axis=0), "high_frequency_gap": np.mean(gaps, axis=0)}

    def _channels(self, comparison: Comparison) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return for each channel the levels of the real and of the synthetic images, (N, bins + 1) each."""
        sides = real_and_synthetic(comparison, self.against)
        real, synthetic = (side.reshape(len(side), -1, self.bins + 1) for side in sides)
        for word, side in (("real", real), ("synthetic", synthetic)):
            for channel in np.flatnonzero(~side.any(axis=(0, 2))):
                raise NotComputable(f"every {word} image is constant in channel {channel + 1}, which has no spectrum")
        return [(real[:, c], synthetic[:, c]) for c in range(real.shape[1])]


def radial_frequency(size: tuple[int, ...], spacing: tuple[float, ...]) -> np.ndarray:
    """Return the length of the frequency vector at every point of an FFT of that size, float64, in cycles per unit of `spacing`."""
    axes = np.meshgrid(*(np.fft.fftfreq(n, s) for n, s in zip(size, spacing, strict=True)), indexing="ij", sparse=True)
    squares: np.ndarray = sum(axis**2 for axis in axes)  # type: ignore[assignment]
    return np.sqrt(squares)


def power_spectrum(channel: np.ndarray) -> np.ndarray:
    """Return |FFT|^2 of one channel (H, W) or (D, H, W), same shape, float64: mean removed, Hann window, rounding to 12 bits added."""
    window = _hann(channel.shape)
    values = channel.astype(np.float64)
    values -= np.vdot(window, values) / window.sum()
    transform = np.fft.fftn(window * values)
    return transform.real**2 + transform.imag**2 + ROUNDING**2 * np.vdot(window, window)


@lru_cache(maxsize=4)
def _hann(size: tuple[int, ...]) -> np.ndarray:
    """Return the product of the axes' periodic Hann windows, shifted by half a pixel so that no pixel has weight 0."""
    axes = [np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 if n > 1 else np.ones(1) for n in size]
    window: np.ndarray = reduce(np.multiply.outer, axes)
    window.flags.writeable = False
    return window


def _structured(levels: np.ndarray) -> np.ndarray:
    """Return (N,) whether an image has a spectrum."""
    return np.asarray(levels.any(axis=1))


def _held(levels: np.ndarray) -> np.ndarray:
    """Return (bins,) which bins hold a frequency."""
    return np.asarray(levels[:, :-1].any(axis=0))


def _mean_spectrum(levels: np.ndarray) -> np.ndarray:
    return np.asarray(levels[_structured(levels), :-1].mean(axis=0))


def _typical_high(levels: np.ndarray) -> float:
    return float(np.median(levels[_structured(levels), -1]))


def _rms(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(np.mean(values**2, axis=-1)))
