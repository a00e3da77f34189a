"""The architecture as a test: who may import whom, who owns which library, and what nobody may do."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST_MODULE = 400

# From the ground up: a module imports only from layers below its own. A module that is not here fails: say where it belongs.
LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        "errors",
        "device graphs quantities png yamlfile",
        "neighbours conclusions",
        "records readerspec",
        "images",
        "components",
        "hookspecs",
        "api",
        "host spec statistics.* fetch",
        "raters.*",
        "cells specfile phantoms verdicts pictures wording beside table columns progress asking resampling quickinputs",
        "scoring",
        "checks conformance imagefiles figures",
        "seriesfiles savedsets store testing trials",
        "catalogue",
        "preparation",
        "datasets",
        "bench inspection evidence content dictionary manual batteries sweeps",
        "chapters measurements signatures curves literature",
        "contrasts raterpages.*",
        "stages.*",
        "plan dossier worker quick qualifying listing",
        "pool",
        "run",
        "planning compare",
        "studies.* ratingfiles.*",
        "start",
        "cli_raters",
        "cli",
    )
)

# Narrower than the layers: these import nothing of the harness but this.
ONLY = {
    "graphs": "",
    "neighbours": "graphs",
    "png": "",
    "api": "components errors hookspecs images quantities yamlfile",
    "statistics.*": "errors quantities records statistics.*",
    "store": "beside columns errors harness quantities records schemas table",
    "figures": "wording",
    "verdicts": "quantities records spec",
    "dossier": "batteries chapters content curves errors figures literature measurements png quantities raterpages.* records "
    "report_templates spec store sweeps wording",
}

# Modules of one of these import each other.
PACKAGES = "statistics.* stages.* raters.* studies.* raterpages.* ratingfiles.*"

# Whoever needs one of these asks its owner. `plugins` owns what only plugins may use.
OWNERS = {
    "pluggy": "hookspecs host",
    "duckdb": "store",
    "jinja2": "dossier",
    "weasyprint": "dossier",
    "matplotlib": "figures",
    "ruamel": "specfile yamlfile",
    "rich": "cli progress",
    "typer": "cli cli_raters",
    "statsmodels": "statistics.*",
    "pingouin": "statistics.*",
    "krippendorff": "",
    "PIL": "datasets imagefiles",
    "nibabel": "datasets imagefiles",
    "pydicom": "datasets imagefiles",
    "tifffile": "datasets imagefiles",
    "openpyxl": "ratingfiles.* plugins.importers.*",
    "httpx": "plugins.llm_checks.*",
    "torch": "device plugins.*",
    "monai": "plugins.*",
}
FOR_PLUGINS = frozenset({"numpy", "scipy", "sklearn", "torch", "monai", "pydantic", "openpyxl", "httpx"})
HEAVY = frozenset({"torch", "monai", "openpyxl", "httpx"})  # seconds to import: only inside the functions that use them
UNSAFE = frozenset({"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "random"})
SEEDED = frozenset({"default_rng", "Generator", "SeedSequence", "BitGenerator", "PCG64", "Philox", "RandomState", "get_state"})
MEETS_STRANGERS = frozenset({"asking", "host", "worker", "cli"})
SPEAKS = frozenset({"cli", "cli_raters", "dictionary", "manual", "phantoms", "progress"})


@dataclass(frozen=True)
class Import:
    """One import statement: the absolute module it names, and whether it runs when the module is imported."""

    module: str
    names: tuple[str, ...]
    line: int
    at_import: bool


@dataclass(frozen=True)
class Module:
    """A source file of the harness or of the built-in plugins, under its import name."""

    name: str
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.path.read_text(encoding="utf-8"))

    @property
    def short(self) -> str:
        """Name inside its package: `stages.measure`, `plugins.metrics.frechet`."""
        return self.name.removeprefix("harness.").replace("harness_plugins", "plugins", 1)

    @property
    def is_plugin(self) -> bool:
        """Whether it belongs to the built-in plugins."""
        return self.name.split(".")[0] == "harness_plugins"

    def imports(self) -> Iterator[Import]:
        """Yield every import, relative ones made absolute."""
        deferred = {
            id(inner)
            for outer in ast.walk(self.tree)
            if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _only_for_types(outer)
            for inner in ast.walk(outer)
        }
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(alias.name, (), node.lineno, id(node) not in deferred)
            elif isinstance(node, ast.ImportFrom):
                names = tuple(alias.name for alias in node.names)
                yield Import(self._absolute(node), names, node.lineno, id(node) not in deferred)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.name.split(".") if self.path.name == "__init__.py" else self.name.split(".")[:-1]
        return ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])


def _only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _modules() -> Iterator[Module]:
    for folder, package in (("harness", "harness"), ("plugins", "harness_plugins")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = [package, *path.relative_to(ROOT / folder).with_suffix("").parts]
            yield Module(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path)


MODULES = tuple(_modules())
NAMES = frozenset(module.name for module in MODULES)
each_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
of_the_core = pytest.mark.parametrize(
    "module", [m for m in MODULES if not m.is_plugin and m.path.name != "__init__.py"], ids=lambda module: module.name
)
of_the_plugins = pytest.mark.parametrize("module", [m for m in MODULES if m.is_plugin], ids=lambda module: module.name)


def _matches(short: str, patterns: str) -> bool:
    return any(short == p or (p.endswith(".*") and (short + ".").startswith(p[:-1])) for p in patterns.split())


def _layer(short: str) -> int | None:
    return next((level for level, names in enumerate(LAYERS) if any(_matches(short, name) for name in names)), None)


def _inside(module: Module) -> Iterator[tuple[str, int]]:
    """Yield the modules of the harness that this one imports, by short name, and the line."""
    for statement in module.imports():
        if statement.module == "harness":
            for name in statement.names:
                if f"harness.{name}" in NAMES or name == "schemas":
                    yield name, statement.line
        elif statement.module.startswith("harness."):
            deeper = [f"{statement.module}.{name}" for name in statement.names if f"{statement.module}.{name}" in NAMES]
            for found in deeper or [statement.module]:
                yield found.removeprefix("harness."), statement.line


@of_the_core
def test_modules_import_downwards(module: Module) -> None:
    """A module of the core is in the table of layers and imports only from layers below, or what the narrower table grants."""
    own = _layer(module.short)
    assert own is not None, f"{module.short} is in no layer of tests/test_architecture.py: decide where it belongs"
    narrow = next((allowed for pattern, allowed in ONLY.items() if _matches(module.short, pattern)), None)
    wrong = []
    for imported, line in _inside(module):
        level = _layer(imported)
        if narrow is not None:
            allowed = _matches(imported, narrow)
        elif imported in ("schemas", "report_templates"):
            allowed = False
        else:
            siblings = _matches(module.short, PACKAGES) and module.short.split(".")[0] == imported.split(".")[0]
            allowed = level is not None and (level < own or siblings)
        if not allowed:
            wrong.append(f"line {line}: {module.short} must not import {imported}")
    assert not wrong, "\n".join(wrong)


def test_layers_name_only_modules_that_exist() -> None:
    """Every entry of the tables is a module, so that the tables cannot rot."""
    shorts = {module.short for module in MODULES} | {"schemas", "report_templates", "plugins.x"}
    for pattern in (*(name for layer in LAYERS for name in layer), *ONLY, *" ".join(OWNERS.values()).split()):
        assert any(_matches(short, pattern) for short in shorts), f"{pattern} is in a table but not in the tree"


@of_the_core
def test_the_core_never_imports_a_plugin(module: Module) -> None:
    """Built-in components enter through entry points, as a stranger's do."""
    assert [i for i in module.imports() if i.module.split(".")[0] in ("harness_plugins", "plugins")] == []


