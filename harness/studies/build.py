"""Makes a reader study of an audit: reads and samples its images, draws, plants, blinds, and writes the pages and their key."""

from __future__ import annotations

import hashlib
import hmac
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..cells import Cell
from ..datasets import Preprocessing
from ..errors import InputError, Problem, SpecError, raise_if
from ..host import Host
from ..images import ImageSet
from ..pool import Pool
from ..quantities import Scale
from ..readerspec import StudySpec
from ..records import CellRow, ImageSetRow, PlannedCellRow
from ..run import Audit, make_bench
from ..spec import digest
from . import labelstudio, page
from .describing import descriptions
from .design import Design, Item, asked, draw, with_strata, without_default_strata
from .expected import expected
from .planting import planted, unknown
from .wanting import problems

FORMAT = "harness-study-1"
LARGE_PAGE_MB = 300


@dataclass(frozen=True)
class Built:
    """A study on disk. pages: the file of each reader. counts: images by use and stratum. notes: what its owner must know."""

    folder: Path
    study: str
    pages: Mapping[str, Path]
    counts: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Images:
    """The images of an audit that a study draws from, and the names of their labels."""

    real: ImageSet
    synthetic: ImageSet
    train: ImageSet
    label_names: tuple[str, ...]
    synthetic_sha256: str


def build(attempt: Audit, out: Path, host: Host | None = None) -> Built:
    """Write the study that `ratings.study` declares into the folder `out`: pages, key, design and the same for Label Studio.

    Images are read and sampled as by a run of the audit, which finds them in its cache afterwards; nothing else is computed and nothing
    reaches the results file. host: the installed components, for perturbations that the audit does not name. `InputError` carries
    everything that is wrong with the study. The same audit with the same results file gives the same study, byte for byte.
    """
    study, scales = _declared(attempt)
    images = sampled(attempt)
    where = attempt.file.where
    study = without_default_strata(study, images.real, images.synthetic)
    host = host or Host.discover()
    found = problems(study, scales, images.real, images.synthetic, images.label_names, len(attempt.parts.llm_checks), where)
    raise_if([*found, *unknown(attempt, study, host)], InputError)
    secret = hmac.new(attempt.salt, b"reader study", hashlib.sha256).digest()
    real, synthetic = (with_strata(side, study, images.label_names) for side in (images.real, images.synthetic))
    design = draw(study, scales, real, synthetic, images.label_names, attempt.bench.seed, secret)
    questions = asked(study, scales)
    with_masks = any(scale.shows == "mask" for scale in questions)
    with tempfile.TemporaryDirectory() as scratch:
        faulty = planted(attempt, design, images.real, images.train, with_masks, host, Path(scratch))
        pictures = _pictures(design, images, faulty, with_masks)
        words = descriptions(attempt, scales, questions, _alone(design, images, faulty), Path(scratch))
    name = _name(study, questions, design, pictures, words, secret)
    bits = page.bits_needed([picture.pixels for shown in pictures.values() for picture in shown])
    sheet = page.Sheet(name, study.instructions, questions, bits, images.real.spacing_mm)
    return _write(out, attempt, study, sheet, design, pictures, words, images)


def _declared(attempt: Audit) -> tuple[StudySpec, tuple[Scale, ...]]:
    ratings = attempt.file.spec.ratings
    if ratings is None or ratings.study is None:
        raise SpecError(Problem("no reader study is declared", attempt.file.where("ratings"), "add ratings.study: readers, real, because"))
    return ratings.study, ratings.scales


