"""What a component must do to keep the promises of its kind, tried on small random images; `testing.check` asks."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np

from .api import (
    Comparison,
    Component,
    Context,
    Extractor,
    FailureMode,
    Generator,
    ImageSet,
    LLMCheck,
    Metric,
    Perturbation,
    Quantity,
    Rating,
    RatingImporter,
    Request,
    Scale,
    Task,
)

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")
_KNOWN = frozenset({"masks", "labels", "concepts", "patients", "groups", "sources", "features"})
_CONDITIONS = frozenset({"labels", "masks", "concepts"})
_SCALES = (
    Scale(name="realism", level="ordinal", categories=("1", "2", "3"), question="How real does this look?"),
    Scale(name="kind", level="nominal", categories=("a", "b"), question="Which kind is it?"),
)


@dataclass(frozen=True)
class Bench:
    """What the checks work on: n images of one size and one channel number, a seed, an empty folder, a tolerance."""

    n: int
    size_px: tuple[int, ...]
    channels: int
    seed: int
    folder: Path
    tolerance: float

    def images(self, role: int, knows: frozenset[str]) -> ImageSet:
        """Return n images that know what is named; each role gets images of its own from one distribution."""
        rng = np.random.default_rng([self.seed, role])
        blobs = rng.random((self.n, self.channels, *(1,) * len(self.size_px)))
        images = np.clip(0.6 * blobs + 0.4 * rng.random((self.n, self.channels, *self.size_px)), 0.0, 1.0).astype(np.float32)
        features = rng.standard_normal((self.n, 6))
        known: dict[str, Any] = {
            "masks": (images[:, 0] > 0.5).astype(np.uint8),
            "labels": np.arange(self.n, dtype=np.int64) % 2,
            "concepts": rng.integers(0, 2, (self.n, 3)).astype(np.uint8),
            "patients": tuple(f"r{role}p{i // 2}" for i in range(self.n)),
            "groups": {"site": np.array(["a", "b"])[np.arange(self.n) // 2 % 2]},
            "sources": tuple(f"source{i}" for i in range(self.n)),
            "features": np.cumsum(features, axis=1),
        }
        ids = tuple(f"r{role}i{i}" for i in range(self.n))
        return ImageSet(images, ids, (1.0,) * len(self.size_px), **{name: known[name] for name in knows})

    def context(self, seed: int | None = None, fitted: Path | None = None) -> Context:
        """Return a context with a new empty folder."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        return Context(seed=self.seed if seed is None else seed, workdir=folder, fitted=fitted)


def require(kept: bool, sentence: str) -> None:
    """Raise `AssertionError` with this sentence unless it was kept."""
    if not kept:
        raise AssertionError(sentence)


def title(component: Component) -> str:
    """Return how a sentence names a component."""
    return f"{type(component).__name__} ({getattr(component, 'name', 'unnamed')})"


def declaration(component: Component) -> None:
    """Check what the class says about itself."""
    called = title(component)
    for name in ("name", "version"):
        value = getattr(component, name, None)
        require(isinstance(value, str) and bool(value), f"{called} needs a class attribute {name}, a word in quotes")
    own = type(component).__doc__ or ""
    inherited = {base.__doc__ for base in type(component).__mro__[1:]}
    require(bool(own.strip()) and own not in inherited, f"{called} needs a docstring: its first paragraph is shown to users")
    unknown = set(component.needs) - _KNOWN
    require(not unknown, f"{called} needs {sorted(unknown)}, which is none of {sorted(_KNOWN)}")
    if isinstance(component, Metric | Task):
        quantities = getattr(component, "quantities", ())
        kept = isinstance(quantities, tuple) and bool(quantities) and all(isinstance(q, Quantity) for q in quantities)
        require(kept, f"{called} needs quantities = (Quantity(...), ...), a tuple with at least one")
        names = [q.name for q in quantities]
        require(len(set(names)) == len(names), f"{called} promises a quantity twice: {names}")
    if isinstance(component, Metric):
        both = component.sees & component.blind_to
        require(not both, f"{called} claims to see and to be blind to {sorted(both)}")


def _snapshot(side: ImageSet) -> tuple[ImageSet, dict[str, np.ndarray]]:
    """Return the set with copies of its arrays, so that a later change shows."""
    names = ("images", "masks", "labels", "concepts", "features")
    return side, {name: getattr(side, name).copy() for name in names if getattr(side, name) is not None}


