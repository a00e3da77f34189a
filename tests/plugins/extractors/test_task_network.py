"""Facts about the features of the classifier that the audit trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.api import Context, ImageSet, InputError, NotComputable
from harness.testing import check
from harness_plugins.extractors.task_network import TaskNetwork

QUICK = TaskNetwork(steps=40, batch_size=16, learning_rate=5e-3)


def bars(n: int, seed: int, size: tuple[int, ...] = (16, 16), labels: tuple[int, ...] = (2, 5)) -> ImageSet:
    """Return noise with a bright bar whose place along the first axis is the class."""
    rng = np.random.default_rng(seed)
    which = np.arange(n) % len(labels)
    images = rng.uniform(0.0, 0.7, (n, 1, *size)).astype(np.float32)
    width = size[0] // len(labels)
    for image, k in zip(images, which, strict=True):
        image[:, k * width : (k + 1) * width] += 0.3
    ids = tuple(f"{seed}-{k}" for k in range(n))
    return ImageSet(images, ids, (1.0,) * len(size), labels=np.asarray(labels, dtype=np.int64)[which])


def fitted(extractor: TaskNetwork, train: ImageSet, folder: Path, seed: int = 1) -> Context:
    """Fit in a folder; return the context that lends it."""
    folder.mkdir(exist_ok=True)
    extractor.fit(train, Context(seed, folder))
    return Context(seed, folder, fitted=folder)


@pytest.mark.parametrize(("size", "n"), [((16, 16), 60), ((12, 8, 8), 40)])
def test_logits_tell_the_classes_apart(tmp_path: Path, size: tuple[int, ...], n: int) -> None:
    """On images that it has not seen, 2D and 3D; columns are the labels in order; the penultimate layer leads to them."""
    import torch

    context, unseen = fitted(QUICK, bars(n, 1, size), tmp_path / "fit"), bars(n, 2, size)
    logits = QUICK.model_copy(update={"layer": "logits"}).extract(unseen, context)
    assert logits.shape == (n, 2)
    assert (np.array([2, 5])[logits.argmax(axis=1)] == unseen.labels).mean() > 0.9
    penultimate = QUICK.extract(unseen, context)
    assert penultimate.shape == (n, 64)
    assert penultimate.dtype == np.float32
    head = torch.load(tmp_path / "fit" / "network.pt", weights_only=True)["weights"]
    np.testing.assert_allclose(penultimate @ head["fc.weight"].numpy().T + head["fc.bias"].numpy(), logits, atol=1e-4)


def test_says_what_it_gives() -> None:
    """Logits are for metrics of class scores, the penultimate layer for metrics of distances."""
    assert TaskNetwork().gives() == "embedding"
    assert TaskNetwork(layer="logits").gives() == "logits"


def test_keeps_the_promises_of_an_extractor() -> None:
    """Conformance of both layers."""
    check(TaskNetwork(steps=5), n=20)
    check(TaskNetwork(steps=5, layer="logits"), n=20)


def test_deterministic_in_its_seed(tmp_path: Path) -> None:
    """One seed, one network to the last bit, whatever torch drew before; another seed, another; torch's state is left alone."""
    import torch

    train, unseen = bars(30, 1), bars(10, 2)
    first = QUICK.extract(unseen, fitted(QUICK, train, tmp_path / "a"))
    torch.rand(3)
    state = torch.random.get_rng_state()
    np.testing.assert_array_equal(QUICK.extract(unseen, fitted(QUICK, train, tmp_path / "b")), first)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not np.allclose(QUICK.extract(unseen, fitted(QUICK, train, tmp_path / "c", seed=2)), first)


def test_the_last_block_depends_on_its_row_alone(tmp_path: Path) -> None:
    """A row is the same to the last bit alone and in another order."""
    context, unseen = fitted(QUICK, bars(30, 1), tmp_path / "fit"), bars(35, 2)
    whole = QUICK.extract(unseen, context)
    np.testing.assert_array_equal(QUICK.extract(unseen.take([34]), context)[0], whole[34])
    np.testing.assert_array_equal(QUICK.extract(unseen.take(np.arange(35)[::-1]), context)[::-1], whole)


def test_sees_what_the_labels_depend_on(tmp_path: Path) -> None:
    """Swapping the classes' bars moves the features further than as much noise."""
    context, images = fitted(QUICK, bars(60, 1), tmp_path / "fit"), bars(20, 2)
    swapped = replace(images, images=images.images[:, :, ::-1].copy())
    noise = np.random.default_rng(0).normal(0, 0.1, images.images.shape)
    noisy = replace(images, images=np.clip(images.images + noise, 0, 1).astype(np.float32))
    base, other, worse = (QUICK.extract(x, context) for x in (images, swapped, noisy))
    assert np.linalg.norm(other - base) > 2 * np.linalg.norm(worse - base)


def test_large_images_are_averaged_down(tmp_path: Path) -> None:
    """The network is trained and asked on averages: where noise of single pixels cancels out, it does not matter."""
    small_net = QUICK.model_copy(update={"side": 16})
    large = bars(30, 1, (32, 32))
    context = fitted(small_net, large, tmp_path / "fit")
    averages = large.images.reshape(30, 1, 16, 2, 16, 2).mean(axis=(3, 5))
    smooth = replace(large, images=averages.repeat(2, axis=2).repeat(2, axis=3))
    np.testing.assert_allclose(small_net.extract(smooth, context), small_net.extract(large, context), atol=1e-4)


def test_what_cannot_be_learned_or_read_is_said(tmp_path: Path, picture_set: Callable[..., ImageSet]) -> None:
    """No labels, one class, a loss that explodes, no fit, and another size after the fit."""
    context = Context(1, tmp_path)
    with pytest.raises(NotComputable, match="needs labelled training images, got none"):
        QUICK.fit(replace(bars(8, 1), labels=None), context)
    with pytest.raises(NotComputable, match="needs training images of two classes, got only label 2"):
        QUICK.fit(bars(8, 1, labels=(2,)), context)
    with pytest.raises(NotComputable, match=r"no longer finite after .* steps: lower learning_rate"):
        TaskNetwork(steps=30, learning_rate=1e30).fit(bars(8, 1), context)
    with pytest.raises(InputError, match="task_network has not been fitted"):
        QUICK.extract(bars(8, 1), context)
    lent = fitted(QUICK, bars(30, 1), tmp_path / "fit")
    with pytest.raises(InputError, match=r"images of shape \(1, 20, 24\) after training on \(1, 16, 16\)"):
        QUICK.extract(picture_set(2), lent)
