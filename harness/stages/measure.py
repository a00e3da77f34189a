"""Measures every metric on the synthetic images, over all of them and within strata, and names the images that stand out.

What is computed of one metric, and how its interval and its floor come about, is in `scoring`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..asking import ask_each
from ..bench import Bench
from ..cells import Cell, Draft, derive
from ..checks import Parts
from ..components import Context, Extractor, Metric
from ..errors import NotComputable
from ..images import Comparison, Role
from ..pictures import nearest
from ..quantities import Quantity, Record
from ..records import CellStatus, ImageScoreRow, ScoreRow
from ..scoring import ROLES, Arms, Halves, Lender, score_with_halves
from ..spec import LESION_SIZE, AuditSpec
from . import standouts
from .extract import Described

NEAREST_SHOWN = 8
MOST_EXCESS = 1000.0
HIGH = 95.0


def cells(draft: Draft, spec: AuditSpec, parts: Parts, data: str, sample: str, synthetic: str, described: Described,
          n: int) -> list[str]:  # fmt: skip
    """Add one cell per metric, extractor and stratum, those of one extractor together: they share its distances."""
    keys, size = [], spec.intervals.model_dump()
    pairs = [(m, metric, name, found) for m, metric in enumerate(parts.metrics) for name, found in described.of(parts, metric)]
    names = [part.name for part in parts.extractors]
    named = _asked(spec)
    pairs.sort(key=lambda pair: names.index(pair[2]) if pair[2] else len(names))
    for m, metric, name, found in pairs:
        features = dict(found.roles) if found else {}
        for stratum in ("", *strata(spec)):
            arguments = {"metric": m, "extractor": name, "data": data, "sample": sample, "sha256": synthetic,
                         "features": features, "stratum": stratum, "asked": stratum in named, "size": size}  # fmt: skip
            title = metric.name + (f", {name}" if name else "") + (f", by {stratum}" if stratum else "")
            keys.append(draft.add("measure", metric.name, title, "measure.measure", arguments, metric.identity,
                                  [data, sample, *features.values()], 2 * (n / 300) ** 2))  # fmt: skip
    near = [part.name for part in parts.extractors if isinstance(part.component, Extractor) and part.component.gives() != "quality"]
    if near:
        first = near[0]
        roles = described.extractors[first].roles
        arguments = {"data": data, "sample": sample, "sha256": synthetic, "features": roles, "extractor": first}
        draft.add("measure", "nearest", f"nearest training images, {first}", "measure.neighbours", arguments, None,
                  [data, sample, *roles.values()], 1)  # fmt: skip
    standouts.cells(draft, sample, synthetic, keys)
    return keys


def strata(spec: AuditSpec) -> list[str]:
    """Return the labels and groups within which metrics are measured too."""
    data = spec.data if spec.data.synthetic is None else spec.data.synthetic
    # What a table or a header says of real images, it does not say of the generator's.
    rules = {"label": data.labels, **{name: rule for name, rule in data.groups.items() if name in spec.data.groups}}
    own = [name for name, rule in rules.items() if rule is not None and rule.column is None and rule.header is None]
    return [name for name in asked(spec, own) if name != LESION_SIZE]


def asked(spec: AuditSpec, own: Sequence[str]) -> list[str]:
    """Return the strata that the user named, and where none were named under `strata` those that the images have (own)."""
    return sorted(_asked(spec) | set(own if spec.strata is None else ()))


def _asked(spec: AuditSpec) -> set[str]:
    """Return the strata that the user named, for all metrics or in a criterion."""
    return {*(spec.strata or ()), *(s for purpose in spec.purposes.values() for c in purpose.criteria for s in c.strata)}


def measure(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Measure one metric, over all images or within each stratum."""
    arms = bench.arms(cell.arguments)
    if not cell.arguments["stratum"]:
        yield from _measure(bench, cell, arms, "", folder)
        yield from _blame(bench, cell, arms.comparison, folder)
        return
    name = cell.arguments["stratum"]
    sides = {role: _stratum(arms.comparison, role, name) for role in ROLES}
    lacking = [role for role, values in sides.items() if values is None]
    if lacking and not cell.arguments["asked"]:
        return
    if lacking:
        raise NotComputable(f"the {' and '.join('synthetic' if r == 'synthetic' else 'real' for r in lacking[-1:])} images have no {name}")
    for value in sorted({value for values in sides.values() if values is not None for value in values.tolist()}):
        rows = {role: np.flatnonzero(values == value) for role, values in sides.items()}
        label = f"{name}={value}"
        if min(len(r) for r in rows.values()) == 0:
            empty = [role for role, r in rows.items() if not len(r)]
            yield from _blank(bench, cell, "not_computable", f"no {' and no '.join(empty)} images in {label}", label)
            continue
        try:
            yield from list(_measure(bench, cell, arms.part(label, rows), label, folder))
        except NotComputable as error:
            yield from _blank(bench, cell, "not_computable", str(error), label)


