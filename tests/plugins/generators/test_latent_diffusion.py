"""Latent diffusion: its latents and its options; its training is tested with that of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.api import Context, ImageSet, Request
from harness_plugins.generators.latent_diffusion import LatentDiffusion


def test_latents_are_scaled_to_unit_variance(tmp_path: Path) -> None:
    """The scale that is kept with the weights is positive; images are decoded from what the diffusion model makes, times the scale."""
    sizes = {"batch_size": 4, "threads": 1, "channels": (8, 8), "diffusion_channels": (8,), "latent_channels": 2, "sampling_steps": 1}
    generator = LatentDiffusion(steps=1, autoencoder_steps=1, **sizes)
    images = ImageSet(np.random.default_rng(7).random((4, 1, 8, 8), dtype=np.float32), tuple("abcd"), (1.0, 1.0))
    context = Context(3, tmp_path, fitted=tmp_path)
    generator.fit(images, context)
    left = torch.load(tmp_path / "generator.pt", weights_only=True)
    assert left["numbers"]["scale"] > 0.0
    assert set(left["weights"]) == {"autoencoder", "diffusion"}
    before = generator.sample(Request(1), context)
    left["numbers"]["scale"] *= 2.0
    torch.save(left, tmp_path / "generator.pt")
    assert not np.array_equal(generator.sample(Request(1), context).images, before.images)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"channels": (8, 12)}, "channels must be multiples of 8"),
        ({"diffusion_channels": (12,)}, "channels must be multiples of 8"),
        ({"prediction": "flow", "schedule": "cosine"}, "prediction flow has no schedule"),
        ({"sampling_steps": 3}, "sampling_steps must divide timesteps, 1000"),
        ({"timesteps": 10}, "sampling_steps must be at most timesteps, 10"),
        ({"attention_levels": (2,)}, "attention_levels must be below 2"),
    ],
)
def test_options_that_do_not_fit_together(options: dict[str, Any], problem: str) -> None:
    """An option that would do nothing, or cannot be met, is refused in words."""
    with pytest.raises(ValueError, match=problem):
        LatentDiffusion(**options)
