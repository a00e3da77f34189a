"""Writes ratings.csv and answers.jsonl: what simulated readers and a simulated language model say of 60 synthetic images.

Nobody looked at an image. The class of an image is +1 (malignant) or -1 (benign); a reader's impression is 1.5 times the class,
plus what is hard about the image (Gaussian, SD 0.6, the same for everyone), plus the reader's own error (SD 0.6 to 0.9; model
1.1) and leaning. The diagnosis is its sign, the suspicion from 1 to 5 counts the limits -1.5, -0.5, 0.5 and 1.5 below it. One
reader leaves two images out; the model refuses one, evades another and was never asked about a third.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from harness.phantoms import CLASSES

READERS = {"reader-1": (0.6, 0.0), "reader-2": (0.7, 0.2), "reader-3": (0.9, -0.2)}
MODEL, MODEL_ERROR = "simulated-model-1", (1.1, 0.3)
SEED, PATIENTS, IMAGES_EACH = 20260103, 20, 3
LIMITS = (-1.5, -0.5, 0.5, 1.5)


def items() -> list[tuple[str, int]]:
    """Return 60 images that both variants of the generator make, with their class: those of the first linear-probe patients."""
    numbers = [k for k in range(2 * PATIENTS) if k % 4 < len(CLASSES)]
    return [(f"{CLASSES[k % 2]}/S{1001 + k}_linear_{image}", 2 * (k % 2) - 1) for k in numbers for image in range(1, IMAGES_EACH + 1)]


def ratings() -> tuple[list[tuple[str, str, str, str]], list[dict[str, str | bool | None]]]:
    """Return the rows of ratings.csv and the lines of answers.jsonl."""
    rng = np.random.default_rng(SEED)
    names, classes = [name for name, _ in items()], np.array([sign for _, sign in items()])
    impression = 1.5 * classes + rng.normal(0.0, 0.6, len(names))
    rows: list[tuple[str, str, str, str]] = []
    for reader, (error, leaning) in READERS.items():
        seen = impression + rng.normal(leaning, error, len(names))
        for k, name in enumerate(names):
            left_out = reader == "reader-3" and k in (17, 41)
            rows += [(name, reader, scale, "" if left_out else value) for scale, value in _answers(seen[k])]
    seen = impression + rng.normal(MODEL_ERROR[1], MODEL_ERROR[0], len(names))
    lines: list[dict[str, str | bool | None]] = []
    for k, name in enumerate(names[:-1]):
        for scale, value in _answers(seen[k]):
            line: dict[str, str | bool | None] = {"item": name, "scale": scale, "model": MODEL, "answer": value}
            if k == 5:
                line |= {"answer": None, "refused": True}
            elif k == 29:
                line |= {"answer": "I cannot tell from this image."}
            lines.append(line)
    return rows, lines


def _answers(impression: float) -> list[tuple[str, str]]:
    """Return the answer on each scale."""
    return [("diagnosis", CLASSES[int(impression > 0)]), ("suspicion", str(1 + int(np.searchsorted(LIMITS, impression))))]


def main() -> None:
    """Write both files beside this one."""
    here = Path(__file__).parent
    rows, lines = ratings()
    with (here / "ratings.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("item", "rater", "scale", "value"), *rows])
    (here / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
