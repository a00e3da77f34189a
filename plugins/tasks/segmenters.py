"""Segmentation networks by name, 2D and 3D, and how images of any size are shown to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Network = Literal["unet", "segresnet", "swinunetr"]
# Sides must be a multiple of the first number and no smaller than the second: what the network halves must stay even, and its
# coarsest level must have more than one pixel where it normalises each image by its own mean (U-Net, SwinUNETR).
_SIDES: dict[Network, tuple[int, int]] = {"unet": (8, 16), "segresnet": (8, 8), "swinunetr": (32, 64)}
# Filters of the first level: where none are named, and what their number must be a multiple of.
FILTERS: dict[Network, tuple[int, int]] = {"segresnet": (8, 8), "swinunetr": (12, 12)}


def segmenter(
    network: Network, shape: tuple[int, ...], outputs: int, channels: tuple[int, int, int, int], feature_size: int | None
) -> torch.nn.Module:
    """Return the untrained network of this name, 2D or 3D as the images are.

    shape: of one image, (C, H, W) or (C, D, H, W). outputs: channels of the logits. channels: of each level of the U-Net.
    feature_size: filters of the first level of the other two, the default of `FILTERS` where None.
    """
    if network == "unet":
        return u_net(shape, channels, outputs)
    filters = FILTERS[network][0] if feature_size is None else feature_size
    return (seg_res_net if network == "segresnet" else swin_unetr)(shape, filters, outputs)


def u_net(shape: tuple[int, ...], channels: tuple[int, int, int, int], outputs: int = 2) -> torch.nn.Module:
    """Return an untrained MONAI U-Net with two residual units a level (Kerfoot et al., STACOM 2018).

    shape: of one image, (C, H, W) or (C, D, H, W). channels: of each level; each is half as fine as the one before.
    """
    from monai.networks.nets import UNet  # type: ignore[attr-defined]

    return UNet(
        spatial_dims=len(shape) - 1,
        in_channels=shape[0],
        out_channels=outputs,
        channels=channels,
        strides=(2,) * (len(channels) - 1),
        num_res_units=2,
    )


def seg_res_net(shape: tuple[int, ...], filters: int, outputs: int) -> torch.nn.Module:
    """Return an untrained MONAI SegResNet without its autoencoder branch (Myronenko, BrainLes 2018).

    shape: of one image, (C, H, W) or (C, D, H, W). filters: of the first of four levels, a multiple of 8; each level doubles them.
    """
    from monai.networks.nets import SegResNet  # type: ignore[attr-defined]

    return SegResNet(spatial_dims=len(shape) - 1, init_filters=filters, in_channels=shape[0], out_channels=outputs)


def swin_unetr(shape: tuple[int, ...], filters: int, outputs: int) -> torch.nn.Module:
    """Return an untrained MONAI SwinUNETR (Hatamizadeh et al., BrainLes 2021).

    shape: of one image, (C, H, W) or (C, D, H, W). filters: of the first level, a multiple of 12 for its three attention heads.
    """
    from monai.networks.nets import SwinUNETR  # type: ignore[attr-defined]

    return SwinUNETR(spatial_dims=len(shape) - 1, in_channels=shape[0], out_channels=outputs, feature_size=filters)


def logits(network: torch.nn.Module, images: torch.Tensor, name: Network) -> torch.Tensor:
    """Return (N, outputs, ...) logits of (N, C, ...) images of any size.

    name: of the network. The far edges are repeated up to a size that it takes, and cut off again.
    """
    from torch.nn.functional import pad

    sizes, (multiple, least) = images.shape[2:], _SIDES[name]
    missing = [max(least, -(-size // multiple) * multiple) - size for size in sizes]
    padded = pad(images, [n for extra in reversed(missing) for n in (0, extra)], mode="replicate")
    return network(padded)[(..., *(slice(size) for size in sizes))]
