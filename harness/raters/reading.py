"""Readers as a sample of readers: multi-reader multi-case comparisons of real with synthetic images, or of modalities; grids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from ..records import EXPERTS, REAL, SYNTHETIC, ReliabilityRow
from ..statistics.identification import identification as find_real
from ..statistics.identification import pooled
from ..statistics.intervals import LEVEL, Interval
from ..statistics.mrmc import Mrmc, Test, obuchowski_rockette
from ..statistics.ustatistics import Contrast, auc_difference, mean_difference
from .desk import SEVERAL, Desk
from .opinions import Opinions

FEW_READERS, FEW_CASES = 5, 100
_ORIGINS = (SYNTHETIC, REAL)


@dataclass(frozen=True)
class _Reading:
    """The items of each modality by case, which has one truth in every modality; twice: items that are another one's case again."""

    modalities: tuple[str, ...]
    cases: tuple[str, ...]
    place: dict[tuple[str, str], int]
    twice: int

    def cube(self, values: np.ndarray) -> np.ndarray:
        """Return values (items, readers) as (modality, reader, case), NaN where there is none."""
        found = np.full((len(self.modalities), values.shape[1], len(self.cases)), np.nan)
        for (modality, case), item in self.place.items():
            found[self.modalities.index(modality), :, self.cases.index(case)] = values[item]
        return found


def multi_reader(desk: Desk) -> Iterator[ReliabilityRow]:
    """Yield AUCs and accuracies by modality and how they differ, with readers and cases random; real and synthetic count as modalities."""
    opinions = desk.opinions
    reading = _reading(opinions)
    if reading is None or not opinions.experts:
        return
    if reading.twice:
        yield desk.row("mrmc", EXPERTS, "all", "auc_difference", None, status="undefined_duplicates", n_items=len(opinions.items),
                       n_raters=len(opinions.experts), why=f"{reading.twice} items are read a second time as the same case")  # fmt: skip
        return
    truths = [opinions.fact(item, "truth") for item in opinions.items]
    if opinions.scale.positive and opinions.scale.level in ("ordinal", "interval") and set(truths) > {opinions.scale.positive}:
        yield from _areas(desk, reading, truths)
    codes = opinions.truth(opinions.items)
    if opinions.scale.truth == "label" and opinions.scale.level in ("nominal", "ordinal") and (codes >= 0).any():
        yield from _accuracies(desk, reading, codes)


def _reading(opinions: Opinions) -> _Reading | None:
    """Return the modalities that the file names, or else the real and the synthetic images; None where there is only one."""
    named = [opinions.fact(item, "modality") for item in opinions.items]
    levels = sorted({m for m in named if m})
    if len(levels) < 2:
        named = [opinions.fact(item, "origin") for item in opinions.items]
        levels = [m for m in _ORIGINS if m in named]
    if len(levels) < 2:
        return None
    cases = [opinions.fact(item, "case") or item for item in opinions.items]
    place = {(m, case): k for k, (m, case) in enumerate(zip(named, cases, strict=True)) if m in levels}
    return _Reading(tuple(levels), tuple(sorted(set(cases))), place, sum(m in levels for m in named) - len(place))


def _areas(desk: Desk, reading: _Reading, truths: Sequence[str]) -> Iterator[ReliabilityRow]:
    opinions = desk.opinions
    table = opinions.table(opinions.experts, opinions.items)
    values = table if table.dtype.kind == "f" else np.where(table < 0, np.nan, table + 1.0)
    # A case is of one truth whichever image of it was read; items without truth take part in nothing.
    known = {case: truths[k] for (_, case), k in reading.place.items() if truths[k]}
    cases = [k for k, case in enumerate(reading.cases) if case in known]
    truth = np.array([known[reading.cases[k]] == opinions.scale.positive for k in cases], dtype=np.int64)
    scores = reading.cube(values)[:, :, cases]
    found = obuchowski_rockette(scores, truth)
    if found.status != "ok":
        yield desk.row("mrmc", EXPERTS, " - ".join(reading.modalities[:2]), "auc_difference", None, why=found.reason, status=found.status,
                       n_items=len(cases), n_raters=len(opinions.experts))  # fmt: skip
    else:
        yield from _of_mrmc(desk, reading, found)
    for a, b in combinations(range(len(reading.modalities)), 2):
        by_u = auc_difference(scores, truth, a, b)
        said = "; ".join(w for w in ("U-statistics, random readers and cases", by_u.method, by_u.note) if w)
        yield _contrast(desk, reading, "auc_difference_u", a, b, by_u.t, by_u.reason, by_u.status, said, len(cases))


