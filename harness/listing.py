"""What is installed, in words: the list of components, and one component explained."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from .components import KINDS, Metric, Perturbation
from .host import Host, Offer


def installed(host: Host) -> Iterator[str]:
    """Yield the table of components: kind, name, version, distribution, needs, options."""
    rows = [
        ("kind", "name", "version", "distribution", "needs", "options"),
        *(_listed(offer) for kind in KINDS for offer in host.of_kind(kind)),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        yield "  ".join([*(text.ljust(width) for text, width in zip(row[:5], widths, strict=True)), row[5]]).rstrip()


def explained(offer: Offer) -> Iterator[str]:
    """Yield what a component computes, what it promises, and its options."""
    component = offer.component
    yield f"{offer.kind} {offer.name} {offer.version}, from {offer.distribution}\n"
    yield f"{inspect.cleandoc(component.__doc__ or 'no description')}\n"
    yield f"needs     {', '.join(sorted(component.needs)) or 'nothing but the images'}"
    for quantity in offer.promises:
        known = quantity.low is not None and quantity.high is not None
        limits = f"{quantity.low:g}..{quantity.high:g}" if known else ""
        yield f"promises  {offer.name}.{quantity.name}, unit {quantity.unit}, {quantity.better} is better {limits}".rstrip()
    if issubclass(component, Metric):
        yield f"sees      {', '.join(sorted(component.sees)) or 'nothing declared'}"
        yield f"blind to  {', '.join(sorted(component.blind_to)) or 'nothing declared'}"
    if issubclass(component, Perturbation):
        yield f"plants    {component.failure_mode}; severity 1 is: {component.full_severity}"
        yield f"presets   {', '.join(sorted(component.presets)) or 'none'}"
    for option, info in component.model_fields.items():
        default = "required" if info.is_required() else f"default {info.get_default(call_default_factory=True)!r}"
        yield f"option    {option}: {_type(info.annotation)}, {default}" + (f": {info.description}" if info.description else "")


def _listed(offer: Offer) -> tuple[str, ...]:
    options = ", ".join(offer.component.model_fields)
    return offer.kind, offer.name, offer.version, offer.distribution, ", ".join(sorted(offer.component.needs)), options


def _type(annotation: object) -> str:
    if get_origin(annotation) is Annotated:
        return _type(get_args(annotation)[0])
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    if get_origin(annotation) is Literal:
        return " or ".join(repr(value) for value in get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join("nothing" if part is type(None) else _type(part) for part in get_args(annotation))
    parts = [_type(part) for part in get_args(annotation) if part is not Ellipsis]
    kind = getattr(get_origin(annotation), "__name__", str(annotation))
    return f"{kind} of {', '.join(parts)}" if parts else kind
