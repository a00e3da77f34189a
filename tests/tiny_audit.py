"""A small audit on disk that a test can bend: phantoms, a model.yaml, and what a run of it left."""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from harness import specfile
from harness.api import hookimpl
from harness.checks import Parts, assemble
from harness.components import Component
from harness.hookspecs import HOOKS
from harness.host import Host
from harness.phantoms import phantoms, write_phantoms
from harness.run import Audit, Settings

MODEL: dict[str, Any] = {
    "audit": "tiny",
    "seed": 7,
    "data": {
        "train": "train", "test": "test", "labels": "folder", "patients": {"pattern": r"P\d+"},
        "groups": {"probe": {"pattern": "(linear|convex)"}}, "masks": {"suffix": "_mask"}, "window": [0, 255],
    },
    "generator": {"folder": {"path": "synthetic"}},
    "samples": 60,
    "extractors": ["pixels"],
    "metrics": ["frechet", "manifold", "memorisation"],
    "strata": [],
    "perturbations": ["gaussian_noise"],
    "battery": {"replicates": 6, "null_splits": 24, "fault_seeds": 1},
    "intervals": {"half_samples": 10, "floor_splits": 4},
    "purposes": {
        "augment": {
            "context_of_use": "adds to real images",
            "uses_model": False,
            "criteria": [
                {"id": "C1", "claim": "Training images are not reproduced", "quantity": "memorisation.copied_share", "at_most": 0.2,
                 "failure_modes": ["noise"], "because": "a test", "one_kind_because": "a test"},
            ],
        },
    },
}  # fmt: skip


@dataclass
class Project:
    """A folder with train, test and synthetic phantoms and a model.yaml."""

    folder: Path

    @property
    def model(self) -> Path:
        """The model.yaml."""
        return self.folder / "model.yaml"

    def write(self, **changes: Any) -> Path:
        """Write model.yaml with these top-level keys replaced (None = left out)."""
        body = {k: v for k, v in (copy.deepcopy(MODEL) | changes).items() if v is not None}
        with self.model.open("w", encoding="utf-8") as stream:
            YAML(typ="safe", pure=True).dump(body, stream)
        return self.model

    def parts(self, host: Host | None = None) -> Parts:
        """Return the audit's components."""
        return assemble(specfile.read(self.model), host or Host.discover())

    def audit(self, host: Host | None = None, *, store: str = "results.duckdb", cache: str = "cache", **settings: Any) -> Audit:
        """Return an attempt that runs in this process."""
        file = specfile.read(self.model)
        defaults = {"workers": 0} | settings
        return Audit(file, assemble(file, host or Host.discover()), Settings(self.folder / store, self.folder / cache, **defaults))


def host_with(*components: type[Component]) -> Host:
    """Return the installed host with these components from a stranger."""

    def offering(kind: type[Component]) -> Any:
        return staticmethod(hookimpl(lambda: [component for component in components if issubclass(component, kind)]))

    host = Host.discover()
    host.register(type("Plugin", (), {name: offering(kind) for name, kind in HOOKS.items()})(), "main", "a-stranger")
    return host


def make_images(folder: Path) -> None:
    """Write the phantoms of a small project: 24 training, 12 test patients, 60 synthetic images of other patients."""
    write_phantoms(folder / "train", phantoms(96, seed=1, size=32, patients=24))
    write_phantoms(folder / "test", phantoms(36, seed=2, size=32, patients=12, first_patient=101))
    write_phantoms(folder / "synthetic", phantoms(60, seed=3, size=32, patients=60, first_patient=201))


def copy_project(made: Path, folder: Path) -> Project:
    """Return a project of its own with the same images."""
    shutil.copytree(made, folder, dirs_exist_ok=True)
    project = Project(folder)
    project.write()
    return project
