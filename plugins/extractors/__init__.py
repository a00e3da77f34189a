"""Extractors: images to feature vectors."""

from __future__ import annotations

from harness.api import Extractor, hookimpl

from .pixels import Pixels
from .random_conv import RandomConv


@hookimpl
def harness_extractors() -> list[type[Extractor]]:
    """Offer the extractors of this folder."""
    return [Pixels, RandomConv]
