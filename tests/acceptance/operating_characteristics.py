"""How often the auditor is wrong: simulated generators with one planted flaw each, through complete audits.

Every run has real training and test images and synthetic images of its own: phantoms of 32 x 32 pixels with a lesion, its mask and a
label, one image a patient. The generator draws new patients and has one flaw, or none; the audit knows nothing of it: battery, metrics,
a classifier and verdict are those of any audit. The purpose names one failure mode for each flaw. Thresholds and doses were chosen once,
on runs from number 10,000 on, which are not counted.

    python tests/acceptance/operating_characteristics.py --out FOLDER [--runs 60] [--n 400] [--flaw copies ...] [--workers 2]
    python tests/acceptance/operating_characteristics.py --out FOLDER --table     # Markdown, from what is finished
    python tests/acceptance/operating_characteristics.py --out FOLDER --plan      # what `harness plan` says after a pilot run

Every finished run is one line of FOLDER/runs.jsonl; the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# One thread a run: the runs themselves are what is done side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from ruamel.yaml import YAML
from scipy import ndimage

from harness import __version__, planning, specfile
from harness.cells import derive
from harness.checks import assemble
from harness.host import Host
from harness.images import ImageSet
from harness.phantoms import PROBES, phantoms, write_phantoms
from harness.records import CriterionRow, FindingRow, QualificationRow, ScoreRow, VerdictRow
from harness.run import Audit, Settings
from harness.spec import digest
from harness.statistics.intervals import lower_bound_proportion, upper_bound_proportion

FLAWS = ("faithful", "copies", "collapse", "noise", "boundary", "labels")
RUNS, N, SIZE = 60, 400, 32
ADEQUATE = ("adequate", "adequate_with_conditions")
COPIED, NOISE_SD, EDGE_SD, EDGE_BAND, SWAPPED = 0.15, 0.10, 2.0, 3.0, 0.40


def generate(flaw: str, n: int, seed: int, train: ImageSet) -> ImageSet:
    """Return n synthetic images of new patients with one flaw."""
    rng = np.random.default_rng(derive(seed, "flaw", flaw))
    probes = PROBES[:1] if flaw == "collapse" else PROBES
    made = phantoms(n, derive(seed, "synthetic"), SIZE, patients=n, prefix="S", probes=probes)
    pixels, labels = made.images.copy(), made.labels
    assert labels is not None
    if flaw == "copies":
        return _copied(made, train, rng)
    if flaw == "noise":
        pixels = pixels + NOISE_SD * rng.standard_normal(pixels.shape)
    if flaw == "boundary":
        pixels = np.stack([_blurred(image, mask > 0) for image, mask in zip(pixels, made.masks, strict=True)])
    if flaw == "labels":
        wrong = rng.permutation(n)[: round(SWAPPED * n)]
        labels = labels.copy()
        labels[wrong] = 1 - labels[wrong]
    return replace(made, images=np.clip(pixels, 0.0, 1.0).astype(np.float32), labels=labels)


def _copied(made: ImageSet, train: ImageSet, rng: np.random.Generator) -> ImageSet:
    """Put training images, with their masks and labels, in the place of some of those made."""
    slots = rng.permutation(len(made))[: round(COPIED * len(made))]
    rows = rng.integers(0, len(train), len(slots))
    columns = {}
    for name in ("images", "masks", "labels"):
        columns[name] = getattr(made, name).copy()
        columns[name][slots] = getattr(train, name)[rows]
    return replace(made, **columns)


def _blurred(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Blur an image (1, H, W) in a band on both sides of the lesion's edge."""
    if not inside.any():
        return image
    depth = np.where(inside, ndimage.distance_transform_edt(inside), ndimage.distance_transform_edt(~inside))
    smooth = ndimage.gaussian_filter(image, (0.0, EDGE_SD, EDGE_SD))
    return np.where(depth <= EDGE_BAND, smooth, image)


