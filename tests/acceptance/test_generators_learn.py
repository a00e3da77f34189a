"""Generators that the audit trains learn: they beat untrained ones and noise, masks fit images, copies are flagged, a kill costs nothing.

The margins were fixed before anything was measured. `pytest -s` shows the table.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rows import everything
from scipy import ndimage

from harness.api import Comparison, Context, Extractor, Generator, ImageSet, Metric, Request
from harness.asking import ask
from harness.conclusions import CriterionRow, FindingRow, VerdictRow
from harness.phantoms import arm, phantoms, write_phantoms
from harness.records import ScoreRow, TrainingRow
from harness.store import Store
from harness_plugins.extractors.pixels import Pixels
from harness_plugins.extractors.random_conv import RandomConv
from harness_plugins.generators.ddpm import Ddpm
from harness_plugins.generators.gan import Gan
from harness_plugins.generators.latent_diffusion import LatentDiffusion
from harness_plugins.generators.training import TrainedGenerator
from harness_plugins.generators.vae import Vae
from harness_plugins.metrics.constraint import Constraint, Rule
from harness_plugins.metrics.frechet import Frechet
from harness_plugins.metrics.masks import MaskAlignment
from harness_plugins.metrics.memorisation import Memorisation
from harness_plugins.tasks.segmentation import Segmentation
from tiny_audit import MODEL, Project

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3600)]

SIZE, TRAINED_ON, MADE = 32, 320, 160
# A trained generator is at most at this share of the distance of the better of the two that know nothing, and this much above both.
DISTANCE_SHARE, PLAUSIBLE_MARGIN, DICE_MARGIN = 0.5, 0.1, 0.1
CONTRAST_SHARE = 0.7
COPIED_AT_MOST = 0.05
BAND_PX = 2.0
ONE_THREAD: dict[str, Any] = {"threads": 1, "flip_axes": (1,)}
GENERATORS: dict[str, TrainedGenerator] = {
    "ddpm": Ddpm(steps=200, condition="label", **ONE_THREAD),
    "ddpm, flow": Ddpm(steps=200, prediction="flow", condition="label", **ONE_THREAD),
    "vae": Vae(steps=300, **ONE_THREAD),
    "vae, quantised": Vae(steps=300, prior_steps=300, quantised=True, **ONE_THREAD),
    "gan": Gan(steps=120, **ONE_THREAD),
    "latent_diffusion": LatentDiffusion(steps=350, autoencoder_steps=150, **ONE_THREAD),
}
DIFFUSION = ("ddpm", "ddpm, flow")
NOISE, REAL = "noise", "real"


@dataclass(frozen=True)
class Measured:
    """What was measured of a set of images.

    fid, pixels: Frechet distance to the training images on `random_conv` and on `pixels`. plausible: share of masks of one part, with
    an area that training masks have. dice: of a segmenter that learned from these images, on real ones; 0 where all masks are empty.
    within: share whose contrast across the border of the mask is in the middle 95 % of that of training images. alignment: that of
    `mask_alignment`, None where fewer than 10 masks have a border. copied: share of copies on `pixels`.
    """

    fid: float
    pixels: float
    plausible: float
    dice: float
    within: float
    alignment: float | None
    copied: float
    seconds: float

    def row(self, name: str, state: str) -> str:
        """Return the row of the table."""
        alignment = "none" if self.alignment is None else f"{self.alignment:.2f}"
        return (
            f"| {name} | {state} | {self.fid:.2f} | {self.pixels:.2f} | {self.plausible:.2f} | {self.dice:.3f} | {self.within:.2f} "
            f"| {alignment} | {self.copied:.3f} | {self.seconds:.0f} |"
        )


HEADER = """
| images | state | FID random_conv | FID pixels | plausible masks | Dice, TSTR | contrast in real range | alignment | copied | s |
|---|---|---|---|---|---|---|---|---|---|"""


def others_to_test_on() -> ImageSet:
    """Return test images, none of a patient of the training images."""
    return arm("test", TRAINED_ON, SIZE).take(np.arange(MADE))


class Yard:
    """Real images of four disjoint groups of patients, and everything that is measured against them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.train, self.test = arm("train", TRAINED_ON, SIZE), others_to_test_on()
        others = phantoms(MADE + 64, seed=20260103, size=SIZE, patients=MADE + 64, first_patient=1001)
        self.real, self.validation = others.take(np.arange(MADE)), others.take(np.arange(MADE, MADE + 64))

    def context(self, name: str) -> Context:
        """Return a context whose fitted component lies in its own work folder."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return Context(seed=1, workdir=folder, fitted=folder)

    def made(self, name: str, generator: Generator) -> tuple[ImageSet, float]:
        """Return images of a generator trained on the training images, with labels as theirs, and the seconds that both took."""
        began, context = time.monotonic(), self.context(name)
        generator.fit(self.train, context)
        labels = np.asarray(self.train.labels)[:: TRAINED_ON // MADE]
        return generator.sample(Request(MADE, labels=labels, spacing_mm=self.train.spacing_mm), context), time.monotonic() - began

    @cached_property
    def extractors(self) -> dict[str, Extractor]:
        """Both extractors, fitted on the training images where they are fitted."""
        found: dict[str, Extractor] = {"pixels": Pixels(), "random_conv": RandomConv()}
        for name, extractor in found.items():
            extractor.fit(self.train, self.context(name))
        return found

    def embedded(self, extractor: str, made: ImageSet) -> Comparison:
        """Return training, test and made images with the features of an extractor."""
        own, context = self.extractors[extractor], self.context(extractor)
        return Comparison(*(side.with_features(own.extract(side, context)) for side in (self.train, self.test, made)))

    def described(self, metric: Metric, made: ImageSet) -> Comparison:
        """Return training, test and made images with what a metric says of each."""
        context = self.context(metric.name)
        return Comparison(*(side.with_features(metric.describe(side, context)) for side in (self.train, self.test, made)))

    def measured(self, made: ImageSet, seconds: float = 0.0) -> Measured:
        """Return everything that is measured of images."""
        context, pixels = self.context("metrics"), self.embedded("pixels", made)
        return Measured(
            fid=float(Frechet().measure(self.embedded("random_conv", made), context)["fid"]),
            pixels=float(Frechet().measure(pixels, context)["fid"]),
            plausible=1.0 - float(ask(self.rules, self.described(self.rules, made), context)["violations"]),  # type: ignore[arg-type]
            dice=self.dice(made),
            within=float(np.mean([self.contrasts[0] <= contrast <= self.contrasts[1] for contrast in contrasts(made)])),
            alignment=ask_or_none(MaskAlignment(), self.described(MaskAlignment(), made), "alignment", context),
            copied=float(ask(Memorisation(), pixels, context)["copied_share"]),  # type: ignore[arg-type]
            seconds=seconds,
        )

    @cached_property
    def rules(self) -> Constraint:
        """One part, and an area that occurs among the training masks; an empty mask breaks both."""
        areas = np.mean(masks(self.train) > 0, axis=(1, 2))
        return Constraint(
            rules={
                "one part": Rule(kind="components", at_least=1, at_most=1, absent="broken"),
                "area": Rule(kind="area_share", at_least=float(areas.min()), at_most=float(areas.max()), absent="broken"),
            }
        )

    @cached_property
    def contrasts(self) -> tuple[float, float]:
        """The middle 95 % of the contrasts of the training images."""
        low, high = np.percentile(contrasts(self.train), (2.5, 97.5))
        return float(low), float(high)

    def dice(self, made: ImageSet) -> float:
        """Return the mean Dice on real test images of a segmenter that learned from these images alone."""
        if not masks(made).any():
            # Nothing is what such a segmenter finds, and every real mask shows a lesion.
            return 0.0
        task, context = Segmentation(steps=100), self.context("segmentation")
        task.fit(made, self.validation, context)
        return float(np.mean(task.score(self.test, context)["dice"]))


def ask_or_none(metric: Metric, comparison: Comparison, quantity: str, context: Context) -> float | None:
    """Return a quantity, None where fewer than ten made images have something that it is about."""
    if np.count_nonzero(comparison.features("synthetic")[:, 0]) < 10:
        return None
    return float(ask(metric, comparison, context)[quantity])  # type: ignore[arg-type]


def masks(images: ImageSet) -> np.ndarray:
    """Return the masks, which all images here have."""
    assert images.masks is not None
    return images.masks


def contrasts(images: ImageSet) -> np.ndarray:
    """Return mean intensity just inside the border of each mask less that just outside, (N,); NaN where there is no border."""
    found = np.full(len(images), np.nan)
    for row, (image, mask) in enumerate(zip(images.images[:, 0], masks(images) > 0, strict=True)):
        if mask.any() and not mask.all():
            inner, outer = (side & (ndimage.distance_transform_edt(side) <= BAND_PX) for side in (mask, ~mask))
            found[row] = image[inner].mean() - image[outer].mean()
    return found


def noise(like: ImageSet, n: int) -> ImageSet:
    """Return images of uniform noise, with discs of any radius up to half the side, anywhere, as masks."""
    rng = np.random.default_rng(1)
    height, width = like.size_px
    y, x = np.mgrid[:height, :width]
    discs = [np.hypot(y - rng.uniform(0, height), x - rng.uniform(0, width)) <= rng.uniform(0, height / 2) for _ in range(n)]
    images = rng.random((n, 1, height, width), dtype=np.float32)
    return ImageSet(images, tuple(f"noise-{k}" for k in range(n)), like.spacing_mm, masks=np.array(discs, np.uint8), origin="synthetic")


def untrained(generator: TrainedGenerator) -> TrainedGenerator:
    """Return the same generator with one step for each of its networks."""
    names = ("steps", "autoencoder_steps", "prior_steps")
    return generator.model_copy(update={name: 1 for name in names if getattr(generator, name, None)})


@dataclass(frozen=True)
class Results:
    """Images and what was measured of them, by generator and state."""

    table: dict[tuple[str, str], Measured]
    images: dict[tuple[str, str], ImageSet]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Train every generator, measure it, and print the table."""
    yard = Yard(tmp_path_factory.mktemp("yard"))
    found = Results({}, {})
    print(f"\n{HEADER}")

    def add(name: str, state: str, made: ImageSet, seconds: float = 0.0) -> None:
        found.images[name, state], found.table[name, state] = made, yard.measured(made, seconds)
        print(found.table[name, state].row(name, state), flush=True)

    add(REAL, "", yard.real)
    add(NOISE, "", noise(yard.train, MADE))
    for name, generator in GENERATORS.items():
        for state, own in (("untrained", untrained(generator)), ("trained", generator)):
            add(name, state, *yard.made(f"{name} {state}", own))
    print(f"contrast of the middle 95 % of {len(yard.train)} training images: {yard.contrasts[0]:.3f} to {yard.contrasts[1]:.3f}")
    return found


