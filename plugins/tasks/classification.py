"""Image classification with a small residual network from MONAI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field
from scipy.stats import rankdata

from harness.api import Context, ImageSet, NotComputable, Quantity

from .training import CHUNK, NetworkTask, class_weights, deterministic, keep, kept, mirrored, shrunk, small_resnet, with_weights

if TYPE_CHECKING:
    import torch


class Classification(NetworkTask):
    """Train a small MONAI ResNet to tell the labels apart; accuracy, AUROC and Brier score on every test case.

    Every mix gets the same number of gradient steps, initial weights and batch size, so a larger training set is not also more
    training. The loss weighs classes by their inverse frequency in the training set; the weights with the lowest loss on the
    validation images are the ones tested. Images larger than `side` pixels are averaged down to it first. Training images are
    mirrored at random along `flip_axes` (0 = first spatial axis, array order).

    `auroc` is given per case as a pseudo-value whose mean is the AUROC and whose variance over cases is DeLong's, so a single
    one may lie outside [0, 1]; with more than two classes it is the unweighted mean over one-against-rest.
    """

    name = "classification"
    version = "1"
    needs = frozenset({"labels"})
    quantities = (
        Quantity(name="accuracy", better="higher", low=0.0, high=1.0),
        Quantity(name="auroc", better="higher", low=0.0, high=1.0),
        Quantity(name="brier", better="lower", low=0.0, high=2.0),
    )
    channels: tuple[int, int, int, int] = (8, 16, 32, 64)
    side: int = Field(64, ge=8)

    def fit(self, training: ImageSet, validation: ImageSet, context: Context) -> None:
        """Train, choose by validation loss, and leave weights, intensity scale, classes and image shape in the work folder."""
        import torch

        classes = _classes(training, validation)
        labels = np.searchsorted(classes, np.asarray(training.labels))
        with deterministic(context):
            images = shrunk(training, self.side, context.device)
            mean, scale = images.mean(), images.std().clamp_min(1e-6)
            looked_at = (shrunk(validation, self.side, context.device) - mean) / scale
            answers = np.searchsorted(classes, np.asarray(validation.labels))
            network = self._trained((images - mean) / scale, labels, looked_at, answers, len(classes), context)
        shape = torch.tensor(training.images.shape[1:])
        keep(network, context, {"mean": mean, "scale": scale, "classes": torch.from_numpy(classes), "shape": shape})

    def score(self, test: ImageSet, context: Context) -> Mapping[str, np.ndarray | float]:
        """Return the three quantities for every test case."""
        content = kept(context, self.name)
        labels = _known_labels(test, content["classes"].cpu().numpy(), tuple(content["shape"].tolist()))
        with deterministic(context):
            images = (shrunk(test, self.side, context.device) - content["mean"]) / content["scale"]
            shape, classes = tuple(images.shape[1:]), len(content["classes"])
            network = with_weights(lambda: small_resnet(shape, classes, self.channels), content["weights"])
            logits = np.asarray(_predict(network, images).cpu().numpy(), dtype=np.float64)
        return {
            "accuracy": (logits.argmax(axis=1) == labels).astype(np.float64),
            "auroc": auroc_pseudo_values(logits, labels),
            "brier": brier_scores(logits, labels),
        }

    def _trained(
        self,
        images: torch.Tensor,
        labels: np.ndarray,
        looked_at: torch.Tensor,
        answers: np.ndarray,
        classes: int,
        context: Context,
    ) -> torch.nn.Module:
        """Return the trained network. images, looked_at: normalised, to train on and to stop by; labels, answers: theirs, from 0."""
        import torch
        from torch.nn.functional import cross_entropy

        truth, answer = (torch.as_tensor(values, dtype=torch.long, device=context.device) for values in (labels, answers))
        weight = class_weights(labels, classes, context.device)
        network = small_resnet(tuple(images.shape[1:]), classes, self.channels).to(context.device)

        def loss(rows: torch.Tensor) -> torch.Tensor:
            seen = mirrored(images[rows], self.flip_axes, context.rng)
            return cross_entropy(network(seen), truth[rows], weight=weight)

        def validation_loss() -> torch.Tensor:
            return cross_entropy(_predict(network, looked_at), answer, weight=weight)

        self.train(network, len(images), loss, validation_loss, context)
        return network


def _classes(training: ImageSet, validation: ImageSet) -> np.ndarray:
    """Return the labels in order; `NotComputable` where there is only one, or training lacks one of them."""
    for name, side in (("training", training), ("validation", validation)):
        if side.labels is None or len(side) == 0:
            raise NotComputable(f"needs labelled {name} images, got none")
    _same_shape(validation.images.shape[1:], "validation", training.images.shape[1:])
    classes: np.ndarray = np.unique(np.concatenate([np.asarray(training.labels), np.asarray(validation.labels)]))
    if len(classes) < 2:
        raise NotComputable(f"needs at least two classes, got only label {int(classes[0])}")
    _every_class("training", np.asarray(training.labels), classes)
    return classes


def _known_labels(test: ImageSet, classes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the places of the test labels among the classes, (N,); `NotComputable` where either lacks a label of the other."""
    if test.labels is None or len(test) == 0:
        raise NotComputable("needs labelled test images, got none")
    _same_shape(test.images.shape[1:], "test", shape)
    labels = np.asarray(test.labels)
    _every_class("training", classes, labels)
    _every_class("test", labels, classes)
    return np.searchsorted(classes, labels)


