"""Everything that a plugin needs: `from harness.api import Metric, Quantity, hookimpl`.

This is the only module that a plugin imports, and the surface that is kept stable between releases.
"""

from .components import (
    Component,
    Context,
    Extractor,
    FailureMode,
    Generator,
    LLMCheck,
    Metric,
    Modality,
    Perturbation,
    RatingImporter,
    Task,
)
from .errors import HarnessError, InputError, NotComputable, Problem
from .hookspecs import hookimpl
from .images import Balls, Comparison, ImageSet, Request
from .quantities import ModelCall, Quantity, Rating, Scale, as_answer, members
from .yamlfile import read_yaml

__all__ = [
    "Balls", "Comparison", "Component", "Context", "Extractor", "FailureMode", "Generator", "HarnessError", "ImageSet", "InputError",
    "LLMCheck", "Metric", "Modality", "ModelCall", "NotComputable", "Perturbation", "Problem", "Quantity", "Rating", "RatingImporter",
    "Request", "Scale", "Task", "as_answer", "hookimpl", "members", "read_yaml",
]  # fmt: skip
