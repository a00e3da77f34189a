"""Holds `model.yaml` against the installed components and against itself, before anything runs; every problem at once."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .components import Component, Extractor, Metric, Perturbation
from .errors import HarnessError, InputError, Problem, raise_if
from .host import Host, Offer
from .quantities import Quantity
from .raters.quantities import asked, gates, offered
from .readerspec import ORIGINS
from .records import ComponentRow
from .spec import LESION_SIZE, AuditSpec, Criterion, DataSpec, Reference, digest
from .specfile import SpecFile


@dataclass(frozen=True)
class Part:
    """A component of this audit: built, with who offers it and the digest of the files that it reads."""

    component: Component
    offer: Offer
    options: dict[str, Any]
    files_sha256: str
    called: str = ""

    @property
    def name(self) -> str:
        """The name by which the audit knows the component."""
        return self.called or self.offer.name

    @property
    def identity(self) -> dict[str, Any]:
        """What enters a cell's key: never a path of this machine, always the bytes behind it."""
        offer = self.offer
        return {
            "kind": offer.kind,
            "name": offer.name,
            "version": offer.version,
            "options": self.options,
            "files": self.files_sha256,
        } | ({"as": self.called} if self.called else {})


@dataclass(frozen=True)
class Parts:
    """Every component of an audit."""

    generator: Part | None = None
    extractors: tuple[Part, ...] = ()
    metrics: tuple[Part, ...] = ()
    perturbations: tuple[Part, ...] = ()
    tasks: tuple[Part, ...] = ()
    importers: tuple[Part, ...] = ()
    llm_checks: tuple[Part, ...] = ()

    def all(self) -> Iterator[Part]:
        """Yield every part."""
        if self.generator is not None:
            yield self.generator
        for group in (self.extractors, self.metrics, self.perturbations, self.tasks, self.importers, self.llm_checks):
            yield from group

    def extractors_of(self, metric: Part) -> list[str]:
        """Return the names of the extractors on whose features a metric is measured; none for a metric that uses none."""
        component = metric.component
        if "features" not in component.needs or not isinstance(component, Metric):
            return []
        found = ((x.name, x.component) for x in self.extractors)
        return [name for name, extractor in found if isinstance(extractor, Extractor) and extractor.gives() in component.takes]

    def quantities(self) -> dict[str, Quantity]:
        """Return `component.quantity` -> promise for metrics and tasks."""
        return {f"{part.name}.{q.name}": q for part in (*self.metrics, *self.tasks) for q in part.offer.promises}


def assemble(file: SpecFile, host: Host) -> Parts:
    """Build every component that `model.yaml` names and check that the file can be carried out."""
    problems: list[Problem] = []
    spec = file.spec

    def build(kind: str, reference: Reference, *place: str | int) -> Part | None:
        where = file.where(*place, reference.name)
        try:
            component = host.build(kind, reference.name, reference.own_options, file.base, where)
            files = digest_inputs(component.inputs(), where)
        except HarnessError as error:
            problems.extend(error.problems)
            return None
        called = reference.called if "as" in reference.options else ""
        return Part(component, host.offers[kind, reference.name], reference.own_options, files, called)

    def build_all(kind: str, references: Sequence[Reference], *place: str | int) -> tuple[Part, ...]:
        return build_at(kind, list(enumerate(references)), *place)

    def build_at(kind: str, placed: Sequence[tuple[int, Reference]], *place: str | int) -> tuple[Part, ...]:
        names = [r.called for _, r in placed]
        for k, (index, reference) in enumerate(placed):
            if reference.called in names[:k]:
                problems.append(listed_twice(reference.called, file.where(*place, index)))
        built = (build(kind, reference, *place, index) for index, reference in placed)
        return tuple(part for part in built if part is not None)

    generator = build("generator", spec.generator, "generator") if spec.generator is not None else None
    tasks, ratings = spec.tasks, spec.ratings
    extractors = build_all("extractor", spec.extractors, "extractors")
    groups = {
        "extractors": extractors,
        "metrics": build_at("metric", list(_suite(file, host, extractors, problems)), "metrics"),
        "perturbations": build_at("perturbation", list(_planted(file, host)), "perturbations"),
        "tasks": build_all("task", tasks.components if tasks else (), "tasks", "components"),
        "importers": build_all("rating_importer", ratings.importers if ratings else (), "ratings", "importers"),
        "llm_checks": build_all("llm_check", ratings.llm_checks if ratings else (), "ratings", "llm_checks"),
    }
    raise_if(problems)
    parts = Parts(generator, **groups)
    problems.extend(_needs(file, parts))
    problems.extend(_doses(file, parts))
    for purpose, declared in spec.purposes.items():
        for index, criterion in enumerate(declared.criteria):
            siblings = [c.id for c in declared.criteria]
            where = file.where("purposes", purpose, "criteria", index)
            problems.extend(Problem(f"{criterion.id}: {what}", where, fix) for what, fix in _criterion(criterion, siblings, file, parts))
    raise_if(problems)
    return parts


