"""Multi-reader multi-case studies: is the mean AUC of the readers different between modalities?

`scores` (modality, reader, case) hold ratings, higher for a positive case, NaN where a reader did not rate a case; `truth` (case,) is 0 or
1. A modality is anything whose images are read: a device, or the real and the synthetic images. Modalities share their cases (crossed) or
each has cases of its own (nested), as real and synthetic images have: images made from one mask or prompt are not one case.
Readers and cases are both random: rows of readers x cases are never taken as independent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from .intervals import LEVEL
from .ustatistics import Contrast, Study, contrast, kernel, study

Covariance = Literal["jackknife", "delong", "unbiased"]
Analysis = Literal["RRRC", "FRRC", "RRFC"]
_TINY = 1e-14


class Test(NamedTuple):
    """A test that all modalities have one mean AUC: F with df1 and df2, or chi-square where df2 is None. Status and reason if none."""

    analysis: Analysis
    statistic: float | None
    df1: int | None
    df2: float | None
    p: float | None
    contrasts: tuple[Contrast, ...]
    status: str = "ok"
    reason: str = ""


class Single(NamedTuple):
    """The mean AUC of one modality, its interval for random readers and cases, and its standard error for these readers alone."""

    auc: float
    ms_readers: float | None
    var_error: float
    cov2: float | None
    se: float | None
    df: float | None
    low: float | None
    high: float | None
    se_fixed_readers: float
    status: str = "ok"
    reason: str = ""


class Components(NamedTuple):
    """Variance components of Obuchowski and Rockette; None where the study is too small to have them.

    cov1: same reader, other modality. cov2: other reader, same modality. cov3: both differ. var_error: variance of one AUC over cases.
    """

    var_reader: float | None
    var_modality_reader: float | None
    var_error: float
    cov1: float | None
    cov2: float | None
    cov3: float | None


class MeanSquares(NamedTuple):
    """Mean squares of the reader AUCs: between modalities, between readers, and their interaction; None without a second one."""

    modality: float | None
    reader: float | None
    interaction: float | None


@dataclass(frozen=True)
class Mrmc:
    """What a fully rated study says. RRRC (random readers, random cases) is the primary analysis.

    FRRC holds for these readers only, RRFC for these cases only. auc: (modality, reader). cases: negatives and positives per modality.
    status: ok, or why there is nothing at all; each test has a status of its own.
    """

    status: str
    reason: str = ""
    design: str = ""
    covariance: str = ""
    cases: tuple[tuple[int, int], ...] = ()
    auc: np.ndarray | None = None
    auc_mean: tuple[float, ...] = ()
    mean_squares: MeanSquares | None = None
    components: Components | None = None
    rrrc: Test | None = None
    frrc: Test | None = None
    rrfc: Test | None = None
    single: tuple[Single, ...] = ()
    notes: tuple[str, ...] = ()


def auc(negatives: np.ndarray, positives: np.ndarray) -> float:
    """Return the share of pairs in which the positive case is rated higher, ties 1/2 (the empirical area under the ROC curve)."""
    return float(_placements(np.asarray(negatives), np.asarray(positives))[1].mean())


def _placements(negatives: np.ndarray, positives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each negative's share of positives above it and each positive's share of negatives below it, ties 1/2."""
    low, high = np.sort(negatives), np.sort(positives)
    of_positive = (np.searchsorted(low, positives, "left") + np.searchsorted(low, positives, "right")) / (2 * len(low))
    of_negative = 1 - (np.searchsorted(high, negatives, "left") + np.searchsorted(high, negatives, "right")) / (2 * len(high))
    return of_negative, of_positive


