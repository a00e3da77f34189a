"""Image classification: honest per-case values, a seeded training, nothing left behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from harness.api import Context, ImageSet, InputError, NotComputable
from harness.testing import check
from harness_plugins.tasks.classification import Classification, auroc_pseudo_values, brier_scores

QUICK = Classification(steps=24, check_every=8, batch_size=16, learning_rate=5e-3)


def bars(n: int, seed: int, classes: int = 2, size: tuple[int, ...] = (16, 16), channels: int = 1) -> ImageSet:
    """Return noise with a faint bright bar whose place along the first axis is the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    images = rng.uniform(0.0, 0.7, (n, channels, *size)).astype(np.float32)
    width = size[0] // classes
    for image, label in zip(images, labels, strict=True):
        image[:, label * width : (label + 1) * width] += 0.3
    return ImageSet(images, tuple(f"{seed}-{k}" for k in range(n)), (1.0,) * len(size), labels=labels.astype(np.int64))


def evaluate(
    tmp_path: Path, training: ImageSet, test: ImageSet, task: Classification = QUICK, seed: int = 1
) -> Mapping[str, np.ndarray | float]:
    """Return what the task says, with twenty more images like the test images to stop by."""
    validation = bars(20, 99, len(np.unique(test.labels)), test.size_px, test.images.shape[1])
    return fitted_and_scored(tmp_path, task, training, validation, test, seed)


def fitted_and_scored(
    tmp_path: Path, task: Classification, training: ImageSet, validation: ImageSet, test: ImageSet, seed: int = 1
) -> Mapping[str, np.ndarray | float]:
    """Return what the task says of the test images after it was fitted on the others."""
    task.fit(training, validation, Context(seed, tmp_path))
    return task.score(test, Context(seed, tmp_path, fitted=tmp_path))


