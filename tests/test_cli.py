"""The commands as a user types them: what they print, what they refuse, how they exit."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from harness import cli, specfile
from tiny_audit import MODEL, Project, copy_project


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    """Run the command line in this process; return exit code, output and error output."""
    monkeypatch.setattr(sys, "argv", ["harness", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


@pytest.fixture(scope="module")
def audited(made_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project whose audit is done, with its store and dossier in out/."""
    project = copy_project(made_images, tmp_path_factory.mktemp("audited") / "project")
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", "audit", str(project.model), "--workers", "0"], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1, 3), done.stderr
    (project.folder / "stdout.txt").write_text(done.stdout, encoding="utf-8")
    return project


def test_an_audit_says_its_verdict_and_where_everything_is(audited: Project) -> None:
    """The purpose with its verdict and reason, each criterion with its status, the dossier and the results file."""
    text = (audited.folder / "stdout.txt").read_text(encoding="utf-8")

    assert text.startswith("augment: ")
    assert "  C1 " in text
    assert all((audited.folder / "out" / name).exists() for name in ("results.duckdb", "cache"))
    assert len(list((audited.folder / "out").glob("tiny-*.pdf"))) == 1


def test_a_report_is_rendered_again_byte_for_byte(
    audited: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`harness report` draws from the store alone, twice the same bytes as the audit drew."""
    first = next((audited.folder / "out").glob("tiny-*.pdf")).read_bytes()
    alone = audited.folder / "elsewhere"
    alone.mkdir()
    shutil.copy(audited.folder / "out" / "results.duckdb", alone / "results.duckdb")

    code, out, _ = run(capsys, monkeypatch, "report", "tiny", "--store", str(alone / "results.duckdb"))

    assert code == 0
    assert Path(out.strip()).read_bytes() == first


def test_sql_prints_table_csv_and_json(audited: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Three forms of one answer; a change of the file is refused with exit code 2."""
    store = str(audited.folder / "out" / "results.duckdb")
    query = "select criterion, status from adequacy"

    _, table, _ = run(capsys, monkeypatch, "sql", query, "--store", store)
    _, as_csv, _ = run(capsys, monkeypatch, "sql", query, "--store", store, "--format", "csv")
    _, as_json, _ = run(capsys, monkeypatch, "sql", query, "--store", store, "--format", "json")
    code, _, err = run(capsys, monkeypatch, "sql", "delete from cells", "--store", store)

    assert "criterion" in table
    assert next(csv.reader(io.StringIO(as_csv))) == ["criterion", "status"]
    assert json.loads(as_json)[0]["criterion"] == "C1"
    assert code == 2
    assert err


def test_a_plan_counts_cells_and_locks(project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is computed; what cannot be met is said; --lock writes the ledger."""
    purposes = json.loads(json.dumps(MODEL["purposes"]))
    purposes["augment"]["criteria"][0]["failure_modes"] = ["blur"]
    project.write(purposes=purposes)

    code, out, _ = run(capsys, monkeypatch, "plan", str(project.model))
    assert code == 0
    assert "no perturbation plants blur" in out
    assert not (project.folder / "out" / "results.duckdb").exists()

    code, out, _ = run(capsys, monkeypatch, "plan", str(project.model), "--lock")
    assert "the plan is locked" in out
    code, out, _ = run(capsys, monkeypatch, "sql", "select event from ledger", "--store", str(project.folder / "out" / "results.duckdb"))
    assert "locked" in out


def test_plugins_are_listed_and_explained(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Kind, name, version, distribution; one component with its promises, options and docstring."""
    code, out, _ = run(capsys, monkeypatch, "plugins")
    assert code == 0
    assert any(line.split()[:4] == ["metric", "frechet", "1", "audit-harness"] for line in out.splitlines())

    code, out, _ = run(capsys, monkeypatch, "plugins", "show", "metric", "manifold")
    assert code == 0
    assert "promises  manifold.recall" in out
    assert "option    k: int, default 5" in out

    code, _, err = run(capsys, monkeypatch, "plugins", "show", "metric", "manifolds")
    assert (code, "did you mean manifold?" in err) == (2, True)


def test_init_writes_a_model_that_runs(made_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """The commented file is accepted by plan as it is, and is not replaced unasked."""
    folder = tmp_path / "mine"
    shutil.copytree(made_images, folder, ignore=shutil.ignore_patterns("model.yaml"))

    code, _, err = run(capsys, monkeypatch, "init", str(folder))
    assert code == 0, err
    assert "#" in (folder / "model.yaml").read_text(encoding="utf-8")
    code, _out, err = run(capsys, monkeypatch, "plan", str(folder / "model.yaml"))
    assert code == 0, err
    code, _, err = run(capsys, monkeypatch, "init", str(folder))
    assert code == 2
    assert "--force" in err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("audit", "nowhere.yaml"), "there is no such file"),
        (("sql", "from adequacy", "--store", "nowhere.duckdb"), "there is no results file"),
        (("report", "x", "--store", "nowhere.duckdb"), "there is no results file"),
        (("plugins", "show", "metrics", "x"), "there is no kind 'metrics'"),
        (("audit",), "Missing argument"),
        (("audit", "a.yaml", "--worker", "2"), "No such option"),
    ],
)
def test_mistakes_exit_2_with_words(words: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str],
                                    monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """A mistake of the user is a sentence on standard error, never a traceback."""
    code, _, err = run(capsys, monkeypatch, *words)

    assert code == 2
    assert expected in err
    assert "Traceback" not in err


def test_a_bug_exits_4_with_its_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw shows itself."""

    def broken(path: Path) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(specfile, "read", broken)
    code, _, err = run(capsys, monkeypatch, "plan", "model.yaml")

    assert code == 4
    assert "RuntimeError: unforeseen" in err


@pytest.mark.parametrize("words", [("schema",), ("schema", "ratings")])
def test_the_committed_schemas_are_fresh(words: tuple[str, ...], root: Path, capsys: pytest.CaptureFixture[str],
                                         monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """schemas/*.json are what the installed components give; `make schemas` writes them."""
    _, out, _ = run(capsys, monkeypatch, *words)
    committed = root / "schemas" / f"{words[-1].replace('schema', 'audit')}.schema.json"

    assert json.loads(out) == json.loads(committed.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["quickstart/model.yaml", "quickstart/copying.yaml", "mammography_dcgan/model.yaml"])
def test_the_examples_fit_the_schema(name: str, root: Path) -> None:
    """An editor that uses the schema finds nothing wrong with the examples, and something with a misspelt name."""
    schema = json.loads((root / "schemas" / "audit.schema.json").read_text(encoding="utf-8"))
    body = YAML(typ="safe", pure=True).load((root / "audits" / name).read_text(encoding="utf-8"))

    jsonschema.validate(body, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body | {"metrics": ["frechett"]}, schema)
