"""Extractors: images to feature vectors."""

from __future__ import annotations

from harness.api import Extractor, hookimpl

from .inception_v3 import InceptionV3
from .lpips import Lpips
from .pixels import Pixels
from .radiomics import Radiomics
from .random_conv import RandomConv
from .torchscript import TorchScript


@hookimpl
def harness_extractors() -> list[type[Extractor]]:
    """Offer the extractors of this folder."""
    return [InceptionV3, Lpips, Pixels, Radiomics, RandomConv, TorchScript]
