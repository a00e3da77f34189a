"""Image classification: one label out of several, or several concepts that may be there together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from harness.api import Context, ImageSet, InputError, NotComputable, Problem, Quantity

from ..extractors.weights import Pin, WeightsFile
from . import scores
from .backbones import SMALL, build, known, load_body, rebuilt, without_head
from .training import CHUNK, NetworkTask, class_weights, deterministic, keep, kept, mirrored, shrunk

if TYPE_CHECKING:
    import torch

_CHANNELS = (8, 16, 32, 64)
_BIASED = "it is never below 0 and so too high by an amount that depends on the model and on the number of cases"


class _AsTarget:
    """What the task needs: what its option `target` names; asked of the class, what the default needs."""

    def __get__(self, task: Classification | None, owner: type[Classification]) -> frozenset[str]:
        return frozenset({"labels" if task is None else task.target})


class Classification(NetworkTask):
    """Train a network to tell labels, or concepts, from images; ranking, decisions, calibration and entropy on every test case.

    Every mix gets the same number of gradient steps, initial weights and batch size, so a larger training set is not also more
    training. `target: labels` is one class out of several (cross-entropy, classes weighted by their inverse frequency in the training
    set); `target: concepts` are several that may be there together (binary cross-entropy, the present ones weighted by absent /
    present). These weights raise the predicted probability of what is rare, which `ece` and `brier` show. The weights of the network
    with the lowest loss on the validation images are the ones tested. Images larger than `side` pixels are averaged down to it first.
    Training images are mirrored at random along `flip_axes` (0 = first spatial axis, array order).

    Two labels: every quantity is about the higher one. More labels, or concepts: a column for each, asked against the rest, and one
    for the case as a whole, which is the unweighted mean over them (macro), but for labels the share of right classes (`accuracy`), the
    entropy over classes, and Brier's sum over classes. What a quantity cannot be computed of (fewer than two test cases that have a
    label, or that lack it) is masked and left out of the mean, the same for every mix; `precision` as a whole is masked where one
    label was decided for in fewer than two cases.

    `f1`, `precision` and `recall` are of the decisions p >= t, with t of each label the probability of a validation image at which F1
    on the validation images is largest; `accuracy` of the most probable class, or of p > 1/2. `auprc` is the average precision;
    `ece` has 15 bins of equal width (scores.py); `entropy` is in nats; `brier` is summed over the answers to a question, 0 to 2.
    What is no mean over cases is given per case as pseudo-values, whose mean is the statistic and whose variance over cases that of
    its error (DeLong's for `auroc`, else the jackknife's), so a single one may lie outside the range, and their mean over some of
    the cases is not the statistic of these. Simulated 95 % intervals of 100 and of 400 cases held the true `auprc` in 92 and 94 %,
    `auroc`, `f1`, `precision` and `recall` in 94 to 95 %, but `ece` in 2 % where the model was calibrated and in 71 and 91 % where it
    was not, so `ece` carries none. `squared_calibration_error` is free of that bias, may lie below 0, and carries one (96 to 99 %).

    `tuned: head` trains the last layer alone, on a network from a weights file or, with `order: real_then_synthetic`, after the real
    images. That order first trains for `steps` on the real images of the mix, then for `fine_tuning_steps` on the synthetic
    ones, as Rafferty et al. (2026) do; a mix of one kind goes on with its own images, so the steps are the same for every mix.
    """

    name = "classification"
    version = "2"
    needs = _AsTarget()  # type: ignore[assignment]
    quantities = (
        Quantity(name="accuracy", better="higher", low=0.0, high=1.0),
        Quantity(name="auroc", better="higher", low=0.0, high=1.0),
        Quantity(name="auprc", better="higher", low=0.0, high=1.0),
        Quantity(name="f1", better="higher", low=0.0, high=1.0),
        Quantity(name="precision", better="higher", low=0.0, high=1.0),
        Quantity(name="recall", better="higher", low=0.0, high=1.0),
        Quantity(name="ece", better="lower", low=0.0, high=1.0, biased_in_n=True, no_interval=_BIASED),
        Quantity(name="squared_calibration_error", better="lower"),
        Quantity(name="entropy", unit="nat", better="lower", low=0.0),
        Quantity(name="brier", better="lower", low=0.0, high=2.0),
    )
    target: Literal["labels", "concepts"] = Field("labels", description="what is told from the images: one label, or several concepts")
    backbone: Annotated[str, AfterValidator(known)] = Field(
        SMALL, description="network: small_resnet, resnet18, resnet50, densenet121, seresnext50, efficientnet-b0, timm:<model>, "
        "torchvision:<model>"
    )  # fmt: skip
    channels: tuple[int, int, int, int] = Field(_CHANNELS, description="of the stages of small_resnet")
    side: int = Field(64, ge=8, description="longest axis that the network sees, px")
    tuned: Literal["full", "head"] = Field("full", description="what is trained (last): the whole network, or its last layer alone")
    weights: WeightsFile | None = Field(None, description="file of weights that the network starts from; its last layer is left out")
    sha256: Pin = Field("", description="digest of the weights file")
    order: Literal["mixed", "real_then_synthetic"] = Field("mixed", description="images of a mix together, or first real, then synthetic")
    fine_tuning_steps: int | None = Field(
        None, ge=1, description="gradient steps of the second part of real_then_synthetic; as many as `steps` where not given"
    )

    @model_validator(mode="after")
    def _options_that_act(self) -> Self:
        if self.channels != _CHANNELS and self.backbone != SMALL:
            raise ValueError(f"channels are those of {SMALL}; {self.backbone} has its own")
        if self.fine_tuning_steps is not None and self.order == "mixed":
            raise ValueError("fine_tuning_steps are those of order: real_then_synthetic")
        if self.tuned == "head" and self.order == "mixed" and self.weights is None:
            raise ValueError("tuned: head needs weights, or order: real_then_synthetic; else the rest of the network stays random")
        if self.sha256 and self.weights is None:
            raise ValueError("sha256 is that of a weights file, and none is given")
        return self

    def inputs(self) -> tuple[Path, ...]:
        """Return the weights file, where there is one."""
        return () if self.weights is None else (self.weights,)

    def columns(self, images: ImageSet) -> tuple[str, ...]:
        """Return "" and, with more than two labels or more than one concept, `label=0`, `label=1` ... or `concept=0` ..."""
        if self.target == "concepts":
            count = 0 if images.concepts is None else images.concepts.shape[1]
            return ("",) if count < 2 else ("", *(f"concept={k}" for k in range(count)))
        classes = [] if images.labels is None else np.unique(images.labels).tolist()
        return ("",) if len(classes) <= 2 else ("", *(f"label={k}" for k in classes))

    def fit(self, training: ImageSet, validation: ImageSet, context: Context) -> None:
        """Train, choose by validation loss, then thresholds; leave weights, thresholds, intensity scale, classes and image shape."""
        import torch

        goal = _labels(training, validation) if self.target == "labels" else _concepts(training, validation)
        with deterministic(context), _within_memory(self.batch_size):
            images = shrunk(training, self.side, context.device)
            mean, scale = images.mean(), images.std().clamp_min(1e-6)
            looked_at = (shrunk(validation, self.side, context.device) - mean) / scale
            network = self._trained((images - mean) / scale, looked_at, goal, _parts(training, self.order), context)
            found = _as_numbers(_predict(network, looked_at))
        thresholds = [scores.f1_threshold(q.chance, q.positive) for q in _questions(found, goal.answers, self.target)]
        # NaN: no validation image has the label, so there is no threshold for it.
        marks = torch.tensor([np.nan if t is None else t for t in thresholds], dtype=torch.float64)
        shape = torch.tensor(training.images.shape[1:])
        facts = {"mean": mean, "scale": scale, "classes": torch.from_numpy(goal.classes), "shape": shape, "thresholds": marks}
        keep(network, context, facts)

    def score(self, test: ImageSet, context: Context) -> Mapping[str, np.ndarray | float]:
        """Return every quantity for every test case, in the columns that `columns` names; undefined ones are masked."""
        content = kept(context, self.name)
        classes, known_shape = content["classes"].cpu().numpy(), tuple(content["shape"].tolist())
        truth = _known_labels(test, classes, known_shape) if self.target == "labels" else _known_concepts(test, classes, known_shape)
        with deterministic(context), _within_memory(self.batch_size):
            images = (shrunk(test, self.side, context.device) - content["mean"]) / content["scale"]
            shape = tuple(images.shape[1:])
            network = rebuilt(self.backbone, shape, len(classes), self.channels, content["weights"], context.device)
            logits = _as_numbers(_predict(network, images))
        thresholds = [None if np.isnan(t) else t for t in content["thresholds"].tolist()]
        questions = _questions(logits, truth, self.target)
        each = [_per_case(question, threshold) for question, threshold in zip(questions, thresholds, strict=True)]
        whole = _of_classes(logits, truth) if self.target == "labels" else {}
        return {q.name: _columns_of(q.name, each, whole.get(q.name), context) for q in self.quantities}

    def _trained(self, images: torch.Tensor, looked_at: torch.Tensor, goal: _Goal, parts: Sequence[np.ndarray],
                 context: Context) -> torch.nn.Module:  # fmt: skip
        """Return the trained network. images, looked_at: normalised, to train on and to stop by; parts: rows to train on in turn."""
        import torch

        loss, truth, answers = self._loss(goal, context.device)
        network = build(self.backbone, tuple(images.shape[1:]), len(goal.classes), self.channels)
        if self.weights is not None:
            load_body(network, self.weights, self.sha256, self.backbone)
        network = network.to(context.device)
        for turn, part in enumerate(parts):
            rows_of_part = torch.as_tensor(part, device=context.device)
            task = self if turn == 0 else self.model_copy(update={"steps": self.fine_tuning_steps or self.steps})

            def seen(rows: torch.Tensor, part: torch.Tensor = rows_of_part) -> tuple[torch.Tensor, torch.Tensor]:
                own = part[rows]
                return mirrored(images[own], self.flip_axes, context.rng), truth[own]

            if self.tuned == "head" and turn == len(parts) - 1:
                _train_head(task, network, len(part), seen, loss, looked_at, answers, context)
            else:
                _train_all(task, network, len(part), seen, loss, looked_at, answers, context)
        return network

    def _loss(self, goal: _Goal, device: str) -> tuple[_Loss, torch.Tensor, torch.Tensor]:
        """Return the weighted loss, and what the training and the validation images should be told to be, on the device."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

        if self.target == "labels":
            truth, answers = (torch.as_tensor(side, dtype=torch.long, device=device) for side in (goal.truth, goal.answers))
            weight = class_weights(goal.truth, len(goal.classes), device)
            return lambda logits, wanted: cross_entropy(logits, wanted, weight=weight), truth, answers
        truth, answers = (torch.as_tensor(side, dtype=torch.float32, device=device) for side in (goal.truth, goal.answers))
        present = goal.truth.sum(axis=0)
        # A concept that no training image has needs no weight: there is nothing that it would be the weight of.
        ratio = np.where(present > 0, (len(goal.truth) - present) / np.maximum(present, 1), 1.0)
        # One that all have would weigh nothing and be decided by chance.
        weight = torch.as_tensor(np.where(ratio > 0, ratio, 1.0), dtype=torch.float32, device=device)
        return lambda logits, wanted: binary_cross_entropy_with_logits(logits, wanted, pos_weight=weight), truth, answers


