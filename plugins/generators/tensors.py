"""From image sets to tensors and back: batches, mirroring and turning, masks as channels, labels, noise by image, fitted networks kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.api import Context, ImageSet, InputError, NotComputable, Problem, Request

from ..tasks.training import mirrored

if TYPE_CHECKING:
    import torch

_FILE = "generator.pt"


@dataclass(frozen=True)
class Facts:
    """What a fitted network belongs to. shape: of one image, (C, H, W) or (C, D, H, W); labels, regions (above 0): those of training."""

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    labels: tuple[int, ...] = ()
    regions: tuple[int, ...] = ()

    @classmethod
    def of(cls, train: ImageSet) -> Facts:
        """Return the facts of training images, at least two of them."""
        if len(train) < 2:
            raise NotComputable(f"needs at least 2 training images, got {len(train)}")
        labels = () if train.labels is None else tuple(int(label) for label in np.unique(train.labels))
        found = set() if train.masks is None else {int(value) for mask in train.masks for value in np.unique(mask)}
        shape = tuple(int(side) for side in train.images.shape[1:])
        return cls(shape, tuple(float(s) for s in train.spacing_mm), labels, tuple(sorted(found - {0})))


@dataclass(frozen=True)
class Kept:
    """What `keep` left: facts, weights of networks by name, on the context's device, and numbers by name."""

    facts: Facts
    weights: dict[str, dict[str, torch.Tensor]]
    numbers: dict[str, float]


def keep(
    context: Context, facts: Facts, weights: Mapping[str, Mapping[str, torch.Tensor]], numbers: Mapping[str, float] | None = None
) -> None:
    """Leave facts, the weights of networks (`state_dict` or `Ema.weights`) and numbers in the work folder; `kept` reads them."""
    import torch

    on_cpu = {name: {key: tensor.detach().cpu() for key, tensor in state.items()} for name, state in weights.items()}
    torch.save({"facts": asdict(facts), "weights": on_cpu, "numbers": dict(numbers or {})}, context.workdir / _FILE)


def kept(context: Context, name: str) -> Kept:
    """Return what `keep` left; `InputError` where the generator of this name was not fitted."""
    import torch

    if context.fitted is None:
        raise InputError(Problem(f"{name} has not been fitted", fix="call fit on the training images first"))
    content = torch.load(context.fitted / _FILE, map_location=context.device, weights_only=True)
    return Kept(Facts(**content["facts"]), content["weights"], content["numbers"])


def require_classes(train: ImageSet, why: str) -> None:
    """Raise `NotComputable` unless every training image has a label and every label at least two images. why: a phrase."""
    if train.labels is None:
        raise NotComputable(f"needs labels {why}, got training images without")
    for label, count in zip(*np.unique(train.labels, return_counts=True), strict=True):
        if count < 2:
            raise NotComputable(f"needs at least 2 training images of every class {why}, got {count} of label {label}")


def require_regions(train: ImageSet, why: str) -> None:
    """Raise `NotComputable` unless there are masks and at least one shows something. why: a phrase."""
    if train.masks is None:
        raise NotComputable(f"needs masks {why}, got training images without")
    if not any(mask.any() for mask in train.masks):
        raise NotComputable(f"needs masks {why}, got {len(train)} that are empty")