@pytest.mark.parametrize("name", GENERATORS)
def test_a_trained_generator_beats_one_that_knows_nothing(results: Results, name: str) -> None:
    """Distances are at most half of the better of untrained and noise; plausible masks and the Dice of TSTR are 0.1 above both."""
    trained, others = results.table[name, "trained"], (results.table[name, "untrained"], results.table[NOISE, ""])
    assert trained.fid <= DISTANCE_SHARE * min(other.fid for other in others)
    assert trained.pixels <= DISTANCE_SHARE * min(other.pixels for other in others)
    assert trained.plausible >= PLAUSIBLE_MARGIN + max(other.plausible for other in others)
    assert trained.dice >= DICE_MARGIN + max(other.dice for other in others)
    assert trained.copied <= COPIED_AT_MOST


def test_other_real_images_pass_and_noise_fails(results: Results) -> None:
    """The measures tell real from noise, so a margin between them means something."""
    real, unlike = results.table[REAL, ""], results.table[NOISE, ""]
    assert real.fid <= DISTANCE_SHARE * unlike.fid
    assert real.pixels <= DISTANCE_SHARE * unlike.pixels
    assert real.plausible >= 0.9
    assert real.within >= 0.9
    assert real.dice >= DICE_MARGIN + unlike.dice
    assert unlike.within <= 0.5