def _same_shape(shape: tuple[int, ...], name: str, training: tuple[int, ...]) -> None:
    if shape != training:
        raise NotComputable(f"needs images of one size, got {training} for training, {shape} for {name}")


def _every_class(name: str, present: np.ndarray, classes: np.ndarray) -> None:
    missing = np.setdiff1d(classes, present).tolist()
    if missing:
        raise NotComputable(f"needs {name} images of every class, got none of label {', '.join(map(str, missing))}")


def _predict(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return the logits of these images."""
    import torch

    network.eval()
    with torch.no_grad():
        return torch.cat([network(part) for part in images.split(CHUNK)])


def log_odds(logits: np.ndarray) -> np.ndarray:
    """Return (N, K) log odds of each class against the rest: no ties where probabilities would round to 0 or 1."""
    odds = np.empty_like(logits)
    for k in range(logits.shape[1]):
        odds[:, k] = logits[:, k] - np.logaddexp.reduce(np.delete(logits, k, axis=1), axis=1)
    return odds


def auroc_pseudo_values(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (N,) values whose mean is the AUROC and whose variance over cases, divided by N, is DeLong's of the AUROC.

    AUROC + (V_i - AUROC) n / n_class(i), with V_i the share of cases of the other class that case i is ranked correctly
    against, ties half (placement value, or structural component; DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988). More
    than two classes: the mean over classes, each against the rest.
    """
    columns = [logits.shape[1] - 1] if logits.shape[1] == 2 else range(logits.shape[1])
    odds = log_odds(logits)
    return np.mean([_binary_pseudo_values(odds[:, k], labels == k) for k in columns], axis=0)


def _binary_pseudo_values(score: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Return the pseudo-values of one class against the rest."""
    n, n_positive = len(score), int(positive.sum())
    n_negative = n - n_positive
    # The mid-rank among all cases less the mid-rank among one's own class counts the other class below.
    rank, own = rankdata(score), np.empty(n)
    own[positive], own[~positive] = rankdata(score[positive]), rankdata(score[~positive])
    below = rank - own
    placement = np.where(positive, below / n_negative, 1.0 - below / n_positive)
    area = placement[positive].mean()
    return np.asarray(area + (placement - area) * n / np.where(positive, n_positive, n_negative))


def brier_scores(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (N,) squared distances of the predicted probabilities to the truth, summed over classes (Brier, 1950): 0 to 2."""
    chance = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    return np.asarray(((chance - np.eye(logits.shape[1])[labels]) ** 2).sum(axis=1))
