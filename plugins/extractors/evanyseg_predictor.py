"""Predicted Dice of a segmenter on images without ground truth: the segmenter, masks of every quality, and the network that judges them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from harness.api import Context, Extractor, ImageSet, InputError, NotComputable, Problem

from ..tasks.overlap import dice
from ..tasks.training import CHUNK, averaged_down, batches, deterministic, keep, kept, mirrored, shrunk, small_resnet, with_weights
from .batches import in_batches
from .dice_agreement import AGREEMENT, agreement, skill, strangers
from .mask_crops import crops
from .spoiled_masks import LEVELS, graded

if TYPE_CHECKING:
    import torch

_OF_THE_IMAGE = ("image_skill", "image_skill_low", "image_skill_high", "swapped_mae")
FACTS = (*(f"{of}_{name}" for of in ("own", "all") for name in AGREEMENT), *_OF_THE_IMAGE, "optimism", "images", "patients")
COLUMNS = ("predicted_dice", "foreground_share", *FACTS)

_BATCH = {2: 32, 3: 8}
_SIDE = {2: 96, 3: 48}
_CROP = {2: 64, 3: 32}
_LEAST_UNITS = 12


class EvanysegPredictor(Extractor):
    """Dice that a segmenter is predicted to reach on each image, without ground truth: what the metric `evanyseg` works on.

    The four steps of Deo et al. 2025, 2.2.1 (after EvanySeg, Senbi et al. 2024, arXiv:2409.14874). The patients of the real training
    images are dealt into three parts. (1) A MONAI U-Net learns on the first to find the foreground of the masks, all regions
    together. (2) True masks of the first two parts, and the segmenter's masks of the second, are eroded, dilated, given noisy
    boundaries, shifted, deformed, robbed of parts, given holes and false parts; of `candidates` such masks per image, the ten are
    kept whose true Dice is nearest to 0.05, 0.15 ... 0.95, and one that is not spoiled, so that quality varies evenly within every
    image; images without foreground get five empty masks and five with false parts. This is done `rounds` times. (3) A MONAI ResNet
    with one block per stage learns to tell the true Dice from image and mask, cut out round the mask, by squared error. (4) The third
    part, which neither has seen, says how far predicted and true Dice are apart, for the segmenter's own masks and for masks of every
    quality, and for the latter also beside the best constant and with the image of another patient. `extract` gives for each image
    the predicted Dice of the segmenter's own mask and the share of the image that it covers; the other columns repeat what step 4
    found. Only `fit` needs masks.

    Images whose longest axis exceeds `side` pixels (96 in 2D and 48 in 3D where no number is given) are averaged down to it, masks
    are sampled at the nearest pixel, and Dice is meant at that size; it is 1 where mask and truth are both empty. What the ResNet
    sees is twice as wide as the box round the mask, the whole image where the mask is empty, brought to 64 pixels in 2D and 32 in 3D
    (to the longest axis of smaller images); what was missed elsewhere is out of its sight. While it learns, crops are moved and their
    grey levels altered at random (`moved`, `grey`). Training images are mirrored at random along `flip_axes` (0 = first spatial axis,
    array order). Two thirds of the training images taught the networks: predicted Dice is higher on them than on new images by the
    column `optimism`. Predicted Dice of images of a kind that no training image resembles is an extrapolation.
    """

    name = "evanyseg_predictor"
    version = "1"
    needs = frozenset({"masks"})

    segmenter_steps: int = Field(300, ge=1, description="gradient steps of the segmenter")
    predictor_steps: int = Field(1200, ge=1, description="gradient steps of the network that predicts Dice")
    batch_size: int = Field(16, ge=2, description="images, or pairs of image and mask, a step")
    segmenter_rate: float = Field(5e-3, gt=0.0, description="highest learning rate of the segmenter's one-cycle schedule")
    predictor_rate: float = Field(2e-3, gt=0.0, description="highest learning rate of the predictor's one-cycle schedule")
    weight_decay: float = Field(1e-2, ge=0.0, description="of AdamW")
    candidates: int = Field(40, ge=LEVELS, description="spoiled masks made of each image, of which ten are kept")
    channels: tuple[int, int, int, int] = Field((8, 16, 32, 64), description="of each level of both networks, the finest first")
    side: int | None = Field(None, ge=8, description="longest axis of the images, px; 96 in 2D and 48 in 3D where not given")
    rounds: int = Field(3, ge=1, description="how often ten masks of every quality are made of each image that teaches the predictor")
    moved: float = Field(0.2, ge=0.0, lt=0.5, description="how far the predictor's crops are moved at random, 1 = half a crop; 0 = not")
    grey: float = Field(0.3, ge=0.0, description="how far the grey levels of its crops are altered at random, in SD of the images; 0 = not")
    flip_axes: tuple[int, ...] = Field((), description="axes along which training images are mirrored at random; 0 = first spatial axis")

    def gives(self) -> Literal["quality"]:
        """Return `quality`: columns that only `evanyseg` can read."""
        return "quality"

    def fit(self, train: ImageSet, context: Context) -> None:
        """Train both networks, measure the predictor on patients that neither has seen, and leave everything in the work folder."""
        import torch

        parts = thirds(train, context.rng)
        try:
            with deterministic(context):
                self._fit(train, parts, context)
        except torch.OutOfMemoryError:
            raise NotComputable(f"the device has too little memory for batch_size {self.batch_size}: lower it, or side") from None

    def extract(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return for each image the numbers that `COLUMNS` names, (N, 35) float32; masks are not looked at."""
        import torch

        content = kept(context, self.name)
        shape = tuple(content["shape"].tolist())
        if images.images.shape[1:] != shape:
            found = images.images.shape[1:]
            raise InputError(Problem(f"images of shape {found} after training on {shape}", fix="bring both to one size and channels"))
        networks = with_weights(lambda: self._networks(shape), content["weights"])

        def judged(x: torch.Tensor) -> torch.Tensor:
            seen = (averaged_down(x, self._side(images)) - content["mean"]) / content["scale"]
            masks = _segmented(networks["segmenter"], seen)
            return torch.stack([_dice_of(networks["predictor"], self._crops(seen, masks)), masks.flatten(1).mean(dim=1)], dim=1)

        with deterministic(context):
            each = in_batches(images, _BATCH[len(images.size_px)], 2, context, judged)
        facts = content["facts"].cpu().numpy().astype(np.float32)
        return np.concatenate([each, np.broadcast_to(facts, (len(images), len(facts)))], axis=1)

    def _fit(self, train: ImageSet, parts: tuple[np.ndarray, np.ndarray, np.ndarray], context: Context) -> None:
        """Carry out the four steps. parts: rows of the segmenter, of the predictor, and those held out."""
        import torch

        images = shrunk(train, self._side(train), context.device)
        truth = _foreground(train, tuple(images.shape[2:]), context.device)
        first, second, third = parts
        mean, scale = images[first].mean(), images[first].std().clamp_min(1e-6)
        seen = (images - mean) / scale
        networks = self._networks(train.images.shape[1:]).to(context.device)
        self._learn_to_segment(networks["segmenter"], seen[first], truth[first], context)
        own = torch.cat([_segmented(networks["segmenter"], part) for part in seen.split(self.batch_size)])
        self._learn_to_judge(networks["predictor"], seen, self._lessons(truth, own, first, second, context), context)
        predicted = self._judged(networks["predictor"], seen, np.arange(len(train)), own)
        true = np.array([dice(a, b) for a, b in zip(_booleans(own[third]), _booleans(truth[third]), strict=True)])
        units, taught = train.units, np.concatenate([first, second])
        facts = [*agreement(predicted[third], true, units[third], context.rng).values()]
        facts += self._of_every_quality(networks["predictor"], seen, self._spoiled(truth, own, third, 1, context), units, context)
        facts += [float(predicted[taught].mean() - predicted[third].mean()), float(len(third)), float(len(np.unique(units[third])))]
        keep(networks, context, {"mean": mean, "scale": scale, "shape": torch.tensor(train.images.shape[1:]), "facts": torch.tensor(facts)})

    def _of_every_quality(
        self,
        network: torch.nn.Module,
        images: torch.Tensor,
        held_out: tuple[np.ndarray, torch.Tensor, np.ndarray],
        units: np.ndarray,
        context: Context,
    ) -> list[float]:
        """Return how predicted and true Dice of these masks go together, and how much better than on the image of a stranger."""
        rows, masks, quality = held_out
        found = self._judged(network, images, rows, masks)
        other = np.zeros(len(images), dtype=np.int64)
        shown = np.unique(rows)
        other[shown] = strangers(shown, units, context.rng)
        errors, swapped = (np.abs(values - quality) for values in (found, self._judged(network, images, other[rows], masks)))
        facts = agreement(found, quality, units[rows], context.rng).values()
        return [*facts, *skill(errors, swapped, units[rows]), float(swapped.mean())]

    def _side(self, images: ImageSet) -> int:
        return _SIDE[len(images.size_px)] if self.side is None else self.side

    def _networks(self, shape: tuple[int, ...]) -> torch.nn.ModuleDict:
        """Return both networks, untrained, for images of this shape, (C, H, W) or (C, D, H, W)."""
        import torch
        from monai.networks.nets import UNet  # type: ignore[attr-defined]

        channels, *size = shape
        halvings = (2,) * (len(self.channels) - 1)
        segmenter = UNet(len(size), channels, 2, channels=self.channels, strides=halvings, num_res_units=2)
        crop = (channels + 1, *[self._crop(tuple(size))] * len(size))
        return torch.nn.ModuleDict({"segmenter": segmenter, "predictor": small_resnet(crop, 1, self.channels)})

    def _learn_to_segment(self, network: torch.nn.Module, images: torch.Tensor, truth: torch.Tensor, context: Context) -> None:
        """Train the segmenter with the Dice loss of the foreground over the batch plus cross-entropy."""
        import torch
        from monai.losses import DiceCELoss  # type: ignore[attr-defined]

        criterion, channels = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True), images.shape[1]

        def loss(rows: torch.Tensor) -> torch.Tensor:
            both = mirrored(torch.cat([images[rows], truth[rows]], dim=1), self.flip_axes, context.rng)
            return criterion(_logits(network, both[:, :channels]), both[:, channels:])

        self._train(network, len(images), loss, self.segmenter_steps, self.segmenter_rate, context)

    def _crop(self, size: tuple[int, ...]) -> int:
        """Return the side of the crops that the predictor sees of images of this size, px."""
        side = _SIDE[len(size)] if self.side is None else self.side
        return min(_CROP[len(size)], side, max(size))

    def _crops(self, images: torch.Tensor, masks: torch.Tensor, rng: np.random.Generator | None = None) -> torch.Tensor:
        """Return what the predictor sees of images (N, C, ...) with masks (N, 1, ...), bool or float32. rng: while it learns."""
        return crops(images, masks.float(), self._crop(tuple(images.shape[2:])), rng, self.moved, self.grey)

    def _lessons(
        self, truth: torch.Tensor, own: torch.Tensor, first: np.ndarray, second: np.ndarray, context: Context
    ) -> tuple[np.ndarray, torch.Tensor, np.ndarray]:
        """Return the rows, masks and true Dice that teach the predictor; where the segmenter learned, its masks are too good to count."""
        import torch

        parts = [self._spoiled(truth, masks, rows, self.rounds, context) for masks, rows in ((truth, first), (own, second))]
        rows, masks, quality = zip(*parts, strict=True)
        return np.concatenate(rows), torch.cat(masks), np.concatenate(quality)

    def _learn_to_judge(
        self, network: torch.nn.Module, images: torch.Tensor, lessons: tuple[np.ndarray, torch.Tensor, np.ndarray], context: Context
    ) -> None:
        """Train the predictor: squared error of the Dice of each mask (M, 1, ...) of the images of these rows (M,)."""
        import torch

        rows, masks, quality = lessons
        target = torch.as_tensor(quality, dtype=torch.float32, device=images.device)

        def loss(pairs: torch.Tensor) -> torch.Tensor:
            seen = mirrored(self._crops(images[rows[pairs]], masks[pairs], context.rng), self.flip_axes, context.rng)
            return ((_dice_of(network, seen) - target[pairs]) ** 2).mean()

        self._train(network, len(rows), loss, self.predictor_steps, self.predictor_rate, context)

    def _judged(self, network: torch.nn.Module, images: torch.Tensor, rows: np.ndarray, masks: torch.Tensor) -> np.ndarray:
        """Return the predicted Dice of each mask (M, 1, ...) of the images of these rows, (M,) float64, without gradients."""
        import torch

        with torch.no_grad():
            steps = range(0, len(rows), self.batch_size)
            batches = ((images[rows[k : k + self.batch_size]], masks[k : k + self.batch_size]) for k in steps)
            found = [_dice_of(network, self._crops(*batch)) for batch in batches]
            return torch.cat(found).cpu().numpy().astype(np.float64)

    def _train(
        self, network: torch.nn.Module, n: int, loss: Callable[[torch.Tensor], torch.Tensor], steps: int, rate: float, context: Context
    ) -> None:
        """Train for a number of steps and keep the last weights: no images are left to choose by."""
        import torch

        optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
        network.train()
        for step, rows in enumerate(batches(n, self.batch_size, steps, context.rng), start=1):
            optimiser.zero_grad()
            found = loss(rows)
            if not math.isfinite(float(found.detach())):
                raise NotComputable(f"the training loss is no longer finite after {step} steps: lower segmenter_rate or predictor_rate")
            found.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            context.progress(step, steps)
        network.eval()

    def _spoiled(
        self, truth: torch.Tensor, own: torch.Tensor, rows: np.ndarray, rounds: int, context: Context
    ) -> tuple[np.ndarray, torch.Tensor, np.ndarray]:
        """Return for the images of these rows, so many times, the row, the mask (1, ...) and the true Dice of each of eleven masks."""
        import torch

        masks, quality = [], []
        rows = np.tile(rows, rounds)
        for true, found in zip(_booleans(truth[rows]), _booleans(own[rows]), strict=True):
            chosen = graded(true, found, self.candidates, context.rng)
            masks += [found, *chosen]
            quality += [dice(mask, true) for mask in (found, *chosen)]
        stacked = torch.from_numpy(np.stack(masks)[:, None]).to(truth.device)
        return np.repeat(rows, LEVELS + 1), stacked, np.array(quality)


