"""Extractors: images to feature vectors."""

from __future__ import annotations

from harness.api import Extractor, hookimpl

from .backbone import Backbone
from .evanyseg_predictor import EvanysegPredictor
from .inception_v3 import InceptionV3
from .lpips import Lpips
from .medicalnet import MedicalNet
from .pixels import Pixels
from .radiomics import Radiomics
from .random_conv import RandomConv
from .task_network import TaskNetwork
from .torchscript import TorchScript
from .vision_transformers import BiomedClip, Clip, Dinov2


@hookimpl
def harness_extractors() -> list[type[Extractor]]:
    """Offer the extractors of this folder."""
    return [
        Backbone,
        BiomedClip,
        Clip,
        Dinov2,
        EvanysegPredictor,
        InceptionV3,
        Lpips,
        MedicalNet,
        Pixels,
        Radiomics,
        RandomConv,
        TaskNetwork,
        TorchScript,
    ]
