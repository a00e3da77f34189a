"""Collects the ratings of experts and language models, and says how far they agree: experts first, then model against experts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import datasets
from ..bench import Bench
from ..catalogue import pseudonym
from ..cells import Cell, Draft, derive
from ..checks import LLM_STATISTICS, STATISTICS, Parts
from ..components import LLMCheck, RatingImporter
from ..errors import HarnessError, NotComputable, Problem
from ..quantities import Rating, Record, Scale
from ..records import CellStatus, FindingRow, JudgeCallRow, RatingRow, ReliabilityRow
from ..spec import AuditSpec
from ..statistics import agreement
from ..statistics.votes import majority_vote
from .sample import NAMES

FEW_ITEMS = 20


def cells(draft: Draft, spec: AuditSpec, parts: Parts, data: str, sample: str, synthetic: str) -> list[str]:
    """Add one cell per importer and LLM check, and one per scale for the agreement among them."""
    if spec.ratings is None:
        return []
    scales = [scale.model_dump(mode="json") for scale in spec.ratings.scales]
    read = []
    for i, importer in enumerate(parts.importers):
        arguments = {"importer": i, "scales": scales, "data": data, "sample": sample, "sha256": synthetic}
        title = f"ratings from {importer.name}"
        read.append(draft.add("rate", importer.name, title, "rate.read", arguments, importer.identity, [data, sample]))
    asked = []
    for i, check in enumerate(parts.llm_checks):
        arguments = {"check": i, "scales": scales, "data": data, "sample": sample, "sha256": synthetic, "read": read}
        asked.append(draft.add("rate", check.name, f"ratings by {check.name}", "rate.ask", arguments, check.identity, [data, sample], 5))
    for scale in scales:
        arguments = {"scale": scale, "ratings": [*read, *asked]}
        draft.add("rate", "agreement", f"agreement on {scale['name']}", "rate.agree", arguments, None, [*read, *asked], 3)
    return [*read, *asked]


def read(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Read the ratings of one importer."""
    part = bench.parts.importers[cell.arguments["importer"]]
    assert isinstance(part.component, RatingImporter)
    context = bench.context(folder, "read", part.name, part.offer.version)
    yield from _known(bench, cell, _rows(cell, part.component.read(context), cell.arguments["scales"]))


def _known(bench: Bench, cell: Cell, rows: Iterable[RatingRow]) -> Iterator[Record]:
    """Give each rated item the id of its image. Names that match none may name patients, so these are replaced too."""
    names: dict[str, str] = {}
    for key in (cell.arguments["data"], cell.arguments["sample"]):
        path = bench.cache.folder(key) / NAMES
        if path.exists():
            found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
            # One name for two images names neither.
            twice = {key for key in found.keys() & names.keys() if found[key] != names[key]}
            names = {key: name for key, name in (names | found).items() if key not in twice}
    unknown: set[str] = set()
    for row in rows:
        item = datasets.known_as(row.item, names, bench.salt)
        if item is None:
            unknown.add(row.item)
            item = pseudonym(row.item, bench.salt).replace("p-", "item-", 1)
        yield row.model_copy(update={"item": item})
    if unknown:
        text = f"{len(unknown)} rated items are not images of this audit; their names are replaced."
        yield FindingRow(cell=cell.key, severity="note", kind="unknown_items", text=text)


