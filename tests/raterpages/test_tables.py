"""The chapter on raters: every stored row is on the page once or counted, in the order and with the words that readers need."""

from __future__ import annotations

from typing import Any

import pytest

import fabricated_raters as made
from harness.content import Disputed, RatingCount
from harness.raterpages import answers as rateranswers
from harness.raterpages import tables as ratertables
from harness.raterpages.figures import Plot
from harness.raterpages.grids import NAMES, Grid, Sheet, cut, head, part_order, readers_first, who
from harness.raterpages.votes import calls_grid, together
from harness.readerspec import ScaleSpec
from harness.records import ReliabilityRow
from harness.wording import check

SCALES = [ScaleSpec.model_validate(scale) for scale in made.SCALES]
CLASS, CONFIDENCE, GRID, FINDINGS, SIZE = SCALES


def panels() -> dict[str, ratertables.Panel]:
    """The panels of the fabricated rows by scale."""
    chapter = ratertables.chapter(made.reliability(), made.consensus(), made.counts(), made.calls(), SCALES, made.disputes())
    return {panel.scale.name: panel for panel in chapter.panels}


PANELS = panels()


def grid(scale: str, title: str) -> Grid:
    """The one grid of a scale whose title begins so."""
    found = [part for part in PANELS[scale].parts if isinstance(part, Grid) and part.title.startswith(title)]
    assert len(found) == 1, [part.title for part in PANELS[scale].parts]
    return found[0]


def texts(found: Grid) -> dict[str, list[str]]:
    """The words of each line by its name."""
    return {line.name: [entry.words for entry in line.entries] for line in found.lines if line.entries}


def one(rows: list[ReliabilityRow], scale: ScaleSpec = CLASS, **more: Any) -> ratertables.Panel:
    """The panel of a few rows."""
    return ratertables.chapter(rows, more.get("consensus", ()), more.get("counts", ()), (), [scale]).panels[0]


def test_parts_stand_in_the_order_of_the_question() -> None:
    """Gates, agreement, pairs, categories, readers, correctness, shares, comparisons, models, consensus."""
    titles = [part.title.split(".")[0].split(",")[0] for part in PANELS["class"].parts]
    assert titles == [
        "Gates to evidence", "Agreement of experts", "Agreement of experts by part of the items", "Pairs of experts",
        "Agreement of experts on each category against the rest", "Readers with themselves", "Answers against the truth",
        "Right answers", "Share of each answer", "Comparisons over readers and cases", "Language models beside experts",
        "Models against their own repeats", "Consensus of experts", "Items whose majority is not the truth",
    ]  # fmt: skip


def test_agreement_has_the_form_of_the_published_table() -> None:
    """Rows all, real, synthetic, labels, groups, then the difference; columns APP, FK, CK, KA, AC1 with the names of the word scales."""
    found = grid("class", "Agreement of experts.")
    assert [under for _, under in found.heads[2:]] == ["APP", "FK, McHugh 2012", "CK, McHugh 2012", "KA, Krippendorff 2004", "AC1"]
    assert [line.name for line in found.lines] == [
        "all items", "real", "synthetic", "label=benign", "label=malignant", "size=large", "synthetic \u2212 real",
    ]  # fmt: skip
    first = found.lines[0].entries
    row = next(
        r for r in made.reliability() if (r.analysis, r.raters, r.items, r.statistic) == ("agreement", "experts", "all", "fleiss_kappa")
    )
    assert (first[0].text, first[2].value, first[2].low, first[2].under) == ("41 \u00d7 4", row.value, row.ci_low, "weak")


def test_what_has_no_value_or_no_interval_carries_its_reason() -> None:
    """A letter stands in the cell, the reason below the table; a value without an interval says why too."""
    found = grid("class", "Agreement of experts.")
    assert texts(found)["size=large"] == ["9 \u00d7 4", "1 (a)", "no value (b)", "no value", "no value", "no value"]
    assert found.footnotes == (
        ("a", "no interval", "no disagreement was observed"), ("b", "not computable", "no variation"),
    )  # fmt: skip


