"""Features of a classifier of the labels, trained on the real training images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from harness.api import Context, Extractor, ImageSet, InputError, NotComputable, Problem

from ..tasks.training import (
    averaged_down,
    batches,
    class_weights,
    deterministic,
    keep,
    kept,
    mirrored,
    shrunk,
    small_resnet,
    with_weights,
)
from .batches import in_batches

if TYPE_CHECKING:
    import torch

_BATCH = {2: 32, 3: 8}


class TaskNetwork(Extractor):
    """Penultimate layer, or logits, of a small residual network that the audit trains to tell the labels of real images apart.

    The network of the task `classification` (MONAI ResNet with one block per stage), trained on all real training images for
    `steps` gradient steps, with classes weighted by their inverse frequency; the last weights are kept, because an extractor
    sees no validation images. An embedding of what distinguishes the classes, in which a Frechet distance is a class-aware one;
    `layer: logits` gives the class scores that the Inception score takes. Needs no file. It is blind to whatever the labels do
    not depend on. Its training images are those of the audit: it knows them better than test images, so what compares distances
    to training with distances to test images (memorisation) is read with an extractor that was not trained here.

    Images larger than `side` pixels are averaged down to it. Training images are mirrored at random along `flip_axes` (0 = first
    spatial axis, array order).
    """

    name = "task_network"
    version = "1"
    needs = frozenset({"labels"})

    layer: Literal["penultimate", "logits"] = "penultimate"
    steps: int = Field(200, ge=1)
    batch_size: int = Field(32, ge=2)
    learning_rate: float = Field(2e-3, gt=0.0)
    weight_decay: float = Field(1e-2, ge=0.0)
    channels: tuple[int, int, int, int] = (8, 16, 32, 64)
    side: int = Field(64, ge=8)
    flip_axes: tuple[int, ...] = ()

    def gives(self) -> Literal["embedding", "logits"]:
        """Return `logits` for the class scores, else `embedding`."""
        return "logits" if self.layer == "logits" else "embedding"

    def fit(self, train: ImageSet, context: Context) -> None:
        """Train on `train` and leave weights, intensity scale, classes and image shape in the work folder."""
        import torch

        if train.labels is None or len(train) == 0:
            raise NotComputable("needs labelled training images, got none")
        classes, labels = np.unique(train.labels, return_inverse=True)
        if len(classes) < 2:
            raise NotComputable(f"needs training images of two classes, got only label {int(classes[0])}")
        with deterministic(context):
            images = shrunk(train, self.side, context.device)
            mean, scale = images.mean(), images.std().clamp_min(1e-6)
            network = self._trained((images - mean) / scale, labels, len(classes), context)
        sizes = {"shape": torch.tensor(train.images.shape[1:]), "network": torch.tensor(images.shape[1:])}
        keep(network, context, {"mean": mean, "scale": scale, "classes": torch.from_numpy(classes)} | sizes)

    def extract(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return the features, (N, channels[3] | classes) float32."""
        import torch

        content = kept(context, self.name)
        shape, classes = tuple(content["shape"].tolist()), len(content["classes"])
        if images.images.shape[1:] != shape:
            found = images.images.shape[1:]
            raise InputError(Problem(f"images of shape {found} after training on {shape}", fix="bring both to one size and channels"))
        reduced = tuple(content["network"].tolist())
        network = with_weights(lambda: small_resnet(reduced, classes, self.channels), content["weights"])
        if self.layer == "penultimate":
            network.fc = torch.nn.Identity()

        def features(x: torch.Tensor) -> torch.Tensor:
            return network((averaged_down(x, self.side) - content["mean"]) / content["scale"])

        width = classes if self.layer == "logits" else self.channels[3]
        return in_batches(images, _BATCH[len(images.size_px)], width, context, features)

    def _trained(self, images: torch.Tensor, labels: np.ndarray, classes: int, context: Context) -> torch.nn.Module:
        """Return the trained network. images: normalised; labels: (N,) from 0 to classes - 1."""
        import torch
        from torch.nn.functional import cross_entropy

        truth = torch.as_tensor(labels, dtype=torch.long, device=context.device)
        weight = class_weights(labels, classes, context.device)
        network = small_resnet(tuple(images.shape[1:]), classes, self.channels).to(context.device).train()
        optimiser = torch.optim.AdamW(network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, self.learning_rate, total_steps=self.steps)
        for step, rows in enumerate(batches(len(images), self.batch_size, self.steps, context.rng), start=1):
            optimiser.zero_grad()
            seen = mirrored(images[rows], self.flip_axes, context.rng)
            loss = cross_entropy(network(seen), truth[rows], weight=weight)
            if not math.isfinite(float(loss.detach())):
                raise NotComputable(f"the training loss is no longer finite after {step} steps: lower learning_rate")
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            context.progress(step, self.steps)
        return network
