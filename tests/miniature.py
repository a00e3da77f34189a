"""A bench of one-pixel images, on which stages run without files, workers or a store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from harness.cells import Cache, Cell, Result
from harness.components import Context, Extractor, FailureMode, Metric, Perturbation
from harness.errors import NotComputable
from harness.images import Comparison, ImageSet
from harness.quantities import Quantity, Record

OFFER = SimpleNamespace(version="1", promises=())


def real(patients: int, each: int = 1, seed: int = 0) -> ImageSet:
    """Images of four pixels, dark to mid-grey, `each` of every patient."""
    rng = np.random.default_rng(seed)
    n = patients * each
    return ImageSet(
        rng.random((n, 1, 2, 2), dtype=np.float32) / 2, tuple(f"i{k}" for k in range(n)), (1.0, 1.0),
        labels=np.arange(n, dtype=np.int64) % 2, patients=tuple(f"p{k // each}" for k in range(n)),
    )  # fmt: skip


class Level(Metric):
    """Mean brightness of the synthetic images, from the images themselves."""

    name = "level"
    version = "1"
    quantities = (Quantity(name="mean", better="lower"),)

    def measure(self, comparison: Comparison, context: Context) -> Mapping[str, float]:
        """Return the mean."""
        return {"mean": float(comparison.synthetic.images.mean(dtype=np.float64))}


class OnNumbers(Metric):
    """Mean of the synthetic features, and a number that it never has."""

    name = "on_numbers"
    version = "1"
    needs = frozenset({"features"})
    quantities = (Quantity(name="mean", better="lower"), Quantity(name="none", better="lower"))

    def measure(self, comparison: Comparison, context: Context) -> Mapping[str, float | NotComputable]:
        """Return the mean, and why there is no second number."""
        return {"mean": float(comparison.features("synthetic").mean()), "none": NotComputable("there never is")}


class Breaks(Metric):
    """Raises where it is asked."""

    name = "breaks"
    version = "1"
    needs = frozenset({"features"})
    quantities = (Quantity(name="nothing", better="lower"),)

    def measure(self, comparison: Comparison, context: Context) -> Mapping[str, float]:
        """Fail as a stranger's code may."""
        raise KeyError("a mistake")


class Means(Extractor):
    """The mean of each image."""

    name = "means"
    version = "1"

    def extract(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return the means."""
        return np.asarray(images.images.mean(axis=(2, 3)), dtype=np.float32)


class Brighter(Perturbation):
    """Brightens a share of the images by a quarter of the window at severity 1."""

    name = "brighter"
    version = "1"
    failure_mode = FailureMode.NOISE
    full_severity = "a quarter of the window"
    because: str = "for the test"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Brighten every image."""
        from dataclasses import replace

        return replace(images, images=np.minimum(images.images + np.float32(severity / 4), 1), features=None, checked=False)


class Shrink(Brighter):
    """Loses half of the images and brightens the rest."""

    name = "shrink"
    failure_mode = FailureMode.MODE_COLLAPSE

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return every other image, brighter."""
        return super().apply(images.take(np.arange(0, len(images), 2)), train, severity, context)


class Control(Brighter):
    """Brightens too, and is called harmless."""

    name = "control"
    failure_mode = FailureMode.HARMLESS
    doses: tuple[float, ...] = (1.0,)
    dose_of_concern: float = 1.0


def part(component: Any) -> Any:
    """A component as an audit knows it."""
    return SimpleNamespace(name=component.name, component=component, offer=OFFER, identity={"name": component.name})


@dataclass
class Miniature:
    """Runs cells of the battery on one set of training and test images."""

    folder: Path
    train: ImageSet
    metrics: tuple[Any, ...] = ()
    perturbations: tuple[Any, ...] = ()
    extractors: tuple[Any, ...] = (Means(),)
    tasks: tuple[Any, ...] = ()
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        parts = {name: [part(c) for c in getattr(self, name)] for name in ("metrics", "perturbations", "extractors", "tasks")}
        self.cache = Cache(self.folder)
        spec = SimpleNamespace(data=SimpleNamespace(validation=None))
        self.bench: Any = SimpleNamespace(
            seed=5, device="cpu", memory=1 << 28, parts=SimpleNamespace(**parts), cache=self.cache, prints={},
            images=self._images, array=lambda key, name: np.load(self.cache.folder(key) / f"{name}.npy"), context=self._context,
            file=SimpleNamespace(spec=spec),
        )  # fmt: skip

    def _images(self, key: str, role: str) -> ImageSet:
        self.asked.append(role)
        return self.train if role == "train" else real(20, seed=9)

    def _context(self, workdir: Path, *words: Any, fitted: str | None = None) -> Context:
        return Context(1, workdir, fitted=self.cache.folder(fitted) / "fitted" if fitted else None)

    def run(self, function: Callable[..., Iterator[Record]], key: str, **arguments: Any) -> list[Record]:
        """Run one cell, keep it under its key, and return its rows; a cell that cannot be computed is kept as such."""
        cell: Any = SimpleNamespace(key=key, arguments=arguments, function="", component="")
        workspace = self.cache.workspace(key)
        try:
            rows = list(function(self.bench, cell, workspace))
        except NotComputable as error:
            self.cache.keep(key, workspace, Result("not_computable", reason=str(error)))
            raise
        self.cache.keep(key, workspace, Result("ok"))
        return rows

    def embed(self) -> None:
        """Keep the features of train and test under the keys `f-train` and `f-test`."""
        for role in ("train", "test"):
            workspace = self.cache.workspace(f"f-{role}")
            images = self._images("data", role)
            np.save(workspace / "features.npy", Means().extract(images, Context(0, workspace)))
            self.cache.keep(f"f-{role}", workspace, Result("ok"))


def cell(**values: Any) -> Cell:
    """A cell with these arguments."""
    return Cell("c", "qualify", "", "", "", json.loads(json.dumps(values)))
