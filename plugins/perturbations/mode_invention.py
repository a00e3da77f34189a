"""Tissue contrasts that do not exist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from harness.api import Context, FailureMode, ImageSet, Modality, NotComputable, Perturbation

from .lesions import with_pixels


class ModeInvention(Perturbation):
    """Invents a tissue contrast: middle intensities are raised and high ones lowered by the same factor, as no scanner would.

    The foreground of an image is split by percentiles of its channel mean into a middle class (grey matter in MRI, `middle`) and a
    bright one (white matter, `bright`). The first is multiplied by 1 + a, the second by 1 - a, where a = severity x
    `amplitude_at_full`; the field of factors is smoothed by a Gaussian of `smoothing_px` and scaled so that each channel keeps its
    foreground mean (before values are clipped to the intensity window). The background does not change. After Deo et al. 2025
    (factors of 0.05, 0.07, 0.1), who do not give the percentiles and smooth the picture after scaling; the field is smoothed here,
    so that the defect is not mixed with a blur.
    """

    name = "mode_invention"
    version = "1"
    failure_mode = FailureMode.MODE_INVENTION
    full_severity = "intensities between the 40th and 70th percentile raised by 10 %, those above lowered by 10 %"
    presets: ClassVar[Mapping[Modality, Mapping[str, Any]]] = {
        "mri": {
            "because": "grey matter 7 % brighter and white matter 7 % darker take away the contrast by which lesions are told from both"
        },
        "xray": {"because": "soft tissue 7 % brighter and bone 7 % darker is a contrast that no tube voltage gives"},
        "mammography": {"because": "breast density is read from the contrast of fatty and fibroglandular tissue, which falls by 13 %"},
        "ultrasound": {"because": "echogenicity is read against neighbouring tissue, and a contrast that falls by 13 % invents another"},
        "microscopy": {"because": "staining intensity is scored, and a contrast that falls by 13 % invents a stain that was never made"},
    }

    amplitude_at_full: float = Field(0.1, gt=0.0, lt=1.0, description="relative change of both classes at severity 1")
    middle: tuple[float, float] = Field((40.0, 70.0), description="percentiles of the foreground between which the raised class lies")
    bright: tuple[float, float] = Field((70.0, 100.0), description="percentiles of the foreground between which the lowered class lies")
    smoothing_px: float = Field(1.0, ge=0.0, description="standard deviation of the Gaussian that smooths the field of factors, in px")
    background: float = Field(0.05, ge=0.0, lt=1.0, description="pixels whose mean over the channels is at most this are background")
    doses: tuple[float, ...] = (0.5, 0.7, 1.0)
    dose_of_concern: float = 0.7
    because: str = "a contrast between tissues that falls by 13 % shows a tissue that no patient has"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.middle, self.bright
        if not 0.0 <= low[0] < low[1] <= high[0] < high[1] <= 100.0:
            raise ValueError(f"percentiles must rise within 0 to 100, middle before bright; got {low} and {high}")
        return self

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images with opposing factors of 1 +/- severity x amplitude_at_full; `NotComputable` where none has both classes."""
        if severity == 0.0:
            return images
        invented = np.array(images.images)
        changed = 0
        for row, picture in enumerate(images.images):
            foreground, raised, lowered = self._classes(picture.mean(axis=0))
            if not (raised.any() and lowered.any()):
                continue
            changed += 1
            factor = self._factor(raised, lowered, severity)[foreground]
            old = picture[:, foreground].astype(np.float64)
            new = old * factor
            level = new.mean(axis=1, keepdims=True)
            kept = old.mean(axis=1, keepdims=True) / np.where(level > 0.0, level, 1.0)
            invented[row][:, foreground] = np.clip(new * kept, 0.0, 1.0)
        if not changed:
            raise NotComputable(f"no image has both tissue classes: each foreground above {self.background:g} is empty or of one intensity")
        return with_pixels(images, invented)

    def _classes(self, level: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return foreground, middle and bright class, bool of the shape of the channel mean.

        Of many pixels of one intensity at a percentile, as in saturated images, the bright class gets all and the middle class none.
        """
        foreground = level > self.background
        if not foreground.any():
            return foreground, foreground, foreground
        cuts = np.percentile(level[foreground], [*self.middle, *self.bright])
        raised = foreground & (level > cuts[0]) & (level < cuts[1])
        lowered = foreground & (level >= cuts[2]) & (level <= cuts[3])
        return foreground, raised, lowered

    def _factor(self, raised: np.ndarray, lowered: np.ndarray, severity: float) -> np.ndarray:
        """Return the smoothed field of factors, float64."""
        from scipy.ndimage import gaussian_filter

        field = raised.astype(np.float64) - lowered
        return 1.0 + severity * self.amplitude_at_full * np.asarray(gaussian_filter(field, self.smoothing_px))
