"""Looking at folders finds arms, labels, patients, masks, windows and sizes; the `model.yaml` written from it is valid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from ruamel.yaml import YAML

from harness.datasets import fit_preprocessing, load
from harness.errors import InputError
from harness.images import ImageSet
from harness.inspection import Description, describe, write_model_yaml
from harness.spec import AuditSpec


def png(path: Path, seed: int = 0, size: tuple[int, ...] = (8, 8), top: int = 255) -> Path:
    """Write seeded noise, 16 bit where its top needs it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, top + 1, size)
    pixels.flat[0] = top
    Image.fromarray(pixels.astype(np.uint8 if top < 256 else np.uint16)).save(path)
    return path


def dicom(path: Path, patient: str, z: float) -> None:
    """Write one 12-bit slice of a patient."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = pydicom.uid.generate_uid()
    elements = {
        "Rows": 4, "Columns": 4, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16,
        "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0, "PixelSpacing": [0.5, 0.5], "PatientID": patient,
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, z], "SeriesInstanceUID": "1.2.3",
    }  # fmt: skip
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.PixelData = np.full((4, 4), int(z) + 7, np.uint16).tobytes()
    dataset.save_as(path, enforce_file_format=True)


def audit(description: Description) -> AuditSpec:
    """Return the written file as a checked spec."""
    return AuditSpec.model_validate(YAML(typ="safe").load(write_model_yaml(description)))


def arms(description: Description) -> dict[str, ImageSet]:
    """Load all three arms as the written file says."""
    data = audit(description).data
    fitted = fit_preprocessing(data, description.folder, b"salt")
    places = {"train": data.train, "test": data.test, "synthetic": description.synthetic.path}
    return {
        role: load(
            data, description.folder / place, data, fitted, role=role, salt=b"salt", seed=0,
            origin="synthetic" if role == "synthetic" else "real",
        ).images
        for role, place in places.items()
    }  # fmt: skip


@pytest.mark.parametrize(
    ("train", "test", "synthetic"),
    [("train", "test", "synthetic"), ("real_train", "real_val", "generated"), ("real/training", "real/holdout", "fake_gan_v2"),
     ("Train", "Test", "samples"), ("real", "unseen", "out/diffusion")],
)  # fmt: skip
def test_arms_are_found_by_name(tmp_path: Path, train: str, test: str, synthetic: str) -> None:
    """Common names of folders are understood, also one level down."""
    for k, place in enumerate((train, test, synthetic)):
        png(tmp_path / place / "a.png", k)
        png(tmp_path / place / "b.png", k + 9)
    found = describe(tmp_path)

    assert (found.train.path, found.test.path, found.synthetic.path) == (train, test, synthetic)
    assert all(len(images) == 2 for images in arms(found).values())


def test_missing_arms_are_named(tmp_path: Path) -> None:
    """Without test or synthetic images there is no audit to write: the error says which names are looked for."""
    png(tmp_path / "train/a.png")

    with pytest.raises(InputError, match="no folder of test or synthetic images"):
        describe(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        describe(tmp_path / "none")


def test_labels_patients_masks_and_depth(tmp_path: Path) -> None:
    """Class folders, patients in file names, masks by suffix and a 12-bit range in 16-bit files are recognised."""
    for arm, patients in (("train", (1, 2, 3)), ("test", (4, 5))):
        for label in ("benign", "malignant"):
            for p in patients:
                png(tmp_path / f"{arm}/{label}/case_{p:03d}_{label}.png", p, top=4095)
                png(tmp_path / f"{arm}/{label}/case_{p:03d}_{label}_mask.png", p, top=1)
    png(tmp_path / "synthetic/benign/1.png", 8, top=4095)
    png(tmp_path / "synthetic/malignant/1.png", 9, top=4095)
    found = describe(tmp_path)
    spec, sets = audit(found), arms(found)

    assert (found.labels, found.n_patients) == (("benign", "malignant"), 5)
    assert spec.data.window == (0.0, 4095.0)
    assert spec.data.size == (8, 8)
    assert spec.data.masks is not None
    assert spec.data.masks.suffix == "_mask"
    assert (sets["train"].n_patients, len(sets["train"]), len(sets["test"])) == (3, 6, 4)
    assert sets["train"].offers() == {"masks", "labels", "patients"}
    assert "case" not in "".join(sets["train"].ids)


def test_folders_per_patient_and_mask_folder(tmp_path: Path) -> None:
    """Folders that differ between the arms are patients; a folder called masks holds masks."""
    for arm, patients in (("train", "ab"), ("test", "cd")):
        for p in patients:
            png(tmp_path / f"{arm}/images/{p}x/1.png")
            png(tmp_path / f"{arm}/masks/{p}x/1.png", top=1)
    png(tmp_path / "synthetic/1.png")
    png(tmp_path / "synthetic/2.png")
    spec, sets = audit(describe(tmp_path)), arms(describe(tmp_path))

    assert spec.data.patients is not None
    assert spec.data.patients.folder == 1
    assert sets["train"].n_patients == 2
    assert sets["train"].masks is not None


def test_mixed_sizes_are_stretched(tmp_path: Path) -> None:
    """Where sizes are mixed a policy is written that runs, with a comment."""
    for k, place in enumerate(("train", "test", "synthetic")):
        png(tmp_path / place / "a.png", k, (10, 12))
        png(tmp_path / place / "b.png", k, (20, 12))
    found = describe(tmp_path)

    assert audit(found).data.resize == "stretch"
    assert "2 sizes were seen" in write_model_yaml(found)
    assert arms(found)["test"].size_px == (15, 12)


def test_floating_point_and_differing_types(tmp_path: Path) -> None:
    """Floating point gets percentiles; synthetic files of another type get a warning in the file."""
    for place in ("train", "test"):
        (tmp_path / place).mkdir()
        for k in range(3):
            np.save(tmp_path / f"{place}/{k}.npy", np.random.default_rng(k).standard_normal((5, 5)))
    png(tmp_path / "synthetic/a.png", size=(5, 5))
    png(tmp_path / "synthetic/b.png", size=(5, 5))
    found = describe(tmp_path)

    assert audit(found).data.model_dump()["window"] == {"percentiles": (0.5, 99.5)}
    assert "# CAUTION synthetic files are of another number type (0 to 255)" in write_model_yaml(found)
    assert len(arms(found)["synthetic"]) == 2


def test_dicom_series_are_recognised(tmp_path: Path) -> None:
    """Folders of slices become volumes, patients come from the header, and the bits set the window."""
    for arm in ("train", "test", "synthetic"):
        for p in ("one", "two"):
            for z in range(4):
                dicom(tmp_path / f"{arm}/{p}/{z}.dcm", f"{arm}-{p}", 3.0 * z)
    found = describe(tmp_path)
    spec, sets = audit(found), arms(found)

    assert spec.data.series
    assert spec.data.patients is not None
    assert spec.data.patients.header == "PatientID"
    assert sets["train"].images.shape == (2, 1, 4, 4, 4)
    assert sets["train"].spacing_mm == (3.0, 0.5, 0.5)


def test_the_file_plans_what_is_installed(tmp_path: Path) -> None:
    """The written audit names the built-in components, every criterion has its reason, and odd folder names do no harm."""
    folder = tmp_path / "My data: #1 é"
    for place in ("train set", "test 'b'", 'synth "x"'):
        png(folder / place / "a.png")
        png(folder / place / "b.png", 3)
    found = describe(folder)
    spec = audit(found)

    assert spec.generator.options == {"path": 'synth "x"'}
    assert spec.samples == found.synthetic.n == 2
    assert [m.name for m in spec.metrics] == ["frechet", "kernel", "manifold", "memorisation"]
    assert [e.name for e in spec.extractors] == ["pixels", "random_conv"]
    assert [p.name for p in spec.perturbations] == ["gaussian_noise", "duplication", "mode_collapse"]
    assert all(c.because and c.qualified_by for purpose in spec.purposes.values() for c in purpose.criteria)
    assert len(arms(found)) == 3


def test_mammography_folder(real_data: Path) -> None:
    """The third-party mammography set is described as its owners describe it."""
    found = describe(real_data / "mammo_mcgan")

    assert (found.train.n, found.test.n, found.synthetic.n) == (1104, 192, 650)
    assert found.labels == ("benign", "malignant")
    assert found.patients == {"pattern": r"(?<![A-Za-z0-9])P_\d+"}
    assert found.train.sizes == {(128, 128): 200}
    assert audit(found).data.window == (0.0, 255.0)
