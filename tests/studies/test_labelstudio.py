"""The study for Label Studio: a configuration and tasks that show what the pages show and tell as little."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from harness.api import Context
from harness.quantities import Scale
from harness.studies import labelstudio, page
from harness.studies.build import Built
from harness_plugins.importers.label_studio import LabelStudio

SCALES = (
    Scale(name="class", level="nominal", categories=("benign", "malignant <b>"), question="Which class & why?"),
    Scale(name="failed", level="set", categories=("shape", "noise"), only_if="class=benign"),
    Scale(name="size", level="interval"),
    Scale(name="steps", level="interval", categories=("0", "10")),
    Scale(name="remarks", level="text"),
    Scale(name="which_real", level="nominal", categories=("real", "synthetic"), shows="grid", truth="origin"),
)


def shown(n: int = 1, shape: tuple[int, ...] = (1, 8, 8), **known: Any) -> page.Showing:
    """Return a slot with n random pictures."""
    rng = np.random.default_rng(0)
    mask = np.zeros(shape[1:], np.uint8)
    mask[..., 2:5, 2:5] = 1
    return page.Showing(
        "0a1b", tuple(page.Picture(rng.random(shape, dtype=np.float32), mask if n == 1 else None) for _ in range(n)), **known
    )


def sheet() -> page.Sheet:
    """Return what the pages have in common."""
    return page.Sheet("study-1", "Look closely.", SCALES, 16, (1.0, 1.0))


def configured(showing: page.Showing) -> ET.Element:
    """Return the labelling configuration for such a slot, read back."""
    return ET.fromstring(labelstudio.configuration(sheet(), showing))  # noqa: S314 - written by the code under test


def pixels(uri: str) -> np.ndarray:
    """Return the pixels of a data URI."""
    head, data = uri.split(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_each_level_has_its_control() -> None:
    """One choice, several, a number, numbers to choose from and text are what Label Studio calls them; conditions are kept."""
    root = configured(shown(description="grey"))
    controls = {element.get("name"): element for element in root.iter() if element.get("toName") == "image"}
    assert {name: element.tag for name, element in controls.items()} == {
        "class": "Choices", "failed": "Choices", "size": "Number", "steps": "Choices", "remarks": "TextArea",
    }  # fmt: skip
    assert [choice.get("value") for choice in controls["class"]] == ["benign", "malignant <b>"]
    assert (controls["class"].get("choice"), controls["failed"].get("choice")) == ("single", "multiple")
    assert [choice.get("value") for choice in controls["failed"]] == ["shape", "noise", "none"]
    box = next(view for view in root.iter("View") if view.get("whenTagName"))
    assert (box.get("whenTagName"), box.get("whenChoiceValue"), box.get("visibleWhen")) == ("class", "benign", "choice-selected")
    assert [element.get("value") for element in root.iter("Image")] == ["$image", "$outlined"]
    assert next(root.iter("Text")).get("value") == "$description"


def test_a_grid_is_one_picture_with_numbers() -> None:
    """The pictures of a grid are tiles of one picture, with their numbers above them, and the choices are the numbers."""
    showing = shown(3)
    root = configured(showing)
    assert [choice.get("value") for choice in root.iter("Choice")] == ["1", "2", "3"]
    whole = pixels(labelstudio.task("R1", showing)["data"]["image"])
    tile, head = 8 * 32, 28
    for k, picture in enumerate(showing.pictures):
        top, left = (k // 2) * (tile + head), (k % 2) * (tile + 4)
        found = whole[top + head : top + head + tile, left : left + tile][::32, ::32, 0]
        assert np.array_equal(found, np.rint(picture.pixels[0] * 255))
        assert whole[top : top + head, left : left + tile].max() == 255
    assert len({whole[:head, x : x + 20].tobytes() for x in (0, tile + 4)}) == 2


def test_masks_are_drawn_as_outlines() -> None:
    """The outlined picture differs from the plain one in the border of the mask alone."""
    showing = shown()
    data = labelstudio.task("R1", showing)["data"]
    plain, outlined = pixels(data["image"]).repeat(32, 0).repeat(32, 1), pixels(data["outlined"])
    differs = (plain != outlined).any(axis=2)
    assert differs[64, 64]
    assert not differs[66:158, 66:158].any()
    assert not differs[:64].any()
    assert (outlined[differs] == labelstudio.OUTLINE).all()


def test_tasks_are_blinded(built: Built) -> None:
    """Every slot of every reader is one task; its data hold slot, reader and pictures, and no more."""
    key = json.loads((built.folder / "key.json").read_text())
    folder = built.folder / "label_studio"
    for reader, found in key["readers"].items():
        tasks = [task for kind in ("images", "grids") for task in json.loads((folder / f"{kind}-{reader}.json").read_text())]
        assert [task["data"]["slot"] for task in tasks] == list(found["slots"])
        assert {frozenset(task) for task in tasks} == {frozenset({"data"})}
        assert {frozenset(task["data"]) for task in tasks} == {frozenset({"slot", "reader", "image", "outlined"}),
                                                               frozenset({"slot", "reader", "image"})}  # fmt: skip
        assert {task["data"]["reader"] for task in tasks} == {reader}
    for kind in ("images", "grids"):
        assert (folder / f"{kind}.xml").read_text().startswith("<View>")


def test_answers_come_back_from_label_studio(built: Built, tmp_path: Path) -> None:
    """An export of Label Studio with answers to these tasks gives, with the study's key, the ratings that the answers mean."""
    key = json.loads((built.folder / "key.json").read_text())
    slots = key["readers"]["R1"]["slots"]
    export, wanted = [], {}
    for kind in ("images", "grids"):
        for number, task in enumerate(json.loads((built.folder / "label_studio" / f"{kind}-R1.json").read_text()), 1):
            entry = slots[task["data"]["slot"]]
            if kind == "grids":
                given = {"which_real": ("choices", ["2"])}
                wanted[entry["item"], entry["occasion"], "which_real"] = entry["positions"][1]
            else:
                given = {"class": ("choices", ["benign"]), "plausible": ("choices", ["no"]), "failed": ("choices", ["shape", "noise"]),
                         "mask_fit": ("choices", ["4"]), "confidence": ("number", 70), "remarks": ("textarea", ["fine"])}  # fmt: skip
                words = {"class": "benign", "plausible": "no", "failed": "shape; noise", "mask_fit": "4", "remarks": "fine"}
                wanted |= {(entry["item"], entry["occasion"], name): word for name, word in words.items()}
            result = [{"from_name": name, "to_name": "image", "type": form, "value": {"text" if form == "textarea" else form: value}}
                      for name, (form, value) in given.items()]  # fmt: skip
            export.append(task | {"id": number, "annotations": [{"id": number, "completed_by": 1, "result": result, "lead_time": 3.0}]})
    path = tmp_path / "export.json"
    path.write_text(json.dumps(export))
    ratings = list(LabelStudio(path=path, key=built.folder / "key.json").read(Context(0, tmp_path)))
    found = {(r.item, r.occasion, r.scale): r.value for r in ratings if r.scale != "confidence"}
    assert {name: str(value) for name, value in found.items()} == wanted
    assert [float(r.value or 0) for r in ratings if r.scale == "confidence"] == [70.0] * 6
    assert {r.rater for r in ratings} == {"R1"}


def test_volumes_are_not_written(tmp_path: Path) -> None:
    """Label Studio shows no volumes: nothing is written, and that is said."""
    notes = labelstudio.write(tmp_path / "ls", sheet(), "R1", [shown(shape=(1, 3, 8, 8))])
    assert notes == ["Label Studio shows no volumes, so the study is not written for it"]
    assert not (tmp_path / "ls").exists()


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 8, 8)])
def test_colours_and_first_channels(shape: tuple[int, ...]) -> None:
    """Three channels are colours; of any other number the first is shown in grey."""
    showing = shown(shape=shape)
    found = pixels(labelstudio.task("R1", showing)["data"]["image"])
    wanted = np.rint(showing.pictures[0].pixels * 255)
    assert np.array_equal(np.moveaxis(found, -1, 0), wanted if shape[0] == 3 else wanted[[0, 0, 0]])