def test_notes_become_remarks_with_the_lines_that_they_are_about() -> None:
    """A note of some rows names their lines; one of all rows stands alone; what every page says is not repeated."""
    remarks = grid("class", "Agreement of experts.").remarks
    assert "Fewer than 20 items: the interval is optimistic (real)." in remarks
    assert any(remark.endswith("read AC1 beside them (label=benign; label=malignant).") for remark in remarks)
    assert "Against the majority of the experts." in grid("class", "Language models").remarks
    rows = [made.row("class", "agreement", "experts", "all", "fleiss_kappa", note="raters taken as fixed; F(5, 12.0) = 3.1")]
    assert one(rows).parts[-1].remarks == ()  # type: ignore[union-attr]


def test_further_coefficients_are_a_sentence() -> None:
    """What has no column is printed with its interval, in the order of the papers."""
    remark = grid("confidence", "Agreement of experts.").remarks[0]
    assert remark.startswith("All items, further coefficients: Unanimity ")
    assert remark.index("quadratic") < remark.index("Brennan") < remark.index("Kendall")
    assert remark.count("[") == 6


def test_every_value_is_on_the_page_or_counted() -> None:
    """Rows shown and rows left make up all rows of the scale; nothing is dropped without a count."""
    rows = [r for r in made.reliability() if r.scale == "class"]
    unseen = ("precision", "macro_f1")
    silent = [r for r in rows if r.analysis == "correctness" and not r.category and (r.statistic in unseen or r.items == "label=benign")]
    assert PANELS["class"].left == len(silent)
    assert PANELS["size"].left == 0
    assert one([*rows, made.row("class", "correctness", "R1", "site=x", "precision")]).left == len(silent) + 1


def test_gates_hold_the_lower_bound_against_the_declared_value() -> None:
    """A gate is open where the bound reaches it, closed below, and closed where nothing was measured."""
    rows = [
        made.row("class", "agreement", "experts", "all", "krippendorff_alpha", bound_low=0.40),
        made.row("class", "agreement", "experts", "real", "krippendorff_alpha", bound_low=0.399),
        made.row("class", "model", "llm m", "all", "cohen_kappa", bound_low=0.3),
        made.row("class", "attention", "experts", "planted", "sensitivity", bound_low=0.69),
    ]
    gates = one(rows).parts[0]
    assert isinstance(gates, Grid)
    assert texts(gates) == {
        "Experts: Krippendorff\u2019s alpha": ["open", "closed"],
        "Experts, planted faults noticed": ["closed", "\u2013"],
        "m (language model): Cohen\u2019s kappa": ["open", "closed"],
    }
    assert gates.lines[2].entries[1].under == "not measured"
    assert [line.under for line in gates.lines] == ["at least 0.4", "at least 0.7", "at least 0.2"]


def test_a_gate_with_a_value_but_no_bound_is_closed() -> None:
    """Unanimous experts have no interval: that is no proof of reliability."""
    row = made.bare(made.row("class", "agreement", "experts", "all", "krippendorff_alpha", 1.0), "no disagreement was observed")
    entry = one([row]).parts[0].lines[0].entries[0]  # type: ignore[union-attr]
    assert (entry.text, entry.under) == ("closed", "no lower bound")


def test_correctness_has_the_form_of_the_published_table() -> None:
    """Model, readers, majority, consensus; recall, F1 and accuracy on all, real and synthetic items, each with its number."""
    found = grid("class", "Answers against the truth")
    assert [line.name for line in found.lines] == [
        "judge-a (language model)", "R1", "R2", "R3", "R4", "Majority of experts", "Consensus (Dawid-Skene)",
    ]  # fmt: skip
    where = "all items, n\u00a0=\u00a041"
    assert found.heads[1:4] == (("Recall", where), ("F1", where), ("Accuracy", where))
    assert len(found.heads) == 10
    assert found.stacked