@pytest.mark.parametrize("name", DIFFUSION)
def test_masks_of_joint_diffusion_fit_their_images(results: Results, name: str) -> None:
    """Most pairs change across the border of the mask by as much as real pairs do."""
    assert results.table[name, "trained"].within > CONTRAST_SHARE
    assert results.table[name, "trained"].within > results.table[name, "untrained"].within


PURPOSE = {
    "share": {
        "context_of_use": "passes the images on without the patients' images",
        "uses_model": False,
        "criteria": [
            {"id": "C1", "claim": "Training images are not reproduced", "quantity": "memorisation.copied_share", "extractor": "pixels",
             "at_most": COPIED_AT_MOST, "because": "a test", "failure_modes": ["memorisation"], "qualified_by": ["duplication"],
             "one_kind_because": "copies are counted image by image"},
        ],
    },
}  # fmt: skip


def audited(folder: Path, train: ImageSet, generator: dict[str, Any]) -> tuple[Store, str]:
    """Return the results of an audit of a generator that learned from these images."""
    write_phantoms(folder / "train", train)
    write_phantoms(folder / "test", others_to_test_on())
    project = Project(folder)
    project.write(data=MODEL["data"] | {"groups": {}}, generator=generator, samples=MADE, extractors=["pixels", "random_conv"],
                  metrics=["frechet", "memorisation", "pixel_copies"], perturbations=["duplication"], purposes=PURPOSE,
                  battery={"replicates": 14, "null_splits": 100})  # fmt: skip
    audit = project.audit()
    return audit.store, audit.run()


