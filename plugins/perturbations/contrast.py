"""Another grey scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, field_validator

from harness.api import Context, FailureMode, ImageSet, Modality, Perturbation

from .planting import planted


class Contrast(Perturbation):
    """Raises every intensity to a power, as a wrong grey-scale curve would: black and white stay, mid-tones shift.

    The exponent is `gamma_at_full` ** severity; above 1 mid-tones get darker, below 1 brighter.
    """

    name = "contrast"
    version = "1"
    failure_mode = FailureMode.DISTRIBUTION_SHIFT
    full_severity = "intensities are raised to the power of 2, mid-grey falls to a quarter of the window (option gamma_at_full)"
    presets: ClassVar[Mapping[Modality, Mapping[str, Any]]] = {
        "ultrasound": {
            "because": (
                "with an exponent of 1.4 mid-grey falls to 0.38 of the window and a tenth to 0.04: a solid mass of weak echoes looks "
                "like a cyst"
            )
        },
        "xray": {},
        "mammography": {
            "because": (
                "with an exponent of 1.4 mid-grey falls to 0.38 of the window: fibroglandular tissue looks less dense, and density is "
                "reported and decides on further examinations"
            )
        },
        "microscopy": {
            "because": (
                "with an exponent of 1.4 mid-grey falls to 0.38 of the window: staining looks stronger, or fluorescence weaker, than it "
                "is, and its intensity is scored"
            )
        },
    }

    gamma_at_full: float = Field(2.0, gt=0.0, description="exponent at severity 1")
    doses: tuple[float, ...] = (0.25, 0.5, 1.0)
    dose_of_concern: float = 0.5
    because: str = (
        "with an exponent of 1.4 mid-grey falls to 0.38 of the window, as under a wrong look-up table: lungs look emptier and bones "
        "thinner than they are"
    )

    @field_validator("gamma_at_full")
    @classmethod
    def _changes_something(cls, value: float) -> float:
        if value == 1.0:
            raise ValueError("an exponent of 1 changes nothing")
        return value

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images raised to the power gamma_at_full ** severity."""
        if severity == 0.0:
            return images
        exponent = np.float32(self.gamma_at_full**severity)
        return planted(images, lambda image: image**exponent)
