"""Lesions larger or smaller than their masks."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, Perturbation

from .lesions import Unit, box_round, in_pixels, lesion_of, rows_with_lesion, signed_distance, steps, with_pixels
from .presets import everywhere

_STEP_PX = 0.5


class BoundaryDisplacement(Perturbation):
    """Moves the lesion's edge outwards or inwards by a smooth warp of the image around it.

    The edge moves by severity x `displacement_at_full` along its normal. The warp is the flow along the gradient of the distance from
    the edge: of full speed within the displacement of the edge, it dies away over a further `reach` on both sides and at the
    middle of the lesion, so that nothing folds and no lesion vanishes, however thin; nothing farther from the edge changes. Pixels
    are interpolated linearly. By default the mask stays where it was, so that image and mask no longer agree; with `mask: moved` all
    its regions follow the warp, so that they agree on a lesion of the wrong size.
    """

    name = "boundary_displacement"
    version = "1"
    needs = frozenset({"masks"})
    failure_mode = FailureMode.LOCAL_MORPHOLOGY
    full_severity = "the lesion's edge moved by 4 px"
    presets = everywhere(
        microscopy="a nucleus 20 px across grows by a fifth with 2 px at each edge, and nuclear size is part of the grade",
    )

    displacement_at_full: float = Field(4.0, gt=0.0, description="how far the edge moves at severity 1, in `unit`")
    direction: Literal["outwards", "inwards"] = Field("outwards", description="whether the lesion grows or shrinks")
    reach: float = Field(6.0, gt=0.0, description="over what distance beyond the displacement the warp dies away, in `unit`")
    unit: Unit = Field("px", description="unit of displacement_at_full and reach")
    mask: Literal["kept", "moved"] = Field("kept", description="whether the mask stays as it was or follows the warp")
    region: int | None = Field(None, ge=1, le=255, description="region number of the mask that is the lesion; all regions where left out")
    doses: tuple[float, ...] = (0.25, 0.5, 1.0)
    dose_of_concern: float = 0.5
    because: str = "a lesion 20 px across grows by a fifth with 2 px at each edge, a change that RECIST 1.1 counts as progression"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images with edges moved by severity x displacement_at_full; `NotComputable` where no lesion has an edge."""
        if severity == 0.0:
            return images
        from scipy.ndimage import map_coordinates

        rows = rows_with_lesion(images, self.region)
        step, shift = steps(images, self.unit), severity * self.displacement_at_full
        margin = in_pixels(shift + self.reach, step)
        moved = np.array(images.images)
        assert images.masks is not None
        masks = np.array(images.masks) if self.mask == "moved" else None
        for row in rows:
            lesion = lesion_of(images, row, self.region)
            box = box_round(lesion, margin)
            origin, touched = self._origin(lesion[box], shift, step)
            for channel in range(moved.shape[1]):
                new = map_coordinates(images.images[(row, channel, *box)], origin, order=1, mode="nearest")
                moved[(row, channel, *box)][touched] = np.clip(new, 0.0, 1.0)
            if masks is not None:
                masks[(row, *box)][touched] = map_coordinates(images.masks[(row, *box)], origin, order=0, mode="nearest")
        return with_pixels(images, moved, masks)

    def _origin(self, lesion: np.ndarray, shift: float, step: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Return where the moved pixels come from, (axes, P) in px, and which they are, bool of the lesion's shape."""
        from scipy.ndimage import map_coordinates

        velocity = self._velocity(lesion, shift, step)
        touched = np.asarray((velocity != 0.0).any(axis=0))
        place = np.stack(np.nonzero(touched)).astype(np.float64)
        times = max(1, math.ceil(shift / min(step) / _STEP_PX))
        for _ in range(times):
            flow = [map_coordinates(part, place, order=1, mode="nearest") for part in velocity]
            place -= np.stack(flow) / times
        return place, touched

    def _velocity(self, lesion: np.ndarray, shift: float, step: tuple[float, ...]) -> np.ndarray:
        """Return the velocity of the flow that moves the edge within a time of 1, (axes, ...) in px."""
        from scipy.ndimage import gaussian_filter

        distance = signed_distance(lesion, step)
        smooth = np.asarray(gaussian_filter(distance, 1.0, mode="nearest"))
        slopes = [np.gradient(smooth, s, axis=a) if smooth.shape[a] > 1 else np.zeros_like(smooth) for a, s in enumerate(step)]
        outward = -np.stack(slopes)
        outward /= np.maximum(np.sqrt((outward**2).sum(axis=0)), 1.0)
        beyond = np.clip((np.abs(distance) - shift) / self.reach, 0.0, 1.0)
        speed = shift * 0.5 * (1.0 + np.cos(np.pi * beyond))
        sign = 1.0 if self.direction == "outwards" else -1.0
        return sign * speed * np.where(beyond < 1.0, outward, 0.0) / np.array(step).reshape(-1, *(1,) * lesion.ndim)
