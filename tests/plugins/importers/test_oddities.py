"""What looks odd in ratings is said and nothing is changed."""

from __future__ import annotations

from typing import Any

from harness.api import Rating
from harness_plugins.importers.oddities import oddities


def ratings(values: list[str], **fields: Any) -> list[Rating]:
    """Return ratings of items 0, 1, ... by one rater."""
    base: dict[str, Any] = {"rater": "r1", "scale": "s"} | fields
    return [Rating(item=str(k), value=value, source=f"f.csv:{k + 2}", **base) for k, value in enumerate(values)]


def test_groups_that_everybody_rates_alike() -> None:
    """Anchors whose value is fixed are named; items told apart by their truth are not."""
    free = [*ratings(list("1234") * 5, facts={"code": "A", "truth": "x"}), *ratings(list("4321") * 5, rater="r2", facts={"code": "A"})]
    fixed = [*ratings(["5"] * 20, facts={"code": "B", "truth": "y"}), *ratings(["5"] * 20, rater="r2", facts={"code": "B"})]
    found = oddities([*free, *fixed])
    assert found["s: code B"] == "all 40 ratings by 2 raters are 5: they look given by the form, not rated, and raise agreement"
    assert "s: code A" not in found
    assert "s: truth y" not in found


def test_values_that_one_rater_alone_uses() -> None:
    """A rater on a scale of his own stands out, one with a single value of his own does not."""
    found = oddities([*ratings(list("12345") * 4), *ratings(["10", "20", "30", "40"] * 5, rater="r2")])
    assert found["s: rater r2"] == "20 of 20 ratings have values that no other rater uses: 10, 20, 30, 40"
    assert "s: rater r2" not in oddities([*ratings(list("12345") * 4), *ratings(["6"] * 20, rater="r2")])


def test_a_value_that_occurs_once() -> None:
    """One 6 among many ratings from 1 to 5 is named with its line; among few ratings it is not."""
    assert oddities(ratings([*list("12345") * 30, "6"]))["s: value 6"].startswith("6 occurs once among 151 ratings (f.csv:152)")
    assert oddities(ratings([*list("12345"), "6"])) == {}


def test_names_that_differ_only_in_case() -> None:
    """Raters R1 and r1 are two raters, which is said."""
    found = oddities([*ratings(["a"]), *ratings(["a"], rater="R1")])
    assert found["raters"] == "R1 and r1: names that differ only in case or spaces are different raters"


def test_free_text_is_not_compared() -> None:
    """Texts are all different, which is nothing odd."""
    assert oddities(ratings([*["x"] * 150, "y"]), frozenset({"s"})) == {}


def test_what_has_no_value_is_counted() -> None:
    """Reasons are counted, the first places named."""
    found = oddities([Rating(item="1", rater="r", scale="s", value=None, status="missing", reason="empty", source="f.csv:2")])
    assert found == {"s: missing": "1 of 1 ratings are missing: empty (1); at 2"}
