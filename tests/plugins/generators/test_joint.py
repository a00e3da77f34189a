"""What generators share that make images and masks together: channels, classes, and the widths that their networks take."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.api import ImageSet
from harness_plugins.generators.joint import classes_of, number_of_classes
from harness_plugins.generators.tensors import Facts, pictures_of


def labelled() -> ImageSet:
    """Six images with two regions and the labels 2 and 5."""
    images = np.linspace(0, 1, 6 * 64, dtype=np.float32).reshape(6, 1, 8, 8)
    masks = np.zeros((6, 8, 8), np.uint8)
    masks[:, 2:4, 2:4], masks[:, 5:7, 5:7] = 1, 3
    labels = np.array([2, 5, 2, 5, 5, 5])
    return ImageSet(images, tuple("abcdef"), (1.0, 1.0), masks=masks, labels=labels)


def test_image_and_masks_are_channels_of_one_picture() -> None:
    """The first channel is the image in [-1, 1]; each region has a channel that is 1 inside and -1 outside."""
    images = labelled()
    pictures = pictures_of(images, np.array([4, 0]), Facts.of(images), "cpu").numpy()
    assert pictures.shape == (2, 3, 8, 8)
    np.testing.assert_allclose(pictures[:, 0], images.images[[4, 0], 0] * 2 - 1, atol=1e-6)
    assert images.masks is not None
    for channel, region in ((1, 1), (2, 3)):
        assert np.array_equal(pictures[:, channel] == 1, images.masks[[4, 0]] == region)
        assert set(np.unique(pictures[:, channel])) == {-1.0, 1.0}


def test_classes_are_places_among_the_labels_of_training() -> None:
    """The label 5 is the second of two; without labels there is one class."""
    images = labelled()
    facts = Facts.of(images)
    assert classes_of(images, np.arange(6), facts, "cpu").tolist() == [0, 1, 0, 1, 1, 1]
    assert number_of_classes(facts) == 2
    assert number_of_classes(replace(facts, labels=())) == 1


@pytest.mark.parametrize("labels", [None, ()])
def test_without_labels_every_image_is_of_one_class(labels: tuple[int, ...] | None) -> None:
    """Whatever the images say, a generator that learned no label has one class."""
    images = labelled() if labels is None else replace(labelled(), labels=None)
    assert classes_of(images, np.arange(6), replace(Facts.of(labelled()), labels=()), "cpu").tolist() == [0] * 6
