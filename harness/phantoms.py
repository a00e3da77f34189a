"""Seeded ultrasound-like breast phantoms with lesion masks, labels and patients: toy data for examples and tests.

`python -m harness.phantoms FOLDER` writes the training and test images of the quickstart audit as PNG files; `--n` and `--size` those of
the other examples.

The image model is the usual textbook one: fully developed speckle is the magnitude of complex Gaussian noise smoothed by the
point spread function, so its amplitude is Rayleigh distributed (Wagner et al., IEEE Trans. Sonics Ultrason. 30, 1983); tissue
scales it, depth attenuates it, and the display compresses it logarithmically. Benign lesions are smooth, wide ellipses with
posterior enhancement; malignant ones are spiculated, taller, and cast a shadow, as in the BI-RADS ultrasound descriptors. The
two classes overlap, so that a classifier has something to learn and something to miss.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .images import ImageSet
from .png import encode

CLASSES = ("benign", "malignant")
PROBES = ("linear", "convex")
FIELD_OF_VIEW_MM = 38.4
_LOOKS = 2
_FLOOR_DB, _RANGE_DB = -36.0, 48.0


def phantoms(
    n: int,
    seed: int,
    size: int = 48,
    patients: int | None = None,
    *,
    first_patient: int = 1,
    prefix: str = "P",
    probes: tuple[str, ...] = PROBES,
) -> ImageSet:
    """Return n phantoms of so many patients (about three images each unless said otherwise), the same for the same seed.

    Patients take turns through the combinations of class and probe, so both are balanced; images of one patient share anatomy,
    lesion and gain and differ in speckle and in small movements. `labels` index `CLASSES`; `groups["probe"]` names the probe.
    """
    patients = max(1, round(n / 3)) if patients is None else patients
    if not 1 <= patients <= n:
        raise ValueError(f"patients must be between 1 and the {n} images, got {patients}")
    owner = np.sort(np.arange(n) % patients)
    label = owner % len(CLASSES)
    probe = np.array([probes[p // len(CLASSES) % len(probes)] for p in owner])
    images, masks = np.empty((n, 1, size, size), np.float32), np.empty((n, size, size), np.uint8)
    for p in range(patients):
        rows = np.flatnonzero(owner == p)
        rng = np.random.default_rng([seed, p])
        anatomy = _Anatomy.draw(rng, malignant=bool(label[rows[0]]), convex=probe[rows[0]] == "convex")
        for row in rows:
            images[row, 0], masks[row] = _scan(anatomy, size, rng)
    names = [f"{prefix}{first_patient + p:03d}" for p in owner]
    position = [row - int(np.flatnonzero(owner == owner[row])[0]) + 1 for row in range(n)]
    return ImageSet(
        images=images,
        ids=tuple(f"{name}_{kind}_{k}" for name, kind, k in zip(names, probe, position, strict=True)),
        spacing_mm=(FIELD_OF_VIEW_MM / size, FIELD_OF_VIEW_MM / size),
        masks=masks,
        labels=label.astype(np.int64),
        patients=tuple(names),
        groups={"probe": probe},
    )


@dataclass(frozen=True)
class _Anatomy:
    """What the images of one patient share; lengths are shares of the field of view, echoes are decibels."""

    convex: bool
    gain: float
    attenuation: float
    fat_depth: float
    muscle_depth: float
    waves: np.ndarray
    centre: np.ndarray
    radii: np.ndarray
    spikes: np.ndarray
    lesion_echo: float
    posterior: float

    @classmethod
    def draw(cls, rng: np.random.Generator, malignant: bool, convex: bool) -> _Anatomy:
        """Draw a patient."""
        radius, aspect = rng.uniform(0.12, 0.21), rng.normal(1.12 if malignant else 0.72, 0.13)
        spread = np.sqrt(np.clip(aspect, 0.5, 1.5))
        strength = rng.uniform(0.06, 0.20) if malignant else rng.uniform(0.0, 0.08)
        return cls(
            convex=convex,
            gain=rng.normal(0.0, 1.5),
            attenuation=rng.uniform(5.0, 13.0),
            fat_depth=rng.uniform(0.12, 0.26),
            muscle_depth=rng.uniform(0.78, 0.95),
            waves=rng.uniform(0.0, 2.0 * np.pi, size=(6, 3)),
            centre=np.array([rng.uniform(0.40, 0.58), rng.uniform(-0.16, 0.16)]),
            radii=np.array([radius * spread, radius / spread]),
            spikes=np.column_stack([rng.integers(5, 12, 4), strength * rng.uniform(0.5, 1.0, 4), rng.uniform(0, 2 * np.pi, 4)]),
            lesion_echo=rng.normal(-14.0 if malignant else -12.0, 2.0),
            posterior=rng.normal(-5.0 if malignant else 3.5, 2.5),
        )


def _scan(anatomy: _Anatomy, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return one image in [0, 1] and its lesion mask: the patient's anatomy, moved a little, under new speckle."""
    grid = (np.arange(size) + 0.5) / size
    depth, across = np.meshgrid(grid, grid - 0.5, indexing="ij")
    move = rng.normal(0.0, 0.012, 2)
    y, x = depth - move[0], across - move[1]

    lesion = _inside(anatomy, y, x, tilt=rng.normal(0.0, 0.12), scale=rng.normal(1.0, 0.04))
    behind = np.maximum.accumulate(lesion, axis=0) & ~lesion
    texture = sum(np.sin(6.0 * (k + 1) * (x * np.cos(a) + y * np.sin(a)) + b) for k, (a, b, _) in enumerate(anatomy.waves))
    fat = y < anatomy.fat_depth + 0.03 * np.sin(9.0 * x + anatomy.waves[0, 2])
    muscle = y > anatomy.muscle_depth + 0.02 * np.sin(7.0 * x + anatomy.waves[1, 2])
    echo = 1.1 * np.asarray(texture)
    echo = np.where(fat, echo - 5.0, echo)
    echo = np.where(muscle, -8.0, echo)
    echo = np.where(depth < 0.035, 8.0, echo)
    echo = np.where(lesion, anatomy.lesion_echo + 0.5 * echo, echo)
    echo = echo + anatomy.posterior * behind + anatomy.gain - anatomy.attenuation * depth

    blur = (1.0, 2.0) if anatomy.convex else (0.6, 1.1)
    decibels = echo + 20.0 * np.log10(_speckle(size, blur, rng) + 1e-6)
    image = np.clip((decibels - _FLOOR_DB) / _RANGE_DB, 0.0, 1.0)
    if anatomy.convex:
        reach = np.hypot(depth + 0.6, across)
        image[(np.abs(across) > 0.42 * (depth + 0.6)) | (reach < 0.63) | (reach > 1.56)] = 0.0
    return image.astype(np.float32), lesion.astype(np.uint8)


