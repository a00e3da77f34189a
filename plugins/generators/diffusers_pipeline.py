"""Pipelines in the format of Hugging Face's library diffusers, from a local folder."""

from __future__ import annotations

import importlib
import inspect
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from harness.api import Context, Generator, ImageSet, InputError, NotComputable, Problem, Request

from ..tasks.training import deterministic

_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5")
_OWN = ("batch_size", "class_labels", "prompt", "generator", "num_inference_steps", "output_type", "return_dict")
_INSTALL = 'pip install "audit-harness[diffusers]", or pip install diffusers safetensors (and transformers for text)'


class Diffusers(Generator):
    """A pipeline of Hugging Face's diffusers, saved with `save_pretrained` in a local folder.

    The folder holds model_index.json and one folder for each part, with its weights as safetensors; pickled weights and code are
    refused, and nothing is downloaded. Pipelines that take a class (DiTPipeline), a text prompt, or nothing (DDPMPipeline,
    DDIMPipeline) are served; those that start from an image are not. Needs the package diffusers (optional extra). 2D only.

    class_ids: the pipeline's class for each label, in the order of data.label_names. prompts: the text for each label, or a single
    one for all images. steps: denoising steps; left out, as many as the pipeline takes by itself. arguments: further arguments of
    the pipeline's call, such as guidance_scale, eta, negative_prompt, height and width. grey: images in colour become grey, as the
    mean of their channels. batch: images at a time; every image has a random generator of its own, and short batches are filled up,
    so an image does not depend on how many are wanted.
    """

    name = "diffusers"
    version = "1"
    path: Path = Field(description="folder of the pipeline")
    class_ids: tuple[int, ...] = Field((), description="the pipeline's class for each label, in the order of data.label_names")
    prompts: tuple[str, ...] = Field((), description="the text for each label, or a single one for all")
    steps: int | None = Field(None, ge=1, description="denoising steps")
    arguments: dict[str, Any] = Field({}, description="further arguments of the pipeline's call")
    grey: bool = Field(False, description="make images in colour grey")
    batch: int = Field(4, ge=1, description="images at a time")

    @model_validator(mode="after")
    def _options(self) -> Self:
        if self.class_ids and self.prompts:
            raise ValueError("give class_ids or prompts, not both: a pipeline takes a class or a text")
        if any(number < 0 for number in self.class_ids):
            raise ValueError(f"class_ids must be numbers from 0, got {list(self.class_ids)}")
        reserved = [name for name in self.arguments if name in _OWN]
        if reserved:
            raise ValueError(f"{reserved[0]} is set by the audit; leave it out of arguments and see class_ids, prompts and steps")
        return self

    def conditions(self) -> frozenset[str]:
        """Return labels where the options say what each label is to the pipeline."""
        return frozenset({"labels"} if self.class_ids or len(self.prompts) > 1 else ())

    def inputs(self) -> tuple[Path, ...]:
        """Return the folder."""
        return (self.path,)

    def sample(self, request: Request, context: Context) -> ImageSet:
        """Return images of the pipeline, float32 in [0, 1], with the labels that they were made for where it takes any.

        `InputError` where the package is missing, the folder is no pipeline of safetensors or cannot be loaded, the pipeline needs what
        the options do not say, or its images are unusable; `NotComputable` where labels are needed and the data have none, or where
        the accelerator's memory does not hold a batch.
        """
        wanted = self._wanted(request)
        diffusers = _package()
        self._require_safe()
        with _offline(), deterministic(context):
            pipeline = self._loaded(diffusers, context.device)
            given = self._arguments(pipeline)
            made = []
            for start in range(0, request.n, self.batch):
                rows = list(range(start, min(start + self.batch, request.n)))
                made.append(self._batch(pipeline, given, rows, wanted, context))
                context.progress(rows[-1] + 1, request.n)
        return ImageSet(
            images=np.concatenate(made),
            ids=tuple(f"synthetic{row:05d}" for row in range(request.n)),
            spacing_mm=request.spacing_mm or (1.0, 1.0),
            labels=request.labels if self.conditions() else None,
            origin="synthetic",
        )

    def _wanted(self, request: Request) -> list[Any]:
        """Return the class or the prompt of each row; None where the pipeline takes neither."""
        if len(request.spacing_mm) > 2:
            raise NotComputable(f"pipelines of diffusers make 2D images, the real ones have {len(request.spacing_mm)} axes")
        known: tuple[Any, ...] = self.class_ids or self.prompts
        if not self.conditions():
            return [known[0] if known else None] * request.n
        option = "class_ids" if self.class_ids else "prompts"
        if request.labels is None:
            raise NotComputable(f"{option} needs labels, and the data declare none")
        unknown = sorted({int(label) for label in request.labels if not 0 <= label < len(known)})
        if unknown:
            what = f"images of label {unknown[0]} are wanted, and {option} has {len(known)} entries"
            raise InputError(Problem(what, option, "give one entry for each label, in the order of data.label_names"))
        return [known[int(label)] for label in request.labels]

    def _require_safe(self) -> None:
        """Raise `InputError` where the folder is no pipeline, brings code, or has a part whose weights are only pickled."""
        index = self.path / "model_index.json"
        if not index.is_file():
            what = "holds no model_index.json" if self.path.is_dir() else "no such folder"
            raise InputError(Problem(what, str(self.path), "name the folder that save_pretrained of a diffusers pipeline wrote"))
        try:
            content = json.loads(index.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(Problem(f"is no JSON file: {error}", str(index), "save the pipeline again")) from error
        if not isinstance(content, dict) or not isinstance(content.get("_class_name"), str):
            raise InputError(Problem("names no pipeline in _class_name", str(index), "save the pipeline again with save_pretrained"))
        code = sorted(path for path in self.path.rglob("*.py"))
        if code:
            fix = "only pipelines and parts of diffusers and transformers themselves are loaded; the generator `command` runs any program"
            raise InputError(Problem(f"brings Python code, {code[0].relative_to(self.path)}", str(self.path), fix))
        for folder in sorted({path.parent for path in self.path.rglob("*") if path.suffix in _PICKLED}):
            if not any(folder.glob("*.safetensors")):
                pickled = next(path for path in sorted(folder.iterdir()) if path.suffix in _PICKLED)
                fix = "a pickle can run any code when it is opened: save the pipeline with safe_serialization=True"
                raise InputError(Problem(f"{pickled.relative_to(self.path)} is not safetensors", str(self.path), fix))

    def _loaded(self, diffusers: Any, device: str) -> Any:
        import torch

        diffusers.utils.logging.disable_progress_bar()
        try:
            pipeline = diffusers.DiffusionPipeline.from_pretrained(
                str(self.path.resolve()), local_files_only=True, use_safetensors=True, torch_dtype=torch.float32
            ).to(device)
        except (OSError, ValueError, ImportError, AttributeError, RuntimeError, KeyError, TypeError) as error:
            said = " ".join(str(error).split())[:200] or type(error).__name__
            fix = f"save it again with diffusers {diffusers.__version__}; parts for text need the package transformers"
            raise InputError(Problem(f"the pipeline cannot be loaded: {said}", str(self.path), fix)) from error
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _arguments(self, pipeline: Any) -> dict[str, Any]:
        """Return the arguments of the call that are the same for every image, once the call is known to take them."""
        called = type(pipeline).__name__
        parameters = inspect.signature(pipeline.__call__).parameters
        required = {
            name
            for name, p in parameters.items()
            if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        }  # fmt: skip
        images = sorted(name for name in required if "image" in name)
        for option, name, stated in (("class_ids", "class_labels", self.class_ids), ("prompts", "prompt", self.prompts)):
            if stated and name not in parameters:
                raise self._wrong(f"{called} takes no {name}", f"leave {option} out")
            if not stated and name in parameters:
                raise self._wrong(f"{called} takes a {name} for each image", f"name them with the option {option}")
        if images:
            raise self._wrong(f"{called} starts from an image ({images[0]})", "name a pipeline that makes images by itself")
        if "generator" not in parameters:
            raise self._wrong(f"{called} takes no generator, so no seed decides its images", "name another pipeline")
        given = dict(self.arguments) | ({} if self.steps is None else {"num_inference_steps": self.steps})
        unknown = sorted(name for name in given if name not in parameters)
        if unknown:
            option = "steps" if unknown[0] == "num_inference_steps" else f"arguments: {unknown[0]}"
            raise self._wrong(f"{called} takes no {unknown[0]}", f"leave out {option}; it takes {', '.join(sorted(parameters))}"[:300])
        lacking = sorted(required - set(given) - set(_OWN))
        if lacking:
            raise self._wrong(f"{called} needs {lacking[0]}", f"give it with arguments: {{{lacking[0]}: ...}}")
        return given | ({"batch_size": self.batch} if "batch_size" in parameters else {})

    def _batch(self, pipeline: Any, given: dict[str, Any], rows: list[int], wanted: list[Any], context: Context) -> np.ndarray:
        """Return the images of these rows, (rows, channels, height, width)."""
        import torch

        # The last batch is filled up: a network may round differently in batches of another size.
        filled = rows + list(range(rows[-1] + 1, rows[0] + self.batch))
        seeds = [int(np.random.SeedSequence([context.seed, row]).generate_state(1)[0]) for row in filled]
        generators = [torch.Generator(device="cpu").manual_seed(seed) for seed in seeds]
        own = [wanted[min(row, len(wanted) - 1)] for row in filled]
        conditioned = {"class_labels": own} if self.class_ids else {"prompt": own} if self.prompts else {}
        try:
            answer = pipeline(**given, **conditioned, generator=generators, output_type="np", return_dict=True)
        except torch.OutOfMemoryError as error:
            raise NotComputable(f"the accelerator's memory does not hold a batch of {self.batch} images: lower batch") from error
        except (ValueError, RuntimeError, TypeError, IndexError) as error:
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise self._wrong(f"the pipeline fails: {said}", "correct steps, class_ids, prompts or arguments") from error
        return self._checked(getattr(answer, "images", None), len(filled))[: len(rows)]

    def _checked(self, images: Any, n: int) -> np.ndarray:
        """Return (n, channels, height, width) float32 in [0, 1]."""
        shape: tuple[int, ...] = np.shape(images) if images is not None else ()
        if len(shape) != 4 or shape[0] != n:
            raise self._wrong(f"the pipeline returns images of shape {shape} for {n} images", "name a pipeline that makes 2D images")
        array = np.moveaxis(np.asarray(images, dtype=np.float32), -1, 1)
        if not (np.all(np.isfinite(array)) and array.min() >= 0.0 and array.max() <= 1.0):
            low, high = np.min(array), np.max(array)
            raise self._wrong(f"the pipeline returns values from {low:g} to {high:g} instead of 0 to 1", "look at its weights")
        return array.mean(axis=1, keepdims=True, dtype=np.float32) if self.grey else np.ascontiguousarray(array)

    def _wrong(self, what: str, fix: str) -> InputError:
        return InputError(Problem(what, str(self.path), fix))


def _package() -> Any:
    """Return the module diffusers; it is an optional extra, so `InputError` with the way to install it where it is missing."""
    with _offline():
        try:
            importlib.import_module("safetensors")
            return importlib.import_module("diffusers")
        except ImportError as error:
            raise InputError(
                Problem(f"the generator diffusers needs a package that is missing: {error.name or error}", "", _INSTALL)
            ) from error


@contextmanager
def _offline() -> Iterator[None]:
    """Keep the libraries of Hugging Face off the network; the environment is put back afterwards."""
    names = ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
