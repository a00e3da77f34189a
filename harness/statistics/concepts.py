"""Agreement of two sets of concepts per image, as CARS defines it (Rafferty et al. 2026, section 2), and per concept.

Both sides are (images, concepts), 0 or 1: what is there, and what was found. Over the images of one side a mean needs every image,
so the empty cases are declared: two empty sets have a Jaccard index of 1; where nothing was found u_fp is 1; where there is nothing to
find u_fn is 1. How many images that concerns is always given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .intervals import Interval, binomial_interval, mean_interval, varies
from .shares import clustered_share

MEASURES = ("jaccard", "hamming", "u_fp", "u_fn")


@dataclass(frozen=True)
class ConceptAgreement:
    """Agreement of two sets of concepts, per image. jaccard, hamming, u_fp, u_fn: (N,) float64; no_truth, none_found: (N,) bool.

    hamming: share of the concepts that differ. u_fp: 1 - precision, 1 where nothing was found. u_fn: 1 - recall, 1 where there is
    nothing to find. jaccard is 1 where both are empty. pooled: the same four over all images and concepts together, None where
    there is nothing to divide by.
    """

    jaccard: np.ndarray
    hamming: np.ndarray
    u_fp: np.ndarray
    u_fn: np.ndarray
    no_truth: np.ndarray
    none_found: np.ndarray
    pooled: dict[str, float | None]


class Estimate(NamedTuple):
    """A value with its interval, or the reason why it has none or there is no value; n: images that it is about."""

    value: float | None
    interval: Interval | None
    reason: str
    n: int


def concept_agreement(truth: np.ndarray, found: np.ndarray) -> ConceptAgreement:
    """Return how well the concepts found in images agree with the true ones (Rafferty et al. 2026, section 2). Both (N, K), 0 or 1."""
    truth, found = _sets(truth, found)
    both, either = (truth & found).sum(axis=1), (truth | found).sum(axis=1)
    there, said, differ = truth.sum(axis=1), found.sum(axis=1), (truth ^ found).sum(axis=1)
    pooled = {
        "jaccard": _share(both.sum(), either.sum()),
        "hamming": _share(differ.sum(), truth.size),
        "u_fp": _share((said - both).sum(), said.sum()),
        "u_fn": _share((there - both).sum(), there.sum()),
    }
    return ConceptAgreement(
        jaccard=np.where(either > 0, both / np.maximum(either, 1), 1.0),
        hamming=differ / truth.shape[1],
        u_fp=1.0 - both / np.maximum(said, 1),
        u_fn=1.0 - both / np.maximum(there, 1),
        no_truth=there == 0,
        none_found=said == 0,
        pooled=pooled,
    )


def concept_means(truth: np.ndarray, found: np.ndarray, units: np.ndarray | None = None) -> dict[str, Estimate]:
    """Return the mean over images of each of `MEASURES` with its interval; units: (N,), the patient of each image, or one each.

    t with the cluster-robust standard error between patients (`mean_interval`), cut to 0..1; where all images have 0, or all have 1,
    exact binomial with as many trials as there are patients, since a mean of numbers in 0..1 is then bounded as a share is.
    """
    agreement, owner = concept_agreement(truth, found), _owners(truth, units)
    return {name: _mean(getattr(agreement, name), owner, units is not None) for name in MEASURES}


def per_concept(truth: np.ndarray, found: np.ndarray, units: np.ndarray | None = None) -> tuple[dict[str, Estimate], ...]:
    """Return for each concept the share of images that each of `MEASURES` is about, with its interval; units as in `concept_means`.

    jaccard: both, of the images where either says it is there. hamming: they differ, of all images. u_fp: it is not there, of the
    images where it was found. u_fn: it was not found, of the images where it is there. No image to ask about, no value.
    The interval is exact binomial, for several images of one patient as Korn and Graubard have it (`clustered_share`).
    """
    truth, found = _sets(truth, found)
    owner = _owners(truth, units)
    asked = {"jaccard": truth | found, "hamming": np.ones_like(truth), "u_fp": found, "u_fn": truth}
    counted = {"jaccard": truth & found, "hamming": truth ^ found, "u_fp": found & ~truth, "u_fn": truth & ~found}
    columns = range(truth.shape[1])
    return tuple({name: _part(counted[name][:, k], asked[name][:, k], owner, name) for name in MEASURES} for k in columns)


_NONE_TO_ASK = {
    "jaccard": "neither side has the concept in any image",
    "hamming": "there is no image",
    "u_fp": "the concept was found in no image",
    "u_fn": "the concept is there in no image",
}


def _part(counted: np.ndarray, asked: np.ndarray, owner: np.ndarray, name: str) -> Estimate:
    n = int(asked.sum())
    if n == 0:
        return Estimate(None, None, _NONE_TO_ASK[name], 0)
    _, cluster = np.unique(owner[asked], return_inverse=True)
    hits, value = counted[asked].astype(np.float64), float(counted[asked].mean())
    try:
        return Estimate(value, clustered_share(np.bincount(cluster, weights=hits), np.bincount(cluster)), "", n)
    except ValueError as error:
        return Estimate(value, None, str(error), n)


def _mean(values: np.ndarray, owner: np.ndarray, known: bool) -> Estimate:
    n, patients, value = len(values), int(owner.max()) + 1, float(values.mean())
    if not varies(values):
        if values[0] in (0.0, 1.0):
            return Estimate(value, binomial_interval(patients if values[0] else 0, patients), "", n)
        return Estimate(value, None, "all images have the same value, so an interval would have no width", n)
    try:
        return Estimate(value, mean_interval(values, owner, 0.0, 1.0, known=known), "", n)
    except ValueError as error:
        return Estimate(value, None, str(error), n)


def _owners(truth: np.ndarray, units: np.ndarray | None) -> np.ndarray:
    """Return (N,) from 0: whose image each is; every image its own where that is not known."""
    if units is None:
        return np.arange(len(truth))
    if np.shape(units) != (len(truth),):
        raise ValueError(f"every image needs its patient: {len(truth)} images, patients of shape {np.shape(units)}")
    return np.unique(np.asarray(units), return_inverse=True)[1]


def _sets(truth: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, found = np.asarray(truth), np.asarray(found)
    if truth.shape != found.shape or truth.ndim != 2 or 0 in truth.shape:
        raise ValueError(f"concepts must be two arrays of one shape (N, K), got {truth.shape} and {found.shape}")
    if not (np.isin(truth, (0, 1)).all() and np.isin(found, (0, 1)).all()):
        raise ValueError("answers must be 0 or 1")
    return truth.astype(bool), found.astype(bool)


def _share(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
