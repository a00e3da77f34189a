"""Finds plugins, refuses clashes, builds components by name.

Not pluggy's loader: that one drops, without a word, a plugin whose entry point has the name of another's. Plugins are registered
as `distribution:entry`; one that cannot be used is kept with its reason and shown when something of it is missing.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import pluggy
from pydantic import ValidationError

from . import hookspecs
from .components import Component, Gives, Metric, Modality, Perturbation, Task
from .errors import PluginError, Problem, SpecError
from .hookspecs import HOOKS, PROJECT

GROUP = "harness"
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


@dataclass(frozen=True)
class Offer:
    """A component class and who offers it."""

    kind: str
    name: str
    version: str
    distribution: str
    component: type[Component]

    @property
    def promises(self) -> tuple[Any, ...]:
        """The quantities that a metric or task promises."""
        return self.component.quantities if issubclass(self.component, Metric | Task) else ()


@dataclass(frozen=True)
class Refused:
    """A plugin, or one component of it, that cannot be used, and why."""

    distribution: str
    entry: str
    reason: str
    names: frozenset[tuple[str, str]] = frozenset()

    def problem(self) -> Problem:
        """Return the refusal as a problem to print."""
        return Problem(self.reason, f"plugin {self.entry} of {self.distribution}")


@dataclass
class Host:
    """The components that are installed, and the plugins that had to be refused."""

    offers: dict[tuple[str, str], Offer] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)

    @classmethod
    def discover(cls) -> Host:
        """Return the host of everything installed in the `harness` entry-point group."""
        host, seen = cls(), set()
        for distribution in metadata.distributions():
            name = distribution.name
            if name is None or name.lower() in seen:
                continue
            seen.add(name.lower())
            for entry in distribution.entry_points:
                if entry.group == GROUP:
                    host.load(entry, name)
        return host

    def load(self, entry: metadata.EntryPoint, distribution: str) -> None:
        """Import one entry point and take in what it offers; a failure is kept, with its reason."""
        try:
            module = entry.load()
        except Exception as error:
            self.refused.append(Refused(distribution, entry.name, f"cannot be imported: {_one_line(error)}"))
            return
        self.register(module, entry.name, distribution)

    def register(self, module: Any, entry: str, distribution: str) -> None:
        """Take in the components that one plugin module (or object with hooks) offers."""
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(hookspecs)
        try:
            manager.register(module, f"{distribution}:{entry}")
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            self.refused.append(Refused(distribution, entry, _misspelt(error)))
            return
        for hook, kind in HOOKS.items():
            for implementation in getattr(manager.hook, hook).get_hookimpls():
                try:
                    classes = list(implementation.function())
                except Exception as error:
                    self.refused.append(Refused(distribution, entry, f"{hook} raises {_one_line(error)}"))
                    continue
                for offered in classes:
                    self._take(offered, kind, entry, distribution)

    def _take(self, offered: Any, kind: type[Component], entry: str, distribution: str) -> None:
        fault = _fault(offered, kind)
        if fault:
            self.refused.append(Refused(distribution, entry, fault))
            return
        offer = Offer(kind.kind, offered.name, offered.version, distribution, offered)
        key = (offer.kind, offer.name)
        clashed = any(key in refusal.names for refusal in self.refused)
        other = self.offers.pop(key, None)
        if other is None and not clashed:
            self.offers[key] = offer
            return
        owners = f"{other.distribution} and {distribution}" if other else f"{distribution} and others"
        text = f"two {offer.kind.replace('_', ' ')}s are called {offer.name!r}: by {owners}; uninstall one of them"
        self.refused.append(Refused(distribution, entry, text, frozenset({key})))

    def of_kind(self, kind: str) -> list[Offer]:
        """Return the offers of one kind by name."""
        return sorted((o for o in self.offers.values() if o.kind == kind), key=lambda o: o.name)

    def suite(self, offered: Set[str], gives: Set[Gives], *, images: bool = True) -> list[Offer]:
        """Return the metrics of the default suite that suit what the data offer, what the extractors give, and whether there are images."""
        found = []
        for offer in self.of_kind("metric"):
            kind = offer.component
            if not issubclass(kind, Metric) or not kind.in_suite or not kind.needs - {"features"} <= offered:
                continue
            if kind.takes & gives if "features" in kind.needs else images:
                found.append(offer)
        return found

    def preset(self, modality: Modality, offered: Set[str]) -> list[tuple[Offer, Mapping[str, Any]]]:
        """Return the perturbations of a modality's preset that suit what the data offer, with the options chosen for it."""
        found = []
        for offer in self.of_kind("perturbation"):
            kind = offer.component
            if issubclass(kind, Perturbation) and modality in kind.presets and kind.needs <= offered:
                found.append((offer, kind.presets[modality]))
        return found

    def find(self, kind: str, name: str, where: str = "") -> Offer:
        """Return an offer, or raise a `SpecError` that says what is close and which plugins could not be used."""
        if (kind, name) in self.offers:
            return self.offers[kind, name]
        words = kind.replace("_", " ").replace("llm", "LLM")
        clash = next((r for r in self.refused if (kind, name) in r.names), None)
        if clash is not None:
            raise PluginError(Problem(clash.reason, where))
        raise SpecError(Problem(f"no {words} is called {name!r}", where, self._hint(kind, name)))

    def _hint(self, kind: str, name: str) -> str:
        offers = self.of_kind(kind)
        promising = [o.name for o in offers if any(q.name == name for q in o.promises)]
        if promising:
            return f"did you mean {promising[0]} (offers {name})?"
        close = difflib.get_close_matches(name, [o.name for o in offers], n=1, cutoff=0.6)
        hint = f"did you mean {close[0]}?" if close else f"installed: {', '.join(o.name for o in offers) or 'none'}"
        if self.refused:
            hint += f"; not usable: {'; '.join(f'{r.distribution} ({r.reason})' for r in self.refused[:2])}"
        return hint

    def build(self, kind: str, name: str, options: Mapping[str, Any], base: Path, where: str = "") -> Component:
        """Return the component with its options checked; paths in options are taken relative to `base`."""
        offer = self.find(kind, name, where)
        prepared, problems = {}, []
        for key, value in options.items():
            known = offer.component.model_fields.get(key)
            is_path = known is not None and "Path" in str(known.annotation)
            try:
                prepared[key] = _resolved(value, base) if is_path else value
            except KeyError as error:
                problems.append(_unset(error, where))
        if problems:
            raise SpecError(*problems)
        for key, known in offer.component.model_fields.items():
            # A relative default is relative to model.yaml too, not to wherever the command was typed.
            if key not in prepared and isinstance(known.default, Path):
                prepared[key] = resolve(str(known.default), base)
        try:
            return offer.component(**prepared)
        except ValidationError as error:
            raise SpecError(*(_option_problem(e, offer, where) for e in error.errors())) from None


