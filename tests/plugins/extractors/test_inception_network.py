"""The tensors and the maps of the FID network."""

from __future__ import annotations

import pytest
import torch

from harness_plugins.extractors.inception_network import InceptionNetwork, shapes


def test_tensors_of_the_published_file() -> None:
    """94 convolutions with their normalisation and a classifier of 1008 classes."""
    found = shapes()
    assert sum(name.endswith("conv.weight") for name in found) == 94
    assert len(found) == 94 * 5 + 2
    assert (found["Conv2d_1a_3x3.conv.weight"], found["fc.weight"]) == ((32, 3, 3, 3), (1008, 2048))


def test_a_silent_network_answers_with_its_bias() -> None:
    """With all convolutions zero, every map is what the normalisation leaves, and the logits are the classifier's bias."""
    state = {name: torch.zeros(shape) for name, shape in shapes().items()}
    state |= {name: torch.ones(shape) for name, shape in shapes().items() if name.endswith("running_var")}
    state["fc.bias"] = torch.arange(1008.0)
    network, images = InceptionNetwork(state), torch.zeros(1, 3, 299, 299)
    assert network.layer(images, "Mixed_6e").shape == (1, 768, 17, 17)
    assert network.logits(images, bias=True)[0].tolist() == pytest.approx(list(range(1008)))
    assert float(network.logits(images, bias=False).abs().max()) == 0.0
