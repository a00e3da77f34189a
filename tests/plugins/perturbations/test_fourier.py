"""Facts about k-space and its lines."""

from __future__ import annotations

import numpy as np
import pytest

from harness.api import NotComputable
from harness_plugins.perturbations.fourier import along, frequencies, lines_along, magnitude, to_k_space


@pytest.mark.parametrize("size", [(6, 5), (3, 4, 5)])
def test_there_and_back(size: tuple[int, ...]) -> None:
    """The magnitude image of the k-space of an image is the image; single precision stays single."""
    image = np.random.default_rng(0).random((2, *size), dtype=np.float32)
    k_space = to_k_space(image)
    np.testing.assert_allclose(k_space[1], np.fft.fftn(image[1]), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(magnitude(k_space), image, atol=1e-6)
    assert k_space.dtype == np.complex64


def test_frequencies_are_whole_cycles() -> None:
    """Frequencies are whole cycles per field of view, zero first, the negative ones last."""
    assert frequencies(5).tolist() == [0, 1, 2, -2, -1]
    assert frequencies(4).tolist() == [0, 1, -2, -1]


@pytest.mark.parametrize("axis", [-1, -2, -3])
def test_lines_lie_along_their_axis(axis: int) -> None:
    """A value per line is multiplied with the images along the axis that is named, counted from the last."""
    image = np.ones((2, 3, 4, 5))
    scaled = image * along(np.arange(image.shape[axis]), axis)
    np.testing.assert_array_equal(np.moveaxis(scaled, axis, -1)[0, 0, 0], np.arange(image.shape[axis]))
    assert lines_along(axis, (3, 4, 5)) == image.shape[axis]


def test_pictures_have_no_slices() -> None:
    """An axis that 2D images do not have is refused."""
    with pytest.raises(NotComputable, match="axis -3 counts one spatial axis more than images of"):
        lines_along(-3, (4, 5))
