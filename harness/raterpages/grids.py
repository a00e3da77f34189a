"""Grids of values about raters: one cell per stored row, with letters for what is missing and remarks for what must be said beside it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..records import ALL, CONSENSUS, EXPERTS, MAJORITY, MODEL, REAL, SYNTHETIC, ReliabilityRow
from ..wording import counted, estimate, minus, number

NAMES = {
    "percent_agreement": ("Percent agreement", "APP"),
    "unanimity": ("Unanimity", ""),
    "fleiss_kappa": ("Fleiss\u2019 kappa", "FK"),
    "conger_kappa": ("Conger\u2019s kappa", ""),
    "mean_cohen_kappa": ("Cohen\u2019s kappa, mean of pairs", "CK"),
    "mean_cohen_kappa_quadratic": ("Cohen\u2019s kappa, quadratic", "mean of pairs"),
    "cohen_kappa": ("Cohen\u2019s kappa", "CK"),
    "krippendorff_alpha": ("Krippendorff\u2019s alpha", "KA"),
    "gwet_ac1": ("Gwet\u2019s AC1", "AC1"),
    "gwet_ac2_quadratic": ("Gwet\u2019s AC2", "quadratic"),
    "brennan_prediger": ("Brennan-Prediger", ""),
    "kendall_w": ("Kendall\u2019s W", ""),
    "icc_1_1": ("ICC(1,1)", "one-way"),
    "icc_a_1": ("ICC(A,1)", "absolute agreement"),
    "icc_c_1": ("ICC(C,1)", "consistency"),
    "icc_1_k": ("ICC(1,k)", "one-way, mean of raters"),
    "icc_a_k": ("ICC(A,k)", "absolute agreement, mean of raters"),
    "icc_c_k": ("ICC(C,k)", "consistency, mean of raters"),
    "mean_jaccard": ("Jaccard index", "mean of pairs"),
    "jaccard": ("Jaccard index", "1 is best"),
    "hamming": ("Hamming distance", "0 is best"),
    "u_fp": ("U_FP = 1 \u2212 precision", "named, not there"),
    "u_fn": ("U_FN = 1 \u2212 recall", "there, not named"),
    "f1": ("F1", ""),
    "auc": ("AUC", ""),
    "hit_rate": ("Share of hits", ""),
    "d_prime": ("d\u2032", ""),
    "sensitivity": ("Planted faults noticed", ""),
    "false_alarm_rate": ("False alarms", "on real images"),
    "expert_ceiling": ("Expert ceiling", "one reader against the rest"),
    "base_rate": ("Base rate", "always the commonest answer"),
    "self_consistency": ("Self-consistency", ""),
    "var_reader": ("var(reader)", ""),
    "var_modality_reader": ("var(modality \u00d7 reader)", ""),
    "var_error": ("var(error)", ""),
}  # fmt: skip
METHODS, SHORT = 4, 14
NOTHING = "no value"
# Every page about raters says this once; rows say it each.
KNOWN = "raters taken as fixed"
_COUNTS = re.compile(r"\d+ answers on \d+ items or patients are worth [\d.e+]+|, \d+ of \d+|\b\d+ (?=items|patients|cases|raters)")
_TEST = re.compile(r"F\(\d+, [\d.]+\) = ")


@dataclass(frozen=True)
class Entry:
    """One cell: a value with its interval, or words; under: a quieter second line; mark: the letter of a footnote."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    text: str = ""
    under: str = ""
    mark: str = ""

    @property
    def words(self) -> str:
        """The cell as one text."""
        text = self.text if self.value is None else estimate(self.value, self.low, self.high)
        return f"{text} ({self.mark})" if self.mark else text


@dataclass(frozen=True)
class Line:
    """One row of a grid; a heading has no entries."""

    name: str
    entries: tuple[Entry, ...] = ()
    under: str = ""


