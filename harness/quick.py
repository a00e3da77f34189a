"""The quick look: metrics on two or three folders of images, or on feature files, without a model.yaml and without a store."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from . import datasets
from .cells import derive
from .components import Context, Extractor, Metric
from .errors import HarnessError, InputError, NotComputable, Problem, SpecError
from .host import Host
from .images import Comparison, ImageSet, from_features
from .neighbours import MEMORY
from .scoring import Arms, score
from .spec import DataSpec, Reference
from .table import Table

FEATURE_FILES = (".npy", ".npz")
EXTRACTORS = tuple(map(Reference.model_validate, ("pixels", "random_conv")))
SUITE = (Reference.model_validate("default"),)
COLUMNS = ["quantity", "extractor", "value", "ci_low", "ci_high", "floor", "floor_low", "floor_high", "better", "n", "method", "reason"]
_SALT = b"quick look"


@dataclass(frozen=True)
class Look:
    """What to compare and how.

    real, synthetic: folders of images, or files with features (.npy of shape (N, F), or .npz with the array `features` and, if
    known, `patients`). train: the images that the generator learned from; without it the real images stand for them, and what needs
    images that the generator did not see has no number. data: how files become images (`train` and `test` are filled in).
    """

    real: Path
    synthetic: Path
    train: Path | None = None
    extractors: tuple[Reference, ...] = EXTRACTORS
    metrics: tuple[Reference, ...] = SUITE
    data: dict[str, Any] = field(default_factory=dict)
    half_samples: int = 50
    floor_splits: int = 20
    seed: int = 0
    device: str = "cpu"
    memory: int = MEMORY


Say = Callable[[str, int, int], None]


def look(asked: Look, host: Host, say: Say = lambda title, done, total: None) -> Table:
    """Measure every metric and return one row per quantity and extractor, those without a number with their reason."""
    from_files = _are_features(asked)
    sides = _features(asked) if from_files else _images(asked)
    with tempfile.TemporaryDirectory(prefix="harness-metrics-") as folder:
        bench = _Bench(asked, host, sides, Path(folder))
        jobs = list(bench.jobs(from_files))
        rows = []
        for done, (metric, extractor, arms) in enumerate(jobs):
            say(f"{metric.name}{f', {extractor}' if extractor else ''}", done, len(jobs))
            rows += list(bench.rows(metric, extractor, arms))
    return Table(COLUMNS, rows)


def _are_features(asked: Look) -> bool:
    given = [path for path in (asked.real, asked.synthetic, asked.train) if path is not None]
    missing = [path for path in given if not path.exists()]
    if missing:
        raise InputError(*[Problem("there is no such folder or file", str(path)) for path in missing])
    files = [path.suffix.lower() in FEATURE_FILES and path.is_file() for path in given]
    if any(files) and not all(files):
        raise InputError(Problem("folders of images and files with features cannot be compared", str(given[0]), "give one kind"))
    if not any(files) and not all(path.is_dir() for path in given):
        odd = next(path for path in given if not path.is_dir())
        raise InputError(Problem("is neither a folder of images nor a file with features", str(odd), f"known: {', '.join(FEATURE_FILES)}"))
    return all(files)


def _features(asked: Look) -> dict[str, ImageSet]:
    """Return blank images with the features of the files."""
    paths = {"train": asked.train or asked.real, "test": asked.real if asked.train else None, "synthetic": asked.synthetic}
    width: dict[int, str] = {}
    sides = {}
    for role, path in paths.items():
        if path is None:
            sides[role] = from_features(np.empty((0, next(iter(width))), np.float32), role)
            continue
        values, patients = _read(path)
        width.setdefault(values.shape[1], str(path))
        sides[role] = from_features(values, role, patients)
    if len(width) > 1:
        said = " and ".join(f"{columns} in {path}" for columns, path in width.items())
        raise InputError(Problem(f"the numbers of features differ: {said}", "", "use one extractor for all"))
    return sides


def _read(path: Path) -> tuple[np.ndarray, tuple[str, ...] | None]:
    try:
        loaded = np.load(path, mmap_mode="r" if path.suffix.lower() == ".npy" else None, allow_pickle=False)
        with_names = not isinstance(loaded, np.ndarray)
        if with_names and "features" not in loaded:
            raise InputError(Problem(f"holds no array `features`; it holds {', '.join(loaded) or 'nothing'}", str(path)))
        values = loaded["features"] if with_names else loaded
        patients = tuple(map(str, loaded["patients"])) if with_names and "patients" in loaded else None
    except (OSError, ValueError) as error:
        raise InputError(Problem(f"cannot be read as an array: {error}", str(path), "write it with numpy.save or numpy.savez")) from None
    if values.ndim != 2 or values.dtype.kind not in "fiu" or not values.size:
        raise InputError(Problem(f"must hold numbers of shape (N, F), got {values.dtype} {values.shape}", str(path)))
    for start in range(0, len(values), 4096):
        bad = ~np.isfinite(values[start : start + 4096]).all(axis=1)
        if bad.any():
            where = f"{path}, row {start + int(np.argmax(bad))}"
            raise InputError(Problem("holds values that are not finite", where, "leave such images out, or mend the extractor"))
    return np.asarray(values, dtype=np.float32) if values.dtype.kind != "f" else values, patients


def _images(asked: Look) -> dict[str, ImageSet]:
    """Return the images of the folders, all brought through the preprocessing that the training images decide."""
    here = Path.cwd()
    train, test = asked.train or asked.real, asked.real
    data = datasets.anchored(DataSpec(train=str(train.resolve()), test=str(test.resolve()), **asked.data), here)
    preprocessing = datasets.fit_preprocessing(data, here, _SALT)
    folders = {"train": train, "test": test, "synthetic": asked.synthetic}
    sides = {}
    for role, folder in folders.items():
        origin = "synthetic" if role == "synthetic" else "real"
        loaded = datasets.load(
            data, folder.resolve(), data if role != "synthetic" else data.model_copy(update={"patients": None}), preprocessing,
            role=role, salt=_SALT, seed=asked.seed, origin=origin,  # type: ignore[arg-type]
        )  # fmt: skip
        sides[role] = loaded.images
    if asked.train is None:
        sides["test"] = sides["train"].take(np.arange(0))
    return sides


class _Bench:
    """Builds the components, makes the numbers of every side once, and measures."""

    def __init__(self, asked: Look, host: Host, sides: dict[str, ImageSet], folder: Path) -> None:
        self.asked, self.host, self.sides, self.folder = asked, host, sides, folder

    def jobs(self, from_files: bool) -> Iterator[tuple[Metric, str, Arms]]:
        """Yield metric, extractor and image sets; those of one extractor together, so that they share its distances."""
        extractors: list[tuple[str, Extractor | None]] = [("file", None)]
        if not from_files:
            extractors = [(reference.called, self._extractor(reference)) for reference in self.asked.extractors]
        gives = {name: extractor.gives() if extractor else "embedding" for name, extractor in extractors}
        metrics = list(self._metrics(set(gives.values()), from_files))
        for name, extractor in extractors:
            mine = [metric for metric in metrics if "features" in metric.needs and gives[name] in metric.takes]
            if mine:
                arms = self._arms({role: self._embedded(extractor, name, role) for role in self.sides} if extractor else self.sides)
                yield from ((metric, name, arms) for metric in mine)
        for metric in metrics:
            if "features" not in metric.needs:
                described = {role: self._described(metric, role) for role in self.sides} if metric.describes() else self.sides
                yield metric, "", self._arms(described)

    def rows(self, metric: Metric, extractor: str, arms: Arms) -> Iterator[tuple[Any, ...]]:
        """Yield one row per quantity."""
        notes: dict[str, str] = {}

        def lend(*words: Any) -> Context:
            seed = derive(self.asked.seed, metric.name, metric.version, "measure", *words)
            return Context(seed, self.folder, self.asked.device, notes={} if words else notes)

        try:
            found = score(metric, arms, lend)
        except NotComputable as error:
            found = {q.name: error for q in metric.quantities}
        for quantity in metric.quantities:
            columns = found[quantity.name]
            row = {"reason": str(columns)} if isinstance(columns, NotComputable) else columns | {"method": notes.get(quantity.name, "")}
            row |= {"quantity": f"{metric.name}.{quantity.name}", "extractor": extractor, "better": quantity.better}
            row.setdefault("reason", row.get("ci_method", "") if row.get("ci_low") is None else "")
            yield tuple(row.get(column) for column in COLUMNS)

    def _extractor(self, reference: Reference) -> Extractor:
        built = self.host.build("extractor", reference.name, reference.own_options, Path.cwd(), "--extractor")
        assert isinstance(built, Extractor)
        if type(built).fit is not Extractor.fit:
            built.fit(self.sides["train"], self._context("fit", reference.called, self._workdir(reference.called)))
        return built

    def _metrics(self, gives: set[Any], from_files: bool) -> Iterator[Metric]:
        """Yield the metrics asked for; `default` stands for those of the suite that these images or features allow."""
        offered = frozenset({"features"}) if from_files else self.sides["train"].offers() | {"features"}
        named = {reference.name for reference in self.asked.metrics}
        for reference in self.asked.metrics:
            if reference.name != "default":
                metric = self._metric(reference)
                lacking = sorted(metric.needs - offered)
                if lacking:
                    raise SpecError(Problem(f"{metric.name} needs {', '.join(lacking)}, which these images do not have", "--metric"))
                if from_files and "features" not in metric.needs:
                    raise SpecError(Problem(f"{metric.name} looks at images, and only features were given", "--metric"))
                yield metric
                continue
            for offer in self.host.of_kind("metric"):
                kind = offer.component
                if issubclass(kind, Metric) and kind.in_suite and offer.name not in named and kind.needs <= offered:
                    on_features = "features" in kind.needs
                    if (kind.takes & gives) if on_features else not from_files:
                        yield self._metric(Reference.model_validate(offer.name))

    def _metric(self, reference: Reference) -> Metric:
        built = self.host.build("metric", reference.name, reference.own_options, Path.cwd(), "--metric")
        assert isinstance(built, Metric)
        return built

    def _arms(self, sides: dict[str, ImageSet]) -> Arms:
        comparison = Comparison(sides["train"], sides["test"], sides["synthetic"], self.asked.memory)
        return Arms(comparison, self.asked.half_samples, self.asked.floor_splits, self.asked.seed)

    def _embedded(self, extractor: Extractor, name: str, role: str) -> ImageSet:
        images = self.sides[role]
        return images.with_features(self._checked(extractor.extract(images, self._context("extract", name, self._workdir(name))), name))

    def _described(self, metric: Metric, role: str) -> ImageSet:
        images = self.sides[role]
        numbers = metric.describe(images, self._context("extract", metric.name, None))
        return images.with_features(self._checked(numbers, metric.name))

    def _checked(self, numbers: np.ndarray, name: str) -> np.ndarray:
        if not np.isfinite(numbers).all():
            raise HarnessError(Problem(f"{name} returned {int((~np.isfinite(numbers)).sum())} values that are not finite"))
        return numbers

    def _workdir(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def _context(self, word: str, name: str, fitted: Path | None) -> Context:
        return Context(derive(self.asked.seed, word, name), fitted or self.folder, self.asked.device, fitted)


def data_options(text: str, parse: Callable[[str], Any], option: str) -> dict[str, Any]:
    """Return what a command line says under `data`; the folders are arguments of their own."""
    try:
        found = parse(text)
    except ValueError as error:
        raise SpecError(Problem(f"{text!r} is not YAML: {error}", option)) from None
    if not isinstance(found, dict) or {"train", "test", "validation"} & set(found):
        raise SpecError(Problem(f"{text!r} is no mapping without train, test and validation", option, "as under `data` of model.yaml"))
    try:
        DataSpec(train="", test="", **found)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SpecError(Problem(said, option, "as under `data` of model.yaml")) from None
    return found


def references(texts: Sequence[str], parse: Callable[[str], Any], option: str) -> tuple[Reference, ...]:
    """Return the components named on a command line, each a name or `{name: {option: value}}`."""
    found = []
    for text in texts:
        try:
            found.append(Reference.model_validate(parse(text)))
        except ValueError as error:
            raise SpecError(Problem(f"{text!r} names no component", option, "write a name, or '{name: {option: value}}'")) from error
    return tuple(found)
