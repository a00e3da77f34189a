"""One image file of a supported format -> its pixels, the spacing that its header states, the range of its integer type.

Orientation. PNG, JPEG, TIFF, npy and single DICOM files keep their rows and columns as stored. NIfTI volumes and DICOM series
know how they lie in the patient: both are turned to the closest RAS+ orientation and transposed, so that the array axes are
(z, y, x) with z towards the head, y towards the front and x towards the patient's right, whichever way the file was written.
Drawn with row 0 at the top, such a slice shows the back of the patient at the top. A volume of one slice is a 2D image.

Spacing is read from NIfTI and DICOM headers only: the resolution of PNG, JPEG and TIFF files is a printing size.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .errors import InputError, Problem

Kind = Literal["png", "jpeg", "tiff", "nifti", "dicom", "numpy"]
KINDS: dict[str, Kind] = {
    ".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".tif": "tiff", ".tiff": "tiff", ".nii": "nifti", ".nii.gz": "nifti",
    ".dcm": "dicom", ".dicom": "dicom", ".ima": "dicom", ".npy": "numpy", ".npz": "numpy",
}  # fmt: skip
FORMATS = "PNG, JPEG, TIFF, NIfTI, DICOM, npy, npz"
BROKEN = (
    OSError, ValueError, EOFError, SyntaxError, KeyError, IndexError, NotImplementedError, RuntimeError, OverflowError,
    MemoryError, struct.error, zlib.error, zipfile.BadZipFile,
)  # fmt: skip
# DICOM keywords whose values lead to one patient: they must not become labels or strata, which are stored as they are.
IDENTIFYING = frozenset({
    "PatientID", "PatientName", "PatientBirthDate", "PatientBirthName", "PatientMotherBirthName", "PatientAddress",
    "PatientTelephoneNumbers", "OtherPatientIDs", "OtherPatientNames", "MedicalRecordLocator", "AccessionNumber", "StudyID",
    "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID",
})  # fmt: skip
_MILLIMETRES = {"meter": 1000.0, "micron": 0.001}
_DICOM_MAGIC = 128
_COLOUR = 3
_VOLUME = 3


@dataclass(frozen=True)
class Decoded:
    """One image: pixels (C, H, W) or (C, D, H, W) in the file's own numbers, C 1 or 3; spacing in array order.

    value_range: the range of the file's integer type in the units of the pixels, None for floating-point files.
    """

    pixels: np.ndarray
    spacing_mm: tuple[float, ...] | None = None
    value_range: tuple[float, float] | None = None

    @property
    def size_px(self) -> tuple[int, ...]:
        """Spatial size, array order."""
        return tuple(int(s) for s in self.pixels.shape[1:])


def extension(path: Path) -> str:
    """Return the extension in lower case, `.nii.gz` as one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def kind_of(path: Path) -> Kind | None:
    """Return the format by extension; files of any other extension are DICOM where they carry its mark, else None."""
    known = KINDS.get(extension(path))
    if known is not None:
        return known
    with path.open("rb") as file:
        file.seek(_DICOM_MAGIC)
        return "dicom" if file.read(4) == b"DICM" else None


def stem(path: Path) -> str:
    """Return the file name without a known extension; a DICOM file named by its UID keeps its whole name."""
    found = extension(path)
    return path.name[: -len(found)] if found in KINDS else path.name


def decode(path: Path, *, as_mask: bool = False) -> Decoded:
    """Read one file; as_mask: palette images give their indices. Raises InputError naming the file."""
    try:
        kind = kind_of(path)
        if kind is None:
            raise refusal(path, "not an image format that is read here", f"formats: {FORMATS}")
        image = _READERS[kind](path, as_mask)
    except BROKEN as error:
        text = " ".join(str(error).split())[:160] or type(error).__name__
        raise refusal(path, f"cannot be read, broken or cut short: {text}", "replace the file or leave it out") from error
    return checked(path, image)


def decode_mask(path: Path) -> np.ndarray:
    """Read one mask, (H, W) or (D, H, W), in the file's own numbers; colour only where the channels agree."""
    if kind_of(path) == "jpeg":
        raise refusal(path, "JPEG blurs the edges of masks into wrong values", "save masks as PNG, TIFF or NIfTI")
    pixels = decode(path, as_mask=True).pixels
    if any(not np.array_equal(pixels[0], channel) for channel in pixels[1:]):
        raise refusal(path, "the mask is a colour image", "save masks as one channel of region numbers")
    return np.asarray(pixels[0])


