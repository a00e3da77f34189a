"""What a coefficient is called: scales of words from the literature, each under its own name.

The same .42 is "Weak" (McHugh), "Moderate" (Landis and Koch) and to be discarded (Krippendorff), so a word without the name of its
scale says nothing. Where the printed bands of a scale leave gaps (McHugh: .20, then .21) these are closed as the rules here say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from scipy import stats

CONFIDENCE = 0.95
_DECIMALS = 12  # a coefficient that is .8 but for rounding is .8


class Band(NamedTuple):
    """A word and where its band ends; closed: the end belongs to it."""

    word: str
    end: float
    closed: bool


@dataclass(frozen=True)
class Scale:
    """A scale of words, from the lowest band to the highest; title: what is printed beside each word; source: where it is from."""

    title: str
    source: str
    bands: tuple[Band, ...]


SCALES: Mapping[str, Scale] = {
    "mchugh2012": Scale(
        "McHugh 2012", "McHugh, Biochem. Med. 22:276, 2012",
        (Band("None", 0.20, True), Band("Minimal", 0.40, False), Band("Weak", 0.60, False), Band("Moderate", 0.80, False),
         Band("Strong", 0.90, True), Band("Almost Perfect", math.inf, True)),
    ),
    "landis_koch": Scale(
        "Landis & Koch 1977", "Landis & Koch, Biometrics 33:159, 1977",
        (Band("Poor", 0.0, False), Band("Slight", 0.20, True), Band("Fair", 0.40, True), Band("Moderate", 0.60, True),
         Band("Substantial", 0.80, True), Band("Almost Perfect", math.inf, True)),
    ),
    "altman": Scale(
        "Altman 1991", "Altman, Practical Statistics for Medical Research, 1991",
        (Band("Poor", 0.20, True), Band("Fair", 0.40, True), Band("Moderate", 0.60, True), Band("Good", 0.80, True),
         Band("Very good", math.inf, True)),
    ),
    "fleiss1981": Scale(
        "Fleiss 1981", "Fleiss, Statistical Methods for Rates and Proportions, 2nd ed., 1981",
        (Band("Poor", 0.40, False), Band("Fair to good", 0.75, True), Band("Excellent", math.inf, True)),
    ),
    "krippendorff": Scale(
        "Krippendorff 2004", "Krippendorff, Content Analysis, 2nd ed., 2004",
        (Band("Discard", 0.667, False), Band("Tentative only", 0.800, False), Band("Reliable", math.inf, True)),
    ),
    "koo_li": Scale(
        "Koo & Li 2016", "Koo & Li, J. Chiropr. Med. 15:155, 2016; it is meant for the 95 % interval",
        (Band("Poor", 0.50, False), Band("Moderate", 0.75, False), Band("Good", 0.90, True), Band("Excellent", math.inf, True)),
    ),
    "cicchetti": Scale(
        "Cicchetti 1994", "Cicchetti, Psychol. Assess. 6:284, 1994",
        (Band("Poor", 0.40, False), Band("Fair", 0.60, False), Band("Good", 0.75, False), Band("Excellent", math.inf, True)),
    ),
}  # fmt: skip

_KAPPA = ("mchugh2012", "landis_koch", "altman", "fleiss1981")
_CHANCE_FREE = ("landis_koch", "altman", "fleiss1981")
_CORRELATION = ("koo_li", "cicchetti")
# The scales that are used with a statistic; the first is printed unless another is asked for. Any other statistic has no words.
BELONGS: Mapping[str, tuple[str, ...]] = {
    "cohen_kappa": _KAPPA,
    "cohen_kappa_quadratic": _KAPPA,
    "mean_cohen_kappa": _KAPPA,
    "mean_cohen_kappa_quadratic": _KAPPA,
    "fleiss_kappa": _KAPPA,
    "conger_kappa": _KAPPA,
    "gwet_ac1": _CHANCE_FREE,
    "gwet_ac2_quadratic": _CHANCE_FREE,
    "brennan_prediger": _CHANCE_FREE,
    "krippendorff_alpha": ("krippendorff",),
    "icc_1_1": _CORRELATION,
    "icc_a_1": _CORRELATION,
    "icc_c_1": _CORRELATION,
    "icc_1_k": _CORRELATION,
    "icc_a_k": _CORRELATION,
    "icc_c_k": _CORRELATION,
}


def word(value: float, scale: str) -> str:
    """Return the word of a scale (a name in `SCALES`) for a coefficient, without the scale's name."""
    value = round(_finite(value), _DECIMALS)
    return next(band.word for band in _scale(scale).bands if value < band.end or (band.closed and value == band.end))


def printed(statistic: str, value: float | None, scale: str | None = None) -> str:
    """Return a coefficient in words with the name of the scale, "Weak (McHugh 2012)"; "" for no value or a statistic without words.

    scale: one of those that belong to the statistic, the first of them if None; another one is refused.
    """
    scales = BELONGS.get(statistic, ())
    if scale is not None and scale not in scales:
        raise ValueError(f"the scale {scale!r} is not for {statistic}; it has {', '.join(scales) or 'none'}")
    if value is None or not scales:
        return ""
    name = scale or scales[0]
    return f"{word(value, name)} ({SCALES[name].title})"


@dataclass(frozen=True)
class Benchmark:
    """The word that a coefficient has earned, and by word the chance that the coefficient is in its band or above, highest first."""

    word: str
    scale: str
    chances: Mapping[str, float]

    @property
    def printed(self) -> str:
        """The word with the name of the scale."""
        return f"{self.word} ({SCALES[self.scale].title}, with {CONFIDENCE:.0%} certainty)"


def benchmark(value: float, standard_error: float, scale: str) -> Benchmark:
    """Return the highest word whose band, or one above it, holds the coefficient with a chance of more than 95 %.

    Gwet's rule (Handbook of Inter-Rater Reliability, 4th ed., 2014, chapter 6): the coefficient is taken as normal around the value,
    cut to -1..1. ValueError for a standard error of 0: nothing that is certain needs a benchmark.
    """
    if not math.isfinite(standard_error) or standard_error <= 0:
        raise ValueError(f"a benchmark needs a standard error above 0, got {standard_error!r}")
    value = _finite(value)

    def below(limit: float) -> float:
        return float(stats.norm.cdf((min(max(limit, -1.0), 1.0) - value) / standard_error))

    bands, whole = _scale(scale).bands, below(1.0) - below(-1.0)
    starts = (-1.0, *(band.end for band in bands[:-1]))
    chances = {band.word: (below(1.0) - below(start)) / whole for band, start in reversed(list(zip(bands, starts, strict=True)))}
    return Benchmark(next(w for w, chance in chances.items() if chance > CONFIDENCE), scale, chances)


def _scale(name: str) -> Scale:
    if name not in SCALES:
        raise ValueError(f"a scale of words is one of {', '.join(SCALES)}, got {name!r}")
    return SCALES[name]


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"only a number has a word, got {value!r}")
    return float(value)
