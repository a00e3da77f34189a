"""Collects the ratings of experts and language models, ties them to images, and says what they are worth."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .. import datasets, raters
from ..bench import Bench
from ..catalogue import pseudonym
from ..cells import Cell, Draft, derive
from ..checks import Parts
from ..components import Context, LLMCheck, RatingImporter
from ..errors import HarnessError, InputError, NotComputable, Problem
from ..images import ImageSet
from ..quantities import ModelCall, Rating, Record, as_answer
from ..raters.agreeing import statistics
from ..raters.opinions import word
from ..raters.rows import as_row
from ..readerspec import ScaleSpec
from ..records import CellStatus, FindingRow, JudgeCallRow, RatingRow, ReliabilityRow
from ..spec import AuditSpec, digest
from .sample import NAMES

_HALF = 0.5
SPENDING = ("budget", "price", "concurrency", "retries", "wait", "timeout")
_ROLES = ("test", "train", "validation")


def cells(draft: Draft, spec: AuditSpec, parts: Parts, data: str, sample: str, synthetic: str) -> list[str]:
    """Add one cell per importer and LLM check, and one per scale for the agreement among them."""
    if spec.ratings is None:
        return []
    # Gates are the judge's: another bound asks nobody again.
    scales = [scale.model_dump(mode="json", exclude={"gates"}) for scale in spec.ratings.scales]
    read = []
    for i, importer in enumerate(parts.importers):
        arguments = {"importer": i, "scales": scales, "data": data, "sample": sample, "sha256": synthetic}
        title = f"ratings from {importer.name}"
        read.append(draft.add("rate", importer.name, title, "rate.read", arguments, importer.identity, [data, sample]))
    asked = []
    for i, check in enumerate(parts.llm_checks):
        arguments = {"check": i, "scales": scales, "data": data, "sample": sample, "sha256": synthetic, "read": read}
        asked.append(
            draft.add("rate", check.name, f"ratings by {check.name}", "rate.ask", arguments, check.identity, [*read, data, sample], 5)
        )
    for scale in scales:
        arguments = {"scale": scale, "ratings": [*read, *asked]}
        draft.add("rate", "agreement", f"raters on {scale['name']}", "rate.agree", arguments, None, [*read, *asked], 20)
    return [*read, *asked]


def read(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Read the ratings of one importer, and say what was odd about the file."""
    part = bench.parts.importers[cell.arguments["importer"]]
    assert isinstance(part.component, RatingImporter)
    context = bench.context(folder, "read", part.name, part.offer.version)
    _require_asked(part.component, cell.arguments["scales"])
    ratings = _readable(part.component, context)
    rows = list(_rows(cell, ratings, cell.arguments["scales"]))
    yield from _known(bench, cell, rows)
    for about, text in context.notes.items():
        yield FindingRow(cell=cell.key, severity="note", kind="ratings_file", text=_unnamed(f"{about}: {text}", ratings))
    yield from _thin_readers(cell, rows)
    known = {scale["name"] for scale in cell.arguments["scales"]}
    for scale, n in sorted(Counter(r.scale for r in ratings if r.scale not in known).items()):
        text = f"{n} ratings on {scale} are left out: model.yaml declares no scale of that name."
        yield FindingRow(cell=cell.key, severity="note", kind="undeclared_scale", text=text)


def _require_asked(importer: RatingImporter, declared: list[Any]) -> None:
    """Refuse answers to a question that is not the declared one."""
    asked = importer.asked()
    for scale in declared:
        put = asked.get(scale["name"])
        for name in ("question", "level", "categories", "shows") if put is not None else ():
            was, says = getattr(put, name), tuple(scale[name]) if name == "categories" else scale[name]
            if was != says:
                what = f"the {name} of {scale['name']} was {was!r} when raters answered, and model.yaml says {says!r}"
                raise HarnessError(Problem(what, fix="write it as it was asked, or ask anew under another name"))


def _readable(importer: RatingImporter, context: Context) -> list[Rating]:
    """Return the ratings of a file. What it is refused for may name items, and those may be patients: only the places are kept."""
    try:
        return list(importer.read(context))
    except InputError as error:
        places = ", ".join(sorted({problem.where for problem in error.problems}))
        what = f"the ratings cannot be read: {len(error.problems)} problems"
        raise InputError(Problem(what, places, "`harness ratings` on the same file says what is wrong, and what to write")) from None


def _unnamed(text: str, ratings: Iterable[Rating]) -> str:
    """Return a note about a file without the names of items, which may be patients."""
    for item in sorted({rating.item for rating in ratings}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(item)}(?!\w)", "(an item)", text)
    return text


