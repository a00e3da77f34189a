"""The example audits can be carried out: every model.yaml fits the installed components and itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness import specfile
from harness.checks import assemble
from harness.host import Host

AUDITS = Path(__file__).parents[1] / "audits"
FILES = sorted(AUDITS.glob("*/*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_example_fits_the_components(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No component is missing, no option unknown, and no criterion asks for what is not there; the README names the file."""
    for variable in ("HARNESS_TEST_DATA", "BUSBRA"):
        monkeypatch.setenv(variable, str(tmp_path))
    (tmp_path / "mammo_mcgan" / "synthetic_a").mkdir(parents=True)
    # What a generator reads must be there, and the images of the examples are made by a command of their README.
    folder = shutil.copytree(file.parent, tmp_path / "audit", ignore=shutil.ignore_patterns("out", "data"))
    (folder / "data" / "train").mkdir(parents=True)
    # So must what readers and models said, which comes from a study that the README builds.
    (folder / "study").mkdir()
    for name in ("key.json", "model_answers.jsonl"):
        (folder / "study" / name).write_text("{}")
    parts = assemble(specfile.read(folder / file.name), Host.discover())
    assert parts.generator is not None
    assert file.name in (file.parent / "README.md").read_text(encoding="utf-8")


def test_generators_compared_have_one_plan() -> None:
    """The three files differ in nothing that is locked, so that their audits can be compared."""
    plans = [specfile.read(AUDITS / "generators_compared" / f"{name}.yaml").spec.plan() for name in ("ddpm", "gan", "vae")]
    assert plans[0] == plans[1] == plans[2]