def _deleted(ratings: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the AUC of each rating (n,) and with each case left out (n, cases)."""
    negative, positive = truth == 0, truth == 1
    n0, n1 = int(negative.sum()), int(positive.sum())
    areas, without = np.empty(len(ratings)), np.empty(ratings.shape)
    for row, values in enumerate(ratings):
        of_negative, of_positive = _placements(values[negative], values[positive])
        areas[row] = of_positive.mean()
        without[row, negative] = (n0 * areas[row] - of_negative) / (n0 - 1)
        without[row, positive] = (n1 * areas[row] - of_positive) / (n1 - 1)
    return areas, without


def _covariances(ratings: np.ndarray, truth: np.ndarray, method: Covariance) -> tuple[np.ndarray, np.ndarray]:
    """Return the AUCs (n,) of ratings (n, case) of the same cases, and their covariances (n, n) over cases, readers taken as fixed.

    jackknife: cases left out one at a time. delong: DeLong, DeLong & Clarke-Pearson 1988. unbiased: A A' less the mean product of kernels
    that share no case (Gallas 2006, Acad. Radiol. 13:353).
    """
    areas, without = _deleted(ratings, truth)
    n = ratings.shape[1]
    if method == "jackknife":
        centred = without - without.mean(axis=1, keepdims=True)
        return areas, (n - 1) / n * centred @ centred.T
    negative, positive = truth == 0, truth == 1
    n0, n1 = int(negative.sum()), int(positive.sum())
    if method == "delong":
        parts = [(without[:, negative], n0), (without[:, positive], n1)]
        centred = [((x - areas[:, None]) * (k - 1), k) for x, k in parts]
        return areas, np.asarray(sum(x @ x.T / (k * (k - 1)) for x, k in centred))
    pairs = kernel(ratings[:, negative], ratings[:, positive])
    whole, by_negative, by_positive = pairs.sum(axis=(1, 2)), pairs.sum(axis=2), pairs.sum(axis=1)
    flat = pairs.reshape(len(pairs), -1)
    apart = np.outer(whole, whole) - by_negative @ by_negative.T - by_positive @ by_positive.T + flat @ flat.T
    return areas, np.outer(areas, areas) - apart / (n0 * (n0 - 1) * n1 * (n1 - 1))


def obuchowski_rockette(scores: np.ndarray, truth: np.ndarray, covariance: Covariance | None = None) -> Mrmc:
    """Return the analysis of Obuchowski & Rockette 1995 with the degrees of freedom of Hillis 2007 (Stat. Med. 26:596).

    covariance: None takes the jackknife where modalities share their cases (the analysis is then that of Dorfman, Berbaum and Metz) and
    the unbiased one where each has its own, with Cov1 = Cov3 = 0. Cov2 - Cov3 counts as 0 where it is negative.
    """
    found = study(scores, truth)
    if found.status != "ok":
        return Mrmc(found.status, found.reason, found.design)
    method: Covariance = covariance or ("jackknife" if found.design == "crossed" else "unbiased")
    areas, cov = _all_covariances(found, method)
    squares, parts = _mean_squares(areas), _components(areas, cov)
    per_modality = [np.bincount(found.of(m)[1], minlength=2) for m in range(len(areas))]
    rrrc, frrc = _random_both(areas, squares, parts), _fixed_readers(areas, squares, parts)
    return Mrmc(
        "ok", "", found.design, method,
        cases=tuple((int(n[0]), int(n[1])) for n in per_modality),
        auc=areas,
        auc_mean=tuple(float(x) for x in areas.mean(axis=1)),
        mean_squares=squares,
        components=parts,
        rrrc=rrrc,
        frrc=frrc,
        rrfc=_fixed_cases(areas, squares),
        single=tuple(_single(areas[m], cov[m, :, m, :]) for m in range(len(areas))),
        notes=tuple(_notes(found, parts, rrrc, frrc)),
    )  # fmt: skip


def _notes(found: Study, parts: Components, rrrc: Test, frrc: Test) -> Iterator[str]:
    """Yield what must be said beside the analysis."""
    if found.unrated:
        yield f"cases that nobody rated, left out: {found.unrated}"
    if found.absent:
        yield f"readers who rated nothing, left out: {found.absent}"
    if parts.cov2 is not None and parts.cov3 is not None and parts.cov2 < parts.cov3:
        yield f"Cov2 - Cov3 is negative ({parts.cov2 - parts.cov3:.2g}) and counts as 0"
    if rrrc.contrasts and frrc.contrasts and rrrc.contrasts[0].se < frrc.contrasts[0].se:
        random, fixed = rrrc.contrasts[0].se, frrc.contrasts[0].se
        yield (
            f"the standard error for random readers ({random:.4f}) is below that for these readers alone ({fixed:.4f}), which "
            "cannot be: readers happen to differ less than cases alone make them; take the wider interval"
        )


def _all_covariances(found: Study, method: Covariance) -> tuple[np.ndarray, np.ndarray]:
    """Return the AUCs (modality, reader) and their covariances (modality, reader, modality, reader)."""
    modalities, readers, cases = found.scores.shape
    if found.design == "crossed":
        areas, cov = _covariances(found.scores.reshape(-1, cases), found.truth, method)
        return areas.reshape(modalities, readers), cov.reshape(modalities, readers, modalities, readers)
    areas, cov = np.empty((modalities, readers)), np.zeros((modalities, readers, modalities, readers))
    for m in range(modalities):
        areas[m], cov[m, :, m, :] = _covariances(*found.of(m), method)
    return areas, cov


def _mean_squares(areas: np.ndarray) -> MeanSquares:
    modalities, readers = areas.shape
    by_modality, by_reader, mean = areas.mean(axis=1), areas.mean(axis=0), areas.mean()
    modality = readers * float(((by_modality - mean) ** 2).sum()) / (modalities - 1) if modalities > 1 else None
    reader = modalities * float(((by_reader - mean) ** 2).sum()) / (readers - 1) if readers > 1 else None
    if modality is None or reader is None:
        return MeanSquares(modality, reader, None)
    rest = areas - by_modality[:, None] - by_reader + mean
    return MeanSquares(modality, reader, float((rest**2).sum()) / ((modalities - 1) * (readers - 1)))


def _components(areas: np.ndarray, cov: np.ndarray) -> Components:
    modalities, readers = areas.shape
    same_m, same_r = np.eye(modalities, dtype=bool)[:, None, :, None], np.eye(readers, dtype=bool)[None, :, None, :]

    def mean(of: np.ndarray) -> float | None:
        chosen = cov[np.broadcast_to(of, cov.shape)]
        return float(chosen.mean()) if len(chosen) else None

    error = float(np.mean(np.diag(cov.reshape(modalities * readers, -1))))
    cov1, cov2, cov3 = mean(~same_m & same_r), mean(same_m & ~same_r), mean(~same_m & ~same_r)
    squares = _mean_squares(areas)
    if squares.interaction is None or squares.reader is None or cov1 is None or cov2 is None or cov3 is None:
        return Components(None, None, error, cov1, cov2, cov3)
    reader = (squares.reader - squares.interaction) / modalities - cov1 + cov3
    return Components(reader, squares.interaction - error + cov1 + cov2 - cov3, error, cov1, cov2, cov3)


def _random_both(areas: np.ndarray, squares: MeanSquares, parts: Components) -> Test:
    readers = areas.shape[1]
    if (few := _too_few(areas, "RRRC")) is not None:
        return few
    assert squares.interaction is not None
    assert parts.cov2 is not None
    assert parts.cov3 is not None
    per_reader = squares.interaction + readers * max(parts.cov2 - parts.cov3, 0.0)
    if per_reader <= _TINY:
        return _no_variation("RRRC")
    freedom = squares.interaction**2 / ((len(areas) - 1) * (readers - 1))
    return _test("RRRC", areas, squares, per_reader, per_reader**2 / freedom if freedom > _TINY**2 else None)


def _fixed_readers(areas: np.ndarray, squares: MeanSquares, parts: Components) -> Test:
    if squares.modality is None or parts.cov1 is None:
        return _undefined("FRRC", "undefined_one_modality", "one modality has nothing to be compared with")
    between = max(parts.cov2 - parts.cov3, 0.0) if parts.cov2 is not None and parts.cov3 is not None else 0.0
    per_reader = parts.var_error - parts.cov1 + (areas.shape[1] - 1) * between
    return _test("FRRC", areas, squares, per_reader, None) if per_reader > _TINY else _no_variation("FRRC")


def _fixed_cases(areas: np.ndarray, squares: MeanSquares) -> Test:
    if (few := _too_few(areas, "RRFC")) is not None:
        return few
    assert squares.interaction is not None
    if squares.interaction <= _TINY:
        return _no_variation("RRFC")
    return _test("RRFC", areas, squares, squares.interaction, (len(areas) - 1) * (areas.shape[1] - 1))


def _too_few(areas: np.ndarray, analysis: Analysis) -> Test | None:
    modalities, readers = areas.shape
    if modalities == 1:
        return _undefined(analysis, "undefined_one_modality", "one modality has nothing to be compared with")
    if readers == 1:
        return _undefined(analysis, "undefined_one_reader", "one reader does not tell how much readers differ")
    return None


def _no_variation(analysis: Analysis) -> Test:
    what = "readers agree on the difference and it does not vary over cases, so it has no variance to be tested with"
    return _undefined(analysis, "undefined_no_variation", what)


def _undefined(analysis: Analysis, status: str, reason: str) -> Test:
    return Test(analysis, None, None, None, None, (), status, reason)


def _test(analysis: Analysis, areas: np.ndarray, squares: MeanSquares, per_reader: float, df: float | None) -> Test:
    """Return the test whose denominator is `per_reader`, the variance of a difference times readers / 2; df None is infinite."""
    assert squares.modality is not None
    modalities, readers = areas.shape
    mean, se = areas.mean(axis=1), math.sqrt(2 * per_reader / readers)
    pairs = combinations(range(modalities), 2)
    contrasts = tuple(contrast(a, b, float(mean[a] - mean[b]), se, df) for a, b in pairs)
    ratio, df1 = squares.modality / per_reader, modalities - 1
    if df is None:
        return Test(analysis, ratio * df1, df1, None, float(stats.chi2.sf(ratio * df1, df1)), contrasts)
    return Test(analysis, ratio, df1, df, float(stats.f.sf(ratio, df1, df)), contrasts)


def _single(areas: np.ndarray, cov: np.ndarray) -> Single:
    """Return one modality on its own (Hillis 2007, section 5.3); the interval is cut to 0..1."""
    readers, mean, error = len(areas), float(areas.mean()), float(np.diag(cov).mean())
    if readers == 1:
        reason = "one reader does not tell how much readers differ"
        return Single(mean, None, error, None, None, None, None, None, math.sqrt(max(error, 0.0)), "undefined_one_reader", reason)
    cov2 = float(cov[~np.eye(readers, dtype=bool)].mean())
    squares, shared = float(areas.var(ddof=1)), max(cov2, 0.0)
    fixed = math.sqrt(max(error + (readers - 1) * shared, 0.0) / readers)
    total = squares + readers * shared
    if total <= _TINY:
        reason = "every reader has this AUC and it does not vary over cases"
        return Single(mean, squares, error, cov2, None, None, None, None, fixed, "undefined_no_variation", reason)
    se, df = math.sqrt(total / readers), total**2 / (squares**2 / (readers - 1)) if squares > _TINY else None
    reach = se * float(stats.norm.ppf((1 + LEVEL) / 2) if df is None else stats.t.ppf((1 + LEVEL) / 2, df))
    return Single(mean, squares, error, cov2, se, df, max(mean - reach, 0.0), min(mean + reach, 1.0), fixed)


@dataclass(frozen=True)
class Dbm:
    """Variance components of the jackknife pseudovalues and their mean squares: T modality, R reader, C case; f: the F of RRRC."""

    status: str
    reason: str = ""
    components: dict[str, float] | None = None
    mean_squares: dict[str, float] | None = None
    f: float | None = None


def dorfman_berbaum_metz(scores: np.ndarray, truth: np.ndarray) -> Dbm:
    """Return the components of Dorfman, Berbaum & Metz 1992 (Invest. Radiol. 27:723), with the F of Hillis 2005, of a crossed study."""
    found = study(scores, truth)
    if found.status != "ok":
        return Dbm(found.status, found.reason)
    modalities, readers, cases = found.scores.shape
    if found.design != "crossed" or min(modalities, readers) < 2:
        return Dbm("undefined_not_crossed", "pseudovalues need two modalities and two readers that share their cases")
    areas, without = _deleted(found.scores.reshape(-1, cases), found.truth)
    values = (cases * areas[:, None] - (cases - 1) * without).reshape(found.scores.shape)
    ms = _three_way(values)
    f = ms["T"] / below if (below := ms["TR"] + max(ms["TC"] - ms["TRC"], 0.0)) > _TINY else None
    components = {
        "var_R": (ms["R"] - ms["TR"] - ms["RC"] + ms["TRC"]) / (modalities * cases),
        "var_C": (ms["C"] - ms["TC"] - ms["RC"] + ms["TRC"]) / (modalities * readers),
        "var_TR": (ms["TR"] - ms["TRC"]) / cases,
        "var_TC": (ms["TC"] - ms["TRC"]) / readers,
        "var_RC": (ms["RC"] - ms["TRC"]) / modalities,
        "var_TRC_error": ms["TRC"],
    }
    return Dbm("ok", "", components, ms, f)


def _three_way(values: np.ndarray) -> dict[str, float]:
    """Return the mean squares of a complete three-way layout (modality, reader, case) with one value per cell."""
    centred, found = values - values.mean(), {}
    effects: dict[tuple[int, ...], np.ndarray] = {}
    for size in (1, 2, 3):
        for kept in combinations(range(3), size):
            mean = centred.mean(axis=tuple(set(range(3)) - set(kept)), keepdims=True)
            lower = [effect for key, effect in effects.items() if set(key) < set(kept)]
            effects[kept] = mean - sum(lower)
            freedom = math.prod(values.shape[k] - 1 for k in kept)
            squares = float((np.broadcast_to(effects[kept], values.shape) ** 2).sum())
            found["".join("TRC"[k] for k in kept)] = squares / freedom
    return found