def batch_rows(n: int, batch_size: int, step: int, seed: Sequence[int]) -> np.ndarray:
    """Return the rows of the batch of a step, (batch_size,) int64: every image comes once before any comes again."""
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    rounds = {int(k): np.random.default_rng([*seed, int(k)]).permutation(n) for k in np.unique(places // n)}
    return np.array([rounds[place // n][place % n] for place in places.tolist()], dtype=np.int64)


def signed(images: np.ndarray, device: str) -> torch.Tensor:
    """Return images from [0, 1] on the device in [-1, 1]."""
    import torch

    return torch.tensor(images, device=device) * 2.0 - 1.0


def unsigned(images: torch.Tensor) -> np.ndarray:
    """Return images from [-1, 1] as float32 arrays in [0, 1]; what lies outside is clipped."""
    found: np.ndarray = ((images.float() + 1.0) / 2.0).clamp(0.0, 1.0).cpu().numpy()
    return found


def mask_channels(masks: np.ndarray, regions: tuple[int, ...], device: str) -> torch.Tensor:
    """Return (N, ...) masks as (N, K, ...) channels in the order of the regions: 1 inside, -1 outside; other values are background."""
    return signed(np.stack([masks == region for region in regions], axis=1).astype(np.float32), device)


def pictures_of(images: ImageSet, rows: np.ndarray, facts: Facts, device: str) -> torch.Tensor:
    """Return images and masks of these rows as channels, (N, C + K, ...) in [-1, 1]."""
    import torch

    parts = [signed(images.images[rows], device)]
    if facts.regions:
        assert images.masks is not None
        parts.append(mask_channels(images.masks[rows], facts.regions, device))
    return torch.cat(parts, dim=1)


def masks_of(channels: torch.Tensor, regions: tuple[int, ...], threshold: float) -> np.ndarray:
    """Return (N, K, ...) channels from [-1, 1] as (N, ...) uint8 masks: the strongest region where it is above the threshold in [0, 1]."""
    strength, strongest = ((channels.float() + 1.0) / 2.0).max(dim=1)
    values = np.asarray(regions, dtype=np.uint8)[strongest.cpu().numpy()]
    found: np.ndarray = np.where((strength > threshold).cpu().numpy(), values, np.uint8(0))
    return found


def turned(
    batch: torch.Tensor, flip_axes: tuple[int, ...], rotations: tuple[Literal[90, 180, 270], ...], rng: np.random.Generator
) -> torch.Tensor:
    """Return (N, channels, ...) mirrored and turned at random, all channels of an image alike, as Alblwi et al. 2025 (3.2) do.

    The paper: flip_axes (0, 1), rotations (90, 180, 270). `InputError` where images to be turned by 90 degrees are not square.
    """
    import torch

    batch = mirrored(batch, flip_axes, rng)
    if not rotations:
        return batch
    if batch.shape[-1] != batch.shape[-2] and set(rotations) != {180}:
        fix = "use rotations: [180], or make the images square"
        size = f"{batch.shape[-2]} x {batch.shape[-1]} pixels"
        raise InputError(Problem(f"images of {size} cannot be turned by 90 degrees", "rotations", fix))
    chosen = rng.choice(np.array([0, *rotations]), size=len(batch))
    return torch.stack([image.rot90(int(angle) // 90, (-2, -1)) for image, angle in zip(batch, chosen, strict=True)])


def padded(batch: torch.Tensor, multiple: int) -> torch.Tensor:
    """Return the batch with its far edges repeated up to sides that are multiples; cut back with `cropped`."""
    from torch.nn.functional import pad

    missing = [-size % multiple for size in batch.shape[2:]]
    return pad(batch, [n for extra in reversed(missing) for n in (0, extra)], mode="replicate") if any(missing) else batch


def cropped(batch: torch.Tensor, sides: Sequence[int]) -> torch.Tensor:
    """Return the near corner of the batch with these sides."""
    return batch[(..., *(slice(side) for side in sides))]


def chunks(n: int, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield rows, always `size` of them (the last row is repeated at the end), and how many are new: so no image depends on n."""
    for start in range(0, n, size):
        yield np.minimum(np.arange(start, start + size), n - 1), min(size, n - start)


def noise_sources(rows: np.ndarray, request: Request, context: Context) -> list[torch.Generator]:
    """Return torch's random generator of each of these images, decided by the seed, the purpose and the image's row alone."""
    import torch

    words = [context.seed, int(request.purpose == "test")]
    seeds = [int(np.random.SeedSequence([*words, int(row)]).generate_state(1, np.uint64)[0] >> np.uint64(1)) for row in rows]
    return [torch.Generator(context.device).manual_seed(seed) for seed in seeds]


def normal(shape: tuple[int, ...], sources: Sequence[torch.Generator]) -> torch.Tensor:
    """Return standard normal numbers, (N, *shape), each row from its own source."""
    import torch

    return torch.stack([torch.randn(shape, generator=source, device=source.device) for source in sources])


def label_rows(labels: np.ndarray | None, facts: Facts, n: int) -> np.ndarray:
    """Return where each requested label stands among those of training, (n,) int64; `NotComputable` where one is missing or unknown."""
    if labels is None or not facts.labels:
        raise NotComputable(f"needs {'a label for every image' if labels is None else 'training images with labels'}, got none")
    unknown = sorted(set(np.unique(labels).tolist()) - set(facts.labels))
    if unknown:
        raise NotComputable(f"needs labels that the training images have, {list(facts.labels)}, got {unknown}")
    assert len(labels) == n
    return np.searchsorted(np.array(facts.labels), labels).astype(np.int64)


def require_masks(request: Request, facts: Facts) -> np.ndarray:
    """Return the requested masks; `NotComputable` where they are missing, of another size, or have regions that training had not."""
    if request.masks is None:
        raise NotComputable("needs a mask for every image, got none")
    if request.masks.shape[1:] != facts.shape[1:]:
        raise NotComputable(f"needs masks of {facts.shape[1:]} pixels as in training, got {request.masks.shape[1:]}")
    unknown = sorted(set(np.unique(request.masks).tolist()) - {0, *facts.regions})
    if unknown:
        raise NotComputable(f"needs masks with the regions of training, {list(facts.regions)}, got {unknown}")
    return request.masks


def synthetic(
    request: Request, name: str, facts: Facts, images: np.ndarray, masks: np.ndarray | None, labels: np.ndarray | None
) -> ImageSet:
    """Return the images as a set, with the spacing asked for, or else that of training."""
    return ImageSet(
        images=images,
        ids=tuple(f"{name}{'-test' if request.purpose == 'test' else ''}-{row:05d}" for row in range(len(images))),
        spacing_mm=tuple(request.spacing_mm) or facts.spacing_mm,
        masks=masks,
        labels=None if labels is None else np.asarray(labels, dtype=np.int64),
        sources=None if request.sources is None else request.sources.ids,
        origin="synthetic",
    )
