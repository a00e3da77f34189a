"""The audit of the auditor: a few of its simulated audits, where asked for, and the table that it prints."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from acceptance import operating_characteristics as simulation

ASKED = int(os.environ.get("HARNESS_SIMULATED_AUDITS", "0"))


@pytest.mark.acceptance
@pytest.mark.timeout(7200)
@pytest.mark.skipif(not ASKED, reason="HARNESS_SIMULATED_AUDITS says how many audits of each simulated generator to run; none")
@pytest.mark.parametrize("flaw", [flaw for flaw in simulation.FLAWS if flaw != "faithful"])
def test_no_flawed_generator_is_called_adequate(flaw: str) -> None:
    """A generator with a planted flaw that the purpose names is never called adequate."""
    found = [row["verdict"] for run in range(ASKED) for row in simulation.simulate([flaw], simulation.N, run)]
    assert not set(found) & set(simulation.ADEQUATE)


def line(flaw: str, run: int, verdict: str, **criteria: str) -> dict[str, Any]:
    """Return what a run leaves, with the status of each criterion."""
    return {
        "flaw": flaw, "n": simulation.N, "run": run, "verdict": verdict, "broken": [], "version": "1", "code": "c", "date": "2026-01-01",
        "design": simulation.design(simulation.N), "criteria": {name: {"status": status} for name, status in criteria.items()},
    }  # fmt: skip


def test_table_counts_verdicts_and_what_decided_them() -> None:
    """Each flaw has one row with its runs, the exact bound of the share called adequate, and the criteria that stood against it."""
    rows = [line("copies", run, "inadequate", copies="not_met", kinds="inconclusive") for run in range(60)]
    rows += [line("faithful", run, "adequate_with_conditions", copies="met") for run in range(19)]
    rows += [line("faithful", 19, "insufficient_evidence", copies="unqualified")]
    faithful, copies = simulation.table(rows).splitlines()[2:]
    assert copies.endswith("| 60 | 0 | 60 | 0 | 0%, at most 4.9% | copies not met 60 |")
    assert faithful.endswith("| 20 | 19 | 0 | 1 | 95%, at least 78.4% | copies unqualified 1 |")


def test_finished_runs_are_read_once_and_only_of_this_design(tmp_path: Path) -> None:
    """A line that a crash cut off, a line of another design and a second line of one run do not count."""
    whole = line("noise", 3, "inadequate", noise="not_met")
    lines = [json.dumps(whole), json.dumps(whole | {"design": "another"}), json.dumps(whole), json.dumps(whole)[:40]]
    (tmp_path / simulation.FILE).write_text("\n".join(lines), encoding="utf-8")
    assert simulation.finished(tmp_path, simulation.N) == [whole]


def test_every_run_has_real_images_of_its_own(tmp_path: Path) -> None:
    """Runs are independent: another number gives other training images; the generators of one run share theirs."""
    first, again, other = (simulation.write_real(tmp_path / name, 12, run).sha256 for name, run in (("a", 0), ("b", 0), ("c", 1)))
    assert first == again
    assert first != other