def _suite(file: SpecFile, host: Host, extractors: Sequence[Part], problems: list[Problem]) -> Iterator[tuple[int, Reference]]:
    """Yield the metrics with their place, `default` replaced by what is in the suite, fits these data and is not named itself."""
    spec = file.spec
    offered = _offered(spec.data)
    gives = {part.component.gives() for part in extractors if isinstance(part.component, Extractor)}
    named = {reference.called for reference in spec.metrics}
    for index, reference in enumerate(spec.metrics):
        if reference.name != "default":
            yield index, reference
            continue
        if reference.options:
            problems.append(options_of_the_suite(file.where("metrics", index)))
        for offer in host.suite(offered, gives):
            if offer.name not in named:
                yield index, Reference.model_validate(offer.name)


def _planted(file: SpecFile, host: Host) -> Iterator[tuple[int, Reference]]:
    """Yield the perturbations with their place: those listed, then those of the preset that are not listed themselves."""
    spec = file.spec
    yield from enumerate(spec.perturbations)
    if spec.battery.preset is not None:
        named = {reference.name for reference in spec.perturbations}
        for offer, options in host.preset(spec.battery.preset, _offered(spec.data)):
            if offer.name not in named:
                yield len(spec.perturbations), Reference(name=offer.name, options=dict(options))


def listed_twice(name: str, where: str) -> Problem:
    """Return the problem of two components of one name."""
    return Problem(f"{name} is listed twice", where, "list it once, or give one of them another name with the option `as`")


def options_of_the_suite(where: str) -> Problem:
    """Return the problem of options given to `default`."""
    fix = "name a metric to give it options; the suite then leaves that one out"
    return Problem("`default` stands for many metrics and takes no options", where, fix)


def _needs(file: SpecFile, parts: Parts) -> Iterator[Problem]:
    """Yield what a component needs and the data do not offer."""
    data = file.spec.data
    offered = _offered(data) | ({"features"} if parts.extractors else set())
    how = {"features": "list an extractor under extractors"}
    for part in parts.all():
        for need in sorted(part.component.needs - offered):
            fix = how.get(need, f"say where they are: data: {{{need}: ...}}")
            yield Problem(f"{part.name} needs {need}, and the data have none", file.where("data"), fix)
    yield from _pairs(file, parts)
    yield from _strata(file)
    yield from _scales(file)


def _pairs(file: SpecFile, parts: Parts) -> Iterator[Problem]:
    """Yield the metrics that work on a kind of features which no extractor of the audit gives."""
    places = {reference.called: index for index, reference in enumerate(file.spec.metrics)}
    for part in parts.metrics:
        if "features" in part.component.needs and parts.extractors and not parts.extractors_of(part):
            takes = " or ".join(sorted(part.component.takes)) if isinstance(part.component, Metric) else ""
            gives = ", ".join(f"{x.name}: {x.component.gives()}" for x in parts.extractors if isinstance(x.component, Extractor))
            where = file.where("metrics", places.get(part.name, 0))
            yield Problem(f"{part.name} works on {takes}, which no extractor of this audit gives ({gives})", where, "add one that does")


def _strata(file: SpecFile) -> Iterator[Problem]:
    """Yield the strata that the data do not have."""
    data = file.spec.data
    images = {*data.groups, *(["label"] if data.labels is not None else [])}
    sized = images | ({LESION_SIZE} if data.masks is not None and file.spec.tasks is not None else set())
    named: list[tuple[str, str, str, set[str]]] = [(stratum, "", file.where("strata"), sized) for stratum in file.spec.strata or ()]
    for purpose, declared in file.spec.purposes.items():
        for index, criterion in enumerate(declared.criteria):
            where = file.where("purposes", purpose, "criteria", index, "strata")
            known = {*images, *ORIGINS} if criterion.of_raters else sized
            named += [(stratum, f"{criterion.id}: ", where, known) for stratum in criterion.strata]
    for stratum, who, where, known in named:
        if stratum not in known:
            yield Problem(f"{who}no stratum is called {stratum!r}", where, f"known: {_list(sorted(known))}")


def _offered(data: DataSpec) -> set[str]:
    named = {"labels": data.labels, "masks": data.masks, "patients": data.patients, "concepts": data.concepts or None,
             "groups": data.groups or None}  # fmt: skip
    return {name for name, value in named.items() if value is not None}


