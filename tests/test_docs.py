"""The documents are executed: manual, hooks and tests agree; examples run; commands, targets and links exist."""

from __future__ import annotations

import inspect
import json
import re
import sys
import types
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from harness.cli import app
from harness.hookspecs import HOOKS
from harness.host import Host
from harness.spec import AuditSpec
from harness.store import Store
from harness.testing import check

ROOT = Path(__file__).parents[1]
MANUAL = (ROOT / "plugins" / "README.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted(p for p in ROOT.rglob("*.md") if not {".venv", ".tox", "build", "out"} & set(p.relative_to(ROOT).parts))
SHARPNESS = ROOT / "tests" / "examples" / "harness-sharpness"
FOLDERS = {
    "harness_generators": "generators",
    "harness_extractors": "extractors",
    "harness_perturbations": "perturbations",
    "harness_metrics": "metrics",
    "harness_tasks": "tasks",
    "harness_rating_importers": "importers",
    "harness_llm_checks": "llm_checks",
}

each_hook = pytest.mark.parametrize("hook", HOOKS)


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def _section(hook: str) -> str:
    return MANUAL.split(f"### `{hook}`", 1)[1].split("\n## ", 1)[0].split("\n### ", 1)[0]


def _example(hook: str) -> str:
    """Return the module that the manual gives for a hook; that of metrics is the first of the page."""
    return next(block for block in [*_blocks(_section(hook), "python"), *_blocks(MANUAL, "python")] if f"def {hook}(" in block)


def _verbs(kind: type) -> list[str]:
    """Return the signatures of a kind's methods that a plugin writes: the abstract one, and `fit` where there is one."""
    names = sorted(kind.__abstractmethods__) + (["fit"] if hasattr(kind, "fit") else [])  # type: ignore[attr-defined]
    return [f"{name}({', '.join(list(inspect.signature(getattr(kind, name)).parameters)[1:])})" for name in names]


@each_hook
def test_the_manual_explains_every_hook(hook: str) -> None:
    """The table of the manual has a row per hook with its class and its verbs, and the hook has a section of its own."""
    row = next(line for line in MANUAL.splitlines() if line.startswith(f"| `{hook}` |"))
    assert f"`{HOOKS[hook].__name__}`" in row
    for verb in _verbs(HOOKS[hook]):
        assert f"`{verb}`" in row
    assert f"### `{hook}`: {HOOKS[hook].__name__}\n" in MANUAL


def test_the_manual_knows_no_other_hooks() -> None:
    """A hook that was renamed or removed does not live on in the manual."""
    rows = re.findall(r"^\| `(harness_\w+)` \|", MANUAL, flags=re.MULTILINE)
    assert rows == list(HOOKS)


@each_hook
def test_the_manuals_example_is_accepted_and_keeps_its_promises(hook: str, tmp_path: Path) -> None:
    """The example of each section is a module that the host takes in, and its component passes what authors are told to run."""
    module = types.ModuleType(f"example_of_{hook}")
    exec(compile(_example(hook), f"plugins/README.md ({hook})", "exec", dont_inherit=True), module.__dict__)
    host = Host()
    host.register(module, "example", "the manual")
    assert host.refused == []
    assert [kind for kind, _ in host.offers] == [HOOKS[hook].kind]

    ratings = tmp_path / "ratings.jsonl"
    ratings.write_text('{"item": "i1", "rater": "r1", "scale": "realism", "value": 2}\n', encoding="utf-8")
    answers = (sys.executable, "-c", "print(input() and input().split(': ')[1].split(', ')[0])")
    options = {"rating_importer": {"path": ratings}, "llm_check": {"command": answers}}
    for (kind, _), offer in host.offers.items():
        check(offer.component(**options.get(kind, {})))


@each_hook
def test_every_hook_has_a_built_in_with_a_test(hook: str) -> None:
    """A hook is a promise for years: it ships with a component that uses it, and that component has a test."""
    folder = FOLDERS[hook]
    components = [p for p in (ROOT / "plugins" / folder).glob("*.py") if p.name != "__init__.py"]
    assert components
    assert f"def {hook}(" in (ROOT / "plugins" / folder / "__init__.py").read_text(encoding="utf-8")
    tested = {p.name for p in (ROOT / "tests" / "plugins" / folder).glob("test_*.py")}
    assert {f"test_{p.name}" for p in components if not p.name.startswith("_")} <= tested


def test_the_manual_shows_the_example_distribution() -> None:
    """The first page of the manual is the example that the tests install, to the letter."""
    assert _blocks(MANUAL, "toml")[0] == (SHARPNESS / "pyproject.toml").read_text(encoding="utf-8")
    assert _blocks(MANUAL, "python")[0] == (SHARPNESS / "harness_sharpness.py").read_text(encoding="utf-8")


def test_every_link_leads_somewhere() -> None:
    """Relative links of all documents exist."""
    links = [
        (document, target)
        for document in DOCUMENTS
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
        if not target.startswith(("http://", "https://", "mailto:"))
    ]
    broken = [f"{document.relative_to(ROOT)}: {target}" for document, target in links if not (document.parent / target).exists()]
    assert broken == []


def test_every_make_target_that_is_named_exists() -> None:
    """`make X` in a document is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = {m for d in DOCUMENTS for m in re.findall(r"(?:^|`)make ([a-z-]+)", d.read_text(encoding="utf-8"), flags=re.MULTILINE)}
    assert named <= targets


def _commands() -> list[str]:
    texts = [document.read_text(encoding="utf-8") for document in DOCUMENTS]
    typed = [line for text in texts for block in _blocks(text, "console") for line in block.splitlines()]
    quoted = [quote for text in texts for quote in re.findall(r"`(harness [^`\n]+)`", text)]
    return sorted({m[1] for line in (*typed, *quoted) if (m := re.match(r"harness ([a-z]+)\b", line))})


@pytest.mark.parametrize("command", _commands())
def test_every_command_that_is_named_exists(command: str) -> None:
    """`harness X` in a document is a command with help."""
    done = CliRunner().invoke(app, [command, "--help"])
    assert done.exit_code == 0, done.output
    assert "Usage" in done.output


def _queries() -> list[str]:
    texts = [document.read_text(encoding="utf-8") for document in DOCUMENTS]
    return sorted({query for text in texts for query in re.findall(r'harness sql "([^"]+)"', text)})


@pytest.mark.parametrize("query", _queries())
def test_every_query_that_is_shown_can_be_asked(query: str, tmp_path: Path) -> None:
    """A query of a document names views and columns that a results file has."""
    store = Store(tmp_path / "results.duckdb")
    store.begin_attempt("example-00000000-00000000", "0" * 64, datetime(2026, 1, 1, tzinfo=UTC))
    assert store.query(query).to_csv().count(",") > 1


def test_the_sample_model_of_the_readme_is_accepted() -> None:
    """The model.yaml that the README shows fits the models and the committed schema, so a reader may start from it."""
    sample = next(block for block in _blocks(README, "yaml") if block.startswith("audit:"))
    body = YAML(typ="safe", pure=True).load(sample)

    AuditSpec.model_validate(body)
    jsonschema.validate(body, json.loads((ROOT / "schemas" / "audit.schema.json").read_text(encoding="utf-8")))
