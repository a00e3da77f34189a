"""How often the auditor is wrong: simulated generators with one planted flaw each, through complete audits.

Every run has real training and test images of its own: phantoms of 32 x 32 pixels with a lesion, its mask and a label, one image a
patient. The generators, which draw new patients and have one flaw each or none, are audited on them one after the other, by one plan.
The audit knows nothing of the flaw: battery, metrics, classifier and verdict are those of any audit, and the purpose has one critical
criterion for each flaw. Doses and thresholds were chosen on runs from number 10,000 on, which are not counted.

    python operating_characteristics.py --out FOLDER [--runs 60] [--n 240] [--flaw copies ...] [--workers 2]
    python operating_characteristics.py --out FOLDER --table    what is finished, as Markdown
    python operating_characteristics.py --out FOLDER --plan     what `harness plan` says after a first run of a faithful generator

Every finished run is one line of FOLDER/runs.jsonl, and the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

# One thread a run: several runs are what is done side by side. It must be said before numpy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from ruamel.yaml import YAML
from scipy import ndimage

import harness
import harness_plugins
from harness import __version__, planning, specfile
from harness.cells import derive
from harness.checks import assemble
from harness.host import Host
from harness.images import ImageSet
from harness.phantoms import PROBES, phantoms, write_phantoms
from harness.records import CriterionRow, FindingRow, VerdictRow
from harness.run import Audit, Settings
from harness.spec import digest
from harness.statistics.intervals import lower_bound_proportion, upper_bound_proportion

FLAWS = {
    "faithful": "none: draws new patients from the law of the real ones",
    "copies": "15 % of the images are training images",
    "collapse": "one of the two probes is never made",
    "noise": "Gaussian noise, SD 0.1 of the window",
    "boundary": "edges of lesions blurred, SD 2 px, within 3 px of the edge",
    "labels": "40 % of the labels are wrong",
}
COPIED, NOISE_SD, EDGE_SD, EDGE_BAND, SWAPPED = 0.15, 0.10, 2.0, 3.0, 0.40
RUNS, N, SIZE, PILOT = 60, 240, 32, 10_000
ADEQUATE = ("adequate", "adequate_with_conditions")
FILE = "runs.jsonl"


def generate(flaw: str, n: int, seed: int, train: ImageSet) -> ImageSet:
    """Return n synthetic images of new patients with one flaw."""
    rng = np.random.default_rng(derive(seed, "flaw"))
    probes = PROBES[:1] if flaw == "collapse" else PROBES
    made = phantoms(n, derive(seed, "synthetic"), SIZE, patients=n, prefix="S", probes=probes)
    if flaw == "copies":
        return _copying(made, train, rng)
    assert made.labels is not None
    assert made.masks is not None
    pixels, labels = made.images, made.labels.copy()
    if flaw == "noise":
        pixels = pixels + NOISE_SD * rng.standard_normal(pixels.shape)
    if flaw == "boundary":
        pixels = np.stack([_blurred(image, mask > 0) for image, mask in zip(pixels, made.masks, strict=True)])
    if flaw == "labels":
        wrong = rng.permutation(n)[: round(SWAPPED * n)]
        labels[wrong] = 1 - labels[wrong]
    return replace(made, images=np.clip(pixels, 0.0, 1.0).astype(np.float32), labels=labels)


def _copying(made: ImageSet, train: ImageSet, rng: np.random.Generator) -> ImageSet:
    """Put training images, with their masks and labels, in the place of some."""
    slots = rng.permutation(len(made))[: round(COPIED * len(made))]
    rows, columns = rng.integers(0, len(train), len(slots)), {}
    for name in ("images", "masks", "labels"):
        columns[name] = getattr(made, name).copy()
        columns[name][slots] = getattr(train, name)[rows]
    return replace(made, **columns)


def _blurred(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Blur an image (1, H, W) in a band on both sides of its lesion's edge."""
    depth = np.where(inside, ndimage.distance_transform_edt(inside), ndimage.distance_transform_edt(~inside))
    smooth = ndimage.gaussian_filter(image, (0.0, EDGE_SD, EDGE_SD))
    return np.asarray(np.where(depth <= EDGE_BAND, smooth, image))


