"""What `harness plan` says before anything is computed: cells and cost, the battery, how many images, and what cannot work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from .components import Generator, Perturbation
from .plan import STAGES, Plan
from .quantities import Quantity
from .records import ImageSetRow, ScoreRow
from .run import Audit
from .spec import Criterion
from .stages import battery
from .stages.qualify import LEAST_IMAGES
from .statistics import sizes

POWER = 0.80
USUAL = 500


def lines(attempt: Audit) -> Iterator[str]:
    """Yield the plan of an audit as text."""
    drawn = attempt.draw()
    generator = attempt.parts.generator
    yield f"audit      {attempt.id}\nplan       {attempt.plan_sha256}"
    if generator is not None:
        runs = f" in each of {attempt.file.spec.runs} sampling runs" if attempt.file.spec.runs > 1 else ""
        yield f"generator  {generator.name}, {attempt.file.spec.samples} images{runs}"
    yield ""
    yield from _cells(attempt, drawn)
    yield ""
    yield from _battery(attempt, drawn)
    yield from _images(attempt)
    yield from _impossible(attempt)


def _cells(attempt: Audit, drawn: Plan) -> Iterator[str]:
    done = attempt.store.done(attempt.id)
    yield f"{'stage':<10}{'cells':>6}{'done':>6}{'to do, about':>15}"
    for stage in STAGES:
        cells = drawn.of_stage(stage)
        left = sum(cell.seconds for cell in cells if cell.key not in done)
        yield f"{stage:<10}{len(cells):>6}{sum(c.key in done for c in cells):>6}{left:>13.0f} s"
    total = sum(cell.seconds for cell in drawn.cells.values() if cell.key not in done)
    yield f"{'':<10}{len(drawn.cells):>6}{len(done & set(drawn.cells)):>6}{total:>13.0f} s of one core"


def _battery(attempt: Audit, drawn: Plan) -> Iterator[str]:
    size = drawn.battery
    if size is None:
        return
    doses = sum(map(len, size.doses))
    yield (
        f"battery    {len(size.doses)} perturbations at {doses} doses, {size.replicates} replicates a dose, "
        f"{size.null_splits} null splits, {size.fault_seeds} fault seeds: about {size.seconds:.0f} s of one core"
    )
    for text in size.given_up:
        yield f"           given up for the budget: {text}"
    if size.replicates < battery.LEAST_REPLICATES:
        yield f"           {size.replicates} replicates can qualify nothing: even if all are noticed, the lower bound stays below 80 %"
    if size.fault_seeds == 1:
        yield "           one fault seed: whether a response depends on the planted probe is not tested"
    if not any(battery.is_harmless(part) for part in attempt.parts.perturbations):
        yield "           no harmless change is planted (flip, reorder, resave, subpixel_shift): specificity is not tested"
    n = _train(attempt)
    if n is None:
        yield f"           costs assume {USUAL} training images; how many there are is known after a first run"
    if n is not None and n < 4 * LEAST_IMAGES:
        yield f"           {n} training images can qualify nothing: a replicate needs {LEAST_IMAGES}, a quarter of them"
    elif n is not None and n < 8 * LEAST_IMAGES:
        yield f"           {n} training images: a defect that loses half of them cannot be tested, {8 * LEAST_IMAGES} are needed for that"


def _train(attempt: Audit) -> int | None:
    return next((row.n for row in attempt.store.rows(ImageSetRow, attempt.id) if row.role == "train"), None)


def _images(attempt: Audit) -> Iterator[str]:
    """Say how many images or patients each criterion needs, for all critical ones of a purpose to be met with 80 % power."""
    quantities = attempt.parts.quantities()
    pilot = [row for row in attempt.store.rows(ScoreRow, attempt.id) if row.judged_value is not None]
    for name, purpose in attempt.file.spec.purposes.items():
        power = sizes.each(POWER, sum(c.role == "critical" for c in purpose.criteria))
        for criterion in purpose.criteria:
            promise = quantities.get(criterion.quantity)
            if promise is not None:
                yield f"n          {name} {criterion.id}: {_needed(criterion, promise, pilot, power)}"


def _needed(criterion: Criterion, promise: Quantity, pilot: list[ScoreRow], power: float) -> str:
    if promise.proportion and not promise.biased_in_n and (criterion.at_most is not None or criterion.at_least is not None):
        return _share(criterion, power)
    if criterion.between is not None:
        return "how many images two bounds need is not planned"
    if promise.biased_in_n:
        return "its value depends on the number of images, so more of them change what is judged"
    row = next((r for r in pilot if _answers(r, criterion)), None)
    bound = criterion.at_most if criterion.at_most is not None else criterion.at_least
    bound = criterion.gain_at_least if bound is None else bound
    if row is None or bound is None or row.judged_value is None or row.judged_n is None:
        return "how many images it needs is not known before a first run"
    limit = row.bound_high if criterion.at_most is not None else row.bound_low
    if limit is None:
        return "its first run gave no interval to plan from"
    side: Literal["at_most", "at_least"] = "at_most" if criterion.at_most is not None else "at_least"
    n = sizes.n_for_mean(row.judged_n, row.judged_value, bound, limit, power, side)
    now = f"the first run, {row.judged_value:.4g} of {row.judged_n}"
    return f"about {n:,} for a power of {power:.0%}, from {now}" if n is not None else f"no number of images helps if {now}, is the truth"


def _share(criterion: Criterion, power: float) -> str:
    """Say how many images a share needs: if the truth is as good as can be, and if it is half as good as the bound allows."""
    side, bound = ("at_most", criterion.at_most) if criterion.at_most is not None else ("at_least", criterion.at_least)
    assert bound is not None
    best, usual = (0.0, bound / 2) if side == "at_most" else (1.0, 1 - (1 - bound) / 2)
    least, enough = (sizes.n_for_share(bound, true, power, side) for true in (best, usual))  # type: ignore[arg-type]
    text = f"at least {least:,} images if the share is {best:g}" if least is not None else f"no number clears a bound of {bound:g}"
    return f"{text}; {enough:,} if it is {usual:.3g}, for a power of {power:.0%}" if enough is not None else text


def _answers(row: ScoreRow, criterion: Criterion) -> bool:
    wanted = criterion.quantity + ("_gain" if criterion.gain_at_least is not None else "")
    same = f"{row.component}.{row.quantity}" == wanted and criterion.extractor in (None, row.extractor)
    mix = criterion.mix is None or (row.real_share, row.synthetic_share) == tuple(criterion.mix)
    mix = mix and row.tested_on in ("", "real") and not row.region
    return same and mix and row.stage in ("measure", "evaluate") and row.repeat is None and not row.stratum


def _impossible(attempt: Audit) -> Iterator[str]:
    """Say what the plan already shows to be impossible."""
    spec, n = attempt.file.spec, _train(attempt)
    apart = any(row.role == "validation" for row in attempt.store.rows(ImageSetRow, attempt.id))
    for real, synthetic in spec.tasks.mixes if spec.tasks else ():
        if real > 1:
            yield f"mix ({real:g}, {synthetic:g}): a real share above 1 needs more real images than there are"
        elif n is not None and (apart or spec.data.validation is not None) and round(synthetic * n) > spec.samples:
            yield f"mix ({real:g}, {synthetic:g}): needs {round(synthetic * n)} synthetic images, {spec.samples} are asked for"
    generator = attempt.parts.generator.component if attempt.parts.generator else None
    given = " and ".join(sorted(generator.conditions() - {"labels"})) if isinstance(generator, Generator) else ""
    if given and n is not None and spec.samples > n:
        yield f"samples: the generator works from {given} of {n} training images, {spec.samples} are asked for"
    tested = {p.component.failure_mode for p in attempt.parts.perturbations if isinstance(p.component, Perturbation)}
    for purpose, declared in spec.purposes.items():
        for criterion in declared.criteria:
            untested = sorted(set(criterion.failure_modes) - tested)
            is_metric = any(p.name == criterion.quantity.split(".")[0] for p in attempt.parts.metrics)
            if is_metric and untested:
                yield f"{purpose} {criterion.id}: no perturbation plants {', '.join(untested)}; the criterion cannot be met"
            if criterion.runs_min > spec.runs:
                yield f"{purpose} {criterion.id}: wants {criterion.runs_min} sampling runs, {spec.runs} are asked for; it cannot be met"
            if is_metric and not criterion.failure_modes and not criterion.qualified_by:
                yield f"{purpose} {criterion.id}: names no failure mode, so nothing can qualify its metric"
