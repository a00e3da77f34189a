"""Answers a study as three simulated readers and a simulated language model would: `python answer.py study`.

Nobody looks at an image. A reader's impression of an image is 1.5 times its class (+1 malignant, -1 benign), plus what is hard about the
image (Gaussian, SD 0.6, the same for everyone), plus the reader's own error (SD 0.6 to 0.9). All else is drawn with the chances below.
The key, which no reader has, tells this program the class; real readers open the pages in a browser instead.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

SEED = 20260105
# Error of the impression; chance to call a clean image plausible; to notice a planted fault; to find the real one of four.
READERS = {"R1": (0.6, 0.96, 0.99, 0.25), "R2": (0.7, 0.93, 0.97, 0.28), "R3": (0.9, 0.9, 0.95, 0.25)}
MODEL, MODEL_ERROR, REFUSES = "simulated-model-1", 1.6, 0.03
CLASSES = ("benign", "malignant")
FAULTS = ("speckle", "brightness")
KEY, ANSWERS = "harness-study-1", "harness-study-answers-1"


def hardness(item: str) -> float:
    """Return what is hard about an item, the same whoever looks."""
    return float(np.random.default_rng([SEED, *item.encode()]).normal(0.0, 0.6))


def answers(entry: dict[str, Any], reader: tuple[float, float, float, float], rng: np.random.Generator) -> dict[str, Any]:
    """Return the answers to one showing."""
    error, calls_plausible, notices, finds = reader
    if "positions" in entry:
        wanted = "real" if rng.random() < finds else "synthetic"
        return {"find_real": 1 + int(rng.choice([k for k, origin in enumerate(entry["positions"]) if origin == wanted]))}
    sign = 1 if entry["facts"]["label"] == CLASSES[1] else -1
    faulty = bool(entry["facts"].get("planted"))
    seen = 1.5 * sign + hardness(entry["item"]) + rng.normal(0.0, error * (2 if faulty else 1))
    plausible = rng.random() > notices if faulty else rng.random() < calls_plausible
    found: dict[str, Any] = {
        "diagnosis": CLASSES[int(seen > 0)],
        "mask_confidence": str(int(np.clip(round(4.3 - abs(hardness(entry["item"])) + rng.normal(0.0, 0.5)), 1, 5))),
        "plausible": "yes" if plausible else "no",
    }
    return found if plausible else found | {"failed": [FAULTS[int(rng.integers(2))]]}


def main() -> None:
    """Write one file per reader, as the pages export them, and the answers of the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    study = parser.parse_args().study
    key = json.loads((study / "key.json").read_text(encoding="utf-8"))
    if key["format"] != KEY:
        raise SystemExit(f"{study} holds a key of another format")
    asked = [question["name"] for question in key["questions"]]
    exported = study / "exported"
    exported.mkdir(exist_ok=True)
    truths: dict[str, str] = {}
    for number, (reader, page) in enumerate(key["readers"].items()):
        rng = np.random.default_rng([SEED, number])
        slots = {}
        for slot, entry in page["slots"].items():
            given = {name: {"value": value} for name, value in answers(entry, READERS[reader], rng).items() if name in asked}
            slots[slot] = {"seconds": round(float(rng.gamma(4.0, 3.0)), 1), "answers": given}
            if "positions" not in entry and not entry["facts"].get("planted"):
                truths[entry["item"]] = entry["facts"]["label"]
        body = {"format": ANSWERS, "study": key["study"], "reader": reader, "page": page["content_sha256"], "slots": slots}
        (exported / f"{reader}.json").write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    rng = np.random.default_rng([SEED, 99])
    lines = []
    for item, label in sorted(truths.items()):
        seen = 1.5 * (1 if label == CLASSES[1] else -1) + hardness(item) + rng.normal(0.0, MODEL_ERROR)
        refused = rng.random() < REFUSES
        line = {"item": item, "scale": "diagnosis", "model": MODEL, "answer": None if refused else CLASSES[int(seen > 0)]}
        lines.append(json.dumps(line | ({"refused": True} if refused else {})))
    (study / "model_answers.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
