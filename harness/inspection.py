"""Looks at a user's folders and writes a first `model.yaml` from what it saw: the work behind `harness init`."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import imagefiles
from .catalogue import MASK_SUFFIXES
from .errors import InputError, Problem

_DEPTH = 3
_LOOKED_AT, _VOLUMES_LOOKED_AT = 200, 6
_LARGEST_SIDE = 256
_CLASSES = 20
_WORDS = {
    "synthetic": "synthetic synth syn generated generator gen fake sampled samples sample gan diffusion artificial",
    "train": "train training tr imagestr",
    "test": "test testing ts imagests holdout heldout unseen",
    "validation": "val valid validation dev",
}
_MASK_FOLDERS = "masks mask segmentations segmentation labelstr labelsts seg segs gt"
_PATIENT = (
    r"(?<![A-Za-z0-9])P_\d+", r"TCGA[_-][A-Z0-9]{2}[_-][A-Z0-9]{4}", r"LIDC-IDRI-\d+", r"sub-[A-Za-z0-9]+",
    r"(?i)(?:patient|person|subject|case|pat|pid|p)[-_ ]?\d+",
)  # fmt: skip


@dataclass(frozen=True)
class Arm:
    """One folder of images. path: below the folder looked at. looked_at: how many of the n images were decoded.

    folders: names of the folders the images are in, none where some lie in the arm's own. suffix, mask_folder: where
    masks are. low, high: the smallest and largest intensity seen. types: ranges of integer types, None for floating point.
    """

    path: str
    n: int
    looked_at: int
    formats: dict[str, int]
    sizes: dict[tuple[int, ...], int]
    types: tuple[tuple[float, float] | None, ...]
    channels: tuple[str, ...]
    spacings: tuple[tuple[float, ...], ...]
    low: float
    high: float
    folders: tuple[str, ...]
    stems: tuple[str, ...]
    suffix: str | None
    mask_folder: str | None
    masked: int
    has_patient_header: bool


@dataclass(frozen=True)
class Description:
    """What was found: the arms, and what labels, patients and masks look like across the real ones.

    patients: one entry of `data.patients`, such as {"pattern": "P_\\d+"}; None where nothing was recognised.
    """

    folder: Path
    train: Arm
    test: Arm
    synthetic: Arm
    validation: Arm | None
    series: bool
    labels: tuple[str, ...]
    patients: dict[str, str | int] | None
    n_patients: int | None


def describe(folder: Path) -> Description:
    """Find the training, test and synthetic images below a folder and say what they are like; nothing is written."""
    if not folder.is_dir():
        raise InputError(Problem("no such folder", str(folder), "name the folder that holds the real and synthetic images"))
    places = _places(folder)
    if "test" not in places and "validation" in places:
        places["test"] = places.pop("validation")
    missing = [name for name in ("train", "test", "synthetic") if name not in places]
    if missing:
        seen = ", ".join(sorted(p.name for p in folder.iterdir() if p.is_dir())[:8]) or "none"
        names = {"train": "train (real, the generator saw them)", "test": "test (real, it did not)", "synthetic": "synthetic"}
        fix = f"name folders {', '.join(names[m] for m in missing)}; folders here: {seen}"
        raise InputError(Problem(f"no folder of {' or '.join(missing)} images", str(folder), fix))
    arms = {name: _arm(folder, place) for name, place in places.items()}
    train, test = arms["train"], arms["test"]
    series = _is_series(folder / train.path)
    labels = train.folders if 1 < len(train.folders) <= _CLASSES and set(test.folders) <= set(train.folders) else ()
    labels = labels if set(train.folders) & set(test.folders) else ()
    patients, n = _patients(train, test, labels)
    return Description(folder, train, test, arms["synthetic"], arms.get("validation"), series, labels, patients, n)


def _places(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    real: Path | None = None
    level = [folder]
    for _ in range(_DEPTH):
        level = [child for parent in level for child in sorted(parent.iterdir()) if child.is_dir() and child.name[0] != "."]
        for place in level:
            if any(place.is_relative_to(taken) for taken in found.values()) or not any(_images(place)):
                continue
            words = set(re.findall(r"[a-z]+", place.name.lower()))
            name = next((name for name, known in _WORDS.items() if words & set(known.split())), None)
            if name is not None:
                found.setdefault(name, place)
            elif "real" in words:
                real = real or place
    if "train" not in found and real is not None and not any(p.is_relative_to(real) for p in found.values()):
        found["train"] = real
    return found


def _images(place: Path) -> Iterator[Path]:
    for path in sorted(place.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(place).parts)
        if not hidden and path.is_file() and imagefiles.kind_of(path) is not None:
            yield path


def _is_series(place: Path) -> bool:
    """Whether DICOM files stand in folders of several slices of one series each."""
    parents = Counter(path.parent for path in _images(place) if imagefiles.kind_of(path) == "dicom")
    if not parents or max(parents.values()) < 3:
        return False
    parent = max(parents, key=lambda p: parents[p])
    members = [path for path in _images(place) if path.parent == parent][:5]
    uids = {imagefiles.header(path, ["SeriesInstanceUID"]).get("SeriesInstanceUID") for path in members}
    return len(uids) == 1 and None not in uids and bool(imagefiles.header(members[0], ["ImagePositionPatient"]))


def _arm(folder: Path, place: Path) -> Arm:
    files = list(_images(place))
    inside = [p.name for p in sorted(place.iterdir()) if p.is_dir()]
    mask_folder = next((name for name in inside if name.lower() in _MASK_FOLDERS.split()), None)
    if mask_folder is not None:
        masks = [path for path in files if path.relative_to(place).parts[0] == mask_folder]
        suffix, images = None, [path for path in files if path not in set(masks)]
        named = {imagefiles.stem(path) for path in masks}
        masked = sum(imagefiles.stem(path) in named for path in images)
    else:
        suffix, images, masked = _by_suffix(files)
    decoded = []
    problems: list[Problem] = []
    for path in _spread(images, _LOOKED_AT):
        try:
            decoded.append(imagefiles.decode(path))
        except InputError as error:
            problems += error.problems
        if sum(len(image.size_px) > 2 for image in decoded) >= _VOLUMES_LOOKED_AT:
            break
    if problems or not decoded:
        raise InputError(*(problems or [Problem("no images", str(place), f"formats: {imagefiles.FORMATS}")]))
    folders = sorted({path.parent.name if path.parent != place else "" for path in images})
    first = images[0]
    return Arm(
        path=place.relative_to(folder).as_posix(), n=len(images), looked_at=len(decoded),
        formats=dict(Counter(str(imagefiles.kind_of(path)) for path in images)),
        sizes=dict(Counter(image.size_px for image in decoded).most_common()),
        types=tuple({image.value_range: None for image in decoded}),
        channels=tuple(sorted({"rgb" if len(image.pixels) > 1 else "grey" for image in decoded})),
        spacings=tuple(sorted({image.spacing_mm for image in decoded if image.spacing_mm is not None})),
        low=min(float(image.pixels.min()) for image in decoded), high=max(float(image.pixels.max()) for image in decoded),
        folders=tuple(folders) if "" not in folders else (), stems=tuple(imagefiles.stem(path) for path in images),
        suffix=suffix, mask_folder=mask_folder, masked=masked,
        has_patient_header=bool(imagefiles.header(first, ["PatientID"])),
    )  # fmt: skip


def _by_suffix(files: list[Path]) -> tuple[str | None, list[Path], int]:
    stems = {path: (path.parent, imagefiles.stem(path)) for path in files}
    known = set(stems.values())
    for suffix in MASK_SUFFIXES:
        images = [path for path, (_, stem) in stems.items() if not stem.endswith(suffix)]
        masked = sum((parent, stem + suffix) in known for parent, stem in (stems[path] for path in images))
        if masked:
            return suffix, images, masked
    return None, files, 0


def _spread(files: Sequence[Path], n: int) -> list[Path]:
    return [files[int(k)] for k in np.unique(np.linspace(0, len(files) - 1, min(n, len(files))).astype(int))]


def _patients(train: Arm, test: Arm, labels: tuple[str, ...]) -> tuple[dict[str, str | int] | None, int | None]:
    if train.has_patient_header and test.has_patient_header:
        return {"header": "PatientID"}, None
    for pattern in _PATIENT:
        found = [re.search(pattern, stem) for stem in (*train.stems, *test.stems)]
        names = {match.group(0) for match in found if match is not None}
        if all(found) and len(names) > 1:
            return {"pattern": pattern}, len(names)
    if not labels and len(train.folders) > 1 and test.folders:
        return {"folder": 1}, len({*train.folders, *test.folders})
    return None, None


def write_model_yaml(description: Description) -> str:
    """Return the text of a commented `model.yaml` for the folder described; its paths are relative to that folder."""
    d = description
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", d.folder.resolve().name).strip("-_.")[:40] or "images"
    n = min(d.synthetic.n, 2000)
    enough = max(2, min(20, n))
    return _TEMPLATE.format(
        name=f"{name}-first-audit", data="\n".join(f"  {line}" for line in _data(d)), n=n, n_min=enough,
        synthetic=json.dumps(d.synthetic.path),
    )  # fmt: skip


def _data(d: Description) -> Iterator[str]:
    counts = Counter(d.train.formats).most_common()
    kinds_seen = ", ".join(f"{n} {kind}" for kind, n in counts)
    opened = f"{d.train.looked_at} and {d.test.looked_at} of them were opened."
    yield f"# {d.train.n} training files ({kinds_seen}), {d.test.n} test files; {opened}"
    yield f"train: {json.dumps(d.train.path)}   # real images that the generator learned from"
    yield f"test: {json.dumps(d.test.path)}   # real images that it never saw, best of other patients"
    if d.validation is not None:
        yield f"validation: {json.dumps(d.validation.path)}"
    if d.series:
        yield "series: true   # each folder of DICOM files is one volume"
    yield from _window(d)
    yield from _size(d)
    kinds = {kind for arm in (d.train, d.test) for kind in arm.channels}
    yield f"channels: {'grey' if 'grey' in kinds else 'rgb'}   # seen in the real files: {', '.join(sorted(kinds))}"
    if not d.train.spacings:
        axes = len(next(iter(d.train.sizes)))
        example = ", ".join(["0.1"] * axes)
        yield f"# spacing_mm: [{example}]   # these files state no pixel size: say it here, or 1 mm is assumed and noted"
    if d.labels:
        yield f"labels: {{folder: 1}}   # classes seen: {', '.join(d.labels)}"
    if d.patients is not None:
        key, value = next(iter(d.patients.items()))
        quoted = "'" + value.replace("'", "''") + "'" if isinstance(value, str) else value
        seen = f"{d.n_patients} found; " if d.n_patients else ""
        yield f"patients: {{{key}: {quoted}}}   # {seen}check that this is the patient: intervals are resampled by it"
    else:
        yield "# patients: {pattern: 'P_\\d+'}   # no patient recognised: without it every image counts as a patient of its own"
    real = [arm for arm in (d.train, d.test, d.validation) if arm is not None]
    if d.train.suffix or d.train.mask_folder:
        rule = f"suffix: {json.dumps(d.train.suffix)}" if d.train.suffix else f"folder: {json.dumps(d.train.mask_folder)}"
        complete = all(arm.masked == arm.n for arm in real)
        if complete:
            yield f"masks: {{{rule}}}   # every real image has one"
        else:
            some = f"{sum(arm.masked for arm in real)} of {sum(arm.n for arm in real)} real images have one, all need one"
            yield f"# masks: {{{rule}}}   # {some}"


def _window(d: Description) -> Iterator[str]:
    low, high = min(d.train.low, d.test.low), max(d.train.high, d.test.high)
    seen = f"real files hold {low:g} to {high:g}"
    types = set(d.train.types)
    integer = next(iter(types)) if len(types) == 1 else None
    if integer is None or integer[0] < 0:
        yield f"window: {{percentiles: [0.5, 99.5]}}   # {seen}; better: the fixed window [low, high] that readers use"
    elif integer[1] > 255:
        top = min(int(integer[1]), 2 ** max(int(high), 1).bit_length() - 1)
        yield f"window: [{integer[0]:g}, {top}]   # {seen}; these become 0 and 1 in every arm"
    else:
        yield f"window: [{integer[0]:g}, {integer[1]:g}]   # {seen}; these become 0 and 1 in every arm"
    if set(d.synthetic.types) != types:
        other = f"{d.synthetic.low:g} to {d.synthetic.high:g}"
        yield f"# CAUTION synthetic files are of another number type ({other}): save all arms in one scale"


def _size(d: Description) -> Iterator[str]:
    arms = [arm for arm in (d.train, d.test, d.synthetic, d.validation) if arm is not None]
    sizes = Counter[tuple[int, ...]]()
    for arm in arms:
        sizes.update(arm.sizes)
    spacings = {spacing for arm in arms for spacing in arm.spacings}
    if d.series:
        yield "# size: slices, rows, columns of every volume; add `resize: stretch` where volumes differ"
    elif len(sizes) == 1 and len(spacings) <= 1:
        yield f"size: {list(next(iter(sizes)))}   # every file opened has this size; another size is an error"
    else:
        typical = [min(_LARGEST_SIDE, int(v)) for v in np.median(np.array(list(d.train.sizes)), axis=0)]
        yield f"size: {typical}   # {len(sizes)} sizes were seen"
        yield "resize: stretch   # keeps the field of view, changes proportions; pad and crop keep proportions"


_TEMPLATE = """\
# A first audit, written from what was found in this folder. It runs as it is; every line is yours to change.
# What to change first: window, patients and the bounds under `purposes`, with your own reasons.
audit: {name}
seed: 1
data:
{data}
generator: {{folder: {{path: {synthetic}}}}}   # images that exist already; `command` runs a generator instead
samples: {n}   # how many synthetic images are judged
extractors: [pixels, random_conv]   # what distances are measured in; neither needs downloaded weights
metrics: [frechet, kernel, manifold, memorisation]
# Each metric must notice these planted defects in your own images before it counts as evidence.
perturbations: [gaussian_noise, duplication, mode_collapse]
purposes:
  screening:
    context_of_use: First look at a set of synthetic images before any use of it is planned
    question: Do the synthetic images cover the real ones without copying them?
    not_for: [diagnosis, training of a model]
    uses_model: false   # true once a purpose trains or tests a model: it then needs a task criterion
    criteria:
      - id: not-copied
        claim: Training images are not reproduced
        quantity: memorisation.copied_share
        extractor: pixels
        at_most: 0.05
        because: more than one copy in twenty would expose training patients and make the set partly redundant
        n_min: {n_min}
        failure_modes: [memorisation]   # what the quantity must be able to see, and the planted defect that shows it
        qualified_by: [duplication]
        # A critical claim needs two kinds of evidence (metric, task, experts) or the reason why one is enough.
        one_kind_because: copies are counted image by image; neither a task nor a reader would notice them
      - id: covered
        claim: The variety of the real images is covered
        quantity: manifold.recall
        extractor: random_conv
        at_least: 0.7
        because: real images cover each other to about 0.95, and a lost quarter of the variety would matter
        n_min: {n_min}
        failure_modes: [mode_collapse]
        qualified_by: [mode_collapse]
        guards: [not-copied]   # copies of training images raise recall, so it counts only where copies are ruled out
        one_kind_because: a kind of image that is missing shows in the images themselves
      - id: not-noisier
        claim: The images are as close to the real ones as a first look can tell
        quantity: kernel.kid
        extractor: random_conv
        at_most: 0.05
        because: a first bound, to be replaced by the distance between two real sites that a reader finds alike
        n_min: {n_min}
        failure_modes: [noise]
        qualified_by: [gaussian_noise]
        guards: [not-copied, covered]   # a distance counts only where copies are ruled out and the variety is there
        role: supportive
"""
