"""What `harness study power` says: what a reader study of a size can show, and what size it would need."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError, Problem
from ..statistics import readersizes as sizes
from ..statistics.mrmc import obuchowski_rockette
from ..statistics.readersizes import POWER, VAN_DYKE, Planned

LEAST_RATERS, LEAST_ITEMS = 3, 50
LEAST_READERS, LEAST_CASES = 5, 100
HALF_WIDTH = 0.10
MARGINS = (0.10, 0.15, 0.20, 0.25)
READERS = (3, 4, 5, 6, 8, 10, 15)
DEFAULT = "default"
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "reader": ("reader", "rater", "readerid"),
    "modality": ("modality", "treatment", "test", "modalityid"),
    "case": ("case", "item", "caseid"),
    "truth": ("truth",),
    "rating": ("rating", "score", "value"),
}
_MISSING = ("", "na", "nan")


@dataclass(frozen=True)
class Asked:
    """What the command line asks; at least one of the three questions.

    readers, items: what precision of agreement they give, with so many categories and a kappa expected; skewed: one of two categories
    holds nine in ten of the items, in place of kappa and categories. grids, of: grids of m images, one of them real. auc_difference:
    difference of mean AUCs to be found, with the components of a pilot study (CSV file with the columns reader, modality, case, truth,
    rating) or `default`; readers and items then say for which study its power is wanted, items being its cases.
    """

    readers: int | None = None
    items: int | None = None
    categories: int = 3
    kappa: float = 0.42
    skewed: bool = False
    grids: int | None = None
    of: int = 4
    auc_difference: float | None = None
    components: str = DEFAULT


def lines(asked: Asked) -> list[str]:
    """Return the answer as text, a blank line between questions. InputError: nothing to answer, numbers out of range, a bad pilot file."""
    _check(asked)
    parts = []
    if asked.auc_difference is not None:
        parts.append(list(_auc(asked, asked.auc_difference)))
    elif asked.readers is not None:
        parts.append(list(_agreement(asked, asked.readers)))
    if asked.grids is not None:
        parts.append(list(_grids(asked.grids, asked.of)))
    return [line for k, part in enumerate(parts) for line in ([""] if k else []) + part]


def _check(asked: Asked) -> None:
    wrong = [
        (asked.readers is not None and asked.readers < 2, "--readers", "agreement and comparisons need at least 2 readers"),
        (asked.items is not None and asked.items < 2, "--items", "a study has at least 2 items"),
        (asked.items is not None and asked.readers is None, "--items", "items are rated by --readers, of which nothing is said"),
        (
            asked.components != DEFAULT and asked.auc_difference is None,
            "--components",
            "a pilot serves --auc-difference alone, which is not given",
        ),
        (asked.categories < 2, "--categories", "there are at least 2 categories"),
        (not -1 <= asked.kappa <= 1, "--kappa", "kappa lies between -1 and 1"),
        (asked.grids is not None and asked.grids < 1, "--grids", "a study has at least 1 grid"),
        (asked.of < 2, "--of", "a grid has at least 2 images"),
        (asked.auc_difference is not None and not 0 < abs(asked.auc_difference) < 1, "--auc-difference", "it lies between 0 and 1"),
    ]
    problems = [Problem(text, option, "change the options") for bad, option, text in wrong if bad]
    if problems:
        raise InputError(*problems)
    if asked.grids is None and asked.auc_difference is None and asked.readers is None:
        what = "nothing is asked: give readers (with items), grids, or a difference of AUCs"
        fix = "for example --readers 3 --items 60, --grids 60 --of 4, or --auc-difference 0.05"
        raise InputError(Problem(what, "harness study power", fix))


def _agreement(asked: Asked, raters: int) -> Iterator[str]:
    expected = f"kappa {asked.kappa:g}" if not asked.skewed else "kappa .45, one of two categories with 90 % of the items"
    yield f"Agreement of {raters} raters, if {expected}:"
    if asked.items is not None:
        found = sizes.agreement_half_width(asked.items, raters, asked.kappa, asked.categories, asked.skewed)
        width = _range(found.low, found.high)
        yield f"  {asked.items} items give kappa and alpha to about +-{width} (95 % interval), AC1 as well or better."
        accuracy = sizes.share_half_width(0.8, asked.items)
        yield f"  The accuracy of one reader, if 80 %, is known to +-{accuracy:.3f} (Wilson)."
    needed = sizes.items_for_half_width(HALF_WIDTH, raters, asked.kappa, asked.categories, asked.skewed)
    yield f"  For +-{HALF_WIDTH:.2f} about {needed} items are needed."
    source = sizes.agreement_half_width(asked.items or needed or LEAST_ITEMS, raters, asked.kappa, asked.categories, asked.skewed).source
    yield f"  Where this comes from: {source}."
    yield "  Raters are taken as given: this says how sure the agreement of these raters is, not of others."
    few = [f"{raters} raters (fewer than {LEAST_RATERS})"] if raters < LEAST_RATERS else []
    few += [f"{asked.items} items (fewer than {LEAST_ITEMS})"] if asked.items is not None and asked.items < LEAST_ITEMS else []
    if few:
        yield f"  Warning: {' and '.join(few)} are too few for a claim about agreement."


def _range(low: float, high: float) -> str:
    return f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"


def _grids(grids: int, m: int) -> Iterator[str]:
    chance = 1 / m
    yield f"{grids} grids of {m} images, one of them real (chance {chance:.3f}), power {100 * POWER:.0f} %, exact one-sided tests at 5 %:"
    detected, ruled_out = sizes.smallest_detected(m, grids), sizes.smallest_ruled_out(m, grids)
    if detected is None:
        yield "  No reader, however good, is found to be above chance with this power."
    else:
        yield f"  A reader who finds the real image in {100 * (chance + detected):.0f} % of the grids or more is found to be above chance."
    if ruled_out is None:
        yield "  No margin can be ruled out with this power, even if readers guess."
    else:
        yield f"  If a reader guesses, a rate of {100 * (chance + ruled_out):.0f} % or more (chance + {ruled_out:.2f}) can be ruled out."
    yield "  Grids needed:"
    yield f"    {'margin over chance':<20}{'to detect it':>14}{'to rule it out':>16}"
    for margin in (x for x in MARGINS if x < 1 - chance):
        yield f"    {margin:<20.2f}{_count(sizes.grids_to_detect(m, margin)):>14}{_count(sizes.grids_to_rule_out(m, margin)):>16}"
    yield '  "Not significantly above chance" never shows that images cannot be told apart: that claim needs the margin ruled out.'
    yield "  These are grids for one reader. More readers on the same grids add less than as many grids more would."


def _count(n: int | None) -> str:
    return "-" if n is None else f"{n:,}"


def _auc(asked: Asked, difference: float) -> Iterator[str]:
    planned = VAN_DYKE if asked.components == DEFAULT else pilot(Path(asked.components))
    yield f"Difference of mean AUCs of {abs(difference):g}, power {100 * POWER:.0f} %, two-sided test at 5 %, random readers and cases:"
    readers = sorted({*READERS, *([asked.readers] if asked.readers is not None else [])})
    table = sizes.readers_by_cases(difference, readers, planned)
    yield f"  {'readers':>9}{'cases needed':>15}"
    for n, cases in table.items():
        yield f"  {n:>9}{'never' if cases is None else f'{cases:,}':>15}{_below(n, cases)}"
    never = [n for n, cases in table.items() if cases is None]
    if never:
        yield f"  {_words(max(never))} cannot reach {100 * POWER:.0f} % power for {abs(difference):g} with any number of cases."
    if asked.readers is not None and asked.items is not None:
        power = sizes.mrmc_power(difference, asked.readers, asked.items, planned)
        yield f"  {asked.readers} readers and {asked.items} cases have a power of {100 * power:.0f} %."
        if asked.readers < LEAST_READERS or asked.items < LEAST_CASES:
            yield f"  Warning: a claim about readers in general needs at least {LEAST_READERS} readers and {LEAST_CASES} cases."
    yield f"  * fewer than {LEAST_READERS} readers or {LEAST_CASES} cases: too few for a claim about readers in general."
    yield f"  The numbers rest on the variance components of {planned.source}; yours will differ."
    if planned.var_modality_reader <= 0:
        yield "  In that study readers differ less than cases alone make them: that component counts as 0, and the numbers are too small."
    yield "  Formula: Hillis, Obuchowski & Berbaum 2011, Acad. Radiol. 18:129; the share of positive cases is that of the pilot."


def _below(readers: int, cases: int | None) -> str:
    return " *" if cases is not None and (readers < LEAST_READERS or cases < LEAST_CASES) else ""


def _words(readers: int) -> str:
    names = {2: "Two", 3: "Three", 4: "Four", 5: "Five", 6: "Six", 8: "Eight", 10: "Ten"}
    return f"{names.get(readers, str(readers))} readers"


def pilot(path: Path) -> Planned:
    """Return the variance components of a pilot study in a CSV file with the columns reader, modality, case, truth (0 or 1) and rating.

    treatment or test stand for modality, rater for reader, item for case, score or value for rating; other columns are not read. Empty
    ratings, NA and NaN are missing. InputError names the line of what is wrong.
    """
    scores, truth = _array(path, list(_rows(path)))
    if len(scores) != 2:
        what = f"{len(scores)} modalities, and a comparison is between two"
        raise InputError(Problem(what, str(path), "leave the rows of two modalities in the file"))
    found = obuchowski_rockette(scores, truth)
    parts = found.components
    if found.status != "ok":
        raise InputError(
            Problem(f"no variance components: {found.reason}", str(path), "give a pilot in which every reader rated every case")
        )
    if parts is None or parts.var_modality_reader is None or parts.cov1 is None or parts.cov2 is None or parts.cov3 is None:
        raise InputError(Problem("no variance components: one reader does not tell how much readers differ", str(path), "add readers"))
    cases = round(sum(sum(n) for n in found.cases) / len(found.cases))
    each = "the same cases" if found.design == "crossed" else "cases of its own, so cases are per modality"
    source = f"{path.name} ({scores.shape[1]} readers, {cases} cases, each modality with {each})"
    return Planned(parts.var_modality_reader, parts.var_error, parts.cov1, parts.cov2, parts.cov3, cases, source)


@dataclass(frozen=True)
class _Row:
    line: int
    reader: str
    modality: str
    case: str
    truth: int
    rating: float


def _rows(path: Path) -> Iterator[_Row]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror}", str(path), "check the option --components")) from error
    except UnicodeDecodeError as error:
        raise InputError(Problem("is not UTF-8 text", str(path), "save it as CSV in UTF-8")) from error
    reader = csv.reader(io.StringIO(text, newline=""))
    header = [name.strip().lower() for name in next(reader, [])]
    places = _places(header, path)
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield _row(cells, places, path, reader.line_num)


def _places(header: Sequence[str], path: Path) -> dict[str, int]:
    """Return the column of each thing that is read."""
    places = {}
    for name, words in _COLUMNS.items():
        found = [k for k, word in enumerate(header) if word in words]
        if len(found) != 1:
            what = f"{'no column' if not found else 'several columns'} for {name}"
            raise InputError(Problem(what, f"{path}:1", f"name one column {' or '.join(words[:2])}"))
        places[name] = found[0]
    return places


def _row(cells: Sequence[str], places: Mapping[str, int], path: Path, line: int) -> _Row:
    where = f"{path}:{line}"
    if len(cells) <= max(places.values()):
        raise InputError(Problem(f"{len(cells)} values, too few", where, "give every row a value under every column"))
    value = {name: cells[k].strip() for name, k in places.items()}
    truth, rating = _number(value["truth"], "truth", where), math.nan
    if truth not in (0.0, 1.0):
        raise InputError(Problem(f"the truth is {value['truth']!r}", where, "write 0 for a negative and 1 for a positive case"))
    if value["rating"].lower() not in _MISSING:
        rating = _number(value["rating"], "rating", where)
    return _Row(line, value["reader"], value["modality"], value["case"], int(truth), rating)


def _number(text: str, what: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(Problem(f"the {what} is {text!r}, not a number", where, "write numbers with a decimal point"))
    return number


def _array(path: Path, rows: Sequence[_Row]) -> tuple[np.ndarray, np.ndarray]:
    """Return scores (modality, reader, case), in the order of the file, and truth (case,)."""
    if not rows:
        raise InputError(Problem("holds no rating", str(path), "give a row for every rating"))
    modalities, readers, cases = ({n: k for k, n in enumerate(dict.fromkeys(names))} for names in zip(*map(_names, rows), strict=True))
    scores = np.full((len(modalities), len(readers), len(cases)), np.nan)
    truth, first = np.full(len(cases), -1), dict[tuple[str, str, str], int]()
    for row in rows:
        where, k = f"{path}:{row.line}", cases[row.case]
        if (line := first.setdefault(_names(row), row.line)) != row.line:
            raise InputError(
                Problem(f"{row.reader} rates case {row.case} a second time, first in line {line}", where, "keep one of the two")
            )
        if truth[k] not in (-1, row.truth):
            raise InputError(Problem(f"case {row.case} has two truths", where, "give a case one truth"))
        truth[k] = row.truth
        scores[modalities[row.modality], readers[row.reader], k] = row.rating
    return scores, truth


def _names(row: _Row) -> tuple[str, str, str]:
    return row.modality, row.reader, row.case
