"""The data dictionary: `schemas/README.md` from the comments in the schema itself.

`python -m harness.dictionary > schemas/README.md` writes it; a test fails where it is stale.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from .store import SCHEMA_VERSION, Store

EXAMPLE = " Example: "
INTRODUCTION = f"""\
# The results file

Every audit appends its results to one DuckDB file; one file may hold many audits, told apart by `audit_id`. This page is its
data dictionary (schema {SCHEMA_VERSION}), generated from the comments in `results.sql` by
`python -m harness.dictionary > schemas/README.md`.

- Query it with `harness sql "from adequacy"`, while an audit runs too. A query is one DuckDB statement that reads.
- The **views** are the documented surface: they keep their columns, and show only the plan in force. Tables also hold the rows
  of superseded plans.
- **NULL** means that there is none; the meaning of the column says when. Empty text means that the column does not apply.
- Rows are only ever added. No number is ever NaN or infinite. Where there is no value, `status` is not `ok` and `reason`
  says why.
- Times are UTC. `sha256` columns are 64 hex digits.
"""


def dictionary() -> str:
    """Return the data dictionary in Markdown: the views with an example each, then the tables."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "results.duckdb")
        store.append("", [])
        columns = store.query(
            "SELECT table_name, column_name, data_type, is_nullable, comment FROM duckdb_columns() "
            "WHERE NOT internal ORDER BY table_name, column_index"
        ).rows
        views = store.query("SELECT view_name, comment FROM duckdb_views() WHERE NOT internal ORDER BY view_name").rows
        tables = store.query("SELECT table_name, comment FROM duckdb_tables() WHERE NOT internal ORDER BY table_name").rows
    parts = [INTRODUCTION, "## Views\n"]
    for name, comment in views:
        text, _, example = comment.partition(EXAMPLE)
        lines = [f"| {column} | {kind} | {_cell(why)} |" for table, column, kind, _, why in columns if table == name]
        heading = f"### {name}\n\n{text}\n\n```sql\n{example}\n```\n"
        parts.append("\n".join([heading, "| column | type | meaning |", "|---|---|---|", *lines, ""]))
    parts.append("## Tables\n\n`NULL` in the column *may be* says that the value may be missing.\n")
    for name, comment in tables:
        lines = [
            f"| {column} | {kind} | {'NULL' if optional else ''} | {_cell(why)} |"
            for table, column, kind, optional, why in columns
            if table == name
        ]
        heading = f"### {name}\n\n{comment}\n"
        parts.append("\n".join([heading, "| column | type | may be | meaning |", "|---|---|---|---|", *lines, ""]))
    return "\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(dictionary())
