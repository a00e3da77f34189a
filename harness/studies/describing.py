"""The descriptions of images that readers are to judge: what the audit's language model says of each image that is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ..asking import tried
from ..checks import Part
from ..components import LLMCheck
from ..errors import InputError, Problem, raise_if
from ..images import ImageSet
from ..quantities import Rating, Scale
from ..run import Audit
from ..spec import digest


def descriptions(attempt: Audit, scales: Sequence[Scale], questions: Sequence[Scale], shown: Sequence[ImageSet],
                 scratch: Path) -> dict[str, str]:  # fmt: skip
    """Return the description of each image by its id, nothing where no question shows one.

    `InputError` where an image has none, or where several models describe them: readers judge one. What a model that costs money has
    answered is kept with the unfinished work of the cache, so that a second attempt does not ask again.
    """
    wanted = next((scale.describes for scale in questions if scale.shows == "description"), "")
    if not wanted:
        return {}
    scale = next(scale for scale in scales if scale.name == wanted)
    where = attempt.file.where("ratings", "llm_checks")
    ratings, wrong = [], []
    for number, part in enumerate(attempt.parts.llm_checks):
        folder = scratch / f"model-{number}"
        folder.mkdir()
        answers, reason = tried(partial(_asked, attempt, part, scale, shown, folder))
        ratings += answers or []
        wrong += [Problem(f"{part.name} gives no descriptions: {reason}", where)] if answers is None else []
    raise_if(wrong, InputError)
    raise_if(_problems(ratings, wanted, shown, where), InputError)
    return {rating.item: str(rating.value) for rating in reversed(ratings) if rating.status == "ok"}


def _asked(attempt: Audit, part: Part, scale: Scale, shown: Sequence[ImageSet], folder: Path) -> list[Rating]:
    component = part.component
    assert isinstance(component, LLMCheck)
    context = attempt.bench.context(folder, "study", part.name, part.offer.version, unfinished=f"study-{digest(part.identity)[:16]}")
    return [rating for images in shown for rating in component.rate(images, (scale,), context) if rating.scale == scale.name]


def _problems(ratings: Sequence[Rating], scale: str, shown: Sequence[ImageSet], where: str) -> Iterator[Problem]:
    usable = [rating for rating in ratings if rating.status == "ok" and str(rating.value or "").strip()]
    models = sorted({rating.rater for rating in usable})
    if len(models) > 1:
        yield Problem(f"{' and '.join(models)} both answer {scale}; a study shows the descriptions of one model", where, "keep one of them")
    described = {rating.item for rating in usable}
    lacking = [name for images in shown for name in images.ids if name not in described]
    if lacking:
        reason = next((r.reason for r in ratings if r.item == lacking[0] and r.reason), "no answer")
        total = sum(map(len, shown))
        yield Problem(f"{len(lacking)} of the {total} images have no description on {scale}, such as {lacking[0]} ({reason})", where,
                      "let the model describe every image, or show fewer")  # fmt: skip