def _thin_readers(cell: Cell, rows: list[RatingRow]) -> Iterator[FindingRow]:
    """Name the readers who rated fewer than half of the items of a scale; free text may stay empty."""
    free = {scale["name"] for scale in cell.arguments["scales"] if scale["level"] == "text"}
    for scale in sorted({row.scale for row in rows} - free):
        mine = [row for row in rows if row.scale == scale]
        items = {row.item for row in mine}
        for rater in sorted({row.rater for row in mine}):
            rated = {row.item for row in mine if row.rater == rater and row.status == "ok"}
            if len(rated) < _HALF * len(items):
                text = f"{rater} gave a usable rating of {len(rated)} of the {len(items)} items on {scale}, fewer than half."
                yield FindingRow(cell=cell.key, severity="note", kind="thin_reader", text=text)


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
    facts = _of_images(bench, cell)
    unknown: set[str] = set()
    odd: set[str] = set()
    seen: dict[tuple[str, str, str, str], str] = {}
    for row in rows:
        known = datasets.known_as(row.item, names, bench.salt) or (row.item if row.item in facts else None)
        told, planted = _told(row.facts, bench), row.facts.get("planted", "")
        image, item = ({}, "") if known is None else (facts[known], known)
        if not item:
            # A grid of one study is no grid of another.
            own = f"{cell.arguments['importer']}/{row.item}" if row.choices is not None else row.item
            item = pseudonym(own, bench.salt).replace("p-", "item-", 1)
            # Grids, and images in which a fault was planted, are made for the readers alone.
            unknown |= {row.item} if row.choices is None and not planted else set()
            # What is no image of this audit is neither one of its real images nor one of its synthetic ones.
            told.pop("origin", None)
        odd |= {item} if any(told.get(name, image[name]) != image[name] for name in ("origin", "truth") if name in image) else set()
        # With a fault in it an image is another one: elsewhere it may be shown, and rated by models, without.
        item = f"{item}+{planted}" if planted else item
        key = (row.rater, item, row.scale, row.occasion)
        if key in seen:
            what = f"{row.rater} rated one image twice on {row.scale} under two names, first at {seen[key]}"
            raise HarnessError(Problem(what, row.source, "keep one rating, or give them different occasions"))
        seen[key] = row.source
        yield row.model_copy(update={"item": item, "facts": told | image | ({"planted": planted} if planted else {})})
    if unknown:
        text = f"{len(unknown)} rated items are not images of this audit; their names are replaced."
        yield FindingRow(cell=cell.key, severity="note", kind="unknown_items", text=text)
    if odd:
        text = f"Of {len(odd)} rated items the file says another origin or truth than the images; the images count."
        yield FindingRow(cell=cell.key, severity="warning", kind="facts_differ", text=text)


def _told(facts: dict[str, str], bench: Bench) -> dict[str, str]:
    """Return what the file knows of an item, its patient and its case under other names."""
    return facts | {name: pseudonym(facts[name], bench.salt) for name in ("patient", "case") if facts.get(name)}


def _sets(bench: Bench, cell: Cell) -> Iterator[ImageSet]:
    """Yield the image sets of the audit: synthetic, then the real ones that there are."""
    yield bench.images(cell.arguments["sample"], "synthetic")
    for role in _ROLES:
        if (bench.cache.folder(cell.arguments["data"]) / role).exists():
            yield bench.images(cell.arguments["data"], role)


