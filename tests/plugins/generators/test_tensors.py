"""Image sets as networks see them, and back: batches, turning, regions, labels, noise by image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.api import Context, ImageSet, InputError, NotComputable, Request
from harness_plugins.generators.tensors import (
    Facts,
    batch_rows,
    chunks,
    cropped,
    keep,
    kept,
    label_rows,
    mask_channels,
    masks_of,
    noise_sources,
    normal,
    padded,
    require_classes,
    require_masks,
    require_regions,
    signed,
    synthetic,
    turned,
    unsigned,
)

FACTS = Facts((1, 4, 6), (0.5, 0.5), labels=(2, 5, 9), regions=(1, 4))


def test_every_image_comes_once_before_any_comes_again() -> None:
    """Ten batches of seven from thirty-five images hold each twice, and any batch can be had without the ones before."""
    drawn = [batch_rows(35, 7, step, (1, 2)) for step in range(10)]
    assert np.bincount(np.concatenate(drawn[:5])).tolist() == [1] * 35
    assert np.bincount(np.concatenate(drawn)).tolist() == [2] * 35
    assert batch_rows(35, 7, 8, (1, 2)).tolist() == drawn[8].tolist()
    assert batch_rows(35, 7, 8, (1, 3)).tolist() != drawn[8].tolist()


def test_batch_may_be_larger_than_the_set() -> None:
    """Eight rows of three images hold each at least twice."""
    assert np.bincount(batch_rows(3, 8, 0, (0,))).min() >= 2


def test_intensities_go_there_and_back() -> None:
    """[0, 1] becomes [-1, 1] and comes back; what a network makes beyond that is clipped."""
    images = np.array([[0.0, 0.25, 1.0]], np.float32)
    assert signed(images, "cpu").tolist() == [[-1.0, -0.5, 1.0]]
    assert np.array_equal(unsigned(signed(images, "cpu")), images)
    assert unsigned(torch.tensor([-3.0, 7.0])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("size", [(5, 6), (3, 4, 5)], ids=["2D", "3D"])
def test_regions_go_there_and_back(size: tuple[int, ...]) -> None:
    """Masks with any values become one channel a region, and the same masks again at any threshold."""
    masks = np.random.default_rng(0).choice(np.array([0, 1, 4, 7], np.uint8), (6, *size))
    channels = mask_channels(masks, (1, 4, 7), "cpu")
    assert channels.shape == (6, 3, *size)
    assert set(channels.unique().tolist()) == {-1.0, 1.0}
    for threshold in (0.1, 0.5, 0.9):
        again = masks_of(channels, (1, 4, 7), threshold)
        assert again.dtype == np.uint8
        assert np.array_equal(again, masks)


def test_strongest_region_above_the_threshold_wins() -> None:
    """A pixel is in the region with the largest value, unless that is not above the threshold."""
    channels = torch.tensor([[[[0.2, -0.5, 0.9]], [[0.4, -0.2, 0.8]]]])
    assert masks_of(channels, (3, 8), 0.5).tolist() == [[[8, 0, 3]]]
    assert masks_of(channels, (3, 8), 0.3).tolist() == [[[8, 8, 3]]]
    assert masks_of(channels, (3, 8), 0.92).tolist() == [[[0, 0, 3]]]


def test_image_and_mask_turn_together() -> None:
    """Every turned image is one of the eight of its square, all of them occur, and its second channel was turned alike."""
    square = torch.arange(9.0).reshape(1, 3, 3)
    batch = torch.cat([square, square + 100.0]).repeat(400, 1, 1, 1)
    found = turned(batch, (0, 1), (90, 180, 270), np.random.default_rng(0))
    assert torch.equal(found[:, 1], found[:, 0] + 100.0)
    ways = {tuple(s.rot90(k, (-2, -1)).flatten().tolist()) for s in (square[0], square[0].flip(0)) for k in range(4)}
    assert {tuple(image.flatten().tolist()) for image in found[:, 0]} == ways
    assert turned(batch, (), (), np.random.default_rng(0)) is batch


def test_each_rotation_is_as_likely_as_none() -> None:
    """With rotations of 180 degrees alone, half of the images are turned, and they need not be square."""
    batch = torch.arange(6.0).reshape(1, 1, 2, 3).repeat(300, 1, 1, 1)
    found = turned(batch, (), (180,), np.random.default_rng(1))
    changed = (found != batch).any(dim=(1, 2, 3))
    assert 110 < int(changed.sum()) < 190
    assert torch.equal(found[changed], batch[changed].flip(2, 3))


def test_oblong_images_are_not_turned_by_ninety_degrees() -> None:
    """The error says which rotations remain."""
    with pytest.raises(InputError, match=r"images of 2 x 3 pixels cannot be turned by 90 degrees") as caught:
        turned(torch.zeros(2, 1, 2, 3), (), (90,), np.random.default_rng(0))
    assert "180" in str(caught.value)


@pytest.mark.parametrize("size", [(5, 8), (3, 4, 6)], ids=["2D", "3D"])
def test_padding_is_cut_off_again(size: tuple[int, ...]) -> None:
    """Sides become multiples by repeating the far edge; cropping gives the images back."""
    batch = torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(0))
    wide = padded(batch, 4)
    assert all(side % 4 == 0 and side - own < 4 for side, own in zip(wide.shape[2:], size, strict=True))
    assert torch.equal(cropped(wide, size), batch)
    assert torch.equal(wide[(0, 0, *(-1,) * len(size))], batch[(0, 0, *(-1,) * len(size))])
    assert padded(wide, 4) is wide


def test_chunks_are_always_whole() -> None:
    """Seven images in chunks of three: the last chunk repeats its image and says that one is new."""
    assert [(rows.tolist(), new) for rows, new in chunks(7, 3)] == [([0, 1, 2], 3), ([3, 4, 5], 3), ([6, 6, 6], 1)]
    assert list(chunks(0, 3)) == []


def test_noise_is_that_of_the_image(tmp_path: Path) -> None:
    """It depends on row, seed and purpose, not on which rows it is drawn with."""
    context = Context(seed=1, workdir=tmp_path)

    def drawn(rows: list[int], seed: int = 1, purpose: str = "train") -> torch.Tensor:
        request = Request(n=9, purpose="test" if purpose == "test" else "train")
        return normal((2, 3), noise_sources(np.array(rows), request, replace(context, seed=seed)))

    assert torch.equal(drawn([0, 5, 7])[1:], drawn([5, 7]))
    seen = torch.stack([drawn([5])[0], drawn([6])[0], drawn([5], seed=2)[0], drawn([5], purpose="test")[0]])
    assert len(seen.unique(dim=0)) == 4


def test_facts_of_training_images(picture_set: Callable[..., ImageSet]) -> None:
    """Shape, spacing, labels and regions are those of the images; they come back with weights and numbers from the folder."""
    images = picture_set(size=(6, 8), channels=2, labels=np.array([4, 4, 7] * 4))
    facts = Facts.of(images)
    assert facts == Facts((2, 6, 8), (1.0, 1.0), (4, 7), (1,))


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    """Facts, weights by name and numbers are read again without unpickling anything."""
    weights = {"network": {"weight": torch.rand(2, 3)}}
    keep(Context(seed=0, workdir=tmp_path), FACTS, weights, {"mask_threshold": 0.4})
    left = kept(Context(seed=0, workdir=tmp_path, fitted=tmp_path), "ddpm")
    assert left.facts == FACTS
    assert torch.equal(left.weights["network"]["weight"], weights["network"]["weight"])
    assert left.numbers == {"mask_threshold": 0.4}
    with pytest.raises(InputError, match="ddpm has not been fitted"):
        kept(Context(seed=0, workdir=tmp_path), "ddpm")


def test_one_image_is_not_enough(picture_set: Callable[..., ImageSet]) -> None:
    """The reason says how many are needed."""
    with pytest.raises(NotComputable, match="needs at least 2 training images, got 1"):
        Facts.of(picture_set(n=1))


def test_classes_need_two_images_each(picture_set: Callable[..., ImageSet]) -> None:
    """The reason names the class, or that there are no labels."""
    require_classes(picture_set(n=4, labels=np.array([3, 3, 8, 8])), "to condition on")
    with pytest.raises(NotComputable, match="needs at least 2 training images of every class to condition on, got 1 of label 8"):
        require_classes(picture_set(n=4, labels=np.array([3, 3, 3, 8])), "to condition on")
    with pytest.raises(NotComputable, match="needs labels to condition on, got training images without"):
        require_classes(picture_set(labels=None), "to condition on")


def test_masks_must_show_something(picture_set: Callable[..., ImageSet]) -> None:
    """No masks, and none but empty ones, are two reasons."""
    images = picture_set()
    require_regions(images, "to learn from")
    with pytest.raises(NotComputable, match="needs masks to learn from, got 12 that are empty"):
        require_regions(replace(images, masks=np.zeros_like(images.masks)), "to learn from")
    with pytest.raises(NotComputable, match="needs masks to learn from, got training images without"):
        require_regions(replace(images, masks=None), "to learn from")


def test_labels_are_looked_up_among_those_of_training() -> None:
    """Unknown and missing labels are refused by name."""
    assert label_rows(np.array([9, 2, 5, 9]), FACTS, 4).tolist() == [2, 0, 1, 2]
    with pytest.raises(NotComputable, match=r"needs labels that the training images have, \[2, 5, 9\], got \[0, 7\]"):
        label_rows(np.array([0, 2, 7]), FACTS, 3)
    with pytest.raises(NotComputable, match="needs a label for every image, got none"):
        label_rows(None, FACTS, 3)
    with pytest.raises(NotComputable, match="needs training images with labels, got none"):
        label_rows(np.array([1]), replace(FACTS, labels=()), 1)


def test_requested_masks_must_be_like_those_of_training() -> None:
    """Missing masks, another size and unknown regions are refused."""
    masks = np.full((2, 4, 6), 4, np.uint8)
    assert require_masks(Request(n=2, masks=masks), FACTS) is masks
    with pytest.raises(NotComputable, match="needs a mask for every image, got none"):
        require_masks(Request(n=2), FACTS)
    with pytest.raises(NotComputable, match=r"needs masks of \(4, 6\) pixels as in training, got \(6, 6\)"):
        require_masks(Request(n=2, masks=np.zeros((2, 6, 6), np.uint8)), FACTS)
    with pytest.raises(NotComputable, match=r"needs masks with the regions of training, \[1, 4\], got \[2\]"):
        require_masks(Request(n=2, masks=np.full((2, 4, 6), 2, np.uint8)), FACTS)


def test_synthetic_set_says_where_it_comes_from(picture_set: Callable[..., ImageSet]) -> None:
    """Spacing is the one asked for or that of training, ids differ by purpose, sources are those of the request."""
    sources = picture_set(n=3)
    images, masks = np.zeros((3, 1, 4, 6), np.float32), np.ones((3, 4, 6), np.uint8)
    asked = Request(n=3, sources=sources, spacing_mm=(2.0, 3.0))
    made = synthetic(asked, "ddpm", FACTS, images, masks, np.array([2, 5, 9]))
    assert (made.origin, made.spacing_mm, made.sources) == ("synthetic", (2.0, 3.0), sources.ids)
    assert made.labels is not None
    assert made.labels.tolist() == [2, 5, 9]
    test = synthetic(Request(n=3, purpose="test"), "ddpm", FACTS, images, None, None)
    assert test.spacing_mm == (0.5, 0.5)
    assert not set(test.ids) & set(made.ids)
