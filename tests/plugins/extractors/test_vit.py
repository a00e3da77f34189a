"""Sizes of the published vision transformers, and how one runs."""

from __future__ import annotations

import math

import pytest
import torch

from harness_plugins.extractors.vit import VisionTransformer, swiglu_width

BASE = VisionTransformer("biomedclip", 768, 12, 12, 16, 14, 3072, "gelu", 1e-6, projection=512)
TINY = VisionTransformer("dinov2", 8, 1, 2, 4, 3, 16, "gelu", 1e-6)


def test_vit_base_has_the_published_number_of_parameters() -> None:
    """ViT-B/16 without a head has 85,798,656 parameters (timm's vit_base_patch16_224), BiomedCLIP's projection 512 x 768 more."""
    assert sum(math.prod(shape) for shape in BASE.shapes().values()) == 85_798_656 + 512 * 768
    assert BASE.features == 512


def test_swiglu_width_is_that_of_dinov2_giant() -> None:
    """facebook/dinov2-giant: width 1536, ratio 4, gated perceptron of 4096."""
    assert swiglu_width(1536, 4) == 4096


def test_without_influence_of_the_blocks_the_class_token_is_normalised() -> None:
    """With layer scales of zero every block is the identity: the answer is the normalised class token at its position."""
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.randn(shape, generator=generator) for name, shape in TINY.shapes().items()}
    state |= {name: torch.zeros_like(value) for name, value in state.items() if "lambda1" in name}
    found = TINY(torch.rand(3, 3, 12, 12, generator=generator), state)
    token = (state["embeddings.cls_token"] + state["embeddings.position_embeddings"][:, :1])[0, 0]
    normed = torch.nn.functional.layer_norm(token, (8,), state["layernorm.weight"], state["layernorm.bias"], 1e-6)
    assert found.shape == (3, 8)
    assert found[0].tolist() == pytest.approx(normed.tolist(), abs=1e-5)
    assert torch.allclose(found[0], found[2])
