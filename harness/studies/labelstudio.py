"""The same study for Label Studio: a labelling configuration (XML) and tasks (JSON) with the images inside, blinded like the pages.

A project of Label Studio has one configuration, so images shown alone and grids are two projects; a grid is one picture of numbered
tiles. Every task has its slot and its reader in its data, and nothing else that tells tasks apart. The tags and the form of tasks are
those of the manual of Label Studio 1.x.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

from .. import png
from ..quantities import NONE, Scale
from .page import Picture, Sheet, Showing

OUTLINE = (255, 176, 0)
LEAST_PX = 256
DOT = 4
# Digits of three by five dots, row by row, as bits.
DIGITS = (0o75557, 0o26227, 0o71747, 0o71717, 0o55711, 0o74717, 0o74757, 0o71111, 0o75757, 0o75717)


def write(folder: Path, sheet: Sheet, reader: str, showings: Sequence[Showing]) -> list[str]:
    """Write the configuration and a reader's tasks, apart for images and grids; return what could not be written, in words."""
    if showings[0].pictures[0].pixels.ndim == 4:
        return ["Label Studio shows no volumes, so the study is not written for it"]
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("image", "grid"):
        own = [showing for showing in showings if showing.kind == kind]
        if own:
            (folder / f"{kind}s.xml").write_text(configuration(sheet, own[0]), encoding="utf-8")
            tasks = [task(reader, showing) for showing in own]
            (folder / f"{kind}s-{reader}.json").write_text(json.dumps(tasks, indent=1) + "\n", encoding="utf-8")
    return []


def configuration(sheet: Sheet, example: Showing) -> str:
    """Return the labelling configuration of the questions that are asked about showings such as this one."""
    view = ET.Element("View")
    if sheet.instructions:
        ET.SubElement(view, "Header", value=sheet.instructions)
    ET.SubElement(view, "Image", name="image", value="$image", zoom="true", zoomControl="true", brightnessControl="true",
                  contrastControl="true")  # fmt: skip
    if example.pictures[0].mask is not None:
        ET.SubElement(view, "Image", name="outlined", value="$outlined", zoom="true", zoomControl="true")
    if example.description is not None:
        ET.SubElement(view, "Text", name="description", value="$description")
    for scale in sheet.questions:
        if (scale.shows == "grid") == (example.kind == "grid"):
            _question(view, scale, len(example.pictures))
    ET.indent(view)
    return ET.tostring(view, encoding="unicode") + "\n"


def _question(view: ET.Element, scale: Scale, pictures: int) -> None:
    attributes = {}
    if scale.only_if:
        name, _, answer = scale.only_if.partition("=")
        attributes = {"visibleWhen": "choice-selected", "whenTagName": name, "whenChoiceValue": answer}
    box = ET.SubElement(view, "View", attributes)
    ET.SubElement(box, "Header", value=scale.question or scale.name, size="5")
    common = {"name": scale.name, "toName": "image", "required": "true"}
    if scale.level == "text":
        ET.SubElement(box, "TextArea", common, rows="4", maxSubmissions="1")
    elif scale.level == "interval" and not scale.categories:
        ET.SubElement(box, "Number", common)
    else:
        words = [str(i + 1) for i in range(pictures)] if scale.shows == "grid" else list(scale.categories)
        several = scale.level == "set" and scale.shows != "grid"
        choices = ET.SubElement(box, "Choices", common, choice="multiple" if several else "single", showInline="true")
        for word in [*words, NONE] if several else words:
            ET.SubElement(choices, "Choice", value=word)


def task(reader: str, showing: Showing) -> dict[str, Any]:
    """Return the task of one slot: its slot, its reader and its pictures as data URIs of 8-bit PNG."""
    data: dict[str, Any] = {"slot": showing.slot, "reader": reader}
    if showing.kind == "grid":
        data["image"] = _uri(_tiled([_levels(picture) for picture in showing.pictures]))
    else:
        (picture,) = showing.pictures
        data["image"] = _uri(_levels(picture))
        data |= {"outlined": _uri(_outlined(picture))} if picture.mask is not None else {}
        data |= {"description": showing.description} if showing.description is not None else {}
    return {"data": data}


def _levels(picture: Picture) -> np.ndarray:
    """Return (H, W, 3) uint8: colours of three channels, else the first channel in grey."""
    pixels = picture.pixels if len(picture.pixels) == 3 else np.repeat(picture.pixels[:1], 3, axis=0)
    return np.ascontiguousarray(np.moveaxis(np.rint(pixels * 255).astype(np.uint8), 0, -1))


def _outlined(picture: Picture) -> np.ndarray:
    """Return the picture with the outline of every region of its mask, enlarged where a line would hide a small one."""
    assert picture.mask is not None
    times = max(1, LEAST_PX // max(picture.mask.shape))
    pixels, regions = (array.repeat(times, 0).repeat(times, 1) for array in (_levels(picture), picture.mask))
    around = np.pad(regions, 1)
    inner = np.logical_and.reduce([np.roll(around, shift, axis)[1:-1, 1:-1] == regions for axis in (0, 1) for shift in (1, -1)])
    pixels[(regions > 0) & ~inner] = OUTLINE
    return pixels


def _tiled(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Return the pictures of a grid as one, row by row, each enlarged to a size that can be judged and with its number above it."""
    times = max(1, LEAST_PX // max(pictures[0].shape[:2]))
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    shape, head = [side * times for side in pictures[0].shape[:2]], 7 * DOT
    height, width = shape[0] + head, shape[1] + DOT
    sheet = np.zeros((rows * height, columns * width, 3), dtype=np.uint8)
    for index, picture in enumerate(pictures):
        top, left = (index // columns) * height, (index % columns) * width
        number = _digits(index + 1)
        sheet[top + DOT : top + DOT + number.shape[0], left : left + number.shape[1]][number] = 255
        sheet[top + head : top + height, left : left + shape[1]] = picture.repeat(times, 0).repeat(times, 1)
    return sheet


def _digits(number: int) -> np.ndarray:
    """Return a number as dots, (5, 4) of them for each digit, every dot DOT pixels wide."""
    dots = [np.array([bit == "1" for bit in f"{DIGITS[int(digit)]:015b}"]).reshape(5, 3) for digit in str(number)]
    return np.hstack([np.pad(digit, ((0, 0), (1, 0))) for digit in dots]).repeat(DOT, 0).repeat(DOT, 1)


def _uri(pixels: np.ndarray) -> str:
    return f"data:image/png;base64,{base64.b64encode(png.encode(pixels)).decode()}"