def thirds(train: ImageSet, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of three parts that share no patient, each with a third of the patients with and of those without foreground."""
    if train.masks is None or len(train) == 0:
        raise NotComputable("needs training images with masks, got none")
    shown = np.array([bool(mask.any()) for mask in train.masks])
    if not shown.any():
        raise NotComputable(f"needs training images with foreground, got {len(train)} empty masks")
    having = np.unique(train.units[shown])
    if len(having) < _LEAST_UNITS:
        what = "images" if train.patients is None else "patients"
        raise NotComputable(f"needs {_LEAST_UNITS} {what} with foreground for three parts, got {len(having)}")
    part = np.empty(train.units.max() + 1, dtype=np.int64)
    for group in (having, np.setdiff1d(train.units, having)):
        part[rng.permutation(group)] = np.arange(len(group)) % 3
    first, second, third = (np.flatnonzero(part[train.units] == k) for k in range(3))
    return first, second, third


def _foreground(images: ImageSet, size: tuple[int, ...], device: str) -> torch.Tensor:
    """Return the foreground of the masks at this size, (N, 1, ...) float32, sampled at the nearest pixel."""
    import torch
    from torch.nn.functional import interpolate

    assert images.masks is not None
    pieces = (torch.tensor(images.masks[i : i + CHUNK] > 0, device=device).float()[:, None] for i in range(0, len(images), CHUNK))
    return torch.cat([interpolate(part, size=size, mode="nearest-exact") for part in pieces])


def _padded(images: torch.Tensor) -> torch.Tensor:
    """Return the images with their far edges repeated up to sizes that three halvings divide."""
    from torch.nn.functional import pad

    missing = [max(16, -(-size // 8) * 8) - size for size in images.shape[2:]]
    return pad(images, [n for extra in reversed(missing) for n in (0, extra)], mode="replicate")


def _logits(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    return network(_padded(images))[(..., *(slice(size) for size in images.shape[2:]))]


def _segmented(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return the foreground that the segmenter finds, (N, 1, ...) float32 of 0 and 1."""
    import torch

    with torch.no_grad():
        return (_logits(network, images).softmax(dim=1)[:, 1:] > 0.5).float()


def _dice_of(network: torch.nn.Module, crops: torch.Tensor) -> torch.Tensor:
    """Return the predicted Dice of the masks of these crops, (N,)."""
    return network(_padded(crops))[:, 0].sigmoid()


def _booleans(masks: torch.Tensor) -> np.ndarray:
    return np.asarray(masks[:, 0].cpu().numpy() > 0.5)
