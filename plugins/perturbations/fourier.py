"""The k-space of images, and the lines in which a scanner acquires it."""

from __future__ import annotations

import numpy as np

from harness.api import NotComputable


def to_k_space(image: np.ndarray) -> np.ndarray:
    """Return the discrete Fourier transform over the spatial axes of an image (C, ...), complex, zero frequency first."""
    import scipy.fft

    transformed: np.ndarray = scipy.fft.fftn(image, axes=range(1, image.ndim))
    return transformed


def magnitude(k_space: np.ndarray) -> np.ndarray:
    """Return the magnitude image of a k-space (C, ...), as scanners do; real, of the same shape."""
    import scipy.fft

    return np.abs(scipy.fft.ifftn(k_space, axes=range(1, k_space.ndim)))


def frequencies(lines: int) -> np.ndarray:
    """Return the frequency of each line in cycles per field of view, (lines,) int64, in the order of `to_k_space`."""
    return np.rint(np.fft.fftfreq(lines) * lines).astype(np.int64)


def along(values: np.ndarray, axis: int) -> np.ndarray:
    """Return one value per line, (lines,), shaped to be multiplied with images along `axis`, which counts from -1, the last."""
    return values.reshape(-1, *(1,) * (-axis - 1))


def lines_along(axis: int, size_px: tuple[int, ...]) -> int:
    """Return how many lines there are along `axis`, which counts from -1, the last; `NotComputable` without such an axis."""
    if -axis > len(size_px):
        raise NotComputable(f"axis {axis} counts one spatial axis more than images of {size_px} pixels have")
    return size_px[axis]