def header(path: Path, keywords: Iterable[str]) -> dict[str, str]:
    """Return these elements of a DICOM header as text; an element that is absent, and any other format, gives nothing."""
    if kind_of(path) != "dicom":
        return {}
    dataset = dicom_dataset(path, pixels=False)
    found = {word: str(dataset.get(word, "") if dataset.get(word) is not None else "").strip() for word in keywords}
    return {word: text for word, text in found.items() if text}


def refusal(path: Path, what: str, fix: str = "") -> InputError:
    """Return the error for a file that cannot be used."""
    return InputError(Problem(what, str(path), fix))


def checked(path: Path, image: Decoded) -> Decoded:
    """Return the image, or refuse one of no size or with values that are not finite."""
    if image.pixels.size == 0:
        raise refusal(path, f"the image has no pixels, its size is {image.size_px}", "replace the file or leave it out")
    if image.pixels.dtype.kind not in "uif":
        raise refusal(path, f"pixels are of type {image.pixels.dtype}", "save them as integers or floating-point numbers")
    if image.pixels.dtype.kind == "f":
        bad = image.pixels.size - int(np.count_nonzero(np.isfinite(image.pixels)))
        if bad:
            raise refusal(path, f"{bad} pixels are NaN or infinite", "replace them with a number or leave the file out")
    return image


def _type_range(dtype: np.dtype[Any]) -> tuple[float, float] | None:
    return (float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)) if dtype.kind in "ui" else None


def _channels_first(path: Path, array: np.ndarray, opaque: float | None = None) -> np.ndarray:
    """(..., S) of grey, grey+alpha, RGB or RGBA -> (1 or 3, ...); transparency is refused: nothing says what is behind."""
    samples = array.shape[-1]
    if samples in (2, 4):
        full = opaque if opaque is not None else (_type_range(array.dtype) or (0.0, 1.0))[1]
        if not np.all(array[..., -1] == full):
            raise refusal(path, "some pixels are transparent", "save the image without an alpha channel")
        array = array[..., :-1]
    elif samples not in (1, _COLOUR):
        raise refusal(path, f"{samples} channels", "save one channel (grey) or three (RGB)")
    return np.ascontiguousarray(np.moveaxis(array, -1, 0))


def _picture(path: Path, as_mask: bool) -> Decoded:
    from PIL import Image

    with path.open("rb") as file:
        start = file.read(26)
    depth, colour = (start[24], start[25]) if start[:8] == b"\x89PNG\r\n\x1a\n" and len(start) > 25 else (8, 0)
    if depth == 16 and colour != 0:  # Pillow would cut these to 8 bit
        raise refusal(path, "16-bit colour or alpha in PNG is not read", "save as 16-bit TIFF, or as 16-bit grey PNG")
    try:
        with Image.open(path, formats=("PNG", "JPEG", "TIFF")) as picture:
            array = _pillow_array(path, picture, as_mask)
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from error
    return Decoded(array, value_range=_type_range(array.dtype))


def _load_whole(picture: Any) -> None:
    """Load all pixels; WeasyPrint, once imported, lets Pillow fill truncated files with grey in the whole process."""
    from PIL import ImageFile

    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        picture.load()
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _pillow_array(path: Path, picture: Any, as_mask: bool) -> np.ndarray:
    _load_whole(picture)
    mode = picture.mode
    if mode == "P" and as_mask:
        return np.asarray(picture)[None]
    if mode == "P" or "transparency" in picture.info:
        rgba = np.asarray(picture.convert("RGBA"))
        array = _channels_first(path, rgba)
        return array[:1] if np.all(array == array[:1]) else array
    if mode == "1":
        return np.asarray(picture.convert("L"))[None]
    if mode in ("L", "I", "F") or mode.startswith("I;16"):
        array = np.asarray(picture)[None]
        return array.astype(array.dtype.newbyteorder("="))
    if mode in ("LA", "RGB", "RGBA"):
        return _channels_first(path, np.asarray(picture))
    raise refusal(path, f"colour mode {mode} is not read", "save the image as grey or RGB")


