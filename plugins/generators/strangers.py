"""How code that others wrote is run: in a process of its own, call by call, and its files gathered."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from harness.api import Context, Generator, InputError, NotComputable, Problem, Request

from .command import Command

_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".npy", ".nii", ".nii.gz", ".dcm")
_JOB = "job.json"


@dataclass(frozen=True)
class Call:
    """One call of a generator: the label that it makes (None: any), its seed, and the rows of the request that it fills, in order."""

    label: int | None
    seed: int
    rows: tuple[int, ...]


def calls(request: Request, labels_known: int, per_call: int, seed: int) -> tuple[Call, ...]:
    """Return the calls that fill a request, each of one label and with a seed of its own.

    labels_known: how many labels the options describe; 0 means that the generator is not told of any. Every call makes
    `per_call` images and what is too much is dropped, so that an image does not depend on how many are wanted. `NotComputable`
    where the data declare no labels, `InputError` where a label is wanted that the options do not describe.
    """
    rows: dict[int | None, list[int]] = {}
    if not labels_known:
        rows[None] = list(range(request.n))
    elif request.labels is None:
        raise NotComputable("by_label needs labels, and the data declare none")
    else:
        for row, label in enumerate(request.labels):
            rows.setdefault(int(label), []).append(row)
    unknown = sorted(label for label in rows if label is not None and not 0 <= label < labels_known)
    if unknown:
        fix = "give one entry for each label, in the order of data.label_names"
        raise InputError(Problem(f"images of label {unknown[0]} are wanted, and by_label has {labels_known} entries", "by_label", fix))
    return tuple(
        Call(label, _seed(seed, label, k), tuple(wanted[start : start + per_call]))
        for label, wanted in rows.items()
        for k, start in enumerate(range(0, len(wanted), per_call))
    )


def _seed(seed: int, label: int | None, call: int) -> int:
    """Return the seed of one call, below 2^32."""
    words = [seed, 0 if label is None else label + 1, call]
    return int(np.random.SeedSequence(words).generate_state(1)[0])


class StrangersGenerator(Generator):
    """A folder with code that others wrote: it is run in a process of its own, label by label, and only after `trust: true`.

    program: the line of Python that the process runs. called: what messages call the folder. warning: why it must be trusted.
    """

    program: ClassVar[str]
    called: ClassVar[str]
    warning: ClassVar[str]
    path: Path = Field(description="folder of the unzipped package or of the bundle")
    trust: bool = Field(False, description="run the code of its makers")
    by_label: tuple[dict[str, Any], ...] = Field((), description="what is different for each label, in the order of data.label_names")
    label_names: tuple[str, ...] = Field((), description="names of the labels, for the folders of files; one for each entry of by_label")
    image_files: str = Field("*", min_length=1, description="pattern of the names of image files")
    mask_files: str = Field("", description="pattern of the names of mask files")
    timeout_s: float = Field(3600.0, gt=0.0, description="for all images together")

    @model_validator(mode="after")
    def _trusted(self) -> Self:
        if not self.trust:
            raise ValueError(f"{self.warning}, and where you trust them write trust: true")
        return self

    def conditions(self) -> frozenset[str]:
        """Return labels where `by_label` describes them."""
        return frozenset({"labels"} if self.by_label else ())

    def require_names(self) -> None:
        """Raise `ValueError` where labels that are described have no names for folders of files, or names that are no names."""
        names = self.label_names
        if len(self.by_label) != len(names):
            raise ValueError(f"label_names must hold one name for each entry of by_label, got {len(names)} for {len(self.by_label)}")
        wrong = [name for name in names if not name.strip(".") or "/" in name or "\\" in name]
        if wrong or len(set(names)) != len(names):
            raise ValueError(f"label_names become folders: each must be another name without slashes, got {', '.join(map(repr, names))}")

    def work_folder(self, context: Context) -> Path:
        """Return a folder of its own for the process, which is not there; `InputError` where it and `path` lie in each other."""
        own, workdir = self.path.resolve(), context.workdir.resolve()
        if own == workdir or own in workdir.parents or workdir in own.parents:
            what = "it and the audit's working folder lie in each other"
            raise InputError(Problem(what, str(self.path), "keep it outside of the audit's output"))
        work = workdir / "process"
        shutil.rmtree(work, ignore_errors=True)
        return work

    def in_child(self, job: Mapping[str, Any], made: Sequence[Call], work: Path, request: Request, context: Context) -> Path:
        """Run the program in the work folder and return the folder that it filled.

        The program finds the job with `the_job`, and the calls in it with `each_call`. What ends it is an `InputError` that names the
        generator and its folder, with the last lines that it printed.
        """
        whole = {**job, "device": context.device, "by_label": self.by_label, "calls": [asdict(call) for call in made]}
        (work / _JOB).write_text(json.dumps(whole, default=str), encoding="utf-8")
        command = Command(command=("python", "-c", self.program, "{out}"), cwd=work, timeout_s=self.timeout_s)
        try:
            return command.sample(request, Context(seed=context.seed, workdir=context.workdir.resolve(), device=context.device))
        except InputError as error:
            problems = [Problem(p.what.replace("the command", self.called, 1), str(self.path), p.fix) for p in error.problems]
            raise InputError(*problems) from error

    def collect(self, made: Sequence[Call], out: Path, per_call: int, own_seed: str) -> Path:
        """Move the files of each call into one folder beside `out` and return it.

        The image of row 7 becomes 00007 with its extension, its mask 00007_mask; both in a folder with the name of the label where
        labels have names. A call that wrote another number of files is an `InputError`, and so are two with the same first image, for
        which `own_seed` says what to do.
        """
        target = out.parent / "synthetic"
        shutil.rmtree(target, ignore_errors=True)
        first: dict[str, Call] = {}
        for k, call in enumerate(made):
            images, masks = self._files(_folder(out, k), per_call)
            unlike(call, images[0].read_bytes(), first, self.path, own_seed)
            place = target if call.label is None else target / self.label_names[call.label]
            place.mkdir(parents=True, exist_ok=True)
            for row, image, mask in zip(call.rows, images, masks or images, strict=False):
                shutil.move(image, place / f"{row:05d}{_extension(image)}")
                if masks:
                    shutil.move(mask, place / f"{row:05d}_mask{_extension(mask)}")
        return target

    def _files(self, folder: Path, per_call: int) -> tuple[list[Path], list[Path]]:
        """Return the images and the masks that lie in the folder of a call, in the order of their names."""
        masks = _matching(folder, self.mask_files) if self.mask_files else []
        images = [path for path in _matching(folder, self.image_files) if path not in masks]
        for option, found, pattern in (("image_files", images, self.image_files), ("mask_files", masks, self.mask_files)):
            if pattern and len(found) != per_call:
                seen = ", ".join(sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())[:5]) or "no file"
                what = f"a call for {per_call} images left {len(found)} files that fit {option}: {pattern!r}; there are {seen}"
                raise InputError(Problem(what, str(self.path), f"correct {option}, or say how many images a call makes"))
        return images, masks


def the_job() -> tuple[dict[str, Any], Path]:
    """Return, in the child, the job and the folder to fill; the folder is told to be filled by a file `done.json`."""
    job: dict[str, Any] = json.loads(Path(_JOB).read_text(encoding="utf-8"))
    out = Path(sys.argv[1])
    (out / "done.json").write_text("{}", encoding="utf-8")
    return job, out


def each_call(job: Mapping[str, Any], out: Path) -> Iterator[tuple[Path, dict[str, Any], int]]:
    """Yield, in the child, for each call its new folder, what is different for its label, and its seed."""
    for k, call in enumerate(job["calls"]):
        folder = _folder(out, k)
        folder.mkdir()
        yield folder, {} if call["label"] is None else job["by_label"][call["label"]], call["seed"]


def _folder(out: Path, call: int) -> Path:
    return out / f"{call:05d}"


def prepared(device: str, *, unpickles: bool) -> Callable[[int], None]:
    """Prepare the child for strangers' code and return the function that seeds every random generator.

    The device that is not lent is hidden, libraries of Hugging Face stay off the network, the CPU computes on one thread, and
    `torch.load` reads tensors only, whatever the caller says, unless `unpickles`.
    """
    for name in ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        os.environ.pop(name, None)
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" if unpickles else "TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    sys.dont_write_bytecode = True
    import torch
    from monai.utils import set_determinism

    if device == "cpu":
        torch.set_num_threads(1)
    return lambda seed: set_determinism(seed=seed)


def unlike(call: Call, content: bytes, first: dict[str, Call], where: Path, fix: str) -> None:
    """Raise `InputError` where a call with another seed began with the same image; such a generator sets a seed of its own."""
    twin = first.setdefault(hashlib.sha256(content).hexdigest(), call)
    if twin is not call:
        raise InputError(Problem(f"seeds {twin.seed} and {call.seed} give the same image, bit by bit", str(where), fix))


def _matching(folder: Path, pattern: str) -> list[Path]:
    found = [p for p in folder.rglob(pattern) if p.is_file() and p.name.lower().endswith(_IMAGES)]

    def key(path: Path) -> list[int | str]:
        """Numbers in names count as numbers: image 10 comes after image 9."""
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(path.relative_to(folder)))]

    return sorted(found, key=key)


def _extension(path: Path) -> str:
    return next(end for end in sorted(_IMAGES, key=len, reverse=True) if path.name.lower().endswith(end))
