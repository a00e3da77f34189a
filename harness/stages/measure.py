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
from ..quantities import Record
from ..records import CellStatus, ImageScoreRow, ScoreRow
from ..scoring import ROLES, Arms, Halves, Lender, alike, measured
from ..spec import LESION_SIZE, AuditSpec
from . import standouts
from .extract import Described, Sampled

NEAREST_SHOWN = 8
MOST_EXCESS = 1000.0
HIGH = 95.0


def cells(draft: Draft, spec: AuditSpec, parts: Parts, data: str, samples: Sequence[Sampled], described: Described,
          n: int) -> list[str]:  # fmt: skip
    """Add one cell per metric, extractor and stratum, those of one extractor together: they share its distances."""
    keys, size = [], spec.intervals.model_dump()
    made = [key for key, _ in samples]
    images = {"data": data, "samples": made, "sha256": [sha256 for _, sha256 in samples]}
    pairs = [(m, metric, name, found) for m, metric in enumerate(parts.metrics) for name, found in described.of(parts, metric)]
    names = [part.name for part in parts.extractors]
    named = _asked(spec)
    pairs.sort(key=lambda pair: names.index(pair[2]) if pair[2] else len(names))
    for m, metric, name, found in pairs:
        features = dict(found.roles) if found else {}
        for stratum in ("", *strata(spec)):
            arguments = images | {"metric": m, "extractor": name, "features": features, "stratum": stratum, "asked": stratum in named,
                                  "size": size}  # fmt: skip
            title = metric.name + (f", {name}" if name else "") + (f", by {stratum}" if stratum else "")
            keys.append(draft.add("measure", metric.name, title, "measure.measure", arguments, metric.identity,
                                  [data, *made, *features.values()], 2 * len(made) * (n / 300) ** 2))  # fmt: skip
    near = [part.name for part in parts.extractors if isinstance(part.component, Extractor) and part.component.gives() != "quality"]
    if near:
        first = near[0]
        roles = described.extractors[first].roles
        roles = {role: roles[role] for role in ROLES}
        arguments = {"data": data, "samples": made[:1], "sha256": samples[0][1], "features": roles, "extractor": first}
        draft.add("measure", "nearest", f"nearest training images, {first}", "measure.neighbours", arguments, None,
                  [data, made[0], *roles.values()], 1)  # fmt: skip
    standouts.cells(draft, *samples[0], keys)
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
    return {*(spec.strata or ()), *(s for purpose in spec.purposes.values() for c in purpose.criteria if not c.of_raters for s in c.strata)}


def measure(bench: Bench, cell: Cell, folder: Path) -> Iterator[Record]:
    """Measure one metric over every sampling run, over all images or within each stratum."""
    runs = [bench.arms(cell.arguments, run) for run in range(len(cell.arguments["samples"]))]
    if not cell.arguments["stratum"]:
        yield from _measure(bench, cell, alike(runs), "", folder)
        yield from _blame(bench, cell, runs[0].comparison, folder)
        return
    name = cell.arguments["stratum"]
    sides = [{role: _stratum(arms.comparison, role, name) for role in ROLES} for arms in runs]
    lacking = [role for role in ROLES if any(side[role] is None for side in sides)]
    if lacking and not cell.arguments["asked"]:
        return
    if lacking:
        raise NotComputable(f"the {' and '.join('synthetic' if r == 'synthetic' else 'real' for r in lacking[-1:])} images have no {name}")
    for value in sorted({value for side in sides for values in side.values() if values is not None for value in values.tolist()}):
        rows = [{role: np.flatnonzero(values == value) for role, values in side.items()} for side in sides]
        label = f"{name}={value}"
        empty = [role for role in ROLES if any(not len(side[role]) for side in rows)]
        if empty:
            one = ", in one sampling run or more" if len(runs) > 1 and empty == ["synthetic"] else ""
            yield from _blank(bench, cell, "not_computable", f"no {' and no '.join(empty)} images in {label}{one}", label)
            continue
        try:
            within = alike([arms.part(label, chosen) for arms, chosen in zip(runs, rows, strict=True)])
            yield from list(_measure(bench, cell, within, label, folder))
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


def _measure(bench: Bench, cell: Cell, runs: Sequence[Arms], stratum: str, folder: Path) -> Iterator[ScoreRow]:
    part = bench.parts.metrics[cell.arguments["metric"]]
    metric = part.component
    assert isinstance(metric, Metric)
    lend = Lender(bench.seed, part.name, part.offer.version, folder, bench.device)
    known = measured(metric, runs, lend)
    for name, found in known.columns.items():
        quantity = next(q for q in metric.quantities if q.name == name)
        patients = runs[0].comparison.n_patients("test")
        method = lend.notes.get(name, "")
        method += " (in sampling run 1)" if method and len(runs) > 1 else ""
        row: dict[str, Any] = {"n_patients": patients, "seed": bench.seed, "method": method}
        row |= {"value": None, "status": "not_computable", "reason": str(found)} if isinstance(found, NotComputable) else found
        yield ScoreRow(
            cell=cell.key, stage="measure", component=part.name, quantity=name, extractor=cell.arguments["extractor"],
            stratum=stratum, unit=quantity.unit, better=quantity.better, **row,
        )  # fmt: skip
        # Over all images only: within strata they would be many times as many rows as everything else that is measured.
        common = {"cell": cell.key, "component": part.name, "quantity": name, "extractor": cell.arguments["extractor"],
                  "unit": quantity.unit, "better": quantity.better, "seed": bench.seed}  # fmt: skip
        if len(runs) > 1 and name in known.by_run:
            for run, (value, arms) in enumerate(zip(known.by_run[name], runs, strict=True)):
                n = arms.comparison.n("synthetic")
                yield ScoreRow(**common, stage="run", sampling_run=run + 1, stratum=stratum, value=value, n=n)
        if name in known.halves and not stratum:
            yield from _halves(common, known.halves[name])


def _halves(common: Mapping[str, Any], halves: Halves) -> Iterator[ScoreRow]:
    """Keep a quantity's values on half-samples: what pairs two audits of one plan."""
    for (run, repeat), value in np.ndenumerate(halves.values):
        yield ScoreRow(**common, stage="half", sampling_run=run + 1, repeat=repeat, value=float(value), n=int(halves.n[run, repeat]),
                       method=halves.method)  # fmt: skip


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
