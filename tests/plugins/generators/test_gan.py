"""The generative adversarial network: its gradient penalty and its options; its training is tested with that of the others."""

from __future__ import annotations

import pytest
import torch

from harness_plugins.generators.gan import Gan, gradient_penalty


def test_penalty_of_a_linear_critic() -> None:
    """The gradient of a linear critic is its weight of the class, so the penalty is the squared difference of its norm and 1."""
    critic = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    with torch.no_grad():
        critic[1].weight.copy_(torch.tensor([[3.0, 0.0, 0.0, 4.0], [0.0, 1.0, 0.0, 0.0]]))
    real, fake = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    assert gradient_penalty(critic, real, fake, torch.tensor([0, 0])).item() == pytest.approx(16.0)
    assert gradient_penalty(critic, real, fake, torch.tensor([1, 1])).item() == pytest.approx(0.0)
    assert gradient_penalty(critic, real, fake, torch.tensor([0, 1])).item() == pytest.approx(8.0)


def test_channels_that_cannot_be_grouped() -> None:
    """Channels that cannot be normalised in groups are refused in words."""
    with pytest.raises(ValueError, match="channels must be multiples of 8"):
        Gan(channels=(8, 12))
