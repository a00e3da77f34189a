"""The generator under audit, in two variants: `faithful` draws new patients, `copying` mostly repeats its training images.

Started by the audit, see `command` in model.yaml and copying.yaml. The same seed gives the same images.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np

from harness.phantoms import PROBES, phantoms, write_phantoms

COPIED_SHARE = 0.6
PATIENT_NUMBERS_FROM = 1001


def faithful(n: int, seed: int, out: Path) -> None:
    """Draw n images of new patients from the law that the real images come from."""
    write_phantoms(out, phantoms(n, seed, prefix="S", first_patient=PATIENT_NUMBERS_FROM))


def copying(n: int, seed: int, out: Path, train: Path) -> None:
    """Draw images of one probe only, the other is never made, and put training images of it in the place of most of them."""
    made = write_phantoms(out, phantoms(n, seed, prefix="S", first_patient=PATIENT_NUMBERS_FROM, probes=PROBES[:1]))
    rng = np.random.default_rng(seed)
    for row in rng.permutation(n)[: round(COPIED_SHARE * n)]:
        path = made[row]
        originals = sorted(train.glob(f"{path.parent.name}/*_{PROBES[0]}_[0-9].png"))
        if not originals:
            raise SystemExit(f"no training images in {train}: python -m harness.phantoms {train.parent}")
        original = originals[rng.integers(len(originals))]
        shutil.copyfile(original, path)
        shutil.copyfile(_mask(original), _mask(path))


def _mask(path: Path) -> Path:
    return path.with_name(f"{path.stem}_mask.png")


def main() -> None:
    """Read the command line and write the images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variant", choices=("faithful", "copying"))
    parser.add_argument("--n", type=int, required=True, help="number of images")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--train", type=Path, default=Path(__file__).parent / "data" / "train", help="what `copying` copies")
    chosen = parser.parse_args()
    if chosen.variant == "faithful":
        faithful(chosen.n, chosen.seed, chosen.out)
    else:
        copying(chosen.n, chosen.seed, chosen.out, chosen.train)


if __name__ == "__main__":
    main()
