"""What keeps a reader study from being made: everything that is wrong with it at once, with the line of `model.yaml`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..errors import Problem
from ..images import ImageSet
from ..quantities import Scale
from ..readerspec import StudySpec
from .design import asked

Where = Callable[..., str]


def problems(
    study: StudySpec, scales: Sequence[Scale], real: ImageSet, synthetic: ImageSet, labels: Sequence[str], models: int, where: Where
) -> Iterator[Problem]:
    """Yield what is wrong. real, synthetic: the images to draw from. labels: their names. models: how many may describe images."""
    yield from _named(study, scales, where)
    yield from _fitting(study, asked(study, scales), where)
    yield from _questions(asked(study, scales), scales, where)
    yield from _labels(asked(study, scales), labels, scales, where)
    yield from _descriptions(asked(study, scales), scales, models, where)
    yield from _strata(study, real, synthetic, where)
    yield from _numbers(study, real, synthetic, where)
    yield from _masks(study, asked(study, scales), real, synthetic, where)


def _named(study: StudySpec, scales: Sequence[Scale], where: Where) -> Iterator[Problem]:
    """Yield what is wrong with the names of the questions."""
    place, names = where("ratings", "study", "questions"), [scale.name for scale in scales]
    shown = {scale.name for scale in asked(study, scales)}
    for name in study.questions:
        if name not in names:
            yield Problem(f"the study asks {name!r}, which is no scale", place, f"scales: {', '.join(names) or 'none'}")
        elif name not in shown:
            yield Problem(f"{name} is asked about images that the study does not show", place, _lacking(scales, name))
    if len(set(study.questions)) < len(study.questions):
        yield Problem("the study asks a question twice", place, "name every scale once")


def _fitting(study: StudySpec, questions: Sequence[Scale], where: Where) -> Iterator[Problem]:
    """Yield what the study shows and nobody asks about, and what it leaves out and repeats."""
    if study.grids and not any(scale.shows == "grid" for scale in questions):
        yield Problem("the study shows grids, and no scale asks about them", where("ratings", "study", "grids"),
                      "add a scale with shows: grid and truth: origin, or leave out grids")  # fmt: skip
    if study.real + study.synthetic + len(study.planted) and all(scale.shows == "grid" for scale in questions):
        yield Problem("the study shows single images, and no scale asks about them", where("ratings", "study"), "add a scale for them")
    if study.repeats and not study.real + study.synthetic:
        yield Problem("repeats are of single images, and the study shows none", where("ratings", "study", "repeats"), "leave it out")
    if study.planted and not any(scale.alarm for scale in questions):
        yield Problem("the study plants faults, and no answer says that one was noticed", where("ratings", "study", "planted"),
                      "give a scale of the study alarm: the answers that notice a fault")  # fmt: skip


def _questions(questions: Sequence[Scale], scales: Sequence[Scale], where: Where) -> Iterator[Problem]:
    names = [scale.name for scale in scales]
    for number, scale in enumerate(questions):
        yield from _question(scale, questions[:number], where("ratings", "scales", names.index(scale.name)))


def _labels(questions: Sequence[Scale], labels: Sequence[str], scales: Sequence[Scale], where: Where) -> Iterator[Problem]:
    """Yield the questions about the label on which some images have no right answer."""
    for scale in questions:
        lacking = [name for name in labels if scale.categories and name not in scale.categories]
        if scale.truth == "label" and scale.level == "nominal" and lacking:
            place = where("ratings", "scales", [s.name for s in scales].index(scale.name))
            what = f"{scale.name} asks for the label, and {lacking[0]!r} is none of its answers"
            yield Problem(what, place, f"list all labels: {', '.join(labels)}")


def _lacking(scales: Sequence[Scale], name: str) -> str:
    shows = next(scale.shows for scale in scales if scale.name == name)
    return "give grids: how many" if shows == "grid" else "give real or synthetic: how many images"


def _question(scale: Scale, before: Sequence[Scale], place: str) -> Iterator[Problem]:
    if scale.level == "nominal" and not scale.categories and scale.shows != "grid":
        yield Problem(f"the nominal scale {scale.name} lists no categories to choose from", place, "list its categories")
    numbers = [word for word in scale.categories if scale.level == "interval" and not _is_number(word)]
    if numbers:
        yield Problem(f"{numbers[0]!r} is no number, and {scale.name} is an interval scale", place, "list numbers, or none")
    if scale.only_if:
        name, equals, answer = scale.only_if.partition("=")
        other = next((s for s in before if s.name == name and (s.shows == "grid") == (scale.shows == "grid")), None)
        if other is None or not equals:
            yield Problem(f"{scale.name} is asked only if {scale.only_if}, and the study does not ask {name} before it of the same image",
                          place, "write only_if: SCALE=ANSWER, and ask that scale first")  # fmt: skip
        elif other.shows == "grid":
            yield Problem(f"{scale.name} is asked only if {name} is {answer!r}, and a grid is answered by its images alone", place,
                          "leave only_if out")  # fmt: skip


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _descriptions(questions: Sequence[Scale], scales: Sequence[Scale], models: int, where: Where) -> Iterator[Problem]:
    described = sorted({scale.describes for scale in questions if scale.shows == "description"})
    place = where("ratings", "scales")
    if len(described) > 1:
        yield Problem(f"an image has one description beside it, and the study asks about {' and '.join(described)}", place,
                      "make one study for each")  # fmt: skip
    for name in described:
        if not models:
            yield Problem(f"no language model answers {name}, so there are no descriptions to judge", where("ratings"),
                          "give llm_checks, such as recorded with the file of answers")  # fmt: skip


def _strata(study: StudySpec, real: ImageSet, synthetic: ImageSet, where: Where) -> Iterator[Problem]:
    for name in study.strata:
        for images in (real, synthetic):
            if name == "label" and images.labels is None:
                yield Problem(f"the {images.origin} images have no labels to draw by", where("ratings", "study", "strata"),
                              "leave label out of strata, or say where labels are in `data`")  # fmt: skip
            elif name != "label" and name not in (images.groups or {}):
                known = ", ".join(["label"] * (images.labels is not None) + sorted(images.groups or {})) or "none"
                yield Problem(f"the {images.origin} images have no stratum {name!r}", where("ratings", "study", "strata"),
                              f"strata of these images: {known}")  # fmt: skip


def _numbers(study: StudySpec, real: ImageSet, synthetic: ImageSet, where: Where) -> Iterator[Problem]:
    planted = sum(study.planted.values())
    if study.real + planted > len(real):
        also = f" and {planted} with a planted fault, which are others," if planted else ""
        yield Problem(f"{study.real} real images{also} are asked for, and the test set has {len(real)}", where("ratings", "study", "real"),
                      "ask for fewer, or make data.test larger")  # fmt: skip
    elif study.grids and planted >= len(real):
        yield Problem("every test image has a planted fault, so none is left for grids", where("ratings", "study", "grids"), "plant fewer")
    if study.synthetic > len(synthetic):
        yield Problem(f"{study.synthetic} synthetic images are asked for, and there are {len(synthetic)}",
                      where("ratings", "study", "synthetic"), "ask for fewer, or raise `samples`")  # fmt: skip
    if study.grids and study.grid_of - 1 > len(synthetic):
        yield Problem(f"a grid of {study.grid_of} needs {study.grid_of - 1} synthetic images, and there are {len(synthetic)}",
                      where("ratings", "study", "grid_of"), "make it smaller, or raise `samples`")  # fmt: skip
    shared = sorted(set(real.ids) & set(synthetic.ids))
    if shared:
        yield Problem(f"{len(shared)} ids are those of a real and of a synthetic image, such as {shared[0]}", where("data"),
                      "rename the synthetic files, or answers could not be told apart")  # fmt: skip


def _masks(study: StudySpec, questions: Sequence[Scale], real: ImageSet, synthetic: ImageSet, where: Where) -> Iterator[Problem]:
    wanting = [scale.name for scale in questions if scale.shows == "mask"]
    shown = {"real": study.real + len(study.planted), "synthetic": study.synthetic}
    for images in (real, synthetic):
        if wanting and shown[images.origin] and images.masks is None:
            yield Problem(f"{wanting[0]} shows masks, and the {images.origin} images have none", where("ratings", "scales"),
                          "say where the masks are in `data`, or leave the question out")  # fmt: skip
