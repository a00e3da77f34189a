"""One file of each format read back exactly; what cannot be read is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from harness.errors import InputError
from harness.imagefiles import decode, decode_mask, header, kind_of, stem
from harness.seriesfiles import decode_series

GREY8 = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
GREY16 = (np.arange(48, dtype=np.uint16) * 1361).reshape(6, 8)
RGB8 = np.stack([GREY8, 255 - GREY8, GREY8 // 2], axis=-1)
VOLUME = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4) * 100 - 1000


def write_dicom(path: Path, pixels: np.ndarray, **elements: Any) -> Path:
    """Write pixels as an uncompressed DICOM file with these elements."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = pydicom.uid.generate_uid()
    bits = pixels.dtype.itemsize * 8
    defaults = {
        "Rows": pixels.shape[0], "Columns": pixels.shape[1], "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": int(pixels.dtype.kind == "i"),
    }  # fmt: skip
    for name, value in {**defaults, **elements}.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_series(folder: Path, z: list[float], **elements: Any) -> list[Path]:
    """Write axial 16-bit slices at these positions, the first named last; slice k holds k, its first pixel 1000 + k."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for k, position in enumerate(z):
        pixels = np.full((4, 5), k, dtype=np.uint16)
        pixels[0, 0] = 1000 + k
        place = {
            "ImagePositionPatient": [0, 0, position], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [0.5, 0.7],
            "SeriesInstanceUID": "1.2.3", "SliceThickness": 9,
        }  # fmt: skip
        paths.append(write_dicom(folder / f"{99 - k}.dcm", pixels, **{**place, **elements}))
    return paths


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
@pytest.mark.parametrize(("pixels", "top"), [(GREY8, 255), (GREY16, 65535)])
def test_grey_files_keep_every_value(tmp_path: Path, suffix: str, pixels: np.ndarray, top: int) -> None:
    """8- and 16-bit grey images come back exactly, with the range of their type."""
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, pixels)
    elif suffix == ".png":
        Image.fromarray(pixels).save(path)
    else:
        tifffile.imwrite(path, pixels)
    image = decode(path)

    assert np.array_equal(image.pixels, pixels[None])
    assert (image.value_range, image.spacing_mm) == ((0.0, float(top)), None)


def test_colour_is_channels_first(tmp_path: Path) -> None:
    """RGB from PNG, TIFF and npz is (3, H, W), and so is an image with an opaque alpha channel."""
    Image.fromarray(RGB8).save(tmp_path / "a.png")
    Image.fromarray(np.dstack([RGB8, np.full(GREY8.shape, 255, np.uint8)])).save(tmp_path / "b.png")
    tifffile.imwrite(tmp_path / "c.tif", RGB8)
    np.savez(tmp_path / "d.npz", image=RGB8, other=np.zeros(3))

    for name in ("a.png", "b.png", "c.tif", "d.npz"):
        assert np.array_equal(decode(tmp_path / name).pixels, np.moveaxis(RGB8, -1, 0)), name


def test_jpeg(tmp_path: Path) -> None:
    """A JPEG is read, in grey and in colour."""
    Image.fromarray(np.full((8, 8), 77, np.uint8)).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(np.full((8, 8, 3), 77, np.uint8)).save(tmp_path / "b.JPEG", quality=95)

    assert np.array_equal(decode(tmp_path / "a.jpg").pixels, np.full((1, 8, 8), 77))
    assert decode(tmp_path / "b.JPEG").pixels.shape == (3, 8, 8)


def test_palettes_and_bits(tmp_path: Path) -> None:
    """A palette gives its colours, as a mask its indices; a grey palette is grey; one bit is 0 and 255."""
    picture = Image.fromarray(GREY8 % 3)
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(tmp_path / "a.png")
    picture.putpalette([0, 0, 0, 9, 9, 9, 200, 200, 200])
    picture.save(tmp_path / "b.png")
    Image.fromarray(GREY8 > 99).save(tmp_path / "c.png")

    assert decode(tmp_path / "a.png").pixels.shape == (3, 6, 8)
    assert np.array_equal(decode_mask(tmp_path / "a.png"), GREY8 % 3)
    assert np.array_equal(decode(tmp_path / "b.png").pixels[0], np.array([0, 9, 200])[GREY8 % 3])
    assert np.array_equal(decode(tmp_path / "c.png").pixels[0], np.where(GREY8 > 99, 255, 0))


def test_tiff_variants(tmp_path: Path) -> None:
    """Pages are slices; compressed files are read; white-is-zero is turned round; floating point has no range."""
    volume = np.arange(4 * 6 * 8, dtype=np.uint16).reshape(4, 6, 8)
    tifffile.imwrite(tmp_path / "v.tif", volume, photometric="minisblack")
    Image.fromarray(GREY16).save(tmp_path / "lzw.tiff", compression="tiff_lzw")
    tifffile.imwrite(tmp_path / "white.tif", GREY8, photometric="miniswhite")
    tifffile.imwrite(tmp_path / "f.tif", GREY8.astype(np.float32) / 7)

    assert np.array_equal(decode(tmp_path / "v.tif").pixels, volume[None])
    assert np.array_equal(decode(tmp_path / "lzw.tiff").pixels[0], GREY16)
    assert np.array_equal(decode(tmp_path / "white.tif").pixels[0], 255 - GREY8)
    assert decode(tmp_path / "f.tif").value_range is None


def test_npy_axes(tmp_path: Path) -> None:
    """(D, H, W) is a volume, a first axis of one is dropped, a last axis of three is colour, booleans are 0 and 1."""
    volume, flat = (1, 4, 6, 8), (1, 6, 8)
    for shape, expected in {(4, 6, 8): volume, (1, 6, 8): flat, (4, 6, 8, 3): (3, 4, 6, 8), (6, 8, 1): flat}.items():
        np.save(tmp_path / "a.npy", np.zeros(shape))
        assert decode(tmp_path / "a.npy").pixels.shape == expected
    np.save(tmp_path / "b.npy", GREY8 > 9)
    assert decode(tmp_path / "b.npy").value_range == (0.0, 1.0)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAR", "PIR"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_is_turned_to_one_orientation(tmp_path: Path, codes: str, suffix: str) -> None:
    """However the same volume is stored, the array is (z, y, x) with z up, y to the front, x to the right, spacing alike."""
    affine = np.diag([0.5, 0.75, 2.0, 1.0])
    ras = nibabel.Nifti1Image(VOLUME.transpose(2, 1, 0), affine)
    turn = nibabel.orientations.ornt_transform(nibabel.orientations.io_orientation(affine), nibabel.orientations.axcodes2ornt(tuple(codes)))
    nibabel.save(ras.as_reoriented(turn), tmp_path / f"a{suffix}")
    image = decode(tmp_path / f"a{suffix}")

    assert np.array_equal(image.pixels, VOLUME[None])
    assert image.spacing_mm == (2.0, 0.75, 0.5)
    assert image.value_range == (-32768.0, 32767.0)
    assert stem(tmp_path / f"a{suffix}") == "a"


def test_nifti_scaling_units_and_single_slices(tmp_path: Path) -> None:
    """Scaled values lose their integer range, micrometres become millimetres, one slice is a 2D image."""
    image = nibabel.Nifti1Image(np.arange(12, dtype=np.uint8).reshape(4, 3, 1), np.diag([500.0, 250.0, 100.0, 1.0]))
    image.header.set_xyzt_units("micron")
    image.header.set_slope_inter(2.0, 1.0)
    nibabel.save(image, tmp_path / "a.nii")
    read = decode(tmp_path / "a.nii")

    assert read.pixels.shape == (1, 3, 4)
    assert read.spacing_mm == (0.25, 0.5)
    assert read.value_range is None
    assert read.pixels.max() == pytest.approx(2 * 11 + 1)


def test_dicom_values(tmp_path: Path) -> None:
    """Rescaling is applied, spacing is (rows, columns), and the range is that of the stored bits, rescaled."""
    elements = {"BitsStored": 12, "HighBit": 11, "RescaleSlope": 2, "RescaleIntercept": -1024, "PixelSpacing": [0.5, 0.25]}
    path = write_dicom(tmp_path / "a.dcm", GREY16 // 16, **elements)
    image = decode(path)

    assert np.array_equal(image.pixels[0], (GREY16 // 16).astype(float) * 2 - 1024)
    assert image.spacing_mm == (0.5, 0.25)
    assert image.value_range == (-1024.0, 4095 * 2 - 1024.0)


def test_dicom_photometric(tmp_path: Path) -> None:
    """MONOCHROME1 is inverted within the stored range; RGB is read."""
    one = write_dicom(tmp_path / "1", GREY16 // 16, BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1")
    colour = write_dicom(tmp_path / "c.dcm", RGB8, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)

    assert kind_of(one) == "dicom"
    assert np.array_equal(decode(one).pixels[0], 4095 - GREY16 // 16)
    assert np.array_equal(decode(colour).pixels, np.moveaxis(RGB8, -1, 0))


def test_dicom_header_gives_what_is_asked(tmp_path: Path) -> None:
    """Only named elements come back, as text; other formats have none."""
    path = write_dicom(tmp_path / "a.dcm", GREY16, PatientID="Doe", PatientSex="F")
    Image.fromarray(GREY8).save(tmp_path / "a.png")

    assert header(path, ["PatientID", "PatientAge"]) == {"PatientID": "Doe"}
    assert header(tmp_path / "a.png", ["PatientID"]) == {}


def test_series_is_sorted_and_spaced_by_position(tmp_path: Path) -> None:
    """Slices are ordered by position, not by name, spacing comes from positions, and the volume lies as NIfTI does."""
    image = decode_series(write_series(tmp_path, [0.0, 2.5, 5.0]))

    assert image.pixels.dtype == np.uint16
    assert image.pixels.shape == (1, 3, 4, 5)
    assert image.spacing_mm == (2.5, 0.5, 0.7)
    assert image.pixels[0, :, 1, 1].tolist() == [0, 1, 2]
    assert image.pixels[0, 2, -1, -1] == 1002  # the first pixel of a DICOM slice is front right of the patient


def test_series_and_nifti_of_one_volume_agree(tmp_path: Path) -> None:
    """A sagittal series and the NIfTI file of the same volume give the same array."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4096, (4, 5, 3)).astype(np.uint16)  # (z, y, x), RAS+
    nibabel.save(nibabel.Nifti1Image(truth.transpose(2, 1, 0), np.diag([3.0, 0.5, 0.7, 1.0])), tmp_path / "a.nii")
    # Rows run to the feet, columns to the back; x counts towards the left in DICOM.
    lie = {"SeriesInstanceUID": "1.2", "ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "PixelSpacing": [0.7, 0.5]}
    slices = [np.ascontiguousarray(truth[::-1, ::-1, x]) for x in range(3)]
    files = [write_dicom(tmp_path / f"{x}.dcm", pixels, ImagePositionPatient=[-3.0 * x, 0, 0], **lie) for x, pixels in enumerate(slices)]
    series, nifti = decode_series(files), decode(tmp_path / "a.nii")

    assert np.array_equal(series.pixels, nifti.pixels)
    assert series.spacing_mm == pytest.approx(nifti.spacing_mm)


def test_slice_thickness_serves_a_single_slice_alone(tmp_path: Path) -> None:
    """One slice has no distance to another, so its thickness stands in."""
    assert decode_series(write_series(tmp_path, [0.0])).spacing_mm == (9.0, 0.5, 0.7)


@pytest.mark.parametrize(
    ("z", "elements", "words"),
    [
        ([0.0, 1.0, 3.0], {}, "distances between slices go from 1 to 2 mm"),
        ([0.0, 1.0, 1.0], {}, "distances between slices"),
        ([0.0, 1.0], {"ImagePositionPatient": None}, "lacks a header element"),
        ([0.0, 1.0], {"ImageOrientationPatient": None}, "lacks a header element"),
    ],
)
def test_broken_series(tmp_path: Path, z: list[float], elements: dict[str, Any], words: str) -> None:
    """Missing or double slices and missing positions are refused."""
    with pytest.raises(InputError, match=words):
        decode_series(write_series(tmp_path, z, **elements))


def test_two_series_in_a_folder(tmp_path: Path) -> None:
    """Two series in one folder are refused."""
    paths = write_series(tmp_path, [0.0]) + write_series(tmp_path / "b", [1.0], SeriesInstanceUID="1.2.4")
    with pytest.raises(InputError, match="2 different values of SeriesInstanceUID"):
        decode_series(paths)


def _png(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)).save(path)