def sampled(attempt: Audit) -> Images:
    """Read the real images and ask the generator for those of the first sampling run, unless the cache has them."""
    if attempt.parts.generator is None:
        raise SpecError(Problem("a reader study needs synthetic images", attempt.file.where("generator"), "add a generator"))
    attempt.failed = {row.key for row in attempt.store.rows(CellRow, attempt.id) if row.status == "failed"}
    attempt.planned = {row.key for row in attempt.store.rows(PlannedCellRow, attempt.id)}
    drawn = attempt.draw()
    cells = [cell for key, cell in drawn.cells.items() if key in drawn.images and _of_first_run(cell)]
    settings = attempt.settings
    make = partial(make_bench, attempt.file, settings.cache, attempt.salt, settings.device, settings.memory)
    pool = Pool(settings.workers, make, lambda: attempt.bench)
    try:
        for done, cell in enumerate(cells):
            attempt.progress.update(cell.stage, cell.title, done, len(cells), None)
            known = attempt.cache.load(cell.key)
            result = known if known is not None and known.status == "ok" else pool.result(pool.submit(cell, ""), cell)
            if result.status != "ok":
                place = attempt.file.where("data" if cell.key == drawn.data else "generator")
                raise InputError(Problem(f"{cell.title}: {result.reason}", place, "a study shows these images: mend this first"))
    finally:
        pool.close()
    made = cells[-1].key
    preprocessing = Preprocessing.from_json((attempt.cache.folder(drawn.data) / "preprocessing.json").read_text(encoding="utf-8"))
    kept = attempt.cache.load(made)
    assert kept is not None
    row = next(row for row in kept.rows if isinstance(row, ImageSetRow))
    return Images(
        attempt.bench.images(drawn.data, "test"), attempt.bench.images(made, "synthetic"), attempt.bench.images(drawn.data, "train"),
        preprocessing.label_names or (), row.sha256,
    )  # fmt: skip


def _of_first_run(cell: Cell) -> bool:
    return cell.function != "sample.generate" or (cell.arguments["run"] == 0 and cell.arguments["purpose"] == "train")


def _pictures(design: Design, images: Images, faulty: Mapping[str, ImageSet], with_masks: bool) -> dict[str, tuple[page.Picture, ...]]:
    """Return what is shown of every item, in the item's own order; masks only where a question shows them and the image stands alone."""

    def one(side: ImageSet, row: int, *, masks: bool) -> page.Picture:
        return page.Picture(np.asarray(side.images[row]), np.asarray(side.masks[row]) if masks and side.masks is not None else None)

    sides = {"real": images.real, "synthetic": images.synthetic}
    found: dict[str, tuple[page.Picture, ...]] = {}
    for item in design.items.values():
        if item.planted:
            side = faulty[item.planted]
            found[item.name] = (one(side, side.ids.index(item.name), masks=with_masks),)
        else:
            masks = with_masks and not item.is_grid
            found[item.name] = tuple(one(sides[place.origin], place.row, masks=masks) for place in item.places)
    return found


def _alone(design: Design, images: Images, faulty: Mapping[str, ImageSet]) -> list[ImageSet]:
    """Return the images that are shown alone, as image sets, those with planted faults as they are shown."""
    sets = list(faulty.values())
    for side in (images.real, images.synthetic):
        rows = [i.places[0].row for i in design.items.values() if not i.is_grid and not i.planted and i.places[0].origin == side.origin]
        sets += [side.take(rows)] if rows else []
    return sets


def _name(study: StudySpec, questions: Sequence[Scale], design: Design, pictures: Mapping[str, tuple[page.Picture, ...]],
          words: Mapping[str, str], secret: bytes) -> str:  # fmt: skip
    """Return the id of the study: another for anything else that a reader would see, and one that tells nothing without the secret."""
    shown = {name: [[_array_sha256(one.pixels), _array_sha256(one.mask)] for one in pictures[name]] for name in design.items}
    whole = {
        "study": study.model_dump(mode="json"), "questions": [scale.model_dump(mode="json") for scale in questions], "shown": shown,
        "words": dict(words), "readers": {reader: [[s.id, s.item, s.order] for s in slots] for reader, slots in design.readers.items()},
    }  # fmt: skip
    return f"study-{hmac.new(secret, digest(whole).encode(), hashlib.sha256).hexdigest()[:10]}"