def test_recall_that_equals_accuracy_is_printed_once() -> None:
    """Weighted recall is the share of right answers: the caption says so and one column goes."""
    rows = [
        made.row("class", "correctness", raters, "all", name, 0.7) for raters in ("R1", "R2") for name in ("recall", "f1", "accuracy")
    ]  # fmt: skip
    panel = one(rows)
    found = next(part for part in panel.parts if part.title.startswith("Answers"))
    assert isinstance(found, Grid)
    assert [name for name, _ in found.heads] == ["Rater", "F1", "Accuracy"]
    assert "recall weighted so is the accuracy" in found.note
    assert panel.left == 0


def test_means_are_a_table_and_a_figure_of_real_against_synthetic() -> None:
    """Readers are columns, experts after them, models last; the figure spans the categories."""
    found = grid("confidence", "Mean answers")
    assert [name for name, _ in found.heads] == ["Items", "R1", "R2", "R3", "R4", "Experts", "judge-a"]
    assert found.remarks == ()
    plot = next(part for part in PANELS["confidence"].parts if isinstance(part, Plot) and part.title.startswith("Mean"))
    assert plot.names == ("R1", "R2", "R3", "R4", "judge-a (language model)")
    assert (plot.low, plot.high) == (1.0, 5.0)
    assert [p.look for p in plot.strips[0].lines[0]] == ["disc", "ring"]


def test_shares_of_two_answers_list_one_and_compare_origins_before_strata() -> None:
    """The share of the other answer follows; real, synthetic and their difference come first."""
    scale = ScaleSpec(name="plausible", level="nominal", categories=("yes", "no"), positive="no")
    parts = ["all", "real", "synthetic", "label=B1", "label=B2", "synthetic, label=B1"]
    rows = [made.row("plausible", "share", "R1", part, "share", category=c) for part in parts for c in scale.categories]
    rows.append(made.row("plausible", "difference", "experts", made.APART, "share", category="no"))
    panel = one(rows, scale)
    found = next(part for part in panel.parts if part.title.startswith("Share"))
    assert isinstance(found, Grid)
    assert found.title == "Share of the answer \u201cno\u201d."
    assert [line.name for line in found.lines][:4] == ["all items", "real", "synthetic", "synthetic \u2212 real"]
    assert texts(found)["synthetic \u2212 real"][0] == "\u2013"
    assert panel.left == len(parts)


def test_the_real_image_found_is_held_against_chance_and_not_called_equal() -> None:
    """Hits of trials, the interval, p of each rater; what all rows say stands once below."""
    found = grid("grid", "Finding the real image")
    assert "does not show that the images cannot be told apart" in found.note
    line = found.lines[0]
    assert (line.entries[0].value, line.entries[0].under) == (0.5, "6 of 12")
    assert line.entries[1].words == "no value (a)"
    assert line.entries[2].text.startswith("a rate of 0.")
    assert line.entries[2].text.endswith("p = 0.054")
    assert found.remarks == ("Chance 0.250.", "p: exact, of more hits than chance.")
    assert found.wide == {3}


def test_comparisons_over_readers_carry_p_test_warning_and_components() -> None:
    """F with its degrees of freedom, the warning below five readers, and the variance components."""
    found = grid("confidence", "Comparisons over readers")
    assert [entry.text for entry in found.lines[0].entries[1:]] == ["0.0517", "41 \u00d7 4", "random readers and cases"]
    assert any("fewer than 5 readers or 100 cases" in remark for remark in found.remarks)
    assert any(remark.startswith("F(1, 15.26) = 4.4563") for remark in found.remarks)
    assert any("var(reader) 0.00" in remark and "Cov2" in remark for remark in found.remarks)


def test_models_stand_beside_the_ceiling_and_the_base_rate() -> None:
    """For each part of the items: the model, what experts reach with its range, what one answer for all would reach."""
    found = grid("class", "Language models beside experts")
    assert [line.name for line in found.lines][:5] == [
        "all items", "judge-a (language model)", "Expert ceiling", "Base rate (always benign)", "real",
    ]  # fmt: skip
    assert found.lines[2].entries[1].text == "0.66 (0.51 to 0.78)"
    assert "2 of 41 items were not answered, which counts as disagreement." in found.remarks


