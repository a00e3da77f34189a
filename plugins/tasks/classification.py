"""Image classification with a small residual network from MONAI."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field
from scipy.stats import rankdata

from harness.api import Context, ImageSet, NotComputable, Quantity, Task

from .training import CHUNK, batches, class_weights, deterministic, mirrored, shrunk, small_resnet

if TYPE_CHECKING:
    import torch


class Classification(Task):
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
    steps: int = Field(200, ge=1)
    batch_size: int = Field(32, ge=2)
    learning_rate: float = Field(2e-3, gt=0.0)
    weight_decay: float = Field(1e-2, ge=0.0)
    channels: tuple[int, int, int, int] = (8, 16, 32, 64)
    side: int = Field(64, ge=8)
    check_every: int = Field(20, ge=1)
    patience: int = Field(5, ge=1)
    flip_axes: tuple[int, ...] = ()

    def evaluate(self, training: ImageSet, validation: ImageSet, test: ImageSet, context: Context) -> Mapping[str, np.ndarray | float]:
        """Train, choose by validation loss, and return the three quantities for every test case."""
        classes = _classes(training, validation, test)
        sides = {"training": training, "validation": validation, "test": test}
        labels = {name: np.searchsorted(classes, np.asarray(side.labels)) for name, side in sides.items()}
        with deterministic(context):
            logits = self._train_and_predict(sides, labels, len(classes), context)
        return {
            "accuracy": (logits.argmax(axis=1) == labels["test"]).astype(np.float64),
            "auroc": auroc_pseudo_values(logits, labels["test"]),
            "brier": brier_scores(logits, labels["test"]),
        }

    def _train_and_predict(
        self, sides: Mapping[str, ImageSet], labels: Mapping[str, np.ndarray], classes: int, context: Context
    ) -> np.ndarray:
        """Return the logits of the test images, (N, classes) float64."""
        import torch
        from torch.nn.functional import cross_entropy

        images = {name: shrunk(side, self.side, context.device) for name, side in sides.items()}
        truth = {name: torch.as_tensor(values, dtype=torch.long, device=context.device) for name, values in labels.items()}
        mean, scale = images["training"].mean(), images["training"].std().clamp_min(1e-6)
        images = {name: (values - mean) / scale for name, values in images.items()}
        weight = class_weights(labels["training"], classes, context.device)

        network = small_resnet(tuple(images["training"].shape[1:]), classes, self.channels).to(context.device)
        optimiser = torch.optim.AdamW(network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, self.learning_rate, total_steps=self.steps)
        best, best_loss, waited = copy.deepcopy(network.state_dict()), math.inf, 0
        for step, rows in enumerate(batches(len(labels["training"]), self.batch_size, self.steps, context.rng), start=1):
            network.train()
            optimiser.zero_grad()
            seen = mirrored(images["training"][rows], self.flip_axes, context.rng)
            loss = cross_entropy(network(seen), truth["training"][rows], weight=weight)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            if step % self.check_every and step != self.steps:
                continue
            context.progress(step, self.steps)
            logits = _predict(network, images["validation"])
            found = float(cross_entropy(logits, truth["validation"], weight=weight))
            if not math.isfinite(found):
                raise NotComputable(f"the training loss is no longer finite after {step} steps: lower learning_rate")
            waited = 0 if found < best_loss else waited + 1
            if found < best_loss:
                best, best_loss = copy.deepcopy(network.state_dict()), found
            if waited >= self.patience:
                break
        network.load_state_dict(best)
        return np.asarray(_predict(network, images["test"]).cpu().numpy(), dtype=np.float64)


def _classes(training: ImageSet, validation: ImageSet, test: ImageSet) -> np.ndarray:
    """Return the labels in order; `NotComputable` where training or test lacks one of them."""
    sides = {"training": training, "validation": validation, "test": test}
    for name, side in sides.items():
        if side.labels is None or len(side) == 0:
            raise NotComputable(f"needs labelled {name} images, got none")
        if side.size_px != test.size_px or side.images.shape[1] != test.images.shape[1]:
            raise NotComputable(f"needs images of one size, got {side.images.shape[1:]} for {name}, {test.images.shape[1:]} for test")
    present = {name: np.unique(np.asarray(side.labels)) for name, side in sides.items()}
    classes: np.ndarray = np.unique(np.concatenate(list(present.values())))
    if len(classes) < 2:
        raise NotComputable(f"needs at least two classes, got only label {int(classes[0])}")
    for name in ("training", "test"):
        missing = sorted(int(c) for c in set(classes.tolist()) - set(present[name].tolist()))
        if missing:
            raise NotComputable(f"needs {name} images of every class, got none of label {', '.join(map(str, missing))}")
    return classes


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
