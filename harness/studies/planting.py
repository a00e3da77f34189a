"""Plants the faults that tell whether readers look: each at full severity, in images that are shown nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ..asking import tried
from ..components import Component, FailureMode, Perturbation
from ..errors import InputError, Problem, SpecError, raise_if
from ..host import Host
from ..images import ImageSet
from ..readerspec import StudySpec
from ..run import Audit
from .design import Design


def unknown(attempt: Audit, study: StudySpec, host: Host) -> Iterator[Problem]:
    """Yield a problem for each perturbation that the study plants and that is neither in the audit nor installed."""
    for name in study.planted:
        try:
            _component(attempt, name, host, attempt.file.where("ratings", "study", "planted", name))
        except SpecError as error:
            yield from error.problems


def planted(attempt: Audit, design: Design, real: ImageSet, train: ImageSet, with_masks: bool, host: Host,
            scratch: Path) -> dict[str, ImageSet]:  # fmt: skip
    """Return by perturbation the images with its fault; `InputError` with every perturbation that fails or leaves no trace.

    with_masks: readers see the masks, so a fault may be in them alone. scratch: a folder for what perturbations write.
    """
    found: dict[str, ImageSet] = {}
    wrong: list[Problem] = []
    for name in sorted({item.planted for item in design.items.values() if item.planted}):
        where = attempt.file.where("ratings", "study", "planted", name)
        rows = [item.places[0].row for item in design.items.values() if item.planted == name]
        component, version = _component(attempt, name, host, where)
        folder = scratch / name
        folder.mkdir()
        context = attempt.bench.context(folder, "study", name, version)
        clean = real.take(rows)
        made, reason = tried(partial(component.apply, clean, train, 1.0, context))
        reason = reason or _complaint(component, clean, made, with_masks)
        if reason or made is None:
            wrong.append(Problem(f"{name} cannot be an attention check: {reason}", where, "plant something else"))
        else:
            found[name] = made
    raise_if(wrong, InputError)
    return found


def _component(attempt: Audit, name: str, host: Host, where: str) -> tuple[Perturbation, str]:
    """Return a perturbation of the audit, or an installed one with its default options, and its version."""
    part = next((part for part in attempt.parts.perturbations if part.name == name), None)
    component: Component = part.component if part else host.build("perturbation", name, {}, attempt.file.base, where)
    assert isinstance(component, Perturbation)
    return component, part.offer.version if part else host.find("perturbation", name, where).version


def _complaint(component: Perturbation, clean: ImageSet, made: ImageSet | None, with_masks: bool) -> str:
    """Return why these images would tell nothing about a reader's attention, or nothing."""
    if component.failure_mode is FailureMode.HARMLESS:
        return "it is a negative control and does no harm"
    if not isinstance(made, ImageSet) or set(made.ids) != set(clean.ids) or made.images.shape != clean.images.shape:
        return "it does not give every image back in its size"
    unseen = [name for row, name in enumerate(clean.ids) if not _differs(clean, row, made, made.ids.index(name), with_masks)]
    if unseen:
        return f"{len(unseen)} of {len(clean)} images look as before, such as {unseen[0]}"
    return ""


def _differs(clean: ImageSet, row: int, made: ImageSet, made_row: int, with_masks: bool) -> bool:
    if not np.array_equal(clean.images[row], made.images[made_row]):
        return True
    if not with_masks or clean.masks is None or made.masks is None:
        return False
    return not np.array_equal(clean.masks[row], made.masks[made_row])