def model(name: str, n: int, seed: int, flaw: str = "") -> dict[str, Any]:
    """Return the model.yaml of a run: the plan, which is the same for every generator."""
    return {
        "audit": name,
        "seed": seed,
        "data": {"train": "train", "test": "test", "labels": "folder", "patients": {"pattern": r"[PS]\d+"},
                 "masks": {"suffix": "_mask"}, "spacing_mm": [1.2, 1.2], "window": [0, 255]},
        "generator": {"folder": {"path": f"synthetic-{flaw}"}},
        "samples": n,
        "extractors": ["random_conv"],
        "metrics": [{"memorisation": {"false_positive_rate": 1e-8}}, "manifold", "kernel", "mask_alignment"],
        "perturbations": [
            {"duplication": {"doses": [0.05, 0.15], "dose_of_concern": 0.15}},
            {"mode_collapse": {"modes": 2, "doses": [0.5], "dose_of_concern": 0.5}},
            {"gaussian_noise": {"doses": [0.25, 0.5], "dose_of_concern": 0.5}},
            {"boundary_blur": {"outside": True, "band": 3.0, "doses": [1 / 3, 2 / 3], "dose_of_concern": 2 / 3}},
            {"boundary_displacement": {"doses": [0.25, 0.5], "dose_of_concern": 0.5}},
            "flip",
        ],
        "intervals": {"half_samples": 40, "floor_splits": 10},
        "tasks": {
            "components": [{"classification": {"steps": 60, "check_every": 15, "side": 16, "flip_axes": [1], "learning_rate": 0.01}}],
            "mixes": [[1, 0], [0, 1]],
            "repeats": 4,
        },
        "purposes": {"replace-training-images": {"context_of_use": "A simulation: train a classifier", "criteria": list(_criteria())}},
    }  # fmt: skip


def _criteria() -> Iterator[dict[str, Any]]:
    """Yield one critical criterion for each flaw; real against real gives 0, 0.95, 0.95, 1 and 0.

    Guards follow the order copies, kinds, edges, noise: copies raise recall, and a kind that is missing may raise precision. The
    rate of false copies is low, since one lookalike among the real images would let the share of copies improve under other defects.
    """
    alone = {"one_kind_because": "nobody reads simulated images, and each claim is about one number"}
    yield {
        "id": "copies", "claim": "Training images are not reproduced", "quantity": "memorisation.copied_share", "at_most": 0.05,
        "because": "one image in twenty could be looked through by hand", "failure_modes": ["memorisation"], "n_min": 100,
    } | alone  # fmt: skip
    yield {
        "id": "kinds", "claim": "All kinds of images are made, within both classes", "quantity": "manifold.recall", "at_least": 0.75,
        "because": "without one of two equally frequent kinds it would be about a half", "failure_modes": ["mode_collapse"],
        "strata": ["label"], "strata_role": "each_must_meet", "guards": ["copies"], "n_min": 30,
    } | alone  # fmt: skip
    yield {
        "id": "noise", "claim": "The images are not noisier than real ones", "quantity": "manifold.precision", "at_least": 0.60,
        "because": "noise at the dose of concern leaves none", "failure_modes": ["noise"],
        "guards": ["copies", "kinds", "edges"], "n_min": 100,
    } | alone  # fmt: skip
    yield {
        "id": "edges", "claim": "Lesions have the edges of real ones", "quantity": "mask_alignment.alignment", "at_least": 0.85,
        "because": "edges blurred by the dose of concern give about 0.7", "failure_modes": ["local_morphology"],
        "guards": ["copies", "kinds"], "n_min": 100,
    } | alone  # fmt: skip
    yield {
        "id": "labels", "claim": "A classifier of the images alone is as good as one of real images", "quantity": "classification.auroc",
        "mix": [0, 1], "gain_at_least": -0.15, "because": "a loss of 0.15 would be seen by its users", "unit": "patient", "n_min": 100,
    } | alone  # fmt: skip


def write_real(folder: Path, n: int, run: int) -> ImageSet:
    """Write the real images of a run, and return the training images."""
    seed = seed_of(n, run)
    train, test = (phantoms(n, derive(seed, arm), SIZE, patients=n, first_patient=first) for arm, first in (("train", 1), ("test", n + 1)))
    for arm, images in (("train", train), ("test", test)):
        write_phantoms(folder / arm, images)
    return train


