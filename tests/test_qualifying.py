"""`harness qualify`: what it takes from a model.yaml or a folder, what it prints, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import specfile
from harness.dossier import collect, html
from harness.errors import HarnessError
from harness.qualifying import Asked, file_of, summary
from harness.records import QualificationRow
from harness.spec import Reference
from harness.store import Store
from tiny_audit import Project


def row(**changes: Any) -> QualificationRow:
    """A qualification of brightness under noise."""
    body: dict[str, Any] = {
        "cell": "c", "component": "frechet", "quantity": "fid", "extractor": "pixels", "perturbation": "blur", "failure_mode": "blur",
        "n": 40, "dose_of_concern": 0.5, "outcome": "qualified", "reason": "noticed",
    }  # fmt: skip
    return QualificationRow(**(body | changes))


def test_a_model_is_qualified_without_its_generator_and_purposes(project: Project) -> None:
    """What is left has a name of its own and the same data, metrics and battery."""
    project.write(tasks=None)
    file = file_of(project.model, Asked())

    assert (file.spec.audit, file.spec.generator, file.spec.purposes) == ("tiny-qualify", None, {})
    assert [m.name for m in file.spec.metrics] == ["frechet", "manifold", "memorisation"]
    assert file.spec.battery.null_splits == 24


def test_a_model_without_generator_is_enough(project: Project) -> None:
    """Neither generator, samples, purposes nor test images are needed; an audit of such a file is refused."""
    project.write(generator=None, samples=None, purposes=None, data={"train": "train", "window": [0, 255]})

    assert file_of(project.model, Asked()).spec.data.test is None
    with pytest.raises(HarnessError) as refused:
        specfile.read(project.model)
    lines = "\n".join(refused.value.lines())
    assert all(f"{place} is missing" in lines for place in ("generator", "purposes", "data.test"))
    assert "only `harness qualify` works without" in lines


def test_a_folder_is_qualified_by_what_the_command_line_says(project: Project) -> None:
    """The folder is the training set; suite, extractors and name are chosen."""
    asked = Asked(battery={"preset": "mri", "budget": "10m"}, data={"window": [0, 255]}, metrics=(Reference.model_validate("frechet"),))
    spec = file_of(project.folder / "train", asked).spec

    assert (spec.audit, spec.battery.preset, spec.battery.budget) == ("train-qualify", "mri", 600.0)
    assert [x.name for x in spec.extractors] == ["pixels", "random_conv"]


@pytest.mark.parametrize(("where", "asked", "said"), [
    ("nowhere", Asked(), "there is no such file or folder"),
    ("train", Asked(), "nothing is planted"),
    ("train", Asked(battery={"preset": "mri", "budget": "soon"}), "'soon' is no time: write 600, 90s, 10m or 2h"),
    ("model.yaml", Asked(seed=1), "a model.yaml says itself what is qualified"),
])  # fmt: skip
def test_what_cannot_be_carried_out_is_refused(project: Project, where: str, asked: Asked, said: str) -> None:
    """A missing place, no perturbation, a budget that is no time, and options beside a model.yaml, each in words."""
    project.write()
    with pytest.raises(HarnessError) as refused:
        file_of(project.folder / where, asked)
    assert said in "\n".join(refused.value.lines())


def test_the_summary_has_one_row_for_each_quantity_and_extractor() -> None:
    """Defects are sorted by outcome; harmless changes are no defects; the range of n is given."""
    rows = [
        row(), row(perturbation="duplication", outcome="reversed", n=20), row(perturbation="jpeg", outcome=None, n=None),
        row(perturbation="flip", failure_mode="harmless", outcome=None), row(perturbation="noise", outcome="conditional"),
        row(extractor="random_conv", outcome="not_qualified"),
    ]  # fmt: skip
    table = summary(rows)

    assert table.rows == [
        ("frechet.fid", "pixels", "20 to 40", "0 of 4", 1, "blur", "noise", "duplication"),
        ("frechet.fid", "random_conv", "40", "1 of 1", 0, "", "", ""),
    ]


def test_the_command_prints_a_table_and_draws_a_dossier_without_verdicts(project: Project) -> None:
    """A folder without test images: a share of its patients is set aside; the dossier has no purposes and no item."""
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", "qualify", "train", "--perturbation", "gaussian_noise", "--perturbation", "reorder",
         "--metric", "spectrum", "--data", "{labels: folder, patients: {pattern: 'P[0-9]+'}, window: [0, 255], masks: {suffix: _mask}}",
         "--workers", "0", "--quiet"],
        cwd=project.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "spectrum.log_distance" in done.stdout
    assert "gaussian_noise" in done.stdout
    store = Store(project.folder / "out" / "results.duckdb")
    audit_id = store.audits()[0]
    assert audit_id.startswith("train-qualify-")
    page = html(collect(store, audit_id))
    assert "no verdict" in page.lower()
    assert "Verdict by declared purpose" not in page
    assert len(list((project.folder / "out").glob("*.pdf"))) == 1
    sets = dict(store.query("select role, n from image_sets").rows)
    assert set(sets) == {"train", "test"}
    assert sum(sets.values()) == 96


def test_an_audit_uses_what_was_qualified_before(project: Project) -> None:
    """The cells of the battery are those of the audit: it finds them in the cache."""
    from harness.checks import assemble
    from harness.host import Host
    from harness.run import Audit, Settings

    project.write()
    file = file_of(project.model, Asked())
    host = Host.discover()
    settings = Settings(Path(project.folder / "results.duckdb"), project.folder / "cache", workers=0)
    screened = Audit(file, assemble(file, host), settings)
    screened.run()
    audit = project.audit(host)
    audit.run()
    query = f"select count(*) from cells where audit_id = '{audit.id}' and cached and stage in ('qualify', 'extract')"
    assert audit.store.query(query).rows[0][0] >= 2 + 3 + 2
