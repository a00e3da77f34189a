"""Prints how long a batch of 5,000 scores takes to append, against row-by-row inserts of a tenth of them in one connection."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import duckdb

from harness.records import ScoreRow
from harness.store import Store

ROWS = 5000


def main() -> None:
    """Measure both in one run and print the ratio per row."""
    rows = [
        ScoreRow(cell="k", stage="measure", component="c", quantity="q", value=n / 3, ci_low=0.1, ci_high=0.2, repeat=n)
        for n in range(ROWS)
    ]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "batch.duckdb")
        store.append("a-00000000-00000000", rows[:1])
        began = time.perf_counter()
        store.append("a-00000000-00000000", rows)
        batch = (time.perf_counter() - began) / ROWS
        connection = duckdb.connect(str(Path(folder) / "single.duckdb"))
        connection.execute("create table scores (component varchar, quantity varchar, repeat bigint, value double)")
        began = time.perf_counter()
        for row in rows[: ROWS // 10]:
            connection.execute("insert into scores values (?, ?, ?, ?)", [row.component, row.quantity, row.repeat, row.value])
        single = (time.perf_counter() - began) / (ROWS // 10)
    print(f"append of {ROWS} scores: {batch * 1e6:.0f} us a row, all columns and checks; single inserts of four columns are "
          f"{single / batch:.1f} times as slow")  # fmt: skip


if __name__ == "__main__":
    main()
