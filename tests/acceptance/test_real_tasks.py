"""Tasks on public medical images: they learn, every mix has its value, and gains over real images are paired case by case.

Each audit is one command, as a user would type it, on images of HARNESS_TEST_DATA that are lent to it by symbolic links. No public
generator goes with three of the four data sets. For them a generator stands in that a user could have:

- us_busi_masks, cxr_kermany: a folder of real images of others, set aside beforehand. It is what a perfect generator would make, so
  its mixes say what so many images of other patients are worth, and nothing about any generator.
- mri_lgg: `ddpm`, conditioned on the mask and trained by the audit itself, so briefly that its images show the outline of a head, a
  tinge where the mask is, and little else.

mammo_mcgan comes with the output of a third party's C-DCGAN. The synthetic images are fewer than the real ones, so 45 % of the patients
are kept to stop by, and synthetic images alone are compared with as many real ones.

`python -m acceptance.test_real_tasks [NAME ...]`, from the folder `tests`, runs the audits without pytest and prints the table.
"""

from __future__ import annotations

import copy
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from harness.api import Quantity
from harness.records import AuditRow, CaseScoreRow, CellRow, CriterionRow, FindingRow, ImageSetRow, ScoreRow, VerdictRow
from harness.stages.evaluate import BASELINE, GAIN, LEAST_UNITS
from harness.store import Store
from harness_plugins.tasks.classification import Classification
from harness_plugins.tasks.segmentation import Segmentation

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3600)]

REPEATS = 5
MIXES: tuple[Sequence[float], ...] = ([1, 0], [0.25, 0], [0.25, 0.75], [0, 1])
# What README.md promises: seconds of processor time, which another busy process changes less than those of the clock.
AT_MOST_S = 360
DECIDED, OPEN = ("met", "not_met"), "inconclusive"
VERDICTS = {"met": "adequate", "not_met": "inadequate", "inconclusive": "insufficient_evidence"}
CODES = {"adequate": 0, "adequate_with_conditions": 0, "inadequate": 1, "insufficient_evidence": 3}
TASKS: dict[str, Any] = {task.name: task for task in (Segmentation, Classification)}
CXR_PATIENT = r"person\d+|(?:NORMAL2-)?IM-\d+"
Mix = tuple[float, float]


