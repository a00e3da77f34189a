"""The quick look: metrics on two or three folders of images, or on feature files, without a model.yaml and without a store."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from pydantic import ValidationError

from . import datasets
from .asking import numbers_of
from .cells import derive
from .checks import listed_twice, options_of_the_suite
from .components import Context, Extractor, Gives, Metric
from .errors import HarnessError, InputError, NotComputable, PluginError, Problem, SpecError, raise_if
from .host import Host
from .images import Comparison, ImageSet, Role
from .neighbours import MEMORY
from .quickinputs import FEATURE_FILES, Features, image_sets, read_features
from .scoring import LEAST_SPLITS, Arms, Lender, outside, score
from .spec import EXTRACTORS, DataSpec, Reference
from .stages.sample import synthetic_layout
from .table import Table

SUITE = (Reference.model_validate("default"),)
COLUMNS = [
    "quantity", "extractor", "value", "unit", "ci_low", "ci_high", "floor", "floor_low", "floor_high", "better", "outside", "n", "method",
    "reason",
]  # fmt: skip
_FILE = "file"
_SALT = b"quick look"
_OF_THE_ARGUMENTS = frozenset({"train", "test", "validation", "validation_share"})


@dataclass(frozen=True)
class Look:
    """What to compare and how.

    real, synthetic: folders of images, or files with features (.npy of shape (N, F), or .npz with the array `features` and, if
    known, `patients`). train: the images that the generator learned from; without it the real images stand for them, and what needs
    images that the generator did not see has no number. extractors: none named are `EXTRACTORS`. data: how files become images
    (`train` and `test` are filled in). gives: what feature files hold, as `Extractor.gives` says it; None is embedding. Feature
    files take neither extractors nor data, and folders no `gives`. floor_splits: 0, or at least 4.
    """

    real: Path
    synthetic: Path
    train: Path | None = None
    extractors: tuple[Reference, ...] = ()
    metrics: tuple[Reference, ...] = SUITE
    data: dict[str, Any] = field(default_factory=dict)
    gives: Gives | None = None
    half_samples: int = 50
    floor_splits: int = 20
    seed: int = 0
    device: str = "cpu"
    memory: int = MEMORY


Say = Callable[[str, int, int], None]


def look(asked: Look, host: Host, say: Say = lambda title, done, total: None) -> Table:
    """Measure every metric and return one row per quantity and extractor, those without a number with their reason."""
    from_files = _are_features(asked)
    raise_if([*_unfit(asked, from_files), *_repeated(asked)])
    sides = _features(asked) if from_files else _images(asked)
    with tempfile.TemporaryDirectory(prefix="harness-metrics-") as folder:
        bench = _Bench(asked, host, sides, Path(folder), from_files)
        jobs = bench.jobs()
        rows = []
        for done, (metric, extractor) in enumerate(jobs):
            say(f"{metric}{f', {extractor}' if extractor else ''}", done, len(jobs))
            rows += list(bench.rows(metric, extractor))
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


def _unfit(asked: Look, from_files: bool) -> Iterator[Problem]:
    """Yield what cannot be carried out, or would make no difference, on what was given."""
    if asked.floor_splits < LEAST_SPLITS and asked.floor_splits != 0:
        fix = f"give 0, for no floors, or at least {LEAST_SPLITS}"
        yield Problem(f"{asked.floor_splits} splits say nothing of how far a floor scatters", "--floor-splits", fix)
    if asked.gives not in (None, *get_args(Gives)):
        yield Problem(f"features cannot be {asked.gives!r}", "--gives", f"known: {', '.join(get_args(Gives))}")
    elif asked.gives is not None and not from_files:
        yield Problem("only of feature files can it be said what they hold; of folders the extractors say it", "--gives", "leave it out")
    if asked.extractors and from_files:
        yield Problem("features were given, and an extractor works on images", "--extractor", "leave it out, or give folders of images")
    if asked.data and from_files:
        yield Problem("features were given, and this says how files become images", "--data", "leave it out, or give folders of images")


def _repeated(asked: Look) -> Iterator[Problem]:
    """Yield the components listed twice, and a suite with options."""
    for option, references in (("--metric", asked.metrics), ("--extractor", asked.extractors)):
        names = [reference.called for reference in references]
        yield from (listed_twice(name, option) for name in sorted({name for name in names if names.count(name) > 1}))
    if any(reference.name == "default" and reference.options for reference in asked.metrics):
        yield options_of_the_suite("--metric")


def _features(asked: Look) -> dict[str, ImageSet]:
    """Return blank images with the features of the files."""
    train = read_features(asked.train or asked.real)
    test = read_features(asked.real) if asked.train else Features(train.values[:0], train.name)
    return image_sets({"train": train, "test": test, "synthetic": read_features(asked.synthetic)})


def _images(asked: Look) -> dict[str, ImageSet]:
    """Return the images of the folders, all brought through the preprocessing that the training images decide."""
    here = Path.cwd()
    folders = {"train": (asked.train or asked.real).resolve(), "test": asked.real.resolve(), "synthetic": asked.synthetic.resolve()}
    data = datasets.anchored(DataSpec(train=str(folders["train"]), test=str(folders["test"]), **asked.data), here)
    preprocessing = datasets.fit_preprocessing(data, here, _SALT)

    def load(role: Role) -> ImageSet:
        made = role == "synthetic"
        layout = synthetic_layout(data, folders[role]) if made else data
        return datasets.load(
            data, folders[role], layout, preprocessing,
            role=role, salt=_SALT, seed=asked.seed, origin="synthetic" if made else "real",
        ).images  # fmt: skip

    train = load("train")
    return {"train": train, "test": load("test") if asked.train else train.take(np.arange(0)), "synthetic": load("synthetic")}


class _Bench:
    """Builds the components, makes the numbers of every side, and measures; components go by the names that the user gave them."""

    def __init__(self, asked: Look, host: Host, sides: dict[str, ImageSet], folder: Path, from_files: bool) -> None:
        self.asked, self.host, self.sides, self.folder, self.from_files = asked, host, sides, folder, from_files
        self.offered = sides["train"].offers() | {"features"}
        self.extractors = {} if from_files else {r.called: self._extractor(r) for r in asked.extractors or EXTRACTORS}
        self.gives: dict[str, Gives] = {name: extractor.gives() for name, extractor in self.extractors.items()}
        if from_files:
            self.gives[_FILE] = asked.gives or "embedding"
        self.metrics = dict(self._metrics())
        self._shared: tuple[str, Arms] | None = None

    def jobs(self) -> list[tuple[str, str]]:
        """Return the names of metric and extractor; those of one extractor together, so that they share its distances."""
        on_features = {name: metric for name, metric in self.metrics.items() if "features" in metric.needs}
        jobs = [(name, extractor) for extractor, gives in self.gives.items() for name, m in on_features.items() if gives in m.takes]
        used = {extractor for _, extractor in jobs}
        for reference in self.asked.extractors:
            if reference.called not in used:
                what = f"no metric that was asked for works on what {reference.called} gives, {self.gives[reference.called]}"
                raise SpecError(Problem(what, "--extractor", "leave it out, or name a metric that does"))
        jobs += [(name, "") for name in self.metrics if name not in on_features]
        if not jobs:
            raise SpecError(Problem(f"no metric of the suite works on {_said(self.gives)}", "--metric", "name one that does"))
        return jobs

    def rows(self, name: str, extractor: str) -> Iterator[tuple[Any, ...]]:
        """Yield one row per quantity of a metric, with the reason where there is no number."""
        metric = self.metrics[name]
        lend = Lender(self.asked.seed, name, metric.version, self.folder, self.asked.device)
        arms = self._embedded(extractor) if extractor else None
        try:
            found = score(metric, arms or self._arms(self._described(name, metric)), lend)
        except (NotComputable, PluginError, InputError) as error:
            lines = error.lines() if isinstance(error, HarnessError) else [str(error)]
            found = {q.name: NotComputable("; ".join(line.strip() for line in lines)) for q in metric.quantities}
        for quantity in metric.quantities:
            columns = found[quantity.name]
            if isinstance(columns, NotComputable):
                columns = {"reason": str(columns)}
            row = {"method": lend.notes.get(quantity.name, "") if "value" in columns else None} | columns
            row |= {"quantity": f"{name}.{quantity.name}", "extractor": extractor, "better": quantity.better}
            row.setdefault("reason", row.get("ci_method", "") if row.get("ci_low") is None else "")
            ends, floor = (row.get("ci_low"), row.get("ci_high")), (row.get("floor_low"), row.get("floor_high"))
            row |= {"unit": "" if quantity.unit == "1" else quantity.unit, "outside": outside(ends, floor, quantity.better)}
            yield tuple(row.get(column) for column in COLUMNS)

    def _extractor(self, reference: Reference) -> Extractor:
        built = self.host.build("extractor", reference.name, reference.own_options, Path.cwd(), "--extractor")
        assert isinstance(built, Extractor)
        self._has_what_it_needs(reference.called, built, "--extractor")
        return built

    def _metric(self, reference: Reference) -> Metric:
        built = self.host.build("metric", reference.name, reference.own_options, Path.cwd(), "--metric")
        assert isinstance(built, Metric)
        return built

    def _metrics(self) -> Iterator[tuple[str, Metric]]:
        """Yield the metrics asked for by name; `default` stands for those of the suite that these images or features allow."""
        named = {reference.called for reference in self.asked.metrics}
        for reference in self.asked.metrics:
            if reference.name != "default":
                metric = self._metric(reference)
                self._fits(reference.called, metric)
                yield reference.called, metric
                continue
            for offer in self.host.suite(self.offered, set(self.gives.values()), images=not self.from_files):
                if offer.name not in named:
                    yield offer.name, self._metric(Reference.model_validate(offer.name))

    def _fits(self, name: str, metric: Metric) -> None:
        """Refuse a metric that was named and cannot work on what was given."""
        self._has_what_it_needs(name, metric, "--metric")
        if "features" not in metric.needs:
            if self.from_files:
                raise SpecError(Problem(f"{name} looks at images, and only features were given", "--metric"))
        elif not metric.takes & set(self.gives.values()):
            what = f"{name} works on {' or '.join(sorted(metric.takes))}, which nothing here gives ({_said(self.gives)})"
            fix = "if the files hold that, say so with --gives" if self.from_files else "name an extractor that does with --extractor"
            raise SpecError(Problem(what, "--metric", fix))

    def _has_what_it_needs(self, name: str, component: Metric | Extractor, option: str) -> None:
        lacking = sorted(component.needs - self.offered)
        if lacking:
            fix = "" if self.from_files else f"say where they are: --data '{{{lacking[0]}: ...}}'"
            raise SpecError(Problem(f"{name} needs {', '.join(lacking)}, which these images do not have", option, fix))

    def _arms(self, sides: dict[str, ImageSet]) -> Arms:
        comparison = Comparison(sides["train"], sides["test"], sides["synthetic"], self.asked.memory)
        return Arms(comparison, self.asked.half_samples, self.asked.floor_splits, self.asked.seed)

    def _embedded(self, name: str) -> Arms:
        """Return the sides with the features of an extractor; those of the last one are kept, for the metrics that share them."""
        if self._shared is None or self._shared[0] != name:
            self._shared = None
            self._shared = name, self._arms(self._extracted(name) if name in self.extractors else self.sides)
        return self._shared[1]

    def _extracted(self, name: str) -> dict[str, ImageSet]:
        extractor, workdir = self.extractors[name], self.folder / name
        workdir.mkdir()
        try:
            if type(extractor).fit is not Extractor.fit:
                extractor.fit(self.sides["train"], self._context("fit", name, workdir))
            return self._with_numbers(lambda images: extractor.extract(images, self._context("extract", name, workdir)), name)
        except NotComputable as error:
            raise SpecError(Problem(f"{name}: {error}", "--extractor", "give it other options, or name another extractor")) from error

    def _described(self, name: str, metric: Metric) -> dict[str, ImageSet]:
        if not metric.describes():
            return self.sides
        return self._with_numbers(lambda images: metric.describe(images, self._context("extract", name, None)), name)

    def _with_numbers(self, make: Callable[[ImageSet], np.ndarray], name: str) -> dict[str, ImageSet]:
        """Return every side with the numbers made of its images; nothing is asked of a side without images."""
        made = {role: numbers_of(make(images), len(images), name) for role, images in self.sides.items() if len(images)}
        blank = np.empty((0, made["train"].shape[1]), np.float32)
        return {role: images.with_features(made.get(role, blank)) for role, images in self.sides.items()}

    def _context(self, word: str, name: str, fitted: Path | None) -> Context:
        return Context(derive(self.asked.seed, word, name), fitted or self.folder, self.asked.device, fitted)


def _said(gives: dict[str, Gives]) -> str:
    return ", ".join(f"{name}: {kind}" for name, kind in gives.items())


def data_options(text: str, parse: Callable[[str], Any], option: str) -> dict[str, Any]:
    """Return what a command line says under `data`; the folders are arguments of their own."""
    try:
        found = parse(text)
    except ValueError as error:
        raise SpecError(Problem(f"{text!r} is not YAML: {error}", option)) from None
    if not isinstance(found, dict) or _OF_THE_ARGUMENTS & set(found):
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
        except ValidationError as error:
            said = "; ".join(str(e["msg"]).removeprefix("Value error, ") for e in error.errors())
            raise SpecError(Problem(f"{text!r}: {said}", option)) from None
        except ValueError as error:
            raise SpecError(Problem(f"{text!r} names no component", option, "write a name, or '{name: {option: value}}'")) from error
    return tuple(found)