def _inside(anatomy: _Anatomy, y: np.ndarray, x: np.ndarray, tilt: float, scale: float) -> np.ndarray:
    """Return where the lesion is: an ellipse whose radius carries the patient's spikes."""
    dy, dx = y - anatomy.centre[0], x - anatomy.centre[1]
    v = (np.cos(tilt) * dy - np.sin(tilt) * dx) / anatomy.radii[0]
    u = (np.sin(tilt) * dy + np.cos(tilt) * dx) / anatomy.radii[1]
    angle = np.arctan2(v, u)
    edge = 1.0 + sum(height * np.cos(count * angle + phase) for count, height, phase in anatomy.spikes)
    return np.asarray(np.hypot(u, v) < scale * edge)


def _speckle(size: int, blur: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Return compounded speckle of unit mean power, smoothed by a Gaussian point spread function (pixels: depth, across)."""
    noise = rng.standard_normal((_LOOKS, size, size)) + 1j * rng.standard_normal((_LOOKS, size, size))
    frequency = 2.0 * np.pi * np.fft.fftfreq(size)
    along, over = (np.exp(-0.5 * (frequency * sigma) ** 2) for sigma in blur)
    transfer = np.outer(along, over)
    field = np.fft.ifft2(np.fft.fft2(noise) * transfer)
    power = np.mean(np.abs(field) ** 2, axis=0) / (2.0 * np.mean(transfer**2))
    return np.asarray(np.sqrt(power))


def write_phantoms(folder: Path, images: ImageSet) -> list[Path]:
    """Write phantoms as `CLASS/PATIENT_PROBE_NUMBER.png`, each with its mask beside it (`_mask.png`), and return the images."""
    written = []
    labels = np.zeros(len(images), np.int64) if images.labels is None else images.labels
    for row, name in enumerate(images.ids):
        path = Path(folder) / CLASSES[int(labels[row])] / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(np.rint(images.images[row, 0] * 255.0).astype(np.uint8)))
        if images.masks is not None:
            path.with_name(f"{name}_mask.png").write_bytes(encode((images.masks[row] > 0).astype(np.uint8) * 255))
        written.append(path)
    return written


def arm(name: str, n: int = 300, size: int = 48) -> ImageSet:
    """Return the real images of an example audit: n for `train`, two of each patient, or n for `test`, one of each of other patients.

    The first patients are the same whatever n is. Both arms want the same n: beyond 300, patients of the larger are else in the other.
    """
    if name == "train":
        return phantoms(n, seed=20260101, size=size, patients=max(1, n // 2))
    if name == "test":
        return phantoms(n, seed=20260102, size=size, patients=n, first_patient=max(150, n // 2) + 1)
    raise ValueError(f"arm must be train or test, got {name!r}")


def main(arguments: Sequence[str]) -> int:
    """Write both arms below the folder named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m harness.phantoms", description="Write training and test phantoms as PNG files.")
    parser.add_argument("folder", type=Path, help="gets the folders train and test")
    parser.add_argument("--n", type=int, default=300, help="images of each arm (default 300)")
    parser.add_argument("--size", type=int, default=48, help="side of an image in pixels (default 48)")
    try:
        asked = parser.parse_args(arguments)
    except SystemExit as error:
        return int(error.code or 0)
    if asked.n < 2 or asked.size < 16:
        print("usage: --n is at least 2 and --size at least 16", file=sys.stderr)
        return 2
    for name in ("train", "test"):
        folder = asked.folder / name
        print(f"{len(write_phantoms(folder, arm(name, asked.n, asked.size)))} images with masks in {folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