@dataclass(frozen=True)
class Trial:
    """One audit: how its folder is laid out, its model.yaml, what its critical criterion is about, and when the task has learned.

    prepare: lays the images of a data set out in a folder, and returns what `data` and the generator of model.yaml say of them.
    margin: by how much the mean over real training images must beat what needs no learning (`unlearned`).
    """

    name: str
    prepare: Callable[[Path, Path], dict[str, Any]]
    task: dict[str, Any]
    judged: str
    mix: Mix
    loss: float
    margin: float
    mixes: Sequence[Sequence[float]] = MIXES

    @property
    def component(self) -> Any:
        """The class of the task."""
        return TASKS[next(iter(self.task))]

    def model(self, source: Path, folder: Path) -> dict[str, Any]:
        """Lay the images out in the folder and return its model.yaml."""
        given = self.prepare(source, folder)
        criterion = {
            "id": "C1", "claim": "Images of this kind do the work of real ones", "quantity": f"{self.component.name}.{self.judged}",
            "mix": list(self.mix), "gain_at_least": -self.loss, "because": "a test", "n_min": 10,
            "unit": "patient" if "patients" in given["data"] else "image",
            "one_kind_because": "the claim is the task result itself, on real test images",
        }  # fmt: skip
        return {
            "audit": self.name.replace("_", "-"), "seed": 20260117, **given,
            "tasks": {"components": [self.task], "mixes": list(self.mixes), "repeats": REPEATS},
            "purposes": {"train-a-model": {"context_of_use": "A test: train a model with these images", "criteria": [criterion]}},
        }  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A finished audit: its results, exit code, what it printed, and seconds of the clock and of the processor."""

    store: Store
    audit: str
    code: int
    said: str
    clock_s: float
    processor_s: float

    def scores(self, quantity: str, **equals: Any) -> dict[Mix, ScoreRow]:
        """Return the row of each mix on all real test images, once each."""
        rows = self.store.current(
            ScoreRow, self.audit, stage="evaluate", tested_on="real", stratum="", region="", quantity=quantity, **equals
        )
        found = {(row.real_share or 0.0, row.synthetic_share or 0.0): row for row in rows}
        assert len(found) == len(rows), f"{quantity}: a mix has two rows"
        return found


def lend(files: Sequence[Path], root: Path, folder: Path) -> None:
    """Link files into a folder at their places below the root, each with its mask where it has one."""
    for file in files:
        for one in (file, file.with_name(f"{file.stem}_mask{file.suffix}")):
            if one.exists():
                target = folder / one.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(one.resolve())


def pictures(folder: Path) -> list[Path]:
    """Return the image files below a folder, without masks, in the order of their names."""
    return sorted(path for path in folder.rglob("*.*") if path.is_file() and not path.stem.endswith("_mask"))


def dealt(owners: Sequence[Any], shares: Mapping[str, int], seed: int) -> dict[str, set[Any]]:
    """Deal owners of images, in random order, to the arms: so many to each."""
    order = [owners[i] for i in np.random.default_rng(seed).permutation(len(owners))]
    ends = np.cumsum([0, *shares.values()])
    assert ends[-1] <= len(order)
    return {arm: set(order[low:high]) for arm, low, high in zip(shares, ends[:-1], ends[1:], strict=True)}


def busi(source: Path, folder: Path) -> dict[str, Any]:
    """Lend breast ultrasound: of each class 10 images to test on, 11 to train on, 11 as a perfect generator.

    File names do not say whose image it is, so images stand for patients and may share some.
    """
    root = source / "us_busi_masks"
    for name in ("benign", "malignant", "normal"):
        for arm, chosen in dealt(pictures(root / name), {"test": 10, "train": 11, "others": 11}, 1).items():
            lend(sorted(chosen), root, folder / arm)
    data = {"train": "train", "test": "test", "labels": "folder", "masks": {"suffix": "_mask"}, "channels": "grey",
            "size": [64, 64], "resize": "stretch", "spacing_mm": [1.0, 1.0], "window": [0, 255]}  # fmt: skip
    return {"data": data, "generator": {"folder": {"path": "others"}}, "samples": 33}


def mri(source: Path, folder: Path) -> dict[str, Any]:
    """Lend brain slices of 24 patients: 12 to train on, 12 to test on; a diffusion model makes one for each mask that it is given."""
    root = source / "mri_lgg"
    for arm, patients in dealt(sorted(root.iterdir()), {"train": 12, "test": 12}, 1).items():
        lend([file for patient in sorted(patients) for file in pictures(patient)], root, folder / arm)
    data = {"train": "train", "test": "test", "patients": {"folder": 1}, "masks": {"suffix": "_mask"}, "size": [64, 64],
            "resize": "stretch", "spacing_mm": [1.0, 1.0], "window": [0, 255]}  # fmt: skip
    # One image for each mask of a patient who is not kept to stop by: 10 patients with three slices each.
    ddpm = {"condition": "mask", "steps": 150, "batch_size": 8, "flip_axes": [1]}
    return {"data": data, "generator": {"ddpm": ddpm}, "samples": 30}


def cxr(source: Path, folder: Path) -> dict[str, Any]:
    """Lend chest radiographs: of each class 80 patients to test on, 80 to train on, 80 as a perfect generator."""
    root = source / "cxr_kermany" / "train"
    for name in ("NORMAL", "PNEUMONIA"):
        # One radiograph is there under the names of two patients.
        files = [file for file in pictures(root / name) if file.name != "NORMAL2-IM-0096-0001.jpeg"]
        owner = {file: _matched(CXR_PATIENT, file.name) for file in files}
        for arm, patients in dealt(sorted(set(owner.values())), {"test": 80, "train": 80, "others": 80}, 1).items():
            lend([file for file in files if owner[file] in patients], root, folder / arm)
    data = {"train": "train", "test": "test", "labels": "folder", "patients": {"pattern": CXR_PATIENT},
            "channels": "grey", "size": [64, 64], "resize": "stretch", "spacing_mm": [1.0, 1.0], "window": [0, 255]}  # fmt: skip
    return {"data": data, "generator": {"folder": {"path": "others"}}, "samples": 160}


def _matched(pattern: str, text: str) -> str:
    """Return what a pattern finds in a text."""
    found = re.search(pattern, text)
    assert found is not None, text
    return found[0]


def mammo(source: Path, folder: Path) -> dict[str, Any]:
    """Lend mammography mass crops, and the output of a generator that was trained on the training crops."""
    for arm, name in (("train", "real_train"), ("test", "real_val"), ("synthetic", "synthetic_a")):
        (folder / arm).symlink_to(source / "mammo_mcgan" / name)
    data = {"train": "train", "test": "test", "labels": "folder", "patients": {"pattern": r"P_\d+"}, "channels": "grey",
            "spacing_mm": [1.0, 1.0], "window": [0, 255], "validation_share": 0.45, "synthetic": {"labels": "folder"}}  # fmt: skip
    return {"data": data, "generator": {"folder": {"path": "synthetic"}}, "samples": 650}


TRIALS = {
    trial.name: trial
    for trial in (
        # Scans without a lesion have no value: a third of the cases would be won by finding nothing anywhere.
        Trial("us_busi_masks", busi, {"segmentation": {"empty": "masked", "steps": 120, "flip_axes": [1]}}, "dice", (0, 1), 0.1, 0.1),
        Trial("mri_lgg", mri, {"segmentation": {"steps": 120, "flip_axes": [1]}}, "dice", (0.25, 0.75), 0.1, 0.1),
        Trial("cxr_kermany", cxr, {"classification": {"steps": 100}}, "auroc", (0, 1), 0.05, 0.3),
        # The options of audits/mammography_dcgan.
        Trial("mammo_mcgan", mammo, {"classification": {"side": 48, "steps": 300, "learning_rate": 0.003, "patience": 15,
                                                        "flip_axes": [0, 1]}}, "auroc", (0, 1), 0.02, 0.05, ([1, 0], [0, 1])),
    )
}  # fmt: skip


def carried_out(body: Mapping[str, Any], folder: Path, device: str = "cpu") -> Run:
    """Write model.yaml and run `harness audit` on it in a process of its own."""
    model = folder / "model.yaml"
    with model.open("w", encoding="utf-8") as stream:
        YAML(typ="safe", pure=True).dump(dict(body), stream)
    out = folder / f"out-{device}"
    command = [sys.executable, "-m", "harness.cli", "audit", str(model), "--store", str(out / "results.duckdb"), "--device", device,
               "--workers", "1", "--quiet"]  # fmt: skip
    clock, processor = time.monotonic(), _processor_s()
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    clock, processor = time.monotonic() - clock, _processor_s() - processor
    said = ended.stdout + ended.stderr
    assert ended.returncode in CODES.values(), said
    store = Store(out / "results.duckdb")
    (audit,) = store.audits()
    return Run(store, audit, ended.returncode, said, clock, processor)


def _processor_s() -> float:
    """Return the processor time of all processes that were started from here and have ended, s."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def require_every_row(trial: Trial, run: Run) -> None:
    """Every quantity has a value for every mix and a gain for every mix but (1, 0), with interval, cases, patients and unit."""
    failed = [(cell.stage, cell.component, cell.reason) for cell in run.store.current(CellRow, run.audit) if cell.status != "ok"]
    assert not failed
    shared = {"patient_overlap", "pixel_overlap", "identical_to_training"}
    assert not [row.text for row in run.store.current(FindingRow, run.audit) if row.kind in shared]
    mixes = {(float(real), float(synthetic)) for real, synthetic in trial.mixes}
    (test,) = run.store.current(ImageSetRow, run.audit, role="test")
    for quantity in trial.component.quantities:
        cases = cases_of(run, quantity.name, mixes)
        for name, wanted in ((quantity.name, mixes), (quantity.name + GAIN, mixes - {BASELINE})):
            rows = run.scores(name, component=trial.component.name)
            assert set(rows) == wanted, name
            for mix, row in rows.items():
                require_row(quantity, row, test)
                values = cases[mix] - (cases[BASELINE] if name.endswith(GAIN) else 0.0)
                present = values[:, np.isfinite(values).all(axis=0)]
                assert present.shape == (REPEATS, row.n or 0), (name, mix)
                sign = -1.0 if name.endswith(GAIN) and quantity.better == "lower" else 1.0
                assert row.value is None or row.value == pytest.approx(sign * present.mean(), abs=1e-9), (name, mix)
    for row in run.store.current(ScoreRow, run.audit, stage="evaluate"):
        assert row.status == "ok" or row.reason, row


