"""Facts about the crops that the network sees that judges masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness_plugins.extractors.mask_crops import boxes, crops


def test_boxes_by_hand() -> None:
    """Twice the box round the mask, last axis first, in units of half the image; at least 0.3 of it; the whole where nothing is."""
    masks = torch.zeros(3, 1, 10, 20)
    masks[0, 0, 2:6, 10:14] = 1.0
    masks[1, 0, 5, 5] = 1.0
    found = boxes(masks)
    torch.testing.assert_close(found[0], torch.tensor([[0.4, 0.0, 0.2], [0.0, 0.8, -0.2]]))
    torch.testing.assert_close(found[1], torch.tensor([[0.3, 0.0, -0.45], [0.0, 0.3, 0.1]]))
    torch.testing.assert_close(found[2], torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))


@pytest.mark.parametrize("axes", [2, 3])
def test_the_mask_fills_half_of_each_axis(axes: int) -> None:
    """Wherever a box-shaped mask lies and however long it is, it comes out in the middle, and the image with it."""
    masks = torch.zeros(2, 1, *[24] * axes)
    masks[(0, 0, *[slice(4, 12)] * axes)] = 1.0
    masks[(1, 0, slice(2, 20), *[slice(10, 18)] * (axes - 1))] = 1.0
    found = crops(masks.repeat(1, 2, *[1] * axes), masks, 16)
    assert found.shape == (2, 3, *[16] * axes)
    expected = torch.zeros(*[16] * axes)
    expected[(slice(4, 12),) * axes] = 1.0
    for crop in found:
        torch.testing.assert_close(crop[2], expected)
        assert (crop[:2].round() == expected).all()


def test_a_crop_depends_on_its_image_alone() -> None:
    """Alone and among others a crop is the same; where nothing is masked it is the whole image."""
    rng = np.random.default_rng(0)
    images = torch.as_tensor(rng.random((5, 2, 16, 16)), dtype=torch.float32)
    masks = (torch.as_tensor(rng.random((5, 1, 16, 16)), dtype=torch.float32) > 0.97).float()
    masks[4] = 0.0
    whole = crops(images, masks, 16)
    for k in range(5):
        assert torch.equal(crops(images[k : k + 1], masks[k : k + 1], 16)[0], whole[k])
    torch.testing.assert_close(whole[4], torch.cat([images[4], masks[4]]))


def test_what_varies_while_learning() -> None:
    """Crops are moved and greys altered at random by the generator that is lent, masks stay 0 and 1, and without either all stays."""
    images = torch.linspace(0.0, 1.0, 32).expand(6, 1, 32, 32).contiguous()
    masks = torch.zeros(6, 1, 32, 32)
    masks[:, :, 10:20, 8:24] = 1.0
    still = crops(images, masks, 32)
    torch.testing.assert_close(crops(images, masks, 32, np.random.default_rng(1)), still)
    moved = crops(images, masks, 32, np.random.default_rng(1), moved=0.2)
    assert torch.equal(crops(images, masks, 32, np.random.default_rng(1), moved=0.2), moved)
    assert set(moved[:, 1].unique().tolist()) == {0.0, 1.0}
    assert len({int(mask.sum()) for mask in moved[:, 1]}) > 3
    altered = crops(images, masks, 32, np.random.default_rng(1), grey=0.3)
    assert torch.equal(altered[:, 1], still[:, 1])
    for crop, was in zip(altered[:, 0], still[:, 0], strict=True):
        gain, offset = np.polyfit(was.numpy().ravel(), crop.numpy().ravel(), 1)
        assert abs(np.log(gain)) <= 0.31
        assert abs(offset) <= 0.31
