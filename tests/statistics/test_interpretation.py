"""Words for coefficients: the bands of each scale, whose they are, and what a standard error allows to say."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from harness.statistics.agreement import BATTERIES, FROM_ZERO
from harness.statistics.interpretation import BELONGS, SCALES, benchmark, printed, word

# Just below and at each edge, by the rules that the published bands are read by.
EDGES = {
    "mchugh2012": [(-1, "None"), (0.2, "None"), (0.2001, "Minimal"), (0.3999, "Minimal"), (0.4, "Weak"), (0.5999, "Weak"),
                   (0.6, "Moderate"), (0.7999, "Moderate"), (0.8, "Strong"), (0.9, "Strong"), (0.9001, "Almost Perfect"),
                   (1, "Almost Perfect")],
    "landis_koch": [(-0.01, "Poor"), (0, "Slight"), (0.2, "Slight"), (0.2001, "Fair"), (0.4, "Fair"), (0.4001, "Moderate"),
                    (0.6, "Moderate"), (0.6001, "Substantial"), (0.8, "Substantial"), (0.8001, "Almost Perfect"), (1, "Almost Perfect")],
    "altman": [(-0.5, "Poor"), (0.2, "Poor"), (0.2001, "Fair"), (0.4, "Fair"), (0.4001, "Moderate"), (0.6, "Moderate"),
               (0.6001, "Good"), (0.8, "Good"), (0.8001, "Very good"), (1, "Very good")],
    "fleiss1981": [(-0.5, "Poor"), (0.3999, "Poor"), (0.4, "Fair to good"), (0.75, "Fair to good"), (0.7501, "Excellent"),
                   (1, "Excellent")],
    "krippendorff": [(-0.5, "Discard"), (0.6669, "Discard"), (0.667, "Tentative only"), (0.7999, "Tentative only"),
                     (0.8, "Reliable"), (1, "Reliable")],
    "koo_li": [(-0.2, "Poor"), (0.4999, "Poor"), (0.5, "Moderate"), (0.7499, "Moderate"), (0.75, "Good"), (0.9, "Good"),
               (0.9001, "Excellent"), (1, "Excellent")],
    "cicchetti": [(-0.2, "Poor"), (0.3999, "Poor"), (0.4, "Fair"), (0.5999, "Fair"), (0.6, "Good"), (0.7499, "Good"),
                  (0.75, "Excellent"), (1, "Excellent")],
}  # fmt: skip


@pytest.mark.parametrize("scale", SCALES)
def test_every_edge_is_where_the_rule_has_it(scale: str) -> None:
    """Each scale changes its word at its own edges, and each edge belongs to the band that the rule gives it to."""
    assert [(value, word(value, scale)) for value, _ in EDGES[scale]] == EDGES[scale]
    assert {expected for _, expected in EDGES[scale]} == {band.word for band in SCALES[scale].bands}


def test_rounding_does_not_change_a_word() -> None:
    """A coefficient that is .8 but for the last bit is .8."""
    below = math.nextafter(0.8, 0)

    assert below < 0.8
    assert word(below, "mchugh2012") == "Strong"
    assert word(math.nextafter(0.6, 1), "landis_koch") == "Moderate"


def test_the_same_value_has_three_words_and_each_carries_its_scale() -> None:
    """.42 is weak, moderate, or to be discarded, so no word stands without the name of its scale."""
    assert printed("fleiss_kappa", 0.42) == "Weak (McHugh 2012)"
    assert printed("fleiss_kappa", 0.42, "landis_koch") == "Moderate (Landis & Koch 1977)"
    assert printed("krippendorff_alpha", 0.42) == "Discard (Krippendorff 2004)"
    assert printed("icc_a_1", 0.42) == "Poor (Koo & Li 2016)"
    assert printed("icc_a_1", 0.42, "cicchetti") == "Fair (Cicchetti 1994)"
    assert printed("gwet_ac1", 0.42) == "Moderate (Landis & Koch 1977)"


def test_what_has_no_scale_has_no_word() -> None:
    """Shares and Kendall's W are not called anything; neither is a coefficient without a value."""
    assert {printed(name, 0.9) for name in FROM_ZERO} == {""}
    assert printed("accuracy", 0.9) == printed("fleiss_kappa", None) == ""


def test_every_coefficient_of_the_batteries_has_its_scales() -> None:
    """Whatever corrects for chance, and every intraclass correlation, belongs to a scale that exists."""
    names = {name for battery in BATTERIES.values() for name in battery}

    assert names - FROM_ZERO <= set(BELONGS)
    assert {scale for scales in BELONGS.values() for scale in scales} == set(SCALES)


def test_a_scale_of_another_statistic_is_refused() -> None:
    """Alpha is not judged by a scale of kappa, a share by none, and no scale is made up."""
    with pytest.raises(ValueError, match="'mchugh2012' is not for krippendorff_alpha; it has krippendorff"):
        printed("krippendorff_alpha", 0.5, "mchugh2012")
    with pytest.raises(ValueError, match="not for accuracy; it has none"):
        printed("accuracy", 0.5, "altman")
    with pytest.raises(ValueError, match="got 'mchugh'"):
        word(0.5, "mchugh")
    with pytest.raises(ValueError, match="only a number has a word"):
        word(math.nan, "altman")


def test_a_benchmark_is_what_the_standard_error_allows() -> None:
    """Gwet's examples: .783 with an error of .1 is substantial; .42 with .08 is fair although the point is moderate."""
    found = benchmark(0.783, 0.1, "landis_koch")

    assert found.word == "Substantial"
    assert found.printed == "Substantial (Landis & Koch 1977, with 95% certainty)"
    assert {name: round(chance, 5) for name, chance in found.chances.items()} == {
        "Almost Perfect": 0.42386, "Substantial": 0.96586, "Moderate": 0.99993, "Fair": 1.0, "Slight": 1.0, "Poor": 1.0,
    }  # fmt: skip
    assert benchmark(0.42, 0.08, "landis_koch").word == "Fair"
    assert word(0.42, "landis_koch") == "Moderate"


@pytest.mark.parametrize("scale", SCALES)
def test_a_benchmark_is_never_above_the_word_and_meets_it_when_sure(scale: str) -> None:
    """With a tiny error the benchmark is the word; with a large one it is the lowest band."""
    words = [band.word for band in SCALES[scale].bands]

    assert benchmark(0.7, 1e-6, scale).word == word(0.7, scale)
    assert benchmark(0.7, 5.0, scale).word == words[0]
    for value in (0.1, 0.5, 0.85):
        assert words.index(benchmark(value, 0.1, scale).word) <= words.index(word(value, scale))


def test_chances_are_of_a_normal_cut_to_the_range() -> None:
    """The chance of .75 or more is that of a truncated normal variable."""
    peer = stats.truncnorm((-1 - 0.9) / 0.2, (1 - 0.9) / 0.2, 0.9, 0.2)

    assert benchmark(0.9, 0.2, "fleiss1981").chances["Excellent"] == pytest.approx(float(peer.sf(0.75)))


@pytest.mark.parametrize("error", [0.0, -0.1, math.nan, math.inf])
def test_a_benchmark_needs_a_standard_error(error: float) -> None:
    """No error, no chance to speak of."""
    with pytest.raises(ValueError, match="above 0"):
        benchmark(0.5, error, "altman")