def require_row(quantity: Quantity, row: ScoreRow, test: ImageSetRow) -> None:
    """A row has value, cases, patients and unit, and an interval around its value, or it says why there is none."""
    what = f"{row.quantity} of ({row.real_share}, {row.synthetic_share})"
    assert row.unit == quantity.unit
    if quantity.name == "hd95" and row.value is None:
        # There is no distance where nothing was found, and a poor mix may find nothing anywhere.
        assert row.reason == "no test case has a value", what
        return
    assert row.status == "ok", f"{what}: {row.reason}"
    assert row.value is not None
    assert row.n is not None
    assert row.n <= test.n
    assert (row.n_patients is None) == (test.patients is None), what
    assert row.n < test.n or row.n_patients == test.patients, what
    if row.ci_low is not None and row.ci_high is not None:
        assert row.ci_low <= row.value <= row.ci_high, what
        assert f"{REPEATS} repeats" in row.ci_method, f"{what}: {row.ci_method}"
        assert row.level == 0.95
    elif quantity.no_interval:
        assert row.ci_method == f"no interval: {quantity.no_interval}"
    else:
        assert quantity.name == "hd95", f"{what}: {row.ci_method}"
        assert f"at least {LEAST_UNITS} are needed" in row.ci_method


def cases_of(run: Run, quantity: str, mixes: Iterable[Mix]) -> dict[Mix, np.ndarray]:
    """Return what each mix gave of a quantity, (repeats, cases), cases in one order for all mixes and NaN where a case has no value."""
    rows = run.store.current(CaseScoreRow, run.audit, quantity=quantity, tested_on="real", region="")
    place = {case: i for i, case in enumerate(sorted({row.case_id for row in rows}))}
    found = {mix: np.full((REPEATS, len(place)), np.nan) for mix in mixes}
    for row in rows:
        found[row.real_share, row.synthetic_share][row.repeat, place[row.case_id]] = row.value
    return found


