"""Metrics: numbers that compare synthetic with real images."""

from __future__ import annotations

from harness.api import Metric, hookimpl

from .artefacts import Artefacts
from .constraint import Constraint
from .data_copying import DataCopying
from .detail import Detail
from .diversity import Vendi
from .duplicates import Duplicates
from .evanyseg import Evanyseg
from .feature_likelihood import Fld
from .frechet import Frechet, FrechetInfinity
from .inception_score import InceptionScore, InceptionScoreInfinity
from .intensity import Intensity
from .kernel import Kernel, Mmd
from .likelihood import Fls
from .manifold import Manifold
from .masks import MaskAlignment, MaskPlausibility
from .membership import Membership
from .memorisation import Memorisation
from .perceptual import Perceptual
from .pixel_copies import PixelCopies
from .scorecard import Scorecard, ScorecardByClass
from .spectrum import Spectrum
from .structure import Structure
from .support import Support
from .transport import Transport
from .two_sample import NearestNeighbourTest, TwoSample


@hookimpl
def harness_metrics() -> list[type[Metric]]:
    """Offer the metrics of this folder."""
    return [
        Artefacts,
        Constraint,
        DataCopying,
        Detail,
        Duplicates,
        Evanyseg,
        Fld,
        Fls,
        Frechet,
        FrechetInfinity,
        InceptionScore,
        InceptionScoreInfinity,
        Intensity,
        Kernel,
        Manifold,
        MaskAlignment,
        MaskPlausibility,
        Membership,
        Memorisation,
        Mmd,
        NearestNeighbourTest,
        Perceptual,
        PixelCopies,
        Scorecard,
        ScorecardByClass,
        Spectrum,
        Structure,
        Support,
        Transport,
        TwoSample,
        Vendi,
    ]