def _of_mrmc(desk: Desk, reading: _Reading, found: Mrmc) -> Iterator[ReliabilityRow]:
    opinions = desk.opinions
    assert found.auc is not None
    # Crossed modalities share their cases, nested ones have cases of their own.
    n = max(map(sum, found.cases)) if found.design == "crossed" else sum(map(sum, found.cases))
    few = _few(len(opinions.experts), n)
    design = "; ".join((f"{found.design} cases, {found.covariance} covariances", *found.notes))
    for m, name in enumerate(reading.modalities):
        of = sum(found.cases[m])
        for reader, area in zip(opinions.experts, found.auc[m], strict=True):
            yield desk.row("mrmc", reader, name, "auc", float(area), n_items=of, n_raters=1, note="empirical, ties count half")
        single = found.single[m]
        interval = None
        if not opinions.clustered and single.se is not None and single.df is not None:
            interval = _t(single.auc, single.se, single.df, "Obuchowski-Rockette, Hillis' degrees of freedom", 0.0, 1.0)
        yield desk.row("mrmc", EXPERTS, name, "auc", single.auc, interval=interval,
                       why=SEVERAL if opinions.clustered else single.reason, n_items=of,
                       n_raters=len(opinions.experts), note="; ".join(w for w in (design, few) if w))  # fmt: skip
    for name, test in (("auc_difference", found.rrrc), ("auc_difference_frrc", found.frrc), ("auc_difference_rrfc", found.rrfc)):
        if test is not None:
            yield from _of_test(desk, reading, name, test, f"{design}{f'; {few}' if few else ''}", n)
    parts = found.components._asdict() if found.components is not None else {}
    for name, value in parts.items():
        if value is not None:
            yield desk.row("mrmc", EXPERTS, "all", name, float(value), n_items=n, n_raters=len(opinions.experts), note=design)


def _of_test(desk: Desk, reading: _Reading, name: str, test: Test, said: str, n: int) -> Iterator[ReliabilityRow]:
    if test.status != "ok":
        items = " - ".join(reading.modalities[:2])
        yield desk.row(
            "mrmc", EXPERTS, items, name, None, why=test.reason, status=test.status, n_items=n, n_raters=len(desk.opinions.experts)
        )
        return
    df2 = "" if test.df2 is None else f", {test.df2:.2f}"
    what = {"RRRC": "random readers and cases", "FRRC": "these readers, random cases", "RRFC": "random readers, these cases"}
    law = "F" if test.df2 is not None else "chi-square"
    noted = f"{what[test.analysis]}; {law}({test.df1}{df2}) = {test.statistic:.4f}, p = {test.p:.4f}; {said}"
    for contrast in test.contrasts:
        yield _contrast(desk, reading, name, contrast.a, contrast.b, contrast, "", "ok", noted, n)


def _contrast(desk: Desk, reading: _Reading, name: str, a: int, b: int, contrast: Contrast | None, why: str, status: str, note: str,
              n: int) -> ReliabilityRow:  # fmt: skip
    items, readers = f"{reading.modalities[a]} - {reading.modalities[b]}", len(desk.opinions.experts)
    if contrast is None:
        status = "not_computable" if status == "ok" else status
        return desk.row("mrmc", EXPERTS, items, name, None, why=why or note, status=status, n_items=n, n_raters=readers)
    if desk.opinions.clustered:
        return desk.row("mrmc", EXPERTS, items, name, contrast.difference, why=SEVERAL, n_items=n, n_raters=readers,
                        note=note.split("; F(", maxsplit=1)[0].split("; chi-square(", maxsplit=1)[0])  # fmt: skip
    df = f"t, df {contrast.df:.2f}" if contrast.df is not None else "normal"
    interval = _t(contrast.difference, contrast.se, contrast.df, df)
    return desk.row("mrmc", EXPERTS, items, name, contrast.difference, interval=interval, p=min(max(contrast.p, 0.0), 1.0), n_items=n,
                    n_raters=readers, note=note)  # fmt: skip


def _t(value: float, se: float, df: float | None, method: str, low: float = -1.0, high: float = 1.0) -> Interval:
    law = stats.norm if df is None else stats.t(df)
    two, one = (float(law.ppf(q)) * se for q in ((1 + LEVEL) / 2, LEVEL))

    def cut(x: float) -> float:
        return min(max(x, min(low, value)), max(high, value))

    return Interval(cut(value - two), cut(value + two), cut(value - one), cut(value + one), method, LEVEL)