def _doses(file: SpecFile, parts: Parts) -> Iterator[Problem]:
    named = {reference.called for reference in file.spec.perturbations}
    for index, part in enumerate(parts.perturbations):
        component = part.component
        assert isinstance(component, Perturbation)
        where = file.where("perturbations", index)
        doses, usual = component.doses, type(component).model_fields["dose_of_concern"].default
        if not doses or list(doses) != sorted(set(doses)) or doses[0] <= 0 or doses[-1] > 1:
            yield Problem(f"{part.name}: doses must rise within (0, 1], got {list(doses)}", where)
        elif component.dose_of_concern not in doses:
            yield Problem(f"{part.name}: dose_of_concern {component.dose_of_concern} is not among the doses {list(doses)}", where)
        elif not component.because:
            yield Problem(f"{part.name} gives no reason for its dose of concern", where, "add because: why this severity matters")
        elif component.dose_of_concern != usual and "because" not in part.options and part.name in named:
            fix = "add because: why this severity matters, for the reason that comes with it is about another one"
            yield Problem(f"{part.name}: the dose of concern is yours, and the reason is not", where, fix)


def _scales(file: SpecFile) -> Iterator[Problem]:
    """Yield what scales say of each other that is not so, and gates that name what is not computed on every part of the items."""
    scales = file.spec.ratings.scales if file.spec.ratings else ()
    known_as = {scale.name: scale for scale in scales}
    for index, scale in enumerate(scales):
        here = file.where("ratings", "scales", index)
        first, _, answer = scale.only_if.partition("=")
        other = known_as.get(first)
        if scale.only_if and (other is None or (other.categories and answer not in other.categories)):
            yield Problem(f"{scale.name}: no scale is answered {scale.only_if!r}", here, "only_if: SCALE=ANSWER, as they are written there")
        if scale.describes and (scale.describes not in known_as or known_as[scale.describes].level != "text"):
            yield Problem(f"{scale.name}: describes names no text scale: {scale.describes}", here, "level: text, and its name here")
        for kind, source, named in (("experts", "ratings", scale.gates.experts), ("models", "llm", scale.gates.models)):
            known = gates(scale, source)
            for name in sorted(set(named) - set(known)):
                where = file.where("ratings", "scales", index, "gates")
                yield Problem(f"{scale.name}: gates.{kind} cannot ask for {name}", where, f"known: {_list(known) or 'none on this scale'}")


def _of_raters(criterion: Criterion, source: str, spec: AuditSpec) -> Iterator[tuple[str, str]]:
    scales = {s.name: s for s in spec.ratings.scales} if spec.ratings else {}
    wanted = asked(criterion.quantity, scales)
    scale = scales.get(wanted.scale)
    known = offered(scale, source) if scale is not None else ()
    if scale is None:
        yield f"unknown quantity {criterion.quantity!r}", f"{source}.SCALE.STATISTIC with a scale of ratings.scales: {_list(scales)}"
    elif ".".join(w for w in (wanted.statistic, wanted.category) if w) not in known:
        yield f"unknown quantity {criterion.quantity!r}", f"on the scale {scale.name}: {_list(known) or 'nothing'}"
    elif scale.shows == "grid" and scale.gates.attention is None:
        yield (
            f"the scale {scale.name} declares no gates.attention: readers who do not look find no real image either",
            "gates: {attention: 0.8, because: ...} in ratings.scales, and planted faults in ratings.study",
        )
    elif scale.shows != "grid" and not wanted.showing and not (scale.gates.experts if wanted.experts else scale.gates.models):
        kind = "experts" if wanted.experts else "models"
        example = "experts: {krippendorff_alpha: 0.667}" + ("" if wanted.experts else ", models: {cohen_kappa: 0.6}")
        yield (
            f"the scale {scale.name} declares no gates.{kind}, so {criterion.quantity} can support nothing",
            f"gates: {{{example}, because: ...}} in ratings.scales",
        )