def prepare(folder: Path, flaw: str, n: int, run: int, train: ImageSet) -> Audit:
    """Write the synthetic images of one generator and its model.yaml, and return its audit, which will run in this process."""
    seed = seed_of(n, run)
    write_phantoms(folder / f"synthetic-{flaw}", generate(flaw, n, derive(seed, flaw) % 2**31, train))
    with (folder / "model.yaml").open("w", encoding="utf-8") as stream:
        YAML(typ="safe", pure=True).dump(model("simulated", n, seed, flaw), stream)
    file = specfile.read(folder / "model.yaml")
    return Audit(file, assemble(file, Host.discover()), Settings(folder / "results.duckdb", folder / "cache", workers=0))


def seed_of(n: int, run: int) -> int:
    """Return the seed of a run, from which everything in it is drawn."""
    return derive(run, "audit of the auditor", n) % 2**31


def design(n: int) -> str:
    """Return what tells one design of the simulation from another, so that one table never mixes two."""
    return digest({"model": model("", n, 0), "flaws": FLAWS, "size": SIZE})[:8]


@cache
def code() -> str:
    """Return what tells one state of the sources from another, those of the harness and of its plugins."""
    folders = [(package.__name__, Path(folder)) for package in (harness, harness_plugins) for folder in package.__path__]
    texts = {
        f"{name}/{path.relative_to(folder).as_posix()}": path.read_text(encoding="utf-8")
        for name, folder in folders
        for path in folder.rglob("*.py")
    }
    return digest(texts)[:8]


def simulate(flaws: Sequence[str], n: int, run: int) -> list[dict[str, Any]]:
    """Audit one generator after the other on the real images of a run, and return what the table needs of each.

    The battery depends on real images and plan alone, so the later audits find it in the cache.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        train = write_real(Path(folder), n, run)
        for flaw in flaws:
            began, cpu = time.monotonic(), time.process_time()
            audit = prepare(Path(folder), flaw, n, run, train)
            name = audit.run()
            verdict = audit.store.rows(VerdictRow, name)[0]
            criteria = [row for row in audit.store.rows(CriterionRow, name) if "[" not in row.criterion]
            findings = audit.store.rows(FindingRow, name)
            rows.append({
                "flaw": flaw, "n": n, "run": run, "seed": seed_of(n, run), "verdict": verdict.verdict, "reason": verdict.reason,
                "criteria": {r.criterion: {"status": r.status, "value": r.value, "low": r.ci_low, "high": r.ci_high, "why": r.reason}
                             for r in criteria},
                "broken": [line for line in verdict.rules if " is broken" in line],
                "findings": sorted({f"{f.severity} {f.kind}" for f in findings}),
                "seconds": round(time.monotonic() - began, 1), "cpu": round(time.process_time() - cpu, 1), "version": __version__,
                "design": design(n), "code": code(), "date": datetime.now(UTC).date().isoformat(),
            })  # fmt: skip
    return rows


def finished(out: Path, n: int) -> list[dict[str, Any]]:
    """Return the finished runs of this design, each once; a line that was cut off by a crash is left out."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    path = out / FILE
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if (row["n"], row["design"]) == (n, design(n)):
            found[row["flaw"], row["run"]] = row
    return sorted(found.values(), key=lambda row: (list(FLAWS).index(row["flaw"]), row["run"]))


