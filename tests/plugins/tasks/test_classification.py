"""Image classification: honest per-case values, a seeded training, nothing left behind."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from harness.api import Context, ImageSet, InputError, NotComputable
from harness.testing import check
from harness_plugins.tasks.backbones import build
from harness_plugins.tasks.classification import Classification

QUICK = Classification(steps=24, check_every=8, batch_size=16, learning_rate=5e-3)
# For what does not depend on having learned anything.
SHORT = QUICK.model_copy(update={"steps": 4, "check_every": 4})


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


def scored(folder: Path, test: ImageSet, task: Classification = QUICK) -> Mapping[str, np.ndarray | float]:
    """Return what the task that was fitted in the folder says of these images."""
    return task.score(test, Context(7, folder, fitted=folder))


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the quick task fitted on faint bars."""
    folder = tmp_path_factory.mktemp("learned")
    QUICK.fit(bars(64, 1), bars(20, 99), Context(1, folder))
    return folder


def test_it_learns_what_can_be_learned(learned: Path, tmp_path: Path) -> None:
    """A faint bar is found; with shuffled training labels nothing is."""
    training, test = bars(64, 1), bars(40, 2)
    found = scored(learned, test)
    assert set(found) == {q.name for q in Classification.quantities}
    assert all(np.shape(values) == (40,) and np.isfinite(values).all() for values in found.values())
    assert all(np.mean(found[name]) > 0.95 for name in ("auroc", "auprc"))
    assert all(np.mean(found[name]) > 0.8 for name in ("accuracy", "f1", "precision", "recall"))
    shuffled = replace(training, labels=np.random.default_rng(5).permutation(training.labels))
    assert np.mean(evaluate(tmp_path, shuffled, test)["auroc"]) < 0.85


@pytest.mark.parametrize(("size", "channels", "classes"), [((12, 16), 3, 2), ((10, 8, 9), 1, 2), ((18, 12), 1, 3), ((60, 60), 1, 2)])
def test_colour_volumes_classes_and_large_images_work(tmp_path: Path, size: tuple[int, ...], channels: int, classes: int) -> None:
    """2D and 3D, grey and colour, two classes or more, and images that are averaged down first."""
    task = QUICK.model_copy(update={"flip_axes": (1,), "side": 20})
    found = evaluate(tmp_path, bars(48, 1, classes, size, channels), bars(24, 2, classes, size, channels), task)
    values = np.asarray(found["auroc"])
    assert values.shape == ((24,) if classes == 2 else (24, 1 + classes))
    assert values.mean() > 0.8


