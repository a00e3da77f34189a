"""What a dossier is drawn from: read from a store, ordered, and attached."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fabricated_audit import START, content_of

from harness.content import Disputed, attachments, collect, count_ratings, document_digest, list_disputes, ordered
from harness.errors import HarnessError
from harness.records import OutcomeRow, RatingRow


class Shelf:
    """Hands out the rows of one fabricated audit as a store would."""

    def __init__(self, rows: tuple[Any, ...]) -> None:
        self.held = rows

    def rows(self, kind: type[Any], audit_id: str) -> list[Any]:
        """All rows of a kind."""
        return [row for row in self.held if isinstance(row, kind)]

    current = rows


def rating(rater: str, item: str, status: str = "ok") -> RatingRow:
    """One fabricated rating."""
    return RatingRow(
        cell="k",
        item=item,
        rater=rater,
        rater_kind="expert",
        scale="realism",
        value=None,
        text="real",
        status=status,
        reason="" if status == "ok" else "blank",
        occasion="1",
        seconds=None,
        source="x.csv:1",
    )


def test_collect_reads_the_rows_of_one_audit() -> None:
    """Every list comes from its table; ratings are counted, not listed."""
    content = content_of()
    held = [r for name, rows in vars(content).items() if isinstance(rows, tuple) and name != "ratings" for r in rows]
    read = collect(Shelf((content.audit, *held, rating("a", "1"), rating("b", "1"), rating("b", "2", "unusable"))), content.audit_id)
    assert replace(read, ratings=content.ratings, disputes=content.disputes) == content
    assert [(c.raters, c.items, c.ratings, c.unusable) for c in read.ratings] == [(2, 2, 3, 1)]


def test_ratings_that_cannot_be_used_are_counted_by_reason_and_rater() -> None:
    """Status and reason with their number; who answered fewer than half of the items is named."""
    rows = [rating("a", str(k)) for k in range(4)] + [rating("b", "0"), rating("b", "1", "unusable"), rating("b", "2", "unusable")]
    found = count_ratings(rows)[0]
    assert found.lost == (("unusable: blank", 2),)
    assert found.sparse == ("b",)


def test_disputes_are_items_with_several_answers_or_one_that_is_wrong() -> None:
    """The first answer of each expert counts; unusable ones and numbers do not."""
    wrong = {"facts": {"truth": "synthetic"}}
    rows = [
        rating("a", "1"), rating("b", "1").model_copy(update={"text": "synthetic"}), rating("a", "2"), rating("b", "2"),
        rating("a", "3").model_copy(update=wrong), rating("a", "2").model_copy(update={"occasion": "2", "text": "synthetic"}),
        rating("c", "2", "unusable").model_copy(update={"text": "synthetic"}),
    ]  # fmt: skip
    assert list_disputes(rows) == (
        Disputed("realism", "1", "", (("a", "real"), ("b", "synthetic"))), Disputed("realism", "3", "synthetic", (("a", "real"),)),
    )  # fmt: skip


def test_an_unknown_audit_says_how_to_list_the_known_ones() -> None:
    """The error tells what to do."""
    with pytest.raises(HarnessError, match="from audits"):
        collect(Shelf(()), "nothing")


def test_no_ratings_give_no_counts() -> None:
    """Nothing is counted where nothing was rated."""
    assert count_ratings([]) == ()


def test_issue_date_is_the_end_of_the_last_attempt() -> None:
    """The date never comes from the clock of whoever renders."""
    content = content_of()
    later = OutcomeRow(attempt=2, finished_at=START + timedelta(days=3))
    assert replace(content, outcomes=(later, *content.outcomes)).issued == later.finished_at
    assert replace(content, outcomes=()).issued == max(row.at for row in content.ledger)
    assert replace(content, outcomes=(), ledger=()).issued == START


def test_a_second_run_with_the_same_results_keeps_their_digest() -> None:
    """Times, attempts and memory are in run.json; results.json and verdicts.json do not change with them."""
    content = ordered(content_of())
    cells = tuple(c.model_copy(update={"seconds": 99.0, "peak_mb": 1.0, "cached": True}) for c in content.cells)
    outcomes = (*content.outcomes, OutcomeRow(attempt=2, finished_at=START + timedelta(days=3)))
    first, second = attachments(content), attachments(replace(content, cells=cells, outcomes=outcomes))
    assert {name for name in first if first[name] != second[name]} == {"run.json"}
    assert document_digest(first) != document_digest(second)


def test_replicates_of_the_battery_are_attached_as_lists() -> None:
    """All values of the battery are in results.json, without a row each; pictures are there by digest."""
    content = ordered(content_of())
    body = json.loads(attachments(content)["results.json"].body)
    battery = [s for s in content.scores if s.stage in ("null", "qualify")]
    assert sum(len(group["values"]) for group in body["replicates"]) == len(battery) > 0
    assert len(body["scores"]) == len(content.scores) - len(battery)
    assert all("png" not in row and len(row["png_sha256"]) == 64 for row in body["pictures"])


def test_responses_are_attached_as_curves() -> None:
    """Every response of the battery is in results.json, one entry per quantity and defect, severities rising."""
    content = content_of()
    entries = json.loads(attachments(ordered(replace(content, responses=content.responses[::-1])))["results.json"].body)["responses"]
    assert sum(len(entry["mean"]) for entry in entries) == len(content.responses) > 0
    assert all(entry["severity"] == [0.0, 0.25, 0.5, 1.0] for entry in entries)
    first = next(r for r in content.responses if r.severity == 1.0)
    (entry,) = [e for e in entries if all(e[k] == getattr(first, k) for k in ("component", "quantity", "extractor", "perturbation"))]
    assert (entry["response"][-1], entry["failure_mode"]) == (first.response, first.failure_mode)


def test_image_sets_come_in_the_order_of_their_use() -> None:
    """train, test, synthetic: not the alphabet."""
    content = content_of()
    assert [s.role for s in ordered(replace(content, image_sets=content.image_sets[::-1])).image_sets] == ["train", "test", "synthetic"]


def test_a_plan_of_another_version_is_the_users_turn() -> None:
    """A stored plan that no longer validates names the version that wrote it."""
    content = content_of()
    audit = content.audit.model_copy(update={"spec": {"audit": "x"}})
    with pytest.raises(HarnessError, match=r"render it with harness 0\.1\.0"):
        _ = replace(content, audit=audit).spec