def said(store: Store, audit: str) -> tuple[CriterionRow, list[FindingRow]]:
    """Return the criterion and the adverse findings of an audit, and print them with the numbers that count copies."""
    (criterion,) = store.current(CriterionRow, audit)
    adverse = [row for row in store.current(FindingRow, audit) if row.severity in ("adverse", "breach")]
    (verdict,) = store.current(VerdictRow, audit)
    print(f"\n{verdict.verdict}; criterion {criterion.status}: {criterion.reason}")
    for row in store.current(ScoreRow, audit, stage="measure"):
        value = row.reason if row.value is None else f"{row.value:.3f}, real against real {row.floor}"
        print(f"  {row.component}.{row.quantity} {row.extractor}: {value}")
    for found in adverse:
        print(f"  {found.kind}: {found.text}")
    return criterion, adverse


def flagged(criterion: CriterionRow, adverse: list[FindingRow]) -> bool:
    """Return whether an audit says that training images are reproduced."""
    return criterion.status == "not_met" or criterion.adverse or "memorisation" in {row.kind for row in adverse}


def test_an_over_trained_generator_is_flagged(tmp_path: Path) -> None:
    """Twenty phantoms and far too many steps: the audit that trains it says that training images are reproduced."""
    few = phantoms(20, seed=20260101, size=SIZE, patients=20)
    options = {"autoencoder_steps": 500, "steps": 1000, "batch_size": 20, "threads": 1}
    assert flagged(*said(*audited(tmp_path, few, {"latent_diffusion": options})))


