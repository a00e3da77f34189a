"""What generators share that learn images together with their masks, each image made for a class."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from harness.api import Context, ImageSet, Request

from .tensors import (
    Facts,
    Kept,
    batch_rows,
    chunks,
    cropped,
    kept,
    label_rows,
    masks_of,
    noise_sources,
    padded,
    pictures_of,
    require_classes,
    require_regions,
    synthetic,
    turned,
    unsigned,
)
from .training import TrainedGenerator, repeatable, within_memory

if TYPE_CHECKING:
    import torch

Maker = Callable[["torch.Tensor", Sequence["torch.Generator"]], "torch.Tensor"]
GROUPS = 8


class JointGenerator(TrainedGenerator):
    """A trained generator whose images and masks are channels of one picture, made for a class where the images have labels."""

    joint: bool | None = Field(None, description="make masks with the images; where not given, if the training images have masks")
    condition: Literal["none", "label"] | None = Field(
        None, description="what each image is made for; where not given, its label if the training images have labels"
    )
    mask_threshold: float = Field(0.5, gt=0.0, lt=1.0, description="strength in [0, 1] above which a generated pixel is in a region")

    def conditions(self) -> frozenset[str]:
        """Return labels where the options ask for them."""
        return frozenset({"labels"}) if self.condition == "label" else frozenset()

    def sample(self, request: Request, context: Context) -> ImageSet:
        """Return the requested images, with masks and labels as far as they were learned.

        Where a request has no labels, every image draws its class, each as frequent as in training.
        """
        import torch

        left = kept(context, self.name)
        facts = left.facts
        classes = self._classes(request, left, context)
        images = np.empty((request.n, *facts.shape), dtype=np.float32)
        masks = np.empty((request.n, *facts.shape[1:]), dtype=np.uint8) if facts.regions else None
        with repeatable(context, self.threads), torch.no_grad(), within_memory(context, self.batch_size):
            make = self.maker(left, context.device)
            # Always a whole batch: the last digits of a convolution depend on how many images go through it at once.
            for rows, new in chunks(request.n, self.batch_size):
                made = make(torch.as_tensor(classes[rows], device=context.device), noise_sources(rows, request, context))
                found = cropped(made, facts.shape[1:])[:new]
                images[rows[:new]] = unsigned(found[:, : facts.shape[0]])
                if masks is not None:
                    masks[rows[:new]] = masks_of(found[:, facts.shape[0] :], facts.regions, left.numbers["mask_threshold"])
                context.progress(int(rows[new - 1]) + 1, request.n)
        labels = np.array(facts.labels, dtype=np.int64)[classes] if facts.labels else None
        return synthetic(request, self.name, facts, images, masks, labels)

    @abstractmethod
    def maker(self, left: Kept, device: str) -> Maker:
        """Return what makes pictures (N, channels, ...) in about [-1, 1] of classes (N,) and one source of noise for each."""

    def facts(self, images: ImageSet) -> Facts:
        """Return the facts of training images, with the labels and regions that are learned; `NotComputable` where they do not do."""
        facts = Facts.of(images)
        if self.condition == "label" or (self.condition is None and images.labels is not None):
            require_classes(images, "to condition on (condition: none goes without)")
        else:
            facts = replace(facts, labels=())
        if self.joint or (self.joint is None and images.masks is not None):
            require_regions(images, "to make with the images (joint: false goes without)")
            return facts
        return replace(facts, regions=())

    def numbers(self, images: ImageSet, facts: Facts) -> dict[str, float]:
        """Return the mask threshold and how frequent each label is, to be kept with the weights."""
        shares = {f"label={label}": float(np.mean(np.asarray(images.labels) == label)) for label in facts.labels}
        return {"mask_threshold": self.mask_threshold, **shares}

    def batch(
        self, images: ImageSet, facts: Facts, context: Context, step: int, rng: np.random.Generator, multiple: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the pictures of a step, mirrored, turned and padded to sides that are multiples, and their classes, (N,) int64."""
        rows = batch_rows(len(images), self.batch_size, step, (context.seed,))
        pictures = turned(pictures_of(images, rows, facts, context.device), self.flip_axes, self.rotations, rng)
        return padded(pictures, multiple), classes_of(images, rows, facts, context.device)

    def _classes(self, request: Request, left: Kept, context: Context) -> np.ndarray:
        """Return where the label of each image stands among those of training, (n,) int64; 0 where nothing is conditioned on."""
        facts = left.facts
        if not facts.labels:
            return np.zeros(request.n, dtype=np.int64)
        if request.labels is not None or self.condition == "label":
            return label_rows(request.labels, facts, request.n)
        shares = [left.numbers[f"label={label}"] for label in facts.labels]
        words = [context.seed, int(request.purpose == "test"), len(shares)]
        return np.array([np.random.default_rng([*words, row]).choice(len(shares), p=shares) for row in range(request.n)], dtype=np.int64)


def require_widths(channels: tuple[int, ...]) -> None:
    """Raise `ValueError` unless the channels can be normalised in groups."""
    if any(width < 1 or width % GROUPS for width in channels):
        raise ValueError(f"channels must be multiples of {GROUPS}")


def number_of_classes(facts: Facts) -> int:
    """Return how many classes there are: all images are of one where they have no labels."""
    return max(1, len(facts.labels))


def classes_of(images: ImageSet, rows: np.ndarray, facts: Facts, device: str) -> torch.Tensor:
    """Return where the labels of these rows stand among those that are learned, (N,) int64; 0 where there are none."""
    import torch

    found = np.zeros(len(rows), dtype=np.int64)
    if facts.labels:
        assert images.labels is not None
        found = label_rows(images.labels[rows], facts, len(rows))
    return torch.as_tensor(found, device=device)
