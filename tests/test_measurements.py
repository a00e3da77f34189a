"""How measured values are arranged for the reader."""

from __future__ import annotations

from typing import Any

from harness.content import count_standouts
from harness.measurements import FAMILIES, LEVELS, blanks, by_family, by_stratum, methods, standing_out, tasks_within
from harness.records import ComponentRow, ImageScoreRow, ScoreRow


def score(component: str, quantity: str, **changes: Any) -> ScoreRow:
    """Return a measured value."""
    given = {"value": 1.0, "n": 10, "better": "lower"} | changes
    return ScoreRow(cell="c", stage="measure", component=component, quantity=quantity, **given)


def metric(name: str, **families: str) -> ComponentRow:
    """Return a metric that promises quantities of these families."""
    promises = {"quantities": [{"name": q, "family": family} for q, family in families.items()]}
    return ComponentRow(kind="metric", name=name, options={}, distribution="d", version="1", promises=promises)


def test_values_stand_under_their_family() -> None:
    """Families come in one order; strata and missing values stand elsewhere."""
    rows = [score("m", "copies"), score("m", "far"), score("x", "unknown"), score("m", "far", stratum="label=0"),
            score("m", "far", value=None, status="not_computable", reason="r")]  # fmt: skip
    found = by_family(rows, [metric("m", copies="memorisation", far="distance")])
    assert [title for title, _ in found] == [FAMILIES["distance"], FAMILIES["memorisation"], FAMILIES["other"]]
    assert [[row.quantity for row in group] for _, group in found] == [["far"], ["copies"], ["unknown"]]


def test_strata_are_columns() -> None:
    """One row per quantity and extractor, one column per level; a level without a value is None; wide groups are cut."""
    rows = [score("m", "far", stratum=f"site={k}", n=10 + k) for k in range(LEVELS + 1)] + [score("m", "near", stratum="site=1")]
    first, second = by_stratum(rows)
    assert (first.name, first.levels) == ("site", tuple((str(k), 10 + k) for k in range(LEVELS)))
    assert [row.quantity for row, _ in first.rows] == ["far", "near"]
    assert [value is None for value in first.rows[1][1]] == [True, False, True, True]
    assert second.levels == ((str(LEVELS), 10 + LEVELS),)
    assert len(second.rows) == 1


def test_quantities_are_ranked_by_the_share_beyond_real_images() -> None:
    """The share has its exact interval, and the worst image its name."""
    common = {"cell": "c", "component": "m", "real_median": 0.0, "real_high": 1.0, "n_real": 20}
    values = {"a": [0.5, 2.0, 0.1, 0.2], "b": [3.0, 9.0, 0.0, 2.0]}
    rows = [
        ImageScoreRow(**common, quantity=quantity, item=f"i{k}", value=x, excess=x)
        for quantity, found in values.items()
        for k, x in enumerate(found)
    ]
    (worst, interval), (other, _) = standing_out(count_standouts(rows))
    assert (worst.quantity, worst.beyond, worst.n, worst.item) == ("b", 3, 4, "i1")
    assert interval.low < 0.75 < interval.high
    assert (other.quantity, other.beyond) == ("a", 1)


def test_what_has_no_value_is_grouped_by_reason() -> None:
    """One line for each reason, with every quantity, extractor and stratum that it holds for."""
    gone = {"value": None, "status": "not_computable"}
    rows = [
        score("m", "a", extractor="x", stratum="label=0", reason="too few", **gone),
        score("m", "b", extractor="x", reason="too few", **gone),
        score("m", "c", reason="no masks", **gone),
        score("m", "d"),
    ]
    first, second = blanks(rows)
    assert (first.quantities, first.extractors, first.strata, first.reason) == (("m.a", "m.b"), ("x",), ("label=0",), "too few")
    assert (second.quantities, second.extractors, second.strata) == (("m.c",), (), ())


def test_ways_of_making_intervals_are_counted() -> None:
    """Binomial intervals are one way, whatever their counts."""
    rows = [score("m", "a", ci_method=f"exact binomial, {k} of 10") for k in range(3)] + [score("m", "b", ci_method="t")]
    assert methods(rows) == [("exact binomial", 3), ("t", 1)]


def test_tasks_stand_by_stratum() -> None:
    """The first quantity of a task: its value on real images alone and its gain elsewhere, the whole set first, classes by name."""

    def row(quantity: str, synthetic: float, stratum: str = "", **more: Any) -> ScoreRow:
        given = {"value": 0.5, "n": 9, "tested_on": "real", "real_share": 1.0, "synthetic_share": synthetic} | more
        return ScoreRow(cell="c", stage="evaluate", component="net", quantity=quantity, better="higher", stratum=stratum, **given)

    promises = {"quantities": [{"name": "dice"}, {"name": "hd95"}]}
    task = ComponentRow(kind="task", name="net", options={}, distribution="d", version="1", promises=promises)
    rows = [row(q, s, stratum) for q in ("dice", "hd95", "dice_gain") for s in (0.0, 1.0) for stratum in ("label=1", "", "label=0")]
    rows += [row("dice", 0.0, tested_on="synthetic"), row("dice", 0.0, region="core")]

    found = tasks_within(rows, [task], ["benign", "malignant"])
    assert [(f.quantity, f.mix) for f in found] == [("dice", (1.0, 0.0)), ("dice_gain", (1.0, 1.0))]
    assert [name for name, _ in found[0].rows] == ["all images", "benign", "malignant"]
    assert tasks_within([r for r in rows if not r.stratum], [task]) == []