def neighbours(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Show the synthetic images that lie closest to a training image, beside it."""
    comparison = bench.arms(cell.arguments).comparison
    distance, index = comparison.neighbours("synthetic", "train", 2)
    ratio = np.divide(distance[:, 0], distance[:, 1], out=np.zeros(len(distance)), where=distance[:, 1] > 0)
    rows = np.argsort(ratio, kind="stable")[:NEAREST_SHOWN]
    caption = f"ratio of nearest to second nearest distance, {cell.arguments['extractor']}"
    yield from nearest(cell.key, comparison.synthetic, comparison.train, rows, index[rows, 0], ratio[rows], caption)


def _measure(bench: Bench, cell: Cell, arms: Arms, stratum: str, folder: Path) -> Iterator[ScoreRow]:
    part = bench.parts.metrics[cell.arguments["metric"]]
    metric = part.component
    assert isinstance(metric, Metric)
    lend = Lender(bench.seed, part.name, part.offer.version, folder, bench.device)
    scores, halves = score_with_halves(metric, arms, lend)
    for name, found in scores.items():
        quantity = next(q for q in metric.quantities if q.name == name)
        row: dict[str, Any] = {"n_patients": arms.comparison.n_patients("test"), "seed": bench.seed, "method": lend.notes.get(name, "")}
        row |= {"value": None, "status": "not_computable", "reason": str(found)} if isinstance(found, NotComputable) else found
        yield ScoreRow(
            cell=cell.key, stage="measure", component=part.name, quantity=name, extractor=cell.arguments["extractor"],
            stratum=stratum, unit=quantity.unit, better=quantity.better, **row,
        )  # fmt: skip
        # Over all images only: within strata they would be many times as many rows as everything else that is measured.
        if name in halves and not stratum:
            yield from _halves(cell, quantity, halves[name], {"component": part.name, "seed": bench.seed})


def _halves(cell: Cell, quantity: Quantity, halves: Halves, common: Mapping[str, Any]) -> Iterator[ScoreRow]:
    """Keep a quantity's values on half-samples: what pairs two audits of one plan."""
    for repeat, (value, n) in enumerate(zip(halves.values.tolist(), halves.n, strict=True)):
        yield ScoreRow(
            cell=cell.key, stage="half", quantity=quantity.name, extractor=cell.arguments["extractor"], repeat=repeat, value=value, n=n,
            method=halves.method, unit=quantity.unit, better=quantity.better, **common,
        )  # fmt: skip


def _blame(bench: Bench, cell: Cell, comparison: Comparison, folder: Path) -> Iterator[ImageScoreRow]:
    """Say how far each synthetic image is to blame, against what the metric says of real test images in their place."""
    part = bench.parts.metrics[cell.arguments["metric"]]
    metric = part.component
    assert isinstance(metric, Metric)
    if type(metric).per_image is Metric.per_image or not comparison.n("test"):
        return
    seed = derive(bench.seed, part.name, part.offer.version, "per image")
    try:
        made, real = (ask_each(metric, c, Context(seed, folder, bench.device)) for c in (comparison, comparison.replaced("test")))
    except NotComputable:
        # No image stands out where the test images are too few to compare with; what was measured stays.
        return
    for name in [name for name in made if name in real]:
        median, high = (float(np.percentile(real[name], share)) for share in (50.0, HIGH))
        for item, value in zip(comparison.synthetic.ids, made[name], strict=True):
            yield ImageScoreRow(
                cell=cell.key, component=part.name, quantity=name, extractor=cell.arguments["extractor"], item=item, value=float(value),
                real_median=median, real_high=high, n_real=len(real[name]), excess=excess(float(value), median, high),
            )  # fmt: skip


def excess(value: float, median: float, high: float) -> float:
    """Return how many times as far above the real median as the real 95th percentile a value is, between 0 and 1000."""
    if value <= median:
        return 0.0
    return min((value - median) / (high - median), MOST_EXCESS) if high > median else MOST_EXCESS


def _stratum(comparison: Comparison, role: Role, name: str) -> np.ndarray | None:
    return comparison.labels(role) if name == "label" else comparison.group(role, name)


def blank(bench: Bench, cell: Cell, status: CellStatus, reason: str) -> Iterator[Record]:
    """Say for each quantity that it has no number, and why."""
    if cell.function == "measure.measure":
        yield from _blank(bench, cell, status, reason, cell.arguments["stratum"])


def _blank(bench: Bench, cell: Cell, status: CellStatus, reason: str, stratum: str) -> Iterator[ScoreRow]:
    part = bench.parts.metrics[cell.arguments["metric"]]
    for quantity in part.offer.promises:
        yield ScoreRow(
            cell=cell.key, stage="measure", component=part.name, quantity=quantity.name, extractor=cell.arguments["extractor"],
            stratum=stratum, value=None, unit=quantity.unit, better=quantity.better, status=status, reason=reason,
        )  # fmt: skip