def test_concepts_show_readers_on_origins_and_models_on_every_part() -> None:
    """Strata are for those whom the chapter judges; the standard deviation over items stands under the mean."""
    found = grid("findings", "Concepts named against")
    at = [line.name for line in found.lines]
    assert at[:4] == ["judge-a (language model)", "all items", "perturbation=deletion", "perturbation=insertion"]
    assert at[at.index("R1") : at.index("R2")] == ["R1", "all items"]
    assert found.lines[1].entries[0].under == "SD 0.211"
    single = grid("findings", "Concept by concept")
    assert single.heads[1] == ("U_FP", "judge-a")
    assert single.lines[0].entries[0].under == "of 14"


def test_consensus_counts_its_votes_and_lists_contested_items() -> None:
    """Majority, plurality, tie; then the answers to items whose majority is not the truth or not the consensus."""
    counts = grid("class", "Consensus of experts")
    assert [entry.text for entry in counts.lines[0].entries] == ["17", "1", "2", "20"]
    assert counts.remarks[0].endswith("differ on 3 items, of which 2 have no majority.")
    listed = grid("class", "Items whose majority is not the truth")
    assert [name for name, _ in listed.heads] == ["Item", "R1", "R2", "R3", "R4", "Majority", "Dawid-Skene", "Truth"]
    assert [e.text for e in listed.lines[0].entries] == [
        "normal",
        "normal",
        "normal",
        "benign",
        "normal (majority)",
        "normal (0.87)",
        "benign",
    ]


def test_the_truth_is_not_held_against_answers_of_another_kind() -> None:
    """On an ordinal scale the label is no answer: only items on which the two consensuses differ are listed."""
    votes = [v.model_copy(update={"scale": "confidence"}) for v in made.consensus()]
    found = list(together(CONFIDENCE, votes, [Disputed("confidence", "synthetic/0.png", "benign", (("R1", "3"),))]))
    assert found[1].title == "Items on which the two ways to a consensus differ."
    assert [name for name, _ in found[1].heads][-1] == "Dawid-Skene"
    assert len(found[1].lines) == 3


def test_calls_are_counted_by_what_became_of_them() -> None:
    """Refused and unusable replies have columns; unknown tokens are said to be; equal questions have equal digests."""
    found = calls_grid(made.calls())
    assert found is not None
    assert [name for name, _ in found.heads] == [
        "Model, scales",
        "Calls",
        "Answered",
        "Refused",
        "Unusable",
        "Tokens",
        "Distinct prompts",
        "Digest",
    ]
    lines = texts(found)
    assert lines["judge-a"][:6] == ["20", "18", "1", "1", "16,240", "20"]
    assert lines["judge-b"][4] == "not recorded"
    assert lines["judge-a"][-1] == lines["judge-b"][-1]
    assert calls_grid([]) is None


def test_facts_say_who_rated_what_and_what_was_lost() -> None:
    """Raters, items, ratings; why answers cannot be used; who rated fewer than half of the items."""
    lost = "unusable: 'bening' is not among the declared categories (2); missing: no answer was given (1)"
    said = ratertables.facts(made.counts()[:2])
    assert said == [
        f"4 experts rated 41 items: 164 ratings, 3 of them without a usable answer: {lost}.",
        "Fewer than half of the items were answered by R4.",
        "1 language model rated 41 items: 41 ratings, 2 of them without a usable answer: refused: the model declined (2).",
    ]
    many = RatingCount("class", "expert", 1, 9, 9, 5, tuple((f"unusable: {k}", 1) for k in range(5)))
    assert ratertables.facts([many])[0].endswith("unusable: 2 (1); other reasons (2).")


