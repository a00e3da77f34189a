"""Bundles of MONAI, run by their own inference configuration."""

from __future__ import annotations

import difflib
import gc
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from harness.api import Context, ImageSet, InputError, Problem, Request

from .strangers import Call, StrangersGenerator, calls, each_call, prepared, the_job, unlike

_CONFIGS = ("inference.json", "inference.yaml", "inference.yml")
_RUNS = ("run", "inferring", "evaluating", "generate")
_OF_FILES = ("run", "image_files", "mask_files", "label_names")
_OF_TENSORS = ("mask_output", "intensity", "axis_order")
_SEEDS = ("random_seed", "seed")


class MonaiBundle(StrangersGenerator):
    """A folder in MONAI's bundle format (github.com/Project-MONAI/model-zoo), run by its own inference configuration.

    The configuration is code of the bundle's makers: expressions that begin with `$`, any class after `_target_`, and `scripts/`. It
    runs in a process of its own and only after `trust: true`. Checkpoints are read with `weights_only=True`, even where the
    configuration says otherwise. The configuration is parsed anew for each run, with a seed of its own, in an empty folder;
    `bundle_root` is the bundle, `device` the audit's, and `output_dir` the empty folder, where the configuration has these ids.

    path: the bundle. config: file below it; left out, configs/inference.json, .yaml or .yml (YAML needs the package pyyaml).
    overrides: ids that get other values, as on the command line of `monai.bundle run`; new ids may be added. by_label: further
    overrides for each label, in the order of data.label_names. seed_key: id that gets the seed of the run, for a bundle that sets
    one itself (`random_seed` of maisi_ct_generative). images_per_run: how many images one run makes.

    With `output`, the value of that id is the images: a tensor or array (images, channels, axes ...), or without the first axis
    where a run makes one (`sample` of brats_mri_generative_diffusion). mask_output: id of their masks, whole numbers. intensity: the
    values that become 0 and 1, what lies outside being clipped, or `image` for the lowest and highest value of each image.
    axis_order: the tensor's spatial axes in the order of the audit's; [2, 1, 0] for volumes in MONAI's order x, y, z.

    Without `output`, the id `run` is evaluated (left out: run, inferring, evaluating or generate) and the files that it saved are
    the audit's images, read by its own window and layout. image_files, mask_files: patterns of their names, such as
    `*_image.nii.gz` and `*_label.nii.gz` of maisi_ct_generative. The image 00007.nii.gz has the mask 00007_mask.nii.gz, for
    `masks: {suffix: _mask}`. label_names: names of the labels of by_label, as which files are put into folders, for `labels: folder`.
    """

    name = "monai_bundle"
    version = "1"
    program: ClassVar[str] = "from harness_plugins.generators.monai_bundle import child; child()"
    called: ClassVar[str] = "the MONAI bundle"
    warning: ClassVar[str] = (
        "the configuration of a MONAI bundle is code of its makers that the audit would run; read it and the folder scripts"
    )
    config: str = Field("", description="inference configuration, below the folder")
    overrides: dict[str, Any] = Field({}, description="ids of the configuration that get other values")
    seed_key: str = Field("", description="id that gets the seed of the run")
    images_per_run: int = Field(1, ge=1, description="images that one run makes")
    output: str = Field("", description="id whose value is the images; absent, files that the run saves are")
    mask_output: str = Field("", description="id whose value is the masks")
    intensity: tuple[float, float] | Literal["image"] = Field((0.0, 1.0), description="values that become 0 and 1")
    axis_order: tuple[int, ...] = Field((), description="the tensor's spatial axes in the order of the audit's")
    run: str = Field("", description="id that saves files")

    @model_validator(mode="after")
    def _options(self) -> Self:
        idle = [name for name in (_OF_FILES if self.output else _OF_TENSORS) if name in self.model_fields_set]
        if idle:
            when = "where output is not given" if self.output else "together with output, which names the id of a tensor"
            raise ValueError(f"{idle[0]} has a meaning only {when}; leave it out")
        if not self.output:
            self.require_names()
        if sorted(self.axis_order) != list(range(len(self.axis_order))):
            raise ValueError(f"axis_order must hold each axis from 0 on once, got {list(self.axis_order)}")
        if self.intensity != "image" and not (np.all(np.isfinite(self.intensity)) and self.intensity[0] < self.intensity[1]):
            raise ValueError(f"intensity must rise from the value that becomes 0 to the one that becomes 1, got {list(self.intensity)}")
        return self

    def inputs(self) -> tuple[Path, ...]:
        """Return the bundle."""
        return (self.path,)

    def sample(self, request: Request, context: Context) -> ImageSet | Path:
        """Run the bundle as often as the request needs; return the images, or the folder of the files that it saved.

        `InputError` where the folder is no bundle, its configuration fails or lacks an id, or what it makes has another number or form;
        `NotComputable` where `by_label` is given and the data have no labels.
        """
        file = self._config_file()
        config = _read(file)
        for label in range(max(1, len(self.by_label))):
            self._require_ids(file, config, self.overrides | (self.by_label[label] if self.by_label else {}))
        run = "" if self.output else self._run_id(file, config)
        made = calls(request, len(self.by_label), self.images_per_run, context.seed)
        work = self.work_folder(context)
        work.mkdir(parents=True)
        job = {
            "bundle": str(self.path.resolve()), "config": str(file.resolve()), "overrides": self.overrides, "seed_key": self.seed_key,
            "ids": [run] if run else [self.output, *([self.mask_output] if self.mask_output else [])], "saves": bool(run),
        }  # fmt: skip
        out = self.in_child(job, made, work, request, context)
        if not run:
            return self._images(request, made, out)
        fix = f"the configuration sets a seed of its own: name its id as seed_key{self._seed_hint(config)}"
        return self.collect(made, out, self.images_per_run, fix)

    def _config_file(self) -> Path:
        if not self.path.is_dir():
            what = "is a file, not the folder of a bundle" if self.path.exists() else "no such folder"
            raise InputError(Problem(what, str(self.path), "generator: {monai_bundle: {path: ...}} names the folder of a MONAI bundle"))
        named = [self.path / self.config] if self.config else [self.path / "configs" / name for name in _CONFIGS]
        found = [path for path in named if path.is_file()]
        if not found:
            fix = "name the configuration of the bundle with the option config; a bundle keeps it in its folder configs"
            raise InputError(Problem(f"holds no {named[0].relative_to(self.path)}", str(self.path), fix))
        return found[0]

    def _run_id(self, file: Path, config: Mapping[str, Any]) -> str:
        known = {**config, **self.overrides}
        run = self.run or next((name for name in _RUNS if name in known), "")
        if not run:
            fix = "name what saves files with the option run, or the id of the images with output"
            raise InputError(Problem(f"has none of the ids {', '.join(_RUNS)}", str(file), fix))
        return run

    def _require_ids(self, file: Path, config: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
        """Raise `InputError` where an option names an id that is not there, or an override that nothing would read."""
        named = {"output": self.output, "mask_output": self.mask_output, "run": self.run, "seed_key": self.seed_key}
        known = {*config, *overrides}
        text = json.dumps([config, overrides], default=str)
        for option, name in named.items():
            if name and _top(name) not in known:
                raise _absent(f"the option {option} names", name, config, file)
        for name in overrides:
            if _top(name) not in config and name not in named.values() and f"@{name}" not in text:
                raise _absent("the option overrides names", name, config, file)

    def _seed_hint(self, config: Mapping[str, Any]) -> str:
        likely = [name for name in _SEEDS if name in config and name != self.seed_key]
        return f"; this one has {likely[0]}" if likely else ""

    def _images(self, request: Request, made: Sequence[Call], out: Path) -> ImageSet:
        """Return the images and masks that the child left as arrays."""
        images: dict[int, np.ndarray] = {}
        masks: dict[int, np.ndarray] = {}
        first: dict[str, Call] = {}
        fix = f"the configuration sets a seed of its own: name its id as seed_key{self._seed_hint(_read(self._config_file()))}"
        for k, call in enumerate(made):
            pixels = self._array(np.load(out / f"{k:05d}_0.npy", allow_pickle=False), self.output, len(request.spacing_mm))
            unlike(call, pixels[0].tobytes(), first, self.path, fix)
            images |= dict(zip(call.rows, self._scaled(pixels), strict=False))
            if self.mask_output:
                given = np.load(out / f"{k:05d}_1.npy", allow_pickle=False)
                masks |= dict(zip(call.rows, self._masks(given, pixels.shape), strict=False))
        sizes = sorted({one.shape for one in images.values()})
        if len(sizes) > 1:
            raise self._unusable(self.output, f"images of different shapes, {sizes[0]} and {sizes[1]}", "make all images of one size")
        rows = range(request.n)
        stacked = np.stack([images[row] for row in rows])
        return ImageSet(
            images=stacked,
            ids=tuple(f"synthetic{row:05d}" for row in rows),
            spacing_mm=request.spacing_mm or (1.0,) * (stacked.ndim - 2),
            masks=np.stack([masks[row] for row in rows]) if self.mask_output else None,
            labels=request.labels if self.by_label else None,
            origin="synthetic",
        )

    def _array(self, given: np.ndarray, name: str, axes: int) -> np.ndarray:
        """Return what a run made as (images, channels, axes ...), its axes in the audit's order. axes: 0 where they are not known."""
        axes = axes or len(self.axis_order) or (2 if given.ndim == 3 else given.ndim - 2)
        array = given[None] if self.images_per_run == 1 and given.ndim == axes + 1 else given
        if array.ndim != axes + 2 or len(array) != self.images_per_run or 0 in array.shape:
            fix = f"it must be {self.images_per_run} images, channels, {axes} axes: see images_per_run, or turn it with an id in overrides"
            raise self._unusable(name, f"an array of shape {given.shape}", fix)
        if self.axis_order and len(self.axis_order) != axes:
            raise self._unusable(name, f"images with {axes} axes, and axis_order has {len(self.axis_order)}", "correct axis_order")
        order = self.axis_order or range(axes)
        return np.transpose(array, (0, 1, *(axis + 2 for axis in order)))

    def _scaled(self, pixels: np.ndarray) -> np.ndarray:
        """Return the images as float32 in [0, 1]."""
        if pixels.dtype.kind not in "fiub" or not np.all(np.isfinite(pixels)):
            raise self._unusable(self.output, "values that are not finite numbers", "look at what the bundle makes of these weights")
        values = pixels.astype(np.float64)
        flat = values.reshape(len(values), -1)
        lowest, highest = flat.min(axis=1), flat.max(axis=1)
        if np.any(lowest == highest):
            raise self._unusable(
                self.output, f"an image whose every pixel is {lowest[lowest == highest][0]:g}", "look at the bundle's weights"
            )
        if self.intensity == "image":
            shape = (-1, *[1] * (values.ndim - 1))
            low, high = lowest.reshape(shape), highest.reshape(shape)
        else:
            low, high = (np.asarray(value) for value in self.intensity)
            out = (highest <= low) | (lowest >= high)
            if np.any(out):
                what = f"an image with values from {lowest[out][0]:g} to {highest[out][0]:g}, all outside [{low:g}, {high:g}]"
                raise self._unusable(self.output, what, "say with intensity which values become 0 and 1")
        return np.clip((values - low) / (high - low), 0.0, 1.0).astype(np.float32)

    def _masks(self, given: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return the masks of images of this shape as uint8, (images, axes ...)."""
        given = given[:, None] if given.ndim == len(shape) - 1 and len(given) == shape[0] else given
        masks = self._array(given, self.mask_output, len(shape) - 2)
        if masks.shape[1] != 1 or masks.shape[2:] != shape[2:]:
            raise self._unusable(
                self.mask_output, f"masks of shape {masks.shape} for images of shape {shape}", "one channel, the size of the images"
            )
        masks = masks[:, 0]
        if not (np.all(np.isfinite(masks)) and np.array_equal(masks, np.round(masks)) and masks.min() >= 0 and masks.max() <= 255):
            what = "values that are no whole numbers from 0 to 255"
            raise self._unusable(self.mask_output, what, "threshold or round them in an id that you add to overrides")
        return masks.astype(np.uint8)

    def _unusable(self, name: str, what: str, fix: str) -> InputError:
        return InputError(Problem(f"the id {name!r} gives {what}", str(self.path), fix))


def _top(name: str) -> str:
    """Return the first part of an id such as network_def::channels or network_def#channels."""
    return name.replace("#", "::").split("::")[0]


def _absent(who: str, name: str, config: Mapping[str, Any], file: Path) -> InputError:
    close = difflib.get_close_matches(name, config, n=1)
    fix = f"did you mean {close[0]}?" if close else f"it has {', '.join(sorted(config)[:12])}"
    return InputError(Problem(f"{who} {name!r}, an id that the configuration does not have or nothing refers to", str(file), fix))


def _read(file: Path) -> dict[str, Any]:
    """Return the configuration as it is written; nothing in it is evaluated."""
    from monai.bundle import ConfigParser
    from monai.utils import OptionalImportError

    try:
        config = ConfigParser.load_config_file(file)
    except OptionalImportError as error:
        fix = "pip install pyyaml, or write the configuration as JSON and name it with the option config"
        raise InputError(Problem("a YAML configuration needs the package pyyaml", str(file), fix)) from error
    except (OSError, ValueError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise InputError(
            Problem(f"cannot be read as a configuration: {said}", str(file), "take the file as its makers offer it")
        ) from error
    if not isinstance(config, dict) or not config:
        raise InputError(
            Problem("is no configuration: it must map ids to values", str(file), "name the inference configuration of the bundle")
        )
    return config


def child() -> None:
    """Do every run; run by `MonaiBundle.sample` in a process of its own."""
    job, out = the_job()
    seed_everything = prepared(job["device"], unpickles=False)
    import torch

    sys.path.insert(0, job["bundle"])
    for folder, own, seed in each_call(job, out):
        os.chdir(folder)
        seed_everything(seed)
        with torch.no_grad():
            values = _run(job, folder, job["overrides"] | own, seed)
        if not job["saves"]:
            for position, (name, value) in enumerate(zip(job["ids"], values, strict=True)):
                np.save(f"{folder}_{position}.npy", _numbers(name, value))
        # Networks of a run are gone before those of the next are built.
        del values
        gc.collect()


def _run(job: Mapping[str, Any], folder: Path, overrides: Mapping[str, Any], seed: int) -> list[Any]:
    """Parse the configuration anew and return the values of the ids that are asked for."""
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(job["config"])
    metadata = Path(job["bundle"], "configs", "metadata.json")
    if metadata.is_file():
        parser.read_meta(metadata)
    set_by_audit = {"bundle_root": job["bundle"], "device": f"$torch.device({job['device']!r})", "output_dir": str(folder)}
    parser.update({name: value for name, value in set_by_audit.items() if name in parser})
    parser.update(dict(overrides))
    if job["seed_key"]:
        parser[job["seed_key"]] = seed
    if "initialize" in parser:
        parser.get_parsed_content("initialize")
    return [parser.get_parsed_content(name) for name in job["ids"]]


def _numbers(name: str, value: Any) -> np.ndarray:
    """Return a tensor, an array, or a list of them as numbers; end the child where it is none."""
    import torch

    if isinstance(value, list | tuple) and value and not isinstance(value[0], int | float):
        return np.stack([_numbers(name, part) for part in value])
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        sys.exit(f"the id {name!r} is no tensor or array of numbers but {type(value).__name__}")
    return array