_Loss = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
_Seen = Callable[["torch.Tensor"], "tuple[torch.Tensor, torch.Tensor]"]


@dataclass(frozen=True)
class _Goal:
    """What is to be told: truth and answers of training and validation images, (N,) places among the classes or (N, K) bool."""

    truth: np.ndarray
    answers: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True)
class _Question:
    """Is the label there? score: what cases are ranked by; chance: its predicted probability; positive: the truth. (N,) each."""

    score: np.ndarray
    chance: np.ndarray
    positive: np.ndarray


def _train_all(task: NetworkTask, network: torch.nn.Module, n: int, seen: _Seen, loss: _Loss, looked_at: torch.Tensor,
               answers: torch.Tensor, context: Context) -> None:  # fmt: skip
    def training_loss(rows: torch.Tensor) -> torch.Tensor:
        images, truth = seen(rows)
        return loss(network(images), truth)

    task.train(network, n, training_loss, lambda: loss(_predict(network, looked_at), answers), context)


def _train_head(task: NetworkTask, network: torch.nn.Module, n: int, seen: _Seen, loss: _Loss, looked_at: torch.Tensor,
                answers: torch.Tensor, context: Context) -> None:  # fmt: skip
    """Train the last layer; the rest stays as it is, with the averages that its normalisations have gathered."""
    with without_head(network) as head:
        features = _predict(network, looked_at)

        def training_loss(rows: torch.Tensor) -> torch.Tensor:
            images, truth = seen(rows)
            return loss(head(_predict(network, images)), truth)

        task.train(head, n, training_loss, lambda: loss(head(features), answers), context)


