"""Segmentation networks: the dimensions, sizes and outputs that were asked for, whatever the size of the images."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from harness_plugins.tasks.segmenters import Network, logits, segmenter, u_net

CHANNELS = (4, 4, 4, 4)
NETWORKS = ["unet", "segresnet", pytest.param("swinunetr")]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Let torch use one thread, and as many as before afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("channels", "sizes"), [(1, (20, 33)), (3, (64, 70))])
def test_answers_have_the_size_of_the_image(name: Network, channels: int, sizes: tuple[int, ...]) -> None:
    """Any size works: the logits of three outputs are as large as the image, in training as in evaluation."""
    network = segmenter(name, (channels, *sizes), 3, CHANNELS, None)
    images = torch.rand(2, channels, *sizes, generator=torch.Generator().manual_seed(1))
    for mode in (True, False):
        with torch.no_grad():
            assert logits(network.train(mode), images, name).shape == (2, 3, *sizes)


@pytest.mark.parametrize("name", ["unet", "segresnet"])
def test_volumes_of_any_size_work(name: Network) -> None:
    """3D sizes that do not halve evenly are filled up and cut off again."""
    network = segmenter(name, (2, 9, 12, 11), 2, CHANNELS, None)
    with torch.no_grad():
        assert logits(network, torch.rand(1, 2, 9, 12, 11), name).shape == (1, 2, 9, 12, 11)


@pytest.mark.parametrize("name", NETWORKS)
def test_volumes_are_seen_as_volumes(name: Network) -> None:
    """The convolutions are 2D or 3D as the images are, and each network has one answer per output."""
    for shape in ((1, 64, 64), (1, 64, 64, 64)):
        kernels = [p for p in segmenter(name, shape, 5, CHANNELS, None).parameters() if p.ndim == len(shape) + 1]
        assert kernels
        assert any(5 in p.shape[:2] for p in kernels)


def test_small_images_are_filled_up_for_the_swin_transformer() -> None:
    """What it sees of a small image has sides of 64 whose far edges repeat the image's own; what is cut off does not come back."""

    class Seen(torch.nn.Module):
        """Remembers its input and returns it."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.images = images
            return images

    seen, images = Seen(), torch.rand(1, 1, 40, 65)
    assert torch.equal(logits(seen, images, "swinunetr"), images)
    assert seen.images.shape == (1, 1, 64, 96)
    assert torch.equal(seen.images[..., :40, 65:], images[..., -1:].expand(-1, -1, -1, 31))


@pytest.mark.parametrize("name", ["segresnet", pytest.param("swinunetr")])
def test_the_width_is_as_asked_for(name: Network) -> None:
    """Twice the feature size is about four times as many weights."""
    small, large = (sum(p.numel() for p in segmenter(name, (1, 64, 64), 2, CHANNELS, size).parameters()) for size in (24, 48))
    assert 3.5 < large / small < 4.1


def test_the_u_net_has_the_channels_asked_for() -> None:
    """Each level has kernels of its own width."""
    assert {4, 6, 8, 10} <= {p.shape[0] for p in u_net((1, 16, 16), (4, 6, 8, 10)).parameters()}
    assert u_net((2, 16, 16), CHANNELS, 3)(torch.rand(1, 2, 16, 16)).shape == (1, 3, 16, 16)
