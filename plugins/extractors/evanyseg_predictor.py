"""Predicted Dice of a segmenter on images without ground truth: the segmenter, masks of every quality, and the network that judges them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field
from scipy import ndimage

from harness.api import Context, Extractor, ImageSet, InputError, NotComputable, Problem

from ..tasks.overlap import dice
from ..tasks.training import CHUNK, averaged_down, batches, deterministic, keep, kept, mirrored, shrunk, small_resnet, with_weights
from .batches import in_batches

if TYPE_CHECKING:
    import torch

_AGREEMENT = ("mae", "mae_low", "mae_high", "correlation", "correlation_low", "correlation_high", "slope", "slope_low", "slope_high")
FACTS = (*(f"{of}_{name}" for of in ("own", "all") for name in _AGREEMENT), "optimism", "images", "patients")
COLUMNS = ("predicted_dice", "foreground_share", *FACTS)
FEWEST_FOR_AN_INTERVAL = 10

_BATCH = {2: 32, 3: 8}
_SIDE = {2: 96, 3: 48}
_LEAST_UNITS = 12
_LEVELS = 10
_DRAWS, _VARIES = 1000, 1e-6


class EvanysegPredictor(Extractor):
    """Dice that a segmenter is predicted to reach on each image, without ground truth: what the metric `evanyseg` works on.

    The four steps of Deo et al. 2025, 2.2.1 (after EvanySeg, Senbi et al. 2024, arXiv:2409.14874). The patients of the real training
    images are dealt into three parts. (1) A MONAI U-Net learns on the first to find the foreground of the masks, all regions
    together. (2) The segmenter's masks of the second part and the true ones are eroded, dilated, given noisy boundaries, shifted,
    deformed, robbed of parts, given holes and false parts; of `candidates` such masks per image, the ten are kept whose true Dice is
    nearest to 0.05, 0.15 ... 0.95, and the segmenter's own mask, so that quality varies evenly within every image; images without
    foreground get five empty masks and five with false parts. (3) A MONAI ResNet with one block per stage learns to tell the true
    Dice from image and mask, by squared error. (4) The third part, which neither has seen, says how far predicted and true Dice are
    apart, for the segmenter's own masks and for masks of every quality. `extract` gives for each image the predicted Dice of the
    segmenter's own mask and the share of the image that it covers; the other columns repeat what step 4 found. Only `fit` needs masks.

    Images whose longest axis exceeds `side` pixels (96 in 2D and 48 in 3D where no number is given) are averaged down to it, masks
    are sampled at the nearest pixel, and Dice is meant at that size; it is 1 where mask and truth are both empty. Training images are
    mirrored at random along `flip_axes` (0 = first spatial axis, array order). Two thirds of the training images taught the networks:
    predicted Dice is higher on them than on new images by the column `optimism`. No image is altered while the networks learn, so
    predicted Dice of images of a kind that no training image resembles is an extrapolation.
    """

    name = "evanyseg_predictor"
    version = "1"
    needs = frozenset({"masks"})

    segmenter_steps: int = Field(300, ge=1, description="gradient steps of the segmenter")
    predictor_steps: int = Field(600, ge=1, description="gradient steps of the network that predicts Dice")
    batch_size: int = Field(16, ge=2, description="images, or pairs of image and mask, a step")
    segmenter_rate: float = Field(5e-3, gt=0.0, description="highest learning rate of the segmenter's one-cycle schedule")
    predictor_rate: float = Field(2e-3, gt=0.0, description="highest learning rate of the predictor's one-cycle schedule")
    weight_decay: float = Field(1e-2, ge=0.0, description="of AdamW")
    candidates: int = Field(40, ge=_LEVELS, description="spoiled masks made of each image, of which ten are kept")
    channels: tuple[int, int, int, int] = Field((8, 16, 32, 64), description="of each level of both networks, the finest first")
    side: int | None = Field(None, ge=8, description="longest axis that the networks see, px; 96 in 2D and 48 in 3D where not given")
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
        """Return for each image the numbers that `COLUMNS` names, (N, 23) float32; masks are not looked at."""
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
            return torch.stack([_dice_of(networks["predictor"], seen, masks), masks.flatten(1).mean(dim=1)], dim=1)

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
        rows, masks, quality = self._spoiled(truth, own, second, context)
        self._learn_to_judge(networks["predictor"], seen, rows, masks, quality, context)
        predicted = _judged(networks["predictor"], seen, np.arange(len(train)), own, self.batch_size)
        rows, masks, quality = self._spoiled(truth, own, third, context)
        pairs = _judged(networks["predictor"], seen, rows, masks, self.batch_size)
        true = np.array([dice(a, b) for a, b in zip(_booleans(own[third]), _booleans(truth[third]), strict=True)])
        units, taught = train.units, np.concatenate([first, second])
        facts = [*agreement(predicted[third], true, units[third], context.rng), *agreement(pairs, quality, units[rows], context.rng)]
        facts += [float(predicted[taught].mean() - predicted[third].mean()), float(len(third)), float(len(np.unique(units[third])))]
        keep(networks, context, {"mean": mean, "scale": scale, "shape": torch.tensor(train.images.shape[1:]), "facts": torch.tensor(facts)})

    def _side(self, images: ImageSet) -> int:
        return _SIDE[len(images.size_px)] if self.side is None else self.side

    def _networks(self, shape: tuple[int, ...]) -> torch.nn.ModuleDict:
        """Return both networks, untrained, for images of this shape, (C, H, W) or (C, D, H, W)."""
        import torch
        from monai.networks.nets import UNet  # type: ignore[attr-defined]

        channels, *size = shape
        halvings = (2,) * (len(self.channels) - 1)
        segmenter = UNet(len(size), channels, 2, channels=self.channels, strides=halvings, num_res_units=2)
        return torch.nn.ModuleDict({"segmenter": segmenter, "predictor": small_resnet((channels + 1, *size), 1, self.channels)})

    def _learn_to_segment(self, network: torch.nn.Module, images: torch.Tensor, truth: torch.Tensor, context: Context) -> None:
        """Train the segmenter with the Dice loss of the foreground over the batch plus cross-entropy."""
        import torch
        from monai.losses import DiceCELoss  # type: ignore[attr-defined]

        criterion, channels = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True), images.shape[1]

        def loss(rows: torch.Tensor) -> torch.Tensor:
            both = mirrored(torch.cat([images[rows], truth[rows]], dim=1), self.flip_axes, context.rng)
            return criterion(_logits(network, both[:, :channels]), both[:, channels:])

        self._train(network, len(images), loss, self.segmenter_steps, self.segmenter_rate, context)

    def _learn_to_judge(
        self, network: torch.nn.Module, images: torch.Tensor, rows: np.ndarray, masks: torch.Tensor, quality: np.ndarray, context: Context
    ) -> None:
        """Train the predictor: squared error of the Dice of each mask (M, 1, ...) of the images of these rows (M,)."""
        import torch

        target, channels = torch.as_tensor(quality, dtype=torch.float32, device=images.device), images.shape[1]

        def loss(pairs: torch.Tensor) -> torch.Tensor:
            both = mirrored(torch.cat([images[rows[pairs]], masks[pairs]], dim=1), self.flip_axes, context.rng)
            return ((_dice_of(network, both[:, :channels], both[:, channels:]) - target[pairs]) ** 2).mean()

        self._train(network, len(rows), loss, self.predictor_steps, self.predictor_rate, context)

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
        self, truth: torch.Tensor, own: torch.Tensor, rows: np.ndarray, context: Context
    ) -> tuple[np.ndarray, torch.Tensor, np.ndarray]:
        """Return for the images of these rows the row, the mask (1, ...) and the true Dice of each of their eleven masks."""
        import torch

        masks, quality = [], []
        for true, found in zip(_booleans(truth[rows]), _booleans(own[rows]), strict=True):
            chosen = graded(true, found, self.candidates, context.rng)
            masks += [found, *chosen]
            quality += [dice(mask, true) for mask in (found, *chosen)]
        stacked = torch.from_numpy(np.stack(masks)[:, None]).to(truth.device, torch.float32)
        return np.repeat(rows, _LEVELS + 1), stacked, np.array(quality)


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


def graded(truth: np.ndarray, own: np.ndarray, candidates: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return ten of so many spoiled masks, those whose Dice with `truth` is nearest to 0.05, 0.15 ... 0.95; all are booleans.

    Where there is nothing to find Dice is 1 or 0: five empty masks and five with false parts.
    """
    if not truth.any():
        wrong = [_with_balls(truth, 0.1 * max(truth.shape), rng, value=True) for _ in range(_LEVELS // 2)]
        return [truth] * (_LEVELS - len(wrong)) + wrong
    bases = [(mask, signed_depth(mask)) for mask in (truth, own)]
    made = [np.zeros_like(truth), *(_spoil(*bases[k % 2], rng) for k in range(candidates - 1))]
    distance = np.array([dice(mask, truth) for mask in made])
    chosen, free = [], np.ones(len(made), bool)
    for level in (np.arange(_LEVELS) + 0.5) / _LEVELS:
        k = int(np.where(free, np.abs(distance - level), np.inf).argmin())
        free[k] = False
        chosen.append(made[k])
    return chosen


def signed_depth(mask: np.ndarray) -> np.ndarray:
    """Return the distance of every pixel to the edge of a mask, px, positive inside; minus infinity where the mask is empty."""
    if not mask.any():
        return np.full(mask.shape, -np.inf)
    inside = ndimage.distance_transform_edt(np.pad(mask, 1))[(slice(1, -1),) * mask.ndim]
    return np.asarray(inside - ndimage.distance_transform_edt(~mask))


def _spoil(mask: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a mask with one defect drawn at random, and half of the time holes or false parts besides."""
    if not mask.any():
        return _with_balls(mask, 0.1 * max(mask.shape), rng, value=True)
    spoiled = _DEFECTS[int(rng.integers(len(_DEFECTS)))](mask, depth, rng)
    return _with_balls(spoiled, float(depth.max()), rng, value=bool(rng.random() < 0.5)) if rng.random() < 0.5 else spoiled


def _eroded(mask: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(depth > rng.uniform(0.0, 1.0) * depth.max())


def _dilated(mask: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(depth > -rng.uniform(0.0, 2.0) * depth.max())


def _with_noisy_boundary(mask: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = _smooth(mask.shape, rng.uniform(0.01, 0.08) * max(mask.shape), rng)
    return np.asarray(depth + rng.uniform(0.0, 2.0) * depth.max() * noise > 0.0)


def _shifted(mask: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    direction = rng.standard_normal(mask.ndim)
    shift = rng.uniform(0.0, 2.5) * depth.max() * direction / np.linalg.norm(direction)
    return np.asarray(ndimage.shift(mask.astype(np.uint8), np.rint(shift), order=0) > 0)


def _deformed(mask: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    amplitude, smoothness = rng.uniform(0.0, 2.0) * depth.max(), 0.1 * max(mask.shape)
    at = [grid + amplitude * _smooth(mask.shape, smoothness, rng) for grid in np.indices(mask.shape)]
    return np.asarray(ndimage.map_coordinates(mask.astype(np.uint8), at, order=0) > 0)


def _without_parts(mask: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the mask without some of its components; of a single one, what lies beyond a plane goes."""
    components, n = ndimage.label(mask)
    if n > 1:
        lost = rng.permutation(n)[: rng.integers(1, n)] + 1
        return mask & ~np.isin(components, lost)
    at = np.tensordot(rng.standard_normal(mask.ndim), np.indices(mask.shape), axes=1)
    return np.asarray(mask & (at <= np.quantile(at[mask], rng.uniform(0.0, 1.0))))


def _with_holes(mask: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _with_balls(mask, float(depth.max()), rng, value=False)


_DEFECTS = (_eroded, _dilated, _with_noisy_boundary, _shifted, _deformed, _without_parts, _with_holes)


def _with_balls(mask: np.ndarray, radius: float, rng: np.random.Generator, *, value: bool) -> np.ndarray:
    """Return the mask with up to four balls of up to `radius` px set: holes within it, or false parts anywhere."""
    found = mask.copy()
    places = np.argwhere(mask) if not value and mask.any() else np.argwhere(np.ones(mask.shape, bool))
    grid = np.indices(mask.shape)
    for centre in places[rng.integers(len(places), size=rng.integers(1, 5))]:
        away = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))
        found[away <= (rng.uniform(0.2, 1.0) * radius) ** 2] = value
    return found


def _smooth(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Return smooth noise with a standard deviation of 1."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return np.asarray(noise / max(float(noise.std()), 1e-12))


def agreement(predicted: np.ndarray, true: np.ndarray, units: np.ndarray, rng: np.random.Generator) -> tuple[float, ...]:
    """Return mean absolute error, Pearson correlation and calibration slope of predicted Dice (N,), each with the ends of its interval.

    The slope is that of the regression of true on predicted Dice: 1 where differences between predictions are those of the truth. The
    95 % intervals are percentiles of 1000 bootstrap draws of patients; with fewer than ten patients both ends repeat the value.
    """
    for name, values in (("predicted", predicted), ("true", true)):
        if values.std() <= _VARIES:
            raise NotComputable(f"the {name} Dice of all {len(values)} held-out masks is {values[0]:.3f}: more steps may help")
    x, y = predicted - predicted.mean(), true - true.mean()
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y, np.abs(predicted - true)], axis=1)
    members = np.unique(units, return_inverse=True)[1]
    sums = np.zeros((members.max() + 1, terms.shape[1]))
    np.add.at(sums, members, terms)
    values, n = _statistics(sums.sum(axis=0)[None])[0], len(sums)
    if n < FEWEST_FOR_AN_INTERVAL:
        return tuple(float(v) for v in np.repeat(values, 3))
    drawn = _statistics(rng.multinomial(n, np.full(n, 1.0 / n), size=_DRAWS) @ sums)
    # A draw in which one side does not vary has no correlation.
    low, high = np.percentile(drawn[np.isfinite(drawn).all(axis=1)], (2.5, 97.5), axis=0)
    return tuple(float(v) for v in np.stack([values, low, high], axis=1).ravel())


def _statistics(sums: np.ndarray) -> np.ndarray:
    """Return error, correlation and slope, (D, 3), of sums over masks (D, 7); not finite where one side does not vary."""
    n, x, y, xx, yy, xy, error = sums.T
    across, along, beside = xy / n - x * y / n**2, xx / n - (x / n) ** 2, yy / n - (y / n) ** 2
    varies = np.minimum(along, beside) > _VARIES**2
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.where(varies, np.clip(across / np.sqrt(along * beside), -1.0, 1.0), np.nan)
        return np.stack([error / n, correlation, np.where(varies, across / along, np.nan)], axis=1)


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


def _dice_of(network: torch.nn.Module, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return the predicted Dice of pairs of image and mask, (N,)."""
    import torch

    return network(_padded(torch.cat([images, masks], dim=1)))[:, 0].sigmoid()


def _judged(network: torch.nn.Module, images: torch.Tensor, rows: np.ndarray, masks: torch.Tensor, batch: int) -> np.ndarray:
    """Return the predicted Dice of each mask (M, 1, ...) of the images of these rows, (M,) float64, without gradients."""
    import torch

    with torch.no_grad():
        found = [_dice_of(network, images[rows[k : k + batch]], masks[k : k + batch]) for k in range(0, len(rows), batch)]
        return torch.cat(found).cpu().numpy().astype(np.float64)


def _booleans(masks: torch.Tensor) -> np.ndarray:
    return np.asarray(masks[:, 0].cpu().numpy() > 0.5)