def expand(text: str) -> str:
    """Return the text with `${NAME}` replaced from the environment; an unset name is a KeyError."""
    return _VARIABLE.sub(lambda m: os.environ[m.group(1) or m.group(2)], text)


def resolve(text: str, base: Path) -> Path:
    """Return a path of `model.yaml`: environment variables replaced, relative to the folder of the file.

    A path that begins with a variable is relative to where the command was typed: that is where the variable was set.
    """
    start = Path.cwd() if text.startswith("$") else base
    return Path(os.path.normpath(start / Path(expand(text)).expanduser()))


def _unset(error: KeyError, where: str) -> Problem:
    return Problem(f"the environment variable {error.args[0]} is not set", where, f"set it: export {error.args[0]}=/path/to/data")


def _resolved(value: Any, base: Path) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_resolved(v, base) for v in value)
    return resolve(value, base) if isinstance(value, str) else value


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _misspelt(error: pluggy.PluginValidationError) -> str:
    found = re.search(r"unknown hook '(\w+)'", str(error))
    if not found:
        return _one_line(error)
    close = difflib.get_close_matches(found.group(1), HOOKS, n=1)
    return f"there is no hook {found.group(1)}" + (f"; did you mean {close[0]}?" if close else f"; hooks: {', '.join(HOOKS)}")


def _fault(offered: Any, kind: type[Component]) -> str:
    """Say what is wrong with a class that a hook returned, or nothing."""
    words = kind.__name__
    if not (isinstance(offered, type) and issubclass(offered, kind)):
        return f"offers {offered!r} as a {words}, which it is not"
    for attribute in ("name", "version"):
        if not isinstance(getattr(offered, attribute, None), str) or not getattr(offered, attribute):
            return f"{offered.__name__} has no {attribute}"
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", offered.name):
        return f"{offered.__name__} is called {offered.name!r}; names are lower case letters, digits and _"
    if getattr(offered, "__abstractmethods__", None):
        return f"{offered.__name__} lacks {', '.join(sorted(offered.__abstractmethods__))}"
    if issubclass(offered, Metric | Task):
        names = [q.name for q in getattr(offered, "quantities", ())]
        if not names or len(set(names)) != len(names):
            return f"{offered.__name__} must promise quantities with different names, got {names}"
    if issubclass(offered, Perturbation) and not (hasattr(offered, "failure_mode") and hasattr(offered, "full_severity")):
        return f"{offered.__name__} must say its failure_mode and full_severity"
    return ""


def _option_problem(error: Any, offer: Offer, where: str) -> Problem:
    """Turn one pydantic error on options into a problem with a suggestion."""
    option = ".".join(str(part) for part in error["loc"]) or "options"
    known = list(offer.component.model_fields)
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(option, known, n=1, cutoff=0.6)
        hint = f"did you mean {close[0]}?" if close else f"its options: {', '.join(known) or 'none'}"
        return Problem(f"{offer.name} has no option {option!r}", where, hint)
    if error["type"] == "missing":
        return Problem(f"{offer.name} needs the option {option!r}", where)
    said = str(error["msg"]).removeprefix("Value error, ")
    said = said[:1].lower() + said[1:]
    if not error["loc"]:
        return Problem(f"{offer.name}: {said}", where)
    value = error.get("input")
    shown = (str(value) if isinstance(value, Path) else repr(value))[:60]
    return Problem(f"{offer.name}: {option} = {shown}: {said}", where)
