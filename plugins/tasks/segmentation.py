"""Image segmentation with a network from MONAI: the foreground of the masks, or several regions that may overlap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from harness.api import Context, ImageSet, NotComputable, Quantity

from .overlap import Empty, agreement
from .segmenters import FILTERS, Network, logits, segmenter
from .training import NetworkTask, averaged_down, deterministic, keep, kept, mirrored, shrunk

if TYPE_CHECKING:
    import torch

_SIDE = {2: 128, 3: 48}
_CHANNELS = (8, 16, 32, 64)
_Name = Annotated[str, Field(pattern=r"^[^\s=][^=]*$")]
_Values = Annotated[tuple[Annotated[int, Field(ge=1, le=255)], ...], Field(min_length=1)]


class Segmentation(NetworkTask):
    """Train a MONAI network to find the regions of the masks; Dice, Hausdorff distance and surface Dice of every test case.

    Without `regions`, every mask label above 0 is foreground, taken together. `regions` names the labels of each region, as in
    {ET: [3], ED: [2], NCR: [1]}; regions may overlap, as whole tumour, core and enhancing tumour of the BraTS challenges do. Of
    several, each has its column of results, in the order of their names, before which comes the mean over the regions of a case
    that have a value; every one must occur in training and validation images.

    `network` is a small U-Net, a SegResNet or a SwinUNETR, 2D or 3D as the images are; where its levels do not fit the size of the
    images, their far edges are repeated and cut off again. Every mix gets the same number of gradient steps, initial weights and
    batch size, so a larger training set is not also more training. The loss is the soft Dice loss of each region over the whole
    batch, which does not depend on how small the region is, plus the cross-entropy: of foreground against background, or of each
    of several regions on its own. The weights with the lowest loss on the validation images are the ones tested. Images whose
    longest axis exceeds `side` pixels (128 in 2D and 48 in 3D where no number is given) are averaged down to it and their masks are
    sampled at the nearest pixel. The predicted probability of a test image is interpolated back to the full size, where
    probabilities above 1/2 are the region that is scored. Training images are mirrored at random along `flip_axes` (0 = first
    spatial axis, array order).

    `dice` is 2 |A and B| / (|A| + |B|) (Dice, Ecology 26, 1945). `hd95` is the larger of the two directed 95th percentiles of
    distances, in mm, from the pixels at the surface of one to the nearest at the surface of the other; `surface_dice` is the share
    of the pixels of both surfaces within `tolerance_mm` of the other one (Nikolov et al., JMIR 23, 2021; both as in Maier-Hein et
    al., Nature Methods 21, 2024). A surface pixel has a neighbour, across a face, outside the region or outside the image. The
    tolerance should be what experts differ by. Where that is not known it is one pixel along the finest axis, the least that a
    mask can show.

    Where mask or prediction is empty there is no distance and `hd95` is masked, so it is read together with `dice`. `empty` says
    what Dice and surface Dice are of a region that the mask lacks: with "one" they are 1 where nothing was found either and 0 where
    something was, as in the BraTS challenges; with "masked" the case has no value for that region. A region that was missed
    altogether has 0.
    """

    name = "segmentation"
    version = "2"
    needs = frozenset({"masks"})
    quantities = (
        Quantity(name="dice", better="higher", low=0.0, high=1.0),
        Quantity(name="hd95", unit="mm", better="lower", low=0.0),
        Quantity(name="surface_dice", better="higher", low=0.0, high=1.0),
    )
    batch_size: int = Field(8, ge=2, description="images a step")
    learning_rate: float = Field(5e-3, gt=0.0, description="highest rate of the one-cycle schedule")
    network: Network = Field("unet", description="unet, segresnet or swinunetr")
    channels: tuple[int, int, int, int] = Field(_CHANNELS, description="of each level of the U-Net, the finest first")
    feature_size: int | None = Field(
        None, ge=8, description="filters of the first level: of segresnet a multiple of 8 (default 8), of swinunetr of 12 (default 12)"
    )
    side: int | None = Field(None, ge=8, description="longest axis that the network sees, px; 128 in 2D and 48 in 3D where not given")
    regions: dict[_Name, _Values] = Field({}, description="mask labels of each region by name; everything above 0 where none is named")
    empty: Empty = Field("one", description='Dice of a region that the mask lacks: "one" (1 or 0, as in BraTS) or "masked" (no value)')
    tolerance_mm: float | None = Field(None, gt=0.0, description="of the surface Dice; one pixel of the finest axis where not given")

    @field_validator("regions")
    @classmethod
    def _in_order(cls, regions: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        # Options count as equal whatever the order of their keys, so it must not decide which column is which.
        return dict(sorted(regions.items()))

    @model_validator(mode="after")
    def _fits_the_network(self) -> Self:
        if self.network != "unet" and self.channels != _CHANNELS:
            raise ValueError(f"channels are those of the U-Net; the width of {self.network} is its feature_size")
        if self.feature_size is None:
            return self
        if self.network == "unet":
            raise ValueError("feature_size is the width of segresnet and swinunetr; the U-Net takes channels")
        if self.feature_size % FILTERS[self.network][1]:
            raise ValueError(f"feature_size of {self.network} must be a multiple of {FILTERS[self.network][1]}, got {self.feature_size}")
        return self

    def columns(self, images: ImageSet) -> tuple[str, ...]:
        """Return "" alone for one region, else "", the mean over the regions of a case, and the regions in order of their names."""
        return ("", *self.regions) if len(self.regions) > 1 else ("",)

    def fit(self, training: ImageSet, validation: ImageSet, context: Context) -> None:
        """Train, choose by validation loss, and leave weights, intensity scale and image shape in the work folder.

        `NotComputable` where masks, a region, or memory are missing, or the loss is no longer finite.
        """
        import torch

        for name, side in (("training", training), ("validation", validation)):
            _require_masks(name, side, training.images.shape[1:])
            self._require_regions(name, side)
        with deterministic(context), _enough_memory(f"batches of {self.batch_size}", "batch_size or side"):
            images = shrunk(training, self._side(training), context.device)
            mean, scale = images.mean(), images.std().clamp_min(1e-6)
            looked_at = (shrunk(validation, self._side(validation), context.device) - mean) / scale
            truth, answers = (self._truth(name, side, tuple(images.shape[2:]), context.device)
                              for name, side in (("training", training), ("validation", validation)))  # fmt: skip
            network = self._trained((images - mean) / scale, truth, looked_at, answers, context)
        keep(network, context, {"mean": mean, "scale": scale, "shape": torch.tensor(training.images.shape[1:])})

    def score(self, test: ImageSet, context: Context) -> Mapping[str, np.ndarray | float]:
        """Return Dice, Hausdorff distance and surface Dice of every test case and column, masked where there is none."""
        import torch

        content = kept(context, self.name)
        _require_masks("test", test, tuple(content["shape"].tolist()))
        assert test.masks is not None
        found = {quantity.name: np.full((len(test), self._outputs), np.nan) for quantity in self.quantities}
        tolerance_mm = min(test.spacing_mm) if self.tolerance_mm is None else self.tolerance_mm
        present = np.zeros((len(test), self._outputs), dtype=bool)
        with deterministic(context), torch.no_grad(), _enough_memory("one image", "side"):
            network = self._with_weights(content, context.device)
            for case, (image, mask) in enumerate(zip(test.images, test.masks, strict=True)):
                # One at a time: what a case gets must not depend on the cases beside it, to the last bit.
                seen = averaged_down(torch.tensor(image[None], device=context.device), self._side(test))
                predicted = self._predicted(network, (seen - content["mean"]) / content["scale"], test.size_px)
                for k, (region, truth) in enumerate(zip(predicted, self._regions(mask[None])[0], strict=True)):
                    present[case, k] = truth.any()
                    for name, value in agreement(region, truth, test.spacing_mm, tolerance_mm, self.empty).items():
                        found[name][case, k] = value
                context.progress(case + 1, len(test))
        return {name: _columns(np.ma.masked_invalid(values), present) for name, values in found.items()}

    @property
    def _outputs(self) -> int:
        """Number of regions."""
        return max(1, len(self.regions))

    def _side(self, images: ImageSet) -> int:
        return _SIDE[len(images.size_px)] if self.side is None else self.side

    def _segmenter(self, shape: tuple[int, ...]) -> torch.nn.Module:
        """Return the untrained network: background and foreground compete for one region, several regions have an output each."""
        return segmenter(self.network, shape, 2 if self._outputs == 1 else self._outputs, self.channels, self.feature_size)

    def _with_weights(self, content: Mapping[str, Any], device: str) -> torch.nn.Module:
        network = self._segmenter(tuple(content["shape"].tolist())).to(device)
        network.load_state_dict(content["weights"])
        return network.eval()

    def _regions(self, masks: np.ndarray) -> np.ndarray:
        """Return the regions of (N, ...) masks as (N, regions, ...) booleans."""
        if not self.regions:
            return np.asarray(masks > 0)[:, None]
        return np.stack([np.isin(masks, values) for values in self.regions.values()], axis=1)

    def _require_regions(self, name: str, images: ImageSet) -> None:
        """Refuse images of which none has foreground, or none has some region."""
        counts = np.zeros(256, dtype=np.int64)
        for mask in np.asarray(images.masks):
            counts += np.bincount(mask.ravel(), minlength=256)
        present = 1 + np.flatnonzero(counts[1:])
        if not len(present):
            raise NotComputable(f"needs {name} images with foreground, got {len(images)} empty masks")
        for region, values in self.regions.items():
            if not np.isin(values, present).any():
                raise NotComputable(
                    f"needs {name} images with region {region} (mask label {_listed(values)}), got none: "
                    f"their masks hold {_listed(present.tolist())}"
                )

    def _truth(self, name: str, images: ImageSet, size: tuple[int, ...], device: str) -> torch.Tensor:
        """Return the regions of the masks at this size, (N, regions, ...) float32, sampled at the nearest pixel."""
        import torch
        from torch.nn.functional import interpolate

        # One at a time: several regions of many volumes at full size would be larger than memory.
        pieces = (torch.tensor(self._regions(mask[None]), device=device).float() for mask in np.asarray(images.masks))
        truth = torch.cat([interpolate(part, size=size, mode="nearest-exact") for part in pieces])
        for k, region in enumerate(self.regions or ("foreground",)):
            if not truth[:, k].any():
                raise NotComputable(f"needs {name} images with {region}, got none that is left at {size} pixels: raise side")
        return truth

    def _trained(
        self, images: torch.Tensor, truth: torch.Tensor, looked_at: torch.Tensor, answers: torch.Tensor, context: Context
    ) -> torch.nn.Module:
        """Return the trained network. images, looked_at: normalised, to train on and to stop by; truth, answers: their regions."""
        import torch

        criterion = _competing() if self._outputs == 1 else _separate()
        network = self._segmenter(tuple(images.shape[1:])).to(context.device)
        channels = images.shape[1]

        def loss(rows: torch.Tensor) -> torch.Tensor:
            both = mirrored(torch.cat([images[rows], truth[rows]], dim=1), self.flip_axes, context.rng)
            return criterion(logits(network, both[:, :channels], self.network), both[:, channels:])

        def validation_loss() -> torch.Tensor:
            parts = [logits(network, part, self.network) for part in looked_at.split(self.batch_size)]
            return criterion(torch.cat(parts), answers)

        self.train(network, len(images), loss, validation_loss, context)
        return network

    def _predicted(self, network: torch.nn.Module, image: torch.Tensor, size_px: tuple[int, ...]) -> np.ndarray:
        """Return the regions that the network finds in one image, (regions, ...) booleans at full size."""
        from torch.nn.functional import interpolate

        answer = logits(network, image, self.network)
        chance = answer.softmax(dim=1)[:, 1:] if self._outputs == 1 else answer.sigmoid()
        if tuple(chance.shape[2:]) != size_px:
            chance = interpolate(chance, size=size_px, mode="bilinear" if len(size_px) == 2 else "trilinear", align_corners=False)
        return np.asarray((chance[0] > 0.5).cpu().numpy())


def _competing() -> Any:
    """Return the loss of two competing outputs: soft Dice of the foreground plus the cross-entropy."""
    from monai.losses import DiceCELoss  # type: ignore[attr-defined]

    return DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)


def _separate() -> Any:
    """Return the loss of one output per region: mean over regions of soft Dice plus binary cross-entropy."""
    from monai.losses import DiceLoss  # type: ignore[attr-defined]
    from torch.nn.functional import binary_cross_entropy_with_logits

    overlap = DiceLoss(sigmoid=True, batch=True)
    return lambda answer, truth: overlap(answer, truth) + binary_cross_entropy_with_logits(answer, truth)


def _columns(values: np.ma.MaskedArray, present: np.ndarray) -> np.ma.MaskedArray:
    """Return (N,) of one region, (N, 1 + regions) of several: the mean over those with a value, then each.

    A case has no mean where a region that is present in its truth has no value, as a distance where it was missed altogether: the
    mean over the regions that were found would be better for having missed one. present: (N, regions) bool.
    """
    if values.shape[1] == 1:
        return values[:, 0]
    whole = np.ma.masked_where((np.ma.getmaskarray(values) & present).any(axis=1), values.mean(axis=1))
    return np.ma.column_stack([whole, values])


def _listed(labels: Any) -> str:
    return ", ".join(map(str, labels))


@contextmanager
def _enough_memory(what: str, option: str) -> Iterator[None]:
    """Turn a lack of memory into a reason that names the option to lower."""
    import torch

    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # On the CPU torch has no error of its own for this.
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
        raise NotComputable(f"needs more memory than there is for {what}: lower {option}") from None


def _require_masks(name: str, images: ImageSet, shape: tuple[int, ...]) -> None:
    if images.masks is None or len(images) == 0:
        raise NotComputable(f"needs {name} images with masks, got none")
    if images.images.shape[1:] != shape:
        raise NotComputable(f"needs images of one size, got {shape} for training, {images.images.shape[1:]} for {name}")
