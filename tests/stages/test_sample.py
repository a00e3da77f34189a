"""Images that arms should not share are found, and the layout of synthetic files is what can hold for them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from harness.api import Context, Generator, ImageSet, Request
from harness.host import Host
from harness.records import FindingRow, ImageSetRow, ScoreRow
from harness.spec import DataSpec
from harness.stages.sample import synthetic_layout
from harness.store import Store
from tiny_audit import MODEL, Project, host_with

BARE: dict[str, Any] = {"metrics": ["frechet"], "perturbations": None, "purposes": {"p": {"context_of_use": "c", "uses_model": False}}}


def pictures(folder: Path) -> list[Path]:
    """Return the images of an arm without their masks."""
    return sorted(p for p in folder.rglob("*.png") if not p.stem.endswith("_mask"))


def findings(project: Project, host: Host | None = None, **changes: Any) -> set[tuple[str, str, str]]:
    """Return severity, kind and the beginning of every finding about shared images."""
    project.write(**(BARE | changes))
    audit_id = project.audit(host).run()
    rows = Store(project.folder / "results.duckdb").current(FindingRow, audit_id)
    return {(f.severity, f.kind, f.text.split(" share")[0]) for f in rows if "overlap" in f.kind or "identical" in f.kind}


def table(project: Project) -> None:
    """Write what paths of the real images say into a table."""
    with (project.folder / "table.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "class", "who", "probe", "bright"])
        for arm in ("train", "test"):
            for k, path in enumerate(pictures(project.folder / arm)):
                probe = "linear" if "linear" in path.name else "convex"
                writer.writerow([path.name, path.parent.name, path.name[:4], probe, k % 2])


def test_rules_that_a_table_answers_do_not_break_the_synthetic_arm(project: Project) -> None:
    """With labels, patients, groups and concepts from a table, a synthetic folder without one is read and measured."""
    table(project)
    data = MODEL["data"] | {
        "csv": {"path": "table.csv"}, "labels": {"column": "class"}, "patients": {"column": "who"},
        "groups": {"probe": {"column": "probe"}}, "concepts": ["bright"],
    }  # fmt: skip
    project.write(**(BARE | {"data": data}))
    audit_id = project.audit().run()
    store = Store(project.folder / "results.duckdb")

    sets = {row.role: row for row in store.current(ImageSetRow, audit_id)}
    assert (len(sets["train"].labels), sets["synthetic"].labels, sets["synthetic"].has_masks) == (2, {}, True)
    scores = store.current(ScoreRow, audit_id, component="frechet")
    assert scores
    assert all(score.status == "ok" for score in scores)
    assert b"P001" not in (project.folder / "results.duckdb").read_bytes()


def test_the_layout_keeps_what_paths_say(tmp_path: Path) -> None:
    """Folders, patterns and suffixes stay; a folder of masks stays where the synthetic images have one of their own."""
    (tmp_path / "masks").mkdir()
    data = DataSpec.model_validate(
        {"train": "a", "test": "b", "files": "**/*.png", "labels": "folder", "patients": {"header": "PatientID"},
         "groups": {"probe": {"pattern": "x"}, "site": {"header": "InstitutionName"}}, "masks": {"folder": "masks"}}
    )  # fmt: skip
    kept, without = synthetic_layout(data, tmp_path), synthetic_layout(data, tmp_path / "masks")
    elsewhere = data.model_copy(update={"masks": data.masks and data.masks.model_copy(update={"folder": str(tmp_path / "masks")})})

    assert (kept.files, kept.labels, list(kept.groups), kept.masks, kept.patients) == ("**/*.png", data.labels, ["probe"], data.masks, None)
    assert without.masks is None
    assert synthetic_layout(elsewhere, tmp_path).masks is None
    assert synthetic_layout(data.model_copy(update={"synthetic": kept}), tmp_path / "none") is kept


def test_every_pair_of_arms_is_compared(project: Project) -> None:
    """Validation is compared with test, and synthetic images with training and test images."""
    shutil.copytree(project.folder / "test", project.folder / "validation")
    test, train = pictures(project.folder / "test")[0], pictures(project.folder / "train")[0]
    for source, target in zip((test, train), pictures(project.folder / "synthetic")[:2], strict=True):
        target.write_bytes(source.read_bytes())

    assert findings(project, data=MODEL["data"] | {"validation": "validation"}) == {
        ("warning", "patient_overlap", "Validation and test"), ("warning", "pixel_overlap", "Validation and test"),
        ("adverse", "identical_to_training", "1 of 60 synthetic images are identical, pixel by pixel, to a training image."),
        ("warning", "identical_to_test", "1 of 60 synthetic images are identical, pixel by pixel, to a test image."),
    }  # fmt: skip


def test_patches_of_a_leaked_image_are_a_breach(project: Project) -> None:
    """An image in two arms is found although patches are cut from it at other places, and a synthetic copy of it too."""
    leaked = pictures(project.folder / "train")[0]
    for target in (pictures(project.folder / "test")[0], pictures(project.folder / "synthetic")[0]):
        target.write_bytes(leaked.read_bytes())
    found = findings(project, samples=120, data=MODEL["data"] | {"patches": {"size": [8, 8], "per_image": 2}})

    assert {(severity, kind) for severity, kind, _ in found} == {
        ("breach", "pixel_overlap"), ("adverse", "identical_to_training"), ("warning", "identical_to_test"),
    }  # fmt: skip


class Parrot(Generator):
    """Says what it was taught."""

    name = "parrot"
    version = "1"

    def fit(self, train: ImageSet, context: Context) -> None:
        """Keep the images."""
        np.save(context.workdir / "heard.npy", train.images)

    def sample(self, request: Request, context: Context) -> ImageSet:
        """Return them."""
        assert context.fitted is not None
        images = np.load(context.fitted / "heard.npy", allow_pickle=False)[: request.n]
        return ImageSet(images, tuple(f"s{k}" for k in range(len(images))), (1.0, 1.0), origin="synthetic")


def test_a_generator_that_returns_its_training_patches_is_caught(project: Project) -> None:
    """Images that come as arrays are compared with the patches that the generator saw; blank patches tell nothing."""
    host = host_with(Parrot)
    blank = pictures(project.folder / "train")[0]
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(blank)
    data = MODEL["data"] | {"patches": {"size": [8, 8], "per_image": 1}}
    found = findings(project, host, data=data, generator="parrot", samples=60)
    audit = project.audit(host)
    folder = audit.cache.folder(audit.first.data)

    assert {(severity, kind) for severity, kind, _ in found} == {("adverse", "identical_to_training")}
    assert int(next(iter(found))[2].split()[0]) < 60
    assert set(json.loads((folder / "fingerprints.json").read_text(encoding="utf-8"))) == {"train", "test"}
