"""The rows of a results file that must not depend on how a run went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.store import Store

TABLES = ("image_sets", "planned_cells", "scores", "case_scores", "ratings", "judge_calls", "reliability", "qualifications", "responses",
          "trust", "criteria", "verdicts", "findings", "pictures", "components")  # fmt: skip


def everything(store: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows by table, sorted; ledger, attempts, cached and timings aside."""
    opened = Store(store)
    queries = {name: f"from {name}" for name in TABLES} | {"cells": "select * exclude (seconds, peak_mb, cached) from cells"}
    return {name: sorted(opened.query(sql).rows, key=repr) for name, sql in queries.items()}