def test_a_scale_that_the_plan_does_not_declare_is_shown_too() -> None:
    """Rows are never left out because their scale is unknown."""
    rows = [made.row("stray", "agreement", "experts", "all", "fleiss_kappa")]
    assert [p.scale.name for p in ratertables.chapter(rows, (), (), (), SCALES).panels] == ["stray"]
    assert ratertables.chapter((), (), (), (), SCALES).empty


def test_long_tables_are_cut_and_say_so() -> None:
    """Fifteen pairs are listed of twenty-one, with a sentence; the rest counts as not shown."""
    names = [f"R{k}" for k in range(1, 8)]
    rows = [made.row("class", "agreement", f"{a} & {b}", "all", "cohen_kappa") for k, a in enumerate(names) for b in names[k + 1 :]]
    panel = one(rows)
    found = next(part for part in panel.parts if part.title.startswith("Pairs"))
    assert isinstance(found, Grid)
    assert found.remarks == ("15 of 21 pairs are shown; all are in the table reliability.",)
    assert panel.left == 6
    assert cut(["a"], 3, "pair") == (["a"], [])


def test_ways_to_intervals_are_counted_without_their_counts() -> None:
    """Numbers of items within a method do not make it another method."""
    rows = [
        made.row("class", "agreement", "experts", part, "fleiss_kappa", ci_method=f"jackknife t over {n} items")
        for part, n in (("all", 60), ("real", 20))
    ]  # fmt: skip
    assert one(rows).methods == (("jackknife t over items", 2),)


def test_names_sort_as_people_read_them() -> None:
    """R2 before R10; models before readers before their consensus; all, real, synthetic before strata before differences."""
    assert sorted(["consensus", "R10", "majority", "R2", "experts", "llm x"], key=readers_first) == [
        "llm x", "R2", "R10", "experts", "majority", "consensus",
    ]  # fmt: skip
    parts = ["synthetic - real", "site=b", "synthetic, label=1", "synthetic", "all", "real"]
    assert sorted(parts, key=part_order) == ["all", "real", "synthetic", "site=b", "synthetic, label=1", "synthetic - real"]
    assert who("llm judge-a") == "judge-a (language model)"


def test_strata_bear_the_names_of_labels() -> None:
    """A stratum that is a number in the rows has the name of its class on the page, also in a difference."""
    sheet = Sheet([], {"label=0": "label=benign", "label=1": "label=malignant"})
    assert sheet.part("synthetic, label=1") == "synthetic, label=malignant"
    assert sheet.part("label=1 - label=0") == "label=malignant \u2212 label=benign"


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_grids_are_rectangular_and_use_no_forbidden_word(panel: ratertables.Panel) -> None:
    """Every line has an entry per column; captions, heads and remarks may stand in a dossier; widths make 100 per cent."""
    for part in panel.parts:
        assert check(f"{part.title} {part.note}") == []
        if isinstance(part, Grid):
            assert {len(line.entries) for line in part.lines if line.entries} == {len(part.heads) - 1}
            assert sum(part.widths) == pytest.approx(100)
            assert [said for remark in part.remarks for said in check(remark)] == []


def test_every_statistic_of_the_fabricated_rows_has_a_head() -> None:
    """Known statistics have a printed name; an unknown one is its identifier in words."""
    assert head("gwet_ac1") == ("Gwet\u2019s AC1", "AC1")
    assert head("some_new_thing") == ("Some new thing", "")
    assert all(name == name.strip() and name for name, _ in NAMES.values())


def test_columns_of_raters_are_cut_too() -> None:
    """Eight raters have a column; a sentence says how many there are."""
    rows = [made.row("confidence", "mean", f"R{k}", "all", "mean", 3.0, ci_high=3.2) for k in range(1, 12)]
    found = next(iter(rateranswers.means(Sheet(rows, {}), CONFIDENCE)))
    assert isinstance(found, Grid)
    assert [name for name, _ in found.heads][1:] == [f"R{k}" for k in range(1, 9)]
    assert found.remarks == ("8 of 11 raters are shown; all are in the table reliability.",)