@of_the_plugins
def test_plugins_see_only_the_api(module: Module) -> None:
    """A built-in plugin uses nothing that a stranger could not use."""
    harness = [i for i in module.imports() if i.module.split(".")[0] == "harness" and i.module != "harness.api"]
    assert not harness, f"line {harness[0].line}: plugins import harness.api, not {harness[0].module}"
    absolute = [
        node.lineno
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").startswith("harness_plugins")
    ]
    assert not absolute, f"line {absolute[0]}: inside plugins/ imports are relative"


@each_module
def test_libraries_have_owners(module: Module) -> None:
    """Each foreign library is imported by its owner alone; plugins use the numeric ones only."""
    wrong = []
    for statement in module.imports():
        library = statement.module.split(".")[0]
        if library in OWNERS and not _matches(module.short, OWNERS[library]):
            wrong.append(f"line {statement.line}: {library} belongs to {OWNERS[library] or 'the tests'}")
        elif module.is_plugin and library not in sys.stdlib_module_names and library not in FOR_PLUGINS | {"harness", "harness_plugins"}:
            wrong.append(f"line {statement.line}: built-in plugins do not use {library}")
    assert not wrong, "\n".join(wrong)


@each_module
def test_heavy_libraries_are_imported_late(module: Module) -> None:
    """`harness plugins` must not wait for torch: it is imported inside the functions that use it."""
    early = [i for i in module.imports() if i.at_import and i.module.split(".")[0] in HEAVY]
    assert not early, f"line {early[0].line}: {early[0].module} is imported when the module is"


