"""Model packages of medigan."""

from __future__ import annotations

import difflib
import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from harness.api import Context, InputError, Problem, Request

from .strangers import StrangersGenerator, calls, each_call, prepared, the_job

_BASE = ("model_file", "num_samples", "output_path", "save_images")


class Medigan(StrangersGenerator):
    """A model package of medigan (Osuala et al. 2023, doi:10.1117/1.JMI.10.6.061403), run from its unzipped folder.

    The package is Python code of its makers, and its checkpoint may be a pickle, which is code as well. It runs in a process of its
    own, on a copy of the folder that is removed afterwards, and only after `trust: true`. Nothing is downloaded or installed: unzip
    the package that `package_link` names, and install its dependencies yourself.

    path: folder that holds `__init__.py`, or a folder of the name `package_name` with it. config: JSON in medigan's format, one model
    or all of them as in its `global.json`; left out, `metadata.json` or the one file in `config/` of the package. model_id: which
    of its models. Read are `model_name`, `extension` and `generate_method` (or `generator`) with its name and `custom` arguments.

    arguments: replace custom ones. by_label: arguments for each label, in the order of data.label_names; label_names: those names,
    under which the images of each label are put into folders, for `labels: folder`. batch: images that one call makes, with one
    seed; the model may normalise over them, so it stays the same however many are wanted. image_files, mask_files: which of the
    files written are images, which are masks (none: left out). The image 00007.png has the mask 00007_mask.png, for
    `masks: {suffix: _mask}`. timeout_s: for all images together.
    """

    name = "medigan"
    version = "1"
    program: ClassVar[str] = "from harness_plugins.generators.medigan import child; child()"
    called: ClassVar[str] = "the medigan package"
    warning: ClassVar[str] = (
        "a medigan package is Python code of its makers that the audit would run, and its checkpoint may be a pickle; read them"
    )
    trust: bool = Field(False, description="run the package's code and unpickle its checkpoint")
    config: Path | None = Field(None, description="JSON file in medigan's format; absent, the one in the package")
    model_id: str = Field("", description="which model of the file; may be left out where it holds one")
    arguments: dict[str, Any] = Field({}, description="arguments of the generate method that replace those of the file")
    batch: int = Field(16, ge=1, description="images of one call")

    @model_validator(mode="after")
    def _options(self) -> Self:
        reserved = [name for given in (self.arguments, *self.by_label) for name in given if name in _BASE]
        if reserved:
            raise ValueError(f"{reserved[0]} is set by the audit; leave it out of arguments and by_label")
        self.require_names()
        return self

    def inputs(self) -> tuple[Path, ...]:
        """Return the package and the file that describes it."""
        return (self.path,) if self.config is None else (self.path, self.config)

    def sample(self, request: Request, context: Context) -> Path:
        """Run the package and return the folder of its images, which the audit reads as it reads the real ones.

        `InputError` where the package is not laid out as medigan's are, fails, takes longer than `timeout_s`, writes another number of
        files, or repeats itself whatever the seed; `NotComputable` where `by_label` is given and the data have no labels.
        """
        model, execution = self._execution()
        package, weights, method, custom = self._package(execution)
        made = calls(request, len(self.by_label), self.batch, context.seed)
        work = self.work_folder(context)
        # Arguments of published models name files below models/<model_id>, where medigan unzips a package.
        copy = work / "models" / model
        try:
            shutil.copytree(self.path, copy)
            place = copy / package.relative_to(self.path)
            given = {"n": self.batch, "custom": custom | self.arguments}
            job = {"package": str(place), "weights": str(place / weights), "method": method, **given}
            out = self.in_child(job, made, work, request, context)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        fix = "the package sets a seed of its own: see whether one of its arguments changes that"
        return self.collect(made, out, self.batch, fix)

    def _execution(self) -> tuple[str, dict[str, Any]]:
        """Return the model's id and what its description says about execution."""
        if not self.path.is_dir():
            what = "is a file; unzip the package" if self.path.exists() else "no such folder"
            raise InputError(Problem(what, str(self.path), "generator: {medigan: {path: ...}} names the folder of the unzipped package"))
        file = self.config or self._own_config()
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(Problem(f"cannot be read: {error.strerror or error}", str(file), "correct the option config")) from error
        except ValueError as error:
            raise InputError(Problem(f"is no JSON file: {error}", str(file), "take the file as medigan publishes it")) from error
        models = {str(k): v for k, v in content.items() if isinstance(v, dict) and isinstance(v.get("execution"), dict)} \
            if isinstance(content, dict) else {}  # fmt: skip
        if not models:
            fix = 'its form is {"<model_id>": {"execution": {...}}}, as in global.json of medigan'
            raise InputError(Problem("describes no medigan model", str(file), fix))
        if self.model_id and self.model_id not in models:
            close = difflib.get_close_matches(self.model_id, models, n=1)
            fix = f"did you mean {close[0]}?" if close else f"it has {', '.join(sorted(models)[:5])}"
            raise InputError(Problem(f"has no model {self.model_id!r}", str(file), fix))
        if not self.model_id and len(models) > 1:
            raise InputError(Problem(f"describes {len(models)} models", str(file), "say which with the option model_id"))
        model = self.model_id or next(iter(models))
        # It becomes the name of a folder.
        if not re.fullmatch(r"[\w.-]+", model) or not model.strip("."):
            raise InputError(Problem(f"the model id {model!r} is not made of letters, digits, dots, _ and -", str(file), "correct it"))
        return model, models[model]["execution"]

    def _own_config(self) -> Path:
        own = [path for path in (self.path / "metadata.json",) if path.is_file()] or sorted((self.path / "config").glob("*.json"))
        if len(own) != 1:
            what = "holds no metadata.json and no config/*.json" if not own else f"holds {len(own)} files config/*.json"
            fix = "name the file with the option config; global.json of medigan describes every published model"
            raise InputError(Problem(what, str(self.path), fix))
        return own[0]

    def _package(self, execution: Mapping[str, Any]) -> tuple[Path, str, str, dict[str, Any]]:
        """Return the folder of the package, the file of its weights, its method, and the method's custom arguments."""
        method = execution.get("generate_method", execution.get("generator"))
        name = method.get("name") if isinstance(method, dict) else None
        if not isinstance(name, str) or not name:
            fix = 'it must say execution: {generate_method: {name: "generate", args: ...}}'
            raise InputError(Problem("the model's description names no generate method", str(self.path), fix))
        assert isinstance(method, dict)
        arguments = method.get("args")
        custom = arguments.get("custom") if isinstance(arguments, dict) else None
        inner = self.path / str(execution.get("package_name") or ".")
        package = inner if (inner / "__init__.py").is_file() else self.path
        if not (package / "__init__.py").is_file():
            raise InputError(Problem("holds no __init__.py", str(self.path), "name the folder that the package was unzipped to"))
        weights = f"{execution.get('model_name') or ''}{execution.get('extension') or ''}"
        if not weights or not (package / weights).is_file():
            fix = "put the checkpoint beside __init__.py; model_name and extension of the description say how it is called"
            raise InputError(Problem(f"the checkpoint {weights!r} is not there", str(package), fix))
        return package, weights, name, dict(custom) if isinstance(custom, dict) else {}


def child() -> None:
    """Make the images of every call; run by `Medigan.sample` in a process of its own."""
    job, out = the_job()
    seed_everything = prepared(job["device"], unpickles=True)
    package = Path(job["package"])
    sys.path.append(str(package))
    spec = importlib.util.spec_from_file_location(
        f"medigan_{package.name}", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    method = getattr(module, job["method"], None)
    if not callable(method):
        sys.exit(f"its __init__.py has no function {job['method']!r}")
    for folder, own, seed in each_call(job, out):
        base = {"model_file": job["weights"], "num_samples": job["n"], "output_path": str(folder), "save_images": True}
        seed_everything(seed)
        method(**(job["custom"] | own | base))
