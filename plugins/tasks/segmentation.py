"""Image segmentation with a small U-Net from MONAI: foreground against background."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field
from scipy import ndimage

from harness.api import Context, ImageSet, NotComputable, Quantity

from .training import CHUNK, NetworkTask, averaged_down, deterministic, keep, kept, mirrored, shrunk, with_weights

if TYPE_CHECKING:
    import torch

_SIDE = {2: 128, 3: 48}
_PERCENTILE = 95.0


class Segmentation(NetworkTask):
    """Train a small MONAI U-Net to find the foreground of the masks; Dice and 95th percentile Hausdorff distance of every test case.

    Foreground is every mask label above 0, taken together: regions are not told apart. Every mix gets the same number of gradient
    steps, initial weights and batch size, so a larger training set is not also more training. The loss is the soft Dice loss of
    the foreground over the whole batch, which does not depend on how small the foreground is, plus the cross-entropy; the weights
    with the lowest loss on the validation images are the ones tested. Images whose longest axis exceeds `side` pixels (128 in 2D
    and 48 in 3D where no number is given) are averaged down to it and their masks are sampled at the nearest pixel. The predicted
    probability of a test image is interpolated back to the full size, where probabilities above 1/2 are foreground and scored.
    Training images are mirrored at random along `flip_axes` (0 = first spatial axis, array order).

    `dice` is 2 |A and B| / (|A| + |B|) (Dice, Ecology 26, 1945); it is 1 where mask and prediction are both empty, so finding
    nothing where there is nothing counts as right, and 0 where one of them is. `hd95` is the larger of the two directed 95th
    percentiles of distances, in mm, from the pixels at the surface of one to the nearest at the surface of the other (Maier-Hein et
    al., Nature Methods 21, 2024); a surface pixel has a neighbour, across a face, outside the region or outside the image. Where
    mask or prediction is empty there is no distance and the case is masked, so `hd95` is read together with `dice`.
    """

    name = "segmentation"
    version = "1"
    needs = frozenset({"masks"})
    quantities = (
        Quantity(name="dice", better="higher", low=0.0, high=1.0),
        Quantity(name="hd95", unit="mm", better="lower", low=0.0),
    )
    batch_size: int = Field(8, ge=2, description="images a step")
    learning_rate: float = Field(5e-3, gt=0.0, description="highest rate of the one-cycle schedule")
    channels: tuple[int, int, int, int] = Field((8, 16, 32, 64), description="of each level of the U-Net, the finest first")
    side: int | None = Field(None, ge=8, description="longest axis that the network sees, px; 128 in 2D and 48 in 3D where not given")

    def fit(self, training: ImageSet, validation: ImageSet, context: Context) -> None:
        """Train, choose by validation loss, and leave weights, intensity scale and image shape in the work folder."""
        import torch

        for name, side in (("training", training), ("validation", validation)):
            _require_masks(name, side, training.images.shape[1:])
        if not any(mask.any() for mask in np.asarray(training.masks)):
            raise NotComputable(f"needs training images with foreground, got {len(training)} empty masks")
        with deterministic(context):
            images = shrunk(training, self._side(training), context.device)
            mean, scale = images.mean(), images.std().clamp_min(1e-6)
            looked_at = (shrunk(validation, self._side(validation), context.device) - mean) / scale
            truth, answers = (_foreground(side, tuple(images.shape[2:]), context.device) for side in (training, validation))
            network = self._trained((images - mean) / scale, truth, looked_at, answers, context)
        keep(network, context, {"mean": mean, "scale": scale, "shape": torch.tensor(training.images.shape[1:])})

    def score(self, test: ImageSet, context: Context) -> Mapping[str, np.ndarray | float]:
        """Return Dice and the Hausdorff distance of every test case, masked where there is none."""
        import torch

        content = kept(context, self.name)
        _require_masks("test", test, tuple(content["shape"].tolist()))
        assert test.masks is not None
        shape = tuple(content["shape"].tolist())
        network = with_weights(lambda: u_net(shape, self.channels), content["weights"])
        found: dict[str, list[float]] = {"dice": [], "hd95": []}
        with deterministic(context), torch.no_grad():
            for case, (image, mask) in enumerate(zip(test.images, test.masks, strict=True)):
                # One at a time: what a case gets must not depend on the cases beside it, to the last bit.
                seen = averaged_down(torch.tensor(image[None], device=context.device), self._side(test))
                region = _predicted(network, (seen - content["mean"]) / content["scale"], test.size_px)
                found["dice"].append(dice(region, mask > 0))
                found["hd95"].append(hd95(region, mask > 0, test.spacing_mm))
                context.progress(case + 1, len(test))
        return {name: np.ma.masked_invalid(values) for name, values in found.items()}

    def _side(self, images: ImageSet) -> int:
        return _SIDE[len(images.size_px)] if self.side is None else self.side

    def _trained(
        self, images: torch.Tensor, truth: torch.Tensor, looked_at: torch.Tensor, answers: torch.Tensor, context: Context
    ) -> torch.nn.Module:
        """Return the trained network. images, looked_at: normalised, to train on and to stop by; truth, answers: their foreground."""
        import torch
        from monai.losses import DiceCELoss  # type: ignore[attr-defined]

        criterion = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
        network = u_net(tuple(images.shape[1:]), self.channels).to(context.device)
        channels = images.shape[1]

        def loss(rows: torch.Tensor) -> torch.Tensor:
            both = mirrored(torch.cat([images[rows], truth[rows]], dim=1), self.flip_axes, context.rng)
            return criterion(logits(network, both[:, :channels]), both[:, channels:])

        def validation_loss() -> torch.Tensor:
            return criterion(torch.cat([logits(network, part) for part in looked_at.split(self.batch_size)]), answers)

        self.train(network, len(images), loss, validation_loss, context)
        return network


def u_net(shape: tuple[int, ...], channels: tuple[int, int, int, int]) -> torch.nn.Module:
    """Return an untrained MONAI U-Net with two residual units a level and two output channels, background and foreground.

    shape: of one image, (C, H, W) or (C, D, H, W). channels: of each level; each is half as fine as the one before.
    """
    from monai.networks.nets import UNet  # type: ignore[attr-defined]

    return UNet(
        spatial_dims=len(shape) - 1,
        in_channels=shape[0],
        out_channels=2,
        channels=channels,
        strides=(2,) * (len(channels) - 1),
        num_res_units=2,
    )


def logits(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return (N, 2, ...) logits of (N, C, ...) images of any size: the far edges are repeated up to a size that halves evenly."""
    from torch.nn.functional import pad

    sizes = images.shape[2:]
    # Three halvings; twice that, so that the coarsest level has more than one pixel to normalise by.
    missing = [max(16, -(-size // 8) * 8) - size for size in sizes]
    padded = pad(images, [n for extra in reversed(missing) for n in (0, extra)], mode="replicate")
    return network(padded)[(..., *(slice(size) for size in sizes))]


def _predicted(network: torch.nn.Module, image: torch.Tensor, size_px: tuple[int, ...]) -> np.ndarray:
    """Return the foreground that the network finds in one image, at full size, as booleans."""
    from torch.nn.functional import interpolate

    chance = logits(network, image).softmax(dim=1)[:, 1:]
    if tuple(chance.shape[2:]) != size_px:
        chance = interpolate(chance, size=size_px, mode="bilinear" if len(size_px) == 2 else "trilinear", align_corners=False)
    return np.asarray((chance[0, 0] > 0.5).cpu().numpy())


def _foreground(images: ImageSet, size: tuple[int, ...], device: str) -> torch.Tensor:
    """Return the foreground of the masks at this size, (N, 1, ...) float32, sampled at the nearest pixel."""
    import torch
    from torch.nn.functional import interpolate

    assert images.masks is not None
    pieces = (torch.tensor(images.masks[i : i + CHUNK] > 0, device=device).float()[:, None] for i in range(0, len(images), CHUNK))
    return torch.cat([interpolate(part, size=size, mode="nearest-exact") for part in pieces])


def _require_masks(name: str, images: ImageSet, shape: tuple[int, ...]) -> None:
    if images.masks is None or len(images) == 0:
        raise NotComputable(f"needs {name} images with masks, got none")
    if images.images.shape[1:] != shape:
        raise NotComputable(f"needs images of one size, got {shape} for training, {images.images.shape[1:]} for {name}")


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    """Return the Dice coefficient of two boolean regions: 1 where both are empty, 0 where one is."""
    together = int(found.sum()) + int(truth.sum())
    return 2.0 * int((found & truth).sum()) / together if together else 1.0


def hd95(found: np.ndarray, truth: np.ndarray, spacing_mm: tuple[float, ...]) -> float:
    """Return the larger of the two directed 95th percentiles of surface distances, mm; NaN where a region is empty."""
    if not (found.any() and truth.any()):
        return float("nan")
    # Cut to what holds both regions: outside there is no surface, and a distance transform of less is faster.
    box = ndimage.find_objects((found | truth).astype(np.uint8))[0]
    surfaces = [region & ~ndimage.binary_erosion(region) for region in (found[box], truth[box])]
    away = [ndimage.distance_transform_edt(~surface, sampling=spacing_mm) for surface in surfaces]
    return max(float(np.percentile(away[1 - k][surfaces[k]], _PERCENTILE)) for k in (0, 1))
