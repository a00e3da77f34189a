"""Perturbations: known defects planted in real images."""

from __future__ import annotations

from harness.api import Perturbation, hookimpl

from .bias_field import BiasField
from .blur import Blur
from .boundary_blur import BoundaryBlur
from .boundary_displacement import BoundaryDisplacement
from .class_imbalance import ClassImbalance
from .contrast import Contrast
from .density_shift import DensityShift
from .duplication import Duplication
from .flip import Flip
from .gaussian_noise import GaussianNoise
from .internal_duplication import InternalDuplication
from .jpeg import Jpeg
from .label_swap import LabelSwap
from .lesion_duplication import LesionDuplication
from .lesion_removal import LesionRemoval
from .mask_misalignment import MaskMisalignment
from .mode_collapse import ModeCollapse
from .mode_invention import ModeInvention
from .motion import Motion
from .near_copies import NearCopies
from .poisson_noise import PoissonNoise
from .radial_gradient import RadialGradient
from .reorder import Reorder
from .resave import Resave
from .resolution_loss import ResolutionLoss
from .rician_noise import RicianNoise
from .ringing import Ringing
from .small_lesion_erosion import SmallLesionErosion
from .speckle_noise import SpeckleNoise
from .subpixel_shift import SubpixelShift
from .undersampling import Undersampling


@hookimpl
def harness_perturbations() -> list[type[Perturbation]]:
    """Offer the perturbations of this folder."""
    return [
        BiasField,
        Blur,
        BoundaryBlur,
        BoundaryDisplacement,
        ClassImbalance,
        Contrast,
        DensityShift,
        Duplication,
        Flip,
        GaussianNoise,
        InternalDuplication,
        Jpeg,
        LabelSwap,
        LesionDuplication,
        LesionRemoval,
        MaskMisalignment,
        ModeCollapse,
        ModeInvention,
        Motion,
        NearCopies,
        PoissonNoise,
        RadialGradient,
        Reorder,
        Resave,
        ResolutionLoss,
        RicianNoise,
        Ringing,
        SmallLesionErosion,
        SpeckleNoise,
        SubpixelShift,
        Undersampling,
    ]
