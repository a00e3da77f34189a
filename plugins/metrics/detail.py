"""Gaps in sharpness and in noise level between synthetic and real images."""

from __future__ import annotations

import numpy as np

from harness.api import Comparison, Context, FailureMode, ImageSet, Metric, NotComputable, Quantity

from .intensity import ROUNDING, RealSide, describe_each, is_flat, real_and_synthetic, size_in_words


class Detail(Metric):
    """How much sharper or softer, and how much noisier or smoother, the typical synthetic image is than the typical real one.

    Both are |log2(median over synthetic / median over real)|: 1 is a factor of two, either way. sharpness_gap: of the standard
    deviation of the Laplacian (the variance of the Laplacian is its square: Pech-Pacheco et al. 2000; Pertuz et al. 2013).
    noise_gap: of the noise level sigma = sqrt(pi / 2) mean|I * N| / |N|, where N, the product of [1, -2, 1] along every axis,
    removes structure (Immerkaer 1996; in 2D |N| = 6). The mean, not the median of a wavelet (Donoho & Johnstone 1994), because the
    median of 8-bit images is a multiple of one grey step and often 0. From 0 upwards, lower is better; above 0 for a perfect
    generator, the more so the fewer the images. Noise and periodic artefacts raise the sharpness too, so read the two together: a gap
    in both is noise or smoothing, a gap in sharpness alone is a change of edges.

    Differences are between neighbouring pixels along every axis of 3 pixels or more, without the border; each channel has a gap
    of its own, and the mean is reported. Amplitudes below that of rounding to 12 bits count as that, so that nothing finer counts;
    images that vary less than this rounding altogether, the constant ones among them, are left out. Blind to anything coarser
    than a few pixels and to copies.

    against: the real images compared with.
    """

    name = "detail"
    version = "1"
    quantities = (
        Quantity(name="sharpness_gap", unit="log2", better="lower", low=0.0, biased_in_n=True, family="distance"),
        Quantity(name="noise_gap", unit="log2", better="lower", low=0.0, biased_in_n=True, family="distance"),
    )
    sees = frozenset({FailureMode.NOISE, FailureMode.BLUR})
    blind_to = frozenset({FailureMode.MEMORISATION, FailureMode.LABEL_NOISE, FailureMode.MASK_MISALIGNMENT})
    in_suite = True

    against: RealSide = "train"

    def describe(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return for each channel the standard deviation of the Laplacian and the noise level, in units of the window: (N, C * 2).

        Both are 0 for a flat channel.
        """
        if max(images.size_px) < 4:
            raise NotComputable(f"needs images of 4 pixels along one axis, got {size_in_words(images.size_px)}")

        def amplitudes(channel: np.ndarray) -> tuple[float, float]:
            if is_flat(channel):
                return 0.0, 0.0
            return max(laplacian_sd(channel), ROUNDING), max(noise_level(channel), ROUNDING)

        return describe_each(images, lambda image: np.array([value for channel in image for value in amplitudes(channel)]))

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Return the two gaps."""
        return {
            name: float(np.mean([abs(_typical(synthetic) - _typical(real)) for real, synthetic in channels]))
            for name, channels in self._amplitudes(comparison).items()
        }

    def per_image(self, comparison: Comparison, context: Context) -> dict[str, np.ndarray]:
        """Return |log2| of each image's amplitude over the median real one; 0 for a flat image."""
        return {
            name: np.mean([_away(real, synthetic) for real, synthetic in channels], axis=0)
            for name, channels in self._amplitudes(comparison).items()
        }

    def _amplitudes(self, comparison: Comparison) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
        """Return for each quantity and channel the amplitudes of the real and of the synthetic images, (N,) each."""
        real, synthetic = real_and_synthetic(comparison, self.against)
        for word, side in (("real", real), ("synthetic", synthetic)):
            for column in np.flatnonzero(~side.any(axis=0)):
                raise NotComputable(f"every {word} image is constant in channel {column // 2 + 1}: it has neither edges nor noise")
        columns = range(real.shape[1])
        return {
            name: [(real[:, c], synthetic[:, c]) for c in columns[first::2]] for first, name in enumerate(("sharpness_gap", "noise_gap"))
        }


def _typical(amplitudes: np.ndarray) -> float:
    """Return log2 of the median amplitude of the images that are not flat."""
    return float(np.log2(np.median(amplitudes[amplitudes > 0.0])))


def _away(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """Return (N_synthetic,) |log2| of the amplitude over the typical real one, 0 where the image is flat."""
    flat = synthetic == 0.0
    return np.where(flat, 0.0, np.abs(np.log2(np.where(flat, 1.0, synthetic)) - _typical(real)))


def laplacian_sd(channel: np.ndarray) -> float:
    """Return the standard deviation of the Laplacian, the sum of second differences along the axes, over a channel's interior."""
    axes = _long_axes(channel)
    laplacian = np.zeros([n - 2 if axis in axes else n for axis, n in enumerate(channel.shape)])
    for axis in axes:
        inside = [slice(1, -1) if other in axes and other != axis else slice(None) for other in range(channel.ndim)]
        laplacian += np.diff(channel[tuple(inside)].astype(np.float64), n=2, axis=axis)
    return float(laplacian.std())


def noise_level(channel: np.ndarray) -> float:
    """Return the standard deviation of white Gaussian noise in a channel (Immerkaer 1996), with the mask extended to 3D."""
    values = channel.astype(np.float64)
    axes = _long_axes(channel)
    for axis in axes:
        values = np.diff(values, n=2, axis=axis)
    return float(np.sqrt(np.pi / 2.0) * np.abs(values).mean() / np.sqrt(6.0 ** len(axes)))


def _long_axes(channel: np.ndarray) -> list[int]:
    return [axis for axis, n in enumerate(channel.shape) if n >= 3]