@dataclass(frozen=True)
class Grid:
    """A table: heads (name, quieter second line) of the first column and of each entry, lines, and what stands below.

    footnotes: letter, what is missing, and the reason. remarks: sentences. wide: numbers of the columns that hold sentences.
    """

    title: str
    note: str
    heads: tuple[tuple[str, str], ...]
    lines: tuple[Line, ...]
    footnotes: tuple[tuple[str, str, str], ...] = ()
    remarks: tuple[str, ...] = ()
    wide: frozenset[int] = frozenset()
    kind: str = field(default="grid", init=False)

    @property
    def headed(self) -> bool:
        """Whether lines stand under headings."""
        return any(not line.entries for line in self.lines)

    @property
    def widths(self) -> list[float]:
        """The shares of the columns, in per cent: names take two parts, sentences three, values one."""
        values = len(self.heads) - 1 - len(self.wide)
        first = 1.6 if values > 6 else 1.9 if values > 3 else 2.4
        parts = [first, *(3.4 if k in self.wide else 1.0 for k in range(1, len(self.heads)))]
        return [100 * part / sum(parts) for part in parts]

    @property
    def short(self) -> bool:
        """Whether the table is short enough to stand on one page undivided."""
        return len(self.lines) <= SHORT

    @property
    def stacked(self) -> bool:
        """Whether intervals stand under their values, because the columns are narrow."""
        narrow = [w for k, w in enumerate(self.widths) if k and k not in self.wide]
        return bool(narrow) and min(narrow) < 13.0


class Sheet:
    """The rows of one scale, which notes those that were shown. strata: what strata are called, such as label=1."""

    def __init__(self, rows: Iterable[ReliabilityRow], strata: Mapping[str, str]) -> None:
        self.rows = list(rows)
        self.strata = strata
        self._shown: set[int] = set()

    def of(self, *analyses: str) -> list[ReliabilityRow]:
        """Return the rows of these analyses."""
        return [row for row in self.rows if row.analysis in analyses]

    def show(self, row: ReliabilityRow) -> None:
        """Note that a row is on the page."""
        self._shown.add(id(row))

    @property
    def left(self) -> int:
        """How many rows are not on the page."""
        return sum(id(row) not in self._shown for row in self.rows)

    def methods(self) -> list[tuple[str, int]]:
        """Count how the intervals of the rows shown came about, counts left out; the most frequent first."""
        used = (row.ci_method for row in self.rows if id(row) in self._shown and row.ci_low is not None and row.ci_method)
        count = Counter(_COUNTS.sub("", method).rstrip(": ") for method in used)
        return sorted(count.items(), key=lambda item: (-item[1], item[0]))

    def part(self, items: str) -> str:
        """Return what a part of the items is called on the page."""
        if " - " in items:
            return " \u2212 ".join(self.part(one) for one in items.split(" - "))
        return "all items" if items == ALL else ", ".join(self.strata.get(one, one) for one in items.split(", "))