def model(name: str, n: int, seed: int) -> dict[str, Any]:
    """Return the model.yaml of a run."""
    alone = "a simulation has no readers"
    return {
        "audit": name,
        "seed": seed,
        "data": {"train": "train", "test": "test", "labels": "folder", "patients": {"pattern": r"[PS]\d+"},
                 "masks": {"suffix": "_mask"}, "spacing_mm": [1.2, 1.2], "window": [0, 255]},
        "generator": {"folder": {"path": "synthetic"}},
        "samples": n,
        "extractors": ["random_conv"],
        "intervals": {"half_samples": 40, "floor_splits": 10},
        "metrics": ["memorisation", "manifold", "kernel", "mask_alignment"],
        "perturbations": [
            {"duplication": {"doses": [0.05, 0.15]}},
            {"mode_collapse": {"modes": 2, "doses": [0.5], "dose_of_concern": 0.5}},
            {"gaussian_noise": {"doses": [0.25, 0.5]}},
            {"boundary_blur": {"outside": True, "band": 3.0, "doses": [1 / 3, 2 / 3]}},
            {"boundary_displacement": {"doses": [0.25, 0.5]}},
            {"label_swap": {"doses": [0.20, 0.40], "dose_of_concern": 0.40}},
            "flip",
        ],
        "tasks": {
            "components": [{"classification": {"steps": 45, "check_every": 15, "side": 16, "channels": [4, 8, 16, 32], "flip_axes": [1]}}],
            "mixes": [[1, 0], [0, 1]], "repeats": 2,
        },
        "purposes": {"augment": {
            "context_of_use": "a simulation",
            "criteria": [
                {"id": "copies", "claim": "Training images are not reproduced", "quantity": "memorisation.copied_share",
                 "at_most": 0.05, "because": "pilot", "failure_modes": ["memorisation"], "qualified_by": ["duplication"],
                 "one_kind_because": alone},
                {"id": "kinds", "claim": "All kinds of images are made", "quantity": "manifold.recall", "at_least": 0.60,
                 "because": "pilot", "failure_modes": ["mode_collapse"], "strata": ["label"], "strata_role": "each_must_meet",
                 "guards": ["copies"], "one_kind_because": alone},
                {"id": "noise", "claim": "Images are no noisier than real ones", "quantity": "manifold.precision", "at_least": 0.60,
                 "because": "pilot", "failure_modes": ["noise"], "guards": ["copies"], "one_kind_because": alone},
                {"id": "edges", "claim": "Lesions have the edges of real ones", "quantity": "mask_alignment.alignment", "at_least": 0.85,
                 "because": "pilot", "failure_modes": ["local_morphology"], "one_kind_because": alone},
                {"id": "labels", "claim": "Labels belong to their images", "quantity": "classification.auroc", "mix": [0, 1],
                 "gain_at_least": -0.10, "because": "pilot", "one_kind_because": alone},
            ],
        }},
    }  # fmt: skip


def project(folder: Path, flaw: str, n: int, run: int) -> Audit:
    """Write the images and the model.yaml of a run and return the audit, ready to run in this process."""
    seed = derive(run, "operating characteristics", flaw, n) % 2**31
    train, test = (phantoms(n, derive(seed, arm), SIZE, patients=n, first_patient=first) for arm, first in (("train", 1), ("test", n + 1)))
    write_phantoms(folder / "train", train)
    write_phantoms(folder / "test", test)
    write_phantoms(folder / "synthetic", generate(flaw, n, seed, train))
    with (folder / "model.yaml").open("w", encoding="utf-8") as stream:
        YAML(typ="safe", pure=True).dump(model(f"{flaw}-{run}", n, seed), stream)
    file = specfile.read(folder / "model.yaml")
    return Audit(file, assemble(file, _host()), Settings(folder / "results.duckdb", folder / "cache", workers=0))


def _host() -> Host:
    host = Host.discover()
    from harness.api import hookimpl
    from harness_plugins.perturbations.boundary_blur import BoundaryBlur
    from harness_plugins.perturbations.boundary_displacement import BoundaryDisplacement

    class Extra:
        @hookimpl
        def harness_perturbations(self):
            return [k for k in (BoundaryBlur, BoundaryDisplacement) if ("perturbation", k.name) not in host.offers]

    host.register(Extra(), "extra", "extra")
    return host


if __name__ == "__main__":
    flaw, n, run = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with tempfile.TemporaryDirectory() as t:
        t0 = time.time()
        c0 = time.process_time()
        a = project(Path(t), flaw, n, run)
        import cProfile, pstats

        pr = cProfile.Profile()
        pr.enable()
        print("written", time.time() - t0, time.process_time() - c0)
        name = a.run()
        pr.disable()
        pstats.Stats(pr).sort_stats("cumtime").print_stats(70)
        print("ran", time.time() - t0, time.process_time() - c0)
        for r in a.store.rows(VerdictRow, name):
            print(r.verdict, r.reason)
            print(*r.rules, sep="\n")
        for r in a.store.rows(CriterionRow, name):
            print(r.criterion, r.status, r.value, r.ci_low, r.ci_high, r.n, r.reason[:150])
        for r in a.store.rows(QualificationRow, name):
            print(
                f"{r.component}.{r.quantity:16s} {r.perturbation:22s} n={r.n} {r.outcome} resp={r.response} fa={r.false_alarm_high} {r.reason[:110]}"
            )
        for r in a.store.rows(FindingRow, name):
            print(r.severity, r.kind, r.text[:200])
        from harness.records import CellRow

        C = Counter()
        for r in a.store.rows(CellRow, name):
            C[r.stage, r.component] += r.seconds
        for k, v in C.most_common(14):
            print(k, round(v, 2))
        for r in a.store.rows(CellRow, name):
            if r.status != "ok":
                print(r.status, r.component, r.reason[:200])
