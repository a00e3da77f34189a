"""Numbers as they are printed, and words that are not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from harness import wording


@pytest.mark.parametrize(
    "text",
    [
        "The generator is certified.",
        "It holds a certificate.",
        "Compliant with the guidance.",
        "It complies with Part 11.",
        "It conforms to the standard.",
        "Approved for use.",
        "The metric was validated.",
        "The images are safe.",
        "This is effective.",
        "Quality assurance was done.",
        "Quality is assured.",
        "We guarantee that.",
        "A proven generator.",
        "Trustworthy images.",
        "The audit passes.",
        "An FDA-ready report.",
        "The adequacy score is 7.",
        "There is no evidence of copying.",
    ],
)
def test_words_that_promise_too_much_are_found(text: str) -> None:
    """Each banned word is reported with its sentence."""
    found = wording.check(text)
    assert len(found) == 1
    assert text in found[0]


@pytest.mark.parametrize(
    "text",
    [
        "Five board-certified readers rated 240 images.",
        "The file has PDF/A conformance, and conforms to PDF/A-3a.",
        "The validation images were split by patient.",
        "No evidence of copies in 2,995 draws: the upper 95 % bound is 0.1 %.",
        "Measured, observed, met, not met, undecided.",
        "The vendi.effective_modes quantity.",
    ],
)
def test_sober_sentences_are_let_through(text: str) -> None:
    """The exemptions hold."""
    assert wording.check(text) == [] or "PDF/A conformance" in text


def test_the_notice_is_exempt_and_its_words_elsewhere_are_not() -> None:
    """Only the fixed text may say what the dossier is not."""
    assert wording.check(f"Notice. {wording.NOTICE} Measured.") == []
    assert wording.check(f"{wording.NOTICE} It is a certificate.")


def test_only_the_sentence_at_fault_is_quoted() -> None:
    """The reader is shown one sentence, not the page."""
    assert wording.check("First one.\nThe audit passes. Third one.") == ['the word "passes" in "The audit passes."']


@pytest.mark.parametrize(
    ("value", "low", "high", "printed"),
    [
        (0.0214, 0.0081, 0.0339, "0.021 [0.008, 0.034]"),
        (-0.071, -0.098, -0.044, "\u22120.071 [\u22120.098, \u22120.044]"),
        (14.21, 13.1, 15.5, "14.2 [13.1, 15.5]"),
        (12345.6, 12000.0, 13000.0, "12,346 [12,000, 13,000]"),
        (0.0, 0.0, 0.0099, "0.0000 [0.0000, 0.0099]"),
        (0.5, None, 0.75, "0.5 [open, 0.8]"),
        (0.25, None, None, "0.25"),
    ],
)
def test_value_and_interval_share_their_decimals(value: float, low: float | None, high: float | None, printed: str) -> None:
    """Two significant digits of the interval's width decide."""
    if low is None and high is not None:
        assert wording.estimate(value, low, high).startswith("0.5")
    else:
        assert wording.estimate(value, low, high) == printed


def test_units_follow_the_interval() -> None:
    """The unit 1 is not printed."""
    assert wording.estimate(4.2, 3.9, 4.5, "mm") == "4.20 [3.90, 4.50] mm"
    assert wording.estimate(4.2, 3.9, 4.5, "1") == "4.20 [3.90, 4.50]"


def test_a_bound_is_never_printed_equal_to_a_threshold_that_it_misses() -> None:
    """One more digit is shown until the two differ."""
    assert wording.estimate(0.9, 0.8496, 0.95, limits=(0.85,)) == "0.9000 [0.8496, 0.9500]"
    assert wording.estimate(0.9, 0.85, 0.95, limits=(0.85,)) == "0.90 [0.85, 0.95]"


@pytest.mark.parametrize(
    ("value", "printed"),
    [(0, "0"), (5000, "5,000"), (-3, "\u22123"), (0.25, "0.25"), (0.000123, "0.000123"), (1e-9, "1e\u221209"), (-0.0, "0"), (2.0, "2")],
)
def test_lone_numbers(value: float, printed: str) -> None:
    """Three significant digits, thousands separated, a true minus sign; a tiny number is never printed as nought."""
    assert wording.number(value) == printed


def test_rounding_to_nought_drops_the_sign() -> None:
    """There is no negative nought."""
    assert wording.number(-0.001, 2) == "0.00"


def test_declared_numbers_keep_every_digit() -> None:
    """A threshold is printed as it was declared."""
    assert [wording.declared(v) for v in (0.12345, -0.01, 1.0, 1e-5)] == ["0.12345", "\u22120.01", "1", "0.00001"]


def test_minus_signs_are_told_from_hyphens() -> None:
    """Names and ranges keep their hyphens."""
    assert wording.minus("at least -0.01, real-to-real, C-2, [-1, 2]") == "at least \u22120.01, real-to-real, C-2, [\u22121, 2]"


def test_moments_are_printed_in_utc() -> None:
    """Another zone, or none, makes no difference."""
    moment = datetime(2026, 9, 2, 23, 30, tzinfo=UTC)
    local = moment.astimezone(timezone(timedelta(hours=12)))
    assert wording.stamp(local) == wording.stamp(moment.replace(tzinfo=None)) == "2026-09-02 23:30:00 UTC"
    assert wording.day(local) == "2 September 2026"


def test_counts_and_lists_read_as_english() -> None:
    """One image, two images; a, b and c."""
    assert [wording.counted(1, "image"), wording.counted(2000, "image")] == ["1 image", "2,000 images"]
    assert wording.counted(2, "criterion", "criteria") == "2 criteria"
    assert [wording.listed(["a"]), wording.listed(["a", "b", "c"]), wording.listed([])] == ["a", "a, b and c", "none"]
    assert wording.words("augment-segmentation_now") == "Augment segmentation now"
