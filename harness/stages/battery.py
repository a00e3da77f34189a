"""Plants defects in real images: the same split and the same defect for every metric, so that metrics compare."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..bench import Bench
from ..cells import derive
from ..checks import Part
from ..components import Context, Perturbation
from ..errors import PluginError
from ..images import ImageSet
from ..resampling import halves


def split_seed(bench: Bench, fault: int) -> int:
    """Return the seed of the anchor-probe split that belongs to a fault seed."""
    return derive(bench.seed, "anchor and probe", fault)


def planted(bench: Bench, data: str, part: Part, dose: float, fault: int, workdir: Path) -> ImageSet:
    """Return the probe with the defect at `dose`; the anchor is what a copying generator would copy."""
    defect = part.component
    assert isinstance(defect, Perturbation)
    train = bench.images(data, "train")
    anchor, probe = halves(train.units, split_seed(bench, fault))
    # The same seed at every dose: a higher dose is then more of the same defect, not another draw.
    seed = derive(bench.seed, part.name, part.offer.version, fault)
    clean = train.take(probe)
    images = defect.apply(clean, train.take(anchor), dose, Context(seed, workdir, bench.device))
    if not isinstance(images, ImageSet) or not 0 < len(images) <= len(clean):
        raise PluginError(
            f"{part.name} returned {len(images) if isinstance(images, ImageSet) else type(images).__name__} for {len(clean)} images"
        )
    known = set(clean.ids)
    if not set(images.ids) <= known:
        raise PluginError(f"{part.name} changed the ids of the images")
    slots = {name: row for row, name in enumerate(clean.ids)}
    patients = None if clean.patients is None else tuple(clean.patients[slots[name]] for name in images.ids)
    return replace(images, patients=patients, origin="synthetic", checked=False)