def random_logits(n: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return logits that know something of the labels, with ties between binary ones."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) + np.eye(classes)[labels]
    return np.round(logits, 1) if classes == 2 else logits, labels


def test_the_mean_of_the_pseudo_values_is_the_auroc() -> None:
    """Binary: the area that scikit-learn finds, ties included; more classes: its macro average of one against the rest."""
    logits, labels = random_logits(200, 2, 1)
    score = logits[:, 1] - logits[:, 0]
    assert len(np.unique(score)) < 100
    assert auroc_pseudo_values(logits, labels).mean() == pytest.approx(roc_auc_score(labels, score), abs=1e-12)
    logits, labels = random_logits(300, 4, 2)
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = roc_auc_score(labels, probability, multi_class="ovr", average="macro")
    assert auroc_pseudo_values(logits, labels).mean() == pytest.approx(expected, abs=1e-12)


def test_the_variance_of_the_pseudo_values_is_delongs() -> None:
    """Sums of squares over both classes, from the matrix of all pairs, give the same variance of the area."""
    logits, labels = random_logits(120, 2, 3)
    score = logits[:, 1] - logits[:, 0]
    positive, negative = score[labels == 1], score[labels == 0]
    wins = (positive[:, None] > negative[None]) + 0.5 * (positive[:, None] == negative[None])
    delong = wins.mean(axis=1).var() / len(positive) + wins.mean(axis=0).var() / len(negative)
    assert auroc_pseudo_values(logits, labels).var() / len(labels) == pytest.approx(delong, rel=1e-12)


def test_certain_predictions_are_still_ranked() -> None:
    """Where probabilities round to one, the order of the logits decides."""
    logits, labels = np.array([[0.0, 60.0], [0.0, 61.0], [0.0, 62.0], [0.0, 63.0]]), np.array([0, 1, 0, 1])
    assert auroc_pseudo_values(logits, labels).mean() == pytest.approx(0.75)


def test_the_brier_score_is_summed_over_classes() -> None:
    """With two classes it is twice the squared error of one probability."""
    logits, labels = random_logits(50, 2, 4)
    probability = 1.0 / (1.0 + np.exp(logits[:, 0] - logits[:, 1]))
    assert brier_scores(logits, labels).mean() == pytest.approx(2.0 * brier_score_loss(labels, probability))


def test_it_learns_what_can_be_learned(tmp_path: Path) -> None:
    """A faint bar is found; with shuffled training labels nothing is."""
    training, test = bars(64, 1), bars(40, 2)
    found = evaluate(tmp_path, training, test)
    assert set(found) == {q.name for q in Classification.quantities}
    assert all(np.shape(values) == (40,) and np.isfinite(values).all() for values in found.values())
    assert np.mean(found["auroc"]) > 0.95
    assert np.mean(found["accuracy"]) > 0.85
    shuffled = replace(training, labels=np.random.default_rng(5).permutation(training.labels))
    assert np.mean(evaluate(tmp_path, shuffled, test)["auroc"]) < 0.85


@pytest.mark.parametrize(("size", "channels", "classes"), [((16, 20), 3, 2), ((12, 12, 10), 1, 2), ((18, 16), 1, 3), ((96, 96), 1, 2)])
def test_colour_volumes_classes_and_large_images_work(tmp_path: Path, size: tuple[int, ...], channels: int, classes: int) -> None:
    """2D and 3D, grey and colour, two classes or more, and images that are averaged down first."""
    task = QUICK.model_copy(update={"flip_axes": (1,), "side": 24})
    found = evaluate(tmp_path, bars(48, 1, classes, size, channels), bars(24, 2, classes, size, channels), task)
    assert np.mean(found["auroc"]) > 0.8


def test_the_seed_decides_and_nothing_is_left_behind(tmp_path: Path) -> None:
    """The same seed gives the same values, another seed others; random state, threads and settings of torch are as before."""
    torch = pytest.importorskip("torch")

    def state() -> tuple[object, ...]:
        return (torch.get_rng_state().tolist(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())

    before = state()
    first, again, other = (evaluate(tmp_path, bars(32, 1), bars(20, 2), seed=seed)["brier"] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert state() == before


def test_test_images_do_not_see_each_other(tmp_path: Path) -> None:
    """Predictions follow their image when the test images come in another order."""
    training, test = bars(32, 1), bars(70, 2)
    order = np.random.default_rng(0).permutation(70)
    there, here = (evaluate(tmp_path, training, images)["brier"] for images in (test, test.take(order)))
    assert np.asarray(there)[order] == pytest.approx(here, abs=1e-5)


def test_test_labels_only_score(tmp_path: Path) -> None:
    """With the test labels turned round, what was right is wrong and nothing else changes."""
    training, test = bars(32, 1), bars(20, 2)
    turned = replace(test, labels=1 - np.asarray(test.labels))
    right, wrong = (np.asarray(evaluate(tmp_path, training, images)["accuracy"]) for images in (test, turned))
    assert np.array_equal(right, 1.0 - wrong)


def test_read_only_images_are_left_alone(tmp_path: Path) -> None:
    """Images that must not be written to are trained on without complaint, and stay as they were."""
    training, test = bars(32, 1), bars(20, 2)
    training.images.setflags(write=False)
    before = training.images.copy()
    evaluate(tmp_path, training, test)
    assert np.array_equal(training.images, before)


def test_a_missing_class_has_no_number(tmp_path: Path) -> None:
    """A class that training or test lacks, a single class and missing labels are reasons, not scores."""
    training, test = bars(32, 1), bars(20, 2)
    ones = np.asarray(training.labels) == 1
    with pytest.raises(NotComputable, match="training images of every class, got none of label 0"):
        evaluate(tmp_path, training.take(ones), test)
    with pytest.raises(NotComputable, match="test images of every class, got none of label 1"):
        fitted_and_scored(tmp_path, QUICK, training, training, test.take(np.asarray(test.labels) == 0))
    with pytest.raises(NotComputable, match="training images of every class, got none of label 2"):
        fitted_and_scored(tmp_path, QUICK, training, training, bars(30, 2, 3))
    only = training.take(ones)
    with pytest.raises(NotComputable, match="two classes, got only label 1"):
        QUICK.fit(only, only, Context(1, tmp_path))
    for name, sides in (("training", (replace(training, labels=None), training)), ("validation", (training, training.take([])))):
        with pytest.raises(NotComputable, match=f"labelled {name} images, got none"):
            QUICK.fit(*sides, Context(1, tmp_path))
    with pytest.raises(NotComputable, match="labelled test images, got none"):
        fitted_and_scored(tmp_path, QUICK, training, training, replace(test, labels=None))


def test_images_of_another_size_have_no_number(tmp_path: Path) -> None:
    """Validation and test images are of the size and the channels of the training images."""
    training = bars(32, 1)
    with pytest.raises(NotComputable, match=r"got \(1, 16, 16\) for training, \(1, 16, 20\) for validation"):
        QUICK.fit(training, bars(20, 3, size=(16, 20)), Context(1, tmp_path))
    with pytest.raises(NotComputable, match=r"got \(1, 16, 16\) for training, \(3, 16, 16\) for test"):
        fitted_and_scored(tmp_path, QUICK, training, training, bars(20, 2, channels=3))


def test_a_task_is_fitted_before_it_scores(tmp_path: Path) -> None:
    """Without a fitted folder the error says what is missing."""
    with pytest.raises(InputError, match="classification has not been fitted"):
        QUICK.score(bars(20, 2), Context(1, tmp_path))


def test_one_fit_scores_many_test_sets(tmp_path: Path) -> None:
    """What was fitted once gives the same values again after other images were scored."""
    training, test = bars(32, 1), bars(20, 2)
    first = fitted_and_scored(tmp_path, QUICK, training, training, test)
    context = Context(7, tmp_path, fitted=tmp_path)
    QUICK.score(bars(20, 3), context)
    again = QUICK.score(test, context)
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_keeps_the_promises_of_a_task() -> None:
    """The conformance tests pass."""
    check(QUICK.model_copy(update={"steps": 2}), n=12)


def test_labels_need_not_count_from_zero(tmp_path: Path) -> None:
    """Labels are names: 3 and 7 work as 0 and 1 do."""
    sets = [replace(s, labels=3 + 4 * np.asarray(s.labels)) for s in (bars(32, 1), bars(20, 3), bars(20, 2))]
    assert np.mean(fitted_and_scored(tmp_path, QUICK, *sets)["auroc"]) > 0.8


def test_training_that_diverges_has_no_number(tmp_path: Path) -> None:
    """A learning rate that blows the weights up is a reason that says what to change."""
    with pytest.raises(NotComputable, match="lower learning_rate"):
        evaluate(tmp_path, bars(32, 1), bars(20, 2), QUICK.model_copy(update={"learning_rate": 1e30}))