def _criterion(criterion: Criterion, siblings: Sequence[str], file: SpecFile, parts: Parts) -> Iterator[tuple[str, str]]:
    """Yield (what is wrong, what to do) of one criterion."""
    spec = file.spec
    words = criterion.quantity.split(".")
    if criterion.of_raters:
        yield from _of_raters(criterion, words[0], spec)
        return
    quantities = parts.quantities()
    promise = quantities.get(criterion.quantity)
    if promise is None:
        close = difflib.get_close_matches(criterion.quantity, quantities, n=1, cutoff=0.5) or [
            name for name in quantities if name.split(".")[1] == words[-1]
        ]
        yield (
            f"unknown quantity {criterion.quantity!r}",
            f"did you mean {close[0]}?" if close else f"known: {_list(quantities)}",
        )
        return
    is_task = any(part.name == words[0] for part in parts.tasks)
    yield from _unfit(criterion, promise, is_task)
    if is_task and spec.tasks is not None:
        if criterion.mix is None:
            yield (
                "a task is judged at a training mix, and none is named",
                "mix: [1, 0] (real alone), [0, 1] (synthetic alone), or another of tasks.mixes",
            )
        elif tuple(criterion.mix) not in {tuple(m) for m in spec.tasks.mixes}:
            yield (
                f"mix {list(criterion.mix)} is not among tasks.mixes",
                f"add it, or use one of {[list(m) for m in spec.tasks.mixes]}",
            )
        if criterion.gain_at_least is not None and (1.0, 0.0) not in {tuple(m) for m in spec.tasks.mixes}:
            yield "gain_at_least needs the mix [1, 0] to compare with", "add [1, 0] to tasks.mixes"
    elif criterion.mix is not None or criterion.gain_at_least is not None:
        yield f"mix and gain_at_least belong to tasks, and {words[0]} is a metric", "use at_least, at_most or between"
    yield from _references(criterion, siblings, parts, is_task, words[0])


def _unfit(criterion: Criterion, promise: Quantity, is_task: bool) -> Iterator[tuple[str, str]]:
    """Yield what a quantity of this kind can never be asked."""
    bounds = {"lower": "at_least", "higher": "at_most"}
    if getattr(criterion, bounds[promise.better]) is not None:
        yield (
            f"{bounds[promise.better]} contradicts {criterion.quantity}, of which {promise.better} is better",
            "turn the bound round",
        )
    if promise.family == "memorisation" and promise.biased_in_n:
        yield (
            f"no bound on {criterion.quantity} says how much is copied",
            "AuthPct depends on dimension and n; use memorisation.copied_share",
        )


def _references(criterion: Criterion, siblings: Sequence[str], parts: Parts, is_task: bool, owner: str) -> Iterator[tuple[str, str]]:
    extractors = [] if is_task else [name for part in parts.metrics if part.name == owner for name in parts.extractors_of(part)]
    if criterion.extractor is not None and criterion.extractor not in extractors:
        yield (
            f"extractor {criterion.extractor!r} is not used by {owner}",
            _close(criterion.extractor, extractors),
        )
    if criterion.extractor is None and len(extractors) > 1:
        yield f"{owner} is measured with {len(extractors)} extractors", f"add extractor: one of {_list(extractors)}"
    perturbations = [part.name for part in parts.perturbations]
    for name in criterion.qualified_by:
        if name not in perturbations:
            yield f"qualified_by names {name!r}, which is not under perturbations", _close(name, perturbations)
    for guard in criterion.guards:
        if guard == criterion.id or guard not in siblings:
            yield (
                f"guard {guard!r} is not another criterion of this purpose",
                _close(guard, [s for s in siblings if s != criterion.id]),
            )


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _close(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known: {_list(known)}"


def component_rows(parts: Parts) -> Iterator[ComponentRow]:
    """Yield what is stored of each component."""
    for part in parts.all():
        promises: dict[str, Any] = {"quantities": [q.model_dump(mode="json") for q in part.offer.promises]}
        if part.called:
            promises["component"] = part.offer.name
        for name in ("sees", "blind_to", "needs"):
            promises[name] = sorted(getattr(part.component, name, ()))
        for name in ("failure_mode", "full_severity"):
            if hasattr(part.component, name):
                promises[name] = str(getattr(part.component, name))
        defaults = {k: str(info.default) for k, info in type(part.component).model_fields.items() if isinstance(info.default, Path)}
        options = part.component.model_dump(mode="json") | defaults | part.options
        yield ComponentRow(
            kind=part.offer.kind, name=part.name, options=options, distribution=part.offer.distribution, version=part.offer.version,
            identity_sha256=digest(part.identity), description=type(part.component).summary(), promises=promises,
        )  # fmt: skip


def digest_inputs(paths: Iterable[Path], where: str = "") -> str:
    """Return one digest of the bytes of these files and folders; a missing one is an `InputError`."""
    whole = hashlib.sha256()
    for path in paths:
        if not path.exists():
            raise InputError(Problem(f"there is no {path}", where, "check the path; it is relative to the folder of model.yaml"))
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            name = file.relative_to(path).as_posix() if path.is_dir() else file.name
            with file.open("rb") as stream:
                whole.update(f"|{name}|{hashlib.file_digest(stream, 'sha256').hexdigest()}".encode())
    return whole.hexdigest()