def require_verdict(run: Run) -> CriterionRow:
    """The criterion is decided by its bounds or says that they cannot tell; verdict and exit code follow from it."""
    (criterion,) = run.store.current(CriterionRow, run.audit)
    (verdict,) = run.store.current(VerdictRow, run.audit)
    assert criterion.status in (*DECIDED, OPEN), criterion
    assert criterion.reason
    assert verdict.verdict.startswith(VERDICTS[criterion.status]), verdict
    assert run.code == CODES[verdict.verdict]
    assert "dossier" in run.said
    return criterion


def unlearned(trial: Trial, folder: Path) -> float:
    """Return what needs no learning: AUROC of guessing; the best Dice of one mask for all, drawn with the test masks known.

    That mask is wherever a share of the training masks has foreground, for the share that suits the test masks best; among them is
    the empty mask.
    """
    if trial.judged == "auroc":
        return 0.5
    train, test = (np.stack([mask_of(file) for file in pictures(folder / arm)]) for arm in ("train", "test"))
    if trial.task["segmentation"].get("empty") == "masked":
        test = test[test.any(axis=(1, 2))]
    often = train.mean(axis=0)
    return max(float(np.mean([dice(often > share, mask) for mask in test])) for share in np.linspace(0.0, 1.0, 51))


def mask_of(file: Path) -> np.ndarray:
    """Return the foreground of an image's mask at the size of the audits, (64, 64) bool."""
    with Image.open(file.with_name(f"{file.stem}_mask{file.suffix}")) as mask:
        return np.asarray(mask.convert("L").resize((64, 64), Image.Resampling.NEAREST)) > 0


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Dice of two masks, 1 where both are empty."""
    both = int(one.sum()) + int(other.sum())
    return 2.0 * int((one & other).sum()) / both if both else 1.0


def lines(trial: Trial, run: Run, unlearned_value: float) -> Iterator[str]:
    """Yield the Markdown rows of an audit: each mix with value and gain, their intervals, and what the criterion says."""
    (criterion,) = run.store.current(CriterionRow, run.audit)
    values, gains = run.scores(trial.judged), run.scores(trial.judged + GAIN)
    for mix, row in values.items():
        gain = gains.get(mix)
        judged = f"{criterion.status.replace('_', ' ')}: at least {-trial.loss:g}" if mix == trial.mix else ""
        patients = "unknown" if row.n_patients is None else str(row.n_patients)
        yield (f"| {trial.name} | {trial.judged} | ({mix[0]:g}, {mix[1]:g}) | {_with_interval(row)} | "
               f"{_with_interval(gain) if gain else ''} | {row.n} | {patients} | {judged} |")  # fmt: skip
    yield (f"\n{trial.name}: without learning {unlearned_value:.3f}; {run.clock_s:.0f} s, {run.processor_s:.0f} s of processor time; "
           f"C1 {criterion.status}: {criterion.reason}\n")  # fmt: skip


def _with_interval(row: ScoreRow) -> str:
    if row.ci_low is None:
        return f"{row.value:.3f}"
    return f"{row.value:.3f} ({row.ci_low:.3f} to {row.ci_high:.3f})"


HEAD = ("| data | quantity | mix | value | gain over (1, 0) | cases | patients | criterion |", "|---|---|---|---|---|---|---|---|")


def show(text: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Print, whatever pytest holds back."""
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(text) + "\n")