def _tiff(path: Path, as_mask: bool) -> Decoded:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        page: Any = tiff.pages[0]
        if len(tiff.series) != 1:
            raise refusal(path, "the pages differ in size or type", "save one image or one volume per file")
        axes, photometric, colours = tiff.series[0].axes, page.photometric.name, page.colormap
        try:
            array = tiff.series[0].asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            return _compressed_tiff(path, as_mask)
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    if photometric == "MINISWHITE" and array.dtype.kind in "ui":
        array = np.iinfo(array.dtype).max - array if array.dtype.kind == "u" else ~array
    if photometric == "PALETTE" and colours is not None and not as_mask:
        array, axes = np.moveaxis(np.asarray(colours)[:, array], 0, -1), axes + "S"
    keep = [k for k, (axis, n) in enumerate(zip(axes, array.shape, strict=True)) if n != 1 or axis in "YX"]
    array, axes = array.reshape([array.shape[k] for k in keep]), "".join(axes[k] for k in keep)
    sample = next((k for k, axis in enumerate(axes) if axis in "SC"), None)
    array = array[..., None] if sample is None else np.moveaxis(array, sample, -1)
    spatial = axes.replace("S", "").replace("C", "")
    if len(spatial) not in (2, _VOLUME) or not spatial.endswith("YX") or array.ndim != len(spatial) + 1:
        raise refusal(path, f"axes {axes} are not an image or a volume", "save one image or one volume per file")
    array = _channels_first(path, array.astype(array.dtype.newbyteorder("="), copy=False))
    return Decoded(array, value_range=_type_range(array.dtype))


def _compressed_tiff(path: Path, as_mask: bool) -> Decoded:
    from PIL import Image

    with Image.open(path, formats=("TIFF",)) as picture:
        bits = picture.tag_v2.get(258, (1,))  # type: ignore[attr-defined]
        if picture.mode != "P" and len(bits) > 1 and max(bits) > 8:
            raise refusal(path, "compressed 16-bit colour TIFF is not read", "save it without compression, or with deflate")
        pages = []
        for number in range(getattr(picture, "n_frames", 1)):
            picture.seek(number)
            pages.append(_pillow_array(path, picture, as_mask))
    array = pages[0] if len(pages) == 1 else np.stack(pages, axis=1)
    return Decoded(array, value_range=_type_range(array.dtype))


def _numpy(path: Path, _: bool = False) -> Decoded:
    """npy, or npz with the key `image` or one key. Axes: (H, W), (D, H, W), either with a last axis of 1 or 3 channels."""
    with path.open("rb") as file:
        if file.read(1) == b"\x80":
            raise refusal(path, "is a pickle, which can run code when it is read", "save plain numbers with numpy.save")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.lib.npyio.NpzFile):
            with loaded as archive:
                keys = archive.files
                if "image" not in keys and len(keys) != 1:
                    raise refusal(path, f"which of {', '.join(keys) or 'no arrays'} is the image?", "name it `image`")
                loaded = archive["image" if "image" in keys else keys[0]]
    except ValueError as error:
        if "Object arrays" in str(error) or "allow_pickle" in str(error):
            raise refusal(path, "holds Python objects, which are not read", "save plain numbers with numpy.save") from error
        raise
    array = np.asarray(loaded)
    given = (0.0, 1.0) if array.dtype == bool else _type_range(array.dtype)
    array = array.astype(np.uint8) if array.dtype == bool else array
    if array.ndim >= _VOLUME and array.shape[0] == 1:
        array = array[0]
    if array.ndim < _VOLUME or array.shape[-1] not in (1, _COLOUR):
        array = array[..., None]
    if array.ndim not in (3, 4):
        raise refusal(path, f"an array of shape {np.shape(loaded)} is not one image", "save (H, W), (D, H, W) or (H, W, 3)")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return Decoded(_channels_first(path, array), value_range=given)


def canonical(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, tuple[float, ...]]:
    """(x, y, z, ...) voxels with their RAS+ affine -> (z, y, x) array in the closest canonical orientation, and its spacing."""
    from nibabel.affines import voxel_sizes
    from nibabel.orientations import apply_orientation, io_orientation

    turned, sizes = io_orientation(affine), voxel_sizes(affine)
    if not np.all(np.isfinite(turned)) or not np.all(np.isfinite(sizes)) or np.any(sizes <= 0):
        raise ValueError("the header does not say how the volume lies in space (degenerate affine)")
    spacing = [0.0] * 3
    for source, target in enumerate(turned[:, 0].astype(int)):
        spacing[target] = float(sizes[source])
    array = np.ascontiguousarray(np.transpose(apply_orientation(array, turned), (2, 1, 0)))
    return array, tuple(round(s, 6) for s in reversed(spacing))