def ask(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Ask a model about the images that experts rated; about every synthetic image where no expert rated any."""
    arguments = cell.arguments
    part = bench.parts.llm_checks[arguments["check"]]
    assert isinstance(part.component, LLMCheck)
    # Experts saw some images with a fault planted in them, which are not those of the audit.
    rated = {row.item for row in _ratings(bench, arguments["read"]) if not row.facts.get("planted")}
    # What was answered stays answered whoever else is asked, and whatever may be spent now.
    kept = {name: value for name, value in part.component.model_dump(mode="json").items() if not name.startswith(SPENDING)}
    journal = f"asked-{digest([part.offer.name, part.offer.version, kept])[:24]}"
    context = bench.context(folder, "ask", part.name, part.offer.version, unfinished=journal)
    scales = tuple(ScaleSpec.model_validate(scale) for scale in arguments["scales"])
    asked = tuple(scale for scale in scales if scale.shows != "grid")
    ratings: list[Rating] = []
    for images in _sets(bench, cell):
        rows = [row for row, item in enumerate(images.ids) if item in rated]
        if rows:
            ratings.extend(part.component.rate(images.take(rows), asked, context))
    if not ratings:
        ratings.extend(part.component.rate(bench.images(arguments["sample"], "synthetic"), asked, context))
    for call in context.calls:
        yield _call(cell, call)
    facts = _of_images(bench, cell)
    for row in _rows(cell, ratings, arguments["scales"]):
        yield row.model_copy(update={"facts": row.facts | facts.get(row.item, {})})


def _call(cell: Cell, call: ModelCall) -> JudgeCallRow:
    counted = [n for n in (call.prompt_tokens, call.reply_tokens) if n is not None]
    return JudgeCallRow(
        cell=cell.key, item=call.item, scale=call.scale, repeat=call.repeat, model=call.model, prompt=call.prompt,
        prompt_sha256=_sha256(call.prompt), reply=call.reply, reply_sha256=_sha256(call.reply),
        tokens=sum(counted) if counted else None, seconds=call.seconds, status=call.status, reason=call.reason,
    )  # fmt: skip


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def agree(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Yield what the ratings of one scale say, with intervals over patients; the raters are taken as given."""
    scale = ScaleSpec.model_validate(cell.arguments["scale"])
    rows = [r for r in _ratings(bench, cell.arguments["ratings"]) if r.scale == scale.name]
    if not any(r.status == "ok" for r in rows):
        raise NotComputable(f"no usable rating on the scale {scale.name}")
    if scale.level == "nominal" and not scale.categories:
        found = ", ".join(sorted({word(r) for r in rows if r.status == "ok"}))
        text = f"The categories of the scale {scale.name} are those that occur ({found})"
        text += "; chance-corrected statistics depend on the declared ones."
        yield FindingRow(cell=cell.key, severity="note", kind="undeclared_categories", text=text)
    facts: dict[str, dict[str, str]] = {}
    seen: dict[tuple[str, str, str], str] = {}
    for row in rows:
        facts.setdefault(row.item, {}).update(row.facts)
        key = (row.rater, row.item, row.occasion)
        if key in seen:
            what = f"{row.rater} rated an item twice on {scale.name}, first at {seen[key]}"
            raise HarnessError(Problem(what, row.source, "keep one rating, or give them different occasions"))
        seen[key] = row.source
    yield from raters.analyse(scale, rows, facts, derive(bench.seed, "agreement", scale.name), cell.key)


def _of_images(bench: Bench, cell: Cell) -> dict[str, dict[str, str]]:
    """Return what is known of each image of the audit."""
    known = {"truth": bench.label_names(cell.arguments["data"]), "concepts": bench.file.spec.data.concepts}
    return {item: _of_image(images, k, **known) for images in _sets(bench, cell) for k, item in enumerate(images.ids)}


def _of_image(images: ImageSet, k: int, truth: tuple[str, ...], concepts: tuple[str, ...]) -> dict[str, str]:
    """Return the origin, label, patient, concepts and groups of an image."""
    found: dict[str, str] = {"origin": images.origin}
    if images.patients is not None:
        found["patient"] = images.patients[k]
    elif images.cut_from is not None:
        found["patient"] = images.cut_from[k]
    if images.labels is not None:
        code = int(images.labels[k])
        found |= {"label": str(code), "truth": truth[code] if code < len(truth) else str(code)}
    if images.concepts is not None:
        found["concepts"] = as_answer(name for name, there in zip(concepts, images.concepts[k], strict=True) if there)
    return found | {name: str(values[k]) for name, values in (images.groups or {}).items()}


def _ratings(bench: Bench, keys: Iterable[str]) -> list[RatingRow]:
    results = [bench.cache.load(key) for key in keys]
    return [row for result in results if result for row in result.rows if isinstance(row, RatingRow)]


def _rows(cell: Cell, ratings: Iterable[Rating], declared: list[Any]) -> Iterator[RatingRow]:
    """Yield the ratings on the declared scales as rows; two of one item by one rater on one occasion are refused."""
    scales = {scale["name"]: scale for scale in declared}
    seen: dict[tuple[str, str, str, str], str] = {}
    for rating in ratings:
        if rating.scale not in scales:
            continue
        scale = scales[rating.scale]
        key = (rating.item, rating.rater, rating.scale, rating.occasion)
        if key in seen:
            raise HarnessError(Problem(f"{rating.rater} rated an item twice on {rating.scale}, first at {seen[key]}", rating.source,
                                       "keep one rating, or give them different occasions"))  # fmt: skip
        seen[key] = rating.source
        yield as_row(rating, scale["level"], tuple(scale["categories"]), cell.key)


def blank(bench: Bench, cell: Cell, status: CellStatus, reason: str) -> Iterator[Record]:
    """Say for a scale without ratings that its agreement is not known; importers say it in their cell."""
    if cell.component == "agreement":
        for name in statistics(cell.arguments["scale"]["level"]):
            yield ReliabilityRow(cell=cell.key, scale=cell.arguments["scale"]["name"], analysis="agreement", raters="experts", items="all",
                                 statistic=name, value=None, n_items=0, n_raters=0, status=status, reason=reason)  # fmt: skip
