"""The manual of the built-in components: what `harness plugins show` says of each, on one page per kind.

`python -m harness.manual metric > plugins/metrics/README.md` writes one; a test fails where it is stale.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from typing import Any

from .components import Metric, Perturbation
from .host import Host, Offer
from .quantities import Quantity

BUILT_IN = "audit-harness"
INTRODUCTIONS = {
    "metric": """\
# Metrics

Generated from the metrics themselves by `python -m harness.manual metric > plugins/metrics/README.md`. **suite**: part of `metrics:
default` and of `harness metrics`. **on**: the kind of features that it works on; *images* where it looks at images itself. A quantity
whose range is open at an end has no bound there. `*` marks quantities whose expected value depends on the number of images, which
criteria therefore judge at the floor's number. What a metric claims to see or to miss is a claim: qualification tests it on your images.
""",
    "extractor": """\
# Extractors

Generated from the extractors themselves by `python -m harness.manual extractor > plugins/extractors/README.md`. Weights are files that
you name, pinned by their SHA-256; nothing is fetched during an audit. `harness fetch` downloads public ones where there is a network.
""",
    "perturbation": """\
# Perturbations

Generated from the perturbations themselves by `python -m harness.manual perturbation > plugins/perturbations/README.md`. **doses**:
severities that qualification plants, the dose of concern in bold; a preset (`battery: {preset: mri}`) may choose others. *harmless*:
a negative control, to which a metric should not answer as strongly as to a defect.
""",
}


def manual(kind: str, host: Host) -> str:
    """Return the page of one kind in Markdown: a table, then each component in full."""
    offers = [offer for offer in host.of_kind(kind) if offer.distribution == BUILT_IN]
    table = {"metric": _metrics, "perturbation": _perturbations}.get(kind, _others)(offers)
    return "\n".join([INTRODUCTIONS[kind], *table, "", *(_section(offer) for offer in offers)])


def _metrics(offers: list[Offer]) -> list[str]:
    lines = ["| metric | quantities, better, range | on | suite |", "|---|---|---|---|"]
    for offer in offers:
        kind = offer.component
        assert issubclass(kind, Metric)
        on = ", ".join(sorted(kind.takes)) if "features" in kind.needs else "images"
        quantities = "<br>".join(_quantity(q) for q in offer.promises)
        lines.append(f"| [{offer.name}](#{offer.name}) | {quantities} | {on} | {'yes' if kind.in_suite else ''} |")
    return lines


def _quantity(quantity: Quantity) -> str:
    low, high = ("" if x is None else f"{x:g}" for x in (quantity.low, quantity.high))
    unit = "" if quantity.unit == "1" else f" {quantity.unit}"
    mark = r"\*" if quantity.biased_in_n else ""
    return f"{quantity.name}{mark}, {quantity.better}, {low}..{high}{unit}"


def _perturbations(offers: list[Offer]) -> list[str]:
    lines = ["| perturbation | failure mode | severity 1 | doses | needs | presets |", "|---|---|---|---|---|---|"]
    for offer in offers:
        kind = offer.component
        assert issubclass(kind, Perturbation)
        built = kind()
        doses = ", ".join(f"**{d:.3g}**" if d == built.dose_of_concern else f"{d:.3g}" for d in built.doses)
        mode, needs, presets = str(kind.failure_mode).replace("_", " "), ", ".join(sorted(kind.needs)), ", ".join(sorted(kind.presets))
        lines.append(f"| [{offer.name}](#{offer.name}) | {mode} | {_cell(kind.full_severity)} | {doses} | {needs} | {presets} |")
    return lines


def _others(offers: list[Offer]) -> list[str]:
    lines = ["| name | what it does |", "|---|---|"]
    return lines + [f"| [{offer.name}](#{offer.name}) | {_cell(_sentence(offer.component.summary()))} |" for offer in offers]


def _sentence(text: str) -> str:
    """Return the first sentence, which may name authors et al."""
    return re.split(r"(?<! al)\. ", text, maxsplit=1)[0]


def _section(offer: Offer) -> str:
    kind = offer.component
    lines = [f"## {offer.name}", "", inspect.cleandoc(kind.__doc__ or ""), ""]
    if issubclass(kind, Metric):
        lines += [f"sees: {_listed(kind.sees)}; blind to: {_listed(kind.blind_to)}", ""]
        lines += [f"`{q.name}` carries no interval: {q.no_interval}." for q in offer.promises if q.no_interval]
    if issubclass(kind, Perturbation):
        lines += [f"dose of concern, because {kind().because}", ""]
        lines += [f"- preset {name}: {_chosen(options)}" for name, options in sorted(kind.presets.items()) if options]
        lines += [""] if any(kind.presets.values()) else []
    needs = sorted(kind.needs)
    lines += [f"needs: {', '.join(needs)}", ""] if needs else []
    for name, field in kind.model_fields.items():
        default = "required" if field.is_required() else f"default `{field.get_default(call_default_factory=True)}`"
        lines.append(f"- `{name}`, {default}" + (f": {field.description}" if field.description else ""))
    return "\n".join([*lines, ""])


def _chosen(options: Mapping[str, Any]) -> str:
    """Return the options that a preset chooses, in the words of model.yaml."""
    return ", ".join(f"{name} {list(value) if isinstance(value, tuple) else value}" for name, value in options.items())


def _listed(modes: frozenset[str]) -> str:
    return ", ".join(sorted(str(mode).replace("_", " ") for mode in modes)) or "nothing declared"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(manual(sys.argv[1], Host.discover()))