def _parts(training: ImageSet, order: str) -> list[np.ndarray]:
    """Return the rows to train on, one part after the other.

    A mix of both kinds is told by its ids, which begin with the origin of each image and a slash; any other set is of one kind and
    is its own second part.
    """
    rows = np.arange(len(training))
    if order == "mixed":
        return [rows]
    origins = np.array([image_id.partition("/")[0] for image_id in training.ids])
    if set(origins) != {"real", "synthetic"}:
        return [rows, rows]
    return [rows[origins == "real"], rows[origins == "synthetic"]]


def _questions(logits: np.ndarray, truth: np.ndarray, target: str) -> list[_Question]:
    """Return one question about the second of two labels, else one for each label or concept."""
    if target == "concepts":
        chances = np.exp(-np.logaddexp(0.0, -logits))
        return [_Question(logits[:, k], chances[:, k], truth[:, k]) for k in range(logits.shape[1])]
    odds, chances = scores.log_odds(logits), np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    places = [1] if logits.shape[1] == 2 else range(logits.shape[1])
    return [_Question(odds[:, k], np.minimum(chances[:, k], 1.0), truth == k) for k in places]


def _per_case(question: _Question, threshold: float | None) -> dict[str, np.ndarray | None]:
    """Return the values per case of every quantity, None where it is undefined; those of accuracy are of deciding at 1/2."""
    chance, positive = question.chance, question.positive
    decided = None if threshold is None or positive.sum() < scores.LEAST else chance >= threshold
    return {
        "accuracy": ((question.score > 0.0) == positive).astype(np.float64),
        "auroc": scores.auroc_per_case(question.score, positive),
        "auprc": scores.average_precision_per_case(question.score, positive),
        "f1": None if decided is None else scores.f1_per_case(decided, positive),
        "precision": None if decided is None else scores.precision_per_case(decided, positive),
        "recall": None if decided is None else scores.recall_per_case(decided, positive),
        "ece": scores.ece_per_case(chance, positive),
        "squared_calibration_error": scores.squared_calibration_error_per_case(chance, positive),
        "entropy": scores.binary_entropy(chance),
        "brier": 2.0 * (chance - positive) ** 2,
    }


