"""16-bit DICOM series and patches of real 3D volumes go through `measure` with their spacing; two patients give no interval."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from ruamel.yaml import YAML

from harness import specfile
from harness.checks import assemble
from harness.host import Host
from harness.records import ImageSetRow, ScoreRow
from harness.run import Audit, Settings

pytestmark = pytest.mark.acceptance

SPACING = (2.5, 0.7, 0.7)


def write_series(folder: Path, patient: str, seed: int) -> None:
    """Write 16 slices of 32 x 32 pixels, 16 bit, as a scanner would: out of order, with rescale and position."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    grid = np.linspace(-1, 1, 32)
    y, x = np.meshgrid(grid, grid, indexing="ij")
    series = generate_uid(entropy_srcs=[patient, str(seed)])
    for k in rng.permutation(16):
        body = 1000 + 400 * (np.hypot(x, y) < 0.8 - 0.02 * abs(k - 8)) + rng.normal(0, 40, (32, 32)) + 30 * rng.random()
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[patient, str(seed), str(k)])
        data = FileDataset(str(folder / f"{k:02d}.dcm"), {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        data.PatientID, data.PatientName, data.SeriesInstanceUID, data.Modality = patient, f"Name^{patient}", series, "CT"
        data.StudyDate = "20200101"
        data.Rows = data.Columns = 32
        data.PixelSpacing, data.ImageOrientationPatient = [SPACING[1], SPACING[2]], [1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient = [0, 0, float(k) * SPACING[0]]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
        data.RescaleIntercept, data.RescaleSlope = -1024, 1
        data.PixelData = np.rint(body + 1024 - 1000).astype(np.uint16).tobytes()
        data.save_as(folder / f"{k:02d}.dcm", enforce_file_format=True)


def run(folder: Path, body: dict[str, object]) -> Audit:
    """Run an audit in this process."""
    with (folder / "model.yaml").open("w", encoding="utf-8") as stream:
        YAML(typ="safe", pure=True).dump(body, stream)
    file = specfile.read(folder / "model.yaml")
    audit = Audit(file, assemble(file, Host.discover()), Settings(folder / "results.duckdb", folder / "cache", workers=0))
    audit.run()
    return audit


def model(data: dict[str, object], path: str, samples: int) -> dict[str, object]:
    """Return a model.yaml that measures volumes."""
    return {
        "audit": "volumes", "seed": 1, "data": data, "generator": {"folder": {"path": path}}, "samples": samples,
        "extractors": ["pixels", "random_conv"], "metrics": ["frechet", "kernel", "manifold"],
        "intervals": {"half_samples": 20, "floor_splits": 6},
        "purposes": {"look": {"context_of_use": "measures volumes", "uses_model": False}},
    }  # fmt: skip


def test_a_dicom_series_is_measured_with_its_spacing(tmp_path: Path) -> None:
    """Thirty patients' series are volumes of 16 slices, 2.5 mm apart; no name or id of a patient is stored."""
    for arm, first, count in (("train", 0, 24), ("test", 100, 12), ("synthetic", 200, 24)):
        for n in range(first, first + count):
            write_series(tmp_path / arm / f"case{n}", f"HOSP-{n:04d}", n)
    data = {"train": "train", "test": "test", "series": True, "window": [-1000, 1000], "patients": {"header": "PatientID"},
            "synthetic": {}}  # fmt: skip
    audit = run(tmp_path, model(data, "synthetic", 24))

    sets = {row.role: row for row in audit.store.current(ImageSetRow, audit.id)}
    assert sets["train"].size_px == [16, 32, 32]
    assert sets["train"].spacing_mm == pytest.approx(list(SPACING))
    assert (sets["train"].patients, sets["test"].patients) == (24, 12)
    scores = audit.store.current(ScoreRow, audit.id, stage="measure")
    assert len(scores) == 14
    assert all(s.status == "ok" and s.ci_low is not None for s in scores), [(s.quantity, s.reason or s.ci_method) for s in scores]
    for path in (tmp_path / "results.duckdb", *tmp_path.glob("*.pdf")):
        assert b"HOSP-" not in path.read_bytes()
    assert pydicom.dcmread(tmp_path / "train" / "case0" / "00.dcm").PatientID == "HOSP-0000"


def test_patches_of_two_real_volumes_have_spacing_and_no_interval(real_data: Path, tmp_path: Path) -> None:
    """Patches of two BraTS patients are measured at 1 mm; one patient an arm gives values without intervals, and says so."""
    volumes = real_data / "mri_brats3d"
    for arm, patient in (
        ("train", "brats_2013_pat0004_1"),
        ("test", "brats_2013_pat0006_1"),
        ("synthetic", "brats_2013_pat0006_1"),
    ):
        (tmp_path / arm / patient).mkdir(parents=True)
        (tmp_path / arm / patient / "flair.nii.gz").symlink_to(volumes / patient / "Flair_subtrMeanDivStd.nii.gz")
    data = {"train": "train", "test": "test", "window": {"percentiles": [0.5, 99.5]}, "patients": "folder",
            "patches": {"size": [24, 32, 32], "per_image": 40}, "synthetic": {}}  # fmt: skip
    audit = run(tmp_path, model(data, "synthetic", 40))

    sets = {row.role: row for row in audit.store.current(ImageSetRow, audit.id)}
    assert sets["train"].size_px == [24, 32, 32]
    assert sets["train"].spacing_mm == [1.0, 1.0, 1.0]
    scores = audit.store.current(ScoreRow, audit.id, stage="measure")
    assert scores
    assert all(s.status == "ok" and s.ci_low is None and s.bound_low is None for s in scores)
    assert all("1 train patients" in s.ci_method for s in scores)

    from harness.dossier import collect, html, render_audit

    assert "no interval" in html(collect(audit.store, audit.id))
    assert render_audit(audit.store, audit.id, tmp_path / "dossier.pdf").stat().st_size > 20_000
