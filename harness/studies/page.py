"""The page of one reader: one HTML file that works offline and holds nothing but pixels, questions and ids that tell nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

import numpy as np

from ..quantities import Scale

TEMPLATES = "harness.report_templates"
SCRIPTS = ("study_viewer.js", "study_answers.js", "study.js", "study_keys.js")
FONTS = {400: "IBMPlexSans-Regular.woff2", 600: "IBMPlexSans-SemiBold.woff2"}
FORMAT = "harness-study-page-1"
_WHOLE = 1e-3


@dataclass(frozen=True)
class Picture:
    """What a reader sees of one image. pixels: (C, H, W) or (C, D, H, W), float32 in [0, 1]; mask: (H, W) or (D, H, W), uint8."""

    pixels: np.ndarray
    mask: np.ndarray | None = None


@dataclass(frozen=True)
class Showing:
    """One slot of a page: its id, the pictures in the order of their positions, and the description to be judged, where there is one."""

    slot: str
    pictures: tuple[Picture, ...]
    description: str | None = None

    @property
    def kind(self) -> Literal["image", "grid"]:
        """What is asked about: one image, or which of several is real."""
        return "grid" if len(self.pictures) > 1 else "image"


@dataclass(frozen=True)
class Sheet:
    """What all pages of a study have in common. bits: of a stored intensity; spacing_mm: one number per spatial axis, array order."""

    study: str
    instructions: str
    questions: tuple[Scale, ...]
    bits: Literal[8, 16]
    spacing_mm: tuple[float, ...]


def bits_needed(images: Sequence[np.ndarray]) -> Literal[8, 16]:
    """Return 8 where 256 levels hold every intensity of these images in [0, 1], else 16: one depth for all, which tells no origin."""
    return 8 if all(bool(np.all(np.abs(x * 255 - np.rint(x * 255)) < _WHOLE)) for x in images) else 16


def content(sheet: Sheet, reader: str, showings: Sequence[Showing]) -> tuple[list[tuple[str, str]], str]:
    """Return the page's data as (id, JSON text), the design first, and the SHA-256 of these texts joined by line feeds."""
    shape = showings[0].pictures[0].pixels.shape
    design = {
        "format": FORMAT, "study": sheet.study, "reader": reader, "instructions": sheet.instructions, "bits": sheet.bits,
        "shape": [shape[0], 1, *shape[1:]] if len(shape) == 3 else list(shape), "spacing": list(sheet.spacing_mm),
        "questions": [_question(scale) for scale in sheet.questions],
        "slots": [{"id": showing.slot, "kind": showing.kind} for showing in showings],
    }  # fmt: skip
    blocks = [("design", _json(design))]
    blocks += [(f"slot-{showing.slot}", _json(_slot(showing, sheet.bits))) for showing in showings]
    return blocks, hashlib.sha256("\n".join(text for _, text in blocks).encode()).hexdigest()


def html(sheet: Sheet, reader: str, showings: Sequence[Showing]) -> tuple[str, str]:
    """Return the page and the SHA-256 of its content, by which exported answers are tied to it."""
    blocks, sha256 = content(sheet, reader, showings)
    folder = files(TEMPLATES)
    style = "".join(_faces()) + (folder / "study.css").read_text(encoding="utf-8")
    script = "".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    policy = f"default-src 'none'; img-src data:; font-src data:; style-src {_allowed(style)}; script-src {_allowed(script)}"
    parts = {
        "POLICY": policy, "CONTENT": sha256, "STYLE": style, "SCRIPT": script,
        "DATA": "\n".join(f'<script type="application/json" id="{name}">{text}</script>' for name, text in blocks),
    }  # fmt: skip
    text = (folder / "study.html").read_text(encoding="utf-8")
    for name, value in parts.items():
        text = text.replace(f"<!--{name}-->", value)
    return text, sha256


def _allowed(text: str) -> str:
    """Return the source expression that lets this inline text pass (Content Security Policy Level 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _faces() -> Iterator[str]:
    for weight, name in FONTS.items():
        data = base64.b64encode((files(TEMPLATES) / "fonts" / name).read_bytes()).decode()
        yield f'@font-face {{ font-family: "IBM Plex Sans"; font-weight: {weight}; src: url(data:font/woff2;base64,{data}) }}\n'


def _question(scale: Scale) -> dict[str, Any]:
    """Return what a page must know of a scale; what is right, and what notices a fault, stays with the study's owner."""
    return {
        "name": scale.name, "level": scale.level, "categories": list(scale.categories), "question": scale.question or scale.name,
        "shows": scale.shows, "only_if": scale.only_if,
    }  # fmt: skip


def _slot(showing: Showing, bits: int) -> dict[str, Any]:
    pictures = [{"pixels": _packed(picture.pixels, bits), "mask": _packed_mask(picture.mask)} for picture in showing.pictures]
    return {"pictures": pictures, "description": showing.description}


def _packed(pixels: np.ndarray, bits: int) -> str:
    """Return intensities as little-endian integers of this many bits, compressed (RFC 1950), in base64."""
    whole = np.rint(pixels * (2**bits - 1)).astype("<u2" if bits == 16 else np.uint8)
    return base64.b64encode(zlib.compress(np.ascontiguousarray(whole).tobytes(), 6)).decode()


def _packed_mask(mask: np.ndarray | None) -> str | None:
    return None if mask is None else base64.b64encode(zlib.compress(np.ascontiguousarray(mask).tobytes(), 6)).decode()


def _json(value: Any) -> str:
    """Return JSON in which no text can end the element that holds it."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
