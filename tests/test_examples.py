"""A stranger's metric and perturbation as distributions of their own: built, installed in an environment, listed, used, reported."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.dossier import collect, html
from harness.phantoms import phantoms, write_phantoms
from harness.store import Store

pytestmark = pytest.mark.xdist_group("examples")  # the environment is made once
EXAMPLES = Path(__file__).parent / "examples"
MODEL = """
audit: sharpness
seed: 7
data: {train: data/train, test: data/test, spacing_mm: [1.2, 1.2], labels: folder}
generator: {folder: {path: data/synthetic}}
samples: 24
metrics: [sharpness]
intervals: {half_samples: 10, floor_splits: 4}
purposes:
  look-alike:
    context_of_use: Shows that a stranger's metric is measured, judged and reported
    uses_model: false
    criteria:
      - {id: C1, claim: Synthetic images are as sharp as real ones, quantity: sharpness.gap, at_most: 0.5, because: an example}
"""


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory, new_environment: Callable[..., Path]) -> Path:
    """Return the python of an environment in which harness-sharpness and harness-streaks are installed from their own wheels."""
    folder = tmp_path_factory.mktemp("stranger")
    wheels = []
    for name in ("harness-sharpness", "harness-streaks"):
        source = folder / name
        source.mkdir()
        for file in (EXAMPLES / name).iterdir():
            if file.is_file():
                (source / file.name).write_bytes(file.read_bytes())
        _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", source, cwd=folder)
        wheels.append(next((source / "dist").glob("*.whl")))
    python = new_environment(folder / "environment", with_harness=True)
    _run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-compile",
        *wheels,
        cwd=folder,
    )
    return python


def _run(*command: str | Path, cwd: Path, codes: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in codes, done.stdout + done.stderr
    return done.stdout


def test_a_strangers_metric_is_listed(stranger: Path, tmp_path: Path) -> None:
    """`harness plugins` names the metric, its version and the distribution that it came with."""
    listed = _run(stranger, "-m", "harness.cli", "plugins", cwd=tmp_path).splitlines()
    line = next(line for line in listed if "sharpness" in line)
    assert "metric" in line
    assert "0.1" in line
    assert "harness-sharpness" in line


def test_a_strangers_metric_is_explained(stranger: Path, tmp_path: Path) -> None:
    """`harness plugins show` prints what the author wrote and what the metric promises."""
    shown = _run(stranger, "-m", "harness.cli", "plugins", "show", "metric", "sharpness", cwd=tmp_path)
    assert "0 is equally sharp" in " ".join(shown.split())
    assert "gap" in shown


@pytest.mark.slow
def test_a_strangers_metric_is_in_the_scores_and_in_the_dossier(stranger: Path, tmp_path: Path) -> None:
    """An audit that names the metric stores its score and renders a dossier that names it and its distribution."""
    pikepdf = pytest.importorskip("pikepdf")
    for arm, n, seed in (("train", 36, 1), ("test", 36, 2), ("synthetic", 24, 3)):
        write_phantoms(tmp_path / "data" / arm, replace(phantoms(n, seed=seed, prefix=arm[:2]), masks=None))
    (tmp_path / "model.yaml").write_text(MODEL, encoding="utf-8")
    store = tmp_path / "results.duckdb"
    _run(stranger, "-m", "harness.cli", "audit", "model.yaml", "--store", store, cwd=tmp_path, codes=(0, 1, 3))

    query = "select component, quantity, status from scores where component = 'sharpness' and stage = 'measure'"
    rows = _run(stranger, "-m", "harness.cli", "sql", query, "--store", store, "--format", "csv", cwd=tmp_path)
    assert "sharpness,gap,ok" in rows

    found = list(tmp_path.rglob("*.pdf"))
    assert len(found) == 1
    with pikepdf.open(found[0]) as dossier:
        attached = b"".join(item.get_file().read_bytes() for item in dossier.attachments.values())
    assert b"harness-sharpness" in attached


@pytest.mark.slow
def test_a_strangers_perturbation_takes_part_in_the_battery_and_the_heat_map(stranger: Path, tmp_path: Path) -> None:
    """`harness qualify` plants the streaks, says who notices them, and draws them in a dossier."""
    pikepdf = pytest.importorskip("pikepdf")
    write_phantoms(tmp_path / "real", replace(phantoms(200, seed=1, size=32, prefix="tr"), masks=None))
    data = "{labels: folder, spacing_mm: [1.0, 1.0]}"
    _run(
        stranger, "-m", "harness.cli", "qualify", tmp_path / "real", "--perturbation", "{streaks: {dose_of_concern: 1.0, because: a test}}",
        "--metric", "sharpness",
        "--metric", "spectrum", "--data", data, "--workers", "0", "--quiet", cwd=tmp_path, codes=(0,),
    )  # fmt: skip
    store = tmp_path / "out" / "results.duckdb"
    query = "select component, failure_mode, outcome from qualifications where perturbation = 'streaks' order by all"
    rows = _run(stranger, "-m", "harness.cli", "sql", query, "--store", store, "--format", "csv", cwd=tmp_path)
    assert "sharpness,artefact" in rows
    assert "spectrum,artefact,qualified" in rows

    found = list((tmp_path / "out").glob("*.pdf"))
    assert len(found) == 1
    with pikepdf.open(found[0]) as dossier:
        attached = b"".join(item.get_file().read_bytes() for item in dossier.attachments.values())
    assert b"harness-streaks" in attached
    opened = Store(store)
    page = html(collect(opened, opened.audits()[0]))
    assert '<table class="heat"' in page
    assert "Streaks" in page