def carry_out(out: Path, flaws: Iterable[str], runs: Sequence[int], n: int, workers: int) -> int:
    """Do the runs that are not finished; write a line for each generator, return how many runs failed.

    A run that fails leaves no line, and the others go on; the same command tries it again.
    """
    out.mkdir(parents=True, exist_ok=True)
    done = {(row["flaw"], row["run"]) for row in finished(out, n)}
    todo = {run: [flaw for flaw in flaws if (flaw, run) not in done] for run in runs}
    failed = 0
    with ProcessPoolExecutor(workers) as pool, (out / FILE).open("a", encoding="utf-8") as stream:
        waiting = {pool.submit(simulate, lacking, n, run): run for run, lacking in todo.items() if lacking}
        for future in as_completed(waiting):
            error = future.exception()
            if error is not None:
                failed += 1
                print(f"run {waiting[future]} failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                continue
            for row in future.result():
                stream.write(json.dumps(row) + "\n")
                print(f"{row['flaw']} {row['run']}: {row['verdict']}, {row['cpu']:.0f} s of processor time", flush=True)
            stream.flush()
    return failed


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the Markdown table: verdicts by flaw, the share called adequate with its exact one-sided bound, and what stopped them."""
    lines = [
        "| planted flaw | runs | adequate, also with conditions | inadequate | insufficient evidence | called adequate | stopped by |",
        "|---|---|---|---|---|---|---|",
    ]
    for flaw, words in FLAWS.items():
        own = [row for row in rows if row["flaw"] == flaw]
        if not own:
            continue
        counts = Counter(row["verdict"] for row in own)
        passed = sum(counts[word] for word in ADEQUATE)
        side, bound = ("at least", lower_bound_proportion) if flaw == "faithful" else ("at most", upper_bound_proportion)
        share = f"{passed / len(own):.0%}, {side} {bound(passed, len(own)):.1%}"
        stopped = Counter(cause for row in own for cause in _causes(row))
        said = ", ".join(f"{cause} {count}" for cause, count in stopped.most_common())
        lines.append(
            f"| {flaw}: {words} | {len(own)} | {passed} | {counts['inadequate']} | {counts['insufficient_evidence']} | {share} | {said} |"
        )
    return "\n".join(lines)


def caption(rows: Sequence[dict[str, Any]]) -> str:
    """Return when and of what the table was made: dates, n, numbers of the runs, versions."""
    dates, versions = (sorted({row[key] for row in rows}) for key in ("date", "version"))
    sources = sorted({row["code"] for row in rows})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    numbers = [row["run"] for row in rows]
    return (
        f"{when}, n = {rows[0]['n']} training, test and synthetic images each, runs {min(numbers)} to {max(numbers)} of each flaw "
        f"(the seeds follow from n and number; the generators of a run share its real images), version {', '.join(versions)}, "
        f"sources {', '.join(sources)}, "
        f"design {rows[0]['design']}."
    )


def _causes(row: dict[str, Any]) -> list[str]:
    """Return which criteria kept a run from being adequate, with their status, and which rules were broken."""
    if row["verdict"] in ADEQUATE:
        return []
    lacking = [(name, found["status"]) for name, found in row["criteria"].items() if found["status"] != "met"]
    # Where something is not met, that decides the verdict, whatever else is undecided.
    decisive = [pair for pair in lacking if pair[1] == "not_met"] or lacking
    return [f"{name} {status.replace('_', ' ')}" for name, status in decisive] or [line.split(" (")[0] for line in row["broken"]]


def plan_lines(n: int) -> list[str]:
    """Return what `harness plan` says after a first run of a faithful generator."""
    with tempfile.TemporaryDirectory() as folder:
        audit = prepare(Path(folder), "faithful", n, PILOT, write_real(Path(folder), n, PILOT))
        audit.run()
        return list(planning.lines(audit))


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and do what it asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of runs.jsonl")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"runs for each flaw (default {RUNS})")
    parser.add_argument("--first", type=int, default=0, help=f"number of the first run; from {PILOT} on they are pilots (default 0)")
    parser.add_argument("--n", type=int, default=N, help=f"training, test and synthetic images each (default {N})")
    parser.add_argument("--flaw", nargs="+", choices=list(FLAWS), default=list(FLAWS))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="print the table of the runs that are finished, and do nothing else")
    parser.add_argument("--plan", action="store_true", help="print what `harness plan` says, and do nothing else")
    chosen = parser.parse_args(arguments)
    if chosen.plan:
        print("\n".join(plan_lines(chosen.n)))
        return 0
    runs = range(chosen.first, chosen.first + chosen.runs)
    failed = 0 if chosen.table else carry_out(chosen.out, chosen.flaw, runs, chosen.n, chosen.workers)
    rows = [row for row in finished(chosen.out, chosen.n) if row["run"] in runs and row["flaw"] in chosen.flaw]
    print(f"{caption(rows)}\n\n{table(rows)}" if rows else "Nothing is finished.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