@pytest.mark.parametrize("name", ["us_busi_masks", "mri_lgg", "cxr_kermany"])
def test_tasks_learn_on_real_images_and_mixes_are_compared(
    name: str, real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real images teach the task far more than guessing knows, every mix has value and paired gain, and the audit keeps to its time."""
    trial = TRIALS[name]
    run = carried_out(trial.model(real_data, tmp_path), tmp_path)
    show([*HEAD, *lines(trial, run, unlearned(trial, tmp_path))], capsys)
    require_every_row(trial, run)
    require_verdict(run)
    learned = run.scores(trial.judged)[BASELINE]
    assert learned.value is not None
    assert learned.ci_low is not None
    assert learned.value >= unlearned(trial, tmp_path) + trial.margin
    assert learned.ci_low > unlearned(trial, tmp_path)
    assert run.processor_s <= AT_MOST_S


def test_synthetic_images_alone_against_real_ones_on_mammography(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained on synthetic crops or on as many real ones: the difference has an interval by patient and repeat, which decides or not."""
    trial = TRIALS["mammo_mcgan"]
    run = carried_out(trial.model(real_data, tmp_path), tmp_path)
    show([*HEAD, *lines(trial, run, 0.5)], capsys)
    require_every_row(trial, run)
    real, synthetic, gain = run.scores("auroc")[BASELINE], run.scores("auroc")[0.0, 1.0], run.scores("auroc_gain")[0.0, 1.0]
    assert real.value is not None
    assert synthetic.value is not None
    assert gain.value == pytest.approx(synthetic.value - real.value)
    assert gain.n_patients == 102
    assert gain.ci_low is not None
    assert gain.ci_high is not None
    assert "102 patients" in gain.ci_method
    assert real.ci_low is not None
    assert real.ci_low > 0.5
    assert real.value >= 0.5 + trial.margin

    criterion = require_verdict(run)
    assert gain.bound_low is not None
    assert gain.bound_high is not None
    if gain.bound_low >= -trial.loss:
        assert criterion.status == "met"
    elif gain.bound_high < -trial.loss:
        assert criterion.status == "not_met"
    else:
        # Both bounds are named: the lower one rules "met" out, the upper one "not met".
        assert criterion.status == OPEN
        assert "is below" in criterion.reason
        assert "upper bound" in criterion.reason
    assert run.processor_s <= AT_MOST_S


def kinds(run: Run) -> Counter[tuple[Any, ...]]:
    """Return how many rows there are of each kind: what a row is about, and not what it says."""
    scores = run.store.current(ScoreRow, run.audit)
    cases = run.store.current(CaseScoreRow, run.audit, quantity="dice")
    return Counter(
        [("scores", r.stage, r.component, r.quantity, r.stratum, r.region, r.tested_on, r.real_share, r.synthetic_share, r.unit, r.better)
         for r in scores]
        + [("case_scores", r.component, r.quantity, r.region, r.tested_on, r.real_share, r.synthetic_share, r.repeat) for r in cases]
        + [("cells", r.stage, r.component, r.status) for r in run.store.current(CellRow, run.audit)]
        + [("criteria", r.purpose, r.criterion) for r in run.store.current(CriterionRow, run.audit)]
        + [("verdicts", r.purpose) for r in run.store.current(VerdictRow, run.audit)]
    )  # fmt: skip


def smallest(source: Path, folder: Path) -> dict[str, Any]:
    """Return the audit of brain slices with a generator and tasks that train for a few steps."""
    body = copy.deepcopy(TRIALS["mri_lgg"].model(source, folder))
    body["generator"]["ddpm"]["steps"] = 10
    body["tasks"]["components"] = [{"segmentation": {"steps": 10}}]
    body["tasks"] |= {"mixes": [[1, 0], [0.25, 0.75]], "repeats": 2}
    return body


def test_a_gpu_gives_rows_of_the_same_kinds(real_data: Path, tmp_path: Path) -> None:
    """Generator and tasks train on the GPU where it is asked for, and the results hold the rows that the processor gives."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU: torch.cuda.is_available() is false")
    body = smallest(real_data, tmp_path)
    runs = {device: carried_out(body, tmp_path, device) for device in ("cpu", "cuda")}
    (row,) = runs["cuda"].store.rows(AuditRow, runs["cuda"].audit)
    assert row.environment["device"] == "cuda"
    assert {cell.status for cell in runs["cuda"].store.current(CellRow, runs["cuda"].audit)} == {"ok"}
    assert kinds(runs["cuda"]) == kinds(runs["cpu"])


def main(names: Sequence[str]) -> None:
    """Run audits and print their table."""
    source = Path(os.environ["HARNESS_TEST_DATA"])
    print("\n".join(HEAD))
    for name in names or TRIALS:
        with tempfile.TemporaryDirectory() as folder:
            trial = TRIALS[name]
            run = carried_out(trial.model(source, Path(folder)), Path(folder))
            print("\n".join(lines(trial, run, unlearned(trial, Path(folder)))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
