"""What makes the training of the small network repeatable and fair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.api import Context
from harness_plugins.tasks.training import averaged_down, batches, class_weights, deterministic, mirrored, small_resnet


def test_every_image_comes_once_before_any_comes_again() -> None:
    """Ten batches of seven from thirty-five images hold each image twice."""
    drawn = torch.cat(list(batches(35, 7, 10, np.random.default_rng(0))))
    assert torch.bincount(drawn[:35]).tolist() == [1] * 35
    assert torch.bincount(drawn).tolist() == [2] * 35


def test_classes_weigh_alike() -> None:
    """Weight times frequency is the same for every class."""
    labels = np.array([0] * 6 + [1] * 3 + [2])
    weights = class_weights(labels, 3, "cpu").numpy()
    assert weights * np.bincount(labels) == pytest.approx([10 / 3] * 3)


def test_averaging_keeps_the_mean_and_the_proportions() -> None:
    """The longest axis gets the side asked for, small images stay as they are."""
    images = torch.rand(2, 1, 40, 20, generator=torch.Generator().manual_seed(1))
    small = averaged_down(images, 10)
    assert small.shape == (2, 1, 10, 5)
    assert small.mean(dim=(1, 2, 3)).tolist() == pytest.approx(images.mean(dim=(1, 2, 3)).tolist())
    assert averaged_down(images, 40) is images


def test_mirroring_is_along_the_axes_asked_for() -> None:
    """About half of the images are mirrored; none where no axis is named."""
    images = torch.arange(2 * 300.0).reshape(300, 1, 1, 2)
    turned = mirrored(images, (1,), np.random.default_rng(2))
    changed = (turned != images).any(dim=(1, 2, 3))
    assert 100 < int(changed.sum()) < 200
    assert torch.equal(turned[changed].flip(3), images[changed])
    assert torch.equal(mirrored(images, (), np.random.default_rng(2)), images)


def test_seed_decides_and_the_outside_is_left_alone() -> None:
    """The same context gives the same network; torch's own random state, threads and strictness are put back."""
    before = (torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    made = []
    for seed in (5, 5, 6):
        with deterministic(Context(seed=seed, workdir=Path())):
            made.append(next(small_resnet((1, 32, 32), 2, (4, 4, 8, 8)).parameters()).detach().clone())
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before[1:]
