"""Streaks of a faulty detector for the audit harness."""

from dataclasses import replace

import numpy as np

from harness.api import Context, FailureMode, ImageSet, Perturbation, hookimpl


class Streaks(Perturbation):
    """Brightens one row in eight of every image, as a faulty detector line does; which rows, is drawn for each image."""

    name = "streaks"
    version = "0.1"
    failure_mode = FailureMode.ARTEFACT
    full_severity = "one row in eight is brighter by a fifth of the intensity window"
    presets = {"xray": {}, "mammography": {"doses": (0.1, 0.25, 0.5), "dose_of_concern": 0.25}}
    because: str = "a streak through a lesion hides its edge"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        if severity == 0:
            return images
        rows = context.rng.random((len(images), images.size_px[-2])) < 1 / 8
        added = np.float32(severity / 5) * rows[:, None, :, None]
        return replace(images, images=np.clip(images.images + added, 0, 1), features=None, checked=False)


@hookimpl
def harness_perturbations() -> list[type[Perturbation]]:
    return [Streaks]
