"""The arrays that travel: image sets, the comparison that a metric sees, the request that a generator answers.

NumPy at the seams, torch inside the plugins. Everything is checked once, on construction.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from .errors import InputError, NotComputable, Problem
from .neighbours import MEMORY, Pool

Role = Literal["train", "test", "synthetic"]
Origin = Literal["real", "synthetic"]
_CHUNK = 64
_NUMBERS = 1 << 18


@dataclass(frozen=True)
class ImageSet:
    """N images with what is known of each; checked on construction, `InputError` when something does not fit.

    images: (N, C, H, W) or (N, C, D, H, W), float32 in [0, 1], where [0, 1] is the intensity window declared in `model.yaml`.
    spacing_mm: one number per spatial axis, array order. masks: (N, H, W) or (N, D, H, W), uint8, 0 = background.
    labels: (N,), int64. concepts: (N, K), uint8. groups: strata by name, each (N,). patients: one pseudonym per image.
    sources: id of the real image each synthetic one was made from. features: (N, F), filled by the host for one extractor.
    cut_from: where the images are patches, the id of the image each was cut from.
    """

    images: np.ndarray
    ids: tuple[str, ...]
    spacing_mm: tuple[float, ...]
    masks: np.ndarray | None = None
    labels: np.ndarray | None = None
    concepts: np.ndarray | None = None
    patients: tuple[str, ...] | None = None
    groups: dict[str, np.ndarray] | None = None
    origin: Origin = "real"
    sources: tuple[str, ...] | None = None
    features: np.ndarray | None = None
    cut_from: tuple[str, ...] | None = None
    checked: bool = field(default=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.checked:
            problems = [Problem(text) for text in self._problems()]
            if problems:
                raise InputError(*problems)
            object.__setattr__(self, "checked", True)

    def _problems(self) -> list[str]:
        images, n = self.images, len(self.images)
        if images.ndim not in (4, 5):
            return [f"images must be (N, C, H, W) or (N, C, D, H, W), got shape {images.shape}"]
        found = []
        if images.dtype != np.float32:
            found.append(f"images must be float32 in [0, 1], got {images.dtype}")
        elif n:
            for start in range(0, n, _CHUNK):
                low, high = float(images[start : start + _CHUNK].min()), float(images[start : start + _CHUNK].max())
                if not (low >= 0.0 and high <= 1.0):
                    found.append(f"images must be finite and in [0, 1], got values from {low:g} to {high:g}")
                    break
        spatial = images.shape[2:]
        if len(self.spacing_mm) != len(spatial) or not all(np.isfinite(s) and s > 0 for s in self.spacing_mm):
            found.append(f"spacing_mm must hold {len(spatial)} positive numbers, got {self.spacing_mm}")
        if len(set(self.ids)) != len(self.ids):
            twice = next(i for k, i in enumerate(self.ids) if i in self.ids[:k])
            found.append(f"ids must be unique, {twice!r} occurs twice")
        if self.masks is not None and (self.masks.shape != (n, *spatial) or self.masks.dtype != np.uint8):
            found.append(f"masks must be uint8 of shape {(n, *spatial)}, got {self.masks.dtype} {self.masks.shape}")
        if self.labels is not None and (self.labels.shape != (n,) or self.labels.dtype != np.int64):
            found.append(f"labels must be int64 of shape ({n},), got {self.labels.dtype} {self.labels.shape}")
        if self.concepts is not None and (self.concepts.ndim != 2 or self.concepts.dtype != np.uint8):
            found.append(f"concepts must be uint8 of shape ({n}, K), got {self.concepts.dtype} {self.concepts.shape}")
        lengths: dict[str, Any] = {"ids": self.ids, "patients": self.patients, "sources": self.sources, "cut_from": self.cut_from}
        lengths |= {"concepts": self.concepts, "features": self.features}
        lengths |= {f"groups[{name!r}]": values for name, values in (self.groups or {}).items()}
        for name, values in lengths.items():
            if values is not None and len(values) != n:
                found.append(f"{name} must have one entry per image, got {len(values)} for {n} images")
        return found

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size_px(self) -> tuple[int, ...]:
        """Spatial size, array order: (H, W) or (D, H, W)."""
        return tuple(int(s) for s in self.images.shape[2:])

    @cached_property
    def units(self) -> np.ndarray:
        """(N,) int64 index of what each image belongs to, in order of first appearance.

        That is its patient; where patients are unknown, the image that it was cut from; for whole images, the image itself.
        Everything that is resampled is resampled by these units, so results do not depend on how patients are named.
        """
        owners = self.cut_from if self.patients is None else self.patients
        if owners is None:
            return np.arange(len(self))
        seen: dict[str, int] = {}
        return np.array([seen.setdefault(owner, len(seen)) for owner in owners], dtype=np.int64)

    @property
    def n_patients(self) -> int | None:
        """Number of patients, None where patients are unknown."""
        return None if self.patients is None else len(set(self.patients))

    def offers(self) -> frozenset[str]:
        """Return which of masks, labels, concepts, patients, groups, sources and features are here."""
        names = ("masks", "labels", "concepts", "patients", "groups", "sources", "features")
        return frozenset(name for name in names if getattr(self, name) is not None)

    def take(self, rows: Sequence[int] | np.ndarray) -> ImageSet:
        """Return the images of these rows (indices or a boolean mask), with everything known of them."""
        index = np.asarray(rows)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)

        def pick(value: Any) -> Any:
            if value is None:
                return None
            if isinstance(value, tuple):
                return tuple(value[i] for i in index)
            if isinstance(value, dict):
                return {k: pick(v) for k, v in value.items()}
            chosen = value[index]
            chosen.flags.writeable = False
            return chosen

        per_image = ("images", "ids", "masks", "labels", "concepts", "patients", "groups", "sources", "features", "cut_from")
        unique = len(np.unique(index)) == len(index)
        return replace(self, checked=unique, **{name: pick(getattr(self, name)) for name in per_image})

    def with_features(self, features: np.ndarray) -> ImageSet:
        """Return the same images with this feature matrix, (N, F)."""
        return replace(self, features=features, checked=False) if len(features) != len(self) else replace(self, features=features)

    @cached_property
    def sha256(self) -> str:
        """Digest of everything but the features: pixels, ids, masks, labels, patients, groups, spacing."""
        digest = hashlib.sha256()
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in ("features", "checked") or value is None:
                continue
            digest.update(f"|{item.name}|".encode())
            if isinstance(value, np.ndarray):
                digest.update(f"{value.shape}{value.dtype}".encode())
                for start in range(0, len(value), _CHUNK):
                    digest.update(np.ascontiguousarray(value[start : start + _CHUNK]).tobytes())
            elif isinstance(value, dict):
                digest.update(json.dumps({k: [str(x) for x in v] for k, v in sorted(value.items())}).encode())
            else:
                digest.update(json.dumps(value).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Balls:
    """Nearest-neighbour balls. radii: (N_among,) float64; inside: (N_of,) int64, how many of the balls hold each image."""

    radii: np.ndarray
    inside: np.ndarray


class Comparison:
    """What a metric sees: the images that the generator learned from, real images that it did not see, and its output.

    `features`, `neighbours`, `within`, `balls` and `reach` are cached by the host and shared by every metric that asks: one pass over
    each pair of sides serves them all, and the parts that are taken. A metric that uses these and `n` alone never makes the host
    copy an image when it resamples. memory: bytes for kept distances and the blocks of a pass together.
    """

    def __init__(self, train: ImageSet, test: ImageSet, synthetic: ImageSet, memory: int = MEMORY) -> None:
        self._memory = memory
        self._sides: dict[Role, ImageSet] = {"train": train, "test": test, "synthetic": synthetic}
        self._rows: dict[Role, np.ndarray | None] = {"train": None, "test": None, "synthetic": None}
        self._taken: dict[Role, ImageSet] = dict(self._sides)
        # Shared by everything that is taken from this comparison, so that distances are found once.
        self._replaced: dict[Role, Comparison] = {}
        self._pool: Pool | None = None

    @property
    def train(self) -> ImageSet:
        """Real images that the generator learned from."""
        return self._side("train")

    @property
    def test(self) -> ImageSet:
        """Real images that it did not see."""
        return self._side("test")

    @property
    def synthetic(self) -> ImageSet:
        """Its output."""
        return self._side("synthetic")

    def n(self, role: Role) -> int:
        """Number of images on one side."""
        rows = self._rows[role]
        return len(self._sides[role]) if rows is None else len(rows)

    def units(self, role: Role) -> np.ndarray:
        """(N,) int64 index of what each image of a side belongs to: its patient, the image it was cut from, or itself."""
        return self._of(role, self._sides[role].units)

    def labels(self, role: Role) -> np.ndarray | None:
        """(N,) int64 labels of a side, None where it has none."""
        whole = self._sides[role].labels
        return None if whole is None else self._of(role, whole)

    def group(self, role: Role, name: str) -> np.ndarray | None:
        """(N,) values of one group of a side (scanner, site, sex ...), None where it has none of that name."""
        whole = (self._sides[role].groups or {}).get(name)
        return None if whole is None else self._of(role, whole)

    def n_patients(self, role: Role) -> int | None:
        """Number of patients on one side, None where patients are unknown."""
        return None if self._sides[role].patients is None else len(np.unique(self.units(role)))

    def features(self, role: Role) -> np.ndarray:
        """(N, F) float64 features of one side as the extractor gave them."""
        whole = self._sides[role].features
        if whole is None:
            raise InputError(f"{role} has no features: declare needs = frozenset({{'features'}})")
        rows = self._rows[role]
        return np.asarray(whole if rows is None else whole[rows], dtype=np.float64)

    def centred(self, role: Role) -> np.ndarray:
        """(N, F) float64 features less a constant vector near the mean of the three sides: the same distances, more digits."""
        return self._neighbourhood().features(role)

    def neighbours(self, of: Role, among: Role, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return Euclidean distances and row indices, both (N_of, k), of the k nearest; an image is not its own neighbour."""
        if k > self.n(among) - (of == among):
            raise NotComputable(f"needs {k + (of == among)} {among} images for {k} neighbours, got {self.n(among)}")
        return self._neighbourhood().neighbours(of, among, k)

    def within(self, of: Role, among: Role, radii: np.ndarray, *, inclusive: bool = False) -> np.ndarray:
        """Return (N_of,): for each image of `of`, in how many balls round the images of `among` (radii (N_among,)) it lies.

        Strictly inside, as in Naeem et al. 2020, or with `inclusive` on the surface too, as in Kynkaanniemi et al. 2019.
        """
        return self._neighbourhood().within(of, among, radii, inclusive=inclusive)

    def balls(self, of: Role, among: Role, k: int, *, inclusive: bool = False) -> Balls:
        """Return the balls that reach from each image of `among` to its k-th nearest neighbour on its own side, seen from `of`."""
        radii = self.neighbours(among, among, k)[0][:, -1]
        return Balls(radii, self.within(of, among, radii, inclusive=inclusive))

    def reach(self, of: Role, among: Role, radii: np.ndarray, offset: float = 0.0) -> np.ndarray:
        """Return (N_of,): the largest radius^2 / (distance^2 + offset) over the balls round `among` with a positive radius.

        1 or more means inside some ball. 0 where no radius is positive; infinite on the centre of a ball when offset is 0.
        """
        return self._neighbourhood().reach(of, among, radii, offset)

    def take(self, train: np.ndarray | None = None, test: np.ndarray | None = None, synthetic: np.ndarray | None = None) -> Comparison:
        """Return the comparison of these rows of each side (None = all); distances already known are reused."""
        part = Comparison.__new__(Comparison)
        part._memory, part._sides, part._taken, part._rows = self._memory, self._sides, {}, {}
        part._replaced = self._replaced
        asked: dict[Role, np.ndarray | None] = {"train": train, "test": test, "synthetic": synthetic}
        for role, rows in asked.items():
            old = self._rows[role]
            new = None if rows is None else (np.flatnonzero(rows) if rows.dtype == bool else np.asarray(rows, dtype=np.int64))
            part._rows[role] = old if new is None else (new if old is None else old[new])
        has_features = all(side.features is not None for side in self._sides.values())
        part._pool = self._neighbourhood().take({str(role): rows for role, rows in asked.items()}) if has_features else None
        return part

    def replaced(self, role: Role) -> Comparison:
        """Return the comparison with the images of `role`, train or test, in the place of the synthetic ones."""
        if role not in self._replaced:
            self._replaced[role] = Comparison(self._sides["train"], self._sides["test"], self._sides[role], self._memory)
        whole = self._replaced[role]
        rows = {str(r): self._rows[role if r == "synthetic" else r] for r in self._rows}
        return whole if all(r is None for r in rows.values()) else whole.take(**rows)

    def _of(self, role: Role, whole: np.ndarray) -> np.ndarray:
        rows = self._rows[role]
        return whole if rows is None else whole[rows]

    def _side(self, role: Role) -> ImageSet:
        rows = self._rows[role]
        if role not in self._taken:
            self._taken[role] = self._sides[role] if rows is None else self._sides[role].take(rows)
        return self._taken[role]

    def _neighbourhood(self) -> Pool:
        if self._pool is None:
            missing = [role for role, side in self._sides.items() if side.features is None]
            if missing:
                raise InputError(f"{', '.join(missing)} has no features: declare needs = frozenset({{'features'}})")
            raw = {str(role): np.asarray(side.features) for role, side in self._sides.items()}
            problems = [Problem(text) for text in _unusable(raw)]
            if problems:
                raise InputError(*problems)
            self._pool = Pool(raw, memory=self._memory)
        return self._pool


