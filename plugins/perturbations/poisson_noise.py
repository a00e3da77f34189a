"""Counting noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, Modality, Perturbation

from .planting import planted


class PoissonNoise(Perturbation):
    """Counts every pixel anew with few photons, as too low a dose or too short an exposure would.

    Intensity is taken as proportional to the expected count, with `photons_at_full` / severity^2 photons at the top of the window,
    so that the relative standard deviation grows in proportion with the severity: at intensity I it is
    severity / sqrt(I x photons_at_full). Counts are exact Poisson quantiles of one uniform field per seed, so that a higher dose is
    the same noise grown. Counts above the top of the window are clipped, as by a saturated detector. The display of most X-ray
    systems is not proportional to the counts; the law is then that of a detector that counts what is displayed.
    """

    name = "poisson_noise"
    version = "1"
    failure_mode = FailureMode.NOISE
    full_severity = "100 photons at the top of the intensity window, a relative noise SD of 10 % there (option photons_at_full)"
    presets: ClassVar[Mapping[Modality, Mapping[str, Any]]] = {
        "xray": {},
        "mammography": {
            "doses": (0.125, 0.25, 0.5),
            "dose_of_concern": 0.25,
            "because": (
                "with 1600 photons at full a calcification of 2 x 2 pixels must differ by 9 % from its mid-grey surround to reach "
                "the signal-to-noise ratio of 5 of Rose's criterion, so that faint microcalcifications vanish"
            ),
        },
        "microscopy": {
            "because": (
                "with 400 photons at full a structure at a tenth of the window is counted with 40 photons, a signal-to-noise ratio of "
                "6, where Rose's criterion asks for 5: dim structures can no longer be told from the background"
            )
        },
    }

    photons_at_full: float = Field(100.0, gt=0.0, description="photons counted at the top of the intensity window at severity 1")
    doses: tuple[float, ...] = (0.25, 0.5, 1.0)
    dose_of_concern: float = 0.5
    because: str = (
        "with 400 photons at full a detail of 4 x 4 pixels must differ by 9 % from its mid-grey surround to reach the signal-to-noise "
        "ratio of 5 of Rose's criterion, so that subtle nodules and fracture lines vanish in mottle"
    )

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images counted with photons_at_full / severity^2 photons at the top of the window."""
        if severity == 0.0:
            return images
        photons = self.photons_at_full / severity**2

        def counted(image: np.ndarray) -> np.ndarray:
            return poisson_quantiles(context.rng.random(image.shape), image * photons) / photons

        return planted(images, counted)


def poisson_quantiles(shares: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return the smallest count whose cumulative Poisson probability reaches each share; float64, any one shape.

    shares: in [0, 1), 0 is taken as the smallest positive share of a uniform generator. means: 0 or more. The expansion of the
    quantile in the normal one and the bound on its error are those of Giles (2016, algorithm 955); where they leave a doubt about
    the count, the probability itself decides.
    """
    from scipy import special

    shape = means.shape
    shares, means = np.maximum(shares, 2.0**-54).ravel(), np.asarray(means, dtype=np.float64).ravel()
    normal = special.ndtri(shares)
    root = np.sqrt(np.maximum(means, 1.0))
    quantiles = means + np.sqrt(means) * normal + (2.0 + normal**2) / 6.0 - (2.0 * normal + normal**3) / (72.0 * root)
    error = (1.0 / 40.0 + normal**2 / 80.0 + normal**4 / 160.0) / root**2
    counts = np.where(means > 0.0, np.maximum(np.floor(quantiles), 0.0), 0.0)
    doubtful = (np.floor(quantiles - error) != np.floor(quantiles + error)) | (means < 10.0) | (np.abs(normal) > 3.0)
    rows = np.flatnonzero(doubtful & (means > 0.0))
    counts[rows] = _corrected(counts[rows], shares[rows], means[rows])
    return counts.reshape(shape)


def _corrected(counts: np.ndarray, shares: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return the counts moved one by one until the cumulative probability of each, and not of the one below, reaches its share."""
    from scipy import special

    low = np.flatnonzero(special.pdtr(counts, means) < shares)
    raised = low
    while len(low):
        counts[low] += 1.0
        low = low[special.pdtr(counts[low], means[low]) < shares[low]]

    # Those just raised are right: the count below them was too low.
    high = np.setdiff1d(np.flatnonzero(counts > 0.0), raised)
    high = high[special.pdtr(counts[high] - 1.0, means[high]) >= shares[high]]
    while len(high):
        counts[high] -= 1.0
        high = high[counts[high] > 0.0]
        high = high[special.pdtr(counts[high] - 1.0, means[high]) >= shares[high]]
    return counts
