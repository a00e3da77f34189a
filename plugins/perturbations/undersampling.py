"""Too few phase-encoding lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from harness.api import Context, FailureMode, ImageSet, Modality, Perturbation

from .fourier import along, frequencies, lines_along, magnitude, to_k_space
from .planting import planted


class Undersampling(Perturbation):
    """Leaves out random phase-encoding lines of the k-space of every image and fills them with zeros, as an accelerated scan would.

    Of all lines along `axis` one in 1 + severity x (`acceleration_at_full` - 1) is kept: the central ones, `centre_share` of all
    lines, and others at random, as in the fastMRI challenge (Zbontar et al. 2018); the magnitude image is returned. Each image has
    lines of its own, a higher dose keeps a part of those that a lower one keeps, and at least the central ones are kept.
    """

    name = "undersampling"
    version = "1"
    failure_mode = FailureMode.ARTEFACT
    full_severity = "4-fold acceleration with 8 % of the lines in the centre, zero-filled (options acceleration_at_full, centre_share)"
    presets: ClassVar[Mapping[Modality, Mapping[str, Any]]] = {"mri": {}}

    acceleration_at_full: float = Field(4.0, gt=1.0, description="number of lines per line that is kept at severity 1")
    centre_share: float = Field(0.08, gt=0.0, lt=1.0, description="share of the lines that are always kept, in the centre of k-space")
    axis: int = Field(-2, ge=-3, le=-1, description="phase-encoding axis, counted from the last: -1 columns, -2 rows, -3 slices")
    doses: tuple[float, ...] = (0.125, 0.25, 0.5)
    dose_of_concern: float = 0.25
    because: str = (
        "with three lines in seven missing, incoherent aliasing spreads over the whole image along one axis and hides lesions of low "
        "contrast"
    )

    @model_validator(mode="after")
    def _room_for_random_lines(self) -> Self:
        if self.centre_share * self.acceleration_at_full >= 1.0:
            raise ValueError(f"centre_share {self.centre_share} leaves no lines to choose at {self.acceleration_at_full}-fold acceleration")
        return self

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images from one k-space line in 1 + severity x (acceleration_at_full - 1)."""
        if severity == 0.0:
            return images
        lines = lines_along(self.axis, images.size_px)
        acceleration = 1.0 + severity * (self.acceleration_at_full - 1.0)

        def aliased(image: np.ndarray) -> np.ndarray:
            kept = chosen_lines(lines, acceleration, self.centre_share, context.rng)
            return magnitude(to_k_space(image) * along(kept, self.axis))

        return planted(images, aliased)


def chosen_lines(lines: int, acceleration: float, centre_share: float, rng: np.random.Generator) -> np.ndarray:
    """Return which lines of k-space are acquired, (lines,) bool, zero frequency first.

    The central ones come first in an order that is otherwise random, and the first lines / acceleration are taken, so that the
    lines at a higher acceleration are among those at a lower one.
    """
    random = rng.permutation(lines)
    centre = max(1, round(centre_share * lines))
    # Nearest to the centre first; of two lines at one distance the one of positive frequency.
    central = np.argsort(2 * np.abs(frequencies(lines)) - (frequencies(lines) > 0))[:centre]
    order = np.concatenate([central, random[~np.isin(random, central)]])
    kept = np.zeros(lines, dtype=bool)
    kept[order[: max(centre, round(lines / acceleration))]] = True
    return kept
