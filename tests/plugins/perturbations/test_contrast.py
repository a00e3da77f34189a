"""Facts about contrast."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.api import Context, ImageSet
from harness_plugins.perturbations.contrast import Contrast

GREYS = np.array([0.0, 0.1, 0.25, 0.5, 1.0], dtype=np.float32)


def remapped(severity: float, folder: Path, gamma_at_full: float = 2.0) -> np.ndarray:
    """What becomes of five grey levels."""
    images = ImageSet(GREYS[None, None, None, :], ("a",), (1.0, 1.0))
    changed = Contrast(gamma_at_full=gamma_at_full).apply(images, images, severity, Context(seed=0, workdir=folder))
    return changed.images[0, 0, 0]


def test_known_grey_levels(tmp_path: Path) -> None:
    """A gamma of 2 squares, one of a half takes the root; black and white stay."""
    np.testing.assert_allclose(remapped(1.0, tmp_path), [0.0, 0.01, 0.0625, 0.25, 1.0], rtol=1e-6)
    np.testing.assert_allclose(remapped(1.0, tmp_path, 0.5), np.sqrt(GREYS), rtol=1e-6)


def test_exponent_grows_geometrically(tmp_path: Path) -> None:
    """Half the severity, done twice, is the whole; so the exponent is gamma_at_full ** severity."""
    once = remapped(0.5, tmp_path, 3.0)
    np.testing.assert_allclose(once ** np.sqrt(3.0), remapped(1.0, tmp_path, 3.0), rtol=1e-5)


def test_numbers_in_the_reasons(tmp_path: Path) -> None:
    """At the dose of concern mid-grey falls to 0.38 of the window and a tenth to 0.04."""
    levels = remapped(Contrast().dose_of_concern, tmp_path)
    assert levels[3] == pytest.approx(0.38, abs=0.005)
    assert levels[1] == pytest.approx(0.04, abs=0.005)


@pytest.mark.parametrize(("gamma", "message"), [(1.0, "an exponent of 1 changes nothing"), (0.0, "greater than 0")])
def test_options_are_checked(gamma: float, message: str) -> None:
    """An exponent that changes nothing, or is not positive, is refused."""
    with pytest.raises(ValueError, match=message):
        Contrast(gamma_at_full=gamma)