def test_the_same_generator_normally_trained_is_not_flagged(results: Results, tmp_path: Path) -> None:
    """The images of the table, of the same generator trained on 320 phantoms: the criterion is met."""
    write_phantoms(tmp_path / "synthetic", results.images["latent_diffusion", "trained"])
    criterion, adverse = said(*audited(tmp_path, arm("train", TRAINED_ON, SIZE), {"folder": {"path": "synthetic"}}))
    assert criterion.status == "met"
    assert not flagged(criterion, adverse)


STEPS = 128


def command(project: Project, name: str) -> list[str]:
    """Return the command of an audit with its own results file and cache."""
    return [sys.executable, "-m", "harness.cli", "audit", str(project.model), "--store", str(project.folder / f"{name}.duckdb"),
            "--cache", str(project.folder / name), "--workers", "1", "--quiet"]  # fmt: skip


def kept_state(folder: Path) -> dict[str, Any]:
    """Return where the unfinished training of a cache is: its step and its curve; nothing where there is no checkpoint."""
    path = next((folder / "unfinished").glob("*/network.pt"), None)
    return {} if path is None else dict(torch.load(path, weights_only=True)["state"])


def training(results: Path) -> list[tuple[str, int, float]]:
    """Return the curves of the one audit of a results file."""
    store = Store(results)
    ((audit,),) = store.query("select distinct audit_id from audits").rows
    return [(row.series, row.step, row.value) for row in store.current(TrainingRow, audit)]


def synthetic_images(folder: Path) -> dict[str, bytes]:
    """Return the bytes of the images that the generator of a cache made, by their place in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("??/*/synthetic/images.npy")}


def test_a_killed_training_goes_on_from_its_checkpoint(project: Project) -> None:
    """SIGKILL in the middle of the training: the same command goes on from the checkpoint and ends with the same bits."""
    project.write(generator={"ddpm": {"steps": STEPS, "threads": 1}}, samples=32, perturbations=None)
    for name in ("calm", "killed"):
        (project.folder / f"{name}.duckdb.salt").write_bytes(bytes(range(16)))
    calm = subprocess.run(command(project, "calm"), check=False, capture_output=True, text=True)
    assert calm.returncode in (0, 1, 3), calm.stderr

    child = subprocess.Popen(command(project, "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    # The first checkpoint is of the first step, the second of 30 s later.
    while child.poll() is None and kept_state(project.folder / "killed").get("step", 0) < 2:
        time.sleep(0.5)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    left = kept_state(project.folder / "killed")
    print(f"\nkilled after the checkpoint of step {left['step']} of {STEPS}, {left['seconds']:.0f} s of training")
    assert 1 < left["step"] < STEPS, "the training was over before it could be killed: raise STEPS"

    again = subprocess.run(command(project, "killed"), check=False, capture_output=True, text=True)
    assert again.returncode == calm.returncode, again.stderr
    curves = {name: training(project.folder / f"{name}.duckdb") for name in ("calm", "killed")}
    # Seconds are never twice the same: those of the checkpoint stand because its steps were not taken again.
    assert left["curve"]
    assert {tuple(point) for point in left["curve"]} <= set(curves["killed"])
    seconds = sorted((step, value) for series, step, value in curves["killed"] if series == "seconds")
    assert [value for _, value in seconds] == sorted(value for _, value in seconds)
    assert seconds[-1][0] == STEPS
    whole = max(value for series, _, value in curves["calm"] if series == "seconds")
    print(f"both attempts trained for {seconds[-1][1]:.0f} s together, an undisturbed one for {whole:.0f} s")
    losses = {name: sorted(point for point in curve if point[0] != "seconds") for name, curve in curves.items()}
    assert losses["killed"] == losses["calm"]
    assert synthetic_images(project.folder / "calm")
    assert synthetic_images(project.folder / "killed") == synthetic_images(project.folder / "calm")
    assert everything(project.folder / "killed.duckdb") == everything(project.folder / "calm.duckdb")
    assert not kept_state(project.folder / "killed")