def _unusable(raw: Mapping[str, np.ndarray]) -> list[str]:
    """Return what keeps distances between these features from being computed."""
    filled = {role: x for role, x in raw.items() if len(x)}
    found = [f"features of {role} must be (N, F), got shape {x.shape}" for role, x in filled.items() if x.ndim != 2]
    if found:
        return found
    if len({x.shape[1] for x in filled.values()}) > 1:
        found.append(f"features differ in width: {', '.join(f'{role} {x.shape[1]}' for role, x in filled.items())}")
    for role, x in filled.items():
        step, bad = max(1, _NUMBERS // max(1, x.shape[1])), 0
        for start in range(0, len(x), step):
            block = x[start : start + step].astype(np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                bad += int(np.count_nonzero(~np.isfinite(np.einsum("ij,ij->i", block, block))))
        if bad:
            found.append(f"features of {role} are not finite, or too large to be squared, in {bad} of {len(x)} rows")
    return found


def from_features(features: np.ndarray, role: str, patients: tuple[str, ...] | None = None) -> ImageSet:
    """Return an image set of which only the features are known, (N, F): its images are one black pixel each."""
    n = len(features)
    blank = np.broadcast_to(np.float32(0.0), (n, 1, 1, 1))
    ids = tuple(f"{role}-{i}" for i in range(n))
    origin: Origin = "synthetic" if role == "synthetic" else "real"
    return ImageSet(blank, ids, (1.0, 1.0), patients=patients, origin=origin, features=features)


@dataclass(frozen=True)
class Request:
    """What is asked of a generator: n images; labels (n,), masks (n, ...), concepts (n, K) to condition on.

    sources: the real images, one for each row, that masks and concepts were taken from. spacing_mm: of the real images.
    purpose: test images for a task must share nothing with those that it trains on. run: counted from 0; sampling runs of a generator
    share nothing but what it has learned.
    """

    n: int
    labels: np.ndarray | None = None
    masks: np.ndarray | None = None
    concepts: np.ndarray | None = None
    sources: ImageSet | None = None
    spacing_mm: tuple[float, ...] = ()
    purpose: Literal["train", "test"] = "train"
    run: int = 0
