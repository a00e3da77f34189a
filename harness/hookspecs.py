"""The seven doors. A hook is a plural noun, returns classes, does no work.

Write one function per kind that you offer, mark it with `hookimpl`, and name the module in your distribution's `harness`
entry-point group.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from .components import Extractor, Generator, LLMCheck, Metric, Perturbation, RatingImporter, Task

PROJECT = "harness"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def harness_generators() -> Iterable[type[Generator]]:  # type: ignore[empty-body]
    """Offer generators: what makes synthetic images. Example: `return [MyDiffusion]`."""


@hookspec
def harness_extractors() -> Iterable[type[Extractor]]:  # type: ignore[empty-body]
    """Offer extractors: images to feature vectors. Example: `return [RadImageNet]`."""


@hookspec
def harness_perturbations() -> Iterable[type[Perturbation]]:  # type: ignore[empty-body]
    """Offer perturbations: defects planted in real images. Example: `return [RicianNoise]`."""


@hookspec
def harness_metrics() -> Iterable[type[Metric]]:  # type: ignore[empty-body]
    """Offer metrics: numbers that compare synthetic with real images. Example: `return [Sharpness]`."""


@hookspec
def harness_tasks() -> Iterable[type[Task]]:  # type: ignore[empty-body]
    """Offer tasks: what the images are used for. Example: `return [LesionSegmentation]`."""


@hookspec
def harness_rating_importers() -> Iterable[type[RatingImporter]]:  # type: ignore[empty-body]
    """Offer rating importers: files of expert ratings. Example: `return [LabelStudio]`."""


@hookspec
def harness_llm_checks() -> Iterable[type[LLMCheck]]:  # type: ignore[empty-body]
    """Offer LLM checks: ratings by language models. Example: `return [VisionChat]`."""


HOOKS = {
    "harness_generators": Generator,
    "harness_extractors": Extractor,
    "harness_perturbations": Perturbation,
    "harness_metrics": Metric,
    "harness_tasks": Task,
    "harness_rating_importers": RatingImporter,
    "harness_llm_checks": LLMCheck,
}