def _of_classes(logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return what is asked of all classes at once, (N,) each."""
    chances = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    return {
        "accuracy": (logits.argmax(axis=1) == labels).astype(np.float64),
        "entropy": scores.categorical_entropy(chances),
        "brier": scores.brier_scores(logits, labels),
    }


def _columns_of(name: str, each: Sequence[Mapping[str, np.ndarray | None]], whole: np.ndarray | None, context: Context) -> np.ndarray:
    """Return the case as a whole and every question beside it, (N, 1 + K), or (N,) where there is one question; undefined ones masked."""
    n = len(each[0]["accuracy"])  # type: ignore[arg-type]
    nothing = np.ma.masked_array(np.zeros(n), mask=True)
    values = [one[name] for one in each]
    undefined = [str(k) for k, value in enumerate(values) if value is None]
    if undefined:
        context.note(name, f"undefined for {len(undefined)} of {len(each)} questions, which the mean leaves out: {', '.join(undefined)}")
    defined = [value for value in values if value is not None]
    # Decided by the predictions: to leave such a label out of the mean would compare mixes by different labels.
    by_chance = name == "precision" and any(one["precision"] is None and one["recall"] is not None for one in each)
    if whole is None:
        whole = np.mean(defined, axis=0) if defined and not by_chance else nothing
    if len(each) == 1:
        return whole
    return np.ma.stack([whole, *(nothing if value is None else value for value in values)], axis=1)


def _labels(training: ImageSet, validation: ImageSet) -> _Goal:
    """Return the labels as places among the classes; `NotComputable` where there is only one, or training lacks one of them."""
    for name, side in (("training", training), ("validation", validation)):
        if side.labels is None or len(side) == 0:
            raise NotComputable(f"needs labelled {name} images, got none")
    _same_shape(validation.images.shape[1:], "validation", training.images.shape[1:])
    truth, answers = np.asarray(training.labels), np.asarray(validation.labels)
    classes: np.ndarray = np.unique(np.concatenate([truth, answers]))
    if len(classes) < 2:
        raise NotComputable(f"needs at least two classes, got only label {int(classes[0])}")
    _every_class("training", truth, classes)
    return _Goal(np.searchsorted(classes, truth), np.searchsorted(classes, answers), classes)


def _concepts(training: ImageSet, validation: ImageSet) -> _Goal:
    """Return the concepts; `NotComputable` where there are none, or none that some training images have and others lack."""
    _same_shape(validation.images.shape[1:], "validation", training.images.shape[1:])
    truth = _present("training", training)
    answers = _present("validation", validation, truth.shape[1])
    if not (truth.any(axis=0) & ~truth.all(axis=0)).any():
        raise NotComputable("needs a concept that some training images have and others lack, got none")
    return _Goal(truth, answers, np.arange(truth.shape[1]))


def _known_labels(test: ImageSet, classes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the places of the test labels among the classes, (N,); `NotComputable` where either lacks a label of the other."""
    if test.labels is None or len(test) == 0:
        raise NotComputable("needs labelled test images, got none")
    _same_shape(test.images.shape[1:], "test", shape)
    labels = np.asarray(test.labels)
    _every_class("training", classes, labels)
    _every_class("test", labels, classes)
    return np.searchsorted(classes, labels)


def _known_concepts(test: ImageSet, concepts: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the concepts of the test images, (N, K) bool."""
    _same_shape(test.images.shape[1:], "test", shape)
    return _present("test", test, len(concepts))


def _present(name: str, images: ImageSet, count: int | None = None) -> np.ndarray:
    """Return which image has which concept, (N, K) bool; `NotComputable` where there is nothing, or not as many as in training."""
    if images.concepts is None or images.concepts.size == 0:
        raise NotComputable(f"needs {name} images with concepts, got none")
    found = images.concepts.shape[1]
    if count is not None and found != count:
        raise NotComputable(f"needs the same concepts everywhere, got {count} for training, {found} for {name}")
    highest = int(images.concepts.max())
    if highest > 1:
        raise InputError(Problem(f"concepts of the {name} images must be 0 or 1, got {highest}", fix="one column for each concept"))
    return images.concepts.astype(bool)


def _same_shape(shape: tuple[int, ...], name: str, training: tuple[int, ...]) -> None:
    if shape != training:
        raise NotComputable(f"needs images of one size, got {training} for training, {shape} for {name}")


def _every_class(name: str, present: np.ndarray, classes: np.ndarray) -> None:
    missing = np.setdiff1d(classes, present).tolist()
    if missing:
        raise NotComputable(f"needs {name} images of every class, got none of label {', '.join(map(str, missing))}")


def _predict(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return what the network gives for these images."""
    import torch

    network.eval()
    with torch.no_grad():
        return torch.cat([network(part) for part in images.split(CHUNK)])


def _as_numbers(logits: torch.Tensor) -> np.ndarray:
    return np.asarray(logits.cpu().numpy(), dtype=np.float64)


@contextmanager
def _within_memory(batch_size: int) -> Iterator[None]:
    """Turn a device that runs out of memory into the reason that it is."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise NotComputable(f"the device has too little memory for batch_size {batch_size}: lower it, or side") from error
