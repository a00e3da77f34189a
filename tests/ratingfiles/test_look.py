"""The report on rating files: published results come out of the files as their owners wrote them, and what is wrong in them is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import InputError
from harness.host import Host
from harness.ratingfiles.look import Asked, look
from harness.ratingfiles.report import Report, as_text, render
from harness.records import ReliabilityRow


def looked(*files: Path, **more: Any) -> Report:
    """Return the report on these files."""
    return look(Asked(files, **more), Host.discover())


def one(report: Report, analysis: str, statistic: str, raters: str = "experts", items: str = "all", category: str = "") -> ReliabilityRow:
    """Return the only row that answers."""
    wanted = (analysis, statistic, raters, items, category)
    rows = [r for r in report.rows if (r.analysis, r.statistic, r.raters, r.items, r.category) == wanted]
    assert len(rows) == 1, f"{len(rows)} rows answer"
    return rows[0]


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """Write a table with a column for each reader, a truth, two values off the scale and two missing."""
    lines = ["case;truth;R1;R2;R3"]
    for k in range(24):
        truth = "yes" if k % 2 else "no"
        other = "no" if k % 2 else "yes"
        cells = [truth, other if k in (3, 8) else truth, {5: "perhaps", 6: "unsure", 7: "", 9: "NA"}.get(k, truth)]
        lines.append(f"c{k};{truth};{';'.join(cells)}")
    path = tmp_path / "wide.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "\n".join(lines).encode())
    return path


def test_a_wide_table_is_read_and_its_faults_are_named(wide: Path) -> None:
    """Values off the scale are listed with file and line and take part in nothing; missing ones are counted."""
    report = looked(wide, categories=("no", "yes"), level="nominal")
    assert sorted((problem.where, "perhaps" in problem.what or "unsure" in problem.what) for problem in report.problems) == [
        ("wide.csv:7", True), ("wide.csv:8", True),
    ]  # fmt: skip
    accuracy = one(report, "correctness", "accuracy", "R3")
    assert accuracy.value == pytest.approx(20 / 24)
    assert "4 of 24 items without an answer" in accuracy.note
    assert one(report, "correctness", "accuracy", "R2").value == pytest.approx(22 / 24)
    assert one(report, "agreement", "percent_agreement", "R1 & R2").value == pytest.approx(22 / 24)
    assert report.counts[0].unusable == 4


def test_a_level_that_nothing_says_is_asked_for(tmp_path: Path) -> None:
    """A few whole numbers may be names, ranks or measurements: the refusal says what to write."""
    path = tmp_path / "r.csv"
    path.write_text("item,rater,value\n" + "".join(f"i{k},{r},{k % 3}\n" for k in range(6) for r in "ab"))
    with pytest.raises(InputError, match=r"the level of the scale .* is not known"):
        looked(path)
    assert one(looked(path, level="ordinal", categories=("0", "1", "2")), "agreement", "krippendorff_alpha").value is not None


@pytest.mark.parametrize(("more", "words"), [({"level": "ranked"}, "no level 'ranked'"), ({"level": "ordinal"}, "has no order")])
def test_what_cannot_be_carried_out_is_refused(wide: Path, more: dict[str, Any], words: str) -> None:
    """An unknown level, and an ordinal scale whose order nobody says."""
    with pytest.raises(InputError, match=words):
        looked(wide, **more)


def test_the_same_files_give_the_same_report(wide: Path, tmp_path: Path) -> None:
    """Text, JSON and PDF: byte for byte."""
    reports = [looked(wide, level="nominal") for _ in range(2)]
    assert as_text(reports[0], "json") == as_text(reports[1], "json")
    pdfs = [render(report, tmp_path / f"{k}.pdf").read_bytes() for k, report in enumerate(reports)]
    assert pdfs[0] == pdfs[1]


def test_van_dykes_results_come_out(real_data: Path) -> None:
    """AUC .8970 and .9408, F(1, 15.26) = 4.4563, p = .0517, interval -.0880 to .0004; readers fixed p = .0193, cases fixed p = .0420."""
    report = looked(real_data / "ratings_mrmcaov" / "VanDyke.csv", level="ordinal", categories=("1", "2", "3", "4", "5"))
    areas = [one(report, "mrmc", "auc", items=modality).value for modality in ("1", "2")]
    assert areas == pytest.approx([0.8970, 0.9408], abs=5e-5)
    row = one(report, "mrmc", "auc_difference", items="1 - 2")
    assert (row.value, row.ci_low, row.ci_high, row.p) == pytest.approx((-0.0438, -0.0880, 0.0004, 0.0517), abs=5e-5)
    assert "F(1, 15.26) = 4.4563" in row.note
    assert (row.n_items, row.n_raters) == (114, 5)
    assert one(report, "mrmc", "auc_difference_frrc", items="1 - 2").p == pytest.approx(0.0193, abs=5e-5)
    assert one(report, "mrmc", "auc_difference_rrfc", items="1 - 2").p == pytest.approx(0.0420, abs=5e-5)
    assert not report.problems


def test_binary_labels_of_five_readers_are_read_as_they_are(real_data: Path) -> None:
    """155 cells in five modalities: a cell in each modality is an item, and is resampled with itself in the others."""
    report = looked(real_data / "ratings_mitosis" / "dfClassify20180627.csv", level="nominal", categories=("0", "1"))
    whole = one(report, "agreement", "fleiss_kappa")
    assert (whole.n_items, whole.n_raters) == (775, 5)
    assert "155 patients" in whole.ci_method
    assert one(report, "agreement", "fleiss_kappa", items="modality=scanner.A").n_items == 155
    assert one(report, "correctness", "accuracy", "observer.1").trials == 775


def test_scores_off_the_scale_are_found_in_the_ct_readers_file(real_data: Path) -> None:
    """Declared as 1 to 5, `structure` holds one 6, and `noise` was ranked beyond 5: both are listed by line, contrast is clean."""
    overrides = {"item": "anatomy,set,method"}
    report = looked(real_data / "ratings_ct_readers" / "ratings.csv", level="ordinal", categories=("1", "2", "3", "4", "5"),
                    overrides=overrides)  # fmt: skip
    by_scale = {count.scale: count.unusable for count in report.counts}
    assert by_scale["contrast"] == 0
    assert by_scale["structure"] == 1
    assert by_scale["noise"] > 400
    assert any(problem.where == "ratings.csv:1204" for problem in report.problems)


def test_an_unbalanced_study_of_37_readers_is_read(real_data: Path) -> None:
    """Densities from 0 to 100: missing values are counted, thin readers named, alpha takes what there is."""
    report = looked(real_data / "ratings_htt_tils" / "pilotHTT.csv")
    count = report.counts[0]
    assert (count.raters, count.ratings, count.unusable) == (37, 7898, 1516)
    assert len(count.sparse) > 20
    row = one(report, "agreement", "krippendorff_alpha")
    assert row.value is not None
    assert row.ci_low is not None


def test_first_choices_of_dermatologists_are_read_with_what_was_left_out(real_data: Path) -> None:
    """Partial rankings: of rank 0 several conditions are tied, so a reader's first choice is a set; other ranks are counted as left out."""
    overrides = {"item": "case", "rater": "reader_slot", "value": "condition", "where": "rank=0", "sets": "first", "scale": "first",
                 "duplicates": "set"}  # fmt: skip
    report = looked(real_data / "ratings_derm_ddx" / "derm_ddx_long.csv", overrides=overrides)
    assert any("5054 of 15748" in note or "5,054 of 15,748" in note for note in report.notes)
    assert one(report, "agreement", "mean_jaccard").value is not None