def _few(readers: int, cases: int) -> str:
    if readers >= FEW_READERS and cases >= FEW_CASES:
        return ""
    return f"{readers} readers and {cases} cases: with fewer than {FEW_READERS} readers or {FEW_CASES} cases such a comparison says little"


def _accuracies(desk: Desk, reading: _Reading, truth: np.ndarray) -> Iterator[ReliabilityRow]:
    """Yield how the share of right answers differs between modalities."""
    opinions = desk.opinions
    table = opinions.table(opinions.experts, opinions.items)
    right = np.where((table < 0) | (truth[:, None] < 0), np.nan, (table == truth[:, None]).astype(np.float64))
    cube = reading.cube(right)
    for a, b in combinations(range(len(reading.modalities)), 2):
        found = mean_difference(cube, a, b, (0.0, 1.0))
        said = "; ".join(w for w in ("U-statistics, random readers and cases", found.method, found.note) if w)
        n = int((~np.isnan(cube[[a, b]])).any(axis=1).sum())
        yield _contrast(desk, reading, "accuracy_difference", a, b, found.t, found.reason, found.status, said, n)


def identification(desk: Desk) -> Iterator[ReliabilityRow]:
    """Yield how often each expert found the real image of a grid, beside chance, and all of them over the grids that they share."""
    opinions = desk.opinions
    sizes = {row.item: row.choices for row in opinions.rows if row.choices is not None}
    grids = [item for item in opinions.items if item in sizes]
    if not grids or not opinions.experts:
        yield desk.row("identification", EXPERTS, "all", "hit_rate", None, status="undefined_no_data", n_items=0, n_raters=0,
                       why="no rating says of how many images one was picked")  # fmt: skip
        return
    table, real = opinions.table(opinions.experts, grids), opinions.categories.index(REAL)
    hits = np.where(table < 0, np.nan, (table == real).astype(np.float64))
    of = np.array([sizes[grid] or 0 for grid in grids], dtype=np.int64)
    for k, reader in enumerate(opinions.experts):
        seen = ~np.isnan(hits[:, k])
        if not seen.any():
            continue
        by_size = [(int(hits[seen & (of == m), k].sum()), int((seen & (of == m)).sum()), int(m)) for m in np.unique(of[seen])]
        yield from _of_reader(desk, reader, by_size)
    together = pooled(hits.T, of, np.random.default_rng(desk.seed))
    if together.rate is None or together.chance is None:
        return
    shift, found = together.chance, together.interval
    interval = None if found is None else Interval(found.low + shift, found.high + shift, found.bound_low + shift, found.bound_high + shift,
                                                   found.method, found.level)  # fmt: skip
    yield desk.row("identification", EXPERTS, "all", "hit_rate", together.rate, interval=interval, why=together.reason,
                   n_items=together.grids, n_raters=together.readers, trials=together.answers, seed=desk.seed,
                   note=f"{_beside(shift, together.margin_ruled_out)}; {together.note}")  # fmt: skip


def _of_reader(desk: Desk, reader: str, by_size: Sequence[tuple[int, int, int]]) -> Iterator[ReliabilityRow]:
    hits, trials, sizes = (tuple(column) for column in zip(*by_size, strict=True))
    found = find_real(hits, trials, sizes)
    note = f"{found.hits} of {found.trials}; {_beside(found.chance, found.margin_ruled_out)}; p: exact, of more hits than chance"
    yield desk.row("identification", reader, "all", "hit_rate", found.rate, interval=found.exact, n_items=found.trials, n_raters=1,
                   trials=found.trials, p=found.p_above, note=note)  # fmt: skip
    yield desk.row("identification", reader, "all", "d_prime", found.d_prime.value, why=found.d_prime.reason, status=found.d_prime.status,
                   n_items=found.trials, n_raters=1, trials=found.trials)  # fmt: skip


def _beside(chance: float, ruled_out: float | None) -> str:
    """Say what chance would reach and which margin above it is ruled out at 5 %, one-sided."""
    if ruled_out is None:
        return f"chance {chance:.3f}; no margin above it can be ruled out"
    return f"chance {chance:.3f}; a rate of {chance + ruled_out:.3f} or more is ruled out"