class Filling:
    """Fills one grid: hands out cells, footnote letters, and remarks with the names of the lines that they are about."""

    def __init__(self, sheet: Sheet, said: Iterable[str] = ()) -> None:
        """said: notes that the caption says already."""
        self.sheet = sheet
        self._said = frozenset({KNOWN, *said})
        self._reasons: dict[tuple[str, str], str] = {}
        self._notes: dict[str, list[str]] = {}
        self._lines: list[str] = []

    def cell(self, row: ReliabilityRow | None, line: str, under: str = "", *, words: bool = False, notes: bool = True) -> Entry:
        """Return the cell of a row.

        words: with what its interpretation scale, which the head names, calls the value. notes: keep its note as a remark, but for tests
        that a coefficient is not 0, which are no useful claim.
        """
        if row is None:
            return Entry(text=NOTHING)
        self.sheet.show(row)
        if notes and line not in self._lines:
            self._lines.append(line)
        for note in parts_of(row.note) if notes else ():
            if note in self._said or _TEST.match(note):
                continue
            self._notes.setdefault(minus(note), []).append(line)
        if row.value is None:
            return Entry(text=NOTHING, under=under, mark=self._letter("not computable", row.reason))
        below = under or (row.scale_words.partition(" (")[0].lower() if words else "")
        if row.ci_low is None and row.ci_high is None:
            why = row.ci_method.removeprefix("no interval: ")
            return Entry(row.value, under=below, mark=self._letter("no interval", why) if why else "")
        return Entry(row.value, row.ci_low, row.ci_high, under=below)

    def _letter(self, what: str, reason: str) -> str:
        found = self._reasons.setdefault((what, reason), "")
        if not found:
            k = len(self._reasons) - 1
            found = self._reasons[what, reason] = (chr(ord("a") + k // 26 - 1) if k >= 26 else "") + chr(ord("a") + k % 26)
        return found

    def grid(self, title: str, note: str, heads: Sequence[tuple[str, str]], lines: Iterable[Line], remarks: Iterable[str] = (),
             wide: Iterable[int] = ()) -> Grid:  # fmt: skip
        """Return the grid with the footnotes and remarks that its cells gave rise to."""
        body = tuple(lines)
        footnotes = tuple((letter, what, reason) for (what, reason), letter in self._reasons.items())
        said = [note if set(about) == set(self._lines) else f"{note} ({_about(about)})" for note, about in self._notes.items()]
        return Grid(title, note, tuple(heads), body, footnotes, (*remarks, *(sentence(text) for text in said)), frozenset(wide))


def parts_of(note: str) -> list[str]:
    """Return the single things that a note says."""
    return [part.strip() for part in note.split(";") if part.strip()]


def _about(lines: Sequence[str]) -> str:
    names = list(dict.fromkeys(lines))
    return "; ".join(names) if len(names) <= 6 else f"{'; '.join(names[:5])}; and {len(names) - 5} more lines"


def sentence(text: str) -> str:
    """Return a remark as a sentence; a p that it begins with stays small."""
    text = text if text.startswith("p:") else text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."


def head(statistic: str) -> tuple[str, str]:
    """Return the head of a column: what the statistic is called, and how papers abbreviate it."""
    plain = statistic.replace("_", " ")
    return NAMES.get(statistic, (plain[:1].upper() + plain[1:], ""))


def head_with(statistic: str, rows: Iterable[ReliabilityRow]) -> tuple[str, str]:
    """Return the head of a column whose cells hold words, such as Weak, with the name of the scale that these words are of."""
    name, under = head(statistic)
    scales = distinct(r.scale_words.partition(" (")[2].rstrip(")") for r in rows if r.statistic == statistic)
    return name, ", ".join(filter(None, (under, *scales)))


def called(statistic: str) -> str:
    """Return what a statistic is called within a sentence."""
    return head(statistic)[0]


def who(raters: str) -> str:
    """Return what raters are called on the page."""
    if raters.startswith(MODEL):
        return f"{raters.removeprefix(MODEL)} (language model)"
    names = {EXPERTS: "Experts", MAJORITY: "Majority of experts", CONSENSUS: "Consensus (Dawid-Skene)"}
    return names.get(raters, raters)


def column_of(raters: str) -> tuple[str, str]:
    """Return the head of a column about these raters."""
    return (raters.removeprefix(MODEL), "language model") if raters.startswith(MODEL) else (who(raters), "")


def readers_first(raters: str) -> tuple[int, list[tuple[bool, int, str]]]:
    """Return a key that puts models before single readers, then all experts, their majority and their consensus."""
    place = {EXPERTS: 2, MAJORITY: 3, CONSENSUS: 4}.get(raters, 0 if raters.startswith(MODEL) else 1)
    return place, natural(raters)


def part_order(items: str) -> tuple[int, list[tuple[bool, int, str]]]:
    """Return a key that puts all items first, then real, synthetic, single strata, crossed strata, and differences."""
    first = {ALL: 0, REAL: 1, SYNTHETIC: 2}.get(items, 3)
    return (5 if " - " in items else 4 if ", " in items else first), natural(items)


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Return a key that counts numbers within names as numbers: R2 before R10."""
    return [(False, int(word), "") if word.isdecimal() else (True, 0, word) for word in re.split(r"(\d+)", name) if word]


def distinct(values: Iterable[str]) -> list[str]:
    """Return each value once, in the order of its first appearance."""
    return list(dict.fromkeys(values))


def is_reader(raters: str) -> bool:
    """Return whether this is one expert, and not a model, a pair, or several together."""
    return raters not in (EXPERTS, MAJORITY, CONSENSUS) and not raters.startswith(MODEL) and " & " not in raters


def in_order(statistics: Iterable[str]) -> list[str]:
    """Return each statistic once, in the order in which papers list them; others last, by name."""
    known = list(NAMES)
    return sorted(set(statistics), key=lambda name: (known.index(name) if name in known else len(known), name))


def of_n(n: int) -> str:
    """Print a number of items so that it is not torn: n = 41."""
    return f"n\u00a0=\u00a0{number(n)}"


def cut(found: Sequence[str], most: int, noun: str, plural: str = "") -> tuple[list[str], list[str]]:
    """Return the first of them, and a remark where some are left out."""
    shown = list(found[:most])
    left = len(found) - len(shown)
    return shown, [
        f"{number(len(shown))} of {counted(len(found), noun, plural)} are shown; all are in the table reliability."
    ] if left else []