def _array_sha256(array: np.ndarray | None) -> str:
    return "" if array is None else hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _write(out: Path, attempt: Audit, study: StudySpec, sheet: page.Sheet, design: Design,
           pictures: Mapping[str, tuple[page.Picture, ...]], words: Mapping[str, str], images: Images) -> Built:  # fmt: skip
    _refuse_another(out, sheet.study)
    (out / "pages").mkdir(parents=True, exist_ok=True)
    readers: dict[str, Any] = {}
    pages, notes = {}, list(design.notes)
    for reader, slots in design.readers.items():
        showings = []
        for slot in slots:
            shown = pictures[slot.item]
            showings.append(page.Showing(slot.id, tuple(shown[i] for i in slot.order), words.get(slot.item)))
        text, content = page.html(sheet, reader, showings)
        pages[reader] = out / "pages" / f"{reader}.html"
        pages[reader].write_text(text, encoding="utf-8")
        if len(text) > LARGE_PAGE_MB * 1_000_000:
            notes.append(f"the page of {reader} has {len(text) / 1e6:.0f} MB: try it on the readers' machines, or show fewer images")
        notes += [f"{reader}: {note}" for note in labelstudio.write(out / "label_studio", sheet, reader, showings)]
        entries = {slot.id: _entry(design.items[slot.item], slot.occasion, slot.order) for slot in slots}
        readers[reader] = {"page": f"pages/{reader}.html", "page_sha256": _sha256(text), "content_sha256": content, "slots": entries}
    questions = [scale.model_dump(mode="json") for scale in sheet.questions]
    key = {"format": FORMAT, "study": sheet.study, "questions": questions, "readers": readers}
    sha256 = digest(key)
    _dump(out / "key.json", key | {"sha256": sha256})
    _dump(out / "study.json", _described(attempt, study, sheet, design, images, sha256, notes))
    if words:
        _dump(out / "descriptions.json", dict(words))
    return Built(out, sheet.study, pages, design.counts, tuple(dict.fromkeys(notes)))


def _refuse_another(out: Path, study: str) -> None:
    """Refuse a folder that holds the key of another study, whose answers would be worth nothing without it."""
    path = out / "key.json"
    if path.exists():
        try:
            known = json.loads(path.read_text(encoding="utf-8")).get("study")
        except (ValueError, AttributeError):
            known = "a file that is no key"
        if known != study:
            raise InputError(Problem(f"the folder holds another study ({known})", str(path), "choose another folder"))


def _entry(item: Item, occasion: str, order: Sequence[int]) -> dict[str, Any]:
    entry: dict[str, Any] = {"item": item.name, "occasion": occasion, "facts": dict(item.facts)}
    if item.is_grid:
        entry["positions"] = [item.places[i].origin for i in order]
    return entry


def _described(attempt: Audit, study: StudySpec, sheet: page.Sheet, design: Design, images: Images, key: str,
               notes: Sequence[str]) -> dict[str, Any]:  # fmt: skip
    """Return the design of the study for its owner and for whoever reads its results."""
    readers = {
        reader: {"showings": len(slots), "second_showings": sum(slot.occasion != "1" for slot in slots)}
        for reader, slots in design.readers.items()
    }
    return {
        "format": FORMAT, "study": sheet.study, "audit": attempt.file.spec.audit, "harness": __version__, "seed": attempt.bench.seed,
        "rule": study.model_dump(mode="json"), "questions": [scale.model_dump(mode="json") for scale in sheet.questions],
        "counts": {use: dict(by_stratum) for use, by_stratum in design.counts.items()},
        "grids": {item.name: [f"{place.origin}: {_id(images, place.origin, place.row)}" for place in item.places]
                  for item in design.items.values() if item.is_grid},
        "readers": readers, "sample_size": {"because": study.because, "expected": expected(sheet.questions, design)},
        "bits": sheet.bits, "notes": list(notes),
        "sha256": {"data": attempt.data_sha256, "synthetic": images.synthetic_sha256, "key": key},
    }  # fmt: skip


def _id(images: Images, origin: str, row: int) -> str:
    return (images.real if origin == "real" else images.synthetic).ids[row]


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def lines(built: Built) -> Iterator[str]:
    """Yield what a command says of a study that it made."""
    yield f"{built.study} in {built.folder}"
    for use, by_stratum in built.counts.items():
        total = sum(by_stratum.values())
        if total:
            yield f"{use}: {total}" + (f" ({', '.join(f'{name} {n}' for name, n in by_stratum.items())})" if len(by_stratum) > 1 else "")
    for reader, path in built.pages.items():
        yield f"{reader}: {path} ({path.stat().st_size / 1e6:.1f} MB)"
    yield from (f"note: {note}" for note in built.notes)
    yield f"keep {built.folder / 'key.json'} to yourself: it alone says which image is which"