def ask(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Ask a model about the images that experts rated; about every synthetic image where no expert rated any."""
    arguments = cell.arguments
    part = bench.parts.llm_checks[arguments["check"]]
    assert isinstance(part.component, LLMCheck)
    rated = {row.item for row in _ratings(bench, arguments["read"])}
    context = bench.context(folder, "ask", part.name, part.offer.version)
    scales = tuple(Scale.model_validate(scale) for scale in arguments["scales"])
    sets = (
        bench.images(arguments["sample"], "synthetic"),
        bench.images(arguments["data"], "test"),
        bench.images(arguments["data"], "train"),
    )
    ratings: list[Rating] = []
    for images in sets:
        rows = [row for row, item in enumerate(images.ids) if item in rated]
        if rows:
            ratings.extend(part.component.rate(images.take(rows), scales, context))
    if not ratings:
        ratings.extend(part.component.rate(sets[0], scales, context))
    for rating in ratings:
        digest = hashlib.sha256(repr(rating.value).encode()).hexdigest()
        question = next((s.question for s in scales if s.name == rating.scale), "")
        prompt = hashlib.sha256(question.encode()).hexdigest()
        yield JudgeCallRow(cell=cell.key, item=rating.item, model=rating.rater, prompt_sha256=prompt, reply_sha256=digest, tokens=None,
                           seconds=rating.seconds, status=rating.status, reason=rating.reason)  # fmt: skip
    yield from _rows(cell, ratings, arguments["scales"])


def agree(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Yield the agreement statistics of one scale, with intervals over items; the raters are taken as given."""
    scale = Scale.model_validate(cell.arguments["scale"])
    asked = [r for r in _ratings(bench, cell.arguments["ratings"]) if r.scale == scale.name]
    rows = [r for r in asked if r.status == "ok"]
    if not rows:
        raise NotComputable(f"no usable rating on the scale {scale.name}")
    rng_seed = derive(bench.seed, "agreement", scale.name)
    experts = [r for r in rows if r.rater_kind == "expert"]
    models = {model: [r for r in asked if r.rater == model] for model in sorted({r.rater for r in asked if r.rater_kind == "llm"})}
    if scale.level == "interval":
        if experts:
            yield from _interval_scale(cell, scale, experts, rng_seed)
        for model, replies in models.items():
            yield from _no_majority(cell, scale, model, replies)
        return
    categories = scale.categories or tuple(sorted({_word(r) for r in rows}))
    if not scale.categories:
        text = f"The categories of the scale {scale.name} are those that occur ({', '.join(categories)})"
        text += "; chance-corrected statistics depend on the declared ones."
        yield FindingRow(cell=cell.key, severity="note", kind="undeclared_categories", text=text)
    codes, items, raters = _table(experts, categories)
    battery = agreement.BATTERIES["ordinal" if scale.level == "ordinal" else "nominal"]
    q = len(categories)
    if len(items):
        for name in STATISTICS:
            statistic = partial(_on, battery[name], q)
            yield _reliability(cell, scale.name, "experts", name, statistic, codes, len(raters), rng_seed)
    majority = dict(zip(items, majority_vote(codes, q).codes, strict=True)) if len(items) else {}
    for model, replies in models.items():
        yield from _against_majority(cell, scale.name, model, replies, majority, categories, rng_seed)


def _on(statistic: agreement.Coefficient, categories: int, codes: np.ndarray) -> agreement.Agreement:
    return statistic(codes, categories)


def _against_majority(cell: Cell, scale: str, model: str, replies: list[RatingRow], majority: dict[str, int],
                      categories: tuple[str, ...], seed: int) -> Iterator[ReliabilityRow]:  # fmt: skip
    """Compare a model's first reply with the majority; no answer is a category of its own, on which no majority ever agrees."""
    none = len(categories)
    first = {r.item: r for r in _last_to_first(replies) if majority.get(r.item, agreement.MISSING) >= 0}
    answers = {item: categories.index(_word(r)) if r.status == "ok" else none for item, r in first.items()}
    table = np.array([[majority[item], answers[item]] for item in sorted(answers)], dtype=np.int64).reshape(-1, 2)
    silent = sum(answer == none for answer in answers.values())
    note = f"{silent} of {len(table)} items were not answered, which counts as disagreement" if silent else ""
    coefficients: dict[str, agreement.Coefficient] = {
        "percent_agreement": agreement.percent_agreement,
        "cohen_kappa": agreement.cohen_kappa,
    }
    for name in LLM_STATISTICS:
        statistic = partial(_on, coefficients[name], none + 1)
        yield _reliability(cell, scale, _subset(model), name, statistic, table, 2, seed, note)


def _no_majority(cell: Cell, scale: Scale, model: str, replies: list[RatingRow]) -> Iterator[ReliabilityRow]:
    reason = f"{scale.name} is an interval scale: numbers have no majority that a model could agree with"
    for name in LLM_STATISTICS:
        yield ReliabilityRow(cell=cell.key, scale=scale.name, subset=_subset(model), statistic=name, value=None,
                             n_items=len({r.item for r in replies}), n_raters=2, status="not_computable", reason=reason)  # fmt: skip


def _subset(model: str) -> str:
    return f"llm {model} against expert majority"


def _interval_scale(cell: Cell, scale: Scale, experts: list[RatingRow], seed: int) -> Iterator[Record]:
    items, raters = sorted({r.item for r in experts}), sorted({r.rater for r in experts})
    values = np.full((len(items), len(raters)), np.nan)
    for row in _last_to_first(experts):
        values[items.index(row.item), raters.index(row.rater)] = np.nan if row.value is None else row.value
    yield _reliability(cell, scale.name, "experts", "krippendorff_alpha", lambda v: agreement.krippendorff_alpha(v, None, "interval"),
                       values, len(raters), seed)  # fmt: skip


def _reliability(cell: Cell, scale: str, subset: str, name: str, statistic: Callable[[np.ndarray], agreement.Agreement],
                 table: np.ndarray, raters: int, seed: int, said: str = "") -> ReliabilityRow:  # fmt: skip
    base: dict[str, Any] = {"cell": cell.key, "scale": scale, "subset": subset, "statistic": name, "n_items": len(table),
                            "n_raters": raters, "seed": seed}  # fmt: skip
    found = statistic(table)
    if found.value is None:
        return ReliabilityRow(**base, value=None, status=found.status, reason="; ".join(n for n in (found.reason, said) if n))
    low = 0.0 if name in agreement.FROM_ZERO else -1.0
    answer = agreement.agreement_interval(statistic, table, np.random.default_rng(seed), low)
    notes = [
        answer.note,
        found.reason,
        said,
        f"fewer than {FEW_ITEMS} items: the interval is optimistic" if len(table) < FEW_ITEMS else "",
    ]
    note = "; ".join(n for n in notes if n)
    if answer.interval is None:
        return ReliabilityRow(**base, value=found.value, ci_method=f"no interval: {note}")
    got = answer.interval
    return ReliabilityRow(
        **base, value=found.value, ci_low=got.low, ci_high=got.high, bound_low=got.bound_low, bound_high=got.bound_high,
        ci_method=f"{got.method}; {note}" if note else got.method, level=got.level,
    )  # fmt: skip


def _table(rows: list[RatingRow], categories: tuple[str, ...]) -> tuple[np.ndarray, list[str], list[str]]:
    """Return codes (items, raters), -1 = missing, with the items and raters; the first occasion of each rater counts."""
    items, raters = sorted({r.item for r in rows}), sorted({r.rater for r in rows})
    codes = np.full((len(items), len(raters)), agreement.MISSING)
    place = {item: i for i, item in enumerate(items)}
    for row in _last_to_first(rows):
        codes[place[row.item], raters.index(row.rater)] = categories.index(_word(row))
    return codes, items, raters


def _last_to_first(rows: Iterable[RatingRow]) -> list[RatingRow]:
    """Return the rows by falling occasion, numbers within a name counted as numbers, so that the first overwrites the others."""

    def natural(row: RatingRow) -> list[tuple[bool, int, str]]:
        words = (word for word in re.split(r"([0-9]+)", row.occasion) if word)
        return [(False, int(word), "") if word.isdecimal() else (True, 0, word) for word in words]

    return sorted(rows, key=natural, reverse=True)


def _word(row: RatingRow) -> str:
    if row.text is not None:
        return row.text
    return "" if row.value is None else _number(row.value)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _ratings(bench: Bench, keys: Iterable[str]) -> list[RatingRow]:
    results = [bench.cache.load(key) for key in keys]
    return [row for result in results if result for row in result.rows if isinstance(row, RatingRow)]


def _rows(cell: Cell, ratings: Iterable[Rating], declared: list[Any]) -> Iterator[RatingRow]:
    """Yield ratings as rows; one outside its scale's categories is kept and marked unusable."""
    scales = {scale["name"]: scale for scale in declared}
    seen: dict[tuple[str, str, str, str], str] = {}
    for rating in ratings:
        if rating.scale not in scales:
            continue
        scale = scales[rating.scale]
        key = (rating.item, rating.rater, rating.scale, rating.occasion)
        if key in seen:
            raise HarnessError(Problem(f"{rating.rater} rated {rating.item} twice on {rating.scale}: {seen[key]}", rating.source,
                                       "keep one rating, or give them different occasions"))  # fmt: skip
        seen[key] = rating.source
        value, status, reason = rating.value, rating.status, rating.reason
        number = float(value) if isinstance(value, int | float) else None
        text = value if isinstance(value, str) else None
        if scale["level"] == "interval" and text is not None:
            try:
                number, text = float(text), None
            except ValueError:
                status, reason = "unusable", f"{text!r} is not a number"
        elif status == "ok" and scale["categories"]:
            word = text if text is not None else (_number(number) if number is not None else "")
            if word not in scale["categories"]:
                status, reason = "unusable", f"{word!r} is not among the declared categories"
        if number is None and text is None and not reason:
            status, reason = "missing" if status == "ok" else status, "no answer was given"
        yield RatingRow(
            cell=cell.key, item=rating.item, rater=rating.rater, rater_kind=rating.rater_kind, scale=rating.scale, value=number,
            text=text, status=status, reason=reason, occasion=rating.occasion, seconds=rating.seconds, source=rating.source,
        )  # fmt: skip


def blank(bench: Bench, cell: Cell, status: CellStatus, reason: str) -> Iterator[Record]:
    """Say for a scale without ratings that its agreement is not known; importers say it in their cell."""
    if cell.component == "agreement":
        for name in STATISTICS:
            yield ReliabilityRow(cell=cell.key, scale=cell.arguments["scale"]["name"], subset="experts", statistic=name, value=None,
                                 n_items=0, n_raters=0, status=status, reason=reason)  # fmt: skip