def _jpeg(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)).save(path)


def _tif(path: Path) -> None:
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8))


def _nii(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).integers(0, 99, (9, 9, 9)).astype(np.int16), np.eye(4)), path)


def _dcm(path: Path) -> None:
    write_dicom(path, np.random.default_rng(0).integers(0, 99, (20, 20)).astype(np.uint16))


def _npy(path: Path) -> None:
    np.save(path, np.random.default_rng(0).random((20, 20)))


def _npz(path: Path) -> None:
    np.savez(path, image=np.random.default_rng(0).random((20, 20)))


@pytest.mark.parametrize(
    ("name", "write"),
    [("a.png", _png), ("a.jpg", _jpeg), ("a.tif", _tif), ("a.nii", _nii), ("a.nii.gz", _nii), ("a.dcm", _dcm), ("a.npy", _npy),
     ("a.npz", _npz)],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_truncated_files_are_refused(tmp_path: Path, name: str, write: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A file cut short anywhere before its last pixels, or not of its format at all, is an InputError that names it."""
    # As WeasyPrint does when it is imported: a truncated file must be refused all the same.
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", True)
    path = tmp_path / name
    write(path)
    decode(path)
    whole = path.read_bytes()
    for share in (0.0, 0.01, 0.05, 0.2, 0.5, 0.8):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match=path.name):
            decode(path)
    path.write_bytes(b"this is not an image of any kind" * 20)
    with pytest.raises(InputError, match=path.name):
        decode(path)


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("zero.npy", np.zeros((0, 5)), "no pixels"),
        ("nan.npy", np.array([[0.0, np.nan]]), "1 pixels are NaN or infinite"),
        ("inf.npy", np.array([[np.inf, -np.inf]]), "2 pixels are NaN or infinite"),
        ("complex.npy", np.zeros((2, 2), complex), "of type complex128"),
        ("four.npy", np.zeros((2, 2, 2, 2)), "not one image"),
    ],
)
def test_arrays_that_are_no_image(tmp_path: Path, name: str, array: np.ndarray, words: str) -> None:
    """Zero size, NaN, infinity, odd types and shapes are refused."""
    np.save(tmp_path / name, array)
    with pytest.raises(InputError, match=words):
        decode(tmp_path / name)


def test_nifti_without_pixels_or_with_nan(tmp_path: Path) -> None:
    """The checks of pixels hold for volumes as well."""
    nibabel.save(nibabel.Nifti1Image(np.full((2, 2, 2), np.nan, np.float32), np.eye(4)), tmp_path / "nan.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2, 5), np.float32), np.eye(4)), tmp_path / "time.nii")

    with pytest.raises(InputError, match="8 pixels are NaN"):
        decode(tmp_path / "nan.nii")
    with pytest.raises(InputError, match="not one volume"):
        decode(tmp_path / "time.nii")


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    """Object arrays are refused: reading one would run code."""
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", image=np.array([{"a": 1}], dtype=object))
    (tmp_path / "c.npy").write_bytes(b"\x80\x04N.")

    for name, words in {"a.npy": "Python objects", "b.npz": "Python objects", "c.npy": "pickle"}.items():
        with pytest.raises(InputError, match=words):
            decode(tmp_path / name)


def test_what_would_lose_information_is_refused(tmp_path: Path) -> None:
    """Transparency, 16-bit colour PNG, unnamed npz arrays, multi-frame DICOM and JPEG masks are errors, not guesses."""
    Image.fromarray(np.dstack([RGB8, GREY8])).save(tmp_path / "alpha.png")
    np.savez(tmp_path / "two.npz", a=GREY8, b=GREY8)
    write_dicom(tmp_path / "frames.dcm", np.zeros((4, 5), np.uint16), NumberOfFrames=2, Rows=2)
    _jpeg(tmp_path / "mask.jpg")
    start = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes([0, 0, 0, 1, 0, 0, 0, 1, 16, 2, 0, 0, 0])
    (tmp_path / "deep.png").write_bytes(start)

    expected = {"alpha.png": "transparent", "two.npz": "which of a, b", "frames.dcm": "multi-frame", "deep.png": "16-bit col"}
    for name, words in expected.items():
        with pytest.raises(InputError, match=words):
            decode(tmp_path / name)
    with pytest.raises(InputError, match="JPEG blurs"):
        decode_mask(tmp_path / "mask.jpg")