@each_module
def test_nothing_unpickles_and_nothing_draws_from_global_state(module: Module) -> None:
    """No pickle, no `allow_pickle=True`, no torch.load of objects, no global random numbers."""
    # The error that a torn file raises unpickles nothing.
    imports = [i for i in module.imports() if i.names != ("UnpicklingError",)]
    wrong = [f"line {i.line}: imports {i.module}" for i in imports if i.module.split(".")[0] in UNSAFE]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            name, options = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            if options.get("allow_pickle", "False") != "False":
                wrong.append(f"line {node.lineno}: allow_pickle")
            if name == "torch.load" and options.get("weights_only") != "True":
                wrong.append(f"line {node.lineno}: torch.load without weights_only=True")
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("np.random", "numpy.random") and node.attr not in SEEDED:
            wrong.append(f"line {node.lineno}: np.random.{node.attr} draws from global state")
    assert not wrong, "\n".join(wrong)


@each_module
def test_only_where_strangers_code_runs_everything_is_caught(module: Module) -> None:
    """A broad `except` that does not raise again hides bugs; the host imports strangers, a worker calls them, `cli` reports."""
    if module.short in MEETS_STRANGERS:
        return
    broad = [
        node.lineno
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler)
        and ast.unparse(node.body[-1]) != "raise"
        and (node.type is None or {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)} & {"Exception", "BaseException"})
    ]
    assert not broad, f"{module.path}:{broad[0]}: name what can go wrong"


@each_module
def test_only_commands_print(module: Module) -> None:
    """The core returns what it knows; only what is run as a command writes to the terminal."""
    if module.short in SPEAKS:
        return
    prints = [
        node.lineno
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not prints, f"{module.path}:{prints[0]}: only commands print"


@each_module
def test_everything_public_is_explained(module: Module) -> None:
    """Every public module, class, function and method has a docstring."""
    silent = [] if ast.get_docstring(module.tree) else ["the module"]
    public = [n for n in module.tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
    owners: list[ast.Module | ast.ClassDef] = [module.tree, *public]
    for owner in owners:
        for node in owner.body:
            named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if named and not node.name.startswith("_") and not ast.get_docstring(node):
                silent.append(f"{node.name} (line {node.lineno})")
    assert not silent, f"no docstring: {', '.join(silent)}"


@each_module
def test_modules_stay_short(module: Module) -> None:
    """A module above the limit holds two ideas."""
    assert len(module.path.read_text(encoding="utf-8").splitlines()) <= LONGEST_MODULE
