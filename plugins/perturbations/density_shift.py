"""One scanner, site or other group becomes dominant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from harness.api import Context, FailureMode, ImageSet, Modality, NotComputable, Perturbation


class DensityShift(Perturbation):
    """Makes the images of one group (a scanner, a site ...) dominant by dropping images of the others.

    If the group's share is p, at severity s it becomes p + s (1 - p), as nearly as whole images allow. From 50 : 50 the severities
    0.5 and 0.8 give 75 : 25 and 90 : 10; with `towards` the other group they give the other two settings of Deo et al. 2025. The
    images left are untouched: fewer come back than went in.
    """

    name = "density_shift"
    version = "1"
    needs = frozenset({"groups"})
    failure_mode = FailureMode.DISTRIBUTION_SHIFT
    full_severity = "all images are of one group"
    presets: ClassVar[Mapping[Modality, Mapping[str, Any]]] = {
        "ultrasound": {"because": "speckle and gain differ between machines, and with their share halved the others count half as much"},
        "mri": {"because": "field strength and coil change contrast and noise, and with their share halved the others count half as much"},
        "xray": {"because": "portable and fixed units see different patients, and with their share halved the others count half as much"},
        "mammography": {"because": "vendors process contrast differently, and with their share halved the others count half as much"},
        "microscopy": {"because": "laboratories differ in stain and scanner, and with their share halved the others count half as much"},
    }

    by: str | None = Field(None, description="name of the group, such as scanner; may be left out where there is only one")
    towards: str | None = Field(None, description="value to become dominant; by default the most frequent, of equals the first by name")
    doses: tuple[float, ...] = (0.2, 0.5, 0.8)
    dose_of_concern: float = 0.5
    because: str = "patients examined elsewhere count half as much as they should, and differ in machine, protocol and disease"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return the images that are kept."""
        if severity == 0.0:
            return images
        name, values = self._group(images)
        dominant = values == self._dominant(name, values)
        inside, outside = int(dominant.sum()), int((~dominant).sum())
        share = inside / len(images)
        target = share + severity * (1.0 - share)
        dropped = outside - round(inside * (1.0 - target) / target)
        if dropped == 0:
            return images
        order = context.rng.permutation(np.flatnonzero(~dominant))
        kept = np.ones(len(images), dtype=bool)
        kept[order[:dropped]] = False
        return images.take(kept)

    def _group(self, images: ImageSet) -> tuple[str, np.ndarray]:
        """Return the name of the group and its values as words, (N,)."""
        groups = images.groups or {}
        if not groups:
            raise NotComputable("a shift between groups needs groups, and the images have none")
        if self.by is None and len(groups) > 1:
            raise NotComputable(f"there are several groups ({', '.join(sorted(groups))}): say `by` which one the shift is")
        name = next(iter(groups)) if self.by is None else self.by
        if name not in groups:
            raise NotComputable(f"there is no group {name!r}, only {', '.join(sorted(groups))}")
        return name, groups[name].astype(str)

    def _dominant(self, name: str, values: np.ndarray) -> str:
        """Return the value that becomes dominant."""
        found, sizes = np.unique(values, return_counts=True)
        if len(found) < 2:
            raise NotComputable(f"all images have the {name} {str(found[0])!r}, so its share cannot grow")
        if self.towards is None:
            return str(found[sizes.argmax()])
        if self.towards not in found:
            raise NotComputable(f"no image has the {name} {self.towards!r}, only {', '.join(found)}")
        return self.towards
