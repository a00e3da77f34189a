"""A language model asked by an audit: every word is kept, a killed audit asks nothing twice, and the record replays it offline."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.records import JudgeCallRow, RatingRow, ReliabilityRow
from harness.store import Store
from misbehaving_server import Service, keys, says, serving
from tiny_audit import Project

SCALES: list[dict[str, Any]] = [{"name": "diagnosis", "categories": ["benign", "malignant"], "truth": "label", "question": "Which class?"}]
ITEMS = 8
ENDPOINT: dict[str, Any] = {"model": "tiny", "base_url_env": "LLM_URL", "wait_s": 0.001}


def rated_items(project: Project) -> list[str]:
    """Write ratings of eight synthetic images by two readers, and return the images' names."""
    folder = project.folder / "synthetic"
    found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png") if not p.stem.endswith("_mask"))
    items = [*found[: ITEMS // 2], *found[-ITEMS // 2 :]]
    lines = ["item,rater,scale,value", *(f"{item},{rater},diagnosis,{item.split('/')[0]}" for item in items for rater in ("R1", "R2"))]
    (project.folder / "ratings.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return items


def write(project: Project, check: dict[str, Any]) -> None:
    """Write a model.yaml that asks a language model about the rated images."""
    ratings = {"importers": [{"csv": {"path": "ratings.csv"}}], "llm_checks": [check], "scales": SCALES}
    purposes = {"p": {"context_of_use": "c", "uses_model": False}}
    project.write(ratings=ratings, perturbations=None, metrics=["frechet"], purposes=purposes)


def turns(number: int, body: dict[str, Any]) -> Any:
    """Answer benign and malignant by a digest of the image, whatever the order of the questions."""
    digest = hashlib.sha256(json.dumps(body["messages"]).encode()).digest()
    return says(json.dumps(dict.fromkeys(keys(body), ("benign", "malignant")[digest[0] % 2])))


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """Run a service that answers, and tell the check where."""
    with serving(turns) as running:
        monkeypatch.setenv("LLM_URL", running.url)
        yield running


def test_every_word_is_stored_and_the_record_replays_it(project: Project, service: Service) -> None:
    """Prompts hold digests in place of images; what `recorded_answers` prints gives the same numbers without a service."""
    rated_items(project)
    write(project, {"openai_compatible": ENDPOINT})
    asked = project.audit().run()
    store = Store(project.folder / "results.duckdb")
    calls = store.current(JudgeCallRow, asked)
    assert len(calls) == len(service.requests) == ITEMS
    assert all(call.reply and call.prompt_sha256 == hashlib.sha256(call.prompt.encode()).hexdigest() for call in calls)
    assert all("base64" not in call.prompt and len(call.prompt) < 5000 for call in calls)
    assert os.environ["LLM_URL"].encode() not in (project.folder / "results.duckdb").read_bytes()

    lines = store.query(f"select * exclude (audit_id) from recorded_answers where audit_id = '{asked}'").to_jsonl()
    (project.folder / "answers.jsonl").write_text(lines, encoding="utf-8")
    write(project, {"recorded": {"path": "answers.jsonl"}})
    replayed = project.audit().run()

    assert len(service.requests) == ITEMS
    numbers = [{_plain(row) for row in store.current(ReliabilityRow, audit)} for audit in (asked, replayed)]
    assert numbers[0] == numbers[1]
    assert any(name == "model" for name, *_ in numbers[0])


def _plain(row: ReliabilityRow) -> tuple[Any, ...]:
    return row.analysis, row.raters, row.items, row.statistic, row.category, row.value, row.ci_low, row.status


def test_a_killed_audit_asks_nothing_twice(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL while the fifth question is in flight: the same command asks that one again and the other three, and no more."""
    rated_items(project)
    write(project, {"openai_compatible": ENDPOINT | {"concurrency": 1}})
    held = threading.Event()
    program = "import sys; from harness.cli import main; sys.argv[0] = 'harness'; main()"
    command = [sys.executable, "-c", program, "audit", str(project.model), "--workers", "0", "--quiet", "--device", "cpu"]

    with serving(lambda number, body: says(json.dumps(dict.fromkeys(keys(body), "benign")), wait=held if number == 5 else 0.0)) as service:
        monkeypatch.setenv("LLM_URL", service.url)
        running = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        service.wait_for(5, timeout=120.0)
        running.send_signal(signal.SIGKILL)
        assert running.wait(30) == -signal.SIGKILL
        held.set()
        done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False, timeout=240)

    assert done.returncode in (0, 1, 3), done.stderr
    sent = [json.dumps(body["messages"]) for body in service.requests]
    assert len(sent) == ITEMS + 1
    assert sorted(sent.count(text) for text in set(sent)) == [1] * (ITEMS - 1) + [2]
    store = Store(_results(project))
    rows = [row for row in store.rows(RatingRow, store.audits()[0]) if row.rater_kind == "llm"]
    assert [row.status for row in rows] == ["ok"] * ITEMS


def _results(project: Project) -> Path:
    return project.folder / "out" / "results.duckdb"


def test_a_spent_budget_leaves_counted_rows(project: Project, service: Service) -> None:
    """Three calls were allowed: five images have a rating that says so, and count as disagreement."""
    rated_items(project)
    write(project, {"openai_compatible": ENDPOINT | {"budget_calls": 3}})
    audit = project.audit().run()
    store = Store(project.folder / "results.duckdb")

    assert len(service.requests) == 3
    rows = [row for row in store.current(RatingRow, audit) if row.rater_kind == "llm"]
    assert sorted(row.status for row in rows) == ["missing"] * (ITEMS - 3) + ["ok"] * 3
    assert {row.reason for row in rows if row.status == "missing"} == {"the budget of 3 calls was spent"}
    agreed = next(r for r in store.current(ReliabilityRow, audit) if (r.analysis, r.statistic) == ("model", "percent_agreement"))
    assert "5 of 8 items were not answered" in agreed.note


def test_what_was_answered_is_not_asked_again_for_another_budget_or_bound(project: Project, service: Service) -> None:
    """A larger budget asks the rest alone; other gates and another reader's file ask nothing."""
    rated_items(project)
    write(project, {"openai_compatible": ENDPOINT | {"budget_calls": 3}})
    project.audit().run()
    write(project, {"openai_compatible": ENDPOINT | {"budget_calls": ITEMS}})
    project.audit().run()
    assert len(service.requests) == ITEMS
    gates = {"gates": {"experts": {"percent_agreement": 0.5}, "because": "a test"}}
    purposes = {"p": {"context_of_use": "c", "uses_model": False}}
    ratings = {"importers": [{"csv": {"path": "ratings.csv"}}], "llm_checks": [{"openai_compatible": ENDPOINT | {"budget_calls": ITEMS}}],
               "scales": [SCALES[0] | gates]}  # fmt: skip
    project.write(ratings=ratings, perturbations=None, metrics=["frechet"], purposes=purposes)
    project.audit().run()
    with (project.folder / "ratings.csv").open("a", encoding="utf-8") as stream:
        stream.writelines(f"{item},R3,diagnosis,benign\n" for item in rated_again(project))
    project.audit().run()
    assert len(service.requests) == ITEMS


def rated_again(project: Project) -> list[str]:
    """Return the images that readers rated."""
    lines = (project.folder / "ratings.csv").read_text(encoding="utf-8").splitlines()[1:]
    return sorted({line.split(",")[0] for line in lines})
