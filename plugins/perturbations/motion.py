"""Movement of the patient during the acquisition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, Modality, NotComputable, Perturbation

from .fourier import along, frequencies, lines_along, magnitude, to_k_space
from .planting import planted


class Motion(Perturbation):
    """Assembles the k-space of every image from rigidly translated positions, as if the patient had moved during the acquisition.

    Phase-encoding lines are acquired one after the other from the lowest to the highest frequency along `axis`. At `moves` random
    times the object jumps to a random position; where it lies while the centre of k-space is acquired counts as its true place, and
    the position farthest from there is severity x `amplitude_at_full` pixels away. The phase errors that follow (Shaw et al. 2019)
    smear edges and repeat them along `axis`, wrapping round the field of view; the result is the magnitude image. Volumes are
    taken as one acquisition in three dimensions, all channels as acquired together.
    """

    name = "motion"
    version = "1"
    failure_mode = FailureMode.ARTEFACT
    full_severity = "the object moves by up to 4 px during the acquisition (option amplitude_at_full)"
    presets: ClassVar[Mapping[Modality, Mapping[str, Any]]] = {"mri": {}}

    amplitude_at_full: float = Field(4.0, gt=0.0, description="distance of the farthest position from the true place in px at severity 1")
    moves: int = Field(4, ge=1, description="number of times that the object moves during the acquisition")
    axis: int = Field(-2, ge=-3, le=-1, description="phase-encoding axis, counted from the last: -1 columns, -2 rows, -3 slices")
    doses: tuple[float, ...] = (0.25, 0.5, 1.0)
    dose_of_concern: float = 0.5
    because: str = (
        "a movement of 2 px repeats the edges of the anatomy across tissue that is normal, where the ghosts imitate lesions or hide them"
    )

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images with the artefacts of movements of up to severity x amplitude_at_full pixels."""
        if severity == 0.0:
            return images
        lines = lines_along(self.axis, images.size_px)
        if lines <= self.moves:
            raise NotComputable(f"{self.moves} moves need at least {self.moves + 1} phase-encoding lines, got {lines}")
        amplitude = severity * self.amplitude_at_full

        def disturbed(image: np.ndarray) -> np.ndarray:
            return moved(image, amplitude * self._path(lines, image.ndim - 1, context.rng), self.axis)

        return planted(images, disturbed)

    def _path(self, lines: int, dimensions: int, rng: np.random.Generator) -> np.ndarray:
        """Return the position while each line is acquired, (lines, dimensions), in acquisition order; the farthest is at distance 1."""
        times = rng.permutation(lines - 1)[: self.moves] + 1
        segment = np.searchsorted(np.sort(times), np.arange(lines), side="right")
        places = rng.standard_normal((self.moves + 1, dimensions))
        path = (places - places[segment[lines // 2]])[segment]
        return path / np.linalg.norm(path, axis=1).max()


def moved(image: np.ndarray, path: np.ndarray, axis: int) -> np.ndarray:
    """Return the magnitude of an image (C, ...) that is translated while its lines along `axis` (counted from -1) are acquired.

    path: (lines, spatial axes), displacement in px along each spatial axis while each line is acquired; lines in rising order of
    frequency, the centre of k-space at lines // 2.
    """
    size_px = image.shape[1:]
    acquired = np.fft.ifftshift(path, axes=0)
    turns = np.zeros((1,) * len(size_px))
    for spatial, size in enumerate(size_px):
        shifts = along(acquired[:, spatial], axis)
        turns = turns + shifts * along(frequencies(size) / size, spatial - len(size_px))
    return magnitude(to_k_space(image) * np.exp(-2j * np.pi * turns).astype(np.complex64))