def test_the_seed_decides_and_nothing_is_left_behind(tmp_path: Path) -> None:
    """The same seed gives the same values, another seed others; random state, threads and settings of torch are as before."""
    torch = pytest.importorskip("torch")

    def state() -> tuple[object, ...]:
        return (torch.get_rng_state().tolist(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())

    before = state()
    first, again, other = (evaluate(tmp_path, bars(16, 1), bars(10, 2), SHORT, seed)["brier"] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert state() == before


def test_test_images_do_not_see_each_other(learned: Path) -> None:
    """Predictions follow their image when the test images come in another order."""
    test, order = bars(70, 2), np.random.default_rng(0).permutation(70)
    there, here = (scored(learned, images)["brier"] for images in (test, test.take(order)))
    assert np.asarray(there)[order] == pytest.approx(here, abs=1e-5)


def test_test_labels_only_score(learned: Path) -> None:
    """With the test labels turned round, what was right is wrong and nothing else changes."""
    test = bars(20, 2)
    turned = replace(test, labels=1 - np.asarray(test.labels))
    right, wrong = (np.asarray(scored(learned, images)["accuracy"]) for images in (test, turned))
    assert np.array_equal(right, 1.0 - wrong)


def test_read_only_images_are_left_alone(tmp_path: Path) -> None:
    """Images that must not be written to are trained on without complaint, and stay as they were."""
    training, test = bars(32, 1), bars(20, 2)
    training.images.setflags(write=False)
    before = training.images.copy()
    evaluate(tmp_path, training, test, SHORT)
    assert np.array_equal(training.images, before)


def test_a_missing_class_has_no_number(learned: Path, tmp_path: Path) -> None:
    """A class that training or test lacks, a single class and missing labels are reasons, not scores."""
    training, test = bars(32, 1), bars(20, 2)
    ones = np.asarray(training.labels) == 1
    with pytest.raises(NotComputable, match="training images of every class, got none of label 0"):
        evaluate(tmp_path, training.take(ones), test)
    with pytest.raises(NotComputable, match="test images of every class, got none of label 1"):
        scored(learned, test.take(np.asarray(test.labels) == 0))
    with pytest.raises(NotComputable, match="training images of every class, got none of label 2"):
        scored(learned, bars(30, 2, 3))
    only = training.take(ones)
    with pytest.raises(NotComputable, match="two classes, got only label 1"):
        QUICK.fit(only, only, Context(1, tmp_path))
    for name, sides in (("training", (replace(training, labels=None), training)), ("validation", (training, training.take([])))):
        with pytest.raises(NotComputable, match=f"labelled {name} images, got none"):
            QUICK.fit(*sides, Context(1, tmp_path))
    with pytest.raises(NotComputable, match="labelled test images, got none"):
        scored(learned, replace(test, labels=None))


def test_images_of_another_size_have_no_number(learned: Path, tmp_path: Path) -> None:
    """Validation and test images are of the size and the channels of the training images."""
    training = bars(32, 1)
    with pytest.raises(NotComputable, match=r"got \(1, 16, 16\) for training, \(1, 16, 20\) for validation"):
        QUICK.fit(training, bars(20, 3, size=(16, 20)), Context(1, tmp_path))
    with pytest.raises(NotComputable, match=r"got \(1, 16, 16\) for training, \(3, 16, 16\) for test"):
        scored(learned, bars(20, 2, channels=3))


def test_a_task_is_fitted_before_it_scores(tmp_path: Path) -> None:
    """Without a fitted folder the error says what is missing."""
    with pytest.raises(InputError, match="classification has not been fitted"):
        QUICK.score(bars(20, 2), Context(1, tmp_path))


def test_one_fit_scores_many_test_sets(learned: Path) -> None:
    """What was fitted once gives the same values again after other images were scored."""
    test = bars(20, 2)
    first = scored(learned, test)
    scored(learned, bars(20, 3))
    again = scored(learned, test)
    assert all(np.array_equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("target", ["labels", "concepts"])
def test_keeps_the_promises_of_a_task(target: str) -> None:
    """The conformance tests pass for both targets, each of which needs what it is about."""
    task = QUICK.model_copy(update={"steps": 2, "target": target})
    assert task.needs == {target}
    check(task, n=12)


def test_labels_need_not_count_from_zero(tmp_path: Path) -> None:
    """Labels are names: 3 and 7 give what 0 and 1 do."""
    sets = bars(16, 1), bars(10, 3), bars(10, 2)
    named = [replace(side, labels=3 + 4 * np.asarray(side.labels)) for side in sets]
    found, expected = (fitted_and_scored(tmp_path, SHORT, *three) for three in (named, sets))
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_training_that_diverges_has_no_number(tmp_path: Path) -> None:
    """A learning rate that blows the weights up is a reason that says what to change."""
    with pytest.raises(NotComputable, match="lower learning_rate"):
        evaluate(tmp_path, bars(32, 1), bars(20, 2), SHORT.model_copy(update={"learning_rate": 1e30}))


def findings(n: int, seed: int, count: int = 3) -> ImageSet:
    """Return noise with bright bars, one for each concept that the image has: any number of them."""
    rng = np.random.default_rng(seed)
    concepts = (rng.random((n, count)) < 0.5).astype(np.uint8)
    images = rng.uniform(0.0, 0.6, (n, 1, 18, 16)).astype(np.float32)
    for image, present in zip(images, concepts, strict=True):
        for k in np.flatnonzero(present):
            image[:, 18 // count * k : 18 // count * k + 4] += 0.4
    return ImageSet(images, tuple(f"{seed}-{k}" for k in range(n)), (1.0, 1.0), concepts=concepts)


MANY = QUICK.model_copy(update={"target": "concepts", "steps": 30, "check_every": 10})
BRIEF = SHORT.model_copy(update={"target": "concepts"})


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a brief task about three concepts."""
    folder = tmp_path_factory.mktemp("brief")
    BRIEF.fit(findings(64, 1), findings(30, 2), Context(1, folder))
    return folder


def test_concepts_may_be_there_together(tmp_path: Path) -> None:
    """Each concept has a column beside the mean over them, and all are found; images without labels are enough."""
    training, validation, test = findings(64, 1), findings(40, 2), findings(60, 3)
    found = fitted_and_scored(tmp_path, MANY, training, validation, test)
    assert MANY.columns(test) == ("", "concept=0", "concept=1", "concept=2")
    for quantity in Classification.quantities:
        values = np.ma.masked_array(found[quantity.name])
        assert values.shape == (60, 4)
        assert values[:, 0].mean() == pytest.approx(values[:, 1:].mean())
    assert np.mean(np.asarray(found["auroc"])[:, 0]) > 0.85


def test_undefined_columns_are_masked_and_left_out_of_the_mean(brief: Path) -> None:
    """A concept that no test image has: no AUROC of it, the mean is that of the others, and a note says so."""
    test = findings(40, 3)
    concepts = np.array(test.concepts)
    concepts[:, 1] = 0
    context = Context(1, brief, fitted=brief)
    found = BRIEF.score(replace(test, concepts=concepts), context)
    for name in ("auroc", "auprc", "f1", "precision", "recall"):
        values = np.ma.masked_array(found[name])
        assert np.ma.getmaskarray(values).all(axis=0).tolist() == [False, False, True, False]
        assert values[:, 0].mean() == pytest.approx(values[:, [1, 3]].mean())
        assert context.notes[name].startswith("undefined for 1 of 3 questions")
    assert np.isfinite(np.asarray(found["ece"])).all()
    assert not np.ma.getmaskarray(found["entropy"]).any()


def test_a_label_decided_for_once_has_no_precision_and_neither_has_the_mean(brief: Path, tmp_path: Path) -> None:
    """Which labels enter the mean must not depend on the predictions: mixes would be compared by different labels."""
    import torch

    content = torch.load(brief / "network.pt", weights_only=True)
    content["thresholds"][0] = 1.1
    torch.save(content, tmp_path / "network.pt")
    found = scored(tmp_path, findings(40, 3), BRIEF)
    precision, recall = (np.ma.getmaskarray(found[name]).all(axis=0).tolist() for name in ("precision", "recall"))
    assert precision == [True, True, False, False]
    assert recall == [False] * 4


def test_thresholds_are_those_of_the_validation_images(tmp_path: Path) -> None:
    """What is kept maximises F1 on the validation images, whatever the test images are; none where no validation image has it."""
    import torch

    training, validation = findings(64, 1), findings(30, 2)
    concepts = np.array(validation.concepts)
    concepts[:, 2] = 0
    validation = replace(validation, concepts=concepts)
    found = fitted_and_scored(tmp_path, BRIEF, training, validation, validation)
    kept = torch.load(tmp_path / "network.pt", weights_only=True)["thresholds"].numpy()
    assert np.isfinite(kept).tolist() == [True, True, False]
    again = fitted_and_scored(tmp_path, BRIEF, training, validation, findings(20, 5))
    assert np.array_equal(torch.load(tmp_path / "network.pt", weights_only=True)["thresholds"].numpy(), kept, equal_nan=True)
    assert np.ma.getmaskarray(again["f1"]).all(axis=0).tolist() == [False, False, False, True]
    # At the lowest threshold all are decided for, so the best has at least the F1 of that.
    share = np.asarray(validation.concepts)[:, 0].mean()
    assert np.asarray(found["f1"])[:, 1].mean() >= 2 * share / (1 + share) - 1e-9


def test_values_of_labels_are_those_of_one_against_the_rest(tmp_path: Path) -> None:
    """Three labels, recomputed by scikit-learn from the kept network; the whole case has its own accuracy and Brier score."""
    import torch

    from harness_plugins.tasks import classification
    from harness_plugins.tasks.training import shrunk

    training, validation, test = (bars(n, seed, 3, (18, 16)) for n, seed in ((48, 1), (30, 2), (45, 3)))
    test = replace(test, labels=5 + np.asarray(test.labels))
    training, validation = (replace(side, labels=5 + np.asarray(side.labels)) for side in (training, validation))
    found = {name: np.asarray(values) for name, values in fitted_and_scored(tmp_path, SHORT, training, validation, test).items()}
    assert QUICK.columns(test) == ("", "label=5", "label=6", "label=7")
    content = torch.load(tmp_path / "network.pt", weights_only=True)
    network = classification.rebuilt("small_resnet", (1, 18, 16), 3, QUICK.channels, content["weights"], "cpu")
    logits = network((shrunk(test, QUICK.side, "cpu") - content["mean"]) / content["scale"]).detach()
    p = torch.softmax(logits.double(), dim=1).numpy()
    for k in range(3):
        y = np.asarray(test.labels) == 5 + k
        decided = p[:, k] >= content["thresholds"].numpy()[k]
        assert found["auroc"][:, 1 + k].mean() == pytest.approx(roc_auc_score(y, p[:, k]), abs=1e-6)
        assert found["auprc"][:, 1 + k].mean() == pytest.approx(average_precision_score(y, p[:, k]), abs=1e-6)
        assert found["f1"][:, 1 + k].mean() == pytest.approx(f1_score(y, decided), abs=1e-6)
        assert found["accuracy"][:, 1 + k].mean() == pytest.approx(np.mean((p[:, k] > 0.5) == y))
    assert found["accuracy"][:, 0].mean() == pytest.approx(np.mean(p.argmax(axis=1) + 5 == test.labels))
    assert found["entropy"][:, 0] == pytest.approx(-(p * np.log(p)).sum(axis=1), abs=1e-5)
    assert found["brier"][:, 0] == pytest.approx(found["brier"][:, 1:].sum(axis=1) / 2)


def test_concepts_that_do_not_fit_have_no_number(brief: Path, tmp_path: Path) -> None:
    """None at all, another number of them, or nothing to tell apart are reasons; a value of 2 is wrong input."""
    training, test, context = findings(30, 1), findings(20, 3), Context(1, tmp_path)
    with pytest.raises(NotComputable, match="training images with concepts, got none"):
        MANY.fit(replace(training, concepts=None), test, context)
    with pytest.raises(NotComputable, match="got 3 for training, 2 for validation"):
        MANY.fit(training, replace(test, concepts=np.array(test.concepts)[:, :2]), context)
    with pytest.raises(NotComputable, match="some training images have and others lack"):
        MANY.fit(replace(training, concepts=np.ones((30, 3), dtype=np.uint8)), test, context)
    with pytest.raises(InputError, match="must be 0 or 1, got 2"):
        MANY.fit(replace(training, concepts=np.full((30, 3), 2, dtype=np.uint8)), test, context)
    with pytest.raises(NotComputable, match="test images with concepts, got none"):
        scored(brief, replace(test, concepts=None), BRIEF)


def test_a_concept_that_training_lacks_is_scored_as_it_is(tmp_path: Path) -> None:
    """A rare concept may be missing from a small mix: the network cannot know it, and its column says so."""
    training = findings(48, 1)
    concepts = np.array(training.concepts)
    concepts[:, 0], concepts[:, 1] = 0, 1
    found = fitted_and_scored(tmp_path, BRIEF, replace(training, concepts=concepts), findings(30, 2), findings(40, 3))
    assert np.isfinite(np.asarray(found["auroc"])).all()


def both(n: int = 24) -> ImageSet:
    """Return a mix as the host joins it: real images, then synthetic ones whose labels are the wrong way round."""
    real, synthetic = bars(n, 1), bars(n, 4)
    ids = (*(f"real/{k}" for k in real.ids), *(f"synthetic/{k}" for k in synthetic.ids))
    labels = np.concatenate([np.asarray(real.labels), 1 - np.asarray(synthetic.labels)])
    return ImageSet(np.concatenate([real.images, synthetic.images]), ids, (1.0, 1.0), labels=labels)


def test_synthetic_images_come_last_where_asked(tmp_path: Path) -> None:
    """After good real images, wrong synthetic ones undo what was learned; with the last layer alone the rest stays as it was."""
    import torch

    whole = QUICK.model_copy(update={"order": "real_then_synthetic", "steps": 12, "check_every": 12})
    assert np.mean(fitted_and_scored(tmp_path, whole, both(), bars(20, 99), bars(40, 2))["auroc"]) < 0.5
    weights = {}
    for tuned, steps in (("full", 4), ("head", 4), ("head", 1)):
        task = SHORT.model_copy(update={"order": "real_then_synthetic", "tuned": tuned, "fine_tuning_steps": steps})
        task.fit(both(), bars(20, 99), Context(1, tmp_path))
        weights[tuned, steps] = torch.load(tmp_path / "network.pt", weights_only=True)["weights"]
    # One step of fine-tuning with the head alone: everything else is what training on the real images alone left.
    full, head, once = weights.values()
    body = [name for name in once if not name.startswith("fc.")]
    assert all(torch.equal(once[name], head[name]) for name in body)
    assert not torch.equal(once["fc.weight"], head["fc.weight"])
    assert not all(torch.equal(full[name], head[name]) for name in body)


def test_a_mix_of_one_kind_gets_as_many_steps(tmp_path: Path) -> None:
    """Real images alone are gone on with, so that a mix of both is not also more training."""
    steps: list[tuple[int, int]] = []
    context = Context(1, tmp_path, report=lambda done, total: steps.append((done, total)))
    task = QUICK.model_copy(update={"order": "real_then_synthetic", "steps": 6, "check_every": 6, "fine_tuning_steps": 4})
    for training in (bars(24, 1), both()):
        steps.clear()
        task.fit(training, bars(20, 99), context)
        assert steps == [(6, 6), (4, 4)]


def test_options_that_would_do_nothing_are_refused() -> None:
    """Each names what it belongs to."""
    for options, reason in (
        ({"tuned": "head"}, "tuned: head needs weights"),
        ({"fine_tuning_steps": 5}, "order: real_then_synthetic"),
        ({"backbone": "resnet18", "channels": (4, 4, 8, 8)}, "channels are those of small_resnet"),
        ({"sha256": "0" * 64}, "none is given"),
        ({"backbone": "resnet17"}, "known: small_resnet, resnet18"),
        ({"weights": "nowhere.pt"}, "is not there"),
    ):
        with pytest.raises(ValidationError, match=reason):
            Classification.model_validate(options)


def test_a_device_without_memory_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason names what to lower."""
    import torch

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("harness_plugins.tasks.classification.shrunk", full)
    with pytest.raises(NotComputable, match="too little memory for batch_size 16: lower it, or side"):
        QUICK.fit(bars(20, 1), bars(20, 2), Context(1, tmp_path))


def test_columns_without_labels_are_the_case_alone() -> None:
    """Names of columns can be asked of images that the task cannot be scored on."""
    images = bars(10, 1)
    assert QUICK.columns(images) == QUICK.columns(replace(images, labels=None)) == MANY.columns(images) == ("",)


def test_the_last_layer_is_trained_on_top_of_a_file(tmp_path: Path) -> None:
    """With `tuned: head` everything else is what the file holds, to the last bit; without it, it moves."""
    import torch

    file = tmp_path / "body.pt"
    start = build("small_resnet", (1, 16, 16), 5, QUICK.channels).state_dict()
    torch.save(start, file)
    pin = hashlib.sha256(file.read_bytes()).hexdigest()
    for tuned in ("head", "full"):
        task = Classification.model_validate({"steps": 4, "batch_size": 16, "tuned": tuned, "weights": file, "sha256": pin})
        fitted_and_scored(tmp_path, task, bars(32, 1), bars(20, 3), bars(20, 2))
        weights = torch.load(tmp_path / "network.pt", weights_only=True)["weights"]
        kept = [torch.equal(weights[name], start[name]) for name in start if not name.startswith("fc.")]
        assert all(kept) == (tuned == "head")
