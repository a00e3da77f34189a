"""What a cell works with: the audit's components, the arrays of cells that have finished, and seeds. One per process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from . import datasets
from .cells import Cache, derive
from .checks import Parts
from .components import Context
from .images import Comparison, ImageSet
from .neighbours import MEMORY
from .scoring import Arms
from .specfile import SpecFile


def synthetic(run: int) -> str:
    """Return the role under which a cell names the synthetic images of a sampling run, counted from 0."""
    return f"synthetic {run}" if run else "synthetic"


@dataclass
class Bench:
    """The audit's components and the shelf of finished arrays, opened once per process and lent read-only.

    prints: the row of each training image by its fingerprint, by data cell.
    """

    file: SpecFile
    parts: Parts
    cache: Cache
    salt: bytes
    device: str = "cpu"
    memory: int = MEMORY
    prints: dict[str, dict[bytes, int]] = field(default_factory=dict, repr=False)
    _images: dict[tuple[str, str], ImageSet] = field(default_factory=dict, repr=False)
    _arms: dict[tuple[str, int], Arms] = field(default_factory=dict, repr=False)

    @cached_property
    def seed(self) -> int:
        """The audit's seed."""
        return self.file.spec.seed

    def images(self, key: str, role: str) -> ImageSet:
        """Return an image set that a cell left: train, validation, test or synthetic."""
        if (key, role) not in self._images:
            self._images[key, role] = datasets.open_saved(self.cache.folder(key) / role)
        return self._images[key, role]

    def label_names(self, key: str) -> tuple[str, ...]:
        """Return the names of the labels of the images that a cell read, in the order of their codes; empty where there are none."""
        text = (self.cache.folder(key) / "preprocessing.json").read_text(encoding="utf-8")
        return datasets.Preprocessing.from_json(text).label_names or ()

    def array(self, key: str, name: str) -> np.ndarray:
        """Return an array that a cell left, read-only."""
        return np.asarray(np.load(self.cache.folder(key) / f"{name}.npy", mmap_mode="r", allow_pickle=False))

    def arms(self, arguments: Mapping[str, Any], run: int = 0) -> Arms:
        """Return train, test and the synthetic images of a sampling run as a cell's arguments name them, and their resamples.

        They have features where the arguments name some.
        """
        samples: list[str] = arguments["samples"]
        keys = {"train": arguments["data"], "test": arguments["data"], "synthetic": samples[run]}
        features: dict[str, str] = arguments.get("features") or {}
        name = "|".join([arguments["data"], *samples, *features.values()])
        if (name, run) not in self._arms:
            sides = {role: self.images(key, role) for role, key in keys.items()}
            if features:
                roles = {"train": "train", "test": "test", "synthetic": synthetic(run)}
                sides = {role: side.with_features(self.array(features[roles[role]], "features")) for role, side in sides.items()}
            # The comparisons of one extractor at a time: their distance matrices are the largest thing in a worker.
            self._arms = {known: arms for known, arms in self._arms.items() if known[0] == name}
            comparison = Comparison(sides["train"], sides["test"], sides["synthetic"], self.memory // len(samples))
            size = self.file.spec.intervals
            self._arms[name, run] = Arms(comparison, size.half_samples, size.floor_splits, self.seed, run)
        return self._arms[name, run]

    def context(self, workdir: Path, *words: Any, fitted: str | None = None, unfinished: str | None = None) -> Context:
        """Return a context whose seed depends on the audit's seed and these words.

        fitted: the cell that fitted the component. unfinished: the cell itself, where a killed call goes on.
        """
        folder = self.cache.folder(fitted) / "fitted" if fitted else None
        checkpoints = self.cache.unfinished(unfinished) if unfinished else None
        return Context(derive(self.seed, *words), workdir, self.device, folder, checkpoints=checkpoints)