def _nifti(path: Path, _: bool = False) -> Decoded:
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    try:
        image: Any = nibabel.load(path)
        array, affine = np.asanyarray(image.dataobj), np.asarray(image.affine, dtype=float)
        unit = image.header.get_xyzt_units()[0] if hasattr(image.header, "get_xyzt_units") else "mm"
    except (ImageFileError, HeaderDataError) as error:
        raise ValueError(str(error)) from error
    if array.dtype.fields is not None:
        raise refusal(path, "colour NIfTI is not read", "save one channel per file")
    stored = array.shape
    while array.ndim > _VOLUME and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim > _VOLUME or array.ndim < 2:
        raise refusal(path, f"shape {stored} is not one volume", "save one volume per file")
    if array.size == 0:
        return Decoded(array[None])
    array, spacing = canonical(array[..., None] if array.ndim == 2 else array, affine)
    spacing = tuple(round(s * _MILLIMETRES.get(unit, 1.0), 6) for s in spacing)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    flat = [axis for axis, n in enumerate(array.shape) if n == 1]
    if len(flat) == 1:
        array, spacing = np.squeeze(array, flat[0]), tuple(s for axis, s in enumerate(spacing) if axis != flat[0])
    return Decoded(array[None], spacing, _type_range(array.dtype))


def dicom_dataset(path: Path, *, pixels: bool = True) -> Any:
    """Return the header of a DICOM file, with its pixels unless told otherwise."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        return pydicom.dcmread(path, stop_before_pixels=not pixels)
    except InvalidDicomError as error:
        raise refusal(path, "not a DICOM file", "replace the file or leave it out") from error
    except (*BROKEN, AttributeError, TypeError) as error:
        raise refusal(path, f"DICOM header cannot be read: {error}", "replace the file or leave it out") from error


def decode_dicom(path: Path, _: bool = False, dataset: Any = None) -> Decoded:
    """Modality values (rescaled), MONOCHROME1 inverted within the stored range, so that larger is brighter in every file."""
    from pydicom.pixels import apply_modality_lut, pixel_array

    dataset = dicom_dataset(path) if dataset is None else dataset
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise refusal(path, "multi-frame DICOM is not read", "export it as a single-frame series or as NIfTI")
    try:
        stored = pixel_array(dataset)
        signed, bits = int(dataset.PixelRepresentation), int(dataset.BitsStored)
        photometric = str(dataset.PhotometricInterpretation)
    except (AttributeError, TypeError) as error:
        raise ValueError(str(error)) from error
    step = dataset.get("PixelSpacing")
    spacing = None if not step else tuple(round(float(s), 6) for s in step)
    if stored.ndim == _VOLUME:
        return Decoded(_channels_first(path, stored), spacing, (0.0, float(2**bits - 1)))
    if photometric == "PALETTE COLOR":
        raise refusal(path, "DICOM with a colour palette is not read", "export it as RGB")
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if photometric == "MONOCHROME1":
        stored = (low + high - stored.astype(np.int64)).astype(np.int32)
    limits = (float(low), float(high))
    slope, intercept = float(dataset.get("RescaleSlope") or 1), float(dataset.get("RescaleIntercept") or 0)
    if "ModalityLUTSequence" in dataset:
        stored = apply_modality_lut(stored, dataset)
        limits = _type_range(stored.dtype) or limits
    elif (slope, intercept) != (1, 0):
        stored = stored * slope + intercept
        limits = (min(slope * low, slope * high) + intercept, max(slope * low, slope * high) + intercept)
    return Decoded(np.ascontiguousarray(stored)[None], spacing, limits)


_READERS: dict[Kind, Callable[[Path, bool], Decoded]] = {
    "png": _picture, "jpeg": _picture, "tiff": _tiff, "nifti": _nifti, "dicom": decode_dicom, "numpy": _numpy,
}  # fmt: skip