def _global_state() -> tuple[Any, ...]:
    """Return numpy's global random state in a form that compares."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - looked at, not drawn from
    return name, np.asarray(keys).tobytes(), *rest


def _call(component: Component, verb: Callable[_Given, _Answer], *arguments: _Given.args, **options: _Given.kwargs) -> _Answer:
    """Call a verb and make sure that it leaves its inputs and numpy's global random state alone."""
    sets = [side for a in arguments for side in ((a.train, a.test, a.synthetic) if isinstance(a, Comparison) else (a,))]
    before, state = [_snapshot(side) for side in sets if isinstance(side, ImageSet)], _global_state()
    result = verb(*arguments, **options)
    for side, arrays in before:
        for name, copy in arrays.items():
            same = np.array_equal(getattr(side, name), copy, equal_nan=copy.dtype.kind == "f")
            require(same, f"{title(component)} changes the {name} that it was given; it must work on a copy")
    unmoved = _global_state() == state
    require(unmoved, f"{title(component)} draws from numpy's global random state; it must use context.rng")
    return result


def _close(a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    scale = max(float(np.abs(a).max(initial=0.0)), float(np.abs(b).max(initial=0.0)))
    return a.shape == b.shape and bool(np.abs(a - b).max(initial=0.0) <= tolerance * max(scale, 1e-12))


def _metric(metric: Metric, bench: Bench) -> None:
    called = title(metric)
    train, test, synthetic = (bench.images(role, metric.needs) for role in range(3))
    synthetic = replace(synthetic, origin="synthetic")
    if metric.describes():
        require("features" not in metric.needs, f"{called} describes images itself, so it does not need the features of an extractor")
        train, test, synthetic = (_described(metric, side, bench) for side in (train, test, synthetic))

    def measured(comparison: Comparison) -> Mapping[str, float]:
        result = _call(metric, metric.measure, comparison, bench.context())
        require(isinstance(result, Mapping), f"{called} must return a mapping of quantity to number, got {type(result).__name__}")
        promised = {q.name for q in metric.quantities}
        require(set(result) == promised, f"{called} promises {sorted(promised)} and returns {sorted(result)}")
        return {str(name): _number(value, f"{called}: {name}") for name, value in result.items()}

    first = measured(Comparison(train, test, synthetic))
    for q in metric.quantities:
        inside = (q.low is None or first[q.name] >= q.low) and (q.high is None or first[q.name] <= q.high)
        require(inside, f"{called}: {q.name} is {first[q.name]:g}, outside its range {q.low} to {q.high}")
    again = measured(Comparison(train, test, synthetic))
    require(again == first, f"{called} gives {first} and then {again} on the same images with the same seed")
    order = np.random.default_rng(bench.seed).permutation(bench.n)
    moved = measured(Comparison(train.take(order), test.take(order[::-1]), synthetic.take(np.roll(order, 1))))
    for name, value in first.items():
        same = math.isclose(moved[name], value, rel_tol=bench.tolerance, abs_tol=bench.tolerance)
        require(same, f"{called}: {name} is {value:g}, and {moved[name]:g} with the images in another order")
    blamed = _call(metric, metric.per_image, Comparison(train, test, synthetic), bench.context())
    for name, values in blamed.items():
        require(name in first, f"{called}.per_image blames images for {name!r}, which it does not promise")
        kept = isinstance(values, np.ndarray) and values.shape == (bench.n,) and bool(np.isfinite(values).all())
        require(kept, f"{called}.per_image must return {bench.n} finite numbers for {name}, one per synthetic image")


def _described(metric: Metric, images: ImageSet, bench: Bench) -> ImageSet:
    """Return the images with the numbers that the metric makes of them, which depend on each image alone."""
    called = f"{title(metric)}.describe"
    whole = _features(called, _call(metric, metric.describe, images, bench.context()), images)
    rows = np.random.default_rng(bench.seed).permutation(bench.n)[: max(1, bench.n // 3)]
    few = images.take(rows)
    same = _close(_features(called, _call(metric, metric.describe, few, bench.context()), few), whole[rows], max(bench.tolerance, 1e-5))
    require(same, f"{called}: the numbers of an image depend on the other images in the set")
    return images.with_features(whole)


def _features(called: str, result: Any, images: ImageSet) -> np.ndarray:
    fits = isinstance(result, np.ndarray) and result.ndim == 2 and len(result) == len(images) and result.dtype == np.float32
    got = f"{result.dtype} {result.shape}" if isinstance(result, np.ndarray) else type(result).__name__
    require(fits, f"{called} must return float32 of shape ({len(images)}, F), got {got}")
    require(bool(np.isfinite(result).all()), f"{called} returns features that are not finite")
    return np.asarray(result)


def _number(value: Any, what: str) -> float:
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    require(real, f"{what} is {value!r}, which is not a number")
    require(math.isfinite(value), f"{what} is {value}; raise NotComputable with a reason where there is no number")
    return float(value)


def _perturbation(perturbation: Perturbation, bench: Bench) -> None:
    called = title(perturbation)
    require(isinstance(getattr(perturbation, "failure_mode", None), FailureMode), f"{called} needs failure_mode, a FailureMode")
    words = getattr(perturbation, "full_severity", "")
    require(isinstance(words, str) and bool(words), f"{called} needs full_severity: what severity 1 means, in words")
    doses = perturbation.doses
    rising = all(0.0 < dose <= 1.0 for dose in doses) and list(doses) == sorted(set(doses)) and bool(doses)
    require(rising, f"{called}: doses {doses} must rise within 0 (excluded) to 1")
    require(perturbation.dose_of_concern in doses, f"{called}: dose_of_concern {perturbation.dose_of_concern} is none of {doses}")
    knows = _KNOWN - {"features", "sources"}
    images, train = bench.images(0, knows), bench.images(1, knows)

    def applied(severity: float) -> ImageSet:
        result = _call(perturbation, perturbation.apply, images, train, severity, bench.context())
        require(isinstance(result, ImageSet), f"{called} must return an ImageSet, got {type(result).__name__}")
        return result

    require(applied(0.0).sha256 == images.sha256, f"{called} changes the images at severity 0, which must be the identity")
    for severity in (*doses, 1.0):
        result = applied(severity)
        require(len(result) > 0, f"{called} leaves no image at severity {severity}")
        strangers = sorted(set(result.ids) - set(images.ids))
        require(not strangers, f"{called} invents ids, such as {strangers[:1]}; each image keeps the id of its slot")
        rows = [images.ids.index(i) for i in result.ids]
        kept = result.patients == tuple((images.patients or ())[row] for row in rows)
        require(kept, f"{called} must leave every slot its patient")
        lost = sorted(knows & (images.offers() - result.offers()))
        require(not lost, f"{called} loses {lost}; what is known of the images must come back with them")
        if severity == perturbation.dose_of_concern and perturbation.failure_mode is not FailureMode.HARMLESS:
            require(result.sha256 != images.sha256, f"{called} changes nothing at its dose of concern, {severity}")
        require(applied(severity).sha256 == result.sha256, f"{called} is not decided by context.seed: two calls differ")


def _extractor(extractor: Extractor, bench: Bench) -> None:
    called = title(extractor)
    train, images = bench.images(0, extractor.needs), bench.images(1, extractor.needs)
    fitting = bench.context()
    _call(extractor, extractor.fit, train, fitting)

    def extracted(some: ImageSet) -> np.ndarray:
        result = _call(extractor, extractor.extract, some, bench.context(fitted=fitting.workdir))
        return _features(called, result, some)

    whole = extracted(images)
    require(np.array_equal(extracted(images), whole), f"{called} gives other features for the same images and seed")
    rows = np.random.default_rng(bench.seed).permutation(bench.n)[: max(1, bench.n // 3)]
    same = _close(extracted(images.take(rows)), whole[rows], max(bench.tolerance, 1e-5))
    require(same, f"{called}: the features of an image depend on the other images in the set")


def _generator(generator: Generator, bench: Bench) -> None:
    called = title(generator)
    train = bench.images(0, _KNOWN - {"features", "sources"})
    stranger, fitting = generator.model_copy(deep=True), bench.context()
    _call(generator, generator.fit, train, fitting)
    # Another instance must find everything in the folder, wherever the folder is by then.
    fitted = fitting.workdir.rename(bench.folder / "fitted")
    conditions = generator.conditions()
    require(conditions <= _CONDITIONS, f"{called} asks for {sorted(conditions - _CONDITIONS)}; a request holds {sorted(_CONDITIONS)}")
    n = max(2, bench.n // 4)
    real = train.take(np.arange(n))
    asked = {name: getattr(real, name) for name in conditions | {"labels"}}
    request = Request(n=n, sources=real if conditions - {"labels"} else None, spacing_mm=real.spacing_mm, **asked)

    def made(one: Generator) -> Any:
        return _call(one, one.sample, request, bench.context(fitted=fitted))

    result = made(stranger)
    if isinstance(result, PathLike):
        require(Path(result).exists(), f"{called} returns {result}, which does not exist")
        return
    require(isinstance(result, ImageSet), f"{called} must return an ImageSet or a folder, got {type(result).__name__}")
    require(len(result) == n, f"{called} returns {len(result)} images where {n} were asked for")
    require(result.origin == "synthetic", f'{called} must say origin="synthetic" of its images')
    shape, wanted = result.images.shape[1:], train.images.shape[1:]
    require(shape == wanted, f"{called} was trained on images of {wanted} and makes some of {shape} (channels, size)")
    again = made(generator)
    for name in ("images", "masks", "labels"):
        one, other = getattr(result, name), getattr(again, name)
        same = one is other is None or np.array_equal(one, other)
        require(same, f"{called} gives other {name} for the same request, seed and fitted folder")
    for name in sorted(conditions & {"labels", "masks"}):
        given = getattr(result, name)
        require(
            given is not None and np.array_equal(given, asked[name]), f"{called} works from {name} and returns others than it was given"
        )


def _task(task: Task, bench: Bench) -> None:
    called = title(task)
    training, validation, test = (bench.images(role, task.needs) for role in range(3))
    stranger, fitting = task.model_copy(deep=True), bench.context()
    _call(task, task.fit, training, validation, fitting)
    # Another instance must find everything in the folder, wherever the folder is by then.
    fitted = fitting.workdir.rename(bench.folder / "fitted")

    def scored(one: Task) -> Mapping[str, Any]:
        result = _call(one, one.score, test, bench.context(fitted=fitted))
        require(isinstance(result, Mapping), f"{called} must return a mapping of quantity to values, got {type(result).__name__}")
        promised = {q.name for q in task.quantities}
        require(set(result) == promised, f"{called} promises {sorted(promised)} and returns {sorted(result)}")
        return result

    first, again = scored(stranger), scored(task)
    columns = task.columns(test)
    per_case = (bench.n,) if len(columns) == 1 else (bench.n, len(columns))
    for name, values in first.items():
        if isinstance(values, np.ndarray):
            require(values.shape == per_case, f"{called}: {name} has shape {values.shape}, expected {per_case}")
            seen = np.ma.compressed(np.ma.asarray(values))
            require(bool(np.isfinite(seen).all()), f"{called}: {name} is not finite; mask the cases that have no value")
        else:
            _number(values, f"{called}: {name}")
        one, other = (np.ma.filled(np.ma.masked_array(result[name], dtype=np.float64), np.nan) for result in (first, again))
        same = np.array_equal(one, other, equal_nan=True)
        require(same, f"{called} gives other values of {name} for the same images, seed and fitted folder")


def _ratings(component: RatingImporter | LLMCheck, found: Any) -> Iterator[Rating]:
    called = title(component)
    require(isinstance(found, Iterable), f"{called} must give ratings one by one, got {type(found).__name__}")
    for rating in found:
        require(isinstance(rating, Rating), f"{called} must give Rating, got {type(rating).__name__}")
        ok = rating.status != "ok" or rating.value is not None
        require(ok, f"{called}: the rating of {rating.item} on {rating.scale} is ok but has no value")
        explained = rating.status == "ok" or bool(rating.reason)
        require(explained, f"{called}: the rating of {rating.item} has status {rating.status} and no reason")
        yield rating


def _importer(importer: RatingImporter, bench: Bench) -> None:
    ratings = _call(importer, lambda context: list(_ratings(importer, importer.read(context))), bench.context())
    require(bool(ratings), f"{title(importer)} reads no rating; give check() an instance that points to a file with some")


def _llm_check(llm: LLMCheck, bench: Bench) -> None:
    called = title(llm)
    images = bench.images(0, llm.needs)
    given: dict[tuple[str, str], int] = {}
    ratings = _call(llm, lambda *given: list(_ratings(llm, llm.rate(*given))), images, _SCALES, bench.context())
    for rating in ratings:
        require(rating.rater_kind == "llm", f'{called} must say rater_kind="llm" of its ratings')
        given[rating.item, rating.scale] = given.get((rating.item, rating.scale), 0) + 1
    expected = {(item, scale.name) for item in images.ids for scale in _SCALES}
    kept = set(given) == expected and all(count == 1 for count in given.values())
    require(kept, f"{called} must give one rating per image and scale: {len(expected)} expected, got {sum(given.values())}")


CHECKS: dict[type[Component], Callable[[Any, Bench], None]] = {
    Generator: _generator, Extractor: _extractor, Perturbation: _perturbation, Metric: _metric, Task: _task,
    RatingImporter: _importer, LLMCheck: _llm_check,
}  # fmt: skip
