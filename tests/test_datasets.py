"""Folders become image sets: preprocessing fitted on real images, attributes, masks, patches; bad input is refused at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from harness.datasets import (
    Loaded,
    Preprocessing,
    anchored,
    digest_files,
    fingerprints,
    fit_preprocessing,
    known_as,
    load,
    located,
    open_saved,
    overlaps,
    save,
    split_validation,
)
from harness.errors import InputError, SpecError
from harness.images import ImageSet, Origin
from harness.spec import Attribute, DataSpec, Layout

SALT = b"of this test"


def spec(**options: Any) -> DataSpec:
    """Return data with train and test folders and these options."""
    return DataSpec.model_validate({"train": "train", "test": "test", **options})


def png(path: Path, value: int | np.ndarray = 0, size: tuple[int, ...] = (6, 8)) -> Path:
    """Write a PNG of one value, or of these pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(value if isinstance(value, np.ndarray) else np.full(size, value, np.uint8)).save(path)
    return path


def nifti(path: Path, volume: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Path:
    """Write a (z, y, x) volume with its spacing in the same order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(volume.transpose(2, 1, 0), np.diag([*spacing[::-1], 1.0])), path)
    return path


def dicom(path: Path, pixels: np.ndarray, **elements: Any) -> Path:
    """Write a 16-bit DICOM file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = pydicom.uid.generate_uid()
    fixed = {
        "Rows": pixels.shape[0], "Columns": pixels.shape[1], "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0, "PixelSpacing": [0.5, 0.7],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    }  # fmt: skip
    for name, value in {**fixed, **elements}.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.astype(np.uint16).tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def read(
    base: Path, data: DataSpec, folder: str = "train", *, role: str = "train", layout: Layout | None = None,
    salt: bytes = SALT, seed: int = 0, store_in: Path | None = None,
) -> Loaded:  # fmt: skip
    """Fit on the training folder and load one folder."""
    preprocessing = fit_preprocessing(data, base, salt)
    origin: Origin = "synthetic" if role == "synthetic" else "real"
    return load(
        data, base / folder, layout or anchored(data, base), preprocessing,
        role=role, salt=salt, seed=seed, origin=origin, store_in=store_in,
    )  # fmt: skip


def refusal(base: Path, data: DataSpec, folder: str = "train", role: str = "train") -> str:
    """Return the text of the error."""
    with pytest.raises(InputError) as caught:
        read(base, data, folder, role=role)
    assert all(len(problem.lines()) <= 3 for problem in caught.value.problems)
    return str(caught.value)


def notes(loaded: Loaded) -> dict[str, int]:
    """Return the counts of the notes by kind."""
    return {note.kind: note.count for note in loaded.notes}


def test_sixteen_bit_values_survive_the_window(tmp_path: Path) -> None:
    """16-bit pixels become float32 in [0, 1] from which each value can be recovered; ids are paths without extension."""
    pixels = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1361
    png(tmp_path / "train/b/x.png", pixels)
    images = read(tmp_path, spec()).images

    assert images.images.dtype == np.float32
    assert np.array_equal(np.round(images.images[0, 0] * 65535.0), pixels)
    assert images.ids == ("b/x",)


def test_declared_window_counts_what_is_outside(tmp_path: Path) -> None:
    """Pixels outside the window are set to its ends and counted, or refused where the spec says so."""
    png(tmp_path / "train/a.png", np.arange(48, dtype=np.uint8).reshape(6, 8))
    loaded = read(tmp_path, spec(window=[10, 20]))

    assert notes(loaded)["outside_window"] == 10 + 27
    assert "37 of 48 pixel values (77.08%) in 1 of 1 images" in loaded.notes[0].text
    assert loaded.images.images[0, 0, 1, 7] == pytest.approx(0.5)
    assert "pixels outside the window [10, 20]: a.png" in refusal(tmp_path, spec(window=[10, 20], outside="refuse"))


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_percentiles_are_exact_order_statistics(tmp_path: Path, dtype: type) -> None:
    """The streamed percentiles are the order statistics that sorting all pixels at once would give."""
    rng = np.random.default_rng(1)
    (tmp_path / "train").mkdir()
    parts: list[np.ndarray] = [(rng.standard_normal((30, 20)) * 300 - 50).astype(dtype) for _ in range(4)]
    for k, part in enumerate(parts):
        np.save(tmp_path / f"train/{k}.npy", part)
    window = fit_preprocessing(spec(window={"percentiles": [2.5, 97.5]}), tmp_path, SALT).window
    ordered = np.sort(np.stack(parts), axis=None)

    assert window == (ordered[round(0.025 * 2399)], ordered[round(0.975 * 2399)])


def test_preprocessing_survives_json_and_sees_training_files_only(tmp_path: Path) -> None:
    """The test folder may be anything; the fitted preprocessing round-trips with its digest."""
    png(tmp_path / "train/a.png", 7)
    fitted = fit_preprocessing(spec(patches={"size": [2, 2], "per_image": 1}, window=[0, 9]), tmp_path, SALT)

    assert Preprocessing.from_json(fitted.to_json()) == fitted
    assert Preprocessing.from_json(fitted.to_json()).sha256 == fitted.sha256
    assert replace(fitted, window=(0.0, 8.0)).sha256 != fitted.sha256


def test_every_arm_gets_the_window_of_the_training_files(tmp_path: Path) -> None:
    """A type that differs from the training files is an error where the window came from the type, not where it is declared."""
    png(tmp_path / "train/a.png", 100)
    (tmp_path / "out").mkdir()
    np.save(tmp_path / "out/a.npy", np.full((6, 8), 0.5))

    assert "numbers of type floating point where the training files have 0 to 255: a.npy" in refusal(tmp_path, spec(), "out")
    assert read(tmp_path, spec(window=[0, 1]), "out").images.images.max() == 0.5


def test_luma_and_channels(tmp_path: Path) -> None:
    """Colour becomes grey by ITU-R BT.601, grey becomes colour by repetition, and both are counted."""
    png(tmp_path / "train/a.png", np.full((4, 4, 3), (255, 0, 0), np.uint8))
    png(tmp_path / "train/b.png", np.full((4, 4, 3), 255, np.uint8))
    png(tmp_path / "train/c.png", 51, (4, 4))
    grey, colour = read(tmp_path, spec(channels="grey")), read(tmp_path, spec(channels="rgb"))

    assert grey.images.images[:, 0, 0, 0].tolist() == pytest.approx([0.299, 1.0, 0.2])
    assert (notes(grey)["channels_converted"], notes(colour)["channels_converted"]) == (2, 1)
    assert "outside_window" not in notes(grey)
    assert colour.images.images.shape == (3, 3, 4, 4)
    assert "grey and colour images are mixed" in refusal(tmp_path, spec())


def test_stretching(tmp_path: Path) -> None:
    """Shrinking averages areas, growing interpolates, masks take the nearest pixel, and the spacing keeps the field of view."""
    pixels = np.array([[0, 0, 255, 255], [0, 0, 255, 255]], np.uint8)
    png(tmp_path / "train/a.png", pixels)
    png(tmp_path / "train/a_m.png", pixels)
    small = read(tmp_path, spec(size=[1, 2], resize="stretch", spacing_mm=[1, 0.5], masks={"suffix": "_m"})).images
    large = read(tmp_path, spec(size=[2, 8], resize="stretch", masks={"suffix": "_m"})).images

    assert small.images[0, 0].tolist() == [[0.0, 1.0]]
    assert small.spacing_mm == (2.0, 1.0)
    assert large.images[0, 0, 0].tolist() == pytest.approx([0, 0, 0, 0.25, 0.75, 1, 1, 1])
    assert large.masks is not None
    assert large.masks[0, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_area_averaging_keeps_the_mean(tmp_path: Path) -> None:
    """Shrinking by a factor that is no whole number keeps the mean intensity."""
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53), dtype=np.uint8)
    png(tmp_path / "train/a.png", pixels)

    shrunk = read(tmp_path, spec(size=[10, 17], resize="stretch")).images.images

    assert shrunk.mean() == pytest.approx(pixels.mean() / 255, rel=1e-5)


def test_padding_and_cropping(tmp_path: Path) -> None:
    """Both work about the centre, keep the spacing, and refuse the wrong direction."""
    png(tmp_path / "train/a.png", 255, (2, 2))
    padded = read(tmp_path, spec(size=[4, 3], resize="pad")).images

    assert padded.images[0, 0].tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert read(tmp_path, spec(size=[1, 2], resize="crop", spacing_mm=[3, 3])).images.spacing_mm == (3.0, 3.0)
    assert "cannot be made 1 x 4 px by `resize: pad`" in refusal(tmp_path, spec(size=[1, 4], resize="pad"))
    assert "cannot be made 4 x 4 px by `resize: crop`" in refusal(tmp_path, spec(size=[4, 4], resize="crop"))


def test_mixed_sizes_need_a_policy(tmp_path: Path) -> None:
    """Different sizes are named with examples and the way out."""
    png(tmp_path / "train/a.png", size=(4, 4))
    png(tmp_path / "train/b.png", size=(4, 5))
    text = refusal(tmp_path, spec())

    assert "images of different sizes: 4 x 4 px in 1 of them (a.png), 4 x 5 px in 1 of them (b.png)" in text
    assert "resize: stretch" in text
    assert "an image of 4 x 5 px where 4 x 4 px are expected: b.png" in refusal(tmp_path, spec(size=[4, 4]))
    assert "needs a size to reach" in refusal(tmp_path, spec(resize="pad"))


def test_options_must_fit_the_number_of_axes(tmp_path: Path) -> None:
    """Three numbers for a 2D image are an error, and so is a mixture of images and volumes."""
    png(tmp_path / "train/a.png")
    text = refusal(tmp_path, spec(size=[1, 2, 3], spacing_mm=[1.0, 0.0], patches={"size": [1, 1, 1], "per_image": 1}))
    nifti(tmp_path / "train/b.nii", np.zeros((2, 3, 4), np.uint8))

    assert "`size: [1, 2, 3]`" in text
    assert "`spacing_mm: [1.0, 0.0]`" in text
    assert "`patches.size: [1, 1, 1]`" in text
    assert "2D images and volumes are mixed" in refusal(tmp_path, spec())


def test_floating_point_files_need_a_window(tmp_path: Path) -> None:
    """Nobody can say which float is white."""
    (tmp_path / "train").mkdir()
    np.save(tmp_path / "train/a.npy", np.zeros((3, 3)))

    assert "window: {percentiles: [0.5, 99.5]}" in refusal(tmp_path, spec())
    assert "`window` would be [0, 0]" in refusal(tmp_path, spec(window={"percentiles": [1, 99]}))


def test_spacing_from_header(tmp_path: Path) -> None:
    """NIfTI spacing is kept in array order; a contradicting declaration, a differing file or arm is an error."""
    volume = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    nifti(tmp_path / "train/a.nii.gz", volume, (3.0, 2.0, 1.0))
    nifti(tmp_path / "test/a.nii", volume, (3.0, 2.0, 1.5))
    loaded = read(tmp_path, spec())

    assert loaded.images.spacing_mm == (3.0, 2.0, 1.0)
    assert loaded.notes == ()
    assert np.array_equal(np.round(loaded.images.images[0, 0] * 255), volume)
    assert "contradicts the file headers" in refusal(tmp_path, spec(spacing_mm=[3, 2, 2]))
    assert "3 x 2 x 1.5 mm where the training files have 3 x 2 x 1 mm: a.nii" in refusal(tmp_path, spec(), "test")
    nifti(tmp_path / "train/b.nii", volume, (3.0, 2.0, 1.5))
    assert "files of different spacing" in refusal(tmp_path, spec())
    stretched = read(tmp_path, spec(size=[2, 3, 2], resize="stretch"))
    assert stretched.images.spacing_mm == (3.0, 2.0, 2.5)
    assert notes(stretched) == {"spacing_varies": 2}


def test_unknown_spacing_is_noted(tmp_path: Path) -> None:
    """Files without spacing get 1 mm, or that of the training files, with a note; a declaration needs none."""
    png(tmp_path / "train/a.png")
    assumed, declared = read(tmp_path, spec()), read(tmp_path, spec(spacing_mm=[0.1, 0.2]))

    assert (assumed.images.spacing_mm, notes(assumed)) == ((1.0, 1.0), {"spacing_assumed": 1})
    assert (declared.images.spacing_mm, notes(declared)) == ((0.1, 0.2), {})


def test_dicom_series_of_sixteen_bit(tmp_path: Path) -> None:
    """Each folder of slices is one volume with labels and patients of its own; no identifier is left in the set."""
    for who, label in (("Doe^Jane", "ill"), ("Roe^Rick", "well")):
        for k in range(4):
            dicom(
                tmp_path / f"train/{label}/{who}/{9 - k}.dcm", np.full((5, 6), 100 * k + (label == "ill")), PatientID=who,
                ImagePositionPatient=[0, 0, 2.5 * k], SeriesInstanceUID=f"1.2.{len(label)}",
            )  # fmt: skip
    data = spec(series=True, window=[0, 4095], patients={"header": "PatientID"}, labels={"folder": 2})
    images = read(tmp_path, data).images

    assert images.images.shape == (2, 1, 4, 5, 6)
    assert images.spacing_mm == (2.5, 0.5, 0.7)
    assert np.round(images.images[0, 0, :, 0, 0] * 4095).tolist() == [1, 101, 201, 301]
    assert images.labels is not None
    assert images.labels.tolist() == [0, 1]
    assert "Doe" not in "".join([*images.ids, *(images.patients or ())])
    assert all(name.startswith(f"{patient}/") for name, patient in zip(images.ids, images.patients or (), strict=True))


def test_patients_become_pseudonyms(tmp_path: Path) -> None:
    """Names are replaced in ids wherever they occur; another salt gives other pseudonyms and the same units and patches."""
    for name in ("P_01_a", "P_01_b", "P_02_a"):
        png(tmp_path / f"train/{name[:4]}/x_{name}.png", np.random.default_rng(0).integers(0, 255, (6, 8), dtype=np.uint8))
    data = spec(patients={"pattern": r"P_\d+"}, patches={"size": [2, 2], "per_image": 2})
    one, other = (read(tmp_path, data, salt=salt).images for salt in (b"one", b"other"))
    patients = one.patients or ()

    assert all(len(p) == 12 and p.startswith("p-") for p in patients)
    assert one.ids[:2] == (f"{patients[0]}/x_{patients[0]}_a#0", f"{patients[0]}/x_{patients[0]}_a#1")
    assert not set(patients) & set(other.patients or ())
    assert one.units.tolist() == other.units.tolist() == [0, 0, 0, 0, 1, 1]
    assert np.array_equal(one.images, other.images)


def test_a_name_in_another_spelling_does_not_reach_ids(tmp_path: Path) -> None:
    """Where a table names the patient, ids tell nothing of the path; they follow the salt, and files are still found by name."""
    files = ("ill/mueller_hans_1.png", "ill/mueller_hans_2.png", "well/Roe.png")
    for file in files:
        png(tmp_path / "train" / file)
    (tmp_path / "table.csv").write_text("file,who\n" + "".join(f"{file},Mueller^Hans\n" for file in files))
    data = spec(csv={"path": "table.csv"}, patients={"column": "who"}, labels="folder")
    one, again, other = (read(tmp_path, data, salt=salt) for salt in (b"one", b"one", b"other"))

    for part in ("mueller", "hans", "roe", "ill", "well"):
        assert part not in "".join(one.images.ids).lower()
    assert len(set(one.images.ids)) == 3
    assert one.images.ids == again.images.ids
    assert not set(one.images.ids) & set(other.images.ids)
    assert known_as("mueller_hans_2.png", one.names, b"one") == one.images.ids[1]
    assert known_as("well/Roe", one.names, b"one") == one.images.ids[2]


def test_dicom_files_named_by_patients_have_opaque_ids(tmp_path: Path) -> None:
    """Folders that carry a PatientName leave no trace in ids, with or without a rule for patients."""
    for who in ("Mueller^Hans", "Roe^Jane"):
        name = who.replace("^", "_").lower()
        dicom(tmp_path / f"train/{name}/1.dcm", np.full((5, 6), 9), PatientID=f"{who}-7", PatientName=who)
    for patients in (None, "folder", {"header": "PatientID"}):
        ids = read(tmp_path, spec(window=[0, 4095], patients=patients)).images.ids
        assert len(set(ids)) == 2
        assert not any(part in "".join(ids).lower() for part in ("mueller", "hans", "roe", "jane"))


def test_a_name_is_replaced_in_any_case(tmp_path: Path) -> None:
    """A patient of the path is replaced in ids in capitals too."""
    png(tmp_path / "train/mueller/MUELLER_Mueller_1.png")
    images = read(tmp_path, spec(patients="folder")).images
    name = (images.patients or ())[0]

    assert images.ids == (f"{name}/{name}_{name}_1",)


@pytest.mark.parametrize("attribute", ["labels", "groups"])
def test_identifying_headers_are_for_patients_only(tmp_path: Path, attribute: str) -> None:
    """Labels and groups are stored as they are, so they are not read from elements that lead to the patient."""
    dicom(tmp_path / "train/1.dcm", np.full((5, 6), 9), PatientID="7", PatientName="Roe^Jane", InstitutionName="North")

    def rule(keyword: str) -> dict[str, Any]:
        return {attribute: {"header": keyword} if attribute == "labels" else {"who": {"header": keyword}}}

    text = refusal(tmp_path, spec(window=[0, 4095], **rule("PatientName")))
    assert "would be read from PatientName, which leads to the patient" in text
    assert "Roe" not in text
    assert len(read(tmp_path, spec(window=[0, 4095], **rule("InstitutionName"))).images) == 1


def test_a_series_in_the_arms_own_folder_does_not_take_its_name(tmp_path: Path) -> None:
    """Renaming the arm changes neither id nor attributes; a rule for folders finds none."""
    seen: list[tuple[str, ...]] = []
    for name in ("train", "Mueller"):
        for k in range(3):
            dicom(tmp_path / name / f"n{k}.dcm", np.full((5, 6), k), ImagePositionPatient=[0, 0, k], SeriesInstanceUID="1.2")
        data = spec(train=name, series=True, window=[0, 4095], groups={"slice": {"pattern": "n|Mueller"}})
        seen += [(role, *read(tmp_path, data, name, role=role).images.ids) for role in ("train", "synthetic")]
        with pytest.raises(InputError, match="1 of 1 images have no label \\(folder 1\\): series"):
            read(tmp_path, data.model_copy(update={"labels": Attribute(folder=1)}), name)

    assert seen[:2] == seen[2:]
    assert seen[1] == ("synthetic", "series")


def test_environment_variables_in_tables_and_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`${NAME}` is replaced in the table and the folder of masks, of the synthetic layout too; an unset one is said."""
    png(tmp_path / "train/a.png")
    png(tmp_path / "far/masks/a.png", 1)
    (tmp_path / "far/table.csv").write_text("file,class\na,x\n")
    rules: dict[str, Any] = {"csv": {"path": "${FAR}/table.csv"}, "masks": {"folder": "${FAR}/masks"}}
    data = spec(**rules, labels={"column": "class"}, synthetic=rules | {"labels": {"column": "class"}})
    monkeypatch.setenv("FAR", str(tmp_path / "far"))
    images = read(tmp_path, data).images
    synthetic = anchored(data, tmp_path).synthetic

    assert images.masks is not None
    assert images.masks.all()
    assert synthetic is not None
    assert read(tmp_path, data, role="synthetic", layout=synthetic).images.offers() == {"masks", "labels"}
    plain = anchored(spec(masks={"folder": "masks"}, synthetic={"csv": {"path": "t.csv"}}), tmp_path)
    assert (plain.masks and plain.masks.folder, plain.synthetic and plain.synthetic.csv and plain.synthetic.csv.path) == ("masks", "t.csv")
    monkeypatch.delenv("FAR")
    for one in (data, spec(masks=rules["masks"]), spec(synthetic=rules)):
        with pytest.raises(SpecError, match="the environment variable FAR is not set\n  set it: export FAR="):
            anchored(one, tmp_path)
    with pytest.raises(SpecError, match=r"data\.train: the environment variable FAR is not set"):
        located("$FAR/x", tmp_path, "data.train")


def test_a_table_gives_attributes(tmp_path: Path) -> None:
    """Rows are found by path or by name, with or without extension; concepts are columns of 0 and 1."""
    for name in ("train/u/a.png", "train/u/b.png", "train/c.png"):
        png(tmp_path / name)
    table = "\ufefffile;class;who;site;mass\nu/a.png;x;1;N;1\nu/b;y;2;S;0\nc.png;x;1;N;yes\n"
    (tmp_path / "table.csv").write_text(table, encoding="utf-8")
    data = spec(
        csv={"path": "table.csv"}, labels={"column": "class"}, patients={"column": "who"}, groups={"site": {"column": "site"}},
        concepts=["mass"],
    )  # fmt: skip
    loaded = read(tmp_path, data)
    images = loaded.images

    assert images.ids[0] == known_as("c", loaded.names, SALT)
    assert images.labels is not None
    assert images.labels.tolist() == [0, 0, 1]
    assert images.units.tolist() == [0, 0, 1]
    assert images.groups is not None
    assert images.groups["site"].tolist() == ["N", "N", "S"]
    assert images.concepts is not None
    assert images.concepts[:, 0].tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (None, "the table cannot be read"),
        ("file,class\na.png,x\n", "no column 'who'"),
        ("name,class,who\na.png,x,1\n", "no column 'file'"),
        ("file,class,who\na.png,x,1\na.png,x,2\n", "1 entries of 'file' occur more than once: a.png"),
        ("file,class,who\na.png,x,\n", "1 of 1 images have no patient (column who): a.png"),
        ("file,class,who\nb.png,x,1\n", "1 of 1 images have no label (column class): a.png"),
    ],
)
def test_bad_tables(tmp_path: Path, table: str | None, words: str) -> None:
    """A table that is missing, lacks a column or a row, or has one twice is refused."""
    png(tmp_path / "train/a.png")
    if table is not None:
        (tmp_path / "table.csv").write_text(table)

    assert words in refusal(tmp_path, spec(csv={"path": "table.csv"}, labels={"column": "class"}, patients={"column": "who"}))


def test_one_row_for_two_files(tmp_path: Path) -> None:
    """A bare file name that fits two folders is not guessed."""
    png(tmp_path / "train/u/a.png")
    png(tmp_path / "train/v/a.png")
    (tmp_path / "table.csv").write_text("file,class\na.png,x\n")

    data = spec(csv={"path": "table.csv"}, labels={"column": "class"})

    assert "one row of table.csv fits two files" in refusal(tmp_path, data)
    assert "need a table" in refusal(tmp_path, spec(labels={"column": "class"}))


def test_masks_beside_and_in_a_folder(tmp_path: Path) -> None:
    """Masks follow a suffix or stand in a folder (inside or beside the images), in any format, and map to regions."""
    values = np.zeros((6, 8), np.uint8)
    values[0, :3] = [4, 9, 7]
    for place in ("one/a", "two/b/a", "three/images/a"):
        png(tmp_path / f"{place}.png", 5)
    png(tmp_path / "one/a_seg.png", values)
    (tmp_path / "two/masks/b").mkdir(parents=True)
    np.save(tmp_path / "two/masks/b/a.npy", values)
    png(tmp_path / "three/masks/a.png", values)
    for train, rule in (("one", {"suffix": "_seg"}), ("two", {"folder": "masks"}), ("three", {"folder": "masks"})):
        images = read(tmp_path, spec(train=train, masks={**rule, "regions": [9, 4]}), train).images
        assert len(images) == 1
        assert images.masks is not None
        assert images.masks[0, 0, :4].tolist() == [2, 1, 0, 0]
    plain = read(tmp_path, spec(train="one", masks={"suffix": "_seg"}), "one").images
    assert plain.masks is not None
    assert plain.masks[0, 0, :4].tolist() == [1, 1, 1, 0]


def test_masks_that_do_not_match(tmp_path: Path) -> None:
    """Masks of another size, missing or unreadable are all reported together."""
    for name in ("a", "b", "c"):
        png(tmp_path / f"train/{name}.png")
    png(tmp_path / "train/a_m.png", size=(6, 9))
    (tmp_path / "train/b_m.png").write_bytes(b"no")
    text = refusal(tmp_path, spec(masks={"suffix": "_m"}))

    assert "the mask is 6 x 9 px, the image 6 x 8 px: a.png" in text
    assert "b_m.png: cannot be read" in text
    assert "1 of 3 images have no mask (suffix '_m'): c.png" in text


def test_synthetic_files_may_go_without(tmp_path: Path) -> None:
    """Synthetic files without labels, patients and masks are noted; labels on some of them are an error."""
    png(tmp_path / "train/x/P1.png")
    png(tmp_path / "train/x/P1_m.png")
    png(tmp_path / "out/s.png")
    data = spec(labels="folder", patients={"pattern": r"P\d"}, masks={"suffix": "_m"})
    loaded = read(tmp_path, data, "out", role="synthetic")

    assert loaded.images.offers() == frozenset()
    assert loaded.images.origin == "synthetic"
    assert [note.text.split(";")[0] for note in loaded.notes if note.kind == "not_stated"] == [
        f"no file states a {name}" for name in ("label", "patient", "mask")
    ]
    png(tmp_path / "out/x/t.png")
    assert "1 of 2 images have no label (folder 1): s.png" in refusal(tmp_path, data, "out", role="synthetic")
    png(tmp_path / "odd/y/t.png")
    assert "unknown label 'y': y/t.png" in refusal(tmp_path, data, "odd", role="synthetic")


def test_patches(tmp_path: Path) -> None:
    """Patches are seeded, keep label and patient, honour the mask, work in 3D, and need room."""
    volume = np.random.default_rng(0).integers(0, 255, (6, 7, 8)).astype(np.uint8)
    mask = np.zeros_like(volume)
    mask[3:, 4:, 5:] = 1
    nifti(tmp_path / "train/p/a.nii", volume, (2.0, 1.0, 1.0))
    nifti(tmp_path / "train/p/a_m.nii", mask, (2.0, 1.0, 1.0))
    data = spec(patches={"size": [2, 3, 4], "per_image": 5, "inside_mask": True}, masks={"suffix": "_m"}, patients="folder")
    one, again, other = (read(tmp_path, data, seed=seed).images for seed in (1, 1, 2))

    assert one.images.shape == (5, 1, 2, 3, 4)
    assert one.ids[4].endswith("/a#4")
    assert one.spacing_mm == (2.0, 1.0, 1.0)
    assert (one.sha256 == again.sha256, one.sha256 == other.sha256) == (True, False)
    assert one.masks is not None
    assert one.masks.reshape(5, -1).any(axis=1).all()
    nifti(tmp_path / "train/p/a_m.nii", mask * 0, (2.0, 1.0, 1.0))
    assert "patches are to lie inside the mask" in refusal(tmp_path, data)
    assert "has no room for a patch of 9 x 9 x 9 px" in refusal(tmp_path, spec(patches={"size": [9, 9, 9], "per_image": 1}))


def test_patches_of_whole_images_are_not_multiplied(tmp_path: Path) -> None:
    """A generator that makes patches is compared patch by patch: an image of that size gives one."""
    png(tmp_path / "train/a.png", size=(9, 9))
    png(tmp_path / "out/a.png", size=(3, 3))

    assert len(read(tmp_path, spec(patches={"size": [3, 3], "per_image": 7}), "out").images) == 1


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda base: None, "no such folder"),
        (lambda base: (base / "train").write_text("x"), "is a file, not a folder"),
        (lambda base: (base / "train").mkdir(), "no images in 0 files"),
        (lambda base: [png(base / "train/a.png").rename(base / "train/a.txt")], "no images in 1 files"),
    ],
)
def test_folders_without_images(tmp_path: Path, prepare: Any, words: str) -> None:
    """A missing folder, a file, an empty folder and one without images are each named."""
    prepare(tmp_path)

    assert words in refusal(tmp_path, spec())
    with pytest.raises(InputError, match=words):
        digest_files(tmp_path / "train", spec())


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    """Broken, NaN and zero-size files, twins, missing labels and patients and bad patterns come in one error."""
    png(tmp_path / "train/a.png")
    (tmp_path / "train/a.jpg").write_bytes((tmp_path / "train/a.png").read_bytes()[:45])
    np.save(tmp_path / "train/nan.npy", np.array([[np.nan, 1.0]]))
    np.save(tmp_path / "train/none.npy", np.zeros((0, 4)))
    np.save(tmp_path / "train/object.npy", np.array([None]), allow_pickle=True)
    (tmp_path / "train/cut.nii").write_bytes(b"\0" * 100)
    (tmp_path / "train/cut.dcm").write_bytes(b"\0" * 128 + b"DICM")
    data = spec(labels="folder", patients={"pattern": r"P\d"}, groups={"site": {"pattern": "("}}, masks={"suffix": "_m"})
    text = refusal(tmp_path, data)

    for words in (
        "a.jpg: cannot be read", "nan.npy: 1 pixels are NaN", "none.npy: the image has no pixels",
        "object.npy: holds Python objects",
        "cut.nii: cannot be read", "cut.dcm", "one id: a.jpg and a.png", "7 of 7 images have no label (folder 1)",
        "7 of 7 images have no patient (pattern P\\d)", "pattern '(' of the group site is not a regular expression",
        "7 of 7 images have no mask",
    ):  # fmt: skip
        assert words in text, words


def test_other_files(tmp_path: Path) -> None:
    """Files of other types are counted; hidden files and tables are passed over; `files` narrows."""
    for name in ("a.png", "b.txt", "c.csv", ".d.png", "e.md", "f.md", "sub/g.png"):
        (tmp_path / "train/sub").mkdir(parents=True, exist_ok=True)
        png(tmp_path / "train" / "x.png").rename(tmp_path / "train" / name)
    loaded = read(tmp_path, spec())

    assert loaded.images.ids == ("a", "sub/g")
    assert notes(loaded)["files_ignored"] == 3
    assert read(tmp_path, spec(files="sub/*")).images.ids == ("sub/g",)
    assert "is not a pattern" in refusal(tmp_path, spec(files="/abs/*"))


def test_digest_follows_content_and_names(tmp_path: Path) -> None:
    """Images, masks and the table count, other files and the place do not."""
    png(tmp_path / "one/a.png", 1)
    png(tmp_path / "one/a_m.png", 1)
    (tmp_path / "one/t.csv").write_text("file\na\n")
    layout = Layout.model_validate({"csv": {"path": "t.csv"}, "masks": {"suffix": "_m"}})
    digests = [digest_files(tmp_path / "one", layout)]
    (tmp_path / "one/readme.txt").write_text("x")
    (tmp_path / "one").rename(tmp_path / "two")
    digests.append(digest_files(tmp_path / "two", layout))
    for name, text in (("a_m.png", None), ("t.csv", "file\nb\n")):
        path = tmp_path / "two" / name
        png(path, 2) if text is None else path.write_text(text)
        digests.append(digest_files(tmp_path / "two", layout))

    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_big_sets_stay_on_disk(tmp_path: Path) -> None:
    """With a folder to store in, pixels and masks are read-only maps of .npy files equal to what memory would hold."""
    for k in range(5):
        png(tmp_path / f"train/{k}.png", k)
        png(tmp_path / f"train/{k}_m.png", k)
    data = spec(masks={"suffix": "_m"})
    stored, held = read(tmp_path, data, store_in=tmp_path / "store"), read(tmp_path, data)

    assert isinstance(stored.images.images, np.memmap)
    assert not stored.images.images.flags.writeable
    assert stored.images.sha256 == held.images.sha256
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == ["images.npy", "masks.npy"]
    (tmp_path / "train/4.png").write_bytes(b"")
    with pytest.raises(InputError):
        read(tmp_path, data, store_in=tmp_path / "again")
    assert not any((tmp_path / "again").glob("*"))


def image_set(n: int = 6, **options: Any) -> ImageSet:
    """Return a small set with everything in it."""
    rng = np.random.default_rng(3)
    values: dict[str, Any] = {
        "images": rng.random((n, 1, 4, 5)).astype(np.float32), "ids": tuple(f"é{k}" for k in range(n)),
        "spacing_mm": (0.1, 1 / 3), "masks": rng.integers(0, 3, (n, 4, 5)).astype(np.uint8), "labels": np.arange(n) % 2,
        "concepts": np.ones((n, 2), np.uint8), "patients": tuple(f"p{k // 2}" for k in range(n)),
        "groups": {"site": np.array(["N", "South"] * (n // 2)), "age": np.arange(n)},
        "sources": tuple("s" * n), "features": rng.random((n, 3)), "cut_from": tuple(f"w{k // 3}" for k in range(n)),
    }  # fmt: skip
    return ImageSet(**{**values, **options})


def test_saved_sets_come_back(tmp_path: Path) -> None:
    """Everything survives, the digest too; saving again replaces; no half-written folder is left; nothing is pickled."""
    images, bare = image_set(), image_set(masks=None, labels=None, concepts=None, patients=None, groups=None, sources=None)
    save(bare, tmp_path / "set")
    assert open_saved(tmp_path / "set").sha256 == bare.sha256
    save(images, tmp_path / "set")
    opened = open_saved(tmp_path / "set")

    assert opened.sha256 == images.sha256
    assert opened.cut_from == images.cut_from
    assert opened.offers() == images.offers()
    assert np.array_equal(np.asarray(opened.features), np.asarray(images.features))
    assert isinstance(opened.images, np.memmap)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    (tmp_path / "set/facts.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        open_saved(tmp_path / "set")


def test_validation_split_is_by_patient_and_label() -> None:
    """No patient is on both sides, labels keep their shares, the seed decides, and every image is on one side."""
    n = 200
    patients = tuple(f"p{k // 4}" for k in range(n))
    labels = np.array([int(k // 4 < 10) for k in range(n)])
    whole = image_set(n, patients=patients, labels=labels, groups=None)
    kept, held = split_validation(whole, 0.2, 5)

    assert not set(kept.patients or ()) & set(held.patients or ())
    assert sorted((*kept.ids, *held.ids)) == sorted(whole.ids)
    assert held.labels is not None
    assert (held.n_patients, int(held.labels.sum())) == (10, 8)
    assert split_validation(whole, 0.2, 5)[1].ids == held.ids
    assert split_validation(whole, 0.2, 6)[1].ids != held.ids
    with pytest.raises(InputError, match="second patient"):
        split_validation(whole.take([0, 1]), 0.2, 5)


def test_overlaps_name_patients_and_pixels() -> None:
    """Shared patients and identical pixels are counted with examples; disjoint sets have neither."""
    whole = image_set()
    train, test = whole.take([0, 1, 2]), whole.take([3, 4, 5])
    again = replace(test, images=np.concatenate([train.images[1:2], test.images[1:]]), checked=False)

    found = overlaps(printed(train), printed(again))
    assert [(o.kind, o.count, o.examples) for o in found] == [("patients", 1, ("p1",)), ("pixels", 1, ("é3",))]
    assert overlaps(printed(train), printed(test.take([1, 2]))) == []


def printed(images: ImageSet) -> Loaded:
    """Return the set with the fingerprints of its pixels."""
    return Loaded(images, fingerprints=fingerprints(images))


def test_patches_do_not_hide_a_shared_image(tmp_path: Path) -> None:
    """One file in two arms is found although its patches lie elsewhere; background patches of two files are no finding."""
    rng = np.random.default_rng(2)
    shared = rng.integers(1, 255, (40, 40), dtype=np.uint8)
    for arm in ("train", "test"):
        dark = np.zeros((40, 40), np.uint8)
        dark[0, :5] = rng.integers(1, 255, 5)
        png(tmp_path / arm / f"dark-{arm}.png", dark)
        png(tmp_path / arm / f"shared-{arm}.png", shared)
    data = spec(patches={"size": [4, 4], "per_image": 3})
    train, test = read(tmp_path, data, seed=1), read(tmp_path, data, "test", role="test", seed=2)

    assert [(o.kind, o.count, o.examples) for o in overlaps(train, test)] == [("pixels", 1, ("shared-test",))]
    assert (len(train.images), len(train.fingerprints), train.images.units.tolist()) == (6, 2, [0, 0, 0, 1, 1, 1])
    assert train.images.cut_from == ("dark-train",) * 3 + ("shared-train",) * 3


def test_mammography_crops(real_data: Path) -> None:
    """Crops of the third-party mammography set: patients from file names, classes from folders."""
    data = spec(train="real_train", test="real_val", labels="folder", patients={"pattern": r"P_\d+"})
    base = real_data / "mammo_mcgan"
    train, test = read(base, data, "real_train").images, read(base, data, "real_val").images
    synthetic = read(base, data, "synthetic_a", role="synthetic")

    assert (len(train), len(test), len(synthetic.images)) == (1104, 192, 650)
    assert train.labels is not None
    assert np.bincount(train.labels).tolist() == [579, 525]
    assert not any("P_" in name for name in train.ids)
    assert synthetic.images.labels is not None
    assert synthetic.images.labels.sum() == 325
    assert overlaps(printed(train), printed(test)) == []


def test_brain_volumes_as_patches(real_data: Path) -> None:
    """Patches of 3D NIfTI volumes inside the tumour, with the spacing of the header."""
    data = spec(
        train="mri_brats3d", files="*/Flair*", masks={"suffix": "OTMultiClass", "regions": [1, 2, 3, 4]}, patients="folder",
        window={"percentiles": [0.5, 99.5]}, patches={"size": [24, 32, 32], "per_image": 3, "inside_mask": True},
    )  # fmt: skip
    images = read(real_data, data, "mri_brats3d").images

    assert images.images.shape == (6, 1, 24, 32, 32)
    assert images.spacing_mm == (1.0, 1.0, 1.0)
    assert images.n_patients == 2
    assert images.masks is not None
    assert (images.masks.reshape(6, -1).max(axis=1) > 0).all()


def test_ultrasound_with_masks(real_data: Path) -> None:
    """Images of many sizes with masks: refused without a policy, stretched with one; masks of `normal` stay empty."""
    options: dict[str, Any] = {"train": "us_busi_masks", "masks": {"suffix": "_mask"}, "labels": "folder", "channels": "grey"}
    images = read(real_data, spec(size=[64, 64], resize="stretch", **options), "us_busi_masks").images

    assert "images of different sizes" in refusal(real_data, spec(**options), "us_busi_masks")
    assert images.masks is not None
    assert images.labels is not None
    assert images.masks.reshape(96, -1).any(axis=1).tolist() == (images.labels < 2).tolist()


def test_glioma_slices_in_colour(real_data: Path) -> None:
    """Three sequences as channels, one folder per patient, masks beside."""
    images = read(real_data, spec(train="mri_lgg", masks={"suffix": "_mask"}, patients="folder"), "mri_lgg").images

    assert images.images.shape == (72, 3, 256, 256)
    assert images.n_patients == 24
    assert not any("TCGA" in name for name in images.ids)


def test_files_that_look_like_masks_are_not_read_as_images(tmp_path: Path) -> None:
    """A file that is called like another with `_mask` behind is a mask that nobody declared; both ways out are named."""
    for name in ("a", "b"):
        png(tmp_path / "train" / f"{name}.png", 10)
        png(tmp_path / "train" / f"{name}_mask.png", 255)
    with pytest.raises(InputError, match=r"2 of 4 files look like masks of others\n.*masks: \{suffix: _mask\}.*`files`"):
        fit_preprocessing(spec(), tmp_path, SALT)
    assert fit_preprocessing(spec(masks={"suffix": "_mask"}), tmp_path, SALT).size_px == (6, 8)
