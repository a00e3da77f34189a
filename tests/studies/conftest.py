"""A reader study of phantoms, built once, and a browser where there is one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.studies.build import Built, build
from tiny_audit import Project, copy_project

SCALES: list[dict[str, Any]] = [
    {"name": "class", "level": "nominal", "categories": ["benign", "malignant"], "question": "Which class is it?", "truth": "label"},
    {"name": "plausible", "level": "nominal", "categories": ["yes", "no"], "question": "Is the image plausible?", "alarm": ["no"]},
    {"name": "failed", "level": "set", "categories": ["shape", "texture", "noise"], "question": "Which criteria failed?",
     "only_if": "plausible=no"},
    {"name": "mask_fit", "level": "ordinal", "categories": ["1", "2", "3", "4", "5"], "question": "How well does the outline fit?",
     "shows": "mask"},
    {"name": "confidence", "level": "interval", "question": "How confident are you, in per cent?"},
    {"name": "remarks", "level": "text", "question": "Anything else?"},
    {"name": "which_real", "level": "nominal", "categories": ["real", "synthetic"], "question": "Which of these images is real?",
     "shows": "grid", "truth": "origin"},
]  # fmt: skip
STUDY: dict[str, Any] = {
    "readers": ["R1", "R2", "R3"], "real": 2, "synthetic": 2, "repeats": 0.25, "planted": {"gaussian_noise": 1}, "grids": 2, "grid_of": 3,
    "instructions": "Judge each image as you would in practice.\n\nTake your time.", "because": "a test",
}  # fmt: skip


@dataclass(frozen=True)
class Maker:
    """Builds studies of one small project."""

    project: Project

    def __call__(self, *, scales: list[dict[str, Any]] | None = None, folder: str = "study", **changes: Any) -> Built:
        """Return a study with these changes of what model.yaml says of it; None leaves a key out."""
        study = {name: value for name, value in (STUDY | changes).items() if value is not None}
        self.project.write(ratings={"scales": SCALES if scales is None else scales, "study": study})
        return build(self.project.audit(), self.project.folder / folder)


@pytest.fixture(scope="session")
def maker(made_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """Return what builds studies of one project, whose images are read once."""
    return Maker(copy_project(made_images, tmp_path_factory.mktemp("study") / "project"))


@pytest.fixture(scope="session")
def built(maker: Maker) -> Built:
    """Return the study of the tests, which nobody may change."""
    return maker(folder="shared")


@pytest.fixture
def study(built: Built, tmp_path: Path) -> Path:
    """Return a copy of the study."""
    return Path(shutil.copytree(built.folder, tmp_path / "study"))


@pytest.fixture
def answered(built: Built) -> Callable[..., dict[str, Any]]:
    """Return the function that makes what a page saves when a reader gives the first answer of everything, with these changes."""
    key = json.loads((built.folder / "key.json").read_text())

    def body(reader: str, *, value: Callable[[dict[str, Any], dict[str, Any]], Any] = _first, **changes: Any) -> dict[str, Any]:
        page = key["readers"][reader]
        slots = {}
        for slot, entry in page["slots"].items():
            own = [q for q in key["questions"] if (q["shows"] == "grid") == ("positions" in entry) and not q["only_if"]]
            answers = {q["name"]: {"value": value(q, entry), "changes": 0, "at": 1.0} for q in own}
            slots[slot] = {"seconds": 5.0, "visits": 1, "answers": answers}
        return {
            "format": "harness-study-answers-1", "study": key["study"], "reader": reader, "page": page["content_sha256"],
            "page_computed": page["content_sha256"], "slots": slots,
        } | changes  # fmt: skip

    return body


def _first(question: dict[str, Any], entry: dict[str, Any]) -> Any:
    """Return the first answer that a question offers."""
    return {"interval": 50, "text": "fine"}.get(question["level"], 1 if "positions" in entry else (question["categories"] or [None])[0])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return a headless Chromium; skip where it, or what drives it, is not installed."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright, which drives the browser, is not installed")
    found = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium is installed to open the pages in")
    with sync_api.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield running
        running.close()
