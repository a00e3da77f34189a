"""Tasks: what the images are used for."""

from harness.api import Task, hookimpl

from .classification import Classification
from .segmentation import Segmentation


@hookimpl
def harness_tasks() -> list[type[Task]]:
    """Offer the built-in tasks."""
    return [Classification, Segmentation]
